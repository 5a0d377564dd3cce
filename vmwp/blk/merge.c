/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging children into an ancestor: what they have is written to it. While that lasts the
 * ancestor's linkage stays what its child expects, and the child on top hides what was written, so
 * the chain reads the same at every moment.
 */
#include "vmwp/blk/work_priv.h"

#include <string.h>

struct merge {
    struct blk_layer *layers[BLK_CHAIN_MAX]; /* the last one is written to */
    unsigned n_layers, n_opened;             /* opened from the last one on */
    uint8_t *buffer;
};

static struct blk_layer *ancestor_of(const struct merge *m)
{
    return m->layers[m->n_layers - 1];
}

/* What the children have at offset; ABSENT: only the ancestor or its parents have it. */
static int map_children(struct merge *m, uint64_t offset, uint64_t bytes, struct blk_extent *ret,
                        struct blk_layer **ret_layer)
{
    *ret = (struct blk_extent){ .state = BLK_EXTENT_ABSENT, .bytes = bytes };
    for (unsigned i = 0; i + 1 < m->n_layers; i++) {
        struct blk_layer *layer = m->layers[i];
        int r;

        if (offset >= layer->probe.bytes) { /* a shorter child: zeroes behind its end */
            ret->state = BLK_EXTENT_ZERO;
            return 0;
        }
        if (ret->bytes > layer->probe.bytes - offset)
            ret->bytes = layer->probe.bytes - offset;
        r = layer->ops->map(layer, offset, ret->bytes, ret);
        *ret_layer = layer;
        if (r < 0 || ret->state != BLK_EXTENT_ABSENT)
            return r;
    }
    return 0;
}

static int copy_extent(struct merge *m, struct blk_layer *from, const struct blk_extent *extent,
                       uint64_t offset)
{
    struct blk_layer *to = ancestor_of(m);
    struct iovec iov = { .iov_base = m->buffer, .iov_len = extent->bytes };
    struct blk_iter iter = { .iov = &iov, .n_iov = 1 };
    int r;

    if (extent->state == BLK_EXTENT_ZERO)
        return to->ops->zero(to, offset, extent->bytes);
    r = blk_file_read(&from->file, extent->file_offset, m->buffer, extent->bytes);
    return r == 0 ? to->ops->write(to, offset, &iter, extent->bytes, false) : r;
}

static int copy_children(struct merge *m, const struct blk_progress *progress)
{
    uint64_t total = m->layers[0]->probe.bytes, offset = 0;
    int r = 0;

    while (r == 0 && offset < total) {
        struct blk_layer *from = NULL;
        struct blk_extent extent;

        r = blk_progress_tell(progress, offset, total);
        if (r == 0)
            r = map_children(m, offset,
                             total - offset < BLK_WORK_STEP ? total - offset : BLK_WORK_STEP,
                             &extent, &from);
        if (r == 0 && extent.state != BLK_EXTENT_ABSENT)
            r = copy_extent(m, from, &extent, offset);
        if (r == 0)
            offset += extent.bytes;
    }
    return r == 0 ? blk_progress_tell(progress, total, total) : r;
}

static int open_all(struct merge *m, struct blk_file *files, const enum blk_format *formats,
                    struct hv_error **reterr)
{
    for (unsigned i = m->n_layers; i-- > 0; m->n_opened++) {
        struct blk_report report = { .path = files[i].path, .reterr = reterr };
        bool is_ancestor = i + 1 == m->n_layers;
        int r = blk_layer_open(&files[i], formats[i],
                               is_ancestor ? BLK_OPEN_KEEP_DATA_WRITE : BLK_OPEN_READ_ONLY, &report,
                               &m->layers[i]);

        if (r < 0)
            return r;
    }
    for (unsigned i = 0; i + 1 < m->n_layers; i++) {
        int r = blk_check_link(m->layers[i], m->layers[i + 1], reterr);

        if (r < 0)
            return r;
    }
    return 0;
}

/* The files go back to the caller. */
static void close_all(struct merge *m, struct blk_file *files)
{
    for (unsigned i = m->n_layers - m->n_opened; i < m->n_layers; i++) {
        blk_file_drop_patches(&m->layers[i]->file);
        files[i] = m->layers[i]->file;
        m->layers[i]->ops->free(m->layers[i]);
    }
}

static int merge_opened(struct merge *m, const enum blk_format *formats,
                        const struct blk_progress *progress)
{
    struct blk_layer *to = ancestor_of(m);
    int r, finished;

    r = copy_children(m, progress);
    finished = to->ops->finish(to);
    if (r == 0)
        r = finished;
    if (r == 0 && formats[m->n_layers - 1] == BLK_FORMAT_VHDX)
        r = blk_vhdx_set_data_write(to, &m->layers[0]->probe.data_write);
    return r;
}

int blk_merge_files(struct blk_file *files, const enum blk_format *formats, unsigned n_files,
                    const struct blk_progress *progress, struct hv_error **reterr)
{
    struct merge m = { .n_layers = n_files, .buffer = malloc(BLK_WORK_STEP) };
    int r;

    if (!m.buffer)
        return -ENOMEM;
    r = open_all(&m, files, formats, reterr);
    if (r == 0 && m.layers[0]->probe.bytes > ancestor_of(&m)->probe.bytes) {
        uint64_t bytes = m.layers[0]->probe.bytes; /* a child may be larger than its parent */

        close_all(&m, files);
        m.n_opened = 0;
        r = blk_resize_file(&files[n_files - 1], formats[n_files - 1], bytes, NULL, reterr);
        if (r == 0)
            r = open_all(&m, files, formats, reterr);
    }
    if (r == 0)
        r = merge_opened(&m, formats, progress);
    close_all(&m, files);
    free(m.buffer);
    return r;
}
