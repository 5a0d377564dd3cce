/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a VHDX. In the file: identifier, headers and region tables in the first MiB, the log in
 * the second, metadata in the third, then the BAT, then blocks.
 */
#include "hvcore/base/arith.h"
#include "hvcore/base/crc32c.h"
#include "vmwp/blk/vhdx_priv.h"

#include <inttypes.h>

enum {
    LOG_AT = 1 << 20,
    LOG_BYTES = 1 << 20,
    META_AT = 2 << 20,
    META_BYTES = 1 << 20,
    BAT_AT = 3 << 20,
    ITEMS_AT = VHDX_TABLE_BYTES,
    LOCATOR_MAX = 64 * 1024, /* as much as is read */
    BLOCK_DEFAULT = 32 << 20,
    BLOCK_DEFAULT_CHILD = 2 << 20
};

struct plan {
    const struct blk_create_options *options;
    uint64_t bytes, n_blocks, n_entries;
    uint32_t block_bytes, logical_bytes, physical_bytes, bat_bytes;
    bool has_parent, is_fixed;
};

static bool is_sector(uint32_t n)
{
    return n == 512 || n == 4096;
}

static int check_plan(const struct plan *p, struct blk_report *report)
{
    if (p->block_bytes < VHDX_BLOCK_MIN || p->block_bytes > VHDX_BLOCK_MAX ||
        p->block_bytes & (p->block_bytes - 1))
        return blk_report_fatal(report, -EINVAL, "image.create.block",
                                "the block size must be a power of two from 1 to 256 MiB; %" PRIu32
                                " isn't.",
                                p->block_bytes);
    if (!is_sector(p->logical_bytes) || !is_sector(p->physical_bytes))
        return blk_report_fatal(report, -EINVAL, "image.create.sector",
                                "sectors have 512 or 4096 bytes.");
    if (p->bytes == 0 || p->bytes % p->logical_bytes || p->bytes > BLK_VHDX_MAX_BYTES)
        return blk_report_fatal(report, -EINVAL, "image.create.size",
                                "the size must be a multiple of %" PRIu32
                                " bytes, not 0, and at most 64 TiB; %" PRIu64 " isn't.",
                                p->logical_bytes, p->bytes);
    if (p->has_parent && p->logical_bytes != p->options->parent->logical_bytes)
        return blk_report_fatal(report, -EINVAL, "image.create.sector",
                                "a differencing image has its parent's sectors of %" PRIu32
                                " bytes.",
                                p->options->parent->logical_bytes);
    return 0;
}

static int make_plan(const struct blk_create_options *o, struct plan *ret,
                     struct blk_report *report)
{
    struct plan p = { .options = o };
    uint32_t chunk;
    int r;

    r = blk_check_parent(o, report);
    if (r < 0)
        return r;
    p.has_parent = o->kind == BLK_KIND_DIFFERENCING;
    p.is_fixed = o->kind == BLK_KIND_FIXED;
    p.bytes = o->bytes || !p.has_parent ? o->bytes : o->parent->bytes;
    p.block_bytes = o->block_bytes ? o->block_bytes
                    : p.has_parent ? BLOCK_DEFAULT_CHILD
                                   : BLOCK_DEFAULT;
    p.logical_bytes = o->logical_bytes ? o->logical_bytes
                      : p.has_parent   ? o->parent->logical_bytes
                                       : 512;
    p.physical_bytes = o->physical_bytes ? o->physical_bytes
                       : p.has_parent    ? o->parent->physical_bytes
                                         : 4096;
    r = check_plan(&p, report);
    if (r < 0)
        return r;
    chunk = (uint32_t)((uint64_t)VHDX_CHUNK_SECTORS * p.logical_bytes / p.block_bytes);
    p.n_blocks = (p.bytes + p.block_bytes - 1) / p.block_bytes;
    p.n_entries = vhdx_bat_entries(p.n_blocks, chunk, p.has_parent);
    p.bat_bytes = (uint32_t)hv_align_up(p.n_entries * 8, VHDX_MIB);
    *ret = p;
    return 0;
}

static int write_identifier(struct blk_file *file)
{
    static const char creator[] = "hvstack";
    uint8_t bytes[VHDX_PAGE] = "vhdxfile";

    for (size_t i = 0; creator[i]; i++)
        bytes[8 + 2 * i] = (uint8_t)creator[i];
    return blk_file_write(file, 0, bytes, sizeof(bytes));
}

static int write_headers(struct blk_file *file)
{
    struct vhdx_header header = { .sequence = 1, .log_bytes = LOG_BYTES, .log_offset = LOG_AT };
    uint8_t bytes[VHDX_PAGE];
    int r;

    r = hv_guid_random(&header.file_write);
    if (r == 0)
        r = hv_guid_random(&header.data_write);
    for (unsigned slot = 0; r == 0 && slot < 2; slot++) {
        vhdx_header_format(&header, bytes);
        r = blk_file_write(file, (uint64_t)VHDX_HEADER_AT * (slot + 1), bytes, sizeof(bytes));
        header.sequence++;
    }
    return r;
}

static void put_region(uint8_t *entry, const struct hv_guid *id, uint64_t offset, uint32_t bytes)
{
    memcpy(entry, id, sizeof(*id));
    vhdx_put64(entry + 16, offset);
    vhdx_put32(entry + 24, bytes);
    vhdx_put32(entry + 28, VHDX_REGION_IS_REQUIRED);
}

static int write_regions(struct blk_file *file, const struct plan *p)
{
    hv_autofree uint8_t *table = calloc(1, VHDX_TABLE_BYTES);
    int r;

    if (!table)
        return -ENOMEM;
    memcpy(table, "regi", 4);
    vhdx_put32(table + 8, 2);
    put_region(table + 16, &VHDX_REGION_BAT, BAT_AT, p->bat_bytes);
    put_region(table + 16 + VHDX_ENTRY_BYTES, &VHDX_REGION_META, META_AT, META_BYTES);
    vhdx_put32(table + 4, hv_crc32c(0, table, VHDX_TABLE_BYTES));
    r = blk_file_write(file, VHDX_REGIONS_AT, table, VHDX_TABLE_BYTES);
    if (r == 0)
        r = blk_file_write(file, VHDX_REGIONS_AT + VHDX_TABLE_BYTES, table, VHDX_TABLE_BYTES);
    return r;
}

/* Appends an item and its entry. meta: table and items, as they will be in the file. */
static void put_item(uint8_t *meta, uint32_t *at, const struct hv_guid *id, const void *bytes,
                     uint32_t length, uint32_t flags)
{
    uint16_t n;
    uint8_t *entry;

    memcpy(&n, meta + 10, sizeof(n));
    entry = meta + (size_t)(n + 1) * VHDX_ENTRY_BYTES;
    memcpy(entry, id, sizeof(*id));
    vhdx_put32(entry + 16, *at);
    vhdx_put32(entry + 20, length);
    vhdx_put32(entry + 24, flags | VHDX_META_IS_REQUIRED);
    memcpy(meta + *at, bytes, length);
    vhdx_put16(meta + 10, n + 1);
    *at += length;
}

static int put_locator(uint8_t *meta, uint32_t *at, const struct plan *p)
{
    hv_autofree uint8_t *item = malloc(LOCATOR_MAX);
    uint32_t bytes;
    int r;

    if (!item)
        return -ENOMEM;
    r = vhdx_locator_build(&p->options->parent->data_write, p->options->parent_relative,
                           p->options->parent_absolute, item, LOCATOR_MAX, &bytes);
    if (r == 0)
        put_item(meta, at, &VHDX_ITEM_LOCATOR, item, bytes, 0);
    return r;
}

static int write_metadata(struct blk_file *file, const struct plan *p)
{
    hv_autofree uint8_t *meta = calloc(1, VHDX_TABLE_BYTES + LOCATOR_MAX + VHDX_PAGE);
    uint32_t at = ITEMS_AT, parameters[2] = { p->block_bytes, 0 };
    struct hv_guid identity;
    int r;

    if (!meta)
        return -ENOMEM;
    r = hv_guid_random(&identity);
    if (r < 0)
        return r;
    parameters[1] =
        (p->is_fixed ? VHDX_LEAVE_ALLOCATED : 0) | (p->has_parent ? VHDX_HAS_PARENT : 0);
    memcpy(meta, "metadata", 8);
    put_item(meta, &at, &VHDX_ITEM_PARAMETERS, parameters, sizeof(parameters), 0);
    put_item(meta, &at, &VHDX_ITEM_SIZE, &p->bytes, sizeof(p->bytes), VHDX_META_IS_DISK);
    put_item(meta, &at, &VHDX_ITEM_PAGE83, &identity, sizeof(identity), VHDX_META_IS_DISK);
    put_item(meta, &at, &VHDX_ITEM_LOGICAL, &p->logical_bytes, 4, VHDX_META_IS_DISK);
    put_item(meta, &at, &VHDX_ITEM_PHYSICAL, &p->physical_bytes, 4, VHDX_META_IS_DISK);
    if (p->has_parent)
        r = put_locator(meta, &at, p);
    if (r == 0)
        r = blk_file_write(file, META_AT, meta, at);
    return r;
}

/* Of a fixed disk all blocks are there, one after the other. */
static int write_full_bat(struct blk_file *file, const struct plan *p)
{
    enum { N = 8192 };
    hv_autofree uint64_t *entries = calloc(N, sizeof(*entries));
    uint32_t chunk = (uint32_t)((uint64_t)VHDX_CHUNK_SECTORS * p->logical_bytes / p->block_bytes);
    uint64_t at = BAT_AT + (uint64_t)p->bat_bytes;
    int r = 0;

    if (!entries)
        return -ENOMEM;
    for (uint64_t first = 0; r == 0 && first < p->n_entries; first += N) {
        uint64_t n = p->n_entries - first < N ? p->n_entries - first : N;

        for (uint64_t i = 0; i < n; i++) {
            bool is_bitmap = (first + i) % (chunk + 1) == chunk;

            entries[i] = is_bitmap ? 0 : at | VHDX_FULL;
            at += is_bitmap ? 0 : p->block_bytes;
        }
        r = blk_file_write(file, BAT_AT + first * 8, entries, n * 8);
    }
    return r;
}

int blk_vhdx_create(struct blk_file *file, const struct blk_create_options *options,
                    struct blk_report *report)
{
    uint64_t bytes;
    struct plan p;
    int r;

    r = make_plan(options, &p, report);
    if (r < 0)
        return r;
    bytes = BAT_AT + (uint64_t)p.bat_bytes;
    if (p.is_fixed)
        bytes += p.n_blocks * p.block_bytes;
    r = blk_file_truncate(file, bytes);
    if (r == 0)
        r = write_regions(file, &p);
    if (r == 0)
        r = write_metadata(file, &p);
    if (r == 0 && p.is_fixed)
        r = write_full_bat(file, &p);
    if (r == 0)
        r = write_headers(file);
    if (r == 0)
        r = write_identifier(file);
    return r;
}
