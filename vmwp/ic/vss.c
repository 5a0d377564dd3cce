/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/vss.h"

#include "vmwp/ic/wire_priv.h"

enum { OP_CHECK = 2, OP_FREEZE = 5, OP_THAW = 6 };

/* u8 operation, reserved, u32 flags. A freeze of Hyper-V's is longer; Linux reads no more. */
enum { BODY_BYTES = 12 };

struct callback {
    ic_done_fn *done;
    void *opaque;
};

struct ic_vss {
    struct ic_vss_config config;
    struct ic_channel *channel;
    enum ic_vss_state state;
    struct ic_timer end; /* of the time frozen, or until the thaw is asked for again */
    uint32_t frozen_ms;
    uint64_t retry_ms;
    bool owes_thaw;    /* a freeze went out that no thaw has answered */
    bool is_cancelled; /* a thaw was asked for while it froze */
    bool is_overdue;   /* thawed by time; nobody was told yet */
    struct callback check, freeze, thaw;
};

static const struct ic_kind kind = {
    .name = "backup",
    .type = IC_GUID(0x35fa2e29, 0xea23, 0x4236, 0x96, 0xae, 0x3a, 0x6e, 0xba, 0xcb, 0xa4, 0x40),
    .instance = IC_GUID(0x6f2cf68b, 0x1a4d, 0x4c0e, 0x9b, 0x57, 0x2f, 0x3e, 0xc1, 0x08, 0x8a, 0x65),
    .message = IC_MESSAGE_VSS,
    .n_versions = 1,
    .versions = { { 5, 0 } },
    .max_body_bytes = BODY_BYTES,
};

static const char what_check[] = "prepare the guest for a backup";
static const char what_freeze[] = "freeze the guest's file systems";
static const char what_thaw[] = "thaw the guest's file systems";

static void set_state(struct ic_vss *vss, enum ic_vss_state state)
{
    if (vss->state == state)
        return;
    vss->state = state;
    if (vss->config.changed)
        vss->config.changed(vss->config.opaque, state);
}

static void tell(struct callback *callback, int r, const struct hv_error *error)
{
    struct callback copy = *callback;

    *callback = (struct callback){ NULL, NULL };
    if (copy.done)
        copy.done(copy.opaque, r, error);
}

static int request(struct ic_vss *vss, uint8_t operation, uint64_t timeout_ms, ic_reply_fn *done)
{
    uint8_t body[BODY_BYTES] = { operation };

    return ic_channel_request(vss->channel, body, sizeof(body), timeout_ms * HV_NS_PER_MS, done,
                              vss);
}

static void answered_thaw(void *opaque, const struct ic_reply *reply);

/* Not possible now: again when the channel is there, or in a while. */
static void ask_for_thaw(struct ic_vss *vss)
{
    set_state(vss, IC_VSS_THAWING);
    if (ic_channel_is_busy(vss->channel) ||
        request(vss, OP_THAW, IC_VSS_THAW_MS, answered_thaw) < 0)
        ic_timer_arm(&vss->end, IC_VSS_RETRY_MS * HV_NS_PER_MS);
}

static void answered_thaw(void *opaque, const struct ic_reply *reply)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct ic_vss *vss = opaque;
    int r = ic_reply_judge(reply, what_thaw, &error);

    if (r < 0) {
        tell(&vss->thaw, r, error);
        if (reply->outcome == IC_E_CLOSED || vss->state != IC_VSS_THAWING)
            return; /* asked again when it is opened again */
        ic_timer_arm(&vss->end, vss->retry_ms * HV_NS_PER_MS);
        if (vss->retry_ms < IC_VSS_RETRY_MAX_MS / 2)
            vss->retry_ms *= 2;
        else
            vss->retry_ms = IC_VSS_RETRY_MAX_MS;
        return;
    }
    vss->owes_thaw = false;
    set_state(vss, IC_VSS_IDLE);
    if (vss->thaw.done && vss->is_overdue) {
        vss->is_overdue = false;
        r = hv_error_set(&error, -ETIME, "guest.vss.overdue",
                         "The guest's file systems were thawed when %u ms were over; what was "
                         "copied since is not consistent.",
                         vss->frozen_ms);
    }
    tell(&vss->thaw, r, error);
}

/* Either the time frozen is over, or it is time to ask again. */
static void end(void *opaque)
{
    struct ic_vss *vss = opaque;

    if (vss->state == IC_VSS_FROZEN) {
        vss->is_overdue = true;
        hv_log_printf(&vss->config.log, HV_LOG_DEBUG, NULL,
                      "Nobody thawed the guest's file systems in time; thawing them.");
    }
    ask_for_thaw(vss);
}

/* It did not come to be; who asked for a thaw meanwhile hears of the thaw, if one is needed. */
static void fail_freeze(struct ic_vss *vss, int r, const struct hv_error *error)
{
    vss->retry_ms = IC_VSS_RETRY_MS;
    if (vss->owes_thaw && ic_channel_state(vss->channel) == IC_READY) {
        ask_for_thaw(vss);
        tell(&vss->freeze, r, error);
        return;
    }
    set_state(vss, IC_VSS_IDLE);
    tell(&vss->freeze, r, error);
    tell(&vss->thaw, r, error);
}

static int judge_freezing(const struct ic_vss *vss, const struct ic_reply *reply, const char *what,
                          struct hv_error **reterr)
{
    int r = ic_reply_judge(reply, what, reterr);

    if (r == 0 && vss->is_cancelled)
        r = hv_error_set(reterr, -ECANCELED, "guest.vss.cancelled",
                         "The freeze was taken back before the guest had answered.");
    return r;
}

static void answered_freeze(void *opaque, const struct ic_reply *reply)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct ic_vss *vss = opaque;
    int r;

    if (vss->state != IC_VSS_FREEZING)
        return;
    r = judge_freezing(vss, reply, what_freeze, &error);
    if (r < 0) {
        fail_freeze(vss, r, error);
        return;
    }
    vss->retry_ms = IC_VSS_RETRY_MS;
    ic_timer_arm(&vss->end, vss->frozen_ms * HV_NS_PER_MS);
    set_state(vss, IC_VSS_FROZEN);
    tell(&vss->freeze, 0, NULL);
}

static void answered_check_before(void *opaque, const struct ic_reply *reply)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct ic_vss *vss = opaque;
    int r;

    if (vss->state != IC_VSS_FREEZING)
        return;
    r = judge_freezing(vss, reply, what_check, &error);
    if (r == 0)
        r = request(vss, OP_FREEZE, IC_VSS_FREEZE_MS, answered_freeze);
    if (r < 0) {
        fail_freeze(vss, r, error);
        return;
    }
    vss->owes_thaw = true;
}

static void answered_check(void *opaque, const struct ic_reply *reply)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct ic_vss *vss = opaque;
    int r = ic_reply_judge(reply, what_check, &error);

    tell(&vss->check, r, error);
}

static int need_idle(const struct ic_vss *vss, const char *what, struct hv_error **reterr)
{
    int r = ic_channel_need(vss->channel, what, reterr);

    if (r < 0)
        return r;
    if (vss->state != IC_VSS_IDLE || ic_channel_is_busy(vss->channel))
        return hv_error_set(reterr, -EBUSY, "guest.vss.busy",
                            "Cannot %s: another backup of it is under way.", what);
    return 0;
}

int ic_vss_check(struct ic_vss *vss, ic_done_fn *done, void *opaque, struct hv_error **reterr)
{
    int r = need_idle(vss, what_check, reterr);

    if (r == 0)
        r = request(vss, OP_CHECK, IC_VSS_CHECK_MS, answered_check);
    if (r == 0)
        vss->check = (struct callback){ done, opaque };
    return r;
}

int ic_vss_freeze(struct ic_vss *vss, uint32_t frozen_ms, ic_done_fn *done, void *opaque,
                  struct hv_error **reterr)
{
    int r = need_idle(vss, what_freeze, reterr);

    if (r < 0)
        return r;
    if (frozen_ms == 0 || frozen_ms > IC_VSS_FROZEN_MS)
        return hv_error_set_field(reterr, -EINVAL, "guest.vss.time", "frozen_ms",
                                  "File systems can be frozen for 1 to %d ms.", IC_VSS_FROZEN_MS);
    r = request(vss, OP_CHECK, IC_VSS_CHECK_MS, answered_check_before);
    if (r < 0)
        return r;
    vss->frozen_ms = frozen_ms;
    vss->is_cancelled = false;
    vss->is_overdue = false;
    vss->freeze = (struct callback){ done, opaque };
    set_state(vss, IC_VSS_FREEZING);
    return 0;
}

int ic_vss_thaw(struct ic_vss *vss, ic_done_fn *done, void *opaque, struct hv_error **reterr)
{
    if (vss->thaw.done)
        return hv_error_set(reterr, -EBUSY, "guest.vss.busy", "Another waits for the thaw.");
    if (vss->state == IC_VSS_IDLE && vss->is_overdue) {
        HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

        vss->is_overdue = false;
        hv_error_set(&error, -ETIME, "guest.vss.overdue",
                     "The guest's file systems had been thawed when %u ms were over.",
                     vss->frozen_ms);
        done(opaque, -ETIME, error);
        return 0;
    }
    if (vss->state == IC_VSS_IDLE)
        return hv_error_set(reterr, -EALREADY, "guest.vss.idle",
                            "The guest's file systems are not frozen.");
    vss->thaw = (struct callback){ done, opaque };
    vss->is_cancelled = true;
    if (vss->state == IC_VSS_FROZEN) {
        ic_timer_disarm(&vss->end);
        ask_for_thaw(vss);
    }
    return 0;
}

static void forget(struct ic_vss *vss, int r)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

    ic_timer_disarm(&vss->end);
    vss->is_overdue = false;
    set_state(vss, IC_VSS_IDLE);
    hv_error_set(&error, r, "guest.service.closed",
                 "The guest closed its backup service before it answered.");
    tell(&vss->check, r, error);
    tell(&vss->freeze, r, error);
    tell(&vss->thaw, r, error);
}

/* A driver that comes back while a thaw is owed gets it first of all. */
static void state_changed(void *opaque, enum ic_state state)
{
    struct ic_vss *vss = opaque;

    if (state == IC_CLOSED)
        forget(vss, -ECONNRESET);
    if (state == IC_READY && vss->owes_thaw) {
        vss->retry_ms = IC_VSS_RETRY_MS;
        ask_for_thaw(vss);
    }
}

int ic_vss_new(const struct ic_vss_config *config, struct ic_vss **ret)
{
    struct ic_vss *vss = calloc(1, sizeof(*vss));
    int r;

    if (!vss)
        return -ENOMEM;
    vss->config = *config;
    ic_timer_init(&vss->end, config->clock, end, vss);
    r = ic_channel_new(&(struct ic_channel_config){ .kind = &kind,
                                                    .clock = config->clock,
                                                    .server = config->server,
                                                    .log = config->log,
                                                    .state_changed = state_changed,
                                                    .opaque = vss },
                       &vss->channel);
    if (r < 0) {
        free(vss);
        return r;
    }
    *ret = vss;
    return 0;
}

struct ic_vss *ic_vss_free(struct ic_vss *vss, bool is_server_gone)
{
    if (!vss)
        return NULL;
    ic_channel_free(vss->channel, is_server_gone);
    ic_timer_disarm(&vss->end);
    free(vss);
    return NULL;
}

void ic_vss_reset(struct ic_vss *vss)
{
    forget(vss, -ECONNRESET);
    vss->owes_thaw = false;
}

struct ic_channel *ic_vss_channel(struct ic_vss *vss)
{
    return vss->channel;
}

enum ic_vss_state ic_vss_state(const struct ic_vss *vss)
{
    return vss->state;
}
