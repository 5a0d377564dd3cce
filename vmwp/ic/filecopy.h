/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file copied into the guest, in pieces of 6 KiB, each answered before the next.
 *
 * One copy at a time. A copy that fails or is cancelled leaves nothing in the guest: its daemon
 * removes the part. The source is read on the io thread, piece by piece; it must be a regular file.
 *
 * thread: io. spec: hv_fcopy.c and hv_fcopy_daemon.c of Linux 6.1, struct hv_start_fcopy,
 * hv_do_fcopy
 */
#pragma once

#include "vmwp/ic/ic.h"

struct ic_filecopy;

enum {
    IC_FILECOPY_PIECE_BYTES = 6144,
    IC_FILECOPY_PATH_UNITS = 259, /* of the folder, and of the name */
    IC_FILECOPY_ANSWER_MS = 45000 /* the guest gives its daemon 30 s */
};

struct ic_filecopy_request {
    /* public */
    int fd;           /* taken over, also when the request is refused */
    const char *path; /* in the guest, absolute, UTF-8; a folder when it ends with a separator */
    const char *name; /* of the file when path is a folder; may be NULL otherwise */
    bool may_overwrite;
    bool may_create_folders;
    /* Called after each piece; may be NULL. */
    void (*progress)(void *opaque, uint64_t done_bytes, uint64_t total_bytes);
    ic_done_fn *done;
    void *opaque;
};

struct ic_filecopy_config {
    /* public */
    struct ic_clock *clock;
    struct vmbus_server *server;
    struct hv_log log;
};

/* Offer it. Returns 0 or a negative errno of ic_channel_new. */
int ic_filecopy_new(const struct ic_filecopy_config *config, struct ic_filecopy **ret);
/* The copy under way is forgotten without a word. */
struct ic_filecopy *ic_filecopy_free(struct ic_filecopy *fc, bool is_server_gone);
/* As it was when it was made; who waits is told -ECONNRESET. */
void ic_filecopy_reset(struct ic_filecopy *fc);
/* Its channel, for its state and version; borrowed. */
struct ic_channel *ic_filecopy_channel(struct ic_filecopy *fc);
/* Is a copy under way? */
bool ic_filecopy_is_busy(const struct ic_filecopy *fc);

/*
 * Copy. done: 0: the guest has the whole file; -ECANCELED; -EEXIST; -ENOSPC (the guest's disk);
 * -EIO and others of reading the source; -EREMOTEIO, -ETIMEDOUT, -ECONNRESET, -EPROTO.
 *
 * return: 0: done will be called. -ENOTCONN, -EBUSY, -EINVAL (path, name, source) or errno of fstat
 */
int ic_filecopy_start(struct ic_filecopy *fc, const struct ic_filecopy_request *request,
                      struct hv_error **reterr);
/* Give the copy up; done is told -ECANCELED when the guest has removed its part. Harmless when none
 * is under way. */
void ic_filecopy_cancel(struct ic_filecopy *fc);
