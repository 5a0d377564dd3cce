/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vsp/inputvsp/keymap.h"

#include "hvcore/base/own.h"

#include <string.h>

/* A row of keys from a first scan code on, with what they type plain and shifted */
static const struct {
    uint8_t first;
    const char *plain;
    const char *shifted;
} rows[] = {
    { 0x02, "1234567890-=", "!@#$%^&*()_+" },
    { 0x10, "qwertyuiop[]", "QWERTYUIOP{}" },
    { 0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~" },
    { 0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?" },
};

static const struct {
    const char *name;
    struct vsp_key key;
} names[] = {
    { "esc", { .make = 0x01 } },
    { "backspace", { .make = 0x0e } },
    { "tab", { .make = 0x0f } },
    { "enter", { .make = 0x1c } },
    { "ctrl", { .make = 0x1d } },
    { "shift", { .make = 0x2a } },
    { "shift_right", { .make = 0x36 } },
    { "kp_multiply", { .make = 0x37 } },
    { "alt", { .make = 0x38 } },
    { "space", { .make = 0x39 } },
    { "caps_lock", { .make = 0x3a } },
    { "f1", { .make = 0x3b } },
    { "f2", { .make = 0x3c } },
    { "f3", { .make = 0x3d } },
    { "f4", { .make = 0x3e } },
    { "f5", { .make = 0x3f } },
    { "f6", { .make = 0x40 } },
    { "f7", { .make = 0x41 } },
    { "f8", { .make = 0x42 } },
    { "f9", { .make = 0x43 } },
    { "f10", { .make = 0x44 } },
    { "num_lock", { .make = 0x45 } },
    { "scroll_lock", { .make = 0x46 } },
    { "kp_7", { .make = 0x47 } },
    { "kp_8", { .make = 0x48 } },
    { "kp_9", { .make = 0x49 } },
    { "kp_minus", { .make = 0x4a } },
    { "kp_4", { .make = 0x4b } },
    { "kp_5", { .make = 0x4c } },
    { "kp_6", { .make = 0x4d } },
    { "kp_plus", { .make = 0x4e } },
    { "kp_1", { .make = 0x4f } },
    { "kp_2", { .make = 0x50 } },
    { "kp_3", { .make = 0x51 } },
    { "kp_0", { .make = 0x52 } },
    { "kp_dot", { .make = 0x53 } },
    { "f11", { .make = 0x57 } },
    { "f12", { .make = 0x58 } },
    { "kp_enter", { .make = 0x1c, .is_e0 = true } },
    { "ctrl_right", { .make = 0x1d, .is_e0 = true } },
    { "kp_divide", { .make = 0x35, .is_e0 = true } },
    { "print", { .make = 0x37, .is_e0 = true } },
    { "alt_right", { .make = 0x38, .is_e0 = true } },
    { "home", { .make = 0x47, .is_e0 = true } },
    { "up", { .make = 0x48, .is_e0 = true } },
    { "page_up", { .make = 0x49, .is_e0 = true } },
    { "left", { .make = 0x4b, .is_e0 = true } },
    { "right", { .make = 0x4d, .is_e0 = true } },
    { "end", { .make = 0x4f, .is_e0 = true } },
    { "down", { .make = 0x50, .is_e0 = true } },
    { "page_down", { .make = 0x51, .is_e0 = true } },
    { "insert", { .make = 0x52, .is_e0 = true } },
    { "delete", { .make = 0x53, .is_e0 = true } },
    { "meta", { .make = 0x5b, .is_e0 = true } },
    { "meta_right", { .make = 0x5c, .is_e0 = true } },
    { "menu", { .make = 0x5d, .is_e0 = true } },
};

/* Characters that aren't printed on a row of keys */
static const struct {
    unsigned char c;
    uint8_t make;
} others[] = { { ' ', 0x39 },  { '\n', 0x1c }, { '\r', 0x1c }, { '\t', 0x0f },
               { '\b', 0x0e }, { 0x7f, 0x0e }, { 0x1b, 0x01 } };

bool vsp_key_of_character(unsigned char c, struct vsp_key *ret_key, bool *ret_is_shifted)
{
    *ret_is_shifted = false;
    for (size_t i = 0; i < HV_ARRAY_SIZE(others); i++) {
        if (others[i].c == c) {
            *ret_key = (struct vsp_key){ .make = others[i].make };
            return true;
        }
    }
    for (size_t i = 0; c != 0 && i < HV_ARRAY_SIZE(rows); i++) {
        const char *plain = strchr(rows[i].plain, c), *shifted = strchr(rows[i].shifted, c);
        const char *at = plain ? plain : shifted, *row = plain ? rows[i].plain : rows[i].shifted;

        if (at) {
            *ret_key = (struct vsp_key){ .make = (uint8_t)(rows[i].first + (at - row)) };
            *ret_is_shifted = !plain;
            return true;
        }
    }
    return false;
}

bool vsp_key_find(const char *name, struct vsp_key *ret_key)
{
    bool is_shifted = false;
    struct vsp_key key;

    for (size_t i = 0; i < HV_ARRAY_SIZE(names); i++) {
        if (strcmp(names[i].name, name) == 0) {
            *ret_key = names[i].key;
            return true;
        }
    }
    if (name[0] <= ' ' || name[1] != '\0' ||
        !vsp_key_of_character((unsigned char)name[0], &key, &is_shifted) || is_shifted)
        return false;
    *ret_key = key;
    return true;
}
