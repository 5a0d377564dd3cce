/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropping cached translations of other VPs. Whatever a guest narrows it down to, a VP named drops
 * all: that is always enough, and a full flush is cheap where the backend is ours.
 *
 * spec: TLFS HvCallFlushVirtualAddressSpace(Ex), HvCallFlushVirtualAddressList(Ex)
 */
#include "hvcore/hypercall/hcall_priv.h"

static enum tlfs_status flush(struct hcall *call, uint64_t flags, uint64_t vps)
{
    struct hv_partition *partition = call->partition;

    if (!partition->ops->flush)
        return TLFS_STATUS_INVALID_HYPERCALL_CODE;
    if (flags & ~(uint64_t)TLFS_FLUSH_FLAGS)
        return TLFS_STATUS_INVALID_PARAMETER;
    if (flags & TLFS_FLUSH_ALL_PROCESSORS)
        vps = UINT64_MAX;
    partition->ops->flush(partition->backend, call->vp, vps);
    return TLFS_STATUS_SUCCESS;
}

/* Address space, flags, VPs 0 to 63. */
enum tlfs_status hcall_flush(struct hcall *call)
{
    uint64_t flags;

    hv_cursor_skip(&call->in, sizeof(uint64_t));
    flags = hv_cursor_u64(&call->in);
    return flush(call, flags, hv_cursor_u64(&call->in));
}

/* Address space, flags, a set of VPs; the set is not looked at when all are meant. */
enum tlfs_status hcall_flush_ex(struct hcall *call)
{
    enum tlfs_status status;
    uint64_t flags, vps;

    hv_cursor_skip(&call->in, sizeof(uint64_t));
    flags = hv_cursor_u64(&call->in);
    if (flags & TLFS_FLUSH_ALL_PROCESSORS)
        return flush(call, flags, 0);
    status = hcall_read_vp_set(call, &vps);
    return status != TLFS_STATUS_SUCCESS ? status : flush(call, flags, vps);
}
