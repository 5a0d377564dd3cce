/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers: two register instructions as one, where neither's flags are read.
 *
 * They save a dispatch, and more where the second works on what the first has made: then the value
 * stays in a host register instead of going through memory. op is the first, op[1] the second.
 */
#include "hvcore/emu/exec/int/fast_priv.h"

/* clang-format off */
#define KINDS(X, ...)                                                                              \
    X(MOV_4, ##__VA_ARGS__) X(MOV_8, ##__VA_ARGS__) X(MOV_I, ##__VA_ARGS__)                        \
    X(ADD_4, ##__VA_ARGS__) X(ADD_8, ##__VA_ARGS__) X(ADDI_4, ##__VA_ARGS__)                       \
    X(ADDI_8, ##__VA_ARGS__) X(SUB_4, ##__VA_ARGS__) X(SUB_8, ##__VA_ARGS__)                       \
    X(SUBI_8, ##__VA_ARGS__)                                                                       \
    X(AND_4, ##__VA_ARGS__) X(AND_8, ##__VA_ARGS__) X(ANDI_4, ##__VA_ARGS__)                       \
    X(OR_4, ##__VA_ARGS__) X(OR_8, ##__VA_ARGS__) X(XOR_4, ##__VA_ARGS__)                          \
    X(XOR_8, ##__VA_ARGS__) X(SHL_4, ##__VA_ARGS__) X(SHL_8, ##__VA_ARGS__)                        \
    X(SHR_4, ##__VA_ARGS__) X(SHR_8, ##__VA_ARGS__) X(ROR_4, ##__VA_ARGS__)                        \
    X(IMUL_8, ##__VA_ARGS__) X(LEA_BASE, ##__VA_ARGS__) X(LEA_INDEX, ##__VA_ARGS__)                \
    X(ZX_1, ##__VA_ARGS__) X(SX_4, ##__VA_ARGS__)
/* clang-format on */

#define KIND_NAME(kind) KIND_##kind,
enum kind { KINDS(KIND_NAME) N_KINDS };

/* What the second has to do with the first's destination: it modifies it, reads it, has it as index
 * or as base and index, or neither (or something else, for which memory is right). */
enum relation { BY_MEMORY, SAME_DESTINATION, AS_SOURCE, AS_INDEX, AS_BOTH, N_RELATIONS };

EMU_INLINE bool reads_destination(enum kind kind)
{
    switch (kind) {
    case KIND_MOV_4:
    case KIND_MOV_8:
    case KIND_MOV_I:
    case KIND_LEA_BASE:
    case KIND_LEA_INDEX:
    case KIND_ZX_1:
    case KIND_SX_4: return false;
    default: return true;
    }
}

EMU_INLINE bool reads_source(enum kind kind)
{
    switch (kind) {
    case KIND_MOV_I:
    case KIND_ADDI_4:
    case KIND_ADDI_8:
    case KIND_SUBI_8:
    case KIND_ANDI_4:
    case KIND_SHL_4:
    case KIND_SHL_8:
    case KIND_SHR_4:
    case KIND_SHR_8:
    case KIND_ROR_4: return false;
    default: return true;
    }
}

EMU_INLINE uint8_t source_of(enum kind kind, const struct emu_op *op)
{
    return kind == KIND_LEA_BASE || kind == KIND_LEA_INDEX ? op->base : op->src;
}

/* The whole new register. */
EMU_INLINE uint64_t value_of(const struct emu_cpu *cpu, enum kind kind, const struct emu_op *op,
                             uint64_t dst, uint64_t src)
{
    uint64_t imm = (uint64_t)(int64_t)op->imm;

    switch (kind) {
    case KIND_MOV_4: return (uint32_t)src;
    case KIND_MOV_8: return src;
    case KIND_MOV_I: return op->imm64;
    case KIND_ADD_4: return (uint32_t)(dst + src);
    case KIND_ADD_8: return dst + src;
    case KIND_ADDI_4: return (uint32_t)(dst + imm);
    case KIND_ADDI_8: return dst + imm;
    case KIND_SUBI_8: return dst - imm;
    case KIND_SUB_4: return (uint32_t)(dst - src);
    case KIND_SUB_8: return dst - src;
    case KIND_AND_4: return (uint32_t)(dst & src);
    case KIND_AND_8: return dst & src;
    case KIND_ANDI_4: return (uint32_t)(dst & imm);
    case KIND_OR_4: return (uint32_t)(dst | src);
    case KIND_OR_8: return dst | src;
    case KIND_XOR_4: return (uint32_t)(dst ^ src);
    case KIND_XOR_8: return dst ^ src;
    case KIND_SHL_4: return (uint32_t)dst << op->imm;
    case KIND_SHL_8: return dst << op->imm;
    case KIND_SHR_4: return (uint32_t)dst >> op->imm;
    case KIND_SHR_8: return dst >> op->imm;
    case KIND_ROR_4: return (uint32_t)dst >> op->imm | (uint32_t)((uint32_t)dst << (32 - op->imm));
    case KIND_IMUL_8: return dst * src;
    case KIND_LEA_BASE: return src + (uint64_t)(int64_t)op->disp;
    case KIND_LEA_INDEX:
        return src + (emu_reg64(cpu, op->index) << op->scale) + (uint64_t)(int64_t)op->disp;
    case KIND_ZX_1: return (uint8_t)src;
    default: return (uint64_t)(int64_t)(int32_t)src;
    }
}

EMU_INLINE uint64_t load(const struct emu_cpu *cpu, bool reads, uint8_t offset)
{
    return reads ? emu_reg64(cpu, offset) : 0;
}

EMU_INLINE const struct emu_op *pair(EMU_PARAMS, enum kind first, enum kind second,
                                     enum relation relation, emu_handler *likely)
{
    uint64_t dst, src, value;

    dst = load(cpu, reads_destination(first), op->dst);
    src = load(cpu, reads_source(first), source_of(first, op));
    value = value_of(cpu, first, op, dst, src);
    if (relation == SAME_DESTINATION) {
        src = load(cpu, reads_source(second), source_of(second, op + 1));
        value = value_of(cpu, second, op + 1, value, src);
        emu_reg_set_8(cpu, op->dst, value);
    } else if (relation == AS_INDEX || relation == AS_BOTH) {
        emu_reg_set_8(cpu, op->dst, value);
        src = relation == AS_BOTH ? value : emu_reg64(cpu, op[1].base);
        emu_reg_set_8(cpu, op[1].dst, src + (value << op[1].scale) + (uint64_t)(int64_t)op[1].disp);
    } else {
        emu_reg_set_8(cpu, op->dst, value);
        dst = load(cpu, reads_destination(second), op[1].dst);
        src = relation == AS_SOURCE ? value
                                    : load(cpu, reads_source(second), source_of(second, op + 1));
        emu_reg_set_8(cpu, op[1].dst, value_of(cpu, second, op + 1, dst, src));
    }
    EMU_GO_LIKELY(cpu, op + 2, likely);
}

/* ---- Rows: every first with every second ---- */

#define PAIR(second, first)                                                                        \
    EMU_HANDLER h_pair_##first##_##second##_m(EMU_PARAMS)                                          \
    {                                                                                              \
        return pair(EMU_PASS, KIND_##first, KIND_##second, BY_MEMORY,                              \
                    EMU_NEXT(h_pair_##first##_##second##_m));                                      \
    }                                                                                              \
    EMU_HANDLER h_pair_##first##_##second##_d(EMU_PARAMS)                                          \
    {                                                                                              \
        return pair(EMU_PASS, KIND_##first, KIND_##second, SAME_DESTINATION,                       \
                    EMU_NEXT(h_pair_##first##_##second##_d));                                      \
    }                                                                                              \
    EMU_HANDLER h_pair_##first##_##second##_s(EMU_PARAMS)                                          \
    {                                                                                              \
        return pair(EMU_PASS, KIND_##first, KIND_##second, AS_SOURCE,                              \
                    EMU_NEXT(h_pair_##first##_##second##_s));                                      \
    }
#define ENTRY(second, first)                                                                       \
    { h_pair_##first##_##second##_m, h_pair_##first##_##second##_d, h_pair_##first##_##second##_s },

/* A macro doesn't expand within itself: the outer list is written out once more. */
#define FIRSTS(X)                                                                                  \
    X(MOV_4)                                                                                       \
    X(MOV_8)                                                                                       \
    X(MOV_I)                                                                                       \
    X(ADD_4)                                                                                       \
    X(ADD_8)                                                                                       \
    X(ADDI_4)                                                                                      \
    X(ADDI_8)                                                                                      \
    X(SUB_4)                                                                                       \
    X(SUB_8)                                                                                       \
    X(SUBI_8)                                                                                      \
    X(AND_4)                                                                                       \
    X(AND_8)                                                                                       \
    X(ANDI_4)                                                                                      \
    X(OR_4)                                                                                        \
    X(OR_8)                                                                                        \
    X(XOR_4)                                                                                       \
    X(XOR_8)                                                                                       \
    X(SHL_4)                                                                                       \
    X(SHL_8)                                                                                       \
    X(SHR_4)                                                                                       \
    X(SHR_8)                                                                                       \
    X(ROR_4)                                                                                       \
    X(IMUL_8)                                                                                      \
    X(LEA_BASE)                                                                                    \
    X(LEA_INDEX)                                                                                   \
    X(ZX_1)                                                                                        \
    X(SX_4)

#define ALL_PAIRS(first)   KINDS(PAIR, first)
#define ALL_ENTRIES(first) [KIND_##first] = { KINDS(ENTRY, first) },

FIRSTS(ALL_PAIRS)
static emu_handler *const handlers[N_KINDS][N_KINDS][AS_SOURCE + 1] = { FIRSTS(ALL_ENTRIES) };

/* The second is a lea with an index. */
#define INDEX_PAIR(first)                                                                          \
    EMU_HANDLER h_pair_##first##_LEA_INDEX_i(EMU_PARAMS)                                           \
    {                                                                                              \
        return pair(EMU_PASS, KIND_##first, KIND_LEA_INDEX, AS_INDEX,                              \
                    EMU_NEXT(h_pair_##first##_LEA_INDEX_i));                                       \
    }                                                                                              \
    EMU_HANDLER h_pair_##first##_LEA_INDEX_b(EMU_PARAMS)                                           \
    {                                                                                              \
        return pair(EMU_PASS, KIND_##first, KIND_LEA_INDEX, AS_BOTH,                               \
                    EMU_NEXT(h_pair_##first##_LEA_INDEX_b));                                       \
    }
#define INDEX_ENTRY(first)                                                                         \
    [KIND_##first] = { h_pair_##first##_LEA_INDEX_i, h_pair_##first##_LEA_INDEX_b },

FIRSTS(INDEX_PAIR)
static emu_handler *const index_handlers[N_KINDS][N_RELATIONS - AS_INDEX] = { FIRSTS(INDEX_ENTRY) };

/* ---- Choice ---- */

struct kind_row {
    uint16_t mnemonic;
    uint8_t size, source_kind, source_size, kind;
};

/* clang-format off */
static const struct kind_row kind_rows[] = {
    { EMU_MN_MOV, 4, EMU_OPD_GPR, 4, KIND_MOV_4 },   { EMU_MN_MOV, 8, EMU_OPD_GPR, 8, KIND_MOV_8 },
    { EMU_MN_ADD, 4, EMU_OPD_GPR, 4, KIND_ADD_4 },   { EMU_MN_ADD, 8, EMU_OPD_GPR, 8, KIND_ADD_8 },
    { EMU_MN_ADD, 4, EMU_OPD_IMM, 0, KIND_ADDI_4 },  { EMU_MN_ADD, 8, EMU_OPD_IMM, 0, KIND_ADDI_8 },
    { EMU_MN_SUB, 8, EMU_OPD_IMM, 0, KIND_SUBI_8 },  { EMU_MN_SUB, 4, EMU_OPD_GPR, 4, KIND_SUB_4 },
    { EMU_MN_SUB, 8, EMU_OPD_GPR, 8, KIND_SUB_8 },   { EMU_MN_AND, 4, EMU_OPD_GPR, 4, KIND_AND_4 },
    { EMU_MN_AND, 8, EMU_OPD_GPR, 8, KIND_AND_8 },   { EMU_MN_AND, 4, EMU_OPD_IMM, 0, KIND_ANDI_4 },
    { EMU_MN_OR, 4, EMU_OPD_GPR, 4, KIND_OR_4 },     { EMU_MN_OR, 8, EMU_OPD_GPR, 8, KIND_OR_8 },
    { EMU_MN_XOR, 4, EMU_OPD_GPR, 4, KIND_XOR_4 },   { EMU_MN_XOR, 8, EMU_OPD_GPR, 8, KIND_XOR_8 },
    { EMU_MN_SHL, 4, EMU_OPD_IMM, 0, KIND_SHL_4 },   { EMU_MN_SHL, 8, EMU_OPD_IMM, 0, KIND_SHL_8 },
    { EMU_MN_SHR, 4, EMU_OPD_IMM, 0, KIND_SHR_4 },   { EMU_MN_SHR, 8, EMU_OPD_IMM, 0, KIND_SHR_8 },
    { EMU_MN_ROR, 4, EMU_OPD_IMM, 0, KIND_ROR_4 },   { EMU_MN_IMUL, 8, EMU_OPD_GPR, 8, KIND_IMUL_8 },
    { EMU_MN_MOV, 4, EMU_OPD_IMM, 0, KIND_MOV_I },   { EMU_MN_MOV, 8, EMU_OPD_IMM, 0, KIND_MOV_I },
    { EMU_MN_MOVZX, 4, EMU_OPD_GPR, 1, KIND_ZX_1 },  { EMU_MN_MOVZX, 8, EMU_OPD_GPR, 1, KIND_ZX_1 },
    { EMU_MN_MOVSXD, 8, EMU_OPD_GPR, 4, KIND_SX_4 },
};
/* clang-format on */

/* A shift that does nothing has no record of the usual shape. */
static bool is_idle_shift(const struct emu_insn *insn, unsigned kind)
{
    if (kind < KIND_SHL_4 || kind > KIND_ROR_4)
        return false;
    return (insn->opcode & 0xfe) != 0xd0 && !(insn->imm & (insn->op[0].size == 8 ? 63 : 31));
}

/* The kind of an instruction whose result alone counts, or -1. */
static int kind_of(const struct emu_insn *insn, uint16_t live)
{
    const struct emu_operand *dst = &insn->op[0], *src = &insn->op[1];

    if (insn->n_operands != 2 || dst->kind != EMU_OPD_GPR || dst->reg == HV_RSP ||
        (live & insn->flags_written))
        return -1;
    if (insn->mnemonic == EMU_MN_LEA)
        return dst->size != 8 || insn->seg == HV_FS || insn->seg == HV_GS || insn->addr_size != 8
                   ? -1
               : insn->index == EMU_NO_REG ? KIND_LEA_BASE
                                           : KIND_LEA_INDEX;
    for (unsigned i = 0; i < HV_ARRAY_SIZE(kind_rows); i++) {
        const struct kind_row *row = &kind_rows[i];

        if (row->mnemonic == insn->mnemonic && row->size == dst->size &&
            row->source_kind == src->kind && (!row->source_size || row->source_size == src->size))
            return is_idle_shift(insn, row->kind) ? -1 : row->kind;
    }
    return -1;
}

static enum relation relation_of(const struct emu_insn *first, const struct emu_insn *second,
                                 enum kind kind)
{
    uint8_t made = first->op[0].reg, source = EMU_NO_REG;

    if (kind == KIND_LEA_BASE || kind == KIND_LEA_INDEX)
        source = second->base;
    else if (reads_source(kind))
        source = second->op[1].reg;
    if (kind == KIND_LEA_INDEX && second->index == made)
        return source == made ? AS_BOTH : AS_INDEX;
    if (second->op[0].reg == made)
        return source == made ? BY_MEMORY : SAME_DESTINATION;
    return source == made ? AS_SOURCE : BY_MEMORY;
}

/* Has the second a displacement that its record can hold? */
static bool is_lea_short(const struct emu_pick *pick, enum kind kind)
{
    int64_t disp = pick->next->disp + 2 * HV_PAGE_BYTES * pick->next->is_rip_relative;

    return (kind != KIND_LEA_BASE && kind != KIND_LEA_INDEX) || disp == (int32_t)disp;
}

/* op is picked already; only its function changes. */
bool emu_pair_up(const struct emu_pick *pick, struct emu_op *op)
{
    enum relation relation;
    int first, second;

    if (!pick->next)
        return false;
    first = kind_of(pick->insn, pick->live);
    second = first < 0 ? -1 : kind_of(pick->next, pick->next_live);
    if (second < 0 || !is_lea_short(pick, (enum kind)second))
        return false;
    relation = relation_of(pick->insn, pick->next, (enum kind)second);
    op->fn = relation < AS_INDEX ? handlers[first][second][relation]
                                 : index_handlers[first][relation - AS_INDEX];
    return true;
}
