/* SPDX-License-Identifier: Apache-2.0 */
/* Object paths: /org/hvstack/Vmms1, .../vm/<32 hex digits>, .../group/<likewise>, .../job/<number>.
 */
#include "vmmsd/bus/bus_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char vm_branch[] = VMMS_DBUS_PATH "/vm";
static const char job_branch[] = VMMS_DBUS_PATH "/job";
static const char group_branch[] = VMMS_DBUS_PATH "/group";

/* What stands after a branch: NULL when path is elsewhere, "" for the branch itself. */
static const char *after(const char *path, const char *branch)
{
    size_t length = strlen(branch);

    if (strncmp(path, branch, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return path + length;
    return path[length] == '/' && path[length + 1] ? path + length + 1 : NULL;
}

/* 32 lower-case hex digits to a UUID with its dashes. */
static bool read_id(const char *hex, char ret[static VMMS_DBUS_KEY_BYTES])
{
    size_t at = 0;

    if (strlen(hex) != 32 || strspn(hex, "0123456789abcdef") != 32)
        return false;
    for (size_t i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            ret[at++] = '-';
        ret[at++] = hex[i];
    }
    ret[at] = '\0';
    return true;
}

static bool read_job(const char *digits, char ret[static VMMS_DBUS_KEY_BYTES])
{
    size_t length = strlen(digits);

    if (length > 20 || strspn(digits, "0123456789") != length)
        return false;
    memcpy(ret, digits, length + 1);
    return true;
}

static const struct {
    const char *path;
    enum api_dbus_object object;
    bool (*read)(const char *text, char ret[static VMMS_DBUS_KEY_BYTES]);
} branches[] = {
    { vm_branch, API_DBUS_VM, read_id },
    { group_branch, API_DBUS_GROUP, read_id },
    { job_branch, API_DBUS_JOB, read_job },
};

bool vmms_dbus_place_read(const char *path, struct vmms_dbus_place *ret)
{
    *ret = (struct vmms_dbus_place){ .object = API_DBUS_ROOT };
    if (strcmp(path, VMMS_DBUS_PATH) == 0)
        return true;
    for (size_t i = 0; i < HV_ARRAY_SIZE(branches); i++) {
        const char *rest = after(path, branches[i].path);

        if (!rest)
            continue;
        ret->object = branches[i].object;
        ret->is_branch = !*rest;
        return ret->is_branch || branches[i].read(rest, ret->key);
    }
    return false;
}

static void put_path(const char *branch, const char *id, char ret[static VMMS_DBUS_PATH_BYTES])
{
    size_t at = (size_t)snprintf(ret, VMMS_DBUS_PATH_BYTES, "%s/", branch);

    for (; *id && at < VMMS_DBUS_PATH_BYTES - 1; id++)
        if (*id != '-')
            ret[at++] = *id;
    ret[at] = '\0';
}

void vmms_dbus_vm_path(const char *id, char ret[static VMMS_DBUS_PATH_BYTES])
{
    put_path(vm_branch, id, ret);
}

void vmms_dbus_group_path(const char *id, char ret[static VMMS_DBUS_PATH_BYTES])
{
    put_path(group_branch, id, ret);
}

void vmms_dbus_job_path(uint64_t id, char ret[static VMMS_DBUS_PATH_BYTES])
{
    (void)snprintf(ret, VMMS_DBUS_PATH_BYTES, "%s/%" PRIu64, job_branch, id);
}

const struct api_dbus_interface *vmms_dbus_interface(enum api_dbus_object object, const char *name)
{
    for (size_t i = 0; i < api_dbus_interface_count; i++) {
        const struct api_dbus_interface *interface = &api_dbus_interfaces[i];

        if (interface->object == object && strcmp(interface->name, name) == 0)
            return interface;
    }
    return NULL;
}
