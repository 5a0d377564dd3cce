/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to guests that the model does not remember: passed to the worker, answered when it has. */
#include "vmmsd/service/service_priv.h"

#include "api/gen/tables.h"

#include <string.h>

struct guest_call {
    struct vmms_service *service;
    uint64_t call;
    enum api_method method;
    char vm_id[HV_GUID_TEXT_BYTES];
    char *name;
};

static struct guest_call *call_new(struct vmms_service *service, const struct vmms_effect *effect)
{
    struct guest_call *call = calloc(1, sizeof(*call));

    hv_assert(call);
    call->service = service;
    call->call = effect->call;
    call->method = effect->method;
    memcpy(call->vm_id, effect->row.id, sizeof(call->vm_id));
    call->name = strdup(effect->row.settings.name);
    hv_assert(call->name);
    return call;
}

static void call_end(struct guest_call *call, union api_result *result, struct api_error *error)
{
    struct vmms_service *service = call->service;

    if (service->is_closing || !api_methods[call->method].is_change) {
        if (!service->is_closing)
            vmms_service_reply(service, call->call, call->method, result, UINT64_MAX, error);
        api_error_free(error);
    } else {
        vmms_core_served(service->core, call->call, call->method, result, error);
        vmms_service_drain(service);
    }
    free(call->name);
    free(call);
}

static void guest_done(void *opaque, struct api_guest *guest, struct api_error *error)
{
    struct guest_call *call = opaque;
    union api_result result = { 0 };

    if (guest) {
        result.guest = *guest;
        result.guest.id = strdup(call->vm_id);
        result.guest.name = strdup(call->name);
    }
    call_end(call, &result, error);
    api_guest_fini(&result.guest);
}

void vmms_serve_guest(struct vmms_service *service, const struct vmms_effect *effect)
{
    vmms_spawner_guest(service->spawner, effect->row.id, guest_done, call_new(service, effect));
}

static void order_done(void *opaque, uint64_t number, struct api_error *error)
{
    struct guest_call *call = opaque;
    union api_result result = { .guest_done = { .done = true } };

    call_end(call, &result, error);
}

/* They are stored: a guest that cannot take them now gets them later. */
static void pairs_done(void *opaque, uint64_t number, struct api_error *error)
{
    struct guest_call *call = opaque;
    union api_result result = { .guest_done = { .done = !error && number } };

    if (error)
        hv_log_printf(call->service->config.log, HV_LOG_INFO, NULL,
                      "The guest of VM %s is told its pairs later: %s", call->name, error->message);
    api_error_free(error);
    call_end(call, &result, NULL);
}

void vmms_serve_pairs(struct vmms_service *service, const struct vmms_effect *effect)
{
    const struct vmms_order order = { .kind = VMMS_ORDER_SET_PAIRS,
                                      .fd = -1,
                                      .pairs = effect->row.pairs,
                                      .n_pairs = effect->row.n_pairs };

    vmms_spawner_order(service->spawner, effect->row.id, &order, pairs_done,
                       call_new(service, effect));
}

void vmms_serve_order(struct vmms_service *service, const struct vmms_effect *effect)
{
    /* Set 1: Ctrl, Alt, Delete down, and up again the other way round. */
    static const uint8_t ctrl_alt_del[] = { 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d };
    const union api_args *args = &effect->request.args;
    struct vmms_order order = { .fd = -1 };

    switch (effect->method) {
    case API_METHOD_CONSOLE_TYPE_TEXT:
        order.kind = VMMS_ORDER_TYPE_TEXT;
        order.text = args->console_type_text.text;
        break;
    default:
        order.kind = VMMS_ORDER_TYPE_KEYS;
        order.scancodes = ctrl_alt_del;
        order.n_scancodes = sizeof(ctrl_alt_del);
        break;
    }
    vmms_spawner_order(service->spawner, effect->row.id, &order, order_done,
                       call_new(service, effect));
}
