/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a VHDX file shorter: blocks of zeroes are dropped, the last blocks move to the first free
 * places, the end is cut off. Each move is payload, then table, by the usual commit; until then the
 * block is where it was.
 */
#include "vmwp/blk/vhdx_work_priv.h"
#include "vmwp/blk/work_priv.h"

enum { COMMIT_BYTES = 256 << 20 };

struct block {
    uint64_t offset, index;
};

struct list {
    struct block *blocks;
    size_t n, n_max;
};

static bool is_bitmap(const struct vhdx *v, uint64_t index)
{
    return index % (v->chunk_blocks + 1) == v->chunk_blocks;
}

static uint64_t bytes_of(const struct vhdx *v, uint64_t index)
{
    return is_bitmap(v, index) ? VHDX_BITMAP_BLOCK : v->block_bytes;
}

static uint64_t n_entries(const struct vhdx *v)
{
    return vhdx_bat_entries(v->n_blocks, v->chunk_blocks, v->flags & VHDX_HAS_PARENT);
}

static bool is_used(const struct vhdx *v, uint64_t index, uint64_t entry)
{
    if (is_bitmap(v, index))
        return v->flags & VHDX_HAS_PARENT && (entry & 7) == VHDX_FULL;
    return index - index / (v->chunk_blocks + 1) < v->n_blocks && (entry & 7) >= VHDX_FULL;
}

static int get_entry(struct vhdx *v, uint64_t index, uint64_t *ret)
{
    int r;

    pthread_mutex_lock(&v->meta);
    r = vhdx_bat_get(v, index, ret);
    pthread_mutex_unlock(&v->meta);
    return r;
}

int vhdx_replace_entry(struct vhdx *v, uint64_t index, uint64_t entry, bool is_old_freed)
{
    uint64_t at = v->bat_offset + index * 8, old;
    struct blk_page *page;
    int r;

    r = vhdx_lock_for_change(v, 1);
    if (r < 0)
        return r;
    r = blk_pages_get(&v->pages, at, &page);
    if (r == 0) {
        old = vhdx_get64(page->bytes + at % VHDX_PAGE);
        if (old != entry && is_old_freed && (old & 7) >= VHDX_FULL)
            r = vhdx_free_later(v, old & VHDX_OFFSET_MASK, bytes_of(v, index));
        if (r == 0 && old != entry) {
            blk_pages_touch(&v->pages, page);
            vhdx_put64(page->bytes + at % VHDX_PAGE, entry);
        }
    }
    pthread_mutex_unlock(&v->meta);
    return r;
}

static int drop_zero_blocks(struct vhdx *v, uint8_t *buffer, const struct blk_progress *progress)
{
    int r = 0;

    for (uint64_t block = 0; r == 0 && block < v->n_blocks; block++) {
        uint64_t index = vhdx_bat_index(v, block), entry;
        bool is_zero = false;

        r = get_entry(v, index, &entry);
        if (r < 0 || (entry & 7) != VHDX_FULL)
            continue;
        r = blk_progress_tell(progress, block * v->block_bytes, 2 * v->layer.probe.bytes);
        if (r == 0)
            r = blk_range_is_zero(&v->layer.file, entry & VHDX_OFFSET_MASK, v->block_bytes, buffer,
                                  &is_zero);
        if (r == 0 && is_zero)
            r = vhdx_replace_entry(v, index,
                                   v->flags & VHDX_HAS_PARENT ? VHDX_ZERO : VHDX_NOT_PRESENT, true);
    }
    return r;
}

static int list_add(struct list *list, uint64_t offset, uint64_t index)
{
    if (list->n == list->n_max) {
        size_t max = list->n_max ? 2 * list->n_max : 1024;
        struct block *grown = realloc(list->blocks, max * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        list->blocks = grown;
        list->n_max = max;
    }
    list->blocks[list->n++] = (struct block){ .offset = offset, .index = index };
    return 0;
}

static int last_first(const void *a, const void *b)
{
    const struct block *x = a, *y = b;

    return x->offset > y->offset ? -1 : x->offset < y->offset;
}

static int list_blocks(struct vhdx *v, struct list *list)
{
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < n_entries(v); i++) {
        uint64_t entry;

        r = get_entry(v, i, &entry);
        if (r == 0 && is_used(v, i, entry))
            r = list_add(list, entry & VHDX_OFFSET_MASK, i);
    }
    if (r == 0 && list->n)
        qsort(list->blocks, list->n, sizeof(*list->blocks), last_first);
    return r;
}

/* The first free place before the block; 0 when there is none. */
static uint64_t place_before(struct vhdx *v, const struct block *block)
{
    uint64_t offset = 0;

    pthread_mutex_lock(&v->meta);
    v->space.hint = 0;
    if (!vhdx_space_find(&v->space, bytes_of(v, block->index), &offset) ||
        offset >= block->offset || !vhdx_space_take(&v->space, offset, bytes_of(v, block->index)))
        offset = 0;
    pthread_mutex_unlock(&v->meta);
    return offset;
}

static int move_block(struct vhdx *v, const struct block *block, uint64_t to, uint8_t *buffer)
{
    uint64_t entry;
    int r;

    r = get_entry(v, block->index, &entry);
    if (r == 0)
        r = blk_copy_inside(&v->layer.file, block->offset, to, bytes_of(v, block->index), buffer);
    if (r == 0)
        r = vhdx_replace_entry(v, block->index, to | (entry & 7), true);
    return r;
}

static int move_blocks(struct vhdx *v, const struct list *list, uint8_t *buffer,
                       const struct blk_progress *progress)
{
    uint64_t total = 2 * v->layer.probe.bytes, moved = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->n; i++) {
        uint64_t to = place_before(v, &list->blocks[i]);

        if (!to && moved) { /* what was left behind is free after a commit */
            r = vhdx_commit(v);
            moved = 0;
            to = place_before(v, &list->blocks[i]);
        }
        if (r == 0)
            r = blk_progress_tell(progress, total / 2 + total / 2 * i / list->n, total);
        if (r == 0 && to)
            r = move_block(v, &list->blocks[i], to, buffer);
        moved += to ? bytes_of(v, list->blocks[i].index) : 0;
        if (r == 0 && moved >= COMMIT_BYTES) {
            r = vhdx_commit(v);
            moved = 0;
        }
    }
    return r;
}

int vhdx_trim(struct vhdx *v)
{
    uint64_t end;
    int r;

    r = vhdx_commit(v);
    if (r == 0)
        r = v->layer.ops->finish(&v->layer); /* a log would still count on the length */
    if (r < 0)
        return r;
    pthread_mutex_lock(&v->meta);
    end = v->space.n_mib;
    while (end > 1 && !(v->space.bits[(end - 1) / 64] >> ((end - 1) % 64) & 1))
        end--;
    pthread_mutex_unlock(&v->meta);
    if (end * VHDX_MIB >= v->layer.file.bytes)
        return 0;
    r = blk_file_truncate(&v->layer.file, end * VHDX_MIB);
    if (r == 0)
        r = vhdx_space_resize(&v->space, end * VHDX_MIB);
    return r == 0 ? blk_file_sync(&v->layer.file) : r;
}

int blk_vhdx_compact(struct blk_layer *layer, enum blk_compact_mode mode,
                     const struct blk_progress *progress, struct blk_report *report)
{
    struct vhdx *v = vhdx_of(layer);
    hv_autofree uint8_t *buffer = malloc(BLK_WORK_STEP);
    struct list list = { 0 };
    int r;

    if (!buffer)
        return -ENOMEM;
    r = vhdx_begin_change(v, false);
    if (r == 0 && mode == BLK_COMPACT_FULL)
        r = drop_zero_blocks(v, buffer, progress);
    if (r == 0)
        r = vhdx_commit(v);
    if (r == 0)
        r = list_blocks(v, &list);
    if (r == 0)
        r = move_blocks(v, &list, buffer, progress);
    if (r == 0)
        r = vhdx_trim(v);
    free(list.blocks);
    return r;
}
