/* SPDX-License-Identifier: Apache-2.0 */
/* Plans, for those who answer some of them in the core's place. */
#pragma once

#include "api/gen/types.h"
#include "api/rpc/envelope.h"
#include "api/rpc/error.h"

/* Does the call only want to know what would happen? */
bool vmms_wants_plan(const struct api_request *request);

/*
 * Complete a plan that was made elsewhere by what the core knows of it.
 *
 * base: from the effect SERVE, taken
 * error: what the call would be answered with, taken; NULL: it would go well
 */
void vmms_plan_complete(enum api_method method, struct api_plan *base, union api_result *result,
                        struct api_error *error);

/* The answer to tx.plan out of the answer to the call that it was about. */
void vmms_plan_document(enum api_method method, const union api_result *from,
                        struct api_plan_document *ret);
