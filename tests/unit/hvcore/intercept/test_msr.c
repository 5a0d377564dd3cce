/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_partition.h"

#include "hvcore/spec/msr.h"
#include "hvcore/spec/tlfs.h"
#include "hvcore/x86/lapic.h"

static unsigned n_log_lines;

static void count_line(void *opaque, enum hv_log_level level, const char *fields, const char *text)
{
    (void)opaque, (void)level, (void)fields, (void)text;
    n_log_lines++;
}

/* A partition as far as MSRs look at it. */
static int setup(void **state)
{
    int r = fake_setup(state);
    struct fake_partition *fake = *state;

    fake->partition.log = (struct hv_log){ .write = count_line, .max_level = HV_LOG_DEBUG };
    n_log_lines = 0;
    *state = &fake->partition;
    return r;
}

static int teardown(void **state)
{
    return fake_teardown(state);
}

static uint64_t read_msr(struct hv_partition *partition, unsigned vp, uint32_t msr)
{
    uint64_t value = 0;

    assert_true(hv_msr_read(partition, vp, msr, &value));
    return value;
}

static void unknown_ones_fault_and_are_logged_once(void **state)
{
    uint64_t value = 0x5a;

    for (unsigned i = 0; i < 3; i++) {
        assert_false(hv_msr_read(*state, 0, 0x12345, &value));
        assert_false(hv_msr_write(*state, 1, 0x12345, 1));
    }
    assert_int_equal(value, 0x5a);
    assert_int_equal(n_log_lines, 2);
    for (uint32_t msr = 0x50000000; msr < 0x50001000; msr++)
        assert_false(hv_msr_write(*state, 0, msr, 1));
    assert_in_range(n_log_lines, 3, HV_MSR_LOG_MAX);
}

static void wrong_values_fault(void **state)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
    } bad[] = {
        { X86_MSR_MTRR_CAP, 0x508 },
        { X86_MSR_MTRR_DEFAULT, 0x1006 },
        { X86_MSR_MTRR_DEFAULT, 0x802 },            /* memory type 2 */
        { X86_MSR_MTRR_VARIABLE_FIRST, 0x100 },     /* reserved */
        { X86_MSR_MTRR_VARIABLE_FIRST, 7 },         /* memory type 7 */
        { X86_MSR_MTRR_VARIABLE_FIRST + 1, 0x400 }, /* reserved */
        { X86_MSR_MTRR_FIXED_4K_LAST, 0x0606060606060306 },
        { X86_MSR_MCG_CAP, 0 },
        { X86_MSR_MCG_STATUS, 8 },
        { X86_MSR_HWCR, UINT64_C(1) << 63 },
        { X86_MSR_OSVW_STATUS, 0 },
        { TLFS_MSR_TIME_REF_COUNT, 0 },
        { TLFS_MSR_VP_INDEX, 0 },
        { TLFS_MSR_TSC_FREQUENCY, 1 },
        { 0x40000118, 1 }, /* control of the TSC's invariance: not offered */
        { TLFS_MSR_VP_RUNTIME, 0 },
        { TLFS_MSR_GUEST_IDLE, 0 },
        { TLFS_MSR_SVERSION, 1 },
        { 0x40000085, 0 }, /* nothing there */
        { TLFS_MSR_LAST, 0 },
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(bad); i++)
        assert_false(hv_msr_write(*state, 0, bad[i].msr, bad[i].value));
}

static void machine_registers_hold_what_was_written(void **state)
{
    struct hv_partition *partition = *state;

    assert_int_equal(read_msr(partition, 0, X86_MSR_MTRR_DEFAULT), 0x806);
    for (uint32_t msr = X86_MSR_MTRR_VARIABLE_FIRST; msr <= X86_MSR_MTRR_VARIABLE_LAST; msr += 2) {
        assert_true(hv_msr_write(partition, 1, msr, msr << 12 | 6));
        assert_true(hv_msr_write(partition, 1, msr + 1, UINT64_C(0xfff0000800)));
    }
    assert_int_equal(read_msr(partition, 1, X86_MSR_MTRR_VARIABLE_LAST - 1), 0x20e006);
    assert_int_equal(read_msr(partition, 1, X86_MSR_MTRR_VARIABLE_LAST), UINT64_C(0xfff0000800));
    assert_int_equal(read_msr(partition, 0, X86_MSR_MTRR_VARIABLE_LAST), 0); /* of the other VP */
    assert_true(hv_msr_write(partition, 0, X86_MSR_MTRR_FIXED_4K_LAST, 0x0606060606060505));
    assert_int_equal(read_msr(partition, 0, X86_MSR_MTRR_FIXED_4K_LAST), 0x0606060606060505);
    assert_true(hv_msr_write(partition, 0, X86_MSR_DE_CFG, 2));
    assert_int_equal(read_msr(partition, 0, X86_MSR_DE_CFG), 2);
    assert_true(hv_msr_write(partition, 0, X86_MSR_PERF_EVENT_FIRST, 0x430076));
    assert_int_equal(read_msr(partition, 0, X86_MSR_PERF_EVENT_FIRST), 0);
    assert_int_not_equal(read_msr(partition, 0, X86_MSR_PATCH_LEVEL), 0);
}

static void the_hypercall_page_needs_an_identity(void **state)
{
    static const uint8_t expected[] = { 0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x01, 0xd9, 0xc3, 0xcc };
    struct hv_partition *partition = *state;
    uint8_t page[HV_PAGE_BYTES];

    assert_true(hv_msr_write(partition, 0, TLFS_MSR_HYPERCALL, 0x3001));
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_HYPERCALL), 0x3000);
    assert_int_equal(hv_gpa_read(&partition->gpa, 0x3000, page, sizeof(page)), 0);
    assert_int_equal(page[0], 0);
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_GUEST_OS_ID, UINT64_C(0x8100) << 48));
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_HYPERCALL, 0x3001));
    assert_int_equal(read_msr(partition, 1, TLFS_MSR_HYPERCALL), 0x3001);
    assert_int_equal(hv_gpa_read(&partition->gpa, 0x3000, page, sizeof(page)), 0);
    assert_memory_equal(page, expected, sizeof(expected));
    assert_int_equal(page[HV_PAGE_BYTES - 1], 0xcc);
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_GUEST_OS_ID, 0));
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_HYPERCALL), 0x3000);
}

static void a_locked_hypercall_page_stays(void **state)
{
    struct hv_partition *partition = *state;

    assert_true(hv_msr_write(partition, 0, TLFS_MSR_GUEST_OS_ID, 1));
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_HYPERCALL, 0x3003));
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_HYPERCALL, 0x5001));
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_HYPERCALL), 0x3003);
}

static void pages_outside_ram_are_remembered_and_not_written(void **state)
{
    struct hv_partition *partition = *state;
    const uint64_t far = UINT64_C(0xfffffffffffff001);

    assert_true(hv_msr_write(partition, 0, TLFS_MSR_GUEST_OS_ID, 1));
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_HYPERCALL, far));
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_REFERENCE_TSC, far));
    assert_true(hv_msr_write(partition, 1, TLFS_MSR_VP_ASSIST_PAGE, far));
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_REFERENCE_TSC), far);
    assert_int_equal(read_msr(partition, 1, TLFS_MSR_VP_ASSIST_PAGE), far);
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_VP_ASSIST_PAGE), 0);
}

static void the_reference_page_tells_the_counters_time(void **state)
{
    struct hv_partition *partition = *state;
    struct tlfs_reference_tsc_page page;
    uint64_t tsc;

    assert_true(hv_msr_write(partition, 0, TLFS_MSR_REFERENCE_TSC, 0x4001));
    assert_int_equal(hv_gpa_read(&partition->gpa, 0x4000, &page, sizeof(page)), 0);
    assert_int_equal(page.sequence, 1);
    hv_guest_clock_stop(&partition->clock);
    tsc = hv_guest_clock_tsc(&partition->clock);
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_TIME_REF_COUNT),
                     (uint64_t)((__uint128_t)tsc * page.scale >> 64) + (uint64_t)page.offset);
}

static void synthetic_facts_are_told(void **state)
{
    assert_int_equal(read_msr(*state, 0, TLFS_MSR_VP_INDEX), 0);
    assert_int_equal(read_msr(*state, 1, TLFS_MSR_VP_INDEX), 1);
    assert_int_equal(read_msr(*state, 0, TLFS_MSR_TSC_FREQUENCY),
                     ((struct hv_partition *)*state)->clock.tsc_hz);
    assert_int_equal(read_msr(*state, 0, TLFS_MSR_APIC_FREQUENCY), X86_LAPIC_HZ);
}

static void the_leaves_promise_only_msrs_that_answer(void **state)
{
    struct hv_partition *partition = *state;
    uint32_t regs[4];
    uint64_t value;
    static const struct {
        uint32_t privilege, msr;
    } promises[] = {
        { TLFS_PRIV_REFERENCE_COUNTER, TLFS_MSR_TIME_REF_COUNT },
        { TLFS_PRIV_SYNIC, TLFS_MSR_SINT15 },
        { TLFS_PRIV_STIMERS, TLFS_MSR_STIMER3_COUNT },
        { TLFS_PRIV_HYPERCALL_MSRS, TLFS_MSR_HYPERCALL },
        { TLFS_PRIV_VP_INDEX, TLFS_MSR_VP_INDEX },
        { TLFS_PRIV_REFERENCE_TSC, TLFS_MSR_REFERENCE_TSC },
        { TLFS_PRIV_FREQUENCY_MSRS, TLFS_MSR_APIC_FREQUENCY },
        { TLFS_PRIV_VP_RUNTIME, TLFS_MSR_VP_RUNTIME },
    };

    partition->host.n_vps = 2;
    hv_synthetic_add_cpuid(partition);
    x86_cpuid_query(&partition->cpuid, 0, TLFS_LEAF_FEATURES, 0, regs);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(promises); i++) {
        if (regs[X86_EAX] & promises[i].privilege)
            assert_true(hv_msr_read(*state, 0, promises[i].msr, &value));
        regs[X86_EAX] &= ~promises[i].privilege;
    }
    assert_int_equal(regs[X86_EAX], 0);
    assert_int_equal(regs[X86_EBX], TLFS_PRIV_HIGH_POST_MESSAGES | TLFS_PRIV_HIGH_SIGNAL_EVENTS);
    x86_cpuid_query(&partition->cpuid, 0, TLFS_LEAF_LIMITS, 0, regs);
    assert_int_equal(regs[X86_EAX], 2);
}

/* Ends of interrupts by the assist page are advised only where somebody reads it. */
static void hints_are_what_the_backend_offers(void **state)
{
    struct hv_partition *partition = *state;
    const uint32_t always = TLFS_HINT_RELAXED_TIMING | TLFS_HINT_NO_AUTO_EOI;
    uint32_t regs[4];

    partition->host.n_vps = 2;
    partition->facts.offers = HV_OFFER_APIC_MSRS;
    hv_synthetic_add_cpuid(partition);
    x86_cpuid_query(&partition->cpuid, 0, TLFS_LEAF_RECOMMENDATIONS, 0, regs);
    assert_int_equal(regs[X86_EAX], always);
    partition->facts.offers |= HV_OFFER_LAZY_EOI;
    hv_synthetic_add_cpuid(partition);
    x86_cpuid_query(&partition->cpuid, 0, TLFS_LEAF_RECOMMENDATIONS, 0, regs);
    assert_int_equal(regs[X86_EAX], always | TLFS_HINT_APIC_MSRS);
}

/* Who is alone has nobody to flush or interrupt. */
static void hints_about_others_are_for_several_vps(void **state)
{
    const uint32_t others =
        TLFS_HINT_REMOTE_FLUSH | TLFS_HINT_CLUSTER_IPI | TLFS_HINT_EX_PROCESSOR_MASKS;
    struct hv_partition *partition = *state;
    uint32_t regs[4];

    partition->facts.offers = HV_OFFER_FLUSH | HV_OFFER_IPI;
    for (unsigned n_vps = 1; n_vps <= 2; n_vps++) {
        partition->host.n_vps = n_vps;
        hv_synthetic_add_cpuid(partition);
        x86_cpuid_query(&partition->cpuid, 0, TLFS_LEAF_RECOMMENDATIONS, 0, regs);
        assert_int_equal(regs[X86_EAX] & others, n_vps > 1 ? others : 0);
    }
}

/* The pages are those of the backend and host where it goes on. */
static void what_vps_share_goes_out_and_comes_back(void **state)
{
    struct hv_partition *partition = *state;
    struct hv_partition_state saved;
    struct tlfs_reference_tsc_page page;
    uint8_t code[8];

    assert_true(hv_msr_write(partition, 0, TLFS_MSR_GUEST_OS_ID, 7));
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_HYPERCALL, 0x3003));
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_REFERENCE_TSC, 0x4001));
    assert_true(hv_msr_write(partition, 0, TLFS_MSR_CRASH_P4, 44));
    hv_guest_clock_stop(&partition->clock);
    hv_partition_get_state(partition, &saved);
    hv_partition_set_state(partition, &(struct hv_partition_state){ .tsc = 1 });
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_HYPERCALL), 0);
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_TIME_REF_COUNT), 0);
    assert_int_equal(hv_gpa_fill(&partition->gpa, 0x3000, 0, 0x2000), 0);
    hv_partition_set_state(partition, &saved);
    assert_int_equal(hv_guest_clock_tsc(&partition->clock), saved.tsc);
    assert_int_equal(read_msr(partition, 1, TLFS_MSR_GUEST_OS_ID), 7);
    assert_int_equal(read_msr(partition, 1, TLFS_MSR_HYPERCALL), 0x3003);
    assert_int_equal(read_msr(partition, 1, TLFS_MSR_REFERENCE_TSC), 0x4001);
    assert_int_equal(read_msr(partition, 1, TLFS_MSR_CRASH_P4), 44);
    assert_int_equal(hv_gpa_read(&partition->gpa, 0x3000, code, sizeof(code)), 0);
    assert_int_equal(code[7], 0xc3);
    assert_int_equal(hv_gpa_read(&partition->gpa, 0x4000, &page, sizeof(page)), 0);
    assert_int_equal(page.sequence, 1);
}

/* ---- crashes ---- */

struct crashes {
    struct hv_crash last;
    unsigned n, vp;
};

static void on_crash(void *opaque, unsigned vp, const struct hv_crash *crash)
{
    struct crashes *crashes = opaque;

    crashes->last = *crash;
    crashes->vp = vp;
    crashes->n++;
}

static void write_crash(struct hv_partition *partition, const uint64_t parameter[5], uint64_t ctl)
{
    for (uint32_t i = 0; i < 5; i++)
        assert_true(hv_msr_write(partition, 1, TLFS_MSR_CRASH_P0 + i, parameter[i]));
    assert_true(hv_msr_write(partition, 1, TLFS_MSR_CRASH_CTL, ctl));
}

static void a_crash_is_told_with_its_parameters(void **state)
{
    const uint64_t parameter[5] = { 1, 2, 3, 4, UINT64_MAX };
    struct hv_partition *partition = *state;
    struct crashes crashes = { .n = 0 };

    assert_int_equal(read_msr(partition, 0, TLFS_MSR_CRASH_CTL),
                     TLFS_CRASH_NOTIFY | TLFS_CRASH_MESSAGE);
    write_crash(partition, parameter, TLFS_CRASH_NOTIFY); /* nobody listens */
    hv_partition_watch_crash(partition, on_crash, &crashes);
    write_crash(partition, parameter, 0);
    assert_int_equal(crashes.n, 0);
    write_crash(partition, parameter, TLFS_CRASH_NOTIFY);
    assert_int_equal(crashes.n, 1);
    assert_int_equal(crashes.vp, 1);
    assert_memory_equal(crashes.last.parameter, parameter, sizeof(parameter));
    assert_int_equal(crashes.last.text_bytes, 0);
    assert_int_equal(read_msr(partition, 0, TLFS_MSR_CRASH_P4), UINT64_MAX);
}

static void the_text_of_a_crash_is_read_as_far_as_there_is_room_and_ram(void **state)
{
    static const struct {
        uint64_t gpa, bytes;
        uint32_t expected;
    } texts[] = {
        { 0x2000, 5, 5 },
        { 0x2000, 0, 0 },
        { 0x2000, UINT64_MAX, HV_CRASH_TEXT_BYTES },
        { FAKE_RAM_BYTES - 4, 5, 0 },
        { UINT64_MAX - 1, 4, 0 },
    };
    struct hv_partition *partition = *state;
    struct crashes crashes = { .n = 0 };

    assert_int_equal(hv_gpa_write(&partition->gpa, 0x2000, "Oops!", 5), 0);
    hv_partition_watch_crash(partition, on_crash, &crashes);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(texts); i++) {
        const uint64_t parameter[5] = { 0, 0, 0, texts[i].gpa, texts[i].bytes };

        write_crash(partition, parameter, TLFS_CRASH_NOTIFY | TLFS_CRASH_MESSAGE);
        assert_int_equal(crashes.last.text_bytes, texts[i].expected);
        if (texts[i].expected > 0)
            assert_memory_equal(crashes.last.text, "Oops!", 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unknown_ones_fault_and_are_logged_once, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_values_fault, setup, teardown),
        cmocka_unit_test_setup_teardown(machine_registers_hold_what_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(the_hypercall_page_needs_an_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(a_locked_hypercall_page_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_outside_ram_are_remembered_and_not_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_reference_page_tells_the_counters_time, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(synthetic_facts_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(hints_are_what_the_backend_offers, setup, teardown),
        cmocka_unit_test_setup_teardown(hints_about_others_are_for_several_vps, setup, teardown),
        cmocka_unit_test_setup_teardown(what_vps_share_goes_out_and_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_is_told_with_its_parameters, setup, teardown),
        cmocka_unit_test_setup_teardown(the_text_of_a_crash_is_read_as_far_as_there_is_room_and_ram,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_leaves_promise_only_msrs_that_answer, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
