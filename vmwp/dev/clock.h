/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time as a chip sees it, passed in, so that a test can hold the hands of the clock.
 *
 * now_ns is guest time: monotonic, and it stops while the VM is paused. A deadline is in the same
 * time. Whoever binds a timer calls the chip's dev_<chip>_timer(opaque chip) at or after the
 * deadline, never from inside arm or disarm and never with a lock that arm or disarm takes. A
 * call that comes too early, too late or after disarm does no harm: chips ask the clock what is
 * due.
 */
#pragma once

#include <stdint.h>

struct dev_clock {
    /* public; any thread */
    uint64_t (*now_ns)(void *opaque);
    uint64_t (*wall_ns)(void *opaque); /* UTC, since 1970 */
    void *opaque;
};

/* A one-shot timer; arm replaces an earlier deadline. Any thread, called under the chip's lock. */
struct dev_timer {
    /* public */
    void (*arm)(void *opaque, uint64_t deadline_ns);
    void (*disarm)(void *opaque);
    void *opaque;
};

static inline uint64_t dev_clock_now_ns(const struct dev_clock *clock)
{
    return clock->now_ns(clock->opaque);
}

static inline uint64_t dev_clock_wall_ns(const struct dev_clock *clock)
{
    return clock->wall_ns(clock->opaque);
}

static inline void dev_timer_arm(const struct dev_timer *timer, uint64_t deadline_ns)
{
    if (timer->arm)
        timer->arm(timer->opaque, deadline_ns);
}

static inline void dev_timer_disarm(const struct dev_timer *timer)
{
    if (timer->disarm)
        timer->disarm(timer->opaque);
}

/* value * num / den without overflow in between; den not 0. */
static inline uint64_t dev_scale(uint64_t value, uint64_t num, uint64_t den)
{
    return (uint64_t)((unsigned __int128)value * num / den);
}
