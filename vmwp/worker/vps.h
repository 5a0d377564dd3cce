/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VP threads: one per virtual processor, made once, parked until they shall run.
 *
 * run, stop and free are called by the io thread; halt by any thread.
 */
#pragma once

#include "hvcore/vp.h"

#include <time.h>

struct wp_vps;

/* A VP has left its run loop because of *exit (shutdown or error, never cancelled). Called on the
 * VP's thread, which parks afterwards; must not block. */
typedef void wp_vps_exit_fn(void *opaque, unsigned vp_index, const struct hv_exit *exit);

/* Make the threads, parked. Returns 0 or a negative errno; code vm.vp.thread. */
int wp_vps_new(struct hv_partition *partition, wp_vps_exit_fn *on_exit, void *opaque,
               struct wp_vps **ret, struct hv_error **reterr);
/* Stop, end and join the threads. */
struct wp_vps *wp_vps_free(struct wp_vps *vps);

/* Let all VPs run. */
void wp_vps_run(struct wp_vps *vps);

/* Ask all VPs to leave hv_vp_run and park; returns at once. Any thread. */
void wp_vps_halt(struct wp_vps *vps);

/* Halt, and wait until every VP is parked. */
void wp_vps_stop(struct wp_vps *vps);

/* CPU time of all VP threads together. */
uint64_t wp_vps_cpu_time_ns(struct wp_vps *vps);
