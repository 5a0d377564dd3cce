/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's data in guest memory: pieces in order, of which at most `bytes` are used.
 */
#pragma once

#include "hvcore/gpa.h"
#include "vmwp/vmbus/channel.h"

#include <sys/uio.h>

enum {
    STORVSP_MAX_TRANSFER_BYTES = 1 << 20, /* what the guest is told */
    /* pages of that, unaligned, and a split more for each slot of guest RAM */
    STORVSP_MAX_PIECES = (STORVSP_MAX_TRANSFER_BYTES >> HV_PAGE_SHIFT) + 1,
    STORVSP_MAX_IOV = STORVSP_MAX_PIECES + HV_GPA_MAX_SLOTS
};

struct storvsp_data {
    /* public */
    struct hv_gpa_space *gpa;
    const struct vmbus_range *ranges; /* checked to be RAM */
    unsigned n_ranges;                /* at most STORVSP_MAX_PIECES */
    uint32_t to_guest;                /* bytes that may be put; 0 unless the direction is in */
    uint32_t from_guest;              /* bytes that may be taken; 0 unless the direction is out */
};

/* Copy up to `bytes` to the guest; returns how many went. */
uint32_t storvsp_data_put(const struct storvsp_data *data, const void *from, uint32_t bytes);
/* Copy `bytes` out of the guest, once. False: so many aren't there. */
bool storvsp_data_get(const struct storvsp_data *data, void *ret, uint32_t bytes);
/* The first `bytes` as host memory, for bulk data. Returns how many vectors; 0: not RAM. */
unsigned storvsp_data_iov(const struct storvsp_data *data, uint32_t bytes,
                          struct iovec ret[static STORVSP_MAX_IOV]);
/* After the first `bytes` were written through vectors */
void storvsp_data_note_written(const struct storvsp_data *data, uint32_t bytes);
