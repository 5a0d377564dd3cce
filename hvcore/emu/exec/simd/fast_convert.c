/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers between vectors and the rest of the processor: compares that set flags, masks of
 * signs, conversions from and to general registers, single elements. General registers are in dst
 * or src as offsets.
 */
#include "hvcore/emu/exec/simd/fast_priv.h"

#define REG(cpu, offset) (*(uint64_t *)((char *)(cpu) + (offset)))

#define LOAD_4(p)  ((simd_v128){ *(const simd_u32 *)(p), 0 })
#define LOAD_8(p)  ((simd_v128){ (long long)*(const simd_u64 *)(p), 0 })
#define LOAD_16(p) (*(const simd_u128 *)(p))

/* clang-format off */
/* ---- comiss, ucomisd, ptest: first in dst, last in src or memory ---- */
#define SET_FLAGS(cpu, asm_op, first, last)                                                        \
    do {                                                                                           \
        uint32_t flags;                                                                            \
        __asm__ volatile("xorl %%eax, %%eax; " asm_op " %2, %1; lahf"                              \
                         : "=&a"(flags) : "x"(first), "x"(last) : "cc");                           \
        (cpu)->aflags = flags;                                                                     \
    } while (0)

/* These clear OF, so lahf says all. */
#define FLAGS_REG(name, asm_op, fp)                                                                \
    static const struct emu_op *name##_reg(EMU_PARAMS)           \
    {                                                                                              \
        if (fast_trapped(cpu, op) || (fp && fast_unmasked(cpu)))                                   \
            return emu_op_slow(cpu, op);                                                           \
        SET_FLAGS(cpu, asm_op, fast_get(cpu, op->dst), fast_get(cpu, op->src));                    \
        EMU_DONE(cpu, op);                                                                         \
    }
#define FLAGS_MEM(ea, name, asm_op, fp, size)                                                      \
    static const struct emu_op *name##_##ea(EMU_PARAMS)          \
    {                                                                                              \
        const void *p;                                                                             \
        FAST_READ_##ea(cpu, op, size, p);                                                          \
        if (fast_misaligned(op, p) || fast_trapped(cpu, op) ||                  \
            (fp && fast_unmasked(cpu)))                                                            \
            return emu_op_slow(cpu, op);                                                           \
        SET_FLAGS(cpu, asm_op, fast_get(cpu, op->dst), LOAD_##size(p));                            \
        EMU_DONE(cpu, op);                                                                         \
    }
#define FLAGS(name, asm_op, fp, size)                                                              \
    FLAGS_REG(name, asm_op, fp)                                                                    \
    FAST_EACH_EA(FLAGS_MEM, name, asm_op, fp, size)                                                \
    static emu_handler *const name##_mem[3] = FAST_EA_TABLE(name##_);
FLAGS(comiss, "comiss", 1, 4)
FLAGS(comisd, "comisd", 1, 8)
FLAGS(ucomiss, "ucomiss", 1, 4)
FLAGS(ucomisd, "ucomisd", 1, 8)
FLAGS(ptest, "ptest", 0, 16)

SIMD_YMM static const struct emu_op *ptest256_reg(EMU_PARAMS)
{
    if (fast_trapped(cpu, op))
        return emu_op_slow(cpu, op);
    SET_FLAGS(cpu, "vptest", fast_get256(cpu, op->dst), fast_get256(cpu, op->src));
    EMU_DONE(cpu, op);
}

/* ---- cvttsd2si and kin ---- */
#define TO_REG(name, asm_op, out)                                                                  \
    static const struct emu_op *name##_reg(EMU_PARAMS)           \
    {                                                                                              \
        uint64_t value;                                                                            \
        if (fast_trapped(cpu, op) || fast_unmasked(cpu))                                           \
            return emu_op_slow(cpu, op);                                                           \
        __asm__ volatile(asm_op " %1, " out : "=r"(value) : "x"(fast_get(cpu, op->src)));          \
        REG(cpu, op->dst) = value;                                                                 \
        EMU_DONE(cpu, op);                                                                         \
    }
#define TO_MEM(ea, name, asm_op, out, size)                                                        \
    static const struct emu_op *name##_##ea(EMU_PARAMS)          \
    {                                                                                              \
        const void *p;                                                                             \
        uint64_t value;                                                                            \
        FAST_READ_##ea(cpu, op, size, p);                                                          \
        if (fast_trapped(cpu, op) || fast_unmasked(cpu))                        \
            return emu_op_slow(cpu, op);                                                           \
        __asm__ volatile(asm_op " %1, " out : "=r"(value) : "x"(LOAD_##size(p)));                  \
        REG(cpu, op->dst) = value;                                                                 \
        EMU_DONE(cpu, op);                                                                         \
    }
#define TO(name, asm_op, out, size)                                                                \
    TO_REG(name, asm_op, out)                                                                      \
    FAST_EACH_EA(TO_MEM, name, asm_op, out, size)                                                  \
    static emu_handler *const name##_mem[3] = FAST_EA_TABLE(name##_);
TO(cvtss2si, "cvtss2si", "%k0", 4)
TO(cvttss2si, "cvttss2si", "%k0", 4)
TO(cvtsd2si, "cvtsd2si", "%k0", 8)
TO(cvttsd2si, "cvttsd2si", "%k0", 8)
TO(cvtss2si64, "cvtss2si", "%q0", 4)
TO(cvttss2si64, "cvttss2si", "%q0", 4)
TO(cvtsd2si64, "cvtsd2si", "%q0", 8)
TO(cvttsd2si64, "cvttsd2si", "%q0", 8)

/* ---- cvtsi2sd and kin ---- */
#define FROM_REG(name, asm_op, in)                                                                 \
    static const struct emu_op *name##_reg(EMU_PARAMS)           \
    {                                                                                              \
        simd_v128 value;                                                                           \
        if (fast_trapped(cpu, op) || fast_unmasked(cpu))                                           \
            return emu_op_slow(cpu, op);                                                           \
        value = fast_get(cpu, op->aux);                                                            \
        __asm__ volatile(asm_op " " in ", %0" : "+x"(value) : "r"(REG(cpu, op->src)));             \
        fast_put(cpu, op, value);                                                                  \
        EMU_DONE(cpu, op);                                                                         \
    }
#define FROM_MEM(ea, name, asm_op, in, type, size)                                                 \
    static const struct emu_op *name##_##ea(EMU_PARAMS)          \
    {                                                                                              \
        const void *p;                                                                             \
        simd_v128 value;                                                                           \
        FAST_READ_##ea(cpu, op, size, p);                                                          \
        if (fast_trapped(cpu, op) || fast_unmasked(cpu))                        \
            return emu_op_slow(cpu, op);                                                           \
        value = fast_get(cpu, op->aux);                                                            \
        __asm__ volatile(asm_op " " in ", %0" : "+x"(value) : "r"((uint64_t)*(const type *)p));    \
        fast_put(cpu, op, value);                                                                  \
        EMU_DONE(cpu, op);                                                                         \
    }
#define FROM(name, asm_op, in, type, size)                                                         \
    FROM_REG(name, asm_op, in)                                                                     \
    FAST_EACH_EA(FROM_MEM, name, asm_op, in, type, size)                                           \
    static emu_handler *const name##_mem[3] = FAST_EA_TABLE(name##_);
FROM(cvtsi2ss, "cvtsi2ssl", "%k1", simd_u32, 4)
FROM(cvtsi2sd, "cvtsi2sdl", "%k1", simd_u32, 4)
FROM(cvtsi2ss64, "cvtsi2ssq", "%q1", simd_u64, 8)
FROM(cvtsi2sd64, "cvtsi2sdq", "%q1", simd_u64, 8)

/* ---- movmskps, pmovmskb ---- */
#define SIGNS(name, asm_op)                                                                        \
    static const struct emu_op *name(EMU_PARAMS)                 \
    {                                                                                              \
        uint64_t value;                                                                            \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        __asm__(asm_op " %1, %k0" : "=r"(value) : "x"(fast_get(cpu, op->src)));                    \
        REG(cpu, op->dst) = value;                                                                 \
        EMU_DONE(cpu, op);                                                                         \
    }                                                                                              \
    SIMD_YMM static const struct emu_op *name##256(EMU_PARAMS)   \
    {                                                                                              \
        uint64_t value;                                                                            \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        __asm__("v" asm_op " %1, %k0" : "=r"(value) : "x"(fast_get256(cpu, op->src)));             \
        REG(cpu, op->dst) = value;                                                                 \
        EMU_DONE(cpu, op);                                                                         \
    }
SIGNS(movmskps, "movmskps")
SIGNS(movmskpd, "movmskpd")
SIGNS(pmovmskb, "pmovmskb")

/* ---- pinsr, pextr between registers: aux first source, imm64 byte offset ---- */
#define ELEMENT(bits)                                                                              \
    static const struct emu_op *insert_##bits(EMU_PARAMS)        \
    {                                                                                              \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        fast_put(cpu, op, fast_get(cpu, op->aux));                                                 \
        *(uint##bits##_t *)((char *)cpu->vec[op->dst].q + op->imm64) =                             \
            (uint##bits##_t)REG(cpu, op->src);                                                     \
        EMU_DONE(cpu, op);                                                                         \
    }                                                                                              \
    static const struct emu_op *extract_##bits(EMU_PARAMS)       \
    {                                                                                              \
        if (fast_trapped(cpu, op))                                                                 \
            return emu_op_slow(cpu, op);                                                           \
        REG(cpu, op->dst) = *(uint##bits##_t *)((char *)cpu->vec[op->src].q + op->imm64);          \
        EMU_DONE(cpu, op);                                                                         \
    }
ELEMENT(8)
ELEMENT(16)
ELEMENT(32)
ELEMENT(64)
/* clang-format on */

/* ---- Picking ---- */
static bool pick_flags(const struct emu_pick *pick, struct emu_op *op, emu_handler *reg,
                       emu_handler *const mem[3])
{
    op->dst = pick->insn->op[0].reg & 15;
    return fast_bind(pick, op, 1, reg, mem);
}

static bool pick_ptest(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;

    if (!fast_host_runs(FPU_HAS_SSE41))
        return false;
    if (simd_is_vex(insn) && insn->vex_l)
        return !simd_is_mem(insn, 1) && pick_flags(pick, op, ptest256_reg, ptest_mem);
    op->imm = fast_pack(insn, 16, simd_is_vex(insn) ? 0 : 16);
    return pick_flags(pick, op, ptest_reg, ptest_mem);
}

static bool pick_to(const struct emu_pick *pick, struct emu_op *op, emu_handler *reg,
                    emu_handler *const mem[3], emu_handler *reg64, emu_handler *const mem64[3])
{
    bool is_64 = pick->insn->prefixes & EMU_PFX_REX_W;

    op->dst = EMU_REG_OFFSET(pick->insn->op[0].reg & 15);
    return fast_bind(pick, op, 1, is_64 ? reg64 : reg, is_64 ? mem64 : mem);
}

static bool pick_from(const struct emu_pick *pick, struct emu_op *op, emu_handler *reg,
                      emu_handler *const mem[3], emu_handler *reg64, emu_handler *const mem64[3])
{
    const struct emu_insn *insn = pick->insn;
    bool is_64 = insn->prefixes & EMU_PFX_REX_W;
    unsigned last = simd_is_vex(insn) ? 2 : 1;

    op->dst = insn->op[0].reg & 15;
    op->aux = insn->op[last - 1].reg & 15;
    if (simd_is_mem(insn, last))
        return fast_bind(pick, op, last, NULL, is_64 ? mem64 : mem);
    op->src = EMU_REG_OFFSET(insn->op[last].reg & 15);
    op->fn = is_64 ? reg64 : reg;
    return true;
}

static bool pick_signs(const struct emu_pick *pick, struct emu_op *op, emu_handler *reg,
                       emu_handler *wide, uint32_t features)
{
    const struct emu_insn *insn = pick->insn;
    bool is_256 = simd_is_vex(insn) && insn->vex_l;

    if (is_256 && !fast_host_runs(features))
        return false;
    op->dst = EMU_REG_OFFSET(insn->op[0].reg & 15);
    op->src = insn->op[1].reg & 15;
    op->fn = is_256 ? wide : reg;
    return true;
}

static bool pick_insert(const struct emu_pick *pick, struct emu_op *op, unsigned size,
                        emu_handler *fn)
{
    const struct emu_insn *insn = pick->insn;
    unsigned last = simd_is_vex(insn) ? 2 : 1;

    if (simd_is_mem(insn, last) || (size != 2 && !fast_host_runs(FPU_HAS_SSE41)))
        return false;
    op->dst = insn->op[0].reg & 15;
    op->aux = insn->op[last - 1].reg & 15;
    op->src = EMU_REG_OFFSET(insn->op[last].reg & 15);
    op->imm64 = (insn->imm & (16 / size - 1)) * size;
    op->fn = fn;
    return true;
}

static bool pick_extract(const struct emu_pick *pick, struct emu_op *op, unsigned size,
                         emu_handler *fn)
{
    const struct emu_insn *insn = pick->insn;

    if (simd_is_mem(insn, 0) || (size != 2 && !fast_host_runs(FPU_HAS_SSE41)))
        return false;
    op->dst = EMU_REG_OFFSET(insn->op[0].reg & 15);
    op->src = insn->op[1].reg & 15;
    op->imm64 = (insn->imm & (16 / size - 1)) * size;
    op->fn = fn;
    return true;
}

bool fast_pick_convert(const struct emu_pick *pick, struct emu_op *op)
{
    op->imm = fast_pack(pick->insn, 0, 0);
    switch (pick->insn->mnemonic) {
    case EMU_MN_COMISS:
    case EMU_MN_VCOMISS: return pick_flags(pick, op, comiss_reg, comiss_mem);
    case EMU_MN_COMISD:
    case EMU_MN_VCOMISD: return pick_flags(pick, op, comisd_reg, comisd_mem);
    case EMU_MN_UCOMISS:
    case EMU_MN_VUCOMISS: return pick_flags(pick, op, ucomiss_reg, ucomiss_mem);
    case EMU_MN_UCOMISD:
    case EMU_MN_VUCOMISD: return pick_flags(pick, op, ucomisd_reg, ucomisd_mem);
    case EMU_MN_PTEST:
    case EMU_MN_VPTEST: return pick_ptest(pick, op);
    case EMU_MN_CVTSS2SI:
    case EMU_MN_VCVTSS2SI:
        return pick_to(pick, op, cvtss2si_reg, cvtss2si_mem, cvtss2si64_reg, cvtss2si64_mem);
    case EMU_MN_CVTTSS2SI:
    case EMU_MN_VCVTTSS2SI:
        return pick_to(pick, op, cvttss2si_reg, cvttss2si_mem, cvttss2si64_reg, cvttss2si64_mem);
    case EMU_MN_CVTSD2SI:
    case EMU_MN_VCVTSD2SI:
        return pick_to(pick, op, cvtsd2si_reg, cvtsd2si_mem, cvtsd2si64_reg, cvtsd2si64_mem);
    case EMU_MN_CVTTSD2SI:
    case EMU_MN_VCVTTSD2SI:
        return pick_to(pick, op, cvttsd2si_reg, cvttsd2si_mem, cvttsd2si64_reg, cvttsd2si64_mem);
    case EMU_MN_CVTSI2SS:
    case EMU_MN_VCVTSI2SS:
        return pick_from(pick, op, cvtsi2ss_reg, cvtsi2ss_mem, cvtsi2ss64_reg, cvtsi2ss64_mem);
    case EMU_MN_CVTSI2SD:
    case EMU_MN_VCVTSI2SD:
        return pick_from(pick, op, cvtsi2sd_reg, cvtsi2sd_mem, cvtsi2sd64_reg, cvtsi2sd64_mem);
    case EMU_MN_MOVMSKPS:
    case EMU_MN_VMOVMSKPS: return pick_signs(pick, op, movmskps, movmskps256, FPU_HAS_AVX);
    case EMU_MN_MOVMSKPD:
    case EMU_MN_VMOVMSKPD: return pick_signs(pick, op, movmskpd, movmskpd256, FPU_HAS_AVX);
    case EMU_MN_PMOVMSKB:
    case EMU_MN_VPMOVMSKB: return pick_signs(pick, op, pmovmskb, pmovmskb256, FPU_HAS_AVX2);
    case EMU_MN_PINSRB:
    case EMU_MN_VPINSRB: return pick_insert(pick, op, 1, insert_8);
    case EMU_MN_PINSRW:
    case EMU_MN_VPINSRW: return pick_insert(pick, op, 2, insert_16);
    case EMU_MN_PINSRD:
    case EMU_MN_VPINSRD: return pick_insert(pick, op, 4, insert_32);
    case EMU_MN_PINSRQ:
    case EMU_MN_VPINSRQ: return pick_insert(pick, op, 8, insert_64);
    case EMU_MN_PEXTRB:
    case EMU_MN_VPEXTRB: return pick_extract(pick, op, 1, extract_8);
    case EMU_MN_PEXTRW:
    case EMU_MN_VPEXTRW: return pick_extract(pick, op, 2, extract_16);
    case EMU_MN_PEXTRD:
    case EMU_MN_VPEXTRD:
    case EMU_MN_EXTRACTPS:
    case EMU_MN_VEXTRACTPS: return pick_extract(pick, op, 4, extract_32);
    case EMU_MN_PEXTRQ:
    case EMU_MN_VPEXTRQ: return pick_extract(pick, op, 8, extract_64);
    default: return false;
    }
}
