/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual processor: one host thread runs it; others may cancel it. */
#pragma once

#include "hvcore/partition.h"
#include "hvcore/state.h"

enum hv_exit_kind {
    HV_EXIT_CANCELLED, /* hv_vp_cancel was called */
    HV_EXIT_SHUTDOWN,  /* triple fault: the processor stopped; exit->rip says where */
    HV_EXIT_ERROR      /* the backend cannot go on; exit->text says why */
};

struct hv_exit {
    /* read only */
    enum hv_exit_kind kind;
    uint64_t rip;
    char text[160];
};

/*
 * Run the VP until something concerns the caller. Blocks while the VP is halted or waits for SIPI.
 * Port and MMIO accesses are answered by the partition's ranges on this thread.
 *
 * thread: always the same one for a VP between two pauses
 * return: 0 with *ret filled, or a negative errno (a host failure; the VP stays as it was)
 */
int hv_vp_run(struct hv_vp *vp, struct hv_exit *ret);

/* Make hv_vp_run return HV_EXIT_CANCELLED soon, or at once when it is called next. Any thread. */
void hv_vp_cancel(struct hv_vp *vp);

/* Read or replace the whole state; the VP must not run. set returns 0 or -EINVAL. */
int hv_vp_get_state(struct hv_vp *vp, struct hv_vp_state *ret);
int hv_vp_set_state(struct hv_vp *vp, const struct hv_vp_state *state);

/* Its number in the partition, which is also its APIC ID and VP index. Any thread. */
unsigned hv_vp_index(const struct hv_vp *vp);

/* Counters for statistics; any thread, values may lag. */
struct hv_vp_counters {
    uint64_t exits;
    uint64_t port_ios;
    uint64_t mmios;
    uint64_t interrupts;
    uint64_t halts;
};
void hv_vp_get_counters(const struct hv_vp *vp, struct hv_vp_counters *ret);
