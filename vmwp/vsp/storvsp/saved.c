/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A controller in a saved VM: how far it is with its driver, the answers for which its rings had no
 * room, and what each unit has yet to tell. Requests themselves are all done: it was paused.
 */
#include "vmwp/vsp/storvsp/controller_priv.h"

static void visit_answer(struct hv_fields *fields, struct storvsp_request *request)
{
    hv_field_u64(fields, &request->transaction);
    hv_field_bool(fields, &request->wants_completion);
    hv_field_bytes(fields, &request->packet, sizeof(request->packet));
}

static void save_answers(struct storvsp_queue *queue, struct hv_fields *fields)
{
    uint32_t n = queue->done.n;

    hv_field_u32(fields, &n);
    for (struct storvsp_request *request = queue->done.first; request; request = request->next)
        visit_answer(fields, request);
}

static void restore_answers(struct storvsp_queue *queue, struct hv_fields *fields)
{
    uint32_t n = 0;

    hv_field_count(fields, &n, STORVSP_QUEUE_DEPTH);
    for (uint32_t i = 0; i < n && hv_fields_ok(fields); i++) {
        struct storvsp_request *request = storvsp_list_pop(&queue->free);

        visit_answer(fields, request);
        storvsp_list_push(&queue->done, request);
    }
}

static void visit_unit(struct hv_fields *fields, struct scsi_unit *unit)
{
    uint16_t attention = atomic_load(&unit->attention);
    uint8_t media_event = atomic_load(&unit->media_event);
    bool is_tray_open = atomic_load(&unit->is_tray_open);
    bool is_locked = atomic_load(&unit->is_locked);

    hv_field_u16(fields, &attention);
    hv_field_u8(fields, &media_event);
    hv_field_bool(fields, &is_tray_open);
    hv_field_bool(fields, &is_locked);
    if (media_event > SCSI_EVENT_REMOVED)
        hv_fields_refuse(fields);
    atomic_store(&unit->attention, attention);
    atomic_store(&unit->media_event, media_event);
    atomic_store(&unit->is_tray_open, is_tray_open);
    atomic_store(&unit->is_locked, is_locked);
}

static void visit_protocol(struct hv_fields *fields, struct storvsp_protocol *protocol)
{
    uint8_t phase = (uint8_t)protocol->phase;

    hv_field_u8(fields, &phase);
    hv_field_u16(fields, &protocol->version);
    hv_field_u16(fields, &protocol->max_sub_channels);
    if (phase > STORVSP_PHASE_SPREAD || protocol->max_sub_channels >= STORVSP_MAX_QUEUES)
        hv_fields_refuse(fields);
    else
        protocol->phase = (enum storvsp_phase)phase;
}

/* The units that are there are those that were: the owner has made sure of that. */
static void visit_controller(struct storvsp_controller *controller, struct hv_fields *fields)
{
    bool is_ready = atomic_load(&controller->is_ready);
    uint64_t attached = controller->attached;

    visit_protocol(fields, &controller->protocol);
    hv_field_bool(fields, &is_ready);
    hv_field_u64(fields, &attached);
    hv_field_u64(fields, &controller->ghosts);
    hv_field_bool(fields, &controller->is_bus_changed);
    atomic_store(&controller->is_ready, is_ready);
    if (attached != controller->attached)
        hv_fields_refuse(fields);
    for (unsigned i = 0; i < STORVSP_MAX_LUNS; i++)
        if (controller->units[i])
            visit_unit(fields, controller->units[i]);
}

void storvsp_controller_save(struct storvsp_controller *controller, struct hv_fields *fields)
{
    uint32_t n_queues = controller->config.n_queues;

    pthread_mutex_lock(&controller->lock);
    hv_assert(controller->is_paused && !controller->spread);
    visit_controller(controller, fields);
    hv_field_u32(fields, &n_queues);
    for (unsigned i = 0; i < n_queues; i++)
        save_answers(&controller->queues[i], fields);
    pthread_mutex_unlock(&controller->lock);
}

int storvsp_controller_restore(struct storvsp_controller *controller, struct hv_fields *fields)
{
    uint32_t n_queues = 0;

    pthread_mutex_lock(&controller->lock);
    visit_controller(controller, fields);
    hv_field_count(fields, &n_queues, controller->config.n_queues);
    if (n_queues != controller->config.n_queues)
        hv_fields_refuse(fields);
    for (unsigned i = 0; i < n_queues && hv_fields_ok(fields); i++)
        restore_answers(&controller->queues[i], fields);
    pthread_mutex_unlock(&controller->lock);
    return hv_fields_is_done(fields) ? 0 : -EINVAL;
}

void storvsp_controller_settle(struct storvsp_controller *controller)
{
    bool is_waiting;

    pthread_mutex_lock(&controller->lock);
    is_waiting = controller->spread;
    pthread_mutex_unlock(&controller->lock);
    if (!is_waiting)
        return;
    storvsp_ops.resume(controller);
    storvsp_controller_sweep(controller);
    storvsp_ops.pause(controller);
}

void storvsp_note_medium(struct storvsp_controller *controller, unsigned lun)
{
    pthread_mutex_lock(&controller->lock);
    if (lun < STORVSP_MAX_LUNS && controller->units[lun]) {
        struct scsi_unit *unit = controller->units[lun];

        atomic_store(&unit->attention, unit->disk ? SCSI_ASC_MEDIUM_CHANGED : 0);
        atomic_store(&unit->media_event, unit->disk ? SCSI_EVENT_NEW : SCSI_EVENT_REMOVED);
    }
    pthread_mutex_unlock(&controller->lock);
}
