/* SPDX-License-Identifier: Apache-2.0 */
/* Console.Open: a serial port's bytes by a descriptor that goes with the answer. The right to it is
 * asked about when it is opened; then whoever has the descriptor has the stream. */
#include "vmmsd/bus/bus_priv.h"

#include <string.h>
#include <sys/socket.h>

enum { MAX_STREAMS = 256, MAX_OF_ONE = 32, ROOM_BYTES = 256 << 10, READ_BYTES = 4096 };

struct vmms_dbus_stream {
    struct hv_list node;
    struct vmms_dbus *dbus;
    uint32_t uid;
    uv_pipe_t pipe;
    uv_shutdown_t shutdown;
    const struct vmms_stream_ops *ops; /* NULL: nobody feeds it any more */
    void *opaque;
    bool is_closed;
    char bytes[READ_BYTES]; /* what came in last */
};

/* What the socket did not take at once. */
struct piece {
    uv_write_t write;
    char bytes[];
};

/* Ends */

static void handle_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void close_stream(struct vmms_dbus_stream *stream)
{
    const struct vmms_stream_ops *ops = stream->ops;

    if (stream->is_closed)
        return;
    stream->is_closed = true;
    stream->ops = NULL;
    hv_list_remove(&stream->node);
    uv_close((uv_handle_t *)&stream->pipe, handle_closed);
    if (ops)
        ops->closed(stream->opaque);
}

static void shut(uv_shutdown_t *shutdown, int status)
{
    close_stream(shutdown->data);
}

void vmms_dbus_stream_end(struct vmms_dbus_stream *stream)
{
    stream->ops = NULL;
    stream->shutdown.data = stream;
    if (!stream->is_closed &&
        uv_shutdown(&stream->shutdown, (uv_stream_t *)&stream->pipe, shut) < 0)
        close_stream(stream);
}

void vmms_dbus_close_streams(struct vmms_dbus *dbus)
{
    HV_LIST_FOREACH (node, &dbus->streams)
        close_stream(HV_LIST_ENTRY(node, struct vmms_dbus_stream, node));
}

/* Bytes */

static void alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret)
{
    struct vmms_dbus_stream *stream = handle->data;

    *ret = uv_buf_init(stream->bytes, sizeof(stream->bytes));
}

static void arrived(uv_stream_t *pipe, ssize_t count, const uv_buf_t *buffer)
{
    struct vmms_dbus_stream *stream = pipe->data;

    if (count < 0)
        close_stream(stream);
    else if (count > 0 && stream->ops)
        stream->ops->input(stream->opaque, buffer->base, (size_t)count);
}

static void written(uv_write_t *write, int status)
{
    struct vmms_dbus_stream *stream = write->handle->data;

    free(HV_CONTAINER_OF(write, struct piece, write));
    if (status < 0)
        close_stream(stream);
    else if (stream->ops)
        stream->ops->drained(stream->opaque);
}

size_t vmms_dbus_stream_room(const struct vmms_dbus_stream *stream)
{
    size_t unsent = uv_stream_get_write_queue_size((const uv_stream_t *)&stream->pipe);

    return unsent < ROOM_BYTES ? ROOM_BYTES - unsent : 0;
}

void vmms_dbus_stream_send(struct vmms_dbus_stream *stream, const void *bytes, size_t length)
{
    struct piece *piece = malloc(sizeof(*piece) + length);
    uv_buf_t buffer;

    hv_assert(piece);
    memcpy(piece->bytes, bytes, length);
    buffer = uv_buf_init(piece->bytes, (unsigned)length);
    if (stream->is_closed ||
        uv_write(&piece->write, (uv_stream_t *)&stream->pipe, &buffer, 1, written) < 0)
        free(piece);
}

/* Opening */

static bool has_room(const struct vmms_dbus *dbus, uint32_t uid)
{
    unsigned all = 0, theirs = 0;

    HV_LIST_FOREACH (node, &dbus->streams) {
        all++;
        theirs += HV_LIST_ENTRY(node, struct vmms_dbus_stream, node)->uid == uid;
    }
    return all < MAX_STREAMS && theirs < MAX_OF_ONE;
}

static int make_pair(struct vmms_dbus_stream *stream, int *ret_far)
{
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    r = uv_pipe_open(&stream->pipe, pair[0]);
    if (r < 0)
        hv_close(pair[0]);
    if (r < 0)
        hv_close(pair[1]);
    else
        *ret_far = pair[1];
    return r;
}

static struct vmms_dbus_stream *refuse(struct vmms_dbus_call *call)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_RATE_LIMITED, "api.dbus.streams", NULL,
                  "Too many consoles are open; allowed are %d for one user.", MAX_OF_ONE);
    vmms_dbus_call_fail(call, error);
    return NULL;
}

struct vmms_dbus_stream *vmms_dbus_stream_open(struct vmms_dbus *dbus, uint64_t number,
                                               const struct vmms_stream_ops *ops, void *opaque)
{
    struct vmms_dbus_call *call = vmms_dbus_call_find(dbus, number);
    struct vmms_dbus_stream *stream;

    if (!call)
        return NULL;
    if (!call->message || !call->peer) {
        vmms_dbus_call_free(call);
        return NULL;
    }
    if (!has_room(dbus, call->peer->uid))
        return refuse(call);
    stream = calloc(1, sizeof(*stream));
    hv_assert(stream);
    stream->dbus = dbus;
    stream->uid = call->peer->uid;
    (void)uv_pipe_init(dbus->config.loop, &stream->pipe, 0);
    stream->pipe.data = stream;
    hv_list_append(&dbus->streams, &stream->node);
    if (make_pair(stream, &call->stream_fd) < 0) {
        close_stream(stream);
        return refuse(call);
    }
    stream->ops = ops;
    stream->opaque = opaque;
    (void)uv_read_start((uv_stream_t *)&stream->pipe, alloc, arrived);
    return stream;
}

/* The call */

bool vmms_dbus_is_console(const struct vmms_dbus_call *call, const char *interface,
                          const char *member)
{
    return call->place.object == API_DBUS_VM && !call->place.is_branch &&
           strcmp(member, "Open") == 0 &&
           (!interface || strcmp(interface, API_DBUS_PREFIX "Console") == 0);
}

int vmms_dbus_read_console(struct vmms_dbus_call *call, struct api_error **reterr)
{
    static const char *const nothing[] = { NULL };
    static const struct api_dbus_method method = { "Open",  API_METHOD_VM_CONSOLE,
                                                   "a{sv}", "vm",
                                                   nothing, false };
    int r = vmms_dbus_read_call(call->message, &method, &call->place, &call->request, reterr);

    call->purpose = VMMS_DBUS_CONSOLE;
    call->has_request = r == 0;
    return r;
}

int vmms_dbus_put_console(struct vmms_dbus_call *call, enum api_method method,
                          const union api_result *result, uint64_t fields, sd_bus_message **ret)
{
    int r = sd_bus_message_new_method_return(call->message, ret);

    if (r >= 0)
        r = sd_bus_message_append_basic(*ret, 'h', &call->stream_fd);
    return r < 0 ? r : vmms_dbus_put_record(*ret, api_methods[method].result, result, fields);
}
