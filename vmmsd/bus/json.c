/* SPDX-License-Identifier: Apache-2.0 */
/* Manager.CallJson: any call of the schema as the other transport has it, for programs that speak
 * one form over both, as hvadm does. Rights and checks are those of the call that it names. */
#include "vmmsd/bus/bus_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <string.h>

bool vmms_dbus_is_json(const struct vmms_dbus_call *call, const char *interface, const char *member)
{
    return call->place.object == API_DBUS_ROOT && !call->place.is_branch &&
           strcmp(member, "CallJson") == 0 &&
           (!interface || strcmp(interface, API_DBUS_PREFIX "Manager") == 0);
}

/* Those who decide are told which VM it is about, as if its own object had been called. */
static void find_place(struct vmms_dbus_call *call)
{
    const struct vmms_dbus_config *config = &call->dbus->config;
    const struct api_field *field =
        api_record_find(api_methods[call->request.method].args, "vm", NULL);
    const char *ref = NULL, *id;

    if (field && field->kind == API_KIND_TEXT)
        memcpy(&ref, (const char *)&call->request.args + field->offset, sizeof(ref));
    id = ref && config->vm_id ? config->vm_id(config->opaque, ref) : NULL;
    if (!id || strlen(id) >= sizeof(call->place.key))
        return;
    call->place.object = API_DBUS_VM;
    memcpy(call->place.key, id, strlen(id) + 1);
}

int vmms_dbus_read_json(struct vmms_dbus_call *call, struct api_error **reterr)
{
    const char *method, *params;
    int r;

    if (!sd_bus_message_has_signature(call->message, "ss"))
        return api_error_set(reterr, API_E_INCORRECT_DATA_TYPE, "api.dbus.signature", NULL,
                             "CallJson takes a method's name and its arguments as JSON (ss).");
    call->purpose = VMMS_DBUS_JSON; /* errors are answers, too, from here on */
    r = sd_bus_message_read(call->message, "ss", &method, &params);
    r = r < 0 ? r : vmms_dbus_read_text(params, strlen(params), method, &call->request, reterr);
    if (r < 0)
        return r;
    call->has_request = true;
    if (api_methods[call->request.method].is_stream)
        return api_error_set(reterr, API_E_NOT_SUPPORTED, "api.stream", NULL,
                             "%s is a stream, which CallJson has not: events are signals here, and "
                             "a console is opened by Console.Open.",
                             method);
    find_place(call);
    return 0;
}

static int reply(struct vmms_dbus_call *call, struct json_writer *out, sd_bus_message **ret)
{
    hv_autofree char *text = NULL;
    int r = json_writer_take(out, &text, NULL);

    r = r < 0 ? r : sd_bus_message_new_method_return(call->message, ret);
    return r < 0 ? r : sd_bus_message_append_basic(*ret, 's', text);
}

int vmms_dbus_put_json(struct vmms_dbus_call *call, enum api_method method,
                       const union api_result *result, uint64_t fields, sd_bus_message **ret)
{
    struct json_writer out = { 0 };

    rpc_put_result(&out, "1", method, result, fields);
    return reply(call, &out, ret);
}

int vmms_dbus_put_json_error(struct vmms_dbus_call *call, const struct api_error *error,
                             sd_bus_message **ret)
{
    struct json_writer out = { 0 };

    rpc_put_error(&out, "1", error);
    return reply(call, &out, ret);
}
