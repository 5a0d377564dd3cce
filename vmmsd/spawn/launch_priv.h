/* SPDX-License-Identifier: Apache-2.0 */
/* What launching and the definition's text share. */
#pragma once

#include "vmmsd/spawn/disks.h"
#include "vmmsd/spawn/launch.h"

enum { VMMS_EXTRA_KERNEL, VMMS_EXTRA_INITRD, VMMS_EXTRA_KVM, VMMS_EXTRA_RESTORE, VMMS_EXTRAS };

/* Names in a VM's state directory. */
#define VMMS_SAVED      "saved-state"
#define VMMS_SAVED_PART "saved-state.part"
#define VMMS_SAVED_OLD  "saved-state.old"

/* The VM's saved state, to be read; a negative errno. */
int vmms_saved_open(const char *state_dir, const char *vm_id);

/* What the worker gets beyond its fixed descriptors; -1: not there. */
struct vmms_extras {
    int fds[VMMS_EXTRAS];
    int numbers[VMMS_EXTRAS]; /* in the worker */
    struct vmms_disk *disks;
    size_t n_disks;
    int first_disk_number; /* the disks' files follow each other in order */
};

/* The definition as the worker reads it (schemas/worker). NULL: out of memory. */
char *vmms_launch_definition(const struct vmms_launch *launch, const struct vmms_extras *extras);
