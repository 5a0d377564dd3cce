/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storage protocol's bytes: one 64-byte packet for everything.
 *
 * spec: Linux 6.1 drivers/scsi/storvsc_drv.c (struct vstor_packet, struct vmscsi_request)
 */
#pragma once

#include <assert.h>
#include <stdint.h>

enum {
    STORVSP_PACKET_BYTES = 64, /* a longer answer would break the guest's ring, a shorter is lost */
    STORVSP_BODY_BYTES = 52,
    STORVSP_CDB_BYTES = 16,
    STORVSP_SENSE_BYTES = 20
};

enum storvsp_operation {
    STORVSP_COMPLETE_IO = 1,
    STORVSP_REMOVE_DEVICE = 2,
    STORVSP_EXECUTE_SRB = 3,
    STORVSP_RESET_LUN = 4,
    STORVSP_RESET_ADAPTER = 5,
    STORVSP_RESET_BUS = 6,
    STORVSP_BEGIN_INITIALIZATION = 7,
    STORVSP_END_INITIALIZATION = 8,
    STORVSP_QUERY_PROTOCOL_VERSION = 9,
    STORVSP_QUERY_PROPERTIES = 10,
    STORVSP_ENUMERATE_BUS = 11,
    STORVSP_FCHBA_DATA = 12,
    STORVSP_CREATE_SUB_CHANNELS = 13
};

/* Of a packet; NTSTATUS values, of which Linux asks only whether they are 0 */
enum storvsp_status {
    STORVSP_OK = 0,
    STORVSP_INVALID_PARAMETER = 0xC000000D,
    STORVSP_INVALID_DEVICE_REQUEST = 0xC0000010,
    STORVSP_NO_RESOURCES = 0xC000009A,
    STORVSP_NOT_SUPPORTED = 0xC00000BB,
    STORVSP_INVALID_DEVICE_STATE = 0xC0000184,
    STORVSP_REVISION_MISMATCH = 0xC0000059
};

enum storvsp_version {
    STORVSP_VERSION_WIN8 = 0x0501,
    STORVSP_VERSION_WIN8_1 = 0x0600,
    STORVSP_VERSION_WIN10 = 0x0602
};

enum storvsp_srb_status {
    STORVSP_SRB_SUCCESS = 0x01,
    STORVSP_SRB_ERROR = 0x04,
    STORVSP_SRB_BUSY = 0x05,
    STORVSP_SRB_INVALID_REQUEST = 0x06,
    STORVSP_SRB_INVALID_LUN = 0x20,
    STORVSP_SRB_AUTOSENSE_VALID = 0x80
};

enum { STORVSP_DATA_OUT = 0, STORVSP_DATA_IN = 1, STORVSP_DATA_NONE = 2 };
enum { STORVSP_TAG_ORDERED = 0x22 };
enum { STORVSP_PROPERTY_MULTI_CHANNEL = 1 };

struct storvsp_wire_srb {
    uint16_t length;
    uint8_t srb_status;
    uint8_t scsi_status;
    uint8_t port;
    uint8_t path;
    uint8_t target;
    uint8_t lun;
    uint8_t cdb_bytes;
    uint8_t sense_bytes;
    uint8_t direction;
    uint8_t reserved;
    uint32_t data_bytes;
    union {
        uint8_t cdb[STORVSP_CDB_BYTES];
        uint8_t sense[STORVSP_SENSE_BYTES];
    };
    uint16_t reserved2;
    uint8_t queue_tag;
    uint8_t queue_action;
    uint32_t srb_flags;
    uint32_t timeout_s;
    uint32_t sort_key;
} __attribute__((packed));
static_assert(sizeof(struct storvsp_wire_srb) == STORVSP_BODY_BYTES, "struct vmscsi_request");

struct storvsp_wire_properties {
    uint32_t reserved;
    uint16_t max_channels; /* beside the first */
    uint16_t reserved2;
    uint32_t flags;
    uint32_t max_transfer_bytes;
    uint64_t reserved3;
} __attribute__((packed));
static_assert(sizeof(struct storvsp_wire_properties) == 24, "struct vmstorage_channel_properties");

struct storvsp_wire_packet {
    uint32_t operation;
    uint32_t flags;
    uint32_t status;
    union {
        struct storvsp_wire_srb srb;
        struct storvsp_wire_properties properties;
        uint16_t version;
        uint16_t sub_channels;
        uint8_t body[STORVSP_BODY_BYTES];
    } __attribute__((packed));
} __attribute__((packed));
static_assert(sizeof(struct storvsp_wire_packet) == STORVSP_PACKET_BYTES, "struct vstor_packet");
