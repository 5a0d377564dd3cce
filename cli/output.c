/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people, JSON for programs. */
#include "cli/adm.h"

#include "api/rpc/json.h"
#include "api/rpc/utf8.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <wchar.h>

/* The character at `at`; *ret_bytes: 0 where there is none. */
static wchar_t decode(const char *at, size_t left, size_t *ret_bytes)
{
    static const unsigned char first_bits[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    size_t bytes = *ret_bytes = utf8_char_bytes(at, left);
    wchar_t c = (unsigned char)at[0] & first_bits[bytes];

    for (size_t i = 1; i < bytes; i++)
        c = c << 6 | ((unsigned char)at[i] & 0x3f);
    return c;
}

/* Would it move the cursor, or make the rest of the line read otherwise than it is? */
static bool is_control(wchar_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

char *adm_clean(const char *text)
{
    size_t length = strlen(text), bytes;
    char *clean = malloc(length + 1), *out = clean;

    hv_assert(clean);
    for (size_t at = 0; at < length; at += bytes) {
        wchar_t c = decode(text + at, length - at, &bytes);

        if (!bytes || is_control(c)) {
            *out++ = '?';
            bytes = bytes ? bytes : 1;
            continue;
        }
        memcpy(out, text + at, bytes);
        out += bytes;
    }
    *out = '\0';
    return clean;
}

/* Widths: Chinese characters are two wide, marks above another character are not. */

size_t adm_text_prefix(const char *text, int max, int *ret_width)
{
    size_t length = strlen(text), at = 0, bytes;

    *ret_width = 0;
    for (; at < length; at += bytes) {
        wchar_t c = decode(text + at, length - at, &bytes);
        int width = c < 0x80 ? 1 : wcwidth(c);

        width = width < 0 ? 1 : width;
        if (width > max - *ret_width)
            break;
        *ret_width += width;
        bytes = bytes ? bytes : 1;
    }
    return at;
}

int adm_text_width(const char *clean)
{
    int width;

    (void)adm_text_prefix(clean, ADM_ANY_WIDTH, &width);
    return width;
}

int adm_width_of(int fd)
{
    const char *columns = getenv("COLUMNS");
    long told = columns ? strtol(columns, NULL, 10) : 0;
    struct winsize size;

    if (told > 0 && told < ADM_ANY_WIDTH)
        return (int)told;
    if (!isatty(fd))
        return ADM_ANY_WIDTH;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : ADM_USUAL_WIDTH;
}

int adm_output_width(void)
{
    return adm_width_of(STDOUT_FILENO);
}

static void put_spaces(int count)
{
    for (; count > 0; count--)
        (void)putchar_unlocked(' ');
}

/* Without printf: a list of thousands is made of nothing else. */
void adm_print_cell(const char *clean, int width, bool is_right, bool is_last)
{
    int used, rest = adm_text_width(clean) - width;

    if (rest > 0) {
        (void)fwrite(clean, 1, adm_text_prefix(clean, width - 1, &used), stdout);
        (void)putchar_unlocked('~');
        rest = used + 1 - width;
    } else {
        if (is_right)
            put_spaces(-rest);
        (void)fputs(clean, stdout);
    }
    if (is_last)
        return;
    if (!is_right || rest < 0)
        put_spaces(is_right ? 0 : -rest);
    put_spaces(2);
}

void adm_print_wrapped(const char *clean, int indent, int width)
{
    int at = indent, word_width;

    for (const char *word = clean; *word;) {
        size_t gap = strspn(word, " "), length = strcspn(word + gap, " ");
        hv_autofree char *copy = strndup(word + gap, length);

        hv_assert(copy);
        word_width = adm_text_width(copy);
        if (!length)
            return;
        if (at > indent && (int)gap + word_width > width - at) {
            (void)putchar('\n');
            put_spaces(indent);
            at = indent;
            gap = 0;
        }
        put_spaces((int)gap);
        (void)fputs(copy, stdout);
        at += (int)gap + word_width;
        word += strspn(word, " ") + length;
    }
}

void adm_print_text(const char *text)
{
    int width = adm_output_width();

    if (width == ADM_ANY_WIDTH)
        width = ADM_USUAL_WIDTH;
    width = width > ADM_READABLE_WIDTH ? ADM_READABLE_WIDTH : width;
    for (size_t length; *text; text += length + (text[length] == '\n')) {
        size_t indent = strspn(text, " ");
        hv_autofree char *line = NULL;

        length = strcspn(text, "\n");
        line = strndup(text + indent, length - indent);
        hv_assert(line);
        put_spaces((int)indent);
        adm_print_wrapped(line, (int)indent, width);
        (void)putchar('\n');
    }
}

/* Tables whose columns stay as they are */

static void print_fixed(const struct adm_column *column, const char *text, bool is_last)
{
    hv_autofree char *clean = adm_clean(text);

    adm_print_cell(clean, column->width, column->is_right, is_last);
}

void adm_table_row(const struct adm_column *columns, size_t count, const char *const *cells)
{
    for (size_t i = 0; i < count; i++)
        print_fixed(&columns[i], cells[i] ? cells[i] : "-", i + 1 == count);
    (void)putchar('\n');
}

void adm_table_head(const struct adm_column *columns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        print_fixed(&columns[i], columns[i].title, i + 1 == count);
    (void)putchar('\n');
}

void adm_print_json(const struct json_value *value)
{
    struct json_writer out = { 0 };
    hv_autofree char *text = NULL;

    json_put_value(&out, value);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    (void)puts(text);
}

char *adm_clean_text(const char *format, va_list args)
{
    hv_autofree char *text = NULL;

    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    hv_assert(text);
    return adm_clean(text);
}

void adm_format_bytes(uint64_t bytes, char *ret, size_t room)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    size_t unit = 0;
    uint64_t whole = bytes;

    while (unit + 1 < HV_ARRAY_SIZE(units) && whole >= 1024 && whole % 1024 == 0) {
        whole /= 1024;
        unit++;
    }
    if (whole < 10000) {
        (void)snprintf(ret, room, "%" PRIu64 " %s", whole, units[unit]);
        return;
    }
    for (unit = 0; unit + 1 < HV_ARRAY_SIZE(units) && bytes >= 10240; unit++)
        bytes /= 1024;
    (void)snprintf(ret, room, "%" PRIu64 " %s", bytes, units[unit]);
}

void adm_format_duration(uint64_t ms, char *ret, size_t room)
{
    uint64_t s = ms / 1000;

    if (s < 60)
        (void)snprintf(ret, room, "%" PRIu64 "s", s);
    else if (s < 3600)
        (void)snprintf(ret, room, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(ret, room, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
    else
        (void)snprintf(ret, room, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
}

void adm_format_time(uint64_t ms, char *ret, size_t room)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    if (!localtime_r(&seconds, &tm) || !strftime(ret, room, "%Y-%m-%d %H:%M:%S", &tm))
        (void)snprintf(ret, room, "-");
}

const char *adm_state_name(enum api_vm_state state)
{
    return api_enum_vm_state.values[state];
}
