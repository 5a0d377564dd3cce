/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sink for log records, passed in, never global. Libraries log at debug only.
 *
 * The sink may be called from any thread. A record is one plain sentence without a newline;
 * `fields` is NULL or "KEY=value\n..." in journal form.
 */
#pragma once

#include "hvcore/base/own.h"

enum hv_log_level { HV_LOG_ERROR = 3, HV_LOG_WARNING = 4, HV_LOG_INFO = 6, HV_LOG_DEBUG = 7 };

struct hv_log {
    /* public */
    void (*write)(void *opaque, enum hv_log_level level, const char *fields, const char *text);
    void *opaque;
    enum hv_log_level max_level;
};

/* Format and hand on; does nothing when log is NULL or the level is above max_level. */
void hv_log_printf(const struct hv_log *log, enum hv_log_level level, const char *fields,
                   const char *format, ...) HV_PRINTF(4, 5);
