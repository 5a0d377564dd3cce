/* SPDX-License-Identifier: Apache-2.0 */
/* add, remove, insert, eject: what is plugged into a VM. */
#include "cli/adm.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* A device as it is typed; what is allowed, the service says. */
struct typed {
    const char *verb;
    const char *kind;
    const char *path;
    const char *format;
    const char *controller;
    const char *lun;
    bool is_read_only;
    bool is_staged;
    bool is_new; /* its image is to be made */
    const char *size;
    const char *parent;
};

static int take(struct typed *typed, const char *key, const char *value)
{
    const struct {
        const char *key;
        const char **to;
        bool is_of_new;
    } slots[] = { { "format", &typed->format, false },
                  { "controller", &typed->controller, false },
                  { "lun", &typed->lun, false },
                  { "size", &typed->size, true },
                  { "parent", &typed->parent, true } };

    if (strcmp(key, "read-only") == 0 && !value) {
        typed->is_read_only = true;
        return 0;
    }
    if (strcmp(key, "stage") == 0 && !value && strcmp(typed->verb, "vm create") != 0) {
        typed->is_staged = true;
        return 0;
    }
    for (size_t i = 0; value && i < HV_ARRAY_SIZE(slots); i++) {
        if (strcmp(slots[i].key, key) == 0 && (typed->is_new || !slots[i].is_of_new)) {
            *slots[i].to = value;
            return 0;
        }
    }
    return adm_usage(typed->verb, "\"%s\" is not known of a disk, or lacks its value.", key);
}

static int put_number(struct json_writer *out, const struct typed *typed, const char *key,
                      const char *value)
{
    unsigned long number;
    char *end;

    if (!value)
        return 0;
    errno = 0;
    number = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || errno)
        return adm_usage(typed->verb, "%s is a number, not \"%s\".", key, value);
    json_key(out, key);
    json_put_u64(out, number);
    return 0;
}

static int put_device(struct json_writer *out, const struct typed *typed)
{
    int r;

    json_begin_object(out);
    json_key(out, "kind");
    json_put_string(out, typed->kind);
    if (typed->path && *typed->path) {
        json_key(out, "path");
        adm_put_path(out, typed->path);
    }
    if (typed->format) {
        json_key(out, "format");
        json_put_string(out, typed->format);
    }
    if (typed->is_read_only) {
        json_key(out, "read_only");
        json_put_bool(out, true);
    }
    r = put_number(out, typed, "controller", typed->controller);
    if (r == 0)
        r = put_number(out, typed, "lun", typed->lun);
    json_end_object(out);
    return r;
}

/* The first part of a list with commas, ended where it ends; a comma in it is typed twice. Returns
 * the rest, or NULL. */
static char *first_part(char *text)
{
    char *to = text;

    while (*text && (*text != ',' || text[1] == ',')) {
        text += *text == ',';
        *to++ = *text++;
    }
    if (!*text) {
        *to = '\0';
        return NULL;
    }
    *to = '\0';
    return text + 1;
}

static int read_parts(struct typed *typed, char *text)
{
    char *word, *next, *value;
    int r;

    for (word = first_part(text); word; word = next) {
        next = first_part(word);
        value = strchr(word, '=');
        if (value)
            *value++ = '\0';
        r = take(typed, word, value);
        if (r)
            return r;
    }
    return 0;
}

/* Images that are to be made */

void adm_images_fini(struct adm_images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        free(images->items[i].path);
        free(images->items[i].params);
    }
    free(images->items);
    *images = (struct adm_images){ 0 };
}

static void put_image(const struct adm *adm, const struct typed *typed, uint64_t size,
                      struct adm_images *images)
{
    struct json_writer params = { 0 };
    struct adm with_key = *adm;
    hv_autofree char *key = NULL;

    /* The command's key is the VM's; its images have keys that go with it. */
    if (adm->key)
        hv_assert(asprintf(&key, "%s/%zu", adm->key, images->count) > 0);
    with_key.key = key;
    adm_begin_params(&with_key, &params, NULL);
    json_key(&params, "path");
    adm_put_path(&params, typed->path);
    if (typed->size) {
        json_key(&params, "size_bytes");
        json_put_u64(&params, size);
    }
    if (typed->parent) {
        json_key(&params, "parent");
        adm_put_path(&params, typed->parent);
    }
    if (typed->format) {
        json_key(&params, "format");
        json_put_string(&params, typed->format);
    }
    if (!adm->is_plan) {
        json_key(&params, "wait");
        json_put_bool(&params, true);
    }
    images->items = reallocarray(images->items, images->count + 1, sizeof(*images->items));
    hv_assert(images->items);
    images->items[images->count].path = strdup(typed->path);
    images->items[images->count].params = adm_end_params(&params);
    hv_assert(images->items[images->count].path);
    images->count++;
}

static int note_image(const struct adm *adm, const struct typed *typed, struct adm_images *images)
{
    uint64_t size = 0;

    if (strcmp(typed->kind, "disk") != 0 || !*typed->path)
        return adm_usage("vm create", "new=FILE is for a disk, and needs a file.");
    if (!typed->size && !typed->parent)
        return adm_usage("vm create", "A new image needs size=SIZE, or parent=FILE.");
    if (typed->size && !adm_parse_size(typed->size, &size))
        return adm_usage("vm create", "size=%s is not understood.", typed->size);
    put_image(adm, typed, size, images);
    return 0;
}

static void tell_image(const char *path)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);

    adm_put_pair(out, "would", "make the image %s", path);
    adm_sheet_print(out);
}

int adm_images_make(struct adm *adm, struct adm_images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        union api_result result = { 0 };
        int r =
            adm_get(adm, API_METHOD_IMAGE_CREATE, HV_TAKE_PTR(images->items[i].params), &result);

        if (r)
            return r;
        if (adm->is_plan && !adm->is_json)
            tell_image(images->items[i].path);
        api_record_fini(api_methods[API_METHOD_IMAGE_CREATE].result, &result);
    }
    return 0;
}

int adm_put_disk(const struct adm *adm, struct json_writer *out, const char *kind, const char *text,
                 struct adm_images *images)
{
    bool is_new = strncmp(text, "new=", 4) == 0;
    hv_autofree char *copy = strdup(is_new ? text + 4 : text);
    struct typed typed = { .verb = "vm create", .kind = kind, .path = copy, .is_new = is_new };
    int r;

    hv_assert(copy);
    r = read_parts(&typed, copy);
    if (r == 0 && is_new)
        r = note_image(adm, &typed, images);
    return r || (is_new && adm->is_plan) ? r : put_device(out, &typed);
}

static const struct option add_options[] = { { "controller", required_argument, NULL, 0 },
                                             { "lun", required_argument, NULL, 0 },
                                             { "format", required_argument, NULL, 0 },
                                             { "read-only", no_argument, NULL, 0 },
                                             { "stage", no_argument, NULL, 0 },
                                             { 0 } };

static int read_add(int argc, char **argv, struct typed *typed)
{
    int id, index, r = 0;

    opterr = 0;
    while (r == 0 && (id = getopt_long(argc, argv, "", add_options, &index)) != -1) {
        if (id != 0)
            return adm_bad_option("vm add", argv);
        r = take(typed, add_options[index].name, optarg);
    }
    if (r == 0 && (argc - optind < 2 || argc - optind > 3))
        r = adm_usage("vm add", "A VM, what to add, and a file are expected.");
    return r;
}

static void print_device(const union api_result *result)
{
    if (result->changed.device)
        (void)printf("%s\n", result->changed.device);
}

int adm_cmd_add(struct adm *adm, int argc, char **argv)
{
    struct typed typed = { .verb = "vm add" };
    struct json_writer params = { 0 };
    int r = read_add(argc, argv, &typed);

    if (r)
        return r;
    typed.kind = argv[optind + 1];
    typed.path = argc - optind == 3 ? argv[optind + 2] : NULL;
    adm_begin_params(adm, &params, argv[optind]);
    if (typed.is_staged) {
        json_key(&params, "stage");
        json_put_bool(&params, true);
    }
    json_key(&params, "settings");
    r = put_device(&params, &typed);
    if (r) {
        json_writer_fini(&params);
        return r;
    }
    return adm_call(adm, API_METHOD_VM_ADD_DEVICE, adm_end_params(&params), print_device);
}

/* path NULL: the device goes. */
static int change(struct adm *adm, enum api_method method, const char *vm, const char *device,
                  const char *path, bool is_staged)
{
    struct json_writer params = { 0 };

    adm_begin_params(adm, &params, vm);
    if (is_staged) {
        json_key(&params, "stage");
        json_put_bool(&params, true);
    }
    json_key(&params, "device");
    json_put_string(&params, device);
    if (path) {
        json_key(&params, "settings");
        json_begin_object(&params);
        json_key(&params, "path");
        adm_put_path(&params, path);
        json_end_object(&params);
    }
    return adm_call(adm, method, adm_end_params(&params), NULL);
}

int adm_cmd_remove(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "stage", no_argument, NULL, 's' }, { 0 } };
    bool is_staged = false;
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id != 's')
            return adm_bad_option("vm remove", argv);
        is_staged = true;
    }
    if (argc - optind != 3)
        return adm_usage("vm remove", "A VM, disk, dvd or scsi, and an id or CONTROLLER:LUN are "
                                      "expected.");
    argv += optind;
    if (api_enum_index(&api_enum_device_kind, argv[1]) < 0)
        return adm_usage("vm remove", "\"%s\" is none of disk, dvd and scsi.", argv[1]);
    return change(adm, API_METHOD_VM_REMOVE_DEVICE, argv[0], argv[2], NULL, is_staged);
}

int adm_cmd_insert(struct adm *adm, int argc, char **argv)
{
    int r = adm_read_words("vm insert", &argc, &argv);

    if (r)
        return r;
    if (argc != 4 || !*argv[3])
        return adm_usage("vm insert", "A VM, a DVD drive and a file are expected.");
    return change(adm, API_METHOD_VM_MODIFY_DEVICE, argv[1], argv[2], argv[3], false);
}

int adm_cmd_eject(struct adm *adm, int argc, char **argv)
{
    int r = adm_read_words("vm eject", &argc, &argv);

    if (r)
        return r;
    if (argc != 3)
        return adm_usage("vm eject", "A VM and a DVD drive are expected.");
    return change(adm, API_METHOD_VM_MODIFY_DEVICE, argv[1], argv[2], "", false);
}
