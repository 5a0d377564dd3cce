/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short way from ring to ring: exceptions, interrupts and their returns between 64-bit code of
 * rings 0 and 3 whose segments are the flat ones of every 64-bit kernel.
 *
 * Nothing is raised here: what isn't at hand or isn't as expected goes the long way, which knows
 * all rules. Both leave the same state behind.
 */
#include "hvcore/emu/exec/system/system_priv.h"

/* Descriptors of flat segments, accessed; what differs is the ring. */
#define FLAT_CODE64 UINT64_C(0x00af9b000000ffff)
#define FLAT_DATA   UINT64_C(0x00cf93000000ffff)

static uint64_t in_ring(uint64_t descriptor, uint8_t ring)
{
    return descriptor | (uint64_t)ring << 45;
}

/* Where supervisor data lies in the host, or NULL when that isn't in the cache. */
static void *at_hand(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write)
{
    const struct emu_tlb_entry *e =
        &cpu->tlbs[EMU_SUPERVISOR][linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];

    if (HV_UNLIKELY(linear - (is_write ? e->write_tag : e->read_tag) > HV_PAGE_BYTES - size))
        return NULL;
    return (void *)(uintptr_t)(linear + e->addend);
}

/* Is the selector's descriptor in the GDT this one? */
static bool is_descriptor(struct emu_cpu *cpu, uint16_t selector, uint64_t expected)
{
    uint64_t first = selector & SEL_INDEX_TI;
    const uint64_t *word;

    if (emu_is_null(selector) || selector & SEL_TI || first + 7 > cpu->gdtr.limit)
        return false;
    word = at_hand(cpu, cpu->gdtr.base + first, 8, false);
    return word && EMU_AT(const uint64_t, word) == expected;
}

static struct hv_segment_register flat(uint64_t descriptor, uint16_t selector)
{
    struct emu_descriptor d = { .low = descriptor };

    return emu_segment_of(&d, selector);
}

/* 64-bit code without anything that accesses are looked at for. AC decides over SMAP and alignment.
 */
static bool is_plain(const struct emu_cpu *cpu)
{
    return cpu->code_size == EMU_CODE64 && !cpu->debug && !(cpu->sys_flags & X86_AC_FLAG) &&
           (cpu->cpl == 0 || cpu->cpl == 3);
}

/* ---- In ---- */

static uint64_t *stack_of(struct emu_cpu *cpu, unsigned ist, unsigned bytes, uint64_t *ret_sp)
{
    unsigned offset = ist ? 0x1c + ist * 8 : 4;
    uint64_t sp = cpu->regs[HV_RSP];

    if (ist || cpu->cpl == 3) {
        const void *word = at_hand(cpu, cpu->tr.base + offset, 8, false);

        if (!word || offset + 7 > cpu->tr.limit)
            return NULL;
        sp = EMU_AT(const uint64_t, word);
    }
    *ret_sp = (sp & ~UINT64_C(15)) - bytes;
    return at_hand(cpu, *ret_sp, bytes, true);
}

bool emu_ring_deliver(struct emu_cpu *cpu, const struct emu_event *event, uint64_t return_rip)
{
    const uint64_t *gate = at_hand(cpu, cpu->idtr.base + event->vector * 16u, 16, false);
    unsigned bytes = event->has_error ? 48 : 40;
    uint64_t low, target, sp, *frame;
    uint16_t selector;

    if (!is_plain(cpu) || event->is_software || !gate || event->vector * 16u + 15 > cpu->idtr.limit)
        return false;
    low = gate[0];
    target = (low & 0xffff) | (low >> 32 & 0xffff0000) | gate[1] << 32;
    selector = (uint16_t)(low >> 16) & SEL_INDEX_TI;
    /* A present interrupt or trap gate. */
    if ((low >> 40 & 0x9e) != 0x8e || !emu_is_canonical(target) ||
        !is_descriptor(cpu, selector, FLAT_CODE64))
        return false;
    frame = stack_of(cpu, low >> 32 & 7, bytes, &sp);
    if (!frame)
        return false;
    if (event->has_error)
        *frame++ = event->error;
    frame[0] = return_rip;
    frame[1] = cpu->segment[HV_CS].selector;
    frame[2] = emu_rflags(cpu) | (event->is_fault ? X86_RF : 0);
    frame[3] = cpu->regs[HV_RSP];
    frame[4] = cpu->segment[HV_SS].selector;

    cpu->regs[HV_RSP] = sp;
    cpu->sys_flags &= ~(uint64_t)(X86_TF | X86_NT | X86_RF | (low >> 40 & 1 ? 0 : X86_IF));
    cpu->shadow = 0;
    cpu->segment[HV_CS] = flat(FLAT_CODE64, selector);
    cpu->rip = target;
    if (cpu->cpl == 3) {
        cpu->segment[HV_SS] = emu_null_ss(0);
        emu_ring_changed(cpu, 0);
    }
    return true;
}

/* ---- Out ---- */

static bool is_stack_segment(struct emu_cpu *cpu, uint16_t selector, uint8_t ring)
{
    if (emu_is_null(selector))
        return ring == 0 && selector == 0;
    return (selector & 3) == ring && is_descriptor(cpu, selector, in_ring(FLAT_DATA, ring));
}

bool emu_ring_return(struct emu_cpu *cpu)
{
    const uint64_t *frame = at_hand(cpu, cpu->regs[HV_RSP], 40, false);
    uint64_t rip, rsp, rflags;
    uint16_t cs, ss;
    uint8_t ring;

    if (!is_plain(cpu) || cpu->cpl != 0 || cpu->sys_flags & X86_NT || !frame)
        return false;
    rip = frame[0], cs = (uint16_t)frame[1], rflags = frame[2];
    rsp = frame[3], ss = (uint16_t)frame[4];
    ring = cs & 3;
    if ((ring != 0 && ring != 3) || rflags & (X86_TF | X86_AC_FLAG) || !emu_is_canonical(rip) ||
        !is_descriptor(cpu, cs, in_ring(FLAT_CODE64, ring)) || !is_stack_segment(cpu, ss, ring))
        return false;

    cpu->segment[HV_CS] = flat(in_ring(FLAT_CODE64, ring), cs);
    cpu->segment[HV_SS] = emu_is_null(ss) ? emu_null_ss(0) : flat(in_ring(FLAT_DATA, ring), ss);
    cpu->regs[HV_RSP] = rsp;
    cpu->rip = rip;
    emu_set_rflags(cpu, rflags & ~(uint64_t)(X86_RF | X86_VM));
    cpu->nmi_blocked = 0;
    cpu->shadow = 0;
    emu_ring_changed(cpu, ring);
    if (ring == 3)
        emu_drop_inner_segments(cpu);
    emu_look_at_interrupts(cpu);
    return true;
}
