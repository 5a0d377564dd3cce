/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as sentences: a negative errno, a stable dotted code, and one sentence for a person.
 *
 * A function that can explain its failure takes `struct hv_error **reterr` last; callers may pass
 * NULL. `*reterr` must be NULL on entry and is untouched on success. The caller frees it.
 */
#pragma once

#include "hvcore/base/own.h"

struct hv_error {
    /* read only */
    int errnum;    /* positive errno */
    char *code;    /* stable, dotted: "vm.memory.reserve" */
    char *field;   /* the input at fault ("kernel.path"), or NULL */
    char *message; /* one sentence: what could not be done, to what, what would help */
};

/*
 * Store an error and return `r`, so that a caller may write `return hv_error_set(...)`.
 *
 * r: negative errno, returned unchanged; reterr: may be NULL; code: static or copied text.
 * Keeps an error that is already there (the first cause wins). Out of memory leaves *reterr NULL.
 */
int hv_error_set(struct hv_error **reterr, int r, const char *code, const char *format, ...)
    HV_PRINTF(4, 5);

/* The same, naming the input field at fault. */
int hv_error_set_field(struct hv_error **reterr, int r, const char *code, const char *field,
                       const char *format, ...) HV_PRINTF(5, 6);

/* The sentence, or strerror(-r) where there is none. Never NULL. */
const char *hv_error_message(const struct hv_error *error, int r);

struct hv_error *hv_error_free(struct hv_error *error);

static inline void hv_error_freep(struct hv_error **error)
{
    *error = hv_error_free(*error);
}
