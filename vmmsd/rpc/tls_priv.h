/* SPDX-License-Identifier: Apache-2.0 */
/* What the TLS listeners and their visitors share. */
#pragma once

#include "vmmsd/rpc/rpc_priv.h"

#include <openssl/ssl.h>

/* Rule 9.5. */
enum {
    MAX_VISITORS = 2048,
    MAX_STRANGERS = 256, /* in their handshake, or without a certificate that holds */
    HANDSHAKE_MS = 10000,
    STRANGER_GRACE_MS = 2000, /* not dropped for a newcomer before */
    STALLED_MS = 30000,
    NOBODY_MS = 60000, /* how long a client without a certificate may stay */
    LINGER_MS = 2000,
    RECORD_BYTES = 16 << 10,
    READ_BYTES = 32 << 10
};
#define MAX_AGE_MS (UINT64_C(24) * 3600 * 1000)

struct listener {
    struct hv_list node;
    struct vmms_tls *tls;
    char *address;
    bool is_given; /* it listened before we came, and stays */
    bool has_handle;
    uv_tcp_t tcp;
    bool is_waiting; /* for room: somebody is at the door */
};

struct vmms_tls {
    struct vmms_rpc *rpc;
    struct hv_list listeners;
    uv_timer_t timer;
    uint64_t ticks;
    struct hv_list visitors; /* the oldest first */
    unsigned n_visitors;
    unsigned n_strangers;
    unsigned told; /* lines logged since the last rest */
    bool is_open;
    bool is_closing;
    char read[READ_BYTES];
    char plain[RECORD_BYTES];
};

enum visitor_state { VISITOR_HANDSHAKE, VISITOR_OPEN, VISITOR_LINGER, VISITOR_CLOSED };

/* Bytes that did not fit into a socket, on their way. */
struct leftover {
    uv_write_t write;
    char *bytes;
    bool is_writing;
};

struct visitor {
    struct hv_list node;
    struct vmms_tls *tls;
    unsigned refs; /* of each open handle, and of lws */
    enum visitor_state state;
    bool is_stranger;
    uint64_t since_ms; /* of the state */
    uint64_t born_ms;
    uint64_t stalled_ms; /* since when tcp takes nothing; 0: it does */
    uv_tcp_t tcp;
    uv_pipe_t inner; /* our end of the pair; lws has the other */
    uv_shutdown_t shutdown, inner_shutdown;
    bool has_inner;
    bool has_ended;    /* the client sends no more */
    struct line *line; /* of lws's end; NULL: lws is done */
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    struct vmms_peer *peer;
    struct leftover to_tcp, to_inner;
};

/* tls.c */
uint64_t vmms_tls_now_ms(const struct vmms_tls *tls);
/* Somebody is gone, or done with its handshake: is somebody at the door? */
void vmms_tls_let_in(struct vmms_tls *tls);

/* visitor.c */
int vmms_visitor_accept(struct vmms_tls *tls, uv_stream_t *server, SSL_CTX *context);
void vmms_visitor_close(struct visitor *visitor);
/* Is there a reason to end it now? */
bool vmms_visitor_is_over(const struct visitor *visitor, uint64_t now_ms);
