/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/rpc/rpc_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { RETRY_MS = 1000 };

static void retry(uv_timer_t *timer);

static int lws_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                     size_t length)
{
    struct vmms_rpc *rpc = lws_context_user(lws_get_context(wsi));
    int r = 0;

    switch (reason) {
    case LWS_CALLBACK_WSI_DESTROY: vmms_line_gone(wsi); return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
    case LWS_CALLBACK_ESTABLISHED:
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_CLOSED: r = vmms_websocket_event(rpc, wsi, reason, user, in, length); break;
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_BODY:
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
    case LWS_CALLBACK_HTTP_WRITEABLE:
    case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
    case LWS_CALLBACK_CLOSED_HTTP: r = vmms_http_event(rpc, wsi, reason, user, in, length); break;
    default: return lws_callback_http_dummy(wsi, reason, user, in, length);
    }
    if (r)
        vmms_line_end(wsi);
    return r;
}

/* lws logs through one function for the whole process, a line for what a client sends, too. What we
 * have to know of it its functions return. */
static void quiet(void)
{
    lws_set_log_level(0, NULL);
}

/* Is a service listening there, or is the name a leftover? */
static int clear_socket(int fd, const struct sockaddr_un *address, struct hv_error **reterr)
{
    /* -EAGAIN: so many wait to be let in there that there is no room for one more. */
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return hv_error_set(reterr, -EADDRINUSE, "rpc.in_use",
                            "Another service listens on %s already.", address->sun_path);
    return unlink(address->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int make_socket(const char *path, int *ret_fd, struct hv_error **reterr)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    hv_autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : 0;

    if (strlen(path) >= sizeof(address.sun_path))
        return hv_error_set(reterr, -ENAMETOOLONG, "rpc.path",
                            "The socket path %s is too long; Linux allows %zu bytes.", path,
                            sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (r == 0)
        r = clear_socket(fd, &address, reterr);
    if (r == -EADDRINUSE)
        return r;
    if (r == 0 && (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
                   listen(fd, SOMAXCONN) < 0))
        r = -errno;
    if (r < 0)
        return hv_error_set(
            reterr, r, "rpc.listen",
            "The socket %s cannot be made: %s. Choose another runtime directory, or "
            "make that one fit.",
            path, strerror(-r));
    *ret_fd = HV_TAKE_FD(fd);
    return 0;
}

/* Rule 9.5: who cannot be let in for want of descriptors or memory waits at the door, and we don't
 * look there again before `retry`. */
static void stop_accepting(struct vmms_rpc *rpc, int error)
{
    (void)uv_poll_stop(&rpc->poll);
    (void)uv_timer_start(&rpc->retry, retry, RETRY_MS, 0);
    if (!rpc->is_full)
        hv_log_printf(rpc->config.log, HV_LOG_WARNING, NULL,
                      "No more clients can be let in on %s for now: %s.", rpc->config.socket_path,
                      strerror(error));
    rpc->is_full = true;
}

/* Who is let in has two descriptors: nobody comes in before there is one for his twin. */
static int let_in(struct vmms_rpc *rpc)
{
    int fd, twin;

    if (rpc->spare_fd < 0)
        rpc->spare_fd = fcntl(rpc->listen_fd, F_DUPFD_CLOEXEC, 0);
    fd = rpc->spare_fd < 0 ? -1 : accept4(rpc->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return -errno;
    twin = dup3(fd, rpc->spare_fd, O_CLOEXEC);
    rpc->spare_fd = -1;
    return vmms_line_open(rpc, fd, twin, NULL) ? 0 : -errno;
}

static void knocked(uv_poll_t *poll, int status, int events)
{
    struct vmms_rpc *rpc = poll->data;
    int r = 0;

    for (int i = 0; r == 0 && i < MAX_ACCEPTS; i++) {
        r = let_in(rpc);
        rpc->is_full = rpc->is_full && r < 0;
    }
    if (r < 0 && r != -EAGAIN && r != -EINTR && r != -ECONNABORTED)
        stop_accepting(rpc, -r);
}

static void retry(uv_timer_t *timer)
{
    struct vmms_rpc *rpc = timer->data;

    (void)uv_poll_start(&rpc->poll, UV_READABLE, knocked);
}

/* One that was handed over stays. */
static void close_socket(struct vmms_rpc *rpc)
{
    if (rpc->config.socket_fd >= 0 || rpc->listen_fd < 0)
        return;
    (void)unlink(rpc->config.socket_path);
    rpc->listen_fd = hv_close(rpc->listen_fd);
}

static int listen_on(struct vmms_rpc *rpc, struct hv_error **reterr)
{
    int fd = rpc->listen_fd, r;

    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -EIO;
    r = uv_poll_init(rpc->config.loop, &rpc->poll, fd);
    if (r < 0)
        return hv_error_set(reterr, r, "rpc.listen", "The socket %s cannot be watched: %s.",
                            rpc->config.socket_path, strerror(-r));
    (void)uv_timer_init(rpc->config.loop, &rpc->retry);
    rpc->poll.data = rpc->retry.data = rpc;
    rpc->is_polling = true;
    return uv_poll_start(&rpc->poll, UV_READABLE, knocked);
}

int vmms_rpc_new(const struct vmms_rpc_config *config, struct vmms_rpc **ret,
                 struct hv_error **reterr)
{
    static const struct lws_protocols protocols[] = { { .name = VMMS_RPC_PROTOCOL,
                                                        .callback = lws_event,
                                                        .per_session_data_size =
                                                            sizeof(struct session),
                                                        .rx_buffer_size = 16 << 10 },
                                                      { 0 } };
    struct lws_context_creation_info info = { 0 };
    struct vmms_rpc *rpc = calloc(1, sizeof(*rpc));
    int r;

    if (!rpc)
        return -ENOMEM;
    rpc->config = *config;
    rpc->listen_fd = config->socket_fd;
    r = rpc->listen_fd < 0 ? make_socket(config->socket_path, &rpc->listen_fd, reterr) : 0;
    if (r < 0) {
        free(rpc);
        return r;
    }
    rpc->spare_fd = -1;
    rpc->next_call = 1;
    hv_list_init(&rpc->connections);
    hv_list_init(&rpc->pending);
    quiet();
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = protocols;
    info.options = LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
    info.user = rpc;
    info.max_http_header_data = HEADER_BYTES + LWS_READ_BYTES; /* ours is met first */
    info.timeout_secs = BODY_SECONDS + LATER_SECONDS;
    info.keepalive_timeout = IDLE_SECONDS;
    info.server_string = "hvstack";
    rpc->context = lws_create_context(&info);
    rpc->vhost = rpc->context ? lws_get_vhost_by_name(rpc->context, "default") : NULL;
    if (!rpc->vhost) {
        close_socket(rpc);
        free(rpc);
        return hv_error_set(reterr, -EIO, "rpc.listen", "The service cannot listen on %s.",
                            config->socket_path);
    }
    *ret = rpc;
    vmms_lines_init(rpc);
    r = listen_on(rpc, reterr);
    return r < 0 || !config->n_listen ? r : vmms_tls_new(rpc, &rpc->tls, reterr);
}

int vmms_rpc_listen(struct vmms_rpc *rpc, const char *const *addresses, size_t count,
                    struct hv_error **reterr)
{
    struct vmms_rpc_config *config = &rpc->config;
    int r = rpc->tls || !count ? 0 : vmms_tls_new(rpc, &rpc->tls, reterr);

    if (r == 0 && rpc->tls)
        r = vmms_tls_use(rpc->tls, addresses, count, config->listen, config->n_listen, reterr);
    if (r < 0)
        return r;
    config->listen = addresses;
    config->n_listen = count;
    return 0;
}

int vmms_rpc_open_tls(struct vmms_rpc *rpc, struct hv_error **reterr)
{
    return rpc->tls ? vmms_tls_open(rpc->tls, reterr) : 0;
}

void vmms_rpc_count(const struct vmms_rpc *rpc, uint64_t *ret_local, uint64_t *ret_remote,
                    uint64_t *ret_refused)
{
    *ret_local = rpc->n_connections;
    *ret_remote = vmms_tls_count(rpc->tls);
    *ret_refused = rpc->n_refused;
}

void vmms_rpc_close(struct vmms_rpc *rpc)
{
    if (!rpc)
        return;
    rpc->is_resuming = true; /* nothing is begun any more */
    vmms_tls_close(rpc->tls);
    if (rpc->is_polling) {
        uv_close((uv_handle_t *)&rpc->poll, NULL);
        uv_close((uv_handle_t *)&rpc->retry, NULL);
    }
    rpc->is_polling = false;
    rpc->spare_fd = hv_close(rpc->spare_fd);
    lws_context_destroy(rpc->context);
    vmms_lines_close(rpc);
    close_socket(rpc);
}

void vmms_rpc_free(struct vmms_rpc *rpc)
{
    if (!rpc)
        return;
    vmms_tls_free(rpc->tls);
    free(rpc);
}
