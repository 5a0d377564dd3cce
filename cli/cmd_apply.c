/* SPDX-License-Identifier: Apache-2.0 */
/* apply: what is wanted comes from a file; what that takes is shown, asked about, and done as one.
 */
#include "cli/desired.h"

#include "api/rpc/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FILE_BYTES = 1 << 20 };

static int fail_file(const struct adm *adm, const char *name, const char *what)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_FILE_NOT_FOUND, "apply.file", NULL, "%s: %s.", name, what);
    return adm_fail(adm, error);
}

static char *read_stream(FILE *in, size_t *ret_length)
{
    char *text = malloc(MAX_FILE_BYTES + 1);

    hv_assert(text);
    *ret_length = fread(text, 1, MAX_FILE_BYTES + 1, in);
    if (!ferror(in) && *ret_length <= MAX_FILE_BYTES)
        return text;
    free(text);
    return NULL;
}

static int parse(const char *name, const char *text, size_t length, struct json_doc **ret)
{
    struct json_fault fault;
    size_t line = 1;

    if (json_parse(text, length, &json_limits_reply, ret, &fault) == 0)
        return 0;
    for (size_t i = 0; i < fault.offset && i < length; i++)
        line += text[i] == '\n';
    (void)fprintf(stderr, "hvadm: %s: line %zu cannot be read: %s.\n", name, line, fault.text);
    return ADM_USAGE;
}

static int read_document(const struct adm *adm, const char *name, struct json_doc **ret)
{
    bool is_stdin = strcmp(name, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(name, "re");
    hv_autofree char *text = NULL;
    size_t length;

    if (!in)
        return fail_file(adm, name, strerror(errno));
    text = read_stream(in, &length);
    if (!is_stdin)
        (void)fclose(in);
    return text ? parse(name, text, length, ret)
                : fail_file(adm, name, "it cannot be read, or is longer than 1 MiB");
}

/* Showing */

/* Is the value one of that VM or group, and not its name? A VM and a group may have the same. */
static bool is_of(const struct desired_change *change, const struct api_plan_diff *diff)
{
    static const char group[] = "group.";
    bool is_of_group = strncmp(diff->field, group, strlen(group)) == 0;
    const char *field = diff->field + (is_of_group ? strlen(group) : 0);

    return is_of_group == change->is_group && diff->object &&
           strcmp(diff->object, change->id ? change->id : change->name) == 0 &&
           strcmp(field, "name") != 0;
}

static void show_change(const struct desired_change *change, const struct api_plan *plan)
{
    hv_autofree char *clean = adm_clean(change->name);
    struct adm_sheet *out = adm_sheet_new(NULL, 0);

    (void)printf("%c %s%s\n", change->mark, change->is_group ? "group " : "", clean);
    for (size_t i = 0; change->mark != '-' && i < plan->n_diff; i++) {
        if (is_of(change, &plan->diff[i]))
            adm_put_diff(out, &plan->diff[i]);
    }
    if (change->power)
        adm_put_pair(out, "  >", "%s", change->power);
    adm_sheet_print(out);
}

/* What is done before the rest, a step at a time, and what becomes of it when a later one fails. */
static void show_steps(const struct api_plan *plan)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);

    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct api_plan_step *step = &plan->steps[i];

        if (!step->undo)
            continue;
        adm_put_pair(out, "first", "%s %s", step->what, step->object ? step->object : "");
        adm_put_pair(out, "  if it fails", "%s", step->undo);
    }
    adm_sheet_print(out);
}

static void show(const struct desired_ops *ops, const struct api_plan *plan)
{
    for (size_t i = 0; i < ops->n_changes; i++)
        show_change(&ops->changes[i], plan);
    show_steps(plan);
    (void)fflush(stdout);
}

static bool is_agreed(void)
{
    char answer[16] = "";

    (void)fputs("Do this? [y/N] ", stderr);
    return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* Doing */

static char *params(const struct adm *adm, const char *ops, bool is_plan, const char *plan_id,
                    bool is_waiting)
{
    struct json_writer out = { 0 };

    json_begin_object(&out);
    json_key(&out, "ops");
    json_put_raw(&out, ops, strlen(ops));
    if (is_plan) {
        json_key(&out, "plan");
        json_put_bool(&out, true);
    } else if (plan_id) {
        json_key(&out, "plan_id");
        json_put_string(&out, plan_id);
    }
    adm_put_bounds(adm, &out);
    if (is_waiting) {
        json_key(&out, "wait");
        json_put_bool(&out, true);
    }
    return adm_end_params(&out);
}

/* For people, with its progress while it runs; for programs, one answer at its end. */
static int carry_out(struct adm *adm, const char *ops, const char *plan_id)
{
    union api_result result = { 0 };
    uint64_t job;
    int r;

    if (adm->is_json)
        return adm_call(adm, API_METHOD_TX_APPLY,
                        params(adm, ops, false, plan_id, !adm->is_no_wait), NULL);
    r = adm_get(adm, API_METHOD_TX_APPLY, params(adm, ops, false, plan_id, false), &result);
    if (r)
        return r;
    job = result.transaction.has & API_TRANSACTION_HAS_JOB ? result.transaction.job.id : 0;
    api_transaction_fini(&result.transaction);
    if (!job)
        return 0;
    if (!adm->is_no_wait)
        return adm_follow_job(adm, job, UINT64_MAX, NULL);
    (void)printf("%" PRIu64 "\n", job);
    return 0;
}

static int apply(struct adm *adm, const struct desired_ops *changes, const char *ops, bool is_yes)
{
    union api_result result = { 0 };
    hv_autofree char *plan_id = NULL;
    int r;

    if (adm->is_plan && adm->is_json)
        return adm_call(adm, API_METHOD_TX_APPLY, params(adm, ops, true, NULL, false), NULL);
    r = adm_get(adm, API_METHOD_TX_APPLY, params(adm, ops, true, NULL, false), &result);
    if (r)
        return r;
    if (!adm->is_json)
        show(changes, &result.transaction.plan);
    plan_id = strdup(result.transaction.plan.plan_id);
    hv_assert(plan_id);
    api_transaction_fini(&result.transaction);
    if (adm->is_plan)
        return 0;
    if (!is_yes && !is_agreed())
        return api_error_info(API_E_CANCELLED)->exit_status;
    return carry_out(adm, ops, plan_id);
}

/* Both lists as one: configuring first. */
static char *all_ops(struct desired_ops *ops)
{
    hv_autofree char *first = NULL, *last = NULL;
    char *text;

    json_end_array(&ops->ops);
    json_end_array(&ops->powers);
    hv_assert(json_writer_take(&ops->ops, &first, NULL) == 0);
    hv_assert(json_writer_take(&ops->powers, &last, NULL) == 0);
    first[strlen(first) - 1] = '\0';
    hv_assert(asprintf(&text, "%s%s%s", first, ops->count && ops->n_powers ? "," : "", last + 1) >
              0);
    return text;
}

static int run(struct adm *adm, const char *name, bool is_yes)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    HV_CLEANUP(desired_ops_fini) struct desired_ops ops = { 0 };
    hv_autofree char *text = NULL;
    int r = read_document(adm, name, &doc);

    if (r == 0)
        r = desired_compare(adm, name, json_doc_root(doc), &ops);
    if (r)
        return r;
    if (!ops.n_changes) {
        (void)puts(adm->is_json ? "{\"results\":[],\"already\":true,\"event_seq\":0}"
                                : "Nothing to do.");
        return 0;
    }
    text = all_ops(&ops);
    return apply(adm, &ops, text, is_yes);
}

int adm_cmd_apply(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "file", required_argument, NULL, 'f' },
                                           { "yes", no_argument, NULL, 'y' },
                                           { 0 } };
    const char *name = NULL;
    bool is_yes = false;
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, "f:y", names, NULL)) != -1) {
        if (code == 'f')
            name = optarg;
        else if (code == 'y')
            is_yes = true;
        else
            return adm_bad_option("apply", argv);
    }
    if (!name || optind != argc)
        return adm_usage("apply", "-f FILE is expected.");
    if (!is_yes && !adm->is_plan && (strcmp(name, "-") == 0 || !isatty(STDIN_FILENO)))
        return adm_usage("apply", "Nobody can be asked: give --yes, or --plan to look only.");
    return run(adm, name, is_yes);
}
