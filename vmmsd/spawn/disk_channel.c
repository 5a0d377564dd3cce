/* SPDX-License-Identifier: Apache-2.0 */
/* Disks of a running VM: images are opened off the loop, then handed over the channel. */
#include "vmmsd/spawn/worker_priv.h"

#include "api/gen/tables.h"

#include <string.h>

/* A disk on its way to a worker that may be gone when it is open. */
struct handover {
    struct vmms_spawner *spawner;
    enum vmms_worker_verb verb;
    char vm_id[HV_GUID_TEXT_BYTES];
    char incarnation[HV_GUID_TEXT_BYTES];
    struct api_device device;
};

/* Calls */

static int put_entry(sd_bus_message *m, const char *key, const char *type, const void *value)
{
    int r = sd_bus_message_open_container(m, 'e', "sv");

    if (r >= 0)
        r = sd_bus_message_append_basic(m, 's', key);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'v', type);
    if (r >= 0)
        r = sd_bus_message_append_basic(m, *type, value);
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_device(sd_bus_message *m, const struct api_device *device)
{
    const int read_only = device->read_only;
    const struct {
        const char *key, *type;
        const void *value;
    } entries[] = {
        { "id", "s", device->id },
        { "kind", "s", api_enum_device_kind.values[device->kind] },
        { "controller", "u", &device->controller },
        { "lun", "u", &device->lun },
        { "format", "s", api_enum_image_format.values[device->format] },
        { "read_only", "b", &read_only },
    };
    int r = sd_bus_message_open_container(m, 'a', "{sv}");

    for (size_t i = 0; i < HV_ARRAY_SIZE(entries) && r >= 0; i++)
        r = put_entry(m, entries[i].key, entries[i].type, entries[i].value);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_chain(sd_bus_message *m, const struct vmms_disk *disk)
{
    int r = sd_bus_message_open_container(m, 'a', "(sh)");

    for (size_t i = 0; i < disk->n_chain && r >= 0; i++)
        r = sd_bus_message_append(m, "(sh)", disk->chain[i].path, disk->chain[i].fd);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_arguments(sd_bus_message *m, enum vmms_worker_verb verb,
                         const struct api_device *device, const struct vmms_disk *disk)
{
    int r;

    if (verb == VMMS_WORKER_ADD_DISK)
        r = put_device(m, device);
    else
        r = sd_bus_message_append(m, "s", device->id);
    return r < 0 || verb == VMMS_WORKER_REMOVE_DISK ? r : put_chain(m, disk);
}

static void send_disk(struct worker *worker, enum vmms_worker_verb verb,
                      const struct api_device *device, const struct vmms_disk *disk)
{
    const char *method = verb == VMMS_WORKER_ADD_DISK      ? "AddDisk"
                         : verb == VMMS_WORKER_REMOVE_DISK ? "RemoveDisk"
                                                           : "ChangeMedium";
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_VERB);
    int r = vmms_channel_new_call(worker, method, &m);

    ask->verb = verb;
    if (r >= 0)
        r = put_arguments(m, verb, device, disk);
    vmms_ask_send(ask, m, vmms_verb_answered, VERB_MS, r);
}

/* Who asks later is told who has the image; that the worker may still refuse it does no harm. */
static void remember(struct worker *worker, enum vmms_worker_verb verb,
                     const struct api_device *device)
{
    struct api_device copy;

    vmms_devices_remove(&worker->row, device->id);
    if (verb == VMMS_WORKER_REMOVE_DISK)
        return;
    hv_assert(api_device_copy(device, &copy) == 0);
    vmms_devices_insert(&worker->row, &copy);
}

/* Opening */

/* error: taken; NULL: the worker is gone. */
static void tell_failed(const struct handover *handover, struct api_error *error)
{
    const struct vmms_spawner_config *config = &handover->spawner->config;
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_ANSWER, handover->incarnation);

    hv_assert(fact);
    fact->verb = handover->verb;
    fact->error = error;
    if (!error)
        api_error_set(&fact->error, API_E_WORKER_LOST, "vm.worker_lost", NULL,
                      "The VM's worker ended in the meantime.");
    config->fact(config->opaque, handover->vm_id, fact);
}

static void opened(void *opaque, struct vmms_disk *disks, size_t n_disks, struct api_error *error)
{
    struct handover *handover = opaque;
    struct worker *worker = NULL;

    if (handover->spawner->is_closing) {
        api_error_free(error);
    } else {
        worker = vmms_worker_find(handover->spawner, handover->vm_id, handover->incarnation);
        if (!worker || error)
            tell_failed(handover, error);
    }
    if (worker && disks) {
        remember(worker, handover->verb, &handover->device);
        send_disk(worker, handover->verb, &handover->device, &disks[0]);
    }
    vmms_disks_free(disks, n_disks);
    api_device_fini(&handover->device);
    free(handover);
}

static void hand_over(struct worker *worker, enum vmms_worker_verb verb,
                      const struct api_device *device)
{
    struct handover *handover = calloc(1, sizeof(*handover));

    hv_assert(handover && api_device_copy(device, &handover->device) == 0);
    handover->spawner = worker->spawner;
    handover->verb = verb;
    memcpy(handover->vm_id, worker->row.id, sizeof(handover->vm_id));
    memcpy(handover->incarnation, worker->row.incarnation, sizeof(handover->incarnation));
    vmms_disks_open(worker->spawner, device, 1, NULL, opened, handover);
}

void vmms_disk_ask(struct worker *worker, enum vmms_worker_verb verb,
                   const struct api_device *device)
{
    const struct vmms_disk none = { 0 };

    if (verb != VMMS_WORKER_REMOVE_DISK && device->path) {
        hand_over(worker, verb, device);
        return;
    }
    remember(worker, verb, device);
    send_disk(worker, verb, device, &none);
}
