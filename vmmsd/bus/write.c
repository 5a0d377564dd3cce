/* SPDX-License-Identifier: Apache-2.0 */
/* Structs of the schema as D-Bus dictionaries and variants; the twin of api_record_write. */
#include "vmmsd/bus/bus_priv.h"

#include <string.h>

static const char *signature_of(const struct api_field *field)
{
    static const char *const one[] = {
        [API_KIND_BOOL] = "b",   [API_KIND_U32] = "u",        [API_KIND_U64] = "t",
        [API_KIND_DOUBLE] = "d", [API_KIND_TEXT] = "s",       [API_KIND_JSON] = "s",
        [API_KIND_ENUM] = "s",   [API_KIND_RECORD] = "a{sv}", [API_KIND_FIELDS] = "as",
    };
    static const char *const many[] = {
        [API_KIND_BOOL] = "ab",   [API_KIND_U32] = "au",        [API_KIND_U64] = "at",
        [API_KIND_DOUBLE] = "ad", [API_KIND_TEXT] = "as",       [API_KIND_JSON] = "as",
        [API_KIND_ENUM] = "as",   [API_KIND_RECORD] = "aa{sv}", [API_KIND_FIELDS] = "aas",
    };

    return field->is_list ? many[field->kind] : one[field->kind];
}

static int put_field_names(sd_bus_message *m, const struct api_record *record, uint64_t fields)
{
    int r = sd_bus_message_open_container(m, 'a', "s");

    for (size_t i = 0; r >= 0 && i < record->n_fields; i++)
        if (fields & UINT64_C(1) << i)
            r = sd_bus_message_append_basic(m, 's', record->fields[i].name);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_value(sd_bus_message *m, const struct api_field *field, const void *at)
{
    const char *text;
    int truth;

    switch (field->kind) {
    case API_KIND_BOOL:
        truth = *(const bool *)at;
        return sd_bus_message_append_basic(m, 'b', &truth);
    case API_KIND_U32: return sd_bus_message_append_basic(m, 'u', at);
    case API_KIND_U64: return sd_bus_message_append_basic(m, 't', at);
    case API_KIND_DOUBLE: return sd_bus_message_append_basic(m, 'd', at);
    case API_KIND_TEXT:
    case API_KIND_JSON:
        text = *(char *const *)at;
        return sd_bus_message_append_basic(m, 's', text ? text : "");
    case API_KIND_ENUM:
        return sd_bus_message_append_basic(m, 's', field->enumeration->values[*(const int *)at]);
    case API_KIND_RECORD: return vmms_dbus_put_record(m, field->record, at, UINT64_MAX);
    case API_KIND_FIELDS: return put_field_names(m, field->record, *(const uint64_t *)at);
    }
    return -EINVAL;
}

static int put_list(sd_bus_message *m, const struct api_field *field, const void *from)
{
    const char *items = *(char *const *)((const char *)from + field->offset);
    size_t count = *(const size_t *)((const char *)from + field->count_offset);
    int r = sd_bus_message_open_container(m, 'a', signature_of(field) + 1);

    for (size_t i = 0; r >= 0 && i < count; i++)
        r = put_value(m, field, items + i * api_field_bytes(field));
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_variant(sd_bus_message *m, const struct api_field *field, const void *from)
{
    int r = sd_bus_message_open_container(m, 'v', signature_of(field));

    if (r >= 0)
        r = field->is_list ? put_list(m, field, from)
                           : put_value(m, field, (const char *)from + field->offset);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_entry(sd_bus_message *m, const char *key, const struct api_field *field,
                     const void *from)
{
    int r = sd_bus_message_open_container(m, 'e', "sv");

    if (r >= 0)
        r = sd_bus_message_append_basic(m, 's', key);
    if (r >= 0)
        r = put_variant(m, field, from);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int vmms_dbus_put_record(sd_bus_message *message, const struct api_record *record, const void *from,
                         uint64_t fields)
{
    int r = sd_bus_message_open_container(message, 'a', "{sv}");
    uint64_t has;

    memcpy(&has, from, sizeof(has));
    if (has & API_HAS_PARTIAL)
        fields &= has;
    for (size_t i = 0; r >= 0 && i < record->n_fields; i++) {
        const struct api_field *field = &record->fields[i];
        bool may_lack = field->is_optional || field->has_default || record->is_patch;

        if (fields & UINT64_C(1) << i && (!may_lack || api_record_has(field, i, from)))
            r = put_entry(message, field->name, field, from);
    }
    return r < 0 ? r : sd_bus_message_close_container(message);
}

int vmms_dbus_put_property(sd_bus_message *message, const struct api_dbus_interface *interface,
                           size_t index, const void *from)
{
    return put_variant(message, &interface->record->fields[index], from);
}

static int put_properties(sd_bus_message *m, const struct api_dbus_interface *interface,
                          const void *from, bool is_all)
{
    int r = sd_bus_message_open_container(m, 'a', "{sv}");

    for (size_t i = 0; r >= 0 && interface->record && i < interface->record->n_fields; i++) {
        const struct api_dbus_property *property = &interface->properties[i];

        if (is_all || !(property->is_large || property->is_silent))
            r = put_entry(m, property->name, &interface->record->fields[i], from);
    }
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int vmms_dbus_put_properties(sd_bus_message *message, const struct api_dbus_interface *interface,
                             const void *from)
{
    return put_properties(message, interface, from, true);
}

int vmms_dbus_put_small(sd_bus_message *message, const struct api_dbus_interface *interface,
                        const void *from)
{
    return put_properties(message, interface, from, false);
}
