/* SPDX-License-Identifier: Apache-2.0 */
/* A transaction is tried on the model first: each call sees what those before it would have
 * changed. Then all is taken back, and what was captured goes to the store as one change. Nothing
 * of it is seen by anybody before it is stored. Calls that work on files or with a running VM's
 * worker are only tried here; they are steps of a job (saga.c), which tries the rest again when
 * they are done. */
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
    for (size_t i = 0; i < tx->n_results; i++) {
        api_request_fini(&tx->ops[i].request);
        api_job_step_fini(&tx->ops[i].record);
        api_tx_result_fini(&tx->results[i]);
    }
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

void vmms_tx_append(struct vmms_tx *tx, struct vmms_change *change)
{
    if (tx->last)
        tx->last->next = change;
    else
        tx->first = change;
    for (tx->last = change; tx->last->next;)
        tx->last = tx->last->next;
}

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
    vmms_tx_append(tx, change);
    vmms_call_free(call);
    tx->scratch = (struct vmms_pending){ 0 };
    return &tx->scratch;
}

void vmms_tx_capture_groups(struct vmms_core *core, struct vmms_change *change,
                            struct vmms_call *call)
{
    vmms_tx_append(core->tx, change);
    vmms_call_free(call);
}

/* What an earlier call makes cannot be looked at yet: that is done when it is there. */
static void leave_out_made(const struct vmms_tx *tx, struct vmms_effect *effect)
{
    size_t kept = 0;

    for (size_t i = 0; i < effect->n_files; i++) {
        struct vmms_file *file = &effect->files[i];

        if (!file->is_made && vmms_tx_makes(tx, file->path)) {
            free(file->field);
            free(file->path);
        } else {
            effect->files[kept++] = *file;
        }
    }
    effect->n_files = kept;
}

void vmms_tx_note_files(struct vmms_core *core, struct vmms_effect *effect)
{
    struct vmms_tx *tx = core->tx;
    struct vmms_call *call = tx->call;
    struct vmms_effect *all = tx->files;

    hv_list_remove(&effect->node);
    leave_out_made(tx, effect);
    if (!effect->n_files || call->are_files_checked) {
        vmms_effect_free(effect);
        return;
    }
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

struct vmms_effect *vmms_tx_take_answer(struct vmms_core *core)
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

/* What was expected when the transaction was taken on was seen to be so then: its own steps have
 * changed that since. */
static void expect_nothing(struct api_request *request)
{
    size_t index;

    if (api_record_find(api_methods[request->method].args, "expected_generation", &index))
        request->args.has &= ~(UINT64_C(1) << index);
}

struct vmms_call *vmms_tx_call(const struct vmms_tx *tx, struct api_request *request)
{
    struct vmms_call *call = calloc(1, sizeof(*call));

    hv_assert(call);
    if (tx->job)
        expect_nothing(request);
    hv_list_init(&call->node);
    call->id = VMMS_TX_CALL;
    call->request = *request;
    *request = (struct api_request){ 0 };
    call->actor = strdup(tx->call->actor);
    hv_assert(call->actor);
    call->are_files_checked = tx->call->are_files_checked;
    return call;
}

void vmms_tx_note(struct vmms_tx *tx, enum vmms_tx_kind kind, enum api_method method,
                  const struct vmms_vm *vm, const char *device, const char *path)
{
    const char *name = api_methods[method].name, *id = vm ? vm->row.id : NULL;
    struct vmms_tx_op *op = &tx->ops[tx->n_results];

    *op = (struct vmms_tx_op){ .kind = kind };
    op->record.method = vmms_text_copy(name);
    op->record.vm = vmms_text_copy(id);
    op->record.path = vmms_text_copy(path);
    tx->results[tx->n_results++] = (struct api_tx_result){ .method = vmms_text_copy(name),
                                                           .vm = vmms_text_copy(id),
                                                           .device = vmms_text_copy(device),
                                                           .path = vmms_text_copy(path) };
    tx->n_works += kind == VMMS_TX_WORKS;
    tx->n_last += kind == VMMS_TX_LAST;
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
    struct vmms_change *before = tx->last;
    enum vmms_op op = vm ? vm->op : VMMS_OP_NONE;
    enum api_method method = request->method;
    bool is_up = vm && vmms_has_worker(vm->row.state);
    struct api_request copy = { .method = method };
    struct vmms_row row = { 0 };
    hv_autofree char *device = NULL;
    struct vmms_effect *answer;
    struct vmms_call *call;

    if (is_up) {
        hv_assert(vmms_row_copy(&vm->row, &row) == 0);
        hv_assert(api_record_copy(api_methods[method].args, &request->args, &copy.args) == 0);
    }
    call = vmms_tx_call(tx, request);

    if (method == API_METHOD_VM_CREATE)
        vmms_create(core, call);
    else
        vmms_handle_vm_call(core, vm, call);
    answer = vmms_tx_take_answer(core);
    if (answer && answer->error) {
        tx->error = HV_TAKE_PTR(answer->error);
    } else {
        vm = vm ? vm : last_touched(tx, before);
        if (vm && vm->op != op) {
            device = strdup(vm->op_device.id);
            end_device_op(vm);
        }
        if (device && is_up)
            vmms_tx_try_hot(core, tx, vm, &row, before, &copy);
        else
            vmms_tx_note(tx, VMMS_TX_CONFIGURES, method, vm, device, NULL);
        tx->results[tx->n_results - 1].already = answer != NULL;
    }
    vmms_effect_free(answer);
    api_request_fini(&copy);
    vmms_row_fini(&row);
}

static bool is_first_power(const struct vmms_core *core, const struct vmms_tx *tx,
                           const struct vmms_vm *vm)
{
    for (size_t i = 0; i < tx->n_results; i++) {
        if (tx->ops[i].kind == VMMS_TX_LAST && tx->results[i].vm &&
            strcmp(tx->results[i].vm, vm->row.id) == 0)
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
    vmms_handle_vm_call(core, vm, vmms_tx_call(tx, &copy));
    answer = vmms_tx_take_answer(core);
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
    vmms_tx_note(tx, VMMS_TX_LAST, request->method, vm, NULL, NULL);
}

/* A step of the job that was done already, or NULL. */
static const struct api_job_step *done_step(const struct vmms_tx *tx)
{
    const struct vmms_saga *saga = tx->job ? tx->job->saga : NULL;

    return saga && vmms_saga_works(&saga->steps[tx->index]) ? &saga->steps[tx->index] : NULL;
}

static void note_done(struct vmms_tx *tx)
{
    const struct api_tx_result *result = &tx->job->saga->results[tx->n_results];

    tx->ops[tx->n_results].kind = VMMS_TX_WORKS;
    hv_assert(api_tx_result_copy(result, &tx->results[tx->n_results]) == 0);
    tx->n_results++;
    tx->n_works++;
}

static void try_op(struct vmms_core *core, struct vmms_tx *tx, const struct json_value *op)
{
    const struct vmms_tx_known known = { tx->results, tx->n_results, tx->n_last > 0 };
    struct api_request request = { 0 };
    struct vmms_vm *vm = NULL;

    if (done_step(tx)) {
        note_done(tx);
        return;
    }
    if (vmms_tx_read_op(&known, op, &request, &tx->error) < 0) {
        if (!tx->error)
            api_error_set(&tx->error, API_E_OUT_OF_MEMORY, "host.memory", NULL,
                          "The service is short of memory; try again.");
        return;
    }
    if (vmms_tx_kind(request.method) == VMMS_TX_WORKS) {
        vmms_tx_try_image(core, tx, &request);
        api_request_fini(&request);
        return;
    }
    if (vmms_is_group_method(request.method)) {
        vmms_tx_try_group(core, tx, &request);
        api_request_fini(&request);
        return;
    }
    if (request.method != API_METHOD_VM_CREATE)
        vm = vmms_find_vm(core, vmms_tx_vm_ref(&request), &tx->error);
    if (request.method == API_METHOD_VM_DELETE && core->groups.change)
        tx->waits_for_groups = true;
    else if (vm && vm->pending)
        tx->busy = vm;
    else if (!tx->error && vmms_tx_kind(request.method) == VMMS_TX_LAST)
        try_power(core, tx, vm, &request);
    else if (!tx->error)
        try_configuring(core, tx, vm, &request);
    api_request_fini(&request);
}

/* The model as it was. What the VMs would have become is kept where it is to be stored. */
static void take_back(struct vmms_core *core, struct vmms_tx *tx, bool keep)
{
    vmms_groups_take_back(core, keep, tx->first ? tx->first->id : 0);
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
            tx->is_job_in_way =
                cause->code == API_E_JOB_CONFLICT && cause->data.has & API_ERROR_DATA_HAS_JOB;
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
    const struct api_tx_apply_args *args = &tx->call->request.args.tx_apply;
    bool must_look = tx->files && !tx->call->are_files_checked;
    bool is_more = tx->n_works || tx->n_last;

    if (must_look)
        wait_for_files(core, tx);
    else if (args->plan)
        vmms_tx_reply_plan(core, tx);
    else if (args->plan_id && !vmms_tx_does_plan_hold(core, tx))
        ;
    else if (!tx->job && is_more)
        vmms_saga_begin(core, tx);
    else if (!tx->job && !tx->first && !args->idempotency_key)
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
    struct vmms_tx *tx;

    if (!call->saga && vmms_job_is_repeated(core, call))
        return;
    tx = calloc(1, sizeof(*tx));
    hv_assert(tx);
    hv_list_init(&tx->node);
    tx->call = call;
    tx->job = call->saga ? vmms_job_find(core, call->saga) : NULL;
    if (!call->are_files_checked)
        call->n_file_ops = 0;
    if (vmms_json_argument(call->request.args.tx_apply.ops, "ops", &doc, &tx->error) == 0 &&
        try_all(core, tx, json_doc_root(doc)) == 0) {
        conclude(core, tx);
        return;
    }
    take_back(core, tx, false);
    tx->call = NULL;
    if (tx->busy)
        hv_list_append(&tx->busy->calls, &call->node);
    else if (!(tx->waits_for_groups && vmms_groups_wait(core, call)) &&
             !(tx->is_job_in_way && vmms_queue_on_jobs(core, call)))
        vmms_reply_error(core, call, HV_TAKE_PTR(tx->error));
    vmms_tx_free(tx);
}
