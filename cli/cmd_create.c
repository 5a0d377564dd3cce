/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *option;
    const char *setting; /* NULL: KEY=VALUE, or a device */
    const char *kind;    /* of a device, or NULL */
} options[] = {
    { "cpus", "cpu.count" },        { "memory", "memory.startup" }, { "kernel", "boot.kernel" },
    { "initrd", "boot.initrd" },    { "cmdline", "boot.cmdline" },  { "backend", "backend" },
    { "debug-exit", "debug_exit" }, { "notes", "notes" },           { "set", NULL },
    { "disk", NULL, "disk" },       { "dvd", NULL, "dvd" },         { "auto-start", "auto.start" },
};

static void created(const union api_result *result)
{
    if (result->has & API_CHANGED_HAS_VM)
        (void)printf("%s\n", result->changed.vm.id);
}

/* What is being made of the options. */
struct wanted {
    struct json_writer settings, devices;
    struct adm_images images;
};

static int take_option(const struct adm *adm, int id, struct wanted *wanted)
{
    if (options[id].kind)
        return adm_put_disk(adm, &wanted->devices, options[id].kind, optarg, &wanted->images);
    return options[id].setting ? adm_put_setting(&wanted->settings, options[id].setting, optarg)
                               : adm_put_assignment(&wanted->settings, optarg);
}

static int read_options(const struct adm *adm, int argc, char **argv, struct wanted *wanted)
{
    struct option names[HV_ARRAY_SIZE(options) + 1] = { 0 };
    int id, r = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(options); i++)
        names[i] = (struct option){ options[i].option, required_argument, NULL, (int)i };
    opterr = 0;
    while (r == 0 && (id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id < 0 || (size_t)id >= HV_ARRAY_SIZE(options))
            return adm_bad_option("vm create", argv);
        r = take_option(adm, id, wanted);
    }
    return r;
}

/* The images come first; what was made stays, also when the VM cannot be made. */
static int create(struct adm *adm, char *params, struct adm_images *images)
{
    int r = adm_images_make(adm, images);

    if (r) {
        free(params);
        return r;
    }
    r = adm_call(adm, API_METHOD_VM_CREATE, params, created);
    for (size_t i = 0; r && !adm->is_plan && i < images->count; i++)
        (void)fprintf(stderr, "hvadm: The image %s has been made and stays.\n",
                      images->items[i].path);
    return r;
}

int adm_cmd_create(struct adm *adm, int argc, char **argv)
{
    HV_CLEANUP(adm_images_fini) struct adm_images images = { 0 };
    hv_autofree char *settings = NULL, *devices = NULL;
    struct json_writer params = { 0 };
    struct wanted wanted = { 0 };
    int r;

    json_begin_object(&wanted.settings);
    json_begin_array(&wanted.devices);
    r = read_options(adm, argc, argv, &wanted);
    images = wanted.images;
    settings = adm_end_params(&wanted.settings);
    json_end_array(&wanted.devices);
    hv_assert(json_writer_take(&wanted.devices, &devices, NULL) == 0);
    if (r)
        return r;
    if (argc - optind != 1)
        return adm_usage("vm create",
                         argc == optind ? "A name is missing." : "One name is enough.");
    adm_begin_params(adm, &params, NULL);
    json_key(&params, "name");
    json_put_string(&params, argv[optind]);
    json_key(&params, "settings");
    json_put_raw(&params, settings, strlen(settings));
    json_key(&params, "devices");
    json_put_raw(&params, devices, strlen(devices));
    return create(adm, adm_end_params(&params), &images);
}
