/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vmbus/bus_priv.h"

#include <string.h>

static struct vmbus_channel *channel_of(const struct vmbus_server *server, uint32_t relid)
{
    struct vmbus_channel *channel = relid <= VMBUS_WIRE_MAX_RELID ? server->by_relid[relid] : NULL;

    return channel && channel->state != VMBUS_CHANNEL_HIDDEN ? channel : NULL;
}

/* The guest is not there any more: offers are as if none had ever heard of them. */
static void forget(struct vmbus_server *server)
{
    server->version = 0;
    server->is_reachable = false;
    server->has_requested_offers = false;
    server->is_lost = false;
    vmbus_post_forget(server);
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        if (server->by_relid[relid])
            vmbus_channel_forget(server->by_relid[relid]);
    }
}

static bool is_known_version(uint32_t version)
{
    static const uint32_t known[] = { VMBUS_WIRE_VERSION_2_4, VMBUS_WIRE_VERSION_3_0,
                                      VMBUS_WIRE_VERSION_4_0, VMBUS_WIRE_VERSION_4_1,
                                      VMBUS_WIRE_VERSION_5_0, VMBUS_WIRE_VERSION_5_1,
                                      VMBUS_WIRE_VERSION_5_2, VMBUS_WIRE_VERSION_5_3 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(known); i++) {
        if (known[i] == version)
            return true;
    }
    return false;
}

/* A guest that contacts us has forgotten whatever was before, or is another one (kexec). */
static void on_contact(struct vmbus_server *server, const void *message, size_t bytes)
{
    const struct vmbus_wire_contact *contact = message;
    struct vmbus_wire_version_response response = { .header.type = VMBUS_WIRE_VERSION_RESPONSE };
    bool is_v5 = contact->version >= VMBUS_WIRE_VERSION_5_0;

    forget(server);
    if (contact->target_vp >= server->config.n_vps) {
        vmbus_complain(server, 0, "The guest wants VMBus messages on VP %u, which isn't there.",
                       contact->target_vp);
        return;
    }
    server->message_vp = contact->target_vp;
    server->is_reachable = true;
    if (is_known_version(contact->version) &&
        (!is_v5 || (uint8_t)contact->interrupt_page == VMBUS_SINT)) {
        server->version = contact->version;
        response.is_supported = 1;
        response.connection_id = is_v5 ? VMBUS_CONNECTION_MESSAGES_V5 : VMBUS_CONNECTION_MESSAGES;
    }
    vmbus_post(server, &response, sizeof(response));
}

static void on_unload(struct vmbus_server *server, const void *message, size_t bytes)
{
    struct vmbus_wire_header response = { .type = VMBUS_WIRE_UNLOAD_RESPONSE };

    forget(server);
    server->is_reachable = true;
    vmbus_post(server, &response, sizeof(response));
}

static void on_request_offers(struct vmbus_server *server, const void *message, size_t bytes)
{
    struct vmbus_wire_header delivered = { .type = VMBUS_WIRE_ALL_OFFERS_DELIVERED };

    if (server->has_requested_offers) {
        vmbus_complain(server, 0, "The guest asks for VMBus offers that it has.");
        return;
    }
    server->has_requested_offers = true;
    vmbus_announce_hidden(server);
    vmbus_post(server, &delivered, sizeof(delivered));
}

static void on_open(struct vmbus_server *server, const void *message, size_t bytes)
{
    const struct vmbus_wire_open *open = message;
    struct vmbus_channel *channel = channel_of(server, open->relid);
    enum vmbus_wire_status status = VMBUS_WIRE_INVALID_PARAMETER;
    struct vmbus_wire_open_result result = { .header.type = VMBUS_WIRE_OPEN_RESULT,
                                             .relid = open->relid,
                                             .open_id = open->open_id };

    if (channel && channel->state == VMBUS_CHANNEL_RESCINDED)
        return; /* the guest is about to hear of it */
    if (channel) {
        vmbus_channel_hold(channel);
        status = vmbus_channel_open(channel, open);
    }
    if (status != VMBUS_WIRE_OK)
        vmbus_complain(server, open->relid, "Channel %u can't be opened: status 0x%x.", open->relid,
                       (unsigned)status);
    result.status = (uint32_t)status;
    vmbus_post(server, &result, sizeof(result));
    if (!channel)
        return;
    vmbus_channel_release_held(channel);
    vmbus_channel_put(channel);
}

static void on_close(struct vmbus_server *server, const void *message, size_t bytes)
{
    const struct vmbus_wire_relid *close = message;
    struct vmbus_channel *channel = channel_of(server, close->relid);

    if (channel && (channel->state == VMBUS_CHANNEL_OPEN || channel->state == VMBUS_CHANNEL_BROKEN))
        vmbus_channel_shut(channel, VMBUS_CHANNEL_OFFERED);
    else if (!channel || channel->state != VMBUS_CHANNEL_RESCINDED)
        vmbus_complain(server, close->relid, "Channel %u is closed, but wasn't open.",
                       close->relid);
}

static void on_gpadl_header(struct vmbus_server *server, const void *message, size_t bytes)
{
    const struct vmbus_wire_gpadl_header *head = message;
    unsigned n = (unsigned)((bytes - sizeof(*head)) / sizeof(uint64_t));

    vmbus_gpadl_begin(server, head, (const uint8_t *)(head + 1), n);
}

static void on_gpadl_body(struct vmbus_server *server, const void *message, size_t bytes)
{
    const struct vmbus_wire_gpadl_body *body = message;
    unsigned n = (unsigned)((bytes - sizeof(*body)) / sizeof(uint64_t));

    vmbus_gpadl_continue(server, body, (const uint8_t *)(body + 1), n);
}

static void on_gpadl_teardown(struct vmbus_server *server, const void *message, size_t bytes)
{
    vmbus_gpadl_end(server, message);
}

static void on_relid_released(struct vmbus_server *server, const void *message, size_t bytes)
{
    const struct vmbus_wire_relid *released = message;

    vmbus_relid_released(server, released->relid);
}

/* Sockets of Hyper-V are not offered: the guest's connect fails, as where nobody listens. */
static void on_tl_connect(struct vmbus_server *server, const void *message, size_t bytes)
{
    const struct vmbus_wire_tl_connect *connect = message;
    struct vmbus_wire_tl_connect_result result = { .header.type = VMBUS_WIRE_TL_CONNECT_RESULT,
                                                   .guest_endpoint = connect->guest_endpoint,
                                                   .host_service = connect->host_service,
                                                   .status =
                                                       (uint32_t)VMBUS_WIRE_CONNECTION_REFUSED };

    vmbus_post(server, &result, sizeof(result));
}

static void on_modify(struct vmbus_server *server, const void *message, size_t bytes)
{
    const struct vmbus_wire_modify *modify = message;
    struct vmbus_channel *channel = channel_of(server, modify->relid);
    struct vmbus_wire_modify_response response = { .header.type = VMBUS_WIRE_MODIFY_RESPONSE,
                                                   .relid = modify->relid };

    if (!channel || channel->state != VMBUS_CHANNEL_OPEN ||
        modify->target_vp >= server->config.n_vps) {
        vmbus_complain(server, modify->relid, "Channel %u can't interrupt VP %u.", modify->relid,
                       modify->target_vp);
        response.status = (uint32_t)VMBUS_WIRE_INVALID_PARAMETER;
    } else {
        vmbus_channel_retarget(channel, modify->target_vp);
    }
    if (server->version >= VMBUS_WIRE_VERSION_5_3)
        vmbus_post(server, &response, sizeof(response));
}

/* What a guest may send: from which version on, and how long it is at least */
static const struct {
    uint32_t since;
    size_t bytes;
    void (*handle)(struct vmbus_server *server, const void *message, size_t bytes);
} messages[] = {
    [VMBUS_WIRE_REQUEST_OFFERS] = { VMBUS_WIRE_VERSION_2_4, sizeof(struct vmbus_wire_header),
                                    on_request_offers },
    [VMBUS_WIRE_OPEN] = { VMBUS_WIRE_VERSION_2_4, sizeof(struct vmbus_wire_open), on_open },
    [VMBUS_WIRE_CLOSE] = { VMBUS_WIRE_VERSION_2_4, sizeof(struct vmbus_wire_relid), on_close },
    [VMBUS_WIRE_GPADL_HEADER] = { VMBUS_WIRE_VERSION_2_4, sizeof(struct vmbus_wire_gpadl_header),
                                  on_gpadl_header },
    [VMBUS_WIRE_GPADL_BODY] = { VMBUS_WIRE_VERSION_2_4, sizeof(struct vmbus_wire_gpadl_body),
                                on_gpadl_body },
    [VMBUS_WIRE_GPADL_TEARDOWN] = { VMBUS_WIRE_VERSION_2_4,
                                    sizeof(struct vmbus_wire_gpadl_teardown), on_gpadl_teardown },
    [VMBUS_WIRE_RELID_RELEASED] = { VMBUS_WIRE_VERSION_2_4, sizeof(struct vmbus_wire_relid),
                                    on_relid_released },
    [VMBUS_WIRE_INITIATE_CONTACT] = { 0, sizeof(struct vmbus_wire_contact), on_contact },
    [VMBUS_WIRE_UNLOAD] = { VMBUS_WIRE_VERSION_3_0, sizeof(struct vmbus_wire_header), on_unload },
    [VMBUS_WIRE_TL_CONNECT_REQUEST] = { VMBUS_WIRE_VERSION_4_0,
                                        sizeof(struct vmbus_wire_tl_connect), on_tl_connect },
    [VMBUS_WIRE_MODIFY] = { VMBUS_WIRE_VERSION_4_1, sizeof(struct vmbus_wire_modify), on_modify },
};

/* NULL, or what is wrong with the message as such */
static const char *judge(const struct vmbus_server *server, uint32_t type, size_t bytes)
{
    if (type >= HV_ARRAY_SIZE(messages) || !messages[type].handle)
        return "of a type that guests don't send";
    if (bytes < messages[type].bytes)
        return "too short";
    if (server->version < messages[type].since || (server->is_lost && messages[type].since != 0))
        return "not expected in this version, or without a connection";
    return NULL;
}

void vmbus_server_message(struct vmbus_server *server, const void *message, size_t bytes)
{
    union {
        struct vmbus_wire_header header;
        uint64_t alignment;
        uint8_t bytes[VMBUS_WIRE_MAX_MESSAGE];
    } copy;
    const char *why;

    if (bytes < sizeof(copy.header) || bytes > sizeof(copy)) {
        vmbus_complain(server, 0, "A VMBus message of %zu bytes is dropped.", bytes);
        return;
    }
    memcpy(&copy, message, bytes);
    why = judge(server, copy.header.type, bytes);
    if (why) {
        vmbus_complain(server, 0, "A VMBus message of type %u is dropped: it is %s.",
                       copy.header.type, why);
        return;
    }
    messages[copy.header.type].handle(server, &copy, bytes);
}

int vmbus_server_new(const struct vmbus_server_config *config, struct vmbus_server **ret)
{
    struct vmbus_server *server = calloc(1, sizeof(*server));

    if (!server)
        return -ENOMEM;
    server->config = *config;
    hv_list_init(&server->gpadls);
    hv_list_init(&server->queued);
    *ret = server;
    return 0;
}

struct vmbus_server *vmbus_server_free(struct vmbus_server *server)
{
    if (!server)
        return NULL;
    forget(server);
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        if (server->by_relid[relid])
            vmbus_channel_discard(server->by_relid[relid]);
    }
    free(server);
    return NULL;
}

void vmbus_server_reset(struct vmbus_server *server)
{
    forget(server);
}

void vmbus_server_retry(struct vmbus_server *server)
{
    vmbus_post_retry(server);
}

bool vmbus_server_has_unsent(const struct vmbus_server *server)
{
    return server->n_queued > 0;
}

void vmbus_server_sweep(struct vmbus_server *server)
{
    if (server->is_lost)
        forget(server);
    for (uint32_t relid = 1; relid <= VMBUS_WIRE_MAX_RELID; relid++) {
        struct vmbus_channel *channel = server->by_relid[relid];

        if (!channel || channel->state != VMBUS_CHANNEL_OPEN || !channel->broken)
            continue;
        vmbus_complain(server, relid, "Channel %u is closed: %s.", relid, channel->broken);
        vmbus_channel_shut(channel, VMBUS_CHANNEL_BROKEN);
    }
}
