/* SPDX-License-Identifier: Apache-2.0 */
/* Images of several devices, opened off the loop: all of them or none. */
#include "vmmsd/spawn/worker_priv.h"

#include <string.h>

struct opening {
    uv_work_t work;
    struct api_device *devices;
    size_t n_devices;
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

static void open_work(uv_work_t *work)
{
    struct opening *opening = work->data;

    for (size_t i = 0; i < opening->n_devices && !opening->error; i++) {
        struct vmms_disk *disk = &opening->disks[opening->n_disks];

        if (vmms_disk_open(&opening->devices[i], &opening->holders, disk, &opening->error) == 0)
            opening->n_disks++;
    }
}

static void opened(uv_work_t *work, int status)
{
    struct opening *opening = work->data;

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
