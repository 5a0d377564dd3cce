/* SPDX-License-Identifier: Apache-2.0 */
/* A document that says which VMs there shall be, read: what is wrong is told by its place. */
#include "cli/desired_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"

#include <stdio.h>
#include <string.h>

void desired_wanted_fini(struct desired_wanted *wanted)
{
    api_settings_fini(&wanted->settings);
    for (size_t i = 0; i < wanted->n_devices; i++) {
        api_new_device_fini(&wanted->devices[i]);
        free(wanted->images[i]);
    }
    free(wanted->images);
    free(wanted->devices);
}

int desired_bad(const char *file, const char *format, ...)
{
    hv_autofree char *clean = NULL;
    va_list args;

    va_start(args, format);
    clean = adm_clean_text(format, args);
    va_end(args);
    (void)fprintf(stderr, "hvadm: %s: %s\n", file, clean);
    return ADM_USAGE;
}

static int bad_value(const char *file, struct api_error *error)
{
    int r = desired_bad(file, "%s%s%s", error ? error->message : "out of memory.",
                        error && error->data.hint ? " " : "",
                        error && error->data.hint ? error->data.hint : "");

    api_error_free(error);
    return r;
}

bool desired_has_key(const char *const *keys, const char *key)
{
    while (*keys && strcmp(*keys, key) != 0)
        keys++;
    return *keys != NULL;
}

int desired_check_keys(const char *file, const struct json_value *value, const char *place,
                       const char *const *keys, const char *what)
{
    if (value->type != JSON_OBJECT)
        return desired_bad(file, "%s is %s where an object is expected.", place,
                           json_type_phrase(value->type));
    for (const struct json_value *m = value->first; m; m = m->next) {
        if (!desired_has_key(keys, m->key))
            return desired_bad(file, "%s.%.60s is not known; %s.", place, m->key, what);
    }
    return 0;
}

int desired_read_name(const char *file, const struct json_value *value, const char *place,
                      const char **ret)
{
    const struct json_value *name = json_get(value, "name");

    if (!name || name->type != JSON_STRING || !name->length)
        return desired_bad(file, "%s.name is missing, or no text.", place);
    *ret = name->text;
    return 0;
}

static int read_settings(const char *file, const struct json_value *value,
                         struct desired_wanted *wanted)
{
    struct api_error *error = NULL;
    char prefix[DESIRED_PLACE_BYTES + 16];

    if (!value)
        return 0;
    (void)snprintf(prefix, sizeof(prefix), "%s.settings.", wanted->place);
    if (value->type != JSON_OBJECT)
        return desired_bad(file, "%s.settings is %s where an object is expected.", wanted->place,
                           json_type_phrase(value->type));
    if (json_get(value, "name"))
        return desired_bad(file, "%sname: the name stands beside the settings.", prefix);
    if (api_record_read(&api_record_settings, value, prefix, &wanted->settings, &error) < 0)
        return bad_value(file, error);
    return 0;
}

/* The members of an object but one, as another object; which is open where `is_open`. */
static void put_others(const struct json_value *object, const char *but, struct json_writer *out)
{
    for (const struct json_value *m = object->first; m; m = m->next) {
        if (strcmp(m->key, but) == 0)
            continue;
        json_key(out, m->key);
        json_put_value(out, m);
    }
}

/* How the image is to be made where it is not there: checked here, so that the place can be told.
 */
static int read_image(const char *file, const struct json_value *item, const char *prefix,
                      char **ret)
{
    const struct json_value *create = json_get(item, "create"), *path = json_get(item, "path");
    const struct api_record *record = api_methods[API_METHOD_IMAGE_CREATE].args;
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    hv_autofree char *at = NULL;
    struct json_writer out = { 0 };
    struct api_error *error = NULL;
    union api_args args = { 0 };
    struct json_fault fault;
    int r;

    if (!create)
        return 0;
    if (create->type != JSON_OBJECT || !path)
        return desired_bad(file, "%screate is an object like {\"size_bytes\": N}, beside a path.",
                           prefix);
    json_begin_object(&out);
    json_key(&out, "path");
    json_put_value(&out, path);
    put_others(create, "path", &out);
    *ret = adm_end_params(&out);
    hv_assert(asprintf(&at, "%screate.", prefix) > 0);
    hv_assert(json_parse(*ret, strlen(*ret), &json_limits_request, &doc, &fault) == 0);
    r = api_record_read(record, json_doc_root(doc), at, &args, &error);
    api_record_fini(record, &args);
    return r < 0 ? bad_value(file, error) : 0;
}

static int read_device(const char *file, const struct json_value *item, const char *prefix,
                       struct desired_wanted *wanted)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    hv_autofree char *text = NULL;
    struct api_error *error = NULL;
    struct json_writer out = { 0 };
    struct json_fault fault;
    size_t at = wanted->n_devices;

    json_begin_object(&out);
    put_others(item, "create", &out);
    text = adm_end_params(&out);
    hv_assert(json_parse(text, strlen(text), &json_limits_request, &doc, &fault) == 0);
    if (api_record_read(&api_record_new_device, json_doc_root(doc), prefix, &wanted->devices[at],
                        &error) < 0)
        return bad_value(file, error);
    wanted->n_devices++;
    return read_image(file, item, prefix, &wanted->images[at]);
}

static int read_devices(const char *file, const struct json_value *value,
                        struct desired_wanted *wanted)
{
    char prefix[DESIRED_PLACE_BYTES + 32];
    int r = 0;

    if (!value)
        return 0;
    if (value->type != JSON_ARRAY)
        return desired_bad(file, "%s.devices is %s where an array is expected.", wanted->place,
                           json_type_phrase(value->type));
    wanted->has_devices = true;
    wanted->devices = calloc(value->count + 1, sizeof(*wanted->devices));
    wanted->images = calloc(value->count + 1, sizeof(*wanted->images));
    hv_assert(wanted->devices && wanted->images);
    for (const struct json_value *item = value->first; item && r == 0; item = item->next) {
        (void)snprintf(prefix, sizeof(prefix), "%s.devices[%zu].", wanted->place,
                       wanted->n_devices);
        if (item->type != JSON_OBJECT)
            return desired_bad(file, "%s.devices[%zu] is %s where an object is expected.",
                               wanted->place, wanted->n_devices, json_type_phrase(item->type));
        r = read_device(file, item, prefix, wanted);
    }
    return r;
}

static int read_state(const char *file, const struct json_value *value,
                      struct desired_wanted *wanted)
{
    if (!value)
        return 0;
    wanted->has_state = true;
    wanted->is_on = json_is_text(value, "running");
    if (wanted->is_on || json_is_text(value, "off"))
        return 0;
    return desired_bad(file, "%s.state is \"running\" or \"off\".", wanted->place);
}

int desired_read(const char *file, const struct json_value *value, struct desired_wanted *wanted)
{
    static const char *const keys[] = { "name", "settings", "devices", "state", NULL };
    int r = desired_check_keys(file, value, wanted->place, keys,
                               "a VM has name, settings, devices and state");

    r = r ? r : desired_read_name(file, value, wanted->place, &wanted->name);
    r = r ? r : read_settings(file, json_get(value, "settings"), wanted);
    r = r ? r : read_devices(file, json_get(value, "devices"), wanted);
    return r ? r : read_state(file, json_get(value, "state"), wanted);
}
