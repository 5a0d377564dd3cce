/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/host.h"

#include "hvcore/partition.h"
#include "hvcore/time/tsc.h"
#include "hvcore/x86/cpuid.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

static const char *const names[] = {
    [HV_BACKEND_AUTO] = "auto", [HV_BACKEND_KVM] = "kvm", [HV_BACKEND_SOFT] = "soft"
};

#define MAX_RAM_BYTES (UINT64_C(64) << 30)

const char *hv_backend_name(enum hv_backend backend)
{
    return names[backend];
}

int hv_backend_parse(const char *name, enum hv_backend *ret)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = i;
            return 0;
        }
    }
    return -EINVAL;
}

void hv_host_probe(int kvm_fd, struct hv_host_info *ret)
{
    long page = sysconf(_SC_PHYS_PAGES), processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct hv_host_info info = { .chosen = HV_BACKEND_SOFT, .max_vps = HV_MAX_VPS };

    (void)kvm_fd;
    info.host_ram_bytes = page > 0 ? (uint64_t)page * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
    info.max_ram_bytes = MAX_RAM_BYTES;
    info.host_processors = processors > 0 ? (unsigned)processors : 1;
    info.tsc_hz = hv_tsc_hz();
    x86_cpuid_host_brand(info.cpu_model);
    (void)snprintf(info.reason, sizeof(info.reason),
                   "This build runs VMs with the soft backend only.");
    *ret = info;
}
