/* SPDX-License-Identifier: Apache-2.0 */
/* A raw image: the file is the disk. */
#include "vmwp/blk/work_priv.h"

#include <inttypes.h>
#include <string.h>

enum { SECTOR = 512 };

static int raw_map(struct blk_layer *layer, uint64_t offset, uint64_t bytes, struct blk_extent *ret)
{
    *ret = (struct blk_extent){ .state = BLK_EXTENT_DATA, .file_offset = offset, .bytes = bytes };
    return 0;
}

static int raw_write(struct blk_layer *layer, uint64_t offset, struct blk_iter *iter,
                     uint64_t bytes, bool is_fua)
{
    return blk_file_writev(&layer->file, offset, iter, bytes, is_fua);
}

static int raw_zero(struct blk_layer *layer, uint64_t offset, uint64_t bytes)
{
    return blk_file_zero(&layer->file, offset, bytes, false);
}

static int raw_discard(struct blk_layer *layer, uint64_t offset, uint64_t bytes)
{
    return blk_file_discard(&layer->file, offset, bytes);
}

static int raw_flush(struct blk_layer *layer)
{
    return blk_file_sync(&layer->file);
}

static void raw_free(struct blk_layer *layer)
{
    blk_layer_fini(layer);
    free(layer);
}

static const struct blk_layer_ops raw_ops = {
    .map = raw_map,
    .write = raw_write,
    .zero = raw_zero,
    .discard = raw_discard,
    .flush = raw_flush,
    .finish = raw_flush,
    .free = raw_free,
};

int blk_raw_open(struct blk_file *file, unsigned flags, struct blk_report *report,
                 struct blk_layer **ret)
{
    struct blk_layer *layer;
    uint64_t bytes = file->bytes;

    if (bytes == 0 || bytes % SECTOR != 0 || bytes > INT64_MAX)
        return blk_report_fatal(report, -EUCLEAN, "image.raw.size",
                                "a raw disk's length must be a multiple of 512 bytes and not 0; "
                                "it is %" PRIu64 ".",
                                bytes);
    layer = calloc(1, sizeof(*layer));
    if (!layer)
        return -ENOMEM;
    blk_layer_init(layer, &raw_ops, file, flags);
    layer->can_discard = true;
    layer->probe.format = BLK_FORMAT_RAW;
    layer->probe.kind = BLK_KIND_FIXED;
    layer->probe.bytes = bytes;
    layer->probe.logical_bytes = layer->probe.physical_bytes = SECTOR;
    memcpy(&layer->probe.identity.bytes[0], &file->dev, sizeof(file->dev));
    memcpy(&layer->probe.identity.bytes[8], &file->inode, sizeof(file->inode));
    *ret = layer;
    return 0;
}

int blk_raw_create(struct blk_file *file, const struct blk_create_options *options,
                   struct blk_report *report)
{
    if (options->kind != BLK_KIND_FIXED)
        return blk_report_fatal(report, -EINVAL, "image.create.kind",
                                "a raw image is fixed; dynamic and differencing ones are VHDX or "
                                "VHD.");
    if (options->block_bytes || (options->logical_bytes && options->logical_bytes != SECTOR))
        return blk_report_fatal(report, -EINVAL, "image.create.sector",
                                "a raw image has sectors of 512 bytes and no blocks.");
    if (options->bytes == 0 || options->bytes % SECTOR != 0 || options->bytes > INT64_MAX)
        return blk_report_fatal(report, -EINVAL, "image.create.size",
                                "the size must be a multiple of 512 bytes and not 0; %" PRIu64
                                " isn't.",
                                options->bytes);
    return blk_file_truncate(file, options->bytes);
}

int blk_raw_resize(struct blk_layer *layer, uint64_t bytes, const struct blk_progress *progress,
                   struct blk_report *report)
{
    int r;

    if (bytes < layer->probe.bytes || bytes > INT64_MAX)
        return blk_report_fatal(report, -EINVAL, "image.resize.shrink",
                                "a raw image only grows: what lies behind a smaller end would be "
                                "lost.");
    r = blk_file_truncate(&layer->file, bytes);
    return r == 0 ? blk_file_sync(&layer->file) : r;
}
