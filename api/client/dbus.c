/* SPDX-License-Identifier: Apache-2.0 */
#include "api/client/dbus.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define SERVICE   "org.hvstack.Vmms1"
#define ROOT      "/org/hvstack/Vmms1"
#define INTERFACE "org.hvstack.Vmms1.Manager"
#define CONSOLE   "org.hvstack.Vmms1.Console"

/* A start waits for its guest, a person for a password: longer than both. */
#define PATIENCE_US (UINT64_C(300) * 1000000)

extern const struct api_dbus_ops api_dbus_ops_2;

struct api_dbus {
    sd_bus *bus;
    char *where;
    bool has_events; /* since they were waited for last */
    bool is_left;
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

/* The service's own words: a code by its name, and a sentence. Returns whether it was that. */
static bool take_theirs(const sd_bus_error *error, struct api_error **reterr)
{
    static const char prefix[] = "org.hvstack.Error.";
    const struct api_error_info *info;

    if (!error || !error->name || strncmp(error->name, prefix, sizeof(prefix) - 1) != 0)
        return false;
    info = api_error_info_by_name(error->name + sizeof(prefix) - 1);
    (void)api_error_set(reterr, info->code, "client.bus", NULL, "%.500s",
                        error->message ? error->message : error->name);
    return true;
}

/* Before it was a call of ours: the bus's or polkit's words. */
static int refused(const struct api_dbus *dbus, const sd_bus_error *error, int errnum,
                   struct api_error **reterr)
{
    bool is_absent = sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                     sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER);
    int r;

    if (take_theirs(error, reterr))
        return -EINVAL;
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
                         error && error->message ? error->message : strerror(errnum));
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

/* "01234567-89ab-..." as in the path of its object. */
static void path_of(const char *vm_id, char *ret, size_t room)
{
    size_t length = (size_t)snprintf(ret, room, "%s/vm/", ROOT);

    for (; *vm_id && length + 1 < room; vm_id++)
        if (*vm_id != '-')
            ret[length++] = *vm_id;
    ret[length] = '\0';
}

static int open_console(struct api_dbus *dbus, const char *vm_id, uint32_t port, uint64_t from,
                        int *ret_fd, struct api_error **reterr)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *m = NULL, *reply = NULL;
    char path[128];
    int fd, r;

    path_of(vm_id, path, sizeof(path));
    r = sd_bus_message_new_method_call(dbus->bus, &m, SERVICE, path, CONSOLE, "Open");
    r = r < 0 ? r : sd_bus_message_append(m, "a{sv}", 2, "port", "u", port, "from", "t", from);
    r = r < 0 ? r : sd_bus_message_set_allow_interactive_authorization(m, 1);
    r = r < 0 ? r : sd_bus_call(dbus->bus, m, PATIENCE_US, &error, &reply);
    r = r < 0 ? r : sd_bus_message_read(reply, "h", &fd);
    if (r >= 0) {
        *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        r = *ret_fd < 0 ? -errno : 0;
    }
    if (r < 0)
        r = refused(dbus, &error, -r, reterr);
    sd_bus_error_free(&error);
    sd_bus_message_unref(m);
    sd_bus_message_unref(reply);
    return r;
}

/* Events */

static int told(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    struct api_dbus *dbus = opaque;

    dbus->has_events = true;
    return 0;
}

static int owner_changed(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    struct api_dbus *dbus = opaque;

    dbus->is_left = true;
    return 0;
}

static int watch(struct api_dbus *dbus, struct api_error **reterr)
{
    int r = sd_bus_match_signal(dbus->bus, NULL, SERVICE, ROOT, SERVICE ".EventLog", "Event", told,
                                dbus);

    r = r < 0 ? r
              : sd_bus_add_match(dbus->bus, NULL,
                                 "type='signal',sender='org.freedesktop.DBus',"
                                 "interface='org.freedesktop.DBus',member='NameOwnerChanged',"
                                 "arg0='" SERVICE "'",
                                 owner_changed, dbus);
    return r < 0 ? refused(dbus, NULL, -r, reterr) : 0;
}

static int wait_for_events(struct api_dbus *dbus)
{
    int r = 0;

    while (r >= 0 && !dbus->has_events && !dbus->is_left) {
        r = sd_bus_process(dbus->bus, NULL);
        if (r == 0)
            r = sd_bus_wait(dbus->bus, UINT64_MAX);
        if (r == -EINTR)
            r = 0;
    }
    dbus->has_events = false;
    return r < 0 ? r : dbus->is_left ? -ECONNRESET : 0;
}

__attribute__((visibility("default"))) const struct api_dbus_ops api_dbus_ops_2 = {
    .open = open_bus,
    .close = close_bus,
    .call = call_bus,
    .open_console = open_console,
    .watch = watch,
    .wait = wait_for_events,
};
