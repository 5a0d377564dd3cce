/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A save: the guest is stopped and its devices drained; all but RAM is written, then RAM in slices
 * of a turn of the loop each, so that the worker goes on to answer; last the end, and a sync. What
 * goes wrong before that leaves the guest as it was.
 */
#include "vmwp/worker/worker_priv.h"

#include "hvcore/base/clock.h"
#include "vmwp/state/state.h"
#include "vmwp/worker/bus.h"
#include "vmwp/worker/services.h"

#include <inttypes.h>
#include <string.h>

enum { SLICE_BYTES = 4 << 20, TELL_MS = 200 };

struct wp_save {
    struct wp_worker *worker;
    int fd;
    struct wp_save_ops ops;
    void *opaque;
    bool was_running;
    struct state_writer *writer;
    struct wp_task task;
    uint64_t told_ns;
};

/* The room is given back at once, not when vmmsd removes the file. */
static void empty(const struct wp_save *save)
{
    if (ftruncate(save->fd, 0) < 0)
        hv_log_printf(&save->worker->config.log, HV_LOG_WARNING, NULL,
                      "What was written of a saved state cannot be emptied: %s.", strerror(errno));
}

static void drop(struct wp_save *save)
{
    wp_task_withdraw(save->worker->config.loop, &save->task);
    save->writer = state_writer_free(save->writer);
    hv_close(save->fd);
    free(save);
}

static void go_on(struct wp_save *save)
{
    struct wp_worker *worker = save->worker;
    enum wp_phase next;

    hv_assert(wp_phase_next(worker->story.phase, WP_CAUSE_SAVE_FAILED, save->was_running, &next));
    wp_bus_let_go(worker->bus);
    wp_worker_enter(worker, next, WP_CAUSE_SAVE_FAILED);
    if (next == WP_PHASE_RUNNING)
        wp_worker_run_vps(worker);
    wp_worker_tell(worker);
}

/* The guest goes on; then it is told why. */
static void fail(struct wp_save *save, int r, struct hv_error *error)
{
    struct wp_worker *worker = save->worker;

    worker->save = NULL;
    empty(save);
    go_on(save);
    save->ops.done(save->opaque, r, error);
    drop(save);
}

static void fail_write(struct wp_save *save, int r)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

    (void)hv_error_set(&error, r, "vm.save.write", "The saved state cannot be written: %s.",
                       strerror(-r));
    fail(save, r, error);
}

/* Whoever asked is gone, or the VM is turned off: the phase is its caller's matter. */
struct wp_save *wp_save_free(struct wp_save *save)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

    if (!save)
        return NULL;
    (void)hv_error_set(&error, -ECANCELED, "vm.save.turned_off",
                       "The VM was turned off while it was being saved.");
    empty(save);
    wp_bus_let_go(save->worker->bus);
    save->ops.done(save->opaque, -ECANCELED, error);
    drop(save);
    return NULL;
}

void wp_worker_cancel_save(struct wp_worker *worker)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

    wp_assert_io(worker->config.loop);
    if (!worker->save)
        return;
    (void)hv_error_set(&error, -ECANCELED, "vm.save.cancelled", "The save was cancelled.");
    fail(worker->save, -ECANCELED, error);
}

static void finish(struct wp_save *save)
{
    struct wp_worker *worker = save->worker;
    int r = state_writer_finish(save->writer);

    if (r < 0) {
        fail_write(save, r);
        return;
    }
    worker->save = NULL;
    save->ops.done(save->opaque, 0, NULL);
    drop(save);
    wp_worker_enter(worker, WP_PHASE_STOPPED, WP_CAUSE_SAVED);
    wp_worker_tell(worker);
}

static void tell_progress(struct wp_save *save)
{
    uint64_t now = hv_clock_monotonic_ns();

    if (now - save->told_ns < TELL_MS * HV_NS_PER_MS)
        return;
    save->told_ns = now;
    save->ops.progress(save->opaque, state_writer_ram_done(save->writer),
                       save->worker->definition->memory_bytes);
}

static void run_slice(void *opaque)
{
    struct wp_save *save = opaque;
    struct hv_gpa_space *space = hv_partition_gpa(wp_machine_partition(save->worker->machine));
    int r = state_writer_ram(save->writer, space, SLICE_BYTES);

    if (r < 0) {
        fail_write(save, r);
    } else if (r == 0) {
        finish(save);
    } else {
        tell_progress(save);
        wp_post(save->worker->config.loop, &save->task);
    }
}

/* All but RAM. */
static int write_parts(struct wp_save *save, struct hv_error **reterr)
{
    struct wp_worker *worker = save->worker;
    struct state_head head = { .saved_ns = hv_clock_realtime_ns(),
                               .devices = wp_storage_fingerprint(worker->storage) };
    int r = hv_guid_parse(worker->definition->vm_id, &head.vm);

    wp_machine_describe(worker->machine, &head);
    r = r < 0 ? r : state_writer_new(save->fd, &head, &save->writer);
    r = r < 0 ? r : wp_storage_save(worker->storage, save->writer, reterr);
    r = r < 0 ? r : wp_services_save(worker->services, save->writer);
    r = r < 0 ? r : wp_bus_save(worker->bus, save->writer);
    return r < 0 ? r : wp_machine_save(worker->machine, save->writer);
}

/* Before the guest is stopped: what would fail then. */
static int check(struct wp_worker *worker, int fd, struct hv_error **reterr)
{
    struct hv_gpa_space *space = hv_partition_gpa(wp_machine_partition(worker->machine));
    uint64_t missing = 0;
    int r = ic_services_may_save(wp_services_ic(worker->services), reterr);

    if (r < 0)
        return r;
    r = state_reserve(fd, space, &missing);
    if (r == -ENOSPC)
        return hv_error_set(reterr, r, "vm.save.room",
                            "There is not room enough for the saved state: %" PRIu64
                            " MiB more are needed where VMs are kept.",
                            (missing + (1 << 20) - 1) >> 20);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.save.room",
                            "Room for the saved state cannot be reserved: %s.", strerror(-r));
    return 0;
}

static int begin(struct wp_save *save, struct hv_error **reterr)
{
    struct wp_worker *worker = save->worker;
    int r;

    wp_bus_hold(worker->bus);
    wp_worker_enter(worker, WP_PHASE_SAVING, WP_CAUSE_SAVE);
    wp_worker_tell(worker);
    r = wp_storage_flush(worker->storage, reterr);
    r = r < 0 ? r : write_parts(save, reterr);
    if (r == 0)
        return 0;
    go_on(save);
    return hv_error_set(reterr, r, "vm.save.write", "The saved state cannot be written: %s.",
                        strerror(-r));
}

static struct wp_save *save_new(struct wp_worker *worker, int fd, const struct wp_save_ops *ops,
                                void *opaque)
{
    struct wp_save *save = calloc(1, sizeof(*save));

    if (!save) {
        hv_close(fd);
        return NULL;
    }
    save->worker = worker;
    save->fd = fd;
    save->ops = *ops;
    save->opaque = opaque;
    save->told_ns = hv_clock_monotonic_ns();
    wp_task_init(&save->task, run_slice, save);
    return save;
}

int wp_worker_save(struct wp_worker *worker, int fd, const struct wp_save_ops *ops, void *opaque,
                   struct hv_error **reterr)
{
    struct wp_save *save = save_new(worker, fd, ops, opaque);
    enum wp_phase next;
    int r = save ? 0 : -ENOMEM;

    wp_assert_io(worker->config.loop);
    if (r == 0 && !wp_phase_next(worker->story.phase, WP_CAUSE_SAVE, false, &next))
        r = WP_E_NOT_NOW;
    if (r == 0)
        r = check(worker, fd, reterr);
    if (r == 0) {
        save->was_running = worker->story.phase == WP_PHASE_RUNNING;
        wp_worker_quiesce(worker);
        r = wp_phase_next(worker->story.phase, WP_CAUSE_SAVE, false, &next) ? begin(save, reterr)
                                                                            : WP_E_NOT_NOW;
    }
    if (r != 0) {
        if (save)
            drop(save);
        return r;
    }
    worker->save = save;
    wp_post(worker->config.loop, &save->task);
    return 0;
}

/* ---- and back ---- */

/* Providers have their parts before the bus opens their channels again; then services that were
 * switched since are offered or taken from the guest. */
int wp_worker_restore_devices(struct wp_worker *worker, struct hv_error **reterr)
{
    const struct state_image *image = worker->config.image;
    int r = wp_storage_restore(worker->storage, image);

    r = r < 0 ? r : wp_services_restore(worker->services, image);
    r = r < 0 ? r : wp_bus_restore(worker->bus, image);
    r = r < 0 ? r
              : wp_services_enable(worker->services,
                                   wp_worker_wanted_services(&worker->definition->services));
    if (r < 0)
        return hv_error_set(reterr, r, "vm.saved_state.devices",
                            "The saved state cannot be put back: a device cannot be in it (%s).",
                            strerror(-r));
    wp_bus_let_go(worker->bus);
    return 0;
}
