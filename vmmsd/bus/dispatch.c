/* SPDX-License-Identifier: Apache-2.0 */
/* From a message to a call of the schema, and the life of a call. All messages to our paths come
 * here, so that one place decides on rights, whatever form the question has. */
#include "vmmsd/bus/bus_priv.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CALLS = 1024 };

#define PROPERTIES_INTERFACE "org.freedesktop.DBus.Properties"

/* The life of a call */

struct vmms_dbus_call *vmms_dbus_call_new(struct vmms_dbus *dbus, sd_bus_message *message,
                                          enum vmms_dbus_purpose purpose)
{
    struct vmms_dbus_call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->dbus = dbus;
    call->purpose = purpose;
    call->stream_fd = -1;
    call->message = message ? sd_bus_message_ref(message) : NULL;
    hv_list_append(&dbus->calls, &call->node);
    dbus->n_calls++;
    return call;
}

void vmms_dbus_call_free(struct vmms_dbus_call *call)
{
    vmms_dbus_peer_done(call);
    hv_list_remove(&call->node);
    call->dbus->n_calls--;
    sd_bus_slot_unref(call->slot);
    sd_bus_message_unref(call->message);
    sd_bus_message_unref(call->collected);
    hv_close(call->stream_fd);
    if (call->has_request)
        api_request_fini(&call->request);
    free(call);
}

struct vmms_dbus_call *vmms_dbus_call_find(const struct vmms_dbus *dbus, uint64_t number)
{
    HV_LIST_FOREACH (node, &dbus->calls) {
        struct vmms_dbus_call *call = HV_LIST_ENTRY(node, struct vmms_dbus_call, node);

        if (call->number == number)
            return call;
    }
    return NULL;
}

void vmms_dbus_call_go(struct vmms_dbus_call *call)
{
    struct vmms_dbus *dbus = call->dbus;
    char actor[sizeof(call->peer->actor)] = "host";

    if (call->peer)
        memcpy(actor, call->peer->actor, sizeof(actor));
    call->is_waiting = false;
    call->number = VMMS_DBUS_CALL | ++dbus->next_call;
    call->has_request = false; /* handed over */
    dbus->config.call(dbus->config.opaque, call->number, &call->request, actor);
}

static void say_error(const struct api_error *error, sd_bus_error *ret)
{
    static const char lack[] = "The service is short of memory; try again.";
    const struct api_error_info *info = api_error_info(error ? error->code : API_E_OUT_OF_MEMORY);
    const char *hint = error && error->data.hint ? error->data.hint : "";
    char name[96];

    (void)snprintf(name, sizeof(name), "org.hvstack.Error.%s", info->name);
    (void)sd_bus_error_setf(ret, name, "%s%s%s", error && error->message ? error->message : lack,
                            *hint ? " " : "", hint);
}

void vmms_dbus_call_fail(struct vmms_dbus_call *call, struct api_error *error)
{
    sd_bus_error said = SD_BUS_ERROR_NULL;

    if (call->purpose == VMMS_DBUS_JSON && call->message && call->dbus->bus && error) {
        sd_bus_message *answer = NULL;
        int r = vmms_dbus_put_json_error(call, error, &answer);

        vmms_dbus_call_answer(call, answer, r);
        api_error_free(error);
        return;
    }
    if (call->collected && call->message && error && error->code == API_E_ACCESS_DENIED) {
        vmms_dbus_objects_end(call, 0); /* without those that the caller may not see */
        api_error_free(error);
        return;
    }
    if (call->message && call->dbus->bus) {
        say_error(error, &said);
        (void)sd_bus_reply_method_error(call->message, &said);
        vmms_bus_update(call->dbus->bus);
        sd_bus_error_free(&said);
    }
    api_error_free(error);
    vmms_dbus_call_free(call);
}

void vmms_dbus_call_answer(struct vmms_dbus_call *call, sd_bus_message *message, int r)
{
    if (call->message && call->dbus->bus) {
        if (r >= 0)
            r = sd_bus_send(NULL, message, NULL);
        if (r < 0)
            (void)sd_bus_reply_method_errorf(call->message, "org.hvstack.Error.TooLarge",
                                             "The answer cannot be put into a message: %s.",
                                             strerror(-r));
        vmms_bus_update(call->dbus->bus);
    }
    sd_bus_message_unref(message);
    vmms_dbus_call_free(call);
}

/* Reading messages */

static void request_vm(struct vmms_dbus_call *call, uint64_t fields)
{
    struct api_vm_get_args *args = &call->request.args.vm_get;

    call->request.method = API_METHOD_VM_GET;
    call->has_request = true;
    args->vm = strdup(call->place.key);
    args->fields = fields;
    args->has = fields == UINT64_MAX ? 0 : API_VM_GET_ARGS_HAS_FIELDS;
}

static void request_group(struct vmms_dbus_call *call, uint64_t fields)
{
    struct api_group_get_args *args = &call->request.args.group_get;

    call->request.method = API_METHOD_GROUP_GET;
    call->has_request = true;
    args->group = strdup(call->place.key);
    args->fields = fields;
    args->has = fields == UINT64_MAX ? 0 : API_GROUP_GET_ARGS_HAS_FIELDS;
}

/* The read that tells an object's fields. */
static void request_object(struct vmms_dbus_call *call, uint64_t fields)
{
    if (call->place.object == API_DBUS_VM) {
        request_vm(call, fields);
        return;
    }
    if (call->place.object == API_DBUS_GROUP) {
        request_group(call, fields);
        return;
    }
    call->request.method = API_METHOD_HOST_GET;
    call->has_request = true;
    if (call->place.object == API_DBUS_JOB) {
        call->request.method = API_METHOD_JOB_GET;
        call->request.args.job_get.job = strtoull(call->place.key, NULL, 10);
    }
}

static void request_jobs(struct vmms_dbus_call *call)
{
    call->request.method = API_METHOD_JOB_LIST;
    call->has_request = true;
    call->request.args.job_list.limit =
        (uint32_t)api_record_find(&api_record_job_list_args, "limit", NULL)->max;
}

static void request_list(struct vmms_dbus_call *call, uint64_t fields)
{
    struct api_vm_list_args *args = &call->request.args.vm_list;

    call->request.method = API_METHOD_VM_LIST;
    call->has_request = true;
    args->limit = (uint32_t)api_record_find(&api_record_vm_list_args, "limit", NULL)->max;
    args->fields = fields;
    args->has = fields == UINT64_MAX ? 0 : API_VM_LIST_ARGS_HAS_FIELDS;
}

void vmms_dbus_request_groups(struct vmms_dbus_call *call, const char *after, uint64_t fields)
{
    struct api_group_list_args *args = &call->request.args.group_list;

    call->request.method = API_METHOD_GROUP_LIST;
    call->has_request = true;
    args->limit = (uint32_t)api_record_find(&api_record_group_list_args, "limit", NULL)->max;
    args->after = after ? strdup(after) : NULL;
    args->fields = fields;
    args->has = fields == UINT64_MAX ? 0 : API_GROUP_LIST_ARGS_HAS_FIELDS;
}

static int refuse(sd_bus_error *error, const char *name, const char *what, const char *value)
{
    return sd_bus_error_setf(error, name, "%s %.100s.", what, value);
}

static int begin_introspection(struct vmms_dbus_call *call)
{
    if (call->place.object == API_DBUS_VM && call->place.is_branch)
        request_list(call, API_VM_HAS_ID);
    else if (call->place.object == API_DBUS_VM)
        request_vm(call, API_VM_HAS_ID);
    else if (call->place.object == API_DBUS_JOB && call->place.is_branch)
        request_jobs(call);
    else if (call->place.object == API_DBUS_JOB)
        request_object(call, UINT64_MAX);
    else if (call->place.object == API_DBUS_GROUP && call->place.is_branch)
        vmms_dbus_request_groups(call, NULL, API_GROUP_HAS_ID);
    else if (call->place.object == API_DBUS_GROUP)
        request_group(call, API_GROUP_HAS_ID);
    return 0;
}

static int find_property(struct vmms_dbus_call *call, const char *name, sd_bus_error *error)
{
    const struct api_dbus_interface *interface = call->interface;

    for (size_t i = 0; interface->record && i < interface->record->n_fields; i++) {
        if (strcmp(interface->properties[i].name, name) == 0) {
            call->property = i;
            return 0;
        }
    }
    return refuse(error, SD_BUS_ERROR_UNKNOWN_PROPERTY, "There is no property", name);
}

/* Get, GetAll and Set have the interface's name first. */
static int begin_properties(struct vmms_dbus_call *call, const char *member, sd_bus_error *error)
{
    bool is_all = strcmp(member, "GetAll") == 0;
    const char *interface, *name = "";
    int r = sd_bus_message_read(call->message, "s", &interface);

    if (r >= 0 && !is_all)
        r = sd_bus_message_read(call->message, "s", &name);
    if (r < 0)
        return refuse(error, SD_BUS_ERROR_INVALID_ARGS, "The arguments are not those of", member);
    call->interface = vmms_dbus_interface(call->place.object, interface);
    if (!call->interface)
        return refuse(error, SD_BUS_ERROR_UNKNOWN_INTERFACE, "The object has no interface",
                      interface);
    call->purpose = is_all ? VMMS_DBUS_PROPERTIES : VMMS_DBUS_PROPERTY;
    r = is_all ? 0 : find_property(call, name, error);
    if (r == 0 && strcmp(member, "Set") == 0)
        r = refuse(error, SD_BUS_ERROR_PROPERTY_READ_ONLY,
                   "Properties are changed by methods, not by setting", name);
    if (r == 0 && call->interface->record)
        request_object(call, is_all ? UINT64_MAX : UINT64_C(1) << call->property);
    return r;
}

static const struct api_dbus_method *find_method(enum api_dbus_object object, const char *interface,
                                                 const char *member)
{
    for (size_t i = 0; i < api_dbus_interface_count; i++) {
        const struct api_dbus_interface *candidate = &api_dbus_interfaces[i];

        if (candidate->object != object || (interface && strcmp(candidate->name, interface) != 0))
            continue;
        for (size_t j = 0; j < candidate->n_methods; j++)
            if (strcmp(candidate->methods[j].member, member) == 0)
                return &candidate->methods[j];
    }
    return NULL;
}

/* return: 1 the call is ready; 0 nobody knows the method; -EINVAL with *reterr; -ENOMEM */
static int begin_method(struct vmms_dbus_call *call, const char *interface, const char *member,
                        struct api_error **reterr)
{
    const struct api_dbus_method *method = find_method(call->place.object, interface, member);
    int r;

    if (!method || call->place.is_branch)
        return 0;
    call->is_change = api_methods[method->method].is_change;
    call->is_text = method->is_text;
    r = vmms_dbus_read_call(call->message, method, &call->place, &call->request, reterr);
    call->has_request = r == 0;
    return r < 0 ? r : 1;
}

/* return: as begin_method; the sd_bus_error where it is not a matter of the schema */
static int begin(struct vmms_dbus_call *call, sd_bus_error *error, struct api_error **reterr)
{
    const char *interface = sd_bus_message_get_interface(call->message);
    const char *member = sd_bus_message_get_member(call->message);
    int r = 0;

    if (interface && strcmp(interface, "org.freedesktop.DBus.Introspectable") == 0 &&
        strcmp(member, "Introspect") == 0) {
        call->purpose = VMMS_DBUS_CHILDREN;
        r = begin_introspection(call);
    } else if (interface && strcmp(interface, PROPERTIES_INTERFACE) == 0 &&
               !call->place.is_branch) {
        r = begin_properties(call, member, error);
    } else if (interface && strcmp(interface, "org.freedesktop.DBus.ObjectManager") == 0 &&
               call->place.object == API_DBUS_ROOT && strcmp(member, "GetManagedObjects") == 0) {
        call->purpose = VMMS_DBUS_OBJECTS;
        request_list(call, UINT64_MAX);
    } else if (vmms_dbus_is_json(call, interface, member)) {
        r = vmms_dbus_read_json(call, reterr);
    } else if (vmms_dbus_is_console(call, interface, member)) {
        r = vmms_dbus_read_console(call, reterr);
    } else {
        return begin_method(call, interface, member, reterr);
    }
    return r < 0 ? r : 1;
}

/* Answers that need nothing of the service: interfaces alone, and interfaces without properties. */
static void answer_at_once(struct vmms_dbus_call *call)
{
    static const union api_result nothing = { 0 };

    vmms_dbus_answered(call, API_METHOD_HOST_PING, &nothing, UINT64_MAX, NULL);
}

int vmms_dbus_dispatch(sd_bus_message *message, void *opaque, sd_bus_error *error)
{
    struct vmms_dbus *dbus = opaque;
    struct vmms_dbus_place place;
    struct api_error *refused = NULL;
    struct vmms_dbus_call *call;
    int r;

    if (!sd_bus_message_is_method_call(message, NULL, NULL))
        return 0;
    if (!vmms_dbus_place_read(sd_bus_message_get_path(message), &place))
        return refuse(error, SD_BUS_ERROR_UNKNOWN_OBJECT, "There is no object",
                      sd_bus_message_get_path(message));
    if (dbus->n_calls >= MAX_CALLS)
        return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                "Too many calls are under way; try again later.");
    call = vmms_dbus_call_new(dbus, message, VMMS_DBUS_METHOD);
    if (!call)
        return -ENOMEM;
    call->place = place;
    r = begin(call, error, &refused);
    if (r <= 0 && !refused) {
        vmms_dbus_call_free(call);
        return r;
    }
    if (refused)
        vmms_dbus_call_fail(call, refused);
    else if (call->has_request)
        vmms_dbus_authorize(call);
    else
        answer_at_once(call);
    return 1;
}
