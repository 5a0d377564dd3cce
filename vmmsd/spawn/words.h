/* SPDX-License-Identifier: Apache-2.0 */
/* Last words: what a worker wrote into its status file. Every byte is hostile. */
#pragma once

#include "vmmsd/core/core.h"

enum { VMMS_WORDS_FILE_BYTES = 4096 };

struct vmms_words {
    /* read only; any text may be NULL */
    char *state;
    char *cause;
    char *message;
    char *code;
    char *field;
    uint32_t exit_status;
};

/*
 * The newest valid words of that incarnation.
 *
 * return: 0, -ENOENT (there are none), -ENOMEM
 * spec:   schemas/worker, "The status file"
 */
int vmms_words_read(const uint8_t file[static VMMS_WORDS_FILE_BYTES], const char *incarnation,
                    struct vmms_words *ret);
void vmms_words_fini(struct vmms_words *words);

/* The error for a client out of words that name one, or NULL. */
struct api_error *vmms_words_error(const struct vmms_words *words, const char *vm_name);
