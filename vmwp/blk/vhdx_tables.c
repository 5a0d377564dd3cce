/* SPDX-License-Identifier: Apache-2.0 */
/* Changes to region tables and metadata at rest: through pages and one log entry, like all else. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/vhdx_priv.h"
#include "vmwp/blk/vhdx_work_priv.h"
#include "vmwp/blk/work_priv.h"

int vhdx_put_bytes(struct vhdx *v, uint64_t offset, const void *from, size_t bytes)
{
    const uint8_t *at = from;

    while (bytes > 0) {
        size_t in_page = offset % VHDX_PAGE, step = VHDX_PAGE - in_page;
        struct blk_page *page;
        int r = blk_pages_get(&v->pages, offset, &page);

        if (r < 0)
            return r;
        if (step > bytes)
            step = bytes;
        if (memcmp(page->bytes + in_page, at, step) != 0) {
            blk_pages_touch(&v->pages, page);
            memcpy(page->bytes + in_page, at, step);
        }
        offset += step;
        at += step;
        bytes -= step;
    }
    return 0;
}

int vhdx_put_region(struct vhdx *v, const struct hv_guid *id, uint64_t offset, uint32_t bytes)
{
    hv_autofree uint8_t *table = malloc(VHDX_TABLE_BYTES);
    int r;

    if (!table)
        return -ENOMEM;
    r = blk_file_read(&v->layer.file, VHDX_REGIONS_AT, table, VHDX_TABLE_BYTES);
    if (r < 0)
        return r;
    if (!vhdx_regions_move(table, id, offset, bytes))
        return -EUCLEAN;
    r = vhdx_put_bytes(v, VHDX_REGIONS_AT, table, VHDX_TABLE_BYTES);
    if (r == 0)
        r = vhdx_put_bytes(v, VHDX_REGIONS_AT + VHDX_TABLE_BYTES, table, VHDX_TABLE_BYTES);
    return r;
}

struct entry {
    uint32_t offset, bytes;
};

static struct entry entry_at(const uint8_t *table, uint16_t i)
{
    const uint8_t *at = table + (size_t)(i + 1) * VHDX_ENTRY_BYTES;

    return (struct entry){ .offset = vhdx_get32(at + 16), .bytes = vhdx_get32(at + 20) };
}

/* The first place in the metadata region where no item is; 0 when there is none. */
static uint32_t find_gap(const struct vhdx *v, const uint8_t *table, uint16_t n, uint32_t bytes)
{
    uint64_t at = VHDX_TABLE_BYTES;
    uint16_t i = 0;

    while (i < n) {
        struct entry e = entry_at(table, i++);

        if (e.bytes == 0 || at >= (uint64_t)e.offset + e.bytes || e.offset >= at + bytes)
            continue;
        at = hv_align_up((uint64_t)e.offset + e.bytes, 8);
        i = 0; /* it moved on: look at all again */
    }
    return at + bytes <= v->meta_bytes ? (uint32_t)at : 0;
}

static int put_locator(struct vhdx *v, uint8_t *table, const uint8_t *item, uint32_t bytes)
{
    uint32_t offset;
    uint16_t n;
    int r;

    r = blk_file_read(&v->layer.file, v->meta_offset, table, VHDX_TABLE_BYTES);
    if (r < 0)
        return r;
    memcpy(&n, table + 10, sizeof(n));
    if (n > VHDX_ENTRIES_MAX)
        return -EUCLEAN;
    offset = find_gap(v, table, n, bytes);
    if (!offset)
        return -ENOSPC;
    for (uint16_t i = 0; i < n; i++) {
        uint8_t *at = table + (size_t)(i + 1) * VHDX_ENTRY_BYTES;

        if (memcmp(at, &VHDX_ITEM_LOCATOR, sizeof(VHDX_ITEM_LOCATOR)) != 0)
            continue;
        vhdx_put32(at + 16, offset);
        vhdx_put32(at + 20, bytes);
        r = vhdx_put_bytes(v, v->meta_offset + offset, item, bytes);
        return r == 0 ? vhdx_put_bytes(v, v->meta_offset, table, VHDX_TABLE_BYTES) : r;
    }
    return -EUCLEAN;
}

int blk_vhdx_reparent(struct blk_layer *layer, const struct blk_probe *parent, const char *relative,
                      const char *absolute, struct blk_report *report)
{
    enum { ITEM_MAX = 40 * 1024 }; /* so that one log entry holds it */
    struct vhdx *v = vhdx_of(layer);
    hv_autofree uint8_t *memory = malloc(ITEM_MAX + VHDX_TABLE_BYTES);
    uint32_t bytes;
    int r;

    if (!memory)
        return -ENOMEM;
    r = vhdx_locator_build(&parent->data_write, relative, absolute, memory, ITEM_MAX, &bytes);
    if (r == 0)
        r = vhdx_begin_change(v, false);
    if (r < 0)
        return r;
    r = vhdx_lock_for_change(v, VHDX_PAGES_PER_CHANGE);
    if (r < 0)
        return r;
    r = put_locator(v, memory + ITEM_MAX, memory, bytes);
    pthread_mutex_unlock(&v->meta);
    if (r < 0)
        blk_file_fail(&layer->file, r); /* half of it waits in memory: it must not be written */
    return r == 0 ? vhdx_commit(v) : r;
}

int blk_vhdx_set_data_write(struct blk_layer *layer, const struct hv_guid *data_write)
{
    struct vhdx *v = vhdx_of(layer);

    int r = hv_guid_random(&v->header.file_write);

    if (r < 0)
        return r;
    v->header.data_write = *data_write;
    return vhdx_header_write(v);
}
