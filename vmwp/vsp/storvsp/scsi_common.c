/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of every unit that tell about it or its target. */
#include "vmwp/vsp/storvsp/scsi_priv.h"

#include <string.h>

/* Readiness was checked on the way here. */
void scsi_test_unit_ready(struct scsi_task *task)
{
}

/* SPC-4 "REPORT LUNS command": peripheral addressing, LUNs that have a unit */
void scsi_report_luns(struct scsi_task *task)
{
    enum { HEAD = 8, ENTRY = 8, ALL = 0, WELL_KNOWN = 1, ALL_AND_WELL_KNOWN = 2 };
    uint8_t out[HEAD + ENTRY * STORVSP_MAX_LUNS] = { 0 };
    uint32_t allocation = scsi_get32(task->cdb + 6), bytes = HEAD;
    uint64_t listed = task->is_target && task->cdb[2] != WELL_KNOWN ? task->present : 0;

    if (task->cdb[2] > ALL_AND_WELL_KNOWN) {
        scsi_fail_cdb(task, 2);
        return;
    }
    if (allocation < HEAD + ENTRY) {
        scsi_fail_cdb(task, 6);
        return;
    }
    for (unsigned lun = 0; lun < STORVSP_MAX_LUNS; lun++) {
        if (listed >> lun & 1) {
            out[bytes + 1] = (uint8_t)lun;
            bytes += ENTRY;
        }
    }
    scsi_put32(out, bytes - HEAD);
    scsi_answer(task, out, bytes, allocation);
}

/* SPC-4 "REQUEST SENSE command": a unit attention is told as data, and cleared */
void scsi_request_sense(struct scsi_task *task)
{
    enum { DESC = 1 };
    uint8_t sense[SCSI_SENSE_BYTES];
    uint16_t asc;

    if (task->cdb[1] & DESC) {
        scsi_fail_cdb(task, 1);
        return;
    }
    asc = atomic_exchange(&task->unit->attention, 0);
    scsi_sense_fill(sense, asc ? SCSI_UNIT_ATTENTION : SCSI_NO_SENSE, asc);
    scsi_answer(task, sense, sizeof(sense), task->cdb[4]);
}

/* SPC-4 "REPORT SUPPORTED OPERATION CODES command" */
enum { OPTION_ALL, OPTION_OPCODE, OPTION_SERVICE_ACTION, OPTION_EITHER };
enum { RCTD = 0x80, CTDP = 0x80, SUPPORTED = 3, UNSUPPORTED = 1 };

/* "Command timeouts descriptor": none is told */
static unsigned timeouts(uint8_t *at)
{
    scsi_put16(at, 10);
    return 12;
}

static void report_all(struct scsi_task *task)
{
    enum { HEAD = 4, ENTRY_MAX = 20, ROOM = 48 };
    bool has_timeouts = task->cdb[2] & RCTD;
    uint8_t out[HEAD + ENTRY_MAX * ROOM] = { 0 };
    unsigned bytes = HEAD;

    for (unsigned i = 0; i < scsi_n_commands && i < ROOM; i++) {
        const struct scsi_command *command = &scsi_commands[i];
        uint8_t *at = out + bytes;

        if (!scsi_unit_knows(task->unit, command))
            continue;
        at[0] = command->opcode;
        if (command->service_action >= 0) {
            scsi_put16(at + 2, (uint16_t)command->service_action);
            at[5] |= 1;
        }
        at[5] |= has_timeouts ? 2 : 0;
        scsi_put16(at + 6, command->cdb_bytes);
        bytes += 8;
        if (has_timeouts)
            bytes += timeouts(out + bytes);
    }
    scsi_put32(out, bytes - HEAD);
    scsi_answer(task, out, bytes, scsi_get32(task->cdb + 6));
}

/* The command that the CDB asks about. False: the option does not go with it, *ret is untouched. */
static bool find_asked(struct scsi_task *task, const struct scsi_command **ret)
{
    unsigned option = task->cdb[2] & 7, action = scsi_get16(task->cdb + 4);
    const uint8_t asked[2] = { task->cdb[3], (uint8_t)(action & 0x1f) };
    const struct scsi_command *command = scsi_command_of(task->unit, asked);
    bool has_action = false;

    for (unsigned i = 0; i < scsi_n_commands; i++)
        if (scsi_commands[i].opcode == asked[0] && scsi_commands[i].service_action >= 0)
            has_action = true;
    if ((option == OPTION_OPCODE && has_action) || (option == OPTION_SERVICE_ACTION && !has_action))
        return false;
    if (action > 0x1f || (option == OPTION_EITHER && !has_action && action))
        command = NULL;
    *ret = command;
    return true;
}

static void report_one(struct scsi_task *task)
{
    const struct scsi_command *command = NULL;
    uint8_t out[4 + STORVSP_CDB_BYTES + 12] = { 0 };
    unsigned bytes = 4;

    if (!find_asked(task, &command)) {
        scsi_fail_cdb(task, 2);
        return;
    }
    out[1] = command ? SUPPORTED : UNSUPPORTED;
    if (command) {
        scsi_put16(out + 2, command->cdb_bytes);
        for (unsigned i = 0; i < command->cdb_bytes; i++)
            out[4 + i] = (uint8_t)command->usage[i];
        bytes += command->cdb_bytes;
    }
    if (command && (task->cdb[2] & RCTD)) {
        out[1] |= CTDP;
        bytes += timeouts(out + bytes);
    }
    scsi_answer(task, out, bytes, scsi_get32(task->cdb + 6));
}

void scsi_report_opcodes(struct scsi_task *task)
{
    unsigned option = task->cdb[2] & 7;

    if (option > OPTION_EITHER)
        scsi_fail_cdb(task, 2);
    else if (option == OPTION_ALL)
        report_all(task);
    else
        report_one(task);
}
