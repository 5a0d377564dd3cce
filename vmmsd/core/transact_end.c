/* SPDX-License-Identifier: Apache-2.0 */
/* A transaction on its way to the store. */
#include "vmmsd/core/tx_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>

void vmms_tx_free_all(struct vmms_core *core)
{
    HV_LIST_FOREACH (node, &core->txs)
        vmms_tx_free(HV_LIST_ENTRY(node, struct vmms_tx, node));
}

/* What is taken back must find its name free. */
bool vmms_tx_had_name(const struct vmms_core *core, const char *name, const struct vmms_vm *self)
{
    for (size_t i = 0; core->tx && i < core->tx->n_vms; i++) {
        const struct vmms_tx_vm *entry = &core->tx->vms[i];

        if (entry->vm != self && !entry->is_new && strcmp(entry->before.settings.name, name) == 0)
            return true;
    }
    return false;
}

static char *closing_data(const struct vmms_tx *tx)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "calls");
    json_put_u64(&out, tx->n_results);
    json_key(&out, "vms");
    json_begin_array(&out);
    for (size_t i = 0; i < tx->n_vms; i++)
        json_put_string(&out, tx->vms[i].after.id);
    json_end_array(&out);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* The event that closes the set. */
static void put_closing(struct vmms_core *core, struct vmms_tx *tx, const char *actor)
{
    struct vmms_change *change = calloc(1, sizeof(*change));

    hv_assert(change);
    change->kind = VMMS_ROW_NONE;
    vmms_add_event(core, change, "host.transaction_committed", actor, closing_data(tx));
    vmms_tx_append(tx, change);
}

/* The job that it is a step of, or that keeps its result for a call with the same key, is stored
 * along with it. */
static void put_job(struct vmms_core *core, struct vmms_tx *tx)
{
    bool is_new = !tx->job;
    struct vmms_change *change;

    if (is_new) {
        tx->job = vmms_job_make(core, HV_TAKE_PTR(tx->call), API_JOB_STATE_RUNNING);
        tx->job->saga = calloc(1, sizeof(*tx->job->saga));
        hv_assert(tx->job->saga);
    }
    change = vmms_job_change(core, tx->job, is_new ? VMMS_JOB_ROW_INSERT : VMMS_JOB_ROW_UPDATE);
    change->job.result = vmms_saga_write_results(tx->results, tx->n_results);
    change->job.state = tx->n_last ? API_JOB_STATE_FINISHING : API_JOB_STATE_DONE;
    if (!tx->n_last) {
        change->job.ended_ms = vmms_now_ms(core);
        hv_freep(&change->job.step);
        change->job.step = NULL;
        vmms_job_event(core, change, "job.done", is_new ? change->job.owner : "host");
    }
    if (is_new)
        change->job.started_ms = change->job.submitted_ms;
    vmms_job_pend(core, tx->job, change);
    vmms_tx_append(tx, change);
}

void vmms_tx_store(struct vmms_core *core, struct vmms_tx *tx)
{
    hv_autofree char *actor = strdup(tx->call->actor);

    hv_assert(actor);
    hv_list_append(&core->txs, &tx->node);
    if (tx->job) {
        vmms_saga_take_results(tx->job->saga, tx);
        vmms_saga_stored_steps(tx->job);
    }
    if (tx->job || tx->call->request.args.tx_apply.idempotency_key)
        put_job(core, tx);
    put_closing(core, tx, actor);
    tx->id = tx->first->id;
    for (size_t i = 0; i < tx->n_vms; i++) {
        struct vmms_pending *pending = vmms_pending_new(core, tx->vms[i].vm, tx->id);

        pending->row = tx->vms[i].after;
        tx->vms[i].after = (struct vmms_row){ 0 };
        pending->is_delete = tx->vms[i].is_deleted;
    }
    tx->event_seq = vmms_change_count_events(tx->first);
    vmms_emit(core, VMMS_EFFECT_COMMIT)->change = HV_TAKE_PTR(tx->first);
    tx->last = NULL;
}

/* Stored, or not */

static void reply_done(struct vmms_core *core, struct vmms_tx *tx)
{
    struct api_transaction *done = &vmms_reply(core, HV_TAKE_PTR(tx->call))->result.transaction;

    done->event_seq = tx->event_seq;
    done->results = calloc(tx->n_results, sizeof(*done->results));
    hv_assert(done->results);
    for (; done->n_results < tx->n_results; done->n_results++)
        hv_assert(api_tx_result_copy(&tx->results[done->n_results],
                                     &done->results[done->n_results]) == 0);
}

static struct vmms_tx *find(struct vmms_core *core, uint64_t id)
{
    HV_LIST_FOREACH (node, &core->txs) {
        struct vmms_tx *tx = HV_LIST_ENTRY(node, struct vmms_tx, node);

        if (tx->id == id)
            return tx;
    }
    return NULL;
}

static void remove_vm(struct vmms_core *core, struct vmms_vm *vm)
{
    struct vmms_effect *effect = vmms_emit(core, VMMS_EFFECT_REMOVE_FILES);

    memcpy(effect->row.id, vm->row.id, sizeof(effect->row.id));
    vmms_forget_vm(core, vm);
}

/* One VM at a time: what goes on with one may reach the others, whose turn has not come. */
static void settle_vm(struct vmms_core *core, struct vmms_vm *vm, bool is_stored, uint64_t seq)
{
    struct vmms_pending *pending = vmms_pending_take(vm);
    bool is_deleted = pending->is_delete, is_gone = vm->is_new && (!is_stored || is_deleted);

    if (is_stored && !is_deleted) {
        vmms_apply_row(core, vm, &pending->row);
        vm->last_seq = seq;
        vmms_after_configure(core, vm);
    }
    vm->are_services_changed = false;
    vmms_pending_free(pending);
    if (is_stored && is_deleted)
        remove_vm(core, vm);
    else if (is_gone)
        vmms_forget_vm(core, vm);
    else
        vmms_vm_pump(core, vm);
}

/* Who asked is told. error: taken */
static void end_stored(struct vmms_core *core, struct vmms_tx *tx, struct api_error *error)
{
    if (error)
        vmms_emit(core, VMMS_EFFECT_LOG)->text = strdup(error->message);
    if (tx->job) {
        if (!error)
            tx->job->saga->is_waiting = tx->job->saga->is_storing = false;
        vmms_job_settle(core, tx->job, tx->event_seq, error);
    } else if (error)
        vmms_reply_error(core, HV_TAKE_PTR(tx->call), error);
    else
        reply_done(core, tx);
    vmms_tx_free(tx);
}

bool vmms_tx_committed(struct vmms_core *core, uint64_t change, uint64_t first_seq,
                       struct api_error *error)
{
    struct vmms_tx *tx = find(core, change);

    if (!tx)
        return false;
    if (!error) {
        core->last_event = first_seq + tx->event_seq - 1;
        tx->event_seq = core->last_event;
    }
    for (size_t i = 0; i < tx->n_vms; i++)
        settle_vm(core, tx->vms[i].vm, !error, tx->event_seq);
    end_stored(core, tx, error);
    return true;
}
