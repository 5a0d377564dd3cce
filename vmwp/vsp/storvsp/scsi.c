/* SPDX-License-Identifier: Apache-2.0 */
/* From a task to its handler: who is there, what waits to be told, which rows there are. */
#include "hvcore/base/arith.h"
#include "vmwp/vsp/storvsp/scsi_priv.h"

#include <string.h>

/* The opcodes that are answered for units that aren't there */
enum { OPCODE_INQUIRY = 0x12, OPCODE_REPORT_LUNS = 0xa0 };
enum { CONTROL_NACA = 0x04, SERVICE_ACTION = 0x1f };

int scsi_unit_init(struct scsi_unit *unit, const struct storvsp_lun_config *config)
{
    static const uint8_t none[sizeof(unit->identity)];

    unit->kind = config->kind;
    unit->is_read_only = config->is_read_only || config->kind == STORVSP_DVD;
    memcpy(unit->identity, config->identity, sizeof(unit->identity));
    unit->block_bytes = SCSI_DVD_BLOCK_BYTES;
    if (!config->disk)
        return config->kind == STORVSP_DVD ? 0 : -EINVAL;

    unit->disk = config->disk;
    blk_disk_get_info(config->disk, &unit->info);
    if (config->kind == STORVSP_DISK)
        unit->block_bytes = unit->info.logical_bytes;
    if (unit->block_bytes < 512 || unit->info.logical_bytes > unit->block_bytes)
        return -EINVAL;
    unit->n_blocks = unit->info.bytes / unit->block_bytes;
    unit->is_read_only |= unit->info.is_read_only;
    if (!memcmp(unit->identity, none, sizeof(none)))
        memcpy(unit->identity, unit->info.identity, sizeof(unit->identity));
    return unit->n_blocks ? 0 : -EINVAL;
}

void scsi_unit_let_go(struct scsi_unit *unit)
{
    atomic_store(&unit->attention, 0);
    atomic_store(&unit->is_locked, false);
}

void scsi_unit_reset(struct scsi_unit *unit)
{
    scsi_unit_let_go(unit);
    atomic_store(&unit->media_event, 0);
    atomic_store(&unit->is_tray_open, false);
}

bool scsi_unit_has_medium(const struct scsi_unit *unit)
{
    return unit->disk && !atomic_load(&unit->is_tray_open);
}

bool scsi_unit_knows(const struct scsi_unit *unit, const struct scsi_command *command)
{
    if (!(unit->kind == STORVSP_DISK ? command->disk : command->dvd))
        return false;
    if (!(command->flags & SCSI_NEEDS_DISCARD))
        return true;
    return unit->info.can_discard && !unit->is_read_only;
}

static bool is_for(const struct scsi_command *command, const uint8_t *cdb)
{
    return command->opcode == cdb[0] &&
           (command->service_action < 0 || command->service_action == (cdb[1] & SERVICE_ACTION));
}

const struct scsi_command *scsi_command_of(const struct scsi_unit *unit, const uint8_t *cdb)
{
    for (unsigned i = 0; i < scsi_n_commands; i++)
        if (is_for(&scsi_commands[i], cdb) && scsi_unit_knows(unit, &scsi_commands[i]))
            return &scsi_commands[i];
    return NULL;
}

static enum scsi_pace pace_of(const struct scsi_command *command, const uint8_t *cdb)
{
    enum { FUA = 0x08 };

    if ((command->flags & SCSI_WRITES) && command->cdb_bytes > 6 && (cdb[1] & FUA))
        return SCSI_WAITING;
    return command->pace;
}

enum scsi_pace scsi_pace(const uint8_t *cdb)
{
    for (unsigned i = 0; i < scsi_n_commands; i++)
        if (is_for(&scsi_commands[i], cdb))
            return pace_of(&scsi_commands[i], cdb);
    return SCSI_QUICK;
}

bool scsi_check_range(struct scsi_task *task, uint64_t lba, uint64_t count)
{
    if (hv_range_within(lba, count, task->unit->n_blocks) && (count || lba < task->unit->n_blocks))
        return true;
    scsi_fail(task, SCSI_ILLEGAL_REQUEST, SCSI_ASC_LBA_RANGE);
    return false;
}

/*
 * The guest takes any answer to INQUIRY for a unit but one that says there is none. It asks each
 * target for its list, and logs it as an error when that fails: those without units have empty
 * ones.
 */
static void run_for_nobody(struct scsi_task *task)
{
    if (task->cdb[0] == OPCODE_INQUIRY)
        scsi_inquiry(task);
    else if (task->cdb[0] == OPCODE_REPORT_LUNS)
        scsi_report_luns(task);
    else
        scsi_fail_srb(task, STORVSP_SRB_INVALID_LUN);
}

/* SAM-5 "Unit attention conditions": told once, in the place of the command. */
static bool tell_attention(struct scsi_task *task, const struct scsi_command *command)
{
    uint16_t asc;

    if (command->flags & SCSI_IGNORES_ATTENTION)
        return false;
    asc = atomic_exchange(&task->unit->attention, 0);
    if (asc)
        scsi_fail(task, SCSI_UNIT_ATTENTION, asc);
    return asc;
}

static bool is_ready(struct scsi_task *task, const struct scsi_command *command)
{
    if ((command->flags & SCSI_NEEDS_MEDIUM) && !scsi_unit_has_medium(task->unit)) {
        scsi_fail(task, SCSI_NOT_READY,
                  atomic_load(&task->unit->is_tray_open) ? SCSI_ASC_NO_MEDIUM_TRAY_OPEN
                                                         : SCSI_ASC_NO_MEDIUM);
        return false;
    }
    if ((command->flags & SCSI_WRITES) && task->unit->is_read_only) {
        scsi_fail(task, SCSI_DATA_PROTECT, SCSI_ASC_WRITE_PROTECTED);
        return false;
    }
    return true;
}

bool scsi_lists_luns(const struct scsi_task *task)
{
    return task->cdb[0] == OPCODE_REPORT_LUNS && task->is_target &&
           task->srb_status == STORVSP_SRB_SUCCESS;
}

static void run_for_unit(struct scsi_task *task)
{
    const struct scsi_command *command = scsi_command_of(task->unit, task->cdb);

    if (!command) {
        scsi_fail(task, SCSI_ILLEGAL_REQUEST, SCSI_ASC_OPCODE);
    } else if (task->cdb_bytes < command->cdb_bytes) {
        scsi_fail_cdb(task, task->cdb_bytes);
    } else if (task->cdb[command->cdb_bytes - 1] & CONTROL_NACA) {
        scsi_fail_cdb(task, command->cdb_bytes - 1u);
    } else if (!tell_attention(task, command) && is_ready(task, command)) {
        if (task->unit->kind == STORVSP_DISK)
            command->disk(task);
        else
            command->dvd(task);
    }
}

void scsi_run(struct scsi_task *task)
{
    task->srb_status = STORVSP_SRB_SUCCESS;
    task->scsi_status = SCSI_GOOD;
    task->sense_bytes = 0;
    task->moved_bytes = 0;
    task->host_r = 0;
    if (task->unit)
        run_for_unit(task);
    else
        run_for_nobody(task);
}
