/* SPDX-License-Identifier: Apache-2.0 */
/* The guest as the integration services show it: asked to shut down, heard of by facts. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void vmms_guest_fini(struct vmms_guest *guest)
{
    free(guest->os);
    for (size_t i = 0; i < guest->n_addresses; i++)
        free(guest->addresses[i]);
    free(guest->addresses);
    *guest = (struct vmms_guest){ 0 };
}

void vmms_guest_forget(struct vmms_guest *guest)
{
    bool has_heartbeat = guest->has_heartbeat;

    vmms_guest_fini(guest);
    guest->has_heartbeat = has_heartbeat;
    guest->heartbeat = API_HEARTBEAT_NO_CONTACT;
}

bool vmms_is_guest_there(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call)
{
    struct api_error *error = NULL;

    if (vmms_verb_is_allowed(call->request.method, vm->row.state))
        return true;
    api_error_set(&error, API_E_INVALID_STATE, "vm.state", NULL,
                  "VM %s is %s: its guest cannot be reached.", vmms_vm_name(vm),
                  api_enum_vm_state.values[vm->row.state]);
    vmms_say_states(call->request.method, vm->row.state, error);
    vmms_reply_error(core, call, error);
    return false;
}

/* Shutting down and restarting */

/* The same arguments under two names. */
static const struct api_guest_shutdown_args *args_of(const struct vmms_call *call)
{
    static_assert(sizeof(struct api_guest_shutdown_args) == sizeof(struct api_guest_reboot_args),
                  "both are read as one");
    return &call->request.args.guest_shutdown;
}

static struct api_error *check_shut_down(const struct vmms_vm *vm)
{
    const struct api_settings *settings = &vm->row.settings;
    struct api_error *error = NULL;

    if (vm->op == VMMS_OP_SHUT_DOWN || vm->op == VMMS_OP_REBOOT) {
        api_error_set(&error, API_E_SHUTDOWN_IN_PROGRESS, "guest.shutdown.twice", NULL,
                      "The guest of VM %s is %s already.", vmms_vm_name(vm),
                      vm->op == VMMS_OP_REBOOT ? "restarting" : "shutting down");
    } else if (settings->has & API_SETTINGS_HAS_INTEGRATION_SHUTDOWN &&
               !settings->integration_shutdown) {
        api_error_set(&error, API_E_GUEST_NOT_READY, "guest.shutdown.disabled", NULL,
                      "The guest of VM %s cannot be asked: integration.shutdown is off.",
                      vmms_vm_name(vm));
        api_error_hint(error, "Switch that setting on.");
    }
    return error;
}

static void ask_guest(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    const struct api_guest_shutdown_args *args = args_of(call);
    bool is_reboot = call->request.method == API_METHOD_GUEST_REBOOT;
    struct vmms_effect *effect = vmms_emit_worker(core, VMMS_EFFECT_ASK_WORKER, vm);

    effect->verb = is_reboot ? VMMS_WORKER_REBOOT : VMMS_WORKER_SHUT_DOWN;
    effect->force = args->force;
    effect->text = args->reason ? strdup(args->reason) : NULL;
    vm->op_token = core->next_token++;
    vmms_begin_op(vm, is_reboot ? VMMS_OP_REBOOT : VMMS_OP_SHUT_DOWN, call);
}

void vmms_shut_down(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    bool is_reboot = call->request.method == API_METHOD_GUEST_REBOOT;
    const char *const steps[] = { is_reboot ? "ask the guest to restart"
                                            : "ask the guest to shut down",
                                  is_reboot ? "wait until it begins anew" : "wait until it is off",
                                  NULL };
    struct api_error *error;

    if (!vmms_is_guest_there(core, vm, call))
        return;
    error = check_shut_down(vm);
    if (error)
        vmms_reply_error(core, call, error);
    else if (vm->op != VMMS_OP_NONE)
        vmms_refuse_busy(core, vm, call);
    else if (args_of(call)->plan)
        vmms_reply_plan(core, call, vm, steps);
    else
        ask_guest(core, vm, call);
}

/* The guest goes about it: now it has as long as the caller gives it. */
static void after_acceptance(struct vmms_core *core, struct vmms_vm *vm)
{
    const struct vmms_call *call;
    struct vmms_effect *effect;

    if (hv_list_is_empty(&vm->op_calls))
        return;
    call = HV_LIST_ENTRY(vm->op_calls.next, struct vmms_call, node);
    if (!args_of(call)->wait) {
        vmms_op_done(core, vm);
        return;
    }
    effect = vmms_emit(core, VMMS_EFFECT_WAKE);
    memcpy(effect->row.id, vm->row.id, sizeof(effect->row.id));
    effect->token = vm->op_token;
    effect->delay_ms = args_of(call)->timeout_ms;
}

void vmms_put_error(struct json_writer *out, const struct api_error *error)
{
    if (!error)
        return;
    json_key(out, "error");
    json_put_string(out, api_error_info((int)error->code)->name);
    json_key(out, "message");
    json_put_string(out, error->message);
}

static char *shutdown_data(const struct vmms_vm *vm, const struct api_error *error)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "kind");
    json_put_string(&out, vm->op == VMMS_OP_REBOOT ? "reboot" : "shutdown");
    vmms_put_error(&out, error);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* error: taken; NULL: the guest has accepted. */
void vmms_shut_down_answered(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error)
{
    struct vmms_change *change = vmms_change_new(core, vm);

    vmms_change_event(core, change, error ? "guest.shutdown_refused" : "guest.shutdown_accepted",
                      vmms_op_actor(vm), shutdown_data(vm, error));
    if (error) {
        api_error_free(vm->op_error);
        vm->op_error = error;
    } else {
        vm->is_shutdown_asked = vm->op == VMMS_OP_SHUT_DOWN;
    }
    vmms_commit_fact(core, vm, change, error ? vmms_op_end : after_acceptance);
}

void vmms_core_woken(struct vmms_core *core, const char *vm_id, uint64_t token)
{
    struct vmms_vm *vm = vmms_index_find(&core->by_id, vm_id);
    struct api_error *error = NULL;

    if (!vm || vm->op_token != token || (vm->op != VMMS_OP_SHUT_DOWN && vm->op != VMMS_OP_REBOOT))
        return;
    api_error_set(&error, API_E_TIMEOUT, "guest.shutdown.timeout", NULL,
                  "The guest of VM %s has accepted and has not %s yet; it may still do so.",
                  vmms_vm_name(vm), vm->op == VMMS_OP_REBOOT ? "restarted" : "shut down");
    api_error_hint(error, "Wait longer, look at its console, or turn it off.");
    vmms_op_fail(core, vm, error);
    vmms_vm_pump(core, vm);
}

/* What is heard of it */

static bool are_addresses_same(const struct vmms_guest *guest, const struct vmms_fact *fact)
{
    if (guest->n_addresses != fact->n_addresses)
        return false;
    for (size_t i = 0; i < guest->n_addresses; i++) {
        if (strcmp(guest->addresses[i], fact->addresses[i]) != 0)
            return false;
    }
    return true;
}

static char *heartbeat_data(enum api_heartbeat from, enum api_heartbeat to)
{
    char *text;

    hv_assert(asprintf(&text, "{\"from\":\"%s\",\"to\":\"%s\"}", api_enum_heartbeat.values[from],
                       api_enum_heartbeat.values[to]) > 0);
    return text;
}

static char *address_data(const struct vmms_guest *guest)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "addresses");
    json_begin_array(&out);
    for (size_t i = 0; i < guest->n_addresses; i++)
        json_put_string(&out, guest->addresses[i]);
    json_end_array(&out);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

static void take_guest(struct vmms_guest *guest, struct vmms_fact *fact)
{
    vmms_guest_fini(guest);
    guest->has_heartbeat = true;
    guest->heartbeat = fact->heartbeat;
    guest->os = HV_TAKE_PTR(fact->os);
    guest->addresses = HV_TAKE_PTR(fact->addresses);
    guest->n_addresses = fact->n_addresses;
    fact->n_addresses = 0;
}

/* Beginnings and pauses are no news: the VM's own state tells of them. */
static bool is_news(enum api_heartbeat from, enum api_heartbeat to)
{
    return from != to && to != API_HEARTBEAT_NO_CONTACT && to != API_HEARTBEAT_PAUSED &&
           !(from == API_HEARTBEAT_PAUSED && to == API_HEARTBEAT_OK);
}

void vmms_guest_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    enum api_heartbeat from =
        vm->guest.has_heartbeat ? vm->guest.heartbeat : API_HEARTBEAT_NO_CONTACT;
    bool is_moved = !are_addresses_same(&vm->guest, fact), is_heard;
    bool is_first = !vm->guest.has_heartbeat;
    struct vmms_change *change;

    if (!fact->has_heartbeat || !vmms_has_worker(vm->row.state))
        return;
    is_heard = is_news(from, fact->heartbeat);
    take_guest(&vm->guest, fact);
    /* A worker tells first what it knows; that is no change. */
    if (is_first || fact->is_quiet || (!is_heard && !is_moved))
        return;
    change = vmms_change_new(core, vm);
    if (is_heard)
        vmms_change_event(core, change, "guest.heartbeat_changed", "guest",
                          heartbeat_data(from, vm->guest.heartbeat));
    if (is_moved)
        vmms_change_event(core, change, "guest.ip_changed", "guest", address_data(&vm->guest));
    vmms_commit_fact(core, vm, change, NULL);
}

/* The numbers are the guest's own: Linux puts its registers there. */
void vmms_guest_crashed(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    struct vmms_change *change = vmms_change_new(core, vm);
    struct json_writer out = { 0 };
    char number[20], *text;

    json_begin_object(&out);
    json_key(&out, "cause");
    json_put_string(&out, "guest_panic");
    json_key(&out, "parameters");
    json_begin_array(&out);
    for (size_t i = 0; i < VMMS_CRASH_PARAMETERS; i++) {
        (void)snprintf(number, sizeof(number), "0x%" PRIx64, fact->crash[i]);
        json_put_string(&out, number);
    }
    json_end_array(&out);
    json_key(&out, "text");
    json_put_string(&out, fact->message ? fact->message : "");
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    vmms_change_event(core, change, "vm.guest_crashed", "guest", text);
    vmms_commit_fact(core, vm, change, vmms_recovery_panicked);
}

void vmms_device_error(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    const struct api_device *device =
        fact->device ? vmms_devices_named(&vm->row, fact->device) : NULL;
    struct vmms_change *change;

    if (!device)
        return;
    change = vmms_change_new(core, vm);
    (void)snprintf(change->row.failing, sizeof(change->row.failing), "%s", device->id);
    vmms_change_event(core, change, "device.io_error", "worker",
                      vmms_device_data(device, fact->message ? fact->message : ""));
    vmms_commit_fact(core, vm, change, NULL);
}
