/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that would rather wait than be told that something is in their way. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"

enum { MAX_ON_VM = 16, MAX_ON_JOBS = 64 };

static bool may_wait(const struct vmms_core *core, const struct vmms_call *call)
{
    const struct api_field *field =
        api_record_find(api_methods[call->request.method].args, "queue", NULL);

    return field && !core->tx && !vmms_wants_plan(&call->request) &&
           *(const bool *)((const char *)&call->request.args + field->offset);
}

static bool put(struct hv_list *list, size_t room, struct vmms_call *call)
{
    size_t count = 0;

    HV_LIST_FOREACH (node, list)
        count++;
    if (count >= room)
        return false;
    hv_list_append(list, &call->node);
    return true;
}

bool vmms_queue_on_vm(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    return vm->op != VMMS_OP_NONE && may_wait(core, call) && put(&vm->queued, MAX_ON_VM, call);
}

bool vmms_queue_on_jobs(struct vmms_core *core, struct vmms_call *call)
{
    return may_wait(core, call) && put(&core->queued, MAX_ON_JOBS, call);
}

void vmms_queue_release_vm(struct vmms_vm *vm)
{
    HV_LIST_FOREACH (node, &vm->queued) {
        hv_list_remove(node);
        hv_list_append(&vm->calls, node);
    }
}

void vmms_queue_release_jobs(struct vmms_core *core)
{
    struct hv_list calls;

    hv_list_init(&calls);
    HV_LIST_FOREACH (node, &core->queued) {
        hv_list_remove(node);
        hv_list_append(&calls, node);
    }
    HV_LIST_FOREACH (node, &calls) {
        hv_list_remove(node);
        vmms_handle_call(core, HV_LIST_ENTRY(node, struct vmms_call, node));
    }
}
