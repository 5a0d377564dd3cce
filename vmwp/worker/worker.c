/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/worker_priv.h"

#include "hvcore/base/clock.h"
#include "vmwp/con/con.h"
#include "vmwp/state/state.h"
#include "vmwp/worker/bus.h"
#include "vmwp/worker/services.h"
#include "vmwp/worker/storage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Keep the first event of this round and get the VPs out of the guest. Any VP thread. */
static void take_event(struct wp_worker *worker, const struct guest_event *event)
{
    bool is_first;

    pthread_mutex_lock(&worker->event_lock);
    is_first = worker->event.cause == WP_CAUSE_NONE;
    if (is_first)
        worker->event = *event;
    pthread_mutex_unlock(&worker->event_lock);
    if (!is_first)
        return;
    wp_vps_halt(worker->vps);
    wp_post(worker->config.loop, &worker->task);
}

/* The first crash that isn't told yet counts. A VP's thread. */
static void on_crash(void *opaque, unsigned vp, const struct hv_crash *crash)
{
    struct wp_worker *worker = opaque;

    (void)vp;
    pthread_mutex_lock(&worker->event_lock);
    if (!worker->has_crash)
        worker->crash = *crash;
    worker->has_crash = true;
    pthread_mutex_unlock(&worker->event_lock);
    wp_post(worker->config.loop, &worker->crash_task);
}

static void run_crash(void *opaque)
{
    struct wp_worker *worker = opaque;
    struct hv_crash crash;
    bool has_crash;

    pthread_mutex_lock(&worker->event_lock);
    has_crash = worker->has_crash;
    crash = worker->crash;
    worker->has_crash = false;
    pthread_mutex_unlock(&worker->event_lock);
    if (has_crash && worker->config.crashed)
        worker->config.crashed(worker->config.opaque, &crash);
}

static bool has_event(struct wp_worker *worker)
{
    bool has;

    pthread_mutex_lock(&worker->event_lock);
    has = worker->event.cause != WP_CAUSE_NONE;
    pthread_mutex_unlock(&worker->event_lock);
    return has;
}

static void on_machine_event(void *opaque, enum wp_machine_event event, uint32_t status)
{
    static const enum wp_cause cause_of[] = {
        [WP_MACHINE_POWER_OFF] = WP_CAUSE_GUEST_POWER_OFF,
        [WP_MACHINE_RESET] = WP_CAUSE_GUEST_RESET,
        [WP_MACHINE_DEBUG_EXIT] = WP_CAUSE_DEBUG_EXIT,
    };

    take_event(opaque, &(struct guest_event){ .cause = cause_of[event], .exit_status = status });
}

static void on_vp_exit(void *opaque, unsigned vp_index, const struct hv_exit *exit)
{
    struct guest_event event = { .cause = WP_CAUSE_TRIPLE_FAULT, .rip = exit->rip };

    if (exit->kind != HV_EXIT_SHUTDOWN) {
        event.cause = WP_CAUSE_INTERNAL_ERROR;
        (void)snprintf(event.message, sizeof(event.message), "VP %u at 0x%" PRIx64 ": %.100s",
                       vp_index, exit->rip, exit->text);
    }
    take_event(opaque, &event);
}

void wp_worker_tell(struct wp_worker *worker)
{
    const struct wp_story *story = &worker->story;
    struct wp_words words = {
        .incarnation = worker->definition->incarnation,
        .state = wp_phase_name(story->phase),
        .cause = wp_cause_name(story->cause),
        .message = story->message,
        .exit_status = story->exit_status,
        .time_ns = hv_clock_realtime_ns(),
    };
    int r;

    r = wp_words_write(&worker->words, &words);
    if (r < 0)
        hv_log_printf(&worker->config.log, HV_LOG_WARNING, NULL,
                      "The status file cannot be written: %s.", strerror(-r));
    hv_log_printf(&worker->config.log, HV_LOG_INFO, NULL, "The VM is %s%s%s%s%s.", words.state,
                  story->cause == WP_CAUSE_NONE || words.cause[0] == 0 ? "" : ", by ", words.cause,
                  story->message[0] ? ": " : "", story->message);
    if (worker->config.told)
        worker->config.told(worker->config.opaque, story);
}

void wp_worker_enter(struct wp_worker *worker, enum wp_phase phase, enum wp_cause cause)
{
    worker->story = (struct wp_story){ .phase = phase, .cause = cause };
}

static void fail(struct wp_worker *worker, const char *message)
{
    wp_worker_enter(worker, WP_PHASE_STOPPED, WP_CAUSE_INTERNAL_ERROR);
    (void)snprintf(worker->story.message, sizeof(worker->story.message), "%s", message);
    wp_worker_tell(worker);
}

void wp_worker_run_vps(struct wp_worker *worker)
{
    worker->event = (struct guest_event){ 0 }; /* all VPs are parked */
    wp_storage_resume(worker->storage);
    wp_machine_resume_time(worker->machine);
    wp_services_resume(worker->services);
    wp_vps_run(worker->vps);
}

static void stop_vps(struct wp_worker *worker)
{
    wp_vps_stop(worker->vps);
    wp_services_pause(worker->services);
    wp_storage_pause(worker->storage);
    wp_machine_pause_time(worker->machine);
}

/* The VPs are parked and time stands: start the guest anew. */
static int restart(struct wp_worker *worker, enum wp_cause cause, struct hv_error **reterr)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    int r;

    wp_bus_reset(worker->bus);
    wp_storage_reset(worker->storage);
    wp_services_reset(worker->services);
    r = wp_machine_reset(worker->machine, &error);
    if (r < 0) {
        char message[160];

        (void)snprintf(message, sizeof(message), "The guest cannot be started anew. %.110s",
                       hv_error_message(error, r));
        fail(worker, message);
        return hv_error_set(reterr, r, error ? error->code : "vm.reset", "%s", message);
    }
    wp_worker_enter(worker, WP_PHASE_RUNNING, cause);
    wp_worker_run_vps(worker);
    return 0;
}

static bool restarts(const struct wp_worker *worker, enum wp_cause cause)
{
    if (cause == WP_CAUSE_GUEST_RESET)
        return worker->definition->on_reset == WP_ON_END_RESET;
    if (cause == WP_CAUSE_TRIPLE_FAULT)
        return worker->definition->on_triple_fault == WP_ON_END_RESET;
    return false;
}

/* Act on what the guest came to, with VPs parked and time standing. */
static void settle_event(struct wp_worker *worker)
{
    struct guest_event event = worker->event; /* VPs are parked: nobody writes it */
    enum wp_phase next;

    worker->event = (struct guest_event){ 0 };
    if (!wp_phase_next(worker->story.phase, event.cause, restarts(worker, event.cause), &next))
        return;
    if (next == WP_PHASE_RUNNING) {
        if (restart(worker, event.cause, NULL) < 0)
            return;
    } else {
        wp_worker_enter(worker, next, event.cause);
    }
    worker->story.exit_status = event.exit_status;
    worker->story.rip = event.rip;
    memcpy(worker->story.message, event.message, sizeof(event.message));
    wp_worker_tell(worker);
}

static void on_event(void *opaque)
{
    struct wp_worker *worker = opaque;

    if (worker->story.phase != WP_PHASE_RUNNING || !has_event(worker))
        return;
    stop_vps(worker);
    settle_event(worker);
}

void wp_worker_quiesce(struct wp_worker *worker)
{
    while (worker->story.phase == WP_PHASE_RUNNING) {
        stop_vps(worker);
        if (!has_event(worker))
            return;
        settle_event(worker);
    }
}

int wp_worker_request(struct wp_worker *worker, enum wp_cause request, struct hv_error **reterr)
{
    enum wp_phase next;

    wp_assert_io(worker->config.loop);
    if (!wp_phase_next(worker->story.phase, request, false, &next) ||
        (request == WP_CAUSE_RESUME && worker->critical_ns))
        return WP_E_NOT_NOW;
    worker->save = wp_save_free(worker->save);
    wp_worker_quiesce(worker);
    worker->is_paused_by_storage = false;
    if (request == WP_CAUSE_TURN_OFF && worker->story.phase == WP_PHASE_STOPPED)
        return 0; /* the guest was faster */
    if (!wp_phase_next(worker->story.phase, request, false, &next))
        return WP_E_NOT_NOW;
    if (request == WP_CAUSE_RESET) {
        int r;

        r = restart(worker, request, reterr);
        if (r < 0)
            return r;
    } else {
        wp_worker_enter(worker, next, request);
        if (next == WP_PHASE_RUNNING)
            wp_worker_run_vps(worker);
    }
    if (request == WP_CAUSE_STORAGE_CRITICAL)
        memcpy(worker->story.message, worker->critical_message, sizeof(worker->story.message));
    wp_worker_tell(worker);
    return 0;
}

/* The VPs stop while their requests wait, for guests give up after a time of their own. */
static void storage_critical(void *opaque, bool is_critical, const char *message)
{
    struct wp_worker *worker = opaque;
    bool was_paused = worker->is_paused_by_storage;

    worker->critical_ns = is_critical ? hv_clock_monotonic_ns() : 0;
    (void)snprintf(worker->critical_message, sizeof(worker->critical_message), "%s", message);
    hv_log_printf(&worker->config.log, HV_LOG_WARNING, NULL, "%s",
                  is_critical ? message : "The storage is good again.");
    if (worker->config.critical)
        worker->config.critical(worker->config.opaque);
    if (is_critical)
        worker->is_paused_by_storage =
            wp_worker_request(worker, WP_CAUSE_STORAGE_CRITICAL, NULL) == 0;
    else if (was_paused)
        (void)wp_worker_request(worker, WP_CAUSE_STORAGE_CURED, NULL);
}

const char *wp_worker_critical(const struct wp_worker *worker, uint64_t *ret_age_ms)
{
    if (!worker->critical_ns)
        return NULL;
    *ret_age_ms = (hv_clock_monotonic_ns() - worker->critical_ns) / HV_NS_PER_MS;
    return worker->critical_message;
}

static void choose_backend(struct wp_worker *worker)
{
    const struct wp_definition *definition = worker->definition;
    struct hv_host_info host;

    worker->backend = definition->backend;
    if (definition->backend != HV_BACKEND_AUTO) {
        (void)snprintf(worker->backend_reason, sizeof(worker->backend_reason),
                       "The definition asks for it.");
        return;
    }
    if (definition->kvm_fd < 0) {
        worker->backend = HV_BACKEND_SOFT;
        (void)snprintf(worker->backend_reason, sizeof(worker->backend_reason),
                       "The worker was given no /dev/kvm.");
        return;
    }
    hv_host_probe(definition->kvm_fd, &host);
    worker->backend = host.chosen;
    memcpy(worker->backend_reason, host.reason, sizeof(worker->backend_reason));
}

static int make_machine(struct wp_worker *worker, struct hv_error **reterr)
{
    const struct wp_definition *definition = worker->definition;
    struct wp_machine_config config = {
        .backend = worker->backend,
        .kvm_fd = definition->kvm_fd,
        .n_vps = definition->cpu_count,
        .ram_bytes = definition->memory_bytes,
        .tsc = worker->config.tsc,
        .kernel_fd = definition->kernel_fd,
        .initrd_fd = definition->initrd_fd,
        .cmdline = definition->cmdline,
        .debug_exit_port = definition->debug_exit_port,
        .image = worker->config.image,
        .event = on_machine_event,
        .opaque = worker,
        .log = worker->config.log,
    };

    if (definition->kernel_fd < 0)
        return hv_error_set_field(reterr, -EINVAL, "boot.kernel.missing", "boot.kernel",
                                  "There is no kernel to start; name one.");
    if (worker->backend == HV_BACKEND_KVM && definition->kvm_fd < 0)
        return hv_error_set_field(reterr, -ENODEV, "vm.backend.kvm", "backend",
                                  "The worker was given no /dev/kvm; take backend auto or soft.");
    return wp_machine_new(&config, &worker->machine, reterr);
}

static void changed(void *opaque, enum ic_service service)
{
    struct wp_worker *worker = opaque;

    if (worker->config.guest_changed)
        worker->config.guest_changed(worker->config.opaque, service);
}

static void name_host(struct wp_worker *worker)
{
    const struct wp_definition *definition = worker->definition;
    const struct ic_kvp_pair pairs[N_HOST_PAIRS] = {
        { (char *)"HostName", worker->host_name },
        { (char *)"PhysicalHostName", worker->host_name },
        { (char *)"VirtualMachineName", (char *)definition->name },
        { (char *)"VirtualMachineId", (char *)definition->vm_id },
    };

    if (gethostname(worker->host_name, sizeof(worker->host_name) - 1) < 0)
        worker->host_name[0] = '\0';
    memcpy(worker->host_pairs, pairs, sizeof(pairs));
}

unsigned wp_worker_wanted_services(const struct wp_service_choice *choice)
{
    return IC_SERVICE_BIT(IC_SERVICE_KEYBOARD) |
           (choice->heartbeat ? IC_SERVICE_BIT(IC_SERVICE_HEARTBEAT) : 0) |
           (choice->shutdown ? IC_SERVICE_BIT(IC_SERVICE_SHUTDOWN) : 0) |
           (choice->time_sync ? IC_SERVICE_BIT(IC_SERVICE_TIMESYNC) : 0) |
           (choice->kvp ? IC_SERVICE_BIT(IC_SERVICE_KVP) : 0) |
           (choice->vss ? IC_SERVICE_BIT(IC_SERVICE_VSS) : 0) |
           (choice->guest_services ? IC_SERVICE_BIT(IC_SERVICE_FILECOPY) : 0);
}

static int make_services(struct wp_worker *worker, struct hv_error **reterr)
{
    const struct wp_services_config config = {
        .loop = worker->config.loop,
        .partition = wp_machine_partition(worker->machine),
        .server = wp_bus_server(worker->bus),
        .log = worker->config.log,
        .enabled = worker->config.image ? worker->saved_services
                                        : wp_worker_wanted_services(&worker->definition->services),
        .has_time_samples = worker->definition->services.time_sync,
        .host_pairs = worker->host_pairs,
        .n_host_pairs = N_HOST_PAIRS,
        .changed = changed,
        .opaque = worker,
    };

    name_host(worker);
    return wp_services_new(&config, &worker->services, reterr);
}

static void disk_failed(void *opaque, const char *id, const char *message)
{
    struct wp_worker *worker = opaque;

    if (worker->config.device_failed)
        worker->config.device_failed(worker->config.opaque, id, message);
}

static int make_storage(struct wp_worker *worker, struct hv_error **reterr)
{
    const struct wp_storage_config config = {
        .loop = worker->config.loop,
        .partition = wp_machine_partition(worker->machine),
        .server = wp_bus_server(worker->bus),
        .definition = worker->definition,
        .log = worker->config.log,
        .failed = disk_failed,
        .critical = storage_critical,
        .opaque = worker,
    };
    int r = wp_storage_new(&config, &worker->storage, reterr);

    if (r == 0)
        wp_storage_pause(worker->storage);
    return r;
}

/* VPs have not run: devices are made as if paused, and resumed with the first run. */
static int make_devices(struct wp_worker *worker, struct hv_error **reterr)
{
    struct hv_partition *partition = wp_machine_partition(worker->machine);
    int r;

    hv_partition_watch_crash(partition, on_crash, worker);
    r = wp_bus_new(worker->config.loop, partition, &worker->config.log, &worker->bus, reterr);
    r = r < 0 ? r : make_storage(worker, reterr);
    r = r < 0 ? r : make_services(worker, reterr);
    return r < 0 || !worker->config.image ? r : wp_worker_restore_devices(worker, reterr);
}

static int make(struct wp_worker *worker, struct hv_error **reterr)
{
    int r;

    choose_backend(worker);
    if (worker->config.image && !wp_services_saved(worker->config.image, &worker->saved_services))
        return hv_error_set(reterr, -EINVAL, "vm.saved_state.services",
                            "The saved state doesn't tell which services the guest had.");
    r = make_machine(worker, reterr);
    if (r < 0)
        return r;
    r = make_devices(worker, reterr);
    if (r < 0)
        return r;
    return wp_vps_new(wp_machine_partition(worker->machine), on_vp_exit, worker, &worker->vps,
                      reterr);
}

int wp_worker_new(const struct wp_worker_config *config, struct wp_worker **ret,
                  struct hv_error **reterr)
{
    struct wp_worker *worker;
    int r;

    worker = calloc(1, sizeof(*worker));
    if (!worker)
        return -ENOMEM;
    worker->config = *config;
    worker->definition = config->definition;
    worker->made_ns = hv_clock_monotonic_ns();
    pthread_mutex_init(&worker->event_lock, NULL);
    wp_task_init(&worker->task, on_event, worker);
    wp_task_init(&worker->crash_task, run_crash, worker);
    wp_words_open(&worker->words, config->words_fd);
    r = make(worker, reterr);
    if (r < 0) {
        (void)wp_worker_free(worker);
        return r;
    }
    wp_worker_enter(worker, WP_PHASE_READY, WP_CAUSE_LOADED);
    wp_worker_tell(worker);
    *ret = worker;
    return 0;
}

struct wp_worker *wp_worker_free(struct wp_worker *worker)
{
    if (!worker)
        return NULL;
    worker->save = wp_save_free(worker->save);
    worker->vps = wp_vps_free(worker->vps);
    wp_task_withdraw(worker->config.loop, &worker->task);
    wp_task_withdraw(worker->config.loop, &worker->crash_task);
    worker->services = wp_services_free(worker->services);
    worker->bus = wp_bus_free(worker->bus);
    worker->storage = wp_storage_free(worker->storage);
    worker->machine = wp_machine_free(worker->machine);
    pthread_mutex_destroy(&worker->event_lock);
    free(worker);
    return NULL;
}

const struct wp_story *wp_worker_story(const struct wp_worker *worker)
{
    return &worker->story;
}

enum hv_backend wp_worker_backend(const struct wp_worker *worker)
{
    return worker->backend;
}

const char *wp_worker_backend_reason(const struct wp_worker *worker)
{
    return worker->backend_reason;
}

uint64_t wp_worker_uptime_ms(const struct wp_worker *worker)
{
    return (hv_clock_monotonic_ns() - worker->made_ns) / HV_NS_PER_MS;
}

static void add_counters(struct hv_vp_counters *sum, const struct hv_vp_counters *one)
{
    sum->exits += one->exits;
    sum->port_ios += one->port_ios;
    sum->mmios += one->mmios;
    sum->interrupts += one->interrupts;
    sum->halts += one->halts;
}

void wp_worker_get_stats(struct wp_worker *worker, struct wp_worker_stats *ret)
{
    struct hv_partition *partition = wp_machine_partition(worker->machine);

    *ret = (struct wp_worker_stats){ .vcpu_time_ns = wp_vps_cpu_time_ns(worker->vps),
                                     .ram_bytes = worker->definition->memory_bytes };
    for (unsigned i = 0; i < hv_partition_n_vps(partition); i++) {
        struct hv_vp_counters counters;

        hv_vp_get_counters(hv_partition_vp(partition, i), &counters);
        add_counters(&ret->vps, &counters);
    }
    for (unsigned i = 0; i < WP_MACHINE_N_COM; i++) {
        uint64_t start;

        con_range(wp_machine_console(worker->machine, i + 1), &start, &ret->console_bytes[i]);
    }
    wp_storage_get_stats(worker->storage, &ret->disks);
}

struct ic_services *wp_worker_services(struct wp_worker *worker)
{
    return wp_services_ic(worker->services);
}

struct wp_storage *wp_worker_storage(struct wp_worker *worker)
{
    return worker->storage;
}

struct wp_machine *wp_worker_machine(struct wp_worker *worker)
{
    return worker->machine;
}

void wp_worker_note_failed_start(int words_fd, const char *incarnation, int r,
                                 const struct hv_error *error)
{
    struct wp_words_file file;
    struct wp_words words = {
        .incarnation = incarnation,
        .state = wp_phase_name(WP_PHASE_STOPPED),
        .cause = wp_cause_name(WP_CAUSE_INTERNAL_ERROR),
        .message = hv_error_message(error, r),
        .code = error ? error->code : "vm.start",
        .field = error ? error->field : NULL,
        .time_ns = hv_clock_realtime_ns(),
    };

    wp_words_open(&file, words_fd);
    (void)wp_words_write(&file, &words);
}
