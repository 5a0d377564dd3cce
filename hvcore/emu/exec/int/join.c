/* SPDX-License-Identifier: Apache-2.0 */
/* Which kinds records are of, and joining those of a block. */
#include "hvcore/emu/exec/int/duo_priv.h"

/* ---- Kinds of records ---- */

/* By the form that memory operands have: base, stack, index. */
static uint8_t by_form(const struct emu_op *op, enum kind base, enum kind stack, enum kind index)
{
    if (op->index != EMU_REG_OFFSET(EMU_REG_ZERO))
        return index;
    return op->base == EMU_REG_OFFSET(HV_RSP) ? stack : base;
}

static uint8_t kind_of_store(const struct emu_insn *insn, const struct emu_op *op)
{
    bool is_8 = insn->op[0].size == 8;

    if (insn->op[0].size < 4)
        return KIND_NONE;
    if (insn->op[1].kind == EMU_OPD_IMM)
        return is_8 ? by_form(op, KIND_IMM8B, KIND_IMM8S, KIND_NONE)
                    : by_form(op, KIND_IMM4B, KIND_NONE, KIND_NONE);
    return is_8 ? by_form(op, KIND_STORE8B, KIND_STORE8S, KIND_NONE)
                : by_form(op, KIND_STORE4B, KIND_STORE4S, KIND_NONE);
}

static uint8_t kind_of_mov(const struct emu_insn *insn, const struct emu_op *op)
{
    bool is_8 = insn->op[0].size == 8;

    if (insn->op[0].kind == EMU_OPD_MEM)
        return kind_of_store(insn, op);
    if (insn->op[0].size < 4)
        return KIND_NONE;
    switch (insn->op[1].kind) {
    case EMU_OPD_MEM:
        return is_8 ? by_form(op, KIND_LOAD8B, KIND_LOAD8S, KIND_LOAD8X)
                    : by_form(op, KIND_LOAD4B, KIND_LOAD4S, KIND_LOAD4X);
    case EMU_OPD_IMM: return KIND_MOVI;
    default: return is_8 ? KIND_MOV8 : KIND_MOV4;
    }
}

static uint8_t kind_of_extend(const struct emu_insn *insn, const struct emu_op *op)
{
    bool is_load = insn->op[1].kind == EMU_OPD_MEM;

    if (insn->mnemonic == EMU_MN_MOVSXD && insn->op[0].size == 8)
        return is_load ? by_form(op, KIND_NONE, KIND_NONE, KIND_TABLE) : KIND_SX8;
    if (!is_load || insn->op[0].size < 4)
        return KIND_NONE;
    if (insn->mnemonic == EMU_MN_MOVSX && insn->op[0].size == 4 && insn->op[1].size == 2)
        return by_form(op, KIND_SX2B, KIND_NONE, KIND_NONE);
    if (insn->mnemonic == EMU_MN_MOVZX && insn->op[1].size == 1)
        return by_form(op, KIND_ZX1B, KIND_NONE, KIND_ZX1X);
    return KIND_NONE;
}

/* With a register as destination, and flags that nobody reads. */
static uint8_t kind_of_alu(const struct emu_insn *insn)
{
    bool is_8 = insn->op[0].size == 8, is_4 = insn->op[0].size == 4;
    bool has_imm = insn->op[1].kind == EMU_OPD_IMM, has_reg = insn->op[1].kind == EMU_OPD_GPR;

    if (insn->n_operands != 2 || !(has_imm || has_reg))
        return KIND_NONE;
    switch (insn->mnemonic) {
    case EMU_MN_ADD:
        return is_8 ? (has_imm ? KIND_ADDI8 : KIND_ADD8) : is_4 && has_imm ? KIND_ADDI4 : KIND_NONE;
    case EMU_MN_AND: return is_8 && has_reg ? KIND_AND8 : is_4 && has_imm ? KIND_ANDI4 : KIND_NONE;
    case EMU_MN_XOR: return is_4 && has_reg ? KIND_XOR4 : KIND_NONE;
    case EMU_MN_ADC: return !is_8 ? KIND_NONE : has_imm ? KIND_ADCI : KIND_ADC;
    case EMU_MN_SHL: return is_8 && has_imm ? KIND_SHLI8 : KIND_NONE;
    case EMU_MN_SHR: return is_8 && has_imm ? KIND_SHRI8 : KIND_NONE;
    default: return KIND_NONE;
    }
}

static uint8_t kind_of_register(const struct emu_pick *pick)
{
    const struct emu_insn *insn = pick->insn;

    if (insn->op[0].kind != EMU_OPD_GPR)
        return KIND_NONE;
    if (!pick->flags_live)
        return kind_of_alu(insn);
    if (insn->mnemonic == EMU_MN_ADD && insn->op[0].size == 8 && insn->op[1].kind == EMU_OPD_GPR)
        return KIND_ADDF;
    return insn->mnemonic == EMU_MN_XOR && insn->op[0].size == 4 &&
                   insn->op[1].kind == EMU_OPD_GPR && insn->op[0].reg == insn->op[1].reg
               ? KIND_ZERO
               : KIND_NONE;
}

static uint8_t kind_of_rsp(const struct emu_pick *pick)
{
    if (pick->insn->mnemonic == EMU_MN_LEA || !pick->flags_live)
        return KIND_SPADD;
    return pick->insn->mnemonic == EMU_MN_ADD ? KIND_SPADDF : KIND_NONE;
}

static bool is_rsp(const struct emu_operand *o)
{
    return o->kind == EMU_OPD_GPR && o->reg == HV_RSP;
}

uint8_t emu_duo_kind(const struct emu_pick *pick, const struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;

    switch (insn->mnemonic) {
    case EMU_MN_RET: return insn->n_operands ? KIND_NONE : KIND_RET;
    case EMU_MN_CALL: return insn->op[0].kind == EMU_OPD_REL ? KIND_CALL : KIND_NONE;
    case EMU_MN_JMP:
        return insn->op[0].kind == EMU_OPD_REL   ? KIND_JMP
               : insn->op[0].kind == EMU_OPD_GPR ? KIND_JMPR
                                                 : KIND_NONE;
    case EMU_MN_PUSH:
        return insn->op[0].kind == EMU_OPD_GPR && !is_rsp(&insn->op[0]) ? KIND_PUSH : KIND_NONE;
    default: break;
    }
    if (is_rsp(&insn->op[0]))
        return op->dst ? KIND_NONE : kind_of_rsp(pick);
    switch (insn->mnemonic) {
    case EMU_MN_POP: return KIND_POP;
    case EMU_MN_MOV: return kind_of_mov(insn, op);
    case EMU_MN_MOVZX:
    case EMU_MN_MOVSX:
    case EMU_MN_MOVSXD: return kind_of_extend(insn, op);
    case EMU_MN_LEA:
        return insn->op[0].size == 8 ? by_form(op, KIND_LEA8, KIND_LEA8, KIND_LEA8X)
                                     : by_form(op, KIND_LEA4, KIND_LEA4, KIND_LEA4X);
    default: return kind_of_register(pick);
    }
}

/* Of a comparison, with the first of the conditions that cc and its opposite are. */
static uint8_t kind_of_compare(const struct emu_insn *insn, bool is_equality)
{
    unsigned size = insn->op[0].size;

    if (insn->op[1].kind == EMU_OPD_IMM && !is_equality)
        return size == 1 ? KIND_CMPI1BE : size == 4 ? KIND_CMPI4BE : KIND_NONE;
    if (!is_equality)
        return KIND_NONE;
    if (insn->op[1].kind == EMU_OPD_IMM)
        return size == 8 ? KIND_CMPI8Z : size == 4 ? KIND_CMPI4Z : KIND_NONE;
    return size == 8 ? KIND_CMP8Z : size == 4 ? KIND_CMP4Z : KIND_NONE;
}

static uint8_t kind_of_test(const struct emu_insn *insn)
{
    unsigned size = insn->op[0].size;

    if (insn->op[1].kind == EMU_OPD_IMM)
        return size == 1 ? KIND_TESTI1Z : KIND_NONE;
    return size == 8 ? KIND_TEST8Z : size == 4 ? KIND_TEST4Z : KIND_NONE;
}

uint8_t emu_duo_branch_kind(const struct emu_pick *pick)
{
    const struct emu_insn *insn = pick->insn;
    unsigned cc = pick->next->opcode & 15;
    bool is_equality = (cc | 1) == 5, is_above = (cc | 1) == 7;
    uint8_t kind = KIND_NONE;

    if (insn->n_operands != 2 || !emu_is_reg(&insn->op[0]) || insn->op[1].kind == EMU_OPD_MEM)
        return KIND_NONE;
    if (insn->mnemonic == EMU_MN_TEST && is_equality)
        kind = kind_of_test(insn);
    else if (insn->mnemonic == EMU_MN_CMP && (is_equality || is_above))
        kind = kind_of_compare(insn, is_equality);
    return (uint8_t)(kind == KIND_NONE ? KIND_NONE : kind + (cc & 1));
}

/* ---- Joining the records of a block ---- */

/* Are these three one? They name one register, which isn't the base. */
static bool is_switch(const struct emu_op *op, const uint8_t *kinds, unsigned n)
{
    return n >= 3 && kinds[0] == KIND_TABLE && kinds[1] == KIND_ADDF && kinds[2] == KIND_JMPR &&
           op[1].dst == op->dst && op[2].src == op->dst;
}

/* The base of the second, or its index alone. */
static emu_handler *chain_of(const struct emu_op *op, const uint8_t *kinds)
{
    bool has_index = op[1].index != EMU_REG_OFFSET(EMU_REG_ZERO);

    if (kinds[1] >= N_STEPS)
        return NULL;
    if (has_index ? op[1].index != op->dst || op[1].base == op->dst : op[1].base != op->dst)
        return NULL;
    return emu_chains[kinds[0]][kinds[1]];
}

static unsigned run_of(const uint8_t *kinds, unsigned n, enum kind kind)
{
    unsigned length = 0;

    while (length < n && length < MAX_ROW && kinds[length] == kind)
        length++;
    return length;
}

/* Returns how many records the first of these does now; 1: none but itself. */
static unsigned join(struct emu_op *op, const uint8_t *kinds, unsigned n)
{
    unsigned pushes_here = run_of(kinds, n, KIND_PUSH), pops_here = run_of(kinds, n, KIND_POP);

    if (pushes_here >= 2) {
        op->fn = emu_rows[pushes_here][ROW_PUSH];
        return pushes_here;
    }
    if (pops_here >= 2) {
        bool returns = pops_here < n && kinds[pops_here] == KIND_RET;

        op->fn = emu_rows[pops_here][returns ? ROW_POP_RET : ROW_POP];
        return pops_here + returns;
    }
    if (kinds[0] == EMU_PAIRED)
        return 2;
    if (is_switch(op, kinds, n)) {
        op->fn = emu_do_switch;
        return 3;
    }
    if (n >= 2 && kinds[0] == KIND_ADDF && (kinds[1] == KIND_ADC || kinds[1] == KIND_ADCI)) {
        op->fn = kinds[1] == KIND_ADC ? emu_do_add_adc : emu_do_add_adc_imm;
        return 2;
    }
    if (n >= 2 && kinds[0] > KIND_NONE && kinds[0] < N_STEPS && kinds[1] > KIND_NONE &&
        kinds[1] < N_KINDS) {
        op->fn = chain_of(op, kinds);
        if (!op->fn)
            op->fn = emu_duos[kinds[0]][kinds[1]];
        return 2;
    }
    return 1;
}

void emu_join(struct emu_op *ops, const uint8_t *kinds, unsigned n)
{
    for (unsigned i = 0; i < n;)
        i += join(&ops[i], kinds + i, n - i);
}
