/* SPDX-License-Identifier: Apache-2.0 */
/* Controllers, disks and services of the definition: schemas/worker/README.md. */
#include "vmwp/worker/definition_priv.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FD = 1 << 20, MAX_PATH_BYTES = 4095, FIELD_BYTES = 64 };

/* One member of an object in a list. */
struct member {
    const char *name;
    json_type type;
    json_object *value; /* found */
};

static int refuse(const char *field, const char *what, struct hv_error **reterr)
{
    return hv_error_set_field(reterr, -EINVAL, "vm.definition.value", field,
                              "The definition's %s %s.", field, what);
}

/* All members are there, of their types, and no others. */
static int take_members(json_object *object, const char *field, struct member *members,
                        size_t n_members, struct hv_error **reterr)
{
    if (!json_object_is_type(object, json_type_object))
        return refuse(field, "must be a list of objects", reterr);
    for (size_t i = 0; i < n_members; i++) {
        if (!json_object_object_get_ex(object, members[i].name, &members[i].value) ||
            !json_object_is_type(members[i].value, members[i].type))
            return hv_error_set_field(reterr, -EINVAL, "vm.definition.value", field,
                                      "In the definition's %s, %s is missing or of another type.",
                                      field, members[i].name);
    }
    if ((size_t)json_object_object_length(object) != n_members)
        return refuse(field, "has a member that this worker doesn't know", reterr);
    return 0;
}

static int check_list(json_object *value, const char *field, size_t max, struct hv_error **reterr)
{
    if (!json_object_is_type(value, json_type_array))
        return refuse(field, "must be a list", reterr);
    return json_object_array_length(value) > max ? refuse(field, "is too long", reterr) : 0;
}

static bool is_number(json_object *value, uint64_t max, unsigned *ret)
{
    int64_t number = json_object_get_int64(value);

    if (number < 0 || (uint64_t)number > max)
        return false;
    *ret = (unsigned)number;
    return true;
}

static bool is_guid(json_object *value, char ret[static HV_GUID_TEXT_BYTES])
{
    struct hv_guid guid;

    if (json_object_get_string_len(value) != HV_GUID_TEXT_BYTES - 1 ||
        hv_guid_parse(json_object_get_string(value), &guid) < 0)
        return false;
    hv_guid_format(&guid, ret);
    return true;
}

/* The place of a text in a list that ends in NULL, or -1. */
static int index_of(json_object *value, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], json_object_get_string(value)) == 0)
            return i;
    }
    return -1;
}

int wp_definition_read_services(json_object *value, struct wp_definition *definition,
                                struct hv_error **reterr)
{
    struct wp_service_choice *s = &definition->services;
    bool *const to[] = { &s->heartbeat, &s->shutdown, &s->time_sync,
                         &s->kvp,       &s->vss,      &s->guest_services };
    struct member members[] = {
        { "heartbeat", json_type_boolean, NULL }, { "shutdown", json_type_boolean, NULL },
        { "time_sync", json_type_boolean, NULL }, { "kvp", json_type_boolean, NULL },
        { "vss", json_type_boolean, NULL },       { "guest_services", json_type_boolean, NULL },
    };
    int r = take_members(value, "services", members, HV_ARRAY_SIZE(members), reterr);

    for (size_t i = 0; r == 0 && i < HV_ARRAY_SIZE(members); i++)
        *to[i] = json_object_get_boolean(members[i].value);
    return r;
}

static int read_controller(json_object *object, struct wp_definition *definition,
                           struct hv_error **reterr)
{
    struct wp_controller *controller = &definition->controllers[definition->n_controllers];
    struct member members[] = { { "number", json_type_int, NULL },
                                { "instance", json_type_string, NULL } };
    int r = take_members(object, "controllers", members, HV_ARRAY_SIZE(members), reterr);

    if (r < 0)
        return r;
    if (!is_number(members[0].value, WP_MAX_CONTROLLERS - 1, &controller->number) ||
        !is_guid(members[1].value, controller->instance))
        return refuse("controllers", "must have numbers from 0 to 3 and UUIDs", reterr);
    for (size_t i = 0; i < definition->n_controllers; i++) {
        if (definition->controllers[i].number == controller->number ||
            strcmp(definition->controllers[i].instance, controller->instance) == 0)
            return refuse("controllers", "has a number or UUID twice", reterr);
    }
    definition->n_controllers++;
    return 0;
}

int wp_definition_read_controllers(json_object *value, struct wp_definition *definition,
                                   struct hv_error **reterr)
{
    int r = check_list(value, "controllers", WP_MAX_CONTROLLERS, reterr);

    for (size_t i = 0; r == 0 && i < json_object_array_length(value); i++)
        r = read_controller(json_object_array_get_idx(value, i), definition, reterr);
    return r;
}

static int read_file(json_object *object, const char *field, struct wp_disk *disk,
                     struct hv_error **reterr)
{
    struct wp_image_file *file = &disk->chain[disk->n_chain];
    struct member members[] = { { "fd", json_type_int, NULL }, { "path", json_type_string, NULL } };
    int r = take_members(object, field, members, HV_ARRAY_SIZE(members), reterr);
    unsigned fd;

    if (r < 0)
        return r;
    if (!is_number(members[0].value, MAX_FD, &fd) || fd < WP_FIRST_GIVEN_FD ||
        json_object_get_string_len(members[1].value) > MAX_PATH_BYTES)
        return refuse(field, "must have inherited descriptors from 6 on and paths", reterr);
    file->fd = (int)fd;
    file->path = strdup(json_object_get_string(members[1].value));
    if (!file->path)
        return -ENOMEM;
    disk->n_chain++;
    return 0;
}

static int read_chain(json_object *value, const char *field, struct wp_disk *disk,
                      struct hv_error **reterr)
{
    int r = check_list(value, field, WP_MAX_CHAIN, reterr);

    if (r < 0)
        return r;
    if (disk->kind == WP_DISK_DISK && json_object_array_length(value) == 0)
        return refuse(field, "has no image", reterr);
    disk->chain = calloc(json_object_array_length(value) + 1, sizeof(*disk->chain));
    if (!disk->chain)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < json_object_array_length(value); i++)
        r = read_file(json_object_array_get_idx(value, i), field, disk, reterr);
    return r;
}

static int check_place(const struct wp_definition *definition, const struct wp_disk *disk,
                       const char *field, struct hv_error **reterr)
{
    for (size_t i = 0; i + 1 < definition->n_disks; i++) {
        const struct wp_disk *other = &definition->disks[i];

        if ((other->controller == disk->controller && other->lun == disk->lun) ||
            strcmp(other->id, disk->id) == 0)
            return refuse(field, "has a place or an id that stands twice", reterr);
    }
    return 0;
}

static int read_disk(json_object *object, struct wp_definition *definition,
                     struct hv_error **reterr)
{
    static const char *const kinds[] = { "disk", "dvd", NULL };
    static const char *const formats[] = { "raw", "vhd", "vhdx", NULL };
    struct wp_disk *disk = &definition->disks[definition->n_disks];
    struct member members[] = {
        { "controller", json_type_int, NULL }, { "lun", json_type_int, NULL },
        { "id", json_type_string, NULL },      { "kind", json_type_string, NULL },
        { "format", json_type_string, NULL },  { "read_only", json_type_boolean, NULL },
        { "chain", json_type_array, NULL },
    };
    int r = take_members(object, "scsi", members, HV_ARRAY_SIZE(members), reterr), kind, format;
    char field[FIELD_BYTES];

    if (r < 0)
        return r;
    kind = index_of(members[3].value, kinds);
    format = index_of(members[4].value, formats);
    if (!is_number(members[0].value, WP_MAX_CONTROLLERS - 1, &disk->controller) ||
        !is_number(members[1].value, WP_LUNS - 1, &disk->lun) ||
        !is_guid(members[2].value, disk->id) || kind < 0 || format < 0)
        return refuse("scsi", "has a place, id, kind or format that is none", reterr);
    disk->kind = (enum wp_disk_kind)kind;
    disk->format = (enum wp_image_format)format;
    disk->is_read_only = json_object_get_boolean(members[5].value);
    definition->n_disks++;
    (void)snprintf(field, sizeof(field), "devices.%u:%u", disk->controller, disk->lun);
    r = check_place(definition, disk, field, reterr);
    return r < 0 ? r : read_chain(members[6].value, field, disk, reterr);
}

int wp_definition_read_disks(json_object *value, struct wp_definition *definition,
                             struct hv_error **reterr)
{
    int r = check_list(value, "scsi", WP_MAX_DISKS, reterr);

    if (r < 0)
        return r;
    definition->disks = calloc(json_object_array_length(value) + 1, sizeof(*definition->disks));
    if (!definition->disks)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < json_object_array_length(value); i++)
        r = read_disk(json_object_array_get_idx(value, i), definition, reterr);
    return r;
}

static bool has_controller(const struct wp_definition *definition, unsigned number)
{
    for (size_t i = 0; i < definition->n_controllers; i++) {
        if (definition->controllers[i].number == number)
            return true;
    }
    return false;
}

/* How often it stands in the definition. */
static unsigned count_fd(const struct wp_definition *definition, int fd)
{
    unsigned count = (fd == definition->kernel_fd) + (fd == definition->initrd_fd) +
                     (fd == definition->kvm_fd) + (fd == definition->restore_fd);

    for (size_t i = 0; i < definition->n_disks; i++) {
        for (size_t k = 0; k < definition->disks[i].n_chain; k++)
            count += definition->disks[i].chain[k].fd == fd;
    }
    return count;
}

int wp_definition_check_disks(const struct wp_definition *definition, struct hv_error **reterr)
{
    char field[FIELD_BYTES];

    for (size_t i = 0; i < definition->n_disks; i++) {
        const struct wp_disk *disk = &definition->disks[i];

        (void)snprintf(field, sizeof(field), "devices.%u:%u", disk->controller, disk->lun);
        if (!has_controller(definition, disk->controller))
            return refuse(field, "is at a controller that is not there", reterr);
        for (size_t k = 0; k < disk->n_chain; k++) {
            if (count_fd(definition, disk->chain[k].fd) != 1)
                return refuse(field, "has a descriptor that stands twice", reterr);
        }
    }
    return 0;
}

void wp_definition_fini(struct wp_definition *definition)
{
    for (size_t i = 0; i < definition->n_disks; i++) {
        struct wp_disk *disk = &definition->disks[i];

        for (size_t k = 0; k < disk->n_chain; k++)
            free(disk->chain[k].path);
        free(disk->chain);
    }
    free(definition->disks);
    definition->disks = NULL;
    definition->n_disks = 0;
}
