/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/vmwp/vmbus/provider.h"

static void test_a_packet_is_answered(void **state)
{
    struct fixture *f = fixture_new_open(4, 4);

    assert_int_equal(f->provider.n_opened, 1);
    fake_vmbus_send(&f->channel, 77, true, "question", 8);
    assert_int_equal(f->provider.last_outcome, VMBUS_E_EMPTY);
    assert_int_equal(f->provider.packet->type, VMBUS_PACKET_INBAND);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    assert_int_equal(f->packet.type, VMBUS_PACKET_COMPLETION);
    assert_int_equal(f->packet.transaction, 77);
    assert_int_equal(f->packet.bytes, 8);
    assert_memory_equal(f->packet.payload, "question", 8);
    assert_int_equal(signals(f), 1);
    fake_vmbus_close(&f->channel);
    assert_int_equal(f->provider.n_closed, 1);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_packet_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
