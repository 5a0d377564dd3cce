/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saving, and what becomes of a saved state. The row and its file agree at every instant: the row
 * says "saving" before the worker writes; the worker's end with its file whole and in place makes
 * it "saved"; the row lets go of a saved state (stale) before its file goes.
 */
#include "vmmsd/core/core_priv.h"

#include <string.h>

static void after_saving(struct vmms_core *core, struct vmms_vm *vm)
{
    if (vm->op == VMMS_OP_SAVE)
        vmms_ask_worker(core, vm, VMMS_WORKER_SAVE);
}

void vmms_save(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const steps[] = { "stop the processors",
                                         "write memory and devices to a file",
                                         "end the worker process", NULL };
    const struct vmms_why why = { .cause = "save", .actor = call->actor };
    struct vmms_change *change;

    if (vm->row.state == API_VM_STATE_SAVED) {
        vmms_reply_changed(core, call, vm, true, 0);
    } else if (vm->op == VMMS_OP_SAVE && !call->request.args.vm_save.plan) {
        hv_list_append(&vm->op_calls, &call->node);
    } else if (!vmms_verb_is_allowed(API_METHOD_VM_SAVE, vm->row.state)) {
        vmms_refuse_state(core, vm, call, NULL);
    } else if (vm->critical_reason) {
        vmms_refuse_critical(core, vm, call);
    } else if (vm->op != VMMS_OP_NONE) {
        vmms_refuse_busy(core, vm, call);
    } else if (call->request.args.vm_save.plan) {
        vmms_reply_plan(core, call, vm, steps);
    } else {
        vm->save_from = vm->row.state;
        vm->save_percent = 0;
        vmms_begin_op(vm, VMMS_OP_SAVE, call);
        change = vmms_change_state(core, vm, API_VM_STATE_SAVING, &why);
        change->row.saved = VMMS_SAVED_STALE;
        vmms_commit(core, vm, change, NULL)->then = after_saving;
    }
}

/* Who asked for the save is answered by its end. */
void vmms_cancel_save(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const steps[] = { "stop the save and let the guest go on", NULL };

    if (!vmms_verb_is_allowed(API_METHOD_VM_CANCEL_SAVE, vm->row.state)) {
        vmms_refuse_state(core, vm, call, NULL);
    } else if (call->request.args.vm_cancel_save.plan) {
        vmms_reply_plan(core, call, vm, steps);
    } else {
        vmms_ask_worker(core, vm, VMMS_WORKER_CANCEL_SAVE);
        vmms_reply_changed(core, call, vm, false, 0);
    }
}

void vmms_save_failed(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error)
{
    const struct vmms_why why = { .cause = "save_failed",
                                  .message = error->message,
                                  .actor = "worker" };

    api_error_free(vm->op_error);
    vm->op_error = error;
    vmms_commit_fact(core, vm, vmms_change_state(core, vm, vm->save_from, &why), vmms_op_end);
}

void vmms_save_given_up(struct vmms_core *core, struct vmms_vm *vm, enum api_vm_state state)
{
    const struct vmms_why why = { .cause = "save_failed",
                                  .message = "The save that was under way failed.",
                                  .actor = "worker" };

    vm->is_save_adopted = false;
    vm->op = VMMS_OP_NONE;
    vmms_commit_fact(core, vm, vmms_change_state(core, vm, state, &why), NULL);
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
static bool is_open(const struct vmms_row *row)
{
    return row->state == API_VM_STATE_SAVING || row->state == API_VM_STATE_STOPPING;
}

void vmms_tidy_saved(struct vmms_core *core, struct vmms_vm *vm, const struct vmms_row *before)
{
    struct vmms_effect *effect;

    if (vm->row.saved != VMMS_SAVED_STALE || is_open(&vm->row)) {
        vm->is_tidied = false;
        return;
    }
    if (before && before->saved == VMMS_SAVED_STALE && !is_open(before))
        return;
    vm->is_tidied = true;
    effect = vmms_emit(core, VMMS_EFFECT_REMOVE_SAVED);
    memcpy(effect->row.id, vm->row.id, sizeof(effect->row.id));
}
