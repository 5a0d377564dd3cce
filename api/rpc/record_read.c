/* SPDX-License-Identifier: Apache-2.0 */
/* The checking half of record.h: JSON from strangers into structs. */
#include "api/rpc/error.h"
#include "api/rpc/json.h"
#include "api/rpc/nearest.h"
#include "api/rpc/record.h"
#include "api/rpc/utf8.h"
#include "api/rpc/writer.h"
#include "hvcore/base/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FIELD_NAME_BYTES = 128, ALLOWED_BYTES = 256, GIVEN_BYTES = 80 };

struct place {
    const struct api_field *field;
    const char *prefix; /* or NULL */
    const char *key;
    struct api_error **reterr;
};

/* The field as the client knows it: "settings.cpu.count". Made when one is spoken of. */
static void name_of(const struct place *place, char ret[static FIELD_NAME_BYTES])
{
    (void)snprintf(ret, FIELD_NAME_BYTES, "%s%s", place->prefix ? place->prefix : "", place->key);
}

static void append(char *ret, size_t room, const char *text)
{
    size_t length = strlen(ret);

    (void)snprintf(ret + length, room - length, "%s", text);
}

static void list_names(const struct api_enum *enumeration, char *ret, size_t room)
{
    ret[0] = '\0';
    for (size_t i = 0; i < enumeration->n_values; i++) {
        if (i > 0)
            append(ret, room, i + 1 == enumeration->n_values ? " or " : ", ");
        append(ret, room, enumeration->values[i]);
    }
}

static void describe_bytes(const struct api_field *field, char *ret, size_t room)
{
    (void)snprintf(ret, room,
                   "%" PRIu64 " to %" PRIu64 " bytes (%" PRIu64 " MiB to %" PRIu64
                   " MiB) in steps of %" PRIu64 " bytes",
                   field->min, field->max, field->min >> 20, field->max >> 20,
                   field->multiple ? field->multiple : 1);
}

static void describe_text(const struct api_field *field, char *ret, size_t room)
{
    static const char *const forms[] = { "text", "text without control characters",
                                         "an absolute path", "the name or id of a VM" };
    size_t length;

    (void)snprintf(ret, room, "%s", forms[field->form]);
    length = strlen(ret);
    if (field->max_chars)
        (void)snprintf(ret + length, room - length, " of %u to %u characters", field->min_chars,
                       field->max_chars);
    else if (field->max_bytes)
        (void)snprintf(ret + length, room - length, " of at most %u bytes", field->max_bytes);
}

void api_field_allowed(const struct api_field *field, char *ret, size_t room)
{
    static const char *const kinds[] = {
        [API_KIND_BOOL] = "true or false",
        [API_KIND_DOUBLE] = "a number",
        [API_KIND_JSON] = "any JSON",
        [API_KIND_RECORD] = "an object",
        [API_KIND_FIELDS] = "an array of field names",
    };

    switch (field->kind) {
    case API_KIND_U32:
    case API_KIND_U64:
        if (field->is_bytes)
            describe_bytes(field, ret, room);
        else
            (void)snprintf(ret, room, "a whole number from %" PRIu64 " to %" PRIu64, field->min,
                           field->max);
        break;
    case API_KIND_TEXT: describe_text(field, ret, room); break;
    case API_KIND_ENUM: list_names(field->enumeration, ret, room); break;
    default: (void)snprintf(ret, room, "%s", kinds[field->kind]); break;
    }
}

/* The value as it was given, shortened, for the error's `given`. */
static void note_given(struct api_error *error, const struct json_value *value)
{
    char given[GIVEN_BYTES + 4];
    size_t length = value->length, bytes = 0, next;

    if (value->type != JSON_STRING && value->type != JSON_NUMBER) {
        api_error_set_text(&error->data.given, value->type == JSON_BOOL
                                                   ? (value->boolean ? "true" : "false")
                                                   : json_type_phrase(value->type));
        return;
    }
    while (bytes < length) {
        next = utf8_char_bytes(value->text + bytes, length - bytes);
        if (!next || bytes + next > GIVEN_BYTES)
            break;
        bytes += next;
    }
    (void)snprintf(given, sizeof(given), "%.*s%s", (int)bytes, value->text,
                   bytes < length ? "..." : "");
    api_error_set_text(&error->data.given, given);
}

static int refuse(const struct place *place, const struct json_value *value,
                  enum api_error_code code, const char *why)
{
    char allowed[ALLOWED_BYTES], name[FIELD_NAME_BYTES];
    int r;

    name_of(place, name);
    api_field_allowed(place->field, allowed, sizeof(allowed));
    r = api_error_set(place->reterr, code, "api.argument", name, "%s %s; allowed is %s.", name, why,
                      allowed);
    if (place->reterr && *place->reterr) {
        api_error_set_text(&(*place->reterr)->data.allowed, allowed);
        note_given(*place->reterr, value);
    }
    return r;
}

static int refuse_type(const struct place *place, const struct json_value *value)
{
    char why[64];

    (void)snprintf(why, sizeof(why), "is %s", json_type_phrase(value->type));
    return refuse(place, value, API_E_INCORRECT_DATA_TYPE, why);
}

static int refuse_value(const struct place *place, const struct json_value *value, const char *why)
{
    return refuse(place, value, API_E_INVALID_PARAMETER, why);
}

static int read_number(const struct place *place, const struct json_value *value, uint64_t *ret)
{
    const struct api_field *field = place->field;
    uint64_t number;
    int r;

    if (value->type != JSON_NUMBER)
        return refuse_type(place, value);
    r = json_u64(value, &number);
    if (r == -EINVAL)
        return refuse(place, value, API_E_INCORRECT_DATA_TYPE, "is not a whole number");
    if (r < 0 || number < field->min || number > field->max)
        return refuse_value(place, value, "is out of range");
    if (field->multiple && number % field->multiple)
        return refuse_value(place, value, "is not a multiple of the step");
    *ret = number;
    return 0;
}

static bool has_control_characters(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        uint8_t c = (uint8_t)text[i];

        if (c < 0x20 || c == 0x7f)
            return true;
        /* C1: U+0080 to U+009F */
        if (c == 0xc2 && i + 1 < length && (uint8_t)text[i + 1] < 0xa0)
            return true;
    }
    return false;
}

static int read_text(const struct place *place, const struct json_value *value, char **ret)
{
    const struct api_field *field = place->field;
    size_t chars;

    if (value->type != JSON_STRING)
        return refuse_type(place, value);
    chars = utf8_count(value->text, value->length);
    if (chars < field->min_chars)
        return refuse_value(place, value, chars ? "is too short" : "is empty");
    if ((field->max_chars && chars > field->max_chars) ||
        (field->max_bytes && value->length > field->max_bytes))
        return refuse_value(place, value, "is too long");
    if (field->form != API_TEXT_ANY && has_control_characters(value->text, value->length))
        return refuse_value(place, value, "has control characters");
    if (field->form == API_TEXT_PATH && value->length && value->text[0] != '/')
        return refuse_value(place, value, "is not an absolute path");
    *ret = strdup(value->text);
    return *ret ? 0 : -ENOMEM;
}

static int read_json(const struct json_value *value, char **ret)
{
    struct json_writer out = { 0 };

    json_put_value(&out, value);
    return json_writer_take(&out, ret, NULL);
}

static int read_double(const struct place *place, const struct json_value *value, double *ret)
{
    char text[72];

    if (value->type != JSON_NUMBER || value->length >= sizeof(text))
        return refuse_type(place, value);
    memcpy(text, value->text, value->length);
    text[value->length] = '\0';
    *ret = strtod(text, NULL);
    return 0;
}

static int read_enum(const struct place *place, const struct json_value *value, int *ret)
{
    int index;

    if (value->type != JSON_STRING)
        return refuse_type(place, value);
    index = api_enum_index(place->field->enumeration, value->text);
    if (index < 0)
        return refuse_value(place, value, "has no such value");
    *ret = index;
    return 0;
}

static int read_field_names(const struct place *place, const struct json_value *value,
                            uint64_t *ret)
{
    const struct api_record *record = place->field->record;
    char name[FIELD_NAME_BYTES];
    uint64_t bits = 0;
    size_t index;

    if (value->type != JSON_ARRAY)
        return refuse_type(place, value);
    for (const struct json_value *item = value->first; item; item = item->next) {
        if (item->type != JSON_STRING)
            return refuse_type(place, item);
        if (!api_record_find(record, item->text, &index)) {
            name_of(place, name);
            return api_error_set(place->reterr, API_E_INVALID_PARAMETER, "api.field_name", name,
                                 "%s: %s has no field \"%.60s\".", name, record->name, item->text);
        }
        bits |= UINT64_C(1) << index;
    }
    *ret = bits;
    return 0;
}

static int read_u32(const struct place *place, const struct json_value *value, uint32_t *ret)
{
    uint64_t number;
    int r = read_number(place, value, &number);

    if (r == 0)
        *ret = (uint32_t)number;
    return r;
}

static int read_bool(const struct place *place, const struct json_value *value, bool *ret)
{
    if (value->type != JSON_BOOL)
        return refuse_type(place, value);
    *ret = value->boolean;
    return 0;
}

static int read_sub_record(const struct place *place, const struct json_value *value, void *ret)
{
    char name[FIELD_NAME_BYTES], prefix[FIELD_NAME_BYTES + 1];

    if (value->type != JSON_OBJECT)
        return refuse_type(place, value);
    name_of(place, name);
    (void)snprintf(prefix, sizeof(prefix), "%s.", name);
    /* A setting is known by its own name wherever it stands. */
    return api_record_read(place->field->record, value,
                           place->field->record->is_patch ? NULL : prefix, ret, place->reterr);
}

static int read_value(const struct place *place, const struct json_value *value, char *at)
{
    switch (place->field->kind) {
    case API_KIND_BOOL: return read_bool(place, value, (bool *)at);
    case API_KIND_U32: return read_u32(place, value, (uint32_t *)at);
    case API_KIND_U64: return read_number(place, value, (uint64_t *)at);
    case API_KIND_DOUBLE: return read_double(place, value, (double *)at);
    case API_KIND_TEXT: return read_text(place, value, (char **)at);
    case API_KIND_JSON: return read_json(value, (char **)at);
    case API_KIND_ENUM: return read_enum(place, value, (int *)at);
    case API_KIND_RECORD: return read_sub_record(place, value, at);
    case API_KIND_FIELDS: return read_field_names(place, value, (uint64_t *)at);
    }
    return -EINVAL;
}

static size_t item_bytes(const struct api_field *field)
{
    static const size_t bytes[] = {
        [API_KIND_BOOL] = sizeof(bool),       [API_KIND_U32] = sizeof(uint32_t),
        [API_KIND_U64] = sizeof(uint64_t),    [API_KIND_DOUBLE] = sizeof(double),
        [API_KIND_TEXT] = sizeof(char *),     [API_KIND_JSON] = sizeof(char *),
        [API_KIND_ENUM] = sizeof(int),        [API_KIND_RECORD] = 0,
        [API_KIND_FIELDS] = sizeof(uint64_t),
    };

    return field->kind == API_KIND_RECORD ? field->record->size : bytes[field->kind];
}

static int read_list(const struct place *place, const struct json_value *value, char *into)
{
    const struct api_field *field = place->field;
    size_t *count = (size_t *)(into + field->count_offset), bytes = item_bytes(field);
    char *items;
    int r;

    if (value->type != JSON_ARRAY)
        return refuse_type(place, value);
    if (field->max_items && value->count > field->max_items)
        return refuse_value(place, value, "has too many items");
    if (!value->count)
        return 0;
    items = calloc(value->count, bytes);
    if (!items)
        return -ENOMEM;
    *(char **)(into + field->offset) = items;
    for (const struct json_value *item = value->first; item; item = item->next) {
        r = read_value(place, item, items + *count * bytes);
        if (r < 0)
            return r;
        (*count)++;
    }
    return 0;
}

static bool is_reserved(const struct api_record *record, const char *name)
{
    for (const char *const *at = record->reserved; at && *at; at++) {
        if (strcmp(*at, name) == 0)
            return true;
    }
    for (const char *const *at = record->reserved_prefixes; at && *at; at++) {
        size_t length = strlen(*at);

        if (strncmp(*at, name, length) == 0 &&
            (!name[length] || strchr(".[0123456789", name[length])))
            return true;
    }
    return false;
}

/* None is like it: then all there are. */
static void hint_all(const struct api_record *record, struct api_error *error)
{
    hv_autofree char *names = strdup("");

    for (size_t i = 0; names && i < record->n_fields; i++) {
        char *more = NULL;

        if (asprintf(&more, "%s%s%s", names, i ? ", " : "", record->fields[i].name) < 0)
            return;
        free(names);
        names = more;
    }
    if (names && *names)
        api_error_hint(error, "There are: %s.", names);
}

static int refuse_unknown(const struct api_record *record, const char *name, const char *shown,
                          struct api_error **reterr)
{
    struct nearest nearest;
    int r;

    if (is_reserved(record, name))
        return api_error_set(reterr, API_E_NOT_SUPPORTED, "api.reserved", shown,
                             "%s is not available in this version.", shown);
    r = api_error_set(reterr, API_E_INVALID_PARAMETER, "api.unknown", shown,
                      "There is no %s called \"%.60s\".", record->is_patch ? "setting" : "argument",
                      shown);
    nearest_init(&nearest, name);
    for (size_t i = 0; i < record->n_fields; i++)
        nearest_offer(&nearest, record->fields[i].name);
    for (size_t i = 0; reterr && *reterr && i < nearest.count; i++)
        api_error_add(*reterr, &(*reterr)->data.nearest, &(*reterr)->data.n_nearest,
                      nearest.names[i]);
    if (reterr && nearest.count)
        api_error_hint(*reterr, "Perhaps %s was meant.", nearest.names[0]);
    else if (reterr && *reterr)
        hint_all(record, *reterr);
    return r;
}

/* Fields mostly come in the order of the schema: then the next one is the one. */
static const struct api_field *find_from(const struct api_record *record, const char *name,
                                         const size_t *next, size_t *ret_index)
{
    for (size_t i = *next; i < record->n_fields; i++) {
        if (strcmp(record->fields[i].name, name) == 0) {
            *ret_index = i;
            return &record->fields[i];
        }
    }
    return api_record_find(record, name, ret_index);
}

/* next: where to look first, moved on */
static int read_member(const struct api_record *record, const struct json_value *member,
                       const char *prefix, size_t *next, char *into, struct api_error **reterr)
{
    struct place place = { .prefix = prefix, .key = member->key, .reterr = reterr };
    char name[FIELD_NAME_BYTES];
    uint64_t has, cleared;
    size_t index;
    int r;

    place.field = find_from(record, member->key, next, &index);
    if (!place.field) {
        name_of(&place, name);
        return record->is_strict ? refuse_unknown(record, member->key, name, reterr) : 0;
    }
    *next = index + 1;
    if (record->is_patch && member->type == JSON_NULL && place.field->has_default) {
        memcpy(&cleared, into + record->cleared_offset, sizeof(cleared));
        cleared |= UINT64_C(1) << index;
        memcpy(into + record->cleared_offset, &cleared, sizeof(cleared));
        return 0;
    }
    r = place.field->is_list ? read_list(&place, member, into)
                             : read_value(&place, member, into + place.field->offset);
    if (r < 0)
        return r;
    memcpy(&has, into, sizeof(has));
    has |= UINT64_C(1) << index;
    memcpy(into, &has, sizeof(has));
    return 0;
}

static int find_missing(const struct api_record *record, const char *prefix, const void *from,
                        struct api_error **reterr)
{
    for (size_t i = 0; i < record->n_fields; i++) {
        const struct api_field *field = &record->fields[i];
        char name[FIELD_NAME_BYTES];

        if (field->is_optional || field->has_default || api_record_has(field, i, from))
            continue;
        (void)snprintf(name, sizeof(name), "%s%s", prefix ? prefix : "", field->name);
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "api.missing", name,
                             "%s is missing: %s", name, field->about);
    }
    return 0;
}

static int read_object(const struct api_record *record, const struct json_value *value,
                       const char *prefix, void *ret, struct api_error **reterr)
{
    size_t next = 0;
    int r;

    if (value->type != JSON_OBJECT)
        return api_error_set(reterr, API_E_INCORRECT_DATA_TYPE, "api.argument", prefix,
                             "%s is %s where an object is expected.", record->name,
                             json_type_phrase(value->type));
    for (const struct json_value *member = value->first; member; member = member->next) {
        r = read_member(record, member, prefix, &next, ret, reterr);
        if (r < 0)
            return r;
    }
    if (record->is_patch)
        return 0;
    r = record->is_strict ? find_missing(record, prefix, ret, reterr) : 0;
    return r < 0 ? r : api_record_fill(record, ret);
}

int api_record_read(const struct api_record *record, const struct json_value *value,
                    const char *prefix, void *ret, struct api_error **reterr)
{
    int r;

    memset(ret, 0, record->size);
    r = read_object(record, value, prefix, ret, reterr);
    if (r < 0)
        api_record_fini(record, ret);
    return r;
}
