/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls under KVM.
 *
 * Where KVM knows Hyper-V's calls it takes the processor's own instruction, flushes and interrupts
 * VPs and signals eventfds by itself, and hands out what is left: so it does only for a VP whose
 * SynIC it keeps. Elsewhere the guest's page writes to a port.
 */
#include "hvcore/backend/kvm/kvm_priv.h"
#include "hvcore/spec/tlfs.h"

#include <cpuid.h>
#include <string.h>

enum { CPUID_1_ECX_VMX = 1 << 5 };

/* All or none: they came with one another in Linux 5.0. */
static const long wanted[] = { KVM_CAP_HYPERV_EVENTFD, KVM_CAP_HYPERV_TLBFLUSH,
                               KVM_CAP_HYPERV_SEND_IPI };

static bool has_vmcall(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & CPUID_1_ECX_VMX);
}

void hvkvm_hypercalls_init(struct kvm_partition *partition)
{
    struct hv_backend_facts *facts = partition->host->facts;

    partition->has_synic = hvkvm_synic_works(partition->kvm_fd);
    partition->has_hypercalls = partition->has_synic;
    for (unsigned i = 0; i < HV_ARRAY_SIZE(wanted); i++)
        if (hvkvm_ioctl(partition->kvm_fd, KVM_CHECK_EXTENSION, (void *)wanted[i]) <= 0)
            partition->has_hypercalls = false;
    partition->has_lazy_eoi = partition->has_hypercalls;
    if (partition->has_hypercalls)
        *facts = (struct hv_backend_facts){
            .offers = HV_OFFER_FLUSH | HV_OFFER_IPI | HV_OFFER_APIC_MSRS | HV_OFFER_LAZY_EOI,
            .hypercall_code = { 0x0f, 0x01, has_vmcall() ? 0xc1 : 0xd9 },
            .hypercall_code_bytes = 3,
        };
    else
        *facts = (struct hv_backend_facts){
            .hypercall_code = { 0xe6, KVM_HYPERCALL_PORT }, /* out imm8, al */
            .hypercall_code_bytes = 2,
        };
}

/* A guest without an identity has no Hyper-V calls: so KVM sees it too. */
void hvkvm_enable_hypercalls(void *opaque, unsigned vp, bool is_enabled)
{
    struct kvm_partition *partition = opaque;

    if (partition->has_hypercalls &&
        hvkvm_vp_set_msr(partition->vps[vp], TLFS_MSR_GUEST_OS_ID, is_enabled) < 0)
        hv_log_printf(partition->host->log, HV_LOG_WARNING, NULL,
                      "KVM refused to switch the guest's hypercalls.");
}

bool hvkvm_set_event_port(void *opaque, uint32_t connection_id, int eventfd, bool is_added)
{
    struct kvm_partition *partition = opaque;
    struct kvm_hyperv_eventfd port = {
        .conn_id = connection_id,
        .fd = eventfd,
        .flags = is_added ? 0 : KVM_HYPERV_EVENTFD_DEASSIGN,
    };

    return partition->has_hypercalls &&
           hvkvm_ioctl(partition->vm_fd, KVM_HYPERV_EVENTFD, &port) >= 0;
}

/* KVM has looked at mode and privilege level, and puts the result where it belongs. */
void hvkvm_on_hyperv(struct kvm_vp *vp)
{
    const struct hv_backend_host *host = vp->partition->host;
    struct kvm_hyperv_exit *exit = &vp->run->hyperv;
    struct hv_hypercall call = { .input = exit->u.hcall.input,
                                 .parameters = exit->u.hcall.params[0],
                                 .output = exit->u.hcall.params[1] };
    uint64_t result = TLFS_STATUS_INVALID_HYPERCALL_CODE;

    if (exit->type == KVM_EXIT_HYPERV_SYNIC)
        hvkvm_on_synic(vp);
    if (exit->type != KVM_EXIT_HYPERV_HCALL)
        return;
    (void)host->handlers->hypercall(host->partition, vp->index, &call, &result);
    exit->u.hcall.result = result;
}

/* Registers are those of the moment of the OUT; KVM moves past it when it is entered again. */
void hvkvm_on_call_port(struct kvm_vp *vp)
{
    const struct hv_backend_host *host = vp->partition->host;
    struct hv_hypercall call;
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    uint64_t result;

    if (hvkvm_ioctl(vp->fd, KVM_GET_REGS, &regs) < 0 ||
        hvkvm_ioctl(vp->fd, KVM_GET_SREGS, &sregs) < 0)
        return;
    if (sregs.ss.dpl != 0 || !sregs.cs.l)
        return;
    call = (struct hv_hypercall){ .input = regs.rcx, .parameters = regs.rdx, .output = regs.r8 };
    if (!host->handlers->hypercall(host->partition, vp->index, &call, &result))
        return;
    regs.rax = result;
    (void)hvkvm_ioctl(vp->fd, KVM_SET_REGS, &regs);
}
