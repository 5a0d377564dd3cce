/* SPDX-License-Identifier: Apache-2.0 */
/* One process of `vmwp --image`, and what is said to it: schemas/worker/org.hvstack.Image1.xml. It
 * reads hostile files, so what it says is taken as if it were one of them. */
#include "vmmsd/spawn/image_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define IMAGE_PATH      "/org/hvstack/Image1"
#define IMAGE_INTERFACE "org.hvstack.Image1"

enum { PROBE_MS = 15000, CANCEL_MS = 3000, TEXT_MAX = 4096, PROBLEMS_MAX = 256, CONTROL_FD = 3 };

struct image_worker {
    struct hv_list node;
    struct vmms_images *images;
    uint64_t job;
    uv_process_t process;
    uv_timer_t timer;
    unsigned handles;
    struct vmms_bus *bus;
    sd_bus_slot *slot;        /* of the question that has no answer yet */
    sd_bus_message *question; /* that waits for the connection to stand */
    uint64_t question_us;     /* its deadline */
    bool is_ready;
    image_answer_fn *done;
    image_progress_fn *progress;
    void *opaque;
    bool is_released;
    bool has_exited;
    bool is_cancelled;
    bool is_killed; /* by us, for it did not stop */
    char end[64];   /* how its process ended */
    void (*ended)(void *opaque);
    void *ended_opaque;
};

void image_answer_fini(struct image_answer *answer)
{
    char **texts[] = { &answer->format,          &answer->kind,           &answer->identity,
                       &answer->data_write,      &answer->parent_id,      &answer->parent_id2,
                       &answer->parent_relative, &answer->parent_absolute };

    for (size_t i = 0; i < HV_ARRAY_SIZE(texts); i++)
        free(*texts[i]);
    for (size_t i = 0; i < answer->n_problems; i++)
        free(answer->problems[i]);
    free(answer->problems);
    *answer = (struct image_answer){ 0 };
}

/* Reading answers */

struct slot {
    const char *key;
    char type;
    void *to;
};

static int take_texts(sd_bus_message *m, struct image_answer *ret)
{
    int r = sd_bus_message_enter_container(m, 'v', "as");
    const char *text;
    char **grown;

    r = r < 0 ? r : sd_bus_message_enter_container(m, 'a', "s");
    while (r >= 0 && (r = sd_bus_message_read(m, "s", &text)) > 0) {
        if (ret->n_problems == PROBLEMS_MAX)
            continue;
        grown = reallocarray(ret->problems, ret->n_problems + 1, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        ret->problems = grown;
        grown[ret->n_problems] = strndup(text, TEXT_MAX);
        if (!grown[ret->n_problems++])
            return -ENOMEM;
    }
    r = r < 0 ? r : sd_bus_message_exit_container(m);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int take_value(sd_bus_message *m, const struct slot *slot)
{
    const char type[2] = { slot->type, '\0' };
    const char *text;
    int r, flag;

    if (slot->type == 'b') {
        r = sd_bus_message_read(m, "v", "b", &flag);
        *(bool *)slot->to = r >= 0 && flag;
        return r;
    }
    if (slot->type != 's')
        return sd_bus_message_read(m, "v", type, slot->to);
    r = sd_bus_message_read(m, "v", "s", &text);
    if (r < 0)
        return r;
    free(*(char **)slot->to);
    *(char **)slot->to = strndup(text, TEXT_MAX);
    return *(char **)slot->to ? 0 : -ENOMEM;
}

static int take_entry(sd_bus_message *m, const struct slot *slots, size_t count,
                      struct image_answer *ret)
{
    const char *key;
    int r = sd_bus_message_read(m, "s", &key);

    if (r < 0)
        return r;
    if (strcmp(key, "problems") == 0)
        return take_texts(m, ret);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(slots[i].key, key) == 0)
            return take_value(m, &slots[i]);
    }
    return sd_bus_message_skip(m, "v");
}

/* What went wrong, in the worker's words. */
struct failure {
    char *code;
    char *message;
    uint32_t errnum;
};

static int read_answer(sd_bus_message *m, struct image_answer *ret, struct failure *failure)
{
    const struct slot slots[] = {
        { "error", 's', &failure->code },
        { "message", 's', &failure->message },
        { "errno", 'u', &failure->errnum },
        { "format", 's', &ret->format },
        { "kind", 's', &ret->kind },
        { "identity", 's', &ret->identity },
        { "data_write", 's', &ret->data_write },
        { "parent_id", 's', &ret->parent_id },
        { "parent_id2", 's', &ret->parent_id2 },
        { "parent_relative", 's', &ret->parent_relative },
        { "parent_absolute", 's', &ret->parent_absolute },
        { "bytes", 't', &ret->bytes },
        { "file_bytes", 't', &ret->file_bytes },
        { "logical_bytes", 'u', &ret->logical_bytes },
        { "physical_bytes", 'u', &ret->physical_bytes },
        { "block_bytes", 'u', &ret->block_bytes },
        { "is_log_pending", 'b', &ret->is_log_pending },
        { "has_parent", 'b', &ret->has_parent },
        { "is_cut_short", 'b', &ret->is_cut_short },
    };
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");

    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = take_entry(m, slots, HV_ARRAY_SIZE(slots), ret);
        r = r < 0 ? r : sd_bus_message_exit_container(m);
    }
    return r;
}

static enum api_error_code code_of(const struct failure *failure)
{
    static const struct {
        uint32_t errnum;
        enum api_error_code code;
    } rows[] = {
        { EUCLEAN, API_E_CORRUPT_IMAGE },    { EOPNOTSUPP, API_E_NOT_SUPPORTED },
        { EINVAL, API_E_INVALID_PARAMETER }, { ECANCELED, API_E_CANCELLED },
        { ENOSPC, API_E_DISK_FULL },         { EDQUOT, API_E_DISK_FULL },
        { EIO, API_E_STORAGE_CRITICAL },     { ENOMEM, API_E_OUT_OF_MEMORY },
        { EEXIST, API_E_ALREADY_EXISTS },    { ELOOP, API_E_PARENT_MISMATCH },
        { ERANGE, API_E_INVALID_PARAMETER }, { EFBIG, API_E_DISK_FULL },
    };

    if (strcmp(failure->code, "image.chain.parent") == 0)
        return API_E_PARENT_MISSING;
    if (strncmp(failure->code, "image.chain.", 12) == 0)
        return API_E_PARENT_MISMATCH;
    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        if (rows[i].errnum == failure->errnum)
            return rows[i].code;
    }
    return API_E_FAILED;
}

static struct api_error *failure_error(const struct failure *failure)
{
    struct api_error *error = NULL;

    api_error_set(&error, code_of(failure), failure->code, NULL, "%.1500s",
                  failure->message ? failure->message : "The work on the image failed.");
    return error;
}

/* The end of a question */

static void conclude(struct image_worker *worker, struct image_answer *answer,
                     struct api_error *error)
{
    image_answer_fn *done = worker->done;
    void *opaque = worker->opaque;

    worker->slot = sd_bus_slot_unref(worker->slot);
    worker->question = sd_bus_message_unref(worker->question);
    worker->done = NULL;
    worker->progress = NULL;
    (void)uv_timer_stop(&worker->timer);
    if (done)
        done(opaque, answer, error);
    else
        api_error_free(error);
}

static void lost(struct image_worker *worker, const char *how)
{
    struct api_error *error = NULL;

    if (worker->is_killed)
        api_error_set(&error, API_E_CANCELLED, "image.cancelled", NULL,
                      "The work on the image was stopped.");
    else
        api_error_set(&error, API_E_WORKER_LOST, "image.worker_lost", NULL,
                      "The worker on the image %.100s.", how);
    conclude(worker, NULL, error);
}

static int answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct image_worker *worker = userdata;
    const sd_bus_error *refusal = sd_bus_message_get_error(m);
    struct image_answer answer = { 0 };
    struct failure failure = { 0 };

    if (refusal && sd_bus_is_open(vmms_bus_get(worker->bus)) <= 0)
        return 0; /* its end will say more */
    if (refusal)
        lost(worker, sd_bus_error_has_name(refusal, SD_BUS_ERROR_NO_REPLY) ||
                             sd_bus_error_has_name(refusal, SD_BUS_ERROR_TIMEOUT)
                         ? "does not answer"
                         : "refused the order");
    else if (read_answer(m, &answer, &failure) < 0)
        lost(worker, "answered something malformed");
    else if (failure.code)
        conclude(worker, NULL, failure_error(&failure));
    else
        conclude(worker, &answer, NULL);
    image_answer_fini(&answer);
    free(failure.code);
    free(failure.message);
    return 0;
}

static int heard(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct image_worker *worker = userdata;
    uint64_t done, total;

    if (sd_bus_message_is_signal(m, IMAGE_INTERFACE, "Progress") > 0 && worker->progress &&
        sd_bus_message_read(m, "tt", &done, &total) >= 0)
        worker->progress(worker->opaque, done, total);
    return 0;
}

/* Process */

static void handle_closed(uv_handle_t *handle)
{
    struct image_worker *worker = handle->data;

    if (--worker->handles > 0)
        return;
    hv_list_remove(&worker->node);
    free(worker);
}

static void close_handles(struct image_worker *worker)
{
    if (worker->handles == 2)
        uv_close((uv_handle_t *)&worker->process, handle_closed);
    uv_close((uv_handle_t *)&worker->timer, handle_closed);
}

static void exited(uv_process_t *process, int64_t status, int signal)
{
    struct image_worker *worker = process->data;

    worker->has_exited = true;
    worker->bus = vmms_bus_close(worker->bus);
    if (worker->is_released) {
        close_handles(worker);
        if (worker->ended)
            worker->ended(worker->ended_opaque);
        return;
    }
    (void)snprintf(worker->end, sizeof(worker->end),
                   signal ? "was killed by signal %d" : "ended with status %d",
                   signal ? signal : (int)status);
    if (worker->done)
        lost(worker, worker->end);
}

struct image_worker *image_worker_free(struct image_worker *worker)
{
    if (!worker || worker->is_released)
        return NULL;
    worker->is_released = true;
    worker->slot = sd_bus_slot_unref(worker->slot);
    worker->question = sd_bus_message_unref(worker->question);
    worker->done = NULL;
    worker->progress = NULL;
    worker->bus = vmms_bus_close(worker->bus);
    (void)uv_timer_stop(&worker->timer);
    if (worker->has_exited)
        close_handles(worker);
    else
        (void)uv_process_kill(&worker->process, SIGKILL);
    return NULL;
}

void image_worker_end(struct image_worker *worker, void (*ended)(void *opaque), void *opaque)
{
    bool has_exited = worker->has_exited;

    if (!has_exited) {
        worker->ended = ended;
        worker->ended_opaque = opaque;
    }
    image_worker_free(worker);
    if (has_exited)
        ended(opaque);
}

void image_workers_forget(struct vmms_images *images)
{
    HV_LIST_FOREACH (node, &images->workers)
        HV_LIST_ENTRY(node, struct image_worker, node)->ended = NULL;
}

static void went_down(void *opaque, int r)
{
    struct image_worker *worker = opaque;

    /* A worker without a connection is no use; its end, which is near, says how it came. */
    worker->bus = vmms_bus_close(worker->bus);
    (void)uv_process_kill(&worker->process, SIGKILL);
}

static void send_question(struct image_worker *worker);

static int greeted(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct image_worker *worker = userdata;

    if (sd_bus_message_get_error(m)) {
        /* Where it has broken, its end will say more. */
        if (worker->question && sd_bus_is_open(vmms_bus_get(worker->bus)) > 0)
            lost(worker, "does not answer");
        return 0;
    }
    worker->is_ready = true;
    if (worker->question)
        send_question(worker);
    return 0;
}

/* sd-bus would wait for the other side, and the loop with it, before it sends a descriptor on a
 * connection that does not stand yet. A first call that has none is simply queued. */
static int greet(struct image_worker *worker)
{
    return sd_bus_call_method_async(vmms_bus_get(worker->bus), NULL, NULL, IMAGE_PATH,
                                    "org.freedesktop.DBus.Peer", "Ping", greeted, worker, "");
}

static int open_bus(struct image_worker *worker, int fd)
{
    int r =
        vmms_bus_open_peer(worker->images->config.loop, fd, heard, went_down, worker, &worker->bus);

    if (r < 0)
        return r;
    r = greet(worker);
    vmms_bus_update(worker->bus);
    return r;
}

static int spawn(struct image_worker *worker, int peer)
{
    char *args[] = { (char *)"vmwp", (char *)"--image", NULL }, *environment[] = { NULL };
    uv_stdio_container_t stdio[] = { { .flags = UV_IGNORE },
                                     { .flags = UV_IGNORE },
                                     { .flags = UV_INHERIT_FD, .data.fd = 2 },
                                     { .flags = UV_INHERIT_FD, .data.fd = peer } };
    uv_process_options_t options = { .exit_cb = exited,
                                     .file = worker->images->config.worker_path,
                                     .args = args,
                                     .env = environment,
                                     .flags = UV_PROCESS_DETACHED,
                                     .stdio = stdio,
                                     .stdio_count = CONTROL_FD + 1 };

    return uv_spawn(worker->images->config.loop, &worker->process, &options);
}

static int start(struct image_worker *worker)
{
    hv_autofd int peer = -1;
    int pair[2], r;

    worker->has_exited = true;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    peer = pair[1];
    worker->handles++;
    r = spawn(worker, peer);
    if (r < 0) {
        hv_close(pair[0]);
        return r;
    }
    worker->has_exited = false;
    return open_bus(worker, pair[0]);
}

int image_worker_new(struct vmms_images *images, uint64_t job, struct image_worker **ret,
                     struct api_error **reterr)
{
    struct image_worker *worker = calloc(1, sizeof(*worker));
    int r;

    hv_assert(worker);
    worker->images = images;
    worker->job = job;
    worker->handles = 1;
    hv_list_append(&images->workers, &worker->node);
    (void)uv_timer_init(images->config.loop, &worker->timer);
    r = start(worker);
    worker->process.data = worker->timer.data = worker;
    if (r < 0) {
        image_worker_free(worker);
        return api_error_set(reterr, API_E_NOT_AVAILABLE, "image.worker", NULL,
                             "The worker %s cannot be started: %s.", images->config.worker_path,
                             strerror(-r));
    }
    *ret = worker;
    return 0;
}

bool image_worker_of_pid(const struct vmms_images *images, int pid, uint64_t *ret_job)
{
    HV_LIST_FOREACH (node, &images->workers) {
        const struct image_worker *worker = HV_LIST_ENTRY(node, struct image_worker, node);

        if (!worker->has_exited && worker->process.pid == pid) {
            *ret_job = worker->job;
            return true;
        }
    }
    return false;
}

/* Questions */

static int append_file(sd_bus_message *m, const struct vmms_image_file *file, const char *format)
{
    return sd_bus_message_append(m, "(hss)", file->fd, file->path, format);
}

static const char *format_name(enum api_image_format format)
{
    static const char *const names[] = { [API_IMAGE_FORMAT_RAW] = "raw",
                                         [API_IMAGE_FORMAT_VHD] = "vhd",
                                         [API_IMAGE_FORMAT_VHDX] = "vhdx" };

    return names[format];
}

static int new_call(struct image_worker *worker, const char *method, sd_bus_message **ret)
{
    if (!worker->bus)
        return -ENOTCONN;
    return sd_bus_message_new_method_call(vmms_bus_get(worker->bus), ret, NULL, IMAGE_PATH,
                                          IMAGE_INTERFACE, method);
}

static void broken(uv_timer_t *timer)
{
    struct image_worker *worker = timer->data;

    lost(worker, worker->end);
}

/* Where sending fails, it is told from the loop like any other end. */
static void cannot_ask(struct image_worker *worker, int r)
{
    bool is_gone = r == -ENOTCONN || r == -ECONNRESET;

    if (is_gone && !worker->has_exited) {
        (void)uv_process_kill(&worker->process, SIGKILL);
        return; /* its end, which is near, says how it came */
    }
    if (!worker->has_exited)
        (void)snprintf(worker->end, sizeof(worker->end), "cannot be asked: %s", strerror(-r));
    (void)uv_timer_start(&worker->timer, broken, 0, 0);
}

static void send_question(struct image_worker *worker)
{
    int r = sd_bus_call_async(vmms_bus_get(worker->bus), &worker->slot, worker->question, answered,
                              worker, worker->question_us);

    worker->question = sd_bus_message_unref(worker->question);
    if (r < 0)
        cannot_ask(worker, r);
    else
        vmms_bus_update(worker->bus);
}

static void overdue(uv_timer_t *timer)
{
    struct image_worker *worker = timer->data;

    worker->is_killed = true;
    (void)uv_process_kill(&worker->process, SIGKILL);
}

/* What it was asked is to end soon, with or without its help. */
static void hurry(struct image_worker *worker)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;

    if (worker->is_ready && new_call(worker, "Cancel", &m) >= 0 &&
        sd_bus_send(vmms_bus_get(worker->bus), m, NULL) >= 0)
        vmms_bus_update(worker->bus);
    (void)uv_timer_start(&worker->timer, overdue, CANCEL_MS, 0);
}

void image_worker_cancel(struct image_worker *worker)
{
    if (worker->has_exited)
        return;
    worker->is_cancelled = true;
    if (worker->done)
        hurry(worker);
}

static void ask(struct image_worker *worker, sd_bus_message *m, uint64_t deadline_us, int r,
                image_answer_fn *done, void *opaque)
{
    worker->done = done;
    worker->opaque = opaque;
    if (r < 0) {
        cannot_ask(worker, r);
        return;
    }
    worker->question = sd_bus_message_ref(m);
    worker->question_us = deadline_us;
    if (worker->is_cancelled && !worker->has_exited)
        hurry(worker);
    if (worker->is_ready)
        send_question(worker);
}

void image_worker_probe(struct image_worker *worker, const struct vmms_image_file *file,
                        image_answer_fn *done, void *opaque)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = new_call(worker, "Probe", &m);

    r = r < 0 ? r : append_file(m, file, format_name(file->format));
    ask(worker, m, PROBE_MS * UINT64_C(1000), r, done, opaque);
}

static int append_chain(sd_bus_message *m, const struct vmms_image_file *files, size_t count)
{
    int r = sd_bus_message_open_container(m, 'a', "(hss)");

    for (size_t i = 0; r >= 0 && i < count; i++)
        r = append_file(m, &files[i], format_name(files[i].format));
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_options(sd_bus_message *m, const struct image_run *run)
{
    const struct {
        const char *key, *text;
    } texts[] = { { "format", run->format },
                  { "kind", run->kind },
                  { "mode", run->mode },
                  { "parent_relative", run->parent_relative },
                  { "parent_absolute", run->parent_absolute } };
    const struct {
        const char *key;
        uint32_t number;
    } numbers[] = { { "block_bytes", run->block_bytes },
                    { "logical_bytes", run->logical_bytes },
                    { "physical_bytes", run->physical_bytes } };
    int r = sd_bus_message_open_container(m, 'a', "{sv}");

    for (size_t i = 0; r >= 0 && i < HV_ARRAY_SIZE(texts); i++) {
        if (texts[i].text)
            r = sd_bus_message_append(m, "{sv}", texts[i].key, "s", texts[i].text);
    }
    for (size_t i = 0; r >= 0 && i < HV_ARRAY_SIZE(numbers); i++)
        r = sd_bus_message_append(m, "{sv}", numbers[i].key, "u", numbers[i].number);
    r = r < 0 ? r : sd_bus_message_append(m, "{sv}", "bytes", "t", run->bytes);
    r = r < 0 ? r : sd_bus_message_append(m, "{sv}", "force", "b", run->is_forced);
    r = r < 0 ? r : sd_bus_message_append(m, "{sv}", "is_partial", "b", run->is_partial);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

void image_worker_run(struct image_worker *worker, const struct image_run *run,
                      image_progress_fn *progress, image_answer_fn *done, void *opaque)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = new_call(worker, "Run", &m);

    r = r < 0 ? r : sd_bus_message_append(m, "s", run->operation);
    r = r < 0 ? r : append_chain(m, run->chain, run->n_chain);
    r = r < 0 ? r : append_chain(m, run->target, run->target ? 1 : 0);
    r = r < 0 ? r : append_options(m, run);
    worker->progress = progress;
    ask(worker, m, UINT64_MAX, r, done, opaque);
}
