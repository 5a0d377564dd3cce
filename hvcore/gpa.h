/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest physical space: RAM slots over one memfd, and the only checked way to guest bytes.
 *
 * A slot is a run of pages of guest RAM. Slots are added while no VP runs and never removed. All
 * accessors may be called from any thread; they never return a host pointer into a hole.
 */
#pragma once

#include "hvcore/base/error.h"

#include <stdatomic.h>

typedef uint64_t hv_gpa_t;
typedef uint64_t hv_gva_t;

enum {
    HV_PAGE_SHIFT = 12,
    HV_PAGE_BYTES = 4096,
    HV_GPA_MAX_SLOTS = 8,
};

/* Flags kept per RAM page, in slot->page_flags; set and cleared atomically. */
enum hv_gpa_page_flag {
    HV_GPA_PAGE_CODE = 1, /* the software processor holds decoded code of this page */
    HV_GPA_PAGE_CLEAN = 2 /* dirty log: not written since the log was last read */
};

struct hv_gpa_slot {
    /* read only */
    hv_gpa_t first;              /* page aligned */
    uint64_t bytes;              /* page aligned, not 0 */
    uint8_t *host;               /* mapping of the slot's first byte, read/write, no exec */
    _Atomic uint8_t *page_flags; /* bytes >> 12 entries of enum hv_gpa_page_flag */
};

/* Called after bytes of a page with HV_GPA_PAGE_CODE were changed by an accessor; any thread. */
typedef void hv_gpa_code_written_fn(void *opaque, hv_gpa_t first, uint64_t bytes);

struct hv_gpa_space {
    /* read only */
    struct hv_gpa_slot slots[HV_GPA_MAX_SLOTS];
    unsigned n_slots;
    int memfd;
    uint64_t ram_bytes;
    hv_gpa_t end; /* one past the last RAM byte */
    /* private */
    hv_gpa_code_written_fn *code_written;
    void *code_written_opaque;
};

/*
 * Make an empty space backed by a sealed memfd of ram_bytes (page aligned, not 0; reserved, not
 * yet touched; kept out of core dumps).
 *
 * return: 0, -EINVAL (size), -ENOMEM and others of memfd_create; code vm.memory.reserve
 */
int hv_gpa_space_init(struct hv_gpa_space *space, uint64_t ram_bytes, struct hv_error **reterr);
void hv_gpa_space_fini(struct hv_gpa_space *space);

/* Map [memfd_offset, +bytes) of the memfd at guest physical `first`. All page aligned, slots must
 * not overlap. Returns 0, -EINVAL, -ENOSPC (HV_GPA_MAX_SLOTS) or an errno of mmap. */
int hv_gpa_space_add_ram(struct hv_gpa_space *space, hv_gpa_t first, uint64_t bytes,
                         uint64_t memfd_offset);

/* Have fn called after writes to pages with HV_GPA_PAGE_CODE; NULL ends it. No VP runs. */
void hv_gpa_space_watch_code(struct hv_gpa_space *space, hv_gpa_code_written_fn *fn, void *opaque);

/* The slot that holds gpa, or NULL when there is no RAM. */
static inline struct hv_gpa_slot *hv_gpa_slot_of(struct hv_gpa_space *space, hv_gpa_t gpa)
{
    for (unsigned i = 0; i < space->n_slots; i++) {
        struct hv_gpa_slot *slot = &space->slots[i];

        if (gpa - slot->first < slot->bytes)
            return slot;
    }
    return NULL;
}

/*
 * Copy between guest RAM and private memory; may span slots that touch. Nothing is copied unless
 * the whole range is RAM. Return 0 or -EFAULT.
 */
int hv_gpa_read(struct hv_gpa_space *space, hv_gpa_t gpa, void *ret, size_t bytes);
int hv_gpa_write(struct hv_gpa_space *space, hv_gpa_t gpa, const void *from, size_t bytes);
int hv_gpa_fill(struct hv_gpa_space *space, hv_gpa_t gpa, uint8_t value, size_t bytes);

/* Read from a file descriptor straight into guest RAM. Returns 0, -EFAULT (no RAM), -EIO (the
 * file ended early) or an errno of pread. */
int hv_gpa_write_from_fd(struct hv_gpa_space *space, hv_gpa_t gpa, int fd, uint64_t offset,
                         uint64_t bytes);

/*
 * A window onto guest RAM for bulk data and shared rings: the host address of gpa and, in
 * *ret_bytes, how much of [gpa, +bytes) lies behind it in one piece (at least 1 byte, the whole
 * range unless it crosses into the next slot). NULL when gpa is not RAM. Valid as long as the
 * space; the guest writes there at the same time, so what is read is copied once and judged after.
 * Who writes through it calls hv_gpa_note_written afterwards.
 */
void *hv_gpa_window(struct hv_gpa_space *space, hv_gpa_t gpa, uint64_t bytes, uint64_t *ret_bytes);
/* After a write through a window: decoded code of those pages is dropped, the dirty log kept. Parts
 * that are no RAM are passed over. Any thread. */
void hv_gpa_note_written(struct hv_gpa_space *space, hv_gpa_t gpa, uint64_t bytes);

/* Make all RAM zero and give its pages back to the host; while no VP runs. Returns 0 or an errno of
 * fallocate, with RAM as it was. */
int hv_gpa_discard(struct hv_gpa_space *space);
