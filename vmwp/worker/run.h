/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The direct mode, `vmwp --run`: one VM for a person or a test, COM1 on standard input and output,
 * no vmmsd.
 */
#pragma once

#include "vmwp/worker/definition.h"

/* What the process ends with. A guest's debug exit is (value << 1) | 1, so always odd: ours are
 * even. */
enum wp_run_status {
    WP_RUN_POWER_OFF = 0,
    WP_RUN_USAGE = 2,
    WP_RUN_START_FAILED = 30,
    WP_RUN_TRIPLE_FAULT = 32,
    WP_RUN_RESET = 34,
    WP_RUN_INTERNAL_ERROR = 36,
    WP_RUN_TIMEOUT = 38,
    WP_RUN_LEFT = 40, /* Ctrl-] on a terminal, SIGINT or SIGTERM */
};

struct wp_run_config {
    /* public */
    struct wp_definition definition; /* descriptors are the caller's */
    unsigned timeout_s;              /* 0: none */
    bool is_verbose;                 /* log lines on standard error */
    bool wants_stats;                /* counters on standard error at the end */
    bool is_sandboxed;
};

/* Run the VM to its end. Returns the status to exit with. */
int wp_run(const struct wp_run_config *config);
