/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving, and what becomes of a saved state. The row and its file agree at every instant: the row
 * says "saving" before the worker writes; the worker's end with its file whole and in place makes
 * it "saved"; the row lets go of a saved state (stale) before its file goes.
 */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"

#include <string.h>

static void reply_already(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const no_steps[] = { NULL };

    if (call->request.args.vm_save.plan)
        vmms_reply_plan(core, call, vm, no_steps);
    else
        vmms_reply(core, call)->result.job_changed.already = true;
}

static void refuse_abandoned(struct vmms_core *core, const struct vmms_vm *vm,
                             struct vmms_call *call)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_WORKER_UNRESPONSIVE, "vm.save.abandoned", NULL,
                  "VM %s cannot be saved: its worker has not been heard to have stopped an earlier "
                  "save.",
                  vmms_vm_name(vm));
    api_error_hint(error, "Wait until it answers, or turn the VM off.");
    vmms_reply_error(core, call, error);
}

/* From here on the VM is the job's, which begins when it is stored. */
void vmms_save(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const steps[] = { "stop the processors",
                                         "write memory and devices to a file",
                                         "end the worker process", NULL };
    struct api_vm_save_args *args = &call->request.args.vm_save;

    api_error_set_text(&args->vm, vm->row.id);
    hv_assert(args->vm);
    if (vmms_job_is_repeated(core, call) || !vmms_check_generation(core, vm, call))
        return;
    if (vm->row.state == API_VM_STATE_SAVED) {
        reply_already(core, vm, call);
    } else if (!vmms_verb_is_allowed(API_METHOD_VM_SAVE, vm->row.state)) {
        vmms_refuse_state(core, vm, call, NULL);
    } else if (vm->critical_reason) {
        vmms_refuse_critical(core, vm, call);
    } else if (vm->op != VMMS_OP_NONE) {
        vmms_refuse_busy(core, vm, call);
    } else if (vm->is_save_abandoned) {
        refuse_abandoned(core, vm, call);
    } else if (!vmms_job_has_way(core, call)) {
        return;
    } else if (args->plan) {
        vmms_reply_plan(core, call, vm, steps);
    } else {
        vm->op = VMMS_OP_SAVE;
        vm->save_job = vmms_job_enqueue(core, call);
    }
}

static void after_saving(struct vmms_core *core, struct vmms_vm *vm)
{
    struct api_error *error;

    if (vm->op != VMMS_OP_SAVE)
        return;
    error = vmms_save_job_stops(core, vm);
    if (error)
        vmms_save_failed(core, vm, error);
    else
        vmms_ask_worker(core, vm, VMMS_WORKER_SAVE);
}

void vmms_save_ordered(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    const struct vmms_job *job = vmms_job_find(core, fact->job);
    struct vmms_why why = { .cause = "save" };
    struct vmms_change *change;
    struct api_error *error;

    if (vm->save_job != fact->job || vm->op != VMMS_OP_SAVE || !job)
        return; /* its worker has ended, or somebody turned it off */
    error = vmms_save_job_stops(core, vm);
    if (error) {
        vmms_op_fail(core, vm, error);
        return;
    }
    why.actor = job->row.owner;
    vm->save_from = vm->row.state;
    change = vmms_change_state(core, vm, API_VM_STATE_SAVING, &why);
    change->row.saved = VMMS_SAVED_STALE;
    vmms_commit(core, vm, change, NULL)->then = after_saving;
}

/* The guest goes on. error: taken */
static void go_on(struct vmms_core *core, struct vmms_vm *vm, enum api_vm_state state,
                  struct api_error *error)
{
    const struct vmms_why why = { .cause = "save_failed",
                                  .message = error ? error->message : NULL,
                                  .actor = "worker" };
    struct vmms_change *change = vmms_change_state(core, vm, state, &why);

    vm->is_save_adopted = false;
    api_error_free(vm->op_error);
    vm->op_error = error;
    vmms_commit_fact(core, vm, change, vmms_op_end);
}

/* What it writes stays until it is heard to have stopped: it may be whole in the end, and then it
 * is all that is left of the guest. */
void vmms_save_abandon(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error)
{
    vm->is_save_abandoned = true;
    vmms_ask_worker(core, vm, VMMS_WORKER_CANCEL_SAVE);
    go_on(core, vm, vm->save_from, error);
}

void vmms_save_is_over(struct vmms_core *core, struct vmms_vm *vm)
{
    if (!vm->is_save_abandoned)
        return;
    vm->is_save_abandoned = false;
    vmms_tidy_saved(core, vm, NULL);
}

void vmms_save_failed(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error)
{
    go_on(core, vm, vm->save_from, error);
}

static enum api_vm_state state_named(const char *state)
{
    int index = state ? api_enum_index(&api_enum_vm_state, state) : -1;

    return index == API_VM_STATE_RUNNING || index == API_VM_STATE_PAUSED ? (enum api_vm_state)index
                                                                         : API_VM_STATE_SAVING;
}

bool vmms_save_heard(struct vmms_core *core, struct vmms_vm *vm, const char *state)
{
    enum api_vm_state now = state_named(state);
    struct api_error *error;

    if (vm->row.state != API_VM_STATE_SAVING || !vm->is_save_adopted)
        return false;
    if (now == API_VM_STATE_SAVING)
        return true;
    error = vmms_save_job_stops(core, vm);
    if (!error)
        api_error_set(&error, API_E_FAILED, "vm.save.given_up", NULL,
                      "The save of VM %s that was under way failed.", vmms_vm_name(vm));
    go_on(core, vm, now, error);
    return true;
}

void vmms_discard_saved_state(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const steps[] = { "remove the saved state", NULL };
    const struct vmms_why why = { .cause = "discard_saved_state", .actor = call->actor };
    struct vmms_change *change;

    if (vm->row.state != API_VM_STATE_SAVED) {
        vmms_refuse_state(core, vm, call, NULL);
    } else if (call->request.args.vm_discard_saved_state.plan) {
        vmms_reply_plan(core, call, vm, steps);
    } else {
        change = vmms_change_state(core, vm, API_VM_STATE_OFF, &why);
        change->row.saved = VMMS_SAVED_STALE;
        vmms_commit(core, vm, change, call)->replies = true;
    }
}

/* While it is being written, or its worker may still have to say that it is whole. */
bool vmms_save_is_open(const struct vmms_row *row)
{
    return row->state == API_VM_STATE_SAVING || row->state == API_VM_STATE_STOPPING;
}

void vmms_tidy_saved(struct vmms_core *core, struct vmms_vm *vm, const struct vmms_row *before)
{
    struct vmms_effect *effect;

    if (vm->row.saved != VMMS_SAVED_STALE || vmms_save_is_open(&vm->row) || vm->is_save_abandoned) {
        vm->is_tidied = false;
        return;
    }
    if (before && before->saved == VMMS_SAVED_STALE && !vmms_save_is_open(before) && vm->is_tidied)
        return;
    vm->is_tidied = true;
    effect = vmms_emit(core, VMMS_EFFECT_REMOVE_SAVED);
    memcpy(effect->row.id, vm->row.id, sizeof(effect->row.id));
}
