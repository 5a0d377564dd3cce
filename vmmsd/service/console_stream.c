/* SPDX-License-Identifier: Apache-2.0 */
/* A client at a serial port: reads the kept log at its own pace, then what follows. */
#include "vmmsd/service/service_priv.h"

#include <string.h>

enum { PIECE_BYTES = 16 << 10 };

struct console_stream {
    struct hv_list node;
    struct vmms_service *service;
    struct vmms_console_watch watch;
    struct vmms_rpc_stream *rpc;
    struct vmms_dbus_stream *dbus; /* one of the two is there */
    char vm_id[HV_GUID_TEXT_BYTES];
    uint32_t port;
    uint64_t cursor;
};

static void stream_free(struct console_stream *stream)
{
    hv_list_remove(&stream->watch.node);
    hv_list_remove(&stream->node);
    free(stream);
}

static size_t room(const struct console_stream *stream)
{
    return stream->rpc ? vmms_rpc_stream_room(stream->rpc) : vmms_dbus_stream_room(stream->dbus);
}

static void send_bytes(struct console_stream *stream, const void *bytes, size_t length)
{
    if (stream->rpc)
        vmms_rpc_stream_send(stream->rpc, bytes, length, true);
    else
        vmms_dbus_stream_send(stream->dbus, bytes, length);
}

/* In words, for the closing of a connection can have other causes. */
static const char closed_note[] =
    "{\"jsonrpc\":\"2.0\",\"method\":\"vm.console_closed\",\"params\":{\"reason\":\"off\"}}";

static const char hidden_note[] =
    "{\"jsonrpc\":\"2.0\",\"method\":\"vm.console_closed\",\"params\":{\"reason\":"
    "\"access_denied\"}}";

/* note: what a rim that has words is told before, or NULL */
static void end(struct console_stream *stream, const char *note)
{
    struct vmms_dbus_stream *dbus = stream->dbus;
    struct vmms_rpc_stream *rpc = stream->rpc;

    stream_free(stream);
    if (rpc && note)
        vmms_rpc_stream_send(rpc, note, strlen(note), false);
    if (rpc)
        vmms_rpc_stream_end(rpc);
    else
        vmms_dbus_stream_end(dbus);
}

/* Send what there is and what there is room for; at the end of both log and VM, say so. */
static void send_on(struct console_stream *stream)
{
    struct vmms_consoles *consoles = stream->service->consoles;
    char piece[PIECE_BYTES];
    size_t length = 0;

    while (room(stream) >= PIECE_BYTES) {
        length = vmms_console_read(consoles, stream->vm_id, stream->port, &stream->cursor, piece,
                                   sizeof(piece));
        if (!length)
            break;
        send_bytes(stream, piece, length);
        stream->cursor += length;
    }
    if (stream->cursor < vmms_console_end(consoles, stream->vm_id, stream->port) ||
        vmms_console_is_live(consoles, stream->vm_id))
        return;
    end(stream, closed_note);
}

static void changed(struct vmms_console_watch *watch)
{
    send_on(HV_CONTAINER_OF(watch, struct console_stream, watch));
}

static void drained(void *opaque)
{
    send_on(opaque);
}

static void typed(void *opaque, const void *bytes, size_t length)
{
    struct console_stream *stream = opaque;

    vmms_console_write(stream->service->consoles, stream->vm_id, stream->port, bytes, length);
}

static void closed(void *opaque)
{
    stream_free(opaque);
}

static void answer(struct console_stream *stream, uint64_t call)
{
    union api_result result = { .console_opened = { .from = stream->cursor } };

    vmms_service_reply(stream->service, call, API_METHOD_VM_CONSOLE, &result, UINT64_MAX, NULL);
}

static void refuse(struct vmms_service *service, uint64_t call)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_INVALID_STATE, "vm.console.off", NULL,
                  "The VM is off and nothing of its console is kept.");
    api_error_hint(error, "Start it first.");
    vmms_service_reply_error(service, call, API_METHOD_VM_CONSOLE, error);
}

void vmms_console_serve(struct vmms_service *service, uint64_t call, const char *vm_id,
                        const struct api_vm_console_args *args)
{
    static const struct vmms_stream_ops ops = { .drained = drained,
                                                .input = typed,
                                                .closed = closed };
    struct console_stream *stream = calloc(1, sizeof(*stream));
    uint64_t end = vmms_console_end(service->consoles, vm_id, args->port);
    char first;

    hv_assert(stream);
    stream->service = service;
    stream->port = args->port;
    stream->cursor = args->from > end ? end : args->from;
    memcpy(stream->vm_id, vm_id, sizeof(stream->vm_id));
    stream->watch.changed = changed;
    hv_list_init(&stream->node);
    hv_list_init(&stream->watch.node);
    (void)vmms_console_read(service->consoles, vm_id, args->port, &stream->cursor, &first, 1);
    if (vmms_console_watch(service->consoles, vm_id, args->port, &stream->watch) < 0) {
        free(stream);
        refuse(service, call);
        return;
    }
    if (call & VMMS_DBUS_CALL)
        stream->dbus = vmms_dbus_stream_open(service->dbus, call, &ops, stream);
    else
        stream->rpc = vmms_rpc_stream_open(service->rpc, call, &ops, stream);
    if (!stream->rpc && !stream->dbus) {
        stream_free(stream);
        return;
    }
    hv_list_append(&service->console_streams, &stream->node);
    answer(stream, call);
    send_on(stream);
}

void vmms_console_check(struct vmms_service *service)
{
    if (service->memberships == vmms_core_memberships(service->core))
        return;
    service->memberships = vmms_core_memberships(service->core);
    HV_LIST_FOREACH (node, &service->console_streams) {
        struct console_stream *stream = HV_LIST_ENTRY(node, struct console_stream, node);

        /* Who is on the bus is not limited to groups. */
        if (stream->rpc &&
            !vmms_scope_has(service->core, vmms_rpc_stream_scope(stream->rpc), stream->vm_id))
            end(stream, hidden_note);
    }
}

void vmms_console_close(struct vmms_service *service)
{
    HV_LIST_FOREACH (node, &service->console_streams)
        end(HV_LIST_ENTRY(node, struct console_stream, node), NULL);
}
