/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory behind vmwp/blk/disk.h, for those who plug a disk: it fails, waits and counts as
 * a test wants. Linked in the place of vmwp/blk.
 */
#pragma once

#include "vmwp/blk/disk.h"

#include <pthread.h>
#include <stdatomic.h>

struct blk_disk {
    /* public: set while nothing runs */
    struct blk_info info;
    uint8_t *bytes;    /* info.bytes */
    int fail_r;        /* what reads, writes, zeroing and discards return, when it isn't 0 */
    int fail_flush_r;  /* the same for flushes */
    bool has_failed;   /* what blk_disk_has_failed says */
    unsigned delay_us; /* of every access */
    /* read only */
    atomic_uint n_reads, n_writes, n_fua, n_flushes, n_zeroed, n_discards;
    atomic_uint n_inside, max_inside; /* accesses at the same time */
    atomic_uint n_durable;            /* writes that the last flush found done */
    /* private */
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool is_held;
};

/* A disk of zeroes. Aborts when there is no memory. */
struct blk_disk *fake_disk_new(uint64_t bytes, uint32_t logical_bytes);
/* While it is held every access waits. */
void fake_disk_hold(struct blk_disk *disk);
void fake_disk_release(struct blk_disk *disk);
/* Wait until `n` accesses are inside. */
void fake_disk_await_inside(struct blk_disk *disk, unsigned n);
