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

struct state_image;
struct state_writer;
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

/*
 * Saved. What is plugged and where, as a number: the same for a definition and for what was made of
 * it. Media of DVD drives don't count, for they may change meanwhile.
 */
uint64_t wp_storage_fingerprint(const struct wp_storage *storage);
uint64_t wp_definition_fingerprint(const struct wp_definition *definition);
/* All that the guest wrote is on the disks; paused. 0 or an errno with *reterr. */
int wp_storage_flush(struct wp_storage *storage, struct hv_error **reterr);
/* Flushed, out: controllers, and which images there are. 0 or an errno with *reterr. */
int wp_storage_save(struct wp_storage *storage, struct state_writer *writer,
                    struct hv_error **reterr);
/* Before the images are opened: are they as they were when the VM was saved? 0, or -ESTALE with
 * *reterr. */
int wp_storage_check_images(const struct wp_definition *definition, const struct state_image *image,
                            struct hv_error **reterr);
/* New and paused, in; before the bus. 0 or a negative errno. */
int wp_storage_restore(struct wp_storage *storage, const struct state_image *image);
