/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All integration components at once: the guest answers, answers wrongly, opens and closes, while
 * time passes and the host asks. What was asked must come to an end once, whatever the guest does.
 *
 * Input: commands of one byte with operands.
 */
#include "hvcore/base/cursor.h"
#include "tests/lib/fake_channel.h"
#include "vmwp/ic/services.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MAX_COMMANDS = 120, MAX_ALARMS = 200, SOURCE_BYTES = 15000 };

static const struct hv_guid types[IC_N_SERVICES] = {
    { { 0x39, 0x4f, 0x16, 0x57, 0x15, 0x91, 0x78, 0x4e, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42,
        0x2d } },
    { { 0x31, 0x60, 0x0b, 0x0e, 0x13, 0x52, 0x34, 0x49, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39,
        0xdb } },
    { { 0x30, 0xe6, 0x27, 0x95, 0xae, 0xd0, 0x7b, 0x49, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c,
        0xaf } },
    { { 0xe7, 0xf4, 0xa0, 0xa9, 0x45, 0x5a, 0x96, 0x4d, 0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c, 0x03,
        0xe6 } },
    { { 0x29, 0x2e, 0xfa, 0x35, 0x23, 0xea, 0x36, 0x42, 0x96, 0xae, 0x3a, 0x6e, 0xba, 0xcb, 0xa4,
        0x40 } },
    { { 0xe3, 0x4b, 0xd1, 0x34, 0xe4, 0xde, 0xc8, 0x41, 0x9a, 0xe7, 0x6b, 0x17, 0x49, 0x77, 0xc1,
        0x92 } },
    { { 0x6d, 0xad, 0x12, 0xf9, 0x17, 0x2b, 0xea, 0x48, 0xbd, 0x65, 0xf9, 0x27, 0xa6, 0x1c, 0x76,
        0x84 } },
};

struct world {
    struct vmbus_server *bus;
    struct vmbus_channel *channels[IC_N_SERVICES];
    struct ic_services *services;
    uint64_t now_ns, alarm_ns;
    unsigned n_asked, n_done;
    bool is_paused;
    int source;
    struct fake_packet packet;
};

static uint64_t now_ns(void *opaque)
{
    return ((struct world *)opaque)->now_ns;
}

static void set_alarm(void *opaque, uint64_t deadline_ns)
{
    ((struct world *)opaque)->alarm_ns = deadline_ns;
}

static const struct ic_time_ops time_ops = { now_ns, set_alarm, now_ns, now_ns };

static void done(void *opaque, int r, const struct hv_error *error)
{
    struct world *w = opaque;

    w->n_done++;
    hv_assert(w->n_done <= w->n_asked && r <= 0);
}

static void told_ip(void *opaque, int r, const struct hv_error *error, const struct ic_kvp_ip *ip)
{
    hv_assert((r == 0) == (ip != NULL));
    if (ip)
        hv_assert(strlen(ip->addresses) <= 3072 && strlen(ip->gateways) <= 1536);
    done(opaque, r, error);
}

static struct vmbus_channel *take_channel(struct world *w, struct hv_cursor *in)
{
    return w->channels[hv_cursor_u8(in) % IC_N_SERVICES];
}

static void cmd_open(struct world *w, struct hv_cursor *in)
{
    struct vmbus_channel *channel = take_channel(w, in);

    if (!vmbus_channel_is_open(channel) && !w->is_paused)
        (void)fake_channel_open(channel);
}

static void cmd_close(struct world *w, struct hv_cursor *in)
{
    fake_channel_close(take_channel(w, in));
}

/* The packet that was taken goes back as an answer. */
static void send_back(struct world *w, struct vmbus_channel *channel)
{
    if (!vmbus_channel_is_open(channel))
        return;
    fake_channel_put(channel, w->packet.type, w->packet.transaction, w->packet.payload,
                     w->packet.bytes);
    fake_channel_signal(channel);
}

static void cmd_answer(struct world *w, struct hv_cursor *in)
{
    struct vmbus_channel *channel = take_channel(w, in);
    uint16_t choice[8] = { 1, 1, 0, 0, 3, 0 };
    uint32_t status = hv_cursor_u8(in);

    choice[6] = (uint16_t)(status >> 4);
    choice[7] = status & 15;
    if (!fake_channel_take(channel, &w->packet))
        return;
    w->packet.payload[25] = 5;
    if (w->packet.payload[12] == 0) {
        w->packet.payload[18] = 16;
        memcpy(w->packet.payload + 28, choice, sizeof(choice));
    } else if (status > 0) {
        status = status == 1 ? 0x80070103 : 0x80070000 | status;
        memcpy(w->packet.payload + 20, &status, sizeof(status));
    }
    send_back(w, channel);
}

static void cmd_mutate(struct world *w, struct hv_cursor *in)
{
    struct vmbus_channel *channel = take_channel(w, in);
    uint16_t at = hv_cursor_u16(in) % 8192;
    uint8_t n = hv_cursor_u8(in), shorter = hv_cursor_u8(in);

    n = n > hv_cursor_left(in) ? (uint8_t)hv_cursor_left(in) : n;
    if (!fake_channel_take(channel, &w->packet)) {
        hv_cursor_skip(in, n);
        return;
    }
    w->packet.payload[25] = 5;
    hv_cursor_bytes(in, w->packet.payload + at, n);
    w->packet.bytes -= shorter * 8U < w->packet.bytes ? shorter * 8U : 0;
    send_back(w, channel);
}

static void cmd_raw(struct world *w, struct hv_cursor *in)
{
    struct vmbus_channel *channel = take_channel(w, in);
    uint8_t type = hv_cursor_u8(in), transaction = hv_cursor_u8(in), n = hv_cursor_u8(in);
    uint8_t bytes[256] = { 0 };

    n = n > hv_cursor_left(in) ? (uint8_t)hv_cursor_left(in) : n;
    hv_cursor_bytes(in, bytes, n);
    if (!vmbus_channel_is_open(channel))
        return;
    fake_channel_put(channel, type, transaction, bytes, n);
    fake_channel_signal(channel);
}

/* Time passes; no timer may go on firing without it. */
static void cmd_pass(struct world *w, struct hv_cursor *in)
{
    uint64_t end = w->now_ns + hv_cursor_u16(in) * 2 * HV_NS_PER_MS;

    for (unsigned i = 0; w->alarm_ns <= end; i++) {
        uint64_t before = w->now_ns;

        w->now_ns = w->alarm_ns > w->now_ns ? w->alarm_ns : w->now_ns;
        ic_services_due(w->services);
        hv_assert(i < MAX_ALARMS || w->now_ns > before || w->alarm_ns > w->now_ns);
    }
    w->now_ns = end;
}

static int ask_copy(struct world *w)
{
    struct ic_filecopy_request copy = { .fd = fcntl(w->source, F_DUPFD_CLOEXEC, 0),
                                        .path = "/tmp/x",
                                        .may_overwrite = true,
                                        .done = done,
                                        .opaque = w };

    return ic_services_copy_file(w->services, &copy, NULL);
}

static int ask_shutdown(struct world *w, uint8_t which)
{
    struct ic_shutdown_request request = { .what = which % 3,
                                           .is_forced = which & 4,
                                           .reason = "because" };

    return ic_services_shut_down(w->services, &request, done, w, NULL);
}

/* Other answers than the one that is waited for go uncounted. */
static int ask_pairs(struct world *w, uint8_t which)
{
    static const struct ic_kvp_pair pairs[] = { { (char *)"key", (char *)"value" },
                                                { (char *)"other", (char *)"" } };
    unsigned n_asked = 0;

    (void)ic_services_want_pairs(w->services, pairs, which % 3, NULL, NULL, &n_asked, NULL);
    return -1;
}

static int ask(struct world *w, uint8_t what, uint8_t operand)
{
    switch (what % 8) {
    case 0: return ask_shutdown(w, operand);
    case 1: return ic_services_refresh(w->services, done, w, NULL);
    case 2:
    case 3: return ask_pairs(w, operand);
    case 4: return ic_services_ask_ip(w->services, "00:15:5D:01:02:03", told_ip, w, NULL);
    case 5: return ic_services_freeze(w->services, operand * 40U, done, w, NULL);
    case 6: return ic_services_thaw(w->services, done, w, NULL);
    default: return ask_copy(w);
    }
}

/* done may be called before the asking function returns. */
static void cmd_ask(struct world *w, struct hv_cursor *in)
{
    uint8_t what = hv_cursor_u8(in);

    w->n_asked++;
    if (ask(w, what, hv_cursor_u8(in)) < 0)
        w->n_asked--;
}

static void cmd_room(struct world *w, struct hv_cursor *in)
{
    fake_channel_set_room(take_channel(w, in), hv_cursor_u8(in));
}

static void cmd_pause(struct world *w, struct hv_cursor *in)
{
    if (w->is_paused)
        ic_services_ops.resume(w->services);
    else
        ic_services_ops.pause(w->services);
    w->is_paused = !w->is_paused;
}

static void close_all(struct world *w)
{
    for (int i = 0; i < IC_N_SERVICES; i++)
        fake_channel_close(w->channels[i]);
}

static void cmd_reset(struct world *w, struct hv_cursor *in)
{
    close_all(w);
    ic_services_ops.reset(w->services);
}

static void cmd_type(struct world *w, struct hv_cursor *in)
{
    (void)ic_services_type_text(w->services, "Login: 1!", NULL);
    ic_services_cancel_copy(w->services);
}

static void (*const commands[])(struct world *w, struct hv_cursor *in) = {
    cmd_open, cmd_close, cmd_answer, cmd_mutate, cmd_raw,  cmd_pass,
    cmd_ask,  cmd_room,  cmd_pause,  cmd_reset,  cmd_type,
};

static void check_facts(struct world *w)
{
    for (int pool = 0; pool < IC_KVP_N_READ_POOLS; pool++) {
        const struct ic_kvp_pair *pairs;
        unsigned n;

        ic_services_get_pairs(w->services, (enum ic_kvp_pool)pool, &pairs, &n);
        hv_assert(n <= IC_KVP_MAX_PAIRS);
        for (unsigned i = 0; i < n; i++)
            hv_assert(strlen(pairs[i].key) <= 768 && strlen(pairs[i].value) <= 3072);
    }
}

static void start(struct world *w)
{
    struct ic_services_config config = {
        .enabled = IC_SERVICES_ALL, .time = &time_ops, .time_opaque = w, .has_time_samples = true
    };

    w->bus = fake_bus_new();
    w->now_ns = HV_NS_PER_SEC;
    w->alarm_ns = UINT64_MAX;
    w->n_asked = w->n_done = 0;
    w->is_paused = false;
    config.server = w->bus;
    hv_assert(ic_services_new(&config, &w->services) == 0);
    for (int i = 0; i < IC_N_SERVICES; i++) {
        w->channels[i] = fake_bus_find(w->bus, &types[i]);
        hv_assert(w->channels[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct world w = { .source = -1 };
    struct hv_cursor in = hv_cursor(bytes, n);

    if (w.source < 0) {
        w.source = memfd_create("source", MFD_CLOEXEC);
        hv_assert(w.source >= 0 && ftruncate(w.source, SOURCE_BYTES) == 0);
    }
    start(&w);
    for (unsigned i = 0; i < MAX_COMMANDS && hv_cursor_left(&in) > 0; i++) {
        commands[hv_cursor_u8(&in) % HV_ARRAY_SIZE(commands)](&w, &in);
        check_facts(&w);
    }
    close_all(&w);
    hv_assert(w.n_done == w.n_asked);
    ic_services_revoke(w.services);
    ic_services_free(w.services);
    fake_bus_free(w.bus);
    return 0;
}
