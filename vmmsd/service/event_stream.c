/* SPDX-License-Identifier: Apache-2.0 */
/* Subscriptions to events: a cursor into the log that reads on whenever there is more and room for
 * it. No event has a live path beside the log, so nothing can be lost between the two; how far jobs
 * are is no event. */
#include "vmmsd/service/service_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <string.h>

enum { READ_EVENTS = 64, ROOM_BYTES = 128 << 10 };

struct event_stream {
    struct hv_list node;
    struct vmms_service *service;
    uint64_t token;
    uint64_t call; /* not answered yet: its first read decides */
    uint64_t cursor;
    struct vmms_rpc_stream *rpc;
    bool is_reading;
    bool is_closed; /* the client has gone while a read was on its way */
};

static void stream_free(struct event_stream *stream)
{
    hv_list_remove(&stream->node);
    free(stream);
}

/* How many events to read: none that the core has not heard of, for who hears of one asks what has
 * become of its VM. */
static uint32_t known_events(const struct event_stream *stream)
{
    uint64_t last = stream->service->last_event;
    uint64_t known = stream->cursor <= last ? last - stream->cursor + 1 : 1;

    return known < READ_EVENTS ? (uint32_t)known : READ_EVENTS;
}

static void read_on(struct event_stream *stream)
{
    struct vmms_service *service = stream->service;

    if (stream->is_reading || stream->is_closed || stream->cursor > service->last_event ||
        vmms_rpc_stream_room(stream->rpc) < ROOM_BYTES)
        return;
    stream->is_reading = true;
    vmms_store_read_events(service->store, stream->token, stream->cursor, known_events(stream));
}

static void drained(void *opaque)
{
    struct event_stream *stream = opaque;

    if (!stream->call)
        read_on(stream);
}

static void closed(void *opaque)
{
    struct event_stream *stream = opaque;

    stream->rpc = NULL;
    stream->is_closed = true;
    if (!stream->is_reading)
        stream_free(stream);
}

static void send_notification(struct event_stream *stream, const char *method,
                              const struct api_record *record, const void *params)
{
    struct json_writer out = { 0 };
    hv_autofree char *text = NULL;
    size_t length;

    json_begin_object(&out);
    json_key(&out, "jsonrpc");
    json_put_string(&out, "2.0");
    json_key(&out, "method");
    json_put_string(&out, method);
    json_key(&out, "params");
    api_record_write(record, params, UINT64_MAX, &out);
    json_end_object(&out);
    if (json_writer_take(&out, &text, &length) == 0)
        vmms_rpc_stream_send(stream->rpc, text, length, false);
}

void vmms_events_subscribe(struct vmms_service *service, uint64_t call,
                           const struct api_events_subscribe_args *args)
{
    static const struct vmms_stream_ops ops = { .drained = drained, .closed = closed };
    struct event_stream *stream = calloc(1, sizeof(*stream));

    hv_assert(stream);
    hv_list_init(&stream->node);
    stream->service = service;
    stream->call = call;
    stream->token = service->next_token++;
    stream->cursor =
        args->has & API_EVENTS_SUBSCRIBE_ARGS_HAS_SINCE ? args->since : service->last_event + 1;
    stream->rpc = vmms_rpc_stream_open(service->rpc, call, &ops, stream);
    if (!stream->rpc) {
        free(stream);
        return;
    }
    hv_list_append(&service->event_streams, &stream->node);
    stream->is_reading = true;
    vmms_store_read_events(service->store, stream->token, stream->cursor, known_events(stream));
}

static void answer(struct event_stream *stream, const struct vmms_stored *stored)
{
    union api_result result = { .events_opened = { .since = stream->cursor,
                                                   .last = stored->events.last } };

    vmms_service_reply(stream->service, stream->call, API_METHOD_EVENTS_SUBSCRIBE, &result,
                       UINT64_MAX, stored->error);
    stream->call = 0;
}

static void fail(struct event_stream *stream, const struct vmms_stored *stored)
{
    struct vmms_rpc_stream *rpc = stream->rpc;

    if (stream->call)
        answer(stream, stored);
    else
        send_notification(stream, "events.gap", &api_record_error_data, &stored->error->data);
    stream_free(stream);
    vmms_rpc_stream_end(rpc);
}

void vmms_events_arrived(struct vmms_service *service, struct vmms_stored *stored)
{
    HV_LIST_FOREACH (node, &service->event_streams) {
        struct event_stream *stream = HV_LIST_ENTRY(node, struct event_stream, node);

        if (stream->token != stored->token)
            continue;
        stream->is_reading = false;
        if (stream->is_closed) {
            stream_free(stream);
            return;
        }
        if (stored->error) {
            fail(stream, stored);
            return;
        }
        if (stream->call)
            answer(stream, stored);
        vmms_sift_events(service, vmms_rpc_stream_scope(stream->rpc), &stored->events);
        for (size_t i = 0; i < stored->events.n_events; i++)
            send_notification(stream, "events.event", &api_record_event, &stored->events.events[i]);
        stream->cursor = stored->events.next;
        read_on(stream);
        return;
    }
}

void vmms_events_wake(struct vmms_service *service)
{
    HV_LIST_FOREACH (node, &service->event_streams) {
        struct event_stream *stream = HV_LIST_ENTRY(node, struct event_stream, node);

        if (!stream->call)
            read_on(stream);
    }
}

/* Beside the log: who is slow, or reads what was before, goes without. */
void vmms_events_progress(struct vmms_service *service, const struct vmms_effect *effect)
{
    const char *vm = *effect->row.id ? effect->row.id : NULL;

    HV_LIST_FOREACH (node, &service->event_streams) {
        struct event_stream *stream = HV_LIST_ENTRY(node, struct event_stream, node);
        const struct vmms_scope *scope = stream->rpc ? vmms_rpc_stream_scope(stream->rpc) : NULL;

        if (!stream->call && stream->rpc && stream->cursor > service->last_event &&
            vmms_rpc_stream_room(stream->rpc) >= ROOM_BYTES &&
            vmms_scope_has(service->core, scope, vm))
            send_notification(stream, "job.progress", &api_record_job, &effect->result.job);
    }
}

void vmms_events_close(struct vmms_service *service)
{
    HV_LIST_FOREACH (node, &service->event_streams) {
        struct event_stream *stream = HV_LIST_ENTRY(node, struct event_stream, node);

        if (stream->rpc)
            vmms_rpc_stream_end(stream->rpc);
        stream_free(stream);
    }
}
