/* SPDX-License-Identifier: Apache-2.0 */
/* A range of a disk, block by block. */
#pragma once

#include <stdint.h>

/* The part of a range that lies in one block. */
struct blk_piece {
    uint64_t block, in_block, bytes;
};

static inline struct blk_piece blk_piece_at(uint32_t block_bytes, uint64_t offset, uint64_t bytes)
{
    struct blk_piece piece = { .block = offset / block_bytes, .in_block = offset % block_bytes };

    piece.bytes = block_bytes - piece.in_block < bytes ? block_bytes - piece.in_block : bytes;
    return piece;
}

/* Returns 0 to go on. */
typedef int blk_piece_fn(void *opaque, const struct blk_piece *piece);

/* Each piece of the range in turn, until one goes wrong. */
static inline int blk_pieces_do(uint32_t block_bytes, uint64_t offset, uint64_t bytes,
                                blk_piece_fn *fn, void *opaque)
{
    int r = 0;

    while (r == 0 && bytes > 0) {
        struct blk_piece piece = blk_piece_at(block_bytes, offset, bytes);

        r = fn(opaque, &piece);
        offset += piece.bytes;
        bytes -= piece.bytes;
    }
    return r;
}
