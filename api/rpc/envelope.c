/* SPDX-License-Identifier: Apache-2.0 */
#include "api/rpc/envelope.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/nearest.h"
#include "api/rpc/writer.h"

#include <string.h>

static const struct api_method_info *find_method(const char *name, enum api_method *ret)
{
    for (int i = 0; i < API_METHOD_COUNT; i++) {
        if (strcmp(api_methods[i].name, name) == 0) {
            *ret = (enum api_method)i;
            return &api_methods[i];
        }
    }
    return NULL;
}

static int refuse_method(const char *name, struct api_error **reterr)
{
    struct nearest nearest;
    int r = api_error_set(reterr, API_E_METHOD_NOT_FOUND, "api.method", NULL,
                          "There is no method \"%.60s\".", name);

    nearest_init(&nearest, name);
    for (int i = 0; i < API_METHOD_COUNT; i++)
        nearest_offer(&nearest, api_methods[i].name);
    for (size_t i = 0; i < nearest.count && reterr && *reterr; i++)
        api_error_add(*reterr, &(*reterr)->data.nearest, &(*reterr)->data.n_nearest,
                      nearest.names[i]);
    if (nearest.count && reterr)
        api_error_hint(*reterr, "Perhaps %s was meant.", nearest.names[0]);
    return r;
}

void api_request_fini(struct api_request *request)
{
    api_record_fini(api_methods[request->method].args, &request->args);
}

int api_request_read(const char *method, const struct json_value *params, struct api_request *ret,
                     struct api_error **reterr)
{
    static const struct json_value nothing = { .type = JSON_OBJECT };
    const struct api_method_info *info = find_method(method, &ret->method);

    memset(&ret->args, 0, sizeof(ret->args));
    if (!info)
        return refuse_method(method, reterr);
    if (params && params->type != JSON_OBJECT)
        return api_error_set(reterr, API_E_INVALID_PARAMS, "api.params", "params",
                             "params is %s where an object with named arguments is expected.",
                             json_type_phrase(params->type));
    return api_record_read(info->args, params ? params : &nothing, NULL, &ret->args, reterr);
}

int rpc_batch_read(const char *body, size_t length, struct rpc_batch *ret,
                   struct api_error **reterr)
{
    const struct json_value *root;
    struct json_fault fault;
    int r;

    *ret = (struct rpc_batch){ 0 };
    r = json_parse(body, length, &json_limits_request, &ret->doc, &fault);
    if (r == -EBADMSG)
        return api_error_set(reterr, fault.is_limit ? API_E_TOO_LARGE : API_E_PARSE_ERROR,
                             "api.json", NULL, "The request cannot be read: at byte %zu %s.",
                             fault.offset, fault.text);
    if (r < 0)
        return r;
    root = json_doc_root(ret->doc);
    ret->is_batch = root->type == JSON_ARRAY;
    ret->first = ret->is_batch ? root->first : root;
    ret->count = ret->is_batch ? root->count : 1;
    if (!ret->count || ret->count > RPC_MAX_BATCH) {
        r = api_error_set(reterr, ret->count ? API_E_TOO_LARGE : API_E_INVALID_REQUEST, "api.batch",
                          NULL, "A batch of %zu calls was sent; allowed is 1 to %d.", ret->count,
                          RPC_MAX_BATCH);
        rpc_batch_fini(ret);
    }
    return r;
}

void rpc_batch_fini(struct rpc_batch *batch)
{
    json_doc_free(batch->doc);
    *batch = (struct rpc_batch){ 0 };
}

/* An id may be a string, a number or null (JSON-RPC 2.0 section 4); it is kept as text. */
static int read_id(const struct json_value *id, char **ret, struct api_error **reterr)
{
    struct json_writer out = { 0 };

    if (!id)
        return 0;
    if (id->type == JSON_BOOL || id->type == JSON_ARRAY || id->type == JSON_OBJECT ||
        id->length > 256)
        return api_error_set(reterr, API_E_INVALID_REQUEST, "api.id", "id",
                             "id must be a string of at most 256 bytes, a number or null.");
    json_put_value(&out, id);
    return json_writer_take(&out, ret, NULL);
}

static int check_call(const struct json_value *value, struct api_error **reterr)
{
    const struct json_value *method = json_get(value, "method");

    for (const struct json_value *m = value->first; m; m = m->next) {
        if (strcmp(m->key, "jsonrpc") != 0 && strcmp(m->key, "id") != 0 &&
            strcmp(m->key, "method") != 0 && strcmp(m->key, "params") != 0)
            return api_error_set(reterr, API_E_INVALID_REQUEST, "api.call", NULL,
                                 "A call has jsonrpc, id, method and params; \"%.60s\" is unknown.",
                                 m->key);
    }
    if (!json_is_text(json_get(value, "jsonrpc"), "2.0"))
        return api_error_set(reterr, API_E_INVALID_REQUEST, "api.call", "jsonrpc",
                             "jsonrpc must be \"2.0\".");
    if (!method || method->type != JSON_STRING)
        return api_error_set(reterr, API_E_INVALID_REQUEST, "api.call", "method",
                             "method must be a string.");
    return 0;
}

int rpc_call_read_head(const struct json_value *value, struct rpc_call *ret,
                       enum api_method *ret_method, struct api_error **reterr)
{
    int r;

    *ret = (struct rpc_call){ 0 };
    if (value->type != JSON_OBJECT)
        r = api_error_set(reterr, API_E_INVALID_REQUEST, "api.call", NULL,
                          "A call is an object, not %s.", json_type_phrase(value->type));
    else
        r = read_id(json_get(value, "id"), &ret->id, reterr);
    if (r == 0)
        r = check_call(value, reterr);
    if (r < 0) {
        /* Answered with the id where there is one, with null otherwise: not a notification. */
        if (!ret->id && r != -ENOMEM)
            ret->id = strdup("null");
        return r;
    }
    if (!find_method(json_get(value, "method")->text, ret_method))
        *ret_method = API_METHOD_COUNT;
    return 0;
}

int rpc_call_read_args(const struct json_value *value, struct rpc_call *ret,
                       struct api_error **reterr)
{
    return api_request_read(json_get(value, "method")->text, json_get(value, "params"),
                            &ret->request, reterr);
}

int rpc_call_read(const struct json_value *value, struct rpc_call *ret, struct api_error **reterr)
{
    enum api_method method;
    int r = rpc_call_read_head(value, ret, &method, reterr);

    return r < 0 ? r : rpc_call_read_args(value, ret, reterr);
}

void rpc_call_fini(struct rpc_call *call)
{
    free(call->id);
    api_request_fini(&call->request);
    *call = (struct rpc_call){ 0 };
}

static void put_head(struct json_writer *out, const char *id)
{
    json_begin_object(out);
    json_key(out, "jsonrpc");
    json_put_string(out, "2.0");
    json_key(out, "id");
    json_put_raw(out, id ? id : "null", id ? strlen(id) : 4);
}

void rpc_put_result(struct json_writer *out, const char *id, enum api_method method,
                    const union api_result *result, uint64_t fields)
{
    put_head(out, id);
    json_key(out, "result");
    api_record_write(api_methods[method].result, result, fields, out);
    json_end_object(out);
}

void rpc_put_error(struct json_writer *out, const char *id, const struct api_error *error)
{
    put_head(out, id);
    json_key(out, "error");
    api_error_write(error, out);
    json_end_object(out);
}
