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

static void reply_plan(struct vmms_core *core, struct vmms_call *call)
{
    static const char *const steps[] = { "copy the file into the guest" };
    struct api_job_changed *changed = &vmms_reply(core, call)->result.job_changed;

    changed->has |= API_JOB_CHANGED_HAS_PLAN;
    changed->plan.verdict = strdup("ok");
    changed->plan.steps = calloc(HV_ARRAY_SIZE(steps), sizeof(char *));
    hv_assert(changed->plan.verdict && changed->plan.steps);
    changed->plan.steps[changed->plan.n_steps++] = strdup(steps[0]);
    hv_assert(changed->plan.steps[0]);
}

bool vmms_copy_may_begin(struct vmms_core *core, struct vmms_call *call)
{
    const struct vmms_vm *vm = vmms_look_up(core, call->request.args.guest_copy_files.vm);

    hv_assert(vm);
    if (!vmms_is_guest_there(core, vm, call) || !vmms_check_generation(core, vm, call))
        return false;
    if (!call->request.args.guest_copy_files.plan)
        return true;
    reply_plan(core, call);
    return false;
}
