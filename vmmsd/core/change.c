/* SPDX-License-Identifier: Apache-2.0 */
/* Making, configuring and deleting VMs. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_STEPS = 65, STEP_BYTES = 200 };

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

    if (vm && vm != self)
        return true;
    for (size_t i = 0; i < core->by_id.count; i++) {
        vm = core->by_id.vms[i];
        if (vm != self && vm->pending && strcmp(vm->pending->row.settings.name, name) == 0)
            return true;
    }
    return false;
}

static int check_name(const struct vmms_core *core, const struct api_settings *wanted,
                      const struct vmms_vm *self, struct api_error **reterr)
{
    int r;

    if (!wanted->name || !is_name_taken(core, wanted->name, self))
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

    return r < 0 ? r : check_host_limits(core, wanted, reterr);
}

/* Ask for a look at the files that are named; true when there are any and the call waits. */
static bool wait_for_files(struct vmms_core *core, const struct api_settings *wanted,
                           struct vmms_call *call)
{
    struct vmms_effect *effect = NULL;

    if (call->are_files_checked)
        return false;
    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        const struct api_field *field = &api_record_settings.fields[i];
        struct vmms_file *file;

        if (!field->is_file || !api_record_has(field, i, wanted) || !*setting_text(wanted, field))
            continue;
        if (!effect)
            effect = vmms_emit(core, VMMS_EFFECT_CHECK_FILES);
        hv_assert(effect->n_files < VMMS_MAX_FILES);
        file = &effect->files[effect->n_files++];
        file->field = strdup(field->name);
        file->path = strdup(setting_text(wanted, field));
        hv_assert(file->field && file->path);
    }
    if (!effect)
        return false;
    effect->call = call->id;
    hv_list_append(&core->checking, &call->node);
    return true;
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

static struct vmms_vm *new_vm(struct vmms_core *core, const struct api_vm_create_args *args)
{
    struct vmms_vm *vm = vmms_vm_new();

    hv_assert(vm);
    vm->is_new = true;
    vmms_random_guid(core, vm->row.id);
    vm->row.created_ms = vmms_now_ms(core);
    vm->row.changed_ms = vm->row.created_ms;
    hv_assert(api_record_merge(&api_record_settings, &args->settings, &vm->row.settings) == 0);
    free(vm->row.settings.name);
    vm->row.settings.name = strdup(args->name);
    vm->row.settings.has |= API_SETTINGS_HAS_NAME;
    hv_assert(vm->row.settings.name);
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

void vmms_create(struct vmms_core *core, struct vmms_call *call)
{
    static const char *const steps[] = { "store the definition", NULL };
    struct api_vm_create_args *args = &call->request.args.vm_create;
    struct api_error *error = NULL;
    struct vmms_change *change;
    struct vmms_vm *vm;

    if (check_create(core, args, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (wait_for_files(core, &args->settings, call))
        return;
    if (args->plan) {
        vmms_reply_plan(core, call, NULL, steps);
        return;
    }
    vm = new_vm(core, args);
    hv_assert(vmms_index_add(&core->by_id, vm) == 0);
    hv_assert(vmms_index_add(&core->by_name, vm) == 0);
    change = vmms_change_new(core, vm);
    change->kind = VMMS_ROW_INSERT;
    vmms_change_event(core, change, "vm.created", call->actor, settings_data(&vm->row.settings));
    vmms_commit(core, vm, change, call)->replies = true;
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
            api_error_hint(*reterr, "Turn it off, change the setting and start it again.");
        }
        return r;
    }
    return 0;
}

static void plan_configure(struct vmms_core *core, const struct vmms_vm *vm, uint64_t changed,
                           struct vmms_call *call)
{
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
    steps[count] = NULL;
    vmms_reply_plan(core, call, vm, steps);
}

static void commit_configure(struct vmms_core *core, struct vmms_vm *vm,
                             struct api_settings *settings, const struct api_settings *patch,
                             struct vmms_call *call)
{
    struct vmms_change *change = vmms_change_new(core, vm);
    bool is_rename = strcmp(settings->name, vmms_vm_name(vm)) != 0;

    api_settings_fini(&change->row.settings);
    change->row.settings = *settings;
    *settings = (struct api_settings){ 0 };
    vmms_change_event(core, change, is_rename ? "vm.renamed" : "vm.configured", call->actor,
                      settings_data(patch));
    vmms_commit(core, vm, change, call)->replies = true;
}

void vmms_configure(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    HV_CLEANUP(api_settings_fini) struct api_settings after = { 0 };
    const struct api_vm_configure_args *args = &call->request.args.vm_configure;
    struct api_error *error = NULL;
    uint64_t changed;

    hv_assert(api_settings_copy(&vm->row.settings, &after) == 0);
    hv_assert(api_record_merge(&api_record_settings, &args->settings, &after) == 0);
    changed = api_record_diff(&api_record_settings, &vm->row.settings, &after);
    if (check_settings(core, &args->settings, vm, &error) < 0 ||
        check_when(vm, changed, &error) < 0) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (wait_for_files(core, &args->settings, call))
        return;
    if (args->plan)
        plan_configure(core, vm, changed, call);
    else if (!changed)
        vmms_reply_changed(core, call, vm, true, 0);
    else
        commit_configure(core, vm, &after, &args->settings, call);
}

void vmms_delete(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const steps[] = { "delete the definition", "remove its files", NULL };
    struct api_error *error = NULL;
    struct vmms_change *change;

    if (!vmms_verb_is_allowed(API_METHOD_VM_DELETE, vm->row.state)) {
        api_error_set(&error, API_E_INVALID_STATE, "vm.state", NULL,
                      "VM %s is %s: only a VM that is off can be deleted.", vmms_vm_name(vm),
                      api_enum_vm_state.values[vm->row.state]);
        vmms_say_states(API_METHOD_VM_DELETE, vm->row.state, error);
        api_error_hint(error, "Turn it off first.");
        vmms_reply_error(core, call, error);
        return;
    }
    if (call->request.args.vm_delete.plan) {
        vmms_reply_plan(core, call, vm, steps);
        return;
    }
    change = vmms_change_new(core, vm);
    change->kind = VMMS_ROW_DELETE;
    vmms_change_event(core, change, "vm.deleted", call->actor, strdup("{}"));
    vmms_commit(core, vm, change, call);
}
