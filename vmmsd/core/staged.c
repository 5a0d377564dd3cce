/* SPDX-License-Identifier: Apache-2.0 */
/* Changes that wait for their VM to be off: kept in its row, and made so by the transaction that
 * stores Off. Management model, section 7. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <string.h>

/* Bits of the fields that a patch gives or clears. */
static uint64_t named_in(const struct api_settings *patch)
{
    uint64_t bits = patch->cleared;

    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        if (api_record_has(&api_record_settings.fields[i], i, patch))
            bits |= UINT64_C(1) << i;
    }
    return bits;
}

static uint64_t off_only(void)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        if (api_record_settings.fields[i].is_off_only)
            bits |= UINT64_C(1) << i;
    }
    return bits;
}

/* These fields are named no more. */
static void drop(struct api_settings *patch, uint64_t bits)
{
    const struct api_settings nothing = { .cleared = bits };

    hv_assert(api_record_merge(&api_record_settings, &nothing, patch) == 0);
    patch->cleared &= ~bits;
}

/* Put a patch over another one. */
static void overlay(const struct api_settings *patch, struct api_settings *onto)
{
    uint64_t named = named_in(patch);

    hv_assert(api_record_merge(&api_record_settings, patch, onto) == 0);
    onto->cleared = (onto->cleared & ~named) | patch->cleared;
}

/* Does the row differ in those fields from what the patch would make of it? */
static uint64_t differing(const struct api_settings *row, const struct api_settings *patch)
{
    HV_CLEANUP(api_settings_fini) struct api_settings after = { 0 };

    hv_assert(api_settings_copy(row, &after) == 0);
    hv_assert(api_record_merge(&api_record_settings, patch, &after) == 0);
    return api_record_diff(&api_record_settings, row, &after);
}

bool vmms_staged_is_empty(const struct api_pending_config *staged)
{
    return !named_in(&staged->settings) && !staged->n_add && !staged->n_remove;
}

void vmms_edit_fini(struct vmms_edit *edit)
{
    api_settings_fini(&edit->now);
    api_pending_config_fini(&edit->staged);
}

static bool is_same_patch(const struct api_settings *a, const struct api_settings *b)
{
    return a->cleared == b->cleared && !api_record_diff(&api_record_settings, a, b);
}

/* What waits and is wanted as it is already waits no more. */
void vmms_edit_begin(const struct vmms_vm *vm, const struct api_settings *patch, bool stage,
                     struct vmms_edit *ret)
{
    HV_CLEANUP(api_settings_fini) struct api_settings later = { 0 };
    uint64_t late;

    *ret = (struct vmms_edit){ 0 };
    hv_assert(api_settings_copy(patch, &ret->now) == 0);
    if (!stage || vm->row.state == API_VM_STATE_OFF)
        return;
    late = named_in(patch) & off_only();
    drop(&ret->now, late);
    hv_assert(api_settings_copy(patch, &later) == 0);
    drop(&later, ~late & named_in(patch));
    hv_assert(api_pending_config_copy(&vm->row.staged, &ret->staged) == 0);
    drop(&ret->staged.settings, late);
    drop(&later, late & ~differing(&vm->row.settings, &later));
    overlay(&later, &ret->staged.settings);
    ret->staged.has |= API_PENDING_CONFIG_HAS_SETTINGS;
    ret->is_staged = !is_same_patch(&ret->staged.settings, &vm->row.staged.settings);
}

static char *staged_data(const struct api_pending_config *staged)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "pending_config");
    api_record_write(&api_record_pending_config, staged, UINT64_MAX, &out);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

void vmms_staged_put(struct vmms_core *core, struct vmms_change *change,
                     struct api_pending_config *staged, const char *actor)
{
    api_pending_config_fini(&change->row.staged);
    change->row.staged = *staged;
    *staged = (struct api_pending_config){ 0 };
    vmms_change_event(core, change, "vm.config_staged", actor, staged_data(&change->row.staged));
}

/* At Off */

static bool has_devices_at(const struct vmms_row *row, uint32_t controller)
{
    for (size_t i = 0; i < row->n_devices; i++) {
        if (row->devices[i].kind != API_DEVICE_KIND_SCSI &&
            row->devices[i].controller == controller)
            return true;
    }
    return false;
}

/* What became impossible in the meantime, by disks that came and went, is left out. */
static void apply_removals(struct vmms_row *row)
{
    for (size_t i = 0; i < row->staged.n_remove; i++) {
        const struct api_device *device = &row->staged.remove[i];

        if (device->kind != API_DEVICE_KIND_SCSI || !has_devices_at(row, device->controller))
            vmms_devices_remove(row, device->id);
    }
}

static bool is_there(const struct vmms_row *row, const struct api_device *device)
{
    for (size_t i = 0; device->path && i < row->n_devices; i++) {
        if (row->devices[i].path && strcmp(row->devices[i].path, device->path) == 0)
            return true;
    }
    return device->kind == API_DEVICE_KIND_SCSI
               ? vmms_devices_controller(row, device->controller) != NULL
               : vmms_devices_at(row, device->controller, device->lun) != NULL;
}

static void apply_additions(struct vmms_row *row)
{
    for (size_t i = 0; i < row->staged.n_add; i++) {
        struct api_device copy;

        if (is_there(row, &row->staged.add[i]))
            continue;
        hv_assert(api_device_copy(&row->staged.add[i], &copy) == 0);
        vmms_devices_insert(row, &copy);
    }
}

void vmms_staged_devices_apply(struct vmms_row *row)
{
    apply_removals(row);
    apply_additions(row);
}

static char *applied_data(const struct api_pending_config *staged)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "staged");
    json_put_bool(&out, true);
    json_key(&out, "settings");
    api_record_write(&api_record_settings, &staged->settings, UINT64_MAX, &out);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

void vmms_staged_apply(struct vmms_core *core, struct vmms_change *change)
{
    struct vmms_row *row = &change->row;
    struct api_pending_config *staged = &row->staged;

    if (vmms_staged_is_empty(staged)) {
        api_pending_config_fini(staged);
        return;
    }
    hv_assert(api_record_merge(&api_record_settings, &staged->settings, &row->settings) == 0);
    vmms_staged_devices_apply(row);
    change->has_devices = change->has_devices || staged->n_add || staged->n_remove;
    vmms_change_event(core, change, "vm.configured", "host", applied_data(staged));
    api_pending_config_fini(staged);
}

/* For clients */

int vmms_staged_view(const struct vmms_vm *vm, struct api_vm *ret)
{
    HV_CLEANUP(api_settings_fini) struct api_settings defaults = { 0 };
    struct api_settings *shown = &ret->pending_config.settings;

    if (vmms_staged_is_empty(&vm->row.staged))
        return 0;
    if (api_pending_config_copy(&vm->row.staged, &ret->pending_config) < 0)
        return -ENOMEM;
    ret->has |= API_VM_HAS_PENDING_CONFIG;
    hv_assert(api_record_fill(&api_record_settings, &defaults) == 0);
    drop(&defaults, named_in(&defaults) & ~shown->cleared);
    hv_assert(api_record_merge(&api_record_settings, &defaults, shown) == 0);
    shown->cleared = 0;
    return 0;
}

/* Dropping */

static void commit_unstaged(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                            struct api_pending_config *staged)
{
    struct vmms_change *change = vmms_change_new(core, vm);

    vmms_staged_put(core, change, staged, call->actor);
    vmms_commit(core, vm, change, call)->replies = true;
}

void vmms_unstage(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    static const char *const steps[] = { "drop what waits for the VM to be off", NULL };
    const struct api_vm_configure_args *args = &call->request.args.vm_configure;
    HV_CLEANUP(api_pending_config_fini) struct api_pending_config after = { 0 };
    uint64_t named = named_in(&args->settings);
    bool is_nothing;

    if (named) {
        hv_assert(api_pending_config_copy(&vm->row.staged, &after) == 0);
        drop(&after.settings, named);
    }
    is_nothing = named ? is_same_patch(&after.settings, &vm->row.staged.settings)
                       : vmms_staged_is_empty(&vm->row.staged);
    if (args->plan)
        vmms_reply_plan(core, call, vm, is_nothing ? steps + 1 : steps);
    else if (is_nothing)
        vmms_reply_changed(core, call, vm, true, 0);
    else
        commit_unstaged(core, vm, call, &after);
}
