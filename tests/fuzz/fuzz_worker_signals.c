/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals of a worker that was taken over, with any arguments: what is told of them is bounded and
 * can be shown, and what is malformed is only noted.
 *
 * Input: a byte that says which signal, then commands of one byte with operands, which put
 * arguments.
 */
#include "tests/fuzz/bus_arguments.h"
#include "vmmsd/spawn/worker_priv.h"

#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static unsigned told, noted;

struct vmms_fact *vmms_worker_fact(const struct worker *worker, enum vmms_fact_kind kind)
{
    struct vmms_fact *fact = vmms_fact_new(kind, "i");

    hv_assert(fact);
    return fact;
}

static void check_text(const char *text, size_t max)
{
    hv_assert(!text || (strlen(text) <= max && utf8_is_valid(text, strlen(text))));
}

void vmms_worker_tell(struct worker *worker, struct vmms_fact *fact)
{
    told++;
    check_text(fact->message, 4096);
    check_text(fact->device, VMMS_WORKER_TEXT_MAX);
    check_text(fact->os, VMMS_WORKER_TEXT_MAX);
    hv_assert(fact->n_addresses <= 64);
    for (size_t i = 0; i < fact->n_addresses; i++)
        check_text(fact->addresses[i], VMMS_WORKER_TEXT_MAX);
    vmms_fact_free(fact);
}

bool vmms_is_guest_signal_within(struct worker *worker)
{
    return true;
}

void vmms_channel_say_malformed(struct worker *worker)
{
    noted++;
}

void vmms_guest_copy_progress(struct worker *worker, uint64_t done, uint64_t total)
{
    told++;
}

/* A bus that speaks to nobody. */
static sd_bus *bus_new(void)
{
    sd_bus *bus = NULL;
    int pair[2];

    hv_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    hv_assert(sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, pair[0], pair[0]) >= 0);
    hv_assert(sd_bus_start(bus) >= 0);
    hv_close(pair[1]);
    return bus;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char *const names[] = { "GuestChanged", "GuestCrashed", "DeviceError",
                                         "CopyProgress", "Other" };
    static sd_bus *bus;
    sd_bus_message *m = NULL;
    struct worker worker = { 0 };
    struct hv_cursor in = hv_cursor(bytes, n);
    size_t which = hv_cursor_u8(&in) % HV_ARRAY_SIZE(names);

    if (!bus)
        bus = bus_new();
    told = noted = 0;
    hv_assert(sd_bus_message_new_signal(bus, &m, WORKER_PATH, WORKER_INTERFACE, names[which]) >= 0);
    bus_arguments_fill(m, &in);
    if (sd_bus_message_seal(m, 1, 0) >= 0) {
        hv_assert(vmms_guest_heard(&worker, m) == 0);
        hv_assert(told + noted == (which < 4));
    }
    sd_bus_message_unref(m);
    return 0;
}
