/* SPDX-License-Identifier: Apache-2.0 */
/* Commits of an image's tables, one at a time; who comes while one is under way shares the next. */
#pragma once

#include "vmwp/blk/file_priv.h"

#include <pthread.h>
#include <stdatomic.h>

struct blk_commits {
    /* private */
    pthread_mutex_t lock;
    _Atomic uint64_t n_begun;
    uint64_t n_done; /* number of the last that succeeded */
};

void blk_commits_init(struct blk_commits *commits);
void blk_commits_fini(struct blk_commits *commits);
/* What the commits' lock guards besides may be looked at and changed. */
void blk_commits_lock(struct blk_commits *commits);
void blk_commits_unlock(struct blk_commits *commits);

/* Commit, so that all that was changed before the call is durable. commit: called with the lock, or
 * not at all where another thread's has done it. Returns the file's failure where it has one. */
int blk_commits_do(struct blk_commits *commits, const struct blk_file *file,
                   int (*commit)(void *opaque), void *opaque);
