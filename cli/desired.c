/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/desired_priv.h"

#include "api/rpc/json.h"

#include "api/gen/tables.h"

#include <stdio.h>
#include <string.h>

void desired_ops_fini(struct desired_ops *ops)
{
    json_writer_fini(&ops->ops);
    json_writer_fini(&ops->powers);
    for (size_t i = 0; i < ops->n_changes; i++) {
        free(ops->changes[i].name);
        free(ops->changes[i].id);
    }
}

/* Writing calls */

struct json_writer *desired_begin_op(struct json_writer *out, size_t *count, const char *method)
{
    (*count)++;
    json_begin_object(out);
    json_key(out, "method");
    json_put_string(out, method);
    json_key(out, "params");
    json_begin_object(out);
    return out;
}

void desired_end_op(struct json_writer *out)
{
    json_end_object(out);
    json_end_object(out);
}

static struct json_writer *begin_vm_op(struct desired_ops *ops, const char *method,
                                       const struct api_vm *vm)
{
    struct json_writer *out = desired_begin_op(&ops->ops, &ops->count, method);

    json_key(out, "vm");
    json_put_string(out, vm->id);
    return out;
}

int desired_note(const char *file, struct desired_ops *ops, char mark, const char *name,
                 const char *id, bool is_group)
{
    struct desired_change *change = &ops->changes[ops->n_changes];

    if (ops->n_changes == DESIRED_MAX_CHANGES)
        return desired_bad(file,
                           "%s \"%.100s\": more than %d VMs and groups would change at once; use "
                           "several files.",
                           is_group ? "group" : "VM", name, DESIRED_MAX_CHANGES);
    ops->n_changes++;
    change->mark = mark;
    change->is_group = is_group;
    change->name = strdup(name);
    change->id = id ? strdup(id) : NULL;
    hv_assert(change->name && (!id || change->id));
    return 0;
}

static void put_power(struct desired_ops *ops, const char *method, const char *vm)
{
    struct json_writer *out = desired_begin_op(&ops->powers, &ops->n_powers, method);

    json_key(out, "vm");
    json_put_string(out, vm);
    desired_end_op(out);
}

/* An image that is to be made before the device is there. params: or NULL, none */
static void put_image(const char *params, struct desired_ops *ops)
{
    struct json_writer *out = &ops->ops;

    if (!params)
        return;
    ops->count++;
    json_begin_object(out);
    json_key(out, "method");
    json_put_string(out, "image.create");
    json_key(out, "params");
    json_put_raw(out, params, strlen(params));
    json_end_object(out);
}

/* The difference */

static int create(const char *file, const struct desired_wanted *wanted, struct desired_ops *ops)
{
    struct json_writer *out = &ops->ops;
    int r = desired_note(file, ops, '+', wanted->name, NULL, false);

    if (r)
        return r;
    for (size_t i = 0; i < wanted->n_devices; i++)
        put_image(wanted->images[i], ops);
    (void)desired_begin_op(out, &ops->count, "vm.create");
    json_key(out, "name");
    json_put_string(out, wanted->name);
    json_key(out, "settings");
    api_record_write(&api_record_settings, &wanted->settings, ~wanted->settings.cleared, out);
    json_key(out, "devices");
    json_begin_array(out);
    for (size_t i = 0; i < wanted->n_devices; i++)
        api_record_write(&api_record_new_device, &wanted->devices[i], UINT64_MAX, out);
    json_end_array(out);
    desired_end_op(out);
    if (!wanted->is_on)
        return 0;
    ops->changes[ops->n_changes - 1].power = "start";
    put_power(ops, "vm.start", wanted->name);
    return 0;
}

/* Settings count as they are or will be, when they wait for the VM to be off. */
static void compare_settings(const struct desired_wanted *wanted, const struct api_vm *vm,
                             struct desired_ops *ops)
{
    HV_CLEANUP(api_settings_fini) struct api_settings now = { 0 }, after = { 0 };
    struct json_writer *out;
    uint64_t changed;

    hv_assert(api_settings_copy(&vm->settings, &now) == 0);
    if (vm->has & API_VM_HAS_PENDING_CONFIG)
        hv_assert(api_record_merge(&api_record_settings, &vm->pending_config.settings, &now) == 0);
    hv_assert(api_settings_copy(&now, &after) == 0);
    hv_assert(api_record_merge(&api_record_settings, &wanted->settings, &after) == 0);
    hv_assert(api_record_fill(&api_record_settings, &after) == 0);
    changed = api_record_diff(&api_record_settings, &now, &after);
    if (!changed)
        return;
    out = begin_vm_op(ops, "vm.configure", vm);
    json_key(out, "settings");
    api_record_write(&api_record_settings, &wanted->settings, changed, out);
    json_key(out, "stage");
    json_put_bool(out, true);
    desired_end_op(out);
}

static bool is_same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool fits_place(const struct api_new_device *wanted, const struct api_device *device)
{
    if (wanted->has & API_NEW_DEVICE_HAS_CONTROLLER && wanted->controller != device->controller)
        return false;
    return !(wanted->has & API_NEW_DEVICE_HAS_LUN) || wanted->lun == device->lun;
}

static bool is_that(const struct api_new_device *wanted, const struct api_device *device)
{
    if (wanted->kind != device->kind || !fits_place(wanted, device))
        return false;
    if (wanted->kind == API_DEVICE_KIND_SCSI)
        return true;
    return is_same_text(wanted->path, device->path) &&
           (wanted->kind == API_DEVICE_KIND_DVD || wanted->read_only == device->read_only);
}

/* A drive at the place that is wanted, with another medium. */
static bool is_that_drive(const struct api_new_device *wanted, const struct api_device *device)
{
    const uint64_t place = API_NEW_DEVICE_HAS_CONTROLLER | API_NEW_DEVICE_HAS_LUN;

    return wanted->kind == API_DEVICE_KIND_DVD && device->kind == API_DEVICE_KIND_DVD &&
           (wanted->has & place) == place && fits_place(wanted, device);
}

struct pairing {
    const struct desired_wanted *wanted;
    const struct api_vm *vm;
    bool *is_kept;  /* of the VM's devices, then of those that wait */
    bool *is_found; /* of what is wanted */
};

static const struct api_device *device_at(const struct api_vm *vm, size_t index)
{
    return index < vm->n_devices ? &vm->devices[index]
                                 : &vm->pending_config.add[index - vm->n_devices];
}

static void pair(const struct pairing *p,
                 bool (*matches)(const struct api_new_device *, const struct api_device *),
                 size_t count, struct desired_ops *ops)
{
    for (size_t w = 0; w < p->wanted->n_devices; w++) {
        for (size_t i = 0; i < count && !p->is_found[w]; i++) {
            const struct api_device *device = device_at(p->vm, i);
            struct json_writer *out;

            if (p->is_kept[i] || !matches(&p->wanted->devices[w], device))
                continue;
            p->is_kept[i] = p->is_found[w] = true;
            if (!ops)
                continue;
            out = begin_vm_op(ops, "vm.modify_device", p->vm);
            json_key(out, "device");
            json_put_string(out, device->id);
            json_key(out, "settings");
            json_begin_object(out);
            json_key(out, "path");
            json_put_string(out, p->wanted->devices[w].path ? p->wanted->devices[w].path : "");
            json_end_object(out);
            desired_end_op(out);
        }
    }
}

static void remove_others(const struct pairing *p, struct desired_ops *ops)
{
    for (size_t i = 0; i < p->vm->n_devices; i++) {
        struct json_writer *out;

        if (p->is_kept[i] || p->vm->devices[i].kind == API_DEVICE_KIND_SCSI)
            continue;
        out = begin_vm_op(ops, "vm.remove_device", p->vm);
        json_key(out, "device");
        json_put_string(out, p->vm->devices[i].id);
        desired_end_op(out);
    }
}

static void add_missing(const struct pairing *p, struct desired_ops *ops)
{
    for (size_t w = 0; w < p->wanted->n_devices; w++) {
        struct json_writer *out;

        if (p->is_found[w])
            continue;
        put_image(p->wanted->images[w], ops);
        out = begin_vm_op(ops, "vm.add_device", p->vm);
        json_key(out, "settings");
        api_record_write(&api_record_new_device, &p->wanted->devices[w], UINT64_MAX, out);
        json_key(out, "stage");
        json_put_bool(out, true);
        desired_end_op(out);
    }
}

static void compare_devices(const struct desired_wanted *wanted, const struct api_vm *vm,
                            struct desired_ops *ops)
{
    size_t count = vm->n_devices + vm->pending_config.n_add;
    struct pairing p = { .wanted = wanted,
                         .vm = vm,
                         .is_kept = calloc(count + 1, sizeof(bool)),
                         .is_found = calloc(wanted->n_devices + 1, sizeof(bool)) };

    hv_assert(p.is_kept && p.is_found);
    pair(&p, is_that, count, NULL);
    pair(&p, is_that_drive, vm->n_devices, ops);
    remove_others(&p, ops);
    add_missing(&p, ops);
    free(p.is_kept);
    free(p.is_found);
}

static int change(const char *file, const struct desired_wanted *wanted, const struct api_vm *vm,
                  struct desired_ops *ops)
{
    bool is_off = vm->state == API_VM_STATE_OFF;
    size_t before = ops->count;
    const char *power = NULL;
    int r;

    compare_settings(wanted, vm, ops);
    if (wanted->has_devices)
        compare_devices(wanted, vm, ops);
    if (wanted->has_state && wanted->is_on && vm->state != API_VM_STATE_RUNNING) {
        power = vm->state == API_VM_STATE_PAUSED ? "resume" : "start";
        put_power(ops, vm->state == API_VM_STATE_PAUSED ? "vm.resume" : "vm.start", vm->id);
    } else if (wanted->has_state && !wanted->is_on && !is_off) {
        power = "turn off";
        put_power(ops, "vm.turn_off", vm->id);
    }
    if (ops->count == before && !power)
        return 0;
    r = desired_note(file, ops, '~', wanted->name, vm->id, false);
    if (r == 0)
        ops->changes[ops->n_changes - 1].power = power;
    return r;
}

/* As a whole */

int desired_get(struct adm *adm, enum api_method method, char *params, union api_result *ret,
                bool *ret_is_there)
{
    hv_autofree char *text = params;
    struct api_error *error = NULL;

    *ret_is_there = api_client_get(adm->client, method, text, ret, &error) == 0;
    if (*ret_is_there)
        return 0;
    if (!error || error->code != API_E_NOT_FOUND)
        return adm_fail(adm, error);
    api_error_free(error);
    return 0;
}

static int get_vm(struct adm *adm, const char *name, union api_result *ret, bool *ret_is_there)
{
    struct json_writer params = { 0 };

    json_begin_object(&params);
    json_key(&params, "vm");
    json_put_string(&params, name);
    return desired_get(adm, API_METHOD_VM_GET, adm_end_params(&params), ret, ret_is_there);
}

/* An image that is there already is not made. Returns 0, or an exit status. */
static int drop_made_images(struct adm *adm, struct desired_wanted *wanted)
{
    for (size_t i = 0; i < wanted->n_devices; i++) {
        struct json_writer params = { 0 };
        struct api_error *error = NULL;
        hv_autofree char *text = NULL;
        union api_result result = { 0 };

        if (!wanted->images[i])
            continue;
        json_begin_object(&params);
        json_key(&params, "path");
        json_put_string(&params, wanted->devices[i].path);
        text = adm_end_params(&params);
        if (api_client_get(adm->client, API_METHOD_IMAGE_INFO, text, &result, &error) == 0) {
            api_image_fini(&result.image);
        } else if (error && error->code == API_E_FILE_NOT_FOUND) {
            api_error_free(error);
            continue;
        } else if (!error || error->code != API_E_IN_USE) {
            return adm_fail(adm, error);
        }
        api_error_free(error);
        free(wanted->images[i]);
        wanted->images[i] = NULL;
    }
    return 0;
}

static int compare_vm(struct adm *adm, const char *file, const struct json_value *value,
                      size_t index, struct desired_ops *ops)
{
    struct desired_wanted wanted = { 0 };
    union api_result result;
    bool is_there = false;
    int r;

    (void)snprintf(wanted.place, sizeof(wanted.place), "vms[%zu]", index);
    r = desired_read(file, value, &wanted);
    if (r == 0)
        r = drop_made_images(adm, &wanted);
    if (r == 0)
        r = get_vm(adm, wanted.name, &result, &is_there);
    if (r == 0 && is_there)
        r = change(file, &wanted, &result.vm, ops);
    else if (r == 0)
        r = create(file, &wanted, ops);
    if (is_there)
        api_vm_fini(&result.vm);
    desired_wanted_fini(&wanted);
    return r;
}

static int compare_absent(struct adm *adm, const char *file, const struct json_value *value,
                          size_t index, struct desired_ops *ops)
{
    union api_result result;
    bool is_there = false;
    int r;

    if (value->type != JSON_STRING)
        return desired_bad(file, "absent[%zu] is %s where a VM's name is expected.", index,
                           json_type_phrase(value->type));
    r = get_vm(adm, value->text, &result, &is_there);
    if (!is_there)
        return r;
    r = desired_note(file, ops, '-', value->text, result.vm.id, false);
    desired_end_op(begin_vm_op(ops, "vm.delete", &result.vm));
    api_vm_fini(&result.vm);
    return r;
}

static int compare_list(struct adm *adm, const char *file, const struct json_value *document,
                        const char *key,
                        int (*each)(struct adm *, const char *, const struct json_value *, size_t,
                                    struct desired_ops *),
                        struct desired_ops *ops)
{
    const struct json_value *list = json_get(document, key);
    size_t index = 0;
    int r = 0;

    if (list && list->type != JSON_ARRAY)
        return desired_bad(file, "%s is %s where an array is expected.", key,
                           json_type_phrase(list->type));
    for (const struct json_value *item = list ? list->first : NULL; item && r == 0;
         item = item->next)
        r = each(adm, file, item, index++, ops);
    return r;
}

/* Of one name, only one thing can be wanted. */
static int check_names(const char *file, const struct json_value *document, const char *there,
                       const char *not_there)
{
    const struct json_value *vms = json_get(document, there),
                            *absent = json_get(document, not_there);

    for (const struct json_value *a = vms && vms->type == JSON_ARRAY ? vms->first : NULL; a;
         a = a->next) {
        const struct json_value *name = json_get(a, "name");

        for (const struct json_value *b = a->next; name && b; b = b->next) {
            if (json_get(b, "name") && json_is_text(json_get(b, "name"), name->text))
                return desired_bad(file, "%s has \"%.100s\" twice.", there, name->text);
        }
        for (const struct json_value *b = absent && absent->type == JSON_ARRAY ? absent->first
                                                                               : NULL;
             name && b; b = b->next) {
            if (json_is_text(b, name->text))
                return desired_bad(file, "\"%.100s\" stands in %s and in %s.", name->text, there,
                                   not_there);
        }
    }
    return 0;
}

int desired_compare(struct adm *adm, const char *name, const struct json_value *document,
                    struct desired_ops *ret)
{
    static const char *const keys[] = { "vms", "absent", "groups", "absent_groups", NULL };
    static const char has[] = "vms, absent, groups and absent_groups";
    int r = adm_connect(adm);

    if (r)
        return r;
    if (document->type != JSON_OBJECT)
        return desired_bad(name, "an object with %s is expected, not %s.", has,
                           json_type_phrase(document->type));
    for (const struct json_value *m = document->first; m; m = m->next) {
        if (!desired_has_key(keys, m->key))
            return desired_bad(name, "%.60s is not known; a document has %s.", m->key, has);
    }
    json_begin_array(&ret->ops);
    json_begin_array(&ret->powers);
    r = check_names(name, document, "vms", "absent");
    r = r ? r : check_names(name, document, "groups", "absent_groups");
    r = r ? r : compare_list(adm, name, document, "absent", compare_absent, ret);
    r = r ? r : compare_list(adm, name, document, "vms", compare_vm, ret);
    r = r ? r : desired_compare_groups(adm, name, document, ret);
    r = r ? r : compare_list(adm, name, document, "absent_groups", desired_empty_group, ret);
    return r ? r : compare_list(adm, name, document, "absent_groups", desired_delete_group, ret);
}
