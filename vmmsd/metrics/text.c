/* SPDX-License-Identifier: Apache-2.0 */
/* Figures as OpenMetrics text. */
#include "vmmsd/metrics/metrics_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/error.h"
#include "hvcore/base/clock.h"
#include "hvcore/base/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum unit { UNIT_NONE, UNIT_BYTES, UNIT_SECONDS /* kept in ns */ };

/* A figure that every running VM has. */
struct row {
    const char *name;
    enum unit unit;
    bool is_counter;
    const char *about;
    size_t offset; /* of a uint64_t in api_vm_stats */
};

#define COUNTER(name, unit, field, about)                                                          \
    {                                                                                              \
        "hvstack_vm_" name, unit, true, about, offsetof(struct api_vm_stats, field)                \
    }
#define GAUGE(name, unit, field, about)                                                            \
    {                                                                                              \
        "hvstack_vm_" name, unit, false, about, offsetof(struct api_vm_stats, field)               \
    }

/* clang-format off */
static const struct row rows[] = {
    COUNTER("cpu_seconds", UNIT_SECONDS, vcpu_time_ns, "CPU time of all virtual processors"),
    COUNTER("worker_cpu_seconds", UNIT_SECONDS, worker_cpu_ns, "CPU time of the worker process"),
    GAUGE("memory_bytes", UNIT_BYTES, ram_bytes, "Guest memory"),
    GAUGE("worker_resident_bytes", UNIT_BYTES, worker_rss_bytes, "Resident memory of the worker process"),
    COUNTER("exits", UNIT_NONE, exits, "Times a processor left the guest"),
    COUNTER("port_accesses", UNIT_NONE, port_ios, "Exits for port accesses"),
    COUNTER("mmio_accesses", UNIT_NONE, mmios, "Exits for device memory accesses"),
    COUNTER("halts", UNIT_NONE, halts, "Times a processor went idle"),
    COUNTER("interrupts", UNIT_NONE, interrupts, "Interrupts delivered"),
    COUNTER("disk_reads", UNIT_NONE, disk_reads, "Read commands of all disks"),
    COUNTER("disk_read_bytes", UNIT_BYTES, disk_read_bytes, "Read from all disks"),
    COUNTER("disk_writes", UNIT_NONE, disk_writes, "Write commands of all disks"),
    COUNTER("disk_written_bytes", UNIT_BYTES, disk_write_bytes, "Written to all disks"),
    COUNTER("disk_flushes", UNIT_NONE, disk_flushes, "Times a guest wanted its writes to last"),
    COUNTER("disk_errors", UNIT_NONE, disk_errors, "Disk commands that the host failed"),
};
/* clang-format on */

static void put_family(FILE *out, const char *name, const char *type, enum unit unit,
                       const char *about)
{
    (void)fprintf(out, "# TYPE %s %s\n", name, type);
    if (unit != UNIT_NONE)
        (void)fprintf(out, "# UNIT %s %s\n", name, unit == UNIT_BYTES ? "bytes" : "seconds");
    (void)fprintf(out, "# HELP %s %s.\n", name, about);
}

static void put_value(FILE *out, enum unit unit, uint64_t value)
{
    if (unit == UNIT_SECONDS)
        (void)fprintf(out, " %" PRIu64 ".%09" PRIu64 "\n", value / HV_NS_PER_SEC,
                      value % HV_NS_PER_SEC);
    else
        (void)fprintf(out, " %" PRIu64 "\n", value);
}

static void put_one(FILE *out, const char *name, bool is_counter, enum unit unit, const char *about,
                    uint64_t value)
{
    put_family(out, name, is_counter ? "counter" : "gauge", unit, about);
    (void)fprintf(out, "%s%s", name, is_counter ? "_total" : "");
    put_value(out, unit, value);
}

static void put_label(FILE *out, const char *key, const char *text)
{
    (void)fprintf(out, "%s=\"", key);
    for (; *text; text++) {
        if (*text == '\n')
            (void)fputs("\\n", out);
        else if (*text == '"' || *text == '\\')
            (void)fprintf(out, "\\%c", *text);
        else
            (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

static void put_vm(FILE *out, const char *name, const char *suffix, const struct api_vm_summary *vm)
{
    (void)fprintf(out, "%s%s{", name, suffix);
    put_label(out, "vm", vm->id);
    (void)fputc(',', out);
    put_label(out, "name", vm->name);
    (void)fputc('}', out);
}

static void put_row(FILE *out, const struct row *row, const struct api_vm_summaries *figures)
{
    put_family(out, row->name, row->is_counter ? "counter" : "gauge", row->unit, row->about);
    for (size_t i = 0; i < figures->n_vms; i++) {
        const struct api_vm_summary *vm = &figures->vms[i];
        uint64_t value;

        if (!(vm->has & API_VM_SUMMARY_HAS_FIGURES))
            continue;
        memcpy(&value, (const char *)&vm->figures + row->offset, sizeof(value));
        put_vm(out, row->name, row->is_counter ? "_total" : "", vm);
        put_value(out, row->unit, value);
    }
}

/* How old the figures are, and which of its states a VM is in. */
static void put_states(FILE *out, const struct api_vm_summaries *figures)
{
    static const char age[] = "hvstack_vm_figures_age_seconds", state[] = "hvstack_vm_state";

    put_family(out, age, "gauge", UNIT_SECONDS, "Time since the worker told its figures");
    for (size_t i = 0; i < figures->n_vms; i++) {
        if (!(figures->vms[i].has & API_VM_SUMMARY_HAS_AGE_MS))
            continue;
        put_vm(out, age, "", &figures->vms[i]);
        put_value(out, UNIT_SECONDS, figures->vms[i].age_ms * HV_NS_PER_MS);
    }
    put_family(out, state, "info", UNIT_NONE, "The state that a VM is in");
    for (size_t i = 0; i < figures->n_vms; i++) {
        const struct api_vm_summary *vm = &figures->vms[i];

        (void)fprintf(out, "%s_info{", state);
        put_label(out, "vm", vm->id);
        (void)fputc(',', out);
        put_label(out, "name", vm->name);
        (void)fprintf(out, ",state=\"%s\"} 1\n", api_enum_vm_state.values[vm->state]);
    }
}

static void put_host(FILE *out, const struct api_host_figures *host)
{
    put_one(out, "hvstack_host_processors", false, UNIT_NONE, "Processors that are on",
            host->processors);
    put_one(out, "hvstack_host_cpu_busy_seconds", true, UNIT_SECONDS,
            "Time that the host's processors were busy", host->busy_ns);
    put_one(out, "hvstack_host_memory_bytes", false, UNIT_BYTES, "Memory of the host",
            host->memory_bytes);
    put_one(out, "hvstack_host_memory_available_bytes", false, UNIT_BYTES,
            "Memory of the host that could still be had", host->memory_available_bytes);
    put_one(out, "hvstack_vms", false, UNIT_NONE, "VMs defined", host->vms);
    put_one(out, "hvstack_vms_running", false, UNIT_NONE, "VMs with a worker", host->vms_running);
    put_one(out, "hvstack_service_cpu_seconds", true, UNIT_SECONDS, "CPU time of vmmsd",
            host->service_cpu_ns);
    put_one(out, "hvstack_service_resident_bytes", false, UNIT_BYTES, "Resident memory of vmmsd",
            host->service_rss_bytes);
}

static void put_gauges(FILE *out, const struct vmms_gauges *gauges)
{
    static const char name[] = "hvstack_api_connections";

    put_family(out, name, "gauge", UNIT_NONE, "Clients of the API");
    (void)fprintf(out, "%s{transport=\"unix\"} %" PRIu64 "\n", name, gauges->local_connections);
    (void)fprintf(out, "%s{transport=\"tls\"} %" PRIu64 "\n", name, gauges->remote_connections);
    put_one(out, "hvstack_api_refused_requests", true, UNIT_NONE,
            "Requests refused before anybody read a call in them", gauges->refused_connections);
    put_one(out, "hvstack_events", true, UNIT_NONE, "Events since the database was made",
            gauges->last_event);
    put_one(out, "hvstack_events_kept_bytes", false, UNIT_BYTES,
            "What the events that are kept take", gauges->event_bytes);
    put_one(out, "hvstack_commits", true, UNIT_NONE, "Changes stored since the service's start",
            gauges->commits);
}

static void put_method(FILE *out, const char *family, size_t method,
                       const struct metrics_method *counts)
{
    const char *name = api_methods[method].name;
    uint64_t sum = 0;

    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        sum += counts->buckets[i];
        (void)fprintf(out, "%s_bucket{method=\"%s\",le=\"%g\"} %" PRIu64 "\n", family, name,
                      (double)metrics_bounds[i] / (double)HV_NS_PER_SEC, sum);
    }
    (void)fprintf(out, "%s_bucket{method=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", family, name,
                  counts->count);
    (void)fprintf(out, "%s_count{method=\"%s\"} %" PRIu64 "\n", family, name, counts->count);
    (void)fprintf(out, "%s_sum{method=\"%s\"}", family, name);
    put_value(out, UNIT_SECONDS, counts->sum_ns);
}

static void put_calls(FILE *out, const struct vmms_metrics *metrics)
{
    static const char calls[] = "hvstack_api_call_seconds", errors[] = "hvstack_api_errors";

    put_family(out, calls, "histogram", UNIT_SECONDS, "Time from a call to its answer");
    for (size_t i = 0; i < API_METHOD_COUNT; i++) {
        if (metrics->methods[i].count)
            put_method(out, calls, i, &metrics->methods[i]);
    }
    put_family(out, errors, "counter", UNIT_NONE, "Calls answered with an error");
    for (size_t i = 0; i < metrics->n_errors; i++) {
        const struct api_error_info *info = api_error_info((int)metrics->errors[i].code);

        (void)fprintf(out, "%s_total{error=\"%s\"} %" PRIu64 "\n", errors,
                      info ? info->name : "unknown", metrics->errors[i].count);
    }
}

char *vmms_metrics_text(const struct vmms_metrics *metrics, const struct api_vm_summaries *figures,
                        const struct vmms_gauges *gauges)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    bool is_bad;

    if (!out)
        return NULL;
    put_host(out, &figures->host);
    put_states(out, figures);
    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++)
        put_row(out, &rows[i], figures);
    put_gauges(out, gauges);
    put_calls(out, metrics);
    (void)fputs("# EOF\n", out);
    is_bad = ferror(out);
    if (fclose(out) == EOF || is_bad) {
        free(text);
        return NULL;
    }
    return text;
}
