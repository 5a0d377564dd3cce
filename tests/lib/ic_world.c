/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/ic_world.h"

#include <stdio.h>
#include <string.h>

static uint64_t now_ns(void *opaque)
{
    return ((struct ic_world *)opaque)->now_ns;
}

static void set_alarm(void *opaque, uint64_t deadline_ns)
{
    ((struct ic_world *)opaque)->alarm_ns = deadline_ns;
}

static uint64_t realtime_ns(void *opaque)
{
    return ((struct ic_world *)opaque)->realtime_ns;
}

static uint64_t reference_ticks(void *opaque)
{
    return ((struct ic_world *)opaque)->reference;
}

static const struct ic_time_ops time_ops = {
    .now_ns = now_ns,
    .set_alarm = set_alarm,
    .realtime_ns = realtime_ns,
    .reference_ticks = reference_ticks,
};

void ic_world_init(struct ic_world *world)
{
    memset(world, 0, sizeof(*world));
    world->now_ns = 1000 * HV_NS_PER_SEC;
    world->alarm_ns = UINT64_MAX;
    world->realtime_ns = UINT64_C(1700000000) * HV_NS_PER_SEC;
    world->bus = fake_bus_new();
    ic_clock_init(&world->clock, &time_ops, world);
}

void ic_world_fini(struct ic_world *world)
{
    ic_clock_fini(&world->clock);
    fake_bus_free(world->bus);
}

static void move_to(struct ic_world *world, uint64_t to_ns)
{
    uint64_t passed = to_ns - world->now_ns;

    world->now_ns = to_ns;
    world->realtime_ns += passed;
    world->reference += passed / 100;
}

void ic_world_pass(struct ic_world *world, uint64_t ms)
{
    uint64_t end = world->now_ns + ms * HV_NS_PER_MS;

    while (world->alarm_ns <= end) {
        move_to(world, world->alarm_ns > world->now_ns ? world->alarm_ns : world->now_ns);
        ic_clock_run(&world->clock);
    }
    move_to(world, end);
}

uint16_t ic_get_u16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

uint32_t ic_get_u32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

uint64_t ic_get_u64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

void ic_set_u16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof(value));
}

void ic_set_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

bool ic_guest_take(struct vmbus_channel *channel, struct ic_guest_message *ret)
{
    uint8_t *at = ret->packet.payload;

    if (!fake_channel_take(channel, &ret->packet))
        return false;
    ret->pipe_flags = ic_get_u32(at);
    ret->pipe_bytes = ic_get_u32(at + 4);
    ret->framework = (uint16_t)(ic_get_u16(at + 8) << 8 | ic_get_u16(at + 10));
    ret->type = ic_get_u16(at + 12);
    ret->version = (uint16_t)(ic_get_u16(at + 14) << 8 | ic_get_u16(at + 16));
    ret->body_bytes = ic_get_u16(at + 18);
    ret->status = ic_get_u32(at + 20);
    ret->transaction = at[24];
    ret->flags = at[25];
    ret->body = at + 28;
    return true;
}

void ic_guest_answer(struct vmbus_channel *channel, struct ic_guest_message *message,
                     uint32_t status)
{
    ic_set_u32(message->packet.payload + 20, status);
    message->packet.payload[25] = 5;
    fake_channel_put(channel, message->packet.type, message->packet.transaction,
                     message->packet.payload, message->packet.bytes);
    fake_channel_signal(channel);
}

void ic_guest_connect(struct vmbus_channel *channel, uint16_t major, uint16_t minor)
{
    struct ic_guest_message m;

    hv_assert(fake_channel_open(channel) == 0);
    hv_assert(ic_guest_take(channel, &m) && m.type == IC_MESSAGE_NEGOTIATE);
    ic_set_u16(m.packet.payload + 18, 16);
    ic_set_u16(m.body, 1);
    ic_set_u16(m.body + 2, 1);
    ic_set_u16(m.body + 8, 3);
    ic_set_u16(m.body + 10, 0);
    ic_set_u16(m.body + 12, major);
    ic_set_u16(m.body + 14, minor);
    ic_guest_answer(channel, &m, 0);
}

void ic_result_done(void *opaque, int r, const struct hv_error *error)
{
    struct ic_result *result = opaque;

    result->n_calls++;
    result->r = r;
    snprintf(result->code, sizeof(result->code), "%s", error ? error->code : "");
    snprintf(result->message, sizeof(result->message), "%s", error ? error->message : "");
}
