/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/base/clock.h"
#include "hvcore/time/tsc.h"

static void the_measured_rate_agrees_with_the_clock(void **state)
{
    uint64_t hz = hv_tsc_hz(), before = hv_clock_monotonic_ns(), tsc = hv_tsc_read();
    uint64_t after = hv_clock_monotonic_ns(), least, most, measured;

    (void)state;
    (void)nanosleep(&(struct timespec){ .tv_nsec = 50 * HV_NS_PER_MS }, NULL);
    least = hv_clock_monotonic_ns() - after;
    tsc = hv_tsc_read() - tsc;
    most = hv_clock_monotonic_ns() - before;
    measured = (uint64_t)((__uint128_t)tsc * HV_NS_PER_SEC / hz);
    assert_in_range(measured, least - least / 100, most + most / 100);
}

static void a_rate_that_is_finished_later_is_the_same(void **state)
{
    uint64_t hz = hv_tsc_hz();
    struct hv_tsc_facts facts;

    (void)state;
    hv_tsc_begin(&facts);
    (void)nanosleep(&(struct timespec){ .tv_nsec = 20 * HV_NS_PER_MS }, NULL);
    hv_tsc_finish(&facts);
    assert_in_range(facts.hz, hz - hz / 100, hz + hz / 100);
    assert_int_equal(facts.is_invariant, hv_tsc_is_invariant());
    facts.hz = 4711; /* a saved VM's, which stays */
    hv_tsc_finish(&facts);
    assert_int_equal(facts.hz, 4711);
}

static void a_moment_in_ticks_is_a_moment_in_ns(void **state)
{
    uint64_t hz = hv_tsc_hz(), before, ns;
    struct hv_tsc_anchor anchor;

    (void)state;
    hv_tsc_anchor_init(&anchor, hz);
    before = hv_clock_monotonic_ns();
    ns = hv_tsc_anchor_to_ns(&anchor, hv_tsc_read() + hz); /* in a second */
    assert_in_range(ns, before + HV_NS_PER_SEC / 100 * 99,
                    hv_clock_monotonic_ns() + HV_NS_PER_SEC / 100 * 101);
    assert_true(hv_tsc_anchor_to_ns(&anchor, 0) <= hv_clock_monotonic_ns());
    assert_true(hv_tsc_anchor_to_ns(&anchor, UINT64_MAX) > ns); /* far, but no overflow */
}

static void guest_time_stands_still_while_stopped(void **state)
{
    uint64_t began = hv_clock_monotonic_ns(), stopped, skipped, guest_ns;
    struct hv_guest_clock clock;

    (void)state;
    hv_guest_clock_init(&clock, hv_tsc_hz());
    assert_int_equal(hv_guest_clock_start(&clock), 0);
    hv_guest_clock_stop(&clock);
    stopped = hv_guest_clock_tsc(&clock);
    (void)nanosleep(&(struct timespec){ .tv_nsec = 30 * HV_NS_PER_MS }, NULL);
    hv_guest_clock_stop(&clock);
    assert_int_equal(hv_guest_clock_tsc(&clock), stopped);
    skipped = hv_guest_clock_start(&clock);
    assert_true(skipped >= clock.tsc_hz / 1000 * 29);
    assert_true(hv_guest_clock_tsc(&clock) >= stopped);
    guest_ns = hv_guest_clock_ns(&clock);
    assert_true(guest_ns + 29 * HV_NS_PER_MS < hv_clock_monotonic_ns() - began);
}

static void reference_time_is_what_the_page_tells(void **state)
{
    struct hv_guest_clock clock;
    uint64_t tsc, reference;

    (void)state;
    hv_guest_clock_init(&clock, UINT64_C(2596125605));
    atomic_store(&clock.stopped_at, UINT64_C(2596125605) * 1000);
    tsc = hv_guest_clock_tsc(&clock);
    reference = hv_guest_clock_reference(&clock);
    assert_int_equal(reference, (uint64_t)((__uint128_t)tsc * clock.reference_scale >> 64));
    assert_in_range(reference, UINT64_C(9999999990), UINT64_C(10000000000));
}

static void the_tick_of_a_reference_time_is_the_first_to_reach_it(void **state)
{
    struct hv_guest_clock clock;

    (void)state;
    hv_guest_clock_init(&clock, UINT64_C(2596125605));
    for (uint64_t reference = 1; reference < UINT64_C(1) << 50; reference = reference * 3 + 1) {
        uint64_t tsc = hv_guest_clock_tsc_at(&clock, reference);

        atomic_store(&clock.stopped_at, tsc);
        assert_int_equal(hv_guest_clock_reference(&clock), reference);
        atomic_store(&clock.stopped_at, tsc - 1);
        assert_in_range(hv_guest_clock_reference(&clock), reference - 1, reference);
    }
    assert_int_equal(hv_guest_clock_tsc_at(&clock, UINT64_MAX), UINT64_C(1) << 62);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_measured_rate_agrees_with_the_clock),
        cmocka_unit_test(a_rate_that_is_finished_later_is_the_same),
        cmocka_unit_test(a_moment_in_ticks_is_a_moment_in_ns),
        cmocka_unit_test(guest_time_stands_still_while_stopped),
        cmocka_unit_test(reference_time_is_what_the_page_tells),
        cmocka_unit_test(the_tick_of_a_reference_time_is_the_first_to_reach_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
