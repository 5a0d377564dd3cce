/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of a US keyboard: scan codes of set 1, by the character they type and by name.
 *
 * spec: IBM PC/AT Technical Reference, keyboard scan codes, set 1
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vsp_key {
    /* public */
    uint8_t make; /* without the prefix and the bit of a release */
    bool is_e0;
    bool is_e1;
};

/* The key of a character of ASCII, and whether shift goes with it. False: no key types it. */
bool vsp_key_of_character(unsigned char c, struct vsp_key *ret_key, bool *ret_is_shifted);

/* The key with a name: "enter", "f1", "left", "a", ... in small letters. False: there is none. */
bool vsp_key_find(const char *name, struct vsp_key *ret_key);
