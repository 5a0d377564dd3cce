/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "api/gen/tables.h"
#include "vmmsd/core/core.h"

#include <stdio.h>
#include <string.h>

static uint64_t clock_ns;

static uint64_t tick(void *opaque)
{
    return clock_ns += 1000000;
}

static void fill(void *opaque, void *ret, size_t length)
{
    memset(ret, (int)(clock_ns += 1), length);
}

static const char id[] = "00000000-0000-4000-8000-0000000000aa";
static const char incarnation[] = "00000000-0000-4000-8000-0000000000bb";

static struct vmms_effect *take(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(core)) && effect->kind != kind)
        vmms_effect_free(effect);
    return effect;
}

/* A core that holds one VM called "old" in that state. */
static struct vmms_core *core_with(enum api_vm_state state)
{
    const struct vmms_env env = { NULL, tick, tick, fill };
    struct vmms_row row = { .state = state, .generation = 1, .created_ms = 1, .changed_ms = 1 };
    struct vmms_core *core;

    assert_int_equal(vmms_core_new(&env, &core), 0);
    assert_int_equal(vmms_core_set_host(core, "h", "b", "0", 2, 8ull << 30), 0);
    (void)snprintf(row.id, sizeof(row.id), "%s", id);
    row.settings.name = strdup("old");
    row.settings.boot_kernel = strdup("/k");
    row.settings.has = API_SETTINGS_HAS_NAME | API_SETTINGS_HAS_BOOT_KERNEL;
    if (state != API_VM_STATE_OFF)
        (void)snprintf(row.incarnation, sizeof(row.incarnation), "%s", incarnation);
    assert_int_equal(vmms_core_load(core, &row), 0);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    return core;
}

static void transact(struct vmms_core *core, const char *ops, bool is_plan)
{
    struct api_request request = { .method = API_METHOD_TX_APPLY };

    request.args.tx_apply.ops = strdup(ops);
    request.args.tx_apply.plan = is_plan;
    vmms_core_call(core, 1, &request, "uid:0");
}

static const char *state_of(struct vmms_core *core, const char *name)
{
    return vmms_core_vm_id(core, name) ? "there" : "not there";
}

/* The answer to the transaction: 0, or the code of its error; its index in *ret_index. */
static int answer(struct vmms_core *core, uint32_t *ret_index)
{
    struct vmms_effect *effect = take(core, VMMS_EFFECT_REPLY);
    int code;

    assert_non_null(effect);
    code = effect->error ? (int)effect->error->code : 0;
    if (effect->error && ret_index)
        *ret_index = effect->error->data.index;
    vmms_effect_free(effect);
    assert_null(vmms_core_check(core));
    return code;
}

static const char two_vms[] =
    "[{\"method\":\"vm.create\",\"params\":{\"name\":\"new\"}},"
    "{\"method\":\"vm.configure\",\"params\":{\"vm\":\"$0.vm\",\"settings\":{\"cpu.count\":2}}},"
    "{\"method\":\"vm.configure\",\"params\":{\"vm\":\"old\",\"settings\":{\"name\":\"other\"}}}]";

static void nothing_of_it_is_seen_before_it_is_stored(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_OFF);
    struct vmms_effect *commit;
    size_t changes = 0;

    transact(core, two_vms, false);
    commit = take(core, VMMS_EFFECT_COMMIT);
    assert_non_null(commit);
    assert_null(vmms_core_take_effect(core));
    assert_string_equal(state_of(core, "new"), "not there");
    assert_string_equal(state_of(core, "old"), "there");
    for (const struct vmms_change *change = commit->change; change; change = change->next)
        changes++;
    assert_int_equal(changes, 4);
    assert_int_equal(vmms_change_count_events(commit->change), 4);
    vmms_core_committed(core, commit->change->id, 1, NULL);
    vmms_effect_free(commit);
    assert_int_equal(answer(core, NULL), 0);
    assert_string_equal(state_of(core, "new"), "there");
    assert_string_equal(state_of(core, "other"), "there");
    assert_string_equal(state_of(core, "old"), "not there");
    vmms_core_free(core);
}

static void what_the_store_refuses_did_not_happen(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_OFF);
    struct api_error *error = NULL;
    struct vmms_effect *commit;

    transact(core, two_vms, false);
    commit = take(core, VMMS_EFFECT_COMMIT);
    api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "The disk is full.");
    vmms_core_committed(core, commit->change->id, 0, error);
    vmms_effect_free(commit);
    assert_int_equal(answer(core, NULL), API_E_DISK_FULL);
    assert_string_equal(state_of(core, "new"), "not there");
    assert_string_equal(state_of(core, "old"), "there");
    transact(core, two_vms, false);
    commit = take(core, VMMS_EFFECT_COMMIT);
    assert_non_null(commit);
    vmms_effect_free(commit);
    vmms_core_free(core);
}

/* Each of these fails in its last call, which is told by its index; nothing goes to the store. */
static void a_bad_step_leaves_nothing_behind(void **state)
{
    static const char *const last[] = {
        "{\"method\":\"vm.create\",\"params\":{\"name\":\"new\"}}",
        "{\"method\":\"vm.create\",\"params\":{\"name\":\"old\"}}",
        "{\"method\":\"vm.configure\",\"params\":{\"vm\":\"old\",\"settings\":{}}}",
        "{\"method\":\"vm.delete\",\"params\":{\"vm\":\"$3.vm\"}}",
        "{\"method\":\"vm.delete\",\"params\":{\"vm\":\"$0.device\"}}",
        "{\"method\":\"image.create\",\"params\":{\"path\":\"/a\"}}",
        "{\"method\":\"vm.start\",\"params\":{\"vm\":\"new\"}}",
        "{\"method\":\"vm.start\"}",
        "null",
    };
    struct vmms_core *core = core_with(API_VM_STATE_OFF);

    for (size_t i = 0; i < HV_ARRAY_SIZE(last); i++) {
        uint32_t index = 0;
        char *ops;

        assert_true(asprintf(&ops, "%.*s,%s]", (int)strlen(two_vms) - 1, two_vms, last[i]) > 0);
        transact(core, ops, false);
        free(ops);
        assert_int_equal(answer(core, &index), API_E_TRANSACTION_ABORTED);
        assert_int_equal(index, 3);
        assert_null(vmms_core_take_effect(core));
        assert_string_equal(state_of(core, "new"), "not there");
        assert_string_equal(state_of(core, "old"), "there");
    }
    vmms_core_free(core);
}

static void files_are_looked_at_before_anything_is_stored(void **state)
{
    static const char ops[] = "[{\"method\":\"vm.create\",\"params\":{\"name\":\"a\",\"settings\":{"
                              "\"boot.kernel\":\"/k\"}}},"
                              "{\"method\":\"vm.add_device\",\"params\":{\"vm\":\"$0.vm\","
                              "\"settings\":{\"path\":\"/d\"}}}]";
    struct vmms_core *core = core_with(API_VM_STATE_OFF);
    struct vmms_effect *look;
    uint32_t index = 0;

    transact(core, ops, false);
    look = take(core, VMMS_EFFECT_CHECK_FILES);
    assert_non_null(look);
    assert_int_equal(look->n_files, 2);
    assert_null(vmms_core_take_effect(core));
    look->files[0].is_regular = true;
    look->files[1].errnum = ENOENT;
    vmms_core_files_checked(core, look->call, look->files, look->n_files);
    assert_int_equal(answer(core, &index), API_E_TRANSACTION_ABORTED);
    assert_int_equal(index, 1);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    vmms_effect_free(look);
    transact(core, ops, false);
    look = take(core, VMMS_EFFECT_CHECK_FILES);
    for (size_t i = 0; i < look->n_files; i++)
        look->files[i] = (struct vmms_file){ .field = look->files[i].field,
                                             .path = look->files[i].path,
                                             .is_image = look->files[i].is_image,
                                             .is_regular = true,
                                             .is_writable = true,
                                             .inode = i };
    vmms_core_files_checked(core, look->call, look->files, look->n_files);
    vmms_effect_free(look);
    look = take(core, VMMS_EFFECT_COMMIT);
    assert_non_null(look);
    vmms_effect_free(look);
    vmms_core_free(core);
}

static void a_plan_stores_nothing(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_OFF);
    struct vmms_effect *effect;

    transact(core, two_vms, true);
    effect = take(core, VMMS_EFFECT_REPLY);
    assert_non_null(effect);
    assert_int_equal(effect->result.transaction.plan.n_steps, 3);
    assert_int_equal(effect->result.transaction.plan.n_generations, 2);
    vmms_effect_free(effect);
    assert_null(vmms_core_take_effect(core));
    assert_string_equal(state_of(core, "new"), "not there");
    vmms_core_free(core);
}

static void it_waits_for_a_vm_that_is_being_changed(void **state)
{
    struct api_request request = { .method = API_METHOD_VM_DELETE };
    struct vmms_core *core = core_with(API_VM_STATE_OFF);
    struct vmms_effect *commit;
    uint32_t index = 9;

    request.args.vm_delete.vm = strdup("old");
    vmms_core_call(core, 2, &request, "uid:0");
    commit = take(core, VMMS_EFFECT_COMMIT);
    transact(core, two_vms, false);
    assert_null(vmms_core_take_effect(core));
    vmms_core_committed(core, commit->change->id, 1, NULL);
    vmms_effect_free(commit);
    assert_int_equal(answer(core, NULL), 0);
    assert_int_equal(answer(core, &index), API_E_TRANSACTION_ABORTED);
    assert_int_equal(index, 2);
    vmms_core_free(core);
}

/* The setting that waits becomes so in the change that stores Off, whoever brought that about. */
static void what_is_staged_is_stored_with_off(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_RUNNING);
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_GREETED, incarnation);
    struct vmms_effect *commit;

    fact->is_adoption = true;
    fact->state = strdup("running");
    vmms_core_fact(core, id, fact);
    commit = take(core, VMMS_EFFECT_COMMIT);
    vmms_core_committed(core, commit->change->id, 1, NULL);
    vmms_effect_free(commit);
    transact(core,
             "[{\"method\":\"vm.configure\",\"params\":{\"vm\":\"old\",\"stage\":true,"
             "\"settings\":{\"cpu.count\":3}}}]",
             false);
    commit = take(core, VMMS_EFFECT_COMMIT);
    assert_int_equal(commit->change->row.settings.has & API_SETTINGS_HAS_CPU_COUNT, 0);
    assert_int_equal(commit->change->row.staged.settings.cpu_count, 3);
    vmms_core_committed(core, commit->change->id, 1, NULL);
    vmms_effect_free(commit);
    assert_int_equal(answer(core, NULL), 0);
    fact = vmms_fact_new(VMMS_FACT_GONE, incarnation);
    vmms_core_fact(core, id, fact);
    commit = take(core, VMMS_EFFECT_COMMIT);
    assert_int_equal(commit->change->row.state, API_VM_STATE_OFF);
    assert_int_equal(commit->change->row.settings.cpu_count, 3);
    assert_int_equal(commit->change->row.staged.has, 0);
    vmms_effect_free(commit);
    vmms_core_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_of_it_is_seen_before_it_is_stored),
        cmocka_unit_test(what_the_store_refuses_did_not_happen),
        cmocka_unit_test(a_bad_step_leaves_nothing_behind),
        cmocka_unit_test(files_are_looked_at_before_anything_is_stored),
        cmocka_unit_test(a_plan_stores_nothing),
        cmocka_unit_test(it_waits_for_a_vm_that_is_being_changed),
        cmocka_unit_test(what_is_staged_is_stored_with_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
