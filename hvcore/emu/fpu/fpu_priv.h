/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the x87, SIMD and state instructions know about the floating-point unit. For emu/fpu and
 * emu/exec/{x87,simd} only.
 */
#pragma once

#include "hvcore/emu/fpu.h"

enum {
    X87_IE = 0x01,
    X87_DE = 0x02,
    X87_ZE = 0x04,
    X87_OE = 0x08,
    X87_UE = 0x10,
    X87_PE = 0x20,
    X87_EXCEPTIONS = 0x3f,
    X87_SF = 0x40,
    X87_ES = 0x80,
    X87_C1 = 0x200,
    X87_TOP = 0x3800,
    X87_BUSY = 0x8000,
    X87_CW_DEFAULT = 0x37f,
    X87_CW_RESET = 0x40,
    X87_CW_WRITABLE = 0x1f3f,
    X87_CW_FIXED = 0x40,

    MXCSR_STICKY = 0x3f,
    MXCSR_OF_OPERANDS = 0x07, /* IE, DE, ZE */
    MXCSR_MASKS = 0x1f80,
    MXCSR_OM = 0x0400,
    MXCSR_UM = 0x0800,
    MXCSR_FZ = 0x8000,
    MXCSR_DEFAULT = 0x1f80,
    MXCSR_VALID = 0xffff,
};

/* FXSAVE's 512 bytes, 64-bit form. spec: AMD64 vol. 2, 11.4.4 */
struct fpu_image {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved0;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[16][16];
    uint8_t reserved1[96];
};
_Static_assert(sizeof(struct fpu_image) == 512, "AMD64 vol. 2, figure 11-8");

struct emu_fpu {
    /* x87 registers, status and tag word while not loaded; its control word masks everything */
    _Alignas(16) struct fpu_image image;
    uint64_t fip, fdp;    /* of the guest's last x87 instruction that isn't a control instruction */
    uint16_t fop;         /* bits 0-10 of its opcode */
    uint16_t cw;          /* the guest's control word */
    uint16_t pending;     /* exception flags of the guest's status word that the host's hasn't */
    bool is_loaded;       /* state is in the host's registers */
    uint32_t saved_mxcsr; /* the thread's own */
    uint32_t features;    /* FPU_HAS_*: what the host can execute */
};

/* Bits of cpu->fp_trap. The second makes x87 and MMX instructions take the long way once, where it
 * is cleared: while it is set, the x87 registers are as fninit and zeros leave them, so that who
 * switches between programs without x87 needn't move them. */
enum { FPU_TRAP = 1, FPU_X87_INITIAL = 2 };

/* Instruction sets that a row of a table may ask the host for. */
enum {
    FPU_HAS_SSE3 = 1 << 0,
    FPU_HAS_SSSE3 = 1 << 1,
    FPU_HAS_SSE41 = 1 << 2,
    FPU_HAS_SSE42 = 1 << 3,
    FPU_HAS_AES = 1 << 4,
    FPU_HAS_PCLMUL = 1 << 5,
    FPU_HAS_SHA = 1 << 6,
    FPU_HAS_SSE4A = 1 << 7,
    FPU_HAS_AVX = 1 << 8,
    FPU_HAS_AVX2 = 1 << 9,
    FPU_HAS_FMA = 1 << 10,
    FPU_HAS_F16C = 1 << 11,
};
uint32_t fpu_host_features(void);

/* ---- MXCSR: the guest's, with the sticky bits that the host collected ---- */
uint32_t fpu_mxcsr(struct emu_cpu *cpu);
void fpu_set_mxcsr(struct emu_cpu *cpu, uint32_t value);

/* Has the guest unmasked a SIMD floating-point exception? Then fpu_simd_begin and _end go around
 * each operation; _end returns false with #XM (or #UD) in cpu->fault. */
static inline bool fpu_simd_unmasked(const struct emu_cpu *cpu)
{
    return (cpu->mxcsr & MXCSR_MASKS) != MXCSR_MASKS;
}

void fpu_simd_begin(struct emu_cpu *cpu);
bool fpu_simd_end(struct emu_cpu *cpu);

/* ---- x87 ---- */
/* x87 part (fcw is the masked one, fop fip fdp undefined) out of and into wherever it lives. */
void fpu_x87_get(const struct emu_cpu *cpu, struct fpu_image *ret);
void fpu_x87_set(struct emu_cpu *cpu, const struct fpu_image *from);

/* The guest's status word, with ES and B. */
uint16_t fpu_status(const struct emu_cpu *cpu);
void fpu_set_cw(struct emu_cpu *cpu, uint16_t cw);
void fpu_init(struct emu_cpu *cpu); /* fninit */

/* The guest's whole view as an image: control word, error pointers, MXCSR, XMM. */
void fpu_image_get(struct emu_cpu *cpu, struct fpu_image *ret);
/* The x87 part of a guest's image. */
void fpu_image_set_x87(struct emu_cpu *cpu, const struct fpu_image *from);

/* XSAVE components in use, of those in XCR0. */
uint64_t fpu_in_use(struct emu_cpu *cpu);

/* Instructions that move whole states; in emu_exec_simd. */
emu_exec_fn fpu_exec_fxsave, fpu_exec_fxrstor, fpu_exec_xsave, fpu_exec_xrstor, fpu_exec_ldmxcsr,
    fpu_exec_stmxcsr;
