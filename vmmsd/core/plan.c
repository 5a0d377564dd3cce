/* SPDX-License-Identifier: Apache-2.0 */
/* What a call would do, told in its place: management model, section 16. A plan's id stands for the
 * call and for what it was made on, so that nothing need be kept of it. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool vmms_wants_plan(const struct api_request *request)
{
    const struct api_field *field =
        api_record_find(api_methods[request->method].args, "plan", NULL);

    return field && *(const bool *)((const char *)&request->args + field->offset);
}

/* The place of a plan in a method's result, which has one from now on. */
static struct api_plan *plan_in(enum api_method method, union api_result *result)
{
    size_t index = 0;
    const struct api_field *field = api_record_find(api_methods[method].result, "plan", &index);

    hv_assert(field && field->record == &api_record_plan);
    result->has |= UINT64_C(1) << index;
    return (struct api_plan *)((char *)result + field->offset);
}

void vmms_plan_text(char ***list, size_t *count, const char *text)
{
    *list = reallocarray(*list, *count + 1, sizeof(char *));
    hv_assert(*list);
    (*list)[(*count)++] = vmms_text_copy(text);
}

void vmms_plan_step(struct api_plan *plan, const char *what, const char *object)
{
    plan->steps = reallocarray(plan->steps, plan->n_steps + 1, sizeof(*plan->steps));
    hv_assert(plan->steps);
    plan->steps[plan->n_steps++] =
        (struct api_plan_step){ .what = vmms_text_copy(what),
                                .object = object ? vmms_text_copy(object) : NULL };
}

void vmms_plan_generation(struct api_plan *plan, const char *object, uint64_t generation)
{
    for (size_t i = 0; i < plan->n_generations; i++) {
        if (strcmp(plan->generations[i].object, object) == 0)
            return;
    }
    plan->generations =
        reallocarray(plan->generations, plan->n_generations + 1, sizeof(*plan->generations));
    hv_assert(plan->generations);
    plan->generations[plan->n_generations++] =
        (struct api_plan_generation){ .object = vmms_text_copy(object), .generation = generation };
}

/* Which call on what */

/* Arguments that change nothing of what is done; VM and group count by their ids. */
static bool is_left_out(const char *name)
{
    static const char *const names[] = { "wait",        "plan",   "plan_id", "idempotency_key",
                                         "deadline_ms", "reason", "queue",   "expected_generation",
                                         "vm",          "group" };

    for (size_t i = 0; i < HV_ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

static char *essence(const struct api_request *request)
{
    const struct api_record *record = api_methods[request->method].args;
    struct json_writer out = { 0 };
    uint64_t fields = 0;
    char *text;

    for (size_t i = 0; i < record->n_fields; i++) {
        if (!is_left_out(record->fields[i].name))
            fields |= UINT64_C(1) << i;
    }
    api_record_write(record, &request->args, fields, &out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* FNV-1a: it tells plans apart, it guards nothing. */
uint64_t vmms_text_hash(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    while (*text++);
    return hash;
}

void vmms_plan_identify(const struct api_request *request, struct api_plan *plan)
{
    hv_autofree char *args = essence(request);
    uint64_t hash = vmms_text_hash(VMMS_HASH_SEED, api_methods[request->method].name);
    char text[24];

    hash = vmms_text_hash(hash, args);
    for (size_t i = 0; i < plan->n_generations; i++) {
        (void)snprintf(text, sizeof(text), "%" PRIu64, plan->generations[i].generation);
        hash = vmms_text_hash(vmms_text_hash(hash, plan->generations[i].object), text);
    }
    (void)snprintf(text, sizeof(text), "%016" PRIx64, hash);
    free(plan->plan_id);
    plan->plan_id = vmms_text_copy(text);
}

/* A name counts as well as a VM: whether it is taken, and by what. */
static void name_basis(const struct vmms_core *core, const struct api_request *request,
                       struct api_plan *plan)
{
    const struct vmms_vm *vm;

    if (request->method != API_METHOD_VM_CREATE)
        return;
    vm = vmms_look_up(core, request->args.vm_create.name);
    vmms_plan_generation(plan, request->args.vm_create.name, vm ? vm->row.generation : 0);
}

/* A group, or the name of one that is to be made. */
static void group_basis(const struct vmms_core *core, const struct api_request *request,
                        struct api_plan *plan)
{
    const struct api_field *field =
        api_record_find(api_methods[request->method].args, "group", NULL);
    const struct vmms_group *group;
    char *ref = request->args.group_create.name;

    if (!vmms_is_group_method(request->method))
        return;
    if (field)
        memcpy(&ref, (const char *)&request->args + field->offset, sizeof(ref));
    group = vmms_group_look_up(core, NULL, ref);
    vmms_plan_generation(plan, field && group ? group->row.id : ref,
                         group ? group->row.generation : 0);
}

void vmms_plan_begin(const struct vmms_core *core, const struct api_request *request,
                     const struct vmms_vm *vm, struct api_plan *ret)
{
    *ret = (struct api_plan){ 0 };
    ret->generation = vm ? vm->row.generation : 0;
    vmms_plan_text(&ret->policy, &ret->n_policy, api_methods[request->method].right);
    if (vm)
        vmms_plan_generation(ret, vm->row.id, vm->row.generation);
    name_basis(core, request, ret);
    group_basis(core, request, ret);
    if (api_methods[request->method].is_job)
        vmms_job_generations(core, request, ret);
    vmms_plan_identify(request, ret);
}

static const char *given_id(const struct api_request *request)
{
    const struct api_field *field =
        api_record_find(api_methods[request->method].args, "plan_id", NULL);
    char *text = NULL;

    if (field)
        memcpy(&text, (const char *)&request->args + field->offset, sizeof(text));
    return text;
}

bool vmms_plan_holds(struct vmms_core *core, struct vmms_call *call, const struct api_plan *now)
{
    const char *given = given_id(&call->request);
    struct api_error *error = NULL;

    if (!given || strcmp(given, now->plan_id) == 0)
        return true;
    api_error_set(
        &error, API_E_GENERATION_CONFLICT, "plan.moved", "plan_id",
        "The plan %.64s does not hold any more: something in it has moved, or it was made "
        "for another call.",
        given);
    api_error_hint(error, "Make a new plan, look at it, and give its plan_id.");
    vmms_reply_error(core, call, error);
    return false;
}

bool vmms_plan_is_current(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call)
{
    HV_CLEANUP(api_plan_fini) struct api_plan now = { 0 };

    if (!given_id(&call->request))
        return true;
    vmms_plan_begin(core, &call->request, vm, &now);
    return vmms_plan_holds(core, call, &now);
}

/* Answers */

static const struct {
    enum api_method method;
    enum api_vm_state to;
} leads_to[] = {
    { API_METHOD_VM_START, API_VM_STATE_RUNNING },
    { API_METHOD_VM_TURN_OFF, API_VM_STATE_OFF },
    { API_METHOD_VM_PAUSE, API_VM_STATE_PAUSED },
    { API_METHOD_VM_RESUME, API_VM_STATE_RUNNING },
    { API_METHOD_GUEST_SHUTDOWN, API_VM_STATE_OFF },
    { API_METHOD_VM_SAVE, API_VM_STATE_SAVED },
    { API_METHOD_VM_DISCARD_SAVED_STATE, API_VM_STATE_OFF },
};

bool vmms_leads_to(enum api_method method, enum api_vm_state *ret)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(leads_to); i++) {
        if (leads_to[i].method != method)
            continue;
        *ret = leads_to[i].to;
        return true;
    }
    return false;
}

static void foresee_state(enum api_method method, const struct vmms_vm *vm, struct api_plan *plan)
{
    enum api_vm_state to;

    if (!vm || !vmms_leads_to(method, &to))
        return;
    vmms_plan_diff_state(plan, vm, to);
    if (to == API_VM_STATE_OFF)
        vmms_plan_diff_staged(plan, vm, &vm->row.staged, false);
}

struct api_plan *vmms_reply_plan(struct vmms_core *core, struct vmms_call *call,
                                 const struct vmms_vm *vm, const char *const *steps)
{
    enum api_method method = call->request.method;
    struct vmms_effect *effect;
    struct api_plan base, *plan;

    vmms_plan_begin(core, &call->request, vm, &base);
    effect = vmms_reply(core, call);
    plan = plan_in(method, &effect->result);
    *plan = base;
    plan->verdict = vmms_text_copy(steps[0] ? "ok" : "nothing_to_do");
    for (size_t i = 0; steps[i]; i++)
        vmms_plan_step(plan, steps[i], vm ? vm->row.id : NULL);
    if (steps[0])
        foresee_state(method, vm, plan);
    return plan;
}

static void put_conflict(struct api_plan *plan, const struct api_error *error)
{
    struct api_plan_conflict *conflict = calloc(1, sizeof(*conflict));

    hv_assert(conflict && !plan->conflicts);
    conflict->what = vmms_text_copy(error->message);
    if (error->data.has & API_ERROR_DATA_HAS_JOB) {
        conflict->has |= API_PLAN_CONFLICT_HAS_JOB;
        conflict->job = error->data.job;
    }
    conflict->owner = error->data.holder ? vmms_text_copy(error->data.holder) : NULL;
    plan->conflicts = conflict;
    plan->n_conflicts = 1;
}

void vmms_plan_refuse(struct api_plan *plan, const struct api_error *error)
{
    hv_autofree char *text = vmms_error_text(error);

    free(plan->verdict);
    plan->verdict =
        vmms_text_copy(error->code == API_E_RESTART_REQUIRED ? "needs_restart" : "refused");
    vmms_plan_text(&plan->errors, &plan->n_errors, text);
    if (error->code == API_E_JOB_CONFLICT || error->code == API_E_IN_USE)
        put_conflict(plan, error);
}

/* The VM that the call is about, where it is there. */
static const struct vmms_vm *subject(const struct vmms_core *core,
                                     const struct api_request *request)
{
    const struct api_field *field = api_record_find(api_methods[request->method].args, "vm", NULL);
    char *ref;

    if (!field)
        return NULL;
    memcpy(&ref, (const char *)&request->args + field->offset, sizeof(ref));
    return ref ? vmms_look_up(core, ref) : NULL;
}

/* error: taken */
void vmms_reply_refused(struct vmms_core *core, struct vmms_call *call, struct api_error *error)
{
    enum api_method method = call->request.method;
    struct vmms_effect *effect;
    struct api_plan base;

    vmms_plan_begin(core, &call->request, subject(core, &call->request), &base);
    vmms_plan_refuse(&base, error);
    effect = vmms_reply(core, call);
    *plan_in(method, &effect->result) = base;
    api_error_free(error);
}

/* Plans that others make */

void vmms_plan_complete(enum api_method method, struct api_plan *base, union api_result *result,
                        struct api_error *error)
{
    struct api_plan *plan = plan_in(method, result);

    if (error) {
        api_plan_fini(plan);
        *plan = *base;
        *base = (struct api_plan){ 0 };
        vmms_plan_refuse(plan, error);
        api_error_free(error);
        return;
    }
    free(plan->plan_id);
    plan->plan_id = HV_TAKE_PTR(base->plan_id);
    plan->policy = HV_TAKE_PTR(base->policy);
    plan->n_policy = base->n_policy;
    plan->generations = HV_TAKE_PTR(base->generations);
    plan->n_generations = base->n_generations;
    base->n_policy = base->n_generations = 0;
    api_plan_fini(base);
}

void vmms_plan_document(enum api_method method, const union api_result *from,
                        struct api_plan_document *ret)
{
    const struct api_field *field = api_record_find(api_methods[method].result, "plan", NULL);
    struct json_writer out = { 0 };

    *ret = (struct api_plan_document){ 0 };
    api_record_write(&api_record_plan, (const char *)from + field->offset, UINT64_MAX, &out);
    hv_assert(json_writer_take(&out, &ret->plan, NULL) == 0);
}
