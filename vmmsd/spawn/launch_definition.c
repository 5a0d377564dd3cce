/* SPDX-License-Identifier: Apache-2.0 */
/* The definition that a worker is given: schemas/worker/README.md. */
#include "vmmsd/spawn/launch_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"
#include "hvcore/base/own.h"

static void put_text(struct json_writer *out, const char *key, const char *text)
{
    json_key(out, key);
    json_put_string(out, text);
}

static void put_number(struct json_writer *out, const char *key, int64_t number)
{
    json_key(out, key);
    json_put_i64(out, number);
}

static void put_bool(struct json_writer *out, const char *key, bool value)
{
    json_key(out, key);
    json_put_bool(out, value);
}

static void put_basics(struct json_writer *out, const struct vmms_launch *launch)
{
    const struct api_settings *settings = &launch->row.settings;

    put_number(out, "version", 1);
    put_text(out, "vm_id", launch->row.id);
    put_text(out, "name", settings->name);
    put_text(out, "incarnation", launch->row.incarnation);
    put_text(out, "secret", launch->row.secret);
    put_number(out, "epoch", (int64_t)launch->epoch);
    put_text(out, "backend", api_enum_backend_choice.values[settings->backend]);
    put_number(out, "cpu_count", settings->cpu_count);
    put_number(out, "memory_bytes", (int64_t)settings->memory_startup);
    put_text(out, "cmdline", settings->boot_cmdline ? settings->boot_cmdline : "");
    put_number(out, "debug_exit_port", settings->debug_exit);
    put_text(out, "on_triple_fault", "stop");
    put_text(out, "on_reset", "reset");
}

static void put_services(struct json_writer *out, const struct api_settings *settings)
{
    json_key(out, "services");
    json_begin_object(out);
    put_bool(out, "heartbeat", settings->integration_heartbeat);
    put_bool(out, "shutdown", settings->integration_shutdown);
    put_bool(out, "time_sync", settings->integration_time_sync);
    put_bool(out, "kvp", settings->integration_kvp);
    put_bool(out, "vss", settings->integration_vss);
    put_bool(out, "guest_services", settings->integration_guest_services);
    json_end_object(out);
}

static void put_controllers(struct json_writer *out, const struct vmms_row *row)
{
    json_key(out, "controllers");
    json_begin_array(out);
    for (size_t i = 0; i < row->n_devices; i++) {
        if (row->devices[i].kind != API_DEVICE_KIND_SCSI)
            continue;
        json_begin_object(out);
        put_number(out, "number", row->devices[i].controller);
        put_text(out, "instance", row->devices[i].id);
        json_end_object(out);
    }
    json_end_array(out);
}

static void put_disk(struct json_writer *out, const struct vmms_disk *disk, int *number)
{
    const struct api_device *device = &disk->device;

    json_begin_object(out);
    put_number(out, "controller", device->controller);
    put_number(out, "lun", device->lun);
    put_text(out, "id", device->id);
    put_text(out, "kind", api_enum_device_kind.values[device->kind]);
    put_text(out, "format", api_enum_image_format.values[device->format]);
    put_bool(out, "read_only", device->read_only);
    json_key(out, "chain");
    json_begin_array(out);
    for (size_t i = 0; i < disk->n_chain; i++) {
        json_begin_object(out);
        put_number(out, "fd", (*number)++);
        put_text(out, "path", disk->chain[i].path);
        json_end_object(out);
    }
    json_end_array(out);
    json_end_object(out);
}

char *vmms_launch_definition(const struct vmms_launch *launch, const struct vmms_extras *extras)
{
    int number = extras->first_disk_number;
    struct json_writer out = { 0 };
    char *text = NULL;

    json_begin_object(&out);
    put_basics(&out, launch);
    put_number(&out, "kernel_fd", extras->numbers[VMMS_EXTRA_KERNEL]);
    put_number(&out, "initrd_fd", extras->numbers[VMMS_EXTRA_INITRD]);
    put_number(&out, "kvm_fd", extras->numbers[VMMS_EXTRA_KVM]);
    if (extras->numbers[VMMS_EXTRA_RESTORE] >= 0)
        put_number(&out, "restore_fd", extras->numbers[VMMS_EXTRA_RESTORE]);
    put_services(&out, &launch->row.settings);
    put_controllers(&out, &launch->row);
    json_key(&out, "scsi");
    json_begin_array(&out);
    for (size_t i = 0; i < extras->n_disks; i++)
        put_disk(&out, &extras->disks[i], &number);
    json_end_array(&out);
    json_end_object(&out);
    return json_writer_take(&out, &text, NULL) < 0 ? NULL : text;
}
