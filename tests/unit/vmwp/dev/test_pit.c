/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "tests/lib/chip.h"
#include "vmwp/dev/pit.h"

#include <errno.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)

struct fixture {
    struct hv_io_space io;
    struct fake_clock clock;
    struct fake_line line;
    struct dev_pit pit;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dev_pit_config config;

    if (!f)
        return -1;
    f->clock = (struct fake_clock){
        .now_ns = 12345678, .deadline_ns = UINT64_MAX, .fire = dev_pit_timer, .opaque = &f->pit
    };
    config = (struct dev_pit_config){ .irq = fake_irq_line(&f->line),
                                      .clock = fake_dev_clock(&f->clock),
                                      .timer = fake_dev_timer(&f->clock) };
    dev_pit_init(&f->pit, &config);
    *state = f;
    return dev_pit_map(&f->pit, &f->io);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    dev_pit_fini(&f->pit);
    free(f);
    return 0;
}

/* Set up a counter with a word access. */
static void program(struct fixture *f, unsigned counter, unsigned mode, uint16_t count)
{
    out8(&f->io, 0x43, (uint8_t)(counter << 6 | 3 << 4 | mode << 1));
    out8(&f->io, 0x40 + counter, (uint8_t)count);
    out8(&f->io, 0x40 + counter, (uint8_t)(count >> 8));
}

static uint16_t read_word(struct fixture *f, unsigned counter)
{
    uint16_t low = in8(&f->io, 0x40 + counter);

    return (uint16_t)(low | in8(&f->io, 0x40 + counter) << 8);
}

static void an_unprogrammed_timer_is_silent(void **state)
{
    struct fixture *f = *state;

    fake_advance(&f->clock, 1000 * MS);
    assert_int_equal(f->clock.n_arms, 0);
    out8(&f->io, 0x40, 0x12); /* no control word yet */
    assert_int_equal(read_word(f, 0), 0);
    assert_int_equal(in8(&f->io, 0x43), 0xff);
    assert_int_equal(f->line.n_rises, 0);
}

static void rate_mode_ticks_at_its_rate(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 2, 11932); /* 100 Hz */
    fake_advance(&f->clock, 1000 * MS);
    assert_in_range(f->line.n_rises, 99, 100);
    assert_false(f->line.level);
    assert_in_range(f->clock.n_fired, 99, 101);
}

static void square_mode_ticks_as_often(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 3, 0); /* 65536: 18.2 Hz */
    fake_advance(&f->clock, 1000 * MS);
    assert_int_equal(f->line.n_rises, 18);
}

static void missed_ticks_are_one(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 2, 1193); /* 1000 Hz */
    fake_step(&f->clock, 50 * MS);
    f->clock.fire(f->clock.opaque);
    assert_int_equal(f->line.n_rises, 1);
    f->clock.fire(f->clock.opaque); /* too early: nothing is due */
    assert_int_equal(f->line.n_rises, 1);
    fake_advance(&f->clock, 10 * MS);
    assert_in_range(f->line.n_rises, 10, 11);
}

static void a_tick_is_seen_by_a_reader_before_the_timer(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 2, 1193);
    fake_step(&f->clock, 1 * MS + 1);
    (void)read_word(f, 0);
    assert_int_equal(f->line.n_rises, 1);
    f->clock.fire(f->clock.opaque);
    assert_int_equal(f->line.n_rises, 1);
}

static void a_guest_cannot_make_the_timer_run_hot(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 2, 1);
    fake_advance(&f->clock, 100 * MS);
    assert_in_range(f->clock.n_fired, 100, 2000);
}

static void one_shots_fire_once(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 4, 1193);
    fake_advance(&f->clock, 100 * MS);
    assert_int_equal(f->line.n_rises, 1);
    assert_false(f->line.level);
    program(f, 0, 4, 11932);
    fake_advance(&f->clock, 9 * MS);
    assert_int_equal(f->line.n_rises, 1);
    fake_advance(&f->clock, 2 * MS);
    assert_int_equal(f->line.n_rises, 2);
    assert_int_equal(f->clock.deadline_ns, UINT64_MAX);
}

static void terminal_count_raises_its_output_until_written_again(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 0, 1193);
    assert_false(f->line.level);
    fake_advance(&f->clock, 2 * MS);
    assert_true(f->line.level);
    fake_advance(&f->clock, 200 * MS);
    assert_int_equal(f->line.n_rises, 1);
    out8(&f->io, 0x43, 0x30);
    assert_false(f->line.level);
    fake_advance(&f->clock, 200 * MS);
    assert_int_equal(f->line.n_rises, 1);
}

static void triggered_modes_of_counter_0_never_start(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 1, 100);
    program(f, 0, 5, 100);
    fake_advance(&f->clock, 100 * MS);
    assert_int_equal(f->line.n_rises, 0);
    assert_int_equal(f->clock.n_fired, 0);
}

static void a_count_goes_down_and_latches(void **state)
{
    struct fixture *f = *state;
    uint16_t first, last = 0xffff;

    program(f, 0, 2, 0);
    out8(&f->io, 0x43, 0x00);
    fake_step(&f->clock, 10 * MS);
    first = read_word(f, 0);
    assert_int_equal(first, 0); /* latched at once, when it was 65536 */
    for (unsigned i = 0; i < 20; i++) {
        uint16_t now = read_word(f, 0);

        assert_true(now < last);
        last = now;
        fake_step(&f->clock, 100000);
    }
    assert_in_range(last, 65536 - 11931 - 20 * 120, 65536 - 11931);
}

static void access_modes_show_one_byte(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, 0x43, 0x54); /* counter 1, low byte, mode 2 */
    out8(&f->io, 0x41, 18);
    assert_int_equal(in8(&f->io, 0x41), 18);
    out8(&f->io, 0x43, 0x64); /* high byte */
    out8(&f->io, 0x41, 0x12);
    assert_int_equal(in8(&f->io, 0x41), 0x12);
    assert_int_equal(in8(&f->io, 0x41), 0x12);
}

static void counts_may_be_decimal(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, 0x43, 0x71 | 2 << 1); /* counter 1, both bytes, mode 2, BCD */
    out8(&f->io, 0x41, 0x00);
    out8(&f->io, 0x41, 0x10);
    assert_int_equal(read_word(f, 1), 0x1000);
    fake_step(&f->clock, 2000000); /* 2386 clocks: 614 left of the third thousand */
    assert_int_equal(read_word(f, 1), 0x0614);
}

static void read_back_tells_status_then_count(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, 0x43, 0x34);
    out8(&f->io, 0x43, 0xe2); /* status of counter 0: count not written yet */
    assert_int_equal(in8(&f->io, 0x40) & 0x7f, 0x74);
    program(f, 0, 2, 1000);
    out8(&f->io, 0x43, 0xc2); /* both */
    fake_step(&f->clock, 100000);
    assert_int_equal(in8(&f->io, 0x40), 0xb4);
    assert_int_equal(read_word(f, 0), 1000);
    assert_int_not_equal(read_word(f, 0), 1000);
}

/* The way Linux measures the TSC: counter 2 in mode 0 with its gate, output at port 0x61. */
static void the_gate_starts_counter_2_and_its_output_shows(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, 0x61, 0);
    program(f, 2, 0, 11932);
    fake_step(&f->clock, 50 * MS);
    assert_int_equal(in8(&f->io, 0x61) & 0x20, 0); /* the gate is low: it doesn't count */
    assert_int_equal(read_word(f, 2), 11932);
    out8(&f->io, 0x61, 1);
    fake_step(&f->clock, 9 * MS);
    assert_int_equal(in8(&f->io, 0x61) & 0x21, 0x01);
    out8(&f->io, 0x61, 0);
    fake_step(&f->clock, 50 * MS);
    out8(&f->io, 0x61, 1);
    assert_int_equal(in8(&f->io, 0x61) & 0x20, 0);
    fake_step(&f->clock, 2 * MS);
    assert_int_equal(in8(&f->io, 0x61) & 0x20, 0x20);
    assert_int_equal(f->clock.n_arms, 0);
}

static void a_rising_gate_triggers_and_restarts(void **state)
{
    struct fixture *f = *state;

    program(f, 2, 1, 1193);
    assert_int_equal(in8(&f->io, 0x61) & 0x20, 0x20);
    out8(&f->io, 0x61, 1);
    assert_int_equal(in8(&f->io, 0x61) & 0x20, 0);
    fake_step(&f->clock, 2 * MS);
    assert_int_equal(in8(&f->io, 0x61) & 0x20, 0x20);
    program(f, 2, 3, 1000);
    out8(&f->io, 0x61, 0);
    assert_int_equal(in8(&f->io, 0x61) & 0x20, 0x20);
    out8(&f->io, 0x61, 1);
    assert_int_equal(read_word(f, 2), 1000);
}

static void a_new_rate_takes_over_after_the_running_period(void **state)
{
    struct fixture *f = *state;

    program(f, 0, 2, 11932);
    fake_advance(&f->clock, 5 * MS);
    out8(&f->io, 0x40, 0xa9); /* 1193 from now on */
    out8(&f->io, 0x40, 0x04);
    fake_advance(&f->clock, 4 * MS);
    assert_int_equal(f->line.n_rises, 0);
    fake_advance(&f->clock, 11 * MS);
    assert_in_range(f->line.n_rises, 10, 12);
}

static void refresh_toggles(void **state)
{
    struct fixture *f = *state;
    uint8_t before = in8(&f->io, 0x61) & 0x10;

    fake_step(&f->clock, 15085);
    assert_int_not_equal(in8(&f->io, 0x61) & 0x10, before);
    out8(&f->io, 0x61, 0xff);
    assert_int_equal(in8(&f->io, 0x61) & 0xcf, 0x0f);
}

static void a_state_is_kept_and_an_impossible_one_refused(void **state)
{
    struct fixture *f = *state;
    struct dev_pit_state saved;

    program(f, 0, 2, 1193);
    fake_advance(&f->clock, 10 * MS);
    dev_pit_get_state(&f->pit, &saved);
    dev_pit_reset(&f->pit);
    assert_int_equal(f->clock.deadline_ns, UINT64_MAX);
    assert_int_equal(dev_pit_set_state(&f->pit, &saved), 0);
    f->line.n_rises = 0;
    fake_advance(&f->clock, 10 * MS);
    assert_in_range(f->line.n_rises, 9, 11);
    saved.counter[0].reload = 0; /* counting down from nothing would divide by it */
    assert_int_equal(dev_pit_set_state(&f->pit, &saved), -EINVAL);
    saved.counter[0].reload = 65537;
    assert_int_equal(dev_pit_set_state(&f->pit, &saved), -EINVAL);
}

static void nonsense_leaves_a_possible_state(void **state)
{
    struct fixture *f = *state;
    struct dev_pit_state s;

    for (unsigned i = 0; i < 200; i++) {
        fake_hammer(&f->io, 0x40, 4, 100 + i);
        fake_hammer(&f->io, 0x61, 1, 10 + i % 3);
        fake_advance(&f->clock, i * 77777);
        dev_pit_get_state(&f->pit, &s);
        assert_int_equal(dev_pit_set_state(&f->pit, &s), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_unprogrammed_timer_is_silent),
        TEST(rate_mode_ticks_at_its_rate),
        TEST(square_mode_ticks_as_often),
        TEST(missed_ticks_are_one),
        TEST(a_tick_is_seen_by_a_reader_before_the_timer),
        TEST(a_guest_cannot_make_the_timer_run_hot),
        TEST(one_shots_fire_once),
        TEST(terminal_count_raises_its_output_until_written_again),
        TEST(triggered_modes_of_counter_0_never_start),
        TEST(a_count_goes_down_and_latches),
        TEST(access_modes_show_one_byte),
        TEST(counts_may_be_decimal),
        TEST(read_back_tells_status_then_count),
        TEST(the_gate_starts_counter_2_and_its_output_shows),
        TEST(a_rising_gate_triggers_and_restarts),
        TEST(a_new_rate_takes_over_after_the_running_period),
        TEST(refresh_toggles),
        TEST(a_state_is_kept_and_an_impossible_one_refused),
        TEST(nonsense_leaves_a_possible_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
