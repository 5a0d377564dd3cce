/* SPDX-License-Identifier: Apache-2.0 */
/* Guest time for chips: the partition's clock, and chip timers bound to it. */
#pragma once

#include "hvcore/time/timer.h"
#include "vmwp/dev/clock.h"

#include <stdatomic.h>
#include <stdbool.h>

struct hv_partition;

struct wp_clock {
    /* private */
    struct hv_partition *partition;
    atomic_bool stands; /* while the machine is paused; then no timer fires */
};

/* A clock that stands. */
void wp_clock_init(struct wp_clock *clock, struct hv_partition *partition);
/* Whoever stops or starts the partition's time says so: before it stops, after it went on. */
void wp_clock_stop(struct wp_clock *clock);
void wp_clock_go(struct wp_clock *clock);

/* The clock as chips see it; lives as long as the clock. */
struct dev_clock wp_clock_face(struct wp_clock *clock);

/* A chip's timer on a clock; fires due(chip) on the timer queue's thread. */
struct wp_chip_timer {
    /* private */
    struct hv_timer timer;
    struct wp_clock *clock;
    void (*due)(void *chip);
    void *chip;
};

/* Join a chip's timer to its queue and clock; nothing fires before the chip arms it. */
void wp_chip_timer_init(struct wp_chip_timer *timer, struct hv_timer_queue *queue,
                        struct wp_clock *clock, void (*due)(void *chip), void *chip);
/* Not to fire any more; waits for a callback that runs. Not with the chip's lock. */
void wp_chip_timer_cancel(struct wp_chip_timer *timer);
/* After the clock went on: let the chip look what is due and arm again. */
void wp_chip_timer_rearm(struct wp_chip_timer *timer);

/* The timer as its chip sees it; lives as long as the timer. */
struct dev_timer wp_chip_timer_face(struct wp_chip_timer *timer);
