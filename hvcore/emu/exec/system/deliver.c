/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delivery of exceptions and interrupts through the IDT, in every mode.
 *
 * An attempt either commits whole or leaves the processor as it was (descriptors' accessed bits
 * apart) with the new fault in cpu->fault.
 * spec: AMD64 vol. 2 chapter 8; Intel SDM vol. 3 chapter 6 (table 6-5 for double faults)
 */
#include "hvcore/emu/exec/system/system_priv.h"

enum { CODE_IDT = 2, CODE_EXT = 1 };

/* ---- What all modes share ---- */

/* The saved image of RFLAGS. RF is 0 but between an iret that set it and the next instruction. */
static uint64_t flags_image(const struct emu_cpu *cpu, const struct emu_event *event)
{
    return emu_rflags(cpu) | (event->is_fault ? X86_RF : 0);
}

static void enter_handler(struct emu_cpu *cpu, bool is_interrupt_gate)
{
    cpu->sys_flags &= ~(uint64_t)(X86_TF | X86_NT | X86_RF | X86_VM);
    if (is_interrupt_gate)
        cpu->sys_flags &= ~(uint64_t)X86_IF;
    cpu->shadow = 0;
}

/* ---- Real mode: the interrupt vector table ---- */

static bool deliver_real(struct emu_cpu *cpu, const struct emu_event *event, uint64_t return_rip)
{
    uint64_t frame[] = { emu_rflags(cpu) & 0xffff, cpu->segment[HV_CS].selector,
                         return_rip & 0xffff };
    struct emu_stack stack;
    uint16_t entry[2];

    if (event->vector * 4u + 3 > cpu->idtr.limit)
        return emu_fail(cpu, X86_GP, event->vector * 8u + CODE_IDT);
    if (!emu_sys_read(cpu, cpu->idtr.base + event->vector * 4u, entry, 4))
        return false;
    emu_stack_current(cpu, &stack);
    if (!emu_stack_push(cpu, &stack, frame, 3, 2))
        return false;
    emu_stack_commit(cpu, &stack, false);
    enter_handler(cpu, true);
    cpu->sys_flags &= ~(uint64_t)X86_AC_FLAG;
    emu_set_real_cs(cpu, entry[1]);
    cpu->rip = entry[0];
    emu_mode_changed(cpu);
    return true;
}

/* ---- Gates ---- */

/* Which gate types may stand in the IDT, as bits. */
enum {
    GATES_LONG = 1 << SYS_INT_GATE | 1 << SYS_TRAP_GATE,
    GATES_LEGACY = GATES_LONG | 1 << SYS_INT_GATE16 | 1 << SYS_TRAP_GATE16 | 1 << SYS_TASK_GATE,
};

static bool read_gate(struct emu_cpu *cpu, const struct emu_event *event,
                      struct emu_descriptor *ret)
{
    unsigned bytes = emu_is_long(cpu) ? 16 : 8;
    unsigned types = emu_is_long(cpu) ? GATES_LONG : GATES_LEGACY;
    uint32_t code = event->vector * 8u + CODE_IDT;
    uint64_t halves[2] = { 0 };

    if ((event->vector + 1u) * bytes - 1 > cpu->idtr.limit)
        return emu_fail(cpu, X86_GP, code);
    if (!emu_sys_read(cpu, cpu->idtr.base + event->vector * bytes, halves, bytes))
        return false;
    *ret = (struct emu_descriptor){ .low = halves[0], .high = halves[1] };
    if (!desc_is_system(ret) || !(types >> desc_type(ret) & 1))
        return emu_fail(cpu, X86_GP, code);
    if (event->is_software && desc_dpl(ret) < cpu->cpl)
        return emu_fail(cpu, X86_GP, code);
    return desc_is_present(ret) || emu_fail(cpu, X86_NP, code);
}

static bool read_handler(struct emu_cpu *cpu, const struct emu_descriptor *gate,
                         struct emu_descriptor *ret)
{
    uint16_t selector = gate_selector(gate), code = selector & SEL_INDEX_TI;

    if (emu_is_null(selector))
        return emu_fail(cpu, X86_GP, 0);
    if (!emu_descriptor_read(cpu, selector, X86_GP, ret))
        return false;
    if (!desc_is_code(ret) || desc_dpl(ret) > cpu->cpl)
        return emu_fail(cpu, X86_GP, code);
    if (emu_is_long(cpu) && (!desc_is_long(ret) || desc_is_big(ret)))
        return emu_fail(cpu, X86_GP, code);
    if (emu_is_v86(cpu) && (desc_is_conforming(ret) || desc_dpl(ret) != 0))
        return emu_fail(cpu, X86_GP, code);
    return desc_is_present(ret) || emu_fail(cpu, X86_NP, code);
}

static bool deliver_long(struct emu_cpu *cpu, const struct emu_event *event,
                         const struct emu_descriptor *gate, struct emu_descriptor *code,
                         uint64_t return_rip)
{
    uint8_t cpl = desc_is_conforming(code) ? cpu->cpl : desc_dpl(code);
    struct hv_segment_register ss = cpu->segment[HV_SS];
    unsigned ist = gate->low >> 32 & 7;
    uint64_t rsp = cpu->regs[HV_RSP], frame[6];
    struct emu_stack stack;
    uint16_t no_ss;

    if (cpl != cpu->cpl)
        ss = emu_null_ss(cpl);
    if (ist != 0) {
        if (!emu_tss_ist(cpu, ist, &rsp))
            return false;
    } else if (cpl != cpu->cpl && !emu_tss_stack(cpu, cpl, &no_ss, &rsp)) {
        return false;
    }
    frame[0] = cpu->segment[HV_SS].selector;
    frame[1] = cpu->regs[HV_RSP];
    frame[2] = flags_image(cpu, event);
    frame[3] = cpu->segment[HV_CS].selector;
    frame[4] = return_rip;
    frame[5] = event->error;
    emu_stack_of(&ss, rsp & ~UINT64_C(15), cpl, true, &stack);
    if (!emu_check_target(cpu, code, gate_offset(gate)) ||
        !emu_stack_push(cpu, &stack, frame, event->has_error ? 6 : 5, 8) ||
        !emu_descriptor_mark(cpu, code, TYPE_ACCESSED))
        return false;
    emu_stack_commit(cpu, &stack, true);
    enter_handler(cpu, desc_type(gate) == SYS_INT_GATE);
    emu_set_code(cpu, code, cpl, gate_offset(gate));
    return true;
}

/* The values to push in a legacy mode; returns how many. */
static unsigned legacy_frame(const struct emu_cpu *cpu, const struct emu_event *event,
                             bool is_inner, uint64_t return_rip, uint64_t *ret)
{
    unsigned n = 0;

    if (emu_is_v86(cpu)) {
        ret[n++] = cpu->segment[HV_GS].selector;
        ret[n++] = cpu->segment[HV_FS].selector;
        ret[n++] = cpu->segment[HV_DS].selector;
        ret[n++] = cpu->segment[HV_ES].selector;
    }
    if (is_inner) {
        ret[n++] = cpu->segment[HV_SS].selector;
        ret[n++] = cpu->regs[HV_RSP];
    }
    ret[n++] = flags_image(cpu, event);
    ret[n++] = cpu->segment[HV_CS].selector;
    ret[n++] = return_rip;
    if (event->has_error)
        ret[n++] = event->error;
    return n;
}

static void clear_v86_segments(struct emu_cpu *cpu)
{
    static const uint8_t segs[] = { HV_ES, HV_DS, HV_FS, HV_GS };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(segs); i++) {
        cpu->segment[segs[i]] = (struct hv_segment_register){ 0 };
        emu_set_segment_base(cpu, segs[i], 0);
    }
}

static bool deliver_legacy(struct emu_cpu *cpu, const struct emu_event *event,
                           const struct emu_descriptor *gate, struct emu_descriptor *code,
                           uint64_t return_rip)
{
    uint8_t cpl = desc_is_conforming(code) ? cpu->cpl : desc_dpl(code);
    bool is_32bit = desc_type(gate) & 8, was_v86 = emu_is_v86(cpu);
    uint64_t offset = is_32bit ? gate_offset(gate) : gate_offset(gate) & UINT16_MAX;
    uint64_t frame[16];
    struct emu_stack stack;
    unsigned n;

    if (cpl == cpu->cpl)
        emu_stack_current(cpu, &stack);
    else if (!emu_inner_stack(cpu, cpl, &stack))
        return false;
    n = legacy_frame(cpu, event, cpl != cpu->cpl, return_rip, frame);
    if (!emu_check_target(cpu, code, offset) ||
        !emu_stack_push(cpu, &stack, frame, n, is_32bit ? 4 : 2) ||
        !emu_descriptor_mark(cpu, code, TYPE_ACCESSED))
        return false;
    emu_stack_commit(cpu, &stack, true);
    enter_handler(cpu, (desc_type(gate) & 7) == SYS_INT_GATE16);
    if (was_v86)
        clear_v86_segments(cpu);
    emu_set_code(cpu, code, cpl, offset);
    return true;
}

static bool deliver_task(struct emu_cpu *cpu, const struct emu_event *event,
                         const struct emu_descriptor *gate, uint64_t return_rip)
{
    struct emu_task_why why = { .cause = EMU_TASK_INTERRUPT,
                                .has_error = event->has_error,
                                .error = event->error,
                                .resume_rip = return_rip };

    return emu_task_gate(cpu, gate_selector(gate), &why);
}

static bool deliver_protected(struct emu_cpu *cpu, const struct emu_event *event,
                              uint64_t return_rip)
{
    struct emu_descriptor gate, code;

    if (!read_gate(cpu, event, &gate))
        return false;
    if (desc_type(&gate) == SYS_TASK_GATE)
        return deliver_task(cpu, event, &gate, return_rip);
    if (!read_handler(cpu, &gate, &code))
        return false;
    return emu_is_long(cpu) ? deliver_long(cpu, event, &gate, &code, return_rip)
                            : deliver_legacy(cpu, event, &gate, &code, return_rip);
}

static bool has_selector_code(const struct emu_fault *fault)
{
    return fault->has_error_code && (fault->vector == X86_TS || fault->vector == X86_NP ||
                                     fault->vector == X86_SS || fault->vector == X86_GP);
}

bool emu_deliver(struct emu_cpu *cpu, const struct emu_event *event, uint64_t return_rip)
{
    bool is_delivered = emu_ring_deliver(cpu, event, return_rip) ||
                        (cpu->cr0 & X86_CR0_PE ? deliver_protected(cpu, event, return_rip)
                                               : deliver_real(cpu, event, return_rip));

    if (!is_delivered && !event->is_software && has_selector_code(&cpu->fault))
        cpu->fault.error_code |= CODE_EXT;
    /* Debug traps that wait join one that is delivered. */
    if (is_delivered && event->vector == X86_DB) {
        cpu->dr6 |= cpu->debug_hits;
        cpu->debug_hits = 0;
    }
    return is_delivered;
}

/* ---- One exception after another ---- */

static bool is_contributory(uint8_t vector)
{
    return vector == X86_DE || (vector >= X86_TS && vector <= X86_GP);
}

/* Does `second`, met while delivering `first`, make a double fault? */
static bool is_double_fault(uint8_t first, uint8_t second)
{
    if (first == X86_PF)
        return second == X86_PF || is_contributory(second);
    return is_contributory(first) && is_contributory(second);
}

/* All are faults; an instruction breakpoint's image has RF only when its handler puts it there. */
static struct emu_event event_of_fault(const struct emu_cpu *cpu, const struct emu_fault *fault)
{
    return (struct emu_event){
        .vector = fault->vector,
        .has_error = fault->has_error_code,
        .error = fault->error_code,
        .is_fault = fault->vector != X86_DB || !(cpu->dr6 & 0xf),
    };
}

enum emu_result emu_deliver_fault(struct emu_cpu *cpu)
{
    for (;;) {
        struct emu_fault first = cpu->fault;
        struct emu_event event = event_of_fault(cpu, &first);

        if (first.vector == X86_PF)
            cpu->cr2 = first.address;
        if (first.vector == X86_DB)
            cpu->dr7 &= ~(uint64_t)0x2000; /* GD, so that the handler can use the registers */
        if (emu_deliver(cpu, &event, cpu->rip))
            return EMU_BRANCH;
        if (first.vector == X86_DF)
            return EMU_SHUTDOWN;
        if (is_double_fault(first.vector, cpu->fault.vector)) {
            if (cpu->fault.vector == X86_PF)
                cpu->cr2 = cpu->fault.address;
            (void)emu_raise_code(cpu, X86_DF, 0);
        }
    }
}

enum emu_result emu_deliver_interrupt(struct emu_cpu *cpu, uint8_t vector)
{
    struct emu_event event = { .vector = vector };

    if (vector == X86_NMI)
        cpu->nmi_blocked = 1;
    if (emu_deliver(cpu, &event, cpu->rip))
        return EMU_BRANCH;
    return emu_deliver_fault(cpu);
}

/* ---- int n, int3, into, int1 ---- */

static enum emu_result software(struct emu_cpu *cpu, const struct emu_insn *insn, uint8_t vector)
{
    struct emu_event event = { .vector = vector, .is_software = true };

    cpu->no_step = 1;
    return emu_deliver(cpu, &event, emu_next_rip(cpu, insn)) ? EMU_BRANCH : EMU_FAULT;
}

enum emu_result emu_exec_int_n(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (emu_is_v86(cpu) && emu_iopl(cpu) < 3)
        return emu_gp0(cpu);
    return software(cpu, insn, (uint8_t)insn->imm);
}

enum emu_result emu_exec_int3(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    return software(cpu, insn, X86_BP);
}

enum emu_result emu_exec_into(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    if (cpu->code_size == EMU_CODE64)
        return emu_ud(cpu);
    return emu_arith_flags(cpu) & EMU_OF ? software(cpu, insn, X86_OF) : EMU_NEXT;
}

/* ICEBP: a #DB trap like a hardware one, whatever the gate's DPL. */
enum emu_result emu_exec_int1(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct emu_event event = { .vector = X86_DB };

    cpu->dr7 &= ~(uint64_t)0x2000;
    cpu->no_step = 1;
    return emu_deliver(cpu, &event, emu_next_rip(cpu, insn)) ? EMU_BRANCH : EMU_FAULT;
}
