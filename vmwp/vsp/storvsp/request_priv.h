/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One SRB on its way: from the guest's packet to a SCSI task, and from that to the answer. Pure but
 * for the disk's work; no lock, no ring.
 */
#pragma once

#include "vmwp/vsp/storvsp/scsi_priv.h"

struct storvsp_queue;

struct storvsp_request {
    /* private; owner: whoever holds it */
    struct storvsp_request *next;
    struct storvsp_queue *queue;
    uint64_t transaction;
    bool wants_completion;
    bool is_oversized;                 /* more pieces than a request may have */
    struct storvsp_wire_packet packet; /* the guest's, then the answer */
    struct scsi_unit *unit;            /* while it runs; used under the controller's count */
    uint64_t ghosts;                   /* units that were gone when it started */
    bool may_hold;                     /* where the host's storage fails it, it is tried again */
    bool is_held;    /* it is to be tried again: the packet is the guest's still */
    bool was_held;   /* counted among those that the guest waits for */
    bool is_sampled; /* timed, for the queue's means */
    uint64_t started_ns, started_cpu_ns;
    long started_waits;
    struct scsi_task task;
    uint64_t data_bytes;
    unsigned n_ranges;
    struct vmbus_range *ranges; /* room for STORVSP_MAX_PIECES, apart: few are ever touched */
};

/* Copy what is needed of a packet. False: it is none of the storage protocol. */
bool storvsp_request_take(struct storvsp_request *request, const struct vmbus_packet *packet);
/* Where the SRB goes: sets *ret_lun, or returns false when no unit can be there. */
bool storvsp_request_address(const struct storvsp_request *request, unsigned *ret_lun);
enum scsi_pace storvsp_request_pace(const struct storvsp_request *request);
/* Run it against unit (NULL: nobody) and turn the packet into the answer. Blocks for the disk. */
void storvsp_request_run(struct storvsp_request *request, struct hv_gpa_space *gpa,
                         struct scsi_unit *unit, uint64_t present);

/* First in, first out; a list of zeroes is empty. */
struct storvsp_list {
    /* private */
    struct storvsp_request *first, *last;
    unsigned n;
};

static inline void storvsp_list_push(struct storvsp_list *list, struct storvsp_request *request)
{
    request->next = NULL;
    if (list->last)
        list->last->next = request;
    else
        list->first = request;
    list->last = request;
    list->n++;
}

static inline struct storvsp_request *storvsp_list_pop(struct storvsp_list *list)
{
    struct storvsp_request *request = list->first;

    if (!request)
        return NULL;
    list->first = request->next;
    if (!list->first)
        list->last = NULL;
    list->n--;
    return request;
}

/* To the front: what was used last is used next, while the cache has it. */
static inline void storvsp_list_push_front(struct storvsp_list *list,
                                           struct storvsp_request *request)
{
    request->next = list->first;
    list->first = request;
    if (!list->last)
        list->last = request;
    list->n++;
}

/* All of `from` behind what is in `to`; `from` is empty then. */
static inline void storvsp_list_join(struct storvsp_list *to, struct storvsp_list *from)
{
    if (!from->first)
        return;
    if (to->last)
        to->last->next = from->first;
    else
        to->first = from->first;
    to->last = from->last;
    to->n += from->n;
    *from = (struct storvsp_list){ 0 };
}
