/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/spawn/disks.h"

#include "api/gen/tables.h"
#include "hvcore/base/own.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

enum { SIGNATURE_BYTES = 8, FOOTER_BYTES = 512 };

/* Opening */

static int open_path(const char *path, int flags)
{
    const struct open_how how = { .flags = (uint64_t)flags, .resolve = RESOLVE_NO_MAGICLINKS };
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

    /* A sandbox around the service may not know that call. */
    if (fd < 0 && errno == ENOSYS)
        fd = open(path, flags);
    return fd < 0 ? -errno : (int)fd;
}

static bool is_pseudo(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC ||
                                     fs.f_type == DEBUGFS_MAGIC || fs.f_type == TRACEFS_MAGIC);
}

int vmms_file_open(const char *path, bool is_written)
{
    int flags = (is_written ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    hv_autofd int fd = open_path(path, flags);
    struct stat st;

    /* A directory or socket is told as what it is, not by what cannot be done with it. */
    if (fd == -EISDIR || fd == -ENXIO)
        return -EMEDIUMTYPE;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || is_pseudo(fd))
        return -EMEDIUMTYPE;
    return HV_TAKE_FD(fd);
}

bool vmms_file_glance(const char *path, uint64_t *ret_device, uint64_t *ret_inode)
{
    const struct open_how how = { .flags = O_PATH | O_CLOEXEC,
                                  .resolve = RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED };
    hv_autofd int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    struct statx st;

    /* What has no length may be a file of /proc. */
    if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0 ||
        !S_ISREG(st.stx_mode) || !st.stx_size ||
        syscall(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH | AT_EACCESS) < 0)
        return false;
    *ret_device = makedev(st.stx_dev_major, st.stx_dev_minor);
    *ret_inode = st.stx_ino;
    return true;
}

static bool has_bytes(int fd, off_t at, const char *bytes)
{
    char read[SIGNATURE_BYTES];

    return at >= 0 && pread(fd, read, sizeof(read), at) == (ssize_t)sizeof(read) &&
           memcmp(read, bytes, sizeof(read)) == 0;
}

enum vmms_looks vmms_file_looks(int fd)
{
    struct stat st;

    if (has_bytes(fd, 0, "vhdxfile"))
        return VMMS_LOOKS_VHDX;
    /* Older writers left one byte of the footer out. */
    if (has_bytes(fd, 0, "conectix") ||
        (fstat(fd, &st) == 0 && (has_bytes(fd, st.st_size - FOOTER_BYTES, "conectix") ||
                                 has_bytes(fd, st.st_size - FOOTER_BYTES + 1, "conectix"))))
        return VMMS_LOOKS_VHD;
    return VMMS_LOOKS_RAW;
}

/* Who holds what */

void vmms_holders_add(struct vmms_holders *holders, const struct vmms_row *row)
{
    for (size_t i = 0; i < row->n_devices; i++) {
        struct vmms_holder *holder;

        if (!row->devices[i].path)
            continue;
        holders->items = reallocarray(holders->items, holders->count + 1, sizeof(*holders->items));
        hv_assert(holders->items);
        holder = &holders->items[holders->count++];
        holder->vm = strdup(row->settings.name);
        holder->path = strdup(row->devices[i].path);
        hv_assert(holder->vm && holder->path);
    }
}

void vmms_holders_fini(struct vmms_holders *holders)
{
    for (size_t i = 0; i < holders->count; i++) {
        free(holders->items[i].vm);
        free(holders->items[i].path);
    }
    free(holders->items);
    *holders = (struct vmms_holders){ 0 };
}

static const char *holder_of(int fd, const struct vmms_holders *holders)
{
    struct stat own, other;

    if (fstat(fd, &own) < 0)
        return NULL;
    for (size_t i = 0; i < holders->count; i++) {
        if (stat(holders->items[i].path, &other) == 0 && other.st_dev == own.st_dev &&
            other.st_ino == own.st_ino)
            return holders->items[i].vm;
    }
    return NULL;
}

/* Disks */

static int fail(const struct api_device *device, struct api_error **reterr,
                enum api_error_code code, const char *id, const char *what)
{
    char field[32];

    (void)snprintf(field, sizeof(field), "devices.%u:%u", device->controller, device->lun);
    return api_error_set(reterr, code, id, field, "The image %s (at %u:%u) %s.", device->path,
                         device->controller, device->lun, what);
}

static int fail_open(const struct api_device *device, int errnum, struct api_error **reterr)
{
    char what[160];

    if (errnum == EMEDIUMTYPE)
        return fail(device, reterr, API_E_INVALID_PARAMETER, "vm.disk.file",
                    "is not a regular file");
    (void)snprintf(what, sizeof(what), "cannot be opened for %s: %s",
                   device->read_only ? "reading" : "writing", strerror(errnum));
    return fail(device, reterr, errnum == ENOENT ? API_E_FILE_NOT_FOUND : API_E_INVALID_PARAMETER,
                "vm.disk.open", what);
}

static int lock(int fd, const struct api_device *device, const struct vmms_holders *holders,
                struct api_error **reterr)
{
    struct flock whole = { .l_type = device->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
    hv_autofree char *what = NULL;
    const char *holder;
    int r;

    if (fcntl(fd, F_OFD_SETLK, &whole) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return fail_open(device, errno, reterr);
    holder = holder_of(fd, holders);
    if (holder && asprintf(&what, "is in use by VM %s", holder) < 0)
        what = NULL;
    r = fail(device, reterr, API_E_IN_USE, "vm.disk.in_use",
             what ? what : "is in use by another program or by work on images");
    api_error_hint(*reterr, "Turn that VM off, or attach the image to one of them only; several "
                            "may have it with read_only.");
    return r;
}

int vmms_disk_open(const struct api_device *device, const struct vmms_holders *holders,
                   struct vmms_disk *ret, struct api_error **reterr)
{
    hv_autofd int fd = -1;
    int r;

    *ret = (struct vmms_disk){ 0 };
    hv_assert(api_device_copy(device, &ret->device) == 0);
    if (!device->path)
        return 0;
    fd = vmms_file_open(device->path, !device->read_only);
    r = fd < 0 ? fail_open(device, -fd, reterr) : lock(fd, device, holders, reterr);
    if (r == 0) {
        ret->chain = calloc(1, sizeof(*ret->chain));
        hv_assert(ret->chain);
        ret->n_chain = 1;
        ret->chain[0].path = strdup(device->path);
        ret->chain[0].fd = HV_TAKE_FD(fd);
        hv_assert(ret->chain[0].path);
    } else {
        vmms_disk_close(ret);
    }
    return r;
}

void vmms_disk_close(struct vmms_disk *disk)
{
    for (size_t i = 0; i < disk->n_chain; i++) {
        hv_close(disk->chain[i].fd);
        free(disk->chain[i].path);
    }
    free(disk->chain);
    api_device_fini(&disk->device);
    *disk = (struct vmms_disk){ 0 };
}
