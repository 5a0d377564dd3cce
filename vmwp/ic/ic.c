/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/ic.h"

#include "hvcore/base/cursor.h"
#include "vmwp/ic/wire_priv.h"

enum {
    PACKETS_PER_TURN = 64, /* then other work of the thread's comes first */
    LOGGED_PER_OPENING = 8
};

static const struct ic_version frameworks[] = { { 3, 0 }, { 1, 0 } };

/* What a saved VM tells of a component's channel. */
struct saved {
    uint8_t state; /* enum ic_state */
    struct ic_version framework, version;
    uint64_t last_transaction;
    bool is_asked; /* a request had been sent, and not been answered */
    bool is_held;  /* one that was given up had not been answered */
    uint64_t given_up;
};

struct ic_channel {
    struct ic_channel_config config;
    struct vmbus_channel *channel;
    struct vmbus_packet *packet;
    enum ic_state state;
    struct ic_version framework, version;
    struct ic_timer deadline;
    struct ic_timer next_turn;
    struct ic_timer hold;
    uint64_t given_up;         /* transaction that lies unanswered with the guest; 0: none */
    uint64_t last_transaction; /* its low byte is the message's own id; never 0 */
    unsigned n_logged;
    /* the request that waits, while `done` is set */
    ic_reply_fn *done;
    void *done_opaque;
    enum ic_message message;
    bool is_unsent;
    size_t out_bytes;
    uint8_t *out;
    struct saved saved; /* until the channel is open again */
};

static const struct ic_kind *kind_of(const struct ic_channel *ic)
{
    return ic->config.kind;
}

const char *ic_channel_name(const struct ic_channel *ic)
{
    return kind_of(ic)->name;
}

enum ic_state ic_channel_state(const struct ic_channel *ic)
{
    return ic->state;
}

struct ic_version ic_channel_version(const struct ic_channel *ic)
{
    return ic->version;
}

bool ic_channel_has_version(const struct ic_channel *ic, uint16_t major, uint16_t minor)
{
    return ic->version.major > major || (ic->version.major == major && ic->version.minor >= minor);
}

bool ic_channel_is_busy(const struct ic_channel *ic)
{
    return ic->done != NULL;
}

static void note_nonsense(struct ic_channel *ic, const char *what)
{
    if (ic->n_logged++ < LOGGED_PER_OPENING)
        hv_log_printf(&ic->config.log, HV_LOG_DEBUG, NULL, "The guest's %s component sent %s.",
                      kind_of(ic)->name, what);
}

static void set_state(struct ic_channel *ic, enum ic_state state)
{
    if (ic->state == state)
        return;
    ic->state = state;
    if (state != IC_READY)
        ic->version = (struct ic_version){ 0, 0 };
    if (ic->config.state_changed)
        ic->config.state_changed(ic->config.opaque, state);
}

/* The request has come to its end; whoever made it may make the next at once. */
static void conclude(struct ic_channel *ic, const struct ic_reply *reply)
{
    ic_reply_fn *done = ic->done;

    ic_timer_disarm(&ic->deadline);
    ic->done = NULL;
    ic->is_unsent = false;
    if (done)
        done(ic->done_opaque, reply);
}

/* What VMBUS_E_CLOSED and VMBUS_E_BROKEN mean is told by closed(). */
static void try_to_send(struct ic_channel *ic)
{
    int r = VMBUS_E_FULL;

    if (ic->given_up == 0 && !ic_clock_stands(ic->config.clock))
        r = vmbus_channel_send(ic->channel, VMBUS_PACKET_INBAND, ic->last_transaction, false,
                               ic->out, ic->out_bytes);
    ic->is_unsent = r == VMBUS_E_FULL;
}

static void give_up(void *opaque)
{
    struct ic_channel *ic = opaque;

    if (!ic->is_unsent && !kind_of(ic)->is_drained) {
        ic->given_up = ic->last_transaction;
        ic_timer_arm(&ic->hold, IC_HOLD_MS * HV_NS_PER_MS);
    }
    conclude(ic, &(struct ic_reply){ .outcome = IC_E_TIMEOUT });
}

/* It was answered late, or never will be. */
static void stop_holding(void *opaque)
{
    struct ic_channel *ic = opaque;

    ic_timer_disarm(&ic->hold);
    ic->given_up = 0;
    if (ic->is_unsent)
        try_to_send(ic);
}

static void put_header(struct ic_channel *ic, struct ic_writer *out, uint32_t body_bytes)
{
    ic_put_u32(out, IC_WIRE_PIPE_DATA);
    ic_put_u32(out, IC_WIRE_HEADER_BYTES + body_bytes);
    ic_put_u16(out, ic->framework.major);
    ic_put_u16(out, ic->framework.minor);
    ic_put_u16(out, (uint16_t)ic->message);
    ic_put_u16(out, ic->version.major);
    ic_put_u16(out, ic->version.minor);
    ic_put_u16(out, (uint16_t)body_bytes);
    ic_put_u32(out, IC_STATUS_OK);
    ic_put_u8(out, (uint8_t)ic->last_transaction);
    ic_put_u8(out, IC_WIRE_FLAG_TRANSACTION | IC_WIRE_FLAG_REQUEST);
    ic_put_u16(out, 0);
}

static void start(struct ic_channel *ic, enum ic_message message, const void *body, uint32_t bytes,
                  uint64_t timeout_ns, ic_reply_fn *done, void *opaque)
{
    struct ic_writer out;

    do {
        ic->last_transaction++;
    } while ((uint8_t)ic->last_transaction == 0);
    ic->message = message;
    ic->out_bytes = IC_WIRE_PIPE_BYTES + IC_WIRE_HEADER_BYTES + bytes;
    out = ic_writer(ic->out, ic->out_bytes);
    put_header(ic, &out, bytes);
    ic_put(&out, body, bytes);
    hv_assert(!out.is_full);
    ic->done = done;
    ic->done_opaque = opaque;
    if (timeout_ns != UINT64_MAX)
        ic_timer_arm(&ic->deadline, timeout_ns);
    try_to_send(ic);
}

int ic_channel_request(struct ic_channel *ic, const void *body, uint32_t bytes, uint64_t timeout_ns,
                       ic_reply_fn *done, void *opaque)
{
    if (ic->state != IC_READY)
        return -ENOTCONN;
    if (ic->done)
        return -EBUSY;
    if (bytes > kind_of(ic)->max_body_bytes)
        return -EMSGSIZE;
    start(ic, kind_of(ic)->message, body, bytes, timeout_ns, done, opaque);
    return 0;
}

static bool is_one_of(const struct ic_version *versions, size_t n, struct ic_version version)
{
    for (size_t i = 0; i < n; i++) {
        if (versions[i].major == version.major && versions[i].minor == version.minor)
            return true;
    }
    return false;
}

static struct ic_version take_version(struct hv_cursor *in)
{
    struct ic_version version;

    version.major = hv_cursor_u16(in);
    version.minor = hv_cursor_u16(in);
    return version;
}

/* The guest's choice counts only when it is one of ours. */
static void negotiated(void *opaque, const struct ic_reply *reply)
{
    struct ic_channel *ic = opaque;
    struct hv_cursor in = hv_cursor(reply->body, reply->bytes);
    struct ic_version framework, version;
    uint16_t n_frameworks, n_versions;

    if (reply->outcome == IC_E_CLOSED)
        return;
    n_frameworks = hv_cursor_u16(&in);
    n_versions = hv_cursor_u16(&in);
    hv_cursor_skip(&in, 4);
    framework = take_version(&in);
    version = take_version(&in);
    if (reply->outcome != IC_ANSWERED || !hv_cursor_ok(&in) || n_frameworks != 1 ||
        n_versions != 1 || !is_one_of(frameworks, HV_ARRAY_SIZE(frameworks), framework) ||
        !is_one_of(kind_of(ic)->versions, kind_of(ic)->n_versions, version)) {
        note_nonsense(ic, "a choice of versions that were not offered");
        set_state(ic, IC_MISMATCH);
        return;
    }
    ic->framework = framework;
    ic->version = version;
    set_state(ic, IC_READY);
}

static void negotiate(struct ic_channel *ic)
{
    uint8_t body[IC_WIRE_NEGOTIATE_BYTES + (HV_ARRAY_SIZE(frameworks) + IC_MAX_VERSIONS) * 4];
    struct ic_writer out = ic_writer(body, sizeof(body));

    ic_put_u16(&out, HV_ARRAY_SIZE(frameworks));
    ic_put_u16(&out, (uint16_t)kind_of(ic)->n_versions);
    ic_put_u32(&out, 0);
    for (size_t i = 0; i < HV_ARRAY_SIZE(frameworks); i++) {
        ic_put_u16(&out, frameworks[i].major);
        ic_put_u16(&out, frameworks[i].minor);
    }
    for (unsigned i = 0; i < kind_of(ic)->n_versions; i++) {
        ic_put_u16(&out, kind_of(ic)->versions[i].major);
        ic_put_u16(&out, kind_of(ic)->versions[i].minor);
    }
    start(ic, IC_MESSAGE_NEGOTIATE, body, (uint32_t)(sizeof(body) - out.left), UINT64_MAX,
          negotiated, ic);
}

/* A message of the guest's, taken apart. */
struct message {
    uint16_t type;
    uint16_t body_bytes;
    uint32_t status;
    uint8_t transaction;
    uint8_t flags;
    const uint8_t *body;
    uint32_t bytes;
};

static bool take_message(const struct vmbus_packet *packet, struct message *ret)
{
    struct hv_cursor in = hv_cursor(packet->payload, packet->bytes);
    uint32_t size;

    hv_cursor_skip(&in, 4);
    size = hv_cursor_u32(&in);
    if (packet->type != VMBUS_PACKET_INBAND || size < IC_WIRE_HEADER_BYTES ||
        size > hv_cursor_left(&in))
        return false;
    hv_cursor_skip(&in, 4);
    ret->type = hv_cursor_u16(&in);
    hv_cursor_skip(&in, 4);
    ret->body_bytes = hv_cursor_u16(&in);
    ret->status = hv_cursor_u32(&in);
    ret->transaction = hv_cursor_u8(&in);
    ret->flags = hv_cursor_u8(&in);
    hv_cursor_skip(&in, 2);
    ret->body = packet->payload + IC_WIRE_PIPE_BYTES + IC_WIRE_HEADER_BYTES;
    ret->bytes = size - IC_WIRE_HEADER_BYTES;
    return hv_cursor_ok(&in) && ret->body_bytes <= ret->bytes;
}

static void handle_packet(struct ic_channel *ic)
{
    const struct vmbus_packet *packet = ic->packet;
    struct message m;
    struct ic_reply reply = { .outcome = IC_ANSWERED };

    if (ic->given_up != 0 && packet->transaction == ic->given_up) {
        stop_holding(ic);
        return;
    }
    if (!ic->done || ic->is_unsent || packet->transaction != ic->last_transaction) {
        note_nonsense(ic, "an answer that nothing waits for");
        return;
    }
    if (!take_message(packet, &m) || m.transaction != (uint8_t)ic->last_transaction ||
        m.type != ic->message || !(m.flags & IC_WIRE_FLAG_RESPONSE)) {
        note_nonsense(ic, "an answer that is malformed");
        reply.outcome = IC_E_MALFORMED;
    } else {
        reply.status = m.status;
        reply.body = m.body;
        reply.bytes = m.bytes;
    }
    conclude(ic, &reply);
}

/* While the VM is paused nothing of it is touched: ic_channel_go makes up for it. */
static void take_turn(struct ic_channel *ic)
{
    if (ic->state == IC_CLOSED || ic_clock_stands(ic->config.clock))
        return;
    if (ic->is_unsent)
        try_to_send(ic);
    for (unsigned i = 0; i < PACKETS_PER_TURN; i++) {
        if (vmbus_channel_receive(ic->channel, ic->packet) != 0)
            return;
        handle_packet(ic);
    }
    ic_timer_arm(&ic->next_turn, 0);
}

static void next_turn(void *opaque)
{
    take_turn(opaque);
}

void ic_channel_go(struct ic_channel *ic)
{
    take_turn(ic);
}

static int opened(void *opaque, struct vmbus_channel *channel, const uint8_t *user)
{
    struct ic_channel *ic = opaque;

    ic->n_logged = 0;
    ic->given_up = 0;
    ic->framework = (struct ic_version){ 0, 0 };
    set_state(ic, IC_NEGOTIATING);
    negotiate(ic);
    return 0;
}

/* The guest goes on with the negotiation, whose answer may lie in the ring already. */
static void negotiate_on(struct ic_channel *ic)
{
    set_state(ic, IC_NEGOTIATING);
    if (!ic->saved.is_asked) {
        negotiate(ic);
        return;
    }
    ic->message = IC_MESSAGE_NEGOTIATE;
    ic->done = negotiated;
    ic->done_opaque = ic;
}

/* A request that was under way is given up: who made it is not here. */
static void ready_again(struct ic_channel *ic)
{
    const struct saved *saved = &ic->saved;

    ic->version = saved->version;
    if (saved->is_held)
        ic->given_up = saved->given_up;
    else if (saved->is_asked && !kind_of(ic)->is_drained)
        ic->given_up = saved->last_transaction;
    if (ic->given_up != 0)
        ic_timer_arm(&ic->hold, IC_HOLD_MS * HV_NS_PER_MS);
    set_state(ic, IC_READY);
}

static int restored(void *opaque, struct vmbus_channel *channel)
{
    struct ic_channel *ic = opaque;

    ic->n_logged = 0;
    ic->last_transaction = ic->saved.last_transaction;
    ic->framework = ic->saved.framework;
    switch (ic->saved.state) {
    case IC_NEGOTIATING: negotiate_on(ic); return 0;
    case IC_READY: ready_again(ic); return 0;
    case IC_MISMATCH: set_state(ic, IC_MISMATCH); return 0;
    default: return -EINVAL;
    }
}

static void visit_version(struct hv_fields *fields, struct ic_version *version)
{
    hv_field_u16(fields, &version->major);
    hv_field_u16(fields, &version->minor);
}

static bool is_possible(const struct ic_channel *ic, const struct saved *saved)
{
    if (saved->state != IC_READY)
        return saved->state <= IC_MISMATCH;
    return is_one_of(frameworks, HV_ARRAY_SIZE(frameworks), saved->framework) &&
           is_one_of(kind_of(ic)->versions, kind_of(ic)->n_versions, saved->version);
}

void ic_channel_visit(struct ic_channel *ic, struct hv_fields *fields)
{
    struct saved saved = { .state = (uint8_t)ic->state,
                           .framework = ic->framework,
                           .version = ic->version,
                           .last_transaction = ic->last_transaction,
                           .is_asked = ic->done && !ic->is_unsent,
                           .is_held = ic->given_up != 0,
                           .given_up = ic->given_up };

    hv_field_u8(fields, &saved.state);
    visit_version(fields, &saved.framework);
    visit_version(fields, &saved.version);
    hv_field_u64(fields, &saved.last_transaction);
    hv_field_bool(fields, &saved.is_asked);
    hv_field_bool(fields, &saved.is_held);
    hv_field_u64(fields, &saved.given_up);
    if (!is_possible(ic, &saved))
        hv_fields_refuse(fields);
    if (fields->is_reading)
        ic->saved = saved;
}

static void signalled(void *opaque, struct vmbus_channel *channel)
{
    take_turn(opaque);
}

static void closed(void *opaque, struct vmbus_channel *channel)
{
    struct ic_channel *ic = opaque;

    ic_timer_disarm(&ic->next_turn);
    ic_timer_disarm(&ic->hold);
    ic->state = IC_CLOSED; /* before anyone hears of it, so that nobody asks again */
    ic->version = (struct ic_version){ 0, 0 };
    conclude(ic, &(struct ic_reply){ .outcome = IC_E_CLOSED });
    if (ic->config.state_changed)
        ic->config.state_changed(ic->config.opaque, IC_CLOSED);
}

static const struct vmbus_channel_ops channel_ops = {
    .opened = opened,
    .restored = restored,
    .signalled = signalled,
    .closed = closed,
};

static int offer(struct ic_channel *ic)
{
    struct vmbus_offer offer = {
        .type = kind_of(ic)->type,
        .instance = kind_of(ic)->instance,
        .flags = VMBUS_OFFER_ENUMERATE_DEVICE | VMBUS_OFFER_NAMED_PIPE,
        .is_pipe = true,
        .ops = &channel_ops,
        .opaque = ic,
    };

    return vmbus_offer_channel(ic->config.server, &offer, &ic->channel);
}

static size_t out_room(const struct ic_kind *kind)
{
    size_t negotiate = IC_WIRE_NEGOTIATE_BYTES + 4 * (HV_ARRAY_SIZE(frameworks) + IC_MAX_VERSIONS);
    size_t body = kind->max_body_bytes > negotiate ? kind->max_body_bytes : negotiate;

    return IC_WIRE_PIPE_BYTES + IC_WIRE_HEADER_BYTES + body;
}

int ic_channel_new(const struct ic_channel_config *config, struct ic_channel **ret)
{
    struct ic_channel *ic = calloc(1, sizeof(*ic));
    int r = -ENOMEM;

    hv_assert(config->kind->n_versions <= IC_MAX_VERSIONS);
    hv_assert(config->kind->max_body_bytes <= IC_MAX_BODY_BYTES);
    if (!ic)
        return -ENOMEM;
    ic->config = *config;
    ic_timer_init(&ic->deadline, config->clock, give_up, ic);
    ic_timer_init(&ic->next_turn, config->clock, next_turn, ic);
    ic_timer_init(&ic->hold, config->clock, stop_holding, ic);
    ic->out = calloc(1, out_room(config->kind));
    ic->packet = vmbus_packet_new();
    if (ic->out && ic->packet)
        r = offer(ic);
    if (r < 0) {
        ic_channel_free(ic, true);
        return r;
    }
    *ret = ic;
    return 0;
}

struct ic_channel *ic_channel_free(struct ic_channel *ic, bool is_server_gone)
{
    if (!ic)
        return NULL;
    ic->done = NULL;
    ic->config.state_changed = NULL;
    if (ic->channel && !is_server_gone)
        vmbus_revoke_channel(ic->channel);
    ic_timer_disarm(&ic->deadline);
    ic_timer_disarm(&ic->next_turn);
    ic_timer_disarm(&ic->hold);
    vmbus_packet_free(ic->packet);
    free(ic->out);
    free(ic);
    return NULL;
}
