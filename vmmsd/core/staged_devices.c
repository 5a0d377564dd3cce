/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that come or go when their VM is off the next time: SCSI controllers, and what stands at
 * controllers that come with it. */
#include "vmmsd/core/core_priv.h"

#include <stdio.h>
#include <string.h>

/* The VM's devices as they will be, with what waits. Only the devices are its own. */
static void devices_when_off(const struct vmms_vm *vm, struct vmms_row *ret)
{
    struct vmms_row row;

    hv_assert(vmms_row_copy(&vm->row, &row) == 0);
    vmms_staged_devices_apply(&row);
    *ret = (struct vmms_row){ .devices = HV_TAKE_PTR(row.devices), .n_devices = row.n_devices };
    row.n_devices = 0;
    vmms_row_fini(&row);
}

static void put(struct api_device **list, size_t *count, const struct api_device *device)
{
    *list = reallocarray(*list, *count + 1, sizeof(**list));
    hv_assert(*list);
    hv_assert(api_device_copy(device, &(*list)[*count]) == 0);
    (*count)++;
}

/* Store what waits from now on, or tell of it. staged: taken unless it is a plan */
static void conclude(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                     struct api_pending_config *staged, const char *const *steps)
{
    struct vmms_change *change;

    if (vmms_wants_plan(&call->request)) {
        vmms_plan_diff_staged(vmms_reply_plan(core, call, vm, steps), vm, staged, true);
        return;
    }
    change = vmms_change_new(core, vm);
    vmms_staged_put(core, change, staged, call->actor);
    vmms_commit(core, vm, change, call)->replies = true;
}

/* All that `after` has and `before` has not waits as well. */
static void stage_new(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                      const struct vmms_row *before, const struct vmms_row *after)
{
    static const char *const steps[] = { "add the device when the VM is off", NULL };
    HV_CLEANUP(api_pending_config_fini) struct api_pending_config staged = { 0 };

    hv_assert(api_pending_config_copy(&vm->row.staged, &staged) == 0);
    for (size_t i = 0; i < after->n_devices; i++) {
        if (!vmms_devices_find(before, after->devices[i].id))
            put(&staged.add, &staged.n_add, &after->devices[i]);
    }
    conclude(core, vm, call, &staged, steps);
}

bool vmms_stage_addition(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    const struct api_new_device *wanted = &call->request.args.vm_add_device.settings;
    struct vmms_row before = { 0 }, after = { 0 };
    const struct api_device *device;
    struct api_error *error = NULL;
    bool is_staged = true;

    devices_when_off(vm, &before);
    hv_assert(vmms_devices_copy(&before, &after) == 0);
    device = vmms_place_device(core, &after, wanted, "settings", true, &error);
    if (!device)
        vmms_reply_error(core, call, error);
    else if (device->kind != API_DEVICE_KIND_SCSI &&
             vmms_devices_controller(&vm->row, device->controller))
        is_staged = false; /* it can be done at once */
    else if (!vmms_wait_for_image(core, &before, device, call))
        stage_new(core, vm, call, &before, &after);
    vmms_devices_fini(&before);
    vmms_devices_fini(&after);
    return is_staged;
}

static bool is_used(const struct vmms_row *row, const struct api_device *controller)
{
    for (size_t i = 0; i < row->n_devices; i++) {
        if (row->devices[i].kind != API_DEVICE_KIND_SCSI &&
            row->devices[i].controller == controller->controller)
            return true;
    }
    return false;
}

/* One that was to come does not come; any other is to go. */
static void stage_gone(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                       const struct api_device *device)
{
    static const char *const steps[] = { "remove the device when the VM is off", NULL };
    HV_CLEANUP(api_pending_config_fini) struct api_pending_config staged = { 0 };
    struct vmms_row additions;

    hv_assert(api_pending_config_copy(&vm->row.staged, &staged) == 0);
    additions = (struct vmms_row){ .devices = staged.add, .n_devices = staged.n_add };
    if (vmms_devices_find(&additions, device->id))
        vmms_devices_remove(&additions, device->id);
    else
        put(&staged.remove, &staged.n_remove, device);
    staged.n_add = additions.n_devices;
    conclude(core, vm, call, &staged, steps);
}

static struct api_error *say_used(const struct api_device *device)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_IN_USE, "vm.device.controller_used", "device",
                  "SCSI controller %u has devices; remove them first.", device->controller);
    return error;
}

bool vmms_stage_removal(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    struct vmms_row after = { 0 };
    const struct api_device *device;
    bool is_staged = false;

    devices_when_off(vm, &after);
    device = vmms_devices_named(&after, call->request.args.vm_remove_device.device);
    if (device &&
        (device->kind == API_DEVICE_KIND_SCSI || !vmms_devices_find(&vm->row, device->id))) {
        is_staged = true;
        if (device->kind == API_DEVICE_KIND_SCSI && is_used(&after, device))
            vmms_reply_error(core, call, say_used(device));
        else
            stage_gone(core, vm, call, device);
    }
    vmms_devices_fini(&after);
    return is_staged;
}
