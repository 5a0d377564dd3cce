/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/emu/exec/simd/simd_priv.h"

enum { FPU_HAS_BASE = 0 };

/* Declare a thunk of each width, whether the row has it or not. */
#define SIMD_ROW(NAME, op, shape, fp, m128, m256, set128, set256)                                  \
    extern const char simd_t_##NAME[], simd_tv_##NAME[], simd_t256_##NAME[];
#include "hvcore/emu/exec/simd/rows.def"
#undef SIMD_ROW
extern const char simd_t_VPERMILPS_IMM[], simd_t256_VPERMILPS_IMM[];
extern const char simd_t_VPERMILPD_IMM[], simd_t256_VPERMILPD_IMM[];

/* clang-format off */
#define ENTRY(mnemonic, low, high, set_low, set_high, m128_, m256_, mask, flags_)                  \
    [mnemonic] = { .thunk = (low), .thunk256 = (high), .features = FPU_HAS_##set_low,              \
                   .features256 = FPU_HAS_##set_high, .m128 = (m128_), .m256 = (m256_),            \
                   .imm_mask = (mask), .flags = (flags_) },

/* A legacy form, and its VEX form with and without 256 bits. */
#define OLD(N, set, a, mask, flags) ENTRY(EMU_MN_##N, simd_t_##N, NULL, set, set, a, 0, mask, flags)
#define NEW(N, s, t, a, b, mask, flags)                                                            \
    ENTRY(EMU_MN_V##N, simd_t_##N, simd_t256_##N, s, t, a, b, mask, flags)
#define NEW128(N, s, a, mask, flags)                                                               \
    ENTRY(EMU_MN_V##N, simd_t_##N, NULL, s, s, a, 0, mask, flags)

#define ROW_BIN(N, fp, a, b, s, t) OLD(N, s, a, 0, fp) NEW(N, s, t, a, b, 0, fp)
#define ROW_UN(N, fp, a, b, s, t) OLD(N, s, a, 0, (fp) | SIMD_UNARY) NEW(N, s, t, a, b, 0, (fp) | SIMD_UNARY)
#define ROW_WIDEN(N, fp, a, b, s, t) ROW_UN(N, fp, a, b, s, t)
#define ROW_NARROW(N, fp, a, b, s, t) ROW_UN(N, fp, a, b, s, t)
#define ROW_SHIFT(N, fp, a, b, s, t) OLD(N, s, a, 0, SIMD_SHIFT) NEW(N, s, t, a, b, 0, SIMD_SHIFT)
#define ROW_BYTE_SHIFT(N, fp, a, b, s, t)                                                          \
    OLD(N, s, a, 255, SIMD_BYTE_SHIFT) NEW(N, s, t, a, b, 255, SIMD_BYTE_SHIFT)
#define ROW_SCALAR(N, fp, a, b, s, t) OLD(N, s, a, 0, (fp) | SIMD_SCALAR) NEW128(N, s, a, 0, (fp) | SIMD_SCALAR)
#define ROW_ONLY128(N, fp, a, b, s, t) OLD(N, s, a, 0, fp) NEW128(N, s, a, 0, fp)
#define ROW_ONLY128_UN(N, fp, a, b, s, t) OLD(N, s, a, 0, (fp) | SIMD_UNARY) NEW128(N, s, a, 0, (fp) | SIMD_UNARY)
#define ROW_LEGACY(N, fp, a, b, s, t) OLD(N, s, a, 0, (fp) | SIMD_ANY_ALIGN)
#define ROW_BIN_IMM(N, fp, a, b, s, t) OLD(N, s, a, 255, fp) NEW(N, s, t, a, b, 255, fp)
#define ROW_UN_IMM(N, fp, a, b, s, t) OLD(N, s, a, 255, (fp) | SIMD_UNARY) NEW(N, s, t, a, b, 255, (fp) | SIMD_UNARY)
#define ROW_SCALAR_IMM(N, fp, a, b, s, t)                                                          \
    OLD(N, s, a, 255, (fp) | SIMD_SCALAR) NEW128(N, s, a, 255, (fp) | SIMD_SCALAR)
#define ROW_ONLY128_IMM(N, fp, a, b, s, t) OLD(N, s, a, 255, fp) NEW128(N, s, a, 255, fp)
#define ROW_ONLY128_UN_IMM(N, fp, a, b, s, t) OLD(N, s, a, 255, (fp) | SIMD_UNARY) NEW128(N, s, a, 255, (fp) | SIMD_UNARY)
#define ROW_LEGACY_IMM(N, fp, a, b, s, t) OLD(N, s, a, 3, (fp) | SIMD_ANY_ALIGN)
/* CMPSD is the string instruction's name */
#define MN_CMPPS EMU_MN_CMPPS
#define MN_CMPPD EMU_MN_CMPPD
#define MN_CMPSS EMU_MN_CMPSS
#define MN_CMPSD EMU_MN_SSE_CMPSD
#define ROW_COMPARE(N, fp, a, b, s, t)                                                             \
    ENTRY(MN_##N, simd_t_##N, NULL, s, s, a, 0, 7, fp)                                             \
    ENTRY(EMU_MN_V##N, simd_tv_##N, simd_t256_##N, t, t, a, b, 31, fp)
#define ROW_COMPARE_SCALAR(N, fp, a, b, s, t)                                                      \
    ENTRY(MN_##N, simd_t_##N, NULL, s, s, a, 0, 7, (fp) | SIMD_SCALAR)                             \
    ENTRY(EMU_MN_V##N, simd_tv_##N, NULL, t, t, a, 0, 31, (fp) | SIMD_SCALAR)
#define VEX(N, low, fp, a, b, t, mask, flags) ENTRY(EMU_MN_##N, low, simd_t256_##N, t, t, a, b, mask, (fp) | (flags))
#define ROW_VEX_BIN(N, fp, a, b, s, t) VEX(N, simd_t_##N, fp, a, b, t, 0, 0)
#define ROW_VEX_WIDEN(N, fp, a, b, s, t) VEX(N, simd_t_##N, fp, a, b, t, 0, SIMD_UNARY)
#define ROW_VEX_BIN_256(N, fp, a, b, s, t) VEX(N, NULL, fp, a, b, t, 0, 0)
#define ROW_VEX_BIN_IMM(N, fp, a, b, s, t) VEX(N, simd_t_##N, fp, a, b, t, 255, 0)
#define ROW_VEX_BIN_IMM_256(N, fp, a, b, s, t) VEX(N, NULL, fp, a, b, t, 255, 0)
#define ROW_VEX_UN_IMM_256(N, fp, a, b, s, t) VEX(N, NULL, fp, a, b, t, 255, SIMD_UNARY)
#define ROW_FUSED(N, fp, a, b, s, t) VEX(N, simd_t_##N, fp, a, b, t, 0, SIMD_FUSED)
#define ROW_FUSED_SCALAR(N, fp, a, b, s, t)                                                        \
    ENTRY(EMU_MN_##N, simd_t_##N, NULL, t, t, a, 0, 0, (fp) | SIMD_FUSED | SIMD_SCALAR)

#define SIMD_ROW(NAME, op, shape, fp, m128, m256, set128, set256)                                  \
    ROW_##shape(NAME, fp, m128, m256, set128, set256)
/* clang-format on */

const struct simd_row simd_rows[EMU_N_MNEMONICS] = {
#include "hvcore/emu/exec/simd/rows.def"
};

const struct simd_row simd_row_vpermilps_imm = {
    .thunk = simd_t_VPERMILPS_IMM,
    .thunk256 = simd_t256_VPERMILPS_IMM,
    .features = FPU_HAS_AVX,
    .features256 = FPU_HAS_AVX,
    .m128 = 16,
    .m256 = 32,
    .imm_mask = 255,
    .flags = SIMD_UNARY,
};
const struct simd_row simd_row_vpermilpd_imm = {
    .thunk = simd_t_VPERMILPD_IMM,
    .thunk256 = simd_t256_VPERMILPD_IMM,
    .features = FPU_HAS_AVX,
    .features256 = FPU_HAS_AVX,
    .m128 = 16,
    .m256 = 32,
    .imm_mask = 255,
    .flags = SIMD_UNARY,
};
