/* SPDX-License-Identifier: Apache-2.0 */
/* Exceptions: vectors, error codes, frames, IST, single steps, NMIs, iret and sysret. */
#include "guest.h"

static unsigned n_steps, n_nmis;
static uint64_t step_rips[64], step_dr6;
static bool is_stepping;
static uint64_t nmi_rsp;

void guest_ap(unsigned index)
{
}

static uint64_t read_dr6(void)
{
    uint64_t value;

    __asm__ volatile("mov %%dr6, %0" : "=r"(value));
    return value;
}

static void write_dr6(uint64_t value)
{
    __asm__ volatile("mov %0, %%dr6" : : "r"(value));
}

/* Breakpoints met: where, and what DR6 said. */
static unsigned n_breaks;
static uint64_t break_rips[8], break_dr6[8], break_rflags[8];
static bool is_breaking;

bool guest_on_trap(struct frame *frame)
{
    if (frame->vector == DB && is_breaking) {
        if (n_breaks < 8) {
            break_rips[n_breaks] = frame->rip;
            break_rflags[n_breaks] = frame->rflags;
            break_dr6[n_breaks] = read_dr6();
        }
        n_breaks++;
        write_dr6(0xffff0ff0);
        frame->rflags |= FLAG_RF;
        return true;
    }
    if (frame->vector == DB && is_stepping) {
        if (n_steps < 64)
            step_rips[n_steps] = frame->rip;
        n_steps++;
        step_dr6 = read_dr6();
        write_dr6(0xffff0ff0);
        return true;
    }
    if (frame->vector == NMI) {
        n_nmis++;
        nmi_rsp = (uint64_t)frame;
        return true;
    }
    return false;
}

/* ---- Simple faults ---- */

static void do_div0(void)
{
    __asm__ volatile("xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx"
                     :
                     :
                     : "eax", "ecx", "edx");
}

static void do_ud2(void)
{
    __asm__ volatile("ud2");
}

static void do_int3(void)
{
    __asm__ volatile("int3");
}

static void do_non_canonical(void)
{
    *(volatile uint64_t *)0x8000000000000000 = 0;
}

static void do_non_canonical_stack(void)
{
    __asm__ volatile(
        "mov %%rsp, %%rax; movabs $0x8000000000000000, %%rsp; push %%rax; mov %%rax, %%rsp"
        :
        :
        : "rax");
}

static void do_cli(void)
{
    __asm__ volatile("cli");
}

static void do_hlt(void)
{
    __asm__ volatile("hlt");
}

static void do_read(uint64_t address)
{
    (void)*(volatile uint64_t *)address;
}

static void do_write(uint64_t address)
{
    *(volatile uint64_t *)address = 0;
}

static void do_wrmsr(uint64_t msr, uint64_t value)
{
    write_msr((uint32_t)msr, value);
}

static void do_int40(void)
{
    __asm__ volatile("int $0x40");
}

static void do_in(void)
{
    (void)inb(0x3f8);
}

static void do_load_ds(uint64_t selector)
{
    __asm__ volatile("mov %0, %%ds" : : "r"((uint32_t)selector));
}

static void do_load_ss(uint64_t selector)
{
    __asm__ volatile("mov %0, %%ss" : : "r"((uint32_t)selector));
}

static void simple_faults(void)
{
    attempt(do_div0, 0, 0);
    check_trap(DE, 0, "division by zero");
    check(trap.rflags & FLAG_RF, "a fault's image has RF");
    attempt(do_ud2, 0, 0);
    check_trap(UD, 0, "ud2");
    attempt(do_int3, 0, 0);
    check_trap(BP, 0, "int3");
    check(((uint8_t *)trap.rip)[-1] == 0xcc, "int3 is a trap");
    check(!(trap.rflags & FLAG_RF), "a trap's image hasn't RF");
    attempt(do_non_canonical, 0, 0);
    check_trap(GP, 0, "non-canonical address");
    set_gate(SS, 0, 1);
    set_gate(GP, 0, 1); /* which some emulators raise instead */
    attempt(do_non_canonical_stack, 0, 0);
    check_trap(SS, 0, "non-canonical stack");
    set_gate(SS, 0, 0);
    set_gate(GP, 0, 0);
    attempt(do_wrmsr, 0xc0000100, 0x800000000000);
    check_trap(GP, 0, "non-canonical fs base");
    attempt(do_wrmsr, 0xc0000082, 0x800000000000);
    check_trap(GP, 0, "non-canonical LSTAR");
    attempt(do_wrmsr, 0x12345678, 0);
    check_trap(GP, 0, "an MSR that isn't there");
    attempt(do_load_ds, 0x1000, 0);
    check_trap(GP, 0x1000, "selector beyond the GDT");
    attempt(do_load_ss, SEL_USER_DATA, 0);
    check_trap(GP, SEL_USER_DATA & ~3, "user SS in ring 0");
    attempt(do_read, 0x200000000000, 0);
    check_trap(PF, 0, "read of an unmapped page");
    check(trap.cr2 == 0x200000000000, "CR2 is the address");
    attempt(do_write, 0x200000000000 - 4, 0);
    check_trap(PF, 2, "write across unmapped pages");
    check(trap.cr2 == 0x200000000000 - 4, "CR2 is the first byte that fails");
}

static void user_faults(void)
{
    attempt_user(bare_ret, 0, 0);
    check_trap(NO_TRAP, 0, "user code returns");
    attempt_user(do_cli, 0, 0);
    check_trap(GP, 0, "cli in user mode");
    check(trap.cs == SEL_USER && trap.ss == SEL_USER_DATA, "user CS and SS in the frame");
    attempt_user(do_hlt, 0, 0);
    check_trap(GP, 0, "hlt in user mode");
    attempt_user(do_in, 0, 0);
    check_trap(GP, 0, "in without IOPL");
    attempt_user(do_wrmsr, 0x10, 0);
    check_trap(GP, 0, "wrmsr in user mode");
    attempt_user(do_int40, 0, 0);
    check_trap(GP, 0x40 * 8 + 2, "int n through a gate of DPL 0");
    set_gate(0x40, 3, 0);
    attempt_user(do_int40, 0, 0);
    check_trap(0x40, 0, "int n through a gate of DPL 3");
    attempt_user(do_int3, 0, 0);
    check_trap(GP, 3 * 8 + 2, "int3 through a gate of DPL 0");
    attempt_user(do_read, 0x200000000000, 0);
    check_trap(PF, 4, "user read of an unmapped page");
    user_flags = 0x3002;
    attempt_user(do_in, 0, 0);
    check_trap(NO_TRAP, 0, "in with IOPL 3");
    user_flags = 2;
}

/* ---- Gates that don't work ---- */

static void bad_gates(void)
{
    uint64_t good[2] = { idt[0x41 * 2], idt[0x41 * 2 + 1] };
    void (*int41)(void) = (void (*)(void))(uint64_t)0;
    static uint8_t code[] = { 0xcd, 0x41, 0xc3 };

    int41 = (void (*)(void))(uint64_t)code;
    idt[0x41 * 2] = good[0] & ~(1ull << 47);
    attempt(int41, 0, 0);
    check_trap(NP, 0x41 * 8 + 2, "a gate that isn't present");
    idt[0x41 * 2] = (good[0] & ~(0xfull << 40)) | 0xcull << 40;
    attempt(int41, 0, 0);
    check_trap(GP, 0x41 * 8 + 2, "a call gate in the IDT");
    idt[0x41 * 2] = (good[0] & ~0xffff0000ull) | SEL_CODE32 << 16;
    attempt(int41, 0, 0);
    check_trap(GP, SEL_CODE32, "a gate to 32-bit code");
    idt[0x41 * 2] = good[0] & ~0xffff0000ull;
    attempt(int41, 0, 0);
    check_trap(GP, 0, "a gate with a null selector");
    idt[0x41 * 2] = good[0];
    idt[0x41 * 2 + 1] = 0x8000;
    attempt(int41, 0, 0);
    check_trap(GP, 0, "a gate to a non-canonical place");
    idt[0x41 * 2 + 1] = good[1];
    attempt(int41, 0, 0);
    check_trap(0x41, 0, "a good gate");
    check(trap.ss == SEL_DATA, "SS is kept in the same ring");
}

/* ---- IST, double fault ---- */

static void do_bad_stack_fault(void)
{
    __asm__ volatile("movabs $0x200000001000, %rsp; push %rax");
}

static void double_faults(void)
{
    set_gate(DF, 0, 1);
    attempt(do_bad_stack_fault, 0, 0);
    check_trap(DF, 0, "a page fault that can't be pushed");
    check(trap.rsp == 0x200000001000, "the stack pointer of before");
    check((trap.cr2 & ~0xfffull) == 0x200000000000, "CR2 of the second page fault");
    set_gate(PF, 0, 1);
    attempt(do_bad_stack_fault, 0, 0);
    check_trap(PF, 2, "a page fault on its own stack");
    check(trap.cr2 == 0x200000000ff8, "CR2 is the push's");
    set_gate(PF, 0, 0);
}

/* ---- Single steps ---- */

extern uint8_t step_start[], step_a[], step_b[], step_c[], step_d[], step_e[];
__asm__(".globl step_start, step_a, step_b, step_c, step_d, step_e\n"
        "step_start: pushfq; orl $0x100, (%rsp); popfq\n"
        "step_a: nop\n"
        "step_b: mov %ss, %eax\n"
        "step_c: lea 1(%rax), %ecx\n"
        "step_d: pushfq; andl $~0x100, (%rsp); popfq\n"
        "step_e: ret\n");

static void single_steps(void)
{
    is_stepping = true;
    n_steps = 0;
    attempt(step_start, 0, 0);
    is_stepping = false;
    check_trap(NO_TRAP, 0, "stepping ends");
    check(n_steps == 6, "six steps: popfq that sets TF isn't one, the one that clears it is");
    check(step_rips[0] == (uint64_t)step_b && step_rips[1] == (uint64_t)step_c &&
              step_rips[2] == (uint64_t)step_d && step_rips[5] == (uint64_t)step_e,
          "each step stands behind its instruction");
    check((step_dr6 & 0xf00f) == 0x4000, "DR6.BS");
}

extern uint8_t rep_start[], rep_a[];
__asm__(".globl rep_start, rep_a\n"
        "rep_start: mov $3, %ecx; lea rep_buffer(%rip), %rsi; lea rep_buffer+8(%rip), %rdi\n"
        "pushfq; orl $0x100, (%rsp); popfq\n"
        "rep_a: rep movsb\n"
        "pushfq; andl $~0x100, (%rsp); popfq; ret\n"
        ".data\nrep_buffer: .space 16\n.text\n");

static void steps_in_strings(void)
{
    is_stepping = true;
    n_steps = 0;
    attempt(rep_start, 0, 0);
    is_stepping = false;
    check(n_steps == 6, "a step for each element of a string, and three for the end");
    check(step_rips[0] == (uint64_t)rep_a && step_rips[1] == (uint64_t)rep_a &&
              step_rips[2] == (uint64_t)rep_a + 2,
          "which stay at the string but for the last");
}

/* ---- Breakpoints ---- */

extern uint8_t break_start[], break_a[], break_b[], break_c[], break_d[];
extern uint32_t break_data;
__asm__(".globl break_start, break_a, break_b, break_c, break_d, break_data\n"
        "break_start: xor %eax, %eax\n"
        "break_a: movl $1, break_data\n"
        "break_b: mov break_data, %ecx\n"
        "break_c: push %rcx; pop %rcx; lock addb $1, break_data+3\n"
        "break_d: ret\n"
        ".data\n.balign 8\nbreak_data: .long 0, 0\n.text\n");

static void set_breakpoint(uint64_t address, uint64_t condition, uint64_t length)
{
    __asm__ volatile("mov %0, %%dr0" : : "r"(address));
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x401 | condition << 16 | length << 18));
}

static void with_breakpoint(uint64_t address, uint64_t condition, uint64_t length)
{
    is_breaking = true;
    n_breaks = 0;
    set_breakpoint(address, condition, length);
    attempt(break_start, 0, 0);
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
    is_breaking = false;
    check_trap(NO_TRAP, 0, "code with a breakpoint ends");
}

static void breakpoints(void)
{
    with_breakpoint((uint64_t)break_b, 0, 0);
    check(n_breaks == 1 && break_rips[0] == (uint64_t)break_b, "an instruction breakpoint, once");
    check((break_dr6[0] & 0xf00f) == 1, "DR6.B0");
    check(!(break_rflags[0] & FLAG_RF), "whose image hasn't RF");
    with_breakpoint((uint64_t)&break_data, 1, 3);
    check(n_breaks == 2 && break_rips[0] == (uint64_t)break_b && break_rips[1] == (uint64_t)break_d,
          "a breakpoint on writes, behind them");
    with_breakpoint((uint64_t)&break_data, 3, 3);
    check(n_breaks == 3 && break_rips[1] == (uint64_t)break_c, "one on accesses");
    with_breakpoint((uint64_t)&break_data + 2, 1, 0);
    check(n_breaks == 1, "one on a byte");
    with_breakpoint((uint64_t)&break_data + 4, 3, 3);
    check(n_breaks == 0, "none on what lies behind");
    with_breakpoint((uint64_t)break_d + 0x1000000, 0, 0);
    check(n_breaks == 0, "none where code doesn't go");
}

/* ---- iret, sysret ---- */

static uint64_t iret_frame[5];
void iret_from_frame(void);
__asm__(".globl iret_from_frame\n"
        "iret_from_frame: pushq iret_frame_+32; pushq iret_frame_+24; pushq iret_frame_+16\n"
        "pushq iret_frame_+8; pushq iret_frame_\n"
        ".globl the_iretq\nthe_iretq: iretq\n"
        ".data\n.globl iret_frame_\niret_frame_: .space 40\n.text\n");
extern uint64_t iret_frame_[5];
extern uint8_t the_iretq[];

static void try_iret(uint64_t rip, uint64_t cs, uint64_t rflags, uint64_t rsp, uint64_t ss)
{
    iret_frame[0] = iret_frame_[0] = rip;
    iret_frame_[1] = cs;
    iret_frame_[2] = rflags;
    iret_frame_[3] = rsp;
    iret_frame_[4] = ss;
    attempt(iret_from_frame, 0, 0);
}

static void iret_corners(void)
{
    uint64_t user = (uint64_t)user_stack - 64, back = (uint64_t)bare_ret;
    extern uint8_t user_return[];

    back = (uint64_t)user_return;
    try_iret(back, SEL_USER, 2, user, SEL_USER_DATA);
    check_trap(NO_TRAP, 0, "iretq to user mode");
    try_iret(back, SEL_USER, 2, 0x8000000000000000, SEL_USER_DATA);
    check_trap(NO_TRAP, 0, "any user rsp is fine");
    try_iret(0x800000000000, SEL_USER, 2, user, SEL_USER_DATA);
    check_trap(GP, 0, "iretq to a non-canonical rip");
    check(trap.cs == SEL_CODE && trap.rip == (uint64_t)the_iretq, "which faults at the iretq");
    try_iret(back, SEL_USER, 2, user, 3);
    check_trap(GP, 0, "a null SS for user mode");
    try_iret(back, SEL_USER, 2, user, SEL_DATA);
    check_trap(GP, SEL_DATA, "a kernel SS for user mode");
    try_iret(back, SEL_CODE | 3, 2, user, SEL_USER_DATA);
    check_trap(GP, SEL_CODE, "kernel CS with a user RPL");
    try_iret(back, 0, 2, user, SEL_USER_DATA);
    check_trap(GP, 0, "a null CS");
    try_iret(back, SEL_DATA, 2, user, SEL_DATA);
    check_trap(GP, SEL_DATA, "data for code");
    try_iret(back, SEL_CODE, 2, user, 0);
    check_trap(NO_TRAP, 0, "a null SS in ring 0");
    try_iret((uint64_t)do_ud2, SEL_CODE, 0x200002 | FLAG_NT, user, 0);
    check_trap(UD, 0, "iretq sets NT");
    check(trap.rflags & FLAG_NT && trap.rflags & 0x200000 && trap.ss == 0 && trap.rsp == user,
          "and flags, SS and rsp of the frame");
}

static void do_iret_nt(void)
{
    __asm__ volatile("pushfq; orl $0x4000, (%rsp); popfq; iretq");
}

static void do_sysret(uint64_t rip)
{
    __asm__ volatile("mov %0, %%rcx; mov $2, %%r11d; sysretq" : : "r"(rip));
}

static void do_syscall(void)
{
    __asm__ volatile("stc; syscall" : : : "rcx", "r11", "cc");
}

void syscall_entry(void);
__asm__(".globl syscall_entry\n"
        "syscall_entry: mov %rsp, %rdi; lea stacks+16384-8192(%rip), %rsp\n"
        "ud2\n");

static void system_calls(void)
{
    extern uint8_t user_return[];

    attempt(do_iret_nt, 0, 0);
    check_trap(GP, 0, "iretq with NT");
    write_msr(0xc0000081, (uint64_t)SEL_CODE << 32 | (uint64_t)SEL_USER32 << 48);
    write_msr(0xc0000082, (uint64_t)syscall_entry);
    write_msr(0xc0000084, 0x1);
    attempt_user(do_syscall, 0, 0);
    check_trap(UD, 0, "syscall arrives");
    check(trap.cs == SEL_CODE && trap.ss == SEL_DATA, "in the kernel's segments");
    check(!(trap.rflags & 1), "with the flags of SFMASK clear");
    check(trap.rdi <= (uint64_t)user_stack && trap.rdi > (uint64_t)user_stack - 256,
          "on the user's stack");
    is_stepping = true;
    n_steps = 0;
    user_flags = 0x102;
    write_msr(0xc0000084, 0x101);
    attempt_user(do_syscall, 0, 0);
    user_flags = 2;
    is_stepping = false;
    check_trap(UD, 0, "syscall under TF");
    check(n_steps == 1, "has no step behind it when SFMASK clears TF");
    write_msr(0xc0000084, 0x1);
    attempt(do_sysret, (uint64_t)user_return, 0);
    check_trap(NO_TRAP, 0, "sysret to user mode");
    attempt(do_sysret, 0x800000000000, 0);
    check(trap.vector == GP && trap.error == 0, "sysret to a non-canonical address");
    write_msr(0xc0000080, read_msr(0xc0000080) & ~1ull);
    attempt_user(do_syscall, 0, 0);
    check_trap(UD, 0, "syscall without SCE");
    attempt(do_sysret, 0, 0);
    check_trap(UD, 0, "sysret without SCE");
    write_msr(0xc0000080, read_msr(0xc0000080) | 1);
}

/* ---- NMI ---- */

extern uint8_t nested_iret[];

static void send_nmi(void)
{
    *(volatile uint32_t *)0xfee00310 = 0; /* to APIC 0, which I am */
    *(volatile uint32_t *)0xfee00300 = 0x00004400;
}

static void nmis(void)
{
    *(volatile uint32_t *)0xfee000f0 = 0x1ff;
    n_nmis = 0;
    send_nmi();
    for (unsigned i = 0; i < 1000 && n_nmis == 0; i++)
        pause();
    check(n_nmis == 1, "an NMI comes with interrupts off");
    set_gate(NMI, 0, 1);
    send_nmi();
    for (unsigned i = 0; i < 1000 && n_nmis == 1; i++)
        pause();
    check(n_nmis == 2 && nmi_rsp < (uint64_t)ist_stack && nmi_rsp > (uint64_t)ist_stack - 512,
          "on the stack of its IST");
    set_gate(NMI, 0, 0);
}

/* ---- Control registers ---- */

static void do_cr0(uint64_t value)
{
    write_cr0(value);
}

static void do_cr3(uint64_t value)
{
    write_cr3(value);
}

static void do_cr4(uint64_t value)
{
    write_cr4(value);
}

static void do_cr8(uint64_t value)
{
    write_cr8(value);
}

static void control_registers(void)
{
    uint64_t cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4(), efer = read_msr(0xc0000080);

    attempt(do_cr0, cr0 & ~1ull, 0);
    check_trap(GP, 0, "PE clear under paging");
    attempt(do_cr0, cr0 & ~(1ull << 31), 0);
    check_trap(GP, 0, "paging off in 64-bit code");
    attempt(do_cr0, (cr0 | 1 << 29) & ~(1ull << 30), 0);
    check_trap(GP, 0, "NW without CD");
    attempt(do_cr0, cr0 | 1ull << 32, 0);
    check_trap(GP, 0, "CR0's upper half");
    attempt(do_cr4, cr4 & ~0x20ull, 0);
    check_trap(GP, 0, "PAE clear in long mode");
    attempt(do_cr4, cr4 | 1 << 15, 0);
    check_trap(GP, 0, "a reserved bit of CR4");
    attempt(do_cr3, cr3 | 1ull << 60, 0);
    check_trap(GP, 0, "a reserved bit of CR3");
    attempt(do_cr8, 16, 0);
    check_trap(GP, 0, "CR8 over 15");
    attempt(do_wrmsr, 0xc0000080, efer ^ 0x100);
    check_trap(GP, 0, "LME under paging");
    attempt(do_wrmsr, 0xc0000080, efer | 1ull << 40);
    check_trap(GP, 0, "a reserved bit of EFER");
    attempt(do_wrmsr, 0x277, 2);
    check_trap(GP, 0, "a memory type that isn't one");
    check(read_cr0() == cr0 && read_cr4() == cr4 && read_cr3() == cr3 &&
              read_msr(0xc0000080) == efer,
          "refused writes change nothing");
}

int guest_main(void)
{
    simple_faults();
    user_faults();
    bad_gates();
    double_faults();
    single_steps();
    steps_in_strings();
    breakpoints();
    iret_corners();
    system_calls();
    nmis();
    control_registers();
    return finish("except");
}
