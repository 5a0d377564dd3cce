/* SPDX-License-Identifier: Apache-2.0 */
/* The database's files: copies of it, marks beside it, and what is done when it is damaged. */
#pragma once

#include "hvcore/base/error.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdint.h>

enum { VMMS_BACKUPS_KEPT = 7, VMMS_STAMP_BYTES = 24 };

/* files.c */
/* "20261128T154701.250Z", of now. */
void vmms_stamp(char ret[static VMMS_STAMP_BYTES]);
/* The directory that a file lies in. NULL: out of memory. */
char *vmms_folder_of(const char *path);
int vmms_sync_folder(const char *folder);
int vmms_sync_file(const char *path);
/* Rename to `to`, or to `to`-2, -3 ... where that name is taken. ret: the name that it got. */
int vmms_rename_free(const char *from, const char *to, char **ret);

/*
 * Marks beside the database, files of their own because a damaged database can say nothing.
 * PATH.open is there while a service has it open, so after an unclean stop as well; PATH.suspect
 * when damage was met: the next start looks at all of it. PATH.checked bears the time of the last
 * whole check.
 */
int vmms_mark_set(const char *path, const char *mark);
void vmms_mark_clear(const char *path, const char *mark);
bool vmms_mark_is_set(const char *path, const char *mark);
/* Seconds since it was set; UINT64_MAX: never. */
uint64_t vmms_mark_age_s(const char *path, const char *mark);

/* backup.c */
/* Everything that integrity_check and foreign_key_check find. Returns an SQLite code. */
int vmms_check_whole(sqlite3 *handle);
/* Open for reading. An SQLite code; *ret is to be closed in any case. */
int vmms_open_to_read(const char *path, sqlite3 **ret);
/* A file that is a whole database of ours, in a version that is known. 0, or -errno and *reterr. */
int vmms_backup_check(const char *path, struct hv_error **reterr);
/* Copy to a new file, check the copy, and leave it on the disk. stop: ends it early; or NULL. */
int vmms_copy_database(const char *from, const char *to, const atomic_bool *stop,
                       struct hv_error **reterr);
/* Remove what is left of a copy that failed, with its journal: another copy would be undone by it.
 */
void vmms_drop_copy(const char *path);
/* One more backup of the database, in the folder backups beside it; only the newest are kept. */
int vmms_backup_make(const char *path, const atomic_bool *stop, char **ret,
                     struct hv_error **reterr);
/* The newest backup that is whole, or NULL. */
char *vmms_backup_newest_good(const char *path);
/* Seconds since the newest was made; UINT64_MAX: there is none. */
uint64_t vmms_backup_age_s(const char *path);

/* restore.c */
/* Move the database away under a name with the time, with all that belongs to it. -ENOENT: there is
 * none. */
int vmms_set_aside(const char *path, char **ret);
/* -EUCLEAN with *reterr when there is no database but one was here; 0 to go on. */
int vmms_check_presence(const char *path, struct hv_error **reterr);
/* A damaged database: set it aside, and say in *reterr what can be done. Returns -EUCLEAN. */
int vmms_refuse_damaged(const char *path, struct hv_error **reterr);
