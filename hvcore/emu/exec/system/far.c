/* SPDX-License-Identifier: Apache-2.0 */
/* Far jumps and calls: to code segments, through call gates, to tasks. */
#include "hvcore/emu/exec/system/system_priv.h"

struct far_target {
    uint64_t offset;
    uint16_t selector;
};

/* ptr16:16, ptr16:32 or a far pointer in memory. */
static bool read_target(struct emu_cpu *cpu, const struct emu_insn *insn, struct far_target *ret)
{
    unsigned size = insn->op_size;
    uint8_t bytes[10];
    uint64_t linear;

    *ret = (struct far_target){ .offset = insn->imm, .selector = insn->imm2 };
    if (insn->op[0].kind == EMU_OPD_MEM) {
        ret->offset = 0;
        if (!emu_operand_linear(cpu, insn, size + 2, false, &linear) ||
            !emu_mem_read(cpu, linear, bytes, size + 2, insn->seg == HV_SS))
            return false;
        memcpy(&ret->offset, bytes, size);
        memcpy(&ret->selector, bytes + size, 2);
    }
    if (size == 2)
        ret->offset &= UINT16_MAX;
    return true;
}

static enum emu_result far_real(struct emu_cpu *cpu, const struct emu_insn *insn,
                                const struct far_target *target, bool is_call)
{
    uint32_t limit = emu_is_v86(cpu) ? UINT16_MAX : cpu->segment[HV_CS].limit;

    if (target->offset > limit)
        return emu_gp0(cpu);
    if (is_call) {
        uint64_t frame[] = { cpu->segment[HV_CS].selector, emu_next_rip(cpu, insn) };
        struct emu_stack stack;

        emu_stack_current(cpu, &stack);
        if (!emu_stack_push(cpu, &stack, frame, 2, insn->op_size))
            return EMU_FAULT;
        emu_stack_commit(cpu, &stack, false);
    }
    emu_set_real_cs(cpu, target->selector);
    cpu->rip = target->offset;
    emu_mode_changed(cpu);
    return EMU_BRANCH;
}

/* May control pass directly to this code segment at the present CPL? */
static bool check_direct(struct emu_cpu *cpu, const struct emu_descriptor *d, uint16_t selector)
{
    uint16_t code = selector & SEL_INDEX_TI;
    uint8_t rpl = selector & 3, dpl = desc_dpl(d);

    if (emu_is_code_size_bad(cpu, d))
        return emu_fail(cpu, X86_GP, code);
    if (desc_is_conforming(d) ? dpl > cpu->cpl : rpl > cpu->cpl || dpl != cpu->cpl)
        return emu_fail(cpu, X86_GP, code);
    return desc_is_present(d) || emu_fail(cpu, X86_NP, code);
}

/* Push the return address on the current stack; sizes by instruction or gate. */
static bool push_return(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size)
{
    uint64_t frame[] = { cpu->segment[HV_CS].selector, emu_next_rip(cpu, insn) };
    struct emu_stack stack;

    emu_stack_current(cpu, &stack);
    if (!emu_stack_push(cpu, &stack, frame, 2, size))
        return false;
    emu_stack_commit(cpu, &stack, false);
    return true;
}

static enum emu_result far_direct(struct emu_cpu *cpu, const struct emu_insn *insn,
                                  const struct far_target *target, struct emu_descriptor *d,
                                  bool is_call)
{
    if (!check_direct(cpu, d, target->selector) || !emu_check_target(cpu, d, target->offset) ||
        !emu_descriptor_mark(cpu, d, TYPE_ACCESSED))
        return EMU_FAULT;
    if (is_call && !push_return(cpu, insn, insn->op_size))
        return EMU_FAULT;
    emu_set_code(cpu, d, cpu->cpl, target->offset);
    return EMU_BRANCH;
}

/* The code segment that a call gate leads to. */
static bool read_gate_target(struct emu_cpu *cpu, const struct emu_descriptor *gate, bool is_call,
                             struct emu_descriptor *ret)
{
    uint16_t selector = gate_selector(gate), code = selector & SEL_INDEX_TI;

    if (emu_is_null(selector))
        return emu_fail(cpu, X86_GP, 0);
    if (!emu_descriptor_read(cpu, selector, X86_GP, ret))
        return false;
    if (!desc_is_code(ret) || desc_dpl(ret) > cpu->cpl ||
        (!is_call && !desc_is_conforming(ret) && desc_dpl(ret) != cpu->cpl))
        return emu_fail(cpu, X86_GP, code);
    if (emu_is_long(cpu) && (!desc_is_long(ret) || desc_is_big(ret)))
        return emu_fail(cpu, X86_GP, code);
    return desc_is_present(ret) || emu_fail(cpu, X86_NP, code);
}

/* A call to an inner ring: new stack, parameters copied (legacy), old stack and return address. */
static enum emu_result call_inner(struct emu_cpu *cpu, const struct emu_insn *insn,
                                  const struct emu_descriptor *gate, struct emu_descriptor *code,
                                  unsigned size)
{
    unsigned n_params = emu_is_long(cpu) ? 0 : (unsigned)(gate->low >> 32 & 0x1f), n = 0;
    uint64_t frame[2], params[32], tail[2];
    uint8_t cpl = desc_dpl(code);
    struct emu_stack old, new;

    emu_stack_current(cpu, &old);
    if (!emu_inner_stack(cpu, cpl, &new) || !emu_stack_peek(cpu, &old, 0, params, n_params, size))
        return EMU_FAULT;
    frame[0] = cpu->segment[HV_SS].selector;
    frame[1] = cpu->regs[HV_RSP];
    tail[0] = cpu->segment[HV_CS].selector;
    tail[1] = emu_next_rip(cpu, insn);
    if (!emu_stack_push(cpu, &new, frame, 2, size))
        return EMU_FAULT;
    for (n = n_params; n > 0; n--)
        if (!emu_stack_push(cpu, &new, &params[n - 1], 1, size))
            return EMU_FAULT;
    if (!emu_stack_push(cpu, &new, tail, 2, size) || !emu_descriptor_mark(cpu, code, TYPE_ACCESSED))
        return EMU_FAULT;
    emu_stack_commit(cpu, &new, true);
    emu_set_code(cpu, code, cpl, gate_offset(gate));
    return EMU_BRANCH;
}

static enum emu_result far_gate(struct emu_cpu *cpu, const struct emu_insn *insn,
                                struct emu_descriptor *gate, bool is_call)
{
    unsigned size = emu_is_long(cpu) ? 8 : desc_type(gate) == SYS_CALL_GATE ? 4 : 2;
    struct emu_descriptor code;

    if (emu_is_long(cpu) && gate->high >> 40 & 0x1f)
        return emu_raise_code(cpu, X86_GP, gate->selector & SEL_INDEX_TI);
    if (size == 2)
        gate->low &= UINT64_C(0x0000ffffffffffff);
    if (!read_gate_target(cpu, gate, is_call, &code) ||
        !emu_check_target(cpu, &code, gate_offset(gate)))
        return EMU_FAULT;
    if (is_call && !desc_is_conforming(&code) && desc_dpl(&code) < cpu->cpl)
        return call_inner(cpu, insn, gate, &code, size);
    if (!emu_descriptor_mark(cpu, &code, TYPE_ACCESSED))
        return EMU_FAULT;
    if (is_call && !push_return(cpu, insn, size))
        return EMU_FAULT;
    emu_set_code(cpu, &code, cpu->cpl, gate_offset(gate));
    return EMU_BRANCH;
}

static enum emu_result far_task(struct emu_cpu *cpu, const struct emu_insn *insn,
                                struct emu_descriptor *d, bool is_call)
{
    struct emu_task_why why = { .cause = is_call ? EMU_TASK_CALL : EMU_TASK_JUMP,
                                .resume_rip = emu_next_rip(cpu, insn) };
    bool is_done = desc_type(d) == SYS_TASK_GATE ? emu_task_gate(cpu, gate_selector(d), &why)
                                                 : emu_task_switch(cpu, d, &why);

    return is_done ? EMU_BRANCH : EMU_FAULT;
}

static enum emu_result far_system(struct emu_cpu *cpu, const struct emu_insn *insn,
                                  struct emu_descriptor *d, bool is_call)
{
    uint16_t code = d->selector & SEL_INDEX_TI;
    uint8_t rpl = d->selector & 3;
    unsigned type = desc_type(d);
    bool is_gate = type == SYS_CALL_GATE || (!emu_is_long(cpu) && type == SYS_CALL_GATE16);
    bool is_task =
        !emu_is_long(cpu) && (type == SYS_TASK_GATE || type == SYS_TSS || type == SYS_TSS16);

    if ((!is_gate && !is_task) || desc_dpl(d) < cpu->cpl || desc_dpl(d) < rpl)
        return emu_raise_code(cpu, X86_GP, code);
    if (!desc_is_present(d))
        return emu_raise_code(cpu, X86_NP, code);
    return is_gate ? far_gate(cpu, insn, d, is_call) : far_task(cpu, insn, d, is_call);
}

static enum emu_result far_transfer(struct emu_cpu *cpu, const struct emu_insn *insn, bool is_call)
{
    struct far_target target;
    struct emu_descriptor d;

    if (!read_target(cpu, insn, &target))
        return EMU_FAULT;
    if (!emu_is_protected(cpu))
        return far_real(cpu, insn, &target, is_call);
    if (emu_is_null(target.selector))
        return emu_gp0(cpu);
    if (!emu_descriptor_read(cpu, target.selector, X86_GP, &d))
        return EMU_FAULT;
    if (desc_is_code(&d))
        return far_direct(cpu, insn, &target, &d, is_call);
    if (!desc_is_system(&d))
        return emu_raise_code(cpu, X86_GP, target.selector & SEL_INDEX_TI);
    return far_system(cpu, insn, &d, is_call);
}

enum emu_result emu_exec_jmp_far(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return far_transfer(cpu, insn, false);
}

enum emu_result emu_exec_call_far(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return far_transfer(cpu, insn, true);
}
