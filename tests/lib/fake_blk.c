/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_blk.h"

#include "hvcore/base/arith.h"

#include <string.h>

struct blk_disk *fake_disk_new(uint64_t bytes, uint32_t logical_bytes)
{
    struct blk_disk *disk = calloc(1, sizeof(*disk));

    hv_assert(disk);
    disk->info = (struct blk_info){ .format = BLK_FORMAT_RAW,
                                    .kind = BLK_KIND_FIXED,
                                    .bytes = bytes,
                                    .logical_bytes = logical_bytes,
                                    .physical_bytes = 4096,
                                    .can_discard = true };
    for (unsigned i = 0; i < sizeof(disk->info.identity); i++)
        disk->info.identity[i] = (uint8_t)(0xa0 + i);
    disk->bytes = calloc(1, bytes);
    hv_assert(disk->bytes);
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->change, NULL);
    return disk;
}

struct blk_disk *blk_disk_close(struct blk_disk *disk)
{
    if (!disk)
        return NULL;
    pthread_cond_destroy(&disk->change);
    pthread_mutex_destroy(&disk->lock);
    free(disk->bytes);
    free(disk);
    return NULL;
}

void fake_disk_hold(struct blk_disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    disk->is_held = true;
    pthread_mutex_unlock(&disk->lock);
}

void fake_disk_release(struct blk_disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    disk->is_held = false;
    pthread_cond_broadcast(&disk->change);
    pthread_mutex_unlock(&disk->lock);
}

void fake_disk_await_inside(struct blk_disk *disk, unsigned n)
{
    pthread_mutex_lock(&disk->lock);
    while (atomic_load(&disk->n_inside) < n)
        pthread_cond_wait(&disk->change, &disk->lock);
    pthread_mutex_unlock(&disk->lock);
}

static void enter(struct blk_disk *disk)
{
    unsigned n;

    pthread_mutex_lock(&disk->lock);
    n = atomic_fetch_add(&disk->n_inside, 1) + 1;
    if (n > atomic_load(&disk->max_inside))
        atomic_store(&disk->max_inside, n);
    pthread_cond_broadcast(&disk->change);
    while (disk->is_held)
        pthread_cond_wait(&disk->change, &disk->lock);
    pthread_mutex_unlock(&disk->lock);
    if (disk->delay_us)
        usleep(disk->delay_us);
}

static int leave(struct blk_disk *disk, int r)
{
    pthread_mutex_lock(&disk->lock);
    atomic_fetch_sub(&disk->n_inside, 1);
    pthread_cond_broadcast(&disk->change);
    pthread_mutex_unlock(&disk->lock);
    return r;
}

static bool is_inside(const struct blk_disk *disk, uint64_t offset, uint64_t bytes)
{
    return hv_range_within(offset, bytes, disk->info.bytes) &&
           !((offset | bytes) % disk->info.logical_bytes);
}

static uint64_t sum_of(const struct iovec *iov, unsigned n_iov)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n_iov; i++)
        sum += iov[i].iov_len;
    return sum;
}

void blk_disk_get_info(const struct blk_disk *disk, struct blk_info *ret)
{
    *ret = disk->info;
}

int blk_disk_read(struct blk_disk *disk, uint64_t offset, const struct iovec *iov, unsigned n_iov)
{
    uint8_t *at = disk->bytes + offset;

    enter(disk);
    atomic_fetch_add(&disk->n_reads, 1);
    if (disk->fail_r || !is_inside(disk, offset, sum_of(iov, n_iov)))
        return leave(disk, disk->fail_r ? disk->fail_r : -EINVAL);
    for (unsigned i = 0; i < n_iov; at += iov[i].iov_len, i++)
        memcpy(iov[i].iov_base, at, iov[i].iov_len);
    return leave(disk, 0);
}

int blk_disk_write(struct blk_disk *disk, uint64_t offset, const struct iovec *iov, unsigned n_iov,
                   bool is_fua)
{
    uint8_t *at = disk->bytes + offset;

    enter(disk);
    if (disk->fail_r || !is_inside(disk, offset, sum_of(iov, n_iov)))
        return leave(disk, disk->fail_r ? disk->fail_r : -EINVAL);
    for (unsigned i = 0; i < n_iov; at += iov[i].iov_len, i++)
        memcpy(at, iov[i].iov_base, iov[i].iov_len);
    atomic_fetch_add(&disk->n_writes, 1);
    atomic_fetch_add(&disk->n_fua, is_fua);
    return leave(disk, 0);
}

int blk_disk_zero(struct blk_disk *disk, uint64_t offset, uint64_t bytes)
{
    enter(disk);
    if (disk->fail_r || !is_inside(disk, offset, bytes))
        return leave(disk, disk->fail_r ? disk->fail_r : -EINVAL);
    memset(disk->bytes + offset, 0, bytes);
    atomic_fetch_add(&disk->n_zeroed, 1);
    return leave(disk, 0);
}

int blk_disk_discard(struct blk_disk *disk, uint64_t offset, uint64_t bytes)
{
    enter(disk);
    if (disk->fail_r || !is_inside(disk, offset, bytes))
        return leave(disk, disk->fail_r ? disk->fail_r : -EINVAL);
    memset(disk->bytes + offset, 0, bytes);
    atomic_fetch_add(&disk->n_discards, 1);
    return leave(disk, 0);
}

bool blk_disk_has_failed(const struct blk_disk *disk)
{
    return disk->has_failed;
}

int blk_disk_flush(struct blk_disk *disk)
{
    unsigned n = atomic_load(&disk->n_writes);

    enter(disk);
    if (disk->fail_flush_r)
        return leave(disk, disk->fail_flush_r);
    atomic_store(&disk->n_durable, n);
    atomic_fetch_add(&disk->n_flushes, 1);
    return leave(disk, 0);
}
