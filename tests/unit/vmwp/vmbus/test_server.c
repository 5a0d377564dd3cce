/* SPDX-License-Identifier: Apache-2.0 */
/* Contact, offers, unload and what is no message: sections 6.1 to 6.4 of the guest interface. */
#include "tests/unit/vmwp/vmbus/provider.h"

static const uint32_t versions[] = { VMBUS_WIRE_VERSION_5_3, VMBUS_WIRE_VERSION_5_2,
                                     VMBUS_WIRE_VERSION_5_1, VMBUS_WIRE_VERSION_5_0,
                                     VMBUS_WIRE_VERSION_4_1, VMBUS_WIRE_VERSION_4_0,
                                     VMBUS_WIRE_VERSION_3_0, VMBUS_WIRE_VERSION_2_4 };

static void every_message_is_dropped_without_contact(void **state)
{
    struct fixture *f = fixture_new();
    uint8_t message[VMBUS_WIRE_MAX_MESSAGE] = { 0 };

    for (unsigned type = 0; type < 40; type++) {
        if (type == VMBUS_WIRE_INITIATE_CONTACT)
            continue;
        message[0] = (uint8_t)type;
        fake_vmbus_post(&f->guest, message, sizeof(message));
        assert_int_equal(f->guest.n_messages, 0);
    }
    assert_true(f->guest.n_logged > 0);
    fixture_free(f);
}

static void messages_of_wrong_length_are_dropped(void **state)
{
    struct fixture *f = fixture_new_connected();
    uint8_t message[VMBUS_WIRE_MAX_MESSAGE + 1] = { 0 };

    for (unsigned type = 0; type < 40; type++) {
        message[0] = (uint8_t)type;
        for (size_t bytes = 0; bytes < 8; bytes++)
            fake_vmbus_post(&f->guest, message, bytes);
        fake_vmbus_post(&f->guest, message, sizeof(message));
        if (type != VMBUS_WIRE_REQUEST_OFFERS && type != VMBUS_WIRE_UNLOAD)
            fake_vmbus_post(&f->guest, message, 8); /* the header alone */
        if (type == VMBUS_WIRE_INITIATE_CONTACT)
            fake_vmbus_post(&f->guest, message, sizeof(struct vmbus_wire_contact) - 1);
    }
    assert_int_equal(f->guest.n_messages, 0);
    fixture_free(f);
}

static void what_a_guest_does_wrong_is_logged_ten_times(void **state)
{
    struct fixture *f = fixture_new_connected();

    for (unsigned i = 0; i < 1000; i++)
        fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_CLOSE, 1000 + i);
    assert_int_equal(f->guest.n_logged, 10);
    fixture_free(f);
}

static void unknown_versions_are_refused_with_an_answer(void **state)
{
    static const uint32_t wrong[] = { 0,          13,         0x00010001, 0x00020003, 0x00020005,
                                      0x00030001, 0x00040002, 0x00050004, 0x00060000, UINT32_MAX };
    struct fixture *f = fixture_new();

    for (unsigned i = 0; i < HV_ARRAY_SIZE(wrong); i++) {
        assert_false(fake_vmbus_try_connect(&f->guest, wrong[i]));
        fake_vmbus_post_bare(&f->guest, VMBUS_WIRE_REQUEST_OFFERS);
        assert_int_equal(f->guest.n_messages, 0);
    }
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fixture_free(f);
}

static void every_version_of_linux_carries_a_packet(void **state)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(versions); i++) {
        struct fixture *f = fixture_new();

        fake_vmbus_connect(&f->guest, versions[i]);
        fake_vmbus_request_offers(&f->guest);
        fake_vmbus_open(&f->guest, f->guest.offers[0].relid, 2, 2, &f->channel);
        fake_vmbus_send(&f->channel, i, true, "version!", 8);
        assert_true(fake_vmbus_read(&f->channel, &f->packet));
        assert_int_equal(f->packet.transaction, i);
        fake_vmbus_close(&f->channel);
        fixture_free(f);
    }
}

static void since_5_0_messages_go_to_sint_2_or_the_version_is_refused(void **state)
{
    struct fixture *f = fixture_new();
    struct vmbus_wire_contact contact = { .header.type = VMBUS_WIRE_INITIATE_CONTACT,
                                          .version = VMBUS_WIRE_VERSION_5_0,
                                          .interrupt_page = 3 };
    struct vmbus_wire_version_response response;

    fake_vmbus_post(&f->guest, &contact, sizeof(contact));
    fake_vmbus_take(&f->guest, VMBUS_WIRE_VERSION_RESPONSE, &response, sizeof(response));
    assert_int_equal(response.is_supported, 0);
    contact.version = VMBUS_WIRE_VERSION_4_1; /* there it is an address */
    contact.interrupt_page = 0x3000;
    fake_vmbus_post(&f->guest, &contact, sizeof(contact));
    fake_vmbus_take(&f->guest, VMBUS_WIRE_VERSION_RESPONSE, &response, sizeof(response));
    assert_int_equal(response.is_supported, 1);
    fixture_free(f);
}

static void messages_go_to_the_vp_of_the_contact(void **state)
{
    struct fixture *f = fixture_new();
    struct vmbus_wire_contact contact = { .header.type = VMBUS_WIRE_INITIATE_CONTACT,
                                          .version = VMBUS_WIRE_VERSION_5_3,
                                          .interrupt_page = VMBUS_SINT };

    contact.target_vp = 4; /* there are four */
    fake_vmbus_post(&f->guest, &contact, sizeof(contact));
    contact.target_vp = UINT32_MAX;
    fake_vmbus_post(&f->guest, &contact, sizeof(contact));
    assert_int_equal(f->guest.n_messages, 0);
    contact.target_vp = 3;
    fake_vmbus_post(&f->guest, &contact, sizeof(contact));
    assert_int_equal(f->guest.n_messages, 1);
    assert_int_equal(f->guest.last_message_vp, 3);
    fixture_free(f);
}

static void offers_come_only_when_asked_for_and_once(void **state)
{
    struct fixture *f = fixture_new();

    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    assert_int_equal(f->guest.n_messages, 0);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 1);
    fake_vmbus_post_bare(&f->guest, VMBUS_WIRE_REQUEST_OFFERS);
    assert_int_equal(f->guest.n_messages, 0);
    fixture_free(f);
}

static void unload_closes_all_and_is_answered(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct vmbus_wire_header response;

    fake_vmbus_post_bare(&f->guest, VMBUS_WIRE_UNLOAD);
    assert_int_equal(f->provider.n_closed, 1);
    fake_vmbus_take(&f->guest, VMBUS_WIRE_UNLOAD_RESPONSE, &response, sizeof(response));
    assert_int_equal(f->guest.n_messages, 0);
    fake_vmbus_post_bare(&f->guest, VMBUS_WIRE_REQUEST_OFFERS); /* there is no connection */
    assert_int_equal(f->guest.n_messages, 0);

    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_4_1);
    fake_vmbus_request_offers(&f->guest);
    fake_vmbus_open(&f->guest, f->guest.offers[0].relid, 2, 2, &f->channel);
    assert_int_equal(f->provider.n_opened, 2);
    fixture_free(f);
}

static void contact_without_unload_forgets_all(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    uint32_t gpadl = f->channel.gpadl;
    hv_gpa_t page = fake_vmbus_alloc(&f->guest, 1);

    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3); /* kexec */
    assert_int_equal(f->provider.n_closed, 1);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 1);
    /* The old kernel's GPADL numbers are free again. */
    assert_int_equal(fake_vmbus_try_gpadl(&f->guest, f->guest.offers[0].relid, gpadl, &page, 1), 0);
    fake_vmbus_open(&f->guest, f->guest.offers[0].relid, 2, 2, &f->channel);
    fixture_free(f);
}

static void reset_forgets_the_guest_but_not_the_offers(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    vmbus_server_reset(f->guest.server);
    assert_int_equal(f->provider.n_closed, 1);
    assert_int_equal(f->guest.n_messages, 0);
    fake_vmbus_post_bare(&f->guest, VMBUS_WIRE_UNLOAD);
    assert_int_equal(f->guest.n_messages, 0);
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 1);
    fixture_free(f);
}

static void a_connect_to_a_host_socket_is_refused(void **state)
{
    struct fixture *f = fixture_new_connected();
    struct vmbus_wire_tl_connect connect = { .header.type = VMBUS_WIRE_TL_CONNECT_REQUEST,
                                             .guest_endpoint = { { 1 } },
                                             .host_service = { { 2 } } };
    struct vmbus_wire_tl_connect_result result;

    fake_vmbus_post(&f->guest, &connect, sizeof(connect));
    fake_vmbus_take(&f->guest, VMBUS_WIRE_TL_CONNECT_RESULT, &result, sizeof(result));
    assert_memory_equal(&result.guest_endpoint, &connect.guest_endpoint, 16);
    assert_memory_equal(&result.host_service, &connect.host_service, 16);
    assert_int_not_equal(result.status, 0);

    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_3_0); /* there are no sockets yet */
    fake_vmbus_post(&f->guest, &connect, sizeof(connect));
    assert_int_equal(f->guest.n_messages, 0);
    fixture_free(f);
}

static void messages_wait_in_order_while_the_guest_is_busy(void **state)
{
    struct fixture *f = fixture_new();
    struct vmbus_wire_open open = { .header.type = VMBUS_WIRE_OPEN };

    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    f->guest.is_busy = true;
    fake_vmbus_post_bare(&f->guest, VMBUS_WIRE_REQUEST_OFFERS);
    assert_int_equal(f->guest.n_messages, 0);
    assert_true(vmbus_server_has_unsent(f->guest.server));
    f->guest.is_busy = false;
    fake_vmbus_turn(&f->guest);
    assert_false(vmbus_server_has_unsent(f->guest.server));
    assert_int_equal(fake_vmbus_next_type(&f->guest), VMBUS_WIRE_OFFER);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 1);
    assert_int_equal(fake_vmbus_next_type(&f->guest), VMBUS_WIRE_ALL_OFFERS_DELIVERED);
    fake_vmbus_ignore_messages(&f->guest);

    f->guest.is_busy = true; /* what waits is for the old guest, and forgotten with it */
    fake_vmbus_post(&f->guest, &open, sizeof(open));
    assert_true(vmbus_server_has_unsent(f->guest.server));
    vmbus_server_reset(f->guest.server);
    assert_false(vmbus_server_has_unsent(f->guest.server));
    f->guest.is_busy = false;
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    assert_int_equal(f->guest.n_messages, 0);
    fixture_free(f);
}

static void a_guest_that_takes_no_messages_is_disconnected(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct vmbus_wire_open open = { .header.type = VMBUS_WIRE_OPEN, .relid = 99 };

    f->guest.is_busy = true;
    for (unsigned i = 0; i < 100000; i++)
        vmbus_server_message(f->guest.server, &open, sizeof(open));
    assert_int_equal(f->provider.n_closed, 0);
    fake_vmbus_turn(&f->guest);
    assert_int_equal(f->provider.n_closed, 1);
    assert_false(vmbus_server_has_unsent(f->guest.server));
    f->guest.is_busy = false;
    fake_vmbus_post(&f->guest, &open, sizeof(open));
    assert_int_equal(f->guest.n_messages, 0);
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 1);
    fixture_free(f);
}

/* Section 6.3: MODIFYCHANNEL, answered since 5.3, known since 4.1 */
static uint32_t modify(struct fixture *f, uint32_t relid, uint32_t vp)
{
    struct vmbus_wire_modify modify = { .header.type = VMBUS_WIRE_MODIFY,
                                        .relid = relid,
                                        .target_vp = vp };
    struct vmbus_wire_modify_response response;

    fake_vmbus_post(&f->guest, &modify, sizeof(modify));
    fake_vmbus_take(&f->guest, VMBUS_WIRE_MODIFY_RESPONSE, &response, sizeof(response));
    assert_int_equal(response.relid, relid);
    return response.status;
}

static void interrupts_move_to_another_vp(void **state)
{
    struct fixture *f = fixture_new_connected();
    uint32_t relid = f->guest.offers[0].relid;

    assert_int_not_equal(modify(f, relid, 1), 0); /* not open */
    fake_vmbus_open(&f->guest, relid, 2, 2, &f->channel);
    assert_int_not_equal(modify(f, relid, 4), 0);
    assert_int_not_equal(modify(f, relid, UINT32_MAX), 0);
    assert_int_not_equal(modify(f, relid + 1, 1), 0);
    fake_vmbus_send(&f->channel, 1, true, NULL, 0);
    assert_int_equal(f->guest.last_signal_vp, 0);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    assert_int_equal(modify(f, relid, 3), 0);
    fake_vmbus_send(&f->channel, 2, true, NULL, 0);
    assert_int_equal(f->guest.last_signal_vp, 3);
    fixture_free(f);
}

static void before_5_3_moving_is_not_answered_and_before_4_1_it_is_unknown(void **state)
{
    for (unsigned i = 1; i < HV_ARRAY_SIZE(versions); i++) {
        struct fixture *f = fixture_new();
        struct vmbus_wire_modify modify = { .header.type = VMBUS_WIRE_MODIFY, .target_vp = 2 };
        unsigned vp = versions[i] >= VMBUS_WIRE_VERSION_4_1 ? 2 : 0;

        fake_vmbus_connect(&f->guest, versions[i]);
        fake_vmbus_request_offers(&f->guest);
        modify.relid = f->guest.offers[0].relid;
        fake_vmbus_open(&f->guest, modify.relid, 2, 2, &f->channel);
        fake_vmbus_post(&f->guest, &modify, sizeof(modify));
        assert_int_equal(f->guest.n_messages, 0);
        fake_vmbus_send(&f->channel, 1, true, NULL, 0);
        assert_int_equal(f->guest.last_signal_vp, vp);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_dropped_without_contact),
        cmocka_unit_test(messages_of_wrong_length_are_dropped),
        cmocka_unit_test(what_a_guest_does_wrong_is_logged_ten_times),
        cmocka_unit_test(unknown_versions_are_refused_with_an_answer),
        cmocka_unit_test(every_version_of_linux_carries_a_packet),
        cmocka_unit_test(since_5_0_messages_go_to_sint_2_or_the_version_is_refused),
        cmocka_unit_test(messages_go_to_the_vp_of_the_contact),
        cmocka_unit_test(offers_come_only_when_asked_for_and_once),
        cmocka_unit_test(unload_closes_all_and_is_answered),
        cmocka_unit_test(contact_without_unload_forgets_all),
        cmocka_unit_test(reset_forgets_the_guest_but_not_the_offers),
        cmocka_unit_test(a_connect_to_a_host_socket_is_refused),
        cmocka_unit_test(messages_wait_in_order_while_the_guest_is_busy),
        cmocka_unit_test(a_guest_that_takes_no_messages_is_disconnected),
        cmocka_unit_test(interrupts_move_to_another_vp),
        cmocka_unit_test(before_5_3_moving_is_not_answered_and_before_4_1_it_is_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
