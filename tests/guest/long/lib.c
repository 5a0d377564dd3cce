/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

enum { COM1 = 0x3f8, MAX_TOLD = 20 };

static unsigned n_checks, n_failed;

void print(const char *text)
{
    for (; *text; text++) {
        while (!(inb(COM1 + 5) & 0x20))
            ;
        outb(COM1, (uint8_t)*text);
    }
}

void print_hex(uint64_t value)
{
    char text[17] = { 0 };
    unsigned n = 16;

    do {
        text[--n] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value);
    print(text + n);
}

bool check(bool is_true, const char *claim)
{
    n_checks++;
    if (is_true)
        return true;
    if (n_failed++ < MAX_TOLD) {
        print("WRONG: ");
        print(claim);
        print("\n");
    }
    return false;
}

bool check_trap(uint64_t vector, uint64_t error, const char *claim)
{
    bool is_right = trap.vector == vector && (vector == NO_TRAP || trap.error == error);

    if (check(is_right, claim))
        return true;
    if (n_failed <= MAX_TOLD) {
        print("  vector ");
        print_hex(trap.vector);
        print(" error ");
        print_hex(trap.error);
        print(" cr2 ");
        print_hex(trap.cr2);
        print(" rip ");
        print_hex(trap.rip);
        print("\n");
    }
    return false;
}

int finish(const char *name)
{
    print(name);
    print(": ");
    print_hex(n_checks);
    print(" claims, ");
    print_hex(n_failed);
    print(" wrong\n");
    return n_failed ? 1 : 0;
}

/* Called by the stubs. */
int guest_trap(struct frame *frame);
int guest_trap(struct frame *frame)
{
    if (guest_on_trap(frame))
        return 1;
    trap = (struct trap){ .vector = frame->vector == USER_RETURN ? NO_TRAP : frame->vector,
                          .error = frame->error,
                          .cr2 = read_cr2(),
                          .rip = frame->rip,
                          .cs = frame->cs,
                          .rflags = frame->rflags,
                          .rsp = frame->rsp,
                          .ss = frame->ss,
                          .rdi = frame->rdi };
    return 0;
}

bool has_feature(uint32_t leaf, unsigned reg, unsigned bit)
{
    uint32_t regs[4] = { leaf & 0x80000000 };

    __asm__ volatile("cpuid" : "+a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3]));
    if (regs[0] < leaf)
        return false;
    regs[0] = leaf;
    regs[2] = 0;
    __asm__ volatile("cpuid" : "+a"(regs[0]), "=b"(regs[1]), "+c"(regs[2]), "=d"(regs[3]));
    return regs[reg] >> bit & 1;
}

void set_gate(unsigned vector, unsigned dpl, unsigned ist)
{
    idt[vector * 2] = (idt[vector * 2] & ~0x0000ffff00000000) | (uint64_t)(0x8e00 | dpl << 13 | ist)
                                                                    << 32;
}

/* Tables for map_4k come from here. */
static uint64_t pool[32][512] __attribute__((aligned(4096)));
static unsigned n_pool;

static uint64_t *next_table(uint64_t *entry)
{
    if (!(*entry & 1))
        *entry = (uint64_t)pool[n_pool++] | 7;
    return (uint64_t *)(*entry & 0x000ffffffffff000);
}

uint64_t *map_4k(uint64_t va, uint64_t entry)
{
    uint64_t *table = next_table(&pml4[va >> 39 & 511]), *slot;

    table = next_table(&table[va >> 30 & 511]);
    table = next_table(&table[va >> 21 & 511]);
    slot = &table[va >> 12 & 511];
    *slot = entry;
    invlpg(va);
    return slot;
}

/* ---- Application processors ---- */

static void wait_ticks(uint64_t ticks)
{
    uint64_t start = rdtsc();

    while (rdtsc() - start < ticks)
        pause();
}

void start_aps(unsigned expected_at_most)
{
    volatile uint32_t *lapic = (volatile uint32_t *)0xfee00000;
    volatile uint32_t *arrived = &n_aps;
    uint8_t *to = (uint8_t *)0x8000;

    for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); i++)
        to[i] = trampoline[i];
    lapic[0xf0 / 4] = 0x1ff;
    lapic[0x300 / 4] = 0x000c4500;
    wait_ticks(30000000);
    lapic[0x300 / 4] = 0x000c4608;
    for (unsigned i = 0; i < 20 && *arrived < expected_at_most; i++)
        wait_ticks(30000000);
}
