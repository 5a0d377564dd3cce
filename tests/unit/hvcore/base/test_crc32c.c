/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/crc32c.h"
#include "tests/lib/cmocka.h"

#include <string.h>

/* RFC 3720 appendix B.4: the examples. */
static void known_answers_come_out(void **state)
{
    uint8_t bytes[32];

    assert_int_equal(hv_crc32c(0, "", 0), 0);
    assert_int_equal(hv_crc32c(0, "123456789", 9), 0xe3069283u);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(hv_crc32c(0, bytes, sizeof(bytes)), 0x8a9136aau);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(hv_crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43u);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(hv_crc32c(0, bytes, sizeof(bytes)), 0x46dd794eu);
}

static void a_sum_may_be_continued(void **state)
{
    assert_int_equal(hv_crc32c(hv_crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers_come_out),
        cmocka_unit_test(a_sum_may_be_continued),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
