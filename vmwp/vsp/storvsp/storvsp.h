/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A synthetic SCSI controller: one VMBus device with up to 64 disks and DVD drives.
 *
 * thread: everything here on the io thread, but for the statistics and `wake`. The controller has
 * threads of its own, made with it: one per channel and a pool for file work.
 *
 * spec: VMBus storage protocol as Linux 6.1 speaks it (drivers/scsi/storvsc_drv.c); SPC-4, SBC-3,
 * MMC-6 for what units answer
 */
#pragma once

#include "hvcore/base/fields.h"
#include "vmwp/blk/disk.h"
#include "vmwp/vsp/vsp.h"

struct storvsp_controller;
struct vmbus_server;

enum { STORVSP_MAX_LUNS = 64, STORVSP_MAX_QUEUES = 16, STORVSP_MAX_IO_THREADS = 16 };

struct storvsp_config {
    /* public */
    struct vmbus_server *server; /* outlives the controller, or is freed before it */
    struct hv_gpa_space *gpa;    /* outlives the controller */
    struct hv_guid instance;
    unsigned number;       /* of the controller, for names in the log */
    unsigned n_queues;     /* channels, 1 to STORVSP_MAX_QUEUES: the number of VPs does well */
    unsigned n_io_threads; /* 1 to STORVSP_MAX_IO_THREADS */
    /* The VPs can fill all processors that this process may use: where many requests come together,
     * the channels' threads do not interrupt a VP that is still sending (SCHED_BATCH). */
    bool yields_to_vps;
    struct hv_log log;
    /* Have storvsp_controller_sweep called soon on the io thread. Any thread. NULL: the controller
     * has one channel. */
    void (*wake)(void *opaque);
    void *opaque;
};

/*
 * Make a controller without units, with its threads, and offer it to the guest.
 *
 * return: 0 or a negative errno; codes vsp.storage.config, vsp.storage.threads, vsp.storage.offer
 */
int storvsp_controller_new(const struct storvsp_config *config, struct storvsp_controller **ret,
                           struct hv_error **reterr);
/* Take the offer back (hot removal of the controller); harmless when that is done. */
void storvsp_controller_revoke(struct storvsp_controller *controller);
/* After revoke, or when the server is gone. Disks are not closed: they are the caller's. */
struct storvsp_controller *storvsp_controller_free(struct storvsp_controller *controller);
/* Pause, resume, reset and free for a controller as the opaque `vsp`. */
extern const struct vsp_ops storvsp_ops;
/* Do what only the io thread may: after `wake`. */
void storvsp_controller_sweep(struct storvsp_controller *controller);

/*
 * The controller's part of a saved VM, out and in. Paused; saving: settled (what only the io thread
 * may do has been done). Restoring: no guest has opened it, and the same units are attached; before
 * the bus's own restore. Returns 0, or -EINVAL: not a state of this controller.
 */
void storvsp_controller_settle(struct storvsp_controller *controller);
void storvsp_controller_save(struct storvsp_controller *controller, struct hv_fields *fields);
int storvsp_controller_restore(struct storvsp_controller *controller, struct hv_fields *fields);
/* The drive's medium is another one than when the VM was saved: tell the guest. */
void storvsp_note_medium(struct storvsp_controller *controller, unsigned lun);

enum storvsp_kind { STORVSP_DISK, STORVSP_DVD };

struct storvsp_lun_config {
    /* public */
    enum storvsp_kind kind;
    struct blk_disk *disk; /* borrowed until detached or ejected; NULL: a DVD drive without one */
    bool is_read_only;     /* beside what the disk says; a DVD always is */
    uint8_t identity[16];  /* all zero: the disk's own */
};

/*
 * Add a unit; a guest that is there is told to look.
 *
 * return: 0; -EINVAL (vsp.storage.lun), -EEXIST (vsp.storage.lun_used), -ENOMEM
 */
int storvsp_attach(struct storvsp_controller *controller, unsigned lun,
                   const struct storvsp_lun_config *config, struct hv_error **reterr);
/* Take a unit away; the guest is told. When it returns no thread uses the disk. 0 or -ENOENT
 * (vsp.storage.lun_absent). */
int storvsp_detach(struct storvsp_controller *controller, unsigned lun, struct hv_error **reterr);

/*
 * Take the medium out of a DVD drive; when it returns 0 no thread uses the disk.
 *
 * is_forced: also when the guest has locked it; else that asks the guest to let go of it
 * return: 0 (also without a medium); -ENOENT, -ENOTSUP (no DVD drive), -EBUSY (the guest holds it)
 */
int storvsp_eject(struct storvsp_controller *controller, unsigned lun, bool is_forced,
                  struct hv_error **reterr);
/* Put one in, and close the tray. 0; -ENOENT, -ENOTSUP, -EEXIST (there is one), -ENOMEM. */
int storvsp_insert(struct storvsp_controller *controller, unsigned lun, struct blk_disk *disk,
                   struct hv_error **reterr);

/*
 * Hold requests that the host's storage fails for a reason that may pass (no space, the file system
 * is gone, a write error), instead of telling the guest; off at first. Not those of a disk whose
 * sync failed (blk_disk_has_failed): no later success would be true. Switched off, those that are
 * held are run once more. Needs `wake`, which is called when one is held and when none is any more.
 */
void storvsp_set_hold(struct storvsp_controller *controller, bool holds);
/* Run those that are held again, also while paused; what ends then is told after resume. */
void storvsp_retry(struct storvsp_controller *controller);
/* How many requests of the guest wait for better storage. Where there are any: the unit of the one
 * that was held last, and the negative errno. Any thread. */
unsigned storvsp_waiting(struct storvsp_controller *controller, unsigned *ret_lun, int *ret_r);

struct storvsp_lun_stats {
    /* read only */
    uint64_t reads, read_bytes;
    uint64_t writes, write_bytes;
    uint64_t flushes;
    uint64_t unmaps;
    uint64_t errors; /* commands that the host failed */
    bool has_medium; /* and the tray is closed */
};

struct storvsp_stats {
    /* read only */
    uint64_t requests;    /* commands completed */
    uint64_t batches;     /* runs of completions, each with one signal at most */
    uint64_t inline_runs; /* commands that ran on the channel's own thread */
    uint64_t full_waits;  /* times that completions waited for room in a ring */
};

/* Any thread. lun_stats: 0 or -ENOENT. */
int storvsp_lun_stats(struct storvsp_controller *controller, unsigned lun,
                      struct storvsp_lun_stats *ret);
void storvsp_controller_stats(struct storvsp_controller *controller, struct storvsp_stats *ret);
