/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic multiplication, division and decimal adjustment.
 * spec: AMD64 vol. 3, the instructions by name
 */
#include "hvcore/emu/exec/int/flags_priv.h"
#include "hvcore/emu/exec/int/int_priv.h"
#include "hvcore/emu/operand.h"

/* ---- One operand: rax and rdx by src; ax in and out ---- */

typedef uint32_t wide_fn(uint64_t *rax, uint64_t *rdx, uint64_t src, uint32_t ax);

#define WIDE(name, code)                                                                           \
    static uint32_t name(uint64_t *rax, uint64_t *rdx, uint64_t src, uint32_t ax)                  \
    {                                                                                              \
        uint64_t d = *rdx;                                                                         \
                                                                                                   \
        __asm__ volatile(EMU_ASM_ACC_IN code EMU_ASM_ACC_OUT                                       \
                         : "+&a"(ax), "+&d"(d), [acc] "+m"(*rax)                                   \
                         : [src] "r"(src)                                                          \
                         : "cc");                                                                  \
        *rdx = d;                                                                                  \
        return ax;                                                                                 \
    }

#define WIDE_SIZES(name)                                                                           \
    WIDE(name##_1, #name " %b[src]")                                                               \
    WIDE(name##_2, #name " %w[src]")                                                               \
    WIDE(name##_4, #name " %k[src]")                                                               \
    WIDE(name##_8, #name " %q[src]")                                                               \
    static wide_fn *const name##_row[9] = {                                                        \
        [1] = name##_1, [2] = name##_2, [4] = name##_4, [8] = name##_8                             \
    };

WIDE_SIZES(mul)
WIDE_SIZES(imul)
WIDE_SIZES(div)
WIDE_SIZES(idiv)

static void wide(struct emu_cpu *cpu, unsigned size, wide_fn *const row[9], uint64_t src)
{
    cpu->aflags = row[size](&cpu->regs[HV_RAX], &cpu->regs[HV_RDX], src, cpu->aflags);
}

enum emu_result emu_int_mul(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t src;

    if (!emu_load(cpu, insn, 0, &src))
        return EMU_FAULT;
    wide(cpu, insn->op[0].size, mul_row, src);
    return EMU_NEXT;
}

typedef uint32_t imul_fn(uint64_t *dst, uint64_t a, uint64_t b, uint32_t ax);

#define IMUL(name, modifier)                                                                       \
    static uint32_t name(uint64_t *dst, uint64_t a, uint64_t b, uint32_t ax)                       \
    {                                                                                              \
        uint64_t d = *dst;                                                                         \
                                                                                                   \
        __asm__ volatile("mov %" modifier "[a], %" modifier "[d]\n\t" EMU_ASM_FLAGS_IN             \
                         "imul %" modifier "[b], %" modifier "[d]" EMU_ASM_FLAGS_OUT               \
                         : "+&a"(ax), [d] "+&r"(d)                                                 \
                         : [a] "r"(a), [b] "r"(b)                                                  \
                         : "cc");                                                                  \
        *dst = d;                                                                                  \
        return ax;                                                                                 \
    }

IMUL(imul_reg_2, "w")
IMUL(imul_reg_4, "k")
IMUL(imul_reg_8, "q")

enum emu_result emu_int_imul(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    static imul_fn *const row[9] = { [2] = imul_reg_2, [4] = imul_reg_4, [8] = imul_reg_8 };
    /* The two-operand form multiplies its destination. */
    unsigned first = insn->n_operands == 3 ? 1 : 0;
    uint64_t a, b;

    if (!emu_load(cpu, insn, first, &a) ||
        (insn->n_operands > 1 && !emu_load(cpu, insn, first + 1, &b)))
        return EMU_FAULT;
    if (insn->n_operands < 2)
        wide(cpu, insn->op[0].size, imul_row, a);
    else
        cpu->aflags = row[insn->op[0].size](&cpu->regs[insn->op[0].reg], a, b, cpu->aflags);
    return EMU_NEXT;
}

/* ---- Division: what would trap on the host must be known before ---- */

static unsigned __int128 dividend(const struct emu_cpu *cpu, unsigned size)
{
    if (size == 1)
        return cpu->regs[HV_RAX] & 0xffff;
    return (unsigned __int128)emu_gpr_get(cpu, HV_RDX, size) << size * 8 |
           emu_gpr_get(cpu, HV_RAX, size);
}

bool emu_int_div_fits(unsigned __int128 n, uint64_t d, unsigned size)
{
    return d && (uint64_t)(n >> size * 8) < d;
}

bool emu_int_idiv_fits(unsigned __int128 n, uint64_t d, unsigned size)
{
    unsigned bits = size * 8;
    __int128 dividend = (__int128)(n << (128 - 2 * bits)) >> (128 - 2 * bits);
    int64_t divisor = (int64_t)(d << (64 - bits)) >> (64 - bits);
    unsigned __int128 un =
        dividend < 0 ? -(unsigned __int128)dividend : (unsigned __int128)dividend;
    uint64_t ud = divisor < 0 ? -(uint64_t)divisor : (uint64_t)divisor;
    uint64_t limit = UINT64_C(1) << (bits - 1); /* magnitude of the most negative quotient */
    bool is_negative = (dividend < 0) != (divisor < 0);
    unsigned __int128 quotient;

    if (!ud || (uint64_t)(un >> bits) >= ud)
        return false;
    quotient = un / ud;
    return quotient < limit || (is_negative && quotient == limit);
}

enum emu_result emu_int_div(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->op[0].size;
    uint64_t src;

    if (!emu_load(cpu, insn, 0, &src))
        return EMU_FAULT;
    if (!emu_int_div_fits(dividend(cpu, size), src, size))
        return emu_raise(cpu, X86_DE);
    wide(cpu, size, div_row, src);
    return EMU_NEXT;
}

enum emu_result emu_int_idiv(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->op[0].size;
    uint64_t src;

    if (!emu_load(cpu, insn, 0, &src))
        return EMU_FAULT;
    if (!emu_int_idiv_fits(dividend(cpu, size), src, size))
        return emu_raise(cpu, X86_DE);
    wide(cpu, size, idiv_row, src);
    return EMU_NEXT;
}

/* ---- Decimal adjustment, outside 64-bit mode; flags the manual leaves undefined are as AMD
 * processors give them: those of the addition or subtraction that adjusts ---- */

static void set_al(struct emu_cpu *cpu, unsigned al)
{
    emu_gpr_set(cpu, HV_RAX, 1, al);
}

static void set_decimal_flags(struct emu_cpu *cpu, unsigned al, bool is_carry, bool is_half)
{
    uint32_t flags = (is_carry ? EMU_CF : 0) | (is_half ? EMU_AF : 0);

    al &= 0xff;
    flags |= (al ? 0 : EMU_ZF) | (al & 0x80 ? EMU_SF : 0);
    flags |= __builtin_parity(al) ? 0 : EMU_PF;
    emu_set_arith_flags(cpu, flags);
}

/* OF of to = from + what was added (sign 1) or subtracted (sign -1), `bits` wide. */
static uint32_t overflow(unsigned from, unsigned to, int sign, unsigned bits)
{
    unsigned what = sign > 0 ? to - from : from - to;
    unsigned crossed = sign > 0 ? ~(from ^ what) & (from ^ to) : (from ^ what) & (from ^ to);

    return crossed >> (bits - 1) & 1 ? EMU_OF : 0;
}

static void add_flags(struct emu_cpu *cpu, uint32_t flags)
{
    emu_set_arith_flags(cpu, emu_arith_flags(cpu) | flags);
}

/* daa and das: sign is 1 or -1. */
static enum emu_result decimal_adjust(struct emu_cpu *cpu, int sign)
{
    uint32_t flags = emu_arith_flags(cpu);
    unsigned old = cpu->regs[HV_RAX] & 0xff, al = old;
    bool is_half = (al & 0xf) > 9 || (flags & EMU_AF);
    bool is_high = old > 0x99 || (flags & EMU_CF);
    bool is_carry = is_high;

    if (is_half) {
        /* das borrows out of al when it is below 6; daa's carry is in is_high already */
        is_carry |= sign < 0 && al < 6;
        al += (unsigned)(sign * 6);
    }
    if (is_high)
        al += (unsigned)(sign * 0x60);
    set_al(cpu, al);
    set_decimal_flags(cpu, al, is_carry, is_half);
    add_flags(cpu, overflow(old, al, sign, 8));
    return EMU_NEXT;
}

enum emu_result emu_int_daa(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return decimal_adjust(cpu, 1);
}

enum emu_result emu_int_das(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return decimal_adjust(cpu, -1);
}

/* Flags are those of the 16-bit sum, before the high half of al is cleared. */
static enum emu_result ascii_adjust(struct emu_cpu *cpu, int sign)
{
    unsigned old = cpu->regs[HV_RAX] & 0xffff, ax = old;
    bool adjusts = (ax & 0xf) > 9 || (emu_arith_flags(cpu) & EMU_AF);
    uint32_t flags = adjusts ? EMU_CF | EMU_AF : 0;

    if (adjusts)
        ax = (ax + (unsigned)(sign * 0x106)) & 0xffff;
    flags |= (ax ? 0 : EMU_ZF) | (ax & 0x8000 ? EMU_SF : 0);
    flags |= __builtin_parity(ax & 0xff) ? 0 : EMU_PF;
    emu_set_arith_flags(cpu, flags | overflow(old, ax, sign, 16));
    emu_gpr_set(cpu, HV_RAX, 2, ax & 0xff0f);
    return EMU_NEXT;
}

enum emu_result emu_int_aaa(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return ascii_adjust(cpu, 1);
}

enum emu_result emu_int_aas(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return ascii_adjust(cpu, -1);
}

enum emu_result emu_int_aam(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned base = insn->imm & 0xff, al = cpu->regs[HV_RAX] & 0xff;

    if (!base)
        return emu_raise(cpu, X86_DE);
    emu_gpr_set(cpu, HV_RAX, 2, (al / base) << 8 | al % base);
    set_decimal_flags(cpu, al % base, false, false);
    return EMU_NEXT;
}

enum emu_result emu_int_aad(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned base = insn->imm & 0xff, ax = cpu->regs[HV_RAX] & 0xffff;
    unsigned product = (ax >> 8) * base & 0xff, old = ax & 0xff, al = (old + product) & 0xff;

    emu_gpr_set(cpu, HV_RAX, 2, al);
    set_decimal_flags(cpu, al, old + product > 0xff, (old ^ product ^ al) & 0x10);
    add_flags(cpu, overflow(old, al, 1, 8));
    return EMU_NEXT;
}
