/* SPDX-License-Identifier: Apache-2.0 */
/* Images of disks and DVD drives, opened with our rights for a worker that has none. Any thread. */
#pragma once

#include "vmmsd/core/core.h"

/* Who has which image: so that who comes second is told. */
struct vmms_holder {
    char *vm; /* its name */
    char *path;
};

struct vmms_holders {
    /* public */
    struct vmms_holder *items;
    size_t count;
};

/* The images of a VM's devices. */
void vmms_holders_add(struct vmms_holders *holders, const struct vmms_row *row);
void vmms_holders_fini(struct vmms_holders *holders);

struct vmms_opened {
    int fd;
    char *path;
};

/* A device with its files: the image first, then its parents; none: a drive without a medium. */
struct vmms_disk {
    /* read only */
    struct api_device device;
    struct vmms_opened *chain;
    size_t n_chain;
};

/*
 * Open a device's image and lock it for as long as any copy of the descriptor is open: for itself
 * where it is written, against writers where it is only read.
 *
 * device: copied
 * return: 0, or -EINVAL with *reterr, whose field names the place
 * spec:   reliability rules 7.5, 7.7, 8.14
 */
int vmms_disk_open(const struct api_device *device, const struct vmms_holders *holders,
                   struct vmms_disk *ret, struct api_error **reterr);
void vmms_disk_close(struct vmms_disk *disk);

/*
 * Open a regular file by an absolute path, without magic links and pseudo file systems.
 *
 * return: a descriptor, or a negative errno; -EMEDIUMTYPE: it is no regular file
 */
int vmms_file_open(const char *path, bool is_written);

/* Is it such a file, and can it be read? Told without waiting for a disk or a server: only out of
 * what the kernel has at hand. False: open it to know. */
bool vmms_file_glance(const char *path, uint64_t *ret_device, uint64_t *ret_inode);

/* What the file looks like: reads its beginning and its end. */
enum vmms_looks vmms_file_looks(int fd);
