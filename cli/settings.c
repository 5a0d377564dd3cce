/* SPDX-License-Identifier: Apache-2.0 */
/* Settings as they are typed. Only the form is read here; what is allowed, the service says. */
#include "cli/adm.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Ten is the base, also after a zero; 0x is understood, as ports are written. */
static unsigned long long parse_digits(const char *text, char **end)
{
    bool is_hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');

    errno = 0;
    return strtoull(text, end, is_hex ? 16 : 10);
}

bool adm_parse_size(const char *text, uint64_t *ret)
{
    static const char letters[] = "KMGT";
    unsigned long long number;
    const char *letter;
    char *end;

    if (!isdigit((unsigned char)*text))
        return false;
    number = parse_digits(text, &end);
    if (errno)
        return false;
    letter = *end ? strchr(letters, toupper((unsigned char)*end)) : NULL;
    if (letter) {
        unsigned shift = 10 * (unsigned)(letter - letters + 1);

        if (number > UINT64_MAX >> shift)
            return false;
        number <<= shift;
        end++;
        if (tolower((unsigned char)*end) == 'i')
            end++;
    }
    if (tolower((unsigned char)*end) == 'b')
        end++;
    *ret = number;
    return !*end;
}

bool adm_parse_seconds(const char *text, uint64_t *ret_ms)
{
    double seconds;
    char *end;

    seconds = strtod(text, &end);
    if (end == text || *end || !(seconds >= 0 && seconds < 1e9))
        return false;
    *ret_ms = (uint64_t)(seconds * 1000);
    return true;
}

/* A file is named from where the caller stands; the service stands elsewhere. */
void adm_put_path(struct json_writer *out, const char *value)
{
    char here[PATH_MAX], *path = NULL;

    if (*value == '/' || !*value || !getcwd(here, sizeof(here)) ||
        asprintf(&path, "%s/%s", here, value) < 0) {
        json_put_string(out, value);
        return;
    }
    json_put_string(out, path);
    free(path);
}

static int put_number(struct json_writer *out, const struct api_field *field, const char *value)
{
    unsigned long long number;
    uint64_t bytes;
    char *end;

    if (field->is_bytes) {
        if (!adm_parse_size(value, &bytes))
            return adm_usage("vm set", "%s is a size such as 512M or 2G, not \"%s\".", field->name,
                             value);
        json_put_u64(out, bytes);
        return 0;
    }
    number = parse_digits(value, &end);
    if (!isdigit((unsigned char)*value) || *end || errno)
        return adm_usage("vm set", "%s is a number, not \"%s\".", field->name, value);
    json_put_u64(out, number);
    return 0;
}

int adm_put_setting(struct json_writer *out, const char *key, const char *value)
{
    const struct api_field *field = api_record_find(&api_record_settings, key, NULL);

    if (json_has_key(out, key))
        return adm_usage("vm set", "%s is given twice.", key);
    json_key(out, key);
    if (field && !*value && field->kind != API_KIND_TEXT) {
        json_put_null(out);
        return 0;
    }
    if (field && (field->kind == API_KIND_U32 || field->kind == API_KIND_U64))
        return put_number(out, field, value);
    if (field && field->kind == API_KIND_BOOL &&
        (strcmp(value, "true") == 0 || strcmp(value, "false") == 0))
        json_put_bool(out, value[0] == 't');
    else if (field && field->is_file)
        adm_put_path(out, value);
    else
        json_put_string(out, value);
    return 0;
}

int adm_put_assignment(struct json_writer *out, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    hv_autofree char *key = NULL;

    if (!equals || equals == assignment)
        return adm_usage("vm set", "\"%s\" is not of the form KEY=VALUE.", assignment);
    key = strndup(assignment, (size_t)(equals - assignment));
    hv_assert(key);
    return adm_put_setting(out, key, equals + 1);
}
