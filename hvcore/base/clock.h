/* SPDX-License-Identifier: Apache-2.0 */
/* Time as numbers: monotonic and wall clock in nanoseconds. Any thread. */
#pragma once

#include <stdint.h>
#include <time.h>

#define HV_NS_PER_SEC UINT64_C(1000000000)
#define HV_NS_PER_MS  UINT64_C(1000000)

static inline uint64_t hv_clock_ns(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * HV_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static inline uint64_t hv_clock_monotonic_ns(void)
{
    return hv_clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t hv_clock_realtime_ns(void)
{
    return hv_clock_ns(CLOCK_REALTIME);
}
