/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings of an open channel: the guest writes what it likes where it likes, while the host
 * receives and sends.
 *
 * Input: a byte that chooses the rings' sizes and shape, then commands of one byte with operands.
 */
#include "tests/fuzz/vmbus_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MAX_COMMANDS = 200, MAX_RING_PAGES = 7 };

struct world {
    struct fuzz_host host;
    struct vmbus_server *server;
    struct vmbus_channel *channel;
    struct vmbus_packet *packet;
    hv_gpa_t pages[2 * MAX_RING_PAGES];
    uint32_t out_pages, in_pages;
    uint32_t write; /* of the guest-to-host ring, as an honest guest goes on */
    bool is_batching;
};

static int on_opened(void *opaque, struct vmbus_channel *channel, const uint8_t *user)
{
    return 0;
}

static void on_signalled(void *opaque, struct vmbus_channel *channel)
{
}

static const struct vmbus_channel_ops ops = { .opened = on_opened,
                                              .signalled = on_signalled,
                                              .closed = on_signalled };

static void post(struct world *world, const void *message, size_t bytes)
{
    vmbus_server_message(world->server, message, bytes);
}

static void open_channel(struct world *world)
{
    struct vmbus_wire_contact contact = { .header.type = VMBUS_WIRE_INITIATE_CONTACT,
                                          .version = VMBUS_WIRE_VERSION_5_3,
                                          .interrupt_page = VMBUS_SINT };
    struct vmbus_wire_header request = { .type = VMBUS_WIRE_REQUEST_OFFERS };
    uint32_t n = world->out_pages + world->in_pages;
    struct VMBUS_WIRE_PACKED {
        struct vmbus_wire_gpadl_header head;
        uint64_t pages[2 * MAX_RING_PAGES];
    } gpadl = { { .header.type = VMBUS_WIRE_GPADL_HEADER,
                  .relid = 1,
                  .gpadl = 1,
                  .n_ranges = 1,
                  .byte_count = n * HV_PAGE_BYTES } };
    struct vmbus_wire_open open = {
        .header.type = VMBUS_WIRE_OPEN, .relid = 1, .gpadl = 1, .split_page = world->out_pages
    };

    for (uint32_t i = 0; i < n; i++)
        gpadl.pages[i] = world->pages[i] >> HV_PAGE_SHIFT;
    post(world, &contact, sizeof(contact));
    post(world, &request, sizeof(request));
    post(world, &gpadl, sizeof(gpadl.head) + n * sizeof(gpadl.pages[0]));
    post(world, &open, sizeof(open));
    hv_assert(vmbus_channel_is_open(world->channel));
}

/* A quarter of the inputs have rings that lie in one piece, others scattered, or on one page. */
static void choose_rings(struct world *world, uint8_t choice)
{
    world->out_pages = 2 + choice % 6;
    world->in_pages = 2 + choice / 6 % 3;
    for (uint32_t i = 0; i < world->out_pages + world->in_pages; i++) {
        switch (choice >> 6) {
        case 0: world->pages[i] = (hv_gpa_t)(1 + i) * HV_PAGE_BYTES; break;
        case 1: world->pages[i] = (hv_gpa_t)(40 - 2 * i) * HV_PAGE_BYTES; break;
        case 2: world->pages[i] = FUZZ_HIGH_RAM + (hv_gpa_t)i * HV_PAGE_BYTES; break;
        default: world->pages[i] = HV_PAGE_BYTES; break;
        }
    }
}

static uint32_t data_bytes(const struct world *world)
{
    return (world->out_pages - 1) * HV_PAGE_BYTES;
}

static void poke(struct world *world, uint32_t at, const void *from, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        uint32_t offset = (at + i) % data_bytes(world);
        hv_gpa_t gpa = world->pages[1 + offset / HV_PAGE_BYTES] + offset % HV_PAGE_BYTES;

        hv_assert(hv_gpa_write(&world->host.gpa, gpa, (const uint8_t *)from + i, 1) == 0);
    }
}

static void set(struct world *world, uint32_t page, uint32_t field, uint32_t value)
{
    hv_assert(hv_gpa_write(&world->host.gpa, world->pages[page] + field, &value, 4) == 0);
}

static void check_packet(struct world *world)
{
    const struct vmbus_packet *packet = world->packet;
    uint64_t sum = 0;

    hv_assert(packet->bytes % 8 == 0 && packet->bytes <= VMBUS_MAX_PACKET_BYTES);
    for (unsigned i = 0; i < packet->n_ranges; i++) {
        uint64_t bytes;

        hv_assert(hv_gpa_window(&world->host.gpa, packet->ranges[i].gpa, packet->ranges[i].bytes,
                                &bytes));
        hv_assert(bytes == packet->ranges[i].bytes && bytes > 0);
        sum += bytes;
    }
    hv_assert(sum == packet->data_bytes);
}

static void cmd_receive(struct world *world, struct hv_cursor *in)
{
    for (unsigned i = 0; i < 64; i++) {
        int r = vmbus_channel_receive(world->channel, world->packet);

        hv_assert(r >= 0 && r != VMBUS_E_FULL);
        if (r != 0)
            return;
        check_packet(world);
    }
}

/* A packet whose head is as the input says, behind the last one, published */
static void cmd_packet(struct world *world, struct hv_cursor *in)
{
    uint8_t bytes[256] = { 0 };
    uint8_t n8 = hv_cursor_u8(in) % (sizeof(bytes) / 8);
    struct vmbus_wire_packet head = { .type = hv_cursor_u8(in),
                                      .payload_at8 = hv_cursor_u8(in),
                                      .bytes8 = hv_cursor_u8(in),
                                      .flags = n8 };
    size_t n = n8 * 8U;

    memcpy(bytes, &head, sizeof(head));
    n = n > hv_cursor_left(in) ? hv_cursor_left(in) : n;
    hv_cursor_bytes(in, bytes + sizeof(head), n > 240 ? 240 : n);
    poke(world, world->write, bytes, sizeof(bytes));
    world->write = (world->write + head.bytes8 * 8U + 8) % data_bytes(world);
    set(world, 0, VMBUS_WIRE_RING_WRITE, world->write);
}

static void cmd_bytes(struct world *world, struct hv_cursor *in)
{
    uint8_t bytes[256];
    uint32_t at = hv_cursor_u16(in);
    size_t n = hv_cursor_u8(in);

    n = n > hv_cursor_left(in) ? hv_cursor_left(in) : n;
    hv_cursor_bytes(in, bytes, n);
    poke(world, at, bytes, (uint32_t)n);
}

static void cmd_field(struct world *world, struct hv_cursor *in)
{
    uint8_t which = hv_cursor_u8(in);

    set(world, which & 1 ? world->out_pages : 0, (which >> 1) % 20 * 4, hv_cursor_u32(in));
}

static void cmd_index(struct world *world, struct hv_cursor *in)
{
    uint8_t which = hv_cursor_u8(in);

    set(world, which & 1 ? world->out_pages : 0, (which >> 1) % 4 * 4, hv_cursor_u8(in) * 8U);
}

static void cmd_send(struct world *world, struct hv_cursor *in)
{
    static const uint8_t payload[VMBUS_MAX_PACKET_BYTES];
    uint32_t n = hv_cursor_u16(in) % (VMBUS_MAX_PACKET_BYTES + 1);
    int r = vmbus_channel_send(world->channel, VMBUS_PACKET_INBAND, n, n & 1, payload, n);

    hv_assert(r >= 0 && r != VMBUS_E_EMPTY);
}

static void cmd_batch(struct world *world, struct hv_cursor *in)
{
    if (world->is_batching)
        vmbus_channel_end_batch(world->channel);
    else
        vmbus_channel_begin_batch(world->channel);
    world->is_batching = !world->is_batching;
}

static void cmd_sweep(struct world *world, struct hv_cursor *in)
{
    vmbus_server_sweep(world->server);
}

static void (*const commands[])(struct world *world, struct hv_cursor *in) = {
    cmd_receive, cmd_packet, cmd_bytes, cmd_field, cmd_index, cmd_send, cmd_batch, cmd_sweep
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct world world;
    struct hv_cursor in = hv_cursor(bytes, n);
    struct vmbus_offer offer = { .type = { { 1 } }, .ops = &ops };

    if (!world.packet)
        world.packet = vmbus_packet_new();
    world.server = fuzz_host_start(&world.host);
    world.write = 0;
    world.is_batching = false;
    choose_rings(&world, hv_cursor_u8(&in));
    hv_assert(vmbus_offer_channel(world.server, &offer, &world.channel) == 0);
    open_channel(&world);
    for (unsigned i = 0; i < MAX_COMMANDS && hv_cursor_left(&in) > 0; i++)
        commands[hv_cursor_u8(&in) % HV_ARRAY_SIZE(commands)](&world, &in);
    if (world.is_batching)
        vmbus_channel_end_batch(world.channel);
    fuzz_host_stop(&world.host, world.server);
    return 0;
}
