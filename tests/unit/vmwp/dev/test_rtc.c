/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "tests/lib/chip.h"
#include "vmwp/dev/rtc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS  UINT64_C(1000000)
#define SEC UINT64_C(1000000000)

/* 2024-02-29 23:59:58 UTC, a Thursday */
#define LEAP_EVENING (UINT64_C(1709251198) * SEC)

struct fixture {
    struct hv_io_space io;
    struct fake_clock clock;
    struct fake_line line;
    struct dev_rtc rtc;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dev_rtc_config config;

    if (!f)
        return -1;
    f->clock = (struct fake_clock){ .now_ns = 5 * SEC,
                                    .wall_ns = LEAP_EVENING,
                                    .deadline_ns = UINT64_MAX,
                                    .fire = dev_rtc_timer,
                                    .opaque = &f->rtc };
    config = (struct dev_rtc_config){ .irq = fake_irq_line(&f->line),
                                      .clock = fake_dev_clock(&f->clock),
                                      .timer = fake_dev_timer(&f->clock),
                                      .ram_low_bytes = UINT64_C(0xc0000000),
                                      .ram_high_bytes = UINT64_C(3) << 30 };
    dev_rtc_init(&f->rtc, &config);
    *state = f;
    return dev_rtc_map(&f->rtc, &f->io);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    dev_rtc_fini(&f->rtc);
    free(f);
    return 0;
}

static uint8_t get(struct fixture *f, uint8_t reg)
{
    out8(&f->io, 0x70, reg);
    return in8(&f->io, 0x71);
}

static void set(struct fixture *f, uint8_t reg, uint8_t value)
{
    out8(&f->io, 0x70, reg);
    out8(&f->io, 0x71, value);
}

static void impossible_states_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dev_rtc_state s;

    dev_rtc_get_state(&f->rtc, &s);
    s.offset_ns = 1000000000;
    assert_int_equal(dev_rtc_set_state(&f->rtc, &s), -EINVAL);
    s.offset_ns = 0;
    s.offset_s = INT64_MAX;
    assert_int_equal(dev_rtc_set_state(&f->rtc, &s), -EINVAL);
    s.offset_s = 0;
    s.is_held = 2;
    assert_int_equal(dev_rtc_set_state(&f->rtc, &s), -EINVAL);
}

static void time_is_utc_in_decimal_digits(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(get(f, 0), 0x58);
    assert_int_equal(get(f, 2), 0x59);
    assert_int_equal(get(f, 4), 0x23);
    assert_int_equal(get(f, 6), 5); /* Thursday, with Sunday as 1 */
    assert_int_equal(get(f, 7), 0x29);
    assert_int_equal(get(f, 8), 0x02);
    assert_int_equal(get(f, 9), 0x24);
    assert_int_equal(get(f, 0x32), 0x20);
    fake_advance(&f->clock, 2 * SEC);
    assert_int_equal(get(f, 4), 0x00);
    assert_int_equal(get(f, 7), 0x01);
    assert_int_equal(get(f, 8), 0x03);
    assert_int_equal(get(f, 0x0d), 0x80);
}

static void formats_can_be_binary_and_twelve_hours(void **state)
{
    struct fixture *f = *state;

    set(f, 0x0b, 0x06);
    assert_int_equal(get(f, 0), 58);
    assert_int_equal(get(f, 4), 23);
    set(f, 0x0b, 0x04);
    assert_int_equal(get(f, 4), 11 | 0x80);
    set(f, 0x0b, 0x00);
    assert_int_equal(get(f, 4), 0x11 | 0x80);
    fake_advance(&f->clock, 2 * SEC);
    assert_int_equal(get(f, 4), 0x12); /* midnight */
}

/* Every day of four centuries reads as the C library says it is. */
static void dates_agree_with_the_c_library(void **state)
{
    struct fixture *f = *state;

    set(f, 0x0b, 0x06);
    for (int64_t day = 0; day < 146097 + 400; day += 13) {
        time_t at = (time_t)(day * 86400 + 43199);
        struct tm tm;

        f->clock.wall_ns = (uint64_t)at * SEC;
        assert_non_null(gmtime_r(&at, &tm));
        assert_int_equal(get(f, 7), tm.tm_mday);
        assert_int_equal(get(f, 8), tm.tm_mon + 1);
        assert_int_equal(get(f, 9), tm.tm_year % 100);
        assert_int_equal(get(f, 0x32), tm.tm_year / 100 + 19);
        assert_int_equal(get(f, 6), tm.tm_wday + 1);
    }
}

static void a_guest_can_set_the_time(void **state)
{
    struct fixture *f = *state;

    set(f, 0x0b, 0x82); /* SET: time stands */
    fake_advance(&f->clock, 10 * SEC);
    assert_int_equal(get(f, 0), 0x58);
    set(f, 0, 0x10);
    set(f, 2, 0x20);
    set(f, 4, 0x03);
    set(f, 7, 0x31);
    set(f, 8, 0x12);
    set(f, 9, 0x99);
    set(f, 0x32, 0x19);
    assert_int_equal(get(f, 0), 0x10);
    set(f, 0x0b, 0x02);
    fake_advance(&f->clock, 86400 * SEC);
    assert_int_equal(get(f, 0), 0x10);
    assert_int_equal(get(f, 4), 0x03);
    assert_int_equal(get(f, 7), 0x01);
    assert_int_equal(get(f, 9), 0x00);
    assert_int_equal(get(f, 0x32), 0x20);
    assert_int_equal(get(f, 6), 7); /* 2000-01-01 was a Saturday */
}

static void digits_that_are_none_do_no_harm(void **state)
{
    struct fixture *f = *state;

    set(f, 0x0b, 0x82);
    for (uint8_t reg = 0; reg < 10; reg++)
        set(f, reg, 0xff);
    set(f, 0x32, 0xff);
    set(f, 0x0b, 0x72);
    fake_advance(&f->clock, 3 * SEC);
    assert_in_range(get(f, 8), 0x01, 0x12);
    assert_in_range(get(f, 7), 0x01, 0x31);
    set(f, 8, 0);
    set(f, 7, 0);
    assert_in_range(get(f, 8), 0x01, 0x12);
}

static void after_a_divider_reset_half_a_second_passes(void **state)
{
    struct fixture *f = *state;

    set(f, 0x0a, 0x76);
    fake_advance(&f->clock, 10 * SEC + 333 * MS);
    assert_int_equal(get(f, 0), 0x58);
    set(f, 0x0a, 0x26);
    fake_advance(&f->clock, 499 * MS);
    assert_int_equal(get(f, 0), 0x58);
    fake_advance(&f->clock, 2 * MS);
    assert_int_equal(get(f, 0), 0x59);
}

static void update_in_progress_is_short_and_before_the_second(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(get(f, 0x0a), 0x26);
    fake_advance(&f->clock, SEC - 244000);
    assert_int_equal(get(f, 0x0a), 0xa6);
    assert_int_equal(get(f, 0), 0x58);
    fake_advance(&f->clock, 244000);
    assert_int_equal(get(f, 0x0a), 0x26);
    assert_int_equal(get(f, 0), 0x59);
}

static void flags_rise_without_interrupts_and_fall_when_read(void **state)
{
    struct fixture *f = *state;

    set(f, 1, 0xc0); /* an alarm every second */
    set(f, 3, 0xff);
    set(f, 5, 0xff);
    (void)get(f, 0x0c);
    fake_step(&f->clock, 3 * SEC);
    assert_int_equal(get(f, 0x0c), 0x70);
    assert_int_equal(get(f, 0x0c), 0x00);
    assert_int_equal(f->clock.n_fired, 0);
    assert_int_equal(f->clock.deadline_ns, UINT64_MAX);
    assert_int_equal(f->line.n_rises, 0);
}

static void update_interrupts_come_each_second(void **state)
{
    struct fixture *f = *state;

    set(f, 0x0b, 0x12);
    for (unsigned i = 0; i < 5; i++) {
        fake_advance(&f->clock, SEC);
        assert_true(f->line.level);
        assert_int_equal(get(f, 0x0c) & 0x90, 0x90);
        assert_false(f->line.level);
    }
    assert_int_equal(f->line.n_rises, 5);
    fake_advance(&f->clock, 10 * SEC); /* nobody reads: no more timers */
    assert_int_equal(f->clock.n_fired, 6);
}

static void an_alarm_comes_at_its_time(void **state)
{
    struct fixture *f = *state;

    set(f, 1, 0x05);
    set(f, 3, 0x10);
    set(f, 5, 0x00);
    (void)get(f, 0x0c);
    set(f, 0x0b, 0x22);
    fake_advance(&f->clock, (2 + 10 * 60 + 4) * SEC + 999 * MS);
    assert_false(f->line.level);
    fake_advance(&f->clock, 1 * MS);
    assert_true(f->line.level);
    assert_int_equal(get(f, 0x0c) & 0xa0, 0xa0);
    assert_int_equal(get(f, 0), 0x05);
    assert_int_equal(f->clock.n_fired, 1);
    fake_advance(&f->clock, 86400 * SEC);
    assert_int_equal(f->line.n_rises, 2);
}

static void an_alarm_that_cannot_be_never_comes(void **state)
{
    struct fixture *f = *state;

    set(f, 5, 0x77);
    set(f, 0x0b, 0x22);
    fake_advance(&f->clock, 3 * 86400 * SEC);
    assert_int_equal(f->clock.n_fired, 0);
    assert_int_equal(get(f, 0x0c) & 0x20, 0);
}

static void periodic_interrupts_come_at_their_rate_and_never_in_bursts(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0;

    set(f, 0x0a, 0x2a); /* 64 Hz */
    set(f, 0x0b, 0x42);
    for (unsigned i = 0; i < 1000; i++) {
        fake_advance(&f->clock, MS);
        if (f->line.level) {
            n++;
            assert_int_equal(get(f, 0x0c) & 0xc0, 0xc0);
        }
    }
    assert_in_range(n, 63, 64);
    f->line.n_rises = 0;
    fake_step(&f->clock, 10 * SEC);
    f->clock.fire(f->clock.opaque);
    (void)get(f, 0x0c);
    assert_int_equal(f->line.n_rises, 1);
}

static void the_hosts_clock_may_be_set_back(void **state)
{
    struct fixture *f = *state;

    set(f, 0x0b, 0x12);
    f->clock.wall_ns -= 3600 * SEC;
    (void)get(f, 0x0c);
    fake_advance(&f->clock, 2 * SEC);
    assert_true(f->line.level);
    assert_int_equal(get(f, 4), 0x23);
}

static void cmos_tells_of_memory_and_keeps_what_is_written(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(get(f, 0x15) | get(f, 0x16) << 8, 640);
    assert_int_equal(get(f, 0x17) | get(f, 0x18) << 8, 0xffff);
    assert_int_equal(get(f, 0x34) | get(f, 0x35) << 8, 0xbf00);
    assert_int_equal(get(f, 0x5b) | get(f, 0x5c) << 8 | get(f, 0x5d) << 16, 0xc000);
    set(f, 0x7f, 0x42);
    assert_int_equal(get(f, 0x7f), 0x42);
    set(f, 0x0c, 0xff);
    set(f, 0x0d, 0x00);
    assert_int_equal(get(f, 0x0d), 0x80);
    assert_int_equal(in8(&f->io, 0x70), 0xff);
    assert_false(dev_rtc_is_nmi_masked(&f->rtc));
    assert_int_equal(get(f, 0x80 | 0x7f), 0x42);
    assert_true(dev_rtc_is_nmi_masked(&f->rtc));
}

static void a_reset_keeps_time_and_memory(void **state)
{
    struct fixture *f = *state;

    set(f, 4, 0x05);
    set(f, 0x40, 0x77);
    set(f, 0x0b, 0x72);
    dev_rtc_reset(&f->rtc);
    assert_int_equal(get(f, 4), 0x05);
    assert_int_equal(get(f, 0x40), 0x77);
    assert_int_equal(get(f, 0x0b), 0x02);
    assert_int_equal(f->clock.deadline_ns, UINT64_MAX);
}

static void nonsense_leaves_a_possible_state(void **state)
{
    struct fixture *f = *state;
    struct dev_rtc_state s;
    uint64_t seed = 11;

    for (unsigned i = 0; i < 300; i++) {
        fake_hammer(&f->io, 0x70, 2, 100);
        for (unsigned k = 0; k < 100; k++)
            set(f, fake_random(&seed) % 14, (uint8_t)fake_random(&seed));
        fake_step(&f->clock, fake_random(&seed));
        f->clock.fire(f->clock.opaque);
        dev_rtc_get_state(&f->rtc, &s);
        assert_int_equal(dev_rtc_set_state(&f->rtc, &s), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(impossible_states_are_refused),
        TEST(time_is_utc_in_decimal_digits),
        TEST(formats_can_be_binary_and_twelve_hours),
        TEST(dates_agree_with_the_c_library),
        TEST(a_guest_can_set_the_time),
        TEST(digits_that_are_none_do_no_harm),
        TEST(after_a_divider_reset_half_a_second_passes),
        TEST(update_in_progress_is_short_and_before_the_second),
        TEST(flags_rise_without_interrupts_and_fall_when_read),
        TEST(update_interrupts_come_each_second),
        TEST(an_alarm_comes_at_its_time),
        TEST(an_alarm_that_cannot_be_never_comes),
        TEST(periodic_interrupts_come_at_their_rate_and_never_in_bursts),
        TEST(the_hosts_clock_may_be_set_back),
        TEST(cmos_tells_of_memory_and_keeps_what_is_written),
        TEST(a_reset_keeps_time_and_memory),
        TEST(nonsense_leaves_a_possible_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
