/* SPDX-License-Identifier: Apache-2.0 */
/* What the core does by itself: calls of its own, that go the way of everybody's, and events with a
 * VM's mark, that wait until the store is free for it. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <inttypes.h>
#include <string.h>

void vmms_own_call(struct vmms_core *core, const struct vmms_vm *vm, enum vmms_own own,
                   struct api_request *request)
{
    struct vmms_call *call = calloc(1, sizeof(*call));

    hv_assert(call);
    hv_list_init(&call->node);
    call->own = own;
    memcpy(call->own_vm, vm->row.id, sizeof(call->own_vm));
    call->request = *request;
    *request = (struct api_request){ 0 };
    call->actor = strdup("host");
    hv_assert(call->actor);
    vmms_handle_call(core, call);
}

void vmms_own_verb(struct vmms_core *core, const struct vmms_vm *vm, enum vmms_own own,
                   enum api_method method)
{
    const struct api_field *field = api_record_find(api_methods[method].args, "vm", NULL);
    struct api_request request = { .method = method };
    char *id = strdup(vm->row.id);

    hv_assert(id && field);
    memcpy((char *)&request.args + field->offset, &id, sizeof(id));
    if (method == API_METHOD_VM_SAVE)
        request.args.vm_save.wait = true; /* how it ends decides what follows */
    vmms_own_call(core, vm, own, &request);
}

void vmms_own_answered(struct vmms_core *core, struct vmms_effect *reply)
{
    struct vmms_vm *vm = vmms_index_find(&core->by_id, reply->row.id);

    if (!vm)
        return;
    if (reply->own == VMMS_OWN_START)
        vmms_autostart_answered(core, vm, reply->error);
    else if (reply->own == VMMS_OWN_CRITICAL_OFF)
        return; /* it always ends */
    else if (reply->own >= VMMS_OWN_STOP_OFF)
        vmms_stop_answered(core, vm, (enum vmms_own)reply->own, reply->error);
    else
        vmms_recovery_answered(core, vm, reply->error);
}

void vmms_set_phase(struct vmms_core *core, struct vmms_vm *vm, enum vmms_phase phase)
{
    core->n_phases += (phase != VMMS_PHASE_NONE) - (vm->self.phase != VMMS_PHASE_NONE);
    vm->self.phase = phase;
}

void vmms_note(struct vmms_core *core, struct vmms_vm *vm, enum vmms_mark mark, const char *type,
               char *data)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_NOTE, vm->row.incarnation);

    hv_assert(fact && data);
    fact->mark = mark;
    fact->cause = strdup(type);
    fact->message = data;
    hv_assert(fact->cause);
    hv_list_append(&vm->facts, &fact->node);
    vmms_vm_pump(core, vm);
}

void vmms_note_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    struct vmms_change *change = vmms_change_new(core, vm);

    change->row.mark = fact->mark;
    vmms_change_event(core, change, fact->cause, "host", HV_TAKE_PTR(fact->message));
    vmms_commit_fact(core, vm, change, NULL);
}

char *vmms_own_data(const char *cause, unsigned attempt, bool gives_up,
                    const struct api_error *error)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "cause");
    json_put_string(&out, cause);
    json_key(&out, "attempt");
    json_put_u64(&out, attempt);
    json_key(&out, "gives_up");
    json_put_bool(&out, gives_up);
    vmms_put_error(&out, error);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

void vmms_own_cancel(struct vmms_core *core, struct vmms_vm *vm)
{
    bool is_waiting =
        vm->self.phase == VMMS_PHASE_START_WAIT || vm->self.phase == VMMS_PHASE_RECOVER_WAIT;

    if (!is_waiting)
        return;
    vmms_set_phase(core, vm, VMMS_PHASE_NONE);
    vmms_note(core, vm, VMMS_MARK_NONE, "vm.start_cancelled", strdup("{}"));
}

void vmms_own_tick(struct vmms_core *core)
{
    uint64_t now = core->env.monotonic_ns(core->env.opaque);

    vmms_stop_tick(core, now);
    vmms_critical_tick(core, now);
    if (!core->n_phases)
        return;
    vmms_autostart_tick(core, now);
    for (size_t i = 0; i < core->by_id.count; i++)
        vmms_recovery_tick(core, core->by_id.vms[i], now);
}

uint64_t vmms_number_setting(const struct vmms_vm *vm, const char *name)
{
    const struct api_settings *settings = &vm->row.settings;
    const struct api_field *field;
    uint32_t number;
    size_t index;

    field = api_record_find(&api_record_settings, name, &index);
    hv_assert(field && (field->kind == API_KIND_U32 || field->kind == API_KIND_ENUM));
    if (!api_record_has(field, index, settings))
        return field->default_number;
    memcpy(&number, (const char *)settings + field->offset, sizeof(number));
    return number;
}

int vmms_check_auto(const struct api_settings *wanted, struct api_error **reterr)
{
    const char *until = wanted->auto_start_after_until;
    int r;

    if (wanted->has & API_SETTINGS_HAS_AUTO_RECOVERY &&
        wanted->auto_recovery == API_AUTO_RECOVERY_REVERT) {
        r = api_error_set(reterr, API_E_NOT_SUPPORTED, "vm.recovery.revert", "auto.recovery",
                          "auto.recovery cannot be revert: that goes back to a checkpoint, which "
                          "this version does not make.");
        api_error_hint(*reterr, "Use restart or none.");
        return r;
    }
    if (!until || strcmp(until, "running") == 0 || strcmp(until, "heartbeat") == 0 ||
        (strncmp(until, "kvp:", 4) == 0 && until[4]))
        return 0;
    r = api_error_set(reterr, API_E_INVALID_PARAMETER, "vm.start_after.until",
                      "auto.start_after_until", "auto.start_after_until cannot be \"%.60s\".",
                      until);
    if (*reterr)
        api_error_set_text(&(*reterr)->data.allowed, "running, heartbeat, or kvp:KEY");
    return r;
}

/* Only a VM that is off, or about to be, waits for a start; only one that runs for a reset. */
static const char *check_vm(const struct vmms_core *core, const struct vmms_vm *vm)
{
    bool is_off = vm->row.state == API_VM_STATE_OFF;

    switch (vm->self.phase) {
    case VMMS_PHASE_NONE:
        if (vm->row.mark == VMMS_MARK_RECOVER && is_off && !vm->pending)
            return "a VM that is to be recovered waits for that";
        return NULL;
    case VMMS_PHASE_START_WAIT:
    case VMMS_PHASE_RECOVER_WAIT:
        return core->is_stopping ? "nothing waits for a start while all are stopped" : NULL;
    case VMMS_PHASE_RECOVERING:
        return vm->self.recovered_ns[VMMS_MAX_RECOVERIES - 1] ? NULL : "a recovery is counted";
    case VMMS_PHASE_STOP_WAIT:
    case VMMS_PHASE_STOPPING:
        return core->is_stopping ? NULL : "VMs are stopped only while all are";
    default: return NULL;
    }
}

const char *vmms_own_check(const struct vmms_core *core)
{
    size_t most = core->host.processors > 2 ? core->host.processors : 2;
    size_t phases = 0, starting = 0, critical = 0;

    for (size_t i = 0; i < core->by_id.count; i++) {
        const struct vmms_vm *vm = core->by_id.vms[i];
        const char *broken = check_vm(core, vm);

        if (broken)
            return broken;
        critical += vm->critical_reason != NULL;
        if (vm->critical_reason && !vmms_has_worker(vm->row.state) && !vm->pending)
            return "the storage of a VM that is off is no matter";
        phases += vm->self.phase != VMMS_PHASE_NONE;
        starting += vm->self.phase == VMMS_PHASE_STARTING;
    }
    if (phases != core->n_phases || critical != core->n_critical)
        return "VMs that something is waited for are counted right";
    if (starting > most)
        return "only so many VMs start by themselves at once";
    if (!core->is_stopping && !hv_list_is_empty(&core->stop_calls))
        return "nobody waits for a stop that is over";
    return NULL;
}
