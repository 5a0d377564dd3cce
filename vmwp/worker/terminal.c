/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { OUT_CHUNK_BYTES = 16 * 1024, LEAVE_KEY = 0x1d };

/* Blocks while standard output takes nothing: in direct mode nobody else is served. */
static bool write_all(const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes, length);

        if (n < 0 && errno == EAGAIN) {
            struct pollfd fd = { .fd = STDOUT_FILENO, .events = POLLOUT };

            (void)poll(&fd, 1, -1);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

static void pump_output(struct wp_terminal *t)
{
    char chunk[OUT_CHUNK_BYTES];

    do {
        enum con_read_status status;
        uint64_t next;
        size_t length = 0;

        status = con_read(t->con, t->position, chunk, sizeof(chunk), &length, &next);
        if (status == CON_READ_BEHIND)
            (void)fprintf(stderr, "vmwp: %llu bytes of output were lost.\n",
                          (unsigned long long)(next - t->position));
        if (status == CON_READ_OK && length > 0 && !t->is_output_broken)
            t->is_output_broken = !write_all(chunk, length);
        t->position = next;
    } while (!con_wait_output(t->con, &t->watch, t->position));
}

static void read_input(struct wp_terminal *t)
{
    char *leave;
    ssize_t n;

    n = read(STDIN_FILENO, t->in, sizeof(t->in));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        t->is_input_over = true;
        return;
    }
    t->in_first = 0;
    t->in_left = (size_t)n;
    leave = t->is_raw ? memchr(t->in, LEAVE_KEY, t->in_left) : NULL;
    if (leave) {
        t->in_left = (size_t)(leave - t->in);
        t->is_input_over = true;
        t->left(t->opaque);
    }
}

/* Type what was read; false when the port has no room for all of it. */
static bool type_input(struct wp_terminal *t)
{
    while (t->in_left > 0) {
        size_t taken = con_type(t->con, t->in + t->in_first, t->in_left);

        t->in_first += taken;
        t->in_left -= taken;
        if (t->in_left > 0 && con_wait_room(t->con, &t->watch))
            return false;
    }
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* A file has no readiness to wait for: it is read as fast as the port takes it. */
static void pump_input(struct wp_terminal *t)
{
    bool has_room = type_input(t);

    while (!t->is_pollable && has_room && !t->is_input_over) {
        read_input(t);
        has_room = type_input(t);
    }
    if (!t->is_pollable)
        return;
    if (has_room && !t->is_input_over)
        (void)uv_poll_start(&t->poll, UV_READABLE, on_poll);
    else
        (void)uv_poll_stop(&t->poll);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct wp_terminal *t = poll->data;

    (void)events;
    if (status < 0)
        t->is_input_over = true;
    else
        read_input(t);
    pump_input(t);
}

static void on_console(void *opaque)
{
    struct wp_terminal *t = opaque;

    pump_output(t);
    pump_input(t);
}

static void on_wake(void *opaque)
{
    struct wp_terminal *t = opaque;

    wp_post(t->loop, &t->task);
}

static void make_raw(struct wp_terminal *t)
{
    struct termios raw;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &t->before) < 0)
        return;
    raw = t->before;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST;
    t->is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

void wp_terminal_init(struct wp_terminal *terminal, struct wp_loop *loop, struct con *con,
                      void (*left)(void *opaque), void *opaque)
{
    *terminal = (struct wp_terminal){ .loop = loop, .con = con, .left = left, .opaque = opaque };
    make_raw(terminal);
    terminal->flags_before = fcntl(STDIN_FILENO, F_GETFL);
    terminal->is_pollable = uv_poll_init(&loop->uv, &terminal->poll, STDIN_FILENO) == 0;
    terminal->poll.data = terminal;
    terminal->watch = (struct con_watch){ .wake = on_wake, .opaque = terminal };
    wp_task_init(&terminal->task, on_console, terminal);
    con_watch(con, &terminal->watch);
    wp_post(loop, &terminal->task);
}

void wp_terminal_fini(struct wp_terminal *terminal)
{
    pump_output(terminal);
    con_unwatch(terminal->con, &terminal->watch);
    wp_task_withdraw(terminal->loop, &terminal->task);
    if (terminal->is_pollable)
        uv_close((uv_handle_t *)&terminal->poll, NULL);
    if (terminal->flags_before >= 0) /* others share the description, and want it blocking */
        (void)fcntl(STDIN_FILENO, F_SETFL, terminal->flags_before);
    if (terminal->is_raw)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal->before);
}
