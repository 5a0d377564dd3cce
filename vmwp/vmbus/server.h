/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus: version contact, offers, GPADLs, open and close. A state machine that is fed with the
 * guest's messages and answers through the functions it is given. io thread, but for what
 * channel.h says of sending.
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/fields.h"
#include "hvcore/base/log.h"
#include "vmwp/vmbus/channel.h"

/* Connection IDs to which guests post channel messages: 1 before version 5.0, 4 since. */
enum { VMBUS_CONNECTION_MESSAGES = 1, VMBUS_CONNECTION_MESSAGES_V5 = 4, VMBUS_SINT = 2 };

struct vmbus_host_ops {
    /* public */
    /* A channel message (SynIC message type 1) to the guest. Returns 0, or -ENOBUFS: the server
     * keeps it and tries again in vmbus_server_retry. io thread. */
    int (*post_message)(void *opaque, unsigned vp, unsigned sint, const void *message,
                        size_t bytes);
    /* Any thread. */
    void (*signal_event)(void *opaque, unsigned vp, unsigned sint, unsigned flag);
    /* A channel came to be: what the guest signals on its connection ID must reach
     * vmbus_channel_signalled (or its provider's own thread); give it a doorbell by
     * vmbus_channel_set_doorbell. Returns 0 or a negative errno. io thread. */
    int (*connect)(void *opaque, struct vmbus_channel *channel);
    void (*disconnect)(void *opaque, struct vmbus_channel *channel);
    /* Have vmbus_server_sweep called soon on the io thread. Any thread. */
    void (*wake)(void *opaque);
};

struct vmbus_server_config {
    /* public */
    struct hv_gpa_space *gpa; /* outlives the server */
    unsigned n_vps;
    const struct vmbus_host_ops *ops;
    void *opaque;
    struct hv_log log;
};

/* An empty bus that no guest has contacted; config is copied. Returns 0 or -ENOMEM. */
int vmbus_server_new(const struct vmbus_server_config *config, struct vmbus_server **ret);
/* Closes what is open (providers are told) and frees all channels. */
struct vmbus_server *vmbus_server_free(struct vmbus_server *server);

/* A message that the guest posted, copied. Malformed ones are dropped and logged at a limit. */
void vmbus_server_message(struct vmbus_server *server, const void *message, size_t bytes);
/* The guest is reset: all is closed and forgotten but the offers. VPs stand still. */
void vmbus_server_reset(struct vmbus_server *server);
/* Messages could not be posted and may be now. */
void vmbus_server_retry(struct vmbus_server *server);
/* Close the channels that broke. */
void vmbus_server_sweep(struct vmbus_server *server);
bool vmbus_server_has_unsent(const struct vmbus_server *server);

/*
 * All that the bus knows of its guest, out and in. VPs and providers stand still; no channel is
 * broken that vmbus_server_sweep has not closed.
 *
 * Read into a server that no guest has contacted and whose devices are offered, after guest RAM:
 * channels get the numbers that the guest knows, and those that were open are open again.
 *
 * return: 0, or -EINVAL: not a state of this bus; then the server is only good to be freed
 */
void vmbus_server_save(struct vmbus_server *server, struct hv_fields *fields);
int vmbus_server_restore(struct vmbus_server *server, struct hv_fields *fields);
/* Offers that came since the guest asked for them are told to it. */
void vmbus_server_announce(struct vmbus_server *server);

/* For connect(): its private number of the doorbell; stays borrowed until disconnect(). */
void vmbus_channel_set_doorbell(struct vmbus_channel *channel, int eventfd);
bool vmbus_channel_is_polled_by_vsp(const struct vmbus_channel *channel);
/* The guest signalled; io thread, channels that their provider does not poll. */
void vmbus_channel_signalled(struct vmbus_channel *channel);
/* For the host's own use, NULL at first. */
void vmbus_channel_set_host_data(struct vmbus_channel *channel, void *data);
void *vmbus_channel_host_data(const struct vmbus_channel *channel);
