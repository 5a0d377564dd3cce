/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/shutdown.h"

#include "vmwp/ic/text.h"
#include "vmwp/ic/wire_priv.h"

enum {
    TEXT_BYTES = (IC_SHUTDOWN_TEXT_UNITS + 1) * 2,
    BODY_BYTES = 12 + TEXT_BYTES, /* a shorter one is not answered */
    FLAG_FORCE = 1
};

#define REASON_PLANNED UINT32_C(0x80000000)

struct ic_shutdown {
    struct ic_channel *channel;
    struct ic_timer under_way; /* armed: the guest has accepted */
    const char *what;
    ic_done_fn *done;
    void *done_opaque;
};

static const struct ic_kind kind = {
    .name = "shutdown",
    .type = IC_GUID(0x0e0b6031, 0x5213, 0x4934, 0x81, 0x8b, 0x38, 0xd9, 0x0c, 0xed, 0x39, 0xdb),
    .instance = IC_GUID(0xb6650ff7, 0x33bc, 0x4840, 0x80, 0x48, 0xe0, 0x67, 0x67, 0x86, 0xf3, 0x93),
    .message = IC_MESSAGE_SHUTDOWN,
    .n_versions = 4,
    .versions = { { 3, 2 }, { 3, 1 }, { 3, 0 }, { 1, 0 } },
    .max_body_bytes = BODY_BYTES,
};

static const struct {
    const char *what;
    uint32_t flags;
    uint16_t major, minor; /* since */
} powers[] = {
    [IC_POWER_OFF] = { "shut the guest down", 0, 1, 0 },
    [IC_POWER_RESTART] = { "restart the guest", 2, 3, 1 },
    [IC_POWER_HIBERNATE] = { "hibernate the guest", 4, 3, 2 },
};

static int judge(const struct ic_reply *reply, const char *what, struct hv_error **reterr)
{
    if (reply->outcome == IC_ANSWERED && reply->status == (uint32_t)IC_STATUS_LOCKED)
        return hv_error_set(reterr, -EPERM, "guest.shutdown.locked",
                            "Cannot %s: it is locked or in use; ask with force.", what);
    if (reply->outcome == IC_ANSWERED && reply->status == (uint32_t)IC_STATUS_SHUTTING_DOWN)
        return hv_error_set(reterr, -EBUSY, "guest.shutdown.under_way",
                            "Cannot %s: it is shutting down already.", what);
    return ic_reply_judge(reply, what, reterr);
}

static void answered(void *opaque, const struct ic_reply *reply)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct ic_shutdown *sd = opaque;
    ic_done_fn *done = sd->done;
    int r = judge(reply, sd->what, &error);

    sd->done = NULL;
    if (r == 0)
        ic_timer_arm(&sd->under_way, IC_SHUTDOWN_UNDER_WAY_MS * HV_NS_PER_MS);
    if (done)
        done(sd->done_opaque, r, error);
}

/* The guest that had accepted long ago has not gone: it may be asked again. */
static void forget(void *opaque)
{
}

static int may_ask(const struct ic_shutdown *sd, const struct ic_shutdown_request *request,
                   struct hv_error **reterr)
{
    const char *what = powers[request->what].what;
    int r = ic_channel_need(sd->channel, what, reterr);

    if (r < 0)
        return r;
    if (!ic_channel_has_version(sd->channel, powers[request->what].major,
                                powers[request->what].minor))
        return hv_error_set(reterr, -EOPNOTSUPP, "guest.shutdown.version",
                            "Cannot %s: its shutdown service is of version %u.%u, and %u.%u is "
                            "needed.",
                            what, ic_channel_version(sd->channel).major,
                            ic_channel_version(sd->channel).minor, powers[request->what].major,
                            powers[request->what].minor);
    if (ic_channel_is_busy(sd->channel) ||
        (ic_timer_is_armed(&sd->under_way) && !request->is_forced))
        return hv_error_set(reterr, -EBUSY, "guest.shutdown.under_way",
                            "Cannot %s: it has been asked to shut down or restart already.", what);
    return 0;
}

static int put_request(const struct ic_shutdown_request *request, uint8_t body[static BODY_BYTES],
                       struct hv_error **reterr)
{
    struct ic_writer out = ic_writer(body, BODY_BYTES);

    ic_put_u32(&out, REASON_PLANNED);
    ic_put_u32(&out, request->timeout_s);
    ic_put_u32(&out, powers[request->what].flags | (request->is_forced ? FLAG_FORCE : 0));
    if (ic_text_put(request->reason ? request->reason : "", out.at, TEXT_BYTES) < 0)
        return hv_error_set_field(reterr, -EINVAL, "guest.shutdown.reason", "reason",
                                  "The reason must be UTF-8 text of at most %d UTF-16 units.",
                                  IC_SHUTDOWN_TEXT_UNITS);
    return 0;
}

int ic_shutdown_ask(struct ic_shutdown *sd, const struct ic_shutdown_request *request,
                    ic_done_fn *done, void *opaque, struct hv_error **reterr)
{
    uint8_t body[BODY_BYTES];
    int r = may_ask(sd, request, reterr);

    if (r == 0)
        r = put_request(request, body, reterr);
    if (r < 0)
        return r;
    r = ic_channel_request(sd->channel, body, sizeof(body), IC_SHUTDOWN_ANSWER_MS * HV_NS_PER_MS,
                           answered, sd);
    if (r < 0)
        return r;
    sd->what = powers[request->what].what;
    sd->done = done;
    sd->done_opaque = opaque;
    return 0;
}

static void state_changed(void *opaque, enum ic_state state)
{
    struct ic_shutdown *sd = opaque;

    if (state != IC_READY)
        ic_timer_disarm(&sd->under_way);
}

int ic_shutdown_new(const struct ic_shutdown_config *config, struct ic_shutdown **ret)
{
    struct ic_shutdown *sd = calloc(1, sizeof(*sd));
    int r;

    if (!sd)
        return -ENOMEM;
    ic_timer_init(&sd->under_way, config->clock, forget, sd);
    r = ic_channel_new(&(struct ic_channel_config){ .kind = &kind,
                                                    .clock = config->clock,
                                                    .server = config->server,
                                                    .log = config->log,
                                                    .state_changed = state_changed,
                                                    .opaque = sd },
                       &sd->channel);
    if (r < 0) {
        free(sd);
        return r;
    }
    *ret = sd;
    return 0;
}

struct ic_shutdown *ic_shutdown_free(struct ic_shutdown *sd, bool is_server_gone)
{
    if (!sd)
        return NULL;
    ic_channel_free(sd->channel, is_server_gone);
    ic_timer_disarm(&sd->under_way);
    free(sd);
    return NULL;
}

void ic_shutdown_reset(struct ic_shutdown *sd)
{
    ic_timer_disarm(&sd->under_way);
}

struct ic_channel *ic_shutdown_channel(struct ic_shutdown *sd)
{
    return sd->channel;
}
