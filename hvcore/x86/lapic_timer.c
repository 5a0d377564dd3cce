/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The LAPIC timer: one-shot, periodic, TSC deadline. Counting is arithmetic on the TSC; a host
 * timer only makes the processor look in time.
 *
 * spec: AMD64 vol. 2, 16.4.1; Intel SDM vol. 3 "TSC-Deadline Mode"
 */
#include "hvcore/x86/lapic_priv.h"

static uint64_t scale_q32(uint64_t value, uint64_t factor)
{
    return (uint64_t)((__uint128_t)value * factor >> 32);
}

static uint32_t timer_mode(const struct x86_lapic *lapic)
{
    return atomic_load_explicit(&lapic->lvt[LAPIC_LVT_TIMER], memory_order_relaxed) &
           LAPIC_TIMER_MODE;
}

/* The divide configuration register: 0, 1, 2, 3, 8, 9, 10 mean 2, 4, ... 128; 11 means 1. */
static unsigned divide_shift(const struct x86_lapic *lapic)
{
    unsigned code = (lapic->timer_divide & 3) | (lapic->timer_divide >> 1 & 4);

    return (code + 1) & 7;
}

static uint64_t count_to_ticks(const struct x86_lapic *lapic, uint32_t count)
{
    uint64_t ns = (uint64_t)count << divide_shift(lapic);
    uint64_t ticks = scale_q32(ns, lapic->bus->ticks_per_ns_q32);

    return ticks > 0 ? ticks : 1;
}

static uint64_t bus_time(const struct x86_lapic *lapic)
{
    return lapic_host_tsc(lapic->bus) + lapic->bus->bus_offset;
}

static void disarm(struct x86_lapic *lapic)
{
    if (lapic->is_timer_armed)
        lapic->ops->timer_disarm(lapic->opaque);
    lapic->is_timer_armed = false;
}

static void arm_in(struct x86_lapic *lapic, uint64_t host_now, uint64_t ticks)
{
    uint64_t due = host_now + ticks;

    lapic->is_timer_armed = true;
    lapic->ops->timer_arm(lapic->opaque, due < host_now ? UINT64_MAX : due);
}

void lapic_timer_stop(struct x86_lapic *lapic)
{
    lapic->timer_end = 0;
    lapic->tsc_deadline = 0;
    disarm(lapic);
}

/* TSC deadline: post when reached, else arm. */
static void check_deadline(struct x86_lapic *lapic)
{
    uint64_t host_now = lapic_host_tsc(lapic->bus);
    uint64_t now = host_now + x86_lapic_tsc_offset(lapic);

    if (now < lapic->tsc_deadline) {
        arm_in(lapic, host_now, lapic->tsc_deadline - now);
        return;
    }
    lapic->tsc_deadline = 0;
    disarm(lapic);
    lapic_post_lvt(lapic, LAPIC_LVT_TIMER);
}

/* A periodic timer that lost whole periods skips them: one interrupt, then the next in phase. */
static void next_period(struct x86_lapic *lapic, uint64_t now)
{
    uint64_t period = count_to_ticks(lapic, lapic->timer_initial);

    lapic->timer_end = now - (now - lapic->timer_end) % period + period;
    arm_in(lapic, now - lapic->bus->bus_offset, lapic->timer_end - now);
}

static void check_count(struct x86_lapic *lapic)
{
    uint64_t now = bus_time(lapic);

    if (now < lapic->timer_end) {
        arm_in(lapic, now - lapic->bus->bus_offset, lapic->timer_end - now);
        return;
    }
    if (timer_mode(lapic) == LAPIC_TIMER_PERIODIC) {
        next_period(lapic, now);
    } else {
        lapic->timer_end = 0;
        disarm(lapic);
    }
    lapic_post_lvt(lapic, LAPIC_LVT_TIMER);
}

void lapic_timer_expire(struct x86_lapic *lapic)
{
    if (lapic->tsc_deadline != 0)
        check_deadline(lapic);
    else if (lapic->timer_end != 0)
        check_count(lapic);
}

void lapic_timer_rearm(struct x86_lapic *lapic)
{
    if (lapic->tsc_deadline == 0 && lapic->timer_end == 0)
        disarm(lapic);
    else
        lapic_timer_expire(lapic);
}

uint32_t lapic_timer_current(const struct x86_lapic *lapic)
{
    uint64_t now, left;

    if (lapic->timer_end == 0)
        return 0;
    now = bus_time(lapic);
    if (now >= lapic->timer_end) {
        /* Due, but the processor hasn't taken the event yet. */
        if (timer_mode(lapic) != LAPIC_TIMER_PERIODIC)
            return 0;
        left = count_to_ticks(lapic, lapic->timer_initial);
        left -= (now - lapic->timer_end) % left;
    } else {
        left = lapic->timer_end - now;
    }
    left = scale_q32(left, lapic->bus->ns_per_tick_q32) >> divide_shift(lapic);
    return left < lapic->timer_initial ? (uint32_t)left : lapic->timer_initial;
}

static void start_count(struct x86_lapic *lapic, uint32_t count)
{
    lapic->timer_end = count == 0 ? 0 : bus_time(lapic) + count_to_ticks(lapic, count);
    lapic_timer_rearm(lapic);
}

void lapic_timer_write_initial(struct x86_lapic *lapic, uint32_t count)
{
    if (timer_mode(lapic) == LAPIC_TIMER_TSC_DEADLINE)
        return;
    lapic->timer_initial = count;
    start_count(lapic, count);
}

void lapic_timer_write_divide(struct x86_lapic *lapic, uint32_t divide)
{
    uint32_t current = lapic_timer_current(lapic);

    lapic->timer_divide = divide & 0xb;
    if (lapic->timer_end != 0)
        start_count(lapic, current > 0 ? current : 1);
}

/* A change to or from TSC deadline disarms; between the others the count goes on. */
void lapic_timer_write_lvt(struct x86_lapic *lapic, uint32_t lvt)
{
    bool was_deadline = timer_mode(lapic) == LAPIC_TIMER_TSC_DEADLINE;
    bool is_deadline = (lvt & LAPIC_TIMER_MODE) == LAPIC_TIMER_TSC_DEADLINE;

    if (was_deadline != is_deadline) {
        lapic_timer_stop(lapic);
        lapic->timer_initial = 0;
    }
    atomic_store(&lapic->lvt[LAPIC_LVT_TIMER], lvt);
}

void lapic_timer_write_deadline(struct x86_lapic *lapic, uint64_t deadline)
{
    if (timer_mode(lapic) != LAPIC_TIMER_TSC_DEADLINE)
        return;
    lapic->tsc_deadline = deadline;
    lapic_timer_rearm(lapic);
}

void lapic_timer_restore(struct x86_lapic *lapic, uint32_t initial, uint32_t current)
{
    if (timer_mode(lapic) == LAPIC_TIMER_TSC_DEADLINE)
        return;
    lapic->timer_initial = initial;
    start_count(lapic, current <= initial ? current : initial);
}

void x86_lapic_set_tsc_offset(struct x86_lapic *lapic, uint64_t tsc_offset)
{
    atomic_store(&lapic->tsc_offset, tsc_offset);
    if (lapic->tsc_deadline != 0)
        lapic_timer_rearm(lapic);
}

void x86_lapic_bus_skip_time(struct x86_lapic_bus *bus, uint64_t ticks)
{
    bus->bus_offset -= ticks;
    for (unsigned i = 0; i < bus->n_lapics; i++) {
        struct x86_lapic *lapic = bus->lapics[i];

        atomic_fetch_sub(&lapic->tsc_offset, ticks);
        lapic_timer_rearm(lapic);
    }
}
