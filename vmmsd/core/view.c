/* SPDX-License-Identifier: Apache-2.0 */
/* A VM as clients see it. */
#include "api/gen/tables.h"
#include "vmmsd/core/core_priv.h"

#include <string.h>

static int view_verbs(const struct vmms_vm *vm, struct api_vm *ret)
{
    ret->available_verbs = calloc(vmms_verb_count, sizeof(char *));
    if (!ret->available_verbs)
        return -ENOMEM;
    for (size_t i = 0; i < vmms_verb_count; i++) {
        char *name;

        if (vm->critical_reason && vmms_verbs[i].method == API_METHOD_VM_RESUME)
            continue;
        if (vmms_verbs[i].is_quiet || !(vmms_verbs[i].states & 1u << vm->row.state))
            continue;
        name = strdup(vmms_verbs[i].name);
        if (!name)
            return -ENOMEM;
        ret->available_verbs[ret->n_available_verbs++] = name;
    }
    return 0;
}

static int dup_text(const char *from, char **ret)
{
    *ret = from ? strdup(from) : NULL;
    return from && !*ret ? -ENOMEM : 0;
}

/* What lists are mostly asked for. Nothing else of a VM is touched where these are all: with many
 * VMs it is the memory that a list waits for. */
static const uint64_t plain_fields = API_VM_HAS_ID | API_VM_HAS_NAME | API_VM_HAS_STATE;

static int view_texts(const struct vmms_vm *vm, uint64_t fields, struct api_vm *ret)
{
    static const struct {
        uint64_t field;
        size_t from, to;
    } texts[] = {
#define TEXT(bit, vm_member, member)                                                               \
    { bit, offsetof(struct vmms_vm, vm_member), offsetof(struct api_vm, member) }
        TEXT(API_VM_HAS_CAUSE, row.cause, cause),
        TEXT(API_VM_HAS_CAUSE_MESSAGE, row.cause_message, cause_message),
        TEXT(API_VM_HAS_CRITICAL_REASON, critical_reason, critical_reason),
        TEXT(API_VM_HAS_BACKEND, backend, backend),
        TEXT(API_VM_HAS_BACKEND_REASON, backend_reason, backend_reason),
#undef TEXT
    };

    if (fields & API_VM_HAS_ID && dup_text(vm->row.id, &ret->id) < 0)
        return -ENOMEM;
    if (fields & API_VM_HAS_NAME && dup_text(vmms_vm_name(vm), &ret->name) < 0)
        return -ENOMEM;
    for (size_t i = 0; fields & ~plain_fields && i < HV_ARRAY_SIZE(texts); i++) {
        if (fields & texts[i].field && dup_text(*(char *const *)((const char *)vm + texts[i].from),
                                                (char **)((char *)ret + texts[i].to)) < 0)
            return -ENOMEM;
    }
    return 0;
}

static const uint64_t guest_fields =
    API_VM_HAS_HEARTBEAT | API_VM_HAS_GUEST_OS | API_VM_HAS_GUEST_ADDRESSES;

static int view_guest(const struct vmms_vm *vm, uint64_t fields, struct api_vm *ret)
{
    const struct vmms_guest *guest = &vm->guest;

    if (!guest->has_heartbeat)
        return 0;
    ret->has |= API_VM_HAS_HEARTBEAT | API_VM_HAS_GUEST_ADDRESSES;
    ret->heartbeat = vm->row.state == API_VM_STATE_PAUSED ? API_HEARTBEAT_PAUSED : guest->heartbeat;
    if (fields & API_VM_HAS_GUEST_OS && dup_text(guest->os, &ret->guest_os) < 0)
        return -ENOMEM;
    if (!(fields & API_VM_HAS_GUEST_ADDRESSES))
        return 0;
    ret->guest_addresses = calloc(guest->n_addresses + 1, sizeof(char *));
    if (!ret->guest_addresses)
        return -ENOMEM;
    for (; ret->n_guest_addresses < guest->n_addresses; ret->n_guest_addresses++) {
        if (dup_text(guest->addresses[ret->n_guest_addresses],
                     &ret->guest_addresses[ret->n_guest_addresses]) < 0)
            return -ENOMEM;
    }
    return 0;
}

static const char *waiting_for(const struct vmms_vm *vm)
{
    switch (vm->self.phase) {
    case VMMS_PHASE_START_WAIT: return "waiting_to_start";
    case VMMS_PHASE_RECOVER_WAIT:
    case VMMS_PHASE_RESET_WAIT: return "waiting_to_recover";
    default: return NULL;
    }
}

/* Management model, section 3.1: it runs, and not as it should. What is wrong is told by health,
 * critical and heartbeat. */
static bool is_degraded(const struct vmms_vm *vm)
{
    if (!vmms_has_worker(vm->row.state))
        return false;
    return vm->critical_reason || vm->health != API_VM_HEALTH_OK ||
           (vm->guest.has_heartbeat && (vm->guest.heartbeat == API_HEARTBEAT_LOST ||
                                        vm->guest.heartbeat == API_HEARTBEAT_ERROR));
}

/* A disk that it still has failed since it is on: what the guest has there may be lost soon. */
static bool is_to_fail(const struct vmms_vm *vm)
{
    return *vm->row.failing && vmms_devices_find(&vm->row, vm->row.failing);
}

/* What it is, then what is being done with it. */
static int view_status(const struct vmms_core *core, const struct vmms_vm *vm, struct api_vm *ret)
{
    const char *texts[] = { is_degraded(vm)          ? "degraded"
                            : is_to_fail(vm)         ? "predictive_failure"
                            : vm->op == VMMS_OP_NONE ? "ok"
                                                     : "in_service",
                            waiting_for(vm), vmms_job_merges(core, vm) ? "merging_disks" : NULL };

    ret->operational_status = calloc(HV_ARRAY_SIZE(texts), sizeof(char *));
    if (!ret->operational_status)
        return -ENOMEM;
    for (size_t i = 0; i < HV_ARRAY_SIZE(texts); i++) {
        if (!texts[i])
            continue;
        if (dup_text(texts[i], &ret->operational_status[ret->n_operational_status]) < 0)
            return -ENOMEM;
        ret->n_operational_status++;
    }
    return 0;
}

static int view_devices(const struct vmms_vm *vm, struct api_vm *ret)
{
    struct vmms_row copy = { 0 };
    int r = vmms_devices_copy(&vm->row, &copy);

    ret->devices = copy.devices;
    ret->n_devices = copy.n_devices;
    return r;
}

static int view_pairs(const struct vmms_vm *vm, struct api_vm *ret)
{
    struct vmms_row copy = { 0 };
    int r = vmms_pairs_copy(&vm->row, &copy);

    ret->guest_pairs = copy.pairs;
    ret->n_guest_pairs = copy.n_pairs;
    return r;
}

/* setting: its bit */
static uint64_t number_or_default(const struct vmms_row *row, uint64_t setting, uint64_t value)
{
    return row->settings.has & setting
               ? value
               : api_record_settings.fields[__builtin_ctzll(setting)].default_number;
}

uint32_t vmms_row_cpus(const struct vmms_row *row)
{
    return (uint32_t)number_or_default(row, API_SETTINGS_HAS_CPU_COUNT, row->settings.cpu_count);
}

uint64_t vmms_row_memory(const struct vmms_row *row)
{
    return number_or_default(row, API_SETTINGS_HAS_MEMORY_STARTUP, row->settings.memory_startup);
}

static void view_numbers(const struct vmms_core *core, const struct vmms_vm *vm, struct api_vm *ret)
{
    uint64_t now = vm->row.on_since_ms ? vmms_now_ms(core) : 0;

    ret->health = vm->health;
    ret->critical = vm->critical_reason != NULL;
    if (ret->critical && ret->health == API_VM_HEALTH_OK)
        ret->health = API_VM_HEALTH_MAJOR_FAILURE;
    ret->generation = vm->row.generation;
    ret->created_ms = vm->row.created_ms;
    ret->changed_ms = vm->row.changed_ms;
    ret->cpus = vmms_row_cpus(&vm->row);
    ret->memory_bytes = vmms_row_memory(&vm->row);
    if (now > vm->row.on_since_ms)
        ret->on_time_ms = now - vm->row.on_since_ms;
    if (vm->row.has_exit_status) {
        ret->has |= API_VM_HAS_EXIT_STATUS;
        ret->exit_status = vm->row.exit_status;
    }
    if (vm->row.pid) {
        ret->has |= API_VM_HAS_WORKER_PID;
        ret->worker_pid = vm->row.pid;
    }
}

/* A client that asked for some fields gets those alone. */
static void select_fields(struct api_vm *vm, uint64_t fields)
{
    uint64_t has = API_HAS_PARTIAL;
    size_t i;

    while (api_record_next(&api_record_vm, &fields, &i)) {
        const struct api_field *field = &api_record_vm.fields[i];

        if (!field->is_optional || api_record_has(field, i, vm))
            has |= UINT64_C(1) << i;
    }
    vm->has = has;
}

int vmms_view_vm(const struct vmms_core *core, const struct vmms_vm *vm, uint64_t fields,
                 const struct vmms_scope *scope, struct api_vm *ret)
{
    int r;

    *ret = (struct api_vm){ .state = vm->row.state };
    if (fields & ~plain_fields)
        view_numbers(core, vm, ret);
    r = view_texts(vm, fields, ret);
    if (r == 0 && fields & API_VM_HAS_AVAILABLE_VERBS)
        r = view_verbs(vm, ret);
    if (r == 0 && fields & API_VM_HAS_OPERATIONAL_STATUS)
        r = view_status(core, vm, ret);
    if (r == 0 && fields & guest_fields)
        r = view_guest(vm, fields, ret);
    if (r == 0 && fields & API_VM_HAS_DEVICES)
        r = view_devices(vm, ret);
    if (r == 0 && fields & API_VM_HAS_GUEST_PAIRS)
        r = view_pairs(vm, ret);
    if (r == 0 && fields & API_VM_HAS_GROUPS)
        ret->groups = vmms_core_vm_groups(core, scope, vm->row.id, &ret->n_groups);
    if (r == 0 && fields & API_VM_HAS_PENDING_CONFIG)
        r = vmms_staged_view(vm, ret);
    if (r == 0 && fields & API_VM_HAS_SETTINGS) {
        r = api_settings_copy(&vm->row.settings, &ret->settings);
        if (r == 0)
            r = api_record_fill(&api_record_settings, &ret->settings);
    }
    if (r < 0)
        api_vm_fini(ret);
    else if (fields != UINT64_MAX)
        select_fields(ret, fields);
    return r;
}
