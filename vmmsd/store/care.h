/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a database needs beside being used: looking at all of it after an unclean stop and each
 * week, and a backup each day or when asked for. A thread with connections of its own, which only
 * read.
 */
#pragma once

#include "hvcore/base/error.h"

#include <stdint.h>

struct vmms_care;

struct vmms_care_config {
    /* public */
    const char *path; /* must outlive it */
    bool was_unclean; /* all of it is to be looked at soon */
    void *opaque;
    /* Both from the thread. token 0: nobody asked. path, error: copied by whoever needs them */
    void (*made)(void *opaque, uint64_t token, const char *path, const struct hv_error *error);
    void (*damaged)(void *opaque);
};

/* Returns 0 or a negative errno. */
int vmms_care_start(const struct vmms_care_config *config, struct vmms_care **ret);
/* Breaks off what it does. Requests that wait are answered with an error. NULL is fine. */
struct vmms_care *vmms_care_stop(struct vmms_care *care);
void vmms_care_backup(struct vmms_care *care, uint64_t token);
