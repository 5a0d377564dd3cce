/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus in a saved VM: the connection, the channels by the numbers that the guest knows, their
 * lists of pages and how far their rings have come.
 */
#include "vmwp/vmbus/bus_priv.h"

/* A channel as it is saved. */
struct saved {
    uint32_t relid;
    struct hv_guid type, instance;
    uint32_t index;
    uint32_t primary; /* relid, or 0 */
    uint8_t state;
    uint32_t target_vp;
    uint32_t ring_gpadl, split; /* while open */
};

static void visit_server(struct vmbus_server *server, struct hv_fields *fields)
{
    uint32_t message_vp = server->message_vp;

    hv_field_u32(fields, &server->version);
    hv_field_bool(fields, &server->is_reachable);
    hv_field_bool(fields, &server->has_requested_offers);
    hv_field_count(fields, &message_vp, server->config.n_vps - 1);
    server->message_vp = message_vp;
}

static void visit_channel(struct hv_fields *fields, struct saved *saved)
{
    hv_field_count(fields, &saved->relid, VMBUS_WIRE_MAX_RELID);
    hv_field_bytes(fields, saved->type.bytes, sizeof(saved->type.bytes));
    hv_field_bytes(fields, saved->instance.bytes, sizeof(saved->instance.bytes));
    hv_field_count(fields, &saved->index, VMBUS_WIRE_MAX_RELID);
    hv_field_count(fields, &saved->primary, VMBUS_WIRE_MAX_RELID);
    hv_field_u8(fields, &saved->state);
    hv_field_u32(fields, &saved->target_vp);
    hv_field_u32(fields, &saved->ring_gpadl);
    hv_field_u32(fields, &saved->split);
}

/* ---- out ---- */

static void save_channel(struct vmbus_channel *channel, struct hv_fields *fields)
{
    struct saved saved = { .relid = channel->relid,
                           .type = channel->offer.type,
                           .instance = channel->offer.instance,
                           .index = channel->index,
                           .primary = channel->primary ? channel->primary->relid : 0,
                           .state = (uint8_t)channel->state,
                           .target_vp = channel->target_vp };

    if (channel->state == VMBUS_CHANNEL_OPEN) {
        saved.ring_gpadl = channel->ring_gpadl->id;
        saved.split = 1 + channel->in.memory.data_bytes / HV_PAGE_BYTES;
    }
    visit_channel(fields, &saved);
    vmbus_gpadl_save(channel, fields);
    if (channel->state != VMBUS_CHANNEL_OPEN)
        return;
    vmbus_ring_in_visit(&channel->in, fields);
    vmbus_ring_out_visit(&channel->out, fields);
}

/* Primaries first, for sub-channels name them. A rescinded one is nobody's. */
static void save_channels(struct vmbus_server *server, struct hv_fields *fields, bool is_primary)
{
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        struct vmbus_channel *channel = server->by_relid[relid];

        if (channel && !channel->primary == is_primary)
            save_channel(channel, fields);
    }
}

void vmbus_server_save(struct vmbus_server *server, struct hv_fields *fields)
{
    uint32_t n = 0;

    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++)
        n += server->by_relid[relid] != NULL;
    visit_server(server, fields);
    vmbus_post_save(server, fields);
    hv_field_u32(fields, &n);
    save_channels(server, fields, true);
    save_channels(server, fields, false);
}

/* ---- and back ---- */

static int restore_queued(struct vmbus_server *server, struct hv_fields *fields)
{
    uint8_t message[VMBUS_WIRE_MAX_MESSAGE];
    uint32_t n = 0, bytes = 0;
    int r = 0;

    hv_field_count(fields, &n, VMBUS_MAX_QUEUED);
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        hv_field_count(fields, &bytes, sizeof(message));
        hv_field_bytes(fields, message, bytes);
        r = hv_fields_ok(fields) ? vmbus_post_keep(server, message, bytes) : -EINVAL;
    }
    return r;
}

/* The devices as they were offered before anything was restored, without numbers. */
struct fresh {
    struct vmbus_channel *channels[VMBUS_WIRE_MAX_RELID];
    unsigned n;
};

static void take_fresh(struct vmbus_server *server, struct fresh *fresh)
{
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        struct vmbus_channel *channel = server->by_relid[relid];

        if (!channel)
            continue;
        hv_assert(channel->state == VMBUS_CHANNEL_HIDDEN);
        server->config.ops->disconnect(server->config.opaque, channel);
        server->by_relid[relid] = NULL;
        fresh->channels[fresh->n++] = channel;
    }
}

static struct vmbus_channel *pick_fresh(struct fresh *fresh, const struct saved *saved)
{
    for (unsigned i = 0; i < fresh->n; i++) {
        struct vmbus_channel *channel = fresh->channels[i];

        if (!hv_guid_equal(&channel->offer.type, &saved->type) ||
            !hv_guid_equal(&channel->offer.instance, &saved->instance))
            continue;
        fresh->channels[i] = fresh->channels[--fresh->n];
        return channel;
    }
    return NULL;
}

/* Those that the saved VM did not have, and on a failure all that are left. */
static int place_rest(struct vmbus_server *server, struct fresh *fresh)
{
    int r = 0;

    while (fresh->n > 0) {
        uint32_t relid = vmbus_free_relid(server);
        struct vmbus_channel *channel = fresh->channels[--fresh->n];

        hv_assert(relid != 0); /* as many were freed */
        if (vmbus_channel_place(channel, relid) < 0) {
            server->by_relid[relid] = channel;
            r = -EINVAL;
        }
    }
    return r;
}

static bool is_possible(const struct vmbus_server *server, const struct saved *saved)
{
    bool is_sub = saved->primary != 0;
    const struct vmbus_channel *primary = is_sub ? server->by_relid[saved->primary] : NULL;

    if (saved->relid == 0 || server->by_relid[saved->relid] ||
        saved->state > VMBUS_CHANNEL_RESCINDED || saved->target_vp >= server->config.n_vps)
        return false;
    if (saved->state == VMBUS_CHANNEL_RESCINDED)
        return true;
    return is_sub == (saved->index != 0) &&
           (!is_sub || (primary && primary->state == VMBUS_CHANNEL_OPEN && primary->index == 0));
}

/* What the guest is to let go of has no provider and is not connected. */
static int place_rescinded(struct vmbus_server *server, const struct saved *saved)
{
    const struct vmbus_offer offer = { .type = saved->type, .instance = saved->instance };
    struct vmbus_channel *channel = vmbus_channel_make(server, &offer, NULL, saved->index);

    if (!channel)
        return -ENOMEM;
    channel->relid = saved->relid;
    channel->state = VMBUS_CHANNEL_RESCINDED;
    server->by_relid[saved->relid] = channel;
    return 0;
}

static struct vmbus_channel *find_device(struct vmbus_server *server, struct fresh *fresh,
                                         const struct saved *saved)
{
    struct vmbus_channel *primary;

    if (saved->primary == 0)
        return pick_fresh(fresh, saved);
    primary = server->by_relid[saved->primary];
    return vmbus_channel_make(server, &primary->offer, primary, saved->index);
}

static int restore_gpadls(struct vmbus_channel *channel, struct hv_fields *fields)
{
    uint32_t n = 0;
    int r = 0;

    hv_field_count(fields, &n, VMBUS_MAX_GPADLS);
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = vmbus_gpadl_restore(channel, fields);
    return r;
}

static int reopen(struct vmbus_channel *channel, const struct saved *saved,
                  struct hv_fields *fields)
{
    struct vmbus_gpadl *gpadl = vmbus_gpadl_find(channel, saved->ring_gpadl);
    int r;

    if (!gpadl || saved->split >= gpadl->n_pages ||
        vmbus_channel_take_rings(channel, gpadl, saved->split) < 0)
        return -EINVAL;
    vmbus_ring_in_visit(&channel->in, fields);
    vmbus_ring_out_visit(&channel->out, fields);
    if (!hv_fields_ok(fields)) {
        vmbus_channel_drop_rings(channel);
        return -EINVAL;
    }
    channel->target_vp = saved->target_vp;
    channel->state = VMBUS_CHANNEL_OPEN;
    channel->is_open = true;
    r = channel->offer.ops->restored ? channel->offer.ops->restored(channel->offer.opaque, channel)
                                     : -EINVAL;
    if (r < 0)
        vmbus_channel_fail(channel, "its provider doesn't know it as it was");
    return 0;
}

static int restore_channel(struct vmbus_server *server, struct fresh *fresh,
                           struct hv_fields *fields)
{
    struct saved saved = { 0 };
    struct vmbus_channel *channel;
    uint32_t none = 0;
    int r;

    visit_channel(fields, &saved);
    if (!hv_fields_ok(fields) || !is_possible(server, &saved))
        return -EINVAL;
    if (saved.state == VMBUS_CHANNEL_RESCINDED) {
        hv_field_count(fields, &none, 0);
        return place_rescinded(server, &saved);
    }
    channel = find_device(server, fresh, &saved);
    if (!channel)
        return -EINVAL;
    r = vmbus_channel_place(channel, saved.relid);
    server->by_relid[saved.relid] = channel; /* to be freed in any case */
    if (r == 0)
        r = restore_gpadls(channel, fields);
    if (r == 0 && saved.state == VMBUS_CHANNEL_OPEN)
        return reopen(channel, &saved, fields);
    if (r == 0)
        channel->state = (enum vmbus_channel_state)saved.state;
    return r;
}

int vmbus_server_restore(struct vmbus_server *server, struct hv_fields *fields)
{
    struct fresh fresh = { .n = 0 };
    uint32_t n = 0;
    int r;

    visit_server(server, fields);
    r = hv_fields_ok(fields) ? restore_queued(server, fields) : -EINVAL;
    take_fresh(server, &fresh);
    hv_field_count(fields, &n, VMBUS_WIRE_MAX_RELID);
    for (uint32_t i = 0; r == 0 && i < n; i++)
        r = restore_channel(server, &fresh, fields);
    if (place_rest(server, &fresh) < 0)
        r = -EINVAL;
    return r == 0 && !hv_fields_is_done(fields) ? -EINVAL : r;
}

void vmbus_server_announce(struct vmbus_server *server)
{
    vmbus_announce_hidden(server);
}
