/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: our authority's, our own, our clients'. EC P-256, X.509 version 3. */
#include "vmmsd/remote/remote_priv.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* Clocks of clients that are a little behind must not see a certificate from the future. */
enum { BACKDATE_S = 3600, DAY_S = 86400 };

/* Names */

void vmms_names_fini(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    *names = (struct names){ 0 };
}

static bool is_address(const char *name)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* RFC 1123 letters, digits, hyphens and dots. */
static bool is_host_name(const char *name)
{
    size_t length = strlen(name);

    return length && length <= 253 && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
               length;
}

int vmms_names_add(struct names *names, const char *name)
{
    if (!is_address(name) && !is_host_name(name))
        return -EINVAL;
    for (size_t i = 0; i < names->count; i++) {
        if (strcasecmp(names->list[i], name) == 0)
            return 0;
    }
    if (names->count == MAX_NAMES)
        return -ENOSPC;
    names->list[names->count] = strdup(name);
    if (!names->list[names->count])
        return -ENOMEM;
    names->count++;
    return 0;
}

static void add_interfaces(struct names *names)
{
    char text[INET6_ADDRSTRLEN];
    struct ifaddrs *all, *one;
    const void *address;

    if (getifaddrs(&all) < 0)
        return;
    for (one = all; one; one = one->ifa_next) {
        if (!one->ifa_addr || one->ifa_flags & IFF_LOOPBACK)
            continue;
        if (one->ifa_addr->sa_family == AF_INET6 &&
            IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)one->ifa_addr)->sin6_addr))
            continue;
        if (one->ifa_addr->sa_family == AF_INET)
            address = &((const struct sockaddr_in *)one->ifa_addr)->sin_addr;
        else if (one->ifa_addr->sa_family == AF_INET6)
            address = &((const struct sockaddr_in6 *)one->ifa_addr)->sin6_addr;
        else
            continue;
        if (inet_ntop(one->ifa_addr->sa_family, address, text, sizeof(text)))
            (void)vmms_names_add(names, text);
    }
    freeifaddrs(all);
}

void vmms_names_add_host(struct names *names)
{
    char host[256] = "";

    if (gethostname(host, sizeof(host) - 1) == 0)
        (void)vmms_names_add(names, host);
    add_interfaces(names);
    (void)vmms_names_add(names, "localhost");
    (void)vmms_names_add(names, "127.0.0.1");
    (void)vmms_names_add(names, "::1");
}

int vmms_pki_names(X509 *certificate, struct names *ret)
{
    GENERAL_NAMES *found = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    char text[INET6_ADDRSTRLEN];
    int r = 0;

    for (int i = 0; r == 0 && i < sk_GENERAL_NAME_num(found); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(found, i);
        const ASN1_STRING *value = name->type == GEN_DNS     ? name->d.dNSName
                                   : name->type == GEN_IPADD ? name->d.iPAddress
                                                             : NULL;
        const unsigned char *bytes = value ? ASN1_STRING_get0_data(value) : NULL;
        int length = value ? ASN1_STRING_length(value) : 0;

        if (name->type == GEN_DNS && bytes)
            r = vmms_names_add(ret, (const char *)bytes);
        else if ((length == 4 || length == 16) &&
                 inet_ntop(length == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text)))
            r = vmms_names_add(ret, text);
    }
    GENERAL_NAMES_free(found);
    return r;
}

/* Building */

static int add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    int r = -EIO;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (extension && X509_add_ext(certificate, extension, -1) == 1)
        r = 0;
    X509_EXTENSION_free(extension);
    return r;
}

struct extension {
    int nid;
    const char *value;
};

static int add_extensions(X509 *certificate, X509 *issuer, const struct extension *list)
{
    int r = 0;

    for (; r == 0 && list->value; list++)
        r = add_extension(certificate, issuer, list->nid, list->value);
    return r;
}

static int set_serial(X509 *certificate)
{
    unsigned char bytes[16];
    BIGNUM *number;
    int r = -EIO;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return -EIO;
    bytes[0] = (bytes[0] & 0x3f) | 0x40; /* positive, and of one length */
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    if (number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)))
        r = 0;
    BN_free(number);
    return r;
}

/* All but extensions and signature. issuer NULL: its own. */
static X509 *draft(EVP_PKEY *key, const char *name, int days, const X509 *issuer)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = certificate ? X509_get_subject_name(certificate) : NULL;

    if (certificate && X509_set_version(certificate, X509_VERSION_3) == 1 &&
        set_serial(certificate) == 0 &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATE_S) &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), (long)days * DAY_S) &&
        X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"hvstack",
                                   -1, -1, 0) == 1 &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
                                   -1, 0) == 1 &&
        X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject) == 1 &&
        X509_set_pubkey(certificate, key) == 1)
        return certificate;
    X509_free(certificate);
    return NULL;
}

static int finish(X509 *certificate, EVP_PKEY *key, int r)
{
    if (r == 0 && !certificate)
        r = -EIO;
    if (r == 0 && X509_sign(certificate, key, EVP_sha256()) <= 0)
        r = -EIO;
    ERR_clear_error();
    return r;
}

int vmms_pki_authority(struct pair *ret)
{
    static const struct extension extensions[] = {
        { NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
        { NID_key_usage, "critical,keyCertSign,cRLSign" },
        { NID_subject_key_identifier, "hash" },
        { 0, NULL },
    };
    unsigned char tag[4] = { 0 };
    char name[64];
    int r;

    *ret = (struct pair){ .key = EVP_EC_gen("P-256") };
    if (!ret->key || RAND_bytes(tag, sizeof(tag)) != 1)
        return finish(NULL, NULL, -EIO);
    /* Two authorities never have one name: an error can then tell which one is missing. */
    (void)snprintf(name, sizeof(name), "hvstack authority %02x%02x%02x%02x", tag[0], tag[1], tag[2],
                   tag[3]);
    ret->certificate = draft(ret->key, name, AUTHORITY_DAYS, NULL);
    r = ret->certificate ? add_extensions(ret->certificate, ret->certificate, extensions) : -EIO;
    return finish(ret->certificate, ret->key, r);
}

/* "DNS:host,IP:1.2.3.4": names are known to hold neither comma nor colon, but for IPv6. */
static char *alternatives(const struct names *names)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    if (!out)
        return NULL;
    for (size_t i = 0; i < names->count; i++)
        (void)fprintf(out, "%s%s:%s", i ? "," : "", is_address(names->list[i]) ? "IP" : "DNS",
                      names->list[i]);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

int vmms_pki_server(const struct pair *authority, const struct names *names, struct pair *ret)
{
    static const struct extension extensions[] = {
        { NID_basic_constraints, "critical,CA:FALSE" },
        { NID_key_usage, "critical,digitalSignature" },
        { NID_ext_key_usage, "serverAuth" },
        { NID_subject_key_identifier, "hash" },
        { NID_authority_key_identifier, "keyid" },
        { 0, NULL },
    };
    hv_autofree char *text = alternatives(names);
    int r;

    *ret = (struct pair){ .key = EVP_EC_gen("P-256") };
    if (!ret->key || !text)
        return finish(NULL, NULL, -EIO);
    ret->certificate = draft(ret->key, "hvstack service", SERVER_DAYS, authority->certificate);
    r = ret->certificate ? add_extensions(ret->certificate, authority->certificate, extensions)
                         : -EIO;
    if (r == 0)
        r = add_extension(ret->certificate, authority->certificate, NID_subject_alt_name, text);
    return finish(ret->certificate, authority->key, r);
}

/* Requests */

static int refuse_request(const char *why, struct api_error **reterr)
{
    ERR_clear_error();
    return api_error_set(reterr, API_E_INVALID_PARAMETER, "remote.csr", "csr",
                         "The certificate request %s.", why);
}

static bool is_strong(EVP_PKEY *key)
{
    int bits = EVP_PKEY_get_bits(key);

    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC: return bits >= 256 && bits <= 521;
    case EVP_PKEY_RSA: return bits >= 2048 && bits <= 8192;
    case EVP_PKEY_ED25519: return true;
    default: return false;
    }
}

static int read_request(const char *csr, EVP_PKEY **ret, struct api_error **reterr)
{
    BIO *bio = BIO_new_mem_buf(csr, (int)strlen(csr));
    X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = request ? X509_REQ_get_pubkey(request) : NULL;
    int r = 0;

    if (!request)
        r = refuse_request("is not PKCS #10 as PEM", reterr);
    else if (!key || !is_strong(key))
        r = refuse_request("has a key other than EC of 256 bits or more, Ed25519, or RSA of 2048 "
                           "to 8192 bits",
                           reterr);
    else if (X509_REQ_verify(request, key) != 1)
        r = refuse_request("is not signed by the key that it holds", reterr);
    X509_REQ_free(request);
    BIO_free(bio);
    if (r < 0)
        EVP_PKEY_free(key);
    else
        *ret = key;
    return r;
}

int vmms_pki_client(const struct pair *authority, const char *csr, const char *name, X509 **ret,
                    struct api_error **reterr)
{
    static const struct extension extensions[] = {
        { NID_basic_constraints, "critical,CA:FALSE" },
        { NID_key_usage, "critical,digitalSignature" },
        { NID_ext_key_usage, "clientAuth" },
        { NID_subject_key_identifier, "hash" },
        { NID_authority_key_identifier, "keyid" },
        { 0, NULL },
    };
    EVP_PKEY *key;
    X509 *certificate;
    int r = read_request(csr, &key, reterr);

    if (r < 0)
        return r;
    certificate = draft(key, name, CLIENT_DAYS, authority->certificate);
    EVP_PKEY_free(key);
    r = certificate ? add_extensions(certificate, authority->certificate, extensions) : -EIO;
    r = finish(certificate, authority->key, r);
    if (r < 0)
        X509_free(certificate);
    else
        *ret = certificate;
    return r;
}

/* Telling */

static void put_hex(const unsigned char *bytes, size_t length, char *ret)
{
    for (size_t i = 0; i < length; i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

void vmms_pki_hash(const void *bytes, size_t length, char ret[static VMMS_FINGERPRINT_BYTES])
{
    unsigned char digest[32];

    hv_assert(EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL) == 1);
    put_hex(digest, sizeof(digest), ret);
}

void vmms_pki_fingerprint(const X509 *certificate, char ret[static VMMS_FINGERPRINT_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    hv_assert(X509_digest(certificate, EVP_sha256(), digest, &length) == 1 && length == 32);
    put_hex(digest, length, ret);
}

char *vmms_pki_text(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text, *copy = NULL;
    long length;

    if (bio && PEM_write_bio_X509(bio, certificate) == 1) {
        length = BIO_get_mem_data(bio, &text);
        copy = strndup(text, (size_t)length);
    }
    BIO_free(bio);
    ERR_clear_error();
    return copy;
}

uint64_t vmms_pki_expires_ms(const X509 *certificate)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return (uint64_t)timegm(&tm) * 1000;
}
