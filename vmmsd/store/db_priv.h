/* SPDX-License-Identifier: Apache-2.0 */
/* The database under the store: opening, checking, statements. */
#pragma once

#include "hvcore/base/error.h"
#include "vmmsd/core/core.h"
#include "vmmsd/core/identity.h"
#include "vmmsd/store/store.h"

#include <sqlite3.h>

enum { VMMS_DB_APPLICATION_ID = 0x68765631 };

struct vmms_db {
    sqlite3 *handle;
    char *path;
    sqlite3_stmt *begin, *commit, *rollback, *savepoint, *release, *undo;
    sqlite3_stmt *insert_vm, *update_vm, *delete_vm, *insert_event, *read_events, *find_young,
        *find_light, *read_total, *prune_events;
    sqlite3_stmt *insert_op, *delete_op, *put_identity;
    sqlite3_stmt *put_boot;
    sqlite3_stmt *insert_job, *update_job, *delete_job;
    sqlite3_stmt *insert_device, *delete_devices;
    sqlite3_stmt *insert_pair, *delete_pairs;
    sqlite3_stmt *insert_group, *update_group, *delete_group, *insert_member, *delete_member;
    sqlite3_stmt *put_key, *delete_key;
    uint64_t first_event;
    uint64_t last_event;
    uint64_t
        total; /* bytes of all events that ever were; of those before the oldest that is kept: */
    uint64_t first_total;
    struct vmms_store_limits limits;
    uint64_t pruned_ns; /* monotonic, when old events were looked for */
    bool has_more_to_forget;
};

/* Rows that belong to VMs, read beside these in the order of their ids: one pass over a table costs
 * a fraction of one question for each VM. */
struct vmms_side {
    sqlite3_stmt *statement; /* its first column is the VM's id */
    int code;                /* SQLITE_ROW: it stands on a row */
};

/* db.c */
/* A damaged database (-EUCLEAN) is left exactly as it was found. */
int vmms_db_open(const char *path, struct vmms_db *ret, struct hv_error **reterr);
void vmms_db_close(struct vmms_db *db);
/* The newest version of the schema that this program knows. */
int vmms_db_version(void);
/* Prepare for the connection's life. Returns 0 or -EIO. */
int vmms_db_prepare(struct vmms_db *db, const char *sql, sqlite3_stmt **ret);
/* Text that may be NULL, copied; empty text is text. */
void vmms_db_bind_given(sqlite3_stmt *statement, int at, const char *text);
/* Run a prepared statement without rows. Returns SQLITE_OK or an error code. */
int vmms_db_run(sqlite3_stmt *statement);
/* Returns SQLITE_OK or an error code; to be closed in any case. */
int vmms_side_open(struct vmms_db *db, const char *sql, struct vmms_side *ret);
/* Does it stand on a row of that VM? */
bool vmms_side_is_at(struct vmms_side *side, const char *vm);
void vmms_side_next(struct vmms_side *side);
/* Returns SQLITE_OK or what went wrong on the way. */
int vmms_side_close(struct vmms_side *side);
/* One number out of a statement's text. Returns SQLITE_OK or an error code. */
int vmms_db_number(struct vmms_db *db, const char *sql, int64_t *ret);
/* The sentence for a person, and -errno, of an SQLite error code. */
int vmms_db_explain(const struct vmms_db *db, int code, const char *doing,
                    struct hv_error **reterr);
bool vmms_db_is_fatal(int code);
/* Whether a commit returns when it is on disk (as it does from opening on), or when it is atomic
 * and outlives this process. Returns SQLITE_OK or an error code. */
int vmms_db_use_sync(struct vmms_db *db, bool each_commit);
struct api_error *vmms_db_client_error(int code);

/* rows.c */
/* NULL and empty text become NULL. */
void vmms_db_bind_text(sqlite3_stmt *statement, int at, const char *text);
int vmms_db_prepare_rows(struct vmms_db *db);
int vmms_db_put_row(struct vmms_db *db, const struct vmms_change *change);
int vmms_db_load_rows(struct vmms_db *db, int (*each)(void *opaque, struct vmms_row *row),
                      void *opaque, struct hv_error **reterr);

/* jobs.c */
int vmms_db_prepare_jobs(struct vmms_db *db);
int vmms_db_put_job(struct vmms_db *db, const struct vmms_change *change);
/* Hands every job to `each`, in the order of their numbers; the row is taken. */
int vmms_db_load_jobs(struct vmms_db *db, int (*each)(void *opaque, struct vmms_job_row *row),
                      void *opaque, struct hv_error **reterr);
/* The highest number that was ever given. */
int vmms_db_last_job(struct vmms_db *db, uint64_t *ret);
/* devices.c: a row's devices, in order. Return SQLITE_OK or an error code. */
extern const char vmms_db_all_devices[];
int vmms_db_prepare_devices(struct vmms_db *db);
int vmms_db_put_devices(struct vmms_db *db, const struct vmms_row *row);
void vmms_db_read_devices(struct vmms_side *side, struct vmms_row *row);
/* pairs.c: likewise */
extern const char vmms_db_all_pairs[];
int vmms_db_prepare_pairs(struct vmms_db *db);
int vmms_db_put_pairs(struct vmms_db *db, const struct vmms_row *row);
void vmms_db_read_pairs(struct vmms_side *side, struct vmms_row *row);
/* groups.c */
int vmms_db_prepare_groups(struct vmms_db *db);
int vmms_db_put_group(struct vmms_db *db, const struct vmms_change *change);
/* Hands every group to `each`, which takes the row; then every member of one to `each_member`. */
int vmms_db_load_groups(struct vmms_db *db, int (*each)(void *opaque, struct vmms_group_row *row),
                        int (*each_member)(void *opaque, const char *group, const char *member),
                        void *opaque, struct hv_error **reterr);
/* keys.c */
int vmms_db_prepare_keys(struct vmms_db *db);
/* first_seq: number of the first event stored with it, or 0 */
int vmms_db_put_key(struct vmms_db *db, const struct vmms_change *change, uint64_t first_seq);
/* Hands every key to `each`, which takes the row, the oldest first. */
int vmms_db_load_keys(struct vmms_db *db, int (*each)(void *opaque, struct vmms_key_row *row),
                      void *opaque, struct hv_error **reterr);
/* identities.c */
int vmms_db_prepare_identities(struct vmms_db *db);
/* Insert, or put in the place of the one of that name. */
int vmms_db_put_identity(struct vmms_db *db, const struct vmms_identity *identity);
int vmms_db_load_identities(struct vmms_db *db,
                            int (*each)(void *opaque, const struct vmms_identity *identity),
                            void *opaque, struct hv_error **reterr);

/* events.c */
int vmms_db_prepare_events(struct vmms_db *db);
int vmms_db_put_event(struct vmms_db *db, uint64_t seq, const struct api_event *event);
/* Returns 0, -EINVAL with *reterr (a gap), or -EIO. */
int vmms_db_read_events(struct vmms_db *db, uint64_t since, uint32_t limit,
                        struct api_event_list *ret, struct api_error **reterr);
int vmms_db_prune_events(struct vmms_db *db);
/* At start: fills in total and first_total. Returns SQLITE_OK or an error code. */
int vmms_db_count_event_bytes(struct vmms_db *db);
