/* SPDX-License-Identifier: Apache-2.0 */
/* spec: TLFS timers "Synthetic Timers" */
#include "tests/lib/fake_partition.h"

#include "hvcore/base/clock.h"
#include "hvcore/spec/tlfs.h"

enum { SIMP = 0x4000, SINT = 2, SINT_VECTOR = 0xf3, VECTOR = 0xed, MS = 10000, PATIENCE_MS = 5000 };

#define DIRECT  (TLFS_STIMER_DIRECT | VECTOR << TLFS_STIMER_VECTOR_SHIFT)
#define MESSAGE (SINT << TLFS_STIMER_SINT_SHIFT)

static uint32_t config_of(unsigned n)
{
    return TLFS_MSR_STIMER0_CONFIG + n * 2;
}

static uint32_t count_of(unsigned n)
{
    return TLFS_MSR_STIMER0_COUNT + n * 2;
}

static uint64_t now(struct fake_partition *fake)
{
    return fake_rdmsr(fake, 0, TLFS_MSR_TIME_REF_COUNT);
}

static void sleep_ms(unsigned ms)
{
    (void)nanosleep(&(struct timespec){ .tv_nsec = (long)ms * HV_NS_PER_MS }, NULL);
}

static void wait_for_interrupts(struct fake_partition *fake, unsigned vp, unsigned n)
{
    for (unsigned i = 0; i < PATIENCE_MS && atomic_load(&fake->n_interrupts[vp]) < n; i++)
        sleep_ms(1);
    assert_true(atomic_load(&fake->n_interrupts[vp]) >= n);
}

static struct tlfs_message *slot_of(struct fake_partition *fake)
{
    return (struct tlfs_message *)fake_memory(fake, SIMP) + SINT;
}

static void enable_synic(struct fake_partition *fake)
{
    fake_wrmsr(fake, 0, TLFS_MSR_SIMP, SIMP | 1);
    fake_wrmsr(fake, 0, TLFS_MSR_SINT0 + SINT, SINT_VECTOR);
    fake_wrmsr(fake, 0, TLFS_MSR_SCONTROL, 1);
}

static struct tlfs_timer_payload take(struct fake_partition *fake)
{
    struct tlfs_message *slot = slot_of(fake);
    struct tlfs_timer_payload payload;

    assert_int_equal(__atomic_load_n(&slot->type, __ATOMIC_ACQUIRE), 0x80000010);
    assert_int_equal(slot->payload_bytes, sizeof(payload));
    memcpy(&payload, slot->payload, sizeof(payload));
    __atomic_store_n(&slot->type, 0, __ATOMIC_SEQ_CST);
    fake_wrmsr(fake, 0, TLFS_MSR_EOM, 0);
    return payload;
}

static void without_a_count_an_enabled_timer_stays_silent(void **state)
{
    struct fake_partition *fake = *state;

    fake_wrmsr(fake, 0, config_of(0), DIRECT | TLFS_STIMER_ENABLE | TLFS_STIMER_AUTO_ENABLE);
    sleep_ms(5);
    assert_int_equal(fake->n_interrupts[0], 0);
    assert_true(fake_rdmsr(fake, 0, config_of(0)) & TLFS_STIMER_ENABLE);
    assert_int_equal(fake_rdmsr(fake, 0, count_of(0)), 0);
}

static void a_message_timer_without_a_sint_cannot_be_enabled(void **state)
{
    struct fake_partition *fake = *state;

    fake_wrmsr(fake, 0, count_of(0), 1);
    fake_wrmsr(fake, 0, config_of(0), TLFS_STIMER_ENABLE);
    assert_int_equal(fake_rdmsr(fake, 0, config_of(0)), 0);
    assert_int_equal(fake->n_interrupts[0], 0);
}

static void a_one_shot_fires_once_not_early_and_disables_itself(void **state)
{
    struct fake_partition *fake = *state;
    uint64_t due = now(fake) + 20 * MS;

    fake_wrmsr(fake, 1, config_of(3), DIRECT | TLFS_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, 1, count_of(3), due);
    assert_true(fake_rdmsr(fake, 1, config_of(3)) & TLFS_STIMER_ENABLE);
    while (atomic_load(&fake->n_interrupts[1]) == 0)
        sleep_ms(1);
    assert_true(fake->at[1] >= due);
    assert_int_equal(fake->vector[1], VECTOR);
    assert_int_equal(fake_rdmsr(fake, 1, config_of(3)), DIRECT | TLFS_STIMER_AUTO_ENABLE);
    sleep_ms(5);
    assert_int_equal(fake->n_interrupts[1], 1);
    assert_int_equal(fake->n_interrupts[0], 0);
}

static void what_is_past_expires_at_once(void **state)
{
    struct fake_partition *fake = *state;

    fake_wrmsr(fake, 0, config_of(0), DIRECT | TLFS_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, 0, count_of(0), 1);
    assert_int_equal(fake->n_interrupts[0], 1);
    fake_wrmsr(fake, 0, count_of(0), UINT64_MAX); /* and what is far away never does */
    sleep_ms(5);
    assert_int_equal(fake->n_interrupts[0], 1);
}

static void a_count_of_zero_stops_a_timer(void **state)
{
    struct fake_partition *fake = *state;

    fake_wrmsr(fake, 0, config_of(0), DIRECT | TLFS_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, 0, count_of(0), now(fake) + 10 * MS);
    fake_wrmsr(fake, 0, count_of(0), 0);
    assert_false(fake_rdmsr(fake, 0, config_of(0)) & TLFS_STIMER_ENABLE);
    sleep_ms(20);
    assert_int_equal(fake->n_interrupts[0], 0);
}

static void a_periodic_timer_goes_on_until_disabled(void **state)
{
    struct fake_partition *fake = *state;
    uint64_t begin = now(fake);
    unsigned n;

    fake_wrmsr(fake, 0, count_of(1), 2 * MS);
    fake_wrmsr(fake, 0, config_of(1), DIRECT | TLFS_STIMER_PERIODIC | TLFS_STIMER_ENABLE);
    wait_for_interrupts(fake, 0, 5);
    fake_wrmsr(fake, 0, config_of(1), 0);
    assert_true(now(fake) >= begin + 10 * MS);
    n = atomic_load(&fake->n_interrupts[0]);
    sleep_ms(10);
    assert_int_equal(fake->n_interrupts[0], n);
}

static void the_shortest_period_leaves_time_for_others(void **state)
{
    struct fake_partition *fake = *state;

    for (unsigned i = 0; i < 4; i++) {
        fake_wrmsr(fake, 0, count_of(i), 1);
        fake_wrmsr(fake, 0, config_of(i), DIRECT | TLFS_STIMER_PERIODIC | TLFS_STIMER_ENABLE);
    }
    sleep_ms(20);
    assert_in_range(fake->n_interrupts[0], 1, 4 * 10000);
}

static void a_message_tells_which_timer_and_when(void **state)
{
    struct fake_partition *fake = *state;
    struct tlfs_timer_payload payload;
    uint64_t due;

    enable_synic(fake);
    fake_wrmsr(fake, 0, config_of(2), MESSAGE | TLFS_STIMER_AUTO_ENABLE);
    due = now(fake) + 2 * MS;
    fake_wrmsr(fake, 0, count_of(2), due);
    wait_for_interrupts(fake, 0, 1);
    assert_int_equal(fake->vector[0], SINT_VECTOR);
    payload = take(fake);
    assert_int_equal(payload.timer, 2);
    assert_int_equal(payload.expiration, due);
    assert_in_range(payload.delivery, due, now(fake));
}

static void a_message_waits_for_its_slot_and_is_one_however_often_it_is_due(void **state)
{
    struct fake_partition *fake = *state;
    struct hv_message message = { .type = 1, .bytes = 4 };

    enable_synic(fake);
    assert_int_equal(hv_partition_post_message(&fake->partition, 0, SINT, &message), 0);
    fake_wrmsr(fake, 0, count_of(0), MS);
    fake_wrmsr(fake, 0, config_of(0), MESSAGE | TLFS_STIMER_PERIODIC | TLFS_STIMER_ENABLE);
    sleep_ms(10);
    assert_int_equal(slot_of(fake)->type, 1);
    assert_int_equal(__atomic_load_n(&slot_of(fake)->flags, __ATOMIC_ACQUIRE),
                     TLFS_MESSAGE_PENDING);
    fake_wrmsr(fake, 0, config_of(0), MESSAGE | TLFS_STIMER_PERIODIC); /* disabled: forgotten */
    __atomic_store_n(&slot_of(fake)->type, 0, __ATOMIC_SEQ_CST);
    fake_wrmsr(fake, 0, TLFS_MSR_EOM, 0);
    assert_int_equal(slot_of(fake)->type, 0);
    assert_int_equal(hv_partition_post_message(&fake->partition, 0, SINT, &message), 0);
    fake_wrmsr(fake, 0, config_of(0), MESSAGE | TLFS_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, 0, count_of(0), 1);
    __atomic_store_n(&slot_of(fake)->type, 0, __ATOMIC_SEQ_CST);
    fake_wrmsr(fake, 0, TLFS_MSR_EOM, 0);
    assert_int_equal(take(fake).expiration, 1);
    assert_int_equal(slot_of(fake)->type, 0);
}

static void while_time_stands_still_nothing_is_due(void **state)
{
    struct fake_partition *fake = *state;
    struct hv_synic *synic = &fake->vps[0].synic;
    uint64_t due = now(fake) + 20 * MS;

    fake_wrmsr(fake, 0, config_of(0), DIRECT | TLFS_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, 0, count_of(0), due);
    hv_synic_stop_time(synic);
    hv_guest_clock_stop(&fake->partition.clock);
    sleep_ms(40);
    assert_int_equal(fake->n_interrupts[0], 0);
    (void)hv_guest_clock_start(&fake->partition.clock);
    hv_synic_start_time(synic);
    assert_int_equal(fake->n_interrupts[0], 0);
    wait_for_interrupts(fake, 0, 1);
    assert_true(now(fake) >= due);
}

static void timers_go_on_from_a_saved_state(void **state)
{
    struct fake_partition *fake = *state;
    hv_autofree struct hv_synic_state *saved = calloc(1, sizeof(*saved));
    struct hv_synic *synic = &fake->vps[0].synic;
    uint64_t due = now(fake) + 10 * MS;

    enable_synic(fake);
    fake_wrmsr(fake, 0, count_of(0), 2 * MS);
    fake_wrmsr(fake, 0, config_of(0), DIRECT | TLFS_STIMER_PERIODIC | TLFS_STIMER_ENABLE);
    fake_wrmsr(fake, 0, config_of(1), MESSAGE | TLFS_STIMER_AUTO_ENABLE);
    fake_wrmsr(fake, 0, count_of(1), due);
    hv_synic_stop_time(synic);
    hv_guest_clock_stop(&fake->partition.clock);
    hv_synic_get_state(synic, saved);
    assert_true(hv_synic_is_state_valid(saved));
    hv_synic_reset(synic);
    hv_synic_set_state(synic, saved);
    assert_int_equal(fake_rdmsr(fake, 0, config_of(1)),
                     MESSAGE | TLFS_STIMER_AUTO_ENABLE | TLFS_STIMER_ENABLE);
    sleep_ms(5);
    (void)hv_guest_clock_start(&fake->partition.clock);
    hv_synic_start_time(synic);
    wait_for_interrupts(fake, 0, 3);
    while (__atomic_load_n(&slot_of(fake)->type, __ATOMIC_ACQUIRE) == 0)
        sleep_ms(1);
    assert_int_equal(take(fake).expiration, due);
}

static void a_reset_stops_all(void **state)
{
    struct fake_partition *fake = *state;

    for (unsigned i = 0; i < 4; i++) {
        fake_wrmsr(fake, 0, config_of(i), DIRECT | TLFS_STIMER_AUTO_ENABLE);
        fake_wrmsr(fake, 0, count_of(i), now(fake) + 10 * MS);
    }
    hv_synic_reset(&fake->vps[0].synic);
    sleep_ms(20);
    assert_int_equal(fake->n_interrupts[0], 0);
    assert_int_equal(fake_rdmsr(fake, 0, config_of(3)), 0);
    assert_int_equal(fake_rdmsr(fake, 0, count_of(3)), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fake_setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(without_a_count_an_enabled_timer_stays_silent),
        CASE(a_message_timer_without_a_sint_cannot_be_enabled),
        CASE(a_one_shot_fires_once_not_early_and_disables_itself),
        CASE(what_is_past_expires_at_once),
        CASE(a_count_of_zero_stops_a_timer),
        CASE(a_periodic_timer_goes_on_until_disabled),
        CASE(the_shortest_period_leaves_time_for_others),
        CASE(a_message_tells_which_timer_and_when),
        CASE(a_message_waits_for_its_slot_and_is_one_however_often_it_is_due),
        CASE(while_time_stands_still_nothing_is_due),
        CASE(timers_go_on_from_a_saved_state),
        CASE(a_reset_stops_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
