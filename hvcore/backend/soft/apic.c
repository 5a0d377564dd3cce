/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC's registers as synthetic MSRs, and the MSR in which a guest idles.
 * spec: TLFS interrupts "APIC MSRs", virtual-processors "Guest Idle" */
#include "hvcore/backend/soft/soft_priv.h"
#include "hvcore/spec/tlfs.h"

bool soft_apic_read(struct soft_vp *vp, uint32_t msr, uint64_t *ret)
{
    switch (msr) {
    case TLFS_MSR_ICR: *ret = x86_lapic_icr(&vp->lapic); return true;
    case TLFS_MSR_TPR: *ret = x86_lapic_cr8(&vp->lapic) << 4; return true;
    case TLFS_MSR_GUEST_IDLE:
        emu_cpu_idle(vp->cpu);
        *ret = 0;
        return true;
    default: return false;
    }
}

bool soft_apic_write(struct soft_vp *vp, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case TLFS_MSR_EOI: x86_lapic_eoi(&vp->lapic); return true;
    case TLFS_MSR_ICR: x86_lapic_set_icr(&vp->lapic, value); return true;
    case TLFS_MSR_TPR:
        if (value > 0xff)
            return false;
        x86_lapic_set_tpr(&vp->lapic, (uint8_t)value);
        return true;
    default: return false;
    }
}
