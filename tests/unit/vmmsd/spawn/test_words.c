/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/base/crc32c.h"
#include "vmmsd/spawn/words.h"

#include <string.h>

static const char incarnation[] = "00000000-0000-4000-8000-000000000001";

static void put(uint8_t *slot, uint64_t sequence, const char *text)
{
    const uint32_t magic = 0x4c575648, version = 1;
    uint32_t length = (uint32_t)strlen(text), crc = hv_crc32c(0, text, length);

    memcpy(slot, &magic, 4);
    memcpy(slot + 4, &version, 4);
    memcpy(slot + 8, &sequence, 8);
    memcpy(slot + 16, &length, 4);
    memcpy(slot + 20, &crc, 4);
    memcpy(slot + 24, text, length);
}

#define WORDS(state)                                                                               \
    "{\"incarnation\":\"00000000-0000-4000-8000-000000000001\",\"state\":\"" state "\"}"

static void nothing_said_is_no_words(void **state)
{
    static uint8_t file[VMMS_WORDS_FILE_BYTES];
    struct vmms_words words;

    assert_int_equal(vmms_words_read(file, incarnation, &words), -ENOENT);
}

static void the_newer_valid_slot_counts(void **state)
{
    static uint8_t file[VMMS_WORDS_FILE_BYTES];
    struct vmms_words words;

    put(file, 3, WORDS("running"));
    put(file + 2048, 4, WORDS("stopped"));
    assert_int_equal(vmms_words_read(file, incarnation, &words), 0);
    assert_string_equal(words.state, "stopped");
    vmms_words_fini(&words);
    file[2048 + 30] ^= 1;
    assert_int_equal(vmms_words_read(file, incarnation, &words), 0);
    assert_string_equal(words.state, "running");
    vmms_words_fini(&words);
    assert_int_equal(vmms_words_read(file, "00000000-0000-4000-8000-000000000002", &words),
                     -ENOENT);
}

static void an_error_is_told_in_settings(void **state)
{
    struct vmms_words words = { .code = (char *)"vm.kernel.format",
                                .field = (char *)"kernel_fd",
                                .message = (char *)"It is no kernel." };
    struct api_error *error = vmms_words_error(&words, "web");

    assert_int_equal(error->code, API_E_INVALID_PARAMETER);
    assert_string_equal(error->data.field, "boot.kernel");
    assert_string_equal(error->message, "VM web cannot be started: It is no kernel.");
    api_error_free(error);
}

/* A worker may write anything: every flipped bit and every length is refused or read. */
static void no_byte_of_the_file_is_trusted(void **state)
{
    static uint8_t file[VMMS_WORDS_FILE_BYTES];
    struct vmms_words words;

    for (size_t at = 0; at < 120; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            memset(file, 0, sizeof(file));
            put(file, 1, WORDS("running"));
            file[at] = (uint8_t)(file[at] ^ 1u << bit);
            if (vmms_words_read(file, incarnation, &words) == 0)
                vmms_words_fini(&words);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_said_is_no_words),
        cmocka_unit_test(the_newer_valid_slot_counts),
        cmocka_unit_test(an_error_is_told_in_settings),
        cmocka_unit_test(no_byte_of_the_file_is_trusted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
