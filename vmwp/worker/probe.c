/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/probe.h"

#include "hvcore/host.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

char *wp_probe_format(const struct hv_host_info *host, const char *version)
{
    json_object *o = json_object_new_object();
    const char *text;
    char *copy;

    if (!o)
        return NULL;
    json_object_object_add(o, "backend", json_object_new_string(hv_backend_name(host->chosen)));
    json_object_object_add(o, "reason", json_object_new_string(host->reason));
    json_object_object_add(o, "has_kvm", json_object_new_boolean(host->has_kvm));
    json_object_object_add(o, "kvm_is_fast", json_object_new_boolean(host->is_kvm_fast));
    json_object_object_add(o, "kvm_ns_per_iteration",
                           json_object_new_double(host->kvm_ns_per_iteration));
    json_object_object_add(o, "max_cpus", json_object_new_int64(host->max_vps));
    json_object_object_add(o, "max_memory_bytes", json_object_new_uint64(host->max_ram_bytes));
    json_object_object_add(o, "host_memory_bytes", json_object_new_uint64(host->host_ram_bytes));
    json_object_object_add(o, "host_processors", json_object_new_int64(host->host_processors));
    json_object_object_add(o, "cpu_model", json_object_new_string(host->cpu_model));
    json_object_object_add(o, "tsc_hz", json_object_new_uint64(host->tsc_hz));
    json_object_object_add(o, "version", json_object_new_string(version));
    text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_SPACED);
    copy = text ? strdup(text) : NULL;
    json_object_put(o);
    return copy;
}

int wp_probe_print(const char *version)
{
    hv_autofree char *text = NULL;
    struct hv_host_info host;

    hv_host_probe(-1, &host);
    text = wp_probe_format(&host, version);
    if (!text || printf("%s\n", text) < 0 || fflush(stdout) != 0) {
        (void)fprintf(stderr, "vmwp: what the host can do cannot be printed\n");
        return 1;
    }
    return 0;
}
