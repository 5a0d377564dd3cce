/* SPDX-License-Identifier: Apache-2.0 */
/* A transaction on its way to the store, and its power verbs after it. */
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
static void put_closing(struct vmms_core *core, struct vmms_tx *tx)
{
    struct vmms_change *change = calloc(1, sizeof(*change));

    hv_assert(change);
    change->kind = VMMS_ROW_NONE;
    change->events[0] =
        (struct api_event){ .boot_id = strdup(core->boot_id ? core->boot_id : ""),
                            .time_ms = vmms_now_ms(core),
                            .monotonic_ns = core->env.monotonic_ns(core->env.opaque),
                            .type = strdup("host.transaction_committed"),
                            .actor = strdup(tx->call->actor),
                            .data = closing_data(tx) };
    change->n_events = 1;
    hv_assert(change->events[0].boot_id && change->events[0].type && change->events[0].actor);
    tx->last->next = change;
    tx->last = change;
}

static void next_power(struct vmms_core *core, struct vmms_tx *tx);

void vmms_tx_store(struct vmms_core *core, struct vmms_tx *tx)
{
    hv_list_append(&core->txs, &tx->node);
    if (!tx->first) {
        tx->id = core->next_change++;
        next_power(core, tx);
        return;
    }
    tx->id = tx->first->id;
    put_closing(core, tx);
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
    if (!error) {
        next_power(core, tx);
        return true;
    }
    vmms_emit(core, VMMS_EFFECT_LOG)->text = strdup(error->message);
    vmms_reply_error(core, HV_TAKE_PTR(tx->call), error);
    vmms_tx_free(tx);
    return true;
}

/* Power verbs */

static void reply_done(struct vmms_core *core, struct vmms_tx *tx)
{
    struct api_transaction *done = &vmms_reply(core, HV_TAKE_PTR(tx->call))->result.transaction;

    done->event_seq = tx->event_seq;
    done->results = calloc(tx->n_results, sizeof(*done->results));
    hv_assert(done->results);
    memcpy(done->results, tx->results, tx->n_results * sizeof(*done->results));
    done->n_results = tx->n_results;
    tx->n_results = 0;
    vmms_tx_free(tx);
}

static void next_power(struct vmms_core *core, struct vmms_tx *tx)
{
    struct vmms_call *call;

    if (tx->next_power == tx->n_powers) {
        reply_done(core, tx);
        return;
    }
    call = calloc(1, sizeof(*call));
    hv_assert(call);
    hv_list_init(&call->node);
    call->id = VMMS_TX_CALL | tx->id;
    call->request = tx->powers[tx->next_power++].request;
    call->actor = strdup(tx->call->actor);
    hv_assert(call->actor);
    vmms_handle_call(core, call);
}

/* The configuration is there and stays: it says so. */
static struct api_error *power_error(const struct vmms_tx *tx, struct api_error *error)
{
    size_t index = tx->powers[tx->next_power - 1].index;
    hv_autofree char *told = error->message;

    if (asprintf(&error->message, "Call %zu (%s) failed, those before it are done: %s", index,
                 tx->results[index].method, told) < 0)
        error->message = HV_TAKE_PTR(told);
    error->data.has |= API_ERROR_DATA_HAS_INDEX;
    error->data.index = (uint32_t)index;
    return error;
}

void vmms_tx_answered(struct vmms_core *core, struct vmms_effect *effect)
{
    struct vmms_tx *tx = find(core, effect->call & ~VMMS_TX_CALL);

    hv_assert(tx);
    if (effect->error) {
        vmms_reply_error(core, HV_TAKE_PTR(tx->call), power_error(tx, HV_TAKE_PTR(effect->error)));
        vmms_tx_free(tx);
    } else {
        tx->results[tx->powers[tx->next_power - 1].index].already = effect->result.changed.already;
        next_power(core, tx);
    }
    vmms_effect_free(effect);
}
