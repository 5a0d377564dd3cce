/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The synthetic keyboard: any messages of the guest's, any text of a client's. Events come out
 * whole, in order and never more than went in.
 *
 * Input: commands of one byte with operands.
 */
#include "hvcore/base/cursor.h"
#include "tests/lib/fake_channel.h"
#include "vmwp/vsp/inputvsp/keyboard.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MAX_COMMANDS = 100 };

static const struct hv_guid type = { { 0x6d, 0xad, 0x12, 0xf9, 0x17, 0x2b, 0xea, 0x48, 0xbd, 0x65,
                                       0xf9, 0x27, 0xa6, 0x1c, 0x76, 0x84 } };

struct world {
    struct vmbus_server *bus;
    struct vmbus_channel *channel;
    struct vsp_keyboard *kbd;
    bool is_paused;
};

static void cmd_open(struct world *w, struct hv_cursor *in)
{
    static const uint32_t hello[] = { 1, 0x00010000 };

    if (vmbus_channel_is_open(w->channel) || w->is_paused)
        return;
    (void)fake_channel_open(w->channel);
    fake_channel_put(w->channel, VMBUS_PACKET_INBAND, 1, hello, sizeof(hello));
}

static void cmd_close(struct world *w, struct hv_cursor *in)
{
    fake_channel_close(w->channel);
}

static void cmd_message(struct world *w, struct hv_cursor *in)
{
    uint8_t bytes[256] = { 0 }, packet_type = hv_cursor_u8(in), n = hv_cursor_u8(in);

    n = n > hv_cursor_left(in) ? (uint8_t)hv_cursor_left(in) : n;
    hv_cursor_bytes(in, bytes, n);
    if (vmbus_channel_is_open(w->channel))
        fake_channel_put(w->channel, packet_type, n, bytes, n);
}

static void cmd_signal(struct world *w, struct hv_cursor *in)
{
    fake_channel_signal(w->channel);
}

static void cmd_text(struct world *w, struct hv_cursor *in)
{
    char text[256];
    uint8_t n = hv_cursor_u8(in);
    unsigned before = vsp_keyboard_n_queued(w->kbd);
    struct hv_error *error = NULL;
    int r;

    n = n > hv_cursor_left(in) ? (uint8_t)hv_cursor_left(in) : n;
    hv_cursor_bytes(in, text, n);
    text[n] = '\0';
    r = vsp_keyboard_type_text(w->kbd, text, &error);
    hv_assert((r < 0) == (error != NULL));
    hv_assert(r == 0 || vsp_keyboard_n_queued(w->kbd) == before);
    hv_error_free(error);
}

static void cmd_scancodes(struct world *w, struct hv_cursor *in)
{
    uint8_t codes[255], n = hv_cursor_u8(in);

    n = n > hv_cursor_left(in) ? (uint8_t)hv_cursor_left(in) : n;
    hv_cursor_bytes(in, codes, n);
    (void)vsp_keyboard_type_scancodes(w->kbd, codes, n, NULL);
}

static void cmd_take(struct world *w, struct hv_cursor *in)
{
    struct fake_packet packet;
    uint32_t message[3];

    for (uint8_t n = hv_cursor_u8(in); n > 0 && fake_channel_take(w->channel, &packet); n--) {
        memcpy(message, packet.payload, sizeof(message));
        hv_assert(packet.type == VMBUS_PACKET_INBAND);
        hv_assert((message[0] == 2 && message[1] <= 1) || (message[0] == 3 && message[1] < 0x80));
    }
}

static void cmd_room(struct world *w, struct hv_cursor *in)
{
    fake_channel_set_room(w->channel, hv_cursor_u8(in));
}

static void cmd_pause(struct world *w, struct hv_cursor *in)
{
    if (w->is_paused)
        vsp_keyboard_ops.resume(w->kbd);
    else
        vsp_keyboard_ops.pause(w->kbd);
    w->is_paused = !w->is_paused;
}

static void cmd_reset(struct world *w, struct hv_cursor *in)
{
    fake_channel_close(w->channel);
    vsp_keyboard_ops.reset(w->kbd);
    hv_assert(vsp_keyboard_n_queued(w->kbd) == 0);
}

static void (*const commands[])(struct world *w, struct hv_cursor *in) = {
    cmd_open,      cmd_close, cmd_message, cmd_signal, cmd_text,
    cmd_scancodes, cmd_take,  cmd_room,    cmd_pause,  cmd_reset,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct world w = { .bus = fake_bus_new() };
    struct vsp_keyboard_config config = { .server = w.bus };
    struct hv_cursor in = hv_cursor(bytes, n);

    hv_assert(vsp_keyboard_new(&config, &w.kbd) == 0);
    w.channel = fake_bus_find(w.bus, &type);
    for (unsigned i = 0; i < MAX_COMMANDS && hv_cursor_left(&in) > 0; i++) {
        commands[hv_cursor_u8(&in) % HV_ARRAY_SIZE(commands)](&w, &in);
        hv_assert(vsp_keyboard_n_queued(w.kbd) <= VSP_KEYBOARD_MAX_EVENTS);
    }
    vsp_keyboard_revoke(w.kbd);
    vsp_keyboard_free(w.kbd);
    fake_bus_free(w.bus);
    return 0;
}
