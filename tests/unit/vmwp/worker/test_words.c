/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmwp/worker/words.h"

#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>

static int make_file(void **state)
{
    int *fd = malloc(sizeof(*fd));

    *fd = memfd_create("words", MFD_CLOEXEC);
    assert_true(*fd >= 0);
    *state = fd;
    return 0;
}

static int drop_file(void **state)
{
    int *fd = *state;

    close(*fd);
    free(fd);
    return 0;
}

static const char *read_state(int fd, uint64_t *ret_sequence, char *text)
{
    assert_int_equal(wp_words_read(fd, text, ret_sequence), 0);
    return strstr(text, "\"state\":");
}

static void an_empty_or_foreign_file_says_nothing(void **state)
{
    char text[WP_WORDS_MAX_TEXT + 1], noise[2 * WP_WORDS_SLOT_BYTES];
    int fd = *(int *)*state;
    uint64_t sequence;

    assert_int_equal(wp_words_read(fd, text, &sequence), -ENODATA);
    memset(noise, 0xa5, sizeof(noise));
    assert_int_equal(pwrite(fd, noise, sizeof(noise), 0), sizeof(noise));
    assert_int_equal(wp_words_read(fd, text, &sequence), -ENODATA);
    assert_int_equal(wp_words_read(-1, text, &sequence), -EBADF);
}

static void the_later_words_count(void **state)
{
    char text[WP_WORDS_MAX_TEXT + 1];
    struct wp_words_file file;
    int fd = *(int *)*state;
    uint64_t sequence;

    wp_words_open(&file, fd);
    for (unsigned i = 1; i <= 5; i++) {
        struct wp_words words = { .state = "running", .exit_status = i };

        assert_int_equal(wp_words_write(&file, &words), 0);
        (void)read_state(fd, &sequence, text);
        assert_int_equal(sequence, i);
    }
    assert_non_null(strstr(text, "\"exit_status\":5"));
    wp_words_open(&file, fd);
    assert_int_equal(wp_words_write(&file, &(struct wp_words){ .state = "stopped" }), 0);
    assert_non_null(strstr(read_state(fd, &sequence, text), "stopped"));
    assert_int_equal(sequence, 6);
}

/* Whatever byte of the newer slot is damaged, the older one still speaks. */
static void a_torn_slot_leaves_the_one_before(void **state)
{
    char text[WP_WORDS_MAX_TEXT + 1];
    struct wp_words_file file;
    int fd = *(int *)*state;
    uint64_t sequence;
    size_t used;

    wp_words_open(&file, fd);
    assert_int_equal(wp_words_write(&file, &(struct wp_words){ .state = "running" }), 0);
    assert_int_equal(wp_words_write(&file, &(struct wp_words){ .state = "stopped" }), 0);
    (void)read_state(fd, &sequence, text);
    used = WP_WORDS_HEADER_BYTES + strlen(text);
    for (size_t at = 0; at < used; at++) {
        char byte, bad;

        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        bad = (char)(byte ^ 0x10);
        assert_int_equal(pwrite(fd, &bad, 1, (off_t)at), 1);
        if (at < 8 || at >= 16) { /* a changed sequence is still a sequence */
            assert_non_null(strstr(read_state(fd, &sequence, text), "running"));
            assert_int_equal(sequence, 1);
        }
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
}

static void a_long_message_is_cut_between_characters(void **state)
{
    char text[WP_WORDS_MAX_TEXT + 1], message[4001];
    struct wp_words_file file;
    int fd = *(int *)*state;
    json_object *object, *value;
    uint64_t sequence;

    for (size_t i = 0; i + 1 < sizeof(message); i += 2)
        memcpy(message + i, "\xc3\xa4", 2);
    message[sizeof(message) - 1] = 0;
    wp_words_open(&file, fd);
    assert_int_equal(wp_words_write(&file, &(struct wp_words){ .message = message }), 0);
    (void)read_state(fd, &sequence, text);
    object = json_tokener_parse(text);
    assert_true(json_object_object_get_ex(object, "message", &value));
    assert_int_equal(json_object_get_string_len(value) % 2, 0);
    assert_in_range(json_object_get_string_len(value), 200, 1024);
    json_object_put(object);
}

static void control_characters_fit_escaped(void **state)
{
    char text[WP_WORDS_MAX_TEXT + 1], message[2000];
    struct wp_words_file file;
    int fd = *(int *)*state;
    uint64_t sequence;

    memset(message, 0x1f, sizeof(message) - 1);
    message[sizeof(message) - 1] = 0;
    wp_words_open(&file, fd);
    assert_int_equal(wp_words_write(&file, &(struct wp_words){ .message = message }), 0);
    (void)read_state(fd, &sequence, text);
    assert_non_null(strstr(text, "\\u001f"));
}

static void without_a_file_nothing_is_written(void **state)
{
    struct wp_words_file file;

    (void)state;
    wp_words_open(&file, -1);
    assert_int_equal(wp_words_write(&file, &(struct wp_words){ .state = "ready" }), 0);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, make_file, drop_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(an_empty_or_foreign_file_says_nothing),
        WITH_FILE(the_later_words_count),
        WITH_FILE(a_torn_slot_leaves_the_one_before),
        WITH_FILE(a_long_message_is_cut_between_characters),
        WITH_FILE(control_characters_fit_escaped),
        cmocka_unit_test(without_a_file_nothing_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
