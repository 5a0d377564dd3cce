/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of vmmsd. */
#pragma once

#include "hvcore/base/log.h"

#include <stdbool.h>
#include <stddef.h>

enum { VMMS_MAX_LISTEN = 8 };

struct vmms_options {
    /* read only */
    char *state_dir;
    char *runtime_dir;
    char *worker;
    char *bus;                     /* NULL: none */
    char *boot_id;                 /* NULL: the kernel's */
    char *listen[VMMS_MAX_LISTEN]; /* HOST:PORT, each */
    size_t n_listen;
    enum hv_log_level log_level;
};

/*
 * return: 0: go on; 1: something was asked for and printed (help, version): end well;
 *         -EINVAL: said on stderr what is wrong
 */
int vmms_options_read(int argc, char **argv, struct vmms_options *ret);
void vmms_options_fini(struct vmms_options *options);
