/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's own SynIC: its registers, and interrupts by routes to its SINTs.
 *
 * A SINT's register is written through hvcore/synic, which refuses what other backends couldn't
 * keep, and so is EOM: with the I/O APIC outside, KVM has no other way to tell of it.
 */
#include "hvcore/backend/kvm/kvm_priv.h"
#include "hvcore/spec/tlfs.h"

#include <string.h>

enum { TEST_SINT = 2, TEST_VECTOR = 0x53 };

/* ---- does it work? ---- */

static int raise_gsi(int vm_fd, unsigned gsi)
{
    struct kvm_irq_level level = { .irq = gsi, .level = 1 };
    int r = hvkvm_ioctl(vm_fd, KVM_IRQ_LINE_STATUS, &level);

    return r < 0 ? r : level.status;
}

static struct kvm_irq_routing_entry route_to(unsigned gsi, unsigned vp, unsigned sint)
{
    return (struct kvm_irq_routing_entry){ .gsi = gsi,
                                           .type = KVM_IRQ_ROUTING_HV_SINT,
                                           .u.hv_sint = { .vcpu = vp, .sint = sint } };
}

static int enable_synic(int vp_fd)
{
    struct kvm_enable_cap cap = { .cap = KVM_CAP_HYPERV_SYNIC2 };

    return hvkvm_ioctl(vp_fd, KVM_ENABLE_CAP, &cap);
}

static int make_test_vp(int vm_fd)
{
    struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { KVM_LEVEL_ROUTES } };
    int r = hvkvm_ioctl(vm_fd, KVM_ENABLE_CAP, &split);

    return r < 0 ? r : hvkvm_ioctl(vm_fd, KVM_CREATE_VCPU, NULL);
}

static int route_test_sint(int vm_fd)
{
    union {
        struct kvm_irq_routing head;
        uint8_t bytes[sizeof(struct kvm_irq_routing) + sizeof(struct kvm_irq_routing_entry)];
    } table = { .head.nr = 1 };

    table.head.entries[0] = route_to(KVM_LEVEL_ROUTES, 0, TEST_SINT);
    return hvkvm_ioctl(vm_fd, KVM_SET_GSI_ROUTING, &table);
}

/* A masked SINT refuses its interrupt, an open one takes it. */
static bool does_test_vp_work(int vm_fd, int vp_fd)
{
    const struct kvm_vp vp = { .fd = vp_fd };

    return enable_synic(vp_fd) >= 0 && route_test_sint(vm_fd) >= 0 &&
           raise_gsi(vm_fd, KVM_LEVEL_ROUTES) < 0 &&
           hvkvm_vp_set_msr(&vp, TLFS_MSR_SINT0 + TEST_SINT, TEST_VECTOR) >= 0 &&
           raise_gsi(vm_fd, KVM_LEVEL_ROUTES) >= 0;
}

bool hvkvm_synic_works(int kvm_fd)
{
    hv_autofd int vm_fd = -1;
    hv_autofd int vp_fd = -1;

    if (hvkvm_ioctl(kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_HYPERV_SYNIC2) <= 0)
        return false;
    vm_fd = hvkvm_ioctl(kvm_fd, KVM_CREATE_VM, NULL);
    if (vm_fd < 0)
        return false;
    vp_fd = make_test_vp(vm_fd);
    return vp_fd >= 0 && does_test_vp_work(vm_fd, vp_fd);
}

/* ---- interrupts ---- */

int hvkvm_synic_init_vp(struct kvm_vp *vp)
{
    return vp->partition->has_synic ? enable_synic(vp->fd) : 0;
}

static unsigned gsi_of(unsigned vp, unsigned sint)
{
    return KVM_LEVEL_ROUTES + vp * HV_STATE_SINTS + sint;
}

unsigned hvkvm_synic_add_routes(const struct kvm_partition *partition,
                                struct kvm_irq_routing_entry *entries)
{
    unsigned n = 0;

    for (unsigned vp = 0; partition->has_synic && vp < partition->host->n_vps; vp++)
        for (unsigned sint = 0; sint < HV_STATE_SINTS; sint++)
            entries[n++] = route_to(gsi_of(vp, sint), vp, sint);
    return n;
}

bool hvkvm_raise_sint(void *opaque, unsigned vp, unsigned sint)
{
    struct kvm_partition *partition = opaque;

    if (!partition->has_synic)
        return false;
    /* A SINT that was masked meanwhile takes none: so the guest wanted it. */
    (void)raise_gsi(partition->vm_fd, gsi_of(vp, sint));
    return true;
}

/* ---- registers ---- */

bool hvkvm_set_sint(void *opaque, unsigned vp, unsigned sint, uint64_t value)
{
    struct kvm_partition *partition = opaque;

    return !partition->has_synic ||
           hvkvm_vp_set_msr(partition->vps[vp], TLFS_MSR_SINT0 + sint, value) >= 0;
}

/* KVM took a register that is about pages: the rest of what follows is ours. */
void hvkvm_on_synic(struct kvm_vp *vp)
{
    const struct hv_backend_host *host = vp->partition->host;
    const struct kvm_hyperv_exit *exit = &vp->run->hyperv;
    uint64_t value;

    switch (exit->u.synic.msr) {
    case TLFS_MSR_SCONTROL: value = exit->u.synic.control; break;
    case TLFS_MSR_SIEFP: value = exit->u.synic.evt_page; break;
    case TLFS_MSR_SIMP: value = exit->u.synic.msg_page; break;
    default: return;
    }
    (void)host->handlers->msr_write(host->partition, vp->index, exit->u.synic.msr, value);
}

static int get_registers(const struct kvm_vp *vp, struct hv_synic_state *ret)
{
    int r;

    if ((r = hvkvm_vp_get_msr(vp, TLFS_MSR_SCONTROL, &ret->control)) < 0 ||
        (r = hvkvm_vp_get_msr(vp, TLFS_MSR_SIEFP, &ret->siefp)) < 0)
        return r;
    r = hvkvm_vp_get_msr(vp, TLFS_MSR_SIMP, &ret->simp);
    for (unsigned i = 0; r >= 0 && i < HV_STATE_SINTS; i++)
        r = hvkvm_vp_get_msr(vp, TLFS_MSR_SINT0 + i, &ret->sint[i]);
    return r;
}

static int set_registers(const struct kvm_vp *vp, const struct hv_synic_state *state)
{
    int r;

    if ((r = hvkvm_vp_set_msr(vp, TLFS_MSR_SCONTROL, state->control)) < 0 ||
        (r = hvkvm_vp_set_msr(vp, TLFS_MSR_SIEFP, state->siefp)) < 0)
        return r;
    r = hvkvm_vp_set_msr(vp, TLFS_MSR_SIMP, state->simp);
    for (unsigned i = 0; r >= 0 && i < HV_STATE_SINTS; i++)
        r = hvkvm_vp_set_msr(vp, TLFS_MSR_SINT0 + i,
                             state->sint[i] != 0 ? state->sint[i] : TLFS_SINT_MASKED);
    return r;
}

int hvkvm_synic_get_state(const struct kvm_vp *vp, struct hv_vp_state *ret)
{
    int r = 0;

    if (vp->partition->has_lazy_eoi)
        r = hvkvm_vp_get_msr(vp, TLFS_MSR_VP_ASSIST_PAGE, &ret->vp_assist);
    return r < 0 || !vp->partition->has_synic ? r : get_registers(vp, &ret->synic);
}

/* A page that is no RAM helps nobody: other backends let a guest name one. */
static int set_assist(const struct kvm_vp *vp, uint64_t value)
{
    int r = hvkvm_vp_set_msr(vp, TLFS_MSR_VP_ASSIST_PAGE, value);

    return r < 0 && value != 0 ? hvkvm_vp_set_msr(vp, TLFS_MSR_VP_ASSIST_PAGE, 0) : r;
}

int hvkvm_synic_set_state(const struct kvm_vp *vp, const struct hv_vp_state *state)
{
    int r = 0;

    if (vp->partition->has_lazy_eoi)
        r = set_assist(vp, state->vp_assist);
    return r < 0 || !vp->partition->has_synic ? r : set_registers(vp, &state->synic);
}
