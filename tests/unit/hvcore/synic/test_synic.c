/* SPDX-License-Identifier: Apache-2.0 */
/* spec: TLFS inter-partition-communication "SynIC", "SIM Page", "SIEF Page" */
#include "tests/lib/fake_partition.h"

#include "hvcore/spec/tlfs.h"

enum { SIMP = 0x4000, SIEFP = 0x5000, SINT = 2, VECTOR = 0xf3 };

/* As Linux does it: message page, event page, SINT2, and on. */
static void enable(struct fake_partition *fake, unsigned vp)
{
    fake_wrmsr(fake, vp, TLFS_MSR_SIMP, SIMP | 1);
    fake_wrmsr(fake, vp, TLFS_MSR_SIEFP, SIEFP | 1);
    fake_wrmsr(fake, vp, TLFS_MSR_SINT0 + SINT, VECTOR);
    fake_wrmsr(fake, vp, TLFS_MSR_SCONTROL, 1);
}

static struct tlfs_message *slot_of(struct fake_partition *fake, unsigned sint)
{
    return (struct tlfs_message *)fake_memory(fake, SIMP) + sint;
}

static struct hv_message numbered(uint8_t n)
{
    return (struct hv_message){ .type = 1, .bytes = 4, .payload = { n } };
}

static int post(struct fake_partition *fake, uint8_t n)
{
    struct hv_message message = numbered(n);

    return hv_partition_post_message(&fake->partition, 0, SINT, &message);
}

/* The guest's handler: take what is there, free the slot, and say so when asked to. */
static uint8_t take(struct fake_partition *fake)
{
    struct tlfs_message *slot = slot_of(fake, SINT);
    uint8_t n = slot->payload[0];
    bool has_more = slot->flags & TLFS_MESSAGE_PENDING;

    assert_int_equal(slot->type, 1);
    assert_int_equal(slot->payload_bytes, 4);
    __atomic_store_n(&slot->type, 0, __ATOMIC_SEQ_CST);
    if (has_more)
        fake_wrmsr(fake, 0, TLFS_MSR_EOM, 0);
    return n;
}

static void registers_begin_as_told(void **state)
{
    assert_int_equal(fake_rdmsr(*state, 0, TLFS_MSR_SCONTROL), 0);
    assert_int_equal(fake_rdmsr(*state, 0, TLFS_MSR_SVERSION), 1);
    assert_int_equal(fake_rdmsr(*state, 0, TLFS_MSR_SIMP), 0);
    assert_int_equal(fake_rdmsr(*state, 0, TLFS_MSR_SIEFP), 0);
    assert_int_equal(fake_rdmsr(*state, 0, TLFS_MSR_EOM), 0);
    for (uint32_t i = 0; i < HV_SYNIC_N_SINTS; i++)
        assert_int_equal(fake_rdmsr(*state, 1, TLFS_MSR_SINT0 + i), TLFS_SINT_MASKED);
}

static void a_sint_refuses_what_it_cannot_deliver(void **state)
{
    struct fake_partition *fake = *state;

    assert_false(hv_msr_write(&fake->partition, 0, TLFS_MSR_SINT0, 15));
    assert_false(hv_msr_write(&fake->partition, 0, TLFS_MSR_SINT15, 0x20 | TLFS_SINT_AUTO_EOI));
    fake_wrmsr(fake, 0, TLFS_MSR_SINT0, 15 | TLFS_SINT_MASKED);
    assert_int_equal(fake_rdmsr(fake, 0, TLFS_MSR_SINT15), TLFS_SINT_MASKED);
}

static void impossible_messages_and_signals_are_refused(void **state)
{
    struct fake_partition *fake = *state;
    struct hv_partition *partition = &fake->partition;
    struct hv_message message = numbered(1);

    enable(fake, 0);
    assert_int_equal(hv_partition_post_message(partition, FAKE_VPS, SINT, &message), -EINVAL);
    assert_int_equal(hv_partition_post_message(partition, 0, 16, &message), -EINVAL);
    message.bytes = 241;
    assert_int_equal(hv_partition_post_message(partition, 0, SINT, &message), -EINVAL);
    message = (struct hv_message){ .bytes = 4 };
    assert_int_equal(hv_partition_post_message(partition, 0, SINT, &message), -EINVAL);
    assert_int_equal(hv_partition_signal_event(partition, FAKE_VPS, SINT, 0), -EINVAL);
    assert_int_equal(hv_partition_signal_event(partition, 0, 16, 0), -EINVAL);
    assert_int_equal(hv_partition_signal_event(partition, 0, SINT, 2048), -EINVAL);
    assert_int_equal(hv_partition_signal_event(partition, 1, SINT, 1), -EAGAIN);
    assert_int_equal(hv_partition_signal_event(partition, 0, 3, 1), -EAGAIN); /* masked */
    assert_int_equal(fake->n_interrupts[0] + fake->n_interrupts[1], 0);
}

static void pages_are_zero_when_enabled_and_kept_afterwards(void **state)
{
    struct fake_partition *fake = *state;
    uint8_t *page = fake_memory(fake, SIMP);

    memset(page, 0xff, HV_PAGE_BYTES);
    fake_wrmsr(fake, 0, TLFS_MSR_SIMP, SIMP);
    assert_int_equal(page[0], 0xff);
    fake_wrmsr(fake, 0, TLFS_MSR_SIMP, SIMP | 1);
    assert_int_equal(page[0], 0);
    assert_int_equal(page[HV_PAGE_BYTES - 1], 0);
    page[7] = 7;
    fake_wrmsr(fake, 0, TLFS_MSR_SIMP, SIMP | 1);
    assert_int_equal(page[7], 7);
    fake_wrmsr(fake, 0, TLFS_MSR_SIMP, UINT64_C(0xfffffffffffff001)); /* no RAM: no harm */
}

static void a_message_fills_the_slot_and_interrupts(void **state)
{
    struct fake_partition *fake = *state;

    enable(fake, 0);
    assert_int_equal(post(fake, 9), 0);
    assert_int_equal(fake->n_interrupts[0], 1);
    assert_int_equal(fake->vector[0], VECTOR);
    assert_int_equal(slot_of(fake, SINT)->flags, 0);
    assert_int_equal(take(fake), 9);
    assert_int_equal(fake->n_interrupts[0], 1);
}

static void a_masked_or_polled_sint_takes_messages_silently(void **state)
{
    struct fake_partition *fake = *state;

    enable(fake, 0);
    fake_wrmsr(fake, 0, TLFS_MSR_SINT0 + SINT, VECTOR | TLFS_SINT_MASKED);
    assert_int_equal(post(fake, 1), 0);
    assert_int_equal(take(fake), 1);
    fake_wrmsr(fake, 0, TLFS_MSR_SINT0 + SINT, VECTOR | TLFS_SINT_POLLING);
    assert_int_equal(post(fake, 2), 0);
    assert_int_equal(take(fake), 2);
    assert_int_equal(fake->n_interrupts[0], 0);
}

static void messages_behind_one_another_come_in_order_on_eom(void **state)
{
    struct fake_partition *fake = *state;

    enable(fake, 0);
    for (uint8_t n = 0; n < 5; n++)
        assert_int_equal(post(fake, n), 0);
    assert_int_equal(slot_of(fake, SINT)->payload[0], 0); /* an occupied slot is left alone */
    assert_int_equal(slot_of(fake, SINT)->flags, TLFS_MESSAGE_PENDING);
    for (uint8_t n = 0; n < 5; n++)
        assert_int_equal(take(fake), n);
    assert_int_equal(slot_of(fake, SINT)->type, 0);
    assert_int_equal(fake->n_interrupts[0], 5);
}

static void the_end_of_the_interrupt_moves_messages_too(void **state)
{
    struct fake_partition *fake = *state;

    enable(fake, 0);
    assert_int_equal(post(fake, 1), 0);
    assert_int_equal(fake->n_eoi_watches, 0);
    assert_int_equal(post(fake, 2), 0);
    assert_int_equal(fake->n_eoi_watches, 1);
    assert_int_equal(fake->watched_vector, VECTOR);
    hv_synic_end_of_interrupt(&fake->vps[0].synic, VECTOR); /* not taken yet: asks again */
    assert_int_equal(fake->n_eoi_watches, 2);
    slot_of(fake, SINT)->type = 0;
    hv_synic_end_of_interrupt(&fake->vps[0].synic, VECTOR - 1);
    assert_int_equal(slot_of(fake, SINT)->type, 0);
    hv_synic_end_of_interrupt(&fake->vps[0].synic, VECTOR);
    assert_int_equal(take(fake), 2);
}

static void the_queue_is_bounded(void **state)
{
    struct fake_partition *fake = *state;
    unsigned n = 0;

    enable(fake, 0);
    while (post(fake, (uint8_t)n) == 0 && n < 1000)
        n++;
    assert_int_equal(n, HV_SYNIC_QUEUE_MAX + 1);
    assert_int_equal(post(fake, 0), -ENOBUFS);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(take(fake), i);
}

static void what_waits_is_delivered_when_the_guest_is_ready(void **state)
{
    struct fake_partition *fake = *state;

    assert_int_equal(post(fake, 1), 0);
    assert_int_equal(post(fake, 2), 0);
    enable(fake, 0);
    assert_int_equal(take(fake), 1);
    assert_int_equal(take(fake), 2);
}

static void a_guest_that_resets_its_controller_gets_nothing_old(void **state)
{
    struct fake_partition *fake = *state;

    enable(fake, 0);
    for (uint8_t n = 0; n < 3; n++)
        assert_int_equal(post(fake, n), 0);
    fake_wrmsr(fake, 0, TLFS_MSR_SIMP, 0);
    enable(fake, 0);
    assert_int_equal(slot_of(fake, SINT)->type, 0);
    assert_int_equal(post(fake, 1), 0);
    assert_int_equal(post(fake, 2), 0);
    hv_synic_reset(&fake->vps[0].synic);
    registers_begin_as_told(state);
    enable(fake, 0);
    assert_int_equal(slot_of(fake, SINT)->type, 0);
}

static void a_flag_interrupts_once_until_the_guest_clears_it(void **state)
{
    struct fake_partition *fake = *state;
    uint64_t *flags = (uint64_t *)fake_memory(fake, SIEFP + SINT * TLFS_SINT_BYTES);

    enable(fake, 0);
    assert_int_equal(hv_partition_signal_event(&fake->partition, 0, SINT, 2047), 0);
    assert_int_equal(flags[31], UINT64_C(1) << 63);
    assert_int_equal(hv_partition_signal_event(&fake->partition, 0, SINT, 2047), 0);
    assert_int_equal(fake->n_interrupts[0], 1);
    assert_int_equal(hv_partition_signal_event(&fake->partition, 0, SINT, 0), 0);
    assert_int_equal(fake->n_interrupts[0], 2);
    flags[31] = 0;
    assert_int_equal(hv_partition_signal_event(&fake->partition, 0, SINT, 2047), 0);
    assert_int_equal(fake->n_interrupts[0], 3);
    assert_int_equal(fake->n_interrupts[1], 0);
}

/* ---- state ---- */

static void its_state_goes_out_and_comes_back(void **state)
{
    struct fake_partition *fake = *state;
    hv_autofree struct hv_synic_state *saved = calloc(1, sizeof(*saved));
    struct hv_synic *other = &fake->vps[1].synic;

    enable(fake, 0);
    for (uint8_t n = 0; n < 3; n++)
        assert_int_equal(post(fake, n), 0);
    hv_synic_get_state(&fake->vps[0].synic, saved);
    assert_int_equal(saved->n_messages, 2);
    assert_true(hv_synic_is_state_valid(saved));
    hv_synic_reset(&fake->vps[0].synic);
    hv_synic_set_state(&fake->vps[0].synic, saved);
    for (uint8_t n = 0; n < 3; n++)
        assert_int_equal(take(fake), n);
    hv_synic_set_state(other, saved);
    assert_int_equal(fake_rdmsr(fake, 1, TLFS_MSR_SIMP), SIMP | 1);
    assert_int_equal(fake_rdmsr(fake, 1, TLFS_MSR_SINT0 + SINT), VECTOR);
    memset(saved, 0, sizeof(*saved));
    assert_true(hv_synic_is_state_valid(saved));
    hv_synic_set_state(&fake->vps[0].synic, saved);
    hv_synic_set_state(other, saved);
    registers_begin_as_told(state);
}

static void a_state_that_cannot_be_is_refused(void **state)
{
    struct fake_partition *fake = *state;
    hv_autofree struct hv_synic_state *good = calloc(1, sizeof(*good));
    hv_autofree struct hv_synic_state *bad = calloc(1, sizeof(*bad));

    enable(fake, 0);
    assert_int_equal(post(fake, 0), 0);
    assert_int_equal(post(fake, 1), 0);
    hv_synic_get_state(&fake->vps[0].synic, good);
    *bad = *good, bad->n_messages = HV_STATE_MESSAGES + 1;
    assert_false(hv_synic_is_state_valid(bad));
    *bad = *good, bad->message[0].sint = 16;
    assert_false(hv_synic_is_state_valid(bad));
    *bad = *good, bad->message[0].bytes = 241;
    assert_false(hv_synic_is_state_valid(bad));
    *bad = *good, bad->message[0].type = 0;
    assert_false(hv_synic_is_state_valid(bad));
    *bad = *good, bad->sint[15] = 1;
    assert_false(hv_synic_is_state_valid(bad));
    *bad = *good, bad->sint[15] = 0x20 | TLFS_SINT_AUTO_EOI;
    assert_false(hv_synic_is_state_valid(bad));
    *bad = *good, bad->stimer[3].due = 1;
    assert_false(hv_synic_is_state_valid(bad));
    assert_true(hv_synic_is_state_valid(good));
}

/* ---- a backend with a controller of its own ---- */

static struct {
    unsigned n_raised, sint;
    uint64_t value;
    bool refuses, raises;
} own;

static bool own_set_sint(void *backend, unsigned vp, unsigned sint, uint64_t value)
{
    (void)backend;
    assert_int_equal(vp, 0);
    own.sint = sint;
    own.value = value;
    return !own.refuses;
}

static bool own_raise_sint(void *backend, unsigned vp, unsigned sint)
{
    (void)backend;
    assert_int_equal(vp, 0);
    /* It knows of the SINT before anything comes through it. */
    assert_int_equal(sint, own.sint);
    own.n_raised += own.raises;
    return own.raises;
}

static void a_backend_with_sints_of_its_own_is_asked(void **state)
{
    struct fake_partition *fake = *state;
    struct hv_backend_ops ops = fake_ops;

    ops.set_sint = own_set_sint;
    ops.raise_sint = own_raise_sint;
    fake->partition.ops = &ops;
    memset(&own, 0, sizeof(own));
    assert_false(hv_msr_write(&fake->partition, 0, TLFS_MSR_SINT0, 15)); /* it never hears of it */
    assert_false(hv_msr_write(&fake->partition, 0, TLFS_MSR_SINT0, 0x20 | TLFS_SINT_AUTO_EOI));
    assert_int_equal(own.value, 0);
    own.refuses = true;
    assert_false(hv_msr_write(&fake->partition, 0, TLFS_MSR_SINT0 + SINT, VECTOR));
    assert_int_equal(fake_rdmsr(fake, 0, TLFS_MSR_SINT0 + SINT), TLFS_SINT_MASKED);
    own.refuses = false;
    assert_int_equal(post(fake, 1), 0);
    assert_int_equal(own.n_raised, 0);
    own.raises = true;
    enable(fake, 0); /* what waited comes, by the backend */
    assert_int_equal(own.value, VECTOR);
    assert_int_equal(own.n_raised, 1);
    assert_int_equal(hv_partition_signal_event(&fake->partition, 0, SINT, 7), 0);
    assert_int_equal(own.n_raised, 2);
    assert_int_equal(fake->n_interrupts[0], 0);
    own.raises = false; /* it can't: its vector is sent */
    assert_int_equal(hv_partition_signal_event(&fake->partition, 0, SINT, 8), 0);
    assert_int_equal(own.n_raised, 2);
    assert_int_equal(fake->n_interrupts[0], 1);
    assert_int_equal(fake->vector[0], VECTOR);
}

/* ---- a slot that the guest frees while the parent looks ---- */

enum { RACE_MESSAGES = 20000 };

static void *post_many(void *opaque)
{
    struct fake_partition *fake = opaque;

    for (unsigned n = 0; n < RACE_MESSAGES; n++)
        while (post(fake, (uint8_t)n) == -ENOBUFS)
            (void)sched_yield();
    return NULL;
}

static void no_message_is_lost_between_two_threads(void **state)
{
    struct fake_partition *fake = *state;
    struct tlfs_message *slot = slot_of(fake, SINT);
    pthread_t thread;

    enable(fake, 0);
    assert_int_equal(pthread_create(&thread, NULL, post_many, fake), 0);
    for (unsigned n = 0; n < RACE_MESSAGES; n++) {
        while (__atomic_load_n(&slot->type, __ATOMIC_ACQUIRE) == 0)
            (void)sched_yield();
        assert_int_equal(slot->payload[0], (uint8_t)n);
        __atomic_store_n(&slot->type, 0, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&slot->flags, __ATOMIC_SEQ_CST) & TLFS_MESSAGE_PENDING)
            fake_wrmsr(fake, 0, TLFS_MSR_EOM, 0);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(fake->n_interrupts[0], RACE_MESSAGES);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fake_setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(registers_begin_as_told),
        CASE(a_sint_refuses_what_it_cannot_deliver),
        CASE(impossible_messages_and_signals_are_refused),
        CASE(pages_are_zero_when_enabled_and_kept_afterwards),
        CASE(a_message_fills_the_slot_and_interrupts),
        CASE(a_masked_or_polled_sint_takes_messages_silently),
        CASE(messages_behind_one_another_come_in_order_on_eom),
        CASE(the_end_of_the_interrupt_moves_messages_too),
        CASE(the_queue_is_bounded),
        CASE(what_waits_is_delivered_when_the_guest_is_ready),
        CASE(a_guest_that_resets_its_controller_gets_nothing_old),
        CASE(a_flag_interrupts_once_until_the_guest_clears_it),
        CASE(its_state_goes_out_and_comes_back),
        CASE(a_state_that_cannot_be_is_refused),
        CASE(a_backend_with_sints_of_its_own_is_asked),
        CASE(no_message_is_lost_between_two_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
