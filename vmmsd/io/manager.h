/* SPDX-License-Identifier: Apache-2.0 */
/* The service manager that may have started us: what it is told, what it hands over. Without one
 * nothing happens. */
#pragma once

#include "hvcore/base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

enum { VMMS_MAX_SOCKETS = 8, VMMS_ADDRESS_BYTES = 80 };

/* Listening sockets that were handed over. */
struct vmms_sockets {
    /* read only */
    int rpc;                   /* a Unix socket, by the name "rpc"; -1: none */
    int tls[VMMS_MAX_SOCKETS]; /* of TCP, by the name "tls" */
    char addresses[VMMS_MAX_SOCKETS][VMMS_ADDRESS_BYTES]; /* HOST:PORT, each */
    size_t n_tls;
};

/* Take them; what is not known by name, or of another kind, is closed with a warning. */
void vmms_sockets_take(struct vmms_sockets *ret, const struct hv_log *log);

/* state: as in sd_notify(3) */
void vmms_manager_ready(const char *status);
void vmms_manager_reloading(void);
void vmms_manager_stopping(void);

/* Pings the manager's watchdog: once in half its time, after a turn in which the loop has done all
 * that was ready. A loop that stands still does not ping. */
struct vmms_watchdog {
    /* private */
    uv_timer_t timer;
    uv_check_t check;
    bool is_due;
};

/* Ready to be closed afterwards, also where nobody watches. */
void vmms_watchdog_start(struct vmms_watchdog *watchdog, uv_loop_t *loop);
/* Its handles close in the loop. */
void vmms_watchdog_close(struct vmms_watchdog *watchdog);
