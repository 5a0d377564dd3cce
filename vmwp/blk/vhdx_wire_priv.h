/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of the VHDX format: places, sizes, signatures, identifiers. spec: MS-VHDX section 2 */
#pragma once

#include "hvcore/base/guid.h"

#include <stdint.h>
#include <string.h>

#define VHDX_MIB         UINT64_C(0x100000)
#define VHDX_FILE_MAX    (UINT64_C(1) << 47) /* ours: twice the largest disk */
#define VHDX_LOG_MAX     (UINT64_C(1) << 30)
#define VHDX_OFFSET_MASK (~(VHDX_MIB - 1)) /* of a BAT entry; 2.5.1 */
#define VHDX_RESERVED    UINT64_C(0xffff8)

enum {
    VHDX_PAGE = 4096,                /* what a log entry moves: 2.3.1 */
    VHDX_HEADER_AT = 64 * 1024,      /* and at twice that: 2.2 */
    VHDX_REGIONS_AT = 192 * 1024,    /* and 64 KiB after it */
    VHDX_TABLE_BYTES = 64 * 1024,    /* region table, metadata table */
    VHDX_ENTRIES_MAX = 2047,         /* of either table */
    VHDX_ENTRY_BYTES = 32,           /* of either table, and a log descriptor */
    VHDX_LOG_HEADER_BYTES = 64,      /* 2.3.1.1 */
    VHDX_BITMAP_BLOCK = 1024 * 1024, /* 2.4: covers VHDX_CHUNK_SECTORS sectors */
    VHDX_CHUNK_SECTORS = 1 << 23,
    VHDX_ITEM_MAX = 1024 * 1024,
    VHDX_BLOCK_MIN = 1024 * 1024,
    VHDX_BLOCK_MAX = 256 * 1024 * 1024
};

/* 2.5.1.1 payload blocks; a sector bitmap block is NOT_PRESENT or FULL. 4 and 5 are nothing. */
enum vhdx_state {
    VHDX_NOT_PRESENT = 0,
    VHDX_UNDEFINED = 1,
    VHDX_ZERO = 2,
    VHDX_UNMAPPED = 3,
    VHDX_FULL = 6,
    VHDX_PARTIAL = 7
};

enum { /* 2.6.2.1 file parameters, 2.6.1.2 flags of a metadata entry, 2.2.3.2 of a region */
       VHDX_LEAVE_ALLOCATED = 1 << 0,
       VHDX_HAS_PARENT = 1 << 1,
       VHDX_META_IS_USER = 1 << 0,
       VHDX_META_IS_DISK = 1 << 1,
       VHDX_META_IS_REQUIRED = 1 << 2,
       VHDX_REGION_IS_REQUIRED = 1 << 0
};

/* 2DC27766-F623-4200-9D64-115E9BFD4A08 */
__attribute__((unused)) static const struct hv_guid VHDX_REGION_BAT = {
    { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a,
      0x08 }
};
/* 8B7CA206-4790-4B9A-B8FE-575F050F886E */
__attribute__((unused)) static const struct hv_guid VHDX_REGION_META = {
    { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88,
      0x6e }
};
/* CAA16737-FA36-4D43-B3B6-33F0AA44E76B */
__attribute__((unused)) static const struct hv_guid VHDX_ITEM_PARAMETERS = {
    { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7,
      0x6b }
};
/* 2FA54224-CD1B-4876-B211-5DBED83BF4B8 */
__attribute__((unused)) static const struct hv_guid VHDX_ITEM_SIZE = {
    { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4,
      0xb8 }
};
/* BECA12AB-B2E6-4523-93EF-C309E000C746 */
__attribute__((unused)) static const struct hv_guid VHDX_ITEM_PAGE83 = {
    { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7,
      0x46 }
};
/* 8141BF1D-A96F-4709-BA47-F233A8FAAB5F */
__attribute__((unused)) static const struct hv_guid VHDX_ITEM_LOGICAL = {
    { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab,
      0x5f }
};
/* CDA348C7-445D-4471-9CC9-E9885251C556 */
__attribute__((unused)) static const struct hv_guid VHDX_ITEM_PHYSICAL = {
    { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5,
      0x56 }
};
/* A8D35F2D-B30B-454D-ABF7-D3D84834AB0C */
__attribute__((unused)) static const struct hv_guid VHDX_ITEM_LOCATOR = {
    { 0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab,
      0x0c }
};
/* B04AEFB7-D19E-4A81-B789-25B8E9445913 */
__attribute__((unused)) static const struct hv_guid VHDX_LOCATOR_TYPE = {
    { 0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59,
      0x13 }
};

static inline void vhdx_put16(uint8_t *at, uint16_t v)
{
    memcpy(at, &v, sizeof(v));
}

static inline void vhdx_put32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, sizeof(v));
}

static inline void vhdx_put64(uint8_t *at, uint64_t v)
{
    memcpy(at, &v, sizeof(v));
}

static inline uint32_t vhdx_get32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof(v));
    return v;
}

static inline uint64_t vhdx_get64(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof(v));
    return v;
}
