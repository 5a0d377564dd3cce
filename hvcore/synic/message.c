/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message slots and the queue behind them.
 *
 * spec: TLFS inter-partition-communication "Message Buffers", "SIM Page", "Recommended Message
 * Handling"
 */
#include "hvcore/synic/synic_priv.h"

#include <string.h>

/* ---- the queue; under the lock ---- */

static struct hv_synic_waiting *waiting_of(struct hv_list *node)
{
    return HV_LIST_ENTRY(node, struct hv_synic_waiting, link);
}

static struct hv_synic_waiting *first_waiting(struct hv_synic *synic, unsigned sint)
{
    HV_LIST_FOREACH (node, &synic->queue) {
        if (waiting_of(node)->sint == sint)
            return waiting_of(node);
    }
    return NULL;
}

void synic_update_waiting(struct hv_synic *synic, unsigned sint)
{
    uint32_t bit = UINT32_C(1) << sint;

    if (first_waiting(synic, sint) || synic_stimer_has_message(synic, sint))
        atomic_fetch_or(&synic->waiting, bit);
    else
        atomic_fetch_and(&synic->waiting, ~bit);
}

static void take_out(struct hv_synic *synic, struct hv_synic_waiting *waiting)
{
    hv_list_remove(&waiting->link);
    hv_list_append(&synic->spare, &waiting->link);
    synic_update_waiting(synic, waiting->sint);
}

/* Timers first: there are four of them at most, and late they are of little use. */
static struct hv_message next_message(struct hv_synic *synic, unsigned sint)
{
    struct hv_message message;

    if (!synic_stimer_take_message(synic, sint, &message)) {
        struct hv_synic_waiting *waiting = first_waiting(synic, sint);

        message = waiting->message;
        take_out(synic, waiting);
    }
    return message;
}

static struct hv_synic_waiting *take_spare(struct hv_synic *synic)
{
    struct hv_synic_waiting *waiting;

    if (!hv_list_is_empty(&synic->spare)) {
        waiting = waiting_of(synic->spare.next);
        hv_list_remove(&waiting->link);
        return waiting;
    }
    return synic->n_used < HV_SYNIC_QUEUE_MAX ? &synic->pool[synic->n_used++] : NULL;
}

bool synic_put_in(struct hv_synic *synic, unsigned sint, const struct hv_message *message)
{
    struct hv_synic_waiting *waiting = take_spare(synic);

    if (!waiting)
        return false;
    waiting->sint = sint;
    waiting->message = *message;
    hv_list_append(&synic->queue, &waiting->link);
    synic_update_waiting(synic, sint);
    return true;
}

void synic_drop_queue(struct hv_synic *synic)
{
    while (!hv_list_is_empty(&synic->queue))
        take_out(synic, waiting_of(synic->queue.next));
}

/* ---- the slot; under the lock ---- */

/* The guest frees a slot at any moment: it is told of more, and then looked at again. Either it
 * saw the flag and ends the message, or the slot is free now. */
static bool is_free(struct tlfs_message *slot)
{
    if (__atomic_load_n(&slot->type, __ATOMIC_ACQUIRE) == 0)
        return true;
    (void)__atomic_fetch_or(&slot->flags, TLFS_MESSAGE_PENDING, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&slot->type, __ATOMIC_SEQ_CST) == 0;
}

static void note_slot(struct hv_synic *synic, unsigned sint)
{
    hv_gpa_note_written(&synic->partition->gpa,
                        synic_page(atomic_load(&synic->simp)) + sint * TLFS_SINT_BYTES,
                        TLFS_SINT_BYTES);
}

/* The type last: it hands the slot over. */
static void fill(struct hv_synic *synic, unsigned sint, struct tlfs_message *slot,
                 const struct hv_message *message)
{
    bool has_more = atomic_load(&synic->waiting) >> sint & 1;

    memcpy(slot->payload, message->payload, message->bytes);
    slot->payload_bytes = (uint8_t)message->bytes;
    slot->origin = 0;
    __atomic_store_n(&slot->flags, has_more ? TLFS_MESSAGE_PENDING : 0, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->type, message->type, __ATOMIC_RELEASE);
    note_slot(synic, sint);
    synic_raise(synic, sint);
}

static void ask_for_eoi(struct hv_synic *synic, unsigned sint)
{
    const struct hv_backend_ops *ops = synic->partition->ops;

    if (ops->watch_eoi)
        ops->watch_eoi(synic->partition->backend, synic->vp,
                       (uint8_t)atomic_load(&synic->sint[sint]));
}

void synic_deliver(struct hv_synic *synic, unsigned sint)
{
    struct tlfs_message *slot = synic_window(synic, atomic_load(&synic->simp), sint);
    struct hv_message message;

    if (!slot || !(atomic_load(&synic->waiting) >> sint & 1))
        return;
    if (is_free(slot)) {
        message = next_message(synic, sint);
        fill(synic, sint, slot, &message);
    } else {
        note_slot(synic, sint);
    }
    if (atomic_load(&synic->waiting) >> sint & 1)
        ask_for_eoi(synic, sint);
}

/* ---- from outside ---- */

/* With nothing before it and a free slot a message needs no place in the queue. */
static bool deliver_at_once(struct hv_synic *synic, unsigned sint, const struct hv_message *message)
{
    struct tlfs_message *slot = synic_window(synic, atomic_load(&synic->simp), sint);

    if (!slot || atomic_load(&synic->waiting) >> sint & 1 ||
        __atomic_load_n(&slot->type, __ATOMIC_ACQUIRE) != 0)
        return false;
    fill(synic, sint, slot, message);
    return true;
}

int hv_partition_post_message(struct hv_partition *partition, unsigned vp, unsigned sint,
                              const struct hv_message *message)
{
    struct hv_synic *synic;
    int r = 0;

    if (vp >= partition->n_vps || sint >= HV_SYNIC_N_SINTS || message->type == 0 ||
        message->bytes > HV_MESSAGE_PAYLOAD_BYTES)
        return -EINVAL;
    synic = &partition->vps[vp]->synic;
    (void)pthread_mutex_lock(&synic->lock);
    if (!deliver_at_once(synic, sint, message)) {
        if (synic_put_in(synic, sint, message))
            synic_deliver(synic, sint);
        else
            r = -ENOBUFS;
    }
    (void)pthread_mutex_unlock(&synic->lock);
    return r;
}

void hv_synic_end_of_interrupt(struct hv_synic *synic, uint8_t vector)
{
    uint32_t waiting = atomic_load(&synic->waiting);

    if (waiting == 0)
        return;
    (void)pthread_mutex_lock(&synic->lock);
    for (unsigned sint = 0; sint < HV_SYNIC_N_SINTS; sint++)
        if (waiting >> sint & 1 && (uint8_t)atomic_load(&synic->sint[sint]) == vector)
            synic_deliver(synic, sint);
    (void)pthread_mutex_unlock(&synic->lock);
}
