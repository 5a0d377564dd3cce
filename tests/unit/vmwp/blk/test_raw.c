/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_file.h"

#include "vmwp/blk/chain_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

enum { MIB = 1 << 20 };

static void a_raw_file_of_half_a_sector_is_refused(void **state)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    hv_autofd int fd = memfd_create("half.raw", MFD_CLOEXEC);
    struct blk_image_file image = { .fd = fd, .path = "half.raw", .format = BLK_FORMAT_RAW };
    struct blk_disk *disk = NULL;

    assert_int_equal(ftruncate(fd, 700), 0);
    assert_int_equal(blk_image_open(&image, 1, 0, &disk, &error), -EUCLEAN);
    assert_string_equal(error->code, "image.raw.size");
    assert_non_null(strstr(error->message, "half.raw"));
    assert_null(disk);
}

static void a_pipe_is_no_image(void **state)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct blk_probe probe;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(blk_image_probe(fds[0], "pipe", NULL, &probe, &error), -EINVAL);
    assert_string_equal(error->code, "image.file.kind");
    close(fds[0]);
    close(fds[1]);
}

static void a_descriptor_for_reading_is_not_written_to(void **state)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    hv_autofd int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct blk_image_file image = { .fd = fd, .path = "exe", .format = BLK_FORMAT_RAW };
    struct blk_disk *disk = NULL;

    assert_int_equal(blk_image_open(&image, 1, 0, &disk, &error), -EROFS);
    assert_string_equal(error->code, "image.file.access");
    assert_null(disk);
}

static struct blk_disk *make(unsigned flags)
{
    struct blk_create_options options = { .format = BLK_FORMAT_RAW, .bytes = MIB };
    struct blk_image_file image = { .path = "a.raw", .format = BLK_FORMAT_RAW };
    struct blk_disk *disk = NULL;

    image.fd = memfd_create("a.raw", MFD_CLOEXEC);
    assert_int_equal(blk_image_create(image.fd, "a.raw", &options, NULL), 0);
    assert_int_equal(blk_image_open(&image, 1, flags, &disk, NULL), 0);
    return disk;
}

static void ranges_outside_and_unaligned_are_refused(void **state)
{
    static uint8_t bytes[1024];
    struct iovec iov = { .iov_base = bytes, .iov_len = 512 };
    struct iovec huge[2] = { { .iov_base = bytes, .iov_len = SIZE_MAX }, iov };
    struct blk_disk *disk = make(0);

    assert_int_equal(blk_disk_read(disk, MIB, &iov, 1), -EINVAL);
    assert_int_equal(blk_disk_read(disk, 1, &iov, 1), -EINVAL);
    assert_int_equal(blk_disk_read(disk, UINT64_MAX - 511, &iov, 1), -EINVAL);
    assert_int_equal(blk_disk_write(disk, MIB, &iov, 1, false), -EINVAL);
    assert_int_equal(blk_disk_read(disk, 0, huge, 2), -EINVAL);
    assert_int_equal(blk_disk_zero(disk, 512, MIB), -EINVAL);
    assert_int_equal(blk_disk_discard(disk, UINT64_MAX - 511, 1024), -EINVAL);
    iov.iov_len = 100;
    assert_int_equal(blk_disk_write(disk, 0, &iov, 1, false), -EINVAL);
    blk_disk_close(disk);
}

static void a_read_only_disk_takes_nothing(void **state)
{
    static uint8_t bytes[512];
    struct iovec iov = { .iov_base = bytes, .iov_len = 512 };
    struct blk_disk *disk = make(BLK_OPEN_READ_ONLY);

    assert_int_equal(blk_disk_write(disk, 0, &iov, 1, true), -EROFS);
    assert_int_equal(blk_disk_zero(disk, 0, 512), -EROFS);
    assert_int_equal(blk_disk_discard(disk, 0, 512), -EROFS);
    assert_int_equal(blk_disk_flush(disk), 0);
    blk_disk_close(disk);
}

static void pieces_of_any_length_make_one_write(void **state)
{
    static uint8_t from[1536], to[1536];
    struct iovec out[] = { { from, 1 }, { from + 1, 0 }, { from + 1, 1000 }, { from + 1001, 535 } };
    struct iovec in[] = { { to, 700 }, { to + 700, 836 } };
    struct blk_disk *disk = make(0);

    memset(from, 0x5a, sizeof(from));
    assert_int_equal(blk_disk_write(disk, 512, out, 4, true), 0);
    assert_int_equal(blk_disk_read(disk, 512, in, 2), 0);
    assert_memory_equal(from, to, sizeof(from));
    assert_int_equal(blk_disk_zero(disk, 512, 512), 0);
    assert_int_equal(blk_disk_read(disk, 512, in, 2), 0);
    memset(from, 0, 512);
    assert_memory_equal(from, to, sizeof(from));
    assert_int_equal(blk_disk_discard(disk, 0, MIB), 0);
    assert_int_equal(blk_disk_flush(disk), 0);
    blk_disk_close(disk);
}

static struct blk_disk *make_over(struct fake_file *fake)
{
    enum blk_format format = BLK_FORMAT_RAW;
    struct blk_disk *disk = NULL;
    struct blk_file file;

    assert_int_equal(fake_file_open(fake, "a.raw", &file), 0);
    assert_int_equal(blk_file_truncate(&file, MIB), 0);
    assert_int_equal(blk_disk_open_files(&file, &format, 1, 0, &disk, NULL), 0);
    return disk;
}

static void a_failed_sync_is_final(void **state)
{
    static uint8_t bytes[4096];
    struct iovec iov = { .iov_base = bytes, .iov_len = 4096 };
    struct fake_file *fake = fake_file_new();
    struct blk_disk *disk = make_over(fake);

    fake->syncs_left = 0;
    assert_false(blk_disk_has_failed(disk));
    assert_int_equal(blk_disk_flush(disk), -EIO);
    assert_true(blk_disk_has_failed(disk));
    fake->syncs_left = -1;
    assert_int_equal(blk_disk_flush(disk), -EIO);
    assert_int_equal(blk_disk_write(disk, 0, &iov, 1, false), -EIO);
    assert_int_equal(blk_disk_read(disk, 0, &iov, 1), 0);
    blk_disk_close(disk);
    fake_file_free(fake);
}

/* It tells of earlier writes as well, and only once. */
static void a_synced_write_that_fails_is_a_failed_sync(void **state)
{
    static const int why[] = { -EIO, -ENOSPC, -EINTR };
    static uint8_t bytes[4096];
    struct iovec iov = { .iov_base = bytes, .iov_len = 4096 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(why); i++) {
        struct fake_file *fake = fake_file_new();
        struct blk_disk *disk = make_over(fake);

        assert_int_equal(blk_disk_write(disk, 0, &iov, 1, false), 0);
        fake->failure = why[i];
        fake->syncs_left = 0;
        assert_int_equal(blk_disk_write(disk, 4096, &iov, 1, true), why[i]);
        fake->syncs_left = -1;
        assert_true(blk_disk_has_failed(disk));
        assert_int_equal(blk_disk_flush(disk), why[i]);
        assert_int_equal(blk_disk_write(disk, 4096, &iov, 1, true), why[i]);
        blk_disk_close(disk);
        fake_file_free(fake);
    }
}

static void a_synced_write_without_room_may_be_tried_again(void **state)
{
    static uint8_t bytes[4096];
    struct iovec iov = { .iov_base = bytes, .iov_len = 4096 };
    struct fake_file *fake = fake_file_new();
    struct blk_disk *disk = make_over(fake);

    fake->failure = -ENOSPC;
    fake->writes_left = 0;
    assert_int_equal(blk_disk_write(disk, 0, &iov, 1, true), -ENOSPC);
    fake->writes_left = -1;
    assert_false(blk_disk_has_failed(disk));
    assert_int_equal(blk_disk_write(disk, 0, &iov, 1, true), 0);
    assert_int_equal(blk_disk_flush(disk), 0);
    blk_disk_close(disk);
    fake_file_free(fake);
}

static void what_is_cut_off_is_no_hole(void **state)
{
    hv_autofd int fd = memfd_create("cut.raw", MFD_CLOEXEC);
    struct blk_image_file image = { .path = "cut.raw", .format = BLK_FORMAT_RAW };
    struct blk_extent extent;
    struct blk_disk *disk = NULL;

    assert_int_equal(ftruncate(fd, MIB), 0);
    image.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(blk_image_open(&image, 1, BLK_OPEN_READ_ONLY, &disk, NULL), 0);
    assert_int_equal(blk_disk_map(disk, 0, MIB, &extent), 0);
    assert_int_equal(extent.state, BLK_EXTENT_ZERO);
    assert_int_equal(extent.bytes, MIB);
    assert_int_equal(ftruncate(fd, MIB / 2), 0);
    assert_int_equal(blk_disk_map(disk, 0, MIB, &extent), -EIO);
    assert_int_equal(blk_disk_map(disk, MIB - 512, 512, &extent), -EIO);
    blk_disk_close(disk);
}

static void the_same_file_twice_is_a_loop(void **state)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    hv_autofd int fd = memfd_create("a.raw", MFD_CLOEXEC);
    struct blk_image_file chain[2] = { { fd, "a.raw", BLK_FORMAT_RAW }, { fd, "b", 0 } };
    struct blk_disk *disk = NULL;

    assert_int_equal(ftruncate(fd, MIB), 0);
    assert_int_equal(blk_image_open(chain, 2, 0, &disk, &error), -ELOOP);
    assert_string_equal(error->code, "image.chain.loop");
    error = hv_error_free(error);
    assert_int_equal(blk_image_open(chain, 33, 0, &disk, &error), -EINVAL);
    assert_string_equal(error->code, "image.chain.depth");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raw_file_of_half_a_sector_is_refused),
        cmocka_unit_test(a_pipe_is_no_image),
        cmocka_unit_test(a_descriptor_for_reading_is_not_written_to),
        cmocka_unit_test(ranges_outside_and_unaligned_are_refused),
        cmocka_unit_test(a_read_only_disk_takes_nothing),
        cmocka_unit_test(pieces_of_any_length_make_one_write),
        cmocka_unit_test(a_failed_sync_is_final),
        cmocka_unit_test(a_synced_write_that_fails_is_a_failed_sync),
        cmocka_unit_test(a_synced_write_without_room_may_be_tried_again),
        cmocka_unit_test(what_is_cut_off_is_no_hole),
        cmocka_unit_test(the_same_file_twice_is_a_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
