/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can do: which backends exist, which one `auto` takes, and why. */
#pragma once

#include "hvcore/base/error.h"

enum hv_backend { HV_BACKEND_AUTO, HV_BACKEND_KVM, HV_BACKEND_SOFT };

enum { HV_HOST_REASON_BYTES = 160 };

struct hv_host_info {
    /* read only */
    bool has_kvm;                      /* /dev/kvm opened and has every capability we need */
    bool is_kvm_fast;                  /* and runs 64-bit guest code at hardware speed */
    enum hv_backend chosen;            /* what auto takes: HV_BACKEND_KVM or HV_BACKEND_SOFT */
    char reason[HV_HOST_REASON_BYTES]; /* one sentence why */
    unsigned max_vps;                  /* per VM, the smaller of design and host */
    uint64_t max_ram_bytes;            /* per VM */
    uint64_t host_ram_bytes;
    unsigned host_processors;
    char cpu_model[64];
    uint64_t tsc_hz;
    double kvm_ns_per_iteration; /* of the self-test's loop; 0 when it didn't run */
};

/*
 * Look at the machine. kvm_fd: an open /dev/kvm, or -1 to open it here. Runs the self-test (a few
 * milliseconds). Always fills *ret; a missing KVM is no failure.
 */
void hv_host_probe(int kvm_fd, struct hv_host_info *ret);

/* "auto", "kvm" or "soft"; static. */
const char *hv_backend_name(enum hv_backend backend);
/* "auto", "kvm" or "soft"; returns 0 or -EINVAL. */
int hv_backend_parse(const char *name, enum hv_backend *ret);
