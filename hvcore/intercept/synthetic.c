/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Synthetic MSRs. Pages that they name are written into guest RAM where they are asked for.
 *
 * spec: TLFS hypercall-interface "Establishing the Hypercall Interface", timers
 */
#include "hvcore/intercept/msr.h"
#include "hvcore/spec/tlfs.h"
#include "hvcore/x86/lapic.h"

#include <string.h>

enum { CODE_INT3 = 0xcc, CODE_RET = 0xc3, NS_PER_TICK = 100 };

static const uint8_t code_endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };

/* ENDBR64, the backend's way out, RET, and nothing else that could be run. */
static void write_hypercall_page(struct hv_partition *partition, uint64_t msr)
{
    const struct hv_backend_facts *facts = &partition->facts;
    uint8_t page[HV_PAGE_BYTES];
    size_t at = sizeof(code_endbr64);

    memset(page, CODE_INT3, sizeof(page));
    memcpy(page, code_endbr64, sizeof(code_endbr64));
    memcpy(page + at, facts->hypercall_code, facts->hypercall_code_bytes);
    page[at + facts->hypercall_code_bytes] = CODE_RET;
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

static void tell_backend(struct hv_partition *partition, unsigned vp)
{
    bool is_enabled = atomic_load(&partition->synthetic.hypercall) & TLFS_PAGE_MSR_ENABLE;

    if (partition->ops->enable_hypercalls)
        partition->ops->enable_hypercalls(partition->backend, vp, is_enabled);
}

static bool write_hypercall(struct hv_partition *partition, unsigned vp, uint64_t value)
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
    tell_backend(partition, vp);
    return true;
}

static bool write_guest_os_id(struct hv_partition *partition, unsigned vp, uint64_t value)
{
    struct hv_synthetic *synthetic = &partition->synthetic;

    atomic_store(&synthetic->guest_os_id, value);
    if (value == 0)
        atomic_fetch_and(&synthetic->hypercall, ~(uint64_t)TLFS_PAGE_MSR_ENABLE);
    tell_backend(partition, vp);
    return true;
}

static bool write_reference_tsc(struct hv_partition *partition, uint64_t value)
{
    if (value & TLFS_PAGE_MSR_ENABLE)
        write_reference_tsc_page(partition, value);
    atomic_store(&partition->synthetic.reference_tsc, value);
    return true;
}

/* The lock of the hypercall page is the guest's; what was saved comes from where it held. */
void hv_synthetic_restore(struct hv_partition *partition, const struct hv_partition_state *state)
{
    struct hv_synthetic *synthetic = &partition->synthetic;

    atomic_store(&synthetic->hypercall, 0);
    (void)write_guest_os_id(partition, 0, state->guest_os_id);
    (void)write_hypercall(partition, 0, state->hypercall);
    (void)write_reference_tsc(partition, state->reference_tsc);
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
    case TLFS_MSR_VP_RUNTIME:
        *ret = hv_vp_runtime_ns(partition->vps[vp]) / NS_PER_TICK;
        return true;
    case TLFS_MSR_CRASH_P0 ... TLFS_MSR_CRASH_P4:
        *ret = atomic_load(&synthetic->crash[msr - TLFS_MSR_CRASH_P0]);
        return true;
    case TLFS_MSR_CRASH_CTL: *ret = TLFS_CRASH_NOTIFY | TLFS_CRASH_MESSAGE; return true;
    default:
        return is_offered(partition, msr) && hv_synic_read(&partition->vps[vp]->synic, msr, ret);
    }
}

bool hv_synthetic_write(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case TLFS_MSR_GUEST_OS_ID: return write_guest_os_id(partition, vp, value);
    case TLFS_MSR_HYPERCALL: return write_hypercall(partition, vp, value);
    case TLFS_MSR_REFERENCE_TSC: return write_reference_tsc(partition, value);
    /* seen: Linux 6.1 writes it on every processor, whatever the privileges say. The page itself
     * stays the guest's: a backend that offers what uses it answers the register itself. */
    case TLFS_MSR_VP_ASSIST_PAGE: partition->vps[vp]->msrs.vp_assist = value; return true;
    case TLFS_MSR_CRASH_P0 ... TLFS_MSR_CRASH_P4:
        atomic_store(&partition->synthetic.crash[msr - TLFS_MSR_CRASH_P0], value);
        return true;
    case TLFS_MSR_CRASH_CTL: hv_crash_write_control(partition, vp, value); return true;
    default:
        return is_offered(partition, msr) && hv_synic_write(&partition->vps[vp]->synic, msr, value);
    }
}
