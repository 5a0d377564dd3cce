/* SPDX-License-Identifier: Apache-2.0 */
/* Single elements and halves: pinsr, pextr, extractps, vinsertf128, vextractf128, vbroadcast. */
#include "hvcore/emu/exec/simd/simd_priv.h"

static unsigned element_bytes(uint16_t mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_PINSRB:
    case EMU_MN_VPINSRB:
    case EMU_MN_PEXTRB:
    case EMU_MN_VPEXTRB:
    case EMU_MN_VPBROADCASTB: return 1;
    case EMU_MN_PINSRW:
    case EMU_MN_VPINSRW:
    case EMU_MN_PEXTRW:
    case EMU_MN_VPEXTRW:
    case EMU_MN_VPBROADCASTW: return 2;
    case EMU_MN_PINSRQ:
    case EMU_MN_VPINSRQ:
    case EMU_MN_PEXTRQ:
    case EMU_MN_VPEXTRQ:
    case EMU_MN_VPBROADCASTQ:
    case EMU_MN_VBROADCASTSD: return 8;
    case EMU_MN_VBROADCASTF128:
    case EMU_MN_VBROADCASTI128: return 16;
    default: return 4;
    }
}

/* pinsrw and pextrw from registers came with SSE2, all others later. */
static uint32_t element_features(uint16_t mnemonic)
{
    return element_bytes(mnemonic) == 2 ? 0 : FPU_HAS_SSE41;
}

enum emu_result simd_exec_insert(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = element_bytes(insn->mnemonic), source = simd_is_vex(insn) ? 2 : 1;
    unsigned dst = insn->op[0].reg & 15, index = (insn->imm & (16 / size - 1)) * size;
    uint64_t value = 0;

    if (simd_is_mmx(insn))
        return simd_exec_mmx_move(cpu, insn);
    if (!simd_ready(cpu, insn, element_features(insn->mnemonic)))
        return EMU_FAULT;
    if (!simd_is_mem(insn, source))
        value = cpu->regs[insn->op[source].reg & 15];
    else if (!emu_load_bytes(cpu, insn, &value, size, 0))
        return EMU_FAULT;
    simd_set128(cpu, dst, simd_get128(cpu, insn->op[source - 1].reg & 15), simd_is_vex(insn));
    memcpy((char *)cpu->vec[dst].q + index, &value, size);
    return EMU_NEXT;
}

enum emu_result simd_exec_extract(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = element_bytes(insn->mnemonic);
    unsigned index = (insn->imm & (16 / size - 1)) * size;
    uint64_t value = 0;

    if (simd_is_mmx(insn))
        return simd_exec_mmx_move(cpu, insn);
    if (!simd_ready(cpu, insn, element_features(insn->mnemonic)))
        return EMU_FAULT;
    memcpy(&value, (const char *)cpu->vec[insn->op[1].reg & 15].q + index, size);
    if (simd_is_mem(insn, 0))
        return emu_store_bytes(cpu, insn, &value, size, 0) ? EMU_NEXT : EMU_FAULT;
    cpu->regs[insn->op[0].reg & 15] = value;
    return EMU_NEXT;
}

/* vinsertf128, vinserti128 */
enum emu_result simd_exec_insert_lane(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_vec result = cpu->vec[insn->op[1].reg & 15], source = { 0 };

    if (!simd_ready(cpu, insn, insn->mnemonic == EMU_MN_VINSERTI128 ? FPU_HAS_AVX2 : 0) ||
        !simd_source_any(cpu, insn, 2, source.q, 16))
        return EMU_FAULT;
    memcpy(result.q + 2 * (insn->imm & 1), source.q, 16);
    cpu->vec[insn->op[0].reg & 15] = result;
    return EMU_NEXT;
}

/* vextractf128, vextracti128 */
enum emu_result simd_exec_extract_lane(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const uint64_t *half = cpu->vec[insn->op[1].reg & 15].q + 2 * (insn->imm & 1);
    simd_v128 value;

    if (!simd_ready(cpu, insn, insn->mnemonic == EMU_MN_VEXTRACTI128 ? FPU_HAS_AVX2 : 0))
        return EMU_FAULT;
    if (simd_is_mem(insn, 0))
        return emu_store_bytes(cpu, insn, half, 16, 0) ? EMU_NEXT : EMU_FAULT;
    memcpy(&value, half, 16);
    simd_set128(cpu, insn->op[0].reg & 15, value, true);
    return EMU_NEXT;
}

/* vbroadcastss .. vpbroadcastq */
enum emu_result simd_exec_broadcast(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned i, size = element_bytes(insn->mnemonic), total = insn->vex_l ? 32 : 16;
    bool is_avx2 = !simd_is_mem(insn, 1) || insn->mnemonic == EMU_MN_VBROADCASTI128 ||
                   (insn->mnemonic >= EMU_MN_VPBROADCASTB && insn->mnemonic <= EMU_MN_VPBROADCASTW);
    struct emu_vec result = { 0 };
    uint8_t element[16];

    if (!simd_ready(cpu, insn, is_avx2 ? FPU_HAS_AVX2 : 0) ||
        !simd_source_any(cpu, insn, 1, element, size))
        return EMU_FAULT;
    for (i = 0; i < total; i += size)
        memcpy((char *)result.q + i, element, size);
    cpu->vec[insn->op[0].reg & 15] = result;
    return EMU_NEXT;
}
