/* SPDX-License-Identifier: Apache-2.0 */
/* The footer of a VHD, at its end and, but for fixed disks, also at its start. */
#include "hvcore/base/clock.h"
#include "hvcore/base/cursor.h"
#include "vmwp/blk/vhd_priv.h"

#include <inttypes.h>
#include <string.h>

enum {
    CHECKSUM_AT = 64,
    GEOMETRY_MAX = 65535 * 16 * 255,
    EPOCH = 946684800 /* 2000-01-01, from which timestamps count */
};

uint32_t vhd_checksum(const uint8_t *bytes, size_t length, size_t own_field)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < length; i++)
        if (i < own_field || i >= own_field + 4)
            sum += bytes[i];
    return ~sum;
}

/* spec: "Appendix: CHS Calculation" */
static void set_geometry(struct vhd_footer *footer, uint64_t n_sectors)
{
    uint32_t n = n_sectors > GEOMETRY_MAX ? GEOMETRY_MAX : (uint32_t)n_sectors;
    uint32_t per_track = 17, heads = (n / 17 + 1023) / 1024;

    if (heads < 4)
        heads = 4;
    if (n >= 65535u * 16 * 63) {
        per_track = 255;
        heads = 16;
    } else if (n / 17 >= heads * 1024 || heads > 16) {
        heads = 16;
        per_track = n / 31 >= 16 * 1024 ? 63 : 31;
    }
    footer->cylinders = (uint16_t)(n / per_track / heads);
    footer->heads = (uint8_t)heads;
    footer->sectors = (uint8_t)per_track;
}

/*
 * Virtual PC counts a disk's size by its geometry and QEMU followed it, marking what it made by
 * "qemu"; all others, and Hyper-V, by the size field. seen: qemu 7.2, block/vpc's creators
 */
static void choose_size(struct vhd_footer *footer)
{
    uint64_t chs = (uint64_t)footer->cylinders * footer->heads * footer->sectors;
    bool is_by_geometry =
        memcmp(footer->creator, "vpc ", 4) == 0 || memcmp(footer->creator, "qemu", 4) == 0;

    if (is_by_geometry && chs > 0 && chs < GEOMETRY_MAX && chs * VHD_SECTOR < footer->bytes)
        footer->bytes = chs * VHD_SECTOR;
}

/* NULL, or what is wrong. */
static const char *parse(const uint8_t *bytes, struct vhd_footer *ret)
{
    if (memcmp(bytes, "conectix", 8) != 0)
        return "has no signature 'conectix'";
    if (vhd_get32(bytes + CHECKSUM_AT) != vhd_checksum(bytes, VHD_FOOTER_BYTES, CHECKSUM_AT))
        return "has a wrong checksum";
    if (vhd_get32(bytes + 12) >> 16 != 1)
        return "has a version other than 1";
    ret->data_offset = vhd_get64(bytes + 16);
    ret->timestamp = vhd_get32(bytes + 24);
    memcpy(ret->creator, bytes + 28, sizeof(ret->creator));
    memcpy(ret->raw, bytes, sizeof(ret->raw));
    ret->bytes = vhd_get64(bytes + 48);
    ret->cylinders = (uint16_t)(bytes[56] << 8 | bytes[57]);
    ret->heads = bytes[58];
    ret->sectors = bytes[59];
    ret->type = vhd_get32(bytes + 60);
    memcpy(&ret->id, bytes + 68, sizeof(ret->id));
    choose_size(ret);
    return NULL;
}

static int check_values(const struct vhd_footer *f, struct blk_report *report)
{
    if (f->type < VHD_TYPE_FIXED || f->type > VHD_TYPE_DIFFERENCING)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.type",
                                "its footer names disk type %" PRIu32
                                "; 2 (fixed), 3 (dynamic) and 4 (differencing) exist.",
                                f->type);
    if (f->bytes == 0 || f->bytes % VHD_SECTOR || f->bytes > BLK_VHD_MAX_BYTES)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.size",
                                "the disk size of %" PRIu64
                                " must be a multiple of 512 bytes, not 0, and at most 2040 GiB.",
                                f->bytes);
    return 0;
}

int vhd_footer_read(struct vhd *v, struct blk_report *report)
{
    uint8_t end[VHD_FOOTER_BYTES], start[VHD_FOOTER_BYTES];
    const char *end_fault, *start_fault;
    struct vhd_footer copy;
    uint64_t length = v->layer.file.bytes;
    int r;

    if (length < 2 * VHD_FOOTER_BYTES || length > INT64_MAX)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.truncated",
                                "a VHD has at least two sectors; the file has %" PRIu64 " bytes.",
                                length);
    v->data_end = (length - VHD_FOOTER_BYTES) & ~(uint64_t)(VHD_SECTOR - 1);
    r = blk_file_read(&v->layer.file, v->data_end, end, sizeof(end));
    if (r == 0)
        r = blk_file_read(&v->layer.file, 0, start, sizeof(start));
    if (r < 0)
        return blk_report_read(report, r, "its footer");
    end_fault = parse(end, &v->footer);
    start_fault = parse(start, &copy);
    if (end_fault && start_fault)
        return blk_report_fatal(report, -EUCLEAN, "image.vhd.footer",
                                "its footer %s, and so does a copy at the start.", end_fault);
    if (end_fault) {
        blk_report_note(report, "image.vhd.footer", "its footer %s; the copy at the start counts.",
                        end_fault);
        v->footer = copy;
    }
    v->is_end_damaged = end_fault;
    v->is_start_damaged =
        v->footer.type != VHD_TYPE_FIXED && (start_fault || memcmp(start, end, sizeof(start)) != 0);
    if (v->is_start_damaged && !end_fault)
        blk_report_note(report, "image.vhd.footer",
                        "the copy of its footer at the start is damaged or differs.");
    return check_values(&v->footer, report);
}

void vhd_footer_format(const struct vhd_footer *footer, uint8_t ret[static VHD_FOOTER_BYTES])
{
    memcpy(ret, footer->raw, VHD_FOOTER_BYTES);
    vhd_put64(ret + 16, footer->data_offset);
    vhd_put32(ret + CHECKSUM_AT, vhd_checksum(ret, VHD_FOOTER_BYTES, CHECKSUM_AT));
}

void vhd_footer_set_size(struct vhd_footer *footer, uint64_t bytes)
{
    footer->bytes = bytes;
    set_geometry(footer, bytes / VHD_SECTOR);
    memcpy(footer->raw + 28, "win ", 4); /* the name by which readers go by the size field */
    vhd_put64(footer->raw + 48, bytes);
    vhd_put16(footer->raw + 56, footer->cylinders);
    footer->raw[58] = footer->heads;
    footer->raw[59] = footer->sectors;
}

int vhd_footer_new(uint64_t bytes, uint32_t type, struct vhd_footer *ret)
{
    struct vhd_footer footer = { .type = type };
    int r = hv_guid_random(&footer.id);

    if (r < 0)
        return r;
    footer.data_offset = type == VHD_TYPE_FIXED ? VHD_NO_DATA : VHD_FOOTER_BYTES;
    footer.timestamp = (uint32_t)(hv_clock_realtime_ns() / HV_NS_PER_SEC - EPOCH);
    memcpy(footer.raw, "conectix", 8);
    vhd_put32(footer.raw + 8, 2); /* the reserved feature, always set */
    vhd_put32(footer.raw + 12, 0x10000);
    vhd_put32(footer.raw + 24, footer.timestamp);
    vhd_put32(footer.raw + 32, 0x60001);
    memcpy(footer.raw + 36, "Wi2k", 4);
    vhd_put64(footer.raw + 40, bytes);
    vhd_put32(footer.raw + 60, type);
    memcpy(footer.raw + 68, &footer.id, sizeof(footer.id));
    vhd_footer_set_size(&footer, bytes);
    *ret = footer;
    return 0;
}

int vhd_footer_write(struct vhd *v, bool is_copy_too)
{
    uint8_t bytes[VHD_FOOTER_BYTES];
    int r;

    vhd_footer_format(&v->footer, bytes);
    r = blk_file_write(&v->layer.file, v->data_end, bytes, sizeof(bytes));
    if (r == 0 && is_copy_too && v->footer.type != VHD_TYPE_FIXED)
        r = blk_file_write(&v->layer.file, 0, bytes, sizeof(bytes));
    return r;
}
