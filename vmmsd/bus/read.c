/* SPDX-License-Identifier: Apache-2.0 */
/*
 * D-Bus arguments as the JSON that the other transport brings, so that both meet the same checks
 * and the same sentences. sd-bus has checked the message's form and depth (64) before.
 */
#include "vmmsd/bus/bus_priv.h"

#include "api/rpc/json.h"
#include "api/rpc/writer.h"

#include <string.h>

static int put_value(sd_bus_message *m, struct json_writer *out);

/* Numbers of any width: bounds are the schema's business. */
static int put_number(sd_bus_message *m, char type, struct json_writer *out)
{
    union {
        uint8_t y;
        int16_t n;
        uint16_t q;
        int32_t i;
        uint32_t u;
        int64_t x;
        uint64_t t;
        double d;
    } value = { 0 };
    int r = sd_bus_message_read_basic(m, type, &value);

    switch (type) {
    case 'y': json_put_u64(out, value.y); break;
    case 'n': json_put_i64(out, value.n); break;
    case 'q': json_put_u64(out, value.q); break;
    case 'i': json_put_i64(out, value.i); break;
    case 'u': json_put_u64(out, value.u); break;
    case 'x': json_put_i64(out, value.x); break;
    case 't': json_put_u64(out, value.t); break;
    default: json_put_double(out, value.d); break;
    }
    return r;
}

static int put_bool(sd_bus_message *m, struct json_writer *out)
{
    int value = 0, r = sd_bus_message_read_basic(m, 'b', &value);

    json_put_bool(out, value);
    return r;
}

static int put_text(sd_bus_message *m, char type, struct json_writer *out)
{
    const char *text = "";
    int r = sd_bus_message_read_basic(m, type, &text);

    json_put_string(out, text);
    return r;
}

/* The entries of a dictionary, whose keys are text, as members of an object that is open. */
static int put_members(sd_bus_message *m, const char *contents, struct json_writer *out)
{
    int r = sd_bus_message_enter_container(m, 'a', contents);
    const char *key;

    while (r >= 0 && (r = sd_bus_message_at_end(m, false)) == 0) {
        r = sd_bus_message_enter_container(m, 'e', NULL);
        if (r >= 0)
            r = sd_bus_message_read_basic(m, 's', &key);
        if (r < 0)
            return r;
        json_key(out, key);
        r = put_value(m, out);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int put_array(sd_bus_message *m, const char *contents, struct json_writer *out)
{
    int r;

    if (contents[0] == '{') {
        if (contents[1] != 's')
            return -ENOTSUP;
        json_begin_object(out);
        r = put_members(m, contents, out);
        json_end_object(out);
        return r;
    }
    json_begin_array(out);
    r = sd_bus_message_enter_container(m, 'a', contents);
    while (r >= 0 && (r = sd_bus_message_at_end(m, false)) == 0)
        r = put_value(m, out);
    json_end_array(out);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int put_variant(sd_bus_message *m, const char *contents, struct json_writer *out)
{
    int r = sd_bus_message_enter_container(m, 'v', contents);

    if (r >= 0)
        r = put_value(m, out);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int put_value(sd_bus_message *m, struct json_writer *out)
{
    const char *contents;
    char type;
    int r = sd_bus_message_peek_type(m, &type, &contents);

    if (r <= 0)
        return r < 0 ? r : -ENXIO;
    switch (type) {
    case 'b': return put_bool(m, out);
    case 's':
    case 'o':
    case 'g': return put_text(m, type, out);
    case 'v': return put_variant(m, contents, out);
    case 'a': return put_array(m, contents, out);
    case 'y':
    case 'n':
    case 'q':
    case 'i':
    case 'u':
    case 'x':
    case 't':
    case 'd': return put_number(m, type, out);
    default: return -ENOTSUP; /* structs and descriptors stand for nothing in the schema */
    }
}

static void put_key(const struct api_dbus_method *method, const struct vmms_dbus_place *place,
                    struct json_writer *out)
{
    if (!method->key[0])
        return;
    json_key(out, method->key);
    if (place->object == API_DBUS_JOB)
        json_put_raw(out, place->key, strlen(place->key));
    else
        json_put_string(out, place->key);
}

static int put_arguments(sd_bus_message *m, const struct api_dbus_method *method,
                         const struct vmms_dbus_place *place, struct json_writer *out)
{
    int r = 0;

    json_begin_object(out);
    put_key(method, place, out);
    for (const char *const *name = method->given; r >= 0 && *name; name++) {
        json_key(out, *name);
        r = put_value(m, out);
    }
    if (r >= 0 && !method->is_text)
        r = put_members(m, "{sv}", out);
    json_end_object(out);
    return r;
}

int vmms_dbus_read_text(const char *text, size_t length, const char *method,
                        struct api_request *ret, struct api_error **reterr)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct json_fault fault;
    int r = 0;

    if (length > RPC_MAX_BODY_BYTES)
        return api_error_set(reterr, API_E_TOO_LARGE, "api.dbus.size", NULL,
                             "The call is longer than %d bytes.", RPC_MAX_BODY_BYTES);
    if (length)
        r = json_parse(text, length, &json_limits_request, &doc, &fault);
    if (r == -EBADMSG)
        return api_error_set(reterr, fault.is_limit ? API_E_TOO_LARGE : API_E_INVALID_PARAMETER,
                             "api.dbus.arguments", NULL,
                             "The call's arguments cannot be taken: %s.", fault.text);
    return r < 0 ? r : api_request_read(method, doc ? json_doc_root(doc) : NULL, ret, reterr);
}

int vmms_dbus_read_call(sd_bus_message *message, const struct api_dbus_method *method,
                        const struct vmms_dbus_place *place, struct api_request *ret,
                        struct api_error **reterr)
{
    struct json_writer out = { 0 };
    hv_autofree char *text = NULL;
    size_t length;
    int r;

    if (!sd_bus_message_has_signature(message, method->signature))
        return api_error_set(reterr, API_E_INCORRECT_DATA_TYPE, "api.dbus.signature", NULL,
                             "%s takes arguments of the types %s, not %.100s.", method->member,
                             method->signature, sd_bus_message_get_signature(message, true));
    r = put_arguments(message, method, place, &out);
    if (r < 0) {
        json_writer_fini(&out);
        return api_error_set(reterr, API_E_INCORRECT_DATA_TYPE, "api.dbus.type", NULL,
                             "%s was given a value that has no meaning there: structs, "
                             "descriptors and dictionaries without text as keys are not taken.",
                             method->member);
    }
    if (json_writer_take(&out, &text, &length) < 0)
        return -ENOMEM;
    return vmms_dbus_read_text(text, length, api_methods[method->method].name, ret, reterr);
}
