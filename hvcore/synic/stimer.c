/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Synthetic timers: reference time on the partition's timer queue. Everything here runs with the
 * controller's lock, which the queue's thread takes too; so a timer that fires late finds out.
 *
 * spec: TLFS timers "Synthetic Timers"
 */
#include "hvcore/synic/synic_priv.h"

#include <string.h>

/* In reference time. A period below it would let a guest have the timers' thread for itself. */
enum { MIN_PERIOD = 1000 };

static uint64_t now(const struct hv_synic *synic)
{
    return hv_guest_clock_reference(&synic->partition->clock);
}

static unsigned index_of(const struct hv_stimer *stimer)
{
    return (unsigned)(stimer - stimer->synic->stimers);
}

static unsigned sint_of(const struct hv_stimer *stimer)
{
    return stimer->config >> TLFS_STIMER_SINT_SHIFT & 0xf;
}

/* ---- arming ---- */

static void arm(struct hv_stimer *stimer)
{
    struct hv_synic *synic = stimer->synic;
    const struct hv_guest_clock *clock = &synic->partition->clock;
    uint64_t host_tsc;

    if (synic->is_time_stopped)
        return;
    host_tsc = hv_guest_clock_tsc_at(clock, stimer->due) - hv_guest_clock_offset(clock);
    hv_timer_arm(&stimer->timer, hv_tsc_anchor_to_ns(&synic->anchor, host_tsc));
}

static void stop(struct hv_stimer *stimer)
{
    hv_timer_disarm(&stimer->timer);
    stimer->due = 0;
}

/* The first expiry after `time` in the timer's own rhythm; those that were missed are. */
static uint64_t next_period(const struct hv_stimer *stimer, uint64_t time)
{
    uint64_t period = stimer->count > MIN_PERIOD ? stimer->count : MIN_PERIOD;
    uint64_t behind = time > stimer->due ? time - stimer->due : 0;
    uint64_t next = stimer->due + (behind / period + 1) * period;

    return next > stimer->due ? next : UINT64_MAX;
}

/* ---- expiry ---- */

static void notify(struct hv_stimer *stimer, uint64_t due)
{
    struct hv_synic *synic = stimer->synic;

    if (stimer->config & TLFS_STIMER_DIRECT) {
        synic_interrupt(synic, (uint8_t)(stimer->config >> TLFS_STIMER_VECTOR_SHIFT));
        return;
    }
    /* One that the guest has not taken stands for those after it. */
    if (stimer->has_message)
        return;
    stimer->has_message = true;
    stimer->message_due = due;
    synic_update_waiting(synic, sint_of(stimer));
    synic_deliver(synic, sint_of(stimer));
}

static void expire(struct hv_stimer *stimer, uint64_t time)
{
    uint64_t due = stimer->due;

    if (stimer->config & TLFS_STIMER_PERIODIC) {
        stimer->due = next_period(stimer, time);
        arm(stimer);
    } else {
        stimer->config &= ~(uint64_t)TLFS_STIMER_ENABLE;
        stimer->due = 0;
    }
    notify(stimer, due);
}

static void on_due(void *opaque)
{
    struct hv_stimer *stimer = opaque;
    struct hv_synic *synic = stimer->synic;
    uint64_t time;

    (void)pthread_mutex_lock(&synic->lock);
    time = now(synic);
    if (stimer->due != 0 && !synic->is_time_stopped) {
        if (time >= stimer->due)
            expire(stimer, time);
        else
            arm(stimer);
    }
    (void)pthread_mutex_unlock(&synic->lock);
}

static void start(struct hv_stimer *stimer)
{
    uint64_t time = now(stimer->synic);

    if (!(stimer->config & TLFS_STIMER_ENABLE) || stimer->count == 0)
        return;
    stimer->due = stimer->count;
    if (stimer->config & TLFS_STIMER_PERIODIC) {
        stimer->due = time;
        stimer->due = next_period(stimer, time);
    } else if (stimer->due <= time) {
        expire(stimer, time);
        return;
    }
    arm(stimer);
}

/* ---- MSRs ---- */

static void forget_message(struct hv_stimer *stimer)
{
    stimer->has_message = false;
    synic_update_waiting(stimer->synic, sint_of(stimer));
}

static void write_config(struct hv_stimer *stimer, uint64_t value)
{
    stop(stimer);
    forget_message(stimer);
    /* SINT 0 is no place for a timer's message: such a timer cannot be enabled. */
    if (!(value & TLFS_STIMER_DIRECT) && (value >> TLFS_STIMER_SINT_SHIFT & 0xf) == 0)
        value &= ~(uint64_t)TLFS_STIMER_ENABLE;
    stimer->config = value;
    start(stimer);
}

static void write_count(struct hv_stimer *stimer, uint64_t value)
{
    stop(stimer);
    forget_message(stimer);
    stimer->count = value;
    if (value == 0)
        stimer->config &= ~(uint64_t)TLFS_STIMER_ENABLE;
    else if (stimer->config & TLFS_STIMER_AUTO_ENABLE)
        stimer->config |= TLFS_STIMER_ENABLE;
    start(stimer);
}

uint64_t synic_stimer_read(const struct hv_synic *synic, uint32_t msr)
{
    const struct hv_stimer *stimer = &synic->stimers[(msr - TLFS_MSR_STIMER0_CONFIG) / 2];

    return msr % 2 == 0 ? stimer->config : stimer->count;
}

void synic_stimer_write(struct hv_synic *synic, uint32_t msr, uint64_t value)
{
    struct hv_stimer *stimer = &synic->stimers[(msr - TLFS_MSR_STIMER0_CONFIG) / 2];

    if (msr % 2 == 0)
        write_config(stimer, value);
    else
        write_count(stimer, value);
}

/* ---- messages ---- */

static struct hv_stimer *with_message(struct hv_synic *synic, unsigned sint)
{
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++)
        if (synic->stimers[i].has_message && sint_of(&synic->stimers[i]) == sint)
            return &synic->stimers[i];
    return NULL;
}

bool synic_stimer_has_message(struct hv_synic *synic, unsigned sint)
{
    return with_message(synic, sint) != NULL;
}

bool synic_stimer_take_message(struct hv_synic *synic, unsigned sint, struct hv_message *ret)
{
    struct hv_stimer *stimer = with_message(synic, sint);
    struct tlfs_timer_payload payload;

    if (!stimer)
        return false;
    stimer->has_message = false;
    synic_update_waiting(synic, sint);
    payload = (struct tlfs_timer_payload){ .timer = index_of(stimer),
                                           .expiration = stimer->message_due,
                                           .delivery = now(synic) };
    ret->type = (uint32_t)TLFS_MESSAGE_TIMER_EXPIRED;
    ret->bytes = sizeof(payload);
    memcpy(ret->payload, &payload, sizeof(payload));
    return true;
}

/* ---- life ---- */

void synic_stimer_restore(struct hv_stimer *stimer, const struct hv_stimer_state *state)
{
    stop(stimer);
    forget_message(stimer);
    stimer->config = state->config;
    stimer->count = state->count;
    stimer->due = state->due;
    stimer->message_due = state->message_due;
    stimer->has_message = state->message_due != 0;
    synic_update_waiting(stimer->synic, sint_of(stimer));
    if (stimer->due != 0)
        arm(stimer);
}

void synic_stimers_init(struct hv_synic *synic)
{
    hv_tsc_anchor_init(&synic->anchor, synic->partition->clock.tsc_hz);
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++) {
        synic->stimers[i].synic = synic;
        hv_timer_init(&synic->stimers[i].timer, synic->partition->timers, on_due,
                      &synic->stimers[i]);
    }
}

void synic_stimers_fini(struct hv_synic *synic)
{
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++)
        hv_timer_cancel_sync(&synic->stimers[i].timer);
}

void synic_stimers_reset(struct hv_synic *synic)
{
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++) {
        struct hv_stimer *stimer = &synic->stimers[i];

        stop(stimer);
        forget_message(stimer);
        stimer->config = 0;
        stimer->count = 0;
    }
}

void hv_synic_stop_time(struct hv_synic *synic)
{
    (void)pthread_mutex_lock(&synic->lock);
    synic->is_time_stopped = true;
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++)
        hv_timer_disarm(&synic->stimers[i].timer);
    (void)pthread_mutex_unlock(&synic->lock);
}

void hv_synic_start_time(struct hv_synic *synic)
{
    (void)pthread_mutex_lock(&synic->lock);
    synic->is_time_stopped = false;
    for (unsigned i = 0; i < HV_SYNIC_N_TIMERS; i++)
        if (synic->stimers[i].due != 0)
            arm(&synic->stimers[i]);
    (void)pthread_mutex_unlock(&synic->lock);
}
