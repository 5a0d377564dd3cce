/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: the core's orders to vmmsd/spawn, and what is heard back; time, where something waits for
 * it. */
#include "vmmsd/service/service_priv.h"

#include "api/gen/tables.h"
#include "vmmsd/core/plan.h"

#include <string.h>

enum { TICK_MS = 100, HOUR_MS = 3600000 };

void vmms_job_tell(struct vmms_service *service, struct vmms_job_fact *fact)
{
    vmms_core_job_fact(service->core, fact);
    vmms_service_drain(service);
}

void vmms_job_effect(struct vmms_service *service, const struct vmms_effect *effect)
{
    struct vmms_images *images = service->images;

    if (vmms_copy_effect(service, effect))
        return;
    switch (effect->kind) {
    case VMMS_EFFECT_RUN_JOB:
        vmms_images_run_job(images, effect->job, effect->deadline_ms, &effect->request);
        break;
    case VMMS_EFFECT_CANCEL_JOB: vmms_images_cancel_job(images, effect->job); break;
    case VMMS_EFFECT_FINISH_JOB:
        vmms_images_finish_job(images, effect->job, &effect->request, effect->text);
        break;
    default: vmms_images_undo_job(images, effect->job, &effect->request, effect->text); break;
    }
}

static void job_fact(void *opaque, struct vmms_job_fact *fact)
{
    vmms_job_tell(opaque, fact);
}

static bool name_process(void *opaque, int pid, char *ret, size_t room)
{
    struct vmms_service *service = opaque;

    return vmms_spawner_name_process(service->spawner, pid, ret, room);
}

struct disk_wish {
    vmms_disk_fn *disk;
    void *opaque;
};

static void each_of_vm(void *opaque, const struct vmms_row *row)
{
    const struct disk_wish *wish = opaque;

    for (size_t i = 0; i < row->n_devices; i++) {
        if (row->devices[i].kind == API_DEVICE_KIND_DISK && row->devices[i].path)
            wish->disk(wish->opaque, row->settings.name, &row->devices[i]);
    }
}

static void each_disk(void *opaque, vmms_disk_fn *disk, void *disk_opaque)
{
    const struct vmms_service *service = opaque;
    struct disk_wish wish = { disk, disk_opaque };

    vmms_core_each_vm(service->core, NULL, each_of_vm, &wish);
}

/* Questions about images */

struct image_call {
    struct vmms_service *service;
    uint64_t call;
    enum api_method method;
    bool is_plan;
    bool is_planned; /* it came as tx.plan */
    struct api_plan plan;
};

static void reply_plan(struct image_call *call, union api_result *result, struct api_error *error)
{
    union api_result refused = { 0 }, document = { 0 };
    union api_result *told = error ? &refused : result;

    vmms_plan_complete(call->method, &call->plan, told, error);
    if (call->is_planned)
        vmms_plan_document(call->method, told, &document.plan_document);
    vmms_service_reply(call->service, call->call,
                       call->is_planned ? API_METHOD_TX_PLAN : call->method,
                       call->is_planned ? &document : told, UINT64_MAX, NULL);
    api_plan_document_fini(&document.plan_document);
    if (error)
        api_record_fini(api_methods[call->method].result, &refused);
}

static void image_answered(void *opaque, union api_result *result, struct api_error *error)
{
    struct image_call *call = opaque;

    if (call->is_plan && !call->service->is_closing) {
        reply_plan(call, result, HV_TAKE_PTR(error));
    } else if (!call->service->is_closing) {
        vmms_service_reply(call->service, call->call, call->method, result, UINT64_MAX, error);
    }
    api_error_free(error);
    api_plan_fini(&call->plan);
    free(call);
}

void vmms_serve_image(struct vmms_service *service, struct vmms_effect *effect)
{
    struct image_call *call = calloc(1, sizeof(*call));

    hv_assert(call);
    *call = (struct image_call){ .service = service,
                                 .call = effect->call,
                                 .method = effect->method,
                                 .is_plan = vmms_wants_plan(&effect->request),
                                 .is_planned = effect->is_planned,
                                 .plan = effect->plan };
    effect->plan = (struct api_plan){ 0 };
    vmms_images_ask(service->images, &effect->request, image_answered, call);
}

/* Time */

static void tick(uv_timer_t *timer)
{
    struct vmms_service *service = timer->data;

    vmms_core_tick(service->core);
    vmms_service_drain(service);
    vmms_jobs_watch_time(service);
}

void vmms_jobs_watch_time(struct vmms_service *service)
{
    uint64_t wanted_ms = vmms_core_is_ticking(service->core) ? TICK_MS : HOUR_MS;

    if (uv_timer_get_repeat(&service->ticker) != wanted_ms)
        (void)uv_timer_start(&service->ticker, tick, wanted_ms, wanted_ms);
}

int vmms_jobs_open(struct vmms_service *service)
{
    const struct vmms_images_config config = {
        .loop = service->config.loop,
        .worker_path = service->config.worker_path,
        .host_id = vmms_store_host_id(service->store),
        .log = service->config.log,
        .opaque = service,
        .job_fact = job_fact,
        .name_process = name_process,
        .each_disk = each_disk,
    };
    int r = vmms_images_new(&config, &service->images);

    if (r == 0)
        vmms_spawner_use_images(service->spawner, service->images);
    return r;
}
