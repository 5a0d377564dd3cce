/* SPDX-License-Identifier: Apache-2.0 */
/* The tables vm_group and vm_group_member. */
#include "vmmsd/store/db_priv.h"

#include "api/gen/tables.h"

#include <stdio.h>
#include <string.h>

/* A VM's kind of group has VMs, the other has groups: the member stands in the one column or the
 * other. */
int vmms_db_prepare_groups(struct vmms_db *db)
{
    const struct {
        const char *sql;
        sqlite3_stmt **statement;
    } statements[] = {
        { "INSERT INTO vm_group (id, name, kind, notes, generation, created_ms) "
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
          &db->insert_group },
        { "UPDATE vm_group SET name = ?2, kind = ?3, notes = ?4, generation = ?5, created_ms = ?6 "
          "WHERE id = ?1",
          &db->update_group },
        { "DELETE FROM vm_group WHERE id = ?1", &db->delete_group },
        { "INSERT INTO vm_group_member (vm_group, vm, child) VALUES (?1, ?2, ?3)",
          &db->insert_member },
        { "DELETE FROM vm_group_member WHERE vm_group = ?1 AND (vm = ?2 OR child = ?3)",
          &db->delete_member },
    };
    int code = SQLITE_OK;

    for (size_t i = 0; i < HV_ARRAY_SIZE(statements) && code == SQLITE_OK; i++)
        code = vmms_db_prepare(db, statements[i].sql, statements[i].statement);
    return code;
}

static int put_row(sqlite3_stmt *statement, const struct vmms_group_row *row)
{
    vmms_db_bind_given(statement, 1, row->id);
    vmms_db_bind_given(statement, 2, row->name);
    vmms_db_bind_given(statement, 3, api_enum_group_kind.values[row->kind]);
    vmms_db_bind_given(statement, 4, row->notes);
    (void)sqlite3_bind_int64(statement, 5, (int64_t)row->generation);
    (void)sqlite3_bind_int64(statement, 6, (int64_t)row->created_ms);
    return vmms_db_run(statement);
}

static int put_member(sqlite3_stmt *statement, const struct vmms_change *change)
{
    bool is_vm = change->group.kind == API_GROUP_KIND_VM;

    vmms_db_bind_given(statement, 1, change->group.id);
    vmms_db_bind_given(statement, 2, is_vm ? change->member : NULL);
    vmms_db_bind_given(statement, 3, is_vm ? NULL : change->member);
    return vmms_db_run(statement);
}

int vmms_db_put_group(struct vmms_db *db, const struct vmms_change *change)
{
    int code;

    switch (change->group_kind) {
    case VMMS_GROUP_ROW_NONE: return SQLITE_OK;
    case VMMS_GROUP_ROW_INSERT: return put_row(db->insert_group, &change->group);
    case VMMS_GROUP_ROW_DELETE:
        vmms_db_bind_given(db->delete_group, 1, change->group.id);
        return vmms_db_run(db->delete_group);
    default: break;
    }
    code = put_row(db->update_group, &change->group);
    if (code == SQLITE_OK && change->group_kind == VMMS_GROUP_ROW_ADD)
        code = put_member(db->insert_member, change);
    if (code == SQLITE_OK && change->group_kind == VMMS_GROUP_ROW_REMOVE)
        code = put_member(db->delete_member, change);
    return code;
}

static const char *text(sqlite3_stmt *statement, int at)
{
    const char *found = (const char *)sqlite3_column_text(statement, at);

    return found ? found : "";
}

static int load_group(struct vmms_db *db, sqlite3_stmt *statement,
                      int (*each)(void *opaque, struct vmms_group_row *row), void *opaque,
                      struct hv_error **reterr)
{
    int kind = api_enum_index(&api_enum_group_kind, text(statement, 2)), r = -EINVAL;
    struct vmms_group_row row = { .name = strdup(text(statement, 1)),
                                  .kind = (enum api_group_kind)kind,
                                  .notes = strdup(text(statement, 3)),
                                  .generation = (uint64_t)sqlite3_column_int64(statement, 4),
                                  .created_ms = (uint64_t)sqlite3_column_int64(statement, 5) };

    (void)snprintf(row.id, sizeof(row.id), "%s", text(statement, 0));
    if (!row.name || !row.notes)
        r = -ENOMEM;
    else if (kind >= 0)
        r = each(opaque, &row);
    vmms_group_row_fini(&row);
    return r < 0 ? hv_error_set(reterr, r, "store.row",
                                "The database %s holds a group %s that cannot be used.", db->path,
                                text(statement, 0))
                 : 0;
}

static int load_groups(struct vmms_db *db, int (*each)(void *opaque, struct vmms_group_row *row),
                       void *opaque, struct hv_error **reterr)
{
    sqlite3_stmt *statement;
    int r = 0, code = sqlite3_prepare_v2(db->handle,
                                         "SELECT id, name, kind, notes, generation, created_ms "
                                         "FROM vm_group ORDER BY name",
                                         -1, &statement, NULL);

    if (code != SQLITE_OK)
        return vmms_db_explain(db, code, "reading groups", reterr);
    while (r == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW)
        r = load_group(db, statement, each, opaque, reterr);
    (void)sqlite3_finalize(statement);
    return r == 0 && code != SQLITE_DONE ? vmms_db_explain(db, code, "reading groups", reterr) : r;
}

int vmms_db_load_groups(struct vmms_db *db, int (*each)(void *opaque, struct vmms_group_row *row),
                        int (*each_member)(void *opaque, const char *group, const char *member),
                        void *opaque, struct hv_error **reterr)
{
    sqlite3_stmt *statement;
    int r = load_groups(db, each, opaque, reterr), code;

    if (r < 0)
        return r;
    code =
        sqlite3_prepare_v2(db->handle, "SELECT vm_group, coalesce(vm, child) FROM vm_group_member",
                           -1, &statement, NULL);
    if (code != SQLITE_OK)
        return vmms_db_explain(db, code, "reading groups", reterr);
    while (r == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        r = each_member(opaque, text(statement, 0), text(statement, 1));
        if (r < 0)
            r = hv_error_set(reterr, r, "store.row",
                             "The database %s holds a member of the group %s that cannot be in it.",
                             db->path, text(statement, 0));
    }
    (void)sqlite3_finalize(statement);
    return r == 0 && code != SQLITE_DONE ? vmms_db_explain(db, code, "reading groups", reterr) : r;
}
