/* SPDX-License-Identifier: Apache-2.0 */
/* What the connection, HTTP and WebSocket parts of the rim share. */
#pragma once

#include "hvcore/base/list.h"
#include "vmmsd/remote/remote.h"
#include "vmmsd/rpc/rpc.h"

#include <libwebsockets.h>

#define VMMS_RPC_PROTOCOL "hvstack" /* of WebSockets; nobody has to name it */

enum {
    MAX_CONNECTIONS = 1024, /* on this host; TLS clients are counted in tls.c */
    MAX_ACCEPTS = 32,       /* in one turn of the loop */
    MAX_EXCHANGES = 4,      /* of one connection */
    HEADER_BYTES = 16 << 10,
    LWS_READ_BYTES = 4096 - LWS_PRE, /* at a time, at most */
    HEADER_SECONDS = 10,
    BODY_SECONDS = 30,
    LATER_SECONDS = 5, /* lws closes without a word, should we not have done so by then */
    WRITE_SECONDS = 30,
    IDLE_SECONDS = 120,
    MAX_OUTPUT_BYTES = 4 << 20,
    STREAM_ROOM_BYTES = 256 << 10, /* unsent stream output of one connection */
    CHUNK_BYTES = 32 << 10,
    MAX_NOBODY_BODY_BYTES = 16 << 10, /* of a client without a certificate that holds */
    ACTOR_BYTES = 80
};

/* An answer or a part of a stream, on its way out. */
struct message {
    struct hv_list node;
    bool is_binary;
    bool is_last; /* close after it */
    size_t length;
    size_t sent;
    unsigned char bytes[]; /* LWS_PRE of room first */
};

/* One body: a call or a batch, and the answers so far. */
struct exchange {
    struct hv_list node;
    struct connection *connection;
    bool is_batch;
    bool is_reading; /* calls are still being taken out of it */
    size_t count;
    size_t done;
    char *answers[RPC_MAX_BATCH]; /* NULL: none (yet, or a notification's) */
};

struct pending {
    struct hv_list node;
    uint64_t call;
    struct exchange *exchange;
    size_t slot;
    char *id;
};

struct vmms_rpc_stream {
    struct hv_list node;
    struct connection *connection;
    struct exchange *exchange; /* whose answer must be out before the stream begins, or NULL */
    struct vmms_stream_ops ops;
    void *opaque;
};

struct connection {
    struct hv_list node;
    struct vmms_rpc *rpc;
    struct lws *wsi;
    bool is_websocket;
    bool is_remote;
    bool is_headers_sent;
    bool is_ending; /* what is left is sent, then it is closed */
    bool is_paused;
    bool is_deferred;       /* its identity has enough under way: the body waits */
    struct vmms_peer *peer; /* of a TLS client */
    char actor[ACTOR_BYTES];
    char *in;
    size_t in_length;
    size_t in_room;
    size_t in_expected;
    int status; /* of the HTTP answer */
    const char *content_type;
    struct hv_list exchanges;
    unsigned n_exchanges;
    struct hv_list out;
    size_t out_bytes;
    struct hv_list streams;
};

struct session {
    struct connection *connection; /* what lws keeps for us per connection */
};

struct vmms_rpc {
    struct vmms_rpc_config config;
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct hv_list lines;
    struct hv_list due; /* those that wait for the loop's next turn */
    uv_idle_t idle;     /* runs while there are any */
    uv_timer_t tick;    /* runs while there are lines */
    int listen_fd;      /* the Unix socket */
    int spare_fd;       /* to become the twin of the next one who is let in */
    uv_poll_t poll;
    uv_timer_t retry;
    bool is_polling;
    bool is_full;         /* the last one at the door could not be let in */
    struct vmms_tls *tls; /* NULL: none */
    struct hv_list connections;
    unsigned n_connections; /* of clients on this host */
    unsigned n_deferred;
    uint64_t n_refused; /* requests, since the start */
    bool is_resuming;
    struct hv_list pending;
    uint64_t next_call;
};

/* head.c */
struct head {
    size_t taken; /* by lws, of the head that has not come as a whole */
};
enum { VMMS_HTTP_HEAD_TOO_LARGE = 431 };
/*
 * What has come of a head, before lws reads some of it.
 *
 * bytes: all that there is, but no more than HEADER_BYTES + 1; length: at least 1
 * return: 0, or the HTTP status to refuse it with
 */
unsigned vmms_head_judge(struct head *head, const char *bytes, size_t length);

/* line.c: connections that lws serves, watched by our loop */
struct line;
struct visitor;
void vmms_lines_init(struct vmms_rpc *rpc);
void vmms_lines_close(struct vmms_rpc *rpc);
/* Serve what comes by a socket. fd, and twin, its duplicate: taken, also on failure; visitor: whose
 * clear text it is, told when the line is gone, or NULL. NULL: it failed, and errno says why. */
struct line *vmms_line_open(struct vmms_rpc *rpc, int fd, int twin, struct visitor *visitor);
/* Something has come in: look at it now. Not from within a callback of lws. */
void vmms_line_look(struct line *line);
struct visitor *vmms_line_visitor(struct lws *wsi);
/* Let lws call us when there is room to write. */
void vmms_line_want_write(struct lws *wsi);
void vmms_line_set_reading(struct lws *wsi, bool is_on);
/* When it is writable: has lws read more than a request from it? 0, 1, or -EAGAIN: it is not known
 * before others, who wait for their turn, were served. */
int vmms_line_has_sent_ahead(struct lws *wsi);
/* What lws tells: that a head has come, a whole request, that it was answered; that it speaks
 * WebSocket now; that there is room; that it was told to close; that it has closed. */
void vmms_line_asked(struct lws *wsi);
void vmms_line_has_all(struct lws *wsi);
void vmms_line_answered(struct lws *wsi);
void vmms_line_upgraded(struct lws *wsi);
void vmms_line_may_write(struct lws *wsi);
void vmms_line_end(struct lws *wsi);
void vmms_line_gone(struct lws *wsi);

/* connection.c */
struct connection *vmms_connection_new(struct vmms_rpc *rpc, struct lws *wsi, bool is_websocket);
void vmms_connection_free(struct connection *connection);
/* 0, -EMSGSIZE, -ENOMEM */
int vmms_connection_take(struct connection *connection, const void *bytes, size_t length);
/* What was taken is a whole body. */
void vmms_connection_body(struct connection *connection);
int vmms_connection_send(struct connection *connection, const void *bytes, size_t length,
                         bool is_binary);
/* Does the peer have the right to call at all? Fills in the actor. */
bool vmms_connection_is_welcome(struct connection *connection);

/* http.c: refuse with a sentence. Returns what lws shall get: close. */
#define VMMS_HTTP_UNWELCOME "Only root and the user who runs this service may call it."
int vmms_http_refuse(struct lws *wsi, unsigned status, const char *sentence);

/* tls.c: listeners, and how many clients there may be */
struct vmms_tls;
int vmms_tls_new(struct vmms_rpc *rpc, struct vmms_tls **ret, struct hv_error **reterr);
int vmms_tls_open(struct vmms_tls *tls, struct hv_error **reterr);
/* Listen on these addresses; where that fails, on the old ones. */
int vmms_tls_use(struct vmms_tls *tls, const char *const *addresses, size_t count,
                 const char *const *old, size_t n_old, struct hv_error **reterr);
unsigned vmms_tls_count(const struct vmms_tls *tls); /* clients now */
void vmms_tls_close(struct vmms_tls *tls);
void vmms_tls_free(struct vmms_tls *tls);
/* A line to the log, unless there were too many of late. */
void vmms_tls_tell(struct vmms_tls *tls, const char *text, const char *why);

/* visitor.c: one TLS client, whose clear text lws reads from a socket pair */
void vmms_visitor_line_gone(struct visitor *visitor);
struct vmms_peer *vmms_visitor_peer(const struct visitor *visitor);

/* http.c, websocket.c: what lws tells; the return value goes back to it (non-zero: close) */
int vmms_http_event(struct vmms_rpc *rpc, struct lws *wsi, enum lws_callback_reasons reason,
                    struct session *session, void *in, size_t length);
int vmms_websocket_event(struct vmms_rpc *rpc, struct lws *wsi, enum lws_callback_reasons reason,
                         struct session *session, void *in, size_t length);
