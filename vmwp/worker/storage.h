/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's controllers, disks and DVD drives: made of its definition, changed while it runs.
 *
 * io thread. Images are opened when a disk comes and closed when it goes; descriptors are vmmsd's
 * gift and this room's from then on.
 */
#pragma once

#include "hvcore/partition.h"
#include "vmwp/worker/definition.h"
#include "vmwp/worker/loop.h"

struct wp_storage;
struct vmbus_server;

struct wp_storage_config {
    /* public */
    struct wp_loop *loop;
    struct hv_partition *partition;
    struct vmbus_server *server;
    const struct wp_definition *definition; /* its disks' descriptors are taken over */
    struct hv_log log;
    /* The host failed a command of the disk's, for the first time; may be NULL. */
    void (*failed)(void *opaque, const char *id, const char *message);
    /* Requests of the guest wait for better storage, or none does any more. Message: why. */
    void (*critical)(void *opaque, bool is_critical, const char *message);
    void *opaque;
};

/* Open all images and offer all controllers. Returns 0, or a negative errno with the field
 * devices.CONTROLLER:LUN in *reterr. */
int wp_storage_new(const struct wp_storage_config *config, struct wp_storage **ret,
                   struct hv_error **reterr);
/* When the server is gone: closes all images. Takes NULL. */
struct wp_storage *wp_storage_free(struct wp_storage *storage);

/* Are requests held that the host's storage fails? See storvsp_set_hold(). Off at first. */
void wp_storage_set_hold(struct wp_storage *storage, bool holds);

/* Around every pause: no file is touched in between, but by requests that are held. */
void wp_storage_pause(struct wp_storage *storage);
void wp_storage_resume(struct wp_storage *storage);
/* Paused, and the channels closed: as when it was made, media included. */
void wp_storage_reset(struct wp_storage *storage);

/*
 * Plug a disk or drive; the chain's descriptors are taken over, also on failure.
 *
 * return: 0; -EINVAL, -EEXIST (the place or the id is taken), -ENODEV (no such controller), or an
 *         errno of opening the image; with *reterr
 */
int wp_storage_add(struct wp_storage *storage, const struct wp_disk *disk,
                   struct hv_error **reterr);
/* Unplug it; the guest is told. 0 or -ENOENT. */
int wp_storage_remove(struct wp_storage *storage, const char *id, struct hv_error **reterr);
/* Another medium for a DVD drive, or none (chain empty); descriptors are taken over. 0, -ENOENT,
 * -ENOTSUP, -EBUSY (the guest has locked the tray) or an errno of opening it. */
int wp_storage_change_medium(struct wp_storage *storage, const char *id,
                             const struct wp_image_file *chain, size_t n_chain,
                             struct hv_error **reterr);

struct wp_storage_stats {
    /* read only */
    uint64_t reads, read_bytes, writes, write_bytes, flushes, errors;
};

/* The sum over all disks. */
void wp_storage_get_stats(struct wp_storage *storage, struct wp_storage_stats *ret);
