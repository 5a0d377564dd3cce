/* SPDX-License-Identifier: Apache-2.0 */
/* How a command ends: status, sense data, and what the host's errors are to a guest. */
#include "vmwp/vsp/storvsp/scsi_priv.h"

#include <string.h>

enum { RESPONSE_FIXED = 0x70, INFORMATION_VALID = 0x80, FIELD_VALID = 0x80, FIELD_IN_CDB = 0x40 };

/* SPC-4 "Fixed format sense data" */
void scsi_sense_fill(uint8_t ret[static SCSI_SENSE_BYTES], enum scsi_sense_key key,
                     enum scsi_asc asc)
{
    memset(ret, 0, SCSI_SENSE_BYTES);
    ret[0] = RESPONSE_FIXED;
    ret[2] = (uint8_t)key;
    ret[7] = SCSI_SENSE_BYTES - 8;
    scsi_put16(ret + 12, (uint16_t)asc);
}

void scsi_fail(struct scsi_task *task, enum scsi_sense_key key, enum scsi_asc asc)
{
    scsi_sense_fill(task->sense, key, asc);
    task->sense_bytes = SCSI_SENSE_BYTES;
    task->scsi_status = SCSI_CHECK_CONDITION;
    task->srb_status = STORVSP_SRB_ERROR | STORVSP_SRB_AUTOSENSE_VALID;
    task->moved_bytes = 0;
}

/* SPC-4 "Field pointer sense key specific data" */
static void point_at(struct scsi_task *task, uint8_t flags, unsigned byte)
{
    task->sense[15] = FIELD_VALID | flags;
    scsi_put16(task->sense + 16, (uint16_t)byte);
}

void scsi_fail_cdb(struct scsi_task *task, unsigned byte)
{
    scsi_fail(task, SCSI_ILLEGAL_REQUEST, SCSI_ASC_CDB_FIELD);
    point_at(task, FIELD_IN_CDB, byte);
}

void scsi_fail_list(struct scsi_task *task, unsigned byte)
{
    scsi_fail(task, SCSI_ILLEGAL_REQUEST, SCSI_ASC_LIST_FIELD);
    point_at(task, 0, byte);
}

void scsi_fail_srb(struct scsi_task *task, enum storvsp_srb_status status)
{
    task->srb_status = (uint8_t)status;
    task->scsi_status = status == STORVSP_SRB_BUSY ? SCSI_BUSY : SCSI_CHECK_CONDITION;
    task->sense_bytes = 0;
    task->moved_bytes = 0;
}

static void fail_medium(struct scsi_task *task, bool is_write, uint64_t lba)
{
    scsi_fail(task, SCSI_MEDIUM_ERROR, is_write ? SCSI_ASC_WRITE_ERROR : SCSI_ASC_READ_ERROR);
    if (lba <= UINT32_MAX) {
        task->sense[0] |= INFORMATION_VALID;
        scsi_put32(task->sense + 3, (uint32_t)lba);
    }
}

void scsi_fail_errno(struct scsi_task *task, int r, bool is_write, uint64_t lba)
{
    scsi_count(&task->unit->counters.errors, 1);
    task->host_r = r;
    if (is_write && blk_disk_has_failed(task->unit->disk)) { /* more room would not help */
        fail_medium(task, is_write, lba);
        return;
    }
    switch (-r) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: scsi_fail(task, SCSI_DATA_PROTECT, SCSI_ASC_SPACE_ALLOCATION); return;
    case EROFS: scsi_fail(task, SCSI_DATA_PROTECT, SCSI_ASC_WRITE_PROTECTED); return;
    case ENOMEM:
    case EAGAIN: scsi_fail_srb(task, STORVSP_SRB_BUSY); return;
    case ENODEV:
    case ENXIO: scsi_fail(task, SCSI_NOT_READY, SCSI_ASC_NOT_READY); return;
    case EINVAL:
    case EFAULT: scsi_fail(task, SCSI_HARDWARE_ERROR, SCSI_ASC_TARGET_FAILURE); return;
    default: fail_medium(task, is_write, lba);
    }
}

enum { WRITE_6 = 0x0a, WRITE_10 = 0x2a, WRITE_12 = 0xaa, WRITE_16 = 0x8a, FUA = 0x08 };
enum { READ_6 = 0x08, READ_10 = 0x28, READ_12 = 0xa8, READ_16 = 0x88, UNMAP = 0x42 };
enum { WRITE_SAME_10 = 0x41, WRITE_SAME_16 = 0x93 };

static bool is_plain_write(const struct scsi_task *task)
{
    switch (task->cdb[0]) {
    case WRITE_6:
    case WRITE_SAME_10:
    case WRITE_SAME_16: return true;
    case WRITE_10:
    case WRITE_12:
    case WRITE_16: return !(task->cdb[1] & FUA);
    default: return false;
    }
}

static bool is_read_or_unmap(const struct scsi_task *task)
{
    uint8_t code = task->cdb[0];

    return code == READ_6 || code == READ_10 || code == READ_12 || code == READ_16 || code == UNMAP;
}

bool scsi_can_wait(const struct scsi_task *task)
{
    if (!task->unit || task->unit->kind != STORVSP_DISK)
        return false;
    if (task->host_r && blk_disk_has_failed(task->unit->disk))
        return false; /* it would wait for ever */
    switch (-task->host_r) {
    case ENOSPC:
    case EDQUOT:
    case EIO: return is_plain_write(task);
    case ENODEV:
    case ENXIO:
    case ESTALE:
    case ETIMEDOUT: return is_plain_write(task) || is_read_or_unmap(task);
    default: return false;
    }
}

/* SPC-4 "Allocation length": data are cut to it, and that is no error. */
void scsi_answer(struct scsi_task *task, const void *data, uint32_t bytes, uint32_t allocation)
{
    uint32_t cut = bytes < allocation ? bytes : allocation;

    task->moved_bytes = storvsp_data_put(&task->data, data, cut);
}
