/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/clock.h"

void ic_clock_init(struct ic_clock *clock, const struct ic_time_ops *ops, void *opaque)
{
    *clock = (struct ic_clock){ .ops = ops, .opaque = opaque };
    hv_list_init(&clock->armed);
}

void ic_clock_fini(struct ic_clock *clock)
{
    if (!clock->ops)
        return;
    hv_assert(hv_list_is_empty(&clock->armed));
    clock->ops->set_alarm(clock->opaque, UINT64_MAX);
    clock->ops = NULL;
}

uint64_t ic_clock_now(const struct ic_clock *clock)
{
    uint64_t host = clock->stands ? clock->stopped_at_ns : clock->ops->now_ns(clock->opaque);

    return host - clock->stood_ns;
}

uint64_t ic_clock_realtime(const struct ic_clock *clock)
{
    return clock->ops->realtime_ns(clock->opaque);
}

uint64_t ic_clock_reference(const struct ic_clock *clock)
{
    return clock->ops->reference_ticks(clock->opaque);
}

static void set_alarm(struct ic_clock *clock)
{
    uint64_t first = UINT64_MAX;

    if (!clock->stands) {
        HV_LIST_FOREACH (node, &clock->armed) {
            const struct ic_timer *timer = HV_LIST_ENTRY(node, struct ic_timer, node);

            if (timer->deadline_ns < first)
                first = timer->deadline_ns;
        }
    }
    if (first < UINT64_MAX)
        first += clock->stood_ns;
    clock->ops->set_alarm(clock->opaque, first);
}

/* What is due goes into a list of its own first, so that a timer which arms itself again at once
 * waits for the next run. */
void ic_clock_run(struct ic_clock *clock)
{
    uint64_t now = ic_clock_now(clock);
    struct hv_list due;

    if (clock->stands)
        return;
    hv_list_init(&due);
    HV_LIST_FOREACH (node, &clock->armed) {
        if (HV_LIST_ENTRY(node, struct ic_timer, node)->deadline_ns <= now) {
            hv_list_remove(node);
            hv_list_append(&due, node);
        }
    }
    while (!hv_list_is_empty(&due)) {
        struct ic_timer *timer = HV_LIST_ENTRY(due.next, struct ic_timer, node);

        hv_list_remove(&timer->node);
        timer->fire(timer->opaque);
    }
    set_alarm(clock);
}

bool ic_clock_stands(const struct ic_clock *clock)
{
    return clock->stands;
}

void ic_clock_stand(struct ic_clock *clock)
{
    if (clock->stands)
        return;
    clock->stopped_at_ns = clock->ops->now_ns(clock->opaque);
    clock->stands = true;
    set_alarm(clock);
}

void ic_clock_go(struct ic_clock *clock)
{
    if (!clock->stands)
        return;
    clock->stood_ns += clock->ops->now_ns(clock->opaque) - clock->stopped_at_ns;
    clock->stands = false;
    set_alarm(clock);
}

void ic_timer_init(struct ic_timer *timer, struct ic_clock *clock, void (*fire)(void *opaque),
                   void *opaque)
{
    *timer = (struct ic_timer){ .clock = clock, .fire = fire, .opaque = opaque };
    hv_list_init(&timer->node);
}

void ic_timer_arm(struct ic_timer *timer, uint64_t delay_ns)
{
    uint64_t now = ic_clock_now(timer->clock);

    hv_list_remove(&timer->node);
    timer->deadline_ns = delay_ns < UINT64_MAX / 4 ? now + delay_ns : now + UINT64_MAX / 4;
    hv_list_append(&timer->clock->armed, &timer->node);
    set_alarm(timer->clock);
}

void ic_timer_disarm(struct ic_timer *timer)
{
    if (!timer->clock || hv_list_is_empty(&timer->node))
        return;
    hv_list_remove(&timer->node);
    set_alarm(timer->clock);
}

bool ic_timer_is_armed(const struct ic_timer *timer)
{
    return timer->clock && !hv_list_is_empty(&timer->node);
}
