/* SPDX-License-Identifier: Apache-2.0 */
/* The host is out of memory, at each place: nothing is leaked, and the guest gets on afterwards. */
#include "tests/unit/vmwp/vmbus/provider.h"

#include "tests/lib/alloc_faults.h"

static void a_server_that_cannot_be_made_is_none(void **state)
{
    struct vmbus_server_config config = { .n_vps = 1 };
    struct vmbus_server *server = NULL;

    alloc_faults_arm(1);
    assert_int_equal(vmbus_server_new(&config, &server), -ENOMEM);
    assert_true(alloc_faults_disarm());
    assert_null(server);
    assert_null(vmbus_server_free(NULL));
}

static void a_packet_that_cannot_be_made_is_none(void **state)
{
    for (unsigned n = 1; n <= 2; n++) {
        alloc_faults_arm(n);
        assert_null(vmbus_packet_new());
        assert_true(alloc_faults_disarm());
    }
    assert_null(vmbus_packet_free(NULL));
}

static void a_packet_waits_in_the_ring_for_memory(void **state)
{
    struct fixture *f = fixture_new_open(16, 2);
    static uint64_t extension[2 + 200] = { 1ULL << 32, 200 * 4096 };

    for (unsigned i = 0; i < 200; i++)
        extension[2 + i] = 1000 - 2 * i;
    f->provider.is_deaf = true;
    assert_true(fake_vmbus_write(&f->channel, VMBUS_PACKET_GPA_DIRECT, 3, 1, extension,
                                 sizeof(extension), "p", 1));
    for (unsigned n = 1; n <= 2; n++) { /* 64, 128, 256 ranges */
        alloc_faults_arm(n);
        assert_int_equal(vmbus_channel_receive(f->host, f->provider.packet), -ENOMEM);
        assert_true(alloc_faults_disarm());
        f->provider.packet = vmbus_packet_free(f->provider.packet);
        f->provider.packet = vmbus_packet_new();
    }
    assert_int_equal(vmbus_channel_receive(f->host, f->provider.packet), 0);
    assert_int_equal(f->provider.packet->n_ranges, 200);
    fixture_free(f);
}

/* Enough of a life to allocate everything that the bus allocates; nothing has to go well. */
static void live(struct fixture *f)
{
    struct vmbus_offer offer = provider_offer(&f->provider, 2);
    struct vmbus_wire_contact contact = { .header.type = VMBUS_WIRE_INITIATE_CONTACT,
                                          .version = VMBUS_WIRE_VERSION_5_3,
                                          .interrupt_page = VMBUS_SINT };
    struct VMBUS_WIRE_PACKED {
        struct vmbus_wire_gpadl_header head;
        uint64_t pages[20];
    } gpadl = { { .header.type = VMBUS_WIRE_GPADL_HEADER,
                  .relid = 1,
                  .gpadl = 1,
                  .n_ranges = 1,
                  .byte_count = 20 * HV_PAGE_BYTES } };
    struct vmbus_wire_open open = {
        .header.type = VMBUS_WIRE_OPEN, .relid = 1, .gpadl = 1, .split_page = 10
    };
    struct vmbus_channel *channel = NULL;
    int r = vmbus_offer_channel(f->guest.server, &offer, &channel);

    assert_true(r == 0 || (r == -ENOMEM && !channel));
    fake_vmbus_post(&f->guest, &contact, sizeof(contact));
    fake_vmbus_post_bare(&f->guest, VMBUS_WIRE_REQUEST_OFFERS);
    for (unsigned i = 0; i < 20; i++)
        gpadl.pages[i] = 100 + 2 * i;
    fake_vmbus_post(&f->guest, &gpadl, sizeof(gpadl));
    fake_vmbus_post(&f->guest, &open, sizeof(open));
    if (vmbus_channel_is_open(f->host)) {
        unsigned n = f->guest.n_connected - f->guest.n_disconnected;

        r = vmbus_offer_subchannels(f->host, 3);
        assert_true(r == 0 || r == -ENOMEM);
        assert_int_equal(f->guest.n_connected - f->guest.n_disconnected, r == 0 ? n + 3 : n);
    }
    f->guest.is_busy = true;
    fake_vmbus_post(&f->guest, &open, sizeof(open));
    fake_vmbus_post(&f->guest, &open, sizeof(open));
    f->guest.is_busy = false;
    fake_vmbus_turn(&f->guest);
}

static void each_allocation_may_fail(void **state)
{
    bool has_failed = true;
    unsigned n;

    for (n = 1; has_failed; n++) {
        struct fixture *f = fixture_new();

        alloc_faults_arm(n);
        live(f);
        has_failed = alloc_faults_disarm();
        assert_int_equal(f->provider.n_opened - f->provider.n_closed,
                         vmbus_channel_is_open(f->host));
        fake_vmbus_ignore_messages(&f->guest);
        fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
        fake_vmbus_request_offers(&f->guest);
        fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
        fake_vmbus_send(&f->channel, 1, true, NULL, 0);
        assert_true(fake_vmbus_read(&f->channel, &f->packet));
        fixture_free(f);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_cannot_be_made_is_none),
        cmocka_unit_test(a_packet_that_cannot_be_made_is_none),
        cmocka_unit_test(a_packet_waits_in_the_ring_for_memory),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
