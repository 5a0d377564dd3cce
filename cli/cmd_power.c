/* SPDX-License-Identifier: Apache-2.0 */
/* start, off, pause, resume, reset, save, discard-state, delete: one verb, one or more VMs. */
#include "cli/adm.h"

#include <string.h>

/* Every VM is tried; the first failure's status is the program's. */
static int for_each(struct adm *adm, enum api_method method, int argc, char **argv)
{
    int status = 0, r;

    if (argc < 2)
        return adm_usage("vm", "%s which VM?", argv[0]);
    for (int i = 1; i < argc; i++) {
        struct json_writer params = { 0 };

        if (strcmp(argv[i], "--") == 0)
            continue;
        if (strncmp(argv[i], "--", 2) == 0)
            return adm_usage("vm", "The option %s is not known.", argv[i]);
        adm_begin_params(adm, &params, argv[i]);
        r = api_methods[method].is_job
                ? adm_call_job(adm, method, adm_end_params(&params), NULL, NULL)
                : adm_call(adm, method, adm_end_params(&params), NULL);
        status = status ? status : r;
    }
    return status;
}

int adm_cmd_power(struct adm *adm, int argc, char **argv)
{
    static const struct {
        const char *verb;
        enum api_method method;
    } verbs[] = { { "start", API_METHOD_VM_START },
                  { "off", API_METHOD_VM_TURN_OFF },
                  { "pause", API_METHOD_VM_PAUSE },
                  { "resume", API_METHOD_VM_RESUME },
                  { "reset", API_METHOD_VM_RESET },
                  { "save", API_METHOD_VM_SAVE },
                  { "discard-state", API_METHOD_VM_DISCARD_SAVED_STATE } };

    for (size_t i = 0; i < HV_ARRAY_SIZE(verbs); i++) {
        if (strcmp(verbs[i].verb, argv[0]) == 0)
            return for_each(adm, verbs[i].method, argc, argv);
    }
    return ADM_USAGE;
}

int adm_cmd_delete(struct adm *adm, int argc, char **argv)
{
    return for_each(adm, API_METHOD_VM_DELETE, argc, argv);
}
