/* SPDX-License-Identifier: Apache-2.0 */
/* The file's form: what writer and reader share. */
#pragma once

#include "vmwp/state/parts.h"
#include "vmwp/state/state.h"

#define STATE_MAGIC UINT64_C(0x3130455641535648) /* "HVSAVE01" */
#define STATE_MARK  STATE_ID('H', 'V', 's', 'c')

#define STATE_HEAD STATE_ID('H', 'E', 'A', 'D')
#define STATE_RAM  STATE_ID('R', 'A', 'M', ' ')
#define STATE_END  STATE_ID('E', 'N', 'D', ' ')

enum {
    STATE_VERSION = 1,
    STATE_HEAD_VERSION = 1,
    STATE_RAM_VERSION = 1,
    STATE_END_VERSION = 1,
    STATE_FILE_BYTES = 16,  /* before the first chunk */
    STATE_CHUNK_BYTES = 24, /* before a chunk's payload */
    STATE_CRC_BYTES = 20,   /* of those, the part that the checksum covers */
    STATE_PIECE_PAGES = 256,
    STATE_PIECE_BYTES = STATE_PIECE_PAGES * HV_PAGE_BYTES,
    STATE_MAP_BYTES = STATE_PIECE_PAGES / 8, /* which pages of a piece are there */
    STATE_PIECE_HEAD_BYTES = 8 + STATE_MAP_BYTES,
};

enum { STATE_REQUIRED = 1 };

#define STATE_MAX_GPA (UINT64_C(1) << 40)

/* What stands before a payload. */
struct state_chunk {
    uint32_t id;
    uint16_t version;
    uint16_t flags;
    uint32_t instance;
    uint32_t bytes;
    uint32_t crc;
};

/* What END tells of all before it. */
struct state_totals {
    uint64_t n_chunks;
    uint64_t bytes;
    uint64_t n_pages;
};

/* The fields of HEAD and END, both ways. */
void state_visit_head(struct hv_fields *fields, struct state_head *head);
void state_visit_totals(struct hv_fields *fields, struct state_totals *totals);

/* The checksum of a chunk whose first STATE_CRC_BYTES are given. */
uint32_t state_chunk_crc(const uint8_t head[static STATE_CRC_BYTES], const void *payload,
                         size_t bytes);

/* Read or write all of it, whatever interrupts. 0, -EIO (the file ended) or an errno. */
int state_pread(int fd, void *ret, size_t bytes, uint64_t offset);
int state_pwrite(int fd, const void *from, size_t bytes, uint64_t offset);
