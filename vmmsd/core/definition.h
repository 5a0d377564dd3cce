/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's definition as it is stored: schemas/config. Pure. */
#pragma once

#include "api/gen/types.h"

struct api_error;

/* Returns 0 or -ENOMEM; the text belongs to the caller. */
int vmms_definition_write(const struct api_settings *settings, char **ret);

/* Returns 0, -EINVAL with *reterr (damaged, or of a version that is not known), -ENOMEM. */
int vmms_definition_read(const char *text, struct api_settings *ret, struct api_error **reterr);

/* What waits for a VM to be off, as stored: *ret NULL where nothing does. Returns 0 or -ENOMEM. */
int vmms_staged_write(const struct api_pending_config *staged, char **ret);
/* text NULL: nothing waits. Returns as vmms_definition_read. */
int vmms_staged_read(const char *text, struct api_pending_config *ret, struct api_error **reterr);
