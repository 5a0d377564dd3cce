/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/heartbeat.h"

#include "hvcore/base/cursor.h"
#include "vmwp/ic/wire_priv.h"

enum { BODY_BYTES = 40 }; /* u64 sequence, u32 state of applications, reserved */

struct ic_heartbeat {
    struct ic_heartbeat_config config;
    struct ic_channel *channel;
    struct ic_timer next;
    enum ic_contact contact;
    enum ic_applications applications;
    uint64_t sequence;
    uint64_t n_beats;
    unsigned n_missed;
    uint64_t asked_ns, answered_ns, answer_ns;
};

static const struct ic_kind kind = {
    .name = "heartbeat",
    .type = IC_GUID(0x57164f39, 0x9115, 0x4e78, 0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d),
    .instance = IC_GUID(0x8c1eb51d, 0x5305, 0x4b37, 0x91, 0x2c, 0x60, 0x21, 0x76, 0xd1, 0x3d, 0x01),
    .message = IC_MESSAGE_HEARTBEAT,
    .n_versions = 2,
    .versions = { { 3, 0 }, { 1, 0 } },
    .max_body_bytes = BODY_BYTES,
    .is_drained = true,
};

static void know(struct ic_heartbeat *hb, enum ic_contact contact, enum ic_applications state)
{
    bool is_new = hb->contact != contact || hb->applications != state;

    hb->contact = contact;
    hb->applications = state;
    if (is_new && hb->config.changed)
        hb->config.changed(hb->config.opaque);
}

/* The applications' state came with version 3; an answer that is too short says nothing of it. */
static enum ic_applications take_applications(const struct ic_heartbeat *hb,
                                              const struct ic_reply *reply)
{
    struct hv_cursor in = hv_cursor(reply->body, reply->bytes);
    uint32_t state;

    hv_cursor_skip(&in, 8);
    state = hv_cursor_u32(&in);
    if (!ic_channel_has_version(hb->channel, 3, 0) || state > IC_APPLICATIONS_STOPPED)
        return IC_APPLICATIONS_UNKNOWN;
    return (enum ic_applications)state;
}

static void answered(void *opaque, const struct ic_reply *reply)
{
    struct ic_heartbeat *hb = opaque;
    bool was_slow = hb->n_missed > IC_HEARTBEAT_LOST_AFTER;

    if (reply->outcome != IC_ANSWERED)
        return; /* counted when the next beat is due */
    hb->n_missed = 0;
    hb->n_beats++;
    hb->answered_ns = ic_clock_now(hb->config.clock);
    hb->answer_ns = hb->answered_ns - hb->asked_ns;
    if (was_slow)
        ic_timer_arm(&hb->next, IC_HEARTBEAT_PERIOD_MS * HV_NS_PER_MS);
    know(hb, IC_CONTACT_OK, take_applications(hb, reply));
}

static void ask(struct ic_heartbeat *hb, uint64_t timeout_ms)
{
    uint8_t body[BODY_BYTES] = { 0 };
    struct ic_writer out = ic_writer(body, sizeof(body));

    ic_put_u64(&out, ++hb->sequence);
    hb->asked_ns = ic_clock_now(hb->config.clock);
    if (ic_channel_request(hb->channel, body, sizeof(body), timeout_ms * HV_NS_PER_MS, answered,
                           hb) == 0)
        hb->n_missed++; /* until it is answered */
    ic_timer_arm(&hb->next, timeout_ms * HV_NS_PER_MS);
}

/* The deadline of the beat before falls into this moment: it has been given up, or is now. */
static void beat(void *opaque)
{
    struct ic_heartbeat *hb = opaque;

    if (ic_channel_is_busy(hb->channel)) {
        ic_timer_arm(&hb->next, HV_NS_PER_MS);
        return;
    }
    if (hb->n_missed < IC_HEARTBEAT_LOST_AFTER) {
        ask(hb, IC_HEARTBEAT_PERIOD_MS);
        return;
    }
    if (hb->contact == IC_CONTACT_OK)
        know(hb, IC_CONTACT_LOST, IC_APPLICATIONS_UNKNOWN);
    ask(hb, IC_HEARTBEAT_RENEW_MS);
}

static void state_changed(void *opaque, enum ic_state state)
{
    struct ic_heartbeat *hb = opaque;

    ic_timer_disarm(&hb->next);
    hb->n_missed = 0;
    switch (state) {
    case IC_READY: beat(hb); break;
    case IC_MISMATCH: know(hb, IC_CONTACT_MISMATCH, IC_APPLICATIONS_UNKNOWN); break;
    default:
        hb->n_beats = 0;
        know(hb, IC_CONTACT_NONE, IC_APPLICATIONS_UNKNOWN);
        break;
    }
}

int ic_heartbeat_new(const struct ic_heartbeat_config *config, struct ic_heartbeat **ret)
{
    struct ic_heartbeat *hb = calloc(1, sizeof(*hb));
    int r;

    if (!hb)
        return -ENOMEM;
    hb->config = *config;
    hb->contact = IC_CONTACT_NONE;
    ic_timer_init(&hb->next, config->clock, beat, hb);
    r = ic_channel_new(&(struct ic_channel_config){ .kind = &kind,
                                                    .clock = config->clock,
                                                    .server = config->server,
                                                    .log = config->log,
                                                    .state_changed = state_changed,
                                                    .opaque = hb },
                       &hb->channel);
    if (r < 0) {
        free(hb);
        return r;
    }
    *ret = hb;
    return 0;
}

struct ic_heartbeat *ic_heartbeat_free(struct ic_heartbeat *hb, bool is_server_gone)
{
    if (!hb)
        return NULL;
    ic_channel_free(hb->channel, is_server_gone);
    ic_timer_disarm(&hb->next);
    free(hb);
    return NULL;
}

void ic_heartbeat_reset(struct ic_heartbeat *hb)
{
    state_changed(hb, IC_CLOSED);
    hb->sequence = 0;
}

struct ic_channel *ic_heartbeat_channel(struct ic_heartbeat *hb)
{
    return hb->channel;
}

void ic_heartbeat_get(const struct ic_heartbeat *hb, struct ic_heartbeat_facts *ret)
{
    *ret = (struct ic_heartbeat_facts){
        .contact = hb->contact,
        .applications = hb->applications,
        .n_beats = hb->n_beats,
        .answer_ns = hb->n_beats > 0 ? hb->answer_ns : 0,
        .age_ns = hb->n_beats > 0 ? ic_clock_now(hb->config.clock) - hb->answered_ns : UINT64_MAX,
    };
}
