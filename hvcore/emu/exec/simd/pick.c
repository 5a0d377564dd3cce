/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing fast handlers for vector and x87 instructions of 64-bit code. */
#include "hvcore/emu/exec/simd/fast_priv.h"
#include "hvcore/emu/exec/x87/x87_priv.h"

/* The compiler's knowledge of the host costs nothing; it doesn't know all, and cpuid is slow in
 * virtual machines, so that is asked only for what is rare. */
bool fast_host_runs(uint32_t features)
{
    const uint32_t rare = FPU_HAS_SHA | FPU_HAS_F16C | FPU_HAS_SSE4A;

    if ((features & rare) && (features & rare & ~fpu_host_features()))
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

/* Did the access get an entry (rather than a pointer for once)? Then the handler finds it now. */
static bool is_cached(const struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write)
{
    const struct emu_tlb_entry *e = &cpu->tlb[linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];

    return linear - (is_write ? e->write_tag : e->read_tag) <= HV_PAGE_BYTES - size;
}

const struct emu_op *fast_read_miss(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                    unsigned size)
{
    if (!emu_fill_read(cpu, linear, size) || !is_cached(cpu, linear, size, false))
        return emu_op_slow(cpu, op);
    EMU_GO_ANEW(cpu, op);
}

const struct emu_op *fast_write_miss(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                     unsigned size)
{
    if (!emu_fill_write(cpu, linear, size) || !is_cached(cpu, linear, size, true))
        return emu_op_slow(cpu, op);
    EMU_GO_ANEW(cpu, op);
}

const struct emu_op *fast_stack_miss(struct emu_cpu *cpu, const struct emu_op *op, uint64_t linear,
                                     unsigned size)
{
    if (!emu_stack_fill(cpu, linear, size) || linear - cpu->stack_page > HV_PAGE_BYTES - size)
        return emu_op_slow(cpu, op);
    EMU_GO_ANEW(cpu, op);
}

bool emu_pick_simd(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;

    if (simd_rows[insn->mnemonic].thunk || simd_rows[insn->mnemonic].thunk256)
        return fast_pick_lanes(pick, op);
    if (emu_exec_simd[insn->mnemonic])
        return !simd_is_mmx(insn) && (fast_pick_move(pick, op) || fast_pick_convert(pick, op) ||
                                      fast_pick_special(pick, op));
    return emu_exec_x87[insn->mnemonic] && x87_pick(pick, op);
}
