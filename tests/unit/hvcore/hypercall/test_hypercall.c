/* SPDX-License-Identifier: Apache-2.0 */
/* spec: TLFS hypercall-interface "Hypercall Inputs"; HvCallPostMessage, HvCallSignalEvent */
#include "tests/lib/fake_partition.h"

#include "hvcore/hypercall/hypercall.h"
#include "hvcore/spec/tlfs.h"

#include <sys/eventfd.h>

enum { BLOCK = 0x6000, CONNECTION = 0x10007 };

static uint64_t call3(struct fake_partition *fake, uint64_t input, uint64_t first, uint64_t second)
{
    struct hv_hypercall call = { .input = input, .parameters = first, .output = second };
    uint64_t result = UINT64_MAX;

    assert_true(hv_hypercall_dispatch(&fake->partition, 1, &call, &result));
    return result;
}

static int setup(void **state)
{
    int r = fake_setup(state);

    fake_wrmsr(*state, 0, TLFS_MSR_GUEST_OS_ID, 1);
    fake_wrmsr(*state, 0, TLFS_MSR_HYPERCALL, 0x3001);
    return r;
}

/* ---- ports ---- */

struct mailbox {
    struct hv_message last;
    unsigned n, vp;
    bool is_full;
};

static bool on_message(void *opaque, unsigned vp, const struct hv_message *message)
{
    struct mailbox *box = opaque;

    if (box->is_full)
        return false;
    box->last = *message;
    box->vp = vp;
    box->n++;
    return true;
}

static void put_message(struct fake_partition *fake, hv_gpa_t at, uint32_t connection_id,
                        uint32_t type, uint32_t bytes)
{
    const uint32_t header[4] = { connection_id, 0, type, bytes };

    memset(fake_memory(fake, at), 0x5a, 256);
    memcpy(fake_memory(fake, at), header, sizeof(header));
}

static void without_the_interface_a_call_is_no_instruction(void **state)
{
    struct fake_partition *fake = *state;
    struct hv_hypercall call = { .input = TLFS_CALL_POST_MESSAGE, .parameters = BLOCK };
    uint64_t result = 77;

    fake_wrmsr(fake, 0, TLFS_MSR_GUEST_OS_ID, 0);
    assert_false(hv_hypercall_dispatch(&fake->partition, 0, &call, &result));
    assert_int_equal(result, 77);
}

static void what_is_not_offered_is_refused(void **state)
{
    static const uint16_t unknown[] = { 0, 1, 0x46, 0x7e, 0xaf, 0xffff };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(unknown); i++)
        assert_int_equal(call3(*state, unknown[i], BLOCK, 0), TLFS_STATUS_INVALID_HYPERCALL_CODE);
}

static void a_wrong_form_is_refused(void **state)
{
    static const uint64_t bad[] = {
        TLFS_CALL_POST_MESSAGE | TLFS_CALL_FAST,
        TLFS_CALL_POST_MESSAGE | UINT64_C(1) << 17,
        TLFS_CALL_POST_MESSAGE | UINT64_C(1) << 27,
        TLFS_CALL_POST_MESSAGE | UINT64_C(1) << 44,
        TLFS_CALL_POST_MESSAGE | UINT64_C(1) << 63,
        TLFS_CALL_POST_MESSAGE | UINT64_C(1) << 32,
        TLFS_CALL_SIGNAL_EVENT | TLFS_CALL_FAST | UINT64_C(1) << 17,
        TLFS_CALL_FLUSH_SPACE | TLFS_CALL_FAST,
        TLFS_CALL_FLUSH_LIST,                                         /* no entries */
        TLFS_CALL_FLUSH_LIST | UINT64_C(2) << 32 | UINT64_C(2) << 48, /* begins at the end */
        TLFS_CALL_FLUSH_SPACE | UINT64_C(1) << 48,                    /* not a list */
        TLFS_CALL_FLUSH_SPACE_EX | UINT64_C(1023) << 17,
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(bad); i++)
        assert_int_equal(call3(*state, bad[i], BLOCK, 0) & 0xffff,
                         TLFS_STATUS_INVALID_HYPERCALL_INPUT);
}

static void a_block_must_be_aligned_in_one_page_and_in_ram(void **state)
{
    static const uint64_t bad[] = { BLOCK + 4, BLOCK + 0xf08, FAKE_RAM_BYTES, UINT64_MAX - 7,
                                    UINT64_MAX - 0xfff };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(bad); i++)
        assert_int_equal(call3(*state, TLFS_CALL_POST_MESSAGE, bad[i], 0),
                         TLFS_STATUS_INVALID_ALIGNMENT);
}

static void a_message_reaches_its_port(void **state)
{
    struct fake_partition *fake = *state;
    struct mailbox box = { .n = 0 };

    assert_int_equal(hv_partition_add_message_port(&fake->partition, CONNECTION, on_message, &box),
                     0);
    put_message(fake, BLOCK + 0xf00, CONNECTION, 1, 240);
    assert_int_equal(call3(fake, TLFS_CALL_POST_MESSAGE, BLOCK + 0xf00, 0), 0);
    assert_int_equal(box.n, 1);
    assert_int_equal(box.vp, 1);
    assert_int_equal(box.last.type, 1);
    assert_int_equal(box.last.bytes, 240);
    assert_int_equal(box.last.payload[239], 0x5a);
    box.is_full = true;
    assert_int_equal(call3(fake, TLFS_CALL_POST_MESSAGE, BLOCK + 0xf00, 0),
                     TLFS_STATUS_INSUFFICIENT_BUFFERS);
    hv_partition_remove_port(&fake->partition, CONNECTION);
    assert_int_equal(call3(fake, TLFS_CALL_POST_MESSAGE, BLOCK + 0xf00, 0),
                     TLFS_STATUS_INVALID_CONNECTION_ID);
}

static void bad_messages_reach_nobody(void **state)
{
    static const struct {
        uint32_t connection_id, type, bytes;
        enum tlfs_status status;
    } bad[] = {
        { CONNECTION, 0, 8, TLFS_STATUS_INVALID_PARAMETER },
        { CONNECTION, 0x80000001, 8, TLFS_STATUS_INVALID_PARAMETER },
        { CONNECTION, 1, 241, TLFS_STATUS_INVALID_PARAMETER },
        { CONNECTION, 1, UINT32_MAX, TLFS_STATUS_INVALID_PARAMETER },
        { CONNECTION + 256, 1, 8, TLFS_STATUS_INVALID_CONNECTION_ID },
        { CONNECTION | 1U << 31, 1, 8, TLFS_STATUS_INVALID_CONNECTION_ID },
        { 5, 1, 8, TLFS_STATUS_INVALID_PORT_ID },
    };
    struct fake_partition *fake = *state;
    struct mailbox box = { .n = 0 };

    assert_int_equal(hv_partition_add_message_port(&fake->partition, CONNECTION, on_message, &box),
                     0);
    assert_int_equal(hv_partition_add_event_port(&fake->partition, 5, 0), 0);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(bad); i++) {
        put_message(fake, BLOCK, bad[i].connection_id, bad[i].type, bad[i].bytes);
        assert_int_equal(call3(fake, TLFS_CALL_POST_MESSAGE, BLOCK, 0), bad[i].status);
    }
    assert_int_equal(box.n, 0);
}

static void a_signal_writes_its_eventfd(void **state)
{
    struct fake_partition *fake = *state;
    struct mailbox box = { .n = 0 };
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const uint64_t fast = TLFS_CALL_SIGNAL_EVENT | TLFS_CALL_FAST;
    uint64_t n = 0;

    assert_int_equal(hv_partition_add_event_port(&fake->partition, CONNECTION, fd), 0);
    assert_int_equal(hv_partition_add_event_port(&fake->partition, CONNECTION, fd), -EEXIST);
    assert_int_equal(hv_partition_add_message_port(&fake->partition, 9, on_message, &box), 0);
    assert_int_equal(call3(fake, fast, CONNECTION, 0), 0);
    assert_int_equal(call3(fake, fast, CONNECTION | UINT64_C(2047) << 32, 0), 0);
    assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
    assert_int_equal(n, 2);
    assert_int_equal(call3(fake, fast, CONNECTION | UINT64_C(2048) << 32, 0),
                     TLFS_STATUS_INVALID_PARAMETER);
    assert_int_equal(call3(fake, fast, 9, 0), TLFS_STATUS_INVALID_PORT_ID);
    assert_int_equal(call3(fake, fast, 10, 0), TLFS_STATUS_INVALID_CONNECTION_ID);
    *(uint64_t *)fake_memory(fake, BLOCK) = CONNECTION;
    assert_int_equal(call3(fake, TLFS_CALL_SIGNAL_EVENT, BLOCK, 0), 0);
    assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
    assert_int_equal(n, 1);
    hv_partition_remove_port(&fake->partition, CONNECTION);
    hv_partition_remove_port(&fake->partition, CONNECTION);
    assert_int_equal(call3(fake, fast, CONNECTION, 0), TLFS_STATUS_INVALID_CONNECTION_ID);
    assert_int_equal(close(fd), 0);
}

/* ---- flushes and interrupts ---- */

static void put_words(struct fake_partition *fake, const uint64_t *words, size_t n)
{
    memcpy(fake_memory(fake, BLOCK), words, n * sizeof(*words));
}

#define PUT(fake, ...)                                                                             \
    put_words(fake, (const uint64_t[]){ __VA_ARGS__ },                                             \
              HV_ARRAY_SIZE(((const uint64_t[]){ __VA_ARGS__ })))

static void a_flush_reaches_those_it_names(void **state)
{
    struct fake_partition *fake = *state;

    PUT(fake, 0x1000, 0, 2);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_SPACE, BLOCK, 0), 0);
    assert_int_equal(fake->flushed, 2);
    PUT(fake, 0x1000, 1, 0); /* all processors */
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_SPACE, BLOCK, 0), 0);
    assert_int_equal(fake->flushed, UINT64_MAX);
    PUT(fake, 0, 0x10, 2);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_SPACE, BLOCK, 0), TLFS_STATUS_INVALID_PARAMETER);
    assert_int_equal(fake->n_flushes, 2);
}

static void a_flushed_list_is_done_as_a_whole(void **state)
{
    struct fake_partition *fake = *state;
    const uint64_t three = UINT64_C(3) << 32;

    PUT(fake, 0x1000, 0, 1, 0x7000, 0x8000, 0x9fff);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_LIST | three, BLOCK, 0), three);
    assert_int_equal(fake->flushed, 1);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_LIST | three | UINT64_C(2) << 48, BLOCK, 0),
                     three);
    PUT(fake, 0x1000, 0x20, 1);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_LIST | three | UINT64_C(2) << 48, BLOCK, 0),
                     TLFS_STATUS_INVALID_PARAMETER | UINT64_C(2) << 32);
    /* The list must end in the page as well. */
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_LIST | UINT64_C(0xfff) << 32, BLOCK, 0),
                     TLFS_STATUS_INVALID_ALIGNMENT);
    assert_int_equal(fake->n_flushes, 2);
}

static void a_set_of_vps_is_banks(void **state)
{
    struct fake_partition *fake = *state;
    const uint64_t one = UINT64_C(1) << 17, two = UINT64_C(2) << 17, reps = UINT64_C(2) << 32;

    PUT(fake, 0x1000, 0, TLFS_VP_SET_SPARSE, 1, 2);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_SPACE_EX | one, BLOCK, 0), 0);
    assert_int_equal(fake->flushed, 2);
    PUT(fake, 0x1000, 0, TLFS_VP_SET_SPARSE, 0x8001, 3, 5);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_LIST_EX | two | reps, BLOCK, 0), reps);
    assert_int_equal(fake->flushed, 3);
    PUT(fake, 0x1000, 0, TLFS_VP_SET_SPARSE, 0x8000, 3); /* VPs that don't exist */
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_SPACE_EX | one, BLOCK, 0), 0);
    assert_int_equal(fake->flushed, 0);
    PUT(fake, 0x1000, 0, TLFS_VP_SET_ALL, 0);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_SPACE_EX, BLOCK, 0), 0);
    assert_int_equal(fake->flushed, UINT64_MAX);
    PUT(fake, 0x1000, 0, 2, 1, 2);
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_SPACE_EX | one, BLOCK, 0),
                     TLFS_STATUS_INVALID_PARAMETER);
    PUT(fake, 0x1000, 0, TLFS_VP_SET_SPARSE, 3, 2); /* two banks, one told */
    assert_int_equal(call3(fake, TLFS_CALL_FLUSH_SPACE_EX | one, BLOCK, 0),
                     TLFS_STATUS_INVALID_HYPERCALL_INPUT);
    assert_int_equal(fake->n_flushes, 4);
}

static void an_ipi_interrupts_those_it_names(void **state)
{
    struct fake_partition *fake = *state;
    const uint64_t fast = TLFS_CALL_SEND_IPI | TLFS_CALL_FAST;

    assert_int_equal(call3(fake, fast, 0x0f, 1), TLFS_STATUS_INVALID_PARAMETER);
    assert_int_equal(call3(fake, fast, 0x100, 1), TLFS_STATUS_INVALID_PARAMETER);
    assert_int_equal(call3(fake, fast, UINT64_C(1) << 32 | 0x40, 1), TLFS_STATUS_INVALID_PARAMETER);
    assert_int_equal(fake->n_interrupts[0], 0);
    assert_int_equal(call3(fake, fast, 0x40, UINT64_MAX), 0); /* also those who don't exist */
    assert_int_equal(fake->n_interrupts[0], 1);
    assert_int_equal(fake->n_interrupts[1], 1);
    assert_int_equal(fake->vector[1], 0x40);
    PUT(fake, 0x41, 2);
    assert_int_equal(call3(fake, TLFS_CALL_SEND_IPI, BLOCK, 0), 0);
    assert_int_equal(fake->vector[1], 0x41);
    PUT(fake, 0x42, TLFS_VP_SET_SPARSE, 1, 1);
    assert_int_equal(call3(fake, TLFS_CALL_SEND_IPI_EX | UINT64_C(1) << 17, BLOCK, 0), 0);
    assert_int_equal(fake->vector[0], 0x42);
    PUT(fake, 0x43, TLFS_VP_SET_ALL, 0);
    assert_int_equal(call3(fake, TLFS_CALL_SEND_IPI_EX, BLOCK, 0), 0);
    assert_int_equal(fake->vector[0], 0x43);
    assert_int_equal(fake->vector[1], 0x43);
}

static void what_needs_a_privilege_nobody_has_is_denied(void **state)
{
    const uint64_t one = UINT64_C(1) << 32;

    assert_int_equal(call3(*state, TLFS_CALL_GET_VP_REGISTERS | one, BLOCK, 0),
                     TLFS_STATUS_ACCESS_DENIED);
    assert_int_equal(call3(*state, TLFS_CALL_SET_VP_REGISTERS | one, BLOCK, 0),
                     TLFS_STATUS_ACCESS_DENIED);
    assert_int_equal(call3(*state, TLFS_CALL_EXT_QUERY_CAPABILITIES, 0, BLOCK),
                     TLFS_STATUS_ACCESS_DENIED);
    assert_int_equal(call3(*state, TLFS_CALL_LONG_SPIN_WAIT | TLFS_CALL_FAST, 0xffff, 0), 0);
}

/* ---- whatever a guest may say ---- */

static uint64_t noise(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed ^ *seed >> 29;
}

/* Often something that almost makes sense. */
static uint64_t some_input(uint64_t *seed)
{
    static const uint16_t codes[] = { 2, 3, 8, 0xb, 0x13, 0x14, 0x15, 0x50, 0x5c, 0x5d, 0x8001 };
    uint64_t input = codes[noise(seed) % HV_ARRAY_SIZE(codes)];

    if (noise(seed) % 2)
        input |= TLFS_CALL_FAST;
    if (noise(seed) % 2)
        input |= (noise(seed) % 8) << 17;
    if (noise(seed) % 2)
        input |= (noise(seed) % 512) << 32;
    return noise(seed) % 8 ? input : noise(seed);
}

static void no_call_and_no_register_does_harm(void **state)
{
    struct fake_partition *fake = *state;
    struct mailbox box = { .n = 0 };
    uint64_t seed = 1;

    assert_int_equal(hv_partition_add_message_port(&fake->partition, 3, on_message, &box), 0);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t *words = fake_memory(fake, BLOCK);
        uint64_t value = noise(&seed);
        struct hv_message message = { .type = 1, .bytes = (uint32_t)(i % 241) };
        struct hv_hypercall call = { .input = some_input(&seed),
                                     .parameters = noise(&seed) % 4 ? BLOCK : noise(&seed),
                                     .output = noise(&seed) };

        for (unsigned n = 0; n < 8; n++)
            words[n] = noise(&seed) % 2 ? noise(&seed) : noise(&seed) % 4;
        (void)hv_hypercall_dispatch(&fake->partition, i % 2, &call, &value);
        (void)hv_msr_write(&fake->partition, i % 2,
                           TLFS_MSR_FIRST + (uint32_t)(noise(&seed) % 0x110),
                           noise(&seed) % 2 ? noise(&seed) : noise(&seed) % FAKE_RAM_BYTES | 1);
        (void)hv_msr_read(&fake->partition, i % 2, TLFS_MSR_FIRST + i % 0x110, &value);
        (void)hv_partition_post_message(&fake->partition, i % 2, i % 16, &message);
        (void)hv_partition_signal_event(&fake->partition, i % 2, i % 16, i % 2048);
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_the_interface_a_call_is_no_instruction),
        CASE(what_is_not_offered_is_refused),
        CASE(a_wrong_form_is_refused),
        CASE(a_block_must_be_aligned_in_one_page_and_in_ram),
        CASE(a_message_reaches_its_port),
        CASE(bad_messages_reach_nobody),
        CASE(a_signal_writes_its_eventfd),
        CASE(a_flush_reaches_those_it_names),
        CASE(a_flushed_list_is_done_as_a_whole),
        CASE(a_set_of_vps_is_banks),
        CASE(an_ipi_interrupts_those_it_names),
        CASE(no_call_and_no_register_does_harm),
        CASE(what_needs_a_privilege_nobody_has_is_denied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
