/* SPDX-License-Identifier: Apache-2.0 */
/* The block allocation table of a VHD, and the bitmap before each block. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhd_priv.h"

#include <inttypes.h>

enum { SCAN_BYTES = 64 * 1024, BATCH = 1024 };

static uint64_t whole_block(const struct vhd *v)
{
    return (uint64_t)v->bitmap_bytes + v->header.block_bytes;
}

int vhd_bat_get(struct vhd *v, uint64_t block, uint64_t *ret_offset)
{
    uint64_t at = v->header.bat_offset + block * 4, offset;
    struct blk_page *page;
    uint32_t entry;
    int r;

    r = blk_pages_get(&v->pages, at, &page);
    if (r < 0)
        return r;
    entry = vhd_get32(page->bytes + at % VHD_SECTOR);
    offset = (uint64_t)entry * VHD_SECTOR;
    if (entry == VHD_NO_BLOCK)
        offset = 0;
    /* Judged when it was opened; read anew it must not have become worse. */
    else if (!entry || !hv_range_within(offset, whole_block(v), v->layer.file.bytes))
        return -EUCLEAN;
    *ret_offset = offset;
    return 0;
}

int vhd_bat_set(struct vhd *v, uint64_t block, uint64_t offset)
{
    uint64_t at = v->header.bat_offset + block * 4;
    struct blk_page *page;
    int r = blk_pages_get(&v->pages, at, &page);

    if (r < 0)
        return r;
    blk_pages_touch(&v->pages, page);
    vhd_put32(page->bytes + at % VHD_SECTOR,
              offset ? (uint32_t)(offset / VHD_SECTOR) : VHD_NO_BLOCK);
    return 0;
}

struct scan {
    uint32_t *sectors; /* where allocated blocks begin */
    size_t n, n_max;
};

static int note_block(struct vhd *v, struct scan *scan, uint64_t block, uint32_t entry,
                      struct blk_report *report)
{
    uint64_t offset = (uint64_t)entry * VHD_SECTOR;

    if (entry == VHD_NO_BLOCK)
        return 0;
    if (entry == 0 || !hv_range_within(offset, whole_block(v), v->layer.file.bytes))
        return blk_report_bad(report, -EUCLEAN, "image.vhd.bat",
                              "block %" PRIu64 " at %" PRIu64 " lies outside the file of %" PRIu64
                              " bytes.",
                              block, offset, (uint64_t)v->layer.file.bytes);
    if (scan->n == scan->n_max) {
        size_t max = scan->n_max ? 2 * scan->n_max : BATCH;
        uint32_t *grown = realloc(scan->sectors, max * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        scan->sectors = grown;
        scan->n_max = max;
    }
    scan->sectors[scan->n++] = entry;
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static bool overlaps(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

static int check_overlap(struct vhd *v, struct scan *scan, struct blk_report *report)
{
    uint64_t bat = v->header.bat_offset;
    uint64_t bat_bytes = hv_align_up((uint64_t)v->header.n_entries * 4, VHD_SECTOR);
    uint64_t header = v->footer.data_offset, end = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < scan->n; i++) {
        uint64_t at = (uint64_t)scan->sectors[i] * VHD_SECTOR;

        if (at < end || overlaps(at, whole_block(v), bat, bat_bytes) ||
            overlaps(at, whole_block(v), header, VHD_HEADER_BYTES))
            r = blk_report_bad(
                report, -EUCLEAN, "image.vhd.overlap",
                "the block at %" PRIu64 " overlaps another block, the table or the header.", at);
        end = at + whole_block(v);
    }
    if (r == 0 && !v->is_end_damaged && end > v->data_end)
        r = blk_report_bad(report, -EUCLEAN, "image.vhd.overlap",
                           "the block that ends at %" PRIu64 " overlaps the footer.", end);
    if (v->is_end_damaged) { /* the footer belongs behind all that is used */
        v->data_end = end;
        if (v->data_end < bat + bat_bytes)
            v->data_end = bat + bat_bytes;
        if (v->data_end < header + VHD_HEADER_BYTES)
            v->data_end = header + VHD_HEADER_BYTES;
    }
    return r;
}

static int list(struct vhd *v, struct scan *scan, struct blk_report *report)
{
    hv_autofree uint8_t *buffer = malloc(SCAN_BYTES);
    int r = buffer ? 0 : -ENOMEM;

    for (uint64_t i = 0; r == 0 && i < v->n_blocks;) {
        uint64_t n = v->n_blocks - i < SCAN_BYTES / 4 ? v->n_blocks - i : SCAN_BYTES / 4;

        r = blk_file_read(&v->layer.file, v->header.bat_offset + i * 4, buffer, n * 4);
        if (r < 0)
            r = blk_report_read(report, r, "its table");
        for (uint64_t j = 0; r == 0 && j < n; j++)
            r = note_block(v, scan, i + j, vhd_get32(buffer + j * 4), report);
        i += n;
    }
    if (r == 0 && scan->n)
        qsort(scan->sectors, scan->n, sizeof(*scan->sectors), compare);
    return r;
}

int vhd_bat_scan(struct vhd *v, struct blk_report *report, uint64_t *ret_allocated)
{
    struct scan scan = { 0 };
    int r = list(v, &scan, report);

    if (r == 0)
        r = check_overlap(v, &scan, report);
    *ret_allocated = scan.n;
    free(scan.sectors);
    return r;
}

static bool is_set(const uint8_t *bytes, uint64_t bit)
{
    return bytes[bit / 8] >> (7 - bit % 8) & 1;
}

int vhd_bits_run(struct vhd *v, uint64_t block_offset, uint64_t sector, uint64_t n_sectors,
                 bool *ret_is_set, uint64_t *ret_run)
{
    const uint64_t page_bits = (uint64_t)VHD_SECTOR * 8;
    struct blk_page *page = NULL;
    uint64_t run = 0;

    for (; run < n_sectors; run++) {
        uint64_t bit = sector + run;

        if (!page || bit % page_bits == 0) {
            int r = blk_pages_get(&v->pages, block_offset + bit / 8, &page);

            if (r < 0)
                return r;
        }
        if (run == 0)
            *ret_is_set = is_set(page->bytes, bit % page_bits);
        else if (is_set(page->bytes, bit % page_bits) != *ret_is_set)
            break;
    }
    *ret_run = run;
    return 0;
}

int vhd_bits_set(struct vhd *v, uint64_t block_offset, uint64_t sector, uint64_t n_sectors)
{
    for (uint64_t bit = sector; bit < sector + n_sectors; bit++) {
        struct blk_page *page;
        int r = blk_pages_get(&v->pages, block_offset + bit / 8, &page);

        if (r < 0)
            return r;
        blk_pages_touch(&v->pages, page);
        page->bytes[bit / 8 % VHD_SECTOR] |= (uint8_t)(0x80 >> (bit % 8));
    }
    return 0;
}
