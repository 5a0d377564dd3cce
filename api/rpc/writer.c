/* SPDX-License-Identifier: Apache-2.0 */
#include "api/rpc/writer.h"

#include "api/rpc/json.h"
#include "api/rpc/utf8.h"
#include "hvcore/base/own.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool reserve(struct json_writer *out, size_t more)
{
    size_t room = out->room ? out->room : 256;
    char *text;

    if (out->failed)
        return false;
    if (out->room - out->length >= more)
        return true;
    while (room - out->length < more)
        room *= 2;
    text = realloc(out->text, room);
    if (!text) {
        out->failed = true;
        return false;
    }
    out->text = text;
    out->room = room;
    return true;
}

static void append(struct json_writer *out, const char *text, size_t length)
{
    if (!reserve(out, length))
        return;
    if (length)
        memcpy(out->text + out->length, text, length);
    out->length += length;
}

/* What stands before a value: a comma where one stands before it. */
static void begin_value(struct json_writer *out)
{
    if (out->wants_comma)
        append(out, ",", 1);
    out->wants_comma = true;
}

static void put_plain(struct json_writer *out, const char *text)
{
    begin_value(out);
    append(out, text, strlen(text));
}

void json_writer_fini(struct json_writer *out)
{
    free(out->text);
    *out = (struct json_writer){ 0 };
}

int json_writer_take(struct json_writer *out, char **ret_text, size_t *ret_length)
{
    append(out, "", 1);
    if (out->failed) {
        json_writer_fini(out);
        return -ENOMEM;
    }
    *ret_text = out->text;
    if (ret_length)
        *ret_length = out->length - 1;
    *out = (struct json_writer){ 0 };
    return 0;
}

static void begin(struct json_writer *out, const char *bracket)
{
    begin_value(out);
    append(out, bracket, 1);
    out->wants_comma = false;
}

static void end(struct json_writer *out, const char *bracket)
{
    append(out, bracket, 1);
    out->wants_comma = true;
}

void json_begin_object(struct json_writer *out)
{
    begin(out, "{");
}

void json_end_object(struct json_writer *out)
{
    end(out, "}");
}

void json_begin_array(struct json_writer *out)
{
    begin(out, "[");
}

void json_end_array(struct json_writer *out)
{
    end(out, "]");
}

void json_key(struct json_writer *out, const char *key)
{
    json_put_string(out, key);
    append(out, ":", 1);
    out->wants_comma = false;
}

bool json_has_key(const struct json_writer *out, const char *key)
{
    size_t length = strlen(key) + 3;
    char *written = NULL;
    bool is_there;

    /* A quotation mark within a text has a backslash before it, so this is a key and nothing else.
     */
    hv_assert(asprintf(&written, "\"%s\":", key) >= 0);
    is_there = out->length && memmem(out->text, out->length, written, length);
    free(written);
    return is_there;
}

void json_put_null(struct json_writer *out)
{
    put_plain(out, "null");
}

void json_put_bool(struct json_writer *out, bool value)
{
    put_plain(out, value ? "true" : "false");
}

void json_put_u64(struct json_writer *out, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    put_plain(out, text);
}

void json_put_i64(struct json_writer *out, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    put_plain(out, text);
}

void json_put_double(struct json_writer *out, double value)
{
    char text[40];

    if (!isfinite(value)) {
        json_put_null(out);
        return;
    }
    (void)snprintf(text, sizeof(text), "%.6g", value);
    put_plain(out, text);
}

static void append_escaped(struct json_writer *out, char c)
{
    static const char names[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char *name = c ? strchr(names, c) : NULL;
    char text[8];

    if (name)
        (void)snprintf(text, sizeof(text), "\\%c", letters[name - names]);
    else
        (void)snprintf(text, sizeof(text), "\\u%04x", (unsigned char)c);
    append(out, text, strlen(text));
}

/* One that does not stand for itself. Returns how many bytes of it were there. */
static size_t put_char(struct json_writer *out, const char *text, size_t length)
{
    size_t bytes = utf8_char_bytes(text, length);

    if (!bytes) {
        append(out, "\xef\xbf\xbd", 3);
        return 1;
    }
    if (bytes == 1)
        append_escaped(out, *text);
    else
        append(out, text, bytes);
    return bytes;
}

/* How many of the bytes stand for themselves: most texts are all of that kind. */
static size_t count_plain(const char *text, size_t length)
{
    size_t count = 0;

    while (count < length && (signed char)text[count] >= 0x20 && text[count] != '"' &&
           text[count] != '\\')
        count++;
    return count;
}

void json_put_bytes(struct json_writer *out, const char *text, size_t length)
{
    size_t bytes;

    begin_value(out);
    append(out, "\"", 1);
    for (size_t at = 0; at < length; at += bytes) {
        bytes = count_plain(text + at, length - at);
        if (!bytes)
            bytes = put_char(out, text + at, length - at);
        else
            append(out, text + at, bytes);
    }
    append(out, "\"", 1);
}

void json_put_string(struct json_writer *out, const char *text)
{
    if (text)
        json_put_bytes(out, text, strlen(text));
    else
        json_put_null(out);
}

void json_put_base64(struct json_writer *out, const void *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = bytes;
    char group[4];
    uint32_t word;

    begin_value(out);
    append(out, "\"", 1);
    for (size_t at = 0; at < length; at += 3) {
        size_t left = length - at;

        word = (uint32_t)in[at] << 16;
        word |= left > 1 ? (uint32_t)in[at + 1] << 8 : 0;
        word |= left > 2 ? in[at + 2] : 0;
        for (int i = 0; i < 4; i++)
            group[i] = digits[word >> (18 - 6 * i) & 63];
        if (left < 3)
            group[3] = '=';
        if (left < 2)
            group[2] = '=';
        append(out, group, sizeof(group));
    }
    append(out, "\"", 1);
}

void json_put_raw(struct json_writer *out, const char *json, size_t length)
{
    begin_value(out);
    append(out, json, length);
}

static void put_container(struct json_writer *out, const struct json_value *value)
{
    bool is_object = value->type == JSON_OBJECT;

    begin(out, is_object ? "{" : "[");
    for (const struct json_value *member = value->first; member; member = member->next) {
        if (is_object)
            json_key(out, member->key);
        json_put_value(out, member);
    }
    end(out, is_object ? "}" : "]");
}

void json_put_value(struct json_writer *out, const struct json_value *value)
{
    switch (value->type) {
    case JSON_NULL: json_put_null(out); break;
    case JSON_BOOL: json_put_bool(out, value->boolean); break;
    case JSON_NUMBER: json_put_raw(out, value->text, value->length); break;
    case JSON_STRING: json_put_bytes(out, value->text, value->length); break;
    case JSON_ARRAY:
    case JSON_OBJECT: put_container(out, value); break;
    }
}
