/* SPDX-License-Identifier: Apache-2.0 */
/* Plans for people: what would happen, and + ~ - for what would be other than it is. */
#include "cli/adm.h"

#include "api/rpc/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct api_plan *adm_plan_of(enum api_method method, const union api_result *result)
{
    size_t index;
    const struct api_field *field = api_record_find(api_methods[method].result, "plan", &index);

    if (!field || field->record != &api_record_plan || !api_record_has(field, index, result))
        return NULL;
    return (const struct api_plan *)((const char *)result + field->offset);
}

struct api_error *adm_plan_error(const struct api_plan *plan)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct api_error *error = NULL;
    struct json_fault fault;

    if (!plan || !plan->n_errors)
        return NULL;
    if (json_parse(plan->errors[0], strlen(plan->errors[0]), &json_limits_reply, &doc, &fault) <
            0 ||
        api_error_read(json_doc_root(doc), &error) < 0)
        api_error_set(&error, API_E_FAILED, "plan.refused", NULL, "The plan is refused.");
    return error;
}

/* A device is known by its image. */
static char *value_text(const char *json)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct json_value *value;
    struct json_fault fault;

    if (!json || json_parse(json, strlen(json), &json_limits_reply, &doc, &fault) < 0)
        return strdup("default");
    value = json_doc_root(doc);
    if (value->type == JSON_OBJECT)
        value = json_get(value, "path");
    if (!value)
        return strdup("");
    return value->type == JSON_STRING ? strdup(value->text) : strdup(json);
}

void adm_put_diff(struct adm_sheet *out, const struct api_plan_diff *diff)
{
    hv_autofree char *from = value_text(diff->from), *to = value_text(diff->to);
    const char *when = diff->when_off ? " (when off)" : "";

    hv_assert(from && to);
    if (!diff->from)
        adm_put_pair(out, "  +", "%s = %s%s", diff->field, to, when);
    else if (!diff->to)
        adm_put_pair(out, "  -", "%s = %s%s", diff->field, from, when);
    else
        adm_put_pair(out, "  ~", "%s: %s -> %s%s", diff->field, from, to, when);
}

static void print_file(struct adm_sheet *out, const struct api_plan_file *file)
{
    static const char *const words[] = { [API_PLAN_CHANGE_CREATED] = "creates",
                                         [API_PLAN_CHANGE_CHANGED] = "changes",
                                         [API_PLAN_CHANGE_MERGED] = "removes",
                                         [API_PLAN_CHANGE_REMOVED] = "removes" };

    adm_put_pair(out, words[file->change], "%s", file->path);
}

void adm_print_plan(const struct api_plan *plan)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    char text[32];

    if (!plan->n_steps)
        (void)puts("Nothing would be done.");
    for (size_t i = 0; i < plan->n_steps; i++)
        adm_put_pair(out, i == 0 ? "would" : "then", "%s", plan->steps[i].what);
    for (size_t i = 0; i < plan->n_diff; i++)
        adm_put_diff(out, &plan->diff[i]);
    for (size_t i = 0; i < plan->n_files; i++)
        print_file(out, &plan->files[i]);
    adm_format_bytes(plan->space_needed, text, sizeof(text));
    if (plan->space_needed)
        adm_put_pair(out, "needs", "%s", text);
    if (strcmp(plan->verdict, "needs_restart") == 0)
        adm_put_pair(out, "verdict", "what is marked so waits until the VM is off");
    if (plan->n_steps && *plan->plan_id)
        adm_put_pair(out, "plan", "%s", plan->plan_id);
    adm_sheet_print(out);
}
