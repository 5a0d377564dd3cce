/* SPDX-License-Identifier: Apache-2.0 */
/* The connection: made, named, lost and made again. */
#include "vmmsd/bus/bus_priv.h"

#include <string.h>

enum { RETRY_MS = 1000 };

static int open_bus(const char *where, sd_bus **ret)
{
    HV_CLEANUP(sd_bus_unrefp) sd_bus *bus = NULL;
    int r;

    if (strcmp(where, "system") == 0)
        return sd_bus_open_system(ret);
    if (strcmp(where, "session") == 0)
        return sd_bus_open_user(ret);
    r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_address(bus, where);
    if (r >= 0)
        r = sd_bus_set_bus_client(bus, true);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r >= 0)
        *ret = HV_TAKE_PTR(bus);
    return r;
}

static void drop_calls(struct vmms_dbus *dbus)
{
    HV_LIST_FOREACH (node, &dbus->calls) {
        struct vmms_dbus_call *call = HV_LIST_ENTRY(node, struct vmms_dbus_call, node);

        call->message = sd_bus_message_unref(call->message);
        call->collected = sd_bus_message_unref(call->collected);
        if (call->number == 0)
            vmms_dbus_call_free(call);
    }
}

static void disconnect(struct vmms_dbus *dbus)
{
    vmms_dbus_forget_peers(dbus);
    drop_calls(dbus);
    dbus->is_named = false;
    dbus->bus = vmms_bus_close(dbus->bus);
}

static void reconnect(uv_timer_t *timer);

static void bus_down(void *opaque, int r)
{
    struct vmms_dbus *dbus = opaque;

    hv_log_printf(dbus->config.log, HV_LOG_WARNING, NULL,
                  "The message bus is gone (%s); it is tried again until it is back.",
                  strerror(-r));
    disconnect(dbus);
    (void)uv_timer_start(&dbus->retry, reconnect, RETRY_MS, RETRY_MS);
}

static int name_answered(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    struct vmms_dbus *dbus = opaque;
    uint32_t result = 0;

    (void)error;
    if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "u", &result) >= 0)
        dbus->is_named = result == 1 || result == 4; /* we own it now, or did already */
    hv_log_printf(dbus->config.log, dbus->is_named ? HV_LOG_INFO : HV_LOG_ERROR, NULL,
                  dbus->is_named ? "On the message bus as " VMMS_DBUS_NAME "."
                                 : "The name " VMMS_DBUS_NAME
                                   " is not to be had on the message bus: another vmmsd has it, or "
                                   "the bus's policy is not installed.");
    vmms_dbus_tell_events(dbus);
    return 1;
}

static int furnish(struct vmms_dbus *dbus, sd_bus *bus)
{
    int r = sd_bus_add_fallback(bus, NULL, VMMS_DBUS_PATH, vmms_dbus_dispatch, dbus);

    if (r >= 0)
        r = vmms_dbus_watch_peers(dbus);
    if (r >= 0)
        r = sd_bus_request_name_async(bus, NULL, VMMS_DBUS_NAME, 0, name_answered, dbus);
    vmms_bus_update(dbus->bus);
    return r;
}

static int connect_bus(struct vmms_dbus *dbus)
{
    sd_bus *bus = NULL;
    int r = open_bus(dbus->config.where, &bus);

    if (r >= 0)
        r = vmms_bus_attach(dbus->config.loop, bus, bus_down, dbus, &dbus->bus);
    if (r >= 0)
        r = furnish(dbus, bus);
    if (r < 0 && dbus->bus)
        disconnect(dbus);
    return r < 0 ? r : 0;
}

static void reconnect(uv_timer_t *timer)
{
    if (connect_bus(timer->data) == 0)
        (void)uv_timer_stop(timer);
}

int vmms_dbus_new(const struct vmms_dbus_config *config, uint64_t last_event,
                  struct vmms_dbus **ret, struct hv_error **reterr)
{
    struct vmms_dbus *dbus = calloc(1, sizeof(*dbus));
    int r;

    if (!dbus)
        return -ENOMEM;
    dbus->config = *config;
    dbus->last_event = last_event;
    dbus->cursor = last_event + 1;
    hv_list_init(&dbus->calls);
    hv_list_init(&dbus->peers);
    hv_list_init(&dbus->streams);
    (void)uv_timer_init(config->loop, &dbus->retry);
    dbus->retry.data = dbus;
    *ret = dbus;
    r = connect_bus(dbus);
    if (r < 0)
        return hv_error_set(reterr, r, "api.dbus.connect",
                            "The message bus (--bus %s) cannot be reached: %s. Start it, or use "
                            "--bus none.",
                            config->where, strerror(-r));
    return 0;
}

void vmms_dbus_close(struct vmms_dbus *dbus)
{
    if (!dbus || dbus->is_closing)
        return;
    dbus->is_closing = true;
    vmms_dbus_close_streams(dbus);
    if (dbus->bus)
        (void)sd_bus_flush(vmms_bus_get(dbus->bus));
    disconnect(dbus);
    uv_close((uv_handle_t *)&dbus->retry, NULL);
}

void vmms_dbus_free(struct vmms_dbus *dbus)
{
    if (!dbus)
        return;
    HV_LIST_FOREACH (node, &dbus->calls)
        vmms_dbus_call_free(HV_LIST_ENTRY(node, struct vmms_dbus_call, node));
    free(dbus);
}

void vmms_dbus_reply(struct vmms_dbus *dbus, uint64_t number, enum api_method method,
                     const union api_result *result, uint64_t fields, const struct api_error *error)
{
    struct vmms_dbus_call *call = dbus ? vmms_dbus_call_find(dbus, number) : NULL;

    if (call)
        vmms_dbus_answered(call, method, result, fields, error);
}

void vmms_dbus_wake(struct vmms_dbus *dbus, uint64_t last_event)
{
    if (!dbus || dbus->is_closing)
        return;
    dbus->last_event = last_event;
    vmms_dbus_tell_events(dbus);
}
