/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TLS client. Cipher text goes through memory BIOs, clear text through a socket pair whose
 * other end lws serves like any other connection, so that HTTP and JSON-RPC exist once.
 *
 * Nothing is read from one side while the other has not taken what came before: what is held for a
 * client is one read and its records.
 */
#include "vmmsd/rpc/tls_priv.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

static void pump_in(struct visitor *visitor);
static void flush_out(struct visitor *visitor);
static void read_inner(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);
static void read_tcp(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

struct vmms_peer *vmms_visitor_peer(const struct visitor *visitor)
{
    return visitor->peer;
}

static void unref(struct visitor *visitor)
{
    if (--visitor->refs)
        return;
    vmms_peer_free(visitor->peer);
    SSL_free(visitor->ssl);
    free(visitor->to_tcp.bytes);
    free(visitor->to_inner.bytes);
    free(visitor);
}

static void handle_closed(uv_handle_t *handle)
{
    unref(handle->data);
}

void vmms_visitor_line_gone(struct visitor *visitor)
{
    visitor->line = NULL;
    unref(visitor);
}

static void set_state(struct visitor *visitor, enum visitor_state state)
{
    visitor->state = state;
    visitor->since_ms = vmms_tls_now_ms(visitor->tls);
}

static void no_stranger(struct visitor *visitor)
{
    visitor->tls->n_strangers -= visitor->is_stranger;
    visitor->is_stranger = false;
}

static void close_inner(struct visitor *visitor)
{
    if (visitor->has_inner)
        uv_close((uv_handle_t *)&visitor->inner, handle_closed);
    visitor->has_inner = false;
}

void vmms_visitor_close(struct visitor *visitor)
{
    struct vmms_tls *tls = visitor->tls;

    if (visitor->state == VISITOR_CLOSED)
        return;
    set_state(visitor, VISITOR_CLOSED);
    hv_list_remove(&visitor->node);
    no_stranger(visitor);
    tls->n_visitors--;
    close_inner(visitor);
    uv_close((uv_handle_t *)&visitor->tcp, handle_closed);
}

/* The identity behind it was revoked. */
static void revoked(void *opaque)
{
    vmms_visitor_close(opaque);
}

bool vmms_visitor_is_over(const struct visitor *visitor, uint64_t now_ms)
{
    uint64_t in_state = now_ms - visitor->since_ms;

    if (visitor->stalled_ms && now_ms - visitor->stalled_ms > STALLED_MS)
        return true;
    switch (visitor->state) {
    case VISITOR_HANDSHAKE: return in_state > HANDSHAKE_MS;
    case VISITOR_OPEN:
        return now_ms - visitor->born_ms > MAX_AGE_MS || vmms_peer_is_expired(visitor->peer) ||
               (in_state > NOBODY_MS && visitor->is_stranger);
    case VISITOR_LINGER: return in_state > LINGER_MS && !visitor->to_tcp.is_writing;
    case VISITOR_CLOSED: break;
    }
    return false;
}

/* Writing to either side: what fits at once, the rest when there is room. */

/* Returns 0, 1 when some is left over and on its way, or a negative errno. */
static int send_some(struct leftover *leftover, uv_stream_t *stream, const char *bytes,
                     size_t length, uv_write_cb done)
{
    uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)length);
    int count = uv_try_write(stream, &buffer, 1), r;

    if (count < 0 && count != UV_EAGAIN)
        return count;
    count = count < 0 ? 0 : count;
    if ((size_t)count == length)
        return 0;
    length -= (size_t)count;
    leftover->bytes = malloc(length);
    if (!leftover->bytes)
        return -ENOMEM;
    memcpy(leftover->bytes, bytes + count, length);
    buffer = uv_buf_init(leftover->bytes, (unsigned)length);
    r = uv_write(&leftover->write, stream, &buffer, 1, done);
    leftover->is_writing = r == 0;
    return r < 0 ? r : 1;
}

static void leftover_done(struct leftover *leftover)
{
    leftover->is_writing = false;
    free(leftover->bytes);
    leftover->bytes = NULL;
}

static void alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret)
{
    struct visitor *visitor = handle->data;

    *ret = uv_buf_init(visitor->tls->read, sizeof(visitor->tls->read));
}

static void set_reading(uv_stream_t *stream, bool is_on, uv_read_cb arrived)
{
    if (is_on)
        (void)uv_read_start(stream, alloc, arrived);
    else
        (void)uv_read_stop(stream);
}

/* Read on each side as long as the other takes it. */
static void regulate(struct visitor *visitor)
{
    bool is_free = !visitor->to_tcp.is_writing, is_open = visitor->state == VISITOR_OPEN;

    if (visitor->state == VISITOR_CLOSED)
        return;
    set_reading((uv_stream_t *)&visitor->tcp,
                !visitor->has_ended && (!is_open || (is_free && !visitor->to_inner.is_writing)),
                read_tcp);
    if (visitor->has_inner)
        set_reading((uv_stream_t *)&visitor->inner, is_open && is_free, read_inner);
}

static void tcp_written(uv_write_t *write, int status)
{
    struct visitor *visitor = write->data;

    leftover_done(&visitor->to_tcp);
    visitor->stalled_ms = 0;
    if (visitor->state == VISITOR_CLOSED)
        return;
    if (status < 0)
        vmms_visitor_close(visitor);
    else
        flush_out(visitor);
}

static void inner_written(uv_write_t *write, int status)
{
    struct visitor *visitor = write->data;

    leftover_done(&visitor->to_inner);
    if (visitor->state == VISITOR_OPEN && status == 0)
        pump_in(visitor);
    regulate(visitor);
}

/* Ending: the last word is sent, then what still comes in is thrown away for a moment. Closing at
 * once with input unread would make TCP drop the answer on its way. */

static void shut(uv_shutdown_t *shutdown, int status)
{
    struct visitor *visitor = shutdown->data;

    if (visitor->has_ended)
        vmms_visitor_close(visitor);
}

static void shut_inner(uv_shutdown_t *shutdown, int status)
{
}

/* The client sends no more; what it asked for is answered yet. */
static void end(struct visitor *visitor)
{
    if (visitor->has_ended)
        return;
    visitor->has_ended = true;
    if (visitor->has_inner)
        (void)uv_shutdown(&visitor->inner_shutdown, (uv_stream_t *)&visitor->inner, shut_inner);
    regulate(visitor);
}

static void linger(struct visitor *visitor)
{
    if (visitor->state == VISITOR_LINGER || visitor->state == VISITOR_CLOSED)
        return;
    ERR_clear_error();
    if (visitor->state == VISITOR_OPEN)
        (void)SSL_shutdown(visitor->ssl);
    set_state(visitor, VISITOR_LINGER);
    close_inner(visitor);
    flush_out(visitor);
}

static void flush_done(struct visitor *visitor)
{
    if (visitor->state == VISITOR_LINGER && !visitor->shutdown.data) {
        visitor->shutdown.data = visitor;
        (void)uv_shutdown(&visitor->shutdown, (uv_stream_t *)&visitor->tcp, shut);
    }
}

/* Outwards */

static void flush_out(struct visitor *visitor)
{
    char *bytes;
    long length;
    int r = 0;

    while (r == 0 && !visitor->to_tcp.is_writing) {
        length = BIO_get_mem_data(visitor->out, &bytes);
        if (length <= 0)
            break;
        r = send_some(&visitor->to_tcp, (uv_stream_t *)&visitor->tcp, bytes, (size_t)length,
                      tcp_written);
        (void)BIO_reset(visitor->out);
    }
    if (r < 0)
        vmms_visitor_close(visitor);
    else if (!visitor->to_tcp.is_writing)
        flush_done(visitor);
    else if (!visitor->stalled_ms)
        visitor->stalled_ms = vmms_tls_now_ms(visitor->tls);
    regulate(visitor);
}

static void read_inner(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct visitor *visitor = stream->data;

    if (count == 0 || visitor->state != VISITOR_OPEN)
        return;
    if (count < 0) {
        linger(visitor);
        return;
    }
    ERR_clear_error();
    if (SSL_write(visitor->ssl, buffer->base, (int)count) != (int)count)
        vmms_visitor_close(visitor);
    else
        flush_out(visitor);
}

/* Inwards */

/* Returns 0, or -errno: it is over. */
static int open_inner(struct visitor *visitor)
{
    struct vmms_rpc *rpc = visitor->tls->rpc;
    int pair[2], twin;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    (void)uv_pipe_init(rpc->config.loop, &visitor->inner, 0);
    visitor->inner.data = visitor;
    visitor->has_inner = true;
    visitor->refs++;
    if (uv_pipe_open(&visitor->inner, pair[0]) < 0) {
        (void)hv_close(pair[0]);
        (void)hv_close(pair[1]);
        return -EIO;
    }
    twin = fcntl(pair[1], F_DUPFD_CLOEXEC, 0);
    if (twin < 0) {
        (void)hv_close(pair[1]);
        return -errno;
    }
    visitor->line = vmms_line_open(rpc, pair[1], twin, visitor);
    visitor->refs += visitor->line != NULL;
    return visitor->line ? 0 : -ENOMEM;
}

/* With no tickets to send we are silent after the handshake. A client that waits for its last
 * flight to be acknowledged before it sends a request (Nagle) would wait for our delayed ACK, 40
 * ms: this sends it now. */
static void acknowledge(struct visitor *visitor)
{
    uv_os_fd_t fd;
    int on = 1;

    if (uv_fileno((uv_handle_t *)&visitor->tcp, &fd) == 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

static void welcome(struct visitor *visitor)
{
    HV_CLEANUP(api_error_freep) struct api_error *refusal = NULL;

    set_state(visitor, VISITOR_OPEN);
    acknowledge(visitor);
    visitor->peer = vmms_peer_new(visitor->tls->rpc->config.remote, visitor->ssl, revoked, visitor);
    if (!visitor->peer || open_inner(visitor) < 0) {
        vmms_visitor_close(visitor);
        return;
    }
    if (vmms_peer_is_known(visitor->peer))
        no_stranger(visitor);
    refusal = vmms_peer_refusal(visitor->peer);
    if (refusal && SSL_get0_peer_certificate(visitor->ssl))
        vmms_tls_tell(visitor->tls, "A remote client is nobody", refusal->message);
    vmms_tls_let_in(visitor->tls);
}

static void shake_hands(struct visitor *visitor)
{
    int r, error;

    ERR_clear_error();
    r = SSL_do_handshake(visitor->ssl);
    error = r == 1 ? SSL_ERROR_NONE : SSL_get_error(visitor->ssl, r);
    if (r == 1) {
        welcome(visitor);
    } else if (error != SSL_ERROR_WANT_READ) {
        const char *why = ERR_reason_error_string(ERR_peek_last_error());

        vmms_tls_tell(visitor->tls, "A remote client's TLS handshake failed",
                      why ? why : "it broke off");
        /* The alert is in the BIO: let it be read. */
        linger(visitor);
    }
    ERR_clear_error();
    if (visitor->state != VISITOR_CLOSED)
        flush_out(visitor);
}

/* What lws has to say at once: our loop would tell us as well, a turn later. */
static void pump_out(struct visitor *visitor)
{
    uv_buf_t buffer = uv_buf_init(visitor->tls->read, sizeof(visitor->tls->read));
    uv_os_fd_t fd;
    ssize_t count;

    if (visitor->state != VISITOR_OPEN || visitor->to_tcp.is_writing ||
        uv_fileno((uv_handle_t *)&visitor->inner, &fd) < 0)
        return;
    count = recv(fd, buffer.base, buffer.len, MSG_DONTWAIT);
    if (count > 0)
        read_inner((uv_stream_t *)&visitor->inner, count, &buffer);
}

/* Decrypt into the pair as long as lws takes it. */
static void pump_in(struct visitor *visitor)
{
    struct vmms_tls *tls = visitor->tls;
    int count = 0, error, r = 0;

    while (r == 0 && visitor->state == VISITOR_OPEN && !visitor->to_inner.is_writing) {
        ERR_clear_error();
        count = SSL_read(visitor->ssl, tls->plain, sizeof(tls->plain));
        if (count <= 0)
            break;
        r = send_some(&visitor->to_inner, (uv_stream_t *)&visitor->inner, tls->plain, (size_t)count,
                      inner_written);
        if (r == 0 && visitor->line)
            vmms_line_look(visitor->line);
        pump_out(visitor);
    }
    if (visitor->state != VISITOR_OPEN || r == 1)
        return;
    error = count <= 0 ? SSL_get_error(visitor->ssl, count) : SSL_ERROR_NONE;
    /* r < 0: lws has closed its end; its last words are still to be read from ours. */
    if (r == 0 && error == SSL_ERROR_ZERO_RETURN)
        end(visitor);
    else if (r == 0 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_NONE)
        linger(visitor);
    else
        flush_out(visitor);
}

static void read_tcp(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct visitor *visitor = stream->data;

    if (count == UV_EOF && visitor->state == VISITOR_OPEN) {
        end(visitor);
        return;
    }
    if (count < 0) {
        vmms_visitor_close(visitor);
        return;
    }
    if (count == 0 || visitor->state == VISITOR_LINGER)
        return;
    if (BIO_write(visitor->in, buffer->base, (int)count) != (int)count) {
        vmms_visitor_close(visitor);
        return;
    }
    if (visitor->state == VISITOR_HANDSHAKE)
        shake_hands(visitor);
    if (visitor->state == VISITOR_OPEN)
        pump_in(visitor);
    regulate(visitor);
}

/* Beginning */

static int begin_tls(struct visitor *visitor, SSL_CTX *context)
{
    visitor->ssl = SSL_new(context);
    visitor->in = BIO_new(BIO_s_mem());
    visitor->out = BIO_new(BIO_s_mem());
    if (!visitor->ssl || !visitor->in || !visitor->out) {
        BIO_free(visitor->in);
        BIO_free(visitor->out);
        return -ENOMEM;
    }
    SSL_set_bio(visitor->ssl, visitor->in, visitor->out);
    SSL_set_accept_state(visitor->ssl);
    return 0;
}

int vmms_visitor_accept(struct vmms_tls *tls, uv_stream_t *server, SSL_CTX *context)
{
    struct visitor *visitor = calloc(1, sizeof(*visitor));
    int r;

    if (!visitor)
        return -ENOMEM;
    visitor->tls = tls;
    visitor->refs = 1;
    visitor->born_ms = visitor->since_ms = vmms_tls_now_ms(tls);
    (void)uv_tcp_init(tls->rpc->config.loop, &visitor->tcp);
    visitor->tcp.data = visitor->to_tcp.write.data = visitor->to_inner.write.data = visitor;
    hv_list_append(&tls->visitors, &visitor->node);
    tls->n_visitors++;
    visitor->is_stranger = true;
    tls->n_strangers++;
    r = uv_accept(server, (uv_stream_t *)&visitor->tcp);
    if (r == 0)
        r = begin_tls(visitor, context);
    if (r == 0)
        r = uv_tcp_nodelay(&visitor->tcp, 1);
    if (r < 0)
        vmms_visitor_close(visitor);
    regulate(visitor);
    return r;
}
