/* SPDX-License-Identifier: Apache-2.0 */
/* Time that the core asked for: a timer each, which ends with it or with the service. */
#include "vmmsd/service/service_priv.h"

#include <string.h>

struct wake {
    struct hv_list node;
    struct vmms_service *service;
    uv_timer_t timer;
    char vm_id[HV_GUID_TEXT_BYTES];
    uint64_t token;
};

static void closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void wake_close(struct wake *wake)
{
    hv_list_remove(&wake->node);
    uv_close((uv_handle_t *)&wake->timer, closed);
}

static void is_time(uv_timer_t *timer)
{
    struct wake *wake = timer->data;
    struct vmms_service *service = wake->service;

    vmms_core_woken(service->core, wake->vm_id, wake->token);
    wake_close(wake);
    vmms_service_drain(service);
}

void vmms_wake_later(struct vmms_service *service, const struct vmms_effect *effect)
{
    struct wake *wake = calloc(1, sizeof(*wake));

    hv_assert(wake);
    wake->service = service;
    wake->token = effect->token;
    memcpy(wake->vm_id, effect->row.id, sizeof(wake->vm_id));
    (void)uv_timer_init(service->config.loop, &wake->timer);
    wake->timer.data = wake;
    hv_list_append(&service->wakes, &wake->node);
    (void)uv_timer_start(&wake->timer, is_time, effect->delay_ms, 0);
}

void vmms_wakes_close(struct vmms_service *service)
{
    HV_LIST_FOREACH (node, &service->wakes)
        wake_close(HV_LIST_ENTRY(node, struct wake, node));
}
