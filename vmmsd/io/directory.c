/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/io/directory.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { LOCK_TRIES = 50, LOCK_WAIT_MS = 20 };

int vmms_directory_prepare(const char *path, struct hv_error **reterr)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return hv_error_set(reterr, -errno, "directory.make",
                            "The directory %s cannot be made: %s.", path, strerror(errno));
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return hv_error_set(reterr, -ENOTDIR, "directory.kind", "%s is not a directory.", path);
    if (st.st_uid != geteuid())
        return hv_error_set(reterr, -EPERM, "directory.owner",
                            "The directory %s belongs to another user.", path);
    if (st.st_mode & 077 && chmod(path, 0700) < 0)
        return hv_error_set(reterr, -errno, "directory.mode",
                            "The directory %s is open to others, and cannot be closed: %s.", path,
                            strerror(errno));
    return 0;
}

/* A service that was killed while it started a process may be survived for a moment by that process
 * before it is another program: with the lock. */
static int take_lock(int fd)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return 0;
        (void)poll(NULL, 0, LOCK_WAIT_MS);
    }
    return -EBUSY;
}

int vmms_directory_lock(const char *path, int *ret_fd, struct hv_error **reterr)
{
    hv_autofree char *file = NULL;
    hv_autofd int fd = -1;

    if (asprintf(&file, "%s/lock", path) < 0)
        return -ENOMEM;
    fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return hv_error_set(reterr, -errno, "directory.lock", "The file %s cannot be made: %s.",
                            file, strerror(errno));
    if (take_lock(fd) < 0)
        return hv_error_set(reterr, -EBUSY, "directory.in_use",
                            "Another vmmsd uses the state directory %s.", path);
    *ret_fd = HV_TAKE_FD(fd);
    return 0;
}

int vmms_directory_check_sockets(const char *path, struct hv_error **reterr)
{
    static const char longest[] = "/vms/01234567-89ab-cdef-0123-456789abcdef/worker.sock";
    struct sockaddr_un address;
    size_t allowed = sizeof(address.sun_path) - sizeof(longest);

    if (strlen(path) <= allowed)
        return 0;
    return hv_error_set(reterr, -ENAMETOOLONG, "directory.too_long",
                        "The runtime directory's name has %zu characters; sockets below it allow "
                        "%zu. Use a shorter one: %s",
                        strlen(path), allowed, path);
}
