/* SPDX-License-Identifier: Apache-2.0 */
/* The region table of a VHDX, in two copies. spec: MS-VHDX 2.2.3 */
#include "hvcore/base/arith.h"
#include "hvcore/base/crc32c.h"
#include "hvcore/base/cursor.h"
#include "vmwp/blk/vhdx_priv.h"

#include <inttypes.h>

struct region {
    struct hv_guid id;
    uint64_t offset;
    uint32_t bytes, flags;
};

static const char *const copy_names[] = { "first", "second" };

static const char *fault_of(const uint8_t *table)
{
    static const uint8_t zero[4];
    uint32_t crc;

    if (memcmp(table, "regi", 4) != 0)
        return "has no signature 'regi'";
    crc = hv_crc32c(0, table, 4);
    crc = hv_crc32c(crc, zero, sizeof(zero));
    crc = hv_crc32c(crc, table + 8, VHDX_TABLE_BYTES - 8);
    if (crc != vhdx_get32(table + 4))
        return "has a wrong checksum";
    if (vhdx_get32(table + 8) > VHDX_ENTRIES_MAX)
        return "has more than 2047 entries";
    return NULL;
}

static int add_region(struct vhdx *v, uint64_t offset, uint64_t bytes, struct blk_report *report)
{
    for (unsigned i = 0; i < v->n_regions; i++) {
        const struct vhdx_range *other = &v->regions[i];

        if (offset < other->offset + other->bytes && other->offset < offset + bytes)
            return blk_report_bad(report, -EUCLEAN, "image.vhdx.region",
                                  "the region at %" PRIu64 " overlaps the one at %" PRIu64 ".",
                                  offset, other->offset);
    }
    v->regions[v->n_regions++] = (struct vhdx_range){ .offset = offset, .bytes = bytes };
    return 0;
}

static int use_region(struct vhdx *v, const struct region *region, struct blk_report *report)
{
    bool is_bat = hv_guid_equal(&region->id, &VHDX_REGION_BAT);
    bool is_meta = hv_guid_equal(&region->id, &VHDX_REGION_META);
    char text[HV_GUID_TEXT_BYTES];

    if (!is_bat && !is_meta && region->flags & VHDX_REGION_IS_REQUIRED) {
        hv_guid_format(&region->id, text);
        return blk_report_bad(report, -EOPNOTSUPP, "image.vhdx.region.unknown",
                              "needs a region %s that isn't known here.", text);
    }
    if (region->offset % VHDX_MIB || region->bytes % VHDX_MIB || region->bytes == 0 ||
        region->offset < VHDX_MIB ||
        !hv_range_within(region->offset, region->bytes, v->layer.file.bytes))
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.region",
                              "the region at %" PRIu64 " with %" PRIu32
                              " bytes must lie on whole MiB, behind the first and inside the file "
                              "of %" PRIu64 " bytes.",
                              region->offset, region->bytes, (uint64_t)v->layer.file.bytes);
    if ((is_bat && v->bat_bytes) || (is_meta && v->meta_bytes))
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.region", "has two %s regions.",
                              is_bat ? "BAT" : "metadata");
    if (is_bat) {
        v->bat_offset = region->offset;
        v->bat_bytes = region->bytes;
    } else if (is_meta) {
        v->meta_offset = region->offset;
        v->meta_bytes = region->bytes;
    }
    return add_region(v, region->offset, region->bytes, report);
}

static int use_table(struct vhdx *v, const uint8_t *table, struct blk_report *report)
{
    uint32_t n = vhdx_get32(table + 8);
    struct hv_cursor in = hv_cursor(table + 16, VHDX_TABLE_BYTES - 16);
    int r;

    v->regions = calloc(n + 2, sizeof(*v->regions));
    if (!v->regions)
        return -ENOMEM;
    v->regions[v->n_regions++] = (struct vhdx_range){ .bytes = VHDX_MIB };
    r = add_region(v, v->header.log_offset, v->header.log_bytes, report);
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        struct region region;

        hv_cursor_bytes(&in, &region.id, sizeof(region.id));
        region.offset = hv_cursor_u64(&in);
        region.bytes = hv_cursor_u32(&in);
        region.flags = hv_cursor_u32(&in);
        r = use_region(v, &region, report);
    }
    if (r < 0)
        return r;
    if (!v->bat_bytes || !v->meta_bytes)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.region",
                                "the region table names no usable %s region.",
                                v->meta_bytes ? "BAT" : "metadata");
    return 0;
}

int vhdx_regions_read(struct vhdx *v, struct blk_report *report)
{
    hv_autofree uint8_t *tables = malloc((size_t)2 * VHDX_TABLE_BYTES);
    const char *faults[2];
    int r;

    if (!tables)
        return -ENOMEM;
    r = blk_file_read(&v->layer.file, VHDX_REGIONS_AT, tables, (size_t)2 * VHDX_TABLE_BYTES);
    if (r < 0)
        return blk_report_read(report, r, "its region table");
    for (unsigned i = 0; i < 2; i++) {
        faults[i] = fault_of(tables + (size_t)i * VHDX_TABLE_BYTES);
        if (faults[i])
            blk_report_note(report, "image.vhdx.region", "the %s region table %s.", copy_names[i],
                            faults[i]);
    }
    if (faults[0] && faults[1])
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.region",
                                "both region tables are damaged: the first %s, the second %s.",
                                faults[0], faults[1]);
    if (!faults[0] && !faults[1] &&
        memcmp(tables, tables + VHDX_TABLE_BYTES, VHDX_TABLE_BYTES) != 0) {
        blk_report_note(report, "image.vhdx.region", "its two region tables differ.");
        faults[1] = "differs";
    }
    v->bad_regions = faults[0] ? 1 : faults[1] ? 2 : 0;
    return use_table(v, tables + (faults[0] ? VHDX_TABLE_BYTES : 0), report);
}

bool vhdx_regions_move(uint8_t *table, const struct hv_guid *id, uint64_t offset, uint32_t bytes)
{
    uint32_t n = vhdx_get32(table + 8);

    for (uint32_t i = 0; i < n && i < VHDX_ENTRIES_MAX; i++) {
        uint8_t *entry = table + 16 + (size_t)i * VHDX_ENTRY_BYTES;

        if (memcmp(entry, id, sizeof(*id)) != 0)
            continue;
        vhdx_put64(entry + 16, offset);
        vhdx_put32(entry + 24, bytes);
        vhdx_put32(table + 4, 0);
        vhdx_put32(table + 4, hv_crc32c(0, table, VHDX_TABLE_BYTES));
        return true;
    }
    return false;
}
