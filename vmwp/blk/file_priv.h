/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of an image: whole reads and writes, a length that is known, failures that stick.
 *
 * The five things done to a file stand in a table, so that tests can put a failing or a forgetful
 * file underneath.
 */
#pragma once

#include "hvcore/base/error.h"
#include "vmwp/blk/image.h"

#include <stdatomic.h>
#include <sys/uio.h>

struct blk_file_ops {
    /* As the system calls of these names, but a negative errno instead of -1. */
    ssize_t (*preadv)(void *opaque, const struct iovec *iov, int n_iov, uint64_t offset);
    ssize_t (*pwritev)(void *opaque, const struct iovec *iov, int n_iov, uint64_t offset,
                       bool is_dsync);
    int (*sync)(void *opaque, bool is_size_changed);
    int (*truncate)(void *opaque, uint64_t bytes);
    /* Make a range read as zeroes; is_given_back: and its space free. -EOPNOTSUPP where not. */
    int (*zero)(void *opaque, uint64_t offset, uint64_t bytes, bool is_given_back);
    /* First byte at or after offset that may be no hole. -ENXIO: only holes follow. */
    int (*find_data)(void *opaque, uint64_t offset, uint64_t *ret);
    void (*close)(void *opaque);
};

/* A change that is not in the file but is to be read as if it were. */
struct blk_patch {
    uint64_t offset, bytes;
    uint8_t *data; /* owned; NULL: zeroes */
};

struct blk_file {
    const struct blk_file_ops *ops;
    void *opaque;
    char *path;
    uint64_t dev, inode;
    _Atomic uint64_t bytes;    /* length, patches counted */
    atomic_bool is_grown;      /* the length changed since the last sync */
    atomic_int failure;        /* negative errno of the first failed sync: all later ones fail */
    uint64_t unpatched_bytes;  /* length without patches */
    struct blk_patch *patches; /* in order of application; later ones win */
    size_t n_patches;
};

/* Walks an iovec that it doesn't change. */
struct blk_iter {
    const struct iovec *iov;
    unsigned n_iov;
    size_t skip; /* of iov[0] */
};

/* Take the next bytes, at most `max` pieces; returns how many, and how many bytes they have. */
unsigned blk_iter_take(struct blk_iter *iter, uint64_t bytes, struct iovec *ret, unsigned max,
                       uint64_t *ret_bytes);
void blk_iter_skip(struct blk_iter *iter, uint64_t bytes);
/* Copy (from NULL: zeroes) into the next bytes. */
void blk_iter_fill(struct blk_iter *iter, const void *from, uint64_t bytes);
/* All bytes of an iovec; -EINVAL where the sum overflows. */
int blk_iov_bytes(const struct iovec *iov, unsigned n_iov, uint64_t *ret);

/* Over a descriptor: regular file or block device; anything else is refused. fd is owned once
 * blk_file_fini is called, unless blk_file_release was. */
int blk_file_init(struct blk_file *file, int fd, const char *path, struct hv_error **reterr);
/* Over a table of a test's. Takes nothing over. */
int blk_file_init_ops(struct blk_file *file, const struct blk_file_ops *ops, void *opaque,
                      const char *path, uint64_t bytes);
/* Free all but leave the descriptor open. */
void blk_file_release(struct blk_file *file);
void blk_file_fini(struct blk_file *file);

/* Whole or not at all said to be done: 0 or a negative errno; the end of the file is -EIO. */
int blk_file_readv(struct blk_file *file, uint64_t offset, struct blk_iter *iter, uint64_t bytes);
int blk_file_read(struct blk_file *file, uint64_t offset, void *ret, size_t bytes);
/* is_dsync: durable when it returns; its failure is final, too, but for want of room. */
int blk_file_writev(struct blk_file *file, uint64_t offset, struct blk_iter *iter, uint64_t bytes,
                    bool is_dsync);
int blk_file_write(struct blk_file *file, uint64_t offset, const void *from, size_t bytes);
/* Make zero, by the host's means or by writing. */
int blk_file_zero(struct blk_file *file, uint64_t offset, uint64_t bytes, bool is_given_back);
/* Give a range that was never written its space now, where the host can: -ENOSPC comes early. */
int blk_file_reserve(struct blk_file *file, uint64_t offset, uint64_t bytes);
/* Give a range's space back where the host can; it reads as zeroes or as before. */
int blk_file_discard(struct blk_file *file, uint64_t offset, uint64_t bytes);
/* Everything written is durable, the length too. A failure is final. */
int blk_file_sync(struct blk_file *file);
/* All later writes and syncs fail with r. */
void blk_file_fail(struct blk_file *file, int r);
/* Read `bytes` at offset as `data` (NULL: zeroes) from now on, the file left alone. data: taken
 * over, also on failure. -E2BIG when there are too many. */
int blk_file_patch(struct blk_file *file, uint64_t offset, uint64_t bytes, uint8_t *data);
/* Read the file as it is again. */
void blk_file_drop_patches(struct blk_file *file);
int blk_file_truncate(struct blk_file *file, uint64_t bytes);
/* First byte at or after offset that may be no hole. -ENXIO: only holes follow, to the end of a
 * file that is as long as it was. */
int blk_file_find_data(struct blk_file *file, uint64_t offset, uint64_t *ret);
