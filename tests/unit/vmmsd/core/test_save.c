/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/core_host.h"

#include "api/gen/tables.h"

#include <stdio.h>
#include <string.h>

/* Its worker says how it is. */
static void tell(struct core_host *host, enum vmms_fact_kind kind, const char *state,
                 bool is_adoption)
{
    struct vmms_fact *fact = vmms_fact_new(kind, core_host_incarnation(host, "web"));

    fact->is_adoption = is_adoption;
    fact->state = strdup(state);
    core_host_fact(host, "web", fact);
}

static void found(struct core_host *host, const char *state)
{
    tell(host, VMMS_FACT_GREETED, state, true);
}

static struct core_host *host_with(enum api_vm_state state)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "web", state, VMMS_MARK_NONE, (struct api_settings){ 0 });
    core_host_begin(host, false);
    found(host, state == API_VM_STATE_PAUSED ? "paused" : "running");
    host->events[0] = '\0';
    return host;
}

static void save(struct core_host *host, const char *key, uint64_t deadline_ms)
{
    struct api_request request = { .method = API_METHOD_VM_SAVE };

    request.args.vm_save.vm = strdup("web");
    request.args.vm_save.wait = true;
    request.args.vm_save.deadline_ms = deadline_ms;
    request.args.vm_save.idempotency_key = key ? strdup(key) : NULL;
    core_host_call(host, &request);
}

static void job_call(struct core_host *host, enum api_method method, uint64_t job)
{
    struct api_request request = { .method = method };

    request.args.job_get.job = job;
    core_host_call(host, &request);
}

static enum api_job_state job_state(struct core_host *host, uint64_t job)
{
    job_call(host, API_METHOD_JOB_GET, job);
    assert_null(host->reply->error);
    return host->reply->result.job.state;
}

static int refused(const struct core_host *host)
{
    assert_non_null(host->reply);
    return host->reply->error ? (int)host->reply->error->code : 0;
}

static void a_save_is_a_job_from_before_its_work_to_after_it(void **state)
{
    struct core_host *host = host_with(API_VM_STATE_RUNNING);

    save(host, NULL, 0);
    assert_string_equal(host->events, "job.queued web\njob.started web\nvm.state_changed web\n"
                                      "vm.state_changed web\nvm.saved web\njob.done web\n");
    assert_int_equal(refused(host), 0);
    assert_int_equal(host->reply->result.job_changed.job.state, API_JOB_STATE_DONE);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_SAVED);
    save(host, NULL, 0);
    assert_true(host->reply->result.job_changed.already);
    assert_false(host->reply->result.job_changed.has & API_JOB_CHANGED_HAS_JOB);
    core_host_free(host);
}

static void a_save_that_fails_fails_its_job(void **state)
{
    struct core_host *host = host_with(API_VM_STATE_PAUSED);

    host->saves_fail = true;
    save(host, NULL, 0);
    assert_int_equal(refused(host), API_E_GUEST_NOT_READY);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_FAILED);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_PAUSED);
    host->saves_fail = false;
    save(host, NULL, 0);
    assert_int_equal(job_state(host, 2), API_JOB_STATE_DONE);
    core_host_free(host);
}

static void a_cancelled_save_lets_the_guest_go_on(void **state)
{
    struct core_host *host = host_with(API_VM_STATE_RUNNING);

    host->saves_hang = true;
    save(host, NULL, 0);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_SAVING);
    job_call(host, API_METHOD_JOB_CANCEL, 1);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_CANCELLED);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_RUNNING);
    core_host_free(host);
}

static void a_deadline_ends_a_save(void **state)
{
    struct core_host *host = host_with(API_VM_STATE_RUNNING);

    host->saves_hang = true;
    save(host, NULL, 500);
    core_host_pass(host, 400);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_RUNNING);
    core_host_pass(host, 200);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_FAILED);
    assert_non_null(strstr(host->reply->result.job.error, "Timeout"));
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_RUNNING);
    core_host_free(host);
}

/* A save whose worker hangs: it will not even hear that it is to stop. */
static struct core_host *host_with_silent_save(void)
{
    struct core_host *host = host_with(API_VM_STATE_RUNNING);

    host->saves_hang = true;
    save(host, NULL, 0);
    host->is_saving = false;
    tell(host, VMMS_FACT_QUIET, "", false);
    core_host_pass(host, 29000);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_RUNNING);
    core_host_pass(host, 2000);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_FAILED);
    assert_non_null(strstr(host->reply->result.job.error, "WorkerUnresponsive"));
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_RUNNING);
    save(host, NULL, 0);
    assert_int_equal(refused(host), API_E_WORKER_UNRESPONSIVE);
    return host;
}

static void a_save_on_a_worker_that_hangs_is_given_up(void **state)
{
    struct core_host *host = host_with_silent_save();
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_STATE, core_host_incarnation(host, "web"));

    /* It was told to stop, and has: now it may be saved again. */
    fact->state = strdup("running");
    fact->cause = strdup("save_failed");
    core_host_fact(host, "web", fact);
    host->saves_hang = false;
    save(host, NULL, 0);
    assert_int_equal(refused(host), 0);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_SAVED);
    core_host_free(host);
}

/* It comes to itself and has saved the guest before it hears of anything: nothing else is left. */
static void what_a_given_up_save_ends_with_is_kept(void **state)
{
    struct core_host *host = host_with_silent_save();

    core_host_end(host, "web", "save");
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_SAVED);
    core_host_free(host);
}

static void who_comes_meanwhile_is_told_of_the_job(void **state)
{
    static const enum api_method methods[] = { API_METHOD_VM_PAUSE, API_METHOD_VM_RESET,
                                               API_METHOD_VM_SAVE, API_METHOD_VM_START };
    struct core_host *host = host_with(API_VM_STATE_RUNNING);

    host->saves_hang = true;
    save(host, NULL, 0);
    for (size_t i = 0; i < HV_ARRAY_SIZE(methods); i++) {
        core_host_verb(host, methods[i], "web");
        assert_int_equal(refused(host), API_E_JOB_CONFLICT);
        assert_int_equal(host->reply->error->data.job, 1);
        assert_string_equal(host->reply->error->data.holder, "job 1");
        assert_non_null(strstr(host->reply->error->message, "VM web"));
        assert_non_null(strstr(host->reply->error->message, "uid:0"));
    }
    core_host_verb(host, API_METHOD_VM_TURN_OFF, "web"); /* which nothing holds up */
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_OFF);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_CANCELLED);
    core_host_free(host);
}

static void the_same_key_saves_once(void **state)
{
    struct core_host *host = host_with(API_VM_STATE_RUNNING);

    save(host, "k", 0);
    save(host, "k", 0);
    assert_true(host->reply->result.job_changed.already);
    assert_int_equal(host->reply->result.job_changed.job.id, 1);
    core_host_verb(host, API_METHOD_VM_START, "web");
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_RUNNING);
    save(host, "k", 0); /* comes late, and is no new one */
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_RUNNING);
    core_host_free(host);
}

static void a_save_waits_for_no_image(void **state)
{
    struct core_host *host = host_with(API_VM_STATE_RUNNING);

    for (int i = 0; i < VMMS_MAX_RUNNING_JOBS + 1; i++) {
        struct api_request request = { .method = API_METHOD_IMAGE_CREATE };

        hv_assert(asprintf(&request.args.image_create.path, "/%d.vhdx", i) > 0);
        request.args.image_create.size_bytes = 1 << 20;
        core_host_call(host, &request);
    }
    assert_int_equal(job_state(host, VMMS_MAX_RUNNING_JOBS + 1), API_JOB_STATE_QUEUED);
    save(host, NULL, 0);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_SAVED);
    core_host_free(host);
}

static void progress(struct core_host *host, uint64_t done)
{
    struct vmms_fact *fact =
        vmms_fact_new(VMMS_FACT_SAVE_PROGRESS, core_host_incarnation(host, "web"));

    fact->bytes_done = done;
    fact->bytes_total = 200;
    core_host_fact(host, "web", fact);
}

static void progress_is_told_twice_a_second_and_not_stored_for_it(void **state)
{
    struct core_host *host = host_with(API_VM_STATE_RUNNING);
    unsigned commits;

    host->saves_hang = true;
    save(host, NULL, 0);
    commits = host->commits;
    for (uint64_t i = 0; i < 100; i++) {
        progress(host, i);
        host->clock += 10000000;
    }
    assert_int_equal(host->progress, 2);
    assert_int_equal(host->commits, commits);
    (void)job_state(host, 1);
    assert_int_equal(host->reply->result.job.percent, 49);
    assert_null(strstr(host->events, "progress"));
    core_host_free(host);
}

/* After a restart */

static void load_job(struct core_host *host, enum api_job_state state)
{
    struct vmms_job_row row = { .id = 1,
                                .state = state,
                                .submitted_ms = 1,
                                .started_ms = 1,
                                .type = strdup("vm.save"),
                                .owner = strdup("uid:0"),
                                .object = strdup("00000000-0000-4000-8000-000000000001"),
                                .args =
                                    strdup("{\"vm\":\"00000000-0000-4000-8000-000000000001\"}") };

    assert_int_equal(vmms_core_load_job(host->core, &row), 0);
}

static struct core_host *restarted(enum api_vm_state vm, enum api_job_state job)
{
    struct core_host *host = core_host_new();

    core_host_load(host, "web", vm, VMMS_MARK_NONE, (struct api_settings){ 0 });
    load_job(host, job);
    core_host_begin(host, false);
    return host;
}

static void a_save_that_is_found_goes_on_to_its_end(void **state)
{
    struct core_host *host = restarted(API_VM_STATE_SAVING, API_JOB_STATE_RUNNING);

    assert_int_equal(job_state(host, 1), API_JOB_STATE_RUNNING);
    found(host, "saving");
    progress(host, 50);
    (void)job_state(host, 1);
    assert_int_equal(host->reply->result.job.percent, 25);
    core_host_end(host, "web", "save");
    assert_int_equal(job_state(host, 1), API_JOB_STATE_DONE);
    assert_non_null(strstr(host->events, "job.resumed_after_restart web\njob.done web"));
    core_host_free(host);
}

static void a_save_that_was_found_can_be_cancelled_before_and_after(void **state)
{
    for (int is_before = 0; is_before < 2; is_before++) {
        struct core_host *host = restarted(API_VM_STATE_SAVING, API_JOB_STATE_RUNNING);

        if (!is_before)
            found(host, "saving");
        job_call(host, API_METHOD_JOB_CANCEL, 1);
        if (is_before)
            found(host, "saving");
        tell(host, VMMS_FACT_STATE, "running", false);
        assert_int_equal(job_state(host, 1), API_JOB_STATE_CANCELLED);
        assert_int_equal(core_host_state(host, "web"), API_VM_STATE_RUNNING);
        core_host_free(host);
    }
}

static void a_save_that_is_not_found_is_rolled_back(void **state)
{
    struct core_host *host = restarted(API_VM_STATE_SAVING, API_JOB_STATE_RUNNING);

    found(host, "running");
    assert_int_equal(job_state(host, 1), API_JOB_STATE_FAILED);
    assert_non_null(strstr(host->events, "job.rolled_back web\njob.failed web"));
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_RUNNING);
    core_host_free(host);
    host = restarted(API_VM_STATE_RUNNING, API_JOB_STATE_QUEUED);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_FAILED);
    core_host_free(host);
    host = restarted(API_VM_STATE_SAVING, API_JOB_STATE_RUNNING);
    core_host_end(host, "web", "worker_died");
    assert_int_equal(job_state(host, 1), API_JOB_STATE_FAILED);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_OFF);
    core_host_free(host);
}

static void a_save_that_ended_in_between_is_done(void **state)
{
    struct core_host *host = restarted(API_VM_STATE_SAVING, API_JOB_STATE_RUNNING);

    core_host_end(host, "web", "save");
    assert_int_equal(job_state(host, 1), API_JOB_STATE_DONE);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_SAVED);
    core_host_free(host);
}

/* A connection that breaks is no end of a save; what its worker says when it is there again is. */
static void a_worker_that_was_lost_for_a_while_tells_the_end(void **state)
{
    struct core_host *host = host_with(API_VM_STATE_RUNNING);
    struct vmms_fact *fact;

    host->saves_hang = true;
    save(host, NULL, 0);
    fact = vmms_fact_new(VMMS_FACT_ANSWER, core_host_incarnation(host, "web"));
    fact->verb = VMMS_WORKER_SAVE;
    api_error_set(&fact->error, API_E_WORKER_LOST, "x", NULL, "It broke.");
    core_host_fact(host, "web", fact);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_RUNNING);
    tell(host, VMMS_FACT_GREETED, "running", false);
    assert_int_equal(job_state(host, 1), API_JOB_STATE_FAILED);
    assert_int_equal(core_host_state(host, "web"), API_VM_STATE_RUNNING);
    core_host_free(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_save_is_a_job_from_before_its_work_to_after_it),
        cmocka_unit_test(a_save_that_fails_fails_its_job),
        cmocka_unit_test(a_cancelled_save_lets_the_guest_go_on),
        cmocka_unit_test(a_deadline_ends_a_save),
        cmocka_unit_test(a_save_on_a_worker_that_hangs_is_given_up),
        cmocka_unit_test(what_a_given_up_save_ends_with_is_kept),
        cmocka_unit_test(who_comes_meanwhile_is_told_of_the_job),
        cmocka_unit_test(the_same_key_saves_once),
        cmocka_unit_test(a_save_waits_for_no_image),
        cmocka_unit_test(progress_is_told_twice_a_second_and_not_stored_for_it),
        cmocka_unit_test(a_save_that_is_found_goes_on_to_its_end),
        cmocka_unit_test(a_save_that_was_found_can_be_cancelled_before_and_after),
        cmocka_unit_test(a_save_that_is_not_found_is_rolled_back),
        cmocka_unit_test(a_save_that_ended_in_between_is_done),
        cmocka_unit_test(a_worker_that_was_lost_for_a_while_tells_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
