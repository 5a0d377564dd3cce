/* SPDX-License-Identifier: Apache-2.0 */
/* The files of saved states: <state>/vms/<id>/saved-state, and .part until it is whole. */
#include "hvcore/base/own.h"
#include "vmmsd/spawn/launch.h"
#include "vmmsd/spawn/launch_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static int open_directory(const char *state_dir, const char *vm_id)
{
    hv_autofree char *path = NULL;
    int fd;

    if (asprintf(&path, "%s/vms/%s", state_dir, vm_id) < 0)
        return -ENOMEM;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int vmms_saved_keep(const char *state_dir, const char *vm_id)
{
    hv_autofd int directory = open_directory(state_dir, vm_id);
    struct stat st;

    if (directory < 0)
        return directory;
    if (renameat(directory, VMMS_SAVED_PART, directory, VMMS_SAVED) < 0 &&
        (errno != ENOENT || fstatat(directory, VMMS_SAVED, &st, AT_SYMLINK_NOFOLLOW) < 0))
        return -errno;
    return fsync(directory) < 0 ? -errno : 0;
}

int vmms_saved_create(const char *state_dir, const char *vm_id)
{
    hv_autofd int directory = open_directory(state_dir, vm_id);
    int fd;

    if (directory < 0)
        return directory;
    fd = openat(directory, VMMS_SAVED_PART, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                0600);
    return fd < 0 ? -errno : fd;
}

int vmms_saved_open(const char *state_dir, const char *vm_id)
{
    hv_autofd int directory = open_directory(state_dir, vm_id);
    int fd;

    if (directory < 0)
        return directory;
    fd = openat(directory, VMMS_SAVED, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void vmms_saved_set_aside(const char *state_dir, const char *vm_id)
{
    hv_autofd int directory = open_directory(state_dir, vm_id);

    if (directory < 0)
        return;
    (void)unlinkat(directory, VMMS_SAVED_PART, 0);
    (void)renameat(directory, VMMS_SAVED, directory, VMMS_SAVED_OLD);
}

void vmms_saved_remove(const char *state_dir, const char *vm_id)
{
    hv_autofd int directory = open_directory(state_dir, vm_id);

    if (directory >= 0)
        (void)unlinkat(directory, VMMS_SAVED_OLD, 0);
}
