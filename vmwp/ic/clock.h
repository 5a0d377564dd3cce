/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time for integration components: given from outside, and standing still while the VM is paused.
 *
 * All timers of a VM's components share one alarm of the holder's. io thread.
 */
#pragma once

#include "hvcore/base/clock.h"
#include "hvcore/base/list.h"

/* What the holder gives. The alarm calls ic_clock_run, on the io thread, never from inside set. */
struct ic_time_ops {
    /* public */
    uint64_t (*now_ns)(void *opaque); /* monotonic; need not stand while the VM is paused */
    /* Have ic_clock_run called when now_ns reaches deadline_ns, in place of what was set before;
     * UINT64_MAX: never. It may come early or once too often. */
    void (*set_alarm)(void *opaque, uint64_t deadline_ns);
    uint64_t (*realtime_ns)(void *opaque);     /* since 1970, UTC */
    uint64_t (*reference_ticks)(void *opaque); /* the guest's reference counter, 100 ns */
};

struct ic_clock {
    /* private */
    const struct ic_time_ops *ops;
    void *opaque;
    struct hv_list armed;
    uint64_t stood_ns; /* how long it stood, all in all */
    uint64_t stopped_at_ns;
    bool stands;
};

struct ic_timer {
    /* private */
    struct hv_list node;
    struct ic_clock *clock;
    uint64_t deadline_ns;
    void (*fire)(void *opaque);
    void *opaque;
};

/* A clock that goes. ops and opaque outlive it. */
void ic_clock_init(struct ic_clock *clock, const struct ic_time_ops *ops, void *opaque);
/* No timer is armed any more; the alarm is taken back. */
void ic_clock_fini(struct ic_clock *clock);
/* Running time in ns. */
uint64_t ic_clock_now(const struct ic_clock *clock);
/* Since 1970, UTC, in ns. */
uint64_t ic_clock_realtime(const struct ic_clock *clock);
/* The guest's reference counter in 100 ns. */
uint64_t ic_clock_reference(const struct ic_clock *clock);
/* Fire what is due and set the alarm anew. */
void ic_clock_run(struct ic_clock *clock);
/* While it stands nothing fires; harmless when it stands already. */
void ic_clock_stand(struct ic_clock *clock);
/* Does it stand? */
bool ic_clock_stands(const struct ic_clock *clock);
/* Go on where it stopped; harmless when it goes. */
void ic_clock_go(struct ic_clock *clock);

/* A timer that isn't armed. fire may arm it again and free what isn't the clock. */
void ic_timer_init(struct ic_timer *timer, struct ic_clock *clock, void (*fire)(void *opaque),
                   void *opaque);
/* Fire once, delay_ns of running time from now; in place of what was armed before. */
void ic_timer_arm(struct ic_timer *timer, uint64_t delay_ns);
/* Harmless when it isn't armed. */
void ic_timer_disarm(struct ic_timer *timer);
/* Will it fire? */
bool ic_timer_is_armed(const struct ic_timer *timer);
