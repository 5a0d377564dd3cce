/* SPDX-License-Identifier: Apache-2.0 */
/* Moves between vector registers, general registers and memory. */
#include "hvcore/emu/exec/simd/simd_priv.h"

static bool is_aligned_form(uint16_t mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_MOVUPS:
    case EMU_MN_VMOVUPS:
    case EMU_MN_MOVUPD:
    case EMU_MN_VMOVUPD:
    case EMU_MN_MOVDQU:
    case EMU_MN_VMOVDQU:
    case EMU_MN_LDDQU:
    case EMU_MN_VLDDQU: return false;
    default: return true;
    }
}

static uint32_t move_features(const struct emu_insn *insn)
{
    if (insn->mnemonic == EMU_MN_VMOVNTDQA && insn->vex_l)
        return FPU_HAS_AVX2;
    return insn->mnemonic == EMU_MN_MOVNTDQA ? FPU_HAS_SSE41 : 0;
}

/* Whole registers: movaps, movups, movdqa, movdqu, lddqu, movntps, movntdqa, ... */
enum emu_result simd_exec_move(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool is_vex = simd_is_vex(insn);
    unsigned size = is_vex && insn->vex_l ? 32 : 16;
    unsigned align = is_aligned_form(insn->mnemonic) ? size : 0;
    struct emu_vec value = { 0 };

    if (!simd_ready(cpu, insn, move_features(insn)))
        return EMU_FAULT;
    if (simd_is_mem(insn, 0))
        return emu_store_bytes(cpu, insn, cpu->vec[insn->op[1].reg & 15].q, size, align)
                   ? EMU_NEXT
                   : EMU_FAULT;
    if (simd_is_mem(insn, 1)) {
        if (!emu_load_bytes(cpu, insn, value.q, size, align))
            return EMU_FAULT;
    } else {
        memcpy(value.q, cpu->vec[insn->op[1].reg & 15].q, size);
    }
    memcpy(cpu->vec[insn->op[0].reg & 15].q, value.q, is_vex ? 32 : 16);
    return EMU_NEXT;
}

static void put(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t low, uint64_t high)
{
    struct emu_vec *dst = &cpu->vec[insn->op[0].reg & 15];

    dst->q[0] = low;
    dst->q[1] = high;
    if (simd_is_vex(insn))
        dst->q[2] = dst->q[3] = 0;
}

static const struct emu_vec *get(const struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n)
{
    return &cpu->vec[insn->op[n].reg & 15];
}

static bool is_double(uint16_t mnemonic)
{
    return mnemonic == EMU_MN_SSE_MOVSD || mnemonic == EMU_MN_VMOVSD || mnemonic == EMU_MN_MOVNTSD;
}

/* movss, movsd, movntss, movntsd */
enum emu_result simd_exec_move_scalar(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = is_double(insn->mnemonic) ? 8 : 4;
    unsigned last = insn->n_operands == 3 ? 2 : 1;
    bool is_nt = insn->mnemonic == EMU_MN_MOVNTSD || insn->mnemonic == EMU_MN_MOVNTSS;
    uint64_t value = 0;

    if (!simd_ready(cpu, insn, is_nt ? FPU_HAS_SSE4A : 0))
        return EMU_FAULT;
    if (simd_is_mem(insn, 0))
        return emu_store_bytes(cpu, insn, get(cpu, insn, 1)->q, size, 0) ? EMU_NEXT : EMU_FAULT;
    if (simd_is_mem(insn, 1)) {
        if (!emu_load_bytes(cpu, insn, &value, size, 0))
            return EMU_FAULT;
        put(cpu, insn, value, 0);
        return EMU_NEXT;
    }
    value = get(cpu, insn, last - 1)->q[0];
    memcpy(&value, get(cpu, insn, last)->q, size);
    put(cpu, insn, value, get(cpu, insn, last - 1)->q[1]);
    return EMU_NEXT;
}

/* movlps, movlpd, movhps, movhpd: one half and memory */
enum emu_result simd_exec_move_half(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool is_high = insn->mnemonic == EMU_MN_MOVHPS || insn->mnemonic == EMU_MN_MOVHPD ||
                   insn->mnemonic == EMU_MN_VMOVHPS || insn->mnemonic == EMU_MN_VMOVHPD;
    const struct emu_vec *first;
    uint64_t value;

    if (!simd_ready(cpu, insn, 0))
        return EMU_FAULT;
    if (simd_is_mem(insn, 0))
        return emu_store_bytes(cpu, insn, &get(cpu, insn, 1)->q[is_high], 8, 0) ? EMU_NEXT
                                                                                : EMU_FAULT;
    if (!emu_load_bytes(cpu, insn, &value, 8, 0))
        return EMU_FAULT;
    first = get(cpu, insn, insn->n_operands == 3 ? 1 : 0);
    put(cpu, insn, is_high ? first->q[0] : value, is_high ? value : first->q[1]);
    return EMU_NEXT;
}

/* movhlps, movlhps */
enum emu_result simd_exec_move_cross(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const struct emu_vec *first = get(cpu, insn, insn->n_operands == 3 ? 1 : 0);
    const struct emu_vec *last = get(cpu, insn, insn->n_operands == 3 ? 2 : 1);

    if (!simd_ready(cpu, insn, 0))
        return EMU_FAULT;
    if (insn->mnemonic == EMU_MN_MOVHLPS || insn->mnemonic == EMU_MN_VMOVHLPS)
        put(cpu, insn, last->q[1], first->q[1]);
    else
        put(cpu, insn, first->q[0], last->q[0]);
    return EMU_NEXT;
}

/* movd, movq */
enum emu_result simd_exec_movd(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool is_q = insn->mnemonic == EMU_MN_MOVQ || insn->mnemonic == EMU_MN_VMOVQ;
    uint64_t value = 0;

    if (simd_is_mmx(insn))
        return simd_exec_mmx_move(cpu, insn);
    if (!simd_ready(cpu, insn, 0))
        return EMU_FAULT;
    if (insn->op[1].kind == EMU_OPD_VEC)
        value = get(cpu, insn, 1)->q[0];
    else if (insn->op[1].kind == EMU_OPD_GPR)
        value = cpu->regs[insn->op[1].reg & 15];
    else if (!emu_load_bytes(cpu, insn, &value, is_q ? 8 : 4, 0))
        return EMU_FAULT;
    if (!is_q)
        value = (uint32_t)value;
    if (simd_is_mem(insn, 0))
        return emu_store_bytes(cpu, insn, &value, is_q ? 8 : 4, 0) ? EMU_NEXT : EMU_FAULT;
    if (insn->op[0].kind == EMU_OPD_GPR)
        cpu->regs[insn->op[0].reg & 15] = value;
    else
        put(cpu, insn, value, 0);
    return EMU_NEXT;
}

/* vzeroupper, vzeroall */
enum emu_result simd_exec_zero(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned i, n = cpu->code_size == EMU_CODE64 ? 16 : 8;
    bool is_all = insn->mnemonic == EMU_MN_VZEROALL;

    if (!simd_ready(cpu, insn, 0))
        return EMU_FAULT;
    for (i = 0; i < n; i++)
        memset(cpu->vec[i].q + (is_all ? 0 : 2), 0, is_all ? 32 : 16);
    return EMU_NEXT;
}
