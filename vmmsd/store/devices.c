/* SPDX-License-Identifier: Apache-2.0 */
/* The table device: a VM's rows are written as a whole when they have changed. */
#include "vmmsd/store/db_priv.h"

#include "api/gen/tables.h"

#include <string.h>

const char vmms_db_all_devices[] =
    "SELECT vm, id, kind, controller, lun, path, format, read_only FROM device "
    "ORDER BY vm, controller, lun";

int vmms_db_prepare_devices(struct vmms_db *db)
{
    int code = vmms_db_prepare(db,
                               "INSERT INTO device (id, vm, kind, controller, lun, path, format, "
                               "read_only) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                               &db->insert_device);

    if (code == SQLITE_OK)
        code = vmms_db_prepare(db, "DELETE FROM device WHERE vm = ?1", &db->delete_devices);
    return code;
}

static int put_device(struct vmms_db *db, const char *vm_id, const struct api_device *device)
{
    sqlite3_stmt *statement = db->insert_device;

    vmms_db_bind_text(statement, 1, device->id);
    vmms_db_bind_text(statement, 2, vm_id);
    vmms_db_bind_text(statement, 3, api_enum_device_kind.values[device->kind]);
    (void)sqlite3_bind_int64(statement, 4, device->controller);
    if (device->has & API_DEVICE_HAS_LUN)
        (void)sqlite3_bind_int64(statement, 5, device->lun);
    vmms_db_bind_text(statement, 6, device->path);
    if (device->path)
        vmms_db_bind_text(statement, 7, api_enum_image_format.values[device->format]);
    (void)sqlite3_bind_int64(statement, 8, device->read_only);
    return vmms_db_run(statement);
}

int vmms_db_put_devices(struct vmms_db *db, const struct vmms_row *row)
{
    int code;

    vmms_db_bind_text(db->delete_devices, 1, row->id);
    code = vmms_db_run(db->delete_devices);
    for (size_t i = 0; i < row->n_devices && code == SQLITE_OK; i++)
        code = put_device(db, row->id, &row->devices[i]);
    return code;
}

static char *column_text(sqlite3_stmt *statement, int at)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);
    char *copy = text ? strdup(text) : NULL;

    hv_assert(!text || copy);
    return copy;
}

static int column_enum(sqlite3_stmt *statement, int at, const struct api_enum *enumeration)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);

    return text ? api_enum_index(enumeration, text) : -1;
}

/* The table's own checks hold: what they promise is not asked again. */
static void read_device(sqlite3_stmt *statement, struct api_device *ret)
{
    int kind = column_enum(statement, 2, &api_enum_device_kind);
    int format = column_enum(statement, 6, &api_enum_image_format);

    *ret = (struct api_device){ .id = column_text(statement, 1) };
    ret->kind = kind < 0 ? API_DEVICE_KIND_SCSI : (enum api_device_kind)kind;
    ret->controller = (uint32_t)sqlite3_column_int64(statement, 3);
    if (sqlite3_column_type(statement, 4) != SQLITE_NULL) {
        ret->has |= API_DEVICE_HAS_LUN;
        ret->lun = (uint32_t)sqlite3_column_int64(statement, 4);
    }
    ret->path = column_text(statement, 5);
    if (format >= 0) {
        ret->has |= API_DEVICE_HAS_FORMAT;
        ret->format = (enum api_image_format)format;
    }
    ret->read_only = sqlite3_column_int64(statement, 7);
}

void vmms_db_read_devices(struct vmms_side *side, struct vmms_row *row)
{
    for (; vmms_side_is_at(side, row->id); vmms_side_next(side)) {
        row->devices = reallocarray(row->devices, row->n_devices + 1, sizeof(*row->devices));
        hv_assert(row->devices);
        read_device(side->statement, &row->devices[row->n_devices++]);
    }
}
