/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/sandbox/sandbox.h"

#include "vmwp/sandbox/isolate.h"
#include "vmwp/sandbox/seccomp_priv.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int compare_fds(const void *a, const void *b)
{
    return *(const int *)a < *(const int *)b ? -1 : *(const int *)a > *(const int *)b;
}

int wp_sandbox_close_unlisted(const int *kept, unsigned count)
{
    hv_autofree int *sorted = NULL;
    unsigned next = 0;

    sorted = calloc(count + 1, sizeof(*sorted));
    if (!sorted)
        return -ENOMEM;
    memcpy(sorted, kept, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), compare_fds);
    for (unsigned i = 0; i < count; i++) {
        if (sorted[i] < 0 || (unsigned)sorted[i] < next)
            continue;
        if ((unsigned)sorted[i] > next && close_range(next, (unsigned)sorted[i] - 1, 0) < 0)
            return -errno;
        next = (unsigned)sorted[i] + 1;
    }
    return close_range(next, ~0u, 0) < 0 ? -errno : 0;
}

/* A right that goes: its limit, and what it would have been good for. */
struct limit {
    int resource;
    rlim_t value;
};

/* clang-format off */
static const struct limit early_limits[] = {
    { RLIMIT_NOFILE,  16384 },              /* 256 disks with 32 parents each, 2047 channels; else few */
    { RLIMIT_MEMLOCK, 0 },                  /* guest memory is never pinned */
    { RLIMIT_MSGQUEUE, 0 },
};
/* clang-format on */

/* When all threads are there. With KVM the list of system calls alone forbids new ones: at the
 * first run KVM makes a thread of its own in the worker's name (newer kernels, for pages
 * that are to become huge again), which this limit would refuse. */
static const struct limit no_threads = { RLIMIT_NPROC, 0 };

/* Without disks the status file and the log grow, and nothing else does. */
static const struct limit diskless_limit = { RLIMIT_FSIZE, 64 << 20 };

static int set_limit(const struct limit *limit, struct hv_error **reterr)
{
    struct rlimit value = { .rlim_cur = limit->value, .rlim_max = limit->value };
    struct rlimit now;

    if (getrlimit((__rlimit_resource_t)limit->resource, &now) == 0 && now.rlim_max < limit->value)
        return 0; /* somebody was stricter */
    if (setrlimit((__rlimit_resource_t)limit->resource, &value) < 0)
        return hv_error_set(reterr, -errno, "vm.sandbox.limit",
                            "The worker cannot limit itself (resource %d): %s.", limit->resource,
                            strerror(errno));
    return 0;
}

/* Nothing to be had again: by exec, ambient set, or being uid 0. The first two need CAP_SETPCAP;
 * without it there is nothing in them worth dropping. */
static void bound_capabilities(void)
{
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    (void)prctl(PR_SET_SECUREBITS,
                SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                    SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                    SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
                0, 0, 0);
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

    return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* landlock_create_ruleset(2); newer than the headers at hand, which end with the first member. */
struct ruleset {
    uint64_t fs, net, scoped;
};

/* All that the kernel's Landlock can take, by its ABI: rights on files (13, then renaming between
 * directories, cutting, device requests), TCP, abstract sockets and signals to others. */
static const struct ruleset rulesets[] = {
    { 0 },
    { 0x1fff, 0, 0 }, /* ABI 1 */
    { 0x3fff, 0, 0 }, /* 2 */
    { 0x7fff, 0, 0 }, /* 3 */
    { 0x7fff, 3, 0 }, /* 4 */
    { 0xffff, 3, 0 }, /* 5 */
    { 0xffff, 3, 3 }, /* 6, and what came after it */
};

/* No file system and nobody else at all, with the rights that the kernel at hand knows. A kernel
 * without Landlock leaves this to the empty root and to the system call list. */
static int forbid_files(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    const long newest = (long)HV_ARRAY_SIZE(rulesets) - 1;
    size_t size;
    hv_autofd int fd = -1;

    if (WP_SANDBOX_IS_OPEN)
        return 0;
    if (abi <= 0)
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -errno;
    size = (abi >= 6 ? 3 : abi >= 4 ? 2 : 1) * sizeof(uint64_t);
    fd = (int)syscall(SYS_landlock_create_ruleset, &rulesets[abi < newest ? abi : newest], size, 0);
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return -errno;
    return 0;
}

static int drop_privileges(struct hv_error **reterr)
{
    int r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;

    r = r < 0 ? r : drop_capabilities();
    r = r < 0 ? r : forbid_files();
    if (r < 0)
        return hv_error_set(reterr, r, "vm.sandbox.privileges",
                            "The worker cannot give up its privileges: %s.", strerror(-r));
    return 0;
}

int wp_sandbox_fall(int *ret_pid, struct hv_error **reterr)
{
    int pid = wp_isolate_pid(), r;

    (void)umask(077);
    (void)signal(SIGXFSZ, SIG_IGN); /* a full log is an error of write */
    r = wp_isolate_namespaces(reterr);
    if (r < 0)
        return r;
    bound_capabilities();
    r = wp_isolate_user(WP_ISOLATE_FIRST_UID + (unsigned)pid, reterr);
    r = r < 0 ? r : drop_privileges(reterr);
    for (unsigned i = 0; r == 0 && i < HV_ARRAY_SIZE(early_limits); i++)
        r = set_limit(&early_limits[i], reterr);
    if (ret_pid)
        *ret_pid = pid;
    return r;
}

int wp_sandbox_lock(enum hv_backend backend, bool has_disks, struct hv_error **reterr)
{
    int r = 0;

    if (backend == HV_BACKEND_SOFT)
        r = set_limit(&no_threads, reterr);
    if (r == 0 && !has_disks)
        r = set_limit(&diskless_limit, reterr);
    if (r < 0)
        return r;
    r = WP_SANDBOX_IS_OPEN ? 0 : wp_seccomp_load(backend);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.sandbox.seccomp",
                            "The worker cannot restrict its system calls: %s.", strerror(-r));
    return 0;
}

int wp_sandbox_lock_image(struct hv_error **reterr)
{
    int r = set_limit(&no_threads, reterr);

    if (r < 0)
        return r;
    r = WP_SANDBOX_IS_OPEN ? 0 : wp_seccomp_load_image();
    if (r < 0)
        return hv_error_set(reterr, r, "image.sandbox.seccomp",
                            "The worker cannot restrict its system calls: %s.", strerror(-r));
    return 0;
}
