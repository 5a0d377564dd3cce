/* SPDX-License-Identifier: Apache-2.0 */
/* What the room's files share. */
#pragma once

#include "hvcore/base/list.h"
#include "vmmsd/remote/remote.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

enum {
    SERVER_DAYS = 397,
    CLIENT_DAYS = 365,
    AUTHORITY_DAYS = 3653,
    RENEW_DAYS = 30,
    TOKEN_SECRET_BYTES = 16,
    MAX_NAMES = 48,
    MAX_PENDING = 64,
    MAX_PEERS = 1024, /* of one identity */
    MAX_BODIES = 32   /* likewise, under way */
};

/* A certificate and its key. */
struct pair {
    EVP_PKEY *key;
    X509 *certificate;
};
void vmms_pair_fini(struct pair *pair);

/* Host names and addresses: what a certificate is good for. */
struct names {
    char *list[MAX_NAMES];
    size_t count;
};
void vmms_names_fini(struct names *names);
/* Adds a copy of what is a host name or an address and not there yet. Returns 0, -EINVAL, -ENOSPC
 * or -ENOMEM. */
int vmms_names_add(struct names *names, const char *name);
/* Those of this host. */
void vmms_names_add_host(struct names *names);

/* pki.c: 0 or -EIO; OpenSSL's error queue is left empty */
int vmms_pki_authority(struct pair *ret);
int vmms_pki_server(const struct pair *authority, const struct names *names, struct pair *ret);
/* Sign the key of a request for that name. Returns 0, -EINVAL with *reterr, or -EIO. */
int vmms_pki_client(const struct pair *authority, const char *csr, const char *name, X509 **ret,
                    struct api_error **reterr);
int vmms_pki_names(X509 *certificate, struct names *ret);
void vmms_pki_fingerprint(const X509 *certificate, char ret[static VMMS_FINGERPRINT_BYTES]);
char *vmms_pki_text(X509 *certificate);
uint64_t vmms_pki_expires_ms(const X509 *certificate);
/* SHA-256 as lower-case hex. */
void vmms_pki_hash(const void *bytes, size_t length, char ret[static VMMS_FINGERPRINT_BYTES]);

/* keep.c: files in the state directory. Return 0, -ENOENT, or another errno with *reterr. */
int vmms_keep_read(const char *state_dir, const char *file, struct pair *ret,
                   struct hv_error **reterr);
int vmms_keep_write(const char *state_dir, const char *file, const struct pair *pair,
                    struct hv_error **reterr);
#define AUTHORITY_FILE "authority.pem"
#define SERVER_FILE    "server.pem"

/* context.c: takes copies. Returns 0 or an errno with *reterr. */
int vmms_context_new(const struct pair *authority, const struct pair *server, SSL_CTX **ret,
                     struct hv_error **reterr);

/* Rule 9.5: so many a second, more at once after a rest. */
struct bucket {
    uint64_t level; /* thousandths */
    uint64_t at_ns;
};
/* Take one. Returns 0, or the milliseconds after which there will be one. */
uint64_t vmms_bucket_take(struct bucket *bucket, uint32_t per_s, uint32_t burst, uint64_t now_ns);

struct entry {
    struct hv_list node;
    struct vmms_identity row;
    bool is_new;      /* not stored yet: nobody sees it */
    bool is_changing; /* on its way to the store */
    struct hv_list peers;
    unsigned n_peers;
    unsigned n_bodies; /* under way */
    struct bucket reads, changes;
};

struct vmms_peer {
    struct hv_list node;
    struct vmms_remote *remote;
    struct entry *entry; /* NULL: nobody */
    struct api_error *refusal;
    unsigned n_bodies; /* of its entry's */
    uint64_t expires_ms;
    void (*closed)(void *opaque);
    void *opaque;
};

/* A change on its way to the store, and the answer that waits for it. */
struct wait {
    struct hv_list node;
    uint64_t token;
    struct entry *entry;
    struct vmms_identity row;
    uint64_t call;
    enum api_method method;
    bool replies;
    union api_result result;
};

struct vmms_remote {
    struct vmms_remote_config config;
    SSL_CTX *context;
    X509 *authority; /* as in use */
    X509 *server;
    struct hv_list entries;
    struct hv_list waits;
    unsigned n_entries;
    unsigned n_waits;
    uint64_t next_token;
    struct bucket enrolments;
    uint64_t told_ms; /* when dates were last told of */
};

/* remote.c */
struct entry *vmms_entry_find(const struct vmms_remote *remote, const char *name);
struct entry *vmms_entry_by_fingerprint(const struct vmms_remote *remote, const char *fingerprint);
struct entry *vmms_entry_by_token(const struct vmms_remote *remote, const char *hash);
struct entry *vmms_entry_new(struct vmms_remote *remote);
/* Store a row with an event of that type. The answer waits in the result where there is one. */
struct wait *vmms_entry_put(struct vmms_remote *remote, struct entry *entry,
                            const struct vmms_identity *row, const char *type, const char *actor);
uint64_t vmms_remote_now_ms(void);
/* Make the files anew, as wanted, and use them. */
int vmms_remote_make(struct vmms_remote *remote, const struct names *more, bool is_renewal,
                     struct hv_error **reterr);

/* peer.c */
/* Close all connections of an identity; each peer becomes nobody. */
void vmms_entry_drop_peers(struct entry *entry);
