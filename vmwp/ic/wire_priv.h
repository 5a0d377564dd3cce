/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of integration components' messages: a writer, and the sizes of the layouts.
 *
 * spec: hv_utils of Linux 6.1 (include/linux/hyperv.h, include/uapi/linux/hyperv.h)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    IC_WIRE_PIPE_BYTES = 8,      /* u32 flags, u32 size of what follows */
    IC_WIRE_HEADER_BYTES = 20,   /* struct icmsg_hdr */
    IC_WIRE_NEGOTIATE_BYTES = 8, /* struct icmsg_negotiate before its versions */
    IC_WIRE_PIPE_DATA = 1,

    IC_WIRE_FLAG_TRANSACTION = 1,
    IC_WIRE_FLAG_REQUEST = 2,
    IC_WIRE_FLAG_RESPONSE = 4
};

/* A GUID from the numbers of its text, in memory order */
#define IC_GUID(a, b, c, ...)                                                                      \
    {                                                                                              \
        {                                                                                          \
            (uint8_t)(a), (uint8_t)((a) >> 8), (uint8_t)((a) >> 16), (uint8_t)((a) >> 24),         \
                (uint8_t)(b), (uint8_t)((b) >> 8), (uint8_t)(c), (uint8_t)((c) >> 8), __VA_ARGS__  \
        }                                                                                          \
    }

/* Status words of guests (HRESULT) */
enum ic_wire_status {
    IC_STATUS_OK = 0,
    IC_STATUS_FAIL = (int)0x80004005,
    IC_STATUS_GUID_NOT_FOUND = (int)0x80041002,
    IC_STATUS_ACCESS_DENIED = (int)0x80070005,
    IC_STATUS_NOT_SUPPORTED = (int)0x80070032,
    IC_STATUS_EXISTS = (int)0x80070050,
    IC_STATUS_INVALID = (int)0x80070057,
    IC_STATUS_DISK_FULL = (int)0x80070070,
    IC_STATUS_NO_MORE_ITEMS = (int)0x80070103,
    IC_STATUS_SHUTTING_DOWN = (int)0x8007045b,
    IC_STATUS_LOCKED = (int)0x800704f7
};

/* A writer whose room is a caller's array; writing beyond it is a bug that is_full tells. */
struct ic_writer {
    uint8_t *at;
    size_t left;
    bool is_full;
};

static inline struct ic_writer ic_writer(void *to, size_t bytes)
{
    return (struct ic_writer){ .at = to, .left = bytes };
}

static inline void ic_put(struct ic_writer *out, const void *from, size_t bytes)
{
    if (bytes > out->left) {
        out->is_full = true;
        return;
    }
    if (bytes > 0)
        memcpy(out->at, from, bytes);
    out->at += bytes;
    out->left -= bytes;
}

static inline void ic_put_zeroes(struct ic_writer *out, size_t bytes)
{
    if (bytes > out->left) {
        out->is_full = true;
        return;
    }
    memset(out->at, 0, bytes);
    out->at += bytes;
    out->left -= bytes;
}

/* Little endian, as the host is. */
static inline void ic_put_u8(struct ic_writer *out, uint8_t value)
{
    ic_put(out, &value, sizeof(value));
}

static inline void ic_put_u16(struct ic_writer *out, uint16_t value)
{
    ic_put(out, &value, sizeof(value));
}

static inline void ic_put_u32(struct ic_writer *out, uint32_t value)
{
    ic_put(out, &value, sizeof(value));
}

static inline void ic_put_u64(struct ic_writer *out, uint64_t value)
{
    ic_put(out, &value, sizeof(value));
}
