/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between the partition and what executes it. A backend is one table of functions; what
 * it asks of the partition is another. Nothing above knows which backend is there.
 *
 * Life: partition_new, vp_new for each index, then RAM is added to the space, then seal_memory;
 * state is read and set, time paused and doorbells added only after that. vp_free before
 * partition_free. Backends return errors with a sentence where they take reterr.
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/log.h"
#include "hvcore/gpa.h"
#include "hvcore/interrupt.h"
#include "hvcore/state.h"
#include "hvcore/time/timer.h"
#include "hvcore/time/tsc.h"
#include "hvcore/x86/cpuid.h"

struct hv_exit;
struct hv_vp_counters;

enum { HV_BACKEND_TEXT_BYTES = 128 };

/* Enlightenments that not every backend can back, or that would slow it down. */
enum hv_backend_offer {
    HV_OFFER_STIMERS = 1 << 0,
    HV_OFFER_FLUSH = 1 << 1,     /* of other VPs' translations */
    HV_OFFER_IPI = 1 << 2,       /* to many VPs by one call */
    HV_OFFER_APIC_MSRS = 1 << 3, /* EOI, ICR and TPR: the backend answers them */
    HV_OFFER_GUEST_IDLE = 1 << 4,
    HV_OFFER_LAZY_EOI = 1 << 5 /* the VP assist page spares writes of EOI */
};

/* Registers of a hypercall: TLFS "Hypercall Inputs". */
struct hv_hypercall {
    uint64_t input;      /* rcx, or edx:eax */
    uint64_t parameters; /* rdx, or ebx:ecx: input block, or the first fast one */
    uint64_t output;     /* r8, or edi:esi: output block, or the second fast one */
};

/* What exits lead to; called on the VP's thread with no lock held. */
struct hv_exit_handlers {
    /* Add the hypervisor's own leaves to the table that the backend has filled; once. */
    void (*add_cpuid)(void *partition);
    uint64_t (*mmio_read)(void *partition, hv_gpa_t gpa, unsigned size);
    void (*mmio_write)(void *partition, hv_gpa_t gpa, unsigned size, uint64_t value);
    uint32_t (*port_read)(void *partition, uint16_t port, unsigned size);
    void (*port_write)(void *partition, uint16_t port, unsigned size, uint32_t value);
    /* What the processor itself doesn't hold. False: #GP(0). */
    bool (*msr_read)(void *partition, unsigned vp, uint32_t msr, uint64_t *ret);
    bool (*msr_write)(void *partition, unsigned vp, uint32_t msr, uint64_t value);
    void (*cpuid)(void *partition, unsigned vp, uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);
    /* The caller was at CPL 0. False: #UD; else *ret is the result value. */
    bool (*hypercall)(void *partition, unsigned vp, const struct hv_hypercall *call, uint64_t *ret);
    int (*pic_acknowledge)(void *partition); /* vector or -1 */
    void (*end_of_interrupt)(void *partition, uint8_t vector);
    /* The VP ended an interrupt that watch_eoi asked about. */
    void (*watched_eoi)(void *partition, unsigned vp, uint8_t vector);
};

/* What a backend tells of itself in partition_new. */
struct hv_backend_facts {
    uint32_t offers; /* enum hv_backend_offer */
    /* The instruction that the hypercall page holds: its bytes, and their number. */
    uint8_t hypercall_code[3];
    uint8_t hypercall_code_bytes;
};

/* What a backend is given; outlives it. */
struct hv_backend_host {
    /* read only */
    const struct hv_exit_handlers *handlers;
    void *partition; /* their first argument */
    struct hv_gpa_space *gpa;
    struct hv_timer_queue *timers;
    struct hv_guest_clock *clock;
    struct x86_cpuid *cpuid;        /* filled by partition_new, completed before seal */
    struct hv_backend_facts *facts; /* filled by partition_new */
    const struct hv_log *log;
    unsigned n_vps;
    int kvm_fd; /* open /dev/kvm, or -1 */
    uint64_t max_gpa;
};

struct hv_backend_ops {
    const char *name;

    int (*partition_new)(const struct hv_backend_host *host, void **ret, struct hv_error **reterr);
    void (*partition_free)(void *backend);
    /* RAM and CPUID are complete. */
    int (*seal)(void *backend, struct hv_error **reterr);
    void (*interrupt)(void *backend, const struct hv_interrupt *interrupt);
    void (*set_pic_output)(void *backend, bool level);
    /* Tell, once, when the VP next ends an interrupt of this vector. Any thread. NULL: can't. */
    void (*watch_eoi)(void *backend, unsigned vp, uint8_t vector);
    /* The guest enabled or disabled its hypercalls, on this VP's thread or while none runs;
     * disabled at first. NULL: all the same. */
    void (*enable_hypercalls)(void *backend, unsigned vp, bool is_enabled);
    /* Have an eventfd written for a connection without an exit, or end it. Any thread. NULL, or
     * false: it can't, and the call comes out. */
    bool (*set_event_port)(void *backend, uint32_t connection_id, int eventfd, bool is_added);
    /* A SINT is about to have a new value, which is valid; on the VP's thread. False: it can't. */
    bool (*set_sint)(void *backend, unsigned vp, unsigned sint, uint64_t value);
    /* Raise a SINT's interrupt. Any thread. NULL, or false: send its vector. */
    bool (*raise_sint)(void *backend, unsigned vp, unsigned sint);
    /* Have VPs (a bit each; some may not exist) drop all their translations before it returns.
     * From within handlers->hypercall. For HV_OFFER_FLUSH. */
    void (*flush)(void *backend, unsigned caller, uint64_t vps);
    /* Guest time was stopped and is running again, `ticks` of TSC later; clock->offset has
     * moved. pause_time comes before the clock stops. */
    void (*pause_time)(void *backend);
    void (*resume_time)(void *backend, uint64_t ticks);
    /* All VPs to power-up state, guest TSC = clock's. */
    void (*reset)(void *backend);
    int (*add_doorbell)(void *backend, bool is_port, uint64_t address, unsigned size, int eventfd);

    int (*vp_new)(void *backend, unsigned index, void **ret, struct hv_error **reterr);
    void (*vp_free)(void *vp);
    int (*vp_run)(void *vp, struct hv_exit *ret);
    void (*vp_cancel)(void *vp);
    /* *ret has what the partition keeps of the VP; a backend that keeps some itself replaces it. */
    int (*vp_get_state)(void *vp, struct hv_vp_state *ret);
    int (*vp_set_state)(void *vp, const struct hv_vp_state *state);
    void (*vp_get_counters)(const void *vp, struct hv_vp_counters *ret);
};

/* What a KVM of this host is worth. */
struct hvkvm_probe {
    bool is_usable;               /* opened, and has every capability we need */
    bool is_fast;                 /* runs 64-bit code about as fast as the host itself */
    double ns_per_iteration;      /* of the self-test's loop; 0: didn't run */
    double host_ns_per_iteration; /* of the same loop outside */
    unsigned max_vps;
    char text[HV_BACKEND_TEXT_BYTES]; /* why not, one sentence; empty when is_fast */
};

/* kvm_fd: an open /dev/kvm, or -1. Takes a few milliseconds, and ends whatever the guest does. */
void hvkvm_probe(int kvm_fd, struct hvkvm_probe *ret);

extern const struct hv_backend_ops hvsoft_ops;
extern const struct hv_backend_ops hvkvm_ops;

/* Made by intercept/, asked for by partition/. */
extern const struct hv_exit_handlers hv_intercept_handlers;
