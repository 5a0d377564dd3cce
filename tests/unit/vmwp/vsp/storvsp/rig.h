/* SPDX-License-Identifier: Apache-2.0 */
/* A controller with one disk at LUN 0, under a guest's driver with real rings. */
#pragma once

#include "tests/lib/cmocka.h"

#include "tests/lib/fake_blk.h"
#include "tests/lib/fake_vmbus_guest.h"
#include "vmwp/vsp/storvsp/scsi_priv.h"

enum { RIG_QUEUES = 3, RIG_IO_THREADS = 4, RIG_DISK_BYTES = 4 << 20, RIG_RING_PAGES = 17 };

struct rig {
    struct fake_vmbus_guest guest;
    struct storvsp_controller *controller;
    struct blk_disk *disk;
    struct fake_vmbus_channel channel; /* the first; to be opened */
    atomic_bool is_woken;
    atomic_uint n_logged;
    hv_gpa_t data; /* 2 MiB of guest memory */
    uint8_t *bytes;
};

/* make: offered and connected; negotiated: and opened, up to the end of initialisation; yielding:
 * that, and yields_to_vps */
int rig_make(void **state);
int rig_make_negotiated(void **state);
int rig_make_yielding(void **state);
int rig_drop(void **state);
void rig_open(struct rig *rig, uint32_t ring_pages);
void rig_negotiate(struct rig *rig);
/* What the io loop would do */
void rig_turn(struct rig *rig);

/* A packet with nothing but an operation and its argument */
void rig_say(struct fake_vmbus_channel *channel, uint64_t transaction, uint32_t operation,
             uint16_t argument);
/* Say, and wait for the answer: its status. */
uint32_t rig_ask(struct rig *rig, uint32_t operation, uint16_t argument);
/* The next packet, within five seconds: its transaction */
uint64_t rig_wait(struct rig *rig, struct fake_vmbus_channel *channel,
                  struct storvsp_wire_packet *ret);
/* None comes within a while. */
void rig_assert_silent(struct rig *rig, struct fake_vmbus_channel *channel);
/* Wait until fn, for five seconds. */
void rig_await(struct rig *rig, bool (*is_so)(struct rig *rig));

struct rig_srb {
    uint64_t transaction;
    uint8_t lun;
    uint8_t opcode;
    uint8_t flags; /* byte 1 of the CDB */
    uint32_t lba;
    uint16_t blocks;
    uint32_t bytes;    /* of data; 0: in-band */
    uint32_t at;       /* in rig->bytes */
    uint8_t direction; /* STORVSP_DATA_OUT is 0 */
    uint8_t queue_action;
};

/* Send an SRB with a 10-byte CDB (or what an opcode makes of it). */
void rig_send(struct rig *rig, struct fake_vmbus_channel *channel, const struct rig_srb *srb);
#define RIG_SEND(rig, channel, ...) rig_send(rig, channel, &(struct rig_srb){ __VA_ARGS__ })
/* TEST UNIT READY on the first channel: the SRB's status */
uint8_t rig_test_unit(struct rig *rig, uint8_t lun);
