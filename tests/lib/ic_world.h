/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of integration components for tests: a clock that a test moves, a bus without rings,
 * and a guest that answers as hv_utils does.
 */
#pragma once

#include "tests/lib/fake_channel.h"
#include "vmwp/ic/ic.h"

struct ic_world {
    struct vmbus_server *bus;
    struct ic_clock clock;
    uint64_t now_ns, alarm_ns, realtime_ns, reference;
};

void ic_world_init(struct ic_world *world);
void ic_world_fini(struct ic_world *world);
/* Let time pass; what is due fires at its own moment. */
void ic_world_pass(struct ic_world *world, uint64_t ms);

/* A message of the host's, taken apart by the guest. */
struct ic_guest_message {
    struct fake_packet packet;
    uint32_t pipe_flags, pipe_bytes;
    uint16_t framework, type, version, body_bytes; /* versions: major << 8 | minor */
    uint32_t status;
    uint8_t transaction, flags;
    uint8_t *body; /* in packet */
};

/* Take the host's next message. False: none. */
bool ic_guest_take(struct vmbus_channel *channel, struct ic_guest_message *ret);
/* Send it back as an answer, with what was changed in it, and signal. */
void ic_guest_answer(struct vmbus_channel *channel, struct ic_guest_message *message,
                     uint32_t status);
/* Open the channel and agree on framework 3.0 and this version of messages. */
void ic_guest_connect(struct vmbus_channel *channel, uint16_t major, uint16_t minor);

uint16_t ic_get_u16(const uint8_t *at);
uint32_t ic_get_u32(const uint8_t *at);
uint64_t ic_get_u64(const uint8_t *at);
void ic_set_u16(uint8_t *at, uint16_t value);
void ic_set_u32(uint8_t *at, uint32_t value);

/* The last result that a done function was told. */
struct ic_result {
    unsigned n_calls;
    int r;
    char code[64];
    char message[256];
};
void ic_result_done(void *opaque, int r, const struct hv_error *error);
