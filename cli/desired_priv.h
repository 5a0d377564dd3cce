/* SPDX-License-Identifier: Apache-2.0 */
/* What a document says (desired_read.c), for those who compare it (desired.c). */
#pragma once

#include "cli/desired.h"

enum { DESIRED_PLACE_BYTES = 64 };

/* What is wanted of one VM. */
struct desired_wanted {
    const char *name;
    char place[DESIRED_PLACE_BYTES]; /* "vms[3]" */
    struct api_settings settings;
    struct api_new_device *devices;
    char **images; /* of each device: arguments of image.create for it, or NULL */
    size_t n_devices;
    bool has_devices;
    bool has_state;
    bool is_on;
};

void desired_wanted_fini(struct desired_wanted *wanted);

/* Say what is wrong with a document; returns ADM_USAGE. file: its name, for the sentence */
int desired_bad(const char *file, const char *format, ...) HV_PRINTF(2, 3);

/* One of its VMs, whose place the caller has set. Returns 0, or an exit status after saying why. */
int desired_read(const char *file, const struct json_value *value, struct desired_wanted *wanted);
