/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing fast handlers for vector and x87 instructions of 64-bit code. */
#include "hvcore/emu/exec/simd/fast_priv.h"
#include "hvcore/emu/exec/x87/x87_priv.h"

/* What isn't known here takes the generic form, which asks again. */
bool fast_host_runs(uint32_t features)
{
    if (features & (FPU_HAS_SHA | FPU_HAS_F16C | FPU_HAS_SSE4A))
        return false;
    return (!(features & FPU_HAS_SSE3) || __builtin_cpu_supports("sse3")) &&
           (!(features & FPU_HAS_SSSE3) || __builtin_cpu_supports("ssse3")) &&
           (!(features & FPU_HAS_SSE41) || __builtin_cpu_supports("sse4.1")) &&
           (!(features & FPU_HAS_SSE42) || __builtin_cpu_supports("sse4.2")) &&
           (!(features & FPU_HAS_AES) || __builtin_cpu_supports("aes")) &&
           (!(features & FPU_HAS_PCLMUL) || __builtin_cpu_supports("pclmul")) &&
           (!(features & FPU_HAS_AVX) || __builtin_cpu_supports("avx")) &&
           (!(features & FPU_HAS_AVX2) || __builtin_cpu_supports("avx2")) &&
           (!(features & FPU_HAS_FMA) || __builtin_cpu_supports("fma"));
}

bool fast_bind(const struct emu_pick *pick, struct emu_op *op, unsigned n, emu_handler *reg,
               emu_handler *const mem[3])
{
    const struct emu_operand *operand = &pick->insn->op[n];
    enum emu_ea_form form;

    switch (operand->kind) {
    case EMU_OPD_VEC:
        op->src = operand->reg & 15;
        op->fn = reg;
        return reg != NULL;
    case EMU_OPD_MEM:
        form = emu_pick_ea(pick, op);
        if (form == EMU_EA_GENERAL)
            return false;
        op->fn = mem[form];
        return op->fn != NULL;
    default: return false;
    }
}

bool emu_pick_simd(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;

    if (simd_rows[insn->mnemonic].thunk || simd_rows[insn->mnemonic].thunk256)
        return fast_pick_lanes(pick, op);
    if (emu_exec_simd[insn->mnemonic])
        return !simd_is_mmx(insn) && (fast_pick_move(pick, op) || fast_pick_convert(pick, op));
    return emu_exec_x87[insn->mnemonic] && x87_pick(pick, op);
}
