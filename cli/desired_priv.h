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

/* Has it those members alone? what: which they are, for the sentence. */
int desired_check_keys(const char *file, const struct json_value *value, const char *place,
                       const char *const *keys, const char *what);
/* keys: ends in NULL */
bool desired_has_key(const char *const *keys, const char *key);
int desired_read_name(const char *file, const struct json_value *value, const char *place,
                      const char **ret);

/* desired.c */
/* A call put into a list of them, its params open. */
struct json_writer *desired_begin_op(struct json_writer *out, size_t *count, const char *method);
void desired_end_op(struct json_writer *out);
/* One more for the display. id: NULL where it is to be made. Returns 0, or an exit status. */
int desired_note(const char *file, struct desired_ops *ops, char mark, const char *name,
                 const char *id, bool is_group);
/* What is perhaps not there. params: taken. Returns 0 with *ret_is_there, or an exit status. */
int desired_get(struct adm *adm, enum api_method method, char *params, union api_result *ret,
                bool *ret_is_there);

/* desired_groups.c: after the VMs */
int desired_compare_groups(struct adm *adm, const char *file, const struct json_value *document,
                           struct desired_ops *ops);
/* Of those that shall not be: first each, then the other of each. */
int desired_empty_group(struct adm *adm, const char *file, const struct json_value *value,
                        size_t index, struct desired_ops *ops);
int desired_delete_group(struct adm *adm, const char *file, const struct json_value *value,
                         size_t index, struct desired_ops *ops);
