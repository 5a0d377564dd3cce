/* SPDX-License-Identifier: Apache-2.0 */
/* sd-bus inside libuv: a bus whose descriptor and timeouts the loop watches. One thread. */
#pragma once

#include <systemd/sd-bus.h>
#include <uv.h>

struct vmms_bus;

/*
 * Watch a started bus.
 *
 * bus: taken, also on failure; down: called from the loop, at most once, when the connection has
 * ended with that negative errno; the bus is to be closed then
 */
int vmms_bus_attach(uv_loop_t *loop, sd_bus *bus, void (*down)(void *opaque, int r), void *opaque,
                    struct vmms_bus **ret);

/* The connection itself, not taken. */
sd_bus *vmms_bus_get(const struct vmms_bus *bus);

/* After something was sent: what the loop must watch may have changed. */
void vmms_bus_update(struct vmms_bus *bus);

/* Close now; memory goes when the loop has closed the handles. NULL is fine. Returns NULL. */
struct vmms_bus *vmms_bus_close(struct vmms_bus *bus);
