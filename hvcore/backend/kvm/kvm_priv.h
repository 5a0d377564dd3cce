/* SPDX-License-Identifier: Apache-2.0 */
/* What the KVM backend's files share. */
#pragma once

#include "hvcore/backend/ops.h"
#include "hvcore/vp.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum {
    /* Level-triggered messages that KVM watches the end of, at once. */
    KVM_LEVEL_ROUTES = 64,
    /* Where the hypercall page of this backend calls out: no PC device lives there. */
    KVM_HYPERCALL_PORT = 0xea
};

/* Makes KVM_RUN return; its handler does nothing. */
#define HVKVM_KICK_SIGNAL (SIGRTMIN + 2)

struct kvm_vp {
    struct kvm_partition *partition;
    unsigned index;
    int fd;
    struct kvm_run *run;
    size_t run_bytes;
    _Atomic bool is_cancelled;
    /* lock: who may be signalled */
    pthread_mutex_t lock;
    bool is_running;
    pthread_t thread;
    /* owner: the VP's thread, or who stopped it */
    struct hv_vp_state power_up; /* as KVM made it */
    uint8_t paused_lapic[HV_LAPIC_PAGE_BYTES];
    uint64_t paused_deadline;
    _Atomic uint64_t exits, port_ios, mmios;
};

struct kvm_level_route {
    uint64_t address;
    uint32_t data;
};

struct kvm_partition {
    const struct hv_backend_host *host;
    int kvm_fd;
    int vm_fd;
    struct kvm_vp *vps[HV_MAX_VPS];
    bool has_tsc_offset; /* KVM_VCPU_TSC_OFFSET */
    bool has_xcrs;       /* the host has XSAVE */
    bool has_hypercalls; /* KVM takes Hyper-V hypercalls, and hands out those it doesn't know */
    bool has_synic;      /* KVM keeps the SynIC's registers and takes interrupts for SINTs */
    bool has_lazy_eoi;   /* KVM takes ends of interrupts by the VP assist page */
    bool is_paused;
    _Atomic bool pic_output;
    pthread_mutex_t route_lock;
    struct kvm_level_route routes[KVM_LEVEL_ROUTES];
    unsigned n_routes;
    unsigned next_route;           /* the one to be given up next, when all are taken */
    struct kvm_irq_routing *table; /* with room for those and for each SINT */
};

/* ioctl without EINTR, as 0 or more, or a negative errno. */
int hvkvm_ioctl(int fd, unsigned long request, void *argument);
/* Open /dev/kvm when kvm_fd is -1; else a duplicate of it. */
int hvkvm_open(int kvm_fd);
void hvkvm_install_kick(void);

/* caps.c: is everything there? 0, or a negative errno with the sentence that names what isn't. */
int hvkvm_check_capabilities(int kvm_fd, struct hv_error **reterr);

/* cpuid.c */
int hvkvm_cpuid_build(int kvm_fd, struct x86_cpuid *cpuid, unsigned n_vps);
int hvkvm_cpuid_set(struct kvm_vp *vp);

/* irq.c */
void hvkvm_interrupt(void *backend, const struct hv_interrupt *interrupt);
void hvkvm_set_pic_output(void *backend, bool level);
/* The table of routes as it is at first. */
int hvkvm_routes_init(struct kvm_partition *partition);
/* Hand the 8259 pair's vector to the processor when it can take one, else ask to be told when. */
int hvkvm_inject_pic(struct kvm_vp *vp);

/* hypercall.c */
/* May KVM's own part be used? Tells host->facts; before VPs are made. */
void hvkvm_hypercalls_init(struct kvm_partition *partition);
void hvkvm_enable_hypercalls(void *backend, unsigned vp, bool is_enabled);
bool hvkvm_set_event_port(void *backend, uint32_t connection_id, int eventfd, bool is_added);
/* The guest called: through KVM, or by the port of our own page. */
void hvkvm_on_hyperv(struct kvm_vp *vp);
void hvkvm_on_call_port(struct kvm_vp *vp);

/* synic.c */
/* Try KVM's SynIC on a VP of its own. */
bool hvkvm_synic_works(int kvm_fd);
int hvkvm_synic_init_vp(struct kvm_vp *vp);
/* A route for each SINT, into entries[]; returns how many. */
unsigned hvkvm_synic_add_routes(const struct kvm_partition *partition,
                                struct kvm_irq_routing_entry *entries);
bool hvkvm_raise_sint(void *backend, unsigned vp, unsigned sint);
bool hvkvm_set_sint(void *backend, unsigned vp, unsigned sint, uint64_t value);
void hvkvm_on_synic(struct kvm_vp *vp);
/* Of SynIC and VP assist page what is KVM's. */
int hvkvm_synic_get_state(const struct kvm_vp *vp, struct hv_vp_state *ret);
int hvkvm_synic_set_state(const struct kvm_vp *vp, const struct hv_vp_state *state);

/* vp.c */
int hvkvm_vp_new(void *backend, unsigned index, void **ret, struct hv_error **reterr);
void hvkvm_vp_free(void *vp);
int hvkvm_vp_run(void *vp, struct hv_exit *ret);
void hvkvm_vp_cancel(void *vp);
void hvkvm_vp_get_counters(const void *vp, struct hv_vp_counters *ret);
/* Leave KVM_RUN and look around. Any thread. */
void hvkvm_vp_kick(struct kvm_vp *vp);

/* state.c */
int hvkvm_vp_get_state(void *vp, struct hv_vp_state *ret);
int hvkvm_vp_set_state(void *vp, const struct hv_vp_state *state);
int hvkvm_vp_set_tsc_offset(struct kvm_vp *vp, uint64_t offset);
/* Time stood still for so many ticks. */
int hvkvm_vp_skip_tsc(struct kvm_vp *vp, uint64_t ticks);
int hvkvm_vp_set_machine_msrs(struct kvm_vp *vp);
int hvkvm_vp_get_msr(const struct kvm_vp *vp, uint32_t msr, uint64_t *ret);
int hvkvm_vp_set_msr(const struct kvm_vp *vp, uint32_t msr, uint64_t value);
int hvkvm_vp_freeze_timer(struct kvm_vp *vp);
int hvkvm_vp_thaw_timer(struct kvm_vp *vp);
