/* SPDX-License-Identifier: Apache-2.0 */
/* POST /rpc and GET /metrics: reliability rule 9.6 on top of what lws's parser refuses itself. */
#include "vmmsd/rpc/rpc_priv.h"

#include <stdio.h>
#include <string.h>

enum { ANSWER_HEADER_BYTES = 512 };

/* Refuse a request before its body: a sentence, then the connection is closed, so that no doubt is
 * left about where the next request begins. */
int vmms_http_refuse(struct lws *wsi, unsigned status, const char *sentence)
{
    unsigned char buffer[LWS_PRE + ANSWER_HEADER_BYTES], *start = buffer + LWS_PRE, *at = start;
    unsigned char *end = buffer + sizeof(buffer) - 1, body[LWS_PRE + 256];
    int length = snprintf((char *)body + LWS_PRE, sizeof(body) - LWS_PRE, "%.250s\n", sentence);
    struct vmms_rpc *rpc = lws_context_user(lws_get_context(wsi));

    rpc->n_refused++;
    if (lws_add_http_common_headers(wsi, status, "text/plain", (lws_filepos_t)length, &at, end) ||
        lws_add_http_header_by_name(wsi, (const unsigned char *)"connection:",
                                    (const unsigned char *)"close", 5, &at, end) ||
        (status == HTTP_STATUS_METHOD_NOT_ALLOWED &&
         lws_add_http_header_by_name(
             wsi, (const unsigned char *)"allow:", (const unsigned char *)"POST", 4, &at, end)) ||
        lws_finalize_write_http_header(wsi, start, &at, end))
        return -1;
    (void)lws_write(wsi, body + LWS_PRE, (size_t)length, LWS_WRITE_HTTP_FINAL);
    return -1;
}

/* Exactly one Content-Length, of digits only. lws joins several headers of one name with a comma,
 * which is no digit. Returns 0 or -EINVAL, -ERANGE. */
static int read_length(struct lws *wsi, size_t *ret)
{
    char text[24];
    int length = lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_HTTP_CONTENT_LENGTH);
    size_t sum = 0;

    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0)
        return -EINVAL;
    if (length <= 0)
        return -ERANGE;
    for (int i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        sum = sum * 10 + (size_t)(text[i] - '0');
        if (sum > RPC_MAX_BODY_BYTES)
            return -ERANGE;
    }
    *ret = sum;
    return 0;
}

/* A client, if there is room for it and it may be here at all. Returns 0, or what lws shall get. */
static int let_in(struct vmms_rpc *rpc, struct lws *wsi, struct session *session)
{
    session->connection = vmms_connection_new(rpc, wsi, false);
    if (!session->connection)
        return vmms_http_refuse(wsi, HTTP_STATUS_SERVICE_UNAVAILABLE,
                                "There are too many connections.");
    if (!vmms_connection_is_welcome(session->connection))
        return vmms_http_refuse(wsi, HTTP_STATUS_FORBIDDEN, VMMS_HTTP_UNWELCOME);
    return 0;
}

/* The right is that of the method that tells the same. */
static int begin_metrics(struct vmms_rpc *rpc, struct lws *wsi, struct session *session)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
    hv_autofree char *text = NULL;
    struct connection *connection;

    if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_METHOD_NOT_ALLOWED, "Metrics are read by GET.");
    if (let_in(rpc, wsi, session))
        return -1;
    connection = session->connection;
    if (connection->peer && vmms_peer_may(connection->peer, API_METHOD_VM_SUMMARIES, &error) < 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_FORBIDDEN, error->message);
    text = rpc->config.metrics(rpc->config.opaque, connection->peer);
    if (!text)
        return vmms_http_refuse(wsi, HTTP_STATUS_SERVICE_UNAVAILABLE,
                                "There is no memory for the answer.");
    connection->content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    vmms_line_has_all(wsi);
    vmms_line_set_reading(wsi, false);
    return vmms_connection_send(connection, text, strlen(text), false) < 0 ? -1 : 0;
}

static int begin(struct vmms_rpc *rpc, struct lws *wsi, struct session *session, const char *path)
{
    struct connection *connection;
    size_t expected = 0;
    int r;

    if (strcmp(path, "/metrics") == 0)
        return begin_metrics(rpc, wsi, session);
    if (strcmp(path, "/rpc") != 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_NOT_FOUND, "There are /rpc and /metrics here.");
    if (lws_hdr_total_length(wsi, WSI_TOKEN_POST_URI) <= 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_METHOD_NOT_ALLOWED,
                                "Calls are made by POST to /rpc.");
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_LENGTH_REQUIRED,
                                "Send the request with a Content-Length, not in chunks.");
    r = read_length(wsi, &expected);
    if (r == -ERANGE)
        return vmms_http_refuse(wsi, HTTP_STATUS_REQ_ENTITY_TOO_LARGE,
                                "The request is too large; allowed are 1048576 bytes.");
    if (r < 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_BAD_REQUEST,
                                "Exactly one Content-Length of digits is expected.");
    if (!expected)
        return vmms_http_refuse(wsi, HTTP_STATUS_BAD_REQUEST, "The request is empty.");
    if (let_in(rpc, wsi, session))
        return -1;
    connection = session->connection;
    connection->in_expected = expected;
    if (connection->peer && !vmms_peer_is_known(connection->peer) &&
        expected > MAX_NOBODY_BODY_BYTES)
        return vmms_http_refuse(wsi, HTTP_STATUS_REQ_ENTITY_TOO_LARGE,
                                "The request is too large for a client without a certificate.");
    lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, BODY_SECONDS + LATER_SECONDS);
    return 0;
}

static int put_head(const struct connection *connection, const struct message *message,
                    unsigned char **at, unsigned char *end)
{
    struct lws *wsi = connection->wsi;

    return lws_add_http_common_headers(wsi, (unsigned)connection->status, connection->content_type,
                                       message->length, at, end) ||
           (connection->is_ending &&
            lws_add_http_header_by_name(wsi, (const unsigned char *)"connection:",
                                        (const unsigned char *)"close", 5, at, end)) ||
           lws_finalize_http_header(wsi, at, end);
}

/* The head, and as much of the answer with it: two writes would wake the client twice. */
static int write_head(struct connection *connection, const struct message *message, size_t length)
{
    unsigned char buffer[LWS_PRE + ANSWER_HEADER_BYTES + CHUNK_BYTES], *start = buffer + LWS_PRE;
    unsigned char *at = start;

    connection->is_headers_sent = true;
    if (put_head(connection, message, &at, start + ANSWER_HEADER_BYTES - 1))
        return -1;
    memcpy(at, message->bytes + LWS_PRE, length);
    at += length;
    return lws_write(connection->wsi, start, (size_t)(at - start),
                     length == message->length ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) < 0
               ? -1
               : 0;
}

/* The answer, a chunk per call. A client that sends its next request ahead gets this one and is
 * left: what lws 4.1 has read ahead it takes for a body where headers and a body are in it
 * (lib/roles/http/server/server.c, lws_http_action). RFC 9112 section 9.3.2 lets a server close
 * after any answer; the client repeats the rest. */
static int writable(struct session *session)
{
    struct connection *connection = session->connection;
    struct lws *wsi = connection->wsi;
    struct message *message;
    size_t chunk;
    bool is_final;
    int r;

    if (hv_list_is_empty(&connection->out))
        return 0;
    message = HV_LIST_ENTRY(connection->out.next, struct message, node);
    lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, WRITE_SECONDS);
    chunk = message->length - message->sent;
    is_final = chunk <= CHUNK_BYTES;
    chunk = is_final ? chunk : CHUNK_BYTES;
    if (!connection->is_headers_sent) {
        r = vmms_line_has_sent_ahead(wsi);
        if (r < 0) {
            vmms_line_want_write(wsi);
            return 0;
        }
        connection->is_ending = r > 0;
        if (write_head(connection, message, chunk))
            return -1;
    } else if (chunk && lws_write(wsi, message->bytes + LWS_PRE + message->sent, chunk,
                                  is_final ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) < 0) {
        return -1;
    }
    message->sent += chunk;
    if (!is_final) {
        vmms_line_want_write(wsi);
        return 0;
    }
    session->connection = NULL;
    is_final = connection->is_ending;
    vmms_connection_free(connection);
    return is_final || lws_http_transaction_completed(wsi) ? -1 : 0;
}

/* Nothing is read until lws drops the protocol, which it does when the answer is out: what a client
 * sends ahead would end its body a second time, and a client that has shut down its side would be
 * gone. */
static int body_complete(struct session *session)
{
    struct connection *connection = session->connection;

    vmms_line_has_all(connection->wsi);
    vmms_line_set_reading(connection->wsi, false);
    lws_set_timeout(connection->wsi, NO_PENDING_TIMEOUT, 0);
    vmms_connection_body(connection);
    return 0;
}

int vmms_http_event(struct vmms_rpc *rpc, struct lws *wsi, enum lws_callback_reasons reason,
                    struct session *session, void *in, size_t length)
{
    switch (reason) {
    case LWS_CALLBACK_HTTP: vmms_line_asked(wsi); return begin(rpc, wsi, session, in);
    case LWS_CALLBACK_HTTP_BODY:
        if (!session || !session->connection)
            return -1;
        return vmms_connection_take(session->connection, in, length) < 0 ? -1 : 0;
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        if (!session || !session->connection)
            return -1;
        return body_complete(session);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        vmms_line_may_write(wsi);
        return session && session->connection ? writable(session) : 0;
    case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
    case LWS_CALLBACK_CLOSED_HTTP:
        vmms_line_answered(wsi);
        vmms_line_set_reading(wsi, true);
        if (session) {
            vmms_connection_free(session->connection);
            session->connection = NULL;
        }
        return 0;
    default: return 0;
    }
}
