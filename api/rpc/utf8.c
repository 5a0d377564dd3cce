/* SPDX-License-Identifier: Apache-2.0 */
#include "api/rpc/utf8.h"

#include <string.h>

static bool is_continuation(char c)
{
    return ((uint8_t)c & 0xc0) == 0x80;
}

/* The second byte decides overlong forms, surrogates and the upper end (RFC 3629 section 4). */
static bool is_second_byte_fine(uint8_t first, uint8_t second)
{
    switch (first) {
    case 0xe0: return second >= 0xa0;
    case 0xed: return second <= 0x9f;
    case 0xf0: return second >= 0x90;
    case 0xf4: return second <= 0x8f;
    default: return true;
    }
}

size_t utf8_char_bytes(const char *at, size_t left)
{
    uint8_t first;
    size_t bytes;

    if (!left)
        return 0;
    first = (uint8_t)at[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    bytes = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < bytes || !is_second_byte_fine(first, (uint8_t)at[1]))
        return 0;
    for (size_t i = 1; i < bytes; i++) {
        if (!is_continuation(at[i]))
            return 0;
    }
    return bytes;
}

bool utf8_is_valid(const char *text, size_t length)
{
    for (size_t at = 0, bytes; at < length; at += bytes) {
        bytes = utf8_char_bytes(text + at, length - at);
        if (!bytes)
            return false;
    }
    return true;
}

size_t utf8_count(const char *text, size_t length)
{
    size_t count = 0;

    for (size_t i = 0; i < length; i++)
        count += !is_continuation(text[i]);
    return count;
}

size_t utf8_put(uint32_t c, char ret[static 4])
{
    if (c < 0x80) {
        ret[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        ret[0] = (char)(0xc0 | c >> 6);
        ret[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        ret[0] = (char)(0xe0 | c >> 12);
        ret[1] = (char)(0x80 | (c >> 6 & 0x3f));
        ret[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    ret[0] = (char)(0xf0 | c >> 18);
    ret[1] = (char)(0x80 | (c >> 12 & 0x3f));
    ret[2] = (char)(0x80 | (c >> 6 & 0x3f));
    ret[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

char *utf8_copy(const char *text, size_t max)
{
    size_t length = strnlen(text, max), at = 0, bytes;

    while (at < length && (bytes = utf8_char_bytes(text + at, length - at)) > 0)
        at += bytes;
    return strndup(text, at);
}
