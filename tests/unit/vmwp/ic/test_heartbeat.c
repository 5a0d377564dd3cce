/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/ic_world.h"
#include "vmwp/ic/heartbeat.h"

#include <string.h>

static const struct hv_guid type = { { 0x39, 0x4f, 0x16, 0x57, 0x15, 0x91, 0x78, 0x4e, 0xab, 0x55,
                                       0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d } };

struct fixture {
    struct ic_world world;
    struct ic_heartbeat *hb;
    struct vmbus_channel *channel;
    unsigned n_changes;
};

static void changed(void *opaque)
{
    ((struct fixture *)opaque)->n_changes++;
}

static int make(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    ic_world_init(&f.world);
    if (ic_heartbeat_new(
            &(struct ic_heartbeat_config){
                .clock = &f.world.clock, .server = f.world.bus, .changed = changed, .opaque = &f },
            &f.hb) < 0)
        return -1;
    f.channel = fake_bus_find(f.world.bus, &type);
    *state = &f;
    return f.channel ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    ic_heartbeat_free(f->hb, false);
    ic_world_fini(&f->world);
    return 0;
}

static struct ic_heartbeat_facts facts_of(const struct fixture *f)
{
    struct ic_heartbeat_facts facts;

    ic_heartbeat_get(f->hb, &facts);
    return facts;
}

/* Answer what came, as Linux does. Returns how many. */
static unsigned answer_all(struct fixture *f, uint32_t applications)
{
    struct ic_guest_message m;
    unsigned n = 0;

    while (ic_guest_take(f->channel, &m)) {
        assert_int_equal(m.type, IC_MESSAGE_HEARTBEAT);
        assert_int_equal(m.body_bytes, 40);
        m.body[0]++;
        ic_set_u32(m.body + 8, applications);
        ic_guest_answer(f->channel, &m, 0);
        n++;
    }
    return n;
}

static void a_guest_that_never_opened_it_has_no_contact(void **state)
{
    struct fixture *f = *state;

    ic_world_pass(&f->world, 60000);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_NONE);
    assert_true(facts_of(f).age_ns == UINT64_MAX);
    assert_int_equal(f->n_changes, 0);
}

static void versions_that_do_not_match_are_told(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 9, 9);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_MISMATCH);
    assert_int_equal(f->n_changes, 1);
}

static void a_guest_that_opens_it_and_is_silent_is_not_lost_but_never_seen(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 0);
    ic_world_pass(&f->world, 120000);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_NONE);
    assert_int_equal(f->n_changes, 0);
}

static void each_beat_comes_two_seconds_after_the_last(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(answer_all(f, 0), 1);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_OK);
    ic_world_pass(&f->world, 1999);
    assert_int_equal(answer_all(f, 0), 0);
    for (unsigned i = 0; i < 100; i++) {
        ic_world_pass(&f->world, i == 0 ? 1 : 2000);
        assert_int_equal(answer_all(f, 0), 1);
    }
    assert_int_equal(facts_of(f).n_beats, 101);
    assert_int_equal(f->n_changes, 1);
    ic_world_pass(&f->world, 700);
    assert_true(facts_of(f).age_ns == 700 * HV_NS_PER_MS);
}

static void ten_missed_beats_lose_the_guest_and_nine_do_not(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 0);
    answer_all(f, 0);
    ic_world_pass(&f->world, 2000 + 9 * 2000 + 1999);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_OK);
    ic_world_pass(&f->world, 1);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_LOST);
    assert_int_equal(f->n_changes, 2);
}

static void a_lost_guest_that_wakes_is_found_by_the_beat_that_waits(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 0);
    answer_all(f, 0);
    ic_world_pass(&f->world, 3600000);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_LOST);
    /* at most the ten, and two a minute */
    assert_in_range(answer_all(f, 0), 10, 135);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_OK);
    ic_world_pass(&f->world, 2000);
    assert_int_equal(answer_all(f, 0), 1);
}

static void a_guest_that_was_slow_to_begin_is_seen(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 0);
    ic_world_pass(&f->world, 60000);
    answer_all(f, 0);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_OK);
    ic_world_pass(&f->world, 2000);
    assert_int_equal(answer_all(f, 0), 1);
}

static void applications_speak_since_version_3(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 0);
    answer_all(f, IC_APPLICATIONS_HEALTHY);
    assert_int_equal(facts_of(f).applications, IC_APPLICATIONS_HEALTHY);
    ic_world_pass(&f->world, 2000);
    answer_all(f, IC_APPLICATIONS_CRITICAL);
    assert_int_equal(facts_of(f).applications, IC_APPLICATIONS_CRITICAL);
    assert_int_equal(f->n_changes, 2);
    ic_world_pass(&f->world, 2000);
    answer_all(f, 0xfffffff0);
    assert_int_equal(facts_of(f).applications, IC_APPLICATIONS_UNKNOWN);
    fake_channel_close(f->channel);
    ic_guest_connect(f->channel, 1, 0);
    answer_all(f, IC_APPLICATIONS_CRITICAL);
    assert_int_equal(facts_of(f).applications, IC_APPLICATIONS_UNKNOWN);
}

static void an_answer_that_is_malformed_counts_as_missed(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 0);
    answer_all(f, 0);
    for (unsigned i = 0; i < 10; i++) {
        ic_world_pass(&f->world, 2000);
        assert_true(ic_guest_take(f->channel, &m));
        m.packet.payload[12] = 9;
        ic_guest_answer(f->channel, &m, 0);
    }
    ic_world_pass(&f->world, 2000);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_LOST);
}

static void a_pause_of_any_length_loses_nobody(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 0);
    answer_all(f, 0);
    ic_clock_stand(&f->world.clock);
    ic_world_pass(&f->world, 60000);
    ic_clock_go(&f->world.clock);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_OK);
    ic_world_pass(&f->world, 2000);
    assert_int_equal(answer_all(f, 0), 1);
}

static void closing_and_reset_forget_the_guest(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 0);
    answer_all(f, 0);
    fake_channel_close(f->channel);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_NONE);
    ic_heartbeat_reset(f->hb);
    assert_int_equal(facts_of(f).n_beats, 0);
    assert_int_equal(f->n_changes, 2);
    ic_world_pass(&f->world, 60000);
    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(answer_all(f, 0), 1);
    assert_int_equal(facts_of(f).contact, IC_CONTACT_OK);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_guest_that_never_opened_it_has_no_contact),
        CASE(versions_that_do_not_match_are_told),
        CASE(a_guest_that_opens_it_and_is_silent_is_not_lost_but_never_seen),
        CASE(each_beat_comes_two_seconds_after_the_last),
        CASE(ten_missed_beats_lose_the_guest_and_nine_do_not),
        CASE(a_lost_guest_that_wakes_is_found_by_the_beat_that_waits),
        CASE(a_guest_that_was_slow_to_begin_is_seen),
        CASE(applications_speak_since_version_3),
        CASE(an_answer_that_is_malformed_counts_as_missed),
        CASE(a_pause_of_any_length_loses_nobody),
        CASE(closing_and_reset_forget_the_guest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
