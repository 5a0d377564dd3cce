/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing a VHDX: block by block, by the state each has. */
#include "vmwp/blk/pieces_priv.h"
#include "vmwp/blk/vhdx_priv.h"

enum { ZERO_STEP = 1 << 20, ZERO_PIECE = 64 * 1024 };

static uint64_t sector_of(const struct vhdx *v, const struct blk_piece *piece)
{
    return (piece->block * v->block_bytes + piece->in_block) / v->logical_bytes;
}

static int entry_of(struct vhdx *v, uint64_t block, uint64_t *ret)
{
    int r;

    pthread_mutex_lock(&v->meta);
    r = vhdx_bat_get(v, vhdx_bat_index(v, block), ret);
    pthread_mutex_unlock(&v->meta);
    return r;
}

static int map_partial(struct vhdx *v, const struct blk_piece *piece, uint64_t entry,
                       struct blk_extent *ret)
{
    uint64_t run;
    bool is_own;
    int r = vhdx_bitmap_run(v, sector_of(v, piece), piece->bytes / v->logical_bytes, &is_own, &run);

    if (r < 0)
        return r;
    ret->bytes = run * v->logical_bytes;
    ret->state = is_own ? BLK_EXTENT_DATA : BLK_EXTENT_ABSENT;
    ret->file_offset = (entry & VHDX_OFFSET_MASK) + piece->in_block;
    return 0;
}

static int map_block(struct vhdx *v, const struct blk_piece *piece, struct blk_extent *ret)
{
    uint64_t entry;
    int r = vhdx_bat_get(v, vhdx_bat_index(v, piece->block), &entry);

    if (r < 0)
        return r;
    *ret = (struct blk_extent){ .bytes = piece->bytes };
    switch ((enum vhdx_state)(entry & 7)) {
    case VHDX_FULL:
        ret->state = BLK_EXTENT_DATA;
        ret->file_offset = (entry & VHDX_OFFSET_MASK) + piece->in_block;
        return 0;
    case VHDX_PARTIAL: return map_partial(v, piece, entry, ret);
    case VHDX_NOT_PRESENT: ret->state = BLK_EXTENT_ABSENT; return 0;
    case VHDX_UNDEFINED:
    case VHDX_ZERO:
    case VHDX_UNMAPPED: ret->state = BLK_EXTENT_ZERO; return 0;
    }
    return -EUCLEAN;
}

static int vhdx_map(struct blk_layer *layer, uint64_t offset, uint64_t bytes,
                    struct blk_extent *ret)
{
    struct vhdx *v = vhdx_of(layer);
    struct blk_piece piece = blk_piece_at(v->block_bytes, offset, bytes);
    int r;

    pthread_mutex_lock(&v->meta);
    r = map_block(v, &piece, ret);
    pthread_mutex_unlock(&v->meta);
    return r;
}

/* Mark sectors as the child's own, after their payload was written. */
static int own_sectors(struct vhdx *v, const struct blk_piece *piece)
{
    uint64_t sector = sector_of(v, piece), n = piece->bytes / v->logical_bytes, run, entry;
    bool is_own = false;
    int r;

    r = vhdx_lock_for_change(v, VHDX_PAGES_PER_CHANGE);
    if (r < 0)
        return r;
    r = vhdx_bitmap_run(v, sector, n, &is_own, &run);
    if (r == 0 && !(is_own && run == n)) {
        r = vhdx_bat_get(v, vhdx_bitmap_index(v, piece->block), &entry);
        if (r == 0)
            r = vhdx_bitmap_prepare(v, entry & VHDX_OFFSET_MASK, sector, n);
        if (r == 0)
            vhdx_bitmap_set(v, entry & VHDX_OFFSET_MASK, sector, n, true);
    }
    pthread_mutex_unlock(&v->meta);
    return r;
}

/* Into a block that has space. lock: use for reading */
static int write_present(struct vhdx *v, const struct blk_piece *piece, uint64_t entry,
                         struct blk_iter *iter, bool is_dsync)
{
    uint64_t at = (entry & VHDX_OFFSET_MASK) + piece->in_block;
    int r = blk_file_writev(&v->layer.file, at, iter, piece->bytes, is_dsync);

    if (r == 0 && (entry & 7) == VHDX_PARTIAL)
        r = own_sectors(v, piece);
    return r;
}

static int write_absent(struct vhdx *v, const struct blk_piece *piece, struct blk_iter *iter)
{
    uint64_t entry;
    int r;

    pthread_mutex_lock(&v->alloc);
    r = entry_of(v, piece->block, &entry); /* another thread may have been first */
    if (r == 0 && (entry & 7) >= VHDX_FULL)
        r = write_present(v, piece, entry, iter, false);
    else if (r == 0)
        r = vhdx_alloc_write(v, piece->block, piece->in_block, iter, piece->bytes,
                             v->flags & VHDX_HAS_PARENT && (entry & 7) == VHDX_NOT_PRESENT);
    pthread_mutex_unlock(&v->alloc);
    return r;
}

/* A write on its way through its pieces. */
struct write {
    struct vhdx *v;
    struct blk_iter *iter;
    bool is_dsync;
    bool is_commit_due; /* tables were or may be changed by it, so durability needs a commit */
};

static int write_piece(void *opaque, const struct blk_piece *piece)
{
    struct write *write = opaque;
    struct vhdx *v = write->v;
    uint64_t entry;
    int r;

    pthread_rwlock_rdlock(&v->layer.use);
    r = entry_of(v, piece->block, &entry);
    if (r == 0 && (entry & 7) != VHDX_FULL)
        write->is_commit_due = true;
    if (r == 0 && (entry & 7) >= VHDX_FULL)
        r = write_present(v, piece, entry, write->iter,
                          write->is_dsync && (entry & 7) == VHDX_FULL);
    else if (r == 0)
        r = write_absent(v, piece, write->iter);
    pthread_rwlock_unlock(&v->layer.use);
    return r;
}

/* Are all table changes in the log, durably? Then a synced write in place is durable. */
static bool is_settled(struct vhdx *v)
{
    bool is_settled;

    pthread_mutex_lock(&v->meta);
    is_settled = v->pages.n_dirty == 0 && v->pages.n_leaving == 0;
    pthread_mutex_unlock(&v->meta);
    return is_settled;
}

static int vhdx_write(struct blk_layer *layer, uint64_t offset, struct blk_iter *iter,
                      uint64_t bytes, bool is_fua)
{
    struct vhdx *v = vhdx_of(layer);
    struct write write = { .v = v, .iter = iter };
    int r;

    r = vhdx_begin_change(v, true);
    write.is_dsync = is_fua && is_settled(v);
    write.is_commit_due = is_fua && !write.is_dsync;
    if (r == 0)
        r = blk_pieces_do(v->block_bytes, offset, bytes, write_piece, &write);
    if (r == 0 && is_fua && write.is_commit_due)
        r = vhdx_commit(v);
    return r;
}

/* Zeroes as payload, in steps. */
static int write_zeroes(struct vhdx *v, struct blk_piece piece)
{
    static const uint8_t zeroes[ZERO_PIECE];
    struct iovec iov[ZERO_STEP / ZERO_PIECE];
    uint64_t end = piece.in_block + piece.bytes;
    int r = 0;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(iov); i++)
        iov[i] = (struct iovec){ .iov_base = (void *)(uintptr_t)zeroes, .iov_len = ZERO_PIECE };
    while (r == 0 && piece.in_block < end) {
        struct blk_iter iter = { .iov = iov, .n_iov = HV_ARRAY_SIZE(iov) };
        struct write write = { .v = v, .iter = &iter };

        piece.bytes = end - piece.in_block < ZERO_STEP ? end - piece.in_block : ZERO_STEP;
        r = write_piece(&write, &piece);
        piece.in_block += piece.bytes;
    }
    return r;
}

/* The block reads as zeroes from now on and its space is free after the next commit. */
static int drop_block(struct vhdx *v, uint64_t block)
{
    uint64_t index = vhdx_bat_index(v, block), entry;
    int r;

    pthread_rwlock_wrlock(&v->layer.use); /* nobody is in the middle of reading its space */
    r = vhdx_lock_for_change(v, 1);
    if (r == 0) {
        r = vhdx_bat_get(v, index, &entry);
        if (r == 0)
            r = vhdx_bat_prepare(v, index);
        if (r == 0 && (entry & 7) >= VHDX_FULL)
            r = vhdx_free_later(v, entry & VHDX_OFFSET_MASK, v->block_bytes);
        if (r == 0)
            vhdx_bat_set(v, index, VHDX_ZERO);
        pthread_mutex_unlock(&v->meta);
    }
    pthread_rwlock_unlock(&v->layer.use);
    return r;
}

static bool is_whole(const struct vhdx *v, const struct blk_piece *piece)
{
    uint64_t left = v->layer.probe.bytes - piece->block * v->block_bytes;

    return piece->in_block == 0 && piece->bytes == (left < v->block_bytes ? left : v->block_bytes);
}

/* A file's range that is to read as zeroes, or may. */
typedef int range_fn(struct blk_file *file, uint64_t offset, uint64_t bytes);

static int zero_and_keep(struct blk_file *file, uint64_t offset, uint64_t bytes)
{
    return blk_file_zero(file, offset, bytes, false);
}

static int zero_and_give(struct blk_file *file, uint64_t offset, uint64_t bytes)
{
    return blk_file_zero(file, offset, bytes, true);
}

/* Do it to a part of a FULL block; *ret_is_done false when it isn't FULL. */
static int zero_in_place(struct vhdx *v, const struct blk_piece *piece, range_fn *fn,
                         bool *ret_is_done)
{
    uint64_t entry;
    int r;

    pthread_rwlock_rdlock(&v->layer.use);
    r = entry_of(v, piece->block, &entry);
    *ret_is_done = r == 0 && (entry & 7) == VHDX_FULL;
    if (*ret_is_done)
        r = fn(&v->layer.file, (entry & VHDX_OFFSET_MASK) + piece->in_block, piece->bytes);
    pthread_rwlock_unlock(&v->layer.use);
    return r;
}

static int zero_piece(void *opaque, const struct blk_piece *piece)
{
    struct vhdx *v = opaque;
    bool is_fixed = v->flags & VHDX_LEAVE_ALLOCATED, is_done;
    uint64_t entry;
    int r;

    r = entry_of(v, piece->block, &entry);
    if (r < 0 || ((entry & 7) < VHDX_FULL &&
                  ((entry & 7) != VHDX_NOT_PRESENT || !(v->flags & VHDX_HAS_PARENT))))
        return r; /* zeroes already */
    if (!is_fixed && is_whole(v, piece))
        return drop_block(v, piece->block);
    r = zero_in_place(v, piece, is_fixed ? zero_and_keep : zero_and_give, &is_done);
    if (r < 0 || is_done)
        return r;
    return write_zeroes(v, *piece);
}

static int vhdx_zero(struct blk_layer *layer, uint64_t offset, uint64_t bytes)
{
    struct vhdx *v = vhdx_of(layer);
    int r = vhdx_begin_change(v, true);

    return r < 0 ? r : blk_pieces_do(v->block_bytes, offset, bytes, zero_piece, v);
}

static int discard_piece(void *opaque, const struct blk_piece *piece)
{
    struct vhdx *v = opaque;
    uint64_t entry;
    bool is_done;
    int r;

    r = entry_of(v, piece->block, &entry);
    if (r < 0 || (entry & 7) < VHDX_FULL)
        return r; /* no space to give back */
    if (is_whole(v, piece))
        return drop_block(v, piece->block);
    return zero_in_place(v, piece, blk_file_discard, &is_done);
}

static int vhdx_discard(struct blk_layer *layer, uint64_t offset, uint64_t bytes)
{
    struct vhdx *v = vhdx_of(layer);
    int r;

    if (v->flags & VHDX_LEAVE_ALLOCATED)
        return 0;
    r = vhdx_begin_change(v, true);
    return r < 0 ? r : blk_pieces_do(v->block_bytes, offset, bytes, discard_piece, v);
}

static int vhdx_flush(struct blk_layer *layer)
{
    return vhdx_commit(vhdx_of(layer));
}

/* Everything in its place, durable; then the headers stop naming a log. */
static int vhdx_finish(struct blk_layer *layer)
{
    static const struct hv_guid none;
    struct vhdx *v = vhdx_of(layer);
    int r;

    if (!v->is_file_write_new)
        return 0;
    r = vhdx_commit(v);
    if (r < 0 || hv_guid_equal(&v->header.log, &none))
        return r;
    r = blk_file_sync(&layer->file);
    if (r < 0)
        return r;
    v->header.log = none;
    return vhdx_header_write(v);
}

static void vhdx_free(struct blk_layer *layer)
{
    struct vhdx *v = vhdx_of(layer);

    blk_pages_fini(&v->pages);
    free(v->space.bits);
    free(v->freed);
    free(v->regions);
    pthread_mutex_destroy(&v->alloc);
    blk_commits_fini(&v->commits);
    pthread_mutex_destroy(&v->meta);
    blk_layer_fini(&v->layer);
    free(v);
}

const struct blk_layer_ops vhdx_ops = {
    .map = vhdx_map,
    .write = vhdx_write,
    .zero = vhdx_zero,
    .discard = vhdx_discard,
    .flush = vhdx_flush,
    .finish = vhdx_finish,
    .free = vhdx_free,
};
