/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/vm.h"

#include "vmwp/sandbox/sandbox.h"
#include "vmwp/state/state.h"
#include "vmwp/worker/console.h"
#include "vmwp/worker/control.h"
#include "vmwp/worker/log.h"
#include "vmwp/worker/saved.h"
#include "vmwp/worker/worker.h"

#include <signal.h>
#include <string.h>

enum { LOG_FD = 2, CONTROL_FD = 3, DEFINITION_FD = 4, WORDS_FD = 5 };

/* Counters are told this often to whoever is connected. */
enum { FIGURES_MS = 2000 };

/* How long readers may take for what is left after the VM's end. */
enum { LINGER_STEP_MS = 10, LINGER_STEPS = 100 };

struct vm {
    struct wp_loop loop;
    struct wp_log log;
    struct wp_definition definition;
    struct hv_tsc_facts tsc;
    struct state_image *image; /* until the worker is made of it */
    struct wp_worker *worker;
    struct wp_console console[WP_MACHINE_N_COM];
    struct wp_control *control;
    uv_timer_t linger;
    uv_timer_t figures;
    uv_signal_t terminate;
    unsigned lingered;
    int pid;
    bool is_ending;
};

static bool is_all_told(struct vm *vm)
{
    bool is_done = wp_control_is_flushed(vm->control);

    for (unsigned i = 0; i < WP_MACHINE_N_COM; i++)
        is_done &= wp_console_flush(&vm->console[i]);
    return is_done;
}

static void on_linger(uv_timer_t *timer)
{
    struct vm *vm = timer->data;

    if (is_all_told(vm) || ++vm->lingered == LINGER_STEPS)
        wp_loop_stop(&vm->loop);
}

static void on_told(void *opaque, const struct wp_story *story)
{
    struct vm *vm = opaque;

    if (vm->control) {
        wp_control_tell(vm->control, story);
        wp_control_tell_guest(vm->control); /* a guest that is paused has no heartbeat */
    }
    if (story->phase != WP_PHASE_STOPPED || vm->is_ending)
        return;
    (void)uv_timer_stop(&vm->figures);
    vm->is_ending = true; /* the reply to TurnOff is yet to be written */
    (void)uv_timer_start(&vm->linger, on_linger, 0, LINGER_STEP_MS);
}

static void on_guest_changed(void *opaque, enum ic_service service)
{
    struct vm *vm = opaque;

    (void)service;
    if (vm->control)
        wp_control_tell_guest(vm->control);
}

static void on_crashed(void *opaque, const struct hv_crash *crash)
{
    struct vm *vm = opaque;

    if (vm->control)
        wp_control_tell_crash(vm->control, crash);
}

static void on_device_error(void *opaque, const char *id, const char *message)
{
    struct vm *vm = opaque;

    if (vm->control)
        wp_control_tell_device(vm->control, id, message);
}

static void on_critical(void *opaque)
{
    struct vm *vm = opaque;

    if (vm->control)
        wp_control_tell_storage(vm->control);
}

static int make_worker(struct vm *vm, struct hv_error **reterr)
{
    struct wp_worker_config config = {
        .loop = &vm->loop,
        .definition = &vm->definition,
        .words_fd = WORDS_FD,
        .tsc = vm->tsc,
        .image = vm->image,
        .log = wp_log_sink(&vm->log, HV_LOG_INFO),
        .told = on_told,
        .guest_changed = on_guest_changed,
        .crashed = on_crashed,
        .device_failed = on_device_error,
        .critical = on_critical,
        .opaque = vm,
    };

    return wp_worker_new(&config, &vm->worker, reterr);
}

static int make_control(struct vm *vm, struct hv_error **reterr)
{
    struct wp_control_config config = {
        .loop = &vm->loop,
        .listen_fd = CONTROL_FD,
        .definition = &vm->definition,
        .worker = vm->worker,
        .consoles = vm->console,
        .pid = vm->pid,
        .log = wp_log_sink(&vm->log, HV_LOG_INFO),
    };

    for (unsigned i = 0; i < WP_MACHINE_N_COM; i++)
        wp_console_init(&vm->console[i], &vm->loop,
                        wp_machine_console(wp_worker_machine(vm->worker), i + 1));
    return wp_control_new(&config, &vm->control, reterr);
}

/* Above the fixed ones, only what the definition names stays open. */
static int close_unlisted(const struct wp_definition *definition)
{
    const int fixed[] = { 0,
                          1,
                          LOG_FD,
                          CONTROL_FD,
                          WORDS_FD,
                          definition->kernel_fd,
                          definition->initrd_fd,
                          definition->kvm_fd,
                          definition->restore_fd };
    size_t count = HV_ARRAY_SIZE(fixed);
    hv_autofree int *fds = NULL;

    fds = calloc(count + definition->n_disks * WP_MAX_CHAIN, sizeof(*fds));
    if (!fds)
        return -ENOMEM;
    memcpy(fds, fixed, sizeof(fixed));
    for (size_t i = 0; i < definition->n_disks; i++) {
        for (size_t k = 0; k < definition->disks[i].n_chain; k++)
            fds[count++] = definition->disks[i].chain[k].fd;
    }
    return wp_sandbox_close_unlisted(fds, (unsigned)count);
}

static int read_definition(struct vm *vm, struct hv_error **reterr)
{
    int r;

    hv_tsc_begin(&vm->tsc); /* reads files that are out of reach afterwards */
    r = wp_definition_read(DEFINITION_FD, &vm->definition, reterr);
    if (r < 0)
        return r;
    r = close_unlisted(&vm->definition);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.sandbox.close",
                            "Descriptors that the worker must not have cannot be closed: %s.",
                            strerror(-r));
    return wp_sandbox_fall(&vm->pid, reterr);
}

/* The file is let go of as soon as the worker stands. */
static int make_from_saved(struct vm *vm, struct hv_error **reterr)
{
    int r;

    hv_tsc_finish(&vm->tsc);
    r = wp_saved_open(&vm->definition, &vm->tsc, &vm->image, reterr);
    r = r < 0 ? r : make_worker(vm, reterr);
    vm->image = state_image_free(vm->image);
    vm->definition.restore_fd = hv_close(vm->definition.restore_fd);
    return r;
}

static void unmake(struct vm *vm)
{
    if (vm->control) {
        wp_control_stop(vm->control);
        for (unsigned i = 0; i < WP_MACHINE_N_COM; i++)
            wp_console_fini(&vm->console[i]);
    }
    vm->worker = wp_worker_free(vm->worker);
    wp_loop_fini(&vm->loop); /* lets what was dropped go */
    vm->control = wp_control_free(vm->control);
}

/* Who stops a unit of ours by force of systemd ends the VM like a power cut, disks flushed. As the
 * first process of its namespace the worker would not even hear the signal otherwise. */
static void on_terminate(uv_signal_t *handle, int number)
{
    struct vm *vm = handle->data;

    (void)number;
    (void)wp_worker_request(vm->worker, WP_CAUSE_TURN_OFF, NULL);
}

static void on_figures(uv_timer_t *timer)
{
    struct vm *vm = timer->data;

    wp_control_tell_figures(vm->control);
}

static void tell_figures(struct vm *vm)
{
    (void)uv_timer_init(&vm->loop.uv, &vm->figures);
    vm->figures.data = vm;
    (void)uv_timer_start(&vm->figures, on_figures, FIGURES_MS, FIGURES_MS);
}

static void watch_signals(struct vm *vm)
{
    (void)uv_signal_init(&vm->loop.uv, &vm->terminate);
    vm->terminate.data = vm;
    (void)uv_signal_start(&vm->terminate, on_terminate, SIGTERM);
}

static int run(struct vm *vm, struct hv_error **reterr)
{
    int r;

    r = wp_loop_init(&vm->loop);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.loop", "The worker's loop cannot be made: %s.",
                            strerror(-r));
    (void)uv_timer_init(&vm->loop.uv, &vm->linger);
    vm->linger.data = vm;
    r = vm->definition.restore_fd < 0 ? make_worker(vm, reterr) : make_from_saved(vm, reterr);
    r = r < 0 ? r : make_control(vm, reterr);
    if (r >= 0) {
        watch_signals(vm);
        tell_figures(vm);
    }
    r = r < 0 ? r
              : wp_sandbox_lock(wp_worker_backend(vm->worker), vm->definition.n_controllers > 0,
                                reterr);
    if (r >= 0)
        wp_loop_run(&vm->loop);
    unmake(vm);
    return r;
}

int wp_vm_main(const char *version)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct vm vm = { 0 };
    struct hv_log log;
    int r;

    wp_log_init(&vm.log, LOG_FD);
    log = wp_log_sink(&vm.log, HV_LOG_INFO);
    r = read_definition(&vm, &error);
    hv_log_printf(&log, HV_LOG_INFO, NULL, "vmwp %s runs \"%s\" (%s).", version, vm.definition.name,
                  vm.definition.vm_id);
    r = r < 0 ? r : run(&vm, &error);
    if (r < 0) {
        hv_log_printf(&log, HV_LOG_ERROR, NULL, "%s", hv_error_message(error, r));
        wp_worker_note_failed_start(WORDS_FD, vm.definition.incarnation, r, error);
    }
    wp_log_fini(&vm.log);
    wp_definition_fini(&vm.definition);
    return r < 0 ? 1 : 0;
}
