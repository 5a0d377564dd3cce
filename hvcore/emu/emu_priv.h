/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the machine, the block cache and the run loop share among themselves. */
#pragma once

#include "hvcore/emu/emu.h"
#include "hvcore/emu/op.h"

enum {
    EMU_MAX_CPUS = X86_LAPIC_MAX,
    EMU_HASH_BUCKETS = 1 << 16,
    EMU_ARENA_HALF_BYTES = 32 << 20,
    EMU_N_HALVES = 2,
    EMU_BLOCK_MAX_CODE = 512, /* bytes of a piece */
    EMU_BLOCK_MAX_PIECES = 4,
};

/* Code of a block without a jump within, in its page. */
struct emu_piece {
    uint16_t at, bytes;
};

/* What is known of the code in one guest page. lock: machine->block_lock, but `lines` is read
 * freely */
struct emu_page {
    _Atomic uint64_t lines; /* 64-byte lines that blocks were made of */
    struct emu_block *blocks;
    unsigned idle_writes;  /* since the last block went */
    struct emu_page *next; /* all pages of the machine */
    hv_gpa_t gpa;
};

/* A generic operation's instruction, with its function. */
struct emu_generic {
    emu_exec_fn *fn;
    struct emu_insn insn;
};

struct emu_machine {
    struct hv_gpa_space *gpa;
    struct emu_bus bus;
    struct hv_log log;
    uint64_t tsc_hz;
    bool exact_flags;
    bool no_fast;
    unsigned n_cpus;
    struct emu_cpu *cpus[EMU_MAX_CPUS];

    /* stopping; lock: stop_lock */
    pthread_mutex_t stop_lock;
    pthread_cond_t stop_cond;
    unsigned n_running;
    struct emu_cpu *stopper;
    unsigned stop_depth;

    /* blocks; lock: block_lock. Lookup goes without it: blocks are published whole, and their
     * memory is used again only after every VP has passed its run loop. */
    pthread_mutex_t block_lock;
    uint8_t *arena;
    unsigned half;               /* of the arena, being filled */
    size_t used;                 /* in that half */
    _Atomic uint64_t generation; /* of the cache: halves filled so far */
    _Atomic(struct emu_block *) *hash;
    _Atomic(struct emu_page *) *pages[HV_GPA_MAX_SLOTS]; /* by page within the slot */
    struct emu_page *all_pages;
};

/* ---- walk.c ---- */
struct emu_walk {
    hv_gpa_t gpa;     /* of the byte */
    bool is_writable; /* a write by this class needs no further walk: allowed and dirty */
    uint64_t info;    /* enum emu_tlb_info */
};

/* Translate for an access (X86_PF_W, X86_PF_I) by a class, setting A and D. False: *ret_error is
 * the #PF's error code. */
bool emu_walk(struct emu_cpu *cpu, uint64_t linear, unsigned access, enum emu_class class,
              struct emu_walk *ret, uint32_t *ret_error);

/* ---- tlb.c ---- */
/* The translation of a code address at the current privilege; NULL with cpu->fault set. */
const struct emu_fetch_entry *emu_fetch(struct emu_cpu *cpu, uint64_t linear);

static inline const struct emu_fetch_entry *emu_fetch_slot(const struct emu_cpu *cpu,
                                                           uint64_t linear)
{
    return &cpu->fetch_now[linear >> HV_PAGE_SHIFT & (EMU_FETCH_TLB_ENTRIES - 1)];
}

static inline const struct emu_fetch_entry *emu_fetch_cached(const struct emu_cpu *cpu,
                                                             uint64_t linear)
{
    const struct emu_fetch_entry *e = emu_fetch_slot(cpu, linear);

    return e->tag == (linear & ~UINT64_C(0xfff)) ? e : NULL;
}

/* Before any other use. */
void emu_tlb_init(struct emu_cpu *cpu);
/* Take write permission for a guest page out of this VP's cache. */
void emu_tlb_protect(struct emu_cpu *cpu, hv_gpa_t page);
/* Walk, and cache the translation: also for MMIO, which is never cached. */
bool emu_tlb_translate(struct emu_cpu *cpu, uint64_t linear, bool is_write, enum emu_class class,
                       hv_gpa_t *ret_gpa);

/* Host pointer of a guest physical address, or NULL when that isn't RAM. */
static inline uint8_t *emu_ram(struct emu_machine *machine, hv_gpa_t gpa)
{
    struct hv_gpa_slot *slot = hv_gpa_slot_of(machine->gpa, gpa);

    return slot ? slot->host + (gpa - slot->first) : NULL;
}

/* ---- block.c ---- */
int emu_blocks_init(struct emu_machine *machine);
void emu_blocks_fini(struct emu_machine *machine);
/* The block of this code, or NULL. */
struct emu_block *emu_block_find(struct emu_machine *machine, hv_gpa_t gpa, unsigned code_size);
/* Forget all code; every VP is stopped, the caller is in its run loop. False: not now, a VP is
 * still in code of the half that would be used again. */
bool emu_blocks_flush(struct emu_machine *machine);

/* Do what emu_machine_flush asked of this processor, and say so. */
void emu_take_flush(struct emu_cpu *cpu);
/* Guest memory has changed: drop what was made of it. Any thread. Returns whether a block went. */
bool emu_code_written(struct emu_machine *machine, hv_gpa_t gpa, uint64_t bytes);
/* Memory for a block; NULL when the half is full. */
void *emu_arena_take(struct emu_machine *machine, size_t bytes);
/* Publish a block made of these pieces of a page, which is at host and was copied before; false
 * when their bytes have changed meanwhile. */
bool emu_block_publish(struct emu_machine *machine, struct emu_block *block,
                       const struct emu_piece *pieces, unsigned n_pieces, const uint8_t *copy,
                       const uint8_t *host);
/* Make the page known as one with code, taking write permission for it from all VPs. */
bool emu_page_claim(struct emu_cpu *cpu, hv_gpa_t page);
struct emu_page *emu_page_of(struct emu_machine *machine, hv_gpa_t gpa);

/* ---- build.c ---- */
/* Build the block at gpa, whose page is mapped at host. NULL: its first instruction must be stepped
 * (it is invalid), or cpu->must_flush_blocks is set. */
struct emu_block *emu_build(struct emu_cpu *cpu, hv_gpa_t gpa, const uint8_t *page_host);
emu_exec_fn *emu_exec_of(unsigned mnemonic);

/* What the first record of an instruction in two pages knows of it (its aux): how many bytes lie in
 * the second page, which are then in imm64, disp and imm; or one of these. */
enum { EMU_CUT_NEW = 0, EMU_CUT_MAX_BYTES = 14, EMU_CUT_UNKNOWN };
/* It is known now: the block is entered by a fast handler as long as the second page has these
 * bytes, where there is such a handler. */
void emu_learn_cut(struct emu_machine *machine, struct emu_block *block,
                   const struct emu_insn *insn, const uint8_t *bytes);

/* ---- run.c ---- */
emu_handler emu_op_generic, emu_op_fallthrough, emu_op_stale, emu_op_sync, emu_op_cut;

/* ---- machine.c ---- */
void emu_cpu_enter(struct emu_cpu *cpu);
void emu_cpu_leave(struct emu_cpu *cpu);
