/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with an image: opening stops at the first problem, a check tells them all.
 */
#pragma once

#include "vmwp/blk/image.h"

struct blk_report {
    const char *path;
    struct hv_error **reterr; /* takes the first problem */
    blk_problem_fn *fn;       /* set: a check, that goes on; it takes every problem */
    void *opaque;
    unsigned n_problems;
};

/* Tell a problem; the sentence goes on after "Image <path>: ". Returns r when opening (stop), 0 in
 * a check (go on where the damage allows). */
int blk_report_bad(struct blk_report *report, int r, const char *code, const char *format, ...)
    HV_PRINTF(4, 5);
/* The same for damage from which nothing can go on: always returns r. */
int blk_report_fatal(struct blk_report *report, int r, const char *code, const char *format, ...)
    HV_PRINTF(4, 5);
/* The same for what is tolerated when opening: told by a check only. */
void blk_report_note(struct blk_report *report, const char *code, const char *format, ...)
    HV_PRINTF(3, 4);
/* The host failed: returns r, with "can't be read" as a sentence. */
int blk_report_read(struct blk_report *report, int r, const char *what);
