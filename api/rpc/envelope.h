/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON-RPC 2.0: from a body's text to checked calls, and from results to the text of an answer.
 * Pure functions: no socket, no state.
 */
#pragma once

#include "api/gen/types.h"

#include <stddef.h>

struct api_error;
struct json_doc;
struct json_value;
struct json_writer;

enum { RPC_MAX_BODY_BYTES = 1 << 20, RPC_MAX_BATCH = 50 };

/* A checked call, independent of the transport that brought it. */
struct api_request {
    /* public */
    enum api_method method;
    union api_args args;
};

void api_request_fini(struct api_request *request);

/* By the method's name and its arguments (NULL: none). Returns 0, -EINVAL with *reterr, -ENOMEM. */
int api_request_read(const char *method, const struct json_value *params, struct api_request *ret,
                     struct api_error **reterr);

struct rpc_batch {
    /* read only */
    struct json_doc *doc;
    const struct json_value *first; /* the calls, linked by next when is_batch */
    size_t count;
    bool is_batch;
};

/* Read a body. Returns 0, -EINVAL with *reterr (the whole answer is that error), -ENOMEM. */
int rpc_batch_read(const char *body, size_t length, struct rpc_batch *ret,
                   struct api_error **reterr);
void rpc_batch_fini(struct rpc_batch *batch);

struct rpc_call {
    /* read only */
    char *id; /* as JSON text; NULL: a notification, which gets no answer */
    struct api_request request;
};

/* The same in two steps, for those who decide in between, before any argument is looked at.
 * ret_method: API_METHOD_COUNT when there is none of that name, which the second step says. */
int rpc_call_read_head(const struct json_value *value, struct rpc_call *ret,
                       enum api_method *ret_method, struct api_error **reterr);
int rpc_call_read_args(const struct json_value *value, struct rpc_call *ret,
                       struct api_error **reterr);

/* Read one call. ret->id is set in any case where the call has a usable one. Returns as above. */
int rpc_call_read(const struct json_value *value, struct rpc_call *ret, struct api_error **reterr);
void rpc_call_fini(struct rpc_call *call);

/* One answer: to a call whose id is given as JSON text, NULL for null. */
void rpc_put_result(struct json_writer *out, const char *id, enum api_method method,
                    const union api_result *result, uint64_t fields);
void rpc_put_error(struct json_writer *out, const char *id, const struct api_error *error);
