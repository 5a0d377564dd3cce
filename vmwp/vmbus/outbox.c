/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vmbus/bus_priv.h"

#include "hvcore/base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct queued {
    struct hv_list node;
    size_t bytes;
    uint8_t message[];
};

static int post_now(struct vmbus_server *server, const void *message, size_t bytes)
{
    return server->config.ops->post_message(server->config.opaque, server->message_vp, VMBUS_SINT,
                                            message, bytes);
}

/* A guest that misses an answer waits for it forever; so it is the connection that is lost. */
static void lose(struct vmbus_server *server, const char *why)
{
    vmbus_complain(server, 0, "The guest is disconnected from VMBus: %s.", why);
    server->is_lost = true;
    vmbus_post_forget(server);
    server->config.ops->wake(server->config.opaque);
}

int vmbus_post_keep(struct vmbus_server *server, const void *message, size_t bytes)
{
    struct queued *queued = malloc(sizeof(*queued) + bytes);

    if (!queued)
        return -ENOMEM;
    queued->bytes = bytes;
    memcpy(queued->message, message, bytes);
    hv_list_append(&server->queued, &queued->node);
    server->n_queued++;
    return 0;
}

static void enqueue(struct vmbus_server *server, const void *message, size_t bytes)
{
    if (server->n_queued == VMBUS_MAX_QUEUED)
        lose(server, "it doesn't take its messages");
    else if (vmbus_post_keep(server, message, bytes) < 0)
        lose(server, "the host has no memory for a message that waits");
}

void vmbus_post_save(const struct vmbus_server *server, struct hv_fields *fields)
{
    uint32_t n = server->n_queued;

    hv_field_u32(fields, &n);
    HV_LIST_FOREACH (node, &server->queued) {
        struct queued *queued = HV_LIST_ENTRY(node, struct queued, node);
        uint32_t bytes = (uint32_t)queued->bytes;

        hv_field_u32(fields, &bytes);
        hv_field_bytes(fields, queued->message, bytes);
    }
}

void vmbus_post(struct vmbus_server *server, const void *message, size_t bytes)
{
    hv_assert(bytes <= VMBUS_WIRE_MAX_MESSAGE);
    if (!server->is_reachable || server->is_lost)
        return;
    if (server->n_queued > 0 || post_now(server, message, bytes) != 0)
        enqueue(server, message, bytes);
}

static void drop(struct vmbus_server *server, struct queued *queued)
{
    hv_list_remove(&queued->node);
    free(queued);
    server->n_queued--;
}

void vmbus_post_retry(struct vmbus_server *server)
{
    HV_LIST_FOREACH (node, &server->queued) {
        struct queued *queued = HV_LIST_ENTRY(node, struct queued, node);

        if (post_now(server, queued->message, queued->bytes) != 0)
            return;
        drop(server, queued);
    }
}

void vmbus_post_forget(struct vmbus_server *server)
{
    HV_LIST_FOREACH (node, &server->queued) {
        drop(server, HV_LIST_ENTRY(node, struct queued, node));
    }
}

enum { COMPLAINTS = 10, COMPLAINTS_SECONDS = 10 };

void vmbus_complain(struct vmbus_server *server, uint32_t relid, const char *format, ...)
{
    uint64_t now = hv_clock_monotonic_ns();
    char text[160], fields[32];
    va_list args;

    if (now - server->complaints_since_ns > COMPLAINTS_SECONDS * HV_NS_PER_SEC) {
        server->complaints_since_ns = now;
        server->n_complaints = 0;
    }
    if (server->n_complaints++ >= COMPLAINTS)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(fields, sizeof(fields), "HV_CHANNEL=%u\n", relid);
    hv_log_printf(&server->config.log, HV_LOG_WARNING, relid ? fields : NULL, "%s", text);
}
