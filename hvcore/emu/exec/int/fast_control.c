/* SPDX-License-Identifier: Apache-2.0 */
/* Fast handlers: stack, calls, branches on stored flags. */
#include "hvcore/emu/exec/int/fast_priv.h"

/* ---- push, pop ---- */

/* Store value below the stack pointer, which moves afterwards. */
#define PUSH(value)                                                                                \
    void *host;                                                                                    \
    EMU_STACK_POINTER(host, sp - 8, 8);                                                            \
    sp -= 8;                                                                                       \
    EMU_GUEST(uint64_t, host) = (value);                                                           \
    cpu->regs[HV_RSP] = sp

/* Declare `value` with what the stack pointer points at. */
#define TOP(value)                                                                                 \
    uint64_t value;                                                                                \
    void *value##_host;                                                                            \
    EMU_STACK_POINTER(value##_host, sp, 8);                                                        \
    value = EMU_GUEST(uint64_t, value##_host)

EMU_HANDLER h_push_reg(EMU_PARAMS)
{
    PUSH(EMU_REG_GET(uint64_t, cpu, op->src));
    EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_push_reg));
}

EMU_HANDLER h_push_imm(EMU_PARAMS)
{
    PUSH((uint64_t)(int64_t)op->imm);
    EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_push_imm));
}

/* The value is there, the stack's page isn't in the window. Both may share an entry of the cache,
 * so the handler isn't tried again: each would drive the other out for ever. */
static const struct emu_op *push_missed(struct emu_cpu *cpu, const struct emu_op *op,
                                        uint64_t value)
{
    uint64_t sp = cpu->regs[HV_RSP] - 8;
    void *host = emu_stack_fill(cpu, sp, 8);

    if (!host)
        return emu_op_slow(cpu, op);
    EMU_GUEST(uint64_t, host) = value;
    cpu->regs[HV_RSP] = sp;
    EMU_DONE(cpu, op);
}

EMU_INLINE const struct emu_op *push_mem(EMU_PARAMS, enum emu_ea_form ea, emu_handler *likely)
{
    EMU_READ_POINTER(p, ea, 8);
    if (!emu_hits(sp - 8, cpu->stack_page, 8))
        return push_missed(cpu, op, EMU_GUEST(uint64_t, p));
    sp -= 8;
    EMU_GUEST(uint64_t, sp + cpu->stack_addend) = EMU_GUEST(uint64_t, p);
    cpu->regs[HV_RSP] = sp;
    EMU_GO_LIKELY(cpu, op + 1, likely);
}

EMU_HANDLER h_push_mem(EMU_PARAMS)
{
    return push_mem(EMU_PASS, EMU_EA_BASE, EMU_NEXT(h_push_mem));
}

EMU_HANDLER h_push_mem_stack(EMU_PARAMS)
{
    return push_mem(EMU_PASS, EMU_EA_STACK, EMU_NEXT(h_push_mem_stack));
}

EMU_HANDLER h_pop_reg(EMU_PARAMS)
{
    TOP(value);

    sp += 8;
    cpu->regs[HV_RSP] = sp;
    *(uint64_t *)emu_reg_at(cpu, op->dst) = value;
    EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_pop_reg));
}

/* ---- Moving the stack pointer by a constant ---- */

EMU_HANDLER h_sp_add(EMU_PARAMS)
{
    sp += (uint64_t)(int64_t)op->imm;
    cpu->regs[HV_RSP] = sp;
    EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_sp_add));
}

#define SP_ARITHMETIC(code)                                                                        \
    EMU_HANDLER h_sp_##code##_flags(EMU_PARAMS)                                                    \
    {                                                                                              \
        uint16_t ax;                                                                               \
                                                                                                   \
        __asm__(#code " %[b], %[a]" EMU_ASM_CAPTURE                                                \
                : [a] "+r"(sp), "=&a"(ax)                                                          \
                : [b] "r"((uint64_t)(int64_t)op->imm)                                              \
                : "cc");                                                                           \
        emu_flags_put(cpu, ax);                                                                    \
        cpu->regs[HV_RSP] = sp;                                                                    \
        EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_sp_##code##_flags));                                 \
    }

SP_ARITHMETIC(add)
SP_ARITHMETIC(sub)

static bool is_rsp(const struct emu_operand *o)
{
    return o->kind == EMU_OPD_GPR && o->reg == HV_RSP && o->size == 8;
}

/* add rsp, imm; sub rsp, imm; lea rsp, [rsp + disp] */
bool emu_pick_stack_pointer(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_insn *insn = pick->insn;
    bool is_sub = insn->mnemonic == EMU_MN_SUB;

    if (!is_rsp(&insn->op[0]))
        return false;
    if (insn->mnemonic == EMU_MN_LEA) {
        op->fn = h_sp_add;
        op->imm = (int32_t)insn->disp;
        return insn->seg != HV_FS && insn->seg != HV_GS && emu_pick_ea(pick, op) == EMU_EA_STACK;
    }
    if ((insn->mnemonic != EMU_MN_ADD && !is_sub) || insn->op[1].kind != EMU_OPD_IMM ||
        (int32_t)insn->imm == INT32_MIN)
        return false;
    op->imm = (int32_t)insn->imm;
    op->fn = is_sub ? h_sp_sub_flags : h_sp_add_flags;
    if (!pick->flags_live) {
        op->imm = is_sub ? -op->imm : op->imm;
        op->fn = h_sp_add;
    }
    return true;
}

bool emu_pick_push(const struct emu_pick *pick, struct emu_op *op)
{
    const struct emu_operand *src = &pick->insn->op[0];
    enum emu_ea_form ea;

    if (pick->insn->stack_size != 8)
        return false;
    switch (src->kind) {
    case EMU_OPD_GPR:
        op->src = emu_operand_offset(src);
        op->fn = h_push_reg;
        return true;
    case EMU_OPD_IMM:
        op->imm = (int32_t)pick->insn->imm;
        op->fn = h_push_imm;
        return true;
    case EMU_OPD_MEM:
        ea = emu_pick_ea(pick, op);
        op->fn = ea == EMU_EA_STACK ? h_push_mem_stack : h_push_mem;
        return ea == EMU_EA_BASE || ea == EMU_EA_STACK;
    default: return false;
    }
}

bool emu_pick_pop(const struct emu_pick *pick, struct emu_op *op)
{
    if (pick->insn->stack_size != 8 || pick->insn->op[0].kind != EMU_OPD_GPR)
        return false;
    op->dst = emu_operand_offset(&pick->insn->op[0]);
    op->fn = h_pop_reg;
    return true;
}

/* leave: the frame pointer leads to the new top. */
EMU_HANDLER h_leave(EMU_PARAMS)
{
    uint64_t frame = cpu->regs[HV_RBP];
    void *host;

    EMU_STACK_POINTER(host, frame, 8);
    cpu->regs[HV_RBP] = EMU_GUEST(uint64_t, host);
    sp = frame + 8;
    cpu->regs[HV_RSP] = sp;
    EMU_DONE(cpu, op);
}

bool emu_pick_leave(const struct emu_pick *pick, struct emu_op *op)
{
    op->fn = h_leave;
    return pick->insn->stack_size == 8;
}

/* ---- Targets ---- */

/* A relative target, in op->disp, counted from the page's base. */
static bool pick_target(const struct emu_pick *pick, struct emu_op *op)
{
    int64_t target = (int64_t)pick->offset + pick->insn->length + (int64_t)pick->insn->imm;

    op->disp = (int32_t)target;
    return target == op->disp;
}

static bool is_relative(const struct emu_pick *pick)
{
    return pick->insn->op[0].kind == EMU_OPD_REL && pick->insn->op_size == 8;
}

/* ---- call, ret, jmp; imm of a call is the offset of the way on in the page ---- */

EMU_INLINE uint64_t way_on(const struct emu_cpu *cpu, const struct emu_op *op)
{
    return cpu->regs[EMU_REG_RIP_BASE] + (uint64_t)(int64_t)op->imm;
}

EMU_HANDLER h_call_rel(EMU_PARAMS)
{
    uint64_t back = way_on(cpu, op);

    PUSH(back);
    emu_op_note_call(cpu, op, sp, back);
    return emu_op_branch(EMU_PASS);
}

EMU_HANDLER h_call_reg(EMU_PARAMS)
{
    uint64_t target = EMU_REG_GET(uint64_t, cpu, op->src);
    uint64_t back = way_on(cpu, op);

    if (HV_UNLIKELY(!emu_is_canonical(target)))
        return emu_op_slow(cpu, op);
    PUSH(back);
    emu_op_note_call(cpu, op, sp, back);
    return emu_op_indirect(cpu, op, target, emu_any_y(), sp);
}

EMU_INLINE const struct emu_op *call_mem(EMU_PARAMS, enum emu_ea_form ea)
{
    uint64_t back = way_on(cpu, op), target;

    EMU_READ_POINTER(p, ea, 8);
    target = EMU_GUEST(uint64_t, p);
    if (HV_UNLIKELY(!emu_hits(sp - 8, cpu->stack_page, 8) || !emu_is_canonical(target)))
        return emu_op_slow(cpu, op);
    sp -= 8;
    EMU_GUEST(uint64_t, sp + cpu->stack_addend) = back;
    cpu->regs[HV_RSP] = sp;
    emu_op_note_call(cpu, op, sp, back);
    return emu_op_indirect(cpu, op, target, emu_any_y(), sp);
}

EMU_HANDLER h_call_mem(EMU_PARAMS)
{
    return call_mem(EMU_PASS, EMU_EA_BASE);
}

EMU_HANDLER h_call_mem_index(EMU_PARAMS)
{
    return call_mem(EMU_PASS, EMU_EA_INDEX);
}

EMU_HANDLER h_ret(EMU_PARAMS)
{
    TOP(target);

    if (HV_UNLIKELY(!emu_is_canonical(target)))
        return emu_op_slow(cpu, op);
    sp += 8;
    cpu->regs[HV_RSP] = sp;
    return emu_op_return(cpu, op, target, emu_any_y(), sp);
}

/* What it drops lies between sp and the address's own place: the guess isn't found. */
EMU_HANDLER h_ret_imm(EMU_PARAMS)
{
    TOP(target);

    if (HV_UNLIKELY(!emu_is_canonical(target)))
        return emu_op_slow(cpu, op);
    sp += 8 + (uint64_t)(uint32_t)op->imm;
    cpu->regs[HV_RSP] = sp;
    return emu_op_indirect(cpu, op, target, emu_any_y(), sp);
}

EMU_HANDLER h_jmp_rel(EMU_PARAMS)
{
    return emu_op_branch(EMU_PASS);
}

EMU_HANDLER h_jmp_reg(EMU_PARAMS)
{
    uint64_t target = EMU_REG_GET(uint64_t, cpu, op->src);

    if (HV_UNLIKELY(!emu_is_canonical(target)))
        return emu_op_slow(cpu, op);
    return emu_op_indirect(cpu, op, target, emu_any_y(), sp);
}

EMU_INLINE const struct emu_op *jmp_mem(EMU_PARAMS, enum emu_ea_form ea)
{
    uint64_t target;

    EMU_READ_POINTER(p, ea, 8);
    target = EMU_GUEST(uint64_t, p);
    if (HV_UNLIKELY(!emu_is_canonical(target)))
        return emu_op_slow(cpu, op);
    return emu_op_indirect(cpu, op, target, emu_any_y(), sp);
}

EMU_HANDLER h_jmp_mem(EMU_PARAMS)
{
    return jmp_mem(EMU_PASS, EMU_EA_BASE);
}

EMU_HANDLER h_jmp_mem_index(EMU_PARAMS)
{
    return jmp_mem(EMU_PASS, EMU_EA_INDEX);
}

static bool pick_indirect(const struct emu_pick *pick, struct emu_op *op, emu_handler *by_reg,
                          emu_handler *by_mem, emu_handler *by_mem_index)
{
    const struct emu_operand *src = &pick->insn->op[0];
    enum emu_ea_form ea;

    if (src->size != 8)
        return false;
    if (src->kind == EMU_OPD_GPR) {
        op->src = emu_operand_offset(src);
        op->fn = by_reg;
        return true;
    }
    if (src->kind != EMU_OPD_MEM)
        return false;
    ea = emu_pick_ea(pick, op);
    op->fn = ea == EMU_EA_INDEX ? by_mem_index : by_mem;
    return ea != EMU_EA_GENERAL;
}

bool emu_pick_call(const struct emu_pick *pick, struct emu_op *op)
{
    if (pick->insn->stack_size != 8)
        return false;
    op->imm = (int32_t)(pick->offset + pick->insn->length);
    op->fn = h_call_rel;
    if (is_relative(pick))
        return pick_target(pick, op);
    return pick_indirect(pick, op, h_call_reg, h_call_mem, h_call_mem_index);
}

bool emu_pick_jmp(const struct emu_pick *pick, struct emu_op *op)
{
    op->fn = h_jmp_rel;
    if (is_relative(pick))
        return pick_target(pick, op);
    return pick_indirect(pick, op, h_jmp_reg, h_jmp_mem, h_jmp_mem_index);
}

bool emu_pick_ret(const struct emu_pick *pick, struct emu_op *op)
{
    if (pick->insn->stack_size != 8)
        return false;
    op->imm = (int32_t)(pick->insn->imm & 0xffff);
    op->fn = pick->insn->n_operands ? h_ret_imm : h_ret;
    return true;
}

/* ---- jcc on stored flags; what follows is the way on ---- */

#define JCC(cc)                                                                                    \
    EMU_HANDLER h_jcc_##cc(EMU_PARAMS)                                                             \
    {                                                                                              \
        if (emu_condition(emu_flags_get(cpu), cc))                                                 \
            return emu_op_branch(EMU_PASS);                                                        \
        EMU_GO_LIKELY(cpu, op + 1, EMU_NEXT(h_jcc_##cc));                                          \
    }
#define CONDITIONS(X)                                                                              \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define JCC_ENTRY(cc) [cc] = h_jcc_##cc,

CONDITIONS(JCC)
static emu_handler *const jcc_handlers[16] = { CONDITIONS(JCC_ENTRY) };

bool emu_pick_jcc(const struct emu_pick *pick, struct emu_op *op)
{
    op->fn = jcc_handlers[pick->insn->opcode & 15];
    return is_relative(pick) && pick_target(pick, op);
}
