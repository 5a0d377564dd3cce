/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of decoded blocks, by guest physical address; what memory they were made of. */
#include "hvcore/emu/emu_priv.h"

#include <string.h>
#include <sys/mman.h>

/* Beyond all guest physical addresses. */
#define NOWHERE (UINT64_C(1) << 63)

/* So many writes without code in between make a page an ordinary one. */
enum { IDLE_WRITES = 8 };

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static size_t page_table_bytes(const struct hv_gpa_slot *slot)
{
    return (slot->bytes >> HV_PAGE_SHIFT) * sizeof(struct emu_page *);
}

int emu_blocks_init(struct emu_machine *machine)
{
    if (pthread_mutex_init(&machine->block_lock, NULL) != 0)
        return -ENOMEM;
    machine->arena = reserve((size_t)EMU_ARENA_HALF_BYTES * EMU_N_HALVES);
    machine->hash = reserve(EMU_HASH_BUCKETS * sizeof(*machine->hash));
    if (!machine->arena || !machine->hash)
        return -ENOMEM;
    /* A way through a kernel meets blocks all over it. */
    (void)madvise(machine->arena, (size_t)EMU_ARENA_HALF_BYTES * EMU_N_HALVES, MADV_HUGEPAGE);
    for (unsigned i = 0; i < machine->gpa->n_slots; i++) {
        machine->pages[i] = reserve(page_table_bytes(&machine->gpa->slots[i]));
        if (!machine->pages[i])
            return -ENOMEM;
    }
    return 0;
}

static void drop_pages(struct emu_machine *machine)
{
    while (machine->all_pages) {
        struct emu_page *page = machine->all_pages;

        machine->all_pages = page->next;
        free(page);
    }
}

void emu_blocks_fini(struct emu_machine *machine)
{
    drop_pages(machine);
    for (unsigned i = 0; i < machine->gpa->n_slots; i++)
        if (machine->pages[i])
            (void)munmap((void *)machine->pages[i], page_table_bytes(&machine->gpa->slots[i]));
    if (machine->hash)
        (void)munmap((void *)machine->hash, EMU_HASH_BUCKETS * sizeof(*machine->hash));
    if (machine->arena)
        (void)munmap(machine->arena, (size_t)EMU_ARENA_HALF_BYTES * EMU_N_HALVES);
    (void)pthread_mutex_destroy(&machine->block_lock);
}

static _Atomic(struct emu_page *) *page_place(struct emu_machine *machine, hv_gpa_t gpa,
                                              _Atomic uint8_t **ret_flags)
{
    struct hv_gpa_slot *slot = hv_gpa_slot_of(machine->gpa, gpa);
    uint64_t number;

    if (!slot)
        return NULL;
    number = (gpa - slot->first) >> HV_PAGE_SHIFT;
    *ret_flags = &slot->page_flags[number];
    return &machine->pages[slot - machine->gpa->slots][number];
}

struct emu_page *emu_page_of(struct emu_machine *machine, hv_gpa_t gpa)
{
    _Atomic uint8_t *flags;
    _Atomic(struct emu_page *) *place = page_place(machine, gpa, &flags);

    return place ? atomic_load_explicit(place, memory_order_acquire) : NULL;
}

static struct emu_page *make_page(struct emu_machine *machine, _Atomic(struct emu_page *) *place,
                                  hv_gpa_t gpa)
{
    struct emu_page *page = atomic_load(place);

    if (page)
        return page;
    page = calloc(1, sizeof(*page));
    if (!page)
        return NULL;
    page->gpa = gpa;
    page->next = machine->all_pages;
    machine->all_pages = page;
    atomic_store_explicit(place, page, memory_order_release);
    return page;
}

bool emu_page_claim(struct emu_cpu *cpu, hv_gpa_t gpa)
{
    struct emu_machine *machine = cpu->machine;
    _Atomic uint8_t *flags;
    _Atomic(struct emu_page *) *place = page_place(machine, gpa, &flags);
    struct emu_page *page;

    if (!place)
        return false;
    if (atomic_load(flags) & HV_GPA_PAGE_CODE && atomic_load(place))
        return true;
    emu_machine_stop(cpu);
    pthread_mutex_lock(&machine->block_lock);
    page = make_page(machine, place, gpa);
    if (page) {
        atomic_fetch_or(flags, HV_GPA_PAGE_CODE);
        for (unsigned i = 0; i < machine->n_cpus; i++)
            emu_tlb_protect(machine->cpus[i], gpa);
    }
    pthread_mutex_unlock(&machine->block_lock);
    emu_machine_resume(cpu);
    return page != NULL;
}

static unsigned bucket_of(hv_gpa_t gpa)
{
    return (unsigned)((gpa ^ gpa >> 16) * UINT64_C(0x9e3779b97f4a7c15) >> 48) &
           (EMU_HASH_BUCKETS - 1);
}

void *emu_arena_take(struct emu_machine *machine, size_t bytes)
{
    void *p = NULL;

    bytes = (bytes + 31) & ~(size_t)31;
    pthread_mutex_lock(&machine->block_lock);
    if (bytes <= EMU_ARENA_HALF_BYTES - machine->used) {
        p = machine->arena + (size_t)machine->half * EMU_ARENA_HALF_BYTES + machine->used;
        machine->used += bytes;
    }
    pthread_mutex_unlock(&machine->block_lock);
    return p;
}

struct emu_block *emu_block_find(struct emu_machine *machine, hv_gpa_t gpa, unsigned code_size)
{
    struct emu_block *block =
        atomic_load_explicit(&machine->hash[bucket_of(gpa)], memory_order_acquire);

    while (block && !(block->gpa == gpa && block->code_size == code_size && !block->is_stale))
        block = block->hash_next;
    return block;
}

static void unhash(struct emu_machine *machine, struct emu_block *block)
{
    _Atomic(struct emu_block *) *bucket = &machine->hash[bucket_of(block->gpa)];
    struct emu_block *b = atomic_load(bucket);

    if (b == block) {
        atomic_store_explicit(bucket, block->hash_next, memory_order_release);
        return;
    }
    /* The removed block keeps its own hash_next, for those who are looking at it now. */
    for (; b; b = b->hash_next)
        if (b->hash_next == block) {
            b->hash_next = block->hash_next;
            return;
        }
}

static void unlink_from(struct emu_block *from, const struct emu_block *target)
{
    for (uint64_t forks = from->forks; forks; forks &= forks - 1) {
        struct emu_op *op = &from->ops[__builtin_ctzll(forks)];

        if (op->link == target)
            op->link = NULL;
    }
    for (unsigned i = from->n_ops - from->n_links; i < from->n_ops; i++)
        if (from->ops[i].link == target)
            from->ops[i].link = NULL;
}

static void retire(struct emu_machine *machine, struct emu_page *page, struct emu_block *block)
{
    unhash(machine, block);
    block->is_stale = 1;
    for (struct emu_block *b = page->blocks; b; b = b->page_next)
        unlink_from(b, block);
    unlink_from(block, block);
    /* Who comes in by a link of another page finds an address that leads nowhere, or a way out in
     * the first operation. */
    block->gpa |= NOWHERE;
    __atomic_store_n(&block->ops[0].fn, emu_op_stale, __ATOMIC_RELEASE);
}

/* Retire the page's blocks made of any of these lines; returns whether there were any. */
static bool retire_lines(struct emu_machine *machine, struct emu_page *page, uint64_t lines)
{
    struct emu_block **at = &page->blocks;
    uint64_t left = 0;
    bool any = false;

    while (*at) {
        struct emu_block *block = *at;

        if (block->lines & lines) {
            *at = block->page_next;
            retire(machine, page, block);
            any = true;
        } else {
            left |= block->lines;
            at = &block->page_next;
        }
    }
    atomic_store(&page->lines, left);
    return any;
}

static bool page_written(struct emu_machine *machine, hv_gpa_t gpa, unsigned bytes)
{
    _Atomic uint8_t *flags;
    _Atomic(struct emu_page *) *place = page_place(machine, gpa, &flags);
    unsigned first = gpa >> 6 & 63, last = (gpa + bytes - 1) >> 6 & 63;
    uint64_t lines = ((UINT64_C(2) << (last - first)) - 1) << first;
    struct emu_page *page;
    bool any;

    if (!place || !(atomic_load_explicit(flags, memory_order_relaxed) & HV_GPA_PAGE_CODE))
        return false;
    page = atomic_load(place);
    if (!page || (page->lines && !(atomic_load(&page->lines) & lines)))
        return false;
    pthread_mutex_lock(&machine->block_lock);
    any = retire_lines(machine, page, lines);
    /* Code that is patched and run in turn shouldn't cost a claim each time; but a page that has
     * become data should soon be written at full speed. */
    if (!page->blocks && ++page->idle_writes >= IDLE_WRITES)
        atomic_fetch_and(flags, (uint8_t)~HV_GPA_PAGE_CODE);
    pthread_mutex_unlock(&machine->block_lock);
    return any;
}

bool emu_code_written(struct emu_machine *machine, hv_gpa_t gpa, uint64_t bytes)
{
    bool any = false;

    /* Pairs with the fence in emu_block_publish: either the block's maker sees the new bytes, or
     * the lines it has set are seen here. */
    atomic_thread_fence(memory_order_seq_cst);
    while (bytes > 0) {
        uint64_t part = HV_PAGE_BYTES - (gpa & 0xfff);

        part = part < bytes ? part : bytes;
        any |= page_written(machine, gpa, (unsigned)part);
        gpa += part;
        bytes -= part;
    }
    return any;
}

static bool is_same(const struct emu_piece *pieces, unsigned n_pieces, const uint8_t *copy,
                    const uint8_t *host)
{
    for (unsigned i = 0; i < n_pieces; i++)
        if (memcmp(copy + pieces[i].at, host + pieces[i].at, pieces[i].bytes) != 0)
            return false;
    return true;
}

bool emu_block_publish(struct emu_machine *machine, struct emu_block *block,
                       const struct emu_piece *pieces, unsigned n_pieces, const uint8_t *copy,
                       const uint8_t *host)
{
    struct emu_page *page;
    _Atomic uint8_t *flags;
    _Atomic(struct emu_page *) *place = page_place(machine, block->gpa, &flags);
    _Atomic(struct emu_block *) *bucket = &machine->hash[bucket_of(block->gpa)];
    bool is_true;

    pthread_mutex_lock(&machine->block_lock);
    page = atomic_load(place);
    is_true = page && atomic_load(flags) & HV_GPA_PAGE_CODE;
    if (is_true) {
        atomic_fetch_or(&page->lines, block->lines);
        atomic_thread_fence(memory_order_seq_cst);
        is_true = is_same(pieces, n_pieces, copy, host);
    }
    if (is_true) {
        page->idle_writes = 0;
        block->page_next = page->blocks;
        page->blocks = block;
        block->hash_next = atomic_load(bucket);
        atomic_store_explicit(bucket, block, memory_order_release);
    }
    pthread_mutex_unlock(&machine->block_lock);
    return is_true;
}

static bool is_half_quiet(const struct emu_machine *machine)
{
    uint64_t generation = atomic_load(&machine->generation);

    for (unsigned i = 0; i < machine->n_cpus; i++)
        if (machine->cpus[i]->is_in_chain && machine->cpus[i]->generation != generation)
            return false;
    return true;
}

bool emu_blocks_flush(struct emu_machine *machine)
{
    if (!is_half_quiet(machine))
        return false;
    pthread_mutex_lock(&machine->block_lock);
    for (struct emu_page *page = machine->all_pages; page; page = page->next) {
        _Atomic uint8_t *flags;

        (void)page_place(machine, page->gpa, &flags);
        atomic_fetch_and(flags, (uint8_t)~HV_GPA_PAGE_CODE);
        atomic_store(&page->lines, 0);
        page->blocks = NULL;
    }
    memset((void *)machine->hash, 0, EMU_HASH_BUCKETS * sizeof(*machine->hash));
    machine->half = (machine->half + 1) % EMU_N_HALVES;
    machine->used = 0;
    atomic_fetch_add(&machine->generation, 1);
    for (unsigned i = 0; i < machine->n_cpus; i++) {
        memset(machine->cpus[i]->jump_cache, 0, sizeof(machine->cpus[i]->jump_cache));
        memset(machine->cpus[i]->returns, 0, sizeof(machine->cpus[i]->returns));
        atomic_fetch_or(&machine->cpus[i]->request, EMU_REQ_BREAK);
    }
    pthread_mutex_unlock(&machine->block_lock);
    return true;
}
