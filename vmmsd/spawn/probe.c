/* SPDX-License-Identifier: Apache-2.0 */
/* What this host can do, as `vmwp --probe` says: asked once, off the loop, with a deadline. */
#include "vmmsd/spawn/worker_priv.h"

#include "api/rpc/json.h"

#include <stdio.h>
#include <string.h>

enum { PROBE_MS = 20000, OUTPUT_MAX = 16 << 10 };

struct probe {
    vmms_probe_fn *done;
    void *opaque;
    const char *path;
    uv_process_t process;
    uv_pipe_t pipe;
    uv_timer_t timer;
    unsigned handles;
    char output[OUTPUT_MAX];
    size_t length;
    bool is_over, has_exited, is_at_end, is_late;
    int64_t exit_status;
    int signal;
};

static void take_text(const struct json_value *root, const char *key, char **ret)
{
    const struct json_value *value = json_get(root, key);

    if (value && value->type == JSON_STRING)
        *ret = strdup(value->text);
}

static bool take_bool(const struct json_value *root, const char *key)
{
    const struct json_value *value = json_get(root, key);

    return value && value->type == JSON_BOOL && value->boolean;
}

static double take_double(const struct json_value *root, const char *key)
{
    const struct json_value *value = json_get(root, key);
    char text[72] = "";

    if (value && value->type == JSON_NUMBER && value->length < sizeof(text))
        memcpy(text, value->text, value->length);
    return strtod(text, NULL);
}

static bool read_probe(const struct probe *probe, struct api_host *ret)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct json_value *root;
    struct json_fault fault;

    if (json_parse(probe->output, probe->length, &json_limits_request, &doc, &fault) < 0)
        return false;
    root = json_doc_root(doc);
    take_text(root, "backend", &ret->backend);
    take_text(root, "reason", &ret->backend_reason);
    take_text(root, "cpu_model", &ret->cpu_model);
    take_text(root, "version", &ret->worker_version);
    ret->has_kvm = take_bool(root, "has_kvm");
    ret->kvm_is_fast = take_bool(root, "kvm_is_fast");
    ret->kvm_ns_per_iteration = take_double(root, "kvm_ns_per_iteration");
    return ret->backend != NULL;
}

static void conclude(struct probe *probe)
{
    struct api_host host = { 0 };
    char why[256];

    if (probe->is_late)
        (void)snprintf(why, sizeof(why), "%.128s --probe did not end in time.", probe->path);
    else if (probe->signal || probe->exit_status)
        (void)snprintf(why, sizeof(why), "%.128s --probe ended with %s %d.", probe->path,
                       probe->signal ? "signal" : "status",
                       probe->signal ? probe->signal : (int)probe->exit_status);
    else if (!read_probe(probe, &host))
        (void)snprintf(why, sizeof(why), "%.128s --probe printed something else than expected.",
                       probe->path);
    else {
        probe->done(probe->opaque, &host, NULL);
        api_host_fini(&host);
        return;
    }
    api_host_fini(&host);
    probe->done(probe->opaque, NULL, why);
}

static void handle_closed(uv_handle_t *handle)
{
    struct probe *probe = handle->data;

    if (--probe->handles == 0)
        free(probe);
}

static void advance(struct probe *probe)
{
    if (probe->is_over || !probe->has_exited || !probe->is_at_end)
        return;
    probe->is_over = true;
    uv_close((uv_handle_t *)&probe->process, handle_closed);
    uv_close((uv_handle_t *)&probe->pipe, handle_closed);
    uv_close((uv_handle_t *)&probe->timer, handle_closed);
    conclude(probe);
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct probe *probe = handle->data;

    *ret = uv_buf_init(probe->output + probe->length, (unsigned)(OUTPUT_MAX - probe->length));
}

static void took(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct probe *probe = stream->data;

    if (count >= 0) {
        probe->length += (size_t)count;
        return;
    }
    (void)uv_read_stop(stream);
    probe->is_at_end = true;
    advance(probe);
}

static void exited(uv_process_t *process, int64_t exit_status, int signal)
{
    struct probe *probe = process->data;

    probe->has_exited = true;
    probe->exit_status = exit_status;
    probe->signal = signal;
    advance(probe);
}

static void overdue(uv_timer_t *timer)
{
    struct probe *probe = timer->data;

    probe->is_late = true;
    probe->is_at_end = true;
    (void)uv_process_kill(&probe->process, SIGKILL);
    advance(probe);
}

void vmms_spawner_probe(struct vmms_spawner *spawner, vmms_probe_fn *done, void *opaque)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    char *args[] = { (char *)"vmwp", (char *)"--probe", NULL }, *environment[] = { NULL };
    uv_stdio_container_t stdio[] = { { .flags = UV_IGNORE },
                                     { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE },
                                     { .flags = UV_INHERIT_FD, .data.fd = 2 } };
    uv_process_options_t options = { .exit_cb = exited,
                                     .file = spawner->config.worker_path,
                                     .args = args,
                                     .env = environment,
                                     .stdio = stdio,
                                     .stdio_count = 3 };
    char why[256];
    int r;

    hv_assert(probe);
    probe->done = done;
    probe->opaque = opaque;
    probe->path = spawner->config.worker_path;
    probe->process.data = probe->pipe.data = probe->timer.data = probe;
    (void)uv_pipe_init(spawner->config.loop, &probe->pipe, 0);
    (void)uv_timer_init(spawner->config.loop, &probe->timer);
    stdio[1].data.stream = (uv_stream_t *)&probe->pipe;
    probe->handles = 3;
    r = uv_spawn(spawner->config.loop, &probe->process, &options);
    if (r < 0) {
        (void)snprintf(why, sizeof(why), "%.128s cannot be run: %s.", probe->path, uv_strerror(r));
        probe->is_over = true;
        uv_close((uv_handle_t *)&probe->process, handle_closed);
        uv_close((uv_handle_t *)&probe->pipe, handle_closed);
        uv_close((uv_handle_t *)&probe->timer, handle_closed);
        done(opaque, NULL, why);
        return;
    }
    (void)uv_read_start((uv_stream_t *)&probe->pipe, give_room, took);
    (void)uv_timer_start(&probe->timer, overdue, PROBE_MS, 0);
}
