/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page walk, in all four paging modes.
 *
 * spec: AMD64 vol. 2 chapter 5 "Page Translation and Protection"; 5.6 for permissions and SMEP/SMAP
 */
#include "hvcore/emu/emu_priv.h"

enum {
    PTE_P = 1,
    PTE_W = 2,
    PTE_U = 4,
    PTE_A = 0x20,
    PTE_D = 0x40,
    PTE_PS = 0x80,
    PTE_G = 0x100,
};
#define PTE_NX UINT64_C(0x8000000000000000)

/* A walk under way. Rights are gathered as bits that every level must grant. */
struct walk {
    struct emu_cpu *cpu;
    uint64_t linear;
    unsigned access; /* X86_PF_W, X86_PF_I, and X86_PF_U for the user class */
    uint64_t rights; /* PTE_W | PTE_U that all levels grant */
    bool is_nx;
    uint64_t entry;     /* as last read */
    hv_gpa_t entry_gpa; /* where */
    uint64_t *entry_host;
    bool is_wide; /* entries of 8 bytes */
};

static bool read_entry(struct walk *w, hv_gpa_t gpa)
{
    uint8_t *host = emu_ram(w->cpu->machine, gpa);

    w->entry_gpa = gpa;
    w->entry_host = (uint64_t *)(void *)host;
    if (!host)
        w->entry = 0; /* no memory there: reads as not present */
    else if (w->is_wide)
        w->entry = __atomic_load_n(w->entry_host, __ATOMIC_ACQUIRE);
    else
        w->entry = __atomic_load_n((uint32_t *)(void *)host, __ATOMIC_ACQUIRE);
    return w->entry & PTE_P;
}

/* Set bits in the entry by a locked update; false when it has changed since it was read. */
static bool set_bits(struct walk *w, uint64_t bits)
{
    uint64_t want = w->entry | bits;
    uint32_t narrow = (uint32_t)w->entry;
    bool done;

    if (want == w->entry)
        return true;
    if (w->is_wide)
        done = __atomic_compare_exchange_n(w->entry_host, &w->entry, want, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    else
        done =
            __atomic_compare_exchange_n((uint32_t *)(void *)w->entry_host, &narrow, (uint32_t)want,
                                        false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    if (done) {
        (void)emu_code_written(w->cpu->machine, w->entry_gpa, w->is_wide ? 8 : 4);
        w->entry = want;
    }
    return done;
}

static uint32_t fault_code(const struct walk *w, uint32_t cause)
{
    const struct emu_cpu *cpu = w->cpu;
    bool tells_fetch =
        (cpu->efer & X86_EFER_NXE && cpu->cr4 & X86_CR4_PAE) || cpu->cr4 & X86_CR4_SMEP;

    return cause | (w->access & (X86_PF_W | X86_PF_U)) | (tells_fetch ? w->access & X86_PF_I : 0);
}

/* Bits 51-12 that must be zero, and NX when it isn't enabled. */
static bool has_reserved_bits(const struct walk *w, uint64_t more)
{
    uint64_t reserved = (~w->cpu->phys_mask & UINT64_C(0x000ffffffffff000)) | more;

    if (!(w->cpu->efer & X86_EFER_NXE))
        reserved |= PTE_NX;
    return w->entry & reserved;
}

static bool may_access(const struct walk *w, enum emu_class class)
{
    const struct emu_cpu *cpu = w->cpu;
    bool is_user_page = w->rights & PTE_U;

    if (class == EMU_USER && !is_user_page)
        return false;
    if (w->access & X86_PF_I)
        return !w->is_nx && !(class != EMU_USER && is_user_page && cpu->cr4 & X86_CR4_SMEP);
    if (class == EMU_SUPERVISOR && is_user_page && cpu->cr4 & X86_CR4_SMAP)
        return false;
    if (w->access & X86_PF_W && !(w->rights & PTE_W))
        return class != EMU_USER && !(cpu->cr0 & X86_CR0_WP);
    return true;
}

enum step { STEP_DOWN, STEP_AGAIN, STEP_FAULT };

/* Take one level's rights into account and set its A bit. */
static enum step take_level(struct walk *w, uint64_t reserved, uint32_t *ret_error)
{
    if (!(w->entry & PTE_P)) {
        *ret_error = fault_code(w, 0);
        return STEP_FAULT;
    }
    if (has_reserved_bits(w, reserved)) {
        *ret_error = fault_code(w, X86_PF_P | X86_PF_RSVD);
        return STEP_FAULT;
    }
    w->rights &= w->entry;
    w->is_nx |= (w->entry & PTE_NX) != 0;
    return STEP_DOWN;
}

/* The leaf: permission, A and D. */
static enum step finish(struct walk *w, uint64_t page_mask, enum emu_class class,
                        struct emu_walk *ret, uint32_t *ret_error)
{
    const struct emu_cpu *cpu = w->cpu;
    bool may_write;

    if (!may_access(w, class)) {
        *ret_error = fault_code(w, X86_PF_P);
        return STEP_FAULT;
    }
    if (!set_bits(w, PTE_A | (w->access & X86_PF_W ? PTE_D : 0)))
        return STEP_AGAIN;
    may_write = w->rights & PTE_W || (class != EMU_USER && !(cpu->cr0 & X86_CR0_WP));
    ret->gpa = (w->entry & w->cpu->phys_mask & ~page_mask & UINT64_C(0x000ffffffffff000)) |
               (w->linear & page_mask);
    ret->is_writable = may_write && w->entry & PTE_D;
    ret->info = w->entry & PTE_G && cpu->cr4 & X86_CR4_PGE ? EMU_TLB_GLOBAL : 0;
    return STEP_DOWN;
}

static enum step walk_long(struct walk *w, enum emu_class class, struct emu_walk *ret,
                           uint32_t *ret_error)
{
    hv_gpa_t table = w->cpu->cr3 & w->cpu->phys_mask & UINT64_C(0x000ffffffffff000);
    enum step step;

    for (unsigned shift = 39;; shift -= 9) {
        bool is_leaf, is_large;

        (void)read_entry(w, table + (w->linear >> shift & 511) * 8);
        is_large = (shift == 30 || shift == 21) && w->entry & PTE_PS;
        is_leaf = shift == 12 || is_large;
        step = take_level(w,
                          shift == 39 ? PTE_PS
                          : is_large  ? ((UINT64_C(1) << shift) - 1) & ~UINT64_C(0x1fff)
                                      : 0,
                          ret_error);
        if (step != STEP_DOWN)
            return step;
        if (is_leaf) {
            step = finish(w, (UINT64_C(1) << shift) - 1, class, ret, ret_error);
            if (step == STEP_DOWN && is_large)
                ret->info |= shift == 30 ? EMU_TLB_1G : EMU_TLB_2M;
            return step;
        }
        if (!set_bits(w, PTE_A))
            return STEP_AGAIN;
        table = w->entry & w->cpu->phys_mask & UINT64_C(0x000ffffffffff000);
    }
}

/* PAE paging outside long mode. The four PDPTEs are read at each walk: AMD64 vol. 2, 5.3.3 allows
 * it ("not loaded at CR3 writes" on AMD when nested paging is in use). */
static enum step walk_pae(struct walk *w, enum emu_class class, struct emu_walk *ret,
                          uint32_t *ret_error)
{
    hv_gpa_t table;
    enum step step;
    bool is_large;

    (void)read_entry(w, (w->cpu->cr3 & UINT64_C(0xffffffe0)) + (w->linear >> 30 & 3) * 8);
    if (!(w->entry & PTE_P)) {
        *ret_error = fault_code(w, 0);
        return STEP_FAULT;
    }
    if (has_reserved_bits(w, UINT64_C(0x1e6) | PTE_NX)) {
        *ret_error = fault_code(w, X86_PF_P | X86_PF_RSVD);
        return STEP_FAULT;
    }
    table = w->entry & w->cpu->phys_mask & UINT64_C(0x000ffffffffff000);
    (void)read_entry(w, table + (w->linear >> 21 & 511) * 8);
    is_large = w->entry & PTE_PS;
    step = take_level(w, UINT64_C(0x7ff0000000000000) | (is_large ? 0x1fe000 : 0), ret_error);
    if (step != STEP_DOWN)
        return step;
    if (is_large) {
        step = finish(w, 0x1fffff, class, ret, ret_error);
        if (step == STEP_DOWN)
            ret->info |= EMU_TLB_2M;
        return step;
    }
    if (!set_bits(w, PTE_A))
        return STEP_AGAIN;
    table = w->entry & w->cpu->phys_mask & UINT64_C(0x000ffffffffff000);
    (void)read_entry(w, table + (w->linear >> 12 & 511) * 8);
    step = take_level(w, UINT64_C(0x7ff0000000000000), ret_error);
    if (step != STEP_DOWN)
        return step;
    return finish(w, 0xfff, class, ret, ret_error);
}

static enum step walk_legacy(struct walk *w, enum emu_class class, struct emu_walk *ret,
                             uint32_t *ret_error)
{
    hv_gpa_t table;
    enum step step;

    w->is_wide = false;
    (void)read_entry(w, (w->cpu->cr3 & UINT64_C(0xfffff000)) + (w->linear >> 22 & 1023) * 4);
    if (w->entry & PTE_P && w->entry & PTE_PS && w->cpu->cr4 & X86_CR4_PSE) {
        uint64_t high = w->entry >> 13 & 0xff; /* PSE-36: bits 39-32 */

        step = take_level(w, 1 << 21, ret_error);
        if (step == STEP_DOWN)
            step = finish(w, 0x3fffff, class, ret, ret_error);
        if (step == STEP_DOWN) {
            ret->gpa = (ret->gpa & UINT64_C(0xffffffff)) | high << 32;
            ret->info |= EMU_TLB_4M;
        }
        return step;
    }
    step = take_level(w, 0, ret_error);
    if (step != STEP_DOWN)
        return step;
    if (!set_bits(w, PTE_A))
        return STEP_AGAIN;
    table = w->entry & UINT64_C(0xfffff000);
    (void)read_entry(w, table + (w->linear >> 12 & 1023) * 4);
    step = take_level(w, 0, ret_error);
    if (step != STEP_DOWN)
        return step;
    return finish(w, 0xfff, class, ret, ret_error);
}

bool emu_walk(struct emu_cpu *cpu, uint64_t linear, unsigned access, enum emu_class class,
              struct emu_walk *ret, uint32_t *ret_error)
{
    enum step step;

    if (!(cpu->cr0 & X86_CR0_PG)) {
        *ret = (struct emu_walk){ .gpa = linear & UINT32_MAX, .is_writable = true };
        return true;
    }
    do {
        struct walk w = { .cpu = cpu,
                          .linear = linear,
                          .access = access | (class == EMU_USER ? X86_PF_U : 0),
                          .rights = PTE_W | PTE_U,
                          .is_wide = true };

        if (emu_is_long(cpu))
            step = walk_long(&w, class, ret, ret_error);
        else if (cpu->cr4 & X86_CR4_PAE)
            step = walk_pae(&w, class, ret, ret_error);
        else
            step = walk_legacy(&w, class, ret, ret_error);
    } while (step == STEP_AGAIN);
    return step == STEP_DOWN;
}
