/* SPDX-License-Identifier: Apache-2.0 */
/* Sector bitmaps: which sectors of a partially present block are the child's own. A bit for each
 * logical sector, least significant first. spec: MS-VHDX 2.4.2 */
#include "vmwp/blk/vhdx_priv.h"

static uint64_t bit_of(uint64_t sector)
{
    return sector % VHDX_CHUNK_SECTORS;
}

/* How many bits from `bit` on are like the first, in one page, at most n. */
static uint64_t run_in_page(const uint8_t *bytes, uint64_t bit, uint64_t n, bool is_set)
{
    uint8_t whole = is_set ? 0xff : 0;
    uint64_t run = 0;

    while (run < n) {
        uint64_t at = bit + run;

        if (at % 8 == 0 && n - run >= 8 && bytes[at / 8] == whole) {
            run += 8;
            continue;
        }
        if ((bytes[at / 8] >> (at % 8) & 1) != is_set)
            break;
        run++;
    }
    return run;
}

int vhdx_bitmap_run(struct vhdx *v, uint64_t sector, uint64_t n_sectors, bool *ret_is_set,
                    uint64_t *ret_run)
{
    const uint64_t page_bits = (uint64_t)VHDX_PAGE * 8;
    uint64_t block = sector / (v->block_bytes / v->logical_bytes);
    uint64_t entry, bit = bit_of(sector), run = 0;
    int r;

    r = vhdx_bat_get(v, vhdx_bitmap_index(v, block), &entry);
    if (r < 0)
        return r;
    if ((entry & 7) != VHDX_FULL)
        return -EUCLEAN;
    while (run < n_sectors) {
        uint64_t at = bit + run, in_page = at % page_bits, n = page_bits - in_page, step;
        struct blk_page *page;

        r = blk_pages_get(&v->pages, (entry & VHDX_OFFSET_MASK) + at / 8, &page);
        if (r < 0)
            return r;
        if (run == 0)
            *ret_is_set = page->bytes[in_page / 8] >> (in_page % 8) & 1;
        if (n > n_sectors - run)
            n = n_sectors - run;
        step = run_in_page(page->bytes, in_page, n, *ret_is_set);
        run += step;
        if (step < n)
            break;
    }
    *ret_run = run;
    return 0;
}

int vhdx_bitmap_prepare(struct vhdx *v, uint64_t bitmap_offset, uint64_t sector, uint64_t n_sectors)
{
    uint64_t first = bit_of(sector) / 8 / VHDX_PAGE;
    uint64_t last = (bit_of(sector) + n_sectors - 1) / 8 / VHDX_PAGE;

    for (uint64_t i = first; i <= last; i++) {
        struct blk_page *page;
        int r = blk_pages_get(&v->pages, bitmap_offset + i * VHDX_PAGE, &page);

        if (r < 0)
            return r;
        blk_pages_touch(&v->pages, page);
    }
    return 0;
}

void vhdx_bitmap_set(struct vhdx *v, uint64_t bitmap_offset, uint64_t sector, uint64_t n_sectors,
                     bool is_own)
{
    for (uint64_t bit = bit_of(sector), end = bit + n_sectors; bit < end;) {
        struct blk_page *page;
        int r = blk_pages_get(&v->pages, bitmap_offset + bit / 8, &page);
        uint8_t *byte, mask = (uint8_t)(1 << (bit % 8));

        hv_assert(r == 0 && page->is_dirty); /* prepared, so it is here */
        byte = &page->bytes[bit / 8 % VHDX_PAGE];
        if (bit % 8 == 0 && end - bit >= 8) {
            *byte = is_own ? 0xff : 0;
            bit += 8;
        } else {
            *byte = is_own ? *byte | mask : *byte & (uint8_t)~mask;
            bit++;
        }
    }
}
