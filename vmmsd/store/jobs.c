/* SPDX-License-Identifier: Apache-2.0 */
/* The table job. */
#include "vmmsd/store/db_priv.h"

#include "api/gen/tables.h"

#include <string.h>

#define COLUMNS                                                                                    \
    "id, type, object, args, state, owner, reason, idempotency_key, submitted_ms, started_ms, "    \
    "ended_ms, deadline_ms, bytes_done, bytes_total, step, error, result, steps, parent"

int vmms_db_prepare_jobs(struct vmms_db *db)
{
    int code = vmms_db_prepare(db,
                               "INSERT INTO job (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, "
                               "?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
                               &db->insert_job);

    if (code == SQLITE_OK)
        code = vmms_db_prepare(db,
                               "UPDATE job SET type = ?2, object = ?3, args = ?4, state = ?5, "
                               "owner = ?6, reason = ?7, idempotency_key = ?8, submitted_ms = ?9, "
                               "started_ms = ?10, ended_ms = ?11, deadline_ms = ?12, "
                               "bytes_done = ?13, bytes_total = ?14, step = ?15, error = ?16, "
                               "result = ?17, steps = ?18, parent = ?19 WHERE id = ?1",
                               &db->update_job);
    if (code == SQLITE_OK)
        code = vmms_db_prepare(db, "DELETE FROM job WHERE id = ?1", &db->delete_job);
    return code;
}

static void bind_row(sqlite3_stmt *statement, const struct vmms_job_row *row)
{
    const uint64_t numbers[] = { row->submitted_ms, row->started_ms, row->ended_ms,
                                 row->deadline_ms,  row->bytes_done, row->bytes_total };

    (void)sqlite3_bind_int64(statement, 1, (int64_t)row->id);
    vmms_db_bind_given(statement, 2, row->type);
    vmms_db_bind_given(statement, 3, row->object);
    vmms_db_bind_given(statement, 4, row->args);
    vmms_db_bind_given(statement, 5, api_enum_job_state.values[row->state]);
    vmms_db_bind_given(statement, 6, row->owner);
    vmms_db_bind_given(statement, 7, row->reason);
    vmms_db_bind_given(statement, 8, row->idempotency_key);
    for (size_t i = 0; i < HV_ARRAY_SIZE(numbers); i++)
        (void)sqlite3_bind_int64(statement, 9 + (int)i, (int64_t)numbers[i]);
    vmms_db_bind_given(statement, 15, row->step);
    vmms_db_bind_given(statement, 16, row->error);
    vmms_db_bind_given(statement, 17, row->result);
    vmms_db_bind_given(statement, 18, row->steps);
    if (row->parent)
        (void)sqlite3_bind_int64(statement, 19, (int64_t)row->parent);
}

int vmms_db_put_job(struct vmms_db *db, const struct vmms_change *change)
{
    sqlite3_stmt *statement =
        change->job_kind == VMMS_JOB_ROW_INSERT ? db->insert_job : db->update_job;

    if (change->job_kind == VMMS_JOB_ROW_NONE)
        return SQLITE_OK;
    if (change->job_kind == VMMS_JOB_ROW_DELETE) {
        (void)sqlite3_bind_int64(db->delete_job, 1, (int64_t)change->job.id);
        return vmms_db_run(db->delete_job);
    }
    bind_row(statement, &change->job);
    return vmms_db_run(statement);
}

static int column_text(sqlite3_stmt *statement, int at, char **ret)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);

    *ret = text ? strdup(text) : NULL;
    return text && !*ret ? -ENOMEM : 0;
}

static int read_texts(sqlite3_stmt *statement, struct vmms_job_row *ret)
{
    int r = 0;

    r |= column_text(statement, 1, &ret->type);
    r |= column_text(statement, 2, &ret->object);
    r |= column_text(statement, 3, &ret->args);
    r |= column_text(statement, 5, &ret->owner);
    r |= column_text(statement, 6, &ret->reason);
    r |= column_text(statement, 7, &ret->idempotency_key);
    r |= column_text(statement, 14, &ret->step);
    r |= column_text(statement, 15, &ret->error);
    r |= column_text(statement, 16, &ret->result);
    r |= column_text(statement, 17, &ret->steps);
    return r < 0 ? -ENOMEM : 0;
}

static int read_row(sqlite3_stmt *statement, struct vmms_job_row *ret)
{
    const char *state = (const char *)sqlite3_column_text(statement, 4);
    int index = state ? api_enum_index(&api_enum_job_state, state) : -1;

    *ret = (struct vmms_job_row){ .id = (uint64_t)sqlite3_column_int64(statement, 0),
                                  .state = (enum api_job_state)index };
    if (index < 0)
        return -EINVAL;
    ret->submitted_ms = (uint64_t)sqlite3_column_int64(statement, 8);
    ret->started_ms = (uint64_t)sqlite3_column_int64(statement, 9);
    ret->ended_ms = (uint64_t)sqlite3_column_int64(statement, 10);
    ret->deadline_ms = (uint64_t)sqlite3_column_int64(statement, 11);
    ret->bytes_done = (uint64_t)sqlite3_column_int64(statement, 12);
    ret->bytes_total = (uint64_t)sqlite3_column_int64(statement, 13);
    ret->parent = (uint64_t)sqlite3_column_int64(statement, 18);
    return read_texts(statement, ret);
}

static int load_one(struct vmms_db *db, sqlite3_stmt *statement,
                    int (*each)(void *opaque, struct vmms_job_row *row), void *opaque,
                    struct hv_error **reterr)
{
    struct vmms_job_row row;
    int r = read_row(statement, &row);

    if (r == 0)
        r = each(opaque, &row);
    vmms_job_row_fini(&row);
    if (r < 0)
        return hv_error_set(reterr, r, "store.job",
                            "The database %s holds a job that cannot be "
                            "read: number %s.",
                            db->path, (const char *)sqlite3_column_text(statement, 0));
    return 0;
}

int vmms_db_load_jobs(struct vmms_db *db, int (*each)(void *opaque, struct vmms_job_row *row),
                      void *opaque, struct hv_error **reterr)
{
    sqlite3_stmt *statement;
    int code, r = 0;

    code = sqlite3_prepare_v2(db->handle, "SELECT " COLUMNS " FROM job ORDER BY id", -1, &statement,
                              NULL);
    if (code != SQLITE_OK)
        return vmms_db_explain(db, code, "reading jobs", reterr);
    while (r == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW)
        r = load_one(db, statement, each, opaque, reterr);
    (void)sqlite3_finalize(statement);
    if (r == 0 && code != SQLITE_DONE)
        r = vmms_db_explain(db, code, "reading jobs", reterr);
    return r;
}

int vmms_db_last_job(struct vmms_db *db, uint64_t *ret)
{
    int64_t last = 0;
    int code = vmms_db_number(db, "SELECT seq FROM sqlite_sequence WHERE name = 'job'", &last);

    *ret = (uint64_t)last;
    return code;
}
