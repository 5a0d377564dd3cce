/* SPDX-License-Identifier: Apache-2.0 */
/* Open connections: who each is, what it may, how often. */
#include "vmmsd/remote/remote_priv.h"

#include "api/gen/tables.h"
#include "hvcore/base/clock.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* Rule 9.5, per identity. */
enum {
    READS_PER_S = 2000,
    READS_BURST = 4000,
    CHANGES_PER_S = 100,
    CHANGES_BURST = 200,
    ENROLMENTS_PER_S = 10,
    ENROLMENTS_BURST = 20,
    SEEN_STEP_MS = 60000
};

uint64_t vmms_bucket_take(struct bucket *bucket, uint32_t per_s, uint32_t burst, uint64_t now_ns)
{
    uint64_t full = (uint64_t)burst * 1000, gained;

    if (!bucket->at_ns || now_ns - bucket->at_ns > HV_NS_PER_SEC * (burst / per_s + 1)) {
        bucket->level = full;
    } else {
        gained = (now_ns - bucket->at_ns) * per_s / HV_NS_PER_MS;
        bucket->level = bucket->level + gained > full ? full : bucket->level + gained;
    }
    bucket->at_ns = now_ns;
    if (bucket->level < 1000)
        return (1000 - bucket->level) / per_s + 1;
    bucket->level -= 1000;
    return 0;
}

static void refuse(struct vmms_peer *peer, enum api_error_code code, const char *id,
                   const char *sentence, const char *hint)
{
    peer->refusal = api_error_free(peer->refusal);
    (void)api_error_set(&peer->refusal, code, id, NULL, "%s", sentence);
    if (peer->refusal && hint)
        api_error_hint(peer->refusal, "%s", hint);
}

static void refuse_certificate(struct vmms_peer *peer, long error)
{
    static const struct {
        long error;
        const char *id, *sentence;
    } checks[] = {
        { X509_V_ERR_CERT_HAS_EXPIRED, "tls.certificate.expired",
          "The client's certificate has expired." },
        { X509_V_ERR_CERT_NOT_YET_VALID, "tls.certificate.not_yet_valid",
          "The client's certificate is not valid yet." },
        { X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "tls.certificate.self_signed",
          "The client's certificate is signed by itself." },
        { X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "tls.certificate.authority",
          "The client's certificate comes from another authority." },
        { X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "tls.certificate.authority",
          "The client's certificate comes from another authority." },
        { X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "tls.certificate.authority",
          "The client's certificate comes from another authority." },
        { X509_V_ERR_CERT_SIGNATURE_FAILURE, "tls.certificate.signature",
          "The signature of the client's certificate is wrong." },
        { X509_V_ERR_INVALID_PURPOSE, "tls.certificate.purpose",
          "The client's certificate is not one for clients." },
        { X509_V_ERR_CERT_CHAIN_TOO_LONG, "tls.certificate.chain",
          "The client's chain of certificates is too long." },
    };
    char text[160];

    for (size_t i = 0; i < HV_ARRAY_SIZE(checks); i++) {
        if (checks[i].error == error) {
            refuse(peer, API_E_UNAUTHENTICATED, checks[i].id, checks[i].sentence,
                   "Enrol anew with a token from hvadm remote invite.");
            return;
        }
    }
    (void)snprintf(text, sizeof(text), "The client's certificate is refused: %s.",
                   X509_verify_cert_error_string(error));
    refuse(peer, API_E_UNAUTHENTICATED, "tls.certificate", text, NULL);
}

/* Stored without anybody waiting for it: it must not stand in the way of a call. What is ordered
 * after it is stored after it, and knows of it. */
static void note_seen(struct vmms_remote *remote, struct entry *entry, const char *fingerprint)
{
    struct vmms_identity *row = &entry->row;
    uint64_t now = vmms_remote_now_ms();
    bool is_first_use = *row->old_fingerprint && strcmp(row->fingerprint, fingerprint) == 0;

    if (entry->is_changing || (!is_first_use && now - row->seen_ms < SEEN_STEP_MS))
        return;
    row->seen_ms = now;
    if (is_first_use)
        row->old_fingerprint[0] = '\0';
    remote->config.put(remote->config.opaque, 0, row, NULL);
}

static void recognize(struct vmms_peer *peer, const X509 *certificate)
{
    char fingerprint[VMMS_FINGERPRINT_BYTES];
    struct entry *entry;

    vmms_pki_fingerprint(certificate, fingerprint);
    entry = vmms_entry_by_fingerprint(peer->remote, fingerprint);
    if (!entry) {
        refuse(peer, API_E_UNAUTHENTICATED, "remote.unknown",
               "The client's certificate is good, but belongs to nobody who is known here.",
               "Enrol anew with a token from hvadm remote invite.");
    } else if (entry->row.state != API_REMOTE_STATE_ENROLLED) {
        refuse(peer, API_E_UNAUTHENTICATED, "tls.certificate.revoked",
               "The client's certificate was revoked.", NULL);
    } else if (entry->n_peers >= MAX_PEERS) {
        refuse(peer, API_E_RATE_LIMITED, "remote.connections",
               "This client has as many connections open as one may.", NULL);
    } else {
        peer->entry = entry;
        peer->expires_ms = vmms_pki_expires_ms(certificate);
        hv_list_append(&entry->peers, &peer->node);
        entry->n_peers++;
        note_seen(peer->remote, entry, fingerprint);
    }
}

struct vmms_peer *vmms_peer_new(struct vmms_remote *remote, const SSL *ssl,
                                void (*closed)(void *opaque), void *opaque)
{
    struct vmms_peer *peer = calloc(1, sizeof(*peer));
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    long error = SSL_get_verify_result(ssl);

    if (!peer)
        return NULL;
    hv_list_init(&peer->node);
    peer->remote = remote;
    peer->closed = closed;
    peer->opaque = opaque;
    if (!certificate)
        refuse(peer, API_E_UNAUTHENTICATED, "tls.certificate.missing",
               "The client shows no certificate.",
               "Without one there is only remote.enroll: hvadm remote enroll HOST:PORT TOKEN.");
    else if (error != X509_V_OK)
        refuse_certificate(peer, error);
    else
        recognize(peer, certificate);
    return peer;
}

/* It is its identity's no more. */
static void leave(struct vmms_peer *peer)
{
    hv_list_remove(&peer->node);
    if (peer->entry) {
        peer->entry->n_peers--;
        peer->entry->n_bodies -= peer->n_bodies;
    }
    peer->entry = NULL;
}

struct vmms_peer *vmms_peer_free(struct vmms_peer *peer)
{
    if (!peer)
        return NULL;
    leave(peer);
    api_error_free(peer->refusal);
    free(peer);
    return NULL;
}

void vmms_entry_drop_peers(struct entry *entry)
{
    HV_LIST_FOREACH (node, &entry->peers) {
        struct vmms_peer *peer = HV_LIST_ENTRY(node, struct vmms_peer, node);

        leave(peer);
        refuse(peer, API_E_UNAUTHENTICATED, "tls.certificate.revoked",
               "The client's certificate was revoked.", NULL);
        peer->closed(peer->opaque);
    }
}

bool vmms_peer_is_known(const struct vmms_peer *peer)
{
    return peer->entry;
}

bool vmms_peer_is_expired(const struct vmms_peer *peer)
{
    return peer->entry && peer->expires_ms < vmms_remote_now_ms();
}

bool vmms_peer_begin(struct vmms_peer *peer)
{
    if (!peer->entry)
        return true;
    if (peer->entry->n_bodies >= MAX_BODIES)
        return false;
    peer->entry->n_bodies++;
    peer->n_bodies++;
    return true;
}

void vmms_peer_end(struct vmms_peer *peer)
{
    if (!peer->entry || !peer->n_bodies)
        return;
    peer->entry->n_bodies--;
    peer->n_bodies--;
}

void vmms_peer_actor(const struct vmms_peer *peer, char *ret, size_t room)
{
    if (peer->entry)
        (void)snprintf(ret, room, "cert:%s", peer->entry->row.name);
    else
        (void)snprintf(ret, room, "nobody");
}

const struct vmms_scope *vmms_peer_scope(const struct vmms_peer *peer)
{
    static const struct vmms_scope none;

    if (!peer)
        return NULL;
    if (!peer->entry)
        return &none;
    return peer->entry->row.is_limited ? &peer->entry->row.scope : NULL;
}

static int check_rate(uint64_t wait_ms, const char *whose, struct api_error **reterr)
{
    if (!wait_ms)
        return 0;
    (void)api_error_set(reterr, API_E_RATE_LIMITED, "remote.rate", NULL,
                        "%s more often than is allowed; try again in %llu ms.", whose,
                        (unsigned long long)wait_ms);
    if (reterr && *reterr) {
        (*reterr)->data.retry_ms = wait_ms;
        (*reterr)->data.has |= API_ERROR_DATA_HAS_RETRY_MS;
    }
    return -EINVAL;
}

static bool is_read(const char *right)
{
    size_t length = strlen(right);

    return length > 5 && strcmp(right + length - 5, ".read") == 0;
}

static int check_identity_rate(struct entry *entry, enum api_method method,
                               struct api_error **reterr)
{
    uint64_t now = hv_clock_monotonic_ns();

    if (is_read(api_methods[method].right))
        return check_rate(vmms_bucket_take(&entry->reads, READS_PER_S, READS_BURST, now),
                          "This client reads", reterr);
    return check_rate(vmms_bucket_take(&entry->changes, CHANGES_PER_S, CHANGES_BURST, now),
                      "This client changes things", reterr);
}

struct api_error *vmms_peer_refusal(const struct vmms_peer *peer)
{
    return peer->entry ? NULL : api_error_dup(peer->refusal);
}

int vmms_peer_may(struct vmms_peer *peer, enum api_method method, struct api_error **reterr)
{
    struct vmms_remote *remote = peer->remote;
    struct api_error *refusal;
    int r;

    if (vmms_peer_is_expired(peer))
        return api_error_set(reterr, API_E_UNAUTHENTICATED, "tls.certificate.expired", NULL,
                             "The client's certificate has expired.");
    if (peer->entry) {
        r = vmms_identity_may(&peer->entry->row, method, reterr);
        return r < 0 ? r : check_identity_rate(peer->entry, method, reterr);
    }
    if (method == API_METHOD_REMOTE_ENROLL)
        return check_rate(vmms_bucket_take(&remote->enrolments, ENROLMENTS_PER_S, ENROLMENTS_BURST,
                                           hv_clock_monotonic_ns()),
                          "Tokens are tried", reterr);
    refusal = vmms_peer_refusal(peer);
    if (reterr && !*reterr)
        *reterr = refusal;
    else
        api_error_free(refusal);
    return -EINVAL;
}

int vmms_peer_may_see(const struct vmms_peer *peer, const struct api_request *request,
                      struct api_error **reterr)
{
    if (!peer->entry)
        return request->method == API_METHOD_REMOTE_ENROLL
                   ? 0
                   : api_error_set(reterr, API_E_UNAUTHENTICATED, "remote.unknown", NULL,
                                   "The client is not known.");
    return vmms_identity_may_see(&peer->entry->row, peer->remote->config.core, request, reterr);
}
