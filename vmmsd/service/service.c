/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/service/service_priv.h"

#include "hvcore/base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { ADOPTION_MS = 2500 };

/* What the core takes from outside */

static uint64_t env_realtime(void *opaque)
{
    return hv_clock_realtime_ns();
}

static uint64_t env_monotonic(void *opaque)
{
    return hv_clock_monotonic_ns();
}

static void env_random(void *opaque, void *ret, size_t length)
{
    hv_assert(getrandom(ret, length, 0) == (ssize_t)length);
}

/* Effects */

void vmms_service_reply(struct vmms_service *service, uint64_t call, enum api_method method,
                        const union api_result *result, uint64_t fields,
                        const struct api_error *error)
{
    if (call != VMMS_HOST_END_CALL)
        vmms_metrics_end(service->metrics, call, method, error ? error->code : API_E_NONE,
                         hv_clock_monotonic_ns());
    if (call == VMMS_HOST_END_CALL)
        vmms_host_end_answered(service);
    else if (call & VMMS_DBUS_CALL)
        vmms_dbus_reply(service->dbus, call, method, result, fields, error);
    else
        vmms_rpc_reply(service->rpc, call, method, result, fields, error);
}

void vmms_service_reply_error(struct vmms_service *service, uint64_t call, enum api_method method,
                              struct api_error *error)
{
    vmms_service_reply(service, call, method, NULL, 0, error);
    api_error_free(error);
}

static void carry_out(struct vmms_service *service, struct vmms_effect *effect)
{
    switch (effect->kind) {
    case VMMS_EFFECT_REPLY:
        vmms_service_reply(service, effect->call, effect->method, &effect->result, effect->fields,
                           effect->error);
        break;
    case VMMS_EFFECT_COMMIT: vmms_store_commit(service->store, HV_TAKE_PTR(effect->change)); break;
    case VMMS_EFFECT_CHECK_FILES: vmms_check_files(service, effect); return;
    case VMMS_EFFECT_SERVE: vmms_serve(service, effect); break;
    case VMMS_EFFECT_SPAWN: vmms_spawner_spawn(service->spawner, &effect->row); break;
    case VMMS_EFFECT_ADOPT: vmms_spawner_adopt(service->spawner, &effect->row); break;
    case VMMS_EFFECT_ASK_WORKER: vmms_spawner_ask(service->spawner, effect); break;
    case VMMS_EFFECT_KILL_WORKER: vmms_spawner_kill(service->spawner, &effect->row); break;
    case VMMS_EFFECT_REMOVE_FILES: vmms_remove_vm_files(service, effect->row.id); break;
    case VMMS_EFFECT_REMOVE_SAVED: vmms_remove_saved(service, effect->row.id); break;
    case VMMS_EFFECT_RUN_JOB:
    case VMMS_EFFECT_CANCEL_JOB:
    case VMMS_EFFECT_FINISH_JOB:
    case VMMS_EFFECT_UNDO_JOB: vmms_job_effect(service, effect); break;
    case VMMS_EFFECT_WAKE: vmms_wake_later(service, effect); break;
    case VMMS_EFFECT_LOOK_FOR_KVP: vmms_look_for_kvp(service, effect); break;
    case VMMS_EFFECT_TELL_PROGRESS:
        vmms_events_progress(service, effect);
        vmms_dbus_tell_progress(service->dbus, &effect->result.job);
        break;
    case VMMS_EFFECT_LOG:
        hv_log_printf(service->config.log, HV_LOG_WARNING, NULL, "%s", effect->text);
        break;
    }
    vmms_effect_free(effect);
}

/* Carry out what the core wants, and what it wants then. Called after each input to it. */
void vmms_service_drain(struct vmms_service *service)
{
    struct vmms_effect *effect;

    if (service->is_draining || service->is_closing)
        return;
    service->is_draining = true;
    while ((effect = vmms_core_take_effect(service->core)))
        carry_out(service, effect);
    service->is_draining = false;
    vmms_jobs_watch_time(service);
}

/* Inputs */

static void open_further(struct vmms_service *service);

static void fact(void *opaque, const char *vm_id, struct vmms_fact *fact)
{
    struct vmms_service *service = opaque;

    if (service->is_closing) {
        vmms_fact_free(fact);
        return;
    }
    vmms_core_fact(service->core, vm_id, fact);
    vmms_service_drain(service);
    open_further(service);
}

static void worker_greeted(void *opaque, const struct vmms_row *row)
{
    struct vmms_service *service = opaque;

    if (!service->is_closing)
        vmms_consoles_attach(service->consoles, service->spawner, row->id, row->incarnation);
}

static void worker_gone(void *opaque, const char *vm_id)
{
    struct vmms_service *service = opaque;

    if (!service->is_closing)
        vmms_consoles_detach(service->consoles, vm_id);
}

static void probed(void *opaque, struct api_host *host, const char *why)
{
    struct vmms_service *service = opaque;

    if (service->is_closing)
        return;
    if (!host)
        hv_log_printf(service->config.log, HV_LOG_WARNING, NULL, "%s", why);
    vmms_core_host_probed(service->core, host, why);
    vmms_service_drain(service);
}

void vmms_service_know_events(struct vmms_service *service, const struct vmms_stored *stored)
{
    if (!stored->error && stored->last_seq > service->last_event)
        service->last_event = stored->last_seq;
}

static void take_change(struct vmms_service *service, struct vmms_stored *stored)
{
    vmms_service_know_events(service, stored);
    service->n_commits += !stored->error;
    service->event_bytes = stored->event_bytes;
    vmms_core_committed(service->core, stored->change, stored->first_seq,
                        HV_TAKE_PTR(stored->error));
    vmms_service_drain(service);
    vmms_console_check(service);
    open_further(service);
    vmms_events_wake(service);
    vmms_dbus_wake(service->dbus, service->last_event);
}

static void take_events(struct vmms_service *service, struct vmms_stored *stored)
{
    union api_result result;

    if (stored->token & STREAM_TOKEN) {
        vmms_events_arrived(service, stored);
        return;
    }
    if (!(stored->token & VMMS_DBUS_CALL))
        vmms_sift_events(service, vmms_peer_scope(vmms_rpc_peer(service->rpc, stored->token)),
                         &stored->events);
    result = (union api_result){ .event_list = stored->events };
    vmms_service_reply(service, stored->token, API_METHOD_EVENTS_READ, &result, UINT64_MAX,
                       stored->error);
}

static void take_backup(struct vmms_service *service, struct vmms_stored *stored)
{
    union api_result result = { .backup = { .path = stored->path, .bytes = stored->bytes } };

    if (stored->error)
        hv_log_printf(service->config.log, HV_LOG_WARNING, NULL, "%s", stored->error->message);
    if (stored->token)
        vmms_service_reply(service, stored->token, API_METHOD_HOST_BACKUP, &result, UINT64_MAX,
                           stored->error);
}

static void take_stored(uv_async_t *async)
{
    struct vmms_service *service = async->data;
    struct vmms_stored *stored;

    while (!service->is_closing && (stored = vmms_store_take(service->store))) {
        switch (stored->kind) {
        case VMMS_STORED_CHANGE: take_change(service, stored); break;
        case VMMS_STORED_EVENTS: take_events(service, stored); break;
        case VMMS_STORED_IDENTITY: vmms_service_took_identity(service, stored); break;
        case VMMS_STORED_BACKUP: take_backup(service, stored); break;
        case VMMS_STORED_FORGOTTEN: service->event_bytes = stored->event_bytes; break;
        case VMMS_STORED_FATAL:
            service->config.failed(service->config.opaque, stored->error->message);
            break;
        }
        vmms_stored_free(stored);
    }
}

static void notify(void *opaque)
{
    struct vmms_service *service = opaque;

    (void)uv_async_send(&service->stored);
}

static void refused(void *opaque, const struct api_error *error)
{
    struct vmms_service *service = opaque;

    vmms_metrics_refused(service->metrics, error ? error->code : API_E_FAILED);
}

/* Opening */

static const char *vm_name(void *opaque, const char *id)
{
    struct vmms_service *service = opaque;

    return vmms_core_vm_name(service->core, id);
}

static const char *vm_id(void *opaque, const char *ref)
{
    struct vmms_service *service = opaque;

    return vmms_core_vm_id(service->core, ref);
}

static char *vm_groups(void *opaque, const char *id)
{
    struct vmms_service *service = opaque;

    return vmms_core_groups_above(service->core, id);
}

static int open_dbus(struct vmms_service *service, struct hv_error **reterr)
{
    const struct vmms_dbus_config config = { .loop = service->config.loop,
                                             .where = service->config.bus,
                                             .log = service->config.log,
                                             .opaque = service,
                                             .call = vmms_service_call,
                                             .vm_name = vm_name,
                                             .vm_id = vm_id,
                                             .vm_groups = vm_groups };

    if (!config.where)
        return 0;
    return vmms_dbus_new(&config, service->last_event, &service->dbus, reterr);
}

static void listen_to_clients(struct vmms_service *service)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    const struct vmms_rpc_config config = { .loop = service->config.loop,
                                            .socket_path = service->socket_path,
                                            .listen = service->config.listen,
                                            .listen_fds = service->config.listen_fds,
                                            .n_listen = service->config.n_listen,
                                            .socket_fd = service->config.rpc_fd,
                                            .remote = service->remote,
                                            .log = service->config.log,
                                            .opaque = service,
                                            .call = vmms_service_call,
                                            .refused = refused,
                                            .metrics = vmms_serve_metrics };
    int r;

    service->is_listening = true;
    vmms_core_hold(service->core);
    r = vmms_rpc_new(&config, &service->rpc, &error);
    if (r == 0)
        r = open_dbus(service, &error);
    if (r < 0)
        service->config.failed(service->config.opaque, hv_error_message(error, r));
}

static void open_to_clients(struct vmms_service *service)
{
    if (!service->is_listening)
        listen_to_clients(service);
    if (service->is_closing)
        return;
    service->is_open = true;
    (void)uv_timer_stop(&service->adoption);
    vmms_core_opened(service->core);
    vmms_host_end_open(service);
    vmms_service_drain(service);
    vmms_spawner_probe(service->spawner, probed, service);
    service->config.ready(service->config.opaque);
}

/* Rule 5.8 (g): first, when every worker's process is seen, clients may read what is stored; when
 * all workers have been heard of, they may do everything. */
static void open_further(struct vmms_service *service)
{
    if (!service->is_begun || service->is_open || service->is_closing)
        return;
    if (!vmms_core_is_adopting(service->core))
        open_to_clients(service);
    else if (!service->is_listening && !vmms_core_is_looking(service->core))
        listen_to_clients(service);
}

/* Workers that have not answered by now are looked for on and on, behind the clients' back. */
static void adoption_over(uv_timer_t *timer)
{
    struct vmms_service *service = timer->data;

    if (!service->is_open)
        open_to_clients(service);
}

/* From inside the loop, which what goes wrong with it ends. */
static void begun(uv_timer_t *timer)
{
    struct vmms_service *service = timer->data;

    service->is_begun = true;
    (void)uv_timer_start(timer, adoption_over, ADOPTION_MS, 0);
    open_further(service);
}

static int load_row(void *opaque, struct vmms_row *row)
{
    struct vmms_service *service = opaque;

    return vmms_core_load(service->core, row);
}

static int load_job(void *opaque, struct vmms_job_row *row)
{
    struct vmms_service *service = opaque;

    return vmms_core_load_job(service->core, row);
}

static int load_key(void *opaque, struct vmms_key_row *row)
{
    struct vmms_service *service = opaque;

    return vmms_core_load_key(service->core, row);
}

static int load_group(void *opaque, struct vmms_group_row *row)
{
    struct vmms_service *service = opaque;

    return vmms_core_load_group(service->core, row);
}

static int load_member(void *opaque, const char *group, const char *member)
{
    struct vmms_service *service = opaque;

    return vmms_core_load_member(service->core, group, member);
}

static void load_removal(void *opaque, const char *vm_id)
{
    vmms_remove_vm_files(opaque, vm_id);
}

static void read_boot_id(char ret[static HV_GUID_TEXT_BYTES])
{
    hv_autofd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, ret, HV_GUID_TEXT_BYTES - 1) : -1;

    ret[length > 0 ? length : 0] = '\0';
}

static int open_core(struct vmms_service *service, struct hv_error **reterr)
{
    const struct vmms_env env = { .opaque = service,
                                  .realtime_ns = env_realtime,
                                  .monotonic_ns = env_monotonic,
                                  .random = env_random };
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t last_job = 0;
    int r;

    r = vmms_core_new(&env, &service->core);
    if (r < 0)
        return r;
    if (service->config.boot_id)
        (void)snprintf(service->boot_id, sizeof(service->boot_id), "%s", service->config.boot_id);
    else
        read_boot_id(service->boot_id);
    r = vmms_core_set_host(service->core, vmms_store_host_id(service->store), service->boot_id,
                           service->config.version, (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
                           memory);
    if (r < 0)
        return r;
    r = vmms_store_load(service->store, load_row, load_removal, service, reterr);
    if (r == 0)
        r = vmms_store_load_groups(service->store, load_group, load_member, service, reterr);
    if (r == 0)
        r = vmms_store_load_keys(service->store, load_key, service, reterr);
    if (r < 0)
        return r;
    service->last_event = vmms_store_last_event(service->store);
    service->event_bytes = vmms_store_event_bytes(service->store);
    r = vmms_store_load_jobs(service->store, load_job, service, &last_job, reterr);
    if (r < 0)
        return r;
    if (*vmms_store_boot_id(service->store) &&
        strcmp(vmms_store_boot_id(service->store), service->boot_id) != 0)
        vmms_core_booted(service->core);
    vmms_core_loaded(service->core, service->last_event, last_job);
    r = vmms_service_open_remote(service, reterr);
    return r < 0 ? r : vmms_store_run(service->store, reterr);
}

static int open_store(struct vmms_service *service, struct hv_error **reterr)
{
    int r = vmms_store_open(service->config.state_dir, &service->config.limits, notify, service,
                            &service->store, reterr);

    return r < 0 ? r : vmms_store_begin_epoch(service->store, reterr);
}

static int open_spawner(struct vmms_service *service)
{
    const struct vmms_spawner_config config = {
        .loop = service->config.loop,
        .worker_path = service->config.worker_path,
        .state_dir = service->config.state_dir,
        .runtime_dir = service->config.runtime_dir,
        .epoch = vmms_store_epoch(service->store),
        .log = service->config.log,
        .wants_units = service->config.wants_units,
        .opaque = service,
        .fact = fact,
        .greeted = worker_greeted,
        .gone = worker_gone,
    };
    int r = vmms_spawner_new(&config, &service->spawner);

    return r < 0 ? r : vmms_consoles_new(service->config.loop, &service->consoles);
}

static void begin(struct vmms_service *service)
{
    vmms_service_drain(service);
    /* Behind the marks of all that are to be started. */
    if (strcmp(vmms_store_boot_id(service->store), service->boot_id) != 0)
        vmms_store_put_boot(service->store, service->boot_id);
    (void)uv_timer_start(&service->adoption, begun, 0, 0);
}

int vmms_service_new(const struct vmms_service_config *config, struct vmms_service **ret,
                     struct hv_error **reterr)
{
    struct vmms_service *service = calloc(1, sizeof(*service));
    int r;

    if (!service)
        return -ENOMEM;
    service->config = *config;
    service->next_token = STREAM_TOKEN;
    hv_list_init(&service->event_streams);
    hv_list_init(&service->console_streams);
    hv_list_init(&service->wakes);
    hv_list_init(&service->copies);
    (void)uv_async_init(config->loop, &service->stored, take_stored);
    (void)uv_timer_init(config->loop, &service->adoption);
    (void)uv_timer_init(config->loop, &service->ticker);
    service->stored.data = service->adoption.data = service->ticker.data = service;
    service->metrics = vmms_metrics_new();
    r = !service->metrics ||
                asprintf(&service->socket_path, "%s/vmms.sock", config->runtime_dir) < 0
            ? -ENOMEM
            : 0;
    if (r == 0)
        r = open_store(service, reterr);
    if (r == 0)
        r = open_spawner(service);
    if (r == 0)
        r = vmms_jobs_open(service);
    if (r == 0)
        r = open_core(service, reterr);
    *ret = service;
    if (r == 0)
        begin(service);
    return r;
}

void vmms_service_use_units(struct vmms_service *service, bool wants_units)
{
    vmms_spawner_use_units(service->spawner, wants_units);
}

void vmms_service_use_limits(struct vmms_service *service, const struct vmms_store_limits *limits)
{
    vmms_store_use_limits(service->store, limits);
}

/* Closing: calls first, then what they could still have changed. */
void vmms_service_close(struct vmms_service *service)
{
    service->is_closing = true;
    vmms_events_close(service);
    vmms_console_close(service);
    vmms_rpc_close(service->rpc);
    vmms_dbus_close(service->dbus);
    vmms_wakes_close(service);
    vmms_host_end_close(service);
    if (service->spawner)
        vmms_spawner_close(service->spawner);
    if (service->images)
        vmms_images_close(service->images);
    if (service->consoles)
        vmms_consoles_close(service->consoles);
    service->store = vmms_store_close(service->store);
    uv_close((uv_handle_t *)&service->stored, NULL);
    uv_close((uv_handle_t *)&service->adoption, NULL);
    uv_close((uv_handle_t *)&service->ticker, NULL);
}

void vmms_service_free(struct vmms_service *service)
{
    if (!service)
        return;
    vmms_host_end_free(service);
    vmms_spawner_free(service->spawner);
    vmms_images_free(service->images);
    vmms_consoles_free(service->consoles);
    vmms_rpc_free(service->rpc);
    vmms_remote_free(service->remote);
    vmms_core_free(service->core);
    vmms_dbus_free(service->dbus);
    vmms_metrics_free(service->metrics);
    free(service->socket_path);
    free(service);
}
