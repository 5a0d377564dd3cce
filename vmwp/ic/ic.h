/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An integration component's channel: offered, version negotiated, then one request at a time.
 *
 * The host speaks first: it names the versions it knows, the guest picks. Each request carries a
 * transaction id which the guest echoes; what echoes none that is awaited is dropped. A request
 * that wasn't answered by its deadline is given up, and its answer dropped when it comes; the next
 * one is held back for that answer, since most of Linux' drivers take one message at each signal
 * and would be one behind for ever.
 *
 * thread: io. Functions given here are called on it, never from inside ic_channel_request.
 * spec: hv_utils of Linux 6.1 (drivers/hv/hv_util.c, vmbus_prep_negotiate_resp)
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/fields.h"
#include "vmwp/ic/clock.h"
#include "vmwp/vsp/vsp.h"

struct ic_channel;

enum { IC_MAX_VERSIONS = 4, IC_MAX_BODY_BYTES = 8000, IC_HOLD_MS = 60000 };

/* How an operation ended: 0, or a negative errno with a sentence in `error`, which is borrowed. */
typedef void ic_done_fn(void *opaque, int r, const struct hv_error *error);

/* Types of messages */
enum ic_message {
    IC_MESSAGE_NEGOTIATE = 0,
    IC_MESSAGE_HEARTBEAT = 1,
    IC_MESSAGE_KVP = 2,
    IC_MESSAGE_SHUTDOWN = 3,
    IC_MESSAGE_TIMESYNC = 4,
    IC_MESSAGE_VSS = 5,
    IC_MESSAGE_FILECOPY = 7
};

struct ic_version {
    /* public */
    uint16_t major;
    uint16_t minor;
};

enum ic_state {
    IC_CLOSED,      /* no driver of the guest's has opened it */
    IC_NEGOTIATING, /* opened; KVP stays here until the guest's daemon runs */
    IC_READY,
    IC_MISMATCH /* the guest knows none of our versions */
};

/* What a component is; constant. */
struct ic_kind {
    /* public */
    const char *name; /* "heartbeat" */
    struct hv_guid type;
    struct hv_guid instance;
    enum ic_message message;
    unsigned n_versions;
    struct ic_version versions[IC_MAX_VERSIONS]; /* best first */
    uint32_t max_body_bytes;                     /* at most IC_MAX_BODY_BYTES */
    bool is_drained; /* the guest takes all messages that are there: none is held back */
};

/* What came of a request */
enum ic_outcome {
    IC_ANSWERED,
    IC_E_TIMEOUT,  /* not answered by the deadline */
    IC_E_CLOSED,   /* the guest closed the channel, or was reset */
    IC_E_MALFORMED /* the answer isn't one */
};

struct ic_reply {
    /* public */
    enum ic_outcome outcome;
    uint32_t status;     /* the guest's word; 0 is success. The rest only when IC_ANSWERED */
    const uint8_t *body; /* copied out of the ring; valid during the call */
    uint32_t bytes;
};
typedef void ic_reply_fn(void *opaque, const struct ic_reply *reply);

struct ic_channel_config {
    /* public */
    const struct ic_kind *kind; /* outlives the channel, as do clock and server */
    struct ic_clock *clock;
    struct vmbus_server *server;
    struct hv_log log;
    void (*state_changed)(void *opaque, enum ic_state state); /* may be NULL */
    void *opaque;
};

/* Offer the component. Returns 0, -ENOMEM or an errno of vmbus_offer_channel. */
int ic_channel_new(const struct ic_channel_config *config, struct ic_channel **ret);
/* Its request is forgotten without a word; the offer is revoked when the server is there still. */
struct ic_channel *ic_channel_free(struct ic_channel *ic, bool is_server_gone);

/* The clock goes on after it stood: take what came, send what waits. */
void ic_channel_go(struct ic_channel *ic);

/* Its part of a saved VM, out, while the clock stands; or in, before the bus opens it again: then
 * it goes on in the state in which it was. A request that was under way is not told of. */
void ic_channel_visit(struct ic_channel *ic, struct hv_fields *fields);

/* "heartbeat" */
const char *ic_channel_name(const struct ic_channel *ic);
/* How far the guest and it have come. */
enum ic_state ic_channel_state(const struct ic_channel *ic);
/* The version of messages that was agreed on; 0.0 unless IC_READY. */
struct ic_version ic_channel_version(const struct ic_channel *ic);
/* Is the agreed version at least this? */
bool ic_channel_has_version(const struct ic_channel *ic, uint16_t major, uint16_t minor);
/* Does a request wait for its answer? */
bool ic_channel_is_busy(const struct ic_channel *ic);

/*
 * Send a request; sent later when the ring is full, or one that was given up is unanswered, for
 * IC_HOLD_MS at most.
 *
 * timeout_ns: of running time, until the answer is given up; UINT64_MAX: never
 * done: called once, when 0 was returned
 * return: 0, -ENOTCONN (not IC_READY), -EBUSY (one waits) or -EMSGSIZE
 */
int ic_channel_request(struct ic_channel *ic, const void *body, uint32_t bytes, uint64_t timeout_ns,
                       ic_reply_fn *done, void *opaque);

/* A sentence for an operation that needs the channel: sets *reterr and returns -ENOTCONN unless it
 * is IC_READY. what: "shut down the guest". */
int ic_channel_need(const struct ic_channel *ic, const char *what, struct hv_error **reterr);
/* The same for an outcome or a status that isn't success. Returns 0 for success, -ETIMEDOUT,
 * -ECONNRESET, -EPROTO or -EREMOTEIO. */
int ic_reply_judge(const struct ic_reply *reply, const char *what, struct hv_error **reterr);
