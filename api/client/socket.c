/* SPDX-License-Identifier: Apache-2.0 */
#include "api/client/client_priv.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { READ_BYTES = 64 << 10 };

static int say(const char *path, int errnum, struct api_error **reterr)
{
    int r = api_error_set(
        reterr, errnum == EACCES || errnum == EPERM ? API_E_ACCESS_DENIED : API_E_NOT_AVAILABLE,
        "client.connect", NULL, "The service cannot be reached at %s: %s.", path, strerror(errnum));

    if (reterr && errnum == ENOENT)
        api_error_hint(*reterr, "Is vmmsd running? Name its socket with --connect unix:PATH.");
    else if (reterr && (errnum == EACCES || errnum == EPERM))
        api_error_hint(*reterr, "The socket is its owner's alone; on a message bus polkit decides: "
                                "--connect dbus:system.");
    else if (reterr && errnum == ECONNREFUSED)
        api_error_hint(*reterr, "Is vmmsd running?");
    return r;
}

static int connect_unix(const char *path, int *ret_fd, struct api_error **reterr)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    hv_autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return say(path, errno, reterr);
    if (strlen(path) >= sizeof(address.sun_path))
        return say(path, ENAMETOOLONG, reterr);
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return say(path, errno, reterr);
    *ret_fd = HV_TAKE_FD(fd);
    return 0;
}

int api_wire_connect(const struct api_client *client, struct wire *ret, struct api_error **reterr)
{
    *ret = (struct wire){ .fd = -1 };
    return client->address ? api_remote_connect(client, ret, reterr)
                           : connect_unix(client->path, &ret->fd, reterr);
}

void api_wire_close(struct wire *wire)
{
    if (wire->tls)
        wire->ops->close(wire->tls);
    wire->tls = NULL;
    wire->fd = hv_close(wire->fd);
}

bool api_wire_is_pending(const struct wire *wire)
{
    return wire->tls && wire->ops->is_pending(wire->tls);
}

int api_wire_write(const struct wire *wire, const void *bytes, size_t length)
{
    const char *at = bytes;
    ssize_t count;

    if (wire->tls)
        return wire->ops->write(wire->tls, bytes, length);
    while (length) {
        count = send(wire->fd, at, length, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        at += count;
        length -= (size_t)count;
    }
    return 0;
}

static ssize_t read_wire(const struct wire *wire, void *bytes, size_t room)
{
    ssize_t count;

    if (wire->tls)
        return wire->ops->read(wire->tls, bytes, room);
    do {
        count = recv(wire->fd, bytes, room, 0);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

ssize_t api_inbox_fill(struct inbox *inbox, const struct wire *wire, size_t max)
{
    size_t room = inbox->length + READ_BYTES;
    ssize_t count;
    char *grown;

    if (inbox->length >= max)
        return -EMSGSIZE;
    if (room > inbox->room) {
        room = room < inbox->room * 2 ? inbox->room * 2 : room;
        grown = realloc(inbox->bytes, room);
        if (!grown)
            return -ENOMEM;
        inbox->bytes = grown;
        inbox->room = room;
    }
    count = read_wire(wire, inbox->bytes + inbox->length, READ_BYTES);
    if (count < 0)
        return count;
    inbox->length += (size_t)count;
    return count;
}

void api_inbox_drop(struct inbox *inbox, size_t length)
{
    inbox->length -= length;
    if (inbox->length)
        memmove(inbox->bytes, inbox->bytes + length, inbox->length);
}
