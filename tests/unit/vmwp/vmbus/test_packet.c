/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest may write into its ring, and what it may not: section 6.10. */
#include "tests/unit/vmwp/vmbus/provider.h"

#include <pthread.h>
#include <stdatomic.h>

enum { HEAD = sizeof(struct vmbus_wire_packet) };

/* Put raw bytes at the ring's start, publish so many, and receive. */
static int receive_raw(struct fixture *f, const void *bytes, uint32_t n, uint32_t published)
{
    f->provider.is_deaf = true;
    fake_vmbus_ring_write(&f->guest, &f->channel.out, 0, bytes, n);
    fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE, published);
    return vmbus_channel_receive(f->host, f->provider.packet);
}

static int receive_head(uint16_t type, uint16_t payload_at8, uint16_t bytes8, uint32_t published)
{
    struct fixture *f = fixture_new_open(16, 2);
    struct vmbus_wire_packet head = { .type = type, .payload_at8 = payload_at8, .bytes8 = bytes8 };
    int r = receive_raw(f, &head, sizeof(head), published);

    fake_vmbus_turn(&f->guest);
    assert_int_equal(f->provider.n_closed, r == VMBUS_E_BROKEN);
    fixture_free(f);
    return r;
}

static void lengths_that_contradict_each_other_are_broken(void **state)
{
    static const struct {
        uint16_t payload_at8, bytes8;
        uint32_t published;
        int outcome;
    } rows[] = {
        { 2, 2, 24, 0 },
        { 2, 2, 32, 0 },              /* another, unfinished, follows */
        { 2, 2, 16, VMBUS_E_BROKEN }, /* no trailer */
        { 2, 2, 8, VMBUS_E_BROKEN },  /* not even a descriptor */
        { 2, 0, 24, VMBUS_E_BROKEN }, /* shorter than its descriptor */
        { 2, 1, 24, VMBUS_E_BROKEN },
        { 0, 2, 24, VMBUS_E_BROKEN }, /* payload in the descriptor */
        { 1, 2, 24, VMBUS_E_BROKEN },
        { 3, 2, 24, VMBUS_E_BROKEN }, /* payload beyond the packet */
        { 0xFFFF, 2, 24, VMBUS_E_BROKEN },
        { 0xFFFF, 0xFFFF, 24, VMBUS_E_BROKEN },
        { 2, 0xFFFF, 61440 - 8, VMBUS_E_BROKEN },
        { 2, 3, 24, VMBUS_E_BROKEN },       /* longer than what is there */
        { 2, 2 + 2048, 16 + 16384 + 8, 0 }, /* as long as may be */
        { 2, 3 + 2048, 24 + 16384 + 8, VMBUS_E_BROKEN },
        { 2 + 2048, 2 + 2048, 16 + 16384 + 8, 0 },
        { 3 + 2048, 3 + 2048, 24 + 16384 + 8, VMBUS_E_BROKEN },
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++)
        assert_int_equal(receive_head(VMBUS_PACKET_INBAND, rows[i].payload_at8, rows[i].bytes8,
                                      rows[i].published),
                         rows[i].outcome);
}

static void only_three_types_come_from_guests(void **state)
{
    for (unsigned type = 0; type < 20; type++) {
        int expected =
            type == VMBUS_PACKET_INBAND || type == VMBUS_PACKET_COMPLETION ? 0 : VMBUS_E_BROKEN;

        assert_int_equal(receive_head((uint16_t)type, 2, 2, 24), expected);
    }
    assert_int_equal(receive_head(0xFFFF, 2, 2, 24), VMBUS_E_BROKEN);
}

/* Send a GPA-direct packet with this extension. Returns what receiving it gave; f->provider.packet
 * holds it. */
static int receive_direct(struct fixture *f, const uint64_t *extension, uint32_t n)
{
    f->provider.is_deaf = true;
    assert_true(fake_vmbus_write(&f->channel, VMBUS_PACKET_GPA_DIRECT, 3, 1, extension, n * 8,
                                 "payload!", 8));
    return vmbus_channel_receive(f->host, f->provider.packet);
}

static uint64_t range(uint32_t bytes, uint32_t offset)
{
    return bytes | (uint64_t)offset << 32;
}

#define N_RANGES(n) ((uint64_t)(n) << 32)
#define HIGH_PAGE   (FAKE_VMBUS_HIGH_RAM >> 12)
#define SLOT_PAGES  (FAKE_VMBUS_SLOT_BYTES >> 12)

static void page_lists_that_lie_are_broken(void **state)
{
    static const struct {
        unsigned n;
        uint64_t extension[8];
    } rows[] = {
        { 0, { 0 } },                      /* no room for the count */
        { 1, { N_RANGES(1) } },            /* none for the range */
        { 2, { N_RANGES(1), 1 } },         /* none for its page */
        { 3, { N_RANGES(2), 0x1000, 1 } }, /* none for the second range */
        { 3, { N_RANGES(1), 0x1001, 1 } }, /* one page too few */
        { 3, { N_RANGES(1), 0xFFFFFFFF, 1 } },
        { 3, { N_RANGES(1), 0x1ULL << 44 | 1, 1 } }, /* offset 4096 */
        { 3, { N_RANGES(1), 0xFFFFFFFFULL << 32 | 1, 1 } },
        { 3, { N_RANGES(1), 0xFFFFFFFFULL << 32 | 0xFFFFFFFF, 1 } },
        { 3, { N_RANGES(1), 1, SLOT_PAGES } }, /* not RAM */
        { 3, { N_RANGES(1), 1, HIGH_PAGE + SLOT_PAGES } },
        { 3, { N_RANGES(1), 1, UINT64_MAX } },
        { 3, { N_RANGES(1), 1, 1ULL << 52 } },
        { 4, { N_RANGES(1), 0x1001, 1, HIGH_PAGE - 1 } },
        { 3, { N_RANGES(0xFFFFFFFF), 1, 1 } },
        { 3, { N_RANGES(65), 0, 0 } },
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct fixture *f = fixture_new_open(16, 2);

        assert_int_equal(receive_direct(f, rows[i].extension, rows[i].n), VMBUS_E_BROKEN);
        fixture_free(f);
    }
}

static void a_range_becomes_runs_of_ram(void **state)
{
    struct fixture *f = fixture_new_open(16, 2);
    const uint64_t extension[] = { N_RANGES(2), range(0x2800, 0x800), 10, 11,
                                   HIGH_PAGE,   range(0x100, 0x200),  20 };
    const struct vmbus_packet *packet = f->provider.packet;

    assert_int_equal(receive_direct(f, extension, HV_ARRAY_SIZE(extension)), 0);
    assert_int_equal(packet->type, VMBUS_PACKET_GPA_DIRECT);
    assert_true(packet->wants_completion);
    assert_int_equal(packet->transaction, 3);
    assert_int_equal(packet->bytes, 8);
    assert_memory_equal(packet->payload, "payload!", 8);
    assert_int_equal(packet->n_ranges, 3);
    assert_int_equal(packet->data_bytes, 0x2900);
    assert_int_equal(packet->ranges[0].gpa, 0xA800);
    assert_int_equal(packet->ranges[0].bytes, 0x1800);
    assert_int_equal(packet->ranges[1].gpa, FAKE_VMBUS_HIGH_RAM);
    assert_int_equal(packet->ranges[1].bytes, 0x1000);
    assert_int_equal(packet->ranges[2].gpa, 0x14200);
    assert_int_equal(packet->ranges[2].bytes, 0x100);
    fixture_free(f);
}

static void nothing_of_a_packet_stays_for_the_next(void **state)
{
    struct fixture *f = fixture_new_open(16, 2);
    const uint64_t extension[] = { N_RANGES(1), range(0x1000, 0), 10 };

    assert_int_equal(receive_direct(f, extension, HV_ARRAY_SIZE(extension)), 0);
    fake_vmbus_send(&f->channel, 4, false, NULL, 0);
    assert_int_equal(vmbus_channel_receive(f->host, f->provider.packet), 0);
    assert_int_equal(f->provider.packet->n_ranges, 0);
    assert_int_equal(f->provider.packet->data_bytes, 0);
    assert_int_equal(f->provider.packet->bytes, 0);
    assert_false(f->provider.packet->wants_completion);
    fixture_free(f);
}

static void empty_ranges_are_no_data(void **state)
{
    struct fixture *f = fixture_new_open(16, 2);
    const uint64_t extension[] = { N_RANGES(3), range(0, 0), range(0, 1), 10, range(8, 0), 12 };

    assert_int_equal(receive_direct(f, extension, HV_ARRAY_SIZE(extension)), 0);
    assert_int_equal(f->provider.packet->n_ranges, 1);
    assert_int_equal(f->provider.packet->data_bytes, 8);
    fixture_free(f);
}

static void as_many_pages_as_a_packet_holds_may_lie_apart(void **state)
{
    struct fixture *f = fixture_new_open(16, 2);
    enum { N = 2046 };
    static uint64_t extension[2 + N] = { N_RANGES(1), (uint64_t)N * 4096 };

    for (unsigned i = 0; i < N; i++)
        extension[2 + i] = 4000 - 2 * (i % 1000);
    assert_int_equal(receive_direct(f, extension, HV_ARRAY_SIZE(extension)), 0);
    assert_int_equal(f->provider.packet->n_ranges, N);
    assert_int_equal(f->provider.packet->data_bytes, N * 4096);
    assert_int_equal(f->provider.packet->ranges[N - 1].gpa, (4000 - 2 * ((N - 1) % 1000)) << 12);
    fixture_free(f);
}

static void a_fake_driver_sends_contiguous_memory(void **state)
{
    struct fixture *f = fixture_new_open(16, 2);
    hv_gpa_t data = fake_vmbus_alloc(&f->guest, 20) + 0x123;

    f->provider.is_deaf = true;
    fake_vmbus_send_direct(&f->channel, 8, data, 0x10001, "p", 1);
    assert_int_equal(vmbus_channel_receive(f->host, f->provider.packet), 0);
    assert_int_equal(f->provider.packet->n_ranges, 1);
    assert_int_equal(f->provider.packet->ranges[0].gpa, data);
    assert_int_equal(f->provider.packet->ranges[0].bytes, 0x10001);
    fixture_free(f);
}

static void transfer_pages_carry_their_ranges(void **state)
{
    struct fixture *f = fixture_new_open(2, 4);
    static const uint32_t ranges[][2] = { { 100, 0 }, { 200, 4096 } };
    static const uint64_t expected[] = { 0x200000000 | 0xCAFE, 100, 200 | (4096ULL << 32) };

    assert_int_equal(vmbus_channel_send_transfer_pages(f->host, 9, 0xCAFE, ranges, 2, "payload", 7),
                     0);
    assert_true(fake_vmbus_read(&f->channel, &f->packet));
    assert_int_equal(f->packet.type, VMBUS_PACKET_TRANSFER_PAGES);
    assert_int_equal(f->packet.flags, VMBUS_WIRE_WANTS_COMPLETION);
    assert_int_equal(f->packet.extension_bytes, sizeof(expected));
    assert_memory_equal(f->packet.extension, expected, sizeof(expected));
    assert_memory_equal(f->packet.payload, "payload", 8);
    fixture_free(f);
}

/* A guest that rewrites its ring all the time */
struct rewriter {
    struct fixture *f;
    atomic_bool must_stop;
};

static void *rewrite(void *opaque)
{
    struct rewriter *rewriter = opaque;
    struct fixture *f = rewriter->f;
    uint64_t bytes;
    volatile uint8_t *data =
        hv_gpa_window(&f->guest.gpa, f->channel.out.pages[1], HV_PAGE_BYTES, &bytes);
    uint32_t random = 1;

    while (!rewriter->must_stop) {
        random = random * 1664525 + 1013904223;
        switch (random >> 30) {
        case 0: /* lengths, type, page list of the packet at the start */
            data[(random >> 8) % 64] = (uint8_t)(random >> 16) % 12;
            break;
        case 1: data[(random >> 8) % 64] = (uint8_t)(random >> 16); break;
        default:
            fake_vmbus_ring_set(&f->guest, &f->channel.out, VMBUS_WIRE_RING_WRITE,
                                (random >> 8) % 512 * 8);
        }
    }
    return NULL;
}

static void check_ranges(struct fixture *f, const struct vmbus_packet *packet)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < packet->n_ranges; i++) {
        uint64_t bytes;

        assert_non_null(
            hv_gpa_window(&f->guest.gpa, packet->ranges[i].gpa, packet->ranges[i].bytes, &bytes));
        assert_int_equal(bytes, packet->ranges[i].bytes);
        sum += bytes;
    }
    assert_int_equal(sum, packet->data_bytes);
}

static void a_guest_that_rewrites_what_is_being_read_fools_nobody(void **state)
{
    struct fixture *f = fixture_new_connected();
    const uint64_t extension[] = { N_RANGES(1), range(0x1000, 0), 10 };
    unsigned n_received = 0;

    f->provider.is_deaf = true;
    for (unsigned round = 0; round < 200; round++) {
        struct rewriter rewriter = { .f = f };
        pthread_t thread;
        int r = 0;

        if (f->guest.next_page > FAKE_VMBUS_SLOT_BYTES / 2)
            f->guest.next_page = HV_PAGE_BYTES;
        fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
        assert_true(fake_vmbus_write(&f->channel, VMBUS_PACKET_GPA_DIRECT, 3, 1, extension,
                                     sizeof(extension), "payload!", 8));
        assert_int_equal(pthread_create(&thread, NULL, rewrite, &rewriter), 0);
        for (unsigned i = 0; i < 1000 && r != VMBUS_E_BROKEN; i++) {
            r = vmbus_channel_receive(f->host, f->provider.packet);
            if (r == 0)
                check_ranges(f, f->provider.packet);
            n_received += r == 0;
        }
        rewriter.must_stop = true;
        assert_int_equal(pthread_join(thread, NULL), 0);
        fake_vmbus_close(&f->channel);
    }
    assert_true(n_received > 0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_that_contradict_each_other_are_broken),
        cmocka_unit_test(only_three_types_come_from_guests),
        cmocka_unit_test(page_lists_that_lie_are_broken),
        cmocka_unit_test(a_range_becomes_runs_of_ram),
        cmocka_unit_test(nothing_of_a_packet_stays_for_the_next),
        cmocka_unit_test(empty_ranges_are_no_data),
        cmocka_unit_test(as_many_pages_as_a_packet_holds_may_lie_apart),
        cmocka_unit_test(a_fake_driver_sends_contiguous_memory),
        cmocka_unit_test(transfer_pages_carry_their_ranges),
        cmocka_unit_test(a_guest_that_rewrites_what_is_being_read_fools_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
