/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/machine/clock.h"

#include "hvcore/base/clock.h"
#include "hvcore/partition.h"

void wp_clock_init(struct wp_clock *clock, struct hv_partition *partition)
{
    clock->partition = partition;
    atomic_store(&clock->stands, true);
}

void wp_clock_stop(struct wp_clock *clock)
{
    hv_assert(!atomic_exchange(&clock->stands, true));
}

void wp_clock_go(struct wp_clock *clock)
{
    hv_assert(atomic_exchange(&clock->stands, false));
}

static uint64_t now_ns(void *opaque)
{
    struct wp_clock *clock = opaque;

    return hv_partition_now_ns(clock->partition);
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

/* While the clock stands nothing gets due; wp_chip_timer_rearm makes up for it. */
static void fire(void *opaque)
{
    struct wp_chip_timer *timer = opaque;

    if (!atomic_load(&timer->clock->stands))
        timer->due(timer->chip);
}

/* The queue's time is the host's: the same distance from now. */
static void arm(void *opaque, uint64_t deadline_ns)
{
    struct wp_chip_timer *timer = opaque;
    uint64_t host = hv_clock_monotonic_ns(), guest = now_ns(timer->clock);
    uint64_t left = deadline_ns > guest ? deadline_ns - guest : 0;

    if (!atomic_load(&timer->clock->stands))
        hv_timer_arm(&timer->timer, left < UINT64_MAX - host ? host + left : UINT64_MAX);
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
