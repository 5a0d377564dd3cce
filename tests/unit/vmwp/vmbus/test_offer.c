/* SPDX-License-Identifier: Apache-2.0 */
/* Offers, relids, rescinds and sub-channels: sections 6.5, 6.8 and 7.2. */
#include "tests/unit/vmwp/vmbus/provider.h"

static void an_offer_has_every_field_in_its_place(void **state)
{
    struct fixture *f = fixture_new_connected();
    const uint8_t *bytes = (const uint8_t *)&f->guest.offers[0];
    static const uint8_t zeroes[16];

    assert_int_equal(bytes[0], 1);
    assert_int_equal(bytes[8], 0xAA);
    assert_int_equal(bytes[24], 0xBB);
    assert_memory_equal(bytes + 40, zeroes, 16);
    assert_int_equal(bytes[56], VMBUS_OFFER_ENUMERATE_DEVICE);
    assert_int_equal(bytes[60], 'u');
    assert_int_equal(bytes[180], 0);    /* primary */
    assert_int_equal(bytes[184], 1);    /* relid */
    assert_int_equal(bytes[188], 0xFF); /* no monitor */
    assert_int_equal(bytes[189], 0);
    assert_int_equal(bytes[190], 1); /* dedicated interrupt */
    assert_int_equal(f->guest.offers[0].connection_id, 0x2001);
    assert_int_equal(vmbus_channel_connection_id(f->host), 0x2001);
    assert_int_equal(vmbus_channel_relid(f->host), 1);
    assert_int_equal(vmbus_channel_index(f->host), 0);
    assert_ptr_equal(vmbus_channel_gpa(f->host), &f->guest.gpa);
    fixture_free(f);
}

static void a_pipe_says_its_mode_before_the_user_data(void **state)
{
    struct fixture *f = fixture_new();
    struct vmbus_offer offer = provider_offer(&f->provider, 2);
    struct vmbus_channel *channel;
    uint32_t mode;

    offer.is_pipe = true;
    offer.mmio_megabytes = 8;
    memset(offer.user, 'x', sizeof(offer.user));
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), 0);
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 2);
    memcpy(&mode, f->guest.offers[1].user, sizeof(mode));
    assert_int_equal(mode, 4);
    assert_int_equal(f->guest.offers[1].user[4], 'x');
    assert_int_equal(f->guest.offers[1].flags & VMBUS_OFFER_NAMED_PIPE, VMBUS_OFFER_NAMED_PIPE);
    assert_int_equal(f->guest.offers[1].mmio_megabytes, 8);
    fixture_free(f);
}

static void a_device_is_offered_once(void **state)
{
    struct fixture *f = fixture_new();
    struct vmbus_offer offer = provider_offer(&f->provider, 1);
    struct vmbus_channel *channel = NULL;

    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), -EEXIST);
    assert_null(channel);
    offer.instance.bytes[1]++; /* the same type, another instance */
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), 0);
    fixture_free(f);
}

static void a_host_that_cannot_connect_offers_nothing(void **state)
{
    struct fixture *f = fixture_new();
    struct vmbus_offer offer = provider_offer(&f->provider, 2);
    struct vmbus_channel *channel = NULL;

    f->guest.connect_error = -EMFILE;
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), -EMFILE);
    assert_null(channel);
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 1);
    fixture_free(f);
}

static void relids_run_out_and_come_back(void **state)
{
    struct fixture *f = fixture_new();
    struct vmbus_channel *channels[VMBUS_WIRE_MAX_RELID];
    struct vmbus_channel *more = NULL;
    struct vmbus_offer offer;

    for (unsigned i = 1; i < VMBUS_WIRE_MAX_RELID; i++) {
        offer = provider_offer(&f->provider, 1);
        offer.instance.bytes[1] = (uint8_t)i;
        offer.instance.bytes[2] = (uint8_t)(1 + (i >> 8));
        assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channels[i]), 0);
        assert_int_equal(vmbus_channel_relid(channels[i]), i + 1);
    }
    offer.instance.bytes[3] = 1;
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &more), -ENOSPC);
    vmbus_revoke_channel(channels[700]); /* the guest never knew it */
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &more), 0);
    assert_int_equal(vmbus_channel_relid(more), 701);
    fixture_free(f);
}

static void a_device_is_added_while_the_guest_runs(void **state)
{
    struct fixture *f = fixture_new_connected();
    struct vmbus_offer offer = provider_offer(&f->provider, 2);
    struct vmbus_channel *channel;

    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), 0);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 1);
    fake_vmbus_open(&f->guest, f->guest.offers[1].relid, 2, 2, &f->channel);
    assert_ptr_equal(f->provider.channel, channel);
    fixture_free(f);
}

static void a_device_is_taken_away_and_its_relid_returns_when_released(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct vmbus_offer offer = provider_offer(&f->provider, 2);
    struct vmbus_channel *channel;

    vmbus_revoke_channel(f->host);
    assert_int_equal(f->provider.n_closed, 1);
    assert_int_equal(f->guest.n_disconnected, 1);
    (void)fake_vmbus_take_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 0);

    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), 0);
    assert_int_equal(vmbus_channel_relid(channel), 2); /* 1 is not free yet */
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 1);
    fake_vmbus_close(&f->channel); /* what Linux does when it meets the rescind late */
    assert_int_equal(f->provider.n_closed, 1);
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_RELID_RELEASED, 1);
    offer = provider_offer(&f->provider, 3);
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), 0);
    assert_int_equal(vmbus_channel_relid(channel), 1);
    fixture_free(f);
}

static void a_rescinded_channel_ignores_open_and_gpadls(void **state)
{
    struct fixture *f = fixture_new_connected();
    struct vmbus_wire_open open = { .header.type = VMBUS_WIRE_OPEN, .relid = 1 };
    struct vmbus_wire_gpadl_header head = { .header.type = VMBUS_WIRE_GPADL_HEADER,
                                            .relid = 1,
                                            .gpadl = 5,
                                            .n_ranges = 1,
                                            .byte_count = HV_PAGE_BYTES };

    vmbus_revoke_channel(f->host);
    (void)fake_vmbus_take_offers(&f->guest);
    fake_vmbus_post(&f->guest, &open, sizeof(open));
    fake_vmbus_post(&f->guest, &head, sizeof(head));
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_CLOSE, 1);
    assert_int_equal(f->guest.n_messages, 0);
    assert_int_equal(f->guest.n_logged, 0);
    assert_int_equal(f->provider.n_opened, 0);
    fixture_free(f);
}

static void the_same_device_returns_when_the_guest_has_forgotten_it(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct vmbus_offer offer = provider_offer(&f->provider, 1);
    struct vmbus_channel *channel;

    vmbus_revoke_channel(f->host);
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), 0);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 0); /* only the rescind */
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_RELID_RELEASED, 1);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 1);
    assert_int_equal(f->guest.offers[0].relid, 2);
    fixture_free(f);
}

static void releasing_a_channel_that_is_not_rescinded_does_nothing(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_RELID_RELEASED, 1);
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_RELID_RELEASED, 0);
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_RELID_RELEASED, 2047);
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_RELID_RELEASED, 2048);
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_RELID_RELEASED, UINT32_MAX);
    assert_int_equal(f->provider.n_closed, 0);
    fake_vmbus_send(&f->channel, 1, true, NULL, 0);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    fixture_free(f);
}

static void subchannels_need_an_open_primary(void **state)
{
    struct fixture *f = fixture_new_connected();

    assert_int_equal(vmbus_offer_subchannels(f->host, 1), -EINVAL);
    fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
    assert_int_equal(vmbus_offer_subchannels(f->host, 0), -EINVAL);
    assert_int_equal(vmbus_offer_subchannels(f->host, 2047), -ENOSPC);
    assert_int_equal(vmbus_offer_subchannels(f->host, 2046 + 4), -ENOSPC);
    f->guest.connect_error = -ENOMEM;
    assert_int_equal(vmbus_offer_subchannels(f->host, 3), -ENOMEM);
    f->guest.connect_error = 0;
    assert_int_equal(f->guest.n_messages, 0);
    assert_int_equal(f->guest.n_connected, f->guest.n_disconnected + 1);
    assert_int_equal(vmbus_offer_subchannels(f->host, 3), 0);
    assert_int_equal(vmbus_offer_subchannels(f->host, 3), -EINVAL); /* it has them */
    fixture_free(f);
}

static void subchannels_open_and_talk_on_their_own(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct fake_vmbus_channel sub[3];

    assert_int_equal(vmbus_offer_subchannels(f->host, 3), 0);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 3);
    for (unsigned i = 0; i < 3; i++) {
        const struct vmbus_wire_offer *offer = &f->guest.offers[1 + i];

        assert_int_equal(offer->index, i + 1);
        assert_memory_equal(&offer->instance, &f->guest.offers[0].instance, 16);
        assert_int_equal(offer->connection_id, offer->relid | 0x2000);
        fake_vmbus_open(&f->guest, offer->relid, 2, 2, &sub[i]);
        assert_int_equal(vmbus_channel_index(f->provider.channel), i + 1);
        assert_int_equal(vmbus_offer_subchannels(f->provider.channel, 1), -EINVAL);
        fake_vmbus_send(&sub[i], i, true, NULL, 0);
        assert_true(fake_vmbus_read(&sub[i], &f->packet));
        assert_int_equal(f->packet.transaction, i);
    }
    fake_vmbus_close(&sub[1]); /* it may be opened again */
    fake_vmbus_open(&f->guest, sub[1].relid, 2, 2, &sub[1]);
    fixture_free(f);
}

static void subchannels_go_with_their_primary(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct fake_vmbus_channel sub;

    assert_int_equal(vmbus_offer_subchannels(f->host, 2), 0);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 2);
    fake_vmbus_open(&f->guest, 2, 2, 2, &sub);
    fake_vmbus_close(&f->channel);
    assert_int_equal(f->provider.n_closed, 2);
    assert_int_equal(f->guest.n_offers, 1); /* both are rescinded */
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_RELID_RELEASED, 2);
    fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
    assert_int_equal(vmbus_offer_subchannels(f->host, 2), 0);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 2);
    assert_int_equal(f->guest.offers[1].relid, 2);
    assert_int_equal(f->guest.offers[2].relid, 4); /* 3 is not released */
    vmbus_revoke_channel(f->host);
    (void)fake_vmbus_take_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 0);
    fixture_free(f);
}

static void a_reset_leaves_no_subchannel(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    assert_int_equal(vmbus_offer_subchannels(f->host, 5), 0);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 5);
    vmbus_server_reset(f->guest.server);
    assert_int_equal(f->guest.n_connected, f->guest.n_disconnected + 1);
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 1);
    fixture_free(f);
}

/* In each way that a channel can end, its provider may take the offer back in `closed`. */
static void a_provider_revokes_while_it_is_told_of_the_end(void **state)
{
    for (unsigned way = 0; way < 7; way++) {
        struct fixture *f = fixture_new_open(2, 2);
        struct vmbus_wire_gpadl_teardown teardown = { .header.type = VMBUS_WIRE_GPADL_TEARDOWN,
                                                      .relid = 1,
                                                      .gpadl = f->channel.gpadl };

        assert_int_equal(vmbus_offer_subchannels(f->host, 2), 0);
        f->provider.revokes = true;
        switch (way) {
        case 0: fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_CLOSE, 1); break;
        case 1: fake_vmbus_post_bare(&f->guest, VMBUS_WIRE_UNLOAD); break;
        case 2: vmbus_server_reset(f->guest.server); break;
        case 3: vmbus_revoke_channel(f->host); break;
        case 4: fake_vmbus_post(&f->guest, &teardown, sizeof(teardown)); break;
        case 5:
            vmbus_channel_fail(f->host, "a test wants it");
            fake_vmbus_turn(&f->guest);
            break;
        default: break; /* the server is freed */
        }
        assert_int_equal(f->provider.n_closed, way < 6 ? 1 : 0);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offer_has_every_field_in_its_place),
        cmocka_unit_test(a_pipe_says_its_mode_before_the_user_data),
        cmocka_unit_test(a_device_is_offered_once),
        cmocka_unit_test(a_host_that_cannot_connect_offers_nothing),
        cmocka_unit_test(relids_run_out_and_come_back),
        cmocka_unit_test(a_device_is_added_while_the_guest_runs),
        cmocka_unit_test(a_device_is_taken_away_and_its_relid_returns_when_released),
        cmocka_unit_test(a_rescinded_channel_ignores_open_and_gpadls),
        cmocka_unit_test(the_same_device_returns_when_the_guest_has_forgotten_it),
        cmocka_unit_test(releasing_a_channel_that_is_not_rescinded_does_nothing),
        cmocka_unit_test(subchannels_need_an_open_primary),
        cmocka_unit_test(subchannels_open_and_talk_on_their_own),
        cmocka_unit_test(subchannels_go_with_their_primary),
        cmocka_unit_test(a_reset_leaves_no_subchannel),
        cmocka_unit_test(a_provider_revokes_while_it_is_told_of_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
