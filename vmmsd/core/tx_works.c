/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of a transaction that work on files, or with the worker of a VM that runs: what they would
 * do, and what takes it back, is found out when it is tried. */
#include "vmmsd/core/tx_priv.h"

#include "api/gen/tables.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void say(char **text, const char *format, ...) HV_PRINTF(2, 3);
static void say(char **text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    hv_assert(vasprintf(text, format, args) >= 0);
    va_end(args);
}

bool vmms_tx_makes(const struct vmms_tx *tx, const char *path)
{
    for (size_t i = 0; !tx->job && i < tx->n_results; i++) {
        if (tx->ops[i].kind == VMMS_TX_WORKS && tx->ops[i].record.path &&
            strcmp(tx->ops[i].record.path, path) == 0)
            return true;
    }
    return false;
}

/* Files */

static void add_files(struct vmms_core *core, const struct vmms_tx *tx,
                      const struct api_request *request, const char *target)
{
    static const char *const read[] = { "parent", "path" };
    bool is_convert = request->method == API_METHOD_IMAGE_CONVERT;
    struct vmms_effect *effect = NULL;

    vmms_files_add(core, &effect, is_convert ? "to" : "path", target)->is_made =
        request->method != API_METHOD_IMAGE_RESIZE;
    for (size_t i = 0; i < (is_convert ? HV_ARRAY_SIZE(read) : 1); i++) {
        const char *path = vmms_tx_text(request, read[i]);

        if (path)
            (void)vmms_files_add(core, &effect, read[i], path);
    }
    vmms_tx_note_files(core, effect);
}

static int check_image(const struct vmms_core *core, const struct vmms_tx *tx,
                       const struct api_request *request, const char *target,
                       struct api_error **reterr)
{
    int r = vmms_job_check(core, request, tx->job ? tx->job->row.id : 0, reterr);

    if (r < 0)
        return r;
    if (request->method != API_METHOD_IMAGE_RESIZE && vmms_tx_makes(tx, target))
        return api_error_set(reterr, API_E_ALREADY_EXISTS, "image.exists", "ops",
                             "An earlier call of the transaction makes %s already.", target);
    return 0;
}

void vmms_tx_try_image(struct vmms_core *core, struct vmms_tx *tx, struct api_request *request)
{
    bool is_resize = request->method == API_METHOD_IMAGE_RESIZE;
    const char *target =
        vmms_tx_text(request, request->method == API_METHOD_IMAGE_CONVERT ? "to" : "path");
    struct vmms_tx_op *op = &tx->ops[tx->n_results];
    enum vmms_tx_kind kind = VMMS_TX_WORKS;

    if (check_image(core, tx, request, target, &tx->error) < 0)
        return;
    if (is_resize && !vmms_tx_makes(tx, target))
        kind = VMMS_TX_LAST;
    add_files(core, tx, request, target);
    vmms_tx_note(tx, kind, request->method, NULL, NULL, target);
    if (kind == VMMS_TX_LAST)
        ;
    else if (is_resize)
        say(&op->record.undo, "none is needed: %s is removed", target);
    else
        say(&op->record.undo, "remove %s", target);
    op->request = *request;
    *request = (struct api_request){ 0 };
}

/* Devices of VMs that run */

static const char *medium(const struct api_device *device)
{
    return device->path ? device->path : "nothing";
}

static void say_undo(struct api_job_step *record, const struct vmms_vm *vm)
{
    const char *name = vmms_vm_name(vm);
    bool was_there = record->has & API_JOB_STEP_HAS_BEFORE;
    bool will_be = record->has & API_JOB_STEP_HAS_AFTER;

    if (!was_there)
        say(&record->undo, "take %u:%u away from VM %s again", record->after.controller,
            record->after.lun, name);
    else if (!will_be)
        say(&record->undo, "give VM %s %s back at %u:%u", name, medium(&record->before),
            record->before.controller, record->before.lun);
    else
        say(&record->undo, "put %s back into drive %u:%u of VM %s", medium(&record->before),
            record->before.controller, record->before.lun, name);
}

static void copy_device(const struct api_device *from, struct api_job_step *record, uint64_t bit,
                        struct api_device *to)
{
    if (!from)
        return;
    hv_assert(api_device_copy(from, to) == 0);
    record->has |= bit;
}

/* The call that will be made: by ids, and with its place, since what was tried counts. */
static void pin(struct api_request *request, const struct vmms_vm *vm,
                const struct api_job_step *record)
{
    const struct api_field *field = api_record_find(api_methods[request->method].args, "vm", NULL);
    struct api_new_device *added = &request->args.vm_add_device.settings;
    char **ref = (char **)((char *)&request->args + field->offset);
    size_t index;

    api_error_set_text(ref, vm->row.id);
    if (api_record_find(api_methods[request->method].args, "expected_generation", &index))
        request->args.has &= ~(UINT64_C(1) << index);
    if (request->method == API_METHOD_VM_REMOVE_DEVICE) {
        api_error_set_text(&request->args.vm_remove_device.device, record->before.id);
    } else if (request->method == API_METHOD_VM_MODIFY_DEVICE) {
        api_error_set_text(&request->args.vm_modify_device.device, record->before.id);
    } else {
        added->has |= API_NEW_DEVICE_HAS_CONTROLLER | API_NEW_DEVICE_HAS_LUN;
        added->controller = record->after.controller;
        added->lun = record->after.lun;
    }
}

/* It is no part of what is stored with the rest. */
static void drop_last(struct vmms_tx *tx, struct vmms_change *before)
{
    struct vmms_change *dropped = tx->last;

    if (before)
        before->next = NULL;
    else
        tx->first = NULL;
    tx->last = before;
    vmms_change_free(dropped);
}

/* The id of the device that the last change is about. */
static const char *device_of(const struct vmms_row *a, const struct vmms_row *b)
{
    for (size_t i = 0; i < a->n_devices; i++) {
        const struct api_device *other = vmms_devices_find(b, a->devices[i].id);

        if (!other || strcmp(medium(other), medium(&a->devices[i])) != 0)
            return a->devices[i].id;
    }
    return NULL;
}

void vmms_tx_try_hot(struct vmms_core *core, struct vmms_tx *tx, struct vmms_vm *vm,
                     const struct vmms_row *row, struct vmms_change *before,
                     struct api_request *request)
{
    struct vmms_tx_op *op = &tx->ops[tx->n_results];
    const char *device = device_of(row, &vm->row);

    if (!device)
        device = device_of(&vm->row, row);
    hv_assert(device);
    drop_last(tx, before);
    vmms_tx_note(tx, VMMS_TX_WORKS, request->method, vm, device, NULL);
    copy_device(vmms_devices_find(row, device), &op->record, API_JOB_STEP_HAS_BEFORE,
                &op->record.before);
    copy_device(vmms_devices_find(&vm->row, device), &op->record, API_JOB_STEP_HAS_AFTER,
                &op->record.after);
    say_undo(&op->record, vm);
    pin(request, vm, &op->record);
    op->request = *request;
    *request = (struct api_request){ 0 };
}
