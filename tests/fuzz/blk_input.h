/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image out of a fuzzer's bytes, and what is done to it. An image is large and mostly zeroes;
 * the input is its length and the pieces that aren't:
 *
 *   u8 flags (bit 0: make checksums right), u32 length, then pieces: u32 offset / 4, u16 bytes,
 * bytes
 */
#pragma once

#include "hvcore/base/cursor.h"
#include "vmwp/blk/chain_priv.h"
#include "vmwp/blk/check_priv.h"

#include <stdio.h>
#include <sys/mman.h>

enum { INPUT_FILE_MAX = 32 << 20, INPUT_WINDOW = 64 << 10 };

struct input_file {
    uint8_t *bytes; /* INPUT_FILE_MAX */
    uint64_t length;
};

static inline ssize_t input_preadv(void *opaque, const struct iovec *iov, int n_iov,
                                   uint64_t offset)
{
    struct input_file *file = opaque;
    uint64_t done = 0;

    for (int i = 0; i < n_iov && offset + done < file->length; i++) {
        uint64_t left = file->length - offset - done;
        size_t step = iov[i].iov_len < left ? iov[i].iov_len : left;

        memcpy(iov[i].iov_base, file->bytes + offset + done, step);
        done += step;
    }
    return (ssize_t)done;
}

static inline ssize_t input_pwritev(void *opaque, const struct iovec *iov, int n_iov,
                                    uint64_t offset, bool is_dsync)
{
    struct input_file *file = opaque;
    uint64_t done = 0;

    for (int i = 0; i < n_iov; i++) {
        if (offset + done > INPUT_FILE_MAX || iov[i].iov_len > INPUT_FILE_MAX - offset - done)
            return -ENOSPC;
        memcpy(file->bytes + offset + done, iov[i].iov_base, iov[i].iov_len);
        done += iov[i].iov_len;
        if (offset + done > file->length)
            file->length = offset + done;
    }
    return (ssize_t)done;
}

static inline int input_sync(void *opaque, bool is_size_changed)
{
    return 0;
}

static inline int input_truncate(void *opaque, uint64_t bytes)
{
    struct input_file *file = opaque;

    if (bytes > INPUT_FILE_MAX)
        return -ENOSPC;
    if (bytes < file->length)
        memset(file->bytes + bytes, 0, file->length - bytes);
    file->length = bytes;
    return 0;
}

static inline int input_zero(void *opaque, uint64_t offset, uint64_t bytes, bool is_given_back)
{
    struct input_file *file = opaque;

    if (offset < file->length)
        memset(file->bytes + offset, 0,
               bytes < file->length - offset ? bytes : file->length - offset);
    return 0;
}

static inline int input_find_data(void *opaque, uint64_t offset, uint64_t *ret)
{
    *ret = offset;
    return 0;
}

static inline void input_close(void *opaque)
{
}

static const struct blk_file_ops input_ops = {
    .preadv = input_preadv,
    .pwritev = input_pwritev,
    .sync = input_sync,
    .truncate = input_truncate,
    .zero = input_zero,
    .find_data = input_find_data,
    .close = input_close,
};

static inline bool input_make(struct input_file *file, const uint8_t *bytes, size_t n,
                              uint8_t *ret_flags)
{
    struct hv_cursor in = hv_cursor(bytes, n);

    *ret_flags = hv_cursor_u8(&in);
    file->length = hv_cursor_u32(&in) % (INPUT_FILE_MAX / 2);
    file->bytes = mmap(NULL, INPUT_FILE_MAX, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (file->bytes == MAP_FAILED)
        return false;
    while (hv_cursor_left(&in) > 6) {
        uint64_t offset = (uint64_t)hv_cursor_u32(&in) * 4;
        size_t length = hv_cursor_u16(&in);

        if (length > hv_cursor_left(&in))
            length = hv_cursor_left(&in);
        if (offset + length <= file->length)
            hv_cursor_bytes(&in, file->bytes + offset, length);
        else
            hv_cursor_skip(&in, length);
    }
    return true;
}

static inline void input_problem(void *opaque, const char *code, const char *sentence)
{
    hv_assert(strstr(sentence, "fuzzed") && *code);
}

static inline void input_read(struct blk_disk *disk, uint64_t offset)
{
    static uint8_t window[INPUT_WINDOW];
    struct iovec iov = { .iov_base = window };
    struct blk_extent extent;
    struct blk_info info;

    blk_disk_get_info(disk, &info);
    if (offset >= info.bytes)
        return;
    iov.iov_len = info.bytes - offset < INPUT_WINDOW ? info.bytes - offset : INPUT_WINDOW;
    (void)blk_disk_read(disk, offset, &iov, 1);
    if (blk_disk_map(disk, offset, iov.iov_len, &extent) == 0)
        hv_assert(extent.bytes > 0 && extent.bytes <= iov.iov_len);
}

static inline int input_open(struct input_file *file, enum blk_format format, unsigned flags,
                             struct blk_disk **ret)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct blk_file f;
    int r;

    r = blk_file_init_ops(&f, &input_ops, file, "fuzzed", file->length);
    if (r < 0)
        return r;
    r = blk_disk_open_files(&f, &format, 1, flags, ret, &error);
    if (r < 0) {
        hv_assert(r == -ENOMEM || (error && error->code && strstr(error->message, "fuzzed")));
        blk_file_release(&f);
    }
    return r;
}

static inline void input_write(struct blk_disk *disk)
{
    static uint8_t bytes[INPUT_WINDOW];
    struct blk_info info;
    struct iovec iov = { .iov_base = bytes };

    blk_disk_get_info(disk, &info);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t offset = (info.bytes / 4 * i) & ~UINT64_C(4095);

        iov.iov_len = info.bytes - offset < sizeof(bytes) ? info.bytes - offset : 8192;
        iov.iov_len &= ~(size_t)(info.logical_bytes - 1);
        (void)blk_disk_write(disk, offset, &iov, 1, i == 2);
        (void)blk_disk_zero(disk, offset, iov.iov_len);
    }
    (void)blk_disk_discard(disk, 0, info.bytes & ~UINT64_C(4095));
    (void)blk_disk_write(disk, 0, &iov, iov.iov_len ? 1 : 0, false);
    (void)blk_disk_flush(disk);
}

/* Open, read, check; then for writing. What could be written to can be opened again. */
static inline void input_use(struct input_file *file, enum blk_format format)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct blk_check_result result;
    struct blk_disk *disk = NULL;
    struct blk_file f;

    if (input_open(file, format, BLK_OPEN_READ_ONLY, &disk) == 0) {
        for (uint64_t at = 0; at < 8; at++)
            input_read(disk, at << 19);
        input_read(disk, (disk->info.bytes - 1) & ~UINT64_C(4095));
        disk = blk_disk_close(disk);
    }
    if (blk_file_init_ops(&f, &input_ops, file, "fuzzed", file->length) == 0) {
        (void)blk_check_file(&f, format, input_problem, NULL, &result, &error);
        blk_file_release(&f);
    }
    if (input_open(file, format, 0, &disk) < 0)
        return;
    input_write(disk);
    disk = blk_disk_close(disk);
    hv_assert(input_open(file, format, BLK_OPEN_READ_ONLY, &disk) == 0);
    input_read(disk, 0);
    blk_disk_close(disk);
}
