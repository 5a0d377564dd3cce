/* SPDX-License-Identifier: Apache-2.0 */
/* The local APIC as a processor meets it: timer, interrupts between processors, priorities, hlt. */
#include "guest.h"

enum {
    REG_ID = 0x20,
    REG_TPR = 0x80,
    REG_EOI = 0xb0,
    REG_SVR = 0xf0,
    REG_ISR = 0x100,
    REG_ICR_LOW = 0x300,
    REG_ICR_HIGH = 0x310,
    REG_LVT_TIMER = 0x320,
    REG_INITIAL = 0x380,
    REG_CURRENT = 0x390,
    REG_DIVIDE = 0x3e0
};
enum { VECTOR_TIMER = 0x50, VECTOR_LOW = 0x45, VECTOR_HIGH = 0x75, VECTOR_PING = 0x60 };

static volatile uint32_t counts[256];
static volatile uint32_t ap_pings, ap_nmis, last_order[8], n_order;
static volatile bool is_ap_up;
static bool is_nested;

static uint32_t apic_read(unsigned reg)
{
    return *(volatile uint32_t *)(0xfee00000ull + reg);
}

static void apic_write(unsigned reg, uint32_t value)
{
    *(volatile uint32_t *)(0xfee00000ull + reg) = value;
}

bool guest_on_trap(struct frame *frame)
{
    unsigned vector = (unsigned)frame->vector;

    if (vector == NMI) {
        ap_nmis++;
        return true;
    }
    if (vector < 0x20 || vector == USER_RETURN)
        return false;
    counts[vector]++;
    if (n_order < 8)
        last_order[n_order++] = vector;
    if (is_nested && vector == VECTOR_LOW)
        __asm__ volatile("sti; nop; cli"); /* a higher one may come here */
    if (n_order < 8)
        last_order[n_order++] = vector | 0x100;
    if (vector == VECTOR_PING)
        __sync_fetch_and_add(&ap_pings, 1);
    apic_write(REG_EOI, 0);
    return true;
}

void guest_ap(unsigned index)
{
    apic_write(REG_SVR, 0x1ff);
    is_ap_up = true;
    for (;;)
        __asm__ volatile("sti; hlt; cli" : : : "memory");
}

static bool wait_for(volatile uint32_t *what, uint32_t value)
{
    uint64_t start = rdtsc();

    while (*what < value && rdtsc() - start < 20000000000ull)
        pause();
    return *what >= value;
}

static void send(unsigned to, uint32_t low)
{
    apic_write(REG_ICR_HIGH, to << 24);
    apic_write(REG_ICR_LOW, low);
}

static void self(unsigned vector)
{
    apic_write(REG_ICR_LOW, 0x44000 | vector);
}

static void interrupts_to_self(void)
{
    __asm__ volatile("cli");
    self(VECTOR_PING);
    check(counts[VECTOR_PING] == 0, "nothing comes with interrupts off");
    __asm__ volatile("sti; nop; nop; cli");
    check(counts[VECTOR_PING] == 1, "what waited comes after sti");
    self(VECTOR_PING);
    __asm__ volatile("sti; cli");
    check(counts[VECTOR_PING] == 1, "but not between sti and cli");
    __asm__ volatile("sti; nop; cli");
    check(counts[VECTOR_PING] == 2, "nor is it lost");
    self(VECTOR_PING);
    __asm__ volatile("pushfq; orl $0x200, (%%rsp); popfq; cli" : : : "memory", "cc");
    check(counts[VECTOR_PING] == 3, "popfq has no shadow");
}

static void mov_ss_shadow(void)
{
    counts[VECTOR_PING] = 0;
    self(VECTOR_PING);
    __asm__ volatile("mov %%ss, %%eax; mov %%eax, %%ss; sti; nop; cli" : : : "eax");
    check(counts[VECTOR_PING] == 1, "a shadow of mov ss ends with the next instruction");
}

static void priorities(void)
{
    n_order = 0;
    self(VECTOR_LOW);
    self(VECTOR_HIGH);
    __asm__ volatile("sti; nop; nop; nop; cli");
    check(last_order[0] == VECTOR_HIGH && last_order[2] == VECTOR_LOW, "the higher vector first");
    write_cr8(5);
    n_order = 0;
    self(VECTOR_LOW);
    self(VECTOR_HIGH);
    __asm__ volatile("sti; nop; nop; nop; cli");
    check(n_order == 2 && last_order[0] == VECTOR_HIGH, "CR8 holds the lower one back");
    check(apic_read(REG_TPR) == 0x50, "CR8 is the TPR");
    __asm__ volatile("sti");
    write_cr8(0);
    __asm__ volatile("nop; cli");
    check(n_order == 4, "until it is lowered");
}

static void nested_interrupts(void)
{
    is_nested = true;
    n_order = 0;
    self(VECTOR_LOW);
    __asm__ volatile("sti; nop; cli");
    check(n_order == 2, "one alone");
    is_nested = false;
    counts[VECTOR_PING] = 0;
    self(VECTOR_PING);
    self(VECTOR_PING);
    __asm__ volatile("sti; nop; nop; cli");
    check(counts[VECTOR_PING] == 1, "twice the same before it is taken is once");
}

static void timer(void)
{
    uint64_t start;

    apic_write(REG_DIVIDE, 0xb);
    apic_write(REG_LVT_TIMER, VECTOR_TIMER);
    apic_write(REG_INITIAL, 1000000);
    __asm__ volatile("sti");
    check(wait_for(&counts[VECTOR_TIMER], 1), "a one-shot timer fires");
    check(apic_read(REG_CURRENT) == 0, "and stops");
    apic_write(REG_LVT_TIMER, 0x20000 | VECTOR_TIMER);
    apic_write(REG_INITIAL, 1000000);
    check(wait_for(&counts[VECTOR_TIMER], 6), "a periodic timer goes on");
    apic_write(REG_INITIAL, 0);
    apic_write(REG_LVT_TIMER, 0x10000);
    start = rdtsc();
    while (rdtsc() - start < 10000000)
        pause();
    counts[VECTOR_TIMER] = 0;
    if (has_feature(1, 2, 24)) {
        apic_write(REG_LVT_TIMER, 0x40000 | VECTOR_TIMER);
        write_msr(0x6e0, rdtsc() + 5000000);
        check(wait_for(&counts[VECTOR_TIMER], 1), "a TSC deadline fires");
        check(read_msr(0x6e0) == 0, "and is cleared");
        write_msr(0x6e0, 1);
        check(wait_for(&counts[VECTOR_TIMER], 2), "one in the past at once");
    }
    __asm__ volatile("cli");
}

/* hlt ends for a timer; a hundred times, so that a lost wake-up would show. */
static void halts(void)
{
    counts[VECTOR_TIMER] = 0;
    apic_write(REG_LVT_TIMER, VECTOR_TIMER);
    for (uint32_t i = 1; i <= 300; i++) {
        apic_write(REG_INITIAL, 1000 + i * 17 % 5000);
        while (counts[VECTOR_TIMER] < i)
            __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
    check(counts[VECTOR_TIMER] == 300, "hlt wakes for each timer");
}

static void other_processors(void)
{
    uint32_t target;

    start_aps(1);
    for (unsigned i = 0; i < 1000000000 && !is_ap_up; i++)
        pause();
    if (!is_ap_up) {
        print("no second processor: skipped\n");
        return;
    }
    ap_pings = 0;
    for (target = 1; target <= 2000; target++) {
        send(1, 0x4000 | VECTOR_PING);
        if (!wait_for(&ap_pings, target))
            break;
    }
    check(target == 2001, "two thousand interrupts to a processor that sleeps");
    ap_nmis = 0;
    for (target = 1; target <= 200; target++) {
        send(1, 0x4400);
        if (!wait_for(&ap_nmis, target))
            break;
    }
    check(target == 201, "NMIs wake it too");
    ap_pings = 0;
    apic_write(REG_ICR_LOW, 0xc4000 | VECTOR_PING); /* all but me */
    check(wait_for(&ap_pings, 1), "broadcasts arrive");
}

static void x2apic(void)
{
    if (!has_feature(1, 2, 21))
        return;
    write_msr(0x1b, read_msr(0x1b) | 1 << 10);
    counts[VECTOR_LOW] = 0;
    write_msr(0x83f, VECTOR_LOW); /* self IPI */
    check(counts[VECTOR_LOW] == 0, "with interrupts off it waits");
    check((read_msr(0x822) >> (VECTOR_LOW & 31)) & 1, "in the IRR");
    write_msr(0x808, 0x80);
    __asm__ volatile("sti; nop; cli");
    check(counts[VECTOR_LOW] == 0, "below the TPR too");
    write_msr(0x808, 0);
}

int guest_main(void)
{
    apic_write(REG_SVR, 0x1ff);
    interrupts_to_self();
    mov_ss_shadow();
    priorities();
    nested_interrupts();
    timer();
    halts();
    other_processors();
    x2apic();
    return finish("apic");
}
