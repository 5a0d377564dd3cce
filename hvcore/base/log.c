/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/log.h"

#include <stdarg.h>
#include <stdio.h>

enum { LOG_TEXT_BYTES = 1024 };

void hv_log_printf(const struct hv_log *log, enum hv_log_level level, const char *fields,
                   const char *format, ...)
{
    char text[LOG_TEXT_BYTES];
    va_list args;

    if (!log || !log->write || level > log->max_level)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log->write(log->opaque, level, fields, text);
}
