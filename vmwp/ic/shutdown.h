/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shutdown: ask the guest to power off, restart or hibernate.
 *
 * That a guest accepts is not that it is done: the machine hears of that when the guest powers off
 * or resets. What is asked needs a version: restarting 3.1, hibernating 3.2.
 *
 * thread: io. spec: hv_util.c of Linux 6.1, shutdown_onchannelcallback
 */
#pragma once

#include "vmwp/ic/ic.h"

struct ic_shutdown;

enum ic_power { IC_POWER_OFF, IC_POWER_RESTART, IC_POWER_HIBERNATE };

enum {
    IC_SHUTDOWN_ANSWER_MS = 30000,
    IC_SHUTDOWN_TEXT_UNITS = 1023, /* of UTF-16 */
    IC_SHUTDOWN_UNDER_WAY_MS = 300000
};

struct ic_shutdown_request {
    /* public */
    enum ic_power what;
    bool is_forced;     /* unsaved work is lost, a locked guest goes too */
    uint32_t timeout_s; /* told to the guest: how long it may take */
    const char *reason; /* UTF-8, shown to the guest's users; NULL: none */
};

struct ic_shutdown_config {
    /* public */
    struct ic_clock *clock;
    struct vmbus_server *server;
    struct hv_log log;
};

/* Offer it. Returns 0 or a negative errno of ic_channel_new. */
int ic_shutdown_new(const struct ic_shutdown_config *config, struct ic_shutdown **ret);
struct ic_shutdown *ic_shutdown_free(struct ic_shutdown *sd, bool is_server_gone);
/* As it was when it was made. */
void ic_shutdown_reset(struct ic_shutdown *sd);
/* Its channel, for its state and version; borrowed. */
struct ic_channel *ic_shutdown_channel(struct ic_shutdown *sd);

/*
 * Ask. done is told 0 (accepted), -EBUSY (the guest says it is shutting down already), -EPERM
 * (locked; ask with force), -EREMOTEIO (refused otherwise), -ETIMEDOUT, -ECONNRESET or -EPROTO.
 *
 * return: 0: done will be called. -ENOTCONN, -EOPNOTSUPP (its version can't), -EBUSY (asked or
 *         accepted already; with force it may be asked again) or -EINVAL (the reason)
 */
int ic_shutdown_ask(struct ic_shutdown *sd, const struct ic_shutdown_request *request,
                    ic_done_fn *done, void *opaque, struct hv_error **reterr);
