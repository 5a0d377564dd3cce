/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line: a connection that lws serves, watched by our loop. lws keeps what it waits for to itself
 * (its built-in loop polls all its descriptors, which we let it do only once a second) and is told
 * by lws_service_fd what has come to pass.
 *
 * That there is room to write is told after each look at the input, for nearly always there is; the
 * kernel is asked only when something is left over. While reading is paused the kernel is told so
 * once more has come in. So a request and its answer change nothing in what is watched.
 *
 * lws is entered from here alone, and never from within itself.
 */
#include "hvcore/base/clock.h"
#include "vmmsd/rpc/rpc_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { TICK_MS = 1000, MAX_LOOKS = 4 };

struct line {
    struct hv_list node;
    struct hv_list due; /* in rpc->due: to be served at the loop's next turn */
    struct vmms_rpc *rpc;
    struct lws *wsi;         /* NULL: lws is done with it */
    struct visitor *visitor; /* a TLS client; NULL: on this host */
    uv_poll_t poll;
    int fd;      /* what is polled: a duplicate of lws's descriptor */
    int watched; /* UV_READABLE, UV_WRITABLE */
    struct head head;
    uint64_t waits_ns; /* since then for the rest of a request; 0: for none */
    bool is_asked;     /* a head has come, and its request is not answered yet */
    bool is_served;    /* just now */
    bool is_websocket;
    bool is_paused;
    bool wants_write;
    bool is_ending; /* lws was told to close it, and may have a last word */
};

static void happened(uv_poll_t *poll, int status, int events);
static void turn(uv_idle_t *idle);

static struct line *line_of(struct lws *wsi)
{
    return lws_get_opaque_user_data(wsi);
}

struct visitor *vmms_line_visitor(struct lws *wsi)
{
    return line_of(wsi)->visitor;
}

/* Has lws read more, of whomever, than could be used by then? */
static bool has_read_ahead(const struct vmms_rpc *rpc)
{
    return lws_service_adjust_timeout(rpc->context, 1, 0) == 0;
}

static void make_due(struct line *line)
{
    hv_list_remove(&line->due);
    hv_list_append(&line->rpc->due, &line->due);
    (void)uv_idle_start(&line->rpc->idle, turn);
}

/* Serving */

/* lws doesn't write to an HTTP client either that it shall not read from. */
static void tell(struct line *line, short events)
{
    struct lws_pollfd told = { .events = LWS_POLLIN | LWS_POLLOUT, .revents = events };
    bool is_held = line->is_paused && !line->is_websocket;

    if (!line->wsi)
        return;
    if (is_held)
        (void)lws_rx_flow_control(line->wsi, 1);
    told.fd = lws_get_socket_fd(line->wsi);
    (void)lws_service_fd(line->rpc->context, &told);
    if (is_held && line->wsi && line->is_paused)
        (void)lws_rx_flow_control(line->wsi, 0);
}

/* Who doesn't take what we send isn't listened to. */
static bool takes_input(const struct line *line)
{
    return line->wsi && !line->is_paused && !lws_partial_buffered(line->wsi);
}

/* lws closes without a word where half a request is all that comes, or no request at all. */
static void refuse(struct line *line, unsigned status)
{
    static const struct {
        unsigned status;
        const char *name, *sentence;
    } refusals[] = {
        { HTTP_STATUS_BAD_REQUEST, "Bad Request", "This is no whole request by HTTP/1.1." },
        { HTTP_STATUS_REQUEST_TIMEOUT, "Request Timeout",
          "The request did not come as a whole in time: its head within 10 seconds, its body "
          "within 30." },
        { VMMS_HTTP_HEAD_TOO_LARGE, "Request Header Fields Too Large",
          "The head of the request is too large; allowed are 16384 bytes." },
    };
    char text[512];
    size_t i = 0;
    int length;

    while (refusals[i].status != status)
        i++;
    length =
        snprintf(text, sizeof(text),
                 "HTTP/1.1 %u %s\r\nserver: hvstack\r\ncontent-type: text/plain\r\n"
                 "content-length: %zu\r\nconnection: close\r\n\r\n%s\n",
                 status, refusals[i].name, strlen(refusals[i].sentence) + 1, refusals[i].sentence);
    (void)send(line->fd, text, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    line->rpc->n_refused++;
    line->is_ending = true;
    line->waits_ns = 0;
    lws_set_timeout(line->wsi, NO_PENDING_TIMEOUT, LWS_TO_KILL_SYNC);
}

/* Is what has come something for lws? If not, the line has ended. */
static bool is_fit(struct line *line)
{
    bool is_whole = line->is_asked && !line->waits_ns;
    unsigned status = 0;
    char bytes[HEADER_BYTES + 1];
    ssize_t length;

    if (line->is_websocket || line->is_ending || is_whole)
        return true;
    length = recv(line->fd, bytes, line->is_asked ? 1 : sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    if (length == 0 && (line->head.taken || line->is_asked))
        status = HTTP_STATUS_BAD_REQUEST;
    else if (length > 0 && !line->is_asked)
        status = vmms_head_judge(&line->head, bytes, (size_t)length);
    if (status)
        refuse(line, status);
    else if (line->head.taken && !line->waits_ns)
        line->waits_ns = hv_clock_monotonic_ns();
    return !status;
}

/* seen: what there was just now */
static void watch(struct line *line, int seen)
{
    int wanted = takes_input(line) ? UV_READABLE : line->watched & UV_READABLE & ~seen;

    if (!line->wsi)
        return;
    if (lws_partial_buffered(line->wsi) || (line->wants_write && !line->is_ending))
        wanted |= UV_WRITABLE;
    if (wanted == line->watched)
        return;
    line->watched = wanted;
    if (wanted)
        (void)uv_poll_start(&line->poll, wanted, happened);
    else
        (void)uv_poll_stop(&line->poll);
}

static void serve(struct line *line, int events)
{
    bool has_room = !(line->watched & UV_WRITABLE) || events & UV_WRITABLE;
    bool is_readable = events & UV_READABLE;

    hv_list_remove(&line->due);
    line->is_served = true;
    /* After an answer lws takes nothing before it was told so. */
    if (has_room)
        tell(line, LWS_POLLOUT);
    for (int i = 0; i < MAX_LOOKS && takes_input(line); i++) {
        if (is_readable ? !is_fit(line) : !has_read_ahead(line->rpc))
            break;
        is_readable = false;
        tell(line, LWS_POLLIN);
        tell(line, LWS_POLLOUT);
    }
    if (line->is_ending)
        tell(line, LWS_POLLOUT);
    line->is_served = false;
    watch(line, events);
}

void vmms_line_look(struct line *line)
{
    serve(line, UV_READABLE);
}

static void happened(uv_poll_t *poll, int status, int events)
{
    struct line *line = poll->data;

    if (status == 0) {
        serve(line, events);
    } else { /* libuv has stopped to watch it; lws finds out why */
        line->watched = 0;
        serve(line, UV_READABLE | UV_WRITABLE);
    }
}

static void turn(uv_idle_t *idle)
{
    struct vmms_rpc *rpc = idle->data;
    struct hv_list last;

    hv_list_init(&last);
    hv_list_append(&rpc->due, &last);
    while (rpc->due.next != &last)
        serve(HV_LIST_ENTRY(rpc->due.next, struct line, due), 0);
    hv_list_remove(&last);
    if (hv_list_is_empty(&rpc->due))
        (void)uv_idle_stop(idle);
}

static bool is_late(const struct line *line, uint64_t now_ns)
{
    unsigned seconds = line->is_asked ? BODY_SECONDS : HEADER_SECONDS;

    return line->waits_ns && now_ns - line->waits_ns > seconds * HV_NS_PER_SEC;
}

/* Late requests; lws's timers, and whatever it waits for that we were not told of. */
static void tick(uv_timer_t *timer)
{
    struct vmms_rpc *rpc = timer->data;
    uint64_t now_ns = hv_clock_monotonic_ns();

    HV_LIST_FOREACH (node, &rpc->lines) {
        struct line *line = HV_LIST_ENTRY(node, struct line, node);

        if (line->wsi && is_late(line, now_ns))
            refuse(line, HTTP_STATUS_REQUEST_TIMEOUT);
    }
    (void)lws_service_tsi(rpc->context, -1, 0);
}

/* What lws's callbacks say */

void vmms_line_want_write(struct lws *wsi)
{
    struct line *line = line_of(wsi);

    line->wants_write = true;
    (void)lws_callback_on_writable(wsi);
    if (!line->is_served)
        make_due(line);
}

void vmms_line_may_write(struct lws *wsi)
{
    struct line *line = line_of(wsi);

    line->wants_write = false;
    if (!line->is_served)
        make_due(line);
}

void vmms_line_set_reading(struct lws *wsi, bool is_on)
{
    struct line *line = line_of(wsi);

    line->is_paused = !is_on;
    (void)lws_rx_flow_control(wsi, is_on);
    if (is_on && (!(line->watched & UV_READABLE) || has_read_ahead(line->rpc)))
        make_due(line);
}

void vmms_line_asked(struct lws *wsi)
{
    struct line *line = line_of(wsi);

    line->is_asked = true;
    line->waits_ns = hv_clock_monotonic_ns();
}

void vmms_line_has_all(struct lws *wsi)
{
    line_of(wsi)->waits_ns = 0;
}

void vmms_line_answered(struct lws *wsi)
{
    struct line *line = line_of(wsi);

    line->is_asked = false;
    line->waits_ns = 0;
    line->head = (struct head){ 0 };
}

void vmms_line_upgraded(struct lws *wsi)
{
    line_of(wsi)->is_websocket = true;
    vmms_line_has_all(wsi);
}

int vmms_line_has_sent_ahead(struct lws *wsi)
{
    const struct vmms_rpc *rpc = line_of(wsi)->rpc;

    if (!has_read_ahead(rpc))
        return 0;
    return hv_list_is_empty(&rpc->due) ? 1 : -EAGAIN;
}

/* The last that is heard may be the client's own farewell, but not before it has taken ours. */
void vmms_line_end(struct lws *wsi)
{
    line_of(wsi)->is_ending = true;
    vmms_line_has_all(wsi);
    vmms_line_set_reading(wsi, !lws_partial_buffered(wsi));
}

static void closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Beginning and end */

static void stop_watching(struct line *line)
{
    uv_close((uv_handle_t *)&line->poll, closed);
    line->fd = hv_close(line->fd);
}

/* A closed descriptor leaves the kernel's poll set only when no process has a copy of it left, and
 * a child that is just being started has copies of all. So a descriptor must leave our loop before
 * it is closed, or what happens to it is told of whoever gets its number next. lws closes its own
 * before it says so; ours is closed in the right order. */
struct line *vmms_line_open(struct vmms_rpc *rpc, int fd, int twin, struct visitor *visitor)
{
    struct line *line = calloc(1, sizeof(*line));
    hv_autofd int watched = twin;

    if (!line || uv_poll_init(rpc->config.loop, &line->poll, watched) < 0) {
        free(line);
        (void)hv_close(fd);
        return NULL;
    }
    hv_list_init(&line->due);
    hv_list_init(&line->node);
    line->rpc = rpc;
    line->visitor = visitor;
    line->fd = HV_TAKE_FD(watched);
    line->waits_ns = hv_clock_monotonic_ns();
    line->poll.data = line;
    /* It closes its descriptor where it fails. */
    line->wsi = lws_adopt_socket_vhost(rpc->vhost, fd);
    if (!line->wsi) {
        stop_watching(line);
        errno = ENOMEM;
        return NULL;
    }
    lws_set_opaque_user_data(line->wsi, line);
    if (hv_list_is_empty(&rpc->lines))
        (void)uv_timer_start(&rpc->tick, tick, TICK_MS, TICK_MS);
    hv_list_append(&rpc->lines, &line->node);
    watch(line, 0);
    return line;
}

/* lws has closed its descriptor by now. */
void vmms_line_gone(struct lws *wsi)
{
    struct line *line = line_of(wsi);

    if (!line)
        return;
    line->wsi = NULL;
    hv_list_remove(&line->due);
    hv_list_remove(&line->node);
    if (hv_list_is_empty(&line->rpc->lines))
        (void)uv_timer_stop(&line->rpc->tick);
    if (line->visitor)
        vmms_visitor_line_gone(line->visitor);
    stop_watching(line);
}

void vmms_lines_init(struct vmms_rpc *rpc)
{
    hv_list_init(&rpc->lines);
    hv_list_init(&rpc->due);
    (void)uv_timer_init(rpc->config.loop, &rpc->tick);
    (void)uv_idle_init(rpc->config.loop, &rpc->idle);
    rpc->tick.data = rpc->idle.data = rpc;
}

/* After lws's context has gone, and all lines with it. */
void vmms_lines_close(struct vmms_rpc *rpc)
{
    uv_close((uv_handle_t *)&rpc->tick, NULL);
    uv_close((uv_handle_t *)&rpc->idle, NULL);
}
