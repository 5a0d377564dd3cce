/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/blk/report_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void tell(struct blk_report *report, int r, const char *code, const char *format,
                 va_list args)
{
    hv_autofree char *text = NULL, *sentence = NULL;

    report->n_problems++;
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    if (!report->fn) {
        hv_error_set(report->reterr, r, code, "Image %s: %s", report->path, text ? text : code);
        return;
    }
    if (asprintf(&sentence, "Image %s: %s", report->path, text ? text : code) < 0)
        sentence = NULL;
    report->fn(report->opaque, code, sentence ? sentence : code);
}

int blk_report_bad(struct blk_report *report, int r, const char *code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(report, r, code, format, args);
    va_end(args);
    return report->fn ? 0 : r;
}

int blk_report_fatal(struct blk_report *report, int r, const char *code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(report, r, code, format, args);
    va_end(args);
    return r;
}

void blk_report_note(struct blk_report *report, const char *code, const char *format, ...)
{
    va_list args;

    if (!report->fn)
        return;
    va_start(args, format);
    tell(report, 0, code, format, args);
    va_end(args);
}

int blk_report_read(struct blk_report *report, int r, const char *what)
{
    return hv_error_set(report->reterr, r, "image.file.read", "Image %s: %s can't be read (%s).",
                        report->path, what, strerror(-r));
}
