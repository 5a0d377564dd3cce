/* SPDX-License-Identifier: Apache-2.0 */
#include "api/client/dbus.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define SERVICE   "org.hvstack.Vmms1"
#define ROOT      "/org/hvstack/Vmms1"
#define INTERFACE "org.hvstack.Vmms1.Manager"

/* A start waits for its guest, a person for a password: longer than both. */
#define PATIENCE_US (UINT64_C(300) * 1000000)

extern const struct api_dbus_ops api_dbus_ops_1;

struct api_dbus {
    sd_bus *bus;
    char *where;
};

static void close_bus(struct api_dbus *dbus)
{
    if (!dbus)
        return;
    sd_bus_flush_close_unref(dbus->bus);
    free(dbus->where);
    free(dbus);
}

static int open_address(const char *address, sd_bus **ret)
{
    sd_bus *bus = NULL;
    int r = sd_bus_new(&bus);

    r = r < 0 ? r : sd_bus_set_address(bus, address);
    r = r < 0 ? r : sd_bus_set_bus_client(bus, 1);
    r = r < 0 ? r : sd_bus_start(bus);
    if (r < 0)
        sd_bus_unref(bus);
    else
        *ret = bus;
    return r;
}

static int open_bus(const char *where, struct api_dbus **ret, struct api_error **reterr)
{
    struct api_dbus *dbus = calloc(1, sizeof(*dbus));
    int r;

    if (!dbus)
        return -ENOMEM;
    dbus->where = strdup(where);
    if (strcmp(where, "system") == 0)
        r = sd_bus_open_system(&dbus->bus);
    else if (strcmp(where, "session") == 0)
        r = sd_bus_open_user(&dbus->bus);
    else
        r = open_address(where, &dbus->bus);
    if (r < 0) {
        close_bus(dbus);
        return api_error_set(reterr, API_E_NOT_AVAILABLE, "client.connect", NULL,
                             "The bus dbus:%.100s cannot be reached: %s.", where, strerror(-r));
    }
    *ret = dbus;
    return 0;
}

/* Before it was a call of ours: the bus's or polkit's words. */
static int refused(const struct api_dbus *dbus, const sd_bus_error *error, int errnum,
                   struct api_error **reterr)
{
    bool is_absent = sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                     sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER);
    int r;

    if (is_absent) {
        r = api_error_set(reterr, API_E_NOT_AVAILABLE, "client.connect", NULL,
                          "The service is not on the bus dbus:%.100s.", dbus->where);
        api_error_hint(*reterr, "Is vmmsd running, with --bus?");
        return r;
    }
    return api_error_set(reterr,
                         sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED)
                             ? API_E_ACCESS_DENIED
                             : API_E_STATUS_UNKNOWN,
                         "client.bus", NULL, "The bus dbus:%.100s answers: %.300s.", dbus->where,
                         error->message ? error->message : strerror(errnum));
}

static int call_bus(struct api_dbus *dbus, const char *method, const char *params,
                    char **ret_answer, struct api_error **reterr)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *m = NULL, *reply = NULL;
    const char *text;
    int r = sd_bus_message_new_method_call(dbus->bus, &m, SERVICE, ROOT, INTERFACE, "CallJson");

    r = r < 0 ? r : sd_bus_message_append(m, "ss", method, params ? params : "");
    r = r < 0 ? r : sd_bus_message_set_allow_interactive_authorization(m, 1);
    r = r < 0 ? r : sd_bus_call(dbus->bus, m, PATIENCE_US, &error, &reply);
    r = r < 0 ? r : sd_bus_message_read(reply, "s", &text);
    if (r < 0) {
        r = refused(dbus, &error, -r, reterr);
    } else {
        *ret_answer = strdup(text);
        r = *ret_answer ? 0 : -ENOMEM;
    }
    sd_bus_error_free(&error);
    sd_bus_message_unref(m);
    sd_bus_message_unref(reply);
    return r;
}

__attribute__((visibility("default"))) const struct api_dbus_ops api_dbus_ops_1 = {
    .open = open_bus,
    .close = close_bus,
    .call = call_bus,
};
