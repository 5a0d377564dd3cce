/* SPDX-License-Identifier: Apache-2.0 */
/* What 64-bit guests in C share: traps that can be looked at, checks that are counted, output. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trap {
    uint64_t vector; /* NO_TRAP: the function returned */
    uint64_t error, cr2, rip, cs, rflags, rsp, ss, rdi;
};
#define NO_TRAP UINT64_MAX

enum {
    DE = 0,
    DB = 1,
    NMI = 2,
    BP = 3,
    UD = 6,
    NM = 7,
    DF = 8,
    TS = 10,
    NP = 11,
    SS = 12,
    GP = 13,
    PF = 14,
    AC = 17,
    USER_RETURN = 0x80
};
enum {
    SEL_CODE = 0x08,
    SEL_DATA = 0x10,
    SEL_CODE32 = 0x18,
    SEL_USER32 = 0x23,
    SEL_USER_DATA = 0x2b,
    SEL_USER = 0x33
};
enum { FLAG_TF = 0x100, FLAG_IF = 0x200, FLAG_NT = 0x4000, FLAG_RF = 0x10000, FLAG_AC = 0x40000 };

/* What the stubs leave on the stack. */
struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* start.S */
extern struct trap trap; /* of the last attempt */
extern uint64_t user_flags;
extern uint64_t pml4[512], pdpt[512], pds[2048];
extern uint8_t ist_stack[], user_stack[], stacks[];
extern uint8_t trampoline[], trampoline_end[], bare_ret[];
extern uint32_t n_aps;
extern uint64_t idt[512], gdt[9];
extern uint8_t tss[0x68];
void attempt(void *fn, uint64_t a, uint64_t b);
void attempt_user(void *fn, uint64_t a, uint64_t b);
_Noreturn void guest_exit(uint32_t status);

/* Each guest's own. */
int guest_main(void);
void guest_ap(unsigned index); /* entered by each application processor */
/* An interrupt or exception arrived; true when the guest has dealt with it and execution goes on,
 * false to end the attempt. */
bool guest_on_trap(struct frame *frame);

/* lib.c */
void print(const char *text);
void print_hex(uint64_t value);
/* Count a claim; says so when it is wrong. Returns is_true. */
bool check(bool is_true, const char *claim);
/* A claim about `trap`. */
bool check_trap(uint64_t vector, uint64_t error, const char *claim);
int finish(const char *name); /* prints the totals; guest_main's return value */

bool has_feature(uint32_t leaf, unsigned reg, unsigned bit); /* reg: eax ebx ecx edx */
void set_gate(unsigned vector, unsigned dpl, unsigned ist);
/* A 4 KiB mapping of va (anywhere above the identity map): returns the entry, making tables. */
uint64_t *map_4k(uint64_t va, uint64_t entry);
void start_aps(unsigned expected_at_most);

static inline uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr)
                     : "memory");
}

#define CR(n)                                                                                      \
    static inline uint64_t read_cr##n(void)                                                        \
    {                                                                                              \
        uint64_t value;                                                                            \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(value));                                      \
        return value;                                                                              \
    }                                                                                              \
    static inline void write_cr##n(uint64_t value)                                                 \
    {                                                                                              \
        __asm__ volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                             \
    }
CR(0)
CR(2)
CR(3)
CR(4)
CR(8)

static inline void invlpg(uint64_t va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

static inline uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}
