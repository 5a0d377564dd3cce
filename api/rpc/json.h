/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON from strangers (RFC 8259), read strictly into a tree that lives in one document.
 *
 * Refused beyond the RFC: text that is not UTF-8, duplicate names, U+0000 and lone surrogates in
 * strings, anything past the limits. Numbers keep their text until they are asked for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_doc;

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_value {
    /* read only */
    enum json_type type;
    bool boolean;                   /* of JSON_BOOL */
    const char *text;               /* string: decoded, ends in NUL; number: as written, no NUL */
    size_t length;                  /* bytes of text */
    const char *key;                /* its name when it stands in an object */
    const struct json_value *first; /* of JSON_ARRAY and JSON_OBJECT */
    const struct json_value *next;  /* the one after it in its container */
    size_t count;                   /* members of a container */
};

struct json_limits {
    /* public */
    unsigned depth;
    size_t values;
    size_t members;      /* of one object: duplicates are looked for among them */
    size_t string_bytes; /* one string, decoded */
    size_t number_bytes; /* one number, as written */
};

struct json_fault {
    /* read only */
    size_t offset;
    bool is_limit;    /* well formed as far as seen, but too much */
    const char *text; /* a sentence's second half: "a string is not closed" */
};

/* What a request may be: reliability rules 9.5 and 9.7. */
extern const struct json_limits json_limits_request;
/* What a client takes from its own service. */
extern const struct json_limits json_limits_reply;

/*
 * Read one JSON text; nothing but white space may follow it.
 *
 * text: copied; ret_fault: filled when -EBADMSG is returned
 * return: 0, -EBADMSG (malformed or past a limit), -ENOMEM
 */
int json_parse(const char *text, size_t length, const struct json_limits *limits,
               struct json_doc **ret, struct json_fault *ret_fault);

struct json_doc *json_doc_free(struct json_doc *doc);
static inline void json_doc_freep(struct json_doc **doc)
{
    *doc = json_doc_free(*doc);
}

/* The document's value; lives as long as the document. */
const struct json_value *json_doc_root(const struct json_doc *doc);

/* The member of that name, or NULL; NULL also when object is NULL or no object. */
const struct json_value *json_get(const struct json_value *object, const char *key);

/* Is it a string, and this one? NULL is not. */
bool json_is_text(const struct json_value *value, const char *text);

/* 0, or -EINVAL (no integer, which has no fraction and no exponent) or -ERANGE; *ret untouched
 * then. json_u64: NULL is no integer. */
int json_u64(const struct json_value *value, uint64_t *ret);
int json_i64(const struct json_value *value, int64_t *ret);

/* "a string", "null" ...: for a sentence about a wrong type. */
const char *json_type_phrase(enum json_type type);
