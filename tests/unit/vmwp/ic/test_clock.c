/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/ic_world.h"

struct bell {
    struct ic_timer timer;
    struct ic_world *world;
    unsigned n;
    uint64_t at_ns;
    bool again_at_once;
};

static void ring(void *opaque)
{
    struct bell *bell = opaque;

    bell->n++;
    bell->at_ns = bell->world->now_ns;
    if (bell->again_at_once)
        ic_timer_arm(&bell->timer, 0);
}

static int make(void **state)
{
    static struct ic_world world;

    ic_world_init(&world);
    *state = &world;
    return 0;
}

static int drop(void **state)
{
    ic_world_fini(*state);
    return 0;
}

static struct bell bell_of(struct ic_world *world)
{
    return (struct bell){ .world = world };
}

static void a_timer_fires_once_at_its_moment(void **state)
{
    struct ic_world *world = *state;
    struct bell a = bell_of(world), b = bell_of(world);
    uint64_t began = world->now_ns;

    ic_timer_init(&a.timer, &world->clock, ring, &a);
    ic_timer_init(&b.timer, &world->clock, ring, &b);
    ic_timer_arm(&a.timer, 20 * HV_NS_PER_MS);
    ic_timer_arm(&b.timer, 10 * HV_NS_PER_MS);
    ic_world_pass(world, 9);
    assert_int_equal(a.n + b.n, 0);
    ic_world_pass(world, 100);
    assert_int_equal(a.n, 1);
    assert_int_equal(b.n, 1);
    assert_int_equal(a.at_ns - began, 20 * HV_NS_PER_MS);
    assert_int_equal(b.at_ns - began, 10 * HV_NS_PER_MS);
    assert_int_equal(world->alarm_ns, UINT64_MAX);
}

static void a_disarmed_timer_does_not_fire(void **state)
{
    struct ic_world *world = *state;
    struct bell bell = bell_of(world);

    ic_timer_init(&bell.timer, &world->clock, ring, &bell);
    ic_timer_disarm(&bell.timer);
    ic_timer_arm(&bell.timer, HV_NS_PER_MS);
    assert_true(ic_timer_is_armed(&bell.timer));
    ic_timer_disarm(&bell.timer);
    assert_false(ic_timer_is_armed(&bell.timer));
    ic_world_pass(world, 100);
    assert_int_equal(bell.n, 0);
}

static void a_timer_that_arms_itself_at_once_waits_for_the_next_run(void **state)
{
    struct ic_world *world = *state;
    struct bell bell = bell_of(world);

    bell.again_at_once = true;
    ic_timer_init(&bell.timer, &world->clock, ring, &bell);
    ic_timer_arm(&bell.timer, 0);
    ic_clock_run(&world->clock);
    assert_int_equal(bell.n, 1);
    assert_true(world->alarm_ns <= world->now_ns);
    ic_timer_disarm(&bell.timer);
}

static void nothing_fires_while_the_clock_stands_and_what_was_left_is_left(void **state)
{
    struct ic_world *world = *state;
    struct bell bell = bell_of(world);
    uint64_t began = ic_clock_now(&world->clock);

    ic_timer_init(&bell.timer, &world->clock, ring, &bell);
    ic_timer_arm(&bell.timer, 10 * HV_NS_PER_MS);
    ic_world_pass(world, 6);
    ic_clock_stand(&world->clock);
    ic_clock_stand(&world->clock);
    assert_int_equal(world->alarm_ns, UINT64_MAX);
    ic_world_pass(world, 60000);
    ic_clock_run(&world->clock);
    assert_int_equal(bell.n, 0);
    assert_int_equal(ic_clock_now(&world->clock) - began, 6 * HV_NS_PER_MS);
    ic_clock_go(&world->clock);
    ic_clock_go(&world->clock);
    ic_world_pass(world, 3);
    assert_int_equal(bell.n, 0);
    ic_world_pass(world, 1);
    assert_int_equal(bell.n, 1);
    assert_int_equal(ic_clock_now(&world->clock) - began, 10 * HV_NS_PER_MS);
}

static void an_endless_delay_is_long_and_does_not_wrap(void **state)
{
    struct ic_world *world = *state;
    struct bell bell = bell_of(world);

    ic_timer_init(&bell.timer, &world->clock, ring, &bell);
    ic_timer_arm(&bell.timer, UINT64_MAX);
    assert_true(world->alarm_ns > world->now_ns);
    ic_clock_run(&world->clock);
    assert_int_equal(bell.n, 0);
    ic_timer_disarm(&bell.timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_timer_fires_once_at_its_moment, make, drop),
        cmocka_unit_test_setup_teardown(a_disarmed_timer_does_not_fire, make, drop),
        cmocka_unit_test_setup_teardown(a_timer_that_arms_itself_at_once_waits_for_the_next_run,
                                        make, drop),
        cmocka_unit_test_setup_teardown(
            nothing_fires_while_the_clock_stands_and_what_was_left_is_left, make, drop),
        cmocka_unit_test_setup_teardown(an_endless_delay_is_long_and_does_not_wrap, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
