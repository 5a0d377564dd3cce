/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a transaction's job, so that its next life can go on with it or take it back. */
#include "vmmsd/core/tx_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"

#include <inttypes.h>
#include <string.h>

bool vmms_saga_works(const struct api_job_step *step)
{
    return step->undo != NULL;
}

bool vmms_saga_is_last(const struct api_job_step *step)
{
    return vmms_tx_kind(vmms_tx_method(step->method)) == VMMS_TX_LAST ||
           (step->path && !vmms_saga_works(step));
}

/* Lists as JSON */

static char *write_list(const struct api_record *record, const void *items, size_t size,
                        size_t count)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_array(&out);
    for (size_t i = 0; i < count; i++)
        api_record_write(record, (const char *)items + i * size, UINT64_MAX, &out);
    json_end_array(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* What was written by another version is left out. Returns how many there are. */
static size_t read_list(const struct api_record *record, const char *text, size_t size, void **ret)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct json_fault fault;
    size_t count = 0;
    char *items;

    *ret = NULL;
    if (!text || json_parse(text, strlen(text), &json_limits_reply, &doc, &fault) < 0 ||
        json_doc_root(doc)->type != JSON_ARRAY)
        return 0;
    items = calloc(json_doc_root(doc)->count + 1, size);
    hv_assert(items);
    *ret = items;
    for (const struct json_value *item = json_doc_root(doc)->first; item; item = item->next) {
        HV_CLEANUP(api_error_freep) struct api_error *error = NULL;

        if (api_record_read(record, item, NULL, items + count * size, &error) < 0)
            break;
        count++;
    }
    return count;
}

size_t vmms_saga_read_steps(const char *text, struct api_job_step **ret)
{
    void *items;
    size_t count = read_list(&api_record_job_step, text, sizeof(**ret), &items);

    *ret = items;
    return count;
}

char *vmms_saga_write_results(const struct api_tx_result *results, size_t count)
{
    hv_autofree char *list = write_list(&api_record_tx_result, results, sizeof(*results), count);
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "results");
    json_put_raw(&out, list, strlen(list));
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

size_t vmms_saga_read_results(const char *text, struct api_tx_result **ret)
{
    const char *list = text ? strchr(text, '[') : NULL;
    hv_autofree char *copy = list ? strndup(list, strlen(list) - 1) : NULL;
    void *items;
    size_t count = read_list(&api_record_tx_result, copy, sizeof(**ret), &items);

    *ret = items;
    return count;
}

void vmms_saga_record(struct vmms_job *job)
{
    const struct vmms_saga *saga = job->saga;

    free(job->row.steps);
    job->row.steps =
        write_list(&api_record_job_step, saga->steps, sizeof(*saga->steps), saga->count);
}

void vmms_saga_stored_steps(struct vmms_job *job)
{
    for (size_t i = 0; i < job->saga->count; i++) {
        struct api_job_step *step = &job->saga->steps[i];

        if (!vmms_saga_is_last(step))
            step->state = API_JOB_STEP_STATE_DONE;
    }
    vmms_saga_record(job);
}

bool vmms_saga_makes(const struct vmms_job *job, const char *path)
{
    for (size_t i = 0; i < job->saga->count; i++) {
        if (job->saga->steps[i].path && strcmp(job->saga->steps[i].path, path) == 0)
            return true;
    }
    return false;
}

void vmms_saga_take_results(struct vmms_saga *saga, const struct vmms_tx *tx)
{
    for (size_t i = 0; i < saga->count; i++) {
        api_tx_result_fini(&saga->results[i]);
        hv_assert(api_tx_result_copy(&tx->results[i], &saga->results[i]) == 0);
    }
}

/* Making one */

static struct vmms_saga *new_saga(struct vmms_tx *tx)
{
    struct vmms_saga *saga = calloc(1, sizeof(*saga));

    hv_assert(saga);
    saga->count = tx->n_results;
    saga->steps = calloc(saga->count, sizeof(*saga->steps));
    saga->requests = calloc(saga->count, sizeof(*saga->requests));
    saga->results = calloc(saga->count, sizeof(*saga->results));
    hv_assert(saga->steps && saga->requests && saga->results);
    for (size_t i = 0; i < saga->count; i++) {
        saga->steps[i] = tx->ops[i].record;
        saga->requests[i] = tx->ops[i].request;
        saga->results[i] = tx->results[i];
        tx->ops[i] = (struct vmms_tx_op){ 0 };
        tx->results[i] = (struct api_tx_result){ 0 };
    }
    return saga;
}

void vmms_saga_begin(struct vmms_core *core, struct vmms_tx *tx)
{
    struct api_error *error = NULL;
    struct vmms_change *change;
    struct vmms_job *job;

    if (vmms_job_check_room(core, &error) < 0) {
        vmms_reply_error(core, HV_TAKE_PTR(tx->call), error);
        return;
    }
    job = vmms_job_make(core, HV_TAKE_PTR(tx->call), API_JOB_STATE_RUNNING);
    job->saga = new_saga(tx);
    job->row.started_ms = job->row.submitted_ms;
    vmms_saga_record(job);
    change = vmms_job_change(core, job, VMMS_JOB_ROW_INSERT);
    vmms_job_event(core, change, "job.started", job->row.owner);
    vmms_job_commit(core, job, change);
}

/* After a restart */

/* So much of the results as there are steps. */
static void load_results(const struct vmms_job *job, struct vmms_saga *saga)
{
    size_t count = vmms_saga_read_results(job->row.result, &saga->results);

    for (size_t i = saga->count; i < count; i++)
        api_tx_result_fini(&saga->results[i]);
    if (count >= saga->count)
        return;
    saga->results = reallocarray(saga->results, saga->count + 1, sizeof(*saga->results));
    hv_assert(saga->results);
    memset(&saga->results[count], 0, (saga->count - count) * sizeof(*saga->results));
}

void vmms_saga_load(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_saga *saga;

    if (vmms_job_has_ended(job->row.state) ||
        strcmp(job->row.type, api_methods[API_METHOD_TX_APPLY].name) != 0)
        return;
    saga = calloc(1, sizeof(*saga));
    hv_assert(saga);
    saga->count = vmms_saga_read_steps(job->row.steps, &saga->steps);
    load_results(job, saga);
    job->saga = saga;
    for (size_t i = 0; i < saga->count; i++) {
        if (saga->steps[i].state == API_JOB_STEP_STATE_BEGUN)
            saga->reborn = i + 1;
    }
    if (job->row.state == API_JOB_STATE_FINISHING)
        return;
    api_error_set(&saga->error, API_E_FAILED, "job.interrupted", NULL,
                  "The service ended while job %" PRIu64 " (%s) was running; what it had done is "
                  "taken back.",
                  job->row.id, job->row.type);
    api_error_hint(saga->error, "Ask for it again.");
}

void vmms_saga_loaded(struct vmms_core *core)
{
    for (size_t i = 0; i < core->jobs.count; i++) {
        if (core->jobs.jobs[i]->saga)
            vmms_job_pump(core, core->jobs.jobs[i]);
    }
}

/* Answers */

void vmms_saga_reply(struct vmms_core *core, struct vmms_call *call, const struct vmms_job *job,
                     bool already, uint64_t event_seq)
{
    struct api_transaction *told = &vmms_reply(core, call)->result.transaction;

    told->already = already;
    told->event_seq = event_seq;
    told->has |= API_TRANSACTION_HAS_JOB;
    vmms_view_job(core, job, &told->job);
    if (job->row.state == API_JOB_STATE_DONE)
        told->n_results = vmms_saga_read_results(job->row.result, &told->results);
}
