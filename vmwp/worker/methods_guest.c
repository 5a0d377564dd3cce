/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of the guest, and what is told of it: the guest's part of schemas/worker. Answers
 * come when the guest has answered, or its deadline is over. */
#include "vmwp/worker/control_priv.h"

#include <fcntl.h>
#include <string.h>

enum {
    MAX_PAIRS = 128,
    MAX_SCANCODES = 256,
    MAX_ADDRESSES = 64,
    FREEZE_MS = IC_VSS_FROZEN_MS,
    PROGRESS_NS = 500 * 1000 * 1000,
    COPY_OVERWRITE = 1,
    COPY_MAKE_FOLDERS = 2,
};

/* A call that waits for the guest. */
struct wp_pending {
    struct hv_list node;
    struct wp_control *control;
    sd_bus_message *m;
    unsigned n_waits; /* answers of the guest still to come */
    bool is_failed;
    uint64_t copied, bytes, told_ns; /* of a copy */
    bool is_copy;
};

static struct ic_services *services_of(const struct connection *c)
{
    return wp_worker_services(c->control->config.worker);
}

static const char *name_of(int r)
{
    switch (r) {
    case -ENOTCONN:
    case -EOPNOTSUPP: return WP_ERROR "GuestNotReady";
    case -EPERM: return WP_ERROR "GuestLocked";
    case -EEXIST: return WP_ERROR "AlreadyExists";
    case -ENOENT: return WP_ERROR "NotFound";
    case -ENOSPC: return WP_ERROR "DiskFull";
    case -EINVAL: return WP_ERROR "InvalidParameter";
    case -ETIMEDOUT: return WP_ERROR "Timeout";
    case -ECANCELED: return WP_ERROR "Cancelled";
    case -EBUSY: return WP_ERROR "InUse";
    default: return WP_ERROR "Failed";
    }
}

static int refuse(sd_bus_error *ret_error, const char *name, int r, const struct hv_error *error)
{
    return sd_bus_error_set(ret_error, name, hv_error_message(error, r));
}

/* Waiting */

static struct wp_pending *pending_new(struct connection *c, sd_bus_message *m)
{
    struct wp_pending *pending = calloc(1, sizeof(*pending));

    if (!pending)
        return NULL;
    pending->control = c->control;
    pending->m = sd_bus_message_ref(m);
    pending->n_waits = 1;
    hv_list_append(&c->control->pending, &pending->node);
    return pending;
}

static void pending_free(struct wp_pending *pending)
{
    hv_list_remove(&pending->node);
    sd_bus_message_unref(pending->m);
    free(pending);
}

void wp_methods_forget(struct wp_control *control)
{
    HV_LIST_FOREACH (node, &control->pending)
        pending_free(HV_LIST_ENTRY(node, struct wp_pending, node));
}

static void reply_failure(struct wp_pending *pending, const char *name, int r,
                          const struct hv_error *error)
{
    if (!pending->is_failed)
        (void)sd_bus_reply_method_errorf(pending->m, name, "%s", hv_error_message(error, r));
    pending->is_failed = true;
}

static void answered(struct wp_pending *pending)
{
    struct wp_control *control = pending->control;

    if (--pending->n_waits > 0)
        return;
    if (!pending->is_failed)
        (void)sd_bus_reply_method_return(pending->m, NULL);
    pending_free(pending);
    wp_control_sent(control);
}

static void done(void *opaque, int r, const struct hv_error *error)
{
    if (r < 0)
        reply_failure(opaque, name_of(r), r, error);
    answered(opaque);
}

/* The guest was asked, or could not be: then the caller is told at once. */
static int asked(struct wp_pending *pending, int r, const char *name, const struct hv_error *error,
                 sd_bus_error *ret_error)
{
    if (r >= 0)
        return 1;
    pending_free(pending);
    return refuse(ret_error, name, r, error);
}

/* Shutdown */

/* Busy has a meaning of its own here. */
static const char *shutdown_name(int r)
{
    return r == -EBUSY ? WP_ERROR "ShutdownInProgress" : name_of(r);
}

static void shutdown_done(void *opaque, int r, const struct hv_error *error)
{
    if (r < 0)
        reply_failure(opaque, shutdown_name(r), r, error);
    answered(opaque);
}

int wp_on_guest_shutdown(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct connection *c = opaque;
    struct ic_shutdown_request request = { .what = IC_POWER_OFF };
    struct wp_pending *pending;
    const char *kind;
    int force, r;

    r = sd_bus_message_read(m, "sbs", &kind, &force, &request.reason);
    if (r < 0)
        return r;
    if (strcmp(kind, "reboot") == 0)
        request.what = IC_POWER_RESTART;
    else if (strcmp(kind, "shutdown") != 0)
        return sd_bus_error_setf(ret_error, WP_ERROR "InvalidParameter",
                                 "kind is shutdown or reboot, not %.40s.", kind);
    request.is_forced = force;
    pending = pending_new(c, m);
    if (!pending)
        return -ENOMEM;
    r = ic_services_shut_down(services_of(c), &request, shutdown_done, pending, &error);
    return asked(pending, r, shutdown_name(r), error, ret_error);
}

/* What is known */

static const char *heartbeat_word(struct wp_worker *worker)
{
    struct ic_guest_facts facts;

    if (wp_worker_story(worker)->phase == WP_PHASE_PAUSED)
        return "paused";
    ic_services_get_facts(wp_worker_services(worker), &facts);
    switch (facts.heartbeat.contact) {
    case IC_CONTACT_OK: return "ok";
    case IC_CONTACT_LOST: return "lost";
    case IC_CONTACT_MISMATCH: return "error";
    case IC_CONTACT_NONE: return "no_contact";
    }
    return "error";
}

static const char *find_pair(struct ic_services *services, enum ic_kvp_pool pool, const char *key)
{
    const struct ic_kvp_pair *pairs;
    unsigned n;

    ic_services_get_pairs(services, pool, &pairs, &n);
    for (unsigned i = 0; i < n; i++)
        if (strcmp(pairs[i].key, key) == 0)
            return pairs[i].value;
    return NULL;
}

static int put_text(sd_bus_message *m, const char *key, const char *value)
{
    return value ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

static int put_age(sd_bus_message *m, const char *key, uint64_t age_ns)
{
    return age_ns == UINT64_MAX ? 0
                                : sd_bus_message_append(m, "{sv}", key, "t", age_ns / HV_NS_PER_MS);
}

static int put_summary(sd_bus_message *m, struct wp_worker *worker)
{
    static const struct {
        const char *name, *key;
    } texts[] = { { "os", "OSName" },
                  { "os_version", "OSVersion" },
                  { "kernel", "OSBuildNumber" },
                  { "host_name", "FullyQualifiedDomainName" } };
    struct ic_services *services = wp_worker_services(worker);
    struct ic_guest_facts facts;
    int r = sd_bus_message_open_container(m, 'a', "{sv}");

    ic_services_get_facts(services, &facts);
    r = r < 0 ? r : put_text(m, "heartbeat", heartbeat_word(worker));
    r = r < 0 ? r : put_age(m, "heartbeat_age_ms", facts.heartbeat.age_ns);
    r = r < 0 ? r : put_age(m, "kvp_age_ms", facts.pairs_age_ns);
    for (size_t i = 0; r >= 0 && i < HV_ARRAY_SIZE(texts); i++)
        r = put_text(m, texts[i].name, find_pair(services, IC_KVP_AUTO, texts[i].key));
    return r < 0 ? r : sd_bus_message_close_container(m);
}

/* By the names of the settings */
static const struct {
    const char *name;
    enum ic_service service;
} service_names[] = {
    { "heartbeat", IC_SERVICE_HEARTBEAT },
    { "shutdown", IC_SERVICE_SHUTDOWN },
    { "time_sync", IC_SERVICE_TIMESYNC },
    { "kvp", IC_SERVICE_KVP },
    { "vss", IC_SERVICE_VSS },
    { "guest_services", IC_SERVICE_FILECOPY },
};

static const char *status_word(struct wp_worker *worker, const struct ic_service_status *status,
                               enum ic_service service)
{
    if (!status->is_enabled)
        return "disabled";
    if (status->state == IC_MISMATCH)
        return "mismatch";
    if (status->state != IC_READY)
        return "no_contact";
    if (service == IC_SERVICE_HEARTBEAT && strcmp(heartbeat_word(worker), "lost") == 0)
        return "lost";
    return "ok";
}

static int put_services(sd_bus_message *m, struct wp_worker *worker)
{
    int r = sd_bus_message_open_container(m, 'a', "(ssu)");

    for (size_t i = 0; r >= 0 && i < HV_ARRAY_SIZE(service_names); i++) {
        struct ic_service_status status;
        uint32_t version;

        ic_services_get_status(wp_worker_services(worker), service_names[i].service, &status);
        version = (uint32_t)status.version.major << 16 | status.version.minor;
        r = sd_bus_message_append(m, "(ssu)", service_names[i].name,
                                  status_word(worker, &status, service_names[i].service), version);
    }
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_pool(sd_bus_message *m, struct ic_services *services, enum ic_kvp_pool pool,
                    const char *source)
{
    const struct ic_kvp_pair *pairs;
    unsigned n;
    int r = 0;

    ic_services_get_pairs(services, pool, &pairs, &n);
    for (unsigned i = 0; r >= 0 && i < n; i++)
        r = sd_bus_message_append(m, "(sss)", source, pairs[i].key, pairs[i].value);
    return r;
}

static int put_pairs(sd_bus_message *m, struct ic_services *services)
{
    int r = sd_bus_message_open_container(m, 'a', "(sss)");

    r = r < 0 ? r : put_pool(m, services, IC_KVP_EXTERNAL, "host");
    r = r < 0 ? r : put_pool(m, services, IC_KVP_GUEST, "guest");
    r = r < 0 ? r : put_pool(m, services, IC_KVP_AUTO, "guest_intrinsic");
    return r < 0 ? r : sd_bus_message_close_container(m);
}

/* The guest separates them by semicolons. */
static int put_list(sd_bus_message *m, const char *list, unsigned *count)
{
    hv_autofree char *copy = list ? strdup(list) : NULL;
    char *rest = copy, *one;
    int r = 0;

    while (rest && r >= 0 && *count < MAX_ADDRESSES && (one = strsep(&rest, ";")))
        if (*one) {
            r = sd_bus_message_append_basic(m, 's', one);
            (*count)++;
        }
    return r;
}

static int put_addresses(sd_bus_message *m, struct ic_services *services)
{
    unsigned count = 0;
    int r = sd_bus_message_open_container(m, 'a', "s");

    if (r >= 0)
        r = put_list(m, find_pair(services, IC_KVP_AUTO, "NetworkAddressIPv4"), &count);
    if (r >= 0)
        r = put_list(m, find_pair(services, IC_KVP_AUTO, "NetworkAddressIPv6"), &count);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int wp_on_get_guest(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;
    struct wp_worker *worker = c->control->config.worker;
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int r = sd_bus_message_new_method_return(m, &reply);

    (void)ret_error;
    r = r < 0 ? r : put_summary(reply, worker);
    r = r < 0 ? r : put_services(reply, worker);
    r = r < 0 ? r : put_pairs(reply, services_of(c));
    r = r < 0 ? r : put_addresses(reply, services_of(c));
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* Services */

static int set_service(struct ic_services *services, const char *name, bool is_enabled)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(service_names); i++)
        if (strcmp(service_names[i].name, name) == 0)
            return ic_services_enable(services, service_names[i].service, is_enabled);
    return -EINVAL;
}

int wp_on_set_services(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;
    const char *name = "";
    int is_enabled, r = sd_bus_message_enter_container(m, 'a', "{sb}");

    while (r >= 0 && (r = sd_bus_message_read(m, "{sb}", &name, &is_enabled)) > 0)
        r = set_service(services_of(c), name, is_enabled);
    if (r < 0)
        return sd_bus_error_setf(ret_error, name_of(r), "The service %.40s cannot be switched: %s.",
                                 name, strerror(-r));
    return sd_bus_reply_method_return(m, NULL);
}

/* Pairs */

struct pairs {
    struct ic_kvp_pair at[MAX_PAIRS];
    unsigned n;
};

static int read_pairs(sd_bus_message *m, struct pairs *pairs)
{
    const char *key, *value;
    int r = sd_bus_message_enter_container(m, 'a', "(ss)");

    while (r >= 0 && (r = sd_bus_message_read(m, "(ss)", &key, &value)) > 0) {
        if (pairs->n == MAX_PAIRS)
            return -E2BIG;
        pairs->at[pairs->n++] = (struct ic_kvp_pair){ (char *)key, (char *)value };
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* One call waits for all; what fails first is what is told. */
static void pairs_answered(struct wp_pending *pending)
{
    if (pending->n_waits == 1 && !pending->is_failed) {
        (void)sd_bus_reply_method_return(pending->m, "b", 1);
        pending->is_failed = true; /* it is answered */
    }
    answered(pending);
}

static void pair_done(void *opaque, int r, const struct hv_error *error)
{
    if (r < 0 && r != -ENOENT) /* what is to go is gone already */
        reply_failure(opaque, name_of(r), r, error);
    pairs_answered(opaque);
}

/* A guest that is paused could not answer in time: like one without contact it is told later. */
static int want_later(struct connection *c, sd_bus_message *m, const struct pairs *pairs,
                      sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    unsigned n_asked;
    int r =
        ic_services_want_pairs(services_of(c), pairs->at, pairs->n, NULL, NULL, &n_asked, &error);

    if (r < 0 && r != -ENOTCONN && r != -EOPNOTSUPP)
        return refuse(ret_error, name_of(r), r, error);
    return sd_bus_reply_method_return(m, "b", 0);
}

static int want_now(struct connection *c, sd_bus_message *m, const struct pairs *pairs,
                    sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct wp_pending *pending = pending_new(c, m);
    unsigned n_asked = 0;
    int r;

    if (!pending)
        return -ENOMEM;
    r = ic_services_want_pairs(services_of(c), pairs->at, pairs->n, pair_done, pending, &n_asked,
                               &error);
    if (r < 0)
        return asked(pending, r, name_of(r), error, ret_error);
    pending->n_waits += n_asked;
    pairs_answered(pending);
    return 1;
}

int wp_on_set_pairs(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;
    struct pairs pairs = { .n = 0 };
    struct ic_service_status status;
    int r = read_pairs(m, &pairs);

    if (r < 0)
        return r;
    ic_services_get_status(services_of(c), IC_SERVICE_KVP, &status);
    if (!status.is_enabled || status.state != IC_READY ||
        wp_worker_story(c->control->config.worker)->phase != WP_PHASE_RUNNING)
        return want_later(c, m, &pairs, ret_error);
    return want_now(c, m, &pairs, ret_error);
}

/* Files */

static void copy_progress(void *opaque, uint64_t done_bytes, uint64_t total_bytes)
{
    struct wp_pending *pending = opaque;
    uint64_t now = hv_clock_monotonic_ns();

    pending->copied = done_bytes;
    if (now - pending->told_ns < PROGRESS_NS)
        return;
    pending->told_ns = now;
    wp_control_signal(pending->control, "CopyProgress", "tt", done_bytes, total_bytes);
}

static void copy_done(void *opaque, int r, const struct hv_error *error)
{
    struct wp_pending *pending = opaque;

    if (r < 0) {
        reply_failure(pending, name_of(r), r, error);
    } else {
        (void)sd_bus_reply_method_return(pending->m, "t", pending->bytes);
        pending->is_failed = true; /* it is answered */
    }
    answered(pending);
}

int wp_on_copy_file(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct connection *c = opaque;
    struct ic_filecopy_request request = { .progress = copy_progress, .done = copy_done };
    struct wp_pending *pending;
    uint64_t bytes;
    uint32_t flags;
    int fd, r = sd_bus_message_read(m, "htsu", &fd, &bytes, &request.path, &flags);

    if (r < 0)
        return r;
    request.may_overwrite = flags & COPY_OVERWRITE;
    request.may_create_folders = flags & COPY_MAKE_FOLDERS;
    pending = pending_new(c, m);
    if (!pending)
        return -ENOMEM;
    pending->bytes = bytes;
    pending->is_copy = true;
    request.opaque = pending;
    request.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    r = request.fd < 0 ? -errno : ic_services_copy_file(services_of(c), &request, &error);
    return asked(pending, r, name_of(r), error, ret_error);
}

void wp_methods_dropped(struct connection *connection)
{
    HV_LIST_FOREACH (node, &connection->control->pending) {
        const struct wp_pending *pending = HV_LIST_ENTRY(node, struct wp_pending, node);

        if (pending->is_copy && sd_bus_message_get_bus(pending->m) == connection->bus) {
            ic_services_cancel_copy(services_of(connection));
            return;
        }
    }
}

int wp_on_cancel_copy(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    (void)ret_error;
    ic_services_cancel_copy(services_of(opaque));
    return sd_bus_reply_method_return(m, NULL);
}

/* Freeze and thaw */

int wp_on_freeze_guest(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct wp_pending *pending = pending_new(opaque, m);
    int r;

    if (!pending)
        return -ENOMEM;
    r = ic_services_freeze(services_of(opaque), FREEZE_MS, done, pending, &error);
    return asked(pending, r, name_of(r), error, ret_error);
}

int wp_on_thaw_guest(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct wp_pending *pending = pending_new(opaque, m);
    int r;

    if (!pending)
        return -ENOMEM;
    r = ic_services_thaw(services_of(opaque), done, pending, &error);
    return asked(pending, r, name_of(r), error, ret_error);
}

/* The keyboard */

static int typed(sd_bus_message *m, int r, const struct hv_error *error, sd_bus_error *ret_error)
{
    return r < 0 ? refuse(ret_error, name_of(r), r, error) : sd_bus_reply_method_return(m, NULL);
}

int wp_on_type_text(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    const char *text;
    int r = sd_bus_message_read(m, "s", &text);

    if (r >= 0)
        r = ic_services_type_text(services_of(opaque), text, &error);
    return typed(m, r, error, ret_error);
}

int wp_on_type_keys(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    const void *codes;
    size_t n;
    int r = sd_bus_message_read_array(m, 'y', &codes, &n);

    if (r >= 0 && n > MAX_SCANCODES)
        r = hv_error_set(&error, -EINVAL, "console.scancodes", "At most %d scan codes at a time.",
                         MAX_SCANCODES);
    if (r >= 0)
        r = ic_services_type_scancodes(services_of(opaque), codes, n, &error);
    return typed(m, r, error, ret_error);
}

/* Told without being asked */

static int put_state(sd_bus_message *m, struct wp_worker *worker)
{
    struct ic_services *services = wp_worker_services(worker);
    int r = sd_bus_message_open_container(m, 'a', "{sv}");

    r = r < 0 ? r : put_text(m, "heartbeat", heartbeat_word(worker));
    r = r < 0 ? r : put_text(m, "os", find_pair(services, IC_KVP_AUTO, "OSName"));
    r = r < 0 ? r : sd_bus_message_close_container(m);
    return r < 0 ? r : put_addresses(m, services);
}

int wp_methods_tell_guest(struct connection *c)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = wp_methods_new_signal(c, "GuestChanged", &m);

    r = r < 0 ? r : put_state(m, c->control->config.worker);
    return r < 0 ? r : sd_bus_send(c->bus, m, NULL);
}

int wp_methods_tell_crash(struct connection *c, const struct hv_crash *crash)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = wp_methods_new_signal(c, "GuestCrashed", &m);

    for (unsigned i = 0; r >= 0 && i < HV_CRASH_PARAMETERS; i++)
        r = sd_bus_message_append_basic(m, 't', &crash->parameter[i]);
    r = r < 0 ? r : sd_bus_message_append_array(m, 'y', crash->text, crash->text_bytes);
    return r < 0 ? r : sd_bus_send(c->bus, m, NULL);
}
