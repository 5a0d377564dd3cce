/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR, LDMXCSR, STMXCSR.
 *
 * Areas are checked as a whole before the first byte is written, and copied to private memory
 * before the first byte is believed.
 * spec: AMD64 vol. 2, 11.4 and 11.5; AMD64 vol. 4 per instruction; Intel SDM vol. 1 chapter 13
 */
#include "hvcore/emu/fpu/fpu_priv.h"
#include "hvcore/emu/operand.h"

#include <errno.h>
#include <string.h>

enum {
    XSAVE_X87 = 1,
    XSAVE_SSE = 2,
    XSAVE_AVX = 4,
    XSAVE_ALL = XSAVE_X87 | XSAVE_SSE | XSAVE_AVX,
    XSAVE_HEADER = 512,
    XSAVE_AVX_AT = 576, /* in the standard and, AVX being the first, in the compacted format */
    XSAVE_BYTES = XSAVE_AVX_AT + 256,
    IMAGE_XMM_AT = 160,
    IMAGE_MXCSR_AT = 24,
};
#define XCOMP_COMPACTED (UINT64_C(1) << 63)

struct xsave_header {
    uint64_t xstate_bv, xcomp_bv, reserved[6];
};

struct xsave_area {
    struct fpu_image legacy;
    struct xsave_header header;
    uint64_t ymm_high[16][2];
};
_Static_assert(sizeof(struct xsave_area) == XSAVE_BYTES, "AMD64 vol. 2, 11.5.4");

static bool is_stack(const struct emu_insn *insn)
{
    return insn->seg == HV_SS;
}

static bool is_wide(const struct emu_insn *insn)
{
    return insn->prefixes & EMU_PFX_REX_W;
}

static unsigned xmm_count(const struct emu_cpu *cpu)
{
    return cpu->code_size == EMU_CODE64 ? 16 : 8;
}

/* Linear address of an area of `size` bytes, aligned. */
static bool area_linear(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                        unsigned align, bool is_write, uint64_t *ret)
{
    if (!emu_operand_linear(cpu, insn, size, is_write, ret))
        return false;
    if (!(*ret & (align - 1)))
        return true;
    emu_raise_code(cpu, X86_GP, 0);
    return false;
}

/* 32-bit forms keep 32-bit offsets with selectors, which new processors leave zero. */
static void narrow_pointers(struct fpu_image *image)
{
    image->fip &= UINT32_MAX;
    image->fdp &= UINT32_MAX;
}

/* FFXSR: the kernel's own FXSAVE leaves XMM alone. spec: AMD64 vol. 2, 11.4.4.3 */
static bool is_fast_fx(const struct emu_cpu *cpu)
{
    return (cpu->efer & X86_EFER_FFXSR) && cpu->cpl == 0 && cpu->code_size == EMU_CODE64;
}

enum emu_result fpu_exec_fxsave(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct fpu_image image;
    uint64_t linear;
    unsigned bytes = is_fast_fx(cpu) ? IMAGE_XMM_AT : IMAGE_XMM_AT + 16 * xmm_count(cpu);

    if (cpu->fp_trap & FPU_TRAP)
        return emu_raise(cpu, X86_NM);
    if (!area_linear(cpu, insn, sizeof(image), 16, true, &linear) ||
        !emu_mem_probe(cpu, linear, sizeof(image), true, is_stack(insn)))
        return EMU_FAULT;
    fpu_image_get(cpu, &image);
    if (!is_wide(insn))
        narrow_pointers(&image);
    return emu_mem_write(cpu, linear, &image, bytes, is_stack(insn)) ? EMU_NEXT : EMU_FAULT;
}

enum emu_result fpu_exec_fxrstor(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct fpu_image image;
    uint64_t linear;
    unsigned i, n = is_fast_fx(cpu) ? 0 : xmm_count(cpu);

    if (cpu->fp_trap & FPU_TRAP)
        return emu_raise(cpu, X86_NM);
    if (!area_linear(cpu, insn, sizeof(image), 16, false, &linear) ||
        !emu_mem_read(cpu, linear, &image, sizeof(image), is_stack(insn)))
        return EMU_FAULT;
    if (image.mxcsr & ~MXCSR_VALID)
        return emu_raise_code(cpu, X86_GP, 0);
    if (!is_wide(insn))
        narrow_pointers(&image);
    fpu_image_set_x87(cpu, &image);
    fpu_set_mxcsr(cpu, image.mxcsr);
    for (i = 0; i < n; i++)
        memcpy(cpu->vec[i].q, image.xmm[i], 16);
    return EMU_NEXT;
}

enum emu_result fpu_exec_stmxcsr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint8_t trap = insn->prefixes & EMU_PFX_VEX ? cpu->avx_trap : cpu->simd_trap;
    uint32_t value = fpu_mxcsr(cpu);

    if (trap)
        return emu_raise(cpu, trap);
    return emu_store_bytes(cpu, insn, &value, sizeof(value), 0) ? EMU_NEXT : EMU_FAULT;
}

enum emu_result fpu_exec_ldmxcsr(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    uint8_t trap = insn->prefixes & EMU_PFX_VEX ? cpu->avx_trap : cpu->simd_trap;
    uint32_t value;

    if (trap)
        return emu_raise(cpu, trap);
    if (!emu_load_bytes(cpu, insn, &value, sizeof(value), 0))
        return EMU_FAULT;
    if (value & ~MXCSR_VALID)
        return emu_raise_code(cpu, X86_GP, 0);
    fpu_set_mxcsr(cpu, value);
    return EMU_NEXT;
}

/* ---- XSAVE family ---- */
static bool is_zero(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static bool is_x87_initial(struct emu_cpu *cpu)
{
    const struct emu_fpu *fpu = cpu->fpu;
    struct fpu_image image;

    if (cpu->fp_trap & FPU_X87_INITIAL)
        return true;
    if (fpu->cw != X87_CW_DEFAULT || fpu_status(cpu) || fpu->fip || fpu->fdp || fpu->fop)
        return false;
    fpu_x87_get(cpu, &image);
    if (image.ftw)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (!is_zero(image.st[i], 10))
            return false;
    return true;
}

uint64_t fpu_in_use(struct emu_cpu *cpu)
{
    uint64_t low = 0, high = 0, in_use = 0;
    unsigned i;

    for (i = 0; i < 16; i++) {
        low |= cpu->vec[i].q[0] | cpu->vec[i].q[1];
        high |= cpu->vec[i].q[2] | cpu->vec[i].q[3];
    }
    if (!is_x87_initial(cpu))
        in_use |= XSAVE_X87;
    if (low)
        in_use |= XSAVE_SSE;
    if (high)
        in_use |= XSAVE_AVX;
    return in_use & cpu->xcr0;
}

/* #UD without OSXSAVE, #NM with TS; then what edx:eax and XCR0 ask for. */
static bool xsave_begin(struct emu_cpu *cpu, uint64_t *ret_wanted)
{
    if (!(cpu->cr4 & X86_CR4_OSXSAVE)) {
        emu_raise(cpu, X86_UD);
        return false;
    }
    if (cpu->cr0 & X86_CR0_TS) {
        emu_raise(cpu, X86_NM);
        return false;
    }
    *ret_wanted = ((cpu->regs[HV_RDX] << 32) | (uint32_t)cpu->regs[HV_RAX]) & cpu->xcr0;
    return true;
}

static unsigned area_bytes(uint64_t components)
{
    return components & XSAVE_AVX ? XSAVE_BYTES : XSAVE_AVX_AT;
}

struct save_plan {
    uint64_t write; /* components whose bytes are written */
    bool mxcsr;     /* MXCSR and its mask are written */
    struct xsave_header header;
    bool whole_header;
};

static void plan_standard(struct emu_cpu *cpu, uint64_t wanted, bool is_optimized,
                          struct save_plan *plan)
{
    uint64_t in_use = fpu_in_use(cpu);

    plan->write = is_optimized ? wanted & in_use : wanted;
    plan->mxcsr = wanted & (XSAVE_SSE | XSAVE_AVX);
    plan->header.xstate_bv = (plan->header.xstate_bv & ~wanted) | (wanted & in_use);
    plan->whole_header = false;
}

static void plan_compacted(struct emu_cpu *cpu, uint64_t wanted, struct save_plan *plan)
{
    uint64_t in_use = fpu_in_use(cpu);

    if (fpu_mxcsr(cpu) != MXCSR_DEFAULT)
        in_use |= XSAVE_SSE & cpu->xcr0;
    plan->write = wanted & in_use;
    plan->mxcsr = plan->write & XSAVE_SSE;
    plan->header =
        (struct xsave_header){ .xstate_bv = plan->write, .xcomp_bv = wanted | XCOMP_COMPACTED };
    plan->whole_header = true;
}

/* Write what the plan says; every byte was probed. */
static bool write_area(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t at,
                       const struct save_plan *plan)
{
    struct fpu_image image;
    uint64_t high[16][2];
    bool stack = is_stack(insn);
    unsigned i, n = xmm_count(cpu);

    fpu_image_get(cpu, &image);
    if (!is_wide(insn))
        narrow_pointers(&image);
    for (i = 0; i < 16; i++)
        memcpy(high[i], cpu->vec[i].q + 2, 16);
    if ((plan->write & XSAVE_X87) &&
        (!emu_mem_write(cpu, at, &image, IMAGE_MXCSR_AT, stack) ||
         !emu_mem_write(cpu, at + 32, image.st, sizeof(image.st), stack)))
        return false;
    if (plan->mxcsr && !emu_mem_write(cpu, at + IMAGE_MXCSR_AT, &image.mxcsr, 8, stack))
        return false;
    if ((plan->write & XSAVE_SSE) &&
        !emu_mem_write(cpu, at + IMAGE_XMM_AT, image.xmm, 16 * n, stack))
        return false;
    if ((plan->write & XSAVE_AVX) && !emu_mem_write(cpu, at + XSAVE_AVX_AT, high, 16 * n, stack))
        return false;
    return emu_mem_write(cpu, at + XSAVE_HEADER, &plan->header,
                         plan->whole_header ? sizeof(plan->header) : 8, stack);
}

static bool probe_area(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t at,
                       unsigned bytes)
{
    return emu_mem_probe(cpu, at, XSAVE_HEADER, true, is_stack(insn)) &&
           emu_mem_probe(cpu, at + XSAVE_HEADER, bytes - XSAVE_HEADER, true, is_stack(insn));
}

enum emu_result fpu_exec_xsave(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool is_compacted = insn->mnemonic == EMU_MN_XSAVEC || insn->mnemonic == EMU_MN_XSAVEC64;
    bool is_optimized = insn->mnemonic == EMU_MN_XSAVEOPT || insn->mnemonic == EMU_MN_XSAVEOPT64;
    struct save_plan plan = { 0 };
    uint64_t wanted, at;

    if (!xsave_begin(cpu, &wanted) || !area_linear(cpu, insn, area_bytes(wanted), 64, true, &at) ||
        !probe_area(cpu, insn, at, area_bytes(wanted)))
        return EMU_FAULT;
    if (is_compacted) {
        plan_compacted(cpu, wanted, &plan);
    } else {
        if (!emu_mem_read(cpu, at + XSAVE_HEADER, &plan.header.xstate_bv, 8, is_stack(insn)))
            return EMU_FAULT;
        plan_standard(cpu, wanted, is_optimized, &plan);
    }
    return write_area(cpu, insn, at, &plan) ? EMU_NEXT : EMU_FAULT;
}

/* spec: Intel SDM vol. 1, 13.8: what makes a header invalid */
static bool is_header_valid(const struct xsave_header *header, uint64_t xcr0)
{
    uint64_t components = header->xcomp_bv & ~XCOMP_COMPACTED;

    if (header->xcomp_bv & XCOMP_COMPACTED) {
        if ((components & ~xcr0) || (header->xstate_bv & ~components))
            return false;
        return is_zero(header->reserved, sizeof(header->reserved));
    }
    return !components && !(header->xstate_bv & ~xcr0) && !header->reserved[0];
}

/* Does MXCSR come from the area? It is part of the SSE component, but the standard format loads it
 * whenever SSE or AVX is asked for. */
static bool is_mxcsr_loaded(const struct xsave_header *header, uint64_t wanted)
{
    if (header->xcomp_bv & XCOMP_COMPACTED)
        return wanted & header->xstate_bv & XSAVE_SSE;
    return wanted & (XSAVE_SSE | XSAVE_AVX);
}

static void load_vectors(struct emu_cpu *cpu, const struct xsave_area *area, uint64_t wanted)
{
    uint64_t present = area->header.xstate_bv;
    unsigned i, n = xmm_count(cpu);

    for (i = 0; i < n && (wanted & XSAVE_SSE); i++) {
        memset(cpu->vec[i].q, 0, 16);
        if (present & XSAVE_SSE)
            memcpy(cpu->vec[i].q, area->legacy.xmm[i], 16);
    }
    for (i = 0; i < n && (wanted & XSAVE_AVX); i++) {
        memset(cpu->vec[i].q + 2, 0, 16);
        if (present & XSAVE_AVX)
            memcpy(cpu->vec[i].q + 2, area->ymm_high[i], 16);
    }
}

static bool is_image_initial(const struct fpu_image *image)
{
    return image->fcw == X87_CW_DEFAULT && !image->fsw && !image->ftw && !image->fop &&
           !image->fip && !image->fdp && is_zero(image->st, sizeof(image->st));
}

/* Linux has signal frames say that they hold x87 registers, whether anybody uses them or not. */
static void load_x87(struct emu_cpu *cpu, const struct xsave_area *area)
{
    static const struct fpu_image initial = { .fcw = X87_CW_DEFAULT };

    if (area->header.xstate_bv & XSAVE_X87 && !is_image_initial(&area->legacy)) {
        fpu_image_set_x87(cpu, &area->legacy);
    } else if (!(cpu->fp_trap & FPU_X87_INITIAL)) {
        fpu_image_set_x87(cpu, &initial);
        cpu->fp_trap |= FPU_X87_INITIAL;
    }
}

static bool read_area(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t at,
                      uint64_t wanted, struct xsave_area *area)
{
    bool stack = is_stack(insn);

    if (!emu_mem_read(cpu, at, &area->legacy, sizeof(area->legacy), stack) ||
        !emu_mem_read(cpu, at + XSAVE_HEADER, &area->header, sizeof(area->header), stack))
        return false;
    if (!(wanted & area->header.xstate_bv & XSAVE_AVX))
        return true;
    return emu_mem_read(cpu, at + XSAVE_AVX_AT, area->ymm_high, sizeof(area->ymm_high), stack);
}

enum emu_result fpu_exec_xrstor(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct xsave_area area;
    uint64_t wanted, at;

    if (!xsave_begin(cpu, &wanted) || !area_linear(cpu, insn, area_bytes(wanted), 64, false, &at) ||
        !read_area(cpu, insn, at, wanted, &area))
        return EMU_FAULT;
    if (!is_header_valid(&area.header, cpu->xcr0))
        return emu_raise_code(cpu, X86_GP, 0);
    if (is_mxcsr_loaded(&area.header, wanted)) {
        if (area.legacy.mxcsr & ~MXCSR_VALID)
            return emu_raise_code(cpu, X86_GP, 0);
        fpu_set_mxcsr(cpu, area.legacy.mxcsr);
    } else if ((area.header.xcomp_bv & XCOMP_COMPACTED) && (wanted & XSAVE_SSE)) {
        fpu_set_mxcsr(cpu, MXCSR_DEFAULT);
    }
    if (!is_wide(insn))
        narrow_pointers(&area.legacy);
    if (wanted & XSAVE_X87)
        load_x87(cpu, &area);
    load_vectors(cpu, &area, wanted);
    return EMU_NEXT;
}

/* ---- Saved states ---- */
void emu_fpu_get_xsave(struct emu_cpu *cpu, uint8_t *ret)
{
    struct xsave_area area = { .header = { .xstate_bv = XSAVE_ALL } };
    const struct emu_fpu *fpu = cpu->fpu;
    unsigned i;

    fpu_image_get(cpu, &area.legacy);
    area.legacy.fip = fpu->fip;
    area.legacy.fdp = fpu->fdp;
    area.legacy.fop = fpu->fop;
    for (i = 0; i < 16; i++)
        memcpy(area.ymm_high[i], cpu->vec[i].q + 2, 16);
    memset(ret, 0, HV_XSAVE_BYTES);
    memcpy(ret, &area, sizeof(area));
}

int emu_fpu_set_xsave(struct emu_cpu *cpu, const uint8_t *from)
{
    struct xsave_area area;
    unsigned i;

    memcpy(&area, from, sizeof(area));
    if (area.header.xcomp_bv || (area.header.xstate_bv & ~(uint64_t)XSAVE_ALL) ||
        (area.legacy.mxcsr & ~MXCSR_VALID))
        return -EINVAL;
    load_x87(cpu, &area);
    fpu_set_mxcsr(cpu, area.legacy.mxcsr);
    for (i = 0; i < 16; i++)
        memset(cpu->vec[i].q, 0, sizeof(cpu->vec[i].q));
    for (i = 0; i < 16 && (area.header.xstate_bv & XSAVE_SSE); i++)
        memcpy(cpu->vec[i].q, area.legacy.xmm[i], 16);
    for (i = 0; i < 16 && (area.header.xstate_bv & XSAVE_AVX); i++)
        memcpy(cpu->vec[i].q + 2, area.ymm_high[i], 16);
    return 0;
}
