/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of what the service does, and all figures as OpenMetrics text. No I/O; the loop's thread.
 *
 * The text follows the OpenMetrics specification 1.0: families with type and unit, counters that
 * end in _total, "# EOF" at the end.
 */
#pragma once

#include "api/gen/types.h"

#include <stdint.h>

struct vmms_metrics;

/* NULL: out of memory. */
struct vmms_metrics *vmms_metrics_new(void);
struct vmms_metrics *vmms_metrics_free(struct vmms_metrics *metrics);

/* A call came in, and was answered (code 0: well). Calls that never began are counted only. */
void vmms_metrics_begin(struct vmms_metrics *metrics, uint64_t call, uint64_t now_ns);
void vmms_metrics_end(struct vmms_metrics *metrics, uint64_t call, enum api_method method,
                      enum api_error_code code, uint64_t now_ns);
/* A call that was refused before it was one. */
void vmms_metrics_refused(struct vmms_metrics *metrics, enum api_error_code code);

/* What the service knows at the moment, beside the summaries. */
struct vmms_gauges {
    uint64_t local_connections;
    uint64_t remote_connections;
    uint64_t refused_connections; /* since the start: too many, nobody, or not HTTP */
    uint64_t last_event;
    uint64_t event_bytes; /* of the events that are kept */
    uint64_t commits;     /* since the start */
};

/* The text; freed by the caller. NULL: out of memory. */
char *vmms_metrics_text(const struct vmms_metrics *metrics, const struct api_vm_summaries *figures,
                        const struct vmms_gauges *gauges);
