/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for a running worker, read from the kernel and not from the worker. */
#pragma once

#include "api/gen/types.h"

/* Fill in all but id and name of a process that started at pid_start (vmms_pid_start). The caller
 * finishes ret. Returns 0, -ESRCH (it has ended) or -ENOMEM; ret is empty then. Any thread; some
 * dozen small reads of /proc. */
int vmms_security_read(int pid, uint64_t pid_start, struct api_vm_security *ret);
