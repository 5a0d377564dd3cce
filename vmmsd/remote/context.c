/* SPDX-License-Identifier: Apache-2.0 */
/* TLS settings: reliability rules 9.1 and 9.2. Made whole and checked before anybody uses them. */
#include "vmmsd/remote/remote_priv.h"

#include <openssl/err.h>
#include <string.h>

enum { VERIFY_DEPTH = 3 };

static int bad(const char *what, struct hv_error **reterr)
{
    ERR_clear_error();
    return hv_error_set(reterr, -EKEYREJECTED, "remote.certificate",
                        "The service's certificate cannot be used: %s.", what);
}

/* Is it ours, and good today? A clock that is far behind shows here as well. */
static int check_chain(const struct pair *authority, X509 *certificate, struct hv_error **reterr)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    int r = -ENOMEM;

    if (store && context && X509_STORE_add_cert(store, authority->certificate) == 1 &&
        X509_STORE_CTX_init(context, store, certificate, NULL) == 1 &&
        X509_STORE_CTX_set_default(context, "ssl_server") == 1) {
        r = X509_verify_cert(context) == 1
                ? 0
                : bad(X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)), reterr);
    }
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return r;
}

/* A certificate that fails a check leaves its error behind and goes through: whoever has one is
 * nobody (peer.c), and is told so in a sentence. That the peer holds its key TLS has proved. */
static int judge(X509_STORE_CTX *context, void *opaque)
{
    if (X509_verify_cert(context) <= 0 && X509_STORE_CTX_get_error(context) == X509_V_OK)
        X509_STORE_CTX_set_error(context, X509_V_ERR_UNSPECIFIED);
    ERR_clear_error();
    return 1;
}

static void harden(SSL_CTX *context)
{
    (void)SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_NO_RENEGOTIATION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(context, 0);
    (void)SSL_CTX_set_max_early_data(context, 0);
    (void)SSL_CTX_set_recv_max_early_data(context, 0);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(context, judge, NULL);
    SSL_CTX_set_verify_depth(context, VERIFY_DEPTH);
    SSL_CTX_set_max_cert_list(context, 16 << 10);
}

static int fill(SSL_CTX *context, const struct pair *authority, const struct pair *server)
{
    X509 *ca = authority->certificate;

    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_use_certificate(context, server->certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, server->key) != 1 ||
        SSL_CTX_add1_chain_cert(context, ca) != 1 || SSL_CTX_add_client_CA(context, ca) != 1 ||
        X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca) != 1)
        return -EIO;
    harden(context);
    return 0;
}

int vmms_context_new(const struct pair *authority, const struct pair *server, SSL_CTX **ret,
                     struct hv_error **reterr)
{
    int r = check_chain(authority, server->certificate, reterr);
    SSL_CTX *context;

    if (r < 0)
        return r;
    context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return -ENOMEM;
    if (fill(context, authority, server) < 0) {
        SSL_CTX_free(context);
        return bad("OpenSSL refuses it", reterr);
    }
    *ret = context;
    return 0;
}
