/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest time for chips: CLOCK_MONOTONIC that stands while the machine is paused, and chip timers
 * bound to it.
 */
#pragma once

#include "hvcore/time/timer.h"
#include "vmwp/dev/clock.h"

#include <pthread.h>
#include <stdbool.h>

struct wp_clock {
    /* private; lock */
    pthread_mutex_t lock;
    uint64_t stood_ns;     /* how long the clock has stood so far */
    uint64_t stands_at_ns; /* CLOCK_MONOTONIC when it stopped */
    bool stands;
};

/* A clock that stands. */
void wp_clock_init(struct wp_clock *clock);
void wp_clock_fini(struct wp_clock *clock);
void wp_clock_stop(struct wp_clock *clock);
void wp_clock_go(struct wp_clock *clock);

struct dev_clock wp_clock_face(struct wp_clock *clock);

/* A chip's timer on a clock; fires due(chip) on the timer queue's thread. */
struct wp_chip_timer {
    /* private */
    struct hv_timer timer;
    struct wp_clock *clock;
    void (*due)(void *chip);
    void *chip;
};

void wp_chip_timer_init(struct wp_chip_timer *timer, struct hv_timer_queue *queue,
                        struct wp_clock *clock, void (*due)(void *chip), void *chip);
/* Not to fire any more; waits for a callback that runs. Not with the chip's lock. */
void wp_chip_timer_cancel(struct wp_chip_timer *timer);
/* After the clock went on: let the chip look what is due and arm again. */
void wp_chip_timer_rearm(struct wp_chip_timer *timer);

struct dev_timer wp_chip_timer_face(struct wp_chip_timer *timer);
