/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers as units of systemd: each in a scope of its own in hvstack.slice, with its limits, found
 * by systemctl and journalctl. One thread; nothing waits for systemd but the start of that VM.
 *
 * A scope and not a service, because a worker must be our child: it inherits descriptors, and its
 * exit status is ours to read. It is not in our control group, so what happens to us leaves it
 * alone.
 */
#pragma once

#include "hvcore/base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct vmms_placement;
struct vmms_units;

enum { VMMS_UNIT_NAME_BYTES = 64 };

/* "hvstack-vm-<id>.scope" */
void vmms_unit_name(const char *vm_id, char ret[static VMMS_UNIT_NAME_BYTES]);

/* Are we a service of the system's manager? Only then are workers its units. */
bool vmms_units_is_managed(void);

/* Let run what a predecessor held and was killed before it could let go. */
void vmms_units_let_go(const struct hv_log *log);

/* Connects when there is something to ask. Returns 0 or a negative errno. */
int vmms_units_new(uv_loop_t *loop, const struct hv_log *log, struct vmms_units **ret);
/* Nobody is called back any more; handles close in the loop. NULL is fine. */
void vmms_units_close(struct vmms_units *units);
/* After the loop has run out. */
void vmms_units_free(struct vmms_units *units);

struct vmms_unit {
    /* public: all borrowed */
    const char *vm_id;
    const char *vm_name;
    int pid;
    uint64_t memory_bytes; /* of the guest */
    unsigned cpus;
};

/* why: NULL: it is in its unit; else a sentence */
typedef void vmms_placed_fn(void *opaque, const char *why);

/*
 * Put a process into its unit.
 *
 * return: 1: `done` will be called, once, from the loop; 0: it is there already, or systemd cannot
 * be reached at all (which is logged): it stays where it is. ret: to forget it by.
 */
int vmms_units_place(struct vmms_units *units, const struct vmms_unit *unit, vmms_placed_fn *done,
                     void *opaque, struct vmms_placement **ret);
/* Do not call back. NULL is fine. Returns NULL. */
struct vmms_placement *vmms_placement_forget(struct vmms_placement *placement);
