/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Last words: the status file, two checksummed slots written in turn, so that what became of the
 * VM is known even when nobody listened (schemas/worker/README.md, reliability rule 5.5).
 */
#pragma once

#include "hvcore/base/error.h"

enum { WP_WORDS_SLOT_BYTES = 2048, WP_WORDS_HEADER_BYTES = 24, WP_WORDS_N_SLOTS = 2 };
enum { WP_WORDS_MAX_TEXT = WP_WORDS_SLOT_BYTES - WP_WORDS_HEADER_BYTES };

#define WP_WORDS_MAGIC UINT32_C(0x4c575648)

/* What is said. Strings may be NULL, which is "". */
struct wp_words {
    /* public */
    const char *incarnation;
    const char *state;
    const char *cause;
    const char *message;
    const char *code;
    const char *field;
    unsigned exit_status;
    uint64_t time_ns; /* CLOCK_REALTIME */
};

struct wp_words_file {
    /* private */
    int fd; /* not owned; -1: nothing is written */
    uint64_t sequence;
};

/* Take up a status file: continues after the higher valid sequence that it holds. */
void wp_words_open(struct wp_words_file *file, int fd);

/* Write the next slot; the other one stays as it is. A message too long for a slot is cut.
 * Returns 0 or a negative errno; the caller's VM goes on either way. */
int wp_words_write(struct wp_words_file *file, const struct wp_words *words);

/* The text of the slot that counts, and its sequence. Returns 0, -ENODATA (no valid slot),
 * or an errno of pread. */
int wp_words_read(int fd, char ret_text[static WP_WORDS_MAX_TEXT + 1], uint64_t *ret_sequence);
