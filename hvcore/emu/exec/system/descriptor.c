/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: reading them, marking them, and what becomes of them in segment registers. */
#include "hvcore/emu/exec/system/system_priv.h"

bool emu_descriptor_find(const struct emu_cpu *cpu, uint16_t selector, unsigned bytes,
                         uint64_t *ret_linear)
{
    uint64_t first = selector & ~7u;
    uint64_t base = cpu->gdtr.base, limit = cpu->gdtr.limit;

    if (selector & SEL_TI) {
        if (!(cpu->ldtr.attributes & HV_SEG_P))
            return false;
        base = cpu->ldtr.base;
        limit = cpu->ldtr.limit;
    }
    if (first + bytes - 1 > limit)
        return false;
    *ret_linear = base + first;
    if (!emu_is_long(cpu))
        *ret_linear &= UINT32_MAX;
    return true;
}

bool emu_descriptor_read(struct emu_cpu *cpu, uint16_t selector, uint8_t vector,
                         struct emu_descriptor *ret)
{
    struct emu_descriptor d = { .selector = selector };

    if (!emu_descriptor_find(cpu, selector, 8, &d.linear))
        return emu_fail(cpu, vector, selector & SEL_INDEX_TI);
    if (!emu_sys_read(cpu, d.linear, &d.low, 8))
        return false;
    if (emu_is_long(cpu) && desc_is_system(&d)) {
        if (!emu_descriptor_find(cpu, selector, 16, &d.linear))
            return emu_fail(cpu, vector, selector & SEL_INDEX_TI);
        if (!emu_sys_read(cpu, d.linear + 8, &d.high, 8))
            return false;
    }
    *ret = d;
    return true;
}

bool emu_descriptor_mark(struct emu_cpu *cpu, struct emu_descriptor *d, unsigned type_bits)
{
    uint64_t low = d->low | (uint64_t)type_bits << 40;
    uint8_t byte = (uint8_t)(low >> 40);

    if (low == d->low)
        return true;
    if (!emu_sys_write(cpu, d->linear + 5, &byte, 1))
        return false;
    d->low = low;
    return true;
}

struct hv_segment_register emu_segment_of(const struct emu_descriptor *d, uint16_t selector)
{
    return (struct hv_segment_register){
        .base = desc_base(d),
        .limit = desc_limit(d),
        .selector = selector,
        .attributes = (uint16_t)((d->low >> 40 & 0xff) | (d->low >> 44 & 0xf00)),
    };
}

struct hv_segment_register emu_null_ss(uint8_t cpl)
{
    return (struct hv_segment_register){
        .selector = cpl,
        .attributes = (uint16_t)(cpl << HV_SEG_DPL_SHIFT),
    };
}

/* In real mode only selector and base change: limits set in protected mode stay ("unreal"). */
void emu_set_real_segment(struct emu_cpu *cpu, enum hv_segment seg, uint16_t selector)
{
    struct hv_segment_register *s = &cpu->segment[seg];

    if (emu_is_v86(cpu)) {
        s->limit = 0xffff;
        s->attributes = 0xf3;
    } else {
        if (!(s->attributes & HV_SEG_P))
            s->limit = 0xffff;
        s->attributes = (uint16_t)(0x93 | (s->attributes & (HV_SEG_G | HV_SEG_DB)));
    }
    s->selector = selector;
    emu_set_segment_base(cpu, seg, (uint64_t)selector << 4);
}

void emu_set_real_cs(struct emu_cpu *cpu, uint16_t selector)
{
    struct hv_segment_register *cs = &cpu->segment[HV_CS];

    if (emu_is_v86(cpu)) {
        cs->limit = 0xffff;
        cs->attributes = 0xf3;
    }
    cs->selector = selector;
    cs->base = (uint64_t)selector << 4;
}

void emu_set_code(struct emu_cpu *cpu, const struct emu_descriptor *d, uint8_t cpl, uint64_t rip)
{
    cpu->segment[HV_CS] = emu_segment_of(d, (uint16_t)((d->selector & SEL_INDEX_TI) | cpl));
    cpu->cpl = cpl;
    cpu->rip = rip;
    emu_mode_changed(cpu);
}

void emu_set_stack_segment(struct emu_cpu *cpu, const struct hv_segment_register *ss)
{
    cpu->segment[HV_SS] = *ss;
}

bool emu_check_target(struct emu_cpu *cpu, const struct emu_descriptor *d, uint64_t rip)
{
    bool is_good =
        emu_is_long(cpu) && desc_is_long(d) ? emu_is_canonical(rip) : rip <= desc_limit(d);

    return is_good || emu_fail(cpu, X86_GP, 0);
}
