/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A partition: one VM's memory, I/O routing, interrupts and clock, over either backend.
 *
 * Made and freed by one thread while no VP runs. What may be called meanwhile says so.
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/log.h"
#include "hvcore/gpa.h"
#include "hvcore/host.h"
#include "hvcore/interrupt.h"
#include "hvcore/io.h"
#include "hvcore/time/timer.h"
#include "hvcore/time/tsc.h"

struct hv_partition;
struct hv_vp;

enum { HV_MAX_VPS = 64 };

/* What the partition asks of the chipset. Called on VP threads; must not block. */
struct hv_chipset_ops {
    /* public */
    /* Acknowledge the 8259 pair: the vector it delivers now, or -1 (spurious is its own vector). */
    int (*pic_acknowledge)(void *opaque);
    /* A LAPIC ended a level-triggered interrupt: the IOAPIC's remote IRR may fall. */
    void (*end_of_interrupt)(void *opaque, uint8_t vector);
};

struct hv_partition_config {
    /* public */
    enum hv_backend backend; /* HV_BACKEND_AUTO is resolved by hv_host_probe */
    int kvm_fd;              /* an open /dev/kvm (not taken over), or -1 */
    unsigned n_vps;          /* 1 to HV_MAX_VPS */
    uint64_t ram_bytes;
    const struct hv_chipset_ops *chipset; /* may be NULL: no PIC, no IOAPIC */
    void *chipset_opaque;
    struct hv_tsc_facts tsc; /* of the host; all zero: they are found out here */
    struct hv_log log;
};

/* Make the partition and its VPs (VP 0 active at reset, the others waiting for SIPI); RAM slots
 * are added by the caller with hv_gpa_space_add_ram before VPs run. */
int hv_partition_new(const struct hv_partition_config *config, struct hv_partition **ret,
                     struct hv_error **reterr);
struct hv_partition *hv_partition_free(struct hv_partition *partition);

static inline void hv_partition_freep(struct hv_partition **partition)
{
    *partition = hv_partition_free(*partition);
}

/* Tell the backend of all RAM slots; once, after the last hv_gpa_space_add_ram. Only then may VPs
 * run, their state be read or set, time be paused and doorbells be added. */
int hv_partition_seal_memory(struct hv_partition *partition, struct hv_error **reterr);

/* Parts and facts of a partition; they live as long as it does. */
struct hv_gpa_space *hv_partition_gpa(struct hv_partition *partition);
struct hv_io_space *hv_partition_ports(struct hv_partition *partition);
struct hv_io_space *hv_partition_mmio(struct hv_partition *partition);
enum hv_backend hv_partition_backend(const struct hv_partition *partition);
unsigned hv_partition_n_vps(const struct hv_partition *partition);
struct hv_vp *hv_partition_vp(struct hv_partition *partition, unsigned index);
/* The partition's timers, for chips too; deadlines are in host time. Freed with the partition. */
struct hv_timer_queue *hv_partition_timers(struct hv_partition *partition);

/* Deliver an interrupt message. Any thread. */
void hv_partition_interrupt(struct hv_partition *partition, const struct hv_interrupt *interrupt);

/* The INTR output of the 8259 pair, wired to VP 0's LINT0 (ExtINT). Any thread. */
void hv_partition_set_pic_output(struct hv_partition *partition, bool level);

/* Guest time stops while paused: call with all VPs out of hv_vp_run. TSC and LAPIC timers resume
 * where they were. */
void hv_partition_pause_time(struct hv_partition *partition);
void hv_partition_resume_time(struct hv_partition *partition);
/* Guest time in nanoseconds since the partition was made; stands still while paused. Any thread. */
uint64_t hv_partition_now_ns(const struct hv_partition *partition);

/*
 * Read or replace what the VPs share; none runs. Setting comes after guest RAM and before the VPs'
 * states: the hypercall and reference TSC pages are written anew, for this backend and host.
 */
struct hv_partition_state;
void hv_partition_get_state(struct hv_partition *partition, struct hv_partition_state *ret);
void hv_partition_set_state(struct hv_partition *partition, const struct hv_partition_state *state);

/* What VP 0's CPUID tells at power-up: EAX, EBX, ECX, EDX; and the guest TSC's frequency. */
void hv_partition_cpuid(struct hv_partition *partition, uint32_t leaf, uint32_t subleaf,
                        uint32_t ret[4]);
uint64_t hv_partition_tsc_hz(const struct hv_partition *partition);

/* Put all VPs and in-core devices back to their reset state; RAM is kept. VPs must not run. */
void hv_partition_reset(struct hv_partition *partition);

/* An eventfd that is signalled when the guest writes to this MMIO or port address instead of the
 * range's handler (KVM: ioeventfd; soft: written on the VP thread). Returns 0 or a negative errno.
 */
int hv_partition_add_doorbell(struct hv_partition *partition, bool is_port, uint64_t address,
                              unsigned size, int eventfd);
