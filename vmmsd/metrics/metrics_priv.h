/* SPDX-License-Identifier: Apache-2.0 */
/* What counting and writing share. */
#pragma once

#include "vmmsd/metrics/metrics.h"

enum { METRICS_BUCKETS = 10, METRICS_MAX_OPEN = 16384, METRICS_MAX_CODES = 64 };

/* Upper bounds in ns; what is longer is in no bucket but the last, of all. */
extern const uint64_t metrics_bounds[METRICS_BUCKETS];

struct metrics_method {
    uint64_t buckets[METRICS_BUCKETS]; /* each has its own, not those below it */
    uint64_t count;
    uint64_t sum_ns;
};

struct metrics_open {
    uint64_t call; /* 0: free */
    uint64_t begun_ns;
};

struct vmms_metrics {
    struct metrics_method methods[API_METHOD_COUNT];
    struct {
        enum api_error_code code;
        uint64_t count;
    } errors[METRICS_MAX_CODES];
    size_t n_errors;
    struct metrics_open open[METRICS_MAX_OPEN]; /* by the low bits of the call's number */
};
