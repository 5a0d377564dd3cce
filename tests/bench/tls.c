/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_tls PORT FOLDER [IDLE]: calls over TLS with what hvadm keeps in FOLDER.
 *
 * Prints calls a second on one connection, one after the other, and milliseconds from connect() to
 * the first answer on new ones; then the same of a server that only answers, which is what TLS
 * costs on this machine. With IDLE: opens so many connections that are answered once, says
 * how many, and keeps them until its input ends. An identity may read 4,000 times in a burst, so
 * there are fewer calls than that.
 */
#include "hvcore/base/clock.h"
#include "hvcore/base/own.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { N_CALLS = 3000, N_CONNECTS = 51 };

static const char body[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"host.ping\"}";

static SSL_CTX *make_context(const char *folder, const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/client.pem", folder);
    hv_assert(SSL_CTX_use_certificate_chain_file(context, path) == 1);
    hv_assert(SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) == 1);
    (void)snprintf(path, sizeof(path), "%s/ca.pem", folder);
    hv_assert(SSL_CTX_load_verify_locations(context, path, NULL) == 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return context;
}

static SSL *open_connection(SSL_CTX *context, int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    SSL *ssl = SSL_new(context);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    hv_assert(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    hv_assert(SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1);
    return ssl;
}

static void call(SSL *ssl)
{
    char request[256], answer[4096];
    int length = snprintf(request, sizeof(request),
                          "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                          strlen(body), body);
    size_t got = 0;

    hv_assert(SSL_write(ssl, request, length) == length);
    do {
        int n = SSL_read(ssl, answer + got, (int)(sizeof(answer) - 1 - got));

        hv_assert(n > 0);
        got += (size_t)n;
        answer[got] = '\0';
    } while (!strstr(answer, "\r\n\r\n") || answer[got - 1] != '}');
    hv_assert(strstr(answer, "\"result\""));
}

static void close_connection(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    (void)SSL_shutdown(ssl);
    SSL_free(ssl);
    (void)close(fd);
}

static int compare(const void *a, const void *b)
{
    const uint64_t *l = a, *r = b;

    return *l < *r ? -1 : *l > *r;
}

static void measure(SSL_CTX *context, int port)
{
    SSL *ssl = open_connection(context, port);
    uint64_t times[N_CONNECTS], began;
    double rate;

    call(ssl);
    began = hv_clock_monotonic_ns();
    for (int i = 0; i < N_CALLS; i++)
        call(ssl);
    rate = N_CALLS * 1e9 / (double)(hv_clock_monotonic_ns() - began);
    close_connection(ssl);
    for (int i = 0; i < N_CONNECTS; i++) {
        began = hv_clock_monotonic_ns();
        ssl = open_connection(context, port);
        call(ssl);
        times[i] = hv_clock_monotonic_ns() - began;
        close_connection(ssl);
    }
    qsort(times, N_CONNECTS, sizeof(times[0]), compare);
    (void)printf("%.0f %.3f\n", rate, (double)times[N_CONNECTS / 2] / 1e6);
}

/* A server that only answers */

static int accept_any(int verified, X509_STORE_CTX *store)
{
    return 1; /* its certificate is a client's */
}

static void answer_all(SSL_CTX *context, int listener)
{
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nserver: hvstack\r\ncontent-type: application/json\r\n"
        "content-length: 36\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}";
    char request[1024];

    for (;;) {
        int fd = accept(listener, NULL, NULL), on = 1;
        SSL *ssl = SSL_new(context);

        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        hv_assert(SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1);
        while (SSL_read(ssl, request, sizeof(request)) > 0)
            hv_assert(SSL_write(ssl, answer, sizeof(answer) - 1) == sizeof(answer) - 1);
        close_connection(ssl);
    }
}

static void measure_bare(const char *folder)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    SSL_CTX *client = make_context(folder, TLS_client_method());
    SSL_CTX *server = make_context(folder, TLS_server_method());
    pid_t child;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    hv_assert(bind(listener, (const struct sockaddr *)&address, sizeof(address)) == 0);
    hv_assert(listen(listener, 8) == 0);
    hv_assert(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    SSL_CTX_set_verify(client, SSL_VERIFY_PEER, accept_any);
    SSL_CTX_set_verify(server, SSL_VERIFY_PEER, accept_any);
    (void)SSL_CTX_set_session_id_context(server, (const unsigned char *)"bench", 5);
    (void)fflush(stdout);
    child = fork();
    hv_assert(child >= 0);
    if (child == 0)
        answer_all(server, listener);
    measure(client, ntohs(address.sin_port));
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

static int stay(SSL_CTX *context, int port, int count)
{
    struct rlimit files = { 4096, 4096 };

    (void)setrlimit(RLIMIT_NOFILE, &files);
    for (int i = 0; i < count; i++)
        call(open_connection(context, port));
    (void)printf("%d\n", count);
    (void)fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}

int main(int argc, char **argv)
{
    int port = argc > 2 ? atoi(argv[1]) : 0;
    SSL_CTX *context = argc > 2 ? make_context(argv[2], TLS_client_method()) : NULL;

    if (!context) {
        (void)fprintf(stderr, "bench_tls PORT FOLDER [IDLE]\n");
        return 2;
    }
    if (argc > 3)
        return stay(context, port, atoi(argv[3]));
    measure(context, port);
    measure_bare(argv[2]);
    return 0;
}
