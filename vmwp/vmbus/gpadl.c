/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vmbus/bus_priv.h"

#include <inttypes.h>
#include <string.h>

/* A page number beyond this is no address. */
#define MAX_PAGE (UINT64_C(1) << 40)

static struct vmbus_gpadl *find(struct vmbus_server *server, uint32_t id)
{
    HV_LIST_FOREACH (node, &server->gpadls) {
        struct vmbus_gpadl *gpadl = HV_LIST_ENTRY(node, struct vmbus_gpadl, node);

        if (gpadl->id == id && !gpadl->is_torn_down)
            return gpadl;
    }
    return NULL;
}

struct vmbus_gpadl *vmbus_gpadl_find(struct vmbus_channel *channel, uint32_t id)
{
    struct vmbus_gpadl *gpadl = find(channel->server, id);

    if (!gpadl || gpadl->channel != channel || gpadl->is_refused ||
        gpadl->n_known != gpadl->n_pages)
        return NULL;
    return gpadl;
}

/* Its pages count as long as it isn't refused. */
static void uncount(struct vmbus_gpadl *gpadl)
{
    if (gpadl->is_refused)
        return;
    gpadl->channel->n_gpadl_pages -= gpadl->n_pages;
    gpadl->channel->server->n_gpadl_pages -= gpadl->n_pages;
}

static void gpadl_free(struct vmbus_gpadl *gpadl)
{
    uncount(gpadl);
    gpadl->channel->n_gpadls--;
    hv_list_remove(&gpadl->node);
    free(gpadl->ranges);
    free(gpadl);
}

void vmbus_gpadl_drop(struct vmbus_channel *channel, bool all)
{
    HV_LIST_FOREACH (node, &channel->server->gpadls) {
        struct vmbus_gpadl *gpadl = HV_LIST_ENTRY(node, struct vmbus_gpadl, node);

        if (gpadl->channel != channel)
            continue;
        gpadl->is_lent = false;
        if (all || gpadl->is_torn_down)
            gpadl_free(gpadl);
    }
}

static void answer(struct vmbus_server *server, uint32_t relid, uint32_t id,
                   enum vmbus_wire_status status)
{
    struct vmbus_wire_gpadl_created created = { .header.type = VMBUS_WIRE_GPADL_CREATED,
                                                .relid = relid,
                                                .gpadl = id,
                                                .status = (uint32_t)status };

    vmbus_post(server, &created, sizeof(created));
}

static void refuse(struct vmbus_gpadl *gpadl, const char *why)
{
    vmbus_complain(gpadl->channel->server, gpadl->channel->relid, "GPADL 0x%x is refused: %s.",
                   gpadl->id, why);
    uncount(gpadl);
    gpadl->is_refused = true;
    gpadl->n_ranges = 0;
    gpadl->max_ranges = 0;
    free(gpadl->ranges);
    gpadl->ranges = NULL;
}

static int append(struct vmbus_gpadl *gpadl, hv_gpa_t gpa)
{
    struct vmbus_range *last = gpadl->n_ranges ? &gpadl->ranges[gpadl->n_ranges - 1] : NULL;

    if (last && last->gpa + last->bytes == gpa && last->bytes <= UINT32_MAX - HV_PAGE_BYTES) {
        last->bytes += HV_PAGE_BYTES;
        return 0;
    }
    if (gpadl->n_ranges == gpadl->max_ranges) {
        unsigned max = gpadl->max_ranges ? gpadl->max_ranges * 2 : 8;
        void *larger = realloc(gpadl->ranges, max * sizeof(*gpadl->ranges));

        if (!larger)
            return -ENOMEM;
        gpadl->ranges = larger;
        gpadl->max_ranges = max;
    }
    gpadl->ranges[gpadl->n_ranges++] = (struct vmbus_range){ gpa, HV_PAGE_BYTES };
    return 0;
}

/* Take up to n page numbers, as many as are missing. */
static void take_pages(struct vmbus_gpadl *gpadl, const uint8_t *pages, unsigned n)
{
    struct hv_gpa_space *space = gpadl->channel->server->config.gpa;

    for (unsigned i = 0; i < n && gpadl->n_known < gpadl->n_pages; i++) {
        uint64_t page;

        gpadl->n_known++;
        memcpy(&page, pages + i * sizeof(page), sizeof(page));
        if (gpadl->is_refused)
            continue;
        if (page >= MAX_PAGE || !hv_gpa_slot_of(space, page << HV_PAGE_SHIFT))
            refuse(gpadl, "a page is not RAM");
        else if (append(gpadl, page << HV_PAGE_SHIFT) < 0)
            refuse(gpadl, "the host is out of memory");
    }
}

static void finish_when_complete(struct vmbus_gpadl *gpadl)
{
    struct vmbus_channel *channel = gpadl->channel;

    if (gpadl->n_known < gpadl->n_pages)
        return;
    answer(channel->server, channel->relid, gpadl->id,
           gpadl->is_refused ? VMBUS_WIRE_INVALID_PARAMETER : VMBUS_WIRE_OK);
    if (gpadl->is_refused)
        gpadl_free(gpadl);
}

static struct vmbus_gpadl *gpadl_new(struct vmbus_channel *channel, uint32_t id, uint32_t n_pages)
{
    struct vmbus_gpadl *gpadl = calloc(1, sizeof(*gpadl));

    if (!gpadl)
        return NULL;
    gpadl->channel = channel;
    gpadl->id = id;
    gpadl->n_pages = n_pages;
    hv_list_init(&gpadl->node);
    hv_list_append(&channel->server->gpadls, &gpadl->node);
    channel->n_gpadls++;
    channel->n_gpadl_pages += n_pages;
    channel->server->n_gpadl_pages += n_pages;
    return gpadl;
}

/* NULL, or why the header itself is wrong */
static const char *judge(const struct vmbus_wire_gpadl_header *head)
{
    if (head->n_ranges != 1)
        return "it has not one range";
    if (head->byte_count == 0 || head->byte_count % HV_PAGE_BYTES != 0 || head->byte_offset != 0)
        return "it is not made of whole pages";
    return NULL;
}

static bool is_beyond_limits(const struct vmbus_channel *channel)
{
    return channel->n_gpadl_pages > VMBUS_MAX_GPADL_PAGES ||
           channel->server->n_gpadl_pages > VMBUS_MAX_ALL_GPADL_PAGES;
}

void vmbus_gpadl_begin(struct vmbus_server *server, const struct vmbus_wire_gpadl_header *head,
                       const uint8_t *pages, unsigned n)
{
    struct vmbus_channel *channel =
        head->relid <= VMBUS_WIRE_MAX_RELID ? server->by_relid[head->relid] : NULL;
    struct vmbus_gpadl *gpadl = NULL;
    const char *why = judge(head);

    if (channel && channel->state == VMBUS_CHANNEL_RESCINDED)
        return; /* the guest is about to hear of it */
    if (!channel || channel->state == VMBUS_CHANNEL_HIDDEN || find(server, head->gpadl))
        why = "its channel is unknown, or its number in use";
    else if (channel->n_gpadls >= VMBUS_MAX_GPADLS)
        why = "the channel has too many";
    if (!why)
        gpadl = gpadl_new(channel, head->gpadl, head->byte_count / HV_PAGE_BYTES);
    if (!gpadl) {
        vmbus_complain(server, head->relid, "GPADL 0x%x is refused: %s.", head->gpadl,
                       why ? why : "the host is out of memory");
        answer(server, head->relid, head->gpadl,
               why ? VMBUS_WIRE_INVALID_PARAMETER : VMBUS_WIRE_NO_RESOURCES);
        return;
    }
    if (is_beyond_limits(channel))
        refuse(gpadl, "the guest has too many pages in such lists");
    take_pages(gpadl, pages, n);
    finish_when_complete(gpadl);
}

void vmbus_gpadl_continue(struct vmbus_server *server, const struct vmbus_wire_gpadl_body *body,
                          const uint8_t *pages, unsigned n)
{
    struct vmbus_gpadl *gpadl = find(server, body->gpadl);

    if (!gpadl || gpadl->n_known == gpadl->n_pages) {
        vmbus_complain(server, 0, "Pages for GPADL 0x%x, which waits for none, are dropped.",
                       body->gpadl);
        return;
    }
    take_pages(gpadl, pages, n);
    finish_when_complete(gpadl);
}

void vmbus_gpadl_end(struct vmbus_server *server, const struct vmbus_wire_gpadl_teardown *teardown)
{
    struct vmbus_wire_gpadl_torndown torndown = { .header.type = VMBUS_WIRE_GPADL_TORNDOWN,
                                                  .gpadl = teardown->gpadl };
    struct vmbus_channel *channel =
        teardown->relid <= VMBUS_WIRE_MAX_RELID ? server->by_relid[teardown->relid] : NULL;
    struct vmbus_gpadl *gpadl = find(server, teardown->gpadl);

    if (channel && channel->state == VMBUS_CHANNEL_RESCINDED) {
        vmbus_post(server, &torndown, sizeof(torndown));
        return; /* dropped already when it was rescinded */
    }
    if (!gpadl || gpadl->channel != channel) {
        vmbus_complain(server, teardown->relid, "GPADL 0x%x is not there to be torn down.",
                       teardown->gpadl);
        return;
    }
    if (gpadl == channel->ring_gpadl) {
        vmbus_channel_shut(channel, VMBUS_CHANNEL_BROKEN); /* the ring's memory is taken away */
        gpadl = find(server, teardown->gpadl);             /* the provider may have revoked it */
    }
    if (gpadl && gpadl->is_lent)
        gpadl->is_torn_down = true;
    else if (gpadl)
        gpadl_free(gpadl);
    vmbus_post(server, &torndown, sizeof(torndown));
}

/* ---- saved ---- */

static bool is_ram(struct hv_gpa_space *space, const struct vmbus_range *range)
{
    uint64_t done = 0, part;

    while (done < range->bytes) {
        if (!hv_gpa_window(space, range->gpa + done, range->bytes - done, &part))
            return false;
        done += part;
    }
    return range->gpa % HV_PAGE_BYTES == 0 && range->bytes % HV_PAGE_BYTES == 0 && range->bytes > 0;
}

static void visit(struct hv_fields *fields, struct vmbus_gpadl *gpadl, uint32_t *n_ranges)
{
    hv_field_u32(fields, &gpadl->id);
    hv_field_count(fields, &gpadl->n_pages, UINT32_MAX / HV_PAGE_BYTES);
    hv_field_count(fields, &gpadl->n_known, gpadl->n_pages);
    hv_field_bool(fields, &gpadl->is_refused);
    hv_field_count(fields, n_ranges, gpadl->is_refused ? 0 : gpadl->n_known);
}

static void visit_range(struct hv_fields *fields, struct vmbus_range *range)
{
    hv_field_u64(fields, &range->gpa);
    hv_field_u32(fields, &range->bytes);
}

void vmbus_gpadl_save(const struct vmbus_channel *channel, struct hv_fields *fields)
{
    uint32_t n = 0;

    HV_LIST_FOREACH (counted, &channel->server->gpadls) {
        const struct vmbus_gpadl *gpadl = HV_LIST_ENTRY(counted, struct vmbus_gpadl, node);

        n += gpadl->channel == channel && !gpadl->is_torn_down;
    }
    hv_field_u32(fields, &n);
    HV_LIST_FOREACH (node, &channel->server->gpadls) {
        struct vmbus_gpadl *gpadl = HV_LIST_ENTRY(node, struct vmbus_gpadl, node);

        if (gpadl->channel != channel || gpadl->is_torn_down)
            continue;
        n = gpadl->n_ranges;
        visit(fields, gpadl, &n);
        for (unsigned i = 0; i < gpadl->n_ranges; i++)
            visit_range(fields, &gpadl->ranges[i]);
    }
}

/* Page by page, as when the guest told them: they are counted and merged again. */
static int restore_range(struct vmbus_gpadl *gpadl, const struct vmbus_range *range)
{
    int r = is_ram(gpadl->channel->server->config.gpa, range) ? 0 : -EINVAL;

    for (uint32_t at = 0; r == 0 && at < range->bytes; at += HV_PAGE_BYTES)
        r = gpadl->n_known++ < gpadl->n_pages ? append(gpadl, range->gpa + at) : -EINVAL;
    return r;
}

static int restore_ranges(struct vmbus_gpadl *gpadl, struct hv_fields *fields, uint32_t n_ranges)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < n_ranges; i++) {
        struct vmbus_range range = { 0 };

        visit_range(fields, &range);
        r = hv_fields_ok(fields) ? restore_range(gpadl, &range) : -EINVAL;
    }
    return r;
}

int vmbus_gpadl_restore(struct vmbus_channel *channel, struct hv_fields *fields)
{
    struct vmbus_gpadl read = { 0 }, *gpadl;
    uint32_t n_ranges = 0;
    int r = 0;

    visit(fields, &read, &n_ranges);
    if (!hv_fields_ok(fields) || find(channel->server, read.id) || read.n_pages == 0)
        return -EINVAL;
    gpadl = gpadl_new(channel, read.id, read.n_pages);
    if (!gpadl)
        return -ENOMEM;
    if (read.is_refused) {
        uncount(gpadl);
        gpadl->is_refused = true;
        gpadl->n_known = read.n_known;
    } else {
        r = is_beyond_limits(channel) ? -EINVAL : restore_ranges(gpadl, fields, n_ranges);
    }
    return r == 0 && gpadl->n_known != read.n_known ? -EINVAL : r;
}
