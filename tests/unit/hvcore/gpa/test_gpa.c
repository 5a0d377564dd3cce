/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/gpa.h"

#include <string.h>

enum { MIB = 1 << 20 };

static int make_space(void **state)
{
    static struct hv_gpa_space space;

    if (hv_gpa_space_init(&space, 4 * MIB, NULL) < 0)
        return -1;
    *state = &space;
    /* A hole from 2 MiB to 16 MiB. */
    if (hv_gpa_space_add_ram(&space, 0, 2 * MIB, 0) < 0)
        return -1;
    return hv_gpa_space_add_ram(&space, 16 * MIB, 2 * MIB, 2 * MIB);
}

static int drop_space(void **state)
{
    hv_gpa_space_fini(*state);
    return 0;
}

static void slots_are_refused_when_wrong(void **state)
{
    struct hv_gpa_space *space = *state;

    assert_int_equal(hv_gpa_space_add_ram(space, MIB, MIB, 0), -EINVAL);
    assert_int_equal(hv_gpa_space_add_ram(space, 3 * MIB, 8 * MIB, 0), -EINVAL);
    assert_int_equal(hv_gpa_space_add_ram(space, 3 * MIB + 1, MIB, 0), -EINVAL);
    assert_int_equal(hv_gpa_space_add_ram(space, UINT64_MAX - 4095, 8192, 0), -EINVAL);
}

static void a_range_that_touches_a_hole_copies_nothing(void **state)
{
    struct hv_gpa_space *space = *state;
    uint8_t byte = 7, out[8192];

    assert_int_equal(hv_gpa_write(space, 2 * MIB - 1, &byte, 1), 0);
    memset(out, 0x55, sizeof(out));
    assert_int_equal(hv_gpa_read(space, 2 * MIB - 1, out, 2), -EFAULT);
    assert_int_equal(out[0], 0x55);
    assert_int_equal(hv_gpa_write(space, 2 * MIB - 1, out, sizeof(out)), -EFAULT);
    assert_int_equal(hv_gpa_read(space, 2 * MIB - 1, out, 1), 0);
    assert_int_equal(out[0], 7);
    assert_int_equal(hv_gpa_read(space, UINT64_MAX, out, 2), -EFAULT);
}

static void on_code_written(void *opaque, hv_gpa_t first, uint64_t bytes)
{
    hv_gpa_t *seen = opaque;

    seen[0] = first;
    seen[1] = bytes;
}

static void writes_to_code_pages_are_told(void **state)
{
    struct hv_gpa_space *space = *state;
    hv_gpa_t seen[2] = { 0, 0 };
    uint8_t bytes[4] = { 1, 2, 3, 4 };

    hv_gpa_space_watch_code(space, on_code_written, seen);
    assert_int_equal(hv_gpa_write(space, 16 * MIB + 0x1ffe, bytes, 4), 0);
    assert_int_equal(seen[1], 0);
    atomic_store(&space->slots[1].page_flags[2], HV_GPA_PAGE_CODE | HV_GPA_PAGE_CLEAN);
    assert_int_equal(hv_gpa_write(space, 16 * MIB + 0x1ffe, bytes, 4), 0);
    assert_int_equal(seen[0], 16 * MIB + 0x1ffe);
    assert_int_equal(seen[1], 4);
    assert_int_equal(atomic_load(&space->slots[1].page_flags[2]), HV_GPA_PAGE_CODE);
}

static void discarded_memory_is_zero_and_told(void **state)
{
    struct hv_gpa_space *space = *state;
    hv_gpa_t seen[2] = { 0, 0 };
    uint8_t byte = 7;

    assert_int_equal(hv_gpa_write(space, 16 * MIB + 5, &byte, 1), 0);
    hv_gpa_space_watch_code(space, on_code_written, seen);
    atomic_store(&space->slots[1].page_flags[0], HV_GPA_PAGE_CODE | HV_GPA_PAGE_CLEAN);
    assert_int_equal(hv_gpa_discard(space), 0);
    assert_int_equal(hv_gpa_read(space, 16 * MIB + 5, &byte, 1), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(seen[0], 16 * MIB);
    assert_int_equal(atomic_load(&space->slots[1].page_flags[0]), HV_GPA_PAGE_CODE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slots_are_refused_when_wrong, make_space, drop_space),
        cmocka_unit_test_setup_teardown(a_range_that_touches_a_hole_copies_nothing, make_space,
                                        drop_space),
        cmocka_unit_test_setup_teardown(writes_to_code_pages_are_told, make_space, drop_space),
        cmocka_unit_test_setup_teardown(discarded_memory_is_zero_and_told, make_space, drop_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
