/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/guid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Place of each text byte pair in memory: the first three groups are little endian. */
static const uint8_t text_order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

int hv_guid_random(struct hv_guid *ret)
{
    struct hv_guid guid;

    if (getrandom(guid.bytes, sizeof(guid.bytes), 0) != (ssize_t)sizeof(guid.bytes))
        return -errno;
    guid.bytes[7] = (uint8_t)((guid.bytes[7] & 0x0f) | 0x40);
    guid.bytes[8] = (uint8_t)((guid.bytes[8] & 0x3f) | 0x80);
    *ret = guid;
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_dash_before(unsigned i)
{
    return i == 4 || i == 6 || i == 8 || i == 10;
}

int hv_guid_parse(const char *text, struct hv_guid *ret)
{
    struct hv_guid guid;
    int high, low;

    for (unsigned i = 0; i < sizeof(guid.bytes); i++) {
        if (is_dash_before(i) && *text++ != '-')
            return -EINVAL;
        high = hex_digit(text[0]);
        low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return -EINVAL;
        guid.bytes[text_order[i]] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (*text)
        return -EINVAL;
    *ret = guid;
    return 0;
}

void hv_guid_format(const struct hv_guid *guid, char ret_text[static HV_GUID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *at = ret_text;

    for (unsigned i = 0; i < sizeof(guid->bytes); i++) {
        if (is_dash_before(i))
            *at++ = '-';
        *at++ = digits[guid->bytes[text_order[i]] >> 4];
        *at++ = digits[guid->bytes[text_order[i]] & 15];
    }
    *at = '\0';
}

bool hv_guid_equal(const struct hv_guid *a, const struct hv_guid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}
