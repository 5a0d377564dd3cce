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
    for (size_t i = 0; i < tls->n_listeners && !tls->is_closing; i++) {
        if (tls->listeners[i].is_waiting)
            let_in(&tls->listeners[i]);
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
    listener->tls->n_listeners++;
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

static int open_listener(struct vmms_tls *tls, size_t number, struct hv_error **reterr)
{
    const struct vmms_rpc_config *config = &tls->rpc->config;
    struct listener *listener = &tls->listeners[number];
    int fd = config->listen_fds[number];

    listener->tls = tls;
    listener->address = config->listen[number];
    if (fd < 0)
        return open_address(listener, listener->address, reterr);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return adopt(listener, fd);
}

int vmms_tls_open(struct vmms_tls *tls, struct hv_error **reterr)
{
    int r = 0;

    if (tls->is_open)
        return 0;
    for (size_t i = 0; r == 0 && i < tls->n_listeners; i++) {
        struct listener *listener = &tls->listeners[i];

        r = uv_listen((uv_stream_t *)&listener->tcp, BACKLOG, knocked);
        if (r < 0)
            (void)hv_error_set(reterr, r, "rpc.listen", "Cannot listen on %s: %s.",
                               listener->address, uv_strerror(r));
        else
            hv_log_printf(tls->rpc->config.log, HV_LOG_INFO, NULL,
                          "Remote clients are served on %s.", listener->address);
    }
    tls->is_open = r == 0;
    return r;
}

int vmms_tls_new(struct vmms_rpc *rpc, struct vmms_tls **ret, struct hv_error **reterr)
{
    struct vmms_tls *tls = calloc(1, sizeof(*tls));
    int r = 0;

    if (!tls)
        return -ENOMEM;
    *ret = tls;
    tls->rpc = rpc;
    hv_list_init(&tls->visitors);
    (void)uv_timer_init(rpc->config.loop, &tls->timer);
    tls->timer.data = tls;
    (void)uv_timer_start(&tls->timer, tick, 0, TICK_MS);
    tls->listeners = calloc(rpc->config.n_listen, sizeof(*tls->listeners));
    if (!tls->listeners)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < rpc->config.n_listen; i++)
        r = open_listener(tls, i, reterr);
    if (r < 0)
        return r;
    if (vmms_remote_context(rpc->config.remote))
        return vmms_tls_open(tls, reterr);
    hv_log_printf(rpc->config.log, HV_LOG_WARNING, NULL,
                  "Remote clients are not served yet: hvadm remote init makes the certificates.");
    return 0;
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
    for (size_t i = 0; i < tls->n_listeners; i++)
        uv_close((uv_handle_t *)&tls->listeners[i].tcp, NULL);
    uv_close((uv_handle_t *)&tls->timer, NULL);
}

void vmms_tls_free(struct vmms_tls *tls)
{
    if (!tls)
        return;
    free(tls->listeners);
    free(tls);
}
