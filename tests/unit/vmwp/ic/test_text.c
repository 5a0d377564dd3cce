/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmwp/ic/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void what_is_not_utf8_is_refused_and_leaves_zeroes(void **state)
{
    static const char *const bad[] = { "\x80",         "a\xc3",           "\xc0\x80",
                                       "\xe0\x80\x80", "\xed\xa0\x80",    "\xf4\x90\x80\x80",
                                       "\xff",         "\xf8\x88\x80\x80" };
    static const uint8_t zeroes[16];
    uint8_t field[16];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memset(field, 0xaa, sizeof(field));
        assert_int_equal(ic_text_put(bad[i], field, sizeof(field)), -EILSEQ);
        assert_memory_equal(field, zeroes, sizeof(field));
    }
}

static void text_that_does_not_fit_with_its_zero_is_refused(void **state)
{
    uint8_t field[8];

    assert_int_equal(ic_text_put("abcd", field, sizeof(field)), -E2BIG);
    assert_int_equal(ic_text_put("abc", field, sizeof(field)), 3);
    assert_memory_equal(field, "a\0b\0c\0\0\0", 8);
    assert_int_equal(ic_text_put("ab\xf0\x9f\x98\x80", field, sizeof(field)), -E2BIG);
    assert_int_equal(ic_text_put("a\xf0\x9f\x98\x80", field, sizeof(field)), 3);
    assert_int_equal(ic_text_put("", field, sizeof(field)), 0);
    assert_int_equal(ic_text_put("a", field, 0), -E2BIG);
    assert_int_equal(ic_text_put("a", field, 1), -E2BIG);
}

static void a_field_without_a_zero_ends_with_the_field(void **state)
{
    static const uint8_t field[] = { 'a', 0, 'b', 0, 'c', 0, 'd' };
    char *text = ic_text_take(field, sizeof(field));

    assert_string_equal(text, "abc");
    free(text);
    text = ic_text_take(field, 0);
    assert_string_equal(text, "");
    free(text);
}

static void halves_of_pairs_become_replacement_characters(void **state)
{
    static const uint8_t low_first[] = { 0x00, 0xdc, 'a', 0 };
    static const uint8_t high_last[] = { 'a', 0, 0x00, 0xd8 };
    static const uint8_t high_then_letter[] = { 0x00, 0xd8, 'a', 0, 0, 0, 'z', 0 };
    char *text = ic_text_take(low_first, sizeof(low_first));

    assert_string_equal(text, "\xef\xbf\xbd"
                              "a");
    free(text);
    text = ic_text_take(high_last, sizeof(high_last));
    assert_string_equal(text, "a\xef\xbf\xbd");
    free(text);
    text = ic_text_take(high_then_letter, sizeof(high_then_letter));
    assert_string_equal(text, "\xef\xbf\xbd"
                              "a");
    free(text);
}

static void every_code_point_comes_back(void **state)
{
    uint8_t field[8];
    char utf8[8];

    for (uint32_t c = 1; c < 0x110000; c += c < 0x900 ? 1 : 37) {
        uint8_t unit[6] = { 0 };
        uint32_t back = 0;
        char *text;

        if (c >= 0xd800 && c < 0xe000)
            continue;
        if (c < 0x10000) {
            unit[0] = (uint8_t)c;
            unit[1] = (uint8_t)(c >> 8);
        } else {
            unit[0] = (uint8_t)((c - 0x10000) >> 10);
            unit[1] = (uint8_t)(0xd8 | (c - 0x10000) >> 18);
            unit[2] = (uint8_t)(c - 0x10000);
            unit[3] = (uint8_t)(0xdc | ((c - 0x10000) >> 8 & 3));
        }
        text = ic_text_take(unit, sizeof(unit));
        assert_int_equal(ic_text_next(text, &back), strlen(text));
        assert_int_equal(back, c);
        assert_true(ic_text_put(text, field, sizeof(field)) > 0);
        assert_memory_equal(field, unit, sizeof(unit));
        snprintf(utf8, sizeof(utf8), "%s", text);
        assert_string_equal(utf8, text);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_utf8_is_refused_and_leaves_zeroes),
        cmocka_unit_test(text_that_does_not_fit_with_its_zero_is_refused),
        cmocka_unit_test(a_field_without_a_zero_ends_with_the_field),
        cmocka_unit_test(halves_of_pairs_become_replacement_characters),
        cmocka_unit_test(every_code_point_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
