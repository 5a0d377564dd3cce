/* SPDX-License-Identifier: Apache-2.0 */
/* Calls: finding whom they mean, answering reads at once, queueing changes behind their VM. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/nearest.h"
#include "vmmsd/core/image_args.h"

#include <fnmatch.h>
#include <string.h>

struct vmms_effect *vmms_reply(struct vmms_core *core, struct vmms_call *call)
{
    struct vmms_effect *effect = vmms_emit(core, VMMS_EFFECT_REPLY);

    effect->call = call->id;
    effect->method = call->request.method;
    effect->fields = UINT64_MAX;
    effect->is_planned = call->is_planned;
    effect->own = call->own;
    effect->key = call->key;
    memcpy(effect->row.id, call->own_vm, sizeof(effect->row.id));
    vmms_call_free(call);
    return effect;
}

/* error: taken; NULL stands for lack of memory. */
void vmms_reply_error(struct vmms_core *core, struct vmms_call *call, struct api_error *error)
{
    if (!error)
        api_error_set(&error, API_E_OUT_OF_MEMORY, "host.memory", NULL,
                      "The service is short of memory; try again.");
    if (error && vmms_wants_plan(&call->request))
        vmms_reply_refused(core, call, error);
    else
        vmms_reply(core, call)->error = error;
}

/* vm NULL: it is gone. */
void vmms_reply_changed(struct vmms_core *core, struct vmms_call *call, const struct vmms_vm *vm,
                        bool already, uint64_t event_seq)
{
    static const char *const no_steps[] = { NULL };
    struct api_changed changed = { .already = already, .event_seq = event_seq };

    if (vmms_wants_plan(&call->request)) {
        vmms_reply_plan(core, call, vm, no_steps);
        return;
    }
    if (vm && vmms_view_vm(core, vm, UINT64_MAX, call->scope, &changed.vm) == 0)
        changed.has |= API_CHANGED_HAS_VM;
    vmms_reply(core, call)->result.changed = changed;
}

/* The same, about one of its devices (NULL: none). */
void vmms_reply_device(struct vmms_core *core, struct vmms_call *call, const struct vmms_vm *vm,
                       const char *device, bool already, uint64_t event_seq)
{
    struct api_changed changed = { .already = already,
                                   .event_seq = event_seq,
                                   .device = device ? strdup(device) : NULL };

    if (vm && vmms_view_vm(core, vm, UINT64_MAX, call->scope, &changed.vm) == 0)
        changed.has |= API_CHANGED_HAS_VM;
    vmms_reply(core, call)->result.changed = changed;
}

void vmms_say_nearest(const struct nearest *nearest, const char *method, struct api_error *error)
{
    for (size_t i = 0; error && i < nearest->count; i++)
        api_error_add(error, &error->data.nearest, &error->data.n_nearest, nearest->names[i]);
    if (nearest->count)
        api_error_hint(error, "Perhaps %s was meant.", nearest->names[0]);
    else
        api_error_hint(error, "%s tells which there are.", method);
}

int vmms_check_no_id(const char *name, const char *code, const char *object,
                     struct api_error **reterr)
{
    struct hv_guid guid;
    int r;

    if (hv_guid_parse(name, &guid) < 0)
        return 0;
    r = api_error_set(reterr, API_E_INVALID_PARAMETER, code, "name",
                      "A %s cannot be called \"%s\": that is how ids are written.", object, name);
    api_error_hint(*reterr, "Choose a name that is no UUID; the id is given by the service.");
    return r;
}

static void say_not_found(const struct vmms_core *core, const char *ref, struct api_error **reterr)
{
    struct nearest nearest;

    api_error_set(reterr, API_E_NOT_FOUND, "vm.not_found", "vm",
                  "There is no VM with the name or id \"%.120s\".", ref);
    nearest_init(&nearest, ref);
    for (size_t i = 0; i < core->by_name.count; i++) {
        if (!core->by_name.vms[i]->is_new)
            nearest_offer(&nearest, vmms_vm_name(core->by_name.vms[i]));
    }
    vmms_say_nearest(&nearest, "vm.list", *reterr);
}

/* By id first: a VM that is named like another one's id cannot hide it. */
struct vmms_vm *vmms_look_up(const struct vmms_core *core, const char *ref)
{
    char id[HV_GUID_TEXT_BYTES];
    struct vmms_vm *vm = NULL;
    struct hv_guid guid;

    if (hv_guid_parse(ref, &guid) == 0) {
        hv_guid_format(&guid, id);
        vm = vmms_index_find(&core->by_id, id);
    }
    if (!vm)
        vm = vmms_index_find(&core->by_name, ref);
    return vm && !vm->is_new ? vm : NULL;
}

struct vmms_vm *vmms_find_vm(struct vmms_core *core, const char *ref, struct api_error **reterr)
{
    struct vmms_vm *vm = vmms_look_up(core, ref);

    if (!vm)
        say_not_found(core, ref, reterr);
    return vm;
}

static void host_ping(struct vmms_core *core, struct vmms_call *call)
{
    struct api_pong *pong = &vmms_reply(core, call)->result.pong;

    pong->version = strdup(core->host.version);
}

static void host_hello(struct vmms_core *core, struct vmms_call *call)
{
    char *caller = HV_TAKE_PTR(call->actor);
    struct api_hello *hello = &vmms_reply(core, call)->result.hello;

    hello->caller = caller;
    hello->version = strdup(core->host.version);
    hello->api = strdup("org.hvstack.Vmms1");
    hello->schema_hash = strdup(API_SCHEMA_HASH);
    hello->max_request_bytes = RPC_MAX_BODY_BYTES;
    hello->max_batch = RPC_MAX_BATCH;
}

/* Those that the caller may see. */
static void count_vms(const struct vmms_core *core, const struct vmms_scope *scope,
                      struct api_host *ret)
{
    for (size_t i = 0; i < core->by_id.count; i++) {
        const struct vmms_vm *vm = core->by_id.vms[i];

        if (vm->is_new || !vmms_scope_has(core, scope, vm->row.id))
            continue;
        ret->vms++;
        ret->vms_running += vmms_has_worker(vm->row.state);
    }
}

static void host_get(struct vmms_core *core, struct vmms_call *call)
{
    struct api_host counts = { 0 }, *host;

    if (!core->is_probe_done) {
        hv_list_append(&core->wait_probe, &call->node);
        return;
    }
    count_vms(core, call->scope, &counts);
    host = &vmms_reply(core, call)->result.host;
    hv_assert(api_host_copy(&core->host, host) == 0);
    host->vms = counts.vms;
    host->vms_running = counts.vms_running;
    host->max_vm_cpus = (uint32_t)api_record_find(&api_record_settings, "cpu.count", NULL)->max;
    host->max_vm_memory_bytes = api_record_find(&api_record_settings, "memory.startup", NULL)->max;
    if (host->max_vm_memory_bytes > host->memory_bytes)
        host->max_vm_memory_bytes = host->memory_bytes;
    host->last_event = core->last_event;
}

static bool is_wanted(const struct vmms_core *core, const struct vmms_vm *vm,
                      const struct api_vm_list_args *args, const struct vmms_group *group)
{
    const struct api_vm_filter *filter = &args->filter;

    if (vm->is_new)
        return false;
    if (group && !vmms_core_is_within(core, vm->row.id, &group->row.id, 1))
        return false;
    if (filter->has & API_VM_FILTER_HAS_STATE && vm->row.state != filter->state)
        return false;
    return !filter->name || fnmatch(filter->name, vmms_vm_name(vm), 0) == 0;
}

/* VMs lie about in memory, and so do their names: have both there when their turn comes. */
static void look_ahead(const struct vmms_index *index, size_t at)
{
    enum { FAR = 12, NEAR = 6 };

    if (at + FAR >= index->count)
        return;
    __builtin_prefetch(&index->vms[at + FAR]->row.settings.name);
    __builtin_prefetch(&index->vms[at + FAR]->row.state);
    __builtin_prefetch(&index->vms[at + FAR]->is_new);
    __builtin_prefetch(vmms_vm_name(index->vms[at + NEAR]));
}

static void vm_list(struct vmms_core *core, struct vmms_call *call)
{
    const struct api_vm_list_args *args = &call->request.args.vm_list;
    uint64_t fields = args->has & API_VM_LIST_ARGS_HAS_FIELDS ? args->fields : UINT64_MAX;
    size_t at = args->after ? vmms_index_after(&core->by_name, args->after) : 0;
    const struct vmms_group *group = NULL;
    struct api_error *error = NULL;
    struct api_vm_list list;
    const struct vmms_vm *last = NULL;

    if (args->filter.group &&
        !(group = vmms_group_find(core, call->scope, args->filter.group, "filter.group", &error))) {
        vmms_reply_error(core, call, error);
        return;
    }
    list = (struct api_vm_list){ .vms = calloc(args->limit, sizeof(struct api_vm)) };
    for (; list.vms && at < core->by_name.count; at++) {
        const struct vmms_vm *vm = core->by_name.vms[at];

        look_ahead(&core->by_name, at);
        if (!is_wanted(core, vm, args, group) || !vmms_scope_has(core, call->scope, vm->row.id))
            continue;
        if (list.n_vms == args->limit) {
            list.next = strdup(vmms_vm_name(last));
            break;
        }
        if (vmms_view_vm(core, vm, fields, call->scope, &list.vms[list.n_vms]) < 0)
            break;
        list.n_vms++;
        last = vm;
    }
    vmms_reply(core, call)->result.vm_list = list;
}

static void vm_get(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    const struct api_vm_get_args *args = &call->request.args.vm_get;
    uint64_t fields = args->has & API_VM_GET_ARGS_HAS_FIELDS ? args->fields : UINT64_MAX;
    struct api_vm view;

    hv_assert(vmms_view_vm(core, vm, fields, call->scope, &view) == 0);
    vmms_reply(core, call)->result.vm = view;
}

/* Hand a read to whoever has the data; the VM is known to be there. */
void vmms_serve_call(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call)
{
    struct vmms_effect *effect =
        vm ? vmms_emit_worker(core, VMMS_EFFECT_SERVE, vm) : vmms_emit(core, VMMS_EFFECT_SERVE);

    effect->call = call->id;
    effect->method = call->request.method;
    effect->request = call->request;
    effect->has_request = true;
    effect->is_planned = call->is_planned;
    if (vmms_wants_plan(&call->request))
        vmms_plan_begin(core, &call->request, vm, &effect->plan);
    call->request = (struct api_request){ 0 };
    vmms_call_free(call);
}

/* What only a worker has, and no call changes. */
static void read_worker(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    enum api_method method = call->request.method;
    struct api_error *error = NULL;

    if (vmms_verb_is_allowed(method, vm->row.state)) {
        vmms_serve_call(core, vm, call);
        return;
    }
    api_error_set(&error, API_E_INVALID_STATE, "vm.state", NULL, "VM %s is %s: %s.",
                  vmms_vm_name(vm), api_enum_vm_state.values[vm->row.state],
                  method == API_METHOD_VM_STATS ? "counters exist only while it runs"
                                                : "it has a worker only while it runs");
    vmms_say_states(method, vm->row.state, error);
    vmms_reply_error(core, call, error);
}

/* Where a method has `expected_generation`, its table knows. */
bool vmms_is_generation(struct vmms_core *core, struct vmms_call *call, uint64_t generation,
                        const char *what, const char *name)
{
    const struct api_record *record = api_methods[call->request.method].args;
    struct api_error *error = NULL;
    size_t index;
    const struct api_field *field = api_record_find(record, "expected_generation", &index);
    uint64_t expected;

    if (!field || !api_record_has(field, index, &call->request.args))
        return true;
    memcpy(&expected, (const char *)&call->request.args + field->offset, sizeof(expected));
    if (expected == generation)
        return true;
    api_error_set(&error, API_E_GENERATION_CONFLICT,
                  strcmp(what, "VM") == 0 ? "vm.generation" : "group.generation",
                  "expected_generation",
                  "%s %s has generation %llu, not %llu: it was changed in between.", what, name,
                  (unsigned long long)generation, (unsigned long long)expected);
    api_error_hint(error, "Read it again and repeat the change on what it is now.");
    vmms_reply_error(core, call, error);
    return false;
}

static const struct {
    enum api_method method;
    const char *step;
} guest_calls[] = {
    { API_METHOD_GUEST_GET, NULL },
    { API_METHOD_CONSOLE_TYPE_TEXT, "type the text" },
    { API_METHOD_CONSOLE_CTRL_ALT_DEL, "press Ctrl-Alt-Del" },
};

/* What only the worker can do or tell, and the model does not remember. Returns true when the call
 * is of that kind. */
static bool guest_call(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(guest_calls); i++) {
        if (guest_calls[i].method != call->request.method)
            continue;
        if (!vmms_is_guest_there(core, vm, call) || !vmms_check_generation(core, vm, call))
            return true;
        if (vmms_wants_plan(&call->request))
            vmms_reply_plan(core, call, vm, (const char *const[]){ guest_calls[i].step, NULL });
        else
            vmms_serve_call(core, vm, call);
        return true;
    }
    return false;
}

bool vmms_check_generation(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call)
{
    return vmms_plan_is_current(core, vm, call) &&
           vmms_is_generation(core, call, vm->row.generation, "VM", vmms_vm_name(vm));
}

/* A call that changes a VM, when nothing of that VM is on its way to the store. */
void vmms_handle_vm_call(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    if (call->request.method == API_METHOD_TX_APPLY) {
        vmms_transact(core, call);
        return;
    }
    if (vmms_is_overdue(core, call))
        return;
    if (call->taken_back) {
        vmms_take_back_device(core, vm, call);
        return;
    }
    if (vmms_is_group_method(call->request.method)) {
        vmms_group_call(core, call);
        return;
    }
    if (call->request.method == API_METHOD_VM_SAVE) {
        vmms_save(core, vm, call); /* that the call came before counts more than what is so now */
        return;
    }
    if (!vmms_check_generation(core, vm, call))
        return;
    switch (call->request.method) {
    case API_METHOD_VM_CONFIGURE: vmms_configure(core, vm, call); break;
    case API_METHOD_VM_DELETE: vmms_delete(core, vm, call); break;
    case API_METHOD_VM_ADD_DEVICE: vmms_add_device(core, vm, call); break;
    case API_METHOD_VM_MODIFY_DEVICE: vmms_modify_device(core, vm, call); break;
    case API_METHOD_VM_REMOVE_DEVICE: vmms_remove_device(core, vm, call); break;
    case API_METHOD_GUEST_ADD_KVP:
    case API_METHOD_GUEST_MODIFY_KVP:
    case API_METHOD_GUEST_REMOVE_KVP: vmms_change_pairs(core, vm, call); break;
    case API_METHOD_GUEST_SHUTDOWN:
    case API_METHOD_GUEST_REBOOT: vmms_shut_down(core, vm, call); break;
    default: vmms_power(core, vm, call); break;
    }
}

static const char *vm_of_call(const struct vmms_call *call)
{
    const struct api_record *record = api_methods[call->request.method].args;
    const struct api_field *field = api_record_find(record, "vm", NULL);
    char *ref;

    hv_assert(field);
    memcpy(&ref, (const char *)&call->request.args + field->offset, sizeof(ref));
    return ref;
}

static void handle_named(struct vmms_core *core, struct vmms_call *call)
{
    struct api_error *error = NULL;
    struct vmms_vm *vm = vmms_find_vm(core, vm_of_call(call), &error);

    if (!vm) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (guest_call(core, vm, call))
        return;
    switch (call->request.method) {
    case API_METHOD_VM_GET: vm_get(core, vm, call); return;
    case API_METHOD_VM_STATS:
    case API_METHOD_VM_SECURITY: read_worker(core, vm, call); return;
    case API_METHOD_VM_CONSOLE:
    case API_METHOD_VM_CONSOLE_LOG: vmms_serve_call(core, vm, call); return;
    default: break;
    }
    hv_list_append(&vm->calls, &call->node);
    vmms_vm_pump(core, vm);
}

static void image_info(struct vmms_core *core, struct vmms_call *call)
{
    struct api_error *error = NULL;

    if (vmms_image_check_args(&call->request, &error) < 0)
        vmms_reply_error(core, call, error);
    else
        vmms_serve_call(core, NULL, call);
}

/* What is answered out of what is stored. */
static bool is_of_store(enum api_method method)
{
    switch (method) {
    case API_METHOD_HOST_PING:
    case API_METHOD_HOST_HELLO:
    case API_METHOD_HOST_GET:
    case API_METHOD_VM_LIST:
    case API_METHOD_VM_GET:
    case API_METHOD_JOB_LIST:
    case API_METHOD_JOB_GET: return true;
    default: return false;
    }
}

void vmms_handle_call(struct vmms_core *core, struct vmms_call *call)
{
    if (core->is_holding && !is_of_store(call->request.method)) {
        hv_list_append(&core->held, &call->node);
        return;
    }
    if (vmms_is_overdue(core, call) || vmms_key_meets(core, call))
        return;
    switch (call->request.method) {
    case API_METHOD_HOST_PING: host_ping(core, call); break;
    case API_METHOD_HOST_HELLO: host_hello(core, call); break;
    case API_METHOD_HOST_GET: host_get(core, call); break;
    case API_METHOD_HOST_STOP_VMS: vmms_stop_all(core, call); break;
    case API_METHOD_VM_LIST: vm_list(core, call); break;
    case API_METHOD_TX_APPLY: vmms_transact(core, call); break;
    case API_METHOD_TX_PLAN: vmms_plan_call(core, call); break;
    case API_METHOD_VM_CREATE: vmms_create(core, call); break;
    case API_METHOD_HOST_BACKUP:
    case API_METHOD_EVENTS_READ:
    case API_METHOD_EVENTS_SUBSCRIBE: vmms_serve_call(core, NULL, call); break;
    case API_METHOD_IMAGE_INFO: image_info(core, call); break;
    case API_METHOD_JOB_GET:
    case API_METHOD_JOB_LIST:
    case API_METHOD_JOB_CANCEL:
    case API_METHOD_JOB_WAIT: vmms_job_call(core, call); break;
    default:
        if (vmms_is_group_method(call->request.method))
            vmms_group_call(core, call);
        else if (api_methods[call->request.method].is_job &&
                 call->request.method != API_METHOD_VM_SAVE)
            vmms_job_submit(core, call);
        else
            handle_named(core, call);
        break;
    }
}
