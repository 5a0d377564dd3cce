/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job that saves a VM. Its work is an operation of the VM, so neither goes on without the
 * other: while the job has not ended, the VM's save_job is its number. It takes no other job's
 * turn: a host that goes down cannot wait for images to be copied.
 */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "hvcore/base/clock.h"

#include <inttypes.h>
#include <string.h>

enum { ASK_S = 10, SILENCE_S = 30 };

bool vmms_job_is_save(const struct vmms_job *job)
{
    return strcmp(job->row.type, api_methods[API_METHOD_VM_SAVE].name) == 0;
}

static struct vmms_vm *vm_of(const struct vmms_core *core, const struct vmms_job *job)
{
    return vmms_index_find(&core->by_id, job->row.object);
}

static struct vmms_job *job_of(const struct vmms_core *core, const struct vmms_vm *vm)
{
    return vm->save_job ? vmms_job_find(core, vm->save_job) : NULL;
}

/* The end */

static struct api_error *timeout(const struct vmms_job *job)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_TIMEOUT, "job.deadline", NULL,
                  "The deadline of job %" PRIu64 " passed; the guest goes on as before.",
                  job->row.id);
    return error;
}

struct api_error *vmms_save_job_stops(const struct vmms_core *core, const struct vmms_vm *vm)
{
    const struct vmms_job *job = job_of(core, vm);
    struct api_error *error = NULL;

    if (!job || !(job->is_cancelling || job->is_late))
        return NULL;
    if (!job->is_cancelling)
        return timeout(job);
    api_error_set(&error, API_E_CANCELLED, "vm.save.cancelled", NULL,
                  "The save was cancelled; the guest goes on as before.");
    return error;
}

void vmms_save_job_end(struct vmms_core *core, struct vmms_vm *vm, const struct api_error *error)
{
    struct vmms_job *job = job_of(core, vm);
    struct vmms_job_fact fact = { .kind = VMMS_JOB_ENDED, .job = vm->save_job };

    vm->save_job = 0;
    if (!job)
        return;
    /* The worker only knows that it was told to stop. */
    if (error && error->code == API_E_CANCELLED && job->is_late && !job->is_cancelling)
        fact.error = timeout(job);
    else if (error)
        fact.error = api_error_dup(error);
    vmms_core_job_fact(core, &fact);
}

void vmms_save_job_let_go(struct vmms_core *core, const struct vmms_job *job)
{
    struct vmms_vm *vm = vmms_job_is_save(job) ? vm_of(core, job) : NULL;

    if (!vm || vm->save_job != job->row.id)
        return;
    vm->save_job = 0;
    vmms_op_fail(core, vm, NULL);
    vmms_vm_pump(core, vm);
}

/* Orders */

bool vmms_save_job_run(struct vmms_core *core, const struct vmms_job *job)
{
    struct vmms_vm *vm = vmms_job_is_save(job) ? vm_of(core, job) : NULL;
    struct vmms_fact *fact;

    if (!vmms_job_is_save(job))
        return false;
    if (!vm || vm->save_job != job->row.id)
        return true; /* its operation has ended, which ends the job */
    fact = vmms_fact_new(VMMS_FACT_SAVE, vm->row.incarnation);
    hv_assert(fact);
    fact->job = job->row.id;
    vmms_core_fact(core, vm->row.id, fact);
    return true;
}

/* Before the worker was asked to save, whoever is about to ask it sees that it is to stop. */
bool vmms_save_job_cancel(struct vmms_core *core, const struct vmms_job *job)
{
    struct vmms_vm *vm = vmms_job_is_save(job) ? vm_of(core, job) : NULL;

    if (vm && vm->save_job == job->row.id && vm->op == VMMS_OP_SAVE &&
        vm->row.state == API_VM_STATE_SAVING)
        vmms_ask_worker(core, vm, VMMS_WORKER_CANCEL_SAVE);
    return vmms_job_is_save(job);
}

/* Somebody may have stopped it before its worker was found. */
void vmms_save_job_adopted(struct vmms_core *core, const struct vmms_vm *vm)
{
    const struct vmms_job *job = job_of(core, vm);

    if (job && (job->is_cancelling || job->is_late))
        (void)vmms_save_job_cancel(core, job);
}

bool vmms_save_job_is_timed(const struct vmms_job *job)
{
    return job->row.state == API_JOB_STATE_RUNNING && vmms_job_is_save(job);
}

static void look_at_deadline(struct vmms_core *core, struct vmms_job *job)
{
    if (!job->row.deadline_ms || job->is_late || vmms_now_ms(core) < job->row.deadline_ms)
        return;
    job->is_late = true;
    (void)vmms_save_job_cancel(core, job);
}

/* A worker that hangs tells nothing, and of a save nothing that is new; it is asked then, and a
 * save is given up whose worker does not answer. */
static void look_for_silence(struct vmms_core *core, struct vmms_job *job)
{
    uint64_t now = core->env.monotonic_ns(core->env.opaque);
    struct vmms_vm *vm = vm_of(core, job);
    struct api_error *error = NULL;

    if (!vm || vm->save_job != job->row.id || vm->row.state != API_VM_STATE_SAVING ||
        (vm->op != VMMS_OP_SAVE && vm->op != VMMS_OP_NONE) || vm->pending || vm->is_adopting)
        return;
    if (!job->heard_ns)
        job->heard_ns = job->asked_ns = now;
    if (vm->health == API_VM_HEALTH_OK) {
        if (now - job->heard_ns >= ASK_S * HV_NS_PER_SEC &&
            now - job->asked_ns >= ASK_S * HV_NS_PER_SEC) {
            job->asked_ns = now;
            vmms_ask_worker(core, vm, VMMS_WORKER_LOOK);
        }
        return;
    }
    if (now - job->heard_ns < SILENCE_S * HV_NS_PER_SEC)
        return;
    api_error_set(&error, API_E_WORKER_UNRESPONSIVE, "vm.save.silent", NULL,
                  "The worker of VM %s has told nothing of its save for %d s and does not answer; "
                  "the save is given up.",
                  vmms_vm_name(vm), SILENCE_S);
    api_error_hint(error, "Wait until it answers, or turn the VM off.");
    if (vm->op == VMMS_OP_NONE) /* not since we are there */
        vm->save_from = API_VM_STATE_RUNNING;
    vmms_save_abandon(core, vm, error);
}

void vmms_save_job_tick(struct vmms_core *core, struct vmms_job *job)
{
    if (!vmms_save_job_is_timed(job))
        return;
    look_at_deadline(core, job);
    look_for_silence(core, job);
}

void vmms_save_job_heard(struct vmms_core *core, const struct vmms_vm *vm)
{
    struct vmms_job *job = job_of(core, vm);

    if (job)
        job->heard_ns = core->env.monotonic_ns(core->env.opaque);
}

void vmms_save_job_progress(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    struct vmms_job_fact told = { .kind = VMMS_JOB_PROGRESS,
                                  .job = vm->save_job,
                                  .step = "write memory",
                                  .bytes_done = fact->bytes_done,
                                  .bytes_total = fact->bytes_total };

    if (vm->op != VMMS_OP_SAVE || !vm->save_job)
        return;
    vmms_save_job_heard(core, vm);
    vmms_core_job_fact(core, &told);
}

/* After a restart */

static void roll_back(struct vmms_core *core, struct vmms_job *job)
{
    job->news.is_ended = true;
    api_error_set(&job->undo_error, API_E_FAILED, "job.interrupted", NULL,
                  "The service ended during job %" PRIu64 ", and its VM was found not to be saved.",
                  job->row.id);
    api_error_hint(job->undo_error, "Ask for it again.");
    vmms_job_pump(core, job);
}

static void forget_job(struct vmms_core *core, struct vmms_vm *vm)
{
    struct vmms_job *job = job_of(core, vm);

    vm->save_job = 0;
    if (job)
        roll_back(core, job);
}

/* It may have been asked for while its worker was still looked for. */
void vmms_save_lost(struct vmms_core *core, struct vmms_vm *vm)
{
    forget_job(core, vm);
    vm->is_save_adopted = false;
    if (vm->op == VMMS_OP_SAVE)
        vmms_op_fail(core, vm, NULL);
}

/* What the VM's row tells decides: it was saved, or may still be about to; else nothing is left of
 * the save. */
bool vmms_save_job_load(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_vm *vm = vmms_job_is_save(job) ? vm_of(core, job) : NULL;

    if (!vmms_job_is_save(job))
        return false;
    job->is_after_restart = true;
    if (vm && vm->row.state == API_VM_STATE_SAVING) {
        forget_job(core, vm); /* an older one whose end could not be stored */
        vm->save_job = job->row.id;
    } else if (vm && vm->row.state == API_VM_STATE_SAVED) {
        job->news.is_ended = true;
        vmms_job_pump(core, job);
    } else {
        roll_back(core, job);
    }
    return true;
}

/* For vmms_core_check(). */

static bool is_told_to_vm(const struct vmms_vm *vm, uint64_t id)
{
    HV_LIST_FOREACH (node, &vm->facts) {
        const struct vmms_fact *fact = HV_LIST_ENTRY(node, struct vmms_fact, node);

        if (fact->kind == VMMS_FACT_SAVE && fact->job == id)
            return true;
    }
    return false;
}

const char *vmms_save_job_check(const struct vmms_core *core, const struct vmms_job *job)
{
    const struct vmms_vm *vm = vm_of(core, job);

    if (!vmms_job_is_save(job) || vmms_job_has_ended(job->row.state) || job->news.is_ended)
        return NULL;
    if (!vm || vm->save_job != job->row.id)
        return "a job that saves a VM has not ended before its VM's save";
    if (job->row.state == API_JOB_STATE_FINISHING)
        return "a save has nothing to put in place";
    if (job->row.state == API_JOB_STATE_RUNNING && vm->row.state != API_VM_STATE_SAVING &&
        !vm->pending && !is_told_to_vm(vm, job->row.id))
        return "a running job saves its VM";
    return NULL;
}

const char *vmms_save_job_check_vm(const struct vmms_core *core, const struct vmms_vm *vm)
{
    const struct vmms_job *job = job_of(core, vm);

    if (vm->row.state == API_VM_STATE_SAVED && vm->save_job && !vm->pending)
        return "a VM that is saved is not being saved";
    if (!vm->save_job)
        return vm->op == VMMS_OP_SAVE && !vm->is_save_adopted && !vm->pending
                   ? "a save that nobody has seen before has a job"
                   : NULL;
    if (!job || !vmms_job_is_save(job) || strcmp(job->row.object, vm->row.id) != 0)
        return "a VM is saved by a job of its own";
    if (vmms_job_has_ended(job->row.state))
        return "a job that has ended saves no VM";
    if (vm->op != VMMS_OP_SAVE && vm->row.state != API_VM_STATE_SAVING && !vm->pending)
        return "a VM with a job that saves it is being saved";
    return NULL;
}
