/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions that make files and change VMs that run: the service is ended at every instant of
 * them, once and twice, and what is there afterwards is all of it or nothing. */
#include "tests/lib/cmocka.h"

#include "api/gen/tables.h"
#include "tests/lib/core_place.h"

#include <stdio.h>
#include <string.h>

#define ADD_NEW                                                                                    \
    "{\"method\":\"image.create\",\"params\":{\"path\":\"/new.vhdx\",\"size_bytes\":1048576}},"    \
    "{\"method\":\"vm.add_device\",\"params\":{\"vm\":\"on\",\"settings\":{\"path\":\"$0.path\"}}" \
    "}"
#define CHANGE_OTHERS                                                                              \
    "{\"method\":\"vm.remove_device\",\"params\":{\"vm\":\"on\",\"device\":\"0:0\"}},"             \
    "{\"method\":\"vm.modify_device\",\"params\":{\"vm\":\"on\",\"device\":\"0:1\","               \
    "\"settings\":{\"path\":\"/cd.iso\"}}}"

static const char ops[] =
    "[" ADD_NEW "," CHANGE_OTHERS ","
    "{\"method\":\"image.create\",\"params\":{\"path\":\"/web.vhdx\",\"size_bytes\":1048576}},"
    "{\"method\":\"vm.create\",\"params\":{\"name\":\"web\",\"settings\":{\"boot.kernel\":\"/"
    "kernel\"},\"devices\":[{\"path\":\"$4.path\"}]}},"
    "{\"method\":\"vm.delete\",\"params\":{\"vm\":\"off\"}},"
    "{\"method\":\"vm.start\",\"params\":{\"vm\":\"$5.vm\"}}]";

static void no_job_is_open(const struct core_place *place)
{
    for (size_t i = 0; i < place->n_jobs; i++)
        assert_true(place->jobs[i].ended_ms);
}

/* The worker has exactly what the row of its VM says, under the same ids. */
static void worker_and_row_agree(struct core_place *place)
{
    const struct vmms_row *row = core_place_row(place, "on");

    assert_int_equal(row->n_devices, place->n_disks + 1);
    for (size_t i = 1; i < row->n_devices; i++)
        assert_non_null(core_place_disk(place, row->devices[i].id));
}

static char *described(bool is_done)
{
    struct core_place *place = core_place_new();
    char *text;

    if (is_done) {
        core_place_apply(place, ops);
        assert_true(core_place_run(place));
        assert_int_equal(place->code, 0);
        no_job_is_open(place);
    }
    text = core_place_describe(place);
    core_place_free(place);
    return text;
}

static void all_of_it_is_done(void **state)
{
    char *nothing = described(false), *all = described(true);

    assert_string_equal(nothing, "/kernel /old.vhdx /cd.iso - - 3 files\n"
                                 "on running: 0: 0:/old.vhdx 1:\noff off:\nweb -:\n"
                                 "worker 0:/old.vhdx\nworker 1:\n");
    assert_string_equal(all, "/kernel /old.vhdx /cd.iso /new.vhdx /web.vhdx 5 files\n"
                             "on running: 0: 1:/cd.iso 2:/new.vhdx\noff -:\n"
                             "web running: 0: 0:/web.vhdx\n"
                             "worker 1:/cd.iso\nworker 2:/new.vhdx\n");
    free(nothing);
    free(all);
}

/* Ends at its first-th instant, and at the second-th after that; then it runs on. Returns whether
 * it came to both. */
static bool is_whole_after(int first, int second, const char *refused, const char *all,
                           const char *nothing)
{
    struct core_place *place = core_place_new();
    bool has_ended = false, has_ended_twice = false;
    hv_autofree char *found = NULL;

    place->refused = refused;
    place->instants = first;
    core_place_apply(place, ops);
    if (!core_place_run(place)) {
        has_ended = true;
        core_place_forget_service(place);
        place->instants = second;
        core_place_start_service(place);
        if (!core_place_run(place)) {
            has_ended_twice = true;
            core_place_forget_service(place);
            place->instants = -1;
            core_place_start_service(place);
            assert_true(core_place_run(place));
        }
    }
    found = core_place_describe(place);
    if (strcmp(found, nothing) != 0 && (refused || strcmp(found, all) != 0))
        fail_msg("ended at %d and %d: neither all nor nothing:\n%s", first, second, found);
    no_job_is_open(place);
    worker_and_row_agree(place);
    assert_null(vmms_core_check(place->core));
    core_place_free(place);
    return second < 0 ? has_ended : has_ended_twice;
}

static void end_everywhere(const char *refused)
{
    char *nothing = described(false), *all = described(true);
    int first, second = 0, most = 0;

    for (first = 0; is_whole_after(first, -1, refused, all, nothing); first++) {
        for (second = 0; is_whole_after(first, second, refused, all, nothing); second++)
            ;
        most = second > most ? second : most;
    }
    assert_true(first > 30 && most > 5);
    free(nothing);
    free(all);
}

static void ended_at_any_instant_it_is_all_or_nothing(void **state)
{
    end_everywhere(NULL);
}

static void ended_while_it_is_taken_back_nothing_is_left(void **state)
{
    end_everywhere("/cd.iso");
}

static void a_step_that_fails_takes_all_back(void **state)
{
    char *nothing = described(false), *found;
    struct core_place *place = core_place_new();

    place->refused = "/cd.iso";
    core_place_apply(place, ops);
    assert_true(core_place_run(place));
    assert_int_equal(place->code, API_E_TRANSACTION_ABORTED);
    assert_int_equal(place->index, 3);
    found = core_place_describe(place);
    assert_string_equal(found, nothing);
    assert_non_null(strstr(place->jobs[0].steps, "\"undone\""));
    assert_null(strstr(place->jobs[0].steps, "\"kept\""));
    no_job_is_open(place);
    worker_and_row_agree(place);
    core_place_free(place);
    free(nothing);
    free(found);
}

static void cancel(struct core_place *place, uint64_t job)
{
    struct api_request request = { .method = API_METHOD_JOB_CANCEL };

    request.args.job_cancel.job = job;
    vmms_core_call(place->core, 2, &request, "uid:0");
    core_place_take_effects(place);
}

/* The second image's work hangs; it is job 3, behind the transaction and the first image. */
static void cancelled_or_late_it_is_taken_back(void **state)
{
    for (int is_late = 0; is_late < 2; is_late++) {
        char *nothing = described(false), *found;
        struct api_request request = { .method = API_METHOD_TX_APPLY };
        struct core_place *place = core_place_new();

        place->stopped = 3;
        request.args.tx_apply.ops = strdup(ops);
        request.args.tx_apply.wait = true;
        request.args.tx_apply.deadline_ms = is_late ? 100000 : 0;
        vmms_core_call(place->core, 1, &request, "uid:0");
        core_place_take_effects(place);
        assert_true(core_place_run(place));
        assert_int_equal(place->code, -1);
        if (is_late)
            place->clock += UINT64_C(200000000000);
        else
            cancel(place, 1);
        assert_true(core_place_run(place));
        assert_int_equal(place->code, is_late ? API_E_TIMEOUT : API_E_CANCELLED);
        found = core_place_describe(place);
        assert_string_equal(found, nothing);
        no_job_is_open(place);
        core_place_free(place);
        free(nothing);
        free(found);
    }
}

/* A file that a VM was given in the meantime stays, and the error says so. */
static void what_somebody_uses_by_now_is_kept(void **state)
{
    struct api_request request = { .method = API_METHOD_VM_ADD_DEVICE };
    struct core_place *place = core_place_new();

    place->stopped = 3;
    core_place_apply(place, ops);
    assert_true(core_place_run(place));
    request.args.vm_add_device.vm = strdup("off");
    request.args.vm_add_device.settings.kind = API_DEVICE_KIND_DISK;
    request.args.vm_add_device.settings.path = strdup("/new.vhdx");
    vmms_core_call(place->core, 3, &request, "uid:0");
    core_place_take_effects(place);
    assert_true(core_place_run(place));
    cancel(place, 1);
    assert_true(core_place_run(place));
    assert_non_null(core_place_file(place, "/new.vhdx"));
    assert_null(core_place_file(place, "/web.vhdx"));
    assert_non_null(strstr(place->jobs[0].error, "Not all could be taken back"));
    assert_non_null(strstr(place->jobs[0].error, "VM off has /new.vhdx as a disk by now"));
    assert_non_null(strstr(place->jobs[0].steps, "\"kept\""));
    worker_and_row_agree(place);
    core_place_free(place);
}

/* Each of these as the second call, behind one that makes /new.vhdx. */
static void what_cannot_be_taken_back_is_refused_before_anything_is_done(void **state)
{
    static const struct {
        const char *call, *said;
    } rows[] = {
        { "{\"method\":\"image.compact\",\"params\":{\"path\":\"/old.vhdx\"}}", "taken back" },
        { "{\"method\":\"image.merge\",\"params\":{\"path\":\"/old.vhdx\"}}", "taken back" },
        { "{\"method\":\"image.set_parent\",\"params\":{\"path\":\"/old.vhdx\",\"parent\":\"/"
          "a.vhdx\"}}",
          "taken back" },
        { "{\"method\":\"image.resize\",\"params\":{\"path\":\"/none.vhdx\",\"size_bytes\":"
          "2097152}}",
          "no file /none.vhdx" },
        { "{\"method\":\"image.validate\",\"params\":{\"path\":\"/old.vhdx\"}}",
          "changes nothing" },
        { "{\"method\":\"guest.copy_files\",\"params\":{\"vm\":\"on\",\"source\":\"/kernel\","
          "\"destination\":\"/x\"}}",
          "given cannot be taken" },
        { "{\"method\":\"tx.apply\",\"params\":{\"ops\":[]}}", "within transactions" },
        { "{\"method\":\"vm.list\"}", "changes nothing" },
        { "{\"method\":\"image.create\",\"params\":{\"path\":\"/"
          "new.vhdx\",\"size_bytes\":1048576}}",
          "makes /new.vhdx already" },
        { "{\"method\":\"image.create\",\"params\":{\"path\":\"/"
          "old.vhdx\",\"size_bytes\":1048576}}",
          "There is a file /old.vhdx already" },
        { "{\"method\":\"image.convert\",\"params\":{\"path\":\"/none.vhdx\",\"to\":\"/b.raw\"}}",
          "no file /none.vhdx" },
        { "{\"method\":\"vm.add_device\",\"params\":{\"vm\":\"on\",\"settings\":{\"path\":\"$0."
          "device\"}}}",
          "brings no device" },
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct core_place *place = core_place_new();
        struct vmms_effect *effect = NULL;
        char *text;

        assert_true(asprintf(&text,
                             "[{\"method\":\"image.create\",\"params\":{\"path\":\"/new.vhdx\","
                             "\"size_bytes\":1048576}},%s]",
                             rows[i].call) > 0);
        core_place_apply(place, text);
        if (place->n_queue && place->queue[0]->kind == VMMS_EFFECT_CHECK_FILES) {
            core_place_look_at_files(place, place->queue[0]);
            core_place_take_effects(place);
        }
        effect = place->queue[place->n_queue - 1];
        assert_int_equal(effect->kind, VMMS_EFFECT_REPLY);
        assert_non_null(effect->error);
        if (!strstr(effect->error->message, rows[i].said))
            fail_msg("%s: %s", rows[i].call, effect->error->message);
        assert_int_equal(effect->error->data.index, 1);
        assert_int_equal(place->n_jobs, 0);
        core_place_free(place);
        free(text);
    }
}

static void a_plan_tells_each_step_and_its_undo(void **state)
{
    struct api_request request = { .method = API_METHOD_TX_APPLY };
    struct core_place *place = core_place_new();
    const struct api_plan *plan;

    request.args.tx_apply.ops = strdup(ops);
    request.args.tx_apply.plan = true;
    vmms_core_call(place->core, 1, &request, "uid:0");
    core_place_take_effects(place);
    core_place_look_at_files(place, place->queue[0]);
    core_place_take_effects(place);
    plan = &place->queue[1]->result.transaction.plan;
    assert_string_equal(plan->verdict, "ok");
    assert_int_equal(plan->n_steps, 8);
    assert_string_equal(plan->steps[0].undo, "remove /new.vhdx");
    assert_string_equal(plan->steps[1].undo, "take 0:2 away from VM on again");
    assert_string_equal(plan->steps[2].undo, "give VM on /old.vhdx back at 0:0");
    assert_string_equal(plan->steps[3].undo, "put nothing back into drive 0:1 of VM on");
    assert_string_equal(plan->steps[4].what, "image.create");
    assert_string_equal(plan->steps[5].what, "vm.create");
    assert_null(plan->steps[5].undo);
    assert_string_equal(plan->steps[7].what, "vm.start");
    assert_int_equal(plan->n_files, 2);
    assert_int_equal(place->n_jobs, 0);
    core_place_free(place);
}

/* A key counts also where nothing but configuration is changed, and over a restart. */
static void the_same_key_is_one_transaction(void **state)
{
    static const char *const some[] = {
        "[{\"method\":\"vm.create\",\"params\":{\"name\":\"web\"}}]",
        "[{\"method\":\"image.create\",\"params\":{\"path\":\"/"
        "new.vhdx\",\"size_bytes\":1048576}}]",
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(some); i++) {
        struct core_place *place = core_place_new();
        size_t n_jobs = 0;

        for (int turn = 0; turn < 3; turn++) {
            struct api_request request = { .method = API_METHOD_TX_APPLY };

            request.args.tx_apply.ops = strdup(some[turn == 2 ? 1 - i : i]);
            request.args.tx_apply.idempotency_key = strdup("k");
            request.args.tx_apply.wait = true;
            place->code = -1;
            vmms_core_call(place->core, 1, &request, "uid:0");
            core_place_take_effects(place);
            assert_true(core_place_run(place));
            assert_int_equal(place->code, turn == 2 ? API_E_INVALID_PARAMETER : 0);
            n_jobs = n_jobs ? n_jobs : place->n_jobs;
            assert_int_equal(place->n_jobs, n_jobs);
            no_job_is_open(place);
            core_place_forget_service(place);
            core_place_start_service(place);
            assert_true(core_place_run(place));
        }
        core_place_free(place);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_is_done),
        cmocka_unit_test(a_step_that_fails_takes_all_back),
        cmocka_unit_test(cancelled_or_late_it_is_taken_back),
        cmocka_unit_test(what_somebody_uses_by_now_is_kept),
        cmocka_unit_test(what_cannot_be_taken_back_is_refused_before_anything_is_done),
        cmocka_unit_test(a_plan_tells_each_step_and_its_undo),
        cmocka_unit_test(the_same_key_is_one_transaction),
        cmocka_unit_test(ended_at_any_instant_it_is_all_or_nothing),
        cmocka_unit_test(ended_while_it_is_taken_back_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
