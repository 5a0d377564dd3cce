/* SPDX-License-Identifier: Apache-2.0 */
/*
 * D-Bus for the client, as a module that is loaded when an address asks for it, like TLS. Calls go
 * through Manager.CallJson, so that there is one form of question and answer; consoles are
 * descriptors, and that there are events is a signal. Blocking, one thread.
 */
#pragma once

#include "api/rpc/error.h"

#include <stdint.h>

struct api_dbus;

struct api_dbus_ops {
    /* read only */
    /* where: "system", "session" or a bus's address. Returns 0 or -EINVAL with *reterr. */
    int (*open)(const char *where, struct api_dbus **ret, struct api_error **reterr);
    void (*close)(struct api_dbus *dbus);
    /* ret_answer: a JSON-RPC answer, freed by the caller. Returns 0 or -EINVAL with *reterr. */
    int (*call)(struct api_dbus *dbus, const char *method, const char *params, char **ret_answer,
                struct api_error **reterr);
    /* A VM's serial port: a socket with its bytes, the caller's. vm_id: as the API writes it.
     * Returns 0 or -EINVAL with *reterr. */
    int (*open_console)(struct api_dbus *dbus, const char *vm_id, uint32_t port, uint64_t from,
                        int *ret_fd, struct api_error **reterr);
    /* From now on, be told of events. Returns 0 or -EINVAL with *reterr. */
    int (*watch)(struct api_dbus *dbus, struct api_error **reterr);
    /* Until there have been events since the last time: 0, or -ECONNRESET: the service has left the
     * bus, or another negative errno. */
    int (*wait)(struct api_dbus *dbus);
};

#define API_DBUS_SYMBOL "api_dbus_ops_2"

/* Load the module. Returns 0 or -EINVAL with *reterr. */
int api_dbus_load(const struct api_dbus_ops **ret, struct api_error **reterr);
