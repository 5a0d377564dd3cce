/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one machine, its VP threads, its phase, and what is told of it.
 *
 * Knows neither the control channel nor where consoles go: those ask and listen. io thread only,
 * but for what VP threads post.
 */
#pragma once

#include "hvcore/synic.h"
#include "vmwp/ic/services.h"
#include "vmwp/machine/machine.h"
#include "vmwp/worker/definition.h"
#include "vmwp/worker/loop.h"
#include "vmwp/worker/phase.h"
#include "vmwp/worker/storage.h"
#include "vmwp/worker/vps.h"
#include "vmwp/worker/words.h"

/* Why the VM is in its phase, in full. */
struct wp_story {
    /* read only */
    enum wp_phase phase;
    enum wp_cause cause;
    uint32_t exit_status; /* with WP_CAUSE_DEBUG_EXIT: (value << 1) | 1 */
    uint64_t rip;         /* with WP_CAUSE_TRIPLE_FAULT */
    char message[160];    /* with WP_CAUSE_INTERNAL_ERROR and WP_CAUSE_STORAGE_CRITICAL */
};

struct wp_worker_stats {
    uint64_t vcpu_time_ns;
    struct hv_vp_counters vps; /* the sum of all VPs */
    uint64_t ram_bytes;
    uint64_t console_bytes[WP_MACHINE_N_COM];
    struct wp_storage_stats disks; /* all together */
};

/* What came of a request, when it isn't 0 or a negative errno. */
enum wp_outcome { WP_E_NOT_NOW = 1 /* not legal in this phase */ };

struct state_image;
struct wp_worker;

struct wp_worker_config {
    /* public */
    struct wp_loop *loop;
    const struct wp_definition *definition; /* outlives the worker */
    int words_fd;                           /* the status file, or -1; not owned */
    struct hv_tsc_facts tsc;                /* of the host; all zero: nobody has looked */
    /* A saved state to go on from, which fits the definition (saved.h); outlives wp_worker_new. */
    struct state_image *image; /* or NULL */
    struct hv_log log;
    /* Called after each change of phase or restart of the guest. */
    void (*told)(void *opaque, const struct wp_story *story);
    /* Something is known of the guest that wasn't; it wrote its crash registers. May be NULL. */
    void (*guest_changed)(void *opaque, enum ic_service service);
    void (*crashed)(void *opaque, const struct hv_crash *crash);
    /* A disk's image cannot be read or written; once for each disk. May be NULL. */
    void (*device_failed)(void *opaque, const char *id, const char *message);
    /* The guest waits for better storage, or not any more. May be NULL. */
    void (*critical)(void *opaque);
    void *opaque;
};

/* Make everything and be ready. Returns 0, or a negative errno with *reterr. */
int wp_worker_new(const struct wp_worker_config *config, struct wp_worker **ret,
                  struct hv_error **reterr);
/* Stops the VPs without telling anybody. */
struct wp_worker *wp_worker_free(struct wp_worker *worker);

/*
 * Do what somebody asks for: WP_CAUSE_START, _PAUSE, _RESUME, _RESET or _TURN_OFF.
 *
 * return: 0; WP_E_NOT_NOW; or a negative errno with *reterr (then the phase is stopped)
 */
int wp_worker_request(struct wp_worker *worker, enum wp_cause request, struct hv_error **reterr);

struct wp_save_ops {
    /* public */
    void (*progress)(void *opaque, uint64_t done_bytes, uint64_t total_bytes);
    /* Called once: 0, and the worker has stopped for good; or a negative errno with a borrowed
     * sentence, and the guest is as before (-ECANCELED: by wp_worker_cancel_save or TurnOff). */
    void (*done)(void *opaque, int r, const struct hv_error *error);
};

/*
 * Save the VM to an empty file, which is complete and synced when done is told 0; before, the guest
 * stands still, and the loop goes on. fd is taken over in any case.
 *
 * return: 0: done will be called; WP_E_NOT_NOW; -ENOSPC (there is not room enough for sure), -EBUSY
 *         or another errno with *reterr, and the guest has not been touched
 */
int wp_worker_save(struct wp_worker *worker, int fd, const struct wp_save_ops *ops, void *opaque,
                   struct hv_error **reterr);
/* End a save that is under way; nothing when there is none. */
void wp_worker_cancel_save(struct wp_worker *worker);

/* Facts of a worker; what is pointed to lives as long as it does, and the story changes with it. */
const struct wp_story *wp_worker_story(const struct wp_worker *worker);
enum hv_backend wp_worker_backend(const struct wp_worker *worker);
/* Why this backend: one sentence. */
const char *wp_worker_backend_reason(const struct wp_worker *worker);
/* Since the worker was made. */
uint64_t wp_worker_uptime_ms(const struct wp_worker *worker);
/* Counters as they are now, without stopping anything. */
void wp_worker_get_stats(struct wp_worker *worker, struct wp_worker_stats *ret);
/* Its guest's integration components and its disks, owned by the worker. */
struct ic_services *wp_worker_services(struct wp_worker *worker);
struct wp_storage *wp_worker_storage(struct wp_worker *worker);
/* Why the guest waits for better storage, with the time since when; NULL: it does not. */
const char *wp_worker_critical(const struct wp_worker *worker, uint64_t *ret_age_ms);
/* The machine, owned by the worker. */
struct wp_machine *wp_worker_machine(struct wp_worker *worker);

/* Write to the status file that no worker came to be. */
void wp_worker_note_failed_start(int words_fd, const char *incarnation, int r,
                                 const struct hv_error *error);
