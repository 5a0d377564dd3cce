/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmmsd/io/options.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct world {
    char directory[32];
    char file[48];
    char drop_ins[56];
};

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    (void)snprintf(world->directory, sizeof(world->directory), "/tmp/hvoptions.XXXXXX");
    assert_non_null(mkdtemp(world->directory));
    (void)snprintf(world->file, sizeof(world->file), "%s/vmmsd.conf", world->directory);
    (void)snprintf(world->drop_ins, sizeof(world->drop_ins), "%s.d", world->file);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char path[80];

    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s/%c.conf", world->drop_ins, 'a' + i);
        (void)unlink(path);
    }
    (void)rmdir(world->drop_ins);
    (void)unlink(world->file);
    (void)rmdir(world->directory);
    free(world);
    return 0;
}

static int read_with(struct world *world, const char *extra, const char *value,
                     struct vmms_options *ret, struct hv_error **reterr)
{
    char *argv[] = { (char *)"vmmsd", (char *)"--worker", (char *)"/bin/true", (char *)"--config",
                     world->file,     (char *)extra,      (char *)value,       NULL };

    return vmms_options_read(extra ? 7 : 5, argv, ret, reterr);
}

static void refuse(struct world *world, const char *text, const char *message)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    char expected[512];
    struct vmms_options options;

    put(world->file, text);
    assert_true(read_with(world, NULL, NULL, &options, &error) < 0);
    (void)snprintf(expected, sizeof(expected), "%s:%s", world->file, message);
    assert_string_equal(error->message, expected);
    vmms_options_fini(&options);
}

static void a_file_that_is_wrong_is_refused_by_file_and_line(void **state)
{
    struct world *world = *state;

    refuse(world, "[api]\nbus = nowhere\n",
           "2: bus is none, system, session or an address like unix:path=/run/x, not nowhere.");
    refuse(world, "# words\n\n[api]\nbuss = none\n",
           "4: There is no key \"buss\" in [api]; there are: bus, listen.");
    refuse(world, "[http]\nport = 1\n",
           "2: There is no section [http]; there are: service, api, workers, events.");
    refuse(world, "bus = none\n", "1: A key stands before the first [section].");
    refuse(world, "[api\n", "1: A section is written [name].");
    refuse(world, "[]\n", "1: A section is written [name].");
    refuse(world, "[api]\nbus\n", "2: A line is \"key = value\", \"[section]\" or \"# comment\".");
    refuse(world, "[api]\nlisten = host\n",
           "2: listen takes HOST:PORT, with a port from 1 to 65535, not host.");
    refuse(world, "[workers]\nunits = perhaps\n", "2: units is auto or no, not perhaps.");
    refuse(world, "[service]\nlog-level = loud\n",
           "2: log-level is error, warning, info or debug, not loud.");
    refuse(world, "[service]\nstate-dir =\n", "2: A directory or file name is empty.");
    refuse(world, "[service]\nstate-dir = /a\x01\n", "2: The line holds a control character.");
}

static void a_file_that_is_not_there_is_named(void **state)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct world *world = *state;
    struct vmms_options options;

    assert_int_equal(read_with(world, NULL, NULL, &options, &error), -ENOENT);
    assert_non_null(strstr(error->message, world->file));
    vmms_options_fini(&options);
    error = hv_error_free(error);
    assert_int_equal(mkdir(world->file, 0700), 0);
    assert_true(read_with(world, NULL, NULL, &options, &error) < 0);
    assert_non_null(strstr(error->message, "not a regular file"));
    vmms_options_fini(&options);
    assert_int_equal(rmdir(world->file), 0);
}

static void all_settings_are_taken(void **state)
{
    struct world *world = *state;
    struct vmms_options options;

    put(world->file,
        "; words\n[service]\nstate-dir=/s\n  runtime-dir = /r \r\nlog-level = debug\n"
        "[api]\nbus=session\nlisten = *:8443\nlisten = [::1]:9\n[workers]\nunits = no\n");
    assert_int_equal(read_with(world, NULL, NULL, &options, NULL), 0);
    assert_string_equal(options.state_dir, "/s");
    assert_string_equal(options.runtime_dir, "/r");
    assert_int_equal(options.log_level, HV_LOG_DEBUG);
    assert_string_equal(options.bus, "session");
    assert_int_equal(options.n_listen, 2);
    assert_string_equal(options.listen[1], "[::1]:9");
    assert_false(options.wants_units);
    vmms_options_fini(&options);
}

static void later_drop_ins_and_then_the_command_line_count_more(void **state)
{
    struct world *world = *state;
    struct vmms_options options;
    char path[80];

    put(world->file, "[service]\nstate-dir = /file\nruntime-dir = /file\n[api]\nlisten = a:1\n");
    assert_int_equal(mkdir(world->drop_ins, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/b.conf", world->drop_ins);
    put(path, "[service]\nstate-dir = /b\n[api]\nlisten =\nlisten = b:2\n");
    (void)snprintf(path, sizeof(path), "%s/a.conf", world->drop_ins);
    put(path, "[service]\nstate-dir = /a\nlog-level = error\n");
    assert_int_equal(read_with(world, NULL, NULL, &options, NULL), 0);
    assert_string_equal(options.state_dir, "/b");
    assert_string_equal(options.runtime_dir, "/file");
    assert_int_equal(options.log_level, HV_LOG_ERROR);
    assert_int_equal(options.n_listen, 1);
    assert_string_equal(options.listen[0], "b:2");
    vmms_options_fini(&options);

    assert_int_equal(read_with(world, "--listen", "c:3", &options, NULL), 0);
    assert_int_equal(options.n_listen, 1);
    assert_string_equal(options.listen[0], "c:3");
    assert_string_equal(options.state_dir, "/b");
    vmms_options_fini(&options);
}

static void a_wrong_drop_in_is_named(void **state)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct world *world = *state;
    struct vmms_options options;
    char path[80];

    put(world->file, "[api]\n");
    assert_int_equal(mkdir(world->drop_ins, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/a.conf", world->drop_ins);
    put(path, "\nbus = none\n");
    assert_true(read_with(world, NULL, NULL, &options, &error) < 0);
    assert_non_null(strstr(error->message, "vmmsd.conf.d/a.conf:2: A key stands before"));
    vmms_options_fini(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_that_is_wrong_is_refused_by_file_and_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_not_there_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_settings_are_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(later_drop_ins_and_then_the_command_line_count_more, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_wrong_drop_in_is_named, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
