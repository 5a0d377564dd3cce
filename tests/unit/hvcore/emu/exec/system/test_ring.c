/* SPDX-License-Identifier: Apache-2.0 */
/* The short way from ring to ring leaves the same behind as the long one. */
#include "bench.h"

#include "hvcore/emu/exec/system/system_priv.h"

#include <string.h>

enum { N_CASES = 4000, IRET_FRAME = STACK0 - 64 };

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

#define ONE_OF(random, ...)                                                                        \
    ((const uint64_t[]){ __VA_ARGS__ }[next_random(random) / 1024 %                                \
                                       (sizeof((const uint64_t[]){ __VA_ARGS__ }) / 8)])

/* Which way is taken is decided by whether the tables and stacks are in the cache. */
static void bring_near(struct bench *b)
{
    static const uint64_t places[] = {
        GDT, IDT, TSS, STACK0 - 64, TSS_STACK0 - 64, IST_STACK - 64
    };
    uint64_t value;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(places); i++) {
        assert_true(emu_sys_read(b->cpu, places[i], &value, 8));
        assert_true(emu_sys_write(b->cpu, places[i], &value, 8));
    }
}

/* What a guest, or the handlers behind, can see. */
struct view {
    uint64_t regs[EMU_N_REGS], rip, rflags;
    struct hv_segment_register segment[HV_N_SEGMENTS];
    const void *tlb, *fetch;
    uint8_t cpl, class, code_size, is_stack32, shadow, nmi_blocked;
    uint8_t frame[64];
};

static void look(struct bench *b, struct view *ret)
{
    struct emu_cpu *cpu = b->cpu;

    memset(ret, 0, sizeof(*ret));
    memcpy(ret->regs, cpu->regs, sizeof(ret->regs));
    memcpy(ret->segment, cpu->segment, sizeof(ret->segment));
    ret->rip = cpu->rip, ret->rflags = emu_rflags(cpu);
    ret->tlb = cpu->tlb, ret->fetch = cpu->fetch_now;
    ret->cpl = cpu->cpl, ret->class = cpu->class, ret->code_size = cpu->code_size;
    ret->is_stack32 = cpu->is_stack32;
    ret->shadow = cpu->shadow, ret->nmi_blocked = cpu->nmi_blocked;
    if (cpu->regs[HV_RSP] < RAM_BYTES - 64)
        assert_int_equal(hv_gpa_read(&b->gpa, cpu->regs[HV_RSP], ret->frame, sizeof(ret->frame)),
                         0);
}

/* ---- Events ---- */

/* Returns whether the short way was taken. */
static bool deliver(struct bench *b, uint64_t random, bool is_near, struct view *ret)
{
    unsigned cpl = ONE_OF(&random, 0, 3) ? 3 : 0;
    uint8_t vector = (uint8_t)next_random(&random);
    struct emu_event event = { .vector = vector,
                               .has_error = ONE_OF(&random, 0, 1),
                               .is_software = ONE_OF(&random, 0, 0, 0, 1),
                               .is_fault = ONE_OF(&random, 0, 1),
                               .error = (uint32_t)next_random(&random) };
    bool is_short = false;

    bench_mode(b, LONG64, cpl);
    bench_gates(b, (unsigned)ONE_OF(&random, 14, 15), 3, (unsigned)ONE_OF(&random, 0, 0, 1));
    if (ONE_OF(&random, 0, 0, 0, 1)) /* another segment, one that isn't there, none */
        bench_poke(b, IDT + vector * 16 + 2,
                   ONE_OF(&random, SEL_CODE64 | 3, SEL_FREE, 0, SEL_DATA0), 2);
    if (ONE_OF(&random, 0, 0, 0, 1))
        bench_poke(b, IDT + vector * 16 + 8, ONE_OF(&random, 0xffffffff, 0x8000, 0x7fff), 4);
    if (ONE_OF(&random, 0, 0, 0, 0, 0, 0, 0, 1))
        bench_poke(b, IDT + vector * 16 + 5, next_random(&random), 1);
    if (ONE_OF(&random, 0, 0, 0, 0, 0, 0, 0, 1))
        b->cpu->tr.limit = 8;
    b->cpu->regs[HV_RSP] -= ONE_OF(&random, 0, 5, 8, 48);
    emu_set_rflags(b->cpu, next_random(&random) & ~(uint64_t)X86_VM &
                               ~ONE_OF(&random, 0, X86_AC_FLAG, X86_AC_FLAG));
    b->cpu->shadow = 1;
    emu_mode_changed(b->cpu);
    if (is_near) {
        bring_near(b);
        is_short = emu_ring_deliver(b->cpu, &event, b->cpu->rip);
    }
    memset(&b->cpu->fault, 0, sizeof(b->cpu->fault));
    if (!is_short)
        (void)emu_deliver(b->cpu, &event, b->cpu->rip);
    look(b, ret);
    return is_short;
}

static void events_arrive_alike(void **state)
{
    struct bench *b = bench_of(state);
    unsigned n_short = 0;
    struct view near, far;

    for (uint64_t i = 1; i <= N_CASES; i++) {
        uint64_t random = i * UINT64_C(0x9e3779b97f4a7c15);

        n_short += deliver(b, random, true, &near);
        assert_false(deliver(b, random, false, &far));
        assert_memory_equal(&near, &far, sizeof(near));
    }
    assert_in_range(n_short, N_CASES / 5, N_CASES);
}

/* ---- Returns ---- */

static bool come_back(struct bench *b, uint64_t random, bool is_near, struct view *ret)
{
    uint64_t frame[] = {
        ONE_OF(&random, 0x7000, 0x7000, 0x7000, UINT64_C(0x800000000000), UINT64_MAX),
        ONE_OF(&random, SEL_CODE64, SEL_CODE64_USER | 3, SEL_CODE64_USER | 3, SEL_CODE32_USER | 3,
               SEL_CONFORMING | 3, SEL_CODE64_USER, SEL_CODE64 | 3, SEL_FREE, 0, SEL_CODE64 | 4),
        next_random(&random) & ~ONE_OF(&random, 0, X86_TF | X86_AC_FLAG, X86_TF | X86_AC_FLAG),
        ONE_OF(&random, STACK3, STACK3 - 5),
        ONE_OF(&random, SEL_DATA0, SEL_DATA_USER | 3, SEL_DATA_USER | 3, 0, 3, SEL_DATA_USER,
               SEL_DATA16 | 3),
    };
    bool is_short = false;

    bench_mode(b, LONG64, 0);
    if (ONE_OF(&random, 0, 0, 0, 1)) /* not accessed yet, or not there */
        bench_descriptor(b, SEL_CODE64_USER,
                         DESC(0, 0xfffff, ONE_OF(&random, 0xafa, 0xaf9, 0xa7b, 0xeff)), 0);
    b->cpu->regs[HV_RSP] = IRET_FRAME;
    for (unsigned i = 0; i < HV_ARRAY_SIZE(frame); i++)
        bench_poke(b, IRET_FRAME + i * 8, frame[i], 8);
    emu_set_rflags(b->cpu, ONE_OF(&random, 2, 0x202, 0x4002, 0x40002, 0x8d5));
    b->cpu->nmi_blocked = 1;
    b->cpu->shadow = 1;
    if (ONE_OF(&random, 0, 1))
        b->cpu->segment[HV_FS].attributes = 0;
    emu_mode_changed(b->cpu);
    if (is_near) {
        bring_near(b);
        is_short = emu_ring_return(b->cpu);
    }
    if (!is_short)
        (void)RUN(b, "\x48\xcf");
    look(b, ret);
    return is_short;
}

static void returns_arrive_alike(void **state)
{
    struct bench *b = bench_of(state);
    unsigned n_short = 0;
    struct view near, far;

    for (uint64_t i = 1; i <= N_CASES; i++) {
        uint64_t random = i * UINT64_C(0x9e3779b97f4a7c15);

        n_short += come_back(b, random, true, &near);
        assert_false(come_back(b, random, false, &far));
        assert_memory_equal(&near, &far, sizeof(near));
    }
    assert_in_range(n_short, N_CASES / 50, N_CASES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_arrive_alike),
        cmocka_unit_test(returns_arrive_alike),
    };

    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
