/* SPDX-License-Identifier: Apache-2.0 */
/* A provider that counts what is asked of it and answers packets with their own bytes. */
#pragma once

#include "tests/lib/cmocka.h"
#include "tests/lib/fake_vmbus_guest.h"

#include <string.h>

struct provider {
    struct fake_vmbus_guest *guest;
    unsigned n_opened, n_restored, n_signalled, n_closed;
    int open_error;    /* what `opened` returns */
    bool speaks_first; /* sends in `opened` */
    bool is_deaf;      /* receives nothing when signalled */
    bool revokes;      /* in `closed` */
    int last_outcome;  /* of receiving */
    uint8_t user[VMBUS_USER_BYTES];
    struct vmbus_channel *channel; /* that was opened last */
    struct vmbus_packet *packet;   /* received last */
};

static inline int provider_opened(void *opaque, struct vmbus_channel *channel, const uint8_t *user)
{
    struct provider *provider = opaque;

    provider->n_opened++;
    provider->channel = channel;
    memcpy(provider->user, user, sizeof(provider->user));
    if (provider->speaks_first) {
        assert_int_equal(vmbus_channel_send(channel, VMBUS_PACKET_INBAND, 0, false, "hello", 5), 0);
        /* Not before the guest knows that the channel is open */
        assert_int_equal(provider->guest->signals[vmbus_channel_relid(channel)], 0);
    }
    return provider->open_error;
}

static inline int provider_restored(void *opaque, struct vmbus_channel *channel)
{
    struct provider *provider = opaque;

    assert_true(vmbus_channel_is_open(channel));
    provider->n_restored++;
    provider->channel = channel;
    return provider->open_error;
}

static inline void provider_signalled(void *opaque, struct vmbus_channel *channel)
{
    struct provider *provider = opaque;

    provider->n_signalled++;
    if (provider->is_deaf)
        return;
    for (;;) {
        struct vmbus_packet *packet = provider->packet;

        provider->last_outcome = vmbus_channel_receive(channel, packet);
        if (provider->last_outcome != 0)
            return;
        if (packet->wants_completion)
            assert_int_equal(vmbus_channel_send(channel, VMBUS_PACKET_COMPLETION,
                                                packet->transaction, false, packet->payload,
                                                packet->bytes),
                             0);
    }
}

static inline void provider_closed(void *opaque, struct vmbus_channel *channel)
{
    struct provider *provider = opaque;

    assert_false(vmbus_channel_is_open(channel));
    assert_int_equal(vmbus_channel_send(channel, VMBUS_PACKET_INBAND, 0, false, NULL, 0),
                     VMBUS_E_CLOSED);
    provider->n_closed++;
    if (provider->revokes && vmbus_channel_index(channel) == 0)
        vmbus_revoke_channel(channel);
}

static const struct vmbus_channel_ops provider_ops = { .opened = provider_opened,
                                                       .restored = provider_restored,
                                                       .signalled = provider_signalled,
                                                       .closed = provider_closed };

static inline struct vmbus_offer provider_offer(struct provider *provider, uint8_t number)
{
    return (struct vmbus_offer){ .type = { { 0xAA, number } },
                                 .instance = { { 0xBB, number } },
                                 .flags = VMBUS_OFFER_ENUMERATE_DEVICE,
                                 .user = { 'u', number },
                                 .ops = &provider_ops,
                                 .opaque = provider };
}

/* A guest, a provider that has offered one channel */
struct fixture {
    struct fake_vmbus_guest guest;
    struct provider provider;
    struct vmbus_channel *host;
    struct fake_vmbus_channel channel;
    struct fake_vmbus_packet packet;
};

static inline struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct vmbus_offer offer;

    assert_non_null(f);
    f->provider.packet = vmbus_packet_new();
    assert_non_null(f->provider.packet);
    f->provider.guest = &f->guest;
    offer = provider_offer(&f->provider, 1);
    fake_vmbus_start(&f->guest, 4);
    assert_int_equal(vmbus_offer_channel(f->guest.server, &offer, &f->host), 0);
    return f;
}

/* The same, connected and with offers */
static inline struct fixture *fixture_new_connected(void)
{
    struct fixture *f = fixture_new();

    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 1);
    return f;
}

/* The same, and the channel is open with rings of so many pages */
static inline struct fixture *fixture_new_open(uint32_t out_pages, uint32_t in_pages)
{
    struct fixture *f = fixture_new_connected();

    fake_vmbus_open(&f->guest, f->guest.offers[0].relid, out_pages, in_pages, &f->channel);
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    fake_vmbus_stop(&f->guest);
    f->provider.packet = vmbus_packet_free(f->provider.packet);
    free(f);
}

static inline unsigned signals(const struct fixture *f)
{
    return f->guest.signals[f->channel.relid];
}
