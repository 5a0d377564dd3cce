/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments of D-Bus messages, as many and of such types as the input says.
 *
 * Input: commands of one byte with operands, each of which puts an argument, or opens or closes a
 * container.
 */
#pragma once

#include "api/rpc/utf8.h"
#include "hvcore/base/cursor.h"
#include "hvcore/base/own.h"

#include <fcntl.h>
#include <string.h>
#include <systemd/sd-bus.h>

enum { MAX_BUS_COMMANDS = 200 };

static void put_text(sd_bus_message *m, struct hv_cursor *in)
{
    static const char *const words[] = { "heartbeat",  "os",       "ok",
                                         "no_contact", "10.0.0.1", "message" };
    uint8_t length = hv_cursor_u8(in);
    char text[1024] = "";

    if (length < HV_ARRAY_SIZE(words)) {
        (void)sd_bus_message_append_basic(m, 's', words[length]);
        return;
    }
    /* Long ones cost few bytes of input. */
    length = length > hv_cursor_left(in) ? (uint8_t)hv_cursor_left(in) : length;
    hv_cursor_bytes(in, text, length);
    for (size_t at = length; length && at + length < sizeof(text); at += length)
        memcpy(text + at, text, length);
    if (utf8_is_valid(text, strlen(text)))
        (void)sd_bus_message_append_basic(m, 's', text);
}

static void put_numbers(sd_bus_message *m, struct hv_cursor *in)
{
    for (uint8_t n = hv_cursor_u8(in) % 8; n > 0; n--)
        (void)sd_bus_message_append(m, "t", hv_cursor_u64(in));
}

static void put_bytes(sd_bus_message *m, struct hv_cursor *in)
{
    uint8_t bytes[255], n = hv_cursor_u8(in);

    n = n > hv_cursor_left(in) ? (uint8_t)hv_cursor_left(in) : n;
    hv_cursor_bytes(in, bytes, n);
    (void)sd_bus_message_append_array(m, 'y', bytes, n);
}

static void open_one(sd_bus_message *m, struct hv_cursor *in)
{
    static const struct {
        char type;
        const char *contents;
    } kinds[] = { { 'a', "{sv}" }, { 'e', "sv" },    { 'v', "s" },  { 'v', "u" }, { 'v', "as" },
                  { 'a', "s" },    { 'a', "u" },     { 'r', "ss" }, { 'v', "t" }, { 'a', "(ssu)" },
                  { 'r', "ssu" },  { 'a', "(sss)" }, { 'r', "sss" } };
    size_t which = hv_cursor_u8(in) % HV_ARRAY_SIZE(kinds);

    (void)sd_bus_message_open_container(m, kinds[which].type, kinds[which].contents);
}

static void close_one(sd_bus_message *m, struct hv_cursor *in)
{
    (void)sd_bus_message_close_container(m);
}

static void put_descriptor(sd_bus_message *m, struct hv_cursor *in)
{
    hv_autofd int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)sd_bus_message_append_basic(m, 'h', &fd);
}

static void put_bool(sd_bus_message *m, struct hv_cursor *in)
{
    (void)sd_bus_message_append(m, "b", hv_cursor_u8(in) & 1);
}

static void put_u32(sd_bus_message *m, struct hv_cursor *in)
{
    (void)sd_bus_message_append(m, "u", hv_cursor_u32(in));
}

static void (*const bus_commands[])(sd_bus_message *m, struct hv_cursor *in) = {
    put_text, put_numbers, put_bytes, open_one, close_one, put_u32, put_descriptor, put_bool
};

/* Arguments, until the input or the room for them is at its end; what is open is closed. */
static inline void bus_arguments_fill(sd_bus_message *m, struct hv_cursor *in)
{
    for (unsigned i = 0; i < MAX_BUS_COMMANDS && hv_cursor_left(in) > 0; i++)
        bus_commands[hv_cursor_u8(in) % HV_ARRAY_SIZE(bus_commands)](m, in);
    for (unsigned i = 0; i < MAX_BUS_COMMANDS && sd_bus_message_close_container(m) >= 0; i++)
        ;
}
