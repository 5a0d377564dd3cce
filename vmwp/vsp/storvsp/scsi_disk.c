/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that only disks have: durability, giving space back, writing one block many times. */
#include "hvcore/base/arith.h"
#include "vmwp/vsp/storvsp/scsi_priv.h"

#include <string.h>

/* SBC-3 "READ CAPACITY(16) command" */
void scsi_read_capacity16(struct scsi_task *task)
{
    enum { PMI = 1, LBPME = 0x80 };
    const struct scsi_unit *unit = task->unit;
    uint8_t out[32] = { 0 };

    if ((task->cdb[14] & PMI) || scsi_get64(task->cdb + 2)) {
        scsi_fail_cdb(task, task->cdb[14] & PMI ? 14 : 2);
        return;
    }
    scsi_put64(out, unit->n_blocks - 1);
    scsi_put32(out + 8, unit->block_bytes);
    for (uint32_t block = unit->block_bytes; block < unit->info.physical_bytes; block *= 2)
        out[13]++;
    if (unit->info.can_discard && !unit->is_read_only)
        out[14] = LBPME;
    scsi_answer(task, out, sizeof(out), scsi_get32(task->cdb + 10));
}

/* IMMED may be ignored: it is always done when it is said to be. The whole disk is flushed. */
static void flush(struct scsi_task *task, uint64_t lba, uint32_t count)
{
    int r;

    if (!scsi_check_range(task, lba, count))
        return;
    r = task->unit->is_read_only ? 0 : blk_disk_flush(task->unit->disk);
    if (r < 0)
        scsi_fail_errno(task, r, true, lba);
    else
        scsi_count(&task->unit->counters.flushes, 1);
}

void scsi_synchronize_cache10(struct scsi_task *task)
{
    flush(task, scsi_get32(task->cdb + 2), scsi_get16(task->cdb + 7));
}

void scsi_synchronize_cache16(struct scsi_task *task)
{
    flush(task, scsi_get64(task->cdb + 2), scsi_get32(task->cdb + 10));
}

/* SBC-3 "START STOP UNIT command": a disk goes on running; what is stopped is made durable before
 */
void scsi_disk_start_stop(struct scsi_task *task)
{
    enum { START = 1, LOEJ = 2, NO_FLUSH = 4 };

    if (task->cdb[4] & LOEJ)
        scsi_fail_cdb(task, 4);
    else if (!(task->cdb[4] & (START | NO_FLUSH)))
        flush(task, 0, 0);
}

enum { UNMAP_HEAD = 8, UNMAP_ENTRY = 16 };

/* The parameter list, copied. Returns how many descriptors it has, or -1 when the task failed. */
static int take_unmaps(struct scsi_task *task,
                       uint8_t ret[static UNMAP_HEAD + UNMAP_ENTRY * SCSI_MAX_UNMAPS])
{
    uint32_t bytes = scsi_get16(task->cdb + 7), entries;

    if (!bytes)
        return 0;
    if (bytes > UNMAP_HEAD + UNMAP_ENTRY * SCSI_MAX_UNMAPS) {
        scsi_fail_cdb(task, 7);
        return -1;
    }
    if (bytes < UNMAP_HEAD || !storvsp_data_get(&task->data, ret, bytes)) {
        scsi_fail(task, SCSI_ILLEGAL_REQUEST, SCSI_ASC_LIST_LENGTH);
        return -1;
    }
    entries = scsi_get16(ret + 2);
    if (entries > bytes - UNMAP_HEAD || scsi_get16(ret) < entries + UNMAP_HEAD - 2) {
        scsi_fail_list(task, 2);
        return -1;
    }
    task->moved_bytes = bytes;
    return (int)(entries / UNMAP_ENTRY);
}

/* Nothing is unmapped unless all of it can be. */
static bool check_unmaps(struct scsi_task *task, const uint8_t *list, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        const uint8_t *entry = list + UNMAP_HEAD + UNMAP_ENTRY * i;

        sum += scsi_get32(entry + 8);
        if (!scsi_check_range(task, scsi_get64(entry), scsi_get32(entry + 8)))
            return false;
        if (sum > SCSI_MAX_UNMAP_BYTES / task->unit->block_bytes) {
            scsi_fail_list(task, UNMAP_HEAD + UNMAP_ENTRY * i + 8);
            return false;
        }
    }
    return true;
}

/* SBC-3 "UNMAP command" */
void scsi_unmap(struct scsi_task *task)
{
    enum { ANCHOR = 1 };
    uint8_t list[UNMAP_HEAD + UNMAP_ENTRY * SCSI_MAX_UNMAPS];
    uint64_t block = task->unit->block_bytes;
    int n;

    if (task->cdb[1] & ANCHOR) {
        scsi_fail_cdb(task, 1);
        return;
    }
    n = take_unmaps(task, list);
    if (n < 0 || !check_unmaps(task, list, (unsigned)n))
        return;
    for (int i = 0; i < n; i++) {
        const uint8_t *entry = list + UNMAP_HEAD + UNMAP_ENTRY * i;
        uint64_t lba = scsi_get64(entry), count = scsi_get32(entry + 8);
        int r = count ? blk_disk_discard(task->unit->disk, lba * block, count * block) : 0;

        if (r < 0) {
            scsi_fail_errno(task, r, true, lba);
            return;
        }
    }
    scsi_count(&task->unit->counters.unmaps, 1);
}

static bool is_zero(const uint8_t *bytes, uint32_t n)
{
    return !bytes[0] && !memcmp(bytes, bytes + 1, n - 1);
}

/* One block, again and again: many vectors over the same bytes */
static int write_pattern(const struct scsi_unit *unit, uint8_t *block, uint64_t lba, uint64_t count)
{
    struct iovec iov[STORVSP_MAX_IOV];
    uint64_t bytes = unit->block_bytes;

    for (unsigned i = 0; i < STORVSP_MAX_IOV; i++)
        iov[i] = (struct iovec){ .iov_base = block, .iov_len = bytes };
    while (count) {
        unsigned n = count < STORVSP_MAX_IOV ? (unsigned)count : STORVSP_MAX_IOV;
        int r = blk_disk_write(unit->disk, lba * bytes, iov, n, false);

        if (r < 0)
            return r;
        lba += n;
        count -= n;
    }
    return 0;
}

static void write_same(struct scsi_task *task, uint64_t lba, uint32_t count, bool has_block,
                       unsigned count_at)
{
    struct scsi_unit *unit = task->unit;
    uint8_t block[4096] = { 0 };
    int r;

    if (!count || count > SCSI_MAX_WRITE_SAME_BYTES / unit->block_bytes) {
        scsi_fail_cdb(task, count_at);
        return;
    }
    if (!scsi_check_range(task, lba, count))
        return;
    if (has_block && !storvsp_data_get(&task->data, block, unit->block_bytes)) {
        scsi_fail(task, SCSI_ILLEGAL_REQUEST, SCSI_ASC_LIST_LENGTH);
        return;
    }
    r = is_zero(block, unit->block_bytes) ? blk_disk_zero(unit->disk, lba * unit->block_bytes,
                                                          (uint64_t)count * unit->block_bytes)
                                          : write_pattern(unit, block, lba, count);
    if (r < 0) {
        scsi_fail_errno(task, r, true, lba);
        return;
    }
    task->moved_bytes = has_block ? unit->block_bytes : 0;
    scsi_count(&unit->counters.writes, 1);
}

/* SBC-3 "WRITE SAME(10) command": UNMAP is a hint, which zeroing heeds by itself */
enum { WRPROTECT = 0xe0, WRITE_SAME_ANCHOR = 0x10, WRITE_SAME_UNMAP = 0x08, NDOB = 0x01 };

static bool has_known_flags(struct scsi_task *task)
{
    bool wants_unmap = task->cdb[1] & WRITE_SAME_UNMAP;

    if (!(task->cdb[1] & (WRPROTECT | WRITE_SAME_ANCHOR)) &&
        (!wants_unmap || task->unit->info.can_discard))
        return true;
    scsi_fail_cdb(task, 1);
    return false;
}

void scsi_write_same10(struct scsi_task *task)
{
    if (has_known_flags(task))
        write_same(task, scsi_get32(task->cdb + 2), scsi_get16(task->cdb + 7), true, 7);
}

void scsi_write_same16(struct scsi_task *task)
{
    if (has_known_flags(task))
        write_same(task, scsi_get64(task->cdb + 2), scsi_get32(task->cdb + 10),
                   !(task->cdb[1] & NDOB), 10);
}
