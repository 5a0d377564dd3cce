/* SPDX-License-Identifier: Apache-2.0 */
#include "api/rpc/json.h"

#include "api/rpc/utf8.h"
#include "hvcore/base/own.h"

#include <string.h>

const struct json_limits json_limits_request = {
    .depth = 32, .values = 50000, .members = 512, .string_bytes = 256 << 10, .number_bytes = 64
};
const struct json_limits json_limits_reply = {
    .depth = 64, .values = 4000000, .members = 4096, .string_bytes = 16 << 20, .number_bytes = 64
};

enum { BLOCK_VALUES = 64 };

struct json_block {
    struct json_block *next;
    size_t used;
    struct json_value values[BLOCK_VALUES];
};

struct json_doc {
    char *text; /* the input, in which strings are decoded where they stand */
    struct json_block *blocks;
    const struct json_value *root;
};

struct parser {
    struct json_doc *doc;
    char *at;
    char *end;
    const struct json_limits *limits;
    struct json_fault *fault;
    size_t values;
    unsigned depth;
    bool out_of_memory;
};

static struct json_value *parse_value(struct parser *in);

static void *fail(struct parser *in, bool is_limit, const char *text)
{
    if (!in->fault->text)
        *in->fault = (struct json_fault){ .offset = (size_t)(in->at - in->doc->text),
                                          .is_limit = is_limit,
                                          .text = text };
    return NULL;
}

static struct json_value *new_value(struct parser *in, enum json_type type)
{
    struct json_block *block = in->doc->blocks;
    struct json_value *value;

    if (in->values++ >= in->limits->values)
        return fail(in, true, "there are too many values");
    if (!block || block->used == BLOCK_VALUES) {
        block = calloc(1, sizeof(*block));
        if (!block) {
            in->out_of_memory = true;
            return NULL;
        }
        block->next = in->doc->blocks;
        in->doc->blocks = block;
    }
    value = &block->values[block->used++];
    value->type = type;
    return value;
}

static void skip_space(struct parser *in)
{
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r'))
        in->at++;
}

static bool take(struct parser *in, char c)
{
    skip_space(in);
    if (in->at == in->end || *in->at != c)
        return false;
    in->at++;
    return true;
}

static bool take_hex4(struct parser *in, uint32_t *ret)
{
    uint32_t unit = 0;

    if (in->end - in->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *in->at++;

        unit <<= 4;
        if (c >= '0' && c <= '9')
            unit |= (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            unit |= (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            unit |= (uint32_t)(c - 'A' + 10);
        else
            return false;
    }
    *ret = unit;
    return true;
}

/* What follows "\u": one unit, or a surrogate pair. */
static bool take_unicode_escape(struct parser *in, uint32_t *ret)
{
    uint32_t high, low;

    if (!take_hex4(in, &high))
        return false;
    if (high < 0xd800 || high > 0xdfff) {
        *ret = high;
        return high != 0;
    }
    if (high > 0xdbff || in->end - in->at < 6 || in->at[0] != '\\' || in->at[1] != 'u')
        return false;
    in->at += 2;
    if (!take_hex4(in, &low) || low < 0xdc00 || low > 0xdfff)
        return false;
    *ret = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* What follows a backslash, decoded to `out`, which never runs ahead of the reading. */
static size_t take_escape(struct parser *in, char *out)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *name;
    uint32_t c;
    char bytes[4];
    size_t count;

    if (in->at == in->end)
        return 0;
    if (*in->at == 'u') {
        in->at++;
        if (!take_unicode_escape(in, &c))
            return 0;
        count = utf8_put(c, bytes);
        memcpy(out, bytes, count);
        return count;
    }
    name = *in->at ? strchr(names, *in->at) : NULL;
    if (!name)
        return 0;
    in->at++;
    *out = meanings[name - names];
    return 1;
}

/* After the opening quote. The text is decoded in place; NUL takes the closing quote's place. */
static const char *parse_string(struct parser *in, size_t *ret_length)
{
    char *start = in->at, *out = in->at;
    size_t count;

    while (in->at < in->end && *in->at != '"') {
        if ((uint8_t)*in->at < 0x20)
            return fail(in, false, "a control character stands in a string");
        if (*in->at != '\\') {
            *out++ = *in->at++;
            continue;
        }
        in->at++;
        count = take_escape(in, out);
        if (!count)
            return fail(in, false, "an escape in a string is not allowed");
        out += count;
    }
    if (in->at == in->end)
        return fail(in, false, "a string is not closed");
    if ((size_t)(out - start) > in->limits->string_bytes)
        return fail(in, true, "a string is too long");
    in->at++;
    *out = '\0';
    *ret_length = (size_t)(out - start);
    return start;
}

static size_t skip_digits(struct parser *in)
{
    char *start = in->at;

    while (in->at < in->end && *in->at >= '0' && *in->at <= '9')
        in->at++;
    return (size_t)(in->at - start);
}

/* number = [ "-" ] int [ frac ] [ exp ], RFC 8259 section 6. */
static bool skip_number(struct parser *in)
{
    char *first;

    if (*in->at == '-')
        in->at++;
    first = in->at;
    if (!skip_digits(in) || (*first == '0' && in->at - first > 1))
        return false;
    if (in->at < in->end && *in->at == '.') {
        in->at++;
        if (!skip_digits(in))
            return false;
    }
    if (in->at < in->end && (*in->at == 'e' || *in->at == 'E')) {
        in->at++;
        if (in->at < in->end && (*in->at == '+' || *in->at == '-'))
            in->at++;
        if (!skip_digits(in))
            return false;
    }
    return true;
}

static struct json_value *parse_number(struct parser *in)
{
    struct json_value *value;
    char *start = in->at;

    if (!skip_number(in))
        return fail(in, false, "a number is malformed");
    if ((size_t)(in->at - start) > in->limits->number_bytes)
        return fail(in, true, "a number is too long");
    value = new_value(in, JSON_NUMBER);
    if (!value)
        return NULL;
    value->text = start;
    value->length = (size_t)(in->at - start);
    return value;
}

static struct json_value *parse_word(struct parser *in)
{
    static const struct {
        const char *word;
        enum json_type type;
        bool boolean;
    } words[] = { { "null", JSON_NULL, false },
                  { "true", JSON_BOOL, true },
                  { "false", JSON_BOOL, false } };
    struct json_value *value;
    size_t length;

    for (size_t i = 0; i < HV_ARRAY_SIZE(words); i++) {
        length = strlen(words[i].word);
        if ((size_t)(in->end - in->at) < length || memcmp(in->at, words[i].word, length) != 0)
            continue;
        in->at += length;
        value = new_value(in, words[i].type);
        if (value)
            value->boolean = words[i].boolean;
        return value;
    }
    return fail(in, false, "a value is expected here");
}

static struct json_value *parse_array(struct parser *in)
{
    struct json_value *array = new_value(in, JSON_ARRAY), *value;
    const struct json_value **link;

    if (!array)
        return NULL;
    link = &array->first;
    if (take(in, ']'))
        return array;
    do {
        value = parse_value(in);
        if (!value)
            return NULL;
        *link = value;
        link = &value->next;
        array->count++;
    } while (take(in, ','));
    if (!take(in, ']'))
        return fail(in, false, "a comma or ] is expected here");
    return array;
}

/* One `"name": value` of an object that has none of that name yet. */
static struct json_value *parse_member(struct parser *in, const struct json_value *object)
{
    struct json_value *value;
    const char *key;
    size_t length;

    if (object->count >= in->limits->members)
        return fail(in, true, "an object has too many members");
    if (!take(in, '"'))
        return fail(in, false, "a name in quotes is expected here");
    key = parse_string(in, &length);
    if (!key)
        return NULL;
    if (json_get(object, key))
        return fail(in, false, "a name stands twice in one object");
    if (!take(in, ':'))
        return fail(in, false, "a colon is expected here");
    value = parse_value(in);
    if (value)
        value->key = key;
    return value;
}

static struct json_value *parse_object(struct parser *in)
{
    struct json_value *object = new_value(in, JSON_OBJECT), *value;
    const struct json_value **link;

    if (!object)
        return NULL;
    link = &object->first;
    if (take(in, '}'))
        return object;
    do {
        value = parse_member(in, object);
        if (!value)
            return NULL;
        *link = value;
        link = &value->next;
        object->count++;
    } while (take(in, ','));
    if (!take(in, '}'))
        return fail(in, false, "a comma or } is expected here");
    return object;
}

static struct json_value *parse_string_value(struct parser *in)
{
    struct json_value *value = new_value(in, JSON_STRING);

    if (!value)
        return NULL;
    value->text = parse_string(in, &value->length);
    return value->text ? value : NULL;
}

static struct json_value *parse_value(struct parser *in)
{
    struct json_value *value;

    skip_space(in);
    if (in->at == in->end)
        return fail(in, false, "the text ends too early");
    if (*in->at == '-' || (*in->at >= '0' && *in->at <= '9'))
        return parse_number(in);
    if (take(in, '"'))
        return parse_string_value(in);
    if (*in->at != '[' && *in->at != '{')
        return parse_word(in);
    if (in->depth == in->limits->depth)
        return fail(in, true, "it is nested too deeply");
    in->depth++;
    value = *in->at++ == '[' ? parse_array(in) : parse_object(in);
    in->depth--;
    return value;
}

int json_parse(const char *text, size_t length, const struct json_limits *limits,
               struct json_doc **ret, struct json_fault *ret_fault)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = calloc(1, sizeof(*doc));
    struct parser in = { .doc = doc, .limits = limits, .fault = ret_fault };

    *ret_fault = (struct json_fault){ 0 };
    if (!doc)
        return -ENOMEM;
    doc->text = malloc(length + 1);
    if (!doc->text)
        return -ENOMEM;
    memcpy(doc->text, text, length);
    doc->text[length] = '\0';
    in.at = doc->text;
    in.end = doc->text + length;
    if (!utf8_is_valid(text, length))
        fail(&in, false, "it is not UTF-8");
    else
        doc->root = parse_value(&in);
    skip_space(&in);
    if (doc->root && in.at != in.end)
        fail(&in, false, "something follows the value");
    if (in.out_of_memory)
        return -ENOMEM;
    if (ret_fault->text)
        return -EBADMSG;
    *ret = HV_TAKE_PTR(doc);
    return 0;
}

struct json_doc *json_doc_free(struct json_doc *doc)
{
    struct json_block *block, *next;

    if (!doc)
        return NULL;
    for (block = doc->blocks; block; block = next) {
        next = block->next;
        free(block);
    }
    free(doc->text);
    free(doc);
    return NULL;
}

const struct json_value *json_doc_root(const struct json_doc *doc)
{
    return doc->root;
}

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    for (const struct json_value *value = object->first; value; value = value->next) {
        if (strcmp(value->key, key) == 0)
            return value;
    }
    return NULL;
}

bool json_is_text(const struct json_value *value, const char *text)
{
    return value && value->type == JSON_STRING && strcmp(value->text, text) == 0;
}

/* The digits from `at` on, nothing else among them. */
static int read_digits(const char *at, const char *end, uint64_t *ret)
{
    uint64_t sum = 0;

    if (at == end)
        return -EINVAL;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*at - '0'), &sum))
            return -ERANGE;
    }
    *ret = sum;
    return 0;
}

int json_u64(const struct json_value *value, uint64_t *ret)
{
    if (!value || value->type != JSON_NUMBER)
        return -EINVAL;
    if (value->text[0] == '-')
        return -ERANGE;
    return read_digits(value->text, value->text + value->length, ret);
}

int json_i64(const struct json_value *value, int64_t *ret)
{
    bool is_negative = value->type == JSON_NUMBER && value->text[0] == '-';
    uint64_t magnitude;
    int r;

    if (value->type != JSON_NUMBER)
        return -EINVAL;
    r = read_digits(value->text + is_negative, value->text + value->length, &magnitude);
    if (r < 0)
        return r;
    if (magnitude > (uint64_t)INT64_MAX + is_negative)
        return -ERANGE;
    *ret = (int64_t)(is_negative ? 0 - magnitude : magnitude);
    return 0;
}

const char *json_type_phrase(enum json_type type)
{
    static const char *const phrases[] = { "null",     "a boolean", "a number",
                                           "a string", "an array",  "an object" };

    return phrases[type];
}
