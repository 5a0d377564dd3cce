/* SPDX-License-Identifier: Apache-2.0 */
/* A job as clients see it. */
#include "api/gen/tables.h"
#include "vmmsd/core/core_priv.h"

#include <string.h>

static void view_times(const struct vmms_core *core, const struct vmms_job_row *row,
                       struct api_job *ret)
{
    uint64_t now = vmms_now_ms(core);

    ret->submitted_ms = row->submitted_ms;
    ret->started_ms = row->started_ms;
    ret->ended_ms = row->ended_ms;
    ret->deadline_ms = row->deadline_ms;
    ret->has |= row->started_ms ? API_JOB_HAS_STARTED_MS : 0;
    ret->has |= row->ended_ms ? API_JOB_HAS_ENDED_MS : 0;
    ret->has |= row->deadline_ms ? API_JOB_HAS_DEADLINE_MS : 0;
    if (row->state != API_JOB_STATE_RUNNING || !row->bytes_done || now <= row->started_ms)
        return;
    ret->has |= API_JOB_HAS_ETA_MS;
    ret->eta_ms =
        (uint64_t)((double)(now - row->started_ms) * (double)(row->bytes_total - row->bytes_done) /
                   (double)row->bytes_done);
}

static uint32_t percent(const struct vmms_job_row *row, const struct api_job *job)
{
    size_t done = 0;

    if (row->state == API_JOB_STATE_DONE)
        return 100;
    for (size_t i = 0; i < job->n_steps; i++)
        done += job->steps[i].state == API_JOB_STEP_STATE_DONE;
    if (job->n_steps)
        return (uint32_t)(done * 100 / job->n_steps);
    if (!row->bytes_total)
        return 0;
    return (uint32_t)((double)row->bytes_done * 100 / (double)row->bytes_total);
}

void vmms_view_job(const struct vmms_core *core, const struct vmms_job *job, struct api_job *ret)
{
    const struct vmms_job_row *row = &job->row;
    const struct vmms_vm *vm = vmms_index_find(&core->by_id, row->object);

    *ret = (struct api_job){ .id = row->id,
                             .type = vmms_text_copy(row->type),
                             .object = vmms_text_copy(row->object),
                             .vm_name = vm ? vmms_text_copy(vmms_vm_name(vm)) : NULL,
                             .state = row->state,
                             .is_cancelling = job->is_cancelling && !row->ended_ms,
                             .step = vmms_text_copy(row->step),
                             .bytes_done = row->bytes_done,
                             .bytes_total = row->bytes_total,
                             .owner = vmms_text_copy(row->owner),
                             .reason = vmms_text_copy(row->reason),
                             .is_cancellable = row->state == API_JOB_STATE_QUEUED ||
                                               row->state == API_JOB_STATE_RUNNING,
                             .idempotency_key = vmms_text_copy(row->idempotency_key),
                             .error = vmms_text_copy(row->error),
                             .result = row->ended_ms ? vmms_text_copy(row->result) : NULL };
    ret->n_steps = vmms_saga_read_steps(row->steps, &ret->steps);
    ret->percent = percent(row, ret);
    ret->parent = row->parent;
    ret->has |= row->parent ? API_JOB_HAS_PARENT : 0;
    view_times(core, row, ret);
}
