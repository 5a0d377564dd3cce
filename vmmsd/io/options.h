/* SPDX-License-Identifier: Apache-2.0 */
/* What vmmsd was told to do: by its command line and, below that, by a configuration file. */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VMMS_MAX_LISTEN = 8 };

struct vmms_options {
    /* read only */
    char *config; /* NULL: none */
    char *state_dir;
    char *runtime_dir;
    char *worker;
    char *bus;                     /* NULL: none */
    char *boot_id;                 /* NULL: the kernel's */
    char *listen[VMMS_MAX_LISTEN]; /* HOST:PORT, each */
    size_t n_listen;
    enum hv_log_level log_level;
    bool wants_units;     /* workers as units, where systemd started us */
    uint64_t events_kept; /* 0: the default */
    uint64_t days_kept;   /* likewise */
    uint64_t bytes_kept;  /* likewise */
    char *restore;        /* NULL: serve; else put this backup in place, "": the newest */
};

/*
 * Read the command line, and the configuration file that it names.
 *
 * return: 0: go on; 1: something was asked for and printed (help, version, a check): end well;
 *         a negative errno with *reterr: what is wrong. ret is to be finished in each case.
 */
int vmms_options_read(int argc, char **argv, struct vmms_options *ret, struct hv_error **reterr);
/* The addresses of `from` for those of `options`. */
void vmms_options_take_listen(struct vmms_options *options, struct vmms_options *from);
void vmms_options_fini(struct vmms_options *options);
