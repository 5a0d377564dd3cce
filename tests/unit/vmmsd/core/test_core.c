/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/core_world.h"

#include "api/gen/tables.h"
#include "vmmsd/core/definition.h"

#include <stdio.h>
#include <string.h>

enum { WORLDS = 250, STEPS = 4000 };

static uint64_t tick(void *opaque)
{
    return *(uint64_t *)opaque += 1000000;
}

static void fill(void *opaque, void *ret, size_t length)
{
    memset(ret, (int)(*(uint64_t *)opaque += 1), length);
}

static const char id[] = "00000000-0000-4000-8000-0000000000aa";
static const char incarnation[] = "00000000-0000-4000-8000-0000000000bb";

/* A core that holds one VM called "web" in that state, after its adoption where it has a worker. */
static struct vmms_core *core_with(enum api_vm_state state)
{
    static uint64_t clock = 1;
    const struct vmms_env env = { &clock, tick, tick, fill };
    struct vmms_row row = { .state = state, .generation = 1, .created_ms = 1, .changed_ms = 1 };
    struct vmms_core *core;
    struct vmms_effect *effect;

    assert_int_equal(vmms_core_new(&env, &core), 0);
    assert_int_equal(vmms_core_set_host(core, "h", "b", "0", 2, 8ull << 30), 0);
    (void)snprintf(row.id, sizeof(row.id), "%s", id);
    row.settings.name = strdup("web");
    row.settings.boot_kernel = strdup("/k");
    row.settings.has = API_SETTINGS_HAS_NAME | API_SETTINGS_HAS_BOOT_KERNEL;
    if (state != API_VM_STATE_OFF)
        (void)snprintf(row.incarnation, sizeof(row.incarnation), "%s", incarnation);
    assert_int_equal(vmms_core_load(core, &row), 0);
    while ((effect = vmms_core_take_effect(core)))
        vmms_effect_free(effect);
    return core;
}

static void call(struct vmms_core *core, enum api_method method)
{
    struct api_request request = { .method = method };

    request.args.vm_start.vm = strdup("web");
    assert_int_equal(api_record_find(api_methods[method].args, "vm", NULL)->offset,
                     offsetof(struct api_vm_start_args, vm));
    vmms_core_call(core, 1, &request, "uid:0");
}

/* The code that the verb is answered with: 0 when it is accepted, at once or by acting on it. */
static int outcome(enum api_vm_state state, enum api_method method)
{
    struct vmms_core *core = core_with(state);
    struct vmms_effect *effect;
    int code = 0;

    call(core, method);
    while ((effect = vmms_core_take_effect(core))) {
        if (effect->kind == VMMS_EFFECT_REPLY && effect->error)
            code = effect->error->code;
        vmms_effect_free(effect);
    }
    vmms_core_free(core);
    return code;
}

static void verbs_are_allowed_by_the_table(void **state)
{
    enum { NO = API_E_INVALID_STATE, RR = API_E_RESTART_REQUIRED };
    /* clang-format off */
    static const struct {
        enum api_method method;
        int off, starting, running, stopping, paused;
    } rows[] = {
        { API_METHOD_VM_START,    0,  NO, 0,  NO, NO },
        { API_METHOD_VM_TURN_OFF, 0,  0,  0,  0,  0 },
        { API_METHOD_VM_PAUSE,    NO, NO, 0,  NO, 0 },
        { API_METHOD_VM_RESUME,   NO, NO, 0,  NO, 0 },
        { API_METHOD_VM_RESET,    NO, NO, 0,  NO, 0 },
        { API_METHOD_VM_DELETE,   0,  NO, NO, NO, NO },
        { API_METHOD_VM_STATS,    NO, NO, 0,  NO, 0 },
        { API_METHOD_VM_SECURITY, NO, NO, 0,  NO, 0 },
        { API_METHOD_GUEST_GET,             NO, NO, 0,  NO, 0 },
        { API_METHOD_GUEST_SHUTDOWN,        NO, NO, 0,  NO, NO },
        { API_METHOD_GUEST_REBOOT,          NO, NO, 0,  NO, NO },
        { API_METHOD_GUEST_COPY_FILES,      NO, NO, 0,  NO, NO },
        { API_METHOD_CONSOLE_TYPE_TEXT,     NO, NO, 0,  NO, NO },
        /* a SCSI controller, which is the first kind */
        { API_METHOD_VM_ADD_DEVICE,         0,  NO, RR, NO, RR },
    };
    /* clang-format on */

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        assert_int_equal(outcome(API_VM_STATE_OFF, rows[i].method), rows[i].off);
        assert_int_equal(outcome(API_VM_STATE_STARTING, rows[i].method), rows[i].starting);
        assert_int_equal(outcome(API_VM_STATE_RUNNING, rows[i].method), rows[i].running);
        assert_int_equal(outcome(API_VM_STATE_STOPPING, rows[i].method), rows[i].stopping);
        assert_int_equal(outcome(API_VM_STATE_PAUSED, rows[i].method), rows[i].paused);
    }
}

static struct vmms_effect *take(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(core)) && effect->kind != kind)
        vmms_effect_free(effect);
    return effect;
}

static void a_change_is_answered_only_when_it_is_stored(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_OFF);
    struct vmms_effect *commit, *reply;

    call(core, API_METHOD_VM_DELETE);
    commit = take(core, VMMS_EFFECT_COMMIT);
    assert_non_null(commit);
    assert_null(vmms_core_take_effect(core));
    vmms_core_committed(core, commit->change->id, 1, NULL);
    reply = take(core, VMMS_EFFECT_REPLY);
    assert_non_null(reply);
    assert_null(reply->error);
    vmms_effect_free(commit);
    vmms_effect_free(reply);
    vmms_core_free(core);
}

static void what_cannot_be_stored_did_not_happen(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_OFF);
    struct vmms_effect *commit, *reply;
    struct api_error *error = NULL;

    call(core, API_METHOD_VM_START);
    commit = take(core, VMMS_EFFECT_COMMIT);
    api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "The disk is full.");
    vmms_core_committed(core, commit->change->id, 0, error);
    vmms_effect_free(commit);
    reply = take(core, VMMS_EFFECT_REPLY);
    assert_int_equal(reply->error->code, API_E_DISK_FULL);
    vmms_effect_free(reply);
    assert_null(take(core, VMMS_EFFECT_SPAWN));
    call(core, API_METHOD_VM_GET);
    reply = take(core, VMMS_EFFECT_REPLY);
    assert_int_equal(reply->result.vm.state, API_VM_STATE_OFF);
    vmms_effect_free(reply);
    vmms_core_free(core);
}

static void a_fact_of_another_incarnation_is_dropped(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_RUNNING);

    vmms_core_fact(core, id, vmms_fact_new(VMMS_FACT_GONE, id));
    assert_null(vmms_core_take_effect(core));
    vmms_core_fact(core, incarnation, vmms_fact_new(VMMS_FACT_GONE, incarnation));
    assert_null(vmms_core_take_effect(core));
    vmms_core_free(core);
}

static void a_worker_found_again_is_adopted(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_STARTING);
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_GREETED, incarnation);
    struct vmms_effect *effect;

    assert_true(vmms_core_is_adopting(core));
    fact->is_adoption = true;
    fact->state = strdup("running");
    fact->pid = 5;
    vmms_core_fact(core, id, fact);
    assert_false(vmms_core_is_adopting(core));
    effect = take(core, VMMS_EFFECT_COMMIT);
    assert_int_equal(effect->change->row.state, API_VM_STATE_RUNNING);
    assert_string_equal(effect->change->events[0].type, "vm.worker_adopted");
    vmms_effect_free(effect);
    vmms_core_free(core);
}

/* How many effects of that kind wait to be carried out; all are dropped. */
static unsigned count(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;
    unsigned found = 0;

    for (; (effect = take(core, kind)); found++)
        vmms_effect_free(effect);
    return found;
}

static void what_is_stored_can_be_read_while_workers_are_asked(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_RUNNING);

    assert_true(vmms_core_is_looking(core));
    vmms_core_fact(core, id, vmms_fact_new(VMMS_FACT_FOUND, id));
    assert_true(vmms_core_is_looking(core)); /* that was another one */
    vmms_core_fact(core, id, vmms_fact_new(VMMS_FACT_FOUND, incarnation));
    assert_false(vmms_core_is_looking(core));
    assert_true(vmms_core_is_adopting(core));
    vmms_core_hold(core);
    call(core, API_METHOD_VM_GET);
    assert_int_equal(count(core, VMMS_EFFECT_REPLY), 1);
    call(core, API_METHOD_VM_PAUSE);
    call(core, API_METHOD_VM_STATS);
    assert_null(vmms_core_take_effect(core));
    vmms_core_opened(core);
    assert_int_equal(count(core, VMMS_EFFECT_ASK_WORKER), 1);
    vmms_core_free(core);
}

static void calls_that_still_wait_end_with_the_core(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_RUNNING);

    vmms_core_hold(core);
    call(core, API_METHOD_VM_PAUSE);
    vmms_core_free(core);
}

static void ids_are_in_the_order_in_which_they_are_made(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_OFF);
    char last[HV_GUID_TEXT_BYTES] = "";

    for (int i = 0; i < 100; i++) {
        struct api_request request = { .method = API_METHOD_VM_CREATE };
        struct vmms_effect *commit;
        struct hv_guid guid;

        assert_true(asprintf(&request.args.vm_create.name, "vm%d", i) > 0);
        vmms_core_call(core, 1, &request, "uid:0");
        commit = take(core, VMMS_EFFECT_COMMIT);
        assert_int_equal(hv_guid_parse(commit->change->row.id, &guid), 0);
        assert_true(strcmp(last, commit->change->row.id) < 0);
        memcpy(last, commit->change->row.id, sizeof(last));
        vmms_effect_free(commit);
    }
    vmms_core_free(core);
}

static void definitions_are_read_as_they_were_written(void **state)
{
    struct api_settings settings = { .has = API_SETTINGS_HAS_NAME | API_SETTINGS_HAS_CPU_COUNT,
                                     .name = (char *)"web",
                                     .cpu_count = 3 };
    struct api_settings back;
    struct api_error *error = NULL;
    char *text;

    assert_int_equal(vmms_definition_write(&settings, &text), 0);
    assert_int_equal(vmms_definition_read(text, &back, &error), 0);
    assert_true(api_record_diff(&api_record_settings, &settings, &back) == 0);
    api_settings_fini(&back);
    free(text);
    assert_int_equal(vmms_definition_read("{\"version\":2,\"settings\":{}}", &back, &error),
                     -EINVAL);
    api_error_free(error);
    error = NULL;
    assert_int_equal(vmms_definition_read("{\"version\":1,\"settings\":{}}", &back, &error),
                     -EINVAL);
    api_error_free(error);
}

/* Whatever clients, workers and the store do: the invariants hold after every step, and when the
 * world comes to rest, every call has had its one answer. */
static void no_order_of_things_breaks_it(void **state)
{
    for (uint64_t seed = 1; seed <= WORLDS; seed++) {
        struct world *world = world_new(seed);
        const char *broken = NULL;

        for (int step = 0; step < STEPS && !broken; step++) {
            world_step(world);
            broken = vmms_core_check(world_core(world));
        }
        if (broken)
            fail_msg("seed %llu: not so: %s", (unsigned long long)seed, broken);
        world_settle(world);
        if (world_open_calls(world))
            fail_msg("seed %llu: %llu calls without an answer", (unsigned long long)seed,
                     (unsigned long long)world_open_calls(world));
        world_free(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verbs_are_allowed_by_the_table),
        cmocka_unit_test(a_change_is_answered_only_when_it_is_stored),
        cmocka_unit_test(what_cannot_be_stored_did_not_happen),
        cmocka_unit_test(a_fact_of_another_incarnation_is_dropped),
        cmocka_unit_test(a_worker_found_again_is_adopted),
        cmocka_unit_test(what_is_stored_can_be_read_while_workers_are_asked),
        cmocka_unit_test(calls_that_still_wait_end_with_the_core),
        cmocka_unit_test(ids_are_in_the_order_in_which_they_are_made),
        cmocka_unit_test(definitions_are_read_as_they_were_written),
        cmocka_unit_test(no_order_of_things_breaks_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
