/* SPDX-License-Identifier: Apache-2.0 */
/* The service as a whole on one loop: core, store, workers, consoles and the rim, joined. */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/log.h"
#include "vmmsd/store/store.h"

#include <uv.h>

struct vmms_service;

struct vmms_service_config {
    /* public: texts must outlive the service */
    uv_loop_t *loop;
    const char *state_dir; /* locked by the caller */
    const char *runtime_dir;
    const char *worker_path;
    const char *const *listen; /* HOST:PORT, each, for TLS clients */
    const int *listen_fds;     /* as long; of those that listen already, else -1 */
    size_t n_listen;
    int rpc_fd;          /* a listening Unix socket to use instead of making vmms.sock; -1: none */
    bool wants_units;    /* workers as units of systemd's, where we are one */
    const char *bus;     /* "system", "session", a bus's address; NULL: none */
    const char *boot_id; /* of the host's boot; NULL: the kernel's */
    struct vmms_store_limits limits; /* of the log of events */
    const char *version;
    const struct hv_log *log;
    void *opaque;
    void (*ready)(void *opaque);                   /* clients are accepted from now on */
    void (*failed)(void *opaque, const char *why); /* it cannot go on: end, and start again */
};

/* Open the database, look for workers of an earlier life; `ready` comes from the loop. On failure
 * *ret may still hold a service, which is to be closed and freed like any other. */
int vmms_service_new(const struct vmms_service_config *config, struct vmms_service **ret,
                     struct hv_error **reterr);

/* How new workers are started from now on. */
void vmms_service_use_units(struct vmms_service *service, bool wants_units);
/* How much of the log of events is kept from now on. */
void vmms_service_use_limits(struct vmms_service *service, const struct vmms_store_limits *limits);

/* Serve TLS clients on these addresses from now on, see `listen` of the configuration; those that
 * are there stay. Where that fails, all is as it was. */
int vmms_service_use_listen(struct vmms_service *service, const char *const *listen,
                            const int *listen_fds, size_t n_listen, struct hv_error **reterr);

/* Read certificates anew, for new connections. */
void vmms_service_reload(struct vmms_service *service);

/* Stop taking calls, finish what is being stored; workers run on. Handles close in the loop. */
void vmms_service_close(struct vmms_service *service);
/* After the loop has run out. */
void vmms_service_free(struct vmms_service *service);
