/* SPDX-License-Identifier: Apache-2.0 */
/* Devices come and go: while the VM is off by the definition alone, while it runs through its
 * worker first: what the guest has not got does not stand in the definition. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"

#include <stdio.h>
#include <string.h>

enum { STEP_BYTES = 4400 };

static bool is_off(const struct vmms_vm *vm)
{
    return !vmms_has_worker(vm->row.state);
}

/* May devices be changed now at all? Answers the call when not, or lets it wait. */
static bool may_change(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    if (!vmms_verb_is_allowed(call->request.method, vm->row.state)) {
        vmms_refuse_state(core, vm, call, NULL);
        return false;
    }
    if (vm->op != VMMS_OP_NONE) {
        vmms_refuse_busy(core, vm, call);
        return false;
    }
    return is_off(vm) || !vmms_key_goes_first(core, call);
}

static struct api_error *off_only(const struct vmms_vm *vm)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_RESTART_REQUIRED, "vm.device.off_only", NULL,
                  "SCSI controllers come and go only while VM %s is off; it is %s.",
                  vmms_vm_name(vm), api_enum_vm_state.values[vm->row.state]);
    if (error)
        api_error_add(error, &error->data.allowed_states, &error->data.n_allowed_states, "off");
    api_error_hint(error, "Turn it off first, or give stage=true: then it is done when it is off.");
    return error;
}

static void say_step(const struct api_device *device, const char *doing, char ret[STEP_BYTES])
{
    if (device->kind == API_DEVICE_KIND_SCSI)
        (void)snprintf(ret, STEP_BYTES, "%s SCSI controller %u", doing, device->controller);
    else
        (void)snprintf(ret, STEP_BYTES, "%s %s at %u:%u%s%s", doing,
                       device->kind == API_DEVICE_KIND_DVD ? "the DVD drive" : "the disk",
                       device->controller, device->lun, device->path ? ": " : "",
                       device->path ? device->path : "");
}

static void reply_plan(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call,
                       const struct api_device *device, const char *doing,
                       const struct vmms_row *after)
{
    char step[STEP_BYTES];
    const char *const steps[] = { step, NULL };
    struct vmms_row row = vm->row; /* with other devices; owns nothing */

    say_step(device, doing, step);
    row.devices = after->devices;
    row.n_devices = after->n_devices;
    vmms_plan_diff_rows(vmms_reply_plan(core, call, vm, steps), &vm->row, &row);
}

static const struct {
    enum vmms_worker_verb verb;
    const char *event;
} events[] = {
    { VMMS_WORKER_ADD_DISK, "device.added" },
    { VMMS_WORKER_REMOVE_DISK, "device.removed" },
    { VMMS_WORKER_CHANGE_MEDIUM, "device.media_changed" },
};

static const char *event_of(enum vmms_worker_verb verb)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(events); i++) {
        if (events[i].verb == verb)
            return events[i].event;
    }
    return "device.added";
}

/* `after` becomes the VM's devices; the operation ends when that is stored. */
static struct vmms_pending *commit_devices(struct vmms_core *core, struct vmms_vm *vm,
                                           struct vmms_row *after)
{
    struct vmms_change *change = vmms_change_new(core, vm);
    struct vmms_pending *pending;

    vmms_devices_fini(&change->row);
    change->row.devices = HV_TAKE_PTR(after->devices);
    change->row.n_devices = after->n_devices;
    after->n_devices = 0;
    change->has_devices = true;
    vmms_change_event(core, change, event_of(vm->op_verb), vmms_op_actor(vm),
                      vmms_device_data(&vm->op_device, NULL));
    vmms_key_ride(core, change, vmms_op_first(vm), true, vm->row.id, vm->op_device.id);
    pending = vmms_commit(core, vm, change, NULL);
    pending->then = vmms_op_done;
    return pending;
}

static void ask_worker(struct vmms_core *core, struct vmms_vm *vm)
{
    struct vmms_effect *effect = vmms_emit_worker(core, VMMS_EFFECT_ASK_WORKER, vm);

    effect->verb = vm->op_verb;
    hv_assert(api_device_copy(&vm->op_device, &effect->device) == 0);
}

/* device: as it will be, or was; copied. */
static void change_devices(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                           enum vmms_worker_verb verb, const struct api_device *device,
                           struct vmms_row *after)
{
    vmms_begin_op(vm, VMMS_OP_DEVICE, call);
    vm->op_verb = verb;
    hv_assert(api_device_copy(device, &vm->op_device) == 0);
    if (is_off(vm) || core->tx) /* a transaction tries it first */
        (void)commit_devices(core, vm, after);
    else
        ask_worker(core, vm);
}

static void devices_after(const struct vmms_vm *vm, struct vmms_row *ret)
{
    struct api_device copy;

    hv_assert(vmms_devices_copy(&vm->row, ret) == 0);
    vmms_devices_remove(ret, vm->op_device.id);
    if (vm->op_verb == VMMS_WORKER_REMOVE_DISK)
        return;
    hv_assert(api_device_copy(&vm->op_device, &copy) == 0);
    vmms_devices_insert(ret, &copy);
}

/* The guest has it now, or has it no more, whether that can be stored or not. */
void vmms_device_done(struct vmms_core *core, struct vmms_vm *vm)
{
    struct vmms_row after = { 0 };

    devices_after(vm, &after);
    commit_devices(core, vm, &after)->is_fact = true;
}

/* It was taken back before, by a life of the service that could not store it any more. */
static bool is_so_already(const struct vmms_vm *vm, const struct api_error *error)
{
    const struct vmms_call *call = HV_LIST_ENTRY(vm->op_calls.next, struct vmms_call, node);
    const struct api_device *device = &vm->op_device, *other;

    if (hv_list_is_empty(&vm->op_calls) || !call->taken_back)
        return false;
    if (vm->op_verb == VMMS_WORKER_REMOVE_DISK)
        return error->code == API_E_NOT_FOUND;
    other = vmms_devices_at(&vm->row, device->controller, device->lun);
    return vm->op_verb == VMMS_WORKER_ADD_DISK && error->code == API_E_ALREADY_EXISTS &&
           (!other || strcmp(other->id, device->id) == 0);
}

void vmms_device_failed(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error)
{
    struct vmms_change *change;

    if (is_so_already(vm, error)) {
        api_error_free(error);
        vmms_device_done(core, vm);
        return;
    }
    change = vmms_change_new(core, vm);
    vmms_change_event(core, change, "device.hotplug_failed", vmms_op_actor(vm),
                      vmms_device_data(&vm->op_device, error->message));
    api_error_free(vm->op_error);
    vm->op_error = error;
    vmms_commit_fact(core, vm, change, vmms_op_end);
}

bool vmms_wait_for_image(struct vmms_core *core, const struct vmms_row *others,
                         const struct api_device *device, struct vmms_call *call)
{
    struct vmms_effect *effect = NULL;

    if (call->are_files_checked || !device->path)
        return false;
    vmms_files_add_known(core, &effect, others);
    vmms_files_add_image(core, &effect, "settings.path", device);
    return vmms_files_wait(core, effect, call);
}

void vmms_add_device(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    const struct api_vm_add_device_args *args = &call->request.args.vm_add_device;
    struct vmms_row after = { 0 };
    struct api_error *error = NULL;
    struct api_device *device = NULL;

    if (!may_change(core, vm, call) ||
        (args->stage && !is_off(vm) && vmms_stage_addition(core, vm, call)))
        return;
    hv_assert(vmms_devices_copy(&vm->row, &after) == 0);
    if (args->settings.kind == API_DEVICE_KIND_SCSI && !is_off(vm))
        error = off_only(vm);
    else
        device = vmms_place_device(core, &after, &args->settings, "settings", is_off(vm), &error);
    if (device && *call->device_id)
        api_error_set_text(&device->id, call->device_id);
    if (!device)
        vmms_reply_error(core, call, error);
    else if (vmms_wait_for_image(core, &vm->row, device, call))
        ;
    else if (args->plan)
        reply_plan(core, vm, call, device, "add", &after);
    else
        change_devices(core, vm, call, VMMS_WORKER_ADD_DISK, device, &after);
    vmms_devices_fini(&after);
}

static struct api_device *find_device(struct vmms_core *core, const struct vmms_vm *vm,
                                      struct vmms_call *call, const char *ref)
{
    struct api_device *device = vmms_devices_named(&vm->row, ref);
    struct api_error *error = NULL;

    if (device)
        return device;
    api_error_set(&error, API_E_NOT_FOUND, "vm.device.not_found", "device",
                  "VM %s has no device \"%.64s\".", vmms_vm_name(vm), ref);
    api_error_hint(error, "Devices are named by id or as CONTROLLER:LUN; vm.get lists them.");
    vmms_reply_error(core, call, error);
    return NULL;
}

static int check_medium(const struct vmms_row *others, const struct api_device *device,
                        const char *path, struct api_error **reterr)
{
    if (device->kind != API_DEVICE_KIND_DVD)
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "vm.device.no_medium", "device",
                             "Only a DVD drive's medium can be changed; this is %s.",
                             device->kind == API_DEVICE_KIND_DISK ? "a disk" : "a controller");
    return *path ? vmms_check_medium(others, path, reterr) : 0;
}

/* The drive with the other medium, as a copy. */
static void drive_with(const struct api_device *device, const char *path, struct api_device *ret)
{
    hv_assert(api_device_copy(device, ret) == 0);
    free(ret->path);
    ret->path = *path ? strdup(path) : NULL;
    hv_assert(!*path || ret->path);
    ret->has &= ~(API_DEVICE_HAS_PATH | API_DEVICE_HAS_FORMAT);
    if (*path)
        ret->has |= API_DEVICE_HAS_FORMAT;
    ret->format = API_IMAGE_FORMAT_RAW;
}

static void change_medium(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                          struct vmms_row *others, struct api_device *drive)
{
    struct api_device copy;

    if (vmms_wait_for_image(core, others, drive, call))
        return;
    hv_assert(api_device_copy(drive, &copy) == 0);
    vmms_devices_insert(others, &copy);
    if (call->request.args.vm_modify_device.plan) {
        reply_plan(core, vm, call, drive, drive->path ? "put into" : "empty", others);
        return;
    }
    change_devices(core, vm, call, VMMS_WORKER_CHANGE_MEDIUM, drive, others);
}

void vmms_modify_device(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    const struct api_vm_modify_device_args *args = &call->request.args.vm_modify_device;
    const char *path = args->settings.path;
    const struct api_device *device;
    struct api_device drive = { 0 };
    struct vmms_row others = { 0 };
    struct api_error *error = NULL;

    if (!may_change(core, vm, call))
        return;
    device = find_device(core, vm, call, args->device);
    if (!device)
        return;
    hv_assert(vmms_devices_copy(&vm->row, &others) == 0);
    vmms_devices_remove(&others, device->id);
    if (check_medium(&others, device, path, &error) < 0) {
        vmms_reply_error(core, call, error);
    } else if (strcmp(device->path ? device->path : "", path) == 0) {
        vmms_reply_changed(core, call, vm, true, 0);
    } else {
        drive_with(device, path, &drive);
        change_medium(core, vm, call, &others, &drive);
    }
    api_device_fini(&drive);
    vmms_devices_fini(&others);
}

static struct api_error *check_removal(const struct vmms_vm *vm, const struct api_device *device)
{
    struct api_error *error = NULL;

    if (device->kind != API_DEVICE_KIND_SCSI)
        return NULL;
    if (!is_off(vm))
        return off_only(vm);
    for (size_t i = 0; i < vm->row.n_devices; i++) {
        const struct api_device *other = &vm->row.devices[i];

        if (other->kind == API_DEVICE_KIND_SCSI || other->controller != device->controller)
            continue;
        api_error_set(&error, API_E_IN_USE, "vm.device.controller_used", "device",
                      "SCSI controller %u has devices; remove them first.", device->controller);
        return error;
    }
    return NULL;
}

void vmms_remove_device(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    const struct api_vm_remove_device_args *args = &call->request.args.vm_remove_device;
    struct vmms_row after = { 0 };
    const struct api_device *device;
    struct api_error *error;

    if (!may_change(core, vm, call) ||
        (args->stage && !is_off(vm) && vmms_stage_removal(core, vm, call)))
        return;
    device = find_device(core, vm, call, args->device);
    if (!device)
        return;
    error = check_removal(vm, device);
    if (error) {
        vmms_reply_error(core, call, error);
    } else {
        hv_assert(vmms_devices_copy(&vm->row, &after) == 0);
        vmms_devices_remove(&after, device->id);
        if (args->plan)
            reply_plan(core, vm, call, device, "remove", &after);
        else
            change_devices(core, vm, call, VMMS_WORKER_REMOVE_DISK, device, &after);
        vmms_devices_fini(&after);
    }
}

/* Taken back */

bool vmms_is_taken_back(const struct vmms_row *row, const struct api_job_step *step)
{
    bool was_there = step->has & API_JOB_STEP_HAS_BEFORE;
    const struct api_device *wanted = was_there ? &step->before : &step->after;
    const struct api_device *device = vmms_devices_find(row, wanted->id);

    if (!was_there || !device)
        return was_there == (device != NULL);
    return strcmp(device->path ? device->path : "", wanted->path ? wanted->path : "") == 0;
}

static enum vmms_worker_verb verb_back(const struct api_job_step *step)
{
    if (!(step->has & API_JOB_STEP_HAS_BEFORE))
        return VMMS_WORKER_REMOVE_DISK;
    return step->has & API_JOB_STEP_HAS_AFTER ? VMMS_WORKER_CHANGE_MEDIUM : VMMS_WORKER_ADD_DISK;
}

void vmms_take_back_device(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    const struct api_job_step *step = call->taken_back;
    struct vmms_row after = { 0 };

    if (is_off(vm) && vmms_is_taken_back(&vm->row, step)) {
        vmms_reply_changed(core, call, vm, true, 0);
        return;
    }
    if (!vmms_verb_is_allowed(call->request.method, vm->row.state)) {
        vmms_refuse_state(core, vm, call, NULL);
        return;
    }
    if (vm->op != VMMS_OP_NONE) { /* it waits for that, however many do */
        hv_list_append(&vm->queued, &call->node);
        return;
    }
    vmms_begin_op(vm, VMMS_OP_DEVICE, call);
    vm->op_verb = verb_back(step);
    hv_assert(api_device_copy(step->has & API_JOB_STEP_HAS_BEFORE ? &step->before : &step->after,
                              &vm->op_device) == 0);
    if (!is_off(vm)) {
        ask_worker(core, vm);
        return;
    }
    devices_after(vm, &after);
    (void)commit_devices(core, vm, &after);
    vmms_devices_fini(&after);
}
