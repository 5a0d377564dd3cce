/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/base/clock.h"
#include "hvcore/time/timer.h"

#include <stdatomic.h>

enum { MANY = 200 };

struct shot {
    struct hv_timer timer;
    _Atomic unsigned count;
    _Atomic uint64_t at_ns;
    unsigned rearm; /* so many times, from the callback */
    _Atomic bool is_slow;
};

static void on_shot(void *opaque)
{
    struct shot *shot = opaque;

    atomic_store(&shot->at_ns, hv_clock_monotonic_ns());
    if (shot->is_slow)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 20 * HV_NS_PER_MS }, NULL);
    atomic_fetch_add(&shot->count, 1);
    if (shot->rearm > 0) {
        shot->rearm--;
        hv_timer_arm(&shot->timer, hv_clock_monotonic_ns());
    }
}

static void wait_for(struct shot *shot, unsigned count)
{
    for (unsigned i = 0; i < 10000 && atomic_load(&shot->count) < count; i++)
        (void)nanosleep(&(struct timespec){ .tv_nsec = HV_NS_PER_MS }, NULL);
    assert_int_equal(atomic_load(&shot->count), count);
}

static int setup(void **state)
{
    return hv_timer_queue_new((struct hv_timer_queue **)state);
}

static int teardown(void **state)
{
    *state = hv_timer_queue_free(*state);
    return 0;
}

static void it_fires_once_and_not_early(void **state)
{
    uint64_t due = hv_clock_monotonic_ns() + 5 * HV_NS_PER_MS;
    struct shot shot = { 0 };

    hv_timer_init(&shot.timer, *state, on_shot, &shot);
    hv_timer_arm(&shot.timer, due);
    wait_for(&shot, 1);
    assert_true(shot.at_ns >= due);
    (void)nanosleep(&(struct timespec){ .tv_nsec = 10 * HV_NS_PER_MS }, NULL);
    assert_int_equal(shot.count, 1);
}

static void an_earlier_deadline_wakes_the_sleeper(void **state)
{
    struct shot far = { 0 }, near = { 0 };

    hv_timer_init(&far.timer, *state, on_shot, &far);
    hv_timer_init(&near.timer, *state, on_shot, &near);
    hv_timer_arm(&far.timer, hv_clock_monotonic_ns() + 3600 * HV_NS_PER_SEC);
    (void)nanosleep(&(struct timespec){ .tv_nsec = 2 * HV_NS_PER_MS }, NULL);
    hv_timer_arm(&near.timer, hv_clock_monotonic_ns() + HV_NS_PER_MS);
    wait_for(&near, 1);
    assert_int_equal(far.count, 0);
    hv_timer_arm(&far.timer, 0); /* moved into the past */
    wait_for(&far, 1);
}

/* Whether it was disarmed before it was due, which a busy host may have prevented. */
static bool disarm_in_time(struct hv_timer_queue *queue, uint64_t ahead_ns)
{
    struct shot shot = { 0 }, after = { 0 };
    uint64_t due = hv_clock_monotonic_ns() + ahead_ns;
    bool is_in_time;

    hv_timer_init(&shot.timer, queue, on_shot, &shot);
    hv_timer_init(&after.timer, queue, on_shot, &after);
    hv_timer_arm(&shot.timer, due);
    hv_timer_arm(&after.timer, due + ahead_ns);
    hv_timer_disarm(&shot.timer);
    is_in_time = hv_clock_monotonic_ns() < due;
    hv_timer_disarm(&shot.timer);
    wait_for(&after, 1);
    if (is_in_time)
        assert_int_equal(shot.count, 0);
    return is_in_time;
}

static void disarmed_it_stays_silent(void **state)
{
    uint64_t ahead_ns = 3 * HV_NS_PER_MS;

    while (!disarm_in_time(*state, ahead_ns))
        ahead_ns *= 2;
}

/* Whether all were armed before the first was due, which a busy host may have prevented. */
static bool arm_many_in_time(struct hv_timer_queue *queue, struct shot *shots, uint64_t ahead_ns)
{
    uint64_t start = hv_clock_monotonic_ns() + ahead_ns;
    bool is_in_time;

    for (unsigned i = 0; i < MANY; i++) {
        shots[i] = (struct shot){ 0 };
        hv_timer_init(&shots[i].timer, queue, on_shot, &shots[i]);
    }
    for (unsigned i = 0; i < MANY; i++)
        hv_timer_arm(&shots[i * 37 % MANY].timer, start + i * 37 % MANY * 10000);
    for (unsigned i = 0; i < MANY; i += 3)
        hv_timer_disarm(&shots[i].timer);
    is_in_time = hv_clock_monotonic_ns() < start;
    for (unsigned i = 0; i < MANY; i++)
        if (i % 3 != 0)
            wait_for(&shots[i], 1);
    return is_in_time;
}

static void many_fire_in_order(void **state)
{
    static struct shot shots[MANY];
    uint64_t ahead_ns = 5 * HV_NS_PER_MS;

    while (!arm_many_in_time(*state, shots, ahead_ns))
        ahead_ns *= 2;
    for (unsigned i = 1; i < MANY; i++) {
        if (i % 3 == 0)
            assert_int_equal(shots[i].count, 0);
        else if (i % 3 == 2)
            assert_true(shots[i - 1].at_ns <= shots[i].at_ns);
    }
}

static void a_callback_may_arm_again(void **state)
{
    struct shot shot = { .rearm = 100 };

    hv_timer_init(&shot.timer, *state, on_shot, &shot);
    hv_timer_arm(&shot.timer, 0);
    wait_for(&shot, 101);
}

static void cancel_waits_for_the_callback(void **state)
{
    struct shot shot = { .is_slow = true, .rearm = 1000 };

    hv_timer_init(&shot.timer, *state, on_shot, &shot);
    hv_timer_arm(&shot.timer, 0);
    while (atomic_load(&shot.at_ns) == 0)
        (void)nanosleep(&(struct timespec){ .tv_nsec = HV_NS_PER_MS }, NULL);
    hv_timer_cancel_sync(&shot.timer);
    {
        unsigned count = shot.count;

        assert_true(count >= 1);
        (void)nanosleep(&(struct timespec){ .tv_nsec = 50 * HV_NS_PER_MS }, NULL);
        assert_int_equal(shot.count, count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_fires_once_and_not_early, setup, teardown),
        cmocka_unit_test_setup_teardown(an_earlier_deadline_wakes_the_sleeper, setup, teardown),
        cmocka_unit_test_setup_teardown(disarmed_it_stays_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(many_fire_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_may_arm_again, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_waits_for_the_callback, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
