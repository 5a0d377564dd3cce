/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fast handlers: a comparison or arithmetic with the conditional branch behind it as one.
 *
 * The host's flags decide at once; they are stored as well, since nobody knows what the successors
 * read. op is the first instruction, op[1] the branch, op[2] the way on.
 */
#include "hvcore/emu/exec/int/fast_priv.h"

/* Operands of each form; `done` puts the result where it belongs. */
#define RR_LOAD(type, size)   b = EMU_REG_GET(type, cpu, op->src), a = EMU_REG_GET(type, cpu, op->dst)
#define RI_LOAD(type, size)   b = (type)op->imm, a = EMU_REG_GET(type, cpu, op->dst)
#define MEM_POINTER(ea, size) EMU_READ_POINTER(p, ea, size)
#define RM_LOAD(type, ea, size)                                                                    \
    MEM_POINTER(ea, size) b = EMU_GUEST(type, p), a = EMU_REG_GET(type, cpu, op->dst)
#define MR_LOAD(type, ea, size)                                                                    \
    MEM_POINTER(ea, size) b = EMU_REG_GET(type, cpu, op->src), a = EMU_GUEST(type, p)
#define MI_LOAD(type, ea, size) MEM_POINTER(ea, size) b = (type)op->imm, a = EMU_GUEST(type, p)

#define LOAD_RR(type, size) RR_LOAD(type, size)
#define LOAD_RI(type, size) RI_LOAD(type, size)
#define LOAD_RM(type, size) RM_LOAD(type, EMU_EA_BASE, size)
#define LOAD_RX(type, size) RM_LOAD(type, EMU_EA_INDEX, size)
#define LOAD_MR(type, size) MR_LOAD(type, EMU_EA_BASE, size)
#define LOAD_MI(type, size) MI_LOAD(type, EMU_EA_BASE, size)
#define LOAD_XI(type, size) MI_LOAD(type, EMU_EA_INDEX, size)

#define STORE_CMP(size)
#define STORE_TEST(size)
#define STORE_ADD(size) emu_reg_set_##size(cpu, op->dst, a)
#define STORE_SUB(size) STORE_ADD(size)
#define STORE_AND(size) STORE_ADD(size)

#define BRANCH(handler)                                                                            \
    emu_flags_put(cpu, ax);                                                                        \
    if (taken)                                                                                     \
        return emu_op_branch(cpu, op + 1, x, y, sp);                                               \
    EMU_GO_LIKELY(cpu, op + 2, EMU_NEXT(handler))

#define FUSED(name, code, form, type, size, cc, condition)                                         \
    EMU_HANDLER h_##name##_##form##_##size##_##cc(EMU_PARAMS)                                      \
    {                                                                                              \
        type a, b;                                                                                 \
        uint16_t ax;                                                                               \
        bool taken;                                                                                \
                                                                                                   \
        LOAD_##form(type, size);                                                                   \
        __asm__(code " %[b], %[a]" EMU_ASM_CAPTURE                                                 \
                : [a] "+r"(a), "=&a"(ax), "=@cc" condition(taken)                                  \
                : [b] "r"(b));                                                                     \
        STORE_##name(size);                                                                        \
        BRANCH(h_##name##_##form##_##size##_##cc);                                                 \
    }

#define FUSED_STEP(name, code, form, type, size, cc, condition)                                    \
    EMU_HANDLER h_##name##_##form##_##size##_##cc(EMU_PARAMS)                                      \
    {                                                                                              \
        type a = EMU_REG_GET(type, cpu, op->dst);                                                  \
        uint16_t ax;                                                                               \
        bool taken;                                                                                \
                                                                                                   \
        __asm__(EMU_ASM_CARRY code " %[a]" EMU_ASM_CAPTURE                                         \
                : [a] "+r"(a), "=&a"(ax), "=@cc" condition(taken)                                  \
                : [flags] "m"(cpu->aflags));                                                       \
        emu_reg_set_##size(cpu, op->dst, a);                                                       \
        BRANCH(h_##name##_##form##_##size##_##cc);                                                 \
    }

/* ---- Rows ---- */

#define CONDITIONS(X, name, code, form, type, size)                                                \
    X(name, code, form, type, size, 0, "o")                                                        \
    X(name, code, form, type, size, 1, "no")                                                       \
    X(name, code, form, type, size, 2, "c")                                                        \
    X(name, code, form, type, size, 3, "nc")                                                       \
    X(name, code, form, type, size, 4, "z")                                                        \
    X(name, code, form, type, size, 5, "nz")                                                       \
    X(name, code, form, type, size, 6, "be")                                                       \
    X(name, code, form, type, size, 7, "a")                                                        \
    X(name, code, form, type, size, 8, "s")                                                        \
    X(name, code, form, type, size, 9, "ns")                                                       \
    X(name, code, form, type, size, 10, "p")                                                       \
    X(name, code, form, type, size, 11, "np")                                                      \
    X(name, code, form, type, size, 12, "l")                                                       \
    X(name, code, form, type, size, 13, "ge")                                                      \
    X(name, code, form, type, size, 14, "le")                                                      \
    X(name, code, form, type, size, 15, "g")

#define ROWS(X, Y)                                                                                 \
    CONDITIONS(X, CMP, "cmp", RR, uint8_t, 1)                                                      \
    CONDITIONS(X, CMP, "cmp", RR, uint16_t, 2)                                                     \
    CONDITIONS(X, CMP, "cmp", RR, uint32_t, 4)                                                     \
    CONDITIONS(X, CMP, "cmp", RR, uint64_t, 8)                                                     \
    CONDITIONS(X, CMP, "cmp", RI, uint8_t, 1)                                                      \
    CONDITIONS(X, CMP, "cmp", RI, uint16_t, 2)                                                     \
    CONDITIONS(X, CMP, "cmp", RI, uint32_t, 4)                                                     \
    CONDITIONS(X, CMP, "cmp", RI, uint64_t, 8)                                                     \
    CONDITIONS(X, CMP, "cmp", RM, uint8_t, 1)                                                      \
    CONDITIONS(X, CMP, "cmp", RM, uint32_t, 4)                                                     \
    CONDITIONS(X, CMP, "cmp", RM, uint64_t, 8)                                                     \
    CONDITIONS(X, CMP, "cmp", RX, uint8_t, 1)                                                      \
    CONDITIONS(X, CMP, "cmp", RX, uint32_t, 4)                                                     \
    CONDITIONS(X, CMP, "cmp", RX, uint64_t, 8)                                                     \
    CONDITIONS(X, CMP, "cmp", MR, uint8_t, 1)                                                      \
    CONDITIONS(X, CMP, "cmp", MR, uint32_t, 4)                                                     \
    CONDITIONS(X, CMP, "cmp", MR, uint64_t, 8)                                                     \
    CONDITIONS(X, CMP, "cmp", MI, uint8_t, 1)                                                      \
    CONDITIONS(X, CMP, "cmp", MI, uint16_t, 2)                                                     \
    CONDITIONS(X, CMP, "cmp", MI, uint32_t, 4)                                                     \
    CONDITIONS(X, CMP, "cmp", MI, uint64_t, 8)                                                     \
    CONDITIONS(X, CMP, "cmp", XI, uint8_t, 1)                                                      \
    CONDITIONS(X, CMP, "cmp", XI, uint32_t, 4)                                                     \
    CONDITIONS(X, CMP, "cmp", XI, uint64_t, 8)                                                     \
    CONDITIONS(X, TEST, "test", RR, uint8_t, 1)                                                    \
    CONDITIONS(X, TEST, "test", RR, uint16_t, 2)                                                   \
    CONDITIONS(X, TEST, "test", RR, uint32_t, 4)                                                   \
    CONDITIONS(X, TEST, "test", RR, uint64_t, 8)                                                   \
    CONDITIONS(X, TEST, "test", RI, uint8_t, 1)                                                    \
    CONDITIONS(X, TEST, "test", RI, uint32_t, 4)                                                   \
    CONDITIONS(X, TEST, "test", RI, uint64_t, 8)                                                   \
    CONDITIONS(X, TEST, "test", MI, uint8_t, 1)                                                    \
    CONDITIONS(X, TEST, "test", MI, uint32_t, 4)                                                   \
    CONDITIONS(X, TEST, "test", MI, uint64_t, 8)                                                   \
    CONDITIONS(X, ADD, "add", RR, uint32_t, 4)                                                     \
    CONDITIONS(X, ADD, "add", RR, uint64_t, 8)                                                     \
    CONDITIONS(X, ADD, "add", RI, uint32_t, 4)                                                     \
    CONDITIONS(X, ADD, "add", RI, uint64_t, 8)                                                     \
    CONDITIONS(X, SUB, "sub", RR, uint32_t, 4)                                                     \
    CONDITIONS(X, SUB, "sub", RR, uint64_t, 8)                                                     \
    CONDITIONS(X, SUB, "sub", RI, uint32_t, 4)                                                     \
    CONDITIONS(X, SUB, "sub", RM, uint64_t, 8)                                                     \
    CONDITIONS(X, SUB, "sub", RI, uint64_t, 8)                                                     \
    CONDITIONS(X, AND, "and", RR, uint32_t, 4)                                                     \
    CONDITIONS(X, AND, "and", RR, uint64_t, 8)                                                     \
    CONDITIONS(X, AND, "and", RI, uint32_t, 4)                                                     \
    CONDITIONS(X, AND, "and", RI, uint64_t, 8)                                                     \
    CONDITIONS(Y, INC, "inc", R, uint32_t, 4)                                                      \
    CONDITIONS(Y, INC, "inc", R, uint64_t, 8)                                                      \
    CONDITIONS(Y, DEC, "dec", R, uint32_t, 4)                                                      \
    CONDITIONS(Y, DEC, "dec", R, uint64_t, 8)

ROWS(FUSED, FUSED_STEP)

enum form { FORM_RR, FORM_RI, FORM_RM, FORM_RX, FORM_MR, FORM_MI, FORM_XI, FORM_R, N_FORMS };
enum first {
    FIRST_CMP,
    FIRST_TEST,
    FIRST_ADD,
    FIRST_SUB,
    FIRST_AND,
    FIRST_INC,
    FIRST_DEC,
    N_FIRSTS
};

#define ENTRY(name, code, form, type, size, cc, condition)                                         \
    [FIRST_##name][FORM_##form][size / 2 - size / 8][cc] = h_##name##_##form##_##size##_##cc,

static emu_handler *const handlers[N_FIRSTS][N_FORMS][4][16] = { ROWS(ENTRY, ENTRY) };

/* ---- Choice ---- */

static int first_of(unsigned mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_CMP: return FIRST_CMP;
    case EMU_MN_TEST: return FIRST_TEST;
    case EMU_MN_ADD: return FIRST_ADD;
    case EMU_MN_SUB: return FIRST_SUB;
    case EMU_MN_AND: return FIRST_AND;
    case EMU_MN_INC: return FIRST_INC;
    case EMU_MN_DEC: return FIRST_DEC;
    default: return -1;
    }
}

/* 0F 80 to 8F, 70 to 7F. */
static bool is_jcc(const struct emu_insn *insn)
{
    return ((insn->opcode & 0xfff0) == 0x70 || (insn->opcode & 0xfff0) == 0x180) &&
           insn->op[0].kind == EMU_OPD_REL && insn->op_size == 8;
}

static int form_of(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    const struct emu_operand *dst = &insn->op[0], *src = &insn->op[1];
    enum emu_ea_form ea;

    if (insn->n_operands == 1)
        return emu_is_reg(dst) ? FORM_R : -1;
    if (emu_is_reg(dst) && src->kind != EMU_OPD_MEM)
        return src->kind == EMU_OPD_IMM ? FORM_RI : FORM_RR;
    ea = emu_pick_ea(pick, op);
    if (ea == EMU_EA_GENERAL)
        return -1;
    if (src->kind == EMU_OPD_MEM)
        return ea == EMU_EA_INDEX ? FORM_RX : FORM_RM;
    if (src->kind == EMU_OPD_IMM)
        return ea == EMU_EA_INDEX ? FORM_XI : FORM_MI;
    return ea == EMU_EA_INDEX ? -1 : FORM_MR;
}

bool emu_pick_fused(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    int first = first_of(insn->mnemonic), form;

    if (first < 0 || !pick->next || !is_jcc(pick->next))
        return false;
    /* Its new value has to be handed on in a register. */
    if (first > FIRST_TEST && emu_is_reg(&insn->op[0]) && insn->op[0].reg == HV_RSP)
        return false;
    form = form_of(pick, op);
    if (form < 0)
        return false;
    if (emu_is_reg(&insn->op[0]))
        op->dst = emu_operand_offset(&insn->op[0]);
    if (emu_is_reg(&insn->op[1]))
        op->src = emu_operand_offset(&insn->op[1]);
    op->imm = (int32_t)insn->imm;
    op->fn = handlers[first][form][emu_log2(insn->op[0].size)][pick->next->opcode & 15];
    return op->fn != NULL;
}
