/* SPDX-License-Identifier: Apache-2.0 */
/* The power verbs, up to the point where the worker's answer is awaited. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void vmms_op_fail(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error)
{
    vm->op = VMMS_OP_NONE;
    vmms_queue_release_vm(vm);
    vmms_save_job_end(core, vm, error);
    api_device_fini(&vm->op_device);
    HV_LIST_FOREACH (node, &vm->op_calls) {
        hv_list_remove(node);
        vmms_reply_error(core, HV_LIST_ENTRY(node, struct vmms_call, node), api_error_dup(error));
    }
    api_error_free(error);
}

void vmms_op_end(struct vmms_core *core, struct vmms_vm *vm)
{
    vmms_op_fail(core, vm, HV_TAKE_PTR(vm->op_error));
}

const char *vmms_op_actor(const struct vmms_vm *vm)
{
    const struct vmms_call *call = vmms_op_first(vm);

    return call ? call->actor : "host";
}

void vmms_op_done(struct vmms_core *core, struct vmms_vm *vm)
{
    const char *device = vm->op == VMMS_OP_DEVICE ? vm->op_device.id : NULL;

    vm->op = VMMS_OP_NONE;
    vmms_queue_release_vm(vm);
    vmms_save_job_end(core, vm, NULL);
    HV_LIST_FOREACH (node, &vm->op_calls) {
        hv_list_remove(node);
        vmms_reply_device(core, HV_LIST_ENTRY(node, struct vmms_call, node), vm, device, false,
                          vm->last_seq);
    }
    api_device_fini(&vm->op_device);
}

void vmms_refuse_state(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                       const char *hint)
{
    const struct vmms_verb *verb = vmms_verb(call->request.method);
    struct api_error *error = NULL;

    if (vm->save_job) {
        vmms_refuse_busy(core, vm, call);
        return;
    }
    api_error_set(&error, API_E_INVALID_STATE, "vm.state", NULL, "VM %s is %s: %s is not possible.",
                  vmms_vm_name(vm), api_enum_vm_state.values[vm->row.state], verb->name);
    vmms_say_states(call->request.method, vm->row.state, error);
    if (hint)
        api_error_hint(error, "%s", hint);
    vmms_reply_error(core, call, error);
}

/* Memory that running VMs and this one take together must be there. */
static int check_memory(const struct vmms_core *core, const struct vmms_vm *vm,
                        struct api_error **reterr)
{
    uint64_t wanted = vmms_row_memory(&vm->row), used = 0;

    for (size_t i = 0; i < core->by_id.count; i++) {
        const struct vmms_row *row = &core->by_id.vms[i]->row;

        if (vmms_has_worker(row->state) || core->by_id.vms[i]->op == VMMS_OP_START)
            used += vmms_row_memory(row);
    }
    if (used + wanted <= core->host.memory_bytes)
        return 0;
    return api_error_set(reterr, API_E_OUT_OF_MEMORY, "vm.memory.admission", "memory.startup",
                         "The VM needs %" PRIu64 " MiB; of the host's %" PRIu64
                         " MiB, running VMs have %" PRIu64 " MiB.",
                         wanted >> 20, core->host.memory_bytes >> 20, used >> 20);
}

static int check_start(const struct vmms_core *core, const struct vmms_vm *vm,
                       struct api_error **reterr)
{
    const struct api_settings *settings = &vm->row.settings;
    int r;

    if (!settings->boot_kernel || !*settings->boot_kernel) {
        r = api_error_set(reterr, API_E_INVALID_PARAMETER, "vm.start.no_kernel", "boot.kernel",
                          "VM %s has nothing to boot: boot.kernel is not set.", vmms_vm_name(vm));
        api_error_hint(*reterr, "Set boot.kernel to a kernel file.");
        return r;
    }
    return check_memory(core, vm, reterr);
}

/* Where the host's KVM was found wanting, no worker need measure it again: that takes longer than
 * the rest of a start. */
static void after_starting(struct vmms_core *core, struct vmms_vm *vm)
{
    struct vmms_effect *effect;

    if (vm->op != VMMS_OP_START)
        return;
    effect = vmms_emit_worker(core, VMMS_EFFECT_SPAWN, vm);
    if (vmms_is_soft_by_probe(core, vm))
        effect->row.settings.backend = API_BACKEND_CHOICE_SOFT;
}

static void new_secret(const struct vmms_core *core, char ret[static VMMS_SECRET_TEXT_BYTES])
{
    uint8_t bytes[32];

    core->env.random(core->env.opaque, bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

void vmms_begin_op(struct vmms_vm *vm, enum vmms_op op, struct vmms_call *call)
{
    vm->op = op;
    hv_list_append(&vm->op_calls, &call->node);
}

static void start(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const steps[] = { "start a worker process", "load the kernel",
                                         "let the processors run", NULL };
    static const char *const back[] = { "start a worker process", "check and load the saved state",
                                        "let the processors run", "remove the saved state", NULL };
    bool is_saved = vm->row.state == API_VM_STATE_SAVED;
    const struct vmms_why why = { .cause = is_saved ? "restore" : "start", .actor = call->actor };
    struct api_error *error = NULL;
    struct vmms_change *change;

    if (vm->row.state == API_VM_STATE_RUNNING) {
        vmms_reply_changed(core, call, vm, true, 0);
        return;
    }
    if (vm->op == VMMS_OP_START && !call->request.args.vm_start.plan) {
        if (vmms_key_goes_first(core, call))
            return;
        hv_list_append(&vm->op_calls, &call->node);
        return;
    }
    if (!is_saved && vm->row.state != API_VM_STATE_OFF) {
        vmms_refuse_state(core, vm, call,
                          vm->row.state == API_VM_STATE_PAUSED ? "Resume it instead." : NULL);
        return;
    }
    if (core->is_stopping) {
        api_error_set(&error, API_E_NOT_AVAILABLE, "host.stopping", NULL,
                      "The host's VMs are being stopped: VM %s cannot be started now.",
                      vmms_vm_name(vm));
        vmms_reply_error(core, call, error);
        return;
    }
    if (check_start(core, vm, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (call->request.args.vm_start.plan) {
        vmms_reply_plan(core, call, vm, is_saved ? back : steps);
        return;
    }
    vmms_begin_op(vm, VMMS_OP_START, call);
    change = vmms_change_state(core, vm, API_VM_STATE_STARTING, &why);
    vmms_random_guid(core, change->row.incarnation);
    new_secret(core, change->row.secret);
    vmms_key_ride(core, change, call, false, vm->row.id, NULL);
    vmms_commit(core, vm, change, NULL)->then = after_starting;
}

/* Ask politely where somebody listens; the answer, or its absence, decides what follows. */
void vmms_turn_off_worker(struct vmms_core *core, struct vmms_vm *vm)
{
    if (vm->is_greeted && vm->health == API_VM_HEALTH_OK)
        vmms_ask_worker(core, vm, VMMS_WORKER_TURN_OFF);
    else
        vmms_kill_worker(core, vm);
}

static void turn_off(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const steps[] = { "end the worker process at once", NULL };
    const struct vmms_why why = { .cause = "turn_off", .actor = call->actor };
    struct api_error *error = NULL;
    struct vmms_pending *pending;
    struct vmms_change *change;

    if (vm->row.state == API_VM_STATE_OFF) {
        bool is_plan = call->request.args.vm_turn_off.plan;

        vmms_reply_changed(core, call, vm, true, 0);
        if (!is_plan)
            vmms_own_cancel(core, vm);
        return;
    }
    if (vm->row.state == API_VM_STATE_SAVED) {
        vmms_refuse_state(core, vm, call, "Discard its saved state instead.");
        return;
    }
    if (call->request.args.vm_turn_off.plan) {
        vmms_reply_plan(core, call, vm, steps);
        return;
    }
    if (vm->op == VMMS_OP_TURN_OFF) {
        if (vmms_key_goes_first(core, call))
            return;
        hv_list_append(&vm->op_calls, &call->node);
        return;
    }
    api_error_set(&error, API_E_CANCELLED, "vm.turned_off", NULL,
                  "VM %s was turned off in the meantime.", vmms_vm_name(vm));
    vmms_op_fail(core, vm, error);
    vmms_begin_op(vm, VMMS_OP_TURN_OFF, call);
    change = vmms_change_state(core, vm, API_VM_STATE_STOPPING, &why);
    vmms_key_ride(core, change, call, false, vm->row.id, NULL);
    pending = vmms_commit(core, vm, change, NULL);
    pending->is_fact = true;
    pending->then = vmms_turn_off_worker;
}

enum vmms_op vmms_op_of(enum api_method method)
{
    static const struct {
        enum api_method method;
        enum vmms_op op;
    } rows[] = {
        { API_METHOD_VM_START, VMMS_OP_START },
        { API_METHOD_VM_TURN_OFF, VMMS_OP_TURN_OFF },
        { API_METHOD_VM_PAUSE, VMMS_OP_PAUSE },
        { API_METHOD_VM_RESUME, VMMS_OP_RESUME },
        { API_METHOD_VM_RESET, VMMS_OP_RESET },
        { API_METHOD_GUEST_SHUTDOWN, VMMS_OP_SHUT_DOWN },
        { API_METHOD_GUEST_REBOOT, VMMS_OP_REBOOT },
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        if (rows[i].method == method)
            return rows[i].op;
    }
    return VMMS_OP_NONE;
}

static const char *op_phrase(enum vmms_op op)
{
    static const char *const phrases[] = {
        [VMMS_OP_NONE] = "idle",
        [VMMS_OP_START] = "being started",
        [VMMS_OP_TURN_OFF] = "being turned off",
        [VMMS_OP_PAUSE] = "being paused",
        [VMMS_OP_RESUME] = "being resumed",
        [VMMS_OP_RESET] = "being reset",
        [VMMS_OP_SAVE] = "being saved",
        [VMMS_OP_DEVICE] = "having a device changed",
        [VMMS_OP_SHUT_DOWN] = "shutting down",
        [VMMS_OP_REBOOT] = "restarting",
    };

    return phrases[op];
}

void vmms_refuse_busy(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    struct api_error *error = NULL;

    if (vmms_queue_on_vm(core, vm, call))
        return;
    if (vm->save_job) {
        vmms_job_say_conflict(core, vmms_job_find(core, vm->save_job), vm->row.id, NULL, &error);
        vmms_reply_error(core, call, error);
        return;
    }
    api_error_set(&error, API_E_JOB_CONFLICT, "vm.busy", NULL, "VM %s is %s; try again after that.",
                  vmms_vm_name(vm), op_phrase(vm->op));
    api_error_hint(error, "With queue=true the call waits for it, where not too many do already.");
    vmms_reply_error(core, call, error);
}

/* Pause, resume and reset: one question to the worker. */
static void ask(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call, bool plan,
                enum vmms_op op, enum vmms_worker_verb verb, const char *step)
{
    const char *steps[] = { step, NULL };

    if (!vmms_verb_is_allowed(call->request.method, vm->row.state))
        vmms_refuse_state(core, vm, call, NULL);
    else if (vm->op != VMMS_OP_NONE)
        vmms_refuse_busy(core, vm, call);
    else if (plan)
        vmms_reply_plan(core, call, vm, steps);
    else {
        vmms_begin_op(vm, op, call);
        vmms_ask_worker(core, vm, verb);
    }
}

static void pause_vm(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    if (vm->row.state == API_VM_STATE_PAUSED && vm->op == VMMS_OP_NONE)
        vmms_reply_changed(core, call, vm, true, 0);
    else
        ask(core, vm, call, call->request.args.vm_pause.plan, VMMS_OP_PAUSE, VMMS_WORKER_PAUSE,
            "stop the processors");
}

static void resume_vm(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    if (vm->row.state == API_VM_STATE_RUNNING && vm->op == VMMS_OP_NONE)
        vmms_reply_changed(core, call, vm, true, 0);
    else if (vm->critical_reason && vm->row.state == API_VM_STATE_PAUSED)
        vmms_refuse_critical(core, vm, call);
    else
        ask(core, vm, call, call->request.args.vm_resume.plan, VMMS_OP_RESUME, VMMS_WORKER_RESUME,
            "let the processors run on");
}

void vmms_power(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    switch (call->request.method) {
    case API_METHOD_VM_START: start(core, vm, call); break;
    case API_METHOD_VM_TURN_OFF: turn_off(core, vm, call); break;
    case API_METHOD_VM_PAUSE: pause_vm(core, vm, call); break;
    case API_METHOD_VM_RESUME: resume_vm(core, vm, call); break;
    case API_METHOD_VM_DISCARD_SAVED_STATE: vmms_discard_saved_state(core, vm, call); break;
    case API_METHOD_VM_RESET:
        ask(core, vm, call, call->request.args.vm_reset.plan, VMMS_OP_RESET, VMMS_WORKER_RESET,
            "load the kernel anew and let the processors run");
        break;
    default: hv_assert(!"a method without a handler"); break;
    }
}
