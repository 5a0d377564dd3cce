/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into vmmsd: the N-th call that opens for writing, writes, syncs, makes, cuts or renames
 * a file below a folder fails.
 *
 * HVSTACK_FAULT_FOLDER  the folder
 * HVSTACK_FAULT_AT      N, from 1
 * HVSTACK_FAULT_ERRNO   how it fails
 * HVSTACK_FAULT_STAYS   set: all later ones fail as well
 * HVSTACK_FAULT_TOLD    a file that is made when it happens, with the name of the call
 */
/* What is defined here is to be seen by the loader. */
#pragma GCC visibility push(default)

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *folder, *told;
static long fail_at, fail_errno;
static bool stays;
static atomic_long calls;

static bool is_vmmsd(void)
{
    char name[32] = "";
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY | O_CLOEXEC, 0);
    ssize_t length = fd >= 0 ? read(fd, name, sizeof(name) - 1) : -1;

    if (fd >= 0)
        (void)close(fd);
    return length > 0 && strcmp(name, "vmmsd\n") == 0;
}

__attribute__((constructor)) static void prepare(void)
{
    const char *at = getenv("HVSTACK_FAULT_AT"), *number = getenv("HVSTACK_FAULT_ERRNO");

    told = getenv("HVSTACK_FAULT_TOLD");
    stays = getenv("HVSTACK_FAULT_STAYS") != NULL;
    fail_at = at ? strtol(at, NULL, 10) : 0;
    fail_errno = number ? strtol(number, NULL, 10) : EIO;
    if (at && number && told && is_vmmsd())
        folder = getenv("HVSTACK_FAULT_FOLDER");
}

static void tell(const char *call, const char *path)
{
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof(line), "%s %s\n", call, path);
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, told, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (fd >= 0) {
        (void)syscall(SYS_write, fd, line, (size_t)length);
        (void)close(fd);
    }
}

static bool fails_at_path(const char *call, const char *path)
{
    long number;

    if (!folder || strncmp(path, folder, strlen(folder)) != 0)
        return false;
    number = atomic_fetch_add(&calls, 1) + 1;
    if (number != fail_at && !(stays && number > fail_at))
        return false;
    if (number == fail_at)
        tell(call, path);
    errno = (int)fail_errno;
    return true;
}

static bool fails_at_fd(const char *call, int fd, const char *name)
{
    char link[64], path[2 * PATH_MAX];
    ssize_t length;

    if (!folder)
        return false;
    if (name && (*name == '/' || fd == AT_FDCWD))
        return fails_at_path(call, name);
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    if (name)
        (void)snprintf(path + length, sizeof(path) - (size_t)length, "/%s", name);
    return fails_at_path(call, path);
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

#define ON_FD(result, name, parameters, arguments)                                                 \
    result name parameters                                                                         \
    {                                                                                              \
        static result(*real) parameters;                                                           \
        if (!real)                                                                                 \
            real = (result(*) parameters)next(#name);                                              \
        return fails_at_fd(#name, fd, NULL) ? -1 : real arguments;                                 \
    }

ON_FD(ssize_t, write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
ON_FD(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
ON_FD(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at),
      (fd, bytes, length, at))
ON_FD(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at),
      (fd, bytes, length, at))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))
ON_FD(int, ftruncate, (int fd, off_t length), (fd, length))
ON_FD(int, ftruncate64, (int fd, off64_t length), (fd, length))

int rename(const char *from, const char *to)
{
    return fails_at_path("rename", to) ? -1 : (int)syscall(SYS_rename, from, to);
}

int renameat(int from_fd, const char *from, int fd, const char *to)
{
    return fails_at_fd("renameat", fd, to) ? -1 : (int)syscall(SYS_renameat, from_fd, from, fd, to);
}

int renameat2(int from_fd, const char *from, int fd, const char *to, unsigned flags)
{
    return fails_at_fd("renameat2", fd, to)
               ? -1
               : (int)syscall(SYS_renameat2, from_fd, from, fd, to, flags);
}

int mkdir(const char *path, mode_t mode)
{
    return fails_at_path("mkdir", path) ? -1 : (int)syscall(SYS_mkdir, path, mode);
}

static bool is_written(int flags)
{
    return flags & (O_WRONLY | O_RDWR | O_CREAT | O_DIRECTORY);
}

static int open_any(const char *call, int at, const char *path, int flags, mode_t mode)
{
    if (is_written(flags) && fails_at_fd(call, at, path))
        return -1;
    return (int)syscall(SYS_openat, at, path, flags, mode);
}

#define MODE_OF(flags, mode)                                                                       \
    do {                                                                                           \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode = (flags) & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;                       \
        va_end(list);                                                                              \
    } while (0)

int open(const char *path, int flags, ...)
{
    mode_t mode;

    MODE_OF(flags, mode);
    return open_any("open", AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode;

    MODE_OF(flags, mode);
    return open_any("open64", AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    mode_t mode;

    MODE_OF(flags, mode);
    return open_any("openat", at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    mode_t mode;

    MODE_OF(flags, mode);
    return open_any("openat64", at, path, flags, mode);
}

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int at, const char *path, int flags);
int __openat64_2(int at, const char *path, int flags);

int __open_2(const char *path, int flags)
{
    return open_any("open", AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
    return open_any("open64", AT_FDCWD, path, flags, 0);
}

int __openat_2(int at, const char *path, int flags)
{
    return open_any("openat", at, path, flags, 0);
}

int __openat64_2(int at, const char *path, int flags)
{
    return open_any("openat64", at, path, flags, 0);
}
