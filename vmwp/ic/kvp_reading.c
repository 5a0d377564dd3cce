/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/kvp_priv.h"
#include "vmwp/ic/wire_priv.h"

#include <string.h>

/* The pool that the host may change comes last, so that a change during a reading is seen. */
static const enum ic_kvp_pool reading_order[IC_KVP_N_READ_POOLS] = { IC_KVP_AUTO, IC_KVP_GUEST,
                                                                     IC_KVP_EXTERNAL };

static const char what_reading[] = "read the guest's key-value pairs";

void kvp_reading_note_change(struct ic_kvp *kvp)
{
    if (!kvp->reading.is_on || reading_order[kvp->reading.at] != IC_KVP_EXTERNAL)
        return;
    kvp_table_clear(&kvp->reading.pools[IC_KVP_EXTERNAL]);
    kvp->reading.index = 0;
}

void kvp_reading_drop(struct ic_kvp *kvp)
{
    kvp->reading.is_on = false;
    for (unsigned i = 0; i < IC_KVP_N_READ_POOLS; i++)
        kvp_table_clear(&kvp->reading.pools[i]);
}

/* Put what was read in place of the old. Did it differ? */
static bool adopt_reading(struct ic_kvp *kvp)
{
    bool differs = !kvp->was_read;

    for (unsigned i = 0; i < IC_KVP_N_READ_POOLS; i++) {
        differs |= !kvp_table_equal(&kvp->pools[i], &kvp->reading.pools[i]);
        kvp_table_clear(&kvp->pools[i]);
        kvp->pools[i] = kvp->reading.pools[i];
        kvp->reading.pools[i] = (struct kvp_table){ NULL, 0 };
    }
    kvp->was_read = true;
    kvp->is_truncated = kvp->reading.is_truncated;
    kvp->read_ns = ic_clock_now(kvp->config.clock);
    return differs;
}

static void tell_waiters(struct ic_kvp *kvp, int r, const struct hv_error *error)
{
    struct kvp_waiter waiters[IC_KVP_MAX_WAITERS];
    unsigned n = kvp->reading.n_waiters;

    memcpy(waiters, kvp->reading.waiters, sizeof(waiters));
    kvp->reading.n_waiters = 0;
    for (unsigned i = 0; i < n; i++) {
        if (waiters[i].done)
            waiters[i].done(waiters[i].opaque, r, error);
    }
}

void kvp_reading_end(struct ic_kvp *kvp, int r, const struct hv_error *error)
{
    bool differs = r == 0 && adopt_reading(kvp);

    kvp_reading_drop(kvp);
    if (ic_channel_state(kvp->channel) == IC_READY)
        ic_timer_arm(&kvp->period, IC_KVP_PERIOD_MS * HV_NS_PER_MS);
    if (differs)
        kvp_tell_changed(kvp);
    if (r == 0)
        (void)kvp_wanted_tell(kvp, NULL, NULL);
    tell_waiters(kvp, r, error);
}

static void next_pool(struct ic_kvp *kvp)
{
    kvp->reading.index = 0;
    if (++kvp->reading.at == IC_KVP_N_READ_POOLS)
        kvp_reading_end(kvp, 0, NULL);
}

/* One that is malformed is passed over; the index counts it. */
static int take_pair(struct ic_kvp *kvp, const struct ic_reply *reply)
{
    struct kvp_table *table = &kvp->reading.pools[reading_order[kvp->reading.at]];
    struct ic_kvp_pair pair;
    int r = kvp_wire_take_pair(reply->body, reply->bytes, &pair);

    if (r == KVP_E_END) {
        next_pool(kvp);
        return 0;
    }
    if (r == KVP_OK)
        r = kvp_table_append(table, pair);
    if (r < 0)
        return r;
    if (++kvp->reading.index == IC_KVP_MAX_PAIRS) {
        kvp->reading.is_truncated = true;
        next_pool(kvp);
    }
    return 0;
}

static void answered_pair(void *opaque, const struct ic_reply *reply)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct ic_kvp *kvp = opaque;
    int r = 0;

    if (!kvp->reading.is_on)
        return;
    if (ic_clock_now(kvp->config.clock) - kvp->reading.began_ns > IC_KVP_READING_MS * HV_NS_PER_MS)
        r = hv_error_set(&error, -ETIMEDOUT, "guest.timeout", "Cannot %s: the guest is too slow.",
                         what_reading);
    else if (reply->outcome == IC_ANSWERED && reply->status == (uint32_t)IC_STATUS_NO_MORE_ITEMS)
        next_pool(kvp);
    else
        r = ic_reply_judge(reply, what_reading, &error);
    if (r == 0 && kvp->reading.is_on && reply->status == (uint32_t)IC_STATUS_OK)
        r = take_pair(kvp, reply);
    if (r < 0)
        kvp_reading_end(kvp, r, error);
    kvp_step(kvp);
}

void kvp_reading_go_on(struct ic_kvp *kvp)
{
    uint8_t body[KVP_ENUMERATE_BYTES];

    if (!kvp->reading.is_on)
        return;
    kvp_wire_enumerate(body, reading_order[kvp->reading.at], kvp->reading.index);
    (void)ic_channel_request(kvp->channel, body, sizeof(body), IC_KVP_ANSWER_MS * HV_NS_PER_MS,
                             answered_pair, kvp);
}

void kvp_reading_begin(void *opaque)
{
    struct ic_kvp *kvp = opaque;

    if (!kvp->reading.is_on) {
        ic_timer_disarm(&kvp->period);
        kvp->reading.is_on = true;
        kvp->reading.is_truncated = false;
        kvp->reading.at = 0;
        kvp->reading.index = 0;
        kvp->reading.began_ns = ic_clock_now(kvp->config.clock);
    }
    kvp_step(kvp);
}

int ic_kvp_refresh(struct ic_kvp *kvp, ic_done_fn *done, void *opaque, struct hv_error **reterr)
{
    int r = ic_channel_need(kvp->channel, what_reading, reterr);

    if (r < 0)
        return r;
    if (kvp->reading.n_waiters == IC_KVP_MAX_WAITERS)
        return hv_error_set(reterr, -ENOBUFS, "guest.busy",
                            "Too many requests wait for the guest's key-value pairs.");
    kvp->reading.waiters[kvp->reading.n_waiters++] = (struct kvp_waiter){ done, opaque };
    kvp_reading_begin(kvp);
    return 0;
}
