/* SPDX-License-Identifier: Apache-2.0 */
/* Hypercalls: one dispatcher over one table. */
#pragma once

#include "hvcore/partition/object.h"

/*
 * Carry out a guest's hypercall.
 *
 * return: true with the result value (status in bits 0-15, reps completed in 32-43) in *ret; false
 *         when the guest hasn't set up the interface: the instruction raises #UD
 * thread: the calling VP's own
 * spec: TLFS hypercall-interface "Hypercall Inputs", "Hypercall Outputs"
 */
bool hv_hypercall_dispatch(struct hv_partition *partition, unsigned vp,
                           const struct hv_hypercall *call, uint64_t *ret);
