/* SPDX-License-Identifier: Apache-2.0 */
/* vmmsd: open, join, run, end. */
#include "vmmsd/io/directory.h"
#include "vmmsd/io/logger.h"
#include "vmmsd/io/manager.h"
#include "vmmsd/io/options.h"
#include "vmmsd/io/priority.h"
#include "vmmsd/service/service.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { FILES_MIN = 64 }; /* before the first VM and client */

/* Addresses to listen on, and behind them those of sockets that listen already. */
struct listen_list {
    const char *addresses[VMMS_MAX_LISTEN + VMMS_MAX_SOCKETS];
    int fds[VMMS_MAX_LISTEN + VMMS_MAX_SOCKETS];
    size_t count;
};

struct daemon {
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    struct vmms_watchdog watchdog;
    struct hv_log log;
    int argc;
    char **argv;
    struct vmms_options options;
    struct vmms_sockets sockets;
    struct listen_list *list;
    char status_text[PATH_MAX];
    struct vmms_service *service;
    bool is_ending;
    int status;
};

static void end(struct daemon *daemon, int status)
{
    if (daemon->is_ending)
        return;
    daemon->is_ending = true;
    daemon->status = status;
    vmms_manager_stopping();
    vmms_service_close(daemon->service);
    uv_close((uv_handle_t *)&daemon->term, NULL);
    uv_close((uv_handle_t *)&daemon->interrupt, NULL);
    uv_close((uv_handle_t *)&daemon->hangup, NULL);
    vmms_watchdog_close(&daemon->watchdog);
}

static void signalled(uv_signal_t *signal, int number)
{
    struct daemon *daemon = signal->data;

    hv_log_printf(&daemon->log, HV_LOG_INFO, NULL, "Ending; running VMs run on.");
    end(daemon, 0);
}

static bool is_other(const char *old, const char *new)
{
    return strcmp(old ? old : "", new ? new : "") != 0;
}

static struct listen_list *join_addresses(const struct vmms_options *options,
                                          const struct vmms_sockets *sockets)
{
    struct listen_list *list = calloc(1, sizeof(*list));

    hv_assert(list);
    for (size_t i = 0; i < options->n_listen; i++) {
        list->addresses[list->count] = options->listen[i];
        list->fds[list->count++] = -1;
    }
    for (size_t i = 0; i < sockets->n_tls; i++) {
        list->addresses[list->count] = sockets->addresses[i];
        list->fds[list->count++] = sockets->tls[i];
    }
    return list;
}

/* Other addresses for TLS clients; new's become the daemon's. Where one cannot be had, the old
 * ones stay. */
static void reload_addresses(struct daemon *daemon, struct vmms_options *new)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct listen_list *list = join_addresses(new, &daemon->sockets), *unused = daemon->list;
    int r =
        vmms_service_use_listen(daemon->service, list->addresses, list->fds, list->count, &error);

    if (r < 0) {
        hv_log_printf(&daemon->log, HV_LOG_ERROR, NULL, "The addresses that are in use stay: %s",
                      hv_error_message(error, r));
        unused = list;
    } else {
        daemon->list = list;
        vmms_options_take_listen(&daemon->options, new);
    }
    free(unused);
}

/* What needs a restart, and has changed: each by its name in the file. */
static void say_late(const struct daemon *daemon, const struct vmms_options *new)
{
    const struct vmms_options *old = &daemon->options;
    const struct {
        const char *name;
        bool is_changed;
    } late[] = { { "bus", is_other(old->bus, new->bus) },
                 { "state-dir", is_other(old->state_dir, new->state_dir) },
                 { "runtime-dir", is_other(old->runtime_dir, new->runtime_dir) },
                 { "program", is_other(old->worker, new->worker) } };

    for (size_t i = 0; i < HV_ARRAY_SIZE(late); i++) {
        if (late[i].is_changed)
            hv_log_printf(&daemon->log, HV_LOG_WARNING, NULL,
                          "A new value of \"%s\" holds when the service is next started.",
                          late[i].name);
    }
}

static struct vmms_store_limits limits_of(const struct vmms_options *options)
{
    return (struct vmms_store_limits){ .events = options->events_kept,
                                       .days = options->days_kept,
                                       .bytes = options->bytes_kept };
}

/* The old configuration stays where the new one is wrong. */
static void reload_options(struct daemon *daemon)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct vmms_store_limits limits;
    struct vmms_options options;
    int r = vmms_options_read(daemon->argc, daemon->argv, &options, &error);

    if (r < 0) {
        hv_log_printf(&daemon->log, HV_LOG_ERROR, NULL,
                      "The configuration that is in use stays: %s", hv_error_message(error, r));
        vmms_options_fini(&options);
        return;
    }
    limits = limits_of(&options);
    daemon->log.max_level = options.log_level;
    vmms_service_use_limits(daemon->service, &limits);
    vmms_service_use_units(daemon->service, options.wants_units);
    hv_log_printf(&daemon->log, HV_LOG_INFO, NULL, "The configuration was read anew.");
    reload_addresses(daemon, &options);
    say_late(daemon, &options);
    vmms_options_fini(&options);
}

static void hung_up(uv_signal_t *signal, int number)
{
    struct daemon *daemon = signal->data;

    if (daemon->is_ending)
        return;
    vmms_manager_reloading();
    reload_options(daemon);
    vmms_service_reload(daemon->service);
    vmms_manager_ready(daemon->status_text);
}

static void ready(void *opaque)
{
    struct daemon *daemon = opaque;

    (void)snprintf(daemon->status_text, sizeof(daemon->status_text), "Ready on %s/vmms.sock.",
                   daemon->options.runtime_dir);
    hv_log_printf(&daemon->log, HV_LOG_INFO, NULL, "%s", daemon->status_text);
    vmms_manager_ready(daemon->status_text);
}

static void failed(void *opaque, const char *why)
{
    struct daemon *daemon = opaque;

    hv_log_printf(&daemon->log, HV_LOG_ERROR, NULL, "%s", why);
    end(daemon, 1);
}

static void watch(struct daemon *daemon)
{
    daemon->term.data = daemon->interrupt.data = daemon->hangup.data = daemon;
    (void)uv_signal_init(&daemon->loop, &daemon->term);
    (void)uv_signal_init(&daemon->loop, &daemon->interrupt);
    (void)uv_signal_init(&daemon->loop, &daemon->hangup);
    (void)uv_signal_start(&daemon->term, signalled, SIGTERM);
    (void)uv_signal_start(&daemon->interrupt, signalled, SIGINT);
    (void)uv_signal_start(&daemon->hangup, hung_up, SIGHUP);
    vmms_watchdog_start(&daemon->watchdog, &daemon->loop);
}

static int prepare_process(struct hv_error **reterr)
{
    struct rlimit limit;

    vmms_priority_raise();
    (void)umask(077);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_max < FILES_MIN)
            return hv_error_set(
                reterr, -EMFILE, "host.files",
                "This process may open %llu files; vmmsd needs %d at least, and some "
                "more for each VM and client. Raise LimitNOFILE= of its unit, or "
                "`ulimit -n`.",
                (unsigned long long)limit.rlim_max, FILES_MIN);
    }
    return 0;
}

static int prepare_directories(const struct vmms_options *options, int *ret_lock,
                               struct hv_error **reterr)
{
    int r = vmms_directory_check_sockets(options->runtime_dir, reterr);

    if (r == 0)
        r = vmms_directory_prepare(options->state_dir, reterr);
    if (r == 0)
        r = vmms_directory_prepare(options->runtime_dir, reterr);
    return r < 0 ? r : vmms_directory_lock(options->state_dir, ret_lock, reterr);
}

static int run(struct daemon *daemon, struct hv_error **reterr)
{
    struct listen_list *list = daemon->list = join_addresses(&daemon->options, &daemon->sockets);
    struct vmms_service_config config = { .loop = &daemon->loop,
                                          .state_dir = daemon->options.state_dir,
                                          .runtime_dir = daemon->options.runtime_dir,
                                          .worker_path = daemon->options.worker,
                                          .listen = list->addresses,
                                          .listen_fds = list->fds,
                                          .n_listen = list->count,
                                          .rpc_fd = daemon->sockets.rpc,
                                          .wants_units = daemon->options.wants_units,
                                          .bus = daemon->options.bus,
                                          .boot_id = daemon->options.boot_id,
                                          .limits = limits_of(&daemon->options),
                                          .version = HV_VERSION,
                                          .log = &daemon->log,
                                          .opaque = daemon,
                                          .ready = ready,
                                          .failed = failed };
    int r;

    r = vmms_service_new(&config, &daemon->service, reterr);
    if (r == 0)
        watch(daemon);
    else if (daemon->service)
        vmms_service_close(daemon->service);
    (void)uv_run(&daemon->loop, UV_RUN_DEFAULT);
    vmms_service_free(daemon->service);
    free(daemon->list);
    return r < 0 ? r : daemon->status;
}

/* Instead of serving. */
static int restore(const struct vmms_options *options, struct hv_error **reterr)
{
    hv_autofree char *from = NULL, *aside = NULL;
    int lock = -1, r = vmms_directory_prepare(options->state_dir, reterr);

    if (r == 0)
        r = vmms_directory_lock(options->state_dir, &lock, reterr);
    if (r == 0)
        r = vmms_store_restore(options->state_dir, options->restore, &from, &aside, reterr);
    hv_close(lock);
    if (r < 0)
        return r;
    (void)printf("%s is in place.\n", from);
    if (aside)
        (void)printf("The database that was there is kept as %s.\n", aside);
    return 0;
}

int main(int argc, char **argv)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct daemon daemon = { .argc = argc, .argv = argv };
    int lock = -1, r;

    r = vmms_options_read(argc, argv, &daemon.options, &error);
    if (r < 0)
        (void)fprintf(stderr, "vmmsd: %s See vmmsd --help.\n", hv_error_message(error, r));
    if (r != 0) {
        vmms_options_fini(&daemon.options);
        return r < 0 ? 2 : 0;
    }
    vmms_logger_init(&daemon.log, daemon.options.log_level);
    r = prepare_process(&error);
    if (r < 0 || daemon.options.restore) {
        r = r < 0 ? r : restore(&daemon.options, &error);
        if (r < 0)
            hv_log_printf(&daemon.log, HV_LOG_ERROR, NULL, "%s", hv_error_message(error, r));
        vmms_options_fini(&daemon.options);
        return r ? 1 : 0;
    }
    vmms_sockets_take(&daemon.sockets, &daemon.log);
    r = uv_loop_init(&daemon.loop);
    if (r == 0)
        r = prepare_directories(&daemon.options, &lock, &error);
    if (r == 0)
        r = run(&daemon, &error);
    if (r < 0)
        hv_log_printf(&daemon.log, HV_LOG_ERROR, NULL, "%s", hv_error_message(error, r));
    vmms_options_fini(&daemon.options);
    (void)uv_loop_close(&daemon.loop);
    hv_close(lock);
    return r ? 1 : 0;
}
