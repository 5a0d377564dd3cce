/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a job, from its first storing to its end: management model, section 4. A change of
 * its state is stored before anything follows from it; only its end is true in any case. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"
#include "hvcore/base/clock.h"

#include <stdio.h>
#include <string.h>

enum { PROGRESS_STORED_MS = 2000, PROGRESS_TOLD_MS = 500, STORE_AGAIN_MS = 1000 };

static int dup_text(const char *from, char **ret)
{
    *ret = from ? strdup(from) : NULL;
    return from && !*ret ? -ENOMEM : 0;
}

void vmms_job_row_fini(struct vmms_job_row *row)
{
    free(row->type);
    free(row->object);
    free(row->args);
    free(row->owner);
    free(row->reason);
    free(row->idempotency_key);
    free(row->step);
    free(row->error);
    free(row->result);
    free(row->steps);
    *row = (struct vmms_job_row){ 0 };
}

int vmms_job_row_copy(const struct vmms_job_row *from, struct vmms_job_row *ret)
{
    int r = 0;

    *ret = *from;
    r |= dup_text(from->type, &ret->type);
    r |= dup_text(from->object, &ret->object);
    r |= dup_text(from->args, &ret->args);
    r |= dup_text(from->owner, &ret->owner);
    r |= dup_text(from->reason, &ret->reason);
    r |= dup_text(from->idempotency_key, &ret->idempotency_key);
    r |= dup_text(from->step, &ret->step);
    r |= dup_text(from->error, &ret->error);
    r |= dup_text(from->result, &ret->result);
    r |= dup_text(from->steps, &ret->steps);
    if (r < 0)
        vmms_job_row_fini(ret);
    return r < 0 ? -ENOMEM : 0;
}

bool vmms_job_has_ended(enum api_job_state state)
{
    return state == API_JOB_STATE_DONE || state == API_JOB_STATE_CANCELLED ||
           state == API_JOB_STATE_FAILED;
}

/* The set of them */

struct vmms_job *vmms_job_new(void)
{
    struct vmms_job *job = calloc(1, sizeof(*job));

    hv_assert(job);
    hv_list_init(&job->submitters);
    hv_list_init(&job->waiters);
    return job;
}

static void free_calls(struct hv_list *calls)
{
    HV_LIST_FOREACH (node, calls)
        vmms_call_free(HV_LIST_ENTRY(node, struct vmms_call, node));
}

struct vmms_job *vmms_job_free(struct vmms_job *job)
{
    if (!job)
        return NULL;
    vmms_saga_free(job->saga);
    vmms_job_row_fini(&job->row);
    vmms_job_row_fini(&job->next);
    free(job->canceller);
    free(job->news.result);
    api_error_free(job->news.error);
    api_error_free(job->undo_error);
    free_calls(&job->submitters);
    free_calls(&job->waiters);
    free(job);
    return NULL;
}

/* Place of the first job whose number is not less. */
static size_t lower_bound(const struct vmms_jobs *jobs, uint64_t id)
{
    size_t low = 0, high = jobs->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (jobs->jobs[middle]->row.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct vmms_job *vmms_job_find(const struct vmms_core *core, uint64_t id)
{
    size_t at = lower_bound(&core->jobs, id);

    return at < core->jobs.count && core->jobs.jobs[at]->row.id == id ? core->jobs.jobs[at] : NULL;
}

/* Behind all others: numbers only grow. */
int vmms_job_add(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_jobs *jobs = &core->jobs;
    size_t room = jobs->room ? jobs->room * 2 : 16;
    struct vmms_job **grown;

    if (job->row.id <= jobs->last_id)
        return -EINVAL;
    if (jobs->count == jobs->room) {
        grown = reallocarray(jobs->jobs, room, sizeof(struct vmms_job *));
        if (!grown)
            return -ENOMEM;
        jobs->jobs = grown;
        jobs->room = room;
    }
    jobs->jobs[jobs->count++] = job;
    jobs->last_id = job->row.id;
    jobs->active += !vmms_job_has_ended(job->row.state);
    return 0;
}

static void forget(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_jobs *jobs = &core->jobs;
    size_t at = lower_bound(jobs, job->row.id);

    jobs->active -= !vmms_job_has_ended(job->row.state);
    jobs->count--;
    memmove(&jobs->jobs[at], &jobs->jobs[at + 1], (jobs->count - at) * sizeof(struct vmms_job *));
    vmms_job_free(job);
}

static bool is_at_work(enum api_job_state state)
{
    return state == API_JOB_STATE_RUNNING || state == API_JOB_STATE_FINISHING;
}

/* From when its start goes to the store until its end is there. A transaction only waits for those
 * that work, and may not keep them from it. */
static bool is_running(const struct vmms_job *job)
{
    if (job->saga || vmms_job_is_save(job))
        return false;
    return is_at_work(job->row.state) || (job->change && is_at_work(job->next.state));
}

size_t vmms_job_running(const struct vmms_core *core)
{
    size_t running = 0;

    for (size_t i = 0; core->jobs.active && i < core->jobs.count; i++)
        running += is_running(core->jobs.jobs[i]);
    return running;
}

/* Changes */

struct vmms_change *vmms_job_change(struct vmms_core *core, struct vmms_job *job, int kind)
{
    struct vmms_change *change = calloc(1, sizeof(*change));

    hv_assert(change);
    change->id = core->next_change++;
    change->kind = VMMS_ROW_NONE;
    change->job_kind = kind;
    hv_assert(vmms_job_row_copy(&job->row, &change->job) == 0);
    return change;
}

static char *event_data(const struct vmms_job_row *row)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "type");
    json_put_string(&out, row->type);
    json_key(&out, "state");
    json_put_string(&out, api_enum_job_state.values[row->state]);
    if (row->reason) {
        json_key(&out, "reason");
        json_put_string(&out, row->reason);
    }
    if (row->error) {
        json_key(&out, "error");
        json_put_raw(&out, row->error, strlen(row->error));
    }
    if (row->result && vmms_job_has_ended(row->state)) {
        json_key(&out, "result");
        json_put_raw(&out, row->result, strlen(row->result));
    }
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* A job on a VM or its guest is that VM's, so that who follows the VM hears of it; and what merges
 * or compacts the image of its disk is. */
static bool is_of_vm(const struct vmms_job_row *row)
{
    return strcmp(row->type, api_methods[API_METHOD_GUEST_COPY_FILES].name) == 0 ||
           strcmp(row->type, api_methods[API_METHOD_VM_SAVE].name) == 0;
}

static void name_vm(const struct vmms_core *core, const struct vmms_change *change,
                    struct api_event *event)
{
    bool is_of_one = is_of_vm(&change->job);
    const struct vmms_vm *vm = is_of_one ? vmms_index_find(&core->by_id, change->job.object)
                                         : vmms_job_merged_vm(core, &change->job);

    if (!is_of_one && !vm)
        return;
    event->vm = strdup(is_of_one ? change->job.object : vm->row.id);
    event->vm_name = vm ? strdup(vmms_vm_name(vm)) : NULL;
    event->generation = vm ? vm->row.generation : 0;
    hv_assert(event->vm && (event->vm_name || !vm));
}

void vmms_job_event(struct vmms_core *core, struct vmms_change *change, const char *type,
                    const char *actor)
{
    struct api_event *event = vmms_add_event(core, change, type, actor, event_data(&change->job));

    event->has |= API_EVENT_HAS_JOB;
    event->job = change->job.id;
    event->object = strdup(change->job.object);
    hv_assert(event->object);
    name_vm(core, change, event);
}

void vmms_job_pend(struct vmms_core *core, struct vmms_job *job, const struct vmms_change *change)
{
    hv_assert(!job->change);
    job->change = change->id;
    job->n_events = change->n_events;
    job->stored_ns = core->env.monotonic_ns(core->env.opaque);
    vmms_job_row_fini(&job->next);
    hv_assert(vmms_job_row_copy(&change->job, &job->next) == 0);
}

void vmms_job_commit(struct vmms_core *core, struct vmms_job *job, struct vmms_change *change)
{
    vmms_job_pend(core, job, change);
    vmms_emit(core, VMMS_EFFECT_COMMIT)->change = change;
}

static void commit_running(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_change *change = vmms_job_change(core, job, VMMS_JOB_ROW_UPDATE);

    change->job.state = API_JOB_STATE_RUNNING;
    change->job.started_ms = vmms_now_ms(core);
    vmms_job_event(core, change, "job.started", "host");
    vmms_job_commit(core, job, change);
}

static void commit_finishing(struct vmms_core *core, struct vmms_job *job)
{
    struct vmms_change *change = vmms_job_change(core, job, VMMS_JOB_ROW_UPDATE);

    change->job.state = API_JOB_STATE_FINISHING;
    change->job.result = HV_TAKE_PTR(job->news.result);
    job->news.is_worked = false;
    vmms_job_commit(core, job, change);
}

static void commit_progress(struct vmms_core *core, struct vmms_job *job)
{
    job->news.is_progress = false;
    vmms_job_commit(core, job, vmms_job_change(core, job, VMMS_JOB_ROW_UPDATE));
}

char *vmms_error_text(const struct api_error *error)
{
    struct json_writer out = { 0 };
    char *text;

    api_error_write(error, &out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

static const char *object_event(const char *type)
{
    static const struct {
        enum api_method method;
        const char *event;
    } rows[] = {
        { API_METHOD_IMAGE_CREATE, "image.created" },
        { API_METHOD_IMAGE_CONVERT, "image.converted" },
        { API_METHOD_IMAGE_RESIZE, "image.resized" },
        { API_METHOD_IMAGE_MERGE, "image.merged" },
        { API_METHOD_IMAGE_COMPACT, "image.compacted" },
        { API_METHOD_IMAGE_SET_PARENT, "image.parent_set" },
        { API_METHOD_GUEST_COPY_FILES, "guest.file_copied" },
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        if (strcmp(api_methods[rows[i].method].name, type) == 0)
            return rows[i].event;
    }
    return NULL;
}

static void put_end(struct vmms_core *core, const struct vmms_job *job, struct vmms_change *change)
{
    const struct api_error *error = job->undo_error ? job->undo_error : job->news.error;
    struct vmms_job_row *row = &change->job;

    row->ended_ms = vmms_now_ms(core);
    hv_freep(&row->step);
    row->step = NULL;
    if (!error) {
        row->state = API_JOB_STATE_DONE;
        row->bytes_done = row->bytes_total;
        return;
    }
    row->state = error->code == API_E_CANCELLED ? API_JOB_STATE_CANCELLED : API_JOB_STATE_FAILED;
    row->error = vmms_error_text(error);
    hv_freep(&row->result);
    row->result = NULL;
}

static void commit_end(struct vmms_core *core, struct vmms_job *job)
{
    static const char *const events[] = { [API_JOB_STATE_DONE] = "job.done",
                                          [API_JOB_STATE_CANCELLED] = "job.cancelled",
                                          [API_JOB_STATE_FAILED] = "job.failed" };
    struct vmms_change *change = vmms_job_change(core, job, VMMS_JOB_ROW_UPDATE);
    const char *of_object;

    vmms_save_job_let_go(core, job);
    put_end(core, job, change);
    if (job->is_after_restart)
        vmms_job_event(core, change,
                       job->undo_error ? "job.rolled_back" : "job.resumed_after_restart", "host");
    of_object = change->job.state == API_JOB_STATE_DONE ? object_event(job->row.type) : NULL;
    if (of_object)
        vmms_job_event(core, change, of_object, job->row.owner);
    vmms_job_event(core, change, events[change->job.state],
                   change->job.state == API_JOB_STATE_CANCELLED && job->canceller ? job->canceller
                                                                                  : "host");
    vmms_job_commit(core, job, change);
}

/* Steps */

static void end_before_start(struct vmms_job *job)
{
    job->news.is_ended = true;
    if (job->is_cancelling)
        api_error_set(&job->news.error, API_E_CANCELLED, "job.cancelled", NULL,
                      "Job %llu was cancelled before it began.", (unsigned long long)job->row.id);
    else
        api_error_set(&job->news.error, API_E_TIMEOUT, "job.deadline", NULL,
                      "The deadline of job %llu passed before its turn came; nothing was done.",
                      (unsigned long long)job->row.id);
}

static void pump_queued(struct vmms_core *core, struct vmms_job *job)
{
    bool is_late = job->row.deadline_ms && vmms_now_ms(core) >= job->row.deadline_ms;

    if (job->is_cancelling || is_late) {
        end_before_start(job);
        commit_end(core, job);
    } else if (vmms_job_is_save(job) || vmms_job_running(core) < VMMS_MAX_RUNNING_JOBS) {
        commit_running(core, job);
    }
}

static bool is_progress_due(const struct vmms_core *core, const struct vmms_job *job)
{
    return job->news.is_progress && core->env.monotonic_ns(core->env.opaque) - job->stored_ns >=
                                        PROGRESS_STORED_MS * HV_NS_PER_MS;
}

void vmms_job_pump(struct vmms_core *core, struct vmms_job *job)
{
    if (job->change || vmms_job_has_ended(job->row.state) ||
        job->retry_ns > core->env.monotonic_ns(core->env.opaque))
        return;
    job->retry_ns = 0;
    if (job->news.is_ended)
        commit_end(core, job);
    else if (job->saga)
        vmms_saga_pump(core, job);
    else if (job->row.state == API_JOB_STATE_QUEUED)
        pump_queued(core, job);
    else if (job->news.is_worked && job->row.state == API_JOB_STATE_RUNNING)
        commit_finishing(core, job);
    else if (is_progress_due(core, job))
        commit_progress(core, job);
}

void vmms_job_start_next(struct vmms_core *core)
{
    for (size_t i = 0; core->jobs.active && i < core->jobs.count; i++) {
        if (core->jobs.jobs[i]->row.state == API_JOB_STATE_QUEUED)
            vmms_job_pump(core, core->jobs.jobs[i]);
    }
}

/* Orders to whoever does the work */

void vmms_job_order(struct vmms_core *core, struct vmms_job *job, enum vmms_effect_kind kind)
{
    struct vmms_effect *effect;

    if (job->saga)
        return; /* it does its work itself, when it is pumped */
    effect = vmms_emit(core, kind);
    effect->job = job->row.id;
    effect->deadline_ms = job->row.deadline_ms;
    if (job->row.result)
        effect->text = strdup(job->row.result);
    effect->has_request = vmms_job_request(&job->row, &effect->request) == 0;
    if (effect->has_request)
        return;
    /* A row of another version: nothing can be done with it, and nothing of it is known. */
    effect->kind = VMMS_EFFECT_LOG;
    api_error_set_text(&effect->text, "A job's arguments cannot be read; it is failed.");
    if (job->is_unmade) {
        vmms_saga_unmade(core, job, vmms_job_unreadable(job));
        return;
    }
    job->news.is_ended = true;
    job->news.error = vmms_job_unreadable(job);
    vmms_job_pump(core, job);
}

void vmms_job_prune(struct vmms_core *core)
{
    const uint64_t kept_ms = VMMS_JOB_KEPT_DAYS * UINT64_C(86400000);
    size_t ended = core->jobs.count - core->jobs.active;
    uint64_t now = vmms_now_ms(core);

    for (size_t i = 0; i < core->jobs.count; i++) {
        struct vmms_job *job = core->jobs.jobs[i];
        struct vmms_change *change;

        if (!vmms_job_has_ended(job->row.state) || job->change || vmms_saga_needs(core, job))
            continue;
        if (ended <= VMMS_MAX_KEPT_JOBS && job->row.ended_ms + kept_ms > now)
            continue;
        ended--;
        change = vmms_job_change(core, job, VMMS_JOB_ROW_DELETE);
        vmms_job_event(core, change, "job.removed", "host");
        vmms_job_commit(core, job, change);
        job->is_deleting = true;
    }
}

void vmms_job_stop_work(struct vmms_core *core, struct vmms_job *job)
{
    if (job->saga)
        vmms_saga_stop(core, job, vmms_saga_cancelled(job));
    else if (!vmms_save_job_cancel(core, job))
        vmms_emit(core, VMMS_EFFECT_CANCEL_JOB)->job = job->row.id;
}

/* What follows from a state that was stored. */
static void entered(struct vmms_core *core, struct vmms_job *job)
{
    switch (job->row.state) {
    case API_JOB_STATE_RUNNING:
        if (!vmms_save_job_run(core, job))
            vmms_job_order(core, job, VMMS_EFFECT_RUN_JOB);
        if (job->is_cancelling)
            vmms_job_stop_work(core, job);
        break;
    case API_JOB_STATE_FINISHING: vmms_job_order(core, job, VMMS_EFFECT_FINISH_JOB); break;
    case API_JOB_STATE_QUEUED: break;
    default:
        core->jobs.active--;
        vmms_job_answer_waiters(core, job, false);
        job->saga = vmms_saga_free(job->saga);
        vmms_saga_child_ended(core, job);
        vmms_job_prune(core);
        vmms_job_start_next(core);
        vmms_queue_release_jobs(core);
        break;
    }
}

/* What was stored is so now; progress may have come meanwhile. */
static void apply(struct vmms_core *core, struct vmms_job *job, uint64_t first_seq)
{
    bool is_entered = job->is_new || job->next.state != job->row.state;
    struct vmms_job_row row = job->next;

    job->next = (struct vmms_job_row){ 0 };
    if (!vmms_job_has_ended(row.state)) {
        row.bytes_done = job->row.bytes_done;
        row.bytes_total = job->row.bytes_total;
        free(row.step);
        row.step = HV_TAKE_PTR(job->row.step);
    }
    vmms_job_row_fini(&job->row);
    job->row = row;
    if (job->n_events)
        job->last_seq = first_seq;
    job->is_new = false;
    vmms_job_answer_submitters(core, job, NULL);
    if (is_entered)
        entered(core, job);
    vmms_job_pump(core, job);
}

/* It could not be stored. error: taken */
static void refused(struct vmms_core *core, struct vmms_job *job, struct api_error *error)
{
    vmms_emit(core, VMMS_EFFECT_LOG)->text = strdup(error->message);
    if (job->is_new) {
        vmms_job_answer_submitters(core, job, error);
        vmms_save_job_let_go(core, job);
        forget(core, job);
        api_error_free(error);
        vmms_queue_release_jobs(core);
        return;
    }
    if (job->saga && !job->news.is_ended) {
        vmms_saga_unstored(core, job, error);
    } else if (vmms_job_has_ended(job->next.state)) {
        job->retry_ns = core->env.monotonic_ns(core->env.opaque) + STORE_AGAIN_MS * HV_NS_PER_MS;
        vmms_job_answer_unknown(core, job, error);
    } else if (job->next.state == API_JOB_STATE_FINISHING &&
               job->row.state == API_JOB_STATE_RUNNING) {
        job->undo_error = HV_TAKE_PTR(error);
        vmms_job_order(core, job, VMMS_EFFECT_UNDO_JOB);
    } else if (job->next.state != job->row.state) {
        if (!job->news.is_ended) /* a save whose VM was turned off has its end already */
            job->news.error = HV_TAKE_PTR(error);
        job->news.is_ended = true;
        vmms_job_pump(core, job);
        vmms_job_start_next(core);
    } else {
        vmms_job_pump(core, job);
    }
    api_error_free(error);
}

bool vmms_job_committed(struct vmms_core *core, uint64_t change, uint64_t first_seq,
                        struct api_error *error)
{
    struct vmms_job *job = NULL;

    for (size_t i = core->jobs.count; i > 0 && !job; i--) {
        if (core->jobs.jobs[i - 1]->change == change)
            job = core->jobs.jobs[i - 1];
    }
    if (!job)
        return false;
    if (!error && job->n_events)
        core->last_event = first_seq + job->n_events - 1;
    vmms_job_settle(core, job, first_seq, error);
    return true;
}

void vmms_job_settle(struct vmms_core *core, struct vmms_job *job, uint64_t first_seq,
                     struct api_error *error)
{
    job->change = 0;
    if (job->is_deleting && !error)
        forget(core, job);
    else if (error && !job->is_deleting)
        refused(core, job, error);
    else if (!error)
        apply(core, job, first_seq);
    else
        api_error_free(error);
}

/* What is heard of the work */

static void take_progress(struct vmms_job *job, const struct vmms_job_fact *fact)
{
    job->row.bytes_done =
        fact->bytes_done < fact->bytes_total ? fact->bytes_done : fact->bytes_total;
    job->row.bytes_total = fact->bytes_total;
    api_error_set_text(&job->row.step, fact->step);
    job->news.is_progress = true;
}

/* Live, and kept nowhere: what comes too soon after the last is left out. */
static void tell_progress(struct vmms_core *core, struct vmms_job *job)
{
    uint64_t now = core->env.monotonic_ns(core->env.opaque);
    struct vmms_effect *effect;

    if (job->told_ns && now - job->told_ns < PROGRESS_TOLD_MS * HV_NS_PER_MS)
        return;
    job->told_ns = now;
    effect = vmms_emit(core, VMMS_EFFECT_TELL_PROGRESS);
    effect->method = API_METHOD_JOB_GET;
    vmms_view_job(core, job, &effect->result.job);
    if (is_of_vm(&job->row))
        (void)snprintf(effect->row.id, sizeof(effect->row.id), "%s", job->row.object);
}

void vmms_core_job_fact(struct vmms_core *core, struct vmms_job_fact *fact)
{
    struct vmms_job *job = vmms_job_find(core, fact->job);
    struct vmms_job_news *news = job ? &job->news : NULL;

    if (job && job->is_unmade && fact->kind == VMMS_JOB_ENDED) {
        vmms_saga_unmade(core, job, HV_TAKE_PTR(fact->error));
    } else if (job && !vmms_job_has_ended(job->row.state) && !news->is_ended) {
        if (fact->kind == VMMS_JOB_PROGRESS) {
            take_progress(job, fact);
            tell_progress(core, job);
        } else if (fact->kind == VMMS_JOB_WORKED) {
            news->is_worked = true;
            free(news->result);
            news->result = HV_TAKE_PTR(fact->result);
        } else {
            news->is_ended = true;
            news->error = HV_TAKE_PTR(fact->error);
        }
        vmms_job_pump(core, job);
    }
    free(fact->result);
    api_error_free(fact->error);
    *fact = (struct vmms_job_fact){ 0 };
}

/* Time */

bool vmms_core_is_ticking(const struct vmms_core *core)
{
    if (core->jobs.waiting || !hv_list_is_empty(&core->due) || core->n_phases || core->n_critical ||
        core->is_stopping)
        return true;
    for (size_t i = 0; core->jobs.active && i < core->jobs.count; i++) {
        const struct vmms_job_row *row = &core->jobs.jobs[i]->row;

        if ((row->state == API_JOB_STATE_QUEUED && row->deadline_ms) ||
            core->jobs.jobs[i]->retry_ns || vmms_save_job_is_timed(core->jobs.jobs[i]) ||
            vmms_saga_is_ticking(core->jobs.jobs[i]))
            return true;
    }
    return false;
}

void vmms_core_tick(struct vmms_core *core)
{
    for (size_t i = 0; i < core->jobs.count; i++) {
        struct vmms_job *job = core->jobs.jobs[i];

        vmms_job_answer_waiters(core, job, true);
        vmms_save_job_tick(core, job);
        if (job->row.state == API_JOB_STATE_QUEUED || job->retry_ns || job->saga)
            vmms_job_pump(core, job);
    }
    vmms_job_prune(core);
    vmms_keys_prune(core);
    vmms_deadline_tick(core);
    vmms_own_tick(core);
}

/* At start */

static void go_on(struct vmms_core *core, struct vmms_job *job)
{
    job->is_after_restart = true;
    if (job->row.state == API_JOB_STATE_FINISHING) {
        vmms_job_order(core, job, VMMS_EFFECT_FINISH_JOB);
        return;
    }
    if (job->saga)
        return; /* it knows by itself that it is to be taken back */
    api_error_set(&job->undo_error, API_E_FAILED, "job.interrupted", NULL,
                  "The service ended while job %llu (%s on %s) was running; what it had half made "
                  "is removed.",
                  (unsigned long long)job->row.id, job->row.type, job->row.object);
    api_error_hint(job->undo_error, "Ask for it again.");
    vmms_job_order(core, job, VMMS_EFFECT_UNDO_JOB);
}

int vmms_core_load_job(struct vmms_core *core, struct vmms_job_row *row)
{
    struct vmms_job *job = vmms_job_new();
    int r;

    job->row = *row;
    *row = (struct vmms_job_row){ 0 };
    r = vmms_job_add(core, job);
    if (r < 0) {
        vmms_job_free(job);
        return r;
    }
    vmms_saga_load(core, job);
    if (!vmms_job_has_ended(job->row.state) && !vmms_save_job_load(core, job) &&
        job->row.state != API_JOB_STATE_QUEUED)
        go_on(core, job);
    return 0;
}
