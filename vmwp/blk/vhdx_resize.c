/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another size for a VHDX. The size itself changes last when it grows and first when it shrinks:
 * table entries behind the end mean nothing, and are set before they come to mean something.
 */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhdx_work_priv.h"
#include "vmwp/blk/work_priv.h"

#include <inttypes.h>

static uint64_t blocks_of(const struct vhdx *v, uint64_t bytes)
{
    return (bytes + v->block_bytes - 1) / v->block_bytes;
}

static int put_size(struct vhdx *v, uint64_t bytes)
{
    int r = vhdx_lock_for_change(v, 1);

    if (r < 0)
        return r;
    r = vhdx_put_bytes(v, v->size_item.offset, &bytes, sizeof(bytes));
    pthread_mutex_unlock(&v->meta);
    if (r == 0)
        r = vhdx_commit(v);
    if (r == 0) {
        v->layer.probe.bytes = bytes;
        v->n_blocks = blocks_of(v, bytes);
    }
    return r;
}

/* The last block's bytes behind the old end. Never seen till now, they may be anything. */
static int clear_tail(struct vhdx *v, uint64_t bytes)
{
    uint64_t in_block = bytes % v->block_bytes, entry;
    int r;

    if (!in_block)
        return 0;
    pthread_mutex_lock(&v->meta);
    r = vhdx_bat_get(v, vhdx_bat_index(v, bytes / v->block_bytes), &entry);
    pthread_mutex_unlock(&v->meta);
    if (r < 0 || (entry & 7) < VHDX_FULL)
        return r;
    r = blk_file_zero(&v->layer.file, (entry & VHDX_OFFSET_MASK) + in_block,
                      v->block_bytes - in_block, true);
    return r == 0 ? blk_file_sync(&v->layer.file) : r;
}

/* A larger table at the end of the file; tables and regions point to it in one log entry. */
static int move_bat(struct vhdx *v, uint64_t n_entries)
{
    hv_autofree uint8_t *buffer = malloc(BLK_WORK_STEP);
    uint32_t bytes = (uint32_t)hv_align_up(n_entries * 8, VHDX_MIB);
    uint64_t offset;
    bool is_used;
    int r;

    if (!buffer)
        return -ENOMEM;
    r = vhdx_commit(v);
    if (r == 0)
        r = vhdx_alloc_space(v, bytes, &offset, &is_used);
    if (r == 0 && is_used)
        r = blk_file_zero(&v->layer.file, offset, bytes, true);
    if (r == 0)
        r = blk_copy_inside(&v->layer.file, v->bat_offset, offset, v->bat_bytes, buffer);
    if (r == 0)
        r = vhdx_lock_for_change(v, VHDX_PAGES_PER_CHANGE);
    if (r < 0)
        return r;
    r = vhdx_put_region(v, &VHDX_REGION_BAT, offset, bytes);
    if (r == 0)
        r = vhdx_free_later(v, v->bat_offset, v->bat_bytes);
    pthread_mutex_unlock(&v->meta);
    if (r == 0)
        r = vhdx_commit(v);
    if (r < 0) {
        blk_file_fail(&v->layer.file, r);
        return r;
    }
    v->bat_offset = offset;
    v->bat_bytes = bytes;
    return 0;
}

/* Entries of blocks that will be: absent, or for a fixed disk with space of their own. */
static int add_blocks(struct vhdx *v, uint64_t new_bytes, const struct blk_progress *progress)
{
    bool is_fixed = v->flags & VHDX_LEAVE_ALLOCATED;
    uint64_t first = vhdx_bat_index(v, v->n_blocks - 1) + 1;
    uint64_t end =
        vhdx_bat_entries(blocks_of(v, new_bytes), v->chunk_blocks, v->flags & VHDX_HAS_PARENT);
    int r = 0;

    for (uint64_t i = first; r == 0 && i < end; i++) {
        bool is_bitmap = i % (v->chunk_blocks + 1) == v->chunk_blocks, is_used;
        uint64_t entry = VHDX_NOT_PRESENT, offset = 0;

        if (is_bitmap && v->flags & VHDX_HAS_PARENT &&
            i / (v->chunk_blocks + 1) == (v->n_blocks - 1) / v->chunk_blocks)
            continue; /* this chunk's bitmap is in use already */
        if (is_fixed && !is_bitmap) {
            r = blk_progress_tell(progress, i - first, end - first);
            if (r == 0)
                r = vhdx_alloc_space(v, v->block_bytes, &offset, &is_used);
            if (r == 0 && is_used)
                r = blk_file_zero(&v->layer.file, offset, v->block_bytes, false);
            entry = offset | VHDX_FULL;
        }
        if (r == 0)
            r = vhdx_replace_entry(v, i, entry, false);
    }
    return r;
}

static int grow(struct vhdx *v, uint64_t bytes, const struct blk_progress *progress,
                struct blk_report *report)
{
    uint64_t n_entries =
        vhdx_bat_entries(blocks_of(v, bytes), v->chunk_blocks, v->flags & VHDX_HAS_PARENT);
    int r = 0;

    if (bytes > BLK_VHDX_MAX_BYTES)
        return blk_report_fatal(report, -EINVAL, "image.resize.size", "a VHDX has at most 64 TiB.");
    if (n_entries > v->bat_bytes / 8)
        r = move_bat(v, n_entries);
    if (r == 0)
        r = clear_tail(v, v->layer.probe.bytes);
    if (r == 0)
        r = add_blocks(v, bytes, progress);
    return r == 0 ? put_size(v, bytes) : r;
}

/* Nothing but zeroes may lie behind the new end. */
static int check_unused(struct vhdx *v, uint64_t from, struct blk_report *report)
{
    hv_autofree uint8_t *buffer = malloc(BLK_WORK_STEP);
    uint64_t end = v->layer.probe.bytes;
    int r = buffer ? 0 : -ENOMEM;

    while (r == 0 && from < end) {
        struct blk_extent extent;
        bool is_zero = true;

        r = v->layer.ops->map(&v->layer, from, end - from, &extent);
        if (r == 0 && extent.state == BLK_EXTENT_DATA)
            r = blk_range_is_zero(&v->layer.file, extent.file_offset, extent.bytes, buffer,
                                  &is_zero);
        if (r == 0 && !is_zero)
            return blk_report_fatal(report, -EBUSY, "image.resize.used",
                                    "the disk has data behind %" PRIu64
                                    ", in the block there; it can't become smaller than its data.",
                                    from);
        from += extent.bytes;
    }
    return r;
}

static int shrink(struct vhdx *v, uint64_t bytes, struct blk_report *report)
{
    uint64_t old_blocks = v->n_blocks;
    int r;

    if (v->flags & VHDX_HAS_PARENT)
        return blk_report_fatal(report, -EINVAL, "image.resize.shrink",
                                "a differencing image can't become smaller than its parent.");
    r = check_unused(v, bytes, report);
    if (r == 0)
        r = put_size(v, bytes);
    for (uint64_t block = blocks_of(v, bytes); r == 0 && block < old_blocks; block++)
        r = vhdx_replace_entry(v, vhdx_bat_index(v, block), VHDX_NOT_PRESENT, true);
    return r == 0 ? vhdx_trim(v) : r;
}

int blk_vhdx_resize(struct blk_layer *layer, uint64_t bytes, const struct blk_progress *progress,
                    struct blk_report *report)
{
    struct vhdx *v = vhdx_of(layer);
    int r = vhdx_begin_change(v, false);

    if (r < 0)
        return r;
    return bytes > layer->probe.bytes ? grow(v, bytes, progress, report) : shrink(v, bytes, report);
}
