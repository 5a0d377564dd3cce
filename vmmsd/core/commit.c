/* SPDX-License-Identifier: Apache-2.0 */
/* Changes on their way to the store, and what becomes of them. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <string.h>

struct vmms_change *vmms_change_free(struct vmms_change *change)
{
    while (change) {
        struct vmms_change *next = change->next;

        for (size_t i = 0; i < change->n_events; i++)
            api_event_fini(&change->events[i]);
        vmms_row_fini(&change->row);
        vmms_job_row_fini(&change->job);
        vmms_group_row_fini(&change->group);
        vmms_key_row_fini(&change->key);
        free(change);
        change = next;
    }
    return NULL;
}

size_t vmms_change_count_events(const struct vmms_change *change)
{
    size_t count = 0;

    for (; change; change = change->next)
        count += change->n_events;
    return count;
}

/* A change that begins as the VM is now, one generation later. */
struct vmms_change *vmms_change_new(struct vmms_core *core, const struct vmms_vm *vm)
{
    struct vmms_change *change = calloc(1, sizeof(*change));

    hv_assert(change);
    change->id = core->next_change++;
    change->kind = VMMS_ROW_UPDATE;
    hv_assert(vmms_row_copy(&vm->row, &change->row) == 0);
    change->row.generation++;
    return change;
}

struct api_event *vmms_add_event(struct vmms_core *core, struct vmms_change *change,
                                 const char *type, const char *actor, char *data)
{
    struct api_event *event = &change->events[change->n_events];

    hv_assert(change->n_events < VMMS_CHANGE_EVENTS && data);
    *event = (struct api_event){ .boot_id = strdup(core->boot_id ? core->boot_id : ""),
                                 .time_ms = vmms_now_ms(core),
                                 .monotonic_ns = core->env.monotonic_ns(core->env.opaque),
                                 .type = strdup(type),
                                 .actor = strdup(actor),
                                 .data = data };
    change->n_events++;
    hv_assert(event->boot_id && event->type && event->actor);
    return event;
}

/* data: JSON text, taken. */
int vmms_change_event(struct vmms_core *core, struct vmms_change *change, const char *type,
                      const char *actor, char *data)
{
    struct api_event *event = vmms_add_event(core, change, type, actor, data);

    event->vm = strdup(change->row.id);
    event->vm_name = strdup(change->row.settings.name);
    event->generation = change->row.generation;
    hv_assert(event->vm && event->vm_name);
    return 0;
}

static int replace_text(char **text, const char *by)
{
    api_error_set_text(text, by);
    return by && !*text ? -ENOMEM : 0;
}

char *vmms_why_data(const struct vmms_vm *vm, enum api_vm_state to, const struct vmms_why *why)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "from");
    json_put_string(&out, api_enum_vm_state.values[vm->row.state]);
    json_key(&out, "to");
    json_put_string(&out, api_enum_vm_state.values[to]);
    json_key(&out, "cause");
    json_put_string(&out, why->cause);
    if (why->message) {
        json_key(&out, "message");
        json_put_string(&out, why->message);
    }
    if (why->has_exit_status) {
        json_key(&out, "exit_status");
        json_put_u64(&out, why->exit_status);
    }
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

struct vmms_change *vmms_change_state(struct vmms_core *core, const struct vmms_vm *vm,
                                      enum api_vm_state state, const struct vmms_why *why)
{
    struct vmms_change *change = vmms_change_new(core, vm);

    change->row.state = state;
    if (state == API_VM_STATE_RUNNING)
        change->row.mark = VMMS_MARK_NONE;
    if (change->row.saved == VMMS_SAVED_STALE && vm->is_tidied)
        change->row.saved = VMMS_SAVED_NONE;
    change->row.changed_ms = vmms_now_ms(core);
    change->row.has_exit_status = why->has_exit_status;
    change->row.exit_status = why->exit_status;
    hv_assert(replace_text(&change->row.cause, why->cause) == 0);
    hv_assert(replace_text(&change->row.cause_message, why->message) == 0);
    vmms_change_event(core, change, "vm.state_changed", why->actor, vmms_why_data(vm, state, why));
    if (state == API_VM_STATE_OFF)
        vmms_staged_apply(core, change);
    return change;
}

struct vmms_pending *vmms_pending_new(struct vmms_core *core, struct vmms_vm *vm, uint64_t change)
{
    struct vmms_pending *pending = calloc(1, sizeof(*pending));

    hv_assert(pending && !vm->pending);
    pending->vm = vm;
    pending->change = change;
    hv_list_append(&core->pendings, &pending->node);
    vm->pending = pending;
    return pending;
}

struct vmms_pending *vmms_pending_take(struct vmms_vm *vm)
{
    struct vmms_pending *pending = HV_TAKE_PTR(vm->pending);

    hv_list_remove(&pending->node);
    return pending;
}

void vmms_pending_free(struct vmms_pending *pending)
{
    if (!pending)
        return;
    hv_list_remove(&pending->node);
    vmms_row_fini(&pending->row);
    vmms_call_free(pending->call);
    free(pending);
}

struct vmms_pending *vmms_commit(struct vmms_core *core, struct vmms_vm *vm,
                                 struct vmms_change *change, struct vmms_call *call)
{
    struct vmms_pending *pending;

    if (core->tx)
        return vmms_tx_capture(core, vm, change, call);
    pending = vmms_pending_new(core, vm, change->id);
    hv_assert(vmms_row_copy(&change->row, &pending->row) == 0);
    pending->n_events = vmms_change_count_events(change);
    pending->is_delete = change->kind == VMMS_ROW_DELETE;
    pending->call = call;
    vmms_key_ride(core, change, call, true, vm->row.id, NULL);
    change->due_ns = call ? call->due_ns : 0;
    vmms_emit(core, VMMS_EFFECT_COMMIT)->change = change;
    return pending;
}

void vmms_forget_vm(struct vmms_core *core, struct vmms_vm *vm)
{
    struct hv_list calls;

    vmms_index_remove(&core->by_id, vm);
    vmms_index_remove(&core->by_name, vm);
    vmms_set_phase(core, vm, VMMS_PHASE_NONE);
    vmms_critical_forget(core, vm);
    /* Calls that waited for it now find nothing. */
    hv_list_init(&calls);
    HV_LIST_FOREACH (node, &vm->calls) {
        hv_list_remove(node);
        hv_list_append(&calls, node);
    }
    vmms_vm_free(vm);
    HV_LIST_FOREACH (node, &calls) {
        hv_list_remove(node);
        vmms_handle_call(core, HV_LIST_ENTRY(node, struct vmms_call, node));
    }
}

void vmms_apply_row(struct vmms_core *core, struct vmms_vm *vm, struct vmms_row *row)
{
    bool is_renamed = strcmp(vm->row.settings.name, row->settings.name) != 0;
    const struct vmms_row before = { .state = vm->row.state, .saved = vm->row.saved };

    if (is_renamed)
        vmms_index_remove(&core->by_name, vm);
    vmms_row_fini(&vm->row);
    vm->row = *row;
    *row = (struct vmms_row){ 0 };
    vm->is_new = false;
    vmms_tidy_saved(core, vm, &before);
    if (is_renamed)
        hv_assert(vmms_index_add(&core->by_name, vm) == 0);
}

static void finish_delete(struct vmms_core *core, struct vmms_vm *vm, uint64_t seq)
{
    struct vmms_effect *effect = vmms_emit(core, VMMS_EFFECT_REMOVE_FILES);
    struct vmms_pending *pending = vmms_pending_take(vm);

    memcpy(effect->row.id, vm->row.id, sizeof(effect->row.id));
    vmms_reply_changed(core, HV_TAKE_PTR(pending->call), NULL, false, seq);
    vmms_pending_free(pending);
    vmms_forget_vm(core, vm);
}

static void finish(struct vmms_core *core, struct vmms_vm *vm, uint64_t seq)
{
    struct vmms_pending *pending;

    if (vm->pending->is_delete) {
        finish_delete(core, vm, seq);
        return;
    }
    pending = vmms_pending_take(vm);
    vmms_apply_row(core, vm, &pending->row);
    vm->last_seq = seq;
    if (pending->call && pending->replies)
        vmms_reply_changed(core, HV_TAKE_PTR(pending->call), vm, false, seq);
    if (pending->call && pending->reply)
        pending->reply(core, vm, HV_TAKE_PTR(pending->call));
    if (pending->then)
        pending->then(core, vm);
    vmms_pending_free(pending);
    vmms_vm_pump(core, vm);
}

static void refuse(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error)
{
    struct vmms_pending *pending = vmms_pending_take(vm);

    if (pending->call)
        vmms_reply_error(core, HV_TAKE_PTR(pending->call), error);
    else
        vmms_op_fail(core, vm, error);
    vmms_pending_free(pending);
    if (vm->is_new)
        vmms_forget_vm(core, vm);
    else
        vmms_vm_pump(core, vm);
}

static struct vmms_vm *find_pending(struct vmms_core *core, uint64_t change)
{
    HV_LIST_FOREACH (node, &core->pendings) {
        struct vmms_pending *pending = HV_LIST_ENTRY(node, struct vmms_pending, node);

        if (pending->change == change)
            return pending->vm;
    }
    return NULL;
}

static void committed_vm(struct vmms_core *core, struct vmms_vm *vm, uint64_t first_seq,
                         struct api_error *error)
{
    if (!error) {
        core->last_event = first_seq + vm->pending->n_events - 1;
        finish(core, vm, first_seq);
        return;
    }
    vmms_emit(core, VMMS_EFFECT_LOG)->text = strdup(error->message);
    if (!vm->pending->is_fact) {
        refuse(core, vm, error);
        return;
    }
    api_error_free(error);
    finish(core, vm, 0);
}

void vmms_core_committed(struct vmms_core *core, uint64_t change, uint64_t first_seq,
                         struct api_error *error)
{
    bool is_of_groups = core->groups.change == change;
    struct vmms_vm *vm;

    if (vmms_key_committed(core, change, first_seq, error))
        return;
    /* Before the VM that leaves them goes. */
    if (is_of_groups)
        vmms_groups_settle(core, !error);
    if (!vmms_tx_committed(core, change, first_seq, error) &&
        !vmms_job_committed(core, change, first_seq, error) &&
        !(is_of_groups && vmms_groups_answered(core, first_seq, error))) {
        vm = find_pending(core, change);
        hv_assert(vm);
        committed_vm(core, vm, first_seq, error);
    }
    if (is_of_groups)
        vmms_groups_release(core);
}
