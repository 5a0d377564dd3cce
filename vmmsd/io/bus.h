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

/*
 * Speak with the process at the other end of a socket: a bus without a bus, which may carry
 * descriptors.
 *
 * fd: taken, also on failure; heard: a filter for all that comes; else as vmms_bus_attach
 */
int vmms_bus_open_peer(uv_loop_t *loop, int fd, sd_bus_message_handler_t heard,
                       void (*down)(void *opaque, int r), void *opaque, struct vmms_bus **ret);

/* The connection itself, not taken. */
sd_bus *vmms_bus_get(const struct vmms_bus *bus);

/* After something was sent: what the loop must watch may have changed. */
void vmms_bus_update(struct vmms_bus *bus);

/* Close now; memory goes when the loop has closed the handles. NULL is fine. Returns NULL. */
struct vmms_bus *vmms_bus_close(struct vmms_bus *bus);
