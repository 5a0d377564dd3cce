/* SPDX-License-Identifier: Apache-2.0 */
/* A document that says which VMs and groups there shall be, and the calls that lead there. */
#pragma once

#include "cli/adm.h"

struct json_value;

enum { DESIRED_MAX_CHANGES = 256 };

/* One VM or group that is to be changed, for the display. */
struct desired_change {
    char mark; /* + ~ - */
    bool is_group;
    char *name;
    char *id;          /* or NULL: it is to be made */
    const char *power; /* start, turn off; or NULL */
};

struct desired_ops {
    struct json_writer ops;    /* an array that is open */
    struct json_writer powers; /* calls that come last, likewise */
    size_t count, n_powers;
    struct desired_change changes[DESIRED_MAX_CHANGES];
    size_t n_changes;
};

void desired_ops_fini(struct desired_ops *ops);

/*
 * Compare a document with what is there.
 *
 * name: of the document's file, for sentences
 * return: 0; else an exit status, and the error was printed
 */
int desired_compare(struct adm *adm, const char *name, const struct json_value *document,
                    struct desired_ops *ret);
