/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freeze and thaw of the guest's file systems, for copies of its disks that are consistent.
 *
 * The thaw is certain: who freezes says for how long at most, and this component thaws when that is
 * over, whether anybody asks or not; it goes on asking until the guest says that it thawed. Time
 * during which the VM is paused doesn't count.
 *
 *     idle -> freezing -> frozen -> thawing -> idle
 *
 * thread: io. spec: hv_snapshot.c and hv_vss_daemon.c of Linux 6.1
 */
#pragma once

#include "vmwp/ic/ic.h"

struct ic_vss;

enum ic_vss_state { IC_VSS_IDLE, IC_VSS_FREEZING, IC_VSS_FROZEN, IC_VSS_THAWING };

enum {
    IC_VSS_FROZEN_MS = 10000, /* at most, unless asked for less */
    IC_VSS_CHECK_MS = 35000,
    IC_VSS_FREEZE_MS = 60000,
    IC_VSS_THAW_MS = 35000,
    IC_VSS_RETRY_MS = 2000, /* doubled up to the limit */
    IC_VSS_RETRY_MAX_MS = 60000
};

struct ic_vss_config {
    /* public */
    struct ic_clock *clock;
    struct vmbus_server *server;
    struct hv_log log;
    void (*changed)(void *opaque, enum ic_vss_state state); /* may be NULL */
    void *opaque;
};

/* Offer it. Returns 0 or a negative errno of ic_channel_new. */
int ic_vss_new(const struct ic_vss_config *config, struct ic_vss **ret);
struct ic_vss *ic_vss_free(struct ic_vss *vss, bool is_server_gone);
/* As it was when it was made: a guest that was reset has nothing frozen. */
void ic_vss_reset(struct ic_vss *vss);
/* Its channel, for its state and version; borrowed. */
struct ic_channel *ic_vss_channel(struct ic_vss *vss);
/* Where it stands. */
enum ic_vss_state ic_vss_state(const struct ic_vss *vss);

/* Can the guest do it now? done: 0, -EREMOTEIO (its daemon doesn't run), -ETIMEDOUT, -ECONNRESET
 * or -EPROTO. Returns 0, -ENOTCONN or -EBUSY. */
int ic_vss_check(struct ic_vss *vss, ic_done_fn *done, void *opaque, struct hv_error **reterr);
/*
 * Check, and freeze. done: 0: frozen from now until thaw, or frozen_ms; else it is not, and what
 * was frozen is being thawed: as ic_vss_check, or -ECANCELED (thawed meanwhile).
 *
 * frozen_ms: 1 to IC_VSS_FROZEN_MS
 * return: 0, -ENOTCONN, -EBUSY (not idle) or -EINVAL
 */
int ic_vss_freeze(struct ic_vss *vss, uint32_t frozen_ms, ic_done_fn *done, void *opaque,
                  struct hv_error **reterr);
/*
 * Thaw. done: 0: it had been frozen all the time; -ETIME: its time had been over, what was copied
 * is not consistent; else the guest did not thaw at once (it is asked on). While it is idle and was
 * not thawed by time: -EALREADY at once.
 *
 * return: 0, -EALREADY or -EBUSY (another waits for a thaw)
 */
int ic_vss_thaw(struct ic_vss *vss, ic_done_fn *done, void *opaque, struct hv_error **reterr);
