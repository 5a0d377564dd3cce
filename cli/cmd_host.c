/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include <inttypes.h>
#include <stdio.h>

static void print_host(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_host *host = &result->host;
    char text[32];

    adm_put_pair(out, "version", "%s", host->version);
    adm_put_pair(out, "host id", "%s", host->id);
    if (host->is_probed) {
        adm_put_pair(out, "backend", "%s", host->backend);
        adm_put_pair(out, "why", "%s", host->backend_reason ? host->backend_reason : "-");
    } else {
        adm_put_pair(out, "backend", "not known: %s", host->probe_error ? host->probe_error : "-");
    }
    adm_put_pair(out, "KVM", "%s",
                 !host->has_kvm      ? "no"
                 : host->kvm_is_fast ? "yes, at hardware speed"
                                     : "yes, but it emulates");
    adm_put_pair(out, "processor", "%s", host->cpu_model ? host->cpu_model : "-");
    adm_put_pair(out, "processors", "%" PRIu32, host->processors);
    adm_format_bytes(host->memory_bytes, text, sizeof(text));
    adm_put_pair(out, "memory", "%s", text);
    adm_format_bytes(host->max_vm_memory_bytes, text, sizeof(text));
    adm_put_pair(out, "a VM may have", "%" PRIu32 " processors, %s of memory", host->max_vm_cpus,
                 text);
    adm_put_pair(out, "VMs", "%" PRIu32 ", of which %" PRIu32 " are on", host->vms,
                 host->vms_running);
    adm_sheet_print(out);
}

static void print_pong(const union api_result *result)
{
    (void)printf("vmmsd %s answers.\n", result->pong.version);
}

static int no_words(const char *verb, int argc, char **argv)
{
    int r = adm_read_words(verb, &argc, &argv);

    return r || argc == 1 ? r : adm_usage(verb, "\"%s\" is too much.", argv[1]);
}

int adm_cmd_host_show(struct adm *adm, int argc, char **argv)
{
    if (no_words("host show", argc, argv))
        return ADM_USAGE;
    return adm_call(adm, API_METHOD_HOST_GET, NULL, print_host);
}

int adm_cmd_host_ping(struct adm *adm, int argc, char **argv)
{
    if (no_words("host ping", argc, argv))
        return ADM_USAGE;
    return adm_call(adm, API_METHOD_HOST_PING, NULL, print_pong);
}

static void print_backup(const union api_result *result)
{
    (void)printf("%s, %" PRIu64 " bytes\n", result->backup.path, result->backup.bytes);
}

int adm_cmd_host_backup(struct adm *adm, int argc, char **argv)
{
    if (no_words("host backup", argc, argv))
        return ADM_USAGE;
    return adm_call(adm, API_METHOD_HOST_BACKUP, NULL, print_backup);
}

static void print_stopped(const union api_result *result)
{
    (void)printf("VMs: %" PRIu32 "\n", result->vms_stopped.count);
}

int adm_cmd_host_stop_vms(struct adm *adm, int argc, char **argv)
{
    struct json_writer params = { 0 };

    if (no_words("host stop-vms", argc, argv))
        return ADM_USAGE;
    adm_begin_params(adm, &params, NULL);
    json_key(&params, "wait");
    json_put_bool(&params, !adm->is_no_wait);
    return adm_call(adm, API_METHOD_HOST_STOP_VMS, adm_end_params(&params), print_stopped);
}
