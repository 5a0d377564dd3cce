/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/store/files_priv.h"

#include "hvcore/base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_NAMES = 1000 };

void vmms_stamp(char ret[static VMMS_STAMP_BYTES])
{
    uint64_t now_ns = hv_clock_realtime_ns();
    time_t now = (time_t)(now_ns / HV_NS_PER_SEC);
    unsigned ms = (unsigned)(now_ns % HV_NS_PER_SEC / HV_NS_PER_MS);
    char seconds[VMMS_STAMP_BYTES - 5];
    struct tm parts;

    (void)gmtime_r(&now, &parts);
    (void)strftime(seconds, sizeof(seconds), "%Y%m%dT%H%M%S", &parts);
    (void)snprintf(ret, VMMS_STAMP_BYTES, "%s.%03uZ", seconds, ms);
}

char *vmms_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int sync_opened(const char *path, int flags)
{
    hv_autofd int fd = open(path, flags | O_CLOEXEC);

    return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

int vmms_sync_folder(const char *folder)
{
    return sync_opened(folder, O_RDONLY | O_DIRECTORY);
}

int vmms_sync_file(const char *path)
{
    return sync_opened(path, O_RDWR | O_NOFOLLOW);
}

int vmms_rename_free(const char *from, const char *to, char **ret)
{
    hv_autofree char *name = NULL;

    for (int i = 1; i <= MAX_NAMES; i++) {
        hv_freep(&name);
        name = NULL;
        if ((i == 1 ? asprintf(&name, "%s", to) : asprintf(&name, "%s-%d", to, i)) < 0) {
            name = NULL;
            return -ENOMEM;
        }
        if (renameat2(AT_FDCWD, from, AT_FDCWD, name, RENAME_NOREPLACE) == 0) {
            *ret = HV_TAKE_PTR(name);
            return 0;
        }
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

/* Marks */

static char *mark_name(const char *path, const char *mark)
{
    char *name;

    return asprintf(&name, "%s.%s", path, mark) < 0 ? NULL : name;
}

int vmms_mark_set(const char *path, const char *mark)
{
    hv_autofree char *name = mark_name(path, mark), *folder = vmms_folder_of(path);
    hv_autofd int fd = -1;

    if (!name || !folder)
        return -ENOMEM;
    fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || futimens(fd, NULL) < 0)
        return -errno;
    return vmms_sync_folder(folder);
}

void vmms_mark_clear(const char *path, const char *mark)
{
    hv_autofree char *name = mark_name(path, mark);

    if (name)
        (void)unlink(name);
}

bool vmms_mark_is_set(const char *path, const char *mark)
{
    hv_autofree char *name = mark_name(path, mark);

    return name && access(name, F_OK) == 0;
}

uint64_t vmms_mark_age_s(const char *path, const char *mark)
{
    hv_autofree char *name = mark_name(path, mark);
    uint64_t now = hv_clock_realtime_ns() / HV_NS_PER_SEC;
    struct stat st;

    if (!name || stat(name, &st) < 0 || (uint64_t)st.st_mtime > now)
        return UINT64_MAX;
    return now - (uint64_t)st.st_mtime;
}
