/* SPDX-License-Identifier: Apache-2.0 */
/* Making a VHD file shorter: blocks of zeroes are dropped, the last blocks move into gaps before
 * them, and the footer moves up. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhd_priv.h"
#include "vmwp/blk/work_priv.h"

#include <string.h>

#define NO_BLOCK UINT64_MAX

enum { COMMIT_BLOCKS = 64 };

struct range {
    uint64_t offset, bytes;
    uint64_t block; /* which it is, or NO_BLOCK */
};

struct used {
    struct range *ranges; /* lowest first */
    size_t n;
};

static uint64_t whole_block(const struct vhd *v)
{
    return (uint64_t)v->bitmap_bytes + v->header.block_bytes;
}

/* Does a block say nothing? A dynamic one: zeroes. A child's: no sector of its own. */
static int is_idle(struct vhd *v, uint64_t offset, uint8_t *buffer, bool *ret)
{
    if (v->footer.type == VHD_TYPE_DIFFERENCING)
        return blk_range_is_zero(&v->layer.file, offset, v->bitmap_bytes, buffer, ret);
    return blk_range_is_zero(&v->layer.file, offset + v->bitmap_bytes, v->header.block_bytes,
                             buffer, ret);
}

static int set_entry(struct vhd *v, uint64_t block, uint64_t offset)
{
    int r;

    pthread_mutex_lock(&v->meta);
    r = vhd_bat_set(v, block, offset);
    pthread_mutex_unlock(&v->meta);
    return r;
}

static int get_entry(struct vhd *v, uint64_t block, uint64_t *ret)
{
    int r;

    pthread_mutex_lock(&v->meta);
    r = vhd_bat_get(v, block, ret);
    pthread_mutex_unlock(&v->meta);
    return r;
}

static int drop_idle(struct vhd *v, uint8_t *buffer, const struct blk_progress *progress)
{
    int r = 0;

    for (uint64_t block = 0; r == 0 && block < v->n_blocks; block++) {
        bool is_dropped = false;
        uint64_t at;

        r = get_entry(v, block, &at);
        if (r < 0 || !at)
            continue;
        r = blk_progress_tell(progress, block * v->header.block_bytes, 2 * v->layer.probe.bytes);
        if (r == 0)
            r = is_idle(v, at, buffer, &is_dropped);
        if (r == 0 && is_dropped)
            r = set_entry(v, block, 0);
    }
    return r == 0 ? vhd_commit(v) : r;
}

static int lowest_first(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void add(struct used *used, uint64_t offset, uint64_t bytes, uint64_t block)
{
    used->ranges[used->n++] = (struct range){ .offset = offset, .bytes = bytes, .block = block };
}

enum { FIXED_MAX = 3 + VHD_LOCATORS };

/* All that is used, in order. */
static int list_used(struct vhd *v, struct used *ret)
{
    uint64_t n = FIXED_MAX, at;
    int r = 0;

    for (uint64_t block = 0; r == 0 && block < v->n_blocks; block++) {
        r = get_entry(v, block, &at);
        n += r == 0 && at;
    }
    ret->ranges = r == 0 ? calloc(n, sizeof(*ret->ranges)) : NULL;
    if (!ret->ranges)
        return r < 0 ? r : -ENOMEM;
    add(ret, 0, VHD_FOOTER_BYTES, NO_BLOCK);
    add(ret, v->footer.data_offset, VHD_HEADER_BYTES, NO_BLOCK);
    add(ret, v->header.bat_offset, hv_align_up((uint64_t)v->header.n_entries * 4, VHD_SECTOR),
        NO_BLOCK);
    for (unsigned i = 0; i < VHD_LOCATORS; i++)
        if (v->locators[i].bytes)
            add(ret, v->locators[i].offset, v->locators[i].bytes, NO_BLOCK);
    for (uint64_t block = 0; r == 0 && block < v->n_blocks && ret->n < n; block++) {
        r = get_entry(v, block, &at);
        if (r == 0 && at)
            add(ret, at, whole_block(v), block);
    }
    qsort(ret->ranges, ret->n, sizeof(*ret->ranges), lowest_first);
    return r;
}

/* The first gap from *at on that takes a block and ends before `limit`; 0: none. *at moves on, and
 * *next is the range that bounds it. */
static uint64_t next_gap(const struct used *used, uint64_t bytes, uint64_t limit, uint64_t *at,
                         size_t *next)
{
    for (; *next < used->n; (*next)++) {
        const struct range *range = &used->ranges[*next];
        uint64_t place = hv_align_up(*at, VHD_SECTOR);

        if (place + bytes > limit)
            return 0;
        if (range->offset >= place + bytes) {
            *at = place + bytes;
            return place;
        }
        if (range->offset + range->bytes > *at)
            *at = range->offset + range->bytes;
    }
    return 0;
}

/* Only gaps that were there before are filled, so old and new places never meet. */
static int move_blocks(struct vhd *v, const struct used *used, uint8_t *buffer,
                       const struct blk_progress *progress)
{
    uint64_t at = 0, total = 2 * v->layer.probe.bytes, n_moved = 0;
    size_t next = 0;
    int r = 0;

    for (size_t i = used->n; r == 0 && i-- > 0;) {
        const struct range *from = &used->ranges[i];
        uint64_t to;

        if (from->block == NO_BLOCK)
            continue; /* a table stays where it is */
        to = next_gap(used, whole_block(v), from->offset, &at, &next);
        if (!to)
            break;
        r = blk_progress_tell(progress, total / 2 + total / 2 * (used->n - i) / used->n, total);
        if (r == 0)
            r = blk_copy_inside(&v->layer.file, from->offset, to, whole_block(v), buffer);
        if (r == 0)
            r = set_entry(v, from->block, to);
        if (r == 0 && ++n_moved % COMMIT_BLOCKS == 0)
            r = vhd_commit(v);
    }
    return r == 0 ? vhd_commit(v) : r;
}

/* The footer behind the last that is used, durable before the old one is cut off. */
static int trim(struct vhd *v)
{
    struct used used = { 0 };
    uint64_t end = 0;
    int r = list_used(v, &used);

    for (size_t i = 0; r == 0 && i < used.n; i++)
        if (used.ranges[i].offset + used.ranges[i].bytes > end)
            end = used.ranges[i].offset + used.ranges[i].bytes;
    free(used.ranges);
    end = hv_align_up(end, VHD_SECTOR);
    if (r < 0 || end >= v->data_end)
        return r;
    v->data_end = end;
    r = vhd_footer_write(v, true);
    if (r == 0)
        r = blk_file_sync(&v->layer.file);
    if (r == 0)
        r = blk_file_truncate(&v->layer.file, end + VHD_FOOTER_BYTES);
    return r == 0 ? blk_file_sync(&v->layer.file) : r;
}

int blk_vhd_compact(struct blk_layer *layer, enum blk_compact_mode mode,
                    const struct blk_progress *progress, struct blk_report *report)
{
    struct vhd *v = vhd_of(layer);
    hv_autofree uint8_t *buffer = malloc(BLK_WORK_STEP);
    struct used used = { 0 };
    int r = buffer ? 0 : -ENOMEM;

    if (r == 0 && mode == BLK_COMPACT_FULL)
        r = drop_idle(v, buffer, progress);
    if (r == 0)
        r = list_used(v, &used);
    if (r == 0)
        r = move_blocks(v, &used, buffer, progress);
    free(used.ranges);
    return r == 0 ? trim(v) : r;
}
