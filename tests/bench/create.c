/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_create SOCKET KERNEL PREFIX COUNT WIDTH: make VMs called PREFIX0, PREFIX1, ...
 *
 * WIDTH connections, each with its next request as soon as it is answered. Prints how many were
 * made a second, by an unhurried clock: from the first byte sent to the last answer read.
 */
#include "hvcore/base/clock.h"
#include "hvcore/base/own.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { MAX_WIDTH = 256, REQUEST_BYTES = 1024, ANSWER_BYTES = 64 << 10 };

struct client {
    int fd;
    size_t length;
    char answer[ANSWER_BYTES];
};

struct order {
    const char *kernel, *prefix;
    int next, count, done;
};

static int open_connection(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    hv_assert(strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path) + 1);
    hv_assert(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

static void send_next(struct client *client, struct order *order)
{
    char body[REQUEST_BYTES / 2], request[REQUEST_BYTES];
    int length;

    length = snprintf(body, sizeof(body),
                      "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vm.create\",\"params\":{\"name\":"
                      "\"%s%d\",\"settings\":{\"memory.startup\":67108864,\"boot.kernel\":\"%s\","
                      "\"backend\":\"soft\"}}}",
                      order->prefix, order->next++, order->kernel);
    length =
        snprintf(request, sizeof(request),
                 "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", length, body);
    hv_assert((size_t)length < sizeof(request));
    hv_assert(send(client->fd, request, (size_t)length, 0) == length);
    client->length = 0;
}

/* Is the answer there as a whole? It must be a good one. */
static bool read_some(struct client *client)
{
    ssize_t count = recv(client->fd, client->answer + client->length,
                         sizeof(client->answer) - 1 - client->length, 0);
    const char *body, *length;

    hv_assert(count > 0);
    client->length += (size_t)count;
    client->answer[client->length] = '\0';
    body = strstr(client->answer, "\r\n\r\n");
    length = strcasestr(client->answer, "content-length: ");
    if (!body || !length)
        return false;
    body += 4;
    if ((size_t)(client->answer + client->length - body) < strtoul(length + 16, NULL, 10))
        return false;
    hv_assert(strncmp(client->answer, "HTTP/1.1 200", 12) == 0 && strstr(body, "\"result\""));
    return true;
}

static void serve(struct client *clients, struct pollfd *polls, int width, struct order *order)
{
    hv_assert(poll(polls, (nfds_t)width, -1) > 0);
    for (int i = 0; i < width; i++) {
        if (!polls[i].revents || !read_some(&clients[i]))
            continue;
        order->done++;
        if (order->next < order->count)
            send_next(&clients[i], order);
    }
}

int main(int argc, char **argv)
{
    int width = argc == 6 ? atoi(argv[5]) : 0;
    struct client *clients = calloc(MAX_WIDTH, sizeof(*clients));
    struct pollfd polls[MAX_WIDTH];
    struct order order;
    uint64_t began;

    if (width < 1 || width > MAX_WIDTH) {
        (void)fprintf(stderr, "bench_create SOCKET KERNEL PREFIX COUNT WIDTH\n");
        return 2;
    }
    hv_assert(clients);
    order = (struct order){ .kernel = argv[2], .prefix = argv[3], .count = atoi(argv[4]) };
    for (int i = 0; i < width; i++) {
        clients[i].fd = open_connection(argv[1]);
        polls[i] = (struct pollfd){ .fd = clients[i].fd, .events = POLLIN };
    }
    began = hv_clock_monotonic_ns();
    for (int i = 0; i < width && order.next < order.count; i++)
        send_next(&clients[i], &order);
    while (order.done < order.count)
        serve(clients, polls, width, &order);
    (void)printf("%.1f\n", order.count * 1e9 / (double)(hv_clock_monotonic_ns() - began));
    free(clients);
    return 0;
}
