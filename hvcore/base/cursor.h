/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader over bytes from outside whose failure sticks: read on, ask hv_cursor_ok() once.
 *
 * All numbers are little endian. After a failure every read returns 0. The bytes must be private
 * (copied out of guest memory before).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct hv_cursor {
    /* private */
    const uint8_t *at;
    size_t left;
    bool failed;
};

static inline struct hv_cursor hv_cursor(const void *bytes, size_t length)
{
    return (struct hv_cursor){ .at = bytes, .left = length };
}

static inline bool hv_cursor_ok(const struct hv_cursor *in)
{
    return !in->failed;
}

static inline size_t hv_cursor_left(const struct hv_cursor *in)
{
    return in->failed ? 0 : in->left;
}

/* Copy `length` bytes to `ret`; ret NULL skips them. On failure ret is filled with zeroes. */
static inline void hv_cursor_bytes(struct hv_cursor *in, void *ret, size_t length)
{
    if (in->failed || length > in->left) {
        in->failed = true;
        if (ret)
            memset(ret, 0, length);
        return;
    }
    if (ret)
        memcpy(ret, in->at, length);
    in->at += length;
    in->left -= length;
}

static inline void hv_cursor_skip(struct hv_cursor *in, size_t length)
{
    hv_cursor_bytes(in, NULL, length);
}

static inline uint8_t hv_cursor_u8(struct hv_cursor *in)
{
    uint8_t v;

    hv_cursor_bytes(in, &v, sizeof(v));
    return v;
}

static inline uint16_t hv_cursor_u16(struct hv_cursor *in)
{
    uint16_t v;

    hv_cursor_bytes(in, &v, sizeof(v));
    return v;
}

static inline uint32_t hv_cursor_u32(struct hv_cursor *in)
{
    uint32_t v;

    hv_cursor_bytes(in, &v, sizeof(v));
    return v;
}

static inline uint64_t hv_cursor_u64(struct hv_cursor *in)
{
    uint64_t v;

    hv_cursor_bytes(in, &v, sizeof(v));
    return v;
}
