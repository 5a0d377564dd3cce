/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the bus share: server, channel, GPADL, and the messages that wait.
 *
 * owner: io thread, where a field doesn't name a lock. Locks: a channel's receive_lock before its
 * send_lock; no two channels' at once; none is held while a provider is called.
 */
#pragma once

#include "vmwp/vmbus/ring_priv.h"
#include "vmwp/vmbus/server.h"

#include "hvcore/base/fields.h"
#include "hvcore/base/list.h"

#include <pthread.h>

/* What a guest can make us keep */
enum {
    VMBUS_MAX_GPADLS = 64,         /* of a channel */
    VMBUS_MAX_GPADL_PAGES = 16384, /* of a channel: 64 MiB of its RAM, 256 KiB of ours */
    VMBUS_MAX_ALL_GPADL_PAGES = 131072,
    VMBUS_MAX_QUEUED = 8192 /* messages that the guest has not taken */
};

enum vmbus_channel_state {
    VMBUS_CHANNEL_HIDDEN,  /* the guest has not been told of it */
    VMBUS_CHANNEL_OFFERED, /* it may open it */
    VMBUS_CHANNEL_OPEN,
    VMBUS_CHANNEL_BROKEN,    /* closed by us; the guest has to close it before it opens it again */
    VMBUS_CHANNEL_RESCINDED, /* its provider is gone; waits for the guest to let go of the relid */
    VMBUS_CHANNEL_GONE       /* freed with the last hold */
};

struct vmbus_gpadl {
    struct hv_list node; /* of the server's */
    struct vmbus_channel *channel;
    uint32_t id;
    uint32_t n_pages, n_known; /* what its header promised, and what came */
    bool is_refused;           /* pages are counted only, to answer when all have come */
    bool is_lent;              /* the channel's provider holds its ranges */
    bool is_torn_down;         /* gone for the guest; kept for the provider */
    struct vmbus_range *ranges;
    unsigned n_ranges, max_ranges;
};

struct vmbus_channel {
    struct vmbus_server *server;
    struct vmbus_channel *primary; /* NULL: this is one */
    struct vmbus_offer offer;
    unsigned index;
    uint32_t relid;
    enum vmbus_channel_state state;
    unsigned holds; /* calls into the provider under way */
    unsigned n_gpadls, n_gpadl_pages;
    struct vmbus_gpadl *ring_gpadl; /* while open */
    void *host_data;
    _Atomic int doorbell;
    _Atomic bool is_open;
    _Atomic(const char *) broken; /* why it has to be closed */

    pthread_mutex_t receive_lock;
    struct vmbus_ring_in in; /* lock: receive_lock */

    pthread_mutex_t send_lock;
    struct vmbus_ring_out out; /* lock: send_lock, as all below */
    unsigned target_vp;
    unsigned n_batches;
    bool is_held; /* nothing is shown to the guest before it knows that the channel is open */
};

struct vmbus_server {
    struct vmbus_server_config config;
    struct vmbus_channel *by_relid[VMBUS_WIRE_MAX_RELID + 1];
    struct hv_list gpadls;
    unsigned n_gpadl_pages;
    uint32_t version;          /* 0: no guest is connected */
    bool is_reachable;         /* message_vp is a guest's */
    bool has_requested_offers; /* new offers are sent at once */
    bool is_lost;              /* messages to the guest were lost: forget it */
    unsigned message_vp;
    struct hv_list queued;
    unsigned n_queued;
    uint64_t complaints_since_ns;
    unsigned n_complaints;
};

/* outbox.c: a message to the guest, now or when it takes it; in order. */
void vmbus_post(struct vmbus_server *server, const void *message, size_t bytes);
void vmbus_post_retry(struct vmbus_server *server);
void vmbus_post_forget(struct vmbus_server *server);
/* A line in the log about what a guest did, so many in a while; relid 0: of no channel. */
void vmbus_complain(struct vmbus_server *server, uint32_t relid, const char *format, ...)
    HV_PRINTF(3, 4);

/* Keep one for later, as it was kept when the VM was saved. Returns 0 or -ENOMEM. */
int vmbus_post_keep(struct vmbus_server *server, const void *message, size_t bytes);
/* The messages that wait, out; how many there are comes first. */
void vmbus_post_save(const struct vmbus_server *server, struct hv_fields *fields);

/* gpadl.c: the guest's messages; `pages` is unaligned, of n page numbers */
void vmbus_gpadl_begin(struct vmbus_server *server, const struct vmbus_wire_gpadl_header *head,
                       const uint8_t *pages, unsigned n);
void vmbus_gpadl_continue(struct vmbus_server *server, const struct vmbus_wire_gpadl_body *body,
                          const uint8_t *pages, unsigned n);
void vmbus_gpadl_end(struct vmbus_server *server, const struct vmbus_wire_gpadl_teardown *teardown);
/* A complete GPADL of the channel, or NULL */
struct vmbus_gpadl *vmbus_gpadl_find(struct vmbus_channel *channel, uint32_t id);
/* Forget the channel's that are torn down, or all of them. */
void vmbus_gpadl_drop(struct vmbus_channel *channel, bool all);

/* The channel's lists of pages, out; and one of them in, which is the channel's then. */
void vmbus_gpadl_save(const struct vmbus_channel *channel, struct hv_fields *fields);
int vmbus_gpadl_restore(struct vmbus_channel *channel, struct hv_fields *fields);

/* channel.c: open with the rings in a GPADL. Returns what the guest is answered. */
enum vmbus_wire_status vmbus_channel_open(struct vmbus_channel *channel,
                                          const struct vmbus_wire_open *open);
/* Rings in the GPADL's pages, the host's from page `split` on; 0 or a negative errno. */
int vmbus_channel_take_rings(struct vmbus_channel *channel, struct vmbus_gpadl *gpadl,
                             uint32_t split);
void vmbus_channel_drop_rings(struct vmbus_channel *channel);
/* The guest was told that it is open: show what was sent. */
void vmbus_channel_release_held(struct vmbus_channel *channel);
/* Close when it is open, its sub-channels before it; its state is `next` then. */
void vmbus_channel_shut(struct vmbus_channel *channel, enum vmbus_channel_state next);
/* From now on interrupts go to vp. */
void vmbus_channel_retarget(struct vmbus_channel *channel, unsigned vp);

/* offer.c: a channel that the guest doesn't know yet, in no table and not connected to the host;
 * then with a relid, both. Returns the host's errno. */
struct vmbus_channel *vmbus_channel_make(struct vmbus_server *server,
                                         const struct vmbus_offer *offer,
                                         struct vmbus_channel *primary, unsigned index);
int vmbus_channel_place(struct vmbus_channel *channel, uint32_t relid);
/* One that no channel has, or 0. */
uint32_t vmbus_free_relid(const struct vmbus_server *server);
/* offer.c: the channel stays until the last put. */
void vmbus_channel_hold(struct vmbus_channel *channel);
void vmbus_channel_put(struct vmbus_channel *channel);
/* Tell the guest of the channels that it doesn't know; not of one whose like it hasn't released. */
void vmbus_announce_hidden(struct vmbus_server *server);
void vmbus_revoke_subchannels(struct vmbus_channel *primary);
/* The guest let go of a relid. */
void vmbus_relid_released(struct vmbus_server *server, uint32_t relid);
/* The guest is gone: back to how it was offered; sub-channels and rescinded ones are freed. */
void vmbus_channel_forget(struct vmbus_channel *channel);
/* The provider's no more, the host's no more, freed. */
void vmbus_channel_discard(struct vmbus_channel *channel);
