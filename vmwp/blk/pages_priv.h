/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of an image's tables, read when they are needed and kept while they are changed.
 *
 * lock: the owner's, around every call. A page's address is good until that lock is dropped. Pages
 *       that were changed, or are on their way into the file, are never dropped; of the others
 *       at most some thousands are kept.
 */
#pragma once

#include "vmwp/blk/file_priv.h"

struct blk_page {
    uint64_t offset; /* in the file */
    struct blk_page *next;
    bool is_dirty;
    bool is_leaving; /* in a copy that is not yet in the file */
    uint8_t bytes[];
};

struct blk_pages {
    struct blk_file *file; /* the layer's; set by the caller */
    unsigned page_bytes;
    unsigned n_dirty, n_leaving;
    size_t n_pages, n_pages_max, n_buckets;
    struct blk_page **buckets;
};

/* Dirty pages as they were when they were taken. */
struct blk_pages_copy {
    unsigned n_pages;
    uint64_t *offsets;
    uint8_t *bytes;
};

int blk_pages_init(struct blk_pages *pages, struct blk_file *file, unsigned page_bytes,
                   size_t n_pages_max);
void blk_pages_fini(struct blk_pages *pages);

/* The page that has byte `offset` of the file; read if it isn't here. */
int blk_pages_get(struct blk_pages *pages, uint64_t offset, struct blk_page **ret);
void blk_pages_touch(struct blk_pages *pages, struct blk_page *page);

/* Take all dirty pages' bytes; they are clean then, and stay until blk_pages_arrived. */
int blk_pages_take(struct blk_pages *pages, struct blk_pages_copy *ret);
void blk_pages_arrived(struct blk_pages *pages, const struct blk_pages_copy *copy);
void blk_pages_copy_fini(struct blk_pages_copy *copy);
