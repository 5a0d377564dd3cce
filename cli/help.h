/* SPDX-License-Identifier: Apache-2.0 */
/* The help that stands in the table of verbs: for people, and row by row for programs. */
#pragma once

#include "cli/adm.h"

/* "  -f, --file FILE     the document", with the lines that go on with it. */
struct adm_help_row {
    /* read only */
    char *term;     /* "-f, --file FILE"; NULL: a line of text that explains no term */
    char *about;    /* on one line */
    char *option;   /* "--file", "-f" where it has no long name; NULL: none */
    char *letter;   /* "-f"; or NULL */
    char *argument; /* "FILE"; NULL: it takes none */
};

void adm_help_row_fini(struct adm_help_row *row);
/* The next row of such a text. *text: moved on. Returns false at the end. */
bool adm_help_next(const char **text, struct adm_help_row *ret);

/* Options that may stand anywhere; variables that count. */
extern const char adm_help_globals[];
extern const char adm_help_environment[];

/* Help on all (NULL), on a noun, on a verb; with --json as an object. An exit status. */
int adm_help(const struct adm *adm, const char *noun, const char *verb);
