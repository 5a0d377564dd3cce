/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identities from afar: certificates, tokens, roles, rates, and the calls about them. One thread.
 *
 * Changes are handed to `put` and hold when vmms_remote_stored() says that the store has them.
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/log.h"
#include "vmmsd/core/core.h"
#include "vmmsd/core/identity.h"

#include <openssl/ssl.h>

struct vmms_peer;
struct vmms_remote;

struct vmms_remote_config {
    /* public: texts must outlive the object */
    const char *state_dir;
    const char *boot_id;
    const char *const *listen; /* HOST:PORT, each */
    size_t n_listen;
    const struct vmms_core *core;
    const struct hv_log *log;
    void *opaque;
    /* Store it, with its event; event: taken, NULL: none. Then vmms_remote_stored(). */
    void (*put)(void *opaque, uint64_t token, const struct vmms_identity *identity,
                struct api_event *event);
    /* Answer a call; error: NULL or taken. */
    void (*reply)(void *opaque, uint64_t call, enum api_method method,
                  const union api_result *result, struct api_error *error);
    /* There is a TLS context now, where there was none. Returns 0 or -errno with *reterr. */
    int (*opened)(void *opaque, struct hv_error **reterr);
};

enum { VMMS_MAX_IDENTITIES = 1024 };

/* An object without identities. Returns 0 or -ENOMEM. */
int vmms_remote_new(const struct vmms_remote_config *config, struct vmms_remote **ret);
/* Where clients are served from now on. */
void vmms_remote_listens(struct vmms_remote *remote, const char *const *listen, size_t n_listen);
struct vmms_remote *vmms_remote_free(struct vmms_remote *remote);

/* One stored identity, at start: copied. Returns 0 or -ENOMEM. */
int vmms_remote_load(struct vmms_remote *remote, const struct vmms_identity *identity);

/* Read certificates anew and use them for new connections. On failure those in use stay. Returns 0,
 * -ENOENT (remote.init was not called yet), or another errno with *reterr. */
int vmms_remote_reload(struct vmms_remote *remote, struct hv_error **reterr);

/* Renew what ends soon, and tell of what only a person can renew. Call now and then. */
void vmms_remote_check_dates(struct vmms_remote *remote);

/* What new connections are made with, or NULL: there are no certificates. */
SSL_CTX *vmms_remote_context(const struct vmms_remote *remote);

/* Is it one of the calls that vmms_remote_call() answers? */
bool vmms_remote_knows(enum api_method method);
/* request: taken; peer: who calls, NULL: somebody on this host */
void vmms_remote_call(struct vmms_remote *remote, uint64_t call, struct api_request *request,
                      const char *actor, const struct vmms_peer *peer);
/* What became of a `put`; error: taken, NULL: stored. */
void vmms_remote_stored(struct vmms_remote *remote, uint64_t token, struct api_error *error);

/*
 * Somebody whose handshake is done.
 *
 * closed: called when it is revoked: its connection must end, and vmms_peer_free() be called later
 * return: the peer, which may be nobody; NULL: out of memory
 */
struct vmms_peer *vmms_peer_new(struct vmms_remote *remote, const SSL *ssl,
                                void (*closed)(void *opaque), void *opaque);
struct vmms_peer *vmms_peer_free(struct vmms_peer *peer);

/* Does it have a certificate that holds? */
bool vmms_peer_is_known(const struct vmms_peer *peer);
/* Has its certificate come to its end since? */
bool vmms_peer_is_expired(const struct vmms_peer *peer);
/* "cert:NAME" or "nobody". */
void vmms_peer_actor(const struct vmms_peer *peer, char *ret, size_t room);
/* The only VMs that it sees; NULL: all. peer NULL (somebody on this host) sees all. */
const struct vmms_scope *vmms_peer_scope(const struct vmms_peer *peer);

/* May it call that method, now? Looks at certificate, role and rate, at no argument. Returns 0 or
 * -EINVAL with *reterr. */
int vmms_peer_may(struct vmms_peer *peer, enum api_method method, struct api_error **reterr);
/* Why it is nobody, as an error; NULL: it isn't, or out of memory. */
struct api_error *vmms_peer_refusal(const struct vmms_peer *peer);
/* One body of calls begins and ends: an identity has so many under way, over all its connections.
 * Returns whether it may begin. */
bool vmms_peer_begin(struct vmms_peer *peer);
void vmms_peer_end(struct vmms_peer *peer);
/* Do the call's arguments keep to what it may see? */
int vmms_peer_may_see(const struct vmms_peer *peer, const struct api_request *request,
                      struct api_error **reterr);
