/* SPDX-License-Identifier: Apache-2.0 */
/* Open and close, and threads: sections 6.7 and 6.8, and what channel.h promises. */
#include "tests/unit/vmwp/vmbus/provider.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>

static void a_packet_is_answered(void **state)
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

static uint32_t open_raw(struct fixture *f, struct vmbus_wire_open open)
{
    struct vmbus_wire_open_result result;

    open.header.type = VMBUS_WIRE_OPEN;
    open.open_id = 0xABC;
    fake_vmbus_post(&f->guest, &open, sizeof(open));
    fake_vmbus_take(&f->guest, VMBUS_WIRE_OPEN_RESULT, &result, sizeof(result));
    assert_int_equal(result.relid, open.relid);
    assert_int_equal(result.open_id, 0xABC);
    return result.status;
}

static void a_wrong_open_is_refused(void **state)
{
    struct fixture *f = fixture_new_connected();
    struct vmbus_offer offer = provider_offer(&f->provider, 2);
    struct vmbus_channel *other;
    const struct vmbus_wire_open good = { .relid = 1, .split_page = 4 };
    struct vmbus_wire_open open = good;
    uint32_t gpadl = fake_vmbus_make_gpadl(&f->guest, 1, fake_vmbus_alloc(&f->guest, 8), 8);
    static const uint32_t splits[] = { 0, 1, 7, 8, 9, UINT32_MAX };

    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &other), 0);
    assert_int_equal(fake_vmbus_take_offers(&f->guest), 1);
    assert_int_not_equal(open_raw(f, open), 0); /* no such GPADL */
    open.gpadl = gpadl;
    for (unsigned i = 0; i < HV_ARRAY_SIZE(splits); i++) {
        open.split_page = splits[i];
        assert_int_not_equal(open_raw(f, open), 0);
    }
    open.split_page = 4;
    open.target_vp = 4;
    assert_int_not_equal(open_raw(f, open), 0);
    open.target_vp = UINT32_MAX;
    assert_int_not_equal(open_raw(f, open), 0);
    open.target_vp = 3;
    open.relid = 2; /* another channel's GPADL */
    assert_int_not_equal(open_raw(f, open), 0);
    for (open.relid = 3; open.relid != 0; open.relid <<= 1)
        assert_int_not_equal(open_raw(f, open), 0);
    assert_int_not_equal(open_raw(f, open), 0);
    assert_int_equal(f->provider.n_opened, 0);
    open.relid = 1;
    assert_int_equal(open_raw(f, open), 0);
    assert_int_not_equal(open_raw(f, open), 0); /* twice */
    assert_int_equal(f->provider.n_opened, 1);
    assert_int_equal(f->provider.n_closed, 0);
    fixture_free(f);
}

static void rings_with_indices_of_no_ring_are_refused(void **state)
{
    struct fixture *f = fixture_new_connected();
    hv_gpa_t pages = fake_vmbus_alloc(&f->guest, 4);
    struct vmbus_wire_open open = { .relid = 1, .split_page = 2 };
    uint32_t wrong = 4096, right = 0;

    open.gpadl = fake_vmbus_make_gpadl(&f->guest, 1, pages, 4);
    assert_int_equal(hv_gpa_write(&f->guest.gpa, pages + VMBUS_WIRE_RING_READ, &wrong, 4), 0);
    assert_int_not_equal(open_raw(f, open), 0);
    assert_int_equal(hv_gpa_write(&f->guest.gpa, pages + VMBUS_WIRE_RING_READ, &right, 4), 0);
    assert_int_equal(
        hv_gpa_write(&f->guest.gpa, pages + 2 * HV_PAGE_BYTES + VMBUS_WIRE_RING_WRITE, &wrong, 4),
        0);
    assert_int_not_equal(open_raw(f, open), 0);
    fixture_free(f);
}

static void a_ring_may_be_the_same_page_again_and_again(void **state)
{
    struct fixture *f = fixture_new_connected();
    hv_gpa_t page = fake_vmbus_alloc(&f->guest, 1);
    hv_gpa_t pages[8] = { page, page, page, page, page, page, page, page };
    struct vmbus_wire_open open = { .relid = 1, .gpadl = 5, .split_page = 4 };
    uint32_t write = 24;

    assert_int_equal(fake_vmbus_try_gpadl(&f->guest, 1, 5, pages, 8), 0);
    assert_int_equal(open_raw(f, open), 0);
    for (unsigned i = 0; i < 1000; i++) {
        int r;

        assert_int_equal(hv_gpa_write(&f->guest.gpa, page, &write, 4), 0);
        r = vmbus_channel_receive(f->host, f->provider.packet);
        assert_true(r >= 0);
        r = vmbus_channel_send(f->host, VMBUS_PACKET_INBAND, 0, false, "x", 1);
        assert_true(r >= 0);
        write = (write + 24) % 4096;
    }
    fixture_free(f);
}

static void user_data_reaches_the_provider(void **state)
{
    struct fixture *f = fixture_new_connected();
    uint8_t user[VMBUS_USER_BYTES];

    memset(user, 0x5A, sizeof(user));
    assert_int_equal(fake_vmbus_try_open(&f->guest, 1, 2, 2, user, &f->channel), 0);
    assert_memory_equal(f->provider.user, user, sizeof(user));
    assert_true(vmbus_channel_is_open(f->host));
    assert_int_equal(vmbus_channel_doorbell(f->host), -1);
    vmbus_channel_set_host_data(f->host, user);
    assert_ptr_equal(vmbus_channel_host_data(f->host), user);
    fixture_free(f);
}

static void a_provider_may_refuse(void **state)
{
    struct fixture *f = fixture_new_connected();

    f->provider.open_error = -EBUSY;
    assert_int_not_equal(fake_vmbus_try_open(&f->guest, 1, 2, 2, NULL, &f->channel), 0);
    assert_false(vmbus_channel_is_open(f->host));
    fake_vmbus_end_gpadl(&f->guest, 1, f->channel.gpadl);
    assert_int_equal(f->provider.n_closed, 0);
    f->provider.open_error = 0;
    fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
    fixture_free(f);
}

static void a_provider_may_speak_first(void **state)
{
    struct fixture *f = fixture_new_connected();

    f->provider.speaks_first = true;
    fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
    assert_int_equal(signals(f), 1);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    assert_memory_equal(f->packet.payload, "hello", 5);
    fixture_free(f);
}

static void closing_what_is_not_open_is_dropped(void **state)
{
    struct fixture *f = fixture_new_connected();

    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_CLOSE, 1);
    for (uint32_t relid = 2; relid != 0; relid <<= 1)
        fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_CLOSE, relid);
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_CLOSE, 0);
    assert_int_equal(f->provider.n_closed, 0);
    assert_int_equal(f->guest.n_messages, 0);
    fixture_free(f);
}

static void a_closed_channel_refuses_packets(void **state)
{
    struct fixture *f = fixture_new_connected();

    assert_int_equal(vmbus_channel_receive(f->host, f->provider.packet), VMBUS_E_CLOSED);
    assert_int_equal(vmbus_channel_send(f->host, VMBUS_PACKET_INBAND, 0, false, NULL, 0),
                     VMBUS_E_CLOSED);
    fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
    fake_vmbus_close(&f->channel);
    assert_int_equal(vmbus_channel_receive(f->host, f->provider.packet), VMBUS_E_CLOSED);
    assert_int_equal(vmbus_channel_send(f->host, VMBUS_PACKET_INBAND, 0, false, NULL, 0),
                     VMBUS_E_CLOSED);
    vmbus_channel_signalled(f->host);
    assert_int_equal(f->provider.n_signalled, 0);
    fixture_free(f);
}

static void a_channel_opens_again_and_again(void **state)
{
    struct fixture *f = fixture_new_connected();

    for (unsigned i = 0; i < 100; i++) {
        fake_vmbus_open(&f->guest, 1, 2 + i % 3, 2, &f->channel);
        fake_vmbus_send(&f->channel, i, true, NULL, 0);
        assert_true(fake_vmbus_read(&f->channel, &f->packet));
        fake_vmbus_close(&f->channel);
    }
    assert_int_equal(f->provider.n_closed, 100);
    fixture_free(f);
}

static void a_provider_that_fails_its_channel_sees_it_closed(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    vmbus_channel_fail(f->host, "the device's protocol is broken");
    vmbus_channel_fail(f->host, "and again");
    assert_int_equal(f->provider.n_closed, 0);
    fake_vmbus_signal(&f->channel);
    assert_int_equal(f->provider.n_signalled, 0);
    fake_vmbus_turn(&f->guest);
    assert_int_equal(f->provider.n_closed, 1);
    assert_int_equal(f->guest.n_logged, 1);
    fake_vmbus_close(&f->channel);
    fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
    fixture_free(f);
}

/* Threads */

enum { N_SENDERS = 3, N_PACKETS = 3000 };

static void *send_many(void *opaque)
{
    struct vmbus_channel *channel = opaque;

    for (unsigned i = 0; i < N_PACKETS;) {
        int r = vmbus_channel_send(channel, VMBUS_PACKET_INBAND, i, false, &i, sizeof(i));

        if (r == VMBUS_E_CLOSED)
            return NULL;
        i += r == 0;
        if (r == VMBUS_E_FULL)
            (void)sched_yield();
    }
    return NULL;
}

static void many_threads_send(void **state)
{
    struct fixture *f = fixture_new_open(2, 3);
    pthread_t threads[N_SENDERS];
    struct fake_vmbus_packet *packet = &f->packet;

    for (unsigned i = 0; i < N_SENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, f->host), 0);
    for (unsigned i = 0; i < N_SENDERS * N_PACKETS; i++)
        fake_vmbus_wait(&f->channel, packet);
    for (unsigned i = 0; i < N_SENDERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_false(fake_vmbus_read(&f->channel, packet));
    fixture_free(f);
}

static void closing_waits_for_threads_that_send(void **state)
{
    struct fixture *f = fixture_new_connected();

    for (unsigned round = 0; round < 20; round++) {
        pthread_t threads[N_SENDERS];

        fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
        for (unsigned i = 0; i < N_SENDERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, send_many, f->host), 0);
        for (unsigned i = 0; i < 100; i++)
            fake_vmbus_wait(&f->channel, &f->packet);
        fake_vmbus_close(&f->channel);
        assert_int_equal(hv_gpa_fill(&f->guest.gpa, f->channel.in.pages[0], 0xEE, 8192), 0);
        for (unsigned i = 0; i < N_SENDERS; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        /* The memory is the guest's again, and nobody writes there. */
        assert_int_equal(fake_vmbus_ring_get(&f->guest, &f->channel.in, VMBUS_WIRE_RING_WRITE),
                         0xEEEEEEEE);
    }
    fixture_free(f);
}

static void *receive_many(void *opaque)
{
    struct provider *provider = opaque;
    struct pollfd fd = { .fd = vmbus_channel_doorbell(provider->channel), .events = POLLIN };

    for (unsigned i = 0; i < N_SENDERS * N_PACKETS;) {
        int r = vmbus_channel_receive(provider->channel, provider->packet);
        uint64_t n;

        if (r == 0) {
            if (provider->packet->transaction != i++)
                return "a packet is lost";
        } else if (r != VMBUS_E_EMPTY || poll(&fd, 1, 5000) != 1 ||
                   read(fd.fd, &n, sizeof(n)) < 0) {
            return "no signal for a packet";
        }
    }
    return NULL;
}

/* A second device, whose provider polls, is open with the smallest rings. */
static struct fixture *fixture_new_polled(void)
{
    struct fixture *f = fixture_new();
    struct vmbus_offer offer = provider_offer(&f->provider, 2);
    struct vmbus_channel *channel;

    offer.is_polled_by_vsp = true;
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), 0);
    assert_true(vmbus_channel_doorbell(channel) >= 0);
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    fake_vmbus_open(&f->guest, f->guest.offers[1].relid, 2, 2, &f->channel);
    return f;
}

/* Without the look after unmasking, the two would wait for each other. */
static void a_polling_provider_misses_no_packet(void **state)
{
    struct fixture *f = fixture_new_polled();
    pthread_t thread;
    void *problem;

    assert_int_equal(pthread_create(&thread, NULL, receive_many, &f->provider), 0);
    for (unsigned i = 0; i < N_SENDERS * N_PACKETS;) {
        if (fake_vmbus_write(&f->channel, VMBUS_PACKET_INBAND, i, 0, NULL, 0, "12345678", 8))
            i++;
        else
            (void)sched_yield();
        if (i % 7 == 0)
            (void)sched_yield();
    }
    assert_int_equal(pthread_join(thread, &problem), 0);
    assert_null(problem);
    assert_int_equal(f->provider.n_signalled, 0);
    fixture_free(f);
}

/* Sends packets of all sizes, and waits for the guest's signal when there is no room. */
static void *send_and_wait(void *opaque)
{
    struct provider *provider = opaque;
    struct pollfd fd = { .fd = vmbus_channel_doorbell(provider->channel), .events = POLLIN };
    static const uint8_t payload[2048];

    for (unsigned i = 0; i < N_PACKETS;) {
        int r = vmbus_channel_send(provider->channel, VMBUS_PACKET_INBAND, i, false, payload,
                                   i * 40 % sizeof(payload));
        uint64_t n;

        if (r == 0)
            i++;
        else if (r != VMBUS_E_FULL || poll(&fd, 1, 5000) != 1 || read(fd.fd, &n, sizeof(n)) < 0)
            return "no signal for room";
    }
    return NULL;
}

static void a_provider_that_waits_for_room_is_woken(void **state)
{
    struct fixture *f = fixture_new_polled();
    pthread_t thread;
    void *problem;

    assert_int_equal(pthread_create(&thread, NULL, send_and_wait, &f->provider), 0);
    for (unsigned i = 0; i < N_PACKETS; i++) {
        f->channel.is_lazy = i % 5 != 0; /* room comes in small and in large pieces */
        if (!fake_vmbus_read(&f->channel, &f->packet)) {
            fake_vmbus_make_room(&f->channel);
            fake_vmbus_wait(&f->channel, &f->packet);
        }
        assert_int_equal(f->packet.transaction, i);
    }
    assert_int_equal(pthread_join(thread, &problem), 0);
    assert_null(problem);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packet_is_answered),
        cmocka_unit_test(a_wrong_open_is_refused),
        cmocka_unit_test(rings_with_indices_of_no_ring_are_refused),
        cmocka_unit_test(a_ring_may_be_the_same_page_again_and_again),
        cmocka_unit_test(user_data_reaches_the_provider),
        cmocka_unit_test(a_provider_may_refuse),
        cmocka_unit_test(a_provider_may_speak_first),
        cmocka_unit_test(closing_what_is_not_open_is_dropped),
        cmocka_unit_test(a_closed_channel_refuses_packets),
        cmocka_unit_test(a_channel_opens_again_and_again),
        cmocka_unit_test(a_provider_that_fails_its_channel_sees_it_closed),
        cmocka_unit_test(many_threads_send),
        cmocka_unit_test(closing_waits_for_threads_that_send),
        cmocka_unit_test(a_polling_provider_misses_no_packet),
        cmocka_unit_test(a_provider_that_waits_for_room_is_woken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
