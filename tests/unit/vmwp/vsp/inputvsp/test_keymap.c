/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmwp/vsp/inputvsp/keymap.h"

#include <string.h>

static void what_no_key_types_has_none(void **state)
{
    struct vsp_key key;
    bool is_shifted;

    for (int c = 0; c < 256; c++) {
        bool is_typed = (c >= 0x20 && c < 0x80) || strchr("\n\r\t\b\x1b", c ? c : 1) != NULL;

        assert_int_equal(vsp_key_of_character((unsigned char)c, &key, &is_shifted), is_typed);
    }
}

/* Against the printed keyboard, key by key */
static void letters_digits_and_signs_stand_where_a_us_keyboard_has_them(void **state)
{
    static const struct {
        char c;
        uint8_t make;
        bool is_shifted;
    } rows[] = {
        { 'a', 0x1e, false },  { 'A', 0x1e, true },  { 'z', 0x2c, false },  { 'Z', 0x2c, true },
        { 'q', 0x10, false },  { 'm', 0x32, false }, { '1', 0x02, false },  { '!', 0x02, true },
        { '0', 0x0b, false },  { ')', 0x0b, true },  { '-', 0x0c, false },  { '_', 0x0c, true },
        { '=', 0x0d, false },  { '+', 0x0d, true },  { '[', 0x1a, false },  { '}', 0x1b, true },
        { ';', 0x27, false },  { ':', 0x27, true },  { '\'', 0x28, false }, { '"', 0x28, true },
        { '`', 0x29, false },  { '~', 0x29, true },  { '\\', 0x2b, false }, { '|', 0x2b, true },
        { ',', 0x33, false },  { '<', 0x33, true },  { '.', 0x34, false },  { '>', 0x34, true },
        { '/', 0x35, false },  { '?', 0x35, true },  { ' ', 0x39, false },  { '\n', 0x1c, false },
        { '\t', 0x0f, false }, { '@', 0x03, true },  { '#', 0x04, true },   { '$', 0x05, true },
        { '%', 0x06, true },   { '^', 0x07, true },  { '&', 0x08, true },   { '*', 0x09, true },
        { '(', 0x0a, true },
    };
    struct vsp_key key;
    bool is_shifted;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(vsp_key_of_character((unsigned char)rows[i].c, &key, &is_shifted));
        assert_int_equal(key.make, rows[i].make);
        assert_int_equal(is_shifted, rows[i].is_shifted);
        assert_false(key.is_e0 || key.is_e1);
    }
}

static void keys_have_names(void **state)
{
    struct vsp_key key;

    assert_false(vsp_key_find("", &key));
    assert_false(vsp_key_find("A", &key));
    assert_false(vsp_key_find("\n", &key));
    assert_false(vsp_key_find("F1", &key));
    assert_false(vsp_key_find("enter ", &key));
    assert_true(vsp_key_find("a", &key));
    assert_int_equal(key.make, 0x1e);
    assert_true(vsp_key_find("f12", &key));
    assert_int_equal(key.make, 0x58);
    assert_true(vsp_key_find("delete", &key));
    assert_int_equal(key.make, 0x53);
    assert_true(key.is_e0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_key_types_has_none),
        cmocka_unit_test(letters_digits_and_signs_stand_where_a_us_keyboard_has_them),
        cmocka_unit_test(keys_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
