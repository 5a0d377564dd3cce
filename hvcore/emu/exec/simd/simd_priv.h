/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of this room: rows, operands and the shapes of thunks.
 */
#pragma once

#include "hvcore/emu/fpu/fpu_priv.h"
#include "hvcore/emu/op.h"
#include "hvcore/emu/operand.h"

#include <string.h>

typedef long long simd_v128 __attribute__((vector_size(16)));
typedef long long simd_v256 __attribute__((vector_size(32)));

/* Functions that handle ymm values within themselves; they run only when the guest may use AVX, so
 * the host can. Such values are never arguments or results. */
#define SIMD_YMM __attribute__((target("avx")))

enum { SIMD_STRIDE = 8 };

/* struct simd_row flags */
enum {
    SIMD_FP = 1,     /* depends on MXCSR */
    SIMD_SCALAR = 2, /* VEX.L is ignored */
    SIMD_BYTE_SHIFT = 4,
    SIMD_SHIFT = 8,      /* the count may be an immediate; a count in memory has 16 bytes */
    SIMD_FUSED = 16,     /* the destination is the first of three sources */
    SIMD_UNARY = 32,     /* the first source is ignored */
    SIMD_ANY_ALIGN = 64, /* 16 bytes of memory needn't be aligned (SHA, on AMD processors) */
};

struct simd_row {
    const void *thunk;              /* 128-bit and scalar form, or NULL */
    const void *thunk256;           /* 256-bit form, or NULL */
    uint16_t features, features256; /* FPU_HAS_* that the thunks need */
    uint8_t flags;
    uint8_t m128, m256; /* bytes of a memory operand */
    uint8_t imm_mask;   /* which bits of the immediate choose the thunk; 0: there is none */
};

extern const struct simd_row simd_rows[EMU_N_MNEMONICS];
/* vpermilps/pd with an immediate: the other form of their mnemonics. */
extern const struct simd_row simd_row_vpermilps_imm, simd_row_vpermilpd_imm;

static inline bool simd_is_vex(const struct emu_insn *insn)
{
    return insn->prefixes & EMU_PFX_VEX;
}

static inline bool simd_is_256(const struct emu_insn *insn, const struct simd_row *row)
{
    return simd_is_vex(insn) && insn->vex_l && !(row->flags & SIMD_SCALAR);
}

/* Which operands play which part. */
struct simd_parts {
    uint8_t dst;   /* register number */
    uint8_t first; /* register number of the first source */
    uint8_t last;  /* index in insn->op of the last source: register or memory */
    bool has_imm;
    uint8_t imm;
};

struct simd_parts simd_parse(const struct emu_insn *insn, const struct simd_row *row);
const struct simd_row *simd_row_of(const struct emu_insn *insn);

/* The thunk for an immediate out of a table (or the only one). */
static inline const void *simd_pick_thunk(const struct simd_row *row, const void *base, uint8_t imm)
{
    unsigned index = row->flags & SIMD_BYTE_SHIFT ? (imm > 16 ? 16 : imm) : imm & row->imm_mask;

    return (const char *)base + (size_t)index * SIMD_STRIDE;
}

/* May this instruction run now? Else false with cpu->fault set. */
bool simd_ready(struct emu_cpu *cpu, const struct emu_insn *insn, uint32_t features);

static inline simd_v128 simd_get128(const struct emu_cpu *cpu, unsigned reg)
{
    simd_v128 value;

    memcpy(&value, cpu->vec[reg].q, 16);
    return value;
}

/* Writes of xmm: legacy forms keep the upper half of ymm, VEX forms clear it. */
static inline void simd_set128(struct emu_cpu *cpu, unsigned reg, simd_v128 value, bool is_vex)
{
    memcpy(cpu->vec[reg].q, &value, 16);
    if (is_vex)
        cpu->vec[reg].q[2] = cpu->vec[reg].q[3] = 0;
}

/* Calls of 256-bit thunks; operands and result are 32 bytes of memory. See thunks.S. */
void simd_call256(const void *thunk, void *result, const void *first, const void *second);
void simd_call256x3(const void *thunk, void *result, const void *first, const void *second,
                    const void *third);
uint64_t simd_ask256(const void *thunk, const void *first, const void *second);

/* Bytes of a vector or memory operand; a legacy 16-byte memory operand must be aligned. The rest of
 * `ret` stays as it is. */
bool simd_source(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, void *ret,
                 unsigned size);
/* The same without the alignment rule. */
bool simd_source_any(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned n, void *ret,
                     unsigned size);
static inline bool simd_is_mem(const struct emu_insn *insn, unsigned n)
{
    return insn->op[n].kind == EMU_OPD_MEM;
}

static inline bool simd_is_mmx(const struct emu_insn *insn)
{
    for (unsigned i = 0; i < insn->n_operands; i++)
        if (insn->op[i].kind == EMU_OPD_MM)
            return true;
    return false;
}

/* Thunks of selections by a mask, f(mask, first, second): blendvps, ..., sha256rnds2. */
typedef simd_v128 simd_fn128x3(simd_v128 first, simd_v128 second, simd_v128 third);
struct simd_masked_form {
    simd_fn128x3 *low;
    const void *high;
    uint32_t features, features256;
};
struct simd_masked_form simd_masked_form(uint16_t mnemonic);

/* String compares: the table of a form's thunks by immediate (0 to 127), and their call. */
struct simd_string {
    uint64_t rax, rdx, rcx, flags;
};
const char *simd_string_table(uint16_t mnemonic, bool is_64, bool *ret_is_mask);
simd_v128 simd_string(simd_v128 first, simd_v128 second, const void *thunk,
                      struct simd_string *registers);

/* lanes.c */
emu_exec_fn simd_exec_lanes, simd_exec_masked, simd_exec_flags, simd_exec_mask_of_signs,
    simd_exec_to_integer, simd_exec_from_integer, simd_exec_string, simd_exec_extrq,
    simd_exec_insertq, simd_exec_to_half;
/* move.c */
emu_exec_fn simd_exec_move, simd_exec_move_scalar, simd_exec_move_half, simd_exec_move_cross,
    simd_exec_movd, simd_exec_movq, simd_exec_zero;
/* element.c */
emu_exec_fn simd_exec_insert, simd_exec_extract, simd_exec_extract_lane, simd_exec_insert_lane,
    simd_exec_broadcast;
/* masked.c */
emu_exec_fn simd_exec_mask_move, simd_exec_gather, simd_exec_mask_bytes;
/* mmx.c; the others come here by themselves when they see an MMX operand */
emu_exec_fn simd_exec_mmx, simd_exec_emms, simd_exec_mmx_convert, simd_exec_mmx_move;
