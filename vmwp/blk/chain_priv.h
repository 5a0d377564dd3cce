/* SPDX-License-Identifier: Apache-2.0 */
/* A disk is a chain of layers, the top one first. */
#pragma once

#include "vmwp/blk/layer_priv.h"

struct blk_disk {
    struct blk_layer *layers[BLK_CHAIN_MAX];
    unsigned n_layers;
    struct blk_info info;
};

/* Over files that are open; on success they have moved, on failure they are the caller's. */
int blk_disk_open_files(struct blk_file *files, const enum blk_format *formats, unsigned n_files,
                        unsigned flags, struct blk_disk **ret, struct hv_error **reterr);

/* What is at `offset` in the chain, DATA or ZERO, for how long (1 to `bytes`). No lock is held when
 * it returns: for disks that nobody writes to. */
int blk_disk_map(struct blk_disk *disk, uint64_t offset, uint64_t bytes, struct blk_extent *ret);

/* Free the disk; is_fd_kept: its descriptors remain open. */
int blk_disk_end(struct blk_disk *disk, bool is_fd_kept);

static inline void blk_disk_closep(struct blk_disk **disk)
{
    *disk = blk_disk_close(*disk);
}
