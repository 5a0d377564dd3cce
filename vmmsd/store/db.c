/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: reliability rules 6.1, 6.8, 6.9. */
#include "vmmsd/store/db_priv.h"

#include "vmmsd/store/files_priv.h"
#include "vmmsd/store/migrations.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BUSY_TIMEOUT_MS = 5000, SCHEMA_VERSION = HV_ARRAY_SIZE(migrations) };

int vmms_db_version(void)
{
    return SCHEMA_VERSION;
}

bool vmms_db_is_fatal(int code)
{
    code &= 0xff;
    return code == SQLITE_IOERR || code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

static const struct {
    int code;
    int errnum;
    enum api_error_code api;
    const char *id;
    const char *problem;
    const char *help;
} problems[] = {
    { SQLITE_BUSY, EBUSY, API_E_NOT_AVAILABLE, "store.locked", "is locked by another program",
      "Close that program and try again." },
    { SQLITE_LOCKED, EBUSY, API_E_NOT_AVAILABLE, "store.locked", "is locked by another program",
      "Close that program and try again." },
    { SQLITE_READONLY, EROFS, API_E_STORAGE_CRITICAL, "store.read_only", "is read-only",
      "Make the state directory writable for this user." },
    { SQLITE_PERM, EACCES, API_E_STORAGE_CRITICAL, "store.access", "may not be opened",
      "Give this user access to the state directory." },
    { SQLITE_CANTOPEN, EACCES, API_E_STORAGE_CRITICAL, "store.access", "cannot be opened",
      "Check the rights and the place of the state directory." },
    { SQLITE_FULL, ENOSPC, API_E_DISK_FULL, "store.full", "cannot grow: the disk is full",
      "Make room on the disk that holds the state directory." },
    { SQLITE_CORRUPT, EUCLEAN, API_E_STORAGE_CRITICAL, "store.damaged", "is damaged",
      "Put a backup of it in its place." },
    { SQLITE_NOTADB, EUCLEAN, API_E_STORAGE_CRITICAL, "store.damaged",
      "is damaged: it is no SQLite database", "Put a backup of it in its place." },
    { SQLITE_IOERR, EIO, API_E_STORAGE_CRITICAL, "store.io", "cannot be read or written",
      "Check the disk that holds the state directory." },
    { SQLITE_NOMEM, ENOMEM, API_E_OUT_OF_MEMORY, "store.memory", "needs more memory than there is",
      "Free memory and try again." },
    { SQLITE_INTERRUPT, ETIME, API_E_TIMEOUT, "call.deadline",
      "could not be written to before the call's deadline",
      "Call again, with a later deadline or none." },
};

int vmms_db_explain(const struct vmms_db *db, int code, const char *doing, struct hv_error **reterr)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(problems); i++) {
        if (problems[i].code == (code & 0xff))
            return hv_error_set(reterr, -problems[i].errnum, problems[i].id,
                                "The database %s %s. %s", db->path, problems[i].problem,
                                problems[i].help);
    }
    return hv_error_set(reterr, -EIO, "store.failed", "The database %s cannot be used (%s: %s).",
                        db->path, doing, sqlite3_errstr(code));
}

/* For clients: what is wrong, without paths. */
struct api_error *vmms_db_client_error(int code)
{
    struct api_error *error = NULL;

    for (size_t i = 0; i < HV_ARRAY_SIZE(problems); i++) {
        if (problems[i].code != (code & 0xff))
            continue;
        api_error_set(&error, problems[i].api, problems[i].id, NULL,
                      "Nothing was changed: the service's database %s.", problems[i].problem);
        api_error_hint(error, "%s", problems[i].help);
        return error;
    }
    api_error_set(&error, API_E_FAILED, "store.failed", NULL,
                  "Nothing was changed: the service's database refused it (%s).",
                  sqlite3_errstr(code));
    return error;
}

int vmms_db_prepare(struct vmms_db *db, const char *sql, sqlite3_stmt **ret)
{
    return sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
}

void vmms_db_bind_given(sqlite3_stmt *statement, int at, const char *text)
{
    if (text)
        (void)sqlite3_bind_text(statement, at, text, -1, SQLITE_TRANSIENT);
    else
        (void)sqlite3_bind_null(statement, at);
}

int vmms_db_run(sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    int reset = sqlite3_reset(statement);

    (void)sqlite3_clear_bindings(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : reset;
}

int vmms_side_open(struct vmms_db *db, const char *sql, struct vmms_side *ret)
{
    *ret = (struct vmms_side){ 0 };
    ret->code = sqlite3_prepare_v2(db->handle, sql, -1, &ret->statement, NULL);
    if (ret->code == SQLITE_OK)
        vmms_side_next(ret);
    return ret->code == SQLITE_ROW || ret->code == SQLITE_DONE ? SQLITE_OK : ret->code;
}

/* Rows of no VM, which only a damaged file has, are passed by. */
bool vmms_side_is_at(struct vmms_side *side, const char *vm)
{
    int order;

    while (side->code == SQLITE_ROW) {
        order = strcmp((const char *)sqlite3_column_text(side->statement, 0), vm);
        if (order >= 0)
            return order == 0;
        vmms_side_next(side);
    }
    return false;
}

void vmms_side_next(struct vmms_side *side)
{
    side->code = sqlite3_step(side->statement);
}

int vmms_side_close(struct vmms_side *side)
{
    (void)sqlite3_finalize(side->statement);
    side->statement = NULL;
    return side->code == SQLITE_ROW || side->code == SQLITE_DONE ? SQLITE_OK : side->code;
}

int vmms_db_number(struct vmms_db *db, const char *sql, int64_t *ret)
{
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

static int is_one_row(struct vmms_db *db, const char *sql, const char *wanted, bool *ret)
{
    sqlite3_stmt *statement;
    const char *text;
    int code = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    *ret = text && strcmp(text, wanted) == 0;
    (void)sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

int vmms_db_use_sync(struct vmms_db *db, bool each_commit)
{
    bool is_set = false;
    int code = sqlite3_exec(db->handle,
                            each_commit ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
                            NULL, NULL, NULL);

    if (code == SQLITE_OK)
        code = is_one_row(db, "PRAGMA synchronous", each_commit ? "2" : "1", &is_set);
    return code == SQLITE_OK && !is_set ? SQLITE_ERROR : code;
}

static int set_pragmas(struct vmms_db *db, struct hv_error **reterr)
{
    static const struct {
        const char *set, *get, *wanted;
    } pragmas[] = {
        { "PRAGMA journal_mode=WAL", "PRAGMA journal_mode", "wal" },
        { "PRAGMA synchronous=FULL", "PRAGMA synchronous", "2" },
        { "PRAGMA foreign_keys=ON", "PRAGMA foreign_keys", "1" },
        { "PRAGMA trusted_schema=OFF", "PRAGMA trusted_schema", "0" },
        { "PRAGMA cell_size_check=ON", "PRAGMA cell_size_check", "1" },
        { "PRAGMA mmap_size=0", "PRAGMA mmap_size", "0" },
        { "PRAGMA journal_size_limit=16777216", "PRAGMA journal_size_limit", "16777216" },
    };
    bool is_set;
    int code;

    for (size_t i = 0; i < HV_ARRAY_SIZE(pragmas); i++) {
        is_set = false;
        code = sqlite3_exec(db->handle, pragmas[i].set, NULL, NULL, NULL);
        if (code == SQLITE_OK)
            code = is_one_row(db, pragmas[i].get, pragmas[i].wanted, &is_set);
        if (code != SQLITE_OK)
            return vmms_db_explain(db, code, pragmas[i].set, reterr);
        if (!is_set)
            return hv_error_set(reterr, -ENOTSUP, "store.pragma",
                                "The database %s does not take \"%s\"; is it on a local disk?",
                                db->path, pragmas[i].set);
    }
    return 0;
}

static int check_file(struct vmms_db *db, struct hv_error **reterr)
{
    int64_t broken_keys = 0;
    bool is_ok = true;
    int code;

    if (vmms_mark_is_set(db->path, "suspect"))
        code = vmms_check_whole(db->handle);
    else
        code = is_one_row(db, "PRAGMA quick_check(1)", "ok", &is_ok);
    if (code == SQLITE_OK && !is_ok)
        code = SQLITE_CORRUPT;
    if (code == SQLITE_OK)
        code = vmms_db_number(db, "SELECT count(*) FROM pragma_foreign_key_check", &broken_keys);
    if (code == SQLITE_OK && broken_keys)
        code = SQLITE_CORRUPT;
    if (code != SQLITE_OK)
        return vmms_db_explain(db, code, "checking", reterr);
    vmms_mark_clear(db->path, "suspect");
    return 0;
}

static int migrate_step(struct vmms_db *db, unsigned version)
{
    char stamp[96];
    int code = sqlite3_exec(db->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_exec(db->handle, migrations[version], NULL, NULL, NULL);
    (void)snprintf(stamp, sizeof(stamp), "PRAGMA application_id=%d; PRAGMA user_version=%u",
                   VMMS_DB_APPLICATION_ID, version + 1);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->handle, stamp, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->handle, "COMMIT", NULL, NULL, NULL);
    if (code != SQLITE_OK)
        (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static int migrate(struct vmms_db *db, struct hv_error **reterr)
{
    int64_t version = 0, application = 0, tables = 0;
    hv_autofree char *backup = NULL;
    int code, r;

    code = vmms_db_number(db, "PRAGMA user_version", &version);
    if (code == SQLITE_OK)
        code = vmms_db_number(db, "PRAGMA application_id", &application);
    if (code == SQLITE_OK)
        code = vmms_db_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (code != SQLITE_OK)
        return vmms_db_explain(db, code, "reading its version", reterr);
    if ((version || tables) && application != VMMS_DB_APPLICATION_ID)
        return hv_error_set(reterr, -EMEDIUMTYPE, "store.foreign",
                            "The file %s is another program's database.", db->path);
    if (version > SCHEMA_VERSION)
        return hv_error_set(reterr, -ENOTSUP, "store.newer",
                            "The database %s is from a newer version (%" PRId64
                            "; this program knows %d). Start that version, or put an older backup "
                            "in its place.",
                            db->path, version, (int)SCHEMA_VERSION);
    if (version && version < SCHEMA_VERSION) {
        r = vmms_backup_make(db->path, NULL, &backup, reterr);
        if (r < 0)
            return r;
    }
    for (; version < SCHEMA_VERSION; version++) {
        code = migrate_step(db, (unsigned)version);
        if (code != SQLITE_OK)
            return vmms_db_explain(db, code, "bringing it up to date", reterr);
    }
    return 0;
}

static int open_handle(struct vmms_db *db, struct hv_error **reterr)
{
    int code, on = 1;

    code = sqlite3_open_v2(db->path, &db->handle,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                               SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
                           NULL);
    if (code != SQLITE_OK)
        return vmms_db_explain(db, code, "opening", reterr);
    (void)sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
    if (sqlite3_db_readonly(db->handle, "main"))
        return vmms_db_explain(db, SQLITE_READONLY, "opening", reterr);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, on, NULL);
    return 0;
}

static int prepare_all(struct vmms_db *db, struct hv_error **reterr)
{
    const struct {
        const char *sql;
        sqlite3_stmt **statement;
    } statements[] = {
        { "BEGIN IMMEDIATE", &db->begin },
        { "COMMIT", &db->commit },
        { "ROLLBACK", &db->rollback },
        { "SAVEPOINT one", &db->savepoint },
        { "RELEASE one", &db->release },
        { "ROLLBACK TO one", &db->undo },
        { "INSERT OR REPLACE INTO op (object, kind) VALUES (?1, 'remove_files')", &db->insert_op },
        { "DELETE FROM op WHERE object = ?1", &db->delete_op },
        { "UPDATE host SET boot_id = ?1", &db->put_boot },
    };
    int64_t first = 0, last = 0;
    int code = SQLITE_OK;

    for (size_t i = 0; i < HV_ARRAY_SIZE(statements) && code == SQLITE_OK; i++)
        code = vmms_db_prepare(db, statements[i].sql, statements[i].statement);
    if (code == SQLITE_OK)
        code = vmms_db_prepare_rows(db);
    if (code == SQLITE_OK)
        code = vmms_db_prepare_jobs(db);
    if (code == SQLITE_OK)
        code = vmms_db_prepare_devices(db);
    if (code == SQLITE_OK)
        code = vmms_db_prepare_pairs(db);
    if (code == SQLITE_OK)
        code = vmms_db_prepare_groups(db);
    if (code == SQLITE_OK)
        code = vmms_db_prepare_keys(db);
    if (code == SQLITE_OK)
        code = vmms_db_prepare_events(db);
    if (code == SQLITE_OK)
        code = vmms_db_prepare_identities(db);
    if (code == SQLITE_OK)
        code = vmms_db_number(db, "SELECT min(seq) FROM event", &first);
    if (code == SQLITE_OK)
        code = vmms_db_number(db, "SELECT max(seq) FROM event", &last);
    db->first_event = first ? (uint64_t)first : 1;
    db->last_event = (uint64_t)last;
    if (code == SQLITE_OK)
        code = vmms_db_count_event_bytes(db);
    return code == SQLITE_OK ? 0 : vmms_db_explain(db, code, "preparing", reterr);
}

int vmms_db_open(const char *path, struct vmms_db *ret, struct hv_error **reterr)
{
    hv_autofree char *folder = vmms_folder_of(path);
    bool is_new = access(path, F_OK) < 0;
    int r;

    *ret = (struct vmms_db){ .path = strdup(path) };
    if (!ret->path || !folder) {
        vmms_db_close(ret);
        return -ENOMEM;
    }
    r = open_handle(ret, reterr);
    if (r == 0)
        r = set_pragmas(ret, reterr);
    if (r == 0)
        r = check_file(ret, reterr);
    if (r == 0)
        r = migrate(ret, reterr);
    if (r == 0)
        r = prepare_all(ret, reterr);
    if (r == 0 && is_new)
        r = vmms_sync_folder(folder);
    if (r == -EUCLEAN)
        (void)sqlite3_db_config(ret->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (r < 0)
        vmms_db_close(ret);
    return r;
}

void vmms_db_close(struct vmms_db *db)
{
    sqlite3_stmt *statement;

    while (db->handle && (statement = sqlite3_next_stmt(db->handle, NULL)))
        (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db->handle);
    free(db->path);
    *db = (struct vmms_db){ 0 };
}
