/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmwp/worker/definition.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define UUID   "01020304-0506-0708-090A-0b0c0d0e0f10"
#define SECRET "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"

#define OTHER             "01020304-0506-0708-090a-0b0c0d0e0f11"
#define FILE_AT(fd, path) "{\"fd\":" fd ",\"path\":\"" path "\"}"
#define FILE(fd)          FILE_AT(fd, "/images/a.vhdx")
#define DISK(controller, lun, id, kind, format, files)                                             \
    "{\"controller\":" controller ",\"lun\":" lun ",\"id\":\"" id "\",\"kind\":\"" kind            \
    "\",\"format\":\"" format "\",\"read_only\":true,\"chain\":[" files "]}"
#define AT(place, id, files) DISK("1", place, id, "disk", "raw", files)

/* A good definition as fields that a test may replace one by one. */
static const struct {
    const char *name, *value;
} good[] = {
    { "version", "1" },
    { "vm_id", "\"" UUID "\"" },
    { "name", "\"gr\\u00fcn\"" },
    { "incarnation", "\"" UUID "\"" },
    { "secret", "\"" SECRET "\"" },
    { "epoch", "18446744073709551615" },
    { "backend", "\"soft\"" },
    { "cpu_count", "2" },
    { "memory_bytes", "536870912" },
    { "kernel_fd", "6" },
    { "initrd_fd", "7" },
    { "kvm_fd", "-1" },
    { "cmdline", "\"console=ttyS0\"" },
    { "debug_exit_port", "244" },
    { "on_triple_fault", "\"reset\"" },
    { "on_reset", "\"stop\"" },
    { "services", "{\"heartbeat\":true,\"shutdown\":false,\"time_sync\":true,\"kvp\":true,"
                  "\"vss\":true,\"guest_services\":false}" },
    { "controllers", "[{\"number\":1,\"instance\":\"" UUID "\"}]" },
    { "scsi", "[" DISK("1", "3", UUID, "disk", "vhdx",
                       FILE("9") "," FILE("10")) "," DISK("1", "63", OTHER, "dvd", "raw", "") "]" },
};

/* Compose with `name` set to `value` (NULL: left out). Returns the length. */
static size_t compose(char *text, size_t size, const char *name, const char *value)
{
    size_t length = (size_t)snprintf(text, size, "{");

    for (size_t i = 0; i < HV_ARRAY_SIZE(good); i++) {
        bool is_it = name && strcmp(good[i].name, name) == 0;

        if (is_it && !value)
            continue;
        length += (size_t)snprintf(text + length, size - length, "%s\"%s\":%s",
                                   text[length - 1] == '{' ? "" : ",", good[i].name,
                                   is_it ? value : good[i].value);
    }
    return length + (size_t)snprintf(text + length, size - length, "}\n");
}

static void a_whole_definition_is_read(void **state)
{
    struct wp_definition d;
    char text[4096];
    size_t length = compose(text, sizeof(text), NULL, NULL);

    (void)state;
    assert_int_equal(wp_definition_parse(text, length, &d, NULL), 0);
    assert_string_equal(d.vm_id, "01020304-0506-0708-090a-0b0c0d0e0f10");
    assert_string_equal(d.name, "gr\xc3\xbcn");
    assert_string_equal(d.secret,
                        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    assert_true(d.epoch == UINT64_MAX);
    assert_int_equal(d.backend, HV_BACKEND_SOFT);
    assert_int_equal(d.cpu_count, 2);
    assert_int_equal(d.memory_bytes, 512 << 20);
    assert_int_equal(d.kernel_fd, 6);
    assert_int_equal(d.initrd_fd, 7);
    assert_int_equal(d.kvm_fd, -1);
    assert_string_equal(d.cmdline, "console=ttyS0");
    assert_int_equal(d.debug_exit_port, 0xf4);
    assert_int_equal(d.on_triple_fault, WP_ON_END_RESET);
    assert_int_equal(d.on_reset, WP_ON_END_STOP);
    wp_definition_fini(&d);
}

static void disks_are_read_with_their_parents(void **state)
{
    struct wp_definition d;
    char text[4096];
    size_t length = compose(text, sizeof(text), NULL, NULL);

    (void)state;
    assert_int_equal(wp_definition_parse(text, length, &d, NULL), 0);
    assert_true(d.services.heartbeat && !d.services.shutdown && !d.services.guest_services);
    assert_int_equal(d.n_controllers, 1);
    assert_int_equal(d.controllers[0].number, 1);
    assert_string_equal(d.controllers[0].instance, "01020304-0506-0708-090a-0b0c0d0e0f10");
    assert_int_equal(d.n_disks, 2);
    assert_int_equal(d.disks[0].lun, 3);
    assert_int_equal(d.disks[0].kind, WP_DISK_DISK);
    assert_int_equal(d.disks[0].format, WP_IMAGE_VHDX);
    assert_true(d.disks[0].is_read_only);
    assert_int_equal(d.disks[0].n_chain, 2);
    assert_int_equal(d.disks[0].chain[1].fd, 10);
    assert_string_equal(d.disks[0].chain[1].path, "/images/a.vhdx");
    assert_int_equal(d.disks[1].kind, WP_DISK_DVD);
    assert_int_equal(d.disks[1].n_chain, 0);
    wp_definition_fini(&d);
}

/* The whole is good but for one thing about a disk, which is named by its place. */
static void a_bad_disk_is_named_by_its_place(void **state)
{
    static const struct {
        const char *value, *field;
    } bad[] = {
        { "[" AT("0", UUID, "") "]", "devices.1:0" },
        { "[" AT("0", UUID, FILE("5")) "]", "devices.1:0" },
        { "[" AT("0", UUID, FILE("-1")) "]", "devices.1:0" },
        { "[" AT("0", UUID, FILE("6")) "]", "devices.1:0" },
        { "[" AT("0", UUID, FILE("9") "," FILE("9")) "]", "devices.1:0" },
        { "[" AT("0", UUID, FILE("9")) "," AT("1", OTHER, FILE("9")) "]", "devices.1:0" },
        { "[" AT("0", UUID, FILE("9")) "," AT("0", OTHER, FILE("10")) "]", "devices.1:0" },
        { "[" AT("0", UUID, FILE("9")) "," AT("1", UUID, FILE("10")) "]", "devices.1:1" },
        { "[" AT("0", UUID, "{\"fd\":9}") "]", "devices.1:0" },
        { "[" AT("0", UUID, "{\"fd\":9,\"path\":\"/x\",\"more\":1}") "]", "devices.1:0" },
        { "[" AT("0", UUID, "7") "]", "devices.1:0" },
        { "[" DISK("0", "0", UUID, "disk", "raw", FILE("9")) "]", "devices.0:0" },
        { "[" DISK("4", "0", UUID, "disk", "raw", FILE("9")) "]", "scsi" },
        { "[" AT("64", UUID, FILE("9")) "]", "scsi" },
        { "[" AT("-1", UUID, FILE("9")) "]", "scsi" },
        { "[" AT("0", "nonsense", FILE("9")) "]", "scsi" },
        { "[" DISK("1", "0", UUID, "tape", "raw", FILE("9")) "]", "scsi" },
        { "[" DISK("1", "0", UUID, "disk", "qcow2", FILE("9")) "]", "scsi" },
        { "[{}]", "scsi" },
        { "[1]", "scsi" },
        { "{}", "scsi" },
    };

    (void)state;
    for (size_t i = 0; i < HV_ARRAY_SIZE(bad); i++) {
        struct hv_error *error = NULL;
        struct wp_definition d;
        char text[4096];
        size_t length = compose(text, sizeof(text), "scsi", bad[i].value);

        assert_int_equal(wp_definition_parse(text, length, &d, &error), -EINVAL);
        assert_string_equal(error->field, bad[i].field);
        hv_error_free(error);
    }
}

static void chains_have_an_end(void **state)
{
    char value[4096], text[8192];
    struct wp_definition d;
    size_t length, at;

    (void)state;
    for (int files = 33; files <= 34; files++) {
        at = (size_t)snprintf(value, sizeof(value),
                              "[{\"controller\":1,\"lun\":0,\"id\":\"" UUID
                              "\",\"kind\":\"disk\",\"format\":\"vhd\",\"read_only\":false,"
                              "\"chain\":[");
        for (int i = 0; i < files; i++)
            at += (size_t)snprintf(value + at, sizeof(value) - at, "%s{\"fd\":%d,\"path\":\"\"}",
                                   i ? "," : "", 100 + i);
        (void)snprintf(value + at, sizeof(value) - at, "]}]");
        length = compose(text, sizeof(text), "scsi", value);
        assert_int_equal(wp_definition_parse(text, length, &d, NULL), files == 33 ? 0 : -EINVAL);
        if (files == 33)
            wp_definition_fini(&d);
    }
}

static void what_may_be_left_out_has_a_default(void **state)
{
    static const char *const optional[] = { "services",        "scsi",    "initrd_fd",
                                            "kvm_fd",          "cmdline", "debug_exit_port",
                                            "on_triple_fault", "on_reset" };
    struct wp_definition d;
    char text[4096];

    (void)state;
    for (size_t i = 0; i < HV_ARRAY_SIZE(optional); i++) {
        size_t length = compose(text, sizeof(text), optional[i], NULL);

        assert_int_equal(wp_definition_parse(text, length, &d, NULL), 0);
        wp_definition_fini(&d);
    }
    assert_int_equal(d.on_reset, WP_ON_END_RESET);
}

static void each_missing_field_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        struct hv_error *error = NULL;
        struct wp_definition d;
        char text[4096];
        size_t length = compose(text, sizeof(text), good[i].name, NULL);

        assert_int_equal(wp_definition_parse(text, length, &d, &error), -EINVAL);
        assert_string_equal(error->code, "vm.definition.missing");
        assert_string_equal(error->field, good[i].name);
        hv_error_free(error);
    }
}

static void each_wrong_value_is_named(void **state)
{
    static const struct {
        const char *name, *value;
    } bad[] = {
        { "version", "0" },
        { "version", "2" },
        { "version", "\"1\"" },
        { "version", "1.0" },
        { "vm_id", "\"\"" },
        { "vm_id", "\"" UUID "0\"" },
        { "vm_id", "\"01020304-0506-0708-090A-0b0c0d0e0f1\\u0000\"" },
        { "vm_id", "7" },
        { "name", "\"\"" },
        { "name", "\"a\\nb\"" },
        { "name", "\"a\\u007f\"" },
        { "name", "\"a\\u0000b\"" },
        { "name", "null" },
        { "incarnation", "\"zz\"" },
        { "secret", "\"\"" },
        { "secret", "\"" SECRET "0\"" },
        { "secret", "\"g0112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff\"" },
        { "epoch", "-1" },
        { "epoch", "\"1\"" },
        { "backend", "\"xen\"" },
        { "backend", "\"\"" },
        { "cpu_count", "0" },
        { "cpu_count", "65" },
        { "cpu_count", "-1" },
        { "cpu_count", "4294967297" },
        { "cpu_count", "18446744073709551617" },
        { "memory_bytes", "0" },
        { "memory_bytes", "67108863" },
        { "memory_bytes", "67108865" },
        { "memory_bytes", "68719480832" },
        { "memory_bytes", "-67108864" },
        { "memory_bytes", "6.7e7" },
        { "kernel_fd", "-2" },
        { "kernel_fd", "5" },
        { "kernel_fd", "4294967302" },
        { "initrd_fd", "6" },
        { "kvm_fd", "7" },
        { "cmdline", "\"a\\u0000b\"" },
        { "cmdline", "[]" },
        { "debug_exit_port", "65536" },
        { "debug_exit_port", "-1" },
        { "on_triple_fault", "\"halt\"" },
        { "on_reset", "\"\"" },
        { "on_reset", "{}" },
        { "services", "{}" },
        { "services", "[]" },
        { "services", "{\"heartbeat\":1,\"shutdown\":false,\"time_sync\":true,\"kvp\":true,"
                      "\"vss\":true,\"guest_services\":false}" },
        { "controllers", "{}" },
        { "controllers", "[7]" },
        { "controllers", "[{\"number\":4,\"instance\":\"" UUID "\"}]" },
        { "controllers", "[{\"number\":0,\"instance\":\"x\"}]" },
        { "controllers", "[{\"number\":1,\"instance\":\"" UUID "\"},"
                         "{\"number\":1,\"instance\":\"" OTHER "\"}]" },
        { "controllers", "[{\"number\":1,\"instance\":\"" UUID "\"},"
                         "{\"number\":2,\"instance\":\"" UUID "\"}]" },
        { "controllers", "[{},{},{},{},{}]" },
    };

    (void)state;
    for (size_t i = 0; i < HV_ARRAY_SIZE(bad); i++) {
        struct hv_error *error = NULL;
        struct wp_definition d;
        char text[4096];
        size_t length = compose(text, sizeof(text), bad[i].name, bad[i].value);

        assert_int_equal(wp_definition_parse(text, length, &d, &error), -EINVAL);
        assert_non_null(error);
        assert_string_equal(error->field, bad[i].name);
        assert_non_null(strstr(error->message, "."));
        hv_error_free(error);
    }
}

static void lengths_are_bounded(void **state)
{
    char value[3000], text[8192];
    struct wp_definition d;
    size_t length;

    (void)state;
    memset(value, 'x', sizeof(value));
    value[0] = '"';
    memcpy(value + 257, "\"", 2);
    length = compose(text, sizeof(text), "name", value);
    assert_int_equal(wp_definition_parse(text, length, &d, NULL), 0);
    assert_int_equal(strlen(d.name), 256);
    wp_definition_fini(&d);
    memcpy(value + 257, "x\"", 3);
    length = compose(text, sizeof(text), "name", value);
    assert_int_equal(wp_definition_parse(text, length, &d, NULL), -EINVAL);
    memset(value + 1, 'x', sizeof(value) - 1);
    memcpy(value + 2048, "\"", 2);
    length = compose(text, sizeof(text), "cmdline", value);
    assert_int_equal(wp_definition_parse(text, length, &d, NULL), 0);
    wp_definition_fini(&d);
    memcpy(value + 2048, "x\"", 3);
    length = compose(text, sizeof(text), "cmdline", value);
    assert_int_equal(wp_definition_parse(text, length, &d, NULL), -EINVAL);
}

static void what_is_no_json_object_is_refused(void **state)
{
    static const char *const bad[] = { "",
                                       " ",
                                       "null",
                                       "[]",
                                       "\"text\"",
                                       "1",
                                       "{",
                                       "}",
                                       "{} {}",
                                       "{}x",
                                       "{\"version\":1,}",
                                       "{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":{}}}}}}}}",
                                       "{\"name\":\"\xff\xfe\"}" };

    (void)state;
    for (size_t i = 0; i < HV_ARRAY_SIZE(bad); i++) {
        struct hv_error *error = NULL;
        struct wp_definition d;

        assert_int_equal(wp_definition_parse(bad[i], strlen(bad[i]), &d, &error), -EINVAL);
        assert_string_equal(error->code, "vm.definition.json");
        hv_error_free(error);
    }
}

static void a_cut_definition_is_refused_at_every_byte(void **state)
{
    char text[4096];
    size_t length = compose(text, sizeof(text), NULL, NULL);

    (void)state;
    for (size_t i = 0; i + 2 < length; i++) {
        struct wp_definition d;
        char *cut = malloc(i + 1); /* its own block, so that a sanitizer sees each byte too far */

        memcpy(cut, text, i);
        assert_int_equal(wp_definition_parse(cut, i, &d, NULL), -EINVAL);
        free(cut);
    }
}

static void unknown_fields_are_refused(void **state)
{
    struct hv_error *error = NULL;
    struct wp_definition d;
    const char *text = "{\"version\":1,\"colour\":1}";

    (void)state;
    assert_int_equal(wp_definition_parse(text, strlen(text), &d, &error), -EINVAL);
    assert_string_equal(error->code, "vm.definition.unknown");
    assert_string_equal(error->field, "colour");
    hv_error_free(error);
}

static void files_are_bounded(void **state)
{
    int fd = memfd_create("definition", MFD_CLOEXEC);
    struct wp_definition d;
    char text[4096];
    size_t length = compose(text, sizeof(text), NULL, NULL);

    (void)state;
    assert_int_equal(pwrite(fd, text, length, 0), length);
    assert_int_equal(wp_definition_read(fd, &d, NULL), 0);
    wp_definition_fini(&d);
    assert_int_equal(ftruncate(fd, WP_DEFINITION_MAX_BYTES + 1), 0);
    assert_int_equal(wp_definition_read(fd, &d, NULL), -EFBIG);
    close(fd);
    assert_int_equal(wp_definition_read(-1, &d, NULL), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_definition_is_read),
        cmocka_unit_test(disks_are_read_with_their_parents),
        cmocka_unit_test(a_bad_disk_is_named_by_its_place),
        cmocka_unit_test(chains_have_an_end),
        cmocka_unit_test(what_may_be_left_out_has_a_default),
        cmocka_unit_test(each_missing_field_is_named),
        cmocka_unit_test(each_wrong_value_is_named),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(what_is_no_json_object_is_refused),
        cmocka_unit_test(a_cut_definition_is_refused_at_every_byte),
        cmocka_unit_test(unknown_fields_are_refused),
        cmocka_unit_test(files_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
