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

static void count_up(void *opaque, void *ret, size_t length)
{
    memset(ret, ++*(int *)opaque, length);
}

static const char vm_id[] = "00000000-0000-4000-8000-0000000000aa";

/* A core with the VM "web", off. */
static struct vmms_core *new_core(void)
{
    static int counter;
    const struct vmms_env env = { &counter, stands, stands, count_up };
    struct vmms_row row = { .generation = 1, .created_ms = 1, .changed_ms = 1 };
    struct vmms_core *core;

    assert_int_equal(vmms_core_new(&env, &core), 0);
    assert_int_equal(vmms_core_set_host(core, "h", "b", "0", 2, 8ull << 30), 0);
    (void)snprintf(row.id, sizeof(row.id), "%s", vm_id);
    row.settings.name = strdup("web");
    row.settings.has = API_SETTINGS_HAS_NAME;
    assert_int_equal(vmms_core_load(core, &row), 0);
    vmms_core_loaded(core, 0, 0);
    return core;
}

/* The next effect of that kind; others are dropped. NULL: none. */
static struct vmms_effect *take(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(core)) && effect->kind != kind)
        vmms_effect_free(effect);
    return effect;
}

static void begin_create(struct vmms_core *core, const char *name, enum api_group_kind kind)
{
    struct api_request request = { .method = API_METHOD_GROUP_CREATE };

    request.args.group_create.name = strdup(name);
    request.args.group_create.kind = kind;
    request.args.group_create.notes = strdup("");
    vmms_core_call(core, 1, &request, "uid:0");
}

static void begin(struct vmms_core *core, enum api_method method, const char *group,
                  const char *member)
{
    struct api_request request = { .method = method };

    request.args.group_get.group = strdup(group);
    if (method == API_METHOD_GROUP_ADD_MEMBER)
        request.args.group_add_member.member = strdup(member);
    if (method == API_METHOD_GROUP_REMOVE_MEMBER)
        request.args.group_remove_member.member = strdup(member);
    vmms_core_call(core, 1, &request, "uid:0");
}

static void begin_delete_vm(struct vmms_core *core)
{
    struct api_request request = { .method = API_METHOD_VM_DELETE };

    request.args.vm_delete.vm = strdup("web");
    vmms_core_call(core, 1, &request, "uid:0");
}

/* The code that the call is answered with, after its change, where it made one, was stored. */
static int finish(struct vmms_core *core)
{
    struct vmms_effect *effect;
    int code = -1;

    while ((effect = vmms_core_take_effect(core))) {
        if (effect->kind == VMMS_EFFECT_COMMIT)
            vmms_core_committed(core, effect->change->id, 1, NULL);
        else if (effect->kind == VMMS_EFFECT_REPLY)
            code = effect->error ? (int)effect->error->code : 0;
        vmms_effect_free(effect);
        assert_null(vmms_core_check(core));
    }
    return code;
}

static int create(struct vmms_core *core, const char *name, enum api_group_kind kind)
{
    begin_create(core, name, kind);
    return finish(core);
}

static int change(struct vmms_core *core, enum api_method method, const char *group,
                  const char *member)
{
    begin(core, method, group, member);
    return finish(core);
}

static int add(struct vmms_core *core, const char *group, const char *member)
{
    return change(core, API_METHOD_GROUP_ADD_MEMBER, group, member);
}

static void names_are_unique_among_groups_and_apart_from_those_of_vms(void **state)
{
    struct vmms_core *core = new_core();

    assert_int_equal(create(core, "web", API_GROUP_KIND_VM), 0);
    assert_int_equal(create(core, "web", API_GROUP_KIND_MANAGEMENT), API_E_ALREADY_EXISTS);
    vmms_core_free(core);
}

static void a_group_takes_what_its_kind_says(void **state)
{
    struct vmms_core *core = new_core();

    assert_int_equal(create(core, "front", API_GROUP_KIND_VM), 0);
    assert_int_equal(create(core, "all", API_GROUP_KIND_MANAGEMENT), 0);
    assert_int_equal(add(core, "front", "all"), API_E_INVALID_PARAMETER);
    assert_int_equal(add(core, "all", "web"), API_E_INVALID_PARAMETER);
    assert_int_equal(add(core, "front", "wob"), API_E_NOT_FOUND);
    assert_int_equal(add(core, "all", "frnt"), API_E_NOT_FOUND);
    assert_int_equal(add(core, "nowhere", "web"), API_E_NOT_FOUND);
    assert_int_equal(add(core, "front", "web"), 0);
    assert_int_equal(add(core, "all", "front"), 0);
    vmms_core_free(core);
}

static void no_group_holds_itself_however_far_around(void **state)
{
    struct vmms_core *core = new_core();

    assert_int_equal(create(core, "a", API_GROUP_KIND_MANAGEMENT), 0);
    assert_int_equal(create(core, "b", API_GROUP_KIND_MANAGEMENT), 0);
    assert_int_equal(create(core, "c", API_GROUP_KIND_MANAGEMENT), 0);
    assert_int_equal(add(core, "a", "a"), API_E_INVALID_PARAMETER);
    assert_int_equal(add(core, "a", "b"), 0);
    assert_int_equal(add(core, "b", "c"), 0);
    assert_int_equal(add(core, "b", "a"), API_E_INVALID_PARAMETER);
    assert_int_equal(add(core, "c", "a"), API_E_INVALID_PARAMETER);
    /* Two ways to the same group are none. */
    assert_int_equal(add(core, "a", "c"), 0);
    vmms_core_free(core);
}

static void what_is_held_is_not_deleted(void **state)
{
    struct vmms_core *core = new_core();

    assert_int_equal(create(core, "front", API_GROUP_KIND_VM), 0);
    assert_int_equal(create(core, "all", API_GROUP_KIND_MANAGEMENT), 0);
    assert_int_equal(add(core, "front", "web"), 0);
    assert_int_equal(add(core, "all", "front"), 0);
    assert_int_equal(change(core, API_METHOD_GROUP_DELETE, "front", NULL), API_E_IN_USE);
    assert_int_equal(change(core, API_METHOD_GROUP_DELETE, "all", NULL), 0);
    assert_int_equal(change(core, API_METHOD_GROUP_DELETE, "front", NULL), 0);
    assert_int_equal(change(core, API_METHOD_GROUP_GET, "front", NULL), API_E_NOT_FOUND);
    assert_string_equal(vmms_core_vm_name(core, vm_id), "web");
    vmms_core_free(core);
}

static void a_vm_that_is_deleted_leaves_its_groups_by_the_same_change(void **state)
{
    struct vmms_core *core = new_core();
    struct vmms_effect *commit;

    assert_int_equal(create(core, "one", API_GROUP_KIND_VM), 0);
    assert_int_equal(create(core, "two", API_GROUP_KIND_VM), 0);
    assert_int_equal(add(core, "one", "web"), 0);
    assert_int_equal(add(core, "two", "web"), 0);
    begin_delete_vm(core);
    commit = take(core, VMMS_EFFECT_COMMIT);
    assert_int_equal(commit->change->kind, VMMS_ROW_DELETE);
    assert_int_equal(vmms_change_count_events(commit->change), 3);
    for (const struct vmms_change *part = commit->change->next; part; part = part->next) {
        assert_int_equal(part->group_kind, VMMS_GROUP_ROW_REMOVE);
        assert_string_equal(part->member, vm_id);
        assert_string_equal(part->events[0].type, "group.member_removed");
        assert_string_equal(part->events[0].object, part->group.id);
        assert_int_equal(part->group.generation, 3);
    }
    /* Who comes meanwhile waits, and finds no such VM. */
    begin(core, API_METHOD_GROUP_ADD_MEMBER, "one", "web");
    assert_null(vmms_core_take_effect(core));
    vmms_core_committed(core, commit->change->id, 1, NULL);
    vmms_effect_free(commit);
    assert_int_equal(finish(core), API_E_NOT_FOUND);
    vmms_core_free(core);
}

static void what_cannot_be_stored_leaves_groups_as_they_were(void **state)
{
    struct vmms_core *core = new_core();
    uint64_t before;

    assert_int_equal(create(core, "front", API_GROUP_KIND_VM), 0);
    assert_int_equal(add(core, "front", "web"), 0);
    before = vmms_core_memberships(core);
    for (int i = 0; i < 4; i++) {
        struct api_error *error = NULL;
        struct vmms_effect *effect;

        if (i == 0)
            begin_delete_vm(core);
        else if (i == 1)
            begin_create(core, "new", API_GROUP_KIND_VM);
        else
            begin(core, i == 2 ? API_METHOD_GROUP_DELETE : API_METHOD_GROUP_REMOVE_MEMBER, "front",
                  "web");
        effect = take(core, VMMS_EFFECT_COMMIT);
        api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "The disk is full.");
        vmms_core_committed(core, effect->change->id, 0, error);
        vmms_effect_free(effect);
        assert_int_equal(finish(core), API_E_DISK_FULL);
    }
    assert_int_equal(vmms_core_memberships(core), before);
    assert_null(vmms_core_group_id(core, "new"));
    assert_true(vmms_core_is_within(
        core, vm_id, (const char(*)[HV_GUID_TEXT_BYTES])vmms_core_group_id(core, "front"), 1));
    vmms_core_free(core);
}

static void changes_of_groups_come_one_after_the_other(void **state)
{
    struct vmms_core *core = new_core();
    struct vmms_effect *first, *second;

    begin_create(core, "one", API_GROUP_KIND_VM);
    begin_create(core, "one", API_GROUP_KIND_VM);
    first = take(core, VMMS_EFFECT_COMMIT);
    assert_null(vmms_core_take_effect(core));
    vmms_core_committed(core, first->change->id, 1, NULL);
    vmms_effect_free(first);
    first = take(core, VMMS_EFFECT_REPLY);
    assert_null(first->error);
    second = take(core, VMMS_EFFECT_REPLY);
    assert_int_equal(second->error->code, API_E_ALREADY_EXISTS);
    vmms_effect_free(first);
    vmms_effect_free(second);
    vmms_core_free(core);
}

static void those_who_decide_on_rights_hear_of_all_groups_above(void **state)
{
    struct vmms_core *core = new_core();
    char *text;

    assert_int_equal(create(core, "front", API_GROUP_KIND_VM), 0);
    assert_int_equal(create(core, "all", API_GROUP_KIND_MANAGEMENT), 0);
    assert_int_equal(create(core, "other", API_GROUP_KIND_VM), 0);
    text = vmms_core_groups_above(core, vm_id);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(add(core, "front", "web"), 0);
    assert_int_equal(add(core, "all", "front"), 0);
    assert_int_equal(add(core, "all", "other"), 0);
    text = vmms_core_groups_above(core, vm_id);
    assert_string_equal(text, "all\nfront");
    free(text);
    text = vmms_core_groups_above(core, "nobody");
    assert_string_equal(text, "");
    free(text);
    vmms_core_free(core);
}

static void what_the_store_holds_is_believed_only_where_it_can_be(void **state)
{
    static const char a[] = "00000000-0000-4000-8000-0000000000c1";
    static const char b[] = "00000000-0000-4000-8000-0000000000c2";
    const char *const ids[] = { a, b, a };
    const char *const names[] = { "a", "b", "c" };
    struct vmms_core *core = new_core();

    for (int i = 0; i < 3; i++) {
        struct vmms_group_row row = { .name = strdup(names[i]),
                                      .notes = strdup(""),
                                      .kind = API_GROUP_KIND_MANAGEMENT,
                                      .generation = 1 };

        (void)snprintf(row.id, sizeof(row.id), "%s", ids[i]);
        assert_int_equal(vmms_core_load_group(core, &row), i == 2 ? -EEXIST : 0);
        vmms_group_row_fini(&row);
    }
    assert_int_equal(vmms_core_load_member(core, a, b), 0);
    assert_int_equal(vmms_core_load_member(core, b, a), -ELOOP);
    assert_int_equal(vmms_core_load_member(core, a, a), -ELOOP);
    assert_int_equal(vmms_core_load_member(core, a, vm_id), -ENOENT);
    assert_int_equal(vmms_core_load_member(core, vm_id, a), -ENOENT);
    assert_null(vmms_core_check(core));
    vmms_core_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_unique_among_groups_and_apart_from_those_of_vms),
        cmocka_unit_test(a_group_takes_what_its_kind_says),
        cmocka_unit_test(no_group_holds_itself_however_far_around),
        cmocka_unit_test(what_is_held_is_not_deleted),
        cmocka_unit_test(a_vm_that_is_deleted_leaves_its_groups_by_the_same_change),
        cmocka_unit_test(what_cannot_be_stored_leaves_groups_as_they_were),
        cmocka_unit_test(changes_of_groups_come_one_after_the_other),
        cmocka_unit_test(those_who_decide_on_rights_hear_of_all_groups_above),
        cmocka_unit_test(what_the_store_holds_is_believed_only_where_it_can_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
