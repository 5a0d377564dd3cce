/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service, for programs: calls and streams over the Unix socket or TLS. Blocking, one thread.
 *
 * HTTP and WebSocket are spoken by a small strict client of our own: hvadm lives for a few
 * milliseconds, and creating a libwebsockets context (TLS set-up, plugin search) takes longer than
 * its whole work. The peer is the service itself, found by its socket's path.
 */
#pragma once

#include "api/gen/types.h"
#include "api/rpc/error.h"

struct api_client;
struct api_stream;
struct json_doc;
struct json_value;

/* uri: "unix:PATH", an absolute path, "dbus:system", "dbus:session", "dbus:" and a bus's address,
 * or "https://HOST:PORT" of a service that one is enrolled at. Connects at the first call. Returns
 * 0, -EINVAL with *reterr, -ENOMEM. */
int api_client_open(const char *uri, struct api_client **ret, struct api_error **reterr);
struct api_client *api_client_close(struct api_client *client);
static inline void api_client_closep(struct api_client **client)
{
    *client = api_client_close(*client);
}

/* Does it call another machine? */
bool api_client_is_remote(const struct api_client *client);

/* Can a stream be polled together with other things? One of events on a bus can only be waited
 * for. */
bool api_client_has_streams(const struct api_client *client);

/* Turn a token into a certificate of one's own, kept in files (identity.h) for api_client_open.
 *
 * address: HOST:PORT; ret_folder: where it is kept, freed by the caller
 */
int api_remote_enroll(const char *address, const char *token, struct api_remote_certificate *ret,
                      char **ret_folder, struct api_error **reterr);
/* A new certificate in the place of the one that this client calls with. */
int api_remote_refresh(struct api_client *client, struct api_remote_certificate *ret,
                       struct api_error **reterr);

struct api_reply {
    /* read only */
    struct json_doc *doc;
    const struct json_value *result;
};
void api_reply_fini(struct api_reply *reply);

/*
 * Call a method.
 *
 * params: JSON text of an object, or NULL
 * return: 0; -EINVAL with *reterr: the service's own error, or what kept it from being asked
 */
int api_client_call(struct api_client *client, enum api_method method, const char *params,
                    struct api_reply *ret, struct api_error **reterr);

/* The same, with the result as the method's struct. */
int api_client_get(struct api_client *client, enum api_method method, const char *params,
                   union api_result *ret, struct api_error **reterr);

/* Open a stream by a stream method; its result goes to ret_reply (on a bus: nothing does). Uses a
 * connection of its own. */
int api_stream_open(const struct api_client *client, enum api_method method, const char *params,
                    struct api_stream **ret, struct api_reply *ret_reply,
                    struct api_error **reterr);
struct api_stream *api_stream_close(struct api_stream *stream);
static inline void api_stream_closep(struct api_stream **stream)
{
    *stream = api_stream_close(*stream);
}

/* To be polled for reading. */
int api_stream_fd(const struct api_stream *stream);

struct api_message {
    /* read only: valid until the next call on the stream */
    bool is_binary;
    const char *bytes;
    size_t length;
};

/* Would api_stream_next have something without waiting? Polling the descriptor alone misses what
 * has been read already. */
bool api_stream_is_ready(const struct api_stream *stream);

enum { API_STREAM_MESSAGE = 1, API_STREAM_NOTHING = 2, API_STREAM_END = 3 };

/*
 * The next message. Reads from the socket once where none is complete, which blocks unless the
 * descriptor is readable.
 *
 * return: API_STREAM_...; negative errno
 */
int api_stream_next(struct api_stream *stream, struct api_message *ret);

/* Send bytes as one binary message. */
int api_stream_send(struct api_stream *stream, const void *bytes, size_t length);
