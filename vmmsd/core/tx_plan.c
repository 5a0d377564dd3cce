/* SPDX-License-Identifier: Apache-2.0 */
/* What a transaction would do, told while the model is as it would be. */
#include "vmmsd/core/tx_priv.h"

#include "api/gen/tables.h"

#include <string.h>

static bool is_touched(const struct vmms_tx *tx, const struct vmms_vm *vm)
{
    for (size_t i = 0; i < tx->n_vms; i++) {
        if (tx->vms[i].vm == vm)
            return true;
    }
    return false;
}

static void put_basis(const struct vmms_core *core, const struct vmms_tx *tx, struct api_plan *plan)
{
    for (size_t i = 0; i < tx->n_vms; i++) {
        const struct vmms_tx_vm *entry = &tx->vms[i];

        if (entry->is_new)
            vmms_plan_generation(plan, entry->vm->row.settings.name, 0);
        else
            vmms_plan_generation(plan, entry->before.id, entry->before.generation);
    }
    for (size_t i = 0; i < tx->n_results; i++) {
        const struct vmms_tx_op *op = &tx->ops[i];
        const struct vmms_vm *vm =
            op->kind == VMMS_TX_LAST && op->record.vm ? vmms_look_up(core, op->record.vm) : NULL;

        if (vm && !is_touched(tx, vm))
            vmms_plan_generation(plan, vm->row.id, vm->row.generation);
        if (op->record.path)
            vmms_job_generations(core, &op->request, plan);
    }
    vmms_tx_group_basis(core, plan);
    vmms_plan_identify(&tx->call->request, plan);
}

bool vmms_tx_does_plan_hold(struct vmms_core *core, struct vmms_tx *tx)
{
    HV_CLEANUP(api_plan_fini) struct api_plan now = { 0 };
    struct vmms_call *call = tx->call;

    vmms_plan_begin(core, &call->request, NULL, &now);
    put_basis(core, tx, &now);
    tx->call = NULL;
    if (!vmms_plan_holds(core, call, &now))
        return false;
    tx->call = call;
    return true;
}

static void put_rights(const struct vmms_tx *tx, struct api_plan *plan)
{
    for (size_t i = 0; i < tx->n_results; i++) {
        const char *right = api_methods[vmms_tx_method(tx->results[i].method)].right;
        bool is_told = false;

        for (size_t at = 0; at < plan->n_policy; at++)
            is_told = is_told || strcmp(plan->policy[at], right) == 0;
        if (!is_told)
            vmms_plan_text(&plan->policy, &plan->n_policy, right);
    }
}

/* In the order in which they are made, which is not that of the calls. */
static void put_steps(const struct vmms_tx *tx, enum vmms_tx_kind kind, struct api_plan *plan)
{
    for (size_t i = 0; i < tx->n_results; i++) {
        const struct api_job_step *record = &tx->ops[i].record;
        const char *group = tx->results[i].group;

        if (tx->ops[i].kind != kind || tx->results[i].already)
            continue;
        vmms_plan_step(plan, record->method,
                       record->path ? record->path
                       : group      ? group
                                    : record->vm);
        api_error_set_text(&plan->steps[plan->n_steps - 1].undo, record->undo);
    }
}

static void put_files(const struct vmms_tx *tx, struct api_plan *plan)
{
    for (size_t i = 0; i < tx->n_results; i++) {
        const char *path = tx->ops[i].record.path;
        bool is_change = path && strcmp(tx->ops[i].record.method, "image.resize") == 0;

        if (!path)
            continue;
        plan->files = reallocarray(plan->files, plan->n_files + 1, sizeof(*plan->files));
        hv_assert(plan->files);
        plan->files[plan->n_files++] =
            (struct api_plan_file){ .path = strdup(path),
                                    .change = is_change ? API_PLAN_CHANGE_CHANGED
                                                        : API_PLAN_CHANGE_CREATED };
    }
}

void vmms_tx_reply_plan(struct vmms_core *core, struct vmms_tx *tx)
{
    static const char *const no_steps[] = { NULL };
    struct api_plan basis = { 0 }, *plan;

    put_basis(core, tx, &basis);
    plan = vmms_reply_plan(core, HV_TAKE_PTR(tx->call), NULL, no_steps);
    free(plan->plan_id);
    plan->plan_id = HV_TAKE_PTR(basis.plan_id);
    plan->generations = HV_TAKE_PTR(basis.generations);
    plan->n_generations = basis.n_generations;
    basis.n_generations = 0;
    api_plan_fini(&basis);
    put_rights(tx, plan);
    put_steps(tx, VMMS_TX_WORKS, plan);
    put_steps(tx, VMMS_TX_CONFIGURES, plan);
    put_steps(tx, VMMS_TX_LAST, plan);
    put_files(tx, plan);
    if (plan->n_steps)
        api_error_set_text(&plan->verdict, "ok");
    for (size_t i = 0; i < tx->n_vms; i++) {
        const struct vmms_tx_vm *entry = &tx->vms[i];

        if (entry->is_new && entry->is_deleted)
            continue;
        vmms_plan_diff_rows(plan, entry->is_new ? NULL : &entry->before,
                            entry->is_deleted ? NULL : &entry->vm->row);
        if (!entry->is_deleted && !vmms_staged_is_empty(&entry->vm->row.staged))
            vmms_plan_diff_staged(plan, entry->vm, &entry->vm->row.staged, true);
    }
    vmms_tx_group_diff(core, plan);
}
