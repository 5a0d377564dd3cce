/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/io/bus.h"

#include "hvcore/base/clock.h"
#include "hvcore/base/own.h"

#include <poll.h>

/* Messages taken in one turn of the loop: a flooding peer waits for the others. */
enum { TURN_MESSAGES = 32 };

/* What may wait for a peer to take it: sd-bus alone would keep 400 MB for one that only asks. */
enum { MAX_UNSENT = 4096 };

struct vmms_bus {
    sd_bus *bus;
    uv_poll_t poll;
    uv_timer_t timer;
    void (*down)(void *opaque, int r);
    void *opaque;
    unsigned handles;
    int watched; /* what poll looks for while it is active */
    bool is_closed;
    bool is_in_turn;
    bool is_peer; /* no bus: a process that may be hostile */
};

sd_bus *vmms_bus_get(const struct vmms_bus *bus)
{
    return bus->bus;
}

static void handle_closed(uv_handle_t *handle)
{
    struct vmms_bus *bus = handle->data;

    if (--bus->handles > 0 || bus->is_in_turn)
        return;
    sd_bus_unref(bus->bus);
    free(bus);
}

struct vmms_bus *vmms_bus_close(struct vmms_bus *bus)
{
    if (!bus || bus->is_closed)
        return NULL;
    bus->is_closed = true;
    (void)uv_poll_stop(&bus->poll);
    uv_close((uv_handle_t *)&bus->poll, handle_closed);
    uv_close((uv_handle_t *)&bus->timer, handle_closed);
    sd_bus_close(bus->bus);
    return NULL;
}

static void fail(struct vmms_bus *bus, int r)
{
    void (*down)(void *, int) = bus->down;

    bus->down = NULL;
    (void)uv_poll_stop(&bus->poll);
    (void)uv_timer_stop(&bus->timer);
    if (down)
        down(bus->opaque, r);
}

static bool is_too_slow(const struct vmms_bus *bus)
{
    uint64_t unsent = 0;

    return bus->is_peer && sd_bus_get_n_queued_write(bus->bus, &unsent) >= 0 && unsent > MAX_UNSENT;
}

static void turn(struct vmms_bus *bus)
{
    int r = 1;

    bus->is_in_turn = true;
    for (int i = 0; i < TURN_MESSAGES && r > 0 && !bus->is_closed; i++)
        r = sd_bus_process(bus->bus, NULL);
    bus->is_in_turn = false;
    if (bus->is_closed)
        return;
    if (r >= 0 && is_too_slow(bus))
        r = -ENOBUFS;
    if (r < 0)
        fail(bus, r);
    else
        vmms_bus_update(bus);
}

static void polled(uv_poll_t *poll, int status, int events)
{
    turn(poll->data);
}

static void timed(uv_timer_t *timer)
{
    turn(timer->data);
}

static void update_timer(struct vmms_bus *bus)
{
    uint64_t at_us, now_us = hv_clock_monotonic_ns() / 1000, wait_ms;

    if (sd_bus_get_timeout(bus->bus, &at_us) < 0 || at_us == UINT64_MAX) {
        (void)uv_timer_stop(&bus->timer);
        return;
    }
    wait_ms = at_us > now_us ? (at_us - now_us + 999) / 1000 : 0;
    (void)uv_timer_start(&bus->timer, timed, wait_ms, 0);
}

/* libuv tells the kernel anew even where nothing has changed: two calls for each message. */
static void watch(struct vmms_bus *bus, int events)
{
    if (events == bus->watched && uv_is_active((uv_handle_t *)&bus->poll))
        return;
    bus->watched = events;
    (void)uv_poll_start(&bus->poll, events, polled);
}

void vmms_bus_update(struct vmms_bus *bus)
{
    int events;

    if (bus->is_closed || bus->is_in_turn)
        return;
    events = sd_bus_get_events(bus->bus);
    if (events < 0) {
        /* Told from the loop, not from inside whoever has just sent something. */
        (void)uv_timer_start(&bus->timer, timed, 0, 0);
        return;
    }
    watch(bus, (events & POLLIN ? UV_READABLE : 0) | (events & POLLOUT ? UV_WRITABLE : 0));
    update_timer(bus);
}

int vmms_bus_attach(uv_loop_t *loop, sd_bus *sd, void (*down)(void *opaque, int r), void *opaque,
                    struct vmms_bus **ret)
{
    struct vmms_bus *bus = calloc(1, sizeof(*bus));
    int r;

    if (!bus) {
        sd_bus_close_unref(sd);
        return -ENOMEM;
    }
    bus->bus = sd;
    bus->down = down;
    bus->opaque = opaque;
    bus->poll.data = bus->timer.data = bus;
    r = uv_poll_init(loop, &bus->poll, sd_bus_get_fd(sd));
    if (r < 0) {
        sd_bus_close_unref(sd);
        free(bus);
        return r;
    }
    (void)uv_timer_init(loop, &bus->timer);
    bus->handles = 2;
    *ret = bus;
    vmms_bus_update(bus);
    return 0;
}

int vmms_bus_open_peer(uv_loop_t *loop, int fd, sd_bus_message_handler_t heard,
                       void (*down)(void *opaque, int r), void *opaque, struct vmms_bus **ret)
{
    HV_CLEANUP(sd_bus_unrefp) sd_bus *bus = NULL;
    int r = sd_bus_new(&bus);

    if (r >= 0)
        r = sd_bus_set_fd(bus, fd, fd);
    if (r < 0) {
        hv_close(fd);
        return r;
    }
    r = sd_bus_negotiate_fds(bus, 1);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r >= 0)
        r = sd_bus_add_filter(bus, NULL, heard, opaque);
    if (r < 0)
        return r;
    r = vmms_bus_attach(loop, HV_TAKE_PTR(bus), down, opaque, ret);
    if (r == 0)
        (*ret)->is_peer = true;
    return r;
}
