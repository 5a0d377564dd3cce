/* SPDX-License-Identifier: Apache-2.0 */
/* Which words there are for a place: of the schema, of the service. What cannot be had is not told.
 */
#include "cli/complete.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool get(const struct complete *typed, enum api_method method, char *params,
                union api_result *ret)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
    hv_autofree char *text = params;
    struct adm *adm = typed->adm;

    if (!adm->client && api_client_open(adm->address, &adm->client, &error) < 0)
        return false;
    return api_client_get(adm->client, method, text, ret, &error) >= 0;
}

/* One that begins with a dash is understood behind "--" only. */
static void offer_name(const struct complete *typed, const char *name)
{
    if (*name != '-' || typed->is_past_options)
        complete_offer(typed, typed->before, name);
}

/* VMs and groups: by their ids where one begins to type such */

static bool may_be_id(const struct complete *typed)
{
    const char *text = typed->current + strlen(typed->before);

    return isxdigit((unsigned char)*text) &&
           strspn(text, "0123456789abcdefABCDEF-") == strlen(text);
}

static void offer_object(const struct complete *typed, const char *name, const char *id)
{
    offer_name(typed, name);
    if (may_be_id(typed))
        complete_offer(typed, typed->before, id);
}

static void offer_vms(const struct complete *typed)
{
    hv_autofree char *after = NULL;
    union api_result result;

    while (get(typed, API_METHOD_VM_LIST, adm_page_params(NULL, after), &result)) {
        for (size_t i = 0; i < result.vm_list.n_vms; i++)
            offer_object(typed, result.vm_list.vms[i].name, result.vm_list.vms[i].id);
        free(after);
        after = HV_TAKE_PTR(result.vm_list.next);
        api_vm_list_fini(&result.vm_list);
        if (!after)
            return;
    }
}

static void offer_groups(const struct complete *typed)
{
    hv_autofree char *after = NULL;
    union api_result result;

    while (get(typed, API_METHOD_GROUP_LIST, adm_page_params(NULL, after), &result)) {
        for (size_t i = 0; i < result.group_list.n_groups; i++)
            offer_object(typed, result.group_list.groups[i].name, result.group_list.groups[i].id);
        free(after);
        after = HV_TAKE_PTR(result.group_list.next);
        api_group_list_fini(&result.group_list);
        if (!after)
            return;
    }
}

static void offer_jobs(const struct complete *typed)
{
    bool is_ended_wanted = typed->command && strcmp(typed->command->verb, "show") == 0;
    union api_result result;
    char text[24];

    if (!get(typed, API_METHOD_JOB_LIST,
             strdup(is_ended_wanted ? "{}" : "{\"filter\":{\"active\":true}}"), &result))
        return;
    for (size_t i = 0; i < result.job_list.n_jobs; i++) {
        (void)snprintf(text, sizeof(text), "%" PRIu64, result.job_list.jobs[i].id);
        complete_offer(typed, typed->before, text);
    }
    api_job_list_fini(&result.job_list);
}

/* Not through a bus, where that may ask for a password. */
static void offer_identities(const struct complete *typed)
{
    union api_result result;

    if (strncmp(typed->adm->address, "dbus:", 5) == 0 ||
        !get(typed, API_METHOD_REMOTE_LIST, NULL, &result))
        return;
    for (size_t i = 0; i < result.remote_list.n_identities; i++)
        offer_name(typed, result.remote_list.identities[i].name);
    api_remote_list_fini(&result.remote_list);
}

/* Of the VM that was named, as CONTROLLER:LUN. */
static void offer_devices(const struct complete *typed)
{
    struct json_writer params = { 0 };
    union api_result result;
    char text[32];

    if (typed->n_operands < 3)
        return;
    json_begin_object(&params);
    json_key(&params, "vm");
    json_put_string(&params, typed->operands[2]);
    if (!get(typed, API_METHOD_VM_GET, adm_end_params(&params), &result))
        return;
    for (size_t i = 0; i < result.vm.n_devices; i++) {
        const struct api_device *device = &result.vm.devices[i];

        (void)snprintf(text, sizeof(text), "%" PRIu32 ":%" PRIu32, device->controller, device->lun);
        if (device->kind != API_DEVICE_KIND_SCSI)
            complete_offer(typed, typed->before, text);
    }
    api_vm_fini(&result.vm);
}

/* Words that are known here */

static void offer_files(const struct complete *typed)
{
    (void)puts(":files");
}

static void offer_enum(const struct complete *typed, const char *before,
                       const struct api_enum *enumeration)
{
    for (size_t i = 0; i < enumeration->n_values; i++)
        complete_offer(typed, before, enumeration->values[i]);
}

static void offer_value(const struct complete *typed)
{
    const char *equals = strchr(typed->current + strlen(typed->before), '=');
    hv_autofree char *before = strndup(typed->current, (size_t)(equals + 1 - typed->current));
    const struct api_field *field;

    hv_assert(before);
    before[strlen(before) - 1] = '\0';
    field = api_record_find(&api_record_settings, before + strlen(typed->before), NULL);
    before[strlen(before)] = '=';
    if (field && field->kind == API_KIND_ENUM)
        offer_enum(typed, before, field->enumeration);
    else if (field && field->is_file)
        offer_files(typed);
    else if (field && field->kind == API_KIND_BOOL) {
        complete_offer(typed, before, "true");
        complete_offer(typed, before, "false");
    }
}

static void offer_setting(const struct complete *typed, const char *after)
{
    char text[128];

    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        (void)snprintf(text, sizeof(text), "%s%s", api_record_settings.fields[i].name, after);
        complete_offer(typed, typed->before, text);
    }
}

static void offer_assignments(const struct complete *typed)
{
    if (strchr(typed->current + strlen(typed->before), '='))
        offer_value(typed);
    else
        offer_setting(typed, "=");
}

static void offer_settings(const struct complete *typed)
{
    offer_setting(typed, "");
}

static void offer_pages(const struct complete *typed)
{
    for (size_t i = 0; i < api_page_count; i++)
        complete_offer(typed, typed->before, api_pages[i].name);
}

static void offer_goals(const struct complete *typed)
{
    const char *name;

    for (size_t i = 0; (name = adm_wait_goal(i)); i++)
        complete_offer(typed, typed->before, name);
}

static void offer_orders(const struct complete *typed)
{
    const char *name;

    for (size_t i = 0; (name = adm_top_order(i)); i++)
        complete_offer(typed, typed->before, name);
}

static void offer_addresses(const struct complete *typed)
{
    static const char *const forms[] = { "unix:", "dbus:system", "dbus:session", "https://" };

    for (size_t i = 0; i < HV_ARRAY_SIZE(forms); i++)
        complete_offer(typed, typed->before, forms[i]);
}

/* What help calls it, in a noun's verbs or (NULL) everywhere. */
static const struct place {
    const char *name;
    const char *noun;
    void (*offer)(const struct complete *typed);
    const struct api_enum *words; /* where offer is NULL */
} places[] = {
    { "VM", NULL, offer_vms },
    { "GROUP", NULL, offer_groups },
    { "G", NULL, offer_groups },
    { "JOB", NULL, offer_jobs },
    { "FILE", NULL, offer_files },
    { "ANCESTOR", NULL, offer_files },
    { "NEW", "vhd", offer_files },
    { "NAME", "remote", offer_identities },
    { "NAME", "api", offer_pages },
    { "C:L", NULL, offer_devices },
    { "KEY=VALUE", "vm", offer_assignments },
    { "KEY", "vm", offer_settings },
    { "KEY", "top", offer_orders },
    { "WHAT", NULL, offer_goals },
    { "ADDRESS", NULL, offer_addresses },
    { "STATE", "vm", NULL, &api_enum_vm_state },
    { "STATE", "job", NULL, &api_enum_job_state },
    { "TYPE", "vhd", NULL, &api_enum_image_type },
    { "MODE", "vhd", NULL, &api_enum_compact_mode },
    { "F", NULL, NULL, &api_enum_image_format },
    { "ROLE", NULL, NULL, &api_enum_remote_role },
    { "B", "vm", NULL, &api_enum_backend_choice },
    { "WHEN", "vm", NULL, &api_enum_auto_start },
};

static bool is_known(struct complete *typed, const char *name)
{
    for (size_t i = 0; i < typed->n_places; i++) {
        if (typed->places[i] == name)
            return true;
    }
    if (typed->n_places < COMPLETE_MAX_PLACES)
        typed->places[typed->n_places++] = name;
    return false;
}

void complete_offer_place(struct complete *typed, const char *place, size_t length)
{
    const char *noun = typed->command ? typed->command->noun : "";

    /* "name=NEW": what is typed as it stands ends at the sign. */
    if (islower((unsigned char)*place)) {
        const char *equals = memchr(place, '=', length);
        hv_autofree char *word = strndup(place, equals ? (size_t)(equals + 1 - place) : length);

        hv_assert(word);
        complete_offer(typed, typed->before, word);
        return;
    }
    for (size_t i = 0; i < HV_ARRAY_SIZE(places); i++) {
        const struct place *one = &places[i];

        if (strlen(one->name) != length || strncmp(one->name, place, length) != 0 ||
            (one->noun && strcmp(one->noun, noun) != 0) || is_known(typed, one->name))
            continue;
        if (one->offer)
            one->offer(typed);
        else
            offer_enum(typed, typed->before, one->words);
    }
}
