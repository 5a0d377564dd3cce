/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include <inttypes.h>
#include <stdio.h>

static void print_disk(struct adm_sheet *out, const char *label, uint64_t count, uint64_t bytes)
{
    char text[32];

    adm_format_bytes(bytes, text, sizeof(text));
    adm_put_pair(out, label, "%" PRIu64 " (%s)", count, text);
}

static void print_stats(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_vm_stats *stats = &result->vm_stats;
    char text[32];

    adm_put_pair(out, "name", "%s", stats->name);
    adm_put_pair(out, "guest CPU", "%.3f s", (double)stats->vcpu_time_ns / 1e9);
    adm_put_pair(out, "worker CPU", "%.3f s", (double)stats->worker_cpu_ns / 1e9);
    adm_format_bytes(stats->ram_bytes, text, sizeof(text));
    adm_put_pair(out, "guest memory", "%s", text);
    adm_format_bytes(stats->worker_rss_bytes, text, sizeof(text));
    adm_put_pair(out, "worker resident", "%s", text);
    adm_put_pair(out, "exits", "%" PRIu64, stats->exits);
    adm_put_pair(out, "port accesses", "%" PRIu64, stats->port_ios);
    adm_put_pair(out, "device accesses", "%" PRIu64, stats->mmios);
    adm_put_pair(out, "interrupts", "%" PRIu64, stats->interrupts);
    adm_put_pair(out, "halts", "%" PRIu64, stats->halts);
    print_disk(out, "disk reads", stats->disk_reads, stats->disk_read_bytes);
    print_disk(out, "disk writes", stats->disk_writes, stats->disk_write_bytes);
    adm_put_pair(out, "disk flushes", "%" PRIu64, stats->disk_flushes);
    adm_put_pair(out, "disk errors", "%" PRIu64, stats->disk_errors);
    adm_put_pair(out, "COM1 bytes", "%" PRIu64, stats->console1_bytes);
    adm_put_pair(out, "COM2 bytes", "%" PRIu64, stats->console2_bytes);
    adm_sheet_print(out);
}

static int stats_of(struct adm *adm, const char *vm)
{
    struct json_writer params = { 0 };

    adm_begin_params(adm, &params, vm);
    return adm_call(adm, API_METHOD_VM_STATS, adm_end_params(&params), print_stats);
}

/* Without names: all that run, or stand paused. */
static int stats_of_all(struct adm *adm)
{
    union api_result list;
    int r = adm_get(adm, API_METHOD_VM_LIST, NULL, &list), status = 0;
    bool is_first = true;

    if (r)
        return r;
    for (size_t i = 0; i < list.vm_list.n_vms; i++) {
        const struct api_vm *vm = &list.vm_list.vms[i];

        if (vm->state != API_VM_STATE_RUNNING && vm->state != API_VM_STATE_PAUSED)
            continue;
        if (!is_first && !adm->is_json)
            (void)putchar('\n');
        is_first = false;
        r = stats_of(adm, vm->id);
        status = status ? status : r;
    }
    api_vm_list_fini(&list.vm_list);
    return status;
}

int adm_cmd_stats(struct adm *adm, int argc, char **argv)
{
    int status = adm_read_words("vm stats", &argc, &argv), r;

    if (status)
        return status;
    if (argc < 2)
        return stats_of_all(adm);
    for (int i = 1; i < argc; i++) {
        if (i > 1 && !adm->is_json)
            (void)putchar('\n');
        r = stats_of(adm, argv[i]);
        status = status ? status : r;
    }
    return status;
}
