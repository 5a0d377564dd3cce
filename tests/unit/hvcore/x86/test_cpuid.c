/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/x86/cpuid.h"

#include <string.h>

/* A host that has everything, and one that has SSE4.2 but no AVX2. */
static void rich_host(uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    (void)subleaf;
    memset(ret, 0xff, 4 * sizeof(ret[0]));
    if (leaf == 0)
        ret[X86_EAX] = 0x20;
    if (leaf == 0x80000000)
        ret[X86_EAX] = 0x80000030;
}

static void old_host(uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    rich_host(leaf, subleaf, ret);
    if (leaf == 0)
        ret[X86_EAX] = 6; /* no leaf 7 */
    if (leaf == 1)
        ret[X86_ECX] &= ~(1U << 28 | 1U << 26);
}

static void build(struct x86_cpuid *cpuid, x86_cpuid_host_fn *host, unsigned sets, unsigned n_vps)
{
    x86_cpuid_build(cpuid, &(struct x86_cpuid_wish){
                               .sets = sets, .n_vps = n_vps, .physical_bits = 40, .host = host });
}

static uint32_t query(const struct x86_cpuid *cpuid, uint32_t leaf, uint32_t subleaf, unsigned reg)
{
    uint32_t regs[4];

    x86_cpuid_query(cpuid, 0, leaf, subleaf, regs);
    return regs[reg];
}

static void costly_features_are_offered_only_when_asked_for(void **state)
{
    struct x86_cpuid cpuid;

    (void)state;
    build(&cpuid, rich_host, X86_FEATURES_SOFT, 1);
    assert_int_equal(query(&cpuid, 1, 0, X86_ECX) & 1 << 17, 0);
    assert_int_equal(query(&cpuid, 7, 0, X86_EBX) & (1 << 20 | 1 << 10), 0);
    assert_int_not_equal(query(&cpuid, 0x80000021, 0, X86_EAX) & 1 << 8, 0); /* automatic IBRS */
    build(&cpuid, rich_host, X86_FEATURES_SOFT | X86_FEATURES_COSTLY, 1);
    assert_int_not_equal(query(&cpuid, 1, 0, X86_ECX) & 1 << 17, 0);
    assert_int_equal(query(&cpuid, 7, 0, X86_EBX) & (1 << 20 | 1 << 10), 1 << 20 | 1 << 10);
}

static void nothing_is_offered_that_the_backend_lacks(void **state)
{
    struct x86_cpuid cpuid;

    (void)state;
    build(&cpuid, rich_host, UINT32_MAX, 4);
    assert_int_equal(query(&cpuid, 1, 0, X86_ECX) & (1 << 3 | 1 << 5 | 1 << 27), 0);
    assert_int_equal(query(&cpuid, 7, 0, X86_EBX) & (1 << 16 | 1 << 4 | 1 << 11), 0);
    assert_int_equal(query(&cpuid, 7, 0, X86_ECX) & (1 << 16 | 1 << 3), 0); /* LA57, PKU */
    assert_int_equal(query(&cpuid, 0xd, 0, X86_EAX), 7);
    assert_int_equal(query(&cpuid, 0xd, 1, X86_EAX), 0);
    assert_int_equal(query(&cpuid, 0x80000001, 0, X86_ECX) & (1 << 2 | 1 << 6), 0);
    assert_int_equal(query(&cpuid, 0x80000008, 0, X86_EBX), 1 << 2); /* no IBPB and its like */
}

static void the_vector_level_is_whole_or_not_there(void **state)
{
    struct x86_cpuid cpuid;
    const uint32_t v3 = 1U << 9 | 1U << 12 | 1U << 19 | 1U << 20 | 1U << 26 | 1U << 28;

    (void)state;
    build(&cpuid, rich_host, X86_FEATURES_SOFT, 1);
    assert_int_equal(query(&cpuid, 1, 0, X86_ECX) & v3, v3);
    build(&cpuid, old_host, X86_FEATURES_SOFT, 1);
    assert_int_equal(query(&cpuid, 1, 0, X86_ECX) & v3, 0);
    assert_int_equal(query(&cpuid, 0x80000001, 0, X86_ECX) & 1 << 5, 0);
    assert_int_equal(query(&cpuid, 0xd, 0, X86_EAX), 0);
    assert_int_not_equal(query(&cpuid, 1, 0, X86_ECX) & 1 << 23, 0); /* POPCNT stays */
}

static void topology_tells_the_same_in_every_leaf(void **state)
{
    struct x86_cpuid cpuid;
    uint32_t regs[4];

    (void)state;
    build(&cpuid, rich_host, X86_FEATURES_SOFT, 5);
    x86_cpuid_query(&cpuid, 3, 1, 0, regs);
    assert_int_equal(regs[X86_EBX] >> 24, 3);
    assert_int_equal(regs[X86_EBX] >> 16 & 0xff, 5);
    assert_int_not_equal(regs[X86_EDX] & 1 << 28, 0);
    x86_cpuid_query(&cpuid, 3, 0xb, 0, regs);
    assert_int_equal(regs[X86_EAX], 0);
    assert_int_equal(regs[X86_EBX], 1);
    assert_int_equal(regs[X86_ECX], 0x100);
    assert_int_equal(regs[X86_EDX], 3);
    x86_cpuid_query(&cpuid, 3, 0xb, 1, regs);
    assert_int_equal(regs[X86_EAX], 3);
    assert_int_equal(regs[X86_EBX], 5);
    assert_int_equal(regs[X86_ECX], 0x201);
    x86_cpuid_query(&cpuid, 3, 0xb, 7, regs);
    assert_int_equal(regs[X86_EBX], 0);
    assert_int_equal(regs[X86_ECX], 7);
    assert_int_equal(regs[X86_EDX], 3);
    x86_cpuid_query(&cpuid, 3, 0x80000008, 0, regs);
    assert_int_equal(regs[X86_ECX], 3 << 12 | 4);
    x86_cpuid_query(&cpuid, 3, 0x8000001e, 0, regs);
    assert_int_equal(regs[X86_EAX], 3);
}

static void one_vp_has_no_neighbours(void **state)
{
    struct x86_cpuid cpuid;

    (void)state;
    build(&cpuid, rich_host, X86_FEATURES_SOFT, 1);
    assert_int_equal(query(&cpuid, 1, 0, X86_EDX) & 1 << 28, 0);
    assert_int_equal(query(&cpuid, 0x80000001, 0, X86_ECX) & 2, 0);
    assert_int_equal(query(&cpuid, 0xb, 1, X86_EAX), 0);
}

static void unknown_leaves_read_as_zeroes(void **state)
{
    struct x86_cpuid cpuid;

    (void)state;
    build(&cpuid, rich_host, X86_FEATURES_SOFT, 1);
    for (unsigned reg = 0; reg < 4; reg++) {
        assert_int_equal(query(&cpuid, 0x12345678, 0, reg), 0);
        assert_int_equal(query(&cpuid, 7, 1, reg), 0);
        assert_int_equal(query(&cpuid, 0xd, 9, reg), 0);
    }
}

static void a_foreign_table_gets_our_topology(void **state)
{
    struct x86_cpuid cpuid = { 0 };
    struct x86_cpuid_entry rows[] = {
        { .leaf = 1, .regs = { 0, 0x12340800, 0, 1U << 28 } },
        { .leaf = 4, .subleaf = 0, .has_subleaf = true, .regs = { 0xfc004121 } },
        { .leaf = 4, .subleaf = 3, .has_subleaf = true, .regs = { 0xfc1fc163 } },
        { .leaf = 0x8000001d, .subleaf = 0, .has_subleaf = true, .regs = { 0x4121 } },
        { .leaf = 0x8000001d, .subleaf = 3, .has_subleaf = true, .regs = { 0x3c163 } },
        { .leaf = 0x8000001d, .subleaf = 4, .has_subleaf = true },
    };
    uint32_t regs[4];

    (void)state;
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_true(x86_cpuid_put(&cpuid, &rows[i]));
    x86_cpuid_set_topology(&cpuid, 4);
    x86_cpuid_query(&cpuid, 2, 1, 0, regs);
    assert_int_equal(regs[X86_EBX], 2U << 24 | 4 << 16 | 0x0800);
    x86_cpuid_query(&cpuid, 2, 4, 0, regs);
    assert_int_equal(regs[X86_EAX], 3U << 26 | 0x121);
    x86_cpuid_query(&cpuid, 2, 4, 3, regs);
    assert_int_equal(regs[X86_EAX], 3U << 26 | 3 << 14 | 0x163);
    assert_int_equal(query(&cpuid, 0x8000001d, 0, X86_EAX), 0x121);
    assert_int_equal(query(&cpuid, 0x8000001d, 3, X86_EAX), 3 << 14 | 0x163);
    assert_int_equal(query(&cpuid, 0x8000001d, 4, X86_EAX), 0);
}

static void a_full_table_refuses_more(void **state)
{
    struct x86_cpuid cpuid = { 0 };

    (void)state;
    for (unsigned i = 0; i < X86_CPUID_MAX_ENTRIES; i++)
        assert_true(x86_cpuid_put(&cpuid, &(struct x86_cpuid_entry){ .leaf = i }));
    assert_false(x86_cpuid_put(&cpuid, &(struct x86_cpuid_entry){ .leaf = 1000 }));
    assert_true(x86_cpuid_put(&cpuid, &(struct x86_cpuid_entry){ .leaf = 7, .regs = { 1 } }));
    assert_int_equal(query(&cpuid, 7, 0, X86_EAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costly_features_are_offered_only_when_asked_for),
        cmocka_unit_test(nothing_is_offered_that_the_backend_lacks),
        cmocka_unit_test(the_vector_level_is_whole_or_not_there),
        cmocka_unit_test(topology_tells_the_same_in_every_leaf),
        cmocka_unit_test(one_vp_has_no_neighbours),
        cmocka_unit_test(unknown_leaves_read_as_zeroes),
        cmocka_unit_test(a_foreign_table_gets_our_topology),
        cmocka_unit_test(a_full_table_refuses_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
