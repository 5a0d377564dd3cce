/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/core/identity.h"

#include "api/gen/tables.h"
#include "vmmsd/core/core.h"

#include <string.h>

/* Rights, as the management model's section 1 names them, and the least role that has each. */
static const struct {
    const char *right;
    enum api_remote_role role;
} rights[] = {
    { "host.read", API_REMOTE_ROLE_VIEWER },
    { "vm.read", API_REMOTE_ROLE_VIEWER },
    { "events.read", API_REMOTE_ROLE_VIEWER },
    { "job.read", API_REMOTE_ROLE_VIEWER },
    { "image.read", API_REMOTE_ROLE_VIEWER },
    { "switch.read", API_REMOTE_ROLE_VIEWER },
    { "metrics.read", API_REMOTE_ROLE_VIEWER },
    { "remote.refresh", API_REMOTE_ROLE_VIEWER },
    { "vm.power", API_REMOTE_ROLE_OPERATOR },
    { "vm.console", API_REMOTE_ROLE_OPERATOR },
    { "vm.guest", API_REMOTE_ROLE_OPERATOR },
    { "vm.checkpoint", API_REMOTE_ROLE_OPERATOR },
    { "job.cancel", API_REMOTE_ROLE_OPERATOR },
    { "job.control", API_REMOTE_ROLE_OPERATOR },
    { "tx.apply", API_REMOTE_ROLE_ADMINISTRATOR },
    { "group.configure", API_REMOTE_ROLE_ADMINISTRATOR },
    { "vm.create", API_REMOTE_ROLE_ADMINISTRATOR },
    { "vm.configure", API_REMOTE_ROLE_ADMINISTRATOR },
    { "vm.delete", API_REMOTE_ROLE_ADMINISTRATOR },
    { "vm.export", API_REMOTE_ROLE_ADMINISTRATOR },
    { "image.write", API_REMOTE_ROLE_ADMINISTRATOR },
    { "switch.configure", API_REMOTE_ROLE_ADMINISTRATOR },
    { "host.configure", API_REMOTE_ROLE_ADMINISTRATOR },
    { "remote.read", API_REMOTE_ROLE_ADMINISTRATOR },
    { "remote.configure", API_REMOTE_ROLE_ADMINISTRATOR },
};

/* Methods that name no VM and are yet fit for who sees only some: what they answer is about the
 * host, or about the caller, or it is sifted. */
static const enum api_method sifted[] = { API_METHOD_HOST_PING,     API_METHOD_HOST_HELLO,
                                          API_METHOD_HOST_GET,      API_METHOD_VM_LIST,
                                          API_METHOD_GROUP_LIST,    API_METHOD_GROUP_GET,
                                          API_METHOD_EVENTS_READ,   API_METHOD_EVENTS_SUBSCRIBE,
                                          API_METHOD_REMOTE_REFRESH };

bool vmms_scope_has(const struct vmms_core *core, const struct vmms_scope *scope, const char *id)
{
    if (!scope)
        return true;
    for (size_t i = 0; id && i < scope->count; i++) {
        if (strcmp(scope->ids[i], id) == 0)
            return true;
    }
    return id && vmms_core_is_within(core, id, scope->groups, scope->n_groups);
}

bool vmms_identity_is_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._@-";
    size_t length = strlen(name);

    return length && length < VMMS_IDENTITY_NAME_BYTES && strspn(name, allowed) == length;
}

bool vmms_right_role(const char *right, enum api_remote_role *ret)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(rights); i++) {
        if (strcmp(rights[i].right, right) == 0) {
            *ret = rights[i].role;
            return true;
        }
    }
    return false;
}

/* The service opens any file of the host: who may name one sees, or changes, much more than VMs. */
static bool names_host_files(enum api_method method)
{
    const struct api_record *args = api_methods[method].args;

    for (size_t i = 0; i < args->n_fields; i++) {
        if (args->fields[i].kind == API_KIND_TEXT && args->fields[i].form == API_TEXT_PATH)
            return true;
    }
    return false;
}

int vmms_identity_may(const struct vmms_identity *identity, enum api_method method,
                      struct api_error **reterr)
{
    const char *right = api_methods[method].right;
    enum api_remote_role least;
    bool is_known = vmms_right_role(right, &least);
    int r;

    if (is_known && names_host_files(method))
        least = API_REMOTE_ROLE_ADMINISTRATOR;
    if (is_known && identity->role >= least)
        return 0;
    r = api_error_set(reterr, API_E_ACCESS_DENIED, "remote.role", NULL,
                      "The role of %s is %s, which has not the right %s that %s needs.",
                      identity->name, api_enum_remote_role.values[identity->role], right,
                      api_methods[method].name);
    if (reterr && is_known)
        api_error_hint(*reterr, "It takes %s.", api_enum_remote_role.values[least]);
    return r;
}

static const char *text_argument(const struct api_request *request, const char *name)
{
    const struct api_record *record = api_methods[request->method].args;
    const struct api_field *field = api_record_find(record, name, NULL);
    char *text;

    if (!field || field->kind != API_KIND_TEXT || field->is_list)
        return NULL;
    memcpy(&text, (const char *)&request->args + field->offset, sizeof(text));
    return text;
}

static bool is_sifted(enum api_method method)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(sifted); i++) {
        if (sifted[i] == method)
            return true;
    }
    return false;
}

int vmms_identity_may_see(const struct vmms_identity *identity, const struct vmms_core *core,
                          const struct api_request *request, struct api_error **reterr)
{
    const char *ref = text_argument(request, "vm");

    if (!identity->is_limited || (!ref && is_sifted(request->method)))
        return 0;
    if (ref && vmms_scope_has(core, &identity->scope, vmms_core_vm_id(core, ref)))
        return 0;
    if (ref)
        return api_error_set(reterr, API_E_ACCESS_DENIED, "remote.vm", "vm",
                             "%s is limited to certain VMs; \"%.120s\" is none of them.",
                             identity->name, ref);
    return api_error_set(reterr, API_E_ACCESS_DENIED, "remote.vm", NULL,
                         "%s is limited to certain VMs, and %s concerns more than those.",
                         identity->name, api_methods[request->method].name);
}
