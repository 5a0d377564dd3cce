/* SPDX-License-Identifier: Apache-2.0 */
/* The way back: steps are taken back in reverse, each as often as it takes; the service may end at
 * any instant of it, and begins it anew then. */
#include "vmmsd/core/tx_priv.h"

#include "api/gen/tables.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Jobs that work at its steps come one after the other: one that no step knows yet belongs to the
 * step that was begun. */
static bool is_known(const struct vmms_saga *saga, uint64_t id)
{
    for (size_t i = 0; i < saga->count; i++) {
        if (saga->steps[i].job == id)
            return true;
    }
    return false;
}

struct vmms_job *vmms_saga_child(const struct vmms_core *core, const struct vmms_job *job,
                                 const struct api_job_step *step)
{
    if (step->job)
        return vmms_job_find(core, step->job);
    for (size_t i = core->jobs.count; i > 0 && core->jobs.jobs[i - 1]->row.id > job->row.id; i--) {
        struct vmms_job *child = core->jobs.jobs[i - 1];

        if (child->row.parent == job->row.id && !is_known(job->saga, child->row.id))
            return child;
    }
    return NULL;
}

bool vmms_saga_needs(const struct vmms_core *core, const struct vmms_job *child)
{
    const struct vmms_job *job = child->row.parent ? vmms_job_find(core, child->row.parent) : NULL;

    return job && job->saga;
}

void vmms_saga_cancel_child(struct vmms_core *core, struct vmms_job *child)
{
    bool is_ending = child->is_after_restart && child->row.state != API_JOB_STATE_QUEUED;

    if (child->is_cancelling || is_ending || vmms_job_has_ended(child->row.state))
        return;
    child->is_cancelling = true;
    child->canceller = strdup("host");
    hv_assert(child->canceller);
    if (child->row.state == API_JOB_STATE_RUNNING)
        vmms_job_stop_work(core, child);
    vmms_job_pump(core, child);
}

/* It stays; the job's error says so. */
static void keep(struct vmms_saga *saga, size_t at, const char *why)
{
    hv_autofree char *before = saga->kept;

    saga->steps[at].state = API_JOB_STEP_STATE_KEPT;
    hv_assert(asprintf(&saga->kept, "%s Call %zu (%s) could not be taken back: %s",
                       before ? before : "", at, saga->steps[at].method, why) > 0);
}

/* The VM that has that file as a disk by now, or NULL. */
static const struct vmms_vm *user_of(const struct vmms_core *core, const char *path)
{
    for (size_t i = 0; i < core->by_id.count; i++) {
        const struct vmms_row *row = &core->by_id.vms[i]->row;

        for (size_t at = 0; at < row->n_devices; at++) {
            if (row->devices[at].path && strcmp(row->devices[at].path, path) == 0)
                return core->by_id.vms[i];
        }
    }
    return NULL;
}

static void keep_used(struct vmms_saga *saga, size_t at, const struct vmms_vm *user)
{
    hv_autofree char *why = NULL;

    hv_assert(asprintf(&why, "VM %s has %s as a disk by now.", vmms_vm_name(user),
                       saga->steps[at].path) > 0);
    keep(saga, at, why);
}

/* Returns false when it is dealt with already. */
static bool undo_file(struct vmms_core *core, struct vmms_job *job, size_t at)
{
    struct vmms_saga *saga = job->saga;
    struct api_job_step *step = &saga->steps[at];
    struct vmms_job *child = vmms_saga_child(core, job, step);
    bool is_made = child && child->row.state == API_JOB_STATE_DONE &&
                   strcmp(step->method, api_methods[API_METHOD_IMAGE_RESIZE].name) != 0;
    const struct vmms_vm *user = is_made ? user_of(core, step->path) : NULL;

    if (child && !vmms_job_has_ended(child->row.state)) {
        saga->is_waiting = true;
        vmms_saga_cancel_child(core, child);
        return true;
    }
    if (user) {
        keep_used(saga, at, user);
        return false;
    }
    if (!is_made) {
        step->state = API_JOB_STEP_STATE_UNDONE;
        return false;
    }
    saga->is_waiting = child->is_unmade = true;
    vmms_job_order(core, child, VMMS_EFFECT_UNDO_JOB);
    return true;
}

void vmms_saga_unmade(struct vmms_core *core, struct vmms_job *child, struct api_error *error)
{
    struct vmms_job *job = vmms_job_find(core, child->row.parent);

    child->is_unmade = false;
    if (job && job->saga)
        vmms_saga_undo_answered(core, job, error);
    else
        api_error_free(error);
}

static bool undo_device(struct vmms_core *core, struct vmms_job *job, size_t at)
{
    struct vmms_saga *saga = job->saga;
    const struct api_job_step *step = &saga->steps[at];
    struct vmms_vm *vm = vmms_look_up(core, step->vm);
    struct api_request request = { 0 };
    struct vmms_call *call;

    if (!vm) {
        saga->steps[at].state = API_JOB_STEP_STATE_UNDONE;
        return false;
    }
    if (vm->is_adopting) {
        saga->is_held = true;
        return true;
    }
    request.method = vmms_tx_method(step->method);
    request.args.vm_add_device.vm = vmms_text_copy(vm->row.id); /* the three have it at one place */
    call = vmms_saga_call(job, &request);
    call->taken_back = step;
    hv_list_append(&vm->calls, &call->node);
    vmms_vm_pump(core, vm);
    return true;
}

void vmms_saga_undo_answered(struct vmms_core *core, struct vmms_job *job, struct api_error *error)
{
    struct vmms_saga *saga = job->saga;
    struct api_job_step *step = &saga->steps[saga->at];
    const struct vmms_vm *vm = step->path ? NULL : vmms_look_up(core, step->vm);
    bool is_so = !error || (!step->path && (!vm || vmms_is_taken_back(&vm->row, step)));

    if (is_so)
        step->state = API_JOB_STEP_STATE_UNDONE;
    else
        keep(saga, saga->at, error->message);
    api_error_free(error);
    saga->is_waiting = false;
    vmms_job_pump(core, job);
}

/* The error that says what went wrong says as well what is left of it. */
static void add_kept(struct api_error *error, const char *kept)
{
    static const char claim[] = "Nothing was done: ";
    hv_autofree char *told = error->message;
    bool has_claimed = strncmp(told, claim, strlen(claim)) == 0;

    hv_assert(asprintf(&error->message, "Not all could be taken back: %s%s",
                       told + (has_claimed ? strlen(claim) : 0), kept) > 0);
}

/* All is as it was, but for what could not be. */
static void end(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_saga *saga = job->saga;
    struct api_error *error = HV_TAKE_PTR(saga->error);

    for (size_t i = 0; i < saga->count; i++) {
        if (saga->steps[i].state != API_JOB_STEP_STATE_KEPT)
            saga->steps[i].state = API_JOB_STEP_STATE_UNDONE;
    }
    if (saga->kept)
        add_kept(error, saga->kept);
    vmms_saga_record(job);
    job->news.is_ended = true;
    if (job->is_after_restart)
        job->undo_error = error;
    else
        job->news.error = error;
    vmms_job_pump(core, job);
}

void vmms_saga_undo(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_saga *saga = job->saga;

    saga->is_undoing = true;
    for (size_t i = saga->count; i > 0; i--) {
        const struct api_job_step *step = &saga->steps[i - 1];
        bool is_open = vmms_saga_works(step) && (step->state == API_JOB_STEP_STATE_BEGUN ||
                                                 step->state == API_JOB_STEP_STATE_DONE);

        if (!is_open)
            continue;
        saga->at = i - 1;
        if (step->path ? undo_file(core, job, i - 1) : undo_device(core, job, i - 1))
            return;
    }
    end(core, job);
}
