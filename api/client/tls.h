/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS for the client, as a module that is loaded when an address asks for it: having OpenSSL linked
 * would double the time that every hvadm takes to start. Blocking, one thread.
 */
#pragma once

#include "api/rpc/error.h"

#include <stddef.h>
#include <sys/types.h>

struct api_tls;

/* Whom to believe, and as whom to call: PEM texts. */
struct api_tls_config {
    /* public */
    const char *host;
    const char *authority;   /* NULL: `fingerprint` decides */
    const char *fingerprint; /* the first digits of the SHA-256 of the authority's certificate */
    const char *identity;    /* key and certificate, or NULL: nobody */
};

struct api_tls_ops {
    /* read only */
    /* Shake hands on a connected socket, which stays the caller's. Returns 0 or -EINVAL with
     * *reterr, which names the check that failed. */
    int (*open)(int fd, const struct api_tls_config *config, struct api_tls **ret,
                struct api_error **reterr);
    void (*close)(struct api_tls *tls);
    /* Bytes read, 0 at the end, negative errno. */
    ssize_t (*read)(struct api_tls *tls, void *bytes, size_t room);
    int (*write)(struct api_tls *tls, const void *bytes, size_t length);
    /* Is something there to be read that polling the socket would not show? */
    bool (*is_pending)(const struct api_tls *tls);
    /* The certificate of the authority that was believed, as PEM; freed by the caller. NULL: out of
     * memory */
    char *(*authority)(const struct api_tls *tls);
    /* A new key and a request for a certificate, as PEM; freed by the caller. 0 or -ENOMEM */
    int (*make_request)(char **ret_key, char **ret_request);
};

#define API_TLS_SYMBOL "api_tls_ops_1"

/* Load the module. Returns 0 or -EINVAL with *reterr. */
int api_tls_load(const struct api_tls_ops **ret, struct api_error **reterr);
