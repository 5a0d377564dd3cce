/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-shot timers on CLOCK_MONOTONIC, run by a thread of their own, with callbacks that must be
 * short: they set a line, post an interrupt, or arm again. For LAPIC timers and chips alike.
 */
#pragma once

#include "hvcore/base/own.h"

struct hv_timer_queue;

typedef void hv_timer_fn(void *opaque);

struct hv_timer {
    /* private; owner: the queue's lock */
    struct hv_timer_queue *queue;
    hv_timer_fn *fn;
    void *opaque;
    uint64_t deadline_ns;
    size_t heap_index; /* SIZE_MAX when not armed */
    bool is_cancelled; /* somebody waits for its end: arming has no effect */
};

/* Make a queue and start its thread. Returns 0 or a negative errno. */
int hv_timer_queue_new(struct hv_timer_queue **ret);
/* No timer may be armed or fire any more; waits for the thread. */
struct hv_timer_queue *hv_timer_queue_free(struct hv_timer_queue *queue);

/* Tie a timer to its queue and callback, not armed. */
void hv_timer_init(struct hv_timer *timer, struct hv_timer_queue *queue, hv_timer_fn *fn,
                   void *opaque);
/* Fire fn(opaque) on the queue's thread at deadline_ns (CLOCK_MONOTONIC), once; replaces an
 * earlier deadline. Any thread, also from a callback. */
void hv_timer_arm(struct hv_timer *timer, uint64_t deadline_ns);
/* Not to fire any more. May return while fn runs on the queue's thread. Any thread. */
void hv_timer_disarm(struct hv_timer *timer);
/* Disarm and wait until fn is not running. Not from a callback, not with a lock that fn takes. */
void hv_timer_cancel_sync(struct hv_timer *timer);
