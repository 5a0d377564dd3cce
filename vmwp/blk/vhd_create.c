/* SPDX-License-Identifier: Apache-2.0 */
/* Making a VHD: copy of the footer, header, what locates a parent, table, footer. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhd_priv.h"

#include <inttypes.h>
#include <string.h>

enum { BLOCK_DEFAULT = 2 << 20, BLOCK_LEAST = 512 << 10 };

static int check_options(const struct blk_create_options *o, uint64_t bytes, uint32_t block_bytes,
                         struct blk_report *report)
{
    if (block_bytes < BLOCK_LEAST || block_bytes > VHD_BLOCK_MAX || block_bytes & (block_bytes - 1))
        return blk_report_fatal(report, -EINVAL, "image.create.block",
                                "the block size must be a power of two from 512 KiB to 256 MiB; "
                                "%" PRIu32 " isn't.",
                                block_bytes);
    if ((o->logical_bytes && o->logical_bytes != VHD_SECTOR) ||
        (o->physical_bytes && o->physical_bytes != VHD_SECTOR))
        return blk_report_fatal(report, -EINVAL, "image.create.sector",
                                "a VHD has sectors of 512 bytes; a VHDX may have 4096.");
    if (bytes == 0 || bytes % VHD_SECTOR || bytes > BLK_VHD_MAX_BYTES)
        return blk_report_fatal(report, -EINVAL, "image.create.size",
                                "the size must be a multiple of 512 bytes, not 0, and at most "
                                "2040 GiB; %" PRIu64 " isn't. A VHDX may have 64 TiB.",
                                bytes);
    return 0;
}

static int write_table(struct blk_file *file, uint64_t offset, uint64_t bytes)
{
    hv_autofree uint8_t *empty = malloc(64 * 1024);
    int r = empty ? 0 : -ENOMEM;

    if (empty)
        memset(empty, 0xff, 64 * 1024); /* VHD_NO_BLOCK */
    while (r == 0 && bytes > 0) {
        size_t step = bytes < 64 * 1024 ? (size_t)bytes : 64 * 1024;

        r = blk_file_write(file, offset, empty, step);
        offset += step;
        bytes -= step;
    }
    return r;
}

static int create_sparse(struct blk_file *file, const struct blk_create_options *o,
                         const struct vhd_footer *footer, uint32_t block_bytes)
{
    struct vhd_header header = { .block_bytes = block_bytes };
    hv_autofree uint8_t *built = malloc(VHD_HEADER_BUILD_MAX);
    uint8_t bytes[VHD_FOOTER_BYTES];
    uint64_t table;
    size_t n;
    int r;

    if (!built)
        return -ENOMEM;
    header.n_entries = (uint32_t)((footer->bytes + block_bytes - 1) / block_bytes);
    header.parent_timestamp = o->parent ? footer->timestamp : 0;
    /* Twice: the first time tells how long it is, and so where the table goes. */
    r = vhd_header_build(&header, o->parent, o->parent_relative, o->parent_absolute,
                         VHD_FOOTER_BYTES, built, VHD_HEADER_BUILD_MAX, &n);
    if (r < 0)
        return r;
    header.bat_offset = VHD_FOOTER_BYTES + n;
    table = hv_align_up((uint64_t)header.n_entries * 4, VHD_SECTOR);
    r = vhd_header_build(&header, o->parent, o->parent_relative, o->parent_absolute,
                         VHD_FOOTER_BYTES, built, VHD_HEADER_BUILD_MAX, &n);
    if (r == 0)
        r = blk_file_write(file, VHD_FOOTER_BYTES, built, n);
    if (r == 0)
        r = write_table(file, header.bat_offset, table);
    vhd_footer_format(footer, bytes);
    if (r == 0)
        r = blk_file_write(file, header.bat_offset + table, bytes, sizeof(bytes));
    if (r == 0)
        r = blk_file_write(file, 0, bytes, sizeof(bytes));
    return r;
}

int blk_vhd_create(struct blk_file *file, const struct blk_create_options *o,
                   struct blk_report *report)
{
    static const uint32_t types[] = { [BLK_KIND_FIXED] = VHD_TYPE_FIXED,
                                      [BLK_KIND_DYNAMIC] = VHD_TYPE_DYNAMIC,
                                      [BLK_KIND_DIFFERENCING] = VHD_TYPE_DIFFERENCING };
    uint32_t block_bytes = o->block_bytes ? o->block_bytes : BLOCK_DEFAULT;
    uint8_t bytes[VHD_FOOTER_BYTES];
    struct vhd_footer footer;
    uint64_t size;
    int r;

    r = blk_check_parent(o, report);
    if (r < 0)
        return r;
    size = o->bytes || !o->parent ? o->bytes : o->parent->bytes;
    r = check_options(o, size, block_bytes, report);
    if (r == 0)
        r = vhd_footer_new(size, types[o->kind], &footer);
    if (r < 0)
        return r;
    if (o->kind != BLK_KIND_FIXED)
        return create_sparse(file, o, &footer, block_bytes);
    vhd_footer_format(&footer, bytes);
    r = blk_file_truncate(file, size);
    if (r == 0)
        r = blk_file_write(file, size, bytes, sizeof(bytes));
    return r;
}
