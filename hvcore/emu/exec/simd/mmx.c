/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MMX. The registers are the host's mm0 to mm7, so that tags, top and exponents change as they do
 * on the host. spec: AMD64 vol. 5; AMD64 vol. 1 chapter 5
 */
#include "hvcore/emu/exec/simd/simd_priv.h"

enum { FPU_HAS_BASE = 0 };

typedef void mmx_fn(const uint64_t *source);
typedef uint64_t mmx_get_fn(void);
typedef void mmx_put_fn(uint64_t value);
typedef simd_v128 convert_fn(simd_v128 ignored, simd_v128 source);

#define MMX_ROW(NAME, op, bytes, set) extern const char simd_mmx_##NAME[];
#include "hvcore/emu/exec/simd/mmx.def"
#undef MMX_ROW
extern const char simd_mmx_get[], simd_mmx_put[];
void simd_mmx_emms(void);
convert_fn simd_t_CVTDQ2PS, simd_t_CVTDQ2PD, simd_t_CVTPS2DQ, simd_t_CVTTPS2DQ, simd_t_CVTPD2DQ,
    simd_t_CVTTPD2DQ;

struct mmx_row {
    const char *table;
    uint16_t features;
    uint8_t bytes;
};

static const struct mmx_row mmx_rows[EMU_N_MNEMONICS] = {
#define MMX_ROW(NAME, op, bytes, set) [EMU_MN_##NAME] = { simd_mmx_##NAME, FPU_HAS_##set, bytes },
#include "hvcore/emu/exec/simd/mmx.def"
#undef MMX_ROW
};

static uint64_t mm_get(unsigned reg)
{
    return ((mmx_get_fn *)(const void *)(simd_mmx_get + (reg & 7) * SIMD_STRIDE))();
}

static void mm_put(unsigned reg, uint64_t value)
{
    ((mmx_put_fn *)(const void *)(simd_mmx_put + (reg & 7) * SIMD_STRIDE))(value);
}

/* #UD with EM, #NM with TS, #MF when an x87 exception is pending. */
static bool mmx_ready(struct emu_cpu *cpu, uint32_t features)
{
    if ((cpu->cr0 & X86_CR0_EM) || (features & ~cpu->fpu->features))
        emu_raise(cpu, X86_UD);
    else if (cpu->cr0 & X86_CR0_TS)
        emu_raise(cpu, X86_NM);
    else if (fpu_status(cpu) & X87_ES)
        emu_raise(cpu, X86_MF);
    else {
        cpu->fp_trap = 0;
        return true;
    }
    return false;
}

/* A 64-bit operand: register, memory (of `bytes`) or immediate. */
static bool mmx_source(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, unsigned bytes,
                       uint64_t *ret)
{
    uint64_t value = 0;

    switch (insn->op[n].kind) {
    case EMU_OPD_MM: value = mm_get(insn->op[n].reg); break;
    case EMU_OPD_VEC: value = cpu->vec[insn->op[n].reg & 15].q[0]; break;
    case EMU_OPD_GPR: value = cpu->regs[insn->op[n].reg & 15]; break;
    case EMU_OPD_IMM: value = insn->imm & 0xff; break;
    default:
        if (!emu_load_bytes(cpu, insn, &value, bytes, 0))
            return false;
    }
    *ret = value;
    return true;
}

static uint64_t align_right(uint64_t high, uint64_t low, unsigned bytes)
{
    unsigned bits = bytes * 8;

    if (bits >= 128)
        return 0;
    if (bits >= 64)
        return high >> (bits - 64);
    return bits ? low >> bits | high << (64 - bits) : low;
}

static enum emu_result mmx_palignr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t low;

    if (!mmx_ready(cpu, FPU_HAS_SSSE3) || !mmx_source(cpu, insn, 1, 8, &low))
        return EMU_FAULT;
    mm_put(insn->op[0].reg, align_right(mm_get(insn->op[0].reg), low, insn->imm & 0xff));
    return EMU_NEXT;
}

enum emu_result simd_exec_mmx(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const struct mmx_row *row = &mmx_rows[insn->mnemonic];
    uint64_t source;

    if (insn->mnemonic == EMU_MN_PALIGNR)
        return mmx_palignr(cpu, insn);
    if (!row->table)
        return emu_raise(cpu, X86_UD);
    if (!mmx_ready(cpu, row->features) || !mmx_source(cpu, insn, 1, row->bytes, &source))
        return EMU_FAULT;
    ((mmx_fn *)(const void *)(row->table + (insn->op[0].reg & 7) * SIMD_STRIDE))(&source);
    return EMU_NEXT;
}

enum emu_result simd_exec_emms(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (!mmx_ready(cpu, 0))
        return EMU_FAULT;
    simd_mmx_emms();
    return EMU_NEXT;
}

static enum emu_result shuffle_words(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint64_t source, result = 0;
    unsigned i;

    if (!mmx_source(cpu, insn, 1, 8, &source))
        return EMU_FAULT;
    for (i = 0; i < 4; i++)
        result |= (source >> (insn->imm >> 2 * i & 3) * 16 & 0xffff) << 16 * i;
    mm_put(insn->op[0].reg, result);
    return EMU_NEXT;
}

static enum emu_result insert_word(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned shift = (insn->imm & 3) * 16;
    uint64_t source;

    if (!mmx_source(cpu, insn, 1, 2, &source))
        return EMU_FAULT;
    mm_put(insn->op[0].reg,
           (mm_get(insn->op[0].reg) & ~(UINT64_C(0xffff) << shift)) | (source & 0xffff) << shift);
    return EMU_NEXT;
}

static uint64_t signs_of_bytes(uint64_t value)
{
    uint64_t signs = 0;
    unsigned i;

    for (i = 0; i < 8; i++)
        signs |= (value >> (8 * i + 7) & 1) << i;
    return signs;
}

/* As the processors we know do, the whole operand must be writable, whatever the mask. */
static enum emu_result store_bytes_by_mask(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint8_t seg = insn->prefixes & EMU_PFX_SEG ? insn->seg : HV_DS;
    uint64_t value = mm_get(insn->op[0].reg), signs = signs_of_bytes(mm_get(insn->op[1].reg));
    uint64_t offset = cpu->regs[HV_RDI], linear;
    unsigned i;

    if (insn->addr_size < 8)
        offset &= insn->addr_size == 4 ? UINT32_MAX : UINT16_MAX;
    if (!emu_linear(cpu, seg, offset, 8, true, &linear) ||
        !emu_mem_probe(cpu, linear, 8, true, seg == HV_SS))
        return EMU_FAULT;
    for (i = 0; i < 8; i++) {
        uint8_t byte = (uint8_t)(value >> 8 * i);

        if ((signs >> i & 1) && !emu_mem_write(cpu, linear + i, &byte, 1, seg == HV_SS))
            return EMU_FAULT;
    }
    return EMU_NEXT;
}

/* To memory: the store is known to succeed before the register is read, which enters MMX mode. */
static enum emu_result store_value(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned bytes)
{
    uint64_t linear, value;

    if (!emu_operand_linear(cpu, insn, bytes, true, &linear) ||
        !emu_mem_probe(cpu, linear, bytes, true, insn->seg == HV_SS))
        return EMU_FAULT;
    value = mm_get(insn->op[1].reg);
    return emu_mem_write(cpu, linear, &value, bytes, insn->seg == HV_SS) ? EMU_NEXT : EMU_FAULT;
}

/* movd, movq, movntq, movq2dq, movdq2q: the same value at another place */
static enum emu_result move_value(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned bytes = insn->mnemonic == EMU_MN_MOVD ? 4 : 8;
    uint64_t value;

    if (simd_is_mem(insn, 0))
        return store_value(cpu, insn, bytes);
    if (!mmx_source(cpu, insn, 1, bytes, &value))
        return EMU_FAULT;
    if (bytes == 4)
        value = (uint32_t)value;
    switch (insn->op[0].kind) {
    case EMU_OPD_MM: mm_put(insn->op[0].reg, value); return EMU_NEXT;
    case EMU_OPD_GPR: cpu->regs[insn->op[0].reg & 15] = value; return EMU_NEXT;
    default:
        cpu->vec[insn->op[0].reg & 15].q[0] = value;
        cpu->vec[insn->op[0].reg & 15].q[1] = 0;
        return EMU_NEXT;
    }
}

enum emu_result simd_exec_mmx_move(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool has_xmm = insn->mnemonic == EMU_MN_MOVQ2DQ || insn->mnemonic == EMU_MN_MOVDQ2Q;

    if ((has_xmm && !simd_ready(cpu, insn, 0)) || !mmx_ready(cpu, 0))
        return EMU_FAULT;
    switch (insn->mnemonic) {
    case EMU_MN_PSHUFW: return shuffle_words(cpu, insn);
    case EMU_MN_PINSRW: return insert_word(cpu, insn);
    case EMU_MN_PEXTRW:
        cpu->regs[insn->op[0].reg & 15] = mm_get(insn->op[1].reg) >> (insn->imm & 3) * 16 & 0xffff;
        return EMU_NEXT;
    case EMU_MN_PMOVMSKB:
        cpu->regs[insn->op[0].reg & 15] = signs_of_bytes(mm_get(insn->op[1].reg));
        return EMU_NEXT;
    case EMU_MN_MASKMOVQ: return store_bytes_by_mask(cpu, insn);
    default: return move_value(cpu, insn);
    }
}

/* ---- Conversions between MMX and XMM: the packed doubleword instructions on the low half ---- */
struct convert_form {
    convert_fn *thunk;
    uint8_t bytes; /* of a memory operand */
    bool to_mmx;
    bool keeps_high; /* the high half of xmm */
};

static struct convert_form convert_form(uint16_t mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_CVTPI2PS: return (struct convert_form){ simd_t_CVTDQ2PS, 8, false, true };
    case EMU_MN_CVTPI2PD: return (struct convert_form){ simd_t_CVTDQ2PD, 8, false, false };
    case EMU_MN_CVTPS2PI: return (struct convert_form){ simd_t_CVTPS2DQ, 8, true, false };
    case EMU_MN_CVTTPS2PI: return (struct convert_form){ simd_t_CVTTPS2DQ, 8, true, false };
    case EMU_MN_CVTPD2PI: return (struct convert_form){ simd_t_CVTPD2DQ, 16, true, false };
    default: return (struct convert_form){ simd_t_CVTTPD2DQ, 16, true, false };
    }
}

static bool convert_source(struct emu_cpu *cpu, const struct emu_insn *insn,
                           const struct convert_form *form, simd_v128 *ret)
{
    struct emu_vec source = { 0 };

    if (insn->op[1].kind == EMU_OPD_MM)
        source.q[0] = mm_get(insn->op[1].reg);
    else if (!simd_source(cpu, insn, 1, source.q, form->bytes))
        return false;
    if (form->to_mmx)
        (void)mm_get(0); /* MMX mode comes before a floating-point exception */
    memcpy(ret, source.q, 16);
    return true;
}

enum emu_result simd_exec_mmx_convert(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct convert_form form = convert_form(insn->mnemonic);
    simd_v128 source = { 0 }, result;
    struct emu_vec *dst;
    /* from memory to xmm no MMX register takes part, and x87 state doesn't matter */
    bool has_mmx = form.to_mmx || insn->op[1].kind == EMU_OPD_MM;

    if (!simd_ready(cpu, insn, 0) || (has_mmx && !mmx_ready(cpu, 0)) ||
        !convert_source(cpu, insn, &form, &source))
        return EMU_FAULT;
    fpu_simd_begin(cpu);
    result = form.thunk(source, source);
    if (!fpu_simd_end(cpu))
        return EMU_FAULT;
    if (form.to_mmx) {
        mm_put(insn->op[0].reg, (uint64_t)result[0]);
        return EMU_NEXT;
    }
    dst = &cpu->vec[insn->op[0].reg & 15];
    dst->q[0] = (uint64_t)result[0];
    if (!form.keeps_high)
        dst->q[1] = (uint64_t)result[1];
    return EMU_NEXT;
}
