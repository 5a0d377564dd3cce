/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/kvp_priv.h"
#include "vmwp/ic/wire_priv.h"

#include <string.h>

enum { MAX_HOST_PAIRS = 32 };

enum op_kind { OP_SET, OP_REMOVE, OP_ASK_IP };

/* A request of a caller's that waits or is under way */
struct kvp_op {
    struct hv_list node;
    enum op_kind kind;
    enum ic_kvp_pool pool;
    char *key; /* or the adapter */
    char *value;
    ic_done_fn *done; /* NULL: nobody wants to know */
    ic_kvp_ip_fn *ip_done;
    void *opaque;
};

static const struct ic_kind kind = {
    .name = "key-value pair",
    .type = IC_GUID(0xa9a0f4e7, 0x5a45, 0x4d96, 0xb8, 0x27, 0x8a, 0x84, 0x1e, 0x8c, 0x03, 0xe6),
    .instance = IC_GUID(0x242ff919, 0x07db, 0x4180, 0x9c, 0x2e, 0xb8, 0x6c, 0xb6, 0x8c, 0x8c, 0x55),
    .message = IC_MESSAGE_KVP,
    .n_versions = 3,
    .versions = { { 4, 0 }, { 3, 0 }, { 1, 0 } },
    .max_body_bytes = KVP_IP_BYTES,
};

void kvp_tell_changed(struct ic_kvp *kvp)
{
    if (kvp->config.changed)
        kvp->config.changed(kvp->config.opaque);
}

static struct kvp_op *op_free(struct kvp_op *op)
{
    if (op) {
        free(op->key);
        free(op->value);
        free(op);
    }
    return NULL;
}

static void op_conclude(struct kvp_op *op, int r, const struct hv_error *error,
                        const struct ic_kvp_ip *ip)
{
    if (op->done)
        op->done(op->opaque, r, error);
    if (op->ip_done)
        op->ip_done(op->opaque, r, error, ip);
    op_free(op);
}

static const char *what_of(const struct kvp_op *op)
{
    switch (op->kind) {
    case OP_SET: return "tell the guest the pair";
    case OP_REMOVE: return "take the pair back from the guest";
    default: return "read the guest's addresses";
    }
}

static void note_change(struct ic_kvp *kvp, const struct kvp_op *op)
{
    struct kvp_table *external = &kvp->pools[IC_KVP_EXTERNAL];

    if (op->pool != IC_KVP_EXTERNAL)
        return;
    if (op->kind == OP_SET)
        (void)kvp_table_set(external, op->key, op->value);
    else
        kvp_table_remove(external, op->key);
    kvp_reading_note_change(kvp);
    kvp_tell_changed(kvp);
}

static void answered_ask_ip(struct kvp_op *op, const struct ic_reply *reply, int r,
                            struct hv_error **error)
{
    struct kvp_ip_texts ip = { 0 };

    if (r == 0)
        r = kvp_wire_take_ip(reply->body, reply->bytes, &ip);
    if (r == KVP_E_MALFORMED)
        r = hv_error_set(error, -EPROTO, "guest.service.malformed",
                         "The guest's answer about its addresses is malformed.");
    op_conclude(op, r, *error, r == 0 ? &ip.ip : NULL);
    kvp_ip_texts_fini(&ip);
}

static void answered_op(void *opaque, const struct ic_reply *reply)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct ic_kvp *kvp = opaque;
    struct kvp_op *op = HV_TAKE_PTR(kvp->current);
    int r;

    if (!op)
        return;
    r = ic_reply_judge(reply, what_of(op), &error);
    if (op->kind == OP_ASK_IP) {
        answered_ask_ip(op, reply, r, &error);
    } else {
        if (r == 0)
            note_change(kvp, op);
        if (op->kind == OP_REMOVE && r == -EREMOTEIO &&
            reply->status == (uint32_t)IC_STATUS_NO_MORE_ITEMS)
            r = -ENOENT;
        op_conclude(op, r, error, NULL);
    }
    if (kvp->is_wanted_new && kvp->n_ops == 0 && !kvp->current)
        (void)kvp_wanted_tell(kvp, NULL, NULL);
    kvp_step(kvp);
}

static uint32_t put_op(const struct kvp_op *op, uint8_t body[static KVP_IP_BYTES])
{
    switch (op->kind) {
    case OP_SET: return kvp_wire_set(body, op->pool, op->key, op->value) == 0 ? KVP_SET_BYTES : 0;
    case OP_REMOVE: return kvp_wire_remove(body, op->key) == 0 ? KVP_REMOVE_BYTES : 0;
    default: return kvp_wire_get_ip(body, op->key) == 0 ? KVP_IP_BYTES : 0;
    }
}

static void send_op(struct ic_kvp *kvp)
{
    uint8_t body[KVP_IP_BYTES];
    struct kvp_op *op = HV_LIST_ENTRY(kvp->ops.next, struct kvp_op, node);

    hv_list_remove(&op->node);
    kvp->n_ops--;
    kvp->current = op;
    (void)ic_channel_request(kvp->channel, body, put_op(op, body), IC_KVP_ANSWER_MS * HV_NS_PER_MS,
                             answered_op, kvp);
}

void kvp_step(struct ic_kvp *kvp)
{
    if (ic_channel_state(kvp->channel) != IC_READY || ic_channel_is_busy(kvp->channel))
        return;
    if (!hv_list_is_empty(&kvp->ops))
        send_op(kvp);
    else
        kvp_reading_go_on(kvp);
}

int kvp_text_error(struct hv_error **reterr)
{
    return hv_error_set(reterr, -EINVAL, "guest.kvp.text",
                        "Keys must be UTF-8 text of 1 to %d characters, values of at most %d.",
                        IC_KVP_MAX_KEY_UNITS, IC_KVP_MAX_VALUE_UNITS);
}

static int enqueue(struct ic_kvp *kvp, const struct kvp_op *model, struct hv_error **reterr)
{
    uint8_t body[KVP_IP_BYTES];
    struct kvp_op *op;
    int r = ic_channel_need(kvp->channel, what_of(model), reterr);

    if (r < 0)
        return r;
    if (put_op(model, body) == 0)
        return kvp_text_error(reterr);
    if (kvp->n_ops >= IC_KVP_MAX_REQUESTS)
        return hv_error_set(reterr, -ENOBUFS, "guest.busy",
                            "Too many requests wait for the guest's key-value service.");
    op = malloc(sizeof(*op));
    if (!op)
        return -ENOMEM;
    *op = *model;
    op->key = strdup(model->key);
    op->value = strdup(model->value ? model->value : "");
    if (!op->key || !op->value) {
        op_free(op);
        return -ENOMEM;
    }
    hv_list_init(&op->node);
    hv_list_append(&kvp->ops, &op->node);
    kvp->n_ops++;
    kvp_step(kvp);
    return 0;
}

int ic_kvp_set(struct ic_kvp *kvp, const char *key, const char *value, ic_done_fn *done,
               void *opaque, struct hv_error **reterr)
{
    return enqueue(kvp,
                   &(struct kvp_op){ .kind = OP_SET,
                                     .pool = IC_KVP_EXTERNAL,
                                     .key = (char *)key,
                                     .value = (char *)value,
                                     .done = done,
                                     .opaque = opaque },
                   reterr);
}

int ic_kvp_remove(struct ic_kvp *kvp, const char *key, ic_done_fn *done, void *opaque,
                  struct hv_error **reterr)
{
    return enqueue(kvp,
                   &(struct kvp_op){ .kind = OP_REMOVE,
                                     .pool = IC_KVP_EXTERNAL,
                                     .key = (char *)key,
                                     .done = done,
                                     .opaque = opaque },
                   reterr);
}

int ic_kvp_ask_ip(struct ic_kvp *kvp, const char *adapter, ic_kvp_ip_fn *done, void *opaque,
                  struct hv_error **reterr)
{
    return enqueue(kvp,
                   &(struct kvp_op){ .kind = OP_ASK_IP,
                                     .pool = IC_KVP_AUTO,
                                     .key = (char *)adapter,
                                     .ip_done = done,
                                     .opaque = opaque },
                   reterr);
}

/* Everything that waits is told; what was known is no longer. */
static void lose_contact(struct ic_kvp *kvp)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    bool knew = kvp->was_read;
    struct kvp_op *current = HV_TAKE_PTR(kvp->current);

    ic_timer_disarm(&kvp->period);
    kvp->was_read = false;
    kvp->is_truncated = false;
    kvp->is_wanted_new = false;
    for (unsigned i = 0; i < IC_KVP_N_READ_POOLS; i++)
        kvp_table_clear(&kvp->pools[i]);
    hv_error_set(&error, -ECONNRESET, "guest.service.closed",
                 "The guest closed the key-value service before it answered.");
    if (current)
        op_conclude(current, -ECONNRESET, error, NULL);
    while (!hv_list_is_empty(&kvp->ops)) {
        struct kvp_op *op = HV_LIST_ENTRY(kvp->ops.next, struct kvp_op, node);

        hv_list_remove(&op->node);
        kvp->n_ops--;
        op_conclude(op, -ECONNRESET, error, NULL);
    }
    if (kvp->reading.is_on)
        kvp_reading_end(kvp, -ECONNRESET, error);
    if (knew)
        kvp_tell_changed(kvp);
}

static void state_changed(void *opaque, enum ic_state state)
{
    struct ic_kvp *kvp = opaque;

    if (state == IC_CLOSED)
        lose_contact(kvp);
    if (state != IC_READY)
        return;
    for (unsigned i = 0; i < kvp->host_pairs.n; i++)
        (void)enqueue(kvp,
                      &(struct kvp_op){ .kind = OP_SET,
                                        .pool = IC_KVP_HOST,
                                        .key = kvp->host_pairs.pairs[i].key,
                                        .value = kvp->host_pairs.pairs[i].value },
                      NULL);
    kvp_reading_begin(kvp);
}

static int copy_host_pairs(struct ic_kvp *kvp)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < kvp->config.n_host_pairs && i < MAX_HOST_PAIRS; i++)
        r = kvp_table_set(&kvp->host_pairs, kvp->config.host_pairs[i].key,
                          kvp->config.host_pairs[i].value);
    kvp->config.host_pairs = NULL;
    return r;
}

int ic_kvp_new(const struct ic_kvp_config *config, struct ic_kvp **ret)
{
    struct ic_kvp *kvp = calloc(1, sizeof(*kvp));
    int r;

    if (!kvp)
        return -ENOMEM;
    kvp->config = *config;
    hv_list_init(&kvp->ops);
    ic_timer_init(&kvp->period, config->clock, kvp_reading_begin, kvp);
    r = copy_host_pairs(kvp);
    if (r == 0)
        r = ic_channel_new(&(struct ic_channel_config){ .kind = &kind,
                                                        .clock = config->clock,
                                                        .server = config->server,
                                                        .log = config->log,
                                                        .state_changed = state_changed,
                                                        .opaque = kvp },
                           &kvp->channel);
    if (r < 0) {
        kvp_table_clear(&kvp->host_pairs);
        free(kvp);
        return r;
    }
    *ret = kvp;
    return 0;
}

struct ic_kvp *ic_kvp_free(struct ic_kvp *kvp, bool is_server_gone)
{
    if (!kvp)
        return NULL;
    ic_channel_free(kvp->channel, is_server_gone);
    ic_timer_disarm(&kvp->period);
    op_free(kvp->current);
    HV_LIST_FOREACH (node, &kvp->ops) {
        hv_list_remove(node);
        op_free(HV_LIST_ENTRY(node, struct kvp_op, node));
    }
    kvp_reading_drop(kvp);
    for (unsigned i = 0; i < IC_KVP_N_READ_POOLS; i++)
        kvp_table_clear(&kvp->pools[i]);
    kvp_table_clear(&kvp->host_pairs);
    kvp_table_clear(&kvp->wanted);
    free(kvp);
    return NULL;
}

void ic_kvp_reset(struct ic_kvp *kvp)
{
    lose_contact(kvp);
}

struct ic_channel *ic_kvp_channel(struct ic_kvp *kvp)
{
    return kvp->channel;
}

void ic_kvp_get(const struct ic_kvp *kvp, enum ic_kvp_pool pool,
                const struct ic_kvp_pair **ret_pairs, unsigned *ret_n)
{
    hv_assert((unsigned)pool < IC_KVP_N_READ_POOLS);
    *ret_pairs = kvp->pools[pool].pairs;
    *ret_n = kvp->pools[pool].n;
}

const char *ic_kvp_find(const struct ic_kvp *kvp, enum ic_kvp_pool pool, const char *key)
{
    hv_assert((unsigned)pool < IC_KVP_N_READ_POOLS);
    return kvp_table_find(&kvp->pools[pool], key);
}

uint64_t ic_kvp_age(const struct ic_kvp *kvp)
{
    return kvp->was_read ? ic_clock_now(kvp->config.clock) - kvp->read_ns : UINT64_MAX;
}

bool ic_kvp_is_truncated(const struct ic_kvp *kvp)
{
    return kvp->is_truncated;
}
