/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VHD image. All its numbers are big endian.
 *
 * There is no log: a new block is written, synced, and then its table entry, which lies in one
 * sector. Blocks are only ever added, at the end, where the footer was; a copy of the footer at the
 * start of the file is what counts when a crash took the one at the end.
 *
 * lock: layer.use, alloc, commits, meta, as for VHDX; nothing takes `use` for writing.
 * spec: Virtual Hard Disk Image Format Specification, version 1.0 (2006)
 */
#pragma once

#include "vmwp/blk/commits_priv.h"
#include "vmwp/blk/layer_priv.h"
#include "vmwp/blk/pages_priv.h"

enum {
    VHD_SECTOR = 512,
    VHD_FOOTER_BYTES = 512,
    VHD_HEADER_BYTES = 1024,
    VHD_LOCATORS = 8,
    VHD_BLOCK_MIN = 256 * 1024,
    VHD_BLOCK_MAX = 256 * 1024 * 1024,
    VHD_TYPE_FIXED = 2,
    VHD_TYPE_DYNAMIC = 3,
    VHD_TYPE_DIFFERENCING = 4,
    VHD_PAGES_MAX = 32 * 1024 /* of tables, kept or changed */
};

#define VHD_NO_BLOCK UINT32_C(0xffffffff)
#define VHD_NO_DATA  UINT64_MAX

struct vhd_footer {
    uint64_t data_offset; /* of the dynamic header, VHD_NO_DATA for fixed */
    uint32_t timestamp;
    char creator[4];
    uint64_t bytes;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t type;
    struct hv_guid id;
    uint8_t raw[VHD_FOOTER_BYTES]; /* as it is, or is to be, in the file: all that we don't know of
                                      stays as it was */
};

struct vhd_header {
    uint64_t bat_offset;
    uint32_t n_entries;
    uint32_t block_bytes;
    struct hv_guid parent_id;
    uint32_t parent_timestamp;
};

struct vhd_range {
    uint64_t offset, bytes;
};

struct vhd {
    struct blk_layer layer;
    struct vhd_footer footer;
    struct vhd_header header;
    uint64_t n_blocks;                       /* of the disk; header.n_entries may be more */
    uint32_t bitmap_bytes;                   /* before each block's payload */
    struct vhd_range locators[VHD_LOCATORS]; /* where paths of the parent are; 0 bytes: none */
    bool is_end_damaged, is_start_damaged;   /* footer or its copy; repaired when writable */

    pthread_mutex_t alloc;
    uint64_t data_end; /* where the footer is, and the next block goes */

    struct blk_commits commits;
    atomic_bool is_changed;

    pthread_mutex_t meta;
    struct blk_pages pages;
};

static inline struct vhd *vhd_of(struct blk_layer *layer)
{
    return HV_CONTAINER_OF(layer, struct vhd, layer);
}

static inline void vhd_put16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static inline void vhd_put32(uint8_t *at, uint32_t v)
{
    vhd_put16(at, (uint16_t)(v >> 16));
    vhd_put16(at + 2, (uint16_t)v);
}

static inline void vhd_put64(uint8_t *at, uint64_t v)
{
    vhd_put32(at, (uint32_t)(v >> 32));
    vhd_put32(at + 4, (uint32_t)v);
}

static inline uint32_t vhd_get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t vhd_get64(const uint8_t *at)
{
    return (uint64_t)vhd_get32(at) << 32 | vhd_get32(at + 4);
}

/* vhd_footer.c */
int vhd_footer_read(struct vhd *v, struct blk_report *report);
/* raw, with data_offset and the checksum brought up to date. */
void vhd_footer_format(const struct vhd_footer *footer, uint8_t ret[static VHD_FOOTER_BYTES]);
/* A footer for a new disk: identity, time and geometry filled in. */
int vhd_footer_new(uint64_t bytes, uint32_t type, struct vhd_footer *ret);
void vhd_footer_set_size(struct vhd_footer *footer, uint64_t bytes);
/* Sum of the bytes, inverted; the checksum's own field left out. */
uint32_t vhd_checksum(const uint8_t *bytes, size_t length, size_t own_field);
/* Write the footer at the end (v->data_end), and its copy. */
int vhd_footer_write(struct vhd *v, bool is_copy_too);

/* vhd_header.c */
int vhd_header_read(struct vhd *v, struct blk_report *report);
/* ret: header and, from VHD_HEADER_BYTES on, what its locators point to when the whole lies at
 * `offset` of the file. parent: NULL for dynamic. *ret_bytes: whole sectors. */
int vhd_header_build(const struct vhd_header *header, const struct blk_probe *parent,
                     const char *relative, const char *absolute, uint64_t offset, uint8_t *ret,
                     size_t ret_max, size_t *ret_bytes);
enum { VHD_HEADER_BUILD_MAX = 32 * 1024 };
uint32_t vhd_bitmap_bytes(uint32_t block_bytes);

/* vhd_bat.c; lock: meta */
int vhd_bat_get(struct vhd *v, uint64_t block, uint64_t *ret_offset); /* 0: absent */
int vhd_bat_set(struct vhd *v, uint64_t block, uint64_t offset);      /* 0: absent */
int vhd_bat_scan(struct vhd *v, struct blk_report *report, uint64_t *ret_allocated);
/* bits: sectors in a block, most significant first */
int vhd_bits_run(struct vhd *v, uint64_t block_offset, uint64_t sector, uint64_t n_sectors,
                 bool *ret_is_set, uint64_t *ret_run);
int vhd_bits_set(struct vhd *v, uint64_t block_offset, uint64_t sector, uint64_t n_sectors);

/* vhd_commit.c */
int vhd_commit(struct vhd *v);

/* vhd_io.c */
extern const struct blk_layer_ops vhd_ops, vhd_fixed_ops;

/* vhd_open.c */
int vhd_open(struct blk_file *file, unsigned flags, struct blk_report *report, struct vhd **ret,
             uint64_t *ret_allocated);
