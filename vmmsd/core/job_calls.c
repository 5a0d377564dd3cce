/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that make jobs, and calls about jobs. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"
#include "hvcore/base/clock.h"
#include "vmmsd/core/image_args.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What a method does to the paths that its arguments name. */
enum use { USE_READS, USE_WRITES };

static const struct {
    enum api_method method;
    const char *argument;
    enum use use;
} uses[] = {
    { API_METHOD_IMAGE_CREATE, "path", USE_WRITES },
    { API_METHOD_IMAGE_CREATE, "parent", USE_READS },
    { API_METHOD_IMAGE_VALIDATE, "path", USE_READS },
    { API_METHOD_IMAGE_CONVERT, "path", USE_READS },
    { API_METHOD_IMAGE_CONVERT, "to", USE_WRITES },
    { API_METHOD_IMAGE_RESIZE, "path", USE_WRITES },
    { API_METHOD_IMAGE_MERGE, "path", USE_WRITES },
    { API_METHOD_IMAGE_MERGE, "into", USE_WRITES },
    { API_METHOD_IMAGE_COMPACT, "path", USE_WRITES },
    { API_METHOD_IMAGE_SET_PARENT, "path", USE_WRITES },
    { API_METHOD_IMAGE_SET_PARENT, "parent", USE_READS },
    { API_METHOD_GUEST_COPY_FILES, "vm", USE_WRITES }, /* a guest takes one file at a time */
    { API_METHOD_VM_SAVE, "vm", USE_WRITES },
};

const char *vmms_argument_text(const struct api_request *request, const char *name)
{
    const struct api_field *field = api_record_find(api_methods[request->method].args, name, NULL);
    char *text;

    if (!field)
        return NULL;
    memcpy(&text, (const char *)&request->args + field->offset, sizeof(text));
    return text;
}

static bool argument_flag(const struct api_request *request, const char *name)
{
    const struct api_field *field = api_record_find(api_methods[request->method].args, name, NULL);

    return field && *(const bool *)((const char *)&request->args + field->offset);
}

uint64_t vmms_argument_number(const struct api_request *request, const char *name)
{
    const struct api_field *field = api_record_find(api_methods[request->method].args, name, NULL);
    uint64_t number = 0;

    if (field)
        memcpy(&number, (const char *)&request->args + field->offset, sizeof(number));
    return number;
}

int vmms_job_request(const struct vmms_job_row *row, struct api_request *ret)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct json_fault fault;

    if (json_parse(row->args, strlen(row->args), &json_limits_request, &doc, &fault) < 0)
        return -EBADMSG;
    return api_request_read(row->type, json_doc_root(doc), ret, &error);
}

/* How the caller wants to be answered is no part of what is to be done. */
static char *args_text(const struct api_request *request)
{
    static const char *const left_out[] = { "wait", "plan", "plan_id", "queue" };
    const struct api_record *record = api_methods[request->method].args;
    uint64_t fields = UINT64_MAX;
    struct json_writer out = { 0 };
    size_t index;
    char *text;

    for (size_t i = 0; i < HV_ARRAY_SIZE(left_out); i++) {
        if (api_record_find(record, left_out[i], &index))
            fields &= ~(UINT64_C(1) << index);
    }
    api_record_write(record, &request->args, fields, &out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* Answers */

static void reply_job(struct vmms_core *core, struct vmms_call *call, const struct vmms_job *job,
                      bool already, uint64_t event_seq)
{
    static const char *const no_steps[] = { NULL };
    struct api_job_changed *changed;

    if (vmms_wants_plan(&call->request)) {
        vmms_reply_plan(core, call, NULL, no_steps);
        return;
    }
    if (call->request.method == API_METHOD_TX_APPLY) {
        vmms_saga_reply(core, call, job, already, event_seq);
        return;
    }
    changed = &vmms_reply(core, call)->result.job_changed;
    changed->already = already;
    changed->event_seq = event_seq;
    changed->has |= API_JOB_CHANGED_HAS_JOB;
    vmms_view_job(core, job, &changed->job);
}

struct api_error *vmms_job_unreadable(const struct vmms_job *job)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_FAILED, "job.args", NULL,
                  "Job %" PRIu64 " was stored by another version, and cannot be gone on with.",
                  job->row.id);
    return error;
}

struct api_error *vmms_job_error(const struct vmms_job *job)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct api_error *error = NULL;
    struct json_fault fault;

    if (!job->row.error ||
        json_parse(job->row.error, strlen(job->row.error), &json_limits_reply, &doc, &fault) < 0 ||
        api_error_read(json_doc_root(doc), &error) < 0)
        api_error_set(&error, API_E_FAILED, "job.failed", NULL, "Job %" PRIu64 " failed.",
                      job->row.id);
    error->data.has |= API_ERROR_DATA_HAS_JOB;
    error->data.job = job->row.id;
    return error;
}

static void answer_ended(struct vmms_core *core, struct vmms_call *call, const struct vmms_job *job)
{
    if (call->request.method == API_METHOD_JOB_WAIT)
        vmms_view_job(core, job, &vmms_reply(core, call)->result.job);
    else if (job->row.state == API_JOB_STATE_DONE)
        reply_job(core, call, job, false, job->last_seq);
    else
        vmms_reply_error(core, call, vmms_job_error(job));
}

static void wait_for(struct vmms_core *core, struct vmms_call *call, struct vmms_job *job)
{
    struct api_error *error = NULL;

    if (core->jobs.waiting >= VMMS_MAX_JOB_WAITERS) {
        api_error_set(&error, API_E_NOT_AVAILABLE, "job.waiters", NULL,
                      "%d calls wait for jobs already; ask for the job with job.get later.",
                      VMMS_MAX_JOB_WAITERS);
        vmms_reply_error(core, call, error);
        return;
    }
    core->jobs.waiting++;
    hv_list_append(&job->waiters, &call->node);
}

void vmms_job_answer_submitters(struct vmms_core *core, struct vmms_job *job,
                                struct api_error *error)
{
    HV_LIST_FOREACH (node, &job->submitters) {
        struct vmms_call *call = HV_LIST_ENTRY(node, struct vmms_call, node);

        hv_list_remove(node);
        if (error)
            vmms_reply_error(core, call, api_error_dup(error));
        else if (argument_flag(&call->request, "wait"))
            wait_for(core, call, job);
        else
            reply_job(core, call, job, false, job->last_seq);
    }
}

/* only_late: those whose time is over, with the job as it is */
void vmms_job_answer_unknown(struct vmms_core *core, struct vmms_job *job,
                             const struct api_error *why)
{
    HV_LIST_FOREACH (node, &job->waiters) {
        struct vmms_call *call = HV_LIST_ENTRY(node, struct vmms_call, node);
        struct api_error *error = NULL;

        hv_list_remove(node);
        core->jobs.waiting--;
        api_error_set(&error, API_E_STATUS_UNKNOWN, "job.unstored", NULL,
                      "Job %" PRIu64 " ended, but its end is not stored yet. %s", job->row.id,
                      why->message);
        if (error) {
            error->data.job = job->row.id;
            error->data.has |= API_ERROR_DATA_HAS_JOB;
            api_error_hint(error, "Ask for the job again when that is put right.");
        }
        vmms_reply_error(core, call, error);
    }
}

void vmms_job_answer_waiters(struct vmms_core *core, struct vmms_job *job, bool only_late)
{
    uint64_t now = core->env.monotonic_ns(core->env.opaque);

    HV_LIST_FOREACH (node, &job->waiters) {
        struct vmms_call *call = HV_LIST_ENTRY(node, struct vmms_call, node);

        if (only_late && (!call->wait_until_ns || call->wait_until_ns > now))
            continue;
        hv_list_remove(node);
        core->jobs.waiting--;
        answer_ended(core, call, job);
    }
}

/* Conflicts */

static bool is_in_the_way(const struct vmms_job *job, const char *path, enum use use)
{
    HV_CLEANUP(api_request_fini) struct api_request request = { 0 };

    if (job->saga)
        return vmms_saga_makes(job, path);
    /* A save that is over holds nothing, stored or not. */
    if (vmms_job_has_ended(job->row.state) || (vmms_job_is_save(job) && job->news.is_ended) ||
        vmms_job_request(&job->row, &request) < 0)
        return false;
    for (size_t i = 0; i < HV_ARRAY_SIZE(uses); i++) {
        const char *other;

        if (uses[i].method != request.method)
            continue;
        other = vmms_argument_text(&request, uses[i].argument);
        if (other && strcmp(other, path) == 0 && (use == USE_WRITES || uses[i].use == USE_WRITES))
            return true;
    }
    return false;
}

static bool is_about(const struct vmms_job *job, const char *path)
{
    HV_CLEANUP(api_request_fini) struct api_request request = { 0 };

    if (vmms_job_request(&job->row, &request) < 0)
        return false;
    for (size_t i = 0; i < HV_ARRAY_SIZE(uses); i++) {
        const char *other;

        if (uses[i].method != request.method)
            continue;
        other = vmms_argument_text(&request, uses[i].argument);
        if (other && strcmp(other, path) == 0)
            return true;
    }
    return false;
}

/* Merging and compacting */

static bool has_image(const struct vmms_vm *vm, const char *path)
{
    for (size_t i = 0; path && i < vm->row.n_devices; i++) {
        if (vm->row.devices[i].path && strcmp(vm->row.devices[i].path, path) == 0)
            return true;
    }
    return false;
}

static bool is_merge(const struct vmms_job_row *row)
{
    return strcmp(row->type, api_methods[API_METHOD_IMAGE_MERGE].name) == 0 ||
           strcmp(row->type, api_methods[API_METHOD_IMAGE_COMPACT].name) == 0;
}

/* The image that it is about, or the one that it merges into. */
static bool works_on_disk(const struct vmms_job_row *row, const struct vmms_vm *vm)
{
    HV_CLEANUP(api_request_fini) struct api_request request = { 0 };

    if (has_image(vm, row->object))
        return true;
    return strcmp(row->type, api_methods[API_METHOD_IMAGE_MERGE].name) == 0 &&
           vmms_job_request(row, &request) == 0 &&
           has_image(vm, vmms_argument_text(&request, "into"));
}

bool vmms_job_merges(const struct vmms_core *core, const struct vmms_vm *vm)
{
    for (size_t i = 0; core->jobs.active && vm->row.n_devices && i < core->jobs.count; i++) {
        const struct vmms_job_row *row = &core->jobs.jobs[i]->row;
        bool is_at_work =
            row->state == API_JOB_STATE_RUNNING || row->state == API_JOB_STATE_FINISHING;

        if (is_at_work && is_merge(row) && works_on_disk(row, vm))
            return true;
    }
    return false;
}

const struct vmms_vm *vmms_job_merged_vm(const struct vmms_core *core,
                                         const struct vmms_job_row *row)
{
    for (size_t i = 0; is_merge(row) && i < core->by_id.count; i++) {
        if (!core->by_id.vms[i]->is_new && works_on_disk(row, core->by_id.vms[i]))
            return core->by_id.vms[i];
    }
    return NULL;
}

static uint64_t last_on(const struct vmms_core *core, const char *path)
{
    for (size_t i = core->jobs.count; i > 0; i--) {
        if (is_about(core->jobs.jobs[i - 1], path))
            return core->jobs.jobs[i - 1]->row.id;
    }
    return 0;
}

void vmms_job_generations(const struct vmms_core *core, const struct api_request *request,
                          struct api_plan *plan)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(uses); i++) {
        const char *path;

        if (uses[i].method != request->method)
            continue;
        path = vmms_argument_text(request, uses[i].argument);
        if (path)
            vmms_plan_generation(plan, path, last_on(core, path));
    }
}

int vmms_job_say_conflict(const struct vmms_core *core, const struct vmms_job *job,
                          const char *path, const char *argument, struct api_error **reterr)
{
    const char *vm = vmms_core_vm_name(core, path);
    uint64_t now = vmms_now_ms(core), age_s;
    char holder[32];
    int r;

    age_s = now > job->row.submitted_ms ? (now - job->row.submitted_ms) / 1000 : 0;
    r = api_error_set(reterr, API_E_JOB_CONFLICT, "job.conflict", argument,
                      "%s%s is busy with job %" PRIu64 " (%s, asked for by %s %" PRIu64 " s ago).",
                      vm ? "VM " : "", vm ? vm : path, job->row.id, job->row.type, job->row.owner,
                      age_s);
    if (!*reterr)
        return r;
    (void)snprintf(holder, sizeof(holder), "job %" PRIu64, job->row.id);
    api_error_set_text(&(*reterr)->data.holder, holder);
    (*reterr)->data.has |= API_ERROR_DATA_HAS_JOB;
    (*reterr)->data.job = job->row.id;
    api_error_hint(*reterr,
                   "Wait for it with job.wait, stop it with job.cancel, or give queue=true.");
    return r;
}

static int check_conflicts(const struct vmms_core *core, const struct api_request *request,
                           uint64_t parent, struct api_error **reterr)
{
    for (size_t i = 0; core->jobs.active && i < HV_ARRAY_SIZE(uses); i++) {
        const char *path;

        if (uses[i].method != request->method)
            continue;
        path = vmms_argument_text(request, uses[i].argument);
        for (size_t at = 0; path && at < core->jobs.count; at++) {
            if (core->jobs.jobs[at]->row.id != parent &&
                is_in_the_way(core->jobs.jobs[at], path, uses[i].use))
                return vmms_job_say_conflict(core, core->jobs.jobs[at], path, uses[i].argument,
                                             reterr);
        }
    }
    return 0;
}

/* The same file in two of a call's places. */
static int check_paths(const struct api_request *request, struct api_error **reterr)
{
    static const char *const others[] = { "to", "parent", "into" };
    const char *path = vmms_argument_text(request, "path"), *other;

    for (size_t i = 0; i < HV_ARRAY_SIZE(others); i++) {
        other = vmms_argument_text(request, others[i]);
        if (other && strcmp(path, other) == 0)
            return api_error_set(reterr, API_E_INVALID_PARAMETER, "image.same_file", others[i],
                                 "path and %s are the same file: %s.", others[i], path);
    }
    return 0;
}

/* Making a job */

static struct vmms_job *find_by_key(const struct vmms_core *core, const char *owner,
                                    const char *key)
{
    for (size_t i = core->jobs.count; key && i > 0; i--) {
        const struct vmms_job_row *row = &core->jobs.jobs[i - 1]->row;

        if (row->idempotency_key && strcmp(row->idempotency_key, key) == 0 &&
            strcmp(row->owner, owner) == 0)
            return core->jobs.jobs[i - 1];
    }
    return NULL;
}

const struct vmms_job *vmms_job_by_key(const struct vmms_core *core, const char *owner,
                                       const char *key)
{
    return find_by_key(core, owner, key);
}

void vmms_job_refuse_key(struct vmms_core *core, struct vmms_call *call, const struct vmms_job *job)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_INVALID_PARAMETER, "job.key", "idempotency_key",
                  "idempotency_key was used for another call: job %" PRIu64 " (%s on %s).",
                  job->row.id, job->row.type, job->row.object);
    api_error_hint(error, "Use a new key for a new call.");
    vmms_reply_error(core, call, error);
}

/* The call came before: its job is the answer, unless the call was another one. */
static void answer_again(struct vmms_core *core, struct vmms_call *call, struct vmms_job *job)
{
    hv_autofree char *args = args_text(&call->request);

    if (strcmp(job->row.type, api_methods[call->request.method].name) != 0 ||
        strcmp(job->row.args, args) != 0) {
        vmms_job_refuse_key(core, call, job);
    } else if (job->is_new) {
        hv_list_append(&job->submitters, &call->node);
    } else if (!argument_flag(&call->request, "wait") || job->row.state == API_JOB_STATE_DONE) {
        reply_job(core, call, job, true, 0);
    } else if (vmms_job_has_ended(job->row.state)) {
        answer_ended(core, call, job);
    } else {
        wait_for(core, call, job);
    }
}

static char *dup_argument(const struct api_request *request, const char *name)
{
    return vmms_text_copy(vmms_argument_text(request, name));
}

/* What it works on; a transaction is about the host. */
static char *object_of(const struct api_request *request)
{
    if (request->method == API_METHOD_TX_APPLY)
        return strdup("host");
    return dup_argument(request, vmms_argument_text(request, "vm") ? "vm" : "path");
}

struct vmms_job *vmms_job_make(struct vmms_core *core, struct vmms_call *call,
                               enum api_job_state state)
{
    struct vmms_job *job = vmms_job_new();
    struct vmms_job_row *row = &job->row;
    uint64_t within_ms = vmms_argument_number(&call->request, "deadline_ms");

    *row =
        (struct vmms_job_row){ .id = core->jobs.last_id + 1,
                               .type = strdup(api_methods[call->request.method].name),
                               .object = object_of(&call->request),
                               .args = args_text(&call->request),
                               .state = state,
                               .owner = strdup(call->actor),
                               .reason = dup_argument(&call->request, "reason"),
                               .idempotency_key = dup_argument(&call->request, "idempotency_key"),
                               .submitted_ms = vmms_now_ms(core),
                               .parent = call->saga };
    hv_assert(row->type && row->object && row->owner);
    row->deadline_ms = within_ms ? row->submitted_ms + within_ms : 0;
    job->is_new = true;
    hv_assert(vmms_job_add(core, job) == 0);
    hv_list_append(&job->submitters, &call->node);
    return job;
}

uint64_t vmms_job_enqueue(struct vmms_core *core, struct vmms_call *call)
{
    struct vmms_job *job = vmms_job_make(core, call, API_JOB_STATE_QUEUED);
    struct vmms_change *change = vmms_job_change(core, job, VMMS_JOB_ROW_INSERT);

    vmms_job_event(core, change, "job.queued", job->row.owner);
    vmms_job_commit(core, job, change);
    return job->row.id;
}

bool vmms_job_has_way(struct vmms_core *core, struct vmms_call *call)
{
    struct api_error *error = NULL;

    if (check_conflicts(core, &call->request, call->saga, &error) == 0)
        return true;
    if (vmms_queue_on_jobs(core, call))
        api_error_free(error);
    else
        vmms_reply_error(core, call, error);
    return false;
}

bool vmms_job_is_repeated(struct vmms_core *core, struct vmms_call *call)
{
    const char *key = vmms_argument_text(&call->request, "idempotency_key");
    struct vmms_job *again = find_by_key(core, call->actor, key);

    if (again)
        answer_again(core, call, again);
    return again || vmms_key_is_taken(core, call, key);
}

int vmms_job_check(const struct vmms_core *core, const struct api_request *request, uint64_t parent,
                   struct api_error **reterr)
{
    int r = vmms_image_check_args(request, reterr);

    if (r == 0)
        r = check_paths(request, reterr);
    return r < 0 ? r : check_conflicts(core, request, parent, reterr);
}

int vmms_job_check_room(const struct vmms_core *core, struct api_error **reterr)
{
    if (core->jobs.active < VMMS_MAX_ACTIVE_JOBS)
        return 0;
    return api_error_set(reterr, API_E_NOT_AVAILABLE, "job.too_many", NULL,
                         "%d jobs are queued or running, which is as many as the service takes on.",
                         VMMS_MAX_ACTIVE_JOBS);
}

void vmms_job_submit(struct vmms_core *core, struct vmms_call *call)
{
    bool is_copy = call->request.method == API_METHOD_GUEST_COPY_FILES;
    struct api_error *error = NULL;

    if (is_copy && !vmms_copy_name(core, call))
        return;
    if (vmms_job_is_repeated(core, call) || (!is_copy && !vmms_plan_is_current(core, NULL, call)) ||
        (is_copy && !vmms_copy_may_begin(core, call)))
        return;
    if (vmms_job_check_room(core, &error) < 0) {
        vmms_reply_error(core, call, error);
    } else if (vmms_job_check(core, &call->request, call->saga, &error) < 0) {
        if (error && error->code == API_E_JOB_CONFLICT && vmms_queue_on_jobs(core, call))
            api_error_free(error);
        else
            vmms_reply_error(core, call, error);
    } else if (argument_flag(&call->request, "plan")) {
        vmms_serve_call(core, NULL, call);
    } else {
        (void)vmms_job_enqueue(core, call);
    }
}

/* Calls about jobs */

static struct vmms_job *find_visible(struct vmms_core *core, struct vmms_call *call)
{
    uint64_t id = vmms_argument_number(&call->request, "job");
    struct vmms_job *job = vmms_job_find(core, id);
    struct api_error *error = NULL;

    if (job && !job->is_new)
        return job;
    api_error_set(&error, API_E_NOT_FOUND, "job.not_found", "job",
                  "There is no job %" PRIu64 ". Jobs are kept for %d days after their end.", id,
                  VMMS_JOB_KEPT_DAYS);
    api_error_hint(error, "job.list tells which there are.");
    vmms_reply_error(core, call, error);
    return NULL;
}

static bool is_wanted(const struct vmms_job *job, const struct api_job_list_args *args)
{
    const struct api_job_filter *filter = &args->filter;
    bool is_active = !vmms_job_has_ended(job->row.state);

    if (job->is_new || (args->has & API_JOB_LIST_ARGS_HAS_BEFORE && job->row.id >= args->before))
        return false;
    if (filter->has & API_JOB_FILTER_HAS_STATE && filter->state != job->row.state)
        return false;
    if (filter->has & API_JOB_FILTER_HAS_ACTIVE && filter->active != is_active)
        return false;
    if (filter->type && strcmp(filter->type, job->row.type) != 0)
        return false;
    return !filter->object || strcmp(filter->object, job->row.object) == 0;
}

static void list_jobs(struct vmms_core *core, struct vmms_call *call)
{
    const struct api_job_list_args *args = &call->request.args.job_list;
    struct api_job_list list = { .jobs = calloc(args->limit, sizeof(struct api_job)) };

    hv_assert(list.jobs);
    for (size_t i = core->jobs.count; i > 0; i--) {
        const struct vmms_job *job = core->jobs.jobs[i - 1];

        if (!is_wanted(job, args))
            continue;
        if (list.n_jobs == args->limit) {
            list.has |= API_JOB_LIST_HAS_NEXT;
            list.next = list.jobs[list.n_jobs - 1].id;
            break;
        }
        vmms_view_job(core, job, &list.jobs[list.n_jobs++]);
    }
    vmms_reply(core, call)->result.job_list = list;
}

static void refuse_cancel(struct vmms_core *core, struct vmms_call *call,
                          const struct vmms_job *job)
{
    const char *state = api_enum_job_state.values[job->row.state];
    struct api_error *error = NULL;

    api_error_set(&error, API_E_INVALID_STATE, "job.state", NULL,
                  "Job %" PRIu64 " is %s: there is nothing to cancel.", job->row.id, state);
    if (error)
        api_error_set_text(&error->data.state, state);
    vmms_reply_error(core, call, error);
}

static void cancel(struct vmms_core *core, struct vmms_job *job, struct vmms_call *call)
{
    static const char *const steps[] = { "stop the job and remove what it has half made", NULL };

    if (!vmms_plan_is_current(core, NULL, call))
        return;
    if (job->row.state == API_JOB_STATE_CANCELLED || job->is_cancelling) {
        reply_job(core, call, job, true, 0);
        return;
    }
    if (vmms_job_has_ended(job->row.state) || job->row.state == API_JOB_STATE_FINISHING) {
        refuse_cancel(core, call, job);
        return;
    }
    if (call->request.args.job_cancel.plan) {
        vmms_reply_plan(core, call, NULL, steps);
        return;
    }
    job->is_cancelling = true;
    job->canceller = strdup(call->actor);
    hv_assert(job->canceller);
    if (job->row.state == API_JOB_STATE_RUNNING)
        vmms_job_stop_work(core, job);
    reply_job(core, call, job, false, 0);
    vmms_job_pump(core, job);
}

void vmms_job_cancelled_again(struct vmms_core *core, struct vmms_call *call)
{
    const struct vmms_job *job = find_visible(core, call);

    if (job)
        reply_job(core, call, job, true, 0);
}

static void wait_job(struct vmms_core *core, struct vmms_job *job, struct vmms_call *call)
{
    uint64_t timeout_ms = call->request.args.job_wait.timeout_ms;

    call->wait_until_ns = core->env.monotonic_ns(core->env.opaque) + timeout_ms * HV_NS_PER_MS;
    if (vmms_job_has_ended(job->row.state) || !timeout_ms)
        answer_ended(core, call, job);
    else
        wait_for(core, call, job);
}

void vmms_job_call(struct vmms_core *core, struct vmms_call *call)
{
    struct vmms_job *job;

    if (call->request.method == API_METHOD_JOB_LIST) {
        list_jobs(core, call);
        return;
    }
    job = find_visible(core, call);
    if (!job)
        return;
    if (call->request.method == API_METHOD_JOB_CANCEL)
        cancel(core, job, call);
    else if (call->request.method == API_METHOD_JOB_WAIT)
        wait_job(core, job, call);
    else
        vmms_view_job(core, job, &vmms_reply(core, call)->result.job);
}
