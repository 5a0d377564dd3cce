/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers that call a row's thunk (chosen with its immediate), for all rows that have no
 * handlers of their own; and the picker of all rows.
 */
#include "hvcore/emu/exec/simd/fast_priv.h"

/* clang-format off */
typedef simd_v128 fn128(simd_v128 first, simd_v128 second);
/* clang-format on */

static inline const void *thunk_of(const struct emu_op *op)
{
    return (const void *)(uintptr_t)op->imm64;
}

static inline simd_v128 load_sized(const struct emu_op *op, const void *p)
{
    switch (fast_size(op)) {
    case 4: return (simd_v128){ *(const simd_u32 *)p, 0 };
    case 8: return (simd_v128){ (long long)*(const simd_u64 *)p, 0 };
    default: return *(const simd_u128 *)p;
    }
}

/* How a source becomes a result: 128-bit thunks by value, 256-bit ones by address. */
#define CALL(cpu, op, source)                                                                      \
    fast_put(cpu, op, ((fn128 *)thunk_of(op))(fast_get(cpu, (op)->aux), source))
#define CALL_FUSED(cpu, op, source)                                                                \
    fast_put(cpu, op,                                                                              \
             ((simd_fn128x3 *)thunk_of(op))(fast_get(cpu, (op)->dst), fast_get(cpu, (op)->aux),    \
                                            source))
#define CALL256(cpu, op, source)                                                                   \
    simd_call256(thunk_of(op), &(cpu)->vec[(op)->dst], &(cpu)->vec[(op)->aux], source)
#define CALL256_FUSED(cpu, op, source)                                                             \
    simd_call256x3(thunk_of(op), &(cpu)->vec[(op)->dst], &(cpu)->vec[(op)->dst],                   \
                   &(cpu)->vec[(op)->aux], source)

#define REGISTER128(cpu, op) fast_get(cpu, (op)->src)
#define REGISTER256(cpu, op) (&(cpu)->vec[(op)->src])
#define MEMORY128(op, p)     load_sized(op, p)
#define MEMORY256(op, p)     (p)

#define THUNK_REG(name, call, width, fp)                                                           \
    static const struct emu_op *name##_reg(EMU_PARAMS)                                             \
    {                                                                                              \
        if (fast_trapped(cpu, op) || (fp && fast_unmasked(cpu)))                                   \
            return emu_op_slow(cpu, op);                                                           \
        call(cpu, op, REGISTER##width(cpu, op));                                                   \
        EMU_DONE_ANEW(cpu, op);                                                                    \
    }

#define THUNK_MEM(ea, name, call, width, fp)                                                       \
    static const struct emu_op *name##_##ea(EMU_PARAMS)                                            \
    {                                                                                              \
        const void *p;                                                                             \
        FAST_READ_##ea(cpu, op, fast_size(op), p);                                                 \
        if (fast_misaligned(op, p) || fast_trapped(cpu, op) || (fp && fast_unmasked(cpu)))         \
            return emu_op_slow(cpu, op);                                                           \
        call(cpu, op, MEMORY##width(op, p));                                                       \
        EMU_DONE_ANEW(cpu, op);                                                                    \
    }

#define THUNK_ALL(name, call, width, fp)                                                           \
    THUNK_REG(name, call, width, fp)                                                               \
    FAST_EACH_EA(THUNK_MEM, name, call, width, fp)                                                 \
    static emu_handler *const name##_mem[3] = FAST_EA_TABLE(name##_);

THUNK_ALL(plain, CALL, 128, 0)
THUNK_ALL(rounded, CALL, 128, 1)
THUNK_ALL(fused, CALL_FUSED, 128, 1)
THUNK_ALL(plain256, CALL256, 256, 0)
THUNK_ALL(rounded256, CALL256, 256, 1)
THUNK_ALL(fused256, CALL256_FUSED, 256, 1)

static bool bind_thunk(const struct emu_pick *pick, struct emu_op *op, const struct simd_row *row,
                       unsigned last, bool is_256)
{
    bool is_fp = row->flags & SIMD_FP;

    if (row->flags & SIMD_FUSED)
        return is_256 ? fast_bind(pick, op, last, fused256_reg, fused256_mem)
                      : fast_bind(pick, op, last, fused_reg, fused_mem);
    if (is_256)
        return is_fp ? fast_bind(pick, op, last, rounded256_reg, rounded256_mem)
                     : fast_bind(pick, op, last, plain256_reg, plain256_mem);
    return is_fp ? fast_bind(pick, op, last, rounded_reg, rounded_mem)
                 : fast_bind(pick, op, last, plain_reg, plain_mem);
}

/* The immediate count of a shift. */
static bool bind_count(const struct fast_lanes *lanes, struct emu_op *op,
                       const struct simd_parts *parts, bool is_256)
{
    if (!lanes)
        return false;
    op->imm64 = parts->imm;
    op->fn = is_256 ? lanes->count256 : lanes->count;
    return op->fn != NULL;
}

bool fast_pick_lanes(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    const struct simd_row *row = simd_row_of(insn);
    const struct fast_lanes *lanes = fast_lanes[insn->mnemonic];
    bool is_256 = simd_is_256(insn, row);
    struct simd_parts parts = simd_parse(insn, row);
    const void *thunk = is_256 ? row->thunk256 : row->thunk;
    unsigned size = is_256 ? row->m256 : row->m128;

    if (!thunk || simd_is_mmx(insn) || !fast_host_runs(is_256 ? row->features256 : row->features))
        return false;
    op->dst = parts.dst;
    op->aux = parts.first;
    op->imm = fast_pack(insn, size, size == 16 && !simd_is_vex(insn) ? 16 : 0);
    if ((row->flags & SIMD_SHIFT) && parts.has_imm)
        return bind_count(lanes, op, &parts, is_256);
    if (lanes)
        return fast_bind(pick, op, parts.last, is_256 ? lanes->reg256 : lanes->reg,
                         is_256 ? lanes->mem256 : lanes->mem);
    /* 256-bit thunks are handed all 32 bytes */
    if (is_256 && size != 32 && simd_is_mem(insn, parts.last))
        return false;
    op->imm64 = (uintptr_t)simd_pick_thunk(row, thunk, parts.imm);
    return bind_thunk(pick, op, row, parts.last, is_256);
}
