/* SPDX-License-Identifier: Apache-2.0 */
/* vmmsd: open, join, run, end. */
#include "vmmsd/io/directory.h"
#include "vmmsd/io/logger.h"
#include "vmmsd/io/options.h"
#include "vmmsd/service/service.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

struct daemon {
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t watchdog;
    struct hv_log log;
    struct vmms_options options;
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
    (void)sd_notify(0, "STOPPING=1");
    vmms_service_close(daemon->service);
    uv_close((uv_handle_t *)&daemon->term, NULL);
    uv_close((uv_handle_t *)&daemon->interrupt, NULL);
    uv_close((uv_handle_t *)&daemon->hangup, NULL);
    uv_close((uv_handle_t *)&daemon->watchdog, NULL);
}

static void signalled(uv_signal_t *signal, int number)
{
    struct daemon *daemon = signal->data;

    hv_log_printf(&daemon->log, HV_LOG_INFO, NULL, "Ending; running VMs run on.");
    end(daemon, 0);
}

static void hung_up(uv_signal_t *signal, int number)
{
    struct daemon *daemon = signal->data;

    if (!daemon->is_ending)
        vmms_service_reload(daemon->service);
}

static void ready(void *opaque)
{
    struct daemon *daemon = opaque;

    hv_log_printf(&daemon->log, HV_LOG_INFO, NULL, "Ready on %s/vmms.sock.",
                  daemon->options.runtime_dir);
    (void)sd_notify(0, "READY=1");
}

static void failed(void *opaque, const char *why)
{
    struct daemon *daemon = opaque;

    hv_log_printf(&daemon->log, HV_LOG_ERROR, NULL, "%s", why);
    end(daemon, 1);
}

static void watchdog(uv_timer_t *timer)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

static void watch(struct daemon *daemon)
{
    uint64_t interval_us;

    daemon->term.data = daemon->interrupt.data = daemon->hangup.data = daemon->watchdog.data =
        daemon;
    (void)uv_signal_init(&daemon->loop, &daemon->term);
    (void)uv_signal_init(&daemon->loop, &daemon->interrupt);
    (void)uv_signal_init(&daemon->loop, &daemon->hangup);
    (void)uv_timer_init(&daemon->loop, &daemon->watchdog);
    (void)uv_signal_start(&daemon->term, signalled, SIGTERM);
    (void)uv_signal_start(&daemon->interrupt, signalled, SIGINT);
    (void)uv_signal_start(&daemon->hangup, hung_up, SIGHUP);
    if (sd_watchdog_enabled(0, &interval_us) > 0)
        (void)uv_timer_start(&daemon->watchdog, watchdog, 0, interval_us / 2000);
}

static void prepare_process(void)
{
    struct rlimit limit;

    (void)umask(077);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
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
    const struct vmms_service_config config = { .loop = &daemon->loop,
                                                .state_dir = daemon->options.state_dir,
                                                .runtime_dir = daemon->options.runtime_dir,
                                                .worker_path = daemon->options.worker,
                                                .listen =
                                                    (const char *const *)daemon->options.listen,
                                                .n_listen = daemon->options.n_listen,
                                                .bus = daemon->options.bus,
                                                .boot_id = daemon->options.boot_id,
                                                .version = HV_VERSION,
                                                .log = &daemon->log,
                                                .opaque = daemon,
                                                .ready = ready,
                                                .failed = failed };
    int r = vmms_service_new(&config, &daemon->service, reterr);

    if (r == 0)
        watch(daemon);
    else if (daemon->service)
        vmms_service_close(daemon->service);
    (void)uv_run(&daemon->loop, UV_RUN_DEFAULT);
    vmms_service_free(daemon->service);
    return r < 0 ? r : daemon->status;
}

int main(int argc, char **argv)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct daemon daemon = { .status = 0 };
    int lock = -1, r;

    r = vmms_options_read(argc, argv, &daemon.options);
    if (r != 0) {
        vmms_options_fini(&daemon.options);
        return r < 0 ? 2 : 0;
    }
    prepare_process();
    vmms_logger_init(&daemon.log, daemon.options.log_level);
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
