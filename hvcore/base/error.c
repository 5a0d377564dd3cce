/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int error_set_v(struct hv_error **reterr, int r, const char *code, const char *field,
                       const char *format, va_list args)
{
    struct hv_error *error;

    if (!reterr || *reterr)
        return r;
    error = calloc(1, sizeof(*error));
    if (!error)
        return r;
    error->errnum = -r;
    error->code = strdup(code);
    error->field = field ? strdup(field) : NULL;
    if (vasprintf(&error->message, format, args) < 0)
        error->message = NULL;
    if (!error->code || !error->message || (field && !error->field))
        error = hv_error_free(error);
    *reterr = error;
    return r;
}

int hv_error_set(struct hv_error **reterr, int r, const char *code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    r = error_set_v(reterr, r, code, NULL, format, args);
    va_end(args);
    return r;
}

int hv_error_set_field(struct hv_error **reterr, int r, const char *code, const char *field,
                       const char *format, ...)
{
    va_list args;

    va_start(args, format);
    r = error_set_v(reterr, r, code, field, format, args);
    va_end(args);
    return r;
}

const char *hv_error_message(const struct hv_error *error, int r)
{
    return error ? error->message : strerror(-r);
}

struct hv_error *hv_error_free(struct hv_error *error)
{
    if (!error)
        return NULL;
    free(error->code);
    free(error->field);
    free(error->message);
    free(error);
    return NULL;
}
