/* SPDX-License-Identifier: Apache-2.0 */
/* Far returns and interrupt returns, to the same ring and outward, in every mode. */
#include "hvcore/emu/exec/system/system_priv.h"

void emu_drop_inner_segments(struct emu_cpu *cpu)
{
    static const uint8_t segs[] = { HV_ES, HV_DS, HV_FS, HV_GS };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(segs); i++) {
        struct hv_segment_register *s = &cpu->segment[segs[i]];
        bool is_conforming = (s->attributes & (HV_SEG_S | TYPE_CODE | TYPE_CONFORMING)) ==
                             (HV_SEG_S | TYPE_CODE | TYPE_CONFORMING);
        bool is_usable = s->attributes & HV_SEG_P;

        if (is_usable && !is_conforming && (s->attributes >> HV_SEG_DPL_SHIFT & 3) < cpu->cpl) {
            *s = (struct hv_segment_register){ 0 };
            emu_set_segment_base(cpu, segs[i], 0);
        }
        /* A null selector counts as one of ring 0; FS and GS keep the base that was set apart. */
        if (!is_usable && cpu->cpl > 0)
            s->selector = 0;
    }
}

/* The code segment a return leads to: any ring from the current one outward. */
static bool read_return_code(struct emu_cpu *cpu, uint16_t selector, struct emu_descriptor *ret)
{
    uint16_t code = selector & SEL_INDEX_TI;
    uint8_t rpl = selector & 3;

    if (emu_is_null(selector))
        return emu_fail(cpu, X86_GP, 0);
    if (!emu_descriptor_read(cpu, selector, X86_GP, ret))
        return false;
    if (!desc_is_code(ret) || rpl < cpu->cpl || emu_is_code_size_bad(cpu, ret) ||
        (desc_is_conforming(ret) ? desc_dpl(ret) > rpl : desc_dpl(ret) != rpl))
        return emu_fail(cpu, X86_GP, code);
    return desc_is_present(ret) || emu_fail(cpu, X86_NP, code);
}

/* The stack segment popped with it; cpl is the ring returned to. */
static bool read_return_ss(struct emu_cpu *cpu, uint16_t selector, uint8_t cpl, bool is_to_64bit,
                           struct hv_segment_register *ret)
{
    uint16_t code = selector & SEL_INDEX_TI;
    struct emu_descriptor d;

    if (emu_is_null(selector)) {
        if (!is_to_64bit || cpl == 3 || (selector & 3) != cpl)
            return emu_fail(cpu, X86_GP, code);
        *ret = emu_null_ss(cpl);
        return true;
    }
    if (!emu_descriptor_read(cpu, selector, X86_GP, &d))
        return false;
    if ((selector & 3) != cpl || desc_dpl(&d) != cpl || !desc_is_writable_data(&d))
        return emu_fail(cpu, X86_GP, code);
    if (!desc_is_present(&d))
        return emu_fail(cpu, X86_SS, code);
    if (!emu_descriptor_mark(cpu, &d, TYPE_ACCESSED))
        return false;
    *ret = emu_segment_of(&d, selector);
    return true;
}

/* What a return takes from the stack. */
struct return_frame {
    uint64_t rip, rsp, rflags;
    uint16_t cs, ss;
    bool has_stack; /* rsp and ss were popped */
};

/* Go to frame's code: checks all, then changes everything. released: bytes that vanish from the
 * stack returned to (ret imm16). */
static bool return_to(struct emu_cpu *cpu, const struct return_frame *frame,
                      struct emu_descriptor *code, uint64_t sp_if_same, unsigned released)
{
    uint8_t cpl = frame->cs & 3;
    bool is_outer = cpl != cpu->cpl;
    bool is_to_64bit = emu_is_long(cpu) && desc_is_long(code);
    struct hv_segment_register ss = cpu->segment[HV_SS];
    struct emu_stack old, new;

    emu_stack_current(cpu, &old);
    if (frame->has_stack && !read_return_ss(cpu, frame->ss, cpl, is_to_64bit, &ss))
        return false;
    if (!emu_check_target(cpu, code, frame->rip) || !emu_descriptor_mark(cpu, code, TYPE_ACCESSED))
        return false;

    if (frame->has_stack) {
        emu_stack_of(&ss, frame->rsp + released, cpl, is_to_64bit, &new);
        cpu->segment[HV_SS] = ss;
        emu_set_sp(cpu, new.sp, new.mask);
    } else {
        emu_set_sp(cpu, sp_if_same + released, old.mask);
    }
    emu_set_code(cpu, code, cpl, frame->rip);
    if (is_outer)
        emu_drop_inner_segments(cpu);
    return true;
}

/* ---- ret far ---- */

static enum emu_result ret_real(struct emu_cpu *cpu, const struct emu_stack *stack,
                                const uint64_t *popped, unsigned bytes)
{
    uint32_t limit = emu_is_v86(cpu) ? UINT16_MAX : cpu->segment[HV_CS].limit;

    if (popped[0] > limit)
        return emu_gp0(cpu);
    emu_set_sp(cpu, stack->sp + bytes, stack->mask);
    emu_set_real_cs(cpu, (uint16_t)popped[1]);
    cpu->rip = popped[0];
    emu_mode_changed(cpu);
    return EMU_BRANCH;
}

enum emu_result emu_exec_ret_far(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = insn->op_size, released = 0;
    struct emu_descriptor code;
    struct return_frame frame;
    struct emu_stack stack;
    uint64_t popped[2];

    if (insn->n_operands > 0 && insn->op[0].kind == EMU_OPD_IMM)
        released = (uint16_t)insn->imm;
    emu_stack_current(cpu, &stack);
    if (!emu_stack_peek(cpu, &stack, 0, popped, 2, size))
        return EMU_FAULT;
    if (!emu_is_protected(cpu))
        return ret_real(cpu, &stack, popped, 2 * size + released);

    frame = (struct return_frame){ .rip = popped[0], .cs = (uint16_t)popped[1] };
    if (!read_return_code(cpu, frame.cs, &code))
        return EMU_FAULT;
    if ((frame.cs & 3) != cpu->cpl) {
        if (!emu_stack_peek(cpu, &stack, 2 * size + released, popped, 2, size))
            return EMU_FAULT;
        frame.rsp = popped[0];
        frame.ss = (uint16_t)popped[1];
        frame.has_stack = true;
    }
    if (!return_to(cpu, &frame, &code, stack.sp + 2 * size, released))
        return EMU_FAULT;
    return EMU_BRANCH;
}

/* ---- iret ---- */

enum {
    /* What any iret and popf may change. */
    FLAGS_USER = EMU_ARITH_FLAGS | EMU_DF | X86_TF | X86_NT,
    FLAGS_USER32 = X86_AC_FLAG | X86_ID | X86_RF,
};

static unsigned iret_size(const struct emu_insn *insn)
{
    return insn->mnemonic == EMU_MN_IRETQ ? 8 : insn->mnemonic == EMU_MN_IRETD ? 4 : 2;
}

/* The flags that an iret of this size at this privilege loads. */
static uint64_t iret_mask(const struct emu_cpu *cpu, unsigned size)
{
    uint64_t mask = FLAGS_USER | (size > 2 ? FLAGS_USER32 : 0);

    if (cpu->cpl == 0)
        mask |= X86_IOPL | X86_IF | (size > 2 ? X86_VIF | X86_VIP : 0);
    else if (cpu->cpl <= emu_iopl(cpu))
        mask |= X86_IF;
    return mask;
}

/* The end of each iret. RF is kept only where there are instruction breakpoints for it to mask. */
static enum emu_result iret_done(struct emu_cpu *cpu)
{
    if (!(cpu->debug & EMU_DEBUG_CODE))
        cpu->sys_flags &= ~(uint64_t)X86_RF;
    cpu->nmi_blocked = 0;
    cpu->shadow = 0;
    emu_mode_changed(cpu);
    emu_look_at_interrupts(cpu);
    return EMU_BRANCH;
}

static enum emu_result iret_real(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = iret_size(insn);
    uint64_t mask = FLAGS_USER | (size > 2 ? FLAGS_USER32 : 0) | X86_IF;
    struct emu_stack stack;
    uint64_t popped[3];

    /* In virtual-8086 mode IOPL stays; without 3 of it the monitor does the job. */
    if (emu_is_v86(cpu) && emu_iopl(cpu) < 3)
        return emu_gp0(cpu);
    if (!emu_is_v86(cpu))
        mask |= X86_IOPL;
    emu_stack_current(cpu, &stack);
    if (!emu_stack_peek(cpu, &stack, 0, popped, 3, size) ||
        ret_real(cpu, &stack, popped, 3 * size) == EMU_FAULT)
        return EMU_FAULT;
    emu_set_rflags(cpu, (emu_rflags(cpu) & ~mask) | (popped[2] & mask));
    return iret_done(cpu);
}

/* From ring 0 back into virtual-8086 mode. */
static enum emu_result iret_to_v86(struct emu_cpu *cpu, const struct emu_stack *stack,
                                   const uint64_t *popped)
{
    static const uint8_t segs[] = { HV_ES, HV_DS, HV_FS, HV_GS };
    uint64_t outer[6]; /* esp ss es ds fs gs */

    if (!emu_stack_peek(cpu, stack, 12, outer, 6, 4))
        return EMU_FAULT;
    if (popped[0] > UINT16_MAX)
        return emu_gp0(cpu);
    emu_set_rflags(cpu, popped[2] | X86_VM);
    cpu->cpl = 3;
    emu_set_real_cs(cpu, (uint16_t)popped[1]);
    emu_set_real_segment(cpu, HV_SS, (uint16_t)outer[1]);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(segs); i++)
        emu_set_real_segment(cpu, segs[i], (uint16_t)outer[2 + i]);
    cpu->regs[HV_RSP] = outer[0];
    cpu->rip = popped[0];
    return iret_done(cpu);
}

/* NT: back to the task that called this one (legacy modes only). */
static enum emu_result iret_task(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_task_why why = { .cause = EMU_TASK_RETURN, .resume_rip = emu_next_rip(cpu, insn) };
    uint16_t link;

    if (!emu_sys_read(cpu, (uint32_t)cpu->tr.base, &link, 2) || !emu_task_gate(cpu, link, &why))
        return EMU_FAULT;
    return iret_done(cpu);
}

enum emu_result emu_exec_iret(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    unsigned size = iret_size(insn), n = cpu->code_size == EMU_CODE64 ? 5 : 3;
    struct emu_descriptor code;
    struct return_frame frame;
    struct emu_stack stack;
    uint64_t popped[5], mask;

    if (size == 8 && emu_ring_return(cpu))
        return EMU_BRANCH;
    if (!emu_is_protected(cpu))
        return iret_real(cpu, insn);
    if (cpu->sys_flags & X86_NT)
        return emu_is_long(cpu) ? emu_gp0(cpu) : iret_task(cpu, insn);

    emu_stack_current(cpu, &stack);
    if (!emu_stack_peek(cpu, &stack, 0, popped, n, size))
        return EMU_FAULT;
    if (size == 4 && !emu_is_long(cpu) && cpu->cpl == 0 && popped[2] & X86_VM)
        return iret_to_v86(cpu, &stack, popped);
    frame = (struct return_frame){
        .rip = popped[0], .cs = (uint16_t)popped[1], .rflags = popped[2], .has_stack = n == 5
    };
    if (!read_return_code(cpu, frame.cs, &code))
        return EMU_FAULT;
    if (!frame.has_stack && (frame.cs & 3) != cpu->cpl) {
        if (!emu_stack_peek(cpu, &stack, 3 * size, popped + 3, 2, size))
            return EMU_FAULT;
        frame.has_stack = true;
    }
    if (frame.has_stack) {
        frame.rsp = popped[3];
        frame.ss = (uint16_t)popped[4];
    }
    mask = iret_mask(cpu, size);
    if (!return_to(cpu, &frame, &code, stack.sp + 3 * size, 0))
        return EMU_FAULT;
    emu_set_rflags(cpu, (emu_rflags(cpu) & ~mask) | (frame.rflags & mask));
    return iret_done(cpu);
}
