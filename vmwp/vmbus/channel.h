/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMBus channel as a service provider sees it: offered, opened by the guest, packets both ways,
 * closed.
 *
 * thread: offers, and the ops `opened` and `closed`, on the io thread. One thread at a time
 * receives (which one is the provider's choice, see is_polled_by_vsp); any thread may send.
 *
 * spec: VMBus as Linux 6.1 speaks it (include/linux/hyperv.h, drivers/hv)
 */
#pragma once

#include "hvcore/base/guid.h"
#include "hvcore/gpa.h"

struct vmbus_channel;
struct vmbus_server;

enum {
    VMBUS_USER_BYTES = 120,
    VMBUS_MAX_RANGES = 64,         /* of one GPA-direct packet */
    VMBUS_MAX_PACKET_BYTES = 16384 /* a longer one costs the guest its channel */
};

enum vmbus_offer_flag {
    VMBUS_OFFER_ENUMERATE_DEVICE = 0x0001,
    VMBUS_OFFER_NAMED_PIPE = 0x0010,
    VMBUS_OFFER_TLNPI = 0x2000
};

/* Descriptor types of packets */
enum vmbus_packet_type {
    VMBUS_PACKET_INBAND = 6,
    VMBUS_PACKET_TRANSFER_PAGES = 7,
    VMBUS_PACKET_GPA_DIRECT = 9,
    VMBUS_PACKET_COMPLETION = 11
};

/* A run of guest RAM, checked. */
struct vmbus_range {
    hv_gpa_t gpa;
    uint32_t bytes;
};

/*
 * A packet, copied out of the ring and checked. Made by the receiver with room for the payload.
 */
struct vmbus_packet {
    /* read only */
    uint16_t type;
    bool wants_completion;
    uint64_t transaction;
    uint32_t bytes; /* of the payload, a multiple of 8 */
    uint8_t payload[VMBUS_MAX_PACKET_BYTES];
    /* GPA-direct and only then: the data's pieces in order; neighbours may be merged. All RAM. */
    struct vmbus_range *ranges; /* owned by the packet, reused by the next receive */
    unsigned n_ranges;
    uint64_t data_bytes; /* the sum */
    /* private */
    unsigned max_ranges;
};

/* Room for one packet; NULL: out of memory. free takes NULL and returns NULL. */
struct vmbus_packet *vmbus_packet_new(void);
struct vmbus_packet *vmbus_packet_free(struct vmbus_packet *packet);

struct vmbus_channel_ops {
    /* public; opaque is the offer's */
    /* The guest opened it; user holds VMBUS_USER_BYTES of its own. Packets may be sent from now on.
     * Return 0, or a negative errno to refuse. */
    int (*opened)(void *opaque, struct vmbus_channel *channel, const uint8_t *user);
    /* It is open, as it was when the VM was saved; the provider has been given its own part of that
     * before. Nothing may be sent or received yet. Return 0, or a negative errno (or be NULL): then
     * it is closed soon, as one that broke. */
    int (*restored)(void *opaque, struct vmbus_channel *channel);
    /* Packets may be there: receive until VMBUS_E_EMPTY. Unless is_polled_by_vsp on the io thread.
     */
    void (*signalled)(void *opaque, struct vmbus_channel *channel);
    /* The guest closed it, went away, or broke the protocol. When this returns no thread of the
     * provider may use the channel's rings any more; it can be opened again. */
    void (*closed)(void *opaque, struct vmbus_channel *channel);
};

struct vmbus_offer {
    /* public */
    struct hv_guid type;
    struct hv_guid instance;
    uint16_t flags; /* enum vmbus_offer_flag */
    uint16_t mmio_megabytes;
    bool is_pipe;          /* message pipe: user data begins with pipe mode 4 */
    bool is_polled_by_vsp; /* the provider polls vmbus_channel_doorbell on a thread of its own */
    uint8_t user[VMBUS_USER_BYTES]; /* as it stands in the offer, after the pipe mode if is_pipe */
    unsigned vp_spread;             /* 0; else informational: the guest spreads these */
    const struct vmbus_channel_ops *ops;
    void *opaque;
};

/* Offer a device's primary channel to the guest, now or when it connects. io thread. Returns 0,
 * -EEXIST (type and instance are offered), -ENOSPC or -ENOMEM. */
int vmbus_offer_channel(struct vmbus_server *server, const struct vmbus_offer *offer,
                        struct vmbus_channel **ret);
/* Offer sub-channels 1 to count of an open primary channel, with the same ops and opaque. Revoked
 * when the primary closes. io thread. Returns 0, -EINVAL, -ENOSPC or -ENOMEM (then none). */
int vmbus_offer_subchannels(struct vmbus_channel *primary, unsigned count);
/* Take the offer back: rescinded, closed when open, freed when the guest let go of it. The pointer
 * is not to be used any more. io thread. */
void vmbus_revoke_channel(struct vmbus_channel *channel);

/* Facts */
unsigned vmbus_channel_index(const struct vmbus_channel *channel); /* 0: primary */
uint32_t vmbus_channel_relid(const struct vmbus_channel *channel);
uint32_t vmbus_channel_connection_id(const struct vmbus_channel *channel);
bool vmbus_channel_is_open(const struct vmbus_channel *channel);
struct hv_gpa_space *vmbus_channel_gpa(struct vmbus_channel *channel);
/* The eventfd that becomes readable when the guest signals; borrowed. -1 before it is connected. */
int vmbus_channel_doorbell(const struct vmbus_channel *channel);

/* What came of receiving or sending, when it isn't 0 or a negative errno */
enum vmbus_outcome {
    VMBUS_E_EMPTY = 1, /* no packet is there; the guest will signal the next one */
    VMBUS_E_FULL,      /* no room in the ring; `signalled` is called when the guest made some */
    VMBUS_E_CLOSED,    /* the channel is not open */
    VMBUS_E_BROKEN     /* the guest broke the ring or a packet: the channel is being closed */
};

/* The next packet. Returns 0, VMBUS_E_EMPTY, VMBUS_E_CLOSED, VMBUS_E_BROKEN or -ENOMEM. After
 * VMBUS_E_BROKEN the server closes the channel soon, on the io thread. */
int vmbus_channel_receive(struct vmbus_channel *channel, struct vmbus_packet *packet);

/* How many bytes of packets wait to be received, as the guest says; 0 when it's not open. A look
 * from outside: the guest's signals are not masked. */
uint32_t vmbus_channel_unread(struct vmbus_channel *channel);

/*
 * Send one packet, whole or not at all, and signal the guest where it asks for that. Any thread.
 *
 * bytes: padded with zeroes to a multiple of 8 in the ring
 * return: 0, VMBUS_E_FULL, VMBUS_E_CLOSED or VMBUS_E_BROKEN
 */
int vmbus_channel_send(struct vmbus_channel *channel, enum vmbus_packet_type type,
                       uint64_t transaction, bool wants_completion, const void *payload,
                       size_t bytes);
/* Several sends with one signal at the end: begin, sends, end, on one thread. */
void vmbus_channel_begin_batch(struct vmbus_channel *channel);
void vmbus_channel_end_batch(struct vmbus_channel *channel);
/* Transfer-page packet (netvsp) */
int vmbus_channel_send_transfer_pages(struct vmbus_channel *channel, uint64_t transaction,
                                      uint16_t set_id, const uint32_t (*ranges)[2],
                                      unsigned n_ranges, const void *payload, size_t bytes);

/* A GPADL that the guest made for this channel (netvsp's buffers): its page runs. Valid until the
 * channel's `closed`. Returns 0 or -ENOENT. io thread. */
int vmbus_channel_gpadl(struct vmbus_channel *channel, uint32_t gpadl,
                        const struct vmbus_range **ret_ranges, unsigned *ret_n);

/* The provider has seen the guest break the device's own protocol: close soon, log once. Any
 * thread; why is a string constant. */
void vmbus_channel_fail(struct vmbus_channel *channel, const char *why);
