/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket /rpc: each text message is a body, binary messages are a console's input. Rule 9.10. */
#include "vmmsd/rpc/rpc_priv.h"

#include <string.h>

/* A TLS client that is nobody is told why; without a word it could only guess. */
static int refuse_nobody(struct lws *wsi, const struct vmms_peer *peer)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = vmms_peer_refusal(peer);

    return vmms_http_refuse(wsi, HTTP_STATUS_FORBIDDEN,
                            error ? error->message : "The client is not known.");
}

static bool has_word(struct lws *wsi, enum lws_token_indexes header, const char *word)
{
    char text[128];

    return lws_hdr_copy(wsi, text, sizeof(text), header) > 0 && strcasestr(text, word);
}

/* lws would speak HTTP/2 as well ("h2c"), with streams that we don't know. What is no upgrade at
 * all it has refused by now, and would go on with headers that it has freed. Where it doesn't like
 * a handshake it closes without a word. */
static int confirm(struct lws *wsi)
{
    char name[16];

    if (lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE) <= 0)
        return -1;
    if (lws_hdr_copy(wsi, name, sizeof(name), WSI_TOKEN_UPGRADE) <= 0 ||
        strcasecmp(name, "websocket") != 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_BAD_REQUEST,
                                "A connection becomes a WebSocket, and nothing else.");
    if (!has_word(wsi, WSI_TOKEN_CONNECTION, "upgrade") ||
        !has_word(wsi, WSI_TOKEN_VERSION, "13") || lws_hdr_total_length(wsi, WSI_TOKEN_KEY) <= 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_BAD_REQUEST,
                                "A WebSocket is opened with Connection: Upgrade, with "
                                "Sec-WebSocket-Version: 13 and with a Sec-WebSocket-Key.");
    if (lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) > 0 &&
        !has_word(wsi, WSI_TOKEN_PROTOCOL, VMMS_RPC_PROTOCOL))
        return vmms_http_refuse(wsi, HTTP_STATUS_BAD_REQUEST,
                                "The only subprotocol here is " VMMS_RPC_PROTOCOL ".");
    return 0;
}

/* Before the upgrade: the right place, nobody's browser page, and somebody who may call. */
static int filter(struct vmms_rpc *rpc, struct lws *wsi)
{
    struct connection visitor = { .rpc = rpc, .wsi = wsi };
    char path[16];

    if (lws_hdr_copy(wsi, path, sizeof(path), WSI_TOKEN_GET_URI) <= 0 || strcmp(path, "/rpc") != 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_NOT_FOUND, "WebSockets are opened at /rpc.");
    if (lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) > 0)
        return vmms_http_refuse(wsi, HTTP_STATUS_FORBIDDEN,
                                "Web pages may not open WebSockets here: send no Origin.");
    if (!vmms_connection_is_welcome(&visitor))
        return vmms_http_refuse(wsi, HTTP_STATUS_FORBIDDEN, VMMS_HTTP_UNWELCOME);
    if (visitor.peer && !vmms_peer_is_known(visitor.peer))
        return refuse_nobody(wsi, visitor.peer);
    return 0;
}

static int established(struct vmms_rpc *rpc, struct lws *wsi, struct session *session)
{
    vmms_line_upgraded(wsi);
    session->connection = vmms_connection_new(rpc, wsi, true);
    return session->connection && vmms_connection_is_welcome(session->connection) ? 0 : -1;
}

static int take_input(struct connection *connection, const void *bytes, size_t length)
{
    HV_LIST_FOREACH (node, &connection->streams) {
        struct vmms_rpc_stream *stream = HV_LIST_ENTRY(node, struct vmms_rpc_stream, node);

        if (stream->ops.input) {
            stream->ops.input(stream->opaque, bytes, length);
            return 0;
        }
    }
    if (connection->is_ending)
        return 0;
    lws_close_reason(connection->wsi, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, NULL, 0);
    return -1;
}

static int receive(struct connection *connection, const void *bytes, size_t length)
{
    struct lws *wsi = connection->wsi;

    if (lws_frame_is_binary(wsi))
        return take_input(connection, bytes, length);
    if (vmms_connection_take(connection, bytes, length) < 0) {
        lws_close_reason(wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, NULL, 0);
        return -1;
    }
    if (lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi))
        vmms_connection_body(connection);
    return 0;
}

static void tell_drained(struct connection *connection)
{
    HV_LIST_FOREACH (node, &connection->streams) {
        struct vmms_rpc_stream *stream = HV_LIST_ENTRY(node, struct vmms_rpc_stream, node);

        stream->ops.drained(stream->opaque);
    }
}

static int writable(struct connection *connection)
{
    struct lws *wsi = connection->wsi;
    struct message *message;
    size_t chunk;
    int flags;

    if (hv_list_is_empty(&connection->out)) {
        if (!connection->is_ending)
            return 0;
        lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
        return -1;
    }
    message = HV_LIST_ENTRY(connection->out.next, struct message, node);
    chunk = message->length - message->sent;
    chunk = chunk > CHUNK_BYTES ? CHUNK_BYTES : chunk;
    flags = lws_write_ws_flags(message->is_binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT,
                               message->sent == 0, message->sent + chunk == message->length);
    if (lws_write(wsi, message->bytes + LWS_PRE + message->sent, chunk,
                  (enum lws_write_protocol)flags) < 0)
        return -1;
    message->sent += chunk;
    connection->out_bytes -= chunk;
    if (message->sent == message->length) {
        hv_list_remove(&message->node);
        free(message);
    }
    tell_drained(connection);
    if (!hv_list_is_empty(&connection->out) || connection->is_ending)
        vmms_line_want_write(wsi);
    return 0;
}

int vmms_websocket_event(struct vmms_rpc *rpc, struct lws *wsi, enum lws_callback_reasons reason,
                         struct session *session, void *in, size_t length)
{
    switch (reason) {
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: return confirm(wsi);
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: return filter(rpc, wsi);
    case LWS_CALLBACK_ESTABLISHED: return established(rpc, wsi, session);
    case LWS_CALLBACK_RECEIVE:
        return session->connection ? receive(session->connection, in, length) : -1;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        vmms_line_may_write(wsi);
        return session->connection ? writable(session->connection) : -1;
    case LWS_CALLBACK_CLOSED:
        vmms_connection_free(session->connection);
        session->connection = NULL;
        return 0;
    default: return 0;
    }
}
