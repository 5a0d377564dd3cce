/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include <string.h>

/* What is dropped is named without a value. */
static int put_word(struct json_writer *out, const char *word, bool is_unstaging)
{
    if (!is_unstaging)
        return adm_put_assignment(out, word);
    json_key(out, word);
    json_put_null(out);
    return 0;
}

/* The options; words are from argv[optind] on. An exit status. */
static int read_options(int argc, char **argv, bool *ret_is_staging, bool *ret_is_unstaging)
{
    static const struct option names[] = { { "stage", no_argument, NULL, 's' },
                                           { "unstage", no_argument, NULL, 'u' },
                                           { 0 } };
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id != 's' && id != 'u')
            return adm_bad_option("vm set", argv);
        *ret_is_staging |= id == 's';
        *ret_is_unstaging |= id == 'u';
    }
    if (argc - optind < (*ret_is_unstaging ? 1 : 2))
        return adm_usage("vm set", "A VM and KEY=VALUE are expected.");
    if (*ret_is_staging && *ret_is_unstaging)
        return adm_usage("vm set", "--stage and --unstage exclude each other.");
    return 0;
}

int adm_cmd_set(struct adm *adm, int argc, char **argv)
{
    bool is_staging = false, is_unstaging = false;
    struct json_writer params = { 0 }, written = { 0 };
    hv_autofree char *settings = NULL;
    int r = read_options(argc, argv, &is_staging, &is_unstaging);

    if (r)
        return r;
    json_begin_object(&written);
    for (int i = optind + 1; i < argc && r == 0; i++)
        r = put_word(&written, argv[i], is_unstaging);
    settings = adm_end_params(&written);
    if (r)
        return r;
    adm_begin_params(adm, &params, argv[optind]);
    if (is_staging || is_unstaging) {
        json_key(&params, is_staging ? "stage" : "unstage");
        json_put_bool(&params, true);
    }
    json_key(&params, "settings");
    json_put_raw(&params, settings, strlen(settings));
    return adm_call(adm, API_METHOD_VM_CONFIGURE, adm_end_params(&params), NULL);
}

int adm_cmd_rename(struct adm *adm, int argc, char **argv)
{
    struct json_writer params = { 0 };
    int r = adm_read_words("vm rename", &argc, &argv);

    if (r)
        return r;
    if (argc != 3)
        return adm_usage("vm rename", "A VM and its new name are expected.");
    adm_begin_params(adm, &params, argv[1]);
    json_key(&params, "settings");
    json_begin_object(&params);
    json_key(&params, "name");
    json_put_string(&params, argv[2]);
    json_end_object(&params);
    return adm_call(adm, API_METHOD_VM_CONFIGURE, adm_end_params(&params), NULL);
}
