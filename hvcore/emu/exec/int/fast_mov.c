/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: moves, extensions, lea, conditional moves and sets. */
#include "hvcore/emu/exec/int/fast_priv.h"

/* ---- mov ---- */

enum form {
    FORM_RR,
    FORM_RI,
    FORM_LOAD,
    FORM_STORE = FORM_LOAD + 3,
    FORM_STORE_IMM = FORM_STORE + 3,
    N_FORMS = FORM_STORE_IMM + 3
};

#define MOV(type, size)                                                                            \
    EMU_INLINE const struct emu_op *mov_##size(EMU_PARAMS, enum form form, emu_handler *likely)    \
    {                                                                                              \
        if (form == FORM_RR) {                                                                     \
            emu_reg_set_##size(cpu, op->dst, EMU_REG_GET(type, cpu, op->src));                     \
        } else if (form == FORM_RI) {                                                              \
            emu_reg_set_##size(cpu, op->dst, (type)op->imm64);                                     \
        } else if (form < FORM_STORE) {                                                            \
            EMU_READ_POINTER(p, (enum emu_ea_form)(form - FORM_LOAD), size);                       \
            emu_reg_set_##size(cpu, op->dst, EMU_GUEST(type, p));                                  \
        } else if (form < FORM_STORE_IMM) {                                                        \
            EMU_WRITE_POINTER(p, (enum emu_ea_form)(form - FORM_STORE), size);                     \
            EMU_GUEST(type, p) = EMU_REG_GET(type, cpu, op->src);                                  \
        } else {                                                                                   \
            EMU_WRITE_POINTER(p, (enum emu_ea_form)(form - FORM_STORE_IMM), size);                 \
            EMU_GUEST(type, p) = (type)op->imm;                                                    \
        }                                                                                          \
        EMU_GO_LIKELY(cpu, op + 1, likely);                                                        \
    }

MOV(uint8_t, 1)
MOV(uint16_t, 2)
MOV(uint32_t, 4)
MOV(uint64_t, 8)

#define MOV_ROW(size, form_)                                                                       \
    EMU_HANDLER h_mov_##size##_##form_(EMU_PARAMS)                                                 \
    {                                                                                              \
        return mov_##size(EMU_PASS, (enum form)(form_), EMU_NEXT(h_mov_##size##_##form_));         \
    }
#define MOV_ENTRY(size, form_) [size / 2 - size / 8][form_] = h_mov_##size##_##form_,
#define MOV_FORMS(X, size)                                                                         \
    X(size, 0)                                                                                     \
    X(size, 1)                                                                                     \
    X(size, 2)                                                                                     \
    X(size, 3)                                                                                     \
    X(size, 4)                                                                                     \
    X(size, 5)                                                                                     \
    X(size, 6)                                                                                     \
    X(size, 7)                                                                                     \
    X(size, 8)                                                                                     \
    X(size, 9)                                                                                     \
    X(size, 10)
#define MOV_ALL(X) MOV_FORMS(X, 1) MOV_FORMS(X, 2) MOV_FORMS(X, 4) MOV_FORMS(X, 8)

MOV_ALL(MOV_ROW)
static emu_handler *const mov_handlers[4][N_FORMS] = { MOV_ALL(MOV_ENTRY) };

/* Into the stack pointer, for what it is. */
EMU_HANDLER h_mov_sp_reg(EMU_PARAMS)
{
    sp = emu_reg64(cpu, op->src);
    cpu->regs[HV_RSP] = sp;
    EMU_DONE(cpu, op);
}

EMU_HANDLER h_mov_sp_base(EMU_PARAMS)
{
    EMU_READ_POINTER(p, EMU_EA_BASE, 8);
    sp = EMU_GUEST(uint64_t, p);
    cpu->regs[HV_RSP] = sp;
    EMU_DONE(cpu, op);
}

/* Their records don't name it. */
static void pick_mov_sp(struct emu_op *op, unsigned form)
{
    if (form != FORM_RR && form != FORM_LOAD)
        return;
    op->fn = form == FORM_RR ? h_mov_sp_reg : h_mov_sp_base;
    op->dst = EMU_REG_OFFSET(EMU_REG_ZERO);
}

bool emu_pick_mov(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0], *src = &pick->insn->op[1];
    bool is_load = src->kind == EMU_OPD_MEM, is_store = dst->kind == EMU_OPD_MEM;
    bool has_imm = src->kind == EMU_OPD_IMM;
    unsigned form;

    if (!(is_store || emu_is_reg(dst)) || !(is_load || has_imm || emu_is_reg(src)))
        return false;
    form = is_store  ? (has_imm ? FORM_STORE_IMM : FORM_STORE)
           : is_load ? FORM_LOAD
           : has_imm ? FORM_RI
                     : FORM_RR;
    if (is_load || is_store) {
        enum emu_ea_form ea = emu_pick_ea(pick, op);

        if (ea == EMU_EA_GENERAL)
            return false;
        form += ea;
    }
    if (emu_is_reg(dst))
        op->dst = emu_operand_offset(dst);
    if (emu_is_reg(src))
        op->src = emu_operand_offset(src);
    if (has_imm) {
        op->imm = (int32_t)pick->insn->imm;
        op->imm64 = dst->size == 4 ? (uint32_t)pick->insn->imm : pick->insn->imm;
    }
    op->fn = mov_handlers[emu_log2(dst->size)][form];
    if (dst->kind == EMU_OPD_GPR && dst->reg == HV_RSP && dst->size == 8)
        pick_mov_sp(op, form);
    return true;
}

/* ---- movzx, movsx, movsxd: from type to type, register or load ---- */

#define EXTEND(name, from, from_size, to, to_size)                                                 \
    EMU_HANDLER h_##name##_rr(EMU_PARAMS)                                                          \
    {                                                                                              \
        emu_reg_set_##to_size(cpu, op->dst, (to)EMU_REG_GET(from, cpu, op->src));                  \
        EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_##name##_rr));                                       \
    }                                                                                              \
    EXTEND_LOAD(name##_base, EMU_EA_BASE, from, from_size, to, to_size)                            \
    EXTEND_LOAD(name##_index, EMU_EA_INDEX, from, from_size, to, to_size)                          \
    EXTEND_LOAD(name##_stack, EMU_EA_STACK, from, from_size, to, to_size)

#define EXTEND_LOAD(name, ea, from, from_size, to, to_size)                                        \
    EMU_HANDLER h_##name(EMU_PARAMS)                                                               \
    {                                                                                              \
        EMU_READ_POINTER(p, ea, from_size);                                                        \
        emu_reg_set_##to_size(cpu, op->dst, (to)EMU_GUEST(from, p));                               \
        EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_##name));                                            \
    }

EXTEND(zx12, uint8_t, 1, uint16_t, 2)
EXTEND(zx14, uint8_t, 1, uint32_t, 4)
EXTEND(zx24, uint16_t, 2, uint32_t, 4)
EXTEND(zx48, uint32_t, 4, uint64_t, 8)
EXTEND(sx12, int8_t, 1, uint16_t, 2)
EXTEND(sx14, int8_t, 1, uint32_t, 4)
EXTEND(sx18, int8_t, 1, uint64_t, 8)
EXTEND(sx24, int16_t, 2, uint32_t, 4)
EXTEND(sx28, int16_t, 2, uint64_t, 8)
EXTEND(sx48, int32_t, 4, uint64_t, 8)

struct extend_row {
    uint8_t is_signed, from, to;
    emu_handler *rr, *load[3];
};

#define EXTEND_ROW(is_signed, from, to, name)                                                      \
    {                                                                                              \
        is_signed, from, to, h_##name##_rr,                                                        \
        {                                                                                          \
            h_##name##_base, h_##name##_index, h_##name##_stack                                    \
        }                                                                                          \
    }

/* A 64-bit zero extension is a 32-bit one; 4 to 4 is movsxd without REX.W. */
static const struct extend_row extend_rows[] = {
    EXTEND_ROW(0, 1, 2, zx12), EXTEND_ROW(0, 1, 4, zx14), EXTEND_ROW(0, 1, 8, zx14),
    EXTEND_ROW(0, 2, 4, zx24), EXTEND_ROW(0, 2, 8, zx24), EXTEND_ROW(1, 1, 2, sx12),
    EXTEND_ROW(1, 1, 4, sx14), EXTEND_ROW(1, 1, 8, sx18), EXTEND_ROW(1, 2, 4, sx24),
    EXTEND_ROW(1, 2, 8, sx28), EXTEND_ROW(1, 4, 8, sx48), EXTEND_ROW(1, 4, 4, zx48),
};

bool emu_pick_extend(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0], *src = &pick->insn->op[1];
    bool is_signed = pick->insn->mnemonic != EMU_MN_MOVZX;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(extend_rows); i++) {
        const struct extend_row *row = &extend_rows[i];
        enum emu_ea_form ea;

        if (row->is_signed != is_signed || row->from != src->size || row->to != dst->size)
            continue;
        op->dst = emu_operand_offset(dst);
        if (emu_is_reg(src)) {
            op->src = emu_operand_offset(src);
            op->fn = row->rr;
            return true;
        }
        ea = emu_pick_ea(pick, op);
        if (ea == EMU_EA_GENERAL)
            return false;
        op->fn = row->load[ea];
        return true;
    }
    return false;
}

/* ---- lea ---- */

#define LEA(size, ea)                                                                              \
    EMU_HANDLER h_lea_##size##_##ea(EMU_PARAMS)                                                    \
    {                                                                                              \
        emu_reg_set_##size(cpu, op->dst, emu_ea_##ea(cpu, op));                                    \
        EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_lea_##size##_##ea));                                 \
    }

EMU_INLINE const struct emu_op *lea_4(EMU_PARAMS, uint64_t ea)
{
    emu_reg_set_4(cpu, op->dst, (uint32_t)ea);
    EMU_DONE(cpu, op);
}

EMU_HANDLER h_lea_4_base(EMU_PARAMS)
{
    return lea_4(EMU_PASS, emu_ea_base(cpu, op));
}

EMU_HANDLER h_lea_4_index(EMU_PARAMS)
{
    return lea_4(EMU_PASS, emu_ea_index(cpu, op));
}

LEA(8, base)
LEA(8, index)

/* Segment bases don't count: an override makes the generic form of it. */
bool emu_pick_lea(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0];
    enum emu_ea_form ea;

    if (dst->size < 4 || pick->insn->seg == HV_FS || pick->insn->seg == HV_GS)
        return false;
    ea = emu_pick_ea(pick, op);
    if (ea == EMU_EA_GENERAL)
        return false;
    op->dst = emu_operand_offset(dst);
    if (dst->size == 4)
        op->fn = ea == EMU_EA_INDEX ? h_lea_4_index : h_lea_4_base;
    else
        op->fn = ea == EMU_EA_INDEX ? h_lea_8_index : h_lea_8_base;
    return true;
}

/* ---- cmovcc, setcc ---- */

/* The load is done, and the upper half cleared, whatever the condition. */
#define CMOV(type, size)                                                                           \
    EMU_INLINE const struct emu_op *cmov_##size(EMU_PARAMS, unsigned cc, bool is_load,             \
                                                enum emu_ea_form ea, emu_handler *likely)          \
    {                                                                                              \
        type old = EMU_REG_GET(type, cpu, op->dst), value;                                         \
                                                                                                   \
        if (is_load) {                                                                             \
            EMU_READ_POINTER(p, ea, size);                                                         \
            value = EMU_GUEST(type, p);                                                            \
        } else {                                                                                   \
            value = EMU_REG_GET(type, cpu, op->src);                                               \
        }                                                                                          \
        emu_reg_set_##size(cpu, op->dst, emu_condition(emu_flags_get(cpu), cc) ? value : old);     \
        EMU_GO_LIKELY(cpu, op + 1, likely);                                                        \
    }

CMOV(uint32_t, 4)
CMOV(uint64_t, 8)

#define CC_ROW(cc)                                                                                 \
    EMU_HANDLER h_cmov_4_rr_##cc(EMU_PARAMS)                                                       \
    {                                                                                              \
        return cmov_4(EMU_PASS, cc, false, EMU_EA_BASE, EMU_NEXT(h_cmov_4_rr_##cc));               \
    }                                                                                              \
    EMU_HANDLER h_cmov_8_rr_##cc(EMU_PARAMS)                                                       \
    {                                                                                              \
        return cmov_8(EMU_PASS, cc, false, EMU_EA_BASE, EMU_NEXT(h_cmov_8_rr_##cc));               \
    }                                                                                              \
    EMU_HANDLER h_cmov_4_base_##cc(EMU_PARAMS)                                                     \
    {                                                                                              \
        return cmov_4(EMU_PASS, cc, true, EMU_EA_BASE, EMU_NEXT(h_cmov_4_base_##cc));              \
    }                                                                                              \
    EMU_HANDLER h_cmov_8_base_##cc(EMU_PARAMS)                                                     \
    {                                                                                              \
        return cmov_8(EMU_PASS, cc, true, EMU_EA_BASE, EMU_NEXT(h_cmov_8_base_##cc));              \
    }                                                                                              \
    EMU_HANDLER h_set_##cc(EMU_PARAMS)                                                             \
    {                                                                                              \
        emu_reg_set_1(cpu, op->dst, emu_condition(emu_flags_get(cpu), cc));                        \
        EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_set_##cc));                                          \
    }                                                                                              \
    EMU_HANDLER h_set_base_##cc(EMU_PARAMS)                                                        \
    {                                                                                              \
        EMU_WRITE_POINTER(p, EMU_EA_BASE, 1);                                                      \
        EMU_GUEST(uint8_t, p) = emu_condition(emu_flags_get(cpu), cc);                             \
        EMU_DONE(cpu, op);                                                                         \
    }

#define CONDITIONS(X)                                                                              \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

CONDITIONS(CC_ROW)

enum { CC_CMOV_4_RR, CC_CMOV_8_RR, CC_CMOV_4_BASE, CC_CMOV_8_BASE, CC_SET, CC_SET_BASE, N_CC_ROWS };

#define CC_ENTRY(cc)                                                                               \
    [cc] = { h_cmov_4_rr_##cc,   h_cmov_8_rr_##cc, h_cmov_4_base_##cc,                             \
             h_cmov_8_base_##cc, h_set_##cc,       h_set_base_##cc },
static emu_handler *const cc_handlers[16][N_CC_ROWS] = { CONDITIONS(CC_ENTRY) };

/* Stack accesses go by the cache as well: they are base forms with another base. */
static bool is_base_form(enum emu_ea_form ea)
{
    return ea == EMU_EA_BASE || ea == EMU_EA_STACK;
}

bool emu_pick_cmov(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0], *src = &pick->insn->op[1];
    unsigned row = dst->size == 8 ? CC_CMOV_8_RR : CC_CMOV_4_RR;

    if (dst->size < 4)
        return false;
    op->dst = emu_operand_offset(dst);
    if (emu_is_reg(src)) {
        op->src = emu_operand_offset(src);
    } else {
        if (!is_base_form(emu_pick_ea(pick, op)))
            return false;
        row += CC_CMOV_4_BASE;
    }
    op->fn = cc_handlers[pick->insn->opcode & 15][row];
    return true;
}

bool emu_pick_set(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *dst = &pick->insn->op[0];
    unsigned row = CC_SET;

    if (emu_is_reg(dst)) {
        op->dst = emu_operand_offset(dst);
    } else {
        if (!is_base_form(emu_pick_ea(pick, op)))
            return false;
        row = CC_SET_BASE;
    }
    op->fn = cc_handlers[pick->insn->opcode & 15][row];
    return true;
}
