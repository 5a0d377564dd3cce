/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/hypercall/hypercall.h"

#include "hvcore/spec/tlfs.h"

/* No privilege or hint that we report promises a call, so there is none to find yet; a guest that
 * tries learns so by the status that is defined for it. */
bool hv_hypercall_dispatch(struct hv_partition *partition, unsigned vp,
                           const struct hv_hypercall *call, uint64_t *ret)
{
    (void)vp;
    if (!(atomic_load(&partition->synthetic.hypercall) & TLFS_PAGE_MSR_ENABLE))
        return false;
    *ret = call->input & TLFS_CALL_RESERVED ? TLFS_STATUS_INVALID_HYPERCALL_INPUT
                                            : TLFS_STATUS_INVALID_HYPERCALL_CODE;
    return true;
}
