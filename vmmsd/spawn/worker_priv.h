/* SPDX-License-Identifier: Apache-2.0 */
/* One worker as the spawner keeps it: its process, its channel, its questions. */
#pragma once

#include "hvcore/base/list.h"
#include "vmmsd/io/bus.h"
#include "vmmsd/spawn/launch.h"
#include "vmmsd/spawn/spawn.h"

#define WORKER_PATH      "/org/hvstack/Worker1"
#define WORKER_INTERFACE "org.hvstack.Worker1"

enum {
    HELLO_START_MS = 20000, /* includes loading the kernel */
    HELLO_ADOPT_MS = 2000,
    VERB_MS = 10000,
    TURN_OFF_MS = 2000,
    STATS_MS = 2000,
    STOPPED_MS = 5000, /* between "stopped" and the end of the process */
    RECONNECT_MS = 1000,
    SIGNAL_WINDOW_MS = 10000,
    SIGNALS_PER_WINDOW =
        20 /* each may cost a commit: a guest that resets without end has a budget */
};

struct vmms_spawner {
    struct vmms_spawner_config config;
    struct hv_list workers;
    bool is_closing;
};

/* One worker process, from the order to start or find it to its end. */
struct worker {
    struct hv_list node;
    struct vmms_spawner *spawner;
    struct vmms_row row;
    bool is_adoption;
    bool is_greeted;
    bool is_doomed; /* kill it as soon as there is a process */
    bool is_launching;
    bool is_silence_told;
    bool is_ended;
    int pid;
    int pidfd;
    int status_fd;
    uint64_t pid_start;
    struct vmms_launch launch;
    uv_work_t work;
    uv_poll_t poll;
    uv_timer_t timer; /* reconnecting, or waiting for a stopped one to end */
    unsigned handles;
    struct vmms_bus *bus;
    struct hv_list asks; /* questions without an answer yet */
    unsigned connects;
    uint64_t window_ns; /* begin of the window in which signals are counted */
    unsigned signals;
};

/* A question on its way. */
struct ask {
    struct hv_list node;
    struct worker *worker;
    sd_bus_slot *slot;
    enum { ASK_VERB, ASK_STATS, ASK_CONSOLE } kind;
    enum vmms_worker_verb verb;
    vmms_stats_fn *stats;
    vmms_console_fn *console;
    void *opaque;
};

/* worker.c */
struct worker *vmms_worker_new(struct vmms_spawner *spawner, const struct vmms_row *row);
void vmms_worker_watch(struct worker *worker);
void vmms_worker_tell(struct worker *worker, struct vmms_fact *fact);
struct vmms_fact *vmms_worker_fact(const struct worker *worker, enum vmms_fact_kind kind);
void vmms_worker_kill(struct worker *worker);
/* It said that it has stopped: its process must end soon. */
void vmms_worker_expect_end(struct worker *worker);
/* There is no such process any more, or never was. */
void vmms_worker_vanished(struct worker *worker);

/* channel.c */
int vmms_channel_connect(struct worker *worker);
void vmms_channel_close(struct worker *worker);
void vmms_channel_ask(struct worker *worker, enum vmms_worker_verb verb);
void vmms_channel_stats(struct worker *worker, vmms_stats_fn *done, void *opaque);
void vmms_channel_console(struct worker *worker, uint32_t port, uint64_t from,
                          vmms_console_fn *done, void *opaque);
/* Hello was refused or not answered (is_answer), or the connection broke: try again later; a worker
 * that does not come round is told of once. */
void vmms_channel_retry(struct worker *worker, const char *why, bool is_answer);
