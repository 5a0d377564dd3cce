/* SPDX-License-Identifier: Apache-2.0 */
#include "api/client/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILE_BYTES = 64 << 10 };

void api_identity_fini(struct api_identity *identity)
{
    free(identity->authority);
    free(identity->identity);
    *identity = (struct api_identity){ 0 };
}

static int say(const char *doing, const char *path, int errnum, struct api_error **reterr)
{
    return api_error_set(reterr, API_E_FAILED, "client.files", NULL, "%s cannot be %s: %s.", path,
                         doing, strerror(errnum));
}

static int name_folder(const char *address, char **ret, struct api_error **reterr)
{
    const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int length;

    if (strchr(address, '/') || address[0] == '.')
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "client.uri", "connect",
                             "\"%.100s\" is not HOST:PORT.", address);
    if (base && *base == '/')
        length = asprintf(ret, "%s/hvstack/%s", base, address);
    else if (home && *home == '/')
        length = asprintf(ret, "%s/.config/hvstack/%s", home, address);
    else
        return api_error_set(reterr, API_E_FAILED, "client.files", NULL,
                             "HOME is not set: where certificates are kept is not known.");
    if (length < 0) {
        *ret = NULL;
        return -ENOMEM;
    }
    for (char *at = *ret + length - strlen(address); *at; at++)
        *at = *at == ':' ? '_' : *at;
    return 0;
}

static int read_file(const char *folder, const char *file, char **ret, struct api_error **reterr)
{
    hv_autofree char *path = NULL;
    hv_autofd int fd = -1;
    char bytes[MAX_FILE_BYTES];
    ssize_t length;

    if (asprintf(&path, "%s/%s", folder, file) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    length = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
    if (length < 0)
        return say("read", path, errno, reterr);
    *ret = strndup(bytes, (size_t)length);
    return *ret ? 0 : -ENOMEM;
}

int api_identity_read(const char *address, struct api_identity *ret, struct api_error **reterr)
{
    hv_autofree char *folder = NULL;
    int r = name_folder(address, &folder, reterr);

    *ret = (struct api_identity){ 0 };
    if (r < 0)
        return r;
    if (access(folder, F_OK) < 0) {
        (void)api_error_set(reterr, API_E_UNAUTHENTICATED, "client.not_enrolled", NULL,
                            "There is no certificate for https://%s here.", address);
        if (reterr)
            api_error_hint(*reterr, "hvadm remote enroll %s TOKEN makes one.", address);
        return -EINVAL;
    }
    r = read_file(folder, "ca.pem", &ret->authority, reterr);
    if (r == 0)
        r = read_file(folder, "client.pem", &ret->identity, reterr);
    if (r < 0)
        api_identity_fini(ret);
    return r;
}

/* Each folder on the way; the last is closed to others. */
static int make_folders(char *path, struct api_error **reterr)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return say("made", path, errno, reterr);
        *slash = '/';
    }
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return say("made", path, errno, reterr);
    return 0;
}

static int write_all(int fd, const char *text)
{
    size_t length = strlen(text);
    ssize_t count;

    for (; length; text += count, length -= (size_t)count) {
        count = write(fd, text, length);
        if (count < 0)
            return -errno;
    }
    return 0;
}

static int write_file(const char *folder, const char *file, const char *one, const char *two,
                      struct api_error **reterr)
{
    hv_autofree char *path = NULL, *beside = NULL;
    hv_autofd int fd = -1;
    int r;

    if (asprintf(&path, "%s/%s", folder, file) < 0)
        path = NULL;
    if (asprintf(&beside, "%s/%s.new", folder, file) < 0)
        beside = NULL;
    if (!path || !beside)
        return -ENOMEM;
    (void)unlink(beside);
    fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : write_all(fd, one);
    if (r == 0)
        r = write_all(fd, two);
    if (r == 0 && (fsync(fd) < 0 || rename(beside, path) < 0))
        r = -errno;
    return r < 0 ? say("written", path, -r, reterr) : 0;
}

int api_identity_write(const char *address, const char *authority, const char *key,
                       const char *certificate, char **ret_folder, struct api_error **reterr)
{
    hv_autofree char *folder = NULL;
    int r = name_folder(address, &folder, reterr);

    if (r == 0)
        r = make_folders(folder, reterr);
    if (r == 0 && authority)
        r = write_file(folder, "ca.pem", authority, "", reterr);
    if (r == 0)
        r = write_file(folder, "client.pem", key, certificate, reterr);
    if (r == 0 && ret_folder)
        *ret_folder = HV_TAKE_PTR(folder);
    return r;
}
