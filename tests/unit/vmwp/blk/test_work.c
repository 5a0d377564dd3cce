/* SPDX-License-Identifier: Apache-2.0 */
/* Work on images at rest: what a disk says afterwards, what a cancel and a power cut leave. */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_disk.h"

#include "vmwp/blk/work_priv.h"

#include <string.h>

enum { MIB = 1 << 20 };

static const struct blk_create_options vhdx = { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 9 * MIB, MIB };
static const struct blk_create_options vhd = { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, 9 * MIB, MIB };
static const struct blk_create_options vhdx_fixed = { BLK_FORMAT_VHDX, BLK_KIND_FIXED, 9 * MIB,
                                                      MIB };
static const struct blk_create_options vhd_fixed = { BLK_FORMAT_VHD, BLK_KIND_FIXED, 9 * MIB };

static void push(struct fake_disk *fake, const struct blk_create_options *options)
{
    struct fake_file *file = fake_file_new();

    fake_disk_create(file, options, fake->n_files ? fake->files[0] : NULL);
    memmove(&fake->files[1], &fake->files[0], fake->n_files * sizeof(fake->files[0]));
    fake->files[0] = file;
    fake->n_files++;
    fake->format = options->format;
}

static void change(struct fake_disk *fake, unsigned n, uint64_t seed)
{
    fake_disk_open(fake, 0);
    for (unsigned i = 0; i < n; i++) {
        struct fake_step step = fake_disk_step(fake, &seed);

        assert_int_equal(fake_disk_do(fake, &step), 0);
        fake_disk_note(fake, &step);
    }
    fake_disk_close(fake);
}

static void verify(struct fake_disk *fake)
{
    fake_disk_open(fake, BLK_OPEN_READ_ONLY);
    fake_disk_compare(fake);
    fake_disk_close(fake);
    assert_int_equal(fake_disk_check(fake->files[0], fake->format), 0);
}

/* The model gets another size; what is new is zeroes. */
static void note_size(struct fake_disk *fake, uint64_t bytes)
{
    uint64_t n = bytes / FAKE_SECTOR;

    fake->tags = realloc(fake->tags, n * sizeof(*fake->tags));
    assert_non_null(fake->tags);
    if (n > fake->n_sectors)
        memset(fake->tags + fake->n_sectors, 0, (n - fake->n_sectors) * sizeof(*fake->tags));
    fake->n_sectors = n;
}

static bool stop_at(void *opaque, uint64_t done, uint64_t total)
{
    unsigned *left = opaque;

    assert_true(done <= total);
    return *left == 0 ? false : (*left)--, *left > 0;
}

static int resize(struct fake_disk *fake, uint64_t bytes, struct hv_error **reterr)
{
    struct blk_file file;
    int r;

    assert_int_equal(fake_file_open(fake->files[0], "resized", &file), 0);
    r = blk_resize_file(&file, fake->format, bytes, NULL, reterr);
    blk_file_release(&file);
    return r;
}

static void a_disk_grows_and_what_is_new_is_zeroes(void **state)
{
    const struct blk_create_options *const rows[] = { &vhdx, &vhd, &vhdx_fixed, &vhd_fixed };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct fake_disk fake = { 0 };
        uint64_t sizes[] = { 9 * MIB + 512, 10 * MIB, 14 * MIB + 1024 };

        push(&fake, rows[i]);
        change(&fake, 80, 0x1234567 + i);
        for (unsigned j = 0; j < HV_ARRAY_SIZE(sizes); j++) {
            assert_int_equal(resize(&fake, sizes[j], NULL), 0);
            note_size(&fake, sizes[j]);
            verify(&fake);
            change(&fake, 40, 0x7654321 + j);
            verify(&fake);
        }
        fake_disk_fini(&fake);
    }
}

/* 1 MiB blocks: the first MiB of table has entries for 128 GiB. */
static void a_table_that_is_too_small_moves(void **state)
{
    struct fake_disk fake = { 0 };
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    uint64_t bytes = UINT64_C(140) << 30;
    uint8_t sector[512];
    struct iovec iov = { .iov_base = sector, .iov_len = sizeof(sector) };

    push(&fake, &vhdx);
    change(&fake, 80, 77);
    assert_int_equal(resize(&fake, bytes, &error), 0);
    fake_disk_open(&fake, 0);
    fake_disk_compare(&fake);
    memset(sector, 0xa5, sizeof(sector));
    assert_int_equal(blk_disk_write(fake.disk, bytes - 512, &iov, 1, true), 0);
    fake_disk_close(&fake);
    verify(&fake);
    fake_disk_open(&fake, BLK_OPEN_READ_ONLY);
    memset(sector, 0, sizeof(sector));
    assert_int_equal(blk_disk_read(fake.disk, bytes - 512, &iov, 1), 0);
    assert_int_equal(sector[511], 0xa5);
    fake_disk_close(&fake);
    fake_disk_fini(&fake);
}

static void only_a_vhdx_shrinks_and_never_below_its_data(void **state)
{
    struct fake_disk fake = { 0 }, other = { 0 };
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct fake_step step = { .kind = STEP_WRITE, .sector = 4 * 2048, .n_sectors = 8, .tag = 5 };

    push(&other, &vhd);
    assert_int_equal(resize(&other, 8 * MIB, &error), -EINVAL);
    assert_string_equal(error->code, "image.resize.shrink");
    error = hv_error_free(error);
    push(&fake, &vhdx);
    fake_disk_open(&fake, 0);
    assert_int_equal(fake_disk_do(&fake, &step), 0);
    fake_disk_note(&fake, &step);
    step = (struct fake_step){ .kind = STEP_ZERO, .sector = 4 * 2048, .n_sectors = 4 };
    assert_int_equal(fake_disk_do(&fake, &step), 0);
    fake_disk_note(&fake, &step);
    fake_disk_close(&fake);
    assert_int_equal(resize(&fake, 4 * MIB, &error), -EBUSY);
    assert_string_equal(error->code, "image.resize.used");
    error = hv_error_free(error);
    assert_int_equal(resize(&fake, 4 * MIB + 300, &error), -EINVAL);
    verify(&fake);
    assert_int_equal(resize(&fake, 4 * MIB + 4096, NULL), 0);
    note_size(&fake, 4 * MIB + 4096);
    verify(&fake);
    assert_int_equal(resize(&fake, 9 * MIB, NULL), 0);
    note_size(&fake, 9 * MIB);
    verify(&fake);
    fake_disk_fini(&fake);
    fake_disk_fini(&other);
}

static int compact(struct fake_disk *fake, const struct blk_progress *progress)
{
    struct blk_file file;
    int r;

    assert_int_equal(fake_file_open(fake->files[0], "compacted", &file), 0);
    r = blk_compact_file(&file, fake->format, BLK_COMPACT_FULL, progress, NULL);
    blk_file_release(&file);
    return r;
}

static void a_compacted_disk_is_shorter_and_says_the_same(void **state)
{
    for (unsigned depth = 0; depth < 2; depth++) {
        const struct blk_create_options *const rows[] = { &vhdx, &vhd };

        for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
            struct fake_step step = { .kind = STEP_ZERO, .sector = 0, .n_sectors = 4 * 2048 };
            struct fake_disk fake = { 0 };
            unsigned left = 3;
            struct blk_progress progress = { stop_at, &left };
            uint64_t before;

            for (unsigned j = 0; j <= depth; j++) {
                push(&fake, rows[i]);
                change(&fake, 100, 99 + i);
            }
            fake_disk_open(&fake, 0);
            assert_int_equal(fake_disk_do(&fake, &step), 0);
            fake_disk_note(&fake, &step);
            fake_disk_close(&fake);
            before = fake.files[0]->length;
            (void)compact(&fake, &progress);
            verify(&fake);
            assert_int_equal(compact(&fake, NULL), 0);
            verify(&fake);
            if (i == 0 || depth == 0) /* a child's zeroes are data in a VHD */
                assert_true(fake.files[0]->length + 2 * MIB < before);
            change(&fake, 50, 3);
            verify(&fake);
            fake_disk_fini(&fake);
        }
    }
}

static int merge(struct fake_disk *fake, unsigned n, const struct blk_progress *progress,
                 struct hv_error **reterr)
{
    struct blk_file files[FAKE_CHAIN_MAX];
    enum blk_format formats[FAKE_CHAIN_MAX];
    int r;

    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(fake_file_open(fake->files[i], "merged", &files[i]), 0);
        formats[i] = fake->format;
    }
    r = blk_merge_files(files, formats, n, progress, reterr);
    for (unsigned i = 0; i < n; i++)
        blk_file_release(&files[i]);
    return r;
}

/* Drop the first n images of the chain. */
static void drop_top(struct fake_disk *fake, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        fake_file_free(fake->files[i]);
    memmove(&fake->files[0], &fake->files[n], (fake->n_files - n) * sizeof(fake->files[0]));
    fake->n_files -= n;
}

static void a_merged_ancestor_says_what_the_child_did(void **state)
{
    const struct blk_create_options *const rows[] = { &vhdx, &vhd };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
        struct fake_disk fake = { 0 };
        unsigned left = 4;
        struct blk_progress progress = { stop_at, &left };

        for (unsigned j = 0; j < 4; j++) {
            push(&fake, rows[i]);
            change(&fake, 60, 5 + j);
        }
        assert_int_equal(resize(&fake, 11 * MIB, NULL), 0);
        note_size(&fake, 11 * MIB);
        assert_int_equal(merge(&fake, 3, &progress, &error), -ECANCELED);
        verify(&fake); /* the chain reads as before */
        assert_int_equal(merge(&fake, 3, NULL, NULL), 0);
        drop_top(&fake, 2);
        verify(&fake); /* an ancestor that has a parent itself */
        assert_int_equal(merge(&fake, 2, NULL, NULL), 0);
        drop_top(&fake, 1);
        verify(&fake);
        fake_disk_fini(&fake);
    }
}

static void strangers_are_not_merged(void **state)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct fake_disk fake = { 0 }, other = { 0 };
    struct fake_file *kept;

    push(&fake, &vhdx);
    push(&fake, &vhdx);
    push(&other, &vhdx);
    kept = fake.files[1];
    fake.files[1] = other.files[0];
    assert_int_equal(merge(&fake, 2, NULL, &error), -EUCLEAN);
    assert_string_equal(error->code, "image.chain.linkage");
    fake.files[1] = kept;
    fake_disk_fini(&fake);
    fake_disk_fini(&other);
}

static void a_child_gets_another_parent(void **state)
{
    const struct blk_create_options *const rows[] = { &vhdx, &vhd };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
        struct fake_disk fake = { 0 }, other = { 0 };
        struct blk_report report = { .path = "p", .reterr = &error };
        struct blk_layer *layer = NULL;
        struct fake_file *kept;
        struct blk_file file;

        push(&fake, rows[i]);
        push(&fake, rows[i]);
        push(&other, rows[i]);
        change(&fake, 50, 7);
        assert_int_equal(fake_file_open(other.files[0], "other", &file), 0);
        assert_int_equal(blk_layer_open(&file, fake.format, BLK_OPEN_READ_ONLY, &report, &layer),
                         0);
        assert_int_equal(fake_file_open(fake.files[0], "child", &file), 0);
        assert_int_equal(
            blk_reparent_file(&file, fake.format, &layer->probe, "x/y.img", "/a/b", false, &error),
            -EINVAL);
        assert_string_equal(error->code, "image.reparent.linkage");
        error = hv_error_free(error);
        for (unsigned j = 0; j < 3; j++) /* again and again: space for it is found each time */
            assert_int_equal(blk_reparent_file(&file, fake.format, &layer->probe, "x/y.img", "/a/b",
                                               true, &error),
                             0);
        blk_file_release(&file);
        layer = blk_layer_free(layer);
        assert_int_equal(fake_file_open(fake.files[0], "child", &file), 0);
        assert_int_equal(blk_layer_open(&file, fake.format, BLK_OPEN_READ_ONLY, &report, &layer),
                         0);
        assert_string_equal(layer->probe.parent_relative, "x/y.img");
        assert_string_equal(layer->probe.parent_absolute, "/a/b");
        blk_layer_free(layer);
        kept = fake.files[1];
        fake.files[1] = other.files[0];
        verify(&fake); /* both parents were empty */
        fake.files[1] = kept;
        fake_disk_fini(&fake);
        fake_disk_fini(&other);
    }
}

static int convert(struct fake_disk *from, struct fake_file *to,
                   const struct blk_create_options *options, const struct blk_progress *progress)
{
    struct blk_file file;
    int r;

    fake_disk_open(from, BLK_OPEN_READ_ONLY);
    assert_int_equal(fake_file_open(to, "converted", &file), 0);
    r = blk_convert_file(from->disk, &file, options, NULL, progress, NULL);
    blk_file_release(&file);
    fake_disk_close(from);
    return r;
}

static void any_format_becomes_any_other(void **state)
{
    static const struct blk_create_options targets[] = {
        { BLK_FORMAT_RAW, BLK_KIND_FIXED },
        { BLK_FORMAT_VHD, BLK_KIND_FIXED },
        { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC },
        { BLK_FORMAT_VHDX, BLK_KIND_FIXED, 0, MIB },
        { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 0, MIB },
        { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 0, MIB, 4096 },
    };
    struct fake_disk fake = { 0 };

    push(&fake, &vhdx);
    change(&fake, 100, 11);
    push(&fake, &vhdx);
    change(&fake, 60, 12);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(targets); i++) {
        struct fake_disk made = { .format = targets[i].format, .n_files = 1 };
        unsigned left = 2;
        struct blk_progress progress = { stop_at, &left };

        made.files[0] = fake_file_new();
        assert_int_equal(convert(&fake, made.files[0], &targets[i], &progress), -ECANCELED);
        assert_int_equal(made.files[0]->length, 0);
        assert_int_equal(convert(&fake, made.files[0], &targets[i], NULL), 0);
        made.tags = fake.tags;
        made.n_sectors = fake.n_sectors;
        verify(&made);
        made.tags = NULL;
        fake_disk_fini(&made);
    }
    fake_disk_fini(&fake);
}

static void what_fails_on_the_way_leaves_the_disk_as_it_was(void **state)
{
    const struct blk_create_options *const rows[] = { &vhdx, &vhd };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        for (int n = 0;; n++) {
            struct fake_disk fake = { 0 };
            int r;

            push(&fake, rows[i]);
            change(&fake, 40, 21);
            fake.files[0]->writes_left = n;
            r = n % 2 ? compact(&fake, NULL) : resize(&fake, 300 * MIB, NULL);
            fake.files[0]->writes_left = -1;
            if (r == 0 && n % 2 == 0)
                note_size(&fake, 300 * MIB);
            fake_disk_open(&fake, 0); /* repairs what a cut left */
            fake_disk_compare(&fake);
            fake_disk_close(&fake);
            assert_int_equal(fake_disk_check(fake.files[0], fake.format), 0);
            fake_disk_fini(&fake);
            if (r == 0 && n % 2 && n > 60)
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_grows_and_what_is_new_is_zeroes),
        cmocka_unit_test(a_table_that_is_too_small_moves),
        cmocka_unit_test(only_a_vhdx_shrinks_and_never_below_its_data),
        cmocka_unit_test(a_compacted_disk_is_shorter_and_says_the_same),
        cmocka_unit_test(a_merged_ancestor_says_what_the_child_did),
        cmocka_unit_test(strangers_are_not_merged),
        cmocka_unit_test(a_child_gets_another_parent),
        cmocka_unit_test(any_format_becomes_any_other),
        cmocka_unit_test(what_fails_on_the_way_leaves_the_disk_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
