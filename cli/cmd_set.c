/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

int adm_cmd_set(struct adm *adm, int argc, char **argv)
{
    struct json_writer params = { 0 };
    int r = 0;

    if (argc < 3)
        return adm_usage("vm set", "A VM and KEY=VALUE are expected.");
    adm_begin_params(adm, &params, argv[1]);
    json_key(&params, "settings");
    json_begin_object(&params);
    for (int i = 2; i < argc && r == 0; i++)
        r = adm_put_assignment(&params, argv[i]);
    json_end_object(&params);
    if (r) {
        json_writer_fini(&params);
        return r;
    }
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
