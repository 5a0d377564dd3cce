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
    { "disk", NULL, "disk" },       { "dvd", NULL, "dvd" },
};

static void created(const union api_result *result)
{
    if (result->has & API_CHANGED_HAS_VM)
        (void)printf("%s\n", result->changed.vm.id);
}

static int take_option(int id, struct json_writer *settings, struct json_writer *devices)
{
    if (options[id].kind)
        return adm_put_disk(devices, options[id].kind, optarg);
    return options[id].setting ? adm_put_setting(settings, options[id].setting, optarg)
                               : adm_put_assignment(settings, optarg);
}

static int read_options(int argc, char **argv, struct json_writer *settings,
                        struct json_writer *devices)
{
    struct option names[HV_ARRAY_SIZE(options) + 1] = { 0 };
    int id, r = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(options); i++)
        names[i] = (struct option){ options[i].option, required_argument, NULL, (int)i };
    opterr = 0;
    while (r == 0 && (id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id < 0 || (size_t)id >= HV_ARRAY_SIZE(options))
            return adm_usage("vm create", "The option %s is not known or lacks its value.",
                             argv[optind - 1]);
        r = take_option(id, settings, devices);
    }
    return r;
}

int adm_cmd_create(struct adm *adm, int argc, char **argv)
{
    struct json_writer settings = { 0 }, devices = { 0 }, params = { 0 };
    hv_autofree char *text = NULL, *list = NULL;
    int r;

    json_begin_object(&settings);
    json_begin_array(&devices);
    r = read_options(argc, argv, &settings, &devices);
    text = adm_end_params(&settings);
    json_end_array(&devices);
    hv_assert(json_writer_take(&devices, &list, NULL) == 0);
    if (r)
        return r;
    if (argc - optind != 1)
        return adm_usage("vm create",
                         argc == optind ? "A name is missing." : "One name is enough.");
    adm_begin_params(adm, &params, NULL);
    json_key(&params, "name");
    json_put_string(&params, argv[optind]);
    json_key(&params, "settings");
    json_put_raw(&params, text, strlen(text));
    json_key(&params, "devices");
    json_put_raw(&params, list, strlen(list));
    return adm_call(adm, API_METHOD_VM_CREATE, adm_end_params(&params), created);
}
