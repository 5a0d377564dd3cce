/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of system calls: of a worker whose guest runs, and of one that works on images. */
#pragma once

#include "hvcore/host.h"

#include <seccomp.h>

enum { FOR_SOFT = 1, FOR_KVM = 2, FOR_ALL = FOR_SOFT | FOR_KVM };

/* One right: a call, and when `has_argument`, what (argument & mask) must be. */
struct wp_right {
    int call;
    unsigned backends;
    bool has_argument;
    unsigned argument;
    uint64_t mask;
    uint64_t value;
};

/* clang-format off */
#define CALL(name) { SCMP_SYS(name), FOR_ALL, false, 0, 0, 0 }
#define CALL_IF(name, n, mask, value) { SCMP_SYS(name), FOR_ALL, true, n, mask, value }
#define IOCTL(request, backends) { SCMP_SYS(ioctl), backends, true, 1, UINT32_MAX, request }
/* clang-format on */

/* Load the filter into all threads. Returns 0 or a negative errno. */
int wp_seccomp_load(enum hv_backend backend);
int wp_seccomp_load_image(void);
/* A list's rows whose `backends` meet `wanted`. */
int wp_seccomp_apply(const struct wp_right *list, size_t count, unsigned wanted);
