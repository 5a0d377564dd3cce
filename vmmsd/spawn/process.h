/* SPDX-License-Identifier: Apache-2.0 */
/* Processes by descriptor: a pid alone is only a hint, for it is used again. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A pidfd or -1 with errno. */
int vmms_pidfd_open(int pid);
int vmms_pidfd_kill(int pidfd, int signal);

/* Start time in ticks since boot, 0 when it cannot be told (the process is gone). */
uint64_t vmms_pid_start(int pid);

/* CPU time in ns and resident bytes of a process; zeroes when it is gone. */
void vmms_pid_usage(int pid, uint64_t *ret_cpu_ns, uint64_t *ret_rss_bytes);

struct vmms_program {
    const char *path;
    char *const *argv;
    const int *fds; /* fds[i] becomes descriptor i; -1: none. None of them is below count */
    int count;
};

/* Start it: own session, default signals, empty environment, no other descriptors, first process of
 * a namespace of its own where we have the right to make one. Returns its pid or a negative errno.
 * Any thread. */
int vmms_process_spawn(const struct vmms_program *program);

/* End a child of ours that nobody else knows, and take its status. */
void vmms_kill_child(int pid);

/* Take the status of an ended process. False: it was not our child, its status is unknown. */
bool vmms_pidfd_reap(int pidfd, siginfo_t *ret);

/* "was killed by signal 9 (Killed)" */
void vmms_exit_phrase(const siginfo_t *info, bool is_known, char *ret, size_t room);
