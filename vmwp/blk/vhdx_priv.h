/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VHDX image.
 *
 * Tables (BAT, sector bitmaps) are changed in memory and reach the file by a commit alone: sync
 * payload, append one log entry with all changed pages, sync, apply in place. The next commit's
 * first sync makes the applied pages durable, so an entry is always its own tail.
 *
 * lock: layer.use, alloc, commits, meta, in this order. `alloc` serialises what takes new
 *       blocks or changes the header; `commits` commits and the log; `meta` guards pages, space
 *       and freed, and is held briefly.
 * spec: MS-VHDX
 */
#pragma once

#include "vmwp/blk/commits_priv.h"
#include "vmwp/blk/layer_priv.h"
#include "vmwp/blk/pages_priv.h"
#include "vmwp/blk/vhdx_wire_priv.h"

struct vhdx_header {
    uint64_t sequence;
    struct hv_guid file_write, data_write, log;
    uint32_t log_bytes;
    uint64_t log_offset;
};

/* Where a metadata item is, in the file. */
struct vhdx_item {
    uint64_t offset;
    uint32_t bytes;
};

/* Which MiB of the file are taken; length follows the file. */
struct vhdx_space {
    uint64_t *bits;
    uint64_t n_mib;      /* of the file, rounded down */
    uint64_t n_bits_max; /* room in bits */
    uint64_t n_taken;
    uint64_t hint;
    uint64_t no_run; /* no free run of so many MiB is known to be; 0: not known */
};

struct vhdx_range {
    uint64_t offset, bytes;
};

struct vhdx {
    struct blk_layer layer;

    /* what the file says; constant while it is open, but for resizing */
    uint64_t bat_offset, meta_offset;
    uint32_t bat_bytes, meta_bytes;
    unsigned n_regions;
    struct vhdx_range *regions; /* all of them, and header and log; for the space map */
    struct vhdx_item size_item, locator_item, page83_item, parameters_item;
    uint32_t flags; /* VHDX_LEAVE_ALLOCATED, VHDX_HAS_PARENT */
    uint32_t block_bytes, logical_bytes;
    uint32_t chunk_blocks; /* payload blocks that one sector bitmap covers */
    uint64_t n_blocks;
    bool is_damaged; /* one copy of the headers or region tables is bad: repaired when writable */
    int bad_regions; /* which table to write anew: 0 none, 1 or 2 */

    pthread_mutex_t alloc;
    struct vhdx_header header;
    unsigned slot; /* of the current header */
    atomic_bool is_file_write_new, is_data_write_new;
    bool is_data_write_kept; /* BLK_OPEN_KEEP_DATA_WRITE */

    struct blk_commits commits;
    uint64_t log_sequence; /* of the last entry */
    uint32_t log_at;       /* where the next goes, from log_offset */

    pthread_mutex_t meta;
    struct blk_pages pages;
    struct vhdx_space space;
    struct vhdx_range *freed; /* not to be used again before the next commit */
    size_t n_freed, n_freed_max;
};

static inline struct vhdx *vhdx_of(struct blk_layer *layer)
{
    return HV_CONTAINER_OF(layer, struct vhdx, layer);
}

/* vhdx_header.c */
int vhdx_header_read(struct vhdx *v, struct blk_report *report);
void vhdx_header_format(const struct vhdx_header *header, uint8_t ret[static VHDX_PAGE]);
/* Write v->header into both slots, one after the other. lock: alloc or commits or single. */
int vhdx_header_write(struct vhdx *v);
/* New FileWriteGuid and, when is_data, DataWriteGuid; once per open. */
int vhdx_begin_change(struct vhdx *v, bool is_data);

/* vhdx_region.c */
int vhdx_regions_read(struct vhdx *v, struct blk_report *report);
/* In `table` (a region table), set a region's place, and the checksum. */
bool vhdx_regions_move(uint8_t *table, const struct hv_guid *id, uint64_t offset, uint32_t bytes);

/* vhdx_meta.c, vhdx_locator.c */
int vhdx_meta_read(struct vhdx *v, struct blk_report *report);
int vhdx_locator_read(struct vhdx *v, struct blk_report *report);
/* Build an item into ret (VHDX_ITEM_MAX bytes are enough); *ret_bytes its length. */
int vhdx_locator_build(const struct hv_guid *linkage, const char *relative, const char *absolute,
                       uint8_t *ret, size_t ret_max, uint32_t *ret_bytes);
/* Derive chunk_blocks, n_blocks from sizes; false when the BAT can't hold them. */
bool vhdx_geometry(struct vhdx *v, uint64_t disk_bytes);
uint64_t vhdx_bat_entries(uint64_t n_blocks, uint32_t chunk_blocks, bool has_parent);

/* vhdx_log.c: judge the log the header names; apply it to the file, or as patches when is_patch. */
int vhdx_log_replay(struct vhdx *v, bool is_patch, struct blk_report *report);

/* vhdx_commit.c: make every table change up to now durable, and all payload before it. */
int vhdx_commit(struct vhdx *v);
/* Most pages one operation may change, so that one log entry holds them all. */
enum { VHDX_PAGES_PER_CHANGE = 24, VHDX_PAGES_PER_ENTRY = 120 };
/* Take `meta` with room for n_pages more dirty pages; commits when there is none. */
int vhdx_lock_for_change(struct vhdx *v, unsigned n_pages);

/* vhdx_bat.c. lock: meta */
uint64_t vhdx_bat_index(const struct vhdx *v, uint64_t block);
uint64_t vhdx_bitmap_index(const struct vhdx *v, uint64_t block);
int vhdx_bat_get(struct vhdx *v, uint64_t index, uint64_t *ret_entry);
/* Get the page and mark it changed, so that vhdx_bat_set can't fail afterwards. */
int vhdx_bat_prepare(struct vhdx *v, uint64_t index);
void vhdx_bat_set(struct vhdx *v, uint64_t index, uint64_t entry);
/* The whole table: every entry judged, its space marked taken. */
int vhdx_bat_scan(struct vhdx *v, struct blk_report *report, uint64_t *ret_allocated);

/* vhdx_bitmap.c. lock: meta. sector: within the disk. */
int vhdx_bitmap_run(struct vhdx *v, uint64_t sector, uint64_t n_sectors, bool *ret_is_set,
                    uint64_t *ret_run);
int vhdx_bitmap_prepare(struct vhdx *v, uint64_t bitmap_offset, uint64_t sector,
                        uint64_t n_sectors);
void vhdx_bitmap_set(struct vhdx *v, uint64_t bitmap_offset, uint64_t sector, uint64_t n_sectors,
                     bool is_own);

/* vhdx_space.c. lock: meta */
int vhdx_space_resize(struct vhdx_space *space, uint64_t file_bytes);
/* Mark taken; false when part of it is taken already or outside. */
bool vhdx_space_take(struct vhdx_space *space, uint64_t offset, uint64_t bytes);
void vhdx_space_give(struct vhdx_space *space, uint64_t offset, uint64_t bytes);
bool vhdx_space_find(struct vhdx_space *space, uint64_t bytes, uint64_t *ret_offset);

/* vhdx_alloc.c. lock: alloc. Space for one block, taken; *ret_is_used: it may hold old bytes. */
int vhdx_alloc_space(struct vhdx *v, uint64_t bytes, uint64_t *ret_offset, bool *ret_is_used);
void vhdx_alloc_undo(struct vhdx *v, uint64_t offset, uint64_t bytes);
/* Free after the next commit. lock: meta */
int vhdx_free_later(struct vhdx *v, uint64_t offset, uint64_t bytes);
/* Write the first bytes of a block that has no space of its own; its other bytes are the parent's
 * (is_parent_below) or zeroes. lock: use for reading, alloc */
int vhdx_alloc_write(struct vhdx *v, uint64_t block, uint64_t in_block, struct blk_iter *iter,
                     uint64_t bytes, bool is_parent_below);

/* vhdx_io.c */
extern const struct blk_layer_ops vhdx_ops;

/* vhdx_open.c: an opened image is a vhdx; report decides whether problems stop it. */
int vhdx_open(struct blk_file *file, unsigned flags, struct blk_report *report, struct vhdx **ret,
              uint64_t *ret_allocated);
