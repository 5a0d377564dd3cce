/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of translations: filling, looking up, dropping. */
#include "hvcore/emu/emu_priv.h"
#include "hvcore/emu/fpu.h"
#include "hvcore/emu/system.h"

#include <string.h>

#define PAGE_MASK (~UINT64_C(0xfff))

static unsigned slot_index(uint64_t linear)
{
    return linear >> HV_PAGE_SHIFT & (EMU_TLB_ENTRIES - 1);
}

/* A tag that no address which selects entry i can match: the page address of another entry. */
static uint64_t dead_tag(unsigned i)
{
    return (uint64_t)(i ^ 1) << HV_PAGE_SHIFT;
}

static void drop_stack_window(struct emu_cpu *cpu)
{
    /* No tag is out of a guest's reach, so a dropped window leads to a page that belongs to nobody,
     * at an address that isn't canonical. */
    cpu->stack_page = UINT64_C(0x7fff000000000000);
    cpu->stack_addend = (uint64_t)(uintptr_t)cpu->nobodys_stack - cpu->stack_page;
}

/* ---- Parts of large pages ----
 *
 * INVLPG drops every entry made of the page it names, large ones included. So that it needn't look
 * through the whole cache each time, the regions with such entries are remembered, by hash. */

static uint64_t *region_word(struct emu_cpu *cpu, uint64_t linear, unsigned shift,
                             uint64_t *ret_bit)
{
    unsigned hash = (unsigned)((linear >> shift) * UINT64_C(0x9e3779b97f4a7c15) >> 52);

    *ret_bit = UINT64_C(1) << (hash & 63);
    return &cpu->large_regions[linear >> 63][shift == 30][hash >> 6];
}

static void note_region(struct emu_cpu *cpu, uint64_t linear, unsigned shift)
{
    uint64_t bit, *word = region_word(cpu, linear, shift, &bit);

    *word |= bit;
}

static bool is_region_noted(struct emu_cpu *cpu, uint64_t linear, unsigned shift)
{
    uint64_t bit;

    return *region_word(cpu, linear, shift, &bit) & bit;
}

static void note_large(struct emu_cpu *cpu, uint64_t linear, uint64_t info)
{
    if (info & EMU_TLB_LARGE && info & EMU_TLB_GLOBAL && linear >> 63 == 0)
        cpu->has_low_global = true;
    if (info & EMU_TLB_1G)
        note_region(cpu, linear, 30);
    if (info & (EMU_TLB_2M | EMU_TLB_4M))
        note_region(cpu, linear, 21);
    if (info & EMU_TLB_4M)
        note_region(cpu, linear ^ 1 << 21, 21);
}

static bool may_be_large(struct emu_cpu *cpu, uint64_t linear)
{
    return is_region_noted(cpu, linear, 21) || is_region_noted(cpu, linear, 30);
}

static void forget_large(struct emu_cpu *cpu)
{
    memset(cpu->large_regions, 0, sizeof(cpu->large_regions));
    cpu->has_low_global = false;
}

/* At a CR3 write. What is noted of the upper half stays, since most of it is global: too much costs
 * an INVLPG a longer look only. */
static void forget_low_large(struct emu_cpu *cpu)
{
    if (!cpu->has_low_global)
        memset(cpu->large_regions[0], 0, sizeof(cpu->large_regions[0]));
}

/* Entry i is filled, with a global page or another one. */
static void note_used(uint64_t *used, uint64_t *global, unsigned i, uint64_t info)
{
    uint64_t bit = UINT64_C(1) << (i & 63);

    used[i / 64] |= bit;
    if (info & EMU_TLB_GLOBAL)
        global[i / 64] |= bit;
    else
        global[i / 64] &= ~bit;
}

static struct hv_gpa_slot *plain_slot(struct emu_machine *machine, hv_gpa_t gpa,
                                      _Atomic uint8_t **ret_flags)
{
    struct hv_gpa_slot *slot = hv_gpa_slot_of(machine->gpa, gpa);

    if (slot)
        *ret_flags = &slot->page_flags[(gpa - slot->first) >> HV_PAGE_SHIFT];
    return slot;
}

/* Put a walk's result into the cache; for a write, pages out of the dirty log come back into it. */
static void cache(struct emu_cpu *cpu, uint64_t linear, const struct emu_walk *walk, bool is_write,
                  enum emu_class class)
{
    struct emu_tlb_entry *e = &cpu->tlbs[class][slot_index(linear)];
    _Atomic uint8_t *flags;
    struct hv_gpa_slot *slot = plain_slot(cpu->machine, walk->gpa, &flags);
    uint64_t page = linear & PAGE_MASK;

    if (!slot)
        return;
    if ((e->read_tag == cpu->stack_page || e->write_tag == cpu->stack_page) && class == cpu->class)
        drop_stack_window(cpu);
    if (is_write && atomic_load_explicit(flags, memory_order_relaxed) & HV_GPA_PAGE_CLEAN)
        atomic_fetch_and(flags, (uint8_t)~HV_GPA_PAGE_CLEAN);
    note_used(cpu->tlb_used[class], cpu->tlb_global[class], slot_index(linear), walk->info);
    e->read_tag = page;
    e->write_tag = walk->is_writable && !atomic_load_explicit(flags, memory_order_acquire)
                       ? page
                       : dead_tag(slot_index(linear));
    e->addend = (uint64_t)(uintptr_t)(slot->host + (walk->gpa - slot->first)) - linear;
    e->info =
        walk->info | (walk->gpa & PAGE_MASK) |
        (walk->is_writable && atomic_load_explicit(flags, memory_order_relaxed) == HV_GPA_PAGE_CODE
             ? EMU_TLB_WRITABLE
             : 0);
    note_large(cpu, linear, walk->info);
}

/* Is the write tag missing only because the page has code, and still has? */
static bool is_kept_for_code(struct emu_cpu *cpu, const struct emu_tlb_entry *e, uint64_t page)
{
    _Atomic uint8_t *flags;

    return e->read_tag == page && e->info & EMU_TLB_WRITABLE &&
           plain_slot(cpu->machine, e->info & UINT64_C(0x000ffffffffff000), &flags) &&
           atomic_load_explicit(flags, memory_order_relaxed) == HV_GPA_PAGE_CODE;
}

static void set_page_fault(struct emu_cpu *cpu, uint64_t linear, uint32_t error)
{
    cpu->fault = (struct emu_fault){
        .vector = X86_PF, .has_error_code = true, .error_code = error, .address = linear
    };
}

bool emu_tlb_translate(struct emu_cpu *cpu, uint64_t linear, bool is_write, enum emu_class class,
                       hv_gpa_t *ret_gpa)
{
    const struct emu_tlb_entry *e = &cpu->tlbs[class][slot_index(linear)];
    uint64_t page = linear & PAGE_MASK;
    struct emu_walk walk;
    uint32_t error;

    if (is_write ? e->write_tag == page || is_kept_for_code(cpu, e, page) : e->read_tag == page) {
        *ret_gpa = (e->info & UINT64_C(0x000ffffffffff000)) | (linear & 0xfff);
        return true;
    }
    if (!emu_walk(cpu, linear, is_write ? X86_PF_W : 0, class, &walk, &error)) {
        /* No stale entry survives a fault: Linux relies on it when it only adds rights. */
        emu_tlb_flush_page(cpu, linear);
        set_page_fault(cpu, linear, error);
        return false;
    }
    cache(cpu, linear, &walk, is_write, class);
    *ret_gpa = walk.gpa;
    return true;
}

static bool is_within_page(uint64_t linear, unsigned size)
{
    return (linear & 0xfff) + size <= HV_PAGE_BYTES;
}

/* A walk for a fill; what it meets stays in cpu->fault for emu_fill_faulted. */
static bool walk_to_fill(struct emu_cpu *cpu, uint64_t linear, unsigned access,
                         struct emu_walk *ret)
{
    uint32_t error;

    if (emu_walk(cpu, linear, access, cpu->class, ret, &error))
        return true;
    set_page_fault(cpu, linear, error);
    return false;
}

/* No fault's vector. */
enum { NOTHING_MET = 0xff };

bool emu_fill_faulted(struct emu_cpu *cpu)
{
    if (cpu->fault.vector != X86_PF || cpu->debug)
        return false;
    /* No stale entry survives a fault: Linux relies on it when it only adds rights. */
    emu_tlb_flush_page(cpu, cpu->fault.address);
    return true;
}

void *emu_fill_read(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    const struct emu_tlb_entry *e = &cpu->tlb[slot_index(linear)];
    struct emu_walk walk;

    cpu->fault.vector = NOTHING_MET;
    if (!is_within_page(linear, size) || !emu_is_canonical(linear) ||
        !walk_to_fill(cpu, linear, 0, &walk))
        return NULL;
    cache(cpu, linear, &walk, false, cpu->class);
    return e->read_tag == (linear & PAGE_MASK) ? (void *)(uintptr_t)(linear + e->addend) : NULL;
}

/* A page with code takes a plain write when the lines touched have none, and nobody else could be
 * making code of them at this moment. A page without any left is looked at by the complete write,
 * which in time makes it an ordinary one again. */
static bool may_write_beside_code(struct emu_machine *machine, hv_gpa_t gpa, unsigned size)
{
    const struct emu_page *page;
    uint64_t first = gpa >> 6 & 63, last = (gpa + size - 1) >> 6 & 63, lines;

    if (machine->n_cpus > 1)
        return false;
    page = emu_page_of(machine, gpa);
    if (!page)
        return false;
    lines = atomic_load_explicit(&page->lines, memory_order_relaxed);
    return lines && !(lines >> first & ((UINT64_C(2) << (last - first)) - 1));
}

void *emu_fill_write(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    const struct emu_tlb_entry *e = &cpu->tlb[slot_index(linear)];
    struct emu_walk walk;

    cpu->fault.vector = NOTHING_MET;
    if (!is_within_page(linear, size) || !emu_is_canonical(linear))
        return NULL;
    if (is_kept_for_code(cpu, e, linear & PAGE_MASK)) {
        hv_gpa_t gpa = (e->info & UINT64_C(0x000ffffffffff000)) | (linear & 0xfff);

        return may_write_beside_code(cpu->machine, gpa, size)
                   ? (void *)(uintptr_t)(linear + e->addend)
                   : NULL;
    }
    if (!walk_to_fill(cpu, linear, X86_PF_W, &walk))
        return NULL;
    cache(cpu, linear, &walk, true, cpu->class);
    if (e->read_tag != (linear & PAGE_MASK))
        return NULL;
    if (e->write_tag != e->read_tag && !may_write_beside_code(cpu->machine, walk.gpa, size))
        return NULL;
    return (void *)(uintptr_t)(linear + e->addend);
}

void *emu_stack_fill(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    const struct emu_tlb_entry *e = &cpu->tlb[slot_index(linear)];
    uint64_t page = linear & PAGE_MASK;

    if (!is_within_page(linear, size))
        return NULL;
    if (e->write_tag != page && !emu_fill_read(cpu, linear, size))
        return NULL;
    if (e->write_tag != page)
        return NULL;
    cpu->stack_page = page;
    cpu->stack_addend = e->addend;
    return (void *)(uintptr_t)(linear + e->addend);
}

const struct emu_fetch_entry *emu_fetch(struct emu_cpu *cpu, uint64_t linear)
{
    const struct emu_fetch_entry *cached = emu_fetch_cached(cpu, linear);
    enum emu_class class = cpu->cpl == 3 ? EMU_USER : EMU_SUPERVISOR;
    struct emu_fetch_entry *e;
    struct emu_walk walk;
    uint32_t error;
    uint8_t *host;
    unsigned slot;

    if (cached)
        return cached;
    if (cpu->code_size == EMU_CODE64 && !emu_is_canonical(linear)) {
        (void)emu_raise_code(cpu, X86_GP, 0);
        return NULL;
    }
    if (!emu_walk(cpu, linear, X86_PF_I, class, &walk, &error)) {
        set_page_fault(cpu, linear, error);
        return NULL;
    }
    host = emu_ram(cpu->machine, walk.gpa & PAGE_MASK);
    if (!host) {
        /* Code is fetched from RAM only; on MMIO there is nothing that could be executed. */
        (void)emu_raise_code(cpu, X86_GP, 0);
        return NULL;
    }
    slot = linear >> HV_PAGE_SHIFT & (EMU_FETCH_TLB_ENTRIES - 1);
    note_used(cpu->fetch_used[cpu->cpl == 3], cpu->fetch_global[cpu->cpl == 3], slot, walk.info);
    e = &cpu->fetch_now[slot];
    *e = (struct emu_fetch_entry){
        .tag = linear & PAGE_MASK, .gpa = walk.gpa & PAGE_MASK, .info = walk.info, .host = host
    };
    note_large(cpu, linear, walk.info);
    return e;
}

static void kill_entry(struct emu_tlb_entry *e, unsigned i)
{
    e->read_tag = dead_tag(i);
    e->write_tag = dead_tag(i);
    e->info = 0;
}

static void kill_fetch_entry(struct emu_fetch_entry *e)
{
    e->tag = 1; /* not a page address */
    e->info = 0;
}

/* The first used one of n entries from i on, or n. */
static unsigned next_used(const uint64_t *used, unsigned n, unsigned i)
{
    while (i < n) {
        uint64_t bits = used[i / 64] >> (i & 63);

        if (bits)
            return i + (unsigned)__builtin_ctzll(bits);
        i = (i | 63) + 1;
    }
    return n;
}

static unsigned next_data(const struct emu_cpu *cpu, unsigned class, unsigned i)
{
    return next_used(cpu->tlb_used[class], EMU_TLB_ENTRIES, i);
}

static unsigned next_fetch(const struct emu_cpu *cpu, unsigned user, unsigned i)
{
    return next_used(cpu->fetch_used[user], EMU_FETCH_TLB_ENTRIES, i);
}

void emu_tlb_protect(struct emu_cpu *cpu, hv_gpa_t page)
{
    for (unsigned class = 0; class < EMU_N_CLASSES; class ++)
        for (unsigned i = next_data(cpu, class, 0); i < EMU_TLB_ENTRIES;
             i = next_data(cpu, class, i + 1)) {
            struct emu_tlb_entry *e = &cpu->tlbs[class][i];

            if ((e->info & UINT64_C(0x000ffffffffff000)) == page)
                e->write_tag = dead_tag(i);
        }
    drop_stack_window(cpu);
}

static unsigned n_classes(const struct emu_cpu *cpu)
{
    return cpu->cr4 & X86_CR4_SMAP ? EMU_N_CLASSES : EMU_SUPERVISOR_AC;
}

void emu_tlb_flush_all(struct emu_cpu *cpu)
{
    for (unsigned class = 0; class < EMU_N_CLASSES; class ++)
        for (unsigned i = next_data(cpu, class, 0); i < EMU_TLB_ENTRIES;
             i = next_data(cpu, class, i + 1))
            kill_entry(&cpu->tlbs[class][i], i);
    for (unsigned user = 0; user < 2; user++)
        for (unsigned i = next_fetch(cpu, user, 0); i < EMU_FETCH_TLB_ENTRIES;
             i = next_fetch(cpu, user, i + 1))
            kill_fetch_entry(&cpu->fetch[user][i]);
    memset(cpu->tlb_used, 0, sizeof(cpu->tlb_used));
    memset(cpu->fetch_used, 0, sizeof(cpu->fetch_used));
    forget_large(cpu);
    drop_stack_window(cpu);
}

/* An entry of zeros would match. */
void emu_tlb_init(struct emu_cpu *cpu)
{
    for (unsigned i = 0; i < EMU_TLB_ENTRIES; i++)
        kill_entry(&cpu->no_tlb[i], i);
    memset(cpu->tlb_used, 0xff, sizeof(cpu->tlb_used));
    memset(cpu->fetch_used, 0xff, sizeof(cpu->fetch_used));
    emu_tlb_flush_all(cpu);
}

void emu_tlb_flush_non_global(struct emu_cpu *cpu)
{
    forget_low_large(cpu);
    for (unsigned class = 0; class < n_classes(cpu); class ++)
        for (unsigned word = 0; word < EMU_TLB_ENTRIES / 64; word++) {
            uint64_t bits = cpu->tlb_used[class][word] & ~cpu->tlb_global[class][word];

            cpu->tlb_used[class][word] &= ~bits;
            for (; bits; bits &= bits - 1) {
                unsigned i = word * 64 + (unsigned)__builtin_ctzll(bits);

                kill_entry(&cpu->tlbs[class][i], i);
            }
        }
    for (unsigned user = 0; user < 2; user++)
        for (unsigned word = 0; word < EMU_FETCH_TLB_ENTRIES / 64; word++) {
            uint64_t bits = cpu->fetch_used[user][word] & ~cpu->fetch_global[user][word];

            cpu->fetch_used[user][word] &= ~bits;
            for (; bits; bits &= bits - 1)
                kill_fetch_entry(&cpu->fetch[user][word * 64 + (unsigned)__builtin_ctzll(bits)]);
        }
    drop_stack_window(cpu);
}

/* Does an entry for page `tag` come of the same (large) page as `linear`? */
static bool shares_page(uint64_t tag, uint64_t info, uint64_t linear)
{
    uint64_t difference = tag ^ linear;

    if (info & EMU_TLB_1G)
        return difference >> 30 == 0;
    if (info & EMU_TLB_4M)
        return difference >> 22 == 0;
    if (info & EMU_TLB_2M)
        return difference >> 21 == 0;
    return difference >> 12 == 0;
}

static void flush_large(struct emu_cpu *cpu, uint64_t linear)
{
    for (unsigned class = 0; class < n_classes(cpu); class ++)
        for (unsigned i = next_data(cpu, class, 0); i < EMU_TLB_ENTRIES;
             i = next_data(cpu, class, i + 1)) {
            struct emu_tlb_entry *e = &cpu->tlbs[class][i];

            if (shares_page(e->read_tag, e->info, linear))
                kill_entry(e, i);
        }
    for (unsigned user = 0; user < 2; user++)
        for (unsigned i = next_fetch(cpu, user, 0); i < EMU_FETCH_TLB_ENTRIES;
             i = next_fetch(cpu, user, i + 1))
            if (shares_page(cpu->fetch[user][i].tag, cpu->fetch[user][i].info, linear))
                kill_fetch_entry(&cpu->fetch[user][i]);
}

void emu_tlb_flush_page(struct emu_cpu *cpu, uint64_t linear)
{
    unsigned i = slot_index(linear), f = linear >> HV_PAGE_SHIFT & (EMU_FETCH_TLB_ENTRIES - 1);
    uint64_t page = linear & PAGE_MASK;

    if (may_be_large(cpu, linear))
        flush_large(cpu, linear);
    for (unsigned class = 0; class < EMU_N_CLASSES; class ++)
        if (cpu->tlbs[class][i].read_tag == page)
            kill_entry(&cpu->tlbs[class][i], i);
    for (unsigned user = 0; user < 2; user++)
        if (cpu->fetch[user][f].tag == page)
            kill_fetch_entry(&cpu->fetch[user][f]);
    if (shares_page(cpu->stack_page, EMU_TLB_1G, linear))
        drop_stack_window(cpu);
}

static uint8_t data_class(const struct emu_cpu *cpu)
{
    if (cpu->cpl == 3)
        return EMU_USER;
    if (cpu->cr4 & X86_CR4_SMAP && cpu->sys_flags & X86_AC_FLAG)
        return EMU_SUPERVISOR_AC;
    return EMU_SUPERVISOR;
}

static uint8_t code_size_of(const struct emu_cpu *cpu)
{
    const struct hv_segment_register *cs = &cpu->segment[HV_CS];

    if (emu_is_long(cpu) && cs->attributes & HV_SEG_L)
        return EMU_CODE64;
    return cs->attributes & HV_SEG_DB && !(cpu->sys_flags & X86_VM) ? EMU_CODE32 : EMU_CODE16;
}

void emu_mode_changed(struct emu_cpu *cpu)
{
    cpu->class = data_class(cpu);
    cpu->debug = cpu->dr7 & 0xff || cpu->sys_flags & X86_AC_FLAG ? emu_debug_kinds(cpu) : 0;
    cpu->tlb = cpu->debug & EMU_DEBUG_ACCESSES ? cpu->no_tlb : cpu->tlbs[cpu->class];
    cpu->fetch_now = cpu->fetch[cpu->cpl == 3];
    cpu->code_size = code_size_of(cpu);
    cpu->is_stack32 = (cpu->segment[HV_SS].attributes & HV_SEG_DB) != 0;
    emu_fpu_mode_changed(cpu);
    cpu->simd_trap = cpu->cr0 & X86_CR0_EM || !(cpu->cr4 & X86_CR4_OSFXSR) ? X86_UD
                     : cpu->cr0 & X86_CR0_TS                               ? X86_NM
                                                                           : 0;
    cpu->avx_trap = !(cpu->cr4 & X86_CR4_OSXSAVE) || (cpu->xcr0 & 6) != 6 || !emu_is_protected(cpu)
                        ? X86_UD
                    : cpu->cr0 & X86_CR0_TS ? X86_NM
                                            : 0;
    drop_stack_window(cpu);
}

void emu_ring_changed(struct emu_cpu *cpu, uint8_t cpl)
{
    cpu->cpl = cpl;
    cpu->class = cpl == 3 ? EMU_USER : EMU_SUPERVISOR;
    cpu->tlb = cpu->tlbs[cpu->class];
    cpu->fetch_now = cpu->fetch[cpl == 3];
    cpu->is_stack32 = (cpu->segment[HV_SS].attributes & HV_SEG_DB) != 0;
    drop_stack_window(cpu);
}
