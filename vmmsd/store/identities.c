/* SPDX-License-Identifier: Apache-2.0 */
/* The table identity. */
#include "vmmsd/store/db_priv.h"

#include "api/gen/tables.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS                                                                                    \
    "name, role, state, is_limited, vms, token_hash, fingerprint, old_fingerprint, created_ms, "   \
    "expires_ms, seen_ms, groups"

int vmms_db_prepare_identities(struct vmms_db *db)
{
    return vmms_db_prepare(db,
                           "INSERT OR REPLACE INTO identity (" COLUMNS
                           ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                           &db->put_identity);
}

enum { IDS_BYTES = VMMS_MAX_SCOPE * (HV_GUID_TEXT_BYTES + 1) };

/* Ids with a blank between each two. */
static void join(const char (*ids)[HV_GUID_TEXT_BYTES], size_t count, char ret[static IDS_BYTES])
{
    size_t at = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < count && at + HV_GUID_TEXT_BYTES < IDS_BYTES; i++)
        at += (size_t)snprintf(ret + at, IDS_BYTES - at, "%s%s", i ? " " : "", ids[i]);
}

int vmms_db_put_identity(struct vmms_db *db, const struct vmms_identity *identity)
{
    const struct vmms_scope *scope = &identity->scope;
    char vms[IDS_BYTES], groups[IDS_BYTES];
    sqlite3_stmt *statement = db->put_identity;

    join(scope->ids, scope->count, vms);
    join(scope->groups, scope->n_groups, groups);
    vmms_db_bind_text(statement, 1, identity->name);
    vmms_db_bind_text(statement, 2, api_enum_remote_role.values[identity->role]);
    vmms_db_bind_text(statement, 3, api_enum_remote_state.values[identity->state]);
    (void)sqlite3_bind_int64(statement, 4, identity->is_limited);
    (void)sqlite3_bind_text(statement, 5, vms, -1, SQLITE_TRANSIENT);
    vmms_db_bind_text(statement, 6, identity->token_hash);
    vmms_db_bind_text(statement, 7, identity->fingerprint);
    vmms_db_bind_text(statement, 8, identity->old_fingerprint);
    (void)sqlite3_bind_int64(statement, 9, (int64_t)identity->created_ms);
    (void)sqlite3_bind_int64(statement, 10, (int64_t)identity->expires_ms);
    (void)sqlite3_bind_int64(statement, 11, (int64_t)identity->seen_ms);
    (void)sqlite3_bind_text(statement, 12, groups, -1, SQLITE_TRANSIENT);
    return vmms_db_run(statement);
}

static void column(sqlite3_stmt *statement, int at, char *ret, size_t room)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);

    (void)snprintf(ret, room, "%s", text ? text : "");
}

static size_t split(const char *text, char (*ret)[HV_GUID_TEXT_BYTES])
{
    size_t count = 0;

    while (text && *text && count < VMMS_MAX_SCOPE) {
        size_t length = strcspn(text, " ");

        if (length < HV_GUID_TEXT_BYTES)
            (void)snprintf(ret[count++], HV_GUID_TEXT_BYTES, "%.*s", (int)length, text);
        text += length + (text[length] == ' ');
    }
    return count;
}

static int read_identity(sqlite3_stmt *statement, struct vmms_identity *ret)
{
    const char *role = (const char *)sqlite3_column_text(statement, 1);
    const char *state = (const char *)sqlite3_column_text(statement, 2);
    int role_index = role ? api_enum_index(&api_enum_remote_role, role) : -1;
    int state_index = state ? api_enum_index(&api_enum_remote_state, state) : -1;

    *ret = (struct vmms_identity){ 0 };
    if (role_index < 0 || state_index < 0)
        return -EINVAL;
    ret->role = (enum api_remote_role)role_index;
    ret->state = (enum api_remote_state)state_index;
    column(statement, 0, ret->name, sizeof(ret->name));
    ret->is_limited = sqlite3_column_int(statement, 3);
    ret->scope.count = split((const char *)sqlite3_column_text(statement, 4), ret->scope.ids);
    column(statement, 5, ret->token_hash, sizeof(ret->token_hash));
    column(statement, 6, ret->fingerprint, sizeof(ret->fingerprint));
    column(statement, 7, ret->old_fingerprint, sizeof(ret->old_fingerprint));
    ret->created_ms = (uint64_t)sqlite3_column_int64(statement, 8);
    ret->expires_ms = (uint64_t)sqlite3_column_int64(statement, 9);
    ret->seen_ms = (uint64_t)sqlite3_column_int64(statement, 10);
    ret->scope.n_groups =
        split((const char *)sqlite3_column_text(statement, 11), ret->scope.groups);
    return 0;
}

int vmms_db_load_identities(struct vmms_db *db,
                            int (*each)(void *opaque, const struct vmms_identity *identity),
                            void *opaque, struct hv_error **reterr)
{
    struct vmms_identity identity;
    sqlite3_stmt *statement;
    int r = 0,
        code = sqlite3_prepare_v2(db->handle, "SELECT " COLUMNS " FROM identity ORDER BY name", -1,
                                  &statement, NULL);

    if (code != SQLITE_OK)
        return vmms_db_explain(db, code, "reading remote identities", reterr);
    while (r == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        r = read_identity(statement, &identity);
        if (r == 0)
            r = each(opaque, &identity);
        if (r < 0)
            (void)hv_error_set(reterr, r, "store.row",
                               "The database %s holds a remote identity that cannot be used.",
                               db->path);
    }
    (void)sqlite3_finalize(statement);
    if (r == 0 && code != SQLITE_DONE)
        r = vmms_db_explain(db, code, "reading remote identities", reterr);
    return r;
}
