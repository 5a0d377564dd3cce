/* SPDX-License-Identifier: Apache-2.0 */
/* The controller as a struct: out, judged, and in. */
#include "hvcore/synic/synic_priv.h"

#include <string.h>

static void get_messages(struct hv_synic *synic, struct hv_synic_state *ret)
{
    static_assert((int)HV_STATE_MESSAGES == (int)HV_SYNIC_QUEUE_MAX, "all that can wait");
    ret->n_messages = 0;
    HV_LIST_FOREACH (node, &synic->queue) {
        const struct hv_synic_waiting *from = HV_LIST_ENTRY(node, struct hv_synic_waiting, link);
        struct hv_message_state *to = &ret->message[ret->n_messages++];

        to->sint = from->sint;
        to->type = from->message.type;
        to->bytes = from->message.bytes;
        memcpy(to->payload, from->message.payload, sizeof(to->payload));
    }
}

void hv_synic_get_state(struct hv_synic *synic, struct hv_synic_state *ret)
{
    (void)pthread_mutex_lock(&synic->lock);
    ret->control = atomic_load(&synic->control);
    ret->siefp = atomic_load(&synic->siefp);
    ret->simp = atomic_load(&synic->simp);
    for (unsigned i = 0; i < HV_SYNIC_N_SINTS; i++)
        ret->sint[i] = atomic_load(&synic->sint[i]);
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++) {
        const struct hv_stimer *from = &synic->stimers[i];

        ret->stimer[i] = (struct hv_stimer_state){ .config = from->config,
                                                   .count = from->count,
                                                   .due = from->due };
        if (from->has_message)
            ret->stimer[i].message_due = from->message_due;
    }
    get_messages(synic, ret);
    (void)pthread_mutex_unlock(&synic->lock);
}

static bool is_message_valid(const struct hv_message_state *message)
{
    return message->sint < HV_SYNIC_N_SINTS && message->type != 0 &&
           message->bytes <= HV_MESSAGE_PAYLOAD_BYTES;
}

/* A timer that is due has been started by a count and is enabled. */
static bool is_stimer_valid(const struct hv_stimer_state *stimer)
{
    return stimer->due == 0 || (stimer->count != 0 && stimer->config & TLFS_STIMER_ENABLE);
}

bool hv_synic_is_state_valid(const struct hv_synic_state *state)
{
    bool is_valid = state->n_messages <= HV_STATE_MESSAGES;

    for (unsigned i = 0; i < HV_SYNIC_N_SINTS; i++)
        is_valid = is_valid && (state->sint[i] == 0 || synic_is_sint_valid(state->sint[i]));
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++)
        is_valid = is_valid && is_stimer_valid(&state->stimer[i]);
    for (unsigned i = 0; is_valid && i < state->n_messages; i++)
        is_valid = is_message_valid(&state->message[i]);
    return is_valid;
}

static void set_messages(struct hv_synic *synic, const struct hv_synic_state *state)
{
    synic_drop_queue(synic);
    for (unsigned i = 0; i < state->n_messages; i++) {
        const struct hv_message_state *from = &state->message[i];
        struct hv_message message = { .type = from->type, .bytes = from->bytes };

        memcpy(message.payload, from->payload, sizeof(message.payload));
        (void)synic_put_in(synic, from->sint, &message);
    }
}

void hv_synic_set_state(struct hv_synic *synic, const struct hv_synic_state *state)
{
    (void)pthread_mutex_lock(&synic->lock);
    atomic_store(&synic->control, state->control);
    atomic_store(&synic->siefp, state->siefp);
    atomic_store(&synic->simp, state->simp);
    for (unsigned i = 0; i < HV_SYNIC_N_SINTS; i++)
        atomic_store(&synic->sint[i], state->sint[i] != 0 ? state->sint[i] : TLFS_SINT_MASKED);
    set_messages(synic, state);
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++)
        synic_stimer_restore(&synic->stimers[i], &state->stimer[i]);
    /* What waits has its slot looked at, for the guest may be past the end of the interrupt. */
    for (unsigned sint = 0; sint < HV_SYNIC_N_SINTS; sint++)
        synic_deliver(synic, sint);
    (void)pthread_mutex_unlock(&synic->lock);
}
