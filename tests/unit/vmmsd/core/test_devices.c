/* SPDX-License-Identifier: Apache-2.0 */
/* Devices and guests in the core, one input at a time. */
#include "tests/lib/cmocka.h"

#include "api/gen/tables.h"
#include "vmmsd/core/core.h"

#include <stdio.h>
#include <string.h>

static const char id[] = "00000000-0000-4000-8000-0000000000aa";
static const char incarnation[] = "00000000-0000-4000-8000-0000000000bb";
static const char controller_id[] = "00000000-0000-4000-8000-0000000000cc";

static uint64_t tick(void *opaque)
{
    return *(uint64_t *)opaque += 1000000;
}

static void fill(void *opaque, void *ret, size_t length)
{
    memset(ret, (int)(*(uint64_t *)opaque += 1), length);
}

/* A core with the VM "web" in that state, which has SCSI controller 0, and no effects left. */
static struct vmms_core *core_with(enum api_vm_state state)
{
    static uint64_t clock = 1;
    const struct vmms_env env = { &clock, tick, tick, fill };
    struct vmms_row row = { .state = state, .generation = 1, .created_ms = 1, .changed_ms = 1 };
    struct api_device controller = { .id = strdup(controller_id) };
    struct vmms_core *core;
    struct vmms_effect *effect;

    assert_int_equal(vmms_core_new(&env, &core), 0);
    assert_int_equal(vmms_core_set_host(core, "h", "b", "0", 2, 8ull << 30), 0);
    (void)snprintf(row.id, sizeof(row.id), "%s", id);
    row.settings.name = strdup("web");
    row.settings.has = API_SETTINGS_HAS_NAME;
    vmms_devices_insert(&row, &controller);
    if (state != API_VM_STATE_OFF)
        (void)snprintf(row.incarnation, sizeof(row.incarnation), "%s", incarnation);
    assert_int_equal(vmms_core_load(core, &row), 0);
    while ((effect = vmms_core_take_effect(core)))
        vmms_effect_free(effect);
    return core;
}

static struct vmms_effect *take(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(core)) && effect->kind != kind)
        vmms_effect_free(effect);
    return effect;
}

static void add_drive(struct vmms_core *core, uint64_t call)
{
    struct api_request request = { .method = API_METHOD_VM_ADD_DEVICE };

    request.args.vm_add_device.vm = strdup("web");
    request.args.vm_add_device.settings.kind = API_DEVICE_KIND_DVD;
    vmms_core_call(core, call, &request, "uid:7");
}

static void shut_down(struct vmms_core *core, uint64_t call, bool wait)
{
    struct api_request request = { .method = API_METHOD_GUEST_SHUTDOWN };

    request.args.guest_shutdown.vm = strdup("web");
    request.args.guest_shutdown.wait = wait;
    request.args.guest_shutdown.timeout_ms = 5000;
    vmms_core_call(core, call, &request, "uid:7");
}

static void answer(struct vmms_core *core, enum vmms_worker_verb verb, enum api_error_code code)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_ANSWER, incarnation);

    fact->verb = verb;
    if (code)
        api_error_set(&fact->error, code, "x", NULL, "No.");
    vmms_core_fact(core, id, fact);
}

/* Store what is on its way; its change belongs to the caller. */
static struct vmms_effect *store(struct vmms_core *core, bool works)
{
    struct vmms_effect *commit = take(core, VMMS_EFFECT_COMMIT);
    struct api_error *error = NULL;

    assert_non_null(commit);
    if (!works)
        api_error_set(&error, API_E_DISK_FULL, "x", NULL, "Full.");
    vmms_core_committed(core, commit->change->id, 10, error);
    return commit;
}

static int reply_code(struct vmms_core *core)
{
    struct vmms_effect *reply = take(core, VMMS_EFFECT_REPLY);
    int code;

    assert_non_null(reply);
    code = reply->error ? (int)reply->error->code : 0;
    vmms_effect_free(reply);
    return code;
}

static void what_a_worker_refuses_is_not_stored(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_RUNNING);
    struct vmms_effect *ask, *commit;

    add_drive(core, 1);
    ask = take(core, VMMS_EFFECT_ASK_WORKER);
    assert_int_equal(ask->verb, VMMS_WORKER_ADD_DISK);
    assert_int_equal(ask->device.lun, 0);
    assert_true(ask->device.read_only);
    vmms_effect_free(ask);
    assert_null(vmms_core_take_effect(core));
    answer(core, VMMS_WORKER_ADD_DISK, API_E_CORRUPT_IMAGE);
    commit = store(core, true);
    assert_false(commit->change->has_devices);
    assert_int_equal(commit->change->row.n_devices, 1);
    assert_string_equal(commit->change->events[0].type, "device.hotplug_failed");
    vmms_effect_free(commit);
    assert_int_equal(reply_code(core), API_E_CORRUPT_IMAGE);
    assert_null(vmms_core_check(core));
    vmms_core_free(core);
}

/* The guest has it, so the definition has it, whatever the store says. */
static void what_a_worker_took_is_true(void **state)
{
    for (int works = 0; works <= 1; works++) {
        struct vmms_core *core = core_with(API_VM_STATE_PAUSED);
        struct vmms_effect *commit, *reply;

        add_drive(core, 1);
        answer(core, VMMS_WORKER_ADD_DISK, API_E_NONE);
        commit = store(core, works);
        assert_true(commit->change->has_devices);
        assert_int_equal(commit->change->row.n_devices, 2);
        assert_string_equal(commit->change->events[0].type, "device.added");
        assert_string_equal(commit->change->events[0].actor, "uid:7");
        reply = take(core, VMMS_EFFECT_REPLY);
        assert_null(reply->error);
        assert_int_equal(reply->result.changed.vm.n_devices, 2);
        assert_string_equal(reply->result.changed.device, commit->change->row.devices[1].id);
        vmms_effect_free(reply);
        vmms_effect_free(commit);
        assert_null(vmms_core_check(core));
        vmms_core_free(core);
    }
}

static void an_off_vm_that_cannot_be_stored_stays_as_it_was(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_OFF);

    add_drive(core, 1);
    assert_null(take(core, VMMS_EFFECT_ASK_WORKER));
    vmms_core_free(core);
    core = core_with(API_VM_STATE_OFF);
    add_drive(core, 1);
    vmms_effect_free(store(core, false));
    assert_int_equal(reply_code(core), API_E_DISK_FULL);
    add_drive(core, 2);
    vmms_effect_free(store(core, true));
    assert_int_equal(reply_code(core), 0);
    assert_null(vmms_core_check(core));
    vmms_core_free(core);
}

static void one_change_at_a_time(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_RUNNING);

    add_drive(core, 1);
    add_drive(core, 2);
    assert_int_equal(reply_code(core), API_E_JOB_CONFLICT);
    shut_down(core, 3, true);
    assert_int_equal(reply_code(core), API_E_JOB_CONFLICT);
    answer(core, VMMS_WORKER_REMOVE_DISK, API_E_NONE);
    vmms_core_free(core);
}

static void a_wait_ends_by_its_own_token_alone(void **state)
{
    struct vmms_core *core = core_with(API_VM_STATE_RUNNING);
    struct vmms_effect *wake;

    shut_down(core, 1, true);
    answer(core, VMMS_WORKER_SHUT_DOWN, API_E_NONE);
    vmms_effect_free(store(core, true));
    wake = take(core, VMMS_EFFECT_WAKE);
    assert_int_equal(wake->delay_ms, 5000);
    vmms_core_woken(core, id, wake->token + 1);
    vmms_core_woken(core, incarnation, wake->token);
    assert_null(vmms_core_take_effect(core));
    shut_down(core, 2, true);
    assert_int_equal(reply_code(core), API_E_SHUTDOWN_IN_PROGRESS);
    vmms_core_woken(core, id, wake->token);
    assert_int_equal(reply_code(core), API_E_TIMEOUT);
    vmms_core_woken(core, id, wake->token);
    assert_null(vmms_core_take_effect(core));
    vmms_effect_free(wake);
    assert_null(vmms_core_check(core));
    vmms_core_free(core);
}

static void an_end_that_was_asked_for_says_so(void **state)
{
    static const struct {
        const char *told, *cause;
    } rows[] = { { "guest_power_off", "guest_shutdown" },
                 { "triple_fault", "triple_fault" },
                 { "worker_died", "worker_died" } };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct vmms_core *core = core_with(API_VM_STATE_RUNNING);
        struct vmms_fact *gone = vmms_fact_new(VMMS_FACT_GONE, incarnation);
        struct vmms_effect *commit;

        shut_down(core, 1, true);
        answer(core, VMMS_WORKER_SHUT_DOWN, API_E_NONE);
        vmms_effect_free(store(core, true));
        gone->cause = strdup(rows[i].told);
        vmms_core_fact(core, id, gone);
        commit = store(core, true);
        assert_string_equal(commit->change->row.cause, rows[i].cause);
        vmms_effect_free(commit);
        assert_int_equal(reply_code(core), i == 0 ? 0 : API_E_WORKER_LOST);
        vmms_core_free(core);
    }
}

static void tell_guest(struct vmms_core *core, enum api_heartbeat heartbeat, bool is_quiet)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_GUEST, incarnation);

    fact->has_heartbeat = true;
    fact->heartbeat = heartbeat;
    fact->is_quiet = is_quiet;
    vmms_core_fact(core, id, fact);
}

static void only_news_of_a_guest_is_stored(void **state)
{
    static const struct {
        enum api_heartbeat heartbeat;
        bool is_quiet, is_event;
    } rows[] = {
        { API_HEARTBEAT_OK, false, false }, /* the first word is what is, not what changed */
        { API_HEARTBEAT_OK, false, false },     { API_HEARTBEAT_LOST, false, true },
        { API_HEARTBEAT_OK, true, false },      { API_HEARTBEAT_LOST, false, true },
        { API_HEARTBEAT_PAUSED, false, false }, { API_HEARTBEAT_OK, false, false },
        { API_HEARTBEAT_ERROR, false, true },   { API_HEARTBEAT_NO_CONTACT, false, false },
        { API_HEARTBEAT_OK, false, true },
    };
    struct vmms_core *core = core_with(API_VM_STATE_RUNNING);

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct vmms_effect *commit;

        tell_guest(core, rows[i].heartbeat, rows[i].is_quiet);
        commit = take(core, VMMS_EFFECT_COMMIT);
        assert_int_equal(commit != NULL, rows[i].is_event);
        if (!commit)
            continue;
        assert_string_equal(commit->change->events[0].type, "guest.heartbeat_changed");
        vmms_core_committed(core, commit->change->id, 10, NULL);
        vmms_effect_free(commit);
    }
    vmms_core_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_worker_refuses_is_not_stored),
        cmocka_unit_test(what_a_worker_took_is_true),
        cmocka_unit_test(an_off_vm_that_cannot_be_stored_stays_as_it_was),
        cmocka_unit_test(one_change_at_a_time),
        cmocka_unit_test(a_wait_ends_by_its_own_token_alone),
        cmocka_unit_test(an_end_that_was_asked_for_says_so),
        cmocka_unit_test(only_news_of_a_guest_is_stored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
