/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata region of a VHDX: which items it has, and what they say. spec: MS-VHDX 2.6 */
#include "hvcore/base/arith.h"
#include "hvcore/base/cursor.h"
#include "vmwp/blk/vhdx_priv.h"

#include <inttypes.h>

struct items {
    struct vhdx_item parameters, size, page83, logical, physical, locator;
};

struct entry {
    struct hv_guid id;
    uint32_t offset, bytes, flags;
};

static struct vhdx_item *item_of(struct items *items, const struct hv_guid *id, uint32_t *ret_bytes)
{
    const struct {
        const struct hv_guid *id;
        struct vhdx_item *item;
        uint32_t bytes; /* 0: any */
    } rows[] = {
        { &VHDX_ITEM_PARAMETERS, &items->parameters, 8 },
        { &VHDX_ITEM_SIZE, &items->size, 8 },
        { &VHDX_ITEM_PAGE83, &items->page83, 16 },
        { &VHDX_ITEM_LOGICAL, &items->logical, 4 },
        { &VHDX_ITEM_PHYSICAL, &items->physical, 4 },
        { &VHDX_ITEM_LOCATOR, &items->locator, 0 },
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        if (hv_guid_equal(id, rows[i].id)) {
            *ret_bytes = rows[i].bytes;
            return rows[i].item;
        }
    }
    return NULL;
}

static int use_entry(struct vhdx *v, struct items *items, const struct entry *entry,
                     struct blk_report *report)
{
    char id[HV_GUID_TEXT_BYTES];
    uint32_t bytes = 0;
    struct vhdx_item *item = item_of(items, &entry->id, &bytes);

    hv_guid_format(&entry->id, id);
    if (entry->bytes > VHDX_ITEM_MAX || (entry->bytes > 0 && entry->offset < VHDX_TABLE_BYTES) ||
        !hv_range_within(entry->offset, entry->bytes, v->meta_bytes))
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.metadata",
                              "the metadata item %s at %" PRIu32 " with %" PRIu32
                              " bytes lies outside its region.",
                              id, entry->offset, entry->bytes);
    if (!item && (entry->flags & VHDX_META_IS_USER || !(entry->flags & VHDX_META_IS_REQUIRED)))
        return 0;
    if (!item || entry->flags & VHDX_META_IS_USER)
        return blk_report_bad(report, -EOPNOTSUPP, "image.vhdx.metadata.unknown",
                              "needs a metadata item %s that isn't known here.", id);
    if (item->bytes)
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.metadata",
                              "has the metadata item %s twice.", id);
    if (entry->bytes == 0)
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.metadata",
                              "the metadata item %s is empty.", id);
    if (bytes && entry->bytes != bytes)
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.metadata",
                              "the metadata item %s has %" PRIu32 " bytes and must have %" PRIu32
                              ".",
                              id, entry->bytes, bytes);
    *item = (struct vhdx_item){ .offset = v->meta_offset + entry->offset, .bytes = entry->bytes };
    return 0;
}

static int read_table(struct vhdx *v, struct items *items, struct blk_report *report)
{
    hv_autofree uint8_t *table = malloc(VHDX_TABLE_BYTES);
    struct hv_cursor in = hv_cursor(table, VHDX_TABLE_BYTES);
    uint16_t n;
    int r;

    if (!table)
        return -ENOMEM;
    r = blk_file_read(&v->layer.file, v->meta_offset, table, VHDX_TABLE_BYTES);
    if (r < 0)
        return blk_report_read(report, r, "its metadata");
    hv_cursor_skip(&in, 10);
    n = hv_cursor_u16(&in);
    hv_cursor_skip(&in, 20);
    if (memcmp(table, "metadata", 8) != 0 || n > VHDX_ENTRIES_MAX)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.metadata",
                                "the metadata table has no signature 'metadata', or more than "
                                "2047 entries.");
    for (uint16_t i = 0; r == 0 && i < n; i++) {
        struct entry entry;

        hv_cursor_bytes(&in, &entry.id, sizeof(entry.id));
        entry.offset = hv_cursor_u32(&in);
        entry.bytes = hv_cursor_u32(&in);
        entry.flags = hv_cursor_u32(&in);
        hv_cursor_skip(&in, 4);
        r = use_entry(v, items, &entry, report);
    }
    return r;
}

static int read_item(struct vhdx *v, const struct vhdx_item *item, void *ret, size_t bytes,
                     const char *name, struct blk_report *report)
{
    int r;

    if (!item->bytes)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.metadata",
                                "has no metadata item for its %s.", name);
    r = blk_file_read(&v->layer.file, item->offset, ret, bytes);
    return r < 0 ? blk_report_read(report, r, name) : 0;
}

static bool is_power_of_two(uint32_t n)
{
    return n && !(n & (n - 1));
}

static int check_values(struct vhdx *v, struct blk_report *report)
{
    struct blk_probe *probe = &v->layer.probe;

    if (!is_power_of_two(v->block_bytes) || v->block_bytes < VHDX_BLOCK_MIN ||
        v->block_bytes > VHDX_BLOCK_MAX)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.block",
                                "the block size of %" PRIu32
                                " must be a power of two from 1 to 256 MiB.",
                                v->block_bytes);
    if ((v->logical_bytes != 512 && v->logical_bytes != 4096) ||
        (probe->physical_bytes != 512 && probe->physical_bytes != 4096))
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.sector",
                                "its sectors of %" PRIu32 " (logical) and %" PRIu32
                                " (physical) bytes must have 512 or 4096.",
                                v->logical_bytes, probe->physical_bytes);
    if (probe->bytes == 0 || probe->bytes % v->logical_bytes || probe->bytes > BLK_VHDX_MAX_BYTES)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.size",
                                "the disk size of %" PRIu64
                                " must be a multiple of its sectors, not 0, and at most 64 TiB.",
                                probe->bytes);
    if (!vhdx_geometry(v, probe->bytes))
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.bat",
                                "the BAT of %" PRIu32 " bytes is too small for a disk of %" PRIu64
                                ".",
                                v->bat_bytes, probe->bytes);
    return 0;
}

uint64_t vhdx_bat_entries(uint64_t n_blocks, uint32_t chunk_blocks, bool has_parent)
{
    uint64_t n_chunks = (n_blocks + chunk_blocks - 1) / chunk_blocks;

    if (has_parent)
        return n_chunks * (chunk_blocks + 1);
    return n_blocks + (n_blocks - 1) / chunk_blocks;
}

bool vhdx_geometry(struct vhdx *v, uint64_t disk_bytes)
{
    uint64_t n_blocks = (disk_bytes + v->block_bytes - 1) / v->block_bytes;
    uint32_t chunk = (uint32_t)((uint64_t)VHDX_CHUNK_SECTORS * v->logical_bytes / v->block_bytes);

    if (vhdx_bat_entries(n_blocks, chunk, v->flags & VHDX_HAS_PARENT) > v->bat_bytes / 8)
        return false;
    v->n_blocks = n_blocks;
    v->chunk_blocks = chunk;
    return true;
}

int vhdx_meta_read(struct vhdx *v, struct blk_report *report)
{
    struct blk_probe *probe = &v->layer.probe;
    struct items items = { 0 };
    uint32_t parameters[2];
    int r;

    r = read_table(v, &items, report);
    if (r == 0)
        r = read_item(v, &items.parameters, parameters, 8, "block size", report);
    if (r == 0)
        r = read_item(v, &items.size, &probe->bytes, 8, "disk size", report);
    if (r == 0)
        r = read_item(v, &items.page83, &probe->identity, 16, "identity", report);
    if (r == 0)
        r = read_item(v, &items.logical, &v->logical_bytes, 4, "logical sector size", report);
    if (r == 0)
        r = read_item(v, &items.physical, &probe->physical_bytes, 4, "physical sector size",
                      report);
    if (r < 0)
        return r;
    v->block_bytes = parameters[0];
    v->flags = parameters[1] & (VHDX_LEAVE_ALLOCATED | VHDX_HAS_PARENT);
    v->size_item = items.size;
    v->page83_item = items.page83;
    v->parameters_item = items.parameters;
    v->locator_item = items.locator;
    r = check_values(v, report);
    if (r == 0 && v->flags & VHDX_HAS_PARENT)
        r = vhdx_locator_read(v, report);
    return r;
}
