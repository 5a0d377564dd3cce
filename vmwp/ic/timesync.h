/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time synchronisation: the host's wall clock for the guest.
 *
 * The first message after the guest opened it, and the first after the VM was paused or restored,
 * sets the guest's clock; samples follow every 5 s for the guest's own discipline (chrony reads
 * them through /dev/ptp_hyperv). Version 4 says at which value of the reference counter the time
 * was taken, so that delays on the way do no harm.
 *
 * thread: io. spec: hv_util.c of Linux 6.1, timesync_onchannelcallback
 */
#pragma once

#include "vmwp/ic/ic.h"

struct ic_timesync;

enum { IC_TIMESYNC_PERIOD_MS = 5000 };

struct ic_timesync_config {
    /* public */
    struct ic_clock *clock;
    struct vmbus_server *server;
    struct hv_log log;
    bool has_samples; /* off: only the messages that set the clock */
};

/* Offer it. Returns 0 or a negative errno of ic_channel_new. */
int ic_timesync_new(const struct ic_timesync_config *config, struct ic_timesync **ret);
struct ic_timesync *ic_timesync_free(struct ic_timesync *ts, bool is_server_gone);
/* Set the guest's clock with the next message, now: after pause, restore, or a leap of the host's
 * clock. */
void ic_timesync_now(struct ic_timesync *ts);
/* Its channel, for its state and version; borrowed. */
struct ic_channel *ic_timesync_channel(struct ic_timesync *ts);
