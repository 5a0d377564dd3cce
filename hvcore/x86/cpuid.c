/* SPDX-License-Identifier: Apache-2.0 */
/* spec: AMD64 vol. 3 appendix E; Intel SDM vol. 2 "CPUID" */
#include "hvcore/x86/cpuid.h"

#include <cpuid.h>
#include <string.h>

enum {
    LEAF_MAX_BASIC = 0xd,
    LEAF_MAX_EXTENDED = (int)0x80000021,
    /* Family 0x1a: guests know of few bugs there, so they apply few work-arounds. */
    SIGNATURE = 0x00b00f21,
    XSAVE_AVX_BYTES = 832,
    XSAVE_AVX_OFFSET = 576,
    XSAVE_AVX_SIZE = 256,
    TOPOLOGY_SMT = 1,
    TOPOLOGY_CORE = 2
};

struct feature {
    uint32_t leaf;
    uint8_t subleaf;
    uint8_t reg;
    uint8_t bit;
    uint8_t set;  /* enum x86_feature_set */
    bool is_ours; /* the software processor does it whether the host can or not */
};

/* clang-format off */
static const struct feature features[] = {
    { 1, 0, X86_EDX,  0, X86_FEATURES_BASE, false },  /* FPU */
    { 1, 0, X86_EDX,  2, X86_FEATURES_BASE, true },   /* DE */
    { 1, 0, X86_EDX,  3, X86_FEATURES_BASE, true },   /* PSE */
    { 1, 0, X86_EDX,  4, X86_FEATURES_BASE, true },   /* TSC */
    { 1, 0, X86_EDX,  5, X86_FEATURES_BASE, true },   /* MSR */
    { 1, 0, X86_EDX,  6, X86_FEATURES_BASE, true },   /* PAE */
    { 1, 0, X86_EDX,  7, X86_FEATURES_BASE, true },   /* MCE */
    { 1, 0, X86_EDX,  8, X86_FEATURES_BASE, true },   /* CX8 */
    { 1, 0, X86_EDX,  9, X86_FEATURES_BASE, true },   /* APIC */
    { 1, 0, X86_EDX, 11, X86_FEATURES_BASE, true },   /* SEP */
    { 1, 0, X86_EDX, 12, X86_FEATURES_BASE, true },   /* MTRR */
    { 1, 0, X86_EDX, 13, X86_FEATURES_BASE, true },   /* PGE */
    { 1, 0, X86_EDX, 14, X86_FEATURES_BASE, true },   /* MCA */
    { 1, 0, X86_EDX, 15, X86_FEATURES_BASE, true },   /* CMOV */
    { 1, 0, X86_EDX, 16, X86_FEATURES_BASE, true },   /* PAT */
    { 1, 0, X86_EDX, 17, X86_FEATURES_BASE, true },   /* PSE36 */
    { 1, 0, X86_EDX, 19, X86_FEATURES_BASE, true },   /* CLFLUSH */
    { 1, 0, X86_EDX, 23, X86_FEATURES_BASE, false },  /* MMX */
    { 1, 0, X86_EDX, 24, X86_FEATURES_BASE, false },  /* FXSR */
    { 1, 0, X86_EDX, 25, X86_FEATURES_BASE, false },  /* SSE */
    { 1, 0, X86_EDX, 26, X86_FEATURES_BASE, false },  /* SSE2 */
    { 1, 0, X86_ECX,  0, X86_FEATURES_BASE, false },  /* SSE3 */
    { 1, 0, X86_ECX,  1, X86_FEATURES_V3, false },    /* PCLMULQDQ */
    { 1, 0, X86_ECX,  9, X86_FEATURES_V3, false },    /* SSSE3 */
    { 1, 0, X86_ECX, 12, X86_FEATURES_V3, false },    /* FMA */
    { 1, 0, X86_ECX, 13, X86_FEATURES_BASE, false },  /* CMPXCHG16B */
    { 1, 0, X86_ECX, 17, X86_FEATURES_COSTLY, true }, /* PCID */
    { 1, 0, X86_ECX, 19, X86_FEATURES_V3, false },    /* SSE4.1 */
    { 1, 0, X86_ECX, 20, X86_FEATURES_V3, false },    /* SSE4.2 */
    { 1, 0, X86_ECX, 21, X86_FEATURES_BASE, true },   /* x2APIC */
    { 1, 0, X86_ECX, 22, X86_FEATURES_V3, false },    /* MOVBE */
    { 1, 0, X86_ECX, 23, X86_FEATURES_BASE, false },  /* POPCNT */
    { 1, 0, X86_ECX, 24, X86_FEATURES_BASE, true },   /* TSC deadline */
    { 1, 0, X86_ECX, 25, X86_FEATURES_V3, false },    /* AES */
    { 1, 0, X86_ECX, 26, X86_FEATURES_V3, false },    /* XSAVE */
    { 1, 0, X86_ECX, 28, X86_FEATURES_V3, false },    /* AVX */
    { 1, 0, X86_ECX, 29, X86_FEATURES_V3, false },    /* F16C */
    { 1, 0, X86_ECX, 30, X86_FEATURES_SYSTEM, true }, /* RDRAND */
    { 1, 0, X86_ECX, 31, X86_FEATURES_BASE, true },   /* hypervisor present */
    { 6, 0, X86_EAX,  2, X86_FEATURES_BASE, true },   /* ARAT: the APIC timer never stops */
    { 7, 0, X86_EBX,  0, X86_FEATURES_SYSTEM, true }, /* FSGSBASE */
    { 7, 0, X86_EBX,  3, X86_FEATURES_V3, false },    /* BMI1 */
    { 7, 0, X86_EBX,  5, X86_FEATURES_V3, false },    /* AVX2 */
    { 7, 0, X86_EBX,  7, X86_FEATURES_SYSTEM, true }, /* SMEP */
    { 7, 0, X86_EBX,  8, X86_FEATURES_V3, false },    /* BMI2 */
    { 7, 0, X86_EBX,  9, X86_FEATURES_SYSTEM, true }, /* ERMS */
    { 7, 0, X86_EBX, 10, X86_FEATURES_COSTLY, true }, /* INVPCID */
    { 7, 0, X86_EBX, 18, X86_FEATURES_SYSTEM, true }, /* RDSEED */
    { 7, 0, X86_EBX, 19, X86_FEATURES_V3, false },    /* ADX */
    { 7, 0, X86_EBX, 20, X86_FEATURES_COSTLY, true }, /* SMAP */
    { 7, 0, X86_EBX, 23, X86_FEATURES_SYSTEM, true }, /* CLFLUSHOPT */
    { 7, 0, X86_EBX, 29, X86_FEATURES_V3, false },    /* SHA */
    { 7, 0, X86_ECX,  2, X86_FEATURES_SYSTEM, true }, /* UMIP */
    { 7, 0, X86_ECX, 22, X86_FEATURES_SYSTEM, true }, /* RDPID */
    { 7, 0, X86_EDX,  4, X86_FEATURES_SYSTEM, true }, /* FSRM */
    { 0x80000001, 0, X86_ECX,  0, X86_FEATURES_BASE, true },   /* LAHF in 64-bit mode */
    { 0x80000001, 0, X86_ECX,  5, X86_FEATURES_V3, false },    /* LZCNT */
    { 0x80000001, 0, X86_ECX,  8, X86_FEATURES_BASE, true },   /* PREFETCHW */
    { 0x80000001, 0, X86_ECX, 22, X86_FEATURES_BASE, true },   /* topology leaves */
    { 0x80000001, 0, X86_EDX, 11, X86_FEATURES_BASE, true },   /* SYSCALL */
    { 0x80000001, 0, X86_EDX, 20, X86_FEATURES_BASE, true },   /* NX */
    { 0x80000001, 0, X86_EDX, 26, X86_FEATURES_BASE, true },   /* 1 GiB pages */
    { 0x80000001, 0, X86_EDX, 27, X86_FEATURES_BASE, true },   /* RDTSCP */
    { 0x80000001, 0, X86_EDX, 29, X86_FEATURES_BASE, true },   /* long mode */
    { 0x80000007, 0, X86_EDX,  8, X86_FEATURES_BASE, false },  /* invariant TSC */
    { 0x80000021, 0, X86_EAX,  2, X86_FEATURES_BASE, true },   /* LFENCE serializes */
    { 0x80000021, 0, X86_EAX,  6, X86_FEATURES_BASE, true },   /* null selector clears base */
    { 0x80000021, 0, X86_EAX,  8, X86_FEATURES_SYSTEM, true }, /* automatic IBRS */
};
/* clang-format on */

/* Caches large enough that C libraries keep copying with `rep movsb`, which is cheap here. */
struct cache {
    uint8_t level;
    uint8_t type; /* 1 data, 2 instruction, 3 unified */
    uint16_t ways;
    uint32_t sets;
    bool is_shared;
};

static const struct cache caches[] = {
    { .level = 1, .type = 1, .ways = 12, .sets = 64 },                        /* 48 KiB */
    { .level = 1, .type = 2, .ways = 8, .sets = 64 },                         /* 32 KiB */
    { .level = 2, .type = 3, .ways = 16, .sets = 32768 },                     /* 32 MiB */
    { .level = 3, .type = 3, .ways = 16, .sets = 262144, .is_shared = true }, /* 256 MiB */
};

void x86_cpuid_host(uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    __cpuid_count(leaf, subleaf, ret[X86_EAX], ret[X86_EBX], ret[X86_ECX], ret[X86_EDX]);
}

void x86_cpuid_host_brand(char ret[X86_CPUID_BRAND_BYTES + 1])
{
    uint32_t regs[4];
    char text[X86_CPUID_BRAND_BYTES + 1] = { 0 };
    const char *from = text;

    x86_cpuid_host(0x80000000, 0, regs);
    if (regs[X86_EAX] >= 0x80000004) {
        for (unsigned i = 0; i < 3; i++) {
            x86_cpuid_host(0x80000002 + i, 0, regs);
            memcpy(text + i * sizeof(regs), regs, sizeof(regs));
        }
    }
    while (*from == ' ')
        from++;
    memmove(ret, from, strlen(from) + 1);
}

static struct x86_cpuid_entry *find(struct x86_cpuid *cpuid, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned i = 0; i < cpuid->n_entries; i++) {
        struct x86_cpuid_entry *entry = &cpuid->entries[i];

        if (entry->leaf == leaf && (!entry->has_subleaf || entry->subleaf == subleaf))
            return entry;
    }
    return NULL;
}

bool x86_cpuid_put(struct x86_cpuid *cpuid, const struct x86_cpuid_entry *entry)
{
    struct x86_cpuid_entry *old = find(cpuid, entry->leaf, entry->subleaf);

    if (!old) {
        if (cpuid->n_entries == X86_CPUID_MAX_ENTRIES)
            return false;
        old = &cpuid->entries[cpuid->n_entries++];
    }
    *old = *entry;
    return true;
}

static void put(struct x86_cpuid *cpuid, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
                uint32_t edx)
{
    (void)x86_cpuid_put(cpuid,
                        &(struct x86_cpuid_entry){ .leaf = leaf, .regs = { eax, ebx, ecx, edx } });
}

static void put_sub(struct x86_cpuid *cpuid, uint32_t leaf, uint32_t subleaf, uint32_t eax,
                    uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    (void)x86_cpuid_put(cpuid, &(struct x86_cpuid_entry){ .leaf = leaf,
                                                          .subleaf = subleaf,
                                                          .has_subleaf = true,
                                                          .regs = { eax, ebx, ecx, edx } });
}

static void or_into(struct x86_cpuid *cpuid, uint32_t leaf, unsigned reg, uint32_t bits)
{
    struct x86_cpuid_entry *entry = find(cpuid, leaf, 0);

    if (entry)
        entry->regs[reg] |= bits;
}

static bool host_has(x86_cpuid_host_fn *host, uint32_t leaf, unsigned reg, unsigned bit)
{
    uint32_t regs[4];

    host(leaf & 0x80000000, 0, regs);
    if (regs[X86_EAX] < leaf)
        return false;
    host(leaf, 0, regs);
    return regs[reg] >> bit & 1;
}

/* Feature rows that are wanted and to be had. */
static void put_features(struct x86_cpuid *cpuid, const struct x86_cpuid_wish *wish)
{
    for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        const struct feature *row = &features[i];

        if ((wish->sets & row->set) &&
            (row->is_ours || host_has(wish->host, row->leaf, row->reg, row->bit)))
            or_into(cpuid, row->leaf, row->reg, 1U << row->bit);
    }
}

/* What AVX is without XSAVE, or SSSE3 without AVX2, helps nobody: software assumes the sets of the
 * x86-64 levels. With a part missing, the whole level is taken back. */
static void keep_levels_whole(struct x86_cpuid *cpuid)
{
    static const struct feature *const end = features + sizeof(features) / sizeof(features[0]);
    const struct x86_cpuid_entry *leaf7 = find(cpuid, 7, 0);
    const struct x86_cpuid_entry *leaf1 = find(cpuid, 1, 0);

    if ((leaf7->regs[X86_EBX] & 1 << 5) && (leaf1->regs[X86_ECX] & 1 << 26))
        return;
    for (const struct feature *row = features; row < end; row++) {
        struct x86_cpuid_entry *entry = find(cpuid, row->leaf, row->subleaf);

        if (row->set == X86_FEATURES_V3)
            entry->regs[row->reg] &= ~(1U << row->bit);
    }
}

static void put_brand(struct x86_cpuid *cpuid)
{
    static const char brand[X86_CPUID_BRAND_BYTES] = "hvstack software processor";
    uint32_t regs[4];

    for (unsigned i = 0; i < 3; i++) {
        memcpy(regs, brand + i * sizeof(regs), sizeof(regs));
        put(cpuid, 0x80000002 + i, regs[0], regs[1], regs[2], regs[3]);
    }
}

/* Leaves 0x80000005 and 6: the same caches in the older form. Associativity codes: 8-way 6,
 * 16-way 8. */
static void put_caches_old_form(struct x86_cpuid *cpuid)
{
    put(cpuid, 0x80000005, 0xff40ff40, 0xff40ff40, 48U << 24 | 12 << 16 | 1 << 8 | 64,
        32U << 24 | 8 << 16 | 1 << 8 | 64);
    put(cpuid, 0x80000006, 0x48006400, 0x68006400, 32768U << 16 | 8 << 12 | 1 << 8 | 64,
        512U << 18 | 8 << 12 | 1 << 8 | 64);
}

static void put_caches(struct x86_cpuid *cpuid)
{
    unsigned n = sizeof(caches) / sizeof(caches[0]);

    for (unsigned i = 0; i < n; i++) {
        const struct cache *cache = &caches[i];
        unsigned sharing = cache->is_shared ? cpuid->n_vps : 1;

        put_sub(cpuid, 0x8000001d, i,
                cache->type | (uint32_t)cache->level << 5 | 1 << 8 | (sharing - 1) << 14,
                63 | (uint32_t)(cache->ways - 1) << 22, cache->sets - 1, 0);
    }
    put_sub(cpuid, 0x8000001d, n, 0, 0, 0, 0);
}

static void put_xsave(struct x86_cpuid *cpuid)
{
    const struct x86_cpuid_entry *leaf1 = find(cpuid, 1, 0);

    if (!(leaf1->regs[X86_ECX] & 1 << 26))
        return;
    put_sub(cpuid, 0xd, 0, 7, XSAVE_AVX_BYTES, XSAVE_AVX_BYTES, 0);
    put_sub(cpuid, 0xd, 1, 0, 0, 0, 0);
    put_sub(cpuid, 0xd, 2, XSAVE_AVX_SIZE, XSAVE_AVX_OFFSET, 0, 0);
}

/* EBX of 0x80000008: FXSAVE always keeps the error pointers; so does every Intel processor. */
static bool saves_error_pointers(x86_cpuid_host_fn *host)
{
    uint32_t regs[4];

    host(0, 0, regs);
    return regs[X86_EBX] == signature_INTEL_ebx || host_has(host, 0x80000008, X86_EBX, 2);
}

static unsigned core_bits(unsigned n_vps)
{
    return n_vps <= 1 ? 0 : 32 - (unsigned)__builtin_clz(n_vps - 1);
}

/* Who shares a cache, in Intel's leaf 4 (with the cores of the package) and AMD's 0x8000001d: the
 * last level all, the others none. The host's own answer is about its cores and threads. */
static void share_caches(struct x86_cpuid *cpuid, unsigned bits)
{
    for (unsigned i = 0; i < cpuid->n_entries; i++) {
        struct x86_cpuid_entry *entry = &cpuid->entries[i];
        uint32_t *eax = &entry->regs[X86_EAX];
        unsigned level = *eax >> 5 & 7;
        uint32_t all = entry->leaf == 4 ? (1U << bits) - 1 : cpuid->n_vps - 1;

        if ((entry->leaf != 4 && entry->leaf != 0x8000001d) || (*eax & 0x1f) == 0)
            continue;
        *eax &= 0x3fff;
        *eax |= entry->leaf == 4 ? all << 26 : 0;
        *eax |= level >= 3 ? all << 14 : 0;
    }
}

void x86_cpuid_set_topology(struct x86_cpuid *cpuid, unsigned n_vps)
{
    struct x86_cpuid_entry *leaf1 = find(cpuid, 1, 0);
    struct x86_cpuid_entry *leaf8 = find(cpuid, 0x80000008, 0);
    struct x86_cpuid_entry *extended = find(cpuid, 0x80000001, 0);
    unsigned bits = core_bits(n_vps);

    cpuid->n_vps = n_vps;
    if (leaf1) {
        leaf1->regs[X86_EBX] = (leaf1->regs[X86_EBX] & 0xffff) | n_vps << 16;
        leaf1->regs[X86_EDX] &= ~(1U << 28);
        leaf1->regs[X86_EDX] |= n_vps > 1 ? 1U << 28 : 0;
    }
    if (extended) {
        extended->regs[X86_ECX] &= ~2U;
        extended->regs[X86_ECX] |= n_vps > 1 ? 2 : 0;
    }
    if (leaf8)
        leaf8->regs[X86_ECX] = bits << 12 | (n_vps - 1);
    share_caches(cpuid, bits);
    for (unsigned leaf = 0xb; leaf <= 0x1f; leaf += 0x1f - 0xb) {
        if (leaf == 0x1f && !find(cpuid, leaf, 0))
            continue;
        put_sub(cpuid, leaf, 0, 0, 1, TOPOLOGY_SMT << 8, 0);
        put_sub(cpuid, leaf, 1, bits, n_vps, TOPOLOGY_CORE << 8 | 1, 0);
        put_sub(cpuid, leaf, 2, 0, 0, 2, 0);
    }
    if (find(cpuid, 0x8000001d, 0) || find(cpuid, 0x8000001e, 0))
        put(cpuid, 0x8000001e, 0, 0, 0, 0);
}

void x86_cpuid_build(struct x86_cpuid *cpuid, const struct x86_cpuid_wish *wish)
{
    struct x86_cpuid_wish w = *wish;

    if (!w.host)
        w.host = x86_cpuid_host;
    memset(cpuid, 0, sizeof(*cpuid));
    cpuid->n_vps = w.n_vps;
    cpuid->physical_bits = w.physical_bits;
    put(cpuid, 0, LEAF_MAX_BASIC, signature_AMD_ebx, signature_AMD_ecx, signature_AMD_edx);
    put(cpuid, 1, SIGNATURE, 8 << 8, 0, 0);
    put(cpuid, 6, 0, 0, 0, 0);
    put_sub(cpuid, 7, 0, 0, 0, 0, 0);
    put(cpuid, 0x80000000, (uint32_t)LEAF_MAX_EXTENDED, signature_AMD_ebx, signature_AMD_ecx,
        signature_AMD_edx);
    put(cpuid, 0x80000001, SIGNATURE, 0, 0, 0);
    put(cpuid, 0x80000007, 0, 0, 0, 0);
    put(cpuid, 0x80000008, w.physical_bits | 48 << 8, 0, 0, 0);
    put(cpuid, 0x80000021, 0, 0, 0, 0);
    put_features(cpuid, &w);
    keep_levels_whole(cpuid);
    if (saves_error_pointers(w.host))
        or_into(cpuid, 0x80000008, X86_EBX, 1 << 2);
    /* AMD repeats the old features of leaf 1 in EDX of 0x80000001. */
    or_into(cpuid, 0x80000001, X86_EDX, find(cpuid, 1, 0)->regs[X86_EDX] & 0x0183f3ff);
    put_brand(cpuid);
    put_caches_old_form(cpuid);
    put_caches(cpuid);
    put_xsave(cpuid);
    x86_cpuid_set_topology(cpuid, w.n_vps);
}

/* APIC IDs are the VPs' numbers. */
static void put_in_vp(uint32_t leaf, unsigned vp, uint32_t ret[4])
{
    switch (leaf) {
    case 1: ret[X86_EBX] = (ret[X86_EBX] & 0x00ffffff) | (vp & 0xff) << 24; break;
    case 0xb:
    case 0x1f: ret[X86_EDX] = vp; break;
    case 0x8000001e:
        ret[X86_EAX] = vp;
        ret[X86_EBX] = vp & 0xff;
        break;
    default: break;
    }
}

void x86_cpuid_query(const struct x86_cpuid *cpuid, unsigned vp, uint32_t leaf, uint32_t subleaf,
                     uint32_t ret[4])
{
    const struct x86_cpuid_entry *entry = find((struct x86_cpuid *)(uintptr_t)cpuid, leaf, subleaf);

    memset(ret, 0, 4 * sizeof(ret[0]));
    if (entry) {
        memcpy(ret, entry->regs, 4 * sizeof(ret[0]));
        put_in_vp(leaf, vp, ret);
    } else if (leaf == 0xb || leaf == 0x1f) {
        ret[X86_ECX] = subleaf & 0xff;
        ret[X86_EDX] = vp;
    }
}
