/* SPDX-License-Identifier: Apache-2.0 */
/* A save: a file for the worker to write to, and its answer, which may take as long as it takes. */
#include "vmmsd/spawn/worker_priv.h"

void vmms_save_ask(struct worker *worker)
{
    hv_autofd int fd = vmms_saved_create(worker->spawner->config.state_dir, worker->row.id);
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_VERB);
    struct api_error *error = NULL;
    int r;

    ask->verb = VMMS_WORKER_SAVE;
    if (fd < 0) {
        api_error_set(&error, fd == -ENOSPC ? API_E_DISK_FULL : API_E_FAILED, "vm.save.file", NULL,
                      "VM %s cannot be saved: a file for it cannot be made: %s.",
                      worker->row.settings.name, strerror(-fd));
        vmms_ask_fail(ask, error);
        return;
    }
    r = vmms_channel_new_call(worker, "Save", &m);
    if (r >= 0)
        r = sd_bus_message_append(m, "h", fd);
    vmms_ask_send(ask, m, vmms_verb_answered, SAVE_MS, r);
}

int vmms_save_progressed(struct worker *worker, sd_bus_message *m)
{
    struct vmms_fact *fact;
    uint64_t done, total;

    if (sd_bus_message_read(m, "tt", &done, &total) < 0 || done > total || total == 0) {
        vmms_channel_say_malformed(worker);
        return 0;
    }
    fact = vmms_worker_fact(worker, VMMS_FACT_SAVE_PROGRESS);
    fact->bytes_done = done;
    fact->bytes_total = total;
    vmms_worker_tell(worker, fact);
    return 0;
}
