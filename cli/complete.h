/* SPDX-License-Identifier: Apache-2.0 */
/* What was typed so far (complete.c), for who knows words for its next place (complete_words.c). */
#pragma once

#include "cli/adm.h"

enum { COMPLETE_MAX_PLACES = 8 };

struct complete {
    /* read only */
    struct adm *adm;
    char **words; /* all, the last one not yet ended */
    int n_words;
    const char *current;   /* the last one */
    const char **operands; /* those before it that are no options */
    int n_operands;
    const struct adm_command *command; /* or NULL: not yet known */
    bool is_past_options;              /* behind "--" */
    const char *before;                /* what comes before each word: "", "--state=" */
    /* private: what was asked for, so that it is once */
    const char *places[COMPLETE_MAX_PLACES];
    size_t n_places;
};

/* Print a word, where what is typed is its beginning. */
void complete_offer(const struct complete *typed, const char *before, const char *word);
/* What may stand in a place as help writes it: "VM", "FILE", "KEY=VALUE"; "disk" is itself. */
void complete_offer_place(struct complete *typed, const char *place, size_t length);
