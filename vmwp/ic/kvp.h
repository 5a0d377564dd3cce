/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key-value pairs, both ways: what the guest says of itself, and what it is told.
 *
 * Pools are read whole, by index: at first contact, every 30 s, and when asked; between that the
 * answers are what was read last, with their age. (Reading a key by its name is not done: Linux 6.1
 * loses the first four bytes of such a value.) Nothing is answered before the guest's daemon runs.
 *
 * thread: io. spec: hv_kvp.c and hv_kvp_daemon.c of Linux 6.1, struct hv_kvp_msg
 */
#pragma once

#include "vmwp/ic/ic.h"

struct ic_kvp;

enum ic_kvp_pool {
    IC_KVP_EXTERNAL = 0, /* told by the host */
    IC_KVP_GUEST = 1,    /* told by the guest's programs */
    IC_KVP_AUTO = 2,     /* of the guest's system: OSName, FullyQualifiedDomainName, ... */
    IC_KVP_HOST = 3      /* facts of the host and the VM; written, not read */
};

enum {
    IC_KVP_N_READ_POOLS = 3,
    IC_KVP_MAX_PAIRS = 256, /* of a pool; more are not read */
    IC_KVP_MAX_KEY_UNITS = 255,
    IC_KVP_MAX_VALUE_UNITS = 1023,
    IC_KVP_MAX_REQUESTS = 160, /* that wait */
    IC_KVP_MAX_WAITERS = 16,   /* for a reading */
    IC_KVP_PERIOD_MS = 30000,
    IC_KVP_ANSWER_MS = 35000, /* the guest gives its daemon 30 s */
    IC_KVP_READING_MS = 60000 /* all pools */
};

struct ic_kvp_pair {
    /* read only; UTF-8 */
    char *key;
    char *value; /* numbers in decimal */
};

struct ic_kvp_config {
    /* public */
    struct ic_clock *clock;
    struct vmbus_server *server;
    struct hv_log log;
    /* A reading found pairs that differ from those before, or contact was lost; may be NULL. */
    void (*changed)(void *opaque);
    void *opaque;
    /* Written to IC_KVP_HOST at contact; copied. Texts that don't fit are left out. */
    const struct ic_kvp_pair *host_pairs;
    unsigned n_host_pairs; /* at most 32 count */
};

/* An adapter of the guest's, as its system has configured it. Lists are separated by ';'. */
struct ic_kvp_ip {
    /* read only */
    bool has_ipv4, has_ipv6, is_dhcp;
    const char *addresses;
    const char *subnets; /* masks and prefix lengths */
    const char *gateways;
    const char *dns_servers;
};
/* ip: valid during the call; NULL unless r is 0 */
typedef void ic_kvp_ip_fn(void *opaque, int r, const struct hv_error *error,
                          const struct ic_kvp_ip *ip);

/* Offer it. Returns 0 or a negative errno of ic_channel_new. */
int ic_kvp_new(const struct ic_kvp_config *config, struct ic_kvp **ret);
struct ic_kvp *ic_kvp_free(struct ic_kvp *kvp, bool is_server_gone);
/* As it was when it was made; who waits is told -ECONNRESET. */
void ic_kvp_reset(struct ic_kvp *kvp);
/* Its channel, for its state and version; borrowed. */
struct ic_channel *ic_kvp_channel(struct ic_kvp *kvp);

/* The pairs of a pool as read last, of the first three pools; borrowed until the next event. */
void ic_kvp_get(const struct ic_kvp *kvp, enum ic_kvp_pool pool,
                const struct ic_kvp_pair **ret_pairs, unsigned *ret_n);
/* A value of a pool as read last, or NULL; borrowed until the next event. */
const char *ic_kvp_find(const struct ic_kvp *kvp, enum ic_kvp_pool pool, const char *key);
/* How long ago the pools were read, in ns of running time; UINT64_MAX: never. */
uint64_t ic_kvp_age(const struct ic_kvp *kvp);
/* Did a pool hold more than was read? */
bool ic_kvp_is_truncated(const struct ic_kvp *kvp);

/* All that follow return 0 (done will be called), -ENOTCONN, -ENOBUFS (too many wait), -ENOMEM or,
 * where there is text, -EINVAL. done is told 0, -ETIMEDOUT, -ECONNRESET, -EPROTO or -EREMOTEIO. */

/* Read the pools anew; joins a reading under way. */
int ic_kvp_refresh(struct ic_kvp *kvp, ic_done_fn *done, void *opaque, struct hv_error **reterr);
/* Tell the guest a pair (IC_KVP_EXTERNAL), in place of one with the same key. */
int ic_kvp_set(struct ic_kvp *kvp, const char *key, const char *value, ic_done_fn *done,
               void *opaque, struct hv_error **reterr);
/* Take a pair of IC_KVP_EXTERNAL back. -ENOENT to done: the guest has no such key. */
int ic_kvp_remove(struct ic_kvp *kvp, const char *key, ic_done_fn *done, void *opaque,
                  struct hv_error **reterr);
/*
 * What the guest is to be told in IC_KVP_EXTERNAL, as a whole, now and whenever it begins anew;
 * what stands there besides is taken back. pairs: copied
 *
 * ret_asked: how many requests were made of it now, each of which `done` is told of
 * return: 0; -ENOTCONN: it is told at contact; -EINVAL, -ENOSPC, -ENOMEM: nothing has changed
 */
int ic_kvp_want(struct ic_kvp *kvp, const struct ic_kvp_pair *pairs, unsigned n, ic_done_fn *done,
                void *opaque, unsigned *ret_asked, struct hv_error **reterr);
/* Ask for an adapter's addresses. adapter: its MAC address in capitals, "00:15:5D:01:02:03", as
 * Linux wants it; its GUID for Windows. */
int ic_kvp_ask_ip(struct ic_kvp *kvp, const char *adapter, ic_kvp_ip_fn *done, void *opaque,
                  struct hv_error **reterr);
