/* SPDX-License-Identifier: Apache-2.0 */
/* A channel's own thread: waits for the guest's signal, drains the ring, hands on what it finds. */
#include "hvcore/base/clock.h"
#include "vmwp/vsp/storvsp/controller_priv.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>

enum { RETRY_MS = 10 }; /* for a packet that there was no memory for */

void storvsp_queue_wake(struct storvsp_queue *queue)
{
    static const uint64_t one = 1;

    if (write(queue->wake_fd, &one, sizeof(one)) < 0)
        return; /* it is readable already */
}

static bool may_work(const struct storvsp_queue *queue)
{
    return queue->channel && !queue->is_closing && !queue->controller->n_holds;
}

/* Park until the thread may work. Returns false when it is to end. */
static bool enter(struct storvsp_queue *queue)
{
    struct storvsp_controller *controller = queue->controller;
    bool is_stopping;

    pthread_mutex_lock(&controller->lock);
    if (!may_work(queue) || controller->is_stopping) {
        queue->is_busy = false;
        pthread_cond_broadcast(&controller->idle);
    }
    while (!may_work(queue) && !controller->is_stopping)
        pthread_cond_wait(&queue->ready, &controller->lock);
    is_stopping = controller->is_stopping;
    queue->is_busy = !is_stopping;
    pthread_mutex_unlock(&controller->lock);
    return !is_stopping;
}

/* Is everything still that must not run beside a reset or pause? Locked. */
static bool is_quiet(const struct storvsp_controller *controller, const struct storvsp_queue *self)
{
    if (controller->n_running || controller->pending.first)
        return false;
    for (unsigned i = 0; i < controller->config.n_queues; i++) {
        const struct storvsp_queue *queue = &controller->queues[i];

        if (queue->is_sending)
            return false;
        if (queue != self && queue->is_busy && !(self && queue->is_resetting))
            return false; /* of two that reset, each lets the other wait */
    }
    return true;
}

void storvsp_hold_locked(struct storvsp_controller *controller, struct storvsp_queue *self)
{
    controller->n_holds++;
    for (unsigned i = 0; i < controller->config.n_queues; i++)
        storvsp_queue_wake(&controller->queues[i]);
    while (!is_quiet(controller, self))
        pthread_cond_wait(&controller->idle, &controller->lock);
}

void storvsp_let_go_locked(struct storvsp_controller *controller)
{
    controller->n_holds--;
    for (unsigned i = 0; i < controller->config.n_queues; i++)
        pthread_cond_signal(&controller->queues[i].ready);
}

/* A free request, or NULL: one that is released will wake this thread. */
static struct storvsp_request *take_free(struct storvsp_queue *queue)
{
    struct storvsp_controller *controller = queue->controller;

    if (!queue->spare.first) {
        pthread_mutex_lock(&controller->lock);
        storvsp_list_join(&queue->spare, &queue->free);
        queue->is_starved = !queue->spare.first;
        pthread_mutex_unlock(&controller->lock);
    }
    return storvsp_list_pop(&queue->spare);
}

/* The reset is answered when all that came before it was. */
static void reset(struct storvsp_queue *queue, struct storvsp_request *request)
{
    struct storvsp_controller *controller = queue->controller;

    pthread_mutex_lock(&controller->lock);
    queue->is_resetting = true;
    pthread_cond_broadcast(&controller->idle);
    storvsp_hold_locked(controller, queue);
    for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++)
        if (controller->units[i])
            atomic_store(&controller->units[i]->attention, SCSI_ASC_RESET);
    queue->is_resetting = false;
    storvsp_let_go_locked(controller);
    pthread_mutex_unlock(&controller->lock);
    storvsp_finish(request);
}

/* Only the io thread may offer channels. */
static void spread(struct storvsp_queue *queue, struct storvsp_request *request, unsigned n)
{
    struct storvsp_controller *controller = queue->controller;

    pthread_mutex_lock(&controller->lock);
    controller->spread = request;
    controller->n_spread = n;
    pthread_mutex_unlock(&controller->lock);
    controller->config.wake(controller->config.opaque);
}

static enum storvsp_verdict judge(struct storvsp_queue *queue, struct storvsp_request *request)
{
    struct storvsp_controller *controller = queue->controller;
    enum storvsp_verdict verdict;

    if (queue->index)
        return storvsp_protocol_step_sub(&request->packet);
    verdict = storvsp_protocol_step(&controller->protocol, &request->packet);
    atomic_store(&controller->is_ready, storvsp_protocol_is_ready(&controller->protocol));
    return verdict;
}

static void wait_for_own(struct storvsp_queue *queue)
{
    struct storvsp_controller *controller = queue->controller;

    pthread_mutex_lock(&controller->lock);
    while (queue->n_running || queue->n_pending)
        pthread_cond_wait(&controller->idle, &controller->lock);
    pthread_mutex_unlock(&controller->lock);
}

/* SAM-5 "ORDERED task attribute": after all that came before, before all that comes later */
static void run_ordered(struct storvsp_queue *queue, struct storvsp_list *batch,
                        struct storvsp_request *request)
{
    storvsp_submit(queue, batch);
    wait_for_own(queue);
    storvsp_list_push(batch, request);
    storvsp_submit(queue, batch);
    wait_for_own(queue);
}

static void accept_packet(struct storvsp_queue *queue, struct storvsp_list *batch,
                          struct storvsp_request *request)
{
    unsigned n = request->packet.sub_channels;

    switch (judge(queue, request)) {
    case STORVSP_RUN:
        if (request->packet.srb.queue_action == STORVSP_TAG_ORDERED)
            run_ordered(queue, batch, request);
        else
            storvsp_list_push(batch, request);
        return;
    case STORVSP_REPLY: storvsp_finish(request); return;
    case STORVSP_RESET:
        storvsp_submit(queue, batch);
        reset(queue, request);
        return;
    case STORVSP_SUB_CHANNELS: spread(queue, request, n); return;
    }
}

/* Receive one packet. Returns false when there is none to have, or no room for it. */
static bool receive(struct storvsp_queue *queue, struct storvsp_list *batch)
{
    struct storvsp_request *request = queue->is_broken ? NULL : take_free(queue);
    int r;

    if (!request)
        return false;
    r = vmbus_channel_receive(queue->channel, queue->packet);
    if (r == 0 && queue->packet->type == VMBUS_PACKET_COMPLETION) {
        storvsp_list_push_front(&queue->spare, request); /* nothing of ours asks for one */
        return true;
    }
    if (r == 0 && storvsp_request_take(request, queue->packet)) {
        accept_packet(queue, batch, request);
        return true;
    }
    storvsp_list_push_front(&queue->spare, request);
    queue->is_short = r < 0;
    if (r == VMBUS_E_EMPTY || r < 0)
        return false;
    queue->is_broken = true;
    if (r == 0)
        vmbus_channel_fail(queue->channel, "not a packet of the storage protocol");
    return false;
}

/* A change of units is told once there is room: the guest scans, and asks each unit it knows. */
static void tell_bus_change(struct storvsp_queue *queue)
{
    struct storvsp_controller *controller = queue->controller;
    static const struct storvsp_wire_packet news = { .operation = STORVSP_ENUMERATE_BUS };
    bool is_due;

    pthread_mutex_lock(&controller->lock);
    is_due = controller->is_bus_changed && atomic_load(&controller->is_ready);
    if (is_due)
        controller->is_bus_changed = false;
    pthread_mutex_unlock(&controller->lock);
    if (!is_due || vmbus_channel_send(queue->channel, VMBUS_PACKET_INBAND, 0, false, &news,
                                      sizeof(news)) != VMBUS_E_FULL)
        return;
    pthread_mutex_lock(&controller->lock);
    controller->is_bus_changed = true;
    pthread_mutex_unlock(&controller->lock);
}

/*
 * A guest signals when it finds its ring empty. Where many requests come together, a host that
 * looks at once is signalled for each of them and answers each alone. So it lets them come for a
 * while, which is as long as a few of them take to run; and on for as long as more come at the
 * guest's own pace, which on a software CPU is many times slower than the host's cache. Whether
 * many come is found by trying, now and then; a lone request is hardly ever waited for. That few
 * came once says little, for the guest may not have had the processor meanwhile.
 */
enum {
    DEEP = 6,     /* requests in one turn that are many */
    PATIENCE = 8, /* waits in a row for which few came, until many are not hoped for any more */
    PROBE_EVERY_MAX = 1024,
    WAIT_REQUESTS = 16,
    WAIT_GAPS = 2,      /* of the guest's pace, without another one */
    WAIT_GAPS_MAX = 12, /* until all have come */
    WAIT_MIN_NS = 20 * 1000,
    WAIT_MAX_NS = 4000 * 1000,
    PACE_MAX_NS = 500 * 1000 /* from one to the next; longer is a pause */
};

static uint64_t between(uint64_t least, uint64_t ns, uint64_t most)
{
    return ns < least ? least : ns > most ? most : ns;
}

/* How long the guest is given for its next request. Locked. */
static struct timespec in_a_while(const struct storvsp_queue *queue)
{
    uint64_t ns = WAIT_REQUESTS * queue->mean_ns;

    if (ns < WAIT_GAPS * queue->gap_ns)
        ns = WAIT_GAPS * queue->gap_ns;
    ns = hv_clock_monotonic_ns() + between(WAIT_MIN_NS, ns, WAIT_MAX_NS);
    return (struct timespec){ .tv_sec = (time_t)(ns / HV_NS_PER_SEC),
                              .tv_nsec = (long)(ns % HV_NS_PER_SEC) };
}

/* Returns whether there was nothing else to do. */
static bool wait_a_while(struct storvsp_queue *queue)
{
    struct storvsp_controller *controller = queue->controller;
    bool has_waited = false;

    pthread_mutex_lock(&controller->lock);
    if (may_work(queue) && !controller->is_stopping && storvsp_is_quick(queue)) {
        struct timespec end = in_a_while(queue);

        has_waited = pthread_cond_clockwait(&queue->ready, &controller->lock, CLOCK_MONOTONIC,
                                            &end) == ETIMEDOUT;
    }
    pthread_mutex_unlock(&controller->lock);
    return has_waited;
}

static void let_them_come(struct storvsp_queue *queue)
{
    uint64_t end_ns =
        hv_clock_monotonic_ns() + between(WAIT_MIN_NS, WAIT_GAPS_MAX * queue->gap_ns, WAIT_MAX_NS);
    uint32_t before, now = vmbus_channel_unread(queue->channel);

    if (queue->patience == 0 && queue->probe_in > 1) {
        queue->probe_in--;
        return;
    }
    do {
        before = now;
        if (!wait_a_while(queue))
            return;
        queue->is_probing = true;
        now = vmbus_channel_unread(queue->channel);
    } while (now != before && hv_clock_monotonic_ns() < end_ns);
}

/* The guest's time from one request to the next */
static void learn_gap(struct storvsp_queue *queue, unsigned n_received)
{
    uint64_t now_ns = hv_clock_monotonic_ns(), gap_ns;

    if (!n_received)
        return;
    gap_ns = (now_ns - queue->turned_ns) / n_received;
    queue->turned_ns = now_ns;
    if (gap_ns < PACE_MAX_NS)
        queue->gap_ns = (queue->gap_ns * 7 + gap_ns) / 8;
}

/* Many that came without being waited for are many, too. */
static void learn_depth(struct storvsp_queue *queue, unsigned n_received)
{
    bool was_probing = queue->is_probing;

    queue->is_probing = false;
    if (n_received >= DEEP) {
        queue->patience = PATIENCE;
        queue->probe_every = STORVSP_PROBE_EVERY;
    } else if (!was_probing) {
        return;
    } else if (queue->patience > 0) {
        queue->patience--;
    } else if (queue->probe_every < PROBE_EVERY_MAX) {
        queue->probe_every *= 2;
    }
    queue->probe_in = queue->probe_every;
}

/* Of many requests none is waited for alone: let the guest send on, and take what has come when it
 * gives the processor away or has had its share. So is found whether many come, too. */
static void set_policy(struct storvsp_queue *queue)
{
    static const struct sched_param none = { 0 };
    bool is_batch =
        queue->controller->config.yields_to_vps && (queue->patience > 0 || queue->probe_in <= 1);

    if (is_batch == queue->is_batch)
        return;
    queue->is_batch = is_batch;
    (void)sched_setscheduler(0, is_batch ? SCHED_BATCH : SCHED_OTHER, &none);
}

/* Returns whether there may be more. */
static bool turn(struct storvsp_queue *queue)
{
    struct storvsp_list batch = { 0 };
    unsigned n = 0;

    while (n < STORVSP_TURN && receive(queue, &batch))
        n++;
    learn_depth(queue, n);
    learn_gap(queue, n);
    set_policy(queue);
    storvsp_submit(queue, &batch);
    if (!queue->index)
        tell_bus_change(queue);
    return n == STORVSP_TURN;
}

static void swallow(const struct pollfd *fd)
{
    uint64_t count;

    if ((fd->revents & POLLIN) && read(fd->fd, &count, sizeof(count)) < 0)
        return; /* someone else had it: one turn too many */
}

static void wait_for_signal(struct storvsp_queue *queue)
{
    struct pollfd fds[2] = { { .fd = queue->wake_fd, .events = POLLIN },
                             { .fd = queue->doorbell, .events = POLLIN } };

    if (poll(fds, 2, queue->is_short ? RETRY_MS : -1) <= 0)
        return;
    swallow(&fds[0]);
    swallow(&fds[1]);
    storvsp_resend(queue);
    if (fds[1].revents & POLLIN)
        let_them_come(queue);
}

void *storvsp_queue_main(void *arg)
{
    struct storvsp_queue *queue = arg;

    storvsp_name_thread(queue->controller, 'q', queue->index);
    while (enter(queue))
        if (!turn(queue))
            wait_for_signal(queue);
    return NULL;
}
