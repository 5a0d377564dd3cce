/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema as tables: what generated structs are made of, and functions over those tables.
 *
 * Every generated struct begins with `uint64_t has`, one bit per field in the order of the schema:
 * the field was given, or is to be written. Text that is not NULL counts as given. Lists are a
 * pointer and a size_t named n_<field>. All pointers belong to the struct.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_error;
struct json_value;
struct json_writer;

enum api_kind {
    API_KIND_BOOL,
    API_KIND_U32,
    API_KIND_U64,
    API_KIND_DOUBLE,
    API_KIND_TEXT,
    API_KIND_JSON,   /* char *, JSON text */
    API_KIND_ENUM,   /* an int-sized enum */
    API_KIND_RECORD, /* a struct in place */
    API_KIND_FIELDS  /* uint64_t, bits of the fields of another record */
};

enum api_text_form { API_TEXT_ANY, API_TEXT_LABEL, API_TEXT_PATH, API_TEXT_VM_REF };

struct api_enum {
    /* read only */
    const char *name;
    const char *const *values;
    size_t n_values;
};

/* In a struct's `has`: only the fields whose bit is set are written, required ones as well; the
 * others hold nothing. */
#define API_HAS_PARTIAL (UINT64_C(1) << 63)

struct api_record;

struct api_field {
    /* read only */
    const char *name;
    const char *about;
    enum api_kind kind;
    enum api_text_form form;
    bool is_optional;
    bool is_list;
    bool is_file;     /* a path whose file must be there when it is used */
    bool is_off_only; /* a setting that changes only while the VM is Off */
    bool is_bytes;    /* a number of bytes: sentences give it in MiB as well */
    bool has_default;
    size_t offset;
    size_t count_offset; /* of n_<field> when is_list */
    uint64_t min, max, multiple;
    uint32_t min_chars, max_chars, max_bytes, max_items;
    uint64_t default_number; /* also an enum's index */
    const char *default_text;
    const struct api_enum *enumeration;
    const struct api_record *record;
};

struct api_record {
    /* read only */
    const char *name;
    const char *about;
    size_t size;
    const struct api_field *fields;
    size_t n_fields;
    bool is_strict; /* unknown names are refused */
    bool is_patch;  /* no field is required or filled in, null puts it in `cleared` */
    size_t cleared_offset;
    const char *const *reserved; /* known, not available: ends in NULL; or NULL */
    const char *const *reserved_prefixes;
};

/*
 * Read an object into a zeroed struct, checking every field. On failure the struct is finished.
 *
 * prefix: put before field names in errors ("settings."), or NULL
 * return: 0, -EINVAL with *reterr, -ENOMEM
 */
int api_record_read(const struct api_record *record, const struct json_value *value,
                    const char *prefix, void *ret, struct api_error **reterr);

/* Write the given fields whose bit is in `fields` (bits as in `has`); required ones always count
 * as given. */
void api_record_write(const struct api_record *record, const void *from, uint64_t fields,
                      struct json_writer *out);

/* Write the value of one field of a struct. */
void api_field_write(const struct api_field *field, const void *from, struct json_writer *out);

/* Free what the struct owns and zero it. */
void api_record_fini(const struct api_record *record, void *value);

/* Deep copy into uninitialised memory. Returns 0 or -ENOMEM (then *ret is zeroed). */
int api_record_copy(const struct api_record *record, const void *from, void *ret);

/* Put `patch` over `onto`: given fields replace, cleared ones go. Returns 0 or -ENOMEM (then onto
 * may have some of them). */
int api_record_merge(const struct api_record *record, const void *patch, void *onto);

/* Give every missing field that has a default that default. Returns 0 or -ENOMEM. */
int api_record_fill(const struct api_record *record, void *value);

/* Bits of the fields in which two structs of the same patch record differ. Only flat records. */
uint64_t api_record_diff(const struct api_record *record, const void *a, const void *b);

/* Is the field (of that index) present? And the field of a name, or NULL. */
bool api_record_has(const struct api_field *field, size_t index, const void *value);
const struct api_field *api_record_find(const struct api_record *record, const char *name,
                                        size_t *ret_index);

/* The first field whose bit is in *fields, which is taken out. Returns false: there is none. */
bool api_record_next(const struct api_record *record, uint64_t *fields, size_t *ret);

/* The size of one value of the field in a struct or list. */
size_t api_field_bytes(const struct api_field *field);

/* "1 to 64", "auto, kvm or soft": what is allowed in a field, as words. */
void api_field_allowed(const struct api_field *field, char *ret, size_t room);

/* The value's index in the enum, or -1. */
int api_enum_index(const struct api_enum *enumeration, const char *name);
