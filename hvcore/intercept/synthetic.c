/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor as the guest finds it: CPUID leaves, and the synthetic MSRs that they promise.
 * Pages named by MSRs are written into guest RAM where they are asked for.
 *
 * spec: TLFS feature-discovery, hypercall-interface "Establishing the Hypercall Interface", timers
 */
#include "hvcore/intercept/msr.h"
#include "hvcore/spec/tlfs.h"
#include "hvcore/x86/lapic.h"

#include <string.h>

enum {
    BUILD_NUMBER = 20348,
    VERSION_MAJOR = 10,
    NEVER_NOTIFY_SPIN = -1,
    LEAF_POWER = (int)0x80000007,
    LEAF_POWER_INVARIANT_TSC = 1 << 8,
    CODE_INT3 = 0xcc,
    CODE_RET = 0xc3
};

static const uint8_t code_endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };

static void put(struct x86_cpuid *cpuid, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
                uint32_t edx)
{
    bool is_put = x86_cpuid_put(
        cpuid, &(struct x86_cpuid_entry){ .leaf = leaf, .regs = { eax, ebx, ecx, edx } });

    hv_assert(is_put);
}

/* The TSC as a clock is promised only where the host's keeps its rate. */
static uint64_t privileges(uint32_t offers)
{
    const uint64_t high = TLFS_PRIV_HIGH_POST_MESSAGES | TLFS_PRIV_HIGH_SIGNAL_EVENTS;
    const uint64_t always = high << 32 | TLFS_PRIV_REFERENCE_COUNTER | TLFS_PRIV_HYPERCALL_MSRS |
                            TLFS_PRIV_VP_INDEX | TLFS_PRIV_FREQUENCY_MSRS | TLFS_PRIV_SYNIC;

    uint64_t offered = always;

    if (hv_tsc_is_invariant())
        offered |= TLFS_PRIV_REFERENCE_TSC | TLFS_PRIV_TSC_INVARIANT;
    if (offers & HV_OFFER_STIMERS)
        offered |= TLFS_PRIV_STIMERS;
    return offered;
}

static uint32_t features(uint32_t offers)
{
    uint32_t offered = TLFS_FEATURE_FREQUENCY_MSRS;

    if (offers & HV_OFFER_STIMERS)
        offered |= TLFS_FEATURE_DIRECT_STIMERS;
    return offered;
}

/* Whoever is promised a TSC that keeps its rate looks for the processor's own promise too. */
static void promise_invariant_tsc(struct x86_cpuid *cpuid)
{
    uint32_t regs[4];

    x86_cpuid_query(cpuid, 0, LEAF_POWER, 0, regs);
    put(cpuid, LEAF_POWER, regs[X86_EAX], regs[X86_EBX], regs[X86_ECX],
        regs[X86_EDX] | LEAF_POWER_INVARIANT_TSC);
}

void hv_synthetic_add_cpuid(struct hv_partition *partition)
{
    struct x86_cpuid *cpuid = &partition->cpuid;
    unsigned n_vps = partition->host.n_vps;

    uint32_t offers = partition->ops->offers;

    partition->privileges = privileges(offers);
    if (hv_tsc_is_invariant())
        promise_invariant_tsc(cpuid);
    put(cpuid, TLFS_LEAF_VENDOR, TLFS_LEAF_HARDWARE, TLFS_VENDOR_EBX, TLFS_VENDOR_ECX,
        TLFS_VENDOR_EDX);
    put(cpuid, TLFS_LEAF_INTERFACE, TLFS_INTERFACE_HV1, 0, 0, 0);
    put(cpuid, TLFS_LEAF_VERSION, BUILD_NUMBER, VERSION_MAJOR << 16, 0, 0);
    put(cpuid, TLFS_LEAF_FEATURES, (uint32_t)partition->privileges,
        (uint32_t)(partition->privileges >> 32), 0, features(offers));
    put(cpuid, TLFS_LEAF_RECOMMENDATIONS, TLFS_HINT_RELAXED_TIMING | TLFS_HINT_NO_AUTO_EOI,
        (uint32_t)NEVER_NOTIFY_SPIN, 0, 0);
    put(cpuid, TLFS_LEAF_LIMITS, n_vps, n_vps, 0, 0);
    put(cpuid, TLFS_LEAF_HARDWARE, 0, 0, 0, 0);
}

/* ENDBR64, the backend's way out, RET, and nothing else that could be run. */
static void write_hypercall_page(struct hv_partition *partition, uint64_t msr)
{
    const struct hv_backend_ops *ops = partition->ops;
    uint8_t page[HV_PAGE_BYTES];
    size_t at = sizeof(code_endbr64);

    memset(page, CODE_INT3, sizeof(page));
    memcpy(page, code_endbr64, sizeof(code_endbr64));
    memcpy(page + at, ops->hypercall_code, ops->hypercall_code_bytes);
    page[at + ops->hypercall_code_bytes] = CODE_RET;
    /* Where there is no RAM the guest finds none either. */
    (void)hv_gpa_write(&partition->gpa, msr & ~(uint64_t)0xfff, page, sizeof(page));
}

/* Scale and offset first, then the sequence that makes them valid. */
static void write_reference_tsc_page(struct hv_partition *partition, uint64_t msr)
{
    struct tlfs_reference_tsc_page page = { .scale = partition->clock.reference_scale };
    hv_gpa_t gpa = msr & ~(uint64_t)0xfff;
    uint32_t sequence = 1;

    if (hv_gpa_fill(&partition->gpa, gpa, 0, HV_PAGE_BYTES) < 0)
        return;
    (void)hv_gpa_write(&partition->gpa, gpa, &page, sizeof(page));
    atomic_thread_fence(memory_order_release);
    (void)hv_gpa_write(&partition->gpa, gpa, &sequence, sizeof(sequence));
}

static bool write_hypercall(struct hv_partition *partition, uint64_t value)
{
    struct hv_synthetic *synthetic = &partition->synthetic;
    uint64_t old = atomic_load(&synthetic->hypercall);

    if (old & TLFS_HYPERCALL_LOCKED)
        return true;
    /* Without an identity there is no interface to enable. */
    if (atomic_load(&synthetic->guest_os_id) == 0)
        value &= ~(uint64_t)TLFS_PAGE_MSR_ENABLE;
    if (value & TLFS_PAGE_MSR_ENABLE)
        write_hypercall_page(partition, value);
    atomic_store(&synthetic->hypercall, value);
    return true;
}

static bool write_guest_os_id(struct hv_partition *partition, uint64_t value)
{
    struct hv_synthetic *synthetic = &partition->synthetic;

    atomic_store(&synthetic->guest_os_id, value);
    if (value == 0)
        atomic_fetch_and(&synthetic->hypercall, ~(uint64_t)TLFS_PAGE_MSR_ENABLE);
    return true;
}

static bool write_reference_tsc(struct hv_partition *partition, uint64_t value)
{
    if (value & TLFS_PAGE_MSR_ENABLE)
        write_reference_tsc_page(partition, value);
    atomic_store(&partition->synthetic.reference_tsc, value);
    return true;
}

static bool is_offered(const struct hv_partition *partition, uint32_t msr)
{
    bool is_stimer = msr >= TLFS_MSR_STIMER0_CONFIG && msr <= TLFS_MSR_STIMER3_COUNT;

    return !is_stimer || partition->privileges & TLFS_PRIV_STIMERS;
}

bool hv_synthetic_read(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t *ret)
{
    const struct hv_synthetic *synthetic = &partition->synthetic;

    switch (msr) {
    case TLFS_MSR_GUEST_OS_ID: *ret = atomic_load(&synthetic->guest_os_id); return true;
    case TLFS_MSR_HYPERCALL: *ret = atomic_load(&synthetic->hypercall); return true;
    case TLFS_MSR_VP_INDEX: *ret = vp; return true;
    case TLFS_MSR_TIME_REF_COUNT: *ret = hv_guest_clock_reference(&partition->clock); return true;
    case TLFS_MSR_REFERENCE_TSC: *ret = atomic_load(&synthetic->reference_tsc); return true;
    case TLFS_MSR_TSC_FREQUENCY: *ret = partition->clock.tsc_hz; return true;
    case TLFS_MSR_APIC_FREQUENCY: *ret = X86_LAPIC_HZ; return true;
    case TLFS_MSR_VP_ASSIST_PAGE: *ret = partition->vps[vp]->msrs.vp_assist; return true;
    case TLFS_MSR_TSC_INVARIANT_CONTROL:
        *ret = atomic_load(&synthetic->tsc_invariant_control);
        return true;
    default:
        return is_offered(partition, msr) && hv_synic_read(&partition->vps[vp]->synic, msr, ret);
    }
}

bool hv_synthetic_write(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case TLFS_MSR_GUEST_OS_ID: return write_guest_os_id(partition, value);
    case TLFS_MSR_HYPERCALL: return write_hypercall(partition, value);
    case TLFS_MSR_REFERENCE_TSC: return write_reference_tsc(partition, value);
    /* seen: Linux 6.1 writes it on every processor, whatever the privileges say. The page itself
     * stays the guest's: no feature that uses it is offered. */
    case TLFS_MSR_VP_ASSIST_PAGE: partition->vps[vp]->msrs.vp_assist = value; return true;
    case TLFS_MSR_TSC_INVARIANT_CONTROL:
        if (value & ~UINT64_C(1))
            return false;
        atomic_store(&partition->synthetic.tsc_invariant_control, value);
        return true;
    default:
        return is_offered(partition, msr) && hv_synic_write(&partition->vps[vp]->synic, msr, value);
    }
}
