/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic forms of all instructions that compute on vector registers by one of the host's
 * instructions: fetch operands, call the thunk, store the result.
 */
#include "hvcore/emu/exec/simd/simd_priv.h"

/* clang-format off */
typedef simd_v128 fn128(simd_v128 first, simd_v128 second);
typedef uint64_t to_gpr128(simd_v128 source);
typedef uint32_t to_flags128(simd_v128 first, simd_v128 second);
typedef simd_v128 from_gpr(simd_v128 first, uint64_t value);
/* clang-format on */

const struct simd_row *simd_row_of(const struct emu_insn *insn)
{
    bool has_imm = insn->n_operands && insn->op[insn->n_operands - 1].kind == EMU_OPD_IMM;

    if (has_imm && insn->mnemonic == EMU_MN_VPERMILPS)
        return &simd_row_vpermilps_imm;
    if (has_imm && insn->mnemonic == EMU_MN_VPERMILPD)
        return &simd_row_vpermilpd_imm;
    return &simd_rows[insn->mnemonic];
}

struct simd_parts simd_parse(const struct emu_insn *insn, const struct simd_row *row)
{
    struct simd_parts parts = { .dst = insn->op[0].reg & 15 };
    unsigned n = insn->n_operands;

    if (n && insn->op[n - 1].kind == EMU_OPD_IMM) {
        parts.has_imm = true;
        parts.imm = (uint8_t)insn->imm;
        n--;
    }
    if (!simd_is_vex(insn) && n > 2)
        n = 2;
    parts.last = n ? n - 1 : 0;
    parts.first = insn->op[n == 3 ? 1 : 0].reg & 15;
    if ((row->flags & (SIMD_SHIFT | SIMD_BYTE_SHIFT)) && parts.has_imm)
        parts.first = insn->op[parts.last].reg & 15;
    /* the source selector of insertps has no meaning for a memory operand */
    if ((insn->mnemonic == EMU_MN_INSERTPS || insn->mnemonic == EMU_MN_VINSERTPS) &&
        simd_is_mem(insn, parts.last))
        parts.imm &= 0x3f;
    return parts;
}

bool simd_ready(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t features)
{
    uint8_t trap = simd_is_vex(insn) ? cpu->avx_trap : cpu->simd_trap;

    if (!trap && (features & ~cpu->fpu->features))
        trap = X86_UD;
    if (!trap)
        return true;
    emu_raise(cpu, trap);
    return false;
}

bool simd_source_any(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, void *ret,
                     unsigned size)
{
    if (simd_is_mem(insn, n))
        return emu_load_bytes(cpu, insn, ret, size, 0);
    memcpy(ret, cpu->vec[insn->op[n].reg & 15].q, size);
    return true;
}

bool simd_source(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, void *ret,
                 unsigned size)
{
    if (simd_is_mem(insn, n) && size == 16 && !simd_is_vex(insn))
        return emu_load_bytes(cpu, insn, ret, size, 16);
    return simd_source_any(cpu, insn, n, ret, size);
}

/* The last source, all 32 bytes of a register or as many of memory as the form reads. */
static bool last_source(struct emu_cpu *cpu, const struct emu_insn *insn,
                        const struct simd_row *row, const struct simd_parts *parts,
                        struct emu_vec *ret)
{
    unsigned size = simd_is_256(insn, row) ? row->m256 : row->m128;

    *ret = (struct emu_vec){ 0 };
    if ((row->flags & SIMD_SHIFT) && parts->has_imm) {
        ret->q[0] = parts->imm;
        return true;
    }
    if (simd_is_mem(insn, parts->last))
        return row->flags & SIMD_ANY_ALIGN ? simd_source_any(cpu, insn, parts->last, ret->q, size)
                                           : simd_source(cpu, insn, parts->last, ret->q, size);
    *ret = cpu->vec[insn->op[parts->last].reg & 15];
    return true;
}

static simd_v128 low_half(const struct emu_vec *vec)
{
    simd_v128 value;

    memcpy(&value, vec->q, 16);
    return value;
}

static enum emu_result lanes256(struct emu_cpu *cpu, const struct simd_row *row,
                                const struct simd_parts *parts, const struct emu_vec *last)
{
    const void *thunk = simd_pick_thunk(row, row->thunk256, parts->imm);
    const struct emu_vec *first = &cpu->vec[parts->first];
    struct emu_vec result;

    if (row->flags & SIMD_FP)
        fpu_simd_begin(cpu);
    if (row->flags & SIMD_FUSED)
        simd_call256x3(thunk, &result, &cpu->vec[parts->dst], first, last);
    else
        simd_call256(thunk, &result, first, last);
    if ((row->flags & SIMD_FP) && !fpu_simd_end(cpu))
        return EMU_FAULT;
    cpu->vec[parts->dst] = result;
    return EMU_NEXT;
}

static enum emu_result lanes128(struct emu_cpu *cpu, const struct simd_row *row,
                                const struct simd_parts *parts, const struct emu_vec *last,
                                bool is_vex)
{
    const void *thunk = simd_pick_thunk(row, row->thunk, parts->imm);
    simd_v128 result;

    if (row->flags & SIMD_FP)
        fpu_simd_begin(cpu);
    if (row->flags & SIMD_FUSED)
        result = ((simd_fn128x3 *)thunk)(simd_get128(cpu, parts->dst),
                                         simd_get128(cpu, parts->first), low_half(last));
    else
        result = ((fn128 *)thunk)(simd_get128(cpu, parts->first), low_half(last));
    if ((row->flags & SIMD_FP) && !fpu_simd_end(cpu))
        return EMU_FAULT;
    simd_set128(cpu, parts->dst, result, is_vex);
    return EMU_NEXT;
}

/* All rows of rows.def. */
enum emu_result simd_exec_lanes(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const struct simd_row *row = simd_row_of(insn);
    bool is_256 = simd_is_256(insn, row);
    struct simd_parts parts = simd_parse(insn, row);
    struct emu_vec last;

    if (simd_is_mmx(insn))
        return simd_exec_mmx(cpu, insn);
    if (!simd_ready(cpu, insn, is_256 ? row->features256 : row->features))
        return EMU_FAULT;
    if (!(is_256 ? row->thunk256 : row->thunk))
        return emu_raise(cpu, X86_UD);
    if (!last_source(cpu, insn, row, &parts, &last))
        return EMU_FAULT;
    if (is_256)
        return lanes256(cpu, row, &parts, &last);
    return lanes128(cpu, row, &parts, &last, simd_is_vex(insn));
}

/* ---- blendvps, blendvpd, pblendvb, sha256rnds2: a mask chooses; legacy forms take xmm0 ---- */
simd_fn128x3 simd_t_BLENDVPS, simd_t_BLENDVPD, simd_t_PBLENDVB, simd_t_SHA256RNDS2;
extern const char simd_t256_BLENDVPS[], simd_t256_BLENDVPD[], simd_t256_PBLENDVB[];

struct simd_masked_form simd_masked_form(uint16_t mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_BLENDVPS:
    case EMU_MN_VBLENDVPS:
        return (struct simd_masked_form){ simd_t_BLENDVPS, simd_t256_BLENDVPS, FPU_HAS_SSE41,
                                          FPU_HAS_AVX };
    case EMU_MN_BLENDVPD:
    case EMU_MN_VBLENDVPD:
        return (struct simd_masked_form){ simd_t_BLENDVPD, simd_t256_BLENDVPD, FPU_HAS_SSE41,
                                          FPU_HAS_AVX };
    case EMU_MN_SHA256RNDS2:
        return (struct simd_masked_form){ simd_t_SHA256RNDS2, NULL, FPU_HAS_SHA, FPU_HAS_SHA };
    default:
        return (struct simd_masked_form){ simd_t_PBLENDVB, simd_t256_PBLENDVB, FPU_HAS_SSE41,
                                          FPU_HAS_AVX2 };
    }
}

enum emu_result simd_exec_masked(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct simd_masked_form form = simd_masked_form(insn->mnemonic);
    bool is_vex = simd_is_vex(insn), is_256 = is_vex && insn->vex_l;
    unsigned source = is_vex ? 2 : 1;
    struct emu_vec last = { 0 };
    /* destination, first source, mask */
    uint8_t reg[3] = { insn->op[0].reg & 15, insn->op[is_vex ? 1 : 0].reg & 15,
                       is_vex ? insn->op[3].reg & 15 : 0 };

    if (!simd_ready(cpu, insn, is_256 ? form.features256 : form.features) ||
        !(form.features == FPU_HAS_SHA ? simd_source_any : simd_source)(cpu, insn, source, last.q,
                                                                        is_256 ? 32 : 16))
        return EMU_FAULT;
    if (is_256)
        simd_call256x3(form.high, &cpu->vec[reg[0]], &cpu->vec[reg[2]], &cpu->vec[reg[1]], &last);
    else
        simd_set128(cpu, reg[0],
                    form.low(simd_get128(cpu, reg[2]), simd_get128(cpu, reg[1]), low_half(&last)),
                    is_vex);
    return EMU_NEXT;
}

/* ---- comiss .. vtestpd: the result is in the flags ---- */
to_flags128 simd_t_COMISS, simd_t_COMISD, simd_t_UCOMISS, simd_t_UCOMISD, simd_t_PTEST,
    simd_t_VTESTPS, simd_t_VTESTPD;
extern const char simd_t256_PTEST[], simd_t256_VTESTPS[], simd_t256_VTESTPD[];

struct flags_form {
    to_flags128 *low;
    const void *high; /* NULL: scalar, depends on MXCSR */
    unsigned size;
    uint32_t features;
};

static struct flags_form flags_form(uint16_t mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_COMISS:
    case EMU_MN_VCOMISS: return (struct flags_form){ simd_t_COMISS, NULL, 4, 0 };
    case EMU_MN_COMISD:
    case EMU_MN_VCOMISD: return (struct flags_form){ simd_t_COMISD, NULL, 8, 0 };
    case EMU_MN_UCOMISS:
    case EMU_MN_VUCOMISS: return (struct flags_form){ simd_t_UCOMISS, NULL, 4, 0 };
    case EMU_MN_UCOMISD:
    case EMU_MN_VUCOMISD: return (struct flags_form){ simd_t_UCOMISD, NULL, 8, 0 };
    case EMU_MN_VTESTPS:
        return (struct flags_form){ simd_t_VTESTPS, simd_t256_VTESTPS, 16, FPU_HAS_AVX };
    case EMU_MN_VTESTPD:
        return (struct flags_form){ simd_t_VTESTPD, simd_t256_VTESTPD, 16, FPU_HAS_AVX };
    default: return (struct flags_form){ simd_t_PTEST, simd_t256_PTEST, 16, FPU_HAS_SSE41 };
    }
}

enum emu_result simd_exec_flags(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct flags_form form = flags_form(insn->mnemonic);
    bool is_256 = form.high && simd_is_vex(insn) && insn->vex_l;
    struct emu_vec last = { 0 };
    unsigned reg = insn->op[0].reg & 15;
    uint32_t flags;

    if (!simd_ready(cpu, insn, form.features) ||
        !simd_source(cpu, insn, 1, last.q, is_256 ? 32 : form.size))
        return EMU_FAULT;
    if (is_256) {
        cpu->aflags = (uint32_t)simd_ask256(form.high, &cpu->vec[reg], &last);
        return EMU_NEXT;
    }
    if (!form.high)
        fpu_simd_begin(cpu);
    flags = form.low(simd_get128(cpu, reg), low_half(&last));
    if (!form.high && !fpu_simd_end(cpu))
        return EMU_FAULT;
    cpu->aflags = flags;
    return EMU_NEXT;
}

/* ---- movmskps, movmskpd, pmovmskb ---- */
to_gpr128 simd_t_MOVMSKPS, simd_t_MOVMSKPD, simd_t_PMOVMSKB;
extern const char simd_t256_MOVMSKPS[], simd_t256_MOVMSKPD[], simd_t256_PMOVMSKB[];

enum emu_result simd_exec_mask_of_signs(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool is_256 = simd_is_vex(insn) && insn->vex_l;
    unsigned reg = insn->op[1].reg & 15;
    to_gpr128 *low;
    const void *high;
    uint32_t features = 0;

    if (simd_is_mmx(insn))
        return simd_exec_mmx_move(cpu, insn);
    switch (insn->mnemonic) {
    case EMU_MN_MOVMSKPS:
    case EMU_MN_VMOVMSKPS:
        low = simd_t_MOVMSKPS;
        high = simd_t256_MOVMSKPS;
        break;
    case EMU_MN_MOVMSKPD:
    case EMU_MN_VMOVMSKPD:
        low = simd_t_MOVMSKPD;
        high = simd_t256_MOVMSKPD;
        break;
    default:
        low = simd_t_PMOVMSKB;
        high = simd_t256_PMOVMSKB;
        features = is_256 ? FPU_HAS_AVX2 : 0;
    }
    if (!simd_ready(cpu, insn, features))
        return EMU_FAULT;
    cpu->regs[insn->op[0].reg & 15] =
        is_256 ? (uint32_t)simd_ask256(high, &cpu->vec[reg], &cpu->vec[reg])
               : low(simd_get128(cpu, reg));
    return EMU_NEXT;
}

/* ---- cvtss2si .. cvttsd2si ---- */
to_gpr128 simd_t_CVTSS2SI, simd_t_CVTTSS2SI, simd_t_CVTSD2SI, simd_t_CVTTSD2SI, simd_t64_CVTSS2SI,
    simd_t64_CVTTSS2SI, simd_t64_CVTSD2SI, simd_t64_CVTTSD2SI;

static to_gpr128 *to_integer_thunk(uint16_t mnemonic, bool is_64, unsigned *ret_size)
{
    *ret_size = 8;
    switch (mnemonic) {
    case EMU_MN_CVTSD2SI:
    case EMU_MN_VCVTSD2SI: return is_64 ? simd_t64_CVTSD2SI : simd_t_CVTSD2SI;
    case EMU_MN_CVTTSD2SI:
    case EMU_MN_VCVTTSD2SI: return is_64 ? simd_t64_CVTTSD2SI : simd_t_CVTTSD2SI;
    }
    *ret_size = 4;
    if (mnemonic == EMU_MN_CVTSS2SI || mnemonic == EMU_MN_VCVTSS2SI)
        return is_64 ? simd_t64_CVTSS2SI : simd_t_CVTSS2SI;
    return is_64 ? simd_t64_CVTTSS2SI : simd_t_CVTTSS2SI;
}

static bool is_wide(const struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return cpu->code_size == EMU_CODE64 && (insn->prefixes & EMU_PFX_REX_W);
}

enum emu_result simd_exec_to_integer(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_vec source = { 0 };
    unsigned size;
    to_gpr128 *thunk = to_integer_thunk(insn->mnemonic, is_wide(cpu, insn), &size);
    uint64_t result;

    if (!simd_ready(cpu, insn, 0) || !simd_source(cpu, insn, 1, source.q, size))
        return EMU_FAULT;
    fpu_simd_begin(cpu);
    result = thunk(low_half(&source));
    if (!fpu_simd_end(cpu))
        return EMU_FAULT;
    cpu->regs[insn->op[0].reg & 15] = result;
    return EMU_NEXT;
}

/* ---- cvtsi2ss, cvtsi2sd ---- */
from_gpr simd_t_CVTSI2SS, simd_t64_CVTSI2SS, simd_t_CVTSI2SD, simd_t64_CVTSI2SD;

enum emu_result simd_exec_from_integer(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool is_64 = is_wide(cpu, insn);
    bool is_double = insn->mnemonic == EMU_MN_CVTSI2SD || insn->mnemonic == EMU_MN_VCVTSI2SD;
    unsigned source = simd_is_vex(insn) ? 2 : 1;
    from_gpr *thunk = is_double ? (is_64 ? simd_t64_CVTSI2SD : simd_t_CVTSI2SD)
                                : (is_64 ? simd_t64_CVTSI2SS : simd_t_CVTSI2SS);
    uint64_t value = 0;
    simd_v128 result;

    if (!simd_ready(cpu, insn, 0))
        return EMU_FAULT;
    if (!simd_is_mem(insn, source))
        value = cpu->regs[insn->op[source].reg & 15];
    else if (!emu_load_bytes(cpu, insn, &value, is_64 ? 8 : 4, 0))
        return EMU_FAULT;
    fpu_simd_begin(cpu);
    result = thunk(simd_get128(cpu, insn->op[source - 1].reg & 15), value);
    if (!fpu_simd_end(cpu))
        return EMU_FAULT;
    simd_set128(cpu, insn->op[0].reg & 15, result, simd_is_vex(insn));
    return EMU_NEXT;
}

/* ---- pcmpestri, pcmpestrm, pcmpistri, pcmpistrm ---- */
extern const char simd_t_PCMPESTRI[], simd_t_PCMPESTRM[], simd_t_PCMPISTRI[], simd_t_PCMPISTRM[],
    simd_t64_PCMPESTRI[], simd_t64_PCMPESTRM[];

const char *simd_string_table(uint16_t mnemonic, bool is_64, bool *ret_is_mask)
{
    *ret_is_mask = false;
    switch (mnemonic) {
    case EMU_MN_PCMPESTRI:
    case EMU_MN_VPCMPESTRI: return is_64 ? simd_t64_PCMPESTRI : simd_t_PCMPESTRI;
    case EMU_MN_PCMPISTRI:
    case EMU_MN_VPCMPISTRI: return simd_t_PCMPISTRI;
    }
    *ret_is_mask = true;
    if (mnemonic == EMU_MN_PCMPISTRM || mnemonic == EMU_MN_VPCMPISTRM)
        return simd_t_PCMPISTRM;
    return is_64 ? simd_t64_PCMPESTRM : simd_t_PCMPESTRM;
}

enum emu_result simd_exec_string(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct simd_string registers = { .rax = cpu->regs[HV_RAX], .rdx = cpu->regs[HV_RDX] };
    struct emu_vec source = { 0 };
    bool is_mask;
    const char *table = simd_string_table(insn->mnemonic, is_wide(cpu, insn), &is_mask);
    simd_v128 result;

    if (!simd_ready(cpu, insn, FPU_HAS_SSE42) || !simd_source_any(cpu, insn, 1, source.q, 16))
        return EMU_FAULT;
    result = simd_string(simd_get128(cpu, insn->op[0].reg & 15), low_half(&source),
                         table + (insn->imm & 127) * SIMD_STRIDE, &registers);
    if (is_mask)
        simd_set128(cpu, 0, result, simd_is_vex(insn));
    else
        cpu->regs[HV_RCX] = (uint32_t)registers.rcx;
    cpu->aflags = (uint32_t)registers.flags;
    return EMU_NEXT;
}

/* ---- SSE4a: immediates are put where the register forms have their control ---- */
fn128 simd_t_EXTRQ, simd_t_INSERTQ;

enum emu_result simd_exec_extrq(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned reg = insn->op[0].reg & 15;
    struct emu_vec control = { 0 };

    if (!simd_ready(cpu, insn, FPU_HAS_SSE4A))
        return EMU_FAULT;
    if (insn->op[1].kind == EMU_OPD_VEC)
        control = cpu->vec[insn->op[1].reg & 15];
    else
        control.q[0] = (insn->imm & 63) | (uint64_t)(insn->imm2 & 63) << 8;
    simd_set128(cpu, reg, simd_t_EXTRQ(simd_get128(cpu, reg), low_half(&control)), false);
    return EMU_NEXT;
}

enum emu_result simd_exec_insertq(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned reg = insn->op[0].reg & 15;
    struct emu_vec source;

    if (!simd_ready(cpu, insn, FPU_HAS_SSE4A))
        return EMU_FAULT;
    source = cpu->vec[insn->op[1].reg & 15];
    if (insn->n_operands > 2)
        source.q[1] = (insn->imm & 63) | (uint64_t)(insn->imm2 & 63) << 8;
    simd_set128(cpu, reg, simd_t_INSERTQ(simd_get128(cpu, reg), low_half(&source)), false);
    return EMU_NEXT;
}

/* ---- vcvtps2ph: half-precision results, to a register or memory ---- */
extern const char simd_t_VCVTPS2PH[], simd_t256_VCVTPS2PH[];

static bool to_half(struct emu_cpu *cpu, const struct emu_insn *insn, simd_v128 *ret)
{
    unsigned reg = insn->op[1].reg & 15, offset = (insn->imm & 7) * SIMD_STRIDE;
    simd_v128 source = simd_get128(cpu, reg);
    struct emu_vec wide;

    fpu_simd_begin(cpu);
    if (insn->vex_l) {
        simd_call256(simd_t256_VCVTPS2PH + offset, &wide, &cpu->vec[reg], &cpu->vec[reg]);
        *ret = low_half(&wide);
    } else
        *ret = ((fn128 *)(const void *)(simd_t_VCVTPS2PH + offset))(source, source);
    return fpu_simd_end(cpu);
}

enum emu_result simd_exec_to_half(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->vex_l ? 16 : 8;
    bool is_stack = insn->seg == HV_SS;
    uint64_t linear = 0;
    simd_v128 result;

    if (!simd_ready(cpu, insn, FPU_HAS_F16C))
        return EMU_FAULT;
    /* a page fault comes before the conversion's own exceptions */
    if (simd_is_mem(insn, 0) && (!emu_operand_linear(cpu, insn, size, true, &linear) ||
                                 !emu_mem_probe(cpu, linear, size, true, is_stack)))
        return EMU_FAULT;
    if (!to_half(cpu, insn, &result))
        return EMU_FAULT;
    if (simd_is_mem(insn, 0))
        return emu_mem_write(cpu, linear, &result, size, is_stack) ? EMU_NEXT : EMU_FAULT;
    simd_set128(cpu, insn->op[0].reg & 15, result, true);
    return EMU_NEXT;
}
