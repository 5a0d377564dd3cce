/* SPDX-License-Identifier: Apache-2.0 */
/* Units come and go: attach and detach, eject and insert. io thread. */
#include "vmwp/vsp/storvsp/controller_priv.h"

#include <string.h>

/* Tell the guest that units came or went, when one is there. Locked. */
static void bus_changed(struct storvsp_controller *controller)
{
    if (!atomic_load(&controller->is_ready))
        return; /* it will look by itself */
    controller->is_bus_changed = true;
    storvsp_queue_wake(&controller->queues[0]);
}

static int make_unit(const struct storvsp_lun_config *config, struct scsi_unit **ret)
{
    hv_autofree struct scsi_unit *unit = calloc(1, sizeof(*unit));
    int r;

    if (!unit)
        return -ENOMEM;
    r = scsi_unit_init(unit, config);
    if (r == 0)
        *ret = HV_TAKE_PTR(unit);
    return r;
}

int storvsp_attach(struct storvsp_controller *controller, unsigned lun,
                   const struct storvsp_lun_config *config, struct hv_error **reterr)
{
    struct scsi_unit *unit = NULL;
    int r;

    if (lun >= STORVSP_MAX_LUNS)
        return hv_error_set_field(reterr, -EINVAL, "vsp.storage.lun", "lun",
                                  "A SCSI controller has LUNs 0 to %d; %u is none.",
                                  STORVSP_MAX_LUNS - 1, lun);
    if (controller->units[lun])
        return hv_error_set_field(reterr, -EEXIST, "vsp.storage.lun_used", "lun",
                                  "LUN %u of SCSI controller %u is taken.", lun,
                                  controller->config.number);
    r = make_unit(config, &unit);
    if (r == -EINVAL)
        return hv_error_set_field(reterr, r, "vsp.storage.lun", "disk",
                                  "The image for LUN %u of SCSI controller %u is too small or of "
                                  "an unknown sector size.",
                                  lun, controller->config.number);
    if (r < 0)
        return r;
    pthread_mutex_lock(&controller->lock);
    controller->units[lun] = unit;
    controller->attached |= UINT64_C(1) << lun;
    if (!(controller->ghosts >> lun & 1))
        bus_changed(controller); /* else when the guest knows that the one before is gone */
    pthread_mutex_unlock(&controller->lock);
    return 0;
}

static int absent(struct storvsp_controller *controller, unsigned lun, struct hv_error **reterr)
{
    return hv_error_set_field(reterr, -ENOENT, "vsp.storage.lun_absent", "lun",
                              "SCSI controller %u has nothing at LUN %u.",
                              controller->config.number, lun);
}

/* Wait until no request has the unit, which is in no table any more, and free it. Locked. */
static void drop_unit(struct storvsp_controller *controller, struct scsi_unit *unit)
{
    while (unit->n_users)
        pthread_cond_wait(&controller->idle, &controller->lock);
    free(unit);
}

int storvsp_detach(struct storvsp_controller *controller, unsigned lun, struct hv_error **reterr)
{
    struct scsi_unit *unit;

    if (lun >= STORVSP_MAX_LUNS || !controller->units[lun])
        return absent(controller, lun, reterr);
    pthread_mutex_lock(&controller->lock);
    unit = HV_TAKE_PTR(controller->units[lun]);
    controller->attached &= ~(UINT64_C(1) << lun);
    if (atomic_load(&controller->is_ready))
        controller->ghosts |= UINT64_C(1) << lun;
    bus_changed(controller);
    drop_unit(controller, unit);
    pthread_mutex_unlock(&controller->lock);
    return 0;
}

static int find_drive(struct storvsp_controller *controller, unsigned lun, struct scsi_unit **ret,
                      struct hv_error **reterr)
{
    if (lun >= STORVSP_MAX_LUNS || !controller->units[lun])
        return absent(controller, lun, reterr);
    if (controller->units[lun]->kind != STORVSP_DVD)
        return hv_error_set_field(reterr, -ENOTSUP, "vsp.storage.no_drive", "lun",
                                  "LUN %u of SCSI controller %u is no DVD drive.", lun,
                                  controller->config.number);
    *ret = controller->units[lun];
    return 0;
}

static void add_counters(struct scsi_counters *to, const struct scsi_counters *from)
{
    scsi_count(&to->reads, from->reads);
    scsi_count(&to->read_bytes, from->read_bytes);
    scsi_count(&to->writes, from->writes);
    scsi_count(&to->write_bytes, from->write_bytes);
    scsi_count(&to->flushes, from->flushes);
    scsi_count(&to->unmaps, from->unmaps);
    scsi_count(&to->errors, from->errors);
}

/* The same drive with another medium, or none. What runs on the old one ends first. */
static int change_medium(struct storvsp_controller *controller, unsigned lun, struct blk_disk *disk,
                         enum scsi_media_event event)
{
    struct scsi_unit *old = controller->units[lun], *unit = NULL;
    struct storvsp_lun_config config = { .kind = STORVSP_DVD, .disk = disk };
    int r;

    memcpy(config.identity, old->identity, sizeof(config.identity));
    r = make_unit(&config, &unit);
    if (r < 0)
        return r;
    atomic_store(&unit->attention, disk ? SCSI_ASC_MEDIUM_CHANGED : 0);
    atomic_store(&unit->media_event, event);
    pthread_mutex_lock(&controller->lock);
    atomic_store(&unit->is_locked, disk && atomic_load(&old->is_locked));
    controller->units[lun] = unit;
    while (old->n_users)
        pthread_cond_wait(&controller->idle, &controller->lock);
    add_counters(&unit->counters, &old->counters);
    pthread_mutex_unlock(&controller->lock);
    free(old);
    return 0;
}

int storvsp_eject(struct storvsp_controller *controller, unsigned lun, bool is_forced,
                  struct hv_error **reterr)
{
    struct scsi_unit *unit = NULL;
    int r = find_drive(controller, lun, &unit, reterr);

    if (r < 0 || !unit->disk)
        return r;
    if (atomic_load(&unit->is_locked) && !is_forced && scsi_unit_has_medium(unit)) {
        atomic_store(&unit->media_event, SCSI_EVENT_EJECT);
        return hv_error_set(reterr, -EBUSY, "vsp.storage.medium_locked",
                            "The guest uses the medium of LUN %u of SCSI controller %u; it was "
                            "asked to let go of it.",
                            lun, controller->config.number);
    }
    return change_medium(controller, lun, NULL, SCSI_EVENT_REMOVED);
}

int storvsp_insert(struct storvsp_controller *controller, unsigned lun, struct blk_disk *disk,
                   struct hv_error **reterr)
{
    struct scsi_unit *unit = NULL;
    int r = find_drive(controller, lun, &unit, reterr);

    if (r < 0)
        return r;
    if (unit->disk)
        return hv_error_set_field(reterr, -EEXIST, "vsp.storage.medium_there", "lun",
                                  "The drive at LUN %u of SCSI controller %u has a medium; eject "
                                  "it first.",
                                  lun, controller->config.number);
    return change_medium(controller, lun, disk, SCSI_EVENT_NEW);
}

int storvsp_lun_stats(struct storvsp_controller *controller, unsigned lun,
                      struct storvsp_lun_stats *ret)
{
    int r = -ENOENT;

    pthread_mutex_lock(&controller->lock);
    if (lun < STORVSP_MAX_LUNS && controller->units[lun]) {
        const struct scsi_unit *unit = controller->units[lun];
        const struct scsi_counters *counters = &unit->counters;

        *ret = (struct storvsp_lun_stats){ .reads = counters->reads,
                                           .read_bytes = counters->read_bytes,
                                           .writes = counters->writes,
                                           .write_bytes = counters->write_bytes,
                                           .flushes = counters->flushes,
                                           .unmaps = counters->unmaps,
                                           .errors = counters->errors,
                                           .has_medium = scsi_unit_has_medium(unit) };
        r = 0;
    }
    pthread_mutex_unlock(&controller->lock);
    return r;
}
