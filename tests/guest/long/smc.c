/* SPDX-License-Identifier: Apache-2.0 */
/* Code that changes: itself, a few instructions ahead, through another mapping, across pages, from
 * another processor; and code next to data. */
#include "guest.h"

#define ALIAS 0x400000000000ull

static uint8_t area[4 * 4096] __attribute__((aligned(4096)));

bool guest_on_trap(struct frame *frame)
{
    return false;
}

static uint32_t call(const void *code)
{
    return ((uint32_t(*)(void))(uint64_t)code)();
}

static void put_return(uint8_t *at, uint32_t value)
{
    at[0] = 0xb8; /* mov eax, value; ret */
    *(uint32_t *)(at + 1) = value;
    at[5] = 0xc3;
}

static void patching_between_calls(void)
{
    for (uint32_t i = 0; i < 1000; i++) {
        put_return(area, i);
        if (!check(call(area) == i, "a patched function returns the new value"))
            return;
    }
}

/* Many runs first, so that the block is linked and cached in every way. */
static void patching_after_many_runs(void)
{
    put_return(area + 64, 1);
    for (unsigned i = 0; i < 10000; i++)
        (void)call(area + 64);
    *(uint32_t *)(area + 65) = 2;
    check(call(area + 64) == 2, "an immediate changed after many runs");
    area[64 + 5] = 0x90;
    area[64 + 6] = 0xff; /* inc eax */
    area[64 + 7] = 0xc0;
    area[64 + 8] = 0xc3;
    check(call(area + 64) == 3, "a return that became a nop");
}

/* mov byte [rip + ahead], 2 ; the immediate of the mov that follows at once */
static void patching_the_next_instruction(void)
{
    static const uint8_t code[] = {
        0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x02, /* movb $2, 1(%rip) */
        0xb8, 0x01, 0x00, 0x00, 0x00,             /* mov $1, %eax */
        0xc3,
    };

    for (unsigned i = 0; i < sizeof(code); i++)
        area[128 + i] = code[i];
    check(call(area + 128) == 2, "a store to the next instruction is seen by it");
    check(call(area + 128) == 2, "and later");
}

static void rep_movs_over_the_next_instruction(void)
{
    static const uint8_t code[] = {
        0x48, 0x8d, 0x3d, 0x0a, 0x00, 0x00, 0x00, /* lea 10(%rip), %rdi: the next mov's immediate */
        0x31, 0xc0,                               /* xor %eax, %eax */
        0x04, 0x07,                               /* add $7, %al */
        0xb9, 0x01, 0x00, 0x00, 0x00,             /* mov $1, %ecx */
    };
    uint8_t *at = area + 256;
    unsigned n;

    for (n = 0; n < sizeof(code); n++)
        at[n] = code[n];
    at[n++] = 0xf3; /* rep stosb */
    at[n++] = 0xaa;
    at[n++] = 0xb8; /* mov $1, %eax */
    *(uint32_t *)(at + 3) = n - 7;
    *(uint32_t *)(at + n) = 1;
    at[n + 4] = 0xc3;
    check(call(at) == 7, "a string store to the next instruction");
}

/* The kernel's way: write through a temporary mapping of the same page. */
static void patching_through_an_alias(void)
{
    uint8_t *alias = (uint8_t *)ALIAS;

    (void)map_4k(ALIAS, (uint64_t)area | 7);
    put_return(area + 512, 1);
    for (unsigned i = 0; i < 100; i++)
        (void)call(area + 512);
    *(volatile uint32_t *)(alias + 513) = 5;
    check(call(area + 512) == 5, "a write through an alias");
    check(call(alias + 512) == 5, "and the alias runs the same code");
    put_return(area + 512, 6);
    check(call(alias + 512) == 6, "a write behind the alias");
}

/* An instruction that lies in two pages, changed in either. */
static void crossing_instructions(void)
{
    uint8_t *at = area + 4096 - 3;

    put_return(at, 0x11223344);
    check(call(at) == 0x11223344, "an instruction in two pages");
    area[4096 + 1] = 0x55;
    check(call(at) == 0x55223344, "changed in the second page");
    area[4096 - 1] = 0x66;
    check(call(at) == 0x55226644, "changed in the first page");
    *(volatile uint32_t *)(area + 4096 - 2) = 0x01020304;
    check(call(at) == 0x01020304, "changed in both");
    at[0] = 0x05;  /* add eax, imm32 */
    at[-1] = 0xc0; /* xor eax, eax before it */
    at[-2] = 0x31;
    check(call(at - 2) == 0x01020304, "an opcode changed");
}

/* The same, run often: loads whose operand lies in one page and in two, a loop's branch, a call. */
static void crossing_instructions_that_stay(void)
{
    uint8_t *at = area + 4096 - 3, *operand = area + 2 * 4096 + 64;
    static const uint8_t loop[] = {
        0xb8, 0x00, 0x00, 0x00, 0x00,       /* mov $0, %eax */
        0xb9, 0x64, 0x00, 0x00, 0x00,       /* mov $100, %ecx */
        0xff, 0xc0,                         /* 1: inc %eax */
        0xff, 0xc9,                         /* dec %ecx */
        0x0f, 0x85, 0xf6, 0xff, 0xff, 0xff, /* jnz 1b, at the end of the page */
        0xc3,
    };

    for (unsigned i = 0; i < 8; i++, operand += i == 4 ? 4096 - 64 - 2 : 0) {
        *(volatile uint32_t *)operand = 0x1000 + i;
        at[0] = 0x8b; /* mov operand(%rip), %eax */
        at[1] = 0x05;
        *(volatile uint32_t *)(at + 2) = (uint32_t)(operand - (at + 6));
        at[6] = 0xc3;
        check(call(at) == 0x1000 + i && call(at) == 0x1000 + i, "a load in two pages");
    }
    for (unsigned end = 1; end < 6; end++) {
        for (unsigned i = 0; i < sizeof(loop); i++)
            area[4096 - 14 - end + i] = loop[i];
        check(call(area + 4096 - 14 - end) == 100, "a loop's branch in two pages");
        check(call(area + 4096 - 14 - end) == 100, "and again");
    }
    put_return(area + 100, 77);
    at[0] = 0xe8; /* call area + 100; inc eax; ret */
    *(volatile uint32_t *)(at + 1) = (uint32_t)(area + 100 - (at + 5));
    at[5] = 0xff;
    at[6] = 0xc0;
    at[7] = 0xc3;
    for (unsigned i = 0; i < 4; i++)
        check(call(at) == 78, "a call in two pages");
    put_return(area + 100, 99);
    check(call(at) == 100, "whose target has changed");
}

/* The second page is another one afterwards. */
static void crossing_into_a_changed_mapping(void)
{
    uint8_t *at = (uint8_t *)ALIAS + 0x10000 + 4096 - 3;

    (void)map_4k(ALIAS + 0x10000, (uint64_t)area | 7);
    (void)map_4k(ALIAS + 0x11000, (uint64_t)(area + 4096) | 7);
    put_return(area + 4096 - 3, 0x11223344);
    check(call(at) == 0x11223344, "an instruction in two mapped pages");
    area[8192] = 0x88;
    area[8193] = 0x77;
    area[8194] = 0xc3;
    (void)map_4k(ALIAS + 0x11000, (uint64_t)(area + 8192) | 7);
    check(call(at) == 0x77883344, "whose second page is remapped");
}

static void remapped_code(void)
{
    put_return(area + 1024, 1);
    put_return(area + 4096 + 1024, 2);
    (void)map_4k(ALIAS + 0x20000, (uint64_t)area | 7);
    for (unsigned i = 0; i < 100; i++)
        (void)call((void *)(ALIAS + 0x20400));
    (void)map_4k(ALIAS + 0x20000, (uint64_t)(area + 4096) | 7);
    check(call((void *)(ALIAS + 0x20400)) == 2, "a page of code that was replaced by another");
}

/* A counter in the same page, and in the same line, as the code that counts. */
static void data_beside_code(void)
{
    static const uint8_t code[] = {
        0xb9, 0x10, 0x27, 0x00, 0x00,       /* mov $10000, %ecx */
        0xff, 0x05, 0x00, 0x00, 0x00, 0x00, /* 1: incl counter(%rip) */
        0xff, 0xc9,                         /* dec %ecx */
        0x75, 0xf6,                         /* jnz 1b */
        0x8b, 0x05, 0x00, 0x00, 0x00, 0x00, /* mov counter(%rip), %eax */
        0xc3,
    };

    for (unsigned distance = 32; distance <= 1024; distance *= 32) {
        uint8_t *at = area + 2048;

        for (unsigned i = 0; i < sizeof(code); i++)
            at[i] = code[i];
        *(uint32_t *)(at + 7) = distance - 11;
        *(uint32_t *)(at + 17) = distance - 21;
        *(uint32_t *)(at + distance) = 0;
        check(call(at) == 10000, "a counter beside its code");
    }
}

/* Loops that patch themselves each time round. */
static void self_patching_loop(void)
{
    static const uint8_t code[] = {
        0x31, 0xc0,                         /* xor %eax, %eax */
        0xb9, 0x64, 0x00, 0x00, 0x00,       /* mov $100, %ecx */
        0x83, 0xc0, 0x00,                   /* 1: add $0, %eax: patched */
        0x88, 0x0d, 0xf9, 0xff, 0xff, 0xff, /* mov %cl, -7(%rip) */
        0xff, 0xc9,                         /* dec %ecx */
        0x75, 0xf3,                         /* jnz 1b */
        0xc3,
    };
    uint8_t *at = area + 3072;

    for (unsigned i = 0; i < sizeof(code); i++)
        at[i] = code[i];
    /* adds 0, then 100, 99, .. 2 */
    check(call(at) == 5049, "a loop that patches itself");
}

/* A jump within the page, and what lies behind it: each may change alone, and ahead of itself. */
static void patching_behind_a_jump(void)
{
    uint8_t *at = area + 5120, *behind = at + 0x80;

    at[0] = 0x90; /* nop; jmp behind */
    at[1] = 0xeb;
    at[2] = 0x80 - 3;
    put_return(at + 3, 9);
    put_return(behind, 1);
    for (unsigned i = 0; i < 100; i++)
        (void)call(at);
    *(volatile uint32_t *)(behind + 1) = 2;
    check(call(at) == 2, "code behind a jump changed");
    at[1] = 0x90;
    at[2] = 0x90;
    check(call(at) == 9, "a jump that became nops");
    at[0] = 0xeb; /* the nop became a jump */
    at[1] = 0x80 - 2;
    check(call(at) == 2, "a nop that became a jump");
    at[0x40] = 0xc6; /* mov byte [rip + (0x80 - 0x49) + 1], 7; jmp behind */
    at[0x41] = 0x05;
    *(uint32_t *)(at + 0x42) = 0x80 - 0x47 + 1;
    at[0x46] = 7;
    at[0x47] = 0xeb;
    at[0x48] = 0x80 - 0x49;
    check(call(at + 0x40) == 7, "code behind a jump changed just ahead of it");
    at[0x46] = 8;
    check(call(at + 0x40) == 8, "and again");
}

/* ---- Two processors ---- */

static volatile uint32_t command, answer;
static volatile bool is_ap_running;

void guest_ap(unsigned index)
{
    is_ap_running = true;
    for (;;) {
        uint32_t seen = command;

        if (seen == UINT32_MAX)
            return;
        __asm__ volatile("cpuid" : : "a"(0) : "ebx", "ecx", "edx", "memory");
        answer = call(area + 3500);
        if (seen != command)
            continue;
        pause();
    }
}

static void patching_another_processors_code(void)
{
    put_return(area + 3500, 0);
    start_aps(1);
    for (unsigned i = 0; i < 100000000 && !is_ap_running; i++)
        pause();
    if (!is_ap_running) {
        print("no second processor: skipped\n");
        return;
    }
    for (uint32_t i = 1; i < 2000; i++) {
        uint64_t start = rdtsc();

        *(volatile uint32_t *)(area + 3501) = i;
        command = i;
        while (answer != i && rdtsc() - start < 10000000000ull)
            pause();
        if (!check(answer == i, "another processor sees changed code"))
            break;
    }
    command = UINT32_MAX;
}

int guest_main(void)
{
    patching_between_calls();
    patching_after_many_runs();
    patching_the_next_instruction();
    rep_movs_over_the_next_instruction();
    patching_through_an_alias();
    crossing_instructions();
    crossing_instructions_that_stay();
    crossing_into_a_changed_mapping();
    remapped_code();
    data_beside_code();
    self_patching_loop();
    patching_behind_a_jump();
    patching_another_processors_code();
    return finish("smc");
}
