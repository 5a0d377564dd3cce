/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing of blocks, straight between guest memory and the disk. SBC-3 chapter 5. */
#include "vmwp/vsp/storvsp/scsi_priv.h"

enum { PROTECT = 0xe0, FUA = 0x08, BYTCHK = 0x06 };

/* Are the blocks there, and as many bytes in the buffer? `at` is where the CDB has the count. */
static bool check_transfer(struct scsi_task *task, uint64_t lba, uint32_t count, uint32_t buffer,
                           unsigned at)
{
    uint64_t bytes = (uint64_t)count * task->unit->block_bytes;

    if (!scsi_check_range(task, lba, count))
        return false;
    if (bytes > STORVSP_MAX_TRANSFER_BYTES || bytes > buffer) {
        scsi_fail_cdb(task, at);
        return false;
    }
    return true;
}

static void read_blocks(struct scsi_task *task, uint64_t lba, uint32_t count, unsigned count_at)
{
    struct scsi_unit *unit = task->unit;
    struct iovec iov[STORVSP_MAX_IOV];
    uint32_t bytes;
    unsigned n;
    int r;

    if (!check_transfer(task, lba, count, task->data.to_guest, count_at) || !count)
        return;
    bytes = count * unit->block_bytes;
    n = storvsp_data_iov(&task->data, bytes, iov);
    r = n ? blk_disk_read(unit->disk, lba * unit->block_bytes, iov, n) : -EFAULT;
    storvsp_data_note_written(&task->data, bytes); /* a failed read may have written a part */
    if (r < 0) {
        scsi_fail_errno(task, r, false, lba);
        return;
    }
    task->moved_bytes = bytes;
    scsi_count(&unit->counters.reads, 1);
    scsi_count(&unit->counters.read_bytes, bytes);
}

static void write_blocks(struct scsi_task *task, uint64_t lba, uint32_t count, bool is_fua,
                         unsigned count_at)
{
    struct scsi_unit *unit = task->unit;
    struct iovec iov[STORVSP_MAX_IOV];
    uint32_t bytes;
    unsigned n;
    int r;

    if (!check_transfer(task, lba, count, task->data.from_guest, count_at) || !count)
        return;
    bytes = count * unit->block_bytes;
    n = storvsp_data_iov(&task->data, bytes, iov);
    r = n ? blk_disk_write(unit->disk, lba * unit->block_bytes, iov, n, is_fua) : -EFAULT;
    if (r < 0) {
        scsi_fail_errno(task, r, true, lba);
        return;
    }
    task->moved_bytes = bytes;
    scsi_count(&unit->counters.writes, 1);
    scsi_count(&unit->counters.write_bytes, bytes);
}

/* Protection information is not kept: a CDB that asks for it is refused. */
static bool has_plain_flags(struct scsi_task *task)
{
    if (task->cdb[1] & PROTECT)
        scsi_fail_cdb(task, 1);
    return !(task->cdb[1] & PROTECT);
}

/* SBC-3 "READ(6) command": a length of 0 is 256 */
static uint32_t count6(const uint8_t *cdb)
{
    return cdb[4] ? cdb[4] : 256;
}

static uint64_t lba6(const uint8_t *cdb)
{
    return (uint32_t)(cdb[1] & 0x1f) << 16 | scsi_get16(cdb + 2);
}

void scsi_read6(struct scsi_task *task)
{
    read_blocks(task, lba6(task->cdb), count6(task->cdb), 4);
}

void scsi_read10(struct scsi_task *task)
{
    if (has_plain_flags(task))
        read_blocks(task, scsi_get32(task->cdb + 2), scsi_get16(task->cdb + 7), 7);
}

void scsi_read12(struct scsi_task *task)
{
    if (has_plain_flags(task))
        read_blocks(task, scsi_get32(task->cdb + 2), scsi_get32(task->cdb + 6), 6);
}

void scsi_read16(struct scsi_task *task)
{
    if (has_plain_flags(task))
        read_blocks(task, scsi_get64(task->cdb + 2), scsi_get32(task->cdb + 10), 10);
}

void scsi_write6(struct scsi_task *task)
{
    write_blocks(task, lba6(task->cdb), count6(task->cdb), false, 4);
}

void scsi_write10(struct scsi_task *task)
{
    if (has_plain_flags(task))
        write_blocks(task, scsi_get32(task->cdb + 2), scsi_get16(task->cdb + 7), task->cdb[1] & FUA,
                     7);
}

void scsi_write12(struct scsi_task *task)
{
    if (has_plain_flags(task))
        write_blocks(task, scsi_get32(task->cdb + 2), scsi_get32(task->cdb + 6), task->cdb[1] & FUA,
                     6);
}

void scsi_write16(struct scsi_task *task)
{
    if (has_plain_flags(task))
        write_blocks(task, scsi_get64(task->cdb + 2), scsi_get32(task->cdb + 10),
                     task->cdb[1] & FUA, 10);
}

/* What is verified is that the blocks are on the medium; comparing is not offered. */
static bool has_no_compare(struct scsi_task *task)
{
    if (task->cdb[1] & (PROTECT | BYTCHK))
        scsi_fail_cdb(task, 1);
    return !(task->cdb[1] & (PROTECT | BYTCHK));
}

void scsi_write_verify10(struct scsi_task *task)
{
    if (has_no_compare(task))
        write_blocks(task, scsi_get32(task->cdb + 2), scsi_get16(task->cdb + 7), true, 7);
}

void scsi_write_verify16(struct scsi_task *task)
{
    if (has_no_compare(task))
        write_blocks(task, scsi_get64(task->cdb + 2), scsi_get32(task->cdb + 10), true, 10);
}

void scsi_verify10(struct scsi_task *task)
{
    if (has_no_compare(task))
        (void)scsi_check_range(task, scsi_get32(task->cdb + 2), scsi_get16(task->cdb + 7));
}

void scsi_verify12(struct scsi_task *task)
{
    if (has_no_compare(task))
        (void)scsi_check_range(task, scsi_get32(task->cdb + 2), scsi_get32(task->cdb + 6));
}

void scsi_verify16(struct scsi_task *task)
{
    if (has_no_compare(task))
        (void)scsi_check_range(task, scsi_get64(task->cdb + 2), scsi_get32(task->cdb + 10));
}

/* SBC-3 "READ CAPACITY(10) command": all ones when the last block's number does not fit */
void scsi_read_capacity10(struct scsi_task *task)
{
    enum { PMI = 1 };
    uint64_t last = task->unit->n_blocks - 1;
    uint8_t out[8];

    if ((task->cdb[8] & PMI) || scsi_get32(task->cdb + 2)) {
        scsi_fail_cdb(task, task->cdb[8] & PMI ? 8 : 2);
        return;
    }
    scsi_put32(out, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
    scsi_put32(out + 4, task->unit->block_bytes);
    scsi_answer(task, out, sizeof(out), sizeof(out));
}
