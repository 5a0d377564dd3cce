/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing a VHD. */
#include "vmwp/blk/pieces_priv.h"
#include "vmwp/blk/vhd_priv.h"

#include <string.h>

enum { ZERO_STEP = 1 << 20, ZERO_PIECE = 64 * 1024, DIRTY_MAX = 4096 };

static bool is_child(const struct vhd *v)
{
    return v->footer.type == VHD_TYPE_DIFFERENCING;
}

static int map_block(struct vhd *v, const struct blk_piece *piece, struct blk_extent *ret)
{
    uint64_t offset, run;
    bool is_own;
    int r = vhd_bat_get(v, piece->block, &offset);

    if (r < 0)
        return r;
    *ret = (struct blk_extent){ .state = BLK_EXTENT_ABSENT, .bytes = piece->bytes };
    if (!offset)
        return 0;
    ret->state = BLK_EXTENT_DATA;
    ret->file_offset = offset + v->bitmap_bytes + piece->in_block;
    if (!is_child(v))
        return 0; /* what was never written is zeroes in the block, whatever its bitmap says */
    r = vhd_bits_run(v, offset, piece->in_block / VHD_SECTOR, piece->bytes / VHD_SECTOR, &is_own,
                     &run);
    if (r == 0)
        ret->bytes = run * VHD_SECTOR;
    if (r == 0 && !is_own)
        ret->state = BLK_EXTENT_ABSENT;
    return r;
}

static int vhd_map(struct blk_layer *layer, uint64_t offset, uint64_t bytes, struct blk_extent *ret)
{
    struct vhd *v = vhd_of(layer);
    struct blk_piece piece = blk_piece_at(v->header.block_bytes, offset, bytes);
    int r;

    pthread_mutex_lock(&v->meta);
    r = map_block(v, &piece, ret);
    pthread_mutex_unlock(&v->meta);
    return r;
}

static int block_offset(struct vhd *v, uint64_t block, uint64_t *ret)
{
    int r;

    pthread_mutex_lock(&v->meta);
    r = vhd_bat_get(v, block, ret);
    pthread_mutex_unlock(&v->meta);
    return r;
}

/* The block's entry and its sectors' bits, after the payload was written. offset: 0 when only bits
 * are to be set, of a block that has space already. */
static int publish(struct vhd *v, const struct blk_piece *piece, uint64_t offset, bool is_new)
{
    int r = 0;

    pthread_mutex_lock(&v->meta);
    if (is_child(v))
        r = vhd_bits_set(v, offset, piece->in_block / VHD_SECTOR, piece->bytes / VHD_SECTOR);
    if (r == 0 && is_new)
        r = vhd_bat_set(v, piece->block, offset);
    pthread_mutex_unlock(&v->meta);
    return r;
}

/* An empty bitmap for a child; a dynamic disk's says that all is written. */
static int write_bitmap(struct vhd *v, uint64_t offset)
{
    hv_autofree uint8_t *bitmap = malloc(v->bitmap_bytes);

    if (!bitmap)
        return -ENOMEM;
    memset(bitmap, is_child(v) ? 0 : 0xff, v->bitmap_bytes);
    return blk_file_write(&v->layer.file, offset, bitmap, v->bitmap_bytes);
}

/* Space at the end: the footer moves behind it first. lock: alloc */
static int extend(struct vhd *v, uint64_t *ret_offset)
{
    uint64_t offset = v->data_end, whole = (uint64_t)v->bitmap_bytes + v->header.block_bytes;
    int r;

    if ((offset + whole) / VHD_SECTOR >= VHD_NO_BLOCK)
        return -ENOSPC;
    r = blk_file_truncate(&v->layer.file, offset + whole + VHD_FOOTER_BYTES);
    if (r < 0)
        return r;
    v->data_end = offset + whole;
    r = vhd_footer_write(v, false);
    if (r == 0)
        r = write_bitmap(v, offset); /* where the footer was */
    if (r == 0)
        *ret_offset = offset;
    return r;
}

static int write_new(struct vhd *v, const struct blk_piece *piece, struct blk_iter *iter)
{
    uint64_t before = v->data_end, offset = 0;
    int r;

    r = extend(v, &offset);
    if (r == 0)
        r = blk_file_writev(&v->layer.file, offset + v->bitmap_bytes + piece->in_block, iter,
                            piece->bytes, false);
    if (r == 0) {
        r = publish(v, piece, offset, true);
        if (r < 0)
            blk_file_fail(&v->layer.file, r); /* half of it waits in memory to be written */
    } else if (v->data_end != before) {       /* give the space back; the footer as it was */
        v->data_end = before;
        if (blk_file_truncate(&v->layer.file, before + VHD_FOOTER_BYTES) < 0 ||
            vhd_footer_write(v, false) < 0)
            blk_file_fail(&v->layer.file, r);
    }
    return r;
}

static int write_present(struct vhd *v, const struct blk_piece *piece, uint64_t offset,
                         struct blk_iter *iter, bool is_dsync)
{
    int r = blk_file_writev(&v->layer.file, offset + v->bitmap_bytes + piece->in_block, iter,
                            piece->bytes, is_dsync && !is_child(v));

    return r == 0 && is_child(v) ? publish(v, piece, offset, false) : r;
}

/* A write on its way through its pieces. */
struct write {
    struct vhd *v;
    struct blk_iter *iter;
    bool is_dsync, is_commit_due;
};

static int write_piece(void *opaque, const struct blk_piece *piece)
{
    struct write *write = opaque;
    struct blk_iter *iter = write->iter;
    struct vhd *v = write->v;
    uint64_t offset;
    int r;

    r = block_offset(v, piece->block, &offset);
    if (r == 0 && (!offset || is_child(v)))
        write->is_commit_due = true;
    if (r == 0 && offset)
        return write_present(v, piece, offset, iter, write->is_dsync);
    pthread_mutex_lock(&v->alloc);
    if (r == 0)
        r = block_offset(v, piece->block, &offset); /* another thread may have been first */
    if (r == 0)
        r = offset ? write_present(v, piece, offset, iter, false) : write_new(v, piece, iter);
    pthread_mutex_unlock(&v->alloc);
    return r;
}

/* Changed sectors of tables, waiting or on their way. */
static unsigned n_unsettled(struct vhd *v)
{
    unsigned n;

    pthread_mutex_lock(&v->meta);
    n = v->pages.n_dirty + v->pages.n_leaving;
    pthread_mutex_unlock(&v->meta);
    return n;
}

static int vhd_write(struct blk_layer *layer, uint64_t offset, struct blk_iter *iter,
                     uint64_t bytes, bool is_fua)
{
    struct vhd *v = vhd_of(layer);
    struct write write = { .v = v, .iter = iter, .is_dsync = is_fua && n_unsettled(v) == 0 };
    int r;

    write.is_commit_due = is_fua && !write.is_dsync;
    v->is_changed = true;
    r = blk_pieces_do(v->header.block_bytes, offset, bytes, write_piece, &write);
    if (r == 0 && ((is_fua && write.is_commit_due) || n_unsettled(v) > DIRTY_MAX))
        r = vhd_commit(v);
    return r;
}

static int write_zeroes(struct vhd *v, uint64_t offset, uint64_t bytes)
{
    static const uint8_t zeroes[ZERO_PIECE];
    struct iovec iov[ZERO_STEP / ZERO_PIECE];
    int r = 0;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(iov); i++)
        iov[i] = (struct iovec){ .iov_base = (void *)(uintptr_t)zeroes, .iov_len = ZERO_PIECE };
    while (r == 0 && bytes > 0) {
        struct blk_iter iter = { .iov = iov, .n_iov = HV_ARRAY_SIZE(iov) };
        uint64_t step = bytes < ZERO_STEP ? bytes : ZERO_STEP;

        r = vhd_write(&v->layer, offset, &iter, step, false);
        offset += step;
        bytes -= step;
    }
    return r;
}

static int zero_piece(void *opaque, const struct blk_piece *piece)
{
    struct vhd *v = opaque;
    uint64_t at;
    int r = block_offset(v, piece->block, &at);

    if (r < 0 || !at)
        return r;
    return blk_file_zero(&v->layer.file, at + v->bitmap_bytes + piece->in_block, piece->bytes,
                         true);
}

static int vhd_zero(struct blk_layer *layer, uint64_t offset, uint64_t bytes)
{
    struct vhd *v = vhd_of(layer);

    if (is_child(v))
        return write_zeroes(v, offset, bytes);
    v->is_changed = true;
    return blk_pieces_do(v->header.block_bytes, offset, bytes, zero_piece, v);
}

static int discard_piece(void *opaque, const struct blk_piece *piece)
{
    struct vhd *v = opaque;
    uint64_t at;
    int r = block_offset(v, piece->block, &at);

    if (r < 0 || !at)
        return r;
    return blk_file_discard(&v->layer.file, at + v->bitmap_bytes + piece->in_block, piece->bytes);
}

/* Only the host's space comes back: a VHD's blocks stay. A child's sectors keep what they have. */
static int vhd_discard(struct blk_layer *layer, uint64_t offset, uint64_t bytes)
{
    struct vhd *v = vhd_of(layer);

    if (is_child(v))
        return 0;
    v->is_changed = true;
    return blk_pieces_do(v->header.block_bytes, offset, bytes, discard_piece, v);
}

static int vhd_flush(struct blk_layer *layer)
{
    return vhd_commit(vhd_of(layer));
}

static int vhd_finish(struct blk_layer *layer)
{
    return vhd_of(layer)->is_changed ? vhd_commit(vhd_of(layer)) : 0;
}

static void vhd_free(struct blk_layer *layer)
{
    struct vhd *v = vhd_of(layer);

    blk_pages_fini(&v->pages);
    pthread_mutex_destroy(&v->alloc);
    blk_commits_fini(&v->commits);
    pthread_mutex_destroy(&v->meta);
    blk_layer_fini(layer);
    free(v);
}

/* A fixed VHD is its disk, and a footer. */
static int fixed_map(struct blk_layer *layer, uint64_t offset, uint64_t bytes,
                     struct blk_extent *ret)
{
    *ret = (struct blk_extent){ .state = BLK_EXTENT_DATA, .file_offset = offset, .bytes = bytes };
    return 0;
}

static int fixed_write(struct blk_layer *layer, uint64_t offset, struct blk_iter *iter,
                       uint64_t bytes, bool is_fua)
{
    vhd_of(layer)->is_changed = true;
    return blk_file_writev(&layer->file, offset, iter, bytes, is_fua);
}

static int fixed_zero(struct blk_layer *layer, uint64_t offset, uint64_t bytes)
{
    vhd_of(layer)->is_changed = true;
    return blk_file_zero(&layer->file, offset, bytes, false);
}

static int fixed_discard(struct blk_layer *layer, uint64_t offset, uint64_t bytes)
{
    return 0;
}

static int fixed_flush(struct blk_layer *layer)
{
    return blk_file_sync(&layer->file);
}

static int fixed_finish(struct blk_layer *layer)
{
    return vhd_of(layer)->is_changed ? blk_file_sync(&layer->file) : 0;
}

const struct blk_layer_ops vhd_ops = {
    .map = vhd_map,
    .write = vhd_write,
    .zero = vhd_zero,
    .discard = vhd_discard,
    .flush = vhd_flush,
    .finish = vhd_finish,
    .free = vhd_free,
};

const struct blk_layer_ops vhd_fixed_ops = {
    .map = fixed_map,
    .write = fixed_write,
    .zero = fixed_zero,
    .discard = fixed_discard,
    .flush = fixed_flush,
    .finish = fixed_finish,
    .free = vhd_free,
};
