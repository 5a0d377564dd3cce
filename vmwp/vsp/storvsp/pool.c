/* SPDX-License-Identifier: Apache-2.0 */
/* Running requests: on the queue's own thread when that is quicker, else in the pool; and sending
 * completions together where they come together. */
#include "hvcore/base/clock.h"
#include "vmwp/vsp/storvsp/controller_priv.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define LOG_EVERY_NS (10 * HV_NS_PER_SEC)

/* Give a finished or dropped request back. Locked. */
static void release(struct storvsp_request *request)
{
    struct storvsp_queue *queue = request->queue;

    storvsp_list_push_front(&queue->free, request);
    if (queue->is_starved) {
        queue->is_starved = false;
        storvsp_queue_wake(queue);
    }
}

/* Send from the front of *list until the ring is full. Returns false then. Not locked. */
static bool send_all(struct storvsp_queue *queue, struct storvsp_list *list,
                     struct storvsp_list *ret_sent)
{
    bool is_full = false;

    vmbus_channel_begin_batch(queue->channel);
    while (list->first && !is_full) {
        struct storvsp_request *request = list->first;
        int r = vmbus_channel_send(queue->channel, VMBUS_PACKET_COMPLETION, request->transaction,
                                   false, &request->packet, sizeof(request->packet));

        is_full = r == VMBUS_E_FULL;
        if (!is_full) /* sent, or nobody is there to have it */
            storvsp_list_push(ret_sent, storvsp_list_pop(list));
    }
    vmbus_channel_end_batch(queue->channel);
    return !is_full;
}

/* Send all that is done, in order, one sender at a time. Locked, but not while it sends. */
static void send_done(struct storvsp_queue *queue)
{
    struct storvsp_controller *controller = queue->controller;

    if (queue->is_sending || queue->is_full || controller->is_paused)
        return;
    queue->is_sending = true;
    while (queue->done.first && !queue->is_full) {
        struct storvsp_list list = queue->done, sent = { 0 };
        bool is_all;

        queue->done = (struct storvsp_list){ 0 };
        queue->is_retry = false;
        pthread_mutex_unlock(&controller->lock);
        is_all = send_all(queue, &list, &sent);
        pthread_mutex_lock(&controller->lock);

        controller->stats.batches += sent.n > 0;
        controller->stats.requests += sent.n;
        while (sent.first)
            release(storvsp_list_pop(&sent));
        storvsp_list_join(&list, &queue->done);
        queue->done = list;
        if (!is_all && !queue->is_retry) {
            queue->is_full = true;
            controller->stats.full_waits++;
        }
    }
    queue->is_sending = false;
    pthread_cond_broadcast(&controller->idle);
}

void storvsp_resend(struct storvsp_queue *queue)
{
    struct storvsp_controller *controller = queue->controller;

    pthread_mutex_lock(&controller->lock);
    queue->is_retry = true;
    queue->is_full = false;
    send_done(queue);
    pthread_mutex_unlock(&controller->lock);
}

/* may_wait: others of its queue end soon, and this one need not be signalled alone. Locked. */
static void finish(struct storvsp_request *request, bool may_wait)
{
    struct storvsp_queue *queue = request->queue;

    if (!request->wants_completion) {
        release(request);
        return;
    }
    storvsp_list_push(&queue->done, request);
    if (!may_wait || queue->done.n >= STORVSP_BATCH)
        send_done(queue);
}

void storvsp_finish(struct storvsp_request *request)
{
    struct storvsp_controller *controller = request->queue->controller;

    pthread_mutex_lock(&controller->lock);
    finish(request, false);
    pthread_mutex_unlock(&controller->lock);
}

static uint64_t present_units(const struct storvsp_controller *controller)
{
    return controller->attached & ~controller->ghosts;
}

/* The unit of a request, counted as used. Locked. */
static struct scsi_unit *take_unit(struct storvsp_controller *controller,
                                   const struct storvsp_request *request)
{
    struct scsi_unit *unit;
    unsigned lun;

    if (!storvsp_request_address(request, &lun) || controller->ghosts >> lun & 1)
        return NULL;
    unit = controller->units[lun];
    if (unit)
        unit->n_users++;
    return unit;
}

/* The units that the guest was just told to be gone: one by one, or by a list without them */
static uint64_t told_gone(const struct storvsp_request *request)
{
    unsigned lun;

    if (request->packet.srb.srb_status == STORVSP_SRB_INVALID_LUN)
        return storvsp_request_address(request, &lun) ? UINT64_C(1) << lun : 0;
    if (scsi_lists_luns(&request->task))
        return UINT64_MAX;
    return 0;
}

/* Where the guest knows of the one that went another may stand: then it is to look again. Locked */
static void bury_ghosts(struct storvsp_controller *controller,
                        const struct storvsp_request *request)
{
    uint64_t buried = request->ghosts ? request->ghosts & told_gone(request) : 0;

    if (!buried)
        return;
    controller->ghosts &= ~buried;
    if (present_units(controller) & buried) {
        controller->is_bus_changed = true;
        storvsp_queue_wake(&controller->queues[0]);
    }
}

bool storvsp_is_quick(const struct storvsp_queue *queue)
{
    return queue->mean_wait_ns < STORVSP_QUICK_NS;
}

/* How often this thread gave its processor away to wait for something */
static long waits_so_far(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) < 0 ? 0 : usage.ru_nvcsw;
}

/* What a transfer took of the processor, and how long it waited for the medium. That others had the
 * processor meanwhile says nothing of the medium. Locked. */
static void begin_sample(struct storvsp_request *request, enum scsi_pace pace)
{
    request->is_sampled =
        pace == SCSI_DATA && request->queue->n_transfers++ % STORVSP_SAMPLE_EVERY == 0;
    if (!request->is_sampled)
        return;
    request->started_waits = waits_so_far();
    request->started_ns = hv_clock_monotonic_ns();
    request->started_cpu_ns = hv_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void end_sample(struct storvsp_request *request)
{
    struct storvsp_queue *queue = request->queue;
    uint64_t took_ns = hv_clock_monotonic_ns() - request->started_ns;
    uint64_t cpu_ns = hv_clock_ns(CLOCK_THREAD_CPUTIME_ID) - request->started_cpu_ns;
    uint64_t wait_ns = 0;

    if (waits_so_far() != request->started_waits && took_ns > cpu_ns)
        wait_ns = took_ns - cpu_ns;
    queue->mean_ns = (queue->mean_ns * 3 + cpu_ns + wait_ns) / 4;
    queue->mean_wait_ns = (queue->mean_wait_ns * 3 + wait_ns) / 4;
}

static void wake_owner(const struct storvsp_controller *controller)
{
    if (controller->config.wake)
        controller->config.wake(controller->config.opaque);
}

/* Kept, to be run again. Locked. */
static void hold(struct storvsp_request *request)
{
    struct storvsp_controller *controller = request->queue->controller;

    controller->n_waiting += !request->was_held;
    request->was_held = true;
    controller->held_lun = request->packet.srb.lun;
    controller->held_r = request->task.host_r;
    storvsp_list_push(&controller->held, request);
    wake_owner(controller);
}

/* It ended, or nobody waits for it any more. Locked. */
static void unhold(struct storvsp_request *request)
{
    struct storvsp_controller *controller = request->queue->controller;

    if (!request->was_held)
        return;
    request->was_held = false;
    if (--controller->n_waiting == 0)
        wake_owner(controller);
}

/* Counters after the work; the completion waits for others where those come quickly. Locked. */
static void ended(struct storvsp_request *request)
{
    struct storvsp_queue *queue = request->queue;
    struct storvsp_controller *controller = queue->controller;

    if (request->is_sampled)
        end_sample(request);
    if (request->unit)
        request->unit->n_users--;
    bury_ghosts(controller, request);
    queue->n_running--;
    controller->n_running--;
    if (HV_UNLIKELY(request->is_held)) {
        hold(request);
    } else {
        unhold(request);
        finish(request, queue->n_pending && storvsp_is_quick(queue));
    }
    pthread_cond_broadcast(&controller->idle);
}

static bool is_quick(const struct storvsp_queue *queue, const struct storvsp_request *request)
{
    enum scsi_pace pace = storvsp_request_pace(request);

    return pace == SCSI_QUICK || (pace == SCSI_DATA && storvsp_is_quick(queue));
}

/* The guest is told by sense data; a person by one line now and then. */
static void log_error(struct storvsp_controller *controller, const struct storvsp_request *request)
{
    const struct scsi_task *task = &request->task;
    const struct scsi_command *command = scsi_command_of(task->unit, task->cdb);
    uint64_t now_ns = hv_clock_monotonic_ns();
    bool is_due;

    pthread_mutex_lock(&controller->lock);
    is_due = !controller->logged_ns || now_ns - controller->logged_ns > LOG_EVERY_NS;
    if (is_due)
        controller->logged_ns = now_ns;
    pthread_mutex_unlock(&controller->lock);
    if (is_due)
        hv_log_printf(&controller->config.log, HV_LOG_WARNING, NULL,
                      "LUN %u of SCSI controller %u: the host failed %s: %s.",
                      request->packet.srb.lun, controller->config.number,
                      command ? command->name : "a command", strerror(-task->host_r));
}

/* Run one request on this thread. Locked, but not while it runs. */
static void run(struct storvsp_request *request)
{
    struct storvsp_queue *queue = request->queue;
    struct storvsp_controller *controller = queue->controller;
    uint64_t present = present_units(controller);

    if (!is_quick(queue, request))
        send_done(queue); /* what is done must not wait for this one */
    request->unit = take_unit(controller, request);
    request->ghosts = controller->ghosts;
    request->may_hold = controller->holds && !queue->is_closing;
    queue->n_running++;
    controller->n_running++;
    begin_sample(request, storvsp_request_pace(request));
    pthread_mutex_unlock(&controller->lock);
    storvsp_request_run(request, controller->config.gpa, request->unit, present);
    if (HV_UNLIKELY(request->task.host_r))
        log_error(controller, request);
    pthread_mutex_lock(&controller->lock);
    ended(request);
}

static bool run_pending(struct storvsp_controller *controller)
{
    struct storvsp_request *request = storvsp_list_pop(&controller->pending);

    if (!request)
        return false;
    request->queue->n_pending--;
    run(request);
    return true;
}

/* A thread names itself: to name another one takes a path, which the sandbox has not. */
void storvsp_name_thread(const struct storvsp_controller *controller, char kind, unsigned index)
{
    char name[16];

    snprintf(name, sizeof(name), "scsi%u-%c%u", controller->config.number % 100, kind, index % 100);
    (void)pthread_setname_np(pthread_self(), name);
}

void *storvsp_io_main(void *arg)
{
    struct storvsp_controller *controller = arg;

    storvsp_name_thread(controller, 'w', 0);
    pthread_mutex_lock(&controller->lock);
    while (!controller->is_stopping) {
        if (run_pending(controller))
            continue;
        controller->n_io_idle++;
        pthread_cond_wait(&controller->work, &controller->lock);
        controller->n_io_idle--;
    }
    pthread_mutex_unlock(&controller->lock);
    return NULL;
}

/* Is the next request of the pool one that this queue's thread can run meanwhile? */
static bool is_own_next(const struct storvsp_queue *queue)
{
    const struct storvsp_request *next = queue->controller->pending.first;

    return next && next->queue == queue && is_quick(queue, next);
}

static void wake_helpers(struct storvsp_controller *controller, unsigned n)
{
    if (n > controller->n_io_idle)
        n = controller->n_io_idle;
    while (n--)
        pthread_cond_signal(&controller->work);
}

/*
 * A lone quick request runs here and now: no hand-over is worth it. Of several quick ones this
 * thread takes its part, so that few threads wake. What waits for the medium goes to the pool, and
 * this thread back to its ring.
 */
void storvsp_submit(struct storvsp_queue *queue, struct storvsp_list *batch)
{
    struct storvsp_controller *controller = queue->controller;
    struct storvsp_request *request;
    unsigned n_quick = 0, n_slow = 0;

    pthread_mutex_lock(&controller->lock);
    if (batch->n == 1 && is_quick(queue, batch->first)) {
        controller->stats.inline_runs++;
        run(storvsp_list_pop(batch));
    }
    while ((request = storvsp_list_pop(batch))) {
        if (is_quick(queue, request))
            n_quick++;
        else
            n_slow++;
        queue->n_pending++;
        storvsp_list_push(&controller->pending, request);
    }
    wake_helpers(controller, n_slow + (unsigned)(n_quick * queue->mean_ns / STORVSP_HELPER_NS));
    while (!n_slow && n_quick-- && is_own_next(queue) && run_pending(controller))
        controller->stats.inline_runs++;
    if (queue->n_pending)
        wake_helpers(controller, queue->n_pending);
    pthread_mutex_unlock(&controller->lock);
}

static void cancel_in(struct storvsp_list *list, struct storvsp_queue *queue)
{
    struct storvsp_list all = *list;
    struct storvsp_request *request;

    *list = (struct storvsp_list){ 0 };
    while ((request = storvsp_list_pop(&all))) {
        if (request->queue != queue) {
            storvsp_list_push(list, request);
            continue;
        }
        unhold(request);
        storvsp_list_push(&queue->free, request);
    }
}

void storvsp_cancel_locked(struct storvsp_queue *queue)
{
    cancel_in(&queue->controller->pending, queue);
    cancel_in(&queue->controller->held, queue);
    queue->n_pending = 0;
}

/* All at once: they go the way of all requests, and those that fail again are held again. */
void storvsp_retry(struct storvsp_controller *controller)
{
    struct storvsp_request *request;
    unsigned n = 0;

    pthread_mutex_lock(&controller->lock);
    while ((request = storvsp_list_pop(&controller->held))) {
        request->queue->n_pending++;
        storvsp_list_push(&controller->pending, request);
        n++;
    }
    wake_helpers(controller, n);
    pthread_mutex_unlock(&controller->lock);
}

void storvsp_set_hold(struct storvsp_controller *controller, bool holds)
{
    pthread_mutex_lock(&controller->lock);
    controller->holds = holds && controller->config.wake;
    pthread_mutex_unlock(&controller->lock);
    if (!holds)
        storvsp_retry(controller);
}

unsigned storvsp_waiting(struct storvsp_controller *controller, unsigned *ret_lun, int *ret_r)
{
    unsigned n;

    pthread_mutex_lock(&controller->lock);
    n = controller->n_waiting;
    if (n) {
        *ret_lun = controller->held_lun;
        *ret_r = controller->held_r;
    }
    pthread_mutex_unlock(&controller->lock);
    return n;
}
