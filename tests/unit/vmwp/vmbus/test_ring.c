/* SPDX-License-Identifier: Apache-2.0 */
/* Indices, signals, masks and room: sections 6.9 and 6.11. */
#include "tests/unit/vmwp/vmbus/provider.h"

static uint32_t out_get(struct fixture *f, enum vmbus_wire_ring field)
{
    return fake_vmbus_ring_get(&f->guest, &f->channel.out, field);
}

static uint32_t in_get(struct fixture *f, enum vmbus_wire_ring field)
{
    return fake_vmbus_ring_get(&f->guest, &f->channel.in, field);
}

static int receive(struct fixture *f)
{
    return vmbus_channel_receive(f->host, f->provider.packet);
}

static int send_bytes(struct fixture *f, const void *payload, size_t bytes)
{
    return vmbus_channel_send(f->host, VMBUS_PACKET_INBAND, 5, false, payload, bytes);
}

static void wrong_write_indices_cost_the_channel(void **state)
{
    static const uint32_t wrong[] = { 1, 4, 12, 4096, 4104, 0x80000000, UINT32_MAX - 7 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(wrong); i++) {
        struct fixture *f = fixture_new_open(2, 2);

        fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, wrong[i]);
        fake_vmbus_signal(&f->channel);
        assert_int_equal(f->provider.last_outcome, VMBUS_E_BROKEN);
        assert_int_equal(f->provider.n_closed, 0); /* soon, on the io thread */
        assert_int_equal(receive(f), VMBUS_E_BROKEN);
        assert_int_equal(send_bytes(f, NULL, 0), VMBUS_E_BROKEN);
        fake_vmbus_turn(&f->guest);
        assert_int_equal(f->provider.n_closed, 1);
        assert_int_equal(receive(f), VMBUS_E_CLOSED);
        fixture_free(f);
    }
}

static void wrong_read_indices_cost_the_channel(void **state)
{
    static const uint32_t wrong[] = { 1, 4, 12, 4096, 4104, 0x80000000, UINT32_MAX - 7 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(wrong); i++) {
        struct fixture *f = fixture_new_open(2, 2);

        fake_vmbus_ring_set(&f->guest, &f->channel.in, VMBUS_WIRE_RING_READ, wrong[i]);
        assert_int_equal(send_bytes(f, NULL, 0), VMBUS_E_BROKEN);
        fake_vmbus_turn(&f->guest);
        assert_int_equal(f->provider.n_closed, 1);
        fixture_free(f);
    }
}

static void a_broken_channel_is_dead_until_closed_and_opened_again(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct fake_vmbus_channel again;

    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, 4096);
    fake_vmbus_signal(&f->channel);
    fake_vmbus_turn(&f->guest);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, 0);
    fake_vmbus_send(&f->channel, 1, true, NULL, 0);
    assert_int_equal(f->provider.n_signalled, 1);
    assert_int_not_equal(fake_vmbus_try_open(&f->guest, 1, 2, 2, NULL, &again), 0);
    fake_vmbus_close(&f->channel);
    assert_int_equal(f->provider.n_closed, 1);
    fake_vmbus_end_gpadl(&f->guest, 1, again.gpadl);
    fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
    fake_vmbus_send(&f->channel, 1, true, NULL, 0);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    fixture_free(f);
}

static void the_hosts_own_indices_are_never_read_back(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    fake_vmbus_send(&f->channel, 1, false, "a", 1);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_READ, 8);
    fake_vmbus_ring_set(&f->guest, &f->channel.in, VMBUS_WIRE_RING_WRITE, UINT32_MAX);
    fake_vmbus_send(&f->channel, 2, false, "b", 1);
    fake_vmbus_signal(&f->channel);
    assert_int_equal(f->provider.last_outcome, VMBUS_E_EMPTY);
    assert_int_equal(f->provider.packet->transaction, 2);
    assert_int_equal(send_bytes(f, "c", 1), 0);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    fixture_free(f);
}

/* Every alignment of a packet against the ring's end, in both directions, contiguous or not */
static void packets_wrap_at_every_offset(void **state)
{
    for (unsigned scattered = 0; scattered < 2; scattered++) {
        struct fixture *f = fixture_new_connected();
        uint8_t payload[56];

        f->guest.is_scattered = scattered;
        fake_vmbus_open(&f->guest, 1, 3, 3, &f->channel);
        for (unsigned i = 0; i < 8192 / 8 * 4; i++) {
            uint32_t bytes = 8 * (i % 8);

            memset(payload, (int)(i + 1), sizeof(payload));
            fake_vmbus_send(&f->channel, i, true, payload, bytes);
            assert_true(fake_vmbus_read(&f->channel, &f->packet));
            assert_int_equal(f->packet.transaction, i);
            assert_int_equal(f->packet.bytes, bytes);
            assert_memory_equal(f->packet.payload, payload, bytes);
        }
        fixture_free(f);
    }
}

static void payloads_are_padded_with_zeroes(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    static const uint8_t zeroes[8];

    for (unsigned bytes = 1; bytes <= 16; bytes++) {
        uint8_t ones[16];

        memset(ones, 0xFF, sizeof(ones));
        assert_int_equal(send_bytes(f, ones, bytes), 0);
        assert_true(fake_vmbus_read(&f->channel, &f->packet));
        assert_int_equal(f->packet.bytes, (bytes + 7) / 8 * 8);
        assert_memory_equal(f->packet.payload, ones, bytes);
        assert_memory_equal(f->packet.payload + bytes, zeroes, f->packet.bytes - bytes);
    }
    fixture_free(f);
}

/* The page's worked example of section 6.10 */
static void a_first_heartbeat_looks_as_the_book_says(void **state)
{
    struct fixture *f = fixture_new_open(4, 4);
    static const uint8_t head[16] = { 6, 0, 2, 0, 9, 0, 0, 0 };
    uint8_t body[52] = { 1, 0, 0, 0, 44 }, seen[80], trailer[8] = { 0 };

    assert_int_equal(vmbus_channel_send(f->host, VMBUS_PACKET_INBAND, 0, false, body, sizeof(body)),
                     0);
    assert_int_equal(in_get(f, VMBUS_WIRE_RING_WRITE), 80);
    assert_int_equal(signals(f), 1);
    assert_int_equal(hv_gpa_read(&f->guest.gpa, f->channel.in.pages[1], seen, sizeof(seen)), 0);
    assert_memory_equal(seen, head, sizeof(head));
    assert_memory_equal(seen + 16, body, sizeof(body));
    assert_memory_equal(seen + 72, trailer, sizeof(trailer));
    fixture_free(f);
}

static void the_host_is_masked_while_it_reads_and_unmasked_when_empty(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    f->provider.is_deaf = true;
    assert_int_equal(out_get(f, VMBUS_WIRE_RING_MASK), 0);
    for (unsigned i = 0; i < 3; i++)
        fake_vmbus_send(&f->channel, i, false, NULL, 0);
    assert_int_equal(f->channel.n_signals, 1); /* the ring was empty once */
    assert_int_equal(receive(f), 0);
    assert_int_equal(out_get(f, VMBUS_WIRE_RING_MASK), 1);
    fake_vmbus_send(&f->channel, 3, false, NULL, 0);
    assert_int_equal(f->channel.n_signals, 1);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(receive(f), 0);
        assert_int_equal(f->provider.packet->transaction, i);
    }
    assert_int_equal(receive(f), VMBUS_E_EMPTY);
    assert_int_equal(out_get(f, VMBUS_WIRE_RING_MASK), 0);
    assert_int_equal(out_get(f, VMBUS_WIRE_RING_READ), out_get(f, VMBUS_WIRE_RING_WRITE));
    fake_vmbus_send(&f->channel, 4, false, NULL, 0);
    assert_int_equal(f->channel.n_signals, 2);
    fixture_free(f);
}

static void a_look_at_what_waits_takes_and_masks_nothing(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    f->provider.is_deaf = true;
    assert_int_equal(vmbus_channel_unread(f->host), 0);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, 4096);
    assert_int_equal(vmbus_channel_unread(f->host), 0); /* no index: who receives will say so */
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, 0);
    for (unsigned i = 0; i < 3; i++)
        fake_vmbus_send(&f->channel, i, false, NULL, 0);
    assert_int_equal(vmbus_channel_unread(f->host), 3 * 24);
    assert_int_equal(out_get(f, VMBUS_WIRE_RING_MASK), 0);
    assert_int_equal(receive(f), 0);
    assert_int_equal(vmbus_channel_unread(f->host), 2 * 24);
    fake_vmbus_close(&f->channel);
    assert_int_equal(vmbus_channel_unread(f->host), 0);
    fixture_free(f);
}

static void the_guest_is_signalled_when_its_ring_was_empty_and_not_masked(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    assert_int_equal(send_bytes(f, NULL, 0), 0);
    assert_int_equal(signals(f), 1);
    assert_int_equal(send_bytes(f, NULL, 0), 0); /* it has not read yet, and knows */
    assert_int_equal(signals(f), 1);
    while (fake_vmbus_read(&f->channel, &f->packet))
        ;
    fake_vmbus_ring_set(&f->guest, &f->channel.in, VMBUS_WIRE_RING_MASK, 1);
    assert_int_equal(send_bytes(f, NULL, 0), 0);
    assert_int_equal(signals(f), 1);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    fake_vmbus_ring_set(&f->guest, &f->channel.in, VMBUS_WIRE_RING_MASK, 0);
    assert_int_equal(send_bytes(f, NULL, 0), 0);
    assert_int_equal(signals(f), 2);
    fixture_free(f);
}

static void a_look_at_what_waits_changes_nothing(void **state)
{
    static const uint32_t wrong[] = { 1, 4096, UINT32_MAX - 7 };
    struct fixture *f = fixture_new_open(2, 2);

    for (unsigned i = 0; i < HV_ARRAY_SIZE(wrong); i++) {
        fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, wrong[i]);
        assert_int_equal(vmbus_channel_unread(f->host), 0);
    }
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, 4088);
    assert_int_equal(vmbus_channel_unread(f->host), 4088);
    assert_int_equal(out_get(f, VMBUS_WIRE_RING_READ), 0);
    assert_int_equal(out_get(f, VMBUS_WIRE_RING_MASK), 0);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, 0);
    assert_int_equal(vmbus_channel_unread(f->host), 0);
    assert_int_equal(receive(f), VMBUS_E_EMPTY); /* what was wrong was not believed */
    fake_vmbus_close(&f->channel);
    assert_int_equal(vmbus_channel_unread(f->host), 0);
    fixture_free(f);
}

static void a_batch_is_seen_at_its_end_with_one_signal(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    vmbus_channel_begin_batch(f->host);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(send_bytes(f, NULL, 0), 0);
    assert_int_equal(signals(f), 0);
    vmbus_channel_end_batch(f->host);
    assert_int_equal(signals(f), 1);
    for (unsigned i = 0; i < 5; i++)
        assert_true(fake_vmbus_read(&f->channel, &f->packet));
    vmbus_channel_begin_batch(f->host);
    vmbus_channel_end_batch(f->host); /* of nothing */
    assert_int_equal(signals(f), 1);
    vmbus_channel_begin_batch(f->host);
    fake_vmbus_close(&f->channel); /* in the middle */
    vmbus_channel_end_batch(f->host);
    fixture_free(f);
}

static unsigned fill(struct fixture *f, size_t bytes)
{
    static const uint8_t payload[4096];
    unsigned n = 0;

    while (send_bytes(f, payload, bytes) == 0)
        n++;
    return n;
}

static void a_full_ring_is_never_filled_whole(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    /* 32 bytes each of 4096: the last would make full look like empty */
    assert_int_equal(fill(f, 8), 127);
    assert_int_equal(in_get(f, VMBUS_WIRE_RING_PENDING), 32);
    for (unsigned i = 0; i < 127; i++)
        assert_true(fake_vmbus_read(&f->channel, &f->packet));
    assert_false(fake_vmbus_read(&f->channel, &f->packet));
    fixture_free(f);
}

static void a_guest_that_makes_room_signals_and_the_wish_is_withdrawn(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    static const uint8_t payload[96];
    unsigned signalled;

    f->channel.is_lazy = true;
    (void)fill(f, 104); /* 128 bytes each; 31 of them */
    assert_int_equal(in_get(f, VMBUS_WIRE_RING_PENDING), 128);
    assert_int_equal(send_bytes(f, NULL, 0), 0); /* a smaller one fits: 104 are left */
    assert_int_equal(in_get(f, VMBUS_WIRE_RING_PENDING), 128);
    signalled = f->provider.n_signalled;
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    fake_vmbus_make_room(&f->channel); /* 232 */
    assert_int_equal(f->provider.n_signalled, signalled + 1);
    assert_int_equal(fill(f, 104), 1);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    fake_vmbus_make_room(&f->channel);
    assert_int_equal(send_bytes(f, payload, sizeof(payload)), 0);
    fixture_free(f);
}

static void a_full_ring_shows_a_batch_that_is_not_over(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    vmbus_channel_begin_batch(f->host);
    assert_int_equal(fill(f, 8), 127);
    assert_int_equal(signals(f), 1); /* or nobody would ever make room */
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    assert_int_equal(send_bytes(f, "12345678", 8), 0);
    vmbus_channel_end_batch(f->host);
    fixture_free(f);
}

static void a_packet_that_never_fits_costs_the_channel(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    static const uint8_t payload[VMBUS_MAX_PACKET_BYTES];

    assert_int_equal(send_bytes(f, payload, 4096 - 16 - 8 - 8), 0);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    assert_int_equal(send_bytes(f, payload, 4096 - 16 - 8), VMBUS_E_BROKEN);
    fake_vmbus_turn(&f->guest);
    assert_int_equal(f->provider.n_closed, 1);
    fixture_free(f);
}

static void a_guest_that_waits_for_room_is_signalled_when_it_has_it(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    unsigned n = 0;

    f->provider.is_deaf = true;
    while (fake_vmbus_write(&f->channel, VMBUS_PACKET_INBAND, n, 0, NULL, 0, "12345678", 8))
        n++;
    assert_int_equal(n, 127);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_PENDING, 1024);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(receive(f), 0);
    assert_int_equal(signals(f), 1); /* once, where it crossed */
    assert_int_equal(receive(f), VMBUS_E_EMPTY);
    assert_int_equal(signals(f), 1);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_PENDING, 0);
    while (fake_vmbus_write(&f->channel, VMBUS_PACKET_INBAND, n, 0, NULL, 0, "12345678", 8))
        ;
    while (receive(f) == 0)
        ;
    assert_int_equal(signals(f), 1); /* it waits no more */
    fixture_free(f);
}

static void a_guest_that_waits_for_an_empty_ring_is_signalled(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_PENDING, 4096 - 16);
    fake_vmbus_send(&f->channel, 1, false, NULL, 0);
    assert_int_equal(signals(f), 1);
    fixture_free(f);
}

static void a_wrong_index_behind_a_wish_for_room_is_found_later(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    f->provider.is_deaf = true;
    while (fake_vmbus_write(&f->channel, VMBUS_PACKET_INBAND, 1, 0, NULL, 0, "12345678", 8))
        ;
    assert_int_equal(receive(f), 0);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_PENDING, 1024);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, 4097);
    for (unsigned i = 1; i < 127; i++)
        assert_int_equal(receive(f), 0); /* they were there when it was right */
    assert_int_equal(receive(f), VMBUS_E_BROKEN);
    assert_int_equal(signals(f), 0);
    fixture_free(f);
}

static void a_ring_that_is_full_to_the_last_byte_is_read(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    static const uint8_t payload[4096];

    fake_vmbus_send(&f->channel, 9, false, payload, 4096 - 16 - 8 - 8);
    assert_int_equal(f->provider.last_outcome, VMBUS_E_EMPTY);
    assert_int_equal(f->provider.packet->bytes, 4096 - 32);
    fixture_free(f);
}

static void writes_into_rings_are_in_the_dirty_log(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct hv_gpa_slot *slot = &f->guest.gpa.slots[0];

    for (uint64_t page = 0; page < slot->bytes >> HV_PAGE_SHIFT; page++)
        slot->page_flags[page] = HV_GPA_PAGE_CLEAN;
    assert_int_equal(send_bytes(f, "x", 1), 0);
    assert_int_equal(slot->page_flags[f->channel.in.pages[0] >> HV_PAGE_SHIFT], 0);
    assert_int_equal(slot->page_flags[f->channel.in.pages[1] >> HV_PAGE_SHIFT], 0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_write_indices_cost_the_channel),
        cmocka_unit_test(wrong_read_indices_cost_the_channel),
        cmocka_unit_test(a_broken_channel_is_dead_until_closed_and_opened_again),
        cmocka_unit_test(the_hosts_own_indices_are_never_read_back),
        cmocka_unit_test(packets_wrap_at_every_offset),
        cmocka_unit_test(payloads_are_padded_with_zeroes),
        cmocka_unit_test(a_first_heartbeat_looks_as_the_book_says),
        cmocka_unit_test(the_host_is_masked_while_it_reads_and_unmasked_when_empty),
        cmocka_unit_test(a_look_at_what_waits_takes_and_masks_nothing),
        cmocka_unit_test(the_guest_is_signalled_when_its_ring_was_empty_and_not_masked),
        cmocka_unit_test(a_look_at_what_waits_changes_nothing),
        cmocka_unit_test(a_batch_is_seen_at_its_end_with_one_signal),
        cmocka_unit_test(a_full_ring_is_never_filled_whole),
        cmocka_unit_test(a_guest_that_makes_room_signals_and_the_wish_is_withdrawn),
        cmocka_unit_test(a_full_ring_shows_a_batch_that_is_not_over),
        cmocka_unit_test(a_packet_that_never_fits_costs_the_channel),
        cmocka_unit_test(a_guest_that_waits_for_room_is_signalled_when_it_has_it),
        cmocka_unit_test(a_guest_that_waits_for_an_empty_ring_is_signalled),
        cmocka_unit_test(a_wrong_index_behind_a_wish_for_room_is_found_later),
        cmocka_unit_test(a_ring_that_is_full_to_the_last_byte_is_read),
        cmocka_unit_test(writes_into_rings_are_in_the_dirty_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
