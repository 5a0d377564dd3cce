/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's rights fall in stages: what it needn't have is closed at once; then, before it
 * starts a thread, files, privileges and new programs go; last, before the guest runs, every
 * system call that is not on a list.
 *
 * None of it can be taken back, and a stage that fails ends the start.
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/host.h"

/* Sanitizers open files, start threads and call what no worker does: builds with one have the
 * stages but neither Landlock nor the list. There is no switch for it at run time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WP_SANDBOX_IS_OPEN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define WP_SANDBOX_IS_OPEN 1
#endif
#endif
#ifndef WP_SANDBOX_IS_OPEN
#define WP_SANDBOX_IS_OPEN 0
#endif

/* Close every descriptor but these (-1 is skipped). Returns 0 or a negative errno. */
int wp_sandbox_close_unlisted(const int *kept, unsigned count);

/* While there is one thread: own namespaces, an empty root, own user, no new privileges, no
 * capabilities, no files by path, limits. ret_pid (may be NULL): this process's id as the host
 * knows it. A worker with privileges that cannot do one of them does not start; an ordinary user's
 * has what the kernel lets users do. Codes vm.sandbox.*. */
int wp_sandbox_fall(int *ret_pid, struct hv_error **reterr);

/* When all threads are there and the backend has everything: only the system calls listed in
 * seccomp.c, for all threads; any other ends the process. has_disks: files may grow. */
int wp_sandbox_lock(enum hv_backend backend, bool has_disks, struct hv_error **reterr);

/* The same for a worker on disk images, which has one thread: no limit on the size of files, no
 * KVM, no new connections. */
int wp_sandbox_lock_image(struct hv_error **reterr);
