/* SPDX-License-Identifier: Apache-2.0 */
/* What happened, as signals, in the order of the event log: read behind a cursor like any other
 * subscriber, so that nothing is told before it is stored and nothing is told twice. */
#include "vmmsd/bus/bus_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { READ_EVENTS = 64 };

static bool is_of_group(const struct api_event *event)
{
    return event->object && strncmp(event->type, "group.", strlen("group.")) == 0;
}

static const char *object_path(const struct api_event *event,
                               char room[static VMMS_DBUS_PATH_BYTES])
{
    if (is_of_group(event))
        vmms_dbus_group_path(event->object, room);
    else if (event->vm)
        vmms_dbus_vm_path(event->vm, room);
    else if (event->has & API_EVENT_HAS_JOB)
        vmms_dbus_job_path(event->job, room);
    else
        return VMMS_DBUS_PATH;
    return room;
}

static int tell_event(struct vmms_dbus *dbus, const struct api_event *event)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    char path[VMMS_DBUS_PATH_BYTES];
    int r = sd_bus_message_new_signal(vmms_bus_get(dbus->bus), &m, VMMS_DBUS_PATH,
                                      API_DBUS_PREFIX "EventLog", "Event");

    if (r >= 0)
        r = sd_bus_message_append(m, "tso", event->seq, event->type, object_path(event, path));
    if (r >= 0)
        r = vmms_dbus_put_record(m, &api_record_event, event, UINT64_MAX);
    return r < 0 ? r : sd_bus_send(NULL, m, NULL);
}

/* Objects that come and change are read first: their properties go with the signal. */
static void read_object(struct vmms_dbus *dbus, const char *id, enum vmms_dbus_purpose purpose)
{
    struct vmms_dbus_call *call = vmms_dbus_call_new(dbus, NULL, purpose);
    struct api_vm_get_args *args;

    if (!call)
        return;
    call->place.object = API_DBUS_VM;
    (void)strncpy(call->place.key, id, sizeof(call->place.key) - 1);
    args = &call->request.args.vm_get;
    call->request.method = API_METHOD_VM_GET;
    args->vm = strdup(id);
    vmms_dbus_call_go(call);
}

static void read_group(struct vmms_dbus *dbus, const char *id, enum vmms_dbus_purpose purpose)
{
    struct vmms_dbus_call *call = vmms_dbus_call_new(dbus, NULL, purpose);

    if (!call)
        return;
    call->place.object = API_DBUS_GROUP;
    (void)strncpy(call->place.key, id, sizeof(call->place.key) - 1);
    call->request.method = API_METHOD_GROUP_GET;
    call->request.args.group_get.group = strdup(id);
    vmms_dbus_call_go(call);
}

static void read_job(struct vmms_dbus *dbus, uint64_t id, enum vmms_dbus_purpose purpose)
{
    struct vmms_dbus_call *call = vmms_dbus_call_new(dbus, NULL, purpose);

    if (!call)
        return;
    call->place.object = API_DBUS_JOB;
    (void)snprintf(call->place.key, sizeof(call->place.key), "%" PRIu64, id);
    call->request.method = API_METHOD_JOB_GET;
    call->request.args.job_get.job = id;
    vmms_dbus_call_go(call);
}

static int put_names(sd_bus_message *m, enum api_dbus_object object)
{
    int r = sd_bus_message_open_container(m, 'a', "s");

    for (size_t i = 0; r >= 0 && i < api_dbus_interface_count; i++)
        if (api_dbus_interfaces[i].object == object)
            r = sd_bus_message_append_basic(m, 's', api_dbus_interfaces[i].name);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int tell_removed(struct vmms_dbus *dbus, const char *path, enum api_dbus_object object)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = sd_bus_message_new_signal(vmms_bus_get(dbus->bus), &m, VMMS_DBUS_PATH,
                                      "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved");

    if (r >= 0)
        r = sd_bus_message_append_basic(m, 'o', path);
    if (r >= 0)
        r = put_names(m, object);
    return r < 0 ? r : sd_bus_send(NULL, m, NULL);
}

/* The VM that comes or goes has changed as well. */
static void tell_group(struct vmms_dbus *dbus, const struct api_event *event)
{
    char path[VMMS_DBUS_PATH_BYTES];

    if (strcmp(event->type, "group.deleted") == 0)
        (void)tell_removed(dbus, object_path(event, path), API_DBUS_GROUP);
    else if (strcmp(event->type, "group.created") == 0)
        read_group(dbus, event->object, VMMS_DBUS_TELL_ADDED);
    else if (strcmp(event->type, "group.renamed") == 0)
        read_group(dbus, event->object, VMMS_DBUS_TELL_RENAMED);
    else
        read_group(dbus, event->object, VMMS_DBUS_TELL_CHANGED);
    if (event->vm)
        read_object(dbus, event->vm, VMMS_DBUS_TELL_CHANGED);
}

static void tell(struct vmms_dbus *dbus, const struct api_event *event)
{
    char path[VMMS_DBUS_PATH_BYTES];

    (void)tell_event(dbus, event);
    if (is_of_group(event)) {
        tell_group(dbus, event);
        return;
    }
    if (strcmp(event->type, "job.removed") == 0)
        (void)tell_removed(dbus, object_path(event, path), API_DBUS_JOB);
    else if (event->has & API_EVENT_HAS_JOB && strncmp(event->type, "job.", 4) == 0)
        read_job(dbus, event->job,
                 strcmp(event->type, "job.queued") == 0 ? VMMS_DBUS_TELL_ADDED
                                                        : VMMS_DBUS_TELL_CHANGED);
    if (!event->vm)
        return;
    if (strcmp(event->type, "vm.deleted") == 0)
        (void)tell_removed(dbus, object_path(event, path), API_DBUS_VM);
    else if (strcmp(event->type, "vm.created") == 0)
        read_object(dbus, event->vm, VMMS_DBUS_TELL_ADDED);
    else
        read_object(dbus, event->vm, VMMS_DBUS_TELL_CHANGED);
}

/* No event is read before the service knows of it: the properties that go with it would be those of
 * before. */
void vmms_dbus_tell_events(struct vmms_dbus *dbus)
{
    uint64_t known = dbus->last_event - dbus->cursor + 1;
    struct vmms_dbus_call *call;

    if (!dbus->bus || !dbus->is_named || dbus->is_reading || dbus->cursor > dbus->last_event)
        return;
    call = vmms_dbus_call_new(dbus, NULL, VMMS_DBUS_EVENTS);
    if (!call)
        return;
    dbus->is_reading = true;
    call->request.method = API_METHOD_EVENTS_READ;
    call->request.args.events_read = (struct api_events_read_args){
        .since = dbus->cursor, .limit = known < READ_EVENTS ? (uint32_t)known : READ_EVENTS
    };
    vmms_dbus_call_go(call);
}

void vmms_dbus_events_read(struct vmms_dbus_call *call, const struct api_event_list *list)
{
    struct vmms_dbus *dbus = call->dbus;

    vmms_dbus_call_free(call);
    dbus->is_reading = false;
    dbus->cursor = list->next;
    for (size_t i = 0; dbus->bus && i < list->n_events; i++)
        tell(dbus, &list->events[i]);
    if (dbus->bus)
        vmms_bus_update(dbus->bus);
    vmms_dbus_tell_events(dbus);
}

/* Objects */

static int put_added(sd_bus_message *m, const char *path, enum api_dbus_object object,
                     const void *from)
{
    int r = sd_bus_message_append_basic(m, 'o', path);

    return r < 0 ? r : vmms_dbus_put_interfaces(m, object, from);
}

static int tell_added(struct vmms_dbus *dbus, const char *path, enum api_dbus_object object,
                      const void *from)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = sd_bus_message_new_signal(vmms_bus_get(dbus->bus), &m, VMMS_DBUS_PATH,
                                      "org.freedesktop.DBus.ObjectManager", "InterfacesAdded");

    if (r >= 0)
        r = put_added(m, path, object, from);
    return r < 0 ? r : sd_bus_send(NULL, m, NULL);
}

/* Small properties with their values, large ones by name. */
static int put_changed(sd_bus_message *m, const struct api_dbus_interface *interface,
                       const void *from)
{
    int r = sd_bus_message_append_basic(m, 's', interface->name);

    if (r >= 0)
        r = vmms_dbus_put_small(m, interface, from);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "s");
    for (size_t i = 0; r >= 0 && i < interface->record->n_fields; i++)
        if (interface->properties[i].is_large)
            r = sd_bus_message_append_basic(m, 's', interface->properties[i].name);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int tell_changed(struct vmms_dbus *dbus, const char *path,
                        const struct api_dbus_interface *interface, const void *from)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = sd_bus_message_new_signal(vmms_bus_get(dbus->bus), &m, path,
                                      "org.freedesktop.DBus.Properties", "PropertiesChanged");

    if (r >= 0)
        r = put_changed(m, interface, from);
    return r < 0 ? r : sd_bus_send(NULL, m, NULL);
}

/* A group has another name: so it is told by who is in it. */
static void tell_members(struct vmms_dbus *dbus, const struct api_group *group)
{
    for (size_t i = 0; group->kind == API_GROUP_KIND_VM && i < group->n_members; i++)
        read_object(dbus, group->members[i].id, VMMS_DBUS_TELL_CHANGED);
}

/* Its properties on all of the object's interfaces. */
static void tell_all_changed(struct vmms_dbus *dbus, const char *path, enum api_dbus_object object,
                             const void *from)
{
    for (size_t i = 0; i < api_dbus_interface_count; i++) {
        const struct api_dbus_interface *interface = &api_dbus_interfaces[i];

        if (interface->object == object && interface->record)
            (void)tell_changed(dbus, path, interface, from);
    }
}

void vmms_dbus_tell_progress(struct vmms_dbus *dbus, const struct api_job *job)
{
    char path[VMMS_DBUS_PATH_BYTES];

    if (!dbus || !dbus->bus || !dbus->is_named || dbus->cursor <= dbus->last_event)
        return;
    vmms_dbus_job_path(job->id, path);
    tell_all_changed(dbus, path, API_DBUS_JOB, job);
    vmms_bus_update(dbus->bus);
}

void vmms_dbus_tell_object(struct vmms_dbus_call *call, const void *from)
{
    enum api_dbus_object object = call->place.object;
    struct vmms_dbus *dbus = call->dbus;
    char path[VMMS_DBUS_PATH_BYTES];

    if (object == API_DBUS_JOB)
        vmms_dbus_job_path(strtoull(call->place.key, NULL, 10), path);
    else if (object == API_DBUS_GROUP)
        vmms_dbus_group_path(call->place.key, path);
    else
        vmms_dbus_vm_path(call->place.key, path);
    if (dbus->bus && call->purpose == VMMS_DBUS_TELL_ADDED)
        (void)tell_added(dbus, path, object, from);
    if (dbus->bus && call->purpose != VMMS_DBUS_TELL_ADDED)
        tell_all_changed(dbus, path, object, from);
    if (call->purpose == VMMS_DBUS_TELL_RENAMED)
        tell_members(dbus, from);
    vmms_dbus_call_free(call);
}
