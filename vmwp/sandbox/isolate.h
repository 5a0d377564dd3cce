/* SPDX-License-Identifier: Apache-2.0 */
/* Stage two of the fall, apart: leaving the host's namespaces and users. One thread only. */
#pragma once

#include "hvcore/base/error.h"

/* Users of workers begin here: above all that systems hand out to people, services and containers,
 * below 2^31. A worker's is this plus its process id, so that no two that live share one. */
#define WP_ISOLATE_FIRST_UID 2000000000u

/* Has this process the capability (effective)? */
bool wp_isolate_has(int capability);

/* The process id by which the host knows us; before the root is emptied. */
int wp_isolate_pid(void);

/* Own mounts (an empty root), network, IPC, host name and cgroup root. Returns 0 or a negative
 * errno; code vm.sandbox.namespaces. Without privilege it does what the kernel lets users do. */
int wp_isolate_namespaces(struct hv_error **reterr);

/* Become user and group `uid`, without others. Nothing happens without privilege. Returns 0 or a
 * negative errno; code vm.sandbox.user. */
int wp_isolate_user(unsigned uid, struct hv_error **reterr);
