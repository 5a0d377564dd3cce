/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk: bytes addressed by offset, over an image of any format. What storage providers plug into.
 *
 * thread: read, write, discard, zero and flush may be called by any threads at the same time; a
 * format that must serialise does so itself. open and close by one thread alone.
 */
#pragma once

#include "hvcore/base/error.h"

#include <sys/uio.h>

struct blk_disk;

enum blk_format { BLK_FORMAT_RAW, BLK_FORMAT_VHD, BLK_FORMAT_VHDX };
enum blk_kind { BLK_KIND_FIXED, BLK_KIND_DYNAMIC, BLK_KIND_DIFFERENCING };

struct blk_info {
    /* read only */
    enum blk_format format;
    enum blk_kind kind;
    uint64_t bytes;          /* virtual size, a multiple of logical_bytes */
    uint32_t logical_bytes;  /* 512 or 4096 */
    uint32_t physical_bytes; /* 512 or 4096 */
    uint32_t block_bytes;    /* allocation unit of the image; 0 for fixed and raw */
    bool is_read_only;
    bool can_discard;
    uint8_t identity[16]; /* stable: VHDX page 83 data, VHD unique id, else made of the file */
};

/* What the disk is; constant while it is open. */
void blk_disk_get_info(const struct blk_disk *disk, struct blk_info *ret);

/*
 * All return 0 or a negative errno (-EIO and others of the host; -ENOSPC when the image cannot
 * grow; -EROFS; -EINVAL for a range outside the disk or not aligned to logical_bytes). iov is read
 * as it is and not changed; its bytes may be guest memory that changes meanwhile.
 */
int blk_disk_read(struct blk_disk *disk, uint64_t offset, const struct iovec *iov, unsigned n_iov);
/* is_fua: durable when it returns. */
int blk_disk_write(struct blk_disk *disk, uint64_t offset, const struct iovec *iov, unsigned n_iov,
                   bool is_fua);
/* Reads as zeroes after it (parents of a differencing disk show through no more). */
int blk_disk_zero(struct blk_disk *disk, uint64_t offset, uint64_t bytes);
/* Space is given back where that is possible; what is read afterwards is zeroes or the old data. */
int blk_disk_discard(struct blk_disk *disk, uint64_t offset, uint64_t bytes);
/* All acknowledged writes are durable when it returns. */
int blk_disk_flush(struct blk_disk *disk);

/* Has a sync failed? What was written before it may be lost although it is read back, and a later
 * sync would not tell: so all that change or flush the disk fail until it is opened anew. Any
 * thread. */
bool blk_disk_has_failed(const struct blk_disk *disk);

/* Flush, mark the image clean and free it. Takes NULL. Returns NULL. */
struct blk_disk *blk_disk_close(struct blk_disk *disk);
