/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images made to harm: each is refused by a sentence that names the file, a check tells of it, and
 * not a byte of it changes.
 */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_disk.h"

#include "hvcore/base/crc32c.h"
#include "vmwp/blk/check_priv.h"
#include "vmwp/blk/vhd_priv.h"
#include "vmwp/blk/vhdx_wire_priv.h"

#include <string.h>

enum { MIB = 1 << 20, BAT = 3 * MIB, META = 2 * MIB, ITEMS = META + VHDX_TABLE_BYTES };

/* Places in an image as it is made here. */
enum {
    HEADER = VHDX_HEADER_AT,
    REGIONS = VHDX_REGIONS_AT,
    PARAMETERS = ITEMS,
    SIZE = ITEMS + 8,
    LOGICAL = ITEMS + 32,
    PHYSICAL = ITEMS + 36
};

struct edit {
    uint64_t at;
    unsigned bytes; /* 0: no edit */
    uint64_t value;
};

struct row {
    const char *name, *code;
    struct edit edits[3];
    uint64_t length; /* of the file; 0: as made */
    bool has_bad_sums;
    bool is_child;
};

static void fix_vhdx(struct fake_file *file)
{
    for (unsigned i = 1; i <= 2; i++) {
        vhdx_put32(file->bytes + (size_t)i * HEADER + 4, 0);
        vhdx_put32(file->bytes + (size_t)i * HEADER + 4,
                   hv_crc32c(0, file->bytes + (size_t)i * HEADER, VHDX_PAGE));
    }
    /* The second table is the first, so that an edit is seen in both. */
    memcpy(file->bytes + REGIONS + VHDX_TABLE_BYTES, file->bytes + REGIONS, VHDX_TABLE_BYTES);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *table = file->bytes + REGIONS + (size_t)i * VHDX_TABLE_BYTES;

        vhdx_put32(table + 4, 0);
        vhdx_put32(table + 4, hv_crc32c(0, table, VHDX_TABLE_BYTES));
    }
}

/* Both headers get what the first one has. */
static void same_headers(struct fake_file *file)
{
    memcpy(file->bytes + 2 * HEADER + 16, file->bytes + HEADER + 16, VHDX_PAGE - 16);
}

static void edit(struct fake_file *file, const struct row *row)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(row->edits); i++)
        memcpy(file->bytes + row->edits[i].at, &row->edits[i].value, row->edits[i].bytes);
}

static const struct row vhdx_rows[] = {
    { "no signature", "image.vhdx.signature", { { 0, 8, 0 } } },
    { "a stub", "image.vhdx.truncated", { { 0 } }, 65536 },
    { "the log is cut off", "image.vhdx.truncated", { { 0 } }, MIB + 4096 },
    { "the table is cut off", "image.vhdx.region", { { 0 } }, 3 * MIB },
    { "bad checksums",
      "image.vhdx.header",
      { { HEADER + 100, 4, 1 }, { 2 * HEADER + 100, 4, 1 } },
      0,
      true },
    { "version 2", "image.vhdx.header", { { HEADER + 66, 2, 2 } } },
    { "log version 1", "image.vhdx.header", { { HEADER + 64, 2, 1 } } },
    { "log nowhere", "image.vhdx.log", { { HEADER + 72, 8, 0 } } },
    { "log at the edge",
      "image.vhdx.truncated",
      { { HEADER + 72, 8, UINT64_MAX & ~(MIB - 1ull) } } },
    { "log too long", "image.vhdx.log", { { HEADER + 68, 4, 0xfff00000 } } },
    { "no log", "image.vhdx.log", { { HEADER + 68, 4, 0 } } },
    { "a pending log that is empty", "image.vhdx.log", { { HEADER + 48, 8, 1234 } } },
    { "regions' checksum",
      "image.vhdx.region",
      { { REGIONS + 1000, 4, 1 }, { REGIONS + 66536, 4, 1 } },
      0,
      true },
    { "regions without end", "image.vhdx.region", { { REGIONS + 8, 4, 2048 } } },
    { "one region", "image.vhdx.region", { { REGIONS + 8, 4, 1 } } },
    { "region in the first MiB", "image.vhdx.region", { { REGIONS + 32, 8, 0 } } },
    { "region off MiB", "image.vhdx.region", { { REGIONS + 32, 8, BAT + 4096 } } },
    { "region at the edge",
      "image.vhdx.region",
      { { REGIONS + 32, 8, UINT64_MAX & ~(MIB - 1ull) } } },
    { "regions overlap", "image.vhdx.region", { { REGIONS + 32, 8, META } } },
    { "region over the log", "image.vhdx.region", { { REGIONS + 32, 8, MIB } } },
    { "a region unknown and needed", "image.vhdx.region.unknown", { { REGIONS + 16, 8, 5 } } },
    { "metadata without signature", "image.vhdx.metadata", { { META, 8, 0 } } },
    { "metadata without end", "image.vhdx.metadata", { { META + 10, 2, 2048 } } },
    { "an item outside", "image.vhdx.metadata", { { META + 32 + 16, 4, 0xfffffff0 } } },
    { "an item in the table", "image.vhdx.metadata", { { META + 32 + 16, 4, 64 } } },
    { "an item too short", "image.vhdx.metadata", { { META + 32 + 20, 4, 4 } } },
    { "an item twice",
      "image.vhdx.metadata",
      { { META + 64, 8, 0x4709a96f8141bf1d }, { META + 72, 8, 0x5fabfaa833f247ba } } },
    { "an item unknown and needed", "image.vhdx.metadata.unknown", { { META + 32, 8, 7 } } },
    { "block of 3 MiB", "image.vhdx.block", { { PARAMETERS, 4, 3 * MIB } } },
    { "block of 512 MiB", "image.vhdx.block", { { PARAMETERS, 4, 512 * MIB } } },
    { "no block", "image.vhdx.block", { { PARAMETERS, 4, 0 } } },
    { "sector of 1024", "image.vhdx.sector", { { LOGICAL, 4, 1024 } } },
    { "physical sector of 0", "image.vhdx.sector", { { PHYSICAL, 4, 0 } } },
    { "no size", "image.vhdx.size", { { SIZE, 8, 0 } } },
    { "half a sector", "image.vhdx.size", { { SIZE, 8, 700 } } },
    { "more than 64 TiB", "image.vhdx.size", { { SIZE, 8, (UINT64_C(64) << 40) + 512 } } },
    { "a size at the edge", "image.vhdx.size", { { SIZE, 8, UINT64_MAX - 511 } } },
    { "a size the table has no room for", "image.vhdx.bat", { { SIZE, 8, UINT64_C(1) << 40 } } },
    { "state 4", "image.vhdx.bat", { { BAT, 8, 4 } } },
    { "state 5", "image.vhdx.bat", { { BAT + 8, 8, 5 } } },
    { "partial without parent",
      "image.vhdx.bat",
      { { BAT, 8, (uint64_t)(4 * MIB) | 7 } },
      8 * MIB },
    { "block at 0", "image.vhdx.bat", { { BAT, 8, 6 } } },
    { "block behind the end", "image.vhdx.bat", { { BAT, 8, (uint64_t)(4 * MIB) | 6 } } },
    { "block at the edge", "image.vhdx.bat", { { BAT, 8, (UINT64_MAX & ~(MIB - 1ull)) | 6 } } },
    { "block over metadata", "image.vhdx.overlap", { { BAT, 8, META | 6 } } },
    { "block over the log", "image.vhdx.overlap", { { BAT, 8, MIB | 6 } } },
    { "two blocks in one place",
      "image.vhdx.overlap",
      { { BAT, 8, (uint64_t)(4 * MIB) | 6 }, { BAT + 16, 8, (uint64_t)(4 * MIB) | 6 } },
      8 * MIB },
    { "partial without bitmap",
      "image.vhdx.bat",
      { { BAT, 8, (uint64_t)(4 * MIB) | 7 } },
      8 * MIB,
      false,
      true },
    { "bitmap in state 7",
      "image.vhdx.bat",
      { { BAT + 4096 * 8, 8, (uint64_t)(4 * MIB) | 7 } },
      8 * MIB,
      false,
      true },
    { "bitmap over a block",
      "image.vhdx.overlap",
      { { BAT, 8, (uint64_t)(4 * MIB) | 6 }, { BAT + 4096 * 8, 8, (uint64_t)(4 * MIB) | 6 } },
      8 * MIB,
      false,
      true },
    { "no locator", "image.vhdx.metadata", { { META + 32 * 6 + 20, 4, 0 } }, 0, false, true },
    { "a locator of another kind", "image.vhdx.parent", { { ITEMS + 40, 8, 1 } }, 0, false, true },
    { "a locator's pair outside",
      "image.vhdx.parent",
      { { ITEMS + 40 + 20, 4, 0xffffff00 } },
      0,
      false,
      true },
};

/* Places in a VHD: header, table, one block. */
enum { CX = 512, TABLE = 1536, VHD_SIZE = 4 * MIB };

static uint64_t big(uint64_t v, unsigned bytes)
{
    return __builtin_bswap64(v) >> (64 - 8 * bytes);
}

/* Values are given as numbers and stored big endian. */
static const struct row vhd_rows[] = {
    { "no cookie", "image.vhd.footer", { { 0, 8, 0 } } },
    { "a stub", "image.vhd.truncated", { { 0 } }, 512 },
    { "bad checksums", "image.vhd.footer", { { 100, 4, 1 } }, 0, true },
    { "version 2", "image.vhd.footer", { { 12, 4, 0x20000 } } },
    { "type 5", "image.vhd.type", { { 60, 4, 5 } } },
    { "no size", "image.vhd.size", { { 48, 8, 0 } } },
    { "half a sector", "image.vhd.size", { { 48, 8, 700 } } },
    { "more than 2040 GiB", "image.vhd.size", { { 48, 8, (UINT64_C(2040) << 30) + 512 } } },
    { "a size the table has no room for", "image.vhd.bat", { { 48, 8, UINT64_C(1) << 40 } } },
    { "fixed and too short", "image.vhd.truncated", { { 60, 4, 2 } } },
    { "header nowhere", "image.vhd.header", { { 16, 8, UINT64_MAX - 511 } } },
    { "header off a sector", "image.vhd.header", { { 16, 8, 513 } } },
    { "header over the footer", "image.vhd.header", { { 16, 8, 0 } } },
    { "header without cookie", "image.vhd.header", { { CX, 8, 0 } } },
    { "header's version", "image.vhd.header", { { CX + 24, 4, 0 } } },
    { "block of 3 MiB", "image.vhd.block", { { CX + 32, 4, 3 * MIB } } },
    { "no block", "image.vhd.block", { { CX + 32, 4, 0 } } },
    { "table at the edge", "image.vhd.bat", { { CX + 16, 8, UINT64_MAX - 511 } } },
    { "table off a sector", "image.vhd.bat", { { CX + 16, 8, TABLE + 4 } } },
    { "table without end", "image.vhd.bat", { { CX + 28, 4, UINT32_MAX } } },
    { "table over the header", "image.vhd.overlap", { { CX + 16, 8, CX } } },
    { "block behind the end", "image.vhd.bat", { { TABLE, 4, 0x7fffffff } } },
    { "block at 0", "image.vhd.bat", { { TABLE, 4, 0 } } },
    { "block over the table", "image.vhd.overlap", { { TABLE, 4, 3 } } },
    { "two blocks in one place", "image.vhd.overlap", { { TABLE + 4, 4, 4 } } },
    { "block over the footer", "image.vhd.overlap", { { TABLE, 4, 5 } } },
};

struct found {
    const char *code;
    unsigned n;
};

static void find_code(void *opaque, const char *code, const char *sentence)
{
    struct found *found = opaque;

    assert_non_null(strstr(sentence, "checked"));
    found->n += strcmp(code, found->code) == 0;
}

static unsigned n_told(struct fake_file *file, enum blk_format format, const char *code)
{
    struct found found = { .code = code };
    struct blk_check_result result;
    struct blk_file f;

    assert_int_equal(fake_file_open(file, "checked", &f), 0);
    assert_int_equal(blk_check_file(&f, format, find_code, &found, &result, NULL), 0);
    blk_file_release(&f);
    return found.n;
}

static void judge(struct fake_disk *fake, const struct row *row)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct fake_file *top = fake->files[0], *before = fake_file_copy(top);

    for (unsigned flags = 0; flags < 2; flags++) {
        int r = fake_disk_try_open(fake, flags, &error);

        if (r >= 0)
            fail_msg("%s: was opened", row->name);
        if (!error || strcmp(error->code, row->code) != 0)
            fail_msg("%s: %d, %s: %s", row->name, r, error ? error->code : "",
                     hv_error_message(error, r));
        assert_non_null(strstr(error->message, "file0"));
        error = hv_error_free(error);
    }
    if (!n_told(top, fake->format, row->code))
        fail_msg("%s: the check says nothing of it", row->name);
    assert_int_equal(top->length, before->length);
    assert_memory_equal(top->bytes, before->bytes, before->length);
    fake_file_free(before);
}

static void set_length(struct fake_file *file, uint64_t length)
{
    struct blk_file f;

    assert_int_equal(fake_file_open(file, "f", &f), 0);
    assert_int_equal(blk_file_truncate(&f, length), 0);
    blk_file_release(&f);
}

static void a_hostile_vhdx_is_refused_untouched(void **state)
{
    static const struct blk_create_options options = { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 5 * MIB,
                                                       MIB };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(vhdx_rows); i++) {
        const struct row *row = &vhdx_rows[i];
        struct fake_disk fake = { .format = BLK_FORMAT_VHDX, .n_files = 1 };

        fake.files[0] = fake_file_new();
        fake_disk_create(fake.files[0], &options, NULL);
        if (row->is_child) {
            fake.files[1] = fake.files[0];
            fake.files[0] = fake_file_new();
            fake_disk_create(fake.files[0], &options, fake.files[1]);
            fake.n_files = 2;
        }
        edit(fake.files[0], row);
        if (!row->has_bad_sums) {
            same_headers(fake.files[0]);
            fix_vhdx(fake.files[0]);
        }
        if (row->length)
            set_length(fake.files[0], row->length);
        judge(&fake, row);
        fake_disk_fini(&fake);
    }
}

static void fix_vhd(struct fake_file *file)
{
    uint64_t at = vhd_get64(file->bytes + 16);

    vhd_put32(file->bytes + 64, vhd_checksum(file->bytes, 512, 64));
    if (at == CX)
        vhd_put32(file->bytes + CX + 36, vhd_checksum(file->bytes + CX, 1024, 36));
}

static void a_hostile_vhd_is_refused_untouched(void **state)
{
    static const struct blk_create_options options = { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, VHD_SIZE,
                                                       MIB };
    struct fake_step step = { .kind = STEP_WRITE, .n_sectors = 8, .tag = 9 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(vhd_rows); i++) {
        struct fake_disk fake = { .format = BLK_FORMAT_VHD, .n_files = 1 };
        struct row row = vhd_rows[i];
        struct fake_file *file = fake_file_new();

        fake.files[0] = file;
        fake_disk_create(file, &options, NULL);
        fake_disk_open(&fake, 0);
        assert_int_equal(fake_disk_do(&fake, &step), 0);
        fake_disk_close(&fake);
        for (unsigned j = 0; j < HV_ARRAY_SIZE(row.edits); j++)
            if (row.edits[j].bytes)
                row.edits[j].value = big(row.edits[j].value, row.edits[j].bytes);
        edit(file, &row);
        if (!row.has_bad_sums)
            fix_vhd(file);
        memcpy(file->bytes + file->length - 512, file->bytes, 512); /* the footer and its copy */
        if (row.length)
            set_length(file, row.length);
        judge(&fake, &row);
        fake_disk_fini(&fake);
    }
}

static void one_damaged_copy_is_tolerated_told_and_repaired(void **state)
{
    static const struct blk_create_options options = { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 5 * MIB,
                                                       MIB };
    static const uint64_t places[] = { HEADER + 20, 2 * HEADER + 20, REGIONS + 40,
                                       REGIONS + VHDX_TABLE_BYTES + 40 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(places); i++) {
        struct fake_disk fake = { .format = BLK_FORMAT_VHDX, .n_files = 1 };

        fake.files[0] = fake_file_new();
        fake_disk_create(fake.files[0], &options, NULL);
        fake.files[0]->bytes[places[i]] ^= 1;
        assert_int_equal(fake_disk_check(fake.files[0], BLK_FORMAT_VHDX), 1);
        fake_disk_open(&fake, BLK_OPEN_READ_ONLY);
        fake_disk_close(&fake);
        assert_int_equal(fake_disk_check(fake.files[0], BLK_FORMAT_VHDX), 1);
        fake_disk_open(&fake, 0);
        fake_disk_close(&fake);
        assert_int_equal(fake_disk_check(fake.files[0], BLK_FORMAT_VHDX), 0);
        fake_disk_fini(&fake);
    }
}

static void a_check_tells_all_problems(void **state)
{
    static const struct blk_create_options options = { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 5 * MIB,
                                                       MIB };
    struct fake_file *file = fake_file_new();

    fake_disk_create(file, &options, NULL);
    file->bytes[HEADER] = 0;
    file->bytes[BAT] = 4;
    file->bytes[BAT + 8] = 5;
    memcpy(file->bytes + BAT + 16, &(uint64_t){ META | 6 }, 8);
    assert_int_equal(fake_disk_check(file, BLK_FORMAT_VHDX), 4);
    fake_file_free(file);
}

static void an_unknown_format_is_refused(void **state)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct fake_disk fake = { .format = 7, .n_files = 1 };

    fake.files[0] = fake_file_new();
    assert_int_equal(fake_disk_try_open(&fake, 0, &error), -EINVAL);
    fake_disk_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hostile_vhdx_is_refused_untouched),
        cmocka_unit_test(a_hostile_vhd_is_refused_untouched),
        cmocka_unit_test(one_damaged_copy_is_tolerated_told_and_repaired),
        cmocka_unit_test(a_check_tells_all_problems),
        cmocka_unit_test(an_unknown_format_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
