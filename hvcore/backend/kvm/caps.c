/* SPDX-License-Identifier: Apache-2.0 */
/* What KVM must be able to do for us, each with the sentence that explains its absence. */
#include "hvcore/backend/kvm/kvm_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

struct capability {
    long number;
    const char *what; /* "KVM on this host cannot ..." */
};

static const struct capability needed[] = {
    { KVM_CAP_USER_MEMORY, "map guest memory" },
    { KVM_CAP_SPLIT_IRQCHIP, "keep the local APICs in the kernel with the I/O APIC outside" },
    { KVM_CAP_SIGNAL_MSI, "deliver interrupt messages" },
    { KVM_CAP_X2APIC_API, "address processors by 32-bit APIC IDs" },
    { KVM_CAP_IMMEDIATE_EXIT, "be left without a race" },
    { KVM_CAP_MP_STATE, "tell whether a processor waits" },
    { KVM_CAP_VCPU_EVENTS, "tell pending events" },
    { KVM_CAP_DEBUGREGS, "read and set debug registers" },
    { KVM_CAP_XSAVE, "read and set vector registers" },
    { KVM_CAP_EXT_CPUID, "say which features it supports" },
    { KVM_CAP_TSC_DEADLINE_TIMER, "run TSC deadline timers" },
    { KVM_CAP_IOEVENTFD, "signal doorbells" },
    { KVM_CAP_X86_USER_SPACE_MSR, "pass unknown MSRs on" },
    { KVM_CAP_X86_MSR_FILTER, "pass the hypervisor's MSRs on" },
};

int hvkvm_ioctl(int fd, unsigned long request, void *argument)
{
    int r;

    do {
        r = ioctl(fd, request, argument);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

int hvkvm_open(int kvm_fd)
{
    int fd = kvm_fd >= 0 ? fcntl(kvm_fd, F_DUPFD_CLOEXEC, 0) : open("/dev/kvm", O_RDWR | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static void on_kick(int number)
{
    (void)number;
}

void hvkvm_install_kick(void)
{
    struct sigaction action = { .sa_handler = on_kick };

    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(HVKVM_KICK_SIGNAL, &action, NULL);
}

int hvkvm_check_capabilities(int kvm_fd, struct hv_error **reterr)
{
    int version = hvkvm_ioctl(kvm_fd, KVM_GET_API_VERSION, NULL);

    if (version != KVM_API_VERSION)
        return hv_error_set(reterr, -EOPNOTSUPP, "host.kvm.version",
                            "/dev/kvm speaks version %d of its interface, not %d.", version,
                            KVM_API_VERSION);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(needed); i++)
        if (hvkvm_ioctl(kvm_fd, KVM_CHECK_EXTENSION, (void *)needed[i].number) <= 0)
            return hv_error_set(reterr, -EOPNOTSUPP, "host.kvm.capability",
                                "KVM on this host cannot %s (capability %ld); use the soft "
                                "backend.",
                                needed[i].what, needed[i].number);
    return 0;
}
