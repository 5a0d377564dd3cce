/* SPDX-License-Identifier: Apache-2.0 */
/* Images of several devices with their parents, one after the other: all of them or none. */
#include "vmmsd/spawn/worker_priv.h"

#include <stdio.h>
#include <string.h>

struct opening {
    uv_work_t work;
    struct vmms_spawner *spawner;
    struct api_device *devices;
    size_t n_devices;
    size_t at; /* the device whose turn it is */
    struct vmms_holders holders;
    struct vmms_disk *disks;
    size_t n_disks;
    struct api_error *error;
    vmms_opened_fn *done;
    void *opaque;
};

void vmms_disks_free(struct vmms_disk *disks, size_t n_disks)
{
    for (size_t i = 0; i < n_disks; i++)
        vmms_disk_close(&disks[i]);
    free(disks);
}

static const struct api_device *device_at(const struct opening *opening)
{
    return opening->at < opening->n_devices ? &opening->devices[opening->at] : NULL;
}

/* Of these formats an image may have parents, which a worker must read out of it. */
static bool may_have_parents(const struct api_device *device)
{
    return device && device->path && device->format != API_IMAGE_FORMAT_RAW;
}

static void open_work(uv_work_t *work)
{
    struct opening *opening = work->data;
    const struct api_device *device = device_at(opening);
    struct vmms_disk *disk = &opening->disks[opening->n_disks];

    if (device && !may_have_parents(device) &&
        vmms_disk_open(device, &opening->holders, disk, &opening->error) == 0)
        opening->n_disks++;
}

static void conclude(struct opening *opening)
{
    if (opening->error) {
        vmms_disks_free(opening->disks, opening->n_disks);
        opening->done(opening->opaque, NULL, 0, opening->error);
    } else {
        opening->done(opening->opaque, opening->disks, opening->n_disks, NULL);
    }
    for (size_t i = 0; i < opening->n_devices; i++)
        api_device_fini(&opening->devices[i]);
    free(opening->devices);
    vmms_holders_fini(&opening->holders);
    free(opening);
}

static void next(struct opening *opening);

static void take_chain(struct opening *opening, const struct vmms_image_file *files, size_t n_files)
{
    struct vmms_disk *disk = &opening->disks[opening->n_disks++];

    *disk =
        (struct vmms_disk){ .chain = calloc(n_files, sizeof(*disk->chain)), .n_chain = n_files };
    hv_assert(disk->chain && api_device_copy(device_at(opening), &disk->device) == 0);
    for (size_t i = 0; i < n_files; i++)
        disk->chain[i] = (struct vmms_opened){ .fd = files[i].fd, .path = files[i].path };
}

/* The array alone is freed here: what it holds is the disk's now. */
static void chain_found(void *opaque, struct vmms_image_file *files, size_t n_files,
                        struct api_error *error)
{
    struct opening *opening = opaque;
    const struct api_device *device = device_at(opening);
    char field[32];

    if (error) {
        (void)snprintf(field, sizeof(field), "devices.%u:%u", device->controller, device->lun);
        api_error_set_text(&error->data.field, field);
        opening->error = error;
    } else {
        take_chain(opening, files, n_files);
        free(files);
    }
    opening->at++;
    next(opening);
}

static void opened(uv_work_t *work, int status)
{
    struct opening *opening = work->data;
    const struct api_device *device = device_at(opening);
    struct vmms_chain_request request;

    if (!may_have_parents(device)) {
        opening->at++;
        next(opening);
        return;
    }
    request = (struct vmms_chain_request){ .path = device->path,
                                           .is_writable = !device->read_only,
                                           .format = &device->format };
    vmms_images_resolve(opening->spawner->images, &request, chain_found, opening);
}

static void next(struct opening *opening)
{
    if (opening->error || opening->at >= opening->n_devices)
        conclude(opening);
    else
        hv_assert(uv_queue_work(opening->spawner->config.loop, &opening->work, open_work, opened) ==
                  0);
}

static void add_holders(struct vmms_spawner *spawner, const struct worker *except,
                        struct vmms_holders *holders)
{
    HV_LIST_FOREACH (node, &spawner->workers) {
        struct worker *other = HV_LIST_ENTRY(node, struct worker, node);

        if (!other->is_ended && other != except)
            vmms_holders_add(holders, &other->row);
    }
}

void vmms_disks_open(struct vmms_spawner *spawner, const struct api_device *devices,
                     size_t n_devices, const struct worker *except, vmms_opened_fn *done,
                     void *opaque)
{
    struct opening *opening = calloc(1, sizeof(*opening));

    hv_assert(opening);
    opening->work.data = opening;
    opening->spawner = spawner;
    opening->devices = calloc(n_devices + 1, sizeof(*devices));
    opening->disks = calloc(n_devices + 1, sizeof(*opening->disks));
    hv_assert(opening->devices && opening->disks);
    for (size_t i = 0; i < n_devices; i++) {
        if (devices[i].kind == API_DEVICE_KIND_SCSI)
            continue;
        hv_assert(api_device_copy(&devices[i], &opening->devices[opening->n_devices]) == 0);
        opening->n_devices++;
    }
    add_holders(spawner, except, &opening->holders);
    opening->done = done;
    opening->opaque = opaque;
    hv_assert(uv_queue_work(spawner->config.loop, &opening->work, open_work, opened) == 0);
}
