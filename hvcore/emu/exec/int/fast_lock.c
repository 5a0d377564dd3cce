/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers: atomic operations on memory, by the host's locked instruction on the operand
 * itself. Whatever crosses a cache line is left to the generic forms, which stop the machine for it
 * where the host's bus lock would be too dear or forbidden.
 */
#include "hvcore/emu/exec/int/fast_priv.h"

enum { LOCK_BASE, LOCK_INDEX, N_LOCK_EAS };

EMU_INLINE bool is_in_line(uint64_t linear, unsigned size)
{
    return HV_LIKELY((linear & 63) <= 64 - size);
}

/* Declare p: the operand in one line, or leave. */
#define LOCK_POINTER(p, ea, size)                                                                  \
    EMU_WRITE_POINTER(p, ea, size);                                                                \
    if (!is_in_line(p##_linear, size))                                                             \
    return emu_op_slow(cpu, op)

/* ---- add, or, and, sub, xor by register or immediate; inc, dec ---- */

#define LOCKED(name, type, size, ea, form, src)                                                    \
    EMU_HANDLER h_##name##_##size##_##ea##_##form(EMU_PARAMS)                                      \
    {                                                                                              \
        uint16_t ax;                                                                               \
                                                                                                   \
        LOCK_POINTER(p, EMU_EA_##ea, size);                                                        \
        __asm__ volatile("lock " #name " %[b], %[a]" EMU_ASM_CAPTURE                               \
                         : "=&a"(ax), [a] "+m"(EMU_GUEST(type, p))                                 \
                         : [b] "r"((type)(src))                                                    \
                         : "cc", "memory");                                                        \
        emu_flags_put(cpu, ax);                                                                    \
        EMU_DONE(cpu, op);                                                                         \
    }

#define STEP(name, suffix, type, size, ea)                                                         \
    EMU_HANDLER h_##name##_##size##_##ea(EMU_PARAMS)                                               \
    {                                                                                              \
        uint16_t ax;                                                                               \
                                                                                                   \
        LOCK_POINTER(p, EMU_EA_##ea, size);                                                        \
        __asm__ volatile(EMU_ASM_CARRY "lock " #name suffix " %[a]" EMU_ASM_CAPTURE                \
                         : "=&a"(ax), [a] "+m"(EMU_GUEST(type, p))                                 \
                         : [flags] "m"(cpu->aflags)                                                \
                         : "cc", "memory");                                                        \
        emu_flags_put(cpu, ax);                                                                    \
        EMU_DONE(cpu, op);                                                                         \
    }

#define LOCKED_FORMS(X, name, type, size, ea)                                                      \
    X(name, type, size, ea, R, EMU_REG_GET(type, cpu, op->src)) X(name, type, size, ea, I, op->imm)
#define LOCKED_SIZES(X, name, ea)                                                                  \
    LOCKED_FORMS(X, name, uint8_t, 1, ea)                                                          \
    LOCKED_FORMS(X, name, uint32_t, 4, ea)                                                         \
    LOCKED_FORMS(X, name, uint64_t, 8, ea)
#define LOCKED_EAS(X, name) LOCKED_SIZES(X, name, BASE) LOCKED_SIZES(X, name, INDEX)
#define LOCKED_ALL(X)                                                                              \
    LOCKED_EAS(X, add)                                                                             \
    LOCKED_EAS(X, or) LOCKED_EAS(X, and) LOCKED_EAS(X, sub) LOCKED_EAS(X, xor)
#define STEP_SIZES(X, name)                                                                        \
    X(name, "l", uint32_t, 4, BASE)                                                                \
    X(name, "l", uint32_t, 4, INDEX)                                                               \
    X(name, "q", uint64_t, 8, BASE)                                                                \
    X(name, "q", uint64_t, 8, INDEX)

LOCKED_ALL(LOCKED)
STEP_SIZES(STEP, inc)
STEP_SIZES(STEP, dec)

enum { FORM_R, FORM_I, N_FORMS };
enum { OP_add, OP_or, OP_and, OP_sub, OP_xor, N_OPS };

#define LOCKED_ENTRY(name, type, size, ea, form, src)                                              \
    [OP_##name][size / 2 - size / 8][LOCK_##ea][FORM_##form] = h_##name##_##size##_##ea##_##form,
#define STEP_ENTRY(name, suffix, type, size, ea) [size == 8][LOCK_##ea] = h_##name##_##size##_##ea,

static emu_handler *const locked_handlers[N_OPS][4][N_LOCK_EAS][N_FORMS] = { LOCKED_ALL(
    LOCKED_ENTRY) };
static emu_handler *const inc_handlers[2][N_LOCK_EAS] = { STEP_SIZES(STEP_ENTRY, inc) };
static emu_handler *const dec_handlers[2][N_LOCK_EAS] = { STEP_SIZES(STEP_ENTRY, dec) };

/* Base or index form of the memory operand 0; -1: neither. */
static int pick_lock_ea(const struct emu_pick *pick, struct emu_op *op)
{
    enum emu_ea_form ea =
        pick->insn->op[0].kind == EMU_OPD_MEM ? emu_pick_ea(pick, op) : EMU_EA_GENERAL;

    return ea == EMU_EA_GENERAL ? -1 : ea == EMU_EA_INDEX ? LOCK_INDEX : LOCK_BASE;
}

static int locked_op_of(unsigned mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_ADD: return OP_add;
    case EMU_MN_OR: return OP_or;
    case EMU_MN_AND: return OP_and;
    case EMU_MN_SUB: return OP_sub;
    case EMU_MN_XOR: return OP_xor;
    default: return -1;
    }
}

bool emu_pick_locked(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0], *src = &pick->insn->op[1];
    int ea = pick_lock_ea(pick, op), row = locked_op_of(pick->insn->mnemonic);

    if (ea < 0)
        return false;
    if (pick->insn->mnemonic == EMU_MN_INC || pick->insn->mnemonic == EMU_MN_DEC) {
        if (dst->size < 4)
            return false;
        op->fn =
            (pick->insn->mnemonic == EMU_MN_INC ? inc_handlers : dec_handlers)[dst->size == 8][ea];
        return true;
    }
    if (row < 0)
        return false;
    if (emu_is_reg(src))
        op->src = emu_operand_offset(src);
    op->imm = (int32_t)pick->insn->imm;
    op->fn = locked_handlers[row][emu_log2(dst->size)][ea][emu_is_reg(src) ? FORM_R : FORM_I];
    return op->fn != NULL;
}

/* ---- xchg, xadd ---- */

#define XCHG_RR(type, size)                                                                        \
    EMU_HANDLER h_xchg_##size##_rr(EMU_PARAMS)                                                     \
    {                                                                                              \
        type a = EMU_REG_GET(type, cpu, op->dst), b = EMU_REG_GET(type, cpu, op->src);             \
                                                                                                   \
        emu_reg_set_##size(cpu, op->src, a);                                                       \
        emu_reg_set_##size(cpu, op->dst, b);                                                       \
        EMU_DONE(cpu, op);                                                                         \
    }

XCHG_RR(uint8_t, 1)
XCHG_RR(uint16_t, 2)
XCHG_RR(uint32_t, 4)
XCHG_RR(uint64_t, 8)

#define XCHG_MEM(type, size, ea)                                                                   \
    EMU_HANDLER h_xchg_##size##_##ea(EMU_PARAMS)                                                   \
    {                                                                                              \
        type b = EMU_REG_GET(type, cpu, op->src);                                                  \
                                                                                                   \
        LOCK_POINTER(p, EMU_EA_##ea, size);                                                        \
        __asm__ volatile("xchg %[b], %[a]"                                                         \
                         : [a] "+m"(EMU_GUEST(type, p)), [b] "+r"(b)                               \
                         :                                                                         \
                         : "memory");                                                              \
        emu_reg_set_##size(cpu, op->src, b);                                                       \
        EMU_DONE(cpu, op);                                                                         \
    }

#define XADD(type, size, ea, lock, name)                                                           \
    EMU_HANDLER h_##name##_##size##_##ea(EMU_PARAMS)                                               \
    {                                                                                              \
        type b = EMU_REG_GET(type, cpu, op->src);                                                  \
        uint16_t ax;                                                                               \
                                                                                                   \
        LOCK_POINTER(p, EMU_EA_##ea, size);                                                        \
        __asm__ volatile(lock "xadd %[b], %[a]" EMU_ASM_CAPTURE                                    \
                         : "=&a"(ax), [a] "+m"(EMU_GUEST(type, p)), [b] "+r"(b)                    \
                         :                                                                         \
                         : "cc", "memory");                                                        \
        emu_flags_put(cpu, ax);                                                                    \
        emu_reg_set_##size(cpu, op->src, b);                                                       \
        EMU_DONE(cpu, op);                                                                         \
    }

/* Accumulator in rax; written only when the operand differs. The plain forms, which per-CPU data
 * uses, are not locked. */
#define CMPXCHG(type, size, ea, lock, name)                                                        \
    EMU_HANDLER h_##name##_##size##_##ea(EMU_PARAMS)                                               \
    {                                                                                              \
        type b = EMU_REG_GET(type, cpu, op->src), old;                                             \
        uint64_t rax = cpu->regs[HV_RAX];                                                          \
                                                                                                   \
        LOCK_POINTER(p, EMU_EA_##ea, size);                                                        \
        __asm__ volatile(lock "cmpxchg %[b], %[a]\n\tmov %%rax, %q[old]" EMU_ASM_CAPTURE           \
                         : "+&a"(rax), [old] "=&r"(old), [a] "+m"(EMU_GUEST(type, p))              \
                         : [b] "r"(b)                                                              \
                         : "cc", "memory");                                                        \
        emu_flags_put(cpu, (uint16_t)rax);                                                         \
        if (!(rax & AFLAGS_ZF))                                                                    \
            emu_reg_set_##size(cpu, EMU_REG_OFFSET(HV_RAX), old);                                  \
        EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_##name##_##size##_##ea));                            \
    }

#define EXCHANGES(X, ...)                                                                          \
    X(uint32_t, 4, BASE, ##__VA_ARGS__)                                                            \
    X(uint32_t, 4, INDEX, ##__VA_ARGS__)                                                           \
    X(uint64_t, 8, BASE, ##__VA_ARGS__)                                                            \
    X(uint64_t, 8, INDEX, ##__VA_ARGS__)

EXCHANGES(XCHG_MEM)
EXCHANGES(XADD, "lock ", lock_xadd)
EXCHANGES(XADD, "", xadd)
EXCHANGES(CMPXCHG, "lock ", lock_cmpxchg)
EXCHANGES(CMPXCHG, "", cmpxchg)
/* Of bytes: how a paravirtual spin lock is released. */
CMPXCHG(uint8_t, 1, BASE, "lock ", lock_cmpxchg)
CMPXCHG(uint8_t, 1, INDEX, "lock ", lock_cmpxchg)

#define EXCHANGE_TABLE(name)                                                                       \
    {                                                                                              \
        { h_##name##_4_BASE, h_##name##_4_INDEX },                                                 \
        {                                                                                          \
            h_##name##_8_BASE, h_##name##_8_INDEX                                                  \
        }                                                                                          \
    }

static bool pick_exchange(const struct emu_pick *pick, struct emu_op *op,
                          emu_handler *const handlers[2][N_LOCK_EAS])
{
    int ea = pick_lock_ea(pick, op);

    if (ea < 0 || pick->insn->op[0].size < 4)
        return false;
    op->src = emu_operand_offset(&pick->insn->op[1]);
    op->fn = handlers[pick->insn->op[0].size == 8][ea];
    return true;
}

bool emu_pick_xchg(const struct emu_pick *pick, struct emu_op *op)
{
    static emu_handler *const registers[4] = { h_xchg_1_rr, h_xchg_2_rr, h_xchg_4_rr, h_xchg_8_rr };
    static emu_handler *const memory[2][N_LOCK_EAS] = EXCHANGE_TABLE(xchg);
    const struct emu_operand *dst = &pick->insn->op[0], *src = &pick->insn->op[1];

    if (emu_is_reg(dst) && emu_is_reg(src)) {
        op->dst = emu_operand_offset(dst);
        op->src = emu_operand_offset(src);
        op->fn = registers[emu_log2(dst->size)];
        return true;
    }
    return pick_exchange(pick, op, memory);
}

bool emu_pick_xadd(const struct emu_pick *pick, struct emu_op *op)
{
    static emu_handler *const plain[2][N_LOCK_EAS] = EXCHANGE_TABLE(xadd);
    static emu_handler *const locked[2][N_LOCK_EAS] = EXCHANGE_TABLE(lock_xadd);

    return pick_exchange(pick, op, pick->insn->prefixes & EMU_PFX_LOCK ? locked : plain);
}

bool emu_pick_cmpxchg(const struct emu_pick *pick, struct emu_op *op)
{
    static emu_handler *const plain[2][N_LOCK_EAS] = EXCHANGE_TABLE(cmpxchg);
    static emu_handler *const locked[2][N_LOCK_EAS] = EXCHANGE_TABLE(lock_cmpxchg);
    bool is_locked = pick->insn->prefixes & EMU_PFX_LOCK;
    int ea;

    if (is_locked && pick->insn->op[0].size == 1) {
        ea = pick_lock_ea(pick, op);
        if (ea < 0)
            return false;
        op->src = emu_operand_offset(&pick->insn->op[1]);
        op->fn = ea == LOCK_INDEX ? h_lock_cmpxchg_1_INDEX : h_lock_cmpxchg_1_BASE;
        return true;
    }
    return pick_exchange(pick, op, is_locked ? locked : plain);
}

/* ---- cmpxchg16b: only ZF changes; misaligned operands fault in the generic form ---- */

EMU_INLINE const struct emu_op *cmpxchg16b(EMU_PARAMS, enum emu_ea_form ea)
{
    uint64_t lo = cpu->regs[HV_RAX], hi = cpu->regs[HV_RDX];
    uint16_t flags = emu_flags_get(cpu) & (uint16_t)~AFLAGS_ZF;
    bool is_equal;

    EMU_WRITE_POINTER(p, ea, 16);
    if (HV_UNLIKELY(p_linear & 15))
        return emu_op_slow(cpu, op);
    __asm__ volatile("lock cmpxchg16b %[a]"
                     : "=@ccz"(is_equal), "+a"(lo), "+d"(hi), [a] "+m"(*(unsigned __int128 *)p)
                     : "b"(cpu->regs[HV_RBX]), "c"(cpu->regs[HV_RCX])
                     : "memory");
    if (is_equal)
        flags |= AFLAGS_ZF;
    cpu->regs[HV_RAX] = lo;
    cpu->regs[HV_RDX] = hi;
    emu_flags_put(cpu, flags);
    EMU_DONE(cpu, op);
}

EMU_HANDLER h_cmpxchg16b_BASE(EMU_PARAMS)
{
    return cmpxchg16b(EMU_PASS, EMU_EA_BASE);
}

EMU_HANDLER h_cmpxchg16b_INDEX(EMU_PARAMS)
{
    return cmpxchg16b(EMU_PASS, EMU_EA_INDEX);
}

bool emu_pick_cmpxchg16b(const struct emu_pick *pick, struct emu_op *op)
{
    int ea = pick_lock_ea(pick, op);

    if (ea < 0 || pick->insn->op_size != 8)
        return false;
    op->fn = ea == LOCK_INDEX ? h_cmpxchg16b_INDEX : h_cmpxchg16b_BASE;
    return true;
}
