/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/console.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { OUT_CHUNK_BYTES = 16 * 1024, OUT_CHUNKS_PER_TURN = 8, IN_BYTES = 512 };

struct stream {
    struct wp_console *console;
    struct hv_list node;
    int fd;
    uv_poll_t poll;
    struct con_watch watch;
    struct wp_task task; /* posted by the watch, from any thread */
    uint64_t position;
    char in[IN_BYTES]; /* read, not yet taken by the port */
    size_t in_first, in_left;
    bool is_output_full; /* the socket takes no more for now */
    bool is_input_over;  /* the client will write no more */
    bool is_dropped;
};

static void on_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;

    s->fd = hv_close(s->fd);
    free(s);
}

static void drop(struct stream *s)
{
    if (s->is_dropped)
        return;
    s->is_dropped = true;
    con_unwatch(s->console->con, &s->watch);
    wp_task_withdraw(s->console->loop, &s->task);
    hv_list_remove(&s->node);
    s->console->n_streams--;
    (void)shutdown(s->fd, SHUT_RDWR);
    uv_close((uv_handle_t *)&s->poll, on_closed);
}

/* Write one chunk. Returns true when there may be more to do at once. */
static bool write_chunk(struct stream *s)
{
    char chunk[OUT_CHUNK_BYTES];
    uint64_t next;
    size_t length;
    ssize_t n;

    if (con_read(s->console->con, s->position, chunk, sizeof(chunk), &length, &next) !=
        CON_READ_OK) {
        drop(s); /* it fell behind by more than the ring */
        return false;
    }
    if (length == 0)
        return !con_wait_output(s->console->con, &s->watch, s->position);
    n = send(s->fd, chunk, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
        s->position += (uint64_t)n;
        return true;
    }
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN)
        s->is_output_full = true;
    else
        drop(s);
    return false;
}

static void pump_output(struct stream *s)
{
    for (unsigned i = 0; i < OUT_CHUNKS_PER_TURN; i++)
        if (s->is_output_full || !write_chunk(s))
            return;
    wp_post(s->console->loop, &s->task); /* the others want their turn */
}

static void read_input(struct stream *s)
{
    ssize_t n;

    n = recv(s->fd, s->in, sizeof(s->in), MSG_DONTWAIT);
    if (n > 0) {
        s->in_first = 0;
        s->in_left = (size_t)n;
    } else if (n == 0) {
        s->is_input_over = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        drop(s);
    }
}

/* Type what was read; what the port doesn't take waits until it has room. */
static void type_input(struct stream *s)
{
    while (s->in_left > 0) {
        size_t taken = con_type(s->console->con, s->in + s->in_first, s->in_left);

        s->in_first += taken;
        s->in_left -= taken;
        if (s->in_left > 0 && con_wait_room(s->console->con, &s->watch))
            return;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* Ask for what the stream can use now. UV_PRIORITIZED never comes on such a socket: it stands for
 * "tell me when the other end is gone", which a half-closed stream still wants to know. */
static void watch_socket(struct stream *s)
{
    int events = UV_PRIORITIZED;

    if (s->is_dropped)
        return;
    if (!s->is_input_over && s->in_left == 0)
        events |= UV_READABLE;
    if (s->is_output_full)
        events |= UV_WRITABLE;
    (void)uv_poll_start(&s->poll, events, on_poll);
}

static bool is_hung_up(const struct stream *s)
{
    struct pollfd fd = { .fd = s->fd };

    return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR));
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct stream *s = poll->data;

    if (status < 0 || (events & (UV_READABLE | UV_WRITABLE)) == 0) {
        if (status < 0 || is_hung_up(s))
            drop(s);
        return;
    }
    if (events & UV_READABLE)
        read_input(s);
    if (!s->is_dropped)
        type_input(s);
    if (!s->is_dropped && (events & UV_WRITABLE)) {
        s->is_output_full = false;
        pump_output(s);
    }
    watch_socket(s);
}

static void on_console(void *opaque)
{
    struct stream *s = opaque;

    type_input(s);
    pump_output(s);
    watch_socket(s);
}

static void on_wake(void *opaque)
{
    struct stream *s = opaque;

    wp_post(s->console->loop, &s->task);
}

void wp_console_init(struct wp_console *console, struct wp_loop *loop, struct con *con)
{
    *console = (struct wp_console){ .loop = loop, .con = con };
    hv_list_init(&console->streams);
}

void wp_console_fini(struct wp_console *console)
{
    HV_LIST_FOREACH (node, &console->streams) {
        drop(HV_LIST_ENTRY(node, struct stream, node));
    }
}

static uint64_t clamp_start(struct con *con, uint64_t from)
{
    uint64_t start, end;

    con_range(con, &start, &end);
    if (from < start)
        return start;
    return from < end ? from : end;
}

static int add_stream(struct wp_console *console, int fd, uint64_t position)
{
    struct stream *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    r = uv_poll_init(&console->loop->uv, &s->poll, fd);
    if (r < 0) {
        free(s);
        return r;
    }
    s->console = console;
    s->fd = fd;
    s->poll.data = s;
    s->position = position;
    s->watch = (struct con_watch){ .wake = on_wake, .opaque = s };
    wp_task_init(&s->task, on_console, s);
    con_watch(console->con, &s->watch);
    hv_list_append(&console->streams, &s->node);
    console->n_streams++;
    wp_post(console->loop, &s->task);
    return 0;
}

int wp_console_open(struct wp_console *console, uint64_t from, int *ret_fd, uint64_t *ret_start,
                    struct hv_error **reterr)
{
    hv_autofd int ours = -1, theirs = -1;
    uint64_t start;
    int fds[2], r;

    wp_assert_io(console->loop);
    if (console->n_streams == WP_CONSOLE_MAX_STREAMS)
        return hv_error_set(reterr, -EMFILE, "vm.console.readers",
                            "The console has %d readers already; close one.",
                            WP_CONSOLE_MAX_STREAMS);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return hv_error_set(reterr, -errno, "vm.console.socket",
                            "The console cannot be opened: %s.", strerror(errno));
    ours = fds[0];
    theirs = fds[1];
    start = clamp_start(console->con, from);
    r = add_stream(console, ours, start);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.console.socket", "The console cannot be opened: %s.",
                            strerror(-r));
    (void)HV_TAKE_FD(ours);
    *ret_fd = HV_TAKE_FD(theirs);
    *ret_start = start;
    return 0;
}

bool wp_console_flush(struct wp_console *console)
{
    bool is_done = true;

    HV_LIST_FOREACH (node, &console->streams) {
        struct stream *s = HV_LIST_ENTRY(node, struct stream, node);
        uint64_t start, end;

        pump_output(s);
        watch_socket(s);
        con_range(console->con, &start, &end);
        if (!s->is_dropped && s->position < end)
            is_done = false;
    }
    return is_done;
}
