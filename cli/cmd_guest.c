/* SPDX-License-Identifier: Apache-2.0 */
/* shutdown, reboot, type and the noun guest: what is asked of and given to a guest. */
#include "cli/adm.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Shutting down */

struct wishes {
    bool is_forced;
    const char *reason;
    const char *group;
    uint64_t timeout_ms; /* 0: the service's own */
};

static int read_wishes(int argc, char **argv, struct wishes *ret)
{
    static const struct option names[] = { { "force", no_argument, NULL, 'f' },
                                           { "reason", required_argument, NULL, 'r' },
                                           { "timeout", required_argument, NULL, 't' },
                                           { "group", required_argument, NULL, 'g' },
                                           { 0 } };
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (id) {
        case 'g': ret->group = optarg; break;
        case 'f': ret->is_forced = true; break;
        case 'r': ret->reason = optarg; break;
        case 't':
            if (!adm_parse_seconds(optarg, &ret->timeout_ms))
                return adm_usage("vm shutdown", "--timeout is a number of seconds.");
            break;
        default: return adm_bad_option("vm shutdown", argv);
        }
    }
    return 0;
}

static void put_flag(struct json_writer *out, const char *key, bool value)
{
    json_key(out, key);
    json_put_bool(out, value);
}

/* Every VM is tried; the first failure's status is the program's. */
int adm_cmd_shutdown(struct adm *adm, int argc, char **argv)
{
    enum api_method method =
        strcmp(argv[0], "reboot") == 0 ? API_METHOD_GUEST_REBOOT : API_METHOD_GUEST_SHUTDOWN;
    HV_CLEANUP(adm_targets_fini) struct adm_targets targets = { 0 };
    struct wishes wishes = { 0 };
    int status = read_wishes(argc, argv, &wishes), r;

    if (!status)
        status =
            adm_read_targets(adm, argv[0], wishes.group, argc - optind, argv + optind, &targets);
    if (status)
        return status;
    for (size_t i = 0; i < targets.count; i++) {
        struct json_writer params = { 0 };

        adm_begin_params(adm, &params, targets.refs[i]);
        if (wishes.is_forced)
            put_flag(&params, "force", true);
        if (adm->is_no_wait)
            put_flag(&params, "wait", false);
        if (wishes.reason) {
            json_key(&params, "reason");
            json_put_string(&params, wishes.reason);
        }
        if (wishes.timeout_ms) {
            json_key(&params, "timeout_ms");
            json_put_u64(&params, wishes.timeout_ms);
        }
        r = adm_call_target(adm, method, adm_end_params(&params), &targets, i);
        status = status ? status : r;
    }
    return status;
}

/* Typing */

static int type_text(struct adm *adm, const char *vm, const char *text, bool is_entered)
{
    struct json_writer params = { 0 };
    hv_autofree char *line = NULL;

    hv_assert(asprintf(&line, "%s%s", text, is_entered ? "\n" : "") >= 0);
    adm_begin_params(adm, &params, vm);
    json_key(&params, "text");
    json_put_string(&params, line);
    return adm_call(adm, API_METHOD_CONSOLE_TYPE_TEXT, adm_end_params(&params), NULL);
}

int adm_cmd_type(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "enter", no_argument, NULL, 'e' },
                                           { "ctrl-alt-del", no_argument, NULL, 'c' },
                                           { 0 } };
    bool is_entered = false, is_chord = false;
    struct json_writer params = { 0 };
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id != 'e' && id != 'c')
            return adm_usage("vm type",
                             "The option %s is not known; text that begins so comes "
                             "after --.",
                             adm_refused_word(argv));
        is_entered = is_entered || id == 'e';
        is_chord = is_chord || id == 'c';
    }
    if (argc - optind != (is_chord ? 1 : 2) || (is_chord && is_entered))
        return adm_usage("vm type", "A VM and the text as one word are expected.");
    if (!is_chord)
        return type_text(adm, argv[optind], argv[optind + 1], is_entered);
    adm_begin_params(adm, &params, argv[optind]);
    return adm_call(adm, API_METHOD_CONSOLE_CTRL_ALT_DEL, adm_end_params(&params), NULL);
}

/* Showing */

static void print_services(struct adm_sheet *out, const struct api_guest *guest)
{
    for (size_t i = 0; i < guest->n_services; i++) {
        const struct api_service_state *state = &guest->services[i];

        adm_put_pair(out, api_enum_guest_service.values[state->service], "%s%s%s",
                     api_enum_service_status.values[state->status],
                     state->version ? ", version " : "", state->version ? state->version : "");
    }
}

static void print_guest(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_guest *guest = &result->guest;
    const struct {
        const char *title, *text;
    } texts[] = { { "host name", guest->host_name },
                  { "system", guest->os },
                  { "version", guest->os_version },
                  { "kernel", guest->kernel } };
    char age[32];

    adm_put_pair(out, "name", "%s", guest->name);
    adm_put_pair(out, "state", "%s", api_enum_heartbeat.values[guest->heartbeat]);
    if (guest->has & API_GUEST_HAS_HEARTBEAT_AGE_MS) {
        adm_format_duration(guest->heartbeat_age_ms, age, sizeof(age));
        adm_put_pair(out, "last heartbeat", "%s ago", age);
    }
    for (size_t i = 0; i < HV_ARRAY_SIZE(texts); i++) {
        if (texts[i].text && *texts[i].text)
            adm_put_pair(out, texts[i].title, "%s", texts[i].text);
    }
    for (size_t i = 0; i < guest->n_addresses; i++)
        adm_put_pair(out, "address", "%s", guest->addresses[i]);
    print_services(out, guest);
    adm_sheet_print(out);
}

static int get_guest(struct adm *adm, const char *vm, void (*print)(const union api_result *result))
{
    struct json_writer params = { 0 };

    json_begin_object(&params);
    json_key(&params, "vm");
    json_put_string(&params, vm);
    return adm_call(adm, API_METHOD_GUEST_GET, adm_end_params(&params), print);
}

int adm_cmd_guest_show(struct adm *adm, int argc, char **argv)
{
    int r = adm_read_words("guest show", &argc, &argv);

    if (r)
        return r;
    if (argc != 2)
        return adm_usage("guest show", "One VM is expected.");
    return get_guest(adm, argv[1], print_guest);
}

/* Pairs */

static void print_kvp(const union api_result *result)
{
    static const struct adm_column columns[] = { { "SOURCE" },
                                                 { "KEY", 16 },
                                                 { "VALUE", .is_wrapped = true } };
    struct adm_sheet *out = adm_sheet_new(columns, HV_ARRAY_SIZE(columns));
    const struct api_guest *guest = &result->guest;

    for (size_t i = 0; i < guest->n_kvp; i++) {
        const char *const cells[] = { api_enum_kvp_source.values[guest->kvp[i].source],
                                      guest->kvp[i].key, guest->kvp[i].value };

        adm_sheet_row(out, cells);
    }
    adm_sheet_print(out);
}

static int put_pair(struct json_writer *out, const char *text)
{
    const char *equals = strchr(text, '=');

    if (!equals || equals == text)
        return adm_usage("guest kvp", "\"%s\" is not of the form KEY=VALUE.", text);
    json_begin_object(out);
    json_key(out, "key");
    json_put_bytes(out, text, (size_t)(equals - text));
    json_key(out, "value");
    json_put_string(out, equals + 1);
    json_end_object(out);
    return 0;
}

static int put_key(struct json_writer *out, const char *text)
{
    json_put_string(out, text);
    return 0;
}

static void print_given(const union api_result *result)
{
    if (!result->guest_done.done)
        (void)printf("kept; the guest gets it when its key-value service is in contact\n");
}

int adm_cmd_guest_kvp(struct adm *adm, int argc, char **argv)
{
    static const struct {
        const char *word;
        enum api_method method;
        const char *list;
        int (*put)(struct json_writer *out, const char *text);
    } verbs[] = { { "add", API_METHOD_GUEST_ADD_KVP, "items", put_pair },
                  { "set", API_METHOD_GUEST_MODIFY_KVP, "items", put_pair },
                  { "rm", API_METHOD_GUEST_REMOVE_KVP, "keys", put_key } };
    struct json_writer params = { 0 };
    int r = adm_read_words("guest kvp", &argc, &argv);

    if (r)
        return r;
    if (argc == 2)
        return get_guest(adm, argv[1], print_kvp);
    for (size_t i = 0; argc > 3 && i < HV_ARRAY_SIZE(verbs); i++) {
        if (strcmp(verbs[i].word, argv[2]) != 0)
            continue;
        adm_begin_params(adm, &params, argv[1]);
        json_key(&params, verbs[i].list);
        json_begin_array(&params);
        for (int at = 3; at < argc && r == 0; at++)
            r = verbs[i].put(&params, argv[at]);
        json_end_array(&params);
        if (r == 0)
            return adm_call(adm, verbs[i].method, adm_end_params(&params), print_given);
        json_writer_fini(&params);
        return r;
    }
    return adm_usage("guest kvp", "A VM, and add, set or rm with pairs or keys are expected.");
}

/* Files */

static void print_copied(const struct api_job *job)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    HV_CLEANUP(api_guest_copy_fini) struct api_guest_copy copy = { 0 };
    struct json_fault fault;

    if (job->result &&
        json_parse(job->result, strlen(job->result), &json_limits_reply, &doc, &fault) >= 0 &&
        api_record_read(&api_record_guest_copy, json_doc_root(doc), NULL, &copy, NULL) >= 0)
        (void)printf("%" PRIu64 " bytes copied\n", copy.bytes);
}

/* One of cp's options, as an argument of the call. */
static void put_copy_option(struct json_writer *params, int id)
{
    if (id == 'o' || id == 'c') {
        json_key(params, id == 'o' ? "overwrite" : "create_path");
        json_put_bool(params, true);
    } else {
        json_key(params, id == 'k' ? "idempotency_key" : "reason");
        json_put_string(params, optarg);
    }
}

int adm_cmd_guest_cp(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = {
        { "overwrite", no_argument, NULL, 'o' },
        { "create-path", no_argument, NULL, 'c' },
        { "key", required_argument, NULL, 'k' },
        { "reason", required_argument, NULL, 'r' },
        { 0 },
    };
    struct json_writer params = { 0 };
    int id, r = 0;

    opterr = 0;
    adm_begin_params(adm, &params, NULL);
    while (r == 0 && (id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id == '?')
            r = adm_bad_option("guest cp", argv);
        else
            put_copy_option(&params, id);
    }
    if (r == 0 && argc - optind != 3)
        r = adm_usage("guest cp", "A VM, a file here and a path there are expected.");
    if (r) {
        json_writer_fini(&params);
        return r;
    }
    json_key(&params, "vm");
    json_put_string(&params, argv[optind]);
    json_key(&params, "source");
    adm_put_path(&params, argv[optind + 1]);
    json_key(&params, "destination");
    json_put_string(&params, argv[optind + 2]);
    return adm_call_job(adm, API_METHOD_GUEST_COPY_FILES, adm_end_params(&params), print_copied,
                        NULL);
}
