/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The D-Bus rim: the schema's interfaces on a bus, on the service's loop.
 *
 * Calls that are well formed and allowed go out through `call`, like those of the JSON-RPC rim, and
 * are answered by number. Reading properties and objects is done by the same calls. The bus may go
 * away and come back: the service runs on without it. One thread.
 */
#pragma once

#include "api/rpc/envelope.h"
#include "api/rpc/error.h"
#include "hvcore/base/error.h"
#include "hvcore/base/log.h"
#include "vmmsd/io/stream.h"

#include <uv.h>

struct vmms_dbus;
struct vmms_dbus_stream;

/* Numbers of this rim's calls have this bit. */
#define VMMS_DBUS_CALL (UINT64_C(1) << 62)

struct vmms_dbus_config {
    /* public: texts must outlive the rim */
    uv_loop_t *loop;
    const char *where; /* "system", "session", or a bus's address */
    const struct hv_log *log;
    void *opaque;
    /* request: taken. May answer before it returns. */
    void (*call)(void *opaque, uint64_t call, struct api_request *request, const char *actor);
    /* The name of a VM by its id, for those who decide on rights; NULL: there is none. */
    const char *(*vm_name)(void *opaque, const char *id);
    /* The id of a VM by its name or id; NULL: there is none. Valid until the next input. */
    const char *(*vm_id)(void *opaque, const char *ref);
    /* Names of all groups that hold a VM, a line each, for those who decide on rights; freed by the
     * rim. */
    char *(*vm_groups)(void *opaque, const char *id);
};

/*
 * Connect and ask for the name org.hvstack.Vmms1.
 *
 * last_event: number of the newest event; later ones become signals
 * return: 0, or a negative errno with *reterr: the bus cannot be reached at all
 */
int vmms_dbus_new(const struct vmms_dbus_config *config, uint64_t last_event,
                  struct vmms_dbus **ret, struct hv_error **reterr);
/* Let go of the bus; handles close in the loop. NULL is fine. */
void vmms_dbus_close(struct vmms_dbus *dbus);
/* After the loop has run out. NULL is fine. */
void vmms_dbus_free(struct vmms_dbus *dbus);

/* Answer a call; nothing happens when its client has gone. error NULL: result counts. */
void vmms_dbus_reply(struct vmms_dbus *dbus, uint64_t call, enum api_method method,
                     const union api_result *result, uint64_t fields,
                     const struct api_error *error);

/* A stream of bytes for who called Console.Open: its descriptor goes with the answer, and whoever
 * has that has the stream. NULL: the client has gone, or there are too many, and it is answered. */
struct vmms_dbus_stream *vmms_dbus_stream_open(struct vmms_dbus *dbus, uint64_t call,
                                               const struct vmms_stream_ops *ops, void *opaque);
/* Bytes that may be sent now without going past the stream's limit. */
size_t vmms_dbus_stream_room(const struct vmms_dbus_stream *stream);
void vmms_dbus_stream_send(struct vmms_dbus_stream *stream, const void *bytes, size_t length);
/* What was sent is delivered, then the client finds the end. The stream is no more after this;
 * `closed` is not called. */
void vmms_dbus_stream_end(struct vmms_dbus_stream *stream);

/* There are events up to this number. */
void vmms_dbus_wake(struct vmms_dbus *dbus, uint64_t last_event);
/* How far a job is now; left out while there are events to be told. dbus may be NULL. */
void vmms_dbus_tell_progress(struct vmms_dbus *dbus, const struct api_job *job);
