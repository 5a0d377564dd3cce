/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "hvcore/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *key_name(const struct vmms_vm *vm)
{
    return vm->row.settings.name;
}

static const char *key_id(const struct vmms_vm *vm)
{
    return vm->row.id;
}

const char *vmms_core_vm_name(const struct vmms_core *core, const char *id)
{
    const struct vmms_vm *vm = vmms_index_find(&core->by_id, id);

    return vm ? vmms_vm_name(vm) : NULL;
}

void vmms_core_each_vm(const struct vmms_core *core, const struct vmms_scope *scope,
                       void (*each)(void *opaque, const struct vmms_row *row), void *opaque)
{
    for (size_t i = 0; i < core->by_name.count; i++) {
        if (vmms_scope_has(core, scope, core->by_name.vms[i]->row.id))
            each(opaque, &core->by_name.vms[i]->row);
    }
}

const char *vmms_core_vm_id(const struct vmms_core *core, const char *ref)
{
    const struct vmms_vm *vm = vmms_look_up(core, ref);

    return vm ? vm->row.id : NULL;
}

char *vmms_text_copy(const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    hv_assert(!text || copy);
    return copy;
}

const char *vmms_vm_name(const struct vmms_vm *vm)
{
    return vm->row.settings.name;
}

void vmms_row_fini(struct vmms_row *row)
{
    api_settings_fini(&row->settings);
    free(row->cause);
    free(row->cause_message);
    vmms_devices_fini(row);
    vmms_pairs_fini(row);
    api_pending_config_fini(&row->staged);
    *row = (struct vmms_row){ 0 };
}

int vmms_row_copy(const struct vmms_row *from, struct vmms_row *ret)
{
    *ret = *from;
    ret->cause = from->cause ? strdup(from->cause) : NULL;
    ret->cause_message = from->cause_message ? strdup(from->cause_message) : NULL;
    /* What is not copied yet is not the copy's to finish. */
    ret->settings = (struct api_settings){ 0 };
    ret->devices = NULL;
    ret->pairs = NULL;
    ret->staged = (struct api_pending_config){ 0 };
    ret->n_devices = ret->n_pairs = 0;
    if (api_settings_copy(&from->settings, &ret->settings) < 0 ||
        vmms_devices_copy(from, ret) < 0 || vmms_pairs_copy(from, ret) < 0 ||
        api_pending_config_copy(&from->staged, &ret->staged) < 0 || (from->cause && !ret->cause) ||
        (from->cause_message && !ret->cause_message)) {
        vmms_row_fini(ret);
        return -ENOMEM;
    }
    return 0;
}

uint64_t vmms_now_ms(const struct vmms_core *core)
{
    return core->env.realtime_ns(core->env.opaque) / HV_NS_PER_MS;
}

void vmms_random_guid(const struct vmms_core *core, char ret[static HV_GUID_TEXT_BYTES])
{
    struct hv_guid guid;

    core->env.random(core->env.opaque, guid.bytes, sizeof(guid.bytes));
    guid.bytes[7] = (uint8_t)((guid.bytes[7] & 0x0f) | 0x40);
    guid.bytes[8] = (uint8_t)((guid.bytes[8] & 0x3f) | 0x80);
    hv_guid_format(&guid, ret);
}

void vmms_new_id(const struct vmms_core *core, char ret[static HV_GUID_TEXT_BYTES])
{
    uint64_t ns = core->env.realtime_ns(core->env.opaque), ms = ns / HV_NS_PER_MS, chance[2];
    unsigned fraction = (unsigned)(ns % HV_NS_PER_MS * 4096 / HV_NS_PER_MS);

    core->env.random(core->env.opaque, chance, sizeof(chance));
    (void)snprintf(ret, HV_GUID_TEXT_BYTES, "%08x-%04x-7%03x-%04x-%012" PRIx64,
                   (uint32_t)(ms >> 16), (unsigned)(ms & 0xffff), fraction,
                   (unsigned)(0x8000 | (chance[0] & 0x3fff)), chance[1] >> 16);
}

int vmms_core_new(const struct vmms_env *env, struct vmms_core **ret)
{
    struct vmms_core *core = calloc(1, sizeof(*core));

    if (!core)
        return -ENOMEM;
    core->env = *env;
    core->by_name.key = key_name;
    core->by_id.key = key_id;
    hv_list_init(&core->effects);
    hv_list_init(&core->pendings);
    hv_list_init(&core->txs);
    hv_list_init(&core->queued);
    hv_list_init(&core->checking);
    hv_list_init(&core->wait_probe);
    hv_list_init(&core->held);
    hv_list_init(&core->stop_calls);
    hv_list_init(&core->due);
    vmms_keys_init(&core->keys);
    vmms_groups_init(&core->groups);
    core->next_change = 1;
    core->next_token = 1;
    *ret = core;
    return 0;
}

struct vmms_call *vmms_call_free(struct vmms_call *call)
{
    if (!call)
        return NULL;
    hv_list_remove(&call->node);
    if (call->due_ns)
        hv_list_remove(&call->due);
    api_request_fini(&call->request);
    free(call->actor);
    free(call->scope);
    free(call->file_ops);
    free(call);
    return NULL;
}

static void free_calls(struct hv_list *calls)
{
    HV_LIST_FOREACH (node, calls)
        vmms_call_free(HV_LIST_ENTRY(node, struct vmms_call, node));
}

struct vmms_vm *vmms_vm_new(void)
{
    struct vmms_vm *vm = calloc(1, sizeof(*vm));

    if (!vm)
        return NULL;
    hv_list_init(&vm->facts);
    hv_list_init(&vm->calls);
    hv_list_init(&vm->op_calls);
    hv_list_init(&vm->queued);
    return vm;
}

struct vmms_vm *vmms_vm_free(struct vmms_vm *vm)
{
    if (!vm)
        return NULL;
    HV_LIST_FOREACH (node, &vm->facts)
        vmms_fact_free(HV_LIST_ENTRY(node, struct vmms_fact, node));
    free_calls(&vm->calls);
    vmms_pending_free(vm->pending);
    free_calls(&vm->op_calls);
    free_calls(&vm->queued);
    api_error_free(vm->gone_error);
    api_error_free(vm->op_error);
    api_device_fini(&vm->op_device);
    vmms_guest_fini(&vm->guest);
    vmms_row_fini(&vm->row);
    free(vm->backend);
    free(vm->backend_reason);
    free(vm->stop_cause);
    free(vm->stop_message);
    free(vm->self.cause);
    free(vm->critical_reason);
    free(vm->groups.items);
    free(vm);
    return NULL;
}

struct vmms_core *vmms_core_free(struct vmms_core *core)
{
    if (!core)
        return NULL;
    for (size_t i = 0; i < core->by_id.count; i++)
        vmms_vm_free(core->by_id.vms[i]);
    free(core->by_id.vms);
    free(core->by_name.vms);
    for (size_t i = 0; i < core->jobs.count; i++)
        vmms_job_free(core->jobs.jobs[i]);
    free(core->jobs.jobs);
    HV_LIST_FOREACH (node, &core->effects)
        vmms_effect_free(HV_LIST_ENTRY(node, struct vmms_effect, node));
    vmms_tx_free_all(core);
    vmms_groups_fini(&core->groups);
    vmms_keys_fini(&core->keys);
    free_calls(&core->checking);
    free_calls(&core->queued);
    free_calls(&core->wait_probe);
    free_calls(&core->held);
    free_calls(&core->stop_calls);
    api_host_fini(&core->host);
    free(core->boot_id);
    free(core);
    return NULL;
}

/* Effects */

struct vmms_effect *vmms_effect_free(struct vmms_effect *effect)
{
    if (!effect)
        return NULL;
    hv_list_remove(&effect->node);
    api_error_free(effect->error);
    if (effect->kind == VMMS_EFFECT_REPLY || effect->kind == VMMS_EFFECT_TELL_PROGRESS)
        api_record_fini(api_methods[effect->method].result, &effect->result);
    vmms_change_free(effect->change);
    for (size_t i = 0; i < effect->n_files; i++) {
        free(effect->files[i].field);
        free(effect->files[i].path);
    }
    free(effect->files);
    api_device_fini(&effect->device);
    api_plan_fini(&effect->plan);
    if (effect->has_request)
        api_request_fini(&effect->request);
    vmms_row_fini(&effect->row);
    free(effect->text);
    free(effect);
    return NULL;
}

/* The queue holds every effect from its birth, so that none is lost. Without memory the promise of
 * one answer per call cannot be kept: the service ends, and its next life recovers. */
struct vmms_effect *vmms_emit(struct vmms_core *core, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect = calloc(1, sizeof(*effect));

    hv_assert(effect);
    effect->kind = kind;
    hv_list_append(&core->effects, &effect->node);
    return effect;
}

struct vmms_effect *vmms_emit_worker(struct vmms_core *core, enum vmms_effect_kind kind,
                                     const struct vmms_vm *vm)
{
    struct vmms_effect *effect = vmms_emit(core, kind);

    hv_assert(vmms_row_copy(&vm->row, &effect->row) == 0);
    hv_assert(api_record_fill(&api_record_settings, &effect->row.settings) == 0);
    return effect;
}

void vmms_ask_worker(struct vmms_core *core, const struct vmms_vm *vm, enum vmms_worker_verb verb)
{
    vmms_emit_worker(core, VMMS_EFFECT_ASK_WORKER, vm)->verb = verb;
}

void vmms_kill_worker(struct vmms_core *core, struct vmms_vm *vm)
{
    if (vm->is_kill_sent)
        return;
    vm->is_kill_sent = true;
    vmms_emit_worker(core, VMMS_EFFECT_KILL_WORKER, vm);
}

static bool is_of_transaction(const struct vmms_effect *effect)
{
    return effect->kind == VMMS_EFFECT_REPLY && effect->call & VMMS_SAGA_CALL && !effect->own;
}

/* The answer to a call that came as tx.plan; an error there is about tx.plan itself. */
static void answer_as_document(struct vmms_effect *effect)
{
    struct api_plan_document document = { 0 };

    if (!effect->error)
        vmms_plan_document(effect->method, &effect->result, &document);
    api_record_fini(api_methods[effect->method].result, &effect->result);
    effect->method = API_METHOD_TX_PLAN;
    effect->result.plan_document = document;
    effect->is_planned = false;
}

/* Answers to calls of a transaction, and to the core's own, stay here. */
struct vmms_effect *vmms_core_take_effect(struct vmms_core *core)
{
    while (!hv_list_is_empty(&core->effects)) {
        struct vmms_effect *effect = HV_LIST_ENTRY(core->effects.next, struct vmms_effect, node);

        hv_list_remove(&effect->node);
        if (is_of_transaction(effect)) {
            vmms_saga_answered(core, effect);
            continue;
        }
        if (!effect->own) {
            if (effect->kind == VMMS_EFFECT_REPLY && effect->is_planned)
                answer_as_document(effect);
            if (vmms_key_holds(core, effect))
                continue;
            return effect;
        }
        vmms_own_answered(core, effect);
        vmms_effect_free(effect);
    }
    return NULL;
}

bool vmms_is_soft_by_probe(const struct vmms_core *core, const struct vmms_vm *vm)
{
    bool is_auto = !(vm->row.settings.has & API_SETTINGS_HAS_BACKEND) ||
                   vm->row.settings.backend == API_BACKEND_CHOICE_AUTO;

    return is_auto && core->host.is_probed && core->host.backend &&
           strcmp(core->host.backend, "soft") == 0;
}

/* Facts */

struct vmms_fact *vmms_fact_new(enum vmms_fact_kind kind, const char *incarnation)
{
    struct vmms_fact *fact = calloc(1, sizeof(*fact));

    if (!fact)
        return NULL;
    hv_list_init(&fact->node);
    fact->kind = kind;
    (void)snprintf(fact->incarnation, sizeof(fact->incarnation), "%s", incarnation);
    return fact;
}

struct vmms_fact *vmms_fact_free(struct vmms_fact *fact)
{
    if (!fact)
        return NULL;
    hv_list_remove(&fact->node);
    free(fact->state);
    free(fact->cause);
    free(fact->message);
    free(fact->backend);
    free(fact->backend_reason);
    free(fact->os);
    for (size_t i = 0; i < fact->n_addresses; i++)
        free(fact->addresses[i]);
    free(fact->addresses);
    free(fact->device);
    api_error_free(fact->error);
    free(fact);
    return NULL;
}

/* Inputs */

int vmms_core_set_host(struct vmms_core *core, const char *host_id, const char *boot_id,
                       const char *version, uint32_t processors, uint64_t memory_bytes)
{
    api_error_set_text(&core->host.id, host_id);
    api_error_set_text(&core->host.version, version);
    api_error_set_text(&core->boot_id, boot_id);
    core->host.processors = processors;
    core->host.memory_bytes = memory_bytes;
    return core->host.id && core->host.version && core->boot_id ? 0 : -ENOMEM;
}

void vmms_core_host_probed(struct vmms_core *core, struct api_host *host, const char *why)
{
    core->is_probe_done = true;
    if (host) {
        host->id = HV_TAKE_PTR(core->host.id);
        host->version = HV_TAKE_PTR(core->host.version);
        host->processors = core->host.processors;
        host->memory_bytes = core->host.memory_bytes;
        api_host_fini(&core->host);
        core->host = *host;
        *host = (struct api_host){ 0 };
        core->host.is_probed = true;
    } else {
        core->host.is_probed = false;
        api_error_set_text(&core->host.probe_error, why);
    }
    HV_LIST_FOREACH (node, &core->wait_probe) {
        hv_list_remove(node);
        vmms_handle_call(core, HV_LIST_ENTRY(node, struct vmms_call, node));
    }
}

int vmms_core_load(struct vmms_core *core, struct vmms_row *row)
{
    struct vmms_vm *vm = vmms_vm_new();
    int r;

    if (!vm)
        return -ENOMEM;
    vm->row = *row;
    *row = (struct vmms_row){ 0 };
    r = vmms_index_add(&core->by_id, vm);
    if (r < 0) {
        vmms_vm_free(vm);
        return r;
    }
    r = vmms_index_add(&core->by_name, vm);
    if (r < 0) {
        vmms_index_remove(&core->by_id, vm);
        vmms_vm_free(vm);
        return r;
    }
    vm->is_save_abandoned = vmms_has_worker(vm->row.state) && !vmms_save_is_open(&vm->row) &&
                            vm->row.saved == VMMS_SAVED_STALE;
    vmms_tidy_saved(core, vm, NULL);
    if (vmms_has_worker(vm->row.state)) {
        vm->is_adopting = true;
        vmms_emit_worker(core, VMMS_EFFECT_ADOPT, vm);
    }
    return 0;
}

void vmms_core_loaded(struct vmms_core *core, uint64_t last_event, uint64_t last_job)
{
    core->last_event = last_event;
    if (last_job > core->jobs.last_id)
        core->jobs.last_id = last_job;
    for (size_t i = 0; i < core->by_id.count; i++)
        vmms_autostart_load(core, core->by_id.vms[i]);
    vmms_saga_loaded(core);
    vmms_job_start_next(core);
    vmms_job_prune(core);
}

bool vmms_core_is_adopting(const struct vmms_core *core)
{
    for (size_t i = 0; i < core->by_id.count; i++) {
        if (core->by_id.vms[i]->is_adopting)
            return true;
    }
    return false;
}

bool vmms_core_is_looking(const struct vmms_core *core)
{
    for (size_t i = 0; i < core->by_id.count; i++) {
        if (core->by_id.vms[i]->is_adopting && !core->by_id.vms[i]->is_found)
            return true;
    }
    return false;
}

void vmms_core_hold(struct vmms_core *core)
{
    core->is_holding = true;
}

void vmms_core_call(struct vmms_core *core, uint64_t id, struct api_request *request,
                    const char *actor)
{
    vmms_core_call_within(core, id, request, actor, NULL);
}

void vmms_core_call_within(struct vmms_core *core, uint64_t id, struct api_request *request,
                           const char *actor, const struct vmms_scope *scope)
{
    struct vmms_call *call = calloc(1, sizeof(*call));

    hv_assert(call);
    hv_list_init(&call->node);
    call->id = id;
    call->request = *request;
    *request = (struct api_request){ 0 };
    call->actor = strdup(actor);
    hv_assert(call->actor);
    if (scope) {
        call->scope = malloc(sizeof(*scope));
        hv_assert(call->scope);
        *call->scope = *scope;
    }
    vmms_deadline_begin(core, call);
    vmms_handle_call(core, call);
}

void vmms_core_fact(struct vmms_core *core, const char *vm_id, struct vmms_fact *fact)
{
    struct vmms_vm *vm = vmms_index_find(&core->by_id, vm_id);

    if (!vm || vm->is_deleted) {
        vmms_fact_free(fact);
        return;
    }
    hv_list_append(&vm->facts, &fact->node);
    vmms_vm_pump(core, vm);
}

/* Take the next inputs of a VM until one needs the store. */
void vmms_vm_pump(struct vmms_core *core, struct vmms_vm *vm)
{
    struct hv_list *node;

    while (!vm->pending && !hv_list_is_empty(&vm->facts)) {
        struct vmms_fact *fact = HV_LIST_ENTRY(vm->facts.next, struct vmms_fact, node);

        hv_list_remove(&fact->node);
        vmms_handle_fact(core, vm, fact);
    }
    while (!vm->pending && !hv_list_is_empty(&vm->calls)) {
        node = vm->calls.next;
        hv_list_remove(node);
        vmms_handle_vm_call(core, vm, HV_LIST_ENTRY(node, struct vmms_call, node));
    }
}

static const char *check_vm(const struct vmms_vm *vm)
{
    bool has_worker = vm->row.incarnation[0] != '\0';

    if (vm->is_new)
        return vm->pending ? NULL : "a new VM is on its way to the store";
    if (vmms_has_worker(vm->row.state) != has_worker)
        return "a VM has an incarnation exactly when it is neither off nor saved";
    if (vm->row.state == API_VM_STATE_OFF && !vmms_staged_is_empty(&vm->row.staged))
        return "nothing waits for a VM to be off that is off";
    if (vm->row.state == API_VM_STATE_SAVED && vm->row.saved != VMMS_SAVED_KEPT)
        return "a VM that is saved has a saved state";
    if (vm->row.saved == VMMS_SAVED_KEPT && vm->row.state != API_VM_STATE_SAVED &&
        vm->row.state != API_VM_STATE_STARTING && vm->row.state != API_VM_STATE_STOPPING)
        return "only a VM that is saved, or about to go on, has a saved state";
    if (!vm->pending && (!hv_list_is_empty(&vm->facts) || !hv_list_is_empty(&vm->calls)))
        return "inputs wait only for the store";
    if (!vmms_has_worker(vm->row.state) && vm->op != VMMS_OP_NONE && !vm->pending)
        return "a VM that is off awaits no worker";
    if (vm->op == VMMS_OP_NONE && !hv_list_is_empty(&vm->op_calls))
        return "a call waits only for an operation";
    if (vm->row.state == API_VM_STATE_SAVING && !vm->pending && vm->row.saved != VMMS_SAVED_STALE)
        return "what is being written counts for nothing before it is whole";
    if (vm->op == VMMS_OP_NONE && !hv_list_is_empty(&vm->queued))
        return "a call is queued only behind an operation";
    return NULL;
}

static const char *check_jobs(const struct vmms_core *core)
{
    size_t active = 0, waiting = 0;
    bool is_waiting_for_turn = false;

    for (size_t i = 0; i < core->jobs.count; i++) {
        const struct vmms_job *job = core->jobs.jobs[i];
        bool has_ended = vmms_job_has_ended(job->row.state);
        const char *broken = vmms_save_job_check(core, job);

        if (broken)
            return broken;

        if (i > 0 && job->row.id <= core->jobs.jobs[i - 1]->row.id)
            return "the numbers of jobs only grow";
        if (vmms_saga_is_stuck(job))
            return "a transaction waits for something until it has ended";
        if (job->is_new && !job->change)
            return "a new job is on its way to the store";
        if (has_ended && !hv_list_is_empty(&job->waiters))
            return "nobody waits for a job that has ended";
        if (!job->is_new && !hv_list_is_empty(&job->submitters))
            return "who made a job is answered when it is stored";
        if (job->news.is_ended && !has_ended && !job->change && !job->retry_ns)
            return "an end that could not be stored is tried again";
        is_waiting_for_turn |=
            job->row.state == API_JOB_STATE_QUEUED && !job->change && !job->retry_ns;
        active += !has_ended;
        HV_LIST_FOREACH (node, &job->waiters)
            waiting++;
    }
    if (active != core->jobs.active || waiting != core->jobs.waiting)
        return "jobs and those who wait for them are counted right";
    if (vmms_job_running(core) > VMMS_MAX_RUNNING_JOBS)
        return "only so many jobs run";
    if (is_waiting_for_turn && vmms_job_running(core) < VMMS_MAX_RUNNING_JOBS)
        return "no job waits where one could run";
    return NULL;
}

const char *vmms_core_check(const struct vmms_core *core)
{
    const char *broken = check_jobs(core);

    if (!broken)
        broken = vmms_own_check(core);
    if (!broken)
        broken = vmms_groups_check(core);
    if (!broken)
        broken = vmms_keys_check(core);
    if (broken)
        return broken;
    if (!core->jobs.active && !hv_list_is_empty(&core->queued))
        return "a call is queued only behind jobs";
    if (core->tx)
        return "no transaction is tried longer than an input lasts";
    if (core->by_id.count != core->by_name.count)
        return "both indexes hold the same VMs";
    for (size_t i = 0; i < core->by_id.count; i++) {
        broken = check_vm(core->by_id.vms[i]);
        if (!broken)
            broken = vmms_save_job_check_vm(core, core->by_id.vms[i]);
        if (broken)
            return broken;
        if (i > 0 &&
            strcmp(vmms_vm_name(core->by_name.vms[i - 1]), vmms_vm_name(core->by_name.vms[i])) >= 0)
            return "names are unique and in order";
    }
    return NULL;
}
