/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that only DVD drives have. MMC-6 chapter 6; a medium is one session of one track. */
#include "vmwp/vsp/storvsp/scsi_priv.h"

#include <string.h>

enum { PROFILE_DVD_ROM = 0x0010, PROFILE_CD_ROM = 0x0008, LEAD_OUT = 0xaa, DATA_TRACK = 0x14 };
enum { CD_MAX_BLOCKS = 450000 }; /* more is a DVD */

/* MMC-6 "START STOP UNIT command" */
void scsi_dvd_start_stop(struct scsi_task *task)
{
    enum { START = 1, LOEJ = 2 };
    struct scsi_unit *unit = task->unit;
    bool loads = task->cdb[4] & START;

    if (!(task->cdb[4] & LOEJ))
        return;
    if (!loads && atomic_load(&unit->is_locked)) {
        scsi_fail(task, SCSI_ILLEGAL_REQUEST, SCSI_ASC_REMOVAL_PREVENTED);
        return;
    }
    if (atomic_exchange(&unit->is_tray_open, !loads) == !loads || !unit->disk)
        return;
    atomic_store(&unit->media_event, loads ? SCSI_EVENT_NEW : SCSI_EVENT_REMOVED);
    if (loads)
        atomic_store(&unit->attention, SCSI_ASC_MEDIUM_CHANGED);
}

void scsi_prevent_allow(struct scsi_task *task)
{
    if (task->cdb[4] & 2)
        scsi_fail_cdb(task, 4); /* persistent prevent is not offered */
    else
        atomic_store(&task->unit->is_locked, task->cdb[4] & 1);
}

/* MMC-6 "Time": an address as minutes, seconds and frames, 150 frames after the lead-in */
static void put_address(uint8_t *at, uint64_t lba, bool is_msf)
{
    uint64_t frames = lba + 150;

    if (!is_msf) {
        scsi_put32(at, lba > UINT32_MAX ? UINT32_MAX : (uint32_t)lba);
        return;
    }
    at[0] = 0;
    at[1] = (uint8_t)(frames / (75 * 60) > 255 ? 255 : frames / (75 * 60));
    at[2] = (uint8_t)(frames / 75 % 60);
    at[3] = (uint8_t)(frames % 75);
}

static void put_track(uint8_t *at, uint8_t track, uint64_t lba, bool is_msf)
{
    at[1] = DATA_TRACK;
    at[2] = track;
    put_address(at + 4, lba, is_msf);
}

/* MMC-6 "READ TOC/PMA/ATIP command", formats 0 (tracks) and 1 (sessions) */
void scsi_read_toc(struct scsi_task *task)
{
    unsigned format = task->cdb[2] & 0x0f, start = task->cdb[6], bytes = 4;
    bool is_msf = task->cdb[1] & 2;
    uint8_t out[4 + 2 * 8] = { 0 };

    if (!format)
        format = task->cdb[9] >> 6; /* where older drivers have it */
    if (format > 1) {
        scsi_fail_cdb(task, 2);
        return;
    }
    if (format == 0 && start > 1 && start != LEAD_OUT) {
        scsi_fail_cdb(task, 6);
        return;
    }
    out[2] = out[3] = 1; /* first and last track or session */
    if (format == 1 || start <= 1) {
        put_track(out + bytes, 1, 0, is_msf);
        bytes += 8;
    }
    if (format == 0) {
        put_track(out + bytes, LEAD_OUT, task->unit->n_blocks, is_msf);
        bytes += 8;
    }
    scsi_put16(out, (uint16_t)(bytes - 2));
    scsi_answer(task, out, bytes, scsi_get16(task->cdb + 7));
}

static uint16_t current_profile(const struct scsi_unit *unit)
{
    if (!scsi_unit_has_medium(unit))
        return 0;
    return unit->n_blocks > CD_MAX_BLOCKS ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

/* MMC-6 chapter 5 "Features for multi-media devices" */
static const struct {
    uint16_t code;
    uint8_t version;
    bool is_always; /* current also without a medium */
    uint8_t n_bytes;
    uint8_t bytes[8];
} features[] = {
    { 0x0000, 0, true, 8, { 0x00, 0x10, 0, 0, 0x00, 0x08, 0, 0 } }, /* profiles */
    { 0x0001, 2, true, 8, { 0, 0, 0, 1, 0, 0, 0, 0 } },             /* core: on SCSI */
    { 0x0002, 1, true, 4, { 0x02, 0, 0, 0 } },                      /* morphing */
    { 0x0003, 0, true, 4, { 0x29, 0, 0, 0 } },                      /* a tray, ejects, locks */
    { 0x0010, 0, false, 8, { 0, 0, 8, 0, 0, 1, 0, 0 } },            /* random read, 2048 bytes */
    { 0x001d, 0, false, 0, { 0 } },                                 /* multi-read */
    { 0x001e, 2, false, 4, { 0, 0, 0, 0 } },                        /* CD read */
    { 0x001f, 0, false, 0, { 0 } },                                 /* DVD read */
    { 0x0100, 0, true, 0, { 0 } },                                  /* power management */
    { 0x0105, 0, true, 0, { 0 } },                                  /* timeouts */
};

/* Is the feature current? The reading of one kind of medium is that of the other kind never. */
static bool is_current(unsigned i, uint16_t profile)
{
    switch (features[i].code) {
    case 0x001d:
    case 0x001e: return profile == PROFILE_CD_ROM;
    case 0x001f: return profile == PROFILE_DVD_ROM;
    default: return features[i].is_always || profile;
    }
}

static unsigned put_feature(uint8_t *at, unsigned i, uint16_t profile)
{
    enum { PERSISTENT = 2, CURRENT = 1 };

    scsi_put16(at, features[i].code);
    at[2] = (uint8_t)(features[i].version << 2 | (features[i].is_always ? PERSISTENT : 0) |
                      (is_current(i, profile) ? CURRENT : 0));
    at[3] = features[i].n_bytes;
    memcpy(at + 4, features[i].bytes, features[i].n_bytes);
    if (features[i].code == 0) {
        at[6] = profile == PROFILE_DVD_ROM;
        at[10] = profile == PROFILE_CD_ROM;
    }
    return 4u + features[i].n_bytes;
}

/* MMC-6 "GET CONFIGURATION command" */
void scsi_get_configuration(struct scsi_task *task)
{
    enum { HEAD = 8, ALL = 0, CURRENT_ONLY = 1, ONE = 2 };
    unsigned how = task->cdb[1] & 3, start = scsi_get16(task->cdb + 2), bytes = HEAD;
    uint16_t profile = current_profile(task->unit);
    uint8_t out[HEAD + HV_ARRAY_SIZE(features) * 12] = { 0 };

    if (how > ONE) {
        scsi_fail_cdb(task, 1);
        return;
    }
    for (unsigned i = 0; i < HV_ARRAY_SIZE(features); i++) {
        if (features[i].code < start || (how == ONE && features[i].code != start) ||
            (how == CURRENT_ONLY && !is_current(i, profile)))
            continue;
        bytes += put_feature(out + bytes, i, profile);
    }
    scsi_put32(out, bytes - 4);
    scsi_put16(out + 6, profile);
    scsi_answer(task, out, bytes, scsi_get16(task->cdb + 7));
}

/* MMC-6 "GET EVENT STATUS NOTIFICATION command": polled, and of the media alone */
void scsi_get_event_status(struct scsi_task *task)
{
    enum { POLLED = 1, CLASS_MEDIA = 4, NO_EVENT_AVAILABLE = 0x80 };
    struct scsi_unit *unit = task->unit;
    uint8_t out[8] = { 0 };

    if (!(task->cdb[1] & POLLED)) {
        scsi_fail_cdb(task, 1);
        return;
    }
    out[3] = 1 << CLASS_MEDIA;
    if (!(task->cdb[4] & 1 << CLASS_MEDIA)) {
        scsi_put16(out, 2);
        out[2] = NO_EVENT_AVAILABLE;
        scsi_answer(task, out, 4, scsi_get16(task->cdb + 7));
        return;
    }
    scsi_put16(out, 6);
    out[2] = CLASS_MEDIA;
    if (scsi_get16(task->cdb + 7) > 4) /* an event is told once, if it is */
        out[4] = atomic_exchange(&unit->media_event, 0);
    out[5] = (uint8_t)((atomic_load(&unit->is_tray_open) ? 1 : 0) |
                       (scsi_unit_has_medium(unit) ? 2 : 0));
    scsi_answer(task, out, sizeof(out), scsi_get16(task->cdb + 7));
}

/* MMC-6 "READ DISC INFORMATION command": complete, not erasable */
void scsi_read_disc_info(struct scsi_task *task)
{
    enum { COMPLETE = 0x0e };
    uint8_t out[34] = { 0 };

    if (task->cdb[1] & 7) {
        scsi_fail_cdb(task, 1);
        return;
    }
    scsi_put16(out, sizeof(out) - 2);
    out[2] = COMPLETE;
    out[3] = out[4] = out[5] = out[6] = 1; /* first track, sessions, first and last of the last */
    out[7] = 0x20;                         /* unrestricted use */
    memset(out + 16, 0xff, 8);             /* no lead-in or lead-out to write */
    scsi_answer(task, out, sizeof(out), scsi_get16(task->cdb + 7));
}

/* MMC-6 "READ TRACK INFORMATION command": the one track, asked for by any of its names */
void scsi_read_track_info(struct scsi_task *task)
{
    enum { BY_LBA = 0, BY_TRACK = 1, BY_SESSION = 2, DATA_MODE_1 = 1 };
    unsigned how = task->cdb[1] & 3;
    uint32_t which = scsi_get32(task->cdb + 2);
    uint8_t out[36] = { 0 };

    if (how > BY_SESSION || (how != BY_LBA && which != 1)) {
        scsi_fail_cdb(task, how > BY_SESSION ? 1 : 2);
        return;
    }
    if (how == BY_LBA && !scsi_check_range(task, which, 1))
        return;
    scsi_put16(out, sizeof(out) - 2);
    out[2] = out[3] = 1;
    out[5] = DATA_TRACK & 0x0f;
    out[6] = DATA_MODE_1;
    put_address(out + 24, task->unit->n_blocks, false);
    scsi_answer(task, out, sizeof(out), scsi_get16(task->cdb + 7));
}

/* MMC-6 "MECHANISM STATUS command": no changer */
void scsi_mechanism_status(struct scsi_task *task)
{
    enum { DOOR_OPEN = 0x10 };
    uint8_t out[8] = { 0 };

    out[1] = atomic_load(&task->unit->is_tray_open) ? DOOR_OPEN : 0;
    scsi_answer(task, out, sizeof(out), scsi_get16(task->cdb + 8));
}
