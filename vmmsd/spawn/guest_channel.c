/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest is asked and given through its worker. Answers are bounded here once more: a worker
 * repeats what its guest said, and either may lie. */
#include "vmmsd/spawn/worker_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/utf8.h"
#include "hvcore/base/clock.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_SERVICES = 16,
    MAX_KVP = 1024,
    MAX_ADDRESSES = 64,
    KEY_BYTES = 1024,
    PROGRESS_MS = 100,
    VALUE_BYTES = 4096
};

/* Shutting down, services */

void vmms_guest_shut_down(struct worker *worker, const struct vmms_effect *effect)
{
    const char *kind = effect->verb == VMMS_WORKER_REBOOT ? "reboot" : "shutdown";
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_VERB);
    int r = vmms_channel_new_call(worker, "GuestShutdown", &m);

    ask->verb = effect->verb;
    if (r >= 0)
        r = sd_bus_message_append(m, "sbs", kind, (int)effect->force,
                                  effect->text ? effect->text : "");
    vmms_ask_send(ask, m, vmms_verb_answered, ORDER_MS, r);
}

void vmms_guest_set_services(struct worker *worker, const struct vmms_row *row)
{
    const struct api_settings *s = &row->settings;
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_VERB);
    int r = vmms_channel_new_call(worker, "SetServices", &m);

    ask->verb = VMMS_WORKER_SET_SERVICES;
    if (r >= 0)
        r = sd_bus_message_append(m, "a{sb}", 6, "heartbeat", (int)s->integration_heartbeat,
                                  "shutdown", (int)s->integration_shutdown, "time_sync",
                                  (int)s->integration_time_sync, "kvp", (int)s->integration_kvp,
                                  "vss", (int)s->integration_vss, "guest_services",
                                  (int)s->integration_guest_services);
    vmms_ask_send(ask, m, vmms_verb_answered, VERB_MS, r);
}

void vmms_guest_hold_storage(struct worker *worker, const struct vmms_row *row)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_VERB);
    int r = vmms_channel_new_call(worker, "SetStorageHold", &m);

    ask->verb = VMMS_WORKER_HOLD_STORAGE;
    if (r >= 0)
        r = sd_bus_message_append(m, "b",
                                  row->settings.auto_critical == API_AUTO_CRITICAL_PAUSE_RESUME);
    vmms_ask_send(ask, m, vmms_verb_answered, VERB_MS, r);
}

/* What is known of it */

/* Room for one more; NULL: there are as many as are taken. */
static void *grow(void **list, size_t *count, size_t max, size_t bytes)
{
    if (*count == max)
        return NULL;
    *list = reallocarray(*list, *count + 1, bytes);
    hv_assert(*list);
    memset((char *)*list + *count * bytes, 0, bytes);
    return (char *)*list + (*count)++ * bytes;
}

static char *bounded(const char *text, size_t max)
{
    char *copy = utf8_copy(text, max);

    hv_assert(copy);
    return copy;
}

static int read_services(sd_bus_message *m, struct api_guest *guest)
{
    const char *name, *status;
    uint32_t version;
    int r = sd_bus_message_enter_container(m, 'a', "(ssu)");

    while (r >= 0 && (r = sd_bus_message_read(m, "(ssu)", &name, &status, &version)) > 0) {
        int service = api_enum_index(&api_enum_guest_service, name);
        int is = api_enum_index(&api_enum_service_status, status);
        struct api_service_state *state;

        if (service < 0 || is < 0)
            continue;
        state = grow((void **)&guest->services, &guest->n_services, MAX_SERVICES, sizeof(*state));
        if (!state)
            continue;
        state->service = (enum api_guest_service)service;
        state->status = (enum api_service_status)is;
        if (version && asprintf(&state->version, "%u.%u", version >> 16, version & 0xffff) < 0)
            state->version = NULL;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_kvp(sd_bus_message *m, struct api_guest *guest)
{
    const char *source, *key, *value;
    int r = sd_bus_message_enter_container(m, 'a', "(sss)");

    while (r >= 0 && (r = sd_bus_message_read(m, "(sss)", &source, &key, &value)) > 0) {
        int from = api_enum_index(&api_enum_kvp_source, source);
        struct api_kvp_item *item;

        if (from < 0)
            continue;
        item = grow((void **)&guest->kvp, &guest->n_kvp, MAX_KVP, sizeof(*item));
        if (!item)
            continue;
        item->source = (enum api_kvp_source)from;
        item->key = bounded(key, KEY_BYTES);
        item->value = bounded(value, VALUE_BYTES);
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_addresses(sd_bus_message *m, struct api_guest *guest)
{
    const char *address;
    char **at;
    int r = sd_bus_message_enter_container(m, 'a', "s");

    while (r >= 0 && (r = sd_bus_message_read(m, "s", &address)) > 0) {
        at = grow((void **)&guest->addresses, &guest->n_addresses, MAX_ADDRESSES, sizeof(*at));
        if (at)
            *at = bounded(address, VMMS_WORKER_TEXT_MAX);
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_guest(sd_bus_message *m, struct api_guest *guest)
{
    hv_autofree char *heartbeat = NULL;
    bool has_heartbeat_age = false, has_kvp_age = false;
    const struct vmms_slot slots[] = {
        { "heartbeat", 's', &heartbeat, NULL },
        { "heartbeat_age_ms", 't', &guest->heartbeat_age_ms, &has_heartbeat_age },
        { "kvp_age_ms", 't', &guest->kvp_age_ms, &has_kvp_age },
        { "os", 's', &guest->os, NULL },
        { "os_version", 's', &guest->os_version, NULL },
        { "kernel", 's', &guest->kernel, NULL },
        { "host_name", 's', &guest->host_name, NULL },
    };
    int r = vmms_read_dictionary(m, slots, HV_ARRAY_SIZE(slots));

    if (r >= 0)
        r = read_services(m, guest);
    if (r >= 0)
        r = read_kvp(m, guest);
    if (r >= 0)
        r = read_addresses(m, guest);
    guest->heartbeat = vmms_heartbeat_read(heartbeat ? heartbeat : "");
    if (has_heartbeat_age)
        guest->has |= API_GUEST_HAS_HEARTBEAT_AGE_MS;
    if (has_kvp_age)
        guest->has |= API_GUEST_HAS_KVP_AGE_MS;
    return r;
}

static int guest_answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct ask *ask = userdata;
    const sd_bus_error *error = sd_bus_message_get_error(m);
    struct api_guest guest = { 0 };
    int r = error ? -sd_bus_error_get_errno(error) : read_guest(m, &guest);

    if (r < 0) {
        api_guest_fini(&guest);
        vmms_ask_fail(ask, vmms_channel_error(ask->worker, error, -r));
        return 0;
    }
    ask->guest(ask->opaque, &guest, NULL);
    vmms_ask_free(ask);
    return 0;
}

static struct api_error *no_worker(void)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_WORKER_LOST, "vm.worker_lost", NULL,
                  "The VM has no worker at the moment.");
    return error;
}

void vmms_spawner_guest(struct vmms_spawner *spawner, const char *vm_id, vmms_guest_fn *done,
                        void *opaque)
{
    struct worker *worker = vmms_worker_find(spawner, vm_id, NULL);
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask;
    int r;

    if (!worker) {
        done(opaque, NULL, no_worker());
        return;
    }
    ask = vmms_ask_new(worker, ASK_GUEST);
    ask->guest = done;
    ask->opaque = opaque;
    r = vmms_channel_new_call(worker, "GetGuest", &m);
    vmms_ask_send(ask, m, guest_answered, GUEST_MS, r);
}

/* Orders */

static int append_pairs(sd_bus_message *m, const struct api_kvp_pair *pairs, size_t count)
{
    int r = sd_bus_message_open_container(m, 'a', "(ss)");

    for (size_t i = 0; i < count && r >= 0; i++)
        r = sd_bus_message_append(m, "(ss)", pairs[i].key, pairs[i].value);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int put_pairs(sd_bus_message *m, const struct vmms_order *order)
{
    return append_pairs(m, order->pairs, order->n_pairs);
}

void vmms_guest_set_pairs(struct worker *worker, const struct vmms_row *row)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask = vmms_ask_new(worker, ASK_VERB);
    int r = vmms_channel_new_call(worker, "SetPairs", &m);

    ask->verb = VMMS_WORKER_SET_PAIRS;
    if (r >= 0)
        r = append_pairs(m, row->pairs, row->n_pairs);
    vmms_ask_send(ask, m, vmms_verb_answered, ORDER_MS, r);
}

static int put_file(sd_bus_message *m, const struct vmms_order *order)
{
    return sd_bus_message_append(m, "htsu", order->fd, order->bytes, order->text, order->flags);
}

static int put_text(sd_bus_message *m, const struct vmms_order *order)
{
    return sd_bus_message_append(m, "s", order->text);
}

static int put_scancodes(sd_bus_message *m, const struct vmms_order *order)
{
    return sd_bus_message_append_array(m, 'y', order->scancodes, order->n_scancodes);
}

static const struct {
    const char *method;
    int (*put)(sd_bus_message *m, const struct vmms_order *order);
    uint64_t deadline_ms;
} orders[] = {
    [VMMS_ORDER_SET_PAIRS] = { "SetPairs", put_pairs, ORDER_MS },
    [VMMS_ORDER_COPY_FILE] = { "CopyFile", put_file, COPY_MS },
    [VMMS_ORDER_TYPE_TEXT] = { "TypeText", put_text, ORDER_MS },
    [VMMS_ORDER_TYPE_KEYS] = { "TypeKeys", put_scancodes, ORDER_MS },
};

static int order_answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
    struct ask *ask = userdata;
    const sd_bus_error *error = sd_bus_message_get_error(m);
    uint64_t number = 0;
    int is_told = 0;

    if (error) {
        vmms_ask_fail(ask, vmms_channel_error(ask->worker, error, sd_bus_error_get_errno(error)));
        return 0;
    }
    if (sd_bus_message_has_signature(m, "t"))
        (void)sd_bus_message_read(m, "t", &number);
    else if (sd_bus_message_has_signature(m, "b") && sd_bus_message_read(m, "b", &is_told) >= 0)
        number = is_told != 0;
    ask->done(ask->opaque, number, NULL);
    vmms_ask_free(ask);
    return 0;
}

void vmms_spawner_order(struct vmms_spawner *spawner, const char *vm_id,
                        const struct vmms_order *order, vmms_order_fn *done, void *opaque)
{
    struct worker *worker = vmms_worker_find(spawner, vm_id, NULL);
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct ask *ask;
    int r;

    if (!worker) {
        done(opaque, 0, no_worker());
        return;
    }
    ask = vmms_ask_new(worker, ASK_ORDER);
    ask->done = done;
    ask->progress = order->progress;
    ask->opaque = opaque;
    r = vmms_channel_new_call(worker, orders[order->kind].method, &m);
    if (r >= 0)
        r = orders[order->kind].put(m, order);
    vmms_ask_send(ask, m, order_answered, orders[order->kind].deadline_ms, r);
}

void vmms_guest_copy_progress(struct worker *worker, uint64_t done, uint64_t total)
{
    uint64_t now = hv_clock_monotonic_ns();

    HV_LIST_FOREACH (node, &worker->asks) {
        struct ask *ask = HV_LIST_ENTRY(node, struct ask, node);

        if (!ask->progress || now - ask->progress_ns < PROGRESS_MS * HV_NS_PER_MS)
            continue;
        ask->progress_ns = now;
        ask->progress(ask->opaque, done, total);
        return;
    }
}

void vmms_spawner_cancel_copy(struct vmms_spawner *spawner, const char *vm_id)
{
    struct worker *worker = vmms_worker_find(spawner, vm_id, NULL);
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;

    /* Without a worker the copy has ended already. */
    if (worker && vmms_channel_new_call(worker, "CancelCopy", &m) >= 0 &&
        sd_bus_send(vmms_bus_get(worker->bus), m, NULL) >= 0)
        vmms_bus_update(worker->bus);
}
