/* SPDX-License-Identifier: Apache-2.0 */
/* What the client's socket, HTTP and stream parts share. */
#pragma once

#include "api/client/client.h"

enum { MAX_REPLY_BYTES = 64 << 20, MAX_HEAD_BYTES = 16 << 10 };

/* Bytes that came in and were not used yet. */
struct inbox {
    char *bytes;
    size_t length;
    size_t room;
};

struct api_client {
    char *path;
    int fd;
    struct inbox inbox;
};

/* socket.c */
int api_socket_connect(const char *path, int *ret_fd, struct api_error **reterr);
int api_socket_write(int fd, const void *bytes, size_t length);
/* Read once, append. Returns bytes read, 0 at the end, negative errno. */
ssize_t api_inbox_fill(struct inbox *inbox, int fd, size_t max);
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
int api_http_read_head(struct inbox *inbox, int fd, struct http_head *ret);

/* call.c */
char *api_call_text(enum api_method method, const char *params);
/* The result or error out of a JSON-RPC answer. */
int api_call_answer(const char *text, size_t length, struct api_reply *ret,
                    struct api_error **reterr);
