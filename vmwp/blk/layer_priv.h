/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One opened image of a chain: where its bytes are, and how it takes new ones.
 *
 * lock: `use` is held for reading around every map and the I/O it led to; a format takes it for
 *       writing where space changes its meaning (a block is freed). It is the outermost lock.
 */
#pragma once

#include "vmwp/blk/file_priv.h"
#include "vmwp/blk/report_priv.h"

#include <pthread.h>

enum blk_extent_state {
    BLK_EXTENT_DATA,  /* at file_offset */
    BLK_EXTENT_ZERO,  /* zeroes, whatever parents have */
    BLK_EXTENT_ABSENT /* the parent's, or zeroes where there is none */
};

struct blk_extent {
    enum blk_extent_state state;
    uint64_t file_offset;
    uint64_t bytes;
};

struct blk_layer;

/* Ranges are inside the disk and aligned to logical sectors; all may be called by many threads.
 * NULL for write, zero, discard where a format never is writable. */
struct blk_layer_ops {
    /* What is at `offset`, for how long (1 to `bytes`). Called with `use` held for reading. */
    int (*map)(struct blk_layer *layer, uint64_t offset, uint64_t bytes, struct blk_extent *ret);
    int (*write)(struct blk_layer *layer, uint64_t offset, struct blk_iter *iter, uint64_t bytes,
                 bool is_fua);
    int (*zero)(struct blk_layer *layer, uint64_t offset, uint64_t bytes);
    int (*discard)(struct blk_layer *layer, uint64_t offset, uint64_t bytes);
    int (*flush)(struct blk_layer *layer);
    /* Flush and mark clean, when it was written to. */
    int (*finish)(struct blk_layer *layer);
    /* Free the format's own things and the layer itself, not the file. */
    void (*free)(struct blk_layer *layer);
};

struct blk_layer {
    const struct blk_layer_ops *ops;
    struct blk_file file;
    struct blk_probe probe;
    bool is_read_only;
    bool can_discard;
    pthread_rwlock_t use;
};

/* Internal flags beside BLK_OPEN_*. */
enum {
    BLK_OPEN_PROBE = 1 << 8,          /* headers alone: nothing is mapped or written afterwards */
    BLK_OPEN_KEEP_DATA_WRITE = 1 << 9 /* writing leaves the linkage for children as it is */
};

/* Fill in what all formats share. `file` moves into the layer. */
void blk_layer_init(struct blk_layer *layer, const struct blk_layer_ops *ops, struct blk_file *file,
                    unsigned flags);
void blk_layer_fini(struct blk_layer *layer);
/* Free the layer, leaving its descriptor open. */
struct blk_layer *blk_layer_free(struct blk_layer *layer);

static inline void blk_layer_freep(struct blk_layer **layer)
{
    *layer = blk_layer_free(*layer);
}

/* Open one image. On success the file has moved; on failure it is the caller's. */
typedef int blk_layer_open_fn(struct blk_file *file, unsigned flags, struct blk_report *report,
                              struct blk_layer **ret);
blk_layer_open_fn blk_raw_open, blk_vhd_open, blk_vhdx_open;

/* By format, from a table. */
int blk_layer_open(struct blk_file *file, enum blk_format format, unsigned flags,
                   struct blk_report *report, struct blk_layer **ret);

/* Make an image in an empty file. */
typedef int blk_create_fn(struct blk_file *file, const struct blk_create_options *options,
                          struct blk_report *report);
blk_create_fn blk_raw_create, blk_vhd_create, blk_vhdx_create;
int blk_create(struct blk_file *file, const struct blk_create_options *options,
               struct blk_report *report);

/* Do kind, parent and its paths fit together? */
int blk_check_parent(const struct blk_create_options *options, struct blk_report *report);

/* UTF-16 (either order of bytes) from and to UTF-8. Lengths in bytes; -EINVAL for what isn't text
 * or does not fit. from_utf16 turns '\' into '/', to_utf16 '/' into '\' when is_windows. */
int blk_from_utf16(const uint8_t *from, size_t bytes, bool is_big, char *ret, size_t ret_bytes);
int blk_to_utf16(const char *from, bool is_big, bool is_windows, uint8_t *ret, size_t ret_bytes,
                 size_t *ret_used);
