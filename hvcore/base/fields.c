/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/fields.h"

#include <stdlib.h>

enum { FIRST_ROOM = 256 };

void hv_fields_fini(struct hv_fields *fields)
{
    free(fields->bytes);
    *fields = (struct hv_fields){ 0 };
}

static bool make_room(struct hv_fields *fields, size_t length)
{
    size_t room = fields->room ? fields->room : FIRST_ROOM;
    uint8_t *larger;

    if (fields->has_failed)
        return false;
    while (room - fields->length < length)
        room *= 2;
    if (room == fields->room)
        return true;
    larger = realloc(fields->bytes, room);
    if (!larger) {
        fields->has_failed = true;
        return false;
    }
    fields->bytes = larger;
    fields->room = room;
    return true;
}

void hv_field_bytes(struct hv_fields *fields, void *value, size_t length)
{
    if (fields->is_reading) {
        hv_cursor_bytes(&fields->in, value, length);
    } else if (length > 0 && make_room(fields, length)) {
        memcpy(fields->bytes + fields->length, value, length);
        fields->length += length;
    }
}

void hv_field_u8(struct hv_fields *fields, uint8_t *value)
{
    hv_field_bytes(fields, value, sizeof(*value));
}

void hv_field_u16(struct hv_fields *fields, uint16_t *value)
{
    hv_field_bytes(fields, value, sizeof(*value));
}

void hv_field_u32(struct hv_fields *fields, uint32_t *value)
{
    hv_field_bytes(fields, value, sizeof(*value));
}

void hv_field_u64(struct hv_fields *fields, uint64_t *value)
{
    hv_field_bytes(fields, value, sizeof(*value));
}

void hv_field_bool(struct hv_fields *fields, bool *value)
{
    uint8_t byte = *value;

    hv_field_u8(fields, &byte);
    if (byte > 1)
        hv_fields_refuse(fields);
    if (fields->is_reading)
        *value = byte == 1;
}

void hv_field_count(struct hv_fields *fields, uint32_t *value, uint32_t max)
{
    hv_field_u32(fields, value);
    if (*value <= max)
        return;
    hv_fields_refuse(fields);
    *value = 0;
}
