/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_channel.h"
#include "vmwp/vsp/inputvsp/keyboard.h"

#include <string.h>

static const struct hv_guid type = { { 0x6d, 0xad, 0x12, 0xf9, 0x17, 0x2b, 0xea, 0x48, 0xbd, 0x65,
                                       0xf9, 0x27, 0xa6, 0x1c, 0x76, 0x84 } };

struct fixture {
    struct vmbus_server *bus;
    struct vsp_keyboard *kbd;
    struct vmbus_channel *channel;
};

static int make(void **state)
{
    static struct fixture f;

    f = (struct fixture){ .bus = fake_bus_new() };
    if (vsp_keyboard_new(&(struct vsp_keyboard_config){ .server = f.bus }, &f.kbd) < 0)
        return -1;
    f.channel = fake_bus_find(f.bus, &type);
    *state = &f;
    return f.channel ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    vsp_keyboard_revoke(f->kbd);
    assert_int_equal(fake_bus_n_offers(f->bus), 0);
    vsp_keyboard_ops.free(f->kbd);
    fake_bus_free(f->bus);
    return 0;
}

static void send(struct fixture *f, uint32_t message_type, uint32_t value)
{
    const uint32_t message[2] = { message_type, value };

    fake_channel_put(f->channel, VMBUS_PACKET_INBAND, 77, message, sizeof(message));
    fake_channel_signal(f->channel);
}

/* The status of the host's response, or -1 when none came. */
static int take_response(struct fixture *f)
{
    struct fake_packet packet;
    uint32_t message[2];

    if (!fake_channel_take(f->channel, &packet))
        return -1;
    memcpy(message, packet.payload, sizeof(message));
    assert_int_equal(packet.bytes, 8);
    assert_int_equal(message[0], 2);
    return (int)message[1];
}

static void connect(struct fixture *f)
{
    assert_int_equal(fake_channel_open(f->channel), 0);
    send(f, 1, 0x00010000);
    assert_int_equal(take_response(f), 1);
    assert_true(vsp_keyboard_is_ready(f->kbd));
}

/* What Linux' serio port would get from the events that came: returns how many bytes. */
static size_t take_bytes(struct fixture *f, uint8_t *ret, size_t max)
{
    struct fake_packet packet;
    size_t n = 0;

    while (n + 2 < max && fake_channel_take(f->channel, &packet)) {
        uint32_t message[3];

        memcpy(message, packet.payload, sizeof(message));
        assert_int_equal(packet.type, VMBUS_PACKET_INBAND);
        assert_int_equal(packet.bytes, 16);
        assert_int_equal(message[0], 3);
        assert_int_equal(message[2] & ~0xeu, 0); /* never unicode */
        assert_true(message[1] < 0x80);
        if (message[2] & 4)
            ret[n++] = 0xe0;
        if (message[2] & 8)
            ret[n++] = 0xe1;
        ret[n++] = (uint8_t)(message[1] | (message[2] & 2 ? 0x80 : 0));
    }
    return n;
}

static void an_offer_that_fails_makes_no_keyboard(void **state)
{
    struct fixture *f = *state;
    struct vsp_keyboard *kbd = NULL;

    assert_int_equal(vsp_keyboard_new(&(struct vsp_keyboard_config){ .server = f->bus }, &kbd),
                     -EEXIST);
    assert_null(kbd);
    assert_null(vsp_keyboard_ops.free(NULL));
    assert_false(fake_channel_offer(f->channel)->is_pipe);
    assert_int_equal(fake_channel_offer(f->channel)->flags, 0);
}

static void nothing_is_typed_before_a_driver_listens(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct fake_packet packet;

    assert_int_equal(vsp_keyboard_type_text(f->kbd, "x", &error), -ENOTCONN);
    assert_string_equal(error->code, "console.keyboard.no_driver");
    assert_int_equal(fake_channel_open(f->channel), 0);
    assert_int_equal(vsp_keyboard_ctrl_alt_del(f->kbd, NULL), -ENOTCONN);
    assert_false(fake_channel_take(f->channel, &packet));
}

static void a_version_that_is_not_ours_is_refused_and_another_may_follow(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fake_channel_open(f->channel), 0);
    send(f, 1, 0x00020000);
    assert_int_equal(take_response(f), 0);
    send(f, 1, 0xffffffff);
    assert_int_equal(take_response(f), 0);
    assert_false(vsp_keyboard_is_ready(f->kbd));
    send(f, 1, 0x00010000);
    assert_int_equal(take_response(f), 1);
    assert_true(vsp_keyboard_is_ready(f->kbd));
}

static void messages_that_are_none_are_passed_over(void **state)
{
    struct fixture *f = *state;
    static const uint8_t noise[256] = { 1 };

    assert_int_equal(fake_channel_open(f->channel), 0);
    fake_channel_put(f->channel, VMBUS_PACKET_INBAND, 1, noise, 0);
    fake_channel_put(f->channel, VMBUS_PACKET_COMPLETION, 1, noise, 8);
    fake_channel_put(f->channel, VMBUS_PACKET_INBAND, 1, noise + 1, 255);
    fake_channel_signal(f->channel);
    send(f, 4, 7);
    send(f, 3, 0x1c);
    assert_int_equal(take_response(f), -1);
    assert_null(fake_channel_failure(f->channel));
}

static void a_flood_costs_the_guest_its_channel(void **state)
{
    struct fixture *f = *state;
    static const uint8_t noise[8];

    connect(f);
    for (unsigned i = 0; i < 64; i++)
        fake_channel_put(f->channel, VMBUS_PACKET_INBAND, i, noise, sizeof(noise));
    fake_channel_signal(f->channel);
    assert_non_null(fake_channel_failure(f->channel));
}

static void a_response_that_finds_the_ring_full_goes_when_there_is_room(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fake_channel_open(f->channel), 0);
    fake_channel_set_room(f->channel, 0);
    send(f, 1, 0x00010000);
    assert_int_equal(take_response(f), -1);
    fake_channel_set_room(f->channel, 4);
    assert_int_equal(take_response(f), 1);
    assert_int_equal(take_response(f), -1);
}

static void text_becomes_the_keys_of_a_us_keyboard(void **state)
{
    static const uint8_t expected[] = { 0x2a, 0x1e, 0x9e, 0xaa, /* A */
                                        0x30, 0xb0,             /* b */
                                        0x2a, 0x02, 0x82, 0xaa, /* ! */
                                        0x1c, 0x9c };
    struct fixture *f = *state;
    uint8_t bytes[64];

    connect(f);
    assert_int_equal(vsp_keyboard_type_text(f->kbd, "Ab!\n", NULL), 0);
    assert_int_equal(take_bytes(f, bytes, sizeof(bytes)), sizeof(expected));
    assert_memory_equal(bytes, expected, sizeof(expected));
    assert_int_equal(vsp_keyboard_type_text(f->kbd, "", NULL), 0);
    assert_int_equal(take_bytes(f, bytes, sizeof(bytes)), 0);
}

static void a_character_without_a_key_is_named_and_nothing_is_typed(void **state)
{
    static const struct {
        const char *text;
        const char *name;
    } rows[] = { { "ab\xc3\xb6", "'\xc3\xb6'" },
                 { "\xf0\x9f\x98\x80", "'\xf0\x9f\x98\x80'" },
                 { "x\x01", "U+0001" },
                 { "\xff\xff", "0xFF" },
                 { "\xc3", "0xC3" } };
    struct fixture *f = *state;
    uint8_t bytes[16];

    connect(f);
    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

        assert_int_equal(vsp_keyboard_type_text(f->kbd, rows[i].text, &error), -EINVAL);
        assert_string_equal(error->field, "text");
        assert_non_null(strstr(error->message, rows[i].name));
    }
    assert_int_equal(take_bytes(f, bytes, sizeof(bytes)), 0);
}

static void what_does_not_fit_is_refused_whole(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    char text[4098];

    connect(f);
    fake_channel_set_room(f->channel, 0);
    memset(text, 'x', sizeof(text));
    text[4097] = '\0';
    assert_int_equal(vsp_keyboard_type_text(f->kbd, text, &error), -ENOBUFS);
    assert_int_equal(vsp_keyboard_n_queued(f->kbd), 0);
    text[4096] = '\0';
    assert_int_equal(vsp_keyboard_type_text(f->kbd, text, NULL), 0);
    assert_int_equal(vsp_keyboard_n_queued(f->kbd), VSP_KEYBOARD_MAX_EVENTS);
    assert_int_equal(vsp_keyboard_type_text(f->kbd, "y", NULL), -ENOBUFS);
    assert_int_equal(vsp_keyboard_press(f->kbd, (struct vsp_key){ .make = 1 }, NULL), -ENOBUFS);
}

static void text_goes_out_as_the_guest_makes_room_and_in_order(void **state)
{
    struct fixture *f = *state;
    size_t n = 0;
    uint8_t bytes[8];

    connect(f);
    fake_channel_set_room(f->channel, 1);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(vsp_keyboard_type_text(f->kbd, "ab", NULL), 0);
    for (size_t got; (got = take_bytes(f, bytes, 7)) > 0;) {
        static const uint8_t cycle[] = { 0x1e, 0x9e, 0x30, 0xb0 };

        for (size_t i = 0; i < got; i++)
            assert_int_equal(bytes[i], cycle[(n + i) % 4]);
        n += got;
    }
    assert_int_equal(n, 4000);
    assert_int_equal(vsp_keyboard_n_queued(f->kbd), 0);
}

static void the_chord_is_released_backwards(void **state)
{
    static const uint8_t expected[] = { 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d };
    struct fixture *f = *state;
    uint8_t bytes[32];

    connect(f);
    assert_int_equal(vsp_keyboard_ctrl_alt_del(f->kbd, NULL), 0);
    assert_int_equal(take_bytes(f, bytes, sizeof(bytes)), sizeof(expected));
    assert_memory_equal(bytes, expected, sizeof(expected));
}

static void scan_codes_keep_their_prefixes(void **state)
{
    static const uint8_t pause[] = { 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5 };
    static const uint8_t cut[] = { 0x1e, 0xe0 };
    struct fixture *f = *state;
    uint8_t bytes[32];

    connect(f);
    assert_int_equal(vsp_keyboard_type_scancodes(f->kbd, cut, sizeof(cut), NULL), -EINVAL);
    assert_int_equal(vsp_keyboard_type_scancodes(f->kbd, cut, 0, NULL), 0);
    assert_int_equal(vsp_keyboard_type_scancodes(f->kbd, pause, sizeof(pause), NULL), 0);
    assert_int_equal(take_bytes(f, bytes, sizeof(bytes)), sizeof(pause));
    assert_memory_equal(bytes, pause, sizeof(pause));
}

static void a_key_is_pressed_until_it_is_released_or_the_driver_goes(void **state)
{
    const struct vsp_key left = { .make = 0x4b, .is_e0 = true }, kp_4 = { .make = 0x4b };
    struct fixture *f = *state;

    connect(f);
    assert_false(vsp_keyboard_is_pressed(f->kbd, left));
    assert_int_equal(vsp_keyboard_press(f->kbd, left, NULL), 0);
    assert_true(vsp_keyboard_is_pressed(f->kbd, left));
    assert_false(vsp_keyboard_is_pressed(f->kbd, kp_4));
    assert_int_equal(vsp_keyboard_release(f->kbd, left, NULL), 0);
    assert_false(vsp_keyboard_is_pressed(f->kbd, left));
    assert_int_equal(vsp_keyboard_press(f->kbd, left, NULL), 0);
    fake_channel_close(f->channel);
    assert_false(vsp_keyboard_is_pressed(f->kbd, left));
    assert_false(vsp_keyboard_is_ready(f->kbd));
}

static void nothing_goes_out_while_the_vm_is_paused(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[16];

    connect(f);
    vsp_keyboard_ops.pause(f->kbd);
    assert_int_equal(vsp_keyboard_type_text(f->kbd, "a", NULL), 0);
    fake_channel_signal(f->channel);
    assert_int_equal(take_bytes(f, bytes, sizeof(bytes)), 0);
    vsp_keyboard_ops.resume(f->kbd);
    assert_int_equal(take_bytes(f, bytes, sizeof(bytes)), 2);
}

static void a_guest_that_begins_anew_gets_nothing_of_before(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[16];

    connect(f);
    fake_channel_set_room(f->channel, 0);
    assert_int_equal(vsp_keyboard_type_text(f->kbd, "secret", NULL), 0);
    fake_channel_close(f->channel);
    vsp_keyboard_ops.reset(f->kbd);
    fake_channel_set_room(f->channel, 256);
    connect(f);
    assert_int_equal(take_bytes(f, bytes, sizeof(bytes)), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_offer_that_fails_makes_no_keyboard),
        CASE(nothing_is_typed_before_a_driver_listens),
        CASE(a_version_that_is_not_ours_is_refused_and_another_may_follow),
        CASE(messages_that_are_none_are_passed_over),
        CASE(a_flood_costs_the_guest_its_channel),
        CASE(a_response_that_finds_the_ring_full_goes_when_there_is_room),
        CASE(text_becomes_the_keys_of_a_us_keyboard),
        CASE(a_character_without_a_key_is_named_and_nothing_is_typed),
        CASE(what_does_not_fit_is_refused_whole),
        CASE(text_goes_out_as_the_guest_makes_room_and_in_order),
        CASE(the_chord_is_released_backwards),
        CASE(scan_codes_keep_their_prefixes),
        CASE(a_key_is_pressed_until_it_is_released_or_the_driver_goes),
        CASE(nothing_goes_out_while_the_vm_is_paused),
        CASE(a_guest_that_begins_anew_gets_nothing_of_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
