/* SPDX-License-Identifier: Apache-2.0 */
/* Services on other machines: their addresses, becoming one of their clients, staying one. */
#include "api/client/client_priv.h"

#include "api/client/identity.h"
#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { PATIENCE_S = 10, FINGERPRINT_DIGITS = 32, PREFIX_CHARS = 5 };

/* Addresses */

int api_remote_split(const char *address, char **ret_host, char **ret_port,
                     struct api_error **reterr)
{
    const char *colon = strrchr(address, ':'), *port = colon ? colon + 1 : "", *host = address;
    size_t length = colon ? (size_t)(colon - address) : 0;
    bool is_number = *port && strspn(port, "0123456789") == strlen(port);

    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    }
    if (!length || !is_number || memchr(host, '/', length))
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "client.uri", "connect",
                             "\"%.100s\" is not HOST:PORT.", address);
    *ret_host = strndup(host, length);
    *ret_port = strdup(port);
    return *ret_host && *ret_port ? 0 : -ENOMEM;
}

static int unreachable(const char *address, const char *why, struct api_error **reterr)
{
    return api_error_set(reterr, API_E_NOT_AVAILABLE, "client.connect", NULL,
                         "The service cannot be reached at https://%s: %s.", address, why);
}

/* Linux lets a time-out for sending end a connect as well. */
static void set_patience(int fd, int seconds)
{
    struct timeval time = { .tv_sec = seconds };

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
}

static int connect_one(const struct addrinfo *to)
{
    hv_autofd int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, to->ai_protocol);
    int on = 1;

    if (fd < 0)
        return -errno;
    set_patience(fd, PATIENCE_S);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0)
        return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
    return HV_TAKE_FD(fd);
}

static int connect_tcp(const struct api_client *client, struct api_error **reterr)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    /* The service's own name for this machine needs no look-up: RFC 6761, 6.3 */
    const char *name = strcmp(client->host, "localhost") == 0 ? "127.0.0.1" : client->host;
    struct addrinfo *found = NULL;
    int fd = -1, r = getaddrinfo(name, client->port, &hints, &found);

    if (r != 0)
        return unreachable(client->address, gai_strerror(r), reterr);
    for (const struct addrinfo *one = found; one && fd < 0; one = one->ai_next)
        fd = connect_one(one);
    freeaddrinfo(found);
    return fd < 0 ? unreachable(client->address, strerror(-fd), reterr) : fd;
}

int api_remote_connect(const struct api_client *client, struct wire *ret, struct api_error **reterr)
{
    const struct api_tls_config config = { .host = client->host,
                                           .authority = client->identity.authority,
                                           .fingerprint = client->fingerprint,
                                           .identity = client->identity.identity };
    int r;

    ret->ops = client->ops;
    ret->fd = connect_tcp(client, reterr);
    if (ret->fd < 0)
        return -EINVAL;
    r = client->ops->open(ret->fd, &config, &ret->tls, reterr);
    set_patience(ret->fd, 0);
    if (r < 0)
        ret->fd = hv_close(ret->fd);
    return r;
}

/* Opening */

static int open_remote(const char *address, struct api_client **ret, struct api_error **reterr)
{
    struct api_client *client = calloc(1, sizeof(*client));
    int r;

    if (!client)
        return -ENOMEM;
    client->wire.fd = -1;
    client->address = strdup(address);
    r = client->address ? api_remote_split(address, &client->host, &client->port, reterr) : -ENOMEM;
    if (r == 0)
        r = api_tls_load(&client->ops, reterr);
    if (r < 0)
        api_client_close(client);
    else
        *ret = client;
    return r;
}

int api_remote_open(const char *address, struct api_client **ret, struct api_error **reterr)
{
    struct api_client *client;
    int r = open_remote(address, &client, reterr);

    if (r < 0)
        return r;
    r = api_identity_read(address, &client->identity, reterr);
    if (r < 0)
        api_client_close(client);
    else
        *ret = client;
    return r;
}

/* Enrolment */

static char *enroll_params(const char *token, const char *request)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    if (token) {
        json_key(&out, "token");
        json_put_string(&out, token);
    }
    json_key(&out, "csr");
    json_put_string(&out, request);
    json_end_object(&out);
    return json_writer_take(&out, &text, NULL) < 0 ? NULL : text;
}

/* Ask by that method for a certificate, keep it. token NULL: the client has one already. */
static int ask_for_certificate(struct api_client *client, const char *token,
                               struct api_remote_certificate *ret, char **ret_folder,
                               struct api_error **reterr)
{
    enum api_method method = token ? API_METHOD_REMOTE_ENROLL : API_METHOD_REMOTE_REFRESH;
    hv_autofree char *key = NULL, *request = NULL, *params = NULL;
    union api_result result = { 0 };
    int r = client->ops->make_request(&key, &request);

    params = r == 0 ? enroll_params(token, request) : NULL;
    if (!params)
        return -ENOMEM;
    r = api_client_get(client, method, params, &result, reterr);
    if (r < 0)
        return r;
    r = api_identity_write(client->address, token ? result.remote_certificate.authority : NULL, key,
                           result.remote_certificate.certificate, ret_folder, reterr);
    if (r < 0)
        api_remote_certificate_fini(&result.remote_certificate);
    else
        *ret = result.remote_certificate;
    return r;
}

static int read_token(const char *token, char **ret_fingerprint, struct api_error **reterr)
{
    if (strncmp(token, "hvt1-", PREFIX_CHARS) != 0 ||
        strspn(token + PREFIX_CHARS, "0123456789abcdef") != FINGERPRINT_DIGITS ||
        token[PREFIX_CHARS + FINGERPRINT_DIGITS] != '-')
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "client.token", "token",
                             "This is no token; one begins with hvt1- and comes from hvadm remote "
                             "invite.");
    *ret_fingerprint = strndup(token + PREFIX_CHARS, FINGERPRINT_DIGITS);
    return *ret_fingerprint ? 0 : -ENOMEM;
}

int api_remote_enroll(const char *address, const char *token, struct api_remote_certificate *ret,
                      char **ret_folder, struct api_error **reterr)
{
    HV_CLEANUP(api_client_closep) struct api_client *client = NULL;
    int r = open_remote(address, &client, reterr);

    if (r == 0)
        r = read_token(token, &client->fingerprint, reterr);
    return r < 0 ? r : ask_for_certificate(client, token, ret, ret_folder, reterr);
}

bool api_client_is_remote(const struct api_client *client)
{
    return client->address;
}

int api_remote_refresh(struct api_client *client, struct api_remote_certificate *ret,
                       struct api_error **reterr)
{
    if (!client->address)
        return api_error_set(reterr, API_E_NOT_SUPPORTED, "client.refresh", NULL,
                             "Only a client with a certificate can renew it.");
    return ask_for_certificate(client, NULL, ret, NULL, reterr);
}
