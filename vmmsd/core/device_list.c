/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's devices as a list in order: finding, putting in, taking out. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>

void vmms_devices_fini(struct vmms_row *row)
{
    for (size_t i = 0; i < row->n_devices; i++)
        api_device_fini(&row->devices[i]);
    free(row->devices);
    row->devices = NULL;
    row->n_devices = 0;
}

int vmms_devices_copy(const struct vmms_row *from, struct vmms_row *ret)
{
    ret->n_devices = 0;
    ret->devices = NULL;
    if (!from->n_devices)
        return 0;
    ret->devices = calloc(from->n_devices, sizeof(*ret->devices));
    if (!ret->devices)
        return -ENOMEM;
    for (size_t i = 0; i < from->n_devices; i++) {
        if (api_device_copy(&from->devices[i], &ret->devices[i]) < 0) {
            vmms_devices_fini(ret);
            return -ENOMEM;
        }
        ret->n_devices++;
    }
    return 0;
}

static bool has_place(const struct api_device *device)
{
    return device->has & API_DEVICE_HAS_LUN;
}

/* A number that grows in the order of the list. */
static uint32_t order_of(const struct api_device *device)
{
    return device->controller * (VMMS_LUNS + 1) + (has_place(device) ? device->lun + 1 : 0);
}

void vmms_devices_insert(struct vmms_row *row, struct api_device *device)
{
    size_t at = row->n_devices;

    row->devices = reallocarray(row->devices, row->n_devices + 1, sizeof(*row->devices));
    hv_assert(row->devices);
    for (; at > 0 && order_of(&row->devices[at - 1]) > order_of(device); at--)
        row->devices[at] = row->devices[at - 1];
    row->devices[at] = *device;
    row->n_devices++;
    *device = (struct api_device){ 0 };
}

void vmms_devices_remove(struct vmms_row *row, const char *device_id)
{
    struct api_device *device = vmms_devices_find(row, device_id);
    size_t at;

    if (!device)
        return;
    api_device_fini(device);
    at = (size_t)(device - row->devices);
    row->n_devices--;
    memmove(device, device + 1, (row->n_devices - at) * sizeof(*device));
}

struct api_device *vmms_devices_find(const struct vmms_row *row, const char *device_id)
{
    for (size_t i = 0; i < row->n_devices; i++) {
        if (strcmp(row->devices[i].id, device_id) == 0)
            return &row->devices[i];
    }
    return NULL;
}

struct api_device *vmms_devices_at(const struct vmms_row *row, uint32_t controller, uint32_t lun)
{
    for (size_t i = 0; i < row->n_devices; i++) {
        struct api_device *device = &row->devices[i];

        if (has_place(device) && device->controller == controller && device->lun == lun)
            return device;
    }
    return NULL;
}

struct api_device *vmms_devices_controller(const struct vmms_row *row, uint32_t number)
{
    for (size_t i = 0; i < row->n_devices; i++) {
        struct api_device *device = &row->devices[i];

        if (device->kind == API_DEVICE_KIND_SCSI && device->controller == number)
            return device;
    }
    return NULL;
}

struct api_device *vmms_devices_named(const struct vmms_row *row, const char *ref)
{
    char id[HV_GUID_TEXT_BYTES];
    unsigned controller, lun;
    struct hv_guid guid;
    int end = 0;

    if (hv_guid_parse(ref, &guid) == 0) {
        hv_guid_format(&guid, id);
        return vmms_devices_find(row, id);
    }
    /* One digit and at most two, so that nothing else is meant by "1:12". */
    if (ref[strspn(ref, "0123456789:")])
        return NULL;
    if (sscanf(ref, "%1u:%2u%n", &controller, &lun, &end) == 2 && !ref[end])
        return vmms_devices_at(row, controller, lun);
    return NULL;
}

char *vmms_device_data(const struct api_device *device, const char *message)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "device");
    api_record_write(&api_record_device, device, UINT64_MAX, &out);
    if (message) {
        json_key(&out, "message");
        json_put_string(&out, message);
    }
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}
