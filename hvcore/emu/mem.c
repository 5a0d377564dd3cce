/* SPDX-License-Identifier: Apache-2.0 */
/* Complete memory accesses: page crossings, MMIO, pages with code, precise faults. */
#include "hvcore/emu/emu_priv.h"
#include "hvcore/emu/system.h"

#include <string.h>

/* The two parts of an access that may cross a page; the second has no bytes when it doesn't. */
struct span {
    hv_gpa_t gpa[2];
    uint8_t *host[2]; /* NULL: not RAM */
    unsigned bytes[2];
};

static bool raise_not_canonical(struct emu_cpu *cpu, bool is_stack)
{
    (void)emu_raise_code(cpu, is_stack ? X86_SS : X86_GP, 0);
    return false;
}

static bool is_range_canonical(const struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    if (!emu_is_long(cpu))
        return true;
    return emu_is_canonical(linear) && emu_is_canonical(linear + size - 1);
}

static bool find_span(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write,
                      enum emu_class class, bool is_stack, struct span *ret)
{
    unsigned first = HV_PAGE_BYTES - (linear & 0xfff);
    uint64_t second = linear + first;

    if (HV_UNLIKELY(!is_range_canonical(cpu, linear, size)))
        return raise_not_canonical(cpu, is_stack);
    if (!emu_is_long(cpu))
        second &= UINT32_MAX;
    ret->bytes[0] = size < first ? size : first;
    ret->bytes[1] = size - ret->bytes[0];
    if (!emu_tlb_translate(cpu, linear, is_write, class, &ret->gpa[0]))
        return false;
    if (ret->bytes[1] > 0 && !emu_tlb_translate(cpu, second, is_write, class, &ret->gpa[1]))
        return false;
    for (unsigned i = 0; i < 2; i++)
        ret->host[i] = ret->bytes[i] > 0 ? emu_ram(cpu->machine, ret->gpa[i]) : NULL;
    return true;
}

/* One host access where size and alignment allow it. */
static void copy_atomic(void *to, const void *from, unsigned size)
{
    switch (size) {
    case 1: *(volatile uint8_t *)to = *(const volatile uint8_t *)from; break;
    case 2: *(volatile uint16_t *)to = *(const volatile uint16_t *)from; break;
    case 4: *(volatile uint32_t *)to = *(const volatile uint32_t *)from; break;
    case 8: *(volatile uint64_t *)to = *(const volatile uint64_t *)from; break;
    case 16:
        __asm__ volatile("movups %1, %%xmm0\n\tmovups %%xmm0, %0"
                         : "=m"(*(char(*)[16])to)
                         : "m"(*(const char(*)[16])from)
                         : "xmm0");
        break;
    default: memcpy(to, from, size); break;
    }
}

static void read_mmio(struct emu_cpu *cpu, hv_gpa_t gpa, uint8_t *to, unsigned size)
{
    const struct emu_bus *bus = &cpu->machine->bus;

    while (size > 0) {
        unsigned part = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
        uint64_t value;

        cpu->counters_mmios++;
        if (cpu->lapic && x86_lapic_owns(cpu->lapic, gpa))
            value = x86_lapic_mmio_read(cpu->lapic, gpa & 0xfff, part);
        else
            value = bus->mmio_read(bus->opaque, gpa, part);
        memcpy(to, &value, part);
        to += part;
        gpa += part;
        size -= part;
    }
}

static void write_mmio(struct emu_cpu *cpu, hv_gpa_t gpa, const uint8_t *from, unsigned size)
{
    const struct emu_bus *bus = &cpu->machine->bus;

    while (size > 0) {
        unsigned part = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
        uint64_t value = 0;

        memcpy(&value, from, part);
        cpu->counters_mmios++;
        if (cpu->lapic && x86_lapic_owns(cpu->lapic, gpa))
            x86_lapic_mmio_write(cpu->lapic, gpa & 0xfff, part, value);
        else
            bus->mmio_write(bus->opaque, gpa, part, value);
        from += part;
        gpa += part;
        size -= part;
    }
}

/* Guest RAM has been written through a translation that wasn't free of code. */
static void note_written(struct emu_cpu *cpu, hv_gpa_t gpa, unsigned size)
{
    if (emu_code_written(cpu->machine, gpa, size))
        atomic_fetch_or(&cpu->request, EMU_REQ_BREAK);
}

static bool mem_read(struct emu_cpu *cpu, uint64_t linear, void *ret, unsigned size,
                     enum emu_class class, bool is_stack)
{
    uint8_t *to = ret;
    struct span span;

    if (!find_span(cpu, linear, size, false, class, is_stack, &span))
        return false;
    for (unsigned i = 0; i < 2 && span.bytes[i] > 0; i++) {
        if (span.host[i])
            copy_atomic(to, span.host[i], span.bytes[i]);
        else
            read_mmio(cpu, span.gpa[i], to, span.bytes[i]);
        to += span.bytes[i];
    }
    return true;
}

static bool mem_write(struct emu_cpu *cpu, uint64_t linear, const void *from, unsigned size,
                      enum emu_class class, bool is_stack)
{
    const uint8_t *at = from;
    struct span span;

    if (!find_span(cpu, linear, size, true, class, is_stack, &span))
        return false;
    for (unsigned i = 0; i < 2 && span.bytes[i] > 0; i++) {
        if (span.host[i]) {
            copy_atomic(span.host[i], at, span.bytes[i]);
            note_written(cpu, span.gpa[i], span.bytes[i]);
        } else {
            write_mmio(cpu, span.gpa[i], at, span.bytes[i]);
        }
        at += span.bytes[i];
    }
    return true;
}

bool emu_mem_read(struct emu_cpu *cpu, uint64_t linear, void *ret, unsigned size, bool is_stack)
{
    const struct emu_tlb_entry *e = &cpu->tlb[linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];

    if (HV_LIKELY(linear - e->read_tag <= HV_PAGE_BYTES - size)) {
        copy_atomic(ret, (const void *)(uintptr_t)(linear + e->addend), size);
        return true;
    }
    if (HV_UNLIKELY(cpu->debug & EMU_DEBUG_ALIGNMENT) && !emu_debug_is_aligned(cpu, linear, size))
        return false;
    if (!mem_read(cpu, linear, ret, size, cpu->class, is_stack))
        return false;
    if (HV_UNLIKELY(cpu->debug & EMU_DEBUG_DATA))
        emu_debug_access(cpu, linear, size, false);
    return true;
}

bool emu_mem_write(struct emu_cpu *cpu, uint64_t linear, const void *from, unsigned size,
                   bool is_stack)
{
    const struct emu_tlb_entry *e = &cpu->tlb[linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];

    if (HV_LIKELY(linear - e->write_tag <= HV_PAGE_BYTES - size)) {
        copy_atomic((void *)(uintptr_t)(linear + e->addend), from, size);
        return true;
    }
    if (HV_UNLIKELY(cpu->debug & EMU_DEBUG_ALIGNMENT) && !emu_debug_is_aligned(cpu, linear, size))
        return false;
    if (!mem_write(cpu, linear, from, size, cpu->class, is_stack))
        return false;
    if (HV_UNLIKELY(cpu->debug & EMU_DEBUG_DATA))
        emu_debug_access(cpu, linear, size, true);
    return true;
}

bool emu_mem_probe(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write,
                   bool is_stack)
{
    struct span span;

    return find_span(cpu, linear, size, is_write, cpu->class, is_stack, &span);
}

static const struct emu_tlb_entry *supervisor_entry(const struct emu_cpu *cpu, uint64_t linear)
{
    return &cpu->tlbs[EMU_SUPERVISOR][linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];
}

bool emu_sys_read(struct emu_cpu *cpu, uint64_t linear, void *ret, unsigned size)
{
    const struct emu_tlb_entry *e = supervisor_entry(cpu, linear);

    if (HV_LIKELY(linear - e->read_tag <= HV_PAGE_BYTES - size)) {
        copy_atomic(ret, (const void *)(uintptr_t)(linear + e->addend), size);
        return true;
    }
    return mem_read(cpu, linear, ret, size, EMU_SUPERVISOR, false);
}

bool emu_sys_write(struct emu_cpu *cpu, uint64_t linear, const void *from, unsigned size)
{
    const struct emu_tlb_entry *e = supervisor_entry(cpu, linear);

    if (HV_LIKELY(linear - e->write_tag <= HV_PAGE_BYTES - size)) {
        copy_atomic((void *)(uintptr_t)(linear + e->addend), from, size);
        return true;
    }
    return mem_write(cpu, linear, from, size, EMU_SUPERVISOR, false);
}

bool emu_rmw_begin(struct emu_cpu *cpu, struct emu_rmw *rmw, uint64_t linear, unsigned size,
                   bool is_locked, bool is_stack)
{
    struct span span;
    bool is_whole;

    /* The operand is probed before the machine is stopped, so that a fault leaves nothing to undo.
     */
    if (HV_UNLIKELY(cpu->debug & EMU_DEBUG_ALIGNMENT) && !emu_debug_is_aligned(cpu, linear, size))
        return false;
    if (!find_span(cpu, linear, size, true, cpu->class, is_stack, &span))
        return false;
    if (HV_UNLIKELY(cpu->debug & EMU_DEBUG_DATA))
        emu_debug_access(cpu, linear, size, true);
    is_whole = span.bytes[1] == 0 && span.host[0] &&
               (!is_locked || (linear & 63) + size <= 64 || cpu->machine->n_cpus == 1);
    *rmw = (struct emu_rmw){ .linear = linear, .size = size };
    if (is_whole) {
        rmw->host = span.host[0];
        return true;
    }
    rmw->is_buffered = true;
    rmw->host = rmw->buffer;
    if (is_locked && cpu->machine->n_cpus > 1) {
        emu_machine_stop(cpu);
        rmw->is_stopped = true;
    }
    if (!mem_read(cpu, linear, rmw->buffer, size, cpu->class, is_stack)) {
        if (rmw->is_stopped)
            emu_machine_resume(cpu);
        return false;
    }
    return true;
}

void emu_rmw_end(struct emu_cpu *cpu, struct emu_rmw *rmw)
{
    if (rmw->is_buffered) {
        /* Allowed a moment ago; no VP may have taken the page away while this one held on to it,
         * but if another did, the write is dropped as the processor's own race would allow. */
        (void)mem_write(cpu, rmw->linear, rmw->buffer, rmw->size, cpu->class, false);
    } else {
        hv_gpa_t gpa;

        if (cpu->tlb[rmw->linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)].write_tag !=
                (rmw->linear & ~UINT64_C(0xfff)) &&
            emu_tlb_translate(cpu, rmw->linear, true, cpu->class, &gpa))
            note_written(cpu, gpa, rmw->size);
    }
    if (rmw->is_stopped)
        emu_machine_resume(cpu);
}

void *emu_mem_span(struct emu_cpu *cpu, uint64_t linear, bool is_write, unsigned *ret_bytes)
{
    *ret_bytes = HV_PAGE_BYTES - (linear & 0xfff);
    if (is_write) {
        const struct emu_tlb_entry *e = &cpu->tlb[linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1)];

        if (!emu_tlb_write(cpu, linear, 1))
            return NULL;
        /* Without a write tag the page has code: only single stores are looked after there. */
        if (e->write_tag != (linear & ~UINT64_C(0xfff)))
            return NULL;
        return (void *)(uintptr_t)(linear + e->addend);
    }
    return (void *)(uintptr_t)emu_tlb_read(cpu, linear, 1);
}

bool emu_translate(struct emu_cpu *cpu, uint64_t linear, unsigned access, hv_gpa_t *ret_gpa)
{
    enum emu_class class = access & X86_PF_U ? EMU_USER : EMU_SUPERVISOR;
    struct emu_walk walk;
    uint32_t error;

    if (!emu_walk(cpu, linear, access & ~(unsigned)X86_PF_U, class, &walk, &error)) {
        cpu->fault = (struct emu_fault){
            .vector = X86_PF, .has_error_code = true, .error_code = error, .address = linear
        };
        return false;
    }
    *ret_gpa = walk.gpa;
    return true;
}
