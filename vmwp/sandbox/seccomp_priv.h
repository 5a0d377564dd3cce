/* SPDX-License-Identifier: Apache-2.0 */
/* The list of system calls of a worker whose guest runs. */
#pragma once

#include "hvcore/host.h"

/* Load the filter into all threads. Returns 0 or a negative errno. */
int wp_seccomp_load(enum hv_backend backend);
