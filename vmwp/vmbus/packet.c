/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vmbus/ring_priv.h"

#include "hvcore/base/own.h"

/*
 * Bounds of a GPA-direct packet's list of pages: as many bytes as a payload may have. That is room
 * for 8 MiB in pages that lie apart.
 */
enum {
    MAX_EXTENSION = VMBUS_MAX_PACKET_BYTES,
    MAX_RUNS = MAX_EXTENSION / 8,
    PAGES_AT_ONCE = 64,
    MAX_PAGE_NUMBER_BITS = 40
};

struct vmbus_packet *vmbus_packet_new(void)
{
    struct vmbus_packet *packet = malloc(sizeof(*packet));

    if (!packet)
        return NULL;
    packet->bytes = 0;
    packet->n_ranges = 0;
    packet->max_ranges = VMBUS_MAX_RANGES;
    packet->ranges = calloc(packet->max_ranges, sizeof(*packet->ranges));
    if (!packet->ranges) {
        free(packet);
        return NULL;
    }
    return packet;
}

struct vmbus_packet *vmbus_packet_free(struct vmbus_packet *packet)
{
    if (packet)
        free(packet->ranges);
    free(packet);
    return NULL;
}

/* What is being read of a packet */
struct reading {
    const struct vmbus_ring_in *ring;
    struct hv_gpa_space *gpa;
    struct vmbus_packet *packet;
    uint32_t at, end; /* of the extension, from the packet's start */
    const char *why;
};

static int broken(struct reading *in, const char *why)
{
    in->why = why;
    return VMBUS_E_BROKEN;
}

static int take(struct reading *in, void *ret, uint32_t bytes)
{
    if (bytes > in->end - in->at)
        return broken(in, "a packet's page list is longer than its header");
    vmbus_ring_in_copy(in->ring, in->at, ret, bytes);
    in->at += bytes;
    return 0;
}

/* Append a run of RAM, to the last one where both lie in one piece. Returns 0 or -ENOMEM. */
static int append_run(struct vmbus_packet *packet, hv_gpa_t gpa, uint32_t bytes, bool may_merge)
{
    struct vmbus_range *last = packet->n_ranges ? &packet->ranges[packet->n_ranges - 1] : NULL;

    if (may_merge && last && last->gpa + last->bytes == gpa && last->bytes <= UINT32_MAX - bytes) {
        last->bytes += bytes;
        return 0;
    }
    if (packet->n_ranges == packet->max_ranges) {
        unsigned max = packet->max_ranges * 2;
        void *larger = realloc(packet->ranges, max * sizeof(*packet->ranges));

        if (!larger)
            return -ENOMEM;
        packet->ranges = larger;
        packet->max_ranges = max;
    }
    packet->ranges[packet->n_ranges++] = (struct vmbus_range){ gpa, bytes };
    return 0;
}

/* One page of a range: bytes of it from in_page on. */
static int take_page(struct reading *in, uint64_t page, uint32_t in_page, uint32_t bytes)
{
    hv_gpa_t gpa = (page << HV_PAGE_SHIFT) + in_page;
    const struct hv_gpa_slot *slot;

    if (page >> MAX_PAGE_NUMBER_BITS != 0)
        return broken(in, "a packet's page lies outside of memory");
    slot = hv_gpa_slot_of(in->gpa, gpa);
    if (!slot)
        return broken(in, "a packet's page is not RAM");
    return append_run(in->packet, gpa, bytes, gpa != slot->first);
}

static int take_pages(struct reading *in, const struct vmbus_wire_range *range)
{
    uint64_t left = range->byte_count;
    uint64_t n_pages = (range->byte_offset + left + HV_PAGE_BYTES - 1) >> HV_PAGE_SHIFT;
    uint32_t in_page = range->byte_offset;
    uint64_t pages[PAGES_AT_ONCE];

    while (n_pages > 0) {
        unsigned n = n_pages < PAGES_AT_ONCE ? (unsigned)n_pages : PAGES_AT_ONCE;
        int r = take(in, pages, n * sizeof(pages[0]));

        for (unsigned i = 0; i < n && r == 0 && left > 0; i++) {
            uint32_t part = HV_PAGE_BYTES - in_page;

            part = left < part ? (uint32_t)left : part;
            r = take_page(in, pages[i], in_page, part);
            left -= part;
            in_page = 0;
        }
        if (r != 0)
            return r;
        n_pages -= n;
    }
    in->packet->data_bytes += range->byte_count;
    return 0;
}

static int read_ranges(struct reading *in)
{
    struct vmbus_wire_gpa_direct head;
    int r = take(in, &head, sizeof(head));

    if (r != 0)
        return r;
    if (head.n_ranges > VMBUS_MAX_RANGES)
        return broken(in, "a packet has too many ranges");
    for (uint32_t i = 0; i < head.n_ranges; i++) {
        struct vmbus_wire_range range;

        r = take(in, &range, sizeof(range));
        if (r != 0)
            return r;
        if (range.byte_offset >= HV_PAGE_BYTES)
            return broken(in, "a packet's range begins beyond its first page");
        r = take_pages(in, &range);
        if (r != 0)
            return r;
    }
    return 0;
}

/* Judge the descriptor's copy; NULL, or what is wrong with it. */
static const char *judge(const struct vmbus_wire_packet *head, uint32_t available)
{
    uint32_t bytes = head->bytes8 * 8U, payload_at = head->payload_at8 * 8U;

    if (bytes < sizeof(*head) || payload_at < sizeof(*head) || payload_at > bytes)
        return "a packet's lengths contradict each other";
    if (bytes + VMBUS_WIRE_TRAILER_BYTES > available)
        return "a packet is longer than what the ring holds";
    if (bytes - payload_at > VMBUS_MAX_PACKET_BYTES || payload_at - sizeof(*head) > MAX_EXTENSION)
        return "a packet is too long";
    switch (head->type) {
    case VMBUS_PACKET_INBAND:
    case VMBUS_PACKET_GPA_DIRECT:
    case VMBUS_PACKET_COMPLETION: return NULL;
    default: return "a packet is of a type that guests don't send";
    }
}

static void fill(struct vmbus_packet *packet, const struct vmbus_wire_packet *head)
{
    packet->type = head->type;
    packet->wants_completion = head->flags & VMBUS_WIRE_WANTS_COMPLETION;
    packet->transaction = head->transaction;
    packet->bytes = (head->bytes8 - head->payload_at8) * 8U;
    packet->n_ranges = 0;
    packet->data_bytes = 0;
}

int vmbus_packet_read(struct vmbus_ring_in *ring, struct vmbus_packet *packet, bool *ret_signal,
                      const char **ret_why)
{
    struct reading in = { .ring = ring, .gpa = ring->memory.gpa, .packet = packet };
    struct vmbus_wire_packet head;
    uint32_t available;

    *ret_why = "a ring's index lies outside of it";
    if (vmbus_ring_in_available(ring, &available, ret_signal) != 0)
        return VMBUS_E_BROKEN;
    if (available == 0)
        return VMBUS_E_EMPTY;
    *ret_why = "a packet is cut off";
    if (available < sizeof(head) + VMBUS_WIRE_TRAILER_BYTES)
        return VMBUS_E_BROKEN;
    vmbus_ring_in_copy(ring, 0, &head, sizeof(head));
    *ret_why = judge(&head, available);
    if (*ret_why)
        return VMBUS_E_BROKEN;
    fill(packet, &head);
    if (head.type == VMBUS_PACKET_GPA_DIRECT) {
        int r;

        in.at = sizeof(head);
        in.end = head.payload_at8 * 8U;
        r = read_ranges(&in);
        *ret_why = in.why;
        if (r != 0)
            return r;
    }
    vmbus_ring_in_copy(ring, head.payload_at8 * 8U, packet->payload, packet->bytes);
    if (vmbus_ring_in_advance(ring, head.bytes8 * 8U + VMBUS_WIRE_TRAILER_BYTES))
        *ret_signal = true;
    return 0;
}
