/* SPDX-License-Identifier: Apache-2.0 */
/* The service's answers as messages: results, properties, objects, introspection data. */
#include "vmmsd/bus/bus_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char xml_head[] =
    "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
    " \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n";
static const char xml_common[] =
    "  <interface name=\"org.freedesktop.DBus.Introspectable\">\n"
    "    <method name=\"Introspect\"><arg name=\"xml\" type=\"s\" direction=\"out\"/></method>\n"
    "  </interface>\n"
    "  <interface name=\"org.freedesktop.DBus.Properties\">\n"
    "    <method name=\"Get\">\n"
    "      <arg name=\"interface\" type=\"s\" direction=\"in\"/>\n"
    "      <arg name=\"property\" type=\"s\" direction=\"in\"/>\n"
    "      <arg name=\"value\" type=\"v\" direction=\"out\"/>\n"
    "    </method>\n"
    "    <method name=\"GetAll\">\n"
    "      <arg name=\"interface\" type=\"s\" direction=\"in\"/>\n"
    "      <arg name=\"properties\" type=\"a{sv}\" direction=\"out\"/>\n"
    "    </method>\n"
    "    <method name=\"Set\">\n"
    "      <arg name=\"interface\" type=\"s\" direction=\"in\"/>\n"
    "      <arg name=\"property\" type=\"s\" direction=\"in\"/>\n"
    "      <arg name=\"value\" type=\"v\" direction=\"in\"/>\n"
    "    </method>\n"
    "    <signal name=\"PropertiesChanged\">\n"
    "      <arg name=\"interface\" type=\"s\"/>\n"
    "      <arg name=\"changed\" type=\"a{sv}\"/>\n"
    "      <arg name=\"invalidated\" type=\"as\"/>\n"
    "    </signal>\n"
    "  </interface>\n";
static const char xml_root[] =
    "  <interface name=\"org.freedesktop.DBus.ObjectManager\">\n"
    "    <method name=\"GetManagedObjects\">\n"
    "      <arg name=\"objects\" type=\"a{oa{sa{sv}}}\" direction=\"out\"/>\n"
    "    </method>\n"
    "    <signal name=\"InterfacesAdded\">\n"
    "      <arg name=\"object\" type=\"o\"/>\n"
    "      <arg name=\"interfaces\" type=\"a{sa{sv}}\"/>\n"
    "    </signal>\n"
    "    <signal name=\"InterfacesRemoved\">\n"
    "      <arg name=\"object\" type=\"o\"/>\n"
    "      <arg name=\"interfaces\" type=\"as\"/>\n"
    "    </signal>\n"
    "  </interface>\n"
    "  <node name=\"vm\"/>\n"
    "  <node name=\"job\"/>\n"
    "  <node name=\"group\"/>\n";

/* Introspection */

struct text {
    char *bytes;
    size_t length;
    FILE *stream;
};

static void put_interfaces(FILE *out, enum api_dbus_object object)
{
    (void)fputs(xml_common, out);
    for (size_t i = 0; i < api_dbus_interface_count; i++)
        if (api_dbus_interfaces[i].object == object)
            (void)fputs(api_dbus_interfaces[i].xml, out);
}

static void put_children(FILE *out, const struct api_vm_list *list)
{
    char path[VMMS_DBUS_PATH_BYTES];

    for (size_t i = 0; i < list->n_vms; i++) {
        vmms_dbus_vm_path(list->vms[i].id, path);
        (void)fprintf(out, "  <node name=\"%s\"/>\n", strrchr(path, '/') + 1);
    }
}

static void put_groups(FILE *out, const struct api_group_list *list)
{
    char path[VMMS_DBUS_PATH_BYTES];

    for (size_t i = 0; i < list->n_groups; i++) {
        vmms_dbus_group_path(list->groups[i].id, path);
        (void)fprintf(out, "  <node name=\"%s\"/>\n", strrchr(path, '/') + 1);
    }
}

static void put_jobs(FILE *out, const struct api_job_list *list)
{
    for (size_t i = 0; i < list->n_jobs; i++)
        (void)fprintf(out, "  <node name=\"%" PRIu64 "\"/>\n", list->jobs[i].id);
}

static int answer_introspection(struct vmms_dbus_call *call, const union api_result *result,
                                sd_bus_message **ret)
{
    struct text text = { 0 };
    int r;

    text.stream = open_memstream(&text.bytes, &text.length);
    if (!text.stream)
        return -ENOMEM;
    (void)fputs(xml_head, text.stream);
    if (call->place.is_branch && call->place.object == API_DBUS_JOB)
        put_jobs(text.stream, &result->job_list);
    else if (call->place.is_branch && call->place.object == API_DBUS_GROUP)
        put_groups(text.stream, &result->group_list);
    else if (call->place.is_branch)
        put_children(text.stream, &result->vm_list);
    else
        put_interfaces(text.stream, call->place.object);
    if (call->place.object == API_DBUS_ROOT)
        (void)fputs(xml_root, text.stream);
    (void)fputs("</node>\n", text.stream);
    r = fclose(text.stream) == 0 ? sd_bus_message_new_method_return(call->message, ret) : -ENOMEM;
    if (r >= 0)
        r = sd_bus_message_append_basic(*ret, 's', text.bytes);
    free(text.bytes);
    return r;
}

/* Objects */

static int put_interface(sd_bus_message *m, const struct api_dbus_interface *interface,
                         const void *from)
{
    int r = sd_bus_message_open_container(m, 'e', "sa{sv}");

    if (r >= 0)
        r = sd_bus_message_append_basic(m, 's', interface->name);
    if (r >= 0)
        r = vmms_dbus_put_properties(m, interface, from);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int vmms_dbus_put_interfaces(sd_bus_message *m, enum api_dbus_object object, const void *from)
{
    int r = sd_bus_message_open_container(m, 'a', "{sa{sv}}");

    for (size_t i = 0; r >= 0 && i < api_dbus_interface_count; i++)
        if (api_dbus_interfaces[i].object == object)
            r = put_interface(m, &api_dbus_interfaces[i], from);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_object(sd_bus_message *m, const char *path, enum api_dbus_object object,
                      const void *from)
{
    int r = sd_bus_message_open_container(m, 'e', "oa{sa{sv}}");

    if (r >= 0)
        r = sd_bus_message_append_basic(m, 'o', path);
    if (r >= 0)
        r = vmms_dbus_put_interfaces(m, object, from);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

/* Jobs come behind VMs and groups: their number is bounded by how many are kept. */
static void ask_for_jobs(struct vmms_dbus_call *call, const uint64_t *before)
{
    struct api_job_list_args *args = &call->request.args.job_list;

    *args = (struct api_job_list_args){
        .limit = (uint32_t)api_record_find(&api_record_job_list_args, "limit", NULL)->max,
        .has = before ? API_JOB_LIST_ARGS_HAS_BEFORE : 0,
        .before = before ? *before : 0
    };
    call->request.method = API_METHOD_JOB_LIST;
    call->has_request = true;
    if (before)
        vmms_dbus_call_go(call);
    else
        vmms_dbus_authorize_again(call); /* who may see VMs need not see jobs */
}

static void ask_for_vms(struct vmms_dbus_call *call, const char *after, size_t limit)
{
    call->request.args.vm_list =
        (struct api_vm_list_args){ .after = strdup(after), .limit = (uint32_t)limit };
    call->request.method = API_METHOD_VM_LIST;
    call->has_request = true;
    vmms_dbus_call_go(call);
}

static int collect_vms(struct vmms_dbus_call *call, const struct api_vm_list *list)
{
    char path[VMMS_DBUS_PATH_BYTES];
    int r = 0;

    if (!call->collected) {
        r = sd_bus_message_new_method_return(call->message, &call->collected);
        if (r >= 0)
            r = sd_bus_message_open_container(call->collected, 'a', "{oa{sa{sv}}}");
    }
    for (size_t i = 0; r >= 0 && i < list->n_vms; i++) {
        vmms_dbus_vm_path(list->vms[i].id, path);
        r = put_object(call->collected, path, API_DBUS_VM, &list->vms[i]);
    }
    return r;
}

static int collect_groups(struct vmms_dbus_call *call, const struct api_group_list *list)
{
    char path[VMMS_DBUS_PATH_BYTES];
    int r = 0;

    for (size_t i = 0; r >= 0 && i < list->n_groups; i++) {
        vmms_dbus_group_path(list->groups[i].id, path);
        r = put_object(call->collected, path, API_DBUS_GROUP, &list->groups[i]);
    }
    return r;
}

static void ask_for_groups(struct vmms_dbus_call *call, const char *after)
{
    vmms_dbus_request_groups(call, after, UINT64_MAX);
    vmms_dbus_call_go(call);
}

static int collect_jobs(struct vmms_dbus_call *call, const struct api_job_list *list)
{
    char path[VMMS_DBUS_PATH_BYTES];
    int r = 0;

    for (size_t i = 0; r >= 0 && i < list->n_jobs; i++) {
        vmms_dbus_job_path(list->jobs[i].id, path);
        r = put_object(call->collected, path, API_DBUS_JOB, &list->jobs[i]);
    }
    return r;
}

void vmms_dbus_objects_end(struct vmms_dbus_call *call, int r)
{
    if (r >= 0)
        r = sd_bus_message_close_container(call->collected);
    vmms_dbus_call_answer(call, HV_TAKE_PTR(call->collected), r);
}

static int collect(struct vmms_dbus_call *call, enum api_method method,
                   const union api_result *result)
{
    switch (method) {
    case API_METHOD_JOB_LIST: return collect_jobs(call, &result->job_list);
    case API_METHOD_GROUP_LIST: return collect_groups(call, &result->group_list);
    default: return collect_vms(call, &result->vm_list);
    }
}

/* The next page, of VMs, groups or jobs; it may be answered before this returns. */
static void ask_on(struct vmms_dbus_call *call, enum api_method method,
                   const union api_result *result)
{
    if (method == API_METHOD_VM_LIST && result->vm_list.next)
        ask_for_vms(call, result->vm_list.next, result->vm_list.n_vms);
    else if (method == API_METHOD_VM_LIST)
        ask_for_groups(call, NULL);
    else if (method == API_METHOD_GROUP_LIST && result->group_list.next)
        ask_for_groups(call, result->group_list.next);
    else if (method == API_METHOD_GROUP_LIST)
        ask_for_jobs(call, NULL);
    else if (result->job_list.has & API_JOB_LIST_HAS_NEXT)
        ask_for_jobs(call, &result->job_list.next);
    else
        vmms_dbus_objects_end(call, 0);
}

static void answer_objects(struct vmms_dbus_call *call, enum api_method method,
                           const union api_result *result)
{
    int r = call->message ? collect(call, method, result) : -ECONNRESET;

    if (r < 0)
        vmms_dbus_objects_end(call, r);
    else
        ask_on(call, method, result);
}

/* Results */

static int answer_method(struct vmms_dbus_call *call, enum api_method method,
                         const union api_result *result, uint64_t fields, sd_bus_message **ret)
{
    int r = sd_bus_message_new_method_return(call->message, ret);
    char job[VMMS_DBUS_PATH_BYTES] = "/";

    if (method == API_METHOD_TX_APPLY) {
        if (result->transaction.has & API_TRANSACTION_HAS_JOB)
            vmms_dbus_job_path(result->transaction.job.id, job);
    } else if (api_methods[method].is_job && result->job_changed.has & API_JOB_CHANGED_HAS_JOB) {
        vmms_dbus_job_path(result->job_changed.job.id, job);
    }
    if (r >= 0 && call->is_text)
        return sd_bus_message_append_basic(*ret, 's', result->plan_document.plan);
    if (r >= 0 && call->is_change)
        r = sd_bus_message_append_basic(*ret, 'o', job);
    return r < 0 ? r : vmms_dbus_put_record(*ret, api_methods[method].result, result, fields);
}

static int answer_property(struct vmms_dbus_call *call, const union api_result *result,
                           sd_bus_message **ret)
{
    int r = sd_bus_message_new_method_return(call->message, ret);

    if (r < 0)
        return r;
    if (call->purpose == VMMS_DBUS_PROPERTIES)
        return vmms_dbus_put_properties(*ret, call->interface, result);
    return vmms_dbus_put_property(*ret, call->interface, call->property, result);
}

static void answer(struct vmms_dbus_call *call, enum api_method method,
                   const union api_result *result, uint64_t fields)
{
    sd_bus_message *message = NULL;
    int r = -ECONNRESET;

    if (call->message && call->purpose == VMMS_DBUS_METHOD)
        r = answer_method(call, method, result, fields, &message);
    else if (call->message && call->purpose == VMMS_DBUS_JSON)
        r = vmms_dbus_put_json(call, method, result, fields, &message);
    else if (call->message && call->purpose == VMMS_DBUS_CONSOLE)
        r = vmms_dbus_put_console(call, method, result, fields, &message);
    else if (call->message && call->purpose == VMMS_DBUS_CHILDREN)
        r = answer_introspection(call, result, &message);
    else if (call->message)
        r = answer_property(call, result, &message);
    vmms_dbus_call_answer(call, message, r);
}

void vmms_dbus_answered(struct vmms_dbus_call *call, enum api_method method,
                        const union api_result *result, uint64_t fields,
                        const struct api_error *error)
{
    if (error) {
        if (call->purpose == VMMS_DBUS_EVENTS)
            call->dbus->is_reading = false;
        vmms_dbus_call_fail(call, api_error_dup(error));
        return;
    }
    switch (call->purpose) {
    case VMMS_DBUS_EVENTS: vmms_dbus_events_read(call, &result->event_list); break;
    case VMMS_DBUS_TELL_ADDED:
    case VMMS_DBUS_TELL_CHANGED:
    case VMMS_DBUS_TELL_RENAMED: vmms_dbus_tell_object(call, result); break;
    case VMMS_DBUS_OBJECTS: answer_objects(call, method, result); break;
    default: answer(call, method, result, fields); break;
    }
}
