/* SPDX-License-Identifier: Apache-2.0 */
/* The partition and its VPs as the rooms above see them: hypercall/ and intercept/. */
#pragma once

#include "hvcore/backend/ops.h"
#include "hvcore/synic/controller.h"
#include "hvcore/synic/port.h"
#include "hvcore/vp.h"

#include <pthread.h>

enum { HV_MSR_LOG_MAX = 64 };

/* MSRs of one VP that the processor proper doesn't hold. owner: the VP's thread. */
struct hv_msrs {
    struct hv_machine_msrs machine;
    uint64_t vp_assist;
};

/* Synthetic MSRs of the whole partition. lock: partition->lock; atomics are read without. */
struct hv_synthetic {
    _Atomic uint64_t guest_os_id;
    _Atomic uint64_t hypercall;
    _Atomic uint64_t reference_tsc;
    _Atomic uint64_t crash[HV_CRASH_PARAMETERS];
};

struct hv_vp {
    struct hv_partition *partition;
    unsigned index;
    void *backend;
    struct hv_msrs msrs;
    struct hv_synic synic;
    /* owner: the VP's thread; ns of its processor time in earlier runs, and when this one began */
    uint64_t runtime_ns;
    uint64_t entered_ns;
};

struct hv_partition {
    struct hv_gpa_space gpa;
    struct hv_io_space ports;
    struct hv_io_space mmio;
    struct hv_chipset_ops chipset;
    void *chipset_opaque;
    struct hv_log log;
    enum hv_backend kind;
    const struct hv_backend_ops *ops;
    void *backend;
    struct hv_backend_host host;
    struct hv_backend_facts facts;
    struct hv_timer_queue *timers;
    struct hv_tsc_facts tsc;
    struct hv_guest_clock clock;
    struct x86_cpuid cpuid;
    struct hv_vp *vps[HV_MAX_VPS];
    unsigned n_vps;
    bool is_sealed;

    pthread_mutex_t lock;
    uint64_t privileges; /* leaf 0x40000003 EBX:EAX, once the leaves are made */
    struct hv_synthetic synthetic;
    struct hv_ports synic_ports;
    hv_crash_fn *crash_fn;
    void *crash_opaque;
    /* Unknown MSRs that were logged, each once; bit 32 of an entry: a write. */
    uint64_t logged_msrs[HV_MSR_LOG_MAX];
    unsigned n_logged_msrs;
};

/* Processor time that the VP has used, in ns. thread: the VP's, in hv_vp_run. */
uint64_t hv_vp_runtime_ns(const struct hv_vp *vp);

/* Power-up values, with what firmware would have set. */
void hv_msrs_reset(struct hv_msrs *msrs);
