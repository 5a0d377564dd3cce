/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/emu/fpu/fpu_priv.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALL_XMM                                                                                    \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static uint32_t host_mxcsr(void)
{
    uint32_t value;

    __asm__ volatile("stmxcsr %0" : "=m"(value));
    return value;
}

static void set_host_mxcsr(uint32_t value)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(value));
}

static uint32_t has(uint32_t reg, unsigned bit, uint32_t feature)
{
    return reg >> bit & 1 ? feature : 0;
}

/* Does the host's kernel keep ymm registers? */
static bool host_has_ymm(uint32_t ecx1)
{
    uint32_t low, high;

    if (!(ecx1 & bit_OSXSAVE))
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

uint32_t fpu_host_features(void)
{
    uint32_t a, b, c, d, features = 0;

    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    features |= has(c, 0, FPU_HAS_SSE3) | has(c, 9, FPU_HAS_SSSE3) | has(c, 19, FPU_HAS_SSE41) |
                has(c, 20, FPU_HAS_SSE42) | has(c, 25, FPU_HAS_AES) | has(c, 1, FPU_HAS_PCLMUL);
    if (host_has_ymm(c))
        features |= has(c, 28, FPU_HAS_AVX) | has(c, 12, FPU_HAS_FMA) | has(c, 29, FPU_HAS_F16C);
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        features |=
            has(b, 29, FPU_HAS_SHA) | (features & FPU_HAS_AVX ? has(b, 5, FPU_HAS_AVX2) : 0);
    if (__get_cpuid(0x80000001, &a, &b, &c, &d))
        features |= has(c, 6, FPU_HAS_SSE4A);
    return features;
}

int emu_fpu_new(struct emu_cpu *cpu)
{
    struct emu_fpu *fpu = aligned_alloc(64, (sizeof(*fpu) + 63) & ~(size_t)63);

    if (!fpu)
        return -ENOMEM;
    memset(fpu, 0, sizeof(*fpu));
    fpu->features = fpu_host_features();
    cpu->fpu = fpu;
    emu_fpu_reset(cpu, true);
    return 0;
}

void emu_fpu_free(struct emu_cpu *cpu)
{
    free(cpu->fpu);
    cpu->fpu = NULL;
}

void emu_fpu_load(struct emu_cpu *cpu)
{
    struct emu_fpu *fpu = cpu->fpu;

    if (fpu->is_loaded)
        return;
    fpu->saved_mxcsr = host_mxcsr();
    fpu->image.mxcsr = cpu->mxcsr | MXCSR_MASKS;
    __asm__ volatile("fxrstor64 %0" : : "m"(fpu->image) : ALL_XMM);
    fpu->is_loaded = true;
}

void emu_fpu_unload(struct emu_cpu *cpu)
{
    struct emu_fpu *fpu = cpu->fpu;

    if (!fpu->is_loaded)
        return;
    cpu->mxcsr |= host_mxcsr() & MXCSR_STICKY;
    __asm__ volatile("fxsave64 %0\n\tfninit" : "=m"(fpu->image));
    set_host_mxcsr(fpu->saved_mxcsr);
    fpu->is_loaded = false;
}

/* spec: AMD64 vol. 2, table 14-1; INIT leaves the registers alone */
void emu_fpu_reset(struct emu_cpu *cpu, bool is_power_on)
{
    /* after power-on all registers hold +0.0 and are valid */
    const struct fpu_image start = { .fcw = X87_CW_RESET, .ftw = 0xff };

    if (!is_power_on)
        return;
    memset(cpu->vec, 0, sizeof(cpu->vec));
    fpu_image_set_x87(cpu, &start);
    fpu_set_mxcsr(cpu, MXCSR_DEFAULT);
}

uint32_t fpu_mxcsr(struct emu_cpu *cpu)
{
    if (cpu->fpu->is_loaded)
        cpu->mxcsr |= host_mxcsr() & MXCSR_STICKY;
    return cpu->mxcsr;
}

void fpu_set_mxcsr(struct emu_cpu *cpu, uint32_t value)
{
    cpu->mxcsr = value;
    if (cpu->fpu->is_loaded)
        set_host_mxcsr(value | MXCSR_MASKS);
}

/* Unmasked underflow is any tiny result, masked underflow an inexact one; flushing to zero tells
 * the former as well, and the flushed result is never kept. */
void fpu_simd_begin(struct emu_cpu *cpu)
{
    uint32_t mxcsr;

    if (!fpu_simd_unmasked(cpu))
        return;
    mxcsr = (fpu_mxcsr(cpu) | MXCSR_MASKS) & ~MXCSR_STICKY;
    set_host_mxcsr(cpu->mxcsr & MXCSR_UM ? mxcsr : mxcsr | MXCSR_FZ);
}

/* An unmasked exception that is seen in the operands keeps the operation from being done, and so
 * from raising what is seen in results. spec: AMD64 vol. 1, 4.10.2 */
bool fpu_simd_end(struct emu_cpu *cpu)
{
    uint32_t raised;

    if (!fpu_simd_unmasked(cpu))
        return true;
    raised = host_mxcsr() & MXCSR_STICKY;
    if (raised & MXCSR_OF_OPERANDS & ~(cpu->mxcsr >> 7))
        raised &= MXCSR_OF_OPERANDS;
    fpu_set_mxcsr(cpu, cpu->mxcsr | raised);
    if (!(raised & ~(cpu->mxcsr >> 7)))
        return true;
    emu_raise(cpu, cpu->cr4 & X86_CR4_OSXMMEXCPT ? X86_XM : X86_UD);
    return false;
}

void fpu_x87_get(const struct emu_cpu *cpu, struct fpu_image *ret)
{
    _Alignas(16) struct fpu_image image;

    if (cpu->fp_trap & FPU_X87_INITIAL) {
        *ret = (struct fpu_image){ .fcw = X87_CW_DEFAULT };
        return;
    }
    if (!cpu->fpu->is_loaded) {
        *ret = cpu->fpu->image;
        return;
    }
    memset(&image, 0, sizeof(image));
    __asm__ volatile("fxsave64 %0" : "+m"(image));
    *ret = image;
}

void fpu_x87_set(struct emu_cpu *cpu, const struct fpu_image *from)
{
    struct emu_fpu *fpu = cpu->fpu;

    cpu->fp_trap &= (uint8_t)~FPU_X87_INITIAL;
    memset(&fpu->image, 0, sizeof(fpu->image));
    fpu->image.fcw = from->fcw;
    fpu->image.fsw = from->fsw;
    fpu->image.ftw = from->ftw;
    memcpy(fpu->image.st, from->st, sizeof(from->st));
    if (!fpu->is_loaded)
        return;
    fpu->image.mxcsr = host_mxcsr();
    __asm__ volatile("fxrstor64 %0" : : "m"(fpu->image) : ALL_XMM);
}

uint16_t fpu_status(const struct emu_cpu *cpu)
{
    const struct emu_fpu *fpu = cpu->fpu;
    uint16_t sw = fpu->image.fsw;

    if (fpu->is_loaded)
        __asm__ volatile("fnstsw %0" : "=a"(sw));
    sw = (sw & ~(X87_ES | X87_BUSY)) | fpu->pending;
    if (sw & ~fpu->cw & X87_EXCEPTIONS)
        sw |= X87_ES | X87_BUSY;
    return sw;
}

void fpu_set_cw(struct emu_cpu *cpu, uint16_t cw)
{
    struct emu_fpu *fpu = cpu->fpu;
    uint16_t masked;

    cpu->fp_trap &= (uint8_t)~FPU_X87_INITIAL;
    fpu->cw = (cw & X87_CW_WRITABLE) | X87_CW_FIXED;
    masked = fpu->cw | X87_EXCEPTIONS;
    if (fpu->is_loaded)
        __asm__ volatile("fldcw %0" : : "m"(masked));
    else
        fpu->image.fcw = masked;
}

void fpu_init(struct emu_cpu *cpu)
{
    struct emu_fpu *fpu = cpu->fpu;

    cpu->fp_trap &= (uint8_t)~FPU_X87_INITIAL;
    fpu->cw = X87_CW_DEFAULT;
    fpu->pending = 0;
    fpu->fip = fpu->fdp = 0;
    fpu->fop = 0;
    if (fpu->is_loaded) {
        __asm__ volatile("fninit");
        return;
    }
    fpu->image.fcw = X87_CW_DEFAULT;
    fpu->image.fsw = 0;
    fpu->image.ftw = 0;
}

/* Error pointers are those of a pending exception and else zero, as processors that have
 * XSAVEERPTR (CPUID 0x80000008 EBX[2]) store them. */
void fpu_image_get(struct emu_cpu *cpu, struct fpu_image *ret)
{
    const struct emu_fpu *fpu = cpu->fpu;
    unsigned i;

    fpu_x87_get(cpu, ret);
    ret->fcw = fpu->cw;
    ret->fsw = fpu_status(cpu);
    ret->reserved0 = 0;
    ret->fop = ret->fsw & X87_ES ? fpu->fop : 0;
    ret->fip = ret->fsw & X87_ES ? fpu->fip : 0;
    ret->fdp = ret->fsw & X87_ES ? fpu->fdp : 0;
    ret->mxcsr = fpu_mxcsr(cpu);
    ret->mxcsr_mask = MXCSR_VALID;
    for (i = 0; i < 8; i++)
        memset(ret->st[i] + 10, 0, 6);
    for (i = 0; i < 16; i++)
        memcpy(ret->xmm[i], cpu->vec[i].q, 16);
    memset(ret->reserved1, 0, sizeof(ret->reserved1));
}

void fpu_image_set_x87(struct emu_cpu *cpu, const struct fpu_image *from)
{
    struct emu_fpu *fpu = cpu->fpu;
    struct fpu_image image = *from;

    fpu->cw = (from->fcw & X87_CW_WRITABLE) | X87_CW_FIXED;
    fpu->pending = 0;
    fpu->fip = from->fip;
    fpu->fdp = from->fdp;
    fpu->fop = from->fop & 0x7ff;
    image.fcw = fpu->cw | X87_EXCEPTIONS;
    image.fsw = from->fsw & ~(X87_ES | X87_BUSY);
    fpu_x87_set(cpu, &image);
}
