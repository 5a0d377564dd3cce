/* SPDX-License-Identifier: Apache-2.0 */
/* Several processors on one memory: locked operations wherever their operand lies, order of plain
 * ones, translations that are taken away, code patched while it runs. */
#include "guest.h"

enum { MAX_CPUS = 4, ROUNDS = 20000, VECTOR_SHOOT = 0x61 };
#define VA 0x400000000000ull

static volatile uint32_t n_ready, phase, n_done;
static volatile unsigned n_cpus = 1;
static uint8_t lines[4 * 4096] __attribute__((aligned(4096)));
static void (*volatile job)(unsigned index);

/* Of the first two processors. */
static void barrier(void)
{
    static volatile uint32_t count, generation;
    uint32_t mine = generation;

    if (__sync_add_and_fetch(&count, 1) == 2) {
        count = 0;
        __sync_synchronize();
        generation = mine + 1;
    } else {
        while (generation == mine)
            pause();
    }
}

static volatile uint32_t n_shots;

bool guest_on_trap(struct frame *frame)
{
    if (frame->vector == VECTOR_SHOOT) {
        invlpg(VA);
        __sync_fetch_and_add(&n_shots, 1);
        *(volatile uint32_t *)0xfee000b0 = 0;
        return true;
    }
    if (frame->vector == BP) { /* a patch is under way */
        frame->rip--;
        return true;
    }
    return false;
}

static void work(unsigned index)
{
    uint32_t seen = 0;

    for (;;) {
        while (phase == seen)
            pause();
        seen = phase;
        if (!job)
            return;
        job(index);
        __sync_fetch_and_add(&n_done, 1);
    }
}

void guest_ap(unsigned index)
{
    *(volatile uint32_t *)0xfee000f0 = 0x1ff;
    __sync_fetch_and_add(&n_ready, 1);
    __asm__ volatile("sti");
    work(index);
}

/* Run fn on all processors at once. */
static void all(void (*fn)(unsigned index))
{
    n_done = 0;
    job = fn;
    __sync_synchronize();
    phase++;
    if (fn)
        fn(0);
    while (fn && n_done < n_cpus - 1)
        pause();
}

/* ---- Locked operations ---- */

static uint8_t *operand;

static void add_8(unsigned index)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        __asm__ volatile("lock addq $1, (%0)" : : "r"(operand) : "memory", "cc");
}

static void add_4(unsigned index)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        __asm__ volatile("lock incl (%0)" : : "r"(operand) : "memory", "cc");
}

static void xadd_8(unsigned index)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t one = 1;

        __asm__ volatile("lock xaddq %0, (%1)" : "+r"(one) : "r"(operand) : "memory", "cc");
    }
}

static void cmpxchg_8(unsigned index)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t old = *(volatile uint64_t *)operand;
        uint8_t done;

        do
            __asm__ volatile("lock cmpxchgq %2, (%3); sete %1"
                             : "+a"(old), "=q"(done)
                             : "r"(old + 1), "r"(operand)
                             : "memory", "cc");
        while (!done);
    }
}

static void cmpxchg_16(unsigned index)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t low = 0, high = 0;
        uint8_t done;

        do
            __asm__ volatile("lock cmpxchg16b (%3); sete %2"
                             : "+a"(low), "+d"(high), "=q"(done)
                             : "r"(operand), "b"(low + 1), "c"(high + 2)
                             : "memory", "cc");
        while (!done);
    }
}

static void xchg_lock(unsigned index)
{
    for (unsigned i = 0; i < ROUNDS / 4; i++) {
        uint32_t taken = 1;

        do
            __asm__ volatile("xchgl %0, (%1)" : "+r"(taken) : "r"(operand) : "memory");
        while (taken);
        ++*(volatile uint64_t *)(operand + 64);
        *(volatile uint32_t *)operand = 0;
    }
}

static void bts_bits(unsigned index)
{
    for (unsigned i = 0; i < 32; i++)
        __asm__ volatile("lock btsl %1, (%0)"
                         :
                         : "r"(operand), "r"(index * 8 + i % 8)
                         : "memory", "cc");
}

static void clear(void)
{
    for (unsigned i = 0; i < 128; i++)
        ((volatile uint8_t *)lines)[2048 + i] = 0;
    for (unsigned i = 0; i < 32; i++)
        operand[i] = 0;
}

static uint64_t total(void (*fn)(unsigned index), void *at)
{
    operand = at;
    clear();
    all(fn);
    return *(volatile uint64_t *)operand;
}

static void locked_operations(void)
{
    uint64_t want = (uint64_t)ROUNDS * n_cpus;

    /* Two pages that follow each other in linear space only. */
    (void)map_4k(VA + 0x10000, (uint64_t)lines | 3);
    (void)map_4k(VA + 0x11000, (uint64_t)(lines + 0x2000) | 3);
    check(total(add_8, lines + 2048) == want, "lock add, aligned");
    check(total(add_8, lines + 2048 + 60) == want, "lock add across a cache line");
    check(total(add_8, lines + 4096 - 3) == want, "lock add across a page");
    check(total(add_8, (void *)(VA + 0x11000 - 5)) == want, "lock add across scattered pages");
    check((uint32_t)total(add_4, lines + 2048 + 1) == (uint32_t)want, "lock inc, misaligned");
    check(total(xadd_8, lines + 2048 + 61) == want, "lock xadd across a cache line");
    check(total(cmpxchg_8, lines + 2048) == want, "lock cmpxchg, aligned");
    check(total(cmpxchg_8, lines + 2048 + 57) == want, "lock cmpxchg across a cache line");
    check(total(cmpxchg_16, lines + 2048) == want, "lock cmpxchg16b");
    check(*(volatile uint64_t *)(lines + 2048 + 8) == 2 * want, "and its upper half");
    (void)total(xchg_lock, lines + 2048);
    check(*(volatile uint64_t *)(lines + 2048 + 64) == want / 4, "a lock made of xchg");
    (void)total(xchg_lock, lines + 2048 + 62);
    check(*(volatile uint64_t *)(lines + 2048 + 126) == want / 4, "the same across a line");
    (void)total(bts_bits, lines + 2048);
    check(*(volatile uint32_t *)(lines + 2048) == (uint32_t)((1ull << n_cpus * 8) - 1), "lock bts");
}

/* The operand's page has code that runs: its writes are looked after. */
static void locked_operations_beside_code(void)
{
    uint8_t *at = lines + 0x3000;

    at[0] = 0xc3;
    ((void (*)(void))(uint64_t)at)();
    check(total(add_8, at + 64) == (uint64_t)ROUNDS * n_cpus, "lock add in a page with code");
    check(total(add_8, at + 8) == (uint64_t)ROUNDS * n_cpus, "in a line with code");
}

/* ---- Order ---- */

static volatile uint32_t x __attribute__((aligned(64))), y __attribute__((aligned(64)));
static volatile uint32_t seen_x, seen_y, n_both_old, n_reordered;

/* Store buffering, with a fence: never both old. */
static void store_buffering(unsigned index)
{
    for (unsigned i = 0; i < 1000 && index < 2; i++) {
        if (index == 0)
            x = y = 0;
        barrier();
        if (index == 0) {
            x = 1;
            __asm__ volatile("mfence" : : : "memory");
            seen_y = y;
        } else if (index == 1) {
            y = 1;
            __asm__ volatile("lock orl $0, (%%rsp)" : : : "memory", "cc");
            seen_x = x;
        }
        barrier();
        if (index == 0 && !seen_x && !seen_y)
            n_both_old++;
        barrier();
    }
}

/* Message passing: what was stored first is seen first. */
static void message_passing(unsigned index)
{
    for (uint32_t i = 1; i < 50000; i++) {
        if (index == 0) {
            x = i;
            y = i;
        } else if (index == 1) {
            uint32_t b = y, a = x;

            if (a < b)
                n_reordered++;
        }
    }
}

static volatile uint64_t whole __attribute__((aligned(8)));
static volatile uint32_t n_torn;

static void tearing(unsigned index)
{
    for (unsigned i = 0; i < 50000; i++) {
        if (index == 0) {
            whole = i & 1 ? UINT64_MAX : 0;
        } else {
            uint64_t value = whole;

            if (value != 0 && value != UINT64_MAX)
                n_torn++;
        }
    }
}

static void order(void)
{
    all(store_buffering);
    check(n_both_old == 0, "a fenced store is seen before the next load");
    x = y = 0;
    all(message_passing);
    check(n_reordered == 0, "stores are seen in order");
    all(tearing);
    check(n_torn == 0, "aligned stores are whole");
}

/* ---- Translations taken away ---- */

static volatile bool is_over;
static uint8_t frames[2][4096] __attribute__((aligned(4096)));
static volatile uint64_t n_stale;

static void shoot(unsigned index)
{
    uint64_t *entry = map_4k(VA, (uint64_t)frames[0] | 3);

    for (unsigned round = 1; round <= 100; round++) {
        uint32_t before = n_shots;

        *(volatile uint64_t *)frames[round & 1] = round;
        *(volatile uint64_t *)entry = (uint64_t)frames[round & 1] | 3;
        invlpg(VA);
        *(volatile uint32_t *)0xfee00300 = 0x000c4000 | VECTOR_SHOOT;
        while (n_shots - before < n_cpus - 1)
            pause();
        /* from now on nobody may see the other frame */
        x = round;
        if (*(volatile uint64_t *)VA != round)
            n_stale++;
    }
    is_over = true;
}

static void check_fresh(unsigned index)
{
    while (!is_over) {
        uint64_t promised = x, got = *(volatile uint64_t *)VA;

        if (got < promised)
            n_stale++;
        pause();
    }
}

static void shoot_or_read(unsigned index)
{
    if (index == 0)
        shoot(0);
    else
        check_fresh(index);
}

static void shootdowns(void)
{
    x = 0;
    *(volatile uint64_t *)frames[0] = 0;
    (void)map_4k(VA, (uint64_t)frames[0] | 3);
    all(shoot_or_read);
    check(n_stale == 0, "a translation taken away by interrupt isn't used again");
}

/* ---- Code patched while it runs, by int3 first ---- */

static uint8_t patched[64] __attribute__((aligned(64)));
static volatile uint32_t n_wrong;

static void serialize(void)
{
    __asm__ volatile("cpuid" : : "a"(0) : "ebx", "ecx", "edx", "memory");
}

static void patch_or_run(unsigned index)
{
    if (index != 0) {
        while (!is_over) {
            uint32_t value = ((uint32_t(*)(void))(uint64_t)patched)();

            if (value != 0x11111111 && value != 0x22222222)
                n_wrong++;
            pause();
        }
        return;
    }
    for (unsigned round = 0; round < 1000; round++) {
        *(volatile uint8_t *)patched = 0xcc;
        serialize();
        *(volatile uint32_t *)(patched + 1) = round & 1 ? 0x11111111 : 0x22222222;
        serialize();
        *(volatile uint8_t *)patched = 0xb8;
        for (unsigned i = 0; i < 50; i++)
            pause();
    }
    is_over = true;
}

static void live_patching(void)
{
    patched[0] = 0xb8;
    *(uint32_t *)(patched + 1) = 0x11111111;
    patched[5] = 0xc3;
    is_over = false;
    all(patch_or_run);
    check(n_wrong == 0, "code patched by int3 is the old or the new");
}

int guest_main(void)
{
    start_aps(MAX_CPUS - 1);
    for (unsigned i = 0; i < 1000000 && n_ready < n_aps; i++)
        pause();
    *(volatile uint32_t *)0xfee000f0 = 0x1ff;
    n_cpus = n_aps + 1;
    print_hex(n_cpus);
    print(" processors\n");
    if (n_cpus < 2)
        return finish("smp");
    locked_operations();
    locked_operations_beside_code();
    order();
    shootdowns();
    live_patching();
    all(NULL);
    return finish("smp");
}
