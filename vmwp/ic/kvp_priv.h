/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of the KVP component: its messages as bytes, tables of pairs, requests and readings.
 *
 * spec: include/uapi/linux/hyperv.h of Linux 6.1: struct hv_kvp_msg, struct hv_kvp_ip_msg
 */
#pragma once

#include "vmwp/ic/kvp.h"

enum {
    KVP_KEY_BYTES = 512,
    KVP_VALUE_BYTES = 2048,
    KVP_PAIR_BYTES = 12 + KVP_KEY_BYTES + KVP_VALUE_BYTES, /* type, two sizes, two fields */
    KVP_SET_BYTES = 4 + KVP_PAIR_BYTES,
    KVP_REMOVE_BYTES = 4 + 4 + KVP_KEY_BYTES,
    KVP_ENUMERATE_BYTES = 4 + 4 + KVP_PAIR_BYTES,
    KVP_ADAPTER_BYTES = 256,
    KVP_ADDRESSES_BYTES = 2048,
    KVP_GATEWAYS_BYTES = 1024,
    /* directly after operation and pool: adapter, family, DHCP, addresses, subnets, gateways, DNS
     */
    KVP_IP_BYTES = 2 + KVP_ADAPTER_BYTES + 2 + 3 * KVP_ADDRESSES_BYTES + KVP_GATEWAYS_BYTES
};

/* Bodies of requests. Text of a caller's: -EINVAL when it isn't UTF-8, is empty where it may not
 * be, or doesn't fit in either form. */
int kvp_wire_set(uint8_t body[static KVP_SET_BYTES], enum ic_kvp_pool pool, const char *key,
                 const char *value);
int kvp_wire_remove(uint8_t body[static KVP_REMOVE_BYTES], const char *key);
int kvp_wire_get_ip(uint8_t body[static KVP_IP_BYTES], const char *adapter);
void kvp_wire_enumerate(uint8_t body[static KVP_ENUMERATE_BYTES], enum ic_kvp_pool pool,
                        uint32_t index);

/* What came of reading an answer that says it is one */
enum kvp_outcome { KVP_OK, KVP_E_END /* no key: the pool has ended */, KVP_E_MALFORMED };

/* The pair of an answer to enumerate; the caller's. Returns an outcome or -ENOMEM. */
int kvp_wire_take_pair(const uint8_t *body, size_t bytes, struct ic_kvp_pair *ret);

/* An adapter's state with its texts, in one piece to free. */
struct kvp_ip_texts {
    struct ic_kvp_ip ip;
    char *texts[4];
};

/* The answer to get-IP. Returns an outcome or -ENOMEM; to be freed in either case. */
int kvp_wire_take_ip(const uint8_t *body, size_t bytes, struct kvp_ip_texts *ret);
void kvp_ip_texts_fini(struct kvp_ip_texts *ip);

/* A table of pairs, in the guest's order. Zeroed: empty. */
struct kvp_table {
    struct ic_kvp_pair *pairs;
    unsigned n;
};

void kvp_table_clear(struct kvp_table *table);
/* Append; takes key and value over in any case. Returns 0, -ENOSPC or -ENOMEM. */
int kvp_table_append(struct kvp_table *table, struct ic_kvp_pair pair);
/* Put in place of the pair with this key, or append a copy. Returns 0, -ENOSPC or -ENOMEM. */
int kvp_table_set(struct kvp_table *table, const char *key, const char *value);
void kvp_table_remove(struct kvp_table *table, const char *key);
const char *kvp_table_find(const struct kvp_table *table, const char *key);
bool kvp_table_equal(const struct kvp_table *a, const struct kvp_table *b);

struct kvp_waiter {
    ic_done_fn *done;
    void *opaque;
};

struct ic_kvp {
    struct ic_kvp_config config;
    struct ic_channel *channel;
    struct ic_timer period;
    struct kvp_table host_pairs;
    struct kvp_table wanted;
    bool is_wanted_known;
    bool is_wanted_new; /* since what is on its way was sent */
    struct kvp_table pools[IC_KVP_N_READ_POOLS];
    bool was_read, is_truncated;
    uint64_t read_ns;
    struct hv_list ops;
    unsigned n_ops;
    struct kvp_op *current; /* not in ops */
    struct {
        bool is_on, is_truncated;
        unsigned at; /* in reading_order */
        uint32_t index;
        uint64_t began_ns;
        struct kvp_table pools[IC_KVP_N_READ_POOLS];
        struct kvp_waiter waiters[IC_KVP_MAX_WAITERS];
        unsigned n_waiters;
    } reading;
};

void kvp_tell_changed(struct ic_kvp *kvp);
/* Send what is next, if anything is and nothing is under way: requests come before the reading. */
void kvp_step(struct ic_kvp *kvp);

/* Ask for whatever differs from what is wanted; done may be NULL. Returns how many were asked. */
unsigned kvp_wanted_tell(struct ic_kvp *kvp, ic_done_fn *done, void *opaque);
/* Text of a caller's is none that a guest can be told. Returns -EINVAL. */
int kvp_text_error(struct hv_error **reterr);

/* Read all pools anew, unless that is under way. A timer's function. */
void kvp_reading_begin(void *kvp);
/* Ask for the next pair, when a reading is under way. */
void kvp_reading_go_on(struct ic_kvp *kvp);
/* The host's pool has changed: its reading begins anew, for indices have moved. */
void kvp_reading_note_change(struct ic_kvp *kvp);
/* It has come to its end, or is given up; who waits is told. */
void kvp_reading_end(struct ic_kvp *kvp, int r, const struct hv_error *error);
/* Forget it without a word. */
void kvp_reading_drop(struct ic_kvp *kvp);
