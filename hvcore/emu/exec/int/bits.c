/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic bit instructions: tests and scans, BMI1, BMI2, ADX, crc32, and random numbers. All but
 * the bit tests have a register destination and are done by the host's own instruction on it. spec:
 * AMD64 vol. 3, the instructions by name
 */
#include "hvcore/emu/exec/int/flags_priv.h"
#include "hvcore/emu/exec/int/int_priv.h"
#include "hvcore/emu/operand.h"

/* ---- bt, bts, btr, btc ---- */

/* One bit of *dst, of the operand's own size; takes and returns aflags. */
typedef uint32_t bit_fn(void *dst, uint64_t bit, uint32_t ax);

#define BIT(name, code, type)                                                                      \
    static uint32_t name(void *dst, uint64_t bit, uint32_t ax)                                     \
    {                                                                                              \
        type value = EMU_AT(type, dst);                                                            \
                                                                                                   \
        __asm__ volatile(EMU_ASM_FLAGS_IN code " %[bit], %[value]" EMU_ASM_FLAGS_OUT               \
                         : "+&a"(ax), [value] "+&r"(value)                                         \
                         : [bit] "r"((type)bit)                                                    \
                         : "cc");                                                                  \
        EMU_AT(type, dst) = value;                                                                 \
        return ax;                                                                                 \
    }

/* In memory, without the bit offset's reach: bit is below the size. */
#define BIT_LOCKED(name, code, type)                                                               \
    static uint32_t name(void *dst, uint64_t bit, uint32_t ax)                                     \
    {                                                                                              \
        __asm__ volatile(EMU_ASM_FLAGS_IN "lock " code " %[bit], %[dst]" EMU_ASM_FLAGS_OUT         \
                         : "+&a"(ax), [dst] "+m"(EMU_AT(type, dst))                                \
                         : [bit] "r"((type)bit)                                                    \
                         : "cc", "memory");                                                        \
        return ax;                                                                                 \
    }

#define BIT_SIZES(shape, name, code)                                                               \
    shape(name##_2, code "w", uint16_t) shape(name##_4, code "l", uint32_t)                        \
        shape(name##_8, code "q", uint64_t) static bit_fn *const name##_row[9] = {                 \
            [2] = name##_2, [4] = name##_4, [8] = name##_8                                         \
        };

BIT_SIZES(BIT, bt, "bt")
BIT_SIZES(BIT, bts, "bts")
BIT_SIZES(BIT, btr, "btr")
BIT_SIZES(BIT, btc, "btc")
BIT_SIZES(BIT_LOCKED, lock_bts, "bts")
BIT_SIZES(BIT_LOCKED, lock_btr, "btr")
BIT_SIZES(BIT_LOCKED, lock_btc, "btc")

/*
 * A bit in memory numbered by a register may lie anywhere around the operand: the signed number
 * above the size's bits chooses the unit. An immediate counts within the operand.
 */
static bool bit_address(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_write,
                        uint64_t number, uint64_t *ret_linear)
{
    unsigned size = insn->op[0].size;
    uint64_t offset = emu_offset(cpu, insn);

    if (insn->op[1].kind == EMU_OPD_GPR) {
        unsigned unused = 64 - size * 8, shift = 3 + (unsigned)__builtin_ctz(size);
        int64_t bits = (int64_t)(number << unused) >> unused;

        offset += (uint64_t)(bits >> shift) * size;
        if (insn->addr_size < 8)
            offset &= (UINT64_C(1) << insn->addr_size * 8) - 1;
    }
    return emu_linear(cpu, insn->seg, offset, size, is_write, ret_linear);
}

static enum emu_result bit_in_memory(struct emu_cpu *cpu, const struct emu_insn *insn,
                                     bit_fn *const row[9], uint64_t number)
{
    unsigned size = insn->op[0].size;
    bool is_locked = insn->prefixes & EMU_PFX_LOCK;
    struct emu_rmw rmw;
    uint64_t linear;

    if (!bit_address(cpu, insn, true, number, &linear) ||
        !emu_rmw_begin(cpu, &rmw, linear, size, is_locked, insn->seg == HV_SS))
        return EMU_FAULT;
    cpu->aflags = row[size](rmw.host, number & (size * 8 - 1), cpu->aflags);
    emu_rmw_end(cpu, &rmw);
    return EMU_NEXT;
}

static enum emu_result bit(struct emu_cpu *cpu, const struct emu_insn *insn, bit_fn *const plain[9],
                           bit_fn *const locked[9])
{
    bool is_locked = insn->prefixes & EMU_PFX_LOCK;
    uint64_t number, value;

    emu_load(cpu, insn, 1, &number);
    if (insn->op[0].kind == EMU_OPD_MEM)
        return bit_in_memory(cpu, insn, is_locked ? locked : plain, number);
    value = cpu->regs[insn->op[0].reg];
    cpu->aflags = plain[insn->op[0].size](&value, number, cpu->aflags);
    return emu_store(cpu, insn, 0, value) ? EMU_NEXT : EMU_FAULT;
}

enum emu_result emu_int_bt(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->op[0].size;
    uint64_t number, linear, value = 0;

    emu_load(cpu, insn, 1, &number);
    if (insn->op[0].kind != EMU_OPD_MEM)
        value = cpu->regs[insn->op[0].reg];
    else if (!bit_address(cpu, insn, false, number, &linear) ||
             !emu_mem_read(cpu, linear, &value, size, insn->seg == HV_SS))
        return EMU_FAULT;
    cpu->aflags = bt_row[size](&value, number, cpu->aflags);
    return EMU_NEXT;
}

enum emu_result emu_int_bts(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return bit(cpu, insn, bts_row, lock_bts_row);
}

enum emu_result emu_int_btr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return bit(cpu, insn, btr_row, lock_btr_row);
}

enum emu_result emu_int_btc(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return bit(cpu, insn, btc_row, lock_btc_row);
}

/* ---- Register destinations ---- */

/* dst is the whole register: what the host's instruction leaves of its upper part is right. b is
 * the second source where there is one. */
typedef uint32_t reg_fn(uint64_t *dst, uint64_t a, uint64_t b, uint32_t ax);

#define REG(name, code)                                                                            \
    static uint32_t name(uint64_t *dst, uint64_t a, uint64_t b, uint32_t ax)                       \
    {                                                                                              \
        uint64_t d = *dst;                                                                         \
                                                                                                   \
        __asm__ volatile(EMU_ASM_FLAGS_IN code EMU_ASM_FLAGS_OUT                                   \
                         : "+&a"(ax), [d] "+&r"(d)                                                 \
                         : [a] "r"(a), [b] "r"(b)                                                  \
                         : "cc");                                                                  \
        *dst = d;                                                                                  \
        return ax;                                                                                 \
    }

/* Two operands, in three and in two sizes; three operands in two sizes. */
#define REG_2(name)                                                                                \
    REG(name##_2, #name " %w[a], %w[d]")                                                           \
    REG(name##_4, #name " %k[a], %k[d]")                                                           \
    REG(name##_8, #name " %q[a], %q[d]")                                                           \
    static reg_fn *const name##_row[9] = { [2] = name##_2, [4] = name##_4, [8] = name##_8 };
#define REG_2_32(name)                                                                             \
    REG(name##_4, #name " %k[a], %k[d]")                                                           \
    REG(name##_8, #name " %q[a], %q[d]")                                                           \
    static reg_fn *const name##_row[9] = { [4] = name##_4, [8] = name##_8 };
#define REG_3(name)                                                                                \
    REG(name##_4, #name " %k[b], %k[a], %k[d]")                                                    \
    REG(name##_8, #name " %q[b], %q[a], %q[d]")                                                    \
    static reg_fn *const name##_row[9] = { [4] = name##_4, [8] = name##_8 };

REG_2(bsf)
REG_2(bsr)
REG_2(tzcnt)
REG_2(lzcnt)
REG_2(popcnt)
REG_2_32(adcx)
REG_2_32(adox)
REG_2_32(blsi)
REG_2_32(blsr)
REG_2_32(blsmsk)
REG_3(andn)
REG_3(bextr)
REG_3(bzhi)
REG_3(pdep)
REG_3(pext)
REG_3(sarx)
REG_3(shlx)
REG_3(shrx)

static enum emu_result to_register(struct emu_cpu *cpu, const struct emu_insn *insn,
                                   reg_fn *const row[9])
{
    uint64_t a, b = 0;

    if (!emu_load(cpu, insn, 1, &a) || (insn->n_operands > 2 && !emu_load(cpu, insn, 2, &b)))
        return EMU_FAULT;
    cpu->aflags = row[insn->op[0].size](&cpu->regs[insn->op[0].reg], a, b, cpu->aflags);
    return EMU_NEXT;
}

/* A host without the instruction can't lend it. */
#define EXEC(name, feature)                                                                        \
    enum emu_result emu_int_##name(struct emu_cpu *cpu, const struct emu_insn *insn)               \
    {                                                                                              \
        if (!(feature))                                                                            \
            return emu_raise(cpu, X86_UD);                                                         \
        return to_register(cpu, insn, name##_row);                                                 \
    }

#define HAS(name) __builtin_cpu_supports(#name)
EXEC(bsf, true)
EXEC(bsr, true)
EXEC(tzcnt, true) /* without it the host runs it as bsf, like any such processor */
EXEC(lzcnt, true)
EXEC(popcnt, HAS(popcnt))
EXEC(adcx, emu_int_host_has_adx())
EXEC(adox, emu_int_host_has_adx())
EXEC(blsi, HAS(bmi))
EXEC(blsr, HAS(bmi))
EXEC(blsmsk, HAS(bmi))
EXEC(andn, HAS(bmi))
EXEC(bextr, HAS(bmi))
EXEC(bzhi, HAS(bmi2))
EXEC(pdep, HAS(bmi2))
EXEC(pext, HAS(bmi2))
EXEC(sarx, HAS(bmi2))
EXEC(shlx, HAS(bmi2))
EXEC(shrx, HAS(bmi2))

/* CPUID leaf 7 EBX bit 19; gcc 12 and clang 14 have no name for it in __builtin_cpu_supports. */
bool emu_int_host_has_adx(void)
{
    uint32_t a = 7, b, c = 0, d;

    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return b >> 19 & 1;
}

/* rorx and mulx touch no flags. */
enum emu_result emu_int_rorx(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned bits = insn->op[0].size * 8, count = insn->imm & (bits - 1);
    uint64_t a;

    if (!emu_load(cpu, insn, 1, &a))
        return EMU_FAULT;
    emu_store(cpu, insn, 0, count ? a >> count | a << (bits - count) : a);
    return EMU_NEXT;
}

enum emu_result emu_int_mulx(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->op[0].size;
    unsigned __int128 product;
    uint64_t a;

    if (!emu_load(cpu, insn, 2, &a))
        return EMU_FAULT;
    product = (unsigned __int128)a * emu_gpr_get(cpu, HV_RDX, size);
    /* The high half is written last: it wins when both destinations are one register. */
    emu_store(cpu, insn, 1, (uint64_t)product);
    emu_store(cpu, insn, 0, (uint64_t)(product >> size * 8));
    return EMU_NEXT;
}

REG(crc32_1, "crc32b %b[a], %k[d]")
REG(crc32_2, "crc32w %w[a], %k[d]")
REG(crc32_4, "crc32l %k[a], %k[d]")
REG(crc32_8, "crc32q %q[a], %q[d]")

enum emu_result emu_int_crc32(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    static reg_fn *const row[9] = { [1] = crc32_1, [2] = crc32_2, [4] = crc32_4, [8] = crc32_8 };
    uint64_t a;

    if (!__builtin_cpu_supports("sse4.2"))
        return emu_raise(cpu, X86_UD);
    if (!emu_load(cpu, insn, 1, &a))
        return EMU_FAULT;
    cpu->aflags = row[insn->op[1].size](&cpu->regs[insn->op[0].reg], a, 0, cpu->aflags);
    return EMU_NEXT;
}

/* rdrand, rdseed: from the host's kernel. CF says success, the other five are cleared. */
enum emu_result emu_int_random(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t value = 0;
    bool is_good = emu_int_host_random(&value, sizeof(value));

    emu_store(cpu, insn, 0, is_good ? value : 0);
    emu_set_arith_flags(cpu, is_good ? EMU_CF : 0);
    return EMU_NEXT;
}
