/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic arithmetic, logic, shifts and exchanges: everything that reads, modifies and writes one
 * operand. The host's own instruction works on the operand in place, with its lock prefix where the
 * guest's has one, so results and flags (undefined ones too) are the host's.
 * spec: AMD64 vol. 3, the instructions by name
 */
#include "hvcore/emu/exec/int/flags_priv.h"
#include "hvcore/emu/exec/int/int_priv.h"
#include "hvcore/emu/operand.h"

/* Do it on *dst with src; takes and returns aflags. */
typedef uint32_t rmw_fn(void *dst, uint64_t src, uint32_t ax);

struct rmw_ops {
    rmw_fn *plain[4]; /* by log2 of the size */
    rmw_fn *locked[4];
};

static unsigned log2_size(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}

/* ---- Rows ---- */

#define RMW_SRC(name, code, type, lock)                                                            \
    static uint32_t name(void *dst, uint64_t src, uint32_t ax)                                     \
    {                                                                                              \
        __asm__ volatile(EMU_ASM_FLAGS_IN lock code " %[src], %[dst]" EMU_ASM_FLAGS_OUT            \
                         : "+&a"(ax), [dst] "+m"(EMU_AT(type, dst))                                \
                         : [src] "r"((type)src)                                                    \
                         : "cc", "memory");                                                        \
        return ax;                                                                                 \
    }

#define RMW_ONE(name, code, type, lock)                                                            \
    static uint32_t name(void *dst, uint64_t src, uint32_t ax)                                     \
    {                                                                                              \
        __asm__ volatile(EMU_ASM_FLAGS_IN lock code " %[dst]" EMU_ASM_FLAGS_OUT                    \
                         : "+&a"(ax), [dst] "+m"(EMU_AT(type, dst))                                \
                         :                                                                         \
                         : "cc", "memory");                                                        \
        return ax;                                                                                 \
    }

#define RMW_COUNT(name, code, type, lock)                                                          \
    static uint32_t name(void *dst, uint64_t src, uint32_t ax)                                     \
    {                                                                                              \
        __asm__ volatile(EMU_ASM_FLAGS_IN code " %%cl, %[dst]" EMU_ASM_FLAGS_OUT                   \
                         : "+&a"(ax), [dst] "+m"(EMU_AT(type, dst))                                \
                         : "c"(src)                                                                \
                         : "cc", "memory");                                                        \
        return ax;                                                                                 \
    }

#define SIZES(shape, name, code, lock)                                                             \
    shape(name##_1, code "b", uint8_t, lock) shape(name##_2, code "w", uint16_t, lock)             \
        shape(name##_4, code "l", uint32_t, lock) shape(name##_8, code "q", uint64_t, lock)

#define PLAIN(shape, name)                                                                         \
    SIZES(shape, name, #name, "")                                                                  \
    static const struct rmw_ops name##_ops = {                                                     \
        .plain = { name##_1, name##_2, name##_4, name##_8 },                                       \
    };

#define LOCKABLE(shape, name)                                                                      \
    SIZES(shape, name, #name, "")                                                                  \
    SIZES(shape, lock_##name, #name, "lock ")                                                      \
    static const struct rmw_ops name##_ops = {                                                     \
        .plain = { name##_1, name##_2, name##_4, name##_8 },                                       \
        .locked = { lock_##name##_1, lock_##name##_2, lock_##name##_4, lock_##name##_8 },          \
    };

LOCKABLE(RMW_SRC, add)
LOCKABLE(RMW_SRC, or)
LOCKABLE(RMW_SRC, adc)
LOCKABLE(RMW_SRC, sbb)
LOCKABLE(RMW_SRC, and)
LOCKABLE(RMW_SRC, sub)
LOCKABLE(RMW_SRC, xor)
PLAIN(RMW_SRC, cmp)
PLAIN(RMW_SRC, test)
LOCKABLE(RMW_ONE, inc)
LOCKABLE(RMW_ONE, dec)
LOCKABLE(RMW_ONE, neg)
LOCKABLE(RMW_ONE, not )
PLAIN(RMW_COUNT, rol)
PLAIN(RMW_COUNT, ror)
PLAIN(RMW_COUNT, rcl)
PLAIN(RMW_COUNT, rcr)
PLAIN(RMW_COUNT, shl)
PLAIN(RMW_COUNT, shr)
PLAIN(RMW_COUNT, sar)

/* ---- Forms ---- */

static enum emu_result modify(struct emu_cpu *cpu, const struct emu_insn *insn,
                              const struct rmw_ops *ops, uint64_t src)
{
    rmw_fn *const *row = insn->prefixes & EMU_PFX_LOCK ? ops->locked : ops->plain;
    struct emu_rmw rmw;

    if (!emu_operand_rmw_begin(cpu, insn, 0, &rmw))
        return EMU_FAULT;
    cpu->aflags = row[log2_size(insn->op[0].size)](rmw.host, src, cpu->aflags);
    emu_operand_rmw_end(cpu, insn, 0, &rmw);
    return EMU_NEXT;
}

static enum emu_result binary(struct emu_cpu *cpu, const struct emu_insn *insn,
                              const struct rmw_ops *ops)
{
    uint64_t src;

    if (!emu_load(cpu, insn, 1, &src))
        return EMU_FAULT;
    return modify(cpu, insn, ops, src);
}

/* cmp and test: nothing is written. */
static enum emu_result compare(struct emu_cpu *cpu, const struct emu_insn *insn,
                               const struct rmw_ops *ops)
{
    uint64_t dst, src;

    if (!emu_load(cpu, insn, 0, &dst) || !emu_load(cpu, insn, 1, &src))
        return EMU_FAULT;
    cpu->aflags = ops->plain[log2_size(insn->op[0].size)](&dst, src, cpu->aflags);
    return EMU_NEXT;
}

static enum emu_result unary(struct emu_cpu *cpu, const struct emu_insn *insn,
                             const struct rmw_ops *ops)
{
    return modify(cpu, insn, ops, 0);
}

/* The count of C0 C1 (immediate), D0 D1 (one), D2 D3 (cl). */
static uint8_t shift_count(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    switch (insn->opcode & 0xfe) {
    case 0xd0: return 1;
    case 0xd2: return (uint8_t)cpu->regs[HV_RCX];
    default: return (uint8_t)insn->imm;
    }
}

static enum emu_result shift(struct emu_cpu *cpu, const struct emu_insn *insn,
                             const struct rmw_ops *ops)
{
    return modify(cpu, insn, ops, shift_count(cpu, insn));
}

#define EXEC(form, name)                                                                           \
    enum emu_result emu_int_##name(struct emu_cpu *cpu, const struct emu_insn *insn)               \
    {                                                                                              \
        return form(cpu, insn, &name##_ops);                                                       \
    }

EXEC(binary, add)
EXEC(binary, or)
EXEC(binary, adc)
EXEC(binary, sbb)
EXEC(binary, and)
EXEC(binary, sub)
EXEC(binary, xor)
EXEC(compare, cmp)
EXEC(compare, test)
EXEC(unary, inc)
EXEC(unary, dec)
EXEC(unary, neg)
EXEC(unary, not )
EXEC(shift, rol)
EXEC(shift, ror)
EXEC(shift, rcl)
EXEC(shift, rcr)
EXEC(shift, shl)
EXEC(shift, shr)
EXEC(shift, sar)

/* ---- shld, shrd: 16, 32, 64 bits; a 16-bit operand shifted by more than 16 is undefined, and what
 * the host makes of it ---- */

typedef uint32_t double_shift_fn(void *dst, uint64_t src, uint8_t count, uint32_t ax);

#define DOUBLE_SHIFT(name, code, type)                                                             \
    static uint32_t name(void *dst, uint64_t src, uint8_t count, uint32_t ax)                      \
    {                                                                                              \
        __asm__ volatile(EMU_ASM_FLAGS_IN code " %%cl, %[src], %[dst]" EMU_ASM_FLAGS_OUT           \
                         : "+&a"(ax), [dst] "+m"(EMU_AT(type, dst))                                \
                         : [src] "r"((type)src), "c"(count)                                        \
                         : "cc", "memory");                                                        \
        return ax;                                                                                 \
    }

DOUBLE_SHIFT(shld_2, "shldw", uint16_t)
DOUBLE_SHIFT(shld_4, "shldl", uint32_t)
DOUBLE_SHIFT(shld_8, "shldq", uint64_t)
DOUBLE_SHIFT(shrd_2, "shrdw", uint16_t)
DOUBLE_SHIFT(shrd_4, "shrdl", uint32_t)
DOUBLE_SHIFT(shrd_8, "shrdq", uint64_t)

static enum emu_result double_shift(struct emu_cpu *cpu, const struct emu_insn *insn,
                                    double_shift_fn *const row[4])
{
    /* 0F A4 and AC take an immediate, A5 and AD cl. */
    uint8_t count = insn->opcode & 1 ? (uint8_t)cpu->regs[HV_RCX] : (uint8_t)insn->imm;
    struct emu_rmw rmw;
    uint64_t src;

    if (!emu_load(cpu, insn, 1, &src) || !emu_operand_rmw_begin(cpu, insn, 0, &rmw))
        return EMU_FAULT;
    cpu->aflags = row[log2_size(insn->op[0].size)](rmw.host, src, count, cpu->aflags);
    emu_operand_rmw_end(cpu, insn, 0, &rmw);
    return EMU_NEXT;
}

enum emu_result emu_int_shld(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    static double_shift_fn *const row[4] = { NULL, shld_2, shld_4, shld_8 };

    return double_shift(cpu, insn, row);
}

enum emu_result emu_int_shrd(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    static double_shift_fn *const row[4] = { NULL, shrd_2, shrd_4, shrd_8 };

    return double_shift(cpu, insn, row);
}

/* ---- xchg, xadd, cmpxchg ---- */

/* The other operand comes in *reg and goes out in it. */
typedef uint32_t exchange_fn(void *dst, uint64_t *reg, uint32_t ax);

#define EXCHANGE(name, code, type, modifier)                                                       \
    static uint32_t name(void *dst, uint64_t *reg, uint32_t ax)                                    \
    {                                                                                              \
        uint64_t value = *reg;                                                                     \
                                                                                                   \
        __asm__ volatile(EMU_ASM_FLAGS_IN code " %" modifier "[src], %[dst]" EMU_ASM_FLAGS_OUT     \
                         : "+&a"(ax), [dst] "+m"(EMU_AT(type, dst)), [src] "+&r"(value)            \
                         :                                                                         \
                         : "cc", "memory");                                                        \
        *reg = value;                                                                              \
        return ax;                                                                                 \
    }

#define EXCHANGE_SIZES(name, code)                                                                 \
    EXCHANGE(name##_1, code "b", uint8_t, "b")                                                     \
    EXCHANGE(name##_2, code "w", uint16_t, "w")                                                    \
    EXCHANGE(name##_4, code "l", uint32_t, "k")                                                    \
    EXCHANGE(name##_8, code "q", uint64_t, "q")                                                    \
    static exchange_fn *const name##_row[4] = { name##_1, name##_2, name##_4, name##_8 };

EXCHANGE_SIZES(xchg, "xchg")
EXCHANGE_SIZES(xadd, "xadd")
EXCHANGE_SIZES(lock_xadd, "lock xadd")

static enum emu_result exchange(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned dst,
                                exchange_fn *const row[4])
{
    struct emu_rmw rmw;
    uint64_t value;

    emu_load(cpu, insn, 1 - dst, &value);
    if (!emu_operand_rmw_begin(cpu, insn, dst, &rmw))
        return EMU_FAULT;
    cpu->aflags = row[log2_size(insn->op[dst].size)](rmw.host, &value, cpu->aflags);
    /* Source first: with both operands the same register, xadd's sum wins. */
    emu_store(cpu, insn, 1 - dst, value);
    emu_operand_rmw_end(cpu, insn, dst, &rmw);
    return EMU_NEXT;
}

enum emu_result emu_int_xchg(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return exchange(cpu, insn, insn->op[1].kind == EMU_OPD_MEM ? 1 : 0, xchg_row);
}

enum emu_result emu_int_xadd(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return exchange(cpu, insn, 0, insn->prefixes & EMU_PFX_LOCK ? lock_xadd_row : xadd_row);
}

typedef uint32_t cmpxchg_fn(void *dst, uint64_t *acc, uint64_t src, uint32_t ax);

#define CMPXCHG(name, code, type)                                                                  \
    static uint32_t name(void *dst, uint64_t *acc, uint64_t src, uint32_t ax)                      \
    {                                                                                              \
        __asm__ volatile(EMU_ASM_ACC_IN code " %[src], %[dst]" EMU_ASM_ACC_OUT                     \
                         : "+&a"(ax), [dst] "+m"(EMU_AT(type, dst)), [acc] "+m"(*acc)              \
                         : [src] "r"((type)src)                                                    \
                         : "cc", "memory");                                                        \
        return ax;                                                                                 \
    }

CMPXCHG(cmpxchg_1, "cmpxchgb", uint8_t)
CMPXCHG(cmpxchg_2, "cmpxchgw", uint16_t)
CMPXCHG(cmpxchg_4, "cmpxchgl", uint32_t)
CMPXCHG(cmpxchg_8, "cmpxchgq", uint64_t)
CMPXCHG(lock_cmpxchg_1, "lock cmpxchgb", uint8_t)
CMPXCHG(lock_cmpxchg_2, "lock cmpxchgw", uint16_t)
CMPXCHG(lock_cmpxchg_4, "lock cmpxchgl", uint32_t)
CMPXCHG(lock_cmpxchg_8, "lock cmpxchgq", uint64_t)

enum emu_result emu_int_cmpxchg(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    static cmpxchg_fn *const rows[2][4] = {
        { cmpxchg_1, cmpxchg_2, cmpxchg_4, cmpxchg_8 },
        { lock_cmpxchg_1, lock_cmpxchg_2, lock_cmpxchg_4, lock_cmpxchg_8 },
    };
    unsigned size = insn->op[0].size;
    uint64_t src, acc = cpu->regs[HV_RAX];
    struct emu_rmw rmw;
    bool is_equal;

    emu_load(cpu, insn, 1, &src);
    if (!emu_operand_rmw_begin(cpu, insn, 0, &rmw))
        return EMU_FAULT;
    cpu->aflags =
        rows[!!(insn->prefixes & EMU_PFX_LOCK)][log2_size(size)](rmw.host, &acc, src, cpu->aflags);
    is_equal = cpu->aflags & AFLAGS_ZF;
    /* AMD: a register destination that differs keeps its upper half; memory is always written. */
    if (is_equal || insn->op[0].kind == EMU_OPD_MEM)
        emu_operand_rmw_end(cpu, insn, 0, &rmw);
    if (!is_equal)
        emu_gpr_set(cpu, HV_RAX, size, acc);
    return EMU_NEXT;
}

/* cmpxchg8b, cmpxchg16b: only ZF changes. */
enum emu_result emu_int_cmpxchg8b(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool is_16 = insn->mnemonic == EMU_MN_CMPXCHG16B;
    unsigned half = is_16 ? 8 : 4;
    uint64_t linear, lo = emu_gpr_get(cpu, HV_RAX, half), hi = emu_gpr_get(cpu, HV_RDX, half);
    uint64_t new_lo = cpu->regs[HV_RBX], new_hi = cpu->regs[HV_RCX];
    struct emu_rmw rmw;
    bool is_equal;

    if (!emu_operand_linear(cpu, insn, half * 2, true, &linear))
        return EMU_FAULT;
    if (is_16 && (linear & 15))
        return emu_raise_code(cpu, X86_GP, 0);
    if (!emu_rmw_begin(cpu, &rmw, linear, half * 2, insn->prefixes & EMU_PFX_LOCK,
                       insn->seg == HV_SS))
        return EMU_FAULT;
    if (is_16)
        __asm__ volatile("lock cmpxchg16b %[dst]"
                         : "=@ccz"(is_equal), "+a"(lo),
                           "+d"(hi), [dst] "+m"(*(unsigned __int128 *)rmw.host)
                         : "b"(new_lo), "c"(new_hi)
                         : "memory");
    else
        __asm__ volatile("lock cmpxchg8b %[dst]"
                         : "=@ccz"(is_equal), "+a"(lo),
                           "+d"(hi), [dst] "+m"(EMU_AT(uint64_t, rmw.host))
                         : "b"(new_lo), "c"(new_hi)
                         : "memory");
    emu_rmw_end(cpu, &rmw);
    if (!is_equal) {
        emu_gpr_set(cpu, HV_RAX, half, lo);
        emu_gpr_set(cpu, HV_RDX, half, hi);
    }
    cpu->aflags = (cpu->aflags & ~(uint32_t)AFLAGS_ZF) | (is_equal ? AFLAGS_ZF : 0);
    return EMU_NEXT;
}
