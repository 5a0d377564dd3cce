/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client on the socket sends, from its first byte on: request lines, headers, bodies and
 * WebSocket frames, through libwebsockets and our side of it. What comes back is HTTP with JSON
 * that can be read, or frames; a call is answered once, also late or when its client has gone; and
 * nothing is left of a client when it has gone.
 *
 * Input: a byte of flags, a byte that says in which pieces the rest is sent (0: in one), the rest.
 */
#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "vmmsd/rpc/rpc_priv.h"

#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum {
    IS_WEBSOCKET = 1, /* the handshake has been made */
    IS_LATE = 2,      /* calls are answered when all was sent */
    IS_GONE = 4,      /* the client has gone by then */
    IS_HALF = 8,      /* the client says that it sends no more */
    IS_FULL = 16,     /* streams have more to say than there is room */
    MAX_CALLS = 4096,
    MAX_OUTPUT = 1 << 20,
    TURNS = 4,
    MAX_TURNS = 10000
};

static struct world {
    uv_loop_t loop;
    struct vmms_rpc *rpc;
    struct sockaddr_un address;
    uint8_t flags;
    int fd; /* the client */
    struct {
        uint64_t call;
        enum api_method method;
    } calls[MAX_CALLS];
    size_t n_calls;
    unsigned n_streams;
    char output[MAX_OUTPUT];
    size_t n_output;
} world;

/* The service */

static void drained(void *opaque)
{
    struct vmms_rpc_stream *stream = *(struct vmms_rpc_stream **)opaque;
    static const char bytes[4096];
    size_t room = vmms_rpc_stream_room(stream);

    if (world.flags & IS_FULL && room && world.n_output < 65536)
        vmms_rpc_stream_send(stream, bytes, room < sizeof(bytes) ? room : sizeof(bytes), true);
}

static void input(void *opaque, const void *bytes, size_t length)
{
    struct vmms_rpc_stream **stream = opaque;

    if (length && *(const char *)bytes == '!' && *stream) {
        vmms_rpc_stream_end(*stream);
        *stream = NULL;
        world.n_streams--;
        free(stream);
    } else if (vmms_rpc_stream_room(*stream) >= length) {
        vmms_rpc_stream_send(*stream, bytes, length, true);
    }
}

static void closed(void *opaque)
{
    world.n_streams--;
    free(opaque);
}

static const struct vmms_stream_ops ops = { .drained = drained, .input = input, .closed = closed };

static void answer(uint64_t call, enum api_method method)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
    struct vmms_rpc_stream **stream;
    union api_result result = { 0 };

    if (api_methods[method].is_stream) {
        stream = calloc(1, sizeof(*stream));
        hv_assert(stream);
        *stream = vmms_rpc_stream_open(world.rpc, call, &ops, stream);
        world.n_streams += *stream != NULL;
        if (!*stream)
            free(stream);
    } else if (method != API_METHOD_HOST_PING) {
        api_error_set(&error, API_E_FAILED, "x", NULL, "No.");
    }
    result.pong.version = (char *)"1";
    vmms_rpc_reply(world.rpc, call, method, error ? NULL : &result, UINT64_MAX, error);
}

static void take_call(void *opaque, uint64_t call, struct api_request *request, const char *actor)
{
    enum api_method method = request->method;

    hv_assert(strncmp(actor, "uid:", 4) == 0);
    api_request_fini(request);
    if (world.flags & IS_LATE && world.n_calls < MAX_CALLS) {
        world.calls[world.n_calls].call = call;
        world.calls[world.n_calls++].method = method;
    } else {
        answer(call, method);
    }
}

static void refused(void *opaque, const struct api_error *error)
{
    hv_assert(error);
}

static char *metrics(void *opaque, const struct vmms_peer *peer)
{
    return strdup("# EOF\n");
}

/* lws keeps what it was made with, so there is one for all inputs. */
static void start_once(void)
{
    static const struct hv_log silent = { 0 };
    struct vmms_rpc_config config = { .loop = &world.loop,
                                      .socket_path = "@",
                                      .log = &silent,
                                      .call = take_call,
                                      .refused = refused,
                                      .metrics = metrics };

    if (world.rpc)
        return;
    hv_assert(uv_loop_init(&world.loop) == 0);
    config.socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    world.address.sun_family = AF_UNIX;
    /* A name that no file system has. */
    (void)snprintf(world.address.sun_path + 1, sizeof(world.address.sun_path) - 1, "fuzz-http-%d",
                   (int)getpid());
    hv_assert(bind(config.socket_fd, (const struct sockaddr *)&world.address,
                   sizeof(world.address)) == 0);
    hv_assert(listen(config.socket_fd, 16) == 0);
    hv_assert(vmms_rpc_new(&config, &world.rpc, NULL) == 0);
}

/* The client */

static void hear(void)
{
    ssize_t n = 1;

    while (world.fd >= 0 && n > 0 && world.n_output < MAX_OUTPUT) {
        n = recv(world.fd, world.output + world.n_output, MAX_OUTPUT - world.n_output,
                 MSG_DONTWAIT);
        world.n_output += n > 0 ? (size_t)n : 0;
    }
}

static void turn(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        (void)uv_run(&world.loop, UV_RUN_NOWAIT);
        hear();
    }
}

static void say(const void *bytes, size_t length)
{
    for (const char *at = bytes; length > 0;) {
        ssize_t n = send(world.fd, at, length, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            return;
        if (n < 0 && !world.rpc->n_connections)
            return;
        at += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
        turn(1);
        if (n < 0)
            return; /* nobody reads: it waits for an answer, as it may */
    }
}

static void upgrade(void)
{
    static const char handshake[] = "GET /rpc HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                                    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n";

    say(handshake, sizeof(handshake) - 1);
    for (unsigned i = 0; i < MAX_TURNS && !memmem(world.output, world.n_output, "\r\n\r\n", 4); i++)
        turn(1);
    hv_assert(world.n_output > 12 && memcmp(world.output, "HTTP/1.1 101", 12) == 0);
}

/* An answer of ours is JSON; an answer of lws's own is a page that says no. */
static void check_body(const char *head, const char *body, size_t length)
{
    struct json_doc *doc = NULL;
    struct json_fault fault;

    if (!strstr(head, "application/json") || length == 0)
        return;
    hv_assert(json_parse(body, length, &json_limits_reply, &doc, &fault) == 0);
    json_doc_free(doc);
}

static void check_answers(void)
{
    char *at = world.output, *end = world.output + world.n_output, *body, *field;
    size_t length;

    while (at < end) {
        hv_assert(end - at < 9 || memcmp(at, "HTTP/1.", 7) == 0);
        body = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
        if (!body)
            return;
        body[2] = '\0';
        body += 4;
        for (char *c = at; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        field = strstr(at, "content-length:");
        length = field ? strtoul(field + 15, NULL, 10) : 0;
        if (!field || length > (size_t)(end - body))
            return; /* cut off, for the client was gone or sent nonsense behind */
        check_body(at, body, length);
        at = body + length;
    }
}

static void check_frames(void)
{
    static const char prefix[] = "HTTP/1.1 101";
    const uint8_t *at = memmem(world.output, world.n_output, "\r\n\r\n", 4);
    const uint8_t *end = (const uint8_t *)world.output + world.n_output;

    hv_assert(at && memcmp(world.output, prefix, sizeof(prefix) - 1) == 0);
    for (at += 4; end - at >= 2;) {
        size_t length = at[1] & 127, head = length == 126 ? 4 : length == 127 ? 10 : 2;

        hv_assert(!(at[1] & 128) && !(at[0] & 0x70));
        if ((size_t)(end - at) < head)
            return;
        if (head > 2) {
            length = 0;
            for (size_t i = 2; i < head; i++)
                length = length << 8 | at[i];
        }
        if ((size_t)(end - at) - head < length)
            return;
        at += head + length;
    }
}

/* Whoever was not answered yet is, then the client goes. */
static void finish(void)
{
    if (world.flags & IS_GONE) {
        hv_close(world.fd);
        world.fd = -1;
        turn(TURNS);
    }
    for (size_t i = 0; i < world.n_calls; i++) {
        answer(world.calls[i].call, world.calls[i].method);
        turn(1);
    }
    world.n_calls = 0;
    turn(TURNS);
    world.flags &= (uint8_t)~IS_LATE;
    turn(TURNS);
    if (world.fd >= 0)
        hv_close(world.fd);
    world.fd = -1;
    for (unsigned i = 0; i < MAX_TURNS && !hv_list_is_empty(&world.rpc->connections); i++)
        turn(1);
    turn(TURNS);
}

static void check_nothing_left(void)
{
    hv_assert(hv_list_is_empty(&world.rpc->connections) && hv_list_is_empty(&world.rpc->pending));
    hv_assert(world.rpc->n_connections == 0 && world.rpc->n_deferred == 0 && world.n_streams == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    size_t piece;

    if (n < 2)
        return 0;
    start_once();
    world.flags = bytes[0];
    world.n_output = 0;
    world.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    hv_assert(connect(world.fd, (const struct sockaddr *)&world.address, sizeof(world.address)) ==
              0);
    turn(TURNS);
    if (world.flags & IS_WEBSOCKET)
        upgrade();
    piece = bytes[1] ? bytes[1] : n;
    for (size_t at = 2; at < n; at += piece) {
        say(bytes + at, n - at < piece ? n - at : piece);
        turn(1);
    }
    if (bytes[0] & IS_HALF)
        (void)shutdown(world.fd, SHUT_WR);
    turn(TURNS);
    finish();
    if (bytes[0] & IS_WEBSOCKET)
        check_frames();
    else
        check_answers();
    check_nothing_left();
    return 0;
}
