/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMBus as bytes: channel messages, the ring's control page, packet descriptors. Facts only; what a
 * guest wrote into one of these has not been believed yet. All little endian.
 *
 * spec: VMBus as Linux 6.1 speaks it (include/linux/hyperv.h)
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#include "hvcore/base/guid.h"

enum {
    VMBUS_WIRE_MAX_MESSAGE = 240, /* the payload of one SynIC message */
    VMBUS_WIRE_MAX_RELID = 2047,  /* event flags of a SINT: 2048, the first is not used */
    VMBUS_WIRE_USER_BYTES = 120,
    VMBUS_WIRE_PIPE_MODE_MESSAGE = 4
};

/* Versions: major in the high half, minor in the low */
enum vmbus_wire_version {
    VMBUS_WIRE_VERSION_2_4 = 0x00020004,
    VMBUS_WIRE_VERSION_3_0 = 0x00030000,
    VMBUS_WIRE_VERSION_4_0 = 0x00040000,
    VMBUS_WIRE_VERSION_4_1 = 0x00040001,
    VMBUS_WIRE_VERSION_5_0 = 0x00050000,
    VMBUS_WIRE_VERSION_5_1 = 0x00050001,
    VMBUS_WIRE_VERSION_5_2 = 0x00050002,
    VMBUS_WIRE_VERSION_5_3 = 0x00050003
};

/* hyperv.h: enum vmbus_channel_message_type */
enum vmbus_wire_type {
    VMBUS_WIRE_OFFER = 1,
    VMBUS_WIRE_RESCIND = 2,
    VMBUS_WIRE_REQUEST_OFFERS = 3,
    VMBUS_WIRE_ALL_OFFERS_DELIVERED = 4,
    VMBUS_WIRE_OPEN = 5,
    VMBUS_WIRE_OPEN_RESULT = 6,
    VMBUS_WIRE_CLOSE = 7,
    VMBUS_WIRE_GPADL_HEADER = 8,
    VMBUS_WIRE_GPADL_BODY = 9,
    VMBUS_WIRE_GPADL_CREATED = 10,
    VMBUS_WIRE_GPADL_TEARDOWN = 11,
    VMBUS_WIRE_GPADL_TORNDOWN = 12,
    VMBUS_WIRE_RELID_RELEASED = 13,
    VMBUS_WIRE_INITIATE_CONTACT = 14,
    VMBUS_WIRE_VERSION_RESPONSE = 15,
    VMBUS_WIRE_UNLOAD = 16,
    VMBUS_WIRE_UNLOAD_RESPONSE = 17,
    VMBUS_WIRE_TL_CONNECT_REQUEST = 21,
    VMBUS_WIRE_MODIFY = 22,
    VMBUS_WIRE_TL_CONNECT_RESULT = 23,
    VMBUS_WIRE_MODIFY_RESPONSE = 24
};

/* Statuses in answers: guests look whether it is 0; these are the NT codes of the same meaning. */
enum vmbus_wire_status {
    VMBUS_WIRE_OK = 0,
    VMBUS_WIRE_INVALID_PARAMETER = (int)0xC000000D,
    VMBUS_WIRE_NO_RESOURCES = (int)0xC000009A,
    VMBUS_WIRE_CONNECTION_REFUSED = (int)0xC0000236,
    VMBUS_WIRE_UNSUCCESSFUL = (int)0xC0000001
};

#define VMBUS_WIRE_PACKED __attribute__((packed))

struct vmbus_wire_header {
    uint32_t type; /* enum vmbus_wire_type */
    uint32_t zero;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_header) == 8, "hyperv.h: vmbus_channel_message_header");

struct vmbus_wire_offer {
    struct vmbus_wire_header header;
    struct hv_guid type;
    struct hv_guid instance;
    uint8_t reserved[16];
    uint16_t flags; /* enum vmbus_offer_flag */
    uint16_t mmio_megabytes;
    uint8_t user[VMBUS_WIRE_USER_BYTES]; /* of pipes: u32 pipe mode, then 116 bytes */
    uint16_t index;                      /* 0: primary channel */
    uint16_t reserved2;
    uint32_t relid;
    uint8_t monitor_id;
    uint8_t monitor_allocated;
    uint16_t dedicated_interrupt; /* 1: signalled by the connection alone, not by a shared page */
    uint32_t connection_id;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_offer) == 196, "hyperv.h: vmbus_channel_offer_channel");

/* RESCIND, CLOSE, RELID_RELEASED */
struct vmbus_wire_relid {
    struct vmbus_wire_header header;
    uint32_t relid;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_relid) == 12, "hyperv.h: vmbus_channel_close_channel");

struct vmbus_wire_open {
    struct vmbus_wire_header header;
    uint32_t relid;
    uint32_t open_id;
    uint32_t gpadl;
    uint32_t target_vp;
    uint32_t split_page; /* where the host-to-guest ring begins in the GPADL */
    uint8_t user[VMBUS_WIRE_USER_BYTES];
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_open) == 148, "hyperv.h: vmbus_channel_open_channel");

struct vmbus_wire_open_result {
    struct vmbus_wire_header header;
    uint32_t relid;
    uint32_t open_id;
    uint32_t status;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_open_result) == 20, "hyperv.h: vmbus_channel_open_result");

/* Page numbers follow, as many as the message holds */
struct vmbus_wire_gpadl_header {
    struct vmbus_wire_header header;
    uint32_t relid;
    uint32_t gpadl;
    uint16_t range_bytes; /* wraps for large buffers; not used */
    uint16_t n_ranges;
    uint32_t byte_count;
    uint32_t byte_offset;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_gpadl_header) == 28,
              "hyperv.h: vmbus_channel_gpadl_header and gpa_range");

/* Page numbers follow */
struct vmbus_wire_gpadl_body {
    struct vmbus_wire_header header;
    uint32_t number; /* always 0 from Linux; not used */
    uint32_t gpadl;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_gpadl_body) == 16, "hyperv.h: vmbus_channel_gpadl_body");

enum { VMBUS_WIRE_HEADER_PAGES = 26, VMBUS_WIRE_BODY_PAGES = 28 };

struct vmbus_wire_gpadl_created {
    struct vmbus_wire_header header;
    uint32_t relid;
    uint32_t gpadl;
    uint32_t status;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_gpadl_created) == 20,
              "hyperv.h: vmbus_channel_gpadl_created");

struct vmbus_wire_gpadl_teardown {
    struct vmbus_wire_header header;
    uint32_t relid;
    uint32_t gpadl;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_gpadl_teardown) == 16,
              "hyperv.h: vmbus_channel_gpadl_teardown");

struct vmbus_wire_gpadl_torndown {
    struct vmbus_wire_header header;
    uint32_t gpadl;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_gpadl_torndown) == 12,
              "hyperv.h: vmbus_channel_gpadl_torndown");

struct vmbus_wire_contact {
    struct vmbus_wire_header header;
    uint32_t version;
    uint32_t target_vp;
    uint64_t interrupt_page; /* before 5.0; since then its lowest byte is the SINT for messages */
    uint64_t monitor_page1;
    uint64_t monitor_page2;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_contact) == 40, "hyperv.h: vmbus_channel_initiate_contact");

struct vmbus_wire_version_response {
    struct vmbus_wire_header header;
    uint8_t is_supported;
    uint8_t connection_state;
    uint16_t zero;
    uint32_t connection_id; /* since 5.0: where the guest posts from now on */
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_version_response) == 16,
              "hyperv.h: vmbus_channel_version_response");

struct vmbus_wire_tl_connect {
    struct vmbus_wire_header header;
    struct hv_guid guest_endpoint;
    struct hv_guid host_service;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_tl_connect) == 40,
              "hyperv.h: vmbus_channel_tl_connect_request");

struct vmbus_wire_tl_connect_result {
    struct vmbus_wire_header header;
    struct hv_guid guest_endpoint;
    struct hv_guid host_service;
    uint32_t status;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_tl_connect_result) == 44, "TL_CONNECT_RESULT");

struct vmbus_wire_modify {
    struct vmbus_wire_header header;
    uint32_t relid;
    uint32_t target_vp;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_modify) == 16, "hyperv.h: vmbus_channel_modifychannel");

struct vmbus_wire_modify_response {
    struct vmbus_wire_header header;
    uint32_t relid;
    uint32_t status;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_modify_response) == 16,
              "hyperv.h: vmbus_channel_modifychannel_response");

/* A ring's control page; the data pages follow it. hyperv.h: struct hv_ring_buffer */
enum vmbus_wire_ring {
    VMBUS_WIRE_RING_WRITE = 0, /* written by the producer */
    VMBUS_WIRE_RING_READ = 4,  /* written by the consumer */
    VMBUS_WIRE_RING_MASK = 8,  /* the consumer wants no signals */
    VMBUS_WIRE_RING_PENDING = 12 /* the producer waits for more room than this */,
    VMBUS_WIRE_RING_FEATURES = 64
};
enum { VMBUS_WIRE_RING_HAS_PENDING = 1 };

struct vmbus_wire_packet {
    uint16_t type; /* enum vmbus_packet_type */
    uint16_t payload_at8;
    uint16_t bytes8; /* with the descriptor, without the trailer */
    uint16_t flags;
    uint64_t transaction;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_packet) == 16, "hyperv.h: vmpacket_descriptor");

enum { VMBUS_WIRE_WANTS_COMPLETION = 1, VMBUS_WIRE_TRAILER_BYTES = 8 };

/* After the descriptor of a GPA-direct packet; ranges follow */
struct vmbus_wire_gpa_direct {
    uint32_t reserved;
    uint32_t n_ranges;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_gpa_direct) == 8, "hyperv.h: vmdata_gpa_direct");

/* Page numbers follow, as many as the bytes touch pages */
struct vmbus_wire_range {
    uint32_t byte_count;
    uint32_t byte_offset;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_range) == 8, "hyperv.h: gpa_range");

/* After the descriptor of a transfer-page packet; {u32 bytes, u32 offset} follow */
struct vmbus_wire_transfer_pages {
    uint16_t set_id;
    uint8_t sender_owns_set;
    uint8_t reserved;
    uint32_t n_ranges;
} VMBUS_WIRE_PACKED;
static_assert(sizeof(struct vmbus_wire_transfer_pages) == 8,
              "hyperv.h: vmtransfer_page_packet_header");
