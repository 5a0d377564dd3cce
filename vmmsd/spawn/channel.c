/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to a worker and heard from it: schemas/worker/org.hvstack.Worker1.xml. */
#include "vmmsd/spawn/worker_priv.h"

#include "api/rpc/utf8.h"
#include "hvcore/base/clock.h"
#include "vmmsd/spawn/process.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { REFUSAL_BYTES = 300 };

/* sd-bus answers what is open with the same error when the peer is silent and when it is gone. */
static bool is_closed(const struct worker *worker)
{
    return !worker->bus || sd_bus_is_open(vmms_bus_get(worker->bus)) <= 0;
}

/* What a worker may say that it is; all else is Failed. */
static const enum api_error_code worker_codes[] = {
    API_E_NOT_SUPPORTED,  API_E_TIMEOUT,         API_E_INVALID_PARAMETER,    API_E_IN_USE,
    API_E_INVALID_STATE,  API_E_OUT_OF_MEMORY,   API_E_GUEST_NOT_READY,      API_E_GUEST_LOCKED,
    API_E_NOT_FOUND,      API_E_ALREADY_EXISTS,  API_E_SHUTDOWN_IN_PROGRESS, API_E_DISK_FULL,
    API_E_PARENT_MISSING, API_E_PARENT_MISMATCH, API_E_CORRUPT_IMAGE,        API_E_CANCELLED,
};

static enum api_error_code code_of(const sd_bus_error *error)
{
    size_t length = strlen(WORKER_ERROR);

    /* It was started by an older version of this program, and runs on. */
    if (strcmp(error->name, SD_BUS_ERROR_UNKNOWN_METHOD) == 0)
        return API_E_NOT_SUPPORTED;
    for (size_t i = 0; i < HV_ARRAY_SIZE(worker_codes); i++) {
        if (strncmp(error->name, WORKER_ERROR, length) == 0 &&
            strcmp(error->name + length, api_error_info((int)worker_codes[i])->name) == 0)
            return worker_codes[i];
    }
    return API_E_FAILED;
}

static void say_refused(const struct worker *worker, const sd_bus_error *bus_error,
                        struct api_error **ret)
{
    const char *said = bus_error->message ? bus_error->message : bus_error->name;
    hv_autofree char *message = utf8_copy(said, REFUSAL_BYTES);
    enum api_error_code code = code_of(bus_error);

    hv_assert(message);
    api_error_set(ret, code, "vm.worker_refused", NULL,
                  code == API_E_FAILED ? "The worker of VM %s refused: %s" : "VM %s: %s",
                  worker->row.settings.name, message);
}

struct api_error *vmms_channel_error(const struct worker *worker, const sd_bus_error *bus_error,
                                     int errnum)
{
    const char *name = worker->row.settings.name;
    struct api_error *error = NULL;

    if (is_closed(worker))
        errnum = ECONNRESET;
    else if (sd_bus_error_has_name(bus_error, SD_BUS_ERROR_NO_REPLY) ||
             sd_bus_error_has_name(bus_error, SD_BUS_ERROR_TIMEOUT))
        errnum = ETIMEDOUT;
    if (errnum == ETIMEDOUT)
        api_error_set(&error, API_E_WORKER_UNRESPONSIVE, "vm.worker_silent", NULL,
                      "The worker of VM %s does not answer.", name);
    else if (sd_bus_error_is_set(bus_error) && !is_closed(worker))
        say_refused(worker, bus_error, &error);
    else
        api_error_set(&error, API_E_WORKER_LOST, "vm.worker_lost", NULL,
                      "The connection to the worker of VM %s broke: %s.", name, strerror(errnum));
    return error;
}

struct ask *vmms_ask_new(struct worker *worker, int kind)
{
    struct ask *ask = calloc(1, sizeof(*ask));

    hv_assert(ask);
    ask->worker = worker;
    ask->kind = kind;
    hv_list_append(&worker->asks, &ask->node);
    return ask;
}

void vmms_ask_free(struct ask *ask)
{
    hv_list_remove(&ask->node);
    sd_bus_slot_unref(ask->slot);
    free(ask);
}

static void tell_answer(struct worker *worker, enum vmms_worker_verb verb, struct api_error *error)
{
    struct vmms_fact *fact = vmms_worker_fact(worker, VMMS_FACT_ANSWER);

    fact->verb = verb;
    fact->error = error;
    if (error && error->code == API_E_WORKER_UNRESPONSIVE)
        worker->is_quiet = true;
    vmms_worker_tell(worker, fact);
}

/* No answer will come any more. */
void vmms_ask_fail(struct ask *ask, struct api_error *error)
{
    struct worker *worker = ask->worker;
    struct ask copy = *ask;

    vmms_ask_free(ask);
    if (copy.kind == ASK_VERB) {
        tell_answer(worker, copy.verb, error);
    } else if (copy.kind == ASK_STATS) {
        copy.stats(copy.opaque, NULL, error);
    } else if (copy.kind == ASK_GUEST) {
        copy.guest(copy.opaque, NULL, error);
    } else if (copy.kind == ASK_ORDER) {
        copy.done(copy.opaque, 0, error);
    } else {
        copy.console(copy.opaque, -1, 0);
        api_error_free(error);
    }
}

/* Hello */

static bool is_same_process(const struct worker *worker, uint32_t pid)
{
    return worker->row.pid == pid &&
           (!worker->row.pid_start || vmms_pid_start((int)pid) == worker->row.pid_start);
}

/* An adopted worker is watched by its process. Its word alone does not make a pid its own: what the
 * database knows must agree; only a start that was cut short leaves nothing to compare. */
static int take_process(struct worker *worker, uint32_t pid)
{
    if (worker->pidfd >= 0)
        return 0;
    if (worker->row.pid && !is_same_process(worker, pid))
        return -ESRCH;
    worker->pidfd = vmms_pidfd_open((int)pid);
    if (worker->pidfd < 0)
        return -errno;
    worker->pid = (int)pid;
    worker->pid_start = vmms_pid_start((int)pid);
    vmms_worker_watch(worker);
    return 0;
}

static void greeted(struct worker *worker, struct vmms_fact *fact, uint32_t pid)
{
    bool is_first = !worker->is_greeted;

    if (is_first && worker->is_adoption)
        vmms_worker_say(worker, HV_LOG_INFO, MESSAGE_WORKER_ADOPTED,
                        "VM %s was found running in process %d.", worker->row.settings.name,
                        worker->pid);
    worker->is_greeted = true;
    worker->connects = 0;
    fact->is_adoption = is_first && worker->is_adoption;
    fact->pid = pid;
    fact->pid_start = worker->pid_start;
    worker->spawner->config.greeted(worker->spawner->config.opaque, &worker->row);
    vmms_worker_tell(worker, fact);
}

static int hello_answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct worker *worker = userdata;
    struct vmms_fact *fact = vmms_worker_fact(worker, VMMS_FACT_GREETED);
    hv_autofree char *vm_id = NULL, *incarnation = NULL;
    uint32_t pid = 0;
    const struct vmms_slot slots[] = {
        { "vm_id", 's', &vm_id, NULL },
        { "incarnation", 's', &incarnation, NULL },
        { "pid", 'u', &pid, NULL },
        { "state", 's', &fact->state, NULL },
        { "cause", 's', &fact->cause, NULL },
        { "backend", 's', &fact->backend, NULL },
        { "backend_reason", 's', &fact->backend_reason, NULL },
    };
    const sd_bus_error *error = sd_bus_message_get_error(m);
    const char *why = NULL;

    if (error)
        why = error->message ? error->message : error->name;
    else if (vmms_read_dictionary(m, slots, HV_ARRAY_SIZE(slots)) < 0)
        why = "its answer is malformed";
    else if (!vm_id || strcmp(vm_id, worker->row.id) != 0 || !incarnation ||
             strcmp(incarnation, worker->row.incarnation) != 0)
        why = "it is another VM's worker";
    else if (take_process(worker, pid) < 0)
        why = "its process is another one";
    if (!why) {
        greeted(worker, fact, pid);
        return 0;
    }
    vmms_fact_free(fact);
    vmms_channel_retry(worker, why, !is_closed(worker));
    return 0;
}

static int send_hello(struct worker *worker)
{
    sd_bus *bus = vmms_bus_get(worker->bus);
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    uint64_t deadline_ms = worker->is_adoption                    ? HELLO_ADOPT_MS
                           : worker->row.saved == VMMS_SAVED_KEPT ? HELLO_RESTORE_MS
                                                                  : HELLO_START_MS;
    int r;

    r = sd_bus_message_new_method_call(bus, &m, NULL, WORKER_PATH, WORKER_INTERFACE, "Hello");
    if (r >= 0)
        r = sd_bus_message_append(m, "st", worker->row.secret, worker->spawner->config.epoch);
    if (r >= 0)
        r = sd_bus_call_async(bus, NULL, m, hello_answered, worker, deadline_ms * 1000);
    vmms_bus_update(worker->bus);
    return r;
}

/* Signals */

/* Which one of its window it is, from 1. */
static unsigned count(struct budget *budget)
{
    uint64_t now = hv_clock_monotonic_ns();

    if (now - budget->window_ns > SIGNAL_WINDOW_MS * HV_NS_PER_MS) {
        budget->window_ns = now;
        budget->signals = 0;
    }
    return ++budget->signals;
}

static bool is_within(const struct worker *worker, struct budget *budget, const char *what)
{
    if (count(budget) == SIGNALS_PER_WINDOW + 1)
        vmms_worker_say(worker, HV_LOG_WARNING, NULL,
                        "VM %s changes its %s too often; not every change is told.",
                        worker->row.settings.name, what);
    return budget->signals <= SIGNALS_PER_WINDOW;
}

bool vmms_is_guest_signal_within(struct worker *worker)
{
    return is_within(worker, &worker->guest_budget, "guest's state");
}

void vmms_channel_say_malformed(struct worker *worker)
{
    if (count(&worker->noise_budget) > SIGNALS_PER_WINDOW)
        return;
    vmms_worker_say(worker, HV_LOG_WARNING, NULL, "The worker of VM %s sent a malformed signal.",
                    worker->row.settings.name);
}

static int state_changed(struct worker *worker, sd_bus_message *m)
{
    struct vmms_fact *fact = vmms_worker_fact(worker, VMMS_FACT_STATE);
    const char *state, *cause;
    const struct vmms_slot slots[] = {
        { "exit_status", 'u', &fact->exit_status, &fact->has_exit_status },
        { "message", 's', &fact->message, NULL },
    };
    int r = sd_bus_message_read(m, "ss", &state, &cause);

    if (r >= 0) {
        fact->state = utf8_copy(state, VMMS_WORKER_TEXT_MAX);
        fact->cause = utf8_copy(cause, VMMS_WORKER_TEXT_MAX);
        r = vmms_read_dictionary(m, slots, HV_ARRAY_SIZE(slots));
    }
    if (r < 0 || !fact->state || !fact->cause) {
        vmms_channel_say_malformed(worker);
        vmms_fact_free(fact);
        return 0;
    }
    if (strcmp(fact->state, "stopped") == 0) {
        vmms_worker_expect_end(worker);
    } else if (!is_within(worker, &worker->state_budget, "state")) {
        vmms_fact_free(fact);
        return 0;
    }
    vmms_worker_tell(worker, fact);
    return 0;
}

static int heard(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    if (sd_bus_message_is_signal(m, WORKER_INTERFACE, "StateChanged"))
        return state_changed(userdata, m);
    if (sd_bus_message_is_signal(m, WORKER_INTERFACE, "SaveProgress"))
        return vmms_save_progressed(userdata, m);
    if (sd_bus_message_is_signal(m, WORKER_INTERFACE, "Figures"))
        return vmms_figures_heard(userdata, m);
    return vmms_guest_heard(userdata, m);
}

/* Connecting */

static int connect_socket(const struct worker *worker)
{
    hv_autofree char *path = vmms_path_socket(worker->spawner->config.runtime_dir, worker->row.id);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    hv_autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (!path || fd < 0)
        return -ENOMEM;
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return HV_TAKE_FD(fd);
}

static void went_down(void *opaque, int r)
{
    struct worker *worker = opaque;

    vmms_worker_say(worker, HV_LOG_DEBUG, NULL, "The connection to the worker of VM %s ended: %s.",
                    worker->row.settings.name, strerror(-r));
    vmms_channel_retry(worker, strerror(-r), false);
}

static int start_bus(struct worker *worker, int fd)
{
    return vmms_bus_open_peer(worker->spawner->config.loop, fd, heard, went_down, worker,
                              &worker->bus);
}

int vmms_channel_connect(struct worker *worker)
{
    int fd = connect_socket(worker), r;

    worker->connects++;
    if (fd < 0)
        return fd;
    r = start_bus(worker, fd);
    return r < 0 ? r : send_hello(worker);
}

void vmms_channel_close(struct worker *worker)
{
    HV_LIST_FOREACH (node, &worker->asks)
        vmms_ask_fail(HV_LIST_ENTRY(node, struct ask, node),
                      vmms_channel_error(worker, NULL, ECONNRESET));
    worker->bus = vmms_bus_close(worker->bus);
    (void)uv_timer_stop(&worker->quiet);
}

/* Verbs */

int vmms_verb_answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct ask *ask = userdata;
    struct worker *worker = ask->worker;
    enum vmms_worker_verb verb = ask->verb;
    const sd_bus_error *error = sd_bus_message_get_error(m);

    vmms_ask_free(ask);
    tell_answer(worker, verb,
                error ? vmms_channel_error(worker, error, sd_bus_error_get_errno(error)) : NULL);
    return 0;
}

void vmms_ask_send(struct ask *ask, sd_bus_message *m, sd_bus_message_handler_t answered,
                   uint64_t deadline_ms, int r)
{
    struct worker *worker = ask->worker;

    if (r >= 0)
        r = sd_bus_call_async(vmms_bus_get(worker->bus), &ask->slot, m, answered, ask,
                              deadline_ms * 1000);
    if (r < 0)
        vmms_ask_fail(ask, vmms_channel_error(worker, NULL, -r));
    else
        vmms_bus_update(worker->bus);
}

int vmms_channel_new_call(const struct worker *worker, const char *method, sd_bus_message **ret)
{
    if (!worker->bus || !worker->is_greeted)
        return -ENOTCONN;
    return sd_bus_message_new_method_call(vmms_bus_get(worker->bus), ret, NULL, WORKER_PATH,
                                          WORKER_INTERFACE, method);
}

void vmms_channel_ask(struct worker *worker, enum vmms_worker_verb verb)
{
    static const char *const methods[] = {
        [VMMS_WORKER_START] = "Start",      [VMMS_WORKER_PAUSE] = "Pause",
        [VMMS_WORKER_RESUME] = "Resume",    [VMMS_WORKER_RESET] = "Reset",
        [VMMS_WORKER_TURN_OFF] = "TurnOff", [VMMS_WORKER_CANCEL_SAVE] = "CancelSave",
        [VMMS_WORKER_LOOK] = "GetStats",
    };
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_VERB);
    int r = vmms_channel_new_call(worker, methods[verb], &m);

    ask->verb = verb;
    vmms_ask_send(ask, m, vmms_verb_answered, verb == VMMS_WORKER_TURN_OFF ? TURN_OFF_MS : VERB_MS,
                  r);
}

/* Statistics */

static int stats_answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct ask *ask = userdata;
    struct api_vm_stats stats = { 0 };
    const sd_bus_error *error = sd_bus_message_get_error(m);
    int r;

    if (error) {
        vmms_ask_fail(ask, vmms_channel_error(ask->worker, error, sd_bus_error_get_errno(error)));
        return 0;
    }
    r = vmms_figures_read(m, ask->worker, &stats);
    if (r < 0) {
        vmms_ask_fail(ask, vmms_channel_error(ask->worker, NULL, -r));
        return 0;
    }
    ask->stats(ask->opaque, &stats, NULL);
    vmms_ask_free(ask);
    return 0;
}

void vmms_channel_stats(struct worker *worker, vmms_stats_fn *done, void *opaque)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_STATS);
    int r;

    ask->stats = done;
    ask->opaque = opaque;
    r = vmms_channel_new_call(worker, "GetStats", &m);
    vmms_ask_send(ask, m, stats_answered, STATS_MS, r);
}

/* Consoles */

static int console_answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct ask *ask = userdata;
    const sd_bus_error *error = sd_bus_message_get_error(m);
    uint64_t start;
    int fd, r;

    r = error ? -sd_bus_error_get_errno(error) : sd_bus_message_read(m, "ht", &fd, &start);
    if (r < 0) {
        vmms_ask_fail(ask, NULL);
        return 0;
    }
    /* The message's descriptor goes with the message. */
    ask->console(ask->opaque, fcntl(fd, F_DUPFD_CLOEXEC, 3), start);
    vmms_ask_free(ask);
    return 0;
}

void vmms_channel_console(struct worker *worker, uint32_t port, uint64_t from,
                          vmms_console_fn *done, void *opaque)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_CONSOLE);
    int r;

    ask->console = done;
    ask->opaque = opaque;
    r = vmms_channel_new_call(worker, "OpenConsole", &m);
    if (r >= 0)
        r = sd_bus_message_append(m, "ut", port, from);
    vmms_ask_send(ask, m, console_answered, VERB_MS, r);
}
