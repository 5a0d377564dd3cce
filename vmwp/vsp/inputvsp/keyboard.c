/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vsp/inputvsp/keyboard.h"

#include "hvcore/base/cursor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The guest may also tell of its lights (4), which nobody shows. */
enum message { PROTOCOL_REQUEST = 1, PROTOCOL_RESPONSE = 2, EVENT = 3 };
enum info { INFO_BREAK = 2, INFO_E0 = 4, INFO_E1 = 8 };

#define VERSION_1_0 UINT32_C(0x00010000)

enum {
    EVENT_BYTES = 12,
    RESPONSE_BYTES = 8,
    MAX_PACKETS_PER_TURN = 64, /* a driver sends one when it begins, and the lights */
    MAX_LOGGED = 4
};

struct event {
    uint8_t make;
    uint8_t info;
};

enum state { CLOSED, OPEN, READY };

struct vsp_keyboard {
    struct vsp_keyboard_config config;
    struct vmbus_channel *channel;
    struct vmbus_packet *packet;
    enum state state;
    bool is_paused;
    bool owes_response; /* the ring was full */
    uint32_t response;
    unsigned n_logged; /* since it was opened */
    unsigned first, n;
    struct event events[VSP_KEYBOARD_MAX_EVENTS]; /* a ring */
    uint8_t pressed[3][128 / 8];                  /* plain, E0, E1; as queued */
};

/* Little endian, as the host is. */
static bool send(struct vsp_keyboard *kbd, const void *message, size_t bytes)
{
    return vmbus_channel_send(kbd->channel, VMBUS_PACKET_INBAND, 0, false, message, bytes) !=
           VMBUS_E_FULL;
}

static bool send_event(struct vsp_keyboard *kbd, const struct event *event)
{
    const uint32_t message[EVENT_BYTES / 4] = { EVENT, event->make, event->info };

    return send(kbd, message, sizeof(message));
}

static void send_response(struct vsp_keyboard *kbd)
{
    const uint32_t message[RESPONSE_BYTES / 4] = { PROTOCOL_RESPONSE, kbd->response };

    kbd->owes_response = !send(kbd, message, sizeof(message));
}

static void send_queued(struct vsp_keyboard *kbd)
{
    if (kbd->is_paused || kbd->state != READY || kbd->n == 0)
        return;
    vmbus_channel_begin_batch(kbd->channel);
    while (kbd->n > 0 && send_event(kbd, &kbd->events[kbd->first])) {
        kbd->first = (kbd->first + 1) % VSP_KEYBOARD_MAX_EVENTS;
        kbd->n--;
    }
    vmbus_channel_end_batch(kbd->channel);
}

/* A version that isn't ours is refused; the driver may ask for another. */
static void handle_request(struct vsp_keyboard *kbd, uint32_t version)
{
    kbd->response = version == VERSION_1_0;
    send_response(kbd);
    if (kbd->response)
        kbd->state = READY;
    else if (kbd->n_logged++ < MAX_LOGGED)
        hv_log_printf(&kbd->config.log, HV_LOG_DEBUG, NULL,
                      "The guest's keyboard driver asks for version 0x%08" PRIx32 "; refused.",
                      version);
}

static void handle_packet(struct vsp_keyboard *kbd)
{
    struct hv_cursor in = hv_cursor(kbd->packet->payload, kbd->packet->bytes);
    uint32_t type = hv_cursor_u32(&in), value = hv_cursor_u32(&in);

    if (kbd->packet->type != VMBUS_PACKET_INBAND || !hv_cursor_ok(&in))
        return;
    if (type == PROTOCOL_REQUEST)
        handle_request(kbd, value);
}

static void take_turn(struct vsp_keyboard *kbd)
{
    unsigned i = 0;

    if (kbd->is_paused || kbd->state == CLOSED)
        return;
    if (kbd->owes_response)
        send_response(kbd);
    while (i < MAX_PACKETS_PER_TURN && vmbus_channel_receive(kbd->channel, kbd->packet) == 0) {
        handle_packet(kbd);
        i++;
    }
    if (i == MAX_PACKETS_PER_TURN) {
        vmbus_channel_fail(kbd->channel, "more messages than a keyboard's driver sends");
        return;
    }
    send_queued(kbd);
}

static void forget(struct vsp_keyboard *kbd)
{
    kbd->state = CLOSED;
    kbd->n_logged = 0;
    kbd->owes_response = false;
    kbd->first = 0;
    kbd->n = 0;
    memset(kbd->pressed, 0, sizeof(kbd->pressed));
}

static int opened(void *opaque, struct vmbus_channel *channel, const uint8_t *user)
{
    struct vsp_keyboard *kbd = opaque;

    forget(kbd);
    kbd->state = OPEN;
    return 0;
}

/* As its part of the saved VM told. */
static int restored(void *opaque, struct vmbus_channel *channel)
{
    const struct vsp_keyboard *kbd = opaque;

    return kbd->state == CLOSED ? -EINVAL : 0;
}

static void signalled(void *opaque, struct vmbus_channel *channel)
{
    take_turn(opaque);
}

static void closed(void *opaque, struct vmbus_channel *channel)
{
    forget(opaque);
}

static const struct vmbus_channel_ops channel_ops = {
    .opened = opened,
    .restored = restored,
    .signalled = signalled,
    .closed = closed,
};

static const struct vmbus_offer keyboard_offer = {
    /* f912ad6d-2b17-48ea-bd65-f927a61c7684 */
    .type = { { 0x6d, 0xad, 0x12, 0xf9, 0x17, 0x2b, 0xea, 0x48, 0xbd, 0x65, 0xf9, 0x27, 0xa6, 0x1c,
                0x76, 0x84 } },
    /* d34b2567-b9b6-42b9-8778-0a4ec0b955bf, as Hyper-V has it */
    .instance = { { 0x67, 0x25, 0x4b, 0xd3, 0xb6, 0xb9, 0xb9, 0x42, 0x87, 0x78, 0x0a, 0x4e, 0xc0,
                    0xb9, 0x55, 0xbf } },
    .ops = &channel_ops,
};

int vsp_keyboard_new(const struct vsp_keyboard_config *config, struct vsp_keyboard **ret)
{
    struct vsp_keyboard *kbd = calloc(1, sizeof(*kbd));
    struct vmbus_offer offer = keyboard_offer;
    int r = -ENOMEM;

    if (!kbd)
        return -ENOMEM;
    kbd->config = *config;
    kbd->packet = vmbus_packet_new();
    offer.opaque = kbd;
    if (kbd->packet)
        r = vmbus_offer_channel(config->server, &offer, &kbd->channel);
    if (r < 0) {
        vsp_keyboard_free(kbd);
        return r;
    }
    *ret = kbd;
    return 0;
}

void vsp_keyboard_revoke(struct vsp_keyboard *kbd)
{
    if (kbd->channel)
        vmbus_revoke_channel(HV_TAKE_PTR(kbd->channel));
    forget(kbd);
}

struct vsp_keyboard *vsp_keyboard_free(struct vsp_keyboard *kbd)
{
    if (!kbd)
        return NULL;
    vmbus_packet_free(kbd->packet);
    free(kbd);
    return NULL;
}

static void pause_keyboard(void *vsp)
{
    ((struct vsp_keyboard *)vsp)->is_paused = true;
}

static void resume_keyboard(void *vsp)
{
    struct vsp_keyboard *kbd = vsp;

    kbd->is_paused = false;
    take_turn(kbd);
}

static void reset_keyboard(void *vsp)
{
    forget(vsp);
}

static void *free_keyboard(void *vsp)
{
    return vsp_keyboard_free(vsp);
}

const struct vsp_ops vsp_keyboard_ops = {
    .name = "keyboard",
    .pause = pause_keyboard,
    .resume = resume_keyboard,
    .reset = reset_keyboard,
    .free = free_keyboard,
};

bool vsp_keyboard_is_ready(const struct vsp_keyboard *kbd)
{
    return kbd->state == READY;
}

unsigned vsp_keyboard_n_queued(const struct vsp_keyboard *kbd)
{
    return kbd->n;
}

static uint8_t *pressed_byte(struct vsp_keyboard *kbd, uint8_t info, uint8_t make)
{
    unsigned plane = info & INFO_E1 ? 2 : info & INFO_E0 ? 1 : 0;

    return &kbd->pressed[plane][(make & 0x7f) / 8];
}

static void put_event(struct vsp_keyboard *kbd, uint8_t make, uint8_t info)
{
    uint8_t *pressed = pressed_byte(kbd, info, make);
    uint8_t bit = (uint8_t)(1u << (make & 7));

    hv_assert(kbd->n < VSP_KEYBOARD_MAX_EVENTS);
    kbd->events[(kbd->first + kbd->n++) % VSP_KEYBOARD_MAX_EVENTS] =
        (struct event){ .make = make & 0x7f, .info = info };
    *pressed = info & INFO_BREAK ? *pressed & (uint8_t)~bit : *pressed | bit;
}

static void put_key(struct vsp_keyboard *kbd, struct vsp_key key, bool is_release)
{
    uint8_t prefix = key.is_e1 ? INFO_E1 : key.is_e0 ? INFO_E0 : 0;

    put_event(kbd, key.make, prefix | (is_release ? INFO_BREAK : 0));
}

static int need_room(const struct vsp_keyboard *kbd, size_t n_events, struct hv_error **reterr)
{
    if (kbd->state != READY)
        return hv_error_set(reterr, -ENOTCONN, "console.keyboard.no_driver",
                            "Nothing can be typed: no keyboard driver of the guest's is running.");
    if (n_events > VSP_KEYBOARD_MAX_EVENTS - kbd->n)
        return hv_error_set(reterr, -ENOBUFS, "console.keyboard.full",
                            "The keyboard's queue has no room for this: %u events wait for the "
                            "guest, %d fit.",
                            kbd->n, VSP_KEYBOARD_MAX_EVENTS);
    return 0;
}

/* The character that begins at text, for a person to read; a byte that begins none as a number. */
static void name_character(const char *text, char ret[static 16])
{
    unsigned char lead = (unsigned char)text[0];
    int length = 1, wanted = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;

    while (length < wanted && ((unsigned char)text[length] & 0xc0) == 0x80)
        length++;
    if (lead < 0x80)
        snprintf(ret, 16, "U+%04X", (unsigned)lead);
    else if (length < wanted || lead < 0xc2 || lead > 0xf4)
        snprintf(ret, 16, "0x%02X", (unsigned)lead);
    else
        snprintf(ret, 16, "'%.*s'", length, text);
}

/* How many events does text take? -EINVAL names what can't be typed. */
static int count_events(const char *text, size_t *ret_n, struct hv_error **reterr)
{
    struct vsp_key key;
    bool is_shifted;
    char name[16];

    *ret_n = 0;
    for (const char *at = text; *at; at++) {
        if (!vsp_key_of_character((unsigned char)*at, &key, &is_shifted)) {
            name_character(at, name);
            return hv_error_set_field(reterr, -EINVAL, "console.keyboard.character", "text",
                                      "A US keyboard has no key for the character %s; nothing was "
                                      "typed.",
                                      name);
        }
        *ret_n += is_shifted ? 4 : 2;
    }
    return 0;
}

static void put_text(struct vsp_keyboard *kbd, const char *text)
{
    static const struct vsp_key shift = { .make = 0x2a };
    struct vsp_key key;
    bool is_shifted;

    for (; *text; text++) {
        (void)vsp_key_of_character((unsigned char)*text, &key, &is_shifted);
        if (is_shifted)
            put_key(kbd, shift, false);
        put_key(kbd, key, false);
        put_key(kbd, key, true);
        if (is_shifted)
            put_key(kbd, shift, true);
    }
}

int vsp_keyboard_type_text(struct vsp_keyboard *kbd, const char *text, struct hv_error **reterr)
{
    size_t n;
    int r = count_events(text, &n, reterr);

    if (r == 0)
        r = need_room(kbd, n, reterr);
    if (r < 0)
        return r;
    put_text(kbd, text);
    send_queued(kbd);
    return 0;
}

static int put_one(struct vsp_keyboard *kbd, struct vsp_key key, bool is_release,
                   struct hv_error **reterr)
{
    int r = need_room(kbd, 1, reterr);

    if (r < 0)
        return r;
    put_key(kbd, key, is_release);
    send_queued(kbd);
    return 0;
}

int vsp_keyboard_press(struct vsp_keyboard *kbd, struct vsp_key key, struct hv_error **reterr)
{
    return put_one(kbd, key, false, reterr);
}

int vsp_keyboard_release(struct vsp_keyboard *kbd, struct vsp_key key, struct hv_error **reterr)
{
    return put_one(kbd, key, true, reterr);
}

int vsp_keyboard_chord(struct vsp_keyboard *kbd, const struct vsp_key *keys, unsigned n,
                       struct hv_error **reterr)
{
    int r = need_room(kbd, 2 * (size_t)n, reterr);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < n; i++)
        put_key(kbd, keys[i], false);
    for (unsigned i = n; i > 0; i--)
        put_key(kbd, keys[i - 1], true);
    send_queued(kbd);
    return 0;
}

int vsp_keyboard_ctrl_alt_del(struct vsp_keyboard *kbd, struct hv_error **reterr)
{
    static const struct vsp_key keys[] = { { .make = 0x1d },
                                           { .make = 0x38 },
                                           { .make = 0x53, .is_e0 = true } };

    return vsp_keyboard_chord(kbd, keys, HV_ARRAY_SIZE(keys), reterr);
}

int vsp_keyboard_type_scancodes(struct vsp_keyboard *kbd, const uint8_t *codes, size_t n,
                                struct hv_error **reterr)
{
    int r = need_room(kbd, n, reterr);
    uint8_t prefix = 0;

    if (r < 0)
        return r;
    if (n > 0 && (codes[n - 1] == 0xe0 || codes[n - 1] == 0xe1))
        return hv_error_set_field(reterr, -EINVAL, "console.keyboard.scancodes", "scancodes",
                                  "The scan codes end in the midst of a key.");
    for (size_t i = 0; i < n; i++) {
        if (codes[i] == 0xe0 || codes[i] == 0xe1) {
            prefix = codes[i] == 0xe0 ? INFO_E0 : INFO_E1;
            continue;
        }
        put_event(kbd, codes[i], prefix | (codes[i] & 0x80 ? INFO_BREAK : 0));
        prefix = 0;
    }
    send_queued(kbd);
    return 0;
}

bool vsp_keyboard_is_pressed(const struct vsp_keyboard *kbd, struct vsp_key key)
{
    unsigned plane = key.is_e1 ? 2 : key.is_e0 ? 1 : 0;

    return kbd->pressed[plane][(key.make & 0x7f) / 8] >> (key.make & 7) & 1;
}

void vsp_keyboard_visit(struct vsp_keyboard *kbd, struct hv_fields *fields)
{
    uint8_t state = (uint8_t)kbd->state;
    uint32_t n = kbd->n;

    hv_field_u8(fields, &state);
    if (state > READY)
        hv_fields_refuse(fields);
    else
        kbd->state = (enum state)state;
    hv_field_bool(fields, &kbd->owes_response);
    hv_field_u32(fields, &kbd->response);
    hv_field_count(fields, &n, VSP_KEYBOARD_MAX_EVENTS);
    for (uint32_t i = 0; i < n; i++) {
        struct event *event = &kbd->events[(kbd->first + i) % VSP_KEYBOARD_MAX_EVENTS];

        hv_field_u8(fields, &event->make);
        hv_field_u8(fields, &event->info);
    }
    kbd->n = n;
    hv_field_bytes(fields, kbd->pressed, sizeof(kbd->pressed));
}
