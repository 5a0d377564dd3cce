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

static bool take_flag(int *argc, char **argv, const char *flag)
{
    int kept = 1;

    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], flag) != 0)
            argv[kept++] = argv[i];
    }
    if (kept == *argc)
        return false;
    *argc = kept;
    return true;
}

int adm_cmd_set(struct adm *adm, int argc, char **argv)
{
    bool is_staging = take_flag(&argc, argv, "--stage");
    bool is_unstaging = take_flag(&argc, argv, "--unstage");
    struct json_writer params = { 0 }, written = { 0 };
    hv_autofree char *settings = NULL;
    int r = 0;

    if (argc < (is_unstaging ? 2 : 3))
        return adm_usage("vm set", "A VM and KEY=VALUE are expected.");
    if (is_staging && is_unstaging)
        return adm_usage("vm set", "--stage and --unstage exclude each other.");
    json_begin_object(&written);
    for (int i = 2; i < argc && r == 0; i++)
        r = put_word(&written, argv[i], is_unstaging);
    settings = adm_end_params(&written);
    if (r)
        return r;
    adm_begin_params(adm, &params, argv[1]);
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
