/* SPDX-License-Identifier: Apache-2.0 */
/* What the soft backend's files share. */
#pragma once

#include "hvcore/backend/ops.h"
#include "hvcore/emu/emu.h"
#include "hvcore/vp.h"

enum { MAX_DOORBELLS = 64 };

struct soft_vp {
    struct soft_partition *partition;
    unsigned index;
    struct x86_lapic lapic;
    struct emu_cpu *cpu; /* owned by the machine; NULL until sealed */
    struct hv_timer timer;
    struct hv_tsc_anchor anchor; /* owner: the VP's thread, or who stopped it */
};

struct soft_doorbell {
    uint64_t address;
    unsigned size;
    int eventfd;
    bool is_port;
};

struct soft_partition {
    const struct hv_backend_host *host;
    struct x86_lapic_bus bus;
    struct emu_machine *machine;
    struct soft_vp *vps[HV_MAX_VPS];
    struct soft_doorbell doorbells[MAX_DOORBELLS];
    unsigned n_doorbells;
};

/* apic.c: MSRs that the local APIC answers; false for others, and for wrong values. On the VP's
 * thread. */
bool soft_apic_read(struct soft_vp *vp, uint32_t msr, uint64_t *ret);
bool soft_apic_write(struct soft_vp *vp, uint32_t msr, uint64_t value);
