/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "tests/lib/chip.h"
#include "vmwp/dev/pcicfg.h"
#include "vmwp/dev/pm.h"

#include <errno.h>
#include <stdlib.h>

#define SEC UINT64_C(1000000000)

enum {
    STATUS = DEV_PM_BASE,
    ENABLE = DEV_PM_BASE + 2,
    CONTROL = DEV_PM_BASE + 4,
    TIMER = DEV_PM_BASE + 8,
    GPE_STATUS = DEV_PM_BASE + DEV_PM_GPE0,
    GPE_ENABLE = GPE_STATUS + 2
};

struct fixture {
    struct hv_io_space io;
    struct fake_clock clock;
    struct fake_line sci;
    struct dev_pm pm;
    struct dev_pcicfg pci;
    unsigned n_power_offs, n_resets;
};

static void on_power_off(void *opaque)
{
    ((struct fixture *)opaque)->n_power_offs++;
}

static void on_reset(void *opaque)
{
    ((struct fixture *)opaque)->n_resets++;
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dev_pm_config config;
    struct dev_pcicfg_config pci;

    if (!f)
        return -1;
    f->clock = (struct fake_clock){
        .now_ns = 77, .deadline_ns = UINT64_MAX, .fire = dev_pm_timer, .opaque = &f->pm
    };
    config = (struct dev_pm_config){ .sci = fake_irq_line(&f->sci),
                                     .clock = fake_dev_clock(&f->clock),
                                     .timer = fake_dev_timer(&f->clock),
                                     .power_off = on_power_off,
                                     .reset = on_reset,
                                     .opaque = f };
    dev_pm_init(&f->pm, &config);
    pci = (struct dev_pcicfg_config){ .has_host_bridge = true,
                                      .reset_ops = &dev_pm_reset_ops,
                                      .reset_opaque = &f->pm };
    dev_pcicfg_init(&f->pci, &pci);
    *state = f;
    return dev_pm_map(&f->pm, &f->io) < 0 ? -1 : dev_pcicfg_map(&f->pci, &f->io);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    dev_pm_fini(&f->pm);
    dev_pcicfg_fini(&f->pci);
    free(f);
    return 0;
}

static uint16_t in16(struct fixture *f, uint16_t port)
{
    return (uint16_t)hv_io_space_read(&f->io, port, 2);
}

static void out16(struct fixture *f, uint16_t port, uint16_t value)
{
    hv_io_space_write(&f->io, port, 2, value);
}

static uint32_t in32(struct fixture *f, uint16_t port)
{
    return (uint32_t)hv_io_space_read(&f->io, port, 4);
}

static void other_sleep_states_are_ignored(void **state)
{
    struct fixture *f = *state;

    for (unsigned type = 0; type < 8; type++)
        if (type != DEV_PM_S5_TYPE)
            out16(f, CONTROL, (uint16_t)(type << 10 | 1 << 13));
    out16(f, CONTROL, DEV_PM_S5_TYPE << 10); /* the type alone is no request */
    assert_int_equal(f->n_power_offs, 0);
    assert_int_equal(in16(f, CONTROL), DEV_PM_S5_TYPE << 10 | 1); /* SCI_EN is always on */
}

static void soft_off_powers_off(void **state)
{
    struct fixture *f = *state;

    out16(f, CONTROL, DEV_PM_S5_TYPE << 10 | 1 << 13);
    assert_int_equal(f->n_power_offs, 1);
    out8(&f->io, CONTROL + 1, DEV_PM_S5_TYPE << 2 | 0x20);
    assert_int_equal(f->n_power_offs, 2);
    assert_int_equal(in16(f, CONTROL) & 1 << 13, 0);
}

static void the_power_button_interrupts_who_listens(void **state)
{
    struct fixture *f = *state;

    dev_pm_press_power_button(&f->pm);
    assert_false(f->sci.level);
    assert_int_equal(in16(f, STATUS), 0x100);
    out16(f, ENABLE, 0x100);
    assert_true(f->sci.level);
    out16(f, STATUS, 0x001);
    assert_true(f->sci.level);
    out16(f, STATUS, 0x100);
    assert_false(f->sci.level);
    assert_int_equal(in16(f, STATUS), 0);
    out16(f, ENABLE, 0xffff);
    assert_int_equal(in16(f, ENABLE), 0x721);
}

static void gpes_are_latched_and_cleared_by_ones(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, GPE_ENABLE + 1, 0x80);
    dev_pm_raise_gpe(&f->pm, 3);
    assert_false(f->sci.level);
    dev_pm_raise_gpe(&f->pm, 15);
    assert_true(f->sci.level);
    assert_int_equal(in16(f, GPE_STATUS), 0x8008);
    out8(&f->io, GPE_STATUS, 0xff);
    assert_true(f->sci.level);
    out8(&f->io, GPE_STATUS + 1, 0x80);
    assert_false(f->sci.level);
}

static void the_timer_runs_at_its_frequency(void **state)
{
    struct fixture *f = *state;
    uint32_t before = in32(f, TIMER);

    fake_step(&f->clock, SEC);
    assert_int_equal(in32(f, TIMER) - before, 3579545);
    assert_int_equal(hv_io_space_read(&f->io, TIMER, 1), (3579545 + before) & 0xff);
    hv_io_space_write(&f->io, TIMER, 4, 0);
    assert_int_equal(in32(f, TIMER) - before, 3579545);
}

static void the_top_bits_change_interrupts_when_enabled(void **state)
{
    struct fixture *f = *state;

    fake_advance(&f->clock, 601 * SEC);
    assert_int_equal(f->clock.n_fired, 0);
    assert_int_equal(in16(f, STATUS), 0x0001);
    out16(f, STATUS, 0x0001);
    assert_int_equal(in16(f, STATUS), 0);
    out16(f, ENABLE, 0x0001);
    fake_advance(&f->clock, 598 * SEC);
    assert_false(f->sci.level);
    fake_advance(&f->clock, 2 * SEC);
    assert_true(f->sci.level);
    assert_int_equal(f->clock.n_fired, 1);
}

static void the_reset_register_shares_its_place_with_pci(void **state)
{
    struct fixture *f = *state;

    hv_io_space_write(&f->io, 0xcf8, 4, 0x80000600); /* no reset, an address */
    assert_int_equal(f->n_resets, 0);
    out8(&f->io, DEV_PM_RESET_PORT, 0x02);
    assert_int_equal(f->n_resets, 0);
    assert_int_equal(in8(&f->io, DEV_PM_RESET_PORT), 0x02);
    out8(&f->io, DEV_PM_RESET_PORT, DEV_PM_RESET_VALUE);
    assert_int_equal(f->n_resets, 1);
    assert_int_equal(hv_io_space_read(&f->io, 0xcf8, 4), 0x80000600);
}

static void an_empty_bus_reads_all_ones(void **state)
{
    struct fixture *f = *state;

    hv_io_space_write(&f->io, 0xcf8, 4, 0x80000000);
    assert_int_equal(in32(f, 0xcfc), 0x71928086);
    assert_int_equal(in16(f, 0xcfe), 0x7192);
    hv_io_space_write(&f->io, 0xcf8, 4, 0x80000008);
    assert_int_equal(in32(f, 0xcfc) >> 16, 0x0600);
    hv_io_space_write(&f->io, 0xcf8, 4, 0x80000004);
    out16(f, 0xcfc, 0xffff);
    assert_int_equal(in16(f, 0xcfc), 0x0146);
    for (unsigned device = 1; device < 32; device++) {
        hv_io_space_write(&f->io, 0xcf8, 4, 0x80000000 | device << 11);
        assert_int_equal(in32(f, 0xcfc), 0xffffffff);
        hv_io_space_write(&f->io, 0xcfc, 4, 0);
    }
    hv_io_space_write(&f->io, 0xcf8, 4, 0x80000100); /* function 1 */
    assert_int_equal(in32(f, 0xcfc), 0xffffffff);
    hv_io_space_write(&f->io, 0xcf8, 4, 0x00000000); /* not enabled */
    assert_int_equal(in32(f, 0xcfc), 0xffffffff);
    assert_int_equal(in8(&f->io, 0xcf8), 0xff);
    assert_int_equal(in16(f, 0xcfa), 0xffff);
}

static void nonsense_leaves_a_possible_state(void **state)
{
    struct fixture *f = *state;
    struct dev_pm_state s;
    struct dev_pcicfg_state pci;

    for (unsigned i = 0; i < 200; i++) {
        fake_hammer(&f->io, DEV_PM_BASE, DEV_PM_PORTS, 300);
        fake_hammer(&f->io, 0xcf8, 8, 300);
        fake_advance(&f->clock, i * SEC);
        dev_pm_get_state(&f->pm, &s);
        assert_int_equal(dev_pm_set_state(&f->pm, &s), 0);
        dev_pcicfg_get_state(&f->pci, &pci);
        assert_int_equal(dev_pcicfg_set_state(&f->pci, &pci), 0);
    }
    s.pm1_control = 0;
    assert_int_equal(dev_pm_set_state(&f->pm, &s), -EINVAL);
    pci.address = 3;
    assert_int_equal(dev_pcicfg_set_state(&f->pci, &pci), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(other_sleep_states_are_ignored),
        TEST(soft_off_powers_off),
        TEST(the_power_button_interrupts_who_listens),
        TEST(gpes_are_latched_and_cleared_by_ones),
        TEST(the_timer_runs_at_its_frequency),
        TEST(the_top_bits_change_interrupts_when_enabled),
        TEST(the_reset_register_shares_its_place_with_pci),
        TEST(an_empty_bus_reads_all_ones),
        TEST(nonsense_leaves_a_possible_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
