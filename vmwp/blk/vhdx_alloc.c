/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New blocks: space, payload, and only then the table's entry, which a commit makes durable after
 * the payload. A crash before that leaves the block as it was.
 */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhdx_priv.h"

int vhdx_alloc_space(struct vhdx *v, uint64_t bytes, uint64_t *ret_offset, bool *ret_is_used)
{
    uint64_t offset;
    bool is_found;
    int r = 0;

    pthread_mutex_lock(&v->meta);
    is_found =
        vhdx_space_find(&v->space, bytes, &offset) && vhdx_space_take(&v->space, offset, bytes);
    pthread_mutex_unlock(&v->meta);
    if (!is_found) {
        offset = hv_align_up(v->layer.file.bytes, VHDX_MIB);
        if (offset > VHDX_FILE_MAX - bytes)
            return -ENOSPC;
        r = blk_file_truncate(&v->layer.file, offset + bytes);
        if (r < 0)
            return r;
        pthread_mutex_lock(&v->meta);
        r = vhdx_space_resize(&v->space, v->layer.file.bytes);
        if (r == 0)
            hv_assert(vhdx_space_take(&v->space, offset, bytes));
        pthread_mutex_unlock(&v->meta);
    }
    *ret_offset = offset;
    *ret_is_used = is_found;
    return r;
}

void vhdx_alloc_undo(struct vhdx *v, uint64_t offset, uint64_t bytes)
{
    pthread_mutex_lock(&v->meta);
    vhdx_space_give(&v->space, offset, bytes);
    pthread_mutex_unlock(&v->meta);
}

int vhdx_free_later(struct vhdx *v, uint64_t offset, uint64_t bytes)
{
    if (v->n_freed == v->n_freed_max) {
        size_t max = v->n_freed_max ? 2 * v->n_freed_max : 16;
        struct vhdx_range *grown = realloc(v->freed, max * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        v->freed = grown;
        v->n_freed_max = max;
    }
    v->freed[v->n_freed++] = (struct vhdx_range){ .offset = offset, .bytes = bytes };
    return 0;
}

/* A piece of a block on its way in. */
struct change {
    uint64_t block, in_block, bytes;
    uint64_t offset;        /* of the new block */
    uint64_t bitmap_offset; /* of its sector bitmap; 0 when the block is to be there as a whole */
    bool is_bitmap_new;
};

/* The sector bitmap block that covers it, a new one where there is none. */
static int find_bitmap(struct vhdx *v, struct change *change)
{
    uint64_t entry;
    bool is_used;
    int r;

    pthread_mutex_lock(&v->meta);
    r = vhdx_bat_get(v, vhdx_bitmap_index(v, change->block), &entry);
    pthread_mutex_unlock(&v->meta);
    if (r < 0)
        return r;
    change->bitmap_offset = entry & VHDX_OFFSET_MASK;
    if ((entry & 7) == VHDX_FULL)
        return 0;
    change->bitmap_offset = 0;
    r = vhdx_alloc_space(v, VHDX_BITMAP_BLOCK, &change->bitmap_offset, &is_used);
    if (r < 0)
        return r;
    change->is_bitmap_new = true;
    return is_used ? blk_file_zero(&v->layer.file, change->bitmap_offset, VHDX_BITMAP_BLOCK, true)
                   : 0;
}

static int prepare(struct vhdx *v, const struct change *change)
{
    uint64_t per_block = v->block_bytes / v->logical_bytes;
    int r = vhdx_bat_prepare(v, vhdx_bat_index(v, change->block));

    if (r == 0 && change->is_bitmap_new)
        r = vhdx_bat_prepare(v, vhdx_bitmap_index(v, change->block));
    if (r == 0 && change->bitmap_offset)
        r = vhdx_bitmap_prepare(v, change->bitmap_offset, change->block * per_block, per_block);
    return r;
}

static int publish(struct vhdx *v, const struct change *change)
{
    uint64_t per_block = v->block_bytes / v->logical_bytes;
    uint64_t first = change->block * per_block;
    int r;

    r = vhdx_lock_for_change(v, VHDX_PAGES_PER_CHANGE);
    if (r < 0)
        return r;
    r = prepare(v, change);
    if (r == 0) {
        if (change->is_bitmap_new)
            vhdx_bat_set(v, vhdx_bitmap_index(v, change->block), change->bitmap_offset | VHDX_FULL);
        if (change->bitmap_offset) { /* bits of another life of the block mean nothing */
            vhdx_bitmap_set(v, change->bitmap_offset, first, per_block, false);
            vhdx_bitmap_set(v, change->bitmap_offset, first + change->in_block / v->logical_bytes,
                            change->bytes / v->logical_bytes, true);
        }
        vhdx_bat_set(v, vhdx_bat_index(v, change->block),
                     change->offset | (change->bitmap_offset ? VHDX_PARTIAL : VHDX_FULL));
    }
    pthread_mutex_unlock(&v->meta);
    return r;
}

static int fill(struct vhdx *v, const struct change *change, bool is_used, struct blk_iter *iter)
{
    int r = 0;

    if (is_used && change->bytes < v->block_bytes)
        r = blk_file_zero(&v->layer.file, change->offset, v->block_bytes, true);
    if (r == 0)
        r = blk_file_writev(&v->layer.file, change->offset + change->in_block, iter, change->bytes,
                            false);
    return r;
}

int vhdx_alloc_write(struct vhdx *v, uint64_t block, uint64_t in_block, struct blk_iter *iter,
                     uint64_t bytes, bool is_parent_below)
{
    struct change change = { .block = block, .in_block = in_block, .bytes = bytes };
    bool is_used = false;
    int r = 0;

    if (is_parent_below && bytes < v->block_bytes)
        r = find_bitmap(v, &change);
    if (r == 0)
        r = vhdx_alloc_space(v, v->block_bytes, &change.offset, &is_used);
    if (r == 0)
        r = fill(v, &change, is_used, iter);
    if (r == 0)
        r = publish(v, &change);
    if (r < 0 && change.offset)
        vhdx_alloc_undo(v, change.offset, v->block_bytes);
    if (r < 0 && change.is_bitmap_new)
        vhdx_alloc_undo(v, change.bitmap_offset, VHDX_BITMAP_BLOCK);
    return r;
}
