/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as a client sees them: code and sentence, and the details that schemas/api/errors.json
 * lists. The first error that is set wins; setters return -EINVAL so that one may `return` them.
 */
#pragma once

#include "api/gen/types.h"
#include "hvcore/base/own.h"

struct json_value;
struct json_writer;

struct api_error {
    /* public */
    enum api_error_code code;
    char *message; /* one sentence */
    struct api_error_data data;
};

struct api_error_info {
    /* read only */
    enum api_error_code code;
    const char *name;
    int exit_status;
    const char *about;
};

/* The table's row; of Failed when the code is not in it. Never NULL. */
const struct api_error_info *api_error_info(int code);
const struct api_error_info *api_error_info_by_name(const char *name);

/*
 * Store an error.
 *
 * reterr: may be NULL; an error that is there already is kept
 * message_id: stable and dotted, or NULL; field: what is at fault, or NULL
 * return: -EINVAL always (out of memory leaves *reterr NULL, which callers report as such)
 */
int api_error_set(struct api_error **reterr, enum api_error_code code, const char *message_id,
                  const char *field, const char *format, ...) HV_PRINTF(5, 6);

/* Add a detail to an error that may be NULL: it is copied. */
void api_error_hint(struct api_error *error, const char *format, ...) HV_PRINTF(2, 3);
void api_error_set_text(char **ret_detail, const char *text);
void api_error_add(struct api_error *error, char ***list, size_t *count, const char *text);

/* A copy, or NULL (also of NULL). */
struct api_error *api_error_dup(const struct api_error *error);

struct api_error *api_error_free(struct api_error *error);
static inline void api_error_freep(struct api_error **error)
{
    *error = api_error_free(*error);
}

/* The JSON-RPC error object; error NULL is written as an internal lack of memory. */
void api_error_write(const struct api_error *error, struct json_writer *out);

/* Read a JSON-RPC error object. Returns 0 or -EBADMSG or -ENOMEM. */
int api_error_read(const struct json_value *value, struct api_error **ret);
