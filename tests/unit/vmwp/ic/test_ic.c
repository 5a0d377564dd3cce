/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/ic_world.h"

#include <string.h>

static const struct ic_kind kind = {
    .name = "test",
    .type = { { 1 } },
    .instance = { { 2 } },
    .message = IC_MESSAGE_HEARTBEAT,
    .n_versions = 2,
    .versions = { { 3, 0 }, { 1, 0 } },
    .max_body_bytes = 64,
};

struct fixture {
    struct ic_world world;
    struct ic_channel *ic;
    struct vmbus_channel *channel;
    enum ic_state state;
    unsigned n_states, n_replies;
    enum ic_outcome outcome;
    uint32_t status, bytes;
    uint8_t body[64];
};

static void state_changed(void *opaque, enum ic_state state)
{
    struct fixture *f = opaque;

    f->state = state;
    f->n_states++;
}

static void replied(void *opaque, const struct ic_reply *reply)
{
    struct fixture *f = opaque;

    f->n_replies++;
    f->outcome = reply->outcome;
    f->status = reply->status;
    f->bytes = reply->bytes;
    if (reply->outcome == IC_ANSWERED && reply->bytes <= sizeof(f->body))
        memcpy(f->body, reply->body, reply->bytes);
}

static int make(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    ic_world_init(&f.world);
    if (ic_channel_new(&(struct ic_channel_config){ .kind = &kind,
                                                    .clock = &f.world.clock,
                                                    .server = f.world.bus,
                                                    .state_changed = state_changed,
                                                    .opaque = &f },
                       &f.ic) < 0)
        return -1;
    f.channel = fake_bus_find(f.world.bus, &kind.type);
    *state = &f;
    return 0;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    ic_channel_free(f->ic, false);
    assert_int_equal(fake_bus_n_offers(f->world.bus), 0);
    ic_world_fini(&f->world);
    return 0;
}

static int ask(struct fixture *f, uint64_t timeout_ms)
{
    return ic_channel_request(f->ic, "hello", 5, timeout_ms * HV_NS_PER_MS, replied, f);
}

static void an_offer_that_fails_makes_no_channel(void **state)
{
    struct fixture *f = *state;
    struct ic_channel *ic = NULL;
    struct ic_channel_config config = { .kind = &kind,
                                        .clock = &f->world.clock,
                                        .server = f->world.bus };

    assert_int_equal(ic_channel_new(&config, &ic), -EEXIST);
    fake_bus_fail_offer(f->world.bus, 1, -ENOSPC);
    assert_int_equal(ic_channel_new(&config, &ic), -ENOSPC);
    assert_null(ic);
    assert_null(ic_channel_free(NULL, false));
}

static void the_offer_is_a_message_pipe(void **state)
{
    struct fixture *f = *state;
    const struct vmbus_offer *offer = fake_channel_offer(f->channel);

    assert_true(offer->is_pipe);
    assert_int_equal(offer->flags, 0x11);
    assert_false(offer->is_polled_by_vsp);
}

/* The worked example of the reference: 52 bytes, padded to 56, pipe size 44, message size 24. */
static void the_host_speaks_first_and_names_its_versions_best_first(void **state)
{
    static const uint8_t expected[52] = {
        1, 0, 0, 0, 44, 0, 0, 0,                                      /* pipe */
        0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 1, 3, 0, 0, /* header */
        2, 0, 2, 0, 0,  0, 0, 0, 3, 0, 0,  0, 1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0,
    };
    struct fixture *f = *state;
    struct fake_packet packet;

    assert_int_equal(fake_channel_open(f->channel), 0);
    assert_int_equal(f->state, IC_NEGOTIATING);
    assert_true(fake_channel_take(f->channel, &packet));
    assert_int_equal(packet.type, VMBUS_PACKET_INBAND);
    assert_false(packet.wants_completion);
    assert_int_equal(packet.bytes, 56);
    assert_memory_equal(packet.payload, expected, sizeof(expected));
    assert_false(fake_channel_take(f->channel, &packet));
}

static void nothing_is_asked_before_the_versions_are_agreed(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

    assert_int_equal(ask(f, 100), -ENOTCONN);
    assert_int_equal(ic_channel_need(f->ic, "do it", &error), -ENOTCONN);
    assert_string_equal(error->message,
                        "Cannot do it: no driver of the guest's has opened the test service.");
    fake_channel_open(f->channel);
    assert_int_equal(ask(f, 100), -ENOTCONN);
    assert_int_equal(ic_channel_need(f->ic, "do it", NULL), -ENOTCONN);
    ic_world_pass(&f->world, 3600000);
    assert_int_equal(f->state, IC_NEGOTIATING);
}

static void choose(struct fixture *f, const uint16_t counts_and_versions[static 6])
{
    struct ic_guest_message m;

    fake_channel_open(f->channel);
    assert_true(ic_guest_take(f->channel, &m));
    ic_set_u16(m.body, counts_and_versions[0]);
    ic_set_u16(m.body + 2, counts_and_versions[1]);
    for (unsigned i = 0; i < 4; i++)
        ic_set_u16(m.body + 8 + 2 * i, counts_and_versions[2 + i]);
    ic_guest_answer(f->channel, &m, 0);
}

static void a_choice_that_was_not_offered_is_a_mismatch(void **state)
{
    static const uint16_t choices[][6] = {
        { 0, 0, 3, 0, 3, 0 }, { 1, 0, 3, 0, 3, 0 },           { 2, 1, 3, 0, 3, 0 },
        { 1, 1, 2, 0, 3, 0 }, { 1, 1, 3, 0, 0xffff, 0xffff }, { 1, 1, 3, 0, 3, 1 },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < HV_ARRAY_SIZE(choices); i++) {
        choose(f, choices[i]);
        assert_int_equal(f->state, IC_MISMATCH);
        assert_int_equal(ask(f, 100), -ENOTCONN);
        assert_int_equal(ic_channel_version(f->ic).major, 0);
        assert_int_equal(ic_channel_need(f->ic, "do it", NULL), -ENOTCONN);
        fake_channel_close(f->channel);
        assert_int_equal(f->state, IC_CLOSED);
    }
}

static void the_guests_choice_stands_in_each_request(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    choose(f, (const uint16_t[]){ 1, 1, 1, 0, 1, 0 });
    assert_int_equal(f->state, IC_READY);
    assert_true(ic_channel_has_version(f->ic, 1, 0));
    assert_false(ic_channel_has_version(f->ic, 3, 0));
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &m));
    assert_int_equal(m.pipe_flags, 1);
    assert_int_equal(m.pipe_bytes, 25);
    assert_int_equal(m.framework, 0x100);
    assert_int_equal(m.version, 0x100);
    assert_int_equal(m.type, IC_MESSAGE_HEARTBEAT);
    assert_int_equal(m.body_bytes, 5);
    assert_int_equal(m.flags, 3);
    assert_int_not_equal(m.transaction, 0);
    assert_memory_equal(m.body, "hello", 5);
}

static void one_request_at_a_time_and_none_that_is_too_long(void **state)
{
    struct fixture *f = *state;
    uint8_t long_body[65] = { 0 };

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ic_channel_request(f->ic, long_body, 65, 1, replied, f), -EMSGSIZE);
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_channel_is_busy(f->ic));
    assert_int_equal(ask(f, 100), -EBUSY);
}

static void an_answer_comes_back_with_status_and_body(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 0);
    for (unsigned i = 1; i <= 600; i++) {
        assert_int_equal(ask(f, 100), 0);
        assert_true(ic_guest_take(f->channel, &m));
        m.body[0] = 'j';
        ic_guest_answer(f->channel, &m, i);
        assert_int_equal(f->n_replies, i);
        assert_int_equal(f->outcome, IC_ANSWERED);
        assert_int_equal(f->status, i);
        assert_int_equal(f->bytes, 5);
        assert_memory_equal(f->body, "jello", 5);
        assert_false(ic_channel_is_busy(f->ic));
    }
}

static void a_late_answer_is_dropped_and_does_no_harm_to_the_next(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message late, m;

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &late));
    ic_world_pass(&f->world, 99);
    assert_int_equal(f->n_replies, 0);
    ic_world_pass(&f->world, 1);
    assert_int_equal(f->n_replies, 1);
    assert_int_equal(f->outcome, IC_E_TIMEOUT);
    assert_int_equal(ask(f, 100), 0);
    ic_guest_answer(f->channel, &late, 0);
    assert_int_equal(f->n_replies, 1);
    assert_true(ic_guest_take(f->channel, &m));
    ic_guest_answer(f->channel, &m, 0);
    assert_int_equal(f->n_replies, 2);
    assert_int_equal(f->outcome, IC_ANSWERED);
    ic_guest_answer(f->channel, &m, 0);
    ic_guest_answer(f->channel, &late, 0);
    assert_int_equal(f->n_replies, 2);
}

static void a_request_behind_one_that_was_given_up_waits_for_its_late_answer(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message late, m;

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &late));
    ic_world_pass(&f->world, 100);
    assert_int_equal(ask(f, 1000), 0);
    assert_false(ic_guest_take(f->channel, &m));
    ic_guest_answer(f->channel, &late, 0);
    assert_true(ic_guest_take(f->channel, &m));
    ic_guest_answer(f->channel, &m, 0);
    assert_int_equal(f->outcome, IC_ANSWERED);
}

static void a_late_answer_that_never_comes_holds_nothing_back_for_ever(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message lost, m;

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &lost));
    ic_world_pass(&f->world, 100);
    assert_int_equal(ask(f, 100), 0);
    ic_world_pass(&f->world, 100); /* given up unsent: nothing more to wait for */
    assert_int_equal(f->n_replies, 2);
    assert_int_equal(ask(f, 100000), 0);
    ic_world_pass(&f->world, 59000);
    assert_false(ic_guest_take(f->channel, &m));
    ic_world_pass(&f->world, 1000);
    assert_true(ic_guest_take(f->channel, &m));
    ic_guest_answer(f->channel, &lost, 0);
    ic_guest_answer(f->channel, &m, 0);
    assert_int_equal(f->n_replies, 3);
    assert_int_equal(f->outcome, IC_ANSWERED);
}

static void a_driver_that_comes_back_is_not_held_to_what_it_left_unanswered(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ask(f, 100), 0);
    ic_world_pass(&f->world, 100);
    fake_channel_close(f->channel);
    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &m));
}

static void a_malformed_answer_is_told_as_such(void **state)
{
    static const struct {
        unsigned at;
        uint8_t byte;
    } rows[] = {
        { 4, 19 },   /* pipe size: shorter than a header */
        { 4, 200 },  /* beyond the packet */
        { 7, 0xff }, /* far beyond it */
        { 12, 3 },   /* type */
        { 18, 6 },   /* message longer than the pipe says */
        { 24, 0 },   /* transaction */
    };
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 0);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        assert_int_equal(ask(f, 100), 0);
        assert_true(ic_guest_take(f->channel, &m));
        m.packet.payload[rows[i].at] = rows[i].byte;
        ic_guest_answer(f->channel, &m, 0);
        assert_int_equal(f->n_replies, i + 1);
        assert_int_equal(f->outcome, IC_E_MALFORMED);
    }
}

static void a_packet_that_is_no_answer_is_malformed_too(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &m)); /* flags still say: request */
    fake_channel_put(f->channel, VMBUS_PACKET_INBAND, m.packet.transaction, m.packet.payload,
                     m.packet.bytes);
    fake_channel_signal(f->channel);
    assert_int_equal(f->outcome, IC_E_MALFORMED);
    for (size_t bytes = 0; bytes < 28; bytes++) {
        assert_int_equal(ask(f, 100), 0);
        assert_true(ic_guest_take(f->channel, &m));
        fake_channel_put(f->channel, VMBUS_PACKET_INBAND, m.packet.transaction, m.packet.payload,
                         bytes & ~7u);
        fake_channel_signal(f->channel);
        assert_int_equal(f->n_replies, bytes + 2);
        assert_int_equal(f->outcome, IC_E_MALFORMED);
    }
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &m));
    m.packet.type = VMBUS_PACKET_COMPLETION;
    ic_guest_answer(f->channel, &m, 0);
    assert_int_equal(f->outcome, IC_E_MALFORMED);
}

static void a_flood_is_taken_in_turns(void **state)
{
    struct fixture *f = *state;
    static const uint8_t noise[64];
    struct vmbus_packet *packet = vmbus_packet_new();

    ic_guest_connect(f->channel, 3, 0);
    for (unsigned i = 0; i < 1000; i++)
        fake_channel_put(f->channel, VMBUS_PACKET_INBAND, i, noise, sizeof(noise));
    fake_channel_signal(f->channel);
    assert_true(f->world.alarm_ns <= f->world.now_ns);
    assert_int_equal(vmbus_channel_receive(f->channel, packet), 0);
    ic_world_pass(&f->world, 1);
    assert_int_equal(vmbus_channel_receive(f->channel, packet), VMBUS_E_EMPTY);
    assert_int_equal(f->n_replies, 0);
    assert_int_equal(f->state, IC_READY);
    vmbus_packet_free(packet);
}

static void what_finds_the_ring_full_is_sent_when_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 0);
    fake_channel_set_room(f->channel, 0);
    assert_int_equal(ask(f, 100), 0);
    assert_false(ic_guest_take(f->channel, &m));
    fake_channel_set_room(f->channel, 1);
    assert_true(ic_guest_take(f->channel, &m));
    ic_guest_answer(f->channel, &m, 0);
    assert_int_equal(f->outcome, IC_ANSWERED);
    fake_channel_set_room(f->channel, 0);
    assert_int_equal(ask(f, 100), 0);
    ic_world_pass(&f->world, 100);
    assert_int_equal(f->outcome, IC_E_TIMEOUT);
    fake_channel_set_room(f->channel, 1);
    assert_false(ic_guest_take(f->channel, &m));
}

static void closing_ends_what_waits_and_opening_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ask(f, 100), 0);
    fake_channel_close(f->channel);
    assert_int_equal(f->n_replies, 1);
    assert_int_equal(f->outcome, IC_E_CLOSED);
    assert_int_equal(ic_channel_state(f->ic), IC_CLOSED);
    assert_int_equal(ask(f, 100), -ENOTCONN);
    ic_world_pass(&f->world, 1000);
    assert_int_equal(f->n_replies, 1);
    ic_guest_connect(f->channel, 1, 0);
    assert_int_equal(ic_channel_state(f->ic), IC_READY);
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &m));
    assert_int_equal(m.version, 0x100);
}

static void nothing_is_touched_while_the_vm_is_paused(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 0);
    assert_int_equal(ask(f, 100), 0);
    assert_true(ic_guest_take(f->channel, &m));
    ic_clock_stand(&f->world.clock);
    ic_guest_answer(f->channel, &m, 0);
    ic_world_pass(&f->world, 60000);
    assert_int_equal(f->n_replies, 0);
    ic_clock_go(&f->world.clock);
    ic_channel_go(f->ic);
    assert_int_equal(f->outcome, IC_ANSWERED);
    ic_clock_stand(&f->world.clock);
    assert_int_equal(ask(f, 100), 0);
    assert_false(ic_guest_take(f->channel, &m));
    ic_clock_go(&f->world.clock);
    ic_channel_go(f->ic);
    assert_true(ic_guest_take(f->channel, &m));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_offer_that_fails_makes_no_channel),
        CASE(the_offer_is_a_message_pipe),
        CASE(the_host_speaks_first_and_names_its_versions_best_first),
        CASE(nothing_is_asked_before_the_versions_are_agreed),
        CASE(a_choice_that_was_not_offered_is_a_mismatch),
        CASE(the_guests_choice_stands_in_each_request),
        CASE(one_request_at_a_time_and_none_that_is_too_long),
        CASE(an_answer_comes_back_with_status_and_body),
        CASE(a_late_answer_is_dropped_and_does_no_harm_to_the_next),
        CASE(a_request_behind_one_that_was_given_up_waits_for_its_late_answer),
        CASE(a_late_answer_that_never_comes_holds_nothing_back_for_ever),
        CASE(a_driver_that_comes_back_is_not_held_to_what_it_left_unanswered),
        CASE(a_malformed_answer_is_told_as_such),
        CASE(a_packet_that_is_no_answer_is_malformed_too),
        CASE(a_flood_is_taken_in_turns),
        CASE(what_finds_the_ring_full_is_sent_when_there_is_room),
        CASE(closing_ends_what_waits_and_opening_begins_anew),
        CASE(nothing_is_touched_while_the_vm_is_paused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
