/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vmbus/bus_priv.h"

#include <string.h>

/* What every offer's number of the SINT's event flags means: the channel's relid. */
static void signal_guest(struct vmbus_channel *channel)
{
    const struct vmbus_server_config *config = &channel->server->config;

    config->ops->signal_event(config->opaque, channel->target_vp, VMBUS_SINT, channel->relid);
}

void vmbus_channel_fail(struct vmbus_channel *channel, const char *why)
{
    const char *none = NULL;
    const struct vmbus_server_config *config = &channel->server->config;

    if (atomic_compare_exchange_strong(&channel->broken, &none, why))
        config->ops->wake(config->opaque);
}

/* May the rings be used? Under the ring's lock. Returns 0 or an outcome. */
static int usable(struct vmbus_channel *channel)
{
    if (!channel->is_open)
        return VMBUS_E_CLOSED;
    return channel->broken ? VMBUS_E_BROKEN : 0;
}

int vmbus_channel_receive(struct vmbus_channel *channel, struct vmbus_packet *packet)
{
    bool wants_signal = false;
    const char *why;
    int r;

    pthread_mutex_lock(&channel->receive_lock);
    r = usable(channel);
    if (r == 0) {
        r = vmbus_packet_read(&channel->in, packet, &wants_signal, &why);
        if (r == VMBUS_E_BROKEN)
            vmbus_channel_fail(channel, why);
    }
    if (wants_signal) {
        pthread_mutex_lock(&channel->send_lock);
        signal_guest(channel);
        pthread_mutex_unlock(&channel->send_lock);
    }
    pthread_mutex_unlock(&channel->receive_lock);
    return r;
}

uint32_t vmbus_channel_unread(struct vmbus_channel *channel)
{
    uint32_t bytes = 0;

    pthread_mutex_lock(&channel->receive_lock);
    if (usable(channel) == 0)
        bytes = vmbus_ring_in_unread(&channel->in);
    pthread_mutex_unlock(&channel->receive_lock);
    return bytes;
}

/* Under the send lock */
static void show(struct vmbus_channel *channel)
{
    if (vmbus_ring_out_publish(&channel->out))
        signal_guest(channel);
}

static int send(struct vmbus_channel *channel, const struct vmbus_ring_outgoing *out)
{
    bool wants_signal = false;
    int r;

    pthread_mutex_lock(&channel->send_lock);
    r = usable(channel);
    if (r == 0) {
        r = vmbus_ring_out_write(&channel->out, out, &wants_signal);
        if (r == VMBUS_E_BROKEN)
            vmbus_channel_fail(channel, "a ring's index lies outside of it, or it is too small");
        if (wants_signal)
            signal_guest(channel);
        if (channel->n_batches == 0 && !channel->is_held)
            show(channel);
    }
    pthread_mutex_unlock(&channel->send_lock);
    return r;
}

int vmbus_channel_send(struct vmbus_channel *channel, enum vmbus_packet_type type,
                       uint64_t transaction, bool wants_completion, const void *payload,
                       size_t bytes)
{
    struct vmbus_wire_packet descriptor = { .type = (uint16_t)type,
                                            .payload_at8 = sizeof(descriptor) / 8,
                                            .flags =
                                                wants_completion ? VMBUS_WIRE_WANTS_COMPLETION : 0,
                                            .transaction = transaction };
    struct vmbus_ring_outgoing out = { .descriptor = &descriptor,
                                       .payload = payload,
                                       .payload_bytes = (uint32_t)bytes };

    hv_assert(bytes <= VMBUS_MAX_PACKET_BYTES);
    return send(channel, &out);
}

int vmbus_channel_send_transfer_pages(struct vmbus_channel *channel, uint64_t transaction,
                                      uint16_t set_id, const uint32_t (*ranges)[2],
                                      unsigned n_ranges, const void *payload, size_t bytes)
{
    struct {
        struct vmbus_wire_transfer_pages head;
        uint32_t ranges[VMBUS_MAX_RANGES][2];
    } extension = { .head = { .set_id = set_id, .n_ranges = n_ranges } };
    uint32_t extension_bytes =
        (uint32_t)(sizeof(extension.head) + n_ranges * sizeof(extension.ranges[0]));
    struct vmbus_wire_packet descriptor = {
        .type = VMBUS_PACKET_TRANSFER_PAGES,
        .payload_at8 = (uint16_t)((sizeof(descriptor) + extension_bytes) / 8),
        .flags = VMBUS_WIRE_WANTS_COMPLETION,
        .transaction = transaction
    };
    struct vmbus_ring_outgoing out = { .descriptor = &descriptor,
                                       .extension = &extension,
                                       .extension_bytes = extension_bytes,
                                       .payload = payload,
                                       .payload_bytes = (uint32_t)bytes };

    hv_assert(bytes <= VMBUS_MAX_PACKET_BYTES && n_ranges <= VMBUS_MAX_RANGES);
    memcpy(extension.ranges, ranges, n_ranges * sizeof(extension.ranges[0]));
    return send(channel, &out);
}

void vmbus_channel_begin_batch(struct vmbus_channel *channel)
{
    pthread_mutex_lock(&channel->send_lock);
    channel->n_batches++;
    pthread_mutex_unlock(&channel->send_lock);
}

/* All is shown, also what another thread's batch has written: batches that overlap again and again
 * must not keep packets from the guest. */
void vmbus_channel_end_batch(struct vmbus_channel *channel)
{
    pthread_mutex_lock(&channel->send_lock);
    hv_assert(channel->n_batches > 0);
    channel->n_batches--;
    if (usable(channel) == 0 && !channel->is_held)
        show(channel);
    pthread_mutex_unlock(&channel->send_lock);
}

void vmbus_channel_release_held(struct vmbus_channel *channel)
{
    pthread_mutex_lock(&channel->send_lock);
    channel->is_held = false;
    if (usable(channel) == 0)
        show(channel);
    pthread_mutex_unlock(&channel->send_lock);
}

void vmbus_channel_retarget(struct vmbus_channel *channel, unsigned vp)
{
    pthread_mutex_lock(&channel->send_lock);
    channel->target_vp = vp;
    pthread_mutex_unlock(&channel->send_lock);
}

/* Let go of the rings, after all who were in them. */
void vmbus_channel_drop_rings(struct vmbus_channel *channel)
{
    pthread_mutex_lock(&channel->receive_lock);
    vmbus_ring_in_fini(&channel->in);
    pthread_mutex_unlock(&channel->receive_lock);
    pthread_mutex_lock(&channel->send_lock);
    vmbus_ring_out_fini(&channel->out);
    pthread_mutex_unlock(&channel->send_lock);
    channel->ring_gpadl = NULL;
}

int vmbus_channel_take_rings(struct vmbus_channel *channel, struct vmbus_gpadl *gpadl,
                             uint32_t split)
{
    struct hv_gpa_space *gpa = channel->server->config.gpa;
    int r;

    r = vmbus_ring_in_init(&channel->in, gpa, gpadl->ranges, gpadl->n_ranges, 0, split);
    if (r < 0)
        return r;
    r = vmbus_ring_out_init(&channel->out, gpa, gpadl->ranges, gpadl->n_ranges, split,
                            gpadl->n_pages - split);
    if (r < 0) {
        vmbus_ring_in_fini(&channel->in);
        return r;
    }
    channel->ring_gpadl = gpadl;
    return 0;
}

/* From OFFERED to OPEN, and back when the provider refuses */
static int open_provider(struct vmbus_channel *channel, const uint8_t *user)
{
    int r;

    channel->broken = NULL;
    channel->is_held = true;
    channel->state = VMBUS_CHANNEL_OPEN;
    channel->is_open = true;
    r = channel->offer.ops->opened(channel->offer.opaque, channel, user);
    if (r < 0 && channel->state == VMBUS_CHANNEL_OPEN) {
        channel->is_open = false;
        channel->state = VMBUS_CHANNEL_OFFERED;
        vmbus_channel_drop_rings(channel);
    }
    return r;
}

enum vmbus_wire_status vmbus_channel_open(struct vmbus_channel *channel,
                                          const struct vmbus_wire_open *open)
{
    struct vmbus_gpadl *gpadl = vmbus_gpadl_find(channel, open->gpadl);
    int r;

    if (channel->state != VMBUS_CHANNEL_OFFERED || !gpadl ||
        open->target_vp >= channel->server->config.n_vps || open->split_page >= gpadl->n_pages)
        return VMBUS_WIRE_INVALID_PARAMETER;
    r = vmbus_channel_take_rings(channel, gpadl, open->split_page);
    if (r == -ENOMEM)
        return VMBUS_WIRE_NO_RESOURCES;
    if (r < 0)
        return VMBUS_WIRE_INVALID_PARAMETER;
    vmbus_channel_retarget(channel, open->target_vp);
    return open_provider(channel, open->user) < 0 ? VMBUS_WIRE_UNSUCCESSFUL : VMBUS_WIRE_OK;
}

void vmbus_channel_shut(struct vmbus_channel *channel, enum vmbus_channel_state next)
{
    bool was_open = channel->state == VMBUS_CHANNEL_OPEN;

    channel->state = next;
    if (!was_open)
        return;
    channel->is_open = false;
    vmbus_channel_hold(channel);
    vmbus_revoke_subchannels(channel);
    channel->offer.ops->closed(channel->offer.opaque, channel);
    vmbus_channel_drop_rings(channel);
    vmbus_gpadl_drop(channel, false);
    vmbus_channel_put(channel);
}

int vmbus_channel_gpadl(struct vmbus_channel *channel, uint32_t gpadl,
                        const struct vmbus_range **ret_ranges, unsigned *ret_n)
{
    struct vmbus_gpadl *found =
        channel->state == VMBUS_CHANNEL_OPEN ? vmbus_gpadl_find(channel, gpadl) : NULL;

    if (!found)
        return -ENOENT;
    found->is_lent = true;
    *ret_ranges = found->ranges;
    *ret_n = found->n_ranges;
    return 0;
}

void vmbus_channel_signalled(struct vmbus_channel *channel)
{
    if (channel->state != VMBUS_CHANNEL_OPEN || channel->broken)
        return;
    vmbus_channel_hold(channel);
    channel->offer.ops->signalled(channel->offer.opaque, channel);
    vmbus_channel_put(channel);
}

unsigned vmbus_channel_index(const struct vmbus_channel *channel)
{
    return channel->index;
}

uint32_t vmbus_channel_relid(const struct vmbus_channel *channel)
{
    return channel->relid;
}

/* A number that says what it is: seen: Hyper-V gives relid, SINT << 12. */
uint32_t vmbus_channel_connection_id(const struct vmbus_channel *channel)
{
    return channel->relid | (uint32_t)VMBUS_SINT << 12;
}

bool vmbus_channel_is_open(const struct vmbus_channel *channel)
{
    return channel->is_open;
}

struct hv_gpa_space *vmbus_channel_gpa(struct vmbus_channel *channel)
{
    return channel->server->config.gpa;
}

int vmbus_channel_doorbell(const struct vmbus_channel *channel)
{
    return channel->doorbell;
}

void vmbus_channel_set_doorbell(struct vmbus_channel *channel, int eventfd)
{
    channel->doorbell = eventfd;
}

bool vmbus_channel_is_polled_by_vsp(const struct vmbus_channel *channel)
{
    return channel->offer.is_polled_by_vsp;
}

void vmbus_channel_set_host_data(struct vmbus_channel *channel, void *data)
{
    channel->host_data = data;
}

void *vmbus_channel_host_data(const struct vmbus_channel *channel)
{
    return channel->host_data;
}
