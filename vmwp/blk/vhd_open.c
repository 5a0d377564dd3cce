/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a VHD: footer, header, table; nothing is written before all passed. */
#include "vmwp/blk/check_priv.h"
#include "vmwp/blk/vhd_priv.h"

#include <inttypes.h>
#include <string.h>

static void fill_probe(struct vhd *v)
{
    static const enum blk_kind kinds[] = { [VHD_TYPE_FIXED] = BLK_KIND_FIXED,
                                           [VHD_TYPE_DYNAMIC] = BLK_KIND_DYNAMIC,
                                           [VHD_TYPE_DIFFERENCING] = BLK_KIND_DIFFERENCING };
    struct blk_probe *probe = &v->layer.probe;

    probe->format = BLK_FORMAT_VHD;
    probe->kind = kinds[v->footer.type];
    probe->bytes = v->footer.bytes;
    probe->logical_bytes = probe->physical_bytes = VHD_SECTOR;
    probe->block_bytes = v->header.block_bytes;
    probe->identity = probe->data_write = v->footer.id;
    v->layer.can_discard = v->footer.type == VHD_TYPE_DYNAMIC;
}

static int judge_fixed(struct vhd *v, struct blk_report *report)
{
    v->layer.ops = &vhd_fixed_ops;
    if (v->is_end_damaged)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.footer",
                                "a fixed disk has one footer, at its end, and it is damaged.");
    if (v->footer.bytes > v->data_end)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.truncated",
                                "the file has %" PRIu64
                                " bytes before its footer, and the disk %" PRIu64 ".",
                                v->data_end, v->footer.bytes);
    return 0;
}

static int judge(struct vhd *v, unsigned flags, struct blk_report *report, uint64_t *ret_allocated)
{
    int r;

    r = vhd_footer_read(v, report);
    if (r < 0)
        return r;
    if (v->footer.type == VHD_TYPE_FIXED) {
        r = judge_fixed(v, report);
    } else {
        r = vhd_header_read(v, report);
        if (r == 0 && !(flags & BLK_OPEN_PROBE))
            r = vhd_bat_scan(v, report, ret_allocated);
    }
    if (r == 0)
        fill_probe(v);
    return r;
}

/* A footer that a crash took is written anew, behind the last block. */
static int make_writable(struct vhd *v, struct blk_report *report)
{
    int r;

    if (v->layer.file.bytes % VHD_SECTOR && !v->is_end_damaged)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.length",
                                "the file's length of %" PRIu64
                                " is no multiple of 512 bytes; it can only be read, or converted.",
                                (uint64_t)v->layer.file.bytes);
    if (!v->is_end_damaged && !v->is_start_damaged)
        return 0;
    r = vhd_footer_write(v, true);
    if (r == 0 && v->is_end_damaged)
        r = blk_file_truncate(&v->layer.file, v->data_end + VHD_FOOTER_BYTES);
    if (r == 0)
        r = blk_file_sync(&v->layer.file);
    if (r < 0)
        return hv_error_set(report->reterr, r, "image.vhd.repair",
                            "Image %s: its damaged footer can't be written anew (%s).",
                            report->path, strerror(-r));
    v->is_end_damaged = v->is_start_damaged = false;
    return 0;
}

static int vhd_new(struct blk_file *file, unsigned flags, struct vhd **ret)
{
    struct vhd *v = calloc(1, sizeof(*v));
    int r;

    if (!v)
        return -ENOMEM;
    r = blk_pages_init(&v->pages, &v->layer.file, VHD_SECTOR, VHD_PAGES_MAX);
    if (r < 0) {
        free(v);
        return r;
    }
    blk_layer_init(&v->layer, &vhd_ops, file, flags);
    pthread_mutex_init(&v->alloc, NULL);
    blk_commits_init(&v->commits);
    pthread_mutex_init(&v->meta, NULL);
    *ret = v;
    return 0;
}

int vhd_open(struct blk_file *file, unsigned flags, struct blk_report *report, struct vhd **ret,
             uint64_t *ret_allocated)
{
    struct vhd *v;
    int r;

    *ret_allocated = 0;
    r = vhd_new(file, flags, &v);
    if (r < 0)
        return r;
    r = judge(v, flags, report, ret_allocated);
    if (r == 0 && !(flags & BLK_OPEN_READ_ONLY))
        r = make_writable(v, report);
    if (r < 0) {
        *file = v->layer.file;
        v->layer.ops->free(&v->layer);
        return r;
    }
    *ret = v;
    return 0;
}

int blk_vhd_open(struct blk_file *file, unsigned flags, struct blk_report *report,
                 struct blk_layer **ret)
{
    uint64_t allocated;
    struct vhd *v;
    int r = vhd_open(file, flags, report, &v, &allocated);

    if (r == 0)
        *ret = &v->layer;
    return r;
}

int blk_vhd_check(struct blk_file *file, struct blk_report *report, struct blk_check_result *ret)
{
    uint64_t used;
    struct vhd *v;
    int r;

    r = vhd_open(file, BLK_OPEN_READ_ONLY, report, &v, &ret->n_allocated);
    if (r < 0)
        return r;
    if (v->footer.type != VHD_TYPE_FIXED) {
        used = v->header.bat_offset + (uint64_t)v->header.n_entries * 4 +
               ret->n_allocated * ((uint64_t)v->bitmap_bytes + v->header.block_bytes);
        ret->n_blocks = v->n_blocks;
        ret->leaked_bytes = used < v->data_end ? v->data_end - used : 0;
    }
    *file = v->layer.file;
    v->layer.ops->free(&v->layer);
    return 0;
}
