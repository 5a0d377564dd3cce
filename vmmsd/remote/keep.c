/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and certificates as files: written beside, synced, renamed. */
#include "vmmsd/remote/remote_priv.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILE_BYTES = 64 << 10 };

void vmms_pair_fini(struct pair *pair)
{
    EVP_PKEY_free(pair->key);
    X509_free(pair->certificate);
    *pair = (struct pair){ 0 };
}

static int open_room(const char *state_dir, bool is_made, int *ret_fd, struct hv_error **reterr)
{
    hv_autofree char *path = NULL;
    int fd;

    if (asprintf(&path, "%s/remote", state_dir) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    if (is_made && mkdir(path, 0700) < 0 && errno != EEXIST)
        return hv_error_set(reterr, -errno, "remote.files", "The directory %s cannot be made: %s.",
                            path, strerror(errno));
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0)
        return hv_error_set(reterr, -errno, "remote.files",
                            "The directory %s cannot be opened: %s.", path, strerror(errno));
    *ret_fd = fd;
    return 0;
}

static int damaged(const char *file, const char *what, struct hv_error **reterr)
{
    ERR_clear_error();
    return hv_error_set(reterr, -EBADMSG, "remote.damaged",
                        "The file remote/%s in the state directory %s.", file, what);
}

/* No password is asked for. */
static int no_password(char *bytes, int room, int is_writing, void *opaque)
{
    return -1;
}

static int parse(const char *file, BIO *bio, struct pair *ret, struct hv_error **reterr)
{
    ERR_clear_error();
    ret->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (!ret->key)
        return damaged(file, "begins with no private key", reterr);
    ret->certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    if (!ret->certificate)
        return damaged(file, "holds no certificate after its key", reterr);
    if (X509_check_private_key(ret->certificate, ret->key) != 1)
        return damaged(file, "holds a key and a certificate that do not belong together", reterr);
    return 0;
}

static int read_pair(int room, const char *file, struct pair *ret, struct hv_error **reterr)
{
    hv_autofd int fd = openat(room, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char text[MAX_FILE_BYTES];
    ssize_t length;
    BIO *bio;
    int r;

    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    length = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (length < 0)
        return hv_error_set(reterr, -errno, "remote.files",
                            "The file remote/%s in the state directory cannot be read: %s.", file,
                            strerror(errno));
    bio = BIO_new_mem_buf(text, (int)length);
    if (!bio)
        return -ENOMEM;
    r = parse(file, bio, ret, reterr);
    BIO_free(bio);
    OPENSSL_cleanse(text, sizeof(text));
    return r;
}

int vmms_keep_read(const char *state_dir, const char *file, struct pair *ret,
                   struct hv_error **reterr)
{
    hv_autofd int room = -1;
    int r = open_room(state_dir, false, &room, reterr);

    *ret = (struct pair){ 0 };
    if (r == 0)
        r = read_pair(room, file, ret, reterr);
    if (r < 0)
        vmms_pair_fini(ret);
    return r;
}

static int write_all(int fd, const char *bytes, size_t length)
{
    ssize_t count;

    for (; length; bytes += count, length -= (size_t)count) {
        count = write(fd, bytes, length);
        if (count < 0)
            return -errno;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

static int replace(int room, const char *file, const char *bytes, size_t length)
{
    char beside[64];
    hv_autofd int fd = -1;
    int r;

    (void)snprintf(beside, sizeof(beside), "%s.new", file);
    (void)unlinkat(room, beside, 0);
    fd = openat(room, beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    r = write_all(fd, bytes, length);
    if (r == 0 && renameat(room, beside, room, file) < 0)
        r = -errno;
    if (r == 0 && fsync(room) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(room, beside, 0);
    return r;
}

int vmms_keep_write(const char *state_dir, const char *file, const struct pair *pair,
                    struct hv_error **reterr)
{
    hv_autofd int room = -1;
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text;
    long length;
    int r = bio ? open_room(state_dir, true, &room, reterr) : -ENOMEM;

    if (r == 0 && (PEM_write_bio_PKCS8PrivateKey(bio, pair->key, NULL, NULL, 0, NULL, NULL) != 1 ||
                   PEM_write_bio_X509(bio, pair->certificate) != 1))
        r = -EIO;
    if (r == 0) {
        length = BIO_get_mem_data(bio, &text);
        r = replace(room, file, text, (size_t)length);
    }
    BIO_free(bio);
    ERR_clear_error();
    if (r < 0)
        (void)hv_error_set(reterr, r, "remote.files",
                           "The file remote/%s in the state directory cannot be written: %s.", file,
                           strerror(-r));
    return r;
}
