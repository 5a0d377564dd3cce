/* SPDX-License-Identifier: Apache-2.0 */
/* Walking an iovec in pieces. */
#include "hvcore/base/arith.h"
#include "vmwp/blk/file_priv.h"

#include <string.h>

unsigned blk_iter_take(struct blk_iter *iter, uint64_t bytes, struct iovec *ret, unsigned max,
                       uint64_t *ret_bytes)
{
    unsigned n = 0;

    *ret_bytes = 0;
    while (n < max && bytes > 0 && iter->n_iov > 0) {
        size_t left = iter->iov->iov_len - iter->skip;
        size_t step = left < bytes ? left : (size_t)bytes;

        if (step > 0)
            ret[n++] = (struct iovec){ .iov_base = (uint8_t *)iter->iov->iov_base + iter->skip,
                                       .iov_len = step };
        blk_iter_skip(iter, step);
        if (left == 0) {
            iter->iov++;
            iter->n_iov--;
            iter->skip = 0;
        }
        bytes -= step;
        *ret_bytes += step;
    }
    return n;
}

void blk_iter_skip(struct blk_iter *iter, uint64_t bytes)
{
    while (bytes > 0 && iter->n_iov > 0) {
        size_t left = iter->iov->iov_len - iter->skip;

        if (bytes < left) {
            iter->skip += (size_t)bytes;
            return;
        }
        bytes -= left;
        iter->iov++;
        iter->n_iov--;
        iter->skip = 0;
    }
}

void blk_iter_fill(struct blk_iter *iter, const void *from, uint64_t bytes)
{
    const uint8_t *at = from;

    while (bytes > 0) {
        struct iovec piece;
        uint64_t taken;

        if (!blk_iter_take(iter, bytes, &piece, 1, &taken))
            return;
        if (at) {
            memcpy(piece.iov_base, at, piece.iov_len);
            at += taken;
        } else {
            memset(piece.iov_base, 0, piece.iov_len);
        }
        bytes -= taken;
    }
}

int blk_iov_bytes(const struct iovec *iov, unsigned n_iov, uint64_t *ret)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n_iov; i++)
        if (!hv_add_u64(sum, iov[i].iov_len, &sum))
            return -EINVAL;
    *ret = sum;
    return 0;
}
