/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paging permissions by enumeration: every combination of the bits of a 4 KiB and of a 2 MiB entry
 * (and of the entry above), for reads, writes and fetches, at CPL 0 and 3, with WP, SMEP, SMAP and
 * AC, against a model written from the manual. Faults are compared with their error code and CR2,
 * successes with the A and D bits they leave.
 *
 * spec: AMD64 vol. 2, 5.4 to 5.6
 */
#include "guest.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80 };
#define NX       (1ull << 63)
#define RESERVED (1ull << 51)

#define VA_4K 0x400000000000ull
#define VA_2M 0x400040000000ull

enum access { READ, WRITE, FETCH, N_ACCESSES };
enum { CODE_FAULT_P = 1, CODE_W = 2, CODE_U = 4, CODE_RSVD = 8, CODE_I = 16 };

static uint8_t page[4096] __attribute__((aligned(4096)));
static uint64_t large_page; /* physical, 2 MiB aligned, in RAM */
static bool has_smep, has_smap, has_wide_physical;
static uint64_t *leaf, *parent; /* of the page under test */

void guest_ap(unsigned index)
{
}

bool guest_on_trap(struct frame *frame)
{
    return false;
}

struct situation {
    uint64_t leaf, parent; /* bits */
    enum access access;
    bool is_user, wp, smep, smap, ac;
};

/* What must happen: the error code, or NO_TRAP. */
static uint64_t expected(const struct situation *s)
{
    uint64_t error = (s->access == WRITE ? CODE_W : 0) | (s->is_user ? CODE_U : 0) |
                     (s->access == FETCH ? CODE_I : 0);
    uint64_t both = s->leaf & s->parent;
    bool is_nx = (s->leaf | s->parent) & NX;

    if (!(s->parent & P))
        return error;
    if (s->parent & RESERVED)
        return error | CODE_RSVD | CODE_FAULT_P;
    if (!(s->leaf & P))
        return error;
    if (s->leaf & RESERVED)
        return error | CODE_RSVD | CODE_FAULT_P;
    error |= CODE_FAULT_P;
    if (s->access == FETCH && is_nx)
        return error;
    if (s->is_user) {
        if (!(both & U) || (s->access == WRITE && !(both & W)))
            return error;
        return NO_TRAP;
    }
    if (both & U && s->access == FETCH && s->smep)
        return error;
    if (both & U && s->access != FETCH && s->smap && !s->ac)
        return error;
    if (s->access == WRITE && !(both & W) && s->wp)
        return error;
    return NO_TRAP;
}

static void do_read(uint64_t va, uint64_t ac)
{
    if (ac)
        __asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq" : : : "memory", "cc");
    (void)*(volatile uint8_t *)va;
}

static void do_write(uint64_t va, uint64_t ac)
{
    if (ac)
        __asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq" : : : "memory", "cc");
    *(volatile uint8_t *)va = 0xc3;
}

static void set_controls(const struct situation *s)
{
    uint64_t cr0 = (read_cr0() & ~0x10000ull) | (s->wp ? 0x10000 : 0);
    uint64_t cr4 =
        (read_cr4() & ~0x300000ull) | (s->smep ? 0x100000 : 0) | (s->smap ? 0x200000 : 0);

    if (cr0 != read_cr0())
        write_cr0(cr0);
    if (cr4 != read_cr4())
        write_cr4(cr4);
}

static void (*const accesses[N_ACCESSES])(uint64_t, uint64_t) = { do_read, do_write, NULL };

static void perform(const struct situation *s, uint64_t va)
{
    void *fn = s->access == FETCH ? (void *)va : (void *)accesses[s->access];

    if (s->is_user)
        attempt_user(fn, va, 0);
    else
        attempt(fn, va, s->ac);
}

/* With SMAP and SMEP the kernel's own pages must be supervisor pages; user code then has pages of
 * its own. The identity map is made of 2 MiB pages that all have U: so these run with a second
 * map of the first 2 MiB without U. */
static void set_identity(bool is_user)
{
    uint64_t bits = is_user ? 0x87 : 0x83;

    for (unsigned i = 0; i < 32; i++)
        pds[i] = (uint64_t)i << 21 | bits;
    write_cr3(read_cr3());
}

static unsigned n_told;

static void tell(const struct situation *s, uint64_t want)
{
    if (n_told++ > 20)
        return;
    print("  leaf ");
    print_hex(s->leaf);
    print(" parent ");
    print_hex(s->parent);
    print(s->access == READ ? " read" : s->access == WRITE ? " write" : " fetch");
    print(s->is_user ? " user" : " kernel");
    print(s->wp ? " wp" : "");
    print(s->smep ? " smep" : "");
    print(s->smap ? " smap" : "");
    print(s->ac ? " ac" : "");
    print(": want ");
    print_hex(want);
    print("\n");
}

static void one(const struct situation *s, uint64_t va, uint64_t frame_bits)
{
    uint64_t want = expected(s);

    *leaf = frame_bits | s->leaf;
    *parent = (*parent & 0x0007fffffffff000ull) | s->parent;
    invlpg(va);
    perform(s, va);
    if (want == NO_TRAP) {
        if (!check_trap(NO_TRAP, 0, "an access that is allowed"))
            tell(s, want);
        if (!check(*leaf == (frame_bits | s->leaf | A | (s->access == WRITE ? D : 0)),
                   "A and D after an access"))
            tell(s, *leaf);
        check(*parent & A, "A of the level above");
    } else {
        if (!check_trap(PF, want, "an access that is refused"))
            tell(s, want);
        check(trap.cr2 == va, "CR2 is the address");
        if (!check(*leaf == (frame_bits | s->leaf), "no A or D after a refusal"))
            tell(s, *leaf);
    }
}

static const uint64_t leaf_bits[] = { P, W, U, A, D, NX, RESERVED };
static const uint64_t parent_bits[] = { P, W, U, NX };

static uint64_t pick(const uint64_t *bits, unsigned n, unsigned mask)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n; i++)
        if (mask >> i & 1)
            value |= bits[i];
    return value;
}

static void each_access(struct situation *s, uint64_t va, uint64_t frame_bits)
{
    for (unsigned access = 0; access < N_ACCESSES; access++)
        for (unsigned user = 0; user < 2; user++) {
            s->access = access;
            s->is_user = user;
            if (s->is_user && (s->smap || s->smep || s->ac))
                continue; /* user code shares the kernel's pages, which it can't see then */
            one(s, va, frame_bits);
        }
}

static void all_entries(struct situation *s, uint64_t va, uint64_t frame_bits)
{
    unsigned n_leaf = has_wide_physical ? 6 : 7;

    set_controls(s);
    for (unsigned l = 0; l < 1u << n_leaf; l++)
        for (unsigned p = 0; p < 16; p++) {
            s->leaf = pick(leaf_bits, n_leaf, l);
            s->parent = pick(parent_bits, 4, p);
            if ((p & 7) != 7 && (l & 0x18))
                continue; /* A and D needn't meet everything */
            each_access(s, va, frame_bits);
        }
}

static void all_controls(uint64_t va, uint64_t frame_bits)
{
    for (unsigned mode = 0; mode < 16; mode++) {
        struct situation s = { .wp = mode & 1, .smep = mode & 2, .smap = mode & 4, .ac = mode & 8 };

        if ((s.smep && !has_smep) || (s.smap && !has_smap) || (s.ac && !s.smap))
            continue;
        set_identity(!s.smap && !s.smep);
        all_entries(&s, va, frame_bits);
    }
    write_cr4(read_cr4() & ~0x300000ull);
    set_identity(true);
    *leaf = frame_bits | P | W | U;
    *parent = (*parent & 0x0007fffffffff000ull) | P | W | U;
    invlpg(va);
}

static uint64_t *table_of(uint64_t entry)
{
    return (uint64_t *)(entry & 0x000ffffffffff000ull);
}

static void pages_of_4k(void)
{
    uint64_t *table;

    page[0] = 0xc3;
    leaf = map_4k(VA_4K, (uint64_t)page | 7);
    table = table_of(pml4[VA_4K >> 39 & 511]);
    table = table_of(table[VA_4K >> 30 & 511]);
    parent = &table[VA_4K >> 21 & 511];
    all_controls(VA_4K, (uint64_t)page);
}

/* The frame is the fourth 2 MiB of RAM. */
static void pages_of_2m(void)
{
    uint64_t *table;

    large_page = 0x600000;
    *(volatile uint8_t *)large_page = 0xc3;
    (void)map_4k(VA_2M, 0);
    table = table_of(pml4[VA_2M >> 39 & 511]);
    parent = &table[VA_2M >> 30 & 511];
    leaf = &table_of(*parent)[VA_2M >> 21 & 511];
    all_controls(VA_2M, large_page | PS);
}

/* ---- Stale translations ---- */

static void do_rmw(uint64_t va)
{
    __asm__ volatile("lock incl (%0)" : : "r"(va) : "memory", "cc");
}

static void translations_follow_faults(void)
{
    uint64_t *entry = map_4k(VA_4K + 0x1000, (uint64_t)page | P | U);

    do_read(VA_4K + 0x1000, 0);
    write_cr0(read_cr0() | 0x10000);
    attempt(do_write, VA_4K + 0x1000, 0);
    check_trap(PF, 3, "a write to a read-only page");
    *entry |= W; /* more rights need no flush */
    attempt(do_write, VA_4K + 0x1000, 0);
    check_trap(NO_TRAP, 0, "is retried with the new rights");
    *entry = (uint64_t)page | P | U;
    invlpg(VA_4K + 0x1000);
    attempt(do_rmw, VA_4K + 0x1000, 0);
    check_trap(PF, 3, "read-modify-write faults as a write");
    *entry = 0;
    invlpg(VA_4K + 0x1000);
    attempt(do_read, VA_4K + 0x1000, 0);
    check_trap(PF, 0, "a page that went away");
    *entry = (uint64_t)page | P | W;
    attempt(do_read, VA_4K + 0x1000, 0);
    check_trap(NO_TRAP, 0, "not-present isn't cached");
}

/* invlpg of one address of a large page drops all of it. */
static void invlpg_of_large_pages(void)
{
    uint64_t base = VA_2M + 0x200000;
    uint64_t *table = table_of(pml4[base >> 39 & 511]), *entry;

    *(volatile uint64_t *)0x601000 = 0x1111;
    *(volatile uint64_t *)0x801000 = 0x2222;
    table[VA_2M >> 30 & 511] |= 7;
    table[VA_2M >> 30 & 511] &= ~NX;
    entry = &table_of(table[base >> 30 & 511])[base >> 21 & 511];
    *entry = 0x600000 | PS | P | W | U;
    check(*(volatile uint64_t *)(base + 0x1000) == 0x1111, "through a large page");
    *entry = 0x800000 | PS | P | W | U;
    invlpg(base + 0x123000);
    check(*(volatile uint64_t *)(base + 0x1000) == 0x2222, "invlpg drops the whole large page");
}

static void global_pages(void)
{
    uint64_t *entry = map_4k(VA_4K + 0x2000, (uint64_t)page | P | W | 0x100);
    static uint8_t other[4096] __attribute__((aligned(4096)));

    page[8] = 1;
    other[8] = 2;
    write_cr4(read_cr4() | 0x80);
    check(*(volatile uint8_t *)(VA_4K + 0x2008) == 1, "through a global page");
    *entry = (uint64_t)other | P | W;
    write_cr4(read_cr4() & ~0x80ull);
    check(*(volatile uint8_t *)(VA_4K + 0x2008) == 2, "clearing PGE drops global pages");
    *entry = (uint64_t)page | P | W;
    write_cr3(read_cr3());
    check(*(volatile uint8_t *)(VA_4K + 0x2008) == 1, "writing CR3 drops the others");
}

/* An instruction at the end of a page, the next one not there. */
static void fetches_at_page_ends(void)
{
    uint64_t va = VA_4K + 0x3000;

    (void)map_4k(va, (uint64_t)page | P | W);
    *map_4k(va + 0x1000, 0) = 0;
    page[0xfff] = 0xc3;
    attempt((void *)(va + 0xfff), 0, 0);
    check_trap(NO_TRAP, 0, "an instruction that ends with its page");
    page[0xfff] = 0xb8; /* mov eax, imm32 */
    attempt((void *)(va + 0xfff), 0, 0);
    check_trap(PF, 0x10, "an instruction that goes on in a missing page");
    check(trap.cr2 == va + 0x1000 && trap.rip == va + 0xfff, "CR2 and rip of such a fault");
    page[0xffe] = 0x90;
    page[0xfff] = 0x90;
    attempt((void *)(va + 0xffe), 0, 0);
    check_trap(PF, 0x10, "running into a missing page");
    check(trap.cr2 == va + 0x1000 && trap.rip == va + 0x1000, "which faults there");
}

int guest_main(void)
{
    uint32_t eax = 0x80000008, ebx, ecx, edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
    has_wide_physical = (eax & 0xff) > 51;
    has_smep = has_feature(7, 1, 7);
    has_smap = has_feature(7, 1, 20);
    pages_of_4k();
    pages_of_2m();
    write_cr0(read_cr0() | 0x10000);
    translations_follow_faults();
    invlpg_of_large_pages();
    global_pages();
    fetches_at_page_ends();
    return finish("paging");
}
