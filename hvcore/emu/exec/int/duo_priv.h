/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that do what follows them as well: what kinds of records there are, and what each does.
 *
 * Joined records save dispatches, which cost more than most instructions do. op is the first, op[1]
 * the second; both are picked as usual and stay valid by themselves: what misses in the second
 * place is left to its own handler, when the first is done.
 */
#pragma once

#include "hvcore/emu/exec/int/fast_priv.h"

/* clang-format off */
/* Those that go on behind themselves; B, S, X: operands in memory by base, by rsp, with an index. */
#define STEPS(X, ...)                                                                              \
    X(LOAD8B, ##__VA_ARGS__) X(LOAD8S, ##__VA_ARGS__) X(LOAD8X, ##__VA_ARGS__)                     \
    X(LOAD4B, ##__VA_ARGS__) X(LOAD4S, ##__VA_ARGS__) X(LOAD4X, ##__VA_ARGS__)                     \
    X(ZX1B, ##__VA_ARGS__) X(ZX1X, ##__VA_ARGS__)                                                  \
    X(STORE8B, ##__VA_ARGS__) X(STORE8S, ##__VA_ARGS__) X(STORE4B, ##__VA_ARGS__)                  \
    X(STORE4S, ##__VA_ARGS__) X(IMM8B, ##__VA_ARGS__) X(IMM8S, ##__VA_ARGS__)                      \
    X(IMM4B, ##__VA_ARGS__) X(PUSH, ##__VA_ARGS__) X(POP, ##__VA_ARGS__)                           \
    X(MOV8, ##__VA_ARGS__) X(MOV4, ##__VA_ARGS__) X(MOVI, ##__VA_ARGS__)                           \
    X(XOR4, ##__VA_ARGS__) X(ZERO, ##__VA_ARGS__) X(LEA8, ##__VA_ARGS__)                           \
    X(LEA8X, ##__VA_ARGS__) X(SX8, ##__VA_ARGS__) X(ADD8, ##__VA_ARGS__)                           \
    X(ADDI8, ##__VA_ARGS__) X(ADDI4, ##__VA_ARGS__) X(AND8, ##__VA_ARGS__)                         \
    X(ANDI4, ##__VA_ARGS__) X(SHLI8, ##__VA_ARGS__) X(SHRI8, ##__VA_ARGS__)                        \
    X(LEA4, ##__VA_ARGS__) X(LEA4X, ##__VA_ARGS__) X(SX2B, ##__VA_ARGS__)                                                  \
    X(SPADD, ##__VA_ARGS__) X(SPADDF, ##__VA_ARGS__)
/* Those that end a block; comparisons with the branch behind them, on zero or not. */
#define ENDS(X, ...)                                                                               \
    X(RET, ##__VA_ARGS__) X(CALL, ##__VA_ARGS__) X(JMP, ##__VA_ARGS__)                             \
    X(TEST8Z, ##__VA_ARGS__) X(TEST8N, ##__VA_ARGS__) X(TEST4Z, ##__VA_ARGS__)                     \
    X(TEST4N, ##__VA_ARGS__) X(TESTI1Z, ##__VA_ARGS__) X(TESTI1N, ##__VA_ARGS__)                   \
    X(CMP8Z, ##__VA_ARGS__) X(CMP8N, ##__VA_ARGS__) X(CMP4Z, ##__VA_ARGS__)                        \
    X(CMP4N, ##__VA_ARGS__) X(CMPI8Z, ##__VA_ARGS__) X(CMPI8N, ##__VA_ARGS__)                      \
    X(CMPI4Z, ##__VA_ARGS__) X(CMPI4N, ##__VA_ARGS__)                                              \
    X(CMPI1BE, ##__VA_ARGS__) X(CMPI1A, ##__VA_ARGS__) X(CMPI4BE, ##__VA_ARGS__)                   \
    X(CMPI4A, ##__VA_ARGS__)
/* clang-format on */

#define KIND_NAME(kind) KIND_##kind,
enum kind {
    KIND_NONE,
    STEPS(KIND_NAME) N_STEPS,
    KIND_LAST_STEP = N_STEPS - 1,
    ENDS(KIND_NAME) N_KINDS,
    /* in rows of their own only: movsxd r, [table]; add r, r with flags; jmp r; adc r, r or imm */
    KIND_TABLE = N_KINDS,
    KIND_ADDF,
    KIND_JMPR,
    KIND_ADC,
    KIND_ADCI
};

/* ---- Steps ---- */

enum where { BY_READ, BY_WRITE, BY_STACK };

EMU_INLINE enum where where_of(enum kind kind)
{
    switch (kind) {
    case KIND_LOAD8S:
    case KIND_LOAD4S:
    case KIND_STORE8S:
    case KIND_STORE4S:
    case KIND_IMM8S:
    case KIND_PUSH:
    case KIND_POP: return BY_STACK;
    case KIND_STORE8B:
    case KIND_STORE4B:
    case KIND_IMM8B:
    case KIND_IMM4B: return BY_WRITE;
    default: return BY_READ;
    }
}

/* Bytes that it accesses in memory; 0: none. */
EMU_INLINE unsigned size_of(enum kind kind)
{
    switch (kind) {
    case KIND_ZX1B:
    case KIND_ZX1X: return 1;
    case KIND_SX2B: return 2;
    case KIND_LOAD4B:
    case KIND_LOAD4S:
    case KIND_LOAD4X:
    case KIND_STORE4B:
    case KIND_STORE4S:
    case KIND_IMM4B: return 4;
    case KIND_LOAD8B:
    case KIND_LOAD8S:
    case KIND_LOAD8X:
    case KIND_STORE8B:
    case KIND_STORE8S:
    case KIND_IMM8B:
    case KIND_IMM8S:
    case KIND_PUSH:
    case KIND_POP: return 8;
    default: return 0;
    }
}

EMU_INLINE uint64_t address_of(const struct emu_cpu *cpu, const struct emu_op *op, enum kind kind,
                               uint64_t sp)
{
    switch (kind) {
    case KIND_PUSH: return sp - 8;
    case KIND_POP: return sp;
    case KIND_LOAD8X:
    case KIND_LOAD4X:
    case KIND_ZX1X: return emu_ea_index(cpu, op);
    case KIND_LOAD8S:
    case KIND_LOAD4S:
    case KIND_STORE8S:
    case KIND_STORE4S:
    case KIND_IMM8S: return sp + (uint64_t)(int64_t)op->disp;
    default: return emu_ea_base(cpu, op);
    }
}

/* A host pointer to the operand, or NULL when it isn't at hand. */
EMU_INLINE void *host_of(const struct emu_cpu *cpu, enum kind kind, uint64_t linear)
{
    enum where where = where_of(kind);
    const struct emu_tlb_entry *slot = emu_tlb_slot(cpu, linear);

    if (where == BY_STACK)
        return emu_hits(linear, cpu->stack_page, size_of(kind))
                   ? (void *)(uintptr_t)(linear + cpu->stack_addend)
                   : NULL;
    return emu_hits(linear, where == BY_WRITE ? slot->write_tag : slot->read_tag, size_of(kind))
               ? (void *)(uintptr_t)(linear + slot->addend)
               : NULL;
}

/* What goes into the destination register. */
EMU_INLINE uint64_t value_of(const struct emu_cpu *cpu, const struct emu_op *op, enum kind kind,
                             const void *p)
{
    uint64_t src = kind < KIND_MOV8 ? 0 : emu_reg64(cpu, op->src);
    uint64_t dst = kind < KIND_XOR4 ? 0 : emu_reg64(cpu, op->dst);
    uint64_t imm = (uint64_t)(int64_t)op->imm;

    switch (kind) {
    case KIND_ZX1B:
    case KIND_ZX1X: return EMU_GUEST(uint8_t, p);
    case KIND_LOAD4B:
    case KIND_LOAD4S:
    case KIND_LOAD4X: return EMU_GUEST(uint32_t, p);
    case KIND_MOV8: return src;
    case KIND_MOV4: return (uint32_t)src;
    case KIND_MOVI: return op->imm64;
    case KIND_XOR4: return (uint32_t)(dst ^ src);
    case KIND_LEA8: return emu_ea_base(cpu, op);
    case KIND_LEA8X: return emu_ea_index(cpu, op);
    case KIND_LEA4: return (uint32_t)emu_ea_base(cpu, op);
    case KIND_LEA4X: return (uint32_t)emu_ea_index(cpu, op);
    case KIND_SX2B: return (uint32_t)(int16_t)EMU_GUEST(uint16_t, p);
    case KIND_SX8: return (uint64_t)(int64_t)(int32_t)src;
    case KIND_ADD8: return dst + src;
    case KIND_ADDI8: return dst + imm;
    case KIND_ADDI4: return (uint32_t)(dst + imm);
    case KIND_AND8: return dst & src;
    case KIND_ANDI4: return (uint32_t)(dst & imm);
    case KIND_SHLI8: return dst << (op->imm & 63);
    case KIND_SHRI8: return dst >> (op->imm & 63);
    case KIND_ZERO: return 0;
    default: return EMU_GUEST(uint64_t, p);
    }
}

/* add rsp, imm with its flags; the flags of xor r, r. */
EMU_INLINE void flags_of(struct emu_cpu *cpu, enum kind kind, uint64_t a, uint64_t b)
{
    uint16_t ax;

    if (kind == KIND_ZERO)
        __asm__("xor %[a], %[a]" EMU_ASM_CAPTURE : [a] "+r"(a), "=&a"(ax) : : "cc");
    else
        __asm__("add %[b], %[a]" EMU_ASM_CAPTURE : [a] "+r"(a), "=&a"(ax) : [b] "r"(b) : "cc");
    emu_flags_put(cpu, ax);
}

/* Do it; p is the operand in memory. Returns the stack pointer. */
EMU_INLINE uint64_t do_step(struct emu_cpu *cpu, const struct emu_op *op, enum kind kind, void *p,
                            uint64_t sp)
{
    uint64_t imm = (uint64_t)(int64_t)op->imm;

    switch (kind) {
    case KIND_PUSH:
        EMU_GUEST(uint64_t, p) = emu_reg64(cpu, op->src);
        return cpu->regs[HV_RSP] = sp - 8;
    case KIND_STORE8B:
    case KIND_STORE8S: EMU_GUEST(uint64_t, p) = emu_reg64(cpu, op->src); return sp;
    case KIND_STORE4B:
    case KIND_STORE4S: EMU_GUEST(uint32_t, p) = (uint32_t)emu_reg64(cpu, op->src); return sp;
    case KIND_IMM8B:
    case KIND_IMM8S: EMU_GUEST(uint64_t, p) = imm; return sp;
    case KIND_IMM4B: EMU_GUEST(uint32_t, p) = (uint32_t)imm; return sp;
    case KIND_SPADDF: flags_of(cpu, kind, sp, imm); return cpu->regs[HV_RSP] = sp + imm;
    case KIND_SPADD: return cpu->regs[HV_RSP] = sp + imm;
    default: break;
    }
    if (kind == KIND_ZERO)
        flags_of(cpu, kind, 0, 0);
    emu_reg_set_8(cpu, op->dst, value_of(cpu, op, kind, p));
    return kind == KIND_POP ? cpu->regs[HV_RSP] = sp + 8 : sp;
}

const struct emu_op *emu_duo_miss_write(struct emu_cpu *cpu, const struct emu_op *op,
                                        uint64_t linear, uint64_t size, uint64_t sp);

EMU_INLINE const struct emu_op *miss(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                     enum kind kind, uint64_t sp)
{
    switch (where_of(kind)) {
    case BY_STACK: return emu_miss_stack(cpu, op, linear, size_of(kind), sp);
    case BY_WRITE: return emu_duo_miss_write(cpu, op, linear, size_of(kind), sp);
    default: return emu_miss_read(cpu, op, linear, size_of(kind), sp);
    }
}

/* ---- Ends; op is the record, and the one before is done ---- */

EMU_INLINE const struct emu_op *end_return(EMU_PARAMS)
{
    uint64_t target;

    if (!emu_hits(sp, cpu->stack_page, 8))
        EMU_GO(cpu, op);
    target = EMU_GUEST(uint64_t, sp + cpu->stack_addend);
    if (HV_UNLIKELY(!emu_is_canonical(target)))
        EMU_GO(cpu, op);
    sp += 8;
    cpu->regs[HV_RSP] = sp;
    return emu_op_return(cpu, op, target, emu_any_y(), sp);
}

EMU_INLINE const struct emu_op *end_call(EMU_PARAMS)
{
    uint64_t back = cpu->regs[EMU_REG_RIP_BASE] + (uint64_t)(int64_t)op->imm;

    if (!emu_hits(sp - 8, cpu->stack_page, 8))
        EMU_GO(cpu, op);
    sp -= 8;
    EMU_GUEST(uint64_t, sp + cpu->stack_addend) = back;
    cpu->regs[HV_RSP] = sp;
    emu_op_note_call(cpu, op, sp, back);
    return emu_op_branch(EMU_PASS);
}

#define COMPARE(code, type, by, condition)                                                         \
    do {                                                                                           \
        type a_ = EMU_REG_GET(type, cpu, op->dst);                                                 \
        __asm__(code " %[b], %[a]" EMU_ASM_CAPTURE                                                 \
                : "=&a"(ax), "=@cc" condition(holds)                                               \
                : [a] "r"(a_), [b] "r"((type)(by)));                                               \
    } while (0)
#define COMPARE_REG(code, type) COMPARE(code, type, EMU_REG_GET(type, cpu, op->src), "z")

/* op[1] is the branch, op[2] the way on; kind is the one of a condition and its opposite that is
 * listed first. */
EMU_INLINE const struct emu_op *end_branch(EMU_PARAMS, enum kind kind, bool taken_if)
{
    uint16_t ax;
    bool holds;

    switch (kind) {
    case KIND_TEST8Z: COMPARE_REG("test", uint64_t); break;
    case KIND_TEST4Z: COMPARE_REG("test", uint32_t); break;
    case KIND_TESTI1Z: COMPARE("test", uint8_t, op->imm, "z"); break;
    case KIND_CMP8Z: COMPARE_REG("cmp", uint64_t); break;
    case KIND_CMP4Z: COMPARE_REG("cmp", uint32_t); break;
    case KIND_CMPI8Z: COMPARE("cmp", uint64_t, (int64_t)op->imm, "z"); break;
    case KIND_CMPI1BE: COMPARE("cmp", uint8_t, op->imm, "be"); break;
    case KIND_CMPI4BE: COMPARE("cmp", uint32_t, op->imm, "be"); break;
    default: COMPARE("cmp", uint32_t, op->imm, "z"); break;
    }
    emu_flags_put(cpu, ax);
    if (holds == taken_if)
        return emu_op_branch(cpu, op + 1, x, y, sp);
    EMU_GO(cpu, op + 2);
}

EMU_INLINE const struct emu_op *end(EMU_PARAMS, enum kind kind)
{
    switch (kind) {
    case KIND_RET: return end_return(EMU_PASS);
    case KIND_CALL: return end_call(EMU_PASS);
    case KIND_JMP: return emu_op_branch(EMU_PASS);
    default:
        /* A condition and its opposite take turns. */
        if ((kind - KIND_TEST8Z) % 2 == 0)
            return end_branch(EMU_PASS, kind, true);
        return end_branch(EMU_PASS, kind - 1, false);
    }
}

/* ---- Handlers, by kinds; NULL: none ---- */

extern emu_handler *const emu_duos[N_STEPS][N_KINDS];   /* fast_duo.c */
extern emu_handler *const emu_chains[N_STEPS][N_STEPS]; /* fast_chain.c */

/* fast_row.c: pushes, pops, pops with a return behind them, by how many (2 to MAX_ROW) */
enum { MAX_ROW = 6 };
enum { ROW_PUSH, ROW_POP, ROW_POP_RET, N_ROWS };
extern emu_handler *const emu_rows[MAX_ROW + 1][N_ROWS];

/* movsxd r, [table + index * 4]; add r, b; jmp r. And add; adc whose flags nobody reads. */
emu_handler emu_do_switch, emu_do_add_adc, emu_do_add_adc_imm;
