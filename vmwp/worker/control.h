/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control channel: org.hvstack.Worker1 over connections to the worker's socket
 * (schemas/worker). io thread only.
 *
 * A connection is nobody until its Hello has the secret and an epoch not lower than the highest
 * seen; when a higher one comes, older connections may not command any more. The worker needs none
 * of them: that one ends, or all, is normal.
 */
#pragma once

#include "vmwp/worker/console.h"
#include "vmwp/worker/worker.h"

struct wp_control;

enum {
    WP_CONTROL_MAX_CONNECTIONS = 16,
    WP_CONTROL_HELLO_MS = 5000,
    WP_CONTROL_MAX_QUEUED = 1024 /* signals and replies that a connection hasn't read */
};

struct wp_control_config {
    /* public */
    struct wp_loop *loop;
    int listen_fd; /* borrowed; listening */
    const struct wp_definition *definition;
    struct wp_worker *worker;
    struct wp_console *consoles; /* WP_MACHINE_N_COM of them */
    int pid;                     /* as the host knows this process */
    struct hv_log log;
};

/* Listen. Returns 0 or a negative errno; code vm.control.socket. */
int wp_control_new(const struct wp_control_config *config, struct wp_control **ret,
                   struct hv_error **reterr);

/* Drop all connections and stop listening; the loop must still run before it is freed. */
void wp_control_stop(struct wp_control *control);
struct wp_control *wp_control_free(struct wp_control *control);

/* Tell every connection that has said Hello of a change (wp_worker_config.told). */
void wp_control_tell(struct wp_control *control, const struct wp_story *story);

/* The same of what is known of the guest, of its crash, of counters, and of a disk that fails. */
void wp_control_tell_guest(struct wp_control *control);
void wp_control_tell_crash(struct wp_control *control, const struct hv_crash *crash);
void wp_control_tell_figures(struct wp_control *control);
void wp_control_tell_storage(struct wp_control *control);
void wp_control_tell_device(struct wp_control *control, const char *id, const char *message);

/* Has every connection been sent all it is to get? */
bool wp_control_is_flushed(const struct wp_control *control);
