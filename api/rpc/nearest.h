/* SPDX-License-Identifier: Apache-2.0 */
/* Names that were perhaps meant: edit distance with swaps, nearest first. */
#pragma once

#include <stddef.h>

enum { NEAREST_MAX = 3, NEAREST_NAME_BYTES = 100 };

struct nearest {
    /* read only */
    const char *names[NEAREST_MAX]; /* as offered, not copied */
    unsigned distances[NEAREST_MAX];
    size_t count;
    /* private */
    const char *wanted;
};

/* Begin a search for what is like `wanted` (not copied); then offer every name there is. */
void nearest_init(struct nearest *nearest, const char *wanted);
void nearest_offer(struct nearest *nearest, const char *name);
