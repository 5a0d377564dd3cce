/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmmsd/rpc/rpc_priv.h"

#include <string.h>

static unsigned judge(struct head *head, const char *text)
{
    return vmms_head_judge(head, text, strlen(text));
}

static unsigned first(const char *text)
{
    struct head head = { 0 };

    return judge(&head, text);
}

static void what_begins_with_a_method_may_be_a_request(void **state)
{
    static const char *const good[] = { "P", "GET", "GET ", "POST /rpc HTTP/1.1\r\n", "DELETE x" };
    static const char *const bad[] = { "p",       "GETS /",       " GET /",        "\r\nGET /",
                                       "BREW / ", "\x16\3",       "TRACE / x",     "{\"jsonrpc\"",
                                       "C",       "CONNECT x:1 ", "PRI * HTTP/2.0" };

    for (size_t i = 0; i < HV_ARRAY_SIZE(good); i++)
        assert_int_equal(first(good[i]), 0);
    for (size_t i = 0; i < HV_ARRAY_SIZE(bad); i++)
        assert_int_equal(first(bad[i]), 400);
}

/* So much of `a` after a line that is begun well. */
static const char *long_head(size_t length)
{
    static char text[3 * HEADER_BYTES];

    memset(text, 'a', sizeof(text));
    memcpy(text, "GET /", 5);
    text[length] = '\0';
    return text;
}

static void a_head_has_its_length(void **state)
{
    struct head head = { 0 };
    unsigned status = 0, pieces = 0;

    assert_int_equal(first(long_head(HEADER_BYTES)), 0);
    assert_int_equal(first(long_head(HEADER_BYTES + 1)), 431);
    while (!status && pieces++ < 100)
        status = judge(&head, long_head(1000));
    assert_int_equal(status, 431);
    assert_int_equal(pieces, HEADER_BYTES / 1000 + 1);
}

static void what_is_behind_a_head_does_not_count(void **state)
{
    static const char *const ends[] = { "\r\n\r\n", "\n\n", "\n\r\n" };
    char text[HEADER_BYTES + 2];

    for (size_t i = 0; i < HV_ARRAY_SIZE(ends); i++) {
        memcpy(text, long_head(HEADER_BYTES + 1), sizeof(text));
        memcpy(text + 100, ends[i], strlen(ends[i]));
        assert_int_equal(first(text), 0);
    }
}

static void an_end_that_is_split_is_left_to_the_parser(void **state)
{
    struct head head = { 0 };
    char text[HEADER_BYTES + 2];

    assert_int_equal(judge(&head, "POST /rpc HTTP/1.1\r\nHost: x\r\n\r"), 0);
    memset(text, ' ', sizeof(text));
    text[0] = '\n';
    assert_int_equal(vmms_head_judge(&head, text, HEADER_BYTES + 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_begins_with_a_method_may_be_a_request),
        cmocka_unit_test(a_head_has_its_length),
        cmocka_unit_test(what_is_behind_a_head_does_not_count),
        cmocka_unit_test(an_end_that_is_split_is_left_to_the_parser),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
