/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a VHDX: headers, log, regions, metadata, table; nothing is written before all passed. */
#include "vmwp/blk/vhdx_priv.h"

enum { PAGES_KEPT = 8192 };

static int read_tables(struct vhdx *v, unsigned flags, struct blk_report *report,
                       uint64_t *ret_allocated)
{
    int r;

    r = vhdx_regions_read(v, report);
    if (r == 0)
        r = vhdx_meta_read(v, report);
    if (r == 0 && !(flags & BLK_OPEN_PROBE))
        r = vhdx_bat_scan(v, report, ret_allocated);
    return r;
}

/* One copy of the region tables was bad: write it anew from the other. */
static int repair_regions(struct vhdx *v)
{
    hv_autofree uint8_t *table = malloc(VHDX_TABLE_BYTES);
    uint64_t first = VHDX_REGIONS_AT, second = first + VHDX_TABLE_BYTES;
    int r;

    if (!table)
        return -ENOMEM;
    r = blk_file_read(&v->layer.file, v->bad_regions == 1 ? second : first, table,
                      VHDX_TABLE_BYTES);
    if (r == 0)
        r = blk_file_write(&v->layer.file, v->bad_regions == 1 ? first : second, table,
                           VHDX_TABLE_BYTES);
    if (r == 0)
        r = blk_file_sync(&v->layer.file);
    if (r == 0)
        v->bad_regions = 0;
    return r;
}

static int make_writable(struct vhdx *v, struct blk_report *report)
{
    int r = 0;

    if (v->header.sequence >= UINT64_MAX - 1024)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.header",
                                "its header's sequence number can't grow further; it can only be "
                                "read, or converted.");
    if (v->bad_regions)
        r = repair_regions(v);
    if (r == 0 && v->is_damaged)
        r = vhdx_header_write(v);
    if (r < 0)
        return hv_error_set(report->reterr, r, "image.vhdx.repair",
                            "Image %s: a damaged copy of its tables can't be written anew (%s).",
                            report->path, strerror(-r));
    return 0;
}

static void fill_probe(struct vhdx *v)
{
    struct blk_probe *probe = &v->layer.probe;

    probe->format = BLK_FORMAT_VHDX;
    probe->kind = v->flags & VHDX_HAS_PARENT        ? BLK_KIND_DIFFERENCING
                  : v->flags & VHDX_LEAVE_ALLOCATED ? BLK_KIND_FIXED
                                                    : BLK_KIND_DYNAMIC;
    probe->logical_bytes = v->logical_bytes;
    probe->block_bytes = v->block_bytes;
    probe->data_write = v->header.data_write;
    v->layer.can_discard = !(v->flags & VHDX_LEAVE_ALLOCATED);
}

/*
 * A log that waits is judged and applied to what is read first, and everything is judged as it will
 * be then; the file itself changes only when all of it passed.
 */
static int judge(struct vhdx *v, unsigned flags, struct blk_report *report, uint64_t *ret_allocated)
{
    int r;

    r = vhdx_header_read(v, report);
    if (r == 0)
        r = vhdx_log_replay(v, true, report);
    if (r == 0)
        r = read_tables(v, flags, report, ret_allocated);
    if (r == 0)
        fill_probe(v);
    return r;
}

static int bring_up_to_date(struct vhdx *v, struct blk_report *report)
{
    int r = 0;

    if (v->layer.probe.is_log_pending) {
        blk_file_drop_patches(&v->layer.file);
        r = vhdx_log_replay(v, false, report);
        v->layer.probe.is_log_pending = false;
    }
    if (r == 0)
        r = make_writable(v, report);
    return r;
}

static int vhdx_new(struct blk_file *file, unsigned flags, struct vhdx **ret)
{
    struct vhdx *v = calloc(1, sizeof(*v));
    int r;

    if (!v)
        return -ENOMEM;
    r = blk_pages_init(&v->pages, &v->layer.file, VHDX_PAGE, PAGES_KEPT);
    if (r < 0) {
        free(v);
        return r;
    }
    blk_layer_init(&v->layer, &vhdx_ops, file, flags);
    v->is_data_write_kept = flags & BLK_OPEN_KEEP_DATA_WRITE;
    pthread_mutex_init(&v->alloc, NULL);
    blk_commits_init(&v->commits);
    pthread_mutex_init(&v->meta, NULL);
    *ret = v;
    return 0;
}

int vhdx_open(struct blk_file *file, unsigned flags, struct blk_report *report, struct vhdx **ret,
              uint64_t *ret_allocated)
{
    struct vhdx *v;
    int r;

    *ret_allocated = 0;
    r = vhdx_new(file, flags, &v);
    if (r < 0)
        return r;
    r = judge(v, flags, report, ret_allocated);
    if (r == 0 && !(flags & BLK_OPEN_READ_ONLY))
        r = bring_up_to_date(v, report);
    if (r < 0) {
        blk_file_drop_patches(&v->layer.file);
        *file = v->layer.file;
        v->layer.ops->free(&v->layer);
        return r;
    }
    *ret = v;
    return 0;
}

int blk_vhdx_open(struct blk_file *file, unsigned flags, struct blk_report *report,
                  struct blk_layer **ret)
{
    uint64_t allocated;
    struct vhdx *v;
    int r = vhdx_open(file, flags, report, &v, &allocated);

    if (r == 0)
        *ret = &v->layer;
    return r;
}
