/* SPDX-License-Identifier: Apache-2.0 */
/* What the client's socket, HTTP and stream parts share. */
#pragma once

#include "api/client/client.h"
#include "api/client/dbus.h"
#include "api/client/identity.h"
#include "api/client/tls.h"

enum { MAX_REPLY_BYTES = 64 << 20, MAX_HEAD_BYTES = 16 << 10 };

/* Bytes that came in and were not used yet. */
struct inbox {
    char *bytes;
    size_t length;
    size_t room;
};

/* A connection: a socket, and TLS on it where it leaves the machine. */
struct wire {
    int fd;
    struct api_tls *tls;
    const struct api_tls_ops *ops; /* when tls is there */
};

struct api_client {
    char *path;        /* of the Unix socket, or: */
    char *address;     /* HOST:PORT, */
    char *host, *port; /* in its parts, */
    struct api_identity identity;
    char *fingerprint; /* of the authority, while its certificate is not known */
    const struct api_tls_ops *ops;
    struct wire wire;
    struct inbox inbox;
    char *bus; /* or: a bus, */
    const struct api_dbus_ops *dbus_ops;
    struct api_dbus *dbus; /* once it was asked */
};

/* socket.c */
/* On success and failure to be closed by api_wire_close(). */
int api_wire_connect(const struct api_client *client, struct wire *ret, struct api_error **reterr);
void api_wire_close(struct wire *wire);
int api_wire_write(const struct wire *wire, const void *bytes, size_t length);
/* Is there something to read that polling would not show? */
bool api_wire_is_pending(const struct wire *wire);
/* Read once, append. Returns bytes read, 0 at the end, negative errno. */
ssize_t api_inbox_fill(struct inbox *inbox, const struct wire *wire, size_t max);

/* remote.c */
int api_remote_split(const char *address, char **ret_host, char **ret_port,
                     struct api_error **reterr);
int api_remote_connect(const struct api_client *client, struct wire *ret,
                       struct api_error **reterr);
int api_remote_open(const char *address, struct api_client **ret, struct api_error **reterr);
void api_inbox_drop(struct inbox *inbox, size_t length);

/* http.c */
struct http_head {
    unsigned status;
    size_t head_bytes;
    size_t body_bytes;
    bool has_length;
    bool is_upgrade;
    bool is_close;
};
/* Read a response's head from the socket. Returns 0 or a negative errno. */
int api_http_read_head(struct inbox *inbox, const struct wire *wire, struct http_head *ret);
/* The same with its body: head_bytes and body_bytes of the inbox. */
int api_http_read(struct inbox *inbox, const struct wire *wire, struct http_head *ret);
/* An answer that is not JSON-RPC: a sentence and a status, as an error. Returns -EINVAL. */
int api_http_refusal(const struct inbox *inbox, const struct http_head *head,
                     struct api_error **reterr);

/* bus_stream.c: what streams are on a bus */
struct api_bus_events;
int api_bus_events_open(const struct api_client *client, const char *params,
                        struct api_bus_events **ret, struct api_error **reterr);
struct api_bus_events *api_bus_events_close(struct api_bus_events *events);
/* As api_stream_next; waits where there is none. */
int api_bus_events_next(struct api_bus_events *events, struct api_message *ret);
/* ret_fd: the caller's, with the port's bytes as they are */
int api_bus_console_open(const struct api_client *client, const char *params, int *ret_fd,
                         struct api_error **reterr);

/* call.c */
/* The bus, loaded and connected to. */
int api_client_open_bus(struct api_client *client, struct api_error **reterr);
char *api_call_text(enum api_method method, const char *params);
/* The result or error out of a JSON-RPC answer. */
int api_call_answer(const char *text, size_t length, struct api_reply *ret,
                    struct api_error **reterr);
