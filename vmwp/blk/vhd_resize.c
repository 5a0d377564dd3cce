/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A larger VHD, and another parent. What doesn't fit where it is goes to the end of the file; then
 * one sector, written whole or not at all, points to it.
 */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhd_priv.h"
#include "vmwp/blk/work_priv.h"

#include <string.h>

/* Space at the end, the footer behind it. What is there afterwards is zeroes and, at its start, the
 * footer as it was. */
static int extend(struct vhd *v, uint64_t bytes, uint64_t *ret_offset)
{
    uint64_t offset = v->data_end;
    int r;

    r = blk_file_truncate(&v->layer.file, offset + bytes + VHD_FOOTER_BYTES);
    if (r < 0)
        return r;
    v->data_end = offset + bytes;
    r = vhd_footer_write(v, false);
    if (r == 0)
        r = blk_file_sync(&v->layer.file);
    *ret_offset = offset;
    return r;
}

static int put_footers(struct vhd *v)
{
    int r = vhd_footer_write(v, true);

    return r == 0 ? blk_file_sync(&v->layer.file) : r;
}

/* The first sector of the header has all that changes. */
static int put_header(struct vhd *v)
{
    uint8_t bytes[VHD_HEADER_BYTES];
    int r;

    r = blk_file_read(&v->layer.file, v->footer.data_offset, bytes, sizeof(bytes));
    if (r < 0)
        return r;
    vhd_put64(bytes + 16, v->header.bat_offset);
    vhd_put32(bytes + 28, v->header.n_entries);
    vhd_put32(bytes + 36, vhd_checksum(bytes, sizeof(bytes), 36));
    r = blk_file_write(&v->layer.file, v->footer.data_offset, bytes, VHD_SECTOR);
    return r == 0 ? blk_file_sync(&v->layer.file) : r;
}

static int move_table(struct vhd *v, uint64_t n_entries)
{
    uint64_t bytes = hv_align_up(n_entries * 4, VHD_SECTOR), offset = 0;
    hv_autofree uint8_t *table = malloc(bytes);
    int r;

    if (!table)
        return -ENOMEM;
    memset(table, 0xff, bytes);
    r = blk_file_read(&v->layer.file, v->header.bat_offset, table, v->n_blocks * 4);
    if (r == 0)
        r = extend(v, bytes, &offset);
    if (r == 0)
        r = blk_file_write(&v->layer.file, offset, table, bytes);
    if (r == 0)
        r = blk_file_sync(&v->layer.file);
    if (r < 0)
        return r;
    v->header.bat_offset = offset;
    v->header.n_entries = (uint32_t)n_entries;
    return put_header(v);
}

/* Entries behind the end meant nothing: they get to say that no block is there. */
static int clear_entries(struct vhd *v, uint64_t first, uint64_t end)
{
    int r = 0;

    pthread_mutex_lock(&v->meta);
    for (uint64_t i = first; r == 0 && i < end; i++)
        r = vhd_bat_set(v, i, 0);
    pthread_mutex_unlock(&v->meta);
    return r == 0 ? vhd_commit(v) : r;
}

/* The last block behind the old end was never seen: it is to be zeroes. */
static int clear_tail(struct vhd *v)
{
    uint64_t in_block = v->footer.bytes % v->header.block_bytes, at;
    int r;

    if (!in_block || v->footer.type != VHD_TYPE_DYNAMIC)
        return 0;
    pthread_mutex_lock(&v->meta);
    r = vhd_bat_get(v, v->footer.bytes / v->header.block_bytes, &at);
    pthread_mutex_unlock(&v->meta);
    if (r < 0 || !at)
        return r;
    return blk_file_zero(&v->layer.file, at + v->bitmap_bytes + in_block,
                         v->header.block_bytes - in_block, true);
}

static int grow_sparse(struct vhd *v, uint64_t bytes)
{
    uint64_t n = (bytes + v->header.block_bytes - 1) / v->header.block_bytes;
    int r;

    r = clear_tail(v);
    if (r == 0 && n > v->header.n_entries)
        r = move_table(v, n);
    else if (r == 0)
        r = clear_entries(v, v->n_blocks, n);
    if (r < 0)
        return r;
    v->n_blocks = n;
    vhd_footer_set_size(&v->footer, bytes);
    return put_footers(v);
}

static int grow_fixed(struct vhd *v, uint64_t bytes)
{
    uint64_t old = v->data_end;
    int r;

    r = blk_file_truncate(&v->layer.file, bytes + VHD_FOOTER_BYTES);
    if (r < 0)
        return r;
    vhd_footer_set_size(&v->footer, bytes);
    v->data_end = bytes;
    r = put_footers(v);
    if (r == 0) /* where the footer was; it may be as near as a sector to the new one */
        r = blk_file_zero(&v->layer.file, old, VHD_FOOTER_BYTES, false);
    return r == 0 ? blk_file_sync(&v->layer.file) : r;
}

int blk_vhd_resize(struct blk_layer *layer, uint64_t bytes, const struct blk_progress *progress,
                   struct blk_report *report)
{
    struct vhd *v = vhd_of(layer);

    if (bytes > BLK_VHD_MAX_BYTES)
        return blk_report_fatal(report, -EINVAL, "image.resize.size",
                                "a VHD has at most 2040 GiB; a VHDX may have 64 TiB.");
    if (bytes < layer->probe.bytes)
        return blk_report_fatal(report, -EINVAL, "image.resize.shrink",
                                "a VHD only grows; a VHDX can shrink.");
    return v->footer.type == VHD_TYPE_FIXED ? grow_fixed(v, bytes) : grow_sparse(v, bytes);
}

int blk_vhd_reparent(struct blk_layer *layer, const struct blk_probe *parent, const char *relative,
                     const char *absolute, struct blk_report *report)
{
    struct vhd *v = vhd_of(layer);
    hv_autofree uint8_t *built = malloc(VHD_HEADER_BUILD_MAX);
    uint64_t offset = 0;
    size_t n;
    int r;

    if (!built)
        return -ENOMEM;
    r = vhd_header_build(&v->header, parent, relative, absolute, v->data_end, built,
                         VHD_HEADER_BUILD_MAX, &n);
    if (r == 0)
        r = extend(v, n, &offset);
    if (r == 0)
        r = blk_file_write(&layer->file, offset, built, n);
    if (r == 0)
        r = blk_file_sync(&layer->file);
    if (r < 0)
        return r;
    v->footer.data_offset = offset;
    return put_footers(v);
}
