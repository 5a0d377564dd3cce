/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers: two records as one, where one of them reaches memory or the stack, or leaves the
 * block; and rows of pushes and pops.
 *
 * They save dispatches, which cost more than most instructions do. op is the first, op[1] the
 * second; both are picked as usual and stay valid by themselves: what misses in the second place is
 * left to its own handler, when the first is done.
 */
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
    X(SPADD, ##__VA_ARGS__) X(SPADDF, ##__VA_ARGS__)
/* Those that end a block; comparisons with the branch behind them, on zero or not. */
#define ENDS(X, ...)                                                                               \
    X(RET, ##__VA_ARGS__) X(CALL, ##__VA_ARGS__) X(JMP, ##__VA_ARGS__)                             \
    X(TEST8Z, ##__VA_ARGS__) X(TEST8N, ##__VA_ARGS__) X(TEST4Z, ##__VA_ARGS__)                     \
    X(TEST4N, ##__VA_ARGS__) X(TESTI1Z, ##__VA_ARGS__) X(TESTI1N, ##__VA_ARGS__)                   \
    X(CMP8Z, ##__VA_ARGS__) X(CMP8N, ##__VA_ARGS__) X(CMP4Z, ##__VA_ARGS__)                        \
    X(CMP4N, ##__VA_ARGS__) X(CMPI8Z, ##__VA_ARGS__) X(CMPI8N, ##__VA_ARGS__)                      \
    X(CMPI4Z, ##__VA_ARGS__) X(CMPI4N, ##__VA_ARGS__)
/* clang-format on */

#define KIND_NAME(kind) KIND_##kind,
enum kind {
    KIND_NONE,
    STEPS(KIND_NAME) N_STEPS,
    KIND_LAST_STEP = N_STEPS - 1,
    ENDS(KIND_NAME) N_KINDS
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

/* A write that misses in a page with code is done slowly: the way around the cache looks at one
 * record only. */
static const struct emu_op *miss_write(struct emu_cpu *cpu, const struct emu_op *op,
                                       uint64_t linear, uint64_t size, uint64_t sp, uint64_t last)
{
    if (!emu_fill_write(cpu, linear, (unsigned)size) ||
        !emu_hits(linear, emu_tlb_slot(cpu, linear)->write_tag, size))
        return emu_op_slow(cpu, op);
    EMU_GO_WITH(cpu, op, sp, last);
}

EMU_INLINE const struct emu_op *miss(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                     enum kind kind, uint64_t sp, uint64_t last)
{
    switch (where_of(kind)) {
    case BY_STACK: return emu_miss_stack(cpu, op, linear, size_of(kind), sp, last);
    case BY_WRITE: return miss_write(cpu, op, linear, size_of(kind), sp, last);
    default: return emu_miss_read(cpu, op, linear, size_of(kind), sp, last);
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
    return emu_op_return(cpu, op, target, emu_any_y(), sp, last);
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

#define COMPARE(code, type, by)                                                                    \
    do {                                                                                           \
        type a_ = EMU_REG_GET(type, cpu, op->dst);                                                 \
        __asm__(code " %[b], %[a]" EMU_ASM_CAPTURE                                                 \
                : "=&a"(ax), "=@ccz"(is_zero)                                                      \
                : [a] "r"(a_), [b] "r"((type)(by)));                                               \
    } while (0)
#define COMPARE_REG(code, type) COMPARE(code, type, EMU_REG_GET(type, cpu, op->src))

/* op[1] is the branch, op[2] the way on. */
EMU_INLINE const struct emu_op *end_branch(EMU_PARAMS, enum kind kind, bool on_zero)
{
    uint16_t ax;
    bool is_zero;

    switch (kind) {
    case KIND_TEST8Z: COMPARE_REG("test", uint64_t); break;
    case KIND_TEST4Z: COMPARE_REG("test", uint32_t); break;
    case KIND_TESTI1Z: COMPARE("test", uint8_t, op->imm); break;
    case KIND_CMP8Z: COMPARE_REG("cmp", uint64_t); break;
    case KIND_CMP4Z: COMPARE_REG("cmp", uint32_t); break;
    case KIND_CMPI8Z: COMPARE("cmp", uint64_t, (int64_t)op->imm); break;
    default: COMPARE("cmp", uint32_t, op->imm); break;
    }
    emu_flags_put(cpu, ax);
    if (is_zero == on_zero)
        return emu_op_branch(cpu, op + 1, x, y, sp, last);
    return emu_op_branch(cpu, op + 2, x, y, sp, last);
}

EMU_INLINE const struct emu_op *end(EMU_PARAMS, enum kind kind)
{
    switch (kind) {
    case KIND_RET: return end_return(EMU_PASS);
    case KIND_CALL: return end_call(EMU_PASS);
    case KIND_JMP: return emu_op_branch(EMU_PASS);
    default:
        /* Z and N take turns. */
        if ((kind - KIND_TEST8Z) % 2 == 0)
            return end_branch(EMU_PASS, kind, true);
        return end_branch(EMU_PASS, kind - 1, false);
    }
}

/* ---- Pairs ---- */

EMU_INLINE const struct emu_op *duo(EMU_PARAMS, enum kind first, enum kind second)
{
    uint64_t linear = address_of(cpu, op, first, sp);
    void *p = NULL;

    if (size_of(first)) {
        p = host_of(cpu, first, linear);
        if (HV_UNLIKELY(!p))
            return miss(cpu, op, linear, first, sp, last);
    }
    sp = do_step(cpu, op, first, p, sp);
    if (second >= N_STEPS)
        return end(cpu, op + 1, x, y, sp, last, second);
    if (size_of(second)) {
        p = host_of(cpu, second, address_of(cpu, op + 1, second, sp));
        if (HV_UNLIKELY(!p))
            EMU_GO(cpu, op + 1);
    }
    sp = do_step(cpu, op + 1, second, p, sp);
    EMU_GO(cpu, op + 2);
}

#define DUO(second, first)                                                                         \
    EMU_HANDLER h_duo_##first##_##second(EMU_PARAMS)                                               \
    {                                                                                              \
        return duo(EMU_PASS, KIND_##first, KIND_##second);                                         \
    }
#define ENTRY(second, first) [KIND_##second] = h_duo_##first##_##second,

/* A macro doesn't expand within itself: the outer list is written out once more. */
#define FIRSTS(X)                                                                                  \
    X(LOAD8B)                                                                                      \
    X(LOAD8S)                                                                                      \
    X(LOAD8X)                                                                                      \
    X(LOAD4B)                                                                                      \
    X(LOAD4S)                                                                                      \
    X(LOAD4X)                                                                                      \
    X(ZX1B)                                                                                        \
    X(ZX1X)                                                                                        \
    X(STORE8B)                                                                                     \
    X(STORE8S)                                                                                     \
    X(STORE4B)                                                                                     \
    X(STORE4S)                                                                                     \
    X(IMM8B)                                                                                       \
    X(IMM8S)                                                                                       \
    X(IMM4B)                                                                                       \
    X(PUSH)                                                                                        \
    X(POP)                                                                                         \
    X(MOV8)                                                                                        \
    X(MOV4)                                                                                        \
    X(MOVI)                                                                                        \
    X(XOR4)                                                                                        \
    X(ZERO)                                                                                        \
    X(LEA8)                                                                                        \
    X(LEA8X)                                                                                       \
    X(SX8)                                                                                         \
    X(ADD8)                                                                                        \
    X(ADDI8)                                                                                       \
    X(ADDI4)                                                                                       \
    X(AND8)                                                                                        \
    X(ANDI4)                                                                                       \
    X(SHLI8)                                                                                       \
    X(SHRI8)                                                                                       \
    X(SPADD)                                                                                       \
    X(SPADDF)
#define ALL_DUOS(first)    STEPS(DUO, first) ENDS(DUO, first)
#define ALL_ENTRIES(first) [KIND_##first] = { STEPS(ENTRY, first) ENDS(ENTRY, first) },

FIRSTS(ALL_DUOS)
static emu_handler *const duos[N_STEPS][N_KINDS] = { FIRSTS(ALL_ENTRIES) };

/* ---- Rows of pushes, and of pops, which a return may end ---- */

enum { MAX_ROW = 6 };

EMU_INLINE const struct emu_op *pushes(EMU_PARAMS, unsigned n)
{
    uint64_t bottom = sp - 8 * n;
    uint64_t host = bottom + cpu->stack_addend;

    /* Else this one alone, as far as it goes; the record behind it begins a shorter row. */
    if (HV_UNLIKELY(!emu_hits(bottom, cpu->stack_page, 8 * n)))
        return duos[KIND_PUSH][KIND_PUSH](EMU_PASS);
    for (unsigned i = 0; i < n; i++)
        EMU_GUEST(uint64_t, host + 8 * (n - 1 - i)) = emu_reg64(cpu, op[i].src);
    sp = bottom;
    cpu->regs[HV_RSP] = sp;
    EMU_GO(cpu, op + n);
}

EMU_INLINE const struct emu_op *pops(EMU_PARAMS, unsigned n, bool returns)
{
    uint64_t host = sp + cpu->stack_addend;

    if (HV_UNLIKELY(!emu_hits(sp, cpu->stack_page, 8 * n)))
        return duos[KIND_POP][KIND_POP](EMU_PASS);
    for (unsigned i = 0; i < n; i++)
        emu_reg_set_8(cpu, op[i].dst, EMU_GUEST(uint64_t, host + 8 * i));
    sp += 8 * n;
    cpu->regs[HV_RSP] = sp;
    if (returns)
        return end_return(cpu, op + n, x, y, sp, last);
    EMU_GO(cpu, op + n);
}

#define ROW(n)                                                                                     \
    EMU_HANDLER h_pushes_##n(EMU_PARAMS)                                                           \
    {                                                                                              \
        return pushes(EMU_PASS, n);                                                                \
    }                                                                                              \
    EMU_HANDLER h_pops_##n(EMU_PARAMS)                                                             \
    {                                                                                              \
        return pops(EMU_PASS, n, false);                                                           \
    }                                                                                              \
    EMU_HANDLER h_pops_ret_##n(EMU_PARAMS)                                                         \
    {                                                                                              \
        return pops(EMU_PASS, n, true);                                                            \
    }
#define ROW_ENTRY(n) [n] = { h_pushes_##n, h_pops_##n, h_pops_ret_##n },
#define ROWS(X)      X(2) X(3) X(4) X(5) X(6)

ROWS(ROW)
enum { ROW_PUSH, ROW_POP, ROW_POP_RET, N_ROWS };
static emu_handler *const rows[MAX_ROW + 1][N_ROWS] = { ROWS(ROW_ENTRY) };

/* ---- Kinds of records ---- */

/* By the form that memory operands have: base, stack, index. */
static uint8_t by_form(const struct emu_op *op, enum kind base, enum kind stack, enum kind index)
{
    if (op->index != EMU_REG_OFFSET(EMU_REG_ZERO))
        return index;
    return op->base == EMU_REG_OFFSET(HV_RSP) ? stack : base;
}

static uint8_t kind_of_store(const struct emu_insn *insn, const struct emu_op *op)
{
    bool is_8 = insn->op[0].size == 8;

    if (insn->op[0].size < 4)
        return KIND_NONE;
    if (insn->op[1].kind == EMU_OPD_IMM)
        return is_8 ? by_form(op, KIND_IMM8B, KIND_IMM8S, KIND_NONE)
                    : by_form(op, KIND_IMM4B, KIND_NONE, KIND_NONE);
    return is_8 ? by_form(op, KIND_STORE8B, KIND_STORE8S, KIND_NONE)
                : by_form(op, KIND_STORE4B, KIND_STORE4S, KIND_NONE);
}

static uint8_t kind_of_mov(const struct emu_insn *insn, const struct emu_op *op)
{
    bool is_8 = insn->op[0].size == 8;

    if (insn->op[0].kind == EMU_OPD_MEM)
        return kind_of_store(insn, op);
    if (insn->op[0].size < 4)
        return KIND_NONE;
    switch (insn->op[1].kind) {
    case EMU_OPD_MEM:
        return is_8 ? by_form(op, KIND_LOAD8B, KIND_LOAD8S, KIND_LOAD8X)
                    : by_form(op, KIND_LOAD4B, KIND_LOAD4S, KIND_LOAD4X);
    case EMU_OPD_IMM: return KIND_MOVI;
    default: return is_8 ? KIND_MOV8 : KIND_MOV4;
    }
}

static uint8_t kind_of_extend(const struct emu_insn *insn, const struct emu_op *op)
{
    bool is_load = insn->op[1].kind == EMU_OPD_MEM;

    if (insn->mnemonic == EMU_MN_MOVSXD)
        return insn->op[0].size == 8 && !is_load ? KIND_SX8 : KIND_NONE;
    if (!is_load || insn->op[0].size < 4 || insn->op[1].size != 1)
        return KIND_NONE;
    return by_form(op, KIND_ZX1B, KIND_NONE, KIND_ZX1X);
}

/* With a register as destination, and flags that nobody reads. */
static uint8_t kind_of_alu(const struct emu_insn *insn)
{
    bool is_8 = insn->op[0].size == 8, is_4 = insn->op[0].size == 4;
    bool has_imm = insn->op[1].kind == EMU_OPD_IMM, has_reg = insn->op[1].kind == EMU_OPD_GPR;

    if (insn->n_operands != 2 || !(has_imm || has_reg))
        return KIND_NONE;
    switch (insn->mnemonic) {
    case EMU_MN_ADD:
        return is_8 ? (has_imm ? KIND_ADDI8 : KIND_ADD8) : is_4 && has_imm ? KIND_ADDI4 : KIND_NONE;
    case EMU_MN_AND: return is_8 && has_reg ? KIND_AND8 : is_4 && has_imm ? KIND_ANDI4 : KIND_NONE;
    case EMU_MN_XOR: return is_4 && has_reg ? KIND_XOR4 : KIND_NONE;
    case EMU_MN_SHL: return is_8 && has_imm ? KIND_SHLI8 : KIND_NONE;
    case EMU_MN_SHR: return is_8 && has_imm ? KIND_SHRI8 : KIND_NONE;
    default: return KIND_NONE;
    }
}

static uint8_t kind_of_register(const struct emu_pick *pick)
{
    const struct emu_insn *insn = pick->insn;

    if (insn->op[0].kind != EMU_OPD_GPR)
        return KIND_NONE;
    if (!pick->flags_live)
        return kind_of_alu(insn);
    return insn->mnemonic == EMU_MN_XOR && insn->op[0].size == 4 &&
                   insn->op[1].kind == EMU_OPD_GPR && insn->op[0].reg == insn->op[1].reg
               ? KIND_ZERO
               : KIND_NONE;
}

static uint8_t kind_of_rsp(const struct emu_pick *pick)
{
    if (pick->insn->mnemonic == EMU_MN_LEA || !pick->flags_live)
        return KIND_SPADD;
    return pick->insn->mnemonic == EMU_MN_ADD ? KIND_SPADDF : KIND_NONE;
}

static bool is_rsp(const struct emu_operand *o)
{
    return o->kind == EMU_OPD_GPR && o->reg == HV_RSP;
}

uint8_t emu_duo_kind(const struct emu_pick *pick, const struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;

    switch (insn->mnemonic) {
    case EMU_MN_RET: return insn->n_operands ? KIND_NONE : KIND_RET;
    case EMU_MN_CALL: return insn->op[0].kind == EMU_OPD_REL ? KIND_CALL : KIND_NONE;
    case EMU_MN_JMP: return insn->op[0].kind == EMU_OPD_REL ? KIND_JMP : KIND_NONE;
    case EMU_MN_PUSH:
        return insn->op[0].kind == EMU_OPD_GPR && !is_rsp(&insn->op[0]) ? KIND_PUSH : KIND_NONE;
    default: break;
    }
    if (is_rsp(&insn->op[0]))
        return op->dst ? KIND_NONE : kind_of_rsp(pick);
    switch (insn->mnemonic) {
    case EMU_MN_POP: return KIND_POP;
    case EMU_MN_MOV: return kind_of_mov(insn, op);
    case EMU_MN_MOVZX:
    case EMU_MN_MOVSXD: return kind_of_extend(insn, op);
    case EMU_MN_LEA:
        return insn->op[0].size == 8 ? by_form(op, KIND_LEA8, KIND_LEA8, KIND_LEA8X) : KIND_NONE;
    default: return kind_of_register(pick);
    }
}

uint8_t emu_duo_branch_kind(const struct emu_pick *pick)
{
    const struct emu_insn *insn = pick->insn;
    unsigned size = insn->op[0].size, cc = pick->next->opcode & 15, kind;
    bool has_imm = insn->op[1].kind == EMU_OPD_IMM;

    if ((cc | 1) != 5 || insn->n_operands != 2 || !emu_is_reg(&insn->op[0]) ||
        insn->op[1].kind == EMU_OPD_MEM)
        return KIND_NONE;
    if (insn->mnemonic == EMU_MN_TEST)
        kind = has_imm     ? (size == 1 ? KIND_TESTI1Z : KIND_NONE)
               : size == 8 ? KIND_TEST8Z
               : size == 4 ? KIND_TEST4Z
                           : KIND_NONE;
    else if (insn->mnemonic == EMU_MN_CMP)
        kind = size == 8   ? (has_imm ? KIND_CMPI8Z : KIND_CMP8Z)
               : size == 4 ? (has_imm ? KIND_CMPI4Z : KIND_CMP4Z)
                           : KIND_NONE;
    else
        return KIND_NONE;
    return (uint8_t)(kind == KIND_NONE ? kind : kind + (cc & 1));
}

/* ---- Joining the records of a block ---- */

static unsigned run_of(const uint8_t *kinds, unsigned n, enum kind kind)
{
    unsigned length = 0;

    while (length < n && length < MAX_ROW && kinds[length] == kind)
        length++;
    return length;
}

/* Returns how many records the first of these does now; 1: none but itself. */
static unsigned join(struct emu_op *op, const uint8_t *kinds, unsigned n)
{
    unsigned pushes_here = run_of(kinds, n, KIND_PUSH), pops_here = run_of(kinds, n, KIND_POP);

    if (pushes_here >= 2) {
        op->fn = rows[pushes_here][ROW_PUSH];
        return pushes_here;
    }
    if (pops_here >= 2) {
        bool returns = pops_here < n && kinds[pops_here] == KIND_RET;

        op->fn = rows[pops_here][returns ? ROW_POP_RET : ROW_POP];
        return pops_here + returns;
    }
    if (kinds[0] == EMU_PAIRED)
        return 2;
    if (n >= 2 && kinds[0] > KIND_NONE && kinds[0] < N_STEPS && kinds[1] > KIND_NONE &&
        kinds[1] < N_KINDS) {
        op->fn = duos[kinds[0]][kinds[1]];
        return 2;
    }
    return 1;
}

void emu_join(struct emu_op *ops, const uint8_t *kinds, unsigned n)
{
    for (unsigned i = 0; i < n;)
        i += join(&ops[i], kinds + i, n - i);
}
