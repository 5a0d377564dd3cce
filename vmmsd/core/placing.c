/* SPDX-License-Identifier: Apache-2.0 */
/* Where a new device goes, and what it is: everything that can be said without looking at files. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct placing {
    struct vmms_core *core;
    struct vmms_row *row;
    const struct api_new_device *wanted;
    const char *field; /* "settings" or "devices": where the client gave it */
    bool makes_controllers;
    struct api_error **reterr;
};

static int refuse(const struct placing *p, enum api_error_code code, const char *id,
                  const char *member, const char *sentence)
{
    char field[64];

    (void)snprintf(field, sizeof(field), "%s.%s", p->field, member);
    return api_error_set(p->reterr, code, id, field, "%s: %s", field, sentence);
}

static bool has_ending(const char *path, const char *ending)
{
    size_t length = strlen(path), end = strlen(ending);

    return length > end && strcasecmp(path + length - end, ending) == 0;
}

/* By the name alone: a guest can write any header into a raw disk (reliability rule 8.12). */
static enum api_image_format format_of_name(const char *path)
{
    if (has_ending(path, ".vhdx") || has_ending(path, ".avhdx"))
        return API_IMAGE_FORMAT_VHDX;
    if (has_ending(path, ".vhd") || has_ending(path, ".avhd"))
        return API_IMAGE_FORMAT_VHD;
    return API_IMAGE_FORMAT_RAW;
}

void vmms_make_controller(struct vmms_core *core, struct vmms_row *row, uint32_t number)
{
    struct api_device device = { .kind = API_DEVICE_KIND_SCSI, .controller = number };
    char id[HV_GUID_TEXT_BYTES];

    vmms_new_id(core, id);
    device.id = strdup(id);
    hv_assert(device.id);
    vmms_devices_insert(row, &device);
}

static int check_controller(const struct placing *p)
{
    const struct api_new_device *wanted = p->wanted;

    if (wanted->path)
        return refuse(p, API_E_INVALID_PARAMETER, "vm.device.scsi", "path",
                      "a SCSI controller has no image.");
    if (wanted->has & API_NEW_DEVICE_HAS_LUN)
        return refuse(p, API_E_INVALID_PARAMETER, "vm.device.scsi", "lun",
                      "a SCSI controller has no place at a controller.");
    if (wanted->has & API_NEW_DEVICE_HAS_CONTROLLER &&
        vmms_devices_controller(p->row, wanted->controller))
        return refuse(p, API_E_ALREADY_EXISTS, "vm.device.controller_taken", "controller",
                      "the VM has a SCSI controller of that number already.");
    return 0;
}

static struct api_device *place_controller(const struct placing *p)
{
    uint32_t number = p->wanted->controller;

    if (check_controller(p) < 0)
        return NULL;
    if (!(p->wanted->has & API_NEW_DEVICE_HAS_CONTROLLER)) {
        number = 0;
        while (number < VMMS_CONTROLLERS && vmms_devices_controller(p->row, number))
            number++;
    }
    if (number == VMMS_CONTROLLERS) {
        refuse(p, API_E_INVALID_PARAMETER, "vm.device.controllers_full", "controller",
               "the VM has 4 SCSI controllers, more are not possible.");
        return NULL;
    }
    vmms_make_controller(p->core, p->row, number);
    return vmms_devices_controller(p->row, number);
}

static int check_dvd(const struct placing *p)
{
    bool is_raw =
        !(p->wanted->has & API_NEW_DEVICE_HAS_FORMAT) || p->wanted->format == API_IMAGE_FORMAT_RAW;

    if (!is_raw)
        return refuse(p, API_E_INVALID_PARAMETER, "vm.device.dvd_format", "format",
                      "a DVD drive takes ISO images, whose format is raw.");
    if (p->wanted->path && format_of_name(p->wanted->path) != API_IMAGE_FORMAT_RAW)
        return refuse(p, API_E_INVALID_PARAMETER, "vm.device.dvd_format", "path",
                      "a DVD drive takes ISO images, no virtual hard disks.");
    return 0;
}

static int check_image(const struct placing *p)
{
    const char *path = p->wanted->path;

    if (p->wanted->kind == API_DEVICE_KIND_DISK && (!path || !*path))
        return refuse(p, API_E_INVALID_PARAMETER, "vm.device.no_path", "path",
                      "a disk needs an image.");
    for (size_t i = 0; path && *path && i < p->row->n_devices; i++) {
        const char *other = p->row->devices[i].path;

        if (other && strcmp(other, path) == 0)
            return refuse(p, API_E_ALREADY_EXISTS, "vm.device.twice", "path",
                          "the VM has a device with this image already.");
    }
    return p->wanted->kind == API_DEVICE_KIND_DVD ? check_dvd(p) : 0;
}

int vmms_check_medium(const struct vmms_row *others, const char *path, struct api_error **reterr)
{
    const struct api_new_device wanted = { .kind = API_DEVICE_KIND_DVD, .path = (char *)path };
    struct vmms_row *row = (struct vmms_row *)others; /* only looked at */
    const struct placing p = {
        .row = row, .wanted = &wanted, .field = "settings", .reterr = reterr
    };

    return check_image(&p);
}

static uint32_t free_lun(const struct vmms_row *row, uint32_t controller)
{
    uint32_t lun = 0;

    while (lun < VMMS_LUNS && vmms_devices_at(row, controller, lun))
        lun++;
    return lun;
}

static bool suits(const struct placing *p, uint32_t controller, uint32_t *ret_lun)
{
    if (p->wanted->has & API_NEW_DEVICE_HAS_LUN) {
        *ret_lun = p->wanted->lun;
        return !vmms_devices_at(p->row, controller, p->wanted->lun);
    }
    *ret_lun = free_lun(p->row, controller);
    return *ret_lun < VMMS_LUNS;
}

static int refuse_place(const struct placing *p)
{
    bool has_controller = p->wanted->has & API_NEW_DEVICE_HAS_CONTROLLER;

    if (p->wanted->has & API_NEW_DEVICE_HAS_LUN)
        return refuse(p, API_E_ALREADY_EXISTS, "vm.device.place_taken", "lun",
                      "there is a device at that place already.");
    return refuse(p, API_E_INVALID_PARAMETER, "vm.device.full", "controller",
                  has_controller ? "all 64 places of that controller are taken."
                                 : "all places of the VM's controllers are taken.");
}

/* Is the controller there, or may it be made? */
static int need_controller(const struct placing *p, uint32_t number)
{
    int r;

    if (vmms_devices_controller(p->row, number))
        return 0;
    if (p->makes_controllers) {
        vmms_make_controller(p->core, p->row, number);
        return 0;
    }
    r = refuse(p, API_E_RESTART_REQUIRED, "vm.device.no_controller", "controller",
               "the VM has no such SCSI controller, and gets one only while it is off.");
    if (*p->reterr)
        api_error_hint(*p->reterr, "Turn the VM off first, use a controller that it has, or give "
                                   "stage=true: then it is added when the VM is off.");
    return r;
}

static int find_place(const struct placing *p, uint32_t *ret_controller, uint32_t *ret_lun)
{
    bool is_named = p->wanted->has & API_NEW_DEVICE_HAS_CONTROLLER;

    for (uint32_t number = 0; number < VMMS_CONTROLLERS; number++) {
        if ((is_named && number != p->wanted->controller) ||
            (!is_named && !vmms_devices_controller(p->row, number)))
            continue;
        if (suits(p, number, ret_lun)) {
            *ret_controller = number;
            return need_controller(p, number);
        }
        if (is_named)
            return refuse_place(p);
    }
    if (p->row->n_devices)
        return refuse_place(p);
    *ret_controller = 0;
    *ret_lun = p->wanted->has & API_NEW_DEVICE_HAS_LUN ? p->wanted->lun : 0;
    return need_controller(p, 0);
}

static struct api_device *place_disk(const struct placing *p)
{
    const struct api_new_device *wanted = p->wanted;
    struct api_device device = { .has = API_DEVICE_HAS_LUN, .kind = wanted->kind };
    char id[HV_GUID_TEXT_BYTES];

    if (check_image(p) < 0 || find_place(p, &device.controller, &device.lun) < 0)
        return NULL;
    vmms_new_id(p->core, id);
    device.id = strdup(id);
    device.read_only = wanted->read_only || wanted->kind == API_DEVICE_KIND_DVD;
    if (wanted->path && *wanted->path) {
        device.path = strdup(wanted->path);
        device.has |= API_DEVICE_HAS_FORMAT;
        device.format =
            wanted->has & API_NEW_DEVICE_HAS_FORMAT ? wanted->format : format_of_name(wanted->path);
        hv_assert(device.path);
    }
    hv_assert(device.id);
    vmms_devices_insert(p->row, &device);
    return vmms_devices_find(p->row, id);
}

struct api_device *vmms_place_device(struct vmms_core *core, struct vmms_row *row,
                                     const struct api_new_device *wanted, const char *field,
                                     bool makes_controllers, struct api_error **reterr)
{
    const struct placing p = { core, row, wanted, field, makes_controllers, reterr };

    return wanted->kind == API_DEVICE_KIND_SCSI ? place_controller(&p) : place_disk(&p);
}
