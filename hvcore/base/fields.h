/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A struct as bytes, described once for both directions: a function that visits its fields writes
 * them, or reads them, as the struct hv_fields it is given says. Numbers are little endian. A
 * failure sticks: what is read afterwards is 0, what is written is dropped.
 *
 * Bytes that are read are hostile: who visits judges what it has read, with hv_fields_refuse.
 */
#pragma once

#include "hvcore/base/cursor.h"

struct hv_fields {
    /* read only */
    bool is_reading;
    bool has_failed;
    /* private */
    struct hv_cursor in;
    uint8_t *bytes;
    size_t length, room;
};

/* Read out of bytes, which must live as long. */
static inline struct hv_fields hv_fields_reader(const void *bytes, size_t length)
{
    return (struct hv_fields){ .is_reading = true, .in = hv_cursor(bytes, length) };
}

/* Write into memory that grows. */
static inline struct hv_fields hv_fields_writer(void)
{
    return (struct hv_fields){ .is_reading = false };
}

void hv_fields_fini(struct hv_fields *fields);

/* One field each; false out of what was read as a bool that is neither 0 nor 1, and a failure. */
void hv_field_u8(struct hv_fields *fields, uint8_t *value);
void hv_field_u16(struct hv_fields *fields, uint16_t *value);
void hv_field_u32(struct hv_fields *fields, uint32_t *value);
void hv_field_u64(struct hv_fields *fields, uint64_t *value);
void hv_field_bool(struct hv_fields *fields, bool *value);
void hv_field_bytes(struct hv_fields *fields, void *value, size_t length);
/* How many of something follow; more than max is a failure, and 0. */
void hv_field_count(struct hv_fields *fields, uint32_t *value, uint32_t max);

/* What was read cannot be. */
static inline void hv_fields_refuse(struct hv_fields *fields)
{
    fields->has_failed = true;
}

/* Is all well so far? When reading is done: hv_fields_is_done. */
static inline bool hv_fields_ok(const struct hv_fields *fields)
{
    return !fields->has_failed && hv_cursor_ok(&fields->in);
}

/* All is well, and all that was there has been read. */
static inline bool hv_fields_is_done(const struct hv_fields *fields)
{
    return hv_fields_ok(fields) && hv_cursor_left(&fields->in) == 0;
}
