/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent's side of the synthetic interrupt controller: ports behind connection IDs, messages
 * and event flags to the guest, and what a guest says when it crashes.
 *
 * Ports are added and removed by any thread, also while VPs run.
 *
 * spec: TLFS inter-partition-communication "Message Buffers", "Ports", "Connections"
 */
#pragma once

#include "hvcore/partition.h"

enum {
    HV_SYNIC_N_SINTS = 16,
    HV_SYNIC_N_FLAGS = 2048,
    HV_MESSAGE_PAYLOAD_BYTES = 240,
    HV_CRASH_PARAMETERS = 5,
    HV_CRASH_TEXT_BYTES = 4096
};

/* A message as either side sends it: type is not 0, bytes at most HV_MESSAGE_PAYLOAD_BYTES. */
struct hv_message {
    /* public */
    uint32_t type;
    uint32_t bytes;
    uint8_t payload[HV_MESSAGE_PAYLOAD_BYTES];
};

/*
 * A guest posted a message to the port.
 *
 * message: a private copy
 * return: false when there is no room for it now; the guest is told to try again
 * thread: the posting VP's; must not block
 */
typedef bool hv_port_message_fn(void *opaque, unsigned vp, const struct hv_message *message);

/* Have fn called for messages to connection_id. Returns 0, -EEXIST or -ENOSPC. */
int hv_partition_add_message_port(struct hv_partition *partition, uint32_t connection_id,
                                  hv_port_message_fn *fn, void *opaque);
/* Have eventfd (borrowed) written when the guest signals connection_id, whatever the flag number.
 * Returns 0, -EEXIST, -ENOSPC or an errno of the backend. */
int hv_partition_add_event_port(struct hv_partition *partition, uint32_t connection_id,
                                int eventfd);
/* No call of fn is under way and no write to the eventfd follows when this returns. Not from fn. */
void hv_partition_remove_port(struct hv_partition *partition, uint32_t connection_id);

/*
 * Put a message into the slot of a VP's SINT, or queue it behind one that the guest has not taken
 * yet (then it follows when the guest ends that message).
 *
 * return: 0; -ENOBUFS when the bounded queue is full; -EINVAL for a VP, SINT or message that cannot
 *         be; what waits for a SINT is dropped when the guest resets its SynIC
 * thread: any
 */
int hv_partition_post_message(struct hv_partition *partition, unsigned vp, unsigned sint,
                              const struct hv_message *message);

/*
 * Set an event flag and raise the SINT's interrupt when the flag was not set before.
 *
 * return: 0; -EAGAIN when the guest has no event page or masks the SINT; -EINVAL
 * thread: any
 */
int hv_partition_signal_event(struct hv_partition *partition, unsigned vp, unsigned sint,
                              unsigned flag);

/* What a guest says as it crashes: HV_X64_MSR_CRASH_P0 to P4, and the text that P3 and P4 point to
 * where the guest says there is one (bytes as the guest wrote them, not zero-terminated). */
struct hv_crash {
    /* read only */
    uint64_t parameter[HV_CRASH_PARAMETERS];
    uint32_t text_bytes;
    uint8_t text[HV_CRASH_TEXT_BYTES];
};

/* thread: the crashing VP's; must not block */
typedef void hv_crash_fn(void *opaque, unsigned vp, const struct hv_crash *crash);

/* While no VP runs; NULL ends it. */
void hv_partition_watch_crash(struct hv_partition *partition, hv_crash_fn *fn, void *opaque);
