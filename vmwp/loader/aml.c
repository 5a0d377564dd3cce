/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/loader/aml_priv.h"

#include "hvcore/base/own.h"

#include <string.h>

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_EXT = 0x5b,
    OP_EXT_DEVICE = 0x82,

    /* resource descriptors */
    RES_IRQ = 0x22,
    RES_IO = 0x47,
    RES_END = 0x79,
    RES_DWORD = 0x87,
    RES_WORD = 0x88,
    RES_QWORD = 0x8a,
    RES_IO_DECODE_16 = 0x01,

    SPACE_MEMORY = 0,
    SPACE_IO = 1,
    SPACE_BUS = 2,
    WINDOW_PRODUCER_FIXED = 0x0c, /* minimum and maximum are fixed, passed on to children */
    WINDOW_MEMORY_WRITABLE = 0x01,
    WINDOW_IO_ENTIRE = 0x03
};

static void put(struct aml *aml, const void *bytes, size_t length)
{
    if (aml->failed || length > aml->size - aml->used) {
        aml->failed = true;
        return;
    }
    memcpy(aml->bytes + aml->used, bytes, length);
    aml->used += length;
}

/* A little-endian number of 1 to 8 bytes. */
static void put_number(struct aml *aml, uint64_t value, unsigned bytes)
{
    put(aml, &value, bytes);
}

static void put_name(struct aml *aml, const char *name)
{
    hv_assert(strlen(name) == 4);
    put(aml, name, 4);
}

/* Begin a term whose length is put in when it ends. */
static void begin(struct aml *aml)
{
    hv_assert(aml->depth < AML_MAX_DEPTH);
    aml->open[aml->depth++] = aml->used;
}

/* The form of a length that counts its own bytes. Returns how many bytes it has. */
static unsigned encode_length(size_t content, uint8_t ret[4])
{
    unsigned extra = content + 1 < 0x40       ? 0
                     : content + 2 < 0x1000   ? 1
                     : content + 3 < 0x100000 ? 2
                                              : 3;
    size_t length = content + 1 + extra;

    if (extra == 0) {
        ret[0] = (uint8_t)length;
        return 1;
    }
    ret[0] = (uint8_t)(extra << 6 | (length & 0x0f));
    for (unsigned i = 1; i <= extra; i++)
        ret[i] = (uint8_t)(length >> (8 * i - 4));
    return 1 + extra;
}

static void insert(struct aml *aml, size_t at, const void *bytes, size_t length)
{
    if (aml->failed || length > aml->size - aml->used) {
        aml->failed = true;
        return;
    }
    memmove(aml->bytes + at + length, aml->bytes + at, aml->used - at);
    memcpy(aml->bytes + at, bytes, length);
    aml->used += length;
}

static void end_term(struct aml *aml)
{
    size_t at = aml->open[--aml->depth];
    uint8_t length[4];

    insert(aml, at, length, encode_length(aml->used - at, length));
}

void aml_scope(struct aml *aml, const char *name)
{
    put_number(aml, OP_SCOPE, 1);
    begin(aml);
    put_name(aml, name);
}

void aml_device(struct aml *aml, const char *name)
{
    put_number(aml, OP_EXT, 1);
    put_number(aml, OP_EXT_DEVICE, 1);
    begin(aml);
    put_name(aml, name);
}

void aml_package(struct aml *aml, uint8_t n_elements)
{
    put_number(aml, OP_PACKAGE, 1);
    begin(aml);
    put_number(aml, n_elements, 1);
}

/* An open list of descriptors is marked by a term inside the buffer's: its bytes are counted by the
 * buffer's size, one byte. */
void aml_resources(struct aml *aml)
{
    put_number(aml, OP_BUFFER, 1);
    begin(aml);
    aml->open[aml->depth - 1] |= (size_t)1 << 63;
}

static void end_resources(struct aml *aml)
{
    size_t at = aml->open[aml->depth - 1] & ~((size_t)1 << 63), bytes;
    uint8_t size[2] = { OP_BYTE };

    put_number(aml, RES_END, 1);
    put_number(aml, 0, 1); /* no checksum */
    bytes = aml->used - at;
    hv_assert(bytes <= UINT8_MAX || aml->failed);
    size[1] = (uint8_t)bytes;
    insert(aml, at, size, sizeof(size));
    aml->open[aml->depth - 1] = at;
}

void aml_end(struct aml *aml)
{
    hv_assert(aml->depth > 0);
    if (aml->open[aml->depth - 1] >> 63)
        end_resources(aml);
    end_term(aml);
}

void aml_name(struct aml *aml, const char *name)
{
    put_number(aml, OP_NAME, 1);
    put_name(aml, name);
}

void aml_integer(struct aml *aml, uint64_t value)
{
    if (value <= 1) {
        put_number(aml, value == 0 ? OP_ZERO : OP_ONE, 1);
    } else if (value <= UINT8_MAX) {
        put_number(aml, OP_BYTE, 1);
        put_number(aml, value, 1);
    } else if (value <= UINT16_MAX) {
        put_number(aml, OP_WORD, 1);
        put_number(aml, value, 2);
    } else if (value <= UINT32_MAX) {
        put_number(aml, OP_DWORD, 1);
        put_number(aml, value, 4);
    } else {
        put_number(aml, OP_QWORD, 1);
        put_number(aml, value, 8);
    }
}

void aml_string(struct aml *aml, const char *text)
{
    put_number(aml, OP_STRING, 1);
    put(aml, text, strlen(text) + 1);
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits, then four hexadecimal digits, most significant byte first. */
void aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t value = 0;

    hv_assert(strlen(id) == 7);
    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | (unsigned)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | hex_digit(id[i]);
    put_number(aml, OP_DWORD, 1);
    put_number(aml, __builtin_bswap32(value), 4);
}

void aml_io(struct aml *aml, uint16_t first, uint8_t count)
{
    put_number(aml, RES_IO, 1);
    put_number(aml, RES_IO_DECODE_16, 1);
    put_number(aml, first, 2);
    put_number(aml, first, 2);
    put_number(aml, 1, 1); /* alignment */
    put_number(aml, count, 1);
}

void aml_irq(struct aml *aml, unsigned number)
{
    put_number(aml, RES_IRQ, 1);
    put_number(aml, UINT64_C(1) << number, 2);
}

/* An address space descriptor with numbers of `width` bytes. */
static void window(struct aml *aml, uint8_t tag, unsigned width, uint8_t space, uint8_t type_flags,
                   uint64_t first, uint64_t last)
{
    put_number(aml, tag, 1);
    put_number(aml, 3 + 5 * width, 2);
    put_number(aml, space, 1);
    put_number(aml, WINDOW_PRODUCER_FIXED, 1);
    put_number(aml, type_flags, 1);
    put_number(aml, 0, width); /* granularity */
    put_number(aml, first, width);
    put_number(aml, last, width);
    put_number(aml, 0, width); /* translation */
    put_number(aml, last - first + 1, width);
}

void aml_bus_numbers(struct aml *aml, uint16_t first, uint16_t last)
{
    window(aml, RES_WORD, 2, SPACE_BUS, 0, first, last);
}

void aml_io_window(struct aml *aml, uint16_t first, uint16_t last)
{
    window(aml, RES_WORD, 2, SPACE_IO, WINDOW_IO_ENTIRE, first, last);
}

void aml_memory_window_32(struct aml *aml, uint32_t first, uint32_t last)
{
    window(aml, RES_DWORD, 4, SPACE_MEMORY, WINDOW_MEMORY_WRITABLE, first, last);
}

void aml_memory_window_64(struct aml *aml, uint64_t first, uint64_t last)
{
    window(aml, RES_QWORD, 8, SPACE_MEMORY, WINDOW_MEMORY_WRITABLE, first, last);
}
