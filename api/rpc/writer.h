/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON written into a growing buffer whose failure sticks: write on, ask json_writer_take() once.
 * Commas are put by the writer. Bytes that are not UTF-8 become U+FFFD.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_writer {
    /* private */
    char *text;
    size_t length;
    size_t room;
    bool wants_comma;
    bool failed;
};

void json_writer_fini(struct json_writer *out);

/* Hand over the text, ended by NUL; the writer is empty after. Returns 0 or -ENOMEM. */
int json_writer_take(struct json_writer *out, char **ret_text, size_t *ret_length);

/* Structure: commas are put by themselves; a key stands before each value of an object. */
void json_begin_object(struct json_writer *out);
void json_end_object(struct json_writer *out);
void json_begin_array(struct json_writer *out);
void json_end_array(struct json_writer *out);
void json_key(struct json_writer *out, const char *key);
/* Was this key written, at whatever depth? It has nothing that JSON escapes. */
bool json_has_key(const struct json_writer *out, const char *key);

/* Values; bytes are UTF-8 text, and what isn't becomes U+FFFD. */
void json_put_null(struct json_writer *out);
void json_put_bool(struct json_writer *out, bool value);
void json_put_u64(struct json_writer *out, uint64_t value);
void json_put_i64(struct json_writer *out, int64_t value);
void json_put_double(struct json_writer *out, double value);
void json_put_bytes(struct json_writer *out, const char *text, size_t length);
void json_put_base64(struct json_writer *out, const void *bytes, size_t length);
/* NULL becomes null. */
void json_put_string(struct json_writer *out, const char *text);
/* Text that is JSON already. */
void json_put_raw(struct json_writer *out, const char *json, size_t length);

/* A parsed value as text again. */
struct json_value;
void json_put_value(struct json_writer *out, const struct json_value *value);
