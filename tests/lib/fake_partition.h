/* SPDX-License-Identifier: Apache-2.0 */
/* A partition of two VPs without a processor: memory, clock, timers, and a backend that counts
 * what it is told. */
#pragma once

#include "tests/lib/cmocka.h"

#include "hvcore/intercept/msr.h"

#include <string.h>

enum { FAKE_VPS = 2, FAKE_RAM_BYTES = 32 * HV_PAGE_BYTES };

struct fake_partition {
    struct hv_partition partition;
    _Atomic unsigned n_interrupts[FAKE_VPS];
    _Atomic unsigned vector[FAKE_VPS]; /* the last one */
    uint64_t at[FAKE_VPS];             /* its reference time */
    uint64_t flushed;                  /* VPs of the last flush, as asked for */
    unsigned n_flushes;
    unsigned n_eoi_watches;
    uint8_t watched_vector;
    struct hv_vp vps[FAKE_VPS];
};

static void fake_interrupt(void *backend, const struct hv_interrupt *interrupt)
{
    struct fake_partition *fake = backend;

    assert_in_range(interrupt->destination, 0, FAKE_VPS - 1);
    fake->at[interrupt->destination] = hv_guest_clock_reference(&fake->partition.clock);
    atomic_store(&fake->vector[interrupt->destination], interrupt->vector);
    atomic_fetch_add(&fake->n_interrupts[interrupt->destination], 1);
}

static void fake_watch_eoi(void *backend, unsigned vp, uint8_t vector)
{
    struct fake_partition *fake = backend;

    assert_in_range(vp, 0, FAKE_VPS - 1);
    fake->n_eoi_watches++;
    fake->watched_vector = vector;
}

static void fake_flush(void *backend, unsigned caller, uint64_t vps)
{
    struct fake_partition *fake = backend;

    assert_in_range(caller, 0, FAKE_VPS - 1);
    fake->flushed = vps;
    fake->n_flushes++;
}

static const struct hv_backend_ops fake_ops = { .interrupt = fake_interrupt,
                                                .watch_eoi = fake_watch_eoi,
                                                .flush = fake_flush };

static int fake_setup(void **state)
{
    struct fake_partition *fake = calloc(1, sizeof(*fake));
    struct hv_partition *partition = &fake->partition;

    partition->ops = &fake_ops;
    partition->backend = fake;
    partition->facts = (struct hv_backend_facts){
        .offers = HV_OFFER_STIMERS | HV_OFFER_FLUSH | HV_OFFER_IPI,
        .hypercall_code = { 0x0f, 0x01, 0xd9 },
        .hypercall_code_bytes = 3,
    };
    partition->n_vps = FAKE_VPS;
    partition->host.n_vps = FAKE_VPS;
    hv_tsc_finish(&partition->tsc);
    hv_guest_clock_init(&partition->clock, partition->tsc.hz);
    assert_int_equal(hv_timer_queue_new(&partition->timers), 0);
    (void)pthread_mutex_init(&partition->lock, NULL);
    hv_ports_init(&partition->synic_ports);
    for (unsigned i = 0; i < FAKE_VPS; i++) {
        partition->vps[i] = &fake->vps[i];
        fake->vps[i].partition = partition;
        fake->vps[i].index = i;
        hv_msrs_reset(&fake->vps[i].msrs);
        hv_synic_init(&fake->vps[i].synic, partition, i);
    }
    hv_synthetic_add_cpuid(partition);
    assert_int_equal(hv_gpa_space_init(&partition->gpa, FAKE_RAM_BYTES, NULL), 0);
    assert_int_equal(hv_gpa_space_add_ram(&partition->gpa, 0, FAKE_RAM_BYTES, 0), 0);
    *state = fake;
    return 0;
}

static int fake_teardown(void **state)
{
    struct fake_partition *fake = *state;

    for (unsigned i = 0; i < FAKE_VPS; i++)
        hv_synic_fini(&fake->vps[i].synic);
    fake->partition.timers = hv_timer_queue_free(fake->partition.timers);
    hv_ports_fini(&fake->partition.synic_ports);
    hv_gpa_space_fini(&fake->partition.gpa);
    (void)pthread_mutex_destroy(&fake->partition.lock);
    free(fake);
    return 0;
}

static inline uint64_t fake_rdmsr(struct fake_partition *fake, unsigned vp, uint32_t msr)
{
    uint64_t value = 0;

    assert_true(hv_msr_read(&fake->partition, vp, msr, &value));
    return value;
}

static inline void fake_wrmsr(struct fake_partition *fake, unsigned vp, uint32_t msr,
                              uint64_t value)
{
    assert_true(hv_msr_write(&fake->partition, vp, msr, value));
}

/* Guest memory as the guest sees it. */
static inline void *fake_memory(struct fake_partition *fake, hv_gpa_t gpa)
{
    return fake->partition.gpa.slots[0].host + gpa;
}
