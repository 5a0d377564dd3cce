/* SPDX-License-Identifier: Apache-2.0 */
/* What this host can do, as `vmwp --probe` says: asked once, off the loop, with a deadline. */
#include "vmmsd/spawn/worker_priv.h"

#include "api/rpc/json.h"
#include "hvcore/base/clock.h"
#include "vmmsd/spawn/process.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { PROBE_MS = 20000, OUTPUT_MAX = 16 << 10, FIRST_FREE_FD = 3 };

struct probe {
    uv_work_t work;
    vmms_probe_fn *done;
    void *opaque;
    const char *path;
    uint64_t deadline_ns;
    char output[OUTPUT_MAX];
    size_t length;
    int error; /* negative errno: it could not be run */
    bool is_late;
    siginfo_t end;
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

    if (probe->error)
        (void)snprintf(why, sizeof(why), "%.128s cannot be run: %s.", probe->path,
                       strerror(-probe->error));
    else if (probe->is_late)
        (void)snprintf(why, sizeof(why), "%.128s --probe did not end in time.", probe->path);
    else if (probe->end.si_status)
        (void)snprintf(why, sizeof(why), "%.128s --probe ended with %s %d.", probe->path,
                       probe->end.si_code == CLD_EXITED ? "status" : "signal",
                       probe->end.si_status);
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

/* In the pool */

static int left_ms(const struct probe *probe)
{
    uint64_t now = hv_clock_monotonic_ns();

    return now < probe->deadline_ns ? (int)((probe->deadline_ns - now) / HV_NS_PER_MS) + 1 : 0;
}

/* Until there is something to read, or the time is over. */
static bool wait_for(struct probe *probe, int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    int r;

    do {
        r = poll(&poll_fd, 1, left_ms(probe));
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        probe->is_late = true;
    return r > 0;
}

static void read_output(struct probe *probe, int fd)
{
    ssize_t count = 1;

    while (count > 0 && probe->length < OUTPUT_MAX && wait_for(probe, fd)) {
        count = read(fd, probe->output + probe->length, OUTPUT_MAX - probe->length);
        if (count > 0)
            probe->length += (size_t)count;
    }
}

static int start(struct probe *probe, int *ret_output)
{
    char *const argv[] = { (char *)"vmwp", (char *)"--probe", NULL };
    hv_autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC), high_null = -1, in = -1, log = -1;
    int ends[2], fds[3];

    if (null < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_output = ends[0];
    in = fcntl(ends[1], F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    hv_close(ends[1]);
    high_null = fcntl(null, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    log = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    if (in < 0 || high_null < 0)
        return -errno;
    fds[0] = high_null;
    fds[1] = in;
    fds[2] = log;
    return vmms_process_spawn(&(struct vmms_program){
        .path = probe->path, .argv = argv, .fds = fds, .count = HV_ARRAY_SIZE(fds) });
}

static void probe_work(uv_work_t *work)
{
    struct probe *probe = work->data;
    hv_autofd int output = -1, pidfd = -1;
    int pid = start(probe, &output);

    if (pid < 0) {
        probe->error = pid;
        return;
    }
    pidfd = vmms_pidfd_open(pid);
    read_output(probe, output);
    if (pidfd >= 0 && !probe->is_late && wait_for(probe, pidfd))
        (void)vmms_pidfd_reap(pidfd, &probe->end);
    else
        vmms_kill_child(pid);
}

static void probe_done(uv_work_t *work, int status)
{
    struct probe *probe = work->data;

    conclude(probe);
    free(probe);
}

void vmms_spawner_probe(struct vmms_spawner *spawner, vmms_probe_fn *done, void *opaque)
{
    struct probe *probe = calloc(1, sizeof(*probe));

    hv_assert(probe);
    probe->work.data = probe;
    probe->done = done;
    probe->opaque = opaque;
    probe->path = spawner->config.worker_path;
    probe->deadline_ns = hv_clock_monotonic_ns() + PROBE_MS * HV_NS_PER_MS;
    hv_assert(uv_queue_work(spawner->config.loop, &probe->work, probe_work, probe_done) == 0);
}
