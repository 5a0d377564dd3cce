/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_channel.h"

#include "hvcore/base/list.h"

#include <string.h>

struct queued {
    struct hv_list node;
    struct fake_packet packet;
};

struct vmbus_channel {
    struct hv_list node;
    struct vmbus_offer offer;
    struct hv_list to_guest, to_host;
    unsigned n_to_guest, room;
    bool is_open, found_full;
    const char *failure;
};

struct vmbus_server {
    struct hv_list channels;
    unsigned n_offers, failing_offer;
    int offer_error;
};

struct vmbus_packet *vmbus_packet_new(void)
{
    return calloc(1, sizeof(struct vmbus_packet));
}

struct vmbus_packet *vmbus_packet_free(struct vmbus_packet *packet)
{
    free(packet);
    return NULL;
}

struct vmbus_server *fake_bus_new(void)
{
    struct vmbus_server *bus = calloc(1, sizeof(*bus));

    hv_assert(bus);
    hv_list_init(&bus->channels);
    return bus;
}

static void empty(struct hv_list *queue)
{
    HV_LIST_FOREACH (node, queue) {
        hv_list_remove(node);
        free(HV_LIST_ENTRY(node, struct queued, node));
    }
}

void fake_channel_close(struct vmbus_channel *channel)
{
    if (!channel->is_open)
        return;
    channel->is_open = false;
    channel->offer.ops->closed(channel->offer.opaque, channel);
    empty(&channel->to_guest);
    empty(&channel->to_host);
    channel->n_to_guest = 0;
    channel->found_full = false;
}

void vmbus_revoke_channel(struct vmbus_channel *channel)
{
    fake_channel_close(channel);
    hv_list_remove(&channel->node);
    free(channel);
}

struct vmbus_server *fake_bus_free(struct vmbus_server *bus)
{
    HV_LIST_FOREACH (node, &bus->channels)
        vmbus_revoke_channel(HV_LIST_ENTRY(node, struct vmbus_channel, node));
    free(bus);
    return NULL;
}

void fake_bus_fail_offer(struct vmbus_server *bus, unsigned n, int error)
{
    bus->failing_offer = bus->n_offers + n;
    bus->offer_error = error;
}

int vmbus_offer_channel(struct vmbus_server *server, const struct vmbus_offer *offer,
                        struct vmbus_channel **ret)
{
    struct vmbus_channel *channel;

    if (++server->n_offers == server->failing_offer)
        return server->offer_error;
    if (fake_bus_find(server, &offer->type))
        return -EEXIST;
    channel = calloc(1, sizeof(*channel));
    hv_assert(channel);
    channel->offer = *offer;
    channel->room = FAKE_CHANNEL_MAX_PACKETS;
    hv_list_init(&channel->to_guest);
    hv_list_init(&channel->to_host);
    hv_list_append(&server->channels, &channel->node);
    *ret = channel;
    return 0;
}

struct vmbus_channel *fake_bus_find(struct vmbus_server *bus, const struct hv_guid *type)
{
    HV_LIST_FOREACH (node, &bus->channels) {
        struct vmbus_channel *channel = HV_LIST_ENTRY(node, struct vmbus_channel, node);

        if (hv_guid_equal(&channel->offer.type, type))
            return channel;
    }
    return NULL;
}

unsigned fake_bus_n_offers(const struct vmbus_server *bus)
{
    unsigned n = 0;

    HV_LIST_FOREACH (node, &((struct vmbus_server *)bus)->channels)
        n++;
    return n;
}

int fake_channel_open(struct vmbus_channel *channel)
{
    static const uint8_t user[VMBUS_USER_BYTES];
    int r;

    channel->is_open = true;
    r = channel->offer.ops->opened(channel->offer.opaque, channel, user);
    channel->is_open = r == 0;
    return r;
}

static void append(struct hv_list *queue, uint16_t type, uint64_t transaction, bool wants,
                   const void *payload, size_t bytes)
{
    struct queued *queued = calloc(1, sizeof(*queued));

    hv_assert(queued && bytes <= VMBUS_MAX_PACKET_BYTES);
    queued->packet.type = type;
    queued->packet.transaction = transaction;
    queued->packet.wants_completion = wants;
    queued->packet.bytes = (uint32_t)(bytes + 7) & ~7u;
    if (bytes > 0)
        memcpy(queued->packet.payload, payload, bytes);
    hv_list_append(queue, &queued->node);
}

static bool take(struct hv_list *queue, struct fake_packet *ret)
{
    struct queued *queued;

    if (hv_list_is_empty(queue))
        return false;
    queued = HV_LIST_ENTRY(queue->next, struct queued, node);
    hv_list_remove(&queued->node);
    *ret = queued->packet;
    free(queued);
    return true;
}

void fake_channel_put(struct vmbus_channel *channel, uint16_t type, uint64_t transaction,
                      const void *payload, size_t bytes)
{
    append(&channel->to_host, type, transaction, true, payload, bytes);
}

void fake_channel_signal(struct vmbus_channel *channel)
{
    if (channel->is_open)
        channel->offer.ops->signalled(channel->offer.opaque, channel);
}

static void tell_room(struct vmbus_channel *channel)
{
    if (channel->found_full && channel->n_to_guest < channel->room) {
        channel->found_full = false;
        fake_channel_signal(channel);
    }
}

bool fake_channel_take(struct vmbus_channel *channel, struct fake_packet *ret)
{
    if (!take(&channel->to_guest, ret))
        return false;
    channel->n_to_guest--;
    tell_room(channel);
    return true;
}

void fake_channel_set_room(struct vmbus_channel *channel, unsigned n_packets)
{
    channel->room = n_packets;
    tell_room(channel);
}

const char *fake_channel_failure(const struct vmbus_channel *channel)
{
    return channel->failure;
}

const struct vmbus_offer *fake_channel_offer(const struct vmbus_channel *channel)
{
    return &channel->offer;
}

bool vmbus_channel_is_open(const struct vmbus_channel *channel)
{
    return channel->is_open;
}

int vmbus_channel_receive(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
    struct fake_packet fake;

    if (!channel->is_open)
        return VMBUS_E_CLOSED;
    if (!take(&channel->to_host, &fake))
        return VMBUS_E_EMPTY;
    packet->type = fake.type;
    packet->wants_completion = fake.wants_completion;
    packet->transaction = fake.transaction;
    packet->bytes = fake.bytes;
    memcpy(packet->payload, fake.payload, sizeof(fake.payload));
    return 0;
}

int vmbus_channel_send(struct vmbus_channel *channel, enum vmbus_packet_type type,
                       uint64_t transaction, bool wants_completion, const void *payload,
                       size_t bytes)
{
    if (!channel->is_open)
        return VMBUS_E_CLOSED;
    if (channel->n_to_guest >= channel->room) {
        channel->found_full = true;
        return VMBUS_E_FULL;
    }
    append(&channel->to_guest, (uint16_t)type, transaction, wants_completion, payload, bytes);
    channel->n_to_guest++;
    return 0;
}

void vmbus_channel_begin_batch(struct vmbus_channel *channel)
{
}

void vmbus_channel_end_batch(struct vmbus_channel *channel)
{
}

void vmbus_channel_fail(struct vmbus_channel *channel, const char *why)
{
    channel->failure = why;
}
