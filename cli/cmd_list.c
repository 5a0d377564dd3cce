/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include "api/rpc/json.h"

#include <stdio.h>
#include <string.h>

struct list_options {
    const char *state;
    const char *name;
    const char *group;
    bool with_ids;
};

static const struct adm_column plain[] = { { "NAME", 24 },      { "STATE" },
                                           { "CPUS", 0, true }, { "MEMORY", 0, true },
                                           { "UP", 0, true },   { "WHY", 8 } };
static const struct adm_column with_ids[] = { { "ID" }, { "NAME", 12 }, { "STATE" } };

static void put_row(struct adm_sheet *out, const struct api_vm *vm,
                    const struct list_options *options)
{
    char cpus[16], memory[32], up[32];
    const char *why = vm->health == API_VM_HEALTH_OK ? vm->cause
                      : vm->critical                 ? "critical: its storage fails"
                                                     : "unresponsive";

    (void)snprintf(cpus, sizeof(cpus), "%u", vm->cpus);
    adm_format_bytes(vm->memory_bytes, memory, sizeof(memory));
    adm_format_duration(vm->on_time_ms, up, sizeof(up));
    if (options->with_ids)
        adm_sheet_row(out, (const char *[]){ vm->id, vm->name, adm_state_name(vm->state) });
    else
        adm_sheet_row(
            out,
            (const char *[]){
                vm->name, adm_state_name(vm->state), cpus, memory,
                vm->state == API_VM_STATE_OFF || vm->state == API_VM_STATE_SAVED ? "-" : up, why });
}

/* What the table shows, and no more: most of a long list is in what it does not. */
static void put_fields(struct json_writer *out, const struct list_options *options)
{
    static const char *const shown[] = { "name",       "state", "cpus",  "memory_bytes",
                                         "on_time_ms", "cause", "health" };
    static const char *const with_id[] = { "id", "name", "state" };
    const char *const *names = options->with_ids ? with_id : shown;
    size_t count = options->with_ids ? HV_ARRAY_SIZE(with_id) : HV_ARRAY_SIZE(shown);

    json_key(out, "fields");
    json_begin_array(out);
    for (size_t i = 0; i < count; i++)
        json_put_string(out, names[i]);
    json_end_array(out);
}

static char *list_params(const struct list_options *options, const char *after, bool is_table)
{
    struct json_writer params = { 0 };

    json_begin_object(&params);
    json_key(&params, "filter");
    json_begin_object(&params);
    if (options->name) {
        json_key(&params, "name");
        json_put_string(&params, options->name);
    }
    if (options->state) {
        json_key(&params, "state");
        json_put_string(&params, options->state);
    }
    if (options->group) {
        json_key(&params, "group");
        json_put_string(&params, options->group);
    }
    json_end_object(&params);
    if (is_table)
        put_fields(&params, options);
    if (after) {
        json_key(&params, "after");
        json_put_string(&params, after);
    }
    return adm_end_params(&params);
}

/* All pages, one table. */
static int print_all(struct adm *adm, const struct list_options *options)
{
    struct adm_sheet *out = options->with_ids ? adm_sheet_new(with_ids, HV_ARRAY_SIZE(with_ids))
                                              : adm_sheet_new(plain, HV_ARRAY_SIZE(plain));
    hv_autofree char *after = NULL;
    union api_result result;
    int r;

    do {
        r = adm_get(adm, API_METHOD_VM_LIST, list_params(options, after, true), &result);
        if (r) {
            adm_sheet_free(out);
            return r;
        }
        for (size_t i = 0; i < result.vm_list.n_vms; i++)
            put_row(out, &result.vm_list.vms[i], options);
        free(after);
        after = HV_TAKE_PTR(result.vm_list.next);
        api_vm_list_fini(&result.vm_list);
    } while (after);
    adm_sheet_print(out);
    return 0;
}

/* The pages' VMs as one answer. */
static int print_json(struct adm *adm, const struct list_options *options)
{
    HV_CLEANUP(json_writer_fini) struct json_writer out = { 0 };
    struct api_error *error = NULL;
    hv_autofree char *after = NULL, *text = NULL;
    int r = adm_connect(adm);

    json_begin_object(&out);
    json_key(&out, "vms");
    json_begin_array(&out);
    do {
        HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
        hv_autofree char *params = list_params(options, after, false);
        const struct json_value *vms, *next;

        if (r == 0 && api_client_call(adm->client, API_METHOD_VM_LIST, params, &reply, &error) < 0)
            r = adm_fail(adm, error);
        if (r)
            return r;
        vms = json_get(reply.result, "vms");
        for (const struct json_value *vm = vms ? vms->first : NULL; vm; vm = vm->next)
            json_put_value(&out, vm);
        next = json_get(reply.result, "next");
        free(after);
        after = next && next->type == JSON_STRING ? strdup(next->text) : NULL;
    } while (after);
    json_end_array(&out);
    text = adm_end_params(&out);
    (void)puts(text);
    return 0;
}

int adm_cmd_list(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "state", required_argument, NULL, 's' },
                                           { "name", required_argument, NULL, 'n' },
                                           { "group", required_argument, NULL, 'g' },
                                           { "ids", no_argument, NULL, 'i' },
                                           { 0 } };
    struct list_options options = { 0 };
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (id) {
        case 's': options.state = optarg; break;
        case 'n': options.name = optarg; break;
        case 'g': options.group = optarg; break;
        case 'i': options.with_ids = true; break;
        default: return adm_bad_option("vm list", argv);
        }
    }
    if (optind < argc)
        return adm_usage("vm list", "\"%s\" is too much; --name gives a pattern.", argv[optind]);
    return adm->is_json ? print_json(adm, &options) : print_all(adm, &options);
}
