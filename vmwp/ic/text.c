/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/text.h"

#include "hvcore/base/own.h"

#include <string.h>

static bool is_surrogate(uint32_t c)
{
    return c >= 0xd800 && c <= 0xdfff;
}

int ic_text_next(const char *text, uint32_t *ret_code_point)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t *at = (const uint8_t *)text;
    int length = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : 4;
    uint32_t c;

    if (at[0] == 0)
        return 0;
    if (length == 4 && at[0] >> 3 != 30)
        return -EILSEQ;
    c = length == 1 ? at[0] : at[0] & (0x7fu >> length);
    for (int i = 1; i < length; i++) {
        if (at[i] >> 6 != 2)
            return -EILSEQ;
        c = c << 6 | (at[i] & 0x3f);
    }
    if (c < smallest[length] || c > 0x10ffff || is_surrogate(c))
        return -EILSEQ;
    *ret_code_point = c;
    return length;
}

static void put_unit(uint8_t *field, size_t unit, uint32_t value)
{
    field[unit * 2] = (uint8_t)value;
    field[unit * 2 + 1] = (uint8_t)(value >> 8);
}

/* Returns the units that the code point takes, or -E2BIG. */
static int put_code_point(uint8_t *field, size_t at, size_t max, uint32_t c)
{
    int units = c < 0x10000 ? 1 : 2;

    if (at + (size_t)units > max)
        return -E2BIG;
    if (units == 1) {
        put_unit(field, at, c);
    } else {
        put_unit(field, at, 0xd800 | (c - 0x10000) >> 10);
        put_unit(field, at + 1, 0xdc00 | ((c - 0x10000) & 0x3ff));
    }
    return units;
}

int ic_text_put(const char *text, uint8_t *field, size_t field_bytes)
{
    size_t max = field_bytes / 2 > 0 ? field_bytes / 2 - 1 : 0, at = 0;
    uint32_t c;
    int n, units;

    memset(field, 0, field_bytes);
    while ((n = ic_text_next(text, &c)) > 0) {
        units = put_code_point(field, at, max, c);
        if (units < 0) {
            memset(field, 0, field_bytes);
            return units;
        }
        at += (size_t)units;
        text += n;
    }
    if (n < 0)
        memset(field, 0, field_bytes);
    return n < 0 ? n : (int)at;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static uint32_t unit_at(const uint8_t *field, size_t unit)
{
    return field[unit * 2] | (uint32_t)field[unit * 2 + 1] << 8;
}

static uint32_t take_code_point(const uint8_t *field, size_t units, size_t *at)
{
    uint32_t c = unit_at(field, (*at)++), low;

    if (!is_surrogate(c))
        return c;
    low = *at < units ? unit_at(field, *at) : 0;
    if (c >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
        return 0xfffd;
    (*at)++;
    return 0x10000 + ((c & 0x3ff) << 10) + (low & 0x3ff);
}

char *ic_text_take(const uint8_t *field, size_t field_bytes)
{
    size_t units = field_bytes / 2, at = 0, length = 0;
    char *text = malloc(units * 3 + 1); /* a unit makes at most three bytes */

    if (!text)
        return NULL;
    while (at < units) {
        uint32_t c = take_code_point(field, units, &at);

        if (c == 0)
            break;
        length += put_utf8(text + length, c);
    }
    text[length] = '\0';
    return text;
}
