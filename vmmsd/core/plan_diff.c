/* SPDX-License-Identifier: Apache-2.0 */
/* What would be other than it is, value by value. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>

/* from, to: JSON, taken, or NULL */
static struct api_plan_diff *put(struct api_plan *plan, const char *object, const char *field,
                                 char *from, char *to)
{
    struct api_plan_diff *diff;

    plan->diff = reallocarray(plan->diff, plan->n_diff + 1, sizeof(*plan->diff));
    hv_assert(plan->diff);
    diff = &plan->diff[plan->n_diff++];
    *diff = (struct api_plan_diff){
        .object = object ? strdup(object) : NULL, .field = strdup(field), .from = from, .to = to
    };
    hv_assert(diff->field && (!object || diff->object));
    return diff;
}

static char *setting_json(const struct api_settings *settings, size_t index)
{
    const struct api_field *field = &api_record_settings.fields[index];
    struct json_writer out = { 0 };
    char *text;

    if (!settings || !api_record_has(field, index, settings))
        return NULL;
    api_field_write(field, settings, &out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

static char *text_json(const char *value)
{
    struct json_writer out = { 0 };
    char *text;

    if (!value || !*value)
        return NULL;
    json_put_string(&out, value);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

void vmms_plan_diff_text(struct api_plan *plan, const char *object, const char *field,
                         const char *from, const char *to)
{
    if (strcmp(from ? from : "", to ? to : "") != 0)
        put(plan, object, field, text_json(from), text_json(to));
}

static char *device_json(const struct api_device *device)
{
    struct json_writer out = { 0 };
    char *text;

    if (!device)
        return NULL;
    api_record_write(&api_record_device, device, UINT64_MAX, &out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

static void put_device(struct api_plan *plan, const char *object, const struct api_device *from,
                       const struct api_device *to, bool when_off)
{
    const struct api_device *device = to ? to : from;
    const char *kind = api_enum_device_kind.values[device->kind];
    char field[40];

    if (device->kind == API_DEVICE_KIND_SCSI)
        (void)snprintf(field, sizeof(field), "%s %u", kind, device->controller);
    else
        (void)snprintf(field, sizeof(field), "%s %u:%u", kind, device->controller, device->lun);
    put(plan, object, field, device_json(from), device_json(to))->when_off = when_off;
}

static bool is_same_medium(const struct api_device *a, const struct api_device *b)
{
    return strcmp(a->path ? a->path : "", b->path ? b->path : "") == 0;
}

static void diff_devices(struct api_plan *plan, const char *object, const struct vmms_row *from,
                         const struct vmms_row *to)
{
    for (size_t i = 0; from && i < from->n_devices; i++) {
        const struct api_device *other = to ? vmms_devices_find(to, from->devices[i].id) : NULL;

        if (!other || !is_same_medium(&from->devices[i], other))
            put_device(plan, object, &from->devices[i], other, false);
    }
    for (size_t i = 0; to && i < to->n_devices; i++) {
        if (!from || !vmms_devices_find(from, to->devices[i].id))
            put_device(plan, object, NULL, &to->devices[i], false);
    }
}

void vmms_plan_diff_rows(struct api_plan *plan, const struct vmms_row *from,
                         const struct vmms_row *to)
{
    static const struct api_settings nothing;
    const struct api_settings *before = from ? &from->settings : &nothing;
    const struct api_settings *after = to ? &to->settings : &nothing;
    const char *object = from ? from->id : to->settings.name;
    uint64_t bits = api_record_diff(&api_record_settings, before, after);

    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        if (bits & UINT64_C(1) << i)
            put(plan, object, api_record_settings.fields[i].name, setting_json(before, i),
                setting_json(after, i));
    }
    diff_devices(plan, object, from, to);
}

void vmms_plan_diff_staged(struct api_plan *plan, const struct vmms_vm *vm,
                           const struct api_pending_config *staged, bool is_to_wait)
{
    const char *object = vm->row.id;

    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        bool is_cleared = staged->settings.cleared & UINT64_C(1) << i;

        if (!is_cleared && !api_record_has(&api_record_settings.fields[i], i, &staged->settings))
            continue;
        put(plan, object, api_record_settings.fields[i].name, setting_json(&vm->row.settings, i),
            setting_json(&staged->settings, i))
            ->when_off = is_to_wait;
    }
    for (size_t i = 0; i < staged->n_add; i++)
        put_device(plan, object, NULL, &staged->add[i], is_to_wait);
    for (size_t i = 0; i < staged->n_remove; i++)
        put_device(plan, object, &staged->remove[i], NULL, is_to_wait);
    if (!is_to_wait)
        return;
    api_error_set_text(&plan->verdict, "needs_restart");
}

static char *state_json(enum api_vm_state state)
{
    char *text;

    hv_assert(asprintf(&text, "\"%s\"", api_enum_vm_state.values[state]) > 0);
    return text;
}

void vmms_plan_diff_state(struct api_plan *plan, const struct vmms_vm *vm, enum api_vm_state to)
{
    put(plan, vm->row.id, "state", state_json(vm->row.state), state_json(to));
}
