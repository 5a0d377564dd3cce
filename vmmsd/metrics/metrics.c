/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/metrics/metrics_priv.h"

#include "hvcore/base/own.h"

const uint64_t metrics_bounds[METRICS_BUCKETS] = { 100000,     500000,    1000000,   5000000,
                                                   10000000,   50000000,  100000000, 500000000,
                                                   1000000000, 5000000000 };

struct vmms_metrics *vmms_metrics_new(void)
{
    return calloc(1, sizeof(struct vmms_metrics));
}

struct vmms_metrics *vmms_metrics_free(struct vmms_metrics *metrics)
{
    free(metrics);
    return NULL;
}

/* Numbers follow each other, so that only a call that stays open while thousands come and go loses
 * its place; its time is not told then. */
static struct metrics_open *place_of(struct vmms_metrics *metrics, uint64_t call)
{
    return &metrics->open[call % METRICS_MAX_OPEN];
}

void vmms_metrics_begin(struct vmms_metrics *metrics, uint64_t call, uint64_t now_ns)
{
    *place_of(metrics, call) = (struct metrics_open){ call, now_ns };
}

static void add_time(struct metrics_method *method, uint64_t ns)
{
    method->count++;
    method->sum_ns += ns;
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        if (ns <= metrics_bounds[i]) {
            method->buckets[i]++;
            return;
        }
    }
}

void vmms_metrics_refused(struct vmms_metrics *metrics, enum api_error_code code)
{
    size_t i = 0;

    while (i < metrics->n_errors && metrics->errors[i].code != code)
        i++;
    if (i == METRICS_MAX_CODES)
        return;
    if (i == metrics->n_errors)
        metrics->errors[metrics->n_errors++].code = code;
    metrics->errors[i].count++;
}

void vmms_metrics_end(struct vmms_metrics *metrics, uint64_t call, enum api_method method,
                      enum api_error_code code, uint64_t now_ns)
{
    struct metrics_open *open = place_of(metrics, call);

    if (code)
        vmms_metrics_refused(metrics, code);
    if (open->call != call || method >= API_METHOD_COUNT)
        return;
    open->call = 0;
    add_time(&metrics->methods[method], now_ns - open->begun_ns);
}
