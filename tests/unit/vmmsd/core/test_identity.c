/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "api/gen/tables.h"
#include "vmmsd/core/core.h"
#include "vmmsd/core/identity.h"

#include <stdio.h>
#include <string.h>

static uint64_t stands(void *opaque)
{
    return 1000000;
}

static void fill(void *opaque, void *ret, size_t length)
{
    memset(ret, 7, length);
}

static const char mine[] = "00000000-0000-4000-8000-0000000000aa";
static const char other[] = "00000000-0000-4000-8000-0000000000bb";

static void load(struct vmms_core *core, const char *id, const char *name)
{
    struct vmms_row row = { .generation = 1, .created_ms = 1, .changed_ms = 1 };

    (void)snprintf(row.id, sizeof(row.id), "%s", id);
    row.settings.name = strdup(name);
    row.settings.has = API_SETTINGS_HAS_NAME;
    assert_int_equal(vmms_core_load(core, &row), 0);
}

/* "mine" is in the group "front", which the management group "all" holds. */
static const char front[] = "00000000-0000-4000-8000-0000000000c1";
static const char all[] = "00000000-0000-4000-8000-0000000000c2";

static void load_group(struct vmms_core *core, const char *id, const char *name,
                       enum api_group_kind kind)
{
    struct vmms_group_row row = {
        .name = strdup(name), .kind = kind, .notes = strdup(""), .generation = 1
    };

    (void)snprintf(row.id, sizeof(row.id), "%s", id);
    assert_int_equal(vmms_core_load_group(core, &row), 0);
}

static struct vmms_core *core_with_two(void)
{
    const struct vmms_env env = { NULL, stands, stands, fill };
    struct vmms_core *core;

    assert_int_equal(vmms_core_new(&env, &core), 0);
    assert_int_equal(vmms_core_set_host(core, "h", "b", "0", 2, 8ull << 30), 0);
    load(core, mine, "mine");
    load(core, other, "other");
    load_group(core, all, "all", API_GROUP_KIND_MANAGEMENT);
    load_group(core, front, "front", API_GROUP_KIND_VM);
    assert_int_equal(vmms_core_load_member(core, all, front), 0);
    assert_int_equal(vmms_core_load_member(core, front, mine), 0);
    vmms_core_loaded(core, 1, 0);
    return core;
}

static struct vmms_identity limited(enum api_remote_role role)
{
    struct vmms_identity identity = {
        .name = "joe", .role = role, .state = API_REMOTE_STATE_ENROLLED, .is_limited = true
    };

    (void)snprintf(identity.scope.ids[identity.scope.count++], HV_GUID_TEXT_BYTES, "%s", mine);
    return identity;
}

static struct vmms_identity limited_to_group(const char *group)
{
    struct vmms_identity identity = { .name = "joe",
                                      .role = API_REMOTE_ROLE_ADMINISTRATOR,
                                      .state = API_REMOTE_STATE_ENROLLED,
                                      .is_limited = true };

    (void)snprintf(identity.scope.groups[identity.scope.n_groups++], HV_GUID_TEXT_BYTES, "%s",
                   group);
    return identity;
}

static void a_right_that_is_not_in_the_table_is_nobodys(void **state)
{
    enum api_remote_role role;

    assert_false(vmms_right_role("", &role));
    assert_false(vmms_right_role("vm", &role));
    assert_false(vmms_right_role("vm.read.more", &role));
    assert_false(vmms_right_role("remote.enroll", &role));
}

static void every_right_of_the_schema_but_enrolling_has_a_role(void **state)
{
    enum api_remote_role role;

    for (int i = 0; i < API_METHOD_COUNT; i++) {
        if (strcmp(api_methods[i].right, "remote.enroll") != 0 &&
            !vmms_right_role(api_methods[i].right, &role))
            fail_msg("%s: no role has the right %s", api_methods[i].name, api_methods[i].right);
    }
}

static void a_viewer_changes_nothing(void **state)
{
    const struct vmms_identity viewer = { .name = "v", .role = API_REMOTE_ROLE_VIEWER };

    for (int i = 0; i < API_METHOD_COUNT; i++) {
        struct api_error *error = NULL;

        if (vmms_identity_may(&viewer, (enum api_method)i, &error) == 0)
            assert_false(api_methods[i].is_change);
        else
            assert_int_equal(error->code, API_E_ACCESS_DENIED);
        api_error_free(error);
    }
}

static void what_names_a_file_of_the_host_is_an_administrators(void **state)
{
    struct vmms_identity identity = { .name = "x", .role = API_REMOTE_ROLE_OPERATOR };

    assert_int_equal(vmms_identity_may(&identity, API_METHOD_IMAGE_INFO, NULL), -EINVAL);
    assert_int_equal(vmms_identity_may(&identity, API_METHOD_GUEST_COPY_FILES, NULL), -EINVAL);
    assert_int_equal(vmms_identity_may(&identity, API_METHOD_GUEST_GET, NULL), 0);
    identity.role = API_REMOTE_ROLE_ADMINISTRATOR;
    assert_int_equal(vmms_identity_may(&identity, API_METHOD_IMAGE_INFO, NULL), 0);
    assert_int_equal(vmms_identity_may(&identity, API_METHOD_GUEST_COPY_FILES, NULL), 0);
}

static void a_role_has_what_the_lesser_one_has(void **state)
{
    for (int i = 0; i < API_METHOD_COUNT; i++) {
        bool may_before = false;

        for (int role = API_REMOTE_ROLE_VIEWER; role <= API_REMOTE_ROLE_ADMINISTRATOR; role++) {
            const struct vmms_identity identity = { .name = "x",
                                                    .role = (enum api_remote_role)role };
            bool may = vmms_identity_may(&identity, (enum api_method)i, NULL) == 0;

            assert_true(may || !may_before);
            may_before = may;
        }
    }
}

static int may_see(const struct vmms_identity *identity, enum api_method method, const char *vm)
{
    struct vmms_core *core = core_with_two();
    struct api_request request = { .method = method };
    const struct api_field *field = api_record_find(api_methods[method].args, "vm", NULL);
    char *ref = vm ? strdup(vm) : NULL;
    int r;

    if (field)
        memcpy((char *)&request.args + field->offset, &ref, sizeof(ref));
    r = vmms_identity_may_see(identity, core, &request, NULL);
    free(ref);
    vmms_core_free(core);
    return r;
}

static void who_is_limited_sees_only_its_vms_and_cannot_tell_others_from_none(void **state)
{
    const struct vmms_identity joe = limited(API_REMOTE_ROLE_ADMINISTRATOR);

    assert_int_equal(may_see(&joe, API_METHOD_VM_GET, "mine"), 0);
    assert_int_equal(may_see(&joe, API_METHOD_VM_GET, mine), 0);
    assert_int_equal(may_see(&joe, API_METHOD_VM_GET, "other"), -EINVAL);
    assert_int_equal(may_see(&joe, API_METHOD_VM_GET, other), -EINVAL);
    assert_int_equal(may_see(&joe, API_METHOD_VM_GET, "none"), -EINVAL);
    assert_int_equal(may_see(&joe, API_METHOD_VM_GET, NULL), -EINVAL);
}

static void who_is_limited_may_not_do_what_concerns_all(void **state)
{
    const struct vmms_identity joe = limited(API_REMOTE_ROLE_ADMINISTRATOR);

    assert_int_equal(may_see(&joe, API_METHOD_VM_CREATE, NULL), -EINVAL);
    assert_int_equal(may_see(&joe, API_METHOD_REMOTE_LIST, NULL), -EINVAL);
    assert_int_equal(may_see(&joe, API_METHOD_REMOTE_CREATE_TOKEN, NULL), -EINVAL);
    assert_int_equal(may_see(&joe, API_METHOD_VM_LIST, NULL), 0);
    assert_int_equal(may_see(&joe, API_METHOD_EVENTS_READ, NULL), 0);
}

static void who_is_limited_to_a_group_sees_its_vms_over_however_many_steps(void **state)
{
    const char *const groups[] = { front, all };

    for (size_t i = 0; i < HV_ARRAY_SIZE(groups); i++) {
        const struct vmms_identity joe = limited_to_group(groups[i]);

        assert_int_equal(may_see(&joe, API_METHOD_VM_GET, "mine"), 0);
        assert_int_equal(may_see(&joe, API_METHOD_VM_GET, mine), 0);
        assert_int_equal(may_see(&joe, API_METHOD_VM_GET, "other"), -EINVAL);
        assert_int_equal(may_see(&joe, API_METHOD_VM_GET, "front"), -EINVAL);
        assert_int_equal(may_see(&joe, API_METHOD_VM_GET, front), -EINVAL);
    }
}

static void who_is_limited_changes_no_group_whatever_its_role(void **state)
{
    const struct vmms_identity joe = limited_to_group(front);

    for (int i = 0; i < API_METHOD_COUNT; i++) {
        bool is_of_groups = strcmp(api_methods[i].noun, "group") == 0;

        if (is_of_groups && api_methods[i].is_change)
            assert_int_equal(may_see(&joe, (enum api_method)i, NULL), -EINVAL);
        else if (is_of_groups)
            assert_int_equal(may_see(&joe, (enum api_method)i, NULL), 0);
    }
    assert_int_equal(may_see(&joe, API_METHOD_TX_APPLY, NULL), -EINVAL);
    assert_int_equal(may_see(&joe, API_METHOD_TX_PLAN, NULL), -EINVAL);
}

static void groups_outside_the_scope_are_as_if_they_were_not(void **state)
{
    const struct vmms_identity joe = limited_to_group(front);
    struct vmms_core *core = core_with_two();
    struct api_request request = { .method = API_METHOD_GROUP_LIST, .args.group_list.limit = 10 };
    struct vmms_effect *effect;

    vmms_core_call_within(core, 1, &request, "cert:joe", &joe.scope);
    effect = vmms_core_take_effect(core);
    assert_int_equal(effect->result.group_list.n_groups, 1);
    assert_string_equal(effect->result.group_list.groups[0].name, "front");
    vmms_effect_free(effect);
    request = (struct api_request){ .method = API_METHOD_GROUP_GET };
    request.args.group_get.group = strdup("all");
    vmms_core_call_within(core, 2, &request, "cert:joe", &joe.scope);
    effect = vmms_core_take_effect(core);
    assert_int_equal(effect->error->code, API_E_NOT_FOUND);
    vmms_effect_free(effect);
    request = (struct api_request){ .method = API_METHOD_VM_LIST, .args.vm_list.limit = 10 };
    request.args.vm_list.filter.group = strdup("all");
    vmms_core_call_within(core, 3, &request, "cert:joe", &joe.scope);
    effect = vmms_core_take_effect(core);
    assert_int_equal(effect->error->code, API_E_NOT_FOUND);
    vmms_effect_free(effect);
    vmms_core_free(core);
}

static void a_list_leaves_out_what_is_not_in_the_scope(void **state)
{
    const struct vmms_identity joe = limited(API_REMOTE_ROLE_VIEWER);
    struct vmms_core *core = core_with_two();
    struct api_request request = { .method = API_METHOD_VM_LIST };
    struct vmms_effect *effect;

    request.args.vm_list.limit = 10;
    vmms_core_call_within(core, 1, &request, "cert:joe", &joe.scope);
    effect = vmms_core_take_effect(core);
    assert_int_equal(effect->kind, VMMS_EFFECT_REPLY);
    assert_int_equal(effect->result.vm_list.n_vms, 1);
    assert_string_equal(effect->result.vm_list.vms[0].name, "mine");
    vmms_effect_free(effect);
    vmms_core_free(core);
}

static void names_are_letters_digits_and_four_signs(void **state)
{
    static const char *const wrong[] = { "", " ", "a b", "a/b", "a:b", "\xc3\xa4", "a\n" };
    char longest[VMMS_IDENTITY_NAME_BYTES + 1];

    for (size_t i = 0; i < HV_ARRAY_SIZE(wrong); i++)
        assert_false(vmms_identity_is_name(wrong[i]));
    memset(longest, 'a', sizeof(longest));
    longest[VMMS_IDENTITY_NAME_BYTES] = '\0';
    assert_false(vmms_identity_is_name(longest));
    longest[VMMS_IDENTITY_NAME_BYTES - 1] = '\0';
    assert_true(vmms_identity_is_name(longest));
    assert_true(vmms_identity_is_name("Jo.e_1@host-2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_that_is_not_in_the_table_is_nobodys),
        cmocka_unit_test(every_right_of_the_schema_but_enrolling_has_a_role),
        cmocka_unit_test(a_viewer_changes_nothing),
        cmocka_unit_test(what_names_a_file_of_the_host_is_an_administrators),
        cmocka_unit_test(a_role_has_what_the_lesser_one_has),
        cmocka_unit_test(who_is_limited_sees_only_its_vms_and_cannot_tell_others_from_none),
        cmocka_unit_test(who_is_limited_may_not_do_what_concerns_all),
        cmocka_unit_test(who_is_limited_to_a_group_sees_its_vms_over_however_many_steps),
        cmocka_unit_test(who_is_limited_changes_no_group_whatever_its_role),
        cmocka_unit_test(groups_outside_the_scope_are_as_if_they_were_not),
        cmocka_unit_test(a_list_leaves_out_what_is_not_in_the_scope),
        cmocka_unit_test(names_are_letters_digits_and_four_signs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
