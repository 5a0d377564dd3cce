/* SPDX-License-Identifier: Apache-2.0 */
/* A client: what it sent becomes calls, answers gather until a body has all of its own. */
#include "vmmsd/rpc/rpc_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct connection *vmms_connection_new(struct vmms_rpc *rpc, struct lws *wsi, bool is_websocket)
{
    bool is_remote = vmms_line_visitor(wsi) != NULL;
    struct connection *connection;

    if (!is_remote && rpc->n_connections >= MAX_CONNECTIONS)
        return NULL;
    connection = calloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    connection->rpc = rpc;
    connection->wsi = wsi;
    connection->is_websocket = is_websocket;
    connection->is_remote = is_remote;
    connection->status = HTTP_STATUS_OK;
    connection->content_type = "application/json";
    hv_list_init(&connection->exchanges);
    hv_list_init(&connection->out);
    hv_list_init(&connection->streams);
    hv_list_append(&rpc->connections, &connection->node);
    rpc->n_connections += !is_remote;
    return connection;
}

static void exchange_free(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;

    HV_LIST_FOREACH (node, &connection->rpc->pending) {
        struct pending *pending = HV_LIST_ENTRY(node, struct pending, node);

        if (pending->exchange != exchange)
            continue;
        hv_list_remove(node);
        free(pending->id);
        free(pending);
    }
    for (size_t i = 0; i < exchange->count; i++)
        free(exchange->answers[i]);
    hv_list_remove(&exchange->node);
    connection->n_exchanges--;
    if (connection->peer)
        vmms_peer_end(connection->peer);
    free(exchange);
}

static void take_body(struct connection *connection);

/* Bodies that waited until their identity has fewer under way. */
static void resume_deferred(struct vmms_rpc *rpc)
{
    if (!rpc->n_deferred || rpc->is_resuming)
        return;
    rpc->is_resuming = true;
    HV_LIST_FOREACH (node, &rpc->connections) {
        struct connection *connection = HV_LIST_ENTRY(node, struct connection, node);

        if (!connection->is_deferred || !connection->wsi || !vmms_peer_begin(connection->peer))
            continue;
        connection->is_deferred = false;
        rpc->n_deferred--;
        take_body(connection);
        if (connection->is_websocket && !connection->is_paused)
            vmms_line_set_reading(connection->wsi, true);
    }
    rpc->is_resuming = false;
}

void vmms_connection_free(struct connection *connection)
{
    if (!connection)
        return;
    connection->wsi = NULL;
    HV_LIST_FOREACH (node, &connection->streams) {
        struct vmms_rpc_stream *stream = HV_LIST_ENTRY(node, struct vmms_rpc_stream, node);

        hv_list_remove(node);
        stream->ops.closed(stream->opaque);
        free(stream);
    }
    HV_LIST_FOREACH (node, &connection->exchanges)
        exchange_free(HV_LIST_ENTRY(node, struct exchange, node));
    HV_LIST_FOREACH (node, &connection->out)
        free(HV_LIST_ENTRY(node, struct message, node));
    hv_list_remove(&connection->node);
    connection->rpc->n_connections -= !connection->is_remote;
    connection->rpc->n_deferred -= connection->is_deferred;
    resume_deferred(connection->rpc);
    free(connection->in);
    free(connection);
}

bool vmms_connection_is_welcome(struct connection *connection)
{
    struct lws *wsi = connection->wsi;
    const struct visitor *visitor = vmms_line_visitor(wsi);
    struct ucred peer;
    socklen_t length = sizeof(peer);

    /* A TLS client is let in whoever it is: each call is looked at before it is read. */
    if (visitor) {
        connection->peer = vmms_visitor_peer(visitor);
        vmms_peer_actor(connection->peer, connection->actor, sizeof(connection->actor));
        return true;
    }
    if (getsockopt(lws_get_socket_fd(wsi), SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return false;
    (void)snprintf(connection->actor, sizeof(connection->actor), "uid:%u", peer.uid);
    return peer.uid == 0 || peer.uid == geteuid();
}

/* Grows with what arrives, never with what is announced. */
int vmms_connection_take(struct connection *connection, const void *bytes, size_t length)
{
    size_t wanted = connection->in_length + length, room = connection->in_room;
    char *grown;

    if (wanted > RPC_MAX_BODY_BYTES)
        return -EMSGSIZE;
    while (room < wanted)
        room = room ? room * 2 : 1024;
    if (room != connection->in_room) {
        grown = realloc(connection->in, room);
        if (!grown)
            return -ENOMEM;
        connection->in = grown;
        connection->in_room = room;
    }
    if (length)
        memcpy(connection->in + connection->in_length, bytes, length);
    connection->in_length = wanted;
    return 0;
}

int vmms_connection_send(struct connection *connection, const void *bytes, size_t length,
                         bool is_binary)
{
    struct message *message = malloc(sizeof(*message) + LWS_PRE + length);

    if (!message)
        return -ENOMEM;
    *message = (struct message){ .is_binary = is_binary, .length = length };
    memcpy(message->bytes + LWS_PRE, bytes, length);
    hv_list_append(&connection->out, &message->node);
    connection->out_bytes += length;
    if (connection->wsi)
        vmms_line_want_write(connection->wsi);
    return 0;
}

static int put_answers(const struct exchange *exchange, struct json_writer *out)
{
    size_t count = 0;

    if (exchange->is_batch)
        json_begin_array(out);
    for (size_t i = 0; i < exchange->count; i++) {
        if (!exchange->answers[i])
            continue;
        json_put_raw(out, exchange->answers[i], strlen(exchange->answers[i]));
        count++;
    }
    if (exchange->is_batch)
        json_end_array(out);
    return count > 0;
}

/* Take more where reading had stopped because of too many open calls. */
static void resume(struct connection *connection)
{
    if (!connection->is_paused || connection->n_exchanges >= MAX_EXCHANGES || !connection->wsi)
        return;
    connection->is_paused = false;
    if (!connection->is_deferred)
        vmms_line_set_reading(connection->wsi, true);
}

/* The answer is on its way: streams that it opened may begin, once it has been written. */
static void release_streams(const struct exchange *exchange)
{
    HV_LIST_FOREACH (node, &exchange->connection->streams) {
        struct vmms_rpc_stream *stream = HV_LIST_ENTRY(node, struct vmms_rpc_stream, node);

        if (stream->exchange == exchange)
            stream->exchange = NULL;
    }
}

static void exchange_check(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    struct json_writer out = { 0 };
    hv_autofree char *text = NULL;
    size_t length = 0;
    bool has_answer;

    if (exchange->is_reading || exchange->done < exchange->count)
        return;
    has_answer = put_answers(exchange, &out);
    release_streams(exchange);
    exchange_free(exchange);
    if (json_writer_take(&out, &text, &length) < 0)
        length = 0;
    if (has_answer && length) {
        (void)vmms_connection_send(connection, text, length, false);
    } else if (!connection->is_websocket) {
        connection->status =
            has_answer ? HTTP_STATUS_INTERNAL_SERVER_ERROR : HTTP_STATUS_NO_CONTENT;
        (void)vmms_connection_send(connection, "", 0, false);
    }
    resume(connection);
    resume_deferred(connection->rpc);
}

static void answer_error(struct exchange *exchange, size_t slot, const char *id,
                         const struct api_error *error)
{
    struct json_writer out = { 0 };

    rpc_put_error(&out, id, error);
    (void)json_writer_take(&out, &exchange->answers[slot], NULL);
    exchange->done++;
}

static int check_stream(const struct connection *connection, const struct rpc_call *call,
                        struct api_error **reterr)
{
    const struct api_method_info *info = &api_methods[call->request.method];

    if (!info->is_stream || (connection->is_websocket && call->id))
        return 0;
    return api_error_set(reterr, API_E_NOT_SUPPORTED, "api.stream", NULL,
                         "%s needs a WebSocket (ws://.../rpc) and an id.", info->name);
}

/* The one place where it is decided whether a call may be made: before its arguments are read, then
 * whether they keep to what the caller may see, before anybody looks for it. */
static int read_allowed(struct connection *connection, const struct json_value *value,
                        struct rpc_call *ret, struct api_error **reterr)
{
    struct vmms_peer *peer = connection->peer;
    enum api_method method;
    int r = rpc_call_read_head(value, ret, &method, reterr);

    /* What is no method counts as the cheapest: nobody may try even that. */
    if (r == 0 && peer)
        r = vmms_peer_may(peer, method == API_METHOD_COUNT ? API_METHOD_HOST_PING : method, reterr);
    if (r == 0)
        r = rpc_call_read_args(value, ret, reterr);
    if (r == 0 && peer)
        r = vmms_peer_may_see(peer, &ret->request, reterr);
    return r;
}

/* Rule 12.2: whom nothing was given to is told of as well. */
static void tell_refusal(const struct connection *connection, const struct api_error *error)
{
    char who[ACTOR_BYTES + 32];

    if (!connection->peer || !error ||
        (error->code != API_E_ACCESS_DENIED && error->code != API_E_UNAUTHENTICATED))
        return;
    (void)snprintf(who, sizeof(who), "A call by %s was refused", connection->actor);
    vmms_tls_tell(connection->rpc->tls, who, error->message);
}

/* One call of a body: answered at once where it is wrong, else sent on its way. */
static void take_call(struct exchange *exchange, size_t slot, const struct json_value *value)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
    struct vmms_rpc *rpc = exchange->connection->rpc;
    struct rpc_call call;
    struct pending *pending;
    int r = read_allowed(exchange->connection, value, &call, &error);

    if (r == 0)
        r = check_stream(exchange->connection, &call, &error);
    if (r < 0) {
        tell_refusal(exchange->connection, error);
        rpc->config.refused(rpc->config.opaque, error);
        if (call.id)
            answer_error(exchange, slot, call.id, error);
        else
            exchange->done++;
        rpc_call_fini(&call);
        return;
    }
    pending = calloc(1, sizeof(*pending));
    hv_assert(pending);
    pending->call = rpc->next_call++;
    pending->exchange = exchange;
    pending->slot = slot;
    pending->id = HV_TAKE_PTR(call.id);
    hv_list_append(&rpc->pending, &pending->node);
    rpc->config.call(rpc->config.opaque, pending->call, &call.request, exchange->connection->actor);
}

static struct exchange *exchange_new(struct connection *connection, size_t count, bool is_batch)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));

    hv_assert(exchange);
    exchange->connection = connection;
    exchange->count = count;
    exchange->is_batch = is_batch;
    exchange->is_reading = true;
    hv_list_append(&connection->exchanges, &exchange->node);
    connection->n_exchanges++;
    if (connection->is_websocket && connection->n_exchanges >= MAX_EXCHANGES) {
        connection->is_paused = true;
        vmms_line_set_reading(connection->wsi, false);
    }
    return exchange;
}

void vmms_connection_body(struct connection *connection)
{
    if (!connection->peer || vmms_peer_begin(connection->peer)) {
        take_body(connection);
        return;
    }
    connection->is_deferred = true;
    connection->rpc->n_deferred++;
    vmms_line_set_reading(connection->wsi, false);
}

static void take_body(struct connection *connection)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
    const struct json_value *value, *next;
    struct exchange *exchange;
    struct rpc_batch batch;
    /* An empty message has left nothing to point at. */
    const char *body = connection->in ? connection->in : "";
    int r = rpc_batch_read(body, connection->in_length, &batch, &error);

    connection->in_length = 0;
    if (r < 0) {
        exchange = exchange_new(connection, 1, false);
        answer_error(exchange, 0, NULL, error);
    } else {
        exchange = exchange_new(connection, batch.count, batch.is_batch);
        value = batch.first;
        for (size_t i = 0; i < batch.count; i++, value = next) {
            next = value->next;
            take_call(exchange, i, value);
        }
    }
    rpc_batch_fini(&batch);
    exchange->is_reading = false;
    exchange_check(exchange);
}

static struct pending *find_pending(const struct vmms_rpc *rpc, uint64_t call)
{
    HV_LIST_FOREACH (node, &rpc->pending) {
        struct pending *pending = HV_LIST_ENTRY(node, struct pending, node);

        if (pending->call == call)
            return pending;
    }
    return NULL;
}

void vmms_rpc_reply(struct vmms_rpc *rpc, uint64_t call, enum api_method method,
                    const union api_result *result, uint64_t fields, const struct api_error *error)
{
    struct pending *pending = find_pending(rpc, call);
    struct json_writer out = { 0 };
    struct exchange *exchange;

    if (!pending)
        return;
    exchange = pending->exchange;
    if (pending->id) {
        if (error)
            rpc_put_error(&out, pending->id, error);
        else
            rpc_put_result(&out, pending->id, method, result, fields);
        (void)json_writer_take(&out, &exchange->answers[pending->slot], NULL);
    }
    exchange->done++;
    hv_list_remove(&pending->node);
    free(pending->id);
    free(pending);
    exchange_check(exchange);
}

struct vmms_peer *vmms_rpc_peer(const struct vmms_rpc *rpc, uint64_t call)
{
    const struct pending *pending = find_pending(rpc, call);

    return pending ? pending->exchange->connection->peer : NULL;
}

const struct vmms_scope *vmms_rpc_stream_scope(const struct vmms_rpc_stream *stream)
{
    return vmms_peer_scope(stream->connection->peer);
}

struct vmms_rpc_stream *vmms_rpc_stream_open(struct vmms_rpc *rpc, uint64_t call,
                                             const struct vmms_stream_ops *ops, void *opaque)
{
    struct pending *pending = find_pending(rpc, call);
    struct vmms_rpc_stream *stream;

    if (!pending || !pending->exchange->connection->is_websocket)
        return NULL;
    stream = calloc(1, sizeof(*stream));
    if (!stream)
        return NULL;
    stream->connection = pending->exchange->connection;
    stream->exchange = pending->exchange;
    stream->ops = *ops;
    stream->opaque = opaque;
    hv_list_append(&stream->connection->streams, &stream->node);
    return stream;
}

size_t vmms_rpc_stream_room(const struct vmms_rpc_stream *stream)
{
    size_t unsent = stream->connection->out_bytes;

    if (stream->exchange)
        return 0;
    return unsent < STREAM_ROOM_BYTES ? STREAM_ROOM_BYTES - unsent : 0;
}

void vmms_rpc_stream_send(struct vmms_rpc_stream *stream, const void *bytes, size_t length,
                          bool is_binary)
{
    (void)vmms_connection_send(stream->connection, bytes, length, is_binary);
}

void vmms_rpc_stream_end(struct vmms_rpc_stream *stream)
{
    struct connection *connection = stream->connection;

    hv_list_remove(&stream->node);
    free(stream);
    connection->is_ending = true;
    if (connection->wsi)
        vmms_line_want_write(connection->wsi);
}
