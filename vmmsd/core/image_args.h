/* SPDX-License-Identifier: Apache-2.0 */
/* What can be said of an image call by its arguments alone. Pure. */
#pragma once

#include "api/rpc/envelope.h"
#include "api/rpc/error.h"

/* By the file's name. field: the argument that would say it. Returns 0, or -EINVAL with *reterr. */
int vmms_image_format_of(const char *path, const char *field, enum api_image_format *ret,
                         struct api_error **reterr);

/* As create and convert mean it when they do not say it. */
enum api_image_type vmms_image_type_of(const struct api_image_create_args *args,
                                       enum api_image_format format);

/* Is the call of an image method sensible? Others always are. Returns 0, or -EINVAL with *reterr.
 */
int vmms_image_check_args(const struct api_request *request, struct api_error **reterr);
