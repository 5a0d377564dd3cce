/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/spawn/process.h"

#include "hvcore/base/clock.h"
#include "hvcore/base/own.h"
#include "vmmsd/io/priority.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { STAT_BYTES = 1024, CHILD_STACK_BYTES = 65536 };

int vmms_pidfd_open(int pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

int vmms_pidfd_kill(int pidfd, int signal)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

/* The fields of /proc/PID/stat from the third on: the second may hold anything but a newline. */
static bool read_stat(int pid, char ret[static STAT_BYTES], char **ret_fields)
{
    char path[64], *close_paren;
    hv_autofd int fd = -1;
    ssize_t length;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    length = fd >= 0 ? read(fd, ret, STAT_BYTES - 1) : -1;
    if (length <= 0)
        return false;
    ret[length] = '\0';
    close_paren = strrchr(ret, ')');
    if (!close_paren || close_paren[1] != ' ')
        return false;
    *ret_fields = close_paren + 2;
    return true;
}

/* Field `number` of proc(5), counted from 1 as the page does. */
static uint64_t stat_field(char *fields, unsigned number)
{
    for (unsigned at = 3; at < number; at++) {
        fields = strchr(fields, ' ');
        if (!fields)
            return 0;
        fields++;
    }
    return strtoull(fields, NULL, 10);
}

uint64_t vmms_pid_start(int pid)
{
    char text[STAT_BYTES], *fields;

    return read_stat(pid, text, &fields) ? stat_field(fields, 22) : 0;
}

void vmms_pid_usage(int pid, uint64_t *ret_cpu_ns, uint64_t *ret_rss_bytes)
{
    char text[STAT_BYTES], *fields;
    uint64_t ticks;

    *ret_cpu_ns = *ret_rss_bytes = 0;
    if (!read_stat(pid, text, &fields))
        return;
    ticks = stat_field(fields, 14) + stat_field(fields, 15);
    *ret_cpu_ns = ticks * (HV_NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
    *ret_rss_bytes = stat_field(fields, 24) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* posix_spawn cannot make the first process of a new namespace; this does what it does, in its way:
 * the child shares our memory, on a stack of its own, until its program runs. */

struct child {
    const struct vmms_program *program;
    int error; /* positive errno: why there is no program */
};

static int become_program(void *opaque)
{
    struct child *child = opaque;
    const struct vmms_program *program = child->program;
    char *const environment[] = { NULL };
    sigset_t none;

    for (int signal = 1; signal < _NSIG; signal++)
        (void)sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    vmms_priority_drop();
    for (int fd = 0; fd < program->count; fd++) {
        if (program->fds[fd] >= 0 ? dup2(program->fds[fd], fd) < 0
                                  : close(fd) < 0 && errno != EBADF) {
            child->error = errno;
            return 1;
        }
    }
    if (close_range((unsigned)program->count, ~0u, 0) == 0)
        (void)execve(program->path, program->argv, environment);
    child->error = errno;
    return 1; /* clone() ends the child with it */
}

static int clone_child(struct child *child, char *stack, int namespaces)
{
    int pid = clone(become_program, stack + CHILD_STACK_BYTES,
                    CLONE_VM | CLONE_VFORK | SIGCHLD | namespaces, child);

    return pid < 0 ? -errno : pid;
}

int vmms_process_spawn(const struct vmms_program *program)
{
    struct child child = { .program = program };
    sigset_t all, before;
    int pid;
    char *stack = mmap(NULL, CHILD_STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (stack == MAP_FAILED)
        return -errno;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of ours may run in the child */
    pid = clone_child(&child, stack, CLONE_NEWPID);
    if (pid == -EPERM)
        pid = clone_child(&child, stack, 0);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)munmap(stack, CHILD_STACK_BYTES);
    if (pid > 0 && child.error) {
        vmms_kill_child(pid);
        return -child.error;
    }
    return pid;
}

void vmms_kill_child(int pid)
{
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

bool vmms_pidfd_reap(int pidfd, siginfo_t *ret)
{
    memset(ret, 0, sizeof(*ret));
    return waitid(P_PIDFD, (id_t)pidfd, ret, WEXITED | WNOHANG) == 0 && ret->si_pid;
}

void vmms_exit_phrase(const siginfo_t *info, bool is_known, char *ret, size_t room)
{
    if (!is_known)
        (void)snprintf(ret, room, "ended");
    else if (info->si_code == CLD_EXITED)
        (void)snprintf(ret, room, "ended with status %d", info->si_status);
    else
        (void)snprintf(ret, room, "was killed by signal %d (%s)", info->si_status,
                       strsignal(info->si_status));
}
