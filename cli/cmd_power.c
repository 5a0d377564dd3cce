/* SPDX-License-Identifier: Apache-2.0 */
/* start, off, pause, resume, reset, save, discard-state, delete: one verb, one or more VMs. */
#include "cli/adm.h"

#include <string.h>

/* Every VM is tried; the first failure's status is the program's. */
static int for_each(struct adm *adm, enum api_method method, const struct adm_targets *targets)
{
    int status = 0, r;

    for (size_t i = 0; i < targets->count; i++) {
        struct json_writer params = { 0 };

        adm_begin_params(adm, &params, targets->refs[i]);
        r = api_methods[method].is_job
                ? adm_call_job(adm, method, adm_end_params(&params), NULL, NULL)
                : adm_call_target(adm, method, adm_end_params(&params), targets, i);
        status = status ? status : r;
    }
    return status;
}

static int run(struct adm *adm, enum api_method method, bool may_group, int argc, char **argv)
{
    static const struct option names[] = { { "group", required_argument, NULL, 'g' }, { 0 } };
    HV_CLEANUP(adm_targets_fini) struct adm_targets targets = { 0 };
    const char *group = NULL;
    int id, r;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id != 'g' || !may_group)
            return adm_bad_option("vm", argv);
        group = optarg;
    }
    r = adm_read_targets(adm, argv[0], group, argc - optind, argv + optind, &targets);
    return r ? r : for_each(adm, method, &targets);
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
            return run(adm, verbs[i].method, true, argc, argv);
    }
    return ADM_USAGE;
}

int adm_cmd_delete(struct adm *adm, int argc, char **argv)
{
    return run(adm, API_METHOD_VM_DELETE, false, argc, argv);
}
