/* SPDX-License-Identifier: Apache-2.0 */
/* The negotiation, as Linux 6.1 storvsc_channel_init holds it. */
#include "tests/lib/cmocka.h"

#include "vmwp/vsp/storvsp/data_priv.h"
#include "vmwp/vsp/storvsp/protocol_priv.h"

#include <string.h>

static enum storvsp_verdict say(struct storvsp_protocol *protocol, uint32_t operation,
                                uint16_t argument, struct storvsp_wire_packet *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->operation = operation;
    ret->version = argument;
    return storvsp_protocol_step(protocol, ret);
}

static void assert_said(struct storvsp_protocol *protocol, uint32_t operation, uint16_t argument,
                        enum storvsp_status status)
{
    struct storvsp_wire_packet packet;

    say(protocol, operation, argument, &packet);
    assert_int_equal(packet.operation, STORVSP_COMPLETE_IO);
    assert_int_equal(packet.status, status);
}

static void negotiate(struct storvsp_protocol *protocol, uint16_t max_sub_channels)
{
    storvsp_protocol_start(protocol, max_sub_channels);
    assert_said(protocol, STORVSP_BEGIN_INITIALIZATION, 0, STORVSP_OK);
    assert_said(protocol, STORVSP_QUERY_PROTOCOL_VERSION, STORVSP_VERSION_WIN10, STORVSP_OK);
    assert_said(protocol, STORVSP_QUERY_PROPERTIES, 0, STORVSP_OK);
    assert_false(storvsp_protocol_is_ready(protocol));
    assert_said(protocol, STORVSP_END_INITIALIZATION, 0, STORVSP_OK);
    assert_true(storvsp_protocol_is_ready(protocol));
}

static void messages_out_of_turn_are_answered_with_an_error(void **state)
{
    static const uint32_t order[] = { STORVSP_BEGIN_INITIALIZATION, STORVSP_QUERY_PROTOCOL_VERSION,
                                      STORVSP_QUERY_PROPERTIES, STORVSP_END_INITIALIZATION };
    struct storvsp_protocol protocol;

    storvsp_protocol_start(&protocol, 3);
    for (unsigned at = 0; at < 4; at++) {
        for (unsigned i = 0; i < 4; i++)
            if (i != at)
                assert_said(&protocol, order[i], STORVSP_VERSION_WIN10,
                            STORVSP_INVALID_DEVICE_STATE);
        assert_said(&protocol, STORVSP_CREATE_SUB_CHANNELS, 1, STORVSP_INVALID_DEVICE_STATE);
        assert_said(&protocol, STORVSP_RESET_BUS, 0, STORVSP_INVALID_DEVICE_STATE);
        assert_said(&protocol, order[at], STORVSP_VERSION_WIN10, STORVSP_OK);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_said(&protocol, order[i], STORVSP_VERSION_WIN10, STORVSP_INVALID_DEVICE_STATE);
}

static void unknown_operations_are_not_supported(void **state)
{
    struct storvsp_protocol protocol;
    static const uint32_t unknown[] = { 0, 1, 2, 11, 12, 14, 0xffffffff };

    negotiate(&protocol, 0);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(unknown); i++)
        assert_said(&protocol, unknown[i], 0, STORVSP_NOT_SUPPORTED);
}

static void io_before_the_end_of_negotiation_is_an_invalid_request(void **state)
{
    struct storvsp_protocol protocol;
    struct storvsp_wire_packet packet;

    storvsp_protocol_start(&protocol, 0);
    assert_int_equal(say(&protocol, STORVSP_EXECUTE_SRB, 52, &packet), STORVSP_REPLY);
    assert_int_equal(packet.srb.srb_status, STORVSP_SRB_INVALID_REQUEST);
    negotiate(&protocol, 0);
    assert_int_equal(say(&protocol, STORVSP_EXECUTE_SRB, 52, &packet), STORVSP_RUN);
    assert_int_equal(packet.operation, STORVSP_EXECUTE_SRB);
}

static void versions_are_tried_until_one_is_known(void **state)
{
    struct storvsp_protocol protocol;

    storvsp_protocol_start(&protocol, 0);
    assert_said(&protocol, STORVSP_BEGIN_INITIALIZATION, 0, STORVSP_OK);
    assert_said(&protocol, STORVSP_QUERY_PROTOCOL_VERSION, 0x0700, STORVSP_REVISION_MISMATCH);
    assert_said(&protocol, STORVSP_QUERY_PROTOCOL_VERSION, 0x0402, STORVSP_REVISION_MISMATCH);
    assert_said(&protocol, STORVSP_QUERY_PROTOCOL_VERSION, STORVSP_VERSION_WIN8, STORVSP_OK);
    assert_int_equal(protocol.version, STORVSP_VERSION_WIN8);
}

static void properties_tell_of_transfers_and_channels(void **state)
{
    struct storvsp_protocol protocol = { .phase = STORVSP_PHASE_VERSION };
    struct storvsp_wire_packet packet;

    say(&protocol, STORVSP_QUERY_PROPERTIES, 0xffff, &packet);
    assert_int_equal(packet.properties.max_transfer_bytes, STORVSP_MAX_TRANSFER_BYTES);
    assert_int_equal(packet.properties.max_channels, 0);
    assert_int_equal(packet.properties.flags, 0);
    assert_int_equal(packet.properties.reserved, 0);
    protocol = (struct storvsp_protocol){ STORVSP_PHASE_VERSION, STORVSP_VERSION_WIN10, 7 };
    say(&protocol, STORVSP_QUERY_PROPERTIES, 0, &packet);
    assert_int_equal(packet.properties.max_channels, 7);
    assert_int_equal(packet.properties.flags, STORVSP_PROPERTY_MULTI_CHANNEL);
}

static void sub_channels_come_once_and_not_beyond_the_limit(void **state)
{
    struct storvsp_protocol protocol;
    struct storvsp_wire_packet packet;

    negotiate(&protocol, 3);
    assert_said(&protocol, STORVSP_CREATE_SUB_CHANNELS, 0, STORVSP_INVALID_PARAMETER);
    assert_said(&protocol, STORVSP_CREATE_SUB_CHANNELS, 4, STORVSP_INVALID_PARAMETER);
    assert_int_equal(say(&protocol, STORVSP_CREATE_SUB_CHANNELS, 3, &packet), STORVSP_SUB_CHANNELS);
    assert_said(&protocol, STORVSP_CREATE_SUB_CHANNELS, 1, STORVSP_INVALID_DEVICE_STATE);
    assert_int_equal(say(&protocol, STORVSP_EXECUTE_SRB, 52, &packet), STORVSP_RUN);
    assert_int_equal(say(&protocol, STORVSP_RESET_BUS, 0, &packet), STORVSP_RESET);
    negotiate(&protocol, 0);
    assert_said(&protocol, STORVSP_CREATE_SUB_CHANNELS, 1, STORVSP_INVALID_PARAMETER);
}

static void sub_channels_negotiate_nothing(void **state)
{
    for (uint32_t operation = 0; operation < 16; operation++) {
        struct storvsp_wire_packet packet = { .operation = operation };
        enum storvsp_verdict verdict = storvsp_protocol_step_sub(&packet);

        if (operation == STORVSP_EXECUTE_SRB) {
            assert_int_equal(verdict, STORVSP_RUN);
        } else if (operation >= STORVSP_RESET_LUN && operation <= STORVSP_RESET_BUS) {
            assert_int_equal(verdict, STORVSP_RESET);
        } else {
            assert_int_equal(verdict, STORVSP_REPLY);
            assert_int_equal(packet.status, STORVSP_INVALID_DEVICE_REQUEST);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_out_of_turn_are_answered_with_an_error),
        cmocka_unit_test(unknown_operations_are_not_supported),
        cmocka_unit_test(io_before_the_end_of_negotiation_is_an_invalid_request),
        cmocka_unit_test(versions_are_tried_until_one_is_known),
        cmocka_unit_test(properties_tell_of_transfers_and_channels),
        cmocka_unit_test(sub_channels_come_once_and_not_beyond_the_limit),
        cmocka_unit_test(sub_channels_negotiate_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
