/* SPDX-License-Identifier: Apache-2.0 */
/* A host and a guest's memory for the VMBus targets: made once, RAM zeroed for each input. */
#pragma once

#include "hvcore/base/cursor.h"
#include "hvcore/gpa.h"
#include "vmwp/vmbus/server.h"
#include "vmwp/vmbus/wire.h"

#include <string.h>

enum { FUZZ_LOW_PAGES = 48, FUZZ_HIGH_PAGES = 16, FUZZ_VPS = 2 };
#define FUZZ_HIGH_RAM (UINT64_C(1) << 32)

struct fuzz_host {
    struct hv_gpa_space gpa;
    bool is_busy;
    bool wants_sweep;
    int connect_error;
    unsigned n_connected, n_disconnected;
    unsigned n_posted;
};

static int fuzz_post_message(void *opaque, unsigned vp, unsigned sint, const void *message,
                             size_t bytes)
{
    struct fuzz_host *host = opaque;

    hv_assert(vp < FUZZ_VPS && sint == VMBUS_SINT && bytes <= VMBUS_WIRE_MAX_MESSAGE);
    host->n_posted++;
    return host->is_busy ? -ENOBUFS : 0;
}

static void fuzz_signal_event(void *opaque, unsigned vp, unsigned sint, unsigned flag)
{
    hv_assert(vp < FUZZ_VPS && sint == VMBUS_SINT && flag > 0 && flag <= VMBUS_WIRE_MAX_RELID);
}

static int fuzz_connect(void *opaque, struct vmbus_channel *channel)
{
    struct fuzz_host *host = opaque;

    if (host->connect_error)
        return host->connect_error;
    host->n_connected++;
    return 0;
}

static void fuzz_disconnect(void *opaque, struct vmbus_channel *channel)
{
    ((struct fuzz_host *)opaque)->n_disconnected++;
}

static void fuzz_wake(void *opaque)
{
    ((struct fuzz_host *)opaque)->wants_sweep = true;
}

static const struct vmbus_host_ops fuzz_host_ops = { .post_message = fuzz_post_message,
                                                     .signal_event = fuzz_signal_event,
                                                     .connect = fuzz_connect,
                                                     .disconnect = fuzz_disconnect,
                                                     .wake = fuzz_wake };

/* A fresh server over zeroed memory */
static inline struct vmbus_server *fuzz_host_start(struct fuzz_host *host)
{
    struct vmbus_server_config config = {
        .gpa = &host->gpa, .n_vps = FUZZ_VPS, .ops = &fuzz_host_ops, .opaque = host
    };
    struct vmbus_server *server;

    if (host->gpa.n_slots == 0) {
        uint64_t low = FUZZ_LOW_PAGES * HV_PAGE_BYTES, high = FUZZ_HIGH_PAGES * HV_PAGE_BYTES;

        hv_assert(hv_gpa_space_init(&host->gpa, low + high, NULL) == 0);
        hv_assert(hv_gpa_space_add_ram(&host->gpa, 0, low, 0) == 0);
        hv_assert(hv_gpa_space_add_ram(&host->gpa, FUZZ_HIGH_RAM, high, low) == 0);
    }
    for (unsigned i = 0; i < host->gpa.n_slots; i++)
        memset(host->gpa.slots[i].host, 0, host->gpa.slots[i].bytes);
    host->is_busy = false;
    host->wants_sweep = false;
    host->connect_error = 0;
    host->n_connected = 0;
    host->n_disconnected = 0;
    hv_assert(vmbus_server_new(&config, &server) == 0);
    return server;
}

static inline void fuzz_host_stop(struct fuzz_host *host, struct vmbus_server *server)
{
    (void)vmbus_server_free(server);
    hv_assert(host->n_connected == host->n_disconnected);
}
