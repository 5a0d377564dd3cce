/* SPDX-License-Identifier: Apache-2.0 */
/* The machine in a saved state: RAM, partition and VPs; chips are chipset.h's. */
#pragma once

#include "hvcore/base/error.h"
#include "vmwp/state/state.h"

struct hv_partition;
struct wp_chipset;

/* What the guest may rely on: the clock's rate, the processors and what they can do. */
void wp_partition_describe(struct hv_partition *partition, struct state_head *ret);
/* All but RAM. 0 or a negative errno. */
int wp_partition_save(struct hv_partition *partition, struct state_writer *writer);
/* Into a machine that is as new, and whose time stands. 0, or an errno with *reterr. */
int wp_machine_restore(struct hv_partition *partition, struct wp_chipset *chipset,
                       struct state_image *image, struct hv_error **reterr);
