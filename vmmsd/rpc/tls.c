/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS listeners: who may come in, and when it is time to go. */
#include "vmmsd/rpc/tls_priv.h"

#include "hvcore/base/clock.h"

#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

enum { BACKLOG = 256, TICK_MS = 1000, REST_TICKS = 10, MAX_TOLD = 20, DATE_TICKS = 3600 };

uint64_t vmms_tls_now_ms(const struct vmms_tls *tls)
{
    return hv_clock_monotonic_ns() / HV_NS_PER_MS;
}

void vmms_tls_tell(struct vmms_tls *tls, const char *text, const char *why)
{
    if (tls->told++ < MAX_TOLD)
        hv_log_printf(tls->rpc->config.log, HV_LOG_WARNING, NULL, "%s: %s", text, why);
}

/* Coming in */

/* The oldest stranger makes room for a newcomer, once it had its time. */
static bool drop_oldest_stranger(struct vmms_tls *tls)
{
    uint64_t now = vmms_tls_now_ms(tls);

    HV_LIST_FOREACH (node, &tls->visitors) {
        struct visitor *visitor = HV_LIST_ENTRY(node, struct visitor, node);

        if (!visitor->is_stranger)
            continue;
        if (now - visitor->born_ms < STRANGER_GRACE_MS)
            return false;
        vmms_visitor_close(visitor);
        return true;
    }
    return false;
}

static bool has_room(struct vmms_tls *tls)
{
    if (tls->n_visitors >= MAX_VISITORS)
        return false;
    return tls->n_strangers < MAX_STRANGERS || drop_oldest_stranger(tls);
}

/* Not accepting makes libuv stop looking at the listener until somebody is accepted. */
static void let_in(struct listener *listener)
{
    struct vmms_tls *tls = listener->tls;
    SSL_CTX *context = vmms_remote_context(tls->rpc->config.remote);

    listener->is_waiting = tls->is_closing || !context || !has_room(tls);
    if (!listener->is_waiting)
        (void)vmms_visitor_accept(tls, (uv_stream_t *)&listener->tcp, context);
}

void vmms_tls_let_in(struct vmms_tls *tls)
{
    HV_LIST_FOREACH (node, &tls->listeners) {
        struct listener *listener = HV_LIST_ENTRY(node, struct listener, node);

        if (listener->is_waiting && !tls->is_closing)
            let_in(listener);
    }
}

static void knocked(uv_stream_t *server, int status)
{
    if (status == 0)
        let_in(server->data);
}

/* Time */

static void tick(uv_timer_t *timer)
{
    struct vmms_tls *tls = timer->data;
    uint64_t now = vmms_tls_now_ms(tls);

    HV_LIST_FOREACH (node, &tls->visitors) {
        struct visitor *visitor = HV_LIST_ENTRY(node, struct visitor, node);

        if (vmms_visitor_is_over(visitor, now))
            vmms_visitor_close(visitor);
    }
    vmms_tls_let_in(tls);
    if (tls->ticks % REST_TICKS == 0) {
        if (tls->told > MAX_TOLD)
            hv_log_printf(tls->rpc->config.log, HV_LOG_WARNING, NULL,
                          "%u more remote clients were refused.", tls->told - MAX_TOLD);
        tls->told = 0;
    }
    if (tls->ticks++ % DATE_TICKS == 0)
        vmms_remote_check_dates(tls->rpc->config.remote);
}

/* Opening */

/* "HOST:PORT", "[ADDRESS]:PORT", "*:PORT" into its parts. */
static int split(const char *address, char *ret_host, size_t room, const char **ret_port)
{
    const char *colon = strrchr(address, ':');
    size_t length = colon ? (size_t)(colon - address) : 0;

    if (!length || !colon[1])
        return -EINVAL;
    if (length >= 2 && address[0] == '[' && address[length - 1] == ']') {
        address++;
        length -= 2;
    }
    if (length >= room)
        return -EINVAL;
    (void)snprintf(ret_host, room, "%.*s", (int)length, address);
    *ret_port = colon + 1;
    return 0;
}

static int adopt(struct listener *listener, int fd)
{
    int r = uv_tcp_init(listener->tls->rpc->config.loop, &listener->tcp);

    if (r < 0)
        return r;
    listener->has_handle = true;
    listener->tcp.data = listener;
    return uv_tcp_open(&listener->tcp, fd);
}

/* libuv would tell of an address in use only when it listens, which may be much later. */
static int bind_to(struct listener *listener, const struct addrinfo *found)
{
    hv_autofd int fd =
        socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, found->ai_protocol);
    int on = 1, off = 0, r;

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (found->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, found->ai_addr, found->ai_addrlen) < 0)
        return -errno;
    r = adopt(listener, fd);
    if (r == 0)
        (void)HV_TAKE_FD(fd);
    return r;
}

/* All addresses are one IPv6 socket that takes IPv4 as well, where the host has IPv6. */
static int bind_any(struct listener *listener, struct addrinfo *found)
{
    int r = -EADDRNOTAVAIL;

    for (const struct addrinfo *one = found; one; one = one->ai_next) {
        if (one->ai_family == AF_INET6)
            r = bind_to(listener, one);
    }
    return r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL ? bind_to(listener, found) : r;
}

static int open_address(struct listener *listener, const char *address, struct hv_error **reterr)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
    const char *port, *name;
    char host[256];
    bool is_any;
    int r;

    if (split(address, host, sizeof(host), &port) < 0)
        return hv_error_set(reterr, -EINVAL, "rpc.listen", "\"%s\" is not HOST:PORT to listen on.",
                            address);
    is_any = strcmp(host, "*") == 0;
    name = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host; /* RFC 6761, 6.3: no look-up */
    r = getaddrinfo(is_any ? NULL : name, port, &hints, &found);
    if (r != 0)
        return hv_error_set(reterr, -EADDRNOTAVAIL, "rpc.listen", "Cannot listen on %s: %s.",
                            address, gai_strerror(r));
    r = is_any ? bind_any(listener, found) : bind_to(listener, found);
    freeaddrinfo(found);
    if (r < 0)
        return hv_error_set(reterr, r, "rpc.listen", "Cannot listen on %s: %s.", address,
                            strerror(-r));
    return 0;
}

static struct listener *listener_free(struct listener *listener)
{
    if (!listener)
        return NULL;
    free(listener->address);
    free(listener);
    return NULL;
}

static void listener_closed(uv_handle_t *handle)
{
    listener_free(handle->data);
}

/* Whoever came in by it, stays. The address is free at once. */
static void close_listener(struct listener *listener)
{
    hv_list_remove(&listener->node);
    if (listener->has_handle)
        uv_close((uv_handle_t *)&listener->tcp, listener_closed);
    else
        listener_free(listener);
}

static int begin_listening(struct listener *listener, struct hv_error **reterr)
{
    const struct hv_log *log = listener->tls->rpc->config.log;
    int r = uv_listen((uv_stream_t *)&listener->tcp, BACKLOG, knocked);

    if (r < 0)
        return hv_error_set(reterr, r, "rpc.listen", "Cannot listen on %s: %s.", listener->address,
                            uv_strerror(r));
    hv_log_printf(log, HV_LOG_INFO, NULL, "Remote clients are served on %s.", listener->address);
    return 0;
}

/* fd: listens already; -1: it is to be opened. */
static int open_listener(struct vmms_tls *tls, const char *address, int fd,
                         struct hv_error **reterr)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int r;

    if (!listener)
        return -ENOMEM;
    hv_list_append(&tls->listeners, &listener->node);
    listener->tls = tls;
    listener->address = strdup(address);
    listener->is_given = fd >= 0;
    if (!listener->address)
        r = -ENOMEM;
    else if (fd < 0)
        r = open_address(listener, address, reterr);
    else
        r = fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : adopt(listener, fd);
    if (r == 0 && tls->is_open)
        r = begin_listening(listener, reterr);
    if (r < 0)
        close_listener(listener);
    return r;
}

int vmms_tls_open(struct vmms_tls *tls, struct hv_error **reterr)
{
    int r = 0;

    if (tls->is_open)
        return 0;
    HV_LIST_FOREACH (node, &tls->listeners)
        r = r ? r : begin_listening(HV_LIST_ENTRY(node, struct listener, node), reterr);
    tls->is_open = r == 0;
    return r;
}

int vmms_tls_new(struct vmms_rpc *rpc, struct vmms_tls **ret, struct hv_error **reterr)
{
    const struct vmms_rpc_config *config = &rpc->config;
    struct vmms_tls *tls = calloc(1, sizeof(*tls));
    int r = 0;

    if (!tls)
        return -ENOMEM;
    *ret = tls;
    tls->rpc = rpc;
    hv_list_init(&tls->visitors);
    hv_list_init(&tls->listeners);
    (void)uv_timer_init(config->loop, &tls->timer);
    tls->timer.data = tls;
    (void)uv_timer_start(&tls->timer, tick, 0, TICK_MS);
    for (size_t i = 0; r == 0 && i < config->n_listen; i++)
        r = open_listener(tls, config->listen[i], config->listen_fds[i], reterr);
    if (r < 0)
        return r;
    if (vmms_remote_context(config->remote))
        return vmms_tls_open(tls, reterr);
    hv_log_printf(config->log, HV_LOG_WARNING, NULL,
                  "Remote clients are not served yet: hvadm remote init makes the certificates.");
    return 0;
}

/* Other addresses */

static bool is_among(const char *address, const char *const *addresses, size_t count)
{
    size_t i = 0;

    while (i < count && strcmp(addresses[i], address) != 0)
        i++;
    return i < count;
}

static bool has_listener(const struct vmms_tls *tls, const char *address)
{
    HV_LIST_FOREACH (node, &tls->listeners) {
        if (strcmp(HV_LIST_ENTRY(node, struct listener, node)->address, address) == 0)
            return true;
    }
    return false;
}

/* What goes, goes first: a port may pass from one address to another. */
static int change_listeners(struct vmms_tls *tls, const char *const *addresses, size_t count,
                            struct hv_error **reterr)
{
    int r = 0;

    HV_LIST_FOREACH (node, &tls->listeners) {
        struct listener *listener = HV_LIST_ENTRY(node, struct listener, node);

        if (listener->is_given || is_among(listener->address, addresses, count))
            continue;
        hv_log_printf(tls->rpc->config.log, HV_LOG_INFO, NULL,
                      "New remote clients are no longer served on %s.", listener->address);
        close_listener(listener);
    }
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (!has_listener(tls, addresses[i]))
            r = open_listener(tls, addresses[i], -1, reterr);
    }
    return r;
}

int vmms_tls_use(struct vmms_tls *tls, const char *const *addresses, size_t count,
                 const char *const *old, size_t n_old, struct hv_error **reterr)
{
    int r = change_listeners(tls, addresses, count, reterr);

    if (r < 0)
        (void)change_listeners(tls, old, n_old, NULL);
    return r;
}

unsigned vmms_tls_count(const struct vmms_tls *tls)
{
    return tls ? (unsigned)tls->n_visitors : 0;
}

void vmms_tls_close(struct vmms_tls *tls)
{
    if (!tls || tls->is_closing)
        return;
    tls->is_closing = true;
    HV_LIST_FOREACH (node, &tls->visitors)
        vmms_visitor_close(HV_LIST_ENTRY(node, struct visitor, node));
    HV_LIST_FOREACH (node, &tls->listeners)
        close_listener(HV_LIST_ENTRY(node, struct listener, node));
    uv_close((uv_handle_t *)&tls->timer, NULL);
}

void vmms_tls_free(struct vmms_tls *tls)
{
    free(tls);
}
