/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_file.h"

#include <string.h>

uint64_t fake_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

struct fake_file *fake_file_new(void)
{
    struct fake_file *fake = calloc(1, sizeof(*fake));

    hv_assert(fake);
    fake->writes_left = fake->syncs_left = fake->truncates_left = -1;
    fake->failure = -EIO;
    fake->has_zero = true;
    pthread_mutex_init(&fake->lock, NULL);
    return fake;
}

struct fake_file *fake_file_free(struct fake_file *fake)
{
    if (!fake)
        return NULL;
    for (size_t i = 0; i < fake->n_changes; i++)
        free(fake->changes[i].data);
    free(fake->changes);
    free(fake->bytes);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
    return NULL;
}

struct fake_file *fake_file_copy(const struct fake_file *fake)
{
    struct fake_file *copy = fake_file_new();

    copy->capacity = fake->length;
    copy->length = fake->length;
    copy->bytes = malloc(copy->capacity ? copy->capacity : 1);
    hv_assert(copy->bytes);
    if (fake->length)
        memcpy(copy->bytes, fake->bytes, fake->length);
    return copy;
}

static void set_length(struct fake_file *fake, uint64_t length)
{
    if (length > fake->capacity) {
        uint64_t capacity = length + length / 2;

        fake->bytes = realloc(fake->bytes, capacity);
        hv_assert(fake->bytes);
        fake->capacity = capacity;
    }
    if (length > fake->length)
        memset(fake->bytes + fake->length, 0, length - fake->length);
    fake->length = length;
}

static void record(struct fake_file *fake, enum fake_kind kind, uint64_t offset, uint64_t bytes)
{
    struct fake_change *change;

    if (!fake->is_recording)
        return;
    if (fake->n_changes == fake->n_changes_max) {
        fake->n_changes_max = fake->n_changes_max ? 2 * fake->n_changes_max : 64;
        fake->changes = realloc(fake->changes, fake->n_changes_max * sizeof(*change));
        hv_assert(fake->changes);
    }
    change = &fake->changes[fake->n_changes++];
    *change = (struct fake_change){ .kind = kind, .offset = offset, .bytes = bytes };
    if (kind == FAKE_WRITE) {
        change->data = malloc(bytes);
        hv_assert(change->data);
        memcpy(change->data, fake->bytes + offset, bytes);
    }
}

static bool fails(int *left)
{
    if (*left < 0)
        return false;
    if (*left == 0)
        return true;
    (*left)--;
    return false;
}

static ssize_t fake_preadv(void *opaque, const struct iovec *iov, int n_iov, uint64_t offset)
{
    struct fake_file *fake = opaque;
    uint64_t done = 0;

    pthread_mutex_lock(&fake->lock);
    for (int i = 0; i < n_iov && offset + done < fake->length; i++) {
        uint64_t left = fake->length - offset - done;
        size_t step = iov[i].iov_len < left ? iov[i].iov_len : left;

        memcpy(iov[i].iov_base, fake->bytes + offset + done, step);
        done += step;
    }
    pthread_mutex_unlock(&fake->lock);
    return (ssize_t)done;
}

static ssize_t fake_pwritev(void *opaque, const struct iovec *iov, int n_iov, uint64_t offset,
                            bool is_dsync)
{
    struct fake_file *fake = opaque;
    uint64_t done = 0;
    bool is_failed;

    pthread_mutex_lock(&fake->lock);
    if (fails(&fake->writes_left)) {
        pthread_mutex_unlock(&fake->lock);
        return fake->failure;
    }
    for (int i = 0; i < n_iov; i++) {
        if (offset + done + iov[i].iov_len > fake->length)
            set_length(fake, offset + done + iov[i].iov_len);
        memcpy(fake->bytes + offset + done, iov[i].iov_base, iov[i].iov_len);
        done += iov[i].iov_len;
    }
    record(fake, FAKE_WRITE, offset, done);
    is_failed = is_dsync && fails(&fake->syncs_left); /* written it is, but not synced */
    if (is_dsync && !is_failed && fake->is_recording)
        fake->changes[fake->n_changes - 1].is_durable = true;
    pthread_mutex_unlock(&fake->lock);
    return is_failed ? fake->failure : (ssize_t)done;
}

static int fake_sync(void *opaque, bool is_size_changed)
{
    struct fake_file *fake = opaque;
    int r = 0;

    pthread_mutex_lock(&fake->lock);
    if (fails(&fake->syncs_left))
        r = fake->failure;
    else
        record(fake, FAKE_SYNC, 0, 0);
    pthread_mutex_unlock(&fake->lock);
    return r;
}

static int fake_truncate(void *opaque, uint64_t bytes)
{
    struct fake_file *fake = opaque;
    int r = 0;

    pthread_mutex_lock(&fake->lock);
    if (fails(&fake->truncates_left)) {
        r = fake->failure;
    } else {
        set_length(fake, bytes);
        record(fake, FAKE_TRUNCATE, bytes, 0);
    }
    pthread_mutex_unlock(&fake->lock);
    return r;
}

static void zero(struct fake_file *fake, uint64_t offset, uint64_t bytes)
{
    if (offset >= fake->length)
        return;
    memset(fake->bytes + offset, 0, bytes < fake->length - offset ? bytes : fake->length - offset);
}

static int fake_zero(void *opaque, uint64_t offset, uint64_t bytes, bool is_given_back)
{
    struct fake_file *fake = opaque;

    if (!fake->has_zero)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&fake->lock);
    zero(fake, offset, bytes);
    record(fake, FAKE_ZERO, offset, bytes);
    pthread_mutex_unlock(&fake->lock);
    return 0;
}

static int fake_find_data(void *opaque, uint64_t offset, uint64_t *ret)
{
    *ret = offset;
    return 0;
}

static void fake_close(void *opaque)
{
}

static const struct blk_file_ops fake_ops = {
    .preadv = fake_preadv,
    .pwritev = fake_pwritev,
    .sync = fake_sync,
    .truncate = fake_truncate,
    .zero = fake_zero,
    .find_data = fake_find_data,
    .close = fake_close,
};

int fake_file_open(struct fake_file *fake, const char *path, struct blk_file *ret)
{
    return blk_file_init_ops(ret, &fake_ops, fake, path, fake->length);
}

void fake_file_apply(struct fake_file *to, const struct fake_change *change)
{
    switch (change->kind) {
    case FAKE_WRITE:
        if (change->offset + change->bytes > to->length)
            set_length(to, change->offset + change->bytes);
        memcpy(to->bytes + change->offset, change->data, change->bytes);
        break;
    case FAKE_TRUNCATE: set_length(to, change->offset); break;
    case FAKE_ZERO: zero(to, change->offset, change->bytes); break;
    case FAKE_SYNC: break;
    }
}

void fake_file_apply_torn(struct fake_file *to, const struct fake_change *change, uint64_t *seed)
{
    uint64_t at = 0, kept = fake_random(seed) % 4; /* 0: none, 3: all, else by sector */

    if (kept == 0 && !change->is_durable)
        return;
    if (kept == 3 || change->is_durable || change->kind != FAKE_WRITE) {
        fake_file_apply(to, change);
        return;
    }
    while (at < change->bytes) {
        uint64_t step = 512 - (change->offset + at) % 512;
        struct fake_change part = { .kind = FAKE_WRITE, .offset = change->offset + at };

        part.bytes = step < change->bytes - at ? step : change->bytes - at;
        part.data = change->data + at;
        if (fake_random(seed) & 1)
            fake_file_apply(to, &part);
        at += part.bytes;
    }
}
