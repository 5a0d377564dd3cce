/* SPDX-License-Identifier: Apache-2.0 */
/* One VP's synthetic interrupt controller, as the rooms around it see it. */
#pragma once

#include "hvcore/base/list.h"
#include "hvcore/synic.h"
#include "hvcore/synic/stimer.h"

#include <pthread.h>
#include <stdatomic.h>

enum { HV_SYNIC_QUEUE_MAX = 64 };

/* A message that waits for its slot. */
struct hv_synic_waiting {
    struct hv_list link;
    unsigned sint;
    struct hv_message message;
};

struct hv_synic {
    /* private */
    struct hv_partition *partition;
    unsigned vp;
    /* written under the lock, by the VP's thread; read by any */
    _Atomic uint64_t control;
    _Atomic uint64_t siefp;
    _Atomic uint64_t simp;
    _Atomic uint64_t sint[HV_SYNIC_N_SINTS];
    _Atomic uint32_t waiting; /* SINTs with a message to come; changed under the lock */

    pthread_mutex_t lock;
    struct hv_list queue; /* in order of arrival, for all SINTs */
    struct hv_list spare; /* of the pool, once used */
    unsigned n_used;      /* of the pool; the rest was never touched */
    struct hv_synic_waiting pool[HV_SYNIC_QUEUE_MAX];
    struct hv_stimer stimers[HV_SYNIC_N_TIMERS];
    struct hv_tsc_anchor anchor;
    bool is_time_stopped;
};

/* Power-up values; ready for the parent's messages. */
void hv_synic_init(struct hv_synic *synic, struct hv_partition *partition, unsigned vp);
/* Nobody posts, signals or fires any more. */
void hv_synic_fini(struct hv_synic *synic);
/* Power-up values; the VP doesn't run. */
void hv_synic_reset(struct hv_synic *synic);

/* What it is, out and in; the VP doesn't run. Only a valid state is set. */
struct hv_synic_state;
void hv_synic_get_state(struct hv_synic *synic, struct hv_synic_state *ret);
bool hv_synic_is_state_valid(const struct hv_synic_state *state);
void hv_synic_set_state(struct hv_synic *synic, const struct hv_synic_state *state);

/* Timers stand still from before the partition's clock stops until after it goes on. */
void hv_synic_stop_time(struct hv_synic *synic);
void hv_synic_start_time(struct hv_synic *synic);

/* MSRs SCONTROL to STIMER3_COUNT. thread: the VP's. False: #GP, and nothing changed. */
bool hv_synic_read(struct hv_synic *synic, uint32_t msr, uint64_t *ret);
bool hv_synic_write(struct hv_synic *synic, uint32_t msr, uint64_t value);

/* The local APIC ended an interrupt that ops->watch_eoi asked about. thread: the VP's. */
void hv_synic_end_of_interrupt(struct hv_synic *synic, uint8_t vector);
