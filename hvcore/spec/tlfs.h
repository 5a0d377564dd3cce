/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts of the Hypervisor Top-Level Functional Specification (TLFS): CPUID leaves, privileges,
 * synthetic MSRs, status codes. The published names under our prefix.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

/* TLFS feature-discovery: hypervisor CPUID leaves */
enum tlfs_leaf {
    TLFS_LEAF_VENDOR = 0x40000000,
    TLFS_LEAF_INTERFACE = 0x40000001,
    TLFS_LEAF_VERSION = 0x40000002,
    TLFS_LEAF_FEATURES = 0x40000003,
    TLFS_LEAF_RECOMMENDATIONS = 0x40000004,
    TLFS_LEAF_LIMITS = 0x40000005,
    TLFS_LEAF_HARDWARE = 0x40000006
};

enum {
    TLFS_VENDOR_EBX = 0x7263694d, /* "Micr" "osof" "t Hv" */
    TLFS_VENDOR_ECX = 0x666f736f,
    TLFS_VENDOR_EDX = 0x76482074,
    TLFS_INTERFACE_HV1 = 0x31237648 /* "Hv#1" */
};

/* HV_PARTITION_PRIVILEGE_MASK, low half: leaf 0x40000003 EAX */
enum tlfs_privilege {
    TLFS_PRIV_VP_RUNTIME = 1 << 0,
    TLFS_PRIV_REFERENCE_COUNTER = 1 << 1,
    TLFS_PRIV_SYNIC = 1 << 2,
    TLFS_PRIV_STIMERS = 1 << 3,
    TLFS_PRIV_APIC_MSRS = 1 << 4,
    TLFS_PRIV_HYPERCALL_MSRS = 1 << 5,
    TLFS_PRIV_VP_INDEX = 1 << 6,
    TLFS_PRIV_REFERENCE_TSC = 1 << 9,
    TLFS_PRIV_GUEST_IDLE = 1 << 10,
    TLFS_PRIV_FREQUENCY_MSRS = 1 << 11
};

/* The high half: EBX */
enum tlfs_privilege_high {
    TLFS_PRIV_HIGH_POST_MESSAGES = 1 << 4,
    TLFS_PRIV_HIGH_SIGNAL_EVENTS = 1 << 5,
    TLFS_PRIV_HIGH_VP_REGISTERS = 1 << 17,
    TLFS_PRIV_HIGH_EXTENDED_CALLS = 1 << 20
};

/* Leaf 0x40000003 EDX */
enum tlfs_feature {
    TLFS_FEATURE_FREQUENCY_MSRS = 1 << 8,
    TLFS_FEATURE_CRASH_MSRS = 1 << 10,
    TLFS_FEATURE_DIRECT_STIMERS = 1 << 19
};

/* Leaf 0x40000004 EAX */
enum tlfs_hint {
    TLFS_HINT_REMOTE_FLUSH = 1 << 2,
    TLFS_HINT_APIC_MSRS = 1 << 3,
    TLFS_HINT_RELAXED_TIMING = 1 << 5,
    TLFS_HINT_NO_AUTO_EOI = 1 << 9,
    TLFS_HINT_CLUSTER_IPI = 1 << 10,
    TLFS_HINT_EX_PROCESSOR_MASKS = 1 << 11
};

/* TLFS "Synthetic MSRs" */
enum tlfs_msr {
    TLFS_MSR_FIRST = 0x40000000,
    TLFS_MSR_GUEST_OS_ID = 0x40000000,
    TLFS_MSR_HYPERCALL = 0x40000001,
    TLFS_MSR_VP_INDEX = 0x40000002,
    TLFS_MSR_VP_RUNTIME = 0x40000010,
    TLFS_MSR_TIME_REF_COUNT = 0x40000020,
    TLFS_MSR_REFERENCE_TSC = 0x40000021,
    TLFS_MSR_TSC_FREQUENCY = 0x40000022,
    TLFS_MSR_APIC_FREQUENCY = 0x40000023,
    TLFS_MSR_EOI = 0x40000070,
    TLFS_MSR_ICR = 0x40000071,
    TLFS_MSR_TPR = 0x40000072,
    TLFS_MSR_VP_ASSIST_PAGE = 0x40000073,
    TLFS_MSR_SCONTROL = 0x40000080,
    TLFS_MSR_SVERSION = 0x40000081,
    TLFS_MSR_SIEFP = 0x40000082,
    TLFS_MSR_SIMP = 0x40000083,
    TLFS_MSR_EOM = 0x40000084,
    TLFS_MSR_SINT0 = 0x40000090,
    TLFS_MSR_SINT15 = 0x4000009f,
    TLFS_MSR_STIMER0_CONFIG = 0x400000b0,
    TLFS_MSR_STIMER0_COUNT = 0x400000b1,
    TLFS_MSR_STIMER3_COUNT = 0x400000b7,
    TLFS_MSR_GUEST_IDLE = 0x400000f0,
    TLFS_MSR_CRASH_P0 = 0x40000100,
    TLFS_MSR_CRASH_P4 = 0x40000104,
    TLFS_MSR_CRASH_CTL = 0x40000105,
    TLFS_MSR_LAST = 0x400001ff
};

/* HYPERCALL, REFERENCE_TSC, VP_ASSIST_PAGE, SIMP, SIEFP: bit 0 enables, bits 12-63 are the page's
 * number. */
enum { TLFS_PAGE_MSR_ENABLE = 1, TLFS_HYPERCALL_LOCKED = 2 };

/* CRASH_CTL: what is supported, and what the guest asks for */
#define TLFS_CRASH_NOTIFY  UINT64_C(0x8000000000000000)
#define TLFS_CRASH_MESSAGE UINT64_C(0x4000000000000000)

/* TLFS inter-partition-communication "SynIC" */
enum {
    TLFS_SCONTROL_ENABLE = 1,
    TLFS_SYNIC_VERSION = 1,
    TLFS_SINT_VECTOR = 0xff,
    TLFS_SINT_FIRST_VECTOR = 16,
    TLFS_SINT_MASKED = 1 << 16,
    TLFS_SINT_AUTO_EOI = 1 << 17,
    TLFS_SINT_POLLING = 1 << 18,
    TLFS_SINT_BYTES = 256, /* of a message slot, and of a SINT's event flags */
    TLFS_MESSAGE_PENDING = 1,
    TLFS_MESSAGE_FROM_HYPERVISOR = (int)0x80000000, /* types with it are the hypervisor's own */
    TLFS_MESSAGE_TIMER_EXPIRED = (int)0x80000010
};

/* TLFS timers "Synthetic Timer Configuration Register" */
enum {
    TLFS_STIMER_ENABLE = 1 << 0,
    TLFS_STIMER_PERIODIC = 1 << 1,
    TLFS_STIMER_LAZY = 1 << 2,
    TLFS_STIMER_AUTO_ENABLE = 1 << 3,
    TLFS_STIMER_VECTOR_SHIFT = 4,
    TLFS_STIMER_DIRECT = 1 << 12,
    TLFS_STIMER_SINT_SHIFT = 16
};

/* HV_TIMER_MESSAGE_PAYLOAD; times in 100 ns */
struct tlfs_timer_payload {
    uint32_t timer;
    uint32_t reserved;
    uint64_t expiration;
    uint64_t delivery;
};
static_assert(sizeof(struct tlfs_timer_payload) == 24, "TLFS timers, HV_TIMER_MESSAGE_PAYLOAD");

/* HV_MESSAGE: a slot of the SIM page */
struct tlfs_message {
    uint32_t type; /* 0: the slot is free */
    uint8_t payload_bytes;
    uint8_t flags;
    uint8_t reserved[2];
    uint64_t origin; /* sender's partition or port */
    uint8_t payload[240];
};
static_assert(sizeof(struct tlfs_message) == TLFS_SINT_BYTES,
              "TLFS inter-partition-communication, HV_MESSAGE");

/* HV_REFERENCE_TSC_PAGE: reference time = (tsc * scale >> 64) + offset, in 100 ns */
struct tlfs_reference_tsc_page {
    uint32_t sequence; /* 0: not valid, read the MSR */
    uint32_t reserved;
    uint64_t scale;
    int64_t offset;
};
static_assert(sizeof(struct tlfs_reference_tsc_page) == 24, "TLFS timers, HV_REFERENCE_TSC_PAGE");

/* HV_STATUS */
enum tlfs_status {
    TLFS_STATUS_SUCCESS = 0,
    TLFS_STATUS_INVALID_HYPERCALL_CODE = 2,
    TLFS_STATUS_INVALID_HYPERCALL_INPUT = 3,
    TLFS_STATUS_INVALID_ALIGNMENT = 4,
    TLFS_STATUS_INVALID_PARAMETER = 5,
    TLFS_STATUS_ACCESS_DENIED = 6,
    TLFS_STATUS_INVALID_PORT_ID = 17,
    TLFS_STATUS_INVALID_CONNECTION_ID = 18,
    TLFS_STATUS_INSUFFICIENT_BUFFERS = 19
};

/* TLFS hypercall codes */
enum tlfs_call {
    TLFS_CALL_FLUSH_SPACE = 0x02,
    TLFS_CALL_FLUSH_LIST = 0x03,
    TLFS_CALL_LONG_SPIN_WAIT = 0x08,
    TLFS_CALL_SEND_IPI = 0x0b,
    TLFS_CALL_FLUSH_SPACE_EX = 0x13,
    TLFS_CALL_FLUSH_LIST_EX = 0x14,
    TLFS_CALL_SEND_IPI_EX = 0x15,
    TLFS_CALL_GET_VP_REGISTERS = 0x50,
    TLFS_CALL_SET_VP_REGISTERS = 0x51,
    TLFS_CALL_POST_MESSAGE = 0x5c,
    TLFS_CALL_SIGNAL_EVENT = 0x5d,
    TLFS_CALL_EXT_QUERY_CAPABILITIES = 0x8001
};

/* HV_FLUSH_FLAGS */
enum { TLFS_FLUSH_ALL_PROCESSORS = 1, TLFS_FLUSH_FLAGS = 0xf };

/* HV_GENERIC_SET_FORMAT */
enum { TLFS_VP_SET_SPARSE, TLFS_VP_SET_ALL };

/* Hypercall input value (TLFS "Hypercall Inputs") */
#define TLFS_CALL_CODE      UINT64_C(0x000000000000ffff)
#define TLFS_CALL_FAST      UINT64_C(0x0000000000010000)
#define TLFS_CALL_VAR_QWORD UINT64_C(0x0000000007fe0000)
#define TLFS_CALL_REP_COUNT UINT64_C(0x00000fff00000000)
#define TLFS_CALL_REP_START UINT64_C(0x0fff000000000000)
#define TLFS_CALL_RESERVED  UINT64_C(0xf000f00078000000)

enum { TLFS_TICKS_PER_SECOND = 10000000 };
