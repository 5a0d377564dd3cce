/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/time/tsc.h"

#include "hvcore/base/clock.h"
#include "hvcore/base/own.h"

#include <cpuid.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum {
    CPUID_POWER = 0x80000007,
    CPUID_POWER_INVARIANT_TSC = 1 << 8,
    MEASURE_NS = 4 * 1000 * 1000,
    ANCHOR_TICKS_LOG2 = 24 /* some milliseconds: the clock's slewing stays below a microsecond */
};

static uint64_t scale_q32(uint64_t value, uint64_t factor)
{
    return (uint64_t)((__uint128_t)value * factor >> 32);
}

static uint64_t ns_per_tick_q32(uint64_t tsc_hz)
{
    return (uint64_t)(((__uint128_t)HV_NS_PER_SEC << 32) / tsc_hz);
}

/* The kernel's own factor stands in the page of any perf event: ns = tsc * mult >> shift. */
static uint64_t hz_of_perf_page(const struct perf_event_mmap_page *page)
{
    if (!page->cap_user_time || page->time_mult == 0)
        return 0;
    return (uint64_t)(((__uint128_t)HV_NS_PER_SEC << page->time_shift) / page->time_mult);
}

/* A processor's, where that is allowed: for the first one of a thread on the whole host the kernel
 * waits until all processors know, which takes milliseconds. */
static int open_event(struct perf_event_attr *attr)
{
    int fd = (int)syscall(SYS_perf_event_open, attr, -1, sched_getcpu(), -1, PERF_FLAG_FD_CLOEXEC);

    return fd >= 0 ? fd : (int)syscall(SYS_perf_event_open, attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t hz_told_by_kernel(void)
{
    struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
                                    .size = sizeof(attr),
                                    .config = PERF_COUNT_SW_DUMMY,
                                    .exclude_kernel = 1,
                                    .exclude_hv = 1 };
    hv_autofd int fd = -1;
    uint64_t hz;
    void *page;

    fd = open_event(&attr);
    if (fd < 0)
        return 0;
    page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return 0;
    hz = hz_of_perf_page(page);
    (void)munmap(page, (size_t)sysconf(_SC_PAGESIZE));
    return hz;
}

/* Both clocks at one moment: the tightest of a few brackets. */
static void read_both(uint64_t *ret_tsc, uint64_t *ret_ns)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t before = hv_tsc_read();
        uint64_t ns = hv_clock_ns(CLOCK_MONOTONIC);
        uint64_t after = hv_tsc_read();

        if (after - before >= best)
            continue;
        best = after - before;
        *ret_tsc = before + best / 2;
        *ret_ns = ns;
    }
}

static uint64_t hz_measured(uint64_t from_tsc, uint64_t from_ns)
{
    uint64_t gone = hv_clock_ns(CLOCK_MONOTONIC) - from_ns, tsc = 0, ns = 0;

    if (gone < MEASURE_NS)
        (void)nanosleep(&(struct timespec){ .tv_nsec = (long)(MEASURE_NS - gone) }, NULL);
    read_both(&tsc, &ns);
    return (uint64_t)((__uint128_t)(tsc - from_tsc) * HV_NS_PER_SEC / (ns - from_ns));
}

static bool is_clock_of_kernel(void)
{
    static const char path[] = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    hv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
    char name[4];

    return fd >= 0 && read(fd, name, sizeof(name)) == sizeof(name) &&
           memcmp(name, "tsc\n", sizeof(name)) == 0;
}

bool hv_tsc_is_invariant(void)
{
    unsigned eax, ebx, ecx, edx;

    if (__get_cpuid(CPUID_POWER, &eax, &ebx, &ecx, &edx) && (edx & CPUID_POWER_INVARIANT_TSC))
        return true;
    return is_clock_of_kernel();
}

void hv_tsc_begin(struct hv_tsc_facts *ret)
{
    *ret =
        (struct hv_tsc_facts){ .is_invariant = hv_tsc_is_invariant(), .hz = hz_told_by_kernel() };
    if (ret->hz == 0)
        read_both(&ret->from_tsc, &ret->from_ns);
}

void hv_tsc_finish(struct hv_tsc_facts *facts)
{
    if (facts->hz == 0 && facts->from_ns == 0)
        hv_tsc_begin(facts);
    if (facts->hz == 0)
        facts->hz = hz_measured(facts->from_tsc, facts->from_ns);
}

uint64_t hv_tsc_hz(void)
{
    struct hv_tsc_facts facts = { 0 };

    hv_tsc_finish(&facts);
    return facts.hz;
}

void hv_tsc_anchor_init(struct hv_tsc_anchor *anchor, uint64_t tsc_hz)
{
    *anchor =
        (struct hv_tsc_anchor){ .tsc_hz = tsc_hz, .ns_per_tick_q32 = ns_per_tick_q32(tsc_hz) };
}

uint64_t hv_tsc_anchor_to_ns(struct hv_tsc_anchor *anchor, uint64_t host_tsc)
{
    uint64_t now = hv_tsc_read();

    if ((now - anchor->tsc) >> ANCHOR_TICKS_LOG2 != 0) {
        anchor->ns = hv_clock_monotonic_ns();
        anchor->tsc = now;
    }
    if (host_tsc <= anchor->tsc)
        return anchor->ns;
    /* A century is far enough away, and its nanoseconds fit. */
    if (host_tsc - anchor->tsc > UINT64_C(1) << 62)
        host_tsc = anchor->tsc + (UINT64_C(1) << 62);
    return anchor->ns + scale_q32(host_tsc - anchor->tsc, anchor->ns_per_tick_q32);
}

void hv_guest_clock_init(struct hv_guest_clock *clock, uint64_t tsc_hz)
{
    *clock = (struct hv_guest_clock){
        .tsc_hz = tsc_hz,
        .reference_scale = (uint64_t)(((__uint128_t)(HV_NS_PER_SEC / 100) << 64) / tsc_hz),
        .ns_per_tick_q32 = ns_per_tick_q32(tsc_hz),
        .offset = 0 - hv_tsc_read(),
    };
}

uint64_t hv_guest_clock_tsc(const struct hv_guest_clock *clock)
{
    uint64_t stopped_at = atomic_load(&clock->stopped_at);

    return stopped_at != 0 ? stopped_at : hv_tsc_read() + atomic_load(&clock->offset);
}

uint64_t hv_guest_clock_ns(const struct hv_guest_clock *clock)
{
    return scale_q32(hv_guest_clock_tsc(clock), clock->ns_per_tick_q32);
}

uint64_t hv_guest_clock_reference(const struct hv_guest_clock *clock)
{
    return (uint64_t)((__uint128_t)hv_guest_clock_tsc(clock) * clock->reference_scale >> 64);
}

void hv_guest_clock_stop(struct hv_guest_clock *clock)
{
    if (atomic_load(&clock->stopped_at) == 0)
        atomic_store(&clock->stopped_at, (hv_tsc_read() + atomic_load(&clock->offset)) | 1);
}

uint64_t hv_guest_clock_tsc_at(const struct hv_guest_clock *clock, uint64_t reference)
{
    const uint64_t century = UINT64_C(1) << 62;
    __uint128_t tsc = ((__uint128_t)reference << 64) / clock->reference_scale + 1;

    return tsc < century ? (uint64_t)tsc : century;
}

void hv_guest_clock_set_tsc(struct hv_guest_clock *clock, uint64_t tsc)
{
    atomic_store(&clock->offset, tsc - hv_tsc_read());
    if (atomic_load(&clock->stopped_at) != 0)
        atomic_store(&clock->stopped_at, tsc | 1);
}

/* The offset is right before readers begin to use it. */
uint64_t hv_guest_clock_start(struct hv_guest_clock *clock)
{
    uint64_t stopped_at = atomic_load(&clock->stopped_at);
    uint64_t old = atomic_load(&clock->offset);
    uint64_t offset = stopped_at - hv_tsc_read();

    if (stopped_at == 0)
        return 0;
    atomic_store(&clock->offset, offset);
    atomic_store(&clock->stopped_at, 0);
    return old - offset;
}
