/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processor that a guest sees in CPUID: leaves as a table, built once, then only read.
 *
 * Features are rows with the profiles that want them; a row is offered when the profile wants it
 * and the host has it (or the software processor does it without the host). The identity that the
 * software processor shows is chosen so that guests take the paths that are cheap there.
 *
 * Bits that depend on a VP's registers (OSXSAVE, the current size of leaf 0xd) are put in by the
 * backend.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { X86_CPUID_MAX_ENTRIES = 80, X86_CPUID_BRAND_BYTES = 48 };

enum { X86_EAX, X86_EBX, X86_ECX, X86_EDX };

struct x86_cpuid_entry {
    /* read only */
    uint32_t leaf;
    uint32_t subleaf;
    bool has_subleaf; /* the subleaf matters */
    uint32_t regs[4];
};

struct x86_cpuid {
    /* read only */
    struct x86_cpuid_entry entries[X86_CPUID_MAX_ENTRIES];
    unsigned n_entries;
    unsigned n_vps;
    unsigned physical_bits;
};

/* Which features a presentation wants; sets of these. */
enum x86_feature_set {
    X86_FEATURES_BASE = 1,   /* x86-64-v1 and the machinery of a PC */
    X86_FEATURES_V3 = 2,     /* all of x86-64-v3, and AES, CLMUL, SHA */
    X86_FEATURES_SYSTEM = 4, /* RDRAND, FSGSBASE, SMEP, UMIP, fast strings */
    X86_FEATURES_COSTLY = 8, /* PCID, INVPCID, SMAP: cost more than they give in software */
    X86_FEATURES_SOFT = X86_FEATURES_BASE | X86_FEATURES_V3 | X86_FEATURES_SYSTEM
};

typedef void x86_cpuid_host_fn(uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);

struct x86_cpuid_wish {
    /* public */
    unsigned sets;           /* of enum x86_feature_set */
    unsigned n_vps;          /* topology: one package, one thread a core */
    unsigned physical_bits;  /* 36 to 52 */
    x86_cpuid_host_fn *host; /* NULL: the CPUID instruction */
};

/* Build the software processor's table. */
void x86_cpuid_build(struct x86_cpuid *cpuid, const struct x86_cpuid_wish *wish);

/* Add or replace one leaf; false when the table is full. */
bool x86_cpuid_put(struct x86_cpuid *cpuid, const struct x86_cpuid_entry *entry);

/* Replace what tells of packages, cores, threads and APIC IDs in a table that came from
 * elsewhere (of either vendor), for n_vps cores in one package. */
void x86_cpuid_set_topology(struct x86_cpuid *cpuid, unsigned n_vps);

/* What VP `vp` reads; leaves out of range read as zeroes. Any thread. */
void x86_cpuid_query(const struct x86_cpuid *cpuid, unsigned vp, uint32_t leaf, uint32_t subleaf,
                     uint32_t ret[4]);

/* The host's processor. */
void x86_cpuid_host(uint32_t leaf, uint32_t subleaf, uint32_t ret[4]);
/* Its brand string, without leading blanks; empty when it has none. */
void x86_cpuid_host_brand(char ret[X86_CPUID_BRAND_BYTES + 1]);
