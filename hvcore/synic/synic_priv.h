/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller's files share. */
#pragma once

#include "hvcore/partition/object.h"
#include "hvcore/spec/tlfs.h"

static inline hv_gpa_t synic_page(uint64_t msr)
{
    return msr & ~(uint64_t)(HV_PAGE_BYTES - 1);
}

/* What belongs to a SINT in the page that an MSR names, or NULL when there is none. */
static inline void *synic_window(struct hv_synic *synic, uint64_t msr, unsigned sint)
{
    uint64_t bytes;

    if (!(atomic_load(&synic->control) & TLFS_SCONTROL_ENABLE) || !(msr & TLFS_PAGE_MSR_ENABLE))
        return NULL;
    /* A page lies in one slot as a whole. */
    return hv_gpa_window(&synic->partition->gpa, synic_page(msr) + sint * TLFS_SINT_BYTES,
                         TLFS_SINT_BYTES, &bytes);
}

/* Send a vector to the VP. */
void synic_interrupt(struct hv_synic *synic, uint8_t vector);
/* Raise a SINT's interrupt unless it is masked or polled. */
void synic_raise(struct hv_synic *synic, unsigned sint);

/* message.c; with the lock held: move what waits for the SINT into its slot, as far as it goes. */
void synic_deliver(struct hv_synic *synic, unsigned sint);
void synic_drop_queue(struct hv_synic *synic);
/* Messages of the SINT have come or gone. */
void synic_update_waiting(struct hv_synic *synic, unsigned sint);

bool synic_put_in(struct hv_synic *synic, unsigned sint, const struct hv_message *message);
bool synic_is_sint_valid(uint64_t value);

/* stimer.c; with the lock held */
void synic_stimers_init(struct hv_synic *synic);
void synic_stimers_fini(struct hv_synic *synic); /* without it */
void synic_stimers_reset(struct hv_synic *synic);
uint64_t synic_stimer_read(const struct hv_synic *synic, uint32_t msr);
void synic_stimer_write(struct hv_synic *synic, uint32_t msr, uint64_t value);
void synic_stimer_restore(struct hv_stimer *stimer, const struct hv_stimer_state *state);
bool synic_stimer_has_message(struct hv_synic *synic, unsigned sint);
bool synic_stimer_take_message(struct hv_synic *synic, unsigned sint, struct hv_message *ret);
