/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/ic_world.h"
#include "vmwp/ic/shutdown.h"

#include <string.h>

static const struct hv_guid type = { { 0x31, 0x60, 0x0b, 0x0e, 0x13, 0x52, 0x34, 0x49, 0x81, 0x8b,
                                       0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb } };

struct fixture {
    struct ic_world world;
    struct ic_shutdown *sd;
    struct vmbus_channel *channel;
    struct ic_result result;
};

static int make(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    ic_world_init(&f.world);
    if (ic_shutdown_new(
            &(struct ic_shutdown_config){ .clock = &f.world.clock, .server = f.world.bus }, &f.sd) <
        0)
        return -1;
    f.channel = fake_bus_find(f.world.bus, &type);
    *state = &f;
    return f.channel ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    ic_shutdown_free(f->sd, false);
    ic_world_fini(&f->world);
    return 0;
}

static int ask(struct fixture *f, enum ic_power what, bool is_forced, const char *reason,
               struct hv_error **reterr)
{
    struct ic_shutdown_request request = {
        .what = what, .is_forced = is_forced, .timeout_s = 60, .reason = reason
    };

    return ic_shutdown_ask(f->sd, &request, ic_result_done, &f->result, reterr);
}

static void a_guest_without_contact_cannot_be_asked(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

    assert_int_equal(ask(f, IC_POWER_OFF, true, NULL, &error), -ENOTCONN);
    assert_string_equal(error->code, "guest.service.no_contact");
    assert_int_equal(f->result.n_calls, 0);
}

static void a_reason_that_is_no_text_or_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    char text[1025];
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 2);
    memset(text, 'x', sizeof(text) - 1);
    text[1024] = '\0';
    assert_int_equal(ask(f, IC_POWER_OFF, false, text, &error), -EINVAL);
    assert_string_equal(error->field, "reason");
    assert_int_equal(ask(f, IC_POWER_OFF, false, "\xff", NULL), -EINVAL);
    assert_false(ic_guest_take(f->channel, &m));
    text[1023] = '\0';
    assert_int_equal(ask(f, IC_POWER_OFF, false, text, NULL), 0);
}

static void what_is_asked_needs_a_version(void **state)
{
    static const struct {
        uint16_t major, minor;
        int off, restart, hibernate;
    } rows[] = {
        { 1, 0, 0, -EOPNOTSUPP, -EOPNOTSUPP },
        { 3, 0, 0, -EOPNOTSUPP, -EOPNOTSUPP },
        { 3, 1, 0, 0, -EOPNOTSUPP },
        { 3, 2, 0, 0, 0 },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        const int results[] = { rows[i].off, rows[i].restart, rows[i].hibernate };

        for (int what = IC_POWER_OFF; what <= IC_POWER_HIBERNATE; what++) {
            ic_guest_connect(f->channel, rows[i].major, rows[i].minor);
            assert_int_equal(ask(f, (enum ic_power)what, false, NULL, NULL), results[what]);
            fake_channel_close(f->channel);
        }
    }
}

static void the_request_is_whole_and_says_what_was_asked(void **state)
{
    static const uint32_t flags[] = { 0, 2, 4 };
    struct fixture *f = *state;
    struct ic_guest_message m;

    for (int what = IC_POWER_OFF; what <= IC_POWER_HIBERNATE; what++) {
        for (int force = 0; force < 2; force++) {
            ic_guest_connect(f->channel, 3, 2);
            assert_int_equal(ask(f, (enum ic_power)what, force, "h\xc3\xb6", NULL), 0);
            assert_true(ic_guest_take(f->channel, &m));
            assert_int_equal(m.type, IC_MESSAGE_SHUTDOWN);
            assert_int_equal(m.body_bytes, 2060);
            assert_int_equal(m.packet.bytes, (28 + 2060 + 7) & ~7);
            assert_int_equal(ic_get_u32(m.body + 4), 60);
            assert_int_equal(ic_get_u32(m.body + 8), flags[what] | (uint32_t)force);
            assert_memory_equal(m.body + 12, "h\0\xf6\0\0\0", 6);
            fake_channel_close(f->channel);
        }
    }
}

static void the_guests_answer_is_told(void **state)
{
    static const struct {
        uint32_t status;
        int r;
        const char *code;
    } rows[] = {
        { 0x80004005, -EREMOTEIO, "guest.refused" },
        { 0x800704f7, -EPERM, "guest.shutdown.locked" },
        { 0x8007045b, -EBUSY, "guest.shutdown.under_way" },
        { 0x12345678, -EREMOTEIO, "guest.refused" },
        { 0, 0, "" },
    };
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 2);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        assert_int_equal(ask(f, IC_POWER_OFF, false, NULL, NULL), 0);
        assert_int_equal(ask(f, IC_POWER_OFF, true, NULL, NULL), -EBUSY);
        assert_true(ic_guest_take(f->channel, &m));
        ic_guest_answer(f->channel, &m, rows[i].status);
        assert_int_equal(f->result.n_calls, i + 1);
        assert_int_equal(f->result.r, rows[i].r);
        assert_string_equal(f->result.code, rows[i].code);
    }
}

static void silence_and_closing_are_told(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 3, 2);
    assert_int_equal(ask(f, IC_POWER_RESTART, false, NULL, NULL), 0);
    ic_world_pass(&f->world, 30000);
    assert_int_equal(f->result.r, -ETIMEDOUT);
    assert_int_equal(ask(f, IC_POWER_RESTART, false, NULL, NULL), 0);
    fake_channel_close(f->channel);
    assert_int_equal(f->result.r, -ECONNRESET);
    assert_int_equal(f->result.n_calls, 2);
}

static void a_guest_that_accepted_is_asked_again_only_with_force_or_later(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 3, 2);
    assert_int_equal(ask(f, IC_POWER_OFF, false, NULL, NULL), 0);
    assert_true(ic_guest_take(f->channel, &m));
    ic_guest_answer(f->channel, &m, 0);
    assert_int_equal(f->result.r, 0);
    assert_int_equal(ask(f, IC_POWER_OFF, false, NULL, NULL), -EBUSY);
    assert_int_equal(ask(f, IC_POWER_OFF, true, NULL, NULL), 0);
    assert_true(ic_guest_take(f->channel, &m));
    ic_guest_answer(f->channel, &m, 0);
    ic_world_pass(&f->world, 299000);
    assert_int_equal(ask(f, IC_POWER_OFF, false, NULL, NULL), -EBUSY);
    ic_world_pass(&f->world, 1000);
    assert_int_equal(ask(f, IC_POWER_OFF, false, NULL, NULL), 0);
    fake_channel_close(f->channel);
    ic_shutdown_reset(f->sd);
    ic_guest_connect(f->channel, 3, 2);
    assert_int_equal(ask(f, IC_POWER_OFF, false, NULL, NULL), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_guest_without_contact_cannot_be_asked),
        CASE(a_reason_that_is_no_text_or_too_long_is_refused),
        CASE(what_is_asked_needs_a_version),
        CASE(the_request_is_whole_and_says_what_was_asked),
        CASE(the_guests_answer_is_told),
        CASE(silence_and_closing_are_told),
        CASE(a_guest_that_accepted_is_asked_again_only_with_force_or_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
