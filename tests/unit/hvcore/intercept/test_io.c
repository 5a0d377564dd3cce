/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/io.h"

#include <errno.h>

/* Remembers the last access; reads give bytes that tell their offset. */
struct chip {
    uint64_t offset;
    unsigned size;
    uint64_t value;
    unsigned accesses;
};

static uint64_t chip_read(void *opaque, uint64_t offset, unsigned size)
{
    struct chip *chip = opaque;
    uint64_t value = 0;

    chip->offset = offset;
    chip->size = size;
    chip->accesses++;
    for (unsigned i = 0; i < 8; i++) /* more than was asked for */
        value |= (offset + i + 1) << i * 8;
    return value;
}

static void chip_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct chip *chip = opaque;

    *chip = (struct chip){ offset, size, value, chip->accesses + 1 };
}

static const struct hv_io_ops ops = { chip_read, chip_write };
static const struct hv_io_ops silent = { 0 };

static void bad_ranges_are_refused(void **state)
{
    struct hv_io_space space = { 0 };
    struct chip chip = { 0 };

    (void)state;
    assert_int_equal(hv_io_space_add(&space, 0x60, 0, &ops, &chip), -EINVAL);
    assert_int_equal(hv_io_space_add(&space, UINT64_MAX, 2, &ops, &chip), -EINVAL);
    assert_int_equal(hv_io_space_add(&space, 0x60, 8, &ops, &chip), 0);
    assert_int_equal(hv_io_space_add(&space, 0x67, 1, &ops, &chip), -EEXIST);
    assert_int_equal(hv_io_space_add(&space, 0x58, 9, &ops, &chip), -EEXIST);
    assert_int_equal(hv_io_space_add(&space, 0x50, 0x40, &ops, &chip), -EEXIST);
    assert_int_equal(hv_io_space_add(&space, 0x58, 8, &ops, &chip), 0);
    assert_int_equal(hv_io_space_add(&space, 0x68, 1, &ops, &chip), 0);
    for (unsigned i = space.n_ranges; i < HV_IO_MAX_RANGES; i++)
        assert_int_equal(hv_io_space_add(&space, 0x1000 + i * 2, 1, &ops, &chip), 0);
    assert_int_equal(hv_io_space_add(&space, 0x9000, 1, &ops, &chip), -ENOSPC);
}

static void nobody_home_reads_all_ones(void **state)
{
    struct hv_io_space space = { 0 };
    struct chip chip = { 0 };

    (void)state;
    assert_int_equal(hv_io_space_read(&space, 0x80, 1), 0xff);
    assert_int_equal(hv_io_space_read(&space, 0x80, 4), 0xffffffff);
    assert_int_equal(hv_io_space_read(&space, UINT64_MAX - 3, 8), UINT64_MAX);
    hv_io_space_write(&space, 0x80, 2, 0x1234);
    assert_int_equal(hv_io_space_add(&space, 0x80, 4, &silent, &chip), 0);
    assert_int_equal(hv_io_space_read(&space, 0x80, 2), 0xffff);
    hv_io_space_write(&space, 0x80, 2, 0x1234);
}

static void accesses_inside_a_range_are_whole(void **state)
{
    struct hv_io_space space = { 0 };
    struct chip chip = { 0 };

    (void)state;
    assert_int_equal(hv_io_space_add(&space, 0x1000, 0x10, &ops, &chip), 0);
    assert_int_equal(hv_io_space_read(&space, 0x1004, 4), 0x08070605);
    assert_int_equal(chip.offset, 4);
    assert_int_equal(chip.size, 4);
    hv_io_space_write(&space, 0x1008, 8, UINT64_C(0x1122334455667788));
    assert_int_equal(chip.value, UINT64_C(0x1122334455667788));
    hv_io_space_write(&space, 0x1001, 1, 0xabcd);
    assert_int_equal(chip.value, 0xcd);
    assert_int_equal(chip.accesses, 3);
}

static void accesses_across_an_edge_are_bytes(void **state)
{
    struct hv_io_space space = { 0 };
    struct chip low = { 0 }, high = { 0 };

    (void)state;
    assert_int_equal(hv_io_space_add(&space, 0x10, 4, &ops, &low), 0);
    assert_int_equal(hv_io_space_add(&space, 0x14, 4, &ops, &high), 0);
    assert_int_equal(hv_io_space_read(&space, 0x12, 4), 0x02010403);
    assert_int_equal(low.accesses, 2);
    assert_int_equal(high.accesses, 2);
    assert_int_equal(hv_io_space_read(&space, 0x16, 4), 0xffff0403);
    assert_int_equal(hv_io_space_read(&space, 0x0e, 4), 0x0201ffff);
    hv_io_space_write(&space, 0x13, 2, 0xbbaa);
    assert_int_equal(low.value, 0xaa);
    assert_int_equal(high.value, 0xbb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_ranges_are_refused),
        cmocka_unit_test(nobody_home_reads_all_ones),
        cmocka_unit_test(accesses_inside_a_range_are_whole),
        cmocka_unit_test(accesses_across_an_edge_are_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
