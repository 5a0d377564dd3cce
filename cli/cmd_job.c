/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct adm_column columns[] = { { "JOB", 0, true }, { "STATE" },    { "%", 0, true },
                                             { "TYPE" },         { "OWNER", 8 }, { "OBJECT", 12 } };

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

static void print_list(const union api_result *result)
{
    const struct api_job_list *list = &result->job_list;
    struct adm_sheet *out = adm_sheet_new(columns, HV_ARRAY_SIZE(columns));

    for (size_t i = 0; i < list->n_jobs; i++) {
        const struct api_job *job = &list->jobs[i];
        char id[24], percent[16];

        (void)snprintf(id, sizeof(id), "%" PRIu64, job->id);
        (void)snprintf(percent, sizeof(percent), "%" PRIu32, job->percent);
        adm_sheet_row(
            out, (const char *[]){
                     id, job->is_cancelling ? "stopping" : api_enum_job_state.values[job->state],
                     percent, job->type, job->owner,
                     job->vm_name ? job->vm_name : base_name(job->object) });
    }
    adm_sheet_print(out);
}

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return isdigit((unsigned char)*text) && !*end && !errno;
}

struct list_options {
    const char *state;
    bool only_active;
    uint64_t limit;
};

static int read_list_options(int argc, char **argv, struct list_options *ret)
{
    static const struct option names[] = { { "active", no_argument, NULL, 'a' },
                                           { "state", required_argument, NULL, 's' },
                                           { "limit", required_argument, NULL, 'l' },
                                           { 0 } };
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id == 'a')
            ret->only_active = true;
        else if (id == 's')
            ret->state = optarg;
        else if (id != 'l')
            return adm_bad_option("job list", argv);
        else if (!parse_number(optarg, &ret->limit))
            return adm_usage("job list", "\"%s\" is no number.", optarg);
    }
    return optind < argc ? adm_usage("job list", "\"%s\" is too much.", argv[optind]) : 0;
}

int adm_cmd_job_list(struct adm *adm, int argc, char **argv)
{
    struct list_options options = { .limit = 100 };
    struct json_writer params = { 0 };
    int r = read_list_options(argc, argv, &options);

    if (r)
        return r;
    json_begin_object(&params);
    json_key(&params, "limit");
    json_put_u64(&params, options.limit);
    json_key(&params, "filter");
    json_begin_object(&params);
    if (options.only_active) {
        json_key(&params, "active");
        json_put_bool(&params, true);
    }
    if (options.state) {
        json_key(&params, "state");
        json_put_string(&params, options.state);
    }
    json_end_object(&params);
    return adm_call(adm, API_METHOD_JOB_LIST, adm_end_params(&params), print_list);
}

static void print_time(struct adm_sheet *out, const char *key, uint64_t ms)
{
    char text[32];

    adm_format_time(ms, text, sizeof(text));
    adm_put_pair(out, key, "%s", text);
}

static void print_progress(struct adm_sheet *out, const struct api_job *job)
{
    char done[32], total[32], left[32];

    if (!job->bytes_total)
        return;
    adm_format_bytes(job->bytes_done, done, sizeof(done));
    adm_format_bytes(job->bytes_total, total, sizeof(total));
    adm_put_pair(out, "progress", "%" PRIu32 "%% (%s of %s)", job->percent, done, total);
    if (!(job->has & API_JOB_HAS_ETA_MS))
        return;
    adm_format_duration(job->eta_ms, left, sizeof(left));
    adm_put_pair(out, "left", "about %s", left);
}

static void print_end(struct adm_sheet *out, const struct api_job *job)
{
    HV_CLEANUP(api_error_freep) struct api_error *error = adm_job_error(job);

    if (job->has & API_JOB_HAS_ENDED_MS)
        print_time(out, "ended", job->ended_ms);
    if (error)
        adm_put_pair(out, "error", "%s", error->message);
    if (job->result)
        adm_put_pair(out, "result", "%s", job->result);
}

static void print_steps(struct adm_sheet *out, const struct api_job *job)
{
    for (size_t i = 0; i < job->n_steps; i++) {
        const struct api_job_step *step = &job->steps[i];
        const char *object = step->path ? step->path : step->vm;

        adm_put_pair(out, i ? "" : "steps", "%s: %s %s",
                     api_enum_job_step_state.values[step->state], step->method,
                     object ? object : "");
    }
}

static void print_job(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_job *job = &result->job;

    adm_put_pair(out, "job", "%" PRIu64, job->id);
    adm_put_pair(out, "type", "%s", job->type);
    adm_put_pair(out, "object", "%s", job->object);
    if (job->vm_name)
        adm_put_pair(out, "vm", "%s", job->vm_name);
    adm_put_pair(out, "state", "%s%s", api_enum_job_state.values[job->state],
                 job->is_cancelling ? ", stopping" : "");
    print_progress(out, job);
    adm_put_pair(out, "owner", "%s", job->owner);
    if (job->reason)
        adm_put_pair(out, "reason", "%s", job->reason);
    if (job->idempotency_key)
        adm_put_pair(out, "key", "%s", job->idempotency_key);
    print_time(out, "asked for", job->submitted_ms);
    if (job->has & API_JOB_HAS_STARTED_MS)
        print_time(out, "started", job->started_ms);
    if (job->has & API_JOB_HAS_DEADLINE_MS)
        print_time(out, "deadline", job->deadline_ms);
    if (job->has & API_JOB_HAS_PARENT)
        adm_put_pair(out, "step of", "job %" PRIu64, job->parent);
    print_steps(out, job);
    print_end(out, job);
    adm_sheet_print(out);
}

static char *job_params(const struct adm *adm, uint64_t id)
{
    struct json_writer params = { 0 };

    adm_begin_params(adm, &params, NULL);
    json_key(&params, "job");
    json_put_u64(&params, id);
    return adm_end_params(&params);
}

/* Waits for the end, which is the cancelling's success. */
static int cancel(struct adm *adm, uint64_t id)
{
    union api_result result = { 0 };
    int r;

    if (adm->is_plan || adm->is_no_wait || adm->is_json)
        return adm_call(adm, API_METHOD_JOB_CANCEL, job_params(adm, id), NULL);
    r = adm_get(adm, API_METHOD_JOB_CANCEL, job_params(adm, id), &result);
    if (r)
        return r;
    api_job_changed_fini(&result.job_changed);
    do {
        r = adm_get(adm, API_METHOD_JOB_WAIT, job_params(adm, id), &result);
        if (!r) {
            bool has_ended = result.job.has & API_JOB_HAS_ENDED_MS;

            if (has_ended && result.job.state != API_JOB_STATE_CANCELLED)
                (void)printf("Job %" PRIu64 " was %s before it could be stopped.\n", id,
                             api_enum_job_state.values[result.job.state]);
            api_job_fini(&result.job);
            if (has_ended)
                return 0;
        }
    } while (!r);
    return r;
}

int adm_cmd_job(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "timeout", required_argument, NULL, 't' }, { 0 } };
    uint64_t timeout_ms = UINT64_MAX, id;
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (code != 't' || strcmp(argv[0], "wait") != 0)
            return adm_bad_option("job", argv);
        if (!adm_parse_seconds(optarg, &timeout_ms))
            return adm_usage("job wait", "--timeout is a number of seconds.");
    }
    if (argc - optind != 1 || !parse_number(argv[optind], &id))
        return adm_usage("job", "The number of one job is expected.");
    if (strcmp(argv[0], "wait") == 0)
        return adm_follow_job(adm, id, timeout_ms, NULL);
    if (strcmp(argv[0], "cancel") == 0)
        return cancel(adm, id);
    return adm_call(adm, API_METHOD_JOB_GET, job_params(adm, id), print_job);
}
