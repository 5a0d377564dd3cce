/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/run.h"

#include "vmwp/worker/log.h"
#include "vmwp/worker/terminal.h"
#include "vmwp/worker/worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

struct run {
    struct wp_loop loop;
    struct wp_log log;
    struct wp_worker *worker;
    struct wp_terminal terminal;
    uv_signal_t interrupt, terminate;
    uv_timer_t timeout;
    int status;
};

static void on_told(void *opaque, const struct wp_story *story)
{
    static const int status_of[WP_N_CAUSES] = {
        [WP_CAUSE_TURN_OFF] = WP_RUN_LEFT,
        [WP_CAUSE_GUEST_POWER_OFF] = WP_RUN_POWER_OFF,
        [WP_CAUSE_GUEST_RESET] = WP_RUN_RESET,
        [WP_CAUSE_TRIPLE_FAULT] = WP_RUN_TRIPLE_FAULT,
        [WP_CAUSE_INTERNAL_ERROR] = WP_RUN_INTERNAL_ERROR,
    };
    struct run *run = opaque;

    if (story->phase != WP_PHASE_STOPPED)
        return;
    if (story->cause == WP_CAUSE_DEBUG_EXIT)
        run->status = (int)(story->exit_status & 0xff);
    else if (story->cause != WP_CAUSE_TURN_OFF)
        run->status = status_of[story->cause];
    if (story->cause == WP_CAUSE_TRIPLE_FAULT)
        (void)fprintf(stderr, "vmwp: triple fault at 0x%" PRIx64 "\n", story->rip);
    if (story->cause == WP_CAUSE_INTERNAL_ERROR)
        (void)fprintf(stderr, "vmwp: %s\n", story->message);
    wp_loop_stop(&run->loop);
}

static void leave(struct run *run, int status)
{
    run->status = status;
    (void)wp_worker_request(run->worker, WP_CAUSE_TURN_OFF, NULL);
    wp_loop_stop(&run->loop);
}

static void on_left(void *opaque)
{
    leave(opaque, WP_RUN_LEFT);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    leave(handle->data, WP_RUN_LEFT);
}

static void on_timeout(uv_timer_t *handle)
{
    (void)fprintf(stderr, "vmwp: the time is over\n");
    leave(handle->data, WP_RUN_TIMEOUT);
}

static void watch_signals(struct run *run)
{
    (void)uv_signal_init(&run->loop.uv, &run->interrupt);
    (void)uv_signal_init(&run->loop.uv, &run->terminate);
    run->interrupt.data = run;
    run->terminate.data = run;
    (void)uv_signal_start(&run->interrupt, on_signal, SIGINT);
    (void)uv_signal_start(&run->terminate, on_signal, SIGTERM);
}

static void watch_time(struct run *run, unsigned timeout_s)
{
    (void)uv_timer_init(&run->loop.uv, &run->timeout);
    run->timeout.data = run;
    if (timeout_s > 0)
        (void)uv_timer_start(&run->timeout, on_timeout, (uint64_t)timeout_s * 1000, 0);
}

static void print_stats(struct run *run)
{
    struct wp_worker_stats stats;

    wp_worker_get_stats(run->worker, &stats);
    (void)fprintf(
        stderr,
        "vmwp: backend %s (%s) uptime_ms %" PRIu64 " vcpu_time_ms %" PRIu64 " exits %" PRIu64
        " port_ios %" PRIu64 " mmios %" PRIu64 " interrupts %" PRIu64 " halts %" PRIu64 "\n",
        hv_backend_name(wp_worker_backend(run->worker)), wp_worker_backend_reason(run->worker),
        wp_worker_uptime_ms(run->worker), stats.vcpu_time_ns / 1000000, stats.vps.exits,
        stats.vps.port_ios, stats.vps.mmios, stats.vps.interrupts, stats.vps.halts);
}

static void run_to_end(struct run *run, const struct wp_run_config *config)
{
    watch_signals(run);
    watch_time(run, config->timeout_s);
    wp_terminal_init(&run->terminal, &run->loop,
                     wp_machine_console(wp_worker_machine(run->worker), 1), on_left, run);
    if (wp_worker_request(run->worker, WP_CAUSE_START, NULL) == 0)
        wp_loop_run(&run->loop);
    wp_terminal_fini(&run->terminal);
    if (config->wants_stats)
        print_stats(run);
}

int wp_run(const struct wp_run_config *config)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct run run = { .status = WP_RUN_START_FAILED };
    struct wp_worker_config worker_config = {
        .loop = &run.loop,
        .definition = &config->definition,
        .words_fd = -1,
        .told = on_told,
        .opaque = &run,
    };
    int r;

    wp_log_init(&run.log, STDERR_FILENO);
    worker_config.log = wp_log_sink(&run.log, config->is_verbose ? HV_LOG_DEBUG : HV_LOG_WARNING);
    r = wp_loop_init(&run.loop);
    if (r < 0)
        return WP_RUN_START_FAILED;
    r = wp_worker_new(&worker_config, &run.worker, &error);
    if (r < 0)
        (void)fprintf(stderr, "vmwp: %s\n", hv_error_message(error, r));
    else
        run_to_end(&run, config);
    run.worker = wp_worker_free(run.worker);
    wp_loop_fini(&run.loop);
    wp_log_fini(&run.log);
    return run.status;
}
