/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/spawn/worker_priv.h"

#include "api/rpc/utf8.h"
#include "vmmsd/spawn/process.h"
#include "vmmsd/spawn/security.h"
#include "vmmsd/spawn/words.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { SILENT_AFTER_CONNECTS = 3, WHY_BYTES = 200 };

struct vmms_fact *vmms_worker_fact(const struct worker *worker, enum vmms_fact_kind kind)
{
    struct vmms_fact *fact = vmms_fact_new(kind, worker->row.incarnation);

    hv_assert(fact);
    return fact;
}

void vmms_worker_tell(struct worker *worker, struct vmms_fact *fact)
{
    worker->spawner->config.fact(worker->spawner->config.opaque, worker->row.id, fact);
}

static void handle_closed(uv_handle_t *handle)
{
    struct worker *worker = handle->data;

    if (--worker->handles > 0)
        return;
    hv_list_remove(&worker->node);
    hv_close(worker->pidfd);
    hv_close(worker->status_fd);
    api_error_free(worker->unit_error);
    vmms_row_fini(&worker->row);
    free(worker);
}

/* Let go of it; whether the process lives or not is another matter. */
static void release(struct worker *worker)
{
    if (worker->is_ended)
        return;
    worker->is_ended = true;
    worker->placement = vmms_placement_forget(worker->placement);
    vmms_channel_close(worker);
    if (worker->is_launching)
        return;
    if (worker->handles == 3)
        uv_close((uv_handle_t *)&worker->poll, handle_closed);
    uv_close((uv_handle_t *)&worker->timer, handle_closed);
    uv_close((uv_handle_t *)&worker->quiet, handle_closed);
}

struct worker *vmms_worker_new(struct vmms_spawner *spawner, const struct vmms_row *row)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    hv_assert(worker && vmms_row_copy(row, &worker->row) == 0);
    worker->spawner = spawner;
    worker->pid = -1;
    worker->pidfd = -1;
    worker->status_fd = -1;
    hv_list_init(&worker->asks);
    (void)uv_timer_init(spawner->config.loop, &worker->timer);
    (void)uv_timer_init(spawner->config.loop, &worker->quiet);
    worker->timer.data = worker->quiet.data = worker->poll.data = worker->work.data = worker;
    worker->handles = 2;
    hv_list_append(&spawner->workers, &worker->node);
    return worker;
}

/* The end */

static void read_words(struct worker *worker, struct vmms_words *ret)
{
    uint8_t file[VMMS_WORDS_FILE_BYTES];
    hv_autofree char *path = NULL;

    *ret = (struct vmms_words){ 0 };
    if (worker->status_fd < 0) {
        path = vmms_path_state(worker->spawner->config.state_dir, worker->row.id, "worker.status");
        worker->status_fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    }
    if (worker->status_fd >= 0 &&
        pread(worker->status_fd, file, sizeof(file), 0) == (ssize_t)sizeof(file))
        (void)vmms_words_read(file, worker->row.incarnation, ret);
}

/* Why it ended: its last words where it stopped on purpose, else what the kernel says. */
static struct vmms_fact *last_fact(struct worker *worker, const siginfo_t *info, bool is_known)
{
    struct vmms_fact *fact = vmms_worker_fact(worker, VMMS_FACT_GONE);
    struct vmms_words words;
    char phrase[128];

    read_words(worker, &words);
    if (worker->unit_error) {
        fact->cause = strdup("start_failed");
        fact->error = HV_TAKE_PTR(worker->unit_error);
    } else if (words.code) {
        fact->cause = strdup(worker->is_greeted && words.cause ? words.cause : "start_failed");
        fact->message = words.message ? strdup(words.message) : NULL;
        fact->error = vmms_words_error(&words, worker->row.settings.name);
    } else if (words.state && words.cause && strcmp(words.state, "stopped") == 0) {
        fact->cause = HV_TAKE_PTR(words.cause);
        fact->message = HV_TAKE_PTR(words.message);
        fact->has_exit_status = strcmp(fact->cause, "debug_exit") == 0;
        fact->exit_status = words.exit_status;
    } else {
        vmms_exit_phrase(info, is_known, phrase, sizeof(phrase));
        fact->cause = strdup("worker_died");
        if (asprintf(&fact->message, "Its worker process %s.", phrase) < 0)
            fact->message = NULL;
    }
    vmms_words_fini(&words);
    return fact;
}

static void remove_socket(struct worker *worker)
{
    hv_autofree char *path = vmms_path_socket(worker->spawner->config.runtime_dir, worker->row.id);

    if (path)
        (void)unlink(path);
}

static void finish_end(struct worker *worker, struct vmms_fact *fact)
{
    struct vmms_spawner *spawner = worker->spawner;

    remove_socket(worker);
    release(worker);
    vmms_worker_say_end(worker, fact);
    spawner->config.gone(spawner->config.opaque, worker->row.id);
    vmms_worker_tell(worker, fact);
}

static void keep_work(uv_work_t *work)
{
    struct worker *worker = work->data;

    worker->keep_r = vmms_saved_keep(worker->spawner->config.state_dir, worker->row.id);
}

/* The service may be closing: then the next one does it again. */
static void keep_done(uv_work_t *work, int status)
{
    struct worker *worker = work->data;
    struct vmms_fact *fact = HV_TAKE_PTR(worker->last);

    worker->is_launching = false;
    if (worker->is_ended) {
        vmms_fact_free(fact);
        worker->is_ended = false;
        release(worker);
        return;
    }
    if (worker->keep_r < 0) {
        free(fact->cause);
        free(fact->message);
        fact->cause = strdup("save_lost");
        if (asprintf(&fact->message, "Its saved state cannot be put in place: %s.",
                     strerror(-worker->keep_r)) < 0)
            fact->message = NULL;
    }
    finish_end(worker, fact);
}

/* A worker that ends with "save" has left a saved state that is whole. */
static void ended(struct worker *worker, const siginfo_t *info, bool is_known)
{
    struct vmms_fact *fact;

    if (worker->last)
        return;
    fact = last_fact(worker, info, is_known);
    if (!fact->cause || strcmp(fact->cause, "save") != 0) {
        finish_end(worker, fact);
        return;
    }
    worker->last = fact;
    worker->is_launching = true;
    vmms_channel_close(worker);
    hv_assert(uv_queue_work(worker->spawner->config.loop, &worker->work, keep_work, keep_done) ==
              0);
}

void vmms_worker_vanished(struct worker *worker)
{
    siginfo_t nothing = { 0 };

    if (!worker->is_ended)
        ended(worker, &nothing, false);
}

static void process_ended(uv_poll_t *poll, int status, int events)
{
    struct worker *worker = poll->data;
    siginfo_t info;
    bool is_known = vmms_pidfd_reap(worker->pidfd, &info);

    (void)uv_poll_stop(poll);
    if (!worker->is_ended)
        ended(worker, &info, is_known);
}

void vmms_worker_watch(struct worker *worker)
{
    hv_assert(uv_poll_init(worker->spawner->config.loop, &worker->poll, worker->pidfd) == 0);
    worker->poll.data = worker;
    worker->handles++;
    (void)uv_poll_start(&worker->poll, UV_READABLE, process_ended);
    if (worker->is_doomed)
        vmms_worker_kill(worker);
    else if (worker->is_adoption)
        vmms_worker_place_adopted(worker);
}

/* Of a worker that never greeted us after our restart we know a process only from the database. */
static void find_process(struct worker *worker)
{
    uint64_t start;

    if (!worker->row.pid)
        return;
    worker->pidfd = vmms_pidfd_open((int)worker->row.pid);
    start = vmms_pid_start((int)worker->row.pid);
    if (worker->pidfd >= 0 && start && start == worker->row.pid_start) {
        worker->pid = (int)worker->row.pid;
        worker->pid_start = start;
        vmms_worker_watch(worker);
        return;
    }
    worker->pidfd = hv_close(worker->pidfd);
}

void vmms_worker_kill(struct worker *worker)
{
    worker->is_doomed = true;
    if (worker->pidfd >= 0)
        (void)vmms_pidfd_kill(worker->pidfd, SIGKILL);
    else if (!worker->is_launching)
        vmms_worker_vanished(worker);
}

static void overdue(uv_timer_t *timer)
{
    vmms_worker_kill(timer->data);
}

void vmms_worker_expect_end(struct worker *worker)
{
    (void)uv_timer_start(&worker->timer, overdue, STOPPED_MS, 0);
}

/* Connecting again */

/* Of an adopted one whose process is not known only its socket can tell the end. */
static bool is_gone(const struct worker *worker, int r)
{
    return worker->pidfd < 0 && (r == -ECONNREFUSED || r == -ENOENT);
}

static void reconnect(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    int r = vmms_channel_connect(worker);

    if (is_gone(worker, r))
        vmms_worker_vanished(worker);
    else if (r < 0)
        vmms_channel_retry(worker, "it cannot be reached", false);
}

static void tell_silence(struct worker *worker, const char *why)
{
    struct vmms_fact *fact = vmms_worker_fact(worker, VMMS_FACT_SILENT);
    hv_autofree char *text = utf8_copy(why, WHY_BYTES); /* of its own words, may be */

    hv_assert(text);
    worker->is_silence_told = true;
    api_error_set(&fact->error, API_E_WORKER_UNRESPONSIVE, "vm.worker_silent", NULL,
                  "The worker of VM %s does not answer: %s.", worker->row.settings.name, text);
    vmms_worker_say(worker, HV_LOG_WARNING, MESSAGE_WORKER_SILENT, "%s", fact->error->message);
    vmms_worker_tell(worker, fact);
}

void vmms_channel_retry(struct worker *worker, const char *why, bool is_answer)
{
    if (worker->is_ended)
        return;
    vmms_channel_close(worker);
    if (uv_is_active((uv_handle_t *)&worker->timer))
        return;
    /* A broken connection is most often the first sign of a process that ends: it has some tries.
     */
    if (!worker->is_silence_told && (is_answer || worker->connects >= SILENT_AFTER_CONNECTS))
        tell_silence(worker, why);
    if (!worker->is_ended)
        (void)uv_timer_start(&worker->timer, reconnect, RECONNECT_MS, 0);
}

/* The beginning */

static void launch_work(uv_work_t *work)
{
    struct worker *worker = work->data;

    (void)vmms_launch_run(&worker->launch);
}

static void spawn_failed(struct worker *worker)
{
    struct vmms_fact *fact = vmms_worker_fact(worker, VMMS_FACT_SPAWN_FAILED);

    fact->error = HV_TAKE_PTR(worker->launch.error);
    remove_socket(worker);
    release(worker);
    vmms_worker_tell(worker, fact);
}

static void spawned(struct worker *worker)
{
    struct vmms_fact *fact = vmms_worker_fact(worker, VMMS_FACT_SPAWNED);

    worker->pid = worker->launch.pid;
    worker->pidfd = worker->launch.pidfd;
    worker->status_fd = worker->launch.status_fd;
    worker->pid_start = worker->launch.pid_start;
    worker->row.pid = (uint32_t)worker->pid;
    worker->row.pid_start = worker->pid_start;
    fact->pid = (uint32_t)worker->pid;
    fact->pid_start = worker->pid_start;
    vmms_worker_say(worker, HV_LOG_INFO, MESSAGE_WORKER_STARTED, "VM %s runs in process %d.",
                    worker->row.settings.name, worker->pid);
    vmms_worker_watch(worker);
    vmms_worker_tell(worker, fact);
    if (!worker->is_ended)
        vmms_worker_place(worker);
}

/* The spawner was closed meanwhile; where there is a process, it runs on and is adopted later. */
static void release_launched(struct worker *worker)
{
    worker->is_ended = false;
    hv_close(worker->launch.pidfd);
    hv_close(worker->launch.status_fd);
    api_error_free(worker->launch.error);
    release(worker);
}

static void launch_done(uv_work_t *work, int status)
{
    struct worker *worker = work->data;

    worker->is_launching = false;
    if (worker->is_ended) {
        release_launched(worker);
    } else if (worker->launch.error || worker->launch.pidfd < 0) {
        spawn_failed(worker);
    } else {
        spawned(worker);
    }
}

static void disks_opened(void *opaque, struct vmms_disk *disks, size_t n_disks,
                         struct api_error *error)
{
    struct worker *worker = opaque;

    worker->launch.error = error;
    if (error || worker->is_ended) {
        worker->is_launching = false;
        vmms_disks_free(disks, n_disks);
        if (worker->is_ended)
            release_launched(worker);
        else
            spawn_failed(worker);
        return;
    }
    worker->launch.disks = disks;
    worker->launch.n_disks = n_disks;
    hv_assert(
        uv_queue_work(worker->spawner->config.loop, &worker->work, launch_work, launch_done) == 0);
}

void vmms_spawner_spawn(struct vmms_spawner *spawner, const struct vmms_row *row)
{
    const struct vmms_spawner_config *config = &spawner->config;
    struct worker *worker = vmms_worker_new(spawner, row);

    worker->launch = (struct vmms_launch){ .worker_path = config->worker_path,
                                           .state_dir = config->state_dir,
                                           .runtime_dir = config->runtime_dir,
                                           .epoch = config->epoch,
                                           .is_unit = config->wants_units && spawner->units,
                                           .row = worker->row,
                                           .pidfd = -1,
                                           .status_fd = -1 };
    worker->is_launching = true;
    vmms_disks_open(spawner, worker->row.devices, worker->row.n_devices, worker, disks_opened,
                    worker);
}

static void adoption_missed(uv_timer_t *timer)
{
    vmms_worker_vanished(timer->data);
}

void vmms_spawner_adopt(struct vmms_spawner *spawner, const struct vmms_row *row)
{
    struct worker *worker = vmms_worker_new(spawner, row);
    int r;

    worker->is_adoption = true;
    find_process(worker);
    r = vmms_channel_connect(worker);
    if (is_gone(worker, r)) /* Told from the loop. */
        (void)uv_timer_start(&worker->timer, adoption_missed, 0, 0);
    else if (r < 0)
        vmms_channel_retry(worker, "it cannot be reached", false);
    else if (worker->pidfd >= 0)
        vmms_worker_tell(worker, vmms_worker_fact(worker, VMMS_FACT_FOUND));
}

struct worker *vmms_worker_find(struct vmms_spawner *spawner, const char *vm_id,
                                const char *incarnation)
{
    HV_LIST_FOREACH (node, &spawner->workers) {
        struct worker *worker = HV_LIST_ENTRY(node, struct worker, node);

        if (!worker->is_ended && strcmp(worker->row.id, vm_id) == 0 &&
            (!incarnation || strcmp(worker->row.incarnation, incarnation) == 0))
            return worker;
    }
    return NULL;
}

static struct worker *find_worker(struct vmms_spawner *spawner, const char *vm_id)
{
    return vmms_worker_find(spawner, vm_id, NULL);
}

void vmms_spawner_ask(struct vmms_spawner *spawner, const struct vmms_effect *effect)
{
    struct worker *worker = find_worker(spawner, effect->row.id);

    if (!worker)
        return;
    switch (effect->verb) {
    case VMMS_WORKER_ADD_DISK:
    case VMMS_WORKER_REMOVE_DISK:
    case VMMS_WORKER_CHANGE_MEDIUM: vmms_disk_ask(worker, effect->verb, &effect->device); break;
    case VMMS_WORKER_SHUT_DOWN:
    case VMMS_WORKER_REBOOT: vmms_guest_shut_down(worker, effect); break;
    case VMMS_WORKER_SET_SERVICES: vmms_guest_set_services(worker, &effect->row); break;
    case VMMS_WORKER_SET_PAIRS: vmms_guest_set_pairs(worker, &effect->row); break;
    case VMMS_WORKER_HOLD_STORAGE: vmms_guest_hold_storage(worker, &effect->row); break;
    case VMMS_WORKER_SAVE: vmms_save_ask(worker); break;
    default: vmms_channel_ask(worker, effect->verb); break;
    }
}

void vmms_spawner_kill(struct vmms_spawner *spawner, const struct vmms_row *row)
{
    struct worker *worker = find_worker(spawner, row->id);

    if (worker)
        vmms_worker_kill(worker);
}

static int say_no_worker(struct api_error **reterr)
{
    return api_error_set(reterr, API_E_WORKER_LOST, "vm.worker_lost", NULL,
                         "The VM has no worker at the moment.");
}

int vmms_spawner_security(struct vmms_spawner *spawner, const char *vm_id,
                          struct api_vm_security *ret, struct api_error **reterr)
{
    const struct worker *worker = find_worker(spawner, vm_id);

    if (!worker || worker->pid <= 0 || vmms_security_read(worker->pid, worker->pid_start, ret) < 0)
        return say_no_worker(reterr);
    return 0;
}

void vmms_spawner_stats(struct vmms_spawner *spawner, const char *vm_id, vmms_stats_fn *done,
                        void *opaque)
{
    struct worker *worker = find_worker(spawner, vm_id);
    struct api_error *error = NULL;

    if (worker) {
        vmms_channel_stats(worker, done, opaque);
        return;
    }
    say_no_worker(&error);
    done(opaque, NULL, error);
}

void vmms_spawner_open_console(struct vmms_spawner *spawner, const char *vm_id, uint32_t port,
                               uint64_t from, vmms_console_fn *done, void *opaque)
{
    struct worker *worker = find_worker(spawner, vm_id);

    if (worker)
        vmms_channel_console(worker, port, from, done, opaque);
    else
        done(opaque, -1, 0);
}

void vmms_spawner_use_images(struct vmms_spawner *spawner, struct vmms_images *images)
{
    spawner->images = images;
}

bool vmms_spawner_name_process(const struct vmms_spawner *spawner, int pid, char *ret, size_t room)
{
    HV_LIST_FOREACH (node, &spawner->workers) {
        const struct worker *worker = HV_LIST_ENTRY(node, struct worker, node);

        if (!worker->is_ended && worker->pid == pid && pid > 0) {
            (void)snprintf(ret, room, "VM %s", worker->row.settings.name);
            return true;
        }
    }
    return false;
}

int vmms_spawner_new(const struct vmms_spawner_config *config, struct vmms_spawner **ret)
{
    struct vmms_spawner *spawner = calloc(1, sizeof(*spawner));

    if (!spawner)
        return -ENOMEM;
    spawner->config = *config;
    hv_list_init(&spawner->workers);
    *ret = spawner;
    if (!vmms_units_is_managed())
        return 0;
    vmms_units_let_go(config->log);
    return vmms_units_new(config->loop, config->log, &spawner->units);
}

void vmms_spawner_close(struct vmms_spawner *spawner)
{
    spawner->is_closing = true;
    vmms_units_close(spawner->units);
    HV_LIST_FOREACH (node, &spawner->workers)
        release(HV_LIST_ENTRY(node, struct worker, node));
}

void vmms_spawner_use_units(struct vmms_spawner *spawner, bool wants_units)
{
    spawner->config.wants_units = wants_units;
}

void vmms_spawner_free(struct vmms_spawner *spawner)
{
    if (spawner)
        vmms_units_free(spawner->units);
    free(spawner);
}
