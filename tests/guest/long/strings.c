/* SPDX-License-Identifier: Apache-2.0 */
/* String instructions: faults in the middle, overlaps, directions, address sizes, crossings. */
#include "guest.h"

#define VA 0x400000000000ull

static uint8_t pages[4][4096] __attribute__((aligned(4096)));

struct registers {
    uint64_t rax, rcx, rsi, rdi;
};

static struct registers fault_registers;

void guest_ap(unsigned index)
{
}

bool guest_on_trap(struct frame *frame)
{
    fault_registers = (struct registers){ frame->rax, frame->rcx, frame->rsi, frame->rdi };
    return false;
}

static struct registers regs;
static bool is_down;

#define STRING(name, code)                                                                         \
    static void name(void)                                                                         \
    {                                                                                              \
        if (is_down)                                                                               \
            __asm__ volatile("std");                                                               \
        __asm__ volatile(code "; cld"                                                              \
                         : "+a"(regs.rax), "+c"(regs.rcx), "+S"(regs.rsi), "+D"(regs.rdi)          \
                         :                                                                         \
                         : "memory", "cc");                                                        \
    }
STRING(rep_movsb, "rep movsb")
STRING(rep_movsq, "rep movsq")
STRING(rep_stosb, "rep stosb")
STRING(rep_stosq, "rep stosq")
STRING(rep_lodsb, "rep lodsb")
STRING(repe_cmpsb, "repe cmpsb")
STRING(repne_scasb, "repne scasb")
STRING(rep_movsb_32, "addr32 rep movsb")
STRING(movsq, "movsq")
STRING(rep_movsw, "rep movsw")

static void run(void (*fn)(void), uint64_t rax, uint64_t rcx, uint64_t rsi, uint64_t rdi)
{
    regs = (struct registers){ rax, rcx, rsi, rdi };
    attempt(fn, 0, 0);
}

static void fill(uint8_t *at, unsigned bytes, uint8_t seed)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(seed + i * 7);
}

static bool is_pattern(const uint8_t *at, unsigned bytes, uint8_t seed)
{
    for (unsigned i = 0; i < bytes; i++)
        if (at[i] != (uint8_t)(seed + i * 7))
            return false;
    return true;
}

/* Pages 0 and 1 are there, 2 isn't, 3 is read-only. */
static void map_all(void)
{
    (void)map_4k(VA, (uint64_t)pages[0] | 3);
    (void)map_4k(VA + 0x1000, (uint64_t)pages[1] | 3);
    (void)map_4k(VA + 0x2000, 0);
    (void)map_4k(VA + 0x3000, (uint64_t)pages[3] | 1);
    (void)map_4k(VA + 0x4000, 0);
}

static void faults_in_the_middle(void)
{
    for (unsigned before = 0; before < 40; before += 13) {
        fill(pages[0], 4096, 1);
        run(rep_movsb, 0, 100, VA, VA + 0x2000 - before);
        check_trap(PF, 2, "rep movsb into a missing page");
        check(trap.cr2 == VA + 0x2000, "at its first byte");
        check(fault_registers.rcx == 100 - before && fault_registers.rsi == VA + before &&
                  fault_registers.rdi == VA + 0x2000,
              "registers tell what is done");
        check(is_pattern(pages[1] + 4096 - before, before, 1), "and it is done");
        run(rep_movsb, 0, 100, VA + 0x2000 - before, VA);
        check_trap(PF, 0, "rep movsb out of a missing page");
        check(fault_registers.rcx == 100 - before, "with its count");
        run(rep_stosb, 0x5a, 5000, 0, VA + 0x1000 - before);
        check_trap(PF, 2, "rep stosb over two pages");
        check(fault_registers.rcx == 5000 - 4096 - before, "with its count");
        check(pages[1][4095] == 0x5a, "and its bytes");
    }
    run(rep_stosb, 0, 1, 0, VA + 0x3000);
    check_trap(PF, 3, "rep stosb into a read-only page");
}

/* The element that crosses into the missing page isn't begun. */
static void elements_are_whole(void)
{
    fill(pages[1], 4096, 3);
    run(rep_stosq, 0, 4, 0, VA + 0x2000 - 20);
    check_trap(PF, 2, "rep stosq with an element across the end");
    check(fault_registers.rcx == 2 && fault_registers.rdi == VA + 0x2000 - 4, "two are done");
    check(trap.cr2 == VA + 0x2000, "CR2 is in the second page");
    check(pages[1][4092] == (uint8_t)(3 + 4092 * 7), "the third isn't begun");
    run(rep_movsq, 0, 4, VA + 0x2000 - 20, VA);
    check(fault_registers.rcx == 2 && fault_registers.rdi == VA + 16, "rep movsq likewise");
}

static void overlaps(void)
{
    for (unsigned i = 0; i < 64; i++)
        pages[0][i] = (uint8_t)i;
    run(rep_movsb, 0, 40, VA, VA + 1);
    check(pages[0][40] == 0 && pages[0][41] == 41, "rep movsb by one fills");
    for (unsigned i = 0; i < 64; i++)
        pages[0][i] = (uint8_t)i;
    run(rep_movsw, 0, 20, VA, VA + 3);
    check(pages[0][3] == 0 && pages[0][5] == 2 && pages[0][6] == 0, "rep movsw by three");
    for (unsigned i = 0; i < 64; i++)
        pages[0][i] = (uint8_t)i;
    run(rep_movsq, 0, 5, VA + 4, VA);
    check(pages[0][0] == 4 && pages[0][39] == 43, "rep movsq downwards by four");
    for (unsigned i = 0; i < 64; i++)
        pages[0][i] = (uint8_t)i;
    is_down = true;
    run(rep_movsb, 0, 40, VA + 39, VA + 40);
    is_down = false;
    check(pages[0][40] == 39 && pages[0][1] == 0, "from the end, nothing is filled");
    check(regs.rsi == VA - 1 && regs.rdi == VA && regs.rcx == 0, "registers go down");
    is_down = true;
    run(rep_stosb, 1, 4096 + 8, 0, VA + 0x1007);
    is_down = false;
    check_trap(NO_TRAP, 0, "downwards over a page's begin");
    check(pages[0][0] == 1 && pages[1][7] == 1, "all bytes");
    /* the same page twice: physical overlap counts as well */
    (void)map_4k(VA + 0x5000, (uint64_t)pages[0] | 3);
    for (unsigned i = 0; i < 64; i++)
        pages[0][i] = (uint8_t)i;
    run(rep_movsb, 0, 40, VA, VA + 0x5001);
    check(pages[0][40] == 0, "overlap through an alias");
}

static void counts_and_sizes(void)
{
    run(rep_movsb, 0, 0, 0x8000000000000000, 0x8000000000000000);
    check_trap(NO_TRAP, 0, "a count of zero touches nothing");
    run(rep_movsb_32, 0, 0xffffffff00000010, 0xffffffff00000000 | (uint32_t)(uint64_t)pages[0],
        0xffffffff00000000 | (uint32_t)(uint64_t)pages[1]);
    check_trap(NO_TRAP, 0, "32-bit addresses and count");
    check(regs.rcx == 0 && regs.rsi == (uint64_t)pages[0] + 16, "whose registers are cut");
    run(rep_movsb_32, 0, 0xffffffff00000000, 0xffffffff00000000, 0xffffffff00000000);
    check(regs.rcx == 0xffffffff00000000 && regs.rsi == 0xffffffff00000000,
          "a 32-bit count of zero leaves all");
    fill(pages[0], 64, 9);
    run(movsq, 0, 77, VA + 4, VA + 0x1ffc - 0x1000 - 4);
    check_trap(NO_TRAP, 0, "movsq across two pages");
    check(regs.rcx == 77 && is_pattern(pages[0] + 4, 4, (uint8_t)(9 + 28)), "without a count");
    run(rep_lodsb, 0, 64, VA, 0);
    check((uint8_t)regs.rax == pages[0][63], "rep lodsb leaves the last");
}

static void comparisons(void)
{
    fill(pages[0], 4096, 1);
    fill(pages[1], 4096, 1);
    pages[1][1000]++;
    run(repe_cmpsb, 0, 4096, VA, VA + 0x1000);
    check(regs.rcx == 4096 - 1001 && regs.rsi == VA + 1001, "repe cmpsb stops behind a difference");
    for (unsigned i = 0; i < 4096; i++)
        pages[0][i] = pages[1][i] = 0;
    pages[1][5] = 0x77;
    run(repne_scasb, 0x77, 8192, 0, VA);
    check(regs.rdi == VA + 0x1006 && regs.rcx == 8192 - 4102, "repne scasb over two pages");
    run(repne_scasb, 0x78, 10000, 0, VA);
    check_trap(PF, 0, "repne scasb into a missing page");
    check(fault_registers.rdi == VA + 0x2000 && fault_registers.rcx == 10000 - 8192,
          "after two pages");
}

/* ins and outs go to a port that swallows everything. */
static void string_io(void)
{
    regs = (struct registers){ .rcx = 100, .rdi = VA + 0x2000 - 10 };
    static uint8_t code[] = { 0xba, 0x80, 0, 0, 0, 0xf3, 0x6c, 0xc3 };
    extern void string_io_run(void);

    (void)code;
    attempt(string_io_run, 0, 0);
    check_trap(PF, 2, "rep insb into a missing page");
    check(fault_registers.rcx == 90 && fault_registers.rdi == VA + 0x2000, "ten are done");
}
__asm__(".globl string_io_run\n"
        "string_io_run: mov $0x80, %edx; mov $100, %ecx; movabs $0x400000001ff6, %rdi\n"
        "rep insb; ret\n");

int guest_main(void)
{
    map_all();
    faults_in_the_middle();
    elements_are_whole();
    overlaps();
    counts_and_sizes();
    comparisons();
    string_io();
    return finish("strings");
}
