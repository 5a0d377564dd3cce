/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include "api/rpc/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct event_options {
    uint64_t since;
    uint64_t left; /* how many more to print */
    bool has_since;
    bool is_following;
    uint64_t last; /* that was printed; 0: none */
};

/* "cause=triple_fault message=..." out of an event's data. */
static char *details(const char *data)
{
    static const char *const keys[] = { "from",  "to",      "cause",      "exit_status",
                                        "pid",   "message", "health",     "type",
                                        "state", "name",    "member_name" };
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct json_fault fault;
    char *text = strdup("");

    if (!data || json_parse(data, strlen(data), &json_limits_reply, &doc, &fault) < 0)
        return text;
    for (size_t i = 0; text && i < HV_ARRAY_SIZE(keys); i++) {
        const struct json_value *value = json_get(json_doc_root(doc), keys[i]);
        char *longer = NULL;

        if (!value || (value->type != JSON_STRING && value->type != JSON_NUMBER))
            continue;
        if (asprintf(&longer, "%s%s%s=%.*s", text, *text ? " " : "", keys[i], (int)value->length,
                     value->text) < 0)
            longer = NULL;
        free(text);
        text = longer;
    }
    return text;
}

static void print_event(const struct api_event *event)
{
    hv_autofree char *text = details(event->data), *clean = NULL, *name = NULL;
    char when[32];

    adm_format_time(event->time_ms, when, sizeof(when));
    clean = adm_clean(text ? text : "");
    name = adm_clean(event->vm_name ? event->vm_name : event->object ? event->object : "-");
    (void)printf("%6" PRIu64 "  %s  %-26s  %s  %s\n", event->seq, when, event->type, name, clean);
}

static int print_value(const struct adm *adm, struct event_options *options,
                       const struct json_value *value)
{
    HV_CLEANUP(api_event_fini) struct api_event event = { 0 };
    struct api_error *error = NULL;

    (void)json_u64(json_get(value, "seq"), &options->last);
    if (adm->is_json) {
        adm_print_json(value);
        return 0;
    }
    if (api_record_read(&api_record_event, value, NULL, &event, &error) < 0)
        return adm_fail(adm, error);
    print_event(&event);
    return 0;
}

static int print_kept(struct adm *adm, struct event_options *options)
{
    struct api_error *error = NULL;
    uint64_t next = options->since ? options->since : 1, last = 0;
    int r = adm_connect(adm);

    while (r == 0 && options->left) {
        HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
        const struct json_value *events;
        char params[80];

        (void)snprintf(params, sizeof(params), "{\"since\":%" PRIu64 ",\"limit\":500}", next);
        if (api_client_call(adm->client, API_METHOD_EVENTS_READ, params, &reply, &error) < 0)
            return adm_fail(adm, error);
        events = json_get(reply.result, "events");
        if (!events || !events->first || json_u64(json_get(reply.result, "next"), &next) < 0 ||
            json_u64(json_get(reply.result, "last"), &last) < 0)
            break;
        for (const struct json_value *event = events->first; r == 0 && event && options->left;
             event = event->next, options->left--)
            r = print_value(adm, options, event);
        if (next > last)
            break;
    }
    return r;
}

/* Returns an exit status, or -1 to go on. What is no event does not count. */
static int take_message(const struct adm *adm, struct event_options *options,
                        const struct api_message *message)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct json_value *root;
    struct json_fault fault;
    int r;

    if (message->is_binary ||
        json_parse(message->bytes, message->length, &json_limits_reply, &doc, &fault) < 0)
        return -1;
    root = json_doc_root(doc);
    if (json_is_text(json_get(root, "method"), "events.gap")) {
        (void)fprintf(stderr, "hvadm: events were lost; read on from the oldest that is kept.\n");
        return 1;
    }
    if (!json_is_text(json_get(root, "method"), "events.event") || !json_get(root, "params"))
        return -1;
    r = print_value(adm, options, json_get(root, "params"));
    options->has_since = true;
    options->since = options->last + 1;
    options->left--;
    (void)fflush(stdout);
    return r ? r : -1;
}

/* Where to go on, if nothing was told yet: the answer says what was the last before. */
static void begin_behind(struct event_options *options, const struct json_value *opened)
{
    uint64_t last;

    if (options->has_since || json_u64(json_get(opened, "last"), &last) < 0)
        return;
    options->has_since = true;
    options->since = last + 1;
}

/* On one stream. Returns an exit status, or -1 with an error: the stream is lost. */
static int follow_once(struct adm *adm, struct event_options *options, struct adm_absence *absence,
                       struct api_error **ret_lost)
{
    HV_CLEANUP(api_stream_closep) struct api_stream *stream = NULL;
    HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
    struct api_message message;
    char params[80] = "{}";
    int status = -1, r;

    if (options->has_since)
        (void)snprintf(params, sizeof(params), "{\"since\":%" PRIu64 "}", options->since);
    if (api_stream_open(adm->client, API_METHOD_EVENTS_SUBSCRIBE, params, &stream, &reply,
                        ret_lost) < 0)
        return -1;
    begin_behind(options, reply.result);
    adm_service_is_there(absence);
    while (status < 0 && options->left) {
        r = api_stream_next(stream, &message);
        if (r < 0 || r == API_STREAM_END) {
            (void)api_error_set(ret_lost, API_E_NOT_AVAILABLE, "client.lost", NULL,
                                "The service has ended the stream of events.");
            return -1;
        }
        if (r == API_STREAM_MESSAGE)
            status = take_message(adm, options, &message);
    }
    return status < 0 ? 0 : status;
}

static int follow(struct adm *adm, struct event_options *options)
{
    struct adm_absence absence = { 0 };
    struct api_error *error = NULL;
    int status = adm_connect(adm);

    if (status)
        return status;
    do {
        status = follow_once(adm, options, &absence, &error);
    } while (status < 0 && adm_await_service(adm, &absence, UINT64_MAX, &error));
    if (status >= 0)
        return status;
    if (options->last && error && adm_is_away(error))
        api_error_hint(error, "--since %" PRIu64 " goes on behind what was told.",
                       options->last + 1);
    return adm_fail(adm, error);
}

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return !errno && end != text && !*end && *text != '-';
}

int adm_cmd_events(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "since", required_argument, NULL, 's' },
                                           { "limit", required_argument, NULL, 'l' },
                                           { "follow", no_argument, NULL, 'f' },
                                           { 0 } };
    struct event_options options = { .left = UINT64_MAX };
    bool is_fine = true;
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "f", names, NULL)) != -1) {
        switch (id) {
        case 's': is_fine = options.has_since = parse_number(optarg, &options.since); break;
        case 'l': is_fine = parse_number(optarg, &options.left); break;
        case 'f': options.is_following = true; break;
        default: return adm_bad_option("events", argv);
        }
        if (!is_fine)
            return adm_usage("events", "\"%s\" is no number.", optarg);
    }
    if (optind < argc)
        return adm_usage("events", "\"%s\" is too much.", argv[optind]);
    return options.is_following ? follow(adm, &options) : print_kept(adm, &options);
}
