/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "api/rpc/json.h"
#include "api/rpc/utf8.h"
#include "api/rpc/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int parse(const char *text, struct json_doc **ret, struct json_fault *fault)
{
    return json_parse(text, strlen(text), &json_limits_request, ret, fault);
}

static void malformed_text_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "[1",
        "[1,]",
        "[,1]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "'a'",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\t\"",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "tru",
        "nul",
        "NaN",
        "1 2",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\u0000\"",
        "\xff",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "{\"a\":1,\"a\":2}",
        "{\"\\u0061\":1,\"a\":2}",
    };
    struct json_fault fault;
    struct json_doc *doc;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i], &doc, &fault), -EBADMSG);
        assert_non_null(fault.text);
        assert_false(fault.is_limit);
    }
}

static void what_is_read_is_written_alike(void **state)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-1.5e+10",
        "\"\"",
        "[]",
        "{}",
        "[1,[2,{\"a\":[]}],null]",
        "{\"a\":1,\"b\":\"x\\ny\\\"\\\\\"}",
        "\"\xc3\xa9\xf0\x9f\x98\x80\"",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct json_writer out = { 0 };
        struct json_fault fault;
        struct json_doc *doc;
        char *text;

        assert_int_equal(parse(texts[i], &doc, &fault), 0);
        json_put_value(&out, json_doc_root(doc));
        assert_int_equal(json_writer_take(&out, &text, NULL), 0);
        assert_string_equal(text, texts[i]);
        free(text);
        json_doc_free(doc);
    }
}

static void escapes_are_decoded(void **state)
{
    struct json_fault fault;
    struct json_doc *doc;

    assert_int_equal(parse("\"\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\"", &doc, &fault), 0);
    assert_string_equal(json_doc_root(doc)->text, "\xc3\xa9\xf0\x9f\x98\x80/\b\f\n\r\t");
    json_doc_free(doc);
}

static void limits_are_told_from_mistakes(void **state)
{
    static const struct json_limits tight = {
        .depth = 2, .values = 4, .members = 2, .string_bytes = 3, .number_bytes = 3
    };
    static const char *const over[] = { "[[[]]]", "[1,1,1,1]", "{\"a\":1,\"b\":1,\"c\":1}",
                                        "\"abcd\"", "1234" };
    static const char *const under[] = { "[[]]", "[1,1,1]", "{\"a\":1,\"b\":1}", "\"abc\"", "123" };
    struct json_fault fault;
    struct json_doc *doc;

    for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
        assert_int_equal(json_parse(over[i], strlen(over[i]), &tight, &doc, &fault), -EBADMSG);
        assert_true(fault.is_limit);
        assert_int_equal(json_parse(under[i], strlen(under[i]), &tight, &doc, &fault), 0);
        json_doc_free(doc);
    }
}

static void numbers_must_fit(void **state)
{
    struct json_fault fault;
    struct json_doc *doc;
    uint64_t u = 7;
    int64_t i = 7;

    assert_int_equal(parse("[18446744073709551615,18446744073709551616,-1,1.0,1e3,"
                           "-9223372036854775808,-9223372036854775809,\"1\"]",
                           &doc, &fault),
                     0);
    const struct json_value *v = json_doc_root(doc)->first;

    assert_int_equal(json_u64(v, &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(json_i64(v, &i), -ERANGE);
    v = v->next;
    assert_int_equal(json_u64(v, &u), -ERANGE);
    v = v->next;
    assert_int_equal(json_u64(v, &u), -ERANGE);
    assert_int_equal(json_i64(v, &i), 0);
    assert_true(i == -1);
    v = v->next;
    assert_int_equal(json_u64(v, &u), -EINVAL);
    v = v->next;
    assert_int_equal(json_u64(v, &u), -EINVAL);
    v = v->next;
    assert_int_equal(json_i64(v, &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(json_i64(v->next, &i), -ERANGE);
    assert_int_equal(json_u64(v->next->next, &u), -EINVAL);
    json_doc_free(doc);
}

static void bytes_that_are_no_text_are_written_as_text(void **state)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_array(&out);
    json_put_bytes(&out, "a\xff\x01\x00z", 5);
    json_put_base64(&out, "\x00\xff\x10", 3);
    json_put_base64(&out, "ab", 2);
    json_put_base64(&out, "", 0);
    json_put_double(&out, 1.0 / 0.0);
    json_end_array(&out);
    assert_int_equal(json_writer_take(&out, &text, NULL), 0);
    assert_string_equal(text, "[\"a\xef\xbf\xbd\\u0001\\u0000z\",\"AP8Q\",\"YWI=\",\"\",null]");
    free(text);
}

/* Every cut and every flipped byte of a rich text either parses or is refused: no third way. */
static void damage_is_refused_or_read(void **state)
{
    static const char rich[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\",null,true],\"b\":{\"c\":{}}}";
    char copy[sizeof(rich)];
    struct json_fault fault;
    struct json_doc *doc;

    for (size_t at = 0; at < sizeof(rich) - 1; at++) {
        if (json_parse(rich, at, &json_limits_request, &doc, &fault) == 0)
            fail();
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(copy, rich, sizeof(rich));
            copy[at] = (char)(copy[at] ^ 1u << bit);
            if (json_parse(copy, sizeof(rich) - 1, &json_limits_request, &doc, &fault) == 0)
                json_doc_free(doc);
        }
    }
}

static void copies_end_between_characters(void **state)
{
    static const struct {
        const char *text;
        size_t max;
        const char *copy;
    } rows[] = {
        { "\xff", 9, "" },
        { "a\xc3", 9, "a" },
        { "ab", 1, "a" },
        { "a\xc3\xa9", 2, "a" },
        { "a\xc3\xa9", 3, "a\xc3\xa9" },
        { "\xf0\x9f\x98\x80", 3, "" },
        { "whole", 99, "whole" },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *copy = utf8_copy(rows[i].text, rows[i].max);

        assert_string_equal(copy, rows[i].copy);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_text_is_refused),
        cmocka_unit_test(what_is_read_is_written_alike),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(limits_are_told_from_mistakes),
        cmocka_unit_test(numbers_must_fit),
        cmocka_unit_test(bytes_that_are_no_text_are_written_as_text),
        cmocka_unit_test(damage_is_refused_or_read),
        cmocka_unit_test(copies_end_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
