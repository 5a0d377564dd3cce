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
static const char group_id[] = "00000000-0000-4000-8000-0000000000cc";

/* The VM "web", off, in the group "front". */
static struct vmms_core *new_core(void)
{
    static int counter;
    const struct vmms_env env = { &counter, stands, stands, count_up };
    struct vmms_row row = { .generation = 1, .created_ms = 1, .changed_ms = 1 };
    struct vmms_group_row group = { .name = strdup("front"), .notes = strdup(""), .generation = 2 };
    struct vmms_core *core;

    assert_int_equal(vmms_core_new(&env, &core), 0);
    assert_int_equal(vmms_core_set_host(core, "h", "b", "0", 2, 8ull << 30), 0);
    (void)snprintf(row.id, sizeof(row.id), "%s", vm_id);
    (void)snprintf(group.id, sizeof(group.id), "%s", group_id);
    row.settings.name = strdup("web");
    row.settings.has = API_SETTINGS_HAS_NAME;
    assert_int_equal(vmms_core_load(core, &row), 0);
    assert_int_equal(vmms_core_load_group(core, &group), 0);
    assert_int_equal(vmms_core_load_member(core, group_id, vm_id), 0);
    vmms_core_loaded(core, 0, 0);
    return core;
}

static struct vmms_effect *take(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(core)) && effect->kind != kind)
        vmms_effect_free(effect);
    return effect;
}

static void transact(struct vmms_core *core, const char *ops, bool is_plan)
{
    struct api_request request = { .method = API_METHOD_TX_APPLY };

    assert_true(asprintf(&request.args.tx_apply.ops, "[%s]", ops) > 0);
    for (char *at = request.args.tx_apply.ops; (at = strchr(at, '\''));)
        *at = '"';
    request.args.tx_apply.plan = is_plan;
    vmms_core_call(core, 1, &request, "uid:0");
    assert_null(vmms_core_check(core));
}

/* What it is answered with when the store has, or has not, taken all of it. */
static int settle(struct vmms_core *core, struct api_error *refusal)
{
    struct vmms_effect *effect;
    int code = -1;

    while ((effect = vmms_core_take_effect(core))) {
        if (effect->kind == VMMS_EFFECT_COMMIT)
            vmms_core_committed(core, effect->change->id, 1, refusal);
        else if (effect->kind == VMMS_EFFECT_REPLY)
            code = effect->error ? (int)effect->error->code : 0;
        vmms_effect_free(effect);
        assert_null(vmms_core_check(core));
    }
    return code;
}

static bool is_in(const struct vmms_core *core, const char *vm, const char *group)
{
    char groups[1][HV_GUID_TEXT_BYTES] = { "" };
    const char *id = vmms_core_group_id(core, group), *member = vmms_core_vm_id(core, vm);

    if (!id || !member)
        return false;
    (void)snprintf(groups[0], sizeof(groups[0]), "%s", id);
    return vmms_core_is_within(core, member, (const char(*)[HV_GUID_TEXT_BYTES])groups, 1);
}

/* A new VM in a new group, which a new management group holds; the old group is renamed. Of all
 * calls here, ' stands for ". */
static const char made[] =
    "{'method':'vm.create','params':{'name':'db'}},"
    "{'method':'group.create','params':{'name':'back'}},"
    "{'method':'group.add_member','params':{'group':'$1.group','member':'$0.vm'}},"
    "{'method':'group.create','params':{'name':'all','kind':'management'}},"
    "{'method':'group.add_member','params':{'group':'all','member':'back'}},"
    "{'method':'group.configure','params':{'group':'front','name':'aft','notes':'n'}}";

#define ADD(group, member)                                                                         \
    "{'method':'group.add_member','params':{'group':'" group "','member':'" member "'}}"
#define DELETE(noun, name) "{'method':'" noun ".delete','params':{'" noun "':'" name "'}}"
#define CREATE(name)       "{'method':'group.create','params':{'name':'" name "'}}"

static void groups_become_so_with_the_rest(void **state)
{
    struct vmms_core *core = new_core();

    transact(core, made, false);
    assert_null(vmms_core_group_id(core, "back"));
    assert_non_null(vmms_core_group_id(core, "front"));
    assert_int_equal(settle(core, NULL), 0);
    assert_true(is_in(core, "db", "back"));
    assert_true(is_in(core, "db", "all"));
    assert_true(is_in(core, "web", "aft"));
    assert_null(vmms_core_group_id(core, "front"));
    vmms_core_free(core);
}

static void what_the_store_refuses_leaves_groups_as_they_were(void **state)
{
    struct vmms_core *core = new_core();

    for (int i = 0; i < 2; i++) {
        struct api_error *error = NULL;

        transact(core, made, false);
        api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "The disk is full.");
        assert_int_equal(settle(core, error), API_E_DISK_FULL);
        assert_null(vmms_core_group_id(core, "back"));
        assert_null(vmms_core_group_id(core, "aft"));
        assert_true(is_in(core, "web", "front"));
    }
    vmms_core_free(core);
}

/* After each of these, everything before the last is taken back. */
static void a_bad_step_takes_groups_back(void **state)
{
    static const char *const last[] = {
        CREATE("back"),
        ADD("back", "all"),
        ADD("all", "all"),
        DELETE("group", "back"),
        DELETE("group", "front"),
        DELETE("vm", "$1.group"),
        "{'method':'group.list'}",
    };
    struct vmms_core *core = new_core();

    for (size_t i = 0; i < HV_ARRAY_SIZE(last); i++) {
        char *ops;

        assert_true(asprintf(&ops, "%s,%s", made, last[i]) > 0);
        transact(core, ops, false);
        free(ops);
        assert_int_equal(settle(core, NULL), API_E_TRANSACTION_ABORTED);
        assert_null(vmms_core_group_id(core, "back"));
        assert_true(is_in(core, "web", "front"));
    }
    vmms_core_free(core);
}

/* The VM leaves its group once, whichever of the two goes first. */
static void a_vm_goes_with_its_group(void **state)
{
    static const char *const both[] = {
        CREATE("o") "," ADD("o", "web") "," DELETE("vm", "web") "," DELETE("group", "front"),
        DELETE("vm", "web") "," DELETE("group", "front"),
        DELETE("group", "front") "," DELETE("vm", "web"),
        ADD("front", "web") "," DELETE("group", "front") "," DELETE("vm", "web"),
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(both); i++) {
        for (int is_refused = 1; is_refused >= 0; is_refused--) {
            struct vmms_core *core = new_core();
            struct api_error *error = NULL;

            transact(core, both[i], false);
            if (is_refused)
                api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "The disk is full.");
            assert_int_equal(settle(core, error), is_refused ? API_E_DISK_FULL : 0);
            assert_int_equal(is_in(core, "web", "front"), is_refused);
            assert_int_equal(vmms_core_group_id(core, "front") != NULL, is_refused);
            vmms_core_free(core);
        }
    }
}

static void a_plan_tells_of_groups_and_leaves_them(void **state)
{
    static const struct {
        const char *field, *from, *to;
    } expected[] = {
        { "group.name", NULL, "\"back\"" },       { "group.member", NULL, "\"db\"" },
        { "group.name", NULL, "\"all\"" },        { "group.member", NULL, "\"back\"" },
        { "group.name", "\"front\"", "\"aft\"" }, { "group.notes", NULL, "\"n\"" },
    };
    struct vmms_core *core = new_core();
    struct vmms_effect *effect;
    const struct api_plan *plan;
    size_t at = 0;

    transact(core, made, true);
    effect = take(core, VMMS_EFFECT_REPLY);
    plan = &effect->result.transaction.plan;
    assert_int_equal(plan->n_steps, 6);
    for (size_t i = 0; i < plan->n_diff; i++) {
        const struct api_plan_diff *diff = &plan->diff[i];

        if (strncmp(diff->field, "group.", 6) != 0)
            continue;
        assert_true(at < HV_ARRAY_SIZE(expected));
        assert_string_equal(diff->field, expected[at].field);
        assert_string_equal(diff->from ? diff->from : "",
                            expected[at].from ? expected[at].from : "");
        assert_string_equal(diff->to ? diff->to : "", expected[at].to ? expected[at].to : "");
        at++;
    }
    assert_int_equal(at, HV_ARRAY_SIZE(expected));
    vmms_effect_free(effect);
    assert_true(is_in(core, "web", "front"));
    assert_null(vmms_core_take_effect(core));
    vmms_core_free(core);
}

static void it_waits_for_what_is_on_its_way_with_groups(void **state)
{
    struct api_request request = { .method = API_METHOD_GROUP_DELETE };
    struct vmms_core *core = new_core();
    struct vmms_effect *first;

    request.args.group_delete.group = strdup("front");
    vmms_core_call(core, 2, &request, "uid:0");
    first = take(core, VMMS_EFFECT_COMMIT);
    transact(core, CREATE("front"), false);
    assert_null(vmms_core_take_effect(core));
    vmms_core_committed(core, first->change->id, 1, NULL);
    vmms_effect_free(first);
    vmms_effect_free(take(core, VMMS_EFFECT_REPLY));
    assert_int_equal(settle(core, NULL), 0);
    assert_non_null(vmms_core_group_id(core, "front"));
    vmms_core_free(core);
}

static void what_is_so_already_is_not_stored(void **state)
{
    struct vmms_core *core = new_core();

    transact(core, ADD("front", "web"), false);
    assert_int_equal(settle(core, NULL), 0);
    vmms_core_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_become_so_with_the_rest),
        cmocka_unit_test(what_the_store_refuses_leaves_groups_as_they_were),
        cmocka_unit_test(a_bad_step_takes_groups_back),
        cmocka_unit_test(a_vm_goes_with_its_group),
        cmocka_unit_test(a_plan_tells_of_groups_and_leaves_them),
        cmocka_unit_test(it_waits_for_what_is_on_its_way_with_groups),
        cmocka_unit_test(what_is_so_already_is_not_stored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
