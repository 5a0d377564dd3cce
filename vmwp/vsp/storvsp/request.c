/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vsp/storvsp/request_priv.h"

#include <string.h>

bool storvsp_request_take(struct storvsp_request *request, const struct vmbus_packet *packet)
{
    if (packet->bytes < STORVSP_PACKET_BYTES ||
        (packet->type != VMBUS_PACKET_INBAND && packet->type != VMBUS_PACKET_GPA_DIRECT))
        return false;

    request->transaction = packet->transaction;
    request->wants_completion = packet->wants_completion;
    memcpy(&request->packet, packet->payload, sizeof(request->packet));
    request->is_oversized = false;
    request->n_ranges = 0;
    request->data_bytes = 0;
    if (packet->type != VMBUS_PACKET_GPA_DIRECT)
        return true;
    if (packet->n_ranges > STORVSP_MAX_PIECES) {
        request->is_oversized = true;
        return true;
    }
    request->n_ranges = packet->n_ranges;
    request->data_bytes = packet->data_bytes;
    memcpy(request->ranges, packet->ranges, packet->n_ranges * sizeof(request->ranges[0]));
    return true;
}

bool storvsp_request_address(const struct storvsp_request *request, unsigned *ret_lun)
{
    const struct storvsp_wire_srb *srb = &request->packet.srb;

    if (srb->path || srb->target || srb->lun >= STORVSP_MAX_LUNS)
        return false;
    *ret_lun = srb->lun;
    return true;
}

enum scsi_pace storvsp_request_pace(const struct storvsp_request *request)
{
    return scsi_pace(request->packet.srb.cdb);
}

static struct storvsp_data data_of(const struct storvsp_request *request, struct hv_gpa_space *gpa)
{
    const struct storvsp_wire_srb *srb = &request->packet.srb;
    uint32_t bytes =
        request->data_bytes < srb->data_bytes ? (uint32_t)request->data_bytes : srb->data_bytes;

    return (struct storvsp_data){
        .gpa = gpa,
        .ranges = request->ranges,
        .n_ranges = request->n_ranges,
        .to_guest = srb->direction == STORVSP_DATA_IN ? bytes : 0,
        .from_guest = srb->direction == STORVSP_DATA_OUT ? bytes : 0,
    };
}

static void answer(struct storvsp_wire_packet *packet, const struct scsi_task *task)
{
    struct storvsp_wire_srb *srb = &packet->srb;
    uint8_t room = srb->sense_bytes < STORVSP_SENSE_BYTES ? srb->sense_bytes : STORVSP_SENSE_BYTES;
    uint8_t n = task->sense_bytes < room ? task->sense_bytes : room;

    packet->operation = STORVSP_COMPLETE_IO;
    packet->flags = 0;
    packet->status = STORVSP_OK;
    srb->srb_status = task->srb_status;
    if (!n)
        srb->srb_status &= (uint8_t)~STORVSP_SRB_AUTOSENSE_VALID;
    srb->scsi_status = task->scsi_status;
    srb->data_bytes = task->moved_bytes;
    srb->sense_bytes = n;
    memset(srb->sense, 0, sizeof(srb->sense));
    memcpy(srb->sense, task->sense, n);
}

void storvsp_request_run(struct storvsp_request *request, struct hv_gpa_space *gpa,
                         struct scsi_unit *unit, uint64_t present)
{
    const struct storvsp_wire_srb *srb = &request->packet.srb;
    struct scsi_task *task = &request->task;

    *task = (struct scsi_task){
        .unit = unit,
        .is_target = !srb->path && !srb->target,
        .present = present,
        .cdb_bytes = srb->cdb_bytes,
        .data = data_of(request, gpa),
    };
    if (srb->cdb_bytes > STORVSP_CDB_BYTES || request->is_oversized) {
        scsi_fail_srb(task, STORVSP_SRB_INVALID_REQUEST);
    } else {
        memcpy(task->cdb, srb->cdb, srb->cdb_bytes);
        scsi_run(task);
    }
    request->is_held = request->may_hold && scsi_can_wait(task);
    if (request->is_held)
        scsi_count(&unit->counters.errors, UINT64_MAX); /* taken back: the guest sees none */
    else
        answer(&request->packet, task);
}
