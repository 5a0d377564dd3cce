/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for jobs, with a bar where somebody looks. */
#include "cli/adm.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "hvcore/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LOOK_MS = 250, PATIENT_MS = 10000, BAR_CHARS = 30 };

struct api_error *adm_job_error(const struct api_job *job)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct api_error *error = NULL;
    struct json_fault fault;

    if (!job->error)
        return NULL;
    if (json_parse(job->error, strlen(job->error), &json_limits_reply, &doc, &fault) < 0 ||
        api_error_read(json_doc_root(doc), &error) < 0)
        api_error_set(&error, API_E_FAILED, "job.failed", NULL, "The job failed.");
    return error;
}

/* One line, whatever is told in it. */
static void draw(const struct api_job *job)
{
    char bar[BAR_CHARS + 1], left[32] = "";
    size_t full = job->percent * BAR_CHARS / 100;
    hv_autofree char *line = NULL, *clean = NULL;
    int width;

    memset(bar, '.', BAR_CHARS);
    memset(bar, '#', full < BAR_CHARS ? full : BAR_CHARS);
    bar[BAR_CHARS] = '\0';
    if (job->has & API_JOB_HAS_ETA_MS)
        adm_format_duration(job->eta_ms, left, sizeof(left));
    hv_assert(asprintf(&line, "%s [%s] %3" PRIu32 "%%%s%s", job->type, bar, job->percent,
                       *left || job->n_steps ? "  " : "",
                       job->n_steps && job->step ? job->step : left) > 0);
    clean = adm_clean(line);
    (void)fprintf(stderr, "\r\033[K%.*s",
                  (int)adm_text_prefix(clean, adm_width_of(STDERR_FILENO) - 1, &width), clean);
}

static void wipe(void)
{
    (void)fputs("\r\033[K", stderr);
}

static bool has_ended(const struct api_job *job)
{
    return job->state == API_JOB_STATE_DONE || job->state == API_JOB_STATE_CANCELLED ||
           job->state == API_JOB_STATE_FAILED;
}

/* Returns 0, or -EINVAL with *reterr. */
static int look(struct adm *adm, uint64_t id, uint64_t wait_ms, struct api_reply *ret_reply,
                struct api_job *ret, struct api_error **reterr)
{
    char params[80];
    int r;

    (void)snprintf(params, sizeof(params), "{\"job\":%" PRIu64 ",\"timeout_ms\":%" PRIu64 "}", id,
                   wait_ms);
    r = api_client_call(adm->client, API_METHOD_JOB_WAIT, params, ret_reply, reterr);
    return r < 0 ? r : api_record_read(&api_record_job, ret_reply->result, NULL, ret, reterr);
}

static int conclude(struct adm *adm, const struct api_reply *reply, const struct api_job *job,
                    void (*print)(const struct api_job *job))
{
    struct api_error *error = adm_job_error(job);
    int status;

    if (adm->is_json) {
        adm_print_json(reply->result);
        status = error ? api_error_info((int)error->code)->exit_status : 0;
        api_error_free(error);
        return status;
    }
    if (error)
        return adm_fail(adm, error);
    if (print)
        print(job);
    return 0;
}

static int fail_timeout(const struct adm *adm, const struct api_job *job)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_TIMEOUT, "job.wait", NULL,
                  "Job %" PRIu64 " has not ended yet; it goes on.", job->id);
    return adm_fail(adm, error);
}

/* UINT64_MAX: there is no deadline */
static uint64_t left_ms(uint64_t deadline_ns)
{
    uint64_t now = hv_clock_monotonic_ns();

    return deadline_ns == UINT64_MAX ? UINT64_MAX
           : now < deadline_ns       ? (deadline_ns - now) / HV_NS_PER_MS + 1
                                     : 0;
}

int adm_follow_job(struct adm *adm, uint64_t id, uint64_t timeout_ms,
                   void (*print)(const struct api_job *job))
{
    bool is_seen = !adm->is_json && isatty(STDERR_FILENO);
    uint64_t step_ms = is_seen ? LOOK_MS : PATIENT_MS, deadline_ns = UINT64_MAX, left;
    struct adm_absence absence = { 0 };
    int status = adm_connect(adm);

    if (timeout_ms != UINT64_MAX)
        deadline_ns = hv_clock_monotonic_ns() + timeout_ms * HV_NS_PER_MS;
    while (!status) {
        HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
        HV_CLEANUP(api_job_fini) struct api_job job = { 0 };
        struct api_error *error = NULL;

        left = left_ms(deadline_ns);
        if (look(adm, id, left < step_ms ? left : step_ms, &reply, &job, &error) < 0) {
            if (is_seen)
                wipe();
            if (!adm_await_service(adm, &absence, deadline_ns, &error))
                return adm_fail(adm, error);
            continue;
        }
        adm_service_is_there(&absence);
        left = left_ms(deadline_ns);
        if (is_seen)
            has_ended(&job) || !left ? wipe() : draw(&job);
        if (has_ended(&job))
            return conclude(adm, &reply, &job, print);
        if (!left)
            return fail_timeout(adm, &job);
    }
    return status;
}

/* Calls that make jobs */

void adm_put_lines(struct adm_sheet *out, const char *first, const char *next, char **texts,
                   size_t count)
{
    for (size_t i = 0; i < count; i++)
        adm_put_pair(out, i ? next : first, "%s", texts[i]);
}

static int plan_job(struct adm *adm, enum api_method method, char *params)
{
    union api_result result = { 0 };
    int r;

    if (adm->is_json)
        return adm_call(adm, method, params, NULL);
    r = adm_get(adm, method, params, &result);
    if (r)
        return r;
    adm_print_plan(&result.job_changed.plan);
    api_job_changed_fini(&result.job_changed);
    return 0;
}

int adm_call_job(struct adm *adm, enum api_method method, char *params,
                 void (*print)(const struct api_job *job), uint64_t *ret_followed)
{
    union api_result result = { 0 };
    uint64_t id;
    int r;

    if (adm->is_plan)
        return plan_job(adm, method, params);
    r = adm_get(adm, method, params, &result);
    if (r)
        return r;
    id = result.job_changed.job.id; /* 0: it was so already */
    api_job_changed_fini(&result.job_changed);
    if (!id)
        return 0;
    if (adm->is_no_wait) {
        (void)printf(adm->is_json ? "{\"job\":%" PRIu64 "}\n" : "%" PRIu64 "\n", id);
        return 0;
    }
    if (ret_followed)
        *ret_followed = id;
    return adm_follow_job(adm, id, UINT64_MAX, print);
}
