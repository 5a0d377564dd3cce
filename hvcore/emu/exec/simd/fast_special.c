/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers of forms with operands of their own kind: selection by a mask register (blendv,
 * sha256rnds2) and string compares. Their thunk is in imm64.
 */
#include "hvcore/emu/exec/simd/fast_priv.h"

/* ---- Selection: the mask's register is in bits 20-23 of imm, the alignment in 16-19 ---- */
static inline unsigned mask_of(const struct emu_op *op)
{
    return op->imm >> 20 & 15;
}

static inline bool masked_misaligned(const struct emu_op *op, const void *p)
{
    return HV_UNLIKELY((uintptr_t)p & (op->imm >> 16 & 15));
}

#define SELECT128(cpu, op, source)                                                                 \
    fast_put(cpu, op,                                                                              \
             ((simd_fn128x3 *)(uintptr_t)(op)->imm64)(fast_get(cpu, mask_of(op)),                  \
                                                      fast_get(cpu, (op)->aux), *(source)))
#define SELECT256(cpu, op, source)                                                                 \
    simd_call256x3((const void *)(uintptr_t)(op)->imm64, &(cpu)->vec[(op)->dst],                   \
                   &(cpu)->vec[mask_of(op)], &(cpu)->vec[(op)->aux], source)

/* clang-format off */
#define SELECT_REG(name, select, type)                                                             \
    static const struct emu_op *name##_reg(EMU_PARAMS)           \
    {                                                                                              \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        select(cpu, op, (const type *)(uintptr_t)cpu->vec[op->src].q);                             \
        EMU_DONE(cpu, op);                                                                         \
    }
#define SELECT_MEM(ea, name, select, type)                                                         \
    static const struct emu_op *name##_##ea(EMU_PARAMS)          \
    {                                                                                              \
        const void *p;                                                                             \
        FAST_READ_##ea(cpu, op, sizeof(type), p);                                                  \
        if (masked_misaligned(op, p) || fast_trapped(cpu, op))                                     \
            return emu_op_slow(cpu, op);                                                           \
        select(cpu, op, (const type *)p);                                                          \
        EMU_DONE(cpu, op);                                                                         \
    }
#define SELECT(name, select, type)                                                                 \
    SELECT_REG(name, select, type)                                                                 \
    FAST_EACH_EA(SELECT_MEM, name, select, type)                                                   \
    static emu_handler *const name##_mem[3] = FAST_EA_TABLE(name##_);
/* clang-format on */
SELECT(select128, SELECT128, simd_u128)
SELECT(select256, SELECT256, simd_u256)

static bool pick_select(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    struct simd_masked_form form = simd_masked_form(insn->mnemonic);
    bool is_vex = simd_is_vex(insn), is_256 = is_vex && insn->vex_l;
    unsigned mask = is_vex ? insn->op[3].reg & 15 : 0;
    unsigned align = is_vex || form.features == FPU_HAS_SHA ? 1 : 16;

    if (!fast_host_runs(is_256 ? form.features256 : form.features))
        return false;
    op->dst = insn->op[0].reg & 15;
    op->aux = insn->op[is_vex ? 1 : 0].reg & 15;
    op->imm = fast_pack(insn, 0, (align - 1) + (mask << 4) + 1);
    op->imm64 = is_256 ? (uintptr_t)form.high : (uintptr_t)form.low;
    return fast_bind(pick, op, is_vex ? 2 : 1, is_256 ? select256_reg : select128_reg,
                     is_256 ? select256_mem : select128_mem);
}

/* ---- String compares; dst: is the result a mask ---- */
/* apart, since a handler that lends out the address of a local can't end with a tail call */
__attribute__((noinline)) static void compare(struct emu_cpu *cpu, const struct emu_op *op,
                                              simd_v128 source)
{
    struct simd_string registers = { .rax = cpu->regs[HV_RAX], .rdx = cpu->regs[HV_RDX] };
    simd_v128 mask =
        simd_string(fast_get(cpu, op->aux), source, (const void *)(uintptr_t)op->imm64, &registers);

    if (op->dst) {
        *fast_half(cpu, 0, 0) = mask;
        if (op->imm & FAST_VEX)
            *fast_half(cpu, 0, 1) = (simd_v128){ 0, 0 };
    } else {
        cpu->regs[HV_RCX] = (uint32_t)registers.rcx;
    }
    cpu->aflags = (uint32_t)registers.flags;
}

static const struct emu_op *string_reg(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    compare(cpu, op, fast_get(cpu, op->src));
    EMU_DONE(cpu, op);
}

#define STRING_MEM(ea, unused)                                                                     \
    static const struct emu_op *string_##ea(EMU_PARAMS)                                            \
    {                                                                                              \
        const void *p;                                                                             \
        FAST_READ_##ea(cpu, op, 16, p);                                                            \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        compare(cpu, op, *(const simd_u128 *)p);                                                   \
        EMU_DONE(cpu, op);                                                                         \
    }
FAST_EACH_EA(STRING_MEM, )
static emu_handler *const string_mem[3] = FAST_EA_TABLE(string_);

static bool pick_string(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    bool is_mask;
    const char *table = simd_string_table(insn->mnemonic, insn->prefixes & EMU_PFX_REX_W, &is_mask);

    if (!fast_host_runs(FPU_HAS_SSE42))
        return false;
    op->dst = is_mask;
    op->aux = insn->op[0].reg & 15;
    op->imm = fast_pack(insn, 16, 0);
    op->imm64 = (uintptr_t)(table + (insn->imm & 127) * SIMD_STRIDE);
    return fast_bind(pick, op, 1, string_reg, string_mem);
}

bool fast_pick_special(const struct emu_pick *pick, struct emu_op *op)
{
    emu_exec_fn *exec = emu_exec_simd[pick->insn->mnemonic];

    if (exec == simd_exec_masked)
        return pick_select(pick, op);
    return exec == simd_exec_string && pick_string(pick, op);
}
