/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/machine/clock.h"

#include "hvcore/base/clock.h"

void wp_clock_init(struct wp_clock *clock)
{
    pthread_mutex_init(&clock->lock, NULL);
    clock->stood_ns = 0;
    clock->stands_at_ns = hv_clock_monotonic_ns();
    clock->stands = true;
}

void wp_clock_fini(struct wp_clock *clock)
{
    pthread_mutex_destroy(&clock->lock);
}

void wp_clock_stop(struct wp_clock *clock)
{
    pthread_mutex_lock(&clock->lock);
    hv_assert(!clock->stands);
    clock->stands_at_ns = hv_clock_monotonic_ns();
    clock->stands = true;
    pthread_mutex_unlock(&clock->lock);
}

void wp_clock_go(struct wp_clock *clock)
{
    pthread_mutex_lock(&clock->lock);
    hv_assert(clock->stands);
    clock->stood_ns += hv_clock_monotonic_ns() - clock->stands_at_ns;
    clock->stands = false;
    pthread_mutex_unlock(&clock->lock);
}

static uint64_t now_ns(void *opaque)
{
    struct wp_clock *clock = opaque;
    uint64_t now;

    pthread_mutex_lock(&clock->lock);
    now = clock->stands ? clock->stands_at_ns : hv_clock_monotonic_ns();
    now -= clock->stood_ns;
    pthread_mutex_unlock(&clock->lock);
    return now;
}

static uint64_t wall_ns(void *opaque)
{
    (void)opaque;
    return hv_clock_realtime_ns();
}

struct dev_clock wp_clock_face(struct wp_clock *clock)
{
    return (struct dev_clock){ .now_ns = now_ns, .wall_ns = wall_ns, .opaque = clock };
}

static bool stands(struct wp_clock *clock, uint64_t *ret_stood_ns)
{
    bool is_standing;

    pthread_mutex_lock(&clock->lock);
    is_standing = clock->stands;
    *ret_stood_ns = clock->stood_ns;
    pthread_mutex_unlock(&clock->lock);
    return is_standing;
}

/* While the clock stands nothing gets due; wp_chip_timer_rearm makes up for it. */
static void fire(void *opaque)
{
    struct wp_chip_timer *timer = opaque;
    uint64_t stood_ns;

    if (!stands(timer->clock, &stood_ns))
        timer->due(timer->chip);
}

static void arm(void *opaque, uint64_t deadline_ns)
{
    struct wp_chip_timer *timer = opaque;
    uint64_t stood_ns;

    if (!stands(timer->clock, &stood_ns) && deadline_ns <= UINT64_MAX - stood_ns)
        hv_timer_arm(&timer->timer, deadline_ns + stood_ns);
}

static void disarm(void *opaque)
{
    struct wp_chip_timer *timer = opaque;

    hv_timer_disarm(&timer->timer);
}

void wp_chip_timer_init(struct wp_chip_timer *timer, struct hv_timer_queue *queue,
                        struct wp_clock *clock, void (*due)(void *chip), void *chip)
{
    timer->clock = clock;
    timer->due = due;
    timer->chip = chip;
    hv_timer_init(&timer->timer, queue, fire, timer);
}

void wp_chip_timer_cancel(struct wp_chip_timer *timer)
{
    hv_timer_cancel_sync(&timer->timer);
}

void wp_chip_timer_rearm(struct wp_chip_timer *timer)
{
    timer->due(timer->chip);
}

struct dev_timer wp_chip_timer_face(struct wp_chip_timer *timer)
{
    return (struct dev_timer){ .arm = arm, .disarm = disarm, .opaque = timer };
}
