/* SPDX-License-Identifier: Apache-2.0 */
/* The processor a KVM guest sees: what KVM supports, with our topology, and without what we don't
 * carry through (nested virtualization, performance counters, monitor/mwait, power states). */
#include "hvcore/backend/kvm/kvm_priv.h"
#include "hvcore/x86/lapic.h"

#include <string.h>

enum { MAX_KVM_ENTRIES = 256 };

/* Bits taken out of, or put into, what KVM reports. */
struct change {
    uint32_t leaf;
    unsigned reg;
    uint32_t clear;
    uint32_t set;
};

static const struct change changes[] = {
    /* monitor, VMX, SMX, EIST, TM2, PDCM out; x2APIC, TSC deadline, hypervisor in */
    { 1, X86_ECX, 1U << 3 | 1U << 5 | 1U << 6 | 1U << 7 | 1U << 8 | 1U << 15,
      1U << 21 | 1U << 24 | 1U << 31 },
    { 1, X86_EDX, 1U << 21 | 1U << 22 | 1U << 29, 0 }, /* DS, ACPI, TM */
    { 6, X86_EAX, ~(1U << 2), 1U << 2 },               /* ARAT alone */
    { 6, X86_EBX, UINT32_MAX, 0 },
    { 6, X86_ECX, UINT32_MAX, 0 },
    { 7, X86_EBX, 1U << 2 | 1U << 12 | 1U << 15 | 1U << 25, 0 }, /* SGX, PQM, PQE, PT */
    { 7, X86_ECX, 1U << 5 | 1U << 30, 0 },                       /* waitpkg, SGX launch */
    /* SVM, IBS, SKINIT, WDT, performance counters */
    { 0x80000001, X86_ECX,
      1U << 2 | 1U << 10 | 1U << 12 | 1U << 13 | 1U << 23 | 1U << 24 | 1U << 28, 0 },
};

/* Leaves with nothing left in them, or that are told anew. */
static bool is_dropped(uint32_t leaf)
{
    return leaf == 5 || leaf == 9 || leaf == 0xa || leaf == 0xb || leaf == 0xf || leaf == 0x10 ||
           leaf == 0x12 || leaf == 0x14 || leaf == 0x1f || (leaf >> 28) == 4 ||
           leaf == 0x8000000a || leaf == 0x8000001b || leaf == 0x8000001e || leaf == 0x8000001f ||
           leaf == 0x80000022 || leaf == 0x80000026;
}

static void apply_changes(struct x86_cpuid_entry *entry)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(changes); i++) {
        const struct change *change = &changes[i];

        if (entry->leaf == change->leaf && entry->subleaf == 0) {
            entry->regs[change->reg] &= ~change->clear;
            entry->regs[change->reg] |= change->set;
        }
    }
}

static struct kvm_cpuid2 *entries_new(void)
{
    struct kvm_cpuid2 *list =
        calloc(1, sizeof(*list) + MAX_KVM_ENTRIES * sizeof(struct kvm_cpuid_entry2));

    if (list)
        list->nent = MAX_KVM_ENTRIES;
    return list;
}

static bool copy_entries(struct x86_cpuid *cpuid, const struct kvm_cpuid2 *list)
{
    for (unsigned i = 0; i < list->nent && i < MAX_KVM_ENTRIES; i++) {
        const struct kvm_cpuid_entry2 *from = &list->entries[i];
        struct x86_cpuid_entry entry = {
            .leaf = from->function,
            .subleaf = from->index,
            .has_subleaf = from->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            .regs = { from->eax, from->ebx, from->ecx, from->edx },
        };

        if (is_dropped(entry.leaf))
            continue;
        apply_changes(&entry);
        if (!x86_cpuid_put(cpuid, &entry))
            return false;
    }
    return true;
}

int hvkvm_cpuid_build(int kvm_fd, struct x86_cpuid *cpuid, unsigned n_vps)
{
    hv_autofree struct kvm_cpuid2 *list = entries_new();
    uint32_t regs[4];
    int r;

    if (!list)
        return -ENOMEM;
    r = hvkvm_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, list);
    if (r < 0)
        return r;
    memset(cpuid, 0, sizeof(*cpuid));
    if (!copy_entries(cpuid, list))
        return -E2BIG;
    x86_cpuid_set_topology(cpuid, n_vps);
    x86_cpuid_query(cpuid, 0, 0x80000008, 0, regs);
    cpuid->physical_bits = regs[X86_EAX] & 0xff ? regs[X86_EAX] & 0xff : 36;
    return 0;
}

int hvkvm_cpuid_set(struct kvm_vp *vp)
{
    hv_autofree struct kvm_cpuid2 *list = entries_new();
    const struct x86_cpuid *cpuid = vp->partition->host->cpuid;

    if (!list)
        return -ENOMEM;
    list->nent = cpuid->n_entries;
    for (unsigned i = 0; i < cpuid->n_entries; i++) {
        const struct x86_cpuid_entry *from = &cpuid->entries[i];
        uint32_t regs[4];

        x86_cpuid_query(cpuid, vp->index, from->leaf, from->subleaf, regs);
        list->entries[i] = (struct kvm_cpuid_entry2){
            .function = from->leaf,
            .index = from->subleaf,
            .flags = from->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = regs[X86_EAX],
            .ebx = regs[X86_EBX],
            .ecx = regs[X86_ECX],
            .edx = regs[X86_EDX],
        };
    }
    return hvkvm_ioctl(vp->fd, KVM_SET_CPUID2, list);
}
