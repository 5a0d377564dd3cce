/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker tells unasked about its guest and its disks. */
#include "vmmsd/spawn/worker_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/utf8.h"

#include <string.h>

enum { MAX_ADDRESSES = 64, PANIC_BYTES = 4096 };

/* What no such word is, is no contact. */
enum api_heartbeat vmms_heartbeat_read(const char *text)
{
    int index = api_enum_index(&api_enum_heartbeat, text);

    return index < 0 ? API_HEARTBEAT_NO_CONTACT : (enum api_heartbeat)index;
}

static int read_addresses(sd_bus_message *m, struct vmms_fact *fact)
{
    const char *address;
    int r = sd_bus_message_enter_container(m, 'a', "s");

    fact->addresses = calloc(MAX_ADDRESSES, sizeof(char *));
    hv_assert(fact->addresses);
    while (r >= 0 && (r = sd_bus_message_read(m, "s", &address)) > 0) {
        if (fact->n_addresses == MAX_ADDRESSES)
            continue;
        fact->addresses[fact->n_addresses] = utf8_copy(address, VMMS_WORKER_TEXT_MAX);
        hv_assert(fact->addresses[fact->n_addresses]);
        fact->n_addresses++;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_guest(sd_bus_message *m, struct vmms_fact *fact)
{
    hv_autofree char *heartbeat = NULL;
    const struct vmms_slot slots[] = {
        { "heartbeat", 's', &heartbeat, &fact->has_heartbeat },
        { "os", 's', &fact->os, NULL },
    };
    int r = vmms_read_dictionary(m, slots, HV_ARRAY_SIZE(slots));

    if (heartbeat)
        fact->heartbeat = vmms_heartbeat_read(heartbeat);
    return r < 0 ? r : read_addresses(m, fact);
}

static char *text_of(const void *bytes, size_t length)
{
    char *text = utf8_copy(bytes ? bytes : "", length < PANIC_BYTES ? length : PANIC_BYTES);

    hv_assert(text);
    return text;
}

static int read_crash(sd_bus_message *m, struct vmms_fact *fact)
{
    const void *bytes;
    size_t length;
    int r = 0;

    for (size_t i = 0; i < VMMS_CRASH_PARAMETERS && r >= 0; i++)
        r = sd_bus_message_read(m, "t", &fact->crash[i]);
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'y', &bytes, &length);
    if (r >= 0)
        fact->message = text_of(bytes, length);
    return r;
}

static int read_device_error(sd_bus_message *m, struct vmms_fact *fact)
{
    const char *device, *message;
    int r = sd_bus_message_read(m, "ss", &device, &message);

    if (r < 0)
        return r;
    fact->device = utf8_copy(device, VMMS_WORKER_TEXT_MAX);
    fact->message = utf8_copy(message, VMMS_WORKER_TEXT_MAX);
    hv_assert(fact->device && fact->message);
    return 0;
}

static int read_storage(sd_bus_message *m, struct vmms_fact *fact)
{
    const char *message;
    int is_critical, r = sd_bus_message_read(m, "bst", &is_critical, &message, &fact->age_ms);

    if (r < 0)
        return r;
    fact->is_critical = is_critical;
    fact->message = strndup(message, VMMS_WORKER_TEXT_MAX);
    hv_assert(fact->message);
    return 0;
}

static bool is_state(enum vmms_fact_kind kind)
{
    return kind == VMMS_FACT_GUEST || kind == VMMS_FACT_STORAGE;
}

static const struct {
    const char *name;
    enum vmms_fact_kind kind;
    int (*read)(sd_bus_message *m, struct vmms_fact *fact);
} signals[] = {
    { "GuestChanged", VMMS_FACT_GUEST, read_guest },
    { "GuestCrashed", VMMS_FACT_GUEST_CRASHED, read_crash },
    { "StorageCritical", VMMS_FACT_STORAGE, read_storage },
    { "DeviceError", VMMS_FACT_DEVICE_ERROR, read_device_error },
};

static int copy_heard(struct worker *worker, sd_bus_message *m)
{
    uint64_t done, total;

    if (sd_bus_message_read(m, "tt", &done, &total) < 0)
        vmms_channel_say_malformed(worker);
    else
        vmms_guest_copy_progress(worker, done, total);
    return 0;
}

/* Beyond the budget no event is stored; what is known of the guest is kept up to date. */
int vmms_guest_heard(struct worker *worker, sd_bus_message *m)
{
    bool is_within;

    if (sd_bus_message_is_signal(m, WORKER_INTERFACE, "CopyProgress"))
        return copy_heard(worker, m);
    for (size_t i = 0; i < HV_ARRAY_SIZE(signals); i++) {
        struct vmms_fact *fact;

        if (!sd_bus_message_is_signal(m, WORKER_INTERFACE, signals[i].name))
            continue;
        is_within = vmms_is_guest_signal_within(worker);
        if (!is_within && !is_state(signals[i].kind))
            return 0;
        fact = vmms_worker_fact(worker, signals[i].kind);
        fact->is_quiet = !is_within;
        if (signals[i].read(m, fact) >= 0) {
            vmms_worker_tell(worker, fact);
            return 0;
        }
        vmms_fact_free(fact);
        vmms_channel_say_malformed(worker);
        return 0;
    }
    return 0;
}
