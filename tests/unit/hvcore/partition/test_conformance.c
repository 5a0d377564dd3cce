/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every backend owes to those above: small guests through the front doors of hvcore.
 *
 *     test_conformance [soft|kvm [TEST]]
 *
 * KVM is left out, aloud, where it is missing or merely emulates.
 */
#include "tests/lib/cmocka.h"

#include "hvcore/base/clock.h"
#include "hvcore/synic.h"
#include "hvcore/vp.h"
#include "hvcore/x86/cpuid.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    RAM_BYTES = 0x80000,
    CODE = 0x1000,
    HANDLER = 0x1800,
    STACK = 0x8000,
    MMIO = 0xa0000,
    LAPIC = (int)0xfee00000,
    MAX_REPORTS = 32,
    PATIENCE_MS = 20000
};

#define GUEST(name)                                                                                \
    extern const uint8_t name[], name##_end[];                                                     \
    static const struct guest name##_code = { name, name##_end }

struct guest {
    const uint8_t *first, *end;
};

GUEST(guest_ports);
GUEST(guest_mmio);
GUEST(guest_sleep);
GUEST(guest_handler);
GUEST(guest_pic_handler);
GUEST(guest_start_other);
GUEST(guest_started);
GUEST(guest_spin);
GUEST(guest_triple_fault);
GUEST(guest_msrs);
GUEST(guest_gp_handler);
GUEST(guest_doorbells);
GUEST(guest_hypercall);
GUEST(guest_tsc);
GUEST(guest_synic);
GUEST(guest_synic_handler);
GUEST(guest_crash);

static enum hv_backend backend = HV_BACKEND_SOFT;

/* A machine with one chip that hears everything. */
struct machine {
    struct hv_partition *partition;
    _Atomic unsigned n_reports;
    uint32_t reports[MAX_REPORTS];
    uint8_t sizes[MAX_REPORTS];
    uint64_t mmio_offset[MAX_REPORTS], mmio_value[MAX_REPORTS];
    uint8_t mmio_size[MAX_REPORTS];
    unsigned n_mmio;
    int pic_vector;
    _Atomic unsigned n_ended;
    _Atomic int ended;
    struct hv_vp *ending; /* who is cancelled by port 0xf4 */
};

static void report(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct machine *m = opaque;
    unsigned n = atomic_load(&m->n_reports);

    (void)offset;
    assert_true(n < MAX_REPORTS);
    m->reports[n] = (uint32_t)value;
    m->sizes[n] = (uint8_t)size;
    atomic_store(&m->n_reports, n + 1);
}

static uint64_t source(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque;
    return (UINT64_C(0xf0e0d0c0b0a09080) >> offset * 8) & ((UINT64_C(1) << size * 8) - 1);
}

static void end_run(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct machine *m = opaque;

    (void)offset, (void)size, (void)value;
    hv_vp_cancel(m->ending);
}

static void pic_eoi(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct machine *m = opaque;

    (void)offset, (void)size, (void)value;
    hv_partition_set_pic_output(m->partition, false);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct machine *m = opaque;

    m->mmio_offset[m->n_mmio] = offset;
    m->mmio_size[m->n_mmio++] = (uint8_t)size;
    return UINT64_C(0x8877665544332211) >> (offset & 7) * 8;
}

static void mmio_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct machine *m = opaque;

    m->mmio_offset[m->n_mmio] = offset;
    m->mmio_value[m->n_mmio] = value;
    m->mmio_size[m->n_mmio++] = (uint8_t)size;
}

static int pic_acknowledge(void *opaque)
{
    struct machine *m = opaque;

    return m->pic_vector;
}

static void end_of_interrupt(void *opaque, uint8_t vector)
{
    struct machine *m = opaque;

    atomic_store(&m->ended, vector);
    atomic_fetch_add(&m->n_ended, 1);
}

static const struct hv_io_ops report_ops = { .write = report };
static const struct hv_io_ops source_ops = { .read = source };
static const struct hv_io_ops end_ops = { .write = end_run };
static const struct hv_io_ops pic_ops = { .write = pic_eoi };
static const struct hv_io_ops mmio_ops = { .read = mmio_read, .write = mmio_write };
static const struct hv_chipset_ops chipset = { .pic_acknowledge = pic_acknowledge,
                                               .end_of_interrupt = end_of_interrupt };

static void add_ports(struct machine *m, uint64_t first, uint64_t count,
                      const struct hv_io_ops *ops)
{
    assert_int_equal(hv_io_space_add(hv_partition_ports(m->partition), first, count, ops, m), 0);
}

static int setup(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));
    struct hv_partition_config config = { .backend = backend,
                                          .kvm_fd = -1,
                                          .n_vps = 2,
                                          .ram_bytes = RAM_BYTES,
                                          .chipset = &chipset,
                                          .chipset_opaque = m };
    struct hv_error *error = NULL;
    int r = hv_partition_new(&config, &m->partition, &error);

    if (r < 0) {
        print_error("%s\n", hv_error_message(error, r));
        return -1;
    }
    assert_int_equal(hv_gpa_space_add_ram(hv_partition_gpa(m->partition), 0, RAM_BYTES, 0), 0);
    assert_int_equal(hv_partition_seal_memory(m->partition, NULL), 0);
    m->pic_vector = -1;
    m->ended = -1;
    m->ending = hv_partition_vp(m->partition, 0);
    add_ports(m, 0x600, 4, &report_ops);
    add_ports(m, 0x640, 8, &source_ops);
    add_ports(m, 0x40, 4, &source_ops);
    add_ports(m, 0xf4, 1, &end_ops);
    add_ports(m, 0x20, 1, &pic_ops);
    assert_int_equal(hv_io_space_add(hv_partition_mmio(m->partition), MMIO, 0x1000, &mmio_ops, m),
                     0);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    struct machine *m = *state;

    m->partition = hv_partition_free(m->partition);
    free(m);
    return 0;
}

/* --- guests --- */

static void put(struct machine *m, hv_gpa_t gpa, const void *bytes, size_t n)
{
    assert_int_equal(hv_gpa_write(hv_partition_gpa(m->partition), gpa, bytes, n), 0);
}

static void put_guest(struct machine *m, hv_gpa_t gpa, const struct guest *guest)
{
    put(m, gpa, guest->first, (size_t)(guest->end - guest->first));
}

static void put_vector(struct machine *m, unsigned vector, uint16_t offset)
{
    uint16_t entry[2] = { offset, 0 };

    put(m, vector * 4, entry, sizeof(entry));
}

static void put_lapic(struct hv_vp_state *state, unsigned offset, uint32_t value)
{
    memcpy(state->lapic + offset, &value, sizeof(value));
}

/* Real mode at CODE, with a flat FS over the LAPIC page, which is software-enabled. */
static void real_mode(struct machine *m, unsigned vp, struct hv_vp_state *ret)
{
    assert_int_equal(hv_vp_get_state(hv_partition_vp(m->partition, vp), ret), 0);
    for (unsigned i = 0; i < HV_N_SEGMENTS; i++)
        ret->segment[i] = (struct hv_segment_register){ .limit = 0xffff, .attributes = 0x93 };
    ret->segment[HV_CS].attributes = 0x9b;
    ret->segment[HV_FS] = (struct hv_segment_register){
        .base = (uint32_t)LAPIC, .limit = 0xffff, .selector = 0xfee0, .attributes = 0x93
    };
    ret->rip = CODE;
    ret->gpr[HV_RSP] = STACK;
    ret->rflags = 2;
    ret->activity = HV_ACTIVITY_ACTIVE;
    put_lapic(ret, 0xf0, 0x1ff);
}

static void long_mode(struct machine *m, struct hv_vp_state *ret)
{
    const uint64_t pml4 = 0x11003, pdpt = 0x12003, pd = 0x83;

    put(m, 0x10000, &pml4, sizeof(pml4));
    put(m, 0x11000, &pdpt, sizeof(pdpt));
    put(m, 0x12000, &pd, sizeof(pd));
    real_mode(m, 0, ret);
    ret->cr0 = 0x80050033;
    ret->cr3 = 0x10000;
    ret->cr4 = 0x620;
    ret->efer = 0x500;
    for (unsigned i = 0; i < HV_N_SEGMENTS; i++)
        ret->segment[i] = (struct hv_segment_register){ .limit = UINT32_MAX,
                                                        .selector = 0x10,
                                                        .attributes = 0xc93 };
    ret->segment[HV_CS] =
        (struct hv_segment_register){ .limit = UINT32_MAX, .selector = 8, .attributes = 0xa9b };
}

static void set_state(struct machine *m, unsigned vp, const struct hv_vp_state *state)
{
    assert_int_equal(hv_vp_set_state(hv_partition_vp(m->partition, vp), state), 0);
}

static void start_at(struct machine *m, const struct guest *guest)
{
    struct hv_vp_state state;

    put_guest(m, CODE, guest);
    real_mode(m, 0, &state);
    set_state(m, 0, &state);
}

static enum hv_exit_kind run(struct machine *m, unsigned vp)
{
    struct hv_exit exit;

    assert_int_equal(hv_vp_run(hv_partition_vp(m->partition, vp), &exit), 0);
    if (exit.kind == HV_EXIT_ERROR)
        print_error("%s\n", exit.text);
    return exit.kind;
}

/* A VP on a thread of its own. */
struct runner {
    struct machine *m;
    unsigned vp;
    pthread_t thread;
    enum hv_exit_kind kind;
};

static void *runner_main(void *opaque)
{
    struct runner *runner = opaque;

    runner->kind = run(runner->m, runner->vp);
    return NULL;
}

static void start_runner(struct runner *runner, struct machine *m, unsigned vp)
{
    *runner = (struct runner){ .m = m, .vp = vp };
    assert_int_equal(pthread_create(&runner->thread, NULL, runner_main, runner), 0);
}

static enum hv_exit_kind join_runner(struct runner *runner)
{
    assert_int_equal(pthread_join(runner->thread, NULL), 0);
    return runner->kind;
}

static void wait_for_reports(struct machine *m, unsigned n)
{
    for (unsigned i = 0; i < PATIENCE_MS && atomic_load(&m->n_reports) < n; i++)
        (void)usleep(1000);
    assert_true(atomic_load(&m->n_reports) >= n);
}

static void assert_reports(const struct machine *m, const uint32_t *expected, unsigned n)
{
    assert_int_equal(m->n_reports, n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(m->reports[i], expected[i]);
}

/* QEMU's SVM (7.2) forgets at VMRUN that the guest has just executed STI. */
static bool is_shadow_kept(void)
{
    uint32_t leaf[4]; /* the signature in EBX, ECX, EDX */

    if (backend != HV_BACKEND_KVM)
        return true;
    x86_cpuid_host(0x40000000, 0, leaf);
    return memcmp(leaf + X86_EBX, "TCGTCGTCGTCG", 12) != 0;
}

/* guest_sleep and its handler, to the end. */
static void assert_slept_once(const struct machine *m)
{
    if (m->n_reports == 4 && m->reports[1] == 4 && !is_shadow_kept())
        assert_reports(m, (const uint32_t[]){ 1, 4, 2, 3 }, 4);
    else
        assert_reports(m, (const uint32_t[]){ 1, 2, 3 }, 3);
}

/* --- exits --- */

static void ports_of_every_width_reach_their_chip(void **state)
{
    static const uint32_t expected[] = { 0x12,       0x3456, 0x789abcde, 0x80, 0xb0a0,
                                         0xb0a09080, 'a',    'b',        'c',  0x90809080 };
    static const uint8_t sizes[] = { 1, 2, 4, 1, 2, 4, 1, 1, 1, 4 };
    struct machine *m = *state;

    put(m, 0x3000, "abc", 3);
    start_at(m, &guest_ports_code);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_reports(m, expected, 10);
    assert_memory_equal(m->sizes, sizes, 10);
}

static void mmio_of_every_width_reaches_its_chip(void **state)
{
    static const uint64_t offsets[] = { 0x10, 0x20, 0x30, 0x40, 0x41, 0x50, 0x50 };
    static const uint64_t values[] = { 0x11223344, 0x5566, 0x77, 0, 0, 0, 0x91 };
    static const uint8_t sizes[] = { 4, 2, 1, 4, 1, 1, 1 };
    static const uint32_t reports[] = { 0x44332211, 0x22 };
    struct machine *m = *state;

    start_at(m, &guest_mmio_code);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_int_equal(m->n_mmio, 7);
    assert_memory_equal(m->mmio_offset, offsets, sizeof(offsets));
    assert_memory_equal(m->mmio_value, values, sizeof(values));
    assert_memory_equal(m->mmio_size, sizes, sizeof(sizes));
    assert_reports(m, reports, 2);
}

static void an_access_is_complete_when_a_cancelled_vp_has_left(void **state)
{
    struct machine *m = *state;
    struct hv_vp_state now;

    start_at(m, &guest_mmio_code);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_int_equal(hv_vp_get_state(hv_partition_vp(m->partition, 0), &now), 0);
    /* Past the OUT that ended the run, at the HLT. */
    assert_int_equal(now.rip, CODE + (guest_mmio_code.end - guest_mmio_code.first) - 1);
}

static void a_triple_fault_shuts_down(void **state)
{
    struct machine *m = *state;

    start_at(m, &guest_triple_fault_code);
    assert_int_equal(run(m, 0), HV_EXIT_SHUTDOWN);
}

static void unknown_msrs_fault_and_known_ones_answer(void **state)
{
    struct machine *m = *state;

    put_guest(m, HANDLER, &guest_gp_handler_code);
    put_vector(m, 13, HANDLER);
    start_at(m, &guest_msrs_code);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_int_equal(m->n_reports, 5);
    assert_int_equal(m->reports[0], 0x7263694d); /* "Micr" */
    assert_int_equal(m->reports[1], 0);          /* VP index */
    assert_true(m->reports[2] > 100000000);
    assert_int_equal(m->reports[3], 1000000000);
    assert_int_equal(m->reports[4], 3); /* faults */
}

static void a_hypercall_that_nobody_offers_gets_its_status(void **state)
{
    struct machine *m = *state;
    struct hv_vp_state start;
    const uint32_t expected[] = { 2, 0 };

    long_mode(m, &start);
    put_guest(m, CODE, &guest_hypercall_code);
    set_state(m, 0, &start);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_reports(m, expected, 2);
}

/* --- messages and signals --- */

enum { SYNIC_VECTOR = 0x53, IDT = 0x9000, GDT = 0xa000, CONNECTION = 0x1234 };

static void put_synic_guest(struct machine *m, struct hv_vp_state *ret)
{
    const uint64_t gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
    const uint64_t gate[] = { 0x8e0000080000 | HANDLER, 0 };
    const uint32_t message[] = { CONNECTION - 1, 0, 1, 4, 77 };

    long_mode(m, ret);
    put_guest(m, CODE, &guest_synic_code);
    put_guest(m, HANDLER, &guest_synic_handler_code);
    put(m, GDT, gdt, sizeof(gdt));
    put(m, IDT + SYNIC_VECTOR * sizeof(gate), gate, sizeof(gate));
    put(m, 0x4000, message, sizeof(message));
    ret->gdtr = (struct hv_table_register){ .base = GDT, .limit = sizeof(gdt) - 1 };
    ret->idtr = (struct hv_table_register){ .base = IDT, .limit = 0xfff };
}

/* Answer with three at once: one takes the slot, the others wait behind it. */
static bool answer_thrice(void *opaque, unsigned vp, const struct hv_message *message)
{
    struct machine *m = opaque;
    struct hv_message answer = *message;

    for (unsigned i = 0; i < 3; i++) {
        answer.payload[0]++;
        assert_int_equal(hv_partition_post_message(m->partition, vp, 2, &answer), 0);
    }
    return true;
}

static void messages_and_signals_go_both_ways(void **state)
{
    const uint32_t expected[] = { 0, 0, 78, 79, 80, 1U << 5 };
    struct machine *m = *state;
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct hv_vp_state start;
    struct runner runner;
    uint64_t rings = 0;

    assert_int_equal(hv_partition_add_message_port(m->partition, CONNECTION - 1, answer_thrice, m),
                     0);
    assert_int_equal(hv_partition_add_event_port(m->partition, CONNECTION, bell), 0);
    assert_int_equal(hv_partition_signal_event(m->partition, 0, 2, 5), -EAGAIN);
    put_synic_guest(m, &start);
    set_state(m, 0, &start);
    start_runner(&runner, m, 0);
    wait_for_reports(m, 5);
    assert_int_equal(read(bell, &rings, sizeof(rings)), sizeof(rings));
    assert_int_equal(rings, 1);
    assert_int_equal(hv_partition_signal_event(m->partition, 0, 2, 5), 0);
    assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
    assert_reports(m, expected, 6);
    hv_partition_remove_port(m->partition, CONNECTION);
    hv_partition_remove_port(m->partition, CONNECTION - 1);
    (void)close(bell);
}

/* What the guest has set up, and what waits for it, is state. */
static void a_signal_finds_a_guest_that_was_put_back(void **state)
{
    const uint32_t expected[] = { 0, 18, 78, 79, 80, 1U << 5 };
    struct machine *m = *state;
    struct hv_partition_state shared;
    struct hv_vp_state saved;
    struct runner runner;

    assert_int_equal(hv_partition_add_message_port(m->partition, CONNECTION - 1, answer_thrice, m),
                     0);
    put_synic_guest(m, &saved);
    set_state(m, 0, &saved);
    start_runner(&runner, m, 0);
    wait_for_reports(m, 2);
    hv_vp_cancel(hv_partition_vp(m->partition, 0));
    assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
    hv_partition_pause_time(m->partition);
    hv_partition_get_state(m->partition, &shared);
    assert_int_equal(hv_vp_get_state(hv_partition_vp(m->partition, 0), &saved), 0);
    hv_partition_reset(m->partition);
    hv_partition_set_state(m->partition, &shared);
    set_state(m, 0, &saved);
    hv_partition_resume_time(m->partition);
    start_runner(&runner, m, 0);
    wait_for_reports(m, 5);
    assert_int_equal(hv_partition_signal_event(m->partition, 0, 2, 5), 0);
    assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
    assert_reports(m, expected, 6);
}

static void keep_crash(void *opaque, unsigned vp, const struct hv_crash *crash)
{
    struct hv_crash *kept = opaque;

    assert_int_equal(vp, 0);
    *kept = *crash;
}

static void a_guest_that_crashes_is_heard(void **state)
{
    const uint32_t expected[] = { 0xc0000000 };
    struct machine *m = *state;
    struct hv_crash crash = { .text_bytes = 0 };
    struct hv_vp_state start;

    hv_partition_watch_crash(m->partition, keep_crash, &crash);
    long_mode(m, &start);
    put_guest(m, CODE, &guest_crash_code);
    put(m, 0x3000, "Oops!", 5);
    set_state(m, 0, &start);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_reports(m, expected, 1);
    assert_int_equal(crash.parameter[0], 11);
    assert_int_equal(crash.text_bytes, 5);
    assert_memory_equal(crash.text, "Oops!", 5);
}

static void doorbells_ring_instead_of_the_handler(void **state)
{
    struct machine *m = *state;
    int port_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int mmio_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint64_t rings = 0;

    add_ports(m, 0x700, 2, &report_ops);
    assert_int_equal(hv_partition_add_doorbell(m->partition, true, 0x700, 2, port_bell), 0);
    assert_int_equal(hv_partition_add_doorbell(m->partition, false, MMIO, 4, mmio_bell), 0);
    assert_int_equal(hv_partition_add_doorbell(m->partition, false, MMIO, 4, mmio_bell), -EEXIST);
    assert_int_equal(hv_partition_add_doorbell(m->partition, true, 0x700, 8, port_bell), -EINVAL);
    start_at(m, &guest_doorbells_code);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_int_equal(read(port_bell, &rings, sizeof(rings)), sizeof(rings));
    assert_int_equal(rings, 2);
    assert_int_equal(read(mmio_bell, &rings, sizeof(rings)), sizeof(rings));
    assert_int_equal(rings, 2);
    assert_int_equal(m->n_mmio, 0);
    assert_int_equal(m->n_reports, 1);
    close(port_bell);
    close(mmio_bell);
}

/* --- cancelling --- */

static void a_cancel_before_the_run_is_not_lost(void **state)
{
    struct machine *m = *state;

    start_at(m, &guest_spin_code);
    hv_vp_cancel(hv_partition_vp(m->partition, 0));
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
}

static void a_spinning_vp_can_be_cancelled(void **state)
{
    struct machine *m = *state;
    struct hv_vp_state now;
    struct runner runner;
    uint64_t last = 0;

    start_at(m, &guest_spin_code);
    /* On a busy machine it takes longer until the VP gets to an instruction. */
    for (unsigned i = 0; i < 20 || (last == 0 && i < 200); i++) {
        start_runner(&runner, m, 0);
        (void)usleep(i * 500);
        hv_vp_cancel(hv_partition_vp(m->partition, 0));
        assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
        assert_int_equal(hv_vp_get_state(hv_partition_vp(m->partition, 0), &now), 0);
        assert_in_range(now.rip, CODE, CODE + 4);
        assert_true(now.gpr[HV_RBX] >= last);
        last = now.gpr[HV_RBX];
    }
    assert_true(last > 0);
}

static void a_halted_vp_can_be_cancelled_and_sleeps_on(void **state)
{
    struct machine *m = *state;
    struct hv_interrupt wake = { .vector = 0x30 };
    struct hv_vp_state now;
    struct runner runner;

    put_guest(m, HANDLER, &guest_handler_code);
    put_vector(m, 0x30, HANDLER);
    start_at(m, &guest_sleep_code);
    start_runner(&runner, m, 0);
    wait_for_reports(m, 1);
    (void)usleep(10000);
    hv_vp_cancel(hv_partition_vp(m->partition, 0));
    assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
    assert_int_equal(hv_vp_get_state(hv_partition_vp(m->partition, 0), &now), 0);
    assert_int_equal(now.activity, HV_ACTIVITY_HALTED);
    set_state(m, 0, &now);
    start_runner(&runner, m, 0);
    (void)usleep(10000);
    assert_int_equal(m->n_reports, 1);
    hv_partition_interrupt(m->partition, &wake);
    assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
    assert_reports(m, (const uint32_t[]){ 1, 2, 3 }, 3);
}

/* --- interrupts --- */

static void prepare_sleeper(struct machine *m, const struct guest *handler, uint32_t lint0)
{
    struct hv_vp_state state;

    put_guest(m, HANDLER, handler);
    put_vector(m, 0x30, HANDLER);
    put_guest(m, CODE, &guest_sleep_code);
    real_mode(m, 0, &state);
    put_lapic(&state, 0x350, lint0);
    set_state(m, 0, &state);
}

static void an_interrupt_wakes_a_halted_vp(void **state)
{
    struct machine *m = *state;
    struct hv_interrupt wake = { .vector = 0x30 };
    struct runner runner;

    for (unsigned i = 0; i < 20; i++) {
        m->n_reports = 0;
        prepare_sleeper(m, &guest_handler_code, 0x10000);
        start_runner(&runner, m, 0);
        wait_for_reports(m, 1);
        (void)usleep(i * 100); /* before or after it falls asleep */
        hv_partition_interrupt(m->partition, &wake);
        assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
        assert_slept_once(m);
    }
    assert_int_equal(m->n_ended, 0);
}

static void the_end_of_a_level_interrupt_reaches_the_chipset(void **state)
{
    struct machine *m = *state;
    struct hv_interrupt wake = { .vector = 0x30, .is_level = true };
    struct runner runner;

    prepare_sleeper(m, &guest_handler_code, 0x10000);
    start_runner(&runner, m, 0);
    wait_for_reports(m, 1);
    hv_partition_interrupt(m->partition, &wake);
    assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
    assert_int_equal(m->n_ended, 1);
    assert_int_equal(m->ended, 0x30);
}

static void the_8259_pair_interrupts_through_lint0(void **state)
{
    struct machine *m = *state;
    struct runner runner;

    for (unsigned i = 0; i < 20; i++) {
        m->n_reports = 0;
        m->pic_vector = 0x30;
        prepare_sleeper(m, &guest_pic_handler_code, 0x700);
        start_runner(&runner, m, 0);
        wait_for_reports(m, 1);
        (void)usleep(i * 100);
        hv_partition_set_pic_output(m->partition, true);
        assert_int_equal(join_runner(&runner), HV_EXIT_CANCELLED);
        assert_slept_once(m);
    }
}

static void the_lapic_timer_wakes_a_halted_vp(void **state)
{
    struct machine *m = *state;
    struct hv_vp_state start;
    uint64_t began;

    prepare_sleeper(m, &guest_handler_code, 0x10000);
    real_mode(m, 0, &start);
    put_lapic(&start, 0x3e0, 0xb);
    put_lapic(&start, 0x320, 0x30);
    put_lapic(&start, 0x380, 20000000); /* 20 ms */
    put_lapic(&start, 0x390, 20000000);
    began = hv_clock_monotonic_ns();
    set_state(m, 0, &start);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_slept_once(m);
    assert_true(hv_clock_monotonic_ns() - began >= 19 * HV_NS_PER_MS);
}

static void one_processor_starts_another(void **state)
{
    struct machine *m = *state;
    struct runner boot, other;

    m->ending = hv_partition_vp(m->partition, 1);
    put_guest(m, 0x2000, &guest_started_code);
    start_at(m, &guest_start_other_code);
    start_runner(&other, m, 1);
    (void)usleep(5000);
    start_runner(&boot, m, 0);
    assert_int_equal(join_runner(&other), HV_EXIT_CANCELLED);
    assert_reports(m, (const uint32_t[]){ 0x200 }, 1);
    hv_vp_cancel(hv_partition_vp(m->partition, 0));
    assert_int_equal(join_runner(&boot), HV_EXIT_CANCELLED);
}

/* --- state, time, reset --- */

static void fill_state(struct hv_vp_state *state)
{
    for (unsigned i = 0; i < HV_N_GPRS; i++)
        state->gpr[i] = UINT64_C(0x0102030405060708) * (i + 1);
    state->segment[HV_GS].base = UINT64_C(0xffff888012345000);
    state->ldtr = (struct hv_segment_register){
        .base = 0x5000, .limit = 0xff, .selector = 0x28, .attributes = 0x82
    };
    state->tr = (struct hv_segment_register){
        .base = 0x6000, .limit = 0x67, .selector = 0x30, .attributes = 0x8b
    };
    state->gdtr = (struct hv_table_register){ .base = 0x7000, .limit = 0x7f };
    state->idtr = (struct hv_table_register){ .base = 0x7800, .limit = 0xfff };
    state->cr2 = UINT64_C(0xffff800000001234);
    state->dr[0] = 0x1234;
    state->dr[3] = 0x5678;
    state->star = UINT64_C(0x0023001000000000);
    state->lstar = UINT64_C(0xffffffff81000000);
    state->sfmask = 0x47700;
    state->kernel_gs_base = UINT64_C(0x7fff12345000);
    state->sysenter_cs = 0x10;
    state->sysenter_esp = 0x9000;
    state->tsc_aux = 5;
    state->pat = UINT64_C(0x0407050600070106);
    state->rflags = 0x246;
    state->efer |= 0x801;
    put_lapic(state, 0x80, 0x20);
    put_lapic(state, 0x3e0, 3);
    put_lapic(state, 0x370, 0xfe);
    state->cr8 = 2;
}

static void state_comes_back_as_it_was(void **state)
{
    struct machine *m = *state;
    struct hv_vp_state set, got;
    const uint32_t mxcsr = 0x1f80;

    long_mode(m, &set);
    fill_state(&set);
    memset(set.xsave + 160, 0x5a, 16); /* xmm0 */
    memcpy(set.xsave + 24, &mxcsr, sizeof(mxcsr));
    set.xsave[512] |= 2;
    set_state(m, 0, &set);
    assert_int_equal(hv_vp_get_state(hv_partition_vp(m->partition, 0), &got), 0);
    assert_memory_equal(got.gpr, set.gpr, sizeof(set.gpr));
    assert_memory_equal(got.segment, set.segment, sizeof(set.segment));
    assert_memory_equal(&got.ldtr, &set.ldtr, sizeof(set.ldtr));
    assert_memory_equal(&got.tr, &set.tr, sizeof(set.tr));
    assert_int_equal(got.gdtr.base, set.gdtr.base);
    assert_int_equal(got.idtr.limit, set.idtr.limit);
    assert_int_equal(got.rip, set.rip);
    assert_int_equal(got.rflags, set.rflags);
    assert_int_equal(got.cr0, set.cr0);
    assert_int_equal(got.cr2, set.cr2);
    assert_int_equal(got.cr3, set.cr3);
    assert_int_equal(got.cr4, set.cr4);
    assert_int_equal(got.cr8, 2);
    assert_int_equal(got.efer, set.efer);
    assert_int_equal(got.xcr0, set.xcr0);
    assert_memory_equal(got.dr, set.dr, sizeof(set.dr));
    assert_int_equal(got.star, set.star);
    assert_int_equal(got.lstar, set.lstar);
    assert_int_equal(got.sfmask, set.sfmask);
    assert_int_equal(got.kernel_gs_base, set.kernel_gs_base);
    assert_int_equal(got.sysenter_cs, set.sysenter_cs);
    assert_int_equal(got.sysenter_esp, set.sysenter_esp);
    assert_int_equal(got.tsc_aux, set.tsc_aux);
    assert_int_equal(got.pat, set.pat);
    assert_int_equal(got.apic_base, set.apic_base);
    assert_memory_equal(got.xsave + 160, set.xsave + 160, 16);
    assert_memory_equal(got.lapic + 0xf0, set.lapic + 0xf0, 4);
    assert_memory_equal(got.lapic + 0x370, set.lapic + 0x370, 4);
    assert_memory_equal(got.lapic + 0x80, set.lapic + 0x80, 4);
}

static void the_power_up_state_is_the_architectures(void **state)
{
    struct machine *m = *state;
    struct hv_vp_state now;

    start_at(m, &guest_ports_code);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    hv_partition_reset(m->partition);
    assert_int_equal(hv_vp_get_state(hv_partition_vp(m->partition, 0), &now), 0);
    assert_int_equal(now.rip, 0xfff0);
    assert_int_equal(now.segment[HV_CS].selector, 0xf000);
    assert_int_equal(now.segment[HV_CS].base, 0xffff0000);
    assert_int_equal(now.rflags, 2);
    assert_int_equal(now.cr0, 0x60000010);
    assert_int_equal(now.cr3, 0);
    assert_int_equal(now.efer, 0);
    assert_int_equal(now.pat, UINT64_C(0x0007040600070406));
    assert_int_equal(now.apic_base, 0xfee00900);
    assert_int_equal(now.activity, HV_ACTIVITY_ACTIVE);
    assert_int_equal(hv_vp_get_state(hv_partition_vp(m->partition, 1), &now), 0);
    assert_int_equal(now.activity, HV_ACTIVITY_WAIT_FOR_SIPI);
    assert_int_equal(now.apic_base, 0xfee00800);
    start_at(m, &guest_ports_code);
    m->n_reports = 0;
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_int_equal(m->n_reports, 10);
}

static void guest_time_stands_still_while_paused(void **state)
{
    struct machine *m = *state;
    struct hv_vp_state start, before, after;
    struct hv_vp *vp = hv_partition_vp(m->partition, 0);
    uint64_t ns;

    long_mode(m, &start);
    put_guest(m, CODE, &guest_tsc_code);
    put_lapic(&start, 0x3e0, 0xb);
    put_lapic(&start, 0x320, 0x30);
    put_lapic(&start, 0x380, UINT32_MAX);
    put_lapic(&start, 0x390, UINT32_MAX);
    set_state(m, 0, &start);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    hv_partition_pause_time(m->partition);
    ns = hv_partition_now_ns(m->partition);
    assert_int_equal(hv_vp_get_state(vp, &before), 0);
    (void)usleep(300000);
    assert_int_equal(hv_partition_now_ns(m->partition), ns);
    assert_int_equal(hv_vp_get_state(vp, &after), 0);
    assert_int_equal(before.tsc, after.tsc);
    hv_partition_resume_time(m->partition);
    assert_int_equal(run(m, 0), HV_EXIT_CANCELLED);
    assert_int_equal(hv_vp_get_state(vp, &after), 0);
    assert_true(after.tsc - before.tsc < UINT64_C(250000000)); /* much less than 300 ms */
    assert_true(m->reports[1] - m->reports[0] < 250000000);
    assert_int_equal(m->n_reports, 2);
    {
        uint32_t then, now;

        memcpy(&then, before.lapic + 0x390, sizeof(then));
        memcpy(&now, after.lapic + 0x390, sizeof(now));
        assert_true(now < then && then - now < 250000000);
    }
}

static void wrong_configurations_are_refused_with_a_sentence(void **state)
{
    struct hv_partition_config config = {
        .backend = backend, .kvm_fd = -1, .n_vps = 0, .ram_bytes = RAM_BYTES
    };
    struct hv_partition *partition = NULL;
    struct hv_error *error = NULL;

    (void)state;
    assert_int_equal(hv_partition_new(&config, &partition, &error), -EINVAL);
    assert_string_equal(error->field, "processor.count");
    error = hv_error_free(error);
    config.n_vps = HV_MAX_VPS + 1;
    assert_int_equal(hv_partition_new(&config, &partition, &error), -EINVAL);
    error = hv_error_free(error);
    config.n_vps = 1;
    config.ram_bytes = 4095;
    assert_int_equal(hv_partition_new(&config, &partition, &error), -EINVAL);
    error = hv_error_free(error);
    assert_null(partition);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_configurations_are_refused_with_a_sentence),
        cmocka_unit_test_setup_teardown(ports_of_every_width_reach_their_chip, setup, teardown),
        cmocka_unit_test_setup_teardown(mmio_of_every_width_reaches_its_chip, setup, teardown),
        cmocka_unit_test_setup_teardown(an_access_is_complete_when_a_cancelled_vp_has_left, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_triple_fault_shuts_down, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_msrs_fault_and_known_ones_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hypercall_that_nobody_offers_gets_its_status, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(messages_and_signals_go_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_that_crashes_is_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(a_signal_finds_a_guest_that_was_put_back, setup, teardown),
        cmocka_unit_test_setup_teardown(doorbells_ring_instead_of_the_handler, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cancel_before_the_run_is_not_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_spinning_vp_can_be_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(a_halted_vp_can_be_cancelled_and_sleeps_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_interrupt_wakes_a_halted_vp, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_of_a_level_interrupt_reaches_the_chipset, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_8259_pair_interrupts_through_lint0, setup, teardown),
        cmocka_unit_test_setup_teardown(the_lapic_timer_wakes_a_halted_vp, setup, teardown),
        cmocka_unit_test_setup_teardown(one_processor_starts_another, setup, teardown),
        cmocka_unit_test_setup_teardown(state_comes_back_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(the_power_up_state_is_the_architectures, setup, teardown),
        cmocka_unit_test_setup_teardown(guest_time_stands_still_while_paused, setup, teardown),
    };

    if (argc > 1 && hv_backend_parse(argv[1], &backend) < 0) {
        (void)fprintf(stderr, "Usage: %s [soft|kvm [TEST]]\n", argv[0]);
        return 2;
    }
    if (argc > 2)
        cmocka_set_test_filter(argv[2]); /* with * and ? */
    if (backend == HV_BACKEND_KVM) {
        struct hv_host_info info;

        hv_host_probe(-1, &info);
        if (!info.is_kvm_fast) {
            (void)printf("Skipped on KVM: %s\n", info.reason);
            return 77;
        }
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
