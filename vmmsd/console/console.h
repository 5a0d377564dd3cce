/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VMs say on their serial ports: read from each worker by one reader, kept in a ring, given to
 * any number of clients at their own pace. The ring outlives the worker, until the VM's next start.
 * One thread, the loop's. Bytes are never interpreted.
 */
#pragma once

#include "hvcore/base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct vmms_consoles;
struct vmms_spawner;

enum { VMMS_CONSOLE_PORTS = 2, VMMS_CONSOLE_RING_BYTES = 256 << 10 };

/* Keeps what the serial ports of running VMs say, and feeds readers. Returns 0 or -ENOMEM. */
int vmms_consoles_new(uv_loop_t *loop, struct vmms_consoles **ret);
/* Stop reading and forget all; handles close in the loop. */
void vmms_consoles_close(struct vmms_consoles *consoles);
/* After the loop has run out. */
void vmms_consoles_free(struct vmms_consoles *consoles);

/* The worker of that VM can be asked. A new incarnation begins an empty log. */
void vmms_consoles_attach(struct vmms_consoles *consoles, struct vmms_spawner *spawner,
                          const char *vm_id, const char *incarnation);
/* Its worker is gone: readers are told once they have read everything. */
void vmms_consoles_detach(struct vmms_consoles *consoles, const char *vm_id);
/* The VM is deleted. */
void vmms_consoles_forget(struct vmms_consoles *consoles, const char *vm_id);

/* Copy what is kept from *from on, at most `room` bytes; *from moves to the first byte copied when
 * earlier ones are lost. Returns the bytes copied. */
size_t vmms_console_read(const struct vmms_consoles *consoles, const char *vm_id, uint32_t port,
                         uint64_t *from, void *ret, size_t room);
uint64_t vmms_console_end(const struct vmms_consoles *consoles, const char *vm_id, uint32_t port);
bool vmms_console_is_live(const struct vmms_consoles *consoles, const char *vm_id);

/* Type into the port of a worker that is there; what it does not take soon is dropped, as on a real
 * line. */
void vmms_console_write(struct vmms_consoles *consoles, const char *vm_id, uint32_t port,
                        const void *bytes, size_t length);

/* Told when there is more to read or the log has ended. The node is the caller's. */
struct vmms_console_watch {
    /* public */
    struct hv_list node;
    void (*changed)(struct vmms_console_watch *watch);
};
/* Returns 0 or -ENOENT when nothing is known of that VM's ports. */
int vmms_console_watch(struct vmms_consoles *consoles, const char *vm_id, uint32_t port,
                       struct vmms_console_watch *watch);
