/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "api/gen/tables.h"
#include "api/rpc/envelope.h"
#include "api/rpc/json.h"
#include "api/rpc/nearest.h"
#include "api/rpc/writer.h"

#include <string.h>

static int read_text(const char *method, const char *params, struct api_request *ret,
                     struct api_error **reterr)
{
    struct json_fault fault;
    struct json_doc *doc;
    int r;

    assert_int_equal(json_parse(params, strlen(params), &json_limits_request, &doc, &fault), 0);
    r = api_request_read(method, json_doc_root(doc), ret, reterr);
    json_doc_free(doc);
    return r;
}

static const struct {
    const char *method, *params;
    enum api_error_code code;
    const char *field;
} refusals[] = {
    { "vm.get", "{}", API_E_INVALID_PARAMETER, "vm" },
    { "vm.get", "{\"vm\":5}", API_E_INCORRECT_DATA_TYPE, "vm" },
    { "vm.get", "{\"vm\":\"\"}", API_E_INVALID_PARAMETER, "vm" },
    { "vm.get", "{\"vm\":\"a\",\"fields\":[\"nme\"]}", API_E_INVALID_PARAMETER, "fields" },
    { "vm.get", "{\"vm\":\"a\",\"fields\":[1]}", API_E_INCORRECT_DATA_TYPE, "fields" },
    { "vm.get", "{\"vm\":\"a\",\"x\":1}", API_E_INVALID_PARAMETER, "x" },
    { "vm.get", "[]", API_E_INVALID_PARAMS, "params" },
    { "vm.list", "{\"limit\":0}", API_E_INVALID_PARAMETER, "limit" },
    { "vm.list", "{\"limit\":1001}", API_E_INVALID_PARAMETER, "limit" },
    { "vm.list", "{\"filter\":{\"state\":\"gone\"}}", API_E_INVALID_PARAMETER, "filter.state" },
    { "vm.list", "{\"filter\":{\"colour\":\"red\"}}", API_E_INVALID_PARAMETER, "filter.colour" },
    { "vm.list", "{\"filter\":[]}", API_E_INCORRECT_DATA_TYPE, "filter" },
    { "vm.create", "{\"name\":\"a\",\"plan\":1}", API_E_INCORRECT_DATA_TYPE, "plan" },
    { "vm.create", "{\"name\":\"a\",\"settings\":{\"tpm\":1}}", API_E_INVALID_PARAMETER, "tpm" },
    { "vm.create", "{\"name\":\"a\",\"settings\":{\"disk[0].path\":1}}", API_E_NOT_SUPPORTED,
      "disk[0].path" },
    { "vm.create", "{\"name\":\"a\",\"settings\":{\"diskette\":1}}", API_E_INVALID_PARAMETER,
      "diskette" },
    { "vm.fly", "{}", API_E_METHOD_NOT_FOUND, NULL },
};

static void arguments_may_come_in_any_order(void **state)
{
    static const char *const params[] = {
        "{\"filter\":{\"state\":\"off\"},\"limit\":5,\"after\":\"a\"}",
        "{\"after\":\"a\",\"limit\":5,\"filter\":{\"state\":\"off\"}}",
        "{\"limit\":5,\"filter\":{\"state\":\"off\"},\"after\":\"a\"}",
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(params); i++) {
        const struct api_vm_list_args *args;
        struct api_request request;

        assert_int_equal(read_text("vm.list", params[i], &request, NULL), 0);
        args = &request.args.vm_list;
        assert_int_equal(args->limit, 5);
        assert_string_equal(args->after, "a");
        assert_int_equal(args->filter.state, API_VM_STATE_OFF);
        assert_true(args->filter.has & API_VM_FILTER_HAS_STATE);
        api_request_fini(&request);
    }
}

static void bad_arguments_are_refused_by_name(void **state)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(refusals); i++) {
        struct api_error *error = NULL;
        struct api_request request;

        assert_int_equal(read_text(refusals[i].method, refusals[i].params, &request, &error),
                         -EINVAL);
        assert_non_null(error);
        assert_int_equal(error->code, refusals[i].code);
        if (refusals[i].field)
            assert_string_equal(error->data.field, refusals[i].field);
        assert_non_null(error->message);
        api_error_free(error);
    }
}

static void defaults_fill_what_is_missing_but_not_settings(void **state)
{
    struct api_request request;
    struct api_settings filled;

    assert_int_equal(read_text("vm.list", "{}", &request, NULL), 0);
    assert_int_equal(request.args.vm_list.limit, 1000);
    api_request_fini(&request);
    assert_int_equal(read_text("vm.configure",
                               "{\"vm\":\"a\",\"settings\":{\"cpu.count\":3,"
                               "\"notes\":null}}",
                               &request, NULL),
                     0);
    assert_true(request.args.vm_configure.settings.has == API_SETTINGS_HAS_CPU_COUNT);
    assert_true(request.args.vm_configure.settings.cleared == API_SETTINGS_HAS_NOTES);
    assert_int_equal(api_settings_copy(&request.args.vm_configure.settings, &filled), 0);
    assert_int_equal(api_record_fill(&api_record_settings, &filled), 0);
    assert_int_equal(filled.cpu_count, 3);
    assert_true(filled.memory_startup == 512ull << 20);
    assert_int_equal(filled.backend, API_BACKEND_CHOICE_AUTO);
    api_settings_fini(&filled);
    api_request_fini(&request);
}

static void a_patch_replaces_clears_and_leaves(void **state)
{
    struct api_settings onto = { 0 }, patch = { 0 }, before;

    onto.has = API_SETTINGS_HAS_CPU_COUNT | API_SETTINGS_HAS_DEBUG_EXIT;
    onto.cpu_count = 2;
    onto.debug_exit = 5;
    onto.notes = strdup("old");
    onto.name = strdup("name");
    assert_int_equal(api_settings_copy(&onto, &before), 0);
    patch.has = API_SETTINGS_HAS_CPU_COUNT;
    patch.cpu_count = 4;
    patch.cleared = API_SETTINGS_HAS_NOTES;
    assert_int_equal(api_record_merge(&api_record_settings, &patch, &onto), 0);
    assert_int_equal(onto.cpu_count, 4);
    assert_int_equal(onto.debug_exit, 5);
    assert_null(onto.notes);
    assert_string_equal(onto.name, "name");
    assert_true(api_record_diff(&api_record_settings, &before, &onto) ==
                (API_SETTINGS_HAS_CPU_COUNT | API_SETTINGS_HAS_NOTES));
    api_settings_fini(&onto);
    api_settings_fini(&before);
}

static void only_the_chosen_fields_are_written(void **state)
{
    struct api_vm vm = { .name = (char *)"n", .state = API_VM_STATE_OFF };
    struct json_writer out = { 0 };
    char *text;

    vm.has = API_HAS_PARTIAL | API_VM_HAS_NAME | API_VM_HAS_STATE;
    api_record_write(&api_record_vm, &vm, UINT64_MAX, &out);
    assert_int_equal(json_writer_take(&out, &text, NULL), 0);
    assert_string_equal(text, "{\"name\":\"n\",\"state\":\"off\"}");
    free(text);
}

static void an_error_comes_back_as_it_was(void **state)
{
    struct api_error *error = NULL, *back;
    struct json_writer out = { 0 };
    struct json_fault fault;
    struct json_doc *doc;
    size_t length;
    char *text;

    api_error_set(&error, API_E_INVALID_STATE, "vm.state", "f", "It is %s.", "so");
    api_error_add(error, &error->data.allowed_verbs, &error->data.n_allowed_verbs, "start");
    api_error_hint(error, "Do it.");
    api_error_write(error, &out);
    assert_int_equal(json_writer_take(&out, &text, &length), 0);
    assert_int_equal(json_parse(text, length, &json_limits_reply, &doc, &fault), 0);
    assert_int_equal(api_error_read(json_doc_root(doc), &back), 0);
    assert_int_equal(back->code, API_E_INVALID_STATE);
    assert_string_equal(back->message, "It is so.");
    assert_string_equal(back->data.allowed_verbs[0], "start");
    assert_string_equal(back->data.hint, "Do it.");
    assert_int_equal(api_error_info(API_E_INVALID_STATE)->exit_status, 6);
    api_error_free(error);
    api_error_free(back);
    json_doc_free(doc);
    free(text);
}

static void what_an_error_quotes_can_be_shown(void **state)
{
    struct api_error *error = NULL;

    (void)api_error_set(&error, API_E_FAILED, "x", NULL, "It says: %.4s. Then \xff.",
                        "abc\xc3\xa9");
    api_error_hint(error, "%.1s", "\xc3\xa9");
    assert_string_equal(error->message, "It says: abc?. Then ?.");
    assert_string_equal(error->data.hint, "?");
    api_error_free(error);
}

static void near_names_are_offered_nearest_first(void **state)
{
    struct nearest nearest;

    nearest_init(&nearest, "wbe");
    nearest_offer(&nearest, "database");
    nearest_offer(&nearest, "we");
    nearest_offer(&nearest, "web");
    nearest_offer(&nearest, "WEB");
    assert_true(nearest.count >= 2);
    assert_string_equal(nearest.names[0], "we");
    assert_string_equal(nearest.names[1], "web");
}

/* Every method and its arguments stand in the table once, and every error has a class. */
static void the_tables_hold_together(void **state)
{
    for (int i = 0; i < API_METHOD_COUNT; i++) {
        assert_non_null(strchr(api_methods[i].name, '.'));
        assert_non_null(api_methods[i].args);
        assert_non_null(api_methods[i].result);
        assert_true(api_methods[i].right[0] != '\0');
    }
    for (size_t i = 0; i < api_error_count; i++)
        assert_in_range(api_error_table[i].exit_status, 1, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_may_come_in_any_order),
        cmocka_unit_test(bad_arguments_are_refused_by_name),
        cmocka_unit_test(defaults_fill_what_is_missing_but_not_settings),
        cmocka_unit_test(a_patch_replaces_clears_and_leaves),
        cmocka_unit_test(only_the_chosen_fields_are_written),
        cmocka_unit_test(an_error_comes_back_as_it_was),
        cmocka_unit_test(what_an_error_quotes_can_be_shown),
        cmocka_unit_test(near_names_are_offered_nearest_first),
        cmocka_unit_test(the_tables_hold_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
