/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of guest pages: section 6.6. */
#include "tests/unit/vmwp/vmbus/provider.h"

#include "vmwp/vmbus/bus_priv.h"

static uint32_t post_header(struct fixture *f, struct vmbus_wire_gpadl_header head,
                            const uint64_t *pages, unsigned n)
{
    uint8_t message[VMBUS_WIRE_MAX_MESSAGE];
    struct vmbus_wire_gpadl_created created;

    head.header.type = VMBUS_WIRE_GPADL_HEADER;
    memcpy(message, &head, sizeof(head));
    if (n > 0)
        memcpy(message + sizeof(head), pages, n * sizeof(pages[0]));
    fake_vmbus_post(&f->guest, message, sizeof(head) + n * sizeof(pages[0]));
    if (f->guest.n_messages == 0)
        return UINT32_MAX; /* no answer yet */
    fake_vmbus_take(&f->guest, VMBUS_WIRE_GPADL_CREATED, &created, sizeof(created));
    assert_int_equal(created.gpadl, head.gpadl);
    assert_int_equal(created.relid, head.relid);
    return created.status;
}

static void post_body(struct fixture *f, uint32_t gpadl, const uint64_t *pages, unsigned n)
{
    struct vmbus_wire_gpadl_body body = { .header.type = VMBUS_WIRE_GPADL_BODY, .gpadl = gpadl };
    uint8_t message[VMBUS_WIRE_MAX_MESSAGE];

    memcpy(message, &body, sizeof(body));
    memcpy(message + sizeof(body), pages, n * sizeof(pages[0]));
    fake_vmbus_post(&f->guest, message, sizeof(body) + n * sizeof(pages[0]));
}

static void wrong_headers_are_refused(void **state)
{
    struct fixture *f = fixture_new_connected();
    const struct vmbus_wire_gpadl_header good = {
        .relid = 1, .gpadl = 7, .n_ranges = 1, .byte_count = HV_PAGE_BYTES
    };
    struct vmbus_wire_gpadl_header head;
    uint64_t page = 1;

    static const uint32_t counts[] = { 0, 1, 4095, 4097, UINT32_MAX };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(counts); i++) {
        head = good;
        head.byte_count = counts[i];
        assert_int_not_equal(post_header(f, head, &page, 1), 0);
    }
    head = good, head.n_ranges = 0;
    assert_int_not_equal(post_header(f, head, &page, 1), 0);
    head = good, head.n_ranges = 2;
    assert_int_not_equal(post_header(f, head, &page, 1), 0);
    head = good, head.byte_offset = 8;
    assert_int_not_equal(post_header(f, head, &page, 1), 0);
    for (uint32_t relid = 0; relid < 4096; relid += relid == 0 ? 2 : 511) {
        head = good, head.relid = relid;
        assert_int_not_equal(post_header(f, head, &page, 1), 0);
    }
    assert_int_equal(post_header(f, good, &page, 1), 0);
    assert_int_not_equal(post_header(f, good, &page, 1), 0); /* its number is in use */
    fixture_free(f);
}

static void pages_that_are_not_ram_are_refused(void **state)
{
    struct fixture *f = fixture_new_connected();
    static const uint64_t wrong[] = { FAKE_VMBUS_SLOT_BYTES >> 12,
                                      (FAKE_VMBUS_HIGH_RAM >> 12) - 1,
                                      (FAKE_VMBUS_HIGH_RAM + FAKE_VMBUS_SLOT_BYTES) >> 12,
                                      UINT64_C(1) << 40,
                                      UINT64_C(1) << 52, /* 0, were it shifted */
                                      UINT64_MAX };
    struct vmbus_wire_gpadl_header head = {
        .relid = 1, .gpadl = 7, .n_ranges = 1, .byte_count = 2 * HV_PAGE_BYTES
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(wrong); i++) {
        uint64_t pages[2] = { 1, wrong[i] };

        assert_int_not_equal(post_header(f, head, pages, 2), 0);
    }
    fixture_free(f);
}

static void a_bad_page_in_a_body_is_answered_at_the_end(void **state)
{
    struct fixture *f = fixture_new_connected();
    struct vmbus_wire_gpadl_header head = {
        .relid = 1, .gpadl = 7, .n_ranges = 1, .byte_count = 3 * HV_PAGE_BYTES
    };
    struct vmbus_wire_gpadl_created created;
    uint64_t page = UINT64_MAX;

    assert_int_equal(post_header(f, head, NULL, 0), UINT32_MAX);
    post_body(f, 7, &page, 1);
    page = 1;
    post_body(f, 7, &page, 1);
    assert_int_equal(f->guest.n_messages, 0);
    post_body(f, 7, &page, 1);
    fake_vmbus_take(&f->guest, VMBUS_WIRE_GPADL_CREATED, &created, sizeof(created));
    assert_int_not_equal(created.status, 0);
    head.byte_count = HV_PAGE_BYTES; /* its number is free */
    assert_int_equal(post_header(f, head, &page, 1), 0);
    fixture_free(f);
}

static void bodies_without_a_header_are_dropped(void **state)
{
    struct fixture *f = fixture_new_connected();
    struct vmbus_wire_gpadl_header head = {
        .relid = 1, .gpadl = 7, .n_ranges = 1, .byte_count = HV_PAGE_BYTES
    };
    uint64_t page = 1;

    post_body(f, 7, &page, 1);
    assert_int_equal(post_header(f, head, &page, 1), 0);
    post_body(f, 7, &page, 1); /* it is complete */
    assert_int_equal(f->guest.n_messages, 0);
    assert_int_equal(f->guest.n_logged, 2);
    fixture_free(f);
}

static void bodies_of_two_lists_may_come_mixed(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct vmbus_wire_gpadl_header head = { .relid = 1,
                                            .n_ranges = 1,
                                            .byte_count = 2 * HV_PAGE_BYTES };
    uint64_t pages[] = { 100, 200, 101, 300 };
    const struct vmbus_range *ranges;
    unsigned n;

    head.gpadl = 7;
    assert_int_equal(post_header(f, head, &pages[0], 1), UINT32_MAX);
    head.gpadl = 8;
    assert_int_equal(post_header(f, head, &pages[1], 1), UINT32_MAX);
    assert_int_equal(vmbus_channel_gpadl(f->host, 7, &ranges, &n), -ENOENT); /* incomplete */
    post_body(f, 7, &pages[2], 1);
    post_body(f, 8, &pages[3], 1);
    assert_int_equal(f->guest.n_messages, 2);
    assert_int_equal(vmbus_channel_gpadl(f->host, 7, &ranges, &n), 0);
    assert_int_equal(n, 1); /* neighbours are one run */
    assert_int_equal(ranges[0].gpa, 100 * HV_PAGE_BYTES);
    assert_int_equal(ranges[0].bytes, 2 * HV_PAGE_BYTES);
    assert_int_equal(vmbus_channel_gpadl(f->host, 8, &ranges, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(ranges[1].gpa, 300 * HV_PAGE_BYTES);
    fixture_free(f);
}

static void more_pages_than_promised_are_not_taken(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct vmbus_wire_gpadl_header head = {
        .relid = 1, .gpadl = 7, .n_ranges = 1, .byte_count = HV_PAGE_BYTES
    };
    uint64_t pages[] = { 100, 200, 300 };
    const struct vmbus_range *ranges;
    unsigned n;

    assert_int_equal(post_header(f, head, pages, 3), 0);
    assert_int_equal(vmbus_channel_gpadl(f->host, 7, &ranges, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(ranges[0].bytes, HV_PAGE_BYTES);
    fixture_free(f);
}

static void a_large_buffer_takes_many_bodies(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    hv_gpa_t first = fake_vmbus_alloc(&f->guest, 2000);
    uint32_t gpadl = fake_vmbus_make_gpadl(&f->guest, 1, first, 2000);
    const struct vmbus_range *ranges;
    unsigned n;

    assert_int_equal(vmbus_channel_gpadl(f->host, gpadl, &ranges, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(ranges[0].gpa, first);
    assert_int_equal(ranges[0].bytes, 2000 * HV_PAGE_BYTES);
    fake_vmbus_end_gpadl(&f->guest, 1, gpadl);
    assert_int_equal(vmbus_channel_gpadl(f->host, gpadl, &ranges, &n), -ENOENT);
    fixture_free(f);
}

static void a_channel_has_so_many_lists_and_pages(void **state)
{
    struct fixture *f = fixture_new_connected();
    struct vmbus_wire_gpadl_header head = {
        .relid = 1, .gpadl = 1, .n_ranges = 1, .byte_count = HV_PAGE_BYTES
    };
    uint64_t page = 1;

    for (; head.gpadl <= VMBUS_MAX_GPADLS; head.gpadl++)
        assert_int_equal(post_header(f, head, &page, 1), 0);
    assert_int_not_equal(post_header(f, head, &page, 1), 0);
    fake_vmbus_end_gpadl(&f->guest, 1, 1);
    head.gpadl = 1;
    head.byte_count = (VMBUS_MAX_GPADL_PAGES - VMBUS_MAX_GPADLS + 1) * HV_PAGE_BYTES;
    assert_int_equal(post_header(f, head, &page, 1), UINT32_MAX); /* as many as there may be */
    fake_vmbus_end_gpadl(&f->guest, 1, 2);
    fake_vmbus_end_gpadl(&f->guest, 1, 3);
    head.gpadl = 2;
    head.byte_count = HV_PAGE_BYTES * 3; /* two are left; the answer waits for all pages */
    assert_int_equal(post_header(f, head, &page, 1), UINT32_MAX);
    post_body(f, 2, &page, 1);
    post_body(f, 2, &page, 1);
    {
        struct vmbus_wire_gpadl_created created;

        fake_vmbus_take(&f->guest, VMBUS_WIRE_GPADL_CREATED, &created, sizeof(created));
        assert_int_not_equal(created.status, 0);
    }
    head.byte_count = HV_PAGE_BYTES;
    assert_int_equal(post_header(f, head, &page, 1), 0);
    fixture_free(f);
}

static void a_guest_has_so_many_pages_over_all_channels(void **state)
{
    struct fixture *f = fixture_new_connected();
    struct vmbus_wire_gpadl_header head = { .n_ranges = 1,
                                            .byte_count = VMBUS_MAX_GPADL_PAGES * HV_PAGE_BYTES };
    unsigned n = VMBUS_MAX_ALL_GPADL_PAGES / VMBUS_MAX_GPADL_PAGES;
    uint64_t page = 1;
    struct vmbus_wire_gpadl_created created;

    for (unsigned i = 1; i <= n; i++) {
        struct vmbus_offer offer = provider_offer(&f->provider, (uint8_t)(i + 1));
        struct vmbus_channel *channel;

        assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &channel), 0);
    }
    assert_int_equal(fake_vmbus_take_offers(&f->guest), n);
    for (unsigned i = 1; i <= n; i++) {
        head.relid = i;
        head.gpadl = i;
        assert_int_equal(post_header(f, head, &page, 1), UINT32_MAX);
    }
    head.relid = n + 1;
    head.gpadl = n + 1;
    head.byte_count = 2 * HV_PAGE_BYTES;
    assert_int_equal(post_header(f, head, &page, 1), UINT32_MAX);
    post_body(f, n + 1, &page, 1);
    fake_vmbus_take(&f->guest, VMBUS_WIRE_GPADL_CREATED, &created, sizeof(created));
    assert_int_not_equal(created.status, 0);
    fixture_free(f);
}

static void tearing_down_what_is_not_there_is_dropped(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    struct vmbus_wire_gpadl_teardown teardown = { .header.type = VMBUS_WIRE_GPADL_TEARDOWN,
                                                  .relid = 1,
                                                  .gpadl = 9 };

    fake_vmbus_post(&f->guest, &teardown, sizeof(teardown));
    teardown.gpadl = f->channel.gpadl; /* of another channel */
    teardown.relid = 2;
    fake_vmbus_post(&f->guest, &teardown, sizeof(teardown));
    teardown.relid = UINT32_MAX;
    fake_vmbus_post(&f->guest, &teardown, sizeof(teardown));
    assert_int_equal(f->guest.n_messages, 0);
    assert_int_equal(f->provider.n_closed, 0);
    fixture_free(f);
}

static void an_open_ring_that_is_torn_down_is_closed_before_the_answer(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);

    fake_vmbus_end_gpadl(&f->guest, 1, f->channel.gpadl);
    assert_int_equal(f->provider.n_closed, 1);
    assert_false(vmbus_channel_is_open(f->host));
    fake_vmbus_post_relid(&f->guest, VMBUS_WIRE_CLOSE, 1);
    assert_int_equal(f->provider.n_closed, 1);
    fake_vmbus_open(&f->guest, 1, 2, 2, &f->channel);
    fixture_free(f);
}

static void what_a_provider_holds_stays_until_closed(void **state)
{
    struct fixture *f = fixture_new_open(2, 2);
    hv_gpa_t first = fake_vmbus_alloc(&f->guest, 3);
    uint32_t gpadl = fake_vmbus_make_gpadl(&f->guest, 1, first, 3);
    const struct vmbus_range *ranges;
    unsigned n;

    assert_int_equal(vmbus_channel_gpadl(f->host, gpadl, &ranges, &n), 0);
    fake_vmbus_end_gpadl(&f->guest, 1, gpadl); /* answered */
    assert_int_equal(ranges[0].gpa, first);    /* and still to be read */
    fake_vmbus_close(&f->channel);
    assert_int_equal(vmbus_channel_gpadl(f->host, gpadl, &ranges, &n), -ENOENT);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_headers_are_refused),
        cmocka_unit_test(pages_that_are_not_ram_are_refused),
        cmocka_unit_test(a_bad_page_in_a_body_is_answered_at_the_end),
        cmocka_unit_test(bodies_without_a_header_are_dropped),
        cmocka_unit_test(bodies_of_two_lists_may_come_mixed),
        cmocka_unit_test(more_pages_than_promised_are_not_taken),
        cmocka_unit_test(a_large_buffer_takes_many_bodies),
        cmocka_unit_test(a_channel_has_so_many_lists_and_pages),
        cmocka_unit_test(a_guest_has_so_many_pages_over_all_channels),
        cmocka_unit_test(tearing_down_what_is_not_there_is_dropped),
        cmocka_unit_test(an_open_ring_that_is_torn_down_is_closed_before_the_answer),
        cmocka_unit_test(what_a_provider_holds_stays_until_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
