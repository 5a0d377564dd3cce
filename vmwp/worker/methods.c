/* SPDX-License-Identifier: Apache-2.0 */
/* The object /org/hvstack/Worker1: schemas/worker/org.hvstack.Worker1.xml as a table. */
#include "vmwp/worker/control_priv.h"

#include <inttypes.h>
#include <string.h>

#define PATH           "/org/hvstack/Worker1"
#define INTERFACE      "org.hvstack.Worker1"
#define E_DENIED       SD_BUS_ERROR_ACCESS_DENIED
#define E_INVALID      SD_BUS_ERROR_INVALID_ARGS
#define E_NOT_NOW      WP_ERROR "InvalidState"
#define E_FAILED       WP_ERROR "Failed"
#define WORKER_VERSION 1

static int return_error(sd_bus_error *ret, int r, const struct hv_error *error)
{
    return sd_bus_error_setf(ret, E_FAILED, "%s", hv_error_message(error, r));
}

/* As long as the longer text, whatever the texts are. */
static bool is_same_secret(const char *a, const char *b)
{
    unsigned char difference = strlen(a) != WP_SECRET_BYTES;

    for (size_t i = 0; i < WP_SECRET_BYTES; i++) {
        difference |= (unsigned char)(*a ^ b[i]);
        a += *a != 0;
    }
    return difference == 0;
}

static const char *told_cause(const struct wp_story *story)
{
    return wp_cause_name(story->cause);
}

static int append_identity(sd_bus_message *reply, struct wp_control *control)
{
    struct wp_worker *worker = control->config.worker;
    const struct wp_story *story = wp_worker_story(worker);
    const struct wp_definition *d = control->config.definition;

    return sd_bus_message_append(
        reply, "a{sv}", 9, "vm_id", "s", d->vm_id, "incarnation", "s", d->incarnation, "pid", "u",
        (uint32_t)control->config.pid, "version", "u", (uint32_t)WORKER_VERSION, "backend", "s",
        hv_backend_name(wp_worker_backend(worker)), "backend_reason", "s",
        wp_worker_backend_reason(worker), "state", "s", wp_phase_name(story->phase), "cause", "s",
        told_cause(story), "uptime_ms", "t", wp_worker_uptime_ms(worker));
}

static int reply_identity(sd_bus_message *m, struct wp_control *control)
{
    sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_new_method_return(m, &reply);
    r = r < 0 ? r : append_identity(reply, control);
    r = r < 0 ? r : sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r;
}

static int on_hello(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;
    struct wp_control *control = c->control;
    const char *secret;
    uint64_t epoch;
    int r;

    r = sd_bus_message_read(m, "st", &secret, &epoch);
    if (r < 0)
        return r;
    if (!is_same_secret(secret, control->config.definition->secret))
        return sd_bus_error_set(ret_error, E_DENIED, "The secret is not this worker's.");
    if (epoch < control->epoch)
        return sd_bus_error_setf(ret_error, E_DENIED,
                                 "Epoch %" PRIu64 " is over; the worker has seen %" PRIu64 ".",
                                 epoch, control->epoch);
    control->epoch = epoch;
    c->epoch = epoch;
    c->has_said_hello = true;
    r = reply_identity(m, control);
    if (r >= 0 && wp_worker_critical(control->config.worker, &(uint64_t){ 0 }))
        r = wp_methods_tell_storage(c);
    return r < 0 ? r : wp_methods_tell_guest(c);
}

static int do_request(sd_bus_message *m, struct connection *c, enum wp_cause request,
                      sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct wp_worker *worker = c->control->config.worker;
    int r;

    r = wp_worker_request(worker, request, &error);
    if (r == WP_E_NOT_NOW)
        return sd_bus_error_setf(ret_error, E_NOT_NOW, "The VM is %s; this is possible in %s.",
                                 wp_phase_name(wp_worker_story(worker)->phase),
                                 wp_cause_legal_in(request));
    if (r < 0)
        return return_error(ret_error, r, error);
    return sd_bus_reply_method_return(m, NULL);
}

static int on_start(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    return do_request(m, opaque, WP_CAUSE_START, ret_error);
}

static int on_pause(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    return do_request(m, opaque, WP_CAUSE_PAUSE, ret_error);
}

static int on_resume(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    return do_request(m, opaque, WP_CAUSE_RESUME, ret_error);
}

static int on_reset(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    return do_request(m, opaque, WP_CAUSE_RESET, ret_error);
}

static int on_turn_off(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    return do_request(m, opaque, WP_CAUSE_TURN_OFF, ret_error);
}

static int on_open_console(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct connection *c = opaque;
    hv_autofd int stream = -1;
    uint64_t from, start;
    uint32_t port;
    int r;

    r = sd_bus_message_read(m, "ut", &port, &from);
    if (r < 0)
        return r;
    if (port < 1 || port > WP_MACHINE_N_COM)
        return sd_bus_error_setf(ret_error, E_INVALID,
                                 "There is no serial port %u; there are 1 "
                                 "and 2.",
                                 port);
    if (sd_bus_can_send(c->bus, SD_BUS_TYPE_UNIX_FD) <= 0)
        return sd_bus_error_set(ret_error, E_FAILED,
                                "This connection hasn't negotiated descriptors.");
    r = wp_console_open(&c->control->config.consoles[port - 1], from, &stream, &start, &error);
    if (r < 0)
        return return_error(ret_error, r, error);
    return sd_bus_reply_method_return(m, "ht", stream, start);
}

static int append_stats(sd_bus_message *m, const struct wp_worker_stats *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        { "vcpu_time_ns", s->vcpu_time_ns },
        { "exits", s->vps.exits },
        { "port_ios", s->vps.port_ios },
        { "mmios", s->vps.mmios },
        { "interrupts", s->vps.interrupts },
        { "halts", s->vps.halts },
        { "ram_bytes", s->ram_bytes },
        { "console1_bytes", s->console_bytes[0] },
        { "console2_bytes", s->console_bytes[1] },
        { "disk_reads", s->disks.reads },
        { "disk_read_bytes", s->disks.read_bytes },
        { "disk_writes", s->disks.writes },
        { "disk_write_bytes", s->disks.write_bytes },
        { "disk_flushes", s->disks.flushes },
        { "disk_errors", s->disks.errors },
    };
    int r = sd_bus_message_open_container(m, 'a', "{sv}");

    for (size_t i = 0; r >= 0 && i < HV_ARRAY_SIZE(counters); i++)
        r = sd_bus_message_append(m, "{sv}", counters[i].name, "t", counters[i].value);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int on_get_stats(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    struct wp_worker_stats stats;
    int r = sd_bus_message_new_method_return(m, &reply);

    (void)ret_error;
    wp_worker_get_stats(c->control->config.worker, &stats);
    r = r < 0 ? r : append_stats(reply, &stats);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

int wp_methods_tell_figures(struct connection *c, const struct wp_worker_stats *stats)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = wp_methods_new_signal(c, "Figures", &m);

    r = r < 0 ? r : append_stats(m, stats);
    return r < 0 ? r : sd_bus_send(c->bus, m, NULL);
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;

    return sd_bus_message_append(reply, "s",
                                 wp_phase_name(wp_worker_story(c->control->config.worker)->phase));
}

enum { UNPRIVILEGED = SD_BUS_VTABLE_UNPRIVILEGED }; /* on_any_message has judged the caller */

/* clang-format off */
static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Hello", SD_BUS_ARGS("s", secret, "t", epoch),
                            SD_BUS_RESULT("a{sv}", identity), on_hello, UNPRIVILEGED),
    SD_BUS_METHOD("Start", "", "", on_start, UNPRIVILEGED),
    SD_BUS_METHOD("Pause", "", "", on_pause, UNPRIVILEGED),
    SD_BUS_METHOD("Resume", "", "", on_resume, UNPRIVILEGED),
    SD_BUS_METHOD("Reset", "", "", on_reset, UNPRIVILEGED),
    SD_BUS_METHOD("TurnOff", "", "", on_turn_off, UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("OpenConsole", SD_BUS_ARGS("u", port, "t", from),
                            SD_BUS_RESULT("h", stream, "t", start), on_open_console,
                            UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetStats", SD_BUS_NO_ARGS, SD_BUS_RESULT("a{sv}", stats),
                            on_get_stats, UNPRIVILEGED),
    SD_BUS_METHOD("Save", "h", "", wp_on_save, UNPRIVILEGED),
    SD_BUS_METHOD("CancelSave", "", "", wp_on_cancel_save, UNPRIVILEGED),
    SD_BUS_METHOD("AddDisk", "a{sv}a(sh)", "", wp_on_add_disk, UNPRIVILEGED),
    SD_BUS_METHOD("RemoveDisk", "s", "", wp_on_remove_disk, UNPRIVILEGED),
    SD_BUS_METHOD("ChangeMedium", "sa(sh)", "", wp_on_change_medium, UNPRIVILEGED),
    SD_BUS_METHOD("GuestShutdown", "sbs", "", wp_on_guest_shutdown, UNPRIVILEGED),
    SD_BUS_METHOD("GetGuest", "", "a{sv}a(ssu)a(sss)as", wp_on_get_guest, UNPRIVILEGED),
    SD_BUS_METHOD("SetServices", "a{sb}", "", wp_on_set_services, UNPRIVILEGED),
    SD_BUS_METHOD("SetPairs", "a(ss)", "b", wp_on_set_pairs, UNPRIVILEGED),
    SD_BUS_METHOD("SetStorageHold", "b", "", wp_on_set_storage_hold, UNPRIVILEGED),
    SD_BUS_METHOD("CopyFile", "htsu", "t", wp_on_copy_file, UNPRIVILEGED),
    SD_BUS_METHOD("CancelCopy", "", "", wp_on_cancel_copy, UNPRIVILEGED),
    SD_BUS_METHOD("FreezeGuest", "", "", wp_on_freeze_guest, UNPRIVILEGED),
    SD_BUS_METHOD("ThawGuest", "", "", wp_on_thaw_guest, UNPRIVILEGED),
    SD_BUS_METHOD("TypeText", "s", "", wp_on_type_text, UNPRIVILEGED),
    SD_BUS_METHOD("TypeKeys", "ay", "", wp_on_type_keys, UNPRIVILEGED),
    SD_BUS_PROPERTY("State", "s", get_state, 0, 0),
    SD_BUS_SIGNAL_WITH_ARGS("StateChanged",
                            SD_BUS_ARGS("s", state, "s", cause, "a{sv}", detail), 0),
    SD_BUS_SIGNAL("GuestChanged", "a{sv}as", 0),
    SD_BUS_SIGNAL("GuestCrashed", "tttttay", 0),
    SD_BUS_SIGNAL("DeviceError", "ss", 0),
    SD_BUS_SIGNAL("StorageCritical", "bst", 0),
    SD_BUS_SIGNAL("CopyProgress", "tt", 0),
    SD_BUS_SIGNAL("Figures", "a{sv}", 0),
    SD_BUS_SIGNAL("SaveProgress", "tt", 0),
    SD_BUS_VTABLE_END,
};

/* What may be called at all; sd-bus itself would answer more (GetMachineId reads a file). */
static const struct { const char *interface, *member; bool before_hello; } callable[] = {
    { INTERFACE,                             "Hello",      true },
    { INTERFACE,                             NULL,         false },
    { "org.freedesktop.DBus.Properties",     NULL,         false },
    { "org.freedesktop.DBus.Introspectable", "Introspect", false },
    { "org.freedesktop.DBus.Peer",           "Ping",       false },
};
/* clang-format on */

static bool may_call(const struct connection *c, const char *interface, const char *member)
{
    bool is_known = c->has_said_hello && c->epoch >= c->control->epoch;

    if (!interface || !member)
        return false;
    for (size_t i = 0; i < HV_ARRAY_SIZE(callable); i++)
        if (strcmp(callable[i].interface, interface) == 0 &&
            (!callable[i].member || strcmp(callable[i].member, member) == 0))
            return is_known || callable[i].before_hello;
    return false;
}

/* While the VM is being saved nothing of it may change; it may only be looked at, or ended. */
static bool is_held_back(const struct connection *c, const char *member)
{
    static const char *const possible[] = { "Hello",   "GetStats",   "GetGuest", "OpenConsole",
                                            "TurnOff", "CancelSave", "Save",     "Introspect",
                                            "Ping",    "Get",        "GetAll" };

    if (wp_worker_story(c->control->config.worker)->phase != WP_PHASE_SAVING)
        return false;
    for (size_t i = 0; i < HV_ARRAY_SIZE(possible); i++)
        if (strcmp(possible[i], member) == 0)
            return false;
    return true;
}

/* Comes before sd-bus's own dispatch. Returns 1 when the message is dealt with. */
static int on_any_message(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;
    uint8_t type;

    (void)ret_error;
    if (sd_bus_message_get_type(m, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
        return 1; /* we call nobody: replies and signals to us mean nothing */
    if (may_call(c, sd_bus_message_get_interface(m), sd_bus_message_get_member(m))) {
        if (!is_held_back(c, sd_bus_message_get_member(m)))
            return 0;
        return sd_bus_reply_method_errorf(m, E_NOT_NOW,
                                          "The VM is being saved; nothing of it can be changed "
                                          "meanwhile.") < 0
                   ? -EIO
                   : 1;
    }
    return sd_bus_reply_method_errorf(m, E_DENIED,
                                      "Say Hello with the worker's secret and a "
                                      "current epoch first.") < 0
               ? -EIO
               : 1;
}

int wp_methods_add(struct connection *connection)
{
    int r;

    r = sd_bus_add_filter(connection->bus, NULL, on_any_message, connection);
    if (r < 0)
        return r;
    return sd_bus_add_object_vtable(connection->bus, NULL, PATH, INTERFACE, vtable, connection);
}

static int append_detail(sd_bus_message *m, const struct wp_story *story)
{
    switch (story->cause) {
    case WP_CAUSE_DEBUG_EXIT:
        return sd_bus_message_append(m, "a{sv}", 1, "exit_status", "u", story->exit_status);
    case WP_CAUSE_TRIPLE_FAULT: return sd_bus_message_append(m, "a{sv}", 1, "rip", "t", story->rip);
    case WP_CAUSE_STORAGE_CRITICAL:
    case WP_CAUSE_INTERNAL_ERROR:
        return sd_bus_message_append(m, "a{sv}", 1, "message", "s", story->message);
    default: return sd_bus_message_append(m, "a{sv}", 0);
    }
}

int wp_methods_new_signal(struct connection *connection, const char *member, sd_bus_message **ret)
{
    return sd_bus_message_new_signal(connection->bus, ret, PATH, INTERFACE, member);
}

int wp_methods_tell(struct connection *connection, const struct wp_story *story)
{
    sd_bus_message *m = NULL;
    int r;

    r = wp_methods_new_signal(connection, "StateChanged", &m);
    r = r < 0 ? r : sd_bus_message_append(m, "ss", wp_phase_name(story->phase), told_cause(story));
    r = r < 0 ? r : append_detail(m, story);
    r = r < 0 ? r : sd_bus_send(connection->bus, m, NULL);
    sd_bus_message_unref(m);
    return r;
}
