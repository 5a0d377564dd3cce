/* SPDX-License-Identifier: Apache-2.0 */
/* Disk images: options become the arguments of image methods, jobs are waited for. */
#include "cli/adm.h"

#include "api/rpc/json.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum option_kind { OPTION_TEXT, OPTION_SIZE, OPTION_NUMBER, OPTION_PATH, OPTION_FLAG };

static const struct {
    const char *option;
    const char *argument;
    enum option_kind kind;
} options[] = {
    { "size", "size_bytes", OPTION_SIZE },
    { "type", "type", OPTION_TEXT },
    { "parent", "parent", OPTION_PATH },
    { "format", "format", OPTION_TEXT },
    { "to-format", "to_format", OPTION_TEXT },
    { "block-size", "block_bytes", OPTION_SIZE },
    { "sector-size", "logical_sector_bytes", OPTION_NUMBER },
    { "physical-sector-size", "physical_sector_bytes", OPTION_NUMBER },
    { "into", "into", OPTION_PATH },
    { "mode", "mode", OPTION_TEXT },
    { "force", "force", OPTION_FLAG },
    { "key", "idempotency_key", OPTION_TEXT },
    { "reason", "reason", OPTION_TEXT },
};

static const struct verb {
    const char *name;
    enum api_method method;
    int n_paths;
} verbs[] = {
    { "create", API_METHOD_IMAGE_CREATE, 1 },       { "check", API_METHOD_IMAGE_VALIDATE, 1 },
    { "convert", API_METHOD_IMAGE_CONVERT, 2 },     { "resize", API_METHOD_IMAGE_RESIZE, 1 },
    { "merge", API_METHOD_IMAGE_MERGE, 1 },         { "compact", API_METHOD_IMAGE_COMPACT, 1 },
    { "reparent", API_METHOD_IMAGE_SET_PARENT, 1 }, { "info", API_METHOD_IMAGE_INFO, 1 },
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static int put_number(struct json_writer *params, size_t option, const char *value)
{
    uint64_t number = 0;

    if (!adm_parse_size(value, &number))
        return adm_usage("vhd", "--%s %s is not understood.", options[option].option, value);
    json_put_u64(params, number);
    return 0;
}

/* The option of convert that says the type of the copy. */
static const char *argument_name(const struct verb *verb, size_t option)
{
    if (verb->method == API_METHOD_IMAGE_CONVERT && strcmp(options[option].option, "type") == 0)
        return "to_type";
    return options[option].argument;
}

static int put_option(const struct verb *verb, struct json_writer *params, size_t option,
                      const char *value)
{
    const char *name = argument_name(verb, option);

    if (!api_record_find(api_methods[verb->method].args, name, NULL))
        return adm_usage("vhd", "vhd %s has no option --%s.", verb->name, options[option].option);
    json_key(params, name);
    switch (options[option].kind) {
    case OPTION_TEXT: json_put_string(params, value); return 0;
    case OPTION_PATH: adm_put_path(params, value); return 0;
    case OPTION_FLAG: json_put_bool(params, true); return 0;
    default: return put_number(params, option, value);
    }
}

static int put_options(const struct verb *verb, int argc, char **argv, struct json_writer *params)
{
    struct option names[HV_ARRAY_SIZE(options) + 1] = { 0 };
    int id, r = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(options); i++)
        names[i] =
            (struct option){ options[i].option,
                             options[i].kind == OPTION_FLAG ? no_argument : required_argument, NULL,
                             (int)i };
    opterr = 0;
    while (r == 0 && (id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id < 0 || (size_t)id >= HV_ARRAY_SIZE(options))
            return adm_bad_option("vhd", argv);
        r = put_option(verb, params, (size_t)id, optarg);
    }
    return r;
}

/* NULL: *ret_status says why. */
static char *read_call(const struct adm *adm, const struct verb *verb, int argc, char **argv,
                       int *ret_status)
{
    struct json_writer params = { 0 };
    char topic[32];

    (void)snprintf(topic, sizeof(topic), "vhd %s", verb->name);
    adm_begin_params(adm, &params, NULL);
    *ret_status = put_options(verb, argc, argv, &params);
    if (!*ret_status && argc - optind != verb->n_paths)
        *ret_status = adm_usage(topic, verb->n_paths == 1 ? "The file of one image is expected."
                                                          : "Two files are expected.");
    if (*ret_status) {
        json_writer_fini(&params);
        return NULL;
    }
    json_key(&params, "path");
    adm_put_path(&params, argv[optind]);
    if (verb->n_paths == 2) {
        json_key(&params, "to");
        adm_put_path(&params, argv[optind + 1]);
    }
    return adm_end_params(&params);
}

/* Printing */

static void print_check(const struct api_job *job)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    HV_CLEANUP(api_image_check_fini) struct api_image_check check = { 0 };
    struct json_fault fault;
    struct adm_sheet *out;

    if (!job->result ||
        json_parse(job->result, strlen(job->result), &json_limits_reply, &doc, &fault) < 0 ||
        api_record_read(&api_record_image_check, json_doc_root(doc), NULL, &check, NULL) < 0)
        return;
    out = adm_sheet_new(NULL, 0);
    adm_put_lines(out, "error", "error", check.errors, check.n_errors);
    adm_put_lines(out, "warning", "warning", check.warnings, check.n_warnings);
    if (check.is_cut_short)
        adm_put_pair(out, "", "%s", "There is more.");
    adm_sheet_print(out);
    if (check.is_ok)
        (void)puts("No damage was found.");
}

/* A damaged image is a finding, not a failure of the job: hvadm's status tells it all the same. */
static int check_status(struct adm *adm, uint64_t id)
{
    struct json_writer params = { 0 };
    union api_result result = { 0 };
    bool is_damaged;
    int r;

    json_begin_object(&params);
    json_key(&params, "job");
    json_put_u64(&params, id);
    r = adm_get(adm, API_METHOD_JOB_GET, adm_end_params(&params), &result);
    if (r)
        return r;
    is_damaged = result.job.result && strstr(result.job.result, "\"is_ok\":false");
    api_job_fini(&result.job);
    return is_damaged ? api_error_info(API_E_CORRUPT_IMAGE)->exit_status : 0;
}

int adm_cmd_vhd(struct adm *adm, int argc, char **argv)
{
    const struct verb *verb = find_verb(argv[0]);
    bool is_check = verb->method == API_METHOD_IMAGE_VALIDATE;
    uint64_t id = 0;
    char *params;
    int r;

    params = read_call(adm, verb, argc, argv, &r);
    if (!params)
        return r;
    r = adm_call_job(adm, verb->method, params, is_check ? print_check : NULL, &id);
    return r || !is_check || !id ? r : check_status(adm, id);
}

static void print_info(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_image *image = &result->image;
    char text[32];

    adm_put_pair(out, "file", "%s", image->path);
    adm_put_pair(out, "format", "%s, %s", api_enum_image_format.values[image->format],
                 api_enum_image_type.values[image->type]);
    adm_format_bytes(image->size_bytes, text, sizeof(text));
    adm_put_pair(out, "disk size", "%s", text);
    adm_format_bytes(image->file_bytes, text, sizeof(text));
    adm_put_pair(out, "file size", "%s", text);
    adm_put_pair(out, "sectors", "%" PRIu32 " (physical %" PRIu32 ")", image->logical_sector_bytes,
                 image->physical_sector_bytes);
    adm_format_bytes(image->block_bytes, text, sizeof(text));
    if (image->has & API_IMAGE_HAS_BLOCK_BYTES)
        adm_put_pair(out, "block size", "%s", text);
    if (image->id)
        adm_put_pair(out, "id", "%s", image->id);
    for (size_t i = 1; i < image->n_chain; i++)
        adm_put_pair(out, i == 1 ? "parent" : "its parent", "%s", image->chain[i]);
    if (image->chain_error)
        adm_put_pair(out, "parents", "%s", image->chain_error);
    if (!image->is_clean)
        adm_put_pair(out, "state", "%s", "not closed well; its log will be replayed");
    adm_sheet_print(out);
}

int adm_cmd_vhd_info(struct adm *adm, int argc, char **argv)
{
    const struct verb *verb = find_verb("info");
    int r;
    char *params = read_call(adm, verb, argc, argv, &r);

    return params ? adm_call(adm, API_METHOD_IMAGE_INFO, params, print_info) : r;
}
