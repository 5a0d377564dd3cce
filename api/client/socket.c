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
    else if (reterr && errnum == ECONNREFUSED)
        api_error_hint(*reterr, "Is vmmsd running?");
    return r;
}

int api_socket_connect(const char *path, int *ret_fd, struct api_error **reterr)
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

int api_socket_write(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;
    ssize_t count;

    while (length) {
        count = send(fd, at, length, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        at += count;
        length -= (size_t)count;
    }
    return 0;
}

ssize_t api_inbox_fill(struct inbox *inbox, int fd, size_t max)
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
    do {
        count = recv(fd, inbox->bytes + inbox->length, READ_BYTES, 0);
    } while (count < 0 && errno == EINTR);
    if (count < 0)
        return -errno;
    inbox->length += (size_t)count;
    return count;
}

void api_inbox_drop(struct inbox *inbox, size_t length)
{
    inbox->length -= length;
    if (inbox->length)
        memmove(inbox->bytes, inbox->bytes + length, inbox->length);
}
