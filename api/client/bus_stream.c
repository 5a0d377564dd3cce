/* SPDX-License-Identifier: Apache-2.0 */
/* Streams on a bus. Events: a signal says that there are some, and they are read behind a cursor,
 * so that none is missed and each reading is allowed or not. A console: a descriptor. */
#include "api/client/client_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct api_bus_events {
    struct api_client *client;
    uint64_t cursor;               /* number of the next event to be read */
    struct api_reply page;         /* read last */
    const struct json_value *next; /* of the page, or NULL */
    char *text;                    /* of the message handed out last */
    bool is_ended;
};

static int own_client(const struct api_client *client, struct api_client **ret,
                      struct api_error **reterr)
{
    hv_autofree char *uri = NULL;
    int r;

    if (asprintf(&uri, "dbus:%s", client->bus) < 0) {
        uri = NULL;
        return -ENOMEM;
    }
    r = api_client_open(uri, ret, reterr);
    return r < 0 ? r : api_client_open_bus(*ret, reterr);
}

static int parse_params(const char *params, struct json_doc **ret)
{
    struct json_fault fault;
    const char *text = params ? params : "{}";

    return json_parse(text, strlen(text), &json_limits_reply, ret, &fault);
}

/* A number of an object, where it is there. */
static bool read_number(const struct json_value *object, const char *key, uint64_t *ret)
{
    const struct json_value *value = json_get(object, key);

    return value && json_u64(value, ret) >= 0;
}

/* Events */

/* A page from the cursor on; limit 1 and cursor 0: where the log ends. */
static int read_page(struct api_bus_events *events, unsigned limit, uint64_t *ret_last,
                     struct api_error **reterr)
{
    const struct json_value *list;
    char params[80];
    int r;

    api_reply_fini(&events->page);
    events->next = NULL;
    (void)snprintf(params, sizeof(params), "{\"since\":%" PRIu64 ",\"limit\":%u}", events->cursor,
                   limit);
    r = api_client_call(events->client, API_METHOD_EVENTS_READ, params, &events->page, reterr);
    if (r < 0)
        return r;
    list = json_get(events->page.result, "events");
    if (!list || !read_number(events->page.result, "next", &events->cursor) ||
        !read_number(events->page.result, "last", ret_last))
        return -EPROTO;
    events->next = list->first;
    return 0;
}

static int find_cursor(struct api_bus_events *events, const char *params, struct api_error **reterr)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    uint64_t last = 0;
    int r = parse_params(params, &doc);

    if (r < 0 || read_number(json_doc_root(doc), "since", &events->cursor))
        return r;
    events->cursor = 0;
    r = read_page(events, 1, &last, reterr);
    events->next = NULL;
    events->cursor = last + 1;
    return r;
}

int api_bus_events_open(const struct api_client *client, const char *params,
                        struct api_bus_events **ret, struct api_error **reterr)
{
    struct api_bus_events *events = calloc(1, sizeof(*events));
    int r;

    if (!events)
        return -ENOMEM;
    r = own_client(client, &events->client, reterr);
    if (r == 0)
        r = events->client->dbus_ops->watch(events->client->dbus, reterr);
    if (r == 0)
        r = find_cursor(events, params, reterr);
    if (r < 0)
        events = api_bus_events_close(events);
    *ret = events;
    return r;
}

struct api_bus_events *api_bus_events_close(struct api_bus_events *events)
{
    if (!events)
        return NULL;
    api_reply_fini(&events->page);
    api_client_close(events->client);
    free(events->text);
    free(events);
    return NULL;
}

static int hand_out(struct api_bus_events *events, const char *method,
                    const struct json_value *params, struct api_message *ret)
{
    struct json_writer out = { 0 };
    size_t length;
    int r;

    json_begin_object(&out);
    json_key(&out, "method");
    json_put_string(&out, method);
    json_key(&out, "params");
    if (params)
        json_put_value(&out, params);
    else
        json_put_null(&out);
    json_end_object(&out);
    free(events->text);
    events->text = NULL;
    r = json_writer_take(&out, &events->text, &length);
    if (r < 0)
        return r;
    *ret = (struct api_message){ .bytes = events->text, .length = length };
    return API_STREAM_MESSAGE;
}

/* Those after the cursor are gone, or they may not be read any more. */
static int fail(struct api_bus_events *events, struct api_error *error, struct api_message *ret)
{
    bool is_gap = error && error->code == API_E_EVENT_GAP;

    api_error_free(error);
    events->is_ended = true;
    return is_gap ? hand_out(events, "events.gap", NULL, ret) : -ECONNRESET;
}

int api_bus_events_next(struct api_bus_events *events, struct api_message *ret)
{
    struct api_error *error = NULL;
    const struct json_value *event;
    uint64_t last;
    int r;

    if (events->is_ended)
        return API_STREAM_END;
    while (!events->next) {
        if (read_page(events, 100, &last, &error) < 0)
            return fail(events, error, ret);
        r = events->next ? 0 : events->client->dbus_ops->wait(events->client->dbus);
        if (r < 0)
            return fail(events, NULL, ret);
    }
    event = events->next;
    events->next = event->next;
    return hand_out(events, "events.event", event, ret);
}

/* Consoles */

/* The id of the VM that a console's arguments name. */
static int find_vm(struct api_client *client, const struct json_value *args, char **ret,
                   struct api_error **reterr)
{
    HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
    struct json_writer params = { 0 };
    hv_autofree char *text = NULL;
    const struct json_value *id;
    int r;

    json_begin_object(&params);
    json_key(&params, "vm");
    json_put_value(&params, json_get(args, "vm"));
    json_key(&params, "fields");
    json_put_raw(&params, "[\"id\"]", 6);
    json_end_object(&params);
    r = json_writer_take(&params, &text, NULL);
    r = r < 0 ? r : api_client_call(client, API_METHOD_VM_GET, text, &reply, reterr);
    if (r < 0)
        return r;
    id = json_get(reply.result, "id");
    if (!id || id->type != JSON_STRING)
        return -EPROTO;
    *ret = strndup(id->text, id->length);
    return *ret ? 0 : -ENOMEM;
}

int api_bus_console_open(const struct api_client *client, const char *params, int *ret_fd,
                         struct api_error **reterr)
{
    HV_CLEANUP(api_client_closep) struct api_client *own = NULL;
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    hv_autofree char *id = NULL;
    uint64_t port = 1, from = 0;
    int r = own_client(client, &own, reterr);

    r = r < 0 ? r : parse_params(params, &doc);
    r = r < 0 ? r : find_vm(own, json_doc_root(doc), &id, reterr);
    if (r < 0)
        return r;
    (void)read_number(json_doc_root(doc), "port", &port);
    (void)read_number(json_doc_root(doc), "from", &from);
    return own->dbus_ops->open_console(own->dbus, id, (uint32_t)port, from, ret_fd, reterr);
}
