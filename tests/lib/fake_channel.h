/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bus without rings: what a provider offers, sends and receives, in queues that a test fills and
 * empties. Link it in the place of vmwp/vmbus.
 */
#pragma once

#include "vmwp/vmbus/channel.h"

enum { FAKE_CHANNEL_MAX_PACKETS = 256 };

struct fake_packet {
    uint16_t type;
    bool wants_completion;
    uint64_t transaction;
    uint32_t bytes;
    uint8_t payload[VMBUS_MAX_PACKET_BYTES];
};

/* Nothing is offered yet. */
struct vmbus_server *fake_bus_new(void);
/* Closes what is open. */
struct vmbus_server *fake_bus_free(struct vmbus_server *bus);
/* The n-th offer from now on fails with this errno; n from 1. */
void fake_bus_fail_offer(struct vmbus_server *bus, unsigned n, int error);

/* The offer of this type, or NULL. */
struct vmbus_channel *fake_bus_find(struct vmbus_server *bus, const struct hv_guid *type);
unsigned fake_bus_n_offers(const struct vmbus_server *bus);

/* The guest's side */
int fake_channel_open(struct vmbus_channel *channel);
void fake_channel_close(struct vmbus_channel *channel);
/* Put a packet into the host's ring, without a signal; a test's own bytes, padded to 8. */
void fake_channel_put(struct vmbus_channel *channel, uint16_t type, uint64_t transaction,
                      const void *payload, size_t bytes);
void fake_channel_signal(struct vmbus_channel *channel);
/* Take the packet that the host sent first. False: none. */
bool fake_channel_take(struct vmbus_channel *channel, struct fake_packet *ret);
/* How many packets fit into the guest's ring from now on; a host that found none is signalled when
 * there is room again. */
void fake_channel_set_room(struct vmbus_channel *channel, unsigned n_packets);
/* What the provider said when it gave the channel up, or NULL. */
const char *fake_channel_failure(const struct vmbus_channel *channel);
/* The offer as it was made. */
const struct vmbus_offer *fake_channel_offer(const struct vmbus_channel *channel);
