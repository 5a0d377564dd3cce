/* SPDX-License-Identifier: Apache-2.0 */
/* The controller's door: made and freed, opened and closed, paused and reset. */
#include "vmwp/vsp/storvsp/controller_priv.h"

#include <string.h>
#include <sys/eventfd.h>

/* Synthetic SCSI controller: ba6163d9-04a1-4d29-b605-72e2ffb1dc7f */
static const struct hv_guid type_scsi = { { 0xd9, 0x63, 0x61, 0xba, 0xa1, 0x04, 0x29, 0x4d, 0xb6,
                                            0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f } };

static void free_all_requests(struct storvsp_queue *queue)
{
    queue->free = queue->done = queue->spare = (struct storvsp_list){ 0 };
    for (unsigned i = 0; i < STORVSP_QUEUE_DEPTH; i++) {
        queue->requests[i].queue = queue;
        queue->requests[i].ranges = queue->ranges + (size_t)i * STORVSP_MAX_PIECES;
        storvsp_list_push(&queue->free, &queue->requests[i]);
    }
}

/* Locked. */
static void attach_channel(struct storvsp_queue *queue, struct vmbus_channel *channel)
{
    queue->channel = channel;
    queue->doorbell = vmbus_channel_doorbell(channel);
    queue->is_broken = queue->is_full = false;
    queue->mean_ns = queue->mean_wait_ns = 0;
    queue->is_probing = false;
    queue->patience = 0;
    queue->probe_in = queue->probe_every = STORVSP_PROBE_EVERY;
    pthread_cond_signal(&queue->ready);
}

static int opened(void *opaque, struct vmbus_channel *channel, const uint8_t *user)
{
    struct storvsp_controller *controller = opaque;
    unsigned index = vmbus_channel_index(channel);
    bool is_spread = controller->config.wake && controller->config.n_queues > 1;
    struct storvsp_queue *queue;

    if (index >= controller->config.n_queues)
        return -EINVAL;
    queue = &controller->queues[index];
    pthread_mutex_lock(&controller->lock);
    if (!index)
        storvsp_protocol_start(&controller->protocol,
                               is_spread ? (uint16_t)(controller->config.n_queues - 1) : 0);
    attach_channel(queue, channel);
    pthread_mutex_unlock(&controller->lock);
    return 0;
}

/* What the part of the saved VM told stands already. */
static int restored(void *opaque, struct vmbus_channel *channel)
{
    struct storvsp_controller *controller = opaque;
    unsigned index = vmbus_channel_index(channel);

    if (index >= controller->config.n_queues)
        return -EINVAL;
    pthread_mutex_lock(&controller->lock);
    attach_channel(&controller->queues[index], channel);
    pthread_mutex_unlock(&controller->lock);
    return 0;
}

static void signalled(void *opaque, struct vmbus_channel *channel)
{
    struct storvsp_controller *controller = opaque;
    unsigned index = vmbus_channel_index(channel);

    if (index < controller->config.n_queues)
        storvsp_queue_wake(&controller->queues[index]);
}

/* The driver is gone: units forget what it wanted, nobody waits for news. Locked. */
static void forget_driver(struct storvsp_controller *controller)
{
    controller->spread = NULL;
    controller->ghosts = 0;
    controller->is_bus_changed = false;
    atomic_store(&controller->is_ready, false);
    for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++)
        if (controller->units[i])
            scsi_unit_let_go(controller->units[i]);
}

static bool is_out(const struct storvsp_queue *queue)
{
    return !queue->is_busy && !queue->n_running && !queue->is_sending;
}

/* What did not start never will; what runs ends, and its completion goes nowhere. */
static void closed(void *opaque, struct vmbus_channel *channel)
{
    struct storvsp_controller *controller = opaque;
    unsigned index = vmbus_channel_index(channel);
    struct storvsp_queue *queue;

    if (index >= controller->config.n_queues)
        return;
    queue = &controller->queues[index];
    pthread_mutex_lock(&controller->lock);
    queue->is_closing = true;
    storvsp_queue_wake(queue);
    do {
        storvsp_cancel_locked(queue);
        pthread_cond_broadcast(&controller->idle);
        if (!is_out(queue))
            pthread_cond_wait(&controller->idle, &controller->lock);
    } while (!is_out(queue) || queue->n_pending);
    queue->is_closing = false;
    queue->channel = NULL;
    free_all_requests(queue);
    if (!index)
        forget_driver(controller);
    pthread_mutex_unlock(&controller->lock);
}

static const struct vmbus_channel_ops channel_ops = {
    .opened = opened, .restored = restored, .signalled = signalled, .closed = closed
};

void storvsp_controller_sweep(struct storvsp_controller *controller)
{
    struct storvsp_request *request;
    unsigned n;
    int r;

    pthread_mutex_lock(&controller->lock);
    request = controller->is_paused ? NULL : HV_TAKE_PTR(controller->spread);
    n = controller->n_spread;
    pthread_mutex_unlock(&controller->lock);
    if (!request)
        return;
    r = vmbus_offer_subchannels(controller->primary, n);
    if (r < 0)
        request->packet.status = STORVSP_NO_RESOURCES;
    storvsp_finish(request);
}

static void pause_vsp(void *opaque)
{
    struct storvsp_controller *controller = opaque;

    pthread_mutex_lock(&controller->lock);
    if (!controller->is_paused)
        storvsp_hold_locked(controller, NULL);
    controller->is_paused = true;
    pthread_mutex_unlock(&controller->lock);
}

static void resume_vsp(void *opaque)
{
    struct storvsp_controller *controller = opaque;

    bool is_spread_waiting;

    pthread_mutex_lock(&controller->lock);
    if (controller->is_paused)
        storvsp_let_go_locked(controller);
    controller->is_paused = false;
    is_spread_waiting = controller->spread;
    pthread_mutex_unlock(&controller->lock);
    for (unsigned i = 0; i < controller->config.n_queues; i++)
        storvsp_queue_wake(
            &controller
                 ->queues[i]); /* answers may have waited for room, something may have ended */
    if (is_spread_waiting)
        controller->config.wake(controller->config.opaque);
}

static void reset_vsp(void *opaque)
{
    struct storvsp_controller *controller = opaque;

    pthread_mutex_lock(&controller->lock);
    forget_driver(controller);
    for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++)
        if (controller->units[i])
            scsi_unit_reset(controller->units[i]);
    pthread_mutex_unlock(&controller->lock);
}

static void *free_vsp(void *opaque)
{
    return storvsp_controller_free(opaque);
}

const struct vsp_ops storvsp_ops = { .name = "storvsp",
                                     .pause = pause_vsp,
                                     .resume = resume_vsp,
                                     .reset = reset_vsp,
                                     .free = free_vsp };

static int init_queue(struct storvsp_controller *controller, unsigned index)
{
    struct storvsp_queue *queue = &controller->queues[index];

    queue->controller = controller;
    queue->index = index;
    queue->doorbell = -1;
    queue->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->wake_fd < 0)
        return -errno;
    queue->packet = vmbus_packet_new();
    queue->requests = calloc(STORVSP_QUEUE_DEPTH, sizeof(*queue->requests));
    queue->ranges = calloc(STORVSP_QUEUE_DEPTH * STORVSP_MAX_PIECES, sizeof(*queue->ranges));
    if (!queue->packet || !queue->requests || !queue->ranges)
        return -ENOMEM;
    free_all_requests(queue);
    return 0;
}

static int start_threads(struct storvsp_controller *controller)
{
    const struct storvsp_config *config = &controller->config;
    int r = 0;

    for (unsigned i = 0; i < config->n_queues && r == 0; i++) {
        struct storvsp_queue *queue = &controller->queues[i];

        r = -pthread_create(&queue->thread, NULL, storvsp_queue_main, queue);
        controller->n_queues_started += r == 0;
    }
    for (unsigned i = 0; i < config->n_io_threads && r == 0; i++) {
        r = -pthread_create(&controller->io_threads[i], NULL, storvsp_io_main, controller);
        controller->n_io_started += r == 0;
    }
    return r;
}

static int offer(struct storvsp_controller *controller)
{
    struct vmbus_offer offer = { .type = type_scsi,
                                 .instance = controller->config.instance,
                                 .flags = VMBUS_OFFER_ENUMERATE_DEVICE,
                                 .is_polled_by_vsp = true,
                                 .vp_spread = controller->config.number,
                                 .ops = &channel_ops,
                                 .opaque = controller };

    return vmbus_offer_channel(controller->config.server, &offer, &controller->primary);
}

static bool is_config_sound(const struct storvsp_config *config)
{
    return config->n_queues && config->n_queues <= STORVSP_MAX_QUEUES && config->n_io_threads &&
           config->n_io_threads <= STORVSP_MAX_IO_THREADS;
}

static void controller_freep(struct storvsp_controller **controller)
{
    *controller = storvsp_controller_free(*controller);
}

static struct storvsp_controller *make(const struct storvsp_config *config)
{
    struct storvsp_controller *controller = calloc(1, sizeof(*controller));

    if (!controller)
        return NULL;
    controller->config = *config;
    pthread_mutex_init(&controller->lock, NULL);
    pthread_cond_init(&controller->work, NULL);
    pthread_cond_init(&controller->idle, NULL);
    controller->queues = calloc(config->n_queues, sizeof(*controller->queues));
    if (!controller->queues)
        return storvsp_controller_free(controller);
    for (unsigned i = 0; i < config->n_queues; i++) {
        controller->queues[i].wake_fd = -1;
        pthread_cond_init(&controller->queues[i].ready, NULL);
    }
    return controller;
}

int storvsp_controller_new(const struct storvsp_config *config, struct storvsp_controller **ret,
                           struct hv_error **reterr)
{
    HV_CLEANUP(controller_freep) struct storvsp_controller *controller = NULL;
    int r = 0;

    if (!is_config_sound(config))
        return hv_error_set(reterr, -EINVAL, "vsp.storage.config",
                            "A SCSI controller has 1 to %d queues and 1 to %d threads for I/O.",
                            STORVSP_MAX_QUEUES, STORVSP_MAX_IO_THREADS);
    controller = make(config);
    if (!controller)
        return -ENOMEM;
    for (unsigned i = 0; i < config->n_queues && r == 0; i++)
        r = init_queue(controller, i);
    if (r == 0)
        r = start_threads(controller);
    if (r < 0)
        return hv_error_set(reterr, r, "vsp.storage.threads",
                            "The host cannot give SCSI controller %u its threads: %s.",
                            config->number, strerror(-r));
    r = offer(controller);
    if (r < 0)
        return hv_error_set(reterr, r, "vsp.storage.offer",
                            "SCSI controller %u cannot be offered to the guest: %s.",
                            config->number, strerror(-r));
    *ret = HV_TAKE_PTR(controller);
    return 0;
}

void storvsp_controller_revoke(struct storvsp_controller *controller)
{
    if (controller->primary)
        vmbus_revoke_channel(controller->primary);
    controller->primary = NULL;
}

static void stop_threads(struct storvsp_controller *controller)
{
    pthread_mutex_lock(&controller->lock);
    controller->is_stopping = true;
    pthread_cond_broadcast(&controller->work);
    for (unsigned i = 0; i < controller->n_queues_started; i++) {
        storvsp_queue_wake(&controller->queues[i]);
        pthread_cond_signal(&controller->queues[i].ready);
    }
    pthread_mutex_unlock(&controller->lock);
    for (unsigned i = 0; i < controller->n_queues_started; i++)
        (void)pthread_join(controller->queues[i].thread, NULL);
    for (unsigned i = 0; i < controller->n_io_started; i++)
        (void)pthread_join(controller->io_threads[i], NULL);
}

static void fini_queue(struct storvsp_queue *queue)
{
    queue->wake_fd = hv_close(queue->wake_fd);
    queue->packet = vmbus_packet_free(queue->packet);
    free(queue->requests);
    free(queue->ranges);
    pthread_cond_destroy(&queue->ready);
}

struct storvsp_controller *storvsp_controller_free(struct storvsp_controller *controller)
{
    if (!controller)
        return NULL;
    stop_threads(controller);
    for (unsigned i = 0; controller->queues && i < controller->config.n_queues; i++)
        fini_queue(&controller->queues[i]);
    for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++)
        free(controller->units[i]);
    free(controller->queues);
    pthread_cond_destroy(&controller->work);
    pthread_cond_destroy(&controller->idle);
    pthread_mutex_destroy(&controller->lock);
    free(controller);
    return NULL;
}

void storvsp_controller_stats(struct storvsp_controller *controller, struct storvsp_stats *ret)
{
    pthread_mutex_lock(&controller->lock);
    *ret = controller->stats;
    pthread_mutex_unlock(&controller->lock);
}
