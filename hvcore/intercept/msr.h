/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model-specific registers that the processor proper doesn't hold, for every backend: machine
 * registers as rows, and the hypervisor's synthetic ones.
 *
 * An MSR that isn't here raises #GP and is logged once. Writing a bit that a row doesn't allow
 * raises #GP too: nothing is swallowed.
 */
#pragma once

#include "hvcore/partition/object.h"

/* Read for VP `vp`, on its thread. False: #GP, and *ret untouched. */
bool hv_msr_read(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t *ret);
/* Write for VP `vp`, on its thread. False: #GP, and nothing changed. */
bool hv_msr_write(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t value);

/* TLFS synthetic MSRs, 0x40000000 to 0x400001ff. */
bool hv_synthetic_read(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t *ret);
bool hv_synthetic_write(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t value);

/* Put the MSRs back that all VPs share, and write their pages; no VP runs. */
void hv_synthetic_restore(struct hv_partition *partition, const struct hv_partition_state *state);

/* HV_X64_MSR_CRASH_CTL: tell the parent. */
void hv_crash_write_control(struct hv_partition *partition, unsigned vp, uint64_t value);

/* The hypervisor's CPUID leaves, and the privileges that they name. */
void hv_synthetic_add_cpuid(struct hv_partition *partition);
