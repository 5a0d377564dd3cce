/* SPDX-License-Identifier: Apache-2.0 */
/* bench_bus SERVICE PATH INTERFACE PROPERTY: microseconds of a round trip to the session bus
 * itself, and of Get to a service on it. */
#include "hvcore/base/clock.h"
#include "hvcore/base/own.h"

#include <stdio.h>
#include <systemd/sd-bus.h>

enum { N_CALLS = 2001 };

static int compare(const void *a, const void *b)
{
    const uint64_t *l = a, *r = b;

    return *l < *r ? -1 : *l > *r;
}

static void ask_bus(sd_bus *bus, char **what)
{
    sd_bus_message *reply = NULL;

    hv_assert(sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                 "org.freedesktop.DBus", "GetId", NULL, &reply, NULL) >= 0);
    sd_bus_message_unref(reply);
}

static void get_property(sd_bus *bus, char **what)
{
    sd_bus_message *reply = NULL;

    hv_assert(sd_bus_call_method(bus, what[0], what[1], "org.freedesktop.DBus.Properties", "Get",
                                 NULL, &reply, "ss", what[2], what[3]) >= 0);
    sd_bus_message_unref(reply);
}

static double median_us(sd_bus *bus, char **what, void (*work)(sd_bus *bus, char **what))
{
    static uint64_t times[N_CALLS];

    for (int i = 0; i < N_CALLS; i++) {
        uint64_t began = hv_clock_monotonic_ns();

        work(bus, what);
        times[i] = hv_clock_monotonic_ns() - began;
    }
    qsort(times, N_CALLS, sizeof(times[0]), compare);
    return (double)times[N_CALLS / 2] / 1e3;
}

int main(int argc, char **argv)
{
    sd_bus *bus = NULL;
    double trip;

    if (argc != 5)
        return 2;
    hv_assert(sd_bus_open_user(&bus) >= 0);
    trip = median_us(bus, argv + 1, ask_bus);
    (void)printf("%.1f %.1f\n", trip, median_us(bus, argv + 1, get_property));
    sd_bus_flush_close_unref(bus);
    return 0;
}
