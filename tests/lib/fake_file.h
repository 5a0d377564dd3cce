/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of an image in memory: it forgets what wasn't synced when the power goes, and fails when
 * told to. Every change is recorded, so that a test can cut the power at any of them.
 */
#pragma once

#include "vmwp/blk/file_priv.h"

#include <pthread.h>

enum fake_kind { FAKE_WRITE, FAKE_TRUNCATE, FAKE_ZERO, FAKE_SYNC };

struct fake_change {
    enum fake_kind kind;
    uint64_t offset, bytes;
    bool is_durable; /* by itself: a synced write */
    uint8_t *data;
};

struct fake_file {
    /* public: -1 never; else how many of these succeed before one fails, and all after it */
    int writes_left, syncs_left, truncates_left;
    int failure; /* what the failing one returns */
    bool is_recording;
    bool has_zero; /* can make holes */
    /* read only */
    uint8_t *bytes;
    uint64_t length, capacity;
    struct fake_change *changes;
    size_t n_changes, n_changes_max;
    pthread_mutex_t lock;
};

struct fake_file *fake_file_new(void);
struct fake_file *fake_file_free(struct fake_file *fake);

/* A blk_file over it; the fake remains the caller's. */
int fake_file_open(struct fake_file *fake, const char *path, struct blk_file *ret);

/* Another file with the bytes of now. */
struct fake_file *fake_file_copy(const struct fake_file *fake);

/* Apply one recorded change to another file; whole, or (seed) only some of its sectors. */
void fake_file_apply(struct fake_file *to, const struct fake_change *change);
void fake_file_apply_torn(struct fake_file *to, const struct fake_change *change, uint64_t *seed);

/* A small generator for tests: xorshift. */
uint64_t fake_random(uint64_t *seed);
