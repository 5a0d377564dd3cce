/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/base/guid.h"

#include <errno.h>
#include <string.h>

static void malformed_text_is_refused(void **state)
{
    static const char *const bad[] = { "",
                                       "0",
                                       "00000000-0000-0000-0000-00000000000",
                                       "00000000-0000-0000-0000-0000000000000",
                                       "0000000000000-0000-0000-000000000000",
                                       "g0000000-0000-0000-0000-000000000000" };
    struct hv_guid guid;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(hv_guid_parse(bad[i], &guid), -EINVAL);
}

static void first_groups_are_little_endian(void **state)
{
    static const uint8_t expected[16] = { 4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16 };
    char text[HV_GUID_TEXT_BYTES];
    struct hv_guid guid;

    (void)state;
    assert_int_equal(hv_guid_parse("01020304-0506-0708-090A-0b0c0d0e0f10", &guid), 0);
    assert_memory_equal(guid.bytes, expected, sizeof(expected));
    hv_guid_format(&guid, text);
    assert_string_equal(text, "01020304-0506-0708-090a-0b0c0d0e0f10");
}

static void random_ones_differ_and_are_version_4(void **state)
{
    char text[HV_GUID_TEXT_BYTES];
    struct hv_guid a, b;

    (void)state;
    assert_int_equal(hv_guid_random(&a), 0);
    assert_int_equal(hv_guid_random(&b), 0);
    assert_false(hv_guid_equal(&a, &b));
    hv_guid_format(&a, text);
    assert_int_equal(text[14], '4');
    assert_non_null(strchr("89ab", text[19]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_text_is_refused),
        cmocka_unit_test(first_groups_are_little_endian),
        cmocka_unit_test(random_ones_differ_and_are_version_4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
