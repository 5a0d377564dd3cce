/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of host and VMs gathered: for vm.summaries, and for GET /metrics. */
#include "vmmsd/service/service_priv.h"

#include "hvcore/base/clock.h"
#include "vmmsd/spawn/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 4096 };

struct gathering {
    struct vmms_service *service;
    struct api_vm_summaries *to;
    const struct vmms_scope *scope;
    uint64_t now_ns, now_ms;
    int r;
};

static double percent(const struct vmms_figures *figures)
{
    uint64_t used = figures->stats.vcpu_time_ns - figures->before_vcpu_ns;

    return 100.0 * (double)used / (double)(figures->told_ns - figures->before_ns);
}

static void add_figures(const struct gathering *gathering, const struct vmms_row *row,
                        struct api_vm_summary *ret)
{
    const struct vmms_figures *figures = vmms_spawner_figures(gathering->service->spawner, row->id);

    if (row->on_since_ms && gathering->now_ms > row->on_since_ms) {
        ret->has |= API_VM_SUMMARY_HAS_ON_TIME_MS;
        ret->on_time_ms = gathering->now_ms - row->on_since_ms;
    }
    if (!figures)
        return;
    ret->has |= API_VM_SUMMARY_HAS_AGE_MS | API_VM_SUMMARY_HAS_FIGURES;
    ret->age_ms = (gathering->now_ns - figures->told_ns) / HV_NS_PER_MS;
    ret->figures = figures->stats;
    ret->figures.id = strdup(row->id);
    ret->figures.name = strdup(row->settings.name);
    if (figures->before_ns && figures->stats.vcpu_time_ns >= figures->before_vcpu_ns) {
        ret->has |= API_VM_SUMMARY_HAS_CPU_PERCENT;
        ret->cpu_percent = percent(figures);
    }
}

static void add_vm(void *opaque, const struct vmms_row *row)
{
    struct gathering *gathering = opaque;
    struct api_vm_summaries *to = gathering->to;
    struct api_vm_summary *vm;

    if (to->n_vms % 64 == 0) {
        vm = reallocarray(to->vms, to->n_vms + 64, sizeof(*vm));
        if (!vm) {
            gathering->r = -ENOMEM;
            return;
        }
        to->vms = vm;
    }
    vm = &to->vms[to->n_vms++];
    *vm = (struct api_vm_summary){ .id = strdup(row->id),
                                   .name = strdup(row->settings.name),
                                   .state = row->state };
    vm->cpus = vmms_row_cpus(row);
    vm->memory_bytes = vmms_row_memory(row);
    vm->groups =
        vmms_core_vm_groups(gathering->service->core, gathering->scope, row->id, &vm->n_groups);
    to->host.vms_running += row->state != API_VM_STATE_OFF && row->state != API_VM_STATE_SAVED;
    add_figures(gathering, row, vm);
}

static void read_text(const char *path, char ret[static TEXT_BYTES])
{
    hv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, ret, TEXT_BYTES - 1) : -1;

    ret[length > 0 ? length : 0] = '\0';
}

/* proc(5): user, nice, system, idle, iowait, irq, softirq, steal, in ticks. */
static uint64_t read_busy_ns(void)
{
    char text[TEXT_BYTES], *at = text + strlen("cpu ");
    uint64_t ticks = 0, value;

    read_text("/proc/stat", text);
    if (strncmp(text, "cpu ", 4) != 0)
        return 0;
    for (int i = 0; i < 8; i++) {
        value = strtoull(at, &at, 10);
        ticks += i == 3 || i == 4 ? 0 : value;
    }
    return ticks * (HV_NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

static uint64_t read_kib(const char *text, const char *name)
{
    const char *line = strstr(text, name);

    return line ? strtoull(line + strlen(name), NULL, 10) << 10 : 0;
}

static void read_host(struct api_host_figures *ret)
{
    char text[TEXT_BYTES];

    read_text("/proc/meminfo", text);
    ret->memory_bytes = read_kib(text, "MemTotal:");
    ret->memory_available_bytes = read_kib(text, "MemAvailable:");
    read_text("/proc/loadavg", text);
    ret->load = strtod(text, NULL);
    read_text("/proc/uptime", text);
    ret->uptime_ms = (uint64_t)(strtod(text, NULL) * 1000);
    ret->processors = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    ret->busy_ns = read_busy_ns();
    vmms_pid_usage(getpid(), &ret->service_cpu_ns, &ret->service_rss_bytes);
}

static int gather(struct vmms_service *service, const struct vmms_scope *scope,
                  struct api_vm_summaries *ret)
{
    struct gathering gathering = { .service = service,
                                   .to = ret,
                                   .scope = scope,
                                   .now_ns = hv_clock_monotonic_ns(),
                                   .now_ms = hv_clock_realtime_ns() / HV_NS_PER_MS };

    read_host(&ret->host);
    vmms_core_each_vm(service->core, scope, add_vm, &gathering);
    ret->host.vms = (uint32_t)ret->n_vms;
    return gathering.r;
}

void vmms_serve_summaries(struct vmms_service *service, uint64_t call,
                          const struct vmms_scope *scope)
{
    union api_result result = { 0 };
    struct api_error *error = NULL;

    if (gather(service, scope, &result.vm_summaries) < 0)
        api_error_set(&error, API_E_OUT_OF_MEMORY, "api.memory", NULL,
                      "The service has no memory for the answer.");
    vmms_service_reply(service, call, API_METHOD_VM_SUMMARIES, &result, UINT64_MAX, error);
    api_vm_summaries_fini(&result.vm_summaries);
    api_error_free(error);
}

char *vmms_serve_metrics(void *opaque, const struct vmms_peer *peer)
{
    struct vmms_service *service = opaque;
    struct api_vm_summaries figures = { 0 };
    struct vmms_gauges gauges = { .last_event = service->last_event,
                                  .event_bytes = service->event_bytes,
                                  .commits = service->n_commits };
    char *text = NULL;

    vmms_rpc_count(service->rpc, &gauges.local_connections, &gauges.remote_connections,
                   &gauges.refused_connections);
    if (gather(service, vmms_peer_scope(peer), &figures) == 0)
        text = vmms_metrics_text(service->metrics, &figures, &gauges);
    api_vm_summaries_fini(&figures);
    return text;
}
