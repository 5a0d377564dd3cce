/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "api/gen/tables.h"
#include "vmmsd/core/image_args.h"

#include "vmmsd/core/core.h"

#include <stdio.h>
#include <string.h>

static uint64_t clock_ns;

static uint64_t now(void *opaque)
{
    return clock_ns;
}

static void fill(void *opaque, void *ret, size_t length)
{
    memset(ret, 7, length);
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

/* Call numbers are counted by the test; what comes back is found by them. */
static void create(struct vmms_core *core, uint64_t call, const char *path, const char *key,
                   bool wait)
{
    struct api_request request = { .method = API_METHOD_IMAGE_CREATE };

    request.args.image_create.path = strdup(path);
    request.args.image_create.size_bytes = 1 << 20;
    request.args.image_create.has = API_IMAGE_CREATE_ARGS_HAS_SIZE_BYTES;
    request.args.image_create.idempotency_key = key ? strdup(key) : NULL;
    request.args.image_create.wait = wait;
    vmms_core_call(core, call, &request, "uid:5");
}

static void job_call(struct vmms_core *core, uint64_t call, enum api_method method, uint64_t job)
{
    struct api_request request = { .method = method };

    request.args.job_get.job = job;
    if (method == API_METHOD_JOB_WAIT)
        request.args.job_wait.timeout_ms = 1000;
    vmms_core_call(core, call, &request, "uid:6");
}

static struct vmms_effect *take(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(core)) && effect->kind != kind)
        vmms_effect_free(effect);
    return effect;
}

/* The oldest commit goes well; the types of its events, with blanks between. */
static const char *commit(struct vmms_core *core)
{
    static char types[256];
    struct vmms_effect *effect = take(core, VMMS_EFFECT_COMMIT);
    size_t length = 0;

    assert_non_null(effect);
    types[0] = '\0';
    for (size_t i = 0; i < effect->change->n_events; i++)
        length += (size_t)snprintf(types + length, sizeof(types) - length, "%s%s", i ? " " : "",
                                   effect->change->events[i].type);
    vmms_core_committed(core, effect->change->id, 1, NULL);
    vmms_effect_free(effect);
    return types;
}

/* The code that the next answer carries. */
static int answer(struct vmms_core *core)
{
    struct vmms_effect *effect = take(core, VMMS_EFFECT_REPLY);
    int code;

    assert_non_null(effect);
    code = effect->error ? (int)effect->error->code : 0;
    vmms_effect_free(effect);
    return code;
}

static bool has_order(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect = take(core, kind);

    vmms_effect_free(effect);
    return effect != NULL;
}

static enum api_job_state state_of(struct vmms_core *core, uint64_t job)
{
    struct vmms_effect *effect;
    enum api_job_state state;

    job_call(core, 99, API_METHOD_JOB_GET, job);
    while ((effect = take(core, VMMS_EFFECT_REPLY)) && effect->call != 99)
        vmms_effect_free(effect);
    assert_non_null(effect);
    assert_null(effect->error);
    state = effect->result.job.state;
    vmms_effect_free(effect);
    return state;
}

static void tell(struct vmms_core *core, enum vmms_job_fact_kind kind, uint64_t job,
                 enum api_error_code code)
{
    struct vmms_job_fact fact = { .kind = kind, .job = job };

    if (kind == VMMS_JOB_WORKED)
        fact.result = strdup("{\"created\":[\"/a.vhdx\"]}");
    if (code)
        api_error_set(&fact.error, code, "x", NULL, "It went wrong.");
    vmms_core_job_fact(core, &fact);
}

static void run_one(struct vmms_core *core, const char *path)
{
    create(core, 1, path, NULL, false);
    assert_string_equal(commit(core), "job.queued");
    assert_int_equal(answer(core), 0);
    assert_string_equal(commit(core), "job.started");
}

static void a_job_is_stored_before_anything_happens(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;

    create(core, 1, "/a.vhdx", NULL, false);
    effect = vmms_core_take_effect(core);
    assert_int_equal(effect->kind, VMMS_EFFECT_COMMIT);
    assert_int_equal(effect->change->job_kind, VMMS_JOB_ROW_INSERT);
    assert_null(vmms_core_take_effect(core));
    vmms_core_committed(core, effect->change->id, 1, NULL);
    vmms_effect_free(effect);
    assert_int_equal(answer(core), 0);
    assert_false(has_order(core, VMMS_EFFECT_RUN_JOB)); /* takes the commit of its start away */
    vmms_core_free(core);
}

static void a_job_goes_from_state_to_state(void **state)
{
    struct vmms_core *core = core_new();

    run_one(core, "/a.vhdx");
    assert_true(has_order(core, VMMS_EFFECT_RUN_JOB));
    assert_int_equal(state_of(core, 1), API_JOB_STATE_RUNNING);
    tell(core, VMMS_JOB_WORKED, 1, API_E_NONE);
    assert_string_equal(commit(core), "");
    assert_int_equal(state_of(core, 1), API_JOB_STATE_FINISHING);
    tell(core, VMMS_JOB_ENDED, 1, API_E_NONE);
    assert_string_equal(commit(core), "image.created job.done");
    assert_int_equal(state_of(core, 1), API_JOB_STATE_DONE);
    tell(core, VMMS_JOB_ENDED, 1, API_E_FAILED);
    assert_null(vmms_core_take_effect(core));
    vmms_core_free(core);
}

static void who_waits_is_answered_with_the_end(void **state)
{
    struct vmms_core *core = core_new();

    create(core, 1, "/a.vhdx", NULL, true);
    (void)commit(core);
    (void)commit(core);
    job_call(core, 2, API_METHOD_JOB_WAIT, 1);
    assert_true(vmms_core_is_ticking(core));
    tell(core, VMMS_JOB_ENDED, 1, API_E_DISK_FULL);
    assert_string_equal(commit(core), "job.failed");
    assert_int_equal(answer(core), API_E_DISK_FULL);
    assert_int_equal(answer(core), 0);
    assert_false(vmms_core_is_ticking(core));
    vmms_core_free(core);
}

static void waiting_ends_with_its_time(void **state)
{
    struct vmms_core *core = core_new();

    run_one(core, "/a.vhdx");
    job_call(core, 2, API_METHOD_JOB_WAIT, 1);
    vmms_core_tick(core);
    assert_false(has_order(core, VMMS_EFFECT_REPLY));
    clock_ns += 1001 * UINT64_C(1000000);
    vmms_core_tick(core);
    assert_int_equal(answer(core), 0);
    vmms_core_free(core);
}

static void a_conflict_names_the_holder(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;

    run_one(core, "/a.vhdx");
    create(core, 2, "/a.vhdx", NULL, false);
    effect = take(core, VMMS_EFFECT_REPLY);
    assert_int_equal(effect->error->code, API_E_JOB_CONFLICT);
    assert_non_null(strstr(effect->error->message, "job 1"));
    assert_non_null(strstr(effect->error->message, "uid:5"));
    assert_string_equal(effect->error->data.holder, "job 1");
    assert_int_equal(effect->error->data.job, 1);
    vmms_effect_free(effect);
    create(core, 3, "/b.vhdx", NULL, false);
    assert_string_equal(commit(core), "job.queued");
    vmms_core_free(core);
}

static void the_same_key_gives_the_same_job(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;

    create(core, 1, "/a.vhdx", "k", false);
    create(core, 2, "/a.vhdx", "k", true); /* before it is stored */
    (void)commit(core);
    assert_int_equal(answer(core), 0);
    (void)commit(core);
    create(core, 3, "/a.vhdx", "k", false);
    effect = take(core, VMMS_EFFECT_REPLY);
    assert_int_equal(effect->result.job_changed.job.id, 1);
    assert_true(effect->result.job_changed.already);
    vmms_effect_free(effect);
    create(core, 4, "/other.vhdx", "k", false);
    assert_int_equal(answer(core), API_E_INVALID_PARAMETER);
    tell(core, VMMS_JOB_ENDED, 1, API_E_NONE);
    (void)commit(core);
    assert_int_equal(answer(core), 0); /* call 2, which waited */
    create(core, 5, "/a.vhdx", "k", true);
    assert_int_equal(answer(core), 0);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    vmms_core_free(core);
}

static void jobs_wait_their_turn(void **state)
{
    struct vmms_core *core = core_new();
    char path[32];

    for (int i = 0; i < VMMS_MAX_RUNNING_JOBS; i++) {
        (void)snprintf(path, sizeof(path), "/%d.vhdx", i);
        run_one(core, path);
    }
    create(core, 1, "/last.vhdx", NULL, false);
    assert_string_equal(commit(core), "job.queued");
    assert_int_equal(state_of(core, VMMS_MAX_RUNNING_JOBS + 1), API_JOB_STATE_QUEUED);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    tell(core, VMMS_JOB_ENDED, 2, API_E_CANCELLED);
    assert_string_equal(commit(core), "job.cancelled");
    assert_string_equal(commit(core), "job.started");
    assert_null(vmms_core_check(core));
    vmms_core_free(core);
}

static void a_queued_job_is_cancelled_at_once(void **state)
{
    struct vmms_core *core = core_new();
    char path[32];

    for (int i = 0; i <= VMMS_MAX_RUNNING_JOBS; i++) {
        (void)snprintf(path, sizeof(path), "/%d.vhdx", i);
        create(core, 1, path, NULL, false);
        (void)commit(core);
        if (i < VMMS_MAX_RUNNING_JOBS)
            (void)commit(core);
    }
    job_call(core, 2, API_METHOD_JOB_CANCEL, VMMS_MAX_RUNNING_JOBS + 1);
    assert_string_equal(commit(core), "job.cancelled");
    assert_int_equal(state_of(core, VMMS_MAX_RUNNING_JOBS + 1), API_JOB_STATE_CANCELLED);
    job_call(core, 3, API_METHOD_JOB_CANCEL, 1);
    assert_true(has_order(core, VMMS_EFFECT_CANCEL_JOB));
    assert_int_equal(state_of(core, 1), API_JOB_STATE_RUNNING);
    job_call(core, 4, API_METHOD_JOB_CANCEL, 77);
    assert_int_equal(answer(core), API_E_NOT_FOUND);
    vmms_core_free(core);
}

static void what_cannot_be_stored_is_undone(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;
    struct api_error *error = NULL;

    run_one(core, "/a.vhdx");
    tell(core, VMMS_JOB_WORKED, 1, API_E_NONE);
    effect = take(core, VMMS_EFFECT_COMMIT);
    api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "The disk is full.");
    vmms_core_committed(core, effect->change->id, 0, error);
    vmms_effect_free(effect);
    assert_true(has_order(core, VMMS_EFFECT_UNDO_JOB));
    tell(core, VMMS_JOB_ENDED, 1, API_E_NONE);
    assert_string_equal(commit(core), "job.failed");
    assert_int_equal(state_of(core, 1), API_JOB_STATE_FAILED);
    vmms_core_free(core);
}

static int load(struct vmms_core *core, uint64_t id, enum api_job_state state)
{
    struct vmms_job_row row = { .id = id,
                                .type = strdup("image.create"),
                                .object = strdup("/a.vhdx"),
                                .args = strdup("{\"path\":\"/a.vhdx\",\"size_bytes\":1048576}"),
                                .state = state,
                                .owner = strdup("uid:5"),
                                .submitted_ms = 1000000,
                                .ended_ms = state == API_JOB_STATE_DONE ? 1000000 : 0 };

    return vmms_core_load_job(core, &row);
}

static void after_a_restart_no_job_is_left_running(void **state)
{
    struct vmms_core *core = core_new();

    assert_int_equal(load(core, 3, API_JOB_STATE_RUNNING), 0);
    assert_int_equal(load(core, 2, API_JOB_STATE_RUNNING), -EINVAL);
    vmms_core_loaded(core, 0, 9);
    assert_true(has_order(core, VMMS_EFFECT_UNDO_JOB));
    tell(core, VMMS_JOB_ENDED, 3, API_E_NONE);
    assert_string_equal(commit(core), "job.rolled_back job.failed");
    assert_int_equal(state_of(core, 3), API_JOB_STATE_FAILED);
    create(core, 1, "/b.vhdx", NULL, false);
    (void)commit(core);
    assert_int_equal(state_of(core, 10), API_JOB_STATE_QUEUED); /* numbers are not used again */
    vmms_core_free(core);
}

static void after_a_restart_what_was_done_is_finished(void **state)
{
    struct vmms_core *core = core_new();

    assert_int_equal(load(core, 3, API_JOB_STATE_FINISHING), 0);
    assert_int_equal(load(core, 4, API_JOB_STATE_QUEUED), 0);
    vmms_core_loaded(core, 0, 4);
    assert_true(has_order(core, VMMS_EFFECT_FINISH_JOB));
    assert_string_equal(commit(core), "job.started");
    tell(core, VMMS_JOB_ENDED, 3, API_E_NONE);
    assert_string_equal(commit(core), "job.resumed_after_restart image.created job.done");
    vmms_core_free(core);
}

static void a_job_of_another_version_is_failed(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_job_row row = { .id = 1,
                                .type = strdup("image.melt"),
                                .object = strdup("/a"),
                                .args = strdup("{"),
                                .state = API_JOB_STATE_RUNNING,
                                .owner = strdup("uid:5") };

    assert_int_equal(vmms_core_load_job(core, &row), 0);
    assert_string_equal(commit(core), "job.rolled_back job.failed");
    assert_int_equal(state_of(core, 1), API_JOB_STATE_FAILED);
    vmms_core_free(core);
}

static void jobs_are_kept_for_a_week(void **state)
{
    struct vmms_core *core = core_new();
    struct vmms_effect *effect;

    assert_int_equal(load(core, 1, API_JOB_STATE_DONE), 0);
    vmms_core_loaded(core, 0, 1);
    vmms_core_tick(core);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    clock_ns += UINT64_C(8) * 86400 * 1000000000;
    vmms_core_tick(core);
    effect = take(core, VMMS_EFFECT_COMMIT);
    assert_int_equal(effect->change->job_kind, VMMS_JOB_ROW_DELETE);
    vmms_core_committed(core, effect->change->id, 0, NULL);
    vmms_effect_free(effect);
    job_call(core, 1, API_METHOD_JOB_GET, 1);
    assert_int_equal(answer(core), API_E_NOT_FOUND);
    vmms_core_free(core);
}

static void a_deadline_holds_in_the_queue(void **state)
{
    struct vmms_core *core = core_new();
    struct api_request request = { .method = API_METHOD_IMAGE_CREATE };
    char path[32];

    for (int i = 0; i < VMMS_MAX_RUNNING_JOBS; i++) {
        (void)snprintf(path, sizeof(path), "/%d.vhdx", i);
        run_one(core, path);
    }
    request.args.image_create.path = strdup("/late.vhdx");
    request.args.image_create.size_bytes = 1 << 20;
    request.args.image_create.deadline_ms = 500;
    vmms_core_call(core, 1, &request, "uid:5");
    (void)commit(core);
    assert_true(vmms_core_is_ticking(core));
    clock_ns += 501 * UINT64_C(1000000);
    vmms_core_tick(core);
    assert_string_equal(commit(core), "job.failed");
    vmms_core_free(core);
}

/* Arguments of image methods that are wrong by themselves, and the field that is named. */
static void wrong_image_arguments_are_refused_by_name(void **state)
{
    static const struct {
        struct api_image_create_args args;
        const char *field;
    } rows[] = {
        { { .path = (char *)"/a", .size_bytes = 1 << 20 }, "format" },
        { { .path = (char *)"/a.vhdx" }, "size_bytes" },
        { { .path = (char *)"/a.vhd", .size_bytes = UINT64_C(3) << 40 }, "size_bytes" },
        { { .path = (char *)"/a.vhdx", .size_bytes = 1 << 20, .block_bytes = 3 << 20 },
          "block_bytes" },
        { { .path = (char *)"/a.vhdx", .size_bytes = 1 << 20, .block_bytes = 512 << 10 },
          "block_bytes" },
        { { .path = (char *)"/a.raw", .size_bytes = 1 << 20, .block_bytes = 1 << 20 },
          "block_bytes" },
        { { .path = (char *)"/a.vhdx", .size_bytes = 1 << 20, .logical_sector_bytes = 1024 },
          "logical_sector_bytes" },
        { { .path = (char *)"/a.vhd", .size_bytes = 1 << 20, .logical_sector_bytes = 4096 },
          "logical_sector_bytes" },
        { { .path = (char *)"/a.vhdx",
            .size_bytes = (1 << 20) + 512,
            .logical_sector_bytes = 4096 },
          "size_bytes" },
        { { .path = (char *)"/a.vhdx", .parent = (char *)"/b.vhd" }, "parent" },
        { { .has = API_IMAGE_CREATE_ARGS_HAS_TYPE,
            .path = (char *)"/a.vhdx",
            .size_bytes = 1 << 20,
            .type = API_IMAGE_TYPE_DIFFERENCING },
          "parent" },
        { { .has = API_IMAGE_CREATE_ARGS_HAS_TYPE,
            .path = (char *)"/a.raw",
            .size_bytes = 1 << 20,
            .type = API_IMAGE_TYPE_DYNAMIC },
          "type" },
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct api_request request = { .method = API_METHOD_IMAGE_CREATE };
        struct api_error *error = NULL;

        request.args.image_create = rows[i].args;
        assert_int_equal(vmms_image_check_args(&request, &error), -EINVAL);
        assert_string_equal(error->data.field, rows[i].field);
        api_error_free(error);
    }
}

static void fail_commit(struct vmms_core *core)
{
    struct vmms_effect *effect = take(core, VMMS_EFFECT_COMMIT);
    struct api_error *error = NULL;

    assert_non_null(effect);
    (void)api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "Full.");
    vmms_core_committed(core, effect->change->id, 0, error);
    vmms_effect_free(effect);
}

static void an_end_that_cannot_be_stored_is_told_to_nobody_and_tried_again(void **state)
{
    struct vmms_core *core = core_new();

    create(core, 1, "/x/a.vhdx", NULL, true);
    assert_string_equal(commit(core), "job.queued");
    assert_string_equal(commit(core), "job.started");
    tell(core, VMMS_JOB_ENDED, 1, API_E_FAILED);
    fail_commit(core);
    assert_int_equal(answer(core), API_E_STATUS_UNKNOWN);
    assert_int_equal(state_of(core, 1), API_JOB_STATE_RUNNING);
    assert_true(vmms_core_is_ticking(core));
    vmms_core_tick(core);
    assert_null(take(core, VMMS_EFFECT_COMMIT));
    clock_ns += UINT64_C(2000000000);
    vmms_core_tick(core);
    assert_string_equal(commit(core), "job.failed");
    assert_int_equal(state_of(core, 1), API_JOB_STATE_FAILED);
    assert_false(vmms_core_is_ticking(core));
    vmms_core_free(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_stored_before_anything_happens),
        cmocka_unit_test(a_job_goes_from_state_to_state),
        cmocka_unit_test(who_waits_is_answered_with_the_end),
        cmocka_unit_test(waiting_ends_with_its_time),
        cmocka_unit_test(a_conflict_names_the_holder),
        cmocka_unit_test(the_same_key_gives_the_same_job),
        cmocka_unit_test(jobs_wait_their_turn),
        cmocka_unit_test(a_queued_job_is_cancelled_at_once),
        cmocka_unit_test(what_cannot_be_stored_is_undone),
        cmocka_unit_test(after_a_restart_no_job_is_left_running),
        cmocka_unit_test(after_a_restart_what_was_done_is_finished),
        cmocka_unit_test(a_job_of_another_version_is_failed),
        cmocka_unit_test(jobs_are_kept_for_a_week),
        cmocka_unit_test(a_deadline_holds_in_the_queue),
        cmocka_unit_test(wrong_image_arguments_are_refused_by_name),
        cmocka_unit_test(an_end_that_cannot_be_stored_is_told_to_nobody_and_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
