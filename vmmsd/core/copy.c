/* SPDX-License-Identifier: Apache-2.0 */
/* Copying a file into a guest: what makes its job unlike those that work on files alone. */
#include "vmmsd/core/core_priv.h"

#include <string.h>

bool vmms_copy_name(struct vmms_core *core, struct vmms_call *call)
{
    struct api_guest_copy_files_args *args = &call->request.args.guest_copy_files;
    struct api_error *error = NULL;
    const struct vmms_vm *vm = vmms_find_vm(core, args->vm, &error);

    if (!vm) {
        vmms_reply_error(core, call, error);
        return false;
    }
    api_error_set_text(&args->vm, vm->row.id);
    hv_assert(args->vm);
    return true;
}

bool vmms_copy_may_begin(struct vmms_core *core, struct vmms_call *call)
{
    static const char *const steps[] = { "copy the file into the guest", NULL };
    const struct vmms_vm *vm = vmms_look_up(core, call->request.args.guest_copy_files.vm);

    hv_assert(vm);
    if (!vmms_is_guest_there(core, vm, call) || !vmms_check_generation(core, vm, call))
        return false;
    if (!call->request.args.guest_copy_files.plan)
        return true;
    vmms_reply_plan(core, call, vm, steps);
    return false;
}
