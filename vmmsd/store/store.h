/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The durable side of the model. Opened and loaded by one thread, then run by its own: orders go in
 * by function, results are taken out after `notify` has said that there are some.
 */
#pragma once

#include "hvcore/base/error.h"
#include "vmmsd/core/core.h"
#include "vmmsd/core/identity.h"

struct vmms_store;

/* How much of the log of events is kept. */
struct vmms_store_limits {
    /* public */
    uint64_t events;
    uint64_t days;
    uint64_t bytes;
};

enum {
    VMMS_STORE_EVENTS_KEPT = 1000000,
    VMMS_STORE_DAYS_KEPT = 30,
    VMMS_STORE_BYTES_KEPT = 1 << 30
};

/*
 * Open (or make) the database in a directory that the caller holds the lock of.
 *
 * limits: copied; zeroes are the defaults
 * notify: called from the store's threads when results can be taken; must only wake the loop
 * reterr: a sentence that says what is wrong with the database and what helps
 * return: -EUCLEAN: it was damaged and is set aside, or it is missing
 */
int vmms_store_open(const char *state_dir, const struct vmms_store_limits *limits,
                    void (*notify)(void *opaque), void *opaque, struct vmms_store **ret,
                    struct hv_error **reterr);

/*
 * Put a backup in the place of the database, which is set aside, by a caller that holds the lock.
 *
 * file: "": the newest good backup; ret_from: which it was; ret_aside: where the old one is kept
 * now, NULL: there was none
 */
int vmms_store_restore(const char *state_dir, const char *file, char **ret_from, char **ret_aside,
                       struct hv_error **reterr);

/* Finishes what was ordered, closes. */
struct vmms_store *vmms_store_close(struct vmms_store *store);

/* Raise and store the epoch: this start's number. Before vmms_store_run. */
int vmms_store_begin_epoch(struct vmms_store *store, struct hv_error **reterr);
uint64_t vmms_store_epoch(const struct vmms_store *store);
const char *vmms_store_host_id(const struct vmms_store *store);
/* Of the host's boot under which the service ran last; empty: not known. */
const char *vmms_store_boot_id(const struct vmms_store *store);
uint64_t vmms_store_last_event(const struct vmms_store *store);
/* What the events that are kept take. Before vmms_store_run; then results tell. */
uint64_t vmms_store_event_bytes(const struct vmms_store *store);

/* Hand every stored VM to `each` (which takes the row), then every VM whose files are still to be
 * removed to `each_removal`. Before vmms_store_run. Returns what went wrong first. */
int vmms_store_load(struct vmms_store *store, int (*each)(void *opaque, struct vmms_row *row),
                    void (*each_removal)(void *opaque, const char *vm_id), void *opaque,
                    struct hv_error **reterr);

/* Hand every stored job to `each` (which takes the row) in the order of their numbers. ret_last:
 * the highest number that was ever given. Before vmms_store_run. */
int vmms_store_load_jobs(struct vmms_store *store,
                         int (*each)(void *opaque, struct vmms_job_row *row), void *opaque,
                         uint64_t *ret_last, struct hv_error **reterr);

/* Hand every stored group to `each` (which takes the row), then who is in which to `each_member`.
 * After vmms_store_load, before vmms_store_run. */
int vmms_store_load_groups(struct vmms_store *store,
                           int (*each)(void *opaque, struct vmms_group_row *row),
                           int (*each_member)(void *opaque, const char *group, const char *member),
                           void *opaque, struct hv_error **reterr);
/* Hands every key of a call to `each`, which takes the row, the oldest first. Before the run. */
int vmms_store_load_keys(struct vmms_store *store,
                         int (*each)(void *opaque, struct vmms_key_row *row), void *opaque,
                         struct hv_error **reterr);

/* Hand every stored identity to `each`, in the order of their names. Before vmms_store_run. */
int vmms_store_load_identities(struct vmms_store *store,
                               int (*each)(void *opaque, const struct vmms_identity *identity),
                               void *opaque, struct hv_error **reterr);

/* Start the thread that commits. Returns 0 or a negative errno. */
int vmms_store_run(struct vmms_store *store, struct hv_error **reterr);

/* Orders. change: taken. token: given back with the result. */
void vmms_store_commit(struct vmms_store *store, struct vmms_change *change);
void vmms_store_read_events(struct vmms_store *store, uint64_t token, uint64_t since,
                            uint32_t limit);
/* Stored not before what was ordered before it. */
void vmms_store_put_boot(struct vmms_store *store, const char *boot_id);
void vmms_store_files_removed(struct vmms_store *store, const char *vm_id);

/* Keep so much of the log of events from now on; as at vmms_store_open. */
void vmms_store_use_limits(struct vmms_store *store, const struct vmms_store_limits *limits);

/* Make a backup now. */
void vmms_store_backup(struct vmms_store *store, uint64_t token);

/* identity: copied; event: without seq, taken and emptied, or NULL: none. */
void vmms_store_put_identity(struct vmms_store *store, uint64_t token,
                             const struct vmms_identity *identity, struct api_event *event);

struct vmms_stored {
    /* read only */
    enum {
        VMMS_STORED_CHANGE,
        VMMS_STORED_EVENTS,
        VMMS_STORED_IDENTITY,
        VMMS_STORED_BACKUP,    /* token 0: nobody asked for it */
        VMMS_STORED_FORGOTTEN, /* old events, without a change */
        VMMS_STORED_FATAL
    } kind;
    uint64_t change;
    uint64_t first_seq;
    uint64_t last_seq;
    uint64_t event_bytes; /* of a change, and forgotten: what the kept events take now */
    uint64_t token;
    struct api_event_list events;
    char *path; /* of a backup */
    uint64_t bytes;
    struct api_error *error; /* NULL: done */
    struct vmms_stored *next;
};

/* The oldest result, to be freed by the caller, or NULL. */
struct vmms_stored *vmms_store_take(struct vmms_store *store);
struct vmms_stored *vmms_stored_free(struct vmms_stored *stored);
