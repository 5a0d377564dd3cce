/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "tests/lib/chip.h"
#include "vmwp/dev/debugexit.h"
#include "vmwp/dev/i8042.h"
#include "vmwp/dev/misc.h"

#include <errno.h>
#include <stdlib.h>

struct fixture {
    struct hv_io_space io;
    struct fake_line keyboard, mouse;
    struct dev_i8042 chip;
    struct dev_misc misc;
    struct dev_debugexit debugexit;
    unsigned n_resets;
    uint32_t exit_status;
};

static void on_reset(void *opaque)
{
    ((struct fixture *)opaque)->n_resets++;
}

static void on_exit_status(void *opaque, uint32_t status)
{
    ((struct fixture *)opaque)->exit_status = status;
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dev_i8042_config config;
    struct dev_misc_config misc = { .reset = on_reset, .opaque = f };

    if (!f)
        return -1;
    config = (struct dev_i8042_config){ .keyboard = fake_irq_line(&f->keyboard),
                                        .mouse = fake_irq_line(&f->mouse),
                                        .reset = on_reset,
                                        .opaque = f };
    dev_i8042_init(&f->chip, &config);
    dev_misc_init(&f->misc, &misc);
    f->debugexit = (struct dev_debugexit){ .exit = on_exit_status, .opaque = f };
    *state = f;
    if (dev_i8042_map(&f->chip, &f->io) < 0 || dev_misc_map(&f->misc, &f->io) < 0)
        return -1;
    return dev_debugexit_map(&f->debugexit, &f->io, 0xf4);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    dev_i8042_fini(&f->chip);
    dev_misc_fini(&f->misc);
    free(f);
    return 0;
}

static void a_keyboard_that_is_not_there_times_out_at_once(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, 0x60, 0xff);
    assert_int_equal(in8(&f->io, 0x64) & 0x61, 0x41);
    assert_int_equal(in8(&f->io, 0x60), 0xfe);
    assert_int_equal(in8(&f->io, 0x64) & 0x61, 0);
    out8(&f->io, 0x64, 0xd4);
    out8(&f->io, 0x60, 0xf2);
    assert_int_equal(in8(&f->io, 0x64) & 0x61, 0x61);
    assert_int_equal(in8(&f->io, 0x60), 0xfe);
}

static void the_controller_tests_itself(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(in8(&f->io, 0x64) & 0x03, 0);
    out8(&f->io, 0x64, 0xaa);
    assert_int_equal(in8(&f->io, 0x60), 0x55);
    out8(&f->io, 0x64, 0xab);
    assert_int_equal(in8(&f->io, 0x60), 0x00);
    out8(&f->io, 0x64, 0xd3);
    out8(&f->io, 0x60, 0x5a);
    assert_int_equal(in8(&f->io, 0x64) & 0x21, 0x21);
    assert_int_equal(in8(&f->io, 0x60), 0x5a);
}

static void the_mode_is_kept_and_enables_interrupts(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, 0x64, 0x60);
    out8(&f->io, 0x60, 0x47);
    out8(&f->io, 0x64, 0x20);
    assert_true(f->keyboard.level);
    assert_int_equal(in8(&f->io, 0x60), 0x47);
    assert_false(f->keyboard.level);
    out8(&f->io, 0x64, 0xd3);
    out8(&f->io, 0x60, 1);
    assert_true(f->mouse.level);
    assert_false(f->keyboard.level);
    out8(&f->io, 0x64, 0x7f);
    out8(&f->io, 0x60, 0x99);
    out8(&f->io, 0x64, 0x3f);
    assert_int_equal(in8(&f->io, 0x60), 0x99);
}

static void pulses_of_line_0_reset_and_others_do_not(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, 0x64, 0xff);
    out8(&f->io, 0x64, 0xf1);
    assert_int_equal(f->n_resets, 0);
    out8(&f->io, 0x64, 0xfe);
    assert_int_equal(f->n_resets, 1);
    out8(&f->io, 0x64, 0xd1);
    out8(&f->io, 0x60, 0xdf);
    assert_int_equal(f->n_resets, 1);
    out8(&f->io, 0x64, 0xd0);
    assert_int_equal(in8(&f->io, 0x60) & 2, 2);
    out8(&f->io, 0x64, 0xd1);
    out8(&f->io, 0x60, 0x02);
    assert_int_equal(f->n_resets, 2);
}

static void port_92_resets_on_the_rise_of_its_bit(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(in8(&f->io, 0x92), 2);
    out8(&f->io, 0x92, 0);
    assert_int_equal(f->n_resets, 0);
    out8(&f->io, 0x92, 3);
    out8(&f->io, 0x92, 3);
    assert_int_equal(f->n_resets, 1);
}

static void habits_are_answered_quietly(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, 0x80, 0x31);
    out8(&f->io, 0xed, 0x31);
    assert_int_equal(in8(&f->io, 0x80), 0x31);
    assert_int_equal(in8(&f->io, 0xed), 0xff);
    out8(&f->io, 0x87, 0x12);
    out8(&f->io, 0xc4, 0x34);
    assert_int_equal(in8(&f->io, 0x87), 0x12);
    assert_int_equal(in8(&f->io, 0xc5), 0x34);
    hv_io_space_write(&f->io, 0x0c, 4, 0x04030201);
    assert_int_equal(in8(&f->io, 0x0f), 4);
    hv_io_space_write(&f->io, 0x8e, 4, 0xffffffff); /* runs over the range's end */
    hv_io_space_write(&f->io, 0xde, 4, 0xffffffff);
}

static void a_debug_exit_reports_an_odd_status(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(in8(&f->io, 0xf4), 0);
    out8(&f->io, 0xf4, 0x10);
    assert_int_equal(f->exit_status, 0x21);
    hv_io_space_write(&f->io, 0xf4, 4, 0x80000001);
    assert_int_equal(f->exit_status, 3);
}

static void nonsense_leaves_a_possible_state(void **state)
{
    struct fixture *f = *state;
    struct dev_i8042_state s;
    struct dev_misc_state m;

    for (unsigned i = 0; i < 200; i++) {
        fake_hammer(&f->io, 0x60, 5, 100 + i);
        fake_hammer(&f->io, 0x00, 0x100, 1000);
        dev_i8042_get_state(&f->chip, &s);
        assert_int_equal(dev_i8042_set_state(&f->chip, &s), 0);
        dev_misc_get_state(&f->misc, &m);
        assert_int_equal(dev_misc_set_state(&f->misc, &m), 0);
    }
    s.command = 0x01;
    assert_int_equal(dev_i8042_set_state(&f->chip, &s), -EINVAL);
    dev_i8042_reset(&f->chip);
    assert_false(f->keyboard.level || f->mouse.level);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_keyboard_that_is_not_there_times_out_at_once),
        TEST(the_controller_tests_itself),
        TEST(the_mode_is_kept_and_enables_interrupts),
        TEST(pulses_of_line_0_reset_and_others_do_not),
        TEST(port_92_resets_on_the_rise_of_its_bit),
        TEST(habits_are_answered_quietly),
        TEST(a_debug_exit_reports_an_odd_status),
        TEST(nonsense_leaves_a_possible_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
