/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs for several VMs: those that are named, or all of a group, which get a line each. */
#include "cli/adm.h"

#include <stdio.h>
#include <string.h>

void adm_targets_fini(struct adm_targets *targets)
{
    for (size_t i = 0; i < targets->count; i++) {
        free(targets->refs[i]);
        free(targets->names[i]);
    }
    free(targets->refs);
    free(targets->names);
    *targets = (struct adm_targets){ 0 };
}

static void add(struct adm_targets *targets, const char *ref, const char *name)
{
    targets->refs = reallocarray(targets->refs, targets->count + 1, sizeof(char *));
    targets->names = reallocarray(targets->names, targets->count + 1, sizeof(char *));
    hv_assert(targets->refs && targets->names);
    targets->refs[targets->count] = strdup(ref);
    targets->names[targets->count] = strdup(name);
    hv_assert(targets->refs[targets->count] && targets->names[targets->count]);
    targets->count++;
}

char *adm_page_params(const char *group, const char *after)
{
    struct json_writer params = { 0 };

    json_begin_object(&params);
    if (group) {
        json_key(&params, "filter");
        json_begin_object(&params);
        json_key(&params, "group");
        json_put_string(&params, group);
        json_end_object(&params);
    }
    json_key(&params, "fields");
    json_begin_array(&params);
    json_put_string(&params, "id");
    json_put_string(&params, "name");
    json_end_array(&params);
    if (after) {
        json_key(&params, "after");
        json_put_string(&params, after);
    }
    return adm_end_params(&params);
}

static int add_group(struct adm *adm, const char *group, struct adm_targets *targets)
{
    hv_autofree char *after = NULL;
    union api_result result;
    int r;

    targets->is_group = true;
    do {
        r = adm_get(adm, API_METHOD_VM_LIST, adm_page_params(group, after), &result);
        if (r)
            return r;
        for (size_t i = 0; i < result.vm_list.n_vms; i++)
            add(targets, result.vm_list.vms[i].id, result.vm_list.vms[i].name);
        free(after);
        after = HV_TAKE_PTR(result.vm_list.next);
        api_vm_list_fini(&result.vm_list);
    } while (after);
    return 0;
}

int adm_read_targets(struct adm *adm, const char *verb, const char *group, int argc, char **argv,
                     struct adm_targets *ret)
{
    if (group && argc)
        return adm_usage("vm", "%s: --group and \"%s\" exclude each other.", verb, argv[0]);
    if (adm->key && (group || argc > 1))
        return adm_usage("vm", "%s: --idempotency-key is for one VM: give each a key of its own.",
                         verb);
    if (group)
        return add_group(adm, group, ret);
    if (!argc)
        return adm_usage("vm", "%s which VM?", verb);
    for (int i = 0; i < argc; i++)
        add(ret, argv[i], argv[i]);
    return 0;
}

static int names_width(const struct adm_targets *targets)
{
    int most = 0;

    for (size_t i = 0; i < targets->count; i++) {
        hv_autofree char *clean = adm_clean(targets->names[i]);
        int width = adm_text_width(clean);

        most = width > most ? width : most;
    }
    return most;
}

/* A line about one VM, whatever becomes of it. */
static int call_told(struct adm *adm, enum api_method method, const char *params,
                     const struct adm_targets *targets, size_t at)
{
    hv_autofree char *name = adm_clean(targets->names[at]), *clean = NULL;
    HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
    union api_result result = { 0 };
    hv_autofree char *text = NULL;
    int status = 0;

    if (api_client_get(adm->client, method, params, &result, &error) < 0) {
        status = error ? api_error_info((int)error->code)->exit_status : 1;
        hv_assert(asprintf(&text, "failed: %s", error ? error->message : "out of memory") > 0);
    } else {
        hv_assert(asprintf(&text, "%s%s", adm_state_name(result.changed.vm.state),
                           result.changed.already ? " already" : "") > 0);
        api_changed_fini(&result.changed);
    }
    clean = adm_clean(text);
    adm_print_cell(name, names_width(targets), false, false);
    adm_print_wrapped(clean, names_width(targets) + 2, adm_output_width());
    (void)putchar('\n');
    (void)fflush(stdout);
    return status;
}

int adm_call_target(struct adm *adm, enum api_method method, char *params,
                    const struct adm_targets *targets, size_t at)
{
    int r;

    if (!targets->is_group || adm->is_json || adm->is_plan)
        return adm_call(adm, method, params, NULL);
    r = call_told(adm, method, params, targets, at);
    free(params);
    return r;
}
