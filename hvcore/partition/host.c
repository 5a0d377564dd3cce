/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/host.h"

#include "hvcore/backend/ops.h"
#include "hvcore/partition.h"
#include "hvcore/time/tsc.h"
#include "hvcore/x86/cpuid.h"

#include <stdio.h>
#include <string.h>

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

static void choose(const struct hvkvm_probe *kvm, struct hv_host_info *info)
{
    info->has_kvm = kvm->is_usable;
    info->is_kvm_fast = kvm->is_fast;
    info->kvm_ns_per_iteration = kvm->ns_per_iteration;
    info->chosen = kvm->is_fast ? HV_BACKEND_KVM : HV_BACKEND_SOFT;
    if (kvm->is_fast) {
        (void)snprintf(
            info->reason, sizeof(info->reason),
            "KVM is there and runs at the processor's own speed (%.2f ns for a loop that "
            "takes %.2f ns outside).",
            kvm->ns_per_iteration, kvm->host_ns_per_iteration);
        if (kvm->max_vps < info->max_vps)
            info->max_vps = kvm->max_vps;
    } else {
        (void)snprintf(info->reason, sizeof(info->reason), "%s", kvm->text);
    }
}

void hv_host_probe(int kvm_fd, struct hv_host_info *ret)
{
    long pages = sysconf(_SC_PHYS_PAGES), processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct hv_host_info info = { .max_vps = HV_MAX_VPS, .max_ram_bytes = MAX_RAM_BYTES };
    struct hvkvm_probe kvm;

    info.host_ram_bytes = pages > 0 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
    info.host_processors = processors > 0 ? (unsigned)processors : 1;
    info.tsc_hz = hv_tsc_hz();
    x86_cpuid_host_brand(info.cpu_model);
    hvkvm_probe(kvm_fd, &kvm);
    choose(&kvm, &info);
    *ret = info;
}
