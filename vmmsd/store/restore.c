/* SPDX-License-Identifier: Apache-2.0 */
/* A database that is damaged or missing: kept, never overwritten, and replaced only when asked to.
 */
#include "vmmsd/store/files_priv.h"

#include "vmmsd/store/db_priv.h"
#include "vmmsd/store/store.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Numbers that were given after the backup was made are not given again. */
enum { NUMBERS_SKIPPED = 10000000 };

static int move_companion(const char *path, const char *aside, const char *suffix)
{
    hv_autofree char *from = NULL, *to = NULL, *name = NULL;
    int r;

    if (asprintf(&from, "%s%s", path, suffix) < 0) {
        from = NULL;
        return -ENOMEM;
    }
    if (asprintf(&to, "%s%s", aside, suffix) < 0) {
        to = NULL;
        return -ENOMEM;
    }
    r = vmms_rename_free(from, to, &name);
    return r == -ENOENT ? 0 : r;
}

/* The database goes first: a log without its database is looked at by nobody, a database without
 * its log would be an older one. */
int vmms_set_aside(const char *path, char **ret)
{
    hv_autofree char *to = NULL, *aside = NULL, *folder = vmms_folder_of(path);
    char stamp[VMMS_STAMP_BYTES];
    bool was_there;
    int r;

    vmms_stamp(stamp);
    if (!folder || asprintf(&to, "%s.damaged-%s", path, stamp) < 0) {
        to = NULL;
        return -ENOMEM;
    }
    r = vmms_rename_free(path, to, &aside);
    was_there = r == 0;
    if (r == -ENOENT)
        r = (aside = strdup(to)) ? 0 : -ENOMEM;
    if (r == 0)
        r = move_companion(path, aside, "-wal");
    if (r == 0)
        r = move_companion(path, aside, "-shm");
    if (r == 0)
        r = vmms_sync_folder(folder);
    if (r < 0 || !was_there)
        return r < 0 ? r : -ENOENT;
    *ret = HV_TAKE_PTR(aside);
    return 0;
}

/* What to do, in words that can be typed. */
static int say(const char *path, const char *what, struct hv_error **reterr)
{
    hv_autofree char *backup = vmms_backup_newest_good(path), *folder = vmms_folder_of(path);

    if (!folder)
        return -ENOMEM;
    if (backup)
        return hv_error_set(reterr, -EUCLEAN, "store.damaged",
                            "%s The newest good backup is %s; put it in place by: vmmsd "
                            "--state-dir %s --restore-database %s",
                            what, backup, folder, backup);
    return hv_error_set(reterr, -EUCLEAN, "store.damaged",
                        "%s There is no good backup of it. A copy from elsewhere is put in place "
                        "by: vmmsd --state-dir %s --restore-database FILE",
                        what, folder);
}

int vmms_refuse_damaged(const char *path, struct hv_error **reterr)
{
    hv_autofree char *aside = NULL, *what = NULL;
    int r = vmms_set_aside(path, &aside);

    if (r < 0)
        r = asprintf(&what, "The database %s is damaged, and cannot be set aside: %s.", path,
                     strerror(-r));
    else
        r = asprintf(&what, "The database %s is damaged; it is kept as %s.", path, aside);
    if (r < 0) {
        what = NULL;
        return -ENOMEM;
    }
    vmms_mark_clear(path, "suspect");
    return say(path, what, reterr);
}

/* Presence: a new host has no traces of a database. */

static int is_trace(const struct dirent *entry)
{
    return strncmp(entry->d_name, "vmms.db.damaged-", 16) == 0 ||
           strcmp(entry->d_name, "vmms.db-wal") == 0;
}

int vmms_check_presence(const char *path, struct hv_error **reterr)
{
    hv_autofree char *folder = vmms_folder_of(path), *what = NULL;
    struct dirent **names = NULL;
    bool was_here;
    int count;

    if (access(path, F_OK) == 0 || errno != ENOENT)
        return 0;
    count = folder ? scandir(folder, &names, is_trace, versionsort) : 0;
    was_here = count > 0 || vmms_backup_age_s(path) != UINT64_MAX;
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    if (!was_here)
        return 0;
    if (asprintf(&what, "There is no database %s, but there was one.", path) < 0) {
        what = NULL;
        return -ENOMEM;
    }
    return say(path, what, reterr);
}

/* Restoring */

/* Clients with a place in the old log of events are told that they missed some; workers know the
 * service again although it is of an earlier time. */
static int skip_numbers(const char *path, const char *from, struct hv_error **reterr)
{
    struct vmms_db db = { .path = (char *)path };
    int code = sqlite3_open_v2(path, &db.handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    const char *slash = strrchr(from, '/');
    char *sql = sqlite3_mprintf(
        "BEGIN IMMEDIATE; UPDATE host SET epoch = epoch + %d;"
        "CREATE TEMP TABLE last AS SELECT ifnull(max(seq), 0) AS seq FROM event;"
        "DELETE FROM event;"
        "INSERT INTO event (seq, boot_id, time_ms, monotonic_ns, type, generation, actor, data) "
        "SELECT seq + %d, '', CAST(strftime('%%s', 'now') AS INTEGER) * 1000, 0, "
        "'host.database_restored', 0, 'host', json_object('from', %Q) FROM last; COMMIT",
        NUMBERS_SKIPPED, NUMBERS_SKIPPED, slash ? slash + 1 : from);
    if (code == SQLITE_OK)
        code = sql ? sqlite3_exec(db.handle, sql, NULL, NULL, NULL) : SQLITE_NOMEM;
    sqlite3_free(sql);
    if (code == SQLITE_OK)
        (void)sqlite3_exec(db.handle, "UPDATE sqlite_sequence SET seq = seq + 10000000", NULL, NULL,
                           NULL);
    (void)sqlite3_close(db.handle);
    return code == SQLITE_OK ? 0 : vmms_db_explain(&db, code, "restoring", reterr);
}

static int put_in_place(const char *path, const char *made, char **ret_aside,
                        struct hv_error **reterr)
{
    hv_autofree char *folder = vmms_folder_of(path);
    int r = vmms_set_aside(path, ret_aside);

    if (!folder)
        return -ENOMEM;
    if (r == -ENOENT)
        r = 0;
    if (r == 0 && rename(made, path) < 0)
        r = -errno;
    if (r == 0)
        r = vmms_sync_folder(folder);
    if (r < 0)
        return hv_error_set(reterr, r, "store.restore", "The database %s cannot be replaced: %s.",
                            path, strerror(-r));
    vmms_mark_clear(path, "suspect");
    return 0;
}

static int restore(const char *path, const char *from, const char *made, char **ret_aside,
                   struct hv_error **reterr)
{
    int r = vmms_backup_check(from, reterr);

    if (r < 0)
        return r;
    vmms_drop_copy(made);
    r = vmms_copy_database(from, made, NULL, reterr);
    if (r == 0)
        r = skip_numbers(made, from, reterr);
    if (r == 0)
        r = vmms_sync_file(made);
    if (r == 0)
        r = put_in_place(path, made, ret_aside, reterr);
    if (r < 0)
        vmms_drop_copy(made);
    return r;
}

int vmms_store_restore(const char *state_dir, const char *file, char **ret_from, char **ret_aside,
                       struct hv_error **reterr)
{
    hv_autofree char *path = NULL, *made = NULL, *from = NULL;
    int r;

    if (asprintf(&path, "%s/vmms.db", state_dir) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    if (asprintf(&made, "%s/vmms.db.new", state_dir) < 0) {
        made = NULL;
        return -ENOMEM;
    }
    from = *file ? strdup(file) : vmms_backup_newest_good(path);
    if (!from)
        return hv_error_set(reterr, -ENOENT, "store.no_backup",
                            "There is no good backup in %s/backups; name a file.", state_dir);
    r = restore(path, from, made, ret_aside, reterr);
    if (r == 0)
        *ret_from = HV_TAKE_PTR(from);
    return r;
}
