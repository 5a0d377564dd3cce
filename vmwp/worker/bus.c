/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/bus.h"

#include "hvcore/synic.h"
#include "vmwp/state/parts.h"

#include <string.h>
#include <sys/eventfd.h>

enum {
    CHANNEL_MESSAGE_TYPE = 1, /* SynIC message type of all channel messages */
    INBOX_MESSAGES = 64,      /* the guest is told to try again beyond that */
    RETRY_MS = 2              /* until a slot that the guest is slow to empty is looked at again */
};

struct wp_bus {
    /* owner: the io thread, but for the inbox */
    struct wp_loop *loop;
    struct hv_partition *partition;
    struct vmbus_server *server;
    struct hv_log log;
    uv_timer_t *retry;
    struct wp_task sweep;
    struct wp_task receive;
    bool has_port[2];
    pthread_mutex_t inbox_lock; /* innermost; VP threads and io */
    struct hv_message inbox[INBOX_MESSAGES];
    unsigned first, count;
};

/* A channel's way in: what the guest's signals set, and who waits for it. */
struct line {
    struct wp_bus *bus;
    struct vmbus_channel *channel;
    int eventfd;
    bool is_polled;
    uv_poll_t poll;
};

static const uint32_t message_ports[2] = { VMBUS_CONNECTION_MESSAGES,
                                           VMBUS_CONNECTION_MESSAGES_V5 };

/* From the guest */

static bool message_posted(void *opaque, unsigned vp, const struct hv_message *message)
{
    struct wp_bus *bus = opaque;
    bool is_taken;

    (void)vp;
    pthread_mutex_lock(&bus->inbox_lock);
    is_taken = bus->count < INBOX_MESSAGES;
    if (is_taken)
        bus->inbox[(bus->first + bus->count++) % INBOX_MESSAGES] = *message;
    pthread_mutex_unlock(&bus->inbox_lock);
    if (is_taken)
        wp_post(bus->loop, &bus->receive);
    return is_taken;
}

static bool take_message(struct wp_bus *bus, struct hv_message *ret)
{
    bool is_there;

    pthread_mutex_lock(&bus->inbox_lock);
    is_there = bus->count > 0;
    if (is_there) {
        *ret = bus->inbox[bus->first];
        bus->first = (bus->first + 1) % INBOX_MESSAGES;
        bus->count--;
    }
    pthread_mutex_unlock(&bus->inbox_lock);
    return is_there;
}

static void run_retry(uv_timer_t *timer);

static void retry_later(struct wp_bus *bus)
{
    if (vmbus_server_has_unsent(bus->server) && !uv_is_active((uv_handle_t *)bus->retry))
        (void)uv_timer_start(bus->retry, run_retry, RETRY_MS, 0);
}

static void run_retry(uv_timer_t *timer)
{
    struct wp_bus *bus = timer->data;

    vmbus_server_retry(bus->server);
    retry_later(bus);
}

/* At most an inbox full a turn: a guest that goes on posting waits for the loop's other work. */
static void run_receive(void *opaque)
{
    struct wp_bus *bus = opaque;
    struct hv_message message;
    unsigned taken = 0;

    while (taken < INBOX_MESSAGES && take_message(bus, &message)) {
        taken++;
        if (message.type == CHANNEL_MESSAGE_TYPE)
            vmbus_server_message(bus->server, message.payload, message.bytes);
    }
    retry_later(bus);
    if (taken == INBOX_MESSAGES)
        wp_post(bus->loop, &bus->receive);
}

static void run_sweep(void *opaque)
{
    struct wp_bus *bus = opaque;

    vmbus_server_sweep(bus->server);
    retry_later(bus);
}

/* To the guest */

static int post_message(void *opaque, unsigned vp, unsigned sint, const void *payload, size_t bytes)
{
    struct wp_bus *bus = opaque;
    struct hv_message message = { .type = CHANNEL_MESSAGE_TYPE, .bytes = (uint32_t)bytes };

    hv_assert(bytes <= sizeof(message.payload));
    memcpy(message.payload, payload, bytes);
    return hv_partition_post_message(bus->partition, vp, sint, &message);
}

static void signal_event(void *opaque, unsigned vp, unsigned sint, unsigned flag)
{
    struct wp_bus *bus = opaque;

    /* A guest that masks its flags finds the packets when it looks. */
    (void)hv_partition_signal_event(bus->partition, vp, sint, flag);
}

static void wake(void *opaque)
{
    struct wp_bus *bus = opaque;

    wp_post(bus->loop, &bus->sweep);
}

/* Channels' signals */

static void line_signalled(uv_poll_t *poll, int status, int events)
{
    struct line *line = poll->data;
    uint64_t count;

    (void)status;
    (void)events;
    if (read(line->eventfd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        vmbus_channel_signalled(line->channel);
}

static void line_free(struct line *line)
{
    hv_close(line->eventfd);
    free(line);
}

static void line_closed(uv_handle_t *handle)
{
    line_free(handle->data);
}

static int line_listen(struct line *line)
{
    int r = uv_poll_init(&line->bus->loop->uv, &line->poll, line->eventfd);

    if (r < 0)
        return r;
    line->poll.data = line;
    line->is_polled = true;
    return uv_poll_start(&line->poll, UV_READABLE, line_signalled);
}

static void line_end(struct line *line)
{
    if (line->is_polled)
        uv_close((uv_handle_t *)&line->poll, line_closed);
    else
        line_free(line);
}

static int line_begin(struct line *line)
{
    int r;

    line->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (line->eventfd < 0)
        return -errno;
    if (!vmbus_channel_is_polled_by_vsp(line->channel)) {
        r = line_listen(line);
        if (r < 0)
            return r;
    }
    return hv_partition_add_event_port(line->bus->partition,
                                       vmbus_channel_connection_id(line->channel), line->eventfd);
}

static int connect_channel(void *opaque, struct vmbus_channel *channel)
{
    struct line *line = calloc(1, sizeof(*line));
    int r;

    if (!line)
        return -ENOMEM;
    line->bus = opaque;
    line->channel = channel;
    r = line_begin(line);
    if (r < 0) {
        line_end(line);
        return r;
    }
    vmbus_channel_set_doorbell(channel, line->eventfd);
    vmbus_channel_set_host_data(channel, line);
    return 0;
}

static void disconnect_channel(void *opaque, struct vmbus_channel *channel)
{
    struct wp_bus *bus = opaque;
    struct line *line = vmbus_channel_host_data(channel);

    if (!line)
        return; /* connect had failed */
    hv_partition_remove_port(bus->partition, vmbus_channel_connection_id(channel));
    vmbus_channel_set_doorbell(channel, -1);
    vmbus_channel_set_host_data(channel, NULL);
    line_end(line);
}

static const struct vmbus_host_ops host_ops = {
    .post_message = post_message,
    .signal_event = signal_event,
    .connect = connect_channel,
    .disconnect = disconnect_channel,
    .wake = wake,
};

/* Life */

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static int make_timer(struct wp_bus *bus)
{
    bus->retry = calloc(1, sizeof(*bus->retry));
    if (!bus->retry)
        return -ENOMEM;
    (void)uv_timer_init(&bus->loop->uv, bus->retry);
    bus->retry->data = bus;
    return 0;
}

static int make(struct wp_bus *bus)
{
    struct vmbus_server_config config = {
        .gpa = hv_partition_gpa(bus->partition),
        .n_vps = hv_partition_n_vps(bus->partition),
        .ops = &host_ops,
        .opaque = bus,
        .log = bus->log,
    };
    int r;

    r = make_timer(bus);
    r = r < 0 ? r : vmbus_server_new(&config, &bus->server);
    for (unsigned i = 0; r >= 0 && i < HV_ARRAY_SIZE(message_ports); i++) {
        r = hv_partition_add_message_port(bus->partition, message_ports[i], message_posted, bus);
        bus->has_port[i] = r >= 0;
    }
    return r;
}

int wp_bus_new(struct wp_loop *loop, struct hv_partition *partition, const struct hv_log *log,
               struct wp_bus **ret, struct hv_error **reterr)
{
    struct wp_bus *bus = calloc(1, sizeof(*bus));
    int r;

    if (!bus)
        return -ENOMEM;
    bus->loop = loop;
    bus->partition = partition;
    bus->log = *log;
    wp_task_init(&bus->sweep, run_sweep, bus);
    wp_task_init(&bus->receive, run_receive, bus);
    pthread_mutex_init(&bus->inbox_lock, NULL);
    r = make(bus);
    if (r < 0) {
        (void)wp_bus_free(bus);
        return hv_error_set(reterr, r, "vm.bus", "The VM's bus cannot be made: %s.", strerror(-r));
    }
    *ret = bus;
    return 0;
}

struct wp_bus *wp_bus_free(struct wp_bus *bus)
{
    if (!bus)
        return NULL;
    for (unsigned i = 0; i < HV_ARRAY_SIZE(message_ports); i++)
        if (bus->has_port[i])
            hv_partition_remove_port(bus->partition, message_ports[i]);
    bus->server = vmbus_server_free(bus->server);
    wp_task_withdraw(bus->loop, &bus->sweep);
    wp_task_withdraw(bus->loop, &bus->receive);
    if (bus->retry)
        uv_close((uv_handle_t *)bus->retry, free_timer);
    pthread_mutex_destroy(&bus->inbox_lock);
    free(bus);
    return NULL;
}

struct vmbus_server *wp_bus_server(struct wp_bus *bus)
{
    return bus->server;
}

void wp_bus_reset(struct wp_bus *bus)
{
    pthread_mutex_lock(&bus->inbox_lock);
    bus->count = 0;
    pthread_mutex_unlock(&bus->inbox_lock);
    (void)uv_timer_stop(bus->retry);
    vmbus_server_reset(bus->server);
}

/* Saved */

void wp_bus_hold(struct wp_bus *bus)
{
    vmbus_server_sweep(bus->server);
    (void)uv_timer_stop(bus->retry);
    wp_task_withdraw(bus->loop, &bus->receive);
    wp_task_withdraw(bus->loop, &bus->sweep);
}

void wp_bus_let_go(struct wp_bus *bus)
{
    vmbus_server_announce(bus->server);
    wp_post(bus->loop, &bus->receive);
    wp_post(bus->loop, &bus->sweep);
}

static void visit_message(struct hv_fields *fields, struct hv_message *message)
{
    hv_field_u32(fields, &message->type);
    hv_field_count(fields, &message->bytes, sizeof(message->payload));
    hv_field_bytes(fields, message->payload, message->bytes);
}

/* VPs stand still: nobody else touches the inbox. */
static void visit_inbox(struct wp_bus *bus, struct hv_fields *fields)
{
    uint32_t n = bus->count;

    hv_field_count(fields, &n, INBOX_MESSAGES);
    for (uint32_t i = 0; i < n; i++)
        visit_message(fields, &bus->inbox[(bus->first + i) % INBOX_MESSAGES]);
    bus->count = n;
}

int wp_bus_save(struct wp_bus *bus, struct state_writer *writer)
{
    struct hv_fields fields = hv_fields_writer();
    int r;

    vmbus_server_save(bus->server, &fields);
    r = state_writer_part(writer, STATE_VMBUS, 0, &fields);
    if (r < 0)
        return r;
    fields = hv_fields_writer();
    visit_inbox(bus, &fields);
    return state_writer_part(writer, STATE_INBOX, 0, &fields);
}

int wp_bus_restore(struct wp_bus *bus, const struct state_image *image)
{
    struct hv_fields inbox = state_image_fields(image, STATE_INBOX, 0);
    struct hv_fields fields = state_image_fields(image, STATE_VMBUS, 0);

    visit_inbox(bus, &inbox);
    return hv_fields_is_done(&inbox) ? vmbus_server_restore(bus->server, &fields) : -EINVAL;
}
