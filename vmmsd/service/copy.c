/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that copy a file into a guest. The file is opened off the loop; the worker copies it, and
 * gives up with its connection to us, so that after a restart of the service nothing is left over.
 */
#include "vmmsd/service/service_priv.h"

#include "api/gen/tables.h"
#include "hvcore/base/clock.h"
#include "vmmsd/spawn/disks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { FLAG_OVERWRITE = 1, FLAG_CREATE_PATH = 2 };

struct copy {
    struct hv_list node;
    struct vmms_service *service;
    uint64_t job;
    char *vm_id, *source, *destination;
    uint32_t flags;
    uv_work_t work;
    uv_timer_t deadline;
    int fd; /* or a negative errno of its opening */
    uint64_t bytes;
    bool is_cancelled, is_late;
    bool is_sent; /* the worker has it */
};

static void timer_closed(uv_handle_t *handle)
{
    struct copy *copy = handle->data;

    hv_list_remove(&copy->node);
    hv_close(copy->fd);
    free(copy->vm_id);
    free(copy->source);
    free(copy->destination);
    free(copy);
}

static void tell(const struct copy *copy, struct vmms_job_fact *fact)
{
    fact->job = copy->job;
    if (!copy->service->is_closing) {
        vmms_job_tell(copy->service, fact);
        return;
    }
    free(fact->result);
    api_error_free(fact->error);
}

/* The end of one that did not come to a result. error: taken */
static void fail(struct copy *copy, struct api_error *error)
{
    if (copy->is_late) {
        error = api_error_free(error);
        api_error_set(&error, API_E_TIMEOUT, "job.deadline", NULL,
                      "The deadline of job %" PRIu64 " passed; what the guest had got is removed.",
                      copy->job);
    } else if (copy->is_cancelled) {
        error = api_error_free(error);
        api_error_set(&error, API_E_CANCELLED, "job.cancelled", NULL,
                      "Job %" PRIu64 " was cancelled.", copy->job);
    }
    tell(copy, &(struct vmms_job_fact){ .kind = VMMS_JOB_ENDED, .error = error });
    uv_close((uv_handle_t *)&copy->deadline, timer_closed);
}

static void progressed(void *opaque, uint64_t done, uint64_t total)
{
    tell(opaque, &(struct vmms_job_fact){ .kind = VMMS_JOB_PROGRESS,
                                          .step = "copy the file into the guest",
                                          .bytes_done = done,
                                          .bytes_total = total });
}

static void copied(void *opaque, uint64_t bytes, struct api_error *error)
{
    struct copy *copy = opaque;
    char *result;

    if (error) {
        fail(copy, error);
        return;
    }
    hv_assert(asprintf(&result, "{\"bytes\":%" PRIu64 "}", bytes) > 0);
    progressed(copy, copy->bytes, copy->bytes);
    tell(copy, &(struct vmms_job_fact){ .kind = VMMS_JOB_WORKED, .result = result });
    uv_close((uv_handle_t *)&copy->deadline, timer_closed);
}

/* The file */

static void open_work(uv_work_t *work)
{
    struct copy *copy = work->data;
    struct stat st;

    copy->fd = vmms_file_open(copy->source, false);
    if (copy->fd >= 0 && fstat(copy->fd, &st) == 0)
        copy->bytes = (uint64_t)st.st_size;
}

static struct api_error *open_error(const struct copy *copy)
{
    struct api_error *error = NULL;

    if (copy->fd == -ENOENT || copy->fd == -ENOTDIR)
        api_error_set(&error, API_E_FILE_NOT_FOUND, "guest.copy.file", "source",
                      "source: there is no file %s.", copy->source);
    else if (copy->fd == -EMEDIUMTYPE)
        api_error_set(&error, API_E_INVALID_PARAMETER, "guest.copy.file", "source",
                      "source: %s is not a regular file.", copy->source);
    else
        api_error_set(&error, API_E_INVALID_PARAMETER, "guest.copy.file", "source",
                      "source: the file %s cannot be read: %s.", copy->source, strerror(-copy->fd));
    return error;
}

static void opened(uv_work_t *work, int status)
{
    struct copy *copy = work->data;
    const struct vmms_order order = { .kind = VMMS_ORDER_COPY_FILE,
                                      .fd = copy->fd,
                                      .bytes = copy->bytes,
                                      .text = copy->destination,
                                      .flags = copy->flags,
                                      .progress = progressed };

    if (copy->service->is_closing || copy->is_cancelled || copy->is_late) {
        fail(copy, NULL);
        return;
    }
    if (copy->fd < 0) {
        fail(copy, open_error(copy));
        return;
    }
    copy->is_sent = true;
    vmms_spawner_order(copy->service->spawner, copy->vm_id, &order, copied, copy);
}

/* Orders */

static void stop(struct copy *copy)
{
    if (copy->is_sent && !uv_is_closing((uv_handle_t *)&copy->deadline))
        vmms_spawner_cancel_copy(copy->service->spawner, copy->vm_id);
}

static void deadline_passed(uv_timer_t *timer)
{
    struct copy *copy = timer->data;

    copy->is_late = true;
    stop(copy);
}

static char *dup_text(const char *text)
{
    char *copy = strdup(text);

    hv_assert(copy);
    return copy;
}

static void run(struct vmms_service *service, const struct vmms_effect *effect)
{
    const struct api_guest_copy_files_args *args = &effect->request.args.guest_copy_files;
    uint64_t now_ms = hv_clock_realtime_ns() / HV_NS_PER_MS, until_ms = effect->deadline_ms;
    struct copy *copy = calloc(1, sizeof(*copy));

    hv_assert(copy);
    copy->service = service;
    copy->job = effect->job;
    copy->vm_id = dup_text(args->vm);
    copy->source = dup_text(args->source);
    copy->destination = dup_text(args->destination);
    copy->flags =
        (args->overwrite ? FLAG_OVERWRITE : 0) | (args->create_path ? FLAG_CREATE_PATH : 0);
    copy->fd = -1;
    (void)uv_timer_init(service->config.loop, &copy->deadline);
    copy->deadline.data = copy->work.data = copy;
    hv_list_append(&service->copies, &copy->node);
    if (until_ms)
        (void)uv_timer_start(&copy->deadline, deadline_passed,
                             until_ms > now_ms ? until_ms - now_ms : 0, 0);
    hv_assert(uv_queue_work(service->config.loop, &copy->work, open_work, opened) == 0);
}

static bool cancel(struct vmms_service *service, uint64_t job)
{
    HV_LIST_FOREACH (node, &service->copies) {
        struct copy *copy = HV_LIST_ENTRY(node, struct copy, node);

        if (copy->job != job)
            continue;
        copy->is_cancelled = true;
        stop(copy);
        return true;
    }
    return false;
}

bool vmms_copy_effect(struct vmms_service *service, const struct vmms_effect *effect)
{
    struct vmms_job_fact ended = { .kind = VMMS_JOB_ENDED, .job = effect->job };

    if (effect->kind == VMMS_EFFECT_CANCEL_JOB)
        return cancel(service, effect->job);
    if (effect->request.method != API_METHOD_GUEST_COPY_FILES)
        return false;
    if (effect->kind == VMMS_EFFECT_RUN_JOB)
        run(service, effect);
    else
        vmms_job_tell(service, &ended); /* there is nothing to put in place, or to remove */
    return true;
}
