/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel's two rings in guest memory, seen from the host. The guest writes to all of it at any
 * time: what is read is copied once and judged after, and the host's own index is never read back.
 *
 * lock: the caller's; one thread at a time in each ring
 */
#pragma once

#include "hvcore/base/fields.h"
#include "vmwp/vmbus/channel.h"
#include "vmwp/vmbus/wire.h"

struct vmbus_ring_page {
    uint8_t *host;
    hv_gpa_t gpa;
};

/* Control page and data pages of one ring */
struct vmbus_ring_memory {
    struct hv_gpa_space *gpa;
    struct vmbus_ring_page *pages; /* owned; the first is the control page */
    uint32_t data_bytes;
    bool is_linear; /* data pages follow each other, in the guest and here */
};

/* Guest to host: the host consumes */
struct vmbus_ring_in {
    struct vmbus_ring_memory memory;
    uint32_t read;      /* how far the host has read */
    uint32_t published; /* what of it the guest was told */
    uint32_t write;     /* as the guest last said, checked */
    bool is_masked;     /* the guest was asked not to signal */
};

/* Host to guest: the host produces */
struct vmbus_ring_out {
    struct vmbus_ring_memory memory;
    uint32_t write;     /* how far the host has written */
    uint32_t published; /* what of it the guest was told */
    uint32_t pending;   /* the room that senders were refused, or 0 */
};

/* What is sent: three pieces, the last padded with zeroes to a multiple of 8 */
struct vmbus_ring_outgoing {
    struct vmbus_wire_packet *descriptor;
    const void *extension;
    uint32_t extension_bytes; /* a multiple of 8 */
    const void *payload;
    uint32_t payload_bytes;
};

/*
 * Take a ring that lies in n_pages pages of the ranges, from page `first` on. Returns 0, -EFAULT
 * (no RAM), -EINVAL (too few pages, or indices that no ring has) or -ENOMEM.
 */
int vmbus_ring_in_init(struct vmbus_ring_in *ring, struct hv_gpa_space *gpa,
                       const struct vmbus_range *ranges, unsigned n_ranges, uint32_t first,
                       uint32_t n_pages);
int vmbus_ring_out_init(struct vmbus_ring_out *ring, struct hv_gpa_space *gpa,
                        const struct vmbus_range *ranges, unsigned n_ranges, uint32_t first,
                        uint32_t n_pages);
/* Let go of guest memory; harmless when there is none. */
void vmbus_ring_in_fini(struct vmbus_ring_in *ring);
void vmbus_ring_out_fini(struct vmbus_ring_out *ring);

/* Of a ring that was just taken: how far the host has come, as it was saved; or the same out. */
void vmbus_ring_in_visit(struct vmbus_ring_in *ring, struct hv_fields *fields);
void vmbus_ring_out_visit(struct vmbus_ring_out *ring, struct hv_fields *fields);

/* How many bytes the guest has published that were not read yet: 0 when there is nothing and the
 * guest will signal. May set *ret_signal: the guest waits for the room. Returns 0 or
 * VMBUS_E_BROKEN. */
int vmbus_ring_in_available(struct vmbus_ring_in *ring, uint32_t *ret_bytes, bool *ret_signal);
/* The same for one who only looks: nothing is masked, unmasked or told the guest. 0 when the
 * guest's index is none. */
uint32_t vmbus_ring_in_unread(const struct vmbus_ring_in *ring);
/* Copy bytes from `offset` past the read index; the caller has checked that they are available. */
void vmbus_ring_in_copy(const struct vmbus_ring_in *ring, uint32_t offset, void *ret,
                        uint32_t bytes);
/* Done with that many bytes; the guest is told now or later. True: signal the guest. */
bool vmbus_ring_in_advance(struct vmbus_ring_in *ring, uint32_t bytes);

/* Write a packet behind the others; it is not seen before publish. Returns 0, VMBUS_E_FULL (all is
 * published and the guest will signal; may set *ret_signal: signal it) or VMBUS_E_BROKEN. */
int vmbus_ring_out_write(struct vmbus_ring_out *ring, const struct vmbus_ring_outgoing *out,
                         bool *ret_signal);
/* Show what was written. True: signal the guest. */
bool vmbus_ring_out_publish(struct vmbus_ring_out *ring);

/* The next packet of a ring, checked, into the receiver's. Returns as vmbus_channel_receive does,
 * and then in *ret_why what is broken. */
int vmbus_packet_read(struct vmbus_ring_in *ring, struct vmbus_packet *packet, bool *ret_signal,
                      const char **ret_why);
