/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing a chain: reads fall through to parents, writes go to the top. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/chain_priv.h"

void blk_disk_get_info(const struct blk_disk *disk, struct blk_info *ret)
{
    *ret = disk->info;
}

static bool is_range_valid(const struct blk_disk *disk, uint64_t offset, uint64_t bytes)
{
    return hv_range_within(offset, bytes, disk->info.bytes) &&
           (offset | bytes) % disk->info.logical_bytes == 0;
}

/* One run from layer i on; how long it was. `use` of the layer is held while its file is read. */
static int read_run(struct blk_disk *disk, unsigned i, uint64_t offset, struct blk_iter *iter,
                    uint64_t bytes, uint64_t *ret_bytes)
{
    for (; i < disk->n_layers; i++) {
        struct blk_layer *layer = disk->layers[i];
        struct blk_extent extent;
        int r;

        if (offset >= layer->probe.bytes)
            break; /* a smaller parent: zeroes follow its end */
        if (bytes > layer->probe.bytes - offset)
            bytes = layer->probe.bytes - offset;
        pthread_rwlock_rdlock(&layer->use);
        r = layer->ops->map(layer, offset, bytes, &extent);
        if (r == 0 && extent.state == BLK_EXTENT_DATA)
            r = blk_file_readv(&layer->file, extent.file_offset, iter, extent.bytes);
        pthread_rwlock_unlock(&layer->use);
        if (r < 0)
            return r;
        bytes = extent.bytes;
        *ret_bytes = bytes;
        if (extent.state == BLK_EXTENT_DATA)
            return 0;
        if (extent.state == BLK_EXTENT_ZERO)
            break;
    }
    blk_iter_fill(iter, NULL, bytes);
    *ret_bytes = bytes;
    return 0;
}

int blk_disk_read(struct blk_disk *disk, uint64_t offset, const struct iovec *iov, unsigned n_iov)
{
    struct blk_iter iter = { .iov = iov, .n_iov = n_iov };
    uint64_t bytes;

    if (blk_iov_bytes(iov, n_iov, &bytes) < 0 || !is_range_valid(disk, offset, bytes))
        return -EINVAL;
    while (bytes > 0) {
        uint64_t done;
        int r = read_run(disk, 0, offset, &iter, bytes, &done);

        if (r < 0)
            return r;
        offset += done;
        bytes -= done;
    }
    return 0;
}

/* A hole in the file is zeroes, though the image calls it data. */
static int see_holes(struct blk_layer *layer, struct blk_extent *extent)
{
    uint64_t data;
    int r = blk_file_find_data(&layer->file, extent->file_offset, &data);

    if (r < 0 && r != -ENXIO)
        return r;
    if (r == 0)
        data = hv_align_down(data, layer->probe.logical_bytes);
    if (r == 0 && data <= extent->file_offset)
        return 0;
    extent->state = BLK_EXTENT_ZERO;
    if (r == 0 && data - extent->file_offset < extent->bytes)
        extent->bytes = data - extent->file_offset;
    return 0;
}

int blk_disk_map(struct blk_disk *disk, uint64_t offset, uint64_t bytes, struct blk_extent *ret)
{
    *ret = (struct blk_extent){ .state = BLK_EXTENT_ZERO, .bytes = bytes };
    for (unsigned i = 0; i < disk->n_layers; i++) {
        struct blk_layer *layer = disk->layers[i];
        int r;

        if (offset >= layer->probe.bytes)
            break;
        if (ret->bytes > layer->probe.bytes - offset)
            ret->bytes = layer->probe.bytes - offset;
        pthread_rwlock_rdlock(&layer->use);
        r = layer->ops->map(layer, offset, ret->bytes, ret);
        pthread_rwlock_unlock(&layer->use);
        if (r == 0 && ret->state == BLK_EXTENT_DATA)
            r = see_holes(layer, ret);
        if (r < 0 || ret->state != BLK_EXTENT_ABSENT)
            return r;
    }
    ret->state = BLK_EXTENT_ZERO;
    return 0;
}

static int may_change(const struct blk_disk *disk, uint64_t offset, uint64_t bytes)
{
    if (disk->info.is_read_only)
        return -EROFS;
    return is_range_valid(disk, offset, bytes) ? 0 : -EINVAL;
}

int blk_disk_write(struct blk_disk *disk, uint64_t offset, const struct iovec *iov, unsigned n_iov,
                   bool is_fua)
{
    struct blk_iter iter = { .iov = iov, .n_iov = n_iov };
    struct blk_layer *top = disk->layers[0];
    uint64_t bytes;
    int r;

    if (blk_iov_bytes(iov, n_iov, &bytes) < 0)
        return -EINVAL;
    r = may_change(disk, offset, bytes);
    if (r < 0 || bytes == 0)
        return r;
    return top->ops->write(top, offset, &iter, bytes, is_fua);
}

int blk_disk_zero(struct blk_disk *disk, uint64_t offset, uint64_t bytes)
{
    struct blk_layer *top = disk->layers[0];
    int r = may_change(disk, offset, bytes);

    return r < 0 || bytes == 0 ? r : top->ops->zero(top, offset, bytes);
}

int blk_disk_discard(struct blk_disk *disk, uint64_t offset, uint64_t bytes)
{
    struct blk_layer *top = disk->layers[0];
    int r = may_change(disk, offset, bytes);

    return r < 0 || bytes == 0 ? r : top->ops->discard(top, offset, bytes);
}

bool blk_disk_has_failed(const struct blk_disk *disk)
{
    return disk->layers[0]->file.failure != 0;
}

int blk_disk_flush(struct blk_disk *disk)
{
    struct blk_layer *top = disk->layers[0];

    return disk->info.is_read_only ? 0 : top->ops->flush(top);
}
