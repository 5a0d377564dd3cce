/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own instruction for each row of rows.def, as a function of the C calling convention:
 * operands in xmm0, xmm1, xmm2 (ymm), result in xmm0 (ymm0). Arguments: first source (the
 * destination of legacy forms), second source. Instructions with an immediate are tables of such
 * functions, SIMD_STRIDE (8) bytes each.
 */
#define FN(name)                                                               \
    .p2align 3; .globl name; .hidden name; .type name, @function; name:
#define END(name) .size name, . - name;

#define ONE(name, ...) FN(name) __VA_ARGS__; ret; END(name)
#define TABLE(name, n, ...)                                                    \
    FN(name) .set imm, 0; .rept n; .p2align 3; __VA_ARGS__; ret; .set imm, imm + 1; .endr; END(name)

#define THUNK_BIN(N, o)                                                        \
    ONE(simd_t_##N, o %xmm1, %xmm0) ONE(simd_t256_##N, v##o %ymm1, %ymm0, %ymm0)
#define THUNK_UN(N, o)                                                         \
    ONE(simd_t_##N, o %xmm1, %xmm0) ONE(simd_t256_##N, v##o %ymm1, %ymm0)
#define THUNK_WIDEN(N, o)                                                      \
    ONE(simd_t_##N, o %xmm1, %xmm0) ONE(simd_t256_##N, v##o %xmm1, %ymm0)
#define THUNK_NARROW(N, o)                                                     \
    ONE(simd_t_##N, o %xmm1, %xmm0) ONE(simd_t256_##N, v##o %ymm1, %xmm0)
#define THUNK_SHIFT(N, o)                                                      \
    ONE(simd_t_##N, o %xmm1, %xmm0) ONE(simd_t256_##N, v##o %xmm1, %ymm0, %ymm0)
#define THUNK_SCALAR(N, o) ONE(simd_t_##N, o %xmm1, %xmm0)
#define THUNK_ONLY128(N, o) THUNK_SCALAR(N, o)
#define THUNK_ONLY128_UN(N, o) THUNK_SCALAR(N, o)
#define THUNK_LEGACY(N, o) THUNK_SCALAR(N, o)

#define THUNK_BIN_IMM(N, o)                                                    \
    TABLE(simd_t_##N, 256, o $imm, %xmm1, %xmm0)                               \
    TABLE(simd_t256_##N, 256, v##o $imm, %ymm1, %ymm0, %ymm0)
#define THUNK_UN_IMM(N, o)                                                     \
    TABLE(simd_t_##N, 256, o $imm, %xmm1, %xmm0)                               \
    TABLE(simd_t256_##N, 256, v##o $imm, %ymm1, %ymm0)
#define THUNK_SCALAR_IMM(N, o) TABLE(simd_t_##N, 256, o $imm, %xmm1, %xmm0)
#define THUNK_ONLY128_IMM(N, o) THUNK_SCALAR_IMM(N, o)
#define THUNK_ONLY128_UN_IMM(N, o) THUNK_SCALAR_IMM(N, o)
#define THUNK_LEGACY_IMM(N, o) THUNK_SCALAR_IMM(N, o)
#define THUNK_BYTE_SHIFT(N, o)                                                 \
    TABLE(simd_t_##N, 17, o $imm, %xmm0)                                       \
    TABLE(simd_t256_##N, 17, v##o $imm, %ymm0, %ymm0)

/* Legacy compares have 8 predicates, VEX forms 32. */
#define THUNK_COMPARE_SCALAR(N, o)                                             \
    TABLE(simd_t_##N, 8, o $imm, %xmm1, %xmm0)                                 \
    TABLE(simd_tv_##N, 32, v##o $imm, %xmm1, %xmm0, %xmm0)
#define THUNK_COMPARE(N, o)                                                    \
    THUNK_COMPARE_SCALAR(N, o)                                                 \
    TABLE(simd_t256_##N, 32, v##o $imm, %ymm1, %ymm0, %ymm0)

#define THUNK_VEX_BIN_256(N, o) ONE(simd_t256_##N, o %ymm1, %ymm0, %ymm0)
#define THUNK_VEX_BIN(N, o)                                                    \
    ONE(simd_t_##N, o %xmm1, %xmm0, %xmm0) THUNK_VEX_BIN_256(N, o)
#define THUNK_VEX_WIDEN(N, o)                                                  \
    ONE(simd_t_##N, o %xmm1, %xmm0) ONE(simd_t256_##N, o %xmm1, %ymm0)
#define THUNK_VEX_UN_IMM_256(N, o) TABLE(simd_t256_##N, 256, o $imm, %ymm1, %ymm0)
#define THUNK_VEX_BIN_IMM_256(N, o) TABLE(simd_t256_##N, 256, o $imm, %ymm1, %ymm0, %ymm0)
#define THUNK_VEX_BIN_IMM(N, o)                                                \
    TABLE(simd_t_##N, 256, o $imm, %xmm1, %xmm0, %xmm0) THUNK_VEX_BIN_IMM_256(N, o)
#define THUNK_FUSED_SCALAR(N, o) ONE(simd_t_##N, o %xmm2, %xmm1, %xmm0)
#define THUNK_FUSED(N, o)                                                      \
    THUNK_FUSED_SCALAR(N, o) ONE(simd_t256_##N, o %ymm2, %ymm1, %ymm0)

#define SIMD_ROW(NAME, op, shape, ...) THUNK_##shape(NAME, op)

    .text
#include "hvcore/emu/exec/simd/rows.def"

/* vpermilps and vpermilpd with an immediate: f(ignored, source) */
TABLE(simd_t_VPERMILPS_IMM, 256, vpermilps $imm, %xmm1, %xmm0)
TABLE(simd_t256_VPERMILPS_IMM, 256, vpermilps $imm, %ymm1, %ymm0)
TABLE(simd_t_VPERMILPD_IMM, 256, vpermilpd $imm, %xmm1, %xmm0)
TABLE(simd_t256_VPERMILPD_IMM, 256, vpermilpd $imm, %ymm1, %ymm0)
/* vcvtps2ph: f(ignored, source), eight immediates */
TABLE(simd_t_VCVTPS2PH, 8, vcvtps2ph $imm, %xmm1, %xmm0)
TABLE(simd_t256_VCVTPS2PH, 8, vcvtps2ph $imm, %ymm1, %xmm0)

/* Selection by a mask, f(mask, first, second); also sha256rnds2, whose mask is xmm0's old role */
#define MASKED(N, o)                                                           \
    ONE(simd_t_##N, o %xmm0, %xmm2, %xmm1; movdqa %xmm1, %xmm0)                \
    ONE(simd_t256_##N, v##o %ymm0, %ymm2, %ymm1, %ymm0)
MASKED(BLENDVPS, blendvps)
MASKED(BLENDVPD, blendvpd)
MASKED(PBLENDVB, pblendvb)
ONE(simd_t_SHA256RNDS2, sha256rnds2 %xmm0, %xmm2, %xmm1; movdqa %xmm1, %xmm0)

/*
 * 256-bit thunks are called by way of these, since compilers don't agree on how ymm values travel in
 * code that isn't made for AVX as a whole:
 *   void simd_call256(thunk, result, first, second)          each 32 bytes of memory
 *   void simd_call256x3(thunk, result, first, second, third)
 *   uint64_t simd_ask256(thunk, first, second)               for thunks that return an integer
 */
FN(simd_call256x3)
    vmovups (%r8), %ymm2
FN(simd_call256)
    vmovups (%rdx), %ymm0
    vmovups (%rcx), %ymm1
    call *%rdi
    vmovups %ymm0, (%rsi)
    vzeroupper
    ret
END(simd_call256)
END(simd_call256x3)
FN(simd_ask256)
    vmovups (%rsi), %ymm0
    vmovups (%rdx), %ymm1
    call *%rdi
    vzeroupper
    ret
END(simd_ask256)

/* Results in the flags: return lahf's AH in bits 8-15, OF in bit 0 (struct emu_cpu's aflags) */
#define FLAGS(name, ...)                                                       \
    ONE(name, __VA_ARGS__; movl $0, %eax; lahf; seto %al)
FLAGS(simd_t_COMISS, comiss %xmm1, %xmm0)
FLAGS(simd_t_COMISD, comisd %xmm1, %xmm0)
FLAGS(simd_t_UCOMISS, ucomiss %xmm1, %xmm0)
FLAGS(simd_t_UCOMISD, ucomisd %xmm1, %xmm0)
FLAGS(simd_t_PTEST, ptest %xmm1, %xmm0)
FLAGS(simd_t256_PTEST, vptest %ymm1, %ymm0)
FLAGS(simd_t_VTESTPS, vtestps %xmm1, %xmm0)
FLAGS(simd_t256_VTESTPS, vtestps %ymm1, %ymm0)
FLAGS(simd_t_VTESTPD, vtestpd %xmm1, %xmm0)
FLAGS(simd_t256_VTESTPD, vtestpd %ymm1, %ymm0)

/* General registers from vectors: f(source) */
ONE(simd_t_CVTSS2SI, cvtss2si %xmm0, %eax)
ONE(simd_t_CVTTSS2SI, cvttss2si %xmm0, %eax)
ONE(simd_t_CVTSD2SI, cvtsd2si %xmm0, %eax)
ONE(simd_t_CVTTSD2SI, cvttsd2si %xmm0, %eax)
ONE(simd_t64_CVTSS2SI, cvtss2si %xmm0, %rax)
ONE(simd_t64_CVTTSS2SI, cvttss2si %xmm0, %rax)
ONE(simd_t64_CVTSD2SI, cvtsd2si %xmm0, %rax)
ONE(simd_t64_CVTTSD2SI, cvttsd2si %xmm0, %rax)
ONE(simd_t_MOVMSKPS, movmskps %xmm0, %eax)
ONE(simd_t_MOVMSKPD, movmskpd %xmm0, %eax)
ONE(simd_t_PMOVMSKB, pmovmskb %xmm0, %eax)
ONE(simd_t256_MOVMSKPS, vmovmskps %ymm0, %eax)
ONE(simd_t256_MOVMSKPD, vmovmskpd %ymm0, %eax)
ONE(simd_t256_PMOVMSKB, vpmovmskb %ymm0, %eax)

/* Vectors from general registers: f(first source, integer) */
ONE(simd_t_CVTSI2SS, cvtsi2ssl %edi, %xmm0)
ONE(simd_t64_CVTSI2SS, cvtsi2ssq %rdi, %xmm0)
ONE(simd_t_CVTSI2SD, cvtsi2sdl %edi, %xmm0)
ONE(simd_t64_CVTSI2SD, cvtsi2sdq %rdi, %xmm0)

/* SSE4a: f(destination, source or control) */
ONE(simd_t_EXTRQ, extrq %xmm1, %xmm0)
ONE(simd_t_INSERTQ, insertq %xmm1, %xmm0)

/*
 * String compares: simd_string(first, second, thunk in rdi, registers in rsi) with
 * struct simd_string { uint64_t rax, rdx, rcx, flags; }; result mask in xmm0.
 */
TABLE(simd_t_PCMPESTRI, 128, pcmpestri $imm, %xmm1, %xmm0)
TABLE(simd_t_PCMPESTRM, 128, pcmpestrm $imm, %xmm1, %xmm0)
TABLE(simd_t_PCMPISTRI, 128, pcmpistri $imm, %xmm1, %xmm0)
TABLE(simd_t_PCMPISTRM, 128, pcmpistrm $imm, %xmm1, %xmm0)
/* REX.W: the lengths are rax and rdx */
TABLE(simd_t64_PCMPESTRI, 128, .byte 0x66, 0x48, 0x0f, 0x3a, 0x61, 0xc1, imm)
TABLE(simd_t64_PCMPESTRM, 128, .byte 0x66, 0x48, 0x0f, 0x3a, 0x60, 0xc1, imm)

FN(simd_string)
    movq (%rsi), %rax
    movq 8(%rsi), %rdx
    xorl %ecx, %ecx
    call *%rdi
    movq %rcx, 16(%rsi)
    movl $0, %eax
    lahf
    seto %al
    movq %rax, 24(%rsi)
    ret
END(simd_string)

/*
 * MMX: tables by destination register of functions of the source's address; the registers are the
 * host's own. simd_mmx_get[n]() and simd_mmx_put[n](value) move one.
 */
#define EACH_MM(name, before, after)                                           \
    FN(name)                                                                   \
    .p2align 3; before %mm0 after; ret; .p2align 3; before %mm1 after; ret;    \
    .p2align 3; before %mm2 after; ret; .p2align 3; before %mm3 after; ret;    \
    .p2align 3; before %mm4 after; ret; .p2align 3; before %mm5 after; ret;    \
    .p2align 3; before %mm6 after; ret; .p2align 3; before %mm7 after; ret;    \
    END(name)
#define COMMA ,
#define MMX_ROW(NAME, op, ...) EACH_MM(simd_mmx_##NAME, op (%rdi) COMMA, )
#include "hvcore/emu/exec/simd/mmx.def"
EACH_MM(simd_mmx_get, movq, COMMA %rax)
EACH_MM(simd_mmx_put, movq %rdi COMMA, )
ONE(simd_mmx_emms, emms)

    .section .note.GNU-stack, "", @progbits
