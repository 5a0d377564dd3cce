/* SPDX-License-Identifier: Apache-2.0 */
#include "api/rpc/error.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/record.h"
#include "api/rpc/utf8.h"
#include "api/rpc/writer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DETAILS = 64 };

const struct api_error_info *api_error_info(int code)
{
    for (size_t i = 0; i < api_error_count; i++) {
        if ((int)api_error_table[i].code == code)
            return &api_error_table[i];
    }
    return &api_error_table[0];
}

const struct api_error_info *api_error_info_by_name(const char *name)
{
    for (size_t i = 0; name && i < api_error_count; i++) {
        if (strcmp(api_error_table[i].name, name) == 0)
            return &api_error_table[i];
    }
    return &api_error_table[0];
}

static struct api_error *new_error(enum api_error_code code, const char *message_id,
                                   const char *field, char *message)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = calloc(1, sizeof(*error));

    if (!error) {
        free(message);
        return NULL;
    }
    error->code = code;
    error->message = message;
    error->data.name = strdup(api_error_info((int)code)->name);
    error->data.message_id = message_id ? strdup(message_id) : NULL;
    error->data.field = field ? strdup(field) : NULL;
    if (!error->data.name || (message_id && !error->data.message_id) ||
        (field && !error->data.field))
        return NULL;
    return HV_TAKE_PTR(error);
}

/* What is quoted may have been cut inside a character, or never have been text: D-Bus takes only
 * what is. */
static void make_text(char *message)
{
    size_t left = strlen(message), bytes;

    for (; left > 0; message += bytes, left -= bytes) {
        bytes = utf8_char_bytes(message, left);
        if (bytes)
            continue;
        *message = '?';
        bytes = 1;
    }
}

int api_error_set(struct api_error **reterr, enum api_error_code code, const char *message_id,
                  const char *field, const char *format, ...)
{
    char *message;
    va_list args;
    int length;

    if (!reterr || *reterr)
        return -EINVAL;
    va_start(args, format);
    length = vasprintf(&message, format, args);
    va_end(args);
    if (length >= 0) {
        make_text(message);
        *reterr = new_error(code, message_id, field, message);
    }
    return -EINVAL;
}

void api_error_hint(struct api_error *error, const char *format, ...)
{
    char *hint;
    va_list args;
    int length;

    if (!error || error->data.hint)
        return;
    va_start(args, format);
    length = vasprintf(&hint, format, args);
    va_end(args);
    if (length < 0)
        return;
    make_text(hint);
    error->data.hint = hint;
}

void api_error_set_text(char **ret_detail, const char *text)
{
    free(*ret_detail);
    *ret_detail = text ? strdup(text) : NULL;
}

void api_error_add(struct api_error *error, char ***list, size_t *count, const char *text)
{
    char **grown;

    if (!error || *count == MAX_DETAILS)
        return;
    grown = reallocarray(*list, *count + 1, sizeof(**list));
    if (!grown)
        return;
    *list = grown;
    grown[*count] = strdup(text);
    if (grown[*count])
        (*count)++;
}

struct api_error *api_error_dup(const struct api_error *error)
{
    HV_CLEANUP(api_error_freep) struct api_error *copy = NULL;

    if (!error)
        return NULL;
    copy = calloc(1, sizeof(*copy));
    if (!copy)
        return NULL;
    copy->code = error->code;
    copy->message = strdup(error->message);
    if (!copy->message || api_error_data_copy(&error->data, &copy->data) < 0)
        return NULL;
    return HV_TAKE_PTR(copy);
}

struct api_error *api_error_free(struct api_error *error)
{
    if (!error)
        return NULL;
    free(error->message);
    api_error_data_fini(&error->data);
    free(error);
    return NULL;
}

void api_error_write(const struct api_error *error, struct json_writer *out)
{
    static const struct api_error_data no_memory = { .name = (char *)"OutOfMemory" };

    json_begin_object(out);
    json_key(out, "code");
    json_put_i64(out, error ? (int)error->code : API_E_OUT_OF_MEMORY);
    json_key(out, "message");
    json_put_string(out, error && error->message ? error->message
                                                 : "The service is short of memory; try again.");
    json_key(out, "data");
    api_record_write(&api_record_error_data, error ? &error->data : &no_memory, UINT64_MAX, out);
    json_end_object(out);
}

int api_error_read(const struct json_value *value, struct api_error **ret)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = calloc(1, sizeof(*error));
    const struct json_value *code = json_get(value, "code"), *data = json_get(value, "data");
    const struct json_value *message = json_get(value, "message");
    int64_t number;

    if (!error)
        return -ENOMEM;
    if (!code || json_i64(code, &number) < 0 || number < INT32_MIN || number > INT32_MAX ||
        !message || message->type != JSON_STRING)
        return -EBADMSG;
    error->code = (enum api_error_code)number;
    error->message = strdup(message->text);
    if (!error->message)
        return -ENOMEM;
    if (data && api_record_read(&api_record_error_data, data, NULL, &error->data, NULL) < 0)
        error->data = (struct api_error_data){ 0 };
    *ret = HV_TAKE_PTR(error);
    return 0;
}
