/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/x86/lapic.h"

#include <string.h>

enum { N = 4, TSC_HZ = 2000000000 }; /* two ticks are one count of the timer at divide 1 */

enum {
    MSR_TPR = 0x808,
    MSR_PPR = 0x80a,
    MSR_EOI = 0x80b,
    MSR_LDR = 0x80d,
    MSR_SVR = 0x80f,
    MSR_ISR = 0x810,
    MSR_IRR = 0x820,
    MSR_ESR = 0x828,
    MSR_ICR = 0x830,
    MSR_LVT_TIMER = 0x832,
    MSR_LVT_LINT0 = 0x835,
    MSR_LVT_LINT1 = 0x836,
    MSR_LVT_ERROR = 0x837,
    MSR_INITIAL = 0x838,
    MSR_CURRENT = 0x839,
    MSR_DIVIDE = 0x83e,
    MSR_SELF_IPI = 0x83f,
    MSR_APIC_BASE = 0x1b,
    MSR_DEADLINE = 0x6e0
};

/* The world around the LAPICs. One test runs at a time, so it may stand here. */
static struct world {
    struct x86_lapic_bus bus;
    struct x86_lapic lapics[N];
    unsigned kicks[N];
    uint64_t armed[N]; /* 0: not armed */
    int ended;         /* vector of the last broadcast EOI, or -1 */
    int pic_vector;
    unsigned n_watched;
    int watched; /* the last one's vector and LAPIC: id << 8 | vector */
} world;

static uint64_t host_tsc;

static uint64_t read_host_tsc(void)
{
    return host_tsc;
}

static void on_kick(void *opaque)
{
    (*(unsigned *)opaque)++;
}

static void on_arm(void *opaque, uint64_t tsc)
{
    world.armed[(unsigned *)opaque - world.kicks] = tsc;
}

static void on_disarm(void *opaque)
{
    world.armed[(unsigned *)opaque - world.kicks] = 0;
}

static void on_end(void *opaque, uint8_t vector)
{
    (void)opaque;
    world.ended = vector;
}

static void on_watched(void *opaque, uint32_t id, uint8_t vector)
{
    (void)opaque;
    world.n_watched++;
    world.watched = (int)(id << 8 | vector);
}

static int on_pic(void *opaque)
{
    (void)opaque;
    return world.pic_vector;
}

static const struct x86_lapic_ops ops = { on_kick, on_arm, on_disarm };

static void write_msr(unsigned cpu, uint32_t msr, uint64_t value)
{
    assert_true(x86_lapic_msr_write(&world.lapics[cpu], msr, value));
}

static uint64_t read_msr(unsigned cpu, uint32_t msr)
{
    uint64_t value = 0;

    assert_true(x86_lapic_msr_read(&world.lapics[cpu], msr, &value));
    return value;
}

static int setup(void **state)
{
    (void)state;
    host_tsc = 1000000;
    memset(&world, 0, sizeof(world));
    world.ended = world.pic_vector = -1;
    x86_lapic_bus_init(&world.bus, TSC_HZ);
    world.bus.host_tsc = read_host_tsc;
    world.bus.end_of_interrupt = on_end;
    world.bus.pic_acknowledge = on_pic;
    world.bus.watched_eoi = on_watched;
    for (unsigned i = 0; i < N; i++)
        x86_lapic_init(&world.lapics[i], &world.bus, &ops, &world.kicks[i]);
    return 0;
}

/* x2APIC mode and software-enabled. */
static int setup_x2apic(void **state)
{
    setup(state);
    for (unsigned i = 0; i < N; i++) {
        write_msr(i, MSR_APIC_BASE, read_msr(i, MSR_APIC_BASE) | X86_APIC_BASE_X2APIC);
        write_msr(i, MSR_SVR, 0x1ff);
    }
    return 0;
}

static int setup_xapic(void **state)
{
    setup(state);
    for (unsigned i = 0; i < N; i++)
        x86_lapic_mmio_write(&world.lapics[i], 0xf0, 4, 0x1ff);
    return 0;
}

static void post_fixed(unsigned cpu, uint8_t vector, bool is_level)
{
    x86_lapic_post(&world.lapics[cpu],
                   &(struct hv_interrupt){ .vector = vector, .is_level = is_level });
}

static int acknowledge(unsigned cpu)
{
    return x86_lapic_acknowledge(&world.lapics[cpu]);
}

/* --- registers --- */

static void reserved_and_missing_registers_fault_in_x2apic_mode(void **state)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
    } bad[] = {
        { 0x802, 0 },                       /* ID: read only */
        { 0x803, 0 },                       /* version */
        { MSR_TPR, 0x100 },                 /* reserved bit */
        { MSR_PPR, 0 },                     /* read only */
        { MSR_EOI, 1 },                     /* only 0 */
        { MSR_LDR, 1 },                     /* read only in this mode */
        { 0x80e, 0 },                       /* DFR: missing */
        { MSR_SVR, 0x10000 },               /* reserved */
        { MSR_ISR, 0 },                     /* read only */
        { MSR_ESR, 1 },                     /* only 0 */
        { 0x831, 0 },                       /* ICR high: missing */
        { MSR_ICR, 1 << 13 },               /* reserved */
        { MSR_LVT_TIMER, 1 << 8 },          /* the timer has no delivery mode */
        { MSR_INITIAL, UINT64_C(1) << 32 }, /* wide */
        { MSR_CURRENT, 0 },                 /* read only */
        { MSR_DIVIDE, 4 },                  /* reserved */
        { MSR_SELF_IPI, 0x100 },            /* reserved */
        { 0x840, 0 },                       /* nothing there */
    };
    static const uint32_t unreadable[] = {
        MSR_EOI, 0x809, 0x80e, 0x831, MSR_SELF_IPI, 0x840, 0x800
    };
    uint64_t value = 0x5a;

    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(x86_lapic_msr_write(&world.lapics[0], bad[i].msr, bad[i].value));
    for (unsigned i = 0; i < sizeof(unreadable) / sizeof(unreadable[0]); i++)
        assert_false(x86_lapic_msr_read(&world.lapics[0], unreadable[i], &value));
    assert_int_equal(value, 0x5a);
}

static void x2apic_registers_fault_in_xapic_mode(void **state)
{
    uint64_t value;

    (void)state;
    assert_false(x86_lapic_msr_read(&world.lapics[0], MSR_TPR, &value));
    assert_false(x86_lapic_msr_write(&world.lapics[0], MSR_TPR, 0));
}

static void modes_change_only_along_the_allowed_paths(void **state)
{
    const uint64_t base = 0xfee00000 | X86_APIC_BASE_BSP;
    const uint64_t off = base, xapic = base | X86_APIC_BASE_ENABLE;
    const uint64_t x2apic = xapic | X86_APIC_BASE_X2APIC, bad = base | X86_APIC_BASE_X2APIC;
    struct x86_lapic *lapic = &world.lapics[0];

    (void)state;
    assert_int_equal(read_msr(0, MSR_APIC_BASE), xapic);
    assert_int_equal(read_msr(1, MSR_APIC_BASE), xapic & ~(uint64_t)X86_APIC_BASE_BSP);
    assert_false(x86_lapic_msr_write(lapic, MSR_APIC_BASE, bad));
    assert_false(x86_lapic_msr_write(lapic, MSR_APIC_BASE, xapic | 1));
    assert_false(x86_lapic_msr_write(lapic, MSR_APIC_BASE, xapic | UINT64_C(1) << 40));
    write_msr(0, MSR_APIC_BASE, x2apic);
    assert_false(x86_lapic_msr_write(lapic, MSR_APIC_BASE, xapic));
    assert_false(x86_lapic_owns(lapic, 0xfee00000));
    write_msr(0, MSR_APIC_BASE, off);
    assert_false(x86_lapic_msr_write(lapic, MSR_APIC_BASE, x2apic));
    write_msr(0, MSR_APIC_BASE, xapic);
    assert_true(x86_lapic_owns(lapic, 0xfee00ff0));
    assert_false(x86_lapic_owns(lapic, 0xfee01000));
    write_msr(0, MSR_APIC_BASE, 0xd0000000 | X86_APIC_BASE_ENABLE);
    assert_true(x86_lapic_owns(lapic, 0xd0000020));
}

static void the_page_reads_registers_at_their_offsets(void **state)
{
    struct x86_lapic *lapic = &world.lapics[2];

    (void)state;
    assert_int_equal(x86_lapic_mmio_read(lapic, 0x20, 4), 2U << 24);
    assert_int_equal(x86_lapic_mmio_read(lapic, 0x23, 1), 2);
    assert_int_equal(x86_lapic_mmio_read(lapic, 0x30, 4), 0x50014);
    assert_int_equal(x86_lapic_mmio_read(lapic, 0xe0, 4), 0xffffffff);
    assert_int_equal(x86_lapic_mmio_read(lapic, 0x34, 4), 0);
    x86_lapic_mmio_write(lapic, 0xd0, 4, 0x12345678);
    assert_int_equal(x86_lapic_mmio_read(lapic, 0xd0, 4), 0x12000000);
    x86_lapic_mmio_write(lapic, 0x80, 2, 0x77); /* too narrow: ignored */
    assert_int_equal(x86_lapic_mmio_read(lapic, 0x80, 4), 0);
    for (uint32_t offset = 0; offset < X86_LAPIC_PAGE_BYTES; offset++)
        for (unsigned size = 1; size <= 8; size *= 2)
            (void)x86_lapic_mmio_read(lapic, offset, size);
}

static void a_missing_register_is_an_error_that_the_guest_reads(void **state)
{
    struct x86_lapic *lapic = &world.lapics[0];

    (void)state;
    x86_lapic_mmio_write(lapic, 0x370, 4, 0xfe);
    x86_lapic_mmio_write(lapic, 0x3f0, 4, 1);
    assert_int_equal(acknowledge(0), 0xfe);
    assert_int_equal(x86_lapic_mmio_read(lapic, 0x280, 4), 0);
    x86_lapic_mmio_write(lapic, 0x280, 4, 0);
    assert_int_equal(x86_lapic_mmio_read(lapic, 0x280, 4), 0x80);
    x86_lapic_mmio_write(lapic, 0x280, 4, 0);
    assert_int_equal(x86_lapic_mmio_read(lapic, 0x280, 4), 0);
}

/* --- acceptance and priority --- */

static void a_disabled_lapic_takes_no_vectors_but_takes_nmi(void **state)
{
    (void)state;
    post_fixed(0, 0x40, false);
    assert_int_equal(acknowledge(0), -1);
    assert_int_equal(world.kicks[0], 0);
    x86_lapic_post(&world.lapics[0], &(struct hv_interrupt){ .delivery_mode = HV_DELIVER_NMI });
    assert_int_equal(x86_lapic_take_events(&world.lapics[0]), X86_LAPIC_EVENT_NMI);
    assert_int_equal(x86_lapic_take_events(&world.lapics[0]), 0);
}

static void higher_classes_interrupt_lower_ones_only(void **state)
{
    (void)state;
    post_fixed(0, 0x41, false);
    post_fixed(0, 0x45, false);
    assert_int_equal(acknowledge(0), 0x45);
    assert_int_equal(read_msr(0, MSR_PPR), 0x40);
    assert_false(x86_lapic_is_deliverable(&world.lapics[0])); /* same class */
    post_fixed(0, 0x50, false);
    assert_int_equal(acknowledge(0), 0x50);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(read_msr(0, MSR_PPR), 0x40);
    assert_int_equal(acknowledge(0), -1);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(acknowledge(0), 0x41);
    write_msr(0, MSR_EOI, 0);
    write_msr(0, MSR_EOI, 0); /* nothing in service */
    assert_int_equal(read_msr(0, MSR_PPR), 0);
}

static void the_task_priority_holds_vectors_back(void **state)
{
    unsigned before;

    (void)state;
    write_msr(0, MSR_TPR, 0x5f);
    assert_int_equal(x86_lapic_cr8(&world.lapics[0]), 5);
    post_fixed(0, 0x5f, false);
    assert_false(x86_lapic_is_deliverable(&world.lapics[0]));
    before = world.kicks[0];
    x86_lapic_set_tpr(&world.lapics[0], 0x40);
    assert_int_equal(world.kicks[0], before + 1);
    assert_int_equal(acknowledge(0), 0x5f);
}

static void a_second_request_of_a_vector_is_one(void **state)
{
    (void)state;
    post_fixed(0, 0x61, false);
    post_fixed(0, 0x61, false);
    assert_int_equal(world.kicks[0], 1);
    assert_int_equal(acknowledge(0), 0x61);
    post_fixed(0, 0x61, false); /* in service, and requested again */
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(acknowledge(0), 0x61);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(acknowledge(0), -1);
}

static void an_acknowledged_vector_can_be_taken_back(void **state)
{
    (void)state;
    post_fixed(0, 0x61, false);
    assert_false(x86_lapic_requeue(&world.lapics[0], 0x61));
    assert_int_equal(acknowledge(0), 0x61);
    assert_true(x86_lapic_requeue(&world.lapics[0], 0x61));
    assert_int_equal(read_msr(0, MSR_PPR), 0);
    assert_int_equal(acknowledge(0), 0x61);
}

static void the_end_of_a_level_interrupt_is_told(void **state)
{
    (void)state;
    post_fixed(0, 0x31, false);
    assert_int_equal(acknowledge(0), 0x31);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(world.ended, -1);
    post_fixed(0, 0x31, true);
    assert_int_equal(acknowledge(0), 0x31);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(world.ended, 0x31);
    world.ended = -1;
    post_fixed(0, 0x31, false);
    assert_int_equal(acknowledge(0), 0x31);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(world.ended, -1);
}

static void vectors_below_16_are_errors(void **state)
{
    (void)state;
    write_msr(0, MSR_LVT_ERROR, 0xfe);
    post_fixed(0, 15, false);
    assert_int_equal(acknowledge(0), 0xfe);
    write_msr(0, MSR_EOI, 0);
    write_msr(0, MSR_ESR, 0);
    assert_int_equal(read_msr(0, MSR_ESR), 1 << 6);
    write_msr(0, MSR_ICR, 3); /* to itself, vector 3 */
    write_msr(0, MSR_ESR, 0);
    assert_int_equal(read_msr(0, MSR_ESR), 1 << 5 | 1 << 6);
    write_msr(0, MSR_LVT_ERROR, 5); /* an error vector that is one itself doesn't recurse */
    post_fixed(0, 1, false);
    assert_int_equal(acknowledge(0), 0xfe); /* of the last error */
}

/* --- inter-processor interrupts --- */

static uint64_t icr(uint32_t destination, uint32_t low)
{
    return (uint64_t)destination << 32 | low;
}

static unsigned who_has(uint8_t vector)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < N; i++) {
        if (acknowledge(i) == vector) {
            mask |= 1U << i;
            x86_lapic_eoi(&world.lapics[i]);
        }
    }
    return mask;
}

static void physical_destinations_and_shorthands(void **state)
{
    (void)state;
    write_msr(0, MSR_ICR, icr(2, 0x40));
    assert_int_equal(who_has(0x40), 1 << 2);
    write_msr(0, MSR_ICR, icr(9, 0x40)); /* nobody */
    assert_int_equal(who_has(0x40), 0);
    write_msr(0, MSR_ICR, icr(0xff, 0x40)); /* in x2APIC mode an ID like others */
    assert_int_equal(who_has(0x40), 0);
    write_msr(0, MSR_ICR, icr(UINT32_MAX, 0x40));
    assert_int_equal(who_has(0x40), 0xf);
    write_msr(1, MSR_ICR, 0x40 | 1 << 18);
    assert_int_equal(who_has(0x40), 1 << 1);
    write_msr(1, MSR_ICR, 0x40 | 2 << 18);
    assert_int_equal(who_has(0x40), 0xf);
    write_msr(1, MSR_ICR, 0x40 | 3 << 18);
    assert_int_equal(who_has(0x40), 0xd);
    write_msr(3, MSR_SELF_IPI, 0x77);
    assert_int_equal(who_has(0x77), 1 << 3);
    assert_int_equal(read_msr(1, MSR_ICR), 0x40 | 3 << 18);
}

static void x2apic_logical_ids_are_clusters_of_16(void **state)
{
    (void)state;
    assert_int_equal(read_msr(3, MSR_LDR), 1 << 3);
    write_msr(0, MSR_ICR, icr(0xa, 0x40 | 1 << 11));
    assert_int_equal(who_has(0x40), 0xa);
    write_msr(0, MSR_ICR, icr(0x1000f, 0x40 | 1 << 11)); /* another cluster */
    assert_int_equal(who_has(0x40), 0);
}

static void xapic_logical_ids_flat_and_by_cluster(void **state)
{
    struct hv_interrupt interrupt = { .vector = 0x40, .is_logical = true };

    (void)state;
    for (unsigned i = 0; i < N; i++)
        x86_lapic_mmio_write(&world.lapics[i], 0xd0, 4, 1U << (24 + i));
    interrupt.destination = 0x5;
    x86_lapic_bus_deliver(&world.bus, &interrupt);
    assert_int_equal(who_has(0x40), 0x5);
    for (unsigned i = 0; i < N; i++) { /* clusters 0 and 1, of two each */
        x86_lapic_mmio_write(&world.lapics[i], 0xe0, 4, 0x0fffffff);
        x86_lapic_mmio_write(&world.lapics[i], 0xd0, 4, (i / 2 << 4 | 1U << i % 2) << 24);
    }
    interrupt.destination = 0x12;
    x86_lapic_bus_deliver(&world.bus, &interrupt);
    assert_int_equal(who_has(0x40), 1 << 3);
    interrupt.destination = 0xff;
    x86_lapic_bus_deliver(&world.bus, &interrupt);
    assert_int_equal(who_has(0x40), 0xf);
    interrupt = (struct hv_interrupt){ .vector = 0x40, .destination = 0xff };
    x86_lapic_bus_deliver(&world.bus, &interrupt);
    assert_int_equal(who_has(0x40), 0xf);
    x86_lapic_mmio_write(&world.lapics[0], 0x310, 4, 0x02000000);
    x86_lapic_mmio_write(&world.lapics[0], 0x300, 4, 0x40);
    assert_int_equal(who_has(0x40), 1 << 2);
}

static void lowest_priority_finds_the_idlest_and_takes_turns(void **state)
{
    struct hv_interrupt interrupt = {
        .vector = 0x40, .destination = 0xf, .is_logical = true, .delivery_mode = HV_DELIVER_LOWEST
    };
    unsigned seen = 0;

    (void)state;
    write_msr(0, MSR_TPR, 0x30);
    write_msr(1, MSR_TPR, 0x30);
    for (unsigned i = 0; i < 8; i++) {
        x86_lapic_bus_deliver(&world.bus, &interrupt);
        seen |= who_has(0x40);
    }
    assert_int_equal(seen, 0xc);
}

static void init_then_sipi_reach_the_target_in_order(void **state)
{
    struct x86_lapic *target = &world.lapics[1];

    (void)state;
    write_msr(1, MSR_TPR, 0x20);
    write_msr(0, MSR_ICR, icr(1, 0x4500)); /* INIT, assert */
    write_msr(0, MSR_ICR, icr(1, 0x8500)); /* INIT, level de-assert: nothing */
    write_msr(0, MSR_ICR, icr(1, 0x4608)); /* start at 0x8000 */
    assert_int_equal(x86_lapic_take_events(target), X86_LAPIC_EVENT_INIT | X86_LAPIC_EVENT_SIPI);
    assert_int_equal(target->sipi_vector, 8);
    x86_lapic_reset(target, true);
    assert_int_equal(read_msr(1, MSR_TPR), 0);
    assert_int_equal(read_msr(1, MSR_SVR), 0xff);
    assert_int_equal(read_msr(1, MSR_LDR), 2); /* still in x2APIC mode */
    write_msr(0, MSR_ICR, icr(1, 0x4608));
    write_msr(0, MSR_ICR, icr(1, 0x4500)); /* INIT withdraws the SIPI before it */
    assert_int_equal(x86_lapic_take_events(target), X86_LAPIC_EVENT_INIT);
}

/* --- local interrupts --- */

static void the_8259_pair_comes_through_lint0(void **state)
{
    struct x86_lapic *lapic = &world.lapics[0];

    (void)state;
    world.pic_vector = 0x30;
    x86_lapic_set_lint(lapic, 0, true);
    assert_false(x86_lapic_is_deliverable(lapic)); /* masked */
    write_msr(0, MSR_LVT_LINT0, 0x700);
    assert_true(x86_lapic_is_deliverable(lapic));
    assert_int_equal(acknowledge(0), 0x30);
    assert_int_equal(read_msr(0, MSR_PPR), 0); /* the LAPIC doesn't count it */
    x86_lapic_set_lint(lapic, 0, false);
    assert_false(x86_lapic_is_deliverable(lapic));
    assert_int_equal(acknowledge(0), -1);
    write_msr(0, MSR_LVT_LINT0, 0x10700);
    write_msr(0, MSR_APIC_BASE, 0xfee00000 | X86_APIC_BASE_BSP);
    x86_lapic_set_lint(lapic, 0, true); /* without a LAPIC the wire goes to the processor */
    assert_int_equal(acknowledge(0), 0x30);
}

static void lint_pins_deliver_what_they_are_told_to(void **state)
{
    struct x86_lapic *lapic = &world.lapics[0];

    (void)state;
    write_msr(0, MSR_LVT_LINT1, 0x400);
    x86_lapic_set_lint(lapic, 1, true);
    x86_lapic_set_lint(lapic, 1, true); /* no edge */
    assert_int_equal(x86_lapic_take_events(lapic), X86_LAPIC_EVENT_NMI);
    assert_int_equal(x86_lapic_take_events(lapic), 0);
    write_msr(0, MSR_LVT_LINT0, 0x31); /* fixed, edge */
    x86_lapic_set_lint(lapic, 0, true);
    assert_int_equal(acknowledge(0), 0x31);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(acknowledge(0), -1);
    x86_lapic_set_lint(lapic, 0, false);
    write_msr(0, MSR_LVT_LINT0, 0x8031); /* fixed, level */
    x86_lapic_set_lint(lapic, 0, true);
    assert_int_equal(acknowledge(0), 0x31);
    assert_int_equal(read_msr(0, MSR_LVT_LINT0), 0xc031); /* remote IRR */
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(acknowledge(0), 0x31); /* still asserted */
    x86_lapic_set_lint(lapic, 0, false);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(acknowledge(0), -1);
    assert_int_equal(read_msr(0, MSR_LVT_LINT0), 0x8031);
}

static void a_software_disabled_lapic_masks_its_local_interrupts(void **state)
{
    (void)state;
    write_msr(0, MSR_LVT_TIMER, 0x40);
    write_msr(0, MSR_SVR, 0xff);
    assert_int_equal(read_msr(0, MSR_LVT_TIMER), 0x10040);
    write_msr(0, MSR_LVT_TIMER, 0x40);
    assert_int_equal(read_msr(0, MSR_LVT_TIMER), 0x10040);
}

/* --- timer --- */

static void tick_to(uint64_t tsc)
{
    host_tsc = tsc;
    for (unsigned i = 0; i < N; i++) {
        if (world.armed[i] != 0 && world.armed[i] <= tsc) {
            world.armed[i] = 0;
            x86_lapic_raise(&world.lapics[i], X86_LAPIC_EVENT_TIMER);
        }
        assert_int_equal(x86_lapic_take_events(&world.lapics[i]), 0);
    }
}

static void one_shot_counts_down_once(void **state)
{
    uint64_t start = host_tsc;

    (void)state;
    write_msr(0, MSR_DIVIDE, 0xb);
    write_msr(0, MSR_LVT_TIMER, 0x40);
    write_msr(0, MSR_INITIAL, 1000);
    assert_int_equal(world.armed[0], start + 2000);
    tick_to(start + 500);
    assert_int_equal(read_msr(0, MSR_CURRENT), 750);
    tick_to(start + 1999);
    assert_int_equal(acknowledge(0), -1);
    tick_to(start + 2000);
    assert_int_equal(acknowledge(0), 0x40);
    assert_int_equal(read_msr(0, MSR_CURRENT), 0);
    assert_int_equal(world.armed[0], 0);
    write_msr(0, MSR_EOI, 0);
    tick_to(start + 9000);
    assert_int_equal(acknowledge(0), -1);
}

static void the_divider_stretches_the_count(void **state)
{
    static const struct {
        uint32_t code;
        unsigned divisor;
    } rows[] = { { 0xb, 1 }, { 0, 2 },  { 1, 4 },  { 2, 8 },
                 { 3, 16 },  { 8, 32 }, { 9, 64 }, { 0xa, 128 } };

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        write_msr(0, MSR_INITIAL, 0);
        write_msr(0, MSR_DIVIDE, rows[i].code);
        write_msr(0, MSR_INITIAL, 100);
        assert_int_equal(world.armed[0], host_tsc + 200 * rows[i].divisor);
    }
}

static void periodic_stays_in_phase_and_skips_what_was_lost(void **state)
{
    uint64_t start = host_tsc;

    (void)state;
    write_msr(0, MSR_DIVIDE, 0xb);
    write_msr(0, MSR_LVT_TIMER, 0x20040);
    write_msr(0, MSR_INITIAL, 1000);
    tick_to(start + 2100);
    assert_int_equal(acknowledge(0), 0x40);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(world.armed[0], start + 4000);
    assert_int_equal(read_msr(0, MSR_CURRENT), 950);
    tick_to(start + 11000);
    assert_int_equal(acknowledge(0), 0x40);
    write_msr(0, MSR_EOI, 0);
    assert_int_equal(acknowledge(0), -1);
    assert_int_equal(world.armed[0], start + 12000);
    write_msr(0, MSR_INITIAL, 0);
    assert_int_equal(world.armed[0], 0);
}

static void tsc_deadline_follows_the_guests_tsc(void **state)
{
    struct x86_lapic *lapic = &world.lapics[0];

    (void)state;
    x86_lapic_set_tsc_offset(lapic, 0 - host_tsc);
    write_msr(0, MSR_DEADLINE, 500); /* not in that mode: ignored */
    assert_int_equal(read_msr(0, MSR_DEADLINE), 0);
    write_msr(0, MSR_LVT_TIMER, 0x40040);
    write_msr(0, MSR_INITIAL, 5); /* ignored in this mode */
    assert_int_equal(read_msr(0, MSR_CURRENT), 0);
    write_msr(0, MSR_DEADLINE, 500);
    assert_int_equal(world.armed[0], host_tsc + 500);
    assert_int_equal(read_msr(0, MSR_DEADLINE), 500);
    x86_lapic_set_tsc_offset(lapic, 100 - host_tsc); /* the guest moved its TSC by 100 */
    assert_int_equal(world.armed[0], host_tsc + 400);
    tick_to(host_tsc + 400);
    assert_int_equal(acknowledge(0), 0x40);
    assert_int_equal(read_msr(0, MSR_DEADLINE), 0);
    write_msr(0, MSR_EOI, 0);
    write_msr(0, MSR_DEADLINE, 1); /* long past */
    assert_int_equal(acknowledge(0), 0x40);
    write_msr(0, MSR_EOI, 0);
    write_msr(0, MSR_DEADLINE, UINT64_MAX);
    assert_true(world.armed[0] > host_tsc);
    write_msr(0, MSR_DEADLINE, 0);
    assert_int_equal(world.armed[0], 0);
}

static void changing_to_deadline_mode_disarms(void **state)
{
    (void)state;
    write_msr(0, MSR_INITIAL, 1000);
    assert_true(world.armed[0] != 0);
    write_msr(0, MSR_LVT_TIMER, 0x40040);
    assert_int_equal(world.armed[0], 0);
}

static void skipped_time_does_not_pass(void **state)
{
    uint64_t start = host_tsc;

    (void)state;
    write_msr(0, MSR_DIVIDE, 0xb);
    write_msr(0, MSR_LVT_TIMER, 0x40);
    write_msr(0, MSR_INITIAL, 1000);
    write_msr(1, MSR_LVT_TIMER, 0x40041);
    write_msr(1, MSR_DEADLINE, host_tsc + 3000);
    host_tsc = start + 500;
    host_tsc += 100000; /* a pause */
    x86_lapic_bus_skip_time(&world.bus, 100000);
    assert_int_equal(read_msr(0, MSR_CURRENT), 750);
    assert_int_equal(world.armed[0], start + 102000);
    assert_int_equal(world.armed[1], start + 103000);
    tick_to(start + 102000);
    assert_int_equal(acknowledge(0), 0x40);
    assert_int_equal(acknowledge(1), -1);
}

/* --- state --- */

static void state_comes_back_as_it_was(void **state)
{
    uint8_t page[X86_LAPIC_STATE_BYTES], again[X86_LAPIC_STATE_BYTES];
    struct x86_lapic *lapic = &world.lapics[1];

    (void)state;
    write_msr(1, MSR_TPR, 0x20);
    post_fixed(1, 0x61, true);
    assert_int_equal(acknowledge(1), 0x61);
    post_fixed(1, 0x62, false);
    write_msr(1, MSR_DIVIDE, 3);
    write_msr(1, MSR_LVT_TIMER, 0x20033);
    write_msr(1, MSR_INITIAL, 4000);
    host_tsc += 32000;
    write_msr(1, MSR_ICR, icr(7, 0x99));
    x86_lapic_get_page(lapic, page);
    x86_lapic_reset(lapic, false);
    assert_int_equal(x86_lapic_set_page(lapic, 0xfee00c00, 0, page), 0);
    x86_lapic_get_page(lapic, again);
    assert_memory_equal(page, again, sizeof(page));
    assert_int_equal(read_msr(1, MSR_CURRENT), 3000);
    assert_int_equal(read_msr(1, MSR_ICR), icr(7, 0x99));
    assert_int_equal(acknowledge(1), -1); /* 0x61 is in service */
    write_msr(1, MSR_EOI, 0);
    assert_int_equal(world.ended, 0x61);
    assert_int_equal(acknowledge(1), 0x62);
}

static void who_asks_for_an_end_is_told_once(void **state)
{
    (void)state;
    write_msr(1, MSR_SELF_IPI, 0x61);
    write_msr(1, MSR_SELF_IPI, 0x41);
    x86_lapic_watch_eoi(&world.lapics[1], 0x41);
    assert_int_equal(acknowledge(1), 0x61);
    write_msr(1, MSR_EOI, 0);
    assert_int_equal(world.n_watched, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(acknowledge(1), 0x41);
        write_msr(1, MSR_EOI, 0);
        assert_int_equal(world.n_watched, 1);
        assert_int_equal(world.watched, 0x141);
        write_msr(1, MSR_SELF_IPI, 0x41);
    }
    x86_lapic_watch_eoi(&world.lapics[1], 0x41);
    x86_lapic_reset(&world.lapics[1], false);
    assert_int_equal(world.lapics[1].eoi_watch[1], 0);
}

static void a_hostile_page_is_taken_or_refused_whole(void **state)
{
    uint8_t page[X86_LAPIC_STATE_BYTES];
    struct x86_lapic *lapic = &world.lapics[0];

    (void)state;
    memset(page, 0xff, sizeof(page));
    assert_int_equal(x86_lapic_set_page(lapic, 0xfee00400, 0, page), -EINVAL);
    assert_int_equal(x86_lapic_set_page(lapic, UINT64_MAX, 0, page), -EINVAL);
    assert_int_equal(x86_lapic_set_page(lapic, 0xfee00900, 0, page), 0);
    x86_lapic_eoi(lapic);
    x86_lapic_set_tpr(lapic, 0);
    while (x86_lapic_is_deliverable(lapic))
        assert_true(acknowledge(0) >= 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reserved_and_missing_registers_fault_in_x2apic_mode, setup_x2apic),
        cmocka_unit_test_setup(x2apic_registers_fault_in_xapic_mode, setup),
        cmocka_unit_test_setup(modes_change_only_along_the_allowed_paths, setup),
        cmocka_unit_test_setup(the_page_reads_registers_at_their_offsets, setup),
        cmocka_unit_test_setup(a_missing_register_is_an_error_that_the_guest_reads, setup_xapic),
        cmocka_unit_test_setup(a_disabled_lapic_takes_no_vectors_but_takes_nmi, setup),
        cmocka_unit_test_setup(higher_classes_interrupt_lower_ones_only, setup_x2apic),
        cmocka_unit_test_setup(the_task_priority_holds_vectors_back, setup_x2apic),
        cmocka_unit_test_setup(a_second_request_of_a_vector_is_one, setup_x2apic),
        cmocka_unit_test_setup(an_acknowledged_vector_can_be_taken_back, setup_x2apic),
        cmocka_unit_test_setup(the_end_of_a_level_interrupt_is_told, setup_x2apic),
        cmocka_unit_test_setup(who_asks_for_an_end_is_told_once, setup_x2apic),
        cmocka_unit_test_setup(vectors_below_16_are_errors, setup_x2apic),
        cmocka_unit_test_setup(physical_destinations_and_shorthands, setup_x2apic),
        cmocka_unit_test_setup(x2apic_logical_ids_are_clusters_of_16, setup_x2apic),
        cmocka_unit_test_setup(xapic_logical_ids_flat_and_by_cluster, setup_xapic),
        cmocka_unit_test_setup(lowest_priority_finds_the_idlest_and_takes_turns, setup_x2apic),
        cmocka_unit_test_setup(init_then_sipi_reach_the_target_in_order, setup_x2apic),
        cmocka_unit_test_setup(the_8259_pair_comes_through_lint0, setup_x2apic),
        cmocka_unit_test_setup(lint_pins_deliver_what_they_are_told_to, setup_x2apic),
        cmocka_unit_test_setup(a_software_disabled_lapic_masks_its_local_interrupts, setup_x2apic),
        cmocka_unit_test_setup(one_shot_counts_down_once, setup_x2apic),
        cmocka_unit_test_setup(the_divider_stretches_the_count, setup_x2apic),
        cmocka_unit_test_setup(periodic_stays_in_phase_and_skips_what_was_lost, setup_x2apic),
        cmocka_unit_test_setup(tsc_deadline_follows_the_guests_tsc, setup_x2apic),
        cmocka_unit_test_setup(changing_to_deadline_mode_disarms, setup_x2apic),
        cmocka_unit_test_setup(skipped_time_does_not_pass, setup_x2apic),
        cmocka_unit_test_setup(state_comes_back_as_it_was, setup_x2apic),
        cmocka_unit_test_setup(a_hostile_page_is_taken_or_refused_whole, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
