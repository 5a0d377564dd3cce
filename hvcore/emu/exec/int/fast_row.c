/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: rows of records that are known as a whole. */
#include "hvcore/emu/exec/int/duo_priv.h"

/* ---- Rows of pushes, and of pops, which a return may end ---- */

EMU_INLINE const struct emu_op *pushes(EMU_PARAMS, unsigned n, emu_handler *likely)
{
    uint64_t bottom = sp - 8 * n;
    uint64_t host = bottom + cpu->stack_addend;

    /* Else this one alone, as far as it goes; the record behind it begins a shorter row. */
    if (HV_UNLIKELY(!emu_hits(bottom, cpu->stack_page, 8 * n)))
        return emu_duos[KIND_PUSH][KIND_PUSH](EMU_PASS);
    for (unsigned i = 0; i < n; i++)
        EMU_GUEST(uint64_t, host + 8 * (n - 1 - i)) = emu_reg64(cpu, op[i].src);
    sp = bottom;
    cpu->regs[HV_RSP] = sp;
    EMU_GO_LIKELY(cpu, op + n, likely);
}

EMU_INLINE const struct emu_op *pops(EMU_PARAMS, unsigned n, bool returns, emu_handler *likely)
{
    uint64_t host = sp + cpu->stack_addend;

    if (HV_UNLIKELY(!emu_hits(sp, cpu->stack_page, 8 * n)))
        return emu_duos[KIND_POP][KIND_POP](EMU_PASS);
    for (unsigned i = 0; i < n; i++)
        emu_reg_set_8(cpu, op[i].dst, EMU_GUEST(uint64_t, host + 8 * i));
    sp += 8 * n;
    cpu->regs[HV_RSP] = sp;
    if (returns)
        return end_return(cpu, op + n, x, y, sp);
    EMU_GO_LIKELY(cpu, op + n, likely);
}

#define ROW(n)                                                                                     \
    EMU_HANDLER h_pushes_##n(EMU_PARAMS)                                                           \
    {                                                                                              \
        return pushes(EMU_PASS, n, EMU_NEXT(h_pushes_##n));                                        \
    }                                                                                              \
    EMU_HANDLER h_pops_##n(EMU_PARAMS)                                                             \
    {                                                                                              \
        return pops(EMU_PASS, n, false, EMU_NEXT(h_pops_##n));                                     \
    }                                                                                              \
    EMU_HANDLER h_pops_ret_##n(EMU_PARAMS)                                                         \
    {                                                                                              \
        return pops(EMU_PASS, n, true, NULL);                                                      \
    }
#define ROW_ENTRY(n) [n] = { h_pushes_##n, h_pops_##n, h_pops_ret_##n },
#define ROWS(X)      X(2) X(3) X(4) X(5) X(6)

ROWS(ROW)
emu_handler *const emu_rows[MAX_ROW + 1][N_ROWS] = { ROWS(ROW_ENTRY) };

/* ---- A jump through a table of distances, as compilers make of a switch ---- */

/* movsxd r, [table + index * 4]; add r, b; jmp r */
const struct emu_op *emu_do_switch(EMU_PARAMS)
{
    uint64_t linear = emu_ea_index(cpu, op), a;
    const struct emu_tlb_entry *slot = emu_tlb_slot(cpu, linear);
    uint16_t ax;

    if (!emu_hits(linear, slot->read_tag, 4))
        return emu_miss_read(cpu, op, linear, 4, sp);
    a = (uint64_t)(int64_t)EMU_GUEST(int32_t, linear + slot->addend);
    emu_reg_set_8(cpu, op->dst, a);
    __asm__("add %[b], %[a]" EMU_ASM_CAPTURE
            : [a] "+r"(a), "=&a"(ax)
            : [b] "r"(emu_reg64(cpu, op[1].src))
            : "cc");
    emu_reg_set_8(cpu, op->dst, a);
    emu_flags_put(cpu, ax);
    if (HV_UNLIKELY(!emu_is_canonical(a)))
        EMU_GO(cpu, op + 2);
    return emu_op_indirect(cpu, op + 2, a, emu_any_y(), sp);
}

/* ---- Sums of two words: add, and adc whose flags nobody reads ---- */

EMU_INLINE const struct emu_op *add_carry(EMU_PARAMS, bool has_imm)
{
    uint64_t low = emu_reg64(cpu, op->dst), sum = low + emu_reg64(cpu, op->src), high;

    emu_reg_set_8(cpu, op->dst, sum);
    high = has_imm ? (uint64_t)(int64_t)op[1].imm : emu_reg64(cpu, op[1].src);
    emu_reg_set_8(cpu, op[1].dst, emu_reg64(cpu, op[1].dst) + high + (sum < low));
    EMU_GO(cpu, op + 2);
}

const struct emu_op *emu_do_add_adc(EMU_PARAMS)
{
    return add_carry(EMU_PASS, false);
}

const struct emu_op *emu_do_add_adc_imm(EMU_PARAMS)
{
    return add_carry(EMU_PASS, true);
}
