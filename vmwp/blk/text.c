/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-16, which parent locators are written in, from and to UTF-8. */
#include "vmwp/blk/layer_priv.h"

static uint16_t unit_at(const uint8_t *at, bool is_big)
{
    return is_big ? (uint16_t)(at[0] << 8 | at[1]) : (uint16_t)(at[1] << 8 | at[0]);
}

/* How many bytes were written; 0 when they don't fit. */
static size_t put_utf8(uint32_t c, char *ret, size_t room)
{
    static const uint8_t leads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    if (n >= room)
        return 0;
    for (size_t i = n; i-- > 1; c >>= 6)
        ret[i] = (char)(0x80 | (c & 0x3f));
    ret[0] = (char)(n == 1 ? c : leads[n] | c);
    return n;
}

int blk_from_utf16(const uint8_t *from, size_t bytes, bool is_big, char *ret, size_t ret_bytes)
{
    size_t used = 0;

    for (size_t i = 0; i + 1 < bytes; i += 2) {
        uint32_t c = unit_at(from + i, is_big);
        size_t n;

        if (c == 0)
            break;
        if (c >= 0xd800 && c < 0xdc00 && i + 3 < bytes) {
            uint32_t low = unit_at(from + i + 2, is_big);

            if (low < 0xdc00 || low > 0xdfff)
                return -EINVAL;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i += 2;
        } else if (c >= 0xd800 && c < 0xe000) {
            return -EINVAL;
        }
        n = put_utf8(c == '\\' ? '/' : c, ret + used, ret_bytes - used);
        if (!n)
            return -EINVAL;
        used += n;
    }
    ret[used] = 0;
    return 0;
}

/* One character of UTF-8; 0 where there is none. *from moves on. */
static uint32_t take_utf8(const char **from)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const uint8_t *at = (const uint8_t *)*from;
    size_t n = at[0] < 0x80 ? 1 : at[0] < 0xc0 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? at[0] : at[0] & (0x7fu >> n);

    if (n == 0 || at[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (at[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *from += n;
    return c;
}

static bool put_unit(uint8_t *ret, size_t room, size_t *used, uint32_t unit, bool is_big)
{
    if (room - *used < 2)
        return false;
    ret[*used] = (uint8_t)(is_big ? unit >> 8 : unit);
    ret[*used + 1] = (uint8_t)(is_big ? unit : unit >> 8);
    *used += 2;
    return true;
}

int blk_to_utf16(const char *from, bool is_big, bool is_windows, uint8_t *ret, size_t ret_bytes,
                 size_t *ret_used)
{
    size_t used = 0;

    while (*from) {
        uint32_t c = take_utf8(&from);

        if (c == 0)
            return -EINVAL;
        if (c == '/' && is_windows)
            c = '\\';
        if (c >= 0x10000) {
            if (!put_unit(ret, ret_bytes, &used, 0xd800 + ((c - 0x10000) >> 10), is_big))
                return -EINVAL;
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        if (!put_unit(ret, ret_bytes, &used, c, is_big))
            return -EINVAL;
    }
    *ret_used = used;
    return 0;
}
