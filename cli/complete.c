/* SPDX-License-Identifier: Apache-2.0 */
/* hvadm complete: what may come next, out of the table of verbs, the schema and the service. */
#include "cli/complete.h"

#include "cli/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { PATIENCE_S = 2 };

void complete_offer(const struct complete *typed, const char *before, const char *word)
{
    size_t length = strlen(before);

    if (strncmp(typed->current, before, length) == 0 &&
        strncmp(typed->current + length, word, strlen(typed->current + length)) == 0)
        (void)printf("%s%s\n", before, word);
}

/* Nouns and verbs */

static void offer_nouns(const struct complete *typed)
{
    for (size_t i = 0; i < adm_command_count; i++) {
        bool is_new = true;

        for (size_t j = 0; j < i; j++)
            is_new = is_new && strcmp(adm_commands[j].noun, adm_commands[i].noun) != 0;
        if (is_new)
            complete_offer(typed, "", adm_commands[i].noun);
    }
}

static void offer_verbs(const struct complete *typed, const char *noun)
{
    for (size_t i = 0; i < adm_command_count; i++) {
        if (strcmp(adm_commands[i].noun, noun) == 0 && *adm_commands[i].verb)
            complete_offer(typed, "", adm_commands[i].verb);
    }
}

static const struct adm_command *find_command(const struct complete *typed)
{
    for (size_t i = 0; i < adm_command_count; i++) {
        const struct adm_command *command = &adm_commands[i];

        if (typed->n_operands > 0 && strcmp(command->noun, typed->operands[0]) == 0 &&
            (!*command->verb ||
             (typed->n_operands > 1 && strcmp(command->verb, typed->operands[1]) == 0)))
            return command;
    }
    return NULL;
}

/* Options */

static bool is_option(const struct adm_help_row *row, const char *word, size_t length)
{
    return (row->option && strlen(row->option) == length &&
            strncmp(row->option, word, length) == 0) ||
           (row->letter && strlen(row->letter) == length &&
            strncmp(row->letter, word, length) == 0);
}

/* The argument of an option, ended before what may follow it ("FILE[,...]"), freed by the caller;
 * NULL: it takes none, or is not known. */
static char *find_argument(const struct adm_command *command, const char *word)
{
    const char *texts[] = { adm_help_globals, command ? command->more : NULL };
    size_t length = strcspn(word, "=");
    struct adm_help_row row;
    char *argument = NULL;

    for (size_t i = 0; i < HV_ARRAY_SIZE(texts); i++) {
        while (texts[i] && !argument && adm_help_next(&texts[i], &row)) {
            if (is_option(&row, word, length) && row.argument)
                argument = strndup(row.argument, strcspn(row.argument, "[,"));
            adm_help_row_fini(&row);
        }
    }
    return argument;
}

static void offer_options(const struct complete *typed)
{
    const char *texts[] = { typed->command ? typed->command->more : NULL, adm_help_globals };
    struct adm_help_row row;

    for (size_t i = 0; i < HV_ARRAY_SIZE(texts); i++) {
        while (texts[i] && adm_help_next(&texts[i], &row)) {
            if (row.option)
                complete_offer(typed, "", row.option);
            adm_help_row_fini(&row);
        }
    }
}

static bool has_option(const struct complete *typed, const char *name, size_t length)
{
    for (int i = 0; i + 1 < typed->n_words; i++) {
        if (strlen(typed->words[i]) == length && strncmp(typed->words[i], name, length) == 0)
            return true;
    }
    return false;
}

/* Operands: "VM disk FILE | VM dvd [FILE]", a word at a time */

/* "VM", or one of "disk|dvd|scsi". */
static void offer_choices(struct complete *typed, const char *token, size_t length)
{
    while (length) {
        size_t one = 0;

        while (one < length && token[one] != '|')
            one++;
        complete_offer_place(typed, token, one);
        token += one < length ? one + 1 : one;
        length -= one < length ? one + 1 : one;
    }
}

/* Words in small letters are meant as they stand. */
static bool is_so_typed(const char *token, size_t length, const char *word)
{
    size_t at = 0;

    if (!islower((unsigned char)*token) || memchr(token, '=', length))
        return true;
    for (size_t one; at < length; at += one + 1) {
        for (one = 0; at + one < length && token[at + one] != '|';)
            one++;
        if (strlen(word) == one && strncmp(word, token + at, one) == 0)
            return true;
    }
    return false;
}

/* Where one is in a usage. */
struct usage {
    int place;        /* of the next operand in this alternative */
    bool is_possible; /* what was typed is this alternative's */
    bool skips;       /* the next word is an option's argument */
};

static void take_option(const struct complete *typed, struct usage *usage, const char *token,
                        size_t length, bool is_wanted)
{
    hv_autofree char *word = strndup(token, length);
    hv_autofree char *argument = NULL;

    hv_assert(word);
    argument = find_argument(typed->command, word);
    usage->skips = argument != NULL;
    usage->is_possible = usage->is_possible && (!is_wanted || has_option(typed, token, length));
}

static void take_operand(struct complete *typed, struct usage *usage, const char *token,
                         size_t length, bool is_repeated)
{
    int words = *typed->command->verb ? 2 : 1, index = typed->n_operands - words;

    if (usage->is_possible && (usage->place == index || (is_repeated && usage->place < index)))
        offer_choices(typed, token, length);
    else if (usage->place < index)
        usage->is_possible =
            usage->is_possible && is_so_typed(token, length, typed->operands[words + usage->place]);
    usage->place++;
}

static void offer_operands(struct complete *typed)
{
    static const char ends[] = " []";
    struct usage usage = { .is_possible = true };
    size_t length;
    bool is_inside = false;

    for (const char *at = typed->command->usage; *at; at += length ? length : 1) {
        bool is_repeated;

        length = strcspn(at, ends);
        if (!length) {
            is_inside = *at == '[' || (is_inside && *at != ']');
            continue;
        }
        is_repeated = length > 3 && strncmp(at + length - 3, "...", 3) == 0;
        if (*at == '|')
            usage = (struct usage){ .is_possible = true };
        else if (usage.skips)
            usage.skips = false;
        else if (*at == '-')
            take_option(typed, &usage, at, length, !is_inside);
        else
            take_operand(typed, &usage, at, length - (is_repeated ? 3 : 0), is_repeated);
    }
}

/* Reading what was typed */

/* Returns the argument that the last option still lacks, freed by the caller; or NULL. */
static char *read_words(struct complete *typed)
{
    char *argument = NULL;

    for (int i = 0; i + 1 < typed->n_words; i++) {
        const char *word = typed->words[i];

        if (argument) {
            if (strcmp(typed->words[i - 1], "--connect") == 0)
                typed->adm->address = word;
            free(argument);
            argument = NULL;
        } else if (typed->is_past_options || *word != '-' || !word[1]) {
            typed->operands[typed->n_operands++] = word;
            typed->command = find_command(typed);
        } else if (strncmp(word, "--connect=", 10) == 0) {
            typed->adm->address = word + 10;
        } else if (strcmp(word, "--") == 0) {
            typed->is_past_options = true;
        } else if (!strchr(word, '=')) {
            argument = find_argument(typed->command, word);
        }
    }
    return argument;
}

/* "--state=run": what stands before the value is offered with it. */
static void offer_assigned(struct complete *typed)
{
    hv_autofree char *argument = find_argument(typed->command, typed->current);
    hv_autofree char *before =
        strndup(typed->current, (size_t)(strchr(typed->current, '=') + 1 - typed->current));

    hv_assert(before);
    typed->before = before;
    if (argument)
        complete_offer_place(typed, argument, strlen(argument));
}

static void offer_help(const struct complete *typed)
{
    if (typed->n_operands == 1)
        offer_nouns(typed);
    else if (typed->n_operands == 2)
        offer_verbs(typed, typed->operands[1]);
}

static void offer_all(struct complete *typed, const char *argument)
{
    bool is_option = !typed->is_past_options && *typed->current == '-';

    if (argument)
        complete_offer_place(typed, argument, strlen(argument));
    else if (is_option && strchr(typed->current, '='))
        offer_assigned(typed);
    else if (is_option)
        offer_options(typed);
    else if (!typed->n_operands) {
        offer_nouns(typed);
        complete_offer(typed, "", "help");
    } else if (strcmp(typed->operands[0], "help") == 0)
        offer_help(typed);
    else if (!typed->command)
        offer_verbs(typed, typed->operands[0]);
    else
        offer_operands(typed);
}

int adm_cmd_complete(struct adm *adm, int argc, char **argv)
{
    struct complete typed = { .adm = adm, .before = "", .current = "" };
    hv_autofree const char **operands = calloc((size_t)argc + 1, sizeof(*operands));
    hv_autofree char *argument = NULL;

    hv_assert(operands);
    if (argc < 2 || strcmp(argv[1], "--") != 0)
        return adm_usage("complete", "The words that are typed stand after --.");
    typed.words = argv + 2;
    typed.n_words = argc - 2;
    typed.operands = operands;
    if (typed.n_words > 0)
        typed.current = typed.words[typed.n_words - 1];
    /* Somebody has pressed a key and waits: then rather nothing. */
    (void)alarm(PATIENCE_S);
    argument = read_words(&typed);
    offer_all(&typed, argument);
    return 0;
}
