/* SPDX-License-Identifier: Apache-2.0 */
/* Where the service's log goes: to the journal with its fields when stderr is the journal's, else
 * to stderr as lines. */
#pragma once

#include "hvcore/base/log.h"

/* Fill in a sink. It has no state of its own to free. */
void vmms_logger_init(struct hv_log *log, enum hv_log_level max_level);
