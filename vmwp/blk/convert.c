/* SPDX-License-Identifier: Apache-2.0 */
/* Copying a disk into a new image. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/work_priv.h"

#include <inttypes.h>
#include <string.h>

enum { GRAIN = 64 * 1024 }; /* what is left out when it is zeroes, or the parent's, is so large */

struct copy {
    struct blk_disk *source, *parent;
    struct blk_layer *to;
    uint8_t *bytes, *below; /* BLK_WORK_STEP each */
};

static int read_disk(struct blk_disk *disk, uint64_t offset, uint8_t *ret, size_t bytes)
{
    uint64_t end = disk->info.bytes;
    size_t inside = offset >= end ? 0 : end - offset < bytes ? (size_t)(end - offset) : bytes;
    struct iovec iov = { .iov_base = ret, .iov_len = inside };

    memset(ret + inside, 0, bytes - inside);
    return inside ? blk_disk_read(disk, offset, &iov, 1) : 0;
}

static int put_grain(struct copy *c, uint64_t offset, size_t at, size_t bytes)
{
    struct iovec iov = { .iov_base = c->bytes + at, .iov_len = bytes };
    struct blk_iter iter = { .iov = &iov, .n_iov = 1 };

    if (c->parent ? memcmp(c->bytes + at, c->below + at, bytes) == 0
                  : blk_is_zero(c->bytes + at, bytes))
        return 0;
    return c->to->ops->write(c->to, offset + at, &iter, bytes, false);
}

static int copy_step(struct copy *c, uint64_t offset, size_t bytes)
{
    /* What the source's larger sectors don't reach is zeroes: whole sectors of the new image. */
    size_t whole = hv_align_up(bytes, c->to->probe.logical_bytes);
    int r;

    memset(c->bytes + bytes, 0, whole - bytes);
    r = read_disk(c->source, offset, c->bytes, bytes);
    if (r == 0 && c->parent)
        r = read_disk(c->parent, offset, c->below, whole);
    for (size_t at = 0; r == 0 && at < whole; at += GRAIN)
        r = put_grain(c, offset, at, whole - at < GRAIN ? whole - at : GRAIN);
    return r;
}

/* How much from offset on is zeroes and needn't be read; 0 where there is something. */
static int zero_run(struct copy *c, uint64_t offset, uint64_t *ret)
{
    struct blk_extent extent;
    uint64_t end;
    int r;

    *ret = 0;
    if (c->parent)
        return 0;
    r = blk_disk_map(c->source, offset, c->source->info.bytes - offset, &extent);
    if (r < 0 || extent.state != BLK_EXTENT_ZERO)
        return r;
    end = offset + extent.bytes;
    if (end < c->source->info.bytes)
        end = hv_align_down(end, GRAIN);
    *ret = end > offset ? end - offset : 0;
    return 0;
}

static int copy_all(struct copy *c, const struct blk_progress *progress)
{
    uint64_t total = c->source->info.bytes, offset = 0;
    int r = 0;

    while (r == 0 && offset < total) {
        uint64_t step = 0;

        r = blk_progress_tell(progress, offset, total);
        if (r == 0)
            r = zero_run(c, offset, &step);
        if (r < 0)
            return r;
        if (!step) {
            step = total - offset < BLK_WORK_STEP ? total - offset : BLK_WORK_STEP;
            r = copy_step(c, offset, (size_t)step);
        }
        offset += step;
    }
    return r == 0 ? blk_progress_tell(progress, total, total) : r;
}

static int check(struct blk_disk *source, const struct blk_create_options *o,
                 struct blk_disk *parent, struct blk_report *report)
{
    if (o->bytes < source->info.bytes)
        return blk_report_fatal(report, -EINVAL, "image.convert.size",
                                "the source has %" PRIu64
                                " bytes; the new image can't have %" PRIu64 ".",
                                source->info.bytes, o->bytes);
    if ((o->kind == BLK_KIND_DIFFERENCING) != (parent != NULL))
        return blk_report_fatal(report, -EINVAL, "image.convert.parent",
                                "a parent is given to make a differencing image, and only then.");
    if (parent && (!o->parent ||
                   !hv_guid_equal(&o->parent->data_write, &parent->layers[0]->probe.data_write)))
        return blk_report_fatal(report, -EINVAL, "image.convert.parent",
                                "the parent that is open isn't the one that is named.");
    return 0;
}

static int fill(struct copy *c, struct blk_file *to, const struct blk_create_options *o,
                const struct blk_progress *progress, struct blk_report *report)
{
    int r, finished;

    r = blk_layer_open(to, o->format, 0, report, &c->to);
    if (r < 0)
        return r;
    r = copy_all(c, progress);
    finished = r == 0 ? c->to->ops->finish(c->to) : 0;
    *to = c->to->file;
    c->to->ops->free(c->to);
    return r == 0 ? finished : r;
}

int blk_convert_file(struct blk_disk *source, struct blk_file *to,
                     const struct blk_create_options *options, struct blk_disk *parent,
                     const struct blk_progress *progress, struct hv_error **reterr)
{
    struct blk_report report = { .path = to->path, .reterr = reterr };
    hv_autofree uint8_t *buffer = malloc(2 * (size_t)BLK_WORK_STEP);
    struct copy copy = { .source = source, .parent = parent, .bytes = buffer };
    struct blk_create_options o = *options;
    int r;

    if (!buffer)
        return -ENOMEM;
    copy.below = buffer + BLK_WORK_STEP;
    if (!o.bytes)
        o.bytes = hv_align_up(source->info.bytes, o.logical_bytes == 4096 ? 4096 : 512);
    r = check(source, &o, parent, &report);
    if (r == 0)
        r = blk_create(to, &o, &report);
    if (r < 0)
        return r;
    r = fill(&copy, to, &o, progress, &report);
    if (r < 0)
        (void)blk_file_truncate(to, 0); /* nothing half made remains */
    return r;
}
