/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS module: TLS 1.3 to a service whose authority we know, or whose fingerprint we were told.
 * Bytes go by memory BIOs, so that sending never raises a signal. */
#include "api/client/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>

enum { READ_BYTES = 32 << 10 };

struct api_tls {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    X509 *authority;
};

/* What went wrong */

static int refuse(const char *id, const char *sentence, const char *hint, struct api_error **reterr)
{
    ERR_clear_error();
    (void)api_error_set(reterr, API_E_UNAUTHENTICATED, id, NULL, "%s", sentence);
    if (reterr && hint)
        api_error_hint(*reterr, "%s", hint);
    return -EINVAL;
}

static int refuse_service(long error, const char *host, struct api_error **reterr)
{
    static const struct {
        long error;
        const char *id, *sentence, *hint;
    } checks[] = {
        { X509_V_ERR_CERT_HAS_EXPIRED, "client.service.expired",
          "The service's certificate has expired.", "hvadm remote renew on its host renews it." },
        { X509_V_ERR_CERT_NOT_YET_VALID, "client.service.not_yet_valid",
          "The service's certificate is not valid yet.", "Is the clock of this machine right?" },
        { X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "client.service.authority",
          "The service's certificate comes from another authority than the one enrolled with.",
          NULL },
        { X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "client.service.authority",
          "The service's certificate comes from another authority than the one enrolled with.",
          NULL },
        { X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "client.service.self_signed",
          "The service's certificate is signed by itself.", NULL },
        { X509_V_ERR_INVALID_PURPOSE, "client.service.purpose",
          "The service's certificate is not one for services.", NULL },
    };

    ERR_clear_error();
    for (size_t i = 0; i < HV_ARRAY_SIZE(checks); i++) {
        if (checks[i].error == error)
            return refuse(checks[i].id, checks[i].sentence, checks[i].hint, reterr);
    }
    if (error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        (void)api_error_set(reterr, API_E_UNAUTHENTICATED, "client.service.name", NULL,
                            "The service's certificate is not good for the name %s.", host);
        if (reterr)
            api_error_hint(*reterr, "hvadm remote renew --name %s on its host adds it.", host);
        return -EINVAL;
    }
    return api_error_set(reterr, API_E_UNAUTHENTICATED, "client.service", NULL,
                         "The service's certificate is refused: %s.",
                         X509_verify_cert_error_string(error));
}

static int refuse_handshake(struct api_error **reterr)
{
    unsigned long error = ERR_peek_error();
    const char *why = ERR_reason_error_string(error);
    int reason = ERR_GET_REASON(error);

    if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION)
        return refuse("client.tls.version", "The service does not speak TLS 1.3.", NULL, reterr);
    if (reason == SSL_R_WRONG_VERSION_NUMBER)
        return refuse("client.tls.none", "What listens there does not speak TLS.", NULL, reterr);
    ERR_clear_error();
    return api_error_set(reterr, API_E_NOT_AVAILABLE, "client.tls", NULL,
                         "The TLS handshake failed: %s.", why ? why : "the connection broke off");
}

/* Bytes */

static int send_out(struct api_tls *tls)
{
    char *bytes;
    long length = BIO_get_mem_data(tls->out, &bytes);
    ssize_t count;

    while (length > 0) {
        count = send(tls->fd, bytes, (size_t)length, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        bytes += count;
        length -= count;
    }
    (void)BIO_reset(tls->out);
    return 0;
}

/* Returns 1, 0 at the end, negative errno. */
static int receive(struct api_tls *tls)
{
    char bytes[READ_BYTES];
    ssize_t count;

    do {
        count = recv(tls->fd, bytes, sizeof(bytes), 0);
    } while (count < 0 && errno == EINTR);
    if (count <= 0)
        return count < 0 ? -errno : 0;
    return BIO_write(tls->in, bytes, (int)count) == (int)count ? 1 : -ENOMEM;
}

static ssize_t tls_read(struct api_tls *tls, void *bytes, size_t room)
{
    int count, error, r;

    for (;;) {
        ERR_clear_error();
        count = SSL_read(tls->ssl, bytes, room > INT_MAX ? INT_MAX : (int)room);
        if (count > 0)
            return count;
        error = SSL_get_error(tls->ssl, count);
        r = send_out(tls);
        if (r < 0)
            return r;
        if (error == SSL_ERROR_ZERO_RETURN)
            return 0;
        if (error != SSL_ERROR_WANT_READ)
            return -EPROTO;
        r = receive(tls);
        if (r <= 0)
            return r < 0 ? r : -ECONNRESET; /* an end without close_notify may be a cut */
    }
}

static int tls_write(struct api_tls *tls, const void *bytes, size_t length)
{
    const char *at = bytes;
    int count, r = 0;

    while (r == 0 && length) {
        ERR_clear_error();
        count = SSL_write(tls->ssl, at, length > READ_BYTES ? READ_BYTES : (int)length);
        if (count <= 0)
            return -EPROTO;
        at += count;
        length -= (size_t)count;
        r = send_out(tls);
    }
    return r;
}

static bool tls_is_pending(const struct api_tls *tls)
{
    return SSL_has_pending(tls->ssl) || BIO_ctrl_pending(tls->in) > 0;
}

/* Certificates */

static X509 *read_certificate(const char *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    return certificate;
}

static int no_password(char *bytes, int room, int is_writing, void *opaque)
{
    return -1;
}

static int use_identity(struct api_tls *tls, const char *identity, struct api_error **reterr)
{
    BIO *bio = BIO_new_mem_buf(identity, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    X509 *certificate = read_certificate(identity);
    bool is_good = key && certificate && SSL_CTX_use_certificate(tls->context, certificate) == 1 &&
                   SSL_CTX_use_PrivateKey(tls->context, key) == 1;

    EVP_PKEY_free(key);
    X509_free(certificate);
    BIO_free(bio);
    return is_good ? 0
                   : refuse("client.identity", "The key and certificate kept here cannot be used.",
                            "Enrol anew with a token from hvadm remote invite.", reterr);
}

static bool has_fingerprint(const X509 *certificate, const char *wanted)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    char text[2 * EVP_MAX_MD_SIZE + 1] = "";

    if (X509_digest(certificate, EVP_sha256(), digest, &length) != 1)
        return false;
    for (unsigned i = 0; i < length; i++)
        (void)snprintf(text + 2 * (size_t)i, 3, "%02x", digest[i]);
    return strncmp(text, wanted, strlen(wanted)) == 0;
}

/* Of what the service showed, the certificate with the fingerprint that we were told. */
static X509 *find_authority(const SSL *ssl, const char *fingerprint)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);

    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *one = sk_X509_value(chain, i);

        if (has_fingerprint(one, fingerprint) && X509_up_ref(one) == 1)
            return one;
    }
    return NULL;
}

/* X509_V_OK, or the first check that failed. */
static long judge(const struct api_tls *tls, const char *host)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509 *certificate = SSL_get0_peer_certificate(tls->ssl);
    unsigned char address[16];
    long error = X509_V_ERR_OUT_OF_MEM;
    bool is_address =
        inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;

    if (store && context && certificate && X509_STORE_add_cert(store, tls->authority) == 1 &&
        X509_STORE_CTX_init(context, store, certificate, NULL) == 1 &&
        X509_STORE_CTX_set_default(context, "ssl_server") == 1) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
        int r = is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, host)
                           : X509_VERIFY_PARAM_set1_host(param, host, 0);

        if (r == 1)
            error = X509_verify_cert(context) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context);
    }
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return error;
}

static int check_service(struct api_tls *tls, const struct api_tls_config *config,
                         struct api_error **reterr)
{
    long error;

    tls->authority = config->authority ? read_certificate(config->authority)
                                       : find_authority(tls->ssl, config->fingerprint);
    if (!tls->authority && config->authority)
        return refuse("client.authority", "The authority's certificate kept here cannot be used.",
                      NULL, reterr);
    if (!tls->authority)
        return refuse("client.fingerprint",
                      "What listens there is not the service that made this token.",
                      "The token was not shown to it.", reterr);
    error = judge(tls, config->host);
    return error == X509_V_OK ? 0 : refuse_service(error, config->host, reterr);
}

/* Opening */

static int prepare(struct api_tls *tls, const struct api_tls_config *config,
                   struct api_error **reterr)
{
    tls->context = SSL_CTX_new(TLS_client_method());
    if (!tls->context || SSL_CTX_set_min_proto_version(tls->context, TLS1_3_VERSION) != 1)
        return -ENOMEM;
    /* What the service shows is judged after the handshake, before a byte is said. */
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_NONE, NULL);
    if (config->identity && use_identity(tls, config->identity, reterr) < 0)
        return -EINVAL;
    tls->ssl = SSL_new(tls->context);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    if (!tls->ssl || !tls->in || !tls->out) {
        BIO_free(tls->in);
        BIO_free(tls->out);
        return -ENOMEM;
    }
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_connect_state(tls->ssl);
    if (!strchr(config->host, ':'))
        (void)SSL_set_tlsext_host_name(tls->ssl, config->host);
    return 0;
}

static int shake_hands(struct api_tls *tls, struct api_error **reterr)
{
    int r, error;

    for (;;) {
        ERR_clear_error();
        r = SSL_do_handshake(tls->ssl);
        error = r == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, r);
        if (send_out(tls) < 0 || r == 1)
            break;
        if (error != SSL_ERROR_WANT_READ || receive(tls) <= 0)
            return refuse_handshake(reterr);
    }
    return r == 1 ? 0 : refuse_handshake(reterr);
}

static void tls_close(struct api_tls *tls)
{
    if (!tls)
        return;
    ERR_clear_error();
    if (tls->ssl && SSL_is_init_finished(tls->ssl)) {
        (void)SSL_shutdown(tls->ssl);
        (void)send_out(tls);
    }
    X509_free(tls->authority);
    SSL_free(tls->ssl);
    SSL_CTX_free(tls->context);
    free(tls);
}

static int tls_open(int fd, const struct api_tls_config *config, struct api_tls **ret,
                    struct api_error **reterr)
{
    struct api_tls *tls = calloc(1, sizeof(*tls));
    int r;

    if (!tls)
        return -ENOMEM;
    tls->fd = fd;
    r = prepare(tls, config, reterr);
    if (r == 0)
        r = shake_hands(tls, reterr);
    if (r == 0)
        r = check_service(tls, config, reterr);
    if (r < 0)
        tls_close(tls);
    else
        *ret = tls;
    return r;
}

/* Enrolment */

static char *take_text(BIO *bio)
{
    char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);

    return length > 0 ? strndup(bytes, (size_t)length) : NULL;
}

static char *tls_authority(const struct api_tls *tls)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = bio && PEM_write_bio_X509(bio, tls->authority) == 1 ? take_text(bio) : NULL;

    BIO_free(bio);
    return text;
}

static int make_request(char **ret_key, char **ret_request)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *request = X509_REQ_new();
    BIO *key_bio = BIO_new(BIO_s_mem()), *request_bio = BIO_new(BIO_s_mem());
    int r = -ENOMEM;

    if (key && request && key_bio && request_bio && X509_REQ_set_pubkey(request, key) == 1 &&
        X509_REQ_sign(request, key, EVP_sha256()) > 0 &&
        PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
        PEM_write_bio_X509_REQ(request_bio, request) == 1) {
        *ret_key = take_text(key_bio);
        *ret_request = take_text(request_bio);
        r = *ret_key && *ret_request ? 0 : -ENOMEM;
    }
    BIO_free(key_bio);
    BIO_free(request_bio);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return r;
}

extern const struct api_tls_ops api_tls_ops_1;
__attribute__((visibility("default"))) const struct api_tls_ops api_tls_ops_1 = {
    .open = tls_open,
    .close = tls_close,
    .read = tls_read,
    .write = tls_write,
    .is_pending = tls_is_pending,
    .authority = tls_authority,
    .make_request = make_request,
};
