/* SPDX-License-Identifier: Apache-2.0 */
/* Making, configuring and deleting VMs. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_STEPS = 66, STEP_BYTES = 200 };

static const char *setting_text(const struct api_settings *settings, const struct api_field *field)
{
    char *text;

    memcpy(&text, (const char *)settings + field->offset, sizeof(text));
    return text;
}

/* Is that name taken, by a VM or by a change on its way? */
static bool is_name_taken(const struct vmms_core *core, const char *name,
                          const struct vmms_vm *self)
{
    struct vmms_vm *vm = vmms_index_find(&core->by_name, name);

    if ((vm && vm != self) || vmms_tx_had_name(core, name, self))
        return true;
    HV_LIST_FOREACH (node, &core->pendings) {
        const struct vmms_pending *pending = HV_LIST_ENTRY(node, struct vmms_pending, node);

        if (pending->vm != self && strcmp(pending->row.settings.name, name) == 0)
            return true;
    }
    return false;
}

static int check_name(const struct vmms_core *core, const struct api_settings *wanted,
                      const struct vmms_vm *self, struct api_error **reterr)
{
    int r;

    if (!wanted->name)
        return 0;
    /* One that was given before this rule stays. */
    if (!self || strcmp(wanted->name, vmms_vm_name(self)) != 0) {
        r = vmms_check_no_id(wanted->name, "vm.name_is_id", "VM", reterr);
        if (r < 0)
            return r;
    }
    if (!is_name_taken(core, wanted->name, self))
        return 0;
    r = api_error_set(reterr, API_E_ALREADY_EXISTS, "vm.name_taken", "name",
                      "There is a VM called \"%s\" already.", wanted->name);
    api_error_hint(*reterr, "Choose another name, or delete or rename that one.");
    return r;
}

static int check_host_limits(const struct vmms_core *core, const struct api_settings *wanted,
                             struct api_error **reterr)
{
    char text[80];
    int r;

    if (!(wanted->has & API_SETTINGS_HAS_MEMORY_STARTUP) ||
        wanted->memory_startup <= core->host.memory_bytes)
        return 0;
    r = api_error_set(reterr, API_E_INVALID_PARAMETER, "vm.memory.host", "memory.startup",
                      "memory.startup is %" PRIu64 " MiB, the host has %" PRIu64 " MiB.",
                      wanted->memory_startup >> 20, core->host.memory_bytes >> 20);
    (void)snprintf(text, sizeof(text), "at most %" PRIu64 " bytes on this host",
                   core->host.memory_bytes & ~(UINT64_C(2097152) - 1));
    if (*reterr)
        api_error_set_text(&(*reterr)->data.allowed, text);
    return r;
}

static int check_settings(const struct vmms_core *core, const struct api_settings *wanted,
                          const struct vmms_vm *self, struct api_error **reterr)
{
    int r = check_name(core, wanted, self, reterr);

    if (r == 0)
        r = vmms_check_auto(wanted, reterr);
    return r < 0 ? r : check_host_limits(core, wanted, reterr);
}

/* The files that settings name, to be looked at. */
static void add_files(struct vmms_core *core, const struct api_settings *wanted,
                      struct vmms_effect **effect)
{
    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        const struct api_field *field = &api_record_settings.fields[i];

        if (field->is_file && api_record_has(field, i, wanted) && *setting_text(wanted, field))
            (void)vmms_files_add(core, effect, field->name, setting_text(wanted, field));
    }
}

/* True when files are named and the call waits until somebody has looked at them. row: a new VM's,
 * or NULL. */
static bool wait_for_files(struct vmms_core *core, const struct api_settings *wanted,
                           const struct vmms_row *row, struct vmms_call *call)
{
    struct vmms_effect *effect = NULL;

    if (call->are_files_checked)
        return false;
    add_files(core, wanted, &effect);
    for (size_t i = 0; row && i < row->n_devices; i++)
        vmms_files_add_image(core, &effect, "devices.path", &row->devices[i]);
    return vmms_files_wait(core, effect, call);
}

static char *settings_data(const struct api_settings *settings)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "settings");
    api_record_write(&api_record_settings, settings, UINT64_MAX, &out);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

static char *created_data(const struct vmms_row *row)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "settings");
    api_record_write(&api_record_settings, &row->settings, UINT64_MAX, &out);
    json_key(&out, "devices");
    json_begin_array(&out);
    for (size_t i = 0; i < row->n_devices; i++)
        api_record_write(&api_record_device, &row->devices[i], UINT64_MAX, &out);
    json_end_array(&out);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* Controller 0 is always there, so that disks can come while the VM runs. */
static int place_devices(struct vmms_core *core, const struct api_vm_create_args *args,
                         struct vmms_row *ret, struct api_error **reterr)
{
    bool has_first = false;

    for (size_t i = 0; i < args->n_devices; i++)
        has_first = has_first || (args->devices[i].kind == API_DEVICE_KIND_SCSI &&
                                  args->devices[i].has & API_NEW_DEVICE_HAS_CONTROLLER &&
                                  args->devices[i].controller == 0);
    if (!has_first)
        vmms_make_controller(core, ret, 0);
    for (size_t i = 0; i < args->n_devices; i++) {
        if (!vmms_place_device(core, ret, &args->devices[i], "devices", true, reterr))
            return -EINVAL;
    }
    return 0;
}

static struct vmms_vm *new_vm(struct vmms_core *core, const struct api_vm_create_args *args,
                              struct vmms_row *devices)
{
    struct vmms_vm *vm = vmms_vm_new();

    hv_assert(vm);
    vm->is_new = true;
    vmms_new_id(core, vm->row.id);
    vm->row.created_ms = vmms_now_ms(core);
    vm->row.changed_ms = vm->row.created_ms;
    hv_assert(api_record_merge(&api_record_settings, &args->settings, &vm->row.settings) == 0);
    free(vm->row.settings.name);
    vm->row.settings.name = strdup(args->name);
    vm->row.settings.has |= API_SETTINGS_HAS_NAME;
    hv_assert(vm->row.settings.name);
    vm->row.devices = HV_TAKE_PTR(devices->devices);
    vm->row.n_devices = devices->n_devices;
    devices->n_devices = 0;
    return vm;
}

static int check_create(const struct vmms_core *core, struct api_vm_create_args *args,
                        struct api_error **reterr)
{
    struct api_settings name = { .name = args->name };
    int r;

    if (args->settings.has & API_SETTINGS_HAS_NAME)
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "vm.create.name", "settings.name",
                             "Give the name as the argument name, not among the settings.");
    if (core->by_id.count >= VMMS_MAX_VMS)
        return api_error_set(reterr, API_E_FAILED, "vm.too_many", NULL,
                             "This host has %d VMs, which is as many as the service keeps.",
                             VMMS_MAX_VMS);
    r = check_name(core, &name, NULL, reterr);
    return r < 0 ? r : check_settings(core, &args->settings, NULL, reterr);
}

static void commit_create(struct vmms_core *core, const struct api_vm_create_args *args,
                          struct vmms_row *devices, struct vmms_call *call)
{
    struct vmms_vm *vm = new_vm(core, args, devices);
    struct vmms_change *change;

    hv_assert(vmms_index_add(&core->by_id, vm) == 0);
    hv_assert(vmms_index_add(&core->by_name, vm) == 0);
    change = vmms_change_new(core, vm);
    change->kind = VMMS_ROW_INSERT;
    change->has_devices = true;
    vmms_change_event(core, change, "vm.created", call->actor, created_data(&vm->row));
    vmms_commit(core, vm, change, call)->replies = true;
}

static void plan_create(struct vmms_core *core, const struct api_vm_create_args *args,
                        struct vmms_row *devices, struct vmms_call *call)
{
    static const char *const steps[] = { "store the definition", NULL };
    struct vmms_vm *vm = new_vm(core, args, devices);

    vmms_plan_diff_rows(vmms_reply_plan(core, call, NULL, steps), NULL, &vm->row);
    vmms_vm_free(vm);
}

void vmms_create(struct vmms_core *core, struct vmms_call *call)
{
    struct api_vm_create_args *args = &call->request.args.vm_create;
    struct vmms_row devices = { 0 };
    struct api_error *error = NULL;

    if (!vmms_plan_is_current(core, NULL, call))
        return;
    if (check_create(core, args, &error) < 0 || place_devices(core, args, &devices, &error) < 0)
        vmms_reply_error(core, call, error);
    else if (wait_for_files(core, &args->settings, &devices, call))
        ;
    else if (args->plan)
        plan_create(core, args, &devices, call);
    else
        commit_create(core, args, &devices, call);
    vmms_devices_fini(&devices);
}

static int check_when(const struct vmms_vm *vm, uint64_t changed, struct api_error **reterr)
{
    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        const struct api_field *field = &api_record_settings.fields[i];
        int r;

        if (!(changed & UINT64_C(1) << i) || !field->is_off_only ||
            vm->row.state == API_VM_STATE_OFF)
            continue;
        r = api_error_set(reterr, API_E_RESTART_REQUIRED, "vm.configure.off_only", field->name,
                          "%s can be changed only while VM %s is off; it is %s.", field->name,
                          vmms_vm_name(vm), api_enum_vm_state.values[vm->row.state]);
        if (*reterr) {
            api_error_set_text(&(*reterr)->data.state, api_enum_vm_state.values[vm->row.state]);
            api_error_add(*reterr, &(*reterr)->data.allowed_states,
                          &(*reterr)->data.n_allowed_states, "off");
            api_error_hint(*reterr,
                           "%s; or give stage=true: then it is changed when the VM is off.",
                           vm->row.state == API_VM_STATE_SAVED
                               ? "Start it and turn it off, or discard its saved state"
                               : "Turn it off, change the setting and start it again");
        }
        return r;
    }
    return 0;
}

static void plan_configure(struct vmms_core *core, const struct vmms_vm *vm,
                           const struct api_settings *after, const struct vmms_edit *edit,
                           struct vmms_call *call)
{
    uint64_t changed = api_record_diff(&api_record_settings, &vm->row.settings, after);
    struct vmms_row row = vm->row; /* with other settings; owns nothing */
    struct api_plan *plan;
    char texts[MAX_STEPS][STEP_BYTES];
    const char *steps[MAX_STEPS];
    size_t count = 0;

    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        if (!(changed & UINT64_C(1) << i))
            continue;
        (void)snprintf(texts[count], STEP_BYTES, "change %s", api_record_settings.fields[i].name);
        steps[count] = texts[count];
        count++;
    }
    if (edit->is_staged)
        steps[count++] = "keep the rest for when the VM is off";
    steps[count] = NULL;
    plan = vmms_reply_plan(core, call, vm, steps);
    row.settings = *after;
    vmms_plan_diff_rows(plan, &vm->row, &row);
    if (edit->is_staged)
        vmms_plan_diff_staged(plan, vm, &edit->staged, true);
}

static const uint64_t service_settings =
    API_SETTINGS_HAS_INTEGRATION_HEARTBEAT | API_SETTINGS_HAS_INTEGRATION_SHUTDOWN |
    API_SETTINGS_HAS_INTEGRATION_TIME_SYNC | API_SETTINGS_HAS_INTEGRATION_KVP |
    API_SETTINGS_HAS_INTEGRATION_VSS | API_SETTINGS_HAS_INTEGRATION_GUEST_SERVICES;

void vmms_after_configure(struct vmms_core *core, struct vmms_vm *vm)
{
    if (vm->are_services_changed && vm->is_greeted && vmms_has_worker(vm->row.state) &&
        vm->row.state != API_VM_STATE_SAVING) {
        vmms_ask_worker(core, vm, VMMS_WORKER_SET_SERVICES);
        vmms_ask_worker(core, vm, VMMS_WORKER_SET_PAIRS); /* a service that was off forgot them */
    }
    if (vm->is_critical_changed && vm->is_greeted && vmms_has_worker(vm->row.state))
        vmms_ask_worker(core, vm, VMMS_WORKER_HOLD_STORAGE);
    vm->are_services_changed = vm->is_critical_changed = false;
}

static void commit_configure(struct vmms_core *core, struct vmms_vm *vm,
                             struct api_settings *settings, struct vmms_edit *edit,
                             struct vmms_call *call)
{
    struct vmms_change *change = vmms_change_new(core, vm);
    bool is_rename = strcmp(settings->name, vmms_vm_name(vm)) != 0;
    uint64_t changed = api_record_diff(&api_record_settings, &vm->row.settings, settings);
    struct vmms_pending *pending;

    api_settings_fini(&change->row.settings);
    change->row.settings = *settings;
    *settings = (struct api_settings){ 0 };
    if (changed)
        vmms_change_event(core, change, is_rename ? "vm.renamed" : "vm.configured", call->actor,
                          settings_data(&edit->now));
    if (edit->is_staged)
        vmms_staged_put(core, change, &edit->staged, call->actor);
    vm->are_services_changed = changed & service_settings;
    vm->is_critical_changed = changed & API_SETTINGS_HAS_AUTO_CRITICAL;
    pending = vmms_commit(core, vm, change, call);
    pending->replies = true;
    pending->then = vmms_after_configure;
}

void vmms_configure(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    HV_CLEANUP(api_settings_fini) struct api_settings after = { 0 };
    HV_CLEANUP(vmms_edit_fini) struct vmms_edit edit = { 0 };
    const struct api_vm_configure_args *args = &call->request.args.vm_configure;
    struct api_error *error = NULL;
    uint64_t changed;

    if (args->unstage) {
        vmms_unstage(core, vm, call);
        return;
    }
    vmms_edit_begin(vm, &args->settings, args->stage, &edit);
    hv_assert(api_settings_copy(&vm->row.settings, &after) == 0);
    hv_assert(api_record_merge(&api_record_settings, &edit.now, &after) == 0);
    changed = api_record_diff(&api_record_settings, &vm->row.settings, &after);
    if (check_settings(core, &args->settings, vm, &error) < 0 ||
        check_when(vm, changed, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (wait_for_files(core, &args->settings, NULL, call))
        return;
    if (args->plan)
        plan_configure(core, vm, &after, &edit, call);
    else if (!changed && !edit.is_staged)
        vmms_reply_changed(core, call, vm, true, 0);
    else
        commit_configure(core, vm, &after, &edit, call);
}

void vmms_delete(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    const char *const steps[] = { "delete the definition", "remove its files",
                                  vm->groups.count ? "take it out of its groups" : NULL, NULL };
    struct api_error *error = NULL;
    struct vmms_change *change;

    if (!vmms_verb_is_allowed(API_METHOD_VM_DELETE, vm->row.state)) {
        api_error_set(&error, API_E_INVALID_STATE, "vm.state", NULL,
                      "VM %s is %s: only a VM that is off or saved can be deleted.",
                      vmms_vm_name(vm), api_enum_vm_state.values[vm->row.state]);
        vmms_say_states(API_METHOD_VM_DELETE, vm->row.state, error);
        api_error_hint(error, "Turn it off first.");
        vmms_reply_error(core, call, error);
        return;
    }
    if (call->request.args.vm_delete.plan) {
        vmms_plan_diff_rows(vmms_reply_plan(core, call, vm, steps), &vm->row, NULL);
        return;
    }
    if (vmms_groups_wait(core, call))
        return;
    change = vmms_change_new(core, vm);
    change->kind = VMMS_ROW_DELETE;
    vmms_change_event(core, change, "vm.deleted", call->actor, strdup("{}"));
    vmms_groups_leave(core, vm, change, call->actor);
    vmms_commit(core, vm, change, call);
}
