/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's definition as it is stored: schemas/config. Pure. */
#pragma once

#include "api/gen/types.h"

struct api_error;

/* Returns 0 or -ENOMEM; the text belongs to the caller. */
int vmms_definition_write(const struct api_settings *settings, char **ret);

/* Returns 0, -EINVAL with *reterr (damaged, or of a version that is not known), -ENOMEM. */
int vmms_definition_read(const char *text, struct api_settings *ret, struct api_error **reterr);
