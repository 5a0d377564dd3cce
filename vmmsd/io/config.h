/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files: sections, keys, values, comments; drop-ins beside the file. */
#pragma once

#include "hvcore/base/error.h"

/* One "key = value" below [section]. Returns 0, or a negative errno with *reterr: what is wrong
 * with it, as a sentence that does not name the file. */
typedef int vmms_config_fn(void *opaque, const char *section, const char *key, const char *value,
                           struct hv_error **reterr);

/*
 * Read a file, then those in the directory FILE.d whose names end in ".conf", in the order of their
 * names.
 *
 * set: called for each line; return: 0, or a negative errno with *reterr, which names file and line
 */
int vmms_config_read(const char *path, vmms_config_fn *set, void *opaque, struct hv_error **reterr);
