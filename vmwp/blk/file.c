/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/blk/file_priv.h"

#include "hvcore/base/arith.h"

#include <string.h>

enum { PIECES = 64, PATCHES_MAX = 16 * 1024 };

int blk_file_init_ops(struct blk_file *file, const struct blk_file_ops *ops, void *opaque,
                      const char *path, uint64_t bytes)
{
    memset(file, 0, sizeof(*file));
    file->path = strdup(path);
    if (!file->path)
        return -ENOMEM;
    file->ops = ops;
    file->opaque = opaque;
    file->inode = (uintptr_t)opaque;
    file->bytes = bytes;
    return 0;
}

void blk_file_drop_patches(struct blk_file *file)
{
    if (!file->n_patches)
        return;
    for (size_t i = 0; i < file->n_patches; i++)
        free(file->patches[i].data);
    free(file->patches);
    file->patches = NULL;
    file->n_patches = 0;
    file->bytes = file->unpatched_bytes;
}

void blk_file_release(struct blk_file *file)
{
    blk_file_drop_patches(file);
    free(file->path);
    memset(file, 0, sizeof(*file));
}

void blk_file_fini(struct blk_file *file)
{
    if (file->ops)
        file->ops->close(file->opaque);
    blk_file_release(file);
}

int blk_file_patch(struct blk_file *file, uint64_t offset, uint64_t bytes, uint8_t *data)
{
    struct blk_patch *grown = file->patches;

    if (file->n_patches == PATCHES_MAX) {
        free(data);
        return -E2BIG;
    }
    if (!(file->n_patches & (file->n_patches - 1)))
        grown = realloc(grown, (file->n_patches ? 2 * file->n_patches : 1) * sizeof(*grown));
    if (!grown) {
        free(data);
        return -ENOMEM;
    }
    if (!file->n_patches)
        file->unpatched_bytes = file->bytes;
    file->patches = grown;
    grown[file->n_patches++] = (struct blk_patch){ .offset = offset, .bytes = bytes, .data = data };
    if (offset + bytes > file->bytes)
        file->bytes = offset + bytes;
    return 0;
}

static void patch_one(const struct blk_patch *patch, uint64_t offset, struct blk_iter at,
                      uint64_t bytes)
{
    uint64_t first = patch->offset > offset ? patch->offset : offset;
    uint64_t patch_end = patch->offset + patch->bytes, end = offset + bytes;

    if (patch_end < end)
        end = patch_end;
    if (first >= end)
        return;
    blk_iter_skip(&at, first - offset);
    blk_iter_fill(&at, patch->data ? patch->data + (first - patch->offset) : NULL, end - first);
}

/* The part of a read that the file itself can't have: only patches made the file longer. */
static int read_short(struct blk_file *file, uint64_t offset, struct blk_iter *iter, uint64_t bytes)
{
    if (!file->n_patches || !hv_range_within(offset, bytes, file->bytes))
        return -EIO;
    blk_iter_fill(iter, NULL, bytes);
    return 0;
}

static int read_all(struct blk_file *file, uint64_t offset, struct blk_iter *iter, uint64_t bytes)
{
    while (bytes > 0) {
        struct blk_iter next = *iter;
        struct iovec pieces[PIECES];
        uint64_t wanted;
        unsigned n = blk_iter_take(&next, bytes, pieces, PIECES, &wanted);
        ssize_t done;

        if (!n)
            return -EINVAL;
        done = file->ops->preadv(file->opaque, pieces, (int)n, offset);
        if (done == -EINTR)
            continue;
        if (done < 0)
            return (int)done;
        if (done == 0)
            return read_short(file, offset, iter, bytes);
        blk_iter_skip(iter, (uint64_t)done);
        offset += (uint64_t)done;
        bytes -= (uint64_t)done;
    }
    return 0;
}

int blk_file_readv(struct blk_file *file, uint64_t offset, struct blk_iter *iter, uint64_t bytes)
{
    struct blk_iter start = *iter;
    int r;

    r = read_all(file, offset, iter, bytes);
    if (r < 0)
        return r;
    for (size_t i = 0; i < file->n_patches; i++)
        patch_one(&file->patches[i], offset, start, bytes);
    return 0;
}

int blk_file_read(struct blk_file *file, uint64_t offset, void *ret, size_t bytes)
{
    struct iovec iov = { .iov_base = ret, .iov_len = bytes };
    struct blk_iter iter = { .iov = &iov, .n_iov = 1 };

    return blk_file_readv(file, offset, &iter, bytes);
}

static void note_end(struct blk_file *file, uint64_t end)
{
    uint64_t bytes = file->bytes;

    while (end > bytes) {
        if (atomic_compare_exchange_weak(&file->bytes, &bytes, end)) {
            file->is_grown = true;
            return;
        }
    }
}

/*
 * What became of a synced write that failed. The host may have dropped what was written before, and
 * says so once: a failed sync, unless it is for want of room that the write fails without one, too.
 */
static int judge_dsync(struct blk_file *file, const struct iovec *pieces, unsigned n,
                       uint64_t offset, int r)
{
    bool is_room = r == -ENOSPC || r == -EDQUOT || r == -EFBIG;

    if (!is_room || file->ops->pwritev(file->opaque, pieces, (int)n, offset, false) != r)
        blk_file_fail(file, r);
    return r;
}

int blk_file_writev(struct blk_file *file, uint64_t offset, struct blk_iter *iter, uint64_t bytes,
                    bool is_dsync)
{
    if (file->failure)
        return file->failure;
    while (bytes > 0) {
        struct blk_iter next = *iter;
        struct iovec pieces[PIECES];
        uint64_t wanted;
        unsigned n = blk_iter_take(&next, bytes, pieces, PIECES, &wanted);
        ssize_t done;

        if (!n)
            return -EINVAL;
        done = file->ops->pwritev(file->opaque, pieces, (int)n, offset, is_dsync);
        if (done < 0 && is_dsync)
            return judge_dsync(file, pieces, n, offset, (int)done);
        if (done == -EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? (int)done : -EIO;
        blk_iter_skip(iter, (uint64_t)done);
        offset += (uint64_t)done;
        bytes -= (uint64_t)done;
        note_end(file, offset);
    }
    return 0;
}

int blk_file_write(struct blk_file *file, uint64_t offset, const void *from, size_t bytes)
{
    struct iovec iov = { .iov_base = (void *)(uintptr_t)from, .iov_len = bytes };
    struct blk_iter iter = { .iov = &iov, .n_iov = 1 };

    return blk_file_writev(file, offset, &iter, bytes, false);
}

static int write_zeroes(struct blk_file *file, uint64_t offset, uint64_t bytes)
{
    static const uint8_t zeroes[64 * 1024];
    int r = 0;

    while (bytes > 0 && r == 0) {
        size_t step = bytes < sizeof(zeroes) ? (size_t)bytes : sizeof(zeroes);

        r = blk_file_write(file, offset, zeroes, step);
        offset += step;
        bytes -= step;
    }
    return r;
}

int blk_file_zero(struct blk_file *file, uint64_t offset, uint64_t bytes, bool is_given_back)
{
    int r;

    if (file->failure)
        return file->failure;
    r = file->ops->zero(file->opaque, offset, bytes, is_given_back);
    if (r != -EOPNOTSUPP)
        return r;
    return write_zeroes(file, offset, bytes);
}

int blk_file_reserve(struct blk_file *file, uint64_t offset, uint64_t bytes)
{
    int r = file->ops->zero(file->opaque, offset, bytes, false);

    return r == -EOPNOTSUPP ? 0 : r;
}

int blk_file_discard(struct blk_file *file, uint64_t offset, uint64_t bytes)
{
    int r = file->failure;

    if (!r)
        r = file->ops->zero(file->opaque, offset, bytes, true);
    return r == -EOPNOTSUPP ? 0 : r;
}

int blk_file_sync(struct blk_file *file)
{
    int r;

    if (file->failure)
        return file->failure;
    r = file->ops->sync(file->opaque, atomic_exchange(&file->is_grown, false));
    if (r < 0)
        blk_file_fail(file, r);
    return r;
}

void blk_file_fail(struct blk_file *file, int r)
{
    int none = 0;

    (void)atomic_compare_exchange_strong(&file->failure, &none, r);
}

int blk_file_truncate(struct blk_file *file, uint64_t bytes)
{
    int r;

    if (file->failure)
        return file->failure;
    r = file->ops->truncate(file->opaque, bytes);
    if (r < 0)
        return r;
    file->bytes = bytes;
    file->is_grown = true;
    return 0;
}

int blk_file_find_data(struct blk_file *file, uint64_t offset, uint64_t *ret)
{
    uint8_t last;
    int r;

    if (file->n_patches) {
        *ret = offset;
        return 0;
    }
    r = file->ops->find_data(file->opaque, offset, ret);
    if (r != -ENXIO || !file->bytes)
        return r;
    /* Somebody may have cut the file: what is missing then is no hole. */
    r = blk_file_read(file, file->bytes - 1, &last, sizeof(last));
    return r < 0 ? r : -ENXIO;
}
