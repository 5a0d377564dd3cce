/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMBus joined to a partition and the loop: the guest's messages reach the server, the server's
 * messages and flags the guest, and each channel's signals its provider.
 *
 * io thread; VPs only fill the inbox. Made while no VP runs.
 */
#pragma once

#include "hvcore/partition.h"
#include "vmwp/vmbus/server.h"
#include "vmwp/worker/loop.h"

struct state_image;
struct state_writer;
struct wp_bus;

/* Returns 0, or a negative errno with code vm.bus. partition and loop are borrowed. */
int wp_bus_new(struct wp_loop *loop, struct hv_partition *partition, const struct hv_log *log,
               struct wp_bus **ret, struct hv_error **reterr);
/* Closes all channels, whose providers are told, then lets go of the partition. */
struct wp_bus *wp_bus_free(struct wp_bus *bus);

/* Where providers offer their channels; owned by the bus. */
struct vmbus_server *wp_bus_server(struct wp_bus *bus);

/* The guest is reset: nothing that it said before counts. VPs stand still. */
void wp_bus_reset(struct wp_bus *bus);

/* Nothing is said to the guest between them, and nothing taken from it; VPs and providers stand. */
void wp_bus_hold(struct wp_bus *bus);
void wp_bus_let_go(struct wp_bus *bus);
/* While held, out; into a new bus, whose devices are offered and have been given their parts. 0 or
 * a negative errno. */
int wp_bus_save(struct wp_bus *bus, struct state_writer *writer);
int wp_bus_restore(struct wp_bus *bus, const struct state_image *image);
