/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/crc32c.h"

#include "hvcore/base/crc32c_priv.h"

#include <string.h>

/* The reflected polynomial 0x1edc6f41, one row per nibble: what is left after four shifts. */
static const uint32_t nibble_table[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t hv_crc32c_plain(uint32_t crc, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= at[i];
        crc = nibble_table[crc & 15] ^ (crc >> 4);
        crc = nibble_table[crc & 15] ^ (crc >> 4);
    }
    return ~crc;
}

bool hv_crc32c_has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

/* Intel SDM volume 2, CRC32: its polynomial is this one. */
__attribute__((target("sse4.2"))) uint32_t hv_crc32c_instruction(uint32_t crc, const void *bytes,
                                                                 size_t length)
{
    const uint8_t *at = bytes;
    uint64_t sum = (uint32_t)~crc, word;

    for (; length >= sizeof(word); length -= sizeof(word), at += sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        sum = __builtin_ia32_crc32di(sum, word);
    }
    while (length--)
        sum = __builtin_ia32_crc32qi((uint32_t)sum, *at++);
    return ~(uint32_t)sum;
}

uint32_t hv_crc32c(uint32_t crc, const void *bytes, size_t length)
{
    return hv_crc32c_has_instruction() ? hv_crc32c_instruction(crc, bytes, length)
                                       : hv_crc32c_plain(crc, bytes, length);
}
