/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "tests/lib/chip.h"
#include "vmwp/dev/pic.h"

#include <errno.h>
#include <stdlib.h>

struct fixture {
    struct hv_io_space io;
    struct dev_pic pic;
    bool intr;
    unsigned n_changes;
};

static void on_output(void *opaque, bool level)
{
    struct fixture *f = opaque;

    f->intr = level;
    f->n_changes++;
}

/* As PC systems do: vectors 0x20 and 0x28, slave on line 2; icw4 as given. */
static void initialise(struct fixture *f, uint8_t icw4)
{
    out8(&f->io, 0x20, 0x11);
    out8(&f->io, 0x21, 0x20);
    out8(&f->io, 0x21, 0x04);
    out8(&f->io, 0x21, icw4);
    out8(&f->io, 0xa0, 0x11);
    out8(&f->io, 0xa1, 0x28);
    out8(&f->io, 0xa1, 0x02);
    out8(&f->io, 0xa1, icw4);
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dev_pic_config config = { .set_output = on_output, .opaque = f };

    if (!f)
        return -1;
    dev_pic_init(&f->pic, &config);
    *state = f;
    return dev_pic_map(&f->pic, &f->io);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    dev_pic_fini(&f->pic);
    free(f);
    return 0;
}

static void pulse(struct fixture *f, unsigned line)
{
    dev_pic_set_line(&f->pic, line, true);
    dev_pic_set_line(&f->pic, line, false);
}

static void before_initialisation_nothing_is_delivered(void **state)
{
    struct fixture *f = *state;

    pulse(f, 1);
    assert_false(f->intr);
    assert_int_equal(dev_pic_acknowledge(&f->pic), -1);
    dev_pic_set_line(&f->pic, 2, true);
    dev_pic_set_line(&f->pic, 16, true);
    dev_pic_set_line(&f->pic, 4000000000U, true);
    assert_false(f->intr);
}

static void an_edge_is_delivered_once_and_blocks_until_eoi(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    dev_pic_set_line(&f->pic, 4, true);
    assert_true(f->intr);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x24);
    assert_false(f->intr);
    pulse(f, 5); /* lower priority waits */
    assert_false(f->intr);
    pulse(f, 1); /* higher doesn't */
    assert_true(f->intr);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x21);
    out8(&f->io, 0x20, 0x20);
    assert_false(f->intr);
    out8(&f->io, 0x20, 0x20);
    assert_true(f->intr);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x25);
}

static void a_masked_edge_is_remembered(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    out8(&f->io, 0x21, 0xff);
    pulse(f, 3);
    assert_false(f->intr);
    assert_int_equal(in8(&f->io, 0x20), 1 << 3);
    out8(&f->io, 0x21, 0xf7);
    assert_int_equal(in8(&f->io, 0x21), 0xf7);
    assert_true(f->intr);
}

static void the_slave_is_reached_through_line_2(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    pulse(f, 12);
    pulse(f, 8);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x28);
    assert_false(f->intr);
    out8(&f->io, 0xa0, 0x20);
    assert_false(f->intr); /* the master still serves line 2 */
    out8(&f->io, 0x20, 0x62);
    assert_true(f->intr);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x2c);
    out8(&f->io, 0x20, 0x0b);
    assert_int_equal(in8(&f->io, 0x20), 1 << 2);
    out8(&f->io, 0xa0, 0x0b);
    assert_int_equal(in8(&f->io, 0xa0), 1 << 4);
}

static void a_level_that_goes_away_is_spurious(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    out8(&f->io, 0x4d0, 0xff);
    assert_int_equal(in8(&f->io, 0x4d0), 0xf8);
    out8(&f->io, 0x4d1, 0xff);
    assert_int_equal(in8(&f->io, 0x4d1), 0xde);
    dev_pic_set_line(&f->pic, 5, true);
    assert_true(f->intr);
    dev_pic_set_line(&f->pic, 5, false);
    assert_false(f->intr);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x27);
    out8(&f->io, 0x20, 0x0b);
    assert_int_equal(in8(&f->io, 0x20), 0); /* nothing in service */
}

static void a_level_comes_again_while_it_lasts(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    out8(&f->io, 0x4d1, 0x02);
    dev_pic_set_line(&f->pic, 9, true);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(f->intr);
        assert_int_equal(dev_pic_acknowledge(&f->pic), 0x29);
        out8(&f->io, 0xa0, 0x20);
        out8(&f->io, 0x20, 0x20);
    }
    dev_pic_set_line(&f->pic, 9, false);
    assert_false(f->intr);
}

static void automatic_eoi_leaves_nothing_in_service(void **state)
{
    struct fixture *f = *state;

    initialise(f, 3);
    pulse(f, 0);
    pulse(f, 6);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x20);
    assert_true(f->intr);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x26);
    pulse(f, 14);
    pulse(f, 15);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x2e);
    assert_true(f->intr);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x2f);
    assert_false(f->intr);
}

static void priorities_rotate(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    out8(&f->io, 0x20, 0xc3); /* line 3 is lowest: 4 comes first */
    pulse(f, 0);
    pulse(f, 4);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x24);
    out8(&f->io, 0x20, 0xa0); /* rotate on EOI: now line 4 is lowest */
    pulse(f, 4);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x20);
    out8(&f->io, 0x20, 0xe0); /* rotate on a specific EOI */
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x24);
    initialise(f, 3);
    out8(&f->io, 0x20, 0x80); /* rotate in automatic EOI */
    pulse(f, 1);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x21);
    pulse(f, 1);
    pulse(f, 7);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x27);
}

static void special_mask_lets_lower_lines_through(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    pulse(f, 1);
    assert_int_equal(dev_pic_acknowledge(&f->pic), 0x21);
    pulse(f, 6);
    assert_false(f->intr);
    out8(&f->io, 0x21, 0x02);
    assert_false(f->intr);
    out8(&f->io, 0x20, 0x68);
    assert_true(f->intr);
    out8(&f->io, 0x20, 0x48);
    assert_false(f->intr);
}

static void a_poll_acknowledges(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    out8(&f->io, 0x20, 0x0c);
    assert_int_equal(in8(&f->io, 0x20) & 0x80, 0);
    pulse(f, 3);
    out8(&f->io, 0x20, 0x0c);
    assert_int_equal(in8(&f->io, 0x20), 0x83);
    assert_false(f->intr);
    out8(&f->io, 0x20, 0x0b);
    assert_int_equal(in8(&f->io, 0x20), 1 << 3);
}

static void initialising_forgets_edges_and_masks(void **state)
{
    struct fixture *f = *state;

    initialise(f, 1);
    out8(&f->io, 0x21, 0xff);
    dev_pic_set_line(&f->pic, 1, true);
    initialise(f, 1);
    assert_int_equal(in8(&f->io, 0x21), 0);
    assert_false(f->intr); /* the line is high, but it must rise again */
    dev_pic_set_line(&f->pic, 1, false);
    dev_pic_set_line(&f->pic, 1, true);
    assert_true(f->intr);
    dev_pic_reset(&f->pic);
    assert_false(f->intr);
}

static void nonsense_leaves_a_possible_state(void **state)
{
    struct fixture *f = *state;
    struct dev_pic_state s;
    uint64_t seed = 7;

    for (unsigned i = 0; i < 300; i++) {
        fake_hammer(&f->io, 0x20, 2, 100 + i);
        fake_hammer(&f->io, 0xa0, 2, 100 + i);
        fake_hammer(&f->io, 0x4d0, 2, 3);
        dev_pic_set_line(&f->pic, fake_random(&seed) % 17, fake_random(&seed) & 1);
        assert_in_range(dev_pic_acknowledge(&f->pic) + 1, 0, 256);
        dev_pic_get_state(&f->pic, &s);
        assert_int_equal(s.output, f->intr);
        assert_int_equal(dev_pic_set_state(&f->pic, &s), 0);
    }
    s.chip[1].lowest = 8;
    assert_int_equal(dev_pic_set_state(&f->pic, &s), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(before_initialisation_nothing_is_delivered),
        TEST(an_edge_is_delivered_once_and_blocks_until_eoi),
        TEST(a_masked_edge_is_remembered),
        TEST(the_slave_is_reached_through_line_2),
        TEST(a_level_that_goes_away_is_spurious),
        TEST(a_level_comes_again_while_it_lasts),
        TEST(automatic_eoi_leaves_nothing_in_service),
        TEST(priorities_rotate),
        TEST(special_mask_lets_lower_lines_through),
        TEST(a_poll_acknowledges),
        TEST(initialising_forgets_edges_and_masks),
        TEST(nonsense_leaves_a_possible_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
