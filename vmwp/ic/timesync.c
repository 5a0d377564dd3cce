/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/timesync.h"

#include "vmwp/ic/wire_priv.h"

enum {
    REFERENCE_BYTES = 22, /* struct ictimesync_ref_data, since version 4 */
    PLAIN_BYTES = 25,     /* struct ictimesync_data */
    FLAG_SYNC = 1,
    FLAG_SAMPLE = 2,
    ANSWER_MS = 2000,
    SOON_MS = 100
};

/* 1601 to 1970 in 100 ns */
#define TICKS_TO_1970 UINT64_C(116444736000000000)

struct ic_timesync {
    struct ic_timesync_config config;
    struct ic_channel *channel;
    struct ic_timer next;
    /* The clock must be set while they differ; the message under way answers to n_sent. */
    unsigned n_wanted, n_sent, n_done;
};

static const struct ic_kind kind = {
    .name = "timesync",
    .type = IC_GUID(0x9527e630, 0xd0ae, 0x497b, 0xad, 0xce, 0xe8, 0x0a, 0xb0, 0x17, 0x5c, 0xaf),
    .instance = IC_GUID(0x2dd1ce17, 0x079e, 0x403c, 0xb3, 0x52, 0xa1, 0x92, 0x1e, 0xe2, 0x07, 0xee),
    .message = IC_MESSAGE_TIMESYNC,
    .n_versions = 3,
    .versions = { { 4, 0 }, { 3, 0 }, { 1, 0 } },
    .max_body_bytes = PLAIN_BYTES,
    .is_drained = true,
};

static bool must_sync(const struct ic_timesync *ts)
{
    return ts->n_done != ts->n_wanted;
}

static uint32_t put_message(struct ic_timesync *ts, uint8_t body[static PLAIN_BYTES])
{
    struct ic_clock *clock = ts->config.clock;
    struct ic_writer out = ic_writer(body, PLAIN_BYTES);
    uint64_t reference = ic_clock_reference(clock);
    uint8_t flags = must_sync(ts) ? FLAG_SYNC : FLAG_SAMPLE;

    ic_put_u64(&out, ic_clock_realtime(clock) / 100 + TICKS_TO_1970);
    if (ic_channel_has_version(ts->channel, 4, 0)) {
        ic_put_u64(&out, reference);
        ic_put_u8(&out, flags);
        ic_put_zeroes(&out, 5); /* leap second: none coming; stratum: unspecified */
        return REFERENCE_BYTES;
    }
    ic_put_zeroes(&out, 16); /* the child's time and the round trip: not known here */
    ic_put_u8(&out, flags);
    return PLAIN_BYTES;
}

/* What sets the clock is repeated until the guest has answered it; one that was sent before a
 * pause doesn't count after it. */
static void answered_sync(void *opaque, const struct ic_reply *reply)
{
    struct ic_timesync *ts = opaque;

    if (reply->outcome == IC_ANSWERED)
        ts->n_done = ts->n_sent;
}

static void answered_sample(void *opaque, const struct ic_reply *reply)
{
}

static void send(void *opaque)
{
    struct ic_timesync *ts = opaque;
    uint8_t body[PLAIN_BYTES];
    uint32_t bytes;

    if (!must_sync(ts) && !ts->config.has_samples)
        return;
    if (ic_channel_is_busy(ts->channel)) {
        ic_timer_arm(&ts->next, SOON_MS * HV_NS_PER_MS);
        return;
    }
    ic_timer_arm(&ts->next, IC_TIMESYNC_PERIOD_MS * HV_NS_PER_MS);
    ts->n_sent = ts->n_wanted;
    bytes = put_message(ts, body);
    (void)ic_channel_request(ts->channel, body, bytes, ANSWER_MS * HV_NS_PER_MS,
                             must_sync(ts) ? answered_sync : answered_sample, ts);
}

void ic_timesync_now(struct ic_timesync *ts)
{
    ts->n_wanted++;
    if (ic_channel_state(ts->channel) == IC_READY)
        ic_timer_arm(&ts->next, 0);
}

static void state_changed(void *opaque, enum ic_state state)
{
    struct ic_timesync *ts = opaque;

    ic_timer_disarm(&ts->next);
    ts->n_wanted++;
    if (state == IC_READY)
        send(ts);
}

int ic_timesync_new(const struct ic_timesync_config *config, struct ic_timesync **ret)
{
    struct ic_timesync *ts = calloc(1, sizeof(*ts));
    int r;

    if (!ts)
        return -ENOMEM;
    ts->config = *config;
    ic_timer_init(&ts->next, config->clock, send, ts);
    r = ic_channel_new(&(struct ic_channel_config){ .kind = &kind,
                                                    .clock = config->clock,
                                                    .server = config->server,
                                                    .log = config->log,
                                                    .state_changed = state_changed,
                                                    .opaque = ts },
                       &ts->channel);
    if (r < 0) {
        free(ts);
        return r;
    }
    *ret = ts;
    return 0;
}

struct ic_timesync *ic_timesync_free(struct ic_timesync *ts, bool is_server_gone)
{
    if (!ts)
        return NULL;
    ic_channel_free(ts->channel, is_server_gone);
    ic_timer_disarm(&ts->next);
    free(ts);
    return NULL;
}

struct ic_channel *ic_timesync_channel(struct ic_timesync *ts)
{
    return ts->channel;
}
