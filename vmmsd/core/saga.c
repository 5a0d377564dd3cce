/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job of a transaction that is more than configuration: first the calls that work on files or
 * with workers, one after the other, each recorded before it begins; then everything else in one
 * change, which is the point of no return; then what stands last: power verbs, and the resizing of
 * images that were there. What fails before that point, is cancelled, too late, or interrupted by
 * the service's end leads back (saga_undo.c), what comes after it is gone on with. Management
 * model, section 16; reliability rule 6.5.
 */
#include "vmmsd/core/tx_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct vmms_saga *vmms_saga_free(struct vmms_saga *saga)
{
    if (!saga)
        return NULL;
    for (size_t i = 0; i < saga->count; i++) {
        api_job_step_fini(&saga->steps[i]);
        api_tx_result_fini(&saga->results[i]);
        if (saga->requests)
            api_request_fini(&saga->requests[i]);
    }
    free(saga->steps);
    free(saga->results);
    free(saga->requests);
    api_error_free(saga->error);
    free(saga->kept);
    free(saga);
    return NULL;
}

/* Beginning calls */

static void say_where(struct vmms_job *job, const struct api_job_step *step)
{
    const struct vmms_saga *saga = job->saga;

    free(job->row.step);
    if (asprintf(&job->row.step, "%zu of %zu: %s", saga->at + 1, saga->count, step->method) < 0)
        job->row.step = NULL;
}

struct vmms_call *vmms_saga_call(struct vmms_job *job, struct api_request *request)
{
    struct vmms_call *call = calloc(1, sizeof(*call));

    hv_assert(call);
    hv_list_init(&call->node);
    call->id = VMMS_SAGA_CALL | job->row.id;
    call->request = *request;
    *request = (struct api_request){ 0 };
    call->actor = vmms_text_copy(job->row.owner);
    job->saga->is_waiting = true;
    return call;
}

/* request: taken */
static void make_call(struct vmms_core *core, struct vmms_job *job, struct api_request *request)
{
    const struct api_job_step *step = &job->saga->steps[job->saga->at];
    struct vmms_call *call = vmms_saga_call(job, request);

    call->saga = job->row.id;
    /* Of what is made last, the next comes when it has ended. */
    if (call->request.method == API_METHOD_VM_SAVE)
        call->request.args.vm_save.wait = true;
    if (call->request.method == API_METHOD_IMAGE_RESIZE &&
        job->row.state == API_JOB_STATE_FINISHING)
        call->request.args.image_resize.wait = call->request.args.image_resize.queue = true;
    if (call->request.method == API_METHOD_VM_ADD_DEVICE)
        (void)snprintf(call->device_id, sizeof(call->device_id), "%s", step->after.id);
    vmms_handle_call(core, call);
}

static void begin(struct vmms_core *core, struct vmms_job *job, size_t at)
{
    struct vmms_saga *saga = job->saga;

    saga->at = at;
    saga->steps[at].state = API_JOB_STEP_STATE_BEGUN;
    say_where(job, &saga->steps[at]);
    vmms_saga_record(job);
    vmms_job_commit(core, job, vmms_job_change(core, job, VMMS_JOB_ROW_UPDATE));
}

/* Everything that is only configuration, and the end of what can be taken back. */
static void store_rest(struct vmms_core *core, struct vmms_job *job)
{
    struct api_request request = { 0 };

    if (vmms_job_request(&job->row, &request) < 0) {
        vmms_saga_stop(core, job, vmms_job_unreadable(job));
        vmms_job_pump(core, job);
        return;
    }
    job->saga->is_storing = true;
    make_call(core, job, &request);
}

static void next_step(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_saga *saga = job->saga;

    for (size_t i = 0; i < saga->count; i++) {
        if (!vmms_saga_works(&saga->steps[i]) || saga->steps[i].state == API_JOB_STEP_STATE_DONE)
            continue;
        if (saga->steps[i].state == API_JOB_STEP_STATE_WAITING)
            begin(core, job, i);
        else
            make_call(core, job, &saga->requests[i]);
        return;
    }
    store_rest(core, job);
}

/* What is made last, and has no way back */

static int read_last(const struct vmms_job *job, size_t index, struct api_request *ret,
                     struct api_error **reterr)
{
    const struct vmms_tx_known known = { job->saga->results, job->saga->count, true };
    HV_CLEANUP(api_request_fini) struct api_request whole = { 0 };
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct json_value *op;
    int r = vmms_job_request(&job->row, &whole);

    if (r == 0)
        r = vmms_json_argument(whole.args.tx_apply.ops, "ops", &doc, reterr);
    if (r < 0)
        return r;
    op = json_doc_root(doc)->first;
    for (size_t i = 0; op && i < index; i++)
        op = op->next;
    return op ? vmms_tx_read_op(&known, op, ret, reterr) : -EBADMSG;
}

/* The rest is there and stays: it says so. error: taken; NULL: it could not be read */
static void fail_last(struct vmms_core *core, struct vmms_job *job, struct api_error *error)
{
    struct vmms_saga *saga = job->saga;
    hv_autofree char *told = NULL;

    if (!error)
        error = vmms_job_unreadable(job);
    hv_assert(error);
    told = error->message;
    if (asprintf(&error->message, "Call %zu (%s) failed, those before it are done: %s", saga->at,
                 saga->steps[saga->at].method, told) < 0)
        error->message = HV_TAKE_PTR(told);
    error->data.has |= API_ERROR_DATA_HAS_INDEX;
    error->data.index = (uint32_t)saga->at;
    saga->steps[saga->at].state = API_JOB_STEP_STATE_UNDONE;
    vmms_saga_record(job);
    job->news.is_ended = true;
    job->news.error = error;
    vmms_job_pump(core, job);
}

static void end_well(struct vmms_core *core, struct vmms_job *job)
{
    free(job->row.result);
    job->row.result = vmms_saga_write_results(job->saga->results, job->saga->count);
    vmms_saga_record(job);
    job->news.is_ended = true;
    vmms_job_pump(core, job);
}

static void next_last(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_saga *saga = job->saga;
    struct api_request request = { 0 };
    struct api_error *error = NULL;
    size_t at = 0;

    while (at < saga->count && saga->steps[at].state == API_JOB_STEP_STATE_DONE)
        at++;
    if (at == saga->count) {
        end_well(core, job);
    } else if (vmms_core_is_adopting(core)) {
        saga->is_held = true;
    } else if (saga->steps[at].state == API_JOB_STEP_STATE_WAITING) {
        begin(core, job, at);
    } else {
        saga->at = at;
        if (read_last(job, at, &request, &error) < 0)
            fail_last(core, job, error);
        else
            make_call(core, job, &request);
    }
}

/* Is it refused, after a restart, because it was done or goes on as a job before that? */
static bool was_done(const struct vmms_core *core, const struct vmms_job *job,
                     const struct api_error *error)
{
    const struct vmms_job *child;

    if (job->saga->reborn != job->saga->at + 1 || job->saga->steps[job->saga->at].path)
        return false;
    child = error->data.has & API_ERROR_DATA_HAS_JOB ? vmms_job_find(core, error->data.job) : NULL;
    return error->code == API_E_INVALID_STATE ||
           (error->code == API_E_JOB_CONFLICT && child && child->row.parent == job->row.id);
}

static void last_answered(struct vmms_core *core, struct vmms_job *job, struct vmms_effect *answer)
{
    struct vmms_saga *saga = job->saga;
    bool is_job = api_methods[answer->method].is_job;

    saga->is_waiting = false;
    if (answer->error && !was_done(core, job, answer->error)) {
        fail_last(core, job, HV_TAKE_PTR(answer->error));
        return;
    }
    if (!answer->error)
        saga->results[saga->at].already =
            is_job ? answer->result.job_changed.already : answer->result.changed.already;
    saga->steps[saga->at].state = API_JOB_STEP_STATE_DONE;
    vmms_job_pump(core, job);
}

/* Answers */

/* What a worker has not answered may have been done nevertheless. */
static bool is_unclear(const struct api_error *error)
{
    return error->code == API_E_WORKER_UNRESPONSIVE || error->code == API_E_TIMEOUT ||
           error->code == API_E_STATUS_UNKNOWN;
}

/* error: of the step, or of the whole; taken */
static void fail_step(struct vmms_core *core, struct vmms_job *job, struct api_error *error)
{
    struct vmms_saga *saga = job->saga;
    struct api_job_step *step = &saga->steps[saga->at];

    if (!saga->is_storing && (step->path || !is_unclear(error)))
        step->state = API_JOB_STEP_STATE_UNDONE;
    if (!saga->error && saga->is_storing)
        saga->error = HV_TAKE_PTR(error);
    else if (!saga->error)
        saga->error = vmms_tx_error(saga->at, step->method, error);
    api_error_free(error);
    saga->is_waiting = saga->is_storing = false;
    vmms_job_pump(core, job);
}

static void step_answered(struct vmms_core *core, struct vmms_job *job, struct vmms_effect *answer)
{
    struct vmms_saga *saga = job->saga;
    struct api_job_step *step = &saga->steps[saga->at];

    if (answer->error) {
        fail_step(core, job, HV_TAKE_PTR(answer->error));
    } else if (step->path) {
        step->job = answer->result.job_changed.job.id; /* its end is what counts */
        step->has |= API_JOB_STEP_HAS_JOB;
    } else {
        saga->results[saga->at].already = answer->result.changed.already;
        step->state = API_JOB_STEP_STATE_DONE;
        saga->is_waiting = false;
        vmms_job_pump(core, job);
    }
}

void vmms_saga_answered(struct vmms_core *core, struct vmms_effect *effect)
{
    struct vmms_job *job = vmms_job_find(core, effect->call & ~VMMS_SAGA_CALL);

    if (job && job->saga && job->saga->is_waiting) {
        if (job->row.state == API_JOB_STATE_FINISHING)
            last_answered(core, job, effect);
        else if (job->saga->is_undoing)
            vmms_saga_undo_answered(core, job, HV_TAKE_PTR(effect->error));
        else
            step_answered(core, job, effect);
    }
    vmms_effect_free(effect);
}

void vmms_saga_child_ended(struct vmms_core *core, struct vmms_job *child)
{
    struct vmms_job *job = child->row.parent ? vmms_job_find(core, child->row.parent) : NULL;
    struct vmms_saga *saga = job ? job->saga : NULL;
    struct api_job_step *step;

    if (!saga || !saga->is_waiting || saga->is_storing || job->row.state == API_JOB_STATE_FINISHING)
        return;
    step = &saga->steps[saga->at];
    if (!step->path || vmms_saga_child(core, job, step) != child)
        return;
    step->job = child->row.id;
    step->has |= API_JOB_STEP_HAS_JOB;
    if (child->row.state != API_JOB_STATE_DONE && !saga->is_undoing) {
        fail_step(core, job, vmms_job_error(child));
        return;
    }
    if (!saga->is_undoing)
        step->state = API_JOB_STEP_STATE_DONE;
    saga->is_waiting = false;
    vmms_job_pump(core, job);
}

void vmms_saga_unstored(struct vmms_core *core, struct vmms_job *job, const struct api_error *error)
{
    struct vmms_saga *saga = job->saga;
    struct api_job_step *step = &saga->steps[saga->at];

    if (job->row.state == API_JOB_STATE_RUNNING && !saga->is_undoing) {
        if (!saga->is_storing && step->state == API_JOB_STEP_STATE_BEGUN)
            step->state = API_JOB_STEP_STATE_WAITING; /* it was to be stored before it begins */
        if (!saga->error)
            saga->error = api_error_dup(error);
    }
    saga->is_waiting = saga->is_storing = false;
    vmms_job_pump(core, job);
}

/* Time and will */

struct api_error *vmms_saga_cancelled(const struct vmms_job *job)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_CANCELLED, "job.cancelled", NULL,
                  "Job %" PRIu64 " was cancelled; what it had done is taken back.", job->row.id);
    return error;
}

void vmms_saga_stop(struct vmms_core *core, struct vmms_job *job, struct api_error *error)
{
    struct vmms_saga *saga = job->saga;
    struct vmms_job *child;

    if (saga->error || saga->is_storing || job->row.state != API_JOB_STATE_RUNNING) {
        api_error_free(error);
        return;
    }
    saga->error = error;
    if (!saga->is_waiting || !saga->steps[saga->at].path)
        return; /* what a worker was asked for is waited for */
    child = vmms_saga_child(core, job, &saga->steps[saga->at]);
    if (child)
        vmms_saga_cancel_child(core, child);
}

static void watch_deadline(struct vmms_core *core, struct vmms_job *job)
{
    struct api_error *error = NULL;

    if (!job->row.deadline_ms || job->saga->error || vmms_now_ms(core) < job->row.deadline_ms)
        return;
    api_error_set(&error, API_E_TIMEOUT, "job.deadline", NULL,
                  "The deadline of job %" PRIu64 " passed; what it had done is taken back.",
                  job->row.id);
    vmms_saga_stop(core, job, error);
}

bool vmms_saga_is_ticking(const struct vmms_job *job)
{
    const struct vmms_saga *saga = job->saga;

    if (!saga || vmms_job_has_ended(job->row.state))
        return false;
    return (job->row.deadline_ms && !saga->error && job->row.state == API_JOB_STATE_RUNNING) ||
           saga->is_held;
}

bool vmms_saga_is_stuck(const struct vmms_job *job)
{
    return job->saga && !job->change && !job->retry_ns && !job->saga->is_waiting &&
           !job->saga->is_held;
}

void vmms_saga_pump(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_saga *saga = job->saga;

    saga->is_held = false;
    watch_deadline(core, job);
    if (saga->is_waiting)
        return;
    if (job->row.state == API_JOB_STATE_FINISHING)
        next_last(core, job);
    else if (saga->error)
        vmms_saga_undo(core, job);
    else
        next_step(core, job);
}
