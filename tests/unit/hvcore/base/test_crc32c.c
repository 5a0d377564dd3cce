/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/crc32c.h"
#include "hvcore/base/crc32c_priv.h"
#include "tests/lib/cmocka.h"

#include <string.h>

typedef uint32_t crc_fn(uint32_t crc, const void *bytes, size_t length);

/* RFC 3720 appendix B.4: the examples. */
static void check_known_answers(crc_fn *crc)
{
    static const uint8_t read_command[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 4, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02
    };
    uint8_t bytes[32];

    assert_int_equal(crc(0, read_command, sizeof(read_command)), 0xd9963a56u);
    assert_int_equal(crc(0, "", 0), 0);
    assert_int_equal(crc(0, "123456789", 9), 0xe3069283u);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc(0, bytes, sizeof(bytes)), 0x8a9136aau);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc(0, bytes, sizeof(bytes)), 0x62a8ab43u);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc(0, bytes, sizeof(bytes)), 0x46dd794eu);
}

static void known_answers_come_out(void **state)
{
    check_known_answers(hv_crc32c);
    check_known_answers(hv_crc32c_plain);
    if (hv_crc32c_has_instruction())
        check_known_answers(hv_crc32c_instruction);
}

static void both_ways_agree_at_every_length_and_alignment(void **state)
{
    uint8_t bytes[200];

    if (!hv_crc32c_has_instruction())
        skip();
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 167 + 13);
    for (unsigned first = 0; first < 16; first++)
        for (unsigned length = 0; first + length <= sizeof(bytes); length++)
            assert_int_equal(hv_crc32c_instruction(length, bytes + first, length),
                             hv_crc32c_plain(length, bytes + first, length));
}

static void a_sum_may_be_continued(void **state)
{
    assert_int_equal(hv_crc32c(hv_crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers_come_out),
        cmocka_unit_test(both_ways_agree_at_every_length_and_alignment),
        cmocka_unit_test(a_sum_may_be_continued),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
