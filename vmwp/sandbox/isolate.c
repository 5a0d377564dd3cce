/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Own namespaces and an empty root (mount_namespaces(7), pivot_root(2)), own user and group.
 *
 * Whoever was started with the right to do it must do it. A user without any such right gets the
 * namespaces through one of users, where the kernel lets users have that.
 */
#include "vmwp/sandbox/isolate.h"

#include "hvcore/base/own.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/* Own network without any interface, own IPC objects, host name, mounts and cgroup root. That of
 * processes is made by whoever starts the worker, for it begins with a new process. */
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

bool wp_isolate_has(int capability)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = { 0 };

    return syscall(SYS_capget, &header, sets) == 0 &&
           (sets[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability));
}

/* Of /proc as it was mounted outside, so that it is the number by which others know us. */
int wp_isolate_pid(void)
{
    char text[16];
    ssize_t length = readlink("/proc/self", text, sizeof(text) - 1);
    long pid;

    if (length <= 0)
        return getpid();
    text[length] = '\0';
    pid = strtol(text, NULL, 10);
    return pid > 0 ? (int)pid : getpid();
}

static int write_text(const char *path, const char *text)
{
    hv_autofd int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t length = strlen(text);

    return fd >= 0 && write(fd, text, length) == (ssize_t)length ? 0 : -errno;
}

/* In a new namespace of users: nobody but us, by our own number. */
static int map_ourselves(unsigned uid, unsigned gid)
{
    char users[32], groups[32];
    int r;

    (void)snprintf(users, sizeof(users), "%u %u 1", uid, uid);
    (void)snprintf(groups, sizeof(groups), "%u %u 1", gid, gid);
    r = write_text("/proc/self/uid_map", users);
    r = r < 0 ? r : write_text("/proc/self/setgroups", "deny");
    return r < 0 ? r : write_text("/proc/self/gid_map", groups);
}

static int leave_as_user(void)
{
    unsigned uid = getuid(), gid = getgid();

    if (unshare(CLONE_NEWUSER | NAMESPACES) < 0)
        return -errno;
    return map_ourselves(uid, gid);
}

/* Into a root that hangs nowhere. For where the old one cannot be put away: that of an initial RAM
 * file system cannot, nor one that is a mere directory (chroot). It stays in the namespace, where
 * no path leads to it any more. */
static int sink(void)
{
    hv_autofd int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), root = -1;

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "4k", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "2", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0500", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    root = fsmount(fs, FSMOUNT_CLOEXEC,
                   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return root < 0 || fchdir(root) < 0 || chroot(".") < 0 || chdir("/") < 0 ? -errno : 0;
}

/* A new root with nothing in it and nothing to be put there; the old one goes with all that is
 * mounted in it. */
static int empty_root(void)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return errno == EINVAL ? sink() : -errno;
    if (mount("hvstack", "/proc", "tmpfs", flags, "size=4k,nr_inodes=2,mode=0500") < 0 ||
        chdir("/proc") < 0)
        return -errno;
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return errno == EINVAL ? sink() : -errno;
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ||
        mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0)
        return -errno;
    return 0;
}

int wp_isolate_namespaces(struct hv_error **reterr)
{
    bool must = wp_isolate_has(CAP_SYS_ADMIN);
    int r = 0;

    if (must)
        r = unshare(NAMESPACES) < 0 ? -errno : 0;
    else
        r = leave_as_user();
    if (r < 0 && !must)
        return 0; /* this kernel lets users have none: the other stages stand alone */
    r = r < 0 ? r : empty_root();
    if (r < 0)
        return hv_error_set(reterr, r, "vm.sandbox.namespaces",
                            "The worker cannot leave the host's namespaces: %s.", strerror(-r));
    return 0;
}

int wp_isolate_user(unsigned uid, struct hv_error **reterr)
{
    if (!wp_isolate_has(CAP_SETUID) || !wp_isolate_has(CAP_SETGID) ||
        !wp_isolate_has(CAP_SYS_ADMIN))
        return 0; /* an ordinary user has no other to become */
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        return hv_error_set(reterr, -errno, "vm.sandbox.user",
                            "The worker cannot become user %u: %s.", uid, strerror(errno));
    return 0;
}
