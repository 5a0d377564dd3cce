/* SPDX-License-Identifier: Apache-2.0 */
/* The table vm. */
#include "vmmsd/store/db_priv.h"

#include "api/gen/tables.h"
#include "vmmsd/core/definition.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS                                                                                    \
    "id, name, definition, generation, state, created_ms, changed_ms, on_since_ms, cause, "        \
    "cause_message, exit_status, incarnation, secret, pid, pid_start, staged, mark, saved, "       \
    "failing"

int vmms_db_prepare_rows(struct vmms_db *db)
{
    int code = vmms_db_prepare(db,
                               "INSERT INTO vm (" COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, "
                               "?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
                               &db->insert_vm);

    if (code == SQLITE_OK)
        code = vmms_db_prepare(db,
                               "UPDATE vm SET name = ?2, definition = ?3, generation = ?4, "
                               "state = ?5, created_ms = ?6, changed_ms = ?7, on_since_ms = ?8, "
                               "cause = ?9, cause_message = ?10, exit_status = ?11, "
                               "incarnation = ?12, secret = ?13, pid = ?14, pid_start = ?15, "
                               "staged = ?16, mark = ?17, saved = ?18, failing = ?19 WHERE id = ?1",
                               &db->update_vm);
    if (code == SQLITE_OK)
        code = vmms_db_prepare(db, "DELETE FROM vm WHERE id = ?1", &db->delete_vm);
    return code;
}

void vmms_db_bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    if (text && *text)
        (void)sqlite3_bind_text(statement, at, text, -1, SQLITE_TRANSIENT);
    else
        (void)sqlite3_bind_null(statement, at);
}

static const char *const saved_names[] = {
    [VMMS_SAVED_NONE] = "none", [VMMS_SAVED_KEPT] = "kept", [VMMS_SAVED_STALE] = "stale"
};

static int bind_row(sqlite3_stmt *statement, const struct vmms_row *row)
{
    hv_autofree char *definition = NULL, *staged = NULL;

    if (vmms_definition_write(&row->settings, &definition) < 0 ||
        vmms_staged_write(&row->staged, &staged) < 0)
        return SQLITE_NOMEM;
    vmms_db_bind_text(statement, 1, row->id);
    vmms_db_bind_text(statement, 2, row->settings.name);
    vmms_db_bind_text(statement, 3, definition);
    (void)sqlite3_bind_int64(statement, 4, (int64_t)row->generation);
    vmms_db_bind_text(statement, 5, api_enum_vm_state.values[row->state]);
    (void)sqlite3_bind_int64(statement, 6, (int64_t)row->created_ms);
    (void)sqlite3_bind_int64(statement, 7, (int64_t)row->changed_ms);
    (void)sqlite3_bind_int64(statement, 8, (int64_t)row->on_since_ms);
    vmms_db_bind_text(statement, 9, row->cause);
    vmms_db_bind_text(statement, 10, row->cause_message);
    if (row->has_exit_status)
        (void)sqlite3_bind_int64(statement, 11, row->exit_status);
    vmms_db_bind_text(statement, 12, row->incarnation);
    vmms_db_bind_text(statement, 13, row->secret);
    (void)sqlite3_bind_int64(statement, 14, row->pid);
    (void)sqlite3_bind_int64(statement, 15, (int64_t)row->pid_start);
    vmms_db_bind_text(statement, 16, staged);
    (void)sqlite3_bind_int64(statement, 17, row->mark);
    vmms_db_bind_text(statement, 18, saved_names[row->saved]);
    vmms_db_bind_text(statement, 19, row->failing);
    return SQLITE_OK;
}

static int delete_row(struct vmms_db *db, const char *id)
{
    int code;

    vmms_db_bind_text(db->insert_op, 1, id);
    code = vmms_db_run(db->insert_op);
    if (code != SQLITE_OK)
        return code;
    vmms_db_bind_text(db->delete_vm, 1, id);
    return vmms_db_run(db->delete_vm);
}

int vmms_db_put_row(struct vmms_db *db, const struct vmms_change *change)
{
    sqlite3_stmt *statement = change->kind == VMMS_ROW_INSERT ? db->insert_vm : db->update_vm;
    int code;

    if (change->kind == VMMS_ROW_NONE)
        return SQLITE_OK;
    if (change->kind == VMMS_ROW_DELETE)
        return delete_row(db, change->row.id);
    code = bind_row(statement, &change->row);
    if (code == SQLITE_OK)
        code = vmms_db_run(statement);
    if (code == SQLITE_OK && change->has_devices)
        code = vmms_db_put_devices(db, &change->row);
    if (code == SQLITE_OK && change->has_pairs)
        code = vmms_db_put_pairs(db, &change->row);
    return code;
}

static int column_text(sqlite3_stmt *statement, int at, char **ret)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);

    *ret = text ? strdup(text) : NULL;
    return text && !*ret ? -ENOMEM : 0;
}

static void column_fixed(sqlite3_stmt *statement, int at, char *ret, size_t room)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);

    (void)snprintf(ret, room, "%s", text ? text : "");
}

static int read_saved(const char *text, enum vmms_saved *ret, struct api_error **reterr)
{
    for (size_t i = 0; text && i < HV_ARRAY_SIZE(saved_names); i++) {
        if (strcmp(saved_names[i], text) != 0)
            continue;
        *ret = (enum vmms_saved)i;
        return 0;
    }
    return api_error_set(reterr, API_E_FAILED, "store.damaged", NULL, "an unknown saved state");
}

static int read_row(sqlite3_stmt *statement, struct vmms_row *ret, struct api_error **reterr)
{
    const char *definition = (const char *)sqlite3_column_text(statement, 2);
    const char *state = (const char *)sqlite3_column_text(statement, 4);
    int r;

    *ret = (struct vmms_row){ 0 };
    column_fixed(statement, 0, ret->id, sizeof(ret->id));
    r = definition ? vmms_definition_read(definition, &ret->settings, reterr) : -EINVAL;
    if (r < 0)
        return r;
    ret->generation = (uint64_t)sqlite3_column_int64(statement, 3);
    r = state ? api_enum_index(&api_enum_vm_state, state) : -1;
    if (r < 0)
        return api_error_set(reterr, API_E_FAILED, "store.damaged", NULL, "an unknown state");
    ret->state = (enum api_vm_state)r;
    ret->created_ms = (uint64_t)sqlite3_column_int64(statement, 5);
    ret->changed_ms = (uint64_t)sqlite3_column_int64(statement, 6);
    ret->on_since_ms = (uint64_t)sqlite3_column_int64(statement, 7);
    if (column_text(statement, 8, &ret->cause) < 0 ||
        column_text(statement, 9, &ret->cause_message) < 0)
        return -ENOMEM;
    ret->has_exit_status = sqlite3_column_type(statement, 10) != SQLITE_NULL;
    ret->exit_status = (uint32_t)sqlite3_column_int64(statement, 10);
    column_fixed(statement, 11, ret->incarnation, sizeof(ret->incarnation));
    column_fixed(statement, 12, ret->secret, sizeof(ret->secret));
    ret->pid = (uint32_t)sqlite3_column_int64(statement, 13);
    ret->pid_start = (uint64_t)sqlite3_column_int64(statement, 14);
    column_fixed(statement, 18, ret->failing, sizeof(ret->failing));
    ret->mark = (enum vmms_mark)sqlite3_column_int64(statement, 16);
    r = vmms_staged_read((const char *)sqlite3_column_text(statement, 15), &ret->staged, reterr);
    return r < 0
               ? r
               : read_saved((const char *)sqlite3_column_text(statement, 17), &ret->saved, reterr);
}

struct rows {
    sqlite3_stmt *statement;
    struct vmms_side devices, pairs;
};

static int load_one(struct vmms_db *db, struct rows *rows,
                    int (*each)(void *opaque, struct vmms_row *row), void *opaque,
                    struct hv_error **reterr)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
    struct vmms_row row;
    int r = read_row(rows->statement, &row, &error);

    if (r == 0) {
        vmms_db_read_devices(&rows->devices, &row);
        vmms_db_read_pairs(&rows->pairs, &row);
        r = each(opaque, &row);
    }
    vmms_row_fini(&row);
    if (r < 0)
        return hv_error_set(reterr, r, "store.row", "The database %s holds a VM %s with %s.",
                            db->path, (const char *)sqlite3_column_text(rows->statement, 0),
                            error ? error->message : "a definition that cannot be used");
    return 0;
}

int vmms_db_load_rows(struct vmms_db *db, int (*each)(void *opaque, struct vmms_row *row),
                      void *opaque, struct hv_error **reterr)
{
    struct rows rows = { 0 };
    int r = 0, codes[3] = { 0 };

    codes[0] = sqlite3_prepare_v2(db->handle, "SELECT " COLUMNS " FROM vm ORDER BY id", -1,
                                  &rows.statement, NULL);
    codes[1] = vmms_side_open(db, vmms_db_all_devices, &rows.devices);
    codes[2] = vmms_side_open(db, vmms_db_all_pairs, &rows.pairs);
    if (!codes[0] && !codes[1] && !codes[2]) {
        while (r == 0 && (codes[0] = sqlite3_step(rows.statement)) == SQLITE_ROW)
            r = load_one(db, &rows, each, opaque, reterr);
        codes[0] = codes[0] == SQLITE_DONE ? SQLITE_OK : codes[0];
    }
    (void)sqlite3_finalize(rows.statement);
    codes[1] = vmms_side_close(&rows.devices);
    codes[2] = vmms_side_close(&rows.pairs);
    for (size_t i = 0; r == 0 && i < HV_ARRAY_SIZE(codes); i++) {
        if (codes[i] != SQLITE_OK)
            r = vmms_db_explain(db, codes[i], "reading VMs", reterr);
    }
    return r;
}
