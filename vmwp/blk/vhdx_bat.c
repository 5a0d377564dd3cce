/* SPDX-License-Identifier: Apache-2.0 */
/* The block allocation table of a VHDX. spec: MS-VHDX 2.5 */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhdx_priv.h"

#include <inttypes.h>

enum { SCAN_BYTES = 64 * 1024 };

uint64_t vhdx_bat_index(const struct vhdx *v, uint64_t block)
{
    return block + block / v->chunk_blocks;
}

uint64_t vhdx_bitmap_index(const struct vhdx *v, uint64_t block)
{
    return block / v->chunk_blocks * (v->chunk_blocks + 1) + v->chunk_blocks;
}

int vhdx_bat_get(struct vhdx *v, uint64_t index, uint64_t *ret_entry)
{
    uint64_t at = v->bat_offset + index * 8;
    struct blk_page *page;
    uint64_t entry, offset, bytes;
    int r;

    r = blk_pages_get(&v->pages, at, &page);
    if (r < 0)
        return r;
    entry = vhdx_get64(page->bytes + at % VHDX_PAGE);
    offset = entry & VHDX_OFFSET_MASK;
    /* The whole table was judged when the image was opened; a page read anew must not have become
     * worse behind our back. */
    bytes = index % (v->chunk_blocks + 1) == v->chunk_blocks ? VHDX_BITMAP_BLOCK : v->block_bytes;
    if ((entry & 7) >= VHDX_FULL &&
        (offset < VHDX_MIB || !hv_range_within(offset, bytes, v->layer.file.bytes)))
        return -EUCLEAN;
    *ret_entry = entry;
    return 0;
}

int vhdx_bat_prepare(struct vhdx *v, uint64_t index)
{
    struct blk_page *page;
    int r = blk_pages_get(&v->pages, v->bat_offset + index * 8, &page);

    if (r == 0)
        blk_pages_touch(&v->pages, page);
    return r;
}

void vhdx_bat_set(struct vhdx *v, uint64_t index, uint64_t entry)
{
    uint64_t at = v->bat_offset + index * 8;
    struct blk_page *page;
    int r = blk_pages_get(&v->pages, at, &page);

    hv_assert(r == 0 && page->is_dirty); /* prepared, so it is here */
    vhdx_put64(page->bytes + at % VHDX_PAGE, entry);
}

static const char *what_is(bool is_bitmap)
{
    return is_bitmap ? "sector bitmap block" : "block";
}

static int take_space(struct vhdx *v, uint64_t number, uint64_t entry, bool is_bitmap,
                      struct blk_report *report)
{
    uint64_t offset = entry & VHDX_OFFSET_MASK;
    uint64_t bytes = is_bitmap ? VHDX_BITMAP_BLOCK : v->block_bytes;

    if (offset < VHDX_MIB || !hv_range_within(offset, bytes, v->layer.file.bytes))
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.bat",
                              "%s %" PRIu64 " at %" PRIu64 " lies outside the file of %" PRIu64
                              " bytes.",
                              what_is(is_bitmap), number, offset, (uint64_t)v->layer.file.bytes);
    if (!vhdx_space_take(&v->space, offset, bytes))
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.overlap",
                              "%s %" PRIu64 " at %" PRIu64 " overlaps another block or a region.",
                              what_is(is_bitmap), number, offset);
    return 0;
}

static int scan_bitmap(struct vhdx *v, uint64_t chunk, uint64_t entry, struct blk_report *report)
{
    unsigned state = entry & 7;

    if (!(v->flags & VHDX_HAS_PARENT))
        return 0; /* nothing has a use for it */
    if (state != VHDX_NOT_PRESENT && state != VHDX_FULL)
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.bat",
                              "sector bitmap block %" PRIu64 " has state %u; only 0 and 6 exist.",
                              chunk, state);
    return state == VHDX_FULL ? take_space(v, chunk, entry, true, report) : 0;
}

static int scan_payload(struct vhdx *v, uint64_t block, uint64_t entry, struct blk_report *report,
                        uint64_t *allocated)
{
    unsigned state = entry & 7;

    if (entry & VHDX_RESERVED)
        blk_report_note(report, "image.vhdx.bat", "block %" PRIu64 " has reserved bits set.",
                        block);
    if (state == 4 || state == 5)
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.bat",
                              "block %" PRIu64 " has state %u, which doesn't exist.", block, state);
    if (state == VHDX_PARTIAL && !(v->flags & VHDX_HAS_PARENT))
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.bat",
                              "block %" PRIu64 " is partially present, and there is no parent.",
                              block);
    if (state < VHDX_FULL)
        return 0;
    (*allocated)++;
    return take_space(v, block, entry, false, report);
}

struct scan {
    uint64_t n_entries, allocated;
    uint64_t first_partial; /* block + 1 of the chunk that is being looked at; 0: none */
};

static int scan_entry(struct vhdx *v, struct scan *scan, uint64_t index, uint64_t entry,
                      struct blk_report *report)
{
    uint64_t chunk = index / (v->chunk_blocks + 1), in_chunk = index % (v->chunk_blocks + 1);
    uint64_t block = chunk * v->chunk_blocks + in_chunk;
    uint64_t partial;

    if (in_chunk < v->chunk_blocks) {
        if (block >= v->n_blocks)
            return 0;
        if ((entry & 7) == VHDX_PARTIAL && !scan->first_partial)
            scan->first_partial = block + 1;
        return scan_payload(v, block, entry, report, &scan->allocated);
    }
    partial = scan->first_partial;
    scan->first_partial = 0;
    if (partial && (entry & 7) != VHDX_FULL)
        return blk_report_bad(
            report, -EUCLEAN, "image.vhdx.bat",
            "block %" PRIu64 " is partially present and has no sector bitmap block.", partial - 1);
    return scan_bitmap(v, chunk, entry, report);
}

static int take_regions(struct vhdx *v, struct blk_report *report)
{
    int r = vhdx_space_resize(&v->space, v->layer.file.bytes);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < v->n_regions; i++)
        (void)vhdx_space_take(&v->space, v->regions[i].offset, v->regions[i].bytes);
    return 0;
}

/* Holes of the table hold zeroes: blocks that aren't present. One that is partially present still
 * waits for its bitmap's entry, which must be looked at. */
static uint64_t skip_hole(struct vhdx *v, const struct scan *scan, uint64_t index)
{
    uint64_t data, at = v->bat_offset + index * 8;
    int r;

    if (scan->first_partial)
        return index;
    r = blk_file_find_data(&v->layer.file, at, &data);
    if (r == -ENXIO || (r == 0 && data >= v->bat_offset + scan->n_entries * 8))
        return scan->n_entries;
    if (r < 0)
        return index; /* reading it tells */
    return index + hv_align_down(data - at, SCAN_BYTES) / 8;
}

int vhdx_bat_scan(struct vhdx *v, struct blk_report *report, uint64_t *ret_allocated)
{
    hv_autofree uint8_t *buffer = malloc(SCAN_BYTES);
    struct scan scan = { 0 };
    int r;

    if (!buffer)
        return -ENOMEM;
    scan.n_entries = vhdx_bat_entries(v->n_blocks, v->chunk_blocks, v->flags & VHDX_HAS_PARENT);
    r = take_regions(v, report);
    for (uint64_t i = 0; r == 0 && i < scan.n_entries;) {
        uint64_t n;

        i = skip_hole(v, &scan, i);
        n = scan.n_entries - i < SCAN_BYTES / 8 ? scan.n_entries - i : SCAN_BYTES / 8;
        r = blk_file_read(&v->layer.file, v->bat_offset + i * 8, buffer, n * 8);
        if (r < 0)
            return blk_report_read(report, r, "its BAT");
        for (uint64_t j = 0; r == 0 && j < n; j++)
            r = scan_entry(v, &scan, i + j, vhdx_get64(buffer + j * 8), report);
        i += n;
    }
    *ret_allocated = scan.allocated;
    return r;
}
