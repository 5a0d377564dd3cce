/* SPDX-License-Identifier: Apache-2.0 */
/* A call as its handler sees it, and the handlers. */
#pragma once

#include "hvcore/base/cursor.h"
#include "hvcore/partition/object.h"
#include "hvcore/spec/tlfs.h"

/* in: private copy of the header and of the variable header behind it; the dispatcher has checked
 * form, size, alignment and privilege. */
struct hcall {
    struct hv_partition *partition;
    unsigned vp;
    unsigned var_qwords;
    struct hv_cursor in;
};

typedef enum tlfs_status hcall_fn(struct hcall *call);

/* hcall_port.c */
hcall_fn hcall_post_message, hcall_signal_event;

/* hcall_flush.c */
hcall_fn hcall_flush, hcall_flush_ex;

/* hcall_vp.c */
hcall_fn hcall_send_ipi, hcall_send_ipi_ex, hcall_long_spin_wait;
/* Read a set of VPs, which is the rest of the input: a bit each, also for some that don't exist. */
enum tlfs_status hcall_read_vp_set(struct hcall *call, uint64_t *ret);
