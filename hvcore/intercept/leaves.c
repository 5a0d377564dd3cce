/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's CPUID leaves: what is implemented, and nothing else.
 *
 * spec: TLFS feature-discovery
 */
#include "hvcore/intercept/msr.h"
#include "hvcore/spec/tlfs.h"

enum { BUILD_NUMBER = 20348, VERSION_MAJOR = 10, NEVER_NOTIFY_SPIN = -1 };

/* What a backend's offer adds to the leaves. */
static const struct offer_row {
    uint32_t offer;
    uint32_t privileges, features, hints;
} offer_rows[] = {
    { HV_OFFER_STIMERS, TLFS_PRIV_STIMERS, TLFS_FEATURE_DIRECT_STIMERS, 0 },
    { HV_OFFER_FLUSH, 0, 0, TLFS_HINT_REMOTE_FLUSH | TLFS_HINT_EX_PROCESSOR_MASKS },
    { HV_OFFER_IPI, 0, 0, TLFS_HINT_CLUSTER_IPI | TLFS_HINT_EX_PROCESSOR_MASKS },
    { HV_OFFER_APIC_MSRS, TLFS_PRIV_APIC_MSRS, 0, 0 },
    { HV_OFFER_GUEST_IDLE, TLFS_PRIV_GUEST_IDLE, 0, 0 },
    { HV_OFFER_LAZY_EOI, 0, 0, TLFS_HINT_APIC_MSRS },
};

/* What is of use only where there are several VPs. Elsewhere it costs: Linux releases its spin
 * locks by a call and a locked instruction when it is told how to send IPIs to many. */
enum {
    HINTS_OF_OTHER_VPS =
        TLFS_HINT_REMOTE_FLUSH | TLFS_HINT_CLUSTER_IPI | TLFS_HINT_EX_PROCESSOR_MASKS
};

static void put(struct x86_cpuid *cpuid, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
                uint32_t edx)
{
    bool is_put = x86_cpuid_put(
        cpuid, &(struct x86_cpuid_entry){ .leaf = leaf, .regs = { eax, ebx, ecx, edx } });

    hv_assert(is_put);
}

/* The TSC page is promised only where the host's TSC keeps its rate. Control of the TSC's
 * invariance is not: guests would take the TSC itself for their clock, which a move to another host
 * changes. */
static uint32_t common_privileges(const struct hv_partition *partition)
{
    return TLFS_PRIV_VP_RUNTIME | TLFS_PRIV_REFERENCE_COUNTER | TLFS_PRIV_SYNIC |
           TLFS_PRIV_HYPERCALL_MSRS | TLFS_PRIV_VP_INDEX | TLFS_PRIV_FREQUENCY_MSRS |
           (partition->tsc.is_invariant ? TLFS_PRIV_REFERENCE_TSC : 0);
}

void hv_synthetic_add_cpuid(struct hv_partition *partition)
{
    const uint64_t high = TLFS_PRIV_HIGH_POST_MESSAGES | TLFS_PRIV_HIGH_SIGNAL_EVENTS;
    uint32_t low = common_privileges(partition);
    uint32_t features = TLFS_FEATURE_FREQUENCY_MSRS | TLFS_FEATURE_CRASH_MSRS;
    uint32_t hints = TLFS_HINT_RELAXED_TIMING | TLFS_HINT_NO_AUTO_EOI;
    struct x86_cpuid *cpuid = &partition->cpuid;
    unsigned n_vps = partition->host.n_vps;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(offer_rows); i++) {
        if (!(partition->facts.offers & offer_rows[i].offer))
            continue;
        low |= offer_rows[i].privileges;
        features |= offer_rows[i].features;
        hints |= offer_rows[i].hints;
    }
    if (n_vps == 1)
        hints &= ~(uint32_t)HINTS_OF_OTHER_VPS;
    partition->privileges = high << 32 | low;
    put(cpuid, TLFS_LEAF_VENDOR, TLFS_LEAF_HARDWARE, TLFS_VENDOR_EBX, TLFS_VENDOR_ECX,
        TLFS_VENDOR_EDX);
    put(cpuid, TLFS_LEAF_INTERFACE, TLFS_INTERFACE_HV1, 0, 0, 0);
    put(cpuid, TLFS_LEAF_VERSION, BUILD_NUMBER, VERSION_MAJOR << 16, 0, 0);
    put(cpuid, TLFS_LEAF_FEATURES, low, (uint32_t)high, 0, features);
    put(cpuid, TLFS_LEAF_RECOMMENDATIONS, hints, (uint32_t)NEVER_NOTIFY_SPIN, 0, 0);
    put(cpuid, TLFS_LEAF_LIMITS, n_vps, n_vps, 0, 0);
    put(cpuid, TLFS_LEAF_HARDWARE, 0, 0, 0, 0);
}
