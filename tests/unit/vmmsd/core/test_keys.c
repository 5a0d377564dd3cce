/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and deadlines of calls that make no job. */
#include "tests/lib/cmocka.h"

#include "api/gen/tables.h"
#include "vmmsd/core/core_priv.h"

#include <stdio.h>
#include <string.h>

static uint64_t clock_ns, chance;

static uint64_t now(void *opaque)
{
    return clock_ns;
}

static void fill(void *opaque, void *ret, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)ret)[i] = (uint8_t)(++chance * 37 >> (i % 4));
}

static struct vmms_core *core_new(void)
{
    const struct vmms_env env = { NULL, now, now, fill };
    struct vmms_core *core;

    clock_ns = UINT64_C(1000000000000);
    assert_int_equal(vmms_core_new(&env, &core), 0);
    assert_int_equal(vmms_core_set_host(core, "h", "b", "0", 2, 8ull << 30), 0);
    return core;
}

static void load(struct vmms_core *core, const char *name, enum api_vm_state state)
{
    struct vmms_row row = { .generation = 1, .state = state };

    (void)snprintf(row.id, sizeof(row.id), "00000000-0000-4000-8000-0000000000%02x", name[0]);
    if (state != API_VM_STATE_OFF)
        (void)snprintf(row.incarnation, sizeof(row.incarnation), "00000000-0000-4000-9000-1");
    row.settings.has = API_SETTINGS_HAS_NAME;
    row.settings.name = strdup(name);
    row.settings.boot_kernel = strdup("/kernel");
    assert_int_equal(vmms_core_load(core, &row), 0);
}

static void set_text(struct api_request *request, const char *name, const char *text)
{
    const struct api_field *field = api_record_find(api_methods[request->method].args, name, NULL);
    char *copy = text ? strdup(text) : NULL;

    assert_non_null(field);
    memcpy((char *)&request->args + field->offset, &copy, sizeof(copy));
}

static void call(struct vmms_core *core, uint64_t number, enum api_method method, const char *what,
                 const char *key, uint64_t deadline_ms)
{
    struct api_request request = { .method = method };
    const struct api_field *deadline =
        api_record_find(api_methods[method].args, "deadline_ms", NULL);

    set_text(&request, method == API_METHOD_VM_CREATE ? "name" : "vm", what);
    set_text(&request, "idempotency_key", key);
    memcpy((char *)&request.args + deadline->offset, &deadline_ms, sizeof(deadline_ms));
    vmms_core_call(core, number, &request, "uid:5");
}

static struct vmms_effect *take(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(core)) && effect->kind != kind)
        vmms_effect_free(effect);
    return effect;
}

/* The next change goes well, or with an error; it is returned. */
static struct vmms_effect *store(struct vmms_core *core, uint64_t seq, enum api_error_code code)
{
    struct vmms_effect *effect = take(core, VMMS_EFFECT_COMMIT);
    struct api_error *error = NULL;

    assert_non_null(effect);
    if (code)
        api_error_set(&error, code, "x", NULL, "No.");
    vmms_core_committed(core, effect->change->id, seq, error);
    assert_null(vmms_core_check(core));
    return effect;
}

static void stored(struct vmms_core *core, uint64_t seq)
{
    vmms_effect_free(store(core, seq, API_E_NONE));
}

/* The next answer is the call's: its error's code, or 0. already, message: where it has one, or
 * NULL */
static unsigned answer(struct vmms_core *core, uint64_t number, bool *already, const char *says)
{
    struct vmms_effect *effect = take(core, VMMS_EFFECT_REPLY);
    unsigned code;

    assert_non_null(effect);
    assert_int_equal(effect->call, number);
    code = effect->error ? effect->error->code : 0;
    if (already)
        *already = effect->result.changed.already;
    if (says && (!effect->error || !strstr(effect->error->message, says)))
        fail_msg("\"%s\" is not said: %s", says, effect->error ? effect->error->message : "-");
    vmms_effect_free(effect);
    return code;
}

static void the_same_call_again_makes_nothing_more(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;
    bool already;

    call(core, 1, API_METHOD_VM_CREATE, "web", "k", 0);
    call(core, 2, API_METHOD_VM_CREATE, "web", "k", 0); /* while the first is on its way */
    effect = store(core, 7, API_E_NONE);
    assert_int_equal(effect->change->kind, VMMS_ROW_INSERT);
    assert_int_equal(effect->change->key_kind, VMMS_KEY_ROW_PUT);
    assert_true(effect->change->key.is_done);
    assert_string_equal(effect->change->key.object, effect->change->row.id);
    vmms_effect_free(effect);
    assert_int_equal(answer(core, 1, &already, NULL), 0);
    assert_false(already);
    assert_int_equal(answer(core, 2, &already, NULL), 0);
    assert_true(already);
    call(core, 3, API_METHOD_VM_CREATE, "web", "k", 0);
    effect = take(core, VMMS_EFFECT_REPLY);
    assert_string_equal(effect->result.changed.vm.name, "web");
    assert_int_equal(effect->result.changed.event_seq, 7);
    vmms_effect_free(effect);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    vmms_core_free(core);
}

static void a_key_is_one_calls(void **state)
{
    struct vmms_core *core = core_new();

    call(core, 1, API_METHOD_VM_CREATE, "web", "k", 0);
    stored(core, 1);
    (void)answer(core, 1, NULL, NULL);
    call(core, 2, API_METHOD_VM_CREATE, "db", "k", 0);
    assert_int_equal(answer(core, 2, NULL, "vm.create on VM web, with other arguments"),
                     API_E_INVALID_PARAMETER);
    call(core, 3, API_METHOD_VM_DELETE, "web", "k", 0);
    assert_int_equal(answer(core, 3, NULL, "vm.create on VM web"), API_E_INVALID_PARAMETER);
    call(core, 4, API_METHOD_VM_DELETE, "web", "other", 0);
    stored(core, 2);
    assert_int_equal(answer(core, 4, NULL, NULL), 0);
    /* Its object need not be there any more. */
    call(core, 5, API_METHOD_VM_DELETE, "web", "other", 0);
    assert_int_equal(answer(core, 5, NULL, NULL), 0);
    vmms_core_free(core);
}

static void what_was_not_stored_or_refused_leaves_its_key_free(void **state)
{
    struct vmms_core *core = core_new();

    call(core, 1, API_METHOD_VM_CREATE, "web", "k", 0);
    vmms_effect_free(store(core, 0, API_E_DISK_FULL));
    assert_int_equal(answer(core, 1, NULL, NULL), API_E_DISK_FULL);
    call(core, 2, API_METHOD_VM_DELETE, "web", "k", 0);
    assert_int_equal(answer(core, 2, NULL, NULL), API_E_NOT_FOUND);
    call(core, 3, API_METHOD_VM_CREATE, "web", "k", 0);
    stored(core, 1);
    assert_int_equal(answer(core, 3, NULL, NULL), 0);
    vmms_core_free(core);
}

static void put_key(struct vmms_core *core, const char *method, const char *vm, bool is_done)
{
    struct vmms_key_row row = { .owner = strdup("uid:5"),
                                .key = strdup("k"),
                                .method = strdup(method),
                                .is_done = is_done,
                                .made_ms = clock_ns / 1000000,
                                .event_seq = 3 };
    struct vmms_core *other = core_new();
    struct vmms_effect *effect;

    /* The arguments count as they would have when it was made. */
    load(other, vm, API_VM_STATE_OFF);
    vmms_core_loaded(other, 0, 0);
    vmms_core_opened(other);
    call(other, 1, strcmp(method, "vm.start") == 0 ? API_METHOD_VM_START : API_METHOD_VM_DELETE, vm,
         "k", 0);
    effect = take(other, VMMS_EFFECT_COMMIT);
    row.args = effect->change->key.args;
    (void)snprintf(row.object, sizeof(row.object), "%s", effect->change->key.object);
    vmms_effect_free(effect);
    vmms_core_free(other);
    assert_int_equal(vmms_core_load_key(core, &row), 0);
}

/* A start that was being made when the service ended is not made again, whatever became of it. */
static void what_was_under_way_at_a_crash_is_not_made_again(void **state)
{
    struct vmms_core *core = core_new();
    bool already;

    load(core, "web", API_VM_STATE_OFF);
    put_key(core, "vm.start", "web", false);
    vmms_core_loaded(core, 0, 0);
    vmms_core_opened(core);
    call(core, 1, API_METHOD_VM_START, "web", "k", 0);
    assert_int_equal(answer(core, 1, NULL, "VM web is now off"), API_E_STATUS_UNKNOWN);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    vmms_core_free(core);

    core = core_new();
    load(core, "web", API_VM_STATE_OFF);
    put_key(core, "vm.start", "web", true);
    vmms_core_loaded(core, 0, 0);
    vmms_core_opened(core);
    call(core, 1, API_METHOD_VM_START, "web", "k", 0);
    assert_int_equal(answer(core, 1, &already, NULL), 0);
    assert_true(already);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    vmms_core_free(core);
}

/* A worker is asked only when the key is stored, and no answer leaves before its end is. */
static void a_key_is_stored_before_a_worker_is_asked(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;
    struct vmms_fact *fact;

    load(core, "web", API_VM_STATE_RUNNING);
    vmms_core_loaded(core, 0, 0);
    vmms_core_opened(core);
    call(core, 1, API_METHOD_VM_RESET, "web", "k", 0);
    effect = vmms_core_take_effect(core);
    while (effect && effect->kind != VMMS_EFFECT_COMMIT) {
        assert_int_not_equal(effect->kind, VMMS_EFFECT_ASK_WORKER);
        vmms_effect_free(effect);
        effect = vmms_core_take_effect(core);
    }
    assert_non_null(effect);
    assert_int_equal(effect->change->kind, VMMS_ROW_NONE);
    assert_false(effect->change->key.is_done);
    vmms_core_committed(core, effect->change->id, 0, NULL);
    vmms_effect_free(effect);
    effect = take(core, VMMS_EFFECT_ASK_WORKER);
    assert_int_equal(effect->verb, VMMS_WORKER_RESET);
    vmms_effect_free(effect);
    fact = vmms_fact_new(VMMS_FACT_ANSWER, "00000000-0000-4000-9000-1");
    fact->verb = VMMS_WORKER_RESET;
    api_error_set(&fact->error, API_E_FAILED, "x", NULL, "No.");
    vmms_core_fact(core, "00000000-0000-4000-8000-000000000077", fact);
    effect = take(core, VMMS_EFFECT_COMMIT);
    assert_non_null(effect);
    assert_int_equal(effect->change->key_kind, VMMS_KEY_ROW_DELETE);
    assert_null(take(core, VMMS_EFFECT_REPLY));
    vmms_core_committed(core, effect->change->id, 0, NULL);
    vmms_effect_free(effect);
    assert_int_equal(answer(core, 1, NULL, NULL), API_E_FAILED);
    vmms_core_free(core);
}

static void keys_are_bounded_by_age(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;

    call(core, 1, API_METHOD_VM_CREATE, "web", "k", 0);
    stored(core, 1);
    (void)answer(core, 1, NULL, NULL);
    clock_ns += UINT64_C(8) * 86400 * 1000000000;
    vmms_core_tick(core);
    effect = store(core, 0, API_E_NONE);
    assert_int_equal(effect->change->key_kind, VMMS_KEY_ROW_DELETE);
    vmms_effect_free(effect);
    call(core, 2, API_METHOD_VM_CREATE, "web", "k", 0);
    assert_int_equal(answer(core, 2, NULL, NULL), API_E_ALREADY_EXISTS);
    vmms_core_free(core);
}

static void what_waits_ends_with_its_deadline(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *first, *second;

    load(core, "web", API_VM_STATE_OFF);
    vmms_core_loaded(core, 0, 0);
    vmms_core_opened(core);
    call(core, 1, API_METHOD_VM_DELETE, "web", NULL, 500);
    call(core, 2, API_METHOD_VM_START, "web", NULL, 500);
    assert_true(vmms_core_is_ticking(core));
    first = take(core, VMMS_EFFECT_COMMIT);
    assert_int_equal(first->change->due_ns, clock_ns + 500000000);
    clock_ns += 600000000;
    vmms_core_tick(core);
    /* The one behind it is told; what the store has, the store refuses. */
    assert_int_equal(answer(core, 2, NULL, "nothing was done"), API_E_TIMEOUT);
    vmms_core_committed(core, first->change->id, 1, NULL);
    vmms_effect_free(first);
    assert_int_equal(answer(core, 1, NULL, NULL), 0);
    assert_false(vmms_core_is_ticking(core));
    second = take(core, VMMS_EFFECT_SPAWN);
    assert_null(second);
    vmms_core_free(core);
}

static void a_start_that_takes_too_long_is_taken_back(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;
    struct vmms_fact *fact;

    load(core, "web", API_VM_STATE_OFF);
    vmms_core_loaded(core, 0, 0);
    vmms_core_opened(core);
    call(core, 1, API_METHOD_VM_START, "web", NULL, 500);
    stored(core, 1);
    effect = take(core, VMMS_EFFECT_SPAWN);
    clock_ns += 600000000;
    vmms_core_tick(core);
    vmms_core_tick(core);
    vmms_effect_free(take(core, VMMS_EFFECT_KILL_WORKER));
    fact = vmms_fact_new(VMMS_FACT_GONE, effect->row.incarnation);
    vmms_effect_free(effect);
    vmms_core_fact(core, "00000000-0000-4000-8000-000000000077", fact);
    effect = store(core, 2, API_E_NONE);
    assert_int_equal(effect->change->row.state, API_VM_STATE_OFF);
    vmms_effect_free(effect);
    assert_int_equal(answer(core, 1, NULL, "taken back"), API_E_TIMEOUT);
    vmms_core_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_call_again_makes_nothing_more),
        cmocka_unit_test(a_key_is_one_calls),
        cmocka_unit_test(what_was_not_stored_or_refused_leaves_its_key_free),
        cmocka_unit_test(what_was_under_way_at_a_crash_is_not_made_again),
        cmocka_unit_test(a_key_is_stored_before_a_worker_is_asked),
        cmocka_unit_test(keys_are_bounded_by_age),
        cmocka_unit_test(what_waits_ends_with_its_deadline),
        cmocka_unit_test(a_start_that_takes_too_long_is_taken_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
