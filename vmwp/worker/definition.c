/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/definition_priv.h"

#include "hvcore/gpa.h"
#include "hvcore/partition.h"

#include <ctype.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

enum { DEFINITION_VERSION = 1, DEFINITION_DEPTH = 7, DEFINITION_MAX_FD = 1 << 20 };

struct field {
    const char *name;
    bool is_required;
    json_type type;
    int (*read)(const struct field *field, json_object *value, struct wp_definition *definition,
                struct hv_error **reterr);
    size_t offset;
};

#define FIELD_AT(field, definition, type) ((type *)((char *)(definition) + (field)->offset))

static int refuse(const struct field *field, struct hv_error **reterr, const char *allowed)
{
    return hv_error_set_field(reterr, -EINVAL, "vm.definition.value", field->name,
                              "The definition's %s must be %s.", field->name, allowed);
}

/* A whole number in [min, max]; false when it is anything else. */
static bool read_number(json_object *value, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t number;

    if (json_object_get_int64(value) < 0)
        return false;
    number = json_object_get_uint64(value);
    if (number < min || number > max)
        return false;
    *ret = number;
    return true;
}

static int read_version(const struct field *field, json_object *value,
                        struct wp_definition *definition, struct hv_error **reterr)
{
    uint64_t version;

    if (!read_number(value, DEFINITION_VERSION, DEFINITION_VERSION, &version))
        return refuse(field, reterr, "1, the only version that this worker knows");
    return 0;
}

static int read_guid(const struct field *field, json_object *value,
                     struct wp_definition *definition, struct hv_error **reterr)
{
    struct hv_guid guid;

    if (json_object_get_string_len(value) != HV_GUID_TEXT_BYTES - 1 ||
        hv_guid_parse(json_object_get_string(value), &guid) < 0)
        return refuse(field, reterr, "a UUID of 36 characters");
    hv_guid_format(&guid, FIELD_AT(field, definition, char));
    return 0;
}

static bool has_control_character(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    return false;
}

static int read_name(const struct field *field, json_object *value,
                     struct wp_definition *definition, struct hv_error **reterr)
{
    size_t length = (size_t)json_object_get_string_len(value);

    if (length == 0 || length > WP_NAME_MAX_BYTES ||
        has_control_character(json_object_get_string(value), length))
        return refuse(field, reterr, "1 to 256 bytes of UTF-8 without control characters");
    memcpy(definition->name, json_object_get_string(value), length);
    return 0;
}

static int read_cmdline(const struct field *field, json_object *value,
                        struct wp_definition *definition, struct hv_error **reterr)
{
    size_t length = (size_t)json_object_get_string_len(value);

    if (length > WP_CMDLINE_MAX_BYTES || memchr(json_object_get_string(value), 0, length))
        return refuse(field, reterr, "at most 2047 bytes without a NUL");
    memcpy(definition->cmdline, json_object_get_string(value), length);
    return 0;
}

static int read_secret(const struct field *field, json_object *value,
                       struct wp_definition *definition, struct hv_error **reterr)
{
    const char *text = json_object_get_string(value);

    if (json_object_get_string_len(value) != WP_SECRET_BYTES)
        return refuse(field, reterr, "64 hexadecimal digits");
    for (unsigned i = 0; i < WP_SECRET_BYTES; i++) {
        if (!isxdigit((unsigned char)text[i]))
            return refuse(field, reterr, "64 hexadecimal digits");
        definition->secret[i] = (char)tolower((unsigned char)text[i]);
    }
    return 0;
}

static int read_epoch(const struct field *field, json_object *value,
                      struct wp_definition *definition, struct hv_error **reterr)
{
    if (!read_number(value, 0, UINT64_MAX, &definition->epoch))
        return refuse(field, reterr, "a whole number from 0 on");
    return 0;
}

static int read_backend(const struct field *field, json_object *value,
                        struct wp_definition *definition, struct hv_error **reterr)
{
    if (hv_backend_parse(json_object_get_string(value), &definition->backend) < 0)
        return refuse(field, reterr, "auto, kvm or soft");
    return 0;
}

static int read_cpu_count(const struct field *field, json_object *value,
                          struct wp_definition *definition, struct hv_error **reterr)
{
    uint64_t count;

    if (!read_number(value, 1, HV_MAX_VPS, &count))
        return refuse(field, reterr, "1 to 64");
    definition->cpu_count = (unsigned)count;
    return 0;
}

static int read_memory(const struct field *field, json_object *value,
                       struct wp_definition *definition, struct hv_error **reterr)
{
    if (!read_number(value, WP_MEMORY_MIN_BYTES, WP_MEMORY_MAX_BYTES, &definition->memory_bytes) ||
        definition->memory_bytes % HV_PAGE_BYTES != 0)
        return refuse(field, reterr, "64 MiB to 64 GiB in whole pages of 4096 bytes");
    return 0;
}

static int read_fd(const struct field *field, json_object *value, struct wp_definition *definition,
                   struct hv_error **reterr)
{
    int64_t fd = json_object_get_int64(value);

    if (fd != -1 && (fd < WP_FIRST_GIVEN_FD || fd > DEFINITION_MAX_FD))
        return refuse(field, reterr, "the number of an inherited descriptor from 6 on, or -1");
    *FIELD_AT(field, definition, int) = (int)fd;
    return 0;
}

static int read_port(const struct field *field, json_object *value,
                     struct wp_definition *definition, struct hv_error **reterr)
{
    uint64_t port;

    if (!read_number(value, 0, UINT16_MAX, &port))
        return refuse(field, reterr, "a port from 1 to 65535, or 0 for none");
    definition->debug_exit_port = (uint16_t)port;
    return 0;
}

static int read_on_end(const struct field *field, json_object *value,
                       struct wp_definition *definition, struct hv_error **reterr)
{
    const char *text = json_object_get_string(value);

    if (strcmp(text, "stop") != 0 && strcmp(text, "reset") != 0)
        return refuse(field, reterr, "stop or reset");
    *FIELD_AT(field, definition, enum wp_on_end) =
        text[0] == 's' ? WP_ON_END_STOP : WP_ON_END_RESET;
    return 0;
}

static int read_services(const struct field *field, json_object *value,
                         struct wp_definition *definition, struct hv_error **reterr)
{
    return wp_definition_read_services(value, definition, reterr);
}

static int read_controllers(const struct field *field, json_object *value,
                            struct wp_definition *definition, struct hv_error **reterr)
{
    return wp_definition_read_controllers(value, definition, reterr);
}

static int read_disks(const struct field *field, json_object *value,
                      struct wp_definition *definition, struct hv_error **reterr)
{
    return wp_definition_read_disks(value, definition, reterr);
}

#define AT(member) offsetof(struct wp_definition, member)

/* clang-format off */
static const struct field fields[] = {
    { "version",         true,  json_type_int,    read_version,   0 },
    { "vm_id",           true,  json_type_string, read_guid,      AT(vm_id) },
    { "name",            true,  json_type_string, read_name,      0 },
    { "incarnation",     true,  json_type_string, read_guid,      AT(incarnation) },
    { "secret",          true,  json_type_string, read_secret,    0 },
    { "epoch",           true,  json_type_int,    read_epoch,     0 },
    { "backend",         true,  json_type_string, read_backend,   0 },
    { "cpu_count",       true,  json_type_int,    read_cpu_count, 0 },
    { "memory_bytes",    true,  json_type_int,    read_memory,    0 },
    { "kernel_fd",       true,  json_type_int,    read_fd,        AT(kernel_fd) },
    { "initrd_fd",       false, json_type_int,    read_fd,        AT(initrd_fd) },
    { "kvm_fd",          false, json_type_int,    read_fd,        AT(kvm_fd) },
    { "restore_fd",      false, json_type_int,    read_fd,        AT(restore_fd) },
    { "cmdline",         false, json_type_string, read_cmdline,   0 },
    { "debug_exit_port", false, json_type_int,    read_port,      0 },
    { "on_triple_fault", false, json_type_string, read_on_end,    AT(on_triple_fault) },
    { "on_reset",        false, json_type_string, read_on_end,    AT(on_reset) },
    { "services",        false, json_type_object, read_services,  0 },
    { "controllers",     false, json_type_array,  read_controllers, 0 },
    { "scsi",            false, json_type_array,  read_disks,     0 },
};
/* clang-format on */

static const struct field *field_of(const char *name)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(fields); i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static int check_known(json_object *object, struct hv_error **reterr)
{
    json_object_object_foreach(object, name, value)
    {
        const struct field *field = field_of(name);

        (void)value;
        if (!field)
            return hv_error_set_field(reterr, -EINVAL, "vm.definition.unknown", name,
                                      "The definition has a field that this worker doesn't know: "
                                      "%.64s.",
                                      name);
    }
    return 0;
}

static const char *type_phrase(json_type type)
{
    switch (type) {
    case json_type_int: return "a whole number";
    case json_type_array: return "a list";
    case json_type_object: return "an object";
    default: return "a text";
    }
}

static int read_field(const struct field *field, json_object *object,
                      struct wp_definition *definition, struct hv_error **reterr)
{
    json_object *value;

    if (!json_object_object_get_ex(object, field->name, &value)) {
        if (!field->is_required)
            return 0;
        return hv_error_set_field(reterr, -EINVAL, "vm.definition.missing", field->name,
                                  "The definition lacks the field %s.", field->name);
    }
    if (!json_object_is_type(value, field->type))
        return hv_error_set_field(reterr, -EINVAL, "vm.definition.type", field->name,
                                  "The definition's %s must be %s.", field->name,
                                  type_phrase(field->type));
    return field->read(field, value, definition, reterr);
}

/* Two numbers of one descriptor would make one use close or seek the other's. */
static int check_fds_differ(const struct wp_definition *definition, struct hv_error **reterr)
{
    const struct {
        const char *name;
        int fd;
    } fds[] = { { "kernel_fd", definition->kernel_fd },
                { "initrd_fd", definition->initrd_fd },
                { "kvm_fd", definition->kvm_fd },
                { "restore_fd", definition->restore_fd } };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(fds); i++)
        for (unsigned k = 0; k < i; k++)
            if (fds[i].fd >= 0 && fds[i].fd == fds[k].fd)
                return hv_error_set_field(reterr, -EINVAL, "vm.definition.value", fds[i].name,
                                          "The definition names one descriptor for two things.");
    return 0;
}

static void json_object_putp(json_object **object)
{
    json_object_put(*object);
}

static void json_tokener_freep(struct json_tokener **tokener)
{
    if (*tokener)
        json_tokener_free(*tokener);
}

static int parse_json(const char *text, size_t length, json_object **ret, struct hv_error **reterr)
{
    HV_CLEANUP(json_tokener_freep) struct json_tokener *tokener = NULL;
    json_object *object;

    tokener = json_tokener_new_ex(DEFINITION_DEPTH);
    if (!tokener)
        return -ENOMEM;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    object = json_tokener_parse_ex(tokener, text, (int)length);
    /* A number or word at the very end is only complete when something follows it; an object is. */
    if (!object || json_tokener_get_parse_end(tokener) != length ||
        !json_object_is_type(object, json_type_object)) {
        json_object_put(object);
        return hv_error_set(reterr, -EINVAL, "vm.definition.json",
                            "The definition is not one JSON object in UTF-8.");
    }
    *ret = object;
    return 0;
}

int wp_definition_parse(const char *text, size_t length, struct wp_definition *ret,
                        struct hv_error **reterr)
{
    HV_CLEANUP(json_object_putp) json_object *object = NULL;
    struct wp_definition definition = { .kernel_fd = -1,
                                        .initrd_fd = -1,
                                        .kvm_fd = -1,
                                        .restore_fd = -1,
                                        .on_reset = WP_ON_END_RESET };
    int r;

    if (length > WP_DEFINITION_MAX_BYTES)
        return hv_error_set(reterr, -EFBIG, "vm.definition.size",
                            "The definition is longer than 4 MiB.");
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    r = parse_json(text, length, &object, reterr);
    if (r < 0)
        return r;
    r = check_known(object, reterr);
    for (unsigned i = 0; r >= 0 && i < HV_ARRAY_SIZE(fields); i++)
        r = read_field(&fields[i], object, &definition, reterr);
    if (r >= 0)
        r = check_fds_differ(&definition, reterr);
    if (r >= 0)
        r = wp_definition_check_disks(&definition, reterr);
    if (r < 0) {
        wp_definition_fini(&definition);
        return r;
    }
    *ret = definition;
    return 0;
}

int wp_definition_read(int fd, struct wp_definition *ret, struct hv_error **reterr)
{
    hv_autofree char *text = NULL;
    size_t length = 0;

    text = malloc(WP_DEFINITION_MAX_BYTES + 1);
    if (!text)
        return -ENOMEM;
    while (length <= WP_DEFINITION_MAX_BYTES) {
        ssize_t n = pread(fd, text + length, WP_DEFINITION_MAX_BYTES + 1 - length, (off_t)length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hv_error_set(reterr, -errno, "vm.definition.read",
                                "The definition on descriptor %d cannot be read: %s.", fd,
                                strerror(errno));
        if (n == 0)
            break;
        length += (size_t)n;
    }
    return wp_definition_parse(text, length, ret, reterr);
}
