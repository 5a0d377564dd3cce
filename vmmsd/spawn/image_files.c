/* SPDX-License-Identifier: Apache-2.0 */
/* Files of images: opened, locked, made under a temporary name, put in place, removed. Blocking:
 * runs in libuv's pool. */
#include "vmmsd/spawn/image_priv.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

enum { LOCK_TRIES = 3, LOCK_WAIT_MS = 20 };

static int fail(struct api_error **reterr, const char *path, const char *what, int errnum)
{
    enum api_error_code code = errnum == ENOENT || errnum == ENOTDIR  ? API_E_FILE_NOT_FOUND
                               : errnum == ENOSPC || errnum == EDQUOT ? API_E_DISK_FULL
                               : errnum == EACCES || errnum == EPERM  ? API_E_ACCESS_DENIED
                               : errnum == EIO                        ? API_E_STORAGE_CRITICAL
                               : errnum == EROFS || errnum == ELOOP   ? API_E_INVALID_PARAMETER
                                                                      : API_E_FAILED;

    return api_error_set(reterr, code, "image.file", NULL, "%s %s: %s.", path, what,
                         strerror(errnum));
}

/* Who holds a lock on it: from what the kernel says of processes' open files, so that it is true
 * also of processes that an earlier life of the service has started. */

static bool has_lock(int process, const char *name)
{
    char path[64], text[1024];
    hv_autofd int fd = -1;
    ssize_t length;

    (void)snprintf(path, sizeof(path), "fdinfo/%.16s", name);
    fd = openat(process, path, O_RDONLY | O_CLOEXEC);
    length = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    text[length > 0 ? length : 0] = '\0';
    return strstr(text, "\nlock:") != NULL;
}

static bool is_holder(int process, dev_t dev, ino_t inode)
{
    int directory = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = directory >= 0 ? fdopendir(directory) : NULL;
    struct dirent *entry;
    struct stat st;
    bool is_found = false;

    if (!list) {
        hv_close(directory);
        return false;
    }
    while (!is_found && (entry = readdir(list)))
        is_found = isdigit((unsigned char)entry->d_name[0]) &&
                   fstatat(directory, entry->d_name, &st, 0) == 0 && st.st_dev == dev &&
                   st.st_ino == inode && has_lock(process, entry->d_name);
    (void)closedir(list);
    return is_found;
}

static void read_comm(int process, char ret[static IMAGE_COMM_BYTES])
{
    hv_autofd int fd = openat(process, "comm", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, ret, IMAGE_COMM_BYTES - 1) : -1;

    ret[length > 0 ? length : 0] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
}

static bool look_at_process(const char *name, dev_t dev, ino_t inode, struct image_holder *ret)
{
    hv_autofree char *path = NULL;
    hv_autofd int process = -1;

    if (asprintf(&path, "/proc/%s", name) < 0) {
        path = NULL;
        return false;
    }
    process = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (process < 0 || !is_holder(process, dev, inode))
        return false;
    ret->pid = (int)strtoul(name, NULL, 10);
    read_comm(process, ret->comm);
    return true;
}

/* Another process is told of rather than this one, which has files open on their way to others. */
static void find_holder(dev_t dev, ino_t inode, struct image_holder *ret)
{
    DIR *list = opendir("/proc");
    struct image_holder found;
    struct dirent *entry;

    while (list && (entry = readdir(list))) {
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            !look_at_process(entry->d_name, dev, inode, &found))
            continue;
        *ret = found;
        if (found.pid != getpid())
            break;
    }
    if (list)
        (void)closedir(list);
}

/* Opening */

/* A name out of an image may not lead astray: no symbolic link anywhere, a plain file that belongs
 * to us, the super-user or whoever owns the child. */
static int check_hint(struct image_open *open, const struct stat *st)
{
    if (st->st_nlink != 1)
        return api_error_set(&open->error, API_E_INVALID_PARAMETER, "image.parent.links", NULL,
                             "%s has more than one name and is not taken for a parent.",
                             open->path);
    if (st->st_uid != geteuid() && st->st_uid != 0 && st->st_uid != open->child_owner)
        return api_error_set(&open->error, API_E_ACCESS_DENIED, "image.parent.owner", NULL,
                             "%s belongs to another user than its child and is not taken for its "
                             "parent.",
                             open->path);
    return 0;
}

static int check_file(struct image_open *open)
{
    struct stat st;

    if (fstat(open->fd, &st) < 0)
        return fail(&open->error, open->path, "cannot be looked at", errno);
    if (!S_ISREG(st.st_mode))
        return api_error_set(&open->error, API_E_INVALID_PARAMETER, "image.file.kind", NULL,
                             "%s is not a regular file.", open->path);
    open->dev = st.st_dev;
    open->inode = st.st_ino;
    open->owner = st.st_uid;
    return open->is_hint ? check_hint(open, &st) : 0;
}

static int lock_file(struct image_open *open)
{
    struct flock lock = { .l_type = open->is_writable ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };

    /* Where nobody is found who holds it, somebody has just let go. */
    for (int i = 0; i < LOCK_TRIES && !open->holder.pid; i++) {
        if (fcntl(open->fd, F_OFD_SETLK, &lock) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES)
            return fail(&open->error, open->path, "cannot be locked", errno);
        find_holder(open->dev, open->inode, &open->holder);
        if (!open->holder.pid)
            (void)poll(NULL, 0, LOCK_WAIT_MS);
    }
    open->is_in_use = true;
    return -EINVAL;
}

/* What the kernel calls it: names in an image are relative to where it really is. */
static int read_real_path(struct image_open *open)
{
    char link[40], path[PATH_MAX];
    ssize_t length;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", open->fd);
    length = readlink(link, path, sizeof(path) - 1);
    if (length < 0)
        return fail(&open->error, open->path, "cannot be looked at", errno);
    open->real_path = strndup(path, (size_t)length);
    hv_assert(open->real_path);
    return 0;
}

int image_file_open(struct image_open *open)
{
    struct open_how how = { .flags = (uint64_t)(O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
                                                (open->is_writable ? O_RDWR : O_RDONLY)),
                            .resolve =
                                RESOLVE_NO_MAGICLINKS | (open->is_hint ? RESOLVE_NO_SYMLINKS : 0) };
    int r;

    open->fd = (int)syscall(SYS_openat2, AT_FDCWD, open->path, &how, sizeof(how));
    if (open->fd < 0)
        return fail(&open->error, open->path, "cannot be opened", errno);
    r = check_file(open);
    if (r == 0)
        r = read_real_path(open);
    if (r == 0 && !open->is_unlocked)
        r = lock_file(open);
    if (r < 0)
        open->fd = hv_close(open->fd);
    return r;
}

/* Making */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static char *folder_of(const char *path)
{
    const char *base = base_name(path);

    return base <= path + 1 ? strdup("/") : strndup(path, (size_t)(base - path - 1));
}

char *image_temporary_path(const char *path, const char *host_id, uint64_t job)
{
    hv_autofree char *folder = folder_of(path);
    char *temporary;

    if (!folder ||
        asprintf(&temporary, "%s/.hvstack-%.8s-%" PRIu64 ".part", folder, host_id, job) < 0)
        return NULL;
    return temporary;
}

static int sync_folder(const char *path, struct api_error **reterr)
{
    hv_autofree char *folder = folder_of(path);
    hv_autofd int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd < 0 || fsync(fd) < 0)
        return fail(reterr, path, "cannot be made durable in its folder", errno);
    return 0;
}

static int check_space(struct image_make *make, const char *folder)
{
    struct statvfs fs;
    uint64_t free_bytes;

    if (statvfs(folder, &fs) < 0)
        return fail(&make->error, folder, "cannot be looked at", errno);
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (make->bytes_needed <= free_bytes)
        return 0;
    (void)api_error_set(&make->error, API_E_DISK_FULL, "image.space", NULL,
                        "%s needs %" PRIu64 " MiB; its disk has %" PRIu64 " MiB left.", make->path,
                        make->bytes_needed >> 20, free_bytes >> 20);
    api_error_hint(make->error, "Make room, or make it dynamic.");
    return -EINVAL;
}

static int check_place(struct image_make *make)
{
    hv_autofree char *folder = folder_of(make->path);
    struct stat st;

    if (!folder || !*base_name(make->path))
        return api_error_set(&make->error, API_E_INVALID_PARAMETER, "image.path", NULL,
                             "%s names no file.", make->path);
    if (lstat(make->path, &st) == 0)
        return api_error_set(&make->error, API_E_ALREADY_EXISTS, "image.exists", NULL,
                             "There is a file %s already.", make->path);
    if (errno != ENOENT)
        return fail(&make->error, make->path, "cannot be made", errno);
    if (stat(folder, &st) < 0)
        return fail(&make->error, folder, "cannot be written to", errno);
    if (access(folder, W_OK | X_OK) < 0)
        return fail(&make->error, folder, "cannot be written to", errno);
    return check_space(make, folder);
}

int image_file_make(struct image_make *make)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int r = check_place(make);

    make->fd = -1;
    if (r < 0 || !make->temporary)
        return r;
    make->fd = open(make->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (make->fd < 0)
        return fail(&make->error, make->path, "cannot be made", errno);
    if (fcntl(make->fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    r = fail(&make->error, make->path, "cannot be locked", errno);
    (void)unlink(make->temporary);
    make->fd = hv_close(make->fd);
    return r;
}

/* A name that is not durable is taken back: what failed leaves nothing behind. */
static int keep_name(const char *temporary, const char *path, struct api_error **reterr)
{
    int r = sync_folder(path, reterr);

    if (r < 0)
        (void)rename(path, temporary);
    return r;
}

int image_file_publish(const char *temporary, const char *path, struct api_error **reterr)
{
    struct stat st;

    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return keep_name(temporary, path, reterr);
    if (errno == ENOENT && lstat(path, &st) == 0)
        return keep_name(temporary, path, reterr); /* it was done before a restart */
    if (errno == EEXIST)
        return api_error_set(reterr, API_E_ALREADY_EXISTS, "image.exists", NULL,
                             "A file %s was made by somebody else in the meantime.", path);
    /* Not every file system can do it so. */
    if ((errno == EINVAL || errno == ENOSYS) && link(temporary, path) == 0) {
        (void)unlink(temporary);
        return keep_name(temporary, path, reterr);
    }
    return fail(reterr, path, "cannot be given its name", errno);
}

int image_file_remove(const char *path, struct api_error **reterr)
{
    if (unlink(path) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        return fail(reterr, path, "cannot be removed", errno);
    }
    return sync_folder(path, reterr);
}

int image_file_unmake(const char *path, struct api_error **reterr)
{
    struct image_open open = { .path = path, .is_writable = true, .fd = -1 };
    int r = image_file_open(&open);

    free(open.real_path);
    if (r < 0 && open.is_in_use)
        r = api_error_set(reterr, API_E_IN_USE, "image.in_use", "path",
                          "%s is in use by somebody else by now.", path);
    else if (r < 0 && open.error && open.error->code == API_E_FILE_NOT_FOUND)
        r = 0;
    else if (r < 0)
        *reterr = HV_TAKE_PTR(open.error);
    else
        r = image_file_remove(path, reterr);
    hv_close(open.fd); /* with its lock, now that it is gone */
    api_error_free(open.error);
    return r;
}
