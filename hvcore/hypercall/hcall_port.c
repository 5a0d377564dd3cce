/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to the parent's ports. */
#include "hvcore/hypercall/hcall_priv.h"

/*
 * Queue a guest's message at the port behind a connection.
 *
 * spec: TLFS HvCallPostMessage: connection, reserved, type, size, 240 bytes of payload
 */
enum tlfs_status hcall_post_message(struct hcall *call)
{
    struct hv_message message;
    uint32_t connection_id = hv_cursor_u32(&call->in);

    hv_cursor_skip(&call->in, sizeof(uint32_t));
    message.type = hv_cursor_u32(&call->in);
    message.bytes = hv_cursor_u32(&call->in);
    hv_cursor_bytes(&call->in, message.payload, sizeof(message.payload));
    if (message.type == 0 || message.type & (uint32_t)TLFS_MESSAGE_FROM_HYPERVISOR ||
        message.bytes > sizeof(message.payload))
        return TLFS_STATUS_INVALID_PARAMETER;
    return hv_ports_post(&call->partition->synic_ports, connection_id, call->vp, &message);
}

/*
 * Signal the port behind a connection; all flags of a port are one eventfd.
 *
 * spec: TLFS HvCallSignalEvent: connection, flag number
 */
enum tlfs_status hcall_signal_event(struct hcall *call)
{
    uint32_t connection_id = hv_cursor_u32(&call->in);
    uint16_t flag = hv_cursor_u16(&call->in);

    if (flag >= HV_SYNIC_N_FLAGS)
        return TLFS_STATUS_INVALID_PARAMETER;
    return hv_ports_signal(&call->partition->synic_ports, connection_id);
}
