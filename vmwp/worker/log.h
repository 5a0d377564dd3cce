/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's log: one line per record on a descriptor, within a budget, without control
 * characters, so that neither a guest nor a name can flood or forge it.
 */
#pragma once

#include "hvcore/base/log.h"

#include <pthread.h>

enum { WP_LOG_LINES = 20, WP_LOG_WINDOW_S = 10 };

struct wp_log {
    /* private; lock */
    int fd;
    bool is_journal; /* lines begin with their priority, and need no time */
    pthread_mutex_t lock;
    uint64_t window_from_ns;
    unsigned lines;
    unsigned dropped;
};

/* fd: not owned. Errors are always written; the rest shares WP_LOG_LINES per WP_LOG_WINDOW_S. */
void wp_log_init(struct wp_log *log, int fd);
void wp_log_fini(struct wp_log *log);

/* The log as a sink for others; any thread. Lives as long as the log. */
struct hv_log wp_log_sink(struct wp_log *log, enum hv_log_level max_level);
