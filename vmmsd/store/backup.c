/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of the database, made while it is used: reliability rule 6.9. */
#include "vmmsd/store/files_priv.h"

#include "hvcore/base/clock.h"
#include "vmmsd/store/db_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGES_A_STEP = 256, BUSY_TIMEOUT_MS = 5000, NAME_TRIES = 1000 };

static int text_is(sqlite3 *handle, const char *sql, const char *wanted)
{
    sqlite3_stmt *statement;
    const char *text;
    int code = sqlite3_prepare_v2(handle, sql, -1, &statement, NULL);

    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (code == SQLITE_ROW || code == SQLITE_DONE)
        code = text && strcmp(text, wanted) == 0 ? SQLITE_OK : SQLITE_CORRUPT;
    (void)sqlite3_finalize(statement);
    return code;
}

int vmms_check_whole(sqlite3 *handle)
{
    int code = text_is(handle, "PRAGMA integrity_check(1)", "ok");

    return code == SQLITE_OK ? text_is(handle, "SELECT count(*) FROM pragma_foreign_key_check", "0")
                             : code;
}

int vmms_open_to_read(const char *path, sqlite3 **ret)
{
    int code = sqlite3_open_v2(path, ret,
                               SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
                                   SQLITE_OPEN_EXRESCODE,
                               NULL);

    if (code == SQLITE_OK)
        (void)sqlite3_busy_timeout(*ret, BUSY_TIMEOUT_MS);
    return code;
}

static int explain(const char *path, int code, struct hv_error **reterr)
{
    const struct vmms_db db = { .path = (char *)path };

    return vmms_db_explain(&db, code, "copying", reterr);
}

static int check_identity(const char *path, sqlite3 *handle, struct hv_error **reterr)
{
    struct vmms_db db = { .handle = handle, .path = (char *)path };
    int64_t application = 0, version = 0;
    int code = vmms_db_number(&db, "PRAGMA application_id", &application);

    if (code == SQLITE_OK)
        code = vmms_db_number(&db, "PRAGMA user_version", &version);
    if (code != SQLITE_OK)
        return explain(path, code, reterr);
    if (application != VMMS_DB_APPLICATION_ID)
        return hv_error_set(reterr, -EMEDIUMTYPE, "store.foreign",
                            "The file %s is no database of vmmsd.", path);
    if (version > vmms_db_version())
        return hv_error_set(reterr, -ENOTSUP, "store.newer",
                            "The database %s is from a newer version (%" PRId64
                            "; this program knows %d).",
                            path, version, vmms_db_version());
    return 0;
}

int vmms_backup_check(const char *path, struct hv_error **reterr)
{
    sqlite3 *handle = NULL;
    int code = vmms_open_to_read(path, &handle), r;

    if (code == SQLITE_OK)
        code = vmms_check_whole(handle);
    r = code == SQLITE_OK ? check_identity(path, handle, reterr) : explain(path, code, reterr);
    (void)sqlite3_close(handle);
    return r;
}

/* The snapshot is held for the whole of the copy, so that writers do not make it begin anew. */
static int copy_pages(sqlite3 *from, sqlite3 *to, const atomic_bool *stop)
{
    int code = sqlite3_exec(from, "BEGIN; SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    sqlite3_backup *backup = NULL;

    if (code == SQLITE_OK) {
        backup = sqlite3_backup_init(to, "main", from, "main");
        code = backup ? SQLITE_OK : sqlite3_errcode(to);
    }
    while (code == SQLITE_OK) {
        code = stop && atomic_load(stop) ? SQLITE_INTERRUPT
                                         : sqlite3_backup_step(backup, PAGES_A_STEP);
    }
    (void)sqlite3_backup_finish(backup);
    (void)sqlite3_exec(from, "ROLLBACK", NULL, NULL, NULL);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

int vmms_copy_database(const char *from, const char *to, const atomic_bool *stop,
                       struct hv_error **reterr)
{
    sqlite3 *source = NULL, *copy = NULL;
    const char *at = from;
    int code = vmms_open_to_read(from, &source), r;

    if (code == SQLITE_OK) {
        at = to;
        code = sqlite3_open_v2(to, &copy,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                   SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
                               NULL);
    }
    if (code == SQLITE_OK)
        code = copy_pages(source, copy, stop);
    /* One file, without a log beside it. */
    if (code == SQLITE_OK)
        code = sqlite3_exec(copy, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL);
    (void)sqlite3_close(copy);
    (void)sqlite3_close(source);
    if (code == SQLITE_INTERRUPT)
        return -ECANCELED;
    r = code == SQLITE_OK ? vmms_backup_check(to, reterr) : explain(at, code, reterr);
    if (r == 0)
        r = vmms_sync_file(to);
    return r;
}

void vmms_drop_copy(const char *path)
{
    static const char *const suffixes[] = { "", "-journal", "-wal", "-shm" };

    for (size_t i = 0; i < HV_ARRAY_SIZE(suffixes); i++) {
        hv_autofree char *name = NULL;

        if (asprintf(&name, "%s%s", path, suffixes[i]) < 0)
            name = NULL;
        else
            (void)unlink(name);
    }
}

/* The folder of backups */

static char *backups_folder(const char *path)
{
    hv_autofree char *folder = vmms_folder_of(path);
    char *name;

    return folder && asprintf(&name, "%s/backups", folder) >= 0 ? name : NULL;
}

static int is_backup(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return strncmp(entry->d_name, "vmms-", 5) == 0 && length > 8 &&
           strcmp(entry->d_name + length - 3, ".db") == 0;
}

/* In the order of their times, the oldest first. Returns how many; to be freed one by one. */
static int list_backups(const char *folder, struct dirent ***ret)
{
    int count = scandir(folder, ret, is_backup, alphasort);

    if (count < 0)
        *ret = NULL;
    return count < 0 ? 0 : count;
}

static void free_list(struct dirent **names, int count)
{
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static void drop_old(const char *folder)
{
    struct dirent **names;
    int count = list_backups(folder, &names);

    for (int i = 0; i < count - VMMS_BACKUPS_KEPT; i++) {
        hv_autofree char *path = NULL;

        if (asprintf(&path, "%s/%s", folder, names[i]->d_name) < 0)
            path = NULL;
        else
            (void)unlink(path);
    }
    free_list(names, count);
}

static int make_folder(const char *path, const char *folder)
{
    hv_autofree char *parent = vmms_folder_of(path);

    if (!parent)
        return -ENOMEM;
    if (mkdir(folder, 0700) < 0)
        return errno == EEXIST ? 0 : -errno;
    return vmms_sync_folder(parent);
}

/* The time is its name, so that names are in the order of their times. */
static int put_in_place(const char *folder, const char *made, char **ret)
{
    char stamp[VMMS_STAMP_BYTES];
    hv_autofree char *name = NULL;
    int r = -EEXIST;

    for (int i = 0; r == -EEXIST && i < NAME_TRIES; i++) {
        hv_freep(&name);
        vmms_stamp(stamp);
        if (asprintf(&name, "%s/vmms-%s.db", folder, stamp) < 0) {
            name = NULL;
            return -ENOMEM;
        }
        r = renameat2(AT_FDCWD, made, AT_FDCWD, name, RENAME_NOREPLACE) < 0 ? -errno : 0;
        if (r == -EEXIST)
            (void)poll(NULL, 0, 1);
    }
    if (r == 0)
        r = vmms_sync_folder(folder);
    if (r == 0)
        *ret = HV_TAKE_PTR(name);
    return r;
}

int vmms_backup_make(const char *path, const atomic_bool *stop, char **ret,
                     struct hv_error **reterr)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    hv_autofree char *folder = backups_folder(path), *made = NULL;
    int r;

    if (!folder || asprintf(&made, "%s/new", folder) < 0) {
        made = NULL;
        return -ENOMEM;
    }
    r = make_folder(path, folder);
    if (r == 0) {
        vmms_drop_copy(made);
        r = vmms_copy_database(path, made, stop, &error);
        if (r == 0)
            r = put_in_place(folder, made, ret);
        if (r < 0)
            vmms_drop_copy(made);
    }
    if (r < 0 && r != -ECANCELED)
        return hv_error_set(reterr, r, "store.backup", "No backup can be put into %s: %s", folder,
                            hv_error_message(error, r));
    if (r == 0)
        drop_old(folder);
    return r;
}

static char *drop(char *text)
{
    free(text);
    return NULL;
}

char *vmms_backup_newest_good(const char *path)
{
    hv_autofree char *folder = backups_folder(path);
    struct dirent **names = NULL;
    int count = folder ? list_backups(folder, &names) : 0;
    char *found = NULL;

    for (int i = count; i > 0 && !found; i--) {
        if (asprintf(&found, "%s/%s", folder, names[i - 1]->d_name) < 0)
            found = NULL;
        else if (vmms_backup_check(found, NULL) < 0)
            found = drop(found);
    }
    free_list(names, count);
    return found;
}

uint64_t vmms_backup_age_s(const char *path)
{
    hv_autofree char *folder = backups_folder(path), *file = NULL;
    uint64_t now = hv_clock_realtime_ns() / HV_NS_PER_SEC;
    struct dirent **names = NULL;
    int count = folder ? list_backups(folder, &names) : 0;
    struct stat st = { 0 };

    if (count && asprintf(&file, "%s/%s", folder, names[count - 1]->d_name) < 0)
        file = NULL;
    free_list(names, count);
    if (!file || stat(file, &st) < 0 || (uint64_t)st.st_mtime > now)
        return UINT64_MAX;
    return now - (uint64_t)st.st_mtime;
}
