/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's insides, for what saves it. */
#pragma once

#include "vmwp/worker/worker.h"

struct wp_bus;
struct wp_save;
struct wp_services;

/* What guests are told of host and VM, by the keys that Hyper-V uses. */
enum { N_HOST_PAIRS = 4 };

/* The first thing that a round of VPs asked for or came to. */
struct guest_event {
    enum wp_cause cause; /* WP_CAUSE_NONE: nothing yet */
    uint32_t exit_status;
    uint64_t rip;
    char message[160];
};

struct wp_worker {
    /* owner: the io thread, but for `event` */
    struct wp_worker_config config;
    const struct wp_definition *definition;
    struct wp_machine *machine;
    struct wp_bus *bus;
    struct wp_storage *storage;
    struct wp_services *services;
    struct ic_kvp_pair host_pairs[N_HOST_PAIRS];
    char host_name[256];
    struct wp_vps *vps; /* set before a VP runs, read by VP threads too */
    struct wp_story story;
    struct wp_words_file words;
    enum hv_backend backend;
    char backend_reason[HV_HOST_REASON_BYTES];
    uint64_t made_ns;
    uint64_t critical_ns; /* since when the guest waits for better storage; 0: it does not */
    char critical_message[160];
    bool is_paused_by_storage;
    struct wp_task task;
    pthread_mutex_t event_lock; /* innermost */
    struct guest_event event;
    struct wp_task crash_task;
    struct hv_crash crash; /* lock: event_lock; not told yet when has_crash */
    bool has_crash;
    struct wp_save *save;    /* while WP_PHASE_SAVING */
    unsigned saved_services; /* of IC_SERVICE_BIT(), with config.image */
};

/* worker.c; owner: the io thread */
/* Get a running guest out of its VPs, after everything it asked for before this has been done. */
void wp_worker_quiesce(struct wp_worker *worker);
void wp_worker_run_vps(struct wp_worker *worker);
void wp_worker_enter(struct wp_worker *worker, enum wp_phase phase, enum wp_cause cause);
void wp_worker_tell(struct wp_worker *worker);

/* Of IC_SERVICE_BIT(). */
unsigned wp_worker_wanted_services(const struct wp_service_choice *choice);

/* save.c: drop what was written, and let the guest be as if it had not been asked for. */
struct wp_save *wp_save_free(struct wp_save *save);
/* The devices of a new worker as they were saved; VPs and RAM are the machine's. 0 or a negative
 * errno with *reterr. */
int wp_worker_restore_devices(struct wp_worker *worker, struct hv_error **reterr);
