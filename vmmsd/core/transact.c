/* SPDX-License-Identifier: Apache-2.0 */
/* A transaction is tried on the model first: each call sees what those before it would have
 * changed. Then all is taken back, and what was captured goes to the store as one change. Nothing
 * of it is seen by anybody before it is stored. */
#include "vmmsd/core/tx_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>

struct vmms_tx *vmms_tx_free(struct vmms_tx *tx)
{
    if (!tx)
        return NULL;
    hv_list_remove(&tx->node);
    vmms_call_free(tx->call);
    vmms_change_free(tx->first);
    for (size_t i = 0; i < tx->n_vms; i++) {
        vmms_row_fini(&tx->vms[i].before);
        vmms_row_fini(&tx->vms[i].after);
    }
    for (size_t i = tx->next_power; i < tx->n_powers; i++)
        api_request_fini(&tx->powers[i].request);
    for (size_t i = 0; i < tx->n_results; i++)
        api_tx_result_fini(&tx->results[i]);
    vmms_effect_free(tx->files);
    api_error_free(tx->error);
    free(tx);
    return NULL;
}

struct api_error *vmms_tx_error(size_t index, const char *method, const struct api_error *cause)
{
    struct api_error *error = NULL;
    struct json_writer out = { 0 };

    api_error_set(&error, API_E_TRANSACTION_ABORTED, "tx.aborted", "ops",
                  "Nothing was done: call %zu%s%s%s failed: %s", index, method ? " (" : "",
                  method ? method : "", method ? ")" : "", cause ? cause->message : "no memory.");
    if (!error || !cause)
        return error;
    error->data.has |= API_ERROR_DATA_HAS_INDEX;
    error->data.index = (uint32_t)index;
    api_error_write(cause, &out);
    hv_assert(json_writer_take(&out, &error->data.cause, NULL) == 0);
    if (cause->data.hint)
        api_error_set_text(&error->data.hint, cause->data.hint);
    return error;
}

/* Capturing */

static struct vmms_tx_vm *touched(struct vmms_tx *tx, struct vmms_vm *vm)
{
    struct vmms_tx_vm *entry;

    for (size_t i = 0; i < tx->n_vms; i++) {
        if (tx->vms[i].vm == vm)
            return &tx->vms[i];
    }
    entry = &tx->vms[tx->n_vms++];
    entry->vm = vm;
    entry->is_new = vm->is_new;
    if (!vm->is_new)
        hv_assert(vmms_row_copy(&vm->row, &entry->before) == 0);
    return entry;
}

struct vmms_pending *vmms_tx_capture(struct vmms_core *core, struct vmms_vm *vm,
                                     struct vmms_change *change, struct vmms_call *call)
{
    struct vmms_tx *tx = core->tx;
    struct vmms_tx_vm *entry = touched(tx, vm);
    struct vmms_row row;

    hv_assert(vmms_row_copy(&change->row, &row) == 0);
    vmms_apply_row(core, vm, &row);
    if (change->kind == VMMS_ROW_DELETE) {
        entry->is_deleted = true;
        vm->is_new = true; /* nobody finds it any more */
    }
    if (tx->last)
        tx->last->next = change;
    else
        tx->first = change;
    tx->last = change;
    vmms_call_free(call);
    tx->scratch = (struct vmms_pending){ 0 };
    return &tx->scratch;
}

void vmms_tx_note_files(struct vmms_core *core, struct vmms_effect *effect)
{
    struct vmms_tx *tx = core->tx;
    struct vmms_call *call = tx->call;
    struct vmms_effect *all = tx->files;

    hv_list_remove(&effect->node);
    call->file_ops =
        reallocarray(call->file_ops, call->n_file_ops + effect->n_files, sizeof(size_t));
    hv_assert(call->file_ops);
    for (size_t i = 0; i < effect->n_files; i++)
        call->file_ops[call->n_file_ops++] = tx->index;
    if (!all) {
        tx->files = effect;
        return;
    }
    all->files = reallocarray(all->files, all->n_files + effect->n_files, sizeof(*all->files));
    hv_assert(all->files);
    memcpy(all->files + all->n_files, effect->files, effect->n_files * sizeof(*all->files));
    all->n_files += effect->n_files;
    effect->n_files = 0;
    vmms_effect_free(effect);
}

/* Trying */

/* The answer that a call of the transaction was given at once, or NULL. */
static struct vmms_effect *take_answer(struct vmms_core *core)
{
    HV_LIST_FOREACH (node, &core->effects) {
        struct vmms_effect *effect = HV_LIST_ENTRY(node, struct vmms_effect, node);

        if (effect->kind != VMMS_EFFECT_REPLY || effect->call != VMMS_TX_CALL)
            continue;
        hv_list_remove(node);
        return effect;
    }
    return NULL;
}

static struct vmms_call *new_call(const struct vmms_tx *tx, struct api_request *request)
{
    struct vmms_call *call = calloc(1, sizeof(*call));

    hv_assert(call);
    hv_list_init(&call->node);
    call->id = VMMS_TX_CALL;
    call->request = *request;
    *request = (struct api_request){ 0 };
    call->actor = strdup(tx->call->actor);
    hv_assert(call->actor);
    call->are_files_checked = tx->call->are_files_checked;
    return call;
}

static void note_result(struct vmms_tx *tx, enum api_method method, const struct vmms_vm *vm,
                        const char *device, bool already)
{
    struct api_tx_result *result = &tx->results[tx->n_results++];

    result->method = strdup(api_methods[method].name);
    result->vm = vm ? strdup(vm->row.id) : NULL;
    result->device = device ? strdup(device) : NULL;
    result->already = already;
    hv_assert(result->method && (!vm || result->vm) && (!device || result->device));
}

/* A device was changed: what the call left behind at the VM. */
static void end_device_op(struct vmms_vm *vm)
{
    vm->op = VMMS_OP_NONE;
    api_device_fini(&vm->op_device);
    HV_LIST_FOREACH (node, &vm->op_calls)
        vmms_call_free(HV_LIST_ENTRY(node, struct vmms_call, node));
}

static struct vmms_vm *last_touched(const struct vmms_tx *tx, const struct vmms_change *before)
{
    if (tx->last == before)
        return NULL;
    for (size_t i = 0; i < tx->n_vms; i++) {
        if (strcmp(tx->vms[i].vm->row.id, tx->last->row.id) == 0)
            return tx->vms[i].vm;
    }
    return NULL;
}

static void try_configuring(struct vmms_core *core, struct vmms_tx *tx, struct vmms_vm *vm,
                            struct api_request *request)
{
    const struct vmms_change *before = tx->last;
    enum vmms_op op = vm ? vm->op : VMMS_OP_NONE;
    enum api_method method = request->method;
    struct vmms_call *call = new_call(tx, request);
    hv_autofree char *device = NULL;
    struct vmms_effect *answer;

    if (method == API_METHOD_VM_CREATE)
        vmms_create(core, call);
    else
        vmms_handle_vm_call(core, vm, call);
    answer = take_answer(core);
    if (answer && answer->error) {
        tx->error = HV_TAKE_PTR(answer->error);
    } else {
        vm = vm ? vm : last_touched(tx, before);
        if (vm && vm->op != op) {
            device = strdup(vm->op_device.id);
            end_device_op(vm);
        }
        note_result(tx, method, vm, device, answer != NULL);
    }
    vmms_effect_free(answer);
}

static bool is_first_power(const struct vmms_core *core, const struct vmms_tx *tx,
                           const struct vmms_vm *vm)
{
    for (size_t i = 0; i < tx->n_powers; i++) {
        if (vmms_look_up(core, vmms_tx_vm_ref(&tx->powers[i].request)) == vm)
            return false;
    }
    return true;
}

/* Would it go well now? The second of a VM depends on how the first ends, and is not asked for. */
static struct api_error *foresee(struct vmms_core *core, struct vmms_tx *tx, struct vmms_vm *vm,
                                 const struct api_request *request)
{
    struct api_request copy = { .method = request->method };
    const struct api_field *field =
        api_record_find(api_methods[request->method].args, "plan", NULL);
    struct api_error *error = NULL;
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct api_plan *plan;
    struct vmms_effect *answer;
    struct json_fault fault;
    bool yes = true;

    hv_assert(api_record_copy(api_methods[request->method].args, &request->args, &copy.args) == 0);
    memcpy((char *)&copy.args + field->offset, &yes, sizeof(yes));
    vmms_handle_vm_call(core, vm, new_call(tx, &copy));
    answer = take_answer(core);
    hv_assert(answer);
    plan = api_methods[request->method].is_job ? &answer->result.job_changed.plan
                                               : &answer->result.changed.plan;
    if (answer->error)
        error = HV_TAKE_PTR(answer->error);
    else if (plan->n_errors && json_parse(plan->errors[0], strlen(plan->errors[0]),
                                          &json_limits_reply, &doc, &fault) == 0)
        (void)api_error_read(json_doc_root(doc), &error);
    vmms_effect_free(answer);
    return error;
}

static void try_power(struct vmms_core *core, struct vmms_tx *tx, struct vmms_vm *vm,
                      struct api_request *request)
{
    if (is_first_power(core, tx, vm))
        tx->error = foresee(core, tx, vm, request);
    if (tx->error)
        return;
    note_result(tx, request->method, vm, NULL, false);
    tx->powers[tx->n_powers++] = (struct vmms_tx_power){ .index = tx->index, .request = *request };
    *request = (struct api_request){ 0 };
}

static void try_op(struct vmms_core *core, struct vmms_tx *tx, const struct json_value *op)
{
    struct api_request request = { 0 };
    struct vmms_vm *vm = NULL;

    if (vmms_tx_read_op(tx, op, &request, &tx->error) < 0) {
        if (!tx->error)
            api_error_set(&tx->error, API_E_OUT_OF_MEMORY, "host.memory", NULL,
                          "The service is short of memory; try again.");
        return;
    }
    if (request.method != API_METHOD_VM_CREATE)
        vm = vmms_find_vm(core, vmms_tx_vm_ref(&request), &tx->error);
    if (request.method == API_METHOD_VM_DELETE && core->groups.change)
        tx->waits_for_groups = true;
    else if (vm && vm->pending)
        tx->busy = vm;
    else if (!tx->error && vmms_tx_kind(request.method) == VMMS_TX_POWERS)
        try_power(core, tx, vm, &request);
    else if (!tx->error)
        try_configuring(core, tx, vm, &request);
    api_request_fini(&request);
}

/* The model as it was. What the VMs would have become is kept where it is to be stored. */
static void take_back(struct vmms_core *core, struct vmms_tx *tx, bool keep)
{
    for (size_t i = tx->n_vms; i > 0; i--) {
        struct vmms_tx_vm *entry = &tx->vms[i - 1];
        struct vmms_vm *vm = entry->vm;

        if (keep)
            hv_assert(vmms_row_copy(&vm->row, &entry->after) == 0);
        if (!entry->is_new) {
            vmms_apply_row(core, vm, &entry->before);
        } else if (keep) {
            vm->is_new = true;
        } else {
            vmms_index_remove(&core->by_id, vm);
            vmms_index_remove(&core->by_name, vm);
            vmms_vm_free(vm);
        }
        if (!keep && !entry->is_new)
            vm->are_services_changed = false;
    }
    if (!keep)
        tx->n_vms = 0;
}

/* Plans */

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
    for (size_t i = 0; i < tx->n_powers; i++) {
        const struct vmms_vm *vm = vmms_look_up(core, vmms_tx_vm_ref(&tx->powers[i].request));

        if (vm && !is_touched(tx, vm))
            vmms_plan_generation(plan, vm->row.id, vm->row.generation);
    }
    vmms_plan_identify(&tx->call->request, plan);
}

static bool does_plan_hold(struct vmms_core *core, struct vmms_tx *tx)
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
        const char *right = NULL;
        bool is_told = false;

        for (size_t m = 0; m < API_METHOD_COUNT && !right; m++) {
            if (strcmp(api_methods[m].name, tx->results[i].method) == 0)
                right = api_methods[m].right;
        }
        for (size_t at = 0; right && at < plan->n_policy; at++)
            is_told = is_told || strcmp(plan->policy[at], right) == 0;
        if (right && !is_told)
            vmms_plan_text(&plan->policy, &plan->n_policy, right);
    }
}

/* Called while the model is as it would be. */
static void reply_plan(struct vmms_core *core, struct vmms_tx *tx)
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
    for (size_t i = 0; i < tx->n_results; i++) {
        if (!tx->results[i].already)
            vmms_plan_step(plan, tx->results[i].method, tx->results[i].vm);
    }
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
}

/* As a whole */

static int try_all(struct vmms_core *core, struct vmms_tx *tx, const struct json_value *ops)
{
    if (ops->type != JSON_ARRAY || !ops->count || ops->count > VMMS_TX_MAX_OPS)
        return api_error_set(&tx->error, API_E_INVALID_PARAMETER, "tx.ops", "ops",
                             "ops is an array of 1 to %d calls.", VMMS_TX_MAX_OPS);
    core->tx = tx;
    for (const struct json_value *op = ops->first;
         op && !tx->error && !tx->busy && !tx->waits_for_groups; op = op->next) {
        const struct json_value *method = json_get(op, "method");
        struct api_error *cause;

        try_op(core, tx, op);
        if (tx->error) {
            cause = HV_TAKE_PTR(tx->error);
            tx->error = vmms_tx_error(
                tx->index, method && method->type == JSON_STRING ? method->text : NULL, cause);
            api_error_free(cause);
        }
        tx->index++;
    }
    core->tx = NULL;
    return tx->error || tx->busy || tx->waits_for_groups ? -EINVAL : 0;
}

static void wait_for_files(struct vmms_core *core, struct vmms_tx *tx)
{
    struct vmms_effect *effect = HV_TAKE_PTR(tx->files);
    struct vmms_call *call = HV_TAKE_PTR(tx->call);

    effect->call = call->id;
    hv_list_append(&core->effects, &effect->node);
    hv_list_append(&core->checking, &call->node);
}

static void reply_done_already(struct vmms_core *core, struct vmms_tx *tx)
{
    struct api_transaction *done = &vmms_reply(core, HV_TAKE_PTR(tx->call))->result.transaction;

    done->already = true;
    done->results = calloc(tx->n_results, sizeof(*done->results));
    hv_assert(done->results);
    for (; done->n_results < tx->n_results; done->n_results++)
        hv_assert(api_tx_result_copy(&tx->results[done->n_results],
                                     &done->results[done->n_results]) == 0);
}

/* What becomes of a transaction that could be carried out. Taken back or on its way after it. */
static void conclude(struct vmms_core *core, struct vmms_tx *tx)
{
    bool must_look = tx->files && !tx->call->are_files_checked;
    bool is_plan = vmms_wants_plan(&tx->call->request);

    if (must_look)
        wait_for_files(core, tx);
    else if (is_plan)
        reply_plan(core, tx);
    else if (tx->call->request.args.tx_apply.plan_id && !does_plan_hold(core, tx))
        ;
    else if (!tx->first && !tx->n_powers)
        reply_done_already(core, tx);
    else {
        take_back(core, tx, true);
        vmms_tx_store(core, tx);
        return;
    }
    take_back(core, tx, false);
    vmms_tx_free(tx);
}

void vmms_transact(struct vmms_core *core, struct vmms_call *call)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct vmms_tx *tx = calloc(1, sizeof(*tx));
    struct vmms_vm *busy;

    hv_assert(tx);
    hv_list_init(&tx->node);
    tx->call = call;
    if (!call->are_files_checked)
        call->n_file_ops = 0;
    if (vmms_json_argument(call->request.args.tx_apply.ops, "ops", &doc, &tx->error) == 0 &&
        try_all(core, tx, json_doc_root(doc)) == 0) {
        conclude(core, tx);
        return;
    }
    take_back(core, tx, false);
    busy = tx->busy;
    tx->call = NULL;
    if (busy)
        hv_list_append(&busy->calls, &call->node);
    else if (!tx->waits_for_groups || !vmms_groups_wait(core, call))
        vmms_reply_error(core, call, HV_TAKE_PTR(tx->error));
    vmms_tx_free(tx);
}
