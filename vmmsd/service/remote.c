/* SPDX-License-Identifier: Apache-2.0 */
/* Remote identities joined with store, rim and core. */
#include "vmmsd/service/service_priv.h"

#include "hvcore/base/clock.h"

#include <string.h>

static void put(void *opaque, uint64_t token, const struct vmms_identity *identity,
                struct api_event *event)
{
    struct vmms_service *service = opaque;

    vmms_store_put_identity(service->store, token, identity, event);
}

static void reply(void *opaque, uint64_t call, enum api_method method,
                  const union api_result *result, struct api_error *error)
{
    struct vmms_service *service = opaque;

    if (!service->is_closing)
        vmms_service_reply(service, call, method, error ? NULL : result, UINT64_MAX, error);
    api_error_free(error);
}

static int opened(void *opaque, struct hv_error **reterr)
{
    struct vmms_service *service = opaque;

    return service->rpc ? vmms_rpc_open_tls(service->rpc, reterr) : 0;
}

static int load(void *opaque, const struct vmms_identity *identity)
{
    return vmms_remote_load(opaque, identity);
}

/* Certificates that cannot be used keep remote clients out, not the service from starting. */
static void read_certificates(struct vmms_service *service)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    int r = vmms_remote_reload(service->remote, &error);

    if (r < 0 && r != -ENOENT)
        hv_log_printf(service->config.log, HV_LOG_ERROR, NULL, "%s", hv_error_message(error, r));
}

int vmms_service_open_remote(struct vmms_service *service, struct hv_error **reterr)
{
    const struct vmms_remote_config config = { .state_dir = service->config.state_dir,
                                               .boot_id = service->boot_id,
                                               .listen = service->config.listen,
                                               .n_listen = service->config.n_listen,
                                               .core = service->core,
                                               .log = service->config.log,
                                               .opaque = service,
                                               .put = put,
                                               .reply = reply,
                                               .opened = opened };
    int r = vmms_remote_new(&config, &service->remote);

    if (r == 0)
        r = vmms_store_load_identities(service->store, load, service->remote, reterr);
    if (r == 0)
        read_certificates(service);
    return r;
}

int vmms_service_use_listen(struct vmms_service *service, const char *const *listen,
                            const int *listen_fds, size_t n_listen, struct hv_error **reterr)
{
    int r = service->rpc ? vmms_rpc_listen(service->rpc, listen, n_listen, reterr) : 0;

    if (r < 0)
        return r;
    vmms_remote_listens(service->remote, listen, n_listen);
    service->config.listen = listen;
    service->config.listen_fds = listen_fds;
    service->config.n_listen = n_listen;
    return 0;
}

void vmms_service_reload(struct vmms_service *service)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    int r;

    if (service->is_closing)
        return;
    r = vmms_remote_reload(service->remote, &error);
    if (r == 0)
        hv_log_printf(service->config.log, HV_LOG_INFO, NULL,
                      "The service's certificate was read anew.");
    else if (r != -ENOENT)
        hv_log_printf(service->config.log, HV_LOG_ERROR, NULL,
                      "The certificate that is in use stays: %s", hv_error_message(error, r));
}

void vmms_service_call(void *opaque, uint64_t call, struct api_request *request, const char *actor)
{
    struct vmms_service *service = opaque;
    struct vmms_peer *peer = call & VMMS_DBUS_CALL ? NULL : vmms_rpc_peer(service->rpc, call);

    vmms_metrics_begin(service->metrics, call, hv_clock_monotonic_ns());
    if (vmms_remote_knows(request->method))
        vmms_remote_call(service->remote, call, request, actor, peer);
    else if (request->method == API_METHOD_VM_SUMMARIES)
        vmms_serve_summaries(service, call, vmms_peer_scope(peer));
    else
        vmms_core_call_within(service->core, call, request, actor, vmms_peer_scope(peer));
    vmms_service_drain(service);
}

void vmms_service_took_identity(struct vmms_service *service, struct vmms_stored *stored)
{
    vmms_service_know_events(service, stored);
    vmms_remote_stored(service->remote, stored->token, HV_TAKE_PTR(stored->error));
    vmms_events_wake(service);
    vmms_dbus_wake(service->dbus, service->last_event);
}

/* That a VM comes into a group is told to who sees the group, and not by seeing the VM alone. */
static bool is_seen(const struct vmms_core *core, const struct vmms_scope *scope,
                    const struct api_event *event)
{
    bool is_of_group = strncmp(event->type, "group.", strlen("group.")) == 0;

    return vmms_scope_has(core, scope, is_of_group ? event->object : event->vm);
}

/* Numbers stay as they are: what is left out leaves gaps for who may not see it. */
void vmms_sift_events(const struct vmms_service *service, const struct vmms_scope *scope,
                      struct api_event_list *events)
{
    size_t kept = 0;

    for (size_t i = 0; scope && i < events->n_events; i++) {
        if (is_seen(service->core, scope, &events->events[i]))
            events->events[kept++] = events->events[i];
        else
            api_event_fini(&events->events[i]);
    }
    if (scope)
        events->n_events = kept;
}
