/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers with the instruction itself inside, made from the rows that have no immediate: the
 * last source in a register, at [base], [base+index], for shifts also an immediate count.
 */
#include "hvcore/emu/exec/simd/fast_priv.h"

#ifndef EMU_THREADED

/* Builds for debugging and sanitizers go by the thunks: the same instructions, a tenth of the code.
 */
const struct fast_lanes *const fast_lanes[EMU_N_MNEMONICS];

#else

/* ---- Memory operands by size; the upper bytes are zero ---- */
#define LOAD_2(p)  ((simd_v128){ *(const simd_u16 *)(p), 0 })
#define LOAD_4(p)  ((simd_v128){ *(const simd_u32 *)(p), 0 })
#define LOAD_8(p)  ((simd_v128){ (long long)*(const simd_u64 *)(p), 0 })
#define LOAD_16(p) ((simd_v128) * (const simd_u128 *)(p))

/* clang-format off */
/* ---- 128 bits and scalars ---- */
#define RUN(asm_op, dst, source) __asm__ volatile(asm_op " %1, %0" : "+x"(dst) : "x"(source))

#define LANE_REG(name, asm_op, fp)                                                                 \
    static const struct emu_op *name##_reg(EMU_PARAMS)           \
    {                                                                                              \
        simd_v128 value, source;                                                                   \
        if (fast_trapped(cpu, op) || (fp && fast_unmasked(cpu)))                                   \
            return emu_op_slow(cpu, op);                                                           \
        value = fast_get(cpu, op->aux);                                                            \
        source = fast_get(cpu, op->src);                                                           \
        RUN(asm_op, value, source);                                                                \
        fast_put(cpu, op, value);                                                                  \
        EMU_DONE(cpu, op);                                                                         \
    }

#define LANE_MEM(ea, name, asm_op, fp, size)                                                       \
    static const struct emu_op *name##_##ea(EMU_PARAMS)          \
    {                                                                                              \
        const void *p;                                                                             \
        simd_v128 value, source;                                                                   \
        FAST_READ_##ea(cpu, op, size, p);                                                          \
        if ((size == 16 && fast_misaligned(op, p)) || fast_trapped(cpu, op) ||                  \
            (fp && fast_unmasked(cpu)))                                                            \
            return emu_op_slow(cpu, op);                                                           \
        source = LOAD_##size(p);                                                                   \
        value = fast_get(cpu, op->aux);                                                            \
        RUN(asm_op, value, source);                                                                \
        fast_put(cpu, op, value);                                                                  \
        EMU_DONE(cpu, op);                                                                         \
    }

#define LANE_COUNT(name, asm_op)                                                                   \
    static const struct emu_op *name##_count(EMU_PARAMS)         \
    {                                                                                              \
        simd_v128 value, source = { (long long)op->imm64, 0 };                                     \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        value = fast_get(cpu, op->aux);                                                            \
        RUN(asm_op, value, source);                                                                \
        fast_put(cpu, op, value);                                                                  \
        EMU_DONE(cpu, op);                                                                         \
    }

/* ---- 256 bits: by how the instruction is written ---- */
#define BINARY(o)       "v" o " %2, %1, %0"
#define BINARY_XMM(o)   "v" o " %x2, %1, %0"
#define UNARY(o)        "v" o " %2, %0"
#define UNARY_WIDEN(o)  "v" o " %x2, %0"
#define UNARY_NARROW(o) "v" o " %2, %x0"
#define RUN256(text, dst, first, source)                                                           \
    __asm__ volatile(text : "=x"(dst) : "x"(first), "x"(source))
#define SOURCE_32(p)  ((simd_v256) * (const simd_u256 *)(p))
#define SOURCE_16(p)  LOAD_16(p)
#define SOURCE_8(p)   LOAD_8(p)
#define SOURCE_4(p)   LOAD_4(p)
#define TYPE_32 simd_v256
#define TYPE_16 simd_v128
#define TYPE_8  simd_v128
#define TYPE_4  simd_v128

#define WIDE_REG(name, text, fp)                                                                   \
    SIMD_YMM static const struct emu_op *name##_reg256(EMU_PARAMS)                    \
    {                                                                                              \
        simd_v256 value;                                                                           \
        if (fast_trapped(cpu, op) || (fp && fast_unmasked(cpu)))                                   \
            return emu_op_slow(cpu, op);                                                           \
        RUN256(text, value, fast_get256(cpu, op->aux), fast_get256(cpu, op->src));                 \
        fast_put256(cpu, op, value);                                                               \
        EMU_DONE(cpu, op);                                                                         \
    }

#define WIDE_MEM(ea, name, text, fp, size)                                                         \
    SIMD_YMM static const struct emu_op *name##_##ea##256(EMU_PARAMS)                 \
    {                                                                                              \
        const void *p;                                                                             \
        simd_v256 value;                                                                           \
        TYPE_##size source;                                                                        \
        FAST_READ_##ea(cpu, op, size, p);                                                          \
        if (fast_trapped(cpu, op) || (fp && fast_unmasked(cpu)))                \
            return emu_op_slow(cpu, op);                                                           \
        source = SOURCE_##size(p);                                                                 \
        RUN256(text, value, fast_get256(cpu, op->aux), source);                                    \
        fast_put256(cpu, op, value);                                                               \
        EMU_DONE(cpu, op);                                                                         \
    }

#define WIDE_COUNT(name, text)                                                                     \
    SIMD_YMM static const struct emu_op *name##_count256(EMU_PARAMS)                  \
    {                                                                                              \
        simd_v128 source = { (long long)op->imm64, 0 };                                            \
        simd_v256 value;                                                                           \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        RUN256(text, value, fast_get256(cpu, op->aux), source);                                    \
        fast_put256(cpu, op, value);                                                               \
        EMU_DONE(cpu, op);                                                                         \
    }

/* ---- Rows ---- */
#define MAKE128(N, o, fp, size)                                                                    \
    LANE_REG(lane_##N, #o, fp) FAST_EACH_PLAIN_EA(LANE_MEM, lane_##N, #o, fp, size)
#define MAKE256(N, text, fp, size)                                                                 \
    WIDE_REG(lane_##N, text, fp) FAST_EACH_PLAIN_EA(WIDE_MEM, lane_##N, text, fp, size)
#define FIELDS128(N)                                                                               \
    .reg = lane_##N##_reg, .mem = { lane_##N##_base, lane_##N##_index, lane_##N##_base }
#define FIELDS256(N)                                                                               \
    .reg256 = lane_##N##_reg256,                                                                   \
    .mem256 = { lane_##N##_base256, lane_##N##_index256, lane_##N##_base256 }
#define ROW256(N, o, fp, a, b, text)                                                               \
    MAKE128(N, o, fp, a) MAKE256(N, text(#o), fp, b)                                               \
    static const struct fast_lanes lanes_##N = { FIELDS128(N), FIELDS256(N) };
#define ROW128(N, o, fp, a)                                                                        \
    MAKE128(N, o, fp, a) static const struct fast_lanes lanes_##N = { FIELDS128(N) };

#define MAKE_BIN(N, o, fp, a, b)    ROW256(N, o, fp, a, b, BINARY)
#define MAKE_UN(N, o, fp, a, b)     ROW256(N, o, fp, a, b, UNARY)
#define MAKE_WIDEN(N, o, fp, a, b)  ROW256(N, o, fp, a, b, UNARY_WIDEN)
#define MAKE_NARROW(N, o, fp, a, b) ROW256(N, o, fp, a, b, UNARY_NARROW)
#define MAKE_SCALAR(N, o, fp, a, b) ROW128(N, o, fp, a)
#define MAKE_ONLY128(N, o, fp, a, b) ROW128(N, o, fp, a)
#define MAKE_SHIFT(N, o, fp, a, b)                                                                 \
    MAKE128(N, o, fp, a) MAKE256(N, BINARY_XMM(#o), fp, b)                                         \
    LANE_COUNT(lane_##N, #o) WIDE_COUNT(lane_##N, BINARY_XMM(#o))                                  \
    static const struct fast_lanes lanes_##N = { FIELDS128(N), FIELDS256(N),                       \
                                                 .count = lane_##N##_count,                        \
                                                 .count256 = lane_##N##_count256 };
#define NOTHING(N, o, fp, a, b)
#define MAKE_ONLY128_UN NOTHING
#define MAKE_LEGACY NOTHING
#define MAKE_LEGACY_IMM NOTHING
#define MAKE_BIN_IMM NOTHING
#define MAKE_UN_IMM NOTHING
#define MAKE_SCALAR_IMM NOTHING
#define MAKE_ONLY128_IMM NOTHING
#define MAKE_ONLY128_UN_IMM NOTHING
#define MAKE_BYTE_SHIFT NOTHING
#define MAKE_COMPARE NOTHING
#define MAKE_COMPARE_SCALAR NOTHING
#define MAKE_VEX_BIN NOTHING
#define MAKE_VEX_WIDEN NOTHING
#define MAKE_VEX_BIN_256 NOTHING
#define MAKE_VEX_BIN_IMM NOTHING
#define MAKE_VEX_BIN_IMM_256 NOTHING
#define MAKE_VEX_UN_IMM_256 NOTHING
#define MAKE_FUSED NOTHING
#define MAKE_FUSED_SCALAR NOTHING
#define SIMD_ROW(NAME, op, shape, fp, m128, m256, ...) MAKE_##shape(NAME, op, fp, m128, m256)
#include "hvcore/emu/exec/simd/rows.def"
#undef SIMD_ROW

#define BOTH(N) [EMU_MN_##N] = &lanes_##N, [EMU_MN_V##N] = &lanes_##N,
#define LIST_BIN BOTH
#define LIST_UN BOTH
#define LIST_WIDEN BOTH
#define LIST_NARROW BOTH
#define LIST_SCALAR BOTH
#define LIST_ONLY128 BOTH
#define LIST_SHIFT BOTH
#define ABSENT(N)
#define LIST_ONLY128_UN ABSENT
#define LIST_LEGACY ABSENT
#define LIST_LEGACY_IMM ABSENT
#define LIST_BIN_IMM ABSENT
#define LIST_UN_IMM ABSENT
#define LIST_SCALAR_IMM ABSENT
#define LIST_ONLY128_IMM ABSENT
#define LIST_ONLY128_UN_IMM ABSENT
#define LIST_BYTE_SHIFT ABSENT
#define LIST_COMPARE ABSENT
#define LIST_COMPARE_SCALAR ABSENT
#define LIST_VEX_BIN ABSENT
#define LIST_VEX_WIDEN ABSENT
#define LIST_VEX_BIN_256 ABSENT
#define LIST_VEX_BIN_IMM ABSENT
#define LIST_VEX_BIN_IMM_256 ABSENT
#define LIST_VEX_UN_IMM_256 ABSENT
#define LIST_FUSED ABSENT
#define LIST_FUSED_SCALAR ABSENT
#define SIMD_ROW(NAME, op, shape, ...) LIST_##shape(NAME)
const struct fast_lanes *const fast_lanes[EMU_N_MNEMONICS] = {
#include "hvcore/emu/exec/simd/rows.def"
};
/* clang-format on */

#endif
