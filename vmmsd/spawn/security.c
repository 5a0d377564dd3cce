/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of a worker's rights: proc(5), namespaces(7), capabilities(7). */
#include "vmmsd/spawn/security.h"

#include "hvcore/base/own.h"
#include "vmmsd/spawn/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

enum { TEXT_BYTES = 8192, PATH_BYTES = 96, SECCOMP_MODE_LIST = 2 };

static const char *const namespaces[] = { "cgroup", "ipc", "mnt", "net", "pid", "user", "uts" };

/* A file below the process's directory, cut at TEXT_BYTES. */
static bool read_text(int dir, const char *name, char ret[static TEXT_BYTES])
{
    hv_autofd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, ret, TEXT_BYTES - 1);

    ret[length > 0 ? length : 0] = '\0';
    return length > 0;
}

/* "Name:\tvalue" of a status file; what follows the tab, or NULL. */
static const char *find_line(const char *status, const char *name)
{
    size_t length = strlen(name);

    for (const char *line = status; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " \t");
    }
    return NULL;
}

static uint64_t line_number(const char *status, const char *name, int base)
{
    const char *text = find_line(status, name);

    return text ? strtoull(text, NULL, base) : 0;
}

static int add_text(char ***list, size_t *count, const char *text)
{
    char **grown = reallocarray(*list, *count + 1, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    *list = grown;
    grown[*count] = strdup(text);
    return grown[(*count)++] ? 0 : -ENOMEM;
}

/* Those of its namespaces that are not ours are its own. */
static int read_namespaces(int dir, struct api_vm_security *ret)
{
    char path[PATH_BYTES], theirs[PATH_BYTES], ours[PATH_BYTES];
    ssize_t a, b;
    int r = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(namespaces) && r == 0; i++) {
        (void)snprintf(path, sizeof(path), "/proc/self/ns/%s", namespaces[i]);
        a = readlink(path, ours, sizeof(ours));
        b = readlinkat(dir, path + strlen("/proc/self/"), theirs, sizeof(theirs));
        if (a <= 0 || b <= 0)
            continue;
        r = a == b && memcmp(ours, theirs, (size_t)a) == 0
                ? add_text(&ret->shared_namespaces, &ret->n_shared_namespaces, namespaces[i])
                : add_text(&ret->own_namespaces, &ret->n_own_namespaces, namespaces[i]);
    }
    return r;
}

/* Every thread counts: a list that binds all but one binds none. */
static void read_threads(int dir, struct api_vm_security *ret)
{
    char name[PATH_BYTES], status[TEXT_BYTES];
    int fd = openat(dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *tasks = fd < 0 ? NULL : fdopendir(fd);

    if (!tasks) {
        hv_close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(tasks));) {
        (void)snprintf(name, sizeof(name), "task/%.20s/status", entry->d_name);
        if (entry->d_name[0] == '.' || !read_text(dir, name, status))
            continue;
        ret->threads++;
        ret->listed_threads += line_number(status, "Seccomp", 10) == SECCOMP_MODE_LIST;
    }
    (void)closedir(tasks);
}

/* All that a process may have, or may get by any way, in one set. */
static uint64_t read_capabilities(const char *status)
{
    static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
    uint64_t all = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(sets); i++)
        all |= line_number(status, sets[i], 16);
    return all;
}

static unsigned count_entries(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    unsigned count = 0;

    if (!entries) {
        hv_close(fd);
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(entries));)
        count += entry->d_name[0] != '.';
    (void)closedir(entries);
    return count;
}

/* Whatever it is that the process sees as "/". */
static char *read_root(int dir)
{
    hv_autofd int fd = openat(dir, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    char *told;

    if (fd < 0 || fstatfs(fd, &fs) < 0)
        return NULL;
    if (asprintf(&told, "%s%s%s%s%s%s", count_entries(dir, "root") ? "" : "empty ",
                 fs.f_type == TMPFS_MAGIC ? "tmpfs" : "file system",
                 fs.f_flags & ST_RDONLY ? ", ro" : "", fs.f_flags & ST_NOSUID ? ", nosuid" : "",
                 fs.f_flags & ST_NODEV ? ", nodev" : "",
                 fs.f_flags & ST_NOEXEC ? ", noexec" : "") < 0)
        return NULL;
    return told;
}

/* The kernel shows it of no process; it says only whether it has it at all. */
static char *read_landlock(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    char *told;

    if (abi <= 0)
        return strdup("not in this kernel");
    return asprintf(&told, "ABI %ld (the kernel does not show for which processes)", abi) < 0
               ? NULL
               : told;
}

static char *read_cgroup(int dir)
{
    char text[TEXT_BYTES];
    char *line = read_text(dir, "cgroup", text) ? strstr(text, "0::") : NULL;

    return line ? strndup(line + 3, strcspn(line + 3, "\n")) : NULL;
}

static int read_process(int dir, struct api_vm_security *ret)
{
    char status[TEXT_BYTES];
    const char *groups;

    if (!read_text(dir, "status", status))
        return -ESRCH;
    ret->uid = (uint32_t)line_number(status, "Uid", 10);
    ret->gid = (uint32_t)line_number(status, "Gid", 10);
    groups = find_line(status, "Groups");
    ret->groups =
        groups ? strndup(groups, strcspn(groups, " \n") ? strcspn(groups, "\n") : 0) : strdup("");
    ret->no_new_privs = line_number(status, "NoNewPrivs", 10) == 1;
    ret->seccomp_filters = (uint32_t)line_number(status, "Seccomp_filters", 10);
    ret->capabilities = read_capabilities(status);
    read_threads(dir, ret);
    ret->descriptors = count_entries(dir, "fd");
    ret->root = read_root(dir);
    ret->cgroup = read_cgroup(dir);
    ret->landlock = read_landlock();
    return ret->groups && ret->landlock ? read_namespaces(dir, ret) : -ENOMEM;
}

int vmms_security_read(int pid, uint64_t pid_start, struct api_vm_security *ret)
{
    char path[PATH_BYTES];
    hv_autofd int dir = -1;
    int r;

    *ret = (struct api_vm_security){ .pid = (uint32_t)pid };
    (void)snprintf(path, sizeof(path), "/proc/%d", pid);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -ESRCH;
    r = read_process(dir, ret); /* the directory stays that of one process, whoever gets its pid */
    if (r == 0 && vmms_pid_start(pid) != pid_start)
        r = -ESRCH;
    if (r < 0)
        api_vm_security_fini(ret);
    return r;
}
