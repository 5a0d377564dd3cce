/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people, JSON for programs. */
#include "cli/adm.h"

#include "api/rpc/json.h"
#include "api/rpc/utf8.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

char *adm_clean(const char *text)
{
    size_t length = strlen(text), bytes;
    char *clean = malloc(length + 1), *out = clean;

    hv_assert(clean);
    for (size_t at = 0; at < length; at += bytes) {
        bytes = utf8_char_bytes(text + at, length - at);
        if (!bytes || (unsigned char)text[at] < 0x20 || text[at] == 0x7f ||
            (bytes == 2 && (unsigned char)text[at] == 0xc2 && (unsigned char)text[at + 1] < 0xa0)) {
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

/* Bytes of the first `chars` characters. */
static size_t prefix_bytes(const char *text, size_t chars)
{
    size_t length = strlen(text), at = 0, bytes;

    for (; at < length && chars; at += bytes, chars--) {
        bytes = utf8_char_bytes(text + at, length - at);
        bytes = bytes ? bytes : 1;
    }
    return at;
}

static void put_spaces(int count)
{
    for (; count > 0; count--)
        (void)putchar_unlocked(' ');
}

/* Without printf: a list of thousands is made of nothing else. */
static void print_cell(const struct adm_column *column, const char *cell, bool is_last)
{
    hv_autofree char *clean = adm_clean(cell);
    int chars = (int)utf8_count(clean, strlen(clean)), pad = column->width - chars;
    bool is_cut = column->width && pad < 0;

    if (column->is_right && !is_cut)
        put_spaces(pad);
    if (is_cut)
        clean[prefix_bytes(clean, (size_t)column->width - 1)] = '\0';
    (void)fputs(clean, stdout);
    if (is_cut)
        (void)putchar_unlocked('~');
    else if (!column->is_right && !is_last)
        put_spaces(pad);
    if (!is_last)
        put_spaces(2);
}

void adm_table_row(const struct adm_column *columns, size_t count, const char *const *cells)
{
    for (size_t i = 0; i < count; i++)
        print_cell(&columns[i], cells[i] ? cells[i] : "-", i + 1 == count);
    (void)putchar('\n');
}

void adm_table_head(const struct adm_column *columns, size_t count)
{
    for (size_t i = 0; i < count; i++)
        print_cell(&columns[i], columns[i].title, i + 1 == count);
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

void adm_print_pair(const char *key, const char *format, ...)
{
    hv_autofree char *clean = NULL;
    va_list args;

    va_start(args, format);
    clean = adm_clean_text(format, args);
    va_end(args);
    (void)printf("%-16s %s\n", key, clean);
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
