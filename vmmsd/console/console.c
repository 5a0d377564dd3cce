/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/console/console.h"

#include "vmmsd/spawn/spawn.h"

#include <stdio.h>
#include <string.h>

enum {
    TURN_BYTES = 256 << 10, /* of one port in TURN_MS: a flooding guest waits, not its neighbours */
    TURN_MS = 20,
    REOPEN_MS = 200,
    MAX_TYPED_BYTES = 64 << 10 /* not taken by the worker yet */
};

struct port {
    struct console *console;
    uint32_t number;
    char *ring; /* made at the first byte */
    uint64_t start, end;
    struct hv_list watches;
    struct stream *stream;
    uv_timer_t timer; /* opening again, or going on after a flood */
    size_t turn_bytes;
    char *early; /* typed before there is a stream */
    size_t early_length;
    bool is_opening;
};

struct console {
    struct hv_list node;
    struct vmms_consoles *consoles;
    char vm_id[HV_GUID_TEXT_BYTES];
    char incarnation[HV_GUID_TEXT_BYTES];
    bool is_live;
    bool is_forgotten;
    unsigned handles;
    unsigned opening; /* questions whose answer still comes */
    struct port ports[VMMS_CONSOLE_PORTS];
};

/* A connection to a port. It may outlive the port's interest in it until its handle is closed. */
struct stream {
    uv_pipe_t pipe;
    struct port *port; /* NULL: left */
    char buffer[16 << 10];
};

struct vmms_consoles {
    uv_loop_t *loop;
    struct vmms_spawner *spawner;
    struct hv_list consoles;
    bool is_closing;
};

static struct console *find(const struct vmms_consoles *consoles, const char *vm_id)
{
    HV_LIST_FOREACH (node, &consoles->consoles) {
        struct console *console = HV_LIST_ENTRY(node, struct console, node);

        if (!console->is_forgotten && strcmp(console->vm_id, vm_id) == 0)
            return console;
    }
    return NULL;
}

static void free_if_unused(struct console *console)
{
    if (!console->is_forgotten || console->handles || console->opening)
        return;
    hv_list_remove(&console->node);
    for (size_t i = 0; i < VMMS_CONSOLE_PORTS; i++)
        free(console->ports[i].ring);
    free(console);
}

static void timer_closed(uv_handle_t *handle)
{
    struct port *port = handle->data;
    struct console *console = port->console;

    console->handles--;
    free_if_unused(console);
}

static struct console *console_new(struct vmms_consoles *consoles, const char *vm_id)
{
    struct console *console = calloc(1, sizeof(*console));

    hv_assert(console);
    console->consoles = consoles;
    (void)snprintf(console->vm_id, sizeof(console->vm_id), "%s", vm_id);
    for (uint32_t i = 0; i < VMMS_CONSOLE_PORTS; i++) {
        struct port *port = &console->ports[i];

        port->console = console;
        port->number = i + 1;
        hv_list_init(&port->watches);
        (void)uv_timer_init(consoles->loop, &port->timer);
        port->timer.data = port;
        console->handles++;
    }
    hv_list_append(&consoles->consoles, &console->node);
    return console;
}

static void tell(struct port *port)
{
    HV_LIST_FOREACH (node, &port->watches) {
        struct vmms_console_watch *watch = HV_LIST_ENTRY(node, struct vmms_console_watch, node);

        watch->changed(watch);
    }
}

static void append(struct port *port, const char *bytes, size_t length)
{
    size_t at, part;

    if (!port->ring)
        port->ring = malloc(VMMS_CONSOLE_RING_BYTES);
    if (!port->ring)
        return;
    while (length) {
        at = port->end % VMMS_CONSOLE_RING_BYTES;
        part = VMMS_CONSOLE_RING_BYTES - at;
        part = part < length ? part : length;
        memcpy(port->ring + at, bytes, part);
        port->end += part;
        bytes += part;
        length -= part;
    }
    if (port->end - port->start > VMMS_CONSOLE_RING_BYTES)
        port->start = port->end - VMMS_CONSOLE_RING_BYTES;
}

/* Streams */

static void open_port(struct port *port);

static void stream_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void drop_early(struct port *port)
{
    free(port->early);
    port->early = NULL;
    port->early_length = 0;
}

static void leave_stream(struct port *port)
{
    struct stream *stream = port->stream;

    if (!stream)
        return;
    port->stream = NULL;
    stream->port = NULL;
    uv_close((uv_handle_t *)&stream->pipe, stream_closed);
}

static void open_again(uv_timer_t *timer)
{
    open_port(timer->data);
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct stream *stream = handle->data;

    *ret = uv_buf_init(stream->buffer, sizeof(stream->buffer));
}

static void took(uv_stream_t *handle, ssize_t count, const uv_buf_t *buffer);

static void go_on(uv_timer_t *timer)
{
    struct port *port = timer->data;

    port->turn_bytes = 0;
    if (port->stream)
        (void)uv_read_start((uv_stream_t *)&port->stream->pipe, give_room, took);
}

static void took(uv_stream_t *handle, ssize_t count, const uv_buf_t *buffer)
{
    struct stream *stream = handle->data;
    struct port *port = stream->port;

    if (!port || count == 0)
        return;
    if (count < 0) {
        leave_stream(port);
        if (port->console->is_live)
            (void)uv_timer_start(&port->timer, open_again, REOPEN_MS, 0);
        return;
    }
    append(port, buffer->base, (size_t)count);
    port->turn_bytes += (size_t)count;
    if (port->turn_bytes >= TURN_BYTES)
        (void)uv_read_stop(handle);
    if (!uv_is_active((uv_handle_t *)&port->timer))
        (void)uv_timer_start(&port->timer, go_on, TURN_MS, 0);
    tell(port);
}

/* The worker's ring may have gone on without us: what is lost is lost, positions stay true. */
static void skip_to(struct port *port, uint64_t start)
{
    if (start <= port->end)
        return;
    port->start = port->end = start;
}

/* What is typed */

struct typed {
    uv_write_t write;
    char bytes[];
};

static void typed_done(uv_write_t *write, int status)
{
    free(write->data);
}

static void type(struct port *port, const void *bytes, size_t length)
{
    uv_stream_t *stream = (uv_stream_t *)&port->stream->pipe;
    struct typed *typed;
    uv_buf_t buffer;

    if (!length || uv_stream_get_write_queue_size(stream) + length > MAX_TYPED_BYTES)
        return;
    typed = malloc(sizeof(*typed) + length);
    if (!typed)
        return;
    memcpy(typed->bytes, bytes, length);
    typed->write.data = typed;
    buffer = uv_buf_init(typed->bytes, (unsigned)length);
    if (uv_write(&typed->write, stream, &buffer, 1, typed_done) < 0)
        free(typed);
}

static void keep_early(struct port *port, const void *bytes, size_t length)
{
    char *grown;

    if (!length || port->early_length + length > MAX_TYPED_BYTES)
        return;
    grown = realloc(port->early, port->early_length + length);
    if (!grown)
        return;
    memcpy(grown + port->early_length, bytes, length);
    port->early = grown;
    port->early_length += length;
}

static void opened(void *opaque, int fd, uint64_t start)
{
    struct port *port = opaque;
    struct console *console = port->console;
    struct stream *stream;

    port->is_opening = false;
    console->opening--;
    if (fd < 0 || !console->is_live || console->is_forgotten || port->stream) {
        hv_close(fd);
        free_if_unused(console);
        return;
    }
    stream = calloc(1, sizeof(*stream));
    hv_assert(stream);
    stream->port = port;
    (void)uv_pipe_init(console->consoles->loop, &stream->pipe, 0);
    stream->pipe.data = stream;
    port->stream = stream;
    skip_to(port, start);
    if (uv_pipe_open(&stream->pipe, fd) < 0) {
        hv_close(fd);
        leave_stream(port);
        return;
    }
    (void)uv_read_start((uv_stream_t *)&stream->pipe, give_room, took);
    type(port, port->early, port->early_length);
    drop_early(port);
}

static void open_port(struct port *port)
{
    struct console *console = port->console;

    if (!console->is_live || port->stream || port->is_opening)
        return;
    port->is_opening = true;
    console->opening++;
    vmms_spawner_open_console(console->consoles->spawner, console->vm_id, port->number, port->end,
                              opened, port);
}

/* Front door */

int vmms_consoles_new(uv_loop_t *loop, struct vmms_consoles **ret)
{
    struct vmms_consoles *consoles = calloc(1, sizeof(*consoles));

    if (!consoles)
        return -ENOMEM;
    consoles->loop = loop;
    hv_list_init(&consoles->consoles);
    *ret = consoles;
    return 0;
}

static void forget(struct console *console)
{
    if (console->is_forgotten)
        return;
    console->is_forgotten = true;
    console->is_live = false;
    for (size_t i = 0; i < VMMS_CONSOLE_PORTS; i++) {
        struct port *port = &console->ports[i];

        tell(port);
        leave_stream(port);
        drop_early(port);
        uv_close((uv_handle_t *)&port->timer, timer_closed);
    }
}

void vmms_consoles_close(struct vmms_consoles *consoles)
{
    HV_LIST_FOREACH (node, &consoles->consoles)
        forget(HV_LIST_ENTRY(node, struct console, node));
}

void vmms_consoles_free(struct vmms_consoles *consoles)
{
    free(consoles);
}

static void begin_log(struct console *console, const char *incarnation)
{
    (void)snprintf(console->incarnation, sizeof(console->incarnation), "%s", incarnation);
    for (size_t i = 0; i < VMMS_CONSOLE_PORTS; i++) {
        leave_stream(&console->ports[i]);
        console->ports[i].start = console->ports[i].end = 0;
    }
}

void vmms_consoles_attach(struct vmms_consoles *consoles, struct vmms_spawner *spawner,
                          const char *vm_id, const char *incarnation)
{
    struct console *console = find(consoles, vm_id);

    consoles->spawner = spawner;
    if (!console)
        console = console_new(consoles, vm_id);
    if (strcmp(console->incarnation, incarnation) != 0)
        begin_log(console, incarnation);
    console->is_live = true;
    for (size_t i = 0; i < VMMS_CONSOLE_PORTS; i++)
        open_port(&console->ports[i]);
}

/* What the worker wrote before its end may still be in the socket: it is read to its end. */
static void drain(struct port *port)
{
    struct stream *stream = port->stream;
    uv_os_fd_t fd;
    ssize_t count;

    if (!stream || uv_fileno((const uv_handle_t *)&stream->pipe, &fd) < 0)
        return;
    for (size_t taken = 0; taken < VMMS_CONSOLE_RING_BYTES; taken += (size_t)count) {
        count = read(fd, stream->buffer, sizeof(stream->buffer));
        if (count <= 0)
            break;
        append(port, stream->buffer, (size_t)count);
    }
}

void vmms_consoles_detach(struct vmms_consoles *consoles, const char *vm_id)
{
    struct console *console = find(consoles, vm_id);

    if (!console)
        return;
    console->is_live = false;
    for (size_t i = 0; i < VMMS_CONSOLE_PORTS; i++) {
        drain(&console->ports[i]);
        leave_stream(&console->ports[i]);
        drop_early(&console->ports[i]);
        tell(&console->ports[i]);
    }
}

void vmms_consoles_forget(struct vmms_consoles *consoles, const char *vm_id)
{
    struct console *console = find(consoles, vm_id);

    if (console)
        forget(console);
}

static struct port *find_port(const struct vmms_consoles *consoles, const char *vm_id,
                              uint32_t number)
{
    struct console *console = find(consoles, vm_id);

    if (!console || number < 1 || number > VMMS_CONSOLE_PORTS)
        return NULL;
    return &console->ports[number - 1];
}

size_t vmms_console_read(const struct vmms_consoles *consoles, const char *vm_id, uint32_t number,
                         uint64_t *from, void *ret, size_t room)
{
    const struct port *port = find_port(consoles, vm_id, number);
    size_t length, at, part;

    if (!port)
        return 0;
    if (*from < port->start)
        *from = port->start;
    if (*from >= port->end)
        return 0;
    length = port->end - *from < room ? (size_t)(port->end - *from) : room;
    at = *from % VMMS_CONSOLE_RING_BYTES;
    part = VMMS_CONSOLE_RING_BYTES - at < length ? VMMS_CONSOLE_RING_BYTES - at : length;
    memcpy(ret, port->ring + at, part);
    memcpy((char *)ret + part, port->ring, length - part);
    return length;
}

uint64_t vmms_console_end(const struct vmms_consoles *consoles, const char *vm_id, uint32_t number)
{
    const struct port *port = find_port(consoles, vm_id, number);

    return port ? port->end : 0;
}

bool vmms_console_is_live(const struct vmms_consoles *consoles, const char *vm_id)
{
    const struct console *console = find(consoles, vm_id);

    return console && console->is_live;
}

void vmms_console_write(struct vmms_consoles *consoles, const char *vm_id, uint32_t number,
                        const void *bytes, size_t length)
{
    struct port *port = find_port(consoles, vm_id, number);

    if (port && port->stream)
        type(port, bytes, length);
    else if (port && port->console->is_live)
        keep_early(port, bytes, length);
}

int vmms_console_watch(struct vmms_consoles *consoles, const char *vm_id, uint32_t number,
                       struct vmms_console_watch *watch)
{
    struct port *port = find_port(consoles, vm_id, number);

    if (!port)
        return -ENOENT;
    hv_list_append(&port->watches, &watch->node);
    return 0;
}
