/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a dynamic or differencing VHD, and where its parent is. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhd_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    CHECKSUM_AT = 36,
    PARENT_NAME_AT = 64,
    PARENT_NAME_BYTES = 512,
    LOCATORS_AT = 576,
    LOCATOR_BYTES = 24,
    CODE_RELATIVE = 0x57327275, /* 'W2ru' */
    CODE_ABSOLUTE = 0x57326b75  /* 'W2ku' */
};

uint32_t vhd_bitmap_bytes(uint32_t block_bytes)
{
    return (uint32_t)hv_align_up(block_bytes / VHD_SECTOR / 8, VHD_SECTOR);
}

static void take_path(const char *text, char *ret)
{
    (void)snprintf(ret, BLK_PATH_BYTES, "%s", strncmp(text, "./", 2) == 0 ? text + 2 : text);
}

static int read_locator(struct vhd *v, const uint8_t *entry, struct blk_report *report)
{
    hv_autofree uint8_t *data = NULL;
    hv_autofree char *text = malloc(BLK_PATH_BYTES);
    uint32_t code = vhd_get32(entry), bytes = vhd_get32(entry + 8);
    uint64_t offset = vhd_get64(entry + 16);
    int r;

    if (code != CODE_RELATIVE && code != CODE_ABSOLUTE)
        return 0;
    if (bytes > 2 * BLK_PATH_BYTES || !hv_range_within(offset, bytes, v->layer.file.bytes))
        return blk_report_bad(report, -EUCLEAN, "image.vhd.parent",
                              "a parent locator of %" PRIu32 " bytes at %" PRIu64
                              " lies outside the file or is too long.",
                              bytes, offset);
    data = malloc(bytes + 1);
    if (!data || !text)
        return -ENOMEM;
    r = blk_file_read(&v->layer.file, offset, data, bytes);
    if (r < 0)
        return blk_report_read(report, r, "a parent locator");
    if (blk_from_utf16(data, bytes, false, text, BLK_PATH_BYTES) < 0)
        return blk_report_bad(report, -EUCLEAN, "image.vhd.parent", "a parent locator is no text.");
    take_path(text, code == CODE_RELATIVE ? v->layer.probe.parent_relative
                                          : v->layer.probe.parent_absolute);
    return 0;
}

static int read_parent(struct vhd *v, const uint8_t *bytes, struct blk_report *report)
{
    struct blk_probe *probe = &v->layer.probe;
    char name[PARENT_NAME_BYTES * 2];
    int r = 0;

    probe->has_parent = true;
    probe->parent_id = v->header.parent_id;
    for (unsigned i = 0; r == 0 && i < VHD_LOCATORS; i++) {
        const uint8_t *entry = bytes + LOCATORS_AT + (size_t)i * LOCATOR_BYTES;

        if (vhd_get32(entry))
            v->locators[i] = (struct vhd_range){ .offset = vhd_get64(entry + 16),
                                                 .bytes = vhd_get32(entry + 8) };
        r = read_locator(v, entry, report);
    }
    if (r == 0 && !probe->parent_relative[0] && !probe->parent_absolute[0] &&
        blk_from_utf16(bytes + PARENT_NAME_AT, PARENT_NAME_BYTES, true, name, sizeof(name)) == 0)
        take_path(name, name[0] == '/' ? probe->parent_absolute : probe->parent_relative);
    return r;
}

static int check_values(struct vhd *v, struct blk_report *report)
{
    const struct vhd_header *h = &v->header;

    if (h->block_bytes < VHD_BLOCK_MIN || h->block_bytes > VHD_BLOCK_MAX ||
        h->block_bytes & (h->block_bytes - 1))
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.block",
                                "the block size of %" PRIu32
                                " must be a power of two from 256 KiB to 256 MiB.",
                                h->block_bytes);
    v->bitmap_bytes = vhd_bitmap_bytes(h->block_bytes);
    v->n_blocks = (v->footer.bytes + h->block_bytes - 1) / h->block_bytes;
    if (h->n_entries < v->n_blocks)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.bat",
                                "its table has %" PRIu32 " entries; a disk of %" PRIu64
                                " bytes needs %" PRIu64 ".",
                                h->n_entries, v->footer.bytes, v->n_blocks);
    if (h->bat_offset % VHD_SECTOR || h->bat_offset < VHD_FOOTER_BYTES ||
        !hv_range_within(h->bat_offset, hv_align_up((uint64_t)h->n_entries * 4, VHD_SECTOR),
                         v->layer.file.bytes))
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.bat",
                                "its table at %" PRIu64 " with %" PRIu32
                                " entries must lie on a sector and inside the file of %" PRIu64
                                " bytes.",
                                h->bat_offset, h->n_entries, (uint64_t)v->layer.file.bytes);
    if (h->bat_offset < v->footer.data_offset + VHD_HEADER_BYTES &&
        v->footer.data_offset < h->bat_offset + (uint64_t)h->n_entries * 4)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.overlap",
                                "its table overlaps its header.");
    return 0;
}

int vhd_header_read(struct vhd *v, struct blk_report *report)
{
    uint8_t bytes[VHD_HEADER_BYTES];
    uint64_t at = v->footer.data_offset;
    int r;

    if (at % VHD_SECTOR || at < VHD_FOOTER_BYTES ||
        !hv_range_within(at, sizeof(bytes), v->layer.file.bytes))
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.header",
                                "its header at %" PRIu64 " lies outside the file.", at);
    r = blk_file_read(&v->layer.file, at, bytes, sizeof(bytes));
    if (r < 0)
        return blk_report_read(report, r, "its header");
    if (memcmp(bytes, "cxsparse", 8) != 0 ||
        vhd_get32(bytes + CHECKSUM_AT) != vhd_checksum(bytes, sizeof(bytes), CHECKSUM_AT))
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.header",
                                "its header has no signature 'cxsparse' or a wrong checksum.");
    v->header.bat_offset = vhd_get64(bytes + 16);
    v->header.n_entries = vhd_get32(bytes + 28);
    v->header.block_bytes = vhd_get32(bytes + 32);
    memcpy(&v->header.parent_id, bytes + 40, sizeof(v->header.parent_id));
    v->header.parent_timestamp = vhd_get32(bytes + 56);
    if (vhd_get32(bytes + 24) >> 16 != 1)
        return blk_report_fatal(report, -EOPNOTSUPP, "image.vhd.header",
                                "its header has a version other than 1.");
    r = check_values(v, report);
    if (r == 0 && v->footer.type == VHD_TYPE_DIFFERENCING)
        r = read_parent(v, bytes, report);
    return r;
}

/* A path behind the header, and the locator that points to it. */
static int put_locator(uint8_t *ret, size_t max, size_t *used, unsigned index, uint32_t code,
                       const char *text, uint64_t offset)
{
    uint8_t *entry = ret + LOCATORS_AT + (size_t)index * LOCATOR_BYTES;
    size_t n, space;
    int r = blk_to_utf16(text, false, true, ret + *used, max - *used, &n);

    if (r < 0)
        return r;
    space = hv_align_up(n ? n : 1, VHD_SECTOR);
    if (space > max - *used)
        return -EINVAL;
    vhd_put32(entry, code);
    vhd_put32(entry + 4, (uint32_t)space);
    vhd_put32(entry + 8, (uint32_t)n);
    vhd_put64(entry + 16, offset + *used);
    *used += space;
    return 0;
}

static int put_parent(uint8_t *ret, size_t max, size_t *used, const struct blk_probe *parent,
                      const char *relative, const char *absolute, uint64_t offset)
{
    const char *name = relative ? relative : absolute, *slash = strrchr(name, '/');
    char dotted[BLK_PATH_BYTES + 2];
    size_t n;
    int r = 0;

    memcpy(ret + 40, &parent->data_write, sizeof(parent->data_write));
    if (blk_to_utf16(slash ? slash + 1 : name, true, false, ret + PARENT_NAME_AT,
                     PARENT_NAME_BYTES - 2, &n) < 0)
        memset(ret + PARENT_NAME_AT, 0, PARENT_NAME_BYTES); /* too long: locators have it */
    if (relative) {
        (void)snprintf(dotted, sizeof(dotted), "./%s", relative);
        r = put_locator(ret, max, used, 0, CODE_RELATIVE, dotted, offset);
    }
    if (r == 0 && absolute)
        r = put_locator(ret, max, used, 1, CODE_ABSOLUTE, absolute, offset);
    return r;
}

int vhd_header_build(const struct vhd_header *header, const struct blk_probe *parent,
                     const char *relative, const char *absolute, uint64_t offset, uint8_t *ret,
                     size_t ret_max, size_t *ret_bytes)
{
    size_t used = VHD_HEADER_BYTES;
    int r = 0;

    memset(ret, 0, ret_max);
    memcpy(ret, "cxsparse", 8);
    vhd_put64(ret + 8, VHD_NO_DATA);
    vhd_put64(ret + 16, header->bat_offset);
    vhd_put32(ret + 24, 0x10000);
    vhd_put32(ret + 28, header->n_entries);
    vhd_put32(ret + 32, header->block_bytes);
    vhd_put32(ret + 56, header->parent_timestamp);
    if (parent)
        r = put_parent(ret, ret_max, &used, parent, relative, absolute, offset);
    if (r < 0)
        return r;
    vhd_put32(ret + CHECKSUM_AT, vhd_checksum(ret, VHD_HEADER_BYTES, CHECKSUM_AT));
    *ret_bytes = used;
    return 0;
}
