/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of a worker, asked for or told: schemas/worker, GetStats and Figures. */
#include "vmmsd/spawn/worker_priv.h"

#include "hvcore/base/clock.h"
#include "vmmsd/spawn/process.h"

int vmms_figures_read(sd_bus_message *m, const struct worker *worker, struct api_vm_stats *ret)
{
    const struct vmms_slot slots[] = {
        { "vcpu_time_ns", 't', &ret->vcpu_time_ns, NULL },
        { "exits", 't', &ret->exits, NULL },
        { "port_ios", 't', &ret->port_ios, NULL },
        { "mmios", 't', &ret->mmios, NULL },
        { "interrupts", 't', &ret->interrupts, NULL },
        { "halts", 't', &ret->halts, NULL },
        { "ram_bytes", 't', &ret->ram_bytes, NULL },
        { "console1_bytes", 't', &ret->console1_bytes, NULL },
        { "console2_bytes", 't', &ret->console2_bytes, NULL },
        { "disk_reads", 't', &ret->disk_reads, NULL },
        { "disk_read_bytes", 't', &ret->disk_read_bytes, NULL },
        { "disk_writes", 't', &ret->disk_writes, NULL },
        { "disk_write_bytes", 't', &ret->disk_write_bytes, NULL },
        { "disk_flushes", 't', &ret->disk_flushes, NULL },
        { "disk_errors", 't', &ret->disk_errors, NULL },
    };
    int r = vmms_read_dictionary(m, slots, HV_ARRAY_SIZE(slots));

    vmms_pid_usage(worker->pid, &ret->worker_cpu_ns, &ret->worker_rss_bytes);
    return r;
}

/* Timers come before what was received: where this process slept, that is read first. */
static void not_heard(uv_timer_t *timer)
{
    struct worker *worker = timer->data;

    if (!worker->is_missed) {
        worker->is_missed = true;
        (void)uv_timer_start(timer, not_heard, LISTEN_MS, 0);
        return;
    }
    worker->is_quiet = true;
    vmms_worker_say(worker, HV_LOG_WARNING, MESSAGE_WORKER_SILENT,
                    "The worker of VM %s has told nothing for %d s.", worker->row.settings.name,
                    (QUIET_MS + LISTEN_MS) / 1000);
    vmms_worker_tell(worker, vmms_worker_fact(worker, VMMS_FACT_QUIET));
}

static void note_life(struct worker *worker)
{
    worker->is_missed = false;
    (void)uv_timer_start(&worker->quiet, not_heard, QUIET_MS, 0);
    if (!worker->is_quiet)
        return;
    worker->is_quiet = false;
    vmms_worker_tell(worker, vmms_worker_fact(worker, VMMS_FACT_HEARD));
}

/* More often than it should is not worth a look at /proc: a flood is thrown away. */
int vmms_figures_heard(struct worker *worker, sd_bus_message *m)
{
    struct vmms_figures *figures = &worker->figures;
    uint64_t now = hv_clock_monotonic_ns();
    struct api_vm_stats stats = { 0 };

    if (figures->told_ns && now - figures->told_ns < FIGURES_APART_MS * HV_NS_PER_MS)
        return 0;
    if (vmms_figures_read(m, worker, &stats) < 0) {
        vmms_channel_say_malformed(worker);
        return 0;
    }
    figures->before_ns = figures->told_ns;
    figures->before_vcpu_ns = figures->stats.vcpu_time_ns;
    figures->told_ns = now;
    figures->stats = stats;
    note_life(worker);
    return 0;
}

const struct vmms_figures *vmms_spawner_figures(struct vmms_spawner *spawner, const char *vm_id)
{
    const struct worker *worker = vmms_worker_find(spawner, vm_id, NULL);

    return worker && worker->figures.told_ns ? &worker->figures : NULL;
}
