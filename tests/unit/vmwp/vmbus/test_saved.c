/* SPDX-License-Identifier: Apache-2.0 */
/* The bus in a saved VM: what vmbus_server_save and vmbus_server_restore promise. */
#include "tests/unit/vmwp/vmbus/provider.h"

/* The host ends and another one begins, over the same memory, with this device and an earlier one.
 */
static void begin_anew(struct fixture *f, struct provider *other)
{
    struct vmbus_offer offers[] = { provider_offer(other, 9), provider_offer(&f->provider, 1) };
    struct vmbus_channel *channel;

    fake_vmbus_replace_server(&f->guest);
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offers[0], &channel), 0);
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offers[1], &f->host), 0);
}

static struct hv_fields save(struct fixture *f)
{
    struct hv_fields fields = hv_fields_writer();

    vmbus_server_save(f->guest.server, &fields);
    assert_true(hv_fields_ok(&fields));
    return fields;
}

static int restore(struct fixture *f, const uint8_t *bytes, size_t length)
{
    struct hv_fields in = hv_fields_reader(bytes, length);

    return vmbus_server_restore(f->guest.server, &in);
}

static void a_channel_goes_on_with_what_lies_in_its_rings(void **state)
{
    struct fixture *f = fixture_new_open(4, 4);
    struct provider other = { .guest = &f->guest };
    uint32_t relid = f->channel.relid;
    struct hv_fields saved;

    f->provider.is_deaf = true;
    for (unsigned i = 0; i < 3; i++)
        fake_vmbus_send(&f->channel, i, true, "question", 8);
    saved = save(f);
    begin_anew(f, &other);
    assert_int_not_equal(vmbus_channel_relid(f->host), relid);
    assert_int_equal(restore(f, saved.bytes, saved.length), 0);
    assert_int_equal(f->provider.n_restored, 1);
    assert_int_equal(vmbus_channel_relid(f->host), relid);
    assert_true(vmbus_channel_is_open(f->host));
    f->provider.is_deaf = false;
    fake_vmbus_signal(&f->channel);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(fake_vmbus_read(&f->channel, &f->packet));
        assert_int_equal(f->packet.transaction, i);
    }
    assert_int_equal(other.n_restored, 0);
    hv_fields_fini(&saved);
    fake_vmbus_close(&f->channel);
    assert_int_equal(f->provider.n_closed, 2); /* the first time when its host ended */
    fixture_free(f);
}

static void a_device_that_came_since_is_offered(void **state)
{
    struct fixture *f = fixture_new_open(4, 4);
    struct provider other = { .guest = &f->guest };
    struct hv_fields saved = save(f);

    begin_anew(f, &other);
    assert_int_equal(restore(f, saved.bytes, saved.length), 0);
    vmbus_server_announce(f->guest.server);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 1);
    hv_fields_fini(&saved);
    fixture_free(f);
}

static void messages_that_waited_are_told(void **state)
{
    struct fixture *f = fixture_new_open(4, 4);
    struct provider other = { .guest = &f->guest };
    struct hv_fields saved;

    f->guest.is_busy = true;
    vmbus_revoke_channel(f->host);
    saved = save(f);
    begin_anew(f, &other);
    assert_int_equal(restore(f, saved.bytes, saved.length), 0);
    assert_int_equal(f->provider.n_restored, 0);
    f->guest.is_busy = false;
    vmbus_server_retry(f->guest.server);
    assert_int_equal(fake_vmbus_next_type(&f->guest), VMBUS_WIRE_RESCIND);
    hv_fields_fini(&saved);
    fixture_free(f);
}

static void a_provider_that_does_not_know_it_closes_it(void **state)
{
    struct fixture *f = fixture_new_open(4, 4);
    struct provider other = { .guest = &f->guest };
    struct hv_fields saved = save(f);

    begin_anew(f, &other);
    f->provider.open_error = -EINVAL;
    assert_int_equal(restore(f, saved.bytes, saved.length), 0);
    fake_vmbus_turn(&f->guest);
    assert_false(vmbus_channel_is_open(f->host));
    hv_fields_fini(&saved);
    fixture_free(f);
}

static void a_state_that_ends_early_is_refused(void **state)
{
    struct fixture *f = fixture_new_open(4, 4);
    struct provider other = { .guest = &f->guest };
    struct hv_fields saved = save(f);

    for (size_t length = 0; length < saved.length; length++) {
        begin_anew(f, &other);
        assert_true(restore(f, saved.bytes, length) < 0);
    }
    hv_fields_fini(&saved);
    fixture_free(f);
}

static void a_hostile_state_costs_nothing_but_the_start(void **state)
{
    struct fixture *f = fixture_new_open(4, 4);
    struct provider other = { .guest = &f->guest };
    struct hv_fields saved = save(f);

    for (size_t i = 0; i < saved.length * 8; i++) {
        saved.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        begin_anew(f, &other);
        if (restore(f, saved.bytes, saved.length) == 0)
            fake_vmbus_turn(&f->guest);
        fake_vmbus_ignore_messages(&f->guest);
        saved.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    hv_fields_fini(&saved);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_channel_goes_on_with_what_lies_in_its_rings),
        cmocka_unit_test(a_device_that_came_since_is_offered),
        cmocka_unit_test(messages_that_waited_are_told),
        cmocka_unit_test(a_provider_that_does_not_know_it_closes_it),
        cmocka_unit_test(a_state_that_ends_early_is_refused),
        cmocka_unit_test(a_hostile_state_costs_nothing_but_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
