/* SPDX-License-Identifier: Apache-2.0 */
/* The definition's lists, read apart from its plain fields. */
#pragma once

#include "vmwp/worker/definition.h"

struct json_object;

/* Each gets the value that stands under its name. Returns 0, -EINVAL with *reterr, -ENOMEM. */
int wp_definition_read_services(struct json_object *value, struct wp_definition *definition,
                                struct hv_error **reterr);
int wp_definition_read_controllers(struct json_object *value, struct wp_definition *definition,
                                   struct hv_error **reterr);
int wp_definition_read_disks(struct json_object *value, struct wp_definition *definition,
                             struct hv_error **reterr);
/* What no list can see by itself: places without a controller, descriptors that stand twice. */
int wp_definition_check_disks(const struct wp_definition *definition, struct hv_error **reterr);
