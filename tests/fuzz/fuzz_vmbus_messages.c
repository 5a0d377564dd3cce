/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane: messages of a guest, in any order, between what a host does by itself.
 *
 * Input: commands of one byte and their operands (see commands[]); a message is its type, the
 * number of bytes that follow the header, and these.
 */
#include "tests/fuzz/vmbus_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { N_DEVICES = 3, MAX_COMMANDS = 400 };

/* A device, as its provider sees it */
struct device {
    struct world *world;
    uint8_t number;
    struct vmbus_channel *primary; /* NULL: not offered */
    int n_open;
};

struct world {
    struct fuzz_host host;
    struct vmbus_server *server;
    struct device devices[N_DEVICES];
    struct vmbus_packet *packet;
    bool refuses;                 /* to open */
    bool speaks_first;            /* in `opened` */
    bool revokes;                 /* in `closed` */
    struct vmbus_channel *opened; /* last, and still open */
};

static int on_opened(void *opaque, struct vmbus_channel *channel, const uint8_t *user)
{
    struct device *device = opaque;

    hv_assert(vmbus_channel_is_open(channel));
    if (device->world->speaks_first)
        (void)vmbus_channel_send(channel, VMBUS_PACKET_INBAND, 1, false, user, VMBUS_USER_BYTES);
    if (device->world->refuses)
        return -EBUSY;
    device->n_open++;
    device->world->opened = channel;
    return 0;
}

static void on_signalled(void *opaque, struct vmbus_channel *channel)
{
    struct device *device = opaque;
    struct vmbus_packet *packet = device->world->packet;
    int r = 0;

    for (unsigned i = 0; i < 100 && r == 0; i++) {
        r = vmbus_channel_receive(channel, packet);
        if (r == 0)
            (void)vmbus_channel_send(channel, VMBUS_PACKET_COMPLETION, packet->transaction, false,
                                     packet->payload, packet->bytes);
    }
}

static void on_closed(void *opaque, struct vmbus_channel *channel)
{
    struct device *device = opaque;

    hv_assert(!vmbus_channel_is_open(channel) && device->n_open > 0);
    hv_assert(vmbus_channel_receive(channel, device->world->packet) == VMBUS_E_CLOSED);
    device->n_open--;
    if (device->world->opened == channel)
        device->world->opened = NULL;
    if (device->world->revokes && device->primary == channel) {
        device->primary = NULL;
        vmbus_revoke_channel(channel);
    }
}

static const struct vmbus_channel_ops ops = { .opened = on_opened,
                                              .signalled = on_signalled,
                                              .closed = on_closed };

static void offer(struct device *device)
{
    struct vmbus_offer offer = { .type = { { 1 } },
                                 .instance = { { device->number } },
                                 .is_pipe = device->number & 1,
                                 .ops = &ops,
                                 .opaque = device };

    if (!device->primary)
        (void)vmbus_offer_channel(device->world->server, &offer, &device->primary);
}

static void cmd_message(struct world *world, struct hv_cursor *in)
{
    uint8_t message[256] = { hv_cursor_u8(in) };
    size_t n = hv_cursor_u8(in);

    if (n > sizeof(message) - 8)
        n = sizeof(message) - 8;
    if (n > hv_cursor_left(in))
        n = hv_cursor_left(in);
    hv_cursor_bytes(in, message + 8, n);
    vmbus_server_message(world->server, message, 8 + n);
}

static void cmd_raw_message(struct world *world, struct hv_cursor *in)
{
    uint8_t message[256];
    size_t n = hv_cursor_u8(in);

    if (n > hv_cursor_left(in))
        n = hv_cursor_left(in);
    hv_cursor_bytes(in, message, n);
    vmbus_server_message(world->server, message, n);
}

static void cmd_flags(struct world *world, struct hv_cursor *in)
{
    uint8_t flags = hv_cursor_u8(in);

    world->host.is_busy = flags & 1;
    world->refuses = flags & 2;
    world->speaks_first = flags & 4;
    world->revokes = flags & 8;
    world->host.connect_error = flags & 16 ? -EMFILE : 0;
}

static void cmd_turn(struct world *world, struct hv_cursor *in)
{
    world->host.wants_sweep = false;
    vmbus_server_sweep(world->server);
    vmbus_server_retry(world->server);
}

static void cmd_reset(struct world *world, struct hv_cursor *in)
{
    vmbus_server_reset(world->server);
    for (unsigned i = 0; i < N_DEVICES; i++)
        hv_assert(world->devices[i].n_open == 0);
    hv_assert(!vmbus_server_has_unsent(world->server));
}

static void cmd_offer(struct world *world, struct hv_cursor *in)
{
    offer(&world->devices[hv_cursor_u8(in) % N_DEVICES]);
}

static void cmd_revoke(struct world *world, struct hv_cursor *in)
{
    struct device *device = &world->devices[hv_cursor_u8(in) % N_DEVICES];
    struct vmbus_channel *channel = device->primary;

    device->primary = NULL;
    if (channel)
        vmbus_revoke_channel(channel);
}

static void cmd_subchannels(struct world *world, struct hv_cursor *in)
{
    struct device *device = &world->devices[hv_cursor_u8(in) % N_DEVICES];
    unsigned count = hv_cursor_u8(in);

    if (device->primary)
        (void)vmbus_offer_subchannels(device->primary, count);
}

static void cmd_signal(struct world *world, struct hv_cursor *in)
{
    if (world->opened)
        vmbus_channel_signalled(world->opened);
}

static void cmd_fail(struct world *world, struct hv_cursor *in)
{
    if (world->opened)
        vmbus_channel_fail(world->opened, "the fuzzer wants it");
}

/* The guest writes to its memory: 4 bytes at a page's control fields. */
static void cmd_poke(struct world *world, struct hv_cursor *in)
{
    hv_gpa_t gpa = (hv_gpa_t)hv_cursor_u8(in) * HV_PAGE_BYTES;
    uint8_t field = hv_cursor_u8(in);
    uint32_t value = hv_cursor_u16(in);

    (void)hv_gpa_write(&world->host.gpa, gpa + field * 4, &value, sizeof(value));
}

static void cmd_gpadl(struct world *world, struct hv_cursor *in)
{
    const struct vmbus_range *ranges;
    unsigned n;

    if (world->opened && vmbus_channel_gpadl(world->opened, hv_cursor_u32(in), &ranges, &n) == 0) {
        for (unsigned i = 0; i < n; i++)
            hv_assert(ranges[i].bytes > 0 && hv_gpa_slot_of(&world->host.gpa, ranges[i].gpa));
    }
}

static void (*const commands[])(struct world *world, struct hv_cursor *in) = {
    cmd_message, cmd_raw_message, cmd_flags,  cmd_turn, cmd_reset, cmd_offer,
    cmd_revoke,  cmd_subchannels, cmd_signal, cmd_fail, cmd_poke,  cmd_gpadl
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct world world;
    struct hv_cursor in = hv_cursor(bytes, n);

    if (!world.packet)
        world.packet = vmbus_packet_new();
    world.server = fuzz_host_start(&world.host);
    world.refuses = world.speaks_first = world.revokes = false;
    world.opened = NULL;
    for (unsigned i = 0; i < N_DEVICES; i++) {
        world.devices[i] = (struct device){ .world = &world, .number = (uint8_t)i };
        offer(&world.devices[i]);
    }
    for (unsigned i = 0; i < MAX_COMMANDS && hv_cursor_left(&in) > 0; i++)
        commands[hv_cursor_u8(&in) % HV_ARRAY_SIZE(commands)](&world, &in);
    fuzz_host_stop(&world.host, world.server);
    for (unsigned i = 0; i < N_DEVICES; i++)
        hv_assert(world.devices[i].n_open == 0);
    return 0;
}
