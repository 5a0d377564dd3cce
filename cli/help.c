/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char adm_help_globals[] =
    "  --connect ADDRESS   the service: unix:PATH, dbus:system, dbus:session or\n"
    "                      https://HOST:PORT; without it: HVADM_CONNECT, else\n"
    "                      unix:/run/hvstack/vmms.sock, or dbus:system for who may\n"
    "                      not open that\n"
    "  --json              print the service's own answer, and its error to standard\n"
    "                      error\n"
    "  --plan              tell what would be done, and do nothing\n"
    "  --plan-id ID        do what was planned, if that still holds\n"
    "  --queue             wait for what is in the way instead of failing\n"
    "  --idempotency-key KEY  the same command again, with it, changes nothing more\n"
    "  --deadline SECONDS  give it up where it has not ended by then\n"
    "  --no-wait           do not wait for the end of what takes time\n"
    "  --patience SECONDS  how long to wait for a service that goes away while it is\n"
    "                      listened to, until it is there again (default 60)\n"
    "  --                  names and other words follow, also such as begin with -\n"
    "  --help              tell about a noun, or about a verb\n"
    "  --version           print the version\n";

const char adm_help_environment[] =
    "  HVADM_CONNECT       the service, where --connect does not name it\n"
    "  COLUMNS             how wide tables may be, where the output is no terminal\n"
    "  XDG_CONFIG_HOME     below it lie keys and certificates for other hosts\n"
    "                      (default ~/.config)\n";

/* Rows */

void adm_help_row_fini(struct adm_help_row *row)
{
    free(row->term);
    free(row->about);
    free(row->option);
    free(row->letter);
    free(row->argument);
    *row = (struct adm_help_row){ 0 };
}

static char *copy(const char *text, size_t length)
{
    char *made = strndup(text, length);

    hv_assert(made);
    return made;
}

/* The line at *text without what stands before it, and past its end. */
static char *take_line(const char **text)
{
    const char *line = *text + strspn(*text, " ");
    size_t length = strcspn(line, "\n");

    *text = line + length + (line[length] == '\n');
    return copy(line, length);
}

/* Lines that are deep inside go on with the row before them. */
static void take_more(const char **text, char **about)
{
    while (strspn(*text, " ") > 4) {
        hv_autofree char *line = take_line(text), *before = *about;

        hv_assert(asprintf(about, "%s%s%s", before, *before ? " " : "", line) >= 0);
    }
}

/* "-f, --file FILE" into its parts; what does not begin with a dash has none. */
static void split_term(struct adm_help_row *row)
{
    const char *at = row->term;
    size_t length;

    if (*at != '-')
        return;
    length = strcspn(at, ", ");
    if (at[1] != '-')
        row->letter = copy(at, length);
    if (at[length] == ',') {
        at += length + 1 + strspn(at + length + 1, " ");
        length = strcspn(at, " ");
    }
    row->option = copy(at, length);
    at += length + strspn(at + length, " ");
    if (*at)
        row->argument = copy(at, strlen(at));
}

bool adm_help_next(const char **text, struct adm_help_row *ret)
{
    bool is_inside = **text == ' ';
    hv_autofree char *line = NULL;
    char *gap;

    if (!**text)
        return false;
    *ret = (struct adm_help_row){ 0 };
    line = take_line(text);
    gap = is_inside ? strstr(line, "  ") : NULL;
    if (!gap) {
        ret->about = HV_TAKE_PTR(line);
        return true;
    }
    ret->term = copy(line, (size_t)(gap - line));
    ret->about = copy(gap + strspn(gap, " "), strlen(gap));
    take_more(text, &ret->about);
    split_term(ret);
    return true;
}

/* For programs */

static void put_text(struct json_writer *out, const char *key, const char *value)
{
    if (!value)
        return;
    json_key(out, key);
    json_put_string(out, value);
}

static void put_rows(struct json_writer *out, const char *key, const char *text)
{
    struct adm_help_row row;

    json_key(out, key);
    json_begin_array(out);
    while (text && adm_help_next(&text, &row)) {
        json_begin_object(out);
        put_text(out, "term", row.term);
        put_text(out, "option", row.option);
        put_text(out, "letter", row.letter);
        put_text(out, "argument", row.argument);
        put_text(out, "about", row.about);
        json_end_object(out);
        adm_help_row_fini(&row);
    }
    json_end_array(out);
}

static void put_command(struct json_writer *out, const struct adm_command *command)
{
    json_begin_object(out);
    put_text(out, "noun", command->noun);
    put_text(out, "verb", command->verb);
    put_text(out, "usage", command->usage);
    put_text(out, "about", command->about);
    put_rows(out, "rows", command->more);
    json_end_object(out);
}

static bool is_asked_for(const struct adm_command *command, const char *noun, const char *verb)
{
    return (!noun || strcmp(noun, command->noun) == 0) &&
           (!verb || strcmp(verb, command->verb) == 0);
}

static bool print_json(const char *noun, const char *verb)
{
    struct json_writer out = { 0 };
    hv_autofree char *text = NULL;
    bool is_found = false;

    json_begin_object(&out);
    put_rows(&out, "options", adm_help_globals);
    put_rows(&out, "environment", adm_help_environment);
    json_key(&out, "commands");
    json_begin_array(&out);
    for (size_t i = 0; i < adm_command_count; i++) {
        if (!is_asked_for(&adm_commands[i], noun, verb))
            continue;
        put_command(&out, &adm_commands[i]);
        is_found = true;
    }
    json_end_array(&out);
    text = adm_end_params(&out);
    if (is_found)
        (void)puts(text);
    return is_found;
}

/* For people: as it stands in the table, or on a narrow terminal in shorter lines */

enum { TERM_INDENT = 2, ABOUT_INDENT = 22, NARROW_ABOUT_INDENT = 6 };

static void print_row(const struct adm_help_row *row, int width)
{
    int indent = width < 2 * ABOUT_INDENT ? NARROW_ABOUT_INDENT : ABOUT_INDENT, used;

    if (!row->term) {
        adm_print_wrapped(row->about, 0, width);
        (void)putchar('\n');
        return;
    }
    used = printf("%*s%s", TERM_INDENT, "", row->term);
    if (used + 2 > indent)
        (void)printf("\n%*s", indent, "");
    else
        (void)printf("%*s", indent - used, "");
    adm_print_wrapped(row->about, indent, width);
    (void)putchar('\n');
}

static void print_rows(const char *text)
{
    int width = adm_output_width();
    struct adm_help_row row;

    if (width >= ADM_USUAL_WIDTH) {
        (void)fputs(text, stdout);
        return;
    }
    while (adm_help_next(&text, &row)) {
        print_row(&row, width);
        adm_help_row_fini(&row);
    }
}

static void print_usage(const char *before, const struct adm_command *command, int indent)
{
    hv_autofree char *line = NULL;

    hv_assert(asprintf(&line, "%s%s%s%s%s%s", before, command->noun, *command->verb ? " " : "",
                       command->verb, *command->usage ? " " : "", command->usage) > 0);
    (void)printf("%*s", indent, "");
    adm_print_wrapped(line, indent + 4, adm_output_width());
    (void)putchar('\n');
}

static void print_command(const struct adm_command *command, bool is_alone)
{
    hv_autofree char *about = NULL;

    print_usage(is_alone ? "hvadm " : "", command, is_alone ? 0 : TERM_INDENT);
    hv_assert(asprintf(&about, is_alone ? "\n%c%s." : "      %c%s",
                       is_alone ? toupper((unsigned char)command->about[0]) : command->about[0],
                       command->about + 1) > 0);
    adm_print_text(about);
    if (is_alone && command->more) {
        (void)putchar('\n');
        print_rows(command->more);
    }
}

static void print_end(void)
{
    adm_print_text("\nVMs and groups are named by name or id. hvadm help NOUN VERB tells more.\n"
                   "\nOptions that may stand anywhere:\n");
    print_rows(adm_help_globals);
    (void)puts("\nEnvironment:");
    print_rows(adm_help_environment);
    adm_print_text(
        "\nExit status: 0 done, 1 failed, 2 wrong use or no such thing, 3 not supported, "
        "4 access denied, 5 timed out or not available, 6 not possible in this state, "
        "7 out of memory or disk, 8 cancelled.\n");
}

static bool print_text(const char *noun, const char *verb)
{
    bool is_found = false;

    if (!noun)
        (void)puts("hvadm [--connect ADDRESS] [--json] NOUN VERB ...\n");
    for (size_t i = 0; i < adm_command_count; i++) {
        if (!is_asked_for(&adm_commands[i], noun, verb))
            continue;
        is_found = true;
        print_command(&adm_commands[i], verb || (noun && !*adm_commands[i].verb));
    }
    if (!noun)
        print_end();
    return is_found;
}

int adm_help(const struct adm *adm, const char *noun, const char *verb)
{
    if (adm->is_json ? print_json(noun, verb) : print_text(noun, verb))
        return 0;
    return adm_usage("", "There is no help on \"%s%s%s\".", noun, verb ? " " : "",
                     verb ? verb : "");
}
