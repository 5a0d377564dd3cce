/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vmbus/bus_priv.h"

#include <string.h>

void vmbus_channel_hold(struct vmbus_channel *channel)
{
    channel->holds++;
}

static void channel_free(struct vmbus_channel *channel)
{
    pthread_mutex_destroy(&channel->receive_lock);
    pthread_mutex_destroy(&channel->send_lock);
    free(channel);
}

void vmbus_channel_put(struct vmbus_channel *channel)
{
    if (--channel->holds == 0 && channel->state == VMBUS_CHANNEL_GONE)
        channel_free(channel);
}

/* Take it out of the table; its relid may be given to another. The caller holds it. */
static void release(struct vmbus_channel *channel)
{
    vmbus_gpadl_drop(channel, true);
    channel->server->by_relid[channel->relid] = NULL;
    channel->state = VMBUS_CHANNEL_GONE;
}

uint32_t vmbus_free_relid(const struct vmbus_server *server)
{
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        if (!server->by_relid[relid])
            return relid;
    }
    return 0;
}

struct vmbus_channel *vmbus_channel_make(struct vmbus_server *server,
                                         const struct vmbus_offer *offer,
                                         struct vmbus_channel *primary, unsigned index)
{
    struct vmbus_channel *channel = calloc(1, sizeof(*channel));

    if (!channel)
        return NULL;
    channel->server = server;
    channel->offer = *offer;
    channel->primary = primary;
    channel->index = index;
    channel->doorbell = -1;
    pthread_mutex_init(&channel->receive_lock, NULL);
    pthread_mutex_init(&channel->send_lock, NULL);
    return channel;
}

int vmbus_channel_place(struct vmbus_channel *channel, uint32_t relid)
{
    struct vmbus_server *server = channel->server;
    int r;

    channel->relid = relid;
    r = server->config.ops->connect(server->config.opaque, channel);
    if (r == 0)
        server->by_relid[relid] = channel;
    return r;
}

/* Make a channel that the guest doesn't know yet. Returns 0, -ENOSPC, -ENOMEM or the host's errno.
 */
static int channel_new(struct vmbus_server *server, const struct vmbus_offer *offer,
                       struct vmbus_channel *primary, unsigned index, struct vmbus_channel **ret)
{
    uint32_t relid = vmbus_free_relid(server);
    struct vmbus_channel *channel;
    int r;

    if (relid == 0)
        return -ENOSPC;
    channel = vmbus_channel_make(server, offer, primary, index);
    if (!channel)
        return -ENOMEM;
    r = vmbus_channel_place(channel, relid);
    if (r < 0) {
        channel_free(channel);
        return r;
    }
    *ret = channel;
    return 0;
}

static bool is_same_device(const struct vmbus_channel *channel, const struct vmbus_offer *offer)
{
    return channel->index == 0 && hv_guid_equal(&channel->offer.type, &offer->type) &&
           hv_guid_equal(&channel->offer.instance, &offer->instance);
}

/* A primary channel of the same device, in or not in the state */
static bool has_primary(const struct vmbus_server *server, const struct vmbus_offer *offer,
                        bool is_rescinded)
{
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        const struct vmbus_channel *channel = server->by_relid[relid];

        if (channel && is_same_device(channel, offer) &&
            (channel->state == VMBUS_CHANNEL_RESCINDED) == is_rescinded)
            return true;
    }
    return false;
}

static void fill_user(const struct vmbus_offer *offer, uint8_t user[VMBUS_WIRE_USER_BYTES])
{
    uint32_t mode = VMBUS_WIRE_PIPE_MODE_MESSAGE;

    if (!offer->is_pipe) {
        memcpy(user, offer->user, VMBUS_WIRE_USER_BYTES);
        return;
    }
    memcpy(user, &mode, sizeof(mode));
    memcpy(user + sizeof(mode), offer->user, VMBUS_WIRE_USER_BYTES - sizeof(mode));
}

static void announce(struct vmbus_channel *channel)
{
    const struct vmbus_offer *offer = &channel->offer;
    struct vmbus_wire_offer message = {
        .header.type = VMBUS_WIRE_OFFER,
        .type = offer->type,
        .instance = offer->instance,
        .flags = (uint16_t)(offer->flags | (offer->is_pipe ? VMBUS_OFFER_NAMED_PIPE : 0)),
        .mmio_megabytes = offer->mmio_megabytes,
        .index = (uint16_t)channel->index,
        .relid = channel->relid,
        .monitor_id = 0xFF,
        .dedicated_interrupt = 1,
        .connection_id = vmbus_channel_connection_id(channel)
    };

    fill_user(offer, message.user);
    channel->state = VMBUS_CHANNEL_OFFERED;
    vmbus_post(channel->server, &message, sizeof(message));
}

/* A guest that meets two devices of the same name confuses them (seen: Linux 6.1). */
static bool may_announce(const struct vmbus_channel *channel)
{
    return channel->state == VMBUS_CHANNEL_HIDDEN && channel->server->has_requested_offers &&
           (channel->index > 0 || !has_primary(channel->server, &channel->offer, true));
}

void vmbus_announce_hidden(struct vmbus_server *server)
{
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        struct vmbus_channel *channel = server->by_relid[relid];

        if (channel && may_announce(channel))
            announce(channel);
    }
}

int vmbus_offer_channel(struct vmbus_server *server, const struct vmbus_offer *offer,
                        struct vmbus_channel **ret)
{
    struct vmbus_channel *channel;
    int r;

    if (has_primary(server, offer, false))
        return -EEXIST;
    r = channel_new(server, offer, NULL, 0, &channel);
    if (r < 0)
        return r;
    if (may_announce(channel))
        announce(channel);
    *ret = channel;
    return 0;
}

static bool is_subchannel(const struct vmbus_channel *channel, const struct vmbus_channel *primary)
{
    return channel && channel->primary == primary && channel->state != VMBUS_CHANNEL_RESCINDED;
}

static bool has_subchannels(const struct vmbus_channel *primary)
{
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        if (is_subchannel(primary->server->by_relid[relid], primary))
            return true;
    }
    return false;
}

void vmbus_revoke_subchannels(struct vmbus_channel *primary)
{
    if (primary->primary)
        return;
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        struct vmbus_channel *channel = primary->server->by_relid[relid];

        if (is_subchannel(channel, primary))
            vmbus_revoke_channel(channel);
    }
}

int vmbus_offer_subchannels(struct vmbus_channel *primary, unsigned count)
{
    if (primary->index != 0 || primary->state != VMBUS_CHANNEL_OPEN || count == 0 ||
        has_subchannels(primary))
        return -EINVAL;
    if (count >= VMBUS_WIRE_MAX_RELID)
        return -ENOSPC;
    for (unsigned i = 1; i <= count; i++) {
        struct vmbus_channel *channel;
        int r = channel_new(primary->server, &primary->offer, primary, i, &channel);

        if (r < 0) {
            vmbus_revoke_subchannels(primary); /* the guest has heard of none */
            return r;
        }
    }
    vmbus_announce_hidden(primary->server);
    return 0;
}

void vmbus_channel_discard(struct vmbus_channel *channel)
{
    struct vmbus_server *server = channel->server;

    vmbus_channel_hold(channel);
    if (channel->state == VMBUS_CHANNEL_RESCINDED) {
        release(channel);
        vmbus_channel_put(channel);
        return;
    }
    vmbus_channel_shut(channel, VMBUS_CHANNEL_HIDDEN);
    if (channel->state == VMBUS_CHANNEL_HIDDEN) {
        server->config.ops->disconnect(server->config.opaque, channel);
        release(channel);
    }
    vmbus_channel_put(channel);
}

void vmbus_revoke_channel(struct vmbus_channel *channel)
{
    struct vmbus_server *server = channel->server;
    struct vmbus_wire_relid rescind = { .header.type = VMBUS_WIRE_RESCIND,
                                        .relid = channel->relid };

    if (channel->state == VMBUS_CHANNEL_HIDDEN) {
        vmbus_channel_discard(channel);
        return;
    }
    if (channel->state == VMBUS_CHANNEL_RESCINDED)
        return; /* by its provider's `closed`, called from here */
    vmbus_channel_shut(channel, VMBUS_CHANNEL_RESCINDED);
    server->config.ops->disconnect(server->config.opaque, channel);
    vmbus_gpadl_drop(channel, true);
    vmbus_post(server, &rescind, sizeof(rescind));
}

void vmbus_relid_released(struct vmbus_server *server, uint32_t relid)
{
    struct vmbus_channel *channel = relid <= VMBUS_WIRE_MAX_RELID ? server->by_relid[relid] : NULL;

    if (channel && channel->state == VMBUS_CHANNEL_RESCINDED) {
        vmbus_channel_discard(channel);
        vmbus_announce_hidden(server);
    } else {
        /* seen: Linux 6.1 does this with an offer that it has no memory for */
        vmbus_complain(server, relid, "The guest lets go of channel %u, which it may keep.", relid);
    }
}

void vmbus_channel_forget(struct vmbus_channel *channel)
{
    if (channel->index > 0 || channel->state == VMBUS_CHANNEL_RESCINDED) {
        vmbus_channel_discard(channel);
        return;
    }
    vmbus_channel_hold(channel);
    vmbus_channel_shut(channel, VMBUS_CHANNEL_HIDDEN);
    if (channel->state == VMBUS_CHANNEL_HIDDEN)
        vmbus_gpadl_drop(channel, true);
    vmbus_channel_put(channel);
}
