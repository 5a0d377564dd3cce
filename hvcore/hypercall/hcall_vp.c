/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that concern other VPs as processors: sets of them, interrupts among them, waiting. */
#include "hvcore/hypercall/hcall_priv.h"

#include <sched.h>

/*
 * A set of VPs: format, mask of banks, and a bank of 64 VPs for each bit of the mask. There are no
 * VPs beyond bank 0; naming some is no error.
 *
 * spec: TLFS virtual-processors "Sparse Virtual Processor Set"
 */
enum tlfs_status hcall_read_vp_set(struct hcall *call, uint64_t *ret)
{
    uint64_t format = hv_cursor_u64(&call->in);
    uint64_t banks = hv_cursor_u64(&call->in);

    static_assert(HV_MAX_VPS <= 64, "one bank");
    if (format == TLFS_VP_SET_ALL) {
        *ret = UINT64_MAX;
        return TLFS_STATUS_SUCCESS;
    }
    if (format != TLFS_VP_SET_SPARSE)
        return TLFS_STATUS_INVALID_PARAMETER;
    if ((unsigned)__builtin_popcountll(banks) != call->var_qwords)
        return TLFS_STATUS_INVALID_HYPERCALL_INPUT;
    *ret = banks & 1 ? hv_cursor_u64(&call->in) : 0;
    return TLFS_STATUS_SUCCESS;
}

static enum tlfs_status send_ipi(struct hcall *call, uint32_t vector, uint64_t vps)
{
    struct hv_partition *partition = call->partition;
    struct hv_interrupt interrupt = { .vector = (uint8_t)vector };

    if (vector < TLFS_SINT_FIRST_VECTOR || vector > 0xff)
        return TLFS_STATUS_INVALID_PARAMETER;
    for (uint64_t left = vps; left; left &= left - 1) {
        interrupt.destination = (uint32_t)__builtin_ctzll(left);
        if (interrupt.destination >= partition->n_vps)
            break;
        partition->ops->interrupt(partition->backend, &interrupt);
    }
    return TLFS_STATUS_SUCCESS;
}

/* spec: TLFS HvCallSendSyntheticClusterIpi: vector, VTL, reserved, VPs 0 to 63 */
enum tlfs_status hcall_send_ipi(struct hcall *call)
{
    uint32_t vector = hv_cursor_u32(&call->in);

    if ((hv_cursor_u32(&call->in) & 0xff) != 0)
        return TLFS_STATUS_INVALID_PARAMETER; /* there is VTL 0 alone */
    return send_ipi(call, vector, hv_cursor_u64(&call->in));
}

/* spec: TLFS HvCallSendSyntheticClusterIpiEx: vector, VTL, reserved, a set of VPs */
enum tlfs_status hcall_send_ipi_ex(struct hcall *call)
{
    uint32_t vector = hv_cursor_u32(&call->in);
    enum tlfs_status status;
    uint64_t vps;

    if ((hv_cursor_u32(&call->in) & 0xff) != 0)
        return TLFS_STATUS_INVALID_PARAMETER;
    status = hcall_read_vp_set(call, &vps);
    return status != TLFS_STATUS_SUCCESS ? status : send_ipi(call, vector, vps);
}

/* Whom the VP waits for may have no processor of the host to run on.
 * spec: TLFS HvCallNotifyLongSpinWait */
enum tlfs_status hcall_long_spin_wait(struct hcall *call)
{
    (void)call;
    (void)sched_yield();
    return TLFS_STATUS_SUCCESS;
}
