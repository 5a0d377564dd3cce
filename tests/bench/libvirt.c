/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_libvirt WORK URI [COUNT [WIDTH]]: what tests/bench measures of vmmsd, of libvirtd.
 *
 * rate      calls a second on one connection, and milliseconds from opening one to its first answer
 * idle      opens COUNT connections, says how many there came to be, keeps them until its input
 * ends events    milliseconds from the answer to a change to its event at the last of COUNT
 * subscribers define    domains defined a second, COUNT of them, by WIDTH connections with one call
 * each
 */
#include "hvcore/base/clock.h"
#include "hvcore/base/own.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { N_CALLS = 10000, N_CONNECTS = 51, N_CHANGES = 21, MAX_WIDTH = 256 };

static int compare(const void *a, const void *b)
{
    const uint64_t *l = a, *r = b;

    return *l < *r ? -1 : *l > *r;
}

static double median_ms(uint64_t *times, size_t count)
{
    qsort(times, count, sizeof(times[0]), compare);
    return (double)times[count / 2] / 1e6;
}

static void say_nothing(void *opaque, virErrorPtr error)
{
}

static void say_why(void)
{
    virErrorPtr error = virGetLastError();

    (void)fprintf(stderr, "bench_libvirt: %s\n", error ? error->message : "no reason given");
}

static virConnectPtr open_connection(const char *uri)
{
    virConnectPtr connection = virConnectOpen(uri);

    if (!connection)
        say_why();
    hv_assert(connection);
    return connection;
}

/* The cheapest call that reaches the daemon. */
static void call(virConnectPtr connection)
{
    unsigned long version;

    hv_assert(virConnectGetLibVersion(connection, &version) == 0);
}

static void measure_rate(const char *uri)
{
    virConnectPtr connection = open_connection(uri);
    uint64_t times[N_CONNECTS], began;
    double rate;

    call(connection);
    began = hv_clock_monotonic_ns();
    for (int i = 0; i < N_CALLS; i++)
        call(connection);
    rate = N_CALLS * 1e9 / (double)(hv_clock_monotonic_ns() - began);
    (void)virConnectClose(connection);
    for (int i = 0; i < N_CONNECTS; i++) {
        began = hv_clock_monotonic_ns();
        connection = open_connection(uri);
        call(connection);
        times[i] = hv_clock_monotonic_ns() - began;
        (void)virConnectClose(connection);
    }
    (void)printf("%.0f %.3f\n", rate, median_ms(times, N_CONNECTS));
}

static void stay(const char *uri, int count)
{
    struct rlimit files = { 4096, 4096 };
    int opened = 0;

    (void)setrlimit(RLIMIT_NOFILE, &files);
    while (opened < count && virConnectOpen(uri))
        opened++;
    (void)printf("%d\n", opened);
    (void)fflush(stdout);
    while (getchar() != EOF)
        ;
}

static void define(virConnectPtr connection, const char *type, const char *prefix, int number)
{
    virDomainPtr domain;
    char xml[512];

    (void)snprintf(xml, sizeof(xml),
                   "<domain type='%s'><name>%s%d</name><uuid>68767374-6163-4b00-8000-%012d</uuid>"
                   "<memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>",
                   type, prefix, number, number);
    domain = virDomainDefineXML(connection, xml);
    if (!domain)
        say_why();
    hv_assert(domain);
    (void)virDomainFree(domain);
}

/* Its test driver calls its domains by a type of their own. */
static const char *type_for(const char *uri)
{
    return strncmp(uri, "test", 4) == 0 ? "test" : "qemu";
}

static int came(virConnectPtr connection, virDomainPtr domain, int event, int detail, void *opaque)
{
    ++*(int *)opaque;
    return 0;
}

static void measure_events(const char *uri, int count)
{
    virConnectPtr changer;
    uint64_t times[N_CHANGES], began;
    int n_came = 0;

    hv_assert(virEventRegisterDefaultImpl() == 0);
    changer = open_connection(uri);
    for (int i = 0; i < count; i++)
        hv_assert(virConnectDomainEventRegister(open_connection(uri), came, &n_came, NULL) == 0);
    for (int i = 0; i < N_CHANGES; i++) {
        define(changer, type_for(uri), "hvbench-event-", 0);
        began = hv_clock_monotonic_ns();
        while (n_came < (i + 1) * count)
            hv_assert(virEventRunDefaultImpl() == 0);
        times[i] = hv_clock_monotonic_ns() - began;
    }
    (void)printf("%.3f\n", median_ms(times, N_CHANGES));
}

/* Defining from many threads */

struct crowd {
    const char *type;
    atomic_int next;
    int count;
};

struct member {
    struct crowd *crowd;
    virConnectPtr connection;
    pthread_t thread;
};

static void *define_some(void *opaque)
{
    struct member *member = opaque;
    int number;

    while ((number = atomic_fetch_add(&member->crowd->next, 1)) < member->crowd->count)
        define(member->connection, member->crowd->type, "hvbench-many-", number);
    return NULL;
}

static void measure_define(const char *uri, int count, int width)
{
    struct crowd crowd = { .type = type_for(uri), .count = count };
    struct member members[MAX_WIDTH];
    uint64_t began;

    hv_assert(width > 0 && width <= MAX_WIDTH);
    for (int i = 0; i < width; i++)
        members[i] = (struct member){ .crowd = &crowd, .connection = open_connection(uri) };
    began = hv_clock_monotonic_ns();
    for (int i = 0; i < width; i++)
        hv_assert(pthread_create(&members[i].thread, NULL, define_some, &members[i]) == 0);
    for (int i = 0; i < width; i++)
        hv_assert(pthread_join(members[i].thread, NULL) == 0);
    (void)printf("%.1f\n", count * 1e9 / (double)(hv_clock_monotonic_ns() - began));
}

int main(int argc, char **argv)
{
    const char *work = argc > 2 ? argv[1] : "";
    int count = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 0;

    virSetErrorFunc(NULL, say_nothing);
    if (strcmp(work, "rate") == 0)
        measure_rate(argv[2]);
    else if (strcmp(work, "idle") == 0)
        stay(argv[2], count);
    else if (strcmp(work, "events") == 0)
        measure_events(argv[2], count);
    else if (strcmp(work, "define") == 0 && argc > 4)
        measure_define(argv[2], count, (int)strtol(argv[4], NULL, 10));
    else
        return 2;
    return 0;
}
