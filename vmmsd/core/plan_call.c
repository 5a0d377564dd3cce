/* SPDX-License-Identifier: Apache-2.0 */
/* tx.plan: a call given as a method's name and arguments is planned in its place. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"

#include <string.h>

/* JSON that may have come as a text that holds JSON: D-Bus has nothing else. */
int vmms_json_argument(const char *text, const char *field, struct json_doc **ret,
                       struct api_error **reterr)
{
    struct json_doc *doc = NULL, *inner = NULL;
    const struct json_value *root;
    struct json_fault fault;
    int r = json_parse(text, strlen(text), &json_limits_request, &doc, &fault);

    if (r < 0)
        return r;
    root = json_doc_root(doc);
    if (root->type != JSON_STRING) {
        *ret = doc;
        return 0;
    }
    r = json_parse(root->text, root->length, &json_limits_request, &inner, &fault);
    json_doc_free(doc);
    if (r == -EBADMSG)
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "api.json", field,
                             "%s cannot be read as JSON: at byte %zu %s.", field, fault.offset,
                             fault.text);
    *ret = inner;
    return r;
}

static void set_plan(struct api_request *request)
{
    const struct api_field *field =
        api_record_find(api_methods[request->method].args, "plan", NULL);
    bool yes = true;

    memcpy((char *)&request->args + field->offset, &yes, sizeof(yes));
}

static int read_inner(const struct api_tx_plan_args *args, struct api_request *ret,
                      struct api_error **reterr)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    int r = vmms_json_argument(args->params, "params", &doc, reterr);

    if (r == 0)
        r = api_request_read(args->method, json_doc_root(doc), ret, reterr);
    if (r == 0 && !api_methods[ret->method].is_change) {
        api_request_fini(ret);
        r = api_error_set(reterr, API_E_INVALID_PARAMETER, "plan.no_change", "method",
                          "%.64s changes nothing: there is nothing to plan.", args->method);
    }
    return r;
}

/* Arguments that no call could have are the plan's error, and all of it. */
static void reply_bad(struct vmms_core *core, struct vmms_call *call, struct api_error *error)
{
    struct vmms_effect *effect = vmms_reply(core, call);
    union api_result result = { 0 };

    vmms_plan_refuse(&result.changed.plan, error);
    api_error_set_text(&result.changed.plan.plan_id, "");
    effect->method = API_METHOD_TX_PLAN;
    vmms_plan_document(API_METHOD_VM_CREATE, &result, &effect->result.plan_document);
    api_changed_fini(&result.changed);
    api_error_free(error);
}

void vmms_plan_call(struct vmms_core *core, struct vmms_call *call)
{
    struct api_request inner = { 0 };
    struct api_error *error = NULL;
    int r = read_inner(&call->request.args.tx_plan, &inner, &error);

    if (r < 0 && error && error->data.field && error->code != API_E_METHOD_NOT_FOUND &&
        strcmp(error->data.field, "method") != 0 && strcmp(error->data.field, "params") != 0) {
        reply_bad(core, call, error);
        return;
    }
    if (r < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    api_request_fini(&call->request);
    call->request = inner;
    call->is_planned = true;
    set_plan(&call->request);
    vmms_handle_call(core, call);
}
