/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hardware task switches, which exist in the legacy modes only.
 *
 * Up to the commit point a fault belongs to the outgoing task and nothing has changed; after it the
 * incoming task is current, and a bad segment of its TSS is its own #TS.
 * spec: AMD64 vol. 2 chapter 12; Intel SDM vol. 3 chapter "Task Management" (order of checks)
 */
#include "hvcore/emu/exec/system/system_priv.h"

enum {
    TSS16_BYTES = 0x2c,
    TSS32_BYTES = 0x68,
    TSS_GPRS = 8,
    TSS_SEGMENTS = 6, /* es cs ss ds fs gs, as in enum hv_segment */
};

/* What a TSS keeps, whatever its size. */
struct task_state {
    uint32_t cr3, eip, eflags;
    uint32_t gpr[TSS_GPRS];
    uint16_t selector[TSS_SEGMENTS];
    uint16_t ldt;
};

static uint32_t get(const uint8_t *image, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    memcpy(&value, image + offset, size);
    return value;
}

static void put(uint8_t *image, unsigned offset, unsigned size, uint32_t value)
{
    memcpy(image + offset, &value, size);
}

static void unpack(const uint8_t *image, bool is_32bit, struct task_state *ret)
{
    unsigned size = is_32bit ? 4 : 2, at = is_32bit ? 0x20 : 0x0e;
    unsigned n_segments = is_32bit ? TSS_SEGMENTS : 4;

    *ret = (struct task_state){ .cr3 = is_32bit ? get(image, 0x1c, 4) : 0 };
    ret->eip = get(image, at, size);
    ret->eflags = get(image, at + size, size);
    at += 2 * size;
    for (unsigned i = 0; i < TSS_GPRS; i++, at += size)
        ret->gpr[i] = get(image, at, size) | (is_32bit ? 0 : 0xffff0000);
    for (unsigned i = 0; i < n_segments; i++, at += size)
        ret->selector[i] = (uint16_t)get(image, at, 2);
    ret->ldt = (uint16_t)get(image, at, 2);
}

/* Put the part that a switch saves into the image: from eip to the last segment register. */
static void pack(const struct emu_cpu *cpu, uint8_t *image, bool is_32bit, uint32_t eip,
                 uint32_t eflags)
{
    unsigned size = is_32bit ? 4 : 2, at = is_32bit ? 0x20 : 0x0e;
    unsigned n_segments = is_32bit ? TSS_SEGMENTS : 4;

    put(image, at, size, eip);
    put(image, at + size, size, eflags);
    at += 2 * size;
    for (unsigned i = 0; i < TSS_GPRS; i++, at += size)
        put(image, at, size, (uint32_t)cpu->regs[i]);
    for (unsigned i = 0; i < n_segments; i++, at += size)
        put(image, at, 2, cpu->segment[i].selector);
}

static bool is_tss32(unsigned type)
{
    return type & 8;
}

/* ---- Before the commit ---- */

static bool check_tss(struct emu_cpu *cpu, const struct emu_descriptor *d,
                      enum emu_task_cause cause)
{
    bool wants_busy = cause == EMU_TASK_RETURN;
    unsigned type = desc_type(d);
    uint16_t code = d->selector & SEL_INDEX_TI;
    bool is_tss = desc_is_system(d) && (type & 5) == 1;

    if (!is_tss || ((type & TYPE_BUSY) != 0) != wants_busy)
        return emu_fail(cpu, wants_busy ? X86_TS : X86_GP, code);
    if (!desc_is_present(d))
        return emu_fail(cpu, X86_NP, code);
    if (desc_limit(d) < (is_tss32(type) ? TSS32_BYTES : TSS16_BYTES) - 1)
        return emu_fail(cpu, X86_TS, code);
    return true;
}

/* Busy bits of TSS descriptors: written where they stand. */
static bool set_busy(struct emu_cpu *cpu, uint16_t selector, bool is_busy)
{
    struct emu_descriptor d;
    uint8_t byte;

    if (!emu_descriptor_read(cpu, selector, X86_TS, &d))
        return false;
    byte = (uint8_t)(d.low >> 40);
    byte = is_busy ? byte | TYPE_BUSY : byte & ~TYPE_BUSY;
    return emu_sys_write(cpu, d.linear + 5, &byte, 1);
}

static bool save_outgoing(struct emu_cpu *cpu, enum emu_task_cause cause, uint64_t resume_rip)
{
    bool is_32bit = is_tss32(cpu->tr.attributes & HV_SEG_TYPE);
    unsigned bytes = is_32bit ? TSS32_BYTES : TSS16_BYTES;
    uint32_t base = (uint32_t)cpu->tr.base, eflags = (uint32_t)emu_rflags(cpu);
    uint8_t image[TSS32_BYTES];

    if (cause == EMU_TASK_RETURN)
        eflags &= ~(uint32_t)X86_NT;
    if (!emu_sys_read(cpu, base, image, bytes))
        return false;
    pack(cpu, image, is_32bit, (uint32_t)resume_rip, eflags);
    if (!emu_sys_write(cpu, base, image, bytes))
        return false;
    if (cause == EMU_TASK_JUMP || cause == EMU_TASK_RETURN)
        return set_busy(cpu, cpu->tr.selector, false);
    return true;
}

/* ---- After it ---- */

static bool task_ldt(struct emu_cpu *cpu, uint16_t selector)
{
    uint16_t code = selector & SEL_INDEX_TI;
    struct emu_descriptor d;

    cpu->ldtr = (struct hv_segment_register){ .selector = selector };
    if (emu_is_null(selector))
        return true;
    if (selector & SEL_TI)
        return emu_fail(cpu, X86_TS, code);
    if (!emu_descriptor_read(cpu, selector, X86_TS, &d))
        return false;
    if (!desc_is_system(&d) || desc_type(&d) != SYS_LDT || !desc_is_present(&d))
        return emu_fail(cpu, X86_TS, code);
    cpu->ldtr = emu_segment_of(&d, selector);
    return true;
}

static bool task_cs(struct emu_cpu *cpu, uint16_t selector)
{
    uint16_t code = selector & SEL_INDEX_TI;
    uint8_t rpl = selector & 3;
    struct emu_descriptor d;

    if (emu_is_null(selector))
        return emu_fail(cpu, X86_TS, 0);
    if (!emu_descriptor_read(cpu, selector, X86_TS, &d))
        return false;
    if (!desc_is_code(&d) || (desc_is_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
        return emu_fail(cpu, X86_TS, code);
    if (!desc_is_present(&d))
        return emu_fail(cpu, X86_NP, code);
    if (!emu_descriptor_mark(cpu, &d, TYPE_ACCESSED))
        return false;
    cpu->segment[HV_CS] = emu_segment_of(&d, selector);
    return true;
}

/* Data segments are loaded as by mov, but a bad one is #TS where mov raises #GP. */
static bool task_segment(struct emu_cpu *cpu, enum hv_segment seg, uint16_t selector)
{
    if (emu_load_segment(cpu, seg, selector))
        return true;
    if (cpu->fault.vector == X86_GP)
        cpu->fault.vector = X86_TS;
    return false;
}

static bool load_segments(struct emu_cpu *cpu, const struct task_state *task)
{
    static const uint8_t order[] = { HV_SS, HV_DS, HV_ES, HV_FS, HV_GS };
    bool is_v86 = task->eflags & X86_VM;

    for (unsigned i = 0; i < TSS_SEGMENTS; i++)
        cpu->segment[i] = (struct hv_segment_register){ .selector = task->selector[i] };
    cpu->cpl = is_v86 ? 3 : task->selector[HV_CS] & 3;
    if (!task_ldt(cpu, task->ldt))
        return false;
    if (is_v86)
        emu_set_real_cs(cpu, task->selector[HV_CS]);
    else if (!task_cs(cpu, task->selector[HV_CS]))
        return false;
    for (unsigned i = 0; i < HV_ARRAY_SIZE(order); i++)
        if (!task_segment(cpu, order[i], task->selector[order[i]]))
            return false;
    return true;
}

static bool load_incoming(struct emu_cpu *cpu, const struct task_state *task)
{
    bool is_good;

    for (unsigned i = 0; i < TSS_GPRS; i++)
        cpu->regs[i] = task->gpr[i];
    emu_set_rflags(cpu, task->eflags & ~(uint64_t)X86_RF);
    cpu->rip = task->eip;
    cpu->dr7 &= ~UINT64_C(0x55); /* the local enable bits */
    if (cpu->cr0 & X86_CR0_PG && is_tss32(cpu->tr.attributes & HV_SEG_TYPE) &&
        !emu_write_cr3(cpu, task->cr3))
        return false;
    is_good = load_segments(cpu, task);
    emu_mode_changed(cpu);
    if (is_good && task->eip > cpu->segment[HV_CS].limit)
        return emu_fail(cpu, X86_GP, 0);
    return is_good;
}

static bool push_error(struct emu_cpu *cpu, uint64_t error)
{
    struct emu_stack stack;

    emu_stack_current(cpu, &stack);
    if (!emu_stack_push(cpu, &stack, &error, 1, is_tss32(cpu->tr.attributes & HV_SEG_TYPE) ? 4 : 2))
        return false;
    emu_stack_commit(cpu, &stack, false);
    return true;
}

bool emu_task_switch(struct emu_cpu *cpu, struct emu_descriptor *d, const struct emu_task_why *why)
{
    bool is_32bit = is_tss32(desc_type(d));
    bool is_nested = why->cause == EMU_TASK_CALL || why->cause == EMU_TASK_INTERRUPT;
    uint16_t link = cpu->tr.selector;
    uint8_t image[TSS32_BYTES];
    struct task_state task;

    if (!check_tss(cpu, d, why->cause) ||
        !emu_sys_read(cpu, desc_base(d), image, is_32bit ? TSS32_BYTES : TSS16_BYTES) ||
        !save_outgoing(cpu, why->cause, why->resume_rip))
        return false;
    if (is_nested && !emu_sys_write(cpu, desc_base(d), &link, 2))
        return false;
    if (!emu_descriptor_mark(cpu, d, TYPE_BUSY))
        return false;

    unpack(image, is_32bit, &task);
    if (is_nested)
        task.eflags |= X86_NT;
    cpu->tr = emu_segment_of(d, d->selector);
    cpu->cr0 |= X86_CR0_TS;
    if (!load_incoming(cpu, &task))
        return false;
    return !why->has_error || push_error(cpu, why->error);
}

bool emu_task_gate(struct emu_cpu *cpu, uint16_t selector, const struct emu_task_why *why)
{
    uint8_t vector = why->cause == EMU_TASK_RETURN ? X86_TS : X86_GP;
    struct emu_descriptor d;

    if (emu_is_null(selector) || selector & SEL_TI)
        return emu_fail(cpu, vector, selector & SEL_INDEX_TI);
    return emu_descriptor_read(cpu, selector, vector, &d) && emu_task_switch(cpu, &d, why);
}
