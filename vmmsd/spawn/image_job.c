/* SPDX-License-Identifier: Apache-2.0 */
/* Work on images, step by step: find and lock the files, make room for a new one, let the worker do
 * it, put the result in place. A job that fails leaves no file behind. */
#include "vmmsd/spawn/image_task_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "hvcore/base/clock.h"
#include "vmmsd/core/image_args.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TASKS = 64 };

/* Life of a task */

/* Close the files, and with them end the locks. */
static void let_go(struct image_task *task)
{
    image_chain_fini(&task->chain);
    image_chain_fini(&task->parent);
    task->target.fd = hv_close(task->target.fd);
}

static void free_task(struct image_task *task)
{
    hv_list_remove(&task->node);
    let_go(task);
    free(task->temporary);
    free(task->result);
    api_error_free(task->error);
    api_error_free(task->pool_error);
    api_request_fini(&task->request);
    free(task);
}

static void timer_closed(uv_handle_t *handle)
{
    free_task(handle->data);
}

static void release(struct image_task *task)
{
    task->worker = image_worker_free(task->worker);
    task->resolver = image_resolver_stop(task->resolver);
    task->users = image_users_stop(task->users);
    uv_close((uv_handle_t *)&task->deadline, timer_closed);
}

static struct image_task *task_new(struct vmms_images *images, enum image_task_kind kind,
                                   const struct api_request *request)
{
    struct image_task *task = calloc(1, sizeof(*task));

    hv_assert(task);
    task->images = images;
    task->kind = kind;
    task->target.fd = -1;
    task->make.fd = -1;
    task->request.method = request->method;
    hv_assert(api_record_copy(api_methods[request->method].args, &request->args,
                              &task->request.args) == 0);
    (void)uv_timer_init(images->config.loop, &task->deadline);
    task->deadline.data = task->work.data = task;
    hv_list_append(&images->tasks, &task->node);
    return task;
}

static struct image_task *find_task(struct vmms_images *images, uint64_t job)
{
    HV_LIST_FOREACH (node, &images->tasks) {
        struct image_task *task = HV_LIST_ENTRY(node, struct image_task, node);

        if (task->kind == TASK_JOB && task->job == job &&
            !uv_is_closing((uv_handle_t *)&task->deadline))
            return task;
    }
    return NULL;
}

static void tell_job(struct image_task *task, enum vmms_job_fact_kind kind, char *result,
                     struct api_error *error)
{
    struct vmms_job_fact fact = {
        .kind = kind, .job = task->job, .result = result, .error = error
    };

    task->images->config.job_fact(task->images->config.opaque, &fact);
}

static void settled(void *opaque)
{
    struct image_task *task = opaque;

    task->then(task);
}

/* Go on when the worker is no more: who is answered may use the files at once. */
static void settle(struct image_task *task, void (*then)(struct image_task *task))
{
    task->then = then;
    if (task->worker)
        image_worker_end(HV_TAKE_PTR(task->worker), settled, task);
    else
        then(task);
}

static void run_in_pool(struct image_task *task, enum image_pool_work work);

static void undo(struct image_task *task)
{
    run_in_pool(task, POOL_UNDO);
}

static void finish(struct image_task *task)
{
    run_in_pool(task, POOL_FINISH);
}

static void tell_failure(struct image_task *task)
{
    let_go(task);
    if (task->kind == TASK_ASK)
        task->answer(task->opaque, NULL, HV_TAKE_PTR(task->error));
    else
        task->chain_done(task->opaque, NULL, 0, HV_TAKE_PTR(task->error));
    release(task);
}

/* The end of a task that did not come to a result. error: taken */
static void fail(struct image_task *task, struct api_error *error)
{
    if (task->is_late) {
        error = api_error_free(error);
        api_error_set(&error, API_E_TIMEOUT, "job.deadline", NULL,
                      "The deadline of job %" PRIu64 " passed; what it had half made is removed.",
                      task->job);
    } else if (task->is_cancelled) {
        error = api_error_free(error);
        api_error_set(&error, API_E_CANCELLED, "job.cancelled", NULL,
                      "Job %" PRIu64 " was cancelled.", task->job);
    }
    task->error = error;
    settle(task, task->kind == TASK_JOB ? undo : tell_failure);
}

/* Cancelled or late while something else was waited for? Then it ends here. */
static bool is_stopped(struct image_task *task)
{
    if (!task->is_cancelled && !task->is_late)
        return false;
    fail(task, NULL);
    return true;
}

/* The work */

static void progressed(void *opaque, uint64_t done, uint64_t total)
{
    struct image_task *task = opaque;
    struct vmms_job_fact fact = { .kind = VMMS_JOB_PROGRESS,
                                  .job = task->job,
                                  .step = api_methods[task->request.method].verb,
                                  .bytes_done = done,
                                  .bytes_total = total };

    task->images->config.job_fact(task->images->config.opaque, &fact);
}

static void worked(void *opaque, struct image_answer *answer, struct api_error *error)
{
    struct image_task *task = opaque;

    if (error) {
        fail(task, error);
        return;
    }
    tell_job(task, VMMS_JOB_WORKED, image_task_result(task, answer), NULL);
}

static void start_work(struct image_task *task)
{
    struct vmms_image_file pair[2];
    hv_autofree char *relative = NULL;
    struct image_run run = { 0 };

    image_task_fill_run(task, &run);
    if (task->request.method == API_METHOD_IMAGE_SET_PARENT) {
        pair[0] = task->chain.files[0];
        pair[1] = task->parent.files[0];
        run.chain = pair;
        run.n_chain = 2;
    }
    if (run.parent_absolute)
        relative = image_relative_path(run.target ? image_task_target(task)
                                                  : task->chain.opens[0].real_path,
                                       run.parent_absolute);
    run.parent_relative = relative;
    image_worker_run(task->worker, &run, progressed, worked, task);
}

static void tell_answer(struct image_task *task)
{
    let_go(task);
    task->answer(task->opaque, &task->answered, NULL);
    api_record_fini(task->request.method == API_METHOD_IMAGE_INFO ? &api_record_image
                                                                  : &api_record_job_changed,
                    &task->answered);
    release(task);
}

static void answer_info(struct image_task *task)
{
    if (image_task_view(task, &task->answered.image))
        settle(task, tell_answer);
    else
        fail(task, HV_TAKE_PTR(task->chain.parents_error));
}

static void answer_plan(struct image_task *task)
{
    task->answered.job_changed.has = API_JOB_CHANGED_HAS_PLAN;
    image_task_plan(task, &task->answered.job_changed.plan);
    settle(task, tell_answer);
}

static void give_chain(struct image_task *task)
{
    struct image_chain *chain = &task->chain;
    struct vmms_image_file *files = calloc(chain->count, sizeof(*files));
    size_t count = chain->count;

    hv_assert(files);
    for (size_t i = 0; i < count; i++) {
        files[i] = chain->files[i];
        chain->files[i].path = NULL;
        chain->files[i].fd = -1;
    }
    task->chain_done(task->opaque, files, count, NULL);
    release(task);
}

void vmms_image_files_free(struct vmms_image_file *files, size_t count)
{
    for (size_t i = 0; files && i < count; i++) {
        hv_close(files[i].fd);
        free(files[i].path);
    }
    free(files);
}

/* All files are there: what was this for? */
static void prepared(struct image_task *task)
{
    if (is_stopped(task))
        return;
    if (task->kind == TASK_JOB)
        start_work(task);
    else if (task->kind == TASK_CHAIN)
        settle(task, give_chain);
    else if (task->request.method == API_METHOD_IMAGE_INFO)
        answer_info(task);
    else
        answer_plan(task);
}

/* The pool */

static void remove_listed(struct image_task *task)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct json_value *list;
    struct json_fault fault;

    if (!task->result ||
        json_parse(task->result, strlen(task->result), &json_limits_reply, &doc, &fault) < 0)
        return;
    list = json_get(json_doc_root(doc), "removed");
    for (const struct json_value *path = list && list->type == JSON_ARRAY ? list->first : NULL;
         path; path = path->next) {
        if (path->type == JSON_STRING)
            (void)image_file_remove(path->text, &task->pool_error);
    }
}

static void pool(uv_work_t *work)
{
    struct image_task *task = work->data;

    if (task->pool_work == POOL_MAKE)
        (void)image_file_make(&task->make);
    else if (task->pool_work == POOL_UNDO && task->is_unmade)
        (void)image_file_unmake(image_task_target(task), &task->pool_error);
    else if (task->pool_work == POOL_UNDO && task->temporary)
        (void)image_file_remove(task->temporary, &task->pool_error);
    else if (task->pool_work == POOL_FINISH && task->temporary)
        (void)image_file_publish(task->temporary, image_task_target(task), &task->pool_error);
    else if (task->pool_work == POOL_FINISH)
        remove_listed(task);
}

static void made(struct image_task *task)
{
    struct api_error *error = HV_TAKE_PTR(task->make.error);

    task->target.fd = task->make.fd;
    task->make.fd = -1;
    if (error) {
        /* Nothing of ours is there to be removed. */
        hv_freep(&task->temporary);
        task->temporary = NULL;
        fail(task, error);
        return;
    }
    prepared(task);
}

static void finished(struct image_task *task)
{
    struct api_error *error = HV_TAKE_PTR(task->pool_error);

    /* What was made cannot have its name: it goes. */
    if (error && task->temporary) {
        fail(task, error);
        return;
    }
    let_go(task);
    tell_job(task, VMMS_JOB_ENDED, NULL, error);
    release(task);
}

static void undone(struct image_task *task)
{
    if (task->is_unmade)
        task->error = HV_TAKE_PTR(task->pool_error);
    else if (task->pool_error)
        hv_log_printf(task->images->config.log, HV_LOG_WARNING, NULL,
                      "A file that is half made stays: %s", task->pool_error->message);
    let_go(task);
    tell_job(task, VMMS_JOB_ENDED, NULL, HV_TAKE_PTR(task->error));
    release(task);
}

static void pool_done(uv_work_t *work, int status)
{
    struct image_task *task = work->data;
    enum image_pool_work done = task->pool_work;

    task->pool_work = POOL_NONE;
    if (task->is_abandoned) {
        hv_close(task->make.fd);
        api_error_free(task->make.error);
        release(task);
    } else if (done == POOL_MAKE) {
        made(task);
    } else if (done == POOL_FINISH) {
        finished(task);
    } else {
        undone(task);
    }
}

static void run_in_pool(struct image_task *task, enum image_pool_work work)
{
    task->pool_work = work;
    hv_assert(uv_queue_work(task->images->config.loop, &task->work, pool, pool_done) == 0);
}

/* Preparing */

static uint64_t bytes_needed(const struct image_task *task)
{
    const union api_args *args = &task->request.args;

    if (task->target.format == API_IMAGE_FORMAT_RAW)
        return 0; /* sparse */
    if (task->request.method == API_METHOD_IMAGE_CREATE)
        return args->image_create.type == API_IMAGE_TYPE_FIXED &&
                       args->has & API_IMAGE_CREATE_ARGS_HAS_TYPE
                   ? args->image_create.size_bytes
                   : 0;
    return args->image_convert.to_type == API_IMAGE_TYPE_FIXED &&
                   args->has & API_IMAGE_CONVERT_ARGS_HAS_TO_TYPE
               ? task->chain.probes[0].bytes
               : 0;
}

static void make_target(struct image_task *task)
{
    bool is_create = task->request.method == API_METHOD_IMAGE_CREATE;
    const char *path = image_task_target(task);

    task->target.path = (char *)path;
    task->target.format = image_task_format(task, is_create ? "format" : "to_format", path);
    if (task->kind == TASK_JOB) {
        task->temporary = image_temporary_path(path, task->images->config.host_id, task->job);
        hv_assert(task->temporary);
    }
    task->make = (struct image_make){
        .path = path, .temporary = task->temporary, .bytes_needed = bytes_needed(task), .fd = -1
    };
    run_in_pool(task, POOL_MAKE);
}

static void parent_resolved(void *opaque, struct image_chain *chain, struct api_error *error)
{
    struct image_task *task = opaque;

    task->resolver = NULL;
    if (error) {
        fail(task, error);
        return;
    }
    task->parent = *chain;
    *chain = (struct image_chain){ 0 };
    prepared(task);
}

static void resolve_parent(struct image_task *task)
{
    const char *path = image_task_text(task, "parent");
    const struct image_chain_wish wish = { .path = path,
                                           .is_alone = true,
                                           .format = task->chain.files[0].format };

    task->resolver = image_resolve(task->images, task->worker, &wish, parent_resolved, task);
}

static void chain_is_there(struct image_task *task)
{
    if (is_stopped(task))
        return;
    if (image_makes_file(task->request.method))
        make_target(task);
    else if (task->request.method == API_METHOD_IMAGE_SET_PARENT)
        resolve_parent(task);
    else
        prepared(task);
}

static void users_found(void *opaque, struct api_error *error)
{
    struct image_task *task = opaque;

    task->users = NULL;
    if (error)
        task->error = api_error_free(task->error);
    else
        error = HV_TAKE_PTR(task->error);
    if (error)
        fail(task, error);
    else
        chain_is_there(task);
}

/* Of what is to be changed: is it a parent of a VM's disk? */
static void find_users(struct image_task *task)
{
    const struct image_chain *chain = &task->chain;
    const char *path =
        chain->count ? chain->files[chain->count - 1].path : image_task_text(task, "path");

    task->users = image_users_find(task->images, task->worker, path, users_found, task);
}

static void resolved(void *opaque, struct image_chain *chain, struct api_error *error)
{
    struct image_task *task = opaque;

    task->resolver = NULL;
    if (error && !(error->code == API_E_IN_USE && image_breaks_children(task))) {
        fail(task, error);
        return;
    }
    if (error) {
        task->error = error; /* unless there is more to say: by which child */
    } else {
        task->chain = *chain;
        *chain = (struct image_chain){ 0 };
    }
    if (image_breaks_children(task))
        find_users(task);
    else
        chain_is_there(task);
}

static void fill_wish(const struct image_task *task, struct image_chain_wish *wish)
{
    switch (task->request.method) {
    case API_METHOD_IMAGE_INFO:
    case API_METHOD_IMAGE_VALIDATE: wish->is_lenient = true; break;
    case API_METHOD_IMAGE_CREATE: /* of the parent, its parents matter only when it is used */
        wish->path = image_task_text(task, "parent");
        wish->is_alone = true;
        break;
    case API_METHOD_IMAGE_RESIZE:
    case API_METHOD_IMAGE_COMPACT:
    case API_METHOD_IMAGE_SET_PARENT: wish->is_writable = wish->is_alone = true; break;
    case API_METHOD_IMAGE_MERGE:
        wish->is_writable = wish->are_parents_writable = true;
        wish->stop_at = image_task_text(task, "into");
        wish->max_files = 2;
        break;
    default: break;
    }
}

static void begin(struct image_task *task)
{
    struct image_chain_wish wish = { .path = image_task_text(task, "path") };
    struct api_error *error = NULL;

    if (image_worker_new(task->images, task->job, &task->worker, &error) < 0) {
        fail(task, error);
        return;
    }
    fill_wish(task, &wish);
    if (!wish.path) {
        make_target(task); /* a new image without a parent */
        return;
    }
    wish.format = image_task_format(task, "format",
                                    task->request.method == API_METHOD_IMAGE_CREATE
                                        ? image_task_text(task, "path")
                                        : wish.path);
    task->resolver = image_resolve(task->images, task->worker, &wish, resolved, task);
}

/* Front door */

static void deadline_passed(uv_timer_t *timer)
{
    struct image_task *task = timer->data;

    task->is_late = true;
    if (task->worker)
        image_worker_cancel(task->worker);
}

void vmms_images_run_job(struct vmms_images *images, uint64_t job, uint64_t deadline_ms,
                         const struct api_request *request)
{
    struct image_task *task = task_new(images, TASK_JOB, request);
    uint64_t now_ms = hv_clock_realtime_ns() / HV_NS_PER_MS;

    task->job = job;
    if (deadline_ms)
        (void)uv_timer_start(&task->deadline, deadline_passed,
                             deadline_ms > now_ms ? deadline_ms - now_ms : 0, 0);
    begin(task);
}

void vmms_images_cancel_job(struct vmms_images *images, uint64_t job)
{
    struct image_task *task = find_task(images, job);

    if (!task)
        return;
    task->is_cancelled = true;
    if (task->worker)
        image_worker_cancel(task->worker);
}

/* A task is there but after a restart. Its files stay locked until the end. */
static struct image_task *last_task(struct vmms_images *images, uint64_t job,
                                    const struct api_request *request)
{
    struct image_task *task = find_task(images, job);

    if (!task) {
        task = task_new(images, TASK_JOB, request);
        task->job = job;
    }
    if (!task->temporary && image_makes_file(request->method)) {
        task->temporary =
            image_temporary_path(image_task_target(task), images->config.host_id, job);
        hv_assert(task->temporary);
    }
    (void)uv_timer_stop(&task->deadline);
    return task;
}

void vmms_images_finish_job(struct vmms_images *images, uint64_t job,
                            const struct api_request *request, const char *result)
{
    struct image_task *task = last_task(images, job, request);

    task->is_cancelled = task->is_late = false; /* it came too late */
    task->result = strdup(result ? result : "{}");
    hv_assert(task->result);
    settle(task, finish);
}

void vmms_images_undo_job(struct vmms_images *images, uint64_t job,
                          const struct api_request *request, const char *result)
{
    struct image_task *task = last_task(images, job, request);

    task->is_unmade = result && image_makes_file(request->method);
    settle(task, undo);
}

static struct image_task *new_ask(struct vmms_images *images, enum image_task_kind kind,
                                  const struct api_request *request, struct api_error **reterr)
{
    size_t count = 0;

    HV_LIST_FOREACH (node, &images->tasks)
        count += HV_LIST_ENTRY(node, struct image_task, node)->kind == TASK_ASK;
    if (kind == TASK_ASK && count >= MAX_TASKS) {
        api_error_set(reterr, API_E_NOT_AVAILABLE, "image.busy", NULL,
                      "%d images are being looked at already; try again soon.", MAX_TASKS);
        return NULL;
    }
    return task_new(images, kind, request);
}

void vmms_images_ask(struct vmms_images *images, const struct api_request *request,
                     vmms_image_answer_fn *done, void *opaque)
{
    struct api_error *error = NULL;
    struct image_task *task = new_ask(images, TASK_ASK, request, &error);

    if (!task) {
        done(opaque, NULL, error);
        return;
    }
    task->answer = done;
    task->opaque = opaque;
    begin(task);
}

/* A chain for a VM is looked for as that of image.info is, but strictly. */
void vmms_images_resolve(struct vmms_images *images, const struct vmms_chain_request *request,
                         vmms_chain_fn *done, void *opaque)
{
    struct api_request info = { .method = API_METHOD_IMAGE_INFO };
    struct image_chain_wish wish = { .path = request->path, .is_writable = request->is_writable };
    struct api_error *error = NULL;
    struct image_task *task;

    if (images->is_closing) {
        api_error_set(&error, API_E_NOT_AVAILABLE, "image.closing", NULL, "The service is ending.");
        done(opaque, NULL, 0, error);
        return;
    }
    if (request->format)
        wish.format = *request->format;
    else if (vmms_image_format_of(request->path, "format", &wish.format, &error) < 0) {
        done(opaque, NULL, 0, error);
        return;
    }
    task = new_ask(images, TASK_CHAIN, &info, &error);
    task->chain_done = done;
    task->opaque = opaque;
    if (image_worker_new(images, 0, &task->worker, &error) < 0)
        fail(task, error);
    else
        task->resolver = image_resolve(images, task->worker, &wish, resolved, task);
}

int vmms_images_new(const struct vmms_images_config *config, struct vmms_images **ret)
{
    struct vmms_images *images = calloc(1, sizeof(*images));

    if (!images)
        return -ENOMEM;
    images->config = *config;
    hv_list_init(&images->tasks);
    hv_list_init(&images->workers);
    *ret = images;
    return 0;
}

void vmms_images_close(struct vmms_images *images)
{
    images->is_closing = true;
    image_workers_forget(images);
    HV_LIST_FOREACH (node, &images->tasks) {
        struct image_task *task = HV_LIST_ENTRY(node, struct image_task, node);

        task->is_abandoned = true;
        if (task->pool_work == POOL_NONE && !uv_is_closing((uv_handle_t *)&task->deadline))
            release(task);
    }
}

void vmms_images_free(struct vmms_images *images)
{
    free(images);
}
