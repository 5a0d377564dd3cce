/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor as a guest meets it: MSRs, hypercalls, timers, other processors. What the leaves
 * don't offer is left out, and must then be refused. */
#include "guest.h"

enum {
    MSR_GUEST_OS_ID = 0x40000000,
    MSR_HYPERCALL = 0x40000001,
    MSR_VP_INDEX = 0x40000002,
    MSR_VP_RUNTIME = 0x40000010,
    MSR_TIME_REF = 0x40000020,
    MSR_REFERENCE_TSC = 0x40000021,
    MSR_EOI = 0x40000070,
    MSR_ICR = 0x40000071,
    MSR_TPR = 0x40000072,
    MSR_SCONTROL = 0x40000080,
    MSR_SIMP = 0x40000083,
    MSR_EOM = 0x40000084,
    MSR_SINT2 = 0x40000092,
    MSR_STIMER0 = 0x400000b0,
    MSR_IDLE = 0x400000f0,
    MSR_CRASH_CTL = 0x40000105
};
enum { PRIV_STIMERS = 1 << 3, PRIV_APIC = 1 << 4, PRIV_TSC_PAGE = 1 << 9, PRIV_IDLE = 1 << 10 };
enum { HINT_FLUSH = 1 << 2, HINT_IPI = 1 << 10 };
enum { CALL_FLUSH = 2, CALL_FLUSH_LIST = 3, CALL_IPI = 0xb, CALL_FLUSH_EX = 0x13 };
enum { CALL_IPI_EX = 0x15, CALL_POST = 0x5c, CALL_SIGNAL = 0x5d, FAST = 1 << 16 };
enum { VECTOR_SINT = 0x53, VECTOR_TIMER = 0x54, VECTOR_PING = 0x60, MS = 10000 };
#define VA 0x7000000000ull

static volatile uint32_t counts[256];
static volatile uint32_t ap_pings, ap_seen, ap_idled;
static volatile enum { AP_DOWN, AP_HALT, AP_READ, AP_IDLE, AP_FLUSH } ap_task;
static volatile bool is_ap_up, has_apic_msrs, has_mapping;
static uint8_t pages[5][4096] __attribute__((aligned(4096)));
static uint64_t block[512] __attribute__((aligned(4096)));
static uint64_t ap_block[512] __attribute__((aligned(4096)));

static void cpuid(uint32_t leaf, uint32_t regs[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3])
                     : "a"(leaf), "c"(0));
}

static uint64_t call(uint64_t input, uint64_t first, uint64_t second)
{
    register uint64_t r8 __asm__("r8") = second;
    uint64_t result;

    __asm__ volatile("call *%4"
                     : "=a"(result), "+c"(input), "+d"(first), "+r"(r8)
                     : "r"(pages[0])
                     : "memory", "cc", "r9", "r10", "r11");
    return result;
}

bool guest_on_trap(struct frame *frame)
{
    unsigned vector = (unsigned)frame->vector;

    if (vector < 0x20 || vector == USER_RETURN)
        return false;
    __sync_fetch_and_add(&counts[vector], 1);
    if (has_apic_msrs)
        write_msr(MSR_EOI, 0);
    else
        *(volatile uint32_t *)0xfee000b0 = 0;
    return true;
}

static bool wait_for(volatile uint32_t *what, uint32_t value)
{
    uint64_t start = rdtsc();

    while (*what < value && rdtsc() - start < 20000000000ull)
        pause();
    return *what >= value;
}

static void enable_apic(void)
{
    *(volatile uint32_t *)0xfee000f0 = 0x1ff;
}

/* ---- registers ---- */

static void try_write(uint64_t msr, uint64_t value)
{
    write_msr((uint32_t)msr, value);
}

static void try_read(uint64_t msr, uint64_t unused)
{
    (void)unused;
    (void)read_msr((uint32_t)msr);
}

static void registers(void)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
    } bad[] = { { MSR_VP_INDEX, 0 }, { MSR_TIME_REF, 0 }, { 0x40000081, 1 },
                { 0x40000085, 0 },   { MSR_SINT2, 15 },   { MSR_SINT2, 0x20000 | VECTOR_SINT },
                { 0x400001ff, 0 } };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        attempt(try_write, bad[i].msr, bad[i].value);
        check_trap(GP, 0, "a write that cannot be is a #GP");
    }
    attempt(try_read, 0x40000085, 0);
    check_trap(GP, 0, "what isn't there is a #GP");
    check(read_msr(MSR_VP_INDEX) == 0, "the first VP is 0");
    check(read_msr(0x40000081) == 1, "the SynIC's version is 1");
    check(read_msr(MSR_SINT2) == 0x10000, "a SINT begins masked");
    check(read_msr(MSR_CRASH_CTL) == 3ull << 62, "crashes are heard, with text");
    check(read_msr(MSR_VP_RUNTIME) <= read_msr(MSR_VP_RUNTIME), "run time doesn't run back");
}

static void clocks(uint32_t privileges)
{
    volatile uint64_t *page = (uint64_t *)pages[1];
    uint64_t before = read_msr(MSR_TIME_REF), by_page, after;

    check(before > 0, "the reference counter counts");
    if (!(privileges & PRIV_TSC_PAGE))
        return;
    write_msr(MSR_REFERENCE_TSC, (uint64_t)pages[1] | 1);
    check((uint32_t)page[0] != 0, "the TSC page is valid");
    before = read_msr(MSR_TIME_REF);
    by_page = (uint64_t)((__uint128_t)rdtsc() * page[1] >> 64) + page[2];
    after = read_msr(MSR_TIME_REF);
    check(before <= by_page && by_page <= after, "the TSC page is the reference counter's clock");
}

/* ---- hypercalls ---- */

static void without_identity(uint64_t a, uint64_t b)
{
    (void)a, (void)b;
    __asm__ volatile("vmmcall" : : : "rax", "rcx", "rdx", "r8", "memory");
}

static void hypercalls(bool is_soft)
{
    if (is_soft) {
        attempt(without_identity, 0, 0);
        check_trap(UD, 0, "without an identity a hypercall is no instruction");
    }
    write_msr(MSR_HYPERCALL, (uint64_t)pages[0] | 1);
    check((read_msr(MSR_HYPERCALL) & 1) == 0, "nor can there be a page of it");
    write_msr(MSR_GUEST_OS_ID, 0x8100ull << 48);
    write_msr(MSR_HYPERCALL, (uint64_t)pages[0] | 1);
    check((read_msr(MSR_HYPERCALL) & 1) == 1, "with one there is");
    check(call(0x7777, 0, 0) == 2, "an unknown call is told as such");
    check(call(CALL_POST | 1ull << 27, (uint64_t)block, 0) == 3, "reserved bits are");
    check(call(CALL_POST | 1ull << 32, (uint64_t)block, 0) == 3, "a list where there is none is");
    block[0] = 0x123456;
    block[1] = 8ull << 32 | 1;
    check(call(CALL_POST, (uint64_t)block + 4, 0) == 4, "a block is aligned");
    check(call(CALL_POST, (uint64_t)block + 0xf08, 0) == 4, "and lies in one page");
    check(call(CALL_POST, (uint64_t)block, 0) == 18, "a message needs a connection");
    check((uint16_t)call(CALL_SIGNAL | FAST, 0x123456, 0) == 18, "and so does a signal");
}

/* ---- timers ---- */

static void direct_timers(void)
{
    uint64_t due = read_msr(MSR_TIME_REF) + 2 * MS;

    write_msr(MSR_STIMER0, 1 << 12 | VECTOR_TIMER << 4 | 1 << 3);
    write_msr(MSR_STIMER0 + 1, due);
    check(wait_for(&counts[VECTOR_TIMER], 1), "a one-shot timer fires");
    check(read_msr(MSR_TIME_REF) >= due, "not early");
    check((read_msr(MSR_STIMER0) & 1) == 0, "and is disabled then");
    write_msr(MSR_STIMER0 + 1, 1);
    check(wait_for(&counts[VECTOR_TIMER], 2), "one in the past fires at once");
    write_msr(MSR_STIMER0, 0);
    write_msr(MSR_STIMER0 + 1, MS);
    write_msr(MSR_STIMER0, 1 << 12 | VECTOR_TIMER << 4 | 3);
    check(wait_for(&counts[VECTOR_TIMER], 7), "a periodic one goes on");
    write_msr(MSR_STIMER0, 0);
    for (uint32_t i = 1, n = counts[VECTOR_TIMER]; i <= 200; i++) {
        write_msr(MSR_STIMER0, 1 << 12 | VECTOR_TIMER << 4 | 1 << 3);
        write_msr(MSR_STIMER0 + 1, read_msr(MSR_TIME_REF) + 100 + i * 17 % 2000);
        while (counts[VECTOR_TIMER] < n + i)
            __asm__ volatile("cli; cmpl %1, %0; jae 1f; sti; hlt; 1: sti"
                             :
                             : "m"(counts[VECTOR_TIMER]), "r"(n + i)
                             : "memory", "cc");
    }
    check(true, "hlt wakes for each timer");
}

static void message_timers(void)
{
    volatile uint32_t *slot = (uint32_t *)(pages[2] + 2 * 256);

    write_msr(MSR_SIMP, (uint64_t)pages[2] | 1);
    write_msr(MSR_SINT2, VECTOR_SINT);
    write_msr(MSR_SCONTROL, 1);
    write_msr(MSR_STIMER0 + 2, 2 << 16 | 1 << 3);
    write_msr(MSR_STIMER0 + 3, 1);
    check(wait_for(&counts[VECTOR_SINT], 1), "a message interrupts");
    check(slot[0] == 0x80000010 && (slot[1] & 0xff) == 24, "and tells of a timer");
    check(slot[4] == 1 && slot[6] == 1, "which one, and when it was due");
    write_msr(MSR_STIMER0 + 3, 2);
    check((slot[1] >> 8 & 1) == 1, "another waits for the slot");
    check(slot[6] == 1, "which is left alone");
    slot[0] = 0;
    write_msr(MSR_EOM, 0);
    check(wait_for(&counts[VECTOR_SINT], 2) && slot[6] == 2, "and comes when it is free");
    slot[0] = 0;
    write_msr(MSR_SINT2, 0x10000);
    write_msr(MSR_SCONTROL, 0);
    write_msr(MSR_SIMP, 0);
}

static void timers(uint32_t privileges)
{
    if (!(privileges & PRIV_STIMERS)) {
        attempt(try_write, MSR_STIMER0, 0);
        check_trap(GP, 0, "timers that are not offered are not there");
        return;
    }
    __asm__ volatile("sti");
    direct_timers();
    message_timers();
    __asm__ volatile("cli");
}

/* ---- the local APIC ---- */

static void apic_msrs(uint32_t privileges)
{
    has_apic_msrs = privileges & PRIV_APIC;
    if (!has_apic_msrs)
        return;
    write_msr(MSR_TPR, 0x50);
    check(read_cr8() == 5 && read_msr(MSR_TPR) == 0x50, "TPR is CR8");
    write_msr(MSR_TPR, 0);
    for (uint32_t i = 1; i <= 2; i++) {
        write_msr(MSR_ICR, 0x44000 | VECTOR_PING);
        __asm__ volatile("sti; nop; nop; cli");
        check(counts[VECTOR_PING] == i, "an interrupt to self, ended by MSR");
    }
}

/* ---- two processors ---- */

static void ap_read(void)
{
    while (ap_task == AP_READ)
        if (has_mapping)
            ap_seen = *(volatile uint32_t *)VA;
}

static void ap_flush(void)
{
    ap_block[0] = 0;
    ap_block[1] = 2;
    ap_block[2] = 1;
    while (ap_task == AP_FLUSH)
        (void)call(CALL_FLUSH, (uint64_t)ap_block, 0);
}

void guest_ap(unsigned index)
{
    (void)index;
    enable_apic();
    is_ap_up = true;
    for (;;) {
        switch (ap_task) {
        case AP_READ: ap_read(); break;
        case AP_FLUSH: ap_flush(); break;
        case AP_IDLE:
            __asm__ volatile("cli");
            ap_idled = 1;
            (void)read_msr(MSR_IDLE); /* an interrupt ends it, though it cannot be taken */
            ap_idled = 2;
            __asm__ volatile("sti; nop");
            break;
        default: __asm__ volatile("sti; hlt" : : : "memory");
        }
    }
}

static void wake_ap(void)
{
    (void)call(CALL_IPI | FAST, VECTOR_PING, 2);
}

static void interrupts(void)
{
    uint32_t n = counts[VECTOR_PING];

    /* 5 by the specification; 3 is what Linux's KVM says */
    check((uint16_t)call(CALL_IPI | FAST, 15, 2) != 0, "a vector below 16 is refused");
    check(call(CALL_IPI | FAST, VECTOR_PING, 2) == 0, "an IPI is sent");
    check(wait_for(&counts[VECTOR_PING], n + 1), "and arrives");
    block[0] = VECTOR_PING;
    block[1] = 0;
    block[2] = 1;
    block[3] = 2;
    check(call(CALL_IPI_EX | 1 << 17, (uint64_t)block, 0) == 0, "one to a set of VPs is sent");
    check(wait_for(&counts[VECTOR_PING], n + 2), "and arrives too");
    block[1] = 1;
    block[2] = 0;
    check(call(CALL_IPI_EX, (uint64_t)block, 0) == 0, "one to all VPs is sent");
    __asm__ volatile("sti; nop");
    check(wait_for(&counts[VECTOR_PING], n + 4), "and arrives at both");
    __asm__ volatile("cli");
    for (uint32_t i = 0, m = n + 4; i < 200; i++) {
        wake_ap();
        if (!wait_for(&counts[VECTOR_PING], ++m)) {
            check(false, "an IPI was lost");
            return;
        }
    }
}

static uint64_t flush(unsigned code, uint64_t extra)
{
    return call(code | extra, (uint64_t)block, 0);
}

/* After a flush the other processor sees the new page alone. */
static void flush_one(uint64_t *entry, unsigned round)
{
    static const uint64_t all_forms[][2] = { { CALL_FLUSH, 0 },
                                             { CALL_FLUSH_LIST, 1ull << 32 },
                                             { CALL_FLUSH_EX, 1 << 17 } };
    const uint64_t *form = all_forms[round % 3];
    uint32_t next = 100 + round % 2;
    bool is_ex = form[0] == CALL_FLUSH_EX;

    *entry = (uint64_t)pages[3 + round % 2] | 3;
    block[0] = read_cr3();
    block[1] = 0;
    block[2] = is_ex ? 0 : 2;
    block[3] = is_ex ? 1 : VA;
    block[4] = 2;
    if ((uint16_t)flush((unsigned)form[0], form[1]) != 0)
        check(false, "a flush succeeds");
    ap_seen = 0;
    for (unsigned i = 0; i < 3; i++) {
        uint32_t seen;

        while ((seen = ap_seen) == 0)
            pause();
        if (seen != next)
            check(i == 0, "after a flush the old page is not seen");
        ap_seen = 0;
    }
}

static void flushes(bool is_soft)
{
    uint64_t *entry = map_4k(VA, (uint64_t)pages[3] | 3);

    *(uint32_t *)pages[3] = 100;
    *(uint32_t *)pages[4] = 101;
    block[1] = 0x10;
    if (is_soft) /* Linux's KVM passes over it */
        check((uint16_t)flush(CALL_FLUSH, 0) == 5, "an unknown flag is refused");
    has_mapping = true;
    ap_task = AP_READ;
    wake_ap();
    for (unsigned round = 1; round < 60; round++)
        flush_one(entry, round);
    ap_task = AP_FLUSH; /* each waits for the other */
    block[0] = block[1] = 0;
    block[2] = 3;
    for (unsigned i = 0; i < 500; i++)
        if ((uint16_t)flush(CALL_FLUSH, 0) != 0)
            check(false, "flushes of one another succeed");
    ap_task = AP_HALT;
    check(true, "two who flush one another both go on");
}

static void idle(void)
{
    ap_task = AP_IDLE;
    wake_ap();
    check(wait_for(&ap_idled, 1), "the other processor idles");
    for (unsigned i = 0; i < 100 && ap_idled != 2; i++) {
        uint64_t start = rdtsc();

        ap_task = AP_HALT;
        wake_ap();
        while (ap_idled != 2 && rdtsc() - start < 100000000)
            pause();
    }
    check(ap_idled == 2, "until an interrupt comes");
}

int guest_main(void)
{
    uint32_t features[4], hints[4];

    cpuid(0x40000003, features);
    cpuid(0x40000004, hints);
    enable_apic();
    registers();
    clocks(features[0]);
    hypercalls(features[0] & PRIV_STIMERS);
    apic_msrs(features[0]);
    timers(features[0]);
    start_aps(1);
    for (unsigned i = 0; i < 1000000000 && !is_ap_up; i++)
        pause();
    if (is_ap_up && hints[0] & HINT_IPI)
        interrupts();
    if (is_ap_up && hints[0] & HINT_FLUSH)
        flushes(features[0] & PRIV_STIMERS);
    if (is_ap_up && features[0] & PRIV_IDLE)
        idle();
    return finish("hyperv");
}
