/* SPDX-License-Identifier: Apache-2.0 */
/* The file that a descriptor is. */
#include "vmwp/blk/file_priv.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

static int fd_of(void *opaque)
{
    return (int)(intptr_t)opaque;
}

static ssize_t posix_preadv(void *opaque, const struct iovec *iov, int n_iov, uint64_t offset)
{
    ssize_t done = preadv2(fd_of(opaque), iov, n_iov, (off_t)offset, 0);

    return done < 0 ? -errno : done;
}

static ssize_t posix_pwritev(void *opaque, const struct iovec *iov, int n_iov, uint64_t offset,
                             bool is_dsync)
{
    ssize_t done = pwritev2(fd_of(opaque), iov, n_iov, (off_t)offset, is_dsync ? RWF_DSYNC : 0);

    return done < 0 ? -errno : done;
}

/* Not tried again after EINTR: whether that one had lost pages is not known. */
static int posix_sync(void *opaque, bool is_size_changed)
{
    int r = is_size_changed ? fsync(fd_of(opaque)) : fdatasync(fd_of(opaque));

    return r < 0 ? -errno : 0;
}

static int posix_truncate(void *opaque, uint64_t bytes)
{
    int r;

    do
        r = ftruncate(fd_of(opaque), (off_t)bytes);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int posix_zero(void *opaque, uint64_t offset, uint64_t bytes, bool is_given_back)
{
    int mode = is_given_back ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
    int r;

    do
        r = fallocate(fd_of(opaque), mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == ENOSYS || errno == EINVAL || errno == ENODEV ? -EOPNOTSUPP : -errno;
    return 0;
}

static int posix_find_data(void *opaque, uint64_t offset, uint64_t *ret)
{
    off_t at = lseek(fd_of(opaque), (off_t)offset, SEEK_DATA);

    if (at < 0 && errno == ENXIO)
        return -ENXIO;
    *ret = at < 0 ? offset : (uint64_t)at; /* where holes can't be seen, all is data */
    return 0;
}

static void posix_close(void *opaque)
{
    (void)hv_close(fd_of(opaque));
}

static const struct blk_file_ops posix_ops = {
    .preadv = posix_preadv,
    .pwritev = posix_pwritev,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .zero = posix_zero,
    .find_data = posix_find_data,
    .close = posix_close,
};

static int length_of(int fd, const struct stat *st, const char *path, uint64_t *ret,
                     struct hv_error **reterr)
{
    off_t end = st->st_size;

    if (S_ISBLK(st->st_mode))
        end = lseek(fd, 0, SEEK_END);
    else if (!S_ISREG(st->st_mode))
        return hv_error_set(reterr, -EINVAL, "image.file.kind",
                            "Image %s: neither a regular file nor a block device.", path);
    if (end < 0)
        return hv_error_set(reterr, -errno, "image.file.length",
                            "Image %s: its length can't be read (%m).", path);
    *ret = (uint64_t)end;
    return 0;
}

int blk_file_init(struct blk_file *file, int fd, const char *path, struct hv_error **reterr)
{
    struct stat st;
    uint64_t bytes = 0;
    int r;

    if (fstat(fd, &st) < 0)
        return hv_error_set(reterr, -errno, "image.file.stat",
                            "Image %s: its descriptor can't be asked (%m).", path);
    r = length_of(fd, &st, path, &bytes, reterr);
    if (r < 0)
        return r;
    r = blk_file_init_ops(file, &posix_ops, (void *)(intptr_t)fd, path, bytes);
    if (r < 0)
        return r;
    file->dev = st.st_dev;
    file->inode = st.st_ino;
    return 0;
}
