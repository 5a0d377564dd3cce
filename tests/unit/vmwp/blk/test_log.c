/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VHDX whose log waits to be applied. Whole, it is applied: in memory when only reading, to the
 * file when writing. Torn, stale or hostile, the image is refused and stays as it is.
 */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_disk.h"

#include "hvcore/base/crc32c.h"
#include "vmwp/blk/vhdx_wire_priv.h"

#include <string.h>

enum { MIB = 1 << 20, LOG = MIB, HEADER = VHDX_HEADER_AT };

/* An image that was flushed and never closed; *ret has the numbers it must say. */
static void make(struct fake_disk *ret, unsigned n_flushes)
{
    static const struct blk_create_options options = { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 8 * MIB,
                                                       MIB };
    struct fake_disk fake = { .format = BLK_FORMAT_VHDX, .n_files = 1 };
    struct fake_file *before, *after;

    fake.files[0] = fake_file_new();
    fake_disk_create(fake.files[0], &options, NULL);
    fake_disk_open(&fake, 0);
    for (unsigned i = 0; i < n_flushes; i++) {
        struct fake_step step = { .kind = STEP_FUA, .sector = i % 8 * 2048, .n_sectors = 3 };
        struct fake_step zero = { .kind = STEP_ZERO,
                                  .sector = (i + 4) % 8 * 2048,
                                  .n_sectors = 2048 };

        step.tag = i + 1;
        assert_int_equal(fake_disk_do(&fake, &zero), 0);
        fake_disk_note(&fake, &zero);
        assert_int_equal(fake_disk_do(&fake, &step), 0);
        fake_disk_note(&fake, &step);
    }
    after = fake_file_copy(fake.files[0]);
    /* The crash came before anything was applied in place: the table is what it was. */
    before = fake.files[0];
    if (n_flushes == 1)
        memset(after->bytes + 3 * MIB, 0, VHDX_PAGE);
    fake_disk_close(&fake);
    fake_file_free(before);
    fake.files[0] = after;
    *ret = fake;
}

/* Where the newest entry is. */
static uint64_t entry_at(const struct fake_file *file)
{
    uint64_t found = 0, newest = 0;

    for (uint64_t at = LOG; at < 2 * LOG; at += VHDX_PAGE) {
        uint64_t sequence = vhdx_get64(file->bytes + at + 16);

        if (memcmp(file->bytes + at, "loge", 4) == 0 && sequence > newest) {
            newest = sequence;
            found = at;
        }
    }
    assert_true(found);
    return found;
}

static void fix(struct fake_file *file, uint64_t at)
{
    vhdx_put32(file->bytes + at + 4, 0);
    vhdx_put32(file->bytes + at + 4,
               hv_crc32c(0, file->bytes + at, vhdx_get32(file->bytes + at + 8)));
}

static void a_whole_log_is_applied(void **state)
{
    for (unsigned n = 1; n < 300; n += 149) { /* more than once around the log, too */
        struct fake_disk fake;
        struct fake_file *before;

        make(&fake, n);
        before = fake_file_copy(fake.files[0]);
        fake_disk_open(&fake, BLK_OPEN_READ_ONLY);
        fake_disk_compare(&fake);
        fake_disk_close(&fake);
        assert_int_equal(fake_disk_check(fake.files[0], BLK_FORMAT_VHDX), 0);
        assert_int_equal(before->length, fake.files[0]->length);
        assert_memory_equal(before->bytes, fake.files[0]->bytes, before->length);
        fake_disk_open(&fake, 0);
        fake_disk_compare(&fake);
        fake_disk_close(&fake);
        for (unsigned i = 0; i < 16; i++) { /* no header names a log any more */
            assert_int_equal(fake.files[0]->bytes[HEADER + 48 + i], 0);
            assert_int_equal(fake.files[0]->bytes[2 * HEADER + 48 + i], 0);
        }
        fake_file_free(before);
        fake_disk_fini(&fake);
    }
}

static void a_log_that_waits_is_told_by_a_probe(void **state)
{
    struct blk_report report = { .path = "p" };
    struct blk_layer *layer = NULL;
    struct fake_disk fake;
    struct blk_file file;

    make(&fake, 1);
    assert_int_equal(fake_file_open(fake.files[0], "p", &file), 0);
    assert_int_equal(blk_layer_open(&file, BLK_FORMAT_VHDX, BLK_OPEN_READ_ONLY | BLK_OPEN_PROBE,
                                    &report, &layer),
                     0);
    assert_true(layer->probe.is_log_pending);
    blk_layer_free(layer);
    fake_disk_fini(&fake);
}

struct row {
    const char *name, *code;
    unsigned at, bytes; /* from the entry on */
    uint64_t value;
    bool is_torn; /* the checksum stays wrong */
    uint64_t cut; /* the file ends here */
};

static const struct row rows[] = {
    { "a torn entry", "image.vhdx.log", 4096 + 100, 1, 0x77, true, 0 },
    { "a torn header", "image.vhdx.log", 56, 1, 0x77, true, 0 },
    { "another log's", "image.vhdx.log", 32, 4, 1, false, 0 },
    { "number 0", "image.vhdx.log", 16, 8, 0, false, 0 },
    { "a tail elsewhere", "image.vhdx.log", 12, 4, 512 * 1024, false, 0 },
    { "a tail outside", "image.vhdx.log", 12, 4, 0xfffff000, false, 0 },
    { "too many descriptors", "image.vhdx.log", 24, 4, 0xffffffff, false, 0 },
    { "one descriptor too many", "image.vhdx.log", 24, 4, 2, false, 0 },
    { "a descriptor's number", "image.vhdx.log", 64 + 24, 8, 99, false, 0 },
    { "a descriptor of no kind", "image.vhdx.log", 64, 4, 0, false, 0 },
    { "a data sector's number", "image.vhdx.log", 4096 + 4, 4, 5, false, 0 },
    { "a target in the headers", "image.vhdx.log", 64 + 16, 8, VHDX_HEADER_AT, false, 0 },
    { "a target in the log", "image.vhdx.log", 64 + 16, 8, LOG + 8192, false, 0 },
    { "a target off a page", "image.vhdx.log", 64 + 16, 8, 3 * MIB + 512, false, 0 },
    { "a target behind the end", "image.vhdx.log", 64 + 16, 8, UINT64_C(1) << 40, false, 0 },
    { "a target at the edge", "image.vhdx.log", 64 + 16, 8, UINT64_MAX - 4095, false, 0 },
    { "a file that ought to be huge", "image.vhdx.log", 56, 8, UINT64_C(1) << 60, false, 0 },
    { "an end that is missing", "image.vhdx.truncated", 0, 0, 0, false, 4 * MIB },
    { "more was durable than is here", "image.vhdx.truncated", 48, 8, UINT64_MAX, false, 0 },
};

static void judge(const struct row *row, struct fake_disk *fake)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct fake_file *file = fake->files[0], *before = fake_file_copy(file);

    for (unsigned flags = 0; flags < 2; flags++) {
        int r = fake_disk_try_open(fake, flags, &error);

        if (r != -EUCLEAN || !error || strcmp(error->code, row->code) != 0)
            fail_msg("%s: %d, %s", row->name, r, error ? error->code : "");
        error = hv_error_free(error);
    }
    assert_true(fake_disk_check(file, BLK_FORMAT_VHDX) > 0);
    assert_memory_equal(file->bytes, before->bytes, before->length);
    fake_file_free(before);
}

static void a_log_that_is_torn_or_hostile_is_never_dropped(void **state)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct fake_disk fake;
        struct fake_file *file;
        uint64_t at;

        make(&fake, 1);
        file = fake.files[0];
        at = entry_at(file);
        memcpy(file->bytes + at + rows[i].at, &rows[i].value, rows[i].bytes);
        if (!rows[i].is_torn)
            fix(file, at);
        if (rows[i].cut)
            file->length = rows[i].cut;
        judge(&rows[i], &fake);
        fake_disk_fini(&fake);
    }
}

/* The entry before is whole and its own tail: it is what counts. */
static void a_torn_last_entry_leaves_the_one_before(void **state)
{
    struct fake_disk fake;
    uint64_t at;

    make(&fake, 3);
    at = entry_at(fake.files[0]);
    fake.files[0]->bytes[at + 4096 + 50] ^= 1;
    fake_disk_open(&fake, BLK_OPEN_READ_ONLY);
    fake_disk_close(&fake);
    fake_disk_open(&fake, 0);
    fake_disk_close(&fake);
    assert_int_equal(fake_disk_check(fake.files[0], BLK_FORMAT_VHDX), 0);
    fake_disk_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_log_is_applied),
        cmocka_unit_test(a_log_that_waits_is_told_by_a_probe),
        cmocka_unit_test(a_log_that_is_torn_or_hostile_is_never_dropped),
        cmocka_unit_test(a_torn_last_entry_leaves_the_one_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
