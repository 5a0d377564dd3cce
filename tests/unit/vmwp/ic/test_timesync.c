/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/ic_world.h"
#include "vmwp/ic/timesync.h"

#include <string.h>

static const struct hv_guid type = { { 0x30, 0xe6, 0x27, 0x95, 0xae, 0xd0, 0x7b, 0x49, 0xad, 0xce,
                                       0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf } };

enum { SYNC = 1, SAMPLE = 2 };

struct fixture {
    struct ic_world world;
    struct ic_timesync *ts;
    struct vmbus_channel *channel;
};

static int make_with(void **state, bool has_samples)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    ic_world_init(&f.world);
    if (ic_timesync_new(&(struct ic_timesync_config){ .clock = &f.world.clock,
                                                      .server = f.world.bus,
                                                      .has_samples = has_samples },
                        &f.ts) < 0)
        return -1;
    f.channel = fake_bus_find(f.world.bus, &type);
    *state = &f;
    return f.channel ? 0 : -1;
}

static int make(void **state)
{
    return make_with(state, true);
}

static int make_without_samples(void **state)
{
    return make_with(state, false);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    ic_timesync_free(f->ts, false);
    ic_world_fini(&f->world);
    return 0;
}

/* The flags of the next message of version 4, answered; 0: none came. */
static unsigned next_flags(struct fixture *f)
{
    struct ic_guest_message m;

    if (!ic_guest_take(f->channel, &m))
        return 0;
    ic_guest_answer(f->channel, &m, 0);
    return m.body[16];
}

static void the_first_message_sets_the_clock_and_samples_follow(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 4, 0);
    assert_int_equal(next_flags(f), SYNC);
    ic_world_pass(&f->world, 4999);
    assert_int_equal(next_flags(f), 0);
    ic_world_pass(&f->world, 1);
    assert_int_equal(next_flags(f), SAMPLE);
    ic_world_pass(&f->world, 5000);
    assert_int_equal(next_flags(f), SAMPLE);
}

static void version_4_tells_the_counter_at_which_the_time_was_taken(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    f->world.reference = 123456789;
    ic_guest_connect(f->channel, 4, 0);
    assert_true(ic_guest_take(f->channel, &m));
    assert_int_equal(m.body_bytes, 22);
    assert_true(ic_get_u64(m.body) ==
                UINT64_C(116444736000000000) + UINT64_C(1700000000) * 10000000);
    assert_true(ic_get_u64(m.body + 8) == 123456789);
    assert_int_equal(m.body[16], SYNC);
    assert_memory_equal(m.body + 17, "\0\0\0\0\0", 5);
}

static void older_versions_tell_the_time_alone(void **state)
{
    static const uint16_t versions[] = { 1, 3 };
    struct fixture *f = *state;
    struct ic_guest_message m;

    for (size_t i = 0; i < HV_ARRAY_SIZE(versions); i++) {
        ic_guest_connect(f->channel, versions[i], 0);
        assert_true(ic_guest_take(f->channel, &m));
        assert_int_equal(m.body_bytes, 25);
        assert_true(ic_get_u64(m.body) ==
                    UINT64_C(116444736000000000) + UINT64_C(1700000000) * 10000000);
        assert_int_equal(m.body[24], SYNC);
        fake_channel_close(f->channel);
    }
}

static void what_sets_the_clock_is_repeated_until_it_is_answered(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 4, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(ic_guest_take(f->channel, &m));
        assert_int_equal(m.body[16], SYNC);
        ic_world_pass(&f->world, 5000);
    }
    assert_int_equal(next_flags(f), SYNC);
    ic_world_pass(&f->world, 5000);
    assert_int_equal(next_flags(f), SAMPLE);
}

static void after_a_pause_the_clock_is_set_though_an_older_message_is_answered_late(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message old, m;

    ic_guest_connect(f->channel, 4, 0);
    assert_true(ic_guest_take(f->channel, &old));
    ic_clock_stand(&f->world.clock);
    ic_world_pass(&f->world, 60000);
    ic_clock_go(&f->world.clock);
    ic_timesync_now(f->ts);
    ic_guest_answer(f->channel, &old, 0);
    ic_world_pass(&f->world, 1000);
    assert_true(ic_guest_take(f->channel, &m));
    assert_int_equal(m.body[16], SYNC);
    assert_true(ic_get_u64(m.body) - ic_get_u64(old.body) >= 60 * UINT64_C(10000000));
    ic_guest_answer(f->channel, &m, 0);
    ic_world_pass(&f->world, 5000);
    assert_int_equal(next_flags(f), SAMPLE);
}

static void a_driver_that_comes_back_is_set_again(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 4, 0);
    assert_int_equal(next_flags(f), SYNC);
    fake_channel_close(f->channel);
    ic_timesync_now(f->ts);
    ic_world_pass(&f->world, 60000);
    ic_guest_connect(f->channel, 4, 0);
    assert_int_equal(next_flags(f), SYNC);
}

static void without_samples_the_clock_is_set_all_the_same(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 4, 0);
    assert_int_equal(next_flags(f), SYNC);
    ic_world_pass(&f->world, 60000);
    assert_int_equal(next_flags(f), 0);
    ic_timesync_now(f->ts);
    ic_world_pass(&f->world, 1);
    assert_int_equal(next_flags(f), SYNC);
    ic_world_pass(&f->world, 60000);
    assert_int_equal(next_flags(f), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_first_message_sets_the_clock_and_samples_follow),
        CASE(version_4_tells_the_counter_at_which_the_time_was_taken),
        CASE(older_versions_tell_the_time_alone),
        CASE(what_sets_the_clock_is_repeated_until_it_is_answered),
        CASE(after_a_pause_the_clock_is_set_though_an_older_message_is_answered_late),
        CASE(a_driver_that_comes_back_is_set_again),
        cmocka_unit_test_setup_teardown(without_samples_the_clock_is_set_all_the_same,
                                        make_without_samples, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
