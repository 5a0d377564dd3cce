/* SPDX-License-Identifier: Apache-2.0 */
#include "api/rpc/record.h"

#include "api/rpc/error.h"
#include "api/rpc/writer.h"

#include <string.h>

/* Bytes of one value of a field in a struct or list. */
size_t api_field_bytes(const struct api_field *field)
{
    switch (field->kind) {
    case API_KIND_BOOL: return sizeof(bool);
    case API_KIND_U32: return sizeof(uint32_t);
    case API_KIND_U64:
    case API_KIND_FIELDS: return sizeof(uint64_t);
    case API_KIND_DOUBLE: return sizeof(double);
    case API_KIND_TEXT:
    case API_KIND_JSON: return sizeof(char *);
    case API_KIND_ENUM: return sizeof(int);
    case API_KIND_RECORD: return field->record->size;
    }
    return 0;
}

static bool is_text(const struct api_field *field)
{
    return field->kind == API_KIND_TEXT || field->kind == API_KIND_JSON;
}

static size_t list_count(const struct api_field *field, const void *value)
{
    return *(const size_t *)((const char *)value + field->count_offset);
}

bool api_record_has(const struct api_field *field, size_t index, const void *value)
{
    uint64_t has;

    memcpy(&has, value, sizeof(has));
    if (has & UINT64_C(1) << index)
        return true;
    if (field->is_list)
        return list_count(field, value) != 0;
    return is_text(field) && *(char *const *)((const char *)value + field->offset);
}

const struct api_field *api_record_find(const struct api_record *record, const char *name,
                                        size_t *ret_index)
{
    for (size_t i = 0; i < record->n_fields; i++) {
        if (strcmp(record->fields[i].name, name) == 0) {
            if (ret_index)
                *ret_index = i;
            return &record->fields[i];
        }
    }
    return NULL;
}

int api_enum_index(const struct api_enum *enumeration, const char *name)
{
    for (size_t i = 0; i < enumeration->n_values; i++) {
        if (strcmp(enumeration->values[i], name) == 0)
            return (int)i;
    }
    return -1;
}

static void put_value(const struct api_field *field, const char *at, struct json_writer *out);

static void put_field_names(const struct api_field *field, uint64_t bits, struct json_writer *out)
{
    json_begin_array(out);
    for (size_t i = 0; i < field->record->n_fields; i++) {
        if (bits & UINT64_C(1) << i)
            json_put_string(out, field->record->fields[i].name);
    }
    json_end_array(out);
}

static void put_enum(const struct api_field *field, int index, struct json_writer *out)
{
    hv_assert(index >= 0 && (size_t)index < field->enumeration->n_values);
    json_put_string(out, field->enumeration->values[index]);
}

static void put_text(const struct api_field *field, const char *text, struct json_writer *out)
{
    if (field->kind == API_KIND_JSON && text)
        json_put_raw(out, text, strlen(text));
    else
        json_put_string(out, text);
}

static void put_value(const struct api_field *field, const char *at, struct json_writer *out)
{
    switch (field->kind) {
    case API_KIND_BOOL: json_put_bool(out, *(const bool *)at); break;
    case API_KIND_U32: json_put_u64(out, *(const uint32_t *)at); break;
    case API_KIND_U64: json_put_u64(out, *(const uint64_t *)at); break;
    case API_KIND_DOUBLE: json_put_double(out, *(const double *)at); break;
    case API_KIND_TEXT:
    case API_KIND_JSON: put_text(field, *(char *const *)at, out); break;
    case API_KIND_ENUM: put_enum(field, *(const int *)at, out); break;
    case API_KIND_RECORD: api_record_write(field->record, at, UINT64_MAX, out); break;
    case API_KIND_FIELDS: put_field_names(field, *(const uint64_t *)at, out); break;
    }
}

bool api_record_next(const struct api_record *record, uint64_t *fields, size_t *ret)
{
    size_t first = *fields ? (size_t)__builtin_ctzll(*fields) : record->n_fields;

    if (first >= record->n_fields)
        return false;
    *fields &= *fields - 1;
    *ret = first;
    return true;
}

static void put_list(const struct api_field *field, const void *from, struct json_writer *out)
{
    const char *items = *(char *const *)((const char *)from + field->offset);
    size_t bytes = api_field_bytes(field);

    json_begin_array(out);
    for (size_t i = 0; i < list_count(field, from); i++)
        put_value(field, items + i * bytes, out);
    json_end_array(out);
}

void api_field_write(const struct api_field *field, const void *from, struct json_writer *out)
{
    if (field->is_list)
        put_list(field, from, out);
    else
        put_value(field, (const char *)from + field->offset, out);
}

void api_record_write(const struct api_record *record, const void *from, uint64_t fields,
                      struct json_writer *out)
{
    uint64_t cleared = 0, has;
    size_t i;

    memcpy(&has, from, sizeof(has));
    if (has & API_HAS_PARTIAL)
        fields &= has;
    if (record->is_patch)
        memcpy(&cleared, (const char *)from + record->cleared_offset, sizeof(cleared));
    json_begin_object(out);
    while (api_record_next(record, &fields, &i)) {
        const struct api_field *field = &record->fields[i];
        bool may_lack = field->is_optional || field->has_default || record->is_patch;

        if (cleared & UINT64_C(1) << i) {
            json_key(out, field->name);
            json_put_null(out);
            continue;
        }
        if (may_lack && !api_record_has(field, i, from))
            continue;
        json_key(out, field->name);
        api_field_write(field, from, out);
    }
    json_end_object(out);
}

static void fini_value(const struct api_field *field, char *at)
{
    if (is_text(field))
        free(*(char **)at);
    else if (field->kind == API_KIND_RECORD)
        api_record_fini(field->record, at);
}

static void fini_list(const struct api_field *field, char *value)
{
    char *items = *(char **)(value + field->offset);
    size_t bytes = api_field_bytes(field);

    for (size_t i = 0; i < list_count(field, value); i++)
        fini_value(field, items + i * bytes);
    free(items);
}

void api_record_fini(const struct api_record *record, void *value)
{
    uint64_t fields;
    size_t i;

    memcpy(&fields, value, sizeof(fields));
    if (!(fields & API_HAS_PARTIAL))
        fields = UINT64_MAX;
    while (api_record_next(record, &fields, &i)) {
        const struct api_field *field = &record->fields[i];

        if (field->is_list)
            fini_list(field, value);
        else
            fini_value(field, (char *)value + field->offset);
    }
    memset(value, 0, record->size);
}

/* Deepen a bytewise copy: what it points to becomes its own. On failure it points to nothing. */
static int own_value(const struct api_field *field, char *at)
{
    char *text;

    if (field->kind == API_KIND_RECORD) {
        void *shallow = malloc(field->record->size);
        int r = -ENOMEM;

        if (shallow) {
            memcpy(shallow, at, field->record->size);
            r = api_record_copy(field->record, shallow, at);
        } else {
            memset(at, 0, field->record->size);
        }
        free(shallow);
        return r;
    }
    if (!is_text(field) || !*(char **)at)
        return 0;
    text = strdup(*(char **)at);
    *(char **)at = text;
    return text ? 0 : -ENOMEM;
}

static int own_list(const struct api_field *field, char *value)
{
    size_t *count = (size_t *)(value + field->count_offset), wanted = *count;
    char **items = (char **)(value + field->offset), *from = *items;
    size_t bytes = api_field_bytes(field);
    int r = 0;

    *items = NULL;
    *count = 0;
    if (!wanted)
        return 0;
    *items = reallocarray(NULL, wanted, bytes);
    if (!*items)
        return -ENOMEM;
    memcpy(*items, from, wanted * bytes);
    for (; *count < wanted; (*count)++) {
        if (r == 0)
            r = own_value(field, *items + *count * bytes);
        else
            memset(*items + *count * bytes, 0, bytes);
    }
    return r;
}

int api_record_copy(const struct api_record *record, const void *from, void *ret)
{
    int r = 0;

    memcpy(ret, from, record->size);
    for (size_t i = 0; i < record->n_fields; i++) {
        const struct api_field *field = &record->fields[i];
        char *at = (char *)ret + field->offset;

        if (r == 0) {
            r = field->is_list ? own_list(field, ret) : own_value(field, at);
            continue;
        }
        /* Out of memory before this field: it must not point into `from`. */
        if (field->is_list)
            *(size_t *)((char *)ret + field->count_offset) = 0;
        memset(at, 0, field->is_list ? sizeof(char *) : api_field_bytes(field));
    }
    if (r < 0)
        api_record_fini(record, ret);
    return r;
}

static void set_has(void *value, size_t index, bool has)
{
    uint64_t bits;

    memcpy(&bits, value, sizeof(bits));
    bits = has ? bits | UINT64_C(1) << index : bits & ~(UINT64_C(1) << index);
    memcpy(value, &bits, sizeof(bits));
}

static int merge_field(const struct api_field *field, const void *patch, void *onto)
{
    const char *from = (const char *)patch + field->offset;
    char *to = (char *)onto + field->offset, *text;

    hv_assert(!field->is_list && field->kind != API_KIND_RECORD);
    if (!is_text(field)) {
        memcpy(to, from, api_field_bytes(field));
        return 0;
    }
    text = strdup(*(char *const *)from);
    if (!text)
        return -ENOMEM;
    free(*(char **)to);
    *(char **)to = text;
    return 0;
}

int api_record_merge(const struct api_record *record, const void *patch, void *onto)
{
    uint64_t cleared;
    int r;

    memcpy(&cleared, (const char *)patch + record->cleared_offset, sizeof(cleared));
    for (size_t i = 0; i < record->n_fields; i++) {
        const struct api_field *field = &record->fields[i];
        char *to = (char *)onto + field->offset;

        if (cleared & UINT64_C(1) << i) {
            fini_value(field, to);
            memset(to, 0, api_field_bytes(field));
            set_has(onto, i, false);
        } else if (api_record_has(field, i, patch)) {
            r = merge_field(field, patch, onto);
            if (r < 0)
                return r;
            set_has(onto, i, true);
        }
    }
    return 0;
}

static int fill_field(const struct api_field *field, char *at)
{
    switch (field->kind) {
    case API_KIND_BOOL: *(bool *)at = field->default_number != 0; break;
    case API_KIND_U32: *(uint32_t *)at = (uint32_t)field->default_number; break;
    case API_KIND_U64: *(uint64_t *)at = field->default_number; break;
    case API_KIND_ENUM: *(int *)at = (int)field->default_number; break;
    case API_KIND_TEXT:
        *(char **)at = strdup(field->default_text);
        return *(char **)at ? 0 : -ENOMEM;
    default: break;
    }
    return 0;
}

int api_record_fill(const struct api_record *record, void *value)
{
    for (size_t i = 0; i < record->n_fields; i++) {
        const struct api_field *field = &record->fields[i];

        if (!field->has_default || api_record_has(field, i, value))
            continue;
        if (fill_field(field, (char *)value + field->offset) < 0)
            return -ENOMEM;
        set_has(value, i, true);
    }
    return 0;
}

static bool is_same(const struct api_field *field, const char *a, const char *b)
{
    const char *text_a, *text_b;

    if (!is_text(field))
        return memcmp(a, b, api_field_bytes(field)) == 0;
    text_a = *(char *const *)a;
    text_b = *(char *const *)b;
    if (!text_a || !text_b)
        return text_a == text_b;
    return strcmp(text_a, text_b) == 0;
}

uint64_t api_record_diff(const struct api_record *record, const void *a, const void *b)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < record->n_fields; i++) {
        const struct api_field *field = &record->fields[i];
        bool has_a = api_record_has(field, i, a), has_b = api_record_has(field, i, b);

        if (has_a != has_b || (has_a && !is_same(field, (const char *)a + field->offset,
                                                 (const char *)b + field->offset)))
            bits |= UINT64_C(1) << i;
    }
    return bits;
}
