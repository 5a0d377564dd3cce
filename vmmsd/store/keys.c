/* SPDX-License-Identifier: Apache-2.0 */
/* The table call_key. */
#include "vmmsd/store/db_priv.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS "owner, key, method, args, object, device, is_done, made_ms, event_seq"

int vmms_db_prepare_keys(struct vmms_db *db)
{
    int code = vmms_db_prepare(db,
                               "INSERT OR REPLACE INTO call_key (" COLUMNS ") VALUES (?1, ?2, ?3, "
                               "?4, ?5, ?6, ?7, ?8, ?9)",
                               &db->put_key);

    if (code == SQLITE_OK)
        code = vmms_db_prepare(db, "DELETE FROM call_key WHERE owner = ?1 AND key = ?2",
                               &db->delete_key);
    return code;
}

int vmms_db_put_key(struct vmms_db *db, const struct vmms_change *change, uint64_t first_seq)
{
    const struct vmms_key_row *row = &change->key;
    bool is_delete = change->key_kind == VMMS_KEY_ROW_DELETE;
    sqlite3_stmt *statement = is_delete ? db->delete_key : db->put_key;

    if (change->key_kind == VMMS_KEY_ROW_NONE)
        return SQLITE_OK;
    vmms_db_bind_given(statement, 1, row->owner);
    vmms_db_bind_given(statement, 2, row->key);
    if (is_delete)
        return vmms_db_run(statement);
    vmms_db_bind_given(statement, 3, row->method);
    (void)sqlite3_bind_int64(statement, 4, (int64_t)row->args);
    vmms_db_bind_text(statement, 5, row->object);
    vmms_db_bind_text(statement, 6, row->device);
    (void)sqlite3_bind_int64(statement, 7, row->is_done);
    (void)sqlite3_bind_int64(statement, 8, (int64_t)row->made_ms);
    (void)sqlite3_bind_int64(statement, 9, (int64_t)(row->event_seq ? row->event_seq : first_seq));
    return vmms_db_run(statement);
}

static char *text_of(sqlite3_stmt *statement, int at)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);

    return strdup(text ? text : "");
}

static void read_id(sqlite3_stmt *statement, int at, char ret[static HV_GUID_TEXT_BYTES])
{
    const char *text = (const char *)sqlite3_column_text(statement, at);

    (void)snprintf(ret, HV_GUID_TEXT_BYTES, "%s", text ? text : "");
}

static int load_one(sqlite3_stmt *statement, int (*each)(void *opaque, struct vmms_key_row *row),
                    void *opaque)
{
    struct vmms_key_row row = { .owner = text_of(statement, 0),
                                .key = text_of(statement, 1),
                                .method = text_of(statement, 2),
                                .args = (uint64_t)sqlite3_column_int64(statement, 3),
                                .is_done = sqlite3_column_int(statement, 6),
                                .made_ms = (uint64_t)sqlite3_column_int64(statement, 7),
                                .event_seq = (uint64_t)sqlite3_column_int64(statement, 8) };
    int r;

    read_id(statement, 4, row.object);
    read_id(statement, 5, row.device);
    r = row.owner && row.key && row.method ? each(opaque, &row) : -ENOMEM;
    vmms_key_row_fini(&row);
    return r;
}

int vmms_db_load_keys(struct vmms_db *db, int (*each)(void *opaque, struct vmms_key_row *row),
                      void *opaque, struct hv_error **reterr)
{
    sqlite3_stmt *statement;
    int r = 0,
        code = sqlite3_prepare_v2(db->handle, "SELECT " COLUMNS " FROM call_key ORDER BY made_ms",
                                  -1, &statement, NULL);

    if (code != SQLITE_OK)
        return vmms_db_explain(db, code, "reading keys of calls", reterr);
    while (r == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW)
        r = load_one(statement, each, opaque);
    (void)sqlite3_finalize(statement);
    if (r < 0)
        return hv_error_set(reterr, r, "store.key",
                            "The database %s holds a call's key that cannot be used.", db->path);
    return code == SQLITE_DONE ? 0 : vmms_db_explain(db, code, "reading keys of calls", reterr);
}
