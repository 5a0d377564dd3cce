/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/control.h"

#include "vmwp/worker/control_priv.h"

#include "hvcore/base/clock.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { MESSAGES_PER_TURN = 16 };

static void on_handle_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;

    if (--c->n_handles > 0)
        return;
    sd_bus_close(c->bus);
    sd_bus_unref(c->bus); /* closes the descriptor, which the loop has left by now */
    free(c);
}

static void drop(struct connection *c)
{
    if (c->is_dropped)
        return;
    c->is_dropped = true;
    wp_methods_dropped(c);
    hv_list_remove(&c->node);
    c->control->n_connections--;
    uv_close((uv_handle_t *)&c->poll, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_timer(uv_timer_t *timer);

static uint64_t now_ms(void)
{
    return hv_clock_monotonic_ns() / HV_NS_PER_MS;
}

/* When the connection wants to be looked at next without any traffic; UINT64_MAX: never. */
static uint64_t wanted_at_ms(struct connection *c)
{
    uint64_t until_us, at_ms = UINT64_MAX;

    if (sd_bus_get_timeout(c->bus, &until_us) >= 0 && until_us != UINT64_MAX)
        at_ms = until_us / 1000 + 1;
    if (!c->has_said_hello && c->hello_by_ms < at_ms)
        at_ms = c->hello_by_ms;
    return at_ms;
}

/* Ask the loop for what sd-bus wants to hear of. */
static void watch(struct connection *c)
{
    uint64_t at_ms, now = now_ms();
    int wanted, events = 0;

    wanted = sd_bus_get_events(c->bus);
    if (wanted < 0) {
        drop(c);
        return;
    }
    if (wanted & POLLIN)
        events |= UV_READABLE;
    if (wanted & POLLOUT)
        events |= UV_WRITABLE;
    /* Where nothing has changed libuv would tell the kernel all the same. */
    if (events != c->watched || !uv_is_active((uv_handle_t *)&c->poll))
        (void)uv_poll_start(&c->poll, events | UV_PRIORITIZED, on_poll);
    c->watched = events;
    at_ms = wanted_at_ms(c);
    if (at_ms == UINT64_MAX)
        (void)uv_timer_stop(&c->timer);
    else
        (void)uv_timer_start(&c->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
}

static bool has_too_much_unread(struct connection *c)
{
    uint64_t queued;

    return sd_bus_get_n_queued_write(c->bus, &queued) < 0 || queued > WP_CONTROL_MAX_QUEUED;
}

/* Let sd-bus read, dispatch and write, a bounded number of messages at a time. */
static void process(struct connection *c)
{
    int r = 1;

    for (unsigned i = 0; r > 0 && i < MESSAGES_PER_TURN && !c->is_dropped; i++)
        r = sd_bus_process(c->bus, NULL);
    if (c->is_dropped)
        return;
    if (r < 0 || has_too_much_unread(c) || (!c->has_said_hello && now_ms() >= c->hello_by_ms)) {
        drop(c);
        return;
    }
    watch(c);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct connection *c = poll->data;

    (void)events;
    if (status < 0)
        drop(c);
    else
        process(c);
}

static void on_timer(uv_timer_t *timer)
{
    process(timer->data);
}

static int start_bus(struct wp_control *control, int fd, sd_bus **ret)
{
    sd_bus *bus = NULL;
    int r;

    r = sd_bus_new(&bus);
    if (r < 0)
        return r;
    r = sd_bus_set_fd(bus, fd, fd);
    r = r < 0 ? r : sd_bus_set_server(bus, 1, control->server_id);
    r = r < 0 ? r : sd_bus_set_anonymous(bus, 1);
    r = r < 0 ? r : sd_bus_negotiate_fds(bus, 1);
    r = r < 0 ? r : sd_bus_start(bus);
    if (r < 0) {
        sd_bus_unref(bus);
        return r;
    }
    *ret = bus;
    return 0;
}

static int init_handles(struct connection *c)
{
    uv_loop_t *loop = &c->control->config.loop->uv;
    int r;

    r = uv_poll_init(loop, &c->poll, c->fd);
    if (r < 0)
        return r;
    (void)uv_timer_init(loop, &c->timer);
    c->poll.data = c;
    c->timer.data = c;
    c->n_handles = 2;
    return 0;
}

/* Takes fd over in any case. */
static int add_connection(struct wp_control *control, int fd)
{
    struct connection *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        (void)hv_close(fd);
        return -ENOMEM;
    }
    c->control = control;
    c->fd = fd;
    c->hello_by_ms = now_ms() + WP_CONTROL_HELLO_MS;
    r = start_bus(control, fd, &c->bus);
    if (r < 0)
        (void)hv_close(fd);
    r = r < 0 ? r : wp_methods_add(c);
    r = r < 0 ? r : init_handles(c);
    if (r < 0) {
        sd_bus_close(c->bus);
        sd_bus_unref(c->bus);
        free(c);
        return r;
    }
    hv_list_append(&control->connections, &c->node);
    control->n_connections++;
    process(c);
    return 0;
}

/* Make room by the connection that has waited longest without saying Hello. */
static bool drop_a_stranger(struct wp_control *control)
{
    HV_LIST_FOREACH (node, &control->connections) {
        struct connection *c = HV_LIST_ENTRY(node, struct connection, node);

        if (!c->has_said_hello) {
            drop(c);
            return true;
        }
    }
    return false;
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    struct wp_control *control = poll->data;
    int fd, r;

    (void)events;
    if (status < 0)
        return;
    fd = accept4(control->config.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (control->n_connections >= WP_CONTROL_MAX_CONNECTIONS && !drop_a_stranger(control)) {
        (void)hv_close(fd);
        return;
    }
    r = add_connection(control, fd);
    if (r < 0)
        hv_log_printf(&control->config.log, HV_LOG_WARNING, NULL,
                      "A control connection cannot be served: %s.", strerror(-r));
}

int wp_control_new(const struct wp_control_config *config, struct wp_control **ret,
                   struct hv_error **reterr)
{
    struct wp_control *control = calloc(1, sizeof(*control));
    int r;

    if (!control)
        return -ENOMEM;
    control->config = *config;
    control->epoch = config->definition->epoch;
    hv_list_init(&control->connections);
    hv_list_init(&control->pending);
    r = sd_id128_randomize(&control->server_id);
    r = r < 0 ? r : uv_poll_init(&config->loop->uv, &control->listener, config->listen_fd);
    if (r < 0) {
        free(control);
        return hv_error_set(reterr, r, "vm.control.socket",
                            "The control socket on descriptor %d cannot be used: %s.",
                            config->listen_fd, strerror(-r));
    }
    control->listener.data = control;
    control->is_listening = true;
    (void)uv_poll_start(&control->listener, UV_READABLE, on_listener);
    *ret = control;
    return 0;
}

void wp_control_stop(struct wp_control *control)
{
    HV_LIST_FOREACH (node, &control->connections) {
        drop(HV_LIST_ENTRY(node, struct connection, node));
    }
    if (control->is_listening)
        uv_close((uv_handle_t *)&control->listener, NULL);
    control->is_listening = false;
}

struct wp_control *wp_control_free(struct wp_control *control)
{
    if (control)
        wp_methods_forget(control);
    free(control);
    return NULL;
}

/* What a connection was sent, and could not take, costs it the connection. */
static void sent(struct connection *c, int r)
{
    if (r < 0 || has_too_much_unread(c))
        drop(c);
    else
        watch(c);
}

#define FOREACH_KNOWN(c, control)                                                                  \
    HV_LIST_FOREACH (node, &(control)->connections)                                                \
        for (struct connection *c = HV_LIST_ENTRY(node, struct connection, node);                  \
             c && c->has_said_hello; c = NULL)

void wp_control_tell(struct wp_control *control, const struct wp_story *story)
{
    FOREACH_KNOWN(c, control)
    sent(c, wp_methods_tell(c, story));
}

void wp_control_tell_guest(struct wp_control *control)
{
    FOREACH_KNOWN(c, control)
    sent(c, wp_methods_tell_guest(c));
}

void wp_control_tell_crash(struct wp_control *control, const struct hv_crash *crash)
{
    FOREACH_KNOWN(c, control)
    sent(c, wp_methods_tell_crash(c, crash));
}

void wp_control_tell_storage(struct wp_control *control)
{
    FOREACH_KNOWN(c, control)
    sent(c, wp_methods_tell_storage(c));
}

void wp_control_tell_device(struct wp_control *control, const char *id, const char *message)
{
    wp_control_signal(control, "DeviceError", "ss", id, message);
}

void wp_control_tell_figures(struct wp_control *control)
{
    struct wp_worker_stats stats;

    wp_worker_get_stats(control->config.worker, &stats);
    FOREACH_KNOWN(c, control)
    sent(c, wp_methods_tell_figures(c, &stats));
}

void wp_control_sent(struct wp_control *control)
{
    FOREACH_KNOWN(c, control)
    sent(c, 0);
}

static int send_signal(struct connection *c, const char *member, const char *types, va_list values)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = wp_methods_new_signal(c, member, &m);

    r = r < 0 ? r : sd_bus_message_appendv(m, types, values);
    return r < 0 ? r : sd_bus_send(c->bus, m, NULL);
}

void wp_control_signal(struct wp_control *control, const char *member, const char *types, ...)
{
    va_list values;

    FOREACH_KNOWN(c, control)
    {
        va_start(values, types);
        sent(c, send_signal(c, member, types, values));
        va_end(values);
    }
}

bool wp_control_is_flushed(const struct wp_control *control)
{
    HV_LIST_FOREACH (node, &control->connections) {
        const struct connection *c = HV_LIST_ENTRY(node, struct connection, node);
        uint64_t queued;

        if (sd_bus_get_n_queued_write(c->bus, &queued) >= 0 && queued > 0)
            return false;
    }
    return true;
}
