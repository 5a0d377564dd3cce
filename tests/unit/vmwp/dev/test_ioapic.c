/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/interrupt.h"
#include "tests/lib/chip.h"
#include "vmwp/dev/ioapic.h"
#include "vmwp/dev/isa.h"
#include "vmwp/dev/pic.h"

#include <errno.h>
#include <stdlib.h>

struct fixture {
    struct hv_io_space mmio;
    struct dev_ioapic ioapic;
    struct hv_interrupt last;
    unsigned n;
};

static void on_interrupt(void *opaque, const struct hv_interrupt *interrupt)
{
    struct fixture *f = opaque;

    f->last = *interrupt;
    f->n++;
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dev_ioapic_config config = { .deliver = on_interrupt, .opaque = f };

    if (!f)
        return -1;
    dev_ioapic_init(&f->ioapic, &config);
    *state = f;
    return dev_ioapic_map(&f->ioapic, &f->mmio);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    dev_ioapic_fini(&f->ioapic);
    free(f);
    return 0;
}

static uint32_t get(struct fixture *f, uint32_t reg)
{
    hv_io_space_write(&f->mmio, DEV_IOAPIC_BASE, 4, reg);
    return (uint32_t)hv_io_space_read(&f->mmio, DEV_IOAPIC_BASE + 0x10, 4);
}

static void set(struct fixture *f, uint32_t reg, uint32_t value)
{
    hv_io_space_write(&f->mmio, DEV_IOAPIC_BASE, 4, reg);
    hv_io_space_write(&f->mmio, DEV_IOAPIC_BASE + 0x10, 4, value);
}

static void registers_that_are_not_there_read_zero(void **state)
{
    struct fixture *f = *state;

    set(f, 0x40, 0xffffffff);
    assert_int_equal(get(f, 0x40), 0);
    assert_int_equal(get(f, 0x03), 0);
    assert_int_equal(hv_io_space_read(&f->mmio, DEV_IOAPIC_BASE + 0x80, 4), 0);
    assert_int_equal(get(f, 1), 0x00170020);
    set(f, 0, 0xffffffff);
    assert_int_equal(get(f, 0), 0x0f000000);
    dev_ioapic_set_line(&f->ioapic, 24, true);
    dev_ioapic_set_line(&f->ioapic, UINT32_MAX, true);
}

static void reserved_and_status_bits_cannot_be_written(void **state)
{
    struct fixture *f = *state;

    set(f, 0x10, 0xffffffff);
    set(f, 0x11, 0xffffffff);
    assert_int_equal(get(f, 0x10), 0x1afff);
    assert_int_equal(get(f, 0x11), 0xff000000);
    set(f, 0x12, 0x10031);
    hv_io_space_write(&f->mmio, DEV_IOAPIC_BASE + 0x10, 1, 0); /* a byte is no entry */
    assert_int_equal(get(f, 0x12), 0x10031);
}

static void masked_edges_are_lost_and_others_delivered_once(void **state)
{
    struct fixture *f = *state;

    dev_ioapic_set_line(&f->ioapic, 4, true);
    assert_int_equal(f->n, 0);
    set(f, 0x10 + 8, 0x0831); /* logical, fixed, edge, vector 0x31 */
    set(f, 0x11 + 8, 0x03000000);
    assert_int_equal(f->n, 0);
    dev_ioapic_set_line(&f->ioapic, 4, true);
    assert_int_equal(f->n, 0); /* it was high already */
    dev_ioapic_set_line(&f->ioapic, 4, false);
    dev_ioapic_set_line(&f->ioapic, 4, true);
    assert_int_equal(f->n, 1);
    assert_int_equal(f->last.vector, 0x31);
    assert_int_equal(f->last.destination, 3);
    assert_true(f->last.is_logical);
    assert_false(f->last.is_level);
    assert_int_equal(get(f, 0x10 + 8), 0x0831);
}

static void a_level_waits_for_its_end_and_comes_again(void **state)
{
    struct fixture *f = *state;

    set(f, 0x10 + 18, 0x8041);
    dev_ioapic_set_line(&f->ioapic, 9, true);
    assert_int_equal(f->n, 1);
    assert_true(f->last.is_level);
    assert_int_equal(get(f, 0x10 + 18), 0xc041);
    dev_ioapic_set_line(&f->ioapic, 9, false);
    dev_ioapic_set_line(&f->ioapic, 9, true);
    assert_int_equal(f->n, 1);
    dev_ioapic_end_of_interrupt(&f->ioapic, 0x42); /* somebody else's */
    assert_int_equal(f->n, 1);
    dev_ioapic_end_of_interrupt(&f->ioapic, 0x41);
    assert_int_equal(f->n, 2);
    dev_ioapic_set_line(&f->ioapic, 9, false);
    hv_io_space_write(&f->mmio, DEV_IOAPIC_BASE + 0x40, 4, 0x41);
    assert_int_equal(f->n, 2);
    assert_int_equal(get(f, 0x10 + 18), 0x8041);
}

static void a_level_is_delivered_when_it_is_unmasked(void **state)
{
    struct fixture *f = *state;

    set(f, 0x10 + 20, 0x18055);
    dev_ioapic_set_line(&f->ioapic, 10, true);
    assert_int_equal(f->n, 0);
    set(f, 0x10 + 20, 0x08055);
    assert_int_equal(f->n, 1);
}

static void turning_to_edge_frees_a_stuck_pin(void **state)
{
    struct fixture *f = *state;

    set(f, 0x10 + 20, 0x8055);
    dev_ioapic_set_line(&f->ioapic, 10, true);
    assert_int_equal(get(f, 0x10 + 20) & 0x4000, 0x4000);
    set(f, 0x10 + 20, 0x10055);
    set(f, 0x10 + 20, 0x18055);
    assert_int_equal(get(f, 0x10 + 20) & 0x4000, 0);
}

static void irq_0_is_wired_to_pin_2(void **state)
{
    struct fixture *f = *state;
    struct dev_pic_config config = { 0 };
    struct dev_pic pic;
    struct dev_isa isa = { .pic = &pic, .ioapic = &f->ioapic };
    struct hv_irq_line line = dev_isa_line(&isa, 0);
    struct dev_pic_state pic_state;

    dev_pic_init(&pic, &config);
    set(f, 0x10, 0x30);
    set(f, 0x14, 0x32);
    hv_irq_line_set(&line, true);
    assert_int_equal(f->n, 1);
    assert_int_equal(f->last.vector, 0x32);
    dev_pic_get_state(&pic, &pic_state);
    assert_int_equal(pic_state.chip[0].lines & 1, 1);
    dev_isa_set_line(&isa, 2, true); /* there is no such line */
    dev_isa_set_line(&isa, 16, true);
    assert_int_equal(f->n, 1);
    set(f, 0x10 + 26, 0x3d);
    dev_isa_set_line(&isa, 13, true);
    assert_int_equal(f->last.vector, 0x3d);
    dev_pic_fini(&pic);
}

static void nonsense_leaves_a_possible_state(void **state)
{
    struct fixture *f = *state;
    struct dev_ioapic_state s;
    uint64_t seed = 3;

    for (unsigned i = 0; i < 300; i++) {
        fake_hammer(&f->mmio, DEV_IOAPIC_BASE, 0x50, 200 + i);
        for (unsigned k = 0; k < 20; k++) {
            set(f, 0x10 + fake_random(&seed) % 50, fake_random(&seed));
            dev_ioapic_set_line(&f->ioapic, fake_random(&seed) % 26, fake_random(&seed) & 1);
            dev_ioapic_end_of_interrupt(&f->ioapic, (uint8_t)fake_random(&seed));
        }
        dev_ioapic_get_state(&f->ioapic, &s);
        assert_int_equal(dev_ioapic_set_state(&f->ioapic, &s), 0);
    }
    s.lines = 1U << 24;
    assert_int_equal(dev_ioapic_set_state(&f->ioapic, &s), -EINVAL);
    s.lines = 0;
    s.entry[3] = UINT64_MAX;
    assert_int_equal(dev_ioapic_set_state(&f->ioapic, &s), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers_that_are_not_there_read_zero),
        TEST(reserved_and_status_bits_cannot_be_written),
        TEST(masked_edges_are_lost_and_others_delivered_once),
        TEST(a_level_waits_for_its_end_and_comes_again),
        TEST(a_level_is_delivered_when_it_is_unmasked),
        TEST(turning_to_edge_frees_a_stuck_pin),
        TEST(irq_0_is_wired_to_pin_2),
        TEST(nonsense_leaves_a_possible_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
