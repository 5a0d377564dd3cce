/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/ic_world.h"
#include "vmwp/ic/vss.h"

#include <string.h>

static const struct hv_guid type = { { 0x29, 0x2e, 0xfa, 0x35, 0x23, 0xea, 0x36, 0x42, 0x96, 0xae,
                                       0x3a, 0x6e, 0xba, 0xcb, 0xa4, 0x40 } };

enum { CHECK = 2, FREEZE = 5, THAW = 6, FAIL = (int)0x80004005 };

struct fixture {
    struct ic_world world;
    struct ic_vss *vss;
    struct vmbus_channel *channel;
    struct ic_result freeze, thaw;
    enum ic_vss_state seen[16];
    unsigned n_seen;
};

static void changed(void *opaque, enum ic_vss_state state)
{
    struct fixture *f = opaque;

    if (f->n_seen < HV_ARRAY_SIZE(f->seen))
        f->seen[f->n_seen++] = state;
}

static int make(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    ic_world_init(&f.world);
    if (ic_vss_new(
            &(struct ic_vss_config){
                .clock = &f.world.clock, .server = f.world.bus, .changed = changed, .opaque = &f },
            &f.vss) < 0)
        return -1;
    f.channel = fake_bus_find(f.world.bus, &type);
    *state = &f;
    return f.channel ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    ic_vss_free(f->vss, false);
    ic_world_fini(&f->world);
    return 0;
}

static int freeze(struct fixture *f, uint32_t ms)
{
    return ic_vss_freeze(f->vss, ms, ic_result_done, &f->freeze, NULL);
}

static int thaw(struct fixture *f)
{
    return ic_vss_thaw(f->vss, ic_result_done, &f->thaw, NULL);
}

/* The next message must be this one; answer it. */
static void answer(struct fixture *f, uint8_t operation, uint32_t status)
{
    struct ic_guest_message m;

    assert_true(ic_guest_take(f->channel, &m));
    assert_int_equal(m.type, IC_MESSAGE_VSS);
    assert_int_equal(m.version, 0x500);
    assert_true(m.body_bytes >= 12);
    assert_int_equal(m.body[0], operation);
    ic_guest_answer(f->channel, &m, status);
}

static void expect_silence(struct fixture *f)
{
    struct ic_guest_message m;

    assert_false(ic_guest_take(f->channel, &m));
}

static void bring_to_frozen(struct fixture *f, uint32_t ms)
{
    ic_guest_connect(f->channel, 5, 0);
    assert_int_equal(freeze(f, ms), 0);
    answer(f, CHECK, 0);
    answer(f, FREEZE, 0);
    assert_int_equal(f->freeze.n_calls, 1);
    assert_int_equal(f->freeze.r, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_FROZEN);
}

static void without_contact_nothing_is_frozen(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(freeze(f, 100), -ENOTCONN);
    assert_int_equal(ic_vss_check(f->vss, ic_result_done, &f->freeze, NULL), -ENOTCONN);
    assert_int_equal(thaw(f), -EALREADY);
}

static void times_that_are_too_long_are_refused(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 5, 0);
    assert_int_equal(freeze(f, 0), -EINVAL);
    assert_int_equal(freeze(f, 10001), -EINVAL);
    assert_int_equal(freeze(f, UINT32_MAX), -EINVAL);
    expect_silence(f);
}

static void a_guest_without_its_daemon_says_so_and_owes_nothing(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 5, 0);
    assert_int_equal(ic_vss_check(f->vss, ic_result_done, &f->thaw, NULL), 0);
    assert_int_equal(freeze(f, 100), -EBUSY);
    answer(f, CHECK, (uint32_t)FAIL);
    assert_int_equal(f->thaw.r, -EREMOTEIO);
    assert_int_equal(freeze(f, 100), 0);
    answer(f, CHECK, (uint32_t)FAIL);
    assert_int_equal(f->freeze.r, -EREMOTEIO);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
    ic_world_pass(&f->world, 60000);
    expect_silence(f);
}

static void freeze_and_thaw_come_in_order(void **state)
{
    static const enum ic_vss_state states[] = { IC_VSS_FREEZING, IC_VSS_FROZEN, IC_VSS_THAWING,
                                                IC_VSS_IDLE };
    struct fixture *f = *state;

    bring_to_frozen(f, 10000);
    assert_int_equal(freeze(f, 100), -EBUSY);
    ic_world_pass(&f->world, 9999);
    expect_silence(f);
    assert_int_equal(thaw(f), 0);
    assert_int_equal(thaw(f), -EBUSY);
    answer(f, THAW, 0);
    assert_int_equal(f->thaw.n_calls, 1);
    assert_int_equal(f->thaw.r, 0);
    assert_int_equal(f->n_seen, 4);
    assert_memory_equal(f->seen, states, sizeof(states));
    assert_int_equal(thaw(f), -EALREADY);
    ic_world_pass(&f->world, 60000);
    expect_silence(f);
}

static void a_thaw_that_nobody_asks_for_comes_all_the_same(void **state)
{
    struct fixture *f = *state;

    bring_to_frozen(f, 10000);
    ic_world_pass(&f->world, 10000);
    answer(f, THAW, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
    assert_int_equal(thaw(f), 0);
    assert_int_equal(f->thaw.r, -ETIME);
    assert_string_equal(f->thaw.code, "guest.vss.overdue");
    assert_int_equal(thaw(f), -EALREADY);
}

static void who_thaws_while_the_time_is_over_hears_so(void **state)
{
    struct fixture *f = *state;

    bring_to_frozen(f, 500);
    ic_world_pass(&f->world, 500);
    assert_int_equal(thaw(f), 0);
    answer(f, THAW, 0);
    assert_int_equal(f->thaw.r, -ETIME);
    assert_int_equal(f->thaw.n_calls, 1);
}

static void a_thaw_that_fails_is_asked_for_until_it_does_not(void **state)
{
    struct fixture *f = *state;

    bring_to_frozen(f, 10000);
    assert_int_equal(thaw(f), 0);
    answer(f, THAW, (uint32_t)FAIL);
    assert_int_equal(f->thaw.r, -EREMOTEIO);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(ic_vss_state(f->vss), IC_VSS_THAWING);
        ic_world_pass(&f->world, i < 5 ? 2000u << i : 60000);
        answer(f, THAW, (uint32_t)FAIL);
    }
    assert_int_equal(f->thaw.n_calls, 1);
    ic_world_pass(&f->world, 60000);
    answer(f, THAW, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
}

static void a_thaw_that_is_not_answered_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    bring_to_frozen(f, 100);
    ic_world_pass(&f->world, 100);
    assert_true(ic_guest_take(f->channel, &m));
    ic_world_pass(&f->world, 37000);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_THAWING);
    ic_guest_answer(f->channel, &m, (uint32_t)FAIL); /* late */
    answer(f, THAW, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
}

static void a_thaw_that_finds_the_ring_full_goes_when_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    bring_to_frozen(f, 100);
    fake_channel_set_room(f->channel, 0);
    ic_world_pass(&f->world, 120000);
    fake_channel_set_room(f->channel, 8);
    for (unsigned i = 0; i < 60 && !ic_guest_take(f->channel, &m); i++)
        ic_world_pass(&f->world, 1000);
    assert_int_equal(m.body[0], THAW);
    ic_guest_answer(f->channel, &m, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
}

static void a_freeze_that_fails_is_thawed(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 5, 0);
    assert_int_equal(freeze(f, 100), 0);
    answer(f, CHECK, 0);
    answer(f, FREEZE, (uint32_t)FAIL);
    assert_int_equal(f->freeze.r, -EREMOTEIO);
    answer(f, THAW, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
}

static void a_freeze_that_is_not_answered_is_thawed_behind_it(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message late;

    ic_guest_connect(f->channel, 5, 0);
    assert_int_equal(freeze(f, 100), 0);
    answer(f, CHECK, 0);
    assert_true(ic_guest_take(f->channel, &late));
    ic_world_pass(&f->world, 60000);
    assert_int_equal(f->freeze.r, -ETIMEDOUT);
    ic_guest_answer(f->channel, &late, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_THAWING);
    answer(f, THAW, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
}

static void a_thaw_while_it_freezes_takes_the_freeze_back(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 5, 0);
    assert_int_equal(freeze(f, 100), 0);
    answer(f, CHECK, 0);
    assert_int_equal(thaw(f), 0);
    answer(f, FREEZE, 0);
    assert_int_equal(f->freeze.r, -ECANCELED);
    assert_int_equal(f->thaw.n_calls, 0);
    answer(f, THAW, 0);
    assert_int_equal(f->thaw.r, 0);
}

static void a_thaw_before_the_freeze_went_out_is_told_too(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 5, 0);
    assert_int_equal(freeze(f, 100), 0);
    assert_int_equal(thaw(f), 0);
    answer(f, CHECK, 0);
    assert_int_equal(f->freeze.r, -ECANCELED);
    assert_int_equal(f->thaw.n_calls, 1);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
    expect_silence(f);
    assert_int_equal(freeze(f, 100), 0);
}

static void a_pause_does_not_count_as_time_frozen(void **state)
{
    struct fixture *f = *state;

    bring_to_frozen(f, 10000);
    ic_world_pass(&f->world, 5000);
    ic_clock_stand(&f->world.clock);
    ic_world_pass(&f->world, 600000);
    ic_clock_go(&f->world.clock);
    ic_world_pass(&f->world, 4999);
    expect_silence(f);
    ic_world_pass(&f->world, 1);
    answer(f, THAW, 0);
}

static void a_driver_that_comes_back_frozen_is_thawed_first_of_all(void **state)
{
    struct fixture *f = *state;

    bring_to_frozen(f, 10000);
    assert_int_equal(thaw(f), 0);
    fake_channel_close(f->channel);
    assert_int_equal(f->thaw.r, -ECONNRESET);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
    ic_guest_connect(f->channel, 5, 0);
    assert_int_equal(freeze(f, 100), -EBUSY);
    answer(f, THAW, 0);
    assert_int_equal(ic_vss_state(f->vss), IC_VSS_IDLE);
    fake_channel_close(f->channel);
    ic_guest_connect(f->channel, 5, 0);
    expect_silence(f);
}

static void a_guest_that_was_reset_owes_nothing(void **state)
{
    struct fixture *f = *state;

    bring_to_frozen(f, 10000);
    fake_channel_close(f->channel);
    ic_vss_reset(f->vss);
    ic_guest_connect(f->channel, 5, 0);
    expect_silence(f);
    ic_world_pass(&f->world, 60000);
    expect_silence(f);
    assert_int_equal(freeze(f, 100), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_contact_nothing_is_frozen),
        CASE(times_that_are_too_long_are_refused),
        CASE(a_guest_without_its_daemon_says_so_and_owes_nothing),
        CASE(freeze_and_thaw_come_in_order),
        CASE(a_thaw_that_nobody_asks_for_comes_all_the_same),
        CASE(who_thaws_while_the_time_is_over_hears_so),
        CASE(a_thaw_that_fails_is_asked_for_until_it_does_not),
        CASE(a_thaw_that_is_not_answered_is_asked_for_again),
        CASE(a_thaw_that_finds_the_ring_full_goes_when_there_is_room),
        CASE(a_freeze_that_fails_is_thawed),
        CASE(a_freeze_that_is_not_answered_is_thawed_behind_it),
        CASE(a_thaw_while_it_freezes_takes_the_freeze_back),
        CASE(a_thaw_before_the_freeze_went_out_is_told_too),
        CASE(a_pause_does_not_count_as_time_frozen),
        CASE(a_driver_that_comes_back_frozen_is_thawed_first_of_all),
        CASE(a_guest_that_was_reset_owes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
