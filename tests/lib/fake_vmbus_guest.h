/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux' side of VMBus, played with bytes in real guest memory against a real vmbus_server.
 *
 * A provider's test is a dozen lines:
 *
 *     struct fake_vmbus_guest guest;
 *     struct fake_vmbus_channel channel;
 *     struct fake_vmbus_packet packet;
 *
 *     fake_vmbus_start(&guest, 1);
 *     make the provider; it offers its channel to guest.server;
 *     fake_vmbus_connect(&guest, VMBUS_WIRE_VERSION_5_3);
 *     fake_vmbus_request_offers(&guest);
 *     fake_vmbus_open(&guest, guest.offers[0].relid, 8, 8, &channel);  opened() has been called
 *     fake_vmbus_send(&channel, 1, true, payload, bytes);              signalled() has been called
 *     fake_vmbus_wait(&channel, &packet);                              its answer
 *     fake_vmbus_close(&channel);                                      closed() has been called
 *     fake_vmbus_stop(&guest);
 *
 * The test's thread is the io thread: what the guest signals reaches the provider before
 * fake_vmbus_send returns, unless it polls its doorbell, which is an eventfd then. Sweeps that the
 * server wants are made by fake_vmbus_turn, which every message, fake_vmbus_read and
 * fake_vmbus_wait call. What must go well is asserted by cmocka; the try_ functions return what the
 * host said.
 *
 * RAM is [0, 16 MiB) and [4 GiB, 4 GiB + 16 MiB); between them is none.
 */
#pragma once

#include "hvcore/gpa.h"
#include "vmwp/vmbus/server.h"
#include "vmwp/vmbus/wire.h"

#include <stdatomic.h>

#define FAKE_VMBUS_HIGH_RAM (UINT64_C(4) << 30)
enum {
    FAKE_VMBUS_SLOT_BYTES = 16 << 20,
    FAKE_VMBUS_MAX_OFFERS = 64,
    FAKE_VMBUS_MAX_MESSAGES = 16384,
    FAKE_VMBUS_MAX_RING_PAGES = 128
};

struct fake_vmbus_message {
    size_t bytes;
    uint8_t message[VMBUS_WIRE_MAX_MESSAGE];
};

struct fake_vmbus_guest {
    struct hv_gpa_space gpa;
    struct vmbus_server *server;
    /* What the host has offered and not rescinded when fake_vmbus_take_offers was called last */
    struct vmbus_wire_offer offers[FAKE_VMBUS_MAX_OFFERS];
    unsigned n_offers;
    /* To be set by tests */
    bool is_busy;      /* takes no message: the server has to keep them */
    bool is_scattered; /* pages of rings lie apart and backwards */
    int connect_error; /* what the host's connect returns, if not 0 */
    /* Counted; signals by relid */
    atomic_uint signals[VMBUS_WIRE_MAX_RELID + 1];
    atomic_uint last_signal_vp;
    unsigned last_message_vp;
    atomic_bool wants_sweep;
    unsigned n_connected, n_disconnected;
    unsigned n_logged;
    /* private */
    struct vmbus_channel *channels[VMBUS_WIRE_MAX_RELID + 1];
    struct fake_vmbus_message *messages;
    unsigned first, n_messages;
    hv_gpa_t next_page;
    uint32_t next_gpadl;
    unsigned n_vps;
};

/* One of the two rings */
struct fake_vmbus_ring {
    hv_gpa_t pages[FAKE_VMBUS_MAX_RING_PAGES];
    uint32_t n_pages;
};

/* An open channel, as the guest's driver has it */
struct fake_vmbus_channel {
    struct fake_vmbus_guest *guest;
    uint32_t relid, gpadl;
    struct fake_vmbus_ring out, in; /* guest to host; host to guest */
    uint32_t read;                  /* of `in`, not yet told the host when is_lazy */
    bool is_lazy;                   /* to be set: reading makes no room yet */
    unsigned n_signals;             /* times that the guest signalled the host */
};

struct fake_vmbus_packet {
    uint16_t type;
    uint16_t flags;
    uint64_t transaction;
    uint32_t extension_bytes;
    uint8_t extension[1024];
    uint32_t bytes;
    uint8_t payload[VMBUS_MAX_PACKET_BYTES];
};

/* A guest with memory and a server that it hasn't contacted. stop frees the server: providers that
 * revoke their channels are freed before. */
void fake_vmbus_start(struct fake_vmbus_guest *guest, unsigned n_vps);
void fake_vmbus_stop(struct fake_vmbus_guest *guest);

/* The host ends and another one begins, as when a VM was saved; the guest goes on. */
void fake_vmbus_replace_server(struct fake_vmbus_guest *guest);

/* A message to the host, then a turn of its loop. */
void fake_vmbus_post(struct fake_vmbus_guest *guest, const void *message, size_t bytes);
/* A message that is nothing but its type, or its type and a relid */
void fake_vmbus_post_bare(struct fake_vmbus_guest *guest, enum vmbus_wire_type type);
void fake_vmbus_post_relid(struct fake_vmbus_guest *guest, enum vmbus_wire_type type,
                           uint32_t relid);
/* What the io loop would do by now: sweep, retry. */
void fake_vmbus_turn(struct fake_vmbus_guest *guest);

/* The next message of the host: its type, or 0 when there is none. */
uint32_t fake_vmbus_next_type(const struct fake_vmbus_guest *guest);
/* Take the next message, which must be of this type and size. */
void fake_vmbus_take(struct fake_vmbus_guest *guest, enum vmbus_wire_type type, void *ret,
                     size_t bytes);
/* Throw away what has come. */
void fake_vmbus_ignore_messages(struct fake_vmbus_guest *guest);

/* INITIATE_CONTACT from VP 0; true: the host supports the version. */
bool fake_vmbus_try_connect(struct fake_vmbus_guest *guest, uint32_t version);
void fake_vmbus_connect(struct fake_vmbus_guest *guest, uint32_t version);
/* Ask for the offers, and take them into guest->offers until all are delivered. */
void fake_vmbus_request_offers(struct fake_vmbus_guest *guest);
/* Take those that came later. Returns how many. */
unsigned fake_vmbus_take_offers(struct fake_vmbus_guest *guest);

/* Pages of RAM that nobody has, one after the other; zero. */
hv_gpa_t fake_vmbus_alloc(struct fake_vmbus_guest *guest, unsigned n_pages);
/* Make a GPADL of pages, with as many messages as it takes. Returns the host's status. */
uint32_t fake_vmbus_try_gpadl(struct fake_vmbus_guest *guest, uint32_t relid, uint32_t gpadl,
                              const hv_gpa_t *pages, uint32_t n_pages);
/* Make one of n contiguous pages. Returns its number. */
uint32_t fake_vmbus_make_gpadl(struct fake_vmbus_guest *guest, uint32_t relid, hv_gpa_t first,
                               uint32_t n_pages);
/* Tear down, and wait for the answer. */
void fake_vmbus_end_gpadl(struct fake_vmbus_guest *guest, uint32_t relid, uint32_t gpadl);

/* Make rings (pages with the control pages) and their GPADL, and open. user: VMBUS_USER_BYTES or
 * NULL. Returns the host's status; the channel's close must be called in any case. */
uint32_t fake_vmbus_try_open(struct fake_vmbus_guest *guest, uint32_t relid, uint32_t out_pages,
                             uint32_t in_pages, const uint8_t *user,
                             struct fake_vmbus_channel *ret);
void fake_vmbus_open(struct fake_vmbus_guest *guest, uint32_t relid, uint32_t out_pages,
                     uint32_t in_pages, struct fake_vmbus_channel *ret);
/* CLOSECHANNEL and the ring's GPADL's tear-down */
void fake_vmbus_close(struct fake_vmbus_channel *channel);

/* Write a packet as it is given and signal the host where Linux would. payload is padded to 8
 * bytes, extension_bytes is a multiple of 8. False: the ring is full. */
bool fake_vmbus_write(struct fake_vmbus_channel *channel, uint16_t type, uint64_t transaction,
                      uint16_t flags, const void *extension, uint32_t extension_bytes,
                      const void *payload, uint32_t bytes);
/* An in-band packet */
void fake_vmbus_send(struct fake_vmbus_channel *channel, uint64_t transaction,
                     bool wants_completion, const void *payload, uint32_t bytes);
/* A GPA-direct packet with one range of contiguous memory; it wants a completion. */
void fake_vmbus_send_direct(struct fake_vmbus_channel *channel, uint64_t transaction, hv_gpa_t gpa,
                            uint32_t data_bytes, const void *payload, uint32_t bytes);
/* Signal the host, whatever there is to say. */
void fake_vmbus_signal(struct fake_vmbus_channel *channel);

/* The next packet of the host. False: there is none. */
bool fake_vmbus_read(struct fake_vmbus_channel *channel, struct fake_vmbus_packet *ret);
/* The same, but it must come within five seconds. */
void fake_vmbus_wait(struct fake_vmbus_channel *channel, struct fake_vmbus_packet *ret);
/* Tell the host how far was read. */
void fake_vmbus_make_room(struct fake_vmbus_channel *channel);

/* Fields of a control page */
uint32_t fake_vmbus_ring_get(struct fake_vmbus_guest *guest, const struct fake_vmbus_ring *ring,
                             enum vmbus_wire_ring field);
void fake_vmbus_ring_set(struct fake_vmbus_guest *guest, const struct fake_vmbus_ring *ring,
                         enum vmbus_wire_ring field, uint32_t value);
/* Bytes of the data pages, which wrap */
void fake_vmbus_ring_write(struct fake_vmbus_guest *guest, const struct fake_vmbus_ring *ring,
                           uint32_t at, const void *from, uint32_t bytes);
