/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMBus ping: TEST UNIT READY from the guest's ring and back, in host cycles.
 *
 * Real are the rings, the server, the channel, its doorbell (the eventfd that a guest's
 * HvSignalEvent writes to), storvsp's thread and its handler. Played are the guest, which spins on
 * its ring, and its interrupt, which is counted. So it measures: a packet written, the doorbell,
 * the wake-up of the channel's thread, the handler, the completion written, and seen.
 */
#include "hvcore/base/clock.h"
#include "tests/unit/vmwp/vsp/storvsp/rig.h"

#include <stdio.h>
#include <string.h>
#include <x86intrin.h>

enum { N_PINGS = 20000, N_WARM = 1000 };

static void spin(struct rig *rig)
{
    static struct fake_vmbus_packet packet;

    while (!fake_vmbus_read(&rig->channel, &packet))
        _mm_pause();
}

static uint64_t ping(struct rig *rig, unsigned n)
{
    uint64_t began = __rdtsc();

    RIG_SEND(rig, &rig->channel, .transaction = n);
    spin(rig);
    return __rdtsc() - began;
}

/* As many at once as depth: what one of them costs when they share signals */
static uint64_t burst(struct rig *rig, unsigned depth)
{
    uint64_t began = __rdtsc();

    for (unsigned i = 0; i < depth; i++)
        RIG_SEND(rig, &rig->channel, .transaction = i);
    for (unsigned i = 0; i < depth; i++)
        spin(rig);
    return (__rdtsc() - began) / depth;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static void tell(const char *what, uint64_t *cycles, unsigned n, double ns_per_cycle)
{
    qsort(cycles, n, sizeof(*cycles), compare);
    printf("%-24s median %8.0f cycles %8.0f ns   best tenth %8.0f cycles %8.0f ns\n", what,
           (double)cycles[n / 2], (double)cycles[n / 2] * ns_per_cycle, (double)cycles[n / 10],
           (double)cycles[n / 10] * ns_per_cycle);
}

int main(void)
{
    static uint64_t alone[N_PINGS], many[N_PINGS];
    uint64_t began_ns, began;
    double ns_per_cycle;
    void *state;
    struct rig *rig;

    rig_make_negotiated(&state);
    rig = state;
    (void)rig_test_unit(rig, 0);
    for (unsigned i = 0; i < N_WARM; i++)
        (void)ping(rig, i);
    began_ns = hv_clock_monotonic_ns();
    began = __rdtsc();
    for (unsigned i = 0; i < N_PINGS; i++)
        alone[i] = ping(rig, i);
    ns_per_cycle = (double)(hv_clock_monotonic_ns() - began_ns) / (double)(__rdtsc() - began);
    for (unsigned i = 0; i < N_PINGS / 16; i++)
        many[i] = burst(rig, 16);
    tell("one at a time", alone, N_PINGS, ns_per_cycle);
    tell("each of 16 at a time", many, N_PINGS / 16, ns_per_cycle);
    rig_drop(&state);
    return 0;
}
