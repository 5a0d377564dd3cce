/* SPDX-License-Identifier: Apache-2.0 */
/* Workers into their units: before they have memory, so that it is counted where it belongs. */
#include "vmmsd/spawn/worker_priv.h"

#include "vmmsd/spawn/process.h"

#include <signal.h>

static struct vmms_unit unit_of(const struct worker *worker)
{
    const struct api_settings *settings = &worker->row.settings;

    return (struct vmms_unit){ .vm_id = worker->row.id,
                               .vm_name = settings->name,
                               .pid = worker->pid,
                               .memory_bytes = settings->memory_startup,
                               .cpus = settings->cpu_count };
}

static void begin(struct worker *worker)
{
    if (worker->launch.is_unit)
        (void)vmms_pidfd_kill(worker->pidfd, SIGCONT); /* held by its launch */
    if (vmms_channel_connect(worker) < 0)
        vmms_channel_retry(worker, "it cannot be reached", false);
}

static void placed(void *opaque, const char *why)
{
    struct worker *worker = opaque;

    worker->placement = NULL;
    if (!why) {
        begin(worker);
        return;
    }
    (void)api_error_set(&worker->unit_error, API_E_FAILED, "vm.start.unit", NULL,
                        "VM %s cannot be started: its worker gets no unit of its own, for %s. "
                        "Without units: \"units = no\" below [workers] in the configuration.",
                        worker->row.settings.name, why);
    vmms_worker_kill(worker);
}

void vmms_worker_place(struct worker *worker)
{
    struct vmms_unit unit = unit_of(worker);

    if (!worker->launch.is_unit ||
        vmms_units_place(worker->spawner->units, &unit, placed, worker, &worker->placement) == 0)
        begin(worker);
}

/* It runs on wherever it is. */
static void placed_adopted(void *opaque, const char *why)
{
    struct worker *worker = opaque;

    worker->placement = NULL;
    if (why)
        vmms_worker_say(worker, HV_LOG_WARNING, NULL,
                        "The worker of VM %s gets no unit of its own: %s.",
                        worker->row.settings.name, why);
}

void vmms_worker_place_adopted(struct worker *worker)
{
    struct vmms_unit unit = unit_of(worker);

    if (worker->spawner->units && worker->spawner->config.wants_units && !worker->placement)
        (void)vmms_units_place(worker->spawner->units, &unit, placed_adopted, worker,
                               &worker->placement);
}
