/* SPDX-License-Identifier: Apache-2.0 */
/* A WebSocket client (RFC 6455) for our own service. The accept key is not checked: it guards
 * against intermediaries, and there are none on a Unix socket or inside TLS. */
#include "api/client/client_priv.h"

#include "api/gen/tables.h"

#include <endian.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>

enum {
    OP_CONTINUE = 0,
    OP_TEXT = 1,
    OP_BINARY = 2,
    OP_CLOSE = 8,
    OP_PING = 9,
    OP_PONG = 10,
    FIN = 0x80,
    MASKED = 0x80,
    CONTROL = 0x08,
    MAX_FRAME_HEAD = 14
};

struct api_stream {
    struct wire wire;
    struct inbox inbox;   /* as it came */
    size_t consumed;      /* of the inbox, by the message handed out last */
    struct inbox message; /* of a message in fragments */
    bool is_binary;
    bool is_ended;
    bool is_plain;                 /* a console on a bus: bytes without frames */
    struct api_bus_events *events; /* or events on a bus, without a connection */
};

struct frame {
    unsigned op;
    bool is_last;
    const char *payload;
    size_t length;
    size_t bytes; /* with its head */
};

static int send_frame(const struct wire *wire, unsigned op, const void *bytes, size_t length)
{
    hv_autofree uint8_t *frame = malloc(MAX_FRAME_HEAD + length);
    uint8_t mask[4], *at = frame;
    const uint8_t *from = bytes;
    uint64_t big;

    if (!frame)
        return -ENOMEM;
    if (getrandom(mask, sizeof(mask), 0) != (ssize_t)sizeof(mask))
        return -errno;
    *at++ = (uint8_t)(FIN | op);
    if (length < 126) {
        *at++ = (uint8_t)(MASKED | length);
    } else if (length < 65536) {
        *at++ = MASKED | 126;
        *at++ = (uint8_t)(length >> 8);
        *at++ = (uint8_t)length;
    } else {
        *at++ = MASKED | 127;
        big = htobe64(length);
        memcpy(at, &big, sizeof(big));
        at += sizeof(big);
    }
    memcpy(at, mask, sizeof(mask));
    at += sizeof(mask);
    for (size_t i = 0; i < length; i++)
        at[i] = from[i] ^ mask[i % 4];
    return api_wire_write(wire, frame, (size_t)(at - frame) + length);
}

/* 1: a whole frame stands at the inbox's begin, 0: not yet, -EPROTO. */
static int parse_frame(const char *bytes, size_t length, struct frame *ret)
{
    const uint8_t *head = (const uint8_t *)bytes;
    size_t head_bytes = 2;
    uint64_t payload;

    if (length < 2)
        return 0;
    if (head[0] & 0x70 || head[1] & MASKED)
        return -EPROTO;
    payload = head[1];
    if (payload == 126) {
        head_bytes = 4;
        if (length < head_bytes)
            return 0;
        payload = (uint64_t)head[2] << 8 | head[3];
    } else if (payload == 127) {
        head_bytes = 10;
        if (length < head_bytes)
            return 0;
        memcpy(&payload, head + 2, sizeof(payload));
        payload = be64toh(payload);
    }
    if (payload > MAX_REPLY_BYTES)
        return -EPROTO;
    if (length - head_bytes < payload)
        return 0;
    *ret = (struct frame){ .op = head[0] & 15,
                           .is_last = head[0] & FIN,
                           .payload = bytes + head_bytes,
                           .length = (size_t)payload,
                           .bytes = head_bytes + (size_t)payload };
    return 1;
}

static int keep_fragment(struct api_stream *stream, const struct frame *frame)
{
    size_t wanted = stream->message.length + frame->length;
    char *grown;

    if (wanted > MAX_REPLY_BYTES)
        return -EMSGSIZE;
    grown = realloc(stream->message.bytes, wanted + 1);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + stream->message.length, frame->payload, frame->length);
    stream->message.bytes = grown;
    stream->message.length = wanted;
    return 0;
}

/* A frame of a message. Returns API_STREAM_MESSAGE when it completes one. */
static int take_data(struct api_stream *stream, const struct frame *frame, struct api_message *ret)
{
    int r;

    if (frame->op != OP_CONTINUE) {
        stream->is_binary = frame->op == OP_BINARY;
        stream->message.length = 0;
        if (frame->is_last) {
            *ret = (struct api_message){ .is_binary = stream->is_binary,
                                         .bytes = frame->payload,
                                         .length = frame->length };
            return API_STREAM_MESSAGE;
        }
    }
    r = keep_fragment(stream, frame);
    if (r < 0 || !frame->is_last)
        return r < 0 ? r : API_STREAM_NOTHING;
    *ret = (struct api_message){ .is_binary = stream->is_binary,
                                 .bytes = stream->message.bytes,
                                 .length = stream->message.length };
    return API_STREAM_MESSAGE;
}

static int take_control(struct api_stream *stream, const struct frame *frame)
{
    if (frame->op == OP_CLOSE) {
        stream->is_ended = true;
        (void)send_frame(&stream->wire, OP_CLOSE, frame->payload, frame->length < 2 ? 0 : 2);
        return API_STREAM_END;
    }
    if (frame->op == OP_PING)
        (void)send_frame(&stream->wire, OP_PONG, frame->payload, frame->length);
    return API_STREAM_NOTHING;
}

static int take_frame(struct api_stream *stream, struct api_message *ret)
{
    struct frame frame;
    int r = parse_frame(stream->inbox.bytes, stream->inbox.length, &frame);

    if (r <= 0)
        return r;
    stream->consumed = frame.bytes;
    return frame.op & CONTROL ? take_control(stream, &frame) : take_data(stream, &frame, ret);
}

static int next_plain(struct api_stream *stream, struct api_message *ret)
{
    ssize_t count;

    stream->inbox.length = 0;
    count = api_inbox_fill(&stream->inbox, &stream->wire, MAX_REPLY_BYTES);
    stream->is_ended = count <= 0;
    if (count <= 0)
        return count < 0 ? (int)count : API_STREAM_END;
    *ret = (struct api_message){ .is_binary = true,
                                 .bytes = stream->inbox.bytes,
                                 .length = (size_t)count };
    return API_STREAM_MESSAGE;
}

int api_stream_next(struct api_stream *stream, struct api_message *ret)
{
    bool may_read = true;
    ssize_t count;
    int r;

    if (stream->events)
        return api_bus_events_next(stream->events, ret);
    if (stream->is_plain)
        return stream->is_ended ? API_STREAM_END : next_plain(stream, ret);
    while (!stream->is_ended) {
        api_inbox_drop(&stream->inbox, stream->consumed);
        stream->consumed = 0;
        r = take_frame(stream, ret);
        if (r < 0 || r == API_STREAM_MESSAGE || r == API_STREAM_END)
            return r;
        if (r == API_STREAM_NOTHING)
            continue;
        if (!may_read)
            return API_STREAM_NOTHING;
        may_read = false;
        count = api_inbox_fill(&stream->inbox, &stream->wire, MAX_REPLY_BYTES + MAX_FRAME_HEAD);
        if (count > 0)
            continue;
        /* An end without a word: the service is gone, the stream has not ended. */
        stream->is_ended = true;
        return count < 0 ? (int)count : -ECONNRESET;
    }
    return API_STREAM_END;
}

bool api_stream_is_ready(const struct api_stream *stream)
{
    struct pollfd readable = { .fd = stream->wire.fd, .events = POLLIN };
    struct frame frame;

    return stream->is_ended || api_wire_is_pending(&stream->wire) ||
           (!stream->is_plain && stream->inbox.length > stream->consumed &&
            parse_frame(stream->inbox.bytes + stream->consumed,
                        stream->inbox.length - stream->consumed, &frame) != 0) ||
           poll(&readable, 1, 0) > 0;
}

int api_stream_send(struct api_stream *stream, const void *bytes, size_t length)
{
    if (stream->is_plain)
        return api_wire_write(&stream->wire, bytes, length);
    return send_frame(&stream->wire, OP_BINARY, bytes, length);
}

int api_stream_fd(const struct api_stream *stream)
{
    return stream->wire.fd;
}

struct api_stream *api_stream_close(struct api_stream *stream)
{
    if (!stream)
        return NULL;
    if (!stream->is_ended && !stream->is_plain && stream->wire.fd >= 0)
        (void)send_frame(&stream->wire, OP_CLOSE, NULL, 0);
    api_wire_close(&stream->wire);
    stream->events = api_bus_events_close(stream->events);
    free(stream->inbox.bytes);
    free(stream->message.bytes);
    free(stream);
    return NULL;
}

static int upgrade(struct api_stream *stream, struct api_error **reterr)
{
    static const char request[] = "GET /rpc HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: aHZzdGFja2h2YWRtY2xpZQ==\r\n\r\n";
    struct http_head head;
    int r = api_wire_write(&stream->wire, request, sizeof(request) - 1);

    if (r == 0)
        r = api_http_read_head(&stream->inbox, &stream->wire, &head);
    if (r == 0 && head.status != 101) {
        r = api_http_read(&stream->inbox, &stream->wire, &head);
        return r < 0 ? r : api_http_refusal(&stream->inbox, &head, reterr);
    }
    if (r < 0)
        return r;
    if (!head.is_upgrade)
        return -EPROTO;
    api_inbox_drop(&stream->inbox, head.head_bytes);
    return 0;
}

/* The call's answer is the first text message. */
static int ask(struct api_stream *stream, const char *call, struct api_reply *ret_reply,
               struct api_error **reterr)
{
    struct api_message message;
    int r = upgrade(stream, reterr);

    if (r == 0)
        r = send_frame(&stream->wire, OP_TEXT, call, strlen(call));
    while (r == 0 || r == API_STREAM_NOTHING)
        r = api_stream_next(stream, &message);
    if (r == API_STREAM_MESSAGE)
        return api_call_answer(message.bytes, message.length, ret_reply, reterr);
    return api_error_set(reterr, API_E_STATUS_UNKNOWN, "client.lost", NULL,
                         "The connection to the service broke: %s.",
                         r < 0 ? strerror(-r) : "it was closed");
}

static int open_on_bus(struct api_stream *stream, const struct api_client *client,
                       enum api_method method, const char *params, struct api_error **reterr)
{
    if (method == API_METHOD_EVENTS_SUBSCRIBE)
        return api_bus_events_open(client, params, &stream->events, reterr);
    if (method != API_METHOD_VM_CONSOLE)
        return api_error_set(reterr, API_E_NOT_SUPPORTED, "client.stream", NULL,
                             "%s is a stream, which D-Bus has not.", api_methods[method].name);
    stream->is_plain = true;
    return api_bus_console_open(client, params, &stream->wire.fd, reterr);
}

int api_stream_open(const struct api_client *client, enum api_method method, const char *params,
                    struct api_stream **ret, struct api_reply *ret_reply, struct api_error **reterr)
{
    HV_CLEANUP(api_stream_closep) struct api_stream *stream = calloc(1, sizeof(*stream));
    hv_autofree char *call = api_call_text(method, params);
    int r;

    *ret_reply = (struct api_reply){ 0 };
    if (stream)
        stream->wire.fd = -1;
    if (!stream || !call)
        return -ENOMEM;
    if (client->bus) {
        r = open_on_bus(stream, client, method, params, reterr);
    } else {
        r = api_wire_connect(client, &stream->wire, reterr);
        if (r == 0)
            r = ask(stream, call, ret_reply, reterr);
    }
    if (r < 0)
        return r;
    *ret = HV_TAKE_PTR(stream);
    return 0;
}
