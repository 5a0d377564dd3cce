/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The controller's insides: its queues, its pool, and the one lock over both.
 *
 * Threads. Each channel has a queue thread, which alone receives from it; the pool's threads run
 * what may take long. A queue thread that may work is `busy`, also while it waits in poll; one that
 * may not (no channel, held, closing) is parked at `ready` and touches nothing. Completions are
 * sent by whoever finished a request: one sender per queue at a time, who takes all that is done.
 *
 * Lock. `lock` is held for list work only, never over a disk, a ring or guest memory. Whoever waits
 * for threads (pause, closed, detach, reset) waits at `idle`.
 */
#pragma once

#include "vmwp/vsp/storvsp/protocol_priv.h"
#include "vmwp/vsp/storvsp/request_priv.h"

#include <pthread.h>

enum {
    STORVSP_QUEUE_DEPTH = 256,    /* requests under way; more stay in the ring */
    STORVSP_TURN = 32,            /* packets that are received before they are run */
    STORVSP_BATCH = 16,           /* completions that wait for each other at most */
    STORVSP_QUICK_NS = 50 * 1000, /* a mean wait for the disk that is none: its cache answers */
    STORVSP_SAMPLE_EVERY = 4,     /* transfers of which one is timed */
    STORVSP_PROBE_EVERY = 16,     /* turns, at first; see queue.c */
    STORVSP_HELPER_NS = 50 * 1000 /* work that is worth waking a thread */
};

struct storvsp_queue {
    /* read only */
    struct storvsp_controller *controller;
    unsigned index;
    int wake_fd;
    pthread_t thread;
    pthread_cond_t ready;
    /* owner: the queue thread, while it is busy */
    struct vmbus_packet *packet;
    struct storvsp_list spare; /* free requests taken in one go */
    bool is_broken;            /* nothing more is received until it is opened again */
    bool is_short;             /* the next packet waits in the ring for memory */
    bool is_probing;           /* this turn was waited for, to see whether many come */
    bool is_batch;             /* by its scheduling policy */
    unsigned patience; /* many come together: so many more waits are made, though few come */
    unsigned probe_in, probe_every; /* turns */
    uint64_t turned_ns, gap_ns;     /* when it received last; mean time from request to request */
    /* lock: the controller's */
    struct storvsp_request *requests; /* STORVSP_QUEUE_DEPTH */
    struct vmbus_range *ranges;       /* of all requests */
    struct vmbus_channel *channel;    /* NULL: closed; constant while the thread is busy */
    int doorbell;
    bool is_closing;
    bool is_busy;
    bool is_resetting; /* waits, in the middle of a turn, for all others */
    bool is_starved;   /* waits for a free request */
    bool is_sending;
    bool is_full;  /* the ring has no room for completions; the guest will signal */
    bool is_retry; /* it did, while one was sending */
    struct storvsp_list free, done;
    unsigned n_pending, n_running;
    unsigned n_transfers;
    uint64_t mean_ns, mean_wait_ns; /* of transfers lately: work with its waits, and these alone */
};

struct storvsp_controller {
    /* read only */
    struct storvsp_config config;
    struct vmbus_channel *primary; /* owner: io */
    struct storvsp_queue *queues;  /* config.n_queues */
    pthread_t io_threads[STORVSP_MAX_IO_THREADS];
    unsigned n_io_started, n_queues_started;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    /* lock */
    bool is_stopping;
    bool is_paused;
    unsigned n_holds; /* who wants queue threads parked */
    struct storvsp_list pending;
    unsigned n_running, n_io_idle;
    struct scsi_unit *units[STORVSP_MAX_LUNS];
    uint64_t attached; /* a bit for each of them */
    uint64_t ghosts;   /* units that went and of which the guest was not told by an answer yet */
    struct storvsp_stats stats;
    bool holds;               /* requests that the host's storage fails are tried again */
    struct storvsp_list held; /* until then */
    unsigned n_waiting;       /* of the guest's, for that: held, or tried again just now */
    unsigned held_lun;        /* of the one that was held last, and why */
    int held_r;
    uint64_t logged_ns;             /* when an error of the host was logged last */
    struct storvsp_request *spread; /* asked for sub-channels; the io thread's to answer */
    unsigned n_spread;
    bool is_bus_changed; /* the guest is to be told */
    /* owner: queue thread 0 while it is busy; the io thread while it is not */
    struct storvsp_protocol protocol;
    _Atomic bool is_ready; /* negotiated */
};

/* pool.c. "locked": the caller holds the lock, also when it returns. */
void *storvsp_io_main(void *controller);
/* Name this thread. */
void storvsp_name_thread(const struct storvsp_controller *controller, char kind, unsigned index);
/* Does the host's cache answer lately? Then waiting for it is shorter than waking a thread. */
bool storvsp_is_quick(const struct storvsp_queue *queue);
/* Run these requests, in any order, here or in the pool; *batch is empty after it. */
void storvsp_submit(struct storvsp_queue *queue, struct storvsp_list *batch);
/* A request is answered: queue its completion and send what may be sent. */
void storvsp_finish(struct storvsp_request *request);
/* The guest signalled: a full ring may have room. */
void storvsp_resend(struct storvsp_queue *queue);
/* Take a queue's requests out of the pool that did not start. */
void storvsp_cancel_locked(struct storvsp_queue *queue);

/* queue.c */
void *storvsp_queue_main(void *queue);
void storvsp_queue_wake(struct storvsp_queue *queue);
/* Wait until all queue threads but `self` (may be NULL) are parked and nothing runs. Ends hold. */
void storvsp_hold_locked(struct storvsp_controller *controller, struct storvsp_queue *self);
void storvsp_let_go_locked(struct storvsp_controller *controller);
