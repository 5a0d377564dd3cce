/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines of calls that make no job. What waits ends with its deadline, and nothing of it was
 * done; a start is taken back; what a worker was asked cannot be, and goes on. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "hvcore/base/clock.h"

#include <inttypes.h>

void vmms_deadline_begin(struct vmms_core *core, struct vmms_call *call)
{
    const struct api_method_info *method = &api_methods[call->request.method];
    uint64_t within_ms = method->is_job ? 0 : vmms_argument_number(&call->request, "deadline_ms");

    if (!within_ms)
        return;
    call->due_ns = core->env.monotonic_ns(core->env.opaque) + within_ms * HV_NS_PER_MS;
    hv_list_append(&core->due, &call->due);
}

static struct api_error *timeout(const struct vmms_call *call, const char *rest)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_TIMEOUT, "call.deadline", "deadline_ms",
                  "The deadline of this call, %" PRIu64 " ms after it came, passed %s",
                  vmms_argument_number(&call->request, "deadline_ms"), rest);
    return error;
}

static bool has_passed(const struct vmms_core *core, const struct vmms_call *call)
{
    return call->due_ns && core->env.monotonic_ns(core->env.opaque) >= call->due_ns;
}

static void refuse(struct vmms_core *core, struct vmms_call *call)
{
    struct api_error *error = timeout(call, "before its turn came; nothing was done.");

    api_error_hint(error, "Call again, with a later deadline or none.");
    vmms_reply_error(core, call, error);
}

bool vmms_is_overdue(struct vmms_core *core, struct vmms_call *call)
{
    if (!has_passed(core, call))
        return false;
    refuse(core, call);
    return true;
}

static bool is_in(const struct hv_list *list, const struct vmms_call *call)
{
    for (const struct hv_list *node = list->next; node != list; node = node->next) {
        if (node == &call->node)
            return true;
    }
    return false;
}

/* The VM whose operation it waits for, or NULL. */
static struct vmms_vm *vm_of(const struct vmms_core *core, const struct vmms_call *call)
{
    for (size_t i = 0; i < core->by_id.count; i++) {
        if (core->by_id.vms[i]->op != VMMS_OP_NONE && is_in(&core->by_id.vms[i]->op_calls, call))
            return core->by_id.vms[i];
    }
    return NULL;
}

static bool have_all_passed(const struct vmms_core *core, const struct hv_list *calls)
{
    for (const struct hv_list *node = calls->next; node != calls; node = node->next) {
        if (!has_passed(core, HV_LIST_ENTRY(node, struct vmms_call, node)))
            return false;
    }
    return true;
}

static void let_go_on(struct vmms_core *core, struct vmms_call *call, const char *what)
{
    struct api_error *error = timeout(call, what);

    api_error_hint(error, "Look later how it ended.");
    vmms_key_goes_on(call);
    hv_list_remove(&call->node);
    vmms_reply_error(core, call, error);
}

/* Returns true when the call is answered. */
static bool end_op(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    bool is_last = have_all_passed(core, &vm->op_calls);

    if (vm->pending || (call->key && call->key->change))
        return false; /* what is on its way to the store is waited for */
    if (vm->op == VMMS_OP_START && is_last) {
        if (vm->is_kill_sent)
            return false;
        api_error_free(vm->gone_error);
        vm->gone_error = timeout(call, "before the VM ran; its start was taken back.");
        vm->is_start_late = true;
        vmms_kill_worker(core, vm);
        return false;
    }
    if ((vm->op == VMMS_OP_SHUT_DOWN || vm->op == VMMS_OP_REBOOT) && is_last) {
        vmms_key_goes_on(call);
        vmms_op_fail(core, vm, timeout(call, "; the guest was asked, and may still do it."));
        vmms_vm_pump(core, vm);
        return true;
    }
    let_go_on(core, call, "while its work was under way; that goes on.");
    return true;
}

/* Returns true when it is answered, which may have answered others, too. */
static bool end(struct vmms_core *core, struct vmms_call *call)
{
    struct vmms_vm *vm = vm_of(core, call);

    if (vm)
        return end_op(core, vm, call);
    if (hv_list_is_empty(&call->node))
        return false; /* with the store, which knows of the deadline */
    if (is_in(&core->stop_calls, call)) {
        let_go_on(core, call, "while VMs were being stopped; that goes on.");
        return true;
    }
    hv_list_remove(&call->node);
    refuse(core, call);
    return true;
}

static bool end_one(struct vmms_core *core)
{
    HV_LIST_FOREACH (node, &core->due) {
        struct vmms_call *call = HV_LIST_ENTRY(node, struct vmms_call, due);

        if (has_passed(core, call) && end(core, call))
            return true;
    }
    return false;
}

void vmms_deadline_tick(struct vmms_core *core)
{
    while (end_one(core))
        ;
}
