/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/partition/object.h"

#include "hvcore/base/clock.h"

#include <string.h>

static uint64_t thread_ns(void)
{
    return hv_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t hv_vp_runtime_ns(const struct hv_vp *vp)
{
    return vp->runtime_ns + (thread_ns() - vp->entered_ns);
}

int hv_vp_run(struct hv_vp *vp, struct hv_exit *ret)
{
    struct hv_exit exit = { .kind = HV_EXIT_CANCELLED };
    int r;

    hv_assert(vp->partition->is_sealed);
    vp->entered_ns = thread_ns();
    r = vp->partition->ops->vp_run(vp->backend, &exit);
    vp->runtime_ns = hv_vp_runtime_ns(vp);
    if (r < 0)
        return r;
    *ret = exit;
    return 0;
}

void hv_vp_cancel(struct hv_vp *vp)
{
    vp->partition->ops->vp_cancel(vp->backend);
}

int hv_vp_get_state(struct hv_vp *vp, struct hv_vp_state *ret)
{
    hv_assert(vp->partition->is_sealed);
    memset(ret, 0, sizeof(*ret));
    hv_synic_get_state(&vp->synic, &ret->synic);
    ret->machine = vp->msrs.machine;
    ret->vp_assist = vp->msrs.vp_assist;
    ret->runtime_ns = vp->runtime_ns;
    return vp->partition->ops->vp_get_state(vp->backend, ret);
}

int hv_vp_set_state(struct hv_vp *vp, const struct hv_vp_state *state)
{
    int r;

    hv_assert(vp->partition->is_sealed);
    if (!hv_synic_is_state_valid(&state->synic))
        return -EINVAL;
    r = vp->partition->ops->vp_set_state(vp->backend, state);
    if (r < 0)
        return r;
    hv_synic_set_state(&vp->synic, &state->synic);
    vp->msrs.machine = state->machine;
    vp->msrs.vp_assist = state->vp_assist;
    vp->runtime_ns = state->runtime_ns;
    return 0;
}

unsigned hv_vp_index(const struct hv_vp *vp)
{
    return vp->index;
}

void hv_vp_get_counters(const struct hv_vp *vp, struct hv_vp_counters *ret)
{
    memset(ret, 0, sizeof(*ret));
    vp->partition->ops->vp_get_counters(vp->backend, ret);
}
