/* SPDX-License-Identifier: Apache-2.0 */
/* VMs whose storage is full or fails: their workers hold the guest's requests and stand paused
 * until it is good again; after a time the VM is turned off. Management model, sections 3 and 3.1.
 */
#include "vmmsd/core/core_priv.h"

#include "api/rpc/writer.h"
#include "hvcore/base/clock.h"

#include <string.h>

static char *reason_data(const char *reason)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "reason");
    json_put_string(&out, reason);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

void vmms_critical_forget(struct vmms_core *core, struct vmms_vm *vm)
{
    core->n_critical -= vm->critical_reason != NULL;
    free(vm->critical_reason);
    vm->critical_reason = NULL;
    vm->is_storage_given_up = false;
}

static void enter(struct vmms_core *core, struct vmms_vm *vm, const struct vmms_fact *fact)
{
    uint64_t now = core->env.monotonic_ns(core->env.opaque);
    uint64_t age_ns = fact->age_ms < now / HV_NS_PER_MS ? fact->age_ms * HV_NS_PER_MS : now;

    vm->critical_reason = strdup(fact->message ? fact->message : "Its storage fails.");
    hv_assert(vm->critical_reason);
    vm->critical_ns = now - age_ns;
    core->n_critical++;
}

/* Beyond its budget of signals a worker's word is taken, and no event is made of it. */
void vmms_storage_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact)
{
    const char *type = fact->is_critical ? "vm.critical_entered" : "vm.critical_cleared";
    hv_autofree char *data = NULL;
    struct vmms_change *change;

    if (fact->is_critical == (vm->critical_reason != NULL) || !vmms_has_worker(vm->row.state))
        return;
    if (fact->is_critical)
        enter(core, vm, fact);
    data = reason_data(vm->critical_reason);
    if (!fact->is_critical)
        vmms_critical_forget(core, vm);
    if (fact->is_quiet)
        return;
    change = vmms_change_new(core, vm);
    vmms_change_event(core, change, type, "worker", HV_TAKE_PTR(data));
    vmms_commit_fact(core, vm, change, NULL);
}

static void give_up(struct vmms_core *core, struct vmms_vm *vm)
{
    vm->is_storage_given_up = true;
    vmms_note(core, vm, vm->row.mark, "vm.critical_given_up", reason_data(vm->critical_reason));
    vmms_own_verb(core, vm, VMMS_OWN_CRITICAL_OFF, API_METHOD_VM_TURN_OFF);
}

void vmms_critical_tick(struct vmms_core *core, uint64_t now)
{
    for (size_t i = 0; core->n_critical && i < core->by_id.count; i++) {
        struct vmms_vm *vm = core->by_id.vms[i];
        uint64_t timeout_s = vmms_number_setting(vm, "auto.critical_timeout") * 60;

        if (vm->critical_reason && !vm->is_storage_given_up &&
            now >= vm->critical_ns + timeout_s * HV_NS_PER_SEC)
            give_up(core, vm);
    }
}

void vmms_refuse_critical(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_STORAGE_CRITICAL, "vm.storage.critical", NULL,
                  "VM %s waits for better storage. %s", vmms_vm_name(vm), vm->critical_reason);
    api_error_hint(error, "It runs on by itself when that is cured; it can be turned off.");
    vmms_reply_error(core, call, error);
}
