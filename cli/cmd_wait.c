/* SPDX-License-Identifier: Apache-2.0 */
/* Wait by listening: subscribed first, looked at then, so that no change is missed between. */
#include "cli/adm.h"

#include "hvcore/base/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { LOOK_MS = 200 }; /* between two looks through a bus, which has no streams */

/* What is waited for: a state, or one of these. */
struct goal {
    const char *name;
    bool (*is_so)(const struct api_vm *vm, const struct goal *goal);
    enum api_vm_state state;
    const char *yet; /* "VM x ..." */
};

static bool is_state(const struct api_vm *vm, const struct goal *goal)
{
    return vm->state == goal->state;
}

static bool has_heartbeat(const struct api_vm *vm, const struct goal *goal)
{
    return vm->has & API_VM_HAS_HEARTBEAT && vm->heartbeat == API_HEARTBEAT_OK;
}

static bool has_address(const struct api_vm *vm, const struct goal *goal)
{
    return vm->n_guest_addresses;
}

static const struct goal goals[] = {
    { "running", is_state, API_VM_STATE_RUNNING, "is not running yet" },
    { "paused", is_state, API_VM_STATE_PAUSED, "is not paused yet" },
    { "saved", is_state, API_VM_STATE_SAVED, "is not saved yet" },
    { "off", is_state, API_VM_STATE_OFF, "is not off yet" },
    { "starting", is_state, API_VM_STATE_STARTING, "is not starting yet" },
    { "stopping", is_state, API_VM_STATE_STOPPING, "is not stopping yet" },
    { "heartbeat", has_heartbeat, API_VM_STATE_RUNNING, "has a guest that does not answer yet" },
    { "ip", has_address, API_VM_STATE_RUNNING, "has a guest without an address yet" },
};

const char *adm_wait_goal(size_t index)
{
    return index < HV_ARRAY_SIZE(goals) ? goals[index].name : NULL;
}

static const struct goal *goal_of(const char *name)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(goals); i++) {
        if (strcmp(goals[i].name, name) == 0)
            return &goals[i];
    }
    return NULL;
}

/* Returns 0, or -EINVAL with *reterr. */
static int look(struct adm *adm, const char *vm, const struct goal *wanted, bool *ret_is_so,
                struct api_error **reterr)
{
    struct json_writer params = { 0 };
    hv_autofree char *text = NULL;
    union api_result result;
    int r;

    json_begin_object(&params);
    json_key(&params, "vm");
    json_put_string(&params, vm);
    text = adm_end_params(&params);
    r = api_client_get(adm->client, API_METHOD_VM_GET, text, &result, reterr);
    if (r < 0)
        return r;
    *ret_is_so = wanted->is_so(&result.vm, wanted);
    api_vm_fini(&result.vm);
    return 0;
}

static int fail_timeout(const struct adm *adm, const char *vm, const struct goal *wanted)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_TIMEOUT, "vm.wait", NULL, "VM %s %s.", vm, wanted->yet);
    return adm_fail(adm, error);
}

/* Wait for the next event. Returns 0 (look again), 1 (time is up), negative errno. */
static int next_event(struct api_stream *stream, uint64_t deadline_ns)
{
    struct pollfd readable = { .fd = api_stream_fd(stream), .events = POLLIN };
    struct api_message message;
    uint64_t now = hv_clock_monotonic_ns();
    int r;

    if (now >= deadline_ns)
        return 1;
    r = api_stream_is_ready(stream)
            ? 1
            : poll(&readable, 1,
                   deadline_ns == UINT64_MAX ? -1 : (int)((deadline_ns - now) / HV_NS_PER_MS) + 1);
    if (r <= 0)
        return r < 0 && errno != EINTR ? -errno : 0;
    do {
        r = api_stream_next(stream, &message);
    } while ((r == API_STREAM_MESSAGE || r == API_STREAM_NOTHING) && api_stream_is_ready(stream));
    return r < 0 || r == API_STREAM_END ? -ECONNRESET : 0;
}

/* Without events to wake us. */
static int look_later(uint64_t deadline_ns)
{
    (void)usleep(LOOK_MS * 1000);
    return hv_clock_monotonic_ns() > deadline_ns;
}

/* Returns 0: it is so; 1: time is up; -EINVAL with *reterr. */
static int wait_once(struct adm *adm, const char *vm, const struct goal *wanted,
                     uint64_t deadline_ns, struct adm_absence *absence, struct api_error **reterr)
{
    HV_CLEANUP(api_stream_closep) struct api_stream *stream = NULL;
    HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
    bool is_so = false;
    int r = 0;

    if (api_client_has_streams(adm->client))
        r = api_stream_open(adm->client, API_METHOD_EVENTS_SUBSCRIBE, NULL, &stream, &reply,
                            reterr);
    while (r == 0) {
        r = look(adm, vm, wanted, &is_so, reterr);
        if (r < 0)
            return r;
        adm_service_is_there(absence);
        if (is_so)
            return 0;
        r = stream ? next_event(stream, deadline_ns) : look_later(deadline_ns);
        if (r < 0)
            return api_error_set(reterr, API_E_NOT_AVAILABLE, "client.lost", NULL,
                                 "The connection to the service broke while waiting.");
    }
    return r;
}

static int wait_for(struct adm *adm, const char *vm, const struct goal *wanted, uint64_t timeout_ms)
{
    struct adm_absence absence = { 0 };
    uint64_t deadline_ns = UINT64_MAX;
    struct api_error *error = NULL;
    int r = adm_connect(adm);

    if (r)
        return r;
    if (timeout_ms != UINT64_MAX)
        deadline_ns = hv_clock_monotonic_ns() + timeout_ms * HV_NS_PER_MS;
    do {
        r = wait_once(adm, vm, wanted, deadline_ns, &absence, &error);
    } while (r < 0 && adm_await_service(adm, &absence, deadline_ns, &error));
    if (r < 0)
        return adm_fail(adm, error);
    return r ? fail_timeout(adm, vm, wanted) : 0;
}

int adm_cmd_wait(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "for", required_argument, NULL, 'f' },
                                           { "timeout", required_argument, NULL, 't' },
                                           { 0 } };
    uint64_t timeout_ms = UINT64_MAX;
    const struct goal *goal = NULL;
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id == 'f') {
            goal = goal_of(optarg);
            if (!goal)
                return adm_usage("vm wait", "Waiting for \"%s\" is not possible.", optarg);
        } else if (id != 't') {
            return adm_bad_option("vm wait", argv);
        } else if (!adm_parse_seconds(optarg, &timeout_ms)) {
            return adm_usage("vm wait", "--timeout is a number of seconds.");
        }
    }
    if (argc - optind != 1 || !goal)
        return adm_usage("vm wait", "One VM and --for WHAT are expected.");
    return wait_for(adm, argv[optind], goal, timeout_ms);
}
