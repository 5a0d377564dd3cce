/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/blk/commits_priv.h"

void blk_commits_init(struct blk_commits *commits)
{
    (void)pthread_mutex_init(&commits->lock, NULL);
    commits->n_begun = commits->n_done = 0;
}

void blk_commits_fini(struct blk_commits *commits)
{
    (void)pthread_mutex_destroy(&commits->lock);
}

void blk_commits_lock(struct blk_commits *commits)
{
    (void)pthread_mutex_lock(&commits->lock);
}

void blk_commits_unlock(struct blk_commits *commits)
{
    (void)pthread_mutex_unlock(&commits->lock);
}

int blk_commits_do(struct blk_commits *commits, const struct blk_file *file,
                   int (*commit)(void *opaque), void *opaque)
{
    /* Before the lock is waited for, and atomically: every commit that has not begun by now will
     * have the caller's changes. One that is not seen yet has not synced yet either, for what it
     * does after its number is ordered behind it. */
    uint64_t seen = commits->n_begun;
    int r;

    blk_commits_lock(commits);
    if (file->failure) {
        r = file->failure;
    } else if (commits->n_done > seen) {
        r = 0;
    } else {
        uint64_t number = ++commits->n_begun;

        r = commit(opaque);
        if (r == 0)
            commits->n_done = number;
    }
    blk_commits_unlock(commits);
    return r;
}
