/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON-RPC rim: HTTP and WebSocket on a Unix socket and over TLS, on the service's loop.
 *
 * Calls that are well formed and allowed go out through `call`; the answer comes back by number, at
 * once or later, unless the client has gone. Limits are those of the reliability rules 9.5 to 9.7
 * and 9.10. One thread.
 */
#pragma once

#include "api/rpc/envelope.h"
#include "api/rpc/error.h"
#include "hvcore/base/error.h"
#include "hvcore/base/log.h"
#include "vmmsd/io/stream.h"

#include <uv.h>

struct vmms_peer;
struct vmms_remote;
struct vmms_rpc;
struct vmms_rpc_stream;
struct vmms_scope;

struct vmms_rpc_config {
    /* public: texts must outlive the rim */
    uv_loop_t *loop;
    const char *socket_path;
    int socket_fd; /* listens there already: it is used, and stays when we go; -1: none */
    const char *const *listen; /* HOST:PORT, each, for TLS */
    const int *listen_fds;     /* as long; of those that listen already, else -1 */
    size_t n_listen;
    struct vmms_remote *remote; /* who knows the peers that call by TLS */
    const struct hv_log *log;
    void *opaque;
    /* request: taken */
    void (*call)(void *opaque, uint64_t call, struct api_request *request, const char *actor);
    /* a call was answered here: it was none, or not allowed */
    void (*refused)(void *opaque, const struct api_error *error);
    /* what GET /metrics is answered, freed by the rim; NULL: out of memory. peer NULL: on this host
     */
    char *(*metrics)(void *opaque, const struct vmms_peer *peer);
};

/* Listen; by TLS only once there are certificates. A socket of that name that nobody listens on is
 * replaced. */
int vmms_rpc_new(const struct vmms_rpc_config *config, struct vmms_rpc **ret,
                 struct hv_error **reterr);
/* There are certificates now: accept TLS clients. Returns 0 or -errno with *reterr. */
int vmms_rpc_open_tls(struct vmms_rpc *rpc, struct hv_error **reterr);
/* Listen for TLS clients on these addresses from now on, those among them that were handed over
 * as before; clients that are there stay. Where one cannot be listened on, all is as it was.
 * addresses: must outlive the rim, or be replaced so; the old ones are needed until it returns */
int vmms_rpc_listen(struct vmms_rpc *rpc, const char *const *addresses, size_t count,
                    struct hv_error **reterr);
/* Clients on this host and by TLS now, requests refused since the start. */
void vmms_rpc_count(const struct vmms_rpc *rpc, uint64_t *ret_local, uint64_t *ret_remote,
                    uint64_t *ret_refused);
/* Stop listening and drop all clients; handles close in the loop. */
void vmms_rpc_close(struct vmms_rpc *rpc);
/* After the loop has run out. */
void vmms_rpc_free(struct vmms_rpc *rpc);

/* Answer a call; nothing happens when its client has gone. error NULL: result counts. */
void vmms_rpc_reply(struct vmms_rpc *rpc, uint64_t call, enum api_method method,
                    const union api_result *result, uint64_t fields, const struct api_error *error);

/* Who made a call, until it is answered; NULL: somebody on this host, or the client has gone. */
struct vmms_peer *vmms_rpc_peer(const struct vmms_rpc *rpc, uint64_t call);

/* Make the connection of a call carry a stream as well. NULL: the client has gone. */
struct vmms_rpc_stream *vmms_rpc_stream_open(struct vmms_rpc *rpc, uint64_t call,
                                             const struct vmms_stream_ops *ops, void *opaque);

/* The only VMs that its client sees; NULL: all. */
const struct vmms_scope *vmms_rpc_stream_scope(const struct vmms_rpc_stream *stream);
/* Bytes that may be sent now without going past the connection's limit. */
size_t vmms_rpc_stream_room(const struct vmms_rpc_stream *stream);
void vmms_rpc_stream_send(struct vmms_rpc_stream *stream, const void *bytes, size_t length,
                          bool is_binary);

/* The stream is at its end: what was sent is delivered, then the connection is closed. The stream
 * is no more after this; `closed` is not called. */
void vmms_rpc_stream_end(struct vmms_rpc_stream *stream);
