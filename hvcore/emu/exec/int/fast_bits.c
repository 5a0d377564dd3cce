/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: bit tests, scans, and instructions of a line each. */
#include "hvcore/emu/exec/int/fast_priv.h"

/* ---- bt, bts, btr, btc: of a register or memory, by register or immediate ---- */

#define BIT(name, code, writes, type, size)                                                        \
    EMU_INLINE const struct emu_op *name##_##size(EMU_PARAMS, type bit, emu_handler *likely)       \
    {                                                                                              \
        type a = EMU_REG_GET(type, cpu, op->dst);                                                  \
        uint32_t ax = emu_flags_get(cpu);                                                          \
                                                                                                   \
        __asm__(EMU_ASM_FLAGS_IN code " %[bit], %[a]" EMU_ASM_FLAGS_OUT                            \
                : [a] "+r"(a), "+&a"(ax)                                                           \
                : [bit] "r"(bit)                                                                   \
                : "cc");                                                                           \
        emu_flags_put(cpu, (uint16_t)ax);                                                          \
        if (writes)                                                                                \
            emu_reg_set_##size(cpu, op->dst, a);                                                   \
        EMU_GO_LIKELY(cpu, op + 1, likely);                                                        \
    }                                                                                              \
    EMU_HANDLER h_##name##_##size##_reg(EMU_PARAMS)                                                \
    {                                                                                              \
        return name##_##size(EMU_PASS, EMU_REG_GET(type, cpu, op->src),                            \
                             EMU_NEXT(h_##name##_##size##_reg));                                   \
    }                                                                                              \
    EMU_HANDLER h_##name##_##size##_imm(EMU_PARAMS)                                                \
    {                                                                                              \
        return name##_##size(EMU_PASS, (type)op->imm, EMU_NEXT(h_##name##_##size##_imm));          \
    }

#define BIT_ALL(X)                                                                                 \
    X(bt, "bt", false, uint32_t, 4)                                                                \
    X(bt, "bt", false, uint64_t, 8)                                                                \
    X(bts, "bts", true, uint32_t, 4)                                                               \
    X(bts, "bts", true, uint64_t, 8)                                                               \
    X(btr, "btr", true, uint32_t, 4)                                                               \
    X(btr, "btr", true, uint64_t, 8)                                                               \
    X(btc, "btc", true, uint32_t, 4)                                                               \
    X(btc, "btc", true, uint64_t, 8)

BIT_ALL(BIT)

/* A bit string in memory: the unit is found first, then the bit in it. */
#define BIT_MEM(name, type, size, shift, number)                                                   \
    EMU_HANDLER h_bt_##size##_##name(EMU_PARAMS)                                                   \
    {                                                                                              \
        type bit = number;                                                                         \
        uint64_t linear = emu_ea_index(cpu, op) + (uint64_t)((int64_t)bit >> shift) * size;        \
        const struct emu_tlb_entry *slot = emu_tlb_slot(cpu, linear);                              \
        uint32_t ax = emu_flags_get(cpu);                                                          \
        type a;                                                                                    \
                                                                                                   \
        if (!emu_hits(linear, slot->read_tag, size))                                               \
            return emu_miss_read(cpu, op, linear, size, sp);                                       \
        a = EMU_GUEST(type, linear + slot->addend);                                                \
        __asm__(EMU_ASM_FLAGS_IN "bt %[bit], %[a]" EMU_ASM_FLAGS_OUT                               \
                : "+&a"(ax)                                                                        \
                : [a] "r"(a), [bit] "r"(bit)                                                       \
                : "cc");                                                                           \
        emu_flags_put(cpu, (uint16_t)ax);                                                          \
        EMU_DONE(cpu, op);                                                                         \
    }

BIT_MEM(mem_reg, int32_t, 4, 5, EMU_REG_GET(int32_t, cpu, op->src))
BIT_MEM(mem_reg, int64_t, 8, 6, EMU_REG_GET(int64_t, cpu, op->src))
BIT_MEM(mem_imm, int32_t, 4, 5, op->imm)
BIT_MEM(mem_imm, int64_t, 8, 6, op->imm)

/* The same with a write: the bit is within the unit by then, so the host's memory form reaches no
 * further. */
#define BIT_WRITE(name, code, lock, form, type, size, shift, number)                               \
    EMU_HANDLER h_##name##_##size##_##form(EMU_PARAMS)                                             \
    {                                                                                              \
        type bit = number;                                                                         \
        uint64_t linear = emu_ea_index(cpu, op) + (uint64_t)((int64_t)bit >> shift) * size;        \
        const struct emu_tlb_entry *slot = emu_tlb_slot(cpu, linear);                              \
        uint32_t ax = emu_flags_get(cpu);                                                          \
                                                                                                   \
        if (!emu_hits(linear, slot->write_tag, size))                                              \
            return emu_miss_write(cpu, op, linear, size, sp);                                      \
        if (*lock && (linear & 63) > 64 - size)                                                    \
            return emu_op_slow(cpu, op);                                                           \
        bit &= size * 8 - 1;                                                                       \
        __asm__ volatile(EMU_ASM_FLAGS_IN lock code " %[bit], %[a]" EMU_ASM_FLAGS_OUT              \
                         : "+&a"(ax), [a] "+m"(EMU_GUEST(type, linear + slot->addend))             \
                         : [bit] "r"(bit)                                                          \
                         : "cc", "memory");                                                        \
        emu_flags_put(cpu, (uint16_t)ax);                                                          \
        EMU_DONE(cpu, op);                                                                         \
    }

#define BIT_WRITES(name, code, lock)                                                               \
    BIT_WRITE(name, code "l", lock, reg, int32_t, 4, 5, EMU_REG_GET(int32_t, cpu, op->src))        \
    BIT_WRITE(name, code "q", lock, reg, int64_t, 8, 6, EMU_REG_GET(int64_t, cpu, op->src))        \
    BIT_WRITE(name, code "l", lock, imm, int32_t, 4, 5, op->imm)                                   \
    BIT_WRITE(name, code "q", lock, imm, int64_t, 8, 6, op->imm)

BIT_WRITES(mem_bts, "bts", "")
BIT_WRITES(mem_btr, "btr", "")
BIT_WRITES(mem_btc, "btc", "")
BIT_WRITES(lock_bts, "bts", "lock ")
BIT_WRITES(lock_btr, "btr", "lock ")
BIT_WRITES(lock_btc, "btc", "lock ")

#define BIT_WRITE_ENTRY(name)                                                                      \
    {                                                                                              \
        { h_##name##_4_reg, h_##name##_4_imm }, { h_##name##_8_reg, h_##name##_8_imm },            \
    }

#define BIT_ENTRY(name, code, writes, type, size)                                                  \
    [BIT_##name][size == 8] = { h_##name##_##size##_reg, h_##name##_##size##_imm },

enum { BIT_bt, BIT_bts, BIT_btr, BIT_btc, N_BITS };
static emu_handler *const bit_handlers[N_BITS][2][2] = { BIT_ALL(BIT_ENTRY) };
static emu_handler *const bit_write_handlers[2][N_BITS][2][2] = {
    { [BIT_bts] = BIT_WRITE_ENTRY(mem_bts),
      [BIT_btr] = BIT_WRITE_ENTRY(mem_btr),
      [BIT_btc] = BIT_WRITE_ENTRY(mem_btc) },
    { [BIT_bts] = BIT_WRITE_ENTRY(lock_bts),
      [BIT_btr] = BIT_WRITE_ENTRY(lock_btr),
      [BIT_btc] = BIT_WRITE_ENTRY(lock_btc) },
};
static emu_handler *const bt_mem_handlers[2][2] = { { h_bt_4_mem_reg, h_bt_4_mem_imm },
                                                    { h_bt_8_mem_reg, h_bt_8_mem_imm } };

bool emu_pick_bit(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0], *src = &pick->insn->op[1];
    unsigned mnemonic = pick->insn->mnemonic;
    unsigned bit = mnemonic == EMU_MN_BT    ? BIT_bt
                   : mnemonic == EMU_MN_BTS ? BIT_bts
                   : mnemonic == EMU_MN_BTR ? BIT_btr
                                            : BIT_btc;
    bool by_imm = src->kind == EMU_OPD_IMM;

    if (dst->size < 4)
        return false;
    if (by_imm)
        op->imm = (int32_t)(pick->insn->imm & (dst->size * 8 - 1));
    else
        op->src = emu_operand_offset(src);
    if (emu_is_reg(dst)) {
        op->dst = emu_operand_offset(dst);
        op->fn = bit_handlers[bit][dst->size == 8][by_imm];
        return true;
    }
    if (bit == BIT_bt)
        op->fn = bt_mem_handlers[dst->size == 8][by_imm];
    else
        op->fn = bit_write_handlers[!!(pick->insn->prefixes & EMU_PFX_LOCK)][bit][dst->size == 8]
                                   [by_imm];
    return emu_pick_ea(pick, op) != EMU_EA_GENERAL;
}

/* ---- bsf, bsr, tzcnt, lzcnt, popcnt of a register or a load ---- */

/* The destination goes in as well: a scan of 0 leaves it, upper half included, as the host does. */
#define SCAN(code, type, size, modifier)                                                           \
    EMU_INLINE const struct emu_op *code##_##size(EMU_PARAMS, type src)                            \
    {                                                                                              \
        uint64_t dst = EMU_REG_GET(uint64_t, cpu, op->dst);                                        \
        uint32_t ax = emu_flags_get(cpu);                                                          \
                                                                                                   \
        __asm__(EMU_ASM_FLAGS_IN #code " %[src], %" modifier "[dst]" EMU_ASM_FLAGS_OUT             \
                : [dst] "+r"(dst), "+&a"(ax)                                                       \
                : [src] "r"(src)                                                                   \
                : "cc");                                                                           \
        emu_flags_put(cpu, (uint16_t)ax);                                                          \
        emu_reg_set_8(cpu, op->dst, dst);                                                          \
        EMU_DONE(cpu, op);                                                                         \
    }                                                                                              \
    EMU_HANDLER h_##code##_##size##_reg(EMU_PARAMS)                                                \
    {                                                                                              \
        return code##_##size(EMU_PASS, EMU_REG_GET(type, cpu, op->src));                           \
    }                                                                                              \
    EMU_HANDLER h_##code##_##size##_mem(EMU_PARAMS)                                                \
    {                                                                                              \
        EMU_READ_POINTER(p, EMU_EA_INDEX, size);                                                   \
        return code##_##size(EMU_PASS, EMU_GUEST(type, p));                                        \
    }

#define SCAN_SIZES(X, code) X(code, uint32_t, 4, "k") X(code, uint64_t, 8, "q")
#define SCAN_ALL(X)                                                                                \
    SCAN_SIZES(X, bsf)                                                                             \
    SCAN_SIZES(X, bsr)                                                                             \
    SCAN_SIZES(X, tzcnt)                                                                           \
    SCAN_SIZES(X, lzcnt)                                                                           \
    SCAN_SIZES(X, popcnt)

SCAN_ALL(SCAN)

#define SCAN_ENTRY(code, type, size, modifier)                                                     \
    [SCAN_##code][size == 8] = { h_##code##_##size##_reg, h_##code##_##size##_mem },

enum { SCAN_bsf, SCAN_bsr, SCAN_tzcnt, SCAN_lzcnt, SCAN_popcnt, N_SCANS };
static emu_handler *const scan_handlers[N_SCANS][2][2] = { SCAN_ALL(SCAN_ENTRY) };

static unsigned scan_of(unsigned mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_BSF: return SCAN_bsf;
    case EMU_MN_BSR: return SCAN_bsr;
    case EMU_MN_TZCNT: return SCAN_tzcnt;
    case EMU_MN_LZCNT: return SCAN_lzcnt;
    default: return SCAN_popcnt;
    }
}

bool emu_pick_scan(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0], *src = &pick->insn->op[1];
    bool is_mem = src->kind == EMU_OPD_MEM;

    if (dst->size < 4 ||
        (pick->insn->mnemonic == EMU_MN_POPCNT && !__builtin_cpu_supports("popcnt")))
        return false;
    op->dst = emu_operand_offset(dst);
    if (is_mem) {
        if (emu_pick_ea(pick, op) == EMU_EA_GENERAL)
            return false;
    } else {
        op->src = emu_operand_offset(src);
    }
    op->fn = scan_handlers[scan_of(pick->insn->mnemonic)][dst->size == 8][is_mem];
    return true;
}

/* ---- A line each ---- */

#define SMALL(name, statement)                                                                     \
    EMU_HANDLER h_##name(EMU_PARAMS)                                                               \
    {                                                                                              \
        statement;                                                                                 \
        EMU_DONE(cpu, op);                                                                         \
    }

#define RAX cpu->regs[HV_RAX]
#define RDX cpu->regs[HV_RDX]

SMALL(nop, )
SMALL(pause, emu_machine_pause(cpu))
SMALL(mfence, __asm__ volatile("mfence" ::: "memory"))
SMALL(lfence, __asm__ volatile("lfence" ::: "memory"))
SMALL(sfence, __asm__ volatile("sfence" ::: "memory"))
SMALL(cbw, *(uint16_t *)&RAX = (uint16_t)(int8_t)RAX)
SMALL(cwde, RAX = (uint32_t)(int16_t)RAX)
SMALL(cdqe, RAX = (uint64_t)(int32_t)RAX)
SMALL(cdq, RDX = (uint32_t)((int32_t)RAX >> 31))
SMALL(cqo, RDX = (uint64_t)((int64_t)RAX >> 63))
SMALL(clc, emu_flags_put(cpu, emu_flags_get(cpu) & (uint16_t)~AFLAGS_CF))
SMALL(stc, emu_flags_put(cpu, emu_flags_get(cpu) | AFLAGS_CF))
SMALL(cmc, emu_flags_put(cpu, emu_flags_get(cpu) ^ AFLAGS_CF))
SMALL(cld, cpu->df_step = 1)
SMALL(std, cpu->df_step = UINT64_MAX)
SMALL(bswap_4, emu_reg_set_4(cpu, op->dst, __builtin_bswap32(EMU_REG_GET(uint32_t, cpu, op->dst))))
SMALL(bswap_8, emu_reg_set_8(cpu, op->dst, __builtin_bswap64(EMU_REG_GET(uint64_t, cpu, op->dst))))

/* clang-format off */
static const struct {
    uint16_t mnemonic;
    emu_handler *fn;
} small_rows[] = {
    { EMU_MN_NOP, h_nop },           { EMU_MN_PAUSE, h_pause },       { EMU_MN_MFENCE, h_mfence },
    { EMU_MN_LFENCE, h_lfence },     { EMU_MN_SFENCE, h_sfence },     { EMU_MN_CBW, h_cbw },
    { EMU_MN_CWDE, h_cwde },         { EMU_MN_CDQE, h_cdqe },         { EMU_MN_CDQ, h_cdq },
    { EMU_MN_CQO, h_cqo },           { EMU_MN_CLC, h_clc },           { EMU_MN_STC, h_stc },
    { EMU_MN_CMC, h_cmc },           { EMU_MN_CLD, h_cld },           { EMU_MN_STD, h_std },
    { EMU_MN_PREFETCH, h_nop },      { EMU_MN_PREFETCHW, h_nop },     { EMU_MN_PREFETCHT0, h_nop },
    { EMU_MN_PREFETCHT1, h_nop },    { EMU_MN_PREFETCHT2, h_nop },    { EMU_MN_PREFETCHNTA, h_nop },
};
/* clang-format on */

bool emu_pick_small(const struct emu_pick *pick, struct emu_op *op)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(small_rows); i++) {
        if (small_rows[i].mnemonic == pick->insn->mnemonic) {
            op->fn = small_rows[i].fn;
            return true;
        }
    }
    return false;
}

bool emu_pick_bswap(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0];

    op->dst = emu_operand_offset(dst);
    op->fn = dst->size == 8 ? h_bswap_8 : h_bswap_4;
    return dst->size >= 4;
}
