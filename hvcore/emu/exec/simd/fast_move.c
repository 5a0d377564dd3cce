/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers of moves: whole registers, scalars, halves, general registers, memory. */
#include "hvcore/emu/exec/simd/fast_priv.h"

#define REG(cpu, offset) (*(uint64_t *)((char *)(cpu) + (offset)))

/* ---- Between registers ---- */
#define MOVE_REG(name, ...)                                                                        \
    static const struct emu_op *name(EMU_PARAMS)                                                   \
    {                                                                                              \
        const uint64_t *first __attribute__((unused)) = cpu->vec[op->aux].q;                       \
        const uint64_t *from = cpu->vec[op->src].q;                                                \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        fast_put(cpu, op, (simd_v128){ __VA_ARGS__ });                                             \
        EMU_DONE(cpu, op);                                                                         \
    }

#define LL(x) ((long long)(x))
MOVE_REG(move_movss, LL((first[0] & ~UINT64_C(0xffffffff)) | (uint32_t)from[0]), LL(first[1]))
MOVE_REG(move_low, LL(from[0]), LL(first[1]))
MOVE_REG(move_high_to_low, LL(from[1]), LL(first[1]))
MOVE_REG(move_low_to_high, LL(first[0]), LL(from[0]))
MOVE_REG(move_movq, LL(from[0]), 0)

static const struct emu_op *move_whole(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    fast_put(cpu, op, fast_get(cpu, op->src));
    EMU_DONE(cpu, op);
}

static const struct emu_op *move_whole256(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    cpu->vec[op->dst] = cpu->vec[op->src];
    EMU_DONE(cpu, op);
}

/* ---- General registers: dst or src is an offset in struct emu_cpu ---- */
static const struct emu_op *move_from_gpr32(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    fast_put(cpu, op, (simd_v128){ (uint32_t)REG(cpu, op->src), 0 });
    EMU_DONE(cpu, op);
}

static const struct emu_op *move_from_gpr64(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    fast_put(cpu, op, (simd_v128){ LL(REG(cpu, op->src)), 0 });
    EMU_DONE(cpu, op);
}

static const struct emu_op *move_to_gpr32(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    REG(cpu, op->dst) = (uint32_t)cpu->vec[op->src].q[0];
    EMU_DONE(cpu, op);
}

static const struct emu_op *move_to_gpr64(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    REG(cpu, op->dst) = cpu->vec[op->src].q[0];
    EMU_DONE(cpu, op);
}

/* ---- Loads ---- */
#define LOAD(ea, name, size, expression)                                                           \
    static const struct emu_op *name##_##ea(EMU_PARAMS)                                            \
    {                                                                                              \
        const void *p;                                                                             \
        FAST_READ_##ea(cpu, op, size, p);                                                          \
        if (fast_misaligned(op, p) || fast_trapped(cpu, op))                                       \
            return emu_op_slow(cpu, op);                                                           \
        fast_put(cpu, op, expression);                                                             \
        EMU_DONE(cpu, op);                                                                         \
    }
#define LOADS(name, size, expression)                                                              \
    FAST_EACH_EA(LOAD, name, size, expression)                                                     \
    static emu_handler *const name[3] = FAST_EA_TABLE(name##_);
#define FIRST(half) LL(cpu->vec[op->aux].q[half])

LOADS(load_16, 16, (*(const simd_u128 *)p))
LOADS(load_8, 8, ((simd_v128){ LL(*(const simd_u64 *)p), 0 }))
LOADS(load_4, 4, ((simd_v128){ *(const simd_u32 *)p, 0 }))
LOADS(load_low, 8, ((simd_v128){ LL(*(const simd_u64 *)p), FIRST(1) }))
LOADS(load_high, 8, ((simd_v128){ FIRST(0), LL(*(const simd_u64 *)p) }))

#define LOAD256(ea, name, expression)                                                              \
    SIMD_YMM static const struct emu_op *name##_##ea(EMU_PARAMS)                                   \
    {                                                                                              \
        const void *p;                                                                             \
        FAST_READ_##ea(cpu, op, 32, p);                                                            \
        if (fast_misaligned(op, p) || fast_trapped(cpu, op))                                       \
            return emu_op_slow(cpu, op);                                                           \
        fast_put256(cpu, op, *(const simd_u256 *)p);                                               \
        EMU_DONE(cpu, op);                                                                         \
    }
FAST_EACH_EA(LOAD256, load_32, )
static emu_handler *const load_32[3] = FAST_EA_TABLE(load_32_);

/* ---- Stores: the register is src ---- */
#define STORE(ea, name, size, type, expression)                                                    \
    static const struct emu_op *name##_##ea(EMU_PARAMS)                                            \
    {                                                                                              \
        void *p;                                                                                   \
        FAST_WRITE_##ea(cpu, op, size, p);                                                         \
        if (fast_misaligned(op, p) || fast_trapped(cpu, op))                                       \
            return emu_op_slow(cpu, op);                                                           \
        *(type *)p = expression;                                                                   \
        EMU_DONE(cpu, op);                                                                         \
    }
#define STORES(name, size, type, expression)                                                       \
    FAST_EACH_EA(STORE, name, size, type, expression)                                              \
    static emu_handler *const name[3] = FAST_EA_TABLE(name##_);

STORES(store_16, 16, simd_u128, fast_get(cpu, op->src))
STORES(store_8, 8, simd_u64, cpu->vec[op->src].q[0])
STORES(store_4, 4, simd_u32, (uint32_t)cpu->vec[op->src].q[0])
STORES(store_high, 8, simd_u64, cpu->vec[op->src].q[1])

#define STORE256(ea, name, unused)                                                                 \
    SIMD_YMM static const struct emu_op *name##_##ea(EMU_PARAMS)                                   \
    {                                                                                              \
        void *p;                                                                                   \
        FAST_WRITE_##ea(cpu, op, 32, p);                                                           \
        if (fast_misaligned(op, p) || fast_trapped(cpu, op))                                       \
            return emu_op_slow(cpu, op);                                                           \
        *(simd_u256 *)p = fast_get256(cpu, op->src);                                               \
        EMU_DONE(cpu, op);                                                                         \
    }
FAST_EACH_EA(STORE256, store_32, )
static emu_handler *const store_32[3] = FAST_EA_TABLE(store_32_);

/* ---- Upper halves, lanes and broadcasts ---- */
static const struct emu_op *zero_upper(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    for (unsigned i = 0; i < 16; i++)
        *fast_half(cpu, i, 1) = (simd_v128){ 0, 0 };
    EMU_DONE(cpu, op);
}

SIMD_YMM static inline void spread(struct emu_cpu *cpu, const struct emu_op *op, uint64_t value)
{
    long long low = LL(value), high = op->imm64 ? low : 0;

    fast_put256(cpu, op, (simd_v256){ low, low, high, high });
}

/* imm64: is it a ymm register */
#define SPREAD_REG(name, expression)                                                               \
    SIMD_YMM static const struct emu_op *name##_reg(EMU_PARAMS)                                    \
    {                                                                                              \
        uint64_t value = cpu->vec[op->src].q[0];                                                   \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        spread(cpu, op, expression);                                                               \
        EMU_DONE(cpu, op);                                                                         \
    }
#define SPREAD_MEM(ea, name, size, type, expression)                                               \
    SIMD_YMM static const struct emu_op *name##_##ea(EMU_PARAMS)                                   \
    {                                                                                              \
        const void *p;                                                                             \
        uint64_t value;                                                                            \
        FAST_READ_##ea(cpu, op, size, p);                                                          \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        value = *(const type *)p;                                                                  \
        spread(cpu, op, expression);                                                               \
        EMU_DONE(cpu, op);                                                                         \
    }
#define SPREAD(name, size, type, expression)                                                       \
    SPREAD_REG(name, expression)                                                                   \
    FAST_EACH_EA(SPREAD_MEM, name, size, type, expression)                                         \
    static emu_handler *const name[3] = FAST_EA_TABLE(name##_);
SPREAD(spread_1, 1, uint8_t, (uint8_t)value *UINT64_C(0x0101010101010101))
SPREAD(spread_2, 2, simd_u16, (uint16_t)value *UINT64_C(0x0001000100010001))
SPREAD(spread_4, 4, simd_u32, (uint32_t)value *UINT64_C(0x0000000100000001))
SPREAD(spread_8, 8, simd_u64, value)

/* vinserti128 from a register; imm64: which half */
static const struct emu_op *insert_lane(EMU_PARAMS)
{
    simd_v128 lane = fast_get(cpu, op->src);

    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    cpu->vec[op->dst] = cpu->vec[op->aux];
    *fast_half(cpu, op->dst, (unsigned)op->imm64) = lane;
    EMU_DONE(cpu, op);
}

/* vextracti128 to a register */
static const struct emu_op *extract_lane(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    fast_put(cpu, op, *fast_half(cpu, op->src, (unsigned)op->imm64));
    EMU_DONE(cpu, op);
}

/* ---- Picking ---- */
/* Operand 0 is memory: a store of operand 1. */
static bool bind_store(const struct emu_pick *pick, struct emu_op *op, emu_handler *const mem[3])
{
    enum emu_ea_form form = emu_pick_ea(pick, op);

    if (form == EMU_EA_GENERAL)
        return false;
    op->src = pick->insn->op[1].reg & 15;
    op->fn = mem[form];
    return true;
}

static bool pick_whole(const struct emu_pick *pick, struct emu_op *op, bool is_aligned)
{
    const struct emu_insn *insn = pick->insn;
    unsigned size = simd_is_vex(insn) && insn->vex_l ? 32 : 16;

    op->imm = fast_pack(insn, size, is_aligned ? size : 0);
    if (simd_is_mem(insn, 0))
        return bind_store(pick, op, size == 32 ? store_32 : store_16);
    return fast_bind(pick, op, 1, size == 32 ? move_whole256 : move_whole,
                     size == 32 ? load_32 : load_16);
}

static bool pick_scalar(const struct emu_pick *pick, struct emu_op *op, bool is_double)
{
    const struct emu_insn *insn = pick->insn;
    unsigned last = insn->n_operands == 3 ? 2 : 1;

    op->aux = insn->op[last - 1].reg & 15;
    if (simd_is_mem(insn, 0))
        return bind_store(pick, op, is_double ? store_8 : store_4);
    return fast_bind(pick, op, last, is_double ? move_low : move_movss,
                     is_double ? load_8 : load_4);
}

static bool pick_half(const struct emu_pick *pick, struct emu_op *op, bool is_high)
{
    const struct emu_insn *insn = pick->insn;
    unsigned last = insn->n_operands == 3 ? 2 : 1;

    op->aux = insn->op[last - 1].reg & 15;
    if (simd_is_mem(insn, 0))
        return bind_store(pick, op, is_high ? store_high : store_8);
    return fast_bind(pick, op, last, NULL, is_high ? load_high : load_low);
}

static bool pick_cross(const struct emu_pick *pick, struct emu_op *op, emu_handler *fn)
{
    const struct emu_insn *insn = pick->insn;
    unsigned last = insn->n_operands == 3 ? 2 : 1;

    op->aux = insn->op[last - 1].reg & 15;
    op->src = insn->op[last].reg & 15;
    op->fn = fn;
    return true;
}

static bool pick_movd(const struct emu_pick *pick, struct emu_op *op, bool is_q)
{
    const struct emu_insn *insn = pick->insn;

    if (simd_is_mem(insn, 0))
        return bind_store(pick, op, is_q ? store_8 : store_4);
    if (insn->op[0].kind == EMU_OPD_GPR) {
        op->dst = EMU_REG_OFFSET(insn->op[0].reg & 15);
        op->src = insn->op[1].reg & 15;
        op->fn = is_q ? move_to_gpr64 : move_to_gpr32;
        return true;
    }
    if (insn->op[1].kind == EMU_OPD_GPR) {
        op->src = EMU_REG_OFFSET(insn->op[1].reg & 15);
        op->fn = is_q ? move_from_gpr64 : move_from_gpr32;
        return true;
    }
    return fast_bind(pick, op, 1, move_movq, is_q ? load_8 : load_4);
}

static bool pick_spread(const struct emu_pick *pick, struct emu_op *op, emu_handler *reg,
                        emu_handler *const mem[3])
{
    if (!fast_host_runs(FPU_HAS_AVX2))
        return false;
    op->imm64 = pick->insn->vex_l;
    return fast_bind(pick, op, 1, reg, mem);
}

static bool pick_lane(const struct emu_pick *pick, struct emu_op *op, bool is_insert)
{
    const struct emu_insn *insn = pick->insn;
    unsigned last = is_insert ? 2 : 1;

    if (insn->op[0].kind != EMU_OPD_VEC || insn->op[last].kind != EMU_OPD_VEC ||
        !fast_host_runs(FPU_HAS_AVX2))
        return false;
    op->aux = insn->op[1].reg & 15;
    op->src = insn->op[last].reg & 15;
    op->imm64 = insn->imm & 1;
    op->fn = is_insert ? insert_lane : extract_lane;
    return true;
}

bool fast_pick_move(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;

    op->dst = insn->op[0].reg & 15;
    op->imm = fast_pack(insn, 0, 0);
    switch (insn->mnemonic) {
    case EMU_MN_MOVAPS:
    case EMU_MN_VMOVAPS:
    case EMU_MN_MOVAPD:
    case EMU_MN_VMOVAPD:
    case EMU_MN_MOVDQA:
    case EMU_MN_VMOVDQA:
    case EMU_MN_MOVNTPS:
    case EMU_MN_VMOVNTPS:
    case EMU_MN_MOVNTPD:
    case EMU_MN_VMOVNTPD:
    case EMU_MN_MOVNTDQ:
    case EMU_MN_VMOVNTDQ: return pick_whole(pick, op, true);
    case EMU_MN_MOVUPS:
    case EMU_MN_VMOVUPS:
    case EMU_MN_MOVUPD:
    case EMU_MN_VMOVUPD:
    case EMU_MN_MOVDQU:
    case EMU_MN_VMOVDQU:
    case EMU_MN_LDDQU:
    case EMU_MN_VLDDQU: return pick_whole(pick, op, false);
    case EMU_MN_MOVSS:
    case EMU_MN_VMOVSS: return pick_scalar(pick, op, false);
    case EMU_MN_SSE_MOVSD:
    case EMU_MN_VMOVSD: return pick_scalar(pick, op, true);
    case EMU_MN_MOVLPS:
    case EMU_MN_VMOVLPS:
    case EMU_MN_MOVLPD:
    case EMU_MN_VMOVLPD: return pick_half(pick, op, false);
    case EMU_MN_MOVHPS:
    case EMU_MN_VMOVHPS:
    case EMU_MN_MOVHPD:
    case EMU_MN_VMOVHPD: return pick_half(pick, op, true);
    case EMU_MN_MOVHLPS:
    case EMU_MN_VMOVHLPS: return pick_cross(pick, op, move_high_to_low);
    case EMU_MN_MOVLHPS:
    case EMU_MN_VMOVLHPS: return pick_cross(pick, op, move_low_to_high);
    case EMU_MN_MOVD:
    case EMU_MN_VMOVD: return pick_movd(pick, op, false);
    case EMU_MN_MOVQ:
    case EMU_MN_VMOVQ: return pick_movd(pick, op, true);
    case EMU_MN_VPBROADCASTB: return pick_spread(pick, op, spread_1_reg, spread_1);
    case EMU_MN_VPBROADCASTW: return pick_spread(pick, op, spread_2_reg, spread_2);
    case EMU_MN_VPBROADCASTD:
    case EMU_MN_VBROADCASTSS: return pick_spread(pick, op, spread_4_reg, spread_4);
    case EMU_MN_VPBROADCASTQ:
    case EMU_MN_VBROADCASTSD: return pick_spread(pick, op, spread_8_reg, spread_8);
    case EMU_MN_VINSERTF128:
    case EMU_MN_VINSERTI128: return pick_lane(pick, op, true);
    case EMU_MN_VEXTRACTF128:
    case EMU_MN_VEXTRACTI128: return pick_lane(pick, op, false);
    case EMU_MN_VZEROUPPER: op->fn = zero_upper; return true;
    default: return false;
    }
}
