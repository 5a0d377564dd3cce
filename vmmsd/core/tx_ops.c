/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of a transaction, read; what they say of each other's results put in its place. */
#include "vmmsd/core/tx_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>

static const struct {
    enum api_method method;
    enum vmms_tx_kind kind;
} kinds[] = {
    { API_METHOD_IMAGE_CREATE, VMMS_TX_WORKS },
    { API_METHOD_IMAGE_CONVERT, VMMS_TX_WORKS },
    { API_METHOD_IMAGE_RESIZE, VMMS_TX_WORKS },
    { API_METHOD_VM_CREATE, VMMS_TX_CONFIGURES },
    { API_METHOD_VM_CONFIGURE, VMMS_TX_CONFIGURES },
    { API_METHOD_VM_DELETE, VMMS_TX_CONFIGURES },
    { API_METHOD_VM_ADD_DEVICE, VMMS_TX_CONFIGURES },
    { API_METHOD_VM_MODIFY_DEVICE, VMMS_TX_CONFIGURES },
    { API_METHOD_VM_REMOVE_DEVICE, VMMS_TX_CONFIGURES },
    { API_METHOD_GROUP_CREATE, VMMS_TX_CONFIGURES },
    { API_METHOD_GROUP_CONFIGURE, VMMS_TX_CONFIGURES },
    { API_METHOD_GROUP_DELETE, VMMS_TX_CONFIGURES },
    { API_METHOD_GROUP_ADD_MEMBER, VMMS_TX_CONFIGURES },
    { API_METHOD_GROUP_REMOVE_MEMBER, VMMS_TX_CONFIGURES },
    { API_METHOD_VM_START, VMMS_TX_LAST },
    { API_METHOD_VM_TURN_OFF, VMMS_TX_LAST },
    { API_METHOD_VM_PAUSE, VMMS_TX_LAST },
    { API_METHOD_VM_RESUME, VMMS_TX_LAST },
    { API_METHOD_VM_RESET, VMMS_TX_LAST },
    { API_METHOD_VM_SAVE, VMMS_TX_LAST },
    { API_METHOD_VM_DISCARD_SAVED_STATE, VMMS_TX_LAST },
    { API_METHOD_GUEST_SHUTDOWN, VMMS_TX_LAST },
    { API_METHOD_GUEST_REBOOT, VMMS_TX_LAST },
};

/* What cannot be taken back, or has no place among others: why, and what to do instead. */
static const struct {
    enum api_method method;
    const char *why, *instead;
} refusals[] = {
    { API_METHOD_IMAGE_COMPACT,
      "it moves blocks about in the file and gives space back, which cannot be taken back",
      "Compact the image with a call of its own, before or after the transaction." },
    { API_METHOD_IMAGE_MERGE,
      "it writes over what the ancestor held and removes the images merged, which cannot be taken "
      "back",
      "Merge with a call of its own, then make the transaction." },
    { API_METHOD_IMAGE_SET_PARENT,
      "which parent an image named before is not kept, so it cannot be taken back",
      "Set the parent with a call of its own, before the transaction." },
    { API_METHOD_IMAGE_VALIDATE, "it changes nothing, and what it finds stops nothing",
      "Check the image first, and make the transaction when it is found good." },
    { API_METHOD_GUEST_COPY_FILES, "what a guest was given cannot be taken from it again",
      "Copy the file with a call of its own, when the transaction is done." },
    { API_METHOD_TX_APPLY, "there are no transactions within transactions",
      "Put its calls among those of the outer one." },
};

enum vmms_tx_kind vmms_tx_kind(enum api_method method)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(kinds); i++) {
        if (kinds[i].method == method)
            return kinds[i].kind;
    }
    return VMMS_TX_NOT;
}

enum api_method vmms_tx_method(const char *name)
{
    size_t method = 0;

    while (method < API_METHOD_COUNT && strcmp(api_methods[method].name, name) != 0)
        method++;
    return (enum api_method)method;
}

const char *vmms_tx_text(const struct api_request *request, const char *name)
{
    const struct api_field *field = api_record_find(api_methods[request->method].args, name, NULL);
    char *text = NULL;

    if (field)
        memcpy(&text, (const char *)&request->args + field->offset, sizeof(text));
    return text;
}

const char *vmms_tx_vm_ref(const struct api_request *request)
{
    return vmms_tx_text(request, "vm");
}

/* What a call may bring. */
static const struct {
    const char *name;
    size_t offset; /* of its text in the result */
} brought[] = {
    { "vm", offsetof(struct api_tx_result, vm) },
    { "device", offsetof(struct api_tx_result, device) },
    { "path", offsetof(struct api_tx_result, path) },
    { "group", offsetof(struct api_tx_result, group) },
};

/* "$12.vm", "$0.device": returns false where the text is none. */
static bool read_reference(const char *text, size_t *ret_index, size_t *ret_what)
{
    unsigned index;
    int end = 0;

    if (text[0] != '$' || sscanf(text, "$%3u.%n", &index, &end) != 1 || !end)
        return false;
    *ret_index = index;
    for (size_t i = 0; i < HV_ARRAY_SIZE(brought); i++) {
        *ret_what = i;
        if (strcmp(text + end, brought[i].name) == 0)
            return true;
    }
    return false;
}

static const char *resolve(const struct vmms_tx_known *known, const char *text,
                           struct api_error **reterr)
{
    const struct api_tx_result *result;
    size_t index, what;
    char *id;

    if (!read_reference(text, &index, &what))
        return text;
    if (index >= known->count) {
        api_error_set(reterr, API_E_INVALID_PARAMETER, "tx.reference", "ops",
                      "%s stands for the result of a call that does not come before it.", text);
        return NULL;
    }
    result = &known->results[index];
    memcpy(&id, (const char *)result + brought[what].offset, sizeof(id));
    if (!id)
        api_error_set(reterr, API_E_INVALID_PARAMETER, "tx.reference", "ops",
                      "%s: call %zu (%s) brings no %s.", text, index, result->method,
                      brought[what].name);
    return id;
}

/* params is one object of plain values, or with objects in it; depth is bounded by the reader. */
static void put_resolved(const struct vmms_tx_known *known, const struct json_value *value,
                         struct json_writer *out, struct api_error **reterr)
{
    const char *text;

    switch (value->type) {
    case JSON_STRING:
        text = resolve(known, value->text, reterr);
        json_put_string(out, text ? text : "");
        break;
    case JSON_OBJECT:
        json_begin_object(out);
        for (const struct json_value *m = value->first; m; m = m->next) {
            json_key(out, m->key);
            put_resolved(known, m, out, reterr);
        }
        json_end_object(out);
        break;
    case JSON_ARRAY:
        json_begin_array(out);
        for (const struct json_value *m = value->first; m; m = m->next)
            put_resolved(known, m, out, reterr);
        json_end_array(out);
        break;
    default: json_put_value(out, value); break;
    }
}

static int check_form(const struct json_value *op, struct api_error **reterr)
{
    const struct json_value *method = json_get(op, "method"), *params = json_get(op, "params");

    if (op->type != JSON_OBJECT || !method || method->type != JSON_STRING)
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "tx.op", "ops",
                             "Each of ops is an object {method, params}.");
    for (const struct json_value *m = op->first; m; m = m->next) {
        if (strcmp(m->key, "method") != 0 && strcmp(m->key, "params") != 0)
            return api_error_set(reterr, API_E_INVALID_PARAMETER, "tx.op", "ops",
                                 "Each of ops has method and params; \"%.60s\" is unknown.",
                                 m->key);
    }
    if (json_get(params, "plan") || json_get(params, "plan_id"))
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "tx.op", "ops",
                             "plan and plan_id belong to the transaction, not to its calls.");
    return 0;
}

static int read_resolved(const struct vmms_tx_known *known, const struct json_value *op,
                         struct api_request *ret, struct api_error **reterr)
{
    static const struct json_value nothing = { .type = JSON_OBJECT };
    const struct json_value *params = json_get(op, "params");
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct json_writer out = { 0 };
    hv_autofree char *text = NULL;
    struct json_fault fault;
    size_t length;

    put_resolved(known, params ? params : &nothing, &out, reterr);
    hv_assert(json_writer_take(&out, &text, &length) == 0);
    if (*reterr)
        return -EINVAL;
    if (json_parse(text, length, &json_limits_request, &doc, &fault) < 0)
        return api_error_set(reterr, API_E_TOO_LARGE, "tx.op", "ops",
                             "The arguments are too large: %s.", fault.text);
    return api_request_read(json_get(op, "method")->text, json_doc_root(doc), ret, reterr);
}

static int refuse(enum api_method method, struct api_error **reterr)
{
    const char *name = api_methods[method].name;
    int r;

    for (size_t i = 0; i < HV_ARRAY_SIZE(refusals); i++) {
        if (refusals[i].method != method)
            continue;
        r = api_error_set(reterr, API_E_NOT_SUPPORTED, "tx.method", "ops",
                          "%s cannot be part of a transaction: %s.", name, refusals[i].why);
        api_error_hint(*reterr, "%s", refusals[i].instead);
        return r;
    }
    return api_error_set(reterr, API_E_NOT_SUPPORTED, "tx.method", "ops",
                         "%s cannot be part of a transaction%s.", name,
                         api_methods[method].is_change ? "" : ": it changes nothing");
}

int vmms_tx_read_op(const struct vmms_tx_known *known, const struct json_value *op,
                    struct api_request *ret, struct api_error **reterr)
{
    int r = check_form(op, reterr);

    if (r == 0)
        r = read_resolved(known, op, ret, reterr);
    if (r < 0)
        return r;
    if (!api_methods[ret->method].is_job &&
        (vmms_argument_text(ret, "idempotency_key") || vmms_argument_number(ret, "deadline_ms")))
        r = api_error_set(reterr, API_E_INVALID_PARAMETER, "tx.op", "ops",
                          "idempotency_key and deadline_ms belong to the transaction, not to its "
                          "calls.");
    else if (vmms_tx_kind(ret->method) == VMMS_TX_NOT)
        r = refuse(ret->method, reterr);
    else if (known->has_last && vmms_tx_kind(ret->method) != VMMS_TX_LAST &&
             ret->method != API_METHOD_IMAGE_RESIZE)
        r = api_error_set(reterr, API_E_INVALID_PARAMETER, "tx.order", "ops",
                          "%s stands behind a call that turns a VM on or off, or resizes an image "
                          "that is there; those come last.",
                          api_methods[ret->method].name);
    if (r < 0)
        api_request_fini(ret);
    return r;
}
